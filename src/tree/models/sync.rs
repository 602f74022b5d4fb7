//! The names of `tree/sync.rs`, made of loom's. `epoch` is what crossbeam-epoch promises, written down: what is deferred
//! runs once every guard that lived at that time is gone. (crossbeam-epoch itself is run by Miri and the sanitizers.)

use std::cell::Cell;

pub(super) use loom::sync::atomic::Ordering;

/// What can go wrong below the sources that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Guards protect nothing.
    NoGuards,
    /// Stores order nothing.
    RelaxedStores,
}

thread_local! {
    // The threads of a model are coroutines of one thread.
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

pub(super) fn set_fault(fault: Fault) {
    FAULT.set(fault);
}

pub(super) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub fn new(value: bool) -> AtomicBool {
        AtomicBool(loom::sync::atomic::AtomicBool::new(value))
    }

    pub fn load(&self, ordering: Ordering) -> bool {
        self.0.load(ordering)
    }

    pub fn store(&self, value: bool, ordering: Ordering) {
        let ordering = if FAULT.get() == Fault::RelaxedStores { Ordering::Relaxed } else { ordering };
        self.0.store(value, ordering);
    }
}

pub(super) mod epoch {
    use super::{FAULT, Fault};
    use loom::sync::Mutex;
    use std::collections::BTreeSet;

    type Deferred = Box<dyn FnOnce() + Send>;

    #[derive(Default)]
    struct Guards {
        last: u64,
        live: BTreeSet<u64>,
        /// With the guards that each waits for.
        deferred: Vec<(BTreeSet<u64>, Deferred)>,
    }

    loom::lazy_static! {
        static ref GUARDS: Mutex<Guards> = Mutex::new(Guards::default());
    }

    pub struct Guard(u64);

    pub fn pin() -> Guard {
        let mut guards = GUARDS.lock().expect("nobody panics with the lock");
        guards.last += 1;
        let number = guards.last;
        if FAULT.get() != Fault::NoGuards {
            guards.live.insert(number);
        }
        Guard(number)
    }

    impl Guard {
        /// # Safety
        /// As crossbeam's: `run` is sound once the guards of today are gone.
        pub unsafe fn defer_unchecked(&self, run: impl FnOnce() + Send + 'static) {
            let mut guards = GUARDS.lock().expect("nobody panics with the lock");
            let waits_for = guards.live.clone();
            guards.deferred.push((waits_for, Box::new(run)));
        }

        pub fn flush(&self) {}
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            let mut guards = GUARDS.lock().expect("nobody panics with the lock");
            guards.live.remove(&self.0);
            for (waits_for, _) in &mut guards.deferred {
                waits_for.remove(&self.0);
            }
            let due: Vec<_> = guards.deferred.extract_if(.., |(waits_for, _)| waits_for.is_empty()).collect();
            drop(guards);
            due.into_iter().for_each(|(_, run)| run());
        }
    }
}
