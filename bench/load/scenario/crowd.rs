//! All clients of a scenario on one thread: waits for them, keeps their sessions alive, hands on what they say, and keeps the
//! time of the run. Which of them does what is the scenario's business.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::args::Args;
use crate::engine::{Clock, INTERRUPTED, OnTick};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::poller::Poller;
use crate::scenario::client::{Client, Said};
use crate::session::{Server, raise_descriptor_limit};

const TICK_NS: u64 = 100_000_000;
const BUFFER_BYTES: usize = 64 << 10;

pub struct Crowd {
    pub clients: Vec<Client>,
    servers: Vec<Server>,
    poller: Poller,
    buffer: Vec<u8>,
    said: VecDeque<Said>,
    pub clock: Clock,
    next_tick_ns: u64,
    ping_interval_ns: u64,
    /// When something was last heard from anybody.
    last_heard_ns: u64,
    timeout_ns: u64,
    /// What ended the first connection that was not to end.
    pub first_loss: Option<String>,
    pub connections_lost: usize,
}

impl Crowd {
    pub fn new(args: &Args, clients: usize) -> Result<Crowd, Failure> {
        raise_descriptor_limit(clients)?;
        let servers = args.servers.iter().map(|name| Server::resolve(name)).collect::<Result<Vec<_>, _>>()?;
        let clock = Clock::start();
        Ok(Crowd {
            clients: (0..clients).map(|_| Client::new(args.session_timeout_ms)).collect(),
            servers,
            poller: Poller::new().map_err(Failure::system("creating an epoll instance"))?,
            buffer: vec![0; BUFFER_BYTES],
            said: VecDeque::new(),
            clock,
            next_tick_ns: clock.now_ns() + TICK_NS,
            ping_interval_ns: args.session_timeout_ms as u64 * 1_000_000 / 3,
            last_heard_ns: clock.now_ns(),
            timeout_ns: args.timeout().as_nanos() as u64,
            first_loss: None,
            connections_lost: 0,
        })
    }

    /// Begins a connection of that client; every `turn` the next server is chosen.
    pub fn dial(&mut self, index: usize, turn: usize) -> Result<(), Failure> {
        let server = &self.servers[(index + turn) % self.servers.len()];
        let client = &mut self.clients[index];
        client.dial(server, index / self.servers.len()).map_err(|error| {
            Failure::Unreachable(format!("cannot connect to {} (connection {}): {error}", server.name, index + 1))
        })?;
        client.last_sent_ns = self.clock.now_ns();
        let watched = self.poller.add(client, index as u64).and_then(|()| {
            client.watches_writable = true;
            self.poller.watch_writable(client, index as u64, true)
        });
        watched.map_err(Failure::system("watching a socket"))
    }

    /// Writes what a client has to say.
    pub fn flush(&mut self, index: usize) -> Result<(), Failure> {
        let client = &mut self.clients[index];
        if client.is_down() {
            return Ok(());
        }
        client.flush();
        client.last_sent_ns = self.clock.now_ns();
        self.watch_writable(index)
    }

    fn watch_writable(&mut self, index: usize) -> Result<(), Failure> {
        let client = &mut self.clients[index];
        let unsent = client.has_unsent();
        if !client.is_down() && unsent != client.watches_writable {
            self.poller.watch_writable(client, index as u64, unsent).map_err(Failure::system("watching a socket"))?;
            client.watches_writable = unsent;
        }
        Ok(())
    }

    /// Which server a client is connected to, for messages.
    pub fn server_of(&self, index: usize) -> &str {
        &self.servers[index % self.servers.len()].name
    }

    /// Waits until `until_ns` at most and appends what clients said, with the moment it was heard.
    pub fn wait(
        &mut self,
        until_ns: u64,
        watcher: &mut dyn OnTick,
        meter: &mut Meter,
        heard: &mut Vec<(usize, u64, Said)>,
    ) -> Result<(), Failure> {
        let now_ns = self.clock.now_ns();
        if now_ns >= self.next_tick_ns {
            self.next_tick_ns = now_ns + TICK_NS;
            self.tick(now_ns)?;
            watcher.tick(now_ns, meter);
        }
        let wait_ns = until_ns.min(self.next_tick_ns).saturating_sub(now_ns);
        let ready = self.poller.wait(wait_ns).map_err(Failure::system("waiting"))?;
        for event in 0..ready {
            let index = self.poller.ready(event).token as usize;
            if self.clients[index].is_down() {
                continue;
            }
            self.clients[index].receive(&mut self.buffer, &mut self.said);
            let now_ns = self.clock.now_ns();
            self.last_heard_ns = now_ns;
            for said in self.said.drain(..) {
                heard.push((index, now_ns, said));
            }
            self.clients[index].flush();
            self.watch_writable(index)?;
        }
        Ok(())
    }

    fn tick(&mut self, now_ns: u64) -> Result<(), Failure> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        if now_ns.saturating_sub(self.last_heard_ns) > self.timeout_ns {
            let (seconds, total) = (self.timeout_ns as f64 / 1e9, self.clients.len());
            return Err(Failure::Lost(format!("no reply for {seconds} s on any of {total} connections")));
        }
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.is_attached() && now_ns.saturating_sub(client.last_sent_ns) > self.ping_interval_ns {
                client.ping();
                self.flush(index)?;
            }
        }
        Ok(())
    }

    /// A connection ended that was not to end.
    pub fn lose(&mut self, index: usize, reason: &str) {
        self.clients[index].cut();
        self.connections_lost += 1;
        let what = format!("{}: {reason}", self.server_of(index));
        self.first_loss.get_or_insert(what);
    }

    /// Nothing is wrong when nobody says anything for a while, as nothing was asked.
    pub fn forgive_silence(&mut self) {
        self.last_heard_ns = self.clock.now_ns();
    }

    /// Closes the sessions, so that they do not expire in the middle of somebody's next run.
    pub fn close(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.is_attached()) {
            client.close_session();
            client.flush();
        }
        let end_ns = self.clock.now_ns() + self.timeout_ns.min(5_000_000_000);
        let mut heard = Vec::new();
        while self.clients.iter().any(Client::is_attached) && self.clock.now_ns() < end_ns {
            if self.wait(end_ns, &mut Nobody, &mut Meter::new(), &mut heard).is_err() {
                return;
            }
            for (index, _, said) in heard.drain(..) {
                if matches!(said, Said::Closed(_) | Said::Unreachable(_) | Said::Foreign(_)) {
                    self.clients[index].cut();
                }
            }
        }
    }
}

/// Watches nothing.
pub struct Nobody;

impl OnTick for Nobody {
    fn tick(&mut self, _now_ns: u64, _meter: &mut Meter) {}
}
