//! The learners of a leader: how far each has come, when it was last heard of, what it owes.

use crate::message::LearnerCounts;
use crate::types::{Instant, LinkId, Quorum, ServerId, Zxid};
use std::collections::{BTreeMap, VecDeque};

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has said who it is, and waits for the new epoch.
    Introduced,
    /// LEADERINFO is sent; it owes ACKEPOCH.
    Informed,
    /// It has acknowledged the epoch, and waits for the leader to have a quorum of such.
    Promised,
    /// It is being brought to the leader's history; it owes the acknowledgement of NEWLEADER.
    Syncing,
    /// It has the leader's history, and waits for the leader to be established.
    Synced,
    /// UPTODATE is sent.
    Serving,
}

#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub server: ServerId,
    pub observer: bool,
    pub drops_log: bool,
    pub stage: Stage,
    pub accepted_epoch: i64,
    /// Last zxid of its log, as ACKEPOCH said.
    pub last_zxid: Zxid,
    pub serving_since: Instant,
    pub heard_at: Instant,
    /// PINGs sent and answered: they are answered in order.
    pub pings_sent: u64,
    pub pings_answered: u64,
    /// Last proposal it has on disk, or was spared.
    pub acked: Zxid,
    /// What it acknowledged before the history.
    pub acked_early: Zxid,
}

/// All learners, by connection. A server has one connection that counts: the newest.
#[derive(Debug, Default)]
pub(super) struct Learners {
    by_link: BTreeMap<LinkId, Follower>,
    /// What was proposed by when, sampled with every ping: who has not acknowledged it after syncLimit is stuck.
    proposed: VecDeque<(Instant, Zxid)>,
}

impl Learners {
    pub fn get(&self, link: LinkId) -> Option<&Follower> {
        self.by_link.get(&link)
    }

    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Follower> {
        self.by_link.get_mut(&link)
    }

    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Follower)> {
        self.by_link.iter().map(|(link, follower)| (*link, follower))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Follower)> {
        self.by_link.iter_mut().map(|(link, follower)| (*link, follower))
    }

    pub fn insert(&mut self, link: LinkId, follower: Follower) {
        self.by_link.insert(link, follower);
    }

    pub fn remove(&mut self, link: LinkId) -> Option<Follower> {
        self.by_link.remove(&link)
    }

    /// An older connection of the same server.
    pub fn other_of(&self, server: ServerId, link: LinkId) -> Option<LinkId> {
        self.iter().find(|(other, follower)| *other != link && follower.server == server).map(|(other, _)| other)
    }

    pub fn in_stage(&self, stage: Stage) -> Vec<LinkId> {
        self.iter().filter(|(_, follower)| follower.stage == stage).map(|(link, _)| link).collect()
    }

    pub fn count(&self, quorum: &Quorum) -> LearnerCounts {
        let mut counts = LearnerCounts { learners: self.by_link.len() as u64, ..LearnerCounts::default() };
        for follower in self.by_link.values().filter(|follower| follower.stage >= Stage::Synced) {
            match (follower.observer, quorum.is_voter(follower.server)) {
                (true, _) => counts.synced_observers += 1,
                (false, true) => counts.synced_followers += 1,
                (false, false) => counts.synced_non_voting_followers += 1,
            }
        }
        counts
    }

    pub fn sample(&mut self, now: Instant, proposed: Zxid) {
        if self.proposed.back().is_none_or(|(_, zxid)| *zxid < proposed) {
            self.proposed.push_back((now, proposed));
        }
    }

    /// What was proposed by `before`; older samples are forgotten.
    pub fn proposed_by(&mut self, before: Instant) -> Option<Zxid> {
        while self.proposed.get(1).is_some_and(|(at, _)| *at <= before) {
            self.proposed.pop_front();
        }
        self.proposed.front().filter(|(at, _)| *at <= before).map(|(_, zxid)| *zxid)
    }
}
