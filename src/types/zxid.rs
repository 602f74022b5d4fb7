//! The transaction id: epoch in the upper 32 bits, counter in the lower 32.
//! Signed 64 bits like Java's, so that comparisons agree with every peer.

use std::fmt;

/// Position of a transaction in the history of the ensemble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    pub const ZERO: Zxid = Zxid(0);

    /// What a server says that cannot tell what was committed, with Java: its directory is empty and was not told that it may be.
    pub const UNKNOWN: Zxid = Zxid(-1);

    pub fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((i64::from(epoch) << 32) | i64::from(counter))
    }

    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid after this one; the caller watches for the end of the counter.
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }
}

/// Hexadecimal without leading zeros, as in file names and logs.
impl fmt::LowerHex for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}
