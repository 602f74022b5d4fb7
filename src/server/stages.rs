//! How long this worker's requests take, and the line in the log about those that take too long.
//!
//! Requests that took the same way (one operation, taken off the socket in one turn, answered in one) are booked together
//! when the turn ends: the clock is read then, once for all of them.

use super::rules::ServerRules;
use crate::message::{Effect, Passage};
use crate::observe::{MetricsWriter, Repeats};
use crate::types::{Instant, Now, Operation, OperationCounts, SessionId, Stage, StageClock, Xid, Zxid};
use std::fmt::Write;

/// At most one line about slow requests in so many ms.
const SLOW_LINE_EVERY_MS: u64 = 1000;
/// Runs that a further request is compared with: with many operations by turns they do not lie behind one another.
const RUNS_COMPARED: usize = 4;

/// How a request came to its answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// By this worker itself.
    Here,
    /// By the ensemble thread, as a transaction.
    Passed(Passage),
    /// By the ensemble thread, as none, or beside the others of its turn.
    Asked,
}

impl Way {
    pub fn of(passage: Option<&Passage>) -> Way {
        passage.map_or(Way::Asked, |passage| Way::Passed(*passage))
    }

    /// The last transaction of a passage names it.
    fn is_same(&self, other: &Way) -> bool {
        match (self, other) {
            (Way::Here, Way::Here) | (Way::Asked, Way::Asked) => true,
            (Way::Passed(one), Way::Passed(other)) => one.through == other.through,
            _ => false,
        }
    }
}

/// Requests that took the same way and are answered in this turn.
struct Run {
    operation: Operation,
    /// When they were taken off the socket.
    since: Instant,
    /// How long each waited for those before it on its connection.
    ordered_micros: u32,
    way: Way,
    count: u64,
}

pub(super) struct Stages {
    clock: StageClock,
    slow_ms: Option<u64>,
    slow_lines: Repeats,
    /// How long what came now may have lain in the sockets, microseconds.
    waited_micros: u64,
    arrived: OperationCounts,
    has_arrivals: bool,
    runs: Vec<Run>,
}

/// A request that was answered.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    pub operation: Operation,
    pub session: SessionId,
    pub xid: Xid,
    pub since: Instant,
    pub ordered_micros: u32,
}

impl Stages {
    pub fn new(rules: &ServerRules) -> Stages {
        Stages {
            clock: rules.clock,
            slow_ms: rules.slow_ms,
            slow_lines: Repeats::every_millis(SLOW_LINE_EVERY_MS),
            waited_micros: 0,
            arrived: OperationCounts::default(),
            has_arrivals: false,
            runs: Vec::new(),
        }
    }

    pub fn waited_in_sockets(&mut self, micros: u64) {
        self.waited_micros = micros;
    }

    /// A request was taken off a socket.
    pub fn arrived(&mut self, operation: Operation) {
        self.arrived.count(operation);
        self.has_arrivals = true;
    }

    /// A request is answered in this turn.
    pub fn answered(&mut self, operation: Operation, since: Instant, ordered_micros: u32, way: &Way) {
        let same = |run: &&mut Run| {
            (run.operation, run.since, run.ordered_micros) == (operation, since, ordered_micros) && run.way.is_same(way)
        };
        match self.runs.iter_mut().rev().take(RUNS_COMPARED).find(same) {
            Some(run) => run.count += 1,
            None => self.runs.push(Run { operation, since, ordered_micros, way: *way, count: 1 }),
        }
    }

    /// Books what this turn took and answered.
    pub fn turn_ends(&mut self, now: Now, metrics: &MetricsWriter) {
        if std::mem::take(&mut self.has_arrivals) {
            metrics.record_stages(&std::mem::take(&mut self.arrived), Stage::Socket, self.waited_micros);
        }
        self.waited_micros = 0;
        if self.runs.is_empty() {
            return;
        }
        let ends = self.clock.read(now.mono);
        for Run { operation, since, ordered_micros, way, count } in &self.runs {
            let record = |stage, micros| metrics.record_stage(*operation, stage, micros, *count);
            if *ordered_micros > 0 {
                record(Stage::Order, u64::from(*ordered_micros));
            }
            match way {
                Way::Here => record(Stage::Reply, ends.micros_since(now.mono)),
                Way::Passed(passage) => {
                    record(Stage::Queue, queued_micros(passage, *since, *ordered_micros));
                    if passage.is_learners() {
                        record(Stage::Forward, passage.spent(Stage::Forward));
                        record(Stage::Commit, passage.spent(Stage::Commit));
                    }
                    record(Stage::Reply, ends.micros_since(passage.released));
                }
                Way::Asked => {}
            }
            record(Stage::Total, ends.micros_since(*since));
        }
        self.mind_slow_turn(now, ends);
        self.runs.clear();
    }

    /// Whether a request took too long.
    pub fn is_slow(&self, since: Instant, now: Now) -> bool {
        self.slow_ms.is_some_and(|limit_ms| now.mono.micros_since(since) >= limit_ms * 1000)
    }

    /// The line about a request that took too long.
    pub fn tell_slow(&mut self, answered: Answered, way: &Way, path: Option<&str>, now: Now) {
        if let Some(left_out) = self.slow_lines.due(now.mono) {
            tracing::warn!("{}", slow_line(answered, way, path, left_out, now.mono));
        }
    }

    /// Whatever was answered in a turn that took too long was slow, and so is everybody who waits for the next.
    fn mind_slow_turn(&mut self, now: Now, ends: Instant) {
        if !self.slow_ms.is_some_and(|limit_ms| limit_ms > 0 && ends.micros_since(now.mono) >= limit_ms * 1000) {
            return;
        }
        let Some(left_out) = self.slow_lines.due(now.mono) else { return };
        let count: u64 = self.runs.iter().map(|run| run.count).sum();
        let mut operations: Vec<&str> = self.runs.iter().map(|run| run.operation.name()).collect();
        operations.sort_unstable();
        operations.dedup();
        tracing::warn!(
            "slow turn: {count} request(s) ({}) were answered in one turn of {} ms; slowest stage: reply{}",
            operations.join(", "),
            ends.micros_since(now.mono) / 1000,
            left_out_text(left_out)
        );
    }
}

/// The first change that a transaction made.
pub(super) fn path_of(zxid: Zxid, effects: &[Effect]) -> Option<&str> {
    let first = effects.partition_point(|effect| effect.zxid < zxid);
    effects.get(first).filter(|effect| effect.zxid == zxid).map(|effect| &*effect.path)
}

fn slow_line(answered: Answered, way: &Way, path: Option<&str>, left_out: u64, now: Instant) -> String {
    let Answered { operation, session, xid, since, .. } = answered;
    let stages = stages_of(&answered, way, now);
    let slowest = stages.iter().copied().max_by_key(|(stage, micros)| own_share(*stage, *micros, way));
    let mut text = format!("slow request: {} of session {session}, xid {}", operation.name(), xid.0);
    // Writing to a string cannot fail.
    if let Some(path) = path {
        let _ = write!(text, ", path {path}");
    }
    let _ = write!(text, " took {} ms", millis(now.micros_since(since)));
    if let Some((stage, micros)) = slowest {
        let _ = write!(text, "; slowest stage: {} with {} ms (", stage.name(), millis(micros));
        let each = stages.iter().map(|(stage, micros)| format!("{} {}", stage.name(), millis(*micros)));
        text.push_str(&each.collect::<Vec<_>>().join(", "));
        text.push(')');
    }
    text + &left_out_text(left_out)
}

fn left_out_text(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        count => format!("; {count} more slow one(s) since the last line"),
    }
}

/// A quorum waits for disks, this server's among them: what it took beyond that is its own share.
fn own_share(stage: Stage, micros: u64, way: &Way) -> u64 {
    match (stage, way) {
        (Stage::Quorum, Way::Passed(passage)) => {
            let disk = [Stage::LogWait, Stage::LogCopy, Stage::Flush].map(|stage| passage.spent(stage));
            micros.saturating_sub(disk.iter().sum())
        }
        _ => micros,
    }
}

/// From when it could be handed over until it was taken.
fn queued_micros(passage: &Passage, since: Instant, ordered_micros: u32) -> u64 {
    passage.taken.micros_since(since).saturating_sub(u64::from(ordered_micros))
}

/// The stages that a request passed before this turn, in order.
fn stages_of(answered: &Answered, way: &Way, now: Instant) -> Vec<(Stage, u64)> {
    let Answered { since, ordered_micros, .. } = *answered;
    let mut stages = vec![(Stage::Order, u64::from(ordered_micros))];
    if let Way::Passed(passage) = way {
        stages.push((Stage::Queue, queued_micros(passage, since, ordered_micros)));
        stages.extend(Stage::ALL.into_iter().map(|stage| (stage, passage.spent(stage))));
        stages.push((Stage::Reply, now.micros_since(passage.released)));
    }
    stages.retain(|(_, micros)| *micros > 0);
    stages
}

/// With three decimals.
fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::EffectKind;
    use crate::observe::MetricsRegistry;
    use crate::types::WallMillis;

    fn at(micros: u64) -> Instant {
        Instant { micros }
    }

    fn now(micros: u64) -> Now {
        Now { mono: at(micros), wall: WallMillis(0) }
    }

    fn stages(slow_ms: Option<u64>) -> Stages {
        Stages {
            clock: StageClock::reading(|| at(5_000)),
            slow_ms,
            slow_lines: Repeats::every_millis(SLOW_LINE_EVERY_MS),
            waited_micros: 0,
            arrived: OperationCounts::default(),
            has_arrivals: false,
            runs: Vec::new(),
        }
    }

    fn of_leader() -> Passage {
        let mut passage = Passage::new(Zxid(9), at(1_100));
        passage.spend(Stage::Prepare, at(1_100), at(1_150));
        passage.spend(Stage::LogCopy, at(1_150), at(1_160));
        passage.spend(Stage::Flush, at(1_160), at(3_160));
        passage.spend(Stage::Quorum, at(1_150), at(3_200));
        passage.spend(Stage::Apply, at(3_200), at(3_210));
        passage.released = at(3_210);
        passage
    }

    #[test]
    fn what_took_the_same_way_is_booked_together() {
        let registry = MetricsRegistry::new();
        let metrics = registry.register();
        let mut stages = stages(None);
        stages.waited_in_sockets(30);
        for _ in 0..3 {
            stages.arrived(Operation::GetData);
            stages.answered(Operation::GetData, at(4_000), 0, &Way::Here);
            stages.answered(Operation::SetData, at(1_000), 40, &Way::Passed(of_leader()));
        }
        // One that waited behind a write of its connection.
        stages.answered(Operation::GetData, at(1_000), 3_000, &Way::Here);
        stages.answered(Operation::Sync, at(2_000), 0, &Way::Asked);
        assert_eq!(stages.runs.len(), 4);
        stages.turn_ends(now(4_000), &metrics);
        let read = registry.read_latencies();
        let seen = |operation, stage| {
            let readout = read.of_operation(operation, stage);
            (readout.count(), readout.max_micros())
        };
        assert_eq!(seen(Operation::GetData, Stage::Socket), (3, 30));
        assert_eq!(seen(Operation::GetData, Stage::Reply), (4, 1_000));
        assert_eq!(seen(Operation::GetData, Stage::Order), (1, 3_000));
        assert_eq!(seen(Operation::GetData, Stage::Total), (4, 4_000));
        assert_eq!(seen(Operation::Sync, Stage::Total), (1, 3_000));
        assert_eq!((seen(Operation::Sync, Stage::Order).0, seen(Operation::Sync, Stage::Reply).0), (0, 0));
        assert_eq!(seen(Operation::SetData, Stage::Order), (3, 40));
        assert_eq!(seen(Operation::SetData, Stage::Queue), (3, 60));
        assert_eq!(seen(Operation::SetData, Stage::Reply), (3, 5_000 - 3_210));
        assert_eq!(seen(Operation::SetData, Stage::Total), (3, 4_000));
        // What the ensemble thread books itself, and what is a learner's.
        for stage in [Stage::Flush, Stage::Quorum, Stage::Forward, Stage::Commit] {
            assert_eq!(seen(Operation::SetData, stage).0, 0);
        }
        stages.turn_ends(now(4_500), &metrics);
        assert_eq!(registry.read_latencies().of_stage(Stage::Total).count(), 8, "nothing twice");
    }

    #[test]
    fn a_slow_line_names_the_stage_that_was_slow() {
        let answered = Answered {
            operation: Operation::SetData,
            session: SessionId(0x10),
            xid: Xid(7),
            since: at(1_000),
            ordered_micros: 0,
        };
        let line = slow_line(answered, &Way::Passed(of_leader()), Some("/app/x"), 0, at(3_300));
        assert_eq!(
            line,
            "slow request: set_data of session 0x10, xid 7, path /app/x took 2.300 ms; slowest stage: flush with 2.000 ms \
             (queue 0.100, prepare 0.050, log_copy 0.010, flush 2.000, quorum 2.050, apply 0.010, reply 0.090)"
        );
        // The own disk was done long before the others'.
        let mut passage = of_leader();
        passage.spend(Stage::Quorum, at(1_150), at(9_150));
        passage.released = at(9_160);
        let line = slow_line(answered, &Way::Passed(passage), None, 12, at(9_300));
        assert!(line.contains("slowest stage: quorum with 8.000 ms"), "{line}");
        assert!(line.ends_with("; 12 more slow one(s) since the last line"), "{line}");
        let line = slow_line(answered, &Way::Asked, None, 0, at(2_000));
        assert!(line.ends_with("xid 7 took 1.000 ms"), "{line}");
        let waited = Answered { ordered_micros: 1_000, ..answered };
        let line = slow_line(waited, &Way::Here, None, 0, at(2_000));
        assert!(line.ends_with("took 1.000 ms; slowest stage: order with 1.000 ms (order 1.000)"), "{line}");
    }

    #[test]
    fn what_is_slow_is_what_the_threshold_says() {
        assert!(!stages(None).is_slow(at(0), now(u64::MAX)));
        assert!(stages(Some(0)).is_slow(at(5), now(5)));
        let stages = stages(Some(2));
        assert!(!stages.is_slow(at(1_000), now(2_999)) && stages.is_slow(at(1_000), now(3_000)));
    }

    #[test]
    fn the_path_is_that_of_the_transaction() {
        let effect = |zxid, path: &str| Effect {
            zxid: Zxid(zxid),
            kind: EffectKind::Created,
            path: path.into(),
            acl: crate::types::AclList::default(),
            parent_acl: None,
        };
        let effects = [effect(3, "/a"), effect(5, "/b"), effect(5, "/c")];
        assert_eq!(path_of(Zxid(3), &effects), Some("/a"));
        assert_eq!(path_of(Zxid(5), &effects), Some("/b"));
        assert_eq!(path_of(Zxid(4), &effects), None);
        assert_eq!(path_of(Zxid(6), &effects), None);
    }
}
