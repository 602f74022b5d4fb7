//! Which sets of voters decide (quorum-protocol sheet §15): more than half of them, or with groups and weights more than
//! half of the groups, each won by more than half of its weight.

use super::{Membership, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// The rule of one configuration. Any two quorums of it share a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    voters: BTreeSet<ServerId>,
    /// Empty: every voter counts once.
    groups: Vec<BTreeSet<ServerId>>,
    weights: BTreeMap<ServerId, i64>,
}

impl Quorum {
    pub fn of(membership: &Membership) -> Quorum {
        let hierarchical = membership.is_hierarchical();
        let groups = membership.groups.values().map(|ids| ids.iter().copied().collect());
        Quorum {
            voters: membership.voter_ids().collect(),
            groups: if hierarchical { groups.collect() } else { Vec::new() },
            weights: if hierarchical { membership.weights.clone() } else { BTreeMap::new() },
        }
    }

    pub fn voters(&self) -> &BTreeSet<ServerId> {
        &self.voters
    }

    pub fn is_voter(&self, id: ServerId) -> bool {
        self.voters.contains(&id)
    }

    /// A server of weight 0 is never elected.
    pub fn weight(&self, id: ServerId) -> i64 {
        self.weights.get(&id).copied().unwrap_or(1)
    }

    /// Whether `acked` decides; who is no voter does not count.
    pub fn is_reached_by(&self, acked: &BTreeSet<ServerId>) -> bool {
        self.is_reached_where(|id| acked.contains(&id))
    }

    /// Whether those decide of whom `has_it` says so; voters alone are asked.
    pub fn is_reached_where(&self, has_it: impl Fn(ServerId) -> bool) -> bool {
        if self.groups.is_empty() {
            return self.voters.iter().filter(|id| has_it(**id)).count() > self.voters.len() / 2;
        }
        let weight_of = |ids: &mut dyn Iterator<Item = &ServerId>| ids.map(|id| self.weight(*id)).sum::<i64>();
        let mut counting = 0;
        let mut won = 0;
        for group in &self.groups {
            let voters = || group.iter().filter(|id| self.is_voter(**id));
            let whole = weight_of(&mut voters());
            if whole == 0 {
                continue;
            }
            counting += 1;
            if weight_of(&mut voters().filter(|id| has_it(**id))) > whole / 2 {
                won += 1;
            }
        }
        won > counting / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(lines: &[(&str, &str)]) -> Quorum {
        let mut membership = Membership::default();
        for (key, text) in lines {
            membership.add(key, text).unwrap();
        }
        Quorum::of(&membership)
    }

    fn reached(quorum: &Quorum, ids: &[i64]) -> bool {
        quorum.is_reached_by(&ids.iter().map(|id| ServerId(*id)).collect())
    }

    #[test]
    fn more_than_half_of_the_voters() {
        let three = rule(&[
            ("server.1", "a:1:2"),
            ("server.2", "a:1:2"),
            ("server.3", "a:1:2"),
            ("server.4", "a:1:2:observer"),
        ]);
        assert!(!reached(&three, &[1]) && !reached(&three, &[1, 4]) && !reached(&three, &[1, 4, 9]));
        assert!(reached(&three, &[1, 3]));
        let four = rule(&[("server.1", "a:1:2"), ("server.2", "a:1:2"), ("server.3", "a:1:2"), ("server.4", "a:1:2")]);
        assert!(!reached(&four, &[1, 2]) && reached(&four, &[1, 2, 4]));
    }

    #[test]
    fn more_than_half_of_the_groups() {
        let mut lines: Vec<(String, &str)> = (1..=9).map(|id| (format!("server.{id}"), "a:1:2")).collect();
        lines
            .extend([("group.1", "1:2:3"), ("group.2", "4:5:6"), ("group.3", "7:8:9")].map(|(k, v)| (k.to_owned(), v)));
        lines.extend([("weight.7", "0"), ("weight.8", "0"), ("weight.9", "0")].map(|(k, v)| (k.to_owned(), v)));
        let lines: Vec<(&str, &str)> = lines.iter().map(|(key, text)| (key.as_str(), *text)).collect();
        let quorum = rule(&lines);
        assert_eq!((quorum.weight(ServerId(1)), quorum.weight(ServerId(7))), (1, 0));
        // The third group weighs nothing: two groups count, and both are needed.
        assert!(reached(&quorum, &[1, 2, 4, 5]));
        assert!(!reached(&quorum, &[1, 2, 3, 4, 7, 8, 9]));
    }
}
