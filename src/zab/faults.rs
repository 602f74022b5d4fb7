//! Faults that tests put back, to show that they are found: by `--cfg put_back="…"` for a whole build, and in this crate's
//! own tests one after the other. Without either every question here is answered no by the compiler.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Leader and learner count a log entry as acknowledged when it is written, not when it is flushed.
    AckBeforeFlush,
    /// A learner writes currentEpoch as soon as NEWLEADER comes.
    EpochBeforeHistory,
    /// A server speaks of what it has applied, not of what it has logged. Put back by the host of the tests.
    #[cfg(test)]
    VoteByApplied,
    /// A learner acknowledges NEWLEADER before its snapshot is durable.
    NewLeaderAckBeforeSnapshotSaved,
    /// Whoever acknowledges counts, voter or not.
    CommitByCountOfLearners,
    /// The leader does not look at what those who promise know.
    NoPromiseCheck,
    /// The leader reads its log on from anywhere, and the learner takes what comes.
    DiffWithHole,
    /// The next epoch is the own one plus one, and may be promised twice.
    ReuseEpoch,
}

impl Fault {
    #[cfg(test)]
    pub const ALL: [Fault; 8] = [
        Fault::AckBeforeFlush,
        Fault::EpochBeforeHistory,
        Fault::VoteByApplied,
        Fault::NewLeaderAckBeforeSnapshotSaved,
        Fault::CommitByCountOfLearners,
        Fault::NoPromiseCheck,
        Fault::DiffWithHole,
        Fault::ReuseEpoch,
    ];

    #[inline(always)]
    pub fn is_put_back(self) -> bool {
        #[cfg(test)]
        if PUT_BACK.get() == Some(self) {
            return true;
        }
        match self {
            Fault::AckBeforeFlush => cfg!(put_back = "ack_before_flush"),
            Fault::EpochBeforeHistory => cfg!(put_back = "epoch_before_history"),
            #[cfg(test)]
            Fault::VoteByApplied => cfg!(put_back = "vote_by_applied"),
            Fault::NewLeaderAckBeforeSnapshotSaved => cfg!(put_back = "newleader_ack_before_snapshot_saved"),
            Fault::CommitByCountOfLearners => cfg!(put_back = "commit_by_count_of_learners"),
            Fault::NoPromiseCheck => cfg!(put_back = "no_promise_check"),
            Fault::DiffWithHole => cfg!(put_back = "diff_with_hole"),
            Fault::ReuseEpoch => cfg!(put_back = "reuse_epoch"),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The fault that this thread's machines have.
    pub(super) static PUT_BACK: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}
