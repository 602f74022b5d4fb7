//! What operators are told of an ensemble: made by the ensemble thread when it is asked, shown by `admin`.

use crate::types::{Instant, ServerId};

/// A member that serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumStatus {
    /// Voters of the configuration, running or not.
    pub voters: u64,
    /// Clients are served since then, in this role.
    pub serving_since: Instant,
    pub part: QuorumPart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumPart {
    Leading(LearnerCounts),
    Following {
        /// `None`: it takes no observers.
        synced_observers: Option<u64>,
    },
    /// Whom it follows: the leader, or a follower.
    Observing {
        leader: ServerId,
    },
}

/// Who follows a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnerCounts {
    /// All that have said who they are, synchronized or not.
    pub learners: u64,
    /// Voters that have the leader's history.
    pub synced_followers: u64,
    /// Followers that have it and no vote.
    pub synced_non_voting_followers: u64,
    pub synced_observers: u64,
    /// Syncs that are not answered yet.
    pub pending_syncs: u64,
}
