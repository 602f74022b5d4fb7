//! Which proposals a quorum has on disk.
//!
//! A voter flushes its log in order, so its acknowledgement of a zxid covers everything before it: one number a voter is
//! enough, however many proposals are out.

use crate::types::{PutBack, Quorum, ServerId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(super) struct Acks {
    quorum: Quorum,
    /// How far each voter's log is flushed, as it said itself.
    flushed: BTreeMap<ServerId, Zxid>,
    committed: Zxid,
}

impl Acks {
    /// Nothing above `committed` is acknowledged yet.
    pub fn new(quorum: Quorum, committed: Zxid) -> Acks {
        Acks { quorum, flushed: BTreeMap::new(), committed }
    }

    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The voter's log is flushed through `zxid`. Returns the last zxid committed thereby, if any is.
    pub fn add(&mut self, voter: ServerId, zxid: Zxid) -> Option<Zxid> {
        if !self.quorum.is_voter(voter) && !PutBack::CommitByCountOfLearners.is_on() {
            return None;
        }
        let known = self.flushed.entry(voter).or_insert(zxid);
        *known = zxid.max(*known);
        let through = self.flushed_by_quorum()?;
        (through > self.committed).then(|| {
            self.committed = through;
            through
        })
    }

    /// The voter starts anew: what it has on disk is not known until it says so again.
    pub fn forget(&mut self, voter: ServerId) {
        self.flushed.remove(&voter);
    }

    /// Highest zxid that is in the flushed logs of a quorum.
    fn flushed_by_quorum(&self) -> Option<Zxid> {
        let mut by_zxid: Vec<(Zxid, ServerId)> = self.flushed.iter().map(|(voter, zxid)| (*zxid, *voter)).collect();
        by_zxid.sort_unstable();
        let mut have = BTreeSet::new();
        while let Some((zxid, voter)) = by_zxid.pop() {
            have.insert(voter);
            let counted = PutBack::CommitByCountOfLearners.is_on() && have.len() > self.quorum.voters().len() / 2;
            if counted || self.quorum.is_reached_by(&have) {
                return Some(zxid);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Membership;

    #[test]
    fn a_quorum_of_flushed_logs_commits_in_order() {
        let mut membership = Membership::default();
        for id in 1..=5 {
            membership.add(&format!("server.{id}"), "a:1:2").unwrap();
        }
        let mut acks = Acks::new(Quorum::of(&membership), Zxid(0));
        assert_eq!(acks.add(ServerId(1), Zxid(3)), None);
        assert_eq!(acks.add(ServerId(9), Zxid(3)), None, "no voter");
        assert_eq!(acks.add(ServerId(2), Zxid(1)), None);
        assert_eq!(acks.add(ServerId(3), Zxid(2)), Some(Zxid(1)));
        assert_eq!(acks.add(ServerId(2), Zxid(5)), Some(Zxid(2)));
        assert_eq!(acks.add(ServerId(2), Zxid(4)), None, "an acknowledgement is not taken back");
        acks.forget(ServerId(2));
        assert_eq!(acks.add(ServerId(4), Zxid(9)), None, "a voter that is forgotten counts no more");
        assert_eq!(acks.add(ServerId(3), Zxid(9)), Some(Zxid(3)));
    }
}
