//! A server that leads: carries out what its machine asks for, and feeds its learners.

use super::disk::Entry;
use super::network::{Direction, Message};
use super::world::{Role, World};
use crate::message::QuorumPacket;
use crate::types::{LinkId, ServerId, Zxid};
use crate::zab::{
    History, Leader, LeaderInput, LeaderOutput, LeaderStart, OnDisk, SyncPlan, SyncToken, first_of, plan,
};
use std::collections::BTreeMap;

/// The opcode of sync; everything else that is forwarded is a write here.
pub const SYNC: i32 = 9;

/// What was true when a sync was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Newest epoch established by then.
    pub newest_epoch: i64,
    /// So many transactions were committed by then, by anybody.
    pub committed: usize,
}

#[derive(Debug)]
pub struct Leading {
    pub machine: Leader,
    /// So many entries of the history are committed: all of those that the server was elected with, and then what quorums took.
    pub committed: usize,
    /// Learners that get the live stream.
    attached: BTreeMap<LinkId, Attached>,
    syncs: BTreeMap<SyncToken, Asked>,
    next_token: u64,
    /// Forwarded by learners, not taken up yet.
    writes: u32,
    sync_requests: Vec<LinkId>,
}

#[derive(Clone, Copy, Debug)]
pub struct Attached {
    pub observer: bool,
    /// For NEWLEADER, since the leader is reconfiguring.
    pub waits: bool,
}

impl World {
    pub fn lead(&mut self, id: ServerId) {
        self.before_role(id);
        let disk = &self.server(id).disk;
        let start = LeaderStart {
            me: id,
            config: disk.config.clone(),
            last_seen: disk.last_seen.clone(),
            reconfig_enabled: self.options.reconfigs > 0.0,
            limits: self.options.limits,
            accepted_epoch: disk.accepted_epoch,
            current_epoch: disk.current_epoch,
            last_zxid: disk.last_zxid(),
        };
        self.say(|| {
            format!(
                "server {} is elected, epochs {} {}, {}",
                id.0, start.accepted_epoch, start.current_epoch, start.last_zxid
            )
        });
        let committed = disk.entries.len();
        let history = disk.entries.clone();
        let mut machine = Leader::new(start, self.instant());
        if let Some(counter) = self.options.counter_max {
            machine.end_epoch_at(counter);
        }
        let leading = Leading {
            machine,
            committed,
            attached: BTreeMap::new(),
            syncs: BTreeMap::new(),
            next_token: 0,
            writes: 0,
            sync_requests: Vec::new(),
        };
        self.new_role(id, Role::Leading(Box::new(leading)));
        let role = self.server(id).role_id;
        self.ghost.elected(role, history);
    }

    fn leading(&mut self, id: ServerId) -> Option<&mut Leading> {
        match &mut self.server_mut(id).role {
            Role::Leading(leading) => Some(leading),
            _ => None,
        }
    }

    pub fn leader_hears(&mut self, id: ServerId, link: LinkId, message: Message) {
        match message {
            Message::Packet(packet) => self.leader_input(id, LeaderInput::Packet { link, packet }),
            Message::Closed => {
                if let Some(leading) = self.leading(id) {
                    leading.attached.remove(&link);
                }
                self.leader_input(id, LeaderInput::Closed { link });
            }
            other => unreachable!("a learner sends {other:?}"),
        }
    }

    pub fn leader_input(&mut self, id: ServerId, input: LeaderInput) {
        let now = self.instant();
        let mut outputs = Vec::new();
        let Some(leading) = self.leading(id) else { return };
        leading.machine.step(now, input, &mut outputs);
        let role = self.server(id).role_id;
        for output in outputs {
            if self.crashes_now(id) {
                return;
            }
            self.carry_out_leading(id, output);
            if self.server(id).role_id != role {
                return;
            }
        }
        self.begin_flush(id);
        self.take_up_forwarded(id);
    }

    fn take_up_forwarded(&mut self, id: ServerId) {
        let Some(leading) = self.leading(id) else { return };
        let writes = std::mem::take(&mut leading.writes);
        let syncs = std::mem::take(&mut leading.sync_requests);
        for _ in 0..writes {
            self.write(id);
        }
        for link in syncs {
            self.ask_sync(id, Some(link));
        }
    }

    fn carry_out_leading(&mut self, id: ServerId, output: LeaderOutput) {
        match output {
            LeaderOutput::Send { link, packet } => self.send(link, Direction::ToLearner, Message::Packet(packet)),
            LeaderOutput::Close { link, why } => {
                self.say(|| format!("leader {} closes {link:?}: {why}", id.0));
                if let Some(leading) = self.leading(id) {
                    leading.attached.remove(&link);
                }
                self.close(link, Direction::ToLeader);
            }
            LeaderOutput::PersistAcceptedEpoch { epoch } => self.persist_accepted(id, epoch),
            LeaderOutput::PersistCurrentEpoch { epoch } => self.persist_current(id, epoch),
            LeaderOutput::Feed { link, last_zxid, observer, .. } => self.feed(id, link, last_zxid, observer),
            LeaderOutput::Established { epoch } => {
                self.say(|| format!("leader {} has established epoch {epoch}", id.0));
                self.count("established");
                self.check_established(id, epoch);
            }
            LeaderOutput::Seen { config } => self.see_config(id, config, false),
            LeaderOutput::Activate { config, designated } => {
                self.say(|| format!("leader {} activates {config}, led by {}", id.0, designated.0));
                self.put_in_force(id, &config);
                let zxid = Zxid(config.version);
                if self.leading(id).is_some_and(|leading| leading.machine.epoch() == Some(i64::from(zxid.epoch())))
                    && zxid.counter() > 0
                {
                    if designated != id {
                        self.successors.insert(id, designated);
                    }
                    self.activate_learners(id, zxid, designated);
                }
            }
            LeaderOutput::Commit { through } => self.leader_commits(id, through),
            LeaderOutput::Forwarded { link, request } => {
                let Some(leading) = self.leading(id) else { return };
                if request.op == SYNC {
                    leading.sync_requests.push(link);
                } else {
                    leading.writes += 1;
                }
            }
            LeaderOutput::Touched { .. } | LeaderOutput::Revalidate { .. } => {}
            LeaderOutput::Synced { link, token, after } => {
                let asked = self.leading(id).and_then(|leading| leading.syncs.remove(&token)).expect("it was asked");
                self.check_sync(id, asked, after);
                if let Some(link) = link {
                    self.send_attached(id, link, QuorumPacket::Sync);
                }
            }
            LeaderOutput::GiveUp { why } => {
                self.say(|| format!("leader {} gives up: {why}", id.0));
                self.end_role(id);
            }
        }
    }

    fn send_attached(&mut self, id: ServerId, link: LinkId, packet: QuorumPacket) {
        if self.leading(id).is_some_and(|leading| leading.attached.contains_key(&link)) {
            self.send(link, Direction::ToLearner, Message::Packet(packet));
        }
    }

    fn broadcast(&mut self, id: ServerId, to_observers: bool, packet: &QuorumPacket) {
        let Some(leading) = self.leading(id) else { return };
        let links: Vec<LinkId> =
            leading.attached.iter().filter(|(_, to)| to.observer == to_observers).map(|(link, _)| *link).collect();
        for link in links {
            self.send(link, Direction::ToLearner, Message::Packet(packet.clone()));
        }
    }

    /// A client of this server, or a learner's, writes.
    pub fn write(&mut self, id: ServerId) -> Option<Zxid> {
        if !self.server(id).is_established() || self.server(id).paused_until > self.now {
            return None;
        }
        let Some(zxid) = self.leading(id)?.machine.next_zxid() else {
            self.count("epoch used up");
            let mut outputs = Vec::new();
            self.leading(id)?.machine.give_up("the epoch is used up".to_owned(), &mut outputs);
            outputs.into_iter().for_each(|output| self.carry_out_leading(id, output));
            return None;
        };
        self.log_and_send(id, zxid);
        self.leader_input(id, LeaderInput::Proposed { zxid });
        Some(zxid)
    }

    pub fn log_and_send(&mut self, id: ServerId, zxid: Zxid) {
        let entry = self.ghost.propose(id, zxid);
        self.server_mut(id).disk.entries.push(entry.clone());
        self.broadcast(id, false, &QuorumPacket::Proposal { zxid, entry: entry.bytes });
    }

    pub fn attached(&mut self, id: ServerId) -> Vec<(LinkId, Attached)> {
        self.leading(id).map_or_else(Vec::new, |leading| {
            leading.attached.iter().map(|(link, attached)| (*link, *attached)).collect()
        })
    }

    /// To those that wait for it, if nothing is in the way.
    pub fn send_new_leader(&mut self, id: ServerId) {
        let names = self.options.reconfigs > 0.0;
        let config = names.then(|| self.server(id).disk.newest_config().to_string().into());
        let Some(leading) = self.leading(id).filter(|leading| !leading.machine.is_reconfiguring()) else { return };
        let epoch = leading.machine.epoch().expect("it has one");
        let waiting = leading.attached.iter_mut().filter(|(_, attached)| attached.waits);
        let links: Vec<LinkId> = waiting
            .map(|(link, attached)| {
                attached.waits = false;
                *link
            })
            .collect();
        for link in links {
            let packet = QuorumPacket::NewLeader { zxid: first_of(epoch), config: config.clone() };
            self.send(link, Direction::ToLearner, Message::Packet(packet));
        }
    }

    pub fn ask_sync(&mut self, id: ServerId, link: Option<LinkId>) {
        let asked = self.ghost.asked();
        let Some(leading) = self.leading(id) else { return };
        leading.next_token += 1;
        let token = SyncToken(leading.next_token);
        leading.syncs.insert(token, asked);
        self.leader_input(id, LeaderInput::Sync { link, token });
    }

    fn leader_commits(&mut self, id: ServerId, through: Zxid) {
        let disk = &self.server(id).disk;
        let count = disk.count_through(through).expect("only what was proposed is committed");
        let before = self.leading(id).expect("it leads").committed;
        let entries: Vec<Entry> = self.server(id).disk.entries[before..count].to_vec();
        self.leading(id).expect("it leads").committed = count;
        self.check_decided(id, count);
        // Of a configuration learners are told when it is in force, at once.
        for Entry { zxid, bytes } in
            entries.into_iter().filter(|entry| !self.configs.contains_key(&entry.zxid)).collect::<Vec<_>>()
        {
            self.broadcast(id, false, &QuorumPacket::Commit { zxid });
            self.broadcast(id, true, &QuorumPacket::Inform { zxid, entry: bytes });
        }
    }

    /// Brings a learner to this leader's history, and attaches it to what follows.
    fn feed(&mut self, id: ServerId, link: LinkId, peer: Zxid, observer: bool) {
        let (retained, disk_history) = (self.options.retained, self.options.disk_history);
        let Some(leading) = self.leading(id) else { return };
        leading.attached.insert(link, Attached { observer, waits: true });
        let committed = leading.committed;
        let disk = &self.server(id).disk;
        let at_hand = committed.saturating_sub(retained);
        let zxids: Vec<Zxid> = disk.entries[at_hand..committed].iter().map(|entry| entry.zxid).collect();
        let logged = &disk.entries[disk.in_snapshot.min(committed)..committed];
        let behind = logged.partition_point(|entry| entry.zxid <= peer);
        let around = logged[..behind].last().zip(logged.get(behind)).filter(|_| disk_history);
        let on_disk = around.map(|(from, next)| OnDisk { from: from.zxid, next: next.zxid });
        let last = disk.zxid_at(committed);
        let decided = plan(peer, History { zxids: &zxids, last, on_disk });
        let from = |zxid: Zxid| disk.entries.partition_point(|entry| entry.zxid <= zxid);
        let (head, what, begin) = match decided {
            SyncPlan::Diff { head, after } => (QuorumPacket::Diff { zxid: head }, "DIFF", from(after).max(at_hand)),
            SyncPlan::DiffFromDisk { head, after } => {
                (QuorumPacket::Diff { zxid: head }, "DIFF from disk", from(after))
            }
            SyncPlan::Trunc { to } => (QuorumPacket::Trunc { zxid: to }, "TRUNC", from(to)),
            SyncPlan::TruncFromDisk { to } => (QuorumPacket::Trunc { zxid: to }, "TRUNC from disk", from(to)),
            SyncPlan::Snap => (QuorumPacket::Snap { zxid: last }, "SNAP", committed),
        };
        let mut messages = vec![Message::Packet(head)];
        if decided == SyncPlan::Snap {
            messages.push(Message::Stream(disk.entries[..committed].to_vec()));
        }
        for Entry { zxid, bytes } in &disk.entries[begin.min(committed)..committed] {
            messages.push(Message::Packet(QuorumPacket::Proposal { zxid: *zxid, entry: bytes.clone() }));
            messages.push(Message::Packet(QuorumPacket::Commit { zxid: *zxid }));
        }
        let outstanding = if observer { &[] } else { &disk.entries[committed..] };
        for Entry { zxid, bytes } in outstanding {
            messages.push(Message::Packet(QuorumPacket::Proposal { zxid: *zxid, entry: bytes.clone() }));
        }
        self.count(what);
        for message in messages {
            self.send(link, Direction::ToLearner, message);
        }
        self.send_new_leader(id);
    }
}
