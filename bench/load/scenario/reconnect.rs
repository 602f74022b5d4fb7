//! The reconnect storm: every session has watches; all connections are cut at once, as when a server or a network goes, and all
//! clients attach their sessions again at once, each at the next server, and set their watches (setWatches). `reconnect` is from
//! the cut until a session's watches are set, `storm` until the last one's are. A session that the server does not know any
//! more counts as SESSIONEXPIRED and is replaced.

use crate::args::Args;
use crate::failure::Failure;
use crate::scenario::client::Said;
use crate::scenario::{Drive, Scenario, key};
use crate::wire::{XID_SET_WATCHES, error_code};
use crate::workload::OpKind;
use crate::workload::file::Spec;

/// Between two storms, so that each begins in calm.
const PAUSE_NS: u64 = 1_000_000_000;
/// Before a client that was refused a connection tries again.
const RETRY_NS: u64 = 20_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Attached; that many reads that set watches are not answered yet.
    Arming(usize),
    Calm,
    Attaching,
    SettingWatches,
    /// Its connection failed: it tries again then.
    Refused(u64),
}

pub struct ReconnectStorm {
    watches: Vec<Vec<String>>,
    steps: Vec<Step>,
    calm: usize,
    turn: usize,
    /// Since when the storm under way lasts.
    since_ns: Option<u64>,
    calm_since_ns: u64,
    started: bool,
    give_up_ns: u64,
}

impl ReconnectStorm {
    pub fn new(args: &Args, spec: &Spec) -> ReconnectStorm {
        let watches = (0..args.connections).map(|client| {
            let keys = (0..spec.watches).map(|watch| (client * spec.watches + watch) % spec.keys as usize);
            keys.map(|number| key(&args.path, number)).collect()
        });
        ReconnectStorm {
            watches: watches.collect(),
            steps: vec![Step::Calm; args.connections],
            calm: 0,
            turn: 0,
            since_ns: None,
            calm_since_ns: 0,
            started: false,
            give_up_ns: args.timeout().as_nanos() as u64,
        }
    }

    /// Sets a session's watches by reads, as an application does.
    fn arm(&mut self, index: usize, drive: &mut Drive) -> Result<(), Failure> {
        for path in &self.watches[index] {
            drive.crowd.clients[index].get_data(path, true);
        }
        self.steps[index] = Step::Arming(self.watches[index].len());
        drive.crowd.flush(index)?;
        if self.watches[index].is_empty() {
            self.become_calm(index);
        }
        Ok(())
    }

    fn become_calm(&mut self, index: usize) {
        self.steps[index] = Step::Calm;
        self.calm += 1;
    }

    fn dial(&mut self, index: usize, drive: &mut Drive) -> Result<(), Failure> {
        self.steps[index] = Step::Attaching;
        drive.crowd.dial(index, self.turn)
    }

    fn back(&mut self, index: usize, now_ns: u64, drive: &mut Drive) {
        let since_ns = self.since_ns.unwrap_or(now_ns);
        drive.meter.record(OpKind::Reconnect, 0, now_ns.saturating_sub(since_ns));
        self.become_calm(index);
    }

    fn all_calm(&self) -> bool {
        self.calm == self.steps.len()
    }
}

impl Scenario for ReconnectStorm {
    fn begin_due(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        if !self.started {
            self.started = true;
            for index in 0..self.steps.len() {
                self.arm(index, drive)?;
            }
        }
        if self.all_calm() {
            if let Some(since_ns) = self.since_ns.take() {
                drive.meter.record(OpKind::Storm, 0, now_ns.saturating_sub(since_ns));
                self.calm_since_ns = now_ns;
            }
            let is_first = self.turn == 0;
            if (is_first || now_ns >= self.calm_since_ns + PAUSE_NS)
                && let Some(since_ns) = drive.take_due(now_ns)
            {
                self.turn += 1;
                (self.calm, self.since_ns) = (0, Some(since_ns));
                drive.crowd.clients.iter_mut().for_each(|client| client.cut());
                for index in 0..self.steps.len() {
                    self.dial(index, drive)?;
                }
            }
            return Ok(());
        }
        for index in 0..self.steps.len() {
            if let Step::Refused(until_ns) = self.steps[index]
                && until_ns <= now_ns
            {
                self.dial(index, drive)?;
            }
        }
        Ok(())
    }

    fn on_said(&mut self, index: usize, now_ns: u64, said: Said, drive: &mut Drive) -> Result<(), Failure> {
        match (self.steps[index], said) {
            (Step::Attaching, Said::Attached { .. }) => {
                if self.watches[index].is_empty() {
                    self.back(index, now_ns, drive);
                    return Ok(());
                }
                drive.crowd.clients[index].set_watches(&self.watches[index]);
                self.steps[index] = Step::SettingWatches;
                drive.crowd.flush(index)
            }
            (Step::Attaching, Said::Refused) => {
                drive.meter.fail(error_code::SESSION_EXPIRED);
                drive.crowd.clients[index].cut();
                drive.crowd.clients[index].forget_session();
                self.dial(index, drive)
            }
            (Step::SettingWatches, Said::Reply { xid: XID_SET_WATCHES, error_code, .. }) => {
                if error_code != 0 {
                    drive.meter.fail(error_code);
                }
                self.back(index, now_ns, drive);
                Ok(())
            }
            (Step::Arming(left), Said::Reply { error_code, .. }) => {
                if error_code != 0 {
                    drive.meter.fail(error_code);
                }
                self.steps[index] = Step::Arming(left - 1);
                if left == 1 {
                    self.become_calm(index);
                }
                Ok(())
            }
            (Step::Attaching | Step::SettingWatches, Said::Closed(reason)) => {
                let since_ns = self.since_ns.unwrap_or(now_ns);
                if now_ns.saturating_sub(since_ns) > self.give_up_ns {
                    let left = self.steps.len() - self.calm;
                    return Err(Failure::Lost(format!("{left} sessions cannot be attached again: {reason}")));
                }
                drive.crowd.clients[index].cut();
                self.steps[index] = Step::Refused(now_ns + RETRY_NS);
                Ok(())
            }
            (step, Said::Closed(reason)) => {
                // Not by us: the session goes on at the next chance, within the storm that this is.
                drive.crowd.lose(index, &reason);
                self.calm -= usize::from(step == Step::Calm);
                self.since_ns.get_or_insert(now_ns);
                self.steps[index] = Step::Refused(now_ns + RETRY_NS);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_idle(&self) -> bool {
        self.all_calm() && self.since_ns.is_none()
    }

    fn wake_ns(&self) -> u64 {
        let retries = self.steps.iter().filter_map(|step| match step {
            Step::Refused(until_ns) => Some(*until_ns),
            _ => None,
        });
        match self.all_calm() {
            true if self.since_ns.is_some() => 0,
            true => self.calm_since_ns + PAUSE_NS,
            false => retries.min().unwrap_or(u64::MAX),
        }
    }
}
