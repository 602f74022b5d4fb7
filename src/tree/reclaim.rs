//! When memory of the tree may be freed. Every record carries its *birth*, the number of the version it was made
//! for. The writer edits records of its own, unpublished version in place; any other it copies, and the old
//! one is *retired*: freed once no reader can reach it. Three kinds of readers exist. A pinned one is protected
//! by its epoch guard; a held version (snapshot, learner) by the rule below; a cut (`cut`), which is looked at for moments, by
//! keeping back whatever was retired from its batch on.
//!
//! Invariant: a record is reachable from version V exactly if birth <= V < death, where death is the version that
//! retired it. So a retired record is kept while a held V lies in that range, and goes to the epoch otherwise.

use super::sync::{AtomicBool, Ordering, epoch};
use std::collections::VecDeque;
use std::sync::Arc;

/// Of what a released hold had kept, so many records are freed with one publication: there can be as many as the tree has,
/// and whoever frees them does nothing else meanwhile.
const FREED_AT_ONCE_MAX: usize = 8 << 10;

/// Number of a version; grows by at least one for every published one.
pub type VersionNumber = u64;

/// A record that the head no longer reaches. `free` releases this record alone, not what it points to.
pub(super) struct Retired {
    record: *mut (),
    free: unsafe fn(*mut ()),
    birth: VersionNumber,
    death: VersionNumber,
}

// SAFETY: a retired record is owned by whoever holds this value; nothing in it is tied to a thread.
unsafe impl Send for Retired {}

impl Retired {
    /// For a version that is given up before it was published: what was made after `published` goes, what `published`
    /// reaches stays where it is.
    pub fn free_if_born_after(self, published: VersionNumber) {
        if self.birth > published {
            // SAFETY: never published, so nobody but the writer ever saw it.
            unsafe { (self.free)(self.record) };
        }
    }
}

/// The writer's side of reclamation.
pub(super) struct Reclaim {
    /// The version being built; records with this birth are the writer's own.
    pub birth: VersionNumber,
    pub retired: Vec<Retired>,
    /// Reachable from a held version.
    kept: Vec<Retired>,
    /// Was kept, and is held no longer.
    let_go: Vec<Retired>,
    holds: Vec<Hold>,
    /// Publications from the first one on whose cuts may still be looked at, oldest first.
    behind_cuts: VecDeque<Publication>,
}

struct Hold {
    version: VersionNumber,
    released: Released,
}

struct Publication {
    death: VersionNumber,
    retired: Vec<Retired>,
    cuts: Vec<Released>,
}

impl Publication {
    fn is_looked_at(&self) -> bool {
        !self.cuts.iter().all(Released::get)
    }
}

/// Tells the writer, when dropped, that something is no longer looked at.
pub(super) struct HoldToken(Arc<AtomicBool>);

/// Whether it is so.
#[derive(Clone)]
pub(super) struct Released(Arc<AtomicBool>);

impl HoldToken {
    pub fn new() -> (HoldToken, Released) {
        let released = Arc::new(AtomicBool::new(false));
        (HoldToken(released.clone()), Released(released))
    }
}

impl Released {
    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for HoldToken {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Reclaim {
    pub fn new(birth: VersionNumber) -> Reclaim {
        Reclaim {
            birth,
            retired: Vec::new(),
            kept: Vec::new(),
            let_go: Vec::new(),
            holds: Vec::new(),
            behind_cuts: VecDeque::new(),
        }
    }

    /// May the record be edited in place?
    pub fn owns(&self, birth: VersionNumber) -> bool {
        birth == self.birth
    }

    /// Gives up a record that the head no longer reaches.
    ///
    /// # Safety
    /// `record` came from an allocation that `free` releases, and nothing reachable from the head points to it.
    pub unsafe fn retire(&mut self, record: *mut (), birth: VersionNumber, free: unsafe fn(*mut ())) {
        if self.owns(birth) {
            // SAFETY: never published, so nobody but the writer ever saw it.
            unsafe { free(record) };
        } else {
            self.retired.push(Retired { record, free, birth, death: 0 });
        }
    }

    /// Registers `version`, which must be the published one.
    pub fn hold(&mut self, version: VersionNumber) -> HoldToken {
        let (token, released) = HoldToken::new();
        self.holds.push(Hold { version, released });
        token
    }

    /// Takes what the version just published (`death`) had retired, and frees what nobody reaches any more. `cuts`: the cuts
    /// that were published with it.
    pub fn published(
        &mut self,
        death: VersionNumber,
        retired: Vec<Retired>,
        cuts: Vec<Released>,
        guard: &epoch::Guard,
    ) {
        if cuts.is_empty() && self.behind_cuts.is_empty() {
            return self.free(death, retired, guard);
        }
        self.behind_cuts.push_back(Publication { death, retired, cuts });
        self.go_on(guard);
    }

    /// Frees what had been kept back for cuts and holds that have ended since.
    pub fn go_on(&mut self, guard: &epoch::Guard) {
        while let Some(next) = self.behind_cuts.pop_front_if(|next| !next.is_looked_at()) {
            self.free(next.death, next.retired, guard);
        }
        if self.has_freed_holds() {
            self.free(0, Vec::new(), guard);
        }
    }

    /// Hands over what the publication of `death` had retired, and what released holds had kept.
    fn free(&mut self, death: VersionNumber, mut retired: Vec<Retired>, guard: &epoch::Guard) {
        let held_before = self.holds.len();
        self.holds.retain(|hold| !hold.released.get());
        let holds = &self.holds;
        let is_held = |r: &mut Retired| holds.iter().any(|h| r.birth <= h.version && h.version < r.death);
        if holds.len() < held_before {
            // Only now: a hold that was taken since is of a version behind the deaths of all that is kept.
            self.let_go.extend(self.kept.extract_if(.., |record| !is_held(record)));
        }
        if !holds.is_empty() {
            retired.iter_mut().for_each(|record| record.death = death);
            self.kept.extend(retired.extract_if(.., is_held));
        }
        let rest = self.let_go.len().saturating_sub(FREED_AT_ONCE_MAX);
        retired.extend(self.let_go.drain(rest..));
        if !retired.is_empty() {
            // SAFETY: unreachable from the published version on; readers pinned earlier are waited for.
            unsafe { guard.defer_unchecked(move || free_all(retired)) };
        }
        guard.flush();
    }

    /// `go_on` would find something.
    pub fn has_backlog(&self) -> bool {
        self.has_freed_holds() || self.behind_cuts.front().is_some_and(|next| !next.is_looked_at())
    }

    #[cfg(test)]
    pub fn keeps_for_cuts(&self) -> bool {
        !self.behind_cuts.is_empty()
    }

    /// A hold has ended since the last publication, or what one had kept waits for its turn to be freed.
    fn has_freed_holds(&self) -> bool {
        !self.let_go.is_empty() || self.holds.iter().any(|hold| hold.released.get())
    }
}

impl Drop for Reclaim {
    fn drop(&mut self) {
        // What a live hold may still look at is leaked on purpose; that happens only when the process ends.
        let holds_alive = self.holds.iter().any(|h| !h.released.get());
        let mut all = std::mem::take(&mut self.retired);
        all.append(&mut self.let_go);
        if !holds_alive && !self.behind_cuts.iter().any(Publication::is_looked_at) {
            all.extend(self.behind_cuts.drain(..).flat_map(|publication| publication.retired));
        }
        if !holds_alive {
            all.append(&mut self.kept);
        }
        let guard = epoch::pin();
        // SAFETY: as in `free`.
        unsafe { guard.defer_unchecked(move || free_all(all)) };
    }
}

fn free_all(records: Vec<Retired>) {
    for retired in records {
        // SAFETY: the epoch has passed, no reader can hold a reference.
        unsafe { (retired.free)(retired.record) };
    }
}
