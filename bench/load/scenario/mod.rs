//! Workloads that are no stream of independent requests: locks, watches fired by one write, sessions that come and go, sessions
//! that lose their connections all at once. Each has a file of its own and runs on a [`Crowd`]; what is common is here: opening
//! all sessions, the timetable, and the end.

mod churn;
mod client;
mod crowd;
mod lock;
mod reconnect;
mod watch_storm;

use crate::args::Args;
use crate::engine::OnTick;
use crate::failure::Failure;
use crate::meter::Meter;
use crate::output::Files;
use crate::pace::Plan;
use crate::progress::Progress;
use crate::recorder::Recorder;
use crate::run::{self, Outcome};
use crate::scenario::client::Said;
use crate::scenario::crowd::{Crowd, Nobody};
use crate::workload::file::{Pattern, Spec};

/// Handshakes under way at once while the sessions are opened: below Java's default listen backlog of 50.
const HANDSHAKES_AT_ONCE: usize = 32;

/// One pattern at work. `on_said` and `begin_due` send requests; [`drive`] calls them until the time is up.
trait Scenario {
    /// Starts whatever is due now.
    fn begin_due(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure>;
    fn on_said(&mut self, index: usize, now_ns: u64, said: Said, drive: &mut Drive) -> Result<(), Failure>;
    /// Nothing begun is unfinished.
    fn is_idle(&self) -> bool;
    /// When `begin_due` has something to do although nobody said anything, beside the timetable.
    fn wake_ns(&self) -> u64 {
        u64::MAX
    }
}

/// What a scenario works on, passed down together.
struct Drive<'a> {
    crowd: &'a mut Crowd,
    meter: &'a mut Meter,
    plan: Plan,
    start_ns: u64,
    until_ns: u64,
    begun: u64,
    begun_max: u64,
}

impl Drive<'_> {
    /// Takes the next operation of the timetable if it is due; says since when.
    fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.next_due_ns()?;
        if due_ns > now_ns || now_ns >= self.until_ns {
            return None;
        }
        self.begun += 1;
        Some(if self.plan == Plan::Closed { now_ns } else { due_ns })
    }

    fn next_due_ns(&self) -> Option<u64> {
        let due_ns = self.start_ns + (self.plan.planned_seconds(self.begun as f64) * 1e9) as u64;
        (self.begun < self.begun_max && due_ns < self.until_ns).then_some(due_ns)
    }
}

/// Runs a scenario until the drive's time is up and nothing is left unfinished.
fn drive(scenario: &mut dyn Scenario, mut drive: Drive, watcher: &mut dyn OnTick) -> Result<(), Failure> {
    let mut heard = Vec::new();
    loop {
        let now_ns = drive.crowd.clock.now_ns();
        scenario.begin_due(now_ns, &mut drive)?;
        let all_begun = drive.next_due_ns().is_none() || now_ns >= drive.until_ns;
        if all_begun && scenario.is_idle() {
            return Ok(());
        }
        let due_ns = drive.next_due_ns().filter(|due_ns| *due_ns > now_ns).unwrap_or(u64::MAX);
        if scenario.is_idle() {
            drive.crowd.forgive_silence();
        }
        let wake_ns = due_ns.min(scenario.wake_ns());
        drive.crowd.wait(wake_ns, watcher, drive.meter, &mut heard)?;
        for (index, now_ns, said) in heard.drain(..) {
            // From here on both are connections that did not stand.
            let said = match said {
                Said::Unreachable(reason) => Said::Closed(reason),
                Said::Foreign(what) => {
                    return Err(Failure::NotZooKeeper(format!("{} sent {what}", drive.crowd.server_of(index))));
                }
                said => said,
            };
            scenario.on_said(index, now_ns, said, &mut drive)?;
        }
    }
}

/// Opens the sessions of the clients `0..count`.
fn attach_all(crowd: &mut Crowd, count: usize) -> Result<(), Failure> {
    let (mut dialed, mut attached, mut heard) = (0, 0, Vec::new());
    while attached < count {
        while dialed < count && dialed - attached < HANDSHAKES_AT_ONCE {
            crowd.dial(dialed, 0)?;
            dialed += 1;
        }
        crowd.wait(u64::MAX, &mut Nobody, &mut Meter::new(), &mut heard).map_err(|failure| match failure {
            Failure::Lost(what) => Failure::NotZooKeeper(format!("no answer to the ZooKeeper handshake: {what}")),
            other => other,
        })?;
        for (index, _, said) in heard.drain(..) {
            let server = crowd.server_of(index).to_owned();
            let number = index + 1;
            match said {
                Said::Attached { .. } => attached += 1,
                Said::Refused => {
                    return Err(Failure::Refused(format!("{server} refused to open a session (connection {number})")));
                }
                Said::Foreign(what) => {
                    return Err(Failure::NotZooKeeper(format!(
                        "{server} does not speak the ZooKeeper protocol: {what}"
                    )));
                }
                Said::Unreachable(reason) => {
                    return Err(Failure::Unreachable(format!(
                        "cannot connect to {server} (connection {number}): {reason}"
                    )));
                }
                Said::Closed(reason) => {
                    return Err(Failure::Refused(format!(
                        "{server} closed connection {number} of {count} ({reason}): does it allow that many from one address \
                         (maxClientCnxns, 60 by default; 0 is no limit)?"
                    )));
                }
                Said::Reply { .. } | Said::Event { .. } => {}
            }
        }
    }
    Ok(())
}

/// A whole run: znodes, sessions, warm-up, measured part.
pub fn run(args: &Args, spec: &Spec, files: &mut Files) -> Result<Outcome, Failure> {
    let clients = args.connections + usize::from(spec.pattern == Pattern::WatchStorm);
    let mut crowd = Crowd::new(args, clients)?;
    let mut scenario: Box<dyn Scenario> = match spec.pattern {
        Pattern::Mix => unreachable!("a mix is no scenario"),
        Pattern::Lock => Box::new(lock::Locks::new(args, spec)),
        Pattern::WatchStorm => Box::new(watch_storm::WatchStorm::new(args, spec)),
        Pattern::SessionChurn => Box::new(churn::Churn::new(args, spec)),
        Pattern::ReconnectStorm => Box::new(reconnect::ReconnectStorm::new(args, spec)),
    };
    if !args.no_setup {
        let keys = match spec.pattern {
            Pattern::Lock => args.connections.div_ceil(spec.clients_per_lock) as u64,
            Pattern::WatchStorm => spec.watches as u64,
            Pattern::SessionChurn => 0,
            _ => spec.keys,
        };
        run::make_znodes(args, spec, keys)?;
    }
    if spec.pattern != Pattern::SessionChurn {
        attach_all(&mut crowd, clients)?;
    }
    // Storms have nothing to warm up for: each is alone.
    let warms_up = matches!(spec.pattern, Pattern::Lock | Pattern::SessionChurn) && args.warmup_seconds > 0.0;
    if warms_up {
        let mut progress = Progress::new(args.quiet);
        let start_ns = crowd.clock.now_ns();
        progress.begin("warm-up", crate::progress::Goal::Seconds(args.warmup_seconds), start_ns);
        let mut meter = Meter::new();
        let work = Drive {
            meter: &mut meter,
            plan: args.warm_up_plan(),
            start_ns,
            until_ns: start_ns + (args.warmup_seconds * 1e9) as u64,
            begun: 0,
            begun_max: u64::MAX,
            crowd: &mut crowd,
        };
        let warmed = drive(&mut *scenario, work, &mut progress);
        progress.clear();
        warmed?;
    }
    let clock = crowd.clock;
    let until = |start_ns: u64| match args.operations {
        Some(_) => u64::MAX,
        None => start_ns + (args.seconds * 1e9) as u64,
    };
    let mut outcome =
        run::measured(args, spec, args.rate, files, clock, |start_ns, meter: &mut Meter, recorder: &mut Recorder| {
            // The recorder exchanges the meter at its ticks, so both are handed down.
            let work = Drive {
                meter,
                plan: args.plan(),
                start_ns,
                until_ns: until(start_ns),
                begun: 0,
                begun_max: args.operations.unwrap_or(u64::MAX),
                crowd: &mut crowd,
            };
            drive(&mut *scenario, work, recorder)
        })?;
    outcome.first_loss = crowd.first_loss.clone();
    outcome.connections_lost = crowd.connections_lost;
    crowd.close();
    Ok(outcome)
}

/// The `number`-th key, as the setup makes them.
fn key(path: &str, number: usize) -> String {
    format!("{path}/k{number:0digits$}", digits = crate::wire::KEY_DIGITS)
}

/// An answer that this scenario cannot go on after.
fn unexpected(what: &str, error_code: i32) -> Failure {
    let name = crate::wire::error_code::name(error_code);
    Failure::Refused(format!("{what} was answered with {error_code} {name}"))
}
