//! Fast leader election (`FastLeaderElection`), as a state machine without sockets, clock, threads or chance:
//! `step(now, input, out)`, and `next_deadline()` says when to call with `Tick` at the latest.
//!
//! It owns the votes: what this server proposes while LOOKING, what it answers others once it has a leader. It does not
//! own connections (`connections.rs` keeps the rules of those, the shell the sockets) and not what follows a decision:
//! discovery and synchronization prove it, so safety rests on them and never on the speed of a decision.
//!
//! ```text
//!          LookForLeader               Decided                 Activated
//!   idle ────────────────▶ looking ───────────────▶ settled ─────────────▶ settled, active
//!                             ▲                        │ (Unsupported: advice)     │
//!                             └──────── LookForLeader ─┴───────────────────────────┘
//! ```
//!
//! What may be relied on: the vote of the leader that a quorum of one round agreed on is at least as good as the vote
//! with which each of them entered. Two servers may believe to lead, in different rounds or (before either is active)
//! in the same one; at any moment a voter follows one of them only, so quorums cannot follow both.

mod ballot;
pub mod connections;
mod electorate;
mod search;
mod settled;
mod tally;

#[cfg(test)]
mod java_tests;
#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod stories_tests;
#[cfg(test)]
mod world_tests;

pub use electorate::Electorate;

use crate::message::{Notification, Vote};
use crate::types::{Instant, Role, ServerId, ServerState, Zxid};
use search::{Search, Verdict};
use settled::Settled;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
pub struct ElectionRules {
    /// How long a better vote is waited for, once a quorum agrees and somebody may still have one.
    pub finalize_wait_ms: u64,
    /// First and longest distance between repetitions of our vote.
    pub min_interval_ms: u64,
    pub max_interval_ms: u64,
}

impl Default for ElectionRules {
    /// Java's: finalizeWait, `fastleader.minNotificationInterval`, `fastleader.maxNotificationInterval`.
    fn default() -> ElectionRules {
        ElectionRules { finalize_wait_ms: 200, min_interval_ms: 200, max_interval_ms: 60_000 }
    }
}

#[derive(Clone, Debug)]
pub enum Input {
    /// No leader (any more). `zxid`: last one of the own flushed log, -1 if the database is empty and may not vote;
    /// `epoch`: currentEpoch. While looking already: start over in a new round.
    LookForLeader {
        role: Role,
        zxid: Zxid,
        epoch: i64,
    },
    Notification {
        from: ServerId,
        notification: Notification,
    },
    /// There is a connection to a peer, the first or a new one.
    PeerConnected(ServerId),
    PeerLost(ServerId),
    /// The leader of our decision is active (UPTODATE on a learner) and leads `epoch`.
    Activated {
        epoch: i64,
    },
    /// A role without an election, from a reconfiguration that named the leader.
    Assigned {
        state: ServerState,
        vote: Vote,
    },
    /// The configurations changed. If the members did, `LookForLeader` follows when this server is looking.
    Configured(Electorate),
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Replaces whatever waits to be sent to that server; without a connection one is to be opened.
    Send { to: ServerId, notification: Notification },
    /// `state` is LEADING, FOLLOWING or OBSERVING.
    Decided { vote: Vote, state: ServerState },
    /// Before the leader is active: it, or the quorum for us, has gone elsewhere. Advice to give up and look again.
    Unsupported,
    /// A peer has another configuration. If its version is higher and reconfiguration is on, adopt it.
    ConfigSeen { from: ServerId, config: Arc<str> },
}

enum Phase {
    Idle,
    Looking(Box<Search>),
    Settled(Settled),
}

/// What a server that is no voter asked, and what it was told.
#[derive(PartialEq, Eq)]
struct Answered {
    asked: (ServerState, Vote),
    told: (ServerState, Vote),
}

pub struct Election {
    my_id: ServerId,
    rules: ElectionRules,
    electorate: Electorate,
    /// The logical clock: counts rounds, lives as long as the process.
    clock: i64,
    phase: Phase,
    connected: BTreeSet<ServerId>,
    /// Looking servers that were told of something not final; they hear again when the leader is active.
    askers: BTreeSet<ServerId>,
    answered: BTreeMap<ServerId, (Instant, Answered)>,
    /// Told of in this search.
    config_seen: Option<Arc<str>>,
}

impl Election {
    pub fn new(my_id: ServerId, rules: ElectionRules, electorate: Electorate) -> Election {
        Election {
            my_id,
            rules,
            electorate,
            clock: 0,
            phase: Phase::Idle,
            connected: BTreeSet::new(),
            askers: BTreeSet::new(),
            answered: BTreeMap::new(),
            config_seen: None,
        }
    }

    /// Whether `peer` has a connection now.
    pub fn is_connected(&self, peer: ServerId) -> bool {
        self.connected.contains(&peer)
    }

    pub fn state(&self) -> ServerState {
        match &self.phase {
            Phase::Idle | Phase::Looking(_) => ServerState::Looking,
            Phase::Settled(settled) => settled.state,
        }
    }

    /// The proposal while looking, else the vote that others are told. None before the first search.
    pub fn vote(&self) -> Option<Vote> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Looking(search) => Some(search.proposal),
            Phase::Settled(settled) => Some(settled.vote),
        }
    }

    pub fn round(&self) -> i64 {
        self.clock
    }

    /// `step` with `Tick` is due then.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Looking(search) => Some(search.next_deadline()),
            Phase::Idle | Phase::Settled(_) => None,
        }
    }

    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::LookForLeader { role, zxid, epoch } => self.look(now, role, zxid, epoch, out),
            Input::Notification { from, notification } => self.hear(now, from, notification, out),
            Input::PeerConnected(peer) => self.connect(now, peer, out),
            Input::PeerLost(peer) => self.lose(peer, out),
            Input::Activated { epoch } => self.activate(epoch, out),
            Input::Assigned { state, vote } => {
                self.clock = self.clock.max(vote.round);
                self.phase = Phase::Settled(Settled::assigned(state, vote));
            }
            Input::Configured(electorate) => self.electorate = electorate,
            Input::Tick => {}
        }
        self.speak_and_decide(now, out);
    }

    fn look(&mut self, now: Instant, role: Role, zxid: Zxid, epoch: i64, out: &mut Vec<Output>) {
        let (round, parked) = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Settled(settled) => settled.leave(self.clock),
            Phase::Idle | Phase::Looking(_) => (self.clock.saturating_add(1), BTreeMap::new()),
        };
        self.clock = round;
        self.askers.clear();
        // Whoever was told of it before has begun anew, and may not have taken it up.
        self.config_seen = None;
        let initial = ballot::initial_vote(self.my_id, role, zxid, epoch, &self.electorate);
        self.phase = Phase::Looking(Box::new(Search::new(now, self.my_id, role, initial, round, self.rules)));
        for (from, notification) in parked {
            // A smaller round is not worth an answer: the announcement of this search is one.
            if notification.vote.round >= round {
                self.hear_voter(now, from, &notification, out);
            }
        }
    }

    fn hear(&mut self, now: Instant, from: ServerId, notification: Notification, out: &mut Vec<Output>) {
        if from == self.my_id || matches!(self.phase, Phase::Idle) {
            return;
        }
        self.report_config(from, &notification, out);
        if self.electorate.is_voter(from) {
            self.hear_voter(now, from, &notification, out);
        } else {
            self.hear_stranger(now, from, &notification, out);
        }
    }

    fn report_config(&mut self, from: ServerId, notification: &Notification, out: &mut Vec<Output>) {
        let Some(config) = notification.config.as_ref().filter(|_| matches!(self.phase, Phase::Looking(_))) else {
            return;
        };
        if config != self.electorate.text() && self.config_seen.as_ref() != Some(config) {
            self.config_seen = Some(Arc::clone(config));
            out.push(Output::ConfigSeen { from, config: Arc::clone(config) });
        }
    }

    fn hear_voter(&mut self, now: Instant, from: ServerId, notification: &Notification, out: &mut Vec<Output>) {
        let is_looking = notification.state == ServerState::Looking;
        match &mut self.phase {
            Phase::Idle => {}
            Phase::Looking(search) => {
                let heard = search.hear(now, from, notification, &self.electorate);
                self.clock = search.proposal.round;
                if heard.left_behind {
                    self.askers.insert(from);
                } else {
                    self.askers.remove(&from);
                }
                if let Some(verdict) = heard.verdict {
                    self.settle(verdict, out);
                } else if heard.answer {
                    self.tell(from, out);
                }
            }
            Phase::Settled(settled) => {
                let undermined = settled.undermined_by(self.my_id, from, notification, &self.electorate);
                if is_looking && !settled.active {
                    self.askers.insert(from);
                } else {
                    self.askers.remove(&from);
                }
                if is_looking {
                    self.tell(from, out);
                }
                if undermined {
                    out.push(Output::Unsupported);
                }
            }
        }
    }

    /// An observer, or somebody this configuration does not know: is answered, not listened to. Two servers that are
    /// strangers to each other would answer each other's answers for ever; hence only who is looking is answered, and
    /// the same question with the same answer at most twice per `min_interval_ms` (a question is repeated at that
    /// distance, more or less).
    fn hear_stranger(&mut self, now: Instant, from: ServerId, notification: &Notification, out: &mut Vec<Output>) {
        let Some(vote) = self.vote().filter(|_| notification.state == ServerState::Looking) else {
            return;
        };
        let answered = Answered { asked: (notification.state, notification.vote), told: (self.state(), vote) };
        let next = |at: &Instant| at.plus_millis(self.rules.min_interval_ms / 2);
        if self.answered.get(&from).is_some_and(|(at, last)| *last == answered && now < next(at)) {
            return;
        }
        self.answered.insert(from, (now, answered));
        if !matches!(&self.phase, Phase::Settled(settled) if settled.active) {
            self.askers.insert(from);
        }
        self.tell(from, out);
    }

    fn connect(&mut self, now: Instant, peer: ServerId, out: &mut Vec<Output>) {
        self.connected.insert(peer);
        if !self.electorate.is_voter(peer) || !self.is_voice() {
            return;
        }
        if let Phase::Looking(search) = &mut self.phase {
            search.meet(now, peer);
        }
        self.tell(peer, out);
    }

    /// An observer only asks, so it tells nobody what it has.
    fn is_voice(&self) -> bool {
        match &self.phase {
            Phase::Idle => false,
            Phase::Looking(_) => true,
            Phase::Settled(settled) => settled.state != ServerState::Observing,
        }
    }

    fn lose(&mut self, peer: ServerId, out: &mut Vec<Output>) {
        self.connected.remove(&peer);
        self.answered.remove(&peer);
        self.askers.remove(&peer);
        match &mut self.phase {
            Phase::Idle => {}
            Phase::Looking(search) => {
                search.lose(peer);
                // What was said last may be lost with the connection.
                if self.electorate.is_voter(peer) {
                    self.tell(peer, out);
                }
            }
            Phase::Settled(settled) => settled.lose(peer),
        }
    }

    fn activate(&mut self, epoch: i64, out: &mut Vec<Output>) {
        let Phase::Settled(settled) = &mut self.phase else {
            return;
        };
        settled.activate(epoch);
        for asker in std::mem::take(&mut self.askers) {
            self.tell(asker, out);
        }
    }

    fn speak_and_decide(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Phase::Looking(search) = &mut self.phase else {
            return;
        };
        let speaks = search.speaks(now);
        let verdict = search.decide(now, &self.connected, &self.electorate);
        if speaks {
            for voter in self.electorate.voters() {
                if voter != self.my_id {
                    self.tell(voter, out);
                }
            }
        }
        if let Some(verdict) = verdict {
            self.settle(verdict, out);
        }
    }

    fn settle(&mut self, verdict: Verdict, out: &mut Vec<Output>) {
        let Phase::Looking(search) = &self.phase else {
            return;
        };
        let state = match search.role {
            Role::Participant if verdict.vote.leader == self.my_id => ServerState::Leading,
            Role::Participant => ServerState::Following,
            Role::Observer => ServerState::Observing,
        };
        self.clock = verdict.vote.round;
        out.push(Output::Decided { vote: verdict.vote, state });
        self.phase = Phase::Settled(Settled::decided(state, verdict));
        // They spoke while this decision was due, and got no answer then.
        for asker in self.askers.clone() {
            self.tell(asker, out);
        }
    }

    /// Our word to one server: the proposal, or the vote that we settled on.
    fn tell(&self, to: ServerId, out: &mut Vec<Output>) {
        if let Some(vote) = self.vote() {
            let config = Some(Arc::clone(self.electorate.text()));
            let notification = Notification { state: self.state(), vote, version: Notification::VERSION, config };
            out.push(Output::Send { to, notification });
        }
    }
}
