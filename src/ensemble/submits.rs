//! What workers ask of the ensemble thread: carried out where requests become transactions, handed on to the leader by a
//! learner, and answered by a closed connection where there is no leader.

use super::driver::Ensemble;
use super::local_sessions::Upgrade;
use super::role::{Attach, Attaching, Role};
use crate::message::lane::{ConnRef, EnsembleStatus, LiveSession, Reply, Submit};
use crate::message::{ConnectResponse, Outcome, QuorumPart, QuorumStatus, WriteOp};
use crate::observe::Namespaced;
use crate::request::{self, Requester};
use crate::session::{SessionTable, password};
use crate::tree::View;
use crate::types::{ErrorCode, Id, Instant, Now, PutBack, Role as MemberRole, SessionId, Xid, Zxid};
use std::sync::atomic::Ordering;

/// Submissions taken from one worker per turn, so that a flush is never kept waiting by a flood.
const SUBMITS_PER_TURN_MAX: usize = 4096;

impl Ensemble {
    pub(super) fn take_submits(&mut self, now: Now) {
        for worker in 0..self.lanes.workers() {
            let mut taken = 0;
            while taken < SUBMITS_PER_TURN_MAX && self.take_some(worker, now, &mut taken) {}
            if taken > 0 {
                self.lanes.made_room(worker);
            }
        }
    }

    /// As many as have their znodes fetched together; false if there are none.
    fn take_some(&mut self, worker: usize, now: Now, taken: &mut usize) -> bool {
        let mut submits = std::mem::take(&mut self.submits);
        while submits.len() < View::PREFETCHED_AT_ONCE
            && let Some(submit) = self.lanes.next_submit(worker)
        {
            submits.push(submit);
        }
        if self.is_in_charge() {
            self.tree.view().prefetch(submits.iter().filter_map(Submit::write).flat_map(WriteOp::paths));
        }
        *taken += submits.len();
        let are_some = !submits.is_empty();
        submits.drain(..).for_each(|submit| self.take(submit, now));
        self.submits = submits;
        are_some
    }

    fn take(&mut self, submit: Submit, now: Now) {
        match submit {
            Submit::Disconnected { from, session } => {
                self.table_of(session).disconnected(session, from);
                if self.kept.get(&session) == Some(&from) {
                    self.kept.remove(&session);
                }
            }
            Submit::Describe { whole, tell } => (tell.0)(self.describe(whole)),
            submit if self.serves_clients() => {
                let screened = self.screen_read_only(submit);
                if let Some(submit) = screened.and_then(|submit| self.serve_locally(submit, now)) {
                    self.take_global(submit, now);
                }
            }
            submit => self.turn_away(&submit),
        }
    }

    fn take_global(&mut self, submit: Submit, now: Now) {
        if self.is_in_charge() {
            self.carry_out(submit, now);
        } else if self.is_serving() {
            self.forward(submit);
        } else {
            self.turn_away(&submit);
        }
    }

    /// Without a leader nobody is answered.
    fn turn_away(&mut self, submit: &Submit) {
        match submit {
            Submit::Write { from, .. }
            | Submit::Sync { from, .. }
            | Submit::CreateSession { from, .. }
            | Submit::Reattach { from, .. }
            | Submit::Resume { from, .. }
            | Submit::CloseSession { from, .. } => self.batch.close(*from),
            Submit::Disconnected { .. } | Submit::Describe { .. } => {}
        }
    }

    fn carry_out(&mut self, submit: Submit, now: Now) {
        match submit {
            // A request that overtook the end of its session, or that came over a connection it has left, is dropped: the
            // connection is being closed.
            Submit::Write { from, session, .. }
                if !self.is_held_by(session, from)
                    && !PutBack::WritesAfterClose.is_on()
                    && !PutBack::OwnerUnchecked.is_on() => {}
            Submit::Write { from, session, xid, op, ids, overtakes } => {
                if overtakes {
                    self.keep_for_overtaken(from);
                }
                self.write(from, session, xid, op, &ids, now);
            }
            Submit::Sync { from, xid, path, .. } => match &self.role {
                Role::Leading(_) => self.sync_as_leader(from, xid, path, now),
                _ => self.batch.reply(from.worker, Reply::Synced { conn: from.conn, xid, path }),
            },
            Submit::CreateSession { from, timeout_ms, read_only } => {
                self.create_session(from, timeout_ms, read_only, now);
            }
            Submit::Reattach { from, session, timeout_ms, read_only } => {
                self.own_locally(session);
                self.attach(from, session, timeout_ms, read_only, now.mono);
            }
            Submit::Resume { from, session, .. } => {
                let has_moved = matches!(&self.role, Role::Leading(leading) if leading.is_elsewhere(session));
                if !has_moved {
                    self.own_locally(session);
                }
                self.resume(from, session, !has_moved, now.mono);
            }
            Submit::CloseSession { from, session, xid } => self.close_by_client(from, session, xid, now),
            Submit::Disconnected { .. } | Submit::Describe { .. } => {}
        }
    }

    /// A learner hands on what is not its own to decide.
    fn forward(&mut self, submit: Submit) {
        match submit {
            Submit::Write { from, session, .. } if !self.is_held_by(session, from) => {}
            Submit::Write { from, session, xid, op, ids, overtakes } => {
                self.forward_write(from, session, xid, &op, &ids, overtakes);
            }
            Submit::Sync { from, session, xid, path } => self.forward_sync(from, session, xid, path),
            Submit::CreateSession { from, timeout_ms, read_only } => {
                self.forward_create_session(from, timeout_ms, read_only);
            }
            Submit::Reattach { from, session, timeout_ms, read_only } => {
                self.ask_leader_for(session, Attaching { timeout_ms, how: Attach::Connected { from, read_only } });
            }
            Submit::Resume { from, session, .. } if self.is_elsewhere(session) => self.batch.close(from),
            Submit::Resume { from, session, timeout_ms } => {
                self.ask_leader_for(session, Attaching { timeout_ms, how: Attach::Resumed { from } });
            }
            Submit::CloseSession { from, session, xid } => self.forward_close_session(from, session, xid),
            Submit::Disconnected { .. } | Submit::Describe { .. } => {}
        }
    }

    fn is_elsewhere(&self, session: SessionId) -> bool {
        matches!(&self.role, Role::Learning(learning) if learning.elsewhere.contains(&session))
    }

    fn write(&mut self, from: ConnRef, session: SessionId, xid: Xid, op: WriteOp, ids: &[Id], now: Now) {
        let upgrade = self.upgrade_for(session, &op);
        if upgrade == Upgrade::Due && self.has_room(0, now.mono) {
            self.upgrade_as_leader(session, now);
        }
        if !self.has_room(op.entry_bytes_max(), now.mono) {
            if matches!(self.role, Role::Leading(_)) {
                return self.step_down_for_disk(now);
            }
            let zxid = self.tree.view().last_zxid();
            let outcome = Outcome { zxid, result: Err(ErrorCode::SystemError) };
            return self.batch.reply(from.worker, Reply::Write { conn: from.conn, xid, outcome });
        }
        let ephemeral_refusal = match upgrade {
            Upgrade::Refused => Some(ErrorCode::EphemeralOnLocalSession),
            // An ephemeral that is asked for in a way that makes no session global.
            _ if self.is_local(session) => Some(ErrorCode::SessionExpired),
            _ => None,
        };
        self.stages.asked(op.operation());
        let by = Requester { ephemeral_refusal, ..Requester::granted(ids) };
        let asking = request::asking_paths(self.tree.view(), &op, &self.rules.request);
        let executed = match &op {
            WriteOp::Reconfig { .. } if self.seat.is_some() => self.reconfigure(session, xid, &op, by, now),
            _ => self.execute(session, xid, now, |tree, header, rules, effects| {
                request::execute(tree, header, op, by, rules, effects)
            }),
        };
        match executed {
            Some(executed) => {
                if let Some(path) = request::refused_path(&asking, &executed.outcome.result) {
                    self.metrics.record_for_path(Namespaced::QuotaExceeded, path, 1);
                }
                self.batch.reply(from.worker, Reply::Write { conn: from.conn, xid, outcome: executed.outcome });
            }
            None => self.batch.close(from),
        }
    }

    /// An id that no live session has: they count on from the wall clock at the start, which may have been set back since the
    /// last one.
    pub(super) fn new_session_id(&mut self) -> SessionId {
        loop {
            let id = self.session_ids.allocate();
            if self.live(id).is_none() {
                return id;
            }
        }
    }

    fn create_session(&mut self, from: ConnRef, timeout_ms: i32, read_only: Option<bool>, now: Now) {
        if !self.has_room(0, now.mono) {
            return self.batch.close(from);
        }
        let session = self.new_session_id();
        let executed = self.execute(session, Xid(0), now, |tree, header, rules, _| {
            request::create_session(tree, header, timeout_ms, rules)
        });
        if executed.is_none() {
            return self.batch.close(from);
        }
        let last_heard = self.sessions.add(session, timeout_ms, Some(from), now.mono);
        let response =
            ConnectResponse { timeout_ms, session, password: password(session), read_only: read_only.map(|_| false) };
        self.batch.reply(from.worker, Reply::Connected { conn: from.conn, response, last_heard });
    }

    /// The session's client is on this connection now, if the session lives.
    pub(super) fn attach(
        &mut self,
        from: ConnRef,
        session: SessionId,
        timeout_ms: i32,
        read_only: Option<bool>,
        now: Instant,
    ) {
        let Some(before) = self.table_of(session).take_over(session, timeout_ms, from, now) else {
            let response = ConnectResponse::refused(read_only);
            return self.batch.reply(from.worker, Reply::Refused { conn: from.conn, response });
        };
        if let Some(old) = before
            && old != from
        {
            self.batch.close(old);
        }
        let last_heard = self.live(session).expect("just taken over").last_heard.clone();
        let read_only = self.shown_as_read_only(read_only);
        let response = ConnectResponse { timeout_ms, session, password: password(session), read_only };
        self.batch.reply(from.worker, Reply::Connected { conn: from.conn, response, last_heard });
    }

    /// A kept connection goes on if its session lives and nobody else has it by now.
    pub(super) fn resume(&mut self, from: ConnRef, session: SessionId, valid: bool, now: Instant) {
        match self.live(session) {
            Some(live) if valid && live.owner == Some(from) => {
                live.last_heard.store(now.millis(), Ordering::Relaxed);
                let last_heard = live.last_heard.clone();
                self.batch.reply(from.worker, Reply::Resumed { conn: from.conn, last_heard });
            }
            _ => self.batch.close(from),
        }
    }

    fn close_by_client(&mut self, from: ConnRef, session: SessionId, xid: Xid, now: Now) {
        if self.sessions.get(session).is_none_or(|live| live.owner != Some(from)) {
            return self.batch.close(from);
        }
        if !self.has_room(self.ephemerals_bytes(session), now.mono) {
            return self.batch.close(from);
        }
        match self.close_session(session, xid, now) {
            Some(zxid) => self.batch.reply(from.worker, Reply::SessionClosed { conn: from.conn, xid, zxid }),
            None => self.batch.close(from),
        }
    }

    /// Ends a session: one transaction deletes its ephemerals.
    pub(super) fn close_session(&mut self, session: SessionId, xid: Xid, now: Now) -> Option<Zxid> {
        self.sessions.remove(session);
        self.disown(session);
        self.execute(session, xid, now, request::close_session).map(|executed| executed.outcome.zxid)
    }

    /// Every session of the tree, with all of its timeout ahead and nobody connected.
    pub(super) fn fresh_sessions(&self, now: Instant) -> SessionTable {
        let mut sessions = SessionTable::new(self.rules.tick_ms);
        for (id, timeout_ms) in self.tree.view().sessions().filter(|_| !PutBack::SessionsNotRestored.is_on()) {
            sessions.add(id, timeout_ms, None, now);
        }
        sessions
    }

    fn describe(&self, whole: bool) -> EnsembleStatus {
        let (quorum, read_only_since) = (self.quorum_status(), self.read_only_since());
        let local_sessions = self.describe_local_sessions(whole);
        if !whole {
            return EnsembleStatus { quorum, read_only_since, local_sessions, ..EnsembleStatus::default() };
        }
        let live = self.sessions.iter().map(|(session, live)| LiveSession {
            session,
            timeout_ms: live.granted_ms,
            expires_at: self.sessions.expires_with_bucket(live),
        });
        // Known, and in nobody's hands.
        let expires_at = Instant::default();
        let known = || self.tree.view().sessions();
        let at_rest = || known().map(|(session, timeout_ms)| LiveSession { session, timeout_ms, expires_at });
        let sessions = if read_only_since.is_some() { at_rest().collect() } else { live.collect() };
        EnsembleStatus {
            quorum,
            read_only_since,
            sessions,
            local_sessions,
            digests: self.digests.iter().copied().collect(),
        }
    }

    fn quorum_status(&self) -> Option<QuorumStatus> {
        let seat = self.seat.as_ref().filter(|_| self.is_serving())?;
        let part = match &self.role {
            Role::Leading(leading) => QuorumPart::Leading(leading.zab.count_learners()),
            Role::Learning(learning) if seat.configs.role() == MemberRole::Observer => {
                QuorumPart::Observing { leader: learning.leader.server }
            }
            _ => QuorumPart::Following { synced_observers: self.synced_observers() },
        };
        let voters = seat.configs.quorum().voters().len() as u64;
        Some(QuorumStatus { voters, serving_since: seat.clock.serves_since(), part })
    }
}
