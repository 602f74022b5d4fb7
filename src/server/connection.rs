//! What a worker knows of one client connection.

use super::output::Output;
use crate::admin;
use crate::message::lane::LastHeard;
use crate::types::{ConnId, Id, Instant, Now, OpCode, SessionId, WallMillis, Xid, Zxid};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing but a four-letter word or a ConnectRequest is expected.
    Greeting,
    /// The ConnectRequest is being answered; nothing is read meanwhile.
    Connecting,
    Established,
    /// It outlived a leader (`leaderless.rs`): nothing is answered before its session is confirmed, which is asked for when
    /// its client is heard from.
    Kept,
    /// The ensemble thread is being asked.
    Resuming,
    /// An operator's question is being answered.
    Asking,
    /// What is in `out` goes out, then the connection is closed; whatever comes in is ignored.
    Ending,
}

/// What waits for the answers to writes before it.
pub(super) enum Waiting {
    Request(Request),
    /// The place of a write that was handed over ahead of the reads before it.
    Overtook,
}

/// A request that waits, as it came: what is proved later does not count for it.
pub(super) struct Request {
    pub op: i32,
    pub payload: Box<[u8]>,
    pub ids: Arc<[Id]>,
    pub since: Instant,
}

/// A write on its way.
pub(super) struct Submitted {
    pub op: OpCode,
    /// How long it waited for those before it on its connection.
    pub ordered_micros: u32,
    pub since: Instant,
}

pub(super) struct Connection {
    pub id: ConnId,
    pub peer: SocketAddr,
    pub phase: Phase,
    /// The session asked for, or given; 0 before.
    pub session: SessionId,
    pub timeout_ms: i32,
    /// Let in while there was no leader: it may read.
    pub read_only: bool,
    pub ids: Arc<[Id]>,
    pub last_heard: Option<LastHeard>,
    pub active_at: Instant,
    pub established: WallMillis,
    /// Bytes that came and were not looked at: the start of a frame, or more than may be carried out now.
    pub input: Vec<u8>,
    /// The socket's read buffer while nothing is to be read.
    pub held_buffer: Option<Vec<u8>>,
    /// Writes handed to the ensemble thread, oldest first.
    pub in_flight: VecDeque<Submitted>,
    /// Requests that wait for writes of the same session before them.
    pub waiting: VecDeque<Waiting>,
    /// Bytes of their payloads.
    pub waiting_bytes: usize,
    /// Writes in flight that have a place among those that wait.
    pub overtook: usize,
    /// Replies and events not handed to the socket yet.
    pub out: Output,
    /// A write of the socket is in flight.
    pub sending: bool,
    /// Buffer of the last write, for the next output.
    pub spare: Vec<u8>,
    /// On the list of connections with output.
    pub dirty: bool,
    /// It is on the list of those with events alone.
    pub told: bool,
    /// It was told with many others, and nothing came from it since.
    pub of_herd: bool,
    /// Bytes of large requests it has in flight; see `ServerRules::large_request_threshold`.
    pub large_bytes: usize,
    /// Since when it is not read from because the server has enough to do; see `throttle.rs`.
    pub throttled_since: Option<Instant>,
    /// What it sent before has waited too long to be carried out.
    pub overdue: bool,
    pub traffic: Traffic,
}

/// What `cons` shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Label of the last request answered.
    pub last_op: &'static str,
    /// Last xid that was not negative; -1 = none.
    pub last_cxid: i64,
    pub last_zxid: Zxid,
    pub last_response: Instant,
    pub last_latency_ms: u64,
    pub latency_ms_min: u64,
    pub latency_ms_max: u64,
    pub latency_ms_sum: u64,
    pub latency_count: u64,
}

impl Traffic {
    pub fn new() -> Traffic {
        Traffic {
            packets_received: 0,
            packets_sent: 0,
            last_op: admin::last_op_label(OpCode::Error),
            last_cxid: -1,
            last_zxid: Zxid(-1),
            last_response: Instant::default(),
            last_latency_ms: 0,
            latency_ms_min: u64::MAX,
            latency_ms_max: 0,
            latency_ms_sum: 0,
            latency_count: 0,
        }
    }

    /// A request was answered; a write that failed counts as `OpCode::Error`.
    pub fn answered(&mut self, op: OpCode, xid: Xid, zxid: Zxid, since: Instant, now: Instant) -> u64 {
        let latency_ms = now.micros_since(since) / 1000;
        self.last_op = admin::last_op_label(op);
        if xid.0 >= 0 {
            self.last_cxid = i64::from(xid.0);
        }
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency_ms = latency_ms;
        self.latency_ms_min = self.latency_ms_min.min(latency_ms);
        self.latency_ms_max = self.latency_ms_max.max(latency_ms);
        self.latency_ms_sum += latency_ms;
        self.latency_count += 1;
        latency_ms
    }
}

/// What `cons` shows as the last request of a session that was attached again: Java has no name for that.
const REATTACHED: &str = "null";

impl Traffic {
    /// The session was attached again, which is no request of it.
    pub fn reattached(&mut self) {
        self.last_op = REATTACHED;
        self.last_cxid = 0;
        self.last_zxid = Zxid::ZERO;
    }
}

impl Connection {
    pub fn new(id: ConnId, peer: SocketAddr, ids: Arc<[Id]>, now: Now) -> Connection {
        Connection {
            id,
            peer,
            phase: Phase::Greeting,
            session: SessionId::NONE,
            timeout_ms: 0,
            read_only: false,
            ids,
            last_heard: None,
            active_at: now.mono,
            established: now.wall,
            input: Vec::new(),
            held_buffer: None,
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            overtook: 0,
            out: Output::default(),
            sending: false,
            spare: Vec::new(),
            dirty: false,
            told: false,
            of_herd: false,
            large_bytes: 0,
            throttled_since: None,
            overdue: false,
            traffic: Traffic::new(),
        }
    }

    /// Requests taken and not answered.
    pub fn outstanding(&self) -> usize {
        self.in_flight.len() + self.waiting.len() - self.overtook
    }

    /// The client was heard from.
    pub fn heard(&mut self, now: Instant) {
        self.active_at = now;
        if let Some(last_heard) = &self.last_heard {
            last_heard.store(now.millis(), std::sync::atomic::Ordering::Relaxed);
        }
    }
}
