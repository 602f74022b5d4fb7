//! Kinds of watches, and how they lie in the two tables (client-protocol sheet §16).

use crate::message::{AddWatchMode, WatchRemovalKind};
use std::num::NonZeroU8;

/// What a client asks to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// exists, getData: once, of the znode itself.
    Data,
    /// getChildren: once, of its children.
    Child,
    /// addWatch 0: of both, until removed.
    Persistent,
    /// addWatch 1: of the znode and all below it, until removed.
    PersistentRecursive,
}

impl From<AddWatchMode> for WatchKind {
    fn from(mode: AddWatchMode) -> WatchKind {
        match mode {
            AddWatchMode::Persistent => WatchKind::Persistent,
            AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
        }
    }
}

/// The two tables of ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Data = 0,
    Child = 1,
}

/// What one connection holds on one path in one table; never nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modes(NonZeroU8);

impl Modes {
    pub const STANDARD: Modes = Modes::of(1);
    pub const PERSISTENT: Modes = Modes::of(2);
    pub const RECURSIVE: Modes = Modes::of(4);
    pub const ANY: Modes = Modes::of(7);

    const fn of(bits: u8) -> Modes {
        match NonZeroU8::new(bits) {
            Some(bits) => Modes(bits),
            None => panic!("a watch has a mode"),
        }
    }

    pub fn or(self, other: Modes) -> Modes {
        Modes(self.0 | other.0)
    }

    pub fn meets(self, other: Modes) -> bool {
        self.0.get() & other.0.get() != 0
    }

    /// `None` when nothing is left.
    pub fn without(self, other: Modes) -> Option<Modes> {
        NonZeroU8::new(self.0.get() & !other.0.get()).map(Modes)
    }
}

/// Where a kind of watch is registered.
pub(super) fn places(kind: WatchKind) -> &'static [(Side, Modes)] {
    match kind {
        WatchKind::Data => &[(Side::Data, Modes::STANDARD)],
        WatchKind::Child => &[(Side::Child, Modes::STANDARD)],
        WatchKind::Persistent => &[(Side::Data, Modes::PERSISTENT), (Side::Child, Modes::PERSISTENT)],
        WatchKind::PersistentRecursive => &[(Side::Data, Modes::RECURSIVE)],
    }
}

/// Where checkWatches and removeWatches look.
pub(super) fn places_of_removal(kind: WatchRemovalKind) -> &'static [(Side, Modes)] {
    match kind {
        WatchRemovalKind::Children => places(WatchKind::Child),
        WatchRemovalKind::Data => places(WatchKind::Data),
        WatchRemovalKind::Any => &[(Side::Data, Modes::ANY), (Side::Child, Modes::ANY)],
        WatchRemovalKind::Persistent => places(WatchKind::Persistent),
        WatchRemovalKind::PersistentRecursive => places(WatchKind::PersistentRecursive),
    }
}
