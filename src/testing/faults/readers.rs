//! Clients that read all the while, each with an ephemeral: nothing that a session is told goes back, whichever server it goes to,
//! and its ephemeral is there as long as it is, and no longer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::{Connection, Hello, Welcome};
use crate::codec::{Body, Frame, Op, op};
use crate::ensemble::SESSION_MS;
use crate::stories::*;

const PARENT: &str = "/ephemerals";
/// Between two reads.
const PACE: Duration = Duration::from_millis(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Every other reader's: many faults last longer.
const SHORT_SESSION_MS: i32 = 1500;

pub fn set_up(server: SocketAddr) {
    let (mut setter, _) = session(server, SESSION_MS);
    setter.ask(1, &create(PARENT, b"", PERSISTENT));
    setter.ask(2, &close_session());
}

pub struct Reader<'a> {
    servers: &'a [SocketAddr],
    at: usize,
    over: &'a AtomicBool,
    timeout_ms: i32,
    session: Option<Welcome>,
    /// Newest that this session was told.
    last_zxid: i64,
    last_mzxid: i64,
    pub reads: u64,
    pub expired: u64,
}

/// A session that is still there.
pub struct Alive {
    connection: Connection,
    ephemeral: String,
}

impl Alive {
    fn end(mut self) -> Option<Alive> {
        let _ = self.connection.call(9, &close_session());
        None
    }
}

fn name_of(session_id: i64) -> String {
    format!("{PARENT}/{session_id:x}")
}

impl<'a> Reader<'a> {
    pub fn new(nth: usize, servers: &'a [SocketAddr], over: &'a AtomicBool) -> Reader<'a> {
        let timeout_ms = if nth.is_multiple_of(2) { SESSION_MS } else { SHORT_SESSION_MS };
        Reader { servers, at: nth, over, timeout_ms, session: None, last_zxid: 0, last_mzxid: 0, reads: 0, expired: 0 }
    }

    /// Reads until the story is over; its session is still there unless it is short.
    pub fn work(&mut self) -> Option<Alive> {
        let mut connection = None;
        loop {
            let mut open = connection.take().unwrap_or_else(|| self.connect());
            // The last read must get through.
            if self.read(&mut open).is_some() {
                if self.over.load(Ordering::Relaxed) {
                    let session = self.session.as_ref().expect("it is connected");
                    let alive = Alive { connection: open, ephemeral: name_of(session.session_id) };
                    return if self.timeout_ms == SESSION_MS { Some(alive) } else { alive.end() };
                }
                connection = Some(open);
            }
            sleep(PACE);
        }
    }

    fn read(&mut self, connection: &mut Connection) -> Option<()> {
        for (xid, op) in [(1, get("/r1")), (2, children(PARENT))] {
            let Ok((_, Frame::Reply { zxid, err: 0, body, .. })) = connection.call(xid, &op) else { return None };
            assert!(zxid >= self.last_zxid, "told {zxid:#x} after {:#x}", self.last_zxid);
            self.last_zxid = zxid;
            match body {
                Body::Data(_, stat) => {
                    assert!(stat.mzxid >= self.last_mzxid, "/r1 of {:#x} after {:#x}", stat.mzxid, self.last_mzxid);
                    self.last_mzxid = stat.mzxid;
                }
                Body::NamesStat(names, _) => {
                    let session = self.session.as_ref().expect("it is connected");
                    let own = format!("{:x}", session.session_id);
                    let is_there = names.iter().any(|name| name.as_str() == Some(&own));
                    assert!(is_there, "session {own} lives, its ephemeral is gone: {names:?}");
                }
                other => panic!("{op:?} was answered {other:?}"),
            }
            self.reads += 1;
        }
        Some(())
    }

    fn connect(&mut self) -> Connection {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no server takes a reader");
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
            Some(session) => {
                let hello = Hello::reattach(session.session_id, &session.password, self.timeout_ms);
                Hello { last_zxid_seen: self.last_zxid, ..hello }
            }
            None => Hello::new_session(self.timeout_ms),
        };
        let welcome = connection.shake_hands(&hello).ok()??;
        if welcome.session_id == 0 {
            let dead = self.session.take().expect("a new session is granted");
            self.expired += 1;
            (self.last_zxid, self.last_mzxid) = (0, 0);
            self.check_dead(server, &name_of(dead.session_id));
            return None;
        }
        let ephemeral = name_of(welcome.session_id);
        self.session = Some(welcome);
        // There already: this is no new session, or the answer was lost.
        matches!(
            connection.call(1, &create(&ephemeral, b"", EPHEMERAL)),
            Ok((_, Frame::Reply { err: 0 | NODE_EXISTS, .. }))
        )
        .then_some(connection)
    }

    /// A server that calls a session dead has no ephemeral of it.
    fn check_dead(&self, server: SocketAddr, ephemeral: &str) {
        let Ok(mut connection) = Connection::open(server) else { return };
        connection.set_patience(ANSWER_WITHIN);
        if !matches!(connection.shake_hands(&Hello::new_session(SESSION_MS)), Ok(Some(welcome)) if welcome.session_id != 0)
        {
            return;
        }
        if let Ok((_, Frame::Reply { err, .. })) = connection.call(1, &exists(ephemeral)) {
            assert_eq!(err, NO_NODE, "{ephemeral} outlives its session at {server}");
        }
        let _ = connection.call(2, &close_session());
    }
}

/// Every server has the ephemerals of the living, and of nobody else; then of nobody.
pub fn check_ephemerals(servers: &[SocketAddr], alive: Vec<Alive>) {
    let mut expected: Vec<String> = alive.iter().map(|alive| alive.ephemeral.clone()).collect();
    expected.sort();
    // A session whose last answer was lost has to expire first.
    for server in servers {
        wait_until(&format!("{server} has {expected:?}"), || ephemerals(*server) == expected);
    }
    alive.into_iter().for_each(|alive| drop(alive.end()));
    for server in servers {
        wait_until("no ephemeral is left", || ephemerals(*server).is_empty());
    }
}

fn ephemerals(server: SocketAddr) -> Vec<String> {
    let (mut client, _) = session(server, SESSION_MS);
    client.ask(1, &Op::Path { opcode: op::SYNC, path: PARENT.into() });
    let Body::NamesStat(names, _) = client.ask(2, &children(PARENT)) else { panic!("no children") };
    client.ask(3, &close_session());
    let mut names: Vec<String> =
        names.iter().map(|name| format!("{PARENT}/{}", name.as_str().expect("a name of ours"))).collect();
    names.sort();
    names
}
