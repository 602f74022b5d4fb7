//! How long elections take, how long this server is without a leader, since when it serves: what operators read of it. As
//! ZooKeeper measures them, so that a dashboard shows the same for both.

use crate::observe::{Counter, MetricsWriter, Summary};
use crate::types::{Instant, Role};

#[derive(Debug, Default)]
pub(super) struct RoleClock {
    looks_since: Instant,
    /// Since service ended, or the process began.
    unavailable_since: Option<Instant>,
    /// Since the leader's epoch was acknowledged.
    synchronizes_since: Option<Instant>,
    serves_since: Instant,
}

impl RoleClock {
    pub fn looks(&mut self, now: Instant, metrics: &MetricsWriter) {
        metrics.count(Counter::LookingCount);
        self.looks_since = now;
        self.synchronizes_since = None;
        self.unavailable_since.get_or_insert(now);
    }

    /// A role begins without an election.
    pub fn assigned(&mut self, now: Instant) {
        self.looks_since = now;
        self.synchronizes_since = None;
        self.unavailable_since.get_or_insert(now);
    }

    /// The election is over. An observer has none of its own: it listens to the others'.
    pub fn elected(&mut self, now: Instant, role: Role, metrics: &MetricsWriter) {
        if role == Role::Participant {
            metrics.record(Summary::ElectionTime, now.micros_since(self.looks_since) / 1000);
        }
    }

    pub fn synchronizes(&mut self, now: Instant) {
        self.synchronizes_since = Some(now);
    }

    pub fn serves(&mut self, now: Instant, role: Role, metrics: &MetricsWriter) {
        self.serves_since = now;
        let unavailable = self.unavailable_since.take().map(|since| now.micros_since(since) / 1000);
        if let Some(ms) = unavailable {
            metrics.record(Summary::UnavailableTime, ms);
        }
        match (self.synchronizes_since.take(), role) {
            (None, _) => unavailable.into_iter().for_each(|ms| metrics.record(Summary::LeaderUnavailableTime, ms)),
            (Some(since), Role::Participant) => {
                metrics.record(Summary::FollowerSyncTime, now.micros_since(since) / 1000);
            }
            (Some(since), Role::Observer) => metrics.record(Summary::ObserverSyncTime, now.micros_since(since) / 1000),
        }
    }

    pub fn serves_since(&self) -> Instant {
        self.serves_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::MetricsRegistry;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// Which of the two were recorded on which server was seen on Java's.
    #[test]
    fn a_leader_a_follower_and_an_observer() {
        for (synchronizes, role, expected) in [
            (false, Role::Participant, [30, 70, 70, 0, 0]),
            (true, Role::Participant, [30, 70, 0, 20, 0]),
            (true, Role::Observer, [0, 70, 0, 0, 20]),
        ] {
            let registry = MetricsRegistry::new();
            let metrics = registry.register();
            let mut clock = RoleClock::default();
            clock.looks(at(100), &metrics);
            clock.elected(at(130), role, &metrics);
            if synchronizes {
                clock.synchronizes(at(150));
            }
            clock.serves(at(170), role, &metrics);
            let read = registry.read();
            let of = [
                Summary::ElectionTime,
                Summary::UnavailableTime,
                Summary::LeaderUnavailableTime,
                Summary::FollowerSyncTime,
                Summary::ObserverSyncTime,
            ];
            assert_eq!(of.map(|summary| read.summary(summary).sum), expected, "{synchronizes} {role:?}");
            assert_eq!(clock.serves_since(), at(170));
        }
    }

    #[test]
    fn an_election_that_comes_to_nothing_lengthens_the_time_without_a_leader() {
        let registry = MetricsRegistry::new();
        let metrics = registry.register();
        let mut clock = RoleClock::default();
        clock.looks(at(100), &metrics);
        clock.elected(at(110), Role::Participant, &metrics);
        clock.synchronizes(at(120));
        clock.looks(at(200), &metrics);
        clock.elected(at(205), Role::Participant, &metrics);
        clock.serves(at(210), Role::Participant, &metrics);
        let read = registry.read();
        assert_eq!(read.counter(Counter::LookingCount), 2);
        assert_eq!((read.summary(Summary::ElectionTime).min(), read.summary(Summary::ElectionTime).max), (5, 10));
        assert_eq!(read.summary(Summary::LeaderUnavailableTime).sum, 110);
    }
}
