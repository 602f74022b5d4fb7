//! The sessions that are alive on this server: who holds each, when it was last heard from, when it expires.
//! The replicated list of sessions is the tree's; this is what it means here and now.

use super::ExpiryQueue;
use crate::message::lane::{ConnRef, LastHeard};
use crate::types::{Instant, SessionId};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Servers choose the ids, so nobody can make them collide; and the order of a walk repeats, which the simulator needs.
pub(super) type BySession<V> = HashMap<SessionId, V, FixedState>;

pub struct SessionTable {
    live: BySession<Live>,
    expiry: ExpiryQueue,
}

/// A live session.
pub struct Live {
    /// As negotiated last; it counts from when the session is heard from.
    pub timeout_ms: i32,
    /// As the session was created with.
    pub granted_ms: i32,
    /// The connection that holds it; `None` while its client is away.
    pub owner: Option<ConnRef>,
    pub last_heard: LastHeard,
}

impl Live {
    fn expires_at(&self) -> Instant {
        Instant::from_millis(self.last_heard.load(Ordering::Relaxed)).plus_millis(self.timeout_ms.max(0) as u64)
    }
}

impl SessionTable {
    pub fn new(tick_ms: u64) -> SessionTable {
        SessionTable { live: BySession::default(), expiry: ExpiryQueue::new(tick_ms) }
    }

    /// A session that was just created, or that was restored and whose client has not come back yet.
    pub fn add(&mut self, id: SessionId, timeout_ms: i32, owner: Option<ConnRef>, now: Instant) -> LastHeard {
        let last_heard: LastHeard = Arc::new(AtomicU64::new(now.millis()));
        self.adopt(id, Live { timeout_ms, granted_ms: timeout_ms, owner, last_heard: last_heard.clone() });
        last_heard
    }

    /// A session that was in another table.
    pub fn adopt(&mut self, id: SessionId, live: Live) {
        self.expiry.set(id, live.expires_at());
        self.live.insert(id, live);
    }

    pub fn get(&self, id: SessionId) -> Option<&Live> {
        self.live.get(&id)
    }

    /// Gives the session to another connection, with a new timeout. Returns who held it before.
    pub fn take_over(
        &mut self,
        id: SessionId,
        timeout_ms: i32,
        owner: ConnRef,
        now: Instant,
    ) -> Option<Option<ConnRef>> {
        let live = self.live.get_mut(&id)?;
        live.timeout_ms = timeout_ms;
        live.last_heard.store(now.millis(), Ordering::Relaxed);
        self.expiry.set(id, live.expires_at());
        Some(live.owner.replace(owner))
    }

    /// The session was heard from, through whomever. False if there is no such session.
    pub fn heard(&self, id: SessionId, now: Instant) -> bool {
        let live = self.live.get(&id);
        live.inspect(|live| live.last_heard.store(now.millis(), Ordering::Relaxed)).is_some()
    }

    /// The session's connection outlived a leader. False if there is no such session.
    pub fn keep(&mut self, id: SessionId, owner: ConnRef) -> bool {
        match self.live.get_mut(&id) {
            Some(live) => {
                live.owner = Some(owner);
                true
            }
            None => false,
        }
    }

    /// The connection is gone; the session stays until it expires, unless somebody else holds it by now.
    pub fn disconnected(&mut self, id: SessionId, from: ConnRef) {
        if let Some(live) = self.live.get_mut(&id)
            && live.owner == Some(from)
        {
            live.owner = None;
        }
    }

    pub fn remove(&mut self, id: SessionId) -> Option<Live> {
        self.expiry.remove(id);
        self.live.remove(&id)
    }

    /// Sessions that nobody has heard from for their timeout.
    pub fn expired(&mut self, now: Instant) -> Vec<SessionId> {
        let mut expired = Vec::new();
        for id in self.expiry.due(now) {
            let Some(live) = self.live.get(&id) else { continue };
            // Heard from since it was queued: it moves to a later bucket. Rounding up makes equal times count as alive.
            if live.expires_at() > now || self.heard_in_this_bucket(live, now) {
                self.expiry.set(id, live.expires_at());
            } else {
                expired.push(id);
            }
        }
        expired
    }

    /// Looks at the session again in the next bucket: it could not be closed now.
    pub fn requeue(&mut self, id: SessionId, now: Instant) {
        if self.live.contains_key(&id) {
            self.expiry.set(id, now);
        }
    }

    /// The bucket that `expires_at` falls into has not ended yet.
    fn heard_in_this_bucket(&self, live: &Live, now: Instant) -> bool {
        self.expiry.bucket_end(live.expires_at()) > now
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.expiry.next_deadline()
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Live)> {
        self.live.iter().map(|(id, live)| (*id, live))
    }

    /// End of the bucket in which the session would expire if it were not heard from again.
    pub fn expires_with_bucket(&self, live: &Live) -> Instant {
        self.expiry.bucket_end(live.expires_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId(7);

    #[test]
    fn a_session_that_changes_tables_keeps_what_it_has() {
        let (mut from, mut to) = (SessionTable::new(1000), SessionTable::new(1000));
        from.add(ID, 4000, None, Instant::from_millis(500));
        let owner = ConnRef { worker: crate::types::WorkerIndex(0), conn: crate::types::ConnId(3) };
        from.take_over(ID, 7000, owner, Instant::from_millis(900));
        to.adopt(ID, from.remove(ID).expect("there"));
        let live = to.get(ID).expect("adopted");
        assert_eq!((live.timeout_ms, live.granted_ms, live.owner), (7000, 4000, Some(owner)));
        assert!(to.expired(Instant::from_millis(7999)).is_empty());
        assert_eq!(to.expired(Instant::from_millis(8000)), [ID]);
        assert!(from.expired(Instant::from_millis(90_000)).is_empty());
    }

    #[test]
    fn a_session_heard_from_lives_on_and_a_silent_one_expires_with_its_bucket() {
        let mut table = SessionTable::new(1000);
        let heard = table.add(ID, 4000, None, Instant::from_millis(500));
        assert!(table.expired(Instant::from_millis(4500)).is_empty());
        heard.store(4400, Ordering::Relaxed);
        assert!(table.expired(Instant::from_millis(5000)).is_empty(), "heard from at 4400");
        assert!(table.expired(Instant::from_millis(8999)).is_empty(), "its bucket ends at 9000");
        assert_eq!(table.expired(Instant::from_millis(9000)), [ID]);
    }
}
