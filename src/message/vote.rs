//! What servers say to each other while they choose a leader (quorum-protocol sheet §3). Bytes: `wire/election.rs`.

use crate::types::{ServerId, ServerState, Zxid};
use std::sync::Arc;

/// Whom a server wants as leader, or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    pub leader: ServerId,
    /// Last zxid of the leader's history as voted.
    pub zxid: Zxid,
    /// The round (`logicalclock`) in which it was cast.
    pub round: i64,
    /// While looking: current epoch of the proposed leader; afterwards: the epoch it leads.
    pub peer_epoch: i64,
}

/// One message on an election connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub state: ServerState,
    pub vote: Vote,
    /// Form of the message: 2 is today's; 1 has no config, 0 is from before 3.5.
    pub version: i32,
    /// Text of the sender's committed configuration, as `/zookeeper/config` holds it.
    pub config: Option<Arc<str>>,
}

impl Notification {
    pub const VERSION: i32 = 2;
}
