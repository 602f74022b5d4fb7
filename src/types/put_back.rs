//! Faults that can be put back into the product to show that the simulator finds them. They exist only in a build with
//! `RUSTFLAGS='--cfg put_backs'` and in this crate's own tests; in every other one `is_on` is a constant, and what it guards is gone.
//!
//! One fault at a time is on, for the thread that asked for it: `put_back`.

macro_rules! faults {
    ($($(#[$about:meta])* $fault:ident, $name:literal, $row:literal, $found_by:ident;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PutBack {
            $($(#[$about])* $fault,)*
        }

        impl PutBack {
            pub const ALL: [PutBack; [$($name),*].len()] = [$(PutBack::$fault),*];

            pub fn name(self) -> &'static str {
                match self {
                    $(PutBack::$fault => $name,)*
                }
            }

            /// Where it was seen: numbers of ZooKeeper's tracker, or another project's.
            pub fn field_row(self) -> &'static str {
                match self {
                    $(PutBack::$fault => $row,)*
                }
            }

            /// Who is to find it.
            fn found_by(self) -> FoundBy {
                match self {
                    $(PutBack::$fault => FoundBy::$found_by,)*
                }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FoundBy {
    /// The simulator of whole ensembles alone.
    Ensembles,
    /// The generator of `zab/tests` as well.
    Zab,
    /// That generator alone.
    ZabAlone,
}

faults! {
    /// Leader and learner count a log entry as acknowledged when it is written, not when it is flushed.
    AckBeforeFlush, "ack_before_flush", "3911, 3023, 4646, 4785", Zab;
    /// A learner writes currentEpoch as soon as NEWLEADER comes.
    EpochBeforeHistory, "epoch_before_history", "4643", Zab;
    /// A server votes with what it has published, not with what it has logged.
    VoteByApplied, "vote_by_applied", "2845", Zab;
    /// A learner acknowledges NEWLEADER before its snapshot is durable.
    NewLeaderAckBeforeSnapshotSaved, "newleader_ack_before_snapshot_saved", "3104", ZabAlone;
    /// Whoever acknowledges counts, voter or not.
    CommitByCountOfLearners, "commit_by_count_of_learners", "observers counted", Zab;
    /// The leader does not look at what those who promise know.
    NoPromiseCheck, "no_promise_check", "leader with less than its followers", ZabAlone;
    /// The leader reads its log on from anywhere, and the learner takes what comes.
    DiffWithHole, "diff_with_hole", "2846, 4925", Zab;
    /// Epochs are what the data say: the next one is that of the last transaction plus one, and may be promised twice.
    ReuseEpoch, "reuse_epoch", "335, 1081", Zab;
    /// A learner whose end lies within the leader's history is sent what follows it, whether it has what comes before or not.
    DiffByBounds, "diff_by_bounds", "1154, 1156, 5010", Ensembles;
    /// An empty history is a place to go on from.
    DiffFromEmpty, "diff_from_empty", "4352", Ensembles;
    /// COMMIT between NEWLEADER and UPTODATE ends the connection.
    CommitBeforeUpToDate, "commit_before_uptodate", "4394", Ensembles;
    /// A leader answers syncs without asking whether it still leads.
    SyncWithoutRound, "sync_without_round", "etcd#20418", Ensembles;
    /// A joiner does not believe in a leader that knows less than itself.
    JoinerComparesVotes, "joiner_compares_votes", "1818", Ensembles;
    /// What was logged and not committed when a role ended is forgotten in memory alone.
    TailNotApplied, "tail_not_applied", "2845, 2355, 3598", Ensembles;
    /// A flush that was begun in one role may end in the next.
    FlushOutlivesRole, "flush_outlives_role", "4712, then_send outlives its role", Ensembles;
    /// Half of a snapshot is taken for a state.
    PartialSnapshotKept, "partial_snapshot_kept", "3642", Ensembles;
    /// A snapshot may hold what is not committed, and stays when the log is cut below it.
    SnapshotOfUncommitted, "snapshot_of_uncommitted", "1549, 4837", Ensembles;
    /// An epoch that cannot be written is promised all the same.
    EpochErrorIgnored, "epoch_error_ignored", "4269, 1653", Ensembles;
    /// A failed flush is taken for done.
    FlushErrorIgnored, "flush_error_ignored", "4882", Ensembles;
    /// Log files are not synced.
    FlushIsNotSynced, "flush_is_not_synced", "acknowledged from the cache", Ensembles;
    /// The name of a new log file is not synced.
    SkipDirectoryFsync, "skip_directory_fsync", "directory not synced", Ensembles;
    /// A log goes on in the file of an earlier process, behind whatever that has written.
    AppendToInheritedFile, "append_to_inherited_file", "1489", Ensembles;
    /// A start counts on what it read being durable.
    TrustTheCache, "trust_the_cache", "restart after kill", Ensembles;
    /// A cut removes the oldest of several files first.
    CutOldestFirst, "cut_oldest_first", "CH#112101, #84434, #102629", Ensembles;
    /// A directory that may have been lost votes as an empty one.
    LostDirectoryVotes, "lost_directory_votes", "582, wiped member", Ensembles;
    /// A version is published before watchers' effects are on the lanes.
    PublishBeforePosting, "publish_before_posting", "watch order", Ensembles;
    /// A worker answers from the version of its last turn what came since.
    PinBeforeReaping, "pin_before_reaping", "stale read", Ensembles;
    /// Reads that a later write of their session has overtaken are answered from the newest version.
    OvertakenReadNewest, "overtaken_read_newest", "a read of what comes after it", Ensembles;
    /// Sessions of the restored state are not taken up.
    SessionsNotRestored, "sessions_not_restored", "1367", Ensembles;
    /// Requests of a session are carried out after its end.
    WritesAfterClose, "writes_after_close", "CH#65198, 4541", Ensembles;
    /// Whoever writes for a session is its owner.
    OwnerUnchecked, "owner_unchecked", "two owners", Ensembles;
    /// Connections of local sessions outlive a state that is replaced.
    LocalConnectionsKept, "local_connections_kept", "a watch over a snapshot", Ensembles;
    /// Who has heard of members to come follows nobody without a quorum of them.
    PendingKeepsAway, "pending_keeps_away", "a change nobody else has heard of", Ensembles;
    /// A leader that moves takes learners where it was.
    QuorumPortStays, "quorum_port_stays", "the only voter moves", Ensembles;
    /// What a server said of its election address goes before the configuration.
    SaidAddressOnly, "said_address_only", "a server that has moved", Ensembles;
}

impl PutBack {
    /// Whether faults can be put back in this build.
    pub const ARE_BUILT_IN: bool = cfg!(any(put_backs, test));

    #[inline(always)]
    pub fn is_on(self) -> bool {
        #[cfg(any(put_backs, test))]
        return CHOSEN.get() == Some(self);
        #[cfg(not(any(put_backs, test)))]
        false
    }

    /// Puts it back on this thread, in place of any other.
    pub fn put_back(self) {
        #[cfg(any(put_backs, test))]
        CHOSEN.set(Some(self));
    }

    /// Nothing is put back on this thread any more.
    pub fn nothing() {
        #[cfg(any(put_backs, test))]
        CHOSEN.set(None);
    }

    /// Whether the generator of `zab/tests` is to find it.
    pub fn is_for_zab(self) -> bool {
        self.found_by() != FoundBy::Ensembles
    }

    /// Whether the simulator of whole ensembles is to find it.
    pub fn is_for_ensembles(self) -> bool {
        self.found_by() != FoundBy::ZabAlone
    }
}

#[cfg(any(put_backs, test))]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<PutBack>> = const { std::cell::Cell::new(None) };
}
