//! One search for a leader, from LOOKING to the decision (`FastLeaderElection.lookForLeader`): the votes of the current
//! round, the votes of servers that have a leader already, the proposal, and when to speak again.
//!
//! Where this differs from Java, which loses 200 ms here and there:
//! - It decides at once when a quorum agrees and no voter is connected that could still send a better vote. Else it
//!   waits for such a vote, at most `finalize_wait_ms`, as Java always does.
//! - A voter that was not known to be LOOKING when the proposal was last sent has ignored it; it is told once more when
//!   its own vote arrives. Java leaves that to the next repetition.
//! - Whose connection is lost, or who is looking again, no longer counts as having a leader.

use super::ballot::beats;
use super::tally::{Cast, Tally};
use super::{ElectionRules, Electorate};
use crate::message::{Notification, Vote};
use crate::types::{Instant, PutBack, Role, ServerId, ServerState, Zxid};
use std::collections::BTreeSet;

pub(super) struct Search {
    my_id: ServerId,
    rules: ElectionRules,
    pub role: Role,
    initial: Vote,
    /// Its round is the logical clock.
    pub proposal: Vote,
    /// Votes of this round.
    votes: Tally,
    /// What servers said that have a leader, of any round.
    settled: Tally,
    /// Voters that cannot surprise: they voted in this round, or they are not looking.
    heard: BTreeSet<ServerId>,
    /// Voters whose last word was that they are looking.
    looking: BTreeSet<ServerId>,
    /// Of these: who was so when the proposal was sent to them, and therefore knows it.
    told: BTreeSet<ServerId>,
    /// The proposal changed: all voters are to be told.
    announce: bool,
    wait_ms: u64,
    resend_at: Instant,
    /// Set while a quorum agrees and somebody may still know better.
    decide_at: Option<Instant>,
}

/// The end of a search.
pub(super) struct Verdict {
    pub vote: Vote,
    pub supporters: BTreeSet<ServerId>,
}

/// What to do about a notification besides counting it.
#[derive(Default)]
pub(super) struct Heard {
    /// The sender needs our vote.
    pub answer: bool,
    /// The sender is in a later round, which is not joined because a decision is due.
    pub left_behind: bool,
    pub verdict: Option<Verdict>,
}

impl Search {
    pub fn new(now: Instant, my_id: ServerId, role: Role, initial: Vote, round: i64, rules: ElectionRules) -> Search {
        Search {
            my_id,
            rules,
            role,
            initial,
            proposal: Vote { round, ..initial },
            votes: Tally::default(),
            settled: Tally::default(),
            heard: BTreeSet::new(),
            looking: BTreeSet::new(),
            told: BTreeSet::new(),
            announce: true,
            wait_ms: rules.min_interval_ms,
            resend_at: now.plus_millis(rules.min_interval_ms),
            decide_at: None,
        }
    }

    pub fn next_deadline(&self) -> Instant {
        self.decide_at.unwrap_or(self.resend_at)
    }

    /// `from` is a voter. Every notification puts off the next repetition, as in Java: repeating disturbs servers that
    /// wait for silence before they decide.
    pub fn hear(
        &mut self,
        now: Instant,
        from: ServerId,
        notification: &Notification,
        electorate: &Electorate,
    ) -> Heard {
        let heard = self.count(from, notification, electorate);
        self.resend_at = now.plus_millis(self.wait_ms);
        heard
    }

    fn count(&mut self, from: ServerId, notification: &Notification, electorate: &Electorate) -> Heard {
        match notification.state {
            ServerState::Looking => self.hear_looking(from, notification.vote, electorate),
            state => {
                self.looking.remove(&from);
                self.told.remove(&from);
                self.heard.insert(from);
                if state == ServerState::Observing || !electorate.is_voter(notification.vote.leader) {
                    return Heard::default();
                }
                Heard { verdict: self.hear_settled(from, notification, electorate), ..Heard::default() }
            }
        }
    }

    fn hear_looking(&mut self, from: ServerId, vote: Vote, electorate: &Electorate) -> Heard {
        self.settled.forget(from);
        self.looking.insert(from);
        if vote.round < self.proposal.round {
            self.told.insert(from);
            return Heard { answer: true, ..Heard::default() };
        }
        let may_count = vote.zxid != Zxid::UNKNOWN && self.may_vote() && electorate.is_voter(vote.leader);
        if !may_count {
            // Who cannot vote cannot surprise either.
            self.heard.insert(from);
            return Heard::default();
        }
        if vote.round > self.proposal.round {
            self.votes.forget(from);
            let held = self.decide_at.is_some() && !beats(&vote, &self.proposal, electorate);
            if held && self.agreement(electorate).is_some() {
                return Heard { left_behind: true, ..Heard::default() };
            }
            self.enter_round(vote, electorate);
        } else if beats(&vote, &self.proposal, electorate) {
            self.propose(vote);
        }
        self.votes.record(from, Cast::looking(vote));
        self.heard.insert(from);
        let answer = electorate.is_voter(self.my_id) && !self.announce && self.told.insert(from);
        Heard { answer, ..Heard::default() }
    }

    fn hear_settled(
        &mut self,
        from: ServerId,
        notification: &Notification,
        electorate: &Electorate,
    ) -> Option<Verdict> {
        let Notification { state, vote, version, .. } = *notification;
        let cast = Cast { vote, state, version };
        if vote.round == self.proposal.round {
            self.votes.record(from, Cast { version: 0, ..cast });
            let supporters = self.votes.supporters(&cast);
            if electorate.is_reached_by(&supporters) && self.leader_stands_to_it(&self.votes, &vote) {
                return Some(Verdict { vote, supporters });
            }
        }
        if self.settled.record(from, cast) {
            // An ensemble forms or changes: its other members are worth asking soon. Only what is new counts, or servers
            // that wait for silence would never have it.
            self.wait_ms = self.rules.min_interval_ms;
        }
        let supporters = self.settled.supporters(&cast);
        let joined = electorate.is_led_by(&supporters) && self.leader_stands_to_it(&self.settled, &vote);
        let joined = joined && !(PutBack::JoinerComparesVotes.is_on() && self.initial.zxid > vote.zxid);
        joined.then_some(Verdict { vote, supporters })
    }

    /// Others naming a leader is not enough, it may have gone: it must say so itself. For us it must be of this round; and we
    /// may have been elected before our directory was lost.
    fn leader_stands_to_it(&self, tally: &Tally, vote: &Vote) -> bool {
        if vote.leader == self.my_id {
            return self.may_vote() && vote.round == self.proposal.round;
        }
        tally.says_it_leads(vote.leader)
    }

    /// A server whose own database must not vote takes no part in counting; it can only join others.
    fn may_vote(&self) -> bool {
        self.initial.zxid != Zxid::UNKNOWN
    }

    fn enter_round(&mut self, vote: Vote, electorate: &Electorate) {
        self.votes.clear();
        self.heard.clear();
        let better = if beats(&vote, &self.initial, electorate) { vote } else { self.initial };
        self.propose(Vote { round: vote.round, ..better });
    }

    fn propose(&mut self, vote: Vote) {
        self.proposal = vote;
        self.announce = true;
        self.decide_at = None;
    }

    /// Who agrees with the proposal, if they are a quorum.
    fn agreement(&self, electorate: &Electorate) -> Option<BTreeSet<ServerId>> {
        let mut supporters = self.votes.supporters(&Cast::looking(self.proposal));
        if self.may_vote() && electorate.is_voter(self.my_id) && electorate.is_voter(self.proposal.leader) {
            supporters.insert(self.my_id);
        }
        electorate.is_reached_by(&supporters).then_some(supporters)
    }

    /// True once for every change of the proposal, and when it is time to repeat it.
    pub fn speaks(&mut self, now: Instant) -> bool {
        let repeats = self.decide_at.is_none() && now >= self.resend_at;
        if repeats {
            self.wait_ms = (self.wait_ms * 2).min(self.rules.max_interval_ms);
        }
        if self.announce || repeats {
            self.resend_at = now.plus_millis(self.wait_ms);
            self.told = self.looking.clone();
        }
        std::mem::take(&mut self.announce) || repeats
    }

    /// The decision, if it is due: a quorum agrees, and whoever could know better has spoken or had its time.
    pub fn decide(&mut self, now: Instant, reachable: &BTreeSet<ServerId>, electorate: &Electorate) -> Option<Verdict> {
        let Some(supporters) = self.agreement(electorate) else {
            self.decide_at = None;
            return None;
        };
        let someone_may_know_better = reachable.iter().any(|id| electorate.is_voter(*id) && !self.heard.contains(id));
        let until = *self.decide_at.get_or_insert(now.plus_millis(self.rules.finalize_wait_ms));
        (!someone_may_know_better || now >= until).then_some(Verdict { vote: self.proposal, supporters })
    }

    /// `peer` is told the proposal now, on a new connection. More may have changed than this one connection.
    pub fn meet(&mut self, now: Instant, peer: ServerId) {
        self.wait_ms = self.rules.min_interval_ms;
        self.resend_at = now.plus_millis(self.wait_ms);
        if self.looking.contains(&peer) {
            self.told.insert(peer);
        }
    }

    pub fn lose(&mut self, peer: ServerId) {
        self.looking.remove(&peer);
        self.told.remove(&peer);
        self.settled.forget(peer);
    }
}
