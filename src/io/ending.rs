//! The end of a server that cannot keep its promises. Where servers share a process, in the simulator, it is not the end of that.

use std::cell::Cell;

thread_local! {
    /// What a stop means on this thread, where it is not the end of the process: the simulator's servers share one.
    static ON_STOP: Cell<Option<fn(&str) -> !>> = const { Cell::new(None) };
}

/// A server that cannot keep its promises says so and ends; whoever supervises it starts it again.
pub fn stop(message: &str) -> ! {
    stop_with(1, message)
}

/// With an exit code that says more.
pub fn stop_with(exit_code: i32, message: &str) -> ! {
    if let Some(end) = ON_STOP.get() {
        end(message);
    }
    tracing::error!("{message}. The server stops.");
    std::process::exit(exit_code)
}

/// From now on `stop` does this on the calling thread.
pub fn on_stop(end: fn(&str) -> !) {
    ON_STOP.set(Some(end));
}
