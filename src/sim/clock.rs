//! A server's two clocks: the monotonic one starts anywhere and runs a little fast or slow; the wall clock jumps besides.

use super::random::Random;
use crate::types::{Instant, Now, WallMillis};

const WALL_MS: i64 = 1_700_000_000_000;
/// Clocks of a real machine are off by less.
const DRIFT_PPM_MAX: u64 = 500;
/// What the power takes away and brings back: a machine's monotonic clock begins with its start.
const BOOT_MICROS_MAX: u64 = 1 << 40;

#[derive(Clone, Debug)]
pub struct Clock {
    boot_micros: u64,
    rate_ppm: u64,
    wall_ms: i64,
}

impl Clock {
    pub fn new(random: &mut Random) -> Clock {
        let rate_ppm = 1_000_000 - DRIFT_PPM_MAX + random.below(2 * DRIFT_PPM_MAX);
        Clock { boot_micros: random.below(BOOT_MICROS_MAX), rate_ppm, wall_ms: WALL_MS + random.below(2000) as i64 }
    }

    pub fn read(&self, now: u64) -> Now {
        let local = (u128::from(now) * u128::from(self.rate_ppm) / 1_000_000) as u64;
        Now {
            mono: Instant { micros: self.boot_micros + local },
            wall: WallMillis(self.wall_ms + (local / 1000) as i64),
        }
    }

    /// When this clock shows `at`, or a little later.
    pub fn time_of(&self, at: Instant) -> u64 {
        let local = u128::from(at.micros.saturating_sub(self.boot_micros));
        (local * 1_000_000).div_ceil(u128::from(self.rate_ppm)) as u64
    }

    pub fn jump(&mut self, millis: i64) {
        self.wall_ms += millis;
    }

    /// The machine starts anew.
    pub fn reboot(&mut self, random: &mut Random) {
        self.boot_micros = random.below(BOOT_MICROS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_it_is_due_and_not_before() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let clock = Clock::new(&mut random);
            let at = Instant { micros: clock.boot_micros + random.below(1 << 36) };
            let due = clock.time_of(at);
            assert!(clock.read(due).mono >= at);
            assert!(due == 0 || clock.read(due - 2.min(due)).mono <= at);
        }
    }
}
