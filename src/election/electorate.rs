//! Who may vote, and which sets of voters decide: by the committed configuration and, while a newer one is being agreed
//! on, by that one as well.

use crate::types::{PutBack, Quorum, ServerId};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Electorate {
    committed: Quorum,
    version: i64,
    /// The configuration last heard of from a leader, with its version.
    last_seen: Option<(Quorum, i64)>,
    text: Arc<str>,
}

impl Electorate {
    /// `text`: the committed configuration as it travels in notifications.
    pub fn new(committed: Quorum, version: i64, text: Arc<str>) -> Electorate {
        Electorate { committed, version, last_seen: None, text }
    }

    pub fn with_last_seen(self, last_seen: Quorum, version: i64) -> Electorate {
        Electorate { last_seen: Some((last_seen, version)), ..self }
    }

    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it may win votes. Other than Java, which asks the committed configuration alone, a weight in a newer one will do:
    /// where quorums of both are needed, nobody else may know as much.
    pub fn has_weight(&self, id: ServerId) -> bool {
        self.committed.weight(id) != 0 || self.next().is_some_and(|quorum| quorum.weight(id) != 0)
    }

    pub fn is_committed_voter(&self, id: ServerId) -> bool {
        self.committed.is_voter(id)
    }

    /// May be elected: a voter, also of a newer configuration that is not known to be committed. It may be the only one that has
    /// what those have committed.
    pub fn may_lead(&self, id: ServerId) -> bool {
        self.is_committed_voter(id) || self.next().is_some_and(|quorum| quorum.is_voter(id))
    }

    /// A voter of either configuration: is told of votes, and is listened to.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.committed.is_voter(id) || self.last_seen.as_ref().is_some_and(|(quorum, _)| quorum.is_voter(id))
    }

    pub fn voters(&self) -> BTreeSet<ServerId> {
        let next = self.last_seen.iter().flat_map(|(quorum, _)| quorum.voters());
        self.committed.voters().iter().chain(next).copied().collect()
    }

    /// Whether `agreed` decides, in both configurations if the last-seen one is newer.
    pub fn is_reached_by(&self, agreed: &BTreeSet<ServerId>) -> bool {
        self.committed.is_reached_by(agreed) && self.next().is_none_or(|quorum| quorum.is_reached_by(agreed))
    }

    /// Whether `following` are enough to believe that their leader leads, in one of the two. Other than Java, which asks for
    /// both: those who follow may know of one alone, and whoever waits for the other would wait for ever. Nothing rests on it:
    /// a leader counts its quorums itself, and a promise of an epoch is kept.
    pub fn is_led_by(&self, following: &BTreeSet<ServerId>) -> bool {
        if PutBack::PendingKeepsAway.is_on() {
            return self.is_reached_by(following);
        }
        self.committed.is_reached_by(following) || self.next().is_some_and(|quorum| quorum.is_reached_by(following))
    }

    /// The rule of the last-seen configuration, if it is newer.
    fn next(&self) -> Option<&Quorum> {
        self.last_seen.as_ref().filter(|(_, version)| *version > self.version).map(|(quorum, _)| quorum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Membership;

    fn majority(ids: &[i64]) -> Quorum {
        let mut membership = Membership::default();
        for id in ids {
            membership.add(&format!("server.{id}"), "a:1:2").unwrap();
        }
        Quorum::of(&membership)
    }

    #[test]
    fn a_newer_configuration_must_agree_too() {
        let ids = |ids: &[i64]| ids.iter().map(|id| ServerId(*id)).collect::<BTreeSet<_>>();
        let old = Electorate::new(majority(&[1, 2, 3]), 5, "".into());
        assert!(old.is_reached_by(&ids(&[1, 2])));
        let both = old.clone().with_last_seen(majority(&[3, 4, 5]), 6);
        assert!(!both.is_reached_by(&ids(&[1, 2])) && !both.is_reached_by(&ids(&[3, 4, 5])));
        assert!(both.is_reached_by(&ids(&[1, 3, 4])));
        assert!(both.is_led_by(&ids(&[1, 2])) && both.is_led_by(&ids(&[4, 5])) && !both.is_led_by(&ids(&[2, 5])));
        assert!(both.may_lead(ServerId(4)) && both.may_lead(ServerId(1)) && !both.may_lead(ServerId(9)));
        let stale = old.with_last_seen(majority(&[3, 4, 5]), 5);
        assert!(!stale.may_lead(ServerId(4)));
        assert!(stale.is_reached_by(&ids(&[1, 2])));
        // Its voters are listened to all the same, as Java does.
        assert!(stale.is_voter(ServerId(5)) && !stale.is_committed_voter(ServerId(5)));
        assert_eq!(stale.voters(), ids(&[1, 2, 3, 4, 5]));
    }
}
