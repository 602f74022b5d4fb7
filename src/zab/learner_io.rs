//! What can happen to a learner, and what it can ask for.

use crate::message::QuorumPacket;
use crate::types::{QuorumConfig, ServerId, SessionId, Zxid};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnerInput {
    /// The connection to the leader's quorum port is open.
    Connected,
    /// From the leader, in the order in which it was sent.
    Packet(QuorumPacket),
    /// The connection is gone, or could not be made in time.
    Lost { why: String },
    /// This server's log is on disk through `through`.
    Flushed { through: Zxid },
    /// The snapshot asked for with `TakeSnapshot` is loaded, and on disk under its zxid.
    SnapshotSaved,
    /// Time has passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnerOutput {
    /// To the leader, behind everything that was sent before.
    Send(QuorumPacket),
    /// Durable before the next output is looked at.
    PersistAcceptedEpoch { epoch: i64 },
    /// Durable before the next output is looked at.
    PersistCurrentEpoch { epoch: i64 },
    /// Cut the log behind `to` and rebuild the state from disk; done and durable before the next output is looked at.
    Truncate { to: Zxid },
    /// A snapshot stream follows on the connection instead of packets: drop the state, load it, save it. Whatever the log has
    /// beyond or before it belongs to another history. `SnapshotSaved` is the answer.
    TakeSnapshot { zxid: Zxid },
    /// To the log; applied when it is committed. Of a reconfiguration the configuration is kept durably before the entry can
    /// be flushed.
    Append { zxid: Zxid, entry: Arc<[u8]> },
    /// Everything appended through this zxid is committed.
    Commit { through: Zxid },
    /// The state is one of an established epoch, complete through everything committed so far: clients may be served.
    Serve { epoch: i64 },
    /// Answer the leader's PING with the sessions heard of since the last one.
    Ping { zxid: Zxid },
    /// The oldest sync that waits is done.
    Synced,
    /// The leader's word on a session.
    Revalidated { session: SessionId, valid: bool },
    /// The newest configuration that the leader knows; durable before the next output is looked at.
    Seen { config: Arc<QuorumConfig> },
    /// It named one that cannot be read.
    Unreadable { why: String },
    /// The epoch has committed this configuration, which `Seen` told of before.
    Adopt { config: Arc<QuorumConfig> },
    /// The transaction committed last, a reconfiguration, is in force: its leader is `designated`.
    Activate { zxid: Zxid, designated: ServerId },
    /// The role ends; nothing more comes. A breach is what no leader of a right mind does.
    GiveUp { why: String, is_breach: bool },
}
