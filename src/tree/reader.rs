//! The readers' side: pin the published version for a turn, or hold it for longer.

use super::entry::{AclEntry, EphemeralSet, SessionEntry};
use super::node::Znode;
use super::reclaim::{HoldToken, VersionNumber};
use super::trie::{self, HashSeed};
use super::view::{Roots, View};
use crossbeam::epoch::{self, Atomic, Guard, Owned};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A published state.
pub(super) struct Version {
    pub number: VersionNumber,
    pub roots: Roots,
}

// SAFETY: a published version is immutable, and freed only under the rules of `reclaim`.
unsafe impl Send for Version {}
unsafe impl Sync for Version {}

/// What writer and readers share.
pub(super) struct Published {
    current: Atomic<Version>,
    pub seed: HashSeed,
}

impl Published {
    pub fn new(version: Version, seed: HashSeed) -> Published {
        Published { current: Atomic::new(version), seed }
    }

    /// Makes `version` the one that readers pin from now on.
    pub fn publish(&self, version: Version, guard: &Guard) {
        let old = self.current.swap(Owned::new(version), Ordering::AcqRel, guard);
        // SAFETY: no longer reachable; pinned readers are waited for.
        unsafe { guard.defer_destroy(old) };
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // SAFETY: the last user is gone, so nobody reads the tree any more.
        unsafe {
            let current = std::mem::replace(&mut self.current, Atomic::null());
            let version = current.into_owned();
            free_roots(&version.roots, 0);
        }
    }
}

/// Frees everything reachable from `roots` that was born at `since` or later.
///
/// # Safety
/// Nothing reads it afterwards.
pub(super) unsafe fn free_roots(roots: &Roots, since: VersionNumber) {
    unsafe {
        trie::free_since::<Znode>(roots.root, since);
        trie::free_since::<AclEntry>(roots.acls, since);
        trie::free_since::<SessionEntry>(roots.sessions, since);
        trie::free_since::<EphemeralSet>(roots.ephemerals, since);
    }
}

/// A thread's access to the published versions.
#[derive(Clone)]
pub struct TreeReader {
    pub(super) published: Arc<Published>,
}

impl TreeReader {
    /// Pins the newest published version, for one turn at most: until the pin is dropped nothing that was
    /// retired since can be freed.
    pub fn pin(&self) -> Pinned<'_> {
        let guard = epoch::pin();
        let version = self.published.current.load(Ordering::Acquire, &guard).as_raw();
        Pinned { version, published: &self.published, _guard: guard }
    }
}

/// A version that stays alive while this value does.
pub struct Pinned<'r> {
    version: *const Version,
    published: &'r Published,
    _guard: Guard,
}

impl Pinned<'_> {
    pub fn number(&self) -> VersionNumber {
        // SAFETY: loaded under the guard that this value holds.
        unsafe { (*self.version).number }
    }

    pub fn view(&self) -> View<'_> {
        // SAFETY: as above.
        View { roots: unsafe { &(*self.version).roots }, seed: &self.published.seed }
    }
}

/// A version registered with the writer: may be kept as long as wanted, on any thread. Memory that newer
/// versions replace meanwhile stays allocated.
pub struct Held {
    pub(super) version: Version,
    pub(super) published: Arc<Published>,
    pub(super) _token: HoldToken,
}

impl Held {
    pub fn number(&self) -> VersionNumber {
        self.version.number
    }

    pub fn view(&self) -> View<'_> {
        View { roots: &self.version.roots, seed: &self.published.seed }
    }
}
