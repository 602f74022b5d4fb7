//! Reconfigurations on a leader: when one is committed, who leads afterwards, and how a leader that the new configuration
//! does not keep leaves (`Leader.tryToCommit`, `getDesignatedLeader`, `startZkServer`).

use super::super::first_of;
use super::super::leader_io::LeaderOutput;
use super::super::learners::Stage;
use super::{Leader, Phase};
use crate::types::{Instant, QuorumConfig, ServerId, Zxid};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Leader {
    /// A reconfiguration is proposed and not committed: no other one is taken, and no learner is told of a configuration.
    pub fn is_reconfiguring(&self) -> bool {
        self.phase == Phase::Broadcast && self.configs.next().is_some()
    }

    /// This server and the followers that have its history: those that a new configuration can rest on.
    pub fn synced_servers(&self) -> BTreeSet<ServerId> {
        self.with_me(Stage::Synced)
    }

    /// Commits what quorums have acknowledged.
    pub(super) fn commit(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        while !self.is_deposed
            && let Some(through) = self.acks.advance(&self.configs)
        {
            out.push(LeaderOutput::Commit { through });
            if self.configs.next().is_some_and(|next| next.version == through.0) {
                self.activate(now, out);
            }
        }
    }

    /// A configuration that never was committed gets the version of this epoch, so that it goes before those that a server
    /// to come has made up. It is agreed on with NEWLEADER.
    pub(super) fn give_first_version(&mut self, out: &mut Vec<LeaderOutput>) {
        let committed = self.configs.committed();
        if self.start.reconfig_enabled && committed.version == 0 && self.configs.next().is_none() {
            let membership = committed.membership.clone();
            let config = Arc::new(QuorumConfig { membership, version: first_of(self.epoch).0 });
            self.configs.propose(config.clone());
            out.push(LeaderOutput::Seen { config });
        }
    }

    /// Quorums of both have acknowledged NEWLEADER, which named it.
    pub(super) fn commit_last_seen(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        if self.start.reconfig_enabled && self.configs.next().is_some() {
            self.activate(now, out);
        }
    }

    fn activate(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        let Some(config) = self.configs.next().cloned() else { return };
        let designated = self.designated(&config);
        self.configs.commit();
        if designated != self.start.me {
            self.is_deposed = true;
            self.phase_ends = now.plus_millis(self.start.limits.sync_ms());
        }
        out.push(LeaderOutput::Activate { config, designated });
    }

    /// Who leads with the new configuration: this server if it can stay, else the voter with the most on its disk.
    fn designated(&self, config: &QuorumConfig) -> ServerId {
        let me = self.start.me;
        if self.configs.keeps_its_place(me, config) {
            return me;
        }
        let synced = self.with_me(Stage::Synced);
        let others = config.membership.voter_ids().filter(|id| *id != me);
        // With an epoch that just begins: whoever has acknowledged NEWLEADER.
        let rank = |id: &ServerId| (synced.contains(id), self.acks.flushed_through(*id), Reverse(*id));
        let has_it = |id: &ServerId| {
            let is_new = Zxid(config.version) <= first_of(self.epoch);
            if is_new { synced.contains(id) } else { self.acks.flushed_through(*id) >= Some(Zxid(config.version)) }
        };
        others.filter(has_it).max_by_key(rank).unwrap_or(me)
    }

    /// Learners end their connections to a leader that is none any more once they know it. Who has no quorum of them, or
    /// waits for too long, goes.
    pub(super) fn leave_if_deposed(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        if !self.is_deposed || self.phase != Phase::Broadcast {
            return;
        }
        if now >= self.phase_ends || !self.configs.is_reached_by(&self.with_me(Stage::Synced)) {
            self.give_up("the configuration names another leader".to_owned(), out);
        }
    }
}
