//! A model of how Java's `FastLeaderElection` behaves, for the simulated ensembles: written apart from our rules, after
//! the protocol sheet, for majorities only. It waits 200 ms after every quorum and after every notification that comes
//! meanwhile, which it forgets; it repeats itself at doubling distances of silence; it answers no vote of its own round.

use super::{Input, Output};
use crate::message::{Notification, Vote};
use crate::types::{Instant, Role, ServerId, ServerState, Zxid};
use std::collections::{BTreeMap, VecDeque};

const NOBODY: i64 = i64::MIN;

#[derive(Clone, Copy)]
struct Entry {
    vote: Vote,
    state: ServerState,
    version: i32,
}

fn equal(a: &Entry, b: &Entry) -> bool {
    if a.state == ServerState::Looking || b.state == ServerState::Looking {
        a.vote == b.vote
    } else if (a.version > 0) ^ (b.version > 0) {
        a.vote.leader == b.vote.leader
    } else {
        a.vote.leader == b.vote.leader && a.vote.peer_epoch == b.vote.peer_epoch
    }
}

fn beats(new: &Vote, held: &Vote) -> bool {
    (new.peer_epoch, new.zxid, new.leader) > (held.peer_epoch, held.zxid, held.leader)
}

pub struct JavaModel {
    my_id: ServerId,
    voters: Vec<ServerId>,
    role: Role,
    clock: i64,
    pub state: ServerState,
    started: bool,
    initial: Vote,
    proposal: Vote,
    pub current: Vote,
    received: BTreeMap<ServerId, Entry>,
    settled: BTreeMap<ServerId, Entry>,
    wait_ms: u64,
    poll_until: Instant,
    finalize_until: Option<Instant>,
    queue: VecDeque<(ServerId, Notification)>,
    pub supporters: Vec<ServerId>,
}

impl JavaModel {
    pub fn new(my_id: ServerId, voters: Vec<ServerId>) -> JavaModel {
        let none = Vote { leader: my_id, zxid: Zxid::ZERO, round: 0, peer_epoch: 0 };
        JavaModel {
            my_id,
            voters,
            role: Role::Participant,
            clock: 0,
            state: ServerState::Looking,
            started: false,
            initial: none,
            proposal: none,
            current: none,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            wait_ms: 200,
            poll_until: Instant::default(),
            finalize_until: None,
            queue: VecDeque::new(),
            supporters: Vec::new(),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let looking = self.started && self.state == ServerState::Looking;
        looking.then(|| self.finalize_until.unwrap_or(self.poll_until))
    }

    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::LookForLeader { role, zxid, epoch } => self.look_for_leader(now, role, zxid, epoch, out),
            Input::Notification { from, notification } => self.receive(from, notification, out),
            Input::Activated { epoch } => self.current.peer_epoch = epoch,
            _ => {}
        }
        if self.started && self.state == ServerState::Looking {
            self.work(now, out);
        }
    }

    fn look_for_leader(&mut self, now: Instant, role: Role, zxid: Zxid, epoch: i64, out: &mut Vec<Output>) {
        (self.started, self.state, self.role) = (true, ServerState::Looking, role);
        self.clock += 1;
        self.received.clear();
        self.settled.clear();
        self.queue.clear();
        let (leader, zxid, peer_epoch) = match role {
            Role::Participant => (self.my_id, zxid, epoch),
            Role::Observer => (ServerId(NOBODY), Zxid(NOBODY), NOBODY),
        };
        self.initial = Vote { leader, zxid, round: 0, peer_epoch };
        self.proposal = Vote { round: self.clock, ..self.initial };
        self.finalize_until = None;
        self.wait_ms = 200;
        self.poll_until = now.plus_millis(200);
        self.send_all(out);
    }

    fn say(&self, vote: Vote) -> Notification {
        Notification { state: self.state, vote, version: 2, config: None }
    }

    fn send_all(&mut self, out: &mut Vec<Output>) {
        for to in self.voters.clone() {
            let notification = self.say(self.proposal);
            if to == self.my_id {
                self.queue.push_back((to, notification));
            } else {
                out.push(Output::Send { to, notification });
            }
        }
    }

    /// The receiver thread.
    fn receive(&mut self, from: ServerId, notification: Notification, out: &mut Vec<Output>) {
        let looking = self.state == ServerState::Looking;
        if !self.voters.contains(&from) {
            let vote = Vote { round: self.clock, ..self.current };
            out.push(Output::Send { to: from, notification: self.say(vote) });
        } else if looking {
            let late = notification.state == ServerState::Looking && notification.vote.round < self.clock;
            self.queue.push_back((from, notification));
            if late {
                out.push(Output::Send { to: from, notification: self.say(self.proposal) });
            }
        } else if notification.state == ServerState::Looking {
            out.push(Output::Send { to: from, notification: self.say(self.current) });
        }
    }

    /// The electing thread.
    fn work(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.state == ServerState::Looking {
            let Some((from, notification)) = self.queue.pop_front() else {
                break;
            };
            if self.finalize_until.is_some() {
                if !beats(&notification.vote, &self.proposal) {
                    self.finalize_until = Some(now.plus_millis(200));
                    continue;
                }
                self.finalize_until = None;
            }
            self.handle(now, from, notification, out);
            self.poll_until = now.plus_millis(self.wait_ms);
        }
        if self.state != ServerState::Looking {
            return;
        }
        if let Some(at) = self.finalize_until {
            if now >= at {
                self.done(self.proposal, out);
            }
        } else if now >= self.poll_until {
            self.send_all(out);
            self.wait_ms = (self.wait_ms * 2).min(60_000);
            self.poll_until = now.plus_millis(self.wait_ms);
            self.work(now, out);
        }
    }

    fn handle(&mut self, now: Instant, from: ServerId, notification: Notification, out: &mut Vec<Output>) {
        let Notification { state, vote, version, .. } = notification;
        if !self.voters.contains(&from) || !self.voters.contains(&vote.leader) {
            return;
        }
        match state {
            ServerState::Looking => self.handle_looking(now, from, vote, out),
            ServerState::Observing => {}
            ServerState::Following | ServerState::Leading => {
                let entry = Entry { vote, state, version };
                if vote.round == self.clock {
                    self.received.insert(from, Entry { version: 0, ..entry });
                    if self.joined(&self.received, &entry) {
                        self.supporters = Self::agreeing(&self.received, &entry);
                        return self.done(vote, out);
                    }
                }
                self.settled.insert(from, entry);
                if self.joined(&self.settled, &entry) {
                    self.supporters = Self::agreeing(&self.settled, &entry);
                    self.done(vote, out);
                }
            }
        }
    }

    fn handle_looking(&mut self, now: Instant, from: ServerId, vote: Vote, out: &mut Vec<Output>) {
        if vote.round > self.clock {
            self.clock = vote.round;
            self.received.clear();
            let better = if beats(&vote, &self.initial) { vote } else { self.initial };
            self.proposal = Vote { round: self.clock, ..better };
            self.send_all(out);
        } else if vote.round < self.clock {
            return;
        } else if beats(&vote, &self.proposal) {
            self.proposal = vote;
            self.send_all(out);
        }
        self.received.insert(from, Entry { vote, state: ServerState::Looking, version: 0 });
        let wanted = Entry { vote: self.proposal, state: ServerState::Looking, version: 0 };
        let agreeing = Self::agreeing(&self.received, &wanted);
        if agreeing.len() > self.voters.len() / 2 {
            self.supporters = agreeing;
            self.finalize_until = Some(now.plus_millis(200));
        }
    }

    fn agreeing(entries: &BTreeMap<ServerId, Entry>, wanted: &Entry) -> Vec<ServerId> {
        entries.iter().filter(|(_, entry)| equal(wanted, entry)).map(|(id, _)| *id).collect()
    }

    fn joined(&self, entries: &BTreeMap<ServerId, Entry>, wanted: &Entry) -> bool {
        let quorum = Self::agreeing(entries, wanted).len() > self.voters.len() / 2;
        let leader = wanted.vote.leader;
        let stands = if leader == self.my_id {
            wanted.vote.round == self.clock
        } else {
            entries.get(&leader).is_some_and(|entry| entry.state == ServerState::Leading)
        };
        quorum && stands
    }

    fn done(&mut self, vote: Vote, out: &mut Vec<Output>) {
        self.clock = vote.round;
        self.state = match self.role {
            Role::Observer => ServerState::Observing,
            Role::Participant if vote.leader == self.my_id => ServerState::Leading,
            Role::Participant => ServerState::Following,
        };
        self.current = vote;
        self.finalize_until = None;
        self.queue.clear();
        out.push(Output::Decided { vote, state: self.state });
    }
}
