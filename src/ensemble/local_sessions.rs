//! Sessions that only this server knows (`localSessionsEnabled`): no transaction makes or ends them, no other server takes
//! them, and this one lets them expire, whatever its role (`LocalSessionTracker`).
//!
//! A local session may do everything but own an ephemeral. When it asks for one it becomes global first, if
//! `localSessionsUpgradingEnabled`: createSession goes ahead of the request (`QuorumZooKeeperServer.checkUpgradeSession`).
//! Otherwise the request fails: with -120 where this server answers for it, and with the leader's -112 inside a multi of a
//! learner's client, as Java answers.
//!
//! Invariant: a session is in `local_sessions` or in `sessions`, never in both.

use super::driver::Ensemble;
use super::role::{Awaited, Forwarded, Role};
use crate::message::lane::{ConnRef, LiveSession, LocalSessions, Reply, Submit};
use crate::message::{ConnectResponse, ForwardedRequest, QuorumPacket, WriteOp};
use crate::observe::Counter;
use crate::request;
use crate::session::{Live, SessionTable, password};
use crate::types::{ErrorCode, Instant, Now, OpCode, SessionId, Xid};
use crate::wire::Writer;
use std::sync::atomic::Ordering;

/// What new sessions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalSessionRules {
    /// `localSessionsEnabled`: local.
    pub enabled: bool,
    /// `localSessionsUpgradingEnabled`: they become global when they are to own an ephemeral.
    pub upgrading: bool,
}

/// What a write means to the session that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    NotNeeded,
    /// The session becomes global first.
    Due,
    /// It would have to, and may not.
    Refused,
}

impl Ensemble {
    pub(super) fn local_rules(&self) -> LocalSessionRules {
        self.seat.as_ref().map_or(LocalSessionRules::default(), |seat| seat.options.local_sessions)
    }

    pub(super) fn is_local(&self, session: SessionId) -> bool {
        self.local_sessions.get(session).is_some()
    }

    /// A session that clients of this server have, of either kind.
    pub(super) fn live(&self, session: SessionId) -> Option<&Live> {
        self.local_sessions.get(session).or_else(|| self.sessions.get(session))
    }

    /// The connection is the one that holds the session.
    pub(super) fn is_held_by(&self, session: SessionId, from: ConnRef) -> bool {
        self.live(session).is_some_and(|live| live.owner == Some(from))
    }

    /// Where the session is, or would be.
    pub(super) fn table_of(&mut self, session: SessionId) -> &mut SessionTable {
        if self.is_local(session) { &mut self.local_sessions } else { &mut self.sessions }
    }

    /// What concerns local sessions alone needs no leader; everything else comes back.
    pub(super) fn serve_locally(&mut self, submit: Submit, now: Now) -> Option<Submit> {
        match submit {
            Submit::CreateSession { from, timeout_ms, read_only } if self.local_rules().enabled => {
                self.create_local_session(from, timeout_ms, read_only, now);
            }
            Submit::Reattach { from, session, timeout_ms, read_only } if self.is_local(session) => {
                self.attach(from, session, timeout_ms, read_only, now.mono);
            }
            Submit::Resume { from, session, .. } if self.is_local(session) => {
                self.resume(from, session, true, now.mono)
            }
            Submit::CloseSession { from, session, xid } if self.is_local(session) => {
                self.close_local_session(from, session, xid);
            }
            other => return Some(other),
        }
        None
    }

    fn create_local_session(&mut self, from: ConnRef, timeout_ms: i32, read_only: Option<bool>, now: Now) {
        let session = self.new_session_id();
        let last_heard = self.local_sessions.add(session, timeout_ms, Some(from), now.mono);
        let read_only = self.shown_as_read_only(read_only);
        let response = ConnectResponse { timeout_ms, session, password: password(session), read_only };
        self.batch.reply(from.worker, Reply::Connected { conn: from.conn, response, last_heard });
    }

    fn close_local_session(&mut self, from: ConnRef, session: SessionId, xid: Xid) {
        if !self.is_held_by(session, from) {
            return self.batch.close(from);
        }
        self.local_sessions.remove(session);
        if matches!(self.role, Role::Learning(_)) {
            // Writes of the session that went before are answered before.
            let since = self.stages.turn_began();
            self.expect_answer(session, Forwarded { from, xid, what: Awaited::LocalClose, since });
            return self.tell_decided(session);
        }
        let zxid = self.tree.view().last_zxid();
        self.batch.reply(from.worker, Reply::SessionClosed { conn: from.conn, xid, zxid });
    }

    /// When the next one may be due. Between two roles nobody can be heard, so nobody is late.
    pub(super) fn local_expiry(&self) -> Option<Instant> {
        let due = self.local_sessions.next_deadline().filter(|_| self.is_serving() || self.serves_clients());
        due.map(|due| due.max(self.expiry_resumes))
    }

    pub(super) fn expire_local_sessions(&mut self, now: Now) {
        if self.local_expiry().is_none_or(|due| due > now.mono) {
            return;
        }
        for session in self.local_sessions.expired(now.mono) {
            let Some(live) = self.local_sessions.remove(session) else { continue };
            tracing::info!("local session {session} expired: nothing heard for {} ms", live.timeout_ms);
            self.metrics.count(Counter::StaleSessionsExpired);
            live.owner.into_iter().for_each(|owner| self.batch.close(owner));
        }
    }

    /// Nobody who could be served was, so nobody is late.
    pub(super) fn excuse_local_sessions(&self, now: Now) {
        for (_, live) in self.local_sessions.iter() {
            live.last_heard.store(now.mono.millis(), Ordering::Relaxed);
        }
    }

    /// Ends the connections of local sessions; the sessions stay.
    pub(super) fn close_local_connections(&mut self) {
        let owners: Vec<ConnRef> = self.local_sessions.iter().filter_map(|(_, live)| live.owner).collect();
        owners.into_iter().for_each(|owner| self.batch.close(owner));
    }

    // What becomes global.

    pub(super) fn upgrade_for(&self, session: SessionId, op: &WriteOp) -> Upgrade {
        if !self.is_local(session) || !request::wants_global_session(op) {
            return Upgrade::NotNeeded;
        }
        if self.local_rules().upgrading { Upgrade::Due } else { Upgrade::Refused }
    }

    /// There must be room in the log.
    pub(super) fn upgrade_as_leader(&mut self, session: SessionId, now: Now) {
        let Some(live) = self.leave_local(session) else { return };
        let timeout_ms = live.granted_ms;
        let executed = self.execute(session, Xid(0), now, |tree, header, rules, _| {
            request::create_session(tree, header, timeout_ms, rules)
        });
        if executed.is_some() {
            self.sessions.adopt(session, live);
        }
    }

    /// Asks the leader for a session that this server's client has already.
    pub(super) fn upgrade_as_learner(&mut self, from: ConnRef, session: SessionId) {
        let Some(live) = self.leave_local(session) else { return };
        self.ask_leader_for_new_session(
            session,
            live.granted_ms,
            Forwarded { from, xid: Xid(0), what: Awaited::Upgrade, since: self.stages.turn_began() },
        );
        self.sessions.adopt(session, live);
    }

    fn leave_local(&mut self, session: SessionId) -> Option<Live> {
        tracing::info!("session {session} becomes known to all servers, since it is to own an ephemeral");
        self.local_sessions.remove(session)
    }

    pub(super) fn ask_leader_for_new_session(&mut self, session: SessionId, timeout_ms: i32, forwarded: Forwarded) {
        self.expect_answer(session, forwarded);
        let mut body = Vec::new();
        Writer::new(&mut body).int(timeout_ms);
        let op = OpCode::CreateSession.code();
        self.tell_leader(&QuorumPacket::Request(ForwardedRequest { session, cxid: 0, op, body, ids: Vec::new() }));
    }

    /// Why a session that this leader does not know may not write through a learner, and why it may not own ephemerals: it can
    /// be one that only the learner knows (`LeaderSessionTracker.checkSession`).
    pub(super) fn refusals_of_unknown(&self, session: SessionId) -> (Option<ErrorCode>, Option<ErrorCode>) {
        let is_ours = self.seat.as_ref().is_some_and(|seat| session.is_of(seat.options.me));
        let may_be_local = self.local_rules().enabled && !is_ours;
        let expired = Some(ErrorCode::SessionExpired);
        (if may_be_local { None } else { expired }, expired)
    }

    pub(super) fn describe_local_sessions(&self, whole: bool) -> Option<LocalSessions> {
        let live = |(session, live): (SessionId, &Live)| LiveSession {
            session,
            timeout_ms: live.granted_ms,
            expires_at: self.local_sessions.expires_with_bucket(live),
        };
        self.local_rules().enabled.then(|| LocalSessions {
            count: self.local_sessions.len() as u64,
            sessions: if whole { self.local_sessions.iter().map(live).collect() } else { Vec::new() },
        })
    }
}
