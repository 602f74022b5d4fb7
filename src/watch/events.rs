//! Events on their way to connections. One change tells many connections the same, so the event is kept once with
//! the list of those who hear it; whoever sends it can encode it once.

use crate::message::WatchEvent;
use crate::types::ConnId;

/// Events in the order in which they go out. Meant to be kept and cleared, so that a turn allocates nothing.
#[derive(Debug, Default)]
pub struct Events {
    groups: Vec<Group>,
    conns: Vec<ConnId>,
}

#[derive(Debug)]
struct Group {
    event: WatchEvent,
    /// Its connections end here and start where those of the group before it end.
    conns_end: usize,
}

impl Events {
    pub fn new() -> Events {
        Events::default()
    }

    pub fn clear(&mut self) {
        self.groups.clear();
        self.conns.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Notifications, each counted once per connection.
    pub fn count(&self) -> usize {
        self.conns.len()
    }

    /// Every event with those who hear it; a connection occurs once in a group.
    pub fn groups(&self) -> impl Iterator<Item = (&WatchEvent, &[ConnId])> {
        let starts = std::iter::once(0).chain(self.groups.iter().map(|group| group.conns_end));
        self.groups.iter().zip(starts).map(|(group, start)| (&group.event, &self.conns[start..group.conns_end]))
    }

    /// The same, one notification at a time.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &WatchEvent)> {
        self.groups().flat_map(|(event, conns)| conns.iter().map(move |conn| (*conn, event)))
    }

    pub(super) fn tell(&mut self, conn: ConnId) {
        self.conns.push(conn);
    }

    /// Ends a group: everybody told since the last one hears this event. Nothing happens if that is nobody.
    pub(super) fn hear(&mut self, event: impl FnOnce() -> WatchEvent) {
        let told_before = self.groups.last().map_or(0, |group| group.conns_end);
        if self.conns.len() > told_before {
            self.groups.push(Group { event: event(), conns_end: self.conns.len() });
        }
    }
}
