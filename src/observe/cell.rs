//! Numbers that one thread writes and any thread reads: plain loads and stores, no lock and no locked instruction.
//!
//! Invariant: each cell has one writer. A reader may see a summary half updated (count ahead of sum); that is what a
//! metric may be.

use hdrhistogram::Histogram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Adds without a locked instruction; correct because there is one writer.
pub(super) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// Count, sum, least and greatest.
#[derive(Debug)]
pub(super) struct SummaryCell {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl SummaryCell {
    pub fn new() -> SummaryCell {
        SummaryCell {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }

    pub fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    /// The same value `count` times.
    pub fn record_n(&self, value: u64, count: u64) {
        add(&self.count, count);
        add(&self.sum, value.wrapping_mul(count));
        if value < self.min.load(Relaxed) {
            self.min.store(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
    }

    pub fn clear(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }

    pub fn read(&self) -> Plain {
        Plain {
            count: self.count.load(Relaxed),
            sum: self.sum.load(Relaxed),
            min: self.min.load(Relaxed),
            max: self.max.load(Relaxed),
        }
    }
}

/// A `SummaryCell` as read, or several of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
}

impl Plain {
    pub const EMPTY: Plain = Plain { count: 0, sum: 0, min: u64::MAX, max: 0 };

    pub fn merge(&mut self, other: Plain) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// 32 buckets per power of two: a value is known to 3 %, those below 64 exactly.
const SUB_BUCKETS_LOG2: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BUCKETS_LOG2;
const VALUE_MAX: u64 = (1 << 32) - 1;
const BUCKETS: usize = bucket_of(VALUE_MAX) + 1;

const fn bucket_of(value: u64) -> usize {
    if value < SUB_BUCKETS as u64 {
        return value as usize;
    }
    let octave = value.ilog2() - SUB_BUCKETS_LOG2;
    (octave as usize) * SUB_BUCKETS + (value >> octave) as usize
}

/// The least value of a bucket.
fn value_of(bucket: usize) -> u64 {
    if bucket < 2 * SUB_BUCKETS {
        return bucket as u64;
    }
    let octave = bucket / SUB_BUCKETS - 1;
    ((bucket % SUB_BUCKETS + SUB_BUCKETS) as u64) << octave
}

/// How many values fell where. Takes its 7 KiB with the first value.
#[derive(Debug, Default)]
pub(super) struct BucketsCell(OnceLock<Box<[AtomicU64]>>);

impl BucketsCell {
    /// The same value `count` times.
    pub fn record_n(&self, value: u64, count: u64) {
        let buckets = self.0.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        add(&buckets[bucket_of(value.min(VALUE_MAX))], count);
    }

    pub fn clear(&self) {
        for bucket in self.0.get().into_iter().flatten() {
            bucket.store(0, Relaxed);
        }
    }

    /// Least and greatest value of each bucket that is not empty, and how many fell into it; ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let buckets = self.0.get().into_iter().flatten().enumerate();
        let counts = buckets.map(|(index, bucket)| (index, bucket.load(Relaxed))).filter(|(_, count)| *count > 0);
        counts.map(|(index, count)| (value_of(index), value_of(index + 1) - 1, count))
    }

    pub fn read_into(&self, histogram: &mut Histogram<u64>) {
        for (index, bucket) in self.0.get().into_iter().flatten().enumerate() {
            let count = bucket.load(Relaxed);
            if count > 0 {
                histogram.saturating_record_n(value_of(index), count);
            }
        }
    }
}

/// Empty, and wide enough for every bucket.
pub(super) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_max(VALUE_MAX, 2).expect("constant bounds that hdrhistogram accepts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_close() {
        let mut expected = 0;
        for value in 0..100_000u64 {
            let bucket = bucket_of(value);
            assert!(bucket == expected || bucket == expected + 1, "{value}");
            expected = bucket;
            let low = value_of(bucket);
            assert!(low <= value && value - low <= value / 32, "{value} in {low}");
        }
        assert_eq!(value_of(BUCKETS - 1) >> 27, 31);
    }

    #[test]
    fn percentiles_come_out_again() {
        let cell = BucketsCell::default();
        (1..=1000).for_each(|value| cell.record_n(value, 1));
        let mut histogram = empty_histogram();
        cell.read_into(&mut histogram);
        assert_eq!(histogram.len(), 1000);
        let p99 = histogram.value_at_quantile(0.99);
        assert!((960..=1000).contains(&p99), "{p99}");
        cell.clear();
        let mut histogram = empty_histogram();
        cell.read_into(&mut histogram);
        assert_eq!(histogram.len(), 0);
        cell.record_n(u64::MAX, 1);
    }
}
