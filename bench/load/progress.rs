//! The one line that shows a person at a terminal how far the run is. Silent when nobody watches.

use std::io::{IsTerminal, Write};

use crate::meter::Meter;

pub struct Progress {
    shown: bool,
    phase: &'static str,
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
        Progress { shown, phase: "", start_ns: 0, goal: Goal::Seconds(0.0), last_ns: 0, last_answered: 0, dirty: false }
    }

    pub fn begin(&mut self, phase: &'static str, goal: Goal, now_ns: u64) {
        (self.phase, self.goal, self.start_ns) = (phase, goal, now_ns);
        (self.last_ns, self.last_answered) = (now_ns, 0);
    }

    pub fn show(&mut self, now_ns: u64, meter: &Meter) {
        if !self.shown || now_ns < self.last_ns + REDRAW_NS {
            return;
        }
        let answered = meter.answered_ok + meter.failed();
        let rate = (answered - self.last_answered) as f64 * 1e9 / (now_ns - self.last_ns) as f64;
        (self.last_ns, self.last_answered, self.dirty) = (now_ns, answered, true);
        let position = match self.goal {
            Goal::Operations(goal) => format!("{answered} of {goal}"),
            Goal::Seconds(goal) => {
                format!("{:.1} s of {goal} s", (now_ns - self.start_ns) as f64 / 1e9)
            }
        };
        let (phase, errors, lost) = (self.phase, meter.failed(), meter.lost);
        let line = format!("\r\x1b[K{phase}: {position}, {rate:.0} ops/s, {errors} errors, {lost} lost");
        // Progress is a courtesy: a terminal that is gone must not end the run.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Takes the line away before something else is printed.
    pub fn clear(&mut self) {
        if self.dirty {
            self.dirty = false;
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
