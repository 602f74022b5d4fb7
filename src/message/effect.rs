//! What a committed transaction changed, as far as watchers care. Built once by `request/apply.rs`, shared by all
//! workers, turned into watch events by `watch/trigger.rs`.

use crate::types::{AclList, Zxid};
use std::sync::Arc;

/// One change of one znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The transaction that caused it.
    pub zxid: Zxid,
    pub kind: EffectKind,
    /// Full path of the znode that changed; `/` for the root.
    pub path: Arc<str>,
    /// ACL of the znode itself: the new one of a created node, the last one of a deleted node.
    pub acl: AclList,
    /// ACL of its parent, which filters children events; `None` for data changes.
    pub parent_acl: Option<AclList>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectKind {
    Created,
    Deleted,
    DataChanged,
}

/// A notification for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    pub kind: WatchEventKind,
    pub path: Arc<str>,
    /// zxid of the reply header: the transaction's, or -1 for events of a setWatches catch-up.
    pub zxid: Zxid,
}

/// `Watcher.Event.EventType` values that a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum WatchEventKind {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}
