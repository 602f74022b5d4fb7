//! The words that stories are told in: requests with the usual arguments, sessions opened in one line, patience.
//!
//! Owns no rules of the protocol (`codec.rs`, `client.rs`) and no processes (`process.rs`).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Connection, Hello, Welcome};
use crate::codec::{self, Acl, Body, Data, Frame, Op, op};
use crate::process::Server;

pub const PERSISTENT: i32 = 0;
pub const EPHEMERAL: i32 = 1;
pub const SEQUENTIAL: i32 = 2;
pub const CONTAINER: i32 = 4;
pub const TTL: i32 = 5;

pub const NO_NODE: i32 = -101;
pub const BAD_VERSION: i32 = -103;
pub const NODE_EXISTS: i32 = -110;

/// `EventType` values.
pub const DELETED: i32 = 2;
pub const DATA_CHANGED: i32 = 3;

pub fn create(path: &str, data: &[u8], flags: i32) -> Op {
    Op::Create { opcode: op::CREATE, path: path.into(), data: Data(Some(data.to_vec())), acl: Acl::open(), flags }
}

pub fn create_container(path: &str) -> Op {
    Op::Create { opcode: op::CREATE_CONTAINER, path: path.into(), data: Data(None), acl: Acl::open(), flags: CONTAINER }
}

pub fn create_ttl(path: &str, ttl_ms: i64) -> Op {
    Op::CreateTtl { path: path.into(), data: Data(None), acl: Acl::open(), flags: TTL, ttl: ttl_ms }
}

pub fn set(path: &str, data: &[u8]) -> Op {
    Op::SetData { path: path.into(), data: Data(Some(data.to_vec())), version: -1 }
}

pub fn delete(path: &str) -> Op {
    Op::Delete { path: path.into(), version: -1 }
}

pub fn check(path: &str, version: i32) -> Op {
    Op::Check { path: path.into(), version }
}

pub fn get(path: &str) -> Op {
    Op::Read { opcode: op::GET_DATA, path: path.into(), watch: false }
}

pub fn get_and_watch(path: &str) -> Op {
    Op::Read { opcode: op::GET_DATA, path: path.into(), watch: true }
}

pub fn exists(path: &str) -> Op {
    Op::Read { opcode: op::EXISTS, path: path.into(), watch: false }
}

pub fn children(path: &str) -> Op {
    Op::Read { opcode: op::GET_CHILDREN2, path: path.into(), watch: false }
}

pub fn multi(items: Vec<Op>) -> Op {
    Op::Multi { opcode: op::MULTI, items }
}

pub fn multi_read(items: Vec<Op>) -> Op {
    Op::Multi { opcode: op::MULTI_READ, items }
}

pub fn watch_for_ever(path: &str, recursive: bool) -> Op {
    Op::Watch { opcode: op::ADD_WATCH, path: path.into(), kind: i32::from(recursive) }
}

pub fn ping() -> Op {
    Op::Bare { opcode: op::PING }
}

pub fn close_session() -> Op {
    Op::Bare { opcode: op::CLOSE_SESSION }
}

/// A fresh session that must be granted.
pub fn session(address: SocketAddr, timeout_ms: i32) -> (Connection, Welcome) {
    greet(address, &Hello::new_session(timeout_ms)).expect("a new session was refused")
}

/// `None` when the server refuses.
pub fn greet(address: SocketAddr, hello: &Hello) -> Option<(Connection, Welcome)> {
    let mut connection = Connection::open(address).expect("cannot connect");
    let welcome = connection.shake_hands(hello).expect("no handshake")?;
    (welcome.session_id != 0).then_some((connection, welcome))
}

pub fn reattach(address: SocketAddr, welcome: &Welcome, timeout_ms: i32) -> Option<(Connection, Welcome)> {
    greet(address, &Hello::reattach(welcome.session_id, &welcome.password, timeout_ms))
}

/// The error code of a reply; whatever else comes is no reply.
pub fn code_of(answer: io::Result<(Vec<Frame>, Frame)>) -> i32 {
    match answer {
        Ok((_, Frame::Reply { err, .. })) => err,
        other => panic!("no reply but {other:?}"),
    }
}

/// Content of a znode that must be there.
pub fn text_of(body: &Body) -> &str {
    match body {
        Body::Data(Data(Some(bytes)), _) => std::str::from_utf8(bytes).expect("we write text only"),
        other => panic!("no data but {other:?}"),
    }
}

pub fn number_of(body: &Body) -> u64 {
    text_of(body).parse().unwrap_or_else(|_| panic!("no number but {body:?}"))
}

/// The next frame, decoded as the reply of `opcode` unless it is an event.
pub fn next(connection: &mut Connection, opcode: i32) -> io::Result<Frame> {
    let frame = connection.next_frame()?;
    Ok(frame.map_or(Frame::Closed, |bytes| codec::decode_frame(&bytes, Some(opcode))))
}

/// Whether the server closes without another word (an orderly end or a reset) before patience runs out.
pub fn is_closed_silently(connection: &mut Connection) -> bool {
    matches!(connection.next_frame(), Ok(None))
}

/// Far longer than anything takes on the slowest machine: who waits so long waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again and again until the answer is yes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "after {PATIENCE:?} still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the server hardly uses its processor for a second. One that turns in circles never comes to rest.
pub fn wait_until_at_rest(server: &Server) {
    wait_until("the server is at rest", || {
        let before = server.cpu_time();
        std::thread::sleep(Duration::from_secs(1));
        server.cpu_time() - before < Duration::from_millis(300)
    });
}

/// One value of `mntr`.
pub fn gauge(server: &Server, key: &str) -> u64 {
    let text = server.four_letter("mntr");
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("mntr has no number {key}:\n{text}"))
}

/// The ways in which our threads can be laid out, whatever machine the test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Threads {
    /// Worker and ensemble share one.
    One,
    /// An ensemble thread and so many workers.
    Workers(u16),
}

impl Threads {
    pub fn choose(self, server: &mut Server) {
        match self {
            Threads::One => server.set("cores.list", "0"),
            Threads::Workers(count) => server.set("cores.workers", &count.to_string()),
        };
    }
}
