//! One run from the first connection to the last counter: open sessions, create what the workload needs, warm up,
//! measure. Everything before the measured part fails the run; from there on a failure keeps what was measured.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::{Args, WorkloadName};
use crate::engine::{Engine, Limits};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::pace::{Pace, Timetable};
use crate::proc::{self, Memory, Sample};
use crate::progress::{Goal, Progress};
use crate::report::Report;
use crate::session;
use crate::wire::error_code;
use crate::workload::{self, Workload};

/// Requests in flight per connection while keys are created: enough for full group commits.
const SETUP_DEPTH: usize = 32;

pub struct Outcome {
    pub meter: Meter,
    pub failure: Option<Failure>,
    pub first_loss: Option<String>,
    connections_lost: usize,
    elapsed_seconds: f64,
    before: Sample,
    after: Sample,
    memory: Option<Memory>,
}

impl Outcome {
    pub fn report<'a>(&'a self, args: &'a Args) -> Report<'a> {
        Report {
            args,
            meter: &self.meter,
            elapsed_seconds: self.elapsed_seconds,
            before: self.before,
            after: self.after,
            memory: self.memory,
            connections_lost: self.connections_lost,
            failure: self.failure.as_ref().map(Failure::to_string),
        }
    }
}

pub fn run(args: &Args) -> Result<Outcome, Failure> {
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
    let outcome = run.measure(&mut workload);
    run.engine.close();
    Ok(outcome)
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
            let mut pace = self.pace(start_ns);
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

    fn pace(&self, start_ns: u64) -> Pace {
        let (depth, args) = (self.args.depth, self.args);
        match args.rate {
            None => Pace::Closed { depth },
            Some(rate) => Pace::Open { depth, timetable: Timetable::new(start_ns, rate, args.burst, args.connections) },
        }
    }

    fn measure(&mut self, workload: &mut Workload) -> Outcome {
        let args = self.args;
        let mut meter = Meter::new();
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
        self.progress.begin(args.workload_name(), goal, start_ns);
        let mut pace =
            if args.fill.is_some() { Pace::Closed { depth: args.depth.max(SETUP_DEPTH) } } else { self.pace(start_ns) };
        let driven = self.engine.drive(workload, &mut pace, limits, &mut meter, &mut self.progress);
        let elapsed_seconds = (self.engine.clock.now_ns() - start_ns) as f64 / 1e9;
        let after = Sample::take(args.pid);
        self.progress.clear();
        Outcome {
            meter,
            failure: driven.err(),
            first_loss: self.engine.first_loss.clone(),
            connections_lost: self.engine.connections_lost(),
            elapsed_seconds,
            before,
            after,
            memory: args.pid.and_then(proc::memory),
        }
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
