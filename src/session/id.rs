//! Session ids: the server's number in the top byte, then a millisecond clock at start, then a counter
//! (`SessionTrackerImpl.initializeNextSessionId`). Unique across servers by the top byte, across restarts
//! of one server by the clock.

use crate::types::{EphemeralOwner, ServerId, SessionId};

/// Hands out ids, one after the other.
#[derive(Clone, Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// `clock_ms` must be later at every start of this server; its low 40 bits count.
    pub fn new(server: ServerId, clock_ms: u64) -> SessionIds {
        let clock = ((clock_ms << 24) >> 8) as i64;
        SessionIds { next: clock | (server.0 << 56) }
    }

    /// A fresh id. The value that marks containers in `ephemeralOwner` is never an id, nor is 0.
    pub fn allocate(&mut self) -> SessionId {
        while self.next == EphemeralOwner::CONTAINER_RAW || self.next == SessionId::NONE.0 {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        SessionId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_server_and_counts_up() {
        let mut ids = SessionIds::new(ServerId(1), 0x12_19cd);
        assert_eq!(ids.allocate(), SessionId(0x0100_0012_19cd_0000));
        assert_eq!(ids.allocate(), SessionId(0x0100_0012_19cd_0001));
    }

    #[test]
    fn a_clock_beyond_40_bits_stays_out_of_the_top_byte() {
        let mut ids = SessionIds::new(ServerId(2), 0xffff_ff01_0000_0003);
        assert_eq!(ids.allocate(), SessionId(0x0201_0000_0003_0000));
    }

    #[test]
    fn reserved_values_are_skipped() {
        assert_eq!(SessionIds::new(ServerId(128), 0).allocate(), SessionId(i64::MIN + 1));
        assert_eq!(SessionIds::new(ServerId(0), 0).allocate(), SessionId(1));
    }
}
