//! What a leader and its learners say to each other (quorum-protocol sheet §5). Bytes: `wire/quorum.rs`.

use crate::types::{Id, ServerId, SessionId, Zxid};
use std::sync::Arc;

/// A packet, with its data understood. `entry` is header ‖ record ‖ digest, the bytes of the txn log, encoded once and
/// shared by every learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumPacket {
    /// Learner to leader: a write of one of its clients, or sync.
    Request(ForwardedRequest),
    Proposal {
        zxid: Zxid,
        entry: Arc<[u8]>,
    },
    Ack {
        zxid: Zxid,
    },
    Commit {
        zxid: Zxid,
    },
    /// Leader to learner: `zxid` is the last one proposed. Learner to leader: echoed, with the sessions heard of since.
    Ping {
        zxid: Zxid,
        touched: Vec<(SessionId, i32)>,
    },
    /// Learner to leader: is this session alive?
    Revalidate {
        session: SessionId,
        timeout_ms: i32,
        /// Its connection outlived a leader: it goes on unless the session's client is elsewhere by now. Java's servers neither
        /// say nor read that.
        resumes: bool,
    },
    /// The leader's answer.
    Revalidated {
        session: SessionId,
        valid: bool,
    },
    Sync,
    /// Leader to observer: proposal and commit in one.
    Inform {
        zxid: Zxid,
        entry: Arc<[u8]>,
    },
    CommitAndActivate {
        zxid: Zxid,
        designated: ServerId,
    },
    InformAndActivate {
        zxid: Zxid,
        designated: ServerId,
        entry: Arc<[u8]>,
    },
    NewLeader {
        zxid: Zxid,
        config: Option<Arc<str>>,
    },
    /// First packet of a learner: FOLLOWERINFO, or OBSERVERINFO for observers.
    LearnerInfo {
        observer: bool,
        accepted_epoch: i64,
        info: Option<LearnerInfo>,
    },
    UpToDate,
    Diff {
        zxid: Zxid,
    },
    Trunc {
        zxid: Zxid,
    },
    /// A snapshot stream follows on the connection.
    Snap {
        zxid: Zxid,
    },
    LeaderInfo {
        epoch: i64,
        protocol_version: i32,
    },
    /// `current_epoch` is `None` where the learner has accepted this epoch before (-1 on the wire): it does not count.
    AckEpoch {
        last_zxid: Zxid,
        current_epoch: Option<i32>,
    },
}

/// A request as it travels from a learner to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    pub session: SessionId,
    pub cxid: i32,
    /// The opcode's number; whoever takes it decides whether it knows it.
    pub op: i32,
    /// The client's own bytes of the request record; createSession: the timeout.
    pub body: Vec<u8>,
    /// Identities of the client's connection; the leader trusts them.
    pub ids: Vec<Id>,
}

/// What a learner says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    pub server: ServerId,
    pub protocol_version: i32,
    pub config_version: i64,
    /// What its log holds goes when it takes a snapshot. Said by one byte behind what ZooKeeper's learners say, which its
    /// leaders pass over; those learners keep their log.
    pub drops_log: bool,
}

impl LearnerInfo {
    pub const PROTOCOL_VERSION: i32 = 0x10000;
}
