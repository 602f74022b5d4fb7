//! Counts what came back: latencies by kind of operation, errors by code, operations lost with a connection.
//! Only answers without an error enter the histograms; an error is often faster than the work it stands for.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::workload::OpKind;

/// Finer than the clock is read; the last bucket takes everything beyond an hour.
const LATENCY_NS_MIN: u64 = 100;
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

#[derive(Default)]
pub struct Meter {
    /// Made with the first answer of their kind.
    latencies_ns: [Option<Box<Histogram<u64>>>; OpKind::ALL.len()],
    pub errors: BTreeMap<i32, u64>,
    /// Operations in flight on a connection when it ended.
    pub lost: u64,
    pub answered_ok: u64,
}

pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, SIGNIFICANT_DIGITS).expect("constant bounds are valid")
}

impl Meter {
    pub fn new() -> Meter {
        Meter::default()
    }

    #[inline]
    pub fn record(&mut self, kind: OpKind, error_code: i32, latency_ns: u64) {
        if error_code == 0 {
            self.answered_ok += 1;
            let latencies = self.latencies_ns[kind as usize].get_or_insert_with(|| Box::new(empty_histogram()));
            latencies.saturating_record(latency_ns);
        } else {
            self.fail(error_code);
        }
    }

    #[cold]
    pub fn fail(&mut self, error_code: i32) {
        *self.errors.entry(error_code).or_default() += 1;
    }

    /// The latencies of one kind, if it had an answer.
    pub fn latency_ns(&self, kind: OpKind) -> Option<&Histogram<u64>> {
        self.latencies_ns[kind as usize].as_deref().filter(|latencies| !latencies.is_empty())
    }

    /// The kinds that had an answer, with their latencies.
    pub fn kinds(&self) -> impl Iterator<Item = (OpKind, &Histogram<u64>)> {
        OpKind::ALL.into_iter().filter_map(|kind| Some((kind, self.latency_ns(kind)?)))
    }

    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn answered(&self) -> u64 {
        self.answered_ok + self.failed()
    }

    /// Counts in what another meter has counted.
    pub fn add(&mut self, other: &Meter) {
        for (kind, latencies) in other.kinds() {
            let ours = self.latencies_ns[kind as usize].get_or_insert_with(|| Box::new(empty_histogram()));
            ours.add(latencies).expect("all histograms have the same bounds");
        }
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        self.lost += other.lost;
        self.answered_ok += other.answered_ok;
    }

    /// Forgets what was counted and keeps the memory.
    pub fn clear(&mut self) {
        self.latencies_ns.iter_mut().flatten().for_each(|latencies| latencies.reset());
        self.errors.clear();
        (self.lost, self.answered_ok) = (0, 0);
    }

    /// The latencies of all kinds together.
    pub fn merged(&self) -> Histogram<u64> {
        let mut merged = empty_histogram();
        for (_, latencies) in self.kinds() {
            merged.add(latencies).expect("all histograms have the same bounds");
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_counts_everything_and_a_cleared_meter_nothing() {
        let (mut total, mut interval) = (Meter::new(), Meter::new());
        for round in 1..=2 {
            interval.record(OpKind::Get, 0, 1_000 * round);
            interval.record(OpKind::Set, 0, 5_000);
            interval.record(OpKind::Set, -101, 1);
            interval.lost += 3;
            total.add(&interval);
            interval.clear();
        }
        assert_eq!((total.answered_ok, total.failed(), total.lost), (4, 2, 6));
        assert_eq!(total.latency_ns(OpKind::Get).map(|latencies| latencies.len()), Some(2));
        assert_eq!(total.merged().len(), 4);
        assert_eq!((interval.answered(), interval.lost, interval.kinds().count()), (0, 0, 0));
    }
}
