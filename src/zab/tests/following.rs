//! A server that follows or observes: carries out what its machine asks for.

use super::disk::Entry;
use super::leading::{Asked, SYNC};
use super::network::{Direction, End, Message};
use super::world::{Event, Role, World};
use crate::message::{ForwardedRequest, QuorumPacket};
use crate::types::{Instant, LinkId, ServerId, SessionId, Zxid};
use crate::zab::{Learner, LearnerInput, LearnerOutput, LearnerStart};
use std::collections::VecDeque;

#[derive(Debug)]
pub struct Following {
    pub machine: Learner,
    pub link: LinkId,
    /// So many entries count as committed: all that were logged when the role began, and then what the leader says.
    committed: usize,
    /// The body of a snapshot has to come until then: whoever reads it watches for stalls.
    stream_ends: Option<Instant>,
    /// Taken, on its way to the disk.
    snapshot: Option<Vec<Entry>>,
    syncs: VecDeque<Asked>,
}

impl Following {
    pub fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline().into_iter().chain(self.stream_ends).min()
    }
}

impl World {
    pub fn follow(&mut self, id: ServerId, leader: ServerId) {
        self.before_role(id);
        let server = self.server(id);
        let start = LearnerStart {
            me: id,
            observer: server.observer,
            votes_next: server.disk.newest_config().membership.is_voter(id),
            limits: self.options.limits,
            accepted_epoch: server.disk.accepted_epoch,
            current_epoch: server.disk.current_epoch,
            last_zxid: if server.disk.is_lost { Zxid::UNKNOWN } else { server.disk.last_zxid() },
            config_version: server.disk.config.version,
        };
        self.say(|| {
            format!(
                "server {} follows {}: epochs {} {}, {}",
                id.0, leader.0, start.accepted_epoch, start.current_epoch, start.last_zxid
            )
        });
        let committed = server.disk.entries.len();
        let machine = Learner::new(start, self.instant());
        self.new_role(id, Role::Looking);
        let role = self.server(id).role_id;
        let end = End { server: leader, role: self.server(leader).role_id };
        let link = self.network.open(End { server: id, role }, end);
        let following =
            Following { machine, link, committed, stream_ends: None, snapshot: None, syncs: VecDeque::new() };
        self.server_mut(id).role = Role::Following(Box::new(following));
        if self.server(leader).is_leading() && self.can_reach(id, leader) {
            self.send(link, Direction::ToLearner, Message::Connect);
        } else {
            self.after(10_000, Event::ConnectFailed { server: id, role });
        }
    }

    fn following(&mut self, id: ServerId) -> Option<&mut Following> {
        match &mut self.server_mut(id).role {
            Role::Following(following) => Some(following),
            _ => None,
        }
    }

    pub fn learner_hears(&mut self, id: ServerId, message: Message) {
        let input = match message {
            Message::Connect => LearnerInput::Connected,
            Message::Packet(packet) => LearnerInput::Packet(packet),
            Message::Closed => LearnerInput::Lost { why: "closed by the leader".to_owned() },
            Message::Stream(entries) => {
                let Some(following) = self.following(id) else { return };
                following.stream_ends = None;
                following.snapshot = Some(entries);
                let took = self.between(self.options.save_us);
                let role = self.server(id).role_id;
                return self.after(took, Event::SnapshotSaved { server: id, role });
            }
        };
        self.learner_input(id, input);
    }

    pub fn learner_tick(&mut self, id: ServerId) {
        let now = self.instant();
        let stalled = self.following(id).and_then(|following| following.stream_ends).is_some_and(|end| end <= now);
        let input = match stalled {
            true => LearnerInput::Lost { why: "the snapshot stalls".to_owned() },
            false => LearnerInput::Tick,
        };
        self.learner_input(id, input);
    }

    pub fn learner_input(&mut self, id: ServerId, input: LearnerInput) {
        let now = self.instant();
        let mut outputs = Vec::new();
        let Some(following) = self.following(id) else { return };
        following.machine.step(now, input, &mut outputs);
        let role = self.server(id).role_id;
        for output in outputs {
            if self.crashes_now(id) {
                return;
            }
            self.carry_out_following(id, output);
            if self.server(id).role_id != role {
                return;
            }
        }
        self.begin_flush(id);
    }

    fn carry_out_following(&mut self, id: ServerId, output: LearnerOutput) {
        let link = self.following(id).expect("it follows").link;
        match output {
            LearnerOutput::Send(packet) => {
                if let QuorumPacket::Ack { zxid } = &packet {
                    self.check_acknowledged(id, link, *zxid);
                }
                self.send(link, Direction::ToLeader, Message::Packet(packet));
            }
            LearnerOutput::PersistAcceptedEpoch { epoch } => self.persist_accepted(id, epoch),
            LearnerOutput::PersistCurrentEpoch { epoch } => {
                self.check_has_history(id, link, "writes the epoch");
                self.persist_current(id, epoch);
            }
            LearnerOutput::Truncate { to } => self.truncate(id, to),
            LearnerOutput::TakeSnapshot { .. } => {
                let stalls = self.instant().plus_millis(self.options.limits.init_ms());
                self.following(id).expect("it follows").stream_ends = Some(stalls);
            }
            LearnerOutput::Append { zxid, entry } => {
                if let Some(config) = self.configs.get(&zxid).cloned() {
                    self.see_config(id, config, false);
                }
                self.server_mut(id).disk.entries.push(Entry { zxid, bytes: entry });
            }
            LearnerOutput::Commit { through } => {
                let count = self.server(id).disk.count_through(through).expect("only what was appended is committed");
                let following = self.following(id).expect("it follows");
                following.committed = count;
                if following.machine.is_serving() {
                    self.check_visible(id, count);
                }
            }
            LearnerOutput::Serve { epoch } => {
                self.say(|| format!("server {} serves in epoch {epoch}", id.0));
                let committed = self.following(id).expect("it follows").committed;
                self.check_visible(id, committed);
            }
            LearnerOutput::Ping { zxid } => {
                let packet = QuorumPacket::Ping { zxid, touched: Vec::new() };
                self.send(link, Direction::ToLeader, Message::Packet(packet));
            }
            LearnerOutput::Synced => {
                let following = self.following(id).expect("it follows");
                let asked = following.syncs.pop_front().expect("a sync was asked for");
                assert!(
                    following.committed >= asked.committed,
                    "a sync on server {} came before what it waits for",
                    id.0
                );
            }
            LearnerOutput::Revalidated { .. } => {}
            LearnerOutput::Seen { config } => self.see_config(id, config, true),
            LearnerOutput::Unreadable { why } => unreachable!("{why}"),
            LearnerOutput::Adopt { config } => {
                if self.commit_config(id, config) == Some(true) {
                    self.end_role(id);
                }
            }
            LearnerOutput::Activate { zxid, designated } => {
                let config = self.server(id).disk.last_seen.clone().filter(|config| config.version == zxid.0);
                let changes = config.and_then(|config| self.commit_config(id, config));
                let leader = self.network.get(link).leader.server;
                if changes == Some(true) || designated != leader {
                    self.successors.insert(id, designated);
                    self.end_role(id);
                }
            }
            LearnerOutput::GiveUp { why, .. } => {
                self.say(|| format!("server {} gives up: {why}", id.0));
                self.end_role(id);
            }
        }
    }

    fn truncate(&mut self, id: ServerId, to: Zxid) {
        let disk = &mut self.server_mut(id).disk;
        let count = disk.count_through(to);
        let count = count.unwrap_or_else(|| panic!("server {} is told to cut to {to}, which it does not hold", id.0));
        disk.cut(count);
        let following = self.following(id).expect("it follows");
        following.committed = following.committed.min(count);
    }

    pub fn snapshot_saved(&mut self, id: ServerId, role: u64) {
        if self.server(id).role_id != role {
            return;
        }
        let Some(entries) = self.following(id).and_then(|following| following.snapshot.take()) else { return };
        let newest = entries.iter().rev().find_map(|entry| self.configs.get(&entry.zxid)).cloned();
        if let Some(config) = newest.filter(|config| config.version > self.server(id).disk.newest_config().version) {
            self.see_config(id, config, false);
        }
        self.following(id).expect("it follows").committed = entries.len();
        self.server_mut(id).disk.replace(entries);
        self.learner_input(id, LearnerInput::SnapshotSaved);
    }

    /// A client of a learner asks for a write or a sync.
    pub fn forward(&mut self, id: ServerId, op: i32) {
        let asked = self.ghost.asked();
        let Some(following) = self.following(id) else { return };
        if !following.machine.is_serving() {
            return;
        }
        if op == SYNC {
            following.syncs.push_back(asked);
        }
        let link = following.link;
        let request = ForwardedRequest { session: SessionId(1), cxid: 1, op, body: Vec::new(), ids: Vec::new() };
        self.send(link, Direction::ToLeader, Message::Packet(QuorumPacket::Request(request)));
    }
}
