//! Where threads write what they count, and where it is put together for a reader.
//!
//! Every thread that counts holds its own `MetricsWriter`, to whose cells nobody else writes; a reader adds up all of
//! them. Resetting is done by the writers themselves: the reader raises the generation, and cells of an older generation
//! count as empty until their writer comes by and clears them.

use super::cell::{BucketsCell, SummaryCell, add};
use super::latency::{Latencies, LatencyCells};
use super::metric::{Counter, Namespaced, Summary};
use super::namespace::{NamespaceTable, namespace_of};
use super::readout::Metrics;
use crate::types::{Operation, OperationCounts, Stage};
use parking_lot::Mutex;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// All threads' metrics.
#[derive(Debug, Default)]
pub struct MetricsRegistry {
    generation: Arc<AtomicU64>,
    // Taken when a thread begins and when somebody reads, never while counting.
    threads: Mutex<Vec<Arc<ThreadMetrics>>>,
}

impl MetricsRegistry {
    pub fn new() -> MetricsRegistry {
        MetricsRegistry::default()
    }

    /// A writer for the calling thread. Its counts stay in the sum when it is dropped.
    pub fn register(&self) -> MetricsWriter {
        let thread = Arc::new(ThreadMetrics::new(self.generation.load(Ordering::Acquire)));
        self.threads.lock().push(Arc::clone(&thread));
        MetricsWriter { generation: Arc::clone(&self.generation), thread, one_thread: PhantomData }
    }

    /// What the word `srst` does: everything counts from zero again.
    pub fn reset(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The sum over all threads.
    pub fn read(&self) -> Metrics {
        let generation = self.generation.load(Ordering::Acquire);
        let mut metrics = Metrics::empty();
        for thread in self.threads.lock().iter() {
            if thread.generation.load(Ordering::Acquire) == generation {
                metrics.merge(thread);
            }
        }
        metrics
    }
}

impl MetricsRegistry {
    /// How long requests took, over all threads.
    pub fn read_latencies(&self) -> Latencies {
        let generation = self.generation.load(Ordering::Acquire);
        let threads = self.threads.lock();
        let current = threads.iter().filter(|thread| thread.generation.load(Ordering::Acquire) == generation);
        Latencies::of(current.map(|thread| &thread.latencies))
    }
}

/// One thread's cells.
#[derive(Debug)]
pub(super) struct ThreadMetrics {
    /// The generation these cells count for.
    generation: AtomicU64,
    pub counters: Box<[AtomicU64]>,
    pub summaries: Box<[SummaryCell]>,
    pub buckets: Box<[BucketsCell]>,
    pub namespaces: Box<[NamespaceTable]>,
    /// Time from a request's arrival to its reply, ms.
    pub latency_ms: SummaryCell,
    pub packets_received: AtomicU64,
    pub packets_sent: AtomicU64,
    pub responses: SizesCell,
    pub proposals: SizesCell,
    latencies: LatencyCells,
}

/// Sizes of replies to clients, or of a leader's proposals, bytes; -1 = none yet.
#[derive(Debug)]
pub(super) struct SizesCell {
    pub last: AtomicI64,
    pub last_at_micros: AtomicU64,
    pub min: AtomicI64,
    pub max: AtomicI64,
}

impl SizesCell {
    fn new() -> SizesCell {
        let none = || AtomicI64::new(-1);
        SizesCell { last: none(), last_at_micros: AtomicU64::new(0), min: none(), max: none() }
    }

    fn record(&self, bytes: u64, now_micros: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.last.store(bytes, Ordering::Relaxed);
        self.last_at_micros.store(now_micros, Ordering::Relaxed);
        let (min, max) = (self.min.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed));
        if min < 0 || bytes < min {
            self.min.store(bytes, Ordering::Relaxed);
        }
        if bytes > max {
            self.max.store(bytes, Ordering::Relaxed);
        }
    }

    fn clear(&self) {
        for cell in [&self.last, &self.min, &self.max] {
            cell.store(-1, Ordering::Relaxed);
        }
        self.last_at_micros.store(0, Ordering::Relaxed);
    }
}

impl ThreadMetrics {
    fn new(generation: u64) -> ThreadMetrics {
        let zero = |_| AtomicU64::new(0);
        ThreadMetrics {
            generation: AtomicU64::new(generation),
            counters: (0..Counter::COUNT).map(zero).collect(),
            summaries: (0..Summary::COUNT).map(|_| SummaryCell::new()).collect(),
            buckets: (0..Summary::WITH_PERCENTILES).map(|_| BucketsCell::default()).collect(),
            namespaces: (0..Namespaced::COUNT).map(|_| NamespaceTable::new()).collect(),
            latency_ms: SummaryCell::new(),
            packets_received: AtomicU64::new(0),
            packets_sent: AtomicU64::new(0),
            responses: SizesCell::new(),
            proposals: SizesCell::new(),
            latencies: LatencyCells::new(),
        }
    }

    fn clear(&self) {
        for counter in &self.counters {
            counter.store(0, Ordering::Relaxed);
        }
        self.summaries.iter().for_each(SummaryCell::clear);
        self.buckets.iter().for_each(BucketsCell::clear);
        self.namespaces.iter().for_each(NamespaceTable::clear);
        self.latency_ms.clear();
        self.packets_received.store(0, Ordering::Relaxed);
        self.packets_sent.store(0, Ordering::Relaxed);
        self.responses.clear();
        self.proposals.clear();
        self.latencies.clear();
    }
}

/// The writing end of one thread's metrics. It can be moved to its thread but not shared: the cells have one writer.
#[derive(Debug)]
pub struct MetricsWriter {
    generation: Arc<AtomicU64>,
    thread: Arc<ThreadMetrics>,
    one_thread: PhantomData<Cell<()>>,
}

impl MetricsWriter {
    /// The cells, cleared first if a reset was asked for. One load of a line that hardly ever changes.
    fn cells(&self) -> &ThreadMetrics {
        let asked = self.generation.load(Ordering::Relaxed);
        if self.thread.generation.load(Ordering::Relaxed) != asked {
            self.thread.clear();
            // Release: whoever sees the new generation sees the cleared cells.
            self.thread.generation.store(asked, Ordering::Release);
        }
        &self.thread
    }

    pub fn count(&self, counter: Counter) {
        self.count_many(counter, 1);
    }

    pub fn count_many(&self, counter: Counter, amount: u64) {
        add(&self.cells().counters[counter.index()], amount);
    }

    /// Times in ms.
    pub fn record(&self, summary: Summary, value: u64) {
        self.record_n(summary, value, 1);
    }

    /// The same value `count` times.
    pub fn record_n(&self, summary: Summary, value: u64, count: u64) {
        let cells = self.cells();
        cells.summaries[summary.index()].record_n(value, count);
        if let Some(buckets) = cells.buckets.get(summary.index()) {
            buckets.record_n(value, count);
        }
    }

    /// So many requests took that long for a stage, microseconds.
    pub fn record_stage(&self, operation: Operation, stage: Stage, micros: u64, count: u64) {
        self.cells().latencies.record_n(operation, stage, micros, count);
    }

    /// The same of several operations that passed the stage together.
    pub fn record_stages(&self, counts: &OperationCounts, stage: Stage, micros: u64) {
        counts.iter().for_each(|(operation, count)| self.record_stage(operation, stage, micros, count));
    }

    /// Under the first part of `path`; the root has no statistics. ZooKeeper counts bytes: path and data of a write; of a
    /// read the same and 68 for the Stat, child names in place of data for a list of children.
    pub fn record_for_path(&self, metric: Namespaced, path: &str, value: u64) {
        if let Some(name) = namespace_of(path) {
            self.cells().namespaces[metric.index()].record(name, value);
        }
    }

    /// A request was answered so many ms after it had arrived. Feeds `srvr` only; `readlatency` and `updatelatency` are
    /// summaries of their own.
    pub fn request_latency(&self, latency_ms: u64) {
        self.cells().latency_ms.record(latency_ms);
    }

    pub fn packets_received(&self, packets: u64) {
        add(&self.cells().packets_received, packets);
    }

    pub fn packets_sent(&self, packets: u64) {
        add(&self.cells().packets_sent, packets);
    }

    /// A reply of so many bytes was made; `now_micros` tells the last of several threads'.
    pub fn response(&self, bytes: u64, now_micros: u64) {
        self.cells().responses.record(bytes, now_micros);
    }

    /// A leader proposed a transaction of so many bytes.
    pub fn proposal(&self, bytes: u64, now_micros: u64) {
        self.cells().proposals.record(bytes, now_micros);
    }

    /// Another leader's proposals are not this one's.
    pub fn forget_proposals(&self) {
        self.cells().proposals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Number;

    #[test]
    fn threads_add_up_and_a_reset_reaches_idle_ones() {
        let registry = Arc::new(MetricsRegistry::new());
        let busy = registry.register();
        let idle = registry.register();
        idle.count_many(Counter::BytesReceivedCount, 5);
        idle.record(Summary::Readlatency, 100);
        let thread = std::thread::spawn(move || {
            for value in 0..1000 {
                busy.count(Counter::BytesReceivedCount);
                busy.record(Summary::Readlatency, value % 10);
                busy.request_latency(2);
                busy.record_for_path(Namespaced::Write, "/app/x", 4);
            }
            busy
        });
        let busy = thread.join().unwrap();
        let read = registry.read();
        assert_eq!(read.counter(Counter::BytesReceivedCount), 1005);
        let latency = read.summary(Summary::Readlatency);
        assert_eq!((latency.count, latency.min(), latency.max), (1001, 0, 100));
        assert_eq!(latency.percentile(0.5), 5);
        assert_eq!(read.namespace(Namespaced::Write)["app"].sum, 4000);

        registry.reset();
        let read = registry.read();
        assert_eq!(read.counter(Counter::BytesReceivedCount), 0);
        assert_eq!(read.summary(Summary::Readlatency).percentile(0.99), 0);
        busy.record(Summary::Readlatency, 7);
        let read = registry.read();
        assert_eq!(read.summary(Summary::Readlatency).count, 1);
        assert_eq!(read.summary(Summary::Readlatency).min(), 7);
        assert_eq!(read.namespace(Namespaced::Write)["app"].count, 0, "a name stays");
        assert_eq!(read.latency_ms.count, 0);
    }

    #[test]
    fn proposals_are_those_of_one_leader() {
        let registry = MetricsRegistry::new();
        let writer = registry.register();
        for bytes in [48, 98, 88] {
            writer.proposal(bytes, 1);
        }
        let sizes = registry.read().proposals;
        assert_eq!((sizes.last, sizes.min, sizes.max), (88, 48, 98));
        writer.forget_proposals();
        let sizes = registry.read().proposals;
        assert_eq!((sizes.last, sizes.min, sizes.max), (-1, -1, -1));
        writer.proposal(50, 2);
        registry.reset();
        assert_eq!(registry.read().proposals.last, -1, "srst");
    }

    #[test]
    fn response_sizes_start_at_minus_one() {
        let registry = MetricsRegistry::new();
        let (a, b) = (registry.register(), registry.register());
        assert_eq!(registry.read().responses.last, -1);
        a.response(20, 50);
        b.response(90, 40);
        let sizes = registry.read().responses;
        assert_eq!((sizes.last, sizes.min, sizes.max), (20, 20, 90));
    }

    #[test]
    fn the_list_of_the_default_provider() {
        let registry = MetricsRegistry::new();
        registry.register().record(Summary::Fsynctime, 3);
        let list = registry.read().default_provider();
        let value = |name: &str| {
            let mut found = list.iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| *value);
            assert!(found.next().is_none(), "{name} twice");
            value
        };
        assert_eq!(value("avg_fsynctime"), Some(Number::Double(3.0)));
        assert_eq!(value("cnt_fsynctime"), Some(Number::Integer(1)));
        assert_eq!(value("p50_fsynctime"), None);
        assert_eq!(value("p999_updatelatency"), Some(Number::Integer(0)));
        assert_eq!(value("snap_count"), Some(Number::Integer(0)));
    }
}
