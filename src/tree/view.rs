//! Looking at one version, whichever it is: the writer's head, a pinned one, a held one.

use super::entry::{AclEntry, EphemeralPath, EphemeralSet, SessionEntry};
use super::node::Znode;
use super::trie::{self, EMPTY, HashSeed, Slot};
use crate::types::{Acl, AclList, EphemeralOwner, OwnerRules, SessionId, Stat, StatPersisted, Zxid};
use std::sync::LazyLock;

static OPEN: LazyLock<AclList> = LazyLock::new(|| Acl::open_unsafe().into());

/// The roots of a version and the sums kept beside them.
#[derive(Clone, Copy)]
pub(super) struct Roots {
    /// The root znode.
    pub root: Slot,
    pub acls: Slot,
    pub sessions: Slot,
    pub ephemerals: Slot,
    pub last_zxid: Zxid,
    /// Sum of the digests of all znodes.
    pub digest: u64,
    pub node_count: u64,
    /// Bytes of all paths and data.
    pub data_bytes: u64,
    pub ephemeral_count: u64,
    pub session_count: u64,
    pub quota_limit_nodes: u32,
    pub owner_rules: OwnerRules,
}

impl Roots {
    pub fn empty(owner_rules: OwnerRules) -> Roots {
        Roots {
            root: EMPTY,
            acls: EMPTY,
            sessions: EMPTY,
            ephemerals: EMPTY,
            last_zxid: Zxid::ZERO,
            digest: 0,
            node_count: 0,
            data_bytes: 0,
            ephemeral_count: 0,
            session_count: 0,
            quota_limit_nodes: 0,
            owner_rules,
        }
    }
}

/// The names on the way from the root; none for "" and "/", `None` for a path that does not start with a slash.
pub(super) fn components(path: &str) -> Option<impl Iterator<Item = &str>> {
    let is_root = path.is_empty() || path == "/";
    let names = if is_root { "" } else { path.strip_prefix('/')? };
    // Names are short: a plain loop over bytes beats a searcher. Slashes are ASCII, so pieces of UTF-8 are UTF-8.
    let pieces = names.as_bytes().split(|byte| *byte == b'/');
    let name = |bytes| unsafe { std::str::from_utf8_unchecked(bytes) };
    Some(pieces.take(if is_root { 0 } else { usize::MAX }).map(name))
}

/// A version, alive for `'a`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) roots: &'a Roots,
    pub(super) seed: &'a HashSeed,
}

impl<'a> View<'a> {
    /// The znode at `path`; "" and "/" are the root, an illegal path is simply nowhere.
    pub fn lookup(self, path: &str) -> Option<NodeRef<'a>> {
        let mut node = self.root();
        for name in components(path)? {
            node = node.child(name)?;
        }
        Some(node)
    }

    pub fn root(self) -> NodeRef<'a> {
        NodeRef { node: self.roots.root.record(), view: self }
    }

    /// zxid of the last transaction contained.
    pub fn last_zxid(self) -> Zxid {
        self.roots.last_zxid
    }

    /// Sum of all node digests; 0 throughout when digests are off.
    pub fn digest(self) -> u64 {
        self.roots.digest
    }

    /// Znodes, the root counted once (Java's own count has it twice).
    pub fn node_count(self) -> u64 {
        self.roots.node_count
    }

    /// Bytes of all paths and data (`approximate_data_size`).
    pub fn data_bytes(self) -> u64 {
        self.roots.data_bytes
    }

    pub fn ephemeral_count(self) -> u64 {
        self.roots.ephemeral_count
    }

    pub fn session_count(self) -> u64 {
        self.roots.session_count
    }

    /// Number of `zookeeper_limits` nodes under `/zookeeper/quota`; 0 means that no quota work is due.
    pub fn quota_limit_nodes(self) -> u32 {
        self.roots.quota_limit_nodes
    }

    /// Global sessions with the timeouts they were created with, milliseconds.
    pub fn sessions(self) -> impl Iterator<Item = (SessionId, i32)> + 'a {
        // SAFETY: the version is alive for 'a.
        unsafe { trie::iter::<SessionEntry>(self.roots.sessions) }.map(|s| (SessionId(s.id), s.timeout_ms))
    }

    pub fn session(self, id: SessionId) -> Option<i32> {
        // SAFETY: as above.
        unsafe { trie::get::<SessionEntry>(self.roots.sessions, &id.0, self.seed).as_ref() }.map(|s| s.timeout_ms)
    }

    /// Paths of a session's ephemerals, in no particular order.
    pub fn ephemerals(self, id: SessionId) -> impl Iterator<Item = &'a str> + 'a {
        // SAFETY: as above.
        let set = unsafe { trie::get::<EphemeralSet>(self.roots.ephemerals, &id.0, self.seed).as_ref() };
        let paths = set.map_or(EMPTY, |set| set.paths);
        unsafe { trie::iter::<EphemeralPath>(paths) }.map(|e| &*e.path)
    }

    /// Sessions that own ephemerals, with their number.
    pub fn ephemeral_owners(self) -> impl Iterator<Item = (SessionId, u32)> + 'a {
        // SAFETY: as above.
        unsafe { trie::iter::<EphemeralSet>(self.roots.ephemerals) }.map(|s| (SessionId(s.owner), s.count))
    }

    /// The ACL table: keys as snapshots store them.
    pub fn acls(self) -> impl Iterator<Item = (i64, &'a AclList)> + 'a {
        // SAFETY: as above.
        unsafe { trie::iter::<AclEntry>(self.roots.acls) }.map(|e| (i64::from(e.key), &e.list))
    }

    pub(super) fn acl(self, key: u32) -> &'a AclList {
        if key == 0 {
            return &OPEN;
        }
        // SAFETY: as above.
        let entry = unsafe { trie::get::<AclEntry>(self.roots.acls, &key, self.seed).as_ref() };
        &entry.expect("a znode's ACL key is in the table").list
    }
}

/// A znode of a version.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    pub(super) node: *const Znode,
    pub(super) view: View<'a>,
}

// Every accessor below relies on one fact: the node belongs to a version that is alive for 'a.
impl<'a> NodeRef<'a> {
    /// Last component of the path; empty for the root.
    pub fn name(self) -> &'a str {
        unsafe { Znode::name(self.node) }
    }

    pub fn data(self) -> Option<&'a [u8]> {
        unsafe { Znode::data(self.node) }
    }

    pub fn stat_persisted(self) -> StatPersisted {
        unsafe { Znode::stat(self.node) }
    }

    /// The stat as clients see it (`DataNode.copyStat`).
    pub fn stat(self) -> Stat {
        let stored = self.stat_persisted();
        let children = self.child_count() as i32;
        Stat {
            czxid: stored.czxid,
            mzxid: stored.mzxid,
            ctime: stored.ctime,
            mtime: stored.mtime,
            version: stored.version,
            cversion: stored.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: stored.aversion,
            ephemeral_owner: self.owner().shown(),
            data_length: unsafe { Znode::data_length(self.node) } as i32,
            num_children: children,
            pzxid: stored.pzxid,
        }
    }

    pub fn owner(self) -> EphemeralOwner {
        EphemeralOwner::from_raw(unsafe { Znode::owner(self.node) }, self.view.roots.owner_rules)
    }

    pub fn child_count(self) -> u32 {
        unsafe { Znode::children(self.node).1 }
    }

    /// Children in no particular order.
    pub fn children(self) -> impl Iterator<Item = NodeRef<'a>> + 'a {
        let (children, _) = unsafe { Znode::children(self.node) };
        unsafe { trie::iter::<Znode>(children) }.map(move |node| NodeRef { node, view: self.view })
    }

    pub fn child(self, name: &str) -> Option<NodeRef<'a>> {
        let (children, _) = unsafe { Znode::children(self.node) };
        let node = unsafe { trie::get::<Znode>(children, name, self.view.seed) };
        (!node.is_null()).then_some(NodeRef { node, view: self.view })
    }

    pub fn acl(self) -> &'a AclList {
        self.view.acl(unsafe { (*self.node).acl })
    }

    /// The ACL's key as snapshots store it: -1 is open.
    pub fn acl_key(self) -> i64 {
        match unsafe { (*self.node).acl } {
            0 => -1,
            key => i64::from(key),
        }
    }

    /// Nodes below this one.
    pub fn descendant_count(self) -> u64 {
        let mut count = 0;
        let mut to_visit = vec![self];
        while let Some(node) = to_visit.pop() {
            count += u64::from(node.child_count());
            to_visit.extend(node.children().filter(|child| child.child_count() > 0));
        }
        count
    }
}
