//! What a leader's state machine asks for, and what its learners' clients ask of it.

use super::driver::{Disk, Ensemble};
use super::feeding::Newcomer;
use super::role::{Leading, Owner, Role, WaitingSync};
use super::tree_sink::dead_sessions;
use crate::io::ending::stop;
use crate::message::lane::{ConnRef, Reply, Standing};
use crate::message::{ForwardedRequest, QuorumPacket, WriteOp};
use crate::observe::Counter;
use crate::request::{self, Requester};
use crate::storage::{EpochFile, write_epoch};
use crate::types::{ErrorCode, LinkId, Now, OpCode, PutBack, SessionId, Xid, Zxid};
use crate::wire::Reader;
use crate::wire::client::{Request, decode};
use crate::zab::{LeaderInput, LeaderOutput, SyncToken};

/// A server whose disk had no room for an epoch takes part again after this, ms: it may be in the way of others each time.
const EPOCH_RETRY_MS: u64 = 1000;

impl Leading {
    /// Its client came to a learner last.
    pub fn is_elsewhere(&self, session: SessionId) -> bool {
        matches!(self.owners.get(&session), Some(Owner::Learner(_)))
    }
}

impl Ensemble {
    pub(super) fn lead(&mut self, input: LeaderInput, now: Now) {
        let Role::Leading(leading) = &mut self.role else { return };
        let mut outputs = std::mem::take(&mut leading.outputs);
        leading.zab.step(now.mono, input, &mut outputs);
        for output in outputs.drain(..) {
            self.carry_out_as_leader(output, now);
        }
        if let Role::Leading(leading) = &mut self.role {
            leading.outputs = outputs;
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
                leading.looks.remove(&link);
                let peer = self.seat().links.name_of(link);
                tracing::warn!("closing the connection of {peer}: {why}");
                self.seat().close_link(link);
            }
            LeaderOutput::PersistAcceptedEpoch { epoch } => self.persist_epoch(EpochFile::Accepted, epoch, now),
            LeaderOutput::PersistCurrentEpoch { epoch } => self.persist_epoch(EpochFile::Current, epoch, now),
            LeaderOutput::Feed { link, server, last_zxid, observer, drops_log } => {
                self.begin_feed(Newcomer { link, server, last_zxid, observer, drops_log }, now)
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
                self.stages.committed(through, &self.metrics);
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
            LeaderOutput::Revalidate { link, session, resumes } => self.revalidate(link, session, resumes, now),
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

    /// What is said in this epoch is said behind this. Without room for it the role ends, and nothing is said.
    pub(super) fn persist_epoch(&mut self, file: EpochFile, epoch: i64, now: Now) {
        match write_epoch(&*self.dirs.disk, &self.dirs.snapshots, file, epoch) {
            Err(_) if PutBack::EpochErrorIgnored.is_on() => {}
            Ok(()) => match file {
                EpochFile::Accepted => self.seat().epochs.accepted = epoch,
                EpochFile::Current => self.seat().epochs.current = epoch,
            },
            Err(error) if error.is_out_of_space() => {
                self.disk = Disk::Full { retry_at: now.mono.plus_millis(EPOCH_RETRY_MS), refused_bytes: 0 };
                self.end_role(&format!("epoch {epoch:x} cannot be made durable: {error}"));
            }
            Err(error) => {
                stop(&format!(
                    "epoch {epoch:x} cannot be made durable: {error}. Nothing was promised to anybody in it"
                ));
            }
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
                self.stages.asked(op.operation());
                let (refusal, ephemeral_refusal) = self.refusals(session, link);
                let by = Requester { ids: &request.ids, refusal, ephemeral_refusal };
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

    /// Why a session may not write through this learner, and what more there is against its owning ephemerals
    /// (`SessionTracker.checkSession`, `checkGlobalSession`).
    fn refusals(&mut self, session: SessionId, link: LinkId) -> (Option<ErrorCode>, Option<ErrorCode>) {
        if PutBack::OwnerUnchecked.is_on() {
            return (None, None);
        }
        let moved = Some(ErrorCode::SessionMoved);
        if self.is_local(session) {
            return (moved, Some(ErrorCode::SessionExpired));
        }
        let Some(live) = self.sessions.get(session) else { return self.refusals_of_unknown(session) };
        if live.owner.is_some() {
            return (moved, None);
        }
        let Role::Leading(leading) = &mut self.role else { return (Some(ErrorCode::SessionExpired), None) };
        let Some(asking) = leading.feeds.get(&link).map(|feed| Owner::Learner(feed.server)) else {
            return (moved, None);
        };
        let owner = *leading.owners.entry(session).or_insert(asking);
        (if owner == asking { None } else { moved }, None)
    }

    /// The session's client is connected to that learner now. It stays that learner's when the link breaks: what others still
    /// have of the session is older.
    fn own(&mut self, session: SessionId, link: LinkId) {
        if let Role::Leading(leading) = &mut self.role
            && let Some(feed) = leading.feeds.get(&link)
        {
            leading.owners.insert(session, Owner::Learner(feed.server));
        }
        if let Some(before) = self.sessions.get(session).and_then(|live| live.owner) {
            self.sessions.disconnected(session, before);
            self.batch.close(before);
        }
    }

    /// The session's client is connected to this server now. That holds when the connection is gone, until it comes elsewhere.
    pub(super) fn own_locally(&mut self, session: SessionId) {
        if self.sessions.get(session).is_some()
            && let Role::Leading(leading) = &mut self.role
        {
            leading.owners.insert(session, Owner::Here);
        }
    }

    /// The session is over.
    pub(super) fn disown(&mut self, session: SessionId) {
        if let Role::Leading(leading) = &mut self.role {
            leading.owners.remove(&session);
        }
    }

    /// A client that comes has its session wherever it was before; a connection that was kept has it only if nobody else does.
    fn revalidate(&mut self, link: LinkId, session: SessionId, resumes: bool, now: Now) {
        let has_moved = resumes && self.refusals(session, link).0.is_some();
        let valid = !has_moved && self.sessions.heard(session, now.mono);
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
