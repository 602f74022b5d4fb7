//! Reports a core that has not turned for longer than a limit: a stuck core means missed heartbeats, and silence
//! about it is worse than the stall (PagerDuty 2015: one dead thread, process half alive).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the pulses are looked at, milliseconds.
const LOOK_EVERY_MS: u64 = 500;
/// The same turn seen this often is reported: about a second.
const SEEN_TO_WARN: u32 = 3;
/// The same turn seen this often stops the process: about a minute; a supervisor restarts it. Looks are counted
/// rather than time, so that a stopped and continued process (SIGSTOP, suspend) does not count as stuck.
const SEEN_MAX: u32 = 120;

/// Number of the turn that a core is in; even while it sleeps.
#[derive(Default)]
pub struct Pulse {
    turn: AtomicU64,
}

impl Pulse {
    pub fn turn_begins(&self) {
        self.turn.store(self.turn.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
    }

    pub fn turn_ends(&self) {
        self.turn.store((self.turn.load(Ordering::Relaxed) | 1) + 1, Ordering::Relaxed);
    }
}

/// Watches the named pulses from a thread of its own.
pub fn watch(pulses: Vec<(String, Arc<Pulse>)>) -> std::io::Result<()> {
    let watch = move || {
        let mut seen: Vec<(u64, u32)> = vec![(0, 0); pulses.len()];
        loop {
            std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
            for ((name, pulse), (turn, count)) in pulses.iter().zip(&mut seen) {
                let now = pulse.turn.load(Ordering::Relaxed);
                *count = if now == *turn && now % 2 == 1 { *count + 1 } else { 0 };
                *turn = now;
                if *count == SEEN_TO_WARN {
                    tracing::warn!("{name} has been in one turn for more than a second; its clients wait");
                } else if *count == SEEN_MAX {
                    tracing::error!("{name} has been in one turn for a minute: stopping, so that it can be restarted");
                    std::process::abort();
                }
            }
        }
    };
    std::thread::Builder::new().name("stall".to_owned()).spawn(watch)?;
    Ok(())
}
