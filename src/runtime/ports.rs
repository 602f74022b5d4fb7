//! A port that other servers connect to: its listening sockets, from looking up their addresses to closing them.
//!
//! Connections are accepted on readiness and not on the ring: dropping the sockets then closes them at once, and no
//! connection is lost in an operation that nobody waits for any more. Accepting is rare.

use super::dial::{for_the_ring, resolve};
use socket2::{Domain, Protocol, Socket, Type};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};

/// Connections waiting to be accepted: every server of a large ensemble, several times over.
const BACKLOG: i32 = 128;
/// How long nothing is accepted after accepting has failed, milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// A server that was killed can be gone for some milliseconds before the kernel has closed its sockets; its successor
/// must not find the port taken.
const BIND_TRIES_MAX: u32 = 40;
const BIND_PAUSE_MS: u64 = 50;

/// What `Port::poll` reports.
pub(super) enum PortNews {
    Listening,
    /// The port is of no use any more.
    Failed(String),
    Accepted(TcpStream, SocketAddr),
}

pub(super) struct Port {
    waker: Waker,
    state: State,
    accept_fails: bool,
}

enum State {
    Opening(Pin<Box<dyn Future<Output = Result<Vec<TcpListener>, String>>>>),
    Open(Vec<TcpListener>),
    /// Accepting has failed: out of descriptors or memory, at once it would fail again.
    Pausing(Pin<Box<Sleep>>, Vec<TcpListener>),
}

impl Port {
    /// `waker` is woken at once and whenever `poll` would find something new.
    pub fn open(addresses: Vec<(Option<String>, u16)>, waker: Waker) -> Port {
        waker.wake_by_ref();
        Port { waker, state: State::Opening(Box::pin(listen_at(addresses))), accept_fails: false }
    }

    /// The next thing that happened; to be called until nothing has.
    pub fn poll(&mut self) -> Option<PortNews> {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match &mut self.state {
                State::Opening(opening) => match opening.as_mut().poll(&mut cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Err(why)) => return Some(PortNews::Failed(why)),
                    Poll::Ready(Ok(listeners)) => {
                        self.state = State::Open(listeners);
                        return Some(PortNews::Listening);
                    }
                },
                State::Pausing(pause, listeners) => {
                    if pause.as_mut().poll(&mut cx).is_pending() {
                        return None;
                    }
                    self.state = State::Open(std::mem::take(listeners));
                }
                State::Open(listeners) => match accept(listeners, &mut cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok((stream, peer))) => {
                        self.accept_fails = false;
                        return Some(PortNews::Accepted(stream, peer));
                    }
                    Poll::Ready(Err(error)) => {
                        // Said once, however many are waiting.
                        if !std::mem::replace(&mut self.accept_fails, true) {
                            tracing::warn!("cannot accept a connection of another server: {error}. Trying again");
                        }
                        let pause = Box::pin(sleep(Duration::from_millis(ACCEPT_PAUSE_MS)));
                        self.state = State::Pausing(pause, std::mem::take(listeners));
                    }
                },
            }
        }
    }

    #[cfg(test)]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let State::Open(listeners) = &self.state else { return Vec::new() };
        listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect()
    }
}

fn accept(listeners: &[TcpListener], cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    for listener in listeners {
        if let Poll::Ready(accepted) = listener.poll_accept(cx) {
            return Poll::Ready(accepted.and_then(|(stream, peer)| Ok((for_the_ring(stream)?, peer))));
        }
    }
    Poll::Pending
}

/// Listens at every address that can be had. A name stands for all its addresses, since the others may try any of them.
async fn listen_at(addresses: Vec<(Option<String>, u16)>) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    let mut failures = Vec::new();
    for (host, port) in addresses {
        let Some(host) = host else {
            match bind_all_addresses(port).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => failures.push(format!("port {port}: {error}")),
            }
            continue;
        };
        match resolve(&host, port).await {
            Ok(found) => {
                for address in found {
                    match bind(address).await {
                        Ok(listener) => listeners.push(listener),
                        Err(error) => failures.push(format!("{address}: {error}")),
                    }
                }
            }
            Err(why) => failures.push(why),
        }
    }
    if listeners.is_empty() {
        return Err(failures.join("; "));
    }
    for why in failures {
        tracing::warn!("not listening for other servers everywhere: {why}");
    }
    Ok(listeners)
}

/// One socket for both families, as Java's; where IPv6 is switched off, IPv4 alone.
async fn bind_all_addresses(port: u16) -> io::Result<TcpListener> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind((Ipv4Addr::UNSPECIFIED, port).into()).await,
        result => result,
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 1..BIND_TRIES_MAX {
        match bind_now(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(Duration::from_millis(BIND_PAUSE_MS)).await,
            result => return result,
        }
    }
    bind_now(address)
}

fn bind_now(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Of `[::]`, one socket for both families.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
