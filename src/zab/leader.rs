//! The leader: `Leader.java` and `LearnerHandler.java` without their threads.
//!
//! ```text
//! Discovery        learners introduce themselves; a quorum of voters fixes the epoch
//! Promising        ... acknowledges it; whoever knows more than this server ends the attempt with that learner
//! Synchronization  every learner is fed; a quorum with the whole history establishes the epoch
//! Broadcast        proposals, acknowledgements, commits; pings
//! ```
//! The leader counts itself in each quorum: by its epoch files and its flushed log, like any other voter. A quorum is one of
//! every configuration that counts (`reconfig.rs`).

mod activation;
mod rounds;
mod time;

use rounds::WaitingSync;

use super::acks::Acks;
use super::leader_io::{LeaderInput, LeaderOutput, name_of};
use super::learners::{Follower, Learners, Stage};
use super::reconfig::Configs;
use super::{Limits, epoch_of, first_of};
use crate::message::{LearnerCounts, LearnerInfo, QuorumPacket};
use crate::types::{Instant, LinkId, PutBack, QuorumConfig, ServerId, Zxid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The last counter of an epoch is never used: the epoch ends before it (`Leader.propose`).
const COUNTER_MAX: u32 = u32::MAX - 1;

/// The id of observers that are nowhere configured: many may have it at once.
const ANONYMOUS: ServerId = ServerId(i64::MAX);

/// Epochs travel in 31 bits; a server that speaks of one beyond cannot be followed by another.
const EPOCH_MAX: i64 = i32::MAX as i64 - 1;

/// What a server has when it is elected.
#[derive(Clone, Debug)]
pub struct LeaderStart {
    pub me: ServerId,
    /// The committed configuration.
    pub config: Arc<QuorumConfig>,
    /// The newest one heard of, if it is newer.
    pub last_seen: Option<Arc<QuorumConfig>>,
    /// `reconfigEnabled`: configurations get versions, and what was only heard of is committed with the epoch.
    pub reconfig_enabled: bool,
    pub limits: Limits,
    /// From the epoch files.
    pub accepted_epoch: i64,
    pub current_epoch: i64,
    /// End of the flushed log: no flush is in flight when a role begins.
    pub last_zxid: Zxid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Discovery,
    Promising,
    Synchronization,
    Broadcast,
    Over,
}

#[derive(Debug)]
pub struct Leader {
    start: LeaderStart,
    phase: Phase,
    configs: Configs,
    /// The committed configuration names another leader: nothing further is committed here, and learners leave.
    is_deposed: bool,
    /// Fixed by the quorum of `Discovery`.
    epoch: i64,
    learners: Learners,
    /// As servers told in elections.
    data_epochs: BTreeMap<ServerId, i64>,
    /// Servers that have promised to follow nobody of a lower epoch, to this leader and nobody else. They stay so when they
    /// connect again, and say then that they have accepted the epoch before.
    promised: BTreeSet<ServerId>,
    acks: Acks,
    last_proposed: Zxid,
    /// Everything through this zxid in the leader's own log is on disk.
    flushed: Zxid,
    syncs: VecDeque<WaitingSync>,
    /// Pings that the current round waits for, by learner; the number of the round.
    round: Option<BTreeMap<LinkId, u64>>,
    round_number: u64,
    phase_ends: Instant,
    next_ping: Instant,
    next_check: Instant,
    /// `COUNTER_MAX`; tests have shorter epochs.
    counter_max: u32,
}

impl Leader {
    pub fn new(start: LeaderStart, now: Instant) -> Leader {
        let acks = Acks::new(start.last_zxid);
        let configs = Configs::new(start.config.clone(), start.last_seen.clone());
        let (tick_ms, init_ms) = (start.limits.tick_ms, start.limits.init_ms());
        Leader {
            phase: Phase::Discovery,
            configs,
            is_deposed: false,
            epoch: 0,
            learners: Learners::default(),
            data_epochs: BTreeMap::new(),
            promised: BTreeSet::new(),
            acks,
            last_proposed: start.last_zxid,
            flushed: start.last_zxid,
            syncs: VecDeque::new(),
            round: None,
            round_number: 0,
            phase_ends: now.plus_millis(init_ms),
            next_ping: now.plus_millis(tick_ms / 2),
            // At once: where this server alone is a quorum, nobody else would ever set things going.
            next_check: now,
            counter_max: COUNTER_MAX,
            start,
        }
    }

    /// Epochs come to their end sooner.
    #[cfg(test)]
    pub(super) fn end_epoch_at(&mut self, counter_max: u32) {
        self.counter_max = counter_max;
    }

    /// As if so much of the epoch had been used.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, counter: u32) {
        self.last_proposed = Zxid(self.last_proposed.0 | i64::from(counter));
    }

    /// The epoch of this leader, once a quorum has fixed it.
    pub fn epoch(&self) -> Option<i64> {
        (self.phase != Phase::Discovery).then_some(self.epoch)
    }

    pub fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    pub fn committed(&self) -> Zxid {
        self.acks.committed()
    }

    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// The zxid for the next transaction; `None` when the epoch is used up: the role has to end.
    pub fn next_zxid(&self) -> Option<Zxid> {
        let last = self.last_proposed.max(first_of(self.epoch));
        (last.counter() < self.counter_max).then(|| last.next())
    }

    /// Voters, this server among them, that serve or could serve now.
    pub fn synced_voters(&self) -> usize {
        self.with_me(Stage::Synced).iter().filter(|id| self.configs.quorum().is_voter(**id)).count()
    }

    /// It is being brought to the history, and has not said that it has it.
    pub fn is_synchronizing(&self, link: LinkId) -> bool {
        self.learners.get(link).is_some_and(|learner| learner.stage == Stage::Syncing)
    }

    /// For operators.
    pub fn count_learners(&self) -> LearnerCounts {
        let pending_syncs = self.syncs.len() as u64;
        LearnerCounts { pending_syncs, ..self.learners.count(self.configs.quorum()) }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over => None,
            Phase::Broadcast => Some(self.next_ping.min(self.next_check)),
            Phase::Synchronization => Some(self.phase_ends.min(self.next_check).min(self.next_ping)),
            Phase::Discovery | Phase::Promising => Some(self.phase_ends.min(self.next_check)),
        }
    }

    pub fn step(&mut self, now: Instant, input: LeaderInput, out: &mut Vec<LeaderOutput>) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            LeaderInput::Packet { link, packet } => self.packet(now, link, packet, out),
            LeaderInput::Closed { link } => self.closed(link),
            LeaderInput::DataEpoch { server, epoch } => {
                self.data_epochs.insert(server, epoch);
            }
            LeaderInput::Flushed { through } => {
                self.flushed = through.max(self.flushed);
                self.own_ack(now, out);
            }
            LeaderInput::Proposed { zxid } => self.proposed(now, zxid, out),
            LeaderInput::ProposedConfig { config } => {
                assert!(self.configs.next().is_none(), "one reconfiguration at a time");
                let zxid = Zxid(config.version);
                self.configs.propose(config);
                self.proposed(now, zxid, out);
            }
            LeaderInput::Sync { link, token } => {
                self.syncs.push_back(WaitingSync { link, token, after: self.last_proposed, round: None });
            }
            LeaderInput::Tick => self.tick(now, out),
        }
        // With one voter the quorum of every phase is there from the beginning.
        self.advance(now, out);
        self.answer_syncs(out);
    }

    fn proposed(&mut self, now: Instant, zxid: Zxid, out: &mut Vec<LeaderOutput>) {
        assert_eq!(Some(zxid), self.next_zxid(), "proposals have no holes");
        assert_eq!(self.phase, Phase::Broadcast, "nothing is proposed before the epoch is established");
        self.last_proposed = zxid;
        if PutBack::AckBeforeFlush.is_on() {
            self.own_ack(now, out);
        }
    }

    // What learners say.

    fn packet(&mut self, now: Instant, link: LinkId, packet: QuorumPacket, out: &mut Vec<LeaderOutput>) {
        let Some(learner) = self.learners.get_mut(link) else {
            return self.first_packet(now, link, packet, out);
        };
        learner.heard_at = now;
        let (stage, observer) = (learner.stage, learner.observer);
        match packet {
            QuorumPacket::AckEpoch { last_zxid, current_epoch } if stage == Stage::Informed => {
                self.promised(now, link, last_zxid, current_epoch, out);
            }
            QuorumPacket::Ack { zxid } if stage == Stage::Syncing => {
                // Anything else says nothing about the history (Java's leader passes over it too), but of a proposal it is
                // said only once: it counts when the history does.
                if zxid != first_of(self.epoch) {
                    learner.acked_early = zxid.max(learner.acked_early);
                } else {
                    learner.stage = Stage::Synced;
                    if self.phase == Phase::Broadcast {
                        self.serve(now, link, out);
                    }
                }
            }
            QuorumPacket::Ack { zxid } if stage >= Stage::Synced => self.acked(now, link, zxid, out),
            QuorumPacket::Ping { touched, .. } => {
                learner.pings_answered = (learner.pings_answered + 1).min(learner.pings_sent);
                if !touched.is_empty() {
                    out.push(LeaderOutput::Touched { link, sessions: touched });
                }
            }
            QuorumPacket::Request(request) if stage == Stage::Serving => {
                out.push(LeaderOutput::Forwarded { link, request });
            }
            QuorumPacket::Revalidate { session, resumes, .. } if stage == Stage::Serving => {
                out.push(LeaderOutput::Revalidate { link, session, resumes });
            }
            other => {
                let who = if observer { "an observer" } else { "a follower" };
                out.push(self.refuse(link, format!("{who} in stage {stage:?} sent {}", name_of(&other))));
            }
        }
    }

    fn first_packet(&mut self, now: Instant, link: LinkId, packet: QuorumPacket, out: &mut Vec<LeaderOutput>) {
        let QuorumPacket::LearnerInfo { observer, accepted_epoch, info } = packet else {
            let why = format!("the first packet is {}, not FOLLOWERINFO or OBSERVERINFO", name_of(&packet));
            return out.push(LeaderOutput::Close { link, why });
        };
        // Anonymous observers are told apart by their connection; ids below zero are nobody's.
        let anonymous = LearnerInfo {
            server: ServerId(-1 - link.0 as i64),
            protocol_version: 0x10000,
            config_version: 0,
            drops_log: false,
        };
        let info = info.filter(|info| info.server != ANONYMOUS).unwrap_or(anonymous);
        if info.protocol_version < LearnerInfo::PROTOCOL_VERSION {
            let why = format!("server {} speaks protocol {:#x}, from before 3.4", info.server.0, info.protocol_version);
            return out.push(LeaderOutput::Close { link, why });
        }
        if info.server == self.start.me {
            let why = format!("it has this server's own id {}: two servers have the same myid", info.server.0);
            return out.push(LeaderOutput::Close { link, why });
        }
        if info.config_version > self.configs.committed().version {
            let why = format!("server {} knows a newer configuration than the leader", info.server.0);
            return out.push(LeaderOutput::Close { link, why });
        }
        if accepted_epoch >= EPOCH_MAX {
            let why = format!("server {} has accepted epoch {accepted_epoch:x}, the last there is", info.server.0);
            return out.push(LeaderOutput::Close { link, why });
        }
        if let Some(why) = self.is_of_another_ensemble(info.server) {
            return out.push(LeaderOutput::Close { link, why });
        }
        if self.phase != Phase::Discovery
            && accepted_epoch > self.epoch
            && !observer
            && self.configs.is_voter(info.server)
        {
            // It can never follow this epoch, and would try for ever. The next one is above what it has accepted.
            out.push(LeaderOutput::PersistAcceptedEpoch { epoch: accepted_epoch });
            let why =
                format!("server {} has accepted epoch {accepted_epoch:x}, this is {:x}", info.server.0, self.epoch);
            return self.give_up(why, out);
        }
        if let Some(older) = self.learners.other_of(info.server, link) {
            let why = format!(
                "server {} has connected again: it was started anew, or two servers have the same myid",
                info.server.0
            );
            out.push(self.refuse(older, why));
        }
        let follower = Follower {
            server: info.server,
            observer,
            drops_log: info.drops_log,
            stage: Stage::Introduced,
            accepted_epoch,
            last_zxid: Zxid::ZERO,
            serving_since: now,
            heard_at: now,
            pings_sent: 0,
            pings_answered: 0,
            acked: Zxid::ZERO,
            acked_early: Zxid::ZERO,
        };
        self.learners.insert(link, follower);
        if self.phase != Phase::Discovery {
            self.inform(now, link, out);
        }
    }

    /// A leader steps down for a voter that has promised a later epoch, so that it can follow again; but not for one whose
    /// data are of a later epoch. It would be elected, and all others would throw away what they have. No epoch behind a
    /// live leader's can have become current: such data are another ensemble's, or this leader is none any more and will
    /// find out by itself.
    fn is_of_another_ensemble(&self, server: ServerId) -> Option<String> {
        let theirs = self.data_epochs.get(&server).filter(|theirs| **theirs > self.epoch)?;
        (self.phase != Phase::Discovery).then(|| {
            format!(
                "server {} has data of epoch {theirs:x}, this is epoch {:x}: it has the data directory of another ensemble. \
                 Stop it and empty that directory, or everybody will have its data after the next election",
                server.0, self.epoch
            )
        })
    }

    fn inform(&mut self, now: Instant, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let learner = self.learners.get_mut(link).expect("it introduced itself");
        learner.stage = Stage::Informed;
        // It had to wait for others until now.
        learner.heard_at = now;
        let packet = QuorumPacket::LeaderInfo { epoch: self.epoch, protocol_version: LearnerInfo::PROTOCOL_VERSION };
        out.push(LeaderOutput::Send { link, packet });
    }

    /// ACKEPOCH: who knows more than this server must not be led by it.
    fn promised(
        &mut self,
        now: Instant,
        link: LinkId,
        last_zxid: Zxid,
        current_epoch: Option<i32>,
        out: &mut Vec<LeaderOutput>,
    ) {
        let mine = (self.start.current_epoch, self.start.last_zxid);
        let learner = self.learners.get_mut(link).expect("it just spoke");
        let theirs = current_epoch.map(|epoch| (i64::from(epoch), last_zxid));
        let checks = self.phase == Phase::Promising && !PutBack::NoPromiseCheck.is_on();
        if checks && theirs.is_some_and(|theirs| theirs > mine) {
            let why = format!(
                "server {} has epoch {:x} and zxid {last_zxid}, more than this leader's {:x} and {}: it must not be led",
                learner.server.0,
                theirs.map_or(0, |theirs| theirs.0),
                mine.0,
                mine.1
            );
            let close = self.refuse(link, why);
            return out.push(close);
        }
        learner.last_zxid = last_zxid;
        learner.stage = Stage::Promised;
        // An epoch that it had promised before, perhaps to somebody else, is no vote for this leader; nor is the word of one
        // that does not know what it had: all that was committed may have been known to it alone of those that are there.
        if theirs.is_some() && last_zxid != Zxid::UNKNOWN {
            self.promised.insert(learner.server);
        }
        if self.phase != Phase::Promising {
            self.feed(now, link, out);
        }
    }

    fn feed(&mut self, now: Instant, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let learner = self.learners.get_mut(link).expect("it promised");
        learner.stage = Stage::Syncing;
        learner.heard_at = now;
        let Follower { server, last_zxid, observer, drops_log, .. } = *learner;
        self.acks.forget(server);
        out.push(LeaderOutput::Feed { link, server, last_zxid, observer, drops_log });
    }

    fn acked(&mut self, now: Instant, link: LinkId, zxid: Zxid, out: &mut Vec<LeaderOutput>) {
        // The second acknowledgement of NEWLEADER, behind UPTODATE.
        if first_of_epoch(zxid) {
            return;
        }
        if zxid > self.last_proposed {
            out.push(self.refuse(link, format!("acknowledges {zxid}, which was never proposed")));
            return;
        }
        let learner = self.learners.get_mut(link).expect("it just spoke");
        learner.acked = zxid.max(learner.acked);
        let (server, observer) = (learner.server, learner.observer);
        if !observer {
            self.acks.add(server, zxid);
            if zxid > self.acks.committed() {
                self.commit(now, out);
            }
        }
    }

    fn own_ack(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        let through = if PutBack::AckBeforeFlush.is_on() { self.last_proposed } else { self.flushed };
        if self.phase == Phase::Broadcast && through > self.start.last_zxid {
            self.acks.add(self.start.me, through);
            self.commit(now, out);
        }
    }

    fn serve(&mut self, now: Instant, link: LinkId, out: &mut Vec<LeaderOutput>) {
        let committed = self.acks.committed();
        let learner = self.learners.get_mut(link).expect("it acknowledged NEWLEADER");
        learner.stage = Stage::Serving;
        learner.serving_since = now;
        learner.heard_at = now;
        // What was committed without it needs no acknowledgement of its.
        learner.acked = committed;
        let (early, observer) = (learner.acked_early, learner.observer);
        out.push(LeaderOutput::Send { link, packet: QuorumPacket::UpToDate });
        if !observer {
            self.restart_round();
        }
        if early > committed {
            self.acked(now, link, early, out);
        }
    }

    fn closed(&mut self, link: LinkId) {
        if let Some(gone) = self.learners.remove(link)
            && !self.configs.is_voter(gone.server)
        {
            self.acks.forget(gone.server);
        }
        // Its answer may have been counted; without it the round may wait for ever.
        if self.round.as_ref().is_some_and(|round| round.contains_key(&link)) {
            self.restart_round();
        }
    }

    fn refuse(&mut self, link: LinkId, why: String) -> LeaderOutput {
        self.closed(link);
        LeaderOutput::Close { link, why }
    }

    // From phase to phase.

    /// This server and the voters that have come at least as far as `stage`.
    fn with_me(&self, stage: Stage) -> BTreeSet<ServerId> {
        let there = self.learners.iter().filter(|(_, learner)| learner.stage >= stage && self.counts(learner));
        there.map(|(_, learner)| learner.server).chain([self.start.me]).collect()
    }

    /// Observers count where the next configuration makes voters of them: without them it may never be decided on. But not for
    /// proposals, which they do not acknowledge.
    fn counts(&self, learner: &Follower) -> bool {
        PutBack::CommitByCountOfLearners.is_on()
            || !learner.observer
            || self.phase != Phase::Broadcast && self.configs.votes_next_only(learner.server)
    }

    fn advance(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        if self.phase == Phase::Discovery && self.configs.is_reached_by(&self.with_me(Stage::Introduced)) {
            self.fix_epoch(now, out);
        }
        if self.phase == Phase::Promising && self.configs.is_reached_by(&self.promises()) {
            self.phase = Phase::Synchronization;
            self.phase_ends = now.plus_millis(self.start.limits.init_ms());
            out.push(LeaderOutput::PersistCurrentEpoch { epoch: self.epoch });
            for link in self.learners.in_stage(Stage::Promised) {
                self.feed(now, link, out);
            }
        }
        if self.phase == Phase::Promising && self.epoch_is_spent() {
            let why = format!("epoch {:x} was promised to somebody before: another one is needed", self.epoch);
            return self.give_up(why, out);
        }
        if self.phase == Phase::Synchronization && self.configs.is_reached_by(&self.with_me(Stage::Synced)) {
            self.establish(now, out);
        }
        self.leave_if_deposed(now, out);
    }

    fn fix_epoch(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        let voters =
            self.learners.iter().filter(|(_, learner)| self.counts(learner) && self.configs.is_voter(learner.server));
        let highest = voters.map(|(_, learner)| learner.accepted_epoch).fold(self.start.accepted_epoch, i64::max);
        self.epoch = if PutBack::ReuseEpoch.is_on() { epoch_of(self.start.last_zxid) } else { highest } + 1;
        self.phase = Phase::Promising;
        self.phase_ends = now.plus_millis(self.start.limits.init_ms());
        out.push(LeaderOutput::PersistAcceptedEpoch { epoch: self.epoch });
        self.give_first_version(out);
        for link in self.learners.in_stage(Stage::Introduced) {
            self.inform(now, link, out);
        }
    }

    /// Who has promised this leader to follow nobody of a lower epoch, this server among them.
    fn promises(&self) -> BTreeSet<ServerId> {
        self.with_me(Stage::Promised)
            .into_iter()
            .filter(|id| *id == self.start.me || self.promised.contains(id))
            .collect()
    }

    /// Those that are there are a quorum, but not without some whose promise of this epoch does not count for it: waiting
    /// for more helps only if more come.
    fn epoch_is_spent(&self) -> bool {
        let mut can_promise = self.promises();
        let informed =
            self.learners.iter().filter(|(_, learner)| learner.stage == Stage::Informed && self.counts(learner));
        can_promise.extend(informed.map(|(_, learner)| learner.server));
        // With others that come, those who know nothing of themselves may be led.
        let mut there = self.with_me(Stage::Promised);
        let unknown = self.learners.iter().filter(|(_, learner)| learner.last_zxid == Zxid::UNKNOWN);
        for (_, learner) in unknown {
            there.remove(&learner.server);
        }
        !self.configs.is_reached_by(&can_promise) && self.configs.is_reached_by(&there)
    }

    fn establish(&mut self, now: Instant, out: &mut Vec<LeaderOutput>) {
        self.phase = Phase::Broadcast;
        self.last_proposed = first_of(self.epoch);
        self.acks = Acks::new(first_of(self.epoch));
        self.next_ping = now.plus_millis(self.start.limits.tick_ms / 2);
        self.next_check = now.plus_millis(self.start.limits.tick_ms);
        self.commit_last_seen(now, out);
        out.push(LeaderOutput::Established { epoch: self.epoch });
        for link in self.learners.in_stage(Stage::Synced) {
            self.serve(now, link, out);
        }
    }

    /// Ends the role.
    pub fn give_up(&mut self, why: String, out: &mut Vec<LeaderOutput>) {
        self.phase = Phase::Over;
        out.push(LeaderOutput::GiveUp { why });
    }
}

fn first_of_epoch(zxid: Zxid) -> bool {
    zxid.counter() == 0
}
