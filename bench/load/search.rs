//! The search for the highest rate whose p99 keeps a limit: a closed loop says what is possible at all, then halving finds where
//! the limit is broken. Every trial is an open loop, so that a stall counts for all it delayed.

use crate::meter::Meter;
use crate::output::saved::{Search, Trial, micros, rounded};

/// The first trial's share of what the closed loop reached; at more, queues grow without end.
const FIRST_SHARE: f64 = 0.9;
/// The search ends when it knows the rate to this share of the closed loop's.
const PRECISION: f64 = 0.02;
/// Rates below this share of the closed loop's are not tried.
const LOWEST_SHARE: f64 = 0.001;
/// A trial that reaches less of what was planned has not kept up.
const REACHED_SHARE_MIN: f64 = 0.98;

/// The trials so far, and what they leave to try.
pub struct Halving {
    pub search: Search,
    closed_rate: f64,
    kept: f64,
    broken: f64,
}

impl Halving {
    /// Begins with what a closed loop reached.
    pub fn new(p99_limit_us: f64, closed: &Meter, seconds: f64) -> Halving {
        let closed_rate = closed.answered_ok as f64 / seconds.max(1e-9);
        let mut halving = Halving {
            search: Search { p99_limit_us, ..Search::default() },
            closed_rate,
            kept: 0.0,
            broken: closed_rate,
        };
        let trial = trial_of(p99_limit_us, None, closed, seconds);
        halving.search.trials.push(trial);
        halving
    }

    /// The rate to try next; none when the search is over.
    pub fn next_rate(&self) -> Option<f64> {
        if self.closed_rate <= 0.0 || self.broken - self.kept < PRECISION * self.closed_rate {
            return None;
        }
        let first = self.search.trials.len() == 1;
        let rate = if first { FIRST_SHARE * self.closed_rate } else { (self.kept + self.broken) / 2.0 };
        (rate >= LOWEST_SHARE * self.closed_rate).then_some(rate)
    }

    pub fn tried(&mut self, rate: f64, meter: &Meter, seconds: f64) {
        let trial = trial_of(self.search.p99_limit_us, Some(rate), meter, seconds);
        if trial.kept {
            self.kept = self.kept.max(rate);
            self.search.highest_rate = Some(rounded(self.kept));
        } else {
            self.broken = self.broken.min(rate);
        }
        self.search.trials.push(trial);
    }
}

/// What a run at a planned rate, or in a closed loop, tells about the limit.
pub fn trial_of(p99_limit_us: f64, planned_rate: Option<f64>, meter: &Meter, seconds: f64) -> Trial {
    let rate = meter.answered_ok as f64 / seconds.max(1e-9);
    let p99_us = micros(meter.merged().value_at_percentile(99.0));
    let failed = meter.failed() + meter.lost;
    let reason = match planned_rate {
        _ if failed > 0 => Some(format!("{failed} operations failed")),
        _ if meter.answered_ok == 0 => Some("nothing was answered".to_owned()),
        _ if p99_us > p99_limit_us => Some("p99 above the limit".to_owned()),
        Some(planned) if rate < planned * REACHED_SHARE_MIN => Some("behind the planned rate".to_owned()),
        _ => None,
    };
    let planned_rate = planned_rate.map(rounded);
    Trial { planned_rate, rate: rounded(rate), p99_us: rounded(p99_us), kept: reason.is_none(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::OpKind;

    /// One second at `rate` of a server whose p99 breaks the limit of 10 ms above 600 operations a second.
    fn second_at(rate: f64) -> Meter {
        let latency_ns = if rate > 600.0 { 20_000_000 } else { 2_000_000 };
        let mut meter = Meter::new();
        (0..rate as u64).for_each(|_| meter.record(OpKind::Get, 0, latency_ns));
        meter
    }

    #[test]
    fn the_search_closes_in_on_where_the_limit_is_broken() {
        let mut halving = Halving::new(10_000.0, &second_at(1_000.0), 1.0);
        while let Some(rate) = halving.next_rate() {
            halving.tried(rate, &second_at(rate), 1.0);
        }
        let found = halving.search.highest_rate.expect("a rate");
        assert!((575.0..=600.0).contains(&found), "{found}");
        assert!(halving.search.trials.len() < 12, "{} trials", halving.search.trials.len());
        assert_eq!(halving.search.trials[0].planned_rate, None);
    }

    #[test]
    fn a_limit_that_nothing_keeps_ends_the_search() {
        let mut halving = Halving::new(1_000.0, &second_at(1_000.0), 1.0);
        while let Some(rate) = halving.next_rate() {
            halving.tried(rate, &second_at(rate), 1.0);
        }
        assert_eq!(halving.search.highest_rate, None);
        assert!(halving.search.trials.iter().all(|trial| !trial.kept));
    }

    #[test]
    fn errors_and_lagging_behind_keep_no_limit() {
        let mut halving = Halving::new(10_000.0, &second_at(1_000.0), 1.0);
        let mut failing = second_at(500.0);
        failing.fail(-101);
        halving.tried(500.0, &failing, 1.0);
        halving.tried(400.0, &second_at(300.0), 1.0);
        let reasons: Vec<_> = halving.search.trials.iter().filter_map(|trial| trial.reason.as_deref()).collect();
        assert_eq!(reasons, ["p99 above the limit", "1 operations failed", "behind the planned rate"]);
        assert_eq!(halving.search.highest_rate, None);
    }
}
