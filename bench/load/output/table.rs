//! The result of a run as a table for people.

use std::fmt::Write;

use crate::output::saved::{Latency, Summary};
use crate::workload::OpKind;

/// From this share of the generator's own ceiling on, the figures say little about the server.
pub const CEILING_SHARE_MAX: f64 = 0.8;

pub fn table(run: &Summary) -> String {
    let mut out = heading(run);
    let (count, seconds) = (grouped(run.operations), run.seconds);
    line(&mut out, format_args!("  rate        {} ops/s ({count} in {seconds:.2} s)", grouped(run.rate as u64)));
    latency_lines(&mut out, run);
    step_lines(&mut out, run);
    search_lines(&mut out, run);
    if let (Some(per_operation), Some(cores)) = (run.server_cpu_us_per_operation, run.server_cores) {
        line(&mut out, format_args!("  server      {per_operation:.2} us CPU per operation, {cores:.2} cores"));
    }
    if let (Some(resident), Some(peak)) = (run.server_resident_kib, run.server_resident_kib_peak) {
        let mib = |kib: u64| kib as f64 / 1024.0;
        line(&mut out, format_args!("              {:.1} MiB resident, peak {:.1} MiB", mib(resident), mib(peak)));
    }
    generator_lines(&mut out, run);
    let whose = if run.server_cores.is_some() { "others" } else { "all others" };
    let (other, stolen) = (run.other_cores, run.stolen_cores);
    line(&mut out, format_args!("  {whose:<11} {other:.2} cores busy, {stolen:.2} stolen by the hypervisor"));
    error_lines(&mut out, run);
    out
}

fn heading(run: &Summary) -> String {
    let pace = match (run.planned_rate, run.planned_rate_end) {
        (Some(from), Some(to)) => format!("{from} to {to} ops/s planned"),
        (Some(rate), None) => format!("{rate} ops/s planned"),
        _ => "closed loop".to_owned(),
    };
    let (name, connections, depth, keys, bytes) =
        (&run.workload, run.connections, run.depth, run.keys, run.value_bytes);
    let servers = &run.servers;
    format!("{name}: {connections} connections x {depth} in flight, {pace}, {keys} keys of {bytes} B, {servers}\n")
}

fn latency_lines(out: &mut String, run: &Summary) {
    let names = ["ops/s", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"].map(|name| format!("{name:>11}"));
    line(out, format_args!("  latency us   {}", names.concat()));
    for kind in OpKind::ALL {
        if let Some(latency) = run.latency_us.get(kind.name()) {
            let rate = latency.count as f64 / run.seconds.max(1e-9);
            line(out, format_args!("    {:<11}{}", kind.name(), latency_cells(rate, latency)));
        }
    }
}

fn latency_cells(rate: f64, latency: &Latency) -> String {
    let values = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max, latency.mean];
    let cells = values.map(|value| format!("{value:>11.1}"));
    format!("{rate:>11.0}{}", cells.concat())
}

fn step_lines(out: &mut String, run: &Summary) {
    for (number, step) in run.steps.iter().enumerate() {
        let (planned, failed) = (step.planned_rate, step.errors);
        let failures = if failed > 0 { format!("  {failed} errors") } else { String::new() };
        let name = format!("step {}", number + 1);
        let cells = latency_cells(step.rate, &step.latency_us);
        line(out, format_args!("    {name:<11}{cells}  planned {planned:.0}{failures}"));
    }
}

fn search_lines(out: &mut String, run: &Summary) {
    let Some(search) = &run.search else {
        return;
    };
    let limit = search.p99_limit_us / 1e3;
    match search.highest_rate {
        Some(rate) => {
            line(out, format_args!("  search      p99 stays below {limit} ms up to {} ops/s", grouped(rate as u64)));
        }
        None => line(out, format_args!("  search      no rate that was tried keeps p99 below {limit} ms")),
    }
    for trial in &search.trials {
        let planned = trial.planned_rate.map_or("closed loop".to_owned(), |rate| format!("{rate:.0} planned"));
        let (rate, p99) = (trial.rate, trial.p99_us / 1e3);
        let verdict = trial.reason.as_deref().unwrap_or("kept");
        line(out, format_args!("              {planned:>20} {rate:>11.0} ops/s  p99 {p99:>9.3} ms  {verdict}"));
    }
}

fn generator_lines(out: &mut String, run: &Summary) {
    let (per_operation, cores) = (run.generator_cpu_us_per_operation, run.generator_cores);
    line(out, format_args!("  generator   {per_operation:.2} us CPU per operation, {cores:.2} cores"));
    if let (Some(share), Some(ceiling)) = (run.share_of_ceiling(), run.generator_ceiling_rate) {
        let (percent, ceiling) = (share * 100.0, grouped(ceiling as u64));
        line(out, format_args!("              {percent:.0} % of its own ceiling of {ceiling} ops/s"));
        if share > CEILING_SHARE_MAX {
            line(
                out,
                format_args!("              the generator may be the bottleneck: the server can do more than this"),
            );
        }
    }
}

fn error_lines(out: &mut String, run: &Summary) {
    if run.errors.is_empty() && run.operations_lost == 0 && run.connections_lost == 0 {
        line(out, format_args!("  errors      none"));
    }
    for (code, count) in &run.errors {
        let name = run.error_names.get(code).map_or("", String::as_str);
        line(out, format_args!("  errors      {count} x {code} {name}"));
    }
    if run.connections_lost > 0 || run.operations_lost > 0 {
        let (connections, operations) = (run.connections_lost, run.operations_lost);
        line(out, format_args!("  lost        {connections} connections, {operations} operations in flight on them"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::saved::{Search, StepSummary, Trial};

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn everything_that_was_measured_is_said() {
        let latency = Latency { count: 500, p50: 12.5, p99: 340.0, ..Latency::default() };
        let mut run =
            Summary { workload: "get".into(), seconds: 2.0, rate: 250.0, operations: 500, ..Summary::default() };
        run.latency_us.insert("get".into(), latency.clone());
        run.steps.push(StepSummary { planned_rate: 77.0, latency_us: latency, ..StepSummary::default() });
        let trial = Trial { planned_rate: Some(300.0), reason: Some("p99 above the limit".into()), ..Trial::default() };
        run.search = Some(Search { p99_limit_us: 5_000.0, highest_rate: Some(123_456.0), trials: vec![trial] });
        (run.generator_ceiling_rate, run.server_cores, run.server_cpu_us_per_operation) =
            (Some(260.0), Some(0.5), Some(3.0));
        (run.server_resident_kib, run.server_resident_kib_peak) = (Some(2048), Some(3072));
        run.errors.insert("-101".into(), 4);
        run.error_names.insert("-101".into(), "NONODE".into());
        let text = table(&run);
        for part in [
            "250 ops/s (500 in 2.00 s)",
            "    get                250       12.5",
            "step 1",
            "planned 77",
            "p99 stays below 5 ms up to 123,456 ops/s",
            "p99 above the limit",
            "3.00 us CPU per operation, 0.50 cores",
            "2.0 MiB resident, peak 3.0 MiB",
            "96 % of its own ceiling of 260 ops/s",
            "may be the bottleneck",
            "4 x -101 NONODE",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
