//! The CSV file: one line for every interval and kind of operation, and one for all kinds together, written as the run goes.

use std::io::Write;

use hdrhistogram::Histogram;

use crate::meter::Meter;
use crate::output::OutputFile;
use crate::output::saved::{Point, micros};

pub const HEADING: &str = "seconds,interval_seconds,operation,operations,rate,planned_rate,p50_us,p90_us,p99_us,p99.9_us,\
                           max_us,errors,lost,server_cores,server_resident_kib,generator_cores";

pub struct CsvFile {
    output: OutputFile,
    file: std::fs::File,
}

impl CsvFile {
    pub fn begin(mut output: OutputFile) -> Result<CsvFile, String> {
        let begun = output.emptied().and_then(|file| {
            writeln!(file, "{HEADING}")?;
            file.try_clone()
        });
        match begun {
            Ok(file) => Ok(CsvFile { output, file }),
            Err(error) => Err(output.failed(&error)),
        }
    }

    pub fn write(&mut self, point: &Point, meter: &Meter) -> Result<(), String> {
        let mut lines = String::new();
        for (kind, latencies) in meter.kinds() {
            lines += &line(point, kind.name(), latencies, latencies.len());
        }
        lines += &line(point, "all", &meter.merged(), point.operations);
        self.file.write_all(lines.as_bytes()).map_err(|error| self.output.failed(&error))
    }
}

/// What belongs to no kind in particular stands in the lines of all kinds together.
fn line(point: &Point, name: &str, latencies: &Histogram<u64>, operations: u64) -> String {
    let rate = operations as f64 / point.interval_seconds.max(1e-9);
    let percentiles = [50.0, 90.0, 99.0, 99.9, 100.0].map(|percentile| match latencies.len() {
        0 => String::new(),
        _ => format!("{:.1}", micros(latencies.value_at_percentile(percentile))),
    });
    let whole = |text: String| if name == "all" { text } else { String::new() };
    let optional = |number: Option<f64>| number.map_or(String::new(), |number| format!("{number:.3}"));
    format!(
        "{:.3},{:.3},{name},{operations},{rate:.1},{},{},{},{},{},{},{}\n",
        point.seconds,
        point.interval_seconds,
        whole(optional(point.planned_rate)),
        percentiles.join(","),
        whole(point.errors.to_string()),
        whole(point.lost.to_string()),
        whole(optional(point.server_cores)),
        whole(point.server_resident_kib.map_or(String::new(), |kib| kib.to_string())),
        whole(format!("{:.3}", point.generator_cores)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::OpKind;

    #[test]
    fn every_line_has_as_many_fields_as_the_heading() {
        let mut meter = Meter::new();
        (1..=10).for_each(|number| meter.record(OpKind::Get, 0, number * 100_000));
        meter.record(OpKind::Set, -101, 5);
        let point = Point::of(&meter, 3.0, 0.5);
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("run.csv");
        let mut csv = CsvFile::begin(OutputFile::open("--csv", &path).expect("open")).expect("a file");
        csv.write(&point, &meter).expect("a line");
        csv.write(&Point::of(&Meter::new(), 3.5, 0.5), &Meter::new()).expect("a line of nothing");
        let text = std::fs::read_to_string(&path).expect("read");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let fields = HEADING.split(',').count();
        assert!(lines.iter().all(|line| line.split(',').count() == fields), "{text}");
        assert!(lines[1].starts_with("3.000,0.500,get,10,20.0,,500."), "{text}");
        assert!(lines[2].contains(",all,10,20.0,") && lines[2].contains(",1,0,,,"), "{text}");
    }
}
