//! One directory: the names a reader sees, the durable ones, and the changes in between. A crash leaves any of those changes,
//! each whole, in the order in which they were made. A failed sync leaves them pending: file systems keep a journal of names.

use super::random::Random;
use super::survival::Survival;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(pub u64);

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link { name: String, file: FileId },
    Unlink { name: String, file: FileId },
    Rename { from: String, to: String, file: FileId },
}

#[derive(Debug)]
struct Pending {
    moment: u64,
    change: NameChange,
}

#[derive(Debug, Default)]
pub(super) struct DirectoryImage {
    names: BTreeMap<String, FileId>,
    durable: BTreeMap<String, FileId>,
    pending: Vec<Pending>,
}

impl DirectoryImage {
    pub fn names(&self) -> &BTreeMap<String, FileId> {
        &self.names
    }

    pub fn get(&self, name: &str) -> Option<FileId> {
        self.names.get(name).copied()
    }

    pub fn change(&mut self, moment: u64, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(Pending { moment, change });
    }

    /// A name that was always there.
    pub fn lay(&mut self, name: &str, file: FileId) {
        self.names.insert(name.to_owned(), file);
        self.durable.insert(name.to_owned(), file);
    }

    /// The name is gone for good.
    pub fn take_away(&mut self, name: &str) {
        self.names.remove(name);
        self.durable.remove(name);
        self.pending.retain(|pending| match &pending.change {
            NameChange::Link { name: of, .. } | NameChange::Unlink { name: of, .. } => of != name,
            NameChange::Rename { from, to, .. } => from != name && to != name,
        });
    }

    /// A sync that began at `moment` is done.
    pub fn synced(&mut self, moment: u64) {
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let is_covered = pending.moment <= moment;
            if is_covered {
                apply(durable, &pending.change);
            }
            !is_covered
        });
    }

    /// How many changes the crash lost, and how many it left.
    pub fn crash(&mut self, random: &mut Random) -> (u64, u64) {
        let pending = std::mem::take(&mut self.pending);
        let (Some(first), Some(last)) = (pending.first(), pending.last()) else {
            return (0, 0);
        };
        let moments = (first.moment, last.moment);
        let survival = Survival::draw(random, moments, (0, pending.len() as u64 - 1));
        let mut kept = 0;
        for (place, change) in (0..).zip(&pending) {
            if survival.reached(random, place, [change.moment].into_iter()) > 0 {
                apply(&mut self.durable, &change.change);
                kept += 1;
            }
        }
        self.names.clone_from(&self.durable);
        (pending.len() as u64 - kept, kept)
    }

    /// Files that any name, now or after a crash, might lead to.
    pub fn may_hold(&self) -> impl Iterator<Item = FileId> {
        let pending = self.pending.iter().filter_map(|pending| match &pending.change {
            NameChange::Link { file, .. } | NameChange::Rename { file, .. } => Some(*file),
            NameChange::Unlink { .. } => None,
        });
        self.names.values().chain(self.durable.values()).copied().chain(pending)
    }
}

/// Changes before this one may be missing, so it looks at what is really there.
fn apply(names: &mut BTreeMap<String, FileId>, change: &NameChange) {
    let remove = |names: &mut BTreeMap<String, FileId>, name: &str, file: &FileId| {
        if names.get(name) == Some(file) {
            names.remove(name);
        }
    };
    match change {
        NameChange::Link { name, file } => {
            names.insert(name.clone(), *file);
        }
        NameChange::Unlink { name, file } => remove(names, name, file),
        NameChange::Rename { from, to, file } => {
            remove(names, from, file);
            names.insert(to.clone(), *file);
        }
    }
}
