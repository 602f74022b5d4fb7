//! The first frame of a connection: who wants which session (client-protocol sheet §3). The password is checked before
//! anything is done to the session, so a wrong one does not disturb its owner (Java closes the owner's connection first).

use super::connection::{Connection, Phase};
use super::stages::Way;
use super::worker::Worker;
use crate::message::lane::{LastHeard, Submit};
use crate::message::{ConnectRequest, ConnectResponse};
use crate::observe::Counter;
use crate::session::password_matches;
use crate::tree::View;
use crate::types::{OpCode, Operation, SessionId, Xid};
use crate::wire::client::{decode_connect, response};

impl Worker {
    pub(super) fn greet(&mut self, conn: &mut Connection, payload: &[u8], view: View<'_>) {
        let Ok(asked) = decode_connect(payload) else { return self.end(conn) };
        conn.traffic.packets_received += 1;
        self.metrics.packets_received(1);
        let renewed = asked.session != SessionId::NONE;
        if !self.admission.take_tokens(renewed, self.now.mono) {
            self.metrics.count(Counter::ConnectionRejected);
            return self.end(conn);
        }
        let is_read_only = self.is_read_only();
        if is_read_only && asked.read_only != Some(true) {
            tracing::info!("refusing {}: there is no leader, and its client wants one", conn.peer);
            return self.end(conn);
        }
        if asked.last_zxid_seen > view.last_zxid() {
            tracing::warn!(
                "refusing {}: its client has seen zxid {}, our last is {}; it must try another server",
                conn.peer,
                asked.last_zxid_seen,
                view.last_zxid()
            );
            return self.end(conn);
        }
        if is_read_only && !self.admits_to_read_only(conn, &asked, view) {
            return;
        }
        conn.timeout_ms = asked.timeout_ms.clamp(self.rules.session_timeout_ms_min, self.rules.session_timeout_ms_max);
        conn.phase = Phase::Connecting;
        self.ask_for_session(conn, &asked);
    }

    fn ask_for_session(&mut self, conn: &mut Connection, asked: &ConnectRequest) {
        let (from, timeout_ms, read_only) = (self.conn_ref(conn.id), conn.timeout_ms, asked.read_only);
        if asked.session == SessionId::NONE {
            self.stages.arrived(Operation::CreateSession);
            return self.lane.submit(Submit::CreateSession { from, timeout_ms, read_only });
        }
        if !password_matches(asked.session, asked.password.as_deref()) {
            tracing::warn!("{} asked for session {} with a wrong password", conn.peer, asked.session);
            let shown = read_only.map(|_| self.is_read_only());
            return self.refuse(conn, &ConnectResponse { read_only: shown, ..ConnectResponse::refused(read_only) });
        }
        self.metrics.count(Counter::ConnectionRevalidateCount);
        conn.session = asked.session;
        self.lane.submit(Submit::Reattach { from, session: asked.session, timeout_ms, read_only });
    }

    /// All zeros, then close.
    pub(super) fn refuse(&mut self, conn: &mut Connection, answer: &ConnectResponse) {
        response::connect(conn.out.tail(), answer);
        self.end(conn);
    }

    /// The session is this connection's from now on.
    pub(super) fn connected(&mut self, conn: &mut Connection, answer: &ConnectResponse, last_heard: LastHeard) {
        if conn.phase != Phase::Connecting {
            return;
        }
        conn.phase = Phase::Established;
        let is_new = conn.session == SessionId::NONE;
        conn.session = answer.session;
        conn.last_heard = Some(last_heard);
        conn.read_only = answer.read_only == Some(true);
        response::connect(conn.out.tail(), answer);
        conn.traffic.packets_sent += 1;
        self.metrics.packets_sent(1);
        if !is_new {
            return conn.traffic.reattached();
        }
        let (zxid, since, now) = (self.pinned_zxid, conn.active_at, self.now.mono);
        let latency_ms = conn.traffic.answered(OpCode::CreateSession, Xid(0), zxid, since, now);
        self.metrics.request_latency(latency_ms);
        self.stages.answered(Operation::CreateSession, since, 0, &Way::Asked);
    }
}
