//! The time without a leader, for clients who put up with reads that may be old (`readonlymode.enabled`,
//! `ReadOnlyZooKeeperServer`).
//!
//! It begins when this server has looked for a leader for long enough, and ends with the election. Reads are of what was
//! published last, which is what an epoch had committed; after a start it is all that was restored, since nothing says what of
//! it counts. Invariant: the log and the head stay as they are, so whatever is known of the history stays true. Sessions are
//! local ones; writes are answered by the workers, with -119.

use super::driver::Ensemble;
use crate::message::ConnectResponse;
use crate::message::lane::{Reply, Standing, Submit};
use crate::types::Instant;

/// No server is without a leader for good before this, ms.
const PATIENCE_MS_MIN: u64 = 2000;

#[derive(Debug, Default)]
pub(super) struct ReadOnly {
    begins: Option<Instant>,
    since: Option<Instant>,
    /// Something was published since the start.
    pub is_published: bool,
}

impl ReadOnly {
    pub fn begins(&self) -> Option<Instant> {
        self.begins
    }
}

impl Ensemble {
    pub(super) fn read_only_since(&self) -> Option<Instant> {
        self.read_only.since
    }

    /// The byte of a ConnectResponse, for a client that knows it.
    pub(super) fn shown_as_read_only(&self, asked: Option<bool>) -> Option<bool> {
        asked.map(|_| self.read_only.since.is_some())
    }

    pub(super) fn plan_read_only(&mut self, now: Instant) {
        let patience_ms = PATIENCE_MS_MIN.max(self.rules.tick_ms);
        self.read_only.begins = self.seat().options.read_only_mode.then(|| now.plus_millis(patience_ms));
    }

    pub(super) fn tick_read_only(&mut self, now: Instant) {
        if self.read_only.begins.take_if(|begins| *begins <= now).is_none() {
            return;
        }
        for (_, conn) in std::mem::take(&mut self.kept) {
            self.batch.close(conn);
        }
        self.close_local_connections();
        if !std::mem::replace(&mut self.read_only.is_published, true) {
            let version = self.tree.seal();
            self.tree.publish_through(version);
        }
        self.read_only.since = Some(now);
        self.standing.set(Standing::ReadOnly);
        self.lanes.wake_all();
        tracing::warn!("no leader: serving reads of read-only clients, of the state as it was last known");
    }

    /// All of its connections go; their clients look for a server that knows a leader.
    pub(super) fn end_read_only(&mut self) {
        self.read_only.begins = None;
        if self.read_only.since.take().is_none() {
            return;
        }
        tracing::info!("the time of read-only clients is over");
        self.close_local_connections();
        self.standing.end();
        self.lanes.wake_all();
    }

    /// What a read-only server does not do for its clients; everything else comes back.
    pub(super) fn screen_read_only(&mut self, submit: Submit) -> Option<Submit> {
        if self.read_only.since.is_none() {
            return Some(submit);
        }
        match submit {
            // The worker let it in before it knew that this server is read-only.
            Submit::CreateSession { from, read_only, .. } | Submit::Reattach { from, read_only, .. }
                if read_only != Some(true) =>
            {
                self.batch.close(from);
                None
            }
            Submit::Reattach { from, session, read_only, .. } if !self.is_local(session) => {
                let response = ConnectResponse {
                    read_only: self.shown_as_read_only(read_only),
                    ..ConnectResponse::refused(read_only)
                };
                self.batch.reply(from.worker, Reply::Refused { conn: from.conn, response });
                None
            }
            submit => Some(submit),
        }
    }
}
