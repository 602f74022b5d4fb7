//! How long requests take, as text: the words `lats` and `hdrl`, and the lines of `mntr`. RingKeeper's own; what the stages
//! mean stands in `docs/latency.md`.

use super::date::{TimeZone, java_date};
use crate::observe::{Latencies, LatencyReadout, Number};
use crate::types::{Operation, Stage, WallMillis};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What was timed, and since when.
#[derive(Clone, Debug)]
pub struct LatencyStatus {
    pub latencies: Latencies,
    /// The start, or the last `srst`.
    pub since: WallMillis,
    pub now: WallMillis,
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// `lats`: a table, microseconds. First all operations together.
pub fn lats(status: &LatencyStatus, time_zone: &TimeZone) -> String {
    let since = java_date(status.since, time_zone);
    let mut text = format!("Latencies in microseconds since {since}:\n");
    let quantiles = QUANTILES.map(|(name, _)| format!("{name:>10}")).concat();
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "{:<15} {:<9} {:>10} {:>10}{quantiles} {:>10}", "operation", "stage", "count", "mean", "max");
    for stage in Stage::ALL {
        put_row(&mut text, "all", stage, &status.latencies.of_stage(stage));
    }
    for (operation, stage, readout) in status.latencies.iter() {
        put_row(&mut text, operation.name(), stage, readout);
    }
    text
}

fn put_row(text: &mut String, operation: &str, stage: Stage, readout: &LatencyReadout) {
    let quantiles = QUANTILES.map(|(_, quantile)| format!("{:>10}", readout.percentile_micros(quantile))).concat();
    let (count, mean, max) = (readout.count(), readout.mean_micros(), readout.max_micros());
    let _ = writeln!(text, "{operation:<15} {:<9} {count:>10} {mean:>10.1}{quantiles} {max:>10}", stage.name());
}

/// `hdrl`: a log of HdrHistogram with one interval, from the start or the last `srst` until now, and in it one histogram per
/// operation and stage, with the tag `operation.stage`. Values are microseconds.
pub fn hdrl(status: &LatencyStatus) -> String {
    let mut log = Vec::new();
    write_log(status, &mut log).expect("writing to memory");
    String::from_utf8(log).expect("a log of histograms is text")
}

fn write_log(status: &LatencyStatus, log: &mut Vec<u8>) -> std::io::Result<()> {
    let after_epoch = |at: WallMillis| Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    let (since, now) = (after_epoch(status.since), after_epoch(status.now));
    let start: SystemTime = UNIX_EPOCH + since;
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]").with_start_time(start);
    builder.add_comment("[RingKeeper: microseconds, tag = operation.stage]");
    let mut writer = builder.begin_log_with(log, &mut serializer)?;
    for (operation, stage, readout) in status.latencies.iter() {
        let tag = format!("{}.{}", operation.name(), stage.name());
        let tag = Tag::new(&tag).expect("names have no commas and no spaces");
        let took = now.saturating_sub(since);
        writer
            .write_histogram(readout.histogram(), since, took, Some(tag))
            .map_err(|error| std::io::Error::other(error.to_string()))?;
    }
    Ok(())
}

/// What `mntr` tells beyond ZooKeeper's keys: every stage, and the total of every operation.
pub fn gauges(latencies: &Latencies) -> Vec<(String, Number)> {
    let mut list = Vec::new();
    for stage in Stage::ALL {
        put_gauges(&mut list, &format!("stage_{}", stage.name()), &latencies.of_stage(stage));
    }
    for operation in Operation::ALL {
        let total = latencies.of_operation(operation, Stage::Total);
        put_gauges(&mut list, &format!("operation_{}", operation.name()), &total);
    }
    list
}

fn put_gauges(list: &mut Vec<(String, Number)>, name: &str, readout: &LatencyReadout) {
    let whole = |number: u64| Number::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    list.push((format!("{name}_count"), whole(readout.count())));
    for (quantile_name, quantile) in QUANTILES.iter().filter(|(name, _)| *name != "p90") {
        list.push((format!("{name}_{quantile_name}_us"), whole(readout.percentile_micros(*quantile))));
    }
    list.push((format!("{name}_max_us"), whole(readout.max_micros())));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observe::MetricsRegistry;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    /// Whether a line of `mntr` is of this page and not ZooKeeper's.
    pub fn is_own(key: &str) -> bool {
        key.starts_with("zk_stage_") || key.starts_with("zk_operation_")
    }

    fn status() -> LatencyStatus {
        let registry = MetricsRegistry::new();
        let writer = registry.register();
        writer.record_stage(Operation::SetData, Stage::Flush, 200, 90);
        writer.record_stage(Operation::SetData, Stage::Flush, 3_000, 10);
        writer.record_stage(Operation::Create, Stage::Flush, 50, 1);
        writer.record_stage(Operation::SetData, Stage::Total, 3_333, 100);
        let latencies = registry.read_latencies();
        LatencyStatus { latencies, since: WallMillis(1_795_343_861_250), now: WallMillis(1_795_343_871_750) }
    }

    #[test]
    fn the_table() {
        let text = lats(&status(), &TimeZone::utc());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Latencies in microseconds since Sun Nov 22 10:37:41 UTC 2026:");
        let head = "operation       stage          count       mean       p50       p90       p99      p999        max";
        assert_eq!(lines[1], head);
        let row = |start: &str| {
            let line = lines.iter().find(|line| line.starts_with(start)).expect("a row");
            line.split_whitespace().skip(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines.len(), 2 + Stage::COUNT + 3);
        assert_eq!(row("all             socket ")[0], "0");
        let flush = row("all             flush ");
        assert_eq!((flush[0].as_str(), flush[1].as_str(), flush[6].as_str()), ("101", "475.7", "3000"));
        let flush = row("set_data        flush ");
        assert_eq!((flush[0].as_str(), flush[6].as_str()), ("100", "3000"));
        let near = |at: usize, exact: u64| flush[at].parse::<u64>().unwrap().abs_diff(exact) * 32 <= exact;
        assert!(near(2, 200) && near(4, 3_000), "{flush:?}");
        assert_eq!(row("create          flush ")[0], "1");
    }

    #[test]
    fn the_log_is_read_back_with_all_its_values() {
        let text = hdrl(&status());
        assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
        assert!(text.contains("#[StartTime: 1795343861.250 (seconds since epoch)]\n"), "{text}");
        let mut seen = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let LogEntry::Interval(interval) = entry.expect("readable") else { continue };
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram().as_bytes(),
            );
            let histogram =
                Deserializer::new().deserialize::<u64, _>(&mut &*bytes.expect("base64")).expect("a histogram");
            assert_eq!(interval.duration(), Duration::from_millis(10_500));
            assert_eq!(interval.start_timestamp(), Duration::from_millis(1_795_343_861_250));
            seen.push((interval.tag().expect("a tag").as_str().to_owned(), histogram.len(), histogram.max()));
        }
        let expected = [("create.flush", 1, 50), ("set_data.flush", 100, 3_000), ("set_data.total", 100, 3_333)];
        assert_eq!(seen.len(), expected.len());
        for ((tag, count, max), (expected_tag, expected_count, expected_max)) in seen.iter().zip(expected) {
            assert_eq!((tag.as_str(), *count), (expected_tag, expected_count));
            assert!(max.abs_diff(expected_max) * 64 <= expected_max, "{tag}: {max}");
        }
    }

    #[test]
    fn nothing_timed_yet() {
        let none = LatencyStatus { latencies: Latencies::default(), ..status() };
        assert_eq!(lats(&none, &TimeZone::utc()).lines().count(), 2 + Stage::COUNT);
        assert!(hdrl(&none).lines().all(|line| line.starts_with('#')));
        let list = gauges(&none.latencies);
        assert_eq!(list.len(), (Stage::COUNT + Operation::COUNT) * 5);
        assert!(list.iter().all(|(_, value)| *value == Number::Integer(0)));
    }

    #[test]
    fn gauges_have_units_in_their_names() {
        let list = gauges(&status().latencies);
        let value = |name: &str| list.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        assert_eq!(value("stage_flush_count"), Some(Number::Integer(101)));
        assert_eq!(value("stage_flush_max_us"), Some(Number::Integer(3_000)));
        assert_eq!(value("operation_set_data_count"), Some(Number::Integer(100)));
        assert_eq!(value("operation_set_data_p999_us"), Some(Number::Integer(3_333)));
        assert_eq!(value("operation_get_data_p50_us"), Some(Number::Integer(0)));
    }
}
