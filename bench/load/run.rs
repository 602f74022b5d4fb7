//! One run from the first connection to the last counter: open sessions, create what the workload needs, warm up,
//! measure. Everything before the measured part fails the run; from there on a failure keeps what was measured.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::engine::{Clock, Engine, Limits};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::output::Files;
use crate::output::csv::CsvFile;
use crate::output::hdr_log::LogFile;
use crate::output::saved::{FORMAT, Latency, SavedRun, Search, StepSummary, Summary, distribution_us, rounded};
use crate::pace::{Pace, Plan, RateRange};
use crate::proc::{self, Memory, Sample};
use crate::progress::{Goal, Progress};
use crate::recorder::{Outputs, Record, Recorder};
use crate::scenario;
use crate::search::{Halving, trial_of};
use crate::session;
use crate::wire::error_code;
use crate::workload::file::{Kind, Of, Pattern, Spec};
use crate::workload::random::value;
use crate::workload::{Places, Workload};

/// Requests in flight per connection while keys are created: enough for full group commits.
const SETUP_DEPTH: usize = 32;
const STOCK_OF_MIX_MAX: u64 = 1_000;

/// What a run came to.
pub struct Outcome {
    pub record: Record,
    pub failure: Option<Failure>,
    pub first_loss: Option<String>,
    pub connections_lost: usize,
    elapsed_seconds: f64,
    before: Sample,
    after: Sample,
    memory: Option<Memory>,
    started: SystemTime,
    /// The planned rate, of a search the one found.
    planned: Option<RateRange>,
    pub search: Option<Search>,
    /// What the generator reaches against a server that only answers.
    pub ceiling_rate: Option<f64>,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.record.total.answered_ok as f64 / self.elapsed_seconds.max(1e-9)
    }

    pub fn saved(&self, args: &Args, spec: &Spec) -> SavedRun {
        let kinds = self.record.total.kinds();
        SavedRun {
            format: FORMAT.to_owned(),
            label: args.label.clone(),
            summary: self.summary(args, spec),
            series: self.record.series.clone(),
            distribution_us: kinds
                .map(|(kind, latencies)| (kind.name().to_owned(), distribution_us(latencies)))
                .collect(),
        }
    }

    /// Computes rates and shares from counters; measures nothing.
    pub fn summary(&self, args: &Args, spec: &Spec) -> Summary {
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
        let ramp = self.planned.filter(|rate| rate.from != rate.to);
        Summary {
            workload: spec.name.clone(),
            servers: args.servers.join(","),
            connections: args.connections as u64,
            depth: args.depth as u64,
            keys: spec.keys,
            value_bytes: spec.value_bytes as u64,
            planned_rate: self.planned.map(|rate| rate.from),
            planned_rate_end: ramp.map(|rate| rate.to),
            seconds: rounded(self.elapsed_seconds),
            operations: total.answered_ok,
            rate: rounded(self.rate()),
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
            search: self.search.clone(),
            generator_ceiling_rate: self.ceiling_rate.map(rounded),
            failure: self.failure.as_ref().map(Failure::to_string),
            started: rounded(self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
            command: command_line(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
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

pub fn run(args: &Args, spec: &Spec, files: &mut Files) -> Result<Outcome, Failure> {
    if let Some(pid) = args.pid {
        proc::check_pid(pid)?;
    }
    if spec.pattern != Pattern::Mix && args.fill.is_none() {
        return scenario::run(args, spec, files);
    }
    let mut run = Run::open(args, spec)?;
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
    spec: &'a Spec,
    places: Places,
}

impl<'a> Run<'a> {
    /// Opens the sessions.
    fn open(args: &'a Args, spec: &'a Spec) -> Result<Run<'a>, Failure> {
        let sessions = session::open(&session::Plan {
            servers: &args.servers,
            connections: args.connections,
            depth: args.depth.max(SETUP_DEPTH),
            session_timeout_ms: args.session_timeout_ms,
            timeout: args.timeout(),
        })?;
        // New znodes must be new after an earlier run, too.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Run {
            args,
            engine: Engine::new(sessions, args.timeout())?,
            progress: Progress::new(args.quiet),
            value: value(spec.value_bytes),
            places: Places::new(&args.path, spec, since_epoch.as_millis()),
            spec,
        })
    }

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
            let mut pace = self.pace(args.warm_up_plan(), start_ns);
            self.engine.drive(&mut workload, &mut pace, limits, &mut Meter::new(), &mut self.progress)?;
        }
        Ok(workload)
    }

    fn set_up(&mut self) -> Result<Workload, Failure> {
        let (args, spec) = (self.args, self.spec);
        let places = self.places.clone();
        if !args.no_setup {
            self.make_parents(&args.path)?;
            self.make_parents(&places.keys)?;
        }
        if args.fill.is_some() {
            return Ok(Workload::fill(&places.keys, &self.value));
        }
        if !args.no_setup {
            self.make_what_is_read()?;
        }
        let mut workload = Workload::mix(spec, &places);
        let creates = |kind: Kind, of: &[Of]| matches!(kind, Kind::Create | Kind::Delete) || of.contains(&Of::Create);
        if spec.operations.iter().any(|operation| creates(operation.kind, &operation.of)) && !spec.create_among_keys {
            // A parent of this run's own.
            let (parent, _) = places.new.rsplit_once('/').expect("an absolute path");
            self.make_parents(parent)?;
        }
        let stock = self.stock();
        if stock > 0 && !args.no_setup {
            self.set_up_with(Workload::stock(&places, &self.value), stock)?;
            workload.stocked(stock);
        }
        Ok(workload)
    }

    fn make_what_is_read(&mut self) -> Result<(), Failure> {
        let (spec, places) = (self.spec, self.places.clone());
        let reads_keys = |kind: Kind| !matches!(kind, Kind::Create | Kind::Delete | Kind::List);
        if spec.operations.iter().any(|operation| reads_keys(operation.kind)) {
            self.make_keys(&places.keys, spec.keys)?;
        }
        if spec.operations.iter().any(|operation| operation.kind == Kind::List && operation.of.is_empty()) {
            for number in 0..spec.list_parents {
                let parent = places.list(number);
                self.make_parents(&parent)?;
                self.set_up_with(Workload::fill(&parent, b""), spec.list_children)?;
            }
        }
        Ok(())
    }

    /// How many znodes lie ready for the deletes: of nothing but deletes as many as there are keys or operations, in a mix
    /// enough that chance does not use them up at once.
    fn stock(&self) -> u64 {
        let deletes = self.spec.operations.iter().filter(|operation| operation.kind == Kind::Delete).count();
        match self.spec.operations.len() {
            _ if deletes == 0 => 0,
            all if all == deletes => self.args.operations.unwrap_or(self.spec.keys),
            _ => self.spec.keys.min(STOCK_OF_MIX_MAX),
        }
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
    fn make_keys(&mut self, path: &str, keys: u64) -> Result<(), Failure> {
        let existed = self.set_up_with(Workload::fill(path, &self.value), keys)?;
        if existed > 0 {
            self.set_up_with(Workload::overwrite(path, &self.value), keys)?;
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

    /// The measured part and, where it is asked for, the search before it.
    fn measure(&mut self, workload: &mut Workload, files: &mut Files) -> Result<Outcome, Failure> {
        let (args, spec) = (self.args, self.spec);
        let searched = args.search_p99_ms.map(|limit_ms| self.search(workload, limit_ms * 1e3));
        let (search, search_failure) = searched.map_or((None, None), |(search, failure)| (Some(search), failure));
        let found =
            search.as_ref().and_then(|search| search.highest_rate).map(|rate| RateRange { from: rate, to: rate });
        let planned = args.rate.or(found);
        let plan = args.plan_of(planned);
        let mut outcome = measured(args, spec, planned, files, self.engine.clock, |start_ns, meter, recorder| {
            if let Some(failure) = search_failure {
                return Err(failure);
            }
            let limits = match args.fill.or(args.operations) {
                Some(count) => Limits::operations(count),
                None => {
                    let until_ns = start_ns + nanoseconds(args.seconds);
                    Limits { until_ns, operations_max: u64::MAX, drain: planned.is_some() }
                }
            };
            let mut pace = match args.fill {
                Some(_) => Pace::Closed { depth: args.depth.max(SETUP_DEPTH) },
                None => self.pace(plan, start_ns),
            };
            self.engine.drive(workload, &mut pace, limits, meter, recorder)
        })?;
        outcome.first_loss = self.engine.first_loss.clone();
        outcome.connections_lost = self.engine.connections_lost();
        // The measured run is one more trial: chance may have helped the one that found its rate.
        outcome.search = search.map(|mut search| {
            if let (Some(rate), None) = (found, &outcome.failure) {
                let (total, seconds) = (&outcome.record.total, outcome.elapsed_seconds);
                search.trials.push(trial_of(search.p99_limit_us, Some(rate.from), total, seconds));
            }
            search
        });
        Ok(outcome)
    }

    /// Tries rates; a failure ends it and leaves the trials that there were.
    fn search(&mut self, workload: &mut Workload, limit_us: f64) -> (Search, Option<Failure>) {
        let mut halving = match self.trial(workload, Plan::Closed) {
            Ok((meter, seconds)) => Halving::new(limit_us, &meter, seconds),
            Err(failure) => return (Search { p99_limit_us: limit_us, ..Search::default() }, Some(failure)),
        };
        while let Some(rate) = halving.next_rate() {
            match self.trial(workload, Plan::Constant { rate }) {
                Ok((meter, seconds)) => halving.tried(rate, &meter, seconds),
                Err(failure) => return (halving.search, Some(failure)),
            }
        }
        (halving.search, None)
    }

    fn trial(&mut self, workload: &mut Workload, plan: Plan) -> Result<(Meter, f64), Failure> {
        let start_ns = self.engine.clock.now_ns();
        let until_ns = start_ns + nanoseconds(self.args.seconds);
        let name =
            plan.rate_at(0.0).map_or("search: closed loop".to_owned(), |rate| format!("search: {rate:.0} ops/s"));
        self.progress.begin(&name, Goal::Seconds(self.args.seconds), start_ns);
        let limits = Limits { until_ns, operations_max: u64::MAX, drain: true };
        let (mut pace, mut meter) = (self.pace(plan, start_ns), Meter::new());
        let driven = self.engine.drive(workload, &mut pace, limits, &mut meter, &mut self.progress);
        self.progress.clear();
        driven?;
        Ok((meter, (self.engine.clock.now_ns() - start_ns) as f64 / 1e9))
    }
}

/// The measured part: opens the files, takes the counters before and after, and records what `part` counts.
pub fn measured(
    args: &Args,
    spec: &Spec,
    planned: Option<RateRange>,
    files: &mut Files,
    clock: Clock,
    part: impl FnOnce(u64, &mut Meter, &mut Recorder) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let csv = files.csv.take().map(CsvFile::begin).transpose().map_err(Failure::Output)?;
    let hdr_log = files.hdr_log.take().map(|file| LogFile::new(file, command_line()));
    let mut progress = Progress::new(args.quiet);
    let mut meter = Meter::new();
    let started = SystemTime::now();
    let before = Sample::take(args.pid);
    let start_ns = clock.now_ns();
    let goal = args.fill.or(args.operations).map_or(Goal::Seconds(args.seconds), Goal::Operations);
    progress.begin(&spec.name, goal, start_ns);
    let outputs = Outputs { progress, csv, hdr_log };
    let mut recorder =
        Recorder::start(args.plan_of(planned), start_ns, nanoseconds(args.interval_seconds), args.pid, outputs);
    let driven = part(start_ns, &mut meter, &mut recorder);
    let end_ns = clock.now_ns();
    let after = Sample::take(args.pid);
    Ok(Outcome {
        record: recorder.finish(end_ns, meter),
        failure: driven.err(),
        first_loss: None,
        connections_lost: 0,
        elapsed_seconds: (end_ns - start_ns) as f64 / 1e9,
        before,
        after,
        memory: args.pid.and_then(proc::memory),
        started,
        planned,
        search: None,
        ceiling_rate: None,
    })
}

/// Connections that make the znodes of a scenario.
const SETUP_CONNECTIONS: usize = 16;

/// Creates the parent and that many keys below it, on connections of their own.
pub fn make_znodes(args: &Args, spec: &Spec, keys: u64) -> Result<(), Failure> {
    let setup = Args { connections: SETUP_CONNECTIONS.min(args.connections), ..args.clone() };
    let mut run = Run::open(&setup, spec)?;
    let made =
        run.make_parents(&args.path).and_then(|()| if keys > 0 { run.make_keys(&args.path, keys) } else { Ok(()) });
    run.progress.clear();
    run.engine.close();
    made
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
