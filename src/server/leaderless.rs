//! Connections between two leaders (`docs/compatibility.md`: Java closes them all).
//!
//! Without a leader nobody is answered, not even a ping. A connection that waits for an answer to a write is closed at once,
//! since its outcome is unknown; the others are kept for `LEADERLESS_MS_MAX` or a third of their session's timeout, whichever
//! is less, and are then told by a closed connection. When there is a leader again a kept connection goes on as soon as its
//! client is heard from and the leader has confirmed its session: one by one, never in bulk. Watch events reach it meanwhile.

use super::connection::{Connection, Phase};
use super::worker::Worker;
use crate::message::lane::{LastHeard, StandingSign, Submit};
use crate::runtime::core::SocketAction;
use crate::types::{ConnId, Instant};

/// Longest time that a connection is kept without a leader, ms.
const LEADERLESS_MS_MAX: u64 = 2000;

/// What a worker knows of the time without a leader.
pub(super) struct Leaderless {
    /// How often service had ended when this worker looked last.
    ends_seen: u64,
    since: Instant,
    /// Kept connections whose clients were heard from.
    heard: Vec<ConnId>,
}

impl Leaderless {
    pub fn new(sign: &StandingSign) -> Leaderless {
        Leaderless { ends_seen: sign.ends(), since: Instant::default(), heard: Vec::new() }
    }
}

impl Worker {
    /// Looks whether service has ended since the last turn.
    pub(super) fn mind_leader(&mut self) {
        let ends = self.standing.ends();
        if ends == std::mem::replace(&mut self.leaderless.ends_seen, ends) {
            return;
        }
        self.leaderless.since = self.now.mono;
        self.leaderless.heard.clear();
        let all: Vec<ConnId> = self.connections().map(|conn| conn.id).collect();
        for id in all {
            let Some(mut conn) = self.take(id) else { continue };
            self.leader_lost(&mut conn);
            self.put(conn);
        }
    }

    fn leader_lost(&mut self, conn: &mut Connection) {
        match conn.phase {
            Phase::Established if conn.in_flight.is_empty() && conn.waiting.is_empty() => {
                conn.phase = Phase::Kept;
                self.leader_lost(conn);
            }
            Phase::Kept if !conn.input.is_empty() => self.leaderless.heard.push(conn.id),
            Phase::Established | Phase::Connecting | Phase::Resuming => self.end(conn),
            Phase::Kept | Phase::Greeting | Phase::Asking | Phase::Ending => {}
        }
    }

    /// The client of a kept connection was heard from.
    pub(super) fn heard_from_kept(&mut self, conn: &Connection) {
        self.leaderless.heard.push(conn.id);
    }

    /// Has the sessions of those who were heard from confirmed, once there is somebody to confirm them.
    pub(super) fn ask_for_kept(&mut self) {
        if self.leaderless.heard.is_empty() || !self.standing.get().is_led() {
            return;
        }
        for id in std::mem::take(&mut self.leaderless.heard) {
            let Some(conn) = self.get_mut(id).filter(|conn| conn.phase == Phase::Kept) else { continue };
            conn.phase = Phase::Resuming;
            let (session, timeout_ms) = (conn.session, conn.timeout_ms);
            let from = self.conn_ref(id);
            self.lane.submit(Submit::Resume { from, session, timeout_ms });
        }
    }

    /// A turn would find something to do.
    pub(super) fn has_leaderless_work(&self) -> bool {
        self.standing.ends() != self.leaderless.ends_seen
            || !self.leaderless.heard.is_empty() && self.standing.get().is_led()
    }

    /// The session is confirmed: what its client sent meanwhile is carried out next.
    pub(super) fn resumed(&mut self, conn: &mut Connection, last_heard: LastHeard) {
        if conn.phase != Phase::Resuming {
            return;
        }
        conn.phase = Phase::Established;
        conn.last_heard = Some(last_heard);
        // What it sent meanwhile is carried out when the connections that had to wait are released.
        conn.heard(self.now.mono);
    }

    /// Closes those that have waited long enough; says when the next one has.
    pub(super) fn close_leaderless(&mut self, actions: &mut Vec<SocketAction>) -> Option<Instant> {
        if self.standing.get().is_led() {
            return None;
        }
        let (since, now) = (self.leaderless.since, self.now.mono);
        let mut next: Option<Instant> = None;
        let mut over = Vec::new();
        for conn in self.connections().filter(|conn| conn.phase == Phase::Kept) {
            let until = since.plus_millis(LEADERLESS_MS_MAX.min(conn.timeout_ms.max(0) as u64 / 3));
            if until <= now {
                over.push(conn.id);
            } else {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        for conn in over {
            actions.push(SocketAction::Close { conn });
            self.gone(conn);
        }
        next
    }
}
