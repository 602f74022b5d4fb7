//! Feeds the tree from a snapshot, a log, or both: at a start, and when a leader has this server begin anew.

use crate::message::{SnapshotNode, Txn};
use crate::request::{self, RequestRules};
use crate::storage::{RestoreSink, SnapshotSink, SnapshotTrailer};
use crate::tree::{AclKey, InsertError, Loading, TreeWriter, View};
use crate::types::{AclList, SessionId, Zxid};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// What loading needs to remember besides the tree.
#[derive(Default)]
pub(super) struct TreeLoad {
    loading: Loading,
    acls: HashMap<i64, AclKey>,
    digest: bool,
    /// From where on digests in the log are compared: a snapshot of Java's may hold parts of later transactions.
    compare_after: Zxid,
    mismatches: u64,
    /// The last transactions of the log, `entries_max` of them.
    pub entries: VecDeque<(Zxid, Arc<[u8]>)>,
    /// The one that was dropped last to keep that number.
    pub entries_base: Option<Zxid>,
    entries_max: usize,
}

impl TreeLoad {
    pub fn new(rules: &RequestRules, entries_max: usize) -> TreeLoad {
        TreeLoad { digest: rules.digest, entries_max, ..TreeLoad::default() }
    }

    pub fn sink<'a>(&'a mut self, tree: &'a mut TreeWriter) -> TreeSink<'a> {
        TreeSink { load: self, tree }
    }
}

pub(super) struct TreeSink<'a> {
    load: &'a mut TreeLoad,
    tree: &'a mut TreeWriter,
}

impl TreeSink<'_> {
    /// The snapshot is in: settles what the stream does not say.
    pub fn loaded(&mut self, last: Zxid) {
        if last == Zxid::ZERO && self.tree.view().node_count() <= 1 {
            self.tree.clear();
            self.tree.found();
        }
        self.tree.forget_unused_acls();
        request::recount_all(self.tree);
        self.tree.set_last_zxid(last);
    }
}

impl SnapshotSink for TreeSink<'_> {
    fn begin(&mut self) {
        self.tree.clear();
        self.load.loading = Loading::default();
        self.load.acls.clear();
    }

    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.add_session(session, timeout_ms);
    }

    fn acl(&mut self, key: i64, list: AclList) {
        let key_here = self.tree.intern_acl(Some(&list));
        self.load.acls.insert(key, key_here);
    }

    fn node(&mut self, node: SnapshotNode<'_>) -> Result<(), &'static str> {
        let acl = match node.acl_key {
            -1 => self.tree.intern_acl(None),
            key => *self.load.acls.get(&key).ok_or("a znode names an ACL that is not in the table")?,
        };
        self.load.loading.insert(self.tree, node.path, node.data, acl, &node.stat).map_err(why_invalid)
    }

    fn end(&mut self) -> Result<(), &'static str> {
        self.load.loading.finish(self.tree).map_err(why_invalid)
    }
}

fn why_invalid(error: InsertError) -> &'static str {
    match error {
        InsertError::NoParent => "a znode without its parent",
        InsertError::Exists => "a znode twice",
    }
}

impl RestoreSink for TreeSink<'_> {
    fn snapshot_done(&mut self, last: Zxid, trailer: &SnapshotTrailer) {
        self.loaded(last);
        let fuzzy_until = trailer.digest.map_or(last, |digest| digest.zxid);
        self.load.compare_after = fuzzy_until.max(last);
    }

    fn txn(&mut self, txn: Txn, entry: &[u8]) {
        request::replay(self.tree, &txn.header, &txn.body);
        let (zxid, load) = (txn.header.zxid, &mut *self.load);
        if load.entries_max > 0 {
            if load.entries.len() == load.entries_max {
                load.entries_base = load.entries.pop_front().map(|(zxid, _)| zxid);
            }
            load.entries.push_back((zxid, entry.into()));
        }
        if let (true, Some(expected)) = (load.digest && zxid >= load.compare_after, txn.digest)
            && expected.tree != self.tree.view().digest()
        {
            load.mismatches += 1;
            if load.mismatches == 1 {
                tracing::error!(
                    "the tree after transaction {zxid} has digest {:#x}, the log says {:#x}: this server's data and its \
                     log disagree. Compare it with another server's before you rely on it",
                    self.tree.view().digest(),
                    expected.tree
                );
            }
        }
    }
}

/// Deletes ephemerals whose session is not in the list of sessions (`ZooKeeperServer.killSession`): without a
/// transaction, since every server that loads this state does the same.
pub(super) fn kill_dead_sessions(tree: &mut TreeWriter) {
    for session in dead_sessions(tree.view()) {
        let count = tree.view().ephemerals(session).count();
        tracing::info!("deleting {count} ephemeral(s) of session {session}, which is not alive");
        request::kill_session(tree, session);
    }
}

/// Owners of ephemerals that are not in the list of sessions.
pub(super) fn dead_sessions(view: View<'_>) -> Vec<SessionId> {
    let live: HashSet<SessionId> = view.sessions().map(|(id, _)| id).collect();
    view.ephemeral_owners().map(|(id, _)| id).filter(|id| !live.contains(id)).collect()
}
