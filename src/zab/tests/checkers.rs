//! What must hold, named after the properties of ZAB where it has them. A checker looks, and draws nothing at random.

use super::disk::Entry;
use super::leading::Asked;
use super::world::{Role, World};
use crate::types::{LinkId, ServerId, Zxid};
use crate::zab::epoch_of;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an onlooker who sees everything knows.
#[derive(Debug, Default)]
pub struct Ghost {
    proposed: BTreeMap<Zxid, Arc<[u8]>>,
    /// The one history that everybody's is a prefix of.
    pub committed: Vec<Entry>,
    /// What each leader was elected with, by role.
    elected: BTreeMap<u64, Vec<Entry>>,
    /// Who established an epoch.
    established: BTreeMap<i64, ServerId>,
}

impl Ghost {
    pub fn elected(&mut self, role: u64, history: Vec<Entry>) {
        self.elected.insert(role, history);
    }

    /// Integrity: an entry is proposed once, under a zxid that nobody has used before.
    pub fn propose(&mut self, by: ServerId, zxid: Zxid) -> Entry {
        let bytes: Arc<[u8]> = [self.proposed.len().to_be_bytes(), by.0.to_be_bytes()].concat().into();
        let before = self.proposed.insert(zxid, bytes.clone());
        assert_eq!(before, None, "server {} proposes under {zxid}, which is taken", by.0);
        Entry { zxid, bytes }
    }

    pub fn newest_epoch(&self) -> i64 {
        self.established.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    pub fn asked(&self) -> Asked {
        Asked { newest_epoch: self.newest_epoch(), committed: self.committed.len() }
    }

    /// Agreement, total order: two committed histories are one a prefix of the other. Primary order is in it, local and global: zxids ascend.
    fn agree(&mut self, by: ServerId, history: &[Entry]) {
        let common = history.len().min(self.committed.len());
        let differs = (0..common).find(|index| history[*index] != self.committed[*index]);
        if let Some(index) = differs {
            let (has, committed) = (&history[index], &self.committed[index]);
            panic!("server {} has {has:?} where {committed:?} was committed", by.0);
        }
        for entry in &history[common..] {
            let proposed = self.proposed.get(&entry.zxid);
            assert_eq!(proposed, Some(&entry.bytes), "server {} commits {entry:?}, proposed by nobody", by.0);
            let before = self.committed.last().map_or(Zxid::ZERO, |entry| entry.zxid);
            let follows = match epoch_of(before) == epoch_of(entry.zxid) {
                true => entry.zxid == before.next(),
                false => entry.zxid > before && entry.zxid.counter() == 1,
            };
            assert!(follows, "server {} commits {} behind {before}", by.0, entry.zxid);
            self.committed.push(entry.clone());
        }
    }
}

impl World {
    /// Durable: a quorum of voters has all that is committed in its flushed log.
    fn check_quorum_has(&self, count: usize) {
        if count == 0 {
            return;
        }
        let committed = &self.ghost.committed[..count];
        let holders: BTreeSet<ServerId> = self
            .servers
            .iter()
            .filter(|server| {
                let history = server.disk.flushed_history();
                // The end tells: histories without holes that share a transaction share all before it. Now and then the whole is compared.
                history.len() >= count
                    && match count % 8 {
                        0 => history[..count] == *committed,
                        _ => history[count - 1] == committed[count - 1],
                    }
            })
            .map(|server| server.id)
            .collect();
        assert!(
            self.quorum.is_reached_by(&holders),
            "{count} transactions are committed, and only {holders:?} have them on disk"
        );
    }

    /// What a leader has committed is where the configuration in force wants it.
    pub fn check_quorum_of_leader(&self, id: ServerId) {
        if let Role::Leading(leading) = &self.server(id).role {
            self.check_quorum_has(leading.committed.min(self.ghost.committed.len()));
        }
    }

    pub fn ghost_entry(&self, zxid: Zxid) -> Arc<[u8]> {
        self.ghost.proposed[&zxid].clone()
    }

    /// A leader's epoch has a quorum.
    pub fn check_established(&mut self, id: ServerId, epoch: i64) {
        let other = self.ghost.established.insert(epoch, id);
        assert_eq!(other, None, "server {} establishes epoch {epoch}, which is another's", id.0);
        let history = self.ghost.elected[&self.server(id).role_id].clone();
        assert_eq!(self.server(id).disk.entries, history, "leader {} was elected with another history", id.0);
        // Acknowledged writes stay.
        let (has, committed) = (history.len(), self.ghost.committed.len());
        if epoch == self.ghost.newest_epoch() {
            assert!(has >= committed, "leader {} has {has} transactions, {committed} were committed", id.0);
        }
        self.decide(id, &history);
        self.check_visible(id, history.len());
    }

    /// A leader says that so many entries of its history are committed.
    pub fn check_decided(&mut self, id: ServerId, count: usize) {
        let history = self.server(id).disk.entries[..count].to_vec();
        self.decide(id, &history);
        self.check_visible(id, count);
    }

    fn decide(&mut self, id: ServerId, history: &[Entry]) {
        let before = self.ghost.committed.len();
        self.ghost.agree(id, history);
        if self.ghost.committed.len() > before {
            for _ in before..self.ghost.committed.len() {
                self.count("committed");
            }
        }
        self.check_quorum_has(history.len());
    }

    /// Prefix consistency: what clients of a server can see was committed, and grows.
    pub fn check_visible(&mut self, id: ServerId, count: usize) {
        let committed = &self.ghost.committed;
        let server = self.server(id);
        assert!(
            count <= committed.len(),
            "server {} shows {count} transactions, {} are committed",
            id.0,
            committed.len()
        );
        assert!(
            count >= server.visible,
            "server {} shows {count} transactions, and once showed {}",
            id.0,
            server.visible
        );
        assert!(count <= server.disk.entries.len(), "server {} shows what it has not logged", id.0);
        let from = if count.is_multiple_of(8) { 0 } else { count.saturating_sub(2) };
        let (shown, committed) = (&server.disk.entries[from..count], &committed[from..count]);
        assert_eq!(shown, committed, "server {} shows another history", id.0);
        self.server_mut(id).visible = count;
    }

    /// A learner speaks of the whole of its leader's history: all of it is flushed.
    pub fn check_has_history(&self, id: ServerId, link: LinkId, does: &str) {
        let history = &self.ghost.elected[&self.network.get(link).leader.role];
        let flushed = self.server(id).disk.flushed_history();
        let has = flushed.len() >= history.len() && flushed[..history.len()] == *history;
        assert!(has, "server {} {does} without the leader's whole history on disk", id.0);
    }

    pub fn check_acknowledged(&self, id: ServerId, link: LinkId, zxid: Zxid) {
        self.check_has_history(id, link, "acknowledges");
        if zxid.counter() == 0 {
            return;
        }
        let leader = self.network.get(link).leader;
        let disk = &self.server(id).disk;
        let count = disk.count_through(zxid).filter(|count| *count <= disk.flushed);
        let count = count.unwrap_or_else(|| panic!("server {} acknowledges {zxid}, not on its disk", id.0));
        if self.server(leader.server).role_id == leader.role {
            let leads = &self.server(leader.server).disk.entries;
            assert!(
                leads.len() >= count && leads[..count] == disk.entries[..count],
                "server {} acknowledges {zxid} on another history",
                id.0
            );
        }
    }

    /// A sync is answered by who was still the newest leader when it was asked, behind all that was committed then.
    pub fn check_sync(&mut self, id: ServerId, asked: Asked, after: Zxid) {
        let epoch = self.ghost.established.iter().rfind(|(_, leader)| **leader == id).map_or(0, |(epoch, _)| *epoch);
        let newest = asked.newest_epoch;
        assert!(epoch >= newest, "leader {} of epoch {epoch} answers a sync, and epoch {newest} was established", id.0);
        let last = asked.committed.checked_sub(1).map_or(Zxid::ZERO, |index| self.ghost.committed[index].zxid);
        assert!(last <= after, "a sync is answered behind {after}, and {last} was committed when it came");
        self.count("sync");
    }

    // Epoch files: each goes up, and the one stays within the other, or the server could not start again.

    pub fn persist_accepted(&mut self, id: ServerId, epoch: i64) {
        let disk = &mut self.server_mut(id).disk;
        assert!(epoch >= disk.accepted_epoch, "server {} accepts epoch {epoch} behind {}", id.0, disk.accepted_epoch);
        disk.accepted_epoch = epoch;
    }

    pub fn persist_current(&mut self, id: ServerId, epoch: i64) {
        let disk = &mut self.server_mut(id).disk;
        assert!(epoch >= disk.current_epoch, "server {} goes from epoch {} to {epoch}", id.0, disk.current_epoch);
        assert!(epoch <= disk.accepted_epoch, "server {} is in epoch {epoch}, which it never accepted", id.0);
        disk.current_epoch = epoch;
    }

    /// Everybody who is up has the same history, and shows all of it.
    pub fn has_converged(&self) -> bool {
        let committed = &self.ghost.committed;
        self.servers.iter().filter(|server| server.up).all(|server| {
            let disk = &server.disk;
            server.is_serving()
                && server.visible == committed.len()
                && disk.flushed == committed.len()
                && disk.entries == *committed
        })
    }
}
