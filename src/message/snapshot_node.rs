//! One znode as it travels to disk or to a learner.

use crate::types::StatPersisted;

/// A znode on its way out of a snapshot; borrowed from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotNode<'a> {
    /// Full path; the root's is empty.
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    /// Key into the snapshot's ACL table; -1 = open.
    pub acl_key: i64,
    pub stat: StatPersisted,
}
