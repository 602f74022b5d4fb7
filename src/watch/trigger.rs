//! A change, and who is told of it: the trigger table of client-protocol sheet §16.
//!
//! | change | event | side / path |
//! |---|---|---|
//! | created p | NodeCreated | data / p, recursive ones above p |
//! | | NodeChildrenChanged | child / parent of p |
//! | deleted p | NodeDeleted | data / p, recursive ones above p; then child / p |
//! | | NodeChildrenChanged | child / parent of p |
//! | data of p changed | NodeDataChanged | data / p, recursive ones above p |
//!
//! Invariants: events come in the order of this table; a connection hears an event once, however many of its watches
//! match; a standard watch that matches is used up even if its connection may not read the node.

use super::events::Events;
use super::mode::{Modes, Side};
use super::shard::WatchShard;
use super::table::{NONE, Spot};
use crate::message::{Effect, EffectKind, WatchEvent, WatchEventKind};
use crate::types::{AclList, ConnId, path};

impl WatchShard {
    /// Appends to `events` what one change makes this shard's connections hear. `can_read` decides whether a
    /// connection holds READ under a list.
    pub fn trigger(
        &mut self,
        effect: &Effect,
        mut can_read: impl FnMut(ConnId, &AclList) -> bool,
        events: &mut Events,
    ) {
        if self.table.watch_count() == 0 {
            return;
        }
        let mut may_hear = |conn| can_read(conn, &effect.acl);
        let (kind, children_changed) = match effect.kind {
            EffectKind::Created => (WatchEventKind::NodeCreated, true),
            EffectKind::Deleted => (WatchEventKind::NodeDeleted, true),
            EffectKind::DataChanged => (WatchEventKind::NodeDataChanged, false),
        };
        self.tell_of_node(kind, effect, &mut may_hear, events);
        if children_changed {
            let acl = effect.parent_acl.as_ref();
            let mut may_hear = |conn| acl.is_none_or(|acl| can_read(conn, acl));
            self.tell_of_children(effect, &mut may_hear, events);
        }
    }

    fn tell_of_node(
        &mut self,
        kind: WatchEventKind,
        effect: &Effect,
        may_hear: &mut impl FnMut(ConnId) -> bool,
        events: &mut Events,
    ) {
        self.event_number += 1;
        let path = self.table.find_path(&effect.path);
        // The interned text, if there is one: nobody but this worker counts its references.
        let text = path.map(|path| self.table.path_text(path).clone());
        if let Some(path) = path {
            self.consider(Spot::new(path, Side::Data), Modes::ANY, may_hear, events);
        }
        self.consider_above(&effect.path, may_hear, events);
        if let (Some(path), WatchEventKind::NodeDeleted) = (path, kind) {
            self.consider(Spot::new(path, Side::Child), Modes::ANY, may_hear, events);
        }
        events.hear(|| WatchEvent { kind, path: text.unwrap_or_else(|| effect.path.clone()), zxid: effect.zxid });
    }

    fn tell_of_children(&mut self, effect: &Effect, may_hear: &mut impl FnMut(ConnId) -> bool, events: &mut Events) {
        let Some(parent) = self.table.find_path(path::parent(&effect.path)) else {
            return;
        };
        self.event_number += 1;
        let text = self.table.path_text(parent).clone();
        self.consider(Spot::new(parent, Side::Child), Modes::ANY, may_hear, events);
        events.hear(|| WatchEvent { kind: WatchEventKind::NodeChildrenChanged, path: text, zxid: effect.zxid });
    }

    /// Recursive watches on the ancestors of `path`, nearest first.
    fn consider_above(&mut self, path: &str, may_hear: &mut impl FnMut(ConnId) -> bool, events: &mut Events) {
        let mut below = path;
        while self.table.recursive_count > 0 && below != path::ROOT {
            below = path::parent(below);
            if let Some(above) = self.table.find_path(below) {
                let spot = Spot::new(above, Side::Data);
                self.consider(spot, Modes::RECURSIVE, may_hear, events);
            }
        }
    }

    /// Tells the connections that hold one of `modes` at `spot`, each once for the current event, and uses up their
    /// standard watches if those are among `modes`.
    fn consider(&mut self, spot: Spot, modes: Modes, may_hear: &mut impl FnMut(ConnId) -> bool, events: &mut Events) {
        let uses_up = modes.meets(Modes::STANDARD);
        let mut next = self.table.first_at(spot);
        while next != NONE {
            let watch = next;
            next = self.table.next_at(watch);
            let (conn, held) = {
                let watch = self.table.watch(watch);
                (watch.conn, watch.modes)
            };
            if !held.meets(modes) {
                continue;
            }
            let conn = self.table.conn(conn);
            if conn.considered != self.event_number {
                conn.considered = self.event_number;
                let id = conn.id;
                if may_hear(id) {
                    events.tell(id);
                }
            }
            if uses_up && held.meets(Modes::STANDARD) {
                self.table.take(watch, Modes::STANDARD);
            }
        }
    }
}
