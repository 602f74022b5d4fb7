//! Who leads whom. The oracle knows everything, and errs as often as it is told to: nothing may depend on it but progress.

use super::world::{Role, World};
use crate::types::{PutBack, Quorum, ServerId, Zxid};
use rand::seq::{IndexedRandom, SliceRandom};
use std::collections::BTreeSet;

impl World {
    /// What must be so before a role begins.
    pub fn before_role(&mut self, id: ServerId) {
        let server = self.server_mut(id);
        assert!(server.is_looking(), "server {} is not free for a role", id.0);
        if PutBack::VoteByApplied.is_on() {
            // What was applied is taken for all there is.
            let applied = server.visible.min(server.disk.entries.len());
            server.disk.cut(applied);
        }
    }

    /// Better votes are greater.
    fn vote(&self, id: ServerId) -> (i64, Zxid, ServerId) {
        let disk = &self.server(id).disk;
        (disk.current_epoch, disk.last_zxid(), id)
    }

    pub fn elect(&mut self) {
        let mut ids: Vec<ServerId> = self.servers.iter().map(|server| server.id).collect();
        ids.shuffle(&mut self.random);
        for id in ids {
            if self.is_free(id) {
                self.gossip(id);
                match self.successors.remove(&id) {
                    Some(named) if named == id => self.lead(id),
                    _ => self.find_role(id),
                }
            }
        }
    }

    fn is_free(&self, id: ServerId) -> bool {
        self.server(id).is_looking() && self.server(id).paused_until <= self.now
    }

    fn find_role(&mut self, id: ServerId) {
        let wrong = self.options.wrong_election;
        let errs = self.chance(wrong);
        let others = self.servers.iter().filter(|server| server.id != id && self.can_reach(id, server.id));
        let leaders: Vec<ServerId> = others.filter(|server| server.is_leading()).map(|server| server.id).collect();
        let newest = leaders.iter().copied().max_by_key(|leader| match &self.server(*leader).role {
            Role::Leading(leading) => (leading.machine.is_established(), leading.machine.epoch(), *leader),
            _ => (false, None, *leader),
        });
        if errs && let Some(any) = leaders.choose(&mut self.random).copied() {
            return self.follow(id, any);
        }
        if let Some(newest) = newest.filter(|_| !errs) {
            return self.follow(id, newest);
        }
        let free = self.servers.iter().filter(|server| self.is_free(server.id) && self.can_reach(id, server.id));
        let disk = &self.server(id).disk;
        let quorums: Vec<Quorum> = [Some(&disk.config), disk.last_seen.as_ref()]
            .into_iter()
            .flatten()
            .map(|c| Quorum::of(&c.membership))
            .collect();
        let is_voter = |id: ServerId| quorums.iter().any(|quorum| quorum.is_voter(id));
        let electable: Vec<ServerId> = free.filter(|server| is_voter(server.id)).map(|server| server.id).collect();
        let everybody: BTreeSet<ServerId> = self
            .servers
            .iter()
            .filter(|server| self.is_free(server.id) && self.can_reach(id, server.id))
            .map(|s| s.id)
            .collect();
        if !electable.contains(&id) {
            return;
        }
        if !errs && !quorums.iter().all(|quorum| quorum.is_reached_by(&everybody)) {
            return;
        }
        let best = electable.iter().copied().max_by_key(|id| self.vote(*id));
        let elected = if errs { electable.choose(&mut self.random).copied() } else { best };
        self.lead(elected.expect("at least one"));
    }
}
