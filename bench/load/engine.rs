//! Drives all connections from one thread: waits, lets each ready connection take its turn, and keeps the pace.
//!
//! One read, one clock reading and one write per connection and turn, whatever the depth, and no allocation per
//! operation: that keeps the generator far cheaper than any server. What to send is `workload`'s, when is
//! `pace`'s, what came back goes to the `meter`; this file owns the loop, lost connections and stalls.
//!
//! Invariant: `in_flight` is the sum over the open connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::connection::{Connection, Ended, Scratch};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::pace::Pace;
use crate::poller::{Poller, Ready};
use crate::session::Sessions;
use crate::workload::{OpKind, Workload};

/// How often stalls, pings, progress and interruption are looked at.
const TICK_NS: u64 = 100_000_000;
/// Sessions are closed politely at the end, but nobody waits long for it.
const CLOSE_NS_MAX: u64 = 5_000_000_000;
/// Set by the signal handler; the engine stops at its next tick and the partial result is printed.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Who is told how far a drive is, at every tick. It may exchange the meter for another one.
pub trait OnTick {
    fn tick(&mut self, now_ns: u64, meter: &mut Meter);
}

/// When a drive ends.
#[derive(Clone, Copy)]
pub struct Limits {
    /// No request is sent after this moment.
    pub until_ns: u64,
    /// No more requests than this are sent.
    pub operations_max: u64,
    /// Wait for the answers to everything sent, rather than leaving them to the next drive.
    pub drain: bool,
}

impl Limits {
    pub fn operations(count: u64) -> Limits {
        Limits { until_ns: u64::MAX, operations_max: count, drain: true }
    }
}

#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

pub struct Engine {
    connections: Vec<Connection>,
    poller: Poller,
    scratch: Scratch,
    pub clock: Clock,
    in_flight: u64,
    open: usize,
    timeout_ns: u64,
    ping_interval_ns: u64,
    /// What ended the first lost connection.
    pub first_loss: Option<String>,
}

/// What one drive works on, passed down together.
struct Drive<'a> {
    workload: &'a mut Workload,
    pace: &'a mut Pace,
    meter: &'a mut Meter,
    limits: Limits,
    left: u64,
}

impl Engine {
    pub fn new(sessions: Sessions, timeout: Duration) -> Result<Engine, Failure> {
        let poller = Poller::new().map_err(Failure::system("creating an epoll instance"))?;
        for (token, connection) in sessions.connections.iter().enumerate() {
            poller.add(connection, token as u64).map_err(Failure::system("watching a socket"))?;
        }
        Ok(Engine {
            open: sessions.connections.len(),
            connections: sessions.connections,
            poller,
            scratch: Scratch::new(),
            clock: Clock::start(),
            in_flight: 0,
            timeout_ns: timeout.as_nanos() as u64,
            ping_interval_ns: sessions.timeout_ms as u64 * 1_000_000 / 3,
            first_loss: None,
        })
    }

    pub fn connections_lost(&self) -> usize {
        self.connections.len() - self.open
    }

    /// Sends and receives until the limits say stop. On failure the meter keeps what was counted until then.
    pub fn drive(
        &mut self,
        workload: &mut Workload,
        pace: &mut Pace,
        limits: Limits,
        meter: &mut Meter,
        watcher: &mut dyn OnTick,
    ) -> Result<(), Failure> {
        let mut drive = Drive { workload, pace, meter, limits, left: limits.operations_max };
        let mut now_ns = self.clock.now_ns();
        for index in 0..self.connections.len() {
            self.send(index, now_ns, &mut drive)?;
        }
        let mut tick_ns = now_ns + TICK_NS;
        loop {
            if self.is_finished(now_ns, &drive) {
                return Ok(());
            }
            if now_ns >= tick_ns {
                tick_ns = now_ns + TICK_NS;
                self.tick(now_ns, &mut drive)?;
                watcher.tick(now_ns, drive.meter);
            }
            let until_ns = if now_ns < limits.until_ns { limits.until_ns } else { u64::MAX };
            let wake_ns = tick_ns.min(until_ns).min(next_due_ns(drive.pace));
            let ready = self.poller.wait(wake_ns.saturating_sub(now_ns)).map_err(Failure::system("waiting"))?;
            for index in 0..ready {
                self.turn(self.poller.ready(index), &mut drive)?;
            }
            now_ns = self.clock.now_ns();
            self.send_due(now_ns, &mut drive)?;
        }
    }

    fn is_finished(&self, now_ns: u64, drive: &Drive) -> bool {
        let past_end = now_ns >= drive.limits.until_ns;
        if past_end && !drive.limits.drain {
            return true;
        }
        let all_sent = drive.left == 0 || (past_end && !self.has_late_requests(drive));
        all_sent && self.in_flight == 0
    }

    /// Open loop: some request planned before the end still waits for room on its connection.
    fn has_late_requests(&self, drive: &Drive) -> bool {
        let Pace::Open { timetable, .. } = &*drive.pace else {
            return false;
        };
        let mut open = self.connections.iter().enumerate().filter(|(_, connection)| connection.open);
        open.any(|(index, _)| timetable.next_ns(index) < drive.limits.until_ns)
    }

    /// One connection's turn: read, account for the replies, replace them, write.
    fn turn(&mut self, ready: Ready, drive: &mut Drive) -> Result<(), Failure> {
        let index = ready.token as usize;
        let connection = &mut self.connections[index];
        if !connection.open {
            return Ok(());
        }
        let now_ns = if ready.readable {
            let clock = self.clock;
            let (meter, workload, in_flight) = (&mut *drive.meter, &mut *drive.workload, &mut self.in_flight);
            let received = connection.receive(
                &mut self.scratch,
                || clock.now_ns(),
                |now_ns, answered, error_code| {
                    *in_flight -= 1;
                    meter.record(answered.kind, error_code, now_ns.saturating_sub(answered.since_ns));
                    if answered.kind == OpKind::Create && error_code == 0 {
                        workload.created(answered.number);
                    }
                },
            );
            if let Err(ended) = received {
                return self.lose(index, ended, drive.meter);
            }
            connection.last_received_ns
        } else {
            self.clock.now_ns()
        };
        self.send(index, now_ns, drive)
    }

    /// Adds the requests that are due on a connection and writes once.
    fn send(&mut self, index: usize, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        if !connection.open {
            return Ok(());
        }
        if !connection.has_unsent() {
            let added = drive.add_requests(connection, index, now_ns);
            if added == 0 {
                return Ok(());
            }
            self.in_flight += added;
            connection.last_sent_ns = now_ns;
        }
        self.flush(index, drive.meter)
    }

    fn send_due(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        while let Pace::Open { timetable, .. } = &mut *drive.pace {
            let Some(index) = timetable.take_due(now_ns) else {
                break;
            };
            self.send(index, now_ns, drive)?;
        }
        Ok(())
    }

    /// Writes, and asks the poller for word about room exactly while something is left.
    fn flush(&mut self, index: usize, meter: &mut Meter) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        if let Err(ended) = connection.flush() {
            return self.lose(index, ended, meter);
        }
        let unsent = connection.has_unsent();
        if unsent != connection.watches_writable {
            let watched = self.poller.watch_writable(connection, index as u64, unsent);
            watched.map_err(Failure::system("watching a socket"))?;
            connection.watches_writable = unsent;
        }
        Ok(())
    }

    /// Writes a connection off. The run goes on while there is another one; foreign bytes end it at once.
    fn lose(&mut self, index: usize, ended: Ended, meter: &mut Meter) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        connection.open = false;
        self.open -= 1;
        self.in_flight -= connection.in_flight() as u64;
        meter.lost += connection.in_flight() as u64;
        self.poller.remove(connection).map_err(Failure::system("unwatching a socket"))?;
        let what = format!("{}: {ended}", connection.server);
        if let Ended::Foreign(_) = ended {
            return Err(Failure::NotZooKeeper(what));
        }
        if self.open == 0 {
            let total = self.connections.len();
            return Err(Failure::Lost(format!("all {total} connections are lost; the last: {what}")));
        }
        self.first_loss.get_or_insert(what);
        Ok(())
    }

    fn tick(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        self.check_stall(now_ns)?;
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let idle = connection.open && connection.in_flight() == 0 && !connection.has_unsent();
            if idle && now_ns.saturating_sub(connection.last_sent_ns) > self.ping_interval_ns {
                connection.push_ping();
                connection.last_sent_ns = now_ns;
                self.flush(index, drive.meter)?;
            }
        }
        Ok(())
    }

    fn check_stall(&self, now_ns: u64) -> Result<(), Failure> {
        let is_stalled = |connection: &&Connection| {
            let waits_since_ns = connection.waits_since_ns().filter(|_| connection.open);
            waits_since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > self.timeout_ns)
        };
        let stalled = self.connections.iter().filter(is_stalled).count();
        if stalled == 0 {
            return Ok(());
        }
        let (seconds, total) = (self.timeout_ns as f64 / 1e9, self.connections.len());
        Err(Failure::Lost(format!("no reply for {seconds} s on {stalled} of {total} connections")))
    }

    /// Closes the sessions, so that they do not expire in the middle of somebody's next run.
    pub fn close(mut self) {
        let mut unmeasured = Meter::new();
        let deadline_ns = self.clock.now_ns() + CLOSE_NS_MAX.min(self.timeout_ns);
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.open {
                connection.push_close_session();
                // A connection that cannot be written to is lost, which is all we want of it.
                let _ = self.flush(index, &mut unmeasured);
            }
        }
        while self.open > 0 && self.clock.now_ns() < deadline_ns {
            let Ok(ready) = self.poller.wait(TICK_NS) else {
                return;
            };
            for event in 0..ready {
                let index = self.poller.ready(event).token as usize;
                let received = self.connections[index].receive(&mut self.scratch, || 0, |_, _, _| self.in_flight -= 1);
                let _ = match received {
                    // The answer to closeSession is nobody's in flight, hence foreign; both mean that it is done.
                    Err(ended) => self.lose(index, ended, &mut unmeasured),
                    Ok(()) => self.flush(index, &mut unmeasured),
                };
            }
        }
    }
}

impl Drive<'_> {
    /// Fills the connection up with what is due by now; says how many.
    #[inline]
    fn add_requests(&mut self, connection: &mut Connection, index: usize, now_ns: u64) -> u64 {
        if now_ns >= self.limits.until_ns && matches!(self.pace, Pace::Closed { .. }) {
            return 0;
        }
        let left_before = self.left;
        let depth = self.pace.depth();
        while connection.in_flight() < depth && self.left > 0 {
            let since_ns = match self.pace {
                Pace::Closed { .. } => now_ns,
                Pace::Open { timetable, .. } => {
                    let planned_ns = timetable.next_ns(index);
                    if planned_ns > now_ns || planned_ns >= self.limits.until_ns {
                        break;
                    }
                    timetable.advance(index);
                    planned_ns
                }
            };
            connection.push(self.workload, since_ns);
            self.left -= 1;
        }
        left_before - self.left
    }
}

fn next_due_ns(pace: &Pace) -> u64 {
    match pace {
        Pace::Closed { .. } => u64::MAX,
        Pace::Open { timetable, .. } => timetable.cursor_ns(),
    }
}
