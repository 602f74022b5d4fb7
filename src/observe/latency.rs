//! How long requests took, by operation and stage: per-thread cells as everywhere in `registry.rs`, and what a reader makes
//! of them. Microseconds.

use super::cell::{BucketsCell, Plain, SummaryCell};
use crate::types::{Operation, Stage};
use hdrhistogram::Histogram;

/// One thread's. A pair of operation and stage takes its 7 KiB with its first value.
#[derive(Debug)]
pub(super) struct LatencyCells(Box<[(SummaryCell, BucketsCell)]>);

impl LatencyCells {
    pub fn new() -> LatencyCells {
        let cells = (0..Operation::COUNT * Stage::COUNT).map(|_| (SummaryCell::new(), BucketsCell::default()));
        LatencyCells(cells.collect())
    }

    fn cell(&self, operation: Operation, stage: Stage) -> &(SummaryCell, BucketsCell) {
        &self.0[operation.index() * Stage::COUNT + stage.index()]
    }

    pub fn record_n(&self, operation: Operation, stage: Stage, micros: u64, count: u64) {
        let (summary, buckets) = self.cell(operation, stage);
        summary.record_n(micros, count);
        buckets.record_n(micros, count);
    }

    pub fn clear(&self) {
        for (summary, buckets) in &self.0 {
            summary.clear();
            buckets.clear();
        }
    }
}

/// Everything timed, over all threads.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// Ascending; only pairs that there are values of.
    readouts: Vec<(Operation, Stage, LatencyReadout)>,
}

impl Latencies {
    pub(super) fn of<'a>(threads: impl Iterator<Item = &'a LatencyCells> + Clone) -> Latencies {
        let mut readouts = Vec::new();
        for operation in Operation::ALL {
            for stage in Stage::ALL {
                let mut readout = LatencyReadout::empty();
                threads.clone().for_each(|cells| readout.take(cells.cell(operation, stage)));
                if readout.count() > 0 {
                    readouts.push((operation, stage, readout));
                }
            }
        }
        Latencies { readouts }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Operation, Stage, &LatencyReadout)> {
        self.readouts.iter().map(|(operation, stage, readout)| (*operation, *stage, readout))
    }

    /// Of one operation; empty if there was none.
    pub fn of_operation(&self, operation: Operation, stage: Stage) -> LatencyReadout {
        let found = self.iter().find(|(op, at, _)| (*op, *at) == (operation, stage));
        found.map_or_else(LatencyReadout::empty, |(_, _, readout)| readout.clone())
    }

    /// Of all operations together.
    pub fn of_stage(&self, stage: Stage) -> LatencyReadout {
        let mut all = LatencyReadout::empty();
        self.iter().filter(|(_, at, _)| *at == stage).for_each(|(_, _, readout)| all.add(readout));
        all
    }
}

/// One distribution as read.
#[derive(Clone, Debug)]
pub struct LatencyReadout {
    histogram: Histogram<u64>,
    plain: Plain,
}

impl LatencyReadout {
    pub fn empty() -> LatencyReadout {
        // Grows with what is recorded: most of them hold small values.
        let histogram = Histogram::new(2).expect("a precision that hdrhistogram accepts");
        LatencyReadout { histogram, plain: Plain::EMPTY }
    }

    fn take(&mut self, (summary, buckets): &(SummaryCell, BucketsCell)) {
        let plain = summary.read();
        if plain.count == 0 {
            return;
        }
        self.plain.merge(plain);
        for (low, high, count) in buckets.iter() {
            // A bucket stands for its least value, but the greatest value of all is known.
            let has_max = (low..=high).contains(&plain.max);
            self.record(low, count - u64::from(has_max));
            self.record(plain.max, u64::from(has_max));
        }
    }

    fn record(&mut self, micros: u64, count: u64) {
        self.histogram.record_n(micros, count).expect("it grows");
    }

    fn add(&mut self, other: &LatencyReadout) {
        self.histogram.add(&other.histogram).expect("it grows");
        self.plain.merge(other.plain);
    }

    /// As the histogram holds them, so that count and percentiles agree.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Of all values; together with `count` what Prometheus wants of a histogram.
    pub fn sum_micros(&self) -> u64 {
        self.plain.sum
    }

    /// 0 of nothing.
    pub fn mean_micros(&self) -> f64 {
        if self.plain.count == 0 { 0.0 } else { self.plain.sum as f64 / self.plain.count as f64 }
    }

    /// 0 of nothing.
    pub fn max_micros(&self) -> u64 {
        self.plain.max
    }

    /// Within 3 %; 0 of nothing.
    pub fn percentile_micros(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile).min(self.plain.max)
    }

    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::MetricsRegistry;

    #[test]
    fn threads_operations_and_stages_add_up() {
        let registry = MetricsRegistry::new();
        let (one, other) = (registry.register(), registry.register());
        one.record_stage(Operation::SetData, Stage::Flush, 200, 900);
        other.record_stage(Operation::SetData, Stage::Flush, 1_000, 99);
        other.record_stage(Operation::Create, Stage::Flush, 1_234_567, 1);
        one.record_stage(Operation::Create, Stage::Total, 40, 1);
        let read = registry.read_latencies();
        let pairs: Vec<_> =
            read.iter().map(|(operation, stage, readout)| (operation, stage, readout.count())).collect();
        let expected = [
            (Operation::Create, Stage::Flush, 1),
            (Operation::Create, Stage::Total, 1),
            (Operation::SetData, Stage::Flush, 999),
        ];
        assert_eq!(pairs, expected);
        let flush = read.of_stage(Stage::Flush);
        assert_eq!((flush.count(), flush.sum_micros()), (1000, 180_000 + 99_000 + 1_234_567));
        assert_eq!(flush.max_micros(), 1_234_567);
        let within = |found: u64, exact: u64| found.abs_diff(exact) * 32 <= exact;
        assert!(within(flush.percentile_micros(0.5), 200) && within(flush.percentile_micros(0.99), 1000), "{flush:?}");
        // Exactly: it is the greatest of all.
        assert_eq!(flush.percentile_micros(1.0), 1_234_567);
        assert_eq!(flush.histogram().len(), flush.count());
        assert_eq!(read.of_operation(Operation::Ping, Stage::Total).count(), 0);
        assert_eq!(read.of_operation(Operation::Ping, Stage::Total).percentile_micros(0.5), 0);
    }

    #[test]
    fn a_reset_empties_them() {
        let registry = MetricsRegistry::new();
        let writer = registry.register();
        writer.record_stage(Operation::Delete, Stage::Queue, 7, 3);
        registry.reset();
        assert_eq!(registry.read_latencies().iter().count(), 0);
        writer.record_stage(Operation::Delete, Stage::Queue, 9, 2);
        let read = registry.read_latencies().of_operation(Operation::Delete, Stage::Queue);
        assert_eq!((read.count(), read.max_micros(), read.mean_micros()), (2, 9, 9.0));
    }

    #[test]
    fn no_value_is_too_large() {
        let registry = MetricsRegistry::new();
        let writer = registry.register();
        writer.record_stage(Operation::Other, Stage::Flush, u64::MAX, 1);
        let read = registry.read_latencies().of_stage(Stage::Flush);
        assert_eq!(read.count(), 1);
    }
}
