//! The two clocks. Read once per turn by `runtime`; nobody else looks at the time.

use crate::types::{Instant, Now, WallMillis};

/// Reads both clocks.
pub fn now() -> Now {
    Now { mono: monotonic(), wall: wall() }
}

/// Time since boot, as Java's session tracker measures it.
pub fn monotonic() -> Instant {
    let time = read(libc::CLOCK_MONOTONIC);
    Instant { micros: time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000 }
}

fn wall() -> WallMillis {
    let time = read(libc::CLOCK_REALTIME);
    WallMillis(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the value; both clocks exist on every Linux.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(status, 0, "the kernel has a clock");
    time
}
