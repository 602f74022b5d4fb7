//! What a leader's state machine asks for, and what its learners' clients ask of it.

use super::driver::Ensemble;
use super::history::History;
use super::learner_feed::{Feed, Progress};
use super::role::{Leading, Role, WaitingSync};
use super::snapshot_feed::SnapshotFeed;
use super::tree_sink::dead_sessions;
use crate::io::ending::stop;
use crate::message::lane::{ConnRef, Reply, Standing};
use crate::message::{ForwardedRequest, QuorumPacket, WriteOp};
use crate::observe::Counter;
use crate::request::{self, Requester};
use crate::storage::{EpochFile, write_epoch};
use crate::types::{ErrorCode, LinkId, Now, OpCode, ServerId, SessionId, Xid, Zxid};
use crate::wire::Reader;
use crate::wire::client::{Request, decode};
use crate::zab::{self, LeaderInput, LeaderOutput, SyncPlan, SyncToken};

impl Leading {
    /// What learners may be sent: before the epoch is established the history that the leader was elected with, as
    /// committed.
    pub fn progress(&self, history: &History) -> Progress {
        if self.zab.is_established() {
            return Progress { committed: self.zab.committed(), proposed: self.zab.last_proposed() };
        }
        let last = history.last();
        Progress { committed: last, proposed: last }
    }

    /// No learner is fed from before `base`.
    pub fn forget_activations_before(&mut self, base: Zxid) {
        if self.activations.first_key_value().is_some_and(|(zxid, _)| *zxid <= base) {
            self.activations = self.activations.split_off(&base.next());
        }
    }
}

impl Ensemble {
    pub(super) fn lead(&mut self, input: LeaderInput, now: Now) {
        let Role::Leading(leading) = &mut self.role else { return };
        let mut outputs = Vec::new();
        leading.zab.step(now.mono, input, &mut outputs);
        for output in outputs {
            self.carry_out_as_leader(output, now);
        }
    }

    fn carry_out_as_leader(&mut self, output: LeaderOutput, now: Now) {
        let Role::Leading(leading) = &mut self.role else { return };
        match output {
            LeaderOutput::Send { link, packet } => {
                if let Some(link) = self.seat().links.get_mut(link) {
                    link.send(&packet);
                }
            }
            LeaderOutput::Close { link, why } => {
                leading.feeds.remove(&link);
                leading.owners.retain(|_, owner| *owner != link);
                let peer = self.seat().links.name_of(link);
                tracing::warn!("closing the connection of {peer}: {why}");
                self.seat().close_link(link);
            }
            LeaderOutput::PersistAcceptedEpoch { epoch } => self.persist_epoch(EpochFile::Accepted, epoch),
            LeaderOutput::PersistCurrentEpoch { epoch } => self.persist_epoch(EpochFile::Current, epoch),
            LeaderOutput::Feed { link, server, last_zxid, observer } => {
                self.begin_feed(link, server, last_zxid, observer)
            }
            LeaderOutput::Established { epoch } => {
                leading.counted = leading.zab.committed();
                self.metrics.forget_proposals();
                self.begin_service(epoch, Standing::Leading, now);
                self.close_dead_sessions(now);
            }
            // Looked at when batches are released.
            LeaderOutput::Commit { through } => {
                let before = std::mem::replace(&mut leading.counted, through);
                // One epoch's zxids have no holes.
                self.metrics.count_many(Counter::CommitCount, (through.0 - before.0).unsigned_abs());
            }
            LeaderOutput::Seen { config } => {
                // The same members: it may be lost.
                if let Err(why) = self.see_config(config, false, now.mono) {
                    tracing::error!("{why}: the version of the configuration cannot be kept");
                }
            }
            LeaderOutput::Activate { config, designated } => self.activate_as_leader(config, designated, now),
            LeaderOutput::Forwarded { link, request } => self.forwarded(link, request, now),
            LeaderOutput::Touched { sessions, .. } => {
                for (session, _) in sessions {
                    self.sessions.heard(session, now.mono);
                }
            }
            LeaderOutput::Revalidate { link, session, .. } => self.revalidate(link, session, now),
            LeaderOutput::Synced { link: Some(link), .. } => {
                if let Some(feed) = leading.feeds.get_mut(&link) {
                    feed.sync_proven();
                }
            }
            LeaderOutput::Synced { link: None, token, .. } => {
                if let Some(WaitingSync { from, xid, path }) = leading.syncs.remove(&token) {
                    self.batch.reply(from.worker, Reply::Synced { conn: from.conn, xid, path });
                }
            }
            LeaderOutput::GiveUp { why } => self.end_role(&why),
        }
    }

    /// A leader steps down for a voter that has promised a later epoch, so that it can follow again; but not for one whose
    /// data are of a later epoch. It would be elected, and all others would throw away what they have. No epoch behind a
    /// live leader's can have become current: such data are another ensemble's, or this leader is none any more and will
    /// find out by itself.
    pub(super) fn knows_too_much(&self, leading: &Leading, packet: &QuorumPacket) -> Option<String> {
        let QuorumPacket::LearnerInfo { info: Some(info), .. } = packet else { return None };
        let (epoch, seat) = (leading.zab.epoch()?, self.seat.as_ref()?);
        let theirs = seat.elections.own_epoch_of(info.server).filter(|theirs| *theirs > epoch)?;
        Some(format!(
            "server {} has data of epoch {theirs:x}, this is epoch {epoch:x}: it has the data directory of another ensemble. \
             Stop it and empty that directory, or everybody will have its data after the next election",
            info.server.0
        ))
    }

    pub(super) fn persist_epoch(&mut self, file: EpochFile, epoch: i64) {
        if let Err(error) = write_epoch(&*self.dirs.disk, &self.dirs.snapshots, file, epoch) {
            stop(&format!("epoch {epoch:x} cannot be made durable: {error}. Nothing was promised to anybody in it"));
        }
        match file {
            EpochFile::Accepted => self.seat().epochs.accepted = epoch,
            EpochFile::Current => self.seat().epochs.current = epoch,
        }
    }

    /// Brings a learner to this server's history, by the table of `zab/sync_plan.rs`.
    fn begin_feed(&mut self, link: LinkId, server: ServerId, last_zxid: Zxid, observer: bool) {
        let Role::Leading(leading) = &self.role else { return };
        let Some(seat) = &self.seat else { return };
        let progress = leading.progress(&seat.history);
        let (Some(epoch), is_established) = (leading.zab.epoch(), leading.zab.is_established()) else { return };
        // What is committed, not what is published: a learner is never told to cut off what a quorum has.
        let zxids = seat.history.zxids_through(progress.committed);
        let committed = zxids.last().copied().unwrap_or(seat.history.base());
        let history = zab::History { zxids: &zxids, last: committed, disk_from: None };
        let plan = match seat.options.force_snapshot_sync {
            true => SyncPlan::Snap,
            false => zab::plan(last_zxid, history),
        };
        tracing::info!("server {}: its log ends at {last_zxid}, ours at {committed}: {plan:x?}", server.0);
        self.metrics.count(if plan == SyncPlan::Snap { Counter::SnapCount } else { Counter::DiffCount });
        let snapshot = (plan == SyncPlan::Snap).then(|| {
            if !is_established {
                // All of the head is history now; nobody is served from it before the epoch is established.
                let version = self.tree.seal();
                self.tree.publish_through(version);
            }
            let seat = self.seat.as_ref().expect("just seen");
            SnapshotFeed::begin(self.tree.hold(), &seat.feed_writer, seat.wake.clone())
        });
        let seat = self.seat();
        let Some(state) = seat.links.get_mut(link) else { return };
        let feed = Feed::begin(server, observer, plan, snapshot, progress, zab::first_of(epoch), &mut state.out);
        if let Role::Leading(leading) = &mut self.role {
            leading.feeds.insert(link, feed);
        }
    }

    /// Ephemerals whose session is not in the list of sessions go the way of all ephemerals, by a transaction. (Java's leader
    /// deletes them in its own tree alone, and differs from its followers from then on.)
    fn close_dead_sessions(&mut self, now: Now) {
        for session in dead_sessions(self.tree.view()) {
            tracing::info!("closing session {session}, which has ephemerals and is not alive");
            self.close_session(session, Xid(0), now);
        }
    }

    // What learners' clients ask for.

    fn forwarded(&mut self, link: LinkId, request: ForwardedRequest, now: Now) {
        let (session, xid) = (request.session, Xid(request.cxid));
        let op = OpCode::from_code(request.op);
        let list_bytes = if op == Some(OpCode::CloseSession) { self.ephemerals_bytes(session) } else { 0 };
        if !self.has_room(list_bytes, now.mono) {
            return self.step_down_for_disk(now);
        }
        match op {
            Some(OpCode::Sync) => {
                let token = self.next_token();
                if let Role::Leading(leading) = &mut self.role
                    && let Some(feed) = leading.feeds.get_mut(&link)
                {
                    feed.sync_asked(leading.zab.last_proposed());
                }
                self.lead(LeaderInput::Sync { link: Some(link), token }, now);
            }
            Some(OpCode::CreateSession) => {
                let timeout_ms = Reader::new(&request.body).int("session timeout").unwrap_or(0);
                self.own(session, link);
                self.execute(session, xid, now, |tree, header, rules, _| {
                    request::create_session(tree, header, timeout_ms, rules)
                });
                self.sessions.add(session, timeout_ms, None, now.mono);
            }
            Some(OpCode::CloseSession) => {
                self.close_session(session, xid, now);
            }
            _ => {
                // Whatever it is, it has to become a transaction: the learner waits for one.
                let op = match decode(request.op, &request.body) {
                    Ok(Request::Write(op)) => op,
                    _ => WriteOp::BadMulti,
                };
                if !self.has_room(op.entry_bytes_max(), now.mono) {
                    return self.step_down_for_disk(now);
                }
                let refusal = self.refusal(session, link);
                let by = Requester { ids: &request.ids, refusal };
                if matches!(op, WriteOp::Reconfig { .. }) {
                    self.reconfigure(session, xid, &op, by, now);
                    return;
                }
                self.execute(session, xid, now, |tree, header, rules, effects| {
                    request::execute(tree, header, op, by, rules, effects)
                });
            }
        }
    }

    /// Why a session may not write through this learner (`SessionTracker.checkSession`).
    fn refusal(&mut self, session: SessionId, link: LinkId) -> Option<ErrorCode> {
        let Some(live) = self.sessions.get(session) else { return Some(ErrorCode::SessionExpired) };
        if live.owner.is_some() {
            return Some(ErrorCode::SessionMoved);
        }
        let Role::Leading(leading) = &mut self.role else { return Some(ErrorCode::SessionExpired) };
        let owner = *leading.owners.entry(session).or_insert(link);
        (owner != link).then_some(ErrorCode::SessionMoved)
    }

    /// The session's client is connected to that learner now.
    fn own(&mut self, session: SessionId, link: LinkId) {
        if let Role::Leading(leading) = &mut self.role {
            leading.owners.insert(session, link);
        }
        if let Some(before) = self.sessions.get(session).and_then(|live| live.owner) {
            self.sessions.disconnected(session, before);
            self.batch.close(before);
        }
    }

    /// The session's client is connected to this server now.
    pub(super) fn own_locally(&mut self, session: SessionId) {
        if let Role::Leading(leading) = &mut self.role {
            leading.owners.remove(&session);
        }
    }

    fn revalidate(&mut self, link: LinkId, session: SessionId, now: Now) {
        let valid = self.sessions.heard(session, now.mono);
        if valid {
            self.own(session, link);
        }
        if let Some(link) = self.seat().links.get_mut(link) {
            link.send(&QuorumPacket::Revalidated { session, valid });
        }
    }

    fn next_token(&mut self) -> SyncToken {
        let Role::Leading(leading) = &mut self.role else { return SyncToken(0) };
        leading.next_token += 1;
        SyncToken(leading.next_token)
    }

    /// A client of this server wants to be told when all that was committed before is applied.
    pub(super) fn sync_as_leader(&mut self, from: ConnRef, xid: Xid, path: Option<String>, now: Now) {
        let token = self.next_token();
        if let Role::Leading(leading) = &mut self.role {
            leading.syncs.insert(token, WaitingSync { from, xid, path });
        }
        self.lead(LeaderInput::Sync { link: None, token }, now);
    }

    /// A leader that cannot log must not keep others from it.
    pub(super) fn step_down_for_disk(&mut self, now: Now) {
        self.step_down("there is no room for its transaction log", now);
    }

    fn step_down(&mut self, why: &str, now: Now) {
        let Role::Leading(leading) = &mut self.role else { return };
        let mut outputs = Vec::new();
        leading.zab.give_up(why.to_owned(), &mut outputs);
        for output in outputs {
            self.carry_out_as_leader(output, now);
        }
    }

    /// The zxid for the next transaction. `None`: the epoch is used up, and so is this role.
    pub(super) fn next_zxid(&mut self, now: Now) -> Option<Zxid> {
        let leading = match &mut self.role {
            Role::Alone => return Some(self.tree.view().last_zxid().next()),
            Role::Leading(leading) => leading,
            Role::Ending | Role::Looking | Role::Learning(_) => return None,
        };
        let next = leading.zab.next_zxid();
        if next.is_none() {
            self.step_down("the counter of this epoch is used up: the next epoch begins", now);
        }
        next
    }
}
