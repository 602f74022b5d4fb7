//! How a seed ends: once all is well everybody must serve and be answered; then clients fall silent, and all servers must come to
//! one state, which is the history's.

use super::agenda::Event;
use super::checkers::{Checked, demand};
use super::simulator::Simulator;
use crate::types::SessionId;

impl Simulator {
    /// Have all come together by now?
    pub(super) fn look(&mut self) -> Checked {
        let healed_at = self.healed_at.unwrap_or_default();
        let now = self.agenda.now();
        let patience_us = self.options.ends_us - self.options.faults_until_us;
        let waits_long = now > healed_at + patience_us / 3;
        if waits_long && self.options.members.reconfig {
            match self.leader() {
                None => self.spread_pending_change(),
                // What was pending when all became well may have come into force since.
                Some(_) => self.find_the_lost(),
            }
        }
        if !self.is_silent {
            let all_answered = self.clients.iter().all(|client| client.answered_since_heal > 0);
            let all_served = self.servers.iter().all(|server| server.has_served || !self.must_serve(server.index));
            demand(all_answered && all_served || now < healed_at + patience_us, || {
                let seconds = patience_us / 1_000_000;
                let who = if all_answered { "server that has not served" } else { "client without an answer" };
                format!("{seconds} s after everything was well there is a {who}")
            })?;
            if all_answered && all_served && now >= self.options.silence_us {
                self.is_silent = true;
                self.healed_at = Some(now);
            }
        } else if self.is_together() && self.orphan().is_none() {
            self.is_over = true;
            return self.check_end();
        } else {
            if let Some(session) = self.orphan().filter(|_| self.is_together()) {
                let orphan = || format!("session {session} does not end, and no client has it");
                demand(now < healed_at + patience_us, orphan)?;
            }
            let shown = || self.servers.iter().map(|server| (server.index, server.shown)).collect::<Vec<_>>();
            demand(now < healed_at + patience_us, || {
                format!("the servers do not come together: {:?}, committed through {}", shown(), self.history.last())
            })?;
        }
        self.agenda.after(50_000, Event::Look);
        Ok(())
    }

    /// A session that lives though nobody has it.
    fn orphan(&self) -> Option<SessionId> {
        let is_held = |session: &SessionId| self.clients.iter().any(|client| client.has_session(*session));
        self.history.znodes.alive_sessions().find(|session| !is_held(session))
    }

    fn is_together(&self) -> bool {
        let last = self.history.last();
        self.servers
            .iter()
            .filter(|server| self.must_serve(server.index))
            .all(|server| server.shown == last && server.running.as_ref().is_some_and(|running| running.is_serving()))
    }

    /// Every server shows the tree that the history makes, and every session's ephemerals with it.
    fn check_end(&mut self) -> Checked {
        self.check_configurations()?;
        for server in self.servers.iter().filter(|server| self.must_serve(server.index)) {
            let Some(running) = &server.running else { continue };
            let pinned = running.reader().pin();
            let view = pinned.view();
            for (path, znode) in self.history.znodes.all_now() {
                let shown = view.lookup(path).map(|node| (node.stat().mzxid, node.stat().version));
                demand(shown == Some((znode.mzxid, znode.version)), || {
                    format!("server {} ends with {path} as {shown:?}; it is {znode:?}", server.index)
                })?;
                let is_alive = |session| view.session(session).is_some();
                demand(znode.session.is_none_or(is_alive), || {
                    format!("server {} ends with {path} of a session that is over", server.index)
                })?;
            }
            for (session, _) in view.ephemeral_owners() {
                demand(self.history.znodes.is_alive(session), || {
                    format!("server {} ends with ephemerals of session {session}", server.index)
                })?;
            }
        }
        Ok(())
    }
}
