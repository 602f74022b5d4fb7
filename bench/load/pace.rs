//! When requests are due. A closed loop sends the next request when an answer makes room; an open loop follows a
//! timetable fixed beforehand, and a late request keeps its planned time, so that a stall of the server is charged
//! to every request it delayed (no coordinated omission).
//!
//! The timetable of the open loop: burst number b, of `burst` operations, is planned on connection `b mod connections`
//! at the moment at which the plan's rate, added up since the start, comes to b bursts. Nothing is queued: each
//! connection just remembers its next burst.

use std::str::FromStr;

/// The rate of a run over its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    Closed,
    Constant {
        rate: f64,
    },
    /// Evenly from one rate to the other within `seconds`.
    Ramp {
        from: f64,
        to: f64,
        seconds: f64,
    },
    /// The same in `count` steps of equal length and height.
    Steps {
        from: f64,
        to: f64,
        count: u32,
        seconds: f64,
    },
}

impl Plan {
    /// Operations per second planned for a moment.
    pub fn rate_at(&self, seconds: f64) -> Option<f64> {
        match *self {
            Plan::Closed => None,
            Plan::Constant { rate } => Some(rate),
            Plan::Ramp { from, to, seconds: length } => Some(from + (to - from) * (seconds / length).clamp(0.0, 1.0)),
            Plan::Steps { from, .. } => Some(from + self.step_height() * self.step_at(seconds) as f64),
        }
    }

    pub fn step_at(&self, seconds: f64) -> usize {
        match *self {
            Plan::Steps { count, seconds: length, .. } => {
                ((seconds * f64::from(count) / length).max(0.0) as usize).min(count as usize - 1)
            }
            _ => 0,
        }
    }

    /// The end of the step that a moment lies in, where one follows.
    pub fn step_end_after(&self, seconds: f64) -> Option<f64> {
        let Plan::Steps { count, seconds: length, .. } = *self else {
            return None;
        };
        // A moment just before the end, by rounding, is the end.
        let step = self.step_at(seconds + 1e-6);
        (step + 1 < count as usize).then(|| (step + 1) as f64 * length / f64::from(count))
    }

    fn step_height(&self) -> f64 {
        match *self {
            Plan::Steps { from, to, count, .. } if count > 1 => (to - from) / f64::from(count - 1),
            _ => 0.0,
        }
    }

    /// The moment at which the `number`-th operation is planned, in seconds since the start.
    pub fn planned_seconds(&self, number: f64) -> f64 {
        match *self {
            Plan::Closed => 0.0,
            Plan::Constant { rate } => number / rate,
            Plan::Ramp { from, to, seconds } => {
                let whole = (from + to) / 2.0 * seconds;
                if number >= whole {
                    return seconds + (number - whole) / to;
                }
                // from * t + slope * t^2 / 2 = number, in the form that is exact for small slopes.
                let slope = (to - from) / seconds;
                2.0 * number / (from + (from * from + 2.0 * slope * number).max(0.0).sqrt())
            }
            Plan::Steps { from, count, seconds, .. } => {
                let (length, height) = (seconds / f64::from(count), self.step_height());
                let before = |step: f64| length * (step * from + height * step * (step - 1.0) / 2.0);
                let (mut low, mut high) = (0, count - 1);
                while low < high {
                    let middle = (low + high).div_ceil(2);
                    if before(f64::from(middle)) <= number { low = middle } else { high = middle - 1 }
                }
                let step = f64::from(low);
                step * length + (number - before(step)) / (from + height * step)
            }
        }
    }
}

/// `--rate`: one rate, or `FROM..TO`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateRange {
    pub from: f64,
    pub to: f64,
}

impl FromStr for RateRange {
    type Err = String;

    fn from_str(text: &str) -> Result<RateRange, String> {
        let number = |text: &str| {
            let rate: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
            let fits = rate.is_finite() && rate > 0.0;
            if fits { Ok(rate) } else { Err("must be above 0 operations per second".to_owned()) }
        };
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        Ok(RateRange { from: number(from)?, to: number(to)? })
    }
}

pub enum Pace {
    Closed { depth: usize },
    Open { depth: usize, timetable: Timetable },
}

impl Pace {
    pub fn new(plan: Plan, start_ns: u64, depth: usize, burst: u64, connections: usize) -> Pace {
        match plan {
            Plan::Closed => Pace::Closed { depth },
            plan => Pace::Open { depth, timetable: Timetable::new(start_ns, plan, burst, connections) },
        }
    }

    pub fn depth(&self) -> usize {
        match self {
            Pace::Closed { depth } | Pace::Open { depth, .. } => *depth,
        }
    }
}

pub struct Timetable {
    start_ns: u64,
    plan: Plan,
    burst: u64,
    /// Per connection: its next burst's number, and how many operations of it are already sent.
    next: Vec<(u64, u64)>,
    /// The first burst whose connection has not been looked at since it became due.
    cursor: u64,
}

impl Timetable {
    pub fn new(start_ns: u64, plan: Plan, burst: u64, connections: usize) -> Timetable {
        Timetable {
            start_ns,
            plan,
            burst,
            next: (0..connections as u64).map(|connection| (connection, 0)).collect(),
            cursor: 0,
        }
    }

    fn planned_ns(&self, burst_number: u64) -> u64 {
        self.start_ns + (self.plan.planned_seconds((burst_number * self.burst) as f64) * 1e9) as u64
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
        // A burst of 2 each microsecond.
        let mut timetable = Timetable::new(1_000, Plan::Constant { rate: 2_000_000.0 }, 2, 2);
        assert_eq!((timetable.next_ns(0), timetable.next_ns(1)), (1_000, 2_000));
        timetable.advance(0);
        assert_eq!(timetable.next_ns(0), 1_000, "the second of the burst is planned with the first");
        timetable.advance(0);
        assert_eq!(timetable.next_ns(0), 3_000);
        assert_eq!(timetable.take_due(999), None);
        assert_eq!((timetable.take_due(2_000), timetable.take_due(2_000)), (Some(0), Some(1)));
        assert_eq!((timetable.take_due(2_000), timetable.cursor_ns()), (None, 3_000));
    }

    /// Whatever the plan: between two planned moments lies the reciprocal of the rate there.
    #[test]
    fn planned_moments_follow_the_rate() {
        for plan in [
            Plan::Constant { rate: 500.0 },
            Plan::Ramp { from: 100.0, to: 1_000.0, seconds: 4.0 },
            Plan::Ramp { from: 1_000.0, to: 100.0, seconds: 4.0 },
            Plan::Steps { from: 100.0, to: 900.0, count: 5, seconds: 4.0 },
            Plan::Steps { from: 900.0, to: 100.0, count: 5, seconds: 4.0 },
        ] {
            let mut operations = 0.0;
            while plan.planned_seconds(operations) < 4.0 {
                let (here, next) = (plan.planned_seconds(operations), plan.planned_seconds(operations + 1.0));
                let crosses_step = plan.step_at(here) != plan.step_at(next);
                let rate = plan.rate_at((here + next) / 2.0).expect("an open loop");
                let planned = 1.0 / (next - here);
                assert!(
                    crosses_step || (planned / rate - 1.0).abs() < 0.01,
                    "{plan:?} at {here}: {planned}, not {rate}"
                );
                operations += 1.0;
            }
            let rates: f64 =
                (0..4_000).filter_map(|at| plan.rate_at((f64::from(at) + 0.5) / 1_000.0)).sum::<f64>() / 1_000.0;
            assert!((operations - rates).abs() <= 1.0, "{plan:?}: {operations} operations, not {rates}");
        }
    }

    #[test]
    fn steps_end_where_the_next_begins() {
        let plan = Plan::Steps { from: 1.0, to: 2.0, count: 4, seconds: 2.0 };
        assert_eq!([0.0, 0.49, 0.5, 1.9, 5.0].map(|at| plan.step_at(at)), [0, 0, 1, 3, 3]);
        assert_eq!([0.0, 0.5, 1.5].map(|at| plan.step_end_after(at)), [Some(0.5), Some(1.0), None]);
    }

    #[test]
    fn rates_are_read_strictly() {
        assert_eq!("1000".parse(), Ok(RateRange { from: 1000.0, to: 1000.0 }));
        assert_eq!("10..2.5e3".parse(), Ok(RateRange { from: 10.0, to: 2500.0 }));
        for wrong in ["", "0", "-1", "10..", "..5", "a", "1..2..3", "inf", "nan"] {
            assert!(wrong.parse::<RateRange>().is_err(), "{wrong:?}");
        }
    }
}
