//! Clients that write all the while, each in a session of its own, and keep a ledger: what was acknowledged must be there at
//! the end, on every server; what was asked and not answered may be there.
//!
//! A client that loses its server goes to the next one with its session and asks there what became of its last write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::SESSION_MS;
use crate::client::{Connection, Hello, Welcome};
use crate::codec::Frame;
use crate::differential::walk::Tree;
use crate::stories::*;

/// Between two writes of one client.
const PACE: Duration = Duration::from_millis(3);
/// How long a client waits for an answer before it goes to another server.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const SESSION_EXPIRED: i32 = -112;
const SESSION_MOVED: i32 = -118;

/// Clients at work.
pub struct Load {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Client>>,
}

/// What the clients know at the end.
pub struct Ledger {
    clients: Vec<Client>,
}

struct Client {
    name: String,
    servers: Vec<SocketAddr>,
    at: usize,
    session: Option<Welcome>,
    /// Writes that were answered: all from 0 on.
    done: u64,
    reconnects: u64,
    /// Sessions that were lost; `None`: none may be.
    expired: Option<u64>,
    acknowledged: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Load {
    /// The parent of every client's znodes has to be there.
    pub fn begin(servers: &[SocketAddr], clients: usize) -> Load {
        Load::with(servers, clients, None)
    }

    /// Where clients are cut off for longer than their sessions live.
    pub fn begin_where_sessions_expire(servers: &[SocketAddr], clients: usize) -> Load {
        Load::with(servers, clients, Some(0))
    }

    fn with(servers: &[SocketAddr], clients: usize, expired: Option<u64>) -> Load {
        let (over, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let clients = (0..clients).map(|nth| {
            let mut client = Client {
                name: format!("/load-{nth}"),
                servers: servers.to_vec(),
                at: nth % servers.len(),
                session: None,
                done: 0,
                reconnects: 0,
                expired,
                acknowledged: acknowledged.clone(),
                over: over.clone(),
            };
            std::thread::spawn(move || {
                client.write_on();
                client
            })
        });
        let clients = clients.collect();
        Load { over, acknowledged, clients }
    }

    /// Waits until so many more writes are acknowledged.
    pub fn wait_for_more(&self, more: u64) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        let is_so = || self.acknowledged.load(Ordering::Relaxed) >= before + more;
        wait_until("the clients make progress", || is_so() || self.clients.iter().any(JoinHandle::is_finished));
        assert!(is_so(), "a client has failed");
    }

    pub fn end(self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        let clients = self.clients.into_iter().map(|client| client.join().expect("a client failed"));
        Ledger { clients: clients.collect() }
    }
}

impl Ledger {
    pub fn acknowledged(&self) -> u64 {
        self.clients.iter().map(|client| client.done).sum()
    }

    pub fn reconnects(&self) -> u64 {
        self.clients.iter().map(|client| client.reconnects).sum()
    }

    /// Sessions that were lost.
    pub fn expired(&self) -> u64 {
        self.clients.iter().filter_map(|client| client.expired).sum()
    }

    /// Every acknowledged write is in the tree.
    pub fn check(&self, tree: &Tree) {
        for client in &self.clients {
            for n in 0..client.done {
                assert!(tree.contains_key(&client.path(n)), "{} was acknowledged and is not there", client.path(n));
            }
            let children = tree.keys().filter(|path| path.starts_with(&format!("{}/", client.name))).count() as u64;
            assert!(
                children <= client.done + 1,
                "{} has {children} znodes, {} were asked for",
                client.name,
                client.done
            );
        }
    }
}

impl Client {
    fn path(&self, n: u64) -> String {
        format!("{}/{n:08}", self.name)
    }

    fn write_on(&mut self) {
        let mut connection = self.connect();
        let mut is_made = false;
        while !self.over.load(Ordering::Relaxed) {
            let path = if is_made { self.path(self.done) } else { self.name.clone() };
            match connection.call(1, &create(&path, b"written", PERSISTENT)) {
                // There already: the answer to an earlier try was lost.
                Ok((_, Frame::Reply { err: 0 | NODE_EXISTS, .. })) if !is_made => is_made = true,
                Ok((_, Frame::Reply { err: 0 | NODE_EXISTS, .. })) => {
                    self.done += 1;
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok((_, Frame::Closed)) | Err(_) => {
                    self.reconnects += 1;
                    connection = self.connect();
                }
                // No room for it there: it was not done.
                Ok((_, Frame::Reply { err: -1, .. })) if self.expired.is_some() => {}
                // The session expired elsewhere, or moved on.
                Ok((_, Frame::Reply { err: SESSION_EXPIRED | SESSION_MOVED, .. })) if self.expired.is_some() => {
                    connection = self.connect();
                }
                Ok(other) => panic!("{path} was answered {other:?}"),
            }
            sleep(PACE);
        }
        let _ = connection.call(2, &close_session());
    }

    /// To the next server that takes the session.
    fn connect(&mut self) -> Connection {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no server takes {}", self.name);
            self.at = (self.at + 1) % self.servers.len();
            if let Some(connection) = self.try_connect(self.servers[self.at]) {
                return connection;
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn try_connect(&mut self, server: SocketAddr) -> Option<Connection> {
        let mut connection = Connection::open(server).ok()?;
        connection.set_patience(ANSWER_WITHIN);
        let hello = match &self.session {
            Some(session) => Hello::reattach(session.session_id, &session.password, SESSION_MS),
            None => Hello::new_session(SESSION_MS),
        };
        let welcome = connection.shake_hands(&hello).ok()??;
        if welcome.session_id == 0 {
            *self.expired.as_mut().unwrap_or_else(|| panic!("{} has lost its session", self.name)) += 1;
            self.session = None;
            return None;
        }
        self.session = Some(welcome);
        Some(connection)
    }
}
