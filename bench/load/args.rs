//! The command line: what can be asked for, and every combination that makes no sense refused by name.
//! Turns text into values once; the rest of the tool receives only valid ones.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::output::report::ReportArgs;
use crate::pace::{Plan, RateRange};
use crate::wire;
use crate::workload::file::{Pattern, Spec};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Write one HTML page about saved runs, laid over each other
    Report(ReportArgs),
    /// List the workloads that have a name, or print the file of one
    Workloads {
        /// Print the file of this one
        name: Option<String>,
    },
}

/// Load generator for any server that speaks the ZooKeeper client protocol.
///
/// One thread, many connections. Exit codes: 0 whole run without a failed operation, 1 system error or unwritable
/// output, 2 bad command line or file, 3 server unreachable, 4 not a ZooKeeper server, 5 session refused, 6 connections lost during the run (what was
/// measured until then is printed), 7 operations answered with an error code, 8 no rate keeps the limit that was
/// searched for, 130 interrupted.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringkeeper-load", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Servers, host:port[,host:port...]; connections are spread over them in turn
    #[arg(long, default_value = "127.0.0.1:2181", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// Connections, one session each
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Requests in flight per connection
    #[arg(long, default_value_t = 1)]
    pub depth: usize,
    /// What is asked: a name (ringkeeper-load workloads lists them) or a file FILE.toml
    #[arg(long, default_value = "get")]
    pub workload: String,
    /// Share of setData in the mixed workload [default: 10]
    #[arg(long)]
    pub write_percent: Option<u64>,
    /// Number of znodes that requests choose from; created before the run where missing [default: the workload's, mostly
    /// 10000]
    #[arg(long)]
    pub keys: Option<u64>,
    /// Bytes of data per znode [default: the workload's, mostly 100]
    #[arg(long)]
    pub value_bytes: Option<usize>,
    /// Parent of the znodes; created where missing
    #[arg(long, default_value = "/bench")]
    pub path: String,
    /// Measured time
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Load before the measured time, not counted
    #[arg(long, default_value_t = 2.0)]
    pub warmup_seconds: f64,
    /// Measure exactly this many operations instead of --seconds
    #[arg(long, conflicts_with = "seconds")]
    pub operations: Option<u64>,
    /// Open loop: operations per second of all connections together, or FROM..TO, evenly over the measured time;
    /// latency counts from the planned send time
    #[arg(long)]
    pub rate: Option<RateRange>,
    /// Go from one rate to the other in this many steps, each reported by itself
    #[arg(long, requires = "rate")]
    pub steps: Option<u32>,
    /// Search for the highest rate at which the p99 of all operations stays below this many milliseconds; every trial
    /// lasts --seconds
    #[arg(long, value_name = "MS", conflicts_with_all = ["rate", "operations"])]
    pub search_p99_ms: Option<f64>,
    /// Open loop: operations planned for the same moment on the same connection
    #[arg(long, default_value_t = 1, requires = "rate")]
    pub burst: u64,
    /// Only create this many znodes under --path, as fast as the server takes them, and report that
    #[arg(long, conflicts_with_all = ["workload", "rate", "search_p99_ms", "operations", "warmup_seconds", "seconds", "keys"])]
    pub fill: Option<u64>,
    /// Do not create or overwrite the keys first: they are there from an earlier run
    #[arg(long)]
    pub no_setup: bool,
    /// Process id of the server on this machine: reports its CPU time per operation and its memory
    #[arg(long)]
    pub pid: Option<u32>,
    /// Session timeout to ask for
    #[arg(long, default_value_t = 30_000)]
    pub session_timeout_ms: i32,
    /// Give up when connecting, or an answer, takes longer than this
    #[arg(long, default_value_t = 15.0)]
    pub timeout_seconds: f64,
    /// What the run is called in reports
    #[arg(long)]
    pub label: Option<String>,
    /// Save the run for the report command
    #[arg(long, value_name = "FILE.json")]
    pub save: Option<PathBuf>,
    /// Write an HTML page with plots
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Write one line for every interval and kind of operation
    #[arg(long, value_name = "FILE.csv")]
    pub csv: Option<PathBuf>,
    /// Write a histogram for every interval and kind of operation, in HdrHistogram's log format
    #[arg(long, value_name = "FILE.hlog")]
    pub hdr_log: Option<PathBuf>,
    /// Length of an interval of progress, plots, CSV and HDR log
    #[arg(long, default_value_t = 1.0)]
    pub interval_seconds: f64,
    /// After the run, measure for this long what the generator itself can do, against a server in this process that only
    /// answers; 0 leaves it out
    #[arg(long, default_value_t = 0.5)]
    pub ceiling_seconds: f64,
    /// Run on this core only
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Print the result as one line of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// No progress and no table; with --json, only the line
    #[arg(long)]
    pub quiet: bool,
    /// Instead of generating load, answer every request on this port with a canned reply: measures the
    /// generator's own ceiling
    #[arg(long, hide = true)]
    pub null_server: Option<u16>,
}

impl Args {
    /// Refuses what clap cannot see.
    pub fn check(&self) -> Result<(), Failure> {
        let positive_seconds = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        let refuse = |text: String| Err(Failure::Usage(text));
        if self.connections == 0 {
            return refuse("--connections 0: at least one connection is needed".into());
        }
        if self.depth == 0 {
            return refuse("--depth 0: at least one request in flight is needed".into());
        }
        if self.servers.iter().any(String::is_empty) {
            return refuse("--servers: an address is empty; write host:port[,host:port...]".into());
        }
        for (name, number) in [("--fill", self.fill), ("--operations", self.operations), ("--keys", self.keys)] {
            if number == Some(0) {
                return refuse(format!("{name} 0: nothing would be measured"));
            }
        }
        for (name, number) in [("--fill", self.fill), ("--keys", self.keys)] {
            if number.is_some_and(|number| number > wire::KEYS_MAX) {
                return refuse(format!("{name}: at most {} keys", wire::KEYS_MAX));
            }
        }
        if !positive_seconds(self.seconds) {
            return refuse(format!("--seconds {}: must be above 0", self.seconds));
        }
        if !(self.warmup_seconds.is_finite() && self.warmup_seconds >= 0.0) {
            return refuse(format!("--warmup-seconds {}: must be 0 or more", self.warmup_seconds));
        }
        if !positive_seconds(self.timeout_seconds) {
            return refuse(format!("--timeout-seconds {}: must be above 0", self.timeout_seconds));
        }
        if !(self.interval_seconds.is_finite() && self.interval_seconds >= INTERVAL_SECONDS_MIN) {
            return refuse(format!("--interval-seconds {}: at least {INTERVAL_SECONDS_MIN}", self.interval_seconds));
        }
        if !(self.ceiling_seconds.is_finite() && self.ceiling_seconds >= 0.0) {
            return refuse(format!("--ceiling-seconds {}: must be 0 or more", self.ceiling_seconds));
        }
        if self.search_p99_ms.is_some_and(|limit| !positive_seconds(limit)) {
            return refuse("--search-p99-ms: must be above 0".into());
        }
        self.check_ramp()?;
        if self.burst == 0 {
            return refuse("--burst 0: at least one operation per burst is needed".into());
        }
        if self.write_percent.is_some_and(|percent| percent > 100) {
            return refuse("--write-percent: a percentage goes up to 100".into());
        }
        if self.write_percent.is_some() && self.workload != "mixed" {
            return refuse("--write-percent: only --workload mixed has one".into());
        }
        if self.session_timeout_ms <= 0 {
            return refuse(format!("--session-timeout-ms {}: must be above 0", self.session_timeout_ms));
        }
        self.check_path()
    }

    fn check_ramp(&self) -> Result<(), Failure> {
        let is_ramp = self.rate.is_some_and(|rate| rate.from != rate.to);
        let refuse = |text: &str| Err(Failure::Usage(text.to_owned()));
        match self.steps {
            Some(steps) if !(2..=STEPS_MAX).contains(&steps) => {
                refuse(&format!("--steps {steps}: from 2 to {STEPS_MAX}"))
            }
            Some(_) if !is_ramp => refuse("--steps: needs --rate FROM..TO"),
            _ if is_ramp && self.operations.is_some() => refuse("--operations: a ramp goes over --seconds"),
            _ => Ok(()),
        }
    }

    fn check_path(&self) -> Result<(), Failure> {
        let names_ok = self.path.strip_prefix('/').is_some_and(|names| names.split('/').all(is_plain_name));
        if names_ok {
            return Ok(());
        }
        let text = format!("--path {:?}: must be absolute, below the root, without a slash at its end", self.path);
        Err(Failure::Usage(text))
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_seconds)
    }

    /// The rate over the measured time.
    pub fn plan(&self) -> Plan {
        self.plan_of(self.rate)
    }

    pub fn plan_of(&self, rate: Option<RateRange>) -> Plan {
        let seconds = self.seconds;
        match (rate, self.steps) {
            (None, _) => Plan::Closed,
            (Some(RateRange { from, to }), Some(count)) => Plan::Steps { from, to, count, seconds },
            (Some(RateRange { from, to }), None) if from != to => Plan::Ramp { from, to, seconds },
            (Some(RateRange { from, .. }), None) => Plan::Constant { rate: from },
        }
    }

    /// The rate of the load before.
    pub fn warm_up_plan(&self) -> Plan {
        self.rate.map_or(Plan::Closed, |rate| Plan::Constant { rate: rate.from })
    }

    /// The workload, with what the command line says of it.
    pub fn spec(&self) -> Result<Spec, Failure> {
        let mut spec = Spec::load(&self.workload)?;
        spec.keys = self.fill.or(self.keys).unwrap_or(spec.keys);
        spec.value_bytes = self.value_bytes.unwrap_or(spec.value_bytes);
        if let (Some(percent), [reads, writes]) = (self.write_percent, &mut spec.operations[..]) {
            (reads.weight, writes.weight) = (100 - percent, percent);
        }
        if self.fill.is_some() {
            spec.name = "fill".to_owned();
        }
        if spec.pattern != Pattern::Mix && self.search_p99_ms.is_some() {
            return Err(Failure::Usage(format!("--search-p99-ms: {} is no stream of requests", spec.name)));
        }
        Ok(spec)
    }
}

/// The engine looks at the clock for this ten times a second.
const INTERVAL_SECONDS_MIN: f64 = 0.1;
const STEPS_MAX: u32 = 1_000;

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Args, String> {
        let words = std::iter::once("ringkeeper-load").chain(line.split_ascii_whitespace());
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        args.check().map_err(|failure| failure.to_string())?;
        Ok(args)
    }

    #[test]
    fn defaults_are_the_table_of_the_readme() {
        let args = check("").expect("defaults are valid");
        let spec = args.spec().expect("a workload");
        assert_eq!((args.connections, args.depth, spec.keys, spec.value_bytes), (64, 1, 10_000, 100));
        assert_eq!(spec.name, "get");
    }

    #[test]
    fn servers_are_split_at_commas() {
        let args = check("--servers a:1,b:2").expect("valid");
        assert_eq!(args.servers, ["a:1", "b:2"]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (line, named) in [
            ("--connections 0", "--connections"),
            ("--depth 0", "--depth"),
            ("--operations 0", "--operations"),
            ("--fill 0", "--fill"),
            ("--keys 0", "--keys"),
            ("--keys 100000001", "--keys"),
            ("--seconds 0", "--seconds"),
            ("--seconds NaN", "--seconds"),
            ("--warmup-seconds=-1", "--warmup-seconds"),
            ("--rate 0", "--rate"),
            ("--rate 10..0", "--rate"),
            ("--rate 10..20 --steps 1", "--steps"),
            ("--rate 10 --steps 5", "--steps"),
            ("--rate 10..20 --operations 5", "--operations"),
            ("--interval-seconds 0.01", "--interval-seconds"),
            ("--ceiling-seconds=-1", "--ceiling-seconds"),
            ("--search-p99-ms 0", "--search-p99-ms"),
            ("--search-p99-ms 5 --rate 10", "--rate"),
            ("--rate 10 --burst 0", "--burst"),
            ("--burst 4", "--rate"),
            ("--workload mixed --write-percent 101", "--write-percent"),
            ("--write-percent 10", "--write-percent"),
            ("--path /", "--path"),
            ("--path bench", "--path"),
            ("--path /bench/", "--path"),
            ("--path /a//b", "--path"),
            ("--servers a:1,,b:2", "--servers"),
            ("--fill 10 --rate 5", "--rate"),
            ("--timeout-seconds 0", "--timeout-seconds"),
            ("--session-timeout-ms 0", "--session-timeout-ms"),
        ] {
            let message = check(line).expect_err(line);
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
