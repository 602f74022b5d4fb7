//! Watches of one client. Its one-shot watches are told of the first change behind their registration, before any reply that
//! reflects it, whichever way the connection went on; and of nothing else.

use super::agreement::History;
use super::znodes::Change;
use super::{Checked, Violation, demand};
use crate::message::WatchEventKind;
use crate::types::Zxid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    /// On a znode that was not there.
    Exist,
    Child,
}

#[derive(Clone, Debug)]
struct Watch {
    kind: Kind,
    path: String,
    since: Zxid,
}

#[derive(Default)]
pub struct Watches {
    watches: Vec<Watch>,
    /// On a new connection, and not registered there yet.
    is_away: bool,
}

impl Watches {
    pub fn register(&mut self, kind: Kind, path: &str, zxid: Zxid) {
        if !self.watches.iter().any(|watch| watch.kind == kind && watch.path == path) {
            self.watches.push(Watch { kind, path: path.to_owned(), since: zxid });
        }
    }

    pub fn paths(&self, kind: Kind) -> Vec<&str> {
        self.watches.iter().filter(|watch| watch.kind == kind).map(|watch| watch.path.as_str()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// The connection is gone: until they are registered anew nothing is told.
    pub fn away(&mut self) {
        self.is_away = true;
    }

    pub fn event(&mut self, history: &History, kind: WatchEventKind, path: &str, zxid: Zxid) -> Checked {
        let (change, heard): (Change, &[Kind]) = match kind {
            WatchEventKind::NodeCreated => (Change::Created, &[Kind::Data, Kind::Exist]),
            WatchEventKind::NodeDataChanged => (Change::Data, &[Kind::Data, Kind::Exist]),
            WatchEventKind::NodeDeleted => (Change::Deleted, &[Kind::Data, Kind::Exist, Kind::Child]),
            WatchEventKind::NodeChildrenChanged => (Change::Children, &[Kind::Child]),
        };
        let is_of_ours = |watch: &Watch| watch.path == path && heard.contains(&watch.kind);
        // Told once for its data and once for its children, as by Java's.
        let is_told_twice = kind == WatchEventKind::NodeDeleted && self.is_away;
        demand(is_told_twice || self.watches.iter().any(is_of_ours), || {
            format!("{kind:?} of {path} at {zxid}, which nobody watches")
        })?;
        match zxid {
            // Caught up with when it was registered anew.
            Zxid(-1) => demand(self.is_away, || format!("{kind:?} of {path} without a zxid"))?,
            zxid => {
                demand(history.znodes.has_change(path, change, zxid), || {
                    format!("{kind:?} of {path} at {zxid}, when it did not happen")
                })?;
                let earliest = self.watches.iter().filter(|watch| is_of_ours(watch)).map(|watch| watch.since).min();
                demand(earliest.is_some_and(|since| since < zxid), || {
                    format!("{kind:?} of {path} at {zxid}, which was registered later")
                })?;
            }
        }
        self.watches.retain(|watch| !is_of_ours(watch));
        Ok(())
    }

    /// A reply that reflects everything through `zxid`.
    pub fn reply(&self, history: &History, zxid: Zxid) -> Checked {
        if self.is_away {
            return Ok(());
        }
        self.watches.iter().try_for_each(|watch| {
            let missed = missed(history, watch, zxid);
            missed.map_or(Ok(()), |at| {
                Err(Violation(format!("a reply reflects {zxid}, and {watch:?} was not told of {at}")))
            })
        })
    }

    /// They are registered on a new connection, at `zxid`.
    pub fn back(&mut self, history: &History, zxid: Zxid) -> Checked {
        self.is_away = false;
        for watch in &mut self.watches {
            let missed = match watch.kind {
                // It may have come and gone.
                Kind::Exist => history.znodes.at(&watch.path, zxid).map(|znode| znode.czxid),
                Kind::Data | Kind::Child => missed(history, watch, zxid),
            };
            if let Some(at) = missed {
                return Err(Violation(format!("{watch:?} was registered anew at {zxid} and not told of {at}")));
            }
            watch.since = zxid;
        }
        Ok(())
    }
}

fn missed(history: &History, watch: &Watch, until: Zxid) -> Option<Zxid> {
    let changes: &[Change] = match watch.kind {
        Kind::Data | Kind::Exist => &[Change::Created, Change::Deleted, Change::Data],
        Kind::Child => &[Change::Children, Change::Deleted],
    };
    history.znodes.first_change(&watch.path, changes, watch.since, until)
}
