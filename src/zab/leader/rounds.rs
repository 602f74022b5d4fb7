//! Syncs: proof that nobody else led when they were asked for, by rounds of pings.

use super::super::leader_io::{LeaderOutput, SyncToken};
use super::super::learners::{Follower, Stage};
use super::{Leader, Phase};
use crate::types::{LinkId, PutBack, Zxid};
use std::collections::BTreeMap;

/// A sync that waits for commits, and for proof that this server still led when it was asked.
#[derive(Clone, Debug)]
pub(super) struct WaitingSync {
    pub(super) link: Option<LinkId>,
    pub(super) token: SyncToken,
    pub(super) after: Zxid,
    /// The round of pings that proves it; `None` until one begins.
    pub(super) round: Option<u64>,
}

impl Leader {
    /// Who can answer has changed.
    pub(super) fn restart_round(&mut self) {
        if self.round.take().is_some() {
            let aborted = Some(self.round_number);
            for sync in self.syncs.iter_mut().filter(|sync| sync.round == aborted) {
                sync.round = None;
            }
        }
    }

    /// A sync is answered when everything proposed before it is committed and a quorum has answered a ping that was
    /// sent after it came: so no other leader was at work by then, and what follows it reads its own writes everywhere.
    pub(super) fn answer_syncs(&mut self, out: &mut Vec<LeaderOutput>) {
        if self.syncs.is_empty() || self.phase != Phase::Broadcast {
            return;
        }
        if self.round.as_ref().is_some_and(|round| self.is_answered(round)) {
            self.round = None;
        }
        if self.round.is_none() && self.syncs.iter().any(|sync| sync.round.is_none()) {
            self.begin_round(out);
        }
        let proven = if self.round.is_none() { self.round_number } else { self.round_number - 1 };
        while let Some(sync) = self.syncs.front()
            && (sync.round.is_some_and(|round| round <= proven) || PutBack::SyncWithoutRound.is_on())
            && sync.after <= self.acks.committed()
        {
            let WaitingSync { link, token, after, .. } = self.syncs.pop_front().expect("just seen");
            out.push(LeaderOutput::Synced { link, token, after });
        }
    }

    fn begin_round(&mut self, out: &mut Vec<LeaderOutput>) {
        self.round_number += 1;
        for sync in self.syncs.iter_mut().filter(|sync| sync.round.is_none()) {
            sync.round = Some(self.round_number);
        }
        self.ping(out);
        let counts = |learner: &Follower| !learner.observer || PutBack::CommitByCountOfLearners.is_on();
        let waits = self.learners.iter().filter(|(_, learner)| learner.stage == Stage::Serving && counts(learner));
        let round: BTreeMap<LinkId, u64> = waits.map(|(link, learner)| (link, learner.pings_sent)).collect();
        self.round = (!self.is_answered(&round)).then_some(round);
    }

    fn is_answered(&self, round: &BTreeMap<LinkId, u64>) -> bool {
        let answered = round.iter().filter_map(|(link, ping)| {
            self.learners.get(*link).filter(|learner| learner.pings_answered >= *ping).map(|learner| learner.server)
        });
        self.configs.is_reached_by(&answered.chain([self.start.me]).collect())
    }
}
