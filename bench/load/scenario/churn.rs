//! Sessions that come and go: connect, new session, ephemeral znodes where asked for, closeSession, again. `connect` counts from
//! the start of the TCP connection or, at a planned rate, from when it was due.

use crate::args::Args;
use crate::failure::Failure;
use crate::scenario::client::Said;
use crate::scenario::{Drive, Scenario};
use crate::workload::OpKind;
use crate::workload::file::Spec;

const EPHEMERAL: i32 = 1;

struct Visit {
    busy: bool,
    since_ns: u64,
    asked_ns: u64,
    creates_left: usize,
    closing: bool,
}

pub struct Churn {
    path: String,
    ephemerals: usize,
    visits: Vec<Visit>,
    idle: Vec<usize>,
    turn: usize,
    failures_in_a_row: usize,
    /// Some session was opened.
    worked: bool,
}

impl Churn {
    pub fn new(args: &Args, spec: &Spec) -> Churn {
        let visit = |_| Visit { busy: false, since_ns: 0, asked_ns: 0, creates_left: 0, closing: false };
        Churn {
            path: args.path.clone(),
            ephemerals: spec.ephemerals,
            visits: (0..args.connections).map(visit).collect(),
            idle: (0..args.connections).rev().collect(),
            turn: 0,
            failures_in_a_row: 0,
            worked: false,
        }
    }

    /// The next znode of the session or, after the last, its end.
    fn go_on(&mut self, index: usize, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        let visit = &mut self.visits[index];
        visit.asked_ns = now_ns;
        if visit.creates_left > 0 {
            visit.creates_left -= 1;
            let path = format!("{}/e-{index}-{}", self.path, visit.creates_left);
            drive.crowd.clients[index].create(&path, b"", EPHEMERAL);
        } else {
            visit.closing = true;
            drive.crowd.clients[index].close_session();
        }
        drive.crowd.flush(index)
    }

    fn end(&mut self, index: usize, drive: &mut Drive) {
        drive.crowd.clients[index].cut();
        drive.crowd.clients[index].forget_session();
        self.visits[index].busy = false;
        self.idle.push(index);
    }

    fn fail(&mut self, index: usize, reason: &str, drive: &mut Drive) -> Result<(), Failure> {
        drive.crowd.lose(index, reason);
        drive.meter.lost += 1;
        self.end(index, drive);
        self.failures_in_a_row += 1;
        if self.failures_in_a_row <= self.visits.len() {
            return Ok(());
        }
        let server = drive.crowd.server_of(index);
        let what = format!("{} sessions in a row failed; the last, at {server}: {reason}", self.failures_in_a_row);
        Err(if self.worked { Failure::Lost(what) } else { Failure::Unreachable(what) })
    }
}

impl Scenario for Churn {
    fn begin_due(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        while let Some(index) = self.idle.last().copied() {
            let Some(since_ns) = drive.take_due(now_ns) else {
                return Ok(());
            };
            self.idle.pop();
            self.turn += 1;
            drive.crowd.dial(index, self.turn)?;
            let creates_left = self.ephemerals;
            self.visits[index] = Visit { busy: true, since_ns, asked_ns: 0, creates_left, closing: false };
        }
        Ok(())
    }

    fn on_said(&mut self, index: usize, now_ns: u64, said: Said, drive: &mut Drive) -> Result<(), Failure> {
        let visit = &mut self.visits[index];
        match said {
            Said::Attached { .. } => {
                drive.meter.record(OpKind::Connect, 0, now_ns.saturating_sub(visit.since_ns));
                (self.failures_in_a_row, self.worked) = (0, true);
                self.go_on(index, now_ns, drive)
            }
            Said::Reply { error_code, .. } => {
                let kind = if visit.closing { OpKind::Close } else { OpKind::Create };
                drive.meter.record(kind, error_code, now_ns.saturating_sub(visit.asked_ns));
                if !visit.closing {
                    return self.go_on(index, now_ns, drive);
                }
                self.end(index, drive);
                Ok(())
            }
            Said::Refused => self.fail(index, "the server refused to open a session", drive),
            Said::Closed(reason) if visit.busy => self.fail(index, &reason, drive),
            _ => Ok(()),
        }
    }

    fn is_idle(&self) -> bool {
        self.idle.len() == self.visits.len()
    }
}
