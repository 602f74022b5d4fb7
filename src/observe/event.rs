//! Log lines that something outside can provoke at any rate are written once in a while, with how many were left out.

use crate::types::Instant;

/// One kind of line, at most one per interval.
#[derive(Debug)]
pub struct Repeats {
    interval_ms: u64,
    next: Instant,
    left_out: u64,
}

impl Repeats {
    pub fn every_millis(interval_ms: u64) -> Repeats {
        Repeats { interval_ms, next: Instant::default(), left_out: 0 }
    }

    /// `Some(how many were left out since the last)` when the line is to be written now.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if now < self.next {
            self.left_out += 1;
            return None;
        }
        self.next = now.plus_millis(self.interval_ms);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_and_the_next_says_how_many_were_not() {
        let mut repeats = Repeats::every_millis(100);
        let at = Instant::from_millis;
        assert_eq!(repeats.due(at(5)), Some(0));
        assert_eq!(repeats.due(at(6)), None);
        assert_eq!(repeats.due(at(104)), None);
        assert_eq!(repeats.due(at(105)), Some(2));
        assert_eq!(repeats.due(at(500)), Some(0));
    }
}
