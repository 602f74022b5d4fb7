//! One write, everybody told: every connection has a watch on one znode, one more connection writes it. `watch-event` is from the
//! write until the event is there, `storm` until the last one is; `get` is the read that sets the watch again.

use crate::args::Args;
use crate::failure::Failure;
use crate::scenario::client::Said;
use crate::scenario::{Drive, Scenario, key, unexpected};
use crate::workload::OpKind;
use crate::workload::file::Spec;
use crate::workload::random::value;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    None,
    /// The read that sets it is under way, since when.
    Asked(u64),
    Set,
    Lost,
}

pub struct WatchStorm {
    path: String,
    value: Vec<u8>,
    watches: Vec<Watch>,
    set: usize,
    lost: usize,
    /// The write under way or whose events are awaited: since when, and how many events came.
    storm: Option<(u64, usize)>,
    write_answered: bool,
    started: bool,
}

impl WatchStorm {
    pub fn new(args: &Args, spec: &Spec) -> WatchStorm {
        WatchStorm {
            path: key(&args.path, 0),
            value: value(spec.value_bytes),
            watches: vec![Watch::None; args.connections],
            set: 0,
            lost: 0,
            storm: None,
            write_answered: true,
            started: false,
        }
    }

    fn ask(&mut self, index: usize, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        drive.crowd.clients[index].get_data(&self.path, true);
        self.watches[index] = Watch::Asked(now_ns);
        drive.crowd.flush(index)
    }

    fn writer(&self) -> usize {
        self.watches.len()
    }

    fn watchers(&self) -> usize {
        self.watches.len() - self.lost
    }

    fn end_if_all_told(&mut self, now_ns: u64, drive: &mut Drive) {
        if let Some((since_ns, told)) = self.storm
            && told >= self.watchers()
            && self.write_answered
        {
            drive.meter.record(OpKind::Storm, 0, now_ns.saturating_sub(since_ns));
            self.storm = None;
        }
    }
}

impl Scenario for WatchStorm {
    fn begin_due(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        if !self.started {
            self.started = true;
            for index in 0..self.watches.len() {
                self.ask(index, now_ns, drive)?;
            }
        }
        if self.storm.is_none()
            && self.set == self.watchers()
            && let Some(since_ns) = drive.take_due(now_ns)
        {
            let writer = self.writer();
            drive.crowd.clients[writer].set_data(&self.path, &self.value);
            (self.storm, self.write_answered) = (Some((since_ns, 0)), false);
            drive.crowd.flush(writer)?;
        }
        Ok(())
    }

    fn on_said(&mut self, index: usize, now_ns: u64, said: Said, drive: &mut Drive) -> Result<(), Failure> {
        let is_writer = index == self.writer();
        match said {
            Said::Reply { error_code, .. } if error_code != 0 => {
                return Err(unexpected(&format!("a request on {}", self.path), error_code));
            }
            Said::Reply { .. } if is_writer => {
                let since_ns = self.storm.map_or(now_ns, |(since_ns, _)| since_ns);
                drive.meter.record(OpKind::Set, 0, now_ns.saturating_sub(since_ns));
                self.write_answered = true;
                self.end_if_all_told(now_ns, drive);
            }
            Said::Reply { .. } => {
                if let Watch::Asked(since_ns) = self.watches[index] {
                    drive.meter.record(OpKind::Get, 0, now_ns.saturating_sub(since_ns));
                    self.watches[index] = Watch::Set;
                    self.set += 1;
                }
            }
            Said::Event { .. } if self.watches[index] == Watch::Set => {
                self.set -= 1;
                if let Some((since_ns, told)) = &mut self.storm {
                    drive.meter.record(OpKind::Event, 0, now_ns.saturating_sub(*since_ns));
                    *told += 1;
                }
                self.ask(index, now_ns, drive)?;
                self.end_if_all_told(now_ns, drive);
            }
            Said::Closed(reason) if is_writer => {
                return Err(Failure::Lost(format!("the writer's connection: {reason}")));
            }
            Said::Closed(reason) => {
                drive.crowd.lose(index, &reason);
                self.set -= usize::from(self.watches[index] == Watch::Set);
                self.watches[index] = Watch::Lost;
                self.lost += 1;
                drive.meter.lost += 1;
                if self.watchers() == 0 {
                    return Err(Failure::Lost(format!("all {} watchers are lost; the last: {reason}", self.lost)));
                }
                self.end_if_all_told(now_ns, drive);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.storm.is_none() && self.set == self.watchers()
    }
}
