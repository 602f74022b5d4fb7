//! Changes of znodes. Each call changes the head and everything derived from it: digest, counts, ACL uses,
//! ephemerals by session, the sets of container and TTL znodes. What a change means is `request/apply.rs`'s business.

use super::digest;
use super::node::{Parts, Znode};
use super::tables::AclKey;
use super::trie::{self, EMPTY, Record, Slot};
use super::view::{NodeRef, components};
use super::writer::{TreeWriter, Undo};
use crate::types::{Acl, StatPersisted, Zxid, path};
use std::ptr;

/// What a create or delete does to the parent's stored stat; `None` leaves the field alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParentChange {
    pub cversion: Option<i32>,
    pub pzxid: Option<Zxid>,
}

/// Why nothing was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    #[error("parent does not exist")]
    NoParent,
    #[error("node exists")]
    Exists,
}

/// A znode that is to be.
#[derive(Clone, Copy)]
pub(super) struct NewNode<'a> {
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    /// Interned, not acquired yet.
    pub acl: AclKey,
    pub stat: &'a StatPersisted,
}

impl TreeWriter {
    /// Creates a znode whose parent exists; nothing is changed on error.
    pub fn insert(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: Option<&[Acl]>,
        stat: &StatPersisted,
        parent_change: ParentChange,
    ) -> Result<(), InsertError> {
        let node = NewNode { path, data, acl: self.intern_acl(acl), stat };
        let inserted = self.insert_interned(&node, parent_change);
        if inserted.is_err() {
            self.forget_if_unused(node.acl);
        }
        inserted
    }

    pub(super) fn insert_interned(
        &mut self,
        node: &NewNode<'_>,
        parent_change: ParentChange,
    ) -> Result<(), InsertError> {
        let inserted = self.insert_in_place(node, parent_change);
        self.settle_root();
        inserted
    }

    fn insert_in_place(&mut self, node: &NewNode<'_>, parent_change: ParentChange) -> Result<(), InsertError> {
        let (parent_path, name) = path::split(node.path).ok_or(InsertError::NoParent)?;
        let place = self.own_place(parent_path).ok_or(InsertError::NoParent)?;
        if name.is_empty() {
            return Err(InsertError::Exists);
        }
        let (child, digest) = self.build(name, node);
        // SAFETY: `place` holds the parent, on a path the writer owns; the child is new.
        unsafe {
            let mut parent = Znode::parts((*place).record::<Znode>());
            if !trie::insert::<Znode>(&raw mut parent.children, child, &self.published.seed, &mut self.reclaim) {
                Znode::free(child.cast());
                // The way to the child that is there was made the writer's own; it holds the same.
                if !Znode::set_children_in_place(place, &parent, &self.reclaim) {
                    self.replace(place, &parent);
                }
                return Err(InsertError::Exists);
            }
            parent.child_count += 1;
            self.change_parent(place, parent_path, parent, parent_change);
        }
        self.count_in(node, digest);
        Ok(())
    }

    /// The record of a znode without children, and its digest.
    pub(super) fn build(&self, name: &str, node: &NewNode<'_>) -> (*mut Znode, u32) {
        let digest = self.digest_of(node.path, node.data, node.stat);
        let NewNode { data, acl, stat, .. } = *node;
        let data = data.map(ptr::from_ref);
        let parts = Parts { name, data, stat: *stat, acl: acl.0, digest, children: EMPTY, child_count: 0 };
        // SAFETY: name and data are borrowed.
        (unsafe { Znode::build(self.reclaim.birth, &parts) }, digest)
    }

    /// Everything that is derived from a znode that has come in.
    pub(super) fn count_in(&mut self, node: &NewNode<'_>, digest: u32) {
        let NewNode { path, data, acl, stat } = *node;
        self.acquire_interned(acl);
        self.head.digest = self.head.digest.wrapping_add(u64::from(digest));
        self.head.node_count += 1;
        self.head.data_bytes += (path.len() + data.map_or(0, <[u8]>::len)) as u64;
        self.head.quota_limit_nodes += u32::from(is_quota_limits(path));
        self.add_owner(path, stat.ephemeral_owner);
        if let (Some(journal), true) = (&mut self.journal, stat.ephemeral_owner != 0) {
            journal.push(Undo::OwnerAdded(path.into(), stat.ephemeral_owner));
        }
    }

    /// Deletes a znode, with everything below it. False if it was not there. The root stays.
    pub fn remove(&mut self, path: &str, parent_change: ParentChange) -> bool {
        let removed = self.remove_in_place(path, parent_change);
        self.settle_root();
        removed
    }

    fn remove_in_place(&mut self, path: &str, parent_change: ParentChange) -> bool {
        let Some((parent_path, name)) = path::split(path) else {
            return false;
        };
        let Some(place) = self.own_place(parent_path) else { return false };
        // SAFETY: `place` holds the parent, on a path the writer owns, and the child is there.
        unsafe {
            let mut parent = Znode::parts((*place).record::<Znode>());
            if name.is_empty() || trie::get::<Znode>(parent.children, name, &self.published.seed).is_null() {
                return false;
            }
            let node = trie::remove::<Znode>(&raw mut parent.children, name, &self.published.seed, &mut self.reclaim);
            parent.child_count -= 1;
            self.change_parent(place, parent_path, parent, parent_change);
            self.retire_node(node, path);
        }
        true
    }

    /// New data, and the stat that `stat_of` makes of the znode as it was; false if the znode is not there.
    pub fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        stat_of: impl FnOnce(NodeRef<'_>) -> StatPersisted,
    ) -> bool {
        self.change_node(path, stat_of, Some(data), None)
    }

    /// New ACL and stat; false if the znode is not there.
    pub fn set_acl(&mut self, path: &str, acl: Option<&[Acl]>, stat: &StatPersisted) -> bool {
        let key = self.acquire_acl(acl);
        let changed = self.change_node(path, |_| *stat, None, Some(key));
        if !changed {
            self.release_acl(key);
        }
        changed
    }

    /// New stat; false if the znode is not there. The owner must stay the same.
    pub fn set_stat(&mut self, path: &str, stat: &StatPersisted) -> bool {
        self.change_node(path, |_| *stat, None, None)
    }

    /// `acl` was acquired for this znode, which gives up its old one.
    pub(super) fn change_node(
        &mut self,
        path: &str,
        stat_of: impl FnOnce(NodeRef<'_>) -> StatPersisted,
        data: Option<Option<&[u8]>>,
        acl: Option<AclKey>,
    ) -> bool {
        let changed = self.change_in_place(path, stat_of, data, acl);
        self.settle_root();
        changed
    }

    fn change_in_place(
        &mut self,
        path: &str,
        stat_of: impl FnOnce(NodeRef<'_>) -> StatPersisted,
        data: Option<Option<&[u8]>>,
        acl: Option<AclKey>,
    ) -> bool {
        let Some(place) = self.own_place(path) else { return false };
        // SAFETY: `place` holds the node, on a path the writer owns.
        unsafe {
            let record = (*place).record::<Znode>();
            let stat = stat_of(NodeRef { node: record, view: self.view() });
            let mut parts = Znode::parts(record);
            if let Some(data) = data {
                let data = data.map(ptr::from_ref);
                let bytes = |d: Option<*const [u8]>| d.map_or(0, |d| d.len()) as u64;
                self.head.data_bytes = self.head.data_bytes - bytes(parts.data) + bytes(data);
                parts.data = data;
            }
            if let Some(key) = acl {
                self.release_acl(AclKey(parts.acl));
                parts.acl = key.0;
            }
            debug_assert_eq!(parts.stat.ephemeral_owner, stat.ephemeral_owner);
            parts.stat = stat;
            self.redigest(path, &mut parts);
            self.replace(place, &parts);
        }
        true
    }

    /// What was done at the root's place belongs to the head.
    fn settle_root(&mut self) {
        // SAFETY: the cell lives as long as the writer.
        let root = unsafe { self.root_place.as_ptr().read() };
        if !root.is_empty() {
            self.head.root = root;
        }
        // Nothing stays behind that a rollback would not know of.
        unsafe { self.root_place.as_ptr().write(EMPTY) };
    }

    /// Where a znode's record hangs; `None` if there is no such znode. The path to it is the writer's own (which changes
    /// nothing that can be seen); the record itself may not be.
    fn own_place(&mut self, path: &str) -> Option<*mut Slot> {
        // The root's place lies outside of `self`, which is borrowed anew while places are in use.
        let mut place = self.root_place.as_ptr();
        // SAFETY: the cell lives as long as the writer.
        unsafe { place.write(self.head.root) };
        for name in components(path)? {
            // SAFETY: `place` holds a record on a path the writer owns.
            unsafe {
                let mut node = (*place).record::<Znode>();
                if Znode::children(node).0.is_empty() {
                    return None;
                }
                if !self.reclaim.owns(Znode::birth(node)) {
                    node = self.replace(place, &Znode::parts(node));
                }
                let children = Znode::children_place(node);
                place = trie::place_of::<Znode>(children, name, &self.published.seed, &mut self.reclaim)?;
            }
        }
        Some(place)
    }

    /// Puts a record built from `parts` in the place of the present one, which is retired.
    ///
    /// # Safety
    /// `place` lies on a path the writer owns; `parts` may point into the present record.
    pub(super) unsafe fn replace(&mut self, place: *mut Slot, parts: &Parts) -> *mut Znode {
        unsafe {
            let old = (*place).record::<Znode>();
            let new = Znode::build(self.reclaim.birth, parts);
            *place = Slot::of(new);
            self.reclaim.retire(old.cast(), Znode::birth(old), Znode::free);
            new
        }
    }

    /// # Safety
    /// As `replace`; `parent` is the present record with its children already changed.
    unsafe fn change_parent(&mut self, place: *mut Slot, path: &str, mut parent: Parts, change: ParentChange) {
        if let Some(cversion) = change.cversion {
            parent.stat.cversion = cversion;
        }
        if let Some(pzxid) = change.pzxid {
            parent.stat.pzxid = pzxid;
        }
        unsafe {
            if change == ParentChange::default() && Znode::set_children_in_place(place, &parent, &self.reclaim) {
                return;
            }
            self.redigest(path, &mut parent);
            self.replace(place, &parent);
        }
    }

    /// Gives up a znode that was taken out of its parent, and all below it.
    ///
    /// # Safety
    /// The node hangs nowhere any more.
    unsafe fn retire_node(&mut self, node: *mut Znode, path: &str) {
        unsafe {
            let parts = Znode::parts(node);
            let mut children = trie::iter::<Znode>(parts.children);
            while let Some(child) = children.next_record() {
                let child_path = format!("{path}/{}", Znode::name(child));
                self.retire_node(child, &child_path);
            }
            trie::retire_branches(parts.children, &mut self.reclaim);
            self.head.digest = self.head.digest.wrapping_sub(u64::from(parts.digest));
            self.head.node_count -= 1;
            self.head.data_bytes -= (path.len() + parts.data.map_or(0, |data| data.len())) as u64;
            self.head.quota_limit_nodes -= u32::from(is_quota_limits(path));
            self.release_acl(AclKey(parts.acl));
            let owner = parts.stat.ephemeral_owner;
            self.remove_owner(path, owner);
            if let (Some(journal), true) = (&mut self.journal, owner != 0) {
                journal.push(Undo::OwnerRemoved(path.into(), owner));
            }
            self.reclaim.retire(node.cast(), Znode::birth(node), Znode::free);
        }
    }

    pub(super) fn digest_of(&self, path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
        if self.digest_enabled { digest::of_node(path, data, stat) } else { 0 }
    }

    /// # Safety
    /// The data of `parts` is alive.
    unsafe fn redigest(&mut self, path: &str, parts: &mut Parts) {
        // SAFETY: alive by the contract.
        let digest = self.digest_of(path, parts.data.map(|data| unsafe { &*data }), &parts.stat);
        let sum = self.head.digest.wrapping_sub(u64::from(parts.digest));
        self.head.digest = sum.wrapping_add(u64::from(digest));
        parts.digest = digest;
    }
}

fn is_quota_limits(path: &str) -> bool {
    path.strip_suffix(path::LIMITS_NODE).is_some_and(|above| above.ends_with('/') && above.starts_with(path::QUOTA))
}
