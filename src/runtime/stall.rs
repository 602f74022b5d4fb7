//! Reports a core that has not turned for longer than a limit: a stuck core means missed heartbeats, and silence
//! about it is worse than the stall (PagerDuty 2015: one dead thread, process half alive). A core stalls in a turn that does
//! not end, or when it is due for a turn and does not take it.

use crate::io::{clock, process};
use crate::types::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How often the pulses are looked at, milliseconds: often enough for the limit, and not too often for an idle machine.
const LOOK_EVERY_MS_MIN: u64 = 5;
const LOOK_EVERY_MS_MAX: u64 = 500;
/// Looks within the limit: the limit is met this exactly.
const LOOKS_PER_LIMIT: u64 = 4;
/// A turn that takes so long stops the process, so that a supervisor restarts it. Looks are counted rather than time, so
/// that a stopped and continued process (SIGSTOP, suspend) does not count as stuck.
const STUCK_MS: u64 = 60_000;
/// Nothing is due.
const NEVER: u64 = u64::MAX;

/// Number of the turn that a core is in, odd while it is in it, and when it is due for the next.
pub struct Pulse {
    turn: AtomicU64,
    due_micros: AtomicU64,
    /// As the kernel knows it; 0 before it runs.
    thread: AtomicU32,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { turn: AtomicU64::new(0), due_micros: AtomicU64::new(NEVER), thread: AtomicU32::new(0) }
    }
}

impl Pulse {
    /// The calling thread is the one that turns.
    pub fn runs_here(&self) {
        self.thread.store(process::thread_id(), Ordering::Relaxed);
    }

    pub fn turn_begins(&self) {
        self.turn.store(self.turn.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
    }

    /// `due`: when it has to turn again if nothing happens.
    pub fn turn_ends(&self, due: Option<Instant>) {
        self.due_micros.store(due.map_or(NEVER, |due| due.micros), Ordering::Relaxed);
        self.turn.store((self.turn.load(Ordering::Relaxed) | 1) + 1, Ordering::Relaxed);
    }

    fn standstill(&self, now: Instant) -> (u64, Option<Standstill>) {
        let turn = self.turn.load(Ordering::Relaxed);
        let due_micros = self.due_micros.load(Ordering::Relaxed);
        let standstill = match turn % 2 == 1 {
            true => Some(Standstill::InTurn),
            false => (due_micros < now.micros).then_some(Standstill::Overdue),
        };
        (turn, standstill)
    }
}

/// Where a core stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standstill {
    InTurn,
    /// Between two turns, and the next is due.
    Overdue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Stalled(Standstill),
    /// It goes on.
    Over {
        stalled_ms: u64,
    },
    Stuck,
}

/// What is known of one core.
struct Watched {
    limit_ms: u64,
    look_every_ms: u64,
    turn: u64,
    /// How often it was seen to stand still where it is.
    looks: u64,
}

impl Watched {
    fn new(limit_ms: u64) -> Watched {
        let look_every_ms = (limit_ms / LOOKS_PER_LIMIT).clamp(LOOK_EVERY_MS_MIN, LOOK_EVERY_MS_MAX);
        Watched { limit_ms, look_every_ms, turn: 0, looks: 0 }
    }

    /// The look after which it is told.
    fn looks_max(&self, ms: u64) -> u64 {
        ms.div_ceil(self.look_every_ms)
    }

    fn look(&mut self, turn: u64, standstill: Option<Standstill>) -> Option<Finding> {
        let looks_before = self.looks;
        let is_same = turn == std::mem::replace(&mut self.turn, turn);
        self.looks = match (is_same, standstill) {
            (true, Some(_)) => looks_before + 1,
            _ => 0,
        };
        let told_after = self.looks_max(self.limit_ms);
        if self.looks == 0 && looks_before >= told_after {
            return Some(Finding::Over { stalled_ms: looks_before * self.look_every_ms });
        }
        match standstill? {
            Standstill::InTurn if self.looks == self.looks_max(STUCK_MS.max(self.limit_ms)) => Some(Finding::Stuck),
            standstill => (self.looks == told_after).then_some(Finding::Stalled(standstill)),
        }
    }
}

/// Watches the named pulses from a thread of its own; `limit_ms`: `stall.warningthresholdms`.
pub fn watch(pulses: Vec<(String, Arc<Pulse>)>, limit_ms: u64) -> std::io::Result<()> {
    let watch = move || {
        let mut watched: Vec<Watched> = pulses.iter().map(|_| Watched::new(limit_ms)).collect();
        let pause = Duration::from_millis(Watched::new(limit_ms).look_every_ms);
        loop {
            std::thread::sleep(pause);
            let now = clock::monotonic();
            for ((name, pulse), watched) in pulses.iter().zip(&mut watched) {
                let (turn, standstill) = pulse.standstill(now);
                if let Some(finding) = watched.look(turn, standstill) {
                    tell(name, pulse, finding, limit_ms);
                }
            }
        }
    };
    std::thread::Builder::new().name("stall".to_owned()).spawn(watch)?;
    Ok(())
}

fn tell(name: &str, pulse: &Pulse, finding: Finding, limit_ms: u64) {
    let doing = || process::what_thread_does(pulse.thread.load(Ordering::Relaxed));
    match finding {
        Finding::Stalled(Standstill::InTurn) => {
            tracing::warn!(
                "stalled: {name} has been in one turn for {limit_ms} ms or more; its clients wait. Its thread {}",
                doing()
            );
        }
        Finding::Stalled(Standstill::Overdue) => {
            tracing::warn!(
                "stalled: {name} has been due for a turn for {limit_ms} ms or more and has not taken it; its clients wait. \
                 Its thread {}",
                doing()
            );
        }
        Finding::Over { stalled_ms } => tracing::warn!("{name} goes on after a stall of about {stalled_ms} ms"),
        Finding::Stuck => {
            tracing::error!(
                "{name} has been in one turn for a minute: stopping, so that it can be restarted. Its thread {}",
                doing()
            );
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_TURN: Option<Standstill> = Some(Standstill::InTurn);
    const OVERDUE: Option<Standstill> = Some(Standstill::Overdue);

    #[test]
    fn a_pulse_stands_still_in_a_turn_or_when_one_is_due() {
        let (pulse, at) = (Pulse::default(), Instant::from_millis);
        assert_eq!(pulse.standstill(at(1)), (0, None), "not begun");
        pulse.turn_begins();
        pulse.turn_begins();
        assert_eq!(pulse.standstill(at(2)), (1, IN_TURN));
        pulse.turn_ends(Some(at(10)));
        assert_eq!(pulse.standstill(at(10)), (2, None));
        assert_eq!(pulse.standstill(at(11)), (2, OVERDUE));
        pulse.turn_begins();
        pulse.turn_ends(None);
        assert_eq!(pulse.standstill(at(1000)), (4, None), "nothing is due");
    }

    #[test]
    fn a_stall_is_told_once_and_so_is_its_end() {
        for standstill in [Standstill::InTurn, Standstill::Overdue] {
            let mut watched = Watched::new(1000);
            assert_eq!(watched.look_every_ms, 250);
            let still = Some(standstill);
            let looks = [1, 3, 3, 3, 3].map(|turn| watched.look(turn, still));
            assert_eq!(looks, [None; 5]);
            assert_eq!(watched.look(3, still), Some(Finding::Stalled(standstill)), "seen five times, for 1000 ms");
            assert_eq!(watched.look(3, still), None);
            assert_eq!(watched.look(5, still), Some(Finding::Over { stalled_ms: 1250 }));
            assert_eq!([watched.look(5, still), watched.look(6, None), watched.look(6, None)], [None; 3]);
        }
    }

    #[test]
    fn turns_that_go_on_are_no_stall() {
        let mut watched = Watched::new(100);
        assert!((0..1000).all(|turn| watched.look(2 * turn + 1, IN_TURN).is_none()));
        assert!((0..1000).all(|_| watched.look(2001, None).is_none()), "asleep, and nothing is due");
    }

    #[test]
    fn a_turn_of_a_minute_stops_the_process_and_a_late_one_does_not() {
        let mut watched = Watched::new(1000);
        watched.look(1, IN_TURN);
        let findings: Vec<Finding> = (0..240).filter_map(|_| watched.look(1, IN_TURN)).collect();
        assert_eq!(findings, [Finding::Stalled(Standstill::InTurn), Finding::Stuck]);
        let mut watched = Watched::new(1000);
        watched.look(2, OVERDUE);
        let findings: Vec<Finding> = (0..1000).filter_map(|_| watched.look(2, OVERDUE)).collect();
        assert_eq!(findings, [Finding::Stalled(Standstill::Overdue)]);
    }
}
