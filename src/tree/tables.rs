//! The tables beside the znodes: interned ACL lists with their users, global sessions, ephemerals by session,
//! containers and TTL znodes.

use super::entry::{AclEntry, EphemeralPath, EphemeralSet, SessionEntry};
use super::trie::{self, EMPTY, Record, Slot};
use super::writer::{AclUse, TreeWriter, Undo};
use crate::types::{Acl, AclList, EphemeralOwner, SessionId};
use std::ptr;

/// Key of an interned ACL list; see `intern_acl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclKey(pub(super) u32);

impl TreeWriter {
    /// A key for `list`, so that a snapshot's nodes can share it. Keys nobody uses go with `forget_unused_acls`.
    pub fn intern_acl(&mut self, list: Option<&[Acl]>) -> AclKey {
        let Some(list) = list else { return AclKey(0) };
        if is_open(list) {
            return AclKey(0);
        }
        if let Some(known) = self.acl_keys.get(list) {
            return AclKey(known.key);
        }
        self.acl_key_last += 1;
        let (key, list): (u32, AclList) = (self.acl_key_last, list.into());
        self.add_acl_entry(key, list.clone());
        self.acl_keys.insert(list, AclUse { key, znodes: 0 });
        AclKey(key)
    }

    /// Drops interned lists that no znode uses (after a snapshot was loaded).
    pub fn forget_unused_acls(&mut self) {
        let unused: Vec<AclKey> = self.acl_keys.values().filter(|u| u.znodes == 0).map(|u| AclKey(u.key)).collect();
        for key in unused {
            self.acquire_interned(key);
            self.release_acl(key);
        }
    }

    fn add_acl_entry(&mut self, key: u32, list: AclList) {
        let entry = Box::into_raw(Box::new(AclEntry { birth: self.reclaim.birth, key, list }));
        // SAFETY: keys are never used twice.
        unsafe { trie::insert(&raw mut self.head.acls, entry, &self.published.seed, &mut self.reclaim) };
    }

    /// Takes back an `intern_acl` that came to nothing.
    pub(super) fn forget_if_unused(&mut self, key: AclKey) {
        if key.0 != 0 && self.acl_keys[&self.view().acl(key.0).clone()].znodes == 0 {
            self.acquire_interned(key);
            self.release_acl(key);
        }
    }

    pub(super) fn acquire_acl(&mut self, list: Option<&[Acl]>) -> AclKey {
        let key = self.intern_acl(list);
        self.acquire_interned(key);
        key
    }

    pub(super) fn acquire_interned(&mut self, key: AclKey) {
        if key.0 == 0 {
            return;
        }
        let list = self.view().acl(key.0).clone();
        self.acl_keys.get_mut(&list).expect("an interned list is known").znodes += 1;
        if let Some(journal) = &mut self.journal {
            journal.push(Undo::AclAcquired(list));
        }
    }

    pub(super) fn release_acl(&mut self, key: AclKey) {
        if key.0 == 0 {
            return;
        }
        let list = self.view().acl(key.0).clone();
        let users = self.acl_keys.get_mut(&list).expect("an interned list is known");
        users.znodes -= 1;
        if users.znodes == 0 {
            self.acl_keys.remove(&list);
            // SAFETY: the key is in the table.
            unsafe {
                let seed = &self.published.seed;
                let entry = trie::remove::<AclEntry>(&raw mut self.head.acls, &key.0, seed, &mut self.reclaim);
                self.reclaim.retire(entry.cast(), (*entry).birth, AclEntry::free);
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.push(Undo::AclReleased { list, key: key.0 });
        }
    }

    /// Adds a global session, or changes its timeout.
    pub fn add_session(&mut self, id: SessionId, timeout_ms: i32) {
        self.remove_session(id);
        let entry = Box::into_raw(Box::new(SessionEntry { birth: self.reclaim.birth, id: id.0, timeout_ms }));
        // SAFETY: the session is not there.
        unsafe { trie::insert(&raw mut self.head.sessions, entry, &self.published.seed, &mut self.reclaim) };
        self.head.session_count += 1;
    }

    /// Forgets a session; its ephemerals are the caller's to delete.
    pub fn remove_session(&mut self, id: SessionId) {
        if self.view().session(id).is_none() {
            return;
        }
        // SAFETY: the session is there.
        unsafe {
            let seed = &self.published.seed;
            let entry = trie::remove::<SessionEntry>(&raw mut self.head.sessions, &id.0, seed, &mut self.reclaim);
            self.reclaim.retire(entry.cast(), (*entry).birth, SessionEntry::free);
        }
        self.head.session_count -= 1;
    }

    /// Paths of all container znodes.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|path| &**path)
    }

    /// Paths of all TTL znodes.
    pub fn ttl_nodes(&self) -> impl Iterator<Item = &str> {
        self.ttl_nodes.iter().map(|path| &**path)
    }

    pub(super) fn add_owner(&mut self, path: &str, raw_owner: i64) {
        match EphemeralOwner::from_raw(raw_owner, self.head.owner_rules) {
            EphemeralOwner::Persistent => {}
            EphemeralOwner::Container => {
                let _ = self.containers.insert(path.into());
            }
            EphemeralOwner::Ttl { .. } => {
                let _ = self.ttl_nodes.insert(path.into());
            }
            EphemeralOwner::Session(session) => self.add_ephemeral(session, path),
        }
    }

    pub(super) fn remove_owner(&mut self, path: &str, raw_owner: i64) {
        match EphemeralOwner::from_raw(raw_owner, self.head.owner_rules) {
            EphemeralOwner::Persistent => {}
            EphemeralOwner::Container => {
                let _ = self.containers.remove(path);
            }
            EphemeralOwner::Ttl { .. } => {
                let _ = self.ttl_nodes.remove(path);
            }
            EphemeralOwner::Session(session) => self.remove_ephemeral(session, path),
        }
    }

    fn add_ephemeral(&mut self, session: SessionId, path: &str) {
        let birth = self.reclaim.birth;
        // SAFETY: places on paths the writer owns; the path is not in the set, since it was no znode.
        unsafe {
            let seed = &self.published.seed;
            if trie::get::<EphemeralSet>(self.head.ephemerals, &session.0, seed).is_null() {
                let set = EphemeralSet { birth, owner: session.0, paths: EMPTY, count: 0 };
                let set = Box::into_raw(Box::new(set));
                trie::insert(&raw mut self.head.ephemerals, set, seed, &mut self.reclaim);
            }
            let set = self.own_ephemeral_set(session);
            let entry = Box::into_raw(Box::new(EphemeralPath { birth, path: path.into() }));
            trie::insert(&raw mut (*set).paths, entry, &self.published.seed, &mut self.reclaim);
            (*set).count += 1;
        }
        self.head.ephemeral_count += 1;
    }

    fn remove_ephemeral(&mut self, session: SessionId, path: &str) {
        // SAFETY: an ephemeral znode is in its owner's set.
        unsafe {
            let set = self.own_ephemeral_set(session);
            let seed = &self.published.seed;
            let entry = trie::remove::<EphemeralPath>(&raw mut (*set).paths, path, seed, &mut self.reclaim);
            self.reclaim.retire(entry.cast(), (*entry).birth, EphemeralPath::free);
            (*set).count -= 1;
            if (*set).count == 0 {
                trie::remove::<EphemeralSet>(&raw mut self.head.ephemerals, &session.0, seed, &mut self.reclaim);
                self.reclaim.retire(set.cast(), (*set).birth, EphemeralSet::free);
            }
        }
        self.head.ephemeral_count -= 1;
    }

    /// # Safety
    /// The session has a set.
    unsafe fn own_ephemeral_set(&mut self, session: SessionId) -> *mut EphemeralSet {
        unsafe {
            let place = trie::place_of::<EphemeralSet>(
                &raw mut self.head.ephemerals,
                &session.0,
                &self.published.seed,
                &mut self.reclaim,
            )
            .expect("the session has a set");
            let set = (*place).record::<EphemeralSet>();
            if self.reclaim.owns((*set).birth) {
                return set;
            }
            let copy = EphemeralSet { birth: self.reclaim.birth, ..ptr::read(set) };
            let copy = Box::into_raw(Box::new(copy));
            *place = Slot::of(copy);
            self.reclaim.retire(set.cast(), (*set).birth, EphemeralSet::free);
            copy
        }
    }
}

fn is_open(list: &[Acl]) -> bool {
    matches!(list, [only] if only.perms == crate::types::perms::ALL && only.id.scheme == "world" && only.id.id == "anyone")
}
