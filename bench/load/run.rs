//! One run from the first connection to the last counter: open sessions, create what the workload needs, warm up,
//! measure. Everything before the measured part fails the run; from there on a failure keeps what was measured.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::{Args, WorkloadName};
use crate::engine::{Engine, Limits};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::output::Files;
use crate::output::csv::CsvFile;
use crate::output::hdr_log::LogFile;
use crate::output::saved::{FORMAT, Latency, SavedRun, StepSummary, Summary, distribution_us, rounded};
use crate::pace::{Pace, Plan};
use crate::proc::{self, Memory, Sample};
use crate::progress::{Goal, Progress};
use crate::recorder::{Outputs, Record, Recorder};
use crate::session;
use crate::wire::error_code;
use crate::workload::{self, Workload};

/// Requests in flight per connection while keys are created: enough for full group commits.
const SETUP_DEPTH: usize = 32;

/// What a run came to.
pub struct Outcome {
    pub record: Record,
    pub failure: Option<Failure>,
    pub first_loss: Option<String>,
    connections_lost: usize,
    elapsed_seconds: f64,
    before: Sample,
    after: Sample,
    memory: Option<Memory>,
    started: SystemTime,
}

impl Outcome {
    pub fn saved(&self, args: &Args) -> SavedRun {
        let kinds = self.record.total.kinds();
        SavedRun {
            format: FORMAT.to_owned(),
            label: args.label.clone(),
            summary: self.summary(args),
            series: self.record.series.clone(),
            distribution_us: kinds
                .map(|(kind, latencies)| (kind.name().to_owned(), distribution_us(latencies)))
                .collect(),
        }
    }

    /// Computes rates and shares from counters; measures nothing.
    pub fn summary(&self, args: &Args) -> Summary {
        let total = &self.record.total;
        let seconds = self.elapsed_seconds.max(1e-9);
        let per_operation = |cpu_seconds: f64| rounded(cpu_seconds * 1e6 / total.answered().max(1) as f64);
        let cores = |cpu_seconds: f64| rounded(cpu_seconds.max(0.0) / seconds);
        let server_cpu =
            self.after.server_cpu_seconds.zip(self.before.server_cpu_seconds).map(|(after, before)| after - before);
        let own_cpu = self.after.own_cpu_seconds - self.before.own_cpu_seconds;
        // Kept busy by neither the server nor us: noise, if it is not small.
        let other_cpu =
            self.after.machine_busy_seconds - self.before.machine_busy_seconds - own_cpu - server_cpu.unwrap_or(0.0);
        let ramp = args.rate.filter(|rate| rate.from != rate.to);
        Summary {
            workload: args.workload_name().to_owned(),
            servers: args.servers.join(","),
            connections: args.connections as u64,
            depth: args.depth as u64,
            keys: args.fill.unwrap_or(args.keys),
            value_bytes: args.value_bytes as u64,
            planned_rate: args.rate.map(|rate| rate.from),
            planned_rate_end: ramp.map(|rate| rate.to),
            seconds: rounded(self.elapsed_seconds),
            operations: total.answered_ok,
            rate: rounded(total.answered_ok as f64 / seconds),
            latency_us: total
                .kinds()
                .map(|(kind, latencies)| (kind.name().to_owned(), Latency::of(latencies)))
                .collect(),
            errors: total.errors.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
            error_names: total
                .errors
                .keys()
                .map(|code| (code.to_string(), error_code::name(*code).to_owned()))
                .collect(),
            connections_lost: self.connections_lost as u64,
            operations_lost: total.lost,
            server_cpu_us_per_operation: server_cpu.map(per_operation),
            server_cores: server_cpu.map(cores),
            server_resident_kib: self.memory.map(|memory| memory.resident_kib),
            server_resident_kib_peak: self.memory.map(|memory| memory.resident_kib_peak),
            generator_cpu_us_per_operation: per_operation(own_cpu),
            generator_cores: cores(own_cpu),
            other_cores: cores(other_cpu),
            stolen_cores: cores(self.after.machine_stolen_seconds - self.before.machine_stolen_seconds),
            steps: if args.steps.is_some() { self.steps() } else { Vec::new() },
            failure: self.failure.as_ref().map(Failure::to_string),
            started: rounded(self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
            command: command_line(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Summary::default()
        }
    }

    fn steps(&self) -> Vec<StepSummary> {
        let steps = self.record.steps.iter().map(|step| StepSummary {
            planned_rate: rounded(step.planned_rate.unwrap_or(0.0)),
            seconds: rounded(step.seconds),
            rate: rounded(step.meter.answered_ok as f64 / step.seconds.max(1e-9)),
            errors: step.meter.failed(),
            latency_us: Latency::of(&step.meter.merged()),
        });
        steps.collect()
    }
}

/// The command that repeats this run.
fn command_line() -> String {
    let words = std::env::args().enumerate().map(|(index, word)| {
        let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:,=%+".contains(character);
        match index {
            0 => "ringkeeper-load".to_owned(),
            _ if !word.is_empty() && word.chars().all(plain) => word,
            _ => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

pub fn run(args: &Args, files: &mut Files) -> Result<Outcome, Failure> {
    if let Some(pid) = args.pid {
        proc::check_pid(pid)?;
    }
    let sessions = session::open(&session::Plan {
        servers: &args.servers,
        connections: args.connections,
        depth: args.depth.max(SETUP_DEPTH),
        session_timeout_ms: args.session_timeout_ms,
        timeout: args.timeout(),
    })?;
    let mut run = Run {
        args,
        engine: Engine::new(sessions, args.timeout())?,
        progress: Progress::new(args.quiet),
        value: workload::value(args.value_bytes),
    };
    let prepared = run.prepare();
    run.progress.clear();
    let mut workload = match prepared {
        Ok(workload) => workload,
        Err(failure) => {
            run.engine.close();
            return Err(failure);
        }
    };
    let outcome = run.measure(&mut workload, files);
    run.engine.close();
    outcome
}

struct Run<'a> {
    args: &'a Args,
    engine: Engine,
    progress: Progress,
    value: Vec<u8>,
}

impl Run<'_> {
    /// Creates the znodes the workload needs and warms the server up.
    fn prepare(&mut self) -> Result<Workload, Failure> {
        let args = self.args;
        let mut workload = self.set_up()?;
        if args.fill.is_none() && args.warmup_seconds > 0.0 {
            let start_ns = self.engine.clock.now_ns();
            let until_ns = start_ns + nanoseconds(args.warmup_seconds);
            // Where the measured part counts each operation, none of the warm-up may reach into it.
            let drain = args.operations.is_some() || args.rate.is_some();
            let limits = Limits { until_ns, operations_max: u64::MAX, drain };
            self.progress.begin("warm-up", Goal::Seconds(args.warmup_seconds), start_ns);
            let warm_up_plan = args.rate.map_or(Plan::Closed, |rate| Plan::Constant { rate: rate.from });
            let mut pace = self.pace(warm_up_plan, start_ns);
            self.engine.drive(&mut workload, &mut pace, limits, &mut Meter::new(), &mut self.progress)?;
        }
        Ok(workload)
    }

    fn set_up(&mut self) -> Result<Workload, Failure> {
        let args = self.args;
        let (path, keys) = (args.path.as_str(), args.keys);
        if !args.no_setup {
            self.make_parents(path)?;
        }
        if args.fill.is_some() {
            return Ok(Workload::fill(path, &self.value));
        }
        if args.workload == WorkloadName::Create {
            // A parent of this run's own: names must be new, also after an earlier run.
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let parent = format!("{path}/create-{}", since_epoch.as_millis());
            self.make_parents(&parent)?;
            return Ok(Workload::create(&parent, &self.value));
        }
        if !args.no_setup {
            self.make_keys()?;
        }
        Ok(match args.workload {
            WorkloadName::Get => Workload::get(path, keys),
            WorkloadName::Set => Workload::set(path, keys, &self.value),
            WorkloadName::Mixed => Workload::mixed(path, keys, &self.value, args.write_percent),
            WorkloadName::Create => unreachable!("handled above"),
        })
    }

    /// Creates `path` and every parent of it.
    fn make_parents(&mut self, path: &str) -> Result<(), Failure> {
        let ends = path.char_indices().skip(1).filter(|(_, character)| *character == '/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            self.set_up_with(Workload::node(&path[..end]), 1)?;
        }
        Ok(())
    }

    /// Creates the keys; where some were there, writes them all, so that every value has the size asked for.
    fn make_keys(&mut self) -> Result<(), Failure> {
        let path = &self.args.path;
        let existed = self.set_up_with(Workload::fill(path, &self.value), self.args.keys)?;
        if existed > 0 {
            self.set_up_with(Workload::overwrite(path, &self.value), self.args.keys)?;
        }
        Ok(())
    }

    /// Runs `count` operations of a setup workload and says how many found their znode existing.
    fn set_up_with(&mut self, mut workload: Workload, count: u64) -> Result<u64, Failure> {
        let mut meter = Meter::new();
        self.progress.begin("setup", Goal::Operations(count), self.engine.clock.now_ns());
        let mut pace = Pace::Closed { depth: SETUP_DEPTH };
        self.engine.drive(&mut workload, &mut pace, Limits::operations(count), &mut meter, &mut self.progress)?;
        let existed = meter.errors.remove(&error_code::NODE_EXISTS).unwrap_or(0);
        if let Some((code, count)) = meter.errors.iter().next() {
            let (path, name) = (&self.args.path, error_code::name(*code));
            let text = format!("setup below {path}: the server answered {count} requests with {code} {name}");
            return Err(Failure::Refused(text));
        }
        if meter.lost > 0 {
            let loss = self.engine.first_loss.clone().unwrap_or_default();
            return Err(Failure::Lost(format!("connections were lost during the setup: {loss}")));
        }
        Ok(existed)
    }

    fn pace(&self, plan: Plan, start_ns: u64) -> Pace {
        Pace::new(plan, start_ns, self.args.depth, self.args.burst, self.args.connections)
    }

    fn measure(&mut self, workload: &mut Workload, files: &mut Files) -> Result<Outcome, Failure> {
        let args = self.args;
        let csv = files.csv.take().map(CsvFile::begin).transpose().map_err(Failure::Output)?;
        let hdr_log = files.hdr_log.take().map(|file| LogFile::new(file, command_line()));
        let mut progress = Progress::new(args.quiet);
        let mut meter = Meter::new();
        let started = SystemTime::now();
        let before = Sample::take(args.pid);
        let start_ns = self.engine.clock.now_ns();
        let (limits, goal) = match args.fill.or(args.operations) {
            Some(count) => (Limits::operations(count), Goal::Operations(count)),
            None => {
                let until_ns = start_ns + nanoseconds(args.seconds);
                let limits = Limits { until_ns, operations_max: u64::MAX, drain: args.rate.is_some() };
                (limits, Goal::Seconds(args.seconds))
            }
        };
        progress.begin(args.workload_name(), goal, start_ns);
        let plan = args.plan();
        let outputs = Outputs { progress, csv, hdr_log };
        let mut recorder = Recorder::start(plan, start_ns, nanoseconds(args.interval_seconds), args.pid, outputs);
        let mut pace = match args.fill {
            Some(_) => Pace::Closed { depth: args.depth.max(SETUP_DEPTH) },
            None => self.pace(plan, start_ns),
        };
        let driven = self.engine.drive(workload, &mut pace, limits, &mut meter, &mut recorder);
        let end_ns = self.engine.clock.now_ns();
        let after = Sample::take(args.pid);
        let record = recorder.finish(end_ns, meter);
        Ok(Outcome {
            record,
            failure: driven.err(),
            first_loss: self.engine.first_loss.clone(),
            connections_lost: self.engine.connections_lost(),
            elapsed_seconds: (end_ns - start_ns) as f64 / 1e9,
            before,
            after,
            memory: args.pid.and_then(proc::memory),
            started,
        })
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
