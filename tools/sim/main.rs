//! Simulates whole ensembles, each from a seed: `cargo run --release --bin sim -- --seeds 0..1000`.

use clap::Parser;
use ringkeeper::sim::{Counts, DiskCounts, Report, run};
use std::process::ExitCode;
use std::time::Instant;

/// Runs ensembles over a simulated network, disk and clock, and holds them to their promises.
#[derive(Parser)]
struct Arguments {
    /// One seed, told in full
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds FROM..TO
    #[arg(long, value_parser = parse_range, default_value = "0..1000")]
    seeds: (u64, u64),
    /// Stop each seed after so many events
    #[arg(long)]
    steps: Option<u64>,
    /// Tell what happens as it does, and what the servers log (RUST_LOG)
    #[arg(long)]
    trace: bool,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("FROM..TO expected")?;
    let number = |text: &str| text.trim().parse().map_err(|_| format!("{text} is no number"));
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.trace {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).without_time().init();
    }
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => campaign(&arguments),
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let report = run(seed, arguments.steps, arguments.trace);
    print_counts(&report.counts, &report.disks);
    println!("{report}");
    exit_code(report.failure.is_some())
}

fn campaign(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let (mut counts, mut disks) = (Counts::default(), DiskCounts::default());
    let mut failures: Vec<Report> = Vec::new();
    let (mut commits, mut leader_changes) = (Vec::new(), Vec::new());
    for seed in arguments.seeds.0..arguments.seeds.1 {
        let report = run(seed, arguments.steps, false);
        counts.add(&report.counts);
        disks.add(&report.disks);
        commits.push(report.counts.commits);
        leader_changes.push(report.counts.leader_changes);
        if report.failure.is_some() {
            println!("{report}");
            failures.push(report);
            if !arguments.keep_going {
                break;
            }
        }
    }
    print_counts(&counts, &disks);
    let seconds = began.elapsed().as_secs_f64();
    let hours = counts.simulated_seconds as f64 / 3600.0;
    println!(
        "{} seeds, {hours:.1} simulated hours in {seconds:.0} s ({:.1} seeds/s, {:.0} simulated seconds a second)",
        counts.seeds,
        counts.seeds as f64 / seconds,
        counts.simulated_seconds as f64 / seconds
    );
    println!("median seed: {} commits, {} leaders", median(&mut commits), median(&mut leader_changes));
    println!("{} seed(s) failed", failures.len());
    for failure in &failures {
        println!("  {}", failure.repeat());
    }
    exit_code(!failures.is_empty())
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn print_counts(counts: &Counts, disks: &DiskCounts) {
    for (name, count) in counts.each().into_iter().chain(disks.each()) {
        println!("{count:>12} {}", name.replace('_', " "));
    }
}

fn exit_code(has_failed: bool) -> ExitCode {
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
