//! One worker's watches: registering, removing, checking and counting them (client-protocol sheet §16). Changes
//! come in through `trigger.rs`; how watches are kept is `table.rs`.
//!
//! A watch belongs to a connection and vanishes with it: the owner calls `drop_connection` when one ends.

use super::events::Events;
use super::mode::{WatchKind, places, places_of_removal};
use super::table::{Spot, Table};
use crate::message::{WatchEvent, WatchEventKind, WatchRemovalKind, WatchesToSet};
use crate::types::{ConnId, Zxid};

/// The watches of one worker's connections.
pub struct WatchShard {
    pub(super) table: Table,
    /// Number of the event being told; see `trigger.rs`.
    pub(super) event_number: u64,
}

/// When a znode was last changed: what setWatches compares with what the client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastChange {
    pub mzxid: Zxid,
    pub pzxid: Zxid,
}

/// Sizes. `conns`, `paths` and `watches` are what `wchs` shows, which counts the data side only; the same path may be
/// watched in several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WatchCounts {
    pub conns: usize,
    pub paths: usize,
    pub watches: usize,
    /// Both sides: the metric `watch_count`.
    pub watches_of_both_sides: usize,
}

impl WatchShard {
    /// `hash_seed` is to be a secret of this process.
    pub fn new(hash_seed: u64) -> WatchShard {
        WatchShard { table: Table::new(hash_seed), event_number: 0 }
    }

    /// Registers a watch; once more changes nothing. Neither the znode nor permissions matter here.
    pub fn add(&mut self, conn: ConnId, path: &str, kind: WatchKind) {
        let conn = self.table.conn_slot(conn);
        let path = self.table.path_slot(path);
        for (side, modes) in places(kind) {
            self.table.add(Spot::new(path, *side), conn, *modes);
        }
    }

    /// checkWatches: whether there is any such watch on exactly this path.
    pub fn check(&self, conn: ConnId, path: &str, kind: WatchRemovalKind) -> bool {
        let (Some(conn), Some(path)) = (self.table.find_conn(conn), self.table.find_path(path)) else {
            return false;
        };
        places_of_removal(kind).iter().any(|(side, modes)| {
            let watch = self.table.find_watch(Spot::new(path, *side), conn);
            watch.is_some_and(|watch| self.table.watch(watch).modes.meets(*modes))
        })
    }

    /// removeWatches: removes every such watch on exactly this path, other kinds stay. Whether there was any.
    pub fn remove(&mut self, conn: ConnId, path: &str, kind: WatchRemovalKind) -> bool {
        let (Some(conn), Some(path)) = (self.table.find_conn(conn), self.table.find_path(path)) else {
            return false;
        };
        let mut found = false;
        for (side, modes) in places_of_removal(kind) {
            // Removing from one side may forget the path; then nothing is found on the other.
            if let Some(watch) = self.table.find_watch(Spot::new(path, *side), conn)
                && self.table.watch(watch).modes.meets(*modes)
            {
                self.table.take(watch, *modes);
                found = true;
            }
        }
        found
    }

    /// setWatches and setWatches2: tells what the client missed, registers the rest. `lookup` answers from the
    /// version of the tree that the request is answered from; `None` = no such znode.
    pub fn set_watches(
        &mut self,
        conn: ConnId,
        watches: &WatchesToSet<'_>,
        mut lookup: impl FnMut(&str) -> Option<LastChange>,
        events: &mut Events,
    ) {
        use WatchEventKind::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
        let seen = watches.relative_zxid;
        for path in &watches.data {
            let missed = match lookup(path) {
                None => Some(NodeDeleted),
                Some(node) if node.mzxid > seen => Some(NodeDataChanged),
                Some(_) => None,
            };
            self.catch_up(conn, path, missed, WatchKind::Data, events);
        }
        for path in &watches.exist {
            let missed = lookup(path).map(|_| NodeCreated);
            self.catch_up(conn, path, missed, WatchKind::Data, events);
        }
        for path in &watches.child {
            let missed = match lookup(path) {
                None => Some(NodeDeleted),
                Some(node) if node.pzxid > seen => Some(NodeChildrenChanged),
                Some(_) => None,
            };
            self.catch_up(conn, path, missed, WatchKind::Child, events);
        }
        for path in &watches.persistent {
            self.add(conn, path, WatchKind::Persistent);
        }
        for path in &watches.persistent_recursive {
            self.add(conn, path, WatchKind::PersistentRecursive);
        }
    }

    fn catch_up(
        &mut self,
        conn: ConnId,
        path: &str,
        missed: Option<WatchEventKind>,
        otherwise: WatchKind,
        events: &mut Events,
    ) {
        match missed {
            Some(kind) => {
                events.tell(conn);
                events.hear(|| WatchEvent { kind, path: path.into(), zxid: Zxid(-1) });
            }
            None => self.add(conn, path, otherwise),
        }
    }

    /// The connection has ended.
    pub fn drop_connection(&mut self, conn: ConnId) {
        if let Some(conn) = self.table.find_conn(conn) {
            self.table.drop_conn(conn);
        }
    }

    pub fn counts(&self) -> WatchCounts {
        WatchCounts {
            conns: self.table.data_conns,
            paths: self.table.data_paths,
            watches: self.table.data_watches,
            watches_of_both_sides: self.table.watch_count(),
        }
    }

    /// `wchp`: watched paths and who watches them, data side only.
    pub fn paths_watched(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = ConnId>)> {
        self.table.paths_watched()
    }

    /// `wchc`: connections and what they watch, data side only.
    pub fn conns_watching(&self) -> impl Iterator<Item = (ConnId, impl Iterator<Item = &str>)> {
        self.table.conns_watching()
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
