//! A run in JSON. [`Summary`] is the one line of `--json`; [`SavedRun`] is the file of `--save`, which the `report` command
//! reads: the summary, and what its plots need. Rates and shares are computed where these are made, in `run`.

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::meter::Meter;

/// The `format` of a saved run. Fields may be added under the same number; nothing else may change.
pub const FORMAT: &str = "ringkeeper-load run 1";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SavedRun {
    pub format: String,
    /// What the run is called in reports, if it was given a name.
    pub label: Option<String>,
    #[serde(flatten)]
    pub summary: Summary,
    /// One point for every interval of the measured part.
    pub series: Vec<Point>,
    /// Latency at ever higher percentiles, by kind of operation: `[percentile, microseconds]`.
    pub distribution_us: BTreeMap<String, Vec<(f64, f64)>>,
}

/// Names and units are those that `bench/compare` reads; a name once given keeps its meaning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub workload: String,
    pub servers: String,
    pub connections: u64,
    pub depth: u64,
    pub keys: u64,
    pub value_bytes: u64,
    /// Open loop: where the rate begins and, of a ramp, where it ends.
    pub planned_rate: Option<f64>,
    #[serde(default)]
    pub planned_rate_end: Option<f64>,
    pub seconds: f64,
    pub operations: u64,
    pub rate: f64,
    pub latency_us: BTreeMap<String, Latency>,
    /// Failed operations by ZooKeeper's error code.
    pub errors: BTreeMap<String, u64>,
    #[serde(default)]
    pub error_names: BTreeMap<String, String>,
    pub connections_lost: u64,
    pub operations_lost: u64,
    pub server_cpu_us_per_operation: Option<f64>,
    pub server_cores: Option<f64>,
    pub server_resident_kib: Option<u64>,
    pub server_resident_kib_peak: Option<u64>,
    pub generator_cpu_us_per_operation: f64,
    pub generator_cores: f64,
    /// What the generator reached with the same requests against a server that does nothing but answer.
    #[serde(default)]
    pub generator_ceiling_rate: Option<f64>,
    pub other_cores: f64,
    pub stolen_cores: f64,
    /// Of a ramp in steps.
    #[serde(default)]
    pub steps: Vec<StepSummary>,
    #[serde(default)]
    pub search: Option<Search>,
    /// Why the run ended early; the rest is what was measured until then.
    pub failure: Option<String>,
    /// When it began, in seconds since 1970.
    #[serde(default)]
    pub started: f64,
    #[serde(default)]
    pub command: String,
    #[serde(default)]
    pub version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    #[serde(rename = "p99.99", default)]
    pub p99_99: f64,
    pub max: f64,
    pub mean: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StepSummary {
    pub planned_rate: f64,
    pub seconds: f64,
    pub rate: f64,
    pub errors: u64,
    pub latency_us: Latency,
}

/// The search for the highest rate whose p99 keeps a limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Search {
    pub p99_limit_us: f64,
    /// None where no rate that was tried kept it.
    pub highest_rate: Option<f64>,
    pub trials: Vec<Trial>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// None for the closed loop that the search begins with.
    pub planned_rate: Option<f64>,
    pub rate: f64,
    pub p99_us: f64,
    pub kept: bool,
    /// Why it was not kept.
    pub reason: Option<String>,
}

/// One interval, all kinds of operations together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// Where the interval begins, counted from the start of the measured part.
    pub seconds: f64,
    pub interval_seconds: f64,
    pub operations: u64,
    pub rate: f64,
    pub planned_rate: Option<f64>,
    pub errors: u64,
    pub lost: u64,
    /// Null where nothing was answered.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    #[serde(rename = "p99.9_us")]
    pub p99_9_us: Option<f64>,
    pub max_us: Option<f64>,
    pub server_cores: Option<f64>,
    pub server_resident_kib: Option<u64>,
    pub generator_cores: f64,
}

/// Nanoseconds as microseconds, to the nanosecond.
pub fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Three decimals are below every measurement's noise; a figure that is not finite is no figure.
pub fn rounded(value: f64) -> f64 {
    if value.is_finite() { (value * 1e3).round() / 1e3 } else { 0.0 }
}

impl Latency {
    pub fn of(latencies: &Histogram<u64>) -> Latency {
        let at = |percentile: f64| micros(latencies.value_at_percentile(percentile));
        Latency {
            count: latencies.len(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            p99_99: at(99.99),
            max: micros(latencies.max()),
            mean: rounded(latencies.mean() / 1e3),
        }
    }
}

impl Point {
    /// What the meter tells; the rest is for the caller to fill in.
    pub fn of(meter: &Meter, seconds: f64, interval_seconds: f64) -> Point {
        let latencies = meter.merged();
        let at = |percentile: f64| (!latencies.is_empty()).then(|| micros(latencies.value_at_percentile(percentile)));
        Point {
            seconds: rounded(seconds),
            interval_seconds: rounded(interval_seconds),
            operations: meter.answered_ok,
            rate: rounded(meter.answered_ok as f64 / interval_seconds.max(1e-9)),
            errors: meter.failed(),
            lost: meter.lost,
            p50_us: at(50.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            max_us: at(100.0),
            ..Point::default()
        }
    }
}

/// A handful of points for every power of ten of what is left above the percentile, up to the highest latency.
pub fn distribution_us(latencies: &Histogram<u64>) -> Vec<(f64, f64)> {
    const POINTS_PER_HALVING: u32 = 4;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for value in latencies.iter_quantiles(POINTS_PER_HALVING) {
        let percentile = (value.quantile_iterated_to() * 1e8).round() / 1e6;
        let point = (percentile, micros(value.value_iterated_to()));
        if points.last() != Some(&point) {
            points.push(point);
        }
    }
    points
}

impl SavedRun {
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data") + "\n"
    }

    pub fn read(path: &Path) -> Result<SavedRun, Failure> {
        let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let run: SavedRun = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("no saved run (ringkeeper-load --save): {error}")))?;
        if run.format == FORMAT {
            Ok(run)
        } else {
            Err(wrong(format!("its format is {:?}, not {FORMAT:?}", run.format)))
        }
    }
}

impl Summary {
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data") + "\n"
    }

    /// The generator's rate as a share of what it can do, where that was measured.
    pub fn share_of_ceiling(&self) -> Option<f64> {
        Some(self.rate / self.generator_ceiling_rate.filter(|ceiling| *ceiling > 0.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::OpKind;

    #[test]
    fn a_saved_run_is_read_back() {
        let mut meter = Meter::new();
        (1..=1_000).for_each(|number| meter.record(OpKind::Get, 0, number * 1_000));
        let latencies = meter.latency_ns(OpKind::Get).expect("answers");
        let mut run = SavedRun { format: FORMAT.into(), ..SavedRun::default() };
        run.summary.latency_us.insert("get".into(), Latency::of(latencies));
        run.summary.errors.insert("-101".into(), 3);
        run.series.push(Point::of(&meter, 0.0, 1.0));
        run.distribution_us.insert("get".into(), distribution_us(latencies));
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("run.json");
        std::fs::write(&path, run.json()).expect("write");
        let read = SavedRun::read(&path).expect("a saved run");
        assert_eq!(read.summary.latency_us, run.summary.latency_us);
        assert_eq!(read.summary.errors, run.summary.errors);
        assert_eq!(read.distribution_us, run.distribution_us);
        assert!(run.json().contains("\"errors\":{\"-101\":3}") && run.json().contains("\"p99.9\":"), "{}", run.json());
        std::fs::write(&path, run.json().replace("run 1", "run 9")).expect("write");
        let failure = SavedRun::read(&path).expect_err("another format").to_string();
        assert!(failure.contains("run.json") && failure.contains("run 9"), "{failure}");
        std::fs::write(&path, "{}").expect("write");
        assert!(SavedRun::read(&path).expect_err("no run").to_string().contains("missing field"));
    }

    #[test]
    fn a_distribution_rises_to_the_highest_latency() {
        let mut meter = Meter::new();
        (1..=100_000).for_each(|number| meter.record(OpKind::Get, 0, number * 1_000));
        let points = distribution_us(meter.latency_ns(OpKind::Get).expect("answers"));
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{points:?}");
        assert!((20..200).contains(&points.len()), "{} points", points.len());
        assert!(points.iter().any(|point| (99.9..99.99).contains(&point.0)), "{points:?}");
        assert!(points.last().is_some_and(|point| point.0 == 100.0 && point.1 >= 100_000.0), "{points:?}");
    }
}
