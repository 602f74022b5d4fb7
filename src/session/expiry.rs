//! When sessions are due: times are rounded up to buckets of one tick, and a bucket falls due as a whole
//! (`ExpiryQueue`), so a session lives up to one tick longer than its timeout and a server does a few large expiries
//! instead of many small ones.
//!
//! Setting a session's time again, the common case, touches one map entry: the session stays queued where it
//! is and is moved on when that bucket comes up. Whoever is asked by `due` decides what to do with the sessions: the
//! queue has forgotten them, and a session heard from meanwhile is simply set again.

use super::table::BySession;
use crate::types::{Instant, SessionId};
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct ExpiryQueue {
    tick_ms: u64,
    entries: BySession<Entry>,
    /// Bucket (its end, in milliseconds) to the sessions queued there. A session that is not at home here, because its
    /// entry is gone or names another bucket, is left over from a change and is skipped.
    buckets: BTreeMap<u64, Vec<SessionId>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// End of the bucket in which the session expires.
    expires_ms: u64,
    /// End of the bucket that holds it. Invariant: `queued_ms <= expires_ms`.
    queued_ms: u64,
}

impl ExpiryQueue {
    pub fn new(tick_ms: u64) -> ExpiryQueue {
        assert!(tick_ms > 0, "a tick must last");
        ExpiryQueue { tick_ms, entries: BySession::default(), buckets: BTreeMap::new() }
    }

    /// The session expires with the bucket that ends next after `expires_at`; any earlier setting is replaced.
    pub fn set(&mut self, session: SessionId, expires_at: Instant) {
        let expires_ms = self.bucket_end(expires_at).millis();
        match self.entries.get_mut(&session) {
            Some(entry) if entry.queued_ms <= expires_ms => entry.expires_ms = expires_ms,
            _ => {
                self.entries.insert(session, Entry { expires_ms, queued_ms: expires_ms });
                self.buckets.entry(expires_ms).or_default().push(session);
            }
        }
    }

    /// End of the bucket that a time falls into.
    pub fn bucket_end(&self, at: Instant) -> Instant {
        Instant::from_millis((at.millis() / self.tick_ms + 1) * self.tick_ms)
    }

    pub fn remove(&mut self, session: SessionId) {
        self.entries.remove(&session);
    }

    /// Sessions of all buckets that have ended by `now`; they are in the queue no more.
    pub fn due(&mut self, now: Instant) -> Vec<SessionId> {
        let mut due = Vec::new();
        while let Some(bucket) = self.buckets.first_entry() {
            let bucket_ms = *bucket.key();
            if bucket_ms > now.millis() {
                break;
            }
            for session in bucket.remove() {
                self.leave_bucket(session, bucket_ms, &mut due);
            }
        }
        due
    }

    fn leave_bucket(&mut self, session: SessionId, bucket_ms: u64, due: &mut Vec<SessionId>) {
        match self.entries.get_mut(&session) {
            Some(entry) if entry.queued_ms == bucket_ms && entry.expires_ms == bucket_ms => {
                self.entries.remove(&session);
                due.push(session);
            }
            Some(entry) if entry.queued_ms == bucket_ms => {
                entry.queued_ms = entry.expires_ms;
                let home = self.buckets.entry(entry.expires_ms).or_default();
                home.push(session);
            }
            _ => {}
        }
    }

    /// When `due` is to be asked again; a bucket may then turn out to hold nobody who is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (bucket_ms, _) = self.buckets.first_key_value()?;
        Some(Instant::from_millis(*bucket_ms))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_bucket_expires_as_a_whole_and_never_early() {
        let mut queue = ExpiryQueue::new(2000);
        queue.set(SessionId(1), at(2000));
        queue.set(SessionId(2), at(3999));
        queue.set(SessionId(3), at(4000));
        assert_eq!(queue.next_deadline(), Some(at(4000)));
        assert!(queue.due(at(3999)).is_empty());
        let mut due = queue.due(at(4000));
        due.sort();
        assert_eq!(due, [SessionId(1), SessionId(2)]);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.due(at(6000)), [SessionId(3)]);
        assert!(queue.is_empty());
        assert_eq!(queue.next_deadline(), None);
    }

    #[test]
    fn a_touched_session_moves_on_and_a_removed_one_is_gone() {
        let mut queue = ExpiryQueue::new(10);
        queue.set(SessionId(1), at(5));
        queue.set(SessionId(2), at(5));
        queue.set(SessionId(1), at(25));
        queue.remove(SessionId(2));
        assert!(queue.due(at(29)).is_empty());
        assert_eq!(queue.due(at(30)), [SessionId(1)]);
    }

    #[test]
    fn a_shorter_timeout_takes_effect() {
        let mut queue = ExpiryQueue::new(10);
        queue.set(SessionId(1), at(95));
        queue.set(SessionId(1), at(15));
        assert_eq!(queue.due(at(20)), [SessionId(1)]);
        assert!(queue.due(at(1000)).is_empty());
    }

    #[test]
    fn a_session_removed_and_set_again_expires_once() {
        let mut queue = ExpiryQueue::new(10);
        queue.set(SessionId(1), at(5));
        queue.remove(SessionId(1));
        queue.set(SessionId(1), at(5));
        assert_eq!(queue.due(at(100)), [SessionId(1)]);
    }

    proptest! {
        /// Whatever the order of settings, removals and questions: the same answers as a plain map of bucket ends.
        #[test]
        fn behaves_like_a_map_of_deadlines(
            steps in prop::collection::vec((0u8..4, 0i64..6, 0u64..60), 1..200)
        ) {
            let tick = 7;
            let mut queue = ExpiryQueue::new(tick);
            let mut model: BTreeMap<SessionId, u64> = BTreeMap::new();
            let mut now = 0;
            for (action, session, millis) in steps {
                let session = SessionId(session);
                match action {
                    0 | 1 => {
                        queue.set(session, at(now + millis));
                        model.insert(session, ((now + millis) / tick + 1) * tick);
                    }
                    2 => {
                        queue.remove(session);
                        model.remove(&session);
                    }
                    _ => {
                        now += millis;
                        let mut due = queue.due(at(now));
                        due.sort();
                        let expected: Vec<_> = model
                            .iter()
                            .filter(|(_, end)| **end <= now)
                            .map(|(id, _)| *id)
                            .collect();
                        prop_assert_eq!(due, expected);
                        model.retain(|_, end| *end > now);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
            }
        }
    }
}
