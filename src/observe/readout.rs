//! The metrics as read at one moment, over all threads.

use super::cell::{Plain, empty_histogram};
use super::metric::{Counter, Namespaced, Summary};
use super::number::{Number, average};
use super::registry::{SizesCell, ThreadMetrics};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// A summary as read.
#[derive(Clone, Debug)]
pub struct SummaryReadout {
    pub count: u64,
    pub sum: u64,
    /// 0 where there is no value.
    pub max: u64,
    least: u64,
    /// Empty for summaries without percentiles.
    histogram: Option<Histogram<u64>>,
}

impl SummaryReadout {
    fn new(plain: Plain, histogram: Option<Histogram<u64>>) -> SummaryReadout {
        SummaryReadout { count: plain.count, sum: plain.sum, max: plain.max, least: plain.min, histogram }
    }

    /// 0 where there is no value.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.least }
    }

    /// With four decimals, as Java shows it.
    pub fn average(&self) -> f64 {
        average(self.sum, self.count)
    }

    /// 0 where there is no value, or where percentiles are not kept.
    pub fn percentile(&self, quantile: f64) -> u64 {
        self.histogram
            .as_ref()
            .map_or(0, |histogram| histogram.value_at_quantile(quantile))
            // A bucket's value may lie a little beyond the greatest value in it.
            .min(self.max)
    }
}

/// Sizes of replies or of proposals, bytes; -1 = none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub last: i64,
    pub min: i64,
    pub max: i64,
    last_at_micros: u64,
}

impl Sizes {
    const NONE: Sizes = Sizes { last: -1, min: -1, max: -1, last_at_micros: 0 };

    fn merge(&mut self, cell: &SizesCell) {
        let (last, at) = (cell.last.load(Relaxed), cell.last_at_micros.load(Relaxed));
        if last >= 0 && at >= self.last_at_micros {
            (self.last, self.last_at_micros) = (last, at);
        }
        let min = cell.min.load(Relaxed);
        if min >= 0 && (self.min < 0 || min < self.min) {
            self.min = min;
        }
        self.max = self.max.max(cell.max.load(Relaxed));
    }
}

/// Everything counted.
#[derive(Clone, Debug)]
pub struct Metrics {
    counters: Vec<u64>,
    plains: Vec<Plain>,
    histograms: Vec<Histogram<u64>>,
    namespaces: Vec<BTreeMap<String, Plain>>,
    latency: Plain,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub responses: Sizes,
    pub proposals: Sizes,
    /// Time from a request's arrival to its reply, ms: what `srvr` shows.
    pub latency_ms: SummaryReadout,
}

impl Metrics {
    pub fn empty() -> Metrics {
        Metrics {
            counters: vec![0; Counter::COUNT],
            plains: vec![Plain::EMPTY; Summary::COUNT],
            histograms: vec![empty_histogram(); Summary::WITH_PERCENTILES],
            namespaces: vec![BTreeMap::new(); Namespaced::COUNT],
            latency: Plain::EMPTY,
            packets_received: 0,
            packets_sent: 0,
            responses: Sizes::NONE,
            proposals: Sizes::NONE,
            latency_ms: SummaryReadout::new(Plain::EMPTY, None),
        }
    }

    pub(super) fn merge(&mut self, thread: &ThreadMetrics) {
        for (total, cell) in self.counters.iter_mut().zip(&thread.counters) {
            *total = total.wrapping_add(cell.load(Relaxed));
        }
        for (total, cell) in self.plains.iter_mut().zip(&thread.summaries) {
            total.merge(cell.read());
        }
        for (total, cell) in self.histograms.iter_mut().zip(&thread.buckets) {
            cell.read_into(total);
        }
        for (total, table) in self.namespaces.iter_mut().zip(&thread.namespaces) {
            table.for_each(|name, plain| {
                total.entry(name.to_owned()).or_insert(Plain::EMPTY).merge(plain);
            });
        }
        self.latency.merge(thread.latency_ms.read());
        self.latency_ms = SummaryReadout::new(self.latency, None);
        self.packets_received += thread.packets_received.load(Relaxed);
        self.packets_sent += thread.packets_sent.load(Relaxed);
        self.responses.merge(&thread.responses);
        self.proposals.merge(&thread.proposals);
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter.index()]
    }

    pub fn summary(&self, summary: Summary) -> SummaryReadout {
        SummaryReadout::new(self.plains[summary.index()], self.histograms.get(summary.index()).cloned())
    }

    /// One entry per top-level znode that was touched.
    pub fn namespace(&self, metric: Namespaced) -> BTreeMap<String, SummaryReadout> {
        self.namespaces[metric.index()]
            .iter()
            .map(|(name, plain)| (name.clone(), SummaryReadout::new(*plain, None)))
            .collect()
    }

    /// Names and values as ZooKeeper's default metrics provider lists them, without gauges: counters, summaries, then
    /// what is kept per top-level znode.
    pub fn default_provider(&self) -> Vec<(String, Number)> {
        let mut list = Vec::new();
        for counter in Counter::ALL {
            list.push((counter.name().to_owned(), whole(self.counter(*counter))));
        }
        for summary in Summary::ALL {
            let readout = self.summary(*summary);
            push_basic(&mut list, summary.name(), &readout);
            if summary.has_percentiles() {
                for (prefix, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
                    let value = whole(readout.percentile(quantile));
                    list.push((format!("{prefix}_{}", summary.name()), value));
                }
            }
        }
        for metric in Namespaced::ALL {
            for (name, readout) in self.namespace(*metric) {
                let name = format!("{name}_{}", metric.name());
                match metric {
                    Namespaced::QuotaExceeded => list.push((name, whole(readout.count))),
                    Namespaced::Read | Namespaced::Write => push_basic(&mut list, &name, &readout),
                }
            }
        }
        list
    }
}

fn whole(number: u64) -> Number {
    Number::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn push_basic(list: &mut Vec<(String, Number)>, name: &str, readout: &SummaryReadout) {
    list.push((format!("avg_{name}"), Number::Double(readout.average())));
    list.push((format!("min_{name}"), whole(readout.min())));
    list.push((format!("max_{name}"), whole(readout.max)));
    list.push((format!("cnt_{name}"), whole(readout.count)));
    list.push((format!("sum_{name}"), whole(readout.sum)));
}
