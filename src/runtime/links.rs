//! The links of the ensemble thread to other servers: ports that accept, dials, and the streams that come of both
//! (`ports.rs`, `dial.rs`, `duplex.rs`). What is said over them is the ensemble's business.
//!
//! Invariants: the ensemble hears of the end of a link once, and not at all if it asked for it; of a link that nobody
//! reads on, the kernel keeps what comes and holds the sender back; a server without links pays for one look per turn.

use super::dial::dial;
use super::duplex::{Duplex, without_pacing};
use super::link_io::{LinkAction, LinkEvent, LinkOptions, PeerPort};
use super::ports::{Port, PortNews};
use super::ready::{ReadyList, waker};
use crate::types::LinkId;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What one read takes at most. Links are few, and in a sync or under load much comes at once.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Tokens of ports; those of links are their ids.
const PORT_TOKEN: u64 = 1 << 63;

/// Everything the ensemble thread has to do with other servers' sockets.
pub(super) struct Links {
    options: LinkOptions,
    links: HashMap<LinkId, Link>,
    ports: [Option<Port>; 3],
    ready: Arc<ReadyList>,
    /// Accepted links count up the odd numbers.
    next_accepted: u64,
}

enum Link {
    Dialling { dial: Pin<Box<dyn Future<Output = Result<TcpStream, String>>>>, waker: Waker },
    Open(Duplex),
}

impl Links {
    pub fn new(options: LinkOptions) -> Links {
        Links { options, links: HashMap::new(), ports: [None, None, None], ready: Arc::default(), next_accepted: 1 }
    }

    pub fn is_idle(&self) -> bool {
        self.links.is_empty() && self.ports.iter().all(Option::is_none)
    }

    /// Collects what happened since the last call. `cx` is woken when there is more.
    pub fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) {
        if self.is_idle() {
            return;
        }
        self.ready.attend(cx.waker());
        while let Some(token) = self.ready.pop() {
            if token & PORT_TOKEN == 0 {
                self.poll_link(LinkId(token), events);
            } else {
                let ports = [PeerPort::Election, PeerPort::Quorum, PeerPort::ObserverMaster];
                let port = ports.into_iter().find(|port| token_of(*port) == token);
                port.into_iter().for_each(|port| self.poll_port(port, events));
            }
        }
    }

    /// Does what the ensemble wants done. `cx` is woken for what is already known to come of it.
    pub fn carry_out(&mut self, cx: &mut Context<'_>, actions: &mut Vec<LinkAction>) {
        if actions.is_empty() {
            return;
        }
        // The first action ends a time in which nobody looked at the list.
        self.ready.attend(cx.waker());
        for action in actions.drain(..) {
            match action {
                LinkAction::Listen { port, addresses } => self.listen(port, addresses),
                LinkAction::StopListening { port } => self.ports[port as usize] = None,
                LinkAction::Dial { link, host, port, timeout_ms } => self.dial(link, host, port, timeout_ms),
                LinkAction::Send { link, bytes } => self.send(link, bytes),
                LinkAction::ReadOn { link, buffer } => self.read_on(link, buffer),
                LinkAction::Close { link } => drop(self.links.remove(&link)),
            }
        }
    }

    fn listen(&mut self, port: PeerPort, addresses: Vec<(Option<String>, u16)>) {
        // What listened before is closed first: it may have the same addresses.
        self.ports[port as usize] = None;
        self.ports[port as usize] = Some(Port::open(addresses, waker(&self.ready, token_of(port))));
    }

    fn dial(&mut self, link: LinkId, host: String, port: u16, timeout_ms: u64) {
        debug_assert!(link.0 & (PORT_TOKEN | 1) == 0, "{link:?} is not a number for a dialled link");
        let waker = waker(&self.ready, link.0);
        waker.wake_by_ref();
        let dial = Box::pin(dial(host, port, Duration::from_millis(timeout_ms)));
        let before = self.links.insert(link, Link::Dialling { dial, waker });
        debug_assert!(before.is_none(), "{link:?} was dialled before");
    }

    fn send(&mut self, link: LinkId, bytes: Vec<u8>) {
        if let Some(Link::Open(duplex)) = self.links.get_mut(&link) {
            duplex.start_write(bytes);
        }
    }

    fn read_on(&mut self, link: LinkId, buffer: Vec<u8>) {
        if let Some(Link::Open(duplex)) = self.links.get_mut(&link)
            && !duplex.is_reading()
        {
            start_read(duplex, buffer);
        }
    }

    fn poll_port(&mut self, port: PeerPort, events: &mut Vec<LinkEvent>) {
        while let Some(news) = self.ports[port as usize].as_mut().and_then(Port::poll) {
            match news {
                PortNews::Listening => events.push(LinkEvent::Listening { port }),
                PortNews::Failed(why) => {
                    self.ports[port as usize] = None;
                    events.push(LinkEvent::ListenFailed { port, why });
                }
                PortNews::Accepted(stream, peer) => {
                    // A server that speaks IPv4 is known by its IPv4 address, whichever socket it came to.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    if let Err(error) = self.prepare(&stream, peer) {
                        tracing::warn!("cannot use a connection from {peer}: {error}");
                        continue;
                    }
                    let link = LinkId(self.next_accepted);
                    self.next_accepted += 2;
                    let waker = waker(&self.ready, link.0);
                    self.links.insert(link, Link::Open(reading(stream, waker)));
                    events.push(LinkEvent::Accepted { link, port, peer });
                }
            }
        }
    }

    fn poll_link(&mut self, link: LinkId, events: &mut Vec<LinkEvent>) {
        let ended = match self.links.get_mut(&link) {
            // A wake-up that came after the end.
            None => return,
            Some(Link::Open(duplex)) => poll_open(link, duplex, events),
            Some(Link::Dialling { dial, waker }) => match dial.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Pending => return,
                Poll::Ready(Err(why)) => Some(why),
                Poll::Ready(Ok(stream)) => {
                    let waker = waker.clone();
                    self.dialled(link, stream, waker, events).err().map(|error| error.to_string())
                }
            },
        };
        if let Some(why) = ended {
            self.links.remove(&link);
            events.push(LinkEvent::Closed { link, why });
        }
    }

    fn dialled(
        &mut self,
        link: LinkId,
        stream: TcpStream,
        waker: Waker,
        events: &mut Vec<LinkEvent>,
    ) -> io::Result<()> {
        self.prepare(&stream, stream.peer_addr()?)?;
        let local = stream.local_addr()?;
        self.links.insert(link, Link::Open(reading(stream, waker)));
        events.push(LinkEvent::Opened { link, local });
        Ok(())
    }

    fn prepare(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
        // Packets are sent as they are put together; waiting for more would only delay them.
        stream.set_nodelay(true)?;
        socket2::SockRef::from(stream).set_keepalive(self.options.tcp_keep_alive)?;
        if peer.ip().is_loopback() {
            without_pacing(stream);
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn addresses(&self, port: PeerPort) -> Vec<SocketAddr> {
        self.ports[port as usize].as_ref().map(Port::addresses).unwrap_or_default()
    }
}

fn token_of(port: PeerPort) -> u64 {
    PORT_TOKEN | port as u64
}

fn reading(stream: TcpStream, waker: Waker) -> Duplex {
    let mut duplex = Duplex::new(tokio_uring::net::TcpStream::from_std(stream), waker);
    start_read(&mut duplex, Vec::new());
    duplex
}

fn start_read(duplex: &mut Duplex, mut buffer: Vec<u8>) {
    buffer.clear();
    if buffer.capacity() < READ_BUFFER_BYTES {
        buffer = Vec::with_capacity(READ_BUFFER_BYTES);
    }
    duplex.start_read(buffer);
}

/// Reports what is done; returns why the link has ended, if it has. What came before the end is reported.
fn poll_open(link: LinkId, duplex: &mut Duplex, events: &mut Vec<LinkEvent>) -> Option<String> {
    duplex.poll();
    let mut ended = None;
    if let Some((result, bytes)) = duplex.take_read() {
        match result {
            Ok(0) => ended = Some("closed by the other side".to_owned()),
            Ok(_) => events.push(LinkEvent::Received { link, bytes }),
            Err(error) => ended = Some(error.to_string()),
        }
    }
    if let Some((result, buffer)) = duplex.take_written() {
        match result {
            Ok(_) => events.push(LinkEvent::Sent { link, buffer }),
            Err(error) => ended = ended.or(Some(error.to_string())),
        }
    }
    ended
}
