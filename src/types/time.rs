//! Time as a value. Reading a clock happens in `io/clock.rs`; everything else is handed the result.

/// Monotonic time in microseconds since an arbitrary start; never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant {
    pub micros: u64,
}

impl Instant {
    pub fn from_millis(millis: u64) -> Instant {
        Instant { micros: millis * 1000 }
    }

    pub fn millis(self) -> u64 {
        self.micros / 1000
    }

    pub fn plus_millis(self, millis: u64) -> Instant {
        Instant { micros: self.micros + millis * 1000 }
    }

    /// Microseconds since `earlier`, 0 if that lies ahead.
    pub fn micros_since(self, earlier: Instant) -> u64 {
        self.micros.saturating_sub(earlier.micros)
    }
}

/// Wall clock, milliseconds since 1970, as stored in ctime and mtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMillis(pub i64);

/// Both clocks, read once at the beginning of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    pub mono: Instant,
    pub wall: WallMillis,
}
