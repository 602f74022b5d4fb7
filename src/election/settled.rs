//! What a server with a leader answers, and whether the decision holds: until the leader is active, others may have gone
//! elsewhere meanwhile. Java finds that out by waiting for initLimit.

use super::Electorate;
use super::search::Verdict;
use crate::message::{Notification, Vote};
use crate::types::{ServerId, ServerState};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Settled {
    pub state: ServerState,
    /// Its round is what servers are answered that look for a leader.
    pub vote: Vote,
    pub active: bool,
    /// Voters that agreed with the decision, as far as known.
    pub supporters: BTreeSet<ServerId>,
    /// Looking voters whose last word came since the decision, with that word. Kept until the leader is active.
    parked: BTreeMap<ServerId, Notification>,
    /// The decision was called into question, once; and whether the round it was made in goes on.
    doubted: Option<RoundGoesOn>,
}

#[derive(Clone, Copy)]
struct RoundGoesOn(bool);

impl Settled {
    pub fn decided(state: ServerState, verdict: Verdict) -> Settled {
        Settled {
            state,
            vote: verdict.vote,
            active: false,
            supporters: verdict.supporters,
            parked: BTreeMap::new(),
            doubted: None,
        }
    }

    /// A role that was not elected: named by a reconfiguration.
    pub fn assigned(state: ServerState, vote: Vote) -> Settled {
        let verdict = Verdict { vote, supporters: BTreeSet::new() };
        Settled { active: true, ..Settled::decided(state, verdict) }
    }

    /// Whether this notification is the one that shows that the decision cannot hold. `from` is a voter.
    pub fn undermined_by(
        &mut self,
        my_id: ServerId,
        from: ServerId,
        notification: &Notification,
        electorate: &Electorate,
    ) -> bool {
        if self.active {
            return false;
        }
        match notification.state {
            ServerState::Looking => self.parked.insert(from, notification.clone()),
            _ => self.parked.remove(&from),
        };
        let lost = match self.state {
            ServerState::Leading => self.lost_quorum(my_id, from, notification, electorate),
            _ => from == self.vote.leader && !self.keeps_to_it(from, notification),
        };
        if !lost || self.doubted.is_some() {
            return false;
        }
        let same_round = notification.vote.round == self.vote.round;
        self.doubted = Some(RoundGoesOn(notification.state == ServerState::Looking && same_round));
        true
    }

    fn lost_quorum(&mut self, my_id: ServerId, from: ServerId, said: &Notification, electorate: &Electorate) -> bool {
        let counted = self.supporters.contains(&from);
        if self.votes_for(my_id, said) {
            self.supporters.insert(from);
        } else {
            self.supporters.remove(&from);
        }
        self.supporters.insert(my_id);
        counted && !electorate.is_reached_by(&self.supporters)
    }

    fn votes_for(&self, leader: ServerId, said: &Notification) -> bool {
        let same_round = said.state != ServerState::Looking || said.vote.round == self.vote.round;
        said.vote.leader == leader && same_round
    }

    fn keeps_to_it(&self, leader: ServerId, said: &Notification) -> bool {
        let may_lead = matches!(said.state, ServerState::Looking | ServerState::Leading);
        may_lead && self.votes_for(leader, said)
    }

    pub fn activate(&mut self, epoch: i64) {
        self.vote.peer_epoch = epoch;
        self.active = true;
        self.parked.clear();
    }

    pub fn lose(&mut self, peer: ServerId) {
        self.parked.remove(&peer);
    }

    /// The round of the next search, and what looking servers said meanwhile. A round that goes on without us is joined
    /// again: a new one would have to be heard of by servers that are about to decide and no longer listen.
    pub fn leave(self, clock: i64) -> (i64, BTreeMap<ServerId, Notification>) {
        let goes_on = matches!(self.doubted, Some(RoundGoesOn(true)));
        (if goes_on { clock } else { clock.saturating_add(1) }, self.parked)
    }
}
