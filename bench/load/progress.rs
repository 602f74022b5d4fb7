//! The one line that shows a person at a terminal how far the run is. Silent when nobody watches.

use std::io::{IsTerminal, Write};

use crate::engine::OnTick;
use crate::meter::Meter;
use crate::output::saved::Point;

pub struct Progress {
    shown: bool,
    phase: String,
    start_ns: u64,
    /// What `meter` counts up to, or how long it takes: whichever the phase is limited by.
    goal: Goal,
    last_ns: u64,
    last_answered: u64,
    dirty: bool,
}

#[derive(Clone, Copy)]
pub enum Goal {
    Operations(u64),
    Seconds(f64),
}

const REDRAW_NS: u64 = 500_000_000;

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        let shown = !quiet && std::io::stderr().is_terminal();
        Progress {
            shown,
            phase: String::new(),
            start_ns: 0,
            goal: Goal::Seconds(0.0),
            last_ns: 0,
            last_answered: 0,
            dirty: false,
        }
    }

    pub fn begin(&mut self, phase: &str, goal: Goal, now_ns: u64) {
        (self.phase, self.goal, self.start_ns) = (phase.to_owned(), goal, now_ns);
        (self.last_ns, self.last_answered) = (now_ns, 0);
    }

    /// The line of a measured part: its last interval, and errors since its start.
    pub fn show(&mut self, now_ns: u64, point: &Point, total: &Meter) {
        if self.shown {
            let percentiles = percentiles(point);
            self.draw(now_ns, total.answered(), point.rate, &percentiles, total);
        }
    }

    fn draw(&mut self, now_ns: u64, answered: u64, rate: f64, percentiles: &str, counted: &Meter) {
        self.dirty = true;
        let (phase, position) = (&self.phase, self.position(now_ns, answered));
        let (errors, lost) = (counted.failed(), counted.lost);
        let line = format!("\r\x1b[K{phase}: {position}, {rate:.0} ops/s{percentiles}, {errors} errors, {lost} lost");
        // Progress is a courtesy: a terminal that is gone must not end the run.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// How far it is and what is left of it.
    fn position(&self, now_ns: u64, answered: u64) -> String {
        let elapsed = now_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        match self.goal {
            Goal::Operations(goal) => {
                let share = answered as f64 / goal.max(1) as f64;
                let left = if share > 0.0 { elapsed / share - elapsed } else { 0.0 };
                format!("{answered} of {goal}, {elapsed:.0} s, {:.0} s left", left.max(0.0))
            }
            Goal::Seconds(goal) => format!("{elapsed:.0} of {goal} s, {:.0} s left", (goal - elapsed).max(0.0)),
        }
    }

    /// Takes the line away before something else is printed.
    pub fn clear(&mut self) {
        if self.dirty {
            self.dirty = false;
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

fn percentiles(point: &Point) -> String {
    let milliseconds = |micros: Option<f64>| micros.map_or("-".to_owned(), |micros| format!("{:.2}", micros / 1e3));
    let (p50, p99, p99_9) = (point.p50_us, point.p99_us, point.p99_9_us);
    format!(", p50 {} p99 {} p99.9 {} ms", milliseconds(p50), milliseconds(p99), milliseconds(p99_9))
}

/// The line of what comes before the measured part: no percentiles, as nobody keeps them.
impl OnTick for Progress {
    fn tick(&mut self, now_ns: u64, meter: &mut Meter) {
        if !self.shown || now_ns < self.last_ns + REDRAW_NS {
            return;
        }
        let answered = meter.answered();
        let rate = (answered - self.last_answered.min(answered)) as f64 * 1e9 / (now_ns - self.last_ns) as f64;
        (self.last_ns, self.last_answered) = (now_ns, answered);
        self.draw(now_ns, answered, rate, "", meter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_and_remaining_are_told() {
        let mut progress = Progress::new(true);
        progress.begin("get", Goal::Seconds(10.0), 1_000_000_000);
        assert_eq!(progress.position(4_000_000_000, 5), "3 of 10 s, 7 s left");
        progress.begin("fill", Goal::Operations(100), 0);
        assert_eq!(progress.position(2_000_000_000, 25), "25 of 100, 2 s, 6 s left");
        let point = Point { p50_us: Some(150.0), p99_us: Some(2_000.0), ..Point::default() };
        assert_eq!(percentiles(&point), ", p50 0.15 p99 2.00 p99.9 - ms");
    }
}
