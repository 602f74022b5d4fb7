//! Model checking of what threads share: loom runs the sources of `alarm`, `lanes` and `ready` through every
//! interleaving, and through every stale value that the memory model lets a load return. Each model is also run with faults
//! put back, and must find them; a lost wake-up shows as a deadlock. See `docs/testing.md`.

#[path = "../alarm.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod alarm;
#[path = "../lanes.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod lanes;
mod order;
#[path = "../ready.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod ready;
mod sync;
mod wakes;

use loom::sync::Notify;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};
use sync::Fault;

/// Runs `model` through every execution with at most this many preemptions (loom's own advice is 2 or 3).
const PREEMPTIONS_MAX: usize = 3;

fn check(fault: Fault, model: impl Fn() + Send + Sync + 'static) {
    sync::set_fault(fault);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS_MAX);
    let outcome = catch_unwind(AssertUnwindSafe(|| builder.check(model)));
    sync::set_fault(Fault::None);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a model that has a fault in it; returns what the checker says of it.
fn find(fault: Fault, model: impl Fn() + Send + Sync + 'static) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| check(fault, model))).expect_err("the fault must be found");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A core that sleeps until its waker is used.
struct Sleep(Notify);

impl Sleep {
    fn new() -> Arc<Sleep> {
        Arc::new(Sleep(Notify::new()))
    }

    fn sleep(&self) {
        self.0.wait();
    }
}

impl Wake for Sleep {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// The end of every loop of `core.rs`: fall asleep, look once more, then sleep.
fn sleep_unless(alarm: &alarm::Alarm, sleep: &Arc<Sleep>, has_work: impl FnOnce() -> bool) {
    alarm.fall_asleep(&Waker::from(sleep.clone()));
    if has_work() {
        alarm.stay_awake();
    } else {
        sleep.sleep();
    }
}
