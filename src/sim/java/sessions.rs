//! `SessionTrackerImpl` of a leader: which sessions live, whose they are, when they expire (facts sheet §12).

use crate::types::{ErrorCode, Instant, LinkId, SessionId};
use std::collections::BTreeMap;

struct Tracked {
    expires_at_ms: u64,
    /// The connection of a learner.
    owner: Option<LinkId>,
    is_closing: bool,
}

pub struct Sessions {
    interval_ms: u64,
    tracked: BTreeMap<SessionId, Tracked>,
}

impl Sessions {
    /// Every known session has all of its timeout ahead.
    pub fn new(tick_ms: u64, known: impl Iterator<Item = (SessionId, i32)>, now: Instant) -> Sessions {
        let mut sessions = Sessions { interval_ms: tick_ms, tracked: BTreeMap::new() };
        known.for_each(|(session, timeout_ms)| sessions.track(session, timeout_ms, now));
        sessions
    }

    pub fn track(&mut self, session: SessionId, timeout_ms: i32, now: Instant) {
        let new = Tracked { expires_at_ms: 0, owner: None, is_closing: false };
        self.tracked.entry(session).or_insert(new).expires_at_ms = self.expiry(timeout_ms, now);
    }

    fn expiry(&self, timeout_ms: i32, now: Instant) -> u64 {
        ((now.millis() + timeout_ms.max(0) as u64) / self.interval_ms + 1) * self.interval_ms
    }

    /// False: there is no such session, or it is being closed.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Instant) -> bool {
        let expires_at_ms = self.expiry(timeout_ms, now);
        match self.tracked.get_mut(&session) {
            Some(tracked) if !tracked.is_closing => {
                tracked.expires_at_ms = expires_at_ms;
                true
            }
            _ => false,
        }
    }

    pub fn own(&mut self, session: SessionId, owner: LinkId) {
        if let Some(tracked) = self.tracked.get_mut(&session).filter(|tracked| !tracked.is_closing) {
            tracked.owner = Some(owner);
        }
    }

    /// Why a learner may not write for a session, if so. The first that writes has it.
    pub fn refusal(&mut self, session: SessionId, asking: LinkId) -> Option<ErrorCode> {
        match self.tracked.get_mut(&session) {
            Some(tracked) if !tracked.is_closing => {
                let owner = *tracked.owner.get_or_insert(asking);
                (owner != asking).then_some(ErrorCode::SessionMoved)
            }
            _ => Some(ErrorCode::SessionExpired),
        }
    }

    pub fn closes(&mut self, session: SessionId) {
        if let Some(tracked) = self.tracked.get_mut(&session) {
            tracked.is_closing = true;
        }
    }

    pub fn remove(&mut self, session: SessionId) {
        self.tracked.remove(&session);
    }

    /// Those that nobody has heard of for too long: they are being closed from now on.
    pub fn expired(&mut self, now: Instant) -> Vec<SessionId> {
        let is_due = |tracked: &Tracked| !tracked.is_closing && tracked.expires_at_ms <= now.millis();
        let due = self.tracked.iter().filter(|(_, tracked)| is_due(tracked)).map(|(session, _)| *session);
        let due: Vec<SessionId> = due.collect();
        due.iter().for_each(|session| self.closes(*session));
        due
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let open = self.tracked.values().filter(|tracked| !tracked.is_closing);
        open.map(|tracked| Instant::from_millis(tracked.expires_at_ms)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId(7);

    #[test]
    fn the_first_that_writes_has_the_session_until_another_revalidates_it() {
        let at = Instant::from_millis(1000);
        let mut sessions = Sessions::new(100, [(ID, 400)].into_iter(), at);
        assert_eq!(sessions.refusal(ID, LinkId(1)), None);
        assert_eq!(sessions.refusal(ID, LinkId(3)), Some(ErrorCode::SessionMoved));
        assert!(sessions.touch(ID, 400, at));
        sessions.own(ID, LinkId(3));
        assert_eq!(sessions.refusal(ID, LinkId(1)), Some(ErrorCode::SessionMoved));
        assert_eq!(sessions.refusal(ID, LinkId(3)), None);
        sessions.closes(ID);
        assert_eq!(sessions.refusal(ID, LinkId(3)), Some(ErrorCode::SessionExpired));
        assert!(!sessions.touch(ID, 400, at));
    }

    #[test]
    fn a_session_expires_with_its_bucket() {
        let mut sessions = Sessions::new(100, [(ID, 400)].into_iter(), Instant::from_millis(1050));
        assert!(sessions.expired(Instant::from_millis(1499)).is_empty());
        assert_eq!(sessions.next_deadline(), Some(Instant::from_millis(1500)));
        assert_eq!(sessions.expired(Instant::from_millis(1500)), [ID]);
        assert!(sessions.expired(Instant::from_millis(9000)).is_empty(), "once");
    }
}
