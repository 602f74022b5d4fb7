//! `Leader`, from the facts sheet §6, §7, §9 and §13: an epoch that a quorum promises, a quorum that has the history, then
//! proposals until there is no quorum any more. The way to the epoch is in `establishing`, what learners' clients ask for in `requests`.

use super::handler::{Handler, Step};
use super::outbox::Failure;
use super::peer::Ground;
use super::sessions::Sessions;
use crate::message::QuorumPacket;
use crate::request::Executed;
use crate::runtime::link_io::PeerPort;
use crate::tree::VersionNumber;
use crate::types::{Instant, LinkId, Quorum, ServerId, Zxid};
use crate::wire::Decoded;
use crate::wire::txn;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// `getEpochToPropose`
    Epoch,
    /// `waitForEpochAck`
    EpochAck,
    /// `waitForNewLeaderAck`
    NewLeaderAck,
    Active,
}

pub(super) struct Outstanding {
    pub entry: Arc<[u8]>,
    acks: BTreeSet<ServerId>,
    version: VersionNumber,
}

pub struct Leader {
    pub(super) me: ServerId,
    pub(super) voters: Quorum,
    pub(super) stage: Stage,
    pub(super) gives_up_at: Instant,
    pub(super) handlers: BTreeMap<LinkId, Handler>,
    pub(super) epoch: i64,
    /// `leaderStateSummary`
    pub(super) summary: (i64, Zxid),
    pub(super) connecting: BTreeSet<ServerId>,
    pub(super) electing: BTreeSet<ServerId>,
    pub(super) acked: BTreeSet<ServerId>,
    pub(super) outstanding: BTreeMap<Zxid, Outstanding>,
    pub(super) last_proposed: Zxid,
    pub(super) last_committed: Zxid,
    /// SYNC is due when that is committed.
    pub(super) pending_syncs: BTreeMap<Zxid, Vec<LinkId>>,
    pub(super) sessions: Sessions,
    pub(super) tick: u64,
    pub(super) skips_tick: bool,
    pub(super) next_half_tick: Instant,
}

impl Leader {
    pub fn begin(ground: &mut Ground<'_>) -> Result<Leader, Failure> {
        let (me, now) = (ground.rules.me, ground.now.mono);
        // All that was logged is history now.
        ground.database.publish();
        ground.out.listen(PeerPort::Quorum);
        let mut leader = Leader {
            me,
            voters: Quorum::of(&ground.rules.config.membership),
            stage: Stage::Epoch,
            gives_up_at: now.plus_millis(ground.rules.limits.init_ms()),
            handlers: BTreeMap::new(),
            epoch: -1,
            summary: (ground.disk.current_epoch(), ground.database.last_processed),
            connecting: BTreeSet::new(),
            electing: BTreeSet::new(),
            acked: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            last_proposed: Zxid::ZERO,
            last_committed: Zxid::ZERO,
            pending_syncs: BTreeMap::new(),
            sessions: Sessions::new(ground.rules.limits.tick_ms, std::iter::empty(), now),
            tick: 0,
            skips_tick: true,
            next_half_tick: now,
        };
        leader.offer_epoch(me, ground.disk.accepted_epoch(), ground)?;
        Ok(leader)
    }

    /// The epoch that it is established in.
    pub fn leads(&self) -> Option<i64> {
        (self.stage == Stage::Active).then_some(self.epoch)
    }

    pub fn deadline(&self) -> Instant {
        let of_handlers = self.handlers.values().map(|handler| match handler.snapshot_at {
            Some(at) => at.min(handler.gives_up_at),
            None => handler.gives_up_at,
        });
        let own = match self.stage {
            Stage::Active => {
                self.sessions.next_deadline().map_or(self.next_half_tick, |at| at.min(self.next_half_tick))
            }
            _ => self.gives_up_at,
        };
        of_handlers.chain([own]).min().unwrap_or(own)
    }

    // Connections.

    pub fn accepted(&mut self, link: LinkId, ground: &Ground<'_>) {
        let handler = Handler::new(link, self.tick, &ground.rules.limits, ground.now.mono);
        self.handlers.insert(link, handler);
    }

    pub fn closed(&mut self, link: LinkId) {
        self.handlers.remove(&link);
    }

    pub(super) fn drop_handler(&mut self, link: LinkId, ground: &mut Ground<'_>) {
        if self.handlers.remove(&link).is_some() {
            ground.out.close(link);
        }
    }

    pub fn received(&mut self, link: LinkId, bytes: &[u8], ground: &mut Ground<'_>) -> Result<(), Failure> {
        if let Some(handler) = self.handlers.get_mut(&link) {
            handler.input.extend_from_slice(bytes);
        }
        self.read(link, ground)
    }

    pub(super) fn read(&mut self, link: LinkId, ground: &mut Ground<'_>) -> Result<(), Failure> {
        while let Some(handler) = self.handlers.get_mut(&link).filter(|handler| handler.reads()) {
            match handler.decoder.next(&handler.input) {
                Ok(Decoded::Whole { value, consumed }) => {
                    handler.input.drain(..consumed);
                    handler.heard(&ground.rules.limits, ground.now.mono);
                    self.packet(link, value, ground)?;
                }
                Ok(Decoded::NeedMore { .. }) => return Ok(()),
                Err(error) => return Failure::misled(format!("an unreadable packet of a learner: {error}")),
            }
        }
        Ok(())
    }

    /// Those at `from` go on to `to`, and read what has come meanwhile.
    pub(super) fn all_go_on(&mut self, from: Step, to: Step, ground: &Ground<'_>) -> Vec<LinkId> {
        let mut moved = Vec::new();
        for handler in self.handlers.values_mut().filter(|handler| handler.step == from) {
            handler.comes_to(to, &ground.rules.limits, ground.now.mono);
            moved.push(handler.link);
        }
        moved
    }

    fn packet(&mut self, link: LinkId, packet: QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let (limits, now) = (ground.rules.limits, ground.now.mono);
        let Some(handler) = self.handlers.get_mut(&link) else { return Ok(()) };
        match (handler.step, packet) {
            (Step::AwaitsInfo, QuorumPacket::LearnerInfo { observer, accepted_epoch, info: Some(info) }) => {
                if info.config_version > ground.rules.config.version {
                    self.drop_handler(link, ground);
                    return Ok(());
                }
                (handler.server, handler.observer) = (info.server, observer);
                handler.comes_to(Step::WaitsForEpoch, &limits, now);
                self.offer_epoch(info.server, accepted_epoch, ground)?;
                if self.stage != Stage::Epoch {
                    self.propose_epoch(link, ground);
                }
                Ok(())
            }
            (Step::AwaitsAckEpoch, QuorumPacket::AckEpoch { last_zxid, current_epoch }) => {
                handler.promised = (current_epoch, last_zxid);
                handler.comes_to(Step::WaitsForElection, &limits, now);
                self.promised(link, ground)
            }
            (Step::AwaitsAck, QuorumPacket::Ack { zxid }) => {
                handler.comes_to(Step::WaitsForQuorum, &limits, now);
                let server = handler.server;
                self.has_history(server, zxid, ground)?;
                self.serve_waiting(ground)
            }
            (Step::Serves, packet) => {
                handler.synced_until_tick = self.tick + limits.sync_ticks;
                self.serve(link, packet, ground)
            }
            (step, packet) => Failure::misled(format!("{packet:?} of a learner at {step:?}")),
        }
    }

    fn serve(&mut self, link: LinkId, packet: QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let Some(handler) = self.handlers.get_mut(&link) else { return Ok(()) };
        match packet {
            QuorumPacket::Ack { zxid } => {
                handler.acknowledged(zxid);
                let (server, observer) = (handler.server, handler.observer);
                if observer { Ok(()) } else { self.acknowledge(server, zxid, ground) }
            }
            QuorumPacket::Ping { touched, .. } => {
                for (session, timeout_ms) in touched {
                    self.sessions.touch(session, timeout_ms, ground.now.mono);
                }
                Ok(())
            }
            QuorumPacket::Revalidate { session, timeout_ms, .. } => {
                let valid = self.sessions.touch(session, timeout_ms, ground.now.mono);
                if valid {
                    self.sessions.own(session, link);
                }
                handler.queue(&QuorumPacket::Revalidated { session, valid }, ground.now.mono, ground.out);
                Ok(())
            }
            QuorumPacket::Request(request) => self.requested(link, request, ground),
            // As Java: said in the log, and passed over.
            _ => Ok(()),
        }
    }

    // Broadcast.

    pub(super) fn next_zxid(&self) -> Zxid {
        self.last_proposed.next()
    }

    /// `propose`: to learners, and to the log.
    pub(super) fn propose(&mut self, executed: &Executed, ground: &mut Ground<'_>) {
        let (header, body) = (&executed.txn.header, &executed.txn.body);
        let mut bytes = Vec::new();
        txn::encode(header, body, executed.txn.digest.as_ref(), &mut bytes);
        let (zxid, entry): (Zxid, Arc<[u8]>) = (header.zxid, bytes.into());
        let version = ground.database.tree.seal();
        self.last_proposed = zxid;
        let packet = QuorumPacket::Proposal { zxid, entry: entry.clone() };
        for handler in self.handlers.values_mut().filter(|handler| handler.is_forwarded && !handler.observer) {
            handler.queue(&packet, ground.now.mono, ground.out);
        }
        ground.log((zxid, entry.clone()));
        self.outstanding.insert(zxid, Outstanding { entry, acks: BTreeSet::new(), version });
    }

    /// `processAck`
    fn acknowledge(&mut self, server: ServerId, zxid: Zxid, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let Some(proposal) = self.outstanding.get_mut(&zxid) else { return Ok(()) };
        if self.voters.is_voter(server) {
            proposal.acks.insert(server);
        }
        let is_next = !self.outstanding.contains_key(&Zxid(zxid.0 - 1));
        let has_quorum = self.outstanding.get(&zxid).is_some_and(|proposal| self.voters.is_reached_by(&proposal.acks));
        if !is_next || !has_quorum {
            return Ok(());
        }
        let proposal = self.outstanding.remove(&zxid).expect("just seen");
        self.last_committed = zxid;
        let now = ground.now.mono;
        let inform = QuorumPacket::Inform { zxid, entry: proposal.entry.clone() };
        for handler in self.handlers.values_mut().filter(|handler| handler.is_forwarded) {
            let packet = if handler.observer { &inform } else { &QuorumPacket::Commit { zxid } };
            handler.queue(packet, now, ground.out);
        }
        ground.database.tree.publish_through(proposal.version);
        ground.database.last_processed = zxid;
        if !ground.database.keep((zxid, proposal.entry)) {
            return Failure::misled(format!("{zxid} does not follow what was committed before"));
        }
        for link in self.pending_syncs.remove(&zxid).unwrap_or_default() {
            self.send_sync(link, ground);
        }
        Ok(())
    }

    /// These are on its own disk now.
    pub fn flushed(&mut self, zxids: &[Zxid], ground: &mut Ground<'_>) -> Result<(), Failure> {
        zxids.iter().try_for_each(|zxid| self.acknowledge(self.me, *zxid, ground))
    }

    /// `processSync`
    pub(super) fn sync(&mut self, link: LinkId, ground: &mut Ground<'_>) {
        match self.outstanding.is_empty() {
            true => self.send_sync(link, ground),
            false => self.pending_syncs.entry(self.last_proposed).or_default().push(link),
        }
    }

    fn send_sync(&mut self, link: LinkId, ground: &mut Ground<'_>) {
        if let Some(handler) = self.handlers.get_mut(&link) {
            handler.queue(&QuorumPacket::Sync, ground.now.mono, ground.out);
        }
    }

    // Time.

    pub fn time_passes(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let (now, limits) = (ground.now.mono, ground.rules.limits);
        let due = self.handlers.values().filter(|handler| handler.snapshot_at.is_some_and(|at| at <= now));
        let due: Vec<LinkId> = due.map(|handler| handler.link).collect();
        due.into_iter().for_each(|link| self.write_snapshot(link, ground));
        let silent = self.handlers.values().filter(|handler| handler.gives_up_at <= now);
        let silent: Vec<LinkId> = silent.map(|handler| handler.link).collect();
        silent.into_iter().for_each(|link| self.drop_handler(link, ground));
        if self.stage != Stage::Active {
            return match self.gives_up_at <= now {
                true => Failure::gives_up(format!("no quorum for {:?}", self.stage)),
                false => Ok(()),
            };
        }
        self.expire(ground);
        if self.next_half_tick <= now {
            self.next_half_tick = now.plus_millis((limits.tick_ms / 2).max(1));
            self.half_tick(ground)?;
        }
        Ok(())
    }

    /// The loop of `lead`.
    fn half_tick(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let (now, limits) = (ground.now.mono, ground.rules.limits);
        if !self.skips_tick {
            self.tick += 1;
            let synced = self.handlers.values().filter(|handler| self.tick <= handler.synced_until_tick);
            let synced = synced.map(|handler| handler.server).chain([self.me]);
            let synced = synced.filter(|server| self.voters.is_voter(*server));
            if !self.voters.is_reached_by(&synced.collect()) {
                return Failure::gives_up("not enough followers are synchronized");
            }
        }
        self.skips_tick = !self.skips_tick;
        let late = self.handlers.values().filter(|handler| handler.sends && handler.is_too_late(&limits, now));
        let late: Vec<LinkId> = late.map(|handler| handler.link).collect();
        late.into_iter().for_each(|link| self.drop_handler(link, ground));
        let ping = QuorumPacket::Ping { zxid: self.last_proposed, touched: Vec::new() };
        for handler in self.handlers.values_mut().filter(|handler| handler.sends) {
            handler.queue(&ping, now, ground.out);
        }
        Ok(())
    }

    /// `shutdown`: what was proposed is in the log, and counts for the next vote.
    pub fn end(self, ground: &mut Ground<'_>) {
        ground.out.stop_listening(PeerPort::Quorum);
        self.handlers.keys().for_each(|link| ground.out.close(*link));
        ground.disk.flush();
        // The tree has them already; the list has not.
        for (zxid, outstanding) in self.outstanding {
            ground.database.last_processed = zxid;
            ground.database.keep((zxid, outstanding.entry));
        }
    }
}
