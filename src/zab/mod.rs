//! Agreement on one sequence of transactions (ZAB 1.0; quorum-protocol sheet §5 to §13): discovery, synchronization,
//! broadcast. Pure state machines: no sockets, files, clocks, threads, random numbers. What happens goes in through
//! `step`, what is to be done comes out, in the order in which it is to be done.
//!
//! In reading order:
//! - `sync_plan`: DIFF, TRUNC or SNAP, from what a learner has and what the leader has
//! - `reconfig`: the one or two configurations whose quorums count; `acks`: which proposals a quorum has on disk
//! - `leader`, and within it `learners`: the leader's view of those who follow it
//! - `learner`: a follower or an observer
//!
//! **Durable before said.** Outputs are carried out one after the other. One that persists an epoch is durable before the next
//! is looked at; a log entry counts only when its flush comes back as `Flushed`, and whatever speaks of it is sent then.
//! A machine lives as long as its role: what it has not said when the role ends is never said.
//!
//! Invariants: a commit has a quorum of voters whose logs are flushed through it; zxids of one epoch have no holes; a
//! learner acknowledges NEWLEADER only with the leader's whole history on its disk.

mod acks;
mod leader;
mod leader_io;
mod learner;
mod learner_io;
mod learners;
mod observer_master;
mod reconfig;
mod sync_plan;
#[cfg(test)]
mod tests;

pub use leader::{Leader, LeaderStart};
pub use leader_io::{LeaderInput, LeaderOutput, SyncToken};
pub use learner::{Learner, LearnerStart};
pub use learner_io::{LearnerInput, LearnerOutput};
pub use observer_master::{ObserverMaster, ObserverMasterOutput, ObserverMasterStart};
pub use sync_plan::{History, OnDisk, SyncPlan, plan};

/// Times that both sides use (`tickTime`, `initLimit`, `syncLimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// ms, from 1.
    pub tick_ms: u64,
    /// Ticks for everything up to NEWLEADER's acknowledgement, from 1.
    pub init_ticks: u64,
    /// Ticks of silence that are borne afterwards, from 1.
    pub sync_ticks: u64,
}

impl Limits {
    pub fn init_ms(&self) -> u64 {
        self.tick_ms * self.init_ticks
    }

    pub fn sync_ms(&self) -> u64 {
        self.tick_ms * self.sync_ticks
    }
}

/// Epoch of a zxid, as epochs are written to disk.
pub(crate) fn epoch_of(zxid: crate::types::Zxid) -> i64 {
    i64::from(zxid.epoch())
}

/// The zxid that stands for the beginning of an epoch: NEWLEADER and its acknowledgement carry it.
pub(crate) fn first_of(epoch: i64) -> crate::types::Zxid {
    crate::types::Zxid(epoch << 32)
}
