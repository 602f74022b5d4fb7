//! When requests are due. A closed loop sends the next request when an answer makes room; an open loop follows a
//! timetable fixed beforehand, and a late request keeps its planned time, so that a stall of the server is charged
//! to every request it delayed (no coordinated omission).
//!
//! The timetable of the open loop: burst number b, of `burst` operations, is planned at `start + b / bursts per
//! second` on connection `b mod connections`. Nothing is queued: each connection just remembers its next burst.

pub enum Pace {
    Closed { depth: usize },
    Open { depth: usize, timetable: Timetable },
}

impl Pace {
    pub fn depth(&self) -> usize {
        match self {
            Pace::Closed { depth } | Pace::Open { depth, .. } => *depth,
        }
    }
}

pub struct Timetable {
    start_ns: u64,
    burst_interval_ns: f64,
    burst: u64,
    /// Per connection: its next burst's number, and how many operations of it are already sent.
    next: Vec<(u64, u64)>,
    /// The first burst whose connection has not been looked at since it became due.
    cursor: u64,
}

impl Timetable {
    pub fn new(start_ns: u64, rate: f64, burst: u64, connections: usize) -> Timetable {
        Timetable {
            start_ns,
            burst_interval_ns: burst as f64 * 1e9 / rate,
            burst,
            next: (0..connections as u64).map(|connection| (connection, 0)).collect(),
            cursor: 0,
        }
    }

    fn planned_ns(&self, burst_number: u64) -> u64 {
        self.start_ns + (burst_number as f64 * self.burst_interval_ns) as u64
    }

    /// Planned time of the connection's next operation.
    pub fn next_ns(&self, connection: usize) -> u64 {
        self.planned_ns(self.next[connection].0)
    }

    pub fn advance(&mut self, connection: usize) {
        let connections = self.next.len() as u64;
        let (burst_number, sent) = &mut self.next[connection];
        *sent += 1;
        if *sent == self.burst {
            (*burst_number, *sent) = (*burst_number + connections, 0);
        }
    }

    /// Takes the next connection with a burst due by now, if any.
    pub fn take_due(&mut self, now_ns: u64) -> Option<usize> {
        if self.cursor_ns() > now_ns {
            return None;
        }
        let connection = self.cursor % self.next.len() as u64;
        self.cursor += 1;
        Some(connection as usize)
    }

    /// When `take_due` has something next.
    pub fn cursor_ns(&self) -> u64 {
        self.planned_ns(self.cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_go_round_at_the_rate() {
        let mut timetable = Timetable::new(1_000, 2_000_000.0, 2, 2); // a burst of 2 each microsecond
        assert_eq!((timetable.next_ns(0), timetable.next_ns(1)), (1_000, 2_000));
        timetable.advance(0);
        assert_eq!(timetable.next_ns(0), 1_000, "the second of the burst is planned with the first");
        timetable.advance(0);
        assert_eq!(timetable.next_ns(0), 3_000);
        assert_eq!(timetable.take_due(999), None);
        assert_eq!((timetable.take_due(2_000), timetable.take_due(2_000)), (Some(0), Some(1)));
        assert_eq!((timetable.take_due(2_000), timetable.cursor_ns()), (None, 3_000));
    }
}
