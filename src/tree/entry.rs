//! The other records of a version: ACL table, sessions, ephemerals by session.

use super::reclaim::VersionNumber;
use super::trie::{self, Record, Slot};
use crate::types::AclList;

/// An ACL list that znodes name by key.
pub(super) struct AclEntry {
    pub birth: VersionNumber,
    pub key: u32,
    pub list: AclList,
}

/// A global session and the timeout it was created with, milliseconds.
pub(super) struct SessionEntry {
    pub birth: VersionNumber,
    pub id: i64,
    pub timeout_ms: i32,
}

/// The ephemerals of one session.
pub(super) struct EphemeralSet {
    pub birth: VersionNumber,
    pub owner: i64,
    pub paths: Slot,
    pub count: u32,
}

/// Full path of one ephemeral.
pub(super) struct EphemeralPath {
    pub birth: VersionNumber,
    pub path: Box<str>,
}

macro_rules! boxed_record {
    ($record:ty, $key:ty, |$this:ident| $key_of:expr $(, below |$set:ident, $since:ident| $below:expr)?) => {
        impl Record for $record {
            type Key = $key;
            unsafe fn key<'a>(this: *const Self) -> &'a $key {
                let $this: &'a Self = unsafe { &*this };
                $key_of
            }
            unsafe fn birth(this: *const Self) -> VersionNumber {
                unsafe { (*this).birth }
            }
            unsafe fn free(this: *mut ()) {
                drop(unsafe { Box::from_raw(this.cast::<Self>()) });
            }
            $(unsafe fn free_below($set: *mut Self, $since: VersionNumber) {
                unsafe { $below };
            })?
        }
    };
}

boxed_record!(AclEntry, u32, |entry| &entry.key);
boxed_record!(SessionEntry, i64, |entry| &entry.id);
boxed_record!(
    EphemeralSet,
    i64,
    |set| &set.owner,
    below | set,
    since | trie::free_since::<EphemeralPath>((*set).paths, since)
);
boxed_record!(EphemeralPath, str, |entry| &entry.path);
