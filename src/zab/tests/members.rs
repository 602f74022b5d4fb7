//! Servers whose members change: what each keeps of it, as the real driver does, and changes drawn at random.

use super::leading::Attached;
use super::network::{Direction, Message};
use super::world::{Role, World};
use crate::message::QuorumPacket;
use crate::types::{LinkId, Membership, Quorum, QuorumConfig, Role as MemberRole, ServerId, Zxid};
use crate::zab::LeaderInput;
use rand::Rng;
use std::sync::Arc;

impl World {
    /// Heard of; `is_newest`: by a leader that knows of nothing newer.
    pub fn see_config(&mut self, id: ServerId, config: Arc<QuorumConfig>, is_newest: bool) {
        let disk = &mut self.server_mut(id).disk;
        if config.version > disk.config.version {
            disk.last_seen = Some(config);
        } else if is_newest {
            disk.last_seen = None;
        }
    }

    /// In force on this server. Whether it is another thing now than before; `None`: it was known.
    pub fn commit_config(&mut self, id: ServerId, config: Arc<QuorumConfig>) -> Option<bool> {
        let server = self.server_mut(id);
        if config.version <= server.disk.config.version {
            return None;
        }
        server.disk.last_seen.take_if(|next| next.version <= config.version);
        let observes = config.membership.members.get(&id).is_some_and(|member| member.role == MemberRole::Observer);
        let changes = observes != server.observer;
        server.observer = observes;
        server.disk.config = config;
        Some(changes)
    }

    /// A leader has a configuration committed: it is what everything is measured by from now on.
    pub fn put_in_force(&mut self, id: ServerId, config: &Arc<QuorumConfig>) {
        if config.version > self.in_force {
            self.in_force = config.version;
            self.quorum = Quorum::of(&config.membership);
            self.count("reconfiguration");
        }
        self.commit_config(id, config.clone());
        self.check_quorum_of_leader(id);
    }

    /// Learners of this leader are told with the commit who leads; those that wait for NEWLEADER, by that.
    pub fn activate_learners(&mut self, id: ServerId, zxid: Zxid, designated: ServerId) {
        let entry = self.ghost_entry(zxid);
        let attached: Vec<(LinkId, Attached)> = self.attached(id);
        for (link, Attached { observer, waits }) in attached {
            let packet = match (waits, observer) {
                (true, false) => Some(QuorumPacket::Commit { zxid }),
                // What it had to catch up on was sent as pairs; this comes as one of them.
                (true, true) => Some(QuorumPacket::Inform { zxid, entry: entry.clone() }),
                (false, false) => Some(QuorumPacket::CommitAndActivate { zxid, designated }),
                (false, true) => Some(QuorumPacket::InformAndActivate { zxid, designated, entry: entry.clone() }),
            };
            packet.into_iter().for_each(|packet| self.send(link, Direction::ToLearner, Message::Packet(packet)));
        }
        self.send_new_leader(id);
    }

    /// Other members, drawn at random, from a leader that has a quorum of them.
    pub fn reconfigure(&mut self, id: ServerId) {
        let mut membership = Membership::default();
        for index in 1..=self.servers.len() {
            let role = match self.random.random_range(0..10) {
                0..=5 => "participant",
                6..=7 => "observer",
                _ => continue,
            };
            membership.add(&format!("server.{index}"), &format!("host{index}:1:2:{role}")).expect("a line");
        }
        if !self.server(id).is_established() || self.server(id).paused_until > self.now {
            return;
        }
        let Role::Leading(leading) = &self.server(id).role else { return };
        let machine = &leading.machine;
        let has_quorum = Quorum::of(&membership).is_reached_by(&machine.synced_servers());
        let Some(zxid) = machine.next_zxid().filter(|_| has_quorum && !machine.is_reconfiguring()) else { return };
        let config = Arc::new(QuorumConfig { membership, version: zxid.0 });
        self.say(|| format!("leader {} proposes {config}", id.0));
        self.configs.insert(zxid, config.clone());
        self.see_config(id, config.clone(), false);
        self.log_and_send(id, zxid);
        self.leader_input(id, LeaderInput::ProposedConfig { config });
    }

    /// Who looks for a leader takes up the newest configuration that anybody it reaches has committed.
    pub fn gossip(&mut self, id: ServerId) {
        let reached = self.servers.iter().filter(|server| server.up && self.can_reach(id, server.id));
        let newest = reached.map(|server| server.disk.config.clone()).max_by_key(|config| config.version);
        if let Some(config) = newest {
            self.commit_config(id, config);
        }
    }
}
