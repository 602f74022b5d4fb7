//! The HDR log: one compressed histogram for every interval and kind of operation, in the interval log format 1.3 that
//! HdrHistogram's own tools and viewers read. Values are nanoseconds; a line's tag is the kind of operation.

use std::fs::File;
use std::io::LineWriter;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};

use crate::meter::Meter;
use crate::output::OutputFile;

/// The column of maxima is in milliseconds, as in the logs that HdrHistogram writes of nanoseconds.
const MAX_DIVISOR: f64 = 1e6;

pub struct LogFile {
    output: OutputFile,
    heading: String,
    /// Whole lines, so that an aborted run leaves a log that can be read.
    buffer: Option<LineWriter<File>>,
    serializer: V2DeflateSerializer,
}

pub type Writer<'a> = IntervalLogWriter<'a, 'a, LineWriter<File>, V2DeflateSerializer>;

impl LogFile {
    pub fn new(output: OutputFile, heading: String) -> LogFile {
        LogFile { output, heading, buffer: None, serializer: V2DeflateSerializer::new() }
    }

    /// Writes the head of the log. Intervals count from `start`.
    pub fn begin(&mut self, start: SystemTime) -> Result<Writer<'_>, String> {
        let file =
            self.output.emptied().and_then(|file| file.try_clone()).map_err(|error| self.output.failed(&error))?;
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment("[Histogram log format version 1.3]").add_comment(&self.heading);
        builder.with_start_time(start).with_base_time(start).with_max_value_divisor(MAX_DIVISOR);
        let begun = builder.begin_log_with(self.buffer.insert(LineWriter::new(file)), &mut self.serializer);
        begun.map_err(|error| self.output.failed(&error))
    }
}

/// Appends one interval: a line for every kind that had an answer.
pub fn write(writer: &mut Writer, meter: &Meter, from_ns: u64, to_ns: u64) -> Result<(), String> {
    let (from, length) = (Duration::from_nanos(from_ns), Duration::from_nanos(to_ns - from_ns));
    for (kind, latencies) in meter.kinds() {
        let tag = Tag::new(kind.name());
        let written = writer.write_histogram(latencies, from, length, tag);
        written.map_err(|error| format!("cannot write the HDR log: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::workload::OpKind;

    #[test]
    fn what_was_written_is_read_back_by_kind_and_interval() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("run.hlog");
        std::fs::write(&path, "what an earlier run left, longer than the head of a log".repeat(100)).expect("write");
        let mut log = LogFile::new(OutputFile::open("--hdr-log", &path).expect("open"), "get 64 x 16".into());
        let mut writer = log.begin(SystemTime::now()).expect("a log");
        let mut meter = Meter::new();
        (1..=100).for_each(|number| meter.record(OpKind::Get, 0, number * 10_000));
        meter.record(OpKind::Set, 0, 7_000_000);
        write(&mut writer, &meter, 0, 1_000_000_000).expect("an interval");
        write(&mut writer, &meter, 1_000_000_000, 1_500_000_000).expect("an interval");
        drop(writer);
        drop(log);
        let bytes = std::fs::read(&path).expect("read");
        let entries = IntervalLogIterator::new(&bytes).map(|entry| entry.expect("a line of a log"));
        let intervals: Vec<_> = entries
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        let tags: Vec<_> = intervals.iter().filter_map(|interval| Some(interval.tag()?.as_str())).collect();
        assert_eq!(tags, ["get", "set", "get", "set"]);
        assert_eq!(intervals[2].start_timestamp(), Duration::from_secs(1));
        assert_eq!(intervals[2].duration(), Duration::from_millis(500));
        let encoded = intervals[0].encoded_histogram().as_bytes();
        let encoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).expect("base64");
        let histogram = Deserializer::new().deserialize::<u64, _>(&mut &encoded[..]).expect("a histogram");
        assert_eq!(histogram.len(), 100);
        assert!((histogram.value_at_percentile(50.0) as f64 / 500_000.0 - 1.0).abs() < 0.01);
    }
}
