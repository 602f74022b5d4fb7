//! Counts what came back: latencies by kind of operation, errors by code, operations lost with a connection.
//! Only answers without an error enter the histograms; an error is often faster than the work it stands for.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::workload::OpKind;

/// Finer than the clock is read; the last bucket takes everything beyond an hour.
const LATENCY_NS_MIN: u64 = 100;
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

pub struct Meter {
    latencies_ns: [Histogram<u64>; OpKind::ALL.len()],
    pub errors: BTreeMap<i32, u64>,
    /// Operations in flight on a connection when it ended.
    pub lost: u64,
    pub answered_ok: u64,
}

impl Meter {
    pub fn new() -> Meter {
        let histogram = || {
            Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
                .expect("constant bounds are valid")
        };
        Meter {
            latencies_ns: [(); OpKind::ALL.len()].map(|()| histogram()),
            errors: BTreeMap::new(),
            lost: 0,
            answered_ok: 0,
        }
    }

    #[inline]
    pub fn record(&mut self, kind: OpKind, error_code: i32, latency_ns: u64) {
        if error_code == 0 {
            self.answered_ok += 1;
            self.latencies_ns[kind as usize].saturating_record(latency_ns);
        } else {
            *self.errors.entry(error_code).or_default() += 1;
        }
    }

    pub fn latency_ns(&self, kind: OpKind) -> &Histogram<u64> {
        &self.latencies_ns[kind as usize]
    }

    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}
