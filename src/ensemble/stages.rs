//! Where transactions are on their way, and how long each stage took them (`docs/latency.md`). What one turn prepares, or has
//! proposed to it, goes on together: one group is stamped, whatever the number of its transactions.
//!
//! ```text
//! taken ─ prepare ─ prepared ─ log_wait ─ copy_began ─ log_copy ─ copied ─ flush ─ flushed
//!                      └────────────── quorum (a leader) ──────────────┬─ committed ─ apply ─ released
//! a learner's own:  taken ─ forward ─ appended ─────── commit ─────────┘
//! ```
//! A group counts as copied, flushed or committed when its last transaction is.

use super::driver::Ensemble;
use super::role::Role;
use crate::message::{Passage, TxnHeader};
use crate::observe::{MetricsWriter, Summary};
use crate::types::{Instant, Now, Operation, OperationCounts, Role as MemberRole, Stage, StageClock, WallMillis, Zxid};
use std::collections::VecDeque;

/// Transactions of one turn.
struct Group {
    through: Zxid,
    counts: OperationCounts,
    /// By the leader's wall clock, the last of them.
    proposed: WallMillis,
    taken: Instant,
    prepared: Instant,
    copy_began: Option<Instant>,
    copied: Option<Instant>,
    flushed: Option<Instant>,
    committed: Option<Instant>,
    /// Its answers are on their way, or it has none here.
    is_released: bool,
}

impl Group {
    fn is_over(&self) -> bool {
        self.flushed.is_some() && self.is_released
    }

    /// What its answers tell; what is not done by now was not on their way.
    fn passage(&self) -> Passage {
        let mut passage = Passage::new(self.through, self.taken);
        passage.spend(Stage::Prepare, self.taken, self.prepared);
        if let (Some(copy_began), Some(copied), Some(flushed)) = (self.copy_began, self.copied, self.flushed) {
            passage.spend(Stage::LogWait, self.prepared, copy_began);
            passage.spend(Stage::LogCopy, copy_began, copied);
            passage.spend(Stage::Flush, copied, flushed);
        }
        if let Some(committed) = self.committed {
            passage.spend(Stage::Quorum, self.prepared, committed);
        }
        passage
    }
}

pub(super) struct Stages {
    clock: StageClock,
    now: Now,
    /// The clock as it was read last in this turn.
    read: Instant,
    /// Of this turn, so far.
    counts: OperationCounts,
    through: Option<Zxid>,
    /// Prepared here, not proposed by a leader elsewhere.
    is_own: bool,
    proposed: WallMillis,
    /// What the request is that becomes the next transaction.
    asked: Option<Operation>,
    groups: VecDeque<Group>,
    /// A learner: of those whose clients wait here.
    passages: VecDeque<Passage>,
    /// A learner: applied in this turn.
    applied: OperationCounts,
}

impl Stages {
    pub fn new(clock: StageClock) -> Stages {
        Stages {
            clock,
            now: Now::default(),
            read: Instant::default(),
            counts: OperationCounts::default(),
            through: None,
            is_own: false,
            proposed: WallMillis::default(),
            asked: None,
            groups: VecDeque::new(),
            passages: VecDeque::new(),
            applied: OperationCounts::default(),
        }
    }

    pub fn turn_begins(&mut self, now: Now) {
        (self.now, self.read) = (now, now.mono);
    }

    /// When this turn began.
    pub fn turn_began(&self) -> Instant {
        self.now.mono
    }

    /// The next transaction comes of this: a failed one does not tell.
    pub fn asked(&mut self, operation: Operation) {
        self.asked = Some(operation);
    }

    /// A transaction was made here.
    pub fn prepared(&mut self, zxid: Zxid, operation: Operation) {
        let operation = self.asked.take().unwrap_or(operation);
        self.staged(zxid, operation, self.now.wall);
        self.is_own = true;
    }

    /// A leader's transaction was taken into the log.
    pub fn proposed(&mut self, header: &TxnHeader, operation: Operation) {
        self.staged(header.zxid, operation, header.time);
        self.is_own = false;
    }

    fn staged(&mut self, zxid: Zxid, operation: Operation, proposed: WallMillis) {
        self.counts.count(operation);
        (self.through, self.proposed) = (Some(zxid), proposed);
    }

    /// All that this turn takes is taken.
    pub fn turn_prepared(&mut self, metrics: &MetricsWriter) {
        let Some(through) = self.through.take() else { return };
        let counts = std::mem::take(&mut self.counts);
        self.read_clock();
        if self.is_own {
            metrics.record_stages(&counts, Stage::Prepare, self.read.micros_since(self.now.mono));
        }
        self.groups.push_back(Group {
            through,
            counts,
            proposed: self.proposed,
            taken: self.now.mono,
            prepared: self.read,
            copy_began: None,
            copied: None,
            flushed: None,
            committed: None,
            is_released: !self.is_own,
        });
    }

    fn read_clock(&mut self) {
        self.read = self.clock.read(self.now.mono);
    }

    /// The log was copied through this transaction just now.
    pub fn copied(&mut self, through: Zxid, metrics: &MetricsWriter) {
        let began = self.read;
        self.read_clock();
        for group in self.groups.iter_mut().take_while(|group| group.through <= through) {
            if group.copied.is_none() {
                (group.copy_began, group.copied) = (Some(began), Some(self.read));
                metrics.record_stages(&group.counts, Stage::LogWait, began.micros_since(group.prepared));
                metrics.record_stages(&group.counts, Stage::LogCopy, self.read.micros_since(began));
            }
        }
    }

    /// `synced`: by a flush, which `forceSync=no` does without.
    pub fn flushed(&mut self, through: Zxid, synced: bool, metrics: &MetricsWriter) {
        for group in self.groups.iter_mut().take_while(|group| group.through <= through) {
            if let (Some(copied), None) = (group.copied, group.flushed) {
                group.flushed = Some(self.read);
                if synced {
                    metrics.record_stages(&group.counts, Stage::Flush, self.read.micros_since(copied));
                }
            }
        }
        self.forget_what_is_over();
    }

    /// A leader: a quorum has it. Java's `quorum_ack_latency` goes by the wall clock, as its other latencies of proposals.
    pub fn committed(&mut self, through: Zxid, metrics: &MetricsWriter) {
        for group in self.groups.iter_mut().take_while(|group| group.through <= through) {
            if group.committed.is_none() {
                group.committed = Some(self.read);
                metrics.record_stages(&group.counts, Stage::Quorum, self.read.micros_since(group.prepared));
                let ms = ms_between(group.proposed, self.now.wall);
                metrics.record_n(Summary::QuorumAckLatency, ms, group.counts.total());
            }
        }
    }

    /// A learner: a transaction has been applied; `forwarded`: its client waits here since it went to the leader.
    pub fn applied(&mut self, zxid: Zxid, operation: Operation, appended: Instant, forwarded: Option<Instant>) {
        self.applied.count(operation);
        let Some(taken) = forwarded else { return };
        let mut passage = Passage::new(zxid, taken);
        passage.spend(Stage::Forward, taken, appended);
        passage.spend(Stage::Commit, appended, self.now.mono);
        match self.passages.back_mut() {
            Some(last) if last.is_same_way(&passage) => last.through = zxid,
            _ => self.passages.push_back(passage),
        }
    }

    /// The answers through this transaction are about to be put on the lanes; what they are told.
    pub fn released(&mut self, through: Zxid, metrics: &MetricsWriter) -> Vec<Passage> {
        self.read_clock();
        let applied = std::mem::take(&mut self.applied);
        metrics.record_stages(&applied, Stage::Apply, self.read.micros_since(self.now.mono));
        let mut passages = Vec::new();
        while let Some(mut passage) = self.passages.pop_front_if(|passage| passage.through <= through) {
            passage.spend(Stage::Apply, self.now.mono, self.read);
            passage.released = self.read;
            passages.push(passage);
        }
        for group in self.groups.iter_mut().take_while(|group| group.through <= through) {
            if group.is_released {
                continue;
            }
            group.is_released = true;
            let committed = group.committed.or(group.flushed).unwrap_or(self.now.mono);
            metrics.record_stages(&group.counts, Stage::Apply, self.read.micros_since(committed));
            let ms = ms_between(group.proposed, self.now.wall);
            metrics.record_n(Summary::PropagationLatency, ms, group.counts.total());
            let mut passage = group.passage();
            passage.spend(Stage::Apply, committed, self.read);
            passage.released = self.read;
            passages.push(passage);
        }
        self.forget_what_is_over();
        passages
    }

    /// Java's `proposal_ack_creation_latency`.
    fn acknowledged(&self, through: Zxid, metrics: &MetricsWriter) {
        for group in self.groups.iter().take_while(|group| group.through <= through) {
            if group.flushed.is_none() {
                let ms = ms_between(group.proposed, self.now.wall);
                metrics.record_n(Summary::ProposalAckCreationLatency, ms, group.counts.total());
            }
        }
    }

    fn forget_what_is_over(&mut self) {
        while self.groups.pop_front_if(|group| group.is_over()).is_some() {}
    }

    /// The role is over: what it had not finished is nobody's.
    pub fn clear(&mut self) {
        *self = Stages { now: self.now, read: self.read, ..Stages::new(self.clock) };
    }
}

impl Ensemble {
    /// This server's own log is on disk through a transaction. A voter acknowledges it with that.
    pub(super) fn log_is_flushed(&mut self, through: Zxid, synced: bool) {
        let acknowledges = match &self.role {
            Role::Leading(_) => true,
            Role::Learning(_) => self.seat().configs.role() == MemberRole::Participant,
            Role::Alone | Role::Ending | Role::Looking => false,
        };
        if acknowledges {
            self.stages.acknowledged(through, &self.metrics);
        }
        self.stages.flushed(through, synced, &self.metrics);
    }
}

/// By two servers' wall clocks: no less than nothing.
pub(super) fn ms_between(from: WallMillis, to: WallMillis) -> u64 {
    u64::try_from(to.0 - from.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Latencies, MetricsRegistry};
    use crate::types::SessionId;
    use std::cell::Cell;

    thread_local! {
        static CLOCK: Cell<u64> = const { Cell::new(0) };
    }

    fn at(micros: u64) -> Instant {
        Instant { micros }
    }

    /// Stages whose clock shows what the test sets.
    struct Bench {
        registry: MetricsRegistry,
        metrics: MetricsWriter,
        stages: Stages,
    }

    impl Bench {
        fn new() -> Bench {
            let registry = MetricsRegistry::new();
            let clock = StageClock::reading(|| CLOCK.with(|clock| at(clock.get())));
            Bench { metrics: registry.register(), registry, stages: Stages::new(clock) }
        }

        fn time_is(&self, micros: u64) {
            CLOCK.with(|clock| clock.set(micros));
        }

        fn turn(&mut self, micros: u64) {
            self.time_is(micros);
            self.stages.turn_begins(Now { mono: at(micros), wall: WallMillis(1_000 + micros as i64 / 1000) });
        }

        fn read(&self) -> Latencies {
            self.registry.read_latencies()
        }

        /// How many, and the longest.
        fn seen(&self, operation: Operation, stage: Stage) -> (u64, u64) {
            let readout = self.read().of_operation(operation, stage);
            (readout.count(), readout.max_micros())
        }

        fn summary(&self, summary: Summary) -> (u64, u64) {
            let readout = self.registry.read().summary(summary);
            (readout.count, readout.max)
        }
    }

    #[test]
    fn a_server_of_its_own() {
        let mut bench = Bench::new();
        bench.turn(100);
        bench.stages.prepared(Zxid(1), Operation::SetData);
        bench.stages.asked(Operation::Create);
        bench.stages.prepared(Zxid(2), Operation::Other);
        bench.stages.prepared(Zxid(3), Operation::SetData);
        bench.time_is(130);
        bench.stages.turn_prepared(&bench.metrics);
        bench.time_is(135);
        bench.stages.copied(Zxid(3), &bench.metrics);
        // What comes while the flush is in flight waits for the next.
        bench.turn(200);
        bench.stages.prepared(Zxid(4), Operation::Delete);
        bench.time_is(210);
        bench.stages.turn_prepared(&bench.metrics);
        bench.turn(2_135);
        bench.stages.flushed(Zxid(3), true, &bench.metrics);
        bench.time_is(2_140);
        let passages = bench.stages.released(Zxid(3), &bench.metrics);
        bench.time_is(2_150);
        bench.stages.turn_prepared(&bench.metrics);
        bench.stages.copied(Zxid(4), &bench.metrics);

        assert_eq!(bench.seen(Operation::SetData, Stage::Prepare), (2, 30));
        assert_eq!(bench.seen(Operation::Create, Stage::Prepare), (1, 30));
        assert_eq!(bench.seen(Operation::Other, Stage::Prepare), (0, 0), "it is what was asked for");
        assert_eq!(bench.seen(Operation::SetData, Stage::LogWait), (2, 0));
        assert_eq!(bench.seen(Operation::SetData, Stage::LogCopy), (2, 5));
        assert_eq!(bench.seen(Operation::SetData, Stage::Flush), (2, 2_000));
        assert_eq!(bench.seen(Operation::SetData, Stage::Apply), (2, 5));
        assert_eq!(bench.seen(Operation::SetData, Stage::Quorum), (0, 0));
        assert_eq!(bench.seen(Operation::Delete, Stage::LogWait), (1, 2_140 - 210));
        assert_eq!(bench.seen(Operation::Delete, Stage::LogCopy), (1, 10));
        assert_eq!(bench.seen(Operation::Delete, Stage::Flush), (0, 0), "not over");
        assert_eq!(bench.summary(Summary::PropagationLatency), (3, 2));
        assert_eq!(bench.summary(Summary::QuorumAckLatency), (0, 0));
        assert_eq!(bench.summary(Summary::ProposalAckCreationLatency), (0, 0));

        assert_eq!(passages.len(), 1);
        let passage = passages[0];
        assert_eq!((passage.through, passage.taken, passage.released), (Zxid(3), at(100), at(2_140)));
        assert_eq!([Stage::Prepare, Stage::LogCopy, Stage::Flush].map(|stage| passage.spent(stage)), [30, 5, 2_000]);
        assert_eq!(bench.stages.groups.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn without_flushes_there_is_none_to_time() {
        let mut bench = Bench::new();
        bench.turn(100);
        bench.stages.prepared(Zxid(1), Operation::SetData);
        bench.stages.turn_prepared(&bench.metrics);
        bench.stages.copied(Zxid(1), &bench.metrics);
        bench.stages.flushed(Zxid(1), false, &bench.metrics);
        assert_eq!(bench.stages.released(Zxid(1), &bench.metrics).len(), 1);
        assert_eq!(bench.seen(Operation::SetData, Stage::LogCopy).0, 1);
        assert_eq!(bench.seen(Operation::SetData, Stage::Flush).0, 0);
    }

    #[test]
    fn a_leader_whose_disk_is_slower_than_the_others() {
        let mut bench = Bench::new();
        bench.turn(1_000);
        bench.stages.prepared(Zxid(1), Operation::SetData);
        bench.time_is(1_050);
        bench.stages.turn_prepared(&bench.metrics);
        bench.stages.copied(Zxid(1), &bench.metrics);
        bench.turn(4_050);
        bench.stages.committed(Zxid(1), &bench.metrics);
        bench.time_is(4_060);
        let passages = bench.stages.released(Zxid(1), &bench.metrics);
        assert_eq!(passages[0].spent(Stage::Quorum), 3_000);
        assert_eq!(passages[0].spent(Stage::Flush), 0, "nobody waited for it");
        assert_eq!(bench.summary(Summary::QuorumAckLatency), (1, 3));
        bench.turn(9_050);
        bench.stages.acknowledged(Zxid(1), &bench.metrics);
        bench.stages.flushed(Zxid(1), true, &bench.metrics);
        assert_eq!(bench.seen(Operation::SetData, Stage::Flush), (1, 8_000));
        assert_eq!(bench.seen(Operation::SetData, Stage::Apply), (1, 10));
        assert_eq!(bench.summary(Summary::ProposalAckCreationLatency), (1, 8));
        assert!(bench.stages.groups.is_empty());
    }

    #[test]
    fn a_learner() {
        let mut bench = Bench::new();
        let header = |zxid| TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: WallMillis(1_000) };
        bench.turn(2_000);
        for zxid in 1..=3 {
            bench.stages.proposed(&header(zxid), Operation::SetData);
        }
        bench.stages.turn_prepared(&bench.metrics);
        bench.time_is(2_010);
        bench.stages.copied(Zxid(3), &bench.metrics);
        bench.turn(3_010);
        bench.stages.acknowledged(Zxid(3), &bench.metrics);
        bench.stages.flushed(Zxid(3), true, &bench.metrics);
        assert!(bench.stages.groups.is_empty(), "it has no answers of its own");
        bench.turn(5_000);
        // The second is another server's client's.
        bench.stages.applied(Zxid(1), Operation::SetData, at(2_000), Some(at(500)));
        bench.stages.applied(Zxid(2), Operation::SetData, at(2_000), None);
        bench.stages.applied(Zxid(3), Operation::SetData, at(2_000), Some(at(500)));
        bench.time_is(5_100);
        let passages = bench.stages.released(Zxid(3), &bench.metrics);
        assert_eq!(passages.len(), 1, "they went the same way");
        let passage = passages[0];
        assert_eq!((passage.through, passage.taken, passage.released), (Zxid(3), at(500), at(5_100)));
        let spent = [Stage::Forward, Stage::Commit, Stage::Apply].map(|stage| passage.spent(stage));
        assert_eq!(spent, [1_500, 3_000, 100]);
        assert_eq!(bench.seen(Operation::SetData, Stage::Flush), (3, 1_000));
        assert_eq!(bench.seen(Operation::SetData, Stage::Apply), (3, 100));
        assert_eq!(bench.seen(Operation::SetData, Stage::Prepare).0, 0);
        assert_eq!(bench.summary(Summary::ProposalAckCreationLatency), (3, 3), "by the leader's wall clock");
    }

    #[test]
    fn a_role_that_ends_leaves_nothing() {
        let mut bench = Bench::new();
        bench.turn(100);
        bench.stages.prepared(Zxid(7), Operation::SetData);
        bench.stages.turn_prepared(&bench.metrics);
        bench.stages.copied(Zxid(7), &bench.metrics);
        bench.stages.prepared(Zxid(8), Operation::SetData);
        bench.stages.clear();
        bench.turn(200);
        // The flush in flight ends all the same, and the next role counts anew.
        bench.stages.flushed(Zxid(7), true, &bench.metrics);
        bench.stages.turn_prepared(&bench.metrics);
        assert_eq!(bench.seen(Operation::SetData, Stage::Flush).0, 0);
        bench.stages.prepared(Zxid(2), Operation::SetData);
        bench.stages.turn_prepared(&bench.metrics);
        assert_eq!(bench.stages.groups.len(), 1);
    }
}
