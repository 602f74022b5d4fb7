//! Simulates whole ensembles, each from a seed: `cargo run --release --bin sim -- --seeds 0..1000`.

mod campaign;
mod table;

use campaign::{Campaign, Outcome};
use clap::Parser;
use ringkeeper::sim::{PutBack, Report, run};
use std::ops::Range;
use std::process::{Command, ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Seeds that run at the same time; as many as there are processors unless given
    #[arg(long)]
    jobs: Option<usize>,
    /// Begin no further seed after so many minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Begin among --seeds where the commit says that is checked out, and go round: with others for each commit, and with the same
    /// again for the same one
    #[arg(long, conflicts_with = "seed")]
    from_commit: bool,
    /// Run with a fault put back (needs a build with RUSTFLAGS='--cfg put_backs')
    #[arg(long, value_parser = parse_put_back, value_name = "NAME")]
    put_back: Option<PutBack>,
    /// Put every fault back, one after the other, and tell by which of the seeds each is found (needs such a build too)
    #[arg(long)]
    put_backs: bool,
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("FROM..TO expected")?;
    let number = |text: &str| text.trim().parse().map_err(|_| format!("{text} is no number"));
    match (number(from)?, number(to)?) {
        (from, to) if from < to => Ok((from, to)),
        (from, to) => Err(format!("{from}..{to} holds no seed")),
    }
}

fn parse_put_back(name: &str) -> Result<PutBack, String> {
    if !PutBack::ARE_BUILT_IN {
        return Err("this build has no faults to put back: build it with RUSTFLAGS='--cfg put_backs'".to_owned());
    }
    let found = PutBack::ALL.into_iter().find(|fault| fault.name() == name);
    let names = || PutBack::ALL.map(PutBack::name).join(", ");
    found.ok_or_else(|| format!("there is no fault of that name; there are: {}", names()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.trace {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).without_time().init();
    }
    if let Some(seed) = arguments.seed {
        return one(seed, &arguments);
    }
    let (from, to) = arguments.seeds;
    let first = match arguments.from_commit.then(|| seed_of_commit(from..to)).transpose() {
        Ok(of_commit) => of_commit.unwrap_or(from),
        Err(why) => {
            eprintln!("sim: {why}");
            return ExitCode::FAILURE;
        }
    };
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let campaign = Campaign {
        seeds: from..to,
        first,
        steps_max: arguments.steps,
        jobs: jobs.max(1),
        minutes_max: arguments.minutes,
        keep_going: arguments.keep_going,
        put_back: arguments.put_back,
        is_told: true,
    };
    match arguments.put_backs {
        true => table::print(&campaign),
        false => exit_code(campaign.run().tell()),
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    if let Some(fault) = arguments.put_back {
        fault.put_back();
    }
    let report: Report = run(seed, arguments.steps, arguments.trace);
    let mut outcome = Outcome::default();
    outcome.add(report.clone());
    outcome.print_counts();
    println!("{report}");
    exit_code(report.failure.is_none())
}

/// One of `seeds`, by the commit's name.
fn seed_of_commit(seeds: Range<u64>) -> Result<u64, String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().map_err(|error| format!("git: {error}"))?;
    let name = String::from_utf8_lossy(&output.stdout);
    let digits = name.get(..12).ok_or("git knows no commit here; name the seeds with --seeds alone")?;
    let number = u64::from_str_radix(digits, 16).map_err(|_| format!("{digits} is no commit"))?;
    let first = seeds.start + number % (seeds.end - seeds.start);
    println!("seeds of commit {digits}: from {first} on, then those from {} on", seeds.start);
    Ok(first)
}

fn exit_code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
