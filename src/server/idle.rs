//! Connections nobody hears from: without a session they get `nio.sessionlessCnxnTimeout`, with one its timeout
//! (`NIOServerCnxnFactory`'s expirer). Looked at once a second.

use super::connection::Phase;
use super::worker::Worker;
use crate::observe::Counter;
use crate::runtime::core::SocketAction;

const LOOK_EVERY_MS: u64 = 1000;

impl Worker {
    pub(super) fn look_for_idle(&mut self, actions: &mut Vec<SocketAction>) {
        let now = self.now.mono;
        if now < self.next_idle_look {
            return;
        }
        let is_late = self.next_idle_look.plus_millis(LOOK_EVERY_MS) < now;
        if is_late && self.connections().next().is_some() {
            // This thread did not run for a while. What clients sent meanwhile is still in the sockets: it counts first.
            self.next_idle_look = now.plus_millis(LOOK_EVERY_MS);
            return;
        }
        self.next_idle_look = now.plus_millis(LOOK_EVERY_MS);
        let mut silent = Vec::new();
        for conn in self.connections() {
            let patience_ms = match conn.phase {
                Phase::Established | Phase::Kept | Phase::Resuming => conn.timeout_ms as u64 + LOOK_EVERY_MS,
                _ => self.rules.sessionless_timeout_ms,
            };
            // One that is ending gets no answers any more, so it is not waited for.
            let is_served = conn.phase != Phase::Ending && !conn.in_flight.is_empty();
            if conn.active_at.plus_millis(patience_ms) < now && !is_served {
                silent.push((conn.id, conn.phase));
            }
        }
        for (conn, phase) in silent {
            if phase == Phase::Greeting {
                self.metrics.count(Counter::SessionlessConnectionsExpired);
            }
            actions.push(SocketAction::Close { conn });
            self.gone(conn);
        }
    }
}
