//! Filling an empty tree from a snapshot. Znodes come parents first, and in every snapshot that a server writes also each with
//! all that is below it before its next sibling. So the children of a znode are gathered while they come, and their trie is
//! built in one go when the last is there: placed one by one, a million children would each walk through memory that no cache
//! holds. A snapshot in another order is loaded as well, one znode at a time.

use super::change::{InsertError, NewNode, ParentChange};
use super::node::{Parts, Znode};
use super::tables::AclKey;
use super::trie::{self, Seed, Slot};
use super::writer::TreeWriter;
use crate::types::{StatPersisted, path};

/// Znodes on their way into a tree. Until `finish` the tree counts them, but nobody finds them.
pub struct Loading {
    /// From the root down to the parent of the znode that came last.
    open: Vec<Open>,
    /// It is not the usual order: nothing is gathered any more.
    is_odd: bool,
}

/// A znode whose children are coming. Its own record is the last one gathered at the level above.
struct Open {
    path: String,
    children: Vec<Seed<Znode>>,
}

impl Open {
    fn new(path: &str) -> Open {
        Open { path: path.to_owned(), children: Vec::new() }
    }
}

impl Default for Loading {
    fn default() -> Loading {
        Loading { open: vec![Open::new("")], is_odd: false }
    }
}

// SAFETY: the pointers lead into the head of the writer that it is used with, and are followed only while that writer is
// borrowed mutably; neither is tied to a thread.
unsafe impl Send for Loading {}

impl Loading {
    /// Adds a znode to `tree`, which held nothing but its root when loading began. The empty path sets the root.
    pub fn insert(
        &mut self,
        tree: &mut TreeWriter,
        path: &str,
        data: Option<&[u8]>,
        acl: AclKey,
        stat: &StatPersisted,
    ) -> Result<(), InsertError> {
        if path.is_empty() {
            tree.acquire_interned(acl);
            tree.change_node(path, |_| *stat, Some(data), Some(acl));
            return Ok(());
        }
        let node = NewNode { path, data, acl, stat };
        let (parent_path, name) = path::split(path).ok_or(InsertError::NoParent)?;
        if name.is_empty() {
            return Err(InsertError::Exists);
        }
        if !self.is_odd {
            self.open(tree, parent_path)?;
        }
        let Some(parent) = self.open.last_mut() else {
            return tree.insert_interned(&node, ParentChange::default());
        };
        let (record, digest) = tree.build(name, &node);
        // SAFETY: the record was just made.
        parent.children.push(unsafe { Seed::new(record, &tree.published.seed) });
        tree.count_in(&node, digest);
        Ok(())
    }

    /// Closes what is done and opens what begins, so that the znode at `path` is the last of those that are open. If it is
    /// none of those that it could be, everything is closed.
    fn open(&mut self, tree: &mut TreeWriter, path: &str) -> Result<(), InsertError> {
        while let Some(last) = self.open.last() {
            if last.path == path {
                return Ok(());
            }
            let came_last = last.children.last().map(|child| {
                // SAFETY: it is alive until it is in the tree.
                unsafe { Znode::name(child.record) }
            });
            let below = path.strip_prefix(last.path.as_str()).and_then(|rest| rest.strip_prefix('/'));
            if came_last.is_some() && below == came_last {
                self.open.push(Open::new(path));
                return Ok(());
            }
            self.close_last(tree)?;
        }
        self.is_odd = true;
        Ok(())
    }

    /// Everything has come.
    pub fn finish(&mut self, tree: &mut TreeWriter) -> Result<(), InsertError> {
        while !self.open.is_empty() {
            self.close_last(tree)?;
        }
        Ok(())
    }

    fn close_last(&mut self, tree: &mut TreeWriter) -> Result<(), InsertError> {
        let Some(last) = self.open.last_mut() else { return Ok(()) };
        // SAFETY: the records are alive, and in no trie.
        if !unsafe { trie::sort(&mut last.children) } {
            return Err(InsertError::Exists);
        }
        let Some(Open { children, .. }) = self.open.pop() else { return Ok(()) };
        if children.is_empty() {
            return Ok(());
        }
        // SAFETY: as above; the record that gets them was made for this version, and nobody else has seen it.
        unsafe {
            let slot = trie::build(&children, &tree.published.seed, &mut tree.reclaim);
            match self.open.last_mut().and_then(|above| above.children.last_mut()) {
                Some(parent) => parent.record = with_children(parent.record, slot, children.len() as u32, tree),
                None => {
                    let root = tree.head.root.record::<Znode>();
                    tree.head.root = Slot::of(with_children(root, slot, children.len() as u32, tree));
                }
            }
        }
        Ok(())
    }
}

/// The record with these children: itself if it has room for them, else another.
unsafe fn with_children(record: *mut Znode, children: Slot, child_count: u32, tree: &mut TreeWriter) -> *mut Znode {
    unsafe {
        let parts = Parts { children, child_count, ..Znode::parts(record) };
        let mut place = Slot::of(record);
        if Znode::set_children_in_place(&raw mut place, &parts, &tree.reclaim) {
            return record;
        }
        tree.replace(&raw mut place, &parts)
    }
}

impl Drop for Loading {
    /// A snapshot that turned out to be damaged leaves znodes that are in no tree.
    fn drop(&mut self) {
        for open in &self.open {
            for child in &open.children {
                // SAFETY: nothing else holds them or what is below them.
                unsafe { trie::free_since::<Znode>(Slot::of(child.record), 0) };
            }
        }
    }
}
