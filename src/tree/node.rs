//! One znode in one allocation: a fixed head, the blocks that this znode needs, its name, its data. Most znodes
//! are never changed and have no children, so what is then derivable is not stored.
//!
//! ```text
//! birth u64 | czxid | ctime | digest u32 | acl u32 | data length u32 | flags u8, name length u24
//! [CHILDREN: pzxid | trie of children | cversion i32 | child count u32]   absent: pzxid = czxid, rest 0
//! [CHANGED:  mzxid | mtime | version i32 | aversion i32]                  absent: mzxid = czxid, mtime = ctime, rest 0
//! [OWNER:    ephemeral owner i64]                                         absent: 0
//! name bytes | data bytes
//! ```
//!
//! Invariant: a record that was published is never written again.

use super::memory;
use super::reclaim::{Reclaim, VersionNumber};
use super::trie::{self, EMPTY, Record, Slot};
use crate::types::limits::NODE_NAME_BYTES_MAX;
use crate::types::{StatPersisted, Zxid};
use std::ptr;

const CHILDREN: u32 = 1 << 24;
const CHANGED: u32 = 1 << 25;
const OWNER: u32 = 1 << 26;
const NAME_LENGTH_MASK: u32 = (1 << 24) - 1;
const NULL_DATA: u32 = u32::MAX;
const _: () = assert!(NODE_NAME_BYTES_MAX as u32 == NAME_LENGTH_MASK);

#[repr(C)]
pub(super) struct Znode {
    birth: VersionNumber,
    czxid: i64,
    ctime: i64,
    pub digest: u32,
    /// Key into the ACL table; 0 = open.
    pub acl: u32,
    data_length: u32,
    flags_and_name_length: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ChildrenBlock {
    pzxid: i64,
    children: Slot,
    cversion: i32,
    count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ChangedBlock {
    mzxid: i64,
    mtime: i64,
    version: i32,
    aversion: i32,
}

/// Everything a record is built from. Name and data are pointers, since they may lie in a record that is freed by whoever was
/// given them.
pub(super) struct Parts {
    pub name: *const str,
    pub data: Option<*const [u8]>,
    pub stat: StatPersisted,
    pub acl: u32,
    pub digest: u32,
    pub children: Slot,
    pub child_count: u32,
}

impl Parts {
    fn flags(&self) -> u32 {
        let stat = &self.stat;
        let mut flags = 0;
        if !self.children.is_empty() || stat.pzxid != stat.czxid || stat.cversion != 0 {
            flags |= CHILDREN;
        }
        if stat.mzxid != stat.czxid || stat.mtime != stat.ctime || stat.version != 0 || stat.aversion != 0 {
            flags |= CHANGED;
        }
        if stat.ephemeral_owner != 0 {
            flags |= OWNER;
        }
        flags
    }
}

fn blocks_bytes(flags: u32) -> usize {
    let mut bytes = 0;
    if flags & CHILDREN != 0 {
        bytes += size_of::<ChildrenBlock>();
    }
    if flags & CHANGED != 0 {
        bytes += size_of::<ChangedBlock>();
    }
    if flags & OWNER != 0 {
        bytes += size_of::<i64>();
    }
    bytes
}

fn record_bytes(flags: u32, name_length: usize, data_length: usize) -> usize {
    size_of::<Znode>() + blocks_bytes(flags) + name_length + data_length
}

impl Znode {
    /// A new record. The caller keeps names within `NODE_NAME_BYTES_MAX`.
    ///
    /// # Safety
    /// Name and data of `parts` are alive.
    pub unsafe fn build(birth: VersionNumber, parts: &Parts) -> *mut Znode {
        let flags = parts.flags();
        // SAFETY: alive by the contract.
        let (name, data) = unsafe { ((*parts.name).as_bytes(), parts.data.map_or(&[][..], |data| &*data)) };
        assert!(name.len() <= NODE_NAME_BYTES_MAX && data.len() < NULL_DATA as usize);
        let node = memory::take(record_bytes(flags, name.len(), data.len())).cast::<Znode>();
        let stat = &parts.stat;
        // SAFETY: the size was computed from the same flags and lengths that are written here.
        unsafe {
            node.write(Znode {
                birth,
                czxid: stat.czxid.0,
                ctime: stat.ctime,
                digest: parts.digest,
                acl: parts.acl,
                data_length: parts.data.map_or(NULL_DATA, |d| d.len() as u32),
                flags_and_name_length: flags | name.len() as u32,
            });
            let mut at = node.add(1).cast::<u8>();
            if flags & CHILDREN != 0 {
                at.cast::<ChildrenBlock>().write(ChildrenBlock {
                    pzxid: stat.pzxid.0,
                    children: parts.children,
                    cversion: stat.cversion,
                    count: parts.child_count,
                });
                at = at.add(size_of::<ChildrenBlock>());
            }
            if flags & CHANGED != 0 {
                at.cast::<ChangedBlock>().write(ChangedBlock {
                    mzxid: stat.mzxid.0,
                    mtime: stat.mtime,
                    version: stat.version,
                    aversion: stat.aversion,
                });
                at = at.add(size_of::<ChangedBlock>());
            }
            if flags & OWNER != 0 {
                at.cast::<i64>().write(stat.ephemeral_owner);
                at = at.add(size_of::<i64>());
            }
            ptr::copy_nonoverlapping(name.as_ptr(), at, name.len());
            ptr::copy_nonoverlapping(data.as_ptr(), at.add(name.len()), data.len());
            node
        }
    }

    /// The record's contents, to build another from.
    ///
    /// # Safety
    /// `this` points to a live record. The parts point into it.
    pub unsafe fn parts(this: *const Znode) -> Parts {
        unsafe {
            let (children, child_count) = Znode::children(this);
            Parts {
                name: Znode::name(this),
                data: Znode::data(this).map(ptr::from_ref),
                stat: Znode::stat(this),
                acl: (*this).acl,
                digest: (*this).digest,
                children,
                child_count,
            }
        }
    }

    unsafe fn has(this: *const Znode, flag: u32) -> bool {
        unsafe { (*this).flags_and_name_length & flag != 0 }
    }

    unsafe fn children_block(this: *const Znode) -> Option<*mut ChildrenBlock> {
        unsafe { Znode::has(this, CHILDREN).then(|| this.add(1).cast::<ChildrenBlock>().cast_mut()) }
    }

    unsafe fn changed_block(this: *const Znode) -> Option<*const ChangedBlock> {
        unsafe {
            let before = (*this).flags_and_name_length & CHILDREN;
            Znode::has(this, CHANGED).then(|| this.add(1).cast::<u8>().add(blocks_bytes(before)).cast())
        }
    }

    unsafe fn text(this: *const Znode) -> *const u8 {
        unsafe { this.add(1).cast::<u8>().add(blocks_bytes((*this).flags_and_name_length)) }
    }

    unsafe fn name_length(this: *const Znode) -> usize {
        unsafe { ((*this).flags_and_name_length & NAME_LENGTH_MASK) as usize }
    }

    /// # Safety
    /// `this` points to a live record, and it stays alive for `'a`. So for every accessor below.
    pub unsafe fn name<'a>(this: *const Znode) -> &'a str {
        unsafe {
            let bytes = std::slice::from_raw_parts(Znode::text(this), Znode::name_length(this));
            std::str::from_utf8_unchecked(bytes)
        }
    }

    pub unsafe fn data<'a>(this: *const Znode) -> Option<&'a [u8]> {
        unsafe {
            let length = (*this).data_length;
            (length != NULL_DATA)
                .then(|| std::slice::from_raw_parts(Znode::text(this).add(Znode::name_length(this)), length as usize))
        }
    }

    pub unsafe fn data_length(this: *const Znode) -> usize {
        unsafe { if (*this).data_length == NULL_DATA { 0 } else { (*this).data_length as usize } }
    }

    /// Trie of children and their number.
    pub unsafe fn children(this: *const Znode) -> (Slot, u32) {
        unsafe { Znode::children_block(this).map_or((EMPTY, 0), |block| ((*block).children, (*block).count)) }
    }

    /// Writes only the children of `parts` into a record that the writer owns and that has room for them.
    pub unsafe fn set_children_in_place(place: *mut Slot, parts: &Parts, reclaim: &Reclaim) -> bool {
        unsafe {
            let node = (*place).record::<Znode>();
            match Znode::children_block(node) {
                Some(block) if reclaim.owns((*node).birth) => {
                    (*block).children = parts.children;
                    (*block).count = parts.child_count;
                    true
                }
                _ => false,
            }
        }
    }

    /// Where the trie of children hangs; only on a record the writer owns and that has the block.
    pub unsafe fn children_place(this: *mut Znode) -> *mut Slot {
        unsafe {
            let block = Znode::children_block(this).expect("a parent has the block");
            &raw mut (*block).children
        }
    }

    pub unsafe fn owner(this: *const Znode) -> i64 {
        unsafe {
            let before = (*this).flags_and_name_length & (CHILDREN | CHANGED);
            if Znode::has(this, OWNER) {
                this.add(1).cast::<u8>().add(blocks_bytes(before)).cast::<i64>().read()
            } else {
                0
            }
        }
    }

    pub unsafe fn stat(this: *const Znode) -> StatPersisted {
        unsafe {
            let (czxid, ctime) = (Zxid((*this).czxid), (*this).ctime);
            let mut stat =
                StatPersisted { czxid, mzxid: czxid, pzxid: czxid, ctime, mtime: ctime, ..Default::default() };
            if let Some(block) = Znode::children_block(this) {
                stat.pzxid = Zxid((*block).pzxid);
                stat.cversion = (*block).cversion;
            }
            if let Some(block) = Znode::changed_block(this) {
                stat.mzxid = Zxid((*block).mzxid);
                stat.mtime = (*block).mtime;
                stat.version = (*block).version;
                stat.aversion = (*block).aversion;
            }
            stat.ephemeral_owner = Znode::owner(this);
            stat
        }
    }
}

impl Record for Znode {
    type Key = str;

    unsafe fn key<'a>(this: *const Self) -> &'a str {
        unsafe { Znode::name(this) }
    }

    unsafe fn birth(this: *const Self) -> VersionNumber {
        unsafe { (*this).birth }
    }

    unsafe fn free(this: *mut ()) {
        let node = this.cast::<Znode>();
        unsafe {
            let flags = (*node).flags_and_name_length;
            memory::give_back(node.cast(), record_bytes(flags, Znode::name_length(node), Znode::data_length(node)));
        }
    }

    unsafe fn free_below(this: *mut Self, since: VersionNumber) {
        unsafe { trie::free_since::<Znode>(Znode::children(this).0, since) };
    }
}
