//! The result of a run, as a table for people and as one line of JSON for scripts. Computes rates and shares from
//! counters; measures nothing itself.

use std::fmt::Write;

use crate::args::Args;
use crate::meter::Meter;
use crate::proc::{Memory, Sample};
use crate::wire::error_code;
use crate::workload::OpKind;

pub const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

pub struct Report<'a> {
    pub args: &'a Args,
    pub meter: &'a Meter,
    pub elapsed_seconds: f64,
    pub before: Sample,
    pub after: Sample,
    pub memory: Option<Memory>,
    pub connections_lost: usize,
    /// Why the run ended early; what was measured until then is still reported.
    pub failure: Option<String>,
}

impl Report<'_> {
    fn rate(&self) -> f64 {
        self.meter.answered_ok as f64 / self.elapsed_seconds.max(1e-9)
    }

    fn answered(&self) -> u64 {
        self.meter.answered_ok + self.meter.failed()
    }

    fn server_cpu_seconds(&self) -> Option<f64> {
        Some(self.after.server_cpu_seconds? - self.before.server_cpu_seconds?)
    }

    fn own_cpu_seconds(&self) -> f64 {
        self.after.own_cpu_seconds - self.before.own_cpu_seconds
    }

    /// Cores kept busy by neither the server nor us: noise, if it is not small.
    fn other_cores(&self) -> f64 {
        let busy = self.after.machine_busy_seconds - self.before.machine_busy_seconds;
        let known = self.own_cpu_seconds() + self.server_cpu_seconds().unwrap_or(0.0);
        (busy - known).max(0.0) / self.elapsed_seconds.max(1e-9)
    }

    fn stolen_cores(&self) -> f64 {
        (self.after.machine_stolen_seconds - self.before.machine_stolen_seconds) / self.elapsed_seconds.max(1e-9)
    }

    fn cpu_us_per_operation(&self, cpu_seconds: f64) -> f64 {
        cpu_seconds * 1e6 / self.answered().max(1) as f64
    }

    fn cores(&self, cpu_seconds: f64) -> f64 {
        cpu_seconds / self.elapsed_seconds.max(1e-9)
    }

    pub fn table(&self) -> String {
        let mut out = self.heading();
        let (count, seconds) = (grouped(self.meter.answered_ok), self.elapsed_seconds);
        let rate = grouped(self.rate() as u64);
        line(&mut out, format_args!("  rate        {rate} ops/s ({count} in {seconds:.2} s)"));
        self.latency_lines(&mut out);
        if let (Some(pid), Some(cpu)) = (self.args.pid, self.server_cpu_seconds()) {
            let (per_operation, cores) = (self.cpu_us_per_operation(cpu), self.cores(cpu));
            line(
                &mut out,
                format_args!("  server      {per_operation:.2} us CPU per operation, {cores:.2} cores (pid {pid})"),
            );
        }
        if let Some(memory) = self.memory {
            let mib = |kib: u64| kib as f64 / 1024.0;
            let (resident, peak) = (mib(memory.resident_kib), mib(memory.resident_kib_peak));
            line(&mut out, format_args!("              {resident:.1} MiB resident, peak {peak:.1} MiB"));
        }
        let own = self.own_cpu_seconds();
        let (per_operation, cores) = (self.cpu_us_per_operation(own), self.cores(own));
        line(&mut out, format_args!("  generator   {per_operation:.2} us CPU per operation, {cores:.2} cores"));
        let (other, stolen) = (self.other_cores(), self.stolen_cores());
        let whose = if self.args.pid.is_some() { "others" } else { "all others" };
        line(&mut out, format_args!("  {whose:<11} {other:.2} cores busy, {stolen:.2} stolen by the hypervisor"));
        self.error_lines(&mut out);
        out
    }

    fn heading(&self) -> String {
        let args = self.args;
        let (name, connections, depth, bytes) = (args.workload_name(), args.connections, args.depth, args.value_bytes);
        let pace = args
            .rate
            .map_or("closed loop".to_owned(), |rate| format!("{rate} ops/s planned, bursts of {}", args.burst));
        let keys = args.fill.unwrap_or(args.keys);
        let servers = args.servers.join(",");
        format!("{name}: {connections} connections x {depth} in flight, {pace}, {keys} keys of {bytes} B, {servers}\n")
    }

    fn latency_lines(&self, out: &mut String) {
        let names: String = PERCENTILES.iter().map(|(name, _)| format!("{name:>10}")).collect();
        line(out, format_args!("  latency us{names}{:>10}{:>10}", "max", "mean"));
        for kind in OpKind::ALL {
            let latency = self.meter.latency_ns(kind);
            if latency.is_empty() {
                continue;
            }
            let values: String = PERCENTILES
                .iter()
                .map(|(_, percentile)| format!("{:>10.1}", latency.value_at_percentile(*percentile) as f64 / 1e3))
                .collect();
            let (name, max, mean) = (kind.name(), latency.max() as f64 / 1e3, latency.mean() / 1e3);
            line(out, format_args!("    {name:<8}{values}{max:>10.1}{mean:>10.1}"));
        }
    }

    fn error_lines(&self, out: &mut String) {
        if self.meter.errors.is_empty() && self.meter.lost == 0 && self.connections_lost == 0 {
            line(out, format_args!("  errors      none"));
        }
        for (code, count) in &self.meter.errors {
            let name = error_code::name(*code);
            line(out, format_args!("  errors      {count} x {code} {name}"));
        }
        if self.connections_lost > 0 || self.meter.lost > 0 {
            let (connections, operations) = (self.connections_lost, self.meter.lost);
            line(
                out,
                format_args!("  lost        {connections} connections, {operations} operations in flight on them"),
            );
        }
    }

    pub fn json(&self) -> String {
        let args = self.args;
        let mut out = Object::new();
        out.text("workload", args.workload_name());
        out.text("servers", &args.servers.join(","));
        out.number("connections", args.connections as f64);
        out.number("depth", args.depth as f64);
        out.number("keys", args.fill.unwrap_or(args.keys) as f64);
        out.number("value_bytes", args.value_bytes as f64);
        out.optional("planned_rate", args.rate);
        out.number("seconds", self.elapsed_seconds);
        out.number("operations", self.meter.answered_ok as f64);
        out.number("rate", self.rate());
        out.raw("latency_us", &self.latency_json());
        out.raw("errors", &self.errors_json());
        out.number("connections_lost", self.connections_lost as f64);
        out.number("operations_lost", self.meter.lost as f64);
        let server_cpu = self.server_cpu_seconds();
        out.optional("server_cpu_us_per_operation", server_cpu.map(|cpu| self.cpu_us_per_operation(cpu)));
        out.optional("server_cores", server_cpu.map(|cpu| self.cores(cpu)));
        out.optional("server_resident_kib", self.memory.map(|memory| memory.resident_kib as f64));
        out.optional("server_resident_kib_peak", self.memory.map(|memory| memory.resident_kib_peak as f64));
        out.number("generator_cpu_us_per_operation", self.cpu_us_per_operation(self.own_cpu_seconds()));
        out.number("generator_cores", self.cores(self.own_cpu_seconds()));
        out.number("other_cores", self.other_cores());
        out.number("stolen_cores", self.stolen_cores());
        match &self.failure {
            Some(failure) => out.text("failure", failure),
            None => out.raw("failure", "null"),
        }
        out.finish()
    }

    fn latency_json(&self) -> String {
        let mut kinds = Object::new();
        for kind in OpKind::ALL {
            let latency = self.meter.latency_ns(kind);
            if latency.is_empty() {
                continue;
            }
            let mut values = Object::new();
            values.number("count", latency.len() as f64);
            for (name, percentile) in PERCENTILES {
                values.number(name, latency.value_at_percentile(percentile) as f64 / 1e3);
            }
            values.number("max", latency.max() as f64 / 1e3);
            values.number("mean", latency.mean() / 1e3);
            kinds.raw(kind.name(), &values.finish());
        }
        kinds.finish()
    }

    fn errors_json(&self) -> String {
        let mut errors = Object::new();
        for (code, count) in &self.meter.errors {
            errors.number(&code.to_string(), *count as f64);
        }
        errors.finish()
    }
}

fn line(out: &mut String, text: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A JSON object under construction.
struct Object(String);

impl Object {
    fn new() -> Object {
        Object(String::new())
    }

    fn raw(&mut self, name: &str, value: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}{}:{value}", quoted(name));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, &quoted(value));
    }

    fn number(&mut self, name: &str, value: f64) {
        // Three decimals are below every measurement's noise; a figure that is not finite is no figure.
        let text = if !value.is_finite() {
            "null".to_owned()
        } else if value.fract() == 0.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.3}")
        };
        self.raw(name, &text);
    }

    fn optional(&mut self, name: &str, value: Option<f64>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.raw(name, "null"),
        }
    }

    fn finish(self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn json_text_is_escaped_and_numbers_stay_numbers() {
        let mut object = Object::new();
        object.text("a\"b", "line\nbreak\\");
        object.number("whole", 12.0);
        object.number("part", 1.23456);
        object.number("none", f64::NAN);
        assert_eq!(object.finish(), "{\"a\\\"b\":\"line\\u000abreak\\\\\",\"whole\":12,\"part\":1.235,\"none\":null}");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn shares_come_from_differences_over_the_measured_time() {
        let args = Args::parse_from(["ringkeeper-load", "--pid", "1"]);
        let mut meter = Meter::new();
        (0..1_000).for_each(|_| meter.record(OpKind::Get, 0, 50_000));
        meter.record(OpKind::Get, -101, 1);
        let sample = |server: f64, own: f64, busy: f64| Sample {
            server_cpu_seconds: Some(server),
            own_cpu_seconds: own,
            machine_busy_seconds: busy,
            machine_stolen_seconds: 0.0,
        };
        let (before, after) = (sample(10.0, 1.0, 100.0), sample(11.001, 1.5, 102.0));
        let report = Report {
            args: &args,
            meter: &meter,
            elapsed_seconds: 2.0,
            before,
            after,
            memory: None,
            connections_lost: 0,
            failure: None,
        };
        let json = report.json();
        for part in [
            "\"rate\":500,",
            "\"server_cpu_us_per_operation\":1000.000,",
            "\"generator_cores\":0.250",
            "\"other_cores\":0.250",
            "\"errors\":{\"-101\":1}",
            "\"failure\":null",
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        assert!(report.table().contains("1 x -101 NONODE"), "{}", report.table());
    }
}
