//! One transaction, everybody told: every connection has a watch on each of a few znodes, one more connection changes them all, by
//! a setData or, where there are several, a multi. `watch-event` is from the write until the event is there, `storm` until the last
//! one is; `get` is the read that sets the watch again.

use std::collections::VecDeque;

use crate::args::Args;
use crate::failure::Failure;
use crate::scenario::client::Said;
use crate::scenario::{Drive, Scenario, key, unexpected};
use crate::wire::multi;
use crate::workload::OpKind;
use crate::workload::file::Spec;
use crate::workload::random::value;

/// A connection with watches.
#[derive(Clone, Default)]
struct Watcher {
    /// Reads that set a watch and are not answered yet: since when.
    asked: VecDeque<u64>,
    set: usize,
    lost: bool,
}

pub struct WatchStorm {
    paths: Vec<String>,
    value: Vec<u8>,
    watchers: Vec<Watcher>,
    /// Watches that are set, and that went with their connections.
    set: usize,
    lost: usize,
    /// The write under way or whose events are awaited: since when, and how many events came.
    storm: Option<(u64, usize)>,
    write_answered: bool,
    /// Connections with reads that are not handed to their sockets yet: one system call for all events that came together.
    unsent: Vec<usize>,
    started: bool,
}

impl WatchStorm {
    pub fn new(args: &Args, spec: &Spec) -> WatchStorm {
        WatchStorm {
            paths: (0..spec.watches).map(|number| key(&args.path, number)).collect(),
            value: value(spec.value_bytes),
            watchers: vec![Watcher::default(); args.connections],
            set: 0,
            lost: 0,
            storm: None,
            write_answered: true,
            unsent: Vec::new(),
            started: false,
        }
    }

    fn ask(&mut self, index: usize, path: &str, now_ns: u64, drive: &mut Drive) {
        drive.crowd.clients[index].get_data(path, true);
        self.watchers[index].asked.push_back(now_ns);
        if self.unsent.last() != Some(&index) {
            self.unsent.push(index);
        }
    }

    fn writer(&self) -> usize {
        self.watchers.len()
    }

    /// Watches of the connections that are left.
    fn watches(&self) -> usize {
        self.watchers.len() * self.paths.len() - self.lost
    }

    fn end_if_all_told(&mut self, now_ns: u64, drive: &mut Drive) {
        if let Some((since_ns, told)) = self.storm
            && told >= self.watches()
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
            for index in 0..self.watchers.len() {
                for path in self.paths.clone() {
                    self.ask(index, &path, now_ns, drive);
                }
            }
        }
        for index in std::mem::take(&mut self.unsent) {
            drive.crowd.flush(index)?;
        }
        if self.storm.is_none()
            && self.set == self.watches()
            && let Some(since_ns) = drive.take_due(now_ns)
        {
            let writer = self.writer();
            match &self.paths[..] {
                [path] => drive.crowd.clients[writer].set_data(path, &self.value),
                paths => drive.crowd.clients[writer].set_all(paths, &self.value),
            };
            (self.storm, self.write_answered) = (Some((since_ns, 0)), false);
            drive.crowd.flush(writer)?;
        }
        Ok(())
    }

    fn on_said(&mut self, index: usize, now_ns: u64, said: Said, drive: &mut Drive) -> Result<(), Failure> {
        let is_writer = index == self.writer();
        match said {
            Said::Reply { error_code, .. } if error_code != 0 => {
                return Err(unexpected(&format!("a request on {}", self.paths[0]), error_code));
            }
            Said::Reply { body, .. } if is_writer => {
                let error_code = if self.paths.len() > 1 { multi::first_error(&body) } else { 0 };
                if error_code != 0 {
                    return Err(unexpected(&format!("the write of {}", self.paths[0]), error_code));
                }
                let since_ns = self.storm.map_or(now_ns, |(since_ns, _)| since_ns);
                drive.meter.record(OpKind::Set, 0, now_ns.saturating_sub(since_ns));
                self.write_answered = true;
                self.end_if_all_told(now_ns, drive);
            }
            Said::Reply { .. } => {
                let watcher = &mut self.watchers[index];
                if let Some(since_ns) = watcher.asked.pop_front() {
                    drive.meter.record(OpKind::Get, 0, now_ns.saturating_sub(since_ns));
                    watcher.set += 1;
                    self.set += 1;
                }
            }
            Said::Event { path } if !is_writer && self.watchers[index].set > 0 => {
                self.watchers[index].set -= 1;
                self.set -= 1;
                if let Some((since_ns, told)) = &mut self.storm {
                    drive.meter.record(OpKind::Event, 0, now_ns.saturating_sub(*since_ns));
                    *told += 1;
                }
                self.ask(index, &path, now_ns, drive);
                self.end_if_all_told(now_ns, drive);
            }
            Said::Closed(reason) if is_writer => {
                return Err(Failure::Lost(format!("the writer's connection: {reason}")));
            }
            Said::Closed(reason) => {
                drive.crowd.lose(index, &reason);
                let watcher =
                    std::mem::replace(&mut self.watchers[index], Watcher { lost: true, ..Watcher::default() });
                self.set -= watcher.set;
                if !watcher.lost {
                    self.lost += self.paths.len();
                    drive.meter.lost += 1;
                }
                if self.watches() == 0 {
                    let watchers = self.watchers.len();
                    return Err(Failure::Lost(format!("all {watchers} watchers are lost; the last: {reason}")));
                }
                self.end_if_all_told(now_ns, drive);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.storm.is_none() && self.set == self.watches()
    }
}
