//! How long what a worker finds in its sockets may have lain there. The kernel does not say when bytes came. But a thread that
//! had nothing to do slept, and was woken by what came first; and what came to a thread that was busy lies there since
//! its last look at most.

use crate::types::Instant;

#[derive(Debug, Default)]
pub(super) struct SocketWait {
    looked: Instant,
    sleeps: u64,
}

impl SocketWait {
    /// The sockets were looked at, and something had come or not; `sleeps`: how often the thread has slept so far. Returns
    /// microseconds, 0 for a thread that slept since it last found something.
    pub fn look(&mut self, now: Instant, has_come: bool, sleeps: impl FnOnce() -> u64) -> u64 {
        let before = std::mem::replace(&mut self.looked, now);
        // The question costs a system call.
        if !has_come {
            return 0;
        }
        let sleeps = sleeps();
        if std::mem::replace(&mut self.sleeps, sleeps) == sleeps { now.micros_since(before) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_did_not_sleep_kept_anybody_waiting() {
        let at = Instant::from_millis;
        let mut wait = SocketWait::default();
        assert_eq!(wait.look(at(10), true, || 1), 0, "it slept before");
        assert_eq!(wait.look(at(13), true, || 1), 3000);
        assert_eq!(wait.look(at(15), false, || unreachable!("nobody waited")), 0);
        assert_eq!(wait.look(at(16), true, || 1), 1000, "since the last look");
        assert_eq!(wait.look(at(40), true, || 2), 0);
    }
}
