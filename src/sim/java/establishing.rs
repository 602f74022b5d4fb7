//! How a modelled Java leader comes to lead: the epoch that a quorum promises (`getEpochToPropose`, `waitForEpochAck`), the
//! history that a quorum acknowledges (`waitForNewLeaderAck`), and what each learner is sent for it (`syncFollower`).

use super::database::stream_of;
use super::disk::Entry;
use super::handler::Step;
use super::leader::{Leader, Stage};
use super::outbox::Failure;
use super::peer::Ground;
use super::sessions::Sessions;
use super::sync_choice::{Has, Head, choose};
use crate::message::{LearnerInfo, QuorumPacket};
use crate::types::{Instant, LinkId, ServerId, Zxid};
use crate::wire::quorum::{Side, encode};

/// A snapshot is written so much later than its zxid was said, at most.
const SNAPSHOT_DELAY_US_MAX: u64 = 20_000;

impl Leader {
    /// `getEpochToPropose`
    pub(super) fn offer_epoch(
        &mut self,
        server: ServerId,
        accepted: i64,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        if self.stage != Stage::Epoch {
            return Ok(());
        }
        if accepted >= self.epoch {
            self.epoch = accepted + 1;
        }
        if self.voters.is_voter(server) {
            self.connecting.insert(server);
        }
        if !self.connecting.contains(&self.me) || !self.voters.is_reached_by(&self.connecting) {
            return Ok(());
        }
        ground.disk.accept_epoch(self.epoch);
        self.last_proposed = self.first();
        self.comes_to(Stage::EpochAck, ground);
        let waiting = self.handlers.values().filter(|handler| handler.step == Step::WaitsForEpoch);
        let waiting: Vec<LinkId> = waiting.map(|handler| handler.link).collect();
        waiting.into_iter().for_each(|link| self.propose_epoch(link, ground));
        self.electing.insert(self.me);
        self.elect(ground)
    }

    fn comes_to(&mut self, stage: Stage, ground: &Ground<'_>) {
        self.stage = stage;
        self.gives_up_at = ground.now.mono.plus_millis(ground.rules.limits.init_ms());
    }

    fn first(&self) -> Zxid {
        Zxid(self.epoch << 32)
    }

    pub(super) fn propose_epoch(&mut self, link: LinkId, ground: &mut Ground<'_>) {
        let Some(handler) = self.handlers.get_mut(&link).filter(|handler| handler.step == Step::WaitsForEpoch) else {
            return;
        };
        handler.comes_to(Step::AwaitsAckEpoch, &ground.rules.limits, ground.now.mono);
        let packet = QuorumPacket::LeaderInfo { epoch: self.epoch, protocol_version: LearnerInfo::PROTOCOL_VERSION };
        ground.out.packet(link, &packet, Side::Leader);
    }

    /// `waitForEpochAck`
    pub(super) fn promised(&mut self, link: LinkId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let Some(handler) = self.handlers.get(&link) else { return Ok(()) };
        let (server, (current_epoch, last_zxid)) = (handler.server, handler.promised);
        if self.stage != Stage::EpochAck {
            return self.synchronize(link, ground);
        }
        if let Some(current_epoch) = current_epoch {
            if (i64::from(current_epoch), last_zxid) > self.summary {
                // It knows more than this leader.
                self.drop_handler(link, ground);
                return Ok(());
            }
            if last_zxid != Zxid::UNKNOWN && self.voters.is_voter(server) {
                self.electing.insert(server);
            }
        }
        self.elect(ground)
    }

    fn elect(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        if !self.electing.contains(&self.me) || !self.voters.is_reached_by(&self.electing) {
            return Ok(());
        }
        ground.disk.enter_epoch(self.epoch);
        self.comes_to(Stage::NewLeaderAck, ground);
        let waiting = self.handlers.values().filter(|handler| handler.step == Step::WaitsForElection);
        let waiting: Vec<LinkId> = waiting.map(|handler| handler.link).collect();
        for link in waiting {
            self.synchronize(link, ground)?;
        }
        self.has_history(self.me, self.first(), ground)
    }

    /// `syncFollower`, and what `LearnerHandler.run` does behind it.
    fn synchronize(&mut self, link: LinkId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let (now, first) = (ground.now.mono, self.first());
        let Some(handler) = self.handlers.get_mut(&link) else { return Ok(()) };
        let list: Vec<Entry> = ground.database.list().iter().cloned().collect();
        let log = ground.disk.log_since_snapshot();
        let choice = choose(
            handler.promised.1,
            Has {
                list: &list,
                last: ground.database.last_processed,
                log: Some(&log).filter(|_| ground.rules.syncs_from_log).map(Vec::as_slice),
                forces_snapshot: ground.rules.forces_snapshot,
            },
        );
        let mut head = Vec::new();
        match choice.head {
            Head::Diff(zxid) => handler.queue(&QuorumPacket::Diff { zxid }, now, ground.out),
            Head::Trunc(zxid) => handler.queue(&QuorumPacket::Trunc { zxid }, now, ground.out),
            Head::Snap => {
                let snap = QuorumPacket::Snap { zxid: choice.through };
                encode(&snap, Side::Leader, &mut head);
                let micros = ground.random.below(SNAPSHOT_DELAY_US_MAX);
                handler.snapshot_at = Some(Instant { micros: now.micros + micros });
            }
        }
        ground.out.send(link, head);
        for (zxid, entry) in choice.sent {
            handler.queue(&QuorumPacket::Proposal { zxid, entry }, now, ground.out);
            handler.queue(&QuorumPacket::Commit { zxid }, now, ground.out);
        }
        // `startForwarding`
        if !handler.observer {
            for (zxid, outstanding) in self.outstanding.range(choice.through.next()..) {
                let packet = QuorumPacket::Proposal { zxid: *zxid, entry: outstanding.entry.clone() };
                handler.queue(&packet, now, ground.out);
            }
        }
        handler.is_forwarded = true;
        handler.comes_to(Step::AwaitsAck, &ground.rules.limits, now);
        if handler.snapshot_at.is_none() {
            self.tell_new_leader(link, first, ground);
        }
        self.read(link, ground)
    }

    /// The history is queued: NEWLEADER, and packets begin to leave.
    fn tell_new_leader(&mut self, link: LinkId, first: Zxid, ground: &mut Ground<'_>) {
        let Some(handler) = self.handlers.get_mut(&link) else { return };
        let config = Some(ground.rules.config.to_string().into());
        handler.queue(&QuorumPacket::NewLeader { zxid: first, config }, ground.now.mono, ground.out);
        handler.starts_sending(ground.out);
    }

    /// The tree as it is by now: it may hold what is going to be sent again.
    pub(super) fn write_snapshot(&mut self, link: LinkId, ground: &mut Ground<'_>) {
        let stream = stream_of(ground.database.tree.hold().view());
        if let Some(handler) = self.handlers.get_mut(&link) {
            handler.snapshot_at = None;
            ground.out.send(link, stream.to_vec());
        }
        self.tell_new_leader(link, self.first(), ground);
    }

    /// `waitForNewLeaderAck`
    pub(super) fn has_history(&mut self, server: ServerId, zxid: Zxid, ground: &mut Ground<'_>) -> Result<(), Failure> {
        if self.stage != Stage::NewLeaderAck || zxid != self.first() {
            return Ok(());
        }
        if self.voters.is_voter(server) {
            self.acked.insert(server);
        }
        if !self.voters.is_reached_by(&self.acked) {
            return Ok(());
        }
        // `startZkServer`
        let (now, tick_ms) = (ground.now.mono, ground.rules.limits.tick_ms);
        self.stage = Stage::Active;
        self.last_committed = self.first();
        self.sessions = Sessions::new(tick_ms, ground.database.tree.view().sessions(), now);
        self.next_half_tick = now.plus_millis((tick_ms / 2).max(1));
        ground.database.last_processed = self.first();
        Ok(())
    }

    /// UPTODATE, for those that have the history, once a quorum does.
    pub(super) fn serve_waiting(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        if self.stage != Stage::Active {
            return Ok(());
        }
        for link in self.all_go_on(Step::WaitsForQuorum, Step::Serves, ground) {
            if let Some(handler) = self.handlers.get_mut(&link) {
                handler.queue(&QuorumPacket::UpToDate, ground.now.mono, ground.out);
            }
            self.read(link, ground)?;
        }
        Ok(())
    }
}
