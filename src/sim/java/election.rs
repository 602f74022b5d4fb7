//! `FastLeaderElection`, from the facts sheet §3 and §4: who is voted for, what is said to whom, and when a vote is the verdict.
//! Shares nothing with `election`: that is what it is compared with.

use crate::message::{Notification, Vote};
use crate::types::{Instant, Quorum, ServerId, ServerState, Zxid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// `finalizeWait`
    pub finalize_ms: u64,
    /// `fastleader.minNotificationInterval`, `fastleader.maxNotificationInterval`
    pub least_ms: u64,
    pub most_ms: u64,
}

/// Whom a server proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    pub leader: ServerId,
    pub zxid: Zxid,
    pub epoch: i64,
}

impl Ballot {
    fn of(vote: &Vote) -> Ballot {
        Ballot { leader: vote.leader, zxid: vote.zxid, epoch: vote.peer_epoch }
    }

    /// `totalOrderPredicate`
    fn beats(&self, other: &Ballot, voters: &Quorum) -> bool {
        let key = |ballot: &Ballot| (ballot.epoch, ballot.zxid, ballot.leader);
        voters.weight(self.leader) != 0 && key(self) > key(other)
    }
}

/// A vote as `recvset` and `outofelection` keep it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    vote: Vote,
    state: ServerState,
    version: i32,
}

impl Kept {
    /// `Vote.equals`
    fn agrees(&self, other: &Kept) -> bool {
        if self.state == ServerState::Looking || other.state == ServerState::Looking {
            return self.vote == other.vote;
        }
        let has_version = |kept: &Kept| kept.version > 0;
        self.vote.leader == other.vote.leader
            && (has_version(self) != has_version(other) || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

/// What comes of a notification or a timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The proposal goes to every voter.
    pub tells_all: bool,
    pub connects_all: bool,
    pub elected: Option<Vote>,
}

pub struct Election {
    me: ServerId,
    voters: Quorum,
    waits: Waits,
    /// `logicalclock`
    pub round: i64,
    own: Ballot,
    proposal: Ballot,
    received: BTreeMap<ServerId, Kept>,
    outside: BTreeMap<ServerId, Kept>,
    wait_ms: u64,
    deadline: Instant,
    /// A quorum agrees; `deadline` ends the wait for somebody who knows better.
    is_finalizing: bool,
}

impl Election {
    pub fn new(me: ServerId, voters: Quorum, waits: Waits) -> Election {
        let own = Ballot { leader: me, zxid: Zxid::ZERO, epoch: 0 };
        Election {
            me,
            voters,
            waits,
            round: 0,
            own,
            proposal: own,
            received: BTreeMap::new(),
            outside: BTreeMap::new(),
            wait_ms: 0,
            deadline: Instant::default(),
            is_finalizing: false,
        }
    }

    /// `lookForLeader` begins. The proposal goes to every voter.
    pub fn begin(&mut self, zxid: Zxid, epoch: i64, now: Instant) {
        self.round += 1;
        self.own = Ballot { leader: self.me, zxid, epoch };
        self.proposal = self.own;
        self.received.clear();
        self.outside.clear();
        self.is_finalizing = false;
        self.wait_ms = self.waits.least_ms;
        self.deadline = now.plus_millis(self.wait_ms);
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What a looking server says.
    pub fn proposal(&self) -> Vote {
        let Ballot { leader, zxid, epoch } = self.proposal;
        Vote { leader, zxid, round: self.round, peer_epoch: epoch }
    }

    /// Whoever says that should hear this server's proposal. Java's answers only those of an earlier round: where it was heard
    /// while the other one still led, and both wait for as long, each repetition of the worse one puts off that of the better.
    pub fn is_behind(&self, vote: &Vote) -> bool {
        let is_worse = || self.proposal.beats(&Ballot::of(vote), &self.voters);
        vote.round < self.round || vote.round == self.round && is_worse()
    }

    pub fn is_voter(&self, server: ServerId) -> bool {
        self.voters.is_voter(server)
    }

    /// Nothing came for as long as was waited.
    pub fn timed_out(&mut self, has_delivered: bool, now: Instant) -> Outcome {
        if self.is_finalizing {
            return Outcome { elected: Some(self.proposal()), ..Outcome::default() };
        }
        self.wait_ms = (2 * self.wait_ms).min(self.waits.most_ms);
        self.deadline = now.plus_millis(self.wait_ms);
        Outcome { tells_all: has_delivered, connects_all: !has_delivered, elected: None }
    }

    /// The next notification of the queue.
    pub fn take(&mut self, from: ServerId, notification: &Notification, now: Instant) -> Outcome {
        if self.is_finalizing {
            // Only one that knows better is looked at again; all others are gone.
            if !Ballot::of(&notification.vote).beats(&self.proposal, &self.voters) {
                self.deadline = now.plus_millis(self.waits.finalize_ms);
                return Outcome::default();
            }
            self.is_finalizing = false;
        }
        self.deadline = now.plus_millis(self.wait_ms);
        if !self.is_voter(from) || !self.is_voter(notification.vote.leader) {
            return Outcome::default();
        }
        match notification.state {
            ServerState::Looking => self.take_looking(from, &notification.vote, now),
            ServerState::Observing => Outcome::default(),
            ServerState::Following | ServerState::Leading => self.take_settled(from, notification),
        }
    }

    fn take_looking(&mut self, from: ServerId, vote: &Vote, now: Instant) -> Outcome {
        let (offered, mut tells_all) = (Ballot::of(vote), false);
        if vote.round > self.round {
            self.round = vote.round;
            self.received.clear();
            self.proposal = if offered.beats(&self.own, &self.voters) { offered } else { self.own };
            tells_all = true;
        } else if vote.round < self.round {
            return Outcome::default();
        } else if offered.beats(&self.proposal, &self.voters) {
            self.proposal = offered;
            tells_all = true;
        }
        self.received.insert(from, Kept { vote: *vote, state: ServerState::Looking, version: 0 });
        let proposal = Kept { vote: self.proposal(), state: ServerState::Looking, version: 0 };
        if self.has_quorum(&self.received, &proposal) {
            self.is_finalizing = true;
            self.deadline = now.plus_millis(self.waits.finalize_ms);
        }
        Outcome { tells_all, ..Outcome::default() }
    }

    fn take_settled(&mut self, from: ServerId, notification: &Notification) -> Outcome {
        let Notification { state, vote, version, .. } = *notification;
        let said = Kept { vote, state, version };
        if vote.round == self.round {
            self.received.insert(from, Kept { version: 0, ..said });
            if self.has_quorum(&self.received, &said) && self.leads(&self.received, &vote) {
                return Outcome { elected: Some(vote), ..Outcome::default() };
            }
        }
        self.outside.insert(from, said);
        if self.has_quorum(&self.outside, &said) && self.leads(&self.outside, &vote) {
            self.round = vote.round;
            return Outcome { elected: Some(vote), ..Outcome::default() };
        }
        Outcome::default()
    }

    fn has_quorum(&self, votes: &BTreeMap<ServerId, Kept>, vote: &Kept) -> bool {
        let agreeing = votes.iter().filter(|(_, kept)| vote.agrees(kept)).map(|(server, _)| *server);
        self.voters.is_reached_by(&agreeing.collect::<BTreeSet<_>>())
    }

    /// `checkLeader`
    fn leads(&self, votes: &BTreeMap<ServerId, Kept>, vote: &Vote) -> bool {
        match vote.leader == self.me {
            true => vote.round == self.round,
            false => votes.get(&vote.leader).is_some_and(|kept| kept.state == ServerState::Leading),
        }
    }
}
