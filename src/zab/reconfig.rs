//! The two configurations that a leader works with: the committed one and, from the moment it is proposed until it is
//! committed, the next. While there are two, quorums of both are needed for whatever is decided: then no two sets of servers,
//! one that knows of the change and one that does not, can decide differently.
//!
//! Other than Java, which asks the committed one alone for a new epoch, the epoch has to be promised by quorums of both too:
//! where the next configuration was in force already, its servers may have promised that epoch to somebody else.

use crate::types::{PutBack, Quorum, QuorumConfig, ServerId, Zxid};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct Configs {
    committed: Arc<QuorumConfig>,
    quorum: Quorum,
    next: Option<(Arc<QuorumConfig>, Quorum)>,
}

impl Configs {
    /// `last_seen` counts if it is newer.
    pub fn new(committed: Arc<QuorumConfig>, last_seen: Option<Arc<QuorumConfig>>) -> Configs {
        let mut configs = Configs { quorum: Quorum::of(&committed.membership), committed, next: None };
        if let Some(next) = last_seen.filter(|next| next.version > configs.committed.version) {
            configs.propose(next);
        }
        configs
    }

    pub fn propose(&mut self, next: Arc<QuorumConfig>) {
        let quorum = Quorum::of(&next.membership);
        self.next = Some((next, quorum));
    }

    /// The next one is the committed one from now on.
    pub fn commit(&mut self) {
        if let Some((next, quorum)) = self.next.take() {
            (self.committed, self.quorum) = (next, quorum);
        }
    }

    pub fn committed(&self) -> &QuorumConfig {
        &self.committed
    }

    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    pub fn next(&self) -> Option<&Arc<QuorumConfig>> {
        self.next.as_ref().map(|(next, _)| next)
    }

    /// The rule of the next configuration, with the zxid that it was proposed with: its version.
    pub fn next_quorum(&self) -> Option<(Zxid, &Quorum)> {
        self.next.as_ref().map(|(next, quorum)| (Zxid(next.version), quorum))
    }

    /// Whether `have` decides, in every configuration that counts.
    pub fn is_reached_by(&self, have: &BTreeSet<ServerId>) -> bool {
        if PutBack::CommitByCountOfLearners.is_on() {
            return have.len() > self.quorum.voters().len() / 2;
        }
        self.quorum.is_reached_by(have) && self.next.as_ref().is_none_or(|(_, quorum)| quorum.is_reached_by(have))
    }

    /// A voter of either.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.quorum.is_voter(id) || self.next.as_ref().is_some_and(|(_, quorum)| quorum.is_voter(id))
    }

    /// A voter of the next configuration that is none of the committed one.
    pub fn votes_next_only(&self, id: ServerId) -> bool {
        !self.quorum.is_voter(id) && self.is_voter(id)
    }

    /// A leader stays one if it is a voter of `next` and learners find it where it is, or never had to look elsewhere.
    pub fn keeps_its_place(&self, leader: ServerId, next: &QuorumConfig) -> bool {
        let ports = |config: &QuorumConfig| -> Option<BTreeSet<(String, u16)>> {
            let member = config.membership.members.get(&leader)?;
            Some(member.quorum_ports().map(|(host, port)| (host.to_owned(), port)).collect())
        };
        next.membership.is_voter(leader) && (ports(&self.committed).is_none() || ports(next) == ports(&self.committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Arc<QuorumConfig> {
        Arc::new(QuorumConfig::parse(text).unwrap())
    }

    fn ids(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().map(|id| ServerId(*id)).collect()
    }

    #[test]
    fn both_have_to_agree_until_the_next_is_committed() {
        let old = config("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=5");
        let new = config("server.3=c:1:2\nserver.4=d:1:2\nserver.5=e:1:2\nversion=6");
        let mut configs = Configs::new(old.clone(), Some(old.clone()));
        assert!(configs.next().is_none() && configs.is_reached_by(&ids(&[1, 2])));
        configs.propose(new.clone());
        assert!(!configs.is_reached_by(&ids(&[1, 2])) && !configs.is_reached_by(&ids(&[3, 4, 5])));
        assert!(
            configs.is_reached_by(&ids(&[1, 3, 4])) && configs.is_voter(ServerId(1)) && configs.is_voter(ServerId(5))
        );
        configs.commit();
        assert!(configs.is_reached_by(&ids(&[4, 5])) && !configs.is_voter(ServerId(1)));
        assert_eq!(configs.committed(), &*new);
    }

    #[test]
    fn whoever_has_to_be_found_elsewhere_leads_no_longer() {
        let old = config("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2");
        let configs = Configs::new(old, None);
        let keeps = |text| configs.keeps_its_place(ServerId(1), &config(text));
        assert!(keeps("server.1=a:1:9;8\nserver.2=b:1:2"));
        assert!(!keeps("server.1=a:9:2\nserver.2=b:1:2"));
        assert!(!keeps("server.1=a:1:2:observer\nserver.2=b:1:2"));
        assert!(!keeps("server.2=b:1:2"));
    }
}
