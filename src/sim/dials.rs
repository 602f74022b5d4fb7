//! Connections in the making, and what turns want done with those that there are.

use super::agenda::{Actor, Event};
use super::net::{DialId, Owner, Socket};
use super::options::Options;
use super::simulator::Simulator;
use crate::runtime::core::{FlushRequest, SocketAction};
use crate::runtime::link_io::{LinkAction, LinkEvent, PeerPort};
use crate::runtime::sockets::SocketEvent;
use crate::types::LinkId;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const CLIENT_DIAL_US_MAX: u64 = 300_000;
/// A connection attempt into a partition is made again so often.
const RETRY_US: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Peer(u16),
    Client,
}

#[derive(Clone, Copy)]
struct Dial {
    from: usize,
    owner: Owner,
    /// Of the process that dials.
    life: u64,
    to: usize,
    port: Port,
    gives_up_at: u64,
}

#[derive(Default)]
pub struct Dials {
    dials: BTreeMap<DialId, Dial>,
    next: u64,
}

impl Simulator {
    fn dial(&mut self, dial: Dial) -> DialId {
        let id = DialId(self.dials.next);
        self.dials.next += 1;
        self.dials.dials.insert(id, dial);
        let delay = 2 * self.net.delay();
        self.agenda.after(delay, Event::Dial { dial: id });
        id
    }

    pub(super) fn dial_client(&mut self, client: usize, to: usize) {
        let gives_up_at = self.agenda.now() + CLIENT_DIAL_US_MAX;
        let from = self.clients[client].node;
        let owner = Owner::Client { client };
        let id = self.dial(Dial { from, owner, life: 0, to, port: Port::Client, gives_up_at });
        self.clients[client].dial = Some(id);
    }

    fn dial_peer(&mut self, server: usize, link: LinkId, host: &str, port: u16, timeout_ms: u64) {
        let life = self.servers[server].life;
        let Some(running) = &mut self.servers[server].running else { return };
        running.dialing.insert(link);
        let to = Options::index_of(host).filter(|to| *to < self.servers.len());
        let owner = Owner::Link { server, link };
        match to {
            Some(to) => {
                let gives_up_at = self.agenda.now() + timeout_ms * 1000;
                self.dial(Dial { from: server, owner, life, to, port: Port::Peer(port), gives_up_at });
            }
            None => self.dial_failed(owner, life, "no such host"),
        }
    }

    pub(super) fn dial_goes_on(&mut self, id: DialId) {
        let Some(dial) = self.dials.dials.get(&id).copied() else { return };
        let now = self.agenda.now();
        let is_wanted = match dial.owner {
            Owner::Client { client } => self.clients[client].dial == Some(id),
            Owner::Link { server, link } => {
                let server = &self.servers[server];
                server.life == dial.life && server.running.as_ref().is_some_and(|r| r.dialing.contains(&link))
            }
            Owner::Conn { .. } => false,
        };
        if !is_wanted {
            self.dials.dials.remove(&id);
            return;
        }
        if !self.net.is_reachable(dial.from, dial.to) || !self.net.is_powered(dial.to) {
            if now < dial.gives_up_at {
                return self.agenda.at(dial.gives_up_at.min(now + RETRY_US), Event::Dial { dial: id });
            }
            self.dials.dials.remove(&id);
            return self.dial_failed(dial.owner, dial.life, "timed out");
        }
        self.dials.dials.remove(&id);
        let Some(accepted) = self.accept(dial) else {
            return self.dial_failed(dial.owner, dial.life, "refused");
        };
        let stream = self.net.connect((dial.from, dial.owner), (dial.to, accepted));
        let (dialer, acceptor) = (Socket { stream, side: 0 }, Socket { stream, side: 1 });
        if self.listens_at(dial) == Some(PeerPort::Quorum) {
            self.taps.add(stream);
        }
        self.tell_accepted(accepted, acceptor, dial);
        self.tell_opened(dial.owner, dialer, dial.to);
    }

    /// Who takes the connection at the other side.
    fn accept(&mut self, dial: Dial) -> Option<Owner> {
        let workers = u64::from(self.options.workers);
        let running = self.servers[dial.to].running.as_mut()?;
        match dial.port {
            Port::Peer(port) => {
                let is_open = running.listening.iter().any(|ports| ports.contains(&port));
                is_open.then(|| Owner::Link { server: dial.to, link: running.new_link() })
            }
            Port::Client => {
                let worker = self.random.below(workers) as usize;
                let conn = running.workers[worker].new_conn();
                Some(Owner::Conn { server: dial.to, worker, conn })
            }
        }
    }

    /// Which port of a server it is that somebody dials.
    fn listens_at(&self, dial: Dial) -> Option<PeerPort> {
        let (Port::Peer(port), Some(running)) = (dial.port, &self.servers[dial.to].running) else { return None };
        let ports = [PeerPort::Election, PeerPort::Quorum, PeerPort::ObserverMaster];
        ports.into_iter().find(|of| running.listening[*of as usize].contains(&port))
    }

    fn tell_accepted(&mut self, owner: Owner, socket: Socket, dial: Dial) {
        let port = self.listens_at(dial);
        let Some(running) = &mut self.servers[dial.to].running else { return };
        let peer = SocketAddr::from(([10, 0, 0, dial.from as u8 + 1], 1024 + (socket.stream.0 % 60_000) as u16));
        match (owner, port) {
            (Owner::Link { server, link }, Some(port)) => {
                running.links.insert(link, socket);
                running.events.push(LinkEvent::Accepted { link, port, peer });
                self.wake(server, Actor::Ensemble);
            }
            (Owner::Conn { server, worker, conn }, _) => {
                let seat = &mut running.workers[worker];
                seat.conns.insert(conn, socket);
                seat.events.push(SocketEvent::Accepted { conn, peer });
                self.wake(server, Actor::Worker(worker));
            }
            _ => {}
        }
    }

    fn tell_opened(&mut self, owner: Owner, socket: Socket, to: usize) {
        match owner {
            Owner::Link { server, link } => {
                let Some(running) = &mut self.servers[server].running else { return };
                running.dialing.remove(&link);
                running.links.insert(link, socket);
                let local = SocketAddr::from(([10, 0, 0, server as u8 + 1], 1023));
                running.events.push(LinkEvent::Opened { link, local });
                self.wake(server, Actor::Ensemble);
            }
            Owner::Client { client } => {
                self.clients[client].dial = None;
                self.with_client(client, |client, world| client.connected(socket, to, world));
            }
            Owner::Conn { .. } => {}
        }
    }

    fn dial_failed(&mut self, owner: Owner, life: u64, why: &str) {
        match owner {
            Owner::Link { server, link } => {
                if self.servers[server].life != life {
                    return;
                }
                let Some(running) = &mut self.servers[server].running else { return };
                running.dialing.remove(&link);
                running.events.push(LinkEvent::Closed { link, why: why.to_owned() });
                self.wake(server, Actor::Ensemble);
            }
            Owner::Client { client } => self.clients[client].dial = None,
            Owner::Conn { .. } => {}
        }
    }

    // What turns want.

    pub(super) fn ensemble_wants(&mut self, index: usize, flush: Option<FlushRequest>, links: Vec<LinkAction>) {
        if let Some(FlushRequest { targets }) = flush {
            let server = &mut self.servers[index];
            let id = server.disk.start_sync(&targets);
            if let Some(running) = &mut server.running {
                running.flush = Some(id);
            }
            let (least_us, spread_us) = self.options.flush_us;
            let slower = if server.is_disk_slow { 100 } else { 1 };
            let micros = (least_us + self.random.below(spread_us)) * slower;
            self.agenda.after(micros, Event::Flushed { server: index, life: server.life });
        }
        for action in links {
            self.link_action(index, action);
        }
    }

    fn link_action(&mut self, index: usize, action: LinkAction) {
        let Some(running) = &mut self.servers[index].running else { return };
        match action {
            LinkAction::Listen { port, addresses } => {
                running.listening[port as usize] = addresses.into_iter().map(|(_, port)| port).collect();
                running.events.push(LinkEvent::Listening { port });
                self.wake(index, Actor::Ensemble);
            }
            LinkAction::StopListening { port } => running.listening[port as usize].clear(),
            LinkAction::Dial { link, host, port, timeout_ms } => self.dial_peer(index, link, &host, port, timeout_ms),
            LinkAction::Send { link, bytes } => {
                if let Some(socket) = running.links.get(&link).copied() {
                    self.taps.hear(socket, &bytes);
                    if self.net.send(&mut self.agenda, socket, bytes) {
                        running.events.push(LinkEvent::Sent { link, buffer: Vec::new() });
                    }
                }
            }
            LinkAction::ReadOn { link, .. } => {
                if let Some(socket) = running.links.get(&link) {
                    self.net.read_on(&mut self.agenda, *socket);
                }
            }
            LinkAction::Close { link } => {
                running.dialing.remove(&link);
                if let Some(socket) = running.links.remove(&link) {
                    self.net.close(&mut self.agenda, socket);
                }
            }
        }
    }

    pub(super) fn worker_wants(&mut self, index: usize, worker: usize, actions: Vec<SocketAction>) {
        let Some(running) = &mut self.servers[index].running else { return };
        let seat = &mut running.workers[worker];
        for action in actions {
            match action {
                SocketAction::Send { conn, bytes } => {
                    if let Some(socket) = seat.conns.get(&conn) {
                        self.net.send(&mut self.agenda, *socket, bytes);
                    }
                }
                SocketAction::ReadOn { conn, .. } => {
                    if let Some(socket) = seat.conns.get(&conn) {
                        self.net.read_on(&mut self.agenda, *socket);
                    }
                }
                SocketAction::Close { conn } | SocketAction::Reset { conn } => {
                    if let Some(socket) = seat.forget(conn) {
                        self.net.close(&mut self.agenda, socket);
                    }
                }
            }
        }
    }
}
