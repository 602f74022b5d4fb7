//! What threads say to each other: `Submit` from a worker to the ensemble thread, `Deliver` back.

use super::{ConnectResponse, Effect, Outcome, Passage, QuorumStatus, WriteOp};
use crate::types::{ConnId, Id, Instant, SessionId, WorkerIndex, Xid, Zxid};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// When a session was last heard from, milliseconds of the monotonic clock. Written by the worker that holds the
/// connection, read by the ensemble thread before it lets a bucket expire.
pub type LastHeard = Arc<AtomicU64>;

/// A connection, named so that the ensemble thread can answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnRef {
    pub worker: WorkerIndex,
    pub conn: ConnId,
}

/// What this server is to its clients and operators, as the ensemble thread last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A server on its own.
    Alone,
    /// Without a leader, or a leader that leaves clients to the others: serves nobody.
    Looking,
    /// Without a leader: serves reads of clients who know that they may be old.
    ReadOnly,
    Leading,
    Following,
    Observing,
}

impl Standing {
    /// Whoever decides about sessions and writes can be asked.
    pub fn is_led(self) -> bool {
        match self {
            Standing::Alone | Standing::Leading | Standing::Following | Standing::Observing => true,
            Standing::Looking | Standing::ReadOnly => false,
        }
    }
}

/// Written by the ensemble thread, read by everybody. It also counts how often service under a leader began, and how often service
/// ended, so that nobody who looks seldom misses that it did.
#[derive(Clone, Debug)]
pub struct StandingSign(Arc<AtomicU64>);

const STANDINGS: [Standing; 6] = [
    Standing::Alone,
    Standing::Looking,
    Standing::ReadOnly,
    Standing::Leading,
    Standing::Following,
    Standing::Observing,
];
const STANDING_BITS: u32 = 8;
const COUNT_BITS: u32 = 28;

const fn lowest(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl StandingSign {
    pub fn new(standing: Standing) -> StandingSign {
        StandingSign(Arc::new(AtomicU64::new(standing as u64)))
    }

    fn store(&self, begins: u64, ends: u64, standing: Standing) {
        let counts = (begins & lowest(COUNT_BITS)) << COUNT_BITS | (ends & lowest(COUNT_BITS));
        self.0.store(counts << STANDING_BITS | standing as u64, Ordering::Release);
    }

    /// Service begins.
    pub fn set(&self, standing: Standing) {
        self.store(self.begins() + u64::from(standing.is_led()), self.ends(), standing);
    }

    /// Service ends: whatever was not answered will not be.
    pub fn end(&self) {
        self.store(self.begins(), self.ends() + 1, Standing::Looking);
    }

    pub fn get(&self) -> Standing {
        STANDINGS[(self.0.load(Ordering::Acquire) & lowest(STANDING_BITS)) as usize]
    }

    /// How often service under a leader has begun.
    pub fn begins(&self) -> u64 {
        self.0.load(Ordering::Acquire) >> (STANDING_BITS + COUNT_BITS)
    }

    /// How often service has ended.
    pub fn ends(&self) -> u64 {
        self.0.load(Ordering::Acquire) >> STANDING_BITS & lowest(COUNT_BITS)
    }
}

/// Takes the ensemble thread's answer to where it is wanted.
pub struct Tell(pub Box<dyn FnOnce(EnsembleStatus) + Send>);

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tell")
    }
}

/// What only the ensemble thread knows.
#[derive(Clone, Debug, Default)]
pub struct EnsembleStatus {
    /// `None`: a server on its own, or one that serves nobody.
    pub quorum: Option<QuorumStatus>,
    /// `None`: not a read-only server.
    pub read_only_since: Option<Instant>,
    pub sessions: Vec<LiveSession>,
    /// `None`: there are none, or could not be.
    pub local_sessions: Option<LocalSessions>,
    /// Digests of the tree at every zxid divisible by 128, oldest first.
    pub digests: Vec<(Zxid, u64)>,
}

/// Sessions that only this server knows.
#[derive(Clone, Debug, Default)]
pub struct LocalSessions {
    pub count: u64,
    pub sessions: Vec<LiveSession>,
}

#[derive(Clone, Copy, Debug)]
pub struct LiveSession {
    pub session: SessionId,
    /// As it was created with.
    pub timeout_ms: i32,
    /// When its bucket ends.
    pub expires_at: Instant,
}

/// From a worker to the ensemble thread.
#[derive(Debug)]
pub enum Submit {
    /// A write of an established session. `overtakes`: its connection has reads to answer from the state right before it.
    Write { from: ConnRef, session: SessionId, xid: Xid, op: WriteOp, ids: Arc<[Id]>, overtakes: bool },
    /// sync, in an ensemble; `path` is echoed.
    Sync { from: ConnRef, session: SessionId, xid: Xid, path: Option<String> },
    /// closeSession asked by the client.
    CloseSession { from: ConnRef, session: SessionId, xid: Xid },
    /// A new session; `timeout_ms` is already clamped.
    CreateSession { from: ConnRef, timeout_ms: i32, read_only: Option<bool> },
    /// A known session on a new connection; the password was checked.
    Reattach { from: ConnRef, session: SessionId, timeout_ms: i32, read_only: Option<bool> },
    /// A connection that outlived a leader was heard from: does its session still live, and here?
    Resume { from: ConnRef, session: SessionId, timeout_ms: i32 },
    /// The connection is gone; its session lives on until it expires.
    Disconnected { from: ConnRef, session: SessionId },
    /// An operator wants to know what only the ensemble thread knows.
    /// `whole`: sessions and digests too, which takes as long as there are many.
    Describe { whole: bool, tell: Tell },
}

impl Submit {
    pub fn write(&self) -> Option<&WriteOp> {
        match self {
            Submit::Write { op, .. } => Some(op),
            _ => None,
        }
    }
}

/// From the ensemble thread to one worker: answers, in the order of their transactions.
#[derive(Debug)]
pub enum Reply {
    Write {
        conn: ConnId,
        xid: Xid,
        outcome: Outcome,
    },
    /// What was committed before the sync came is in the version that this is tagged with.
    Synced {
        conn: ConnId,
        xid: Xid,
        path: Option<String>,
    },
    /// The reads that this connection's next write has overtaken are answered now, from one of the batch's earlier states.
    /// `zxid`: the last of that state.
    Overtaken {
        conn: ConnId,
        cut: u32,
        zxid: Zxid,
    },
    /// Reply to closeSession; the connection is closed behind it.
    SessionClosed {
        conn: ConnId,
        xid: Xid,
        zxid: Zxid,
    },
    /// A session was created or taken over; `last_heard` is to be updated whenever the client is heard from.
    Connected {
        conn: ConnId,
        response: ConnectResponse,
        last_heard: LastHeard,
    },
    Refused {
        conn: ConnId,
        response: ConnectResponse,
    },
    /// The session of a connection that outlived a leader is still its own.
    Resumed {
        conn: ConnId,
        last_heard: LastHeard,
    },
    /// Close without a packet: expired, or taken over by another connection.
    Close {
        conn: ConnId,
    },
}

/// States between two published versions, which are kept as long as this is. What they are, the tree knows (`tree::Cuts`).
#[derive(Clone)]
pub struct Cuts(pub Arc<dyn Any + Send + Sync>);

impl std::fmt::Debug for Cuts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cuts")
    }
}

/// Everything one batch of transactions means to one worker; it takes one slot on the ring.
/// It is put on every lane before the version it is tagged with is published.
#[derive(Debug)]
pub struct Deliver {
    /// The version that a worker must have pinned, or a later one, before it delivers this.
    pub version: u64,
    /// End of that version.
    pub last_zxid: Zxid,
    /// In the order of their transactions; the same for every worker.
    pub effects: Arc<Vec<Effect>>,
    /// This worker's own, in the order of their transactions.
    pub replies: Vec<Reply>,
    /// How the transactions came here, in their order; the same for every worker.
    pub passages: Arc<[Passage]>,
    /// What `Reply::Overtaken` refers to.
    pub cuts: Option<Cuts>,
}

impl Deliver {
    /// Memory this holds while it waits, bytes, roughly.
    pub fn bytes(&self) -> usize {
        size_of::<Deliver>() + self.replies.len() * size_of::<Reply>() + self.effects.len() * size_of::<Effect>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_counts_what_nobody_looked_at() {
        let sign = StandingSign::new(Standing::Looking);
        let all = |sign: &StandingSign| (sign.get(), sign.begins(), sign.ends());
        sign.set(Standing::Leading);
        assert_eq!(all(&sign), (Standing::Leading, 1, 0));
        sign.end();
        sign.set(Standing::ReadOnly);
        assert_eq!(all(&sign), (Standing::ReadOnly, 1, 1), "nobody leads it");
        sign.end();
        sign.set(Standing::Following);
        sign.end();
        assert_eq!(all(&sign), (Standing::Looking, 2, 3));
        // They go round, and nothing else changes with that.
        let old = StandingSign::new(Standing::Looking);
        old.store(lowest(COUNT_BITS), lowest(COUNT_BITS), Standing::Observing);
        old.end();
        assert_eq!(all(&old), (Standing::Looking, lowest(COUNT_BITS), 0));
        old.set(Standing::Following);
        assert_eq!(all(&old), (Standing::Following, 0, 0));
    }
}
