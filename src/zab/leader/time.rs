//! What time brings: the end of a phase, pings, learners that are silent or stuck, a quorum that is gone.

use super::super::leader_io::LeaderOutput;
use super::super::learners::Stage;
use super::{Leader, Phase};
use crate::message::QuorumPacket;
use crate::types::{Instant, LinkId};

impl Leader {
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        if self.phase != Phase::Broadcast && now >= self.phase_ends {
            let waited = self.start.limits.init_ms();
            let why = format!("no quorum within {waited} ms (initLimit) in phase {:?}", self.phase);
            return self.give_up(why, out);
        }
        if matches!(self.phase, Phase::Synchronization | Phase::Broadcast) && now >= self.next_ping {
            self.next_ping = now.plus_millis((self.start.limits.tick_ms / 2).max(1));
            if self.phase == Phase::Broadcast {
                self.learners.sample(now, self.last_proposed);
                self.ping(out);
            } else {
                self.encourage(out);
            }
        }
        if now >= self.next_check {
            self.next_check = now.plus_millis(self.start.limits.tick_ms);
            self.close_the_silent(now, out);
            let voters = self.with_me(Stage::Synced);
            if self.phase == Phase::Broadcast && !self.configs.is_reached_by(&voters) {
                let why = format!("only {} of the voters are left, too few for a quorum", voters.len());
                self.give_up(why, out);
            }
        }
    }

    pub(super) fn ping(&mut self, out: &mut Vec<LeaderOutput>) {
        for (link, learner) in self.learners.iter_mut().filter(|(_, learner)| learner.stage == Stage::Serving) {
            learner.pings_sent += 1;
            let packet = QuorumPacket::Ping { zxid: self.last_proposed, touched: Vec::new() };
            out.push(LeaderOutput::Send { link, packet });
        }
    }

    /// Who waits for UPTODATE hears that the leader is alive; no answer is expected (a Java learner gives up after syncLimit).
    fn encourage(&self, out: &mut Vec<LeaderOutput>) {
        for link in self.learners.in_stage(Stage::Synced) {
            let packet = QuorumPacket::Ping { zxid: self.last_proposed, touched: Vec::new() };
            out.push(LeaderOutput::Send { link, packet });
        }
    }

    fn close_the_silent(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        let limits = self.start.limits;
        let before = Instant { micros: now.micros.saturating_sub(limits.sync_ms() * 1000) };
        let overdue = self.learners.proposed_by(before);
        let late: Vec<(LinkId, String)> = self
            .learners
            .iter()
            .filter_map(|(link, learner)| {
                let silent_ms = now.micros_since(learner.heard_at) / 1000;
                let server = learner.server.0;
                match learner.stage {
                    Stage::Serving if silent_ms > limits.sync_ms() => {
                        Some((link, format!("server {server} was not heard of for {silent_ms} ms (syncLimit)")))
                    }
                    Stage::Serving if !learner.observer && learner.serving_since <= before => {
                        let owed = overdue.filter(|zxid| *zxid > learner.acked);
                        owed.map(|zxid| {
                            (link, format!("server {server} has not acknowledged {zxid} in time (syncLimit)"))
                        })
                    }
                    Stage::Informed | Stage::Syncing if silent_ms > limits.init_ms() => {
                        Some((link, format!("server {server} was not heard of for {silent_ms} ms (initLimit)")))
                    }
                    _ => None,
                }
            })
            .collect();
        for (link, why) in late {
            let close = self.refuse(link, why);
            out.push(close);
        }
    }
}
