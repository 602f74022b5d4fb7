//! Wakes a core that sleeps, and costs one relaxed load when it does not.
//!
//! Invariant (Dekker): the sleeper stores `asleep`, then looks at its rings; the other side fills a ring, then
//! looks at `asleep`. Both with sequentially consistent fences, so one of the two sees the other.

use super::sync::{AtomicBool, Mutex, Ordering, fence};
use std::task::Waker;

#[derive(Default)]
pub struct Alarm {
    asleep: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Alarm {
    /// Called by others after they have put something where the core will find it.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // One of those who ring at the same time wakes; whoever comes too late writes nothing.
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Called by the core before it looks at its rings for the last time.
    pub fn fall_asleep(&self, waker: &Waker) {
        let mut known = self.waker.lock();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        drop(known);
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called by the core when it has found work after all, or was woken by something else.
    pub fn stay_awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
