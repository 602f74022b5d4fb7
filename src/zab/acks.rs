//! Which proposals a quorum has on disk.
//!
//! A voter flushes its log in order, so its acknowledgement of a zxid covers everything before it: one number a voter is
//! enough, however many proposals are out.

use super::reconfig::Configs;
use crate::types::{PutBack, Quorum, ServerId, Zxid};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) struct Acks {
    /// How far each server's log is flushed, as it said itself. Of servers without a vote too: a reconfiguration may give
    /// them one.
    flushed: BTreeMap<ServerId, Zxid>,
    committed: Zxid,
}

impl Acks {
    /// Nothing above `committed` is acknowledged yet.
    pub fn new(committed: Zxid) -> Acks {
        Acks { flushed: BTreeMap::new(), committed }
    }

    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The server's log is flushed through `zxid`.
    pub fn add(&mut self, server: ServerId, zxid: Zxid) {
        let known = self.flushed.entry(server).or_insert(zxid);
        *known = zxid.max(*known);
    }

    /// Last zxid committed by what was added since, if any is. A reconfiguration is committed by itself: what follows it is
    /// for the configuration that it makes.
    pub fn advance(&mut self, configs: &Configs) -> Option<Zxid> {
        let by_committed = self.flushed_by(configs.quorum())?;
        let through = match configs.next_quorum() {
            Some((reconfig, next)) if by_committed >= reconfig => match self.flushed_by(next) {
                Some(by_next) if by_next >= reconfig => reconfig,
                _ => Zxid(reconfig.0 - 1),
            },
            _ => by_committed,
        };
        (through > self.committed).then(|| {
            self.committed = through;
            through
        })
    }

    /// The server starts anew, or is gone: what it has on disk is not known until it says so again.
    pub fn forget(&mut self, server: ServerId) {
        self.flushed.remove(&server);
    }

    pub fn flushed_through(&self, server: ServerId) -> Option<Zxid> {
        self.flushed.get(&server).copied()
    }

    /// Highest zxid that is in the flushed logs of a quorum.
    fn flushed_by(&self, quorum: &Quorum) -> Option<Zxid> {
        let is_there = |zxid: Zxid| {
            let has_it = |flushed: Option<&Zxid>| flushed.is_some_and(|flushed| *flushed >= zxid);
            if PutBack::CommitByCountOfLearners.is_on() {
                let count = self.flushed.values().filter(|flushed| has_it(Some(flushed))).count();
                return count > quorum.voters().len() / 2;
            }
            quorum.is_reached_where(|server| has_it(self.flushed.get(&server)))
        };
        self.flushed.values().copied().filter(|zxid| is_there(*zxid)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::QuorumConfig;
    use std::sync::Arc;

    fn config(ids: &[i64], version: i64) -> Arc<QuorumConfig> {
        let lines: String = ids.iter().map(|id| format!("server.{id}=a:1:2\n")).collect();
        Arc::new(QuorumConfig::parse(&format!("{lines}version={version:x}")).unwrap())
    }

    fn add(acks: &mut Acks, configs: &Configs, id: i64, zxid: i64) -> Option<Zxid> {
        acks.add(ServerId(id), Zxid(zxid));
        acks.advance(configs)
    }

    #[test]
    fn a_quorum_of_flushed_logs_commits_in_order() {
        let configs = Configs::new(config(&[1, 2, 3, 4, 5], 0), None);
        let mut acks = Acks::new(Zxid(0));
        assert_eq!(add(&mut acks, &configs, 1, 3), None);
        assert_eq!(add(&mut acks, &configs, 9, 3), None, "no voter");
        assert_eq!(add(&mut acks, &configs, 2, 1), None);
        assert_eq!(add(&mut acks, &configs, 3, 2), Some(Zxid(1)));
        assert_eq!(add(&mut acks, &configs, 2, 5), Some(Zxid(2)));
        assert_eq!(add(&mut acks, &configs, 2, 4), None, "an acknowledgement is not taken back");
        acks.forget(ServerId(2));
        assert_eq!(add(&mut acks, &configs, 4, 9), None, "a voter that is forgotten counts no more");
        assert_eq!(add(&mut acks, &configs, 3, 9), Some(Zxid(3)));
    }

    #[test]
    fn a_reconfiguration_waits_for_both_and_everything_behind_it_waits_too() {
        let mut configs = Configs::new(config(&[1, 2, 3], 1), None);
        let mut acks = Acks::new(Zxid(0));
        configs.propose(config(&[3, 4, 5], 3));
        assert_eq!(add(&mut acks, &configs, 1, 5), None);
        assert_eq!(add(&mut acks, &configs, 2, 5), Some(Zxid(2)), "what came before is committed as ever");
        assert_eq!(add(&mut acks, &configs, 4, 4), None, "one of the next");
        assert_eq!(add(&mut acks, &configs, 5, 4), Some(Zxid(3)), "the reconfiguration, by itself");
        configs.commit();
        assert_eq!(acks.advance(&configs), Some(Zxid(4)), "the others count no more");
        assert_eq!(add(&mut acks, &configs, 2, 9), None);
        assert_eq!(acks.flushed_through(ServerId(5)), Some(Zxid(4)));
    }
}
