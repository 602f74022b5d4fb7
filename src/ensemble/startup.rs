//! From the data directory to an ensemble thread that is ready: restore, settle dead sessions, write what must be there.

use super::batch::Batch;
use super::chores::{Every, Sweeper};
use super::driver::{Disk, Ensemble, EnsembleRules};
use super::snapshots::{SnapshotOptions, Snapshots, write_snapshot};
use crate::message::{SnapshotNode, Txn};
use crate::observe::MetricsWriter;
use crate::request::{self, ReapRules};
use crate::runtime::lanes::EnsembleLanes;
use crate::session::{SessionIds, SessionTable};

use crate::storage::{
    Background, DataDirs, LogOptions, Origin, RestoreOptions, RestoreSink, Restored, SnapshotSink, SnapshotTrailer,
    StorageError, TxnLog, restore,
};
use crate::tree::{AclKey, InsertError, Loading, TreeWriter};
use crate::types::{AclList, Now, OwnerRules, ServerId, SessionId, Zxid};
use std::collections::{HashMap, HashSet, VecDeque};

/// What a start needs beside the data directory.
pub struct StartOptions {
    pub rules: EnsembleRules,
    pub restore: RestoreOptions,
    pub log: LogOptions,
    pub snapshots: SnapshotOptions,
    pub server: ServerId,
    pub container_check_interval_ms: u64,
    pub container_per_minute_max: u32,
    pub reap: ReapRules,
    /// `autopurge.purgeInterval` in milliseconds; `None` = never.
    pub purge_interval_ms: Option<u64>,
    /// Secret of this process: places names in memory.
    pub hash_seed: u64,
    pub metrics: MetricsWriter,
    /// For the thread that writes snapshots.
    pub snapshot_metrics: MetricsWriter,
}

/// Where jobs run that nobody should wait for. The log waits for its next file when it has used up the one before, so files
/// must not queue behind a snapshot.
pub struct Backgrounds {
    pub snapshots: Background,
    pub log_files: Background,
}

/// The tree as it was, and what was found on the way.
pub struct Loaded {
    pub tree: TreeWriter,
    pub restored: Restored,
}

/// Reads the data directory.
pub fn load(dirs: &DataDirs, options: &StartOptions) -> Result<Loaded, StorageError> {
    let mut sink = TreeSink::new(options);
    let restored = restore(dirs, &options.restore, &mut sink)?;
    let mut tree = sink.tree;
    if restored.last_zxid > tree.view().last_zxid() {
        tree.set_last_zxid(restored.last_zxid);
    }
    Ok(Loaded { tree, restored })
}

/// Makes the ensemble thread's state of what was loaded. Must run before anybody is served.
pub fn start(
    dirs: &DataDirs,
    loaded: Loaded,
    options: StartOptions,
    lanes: EnsembleLanes,
    background: Backgrounds,
    now: Now,
) -> Result<Ensemble, StorageError> {
    let Loaded { mut tree, restored } = loaded;
    kill_dead_sessions(&mut tree);
    let version = tree.seal();
    tree.publish_through(version);
    let last_zxid = tree.view().last_zxid();
    let mut snapshots =
        Snapshots::new(options.snapshots.clone(), dirs.disk.clone(), background.snapshots, options.snapshot_metrics);
    match restored.origin {
        // A log without any snapshot is refused at the next start, so this one cannot wait.
        Origin::Fresh | Origin::LogsAlone | Origin::Unknown => {
            write_snapshot(&*dirs.disk, &options.snapshots, &tree.hold())?;
        }
        Origin::Snapshot(_) if restored.txns_replayed > 0 => snapshots.want(),
        Origin::Snapshot(_) => {}
    }
    let mut sessions = SessionTable::new(options.rules.tick_ms);
    for (id, timeout_ms) in tree.view().sessions() {
        sessions.add(id, timeout_ms, None, now.mono);
    }
    let log = TxnLog::open(&dirs.disk, &dirs.logs, Some(last_zxid), options.log, background.log_files)?;
    let workers = lanes.workers();
    let sweeper =
        Sweeper::new(options.container_check_interval_ms, options.container_per_minute_max, options.reap, now.mono);
    Ok(Ensemble {
        // Wall clock: a clock since boot would give the ids of sessions that are still alive once more.
        session_ids: SessionIds::new(options.server, now.wall.0 as u64),
        rules: options.rules,
        tree,
        log,
        lanes,
        sessions,
        batch: Batch::new(workers),
        sealed: VecDeque::new(),
        in_flight: None,
        flushed_through: last_zxid,
        snapshots,
        sweeper,
        purge: Every::new(options.purge_interval_ms, now.mono),
        digests: VecDeque::new(),
        metrics: options.metrics,
        entry: Vec::new(),
        disk: Disk::HasRoom,
        expiry_resumes: now.mono,
        deadline: None,
    })
}

/// Deletes ephemerals whose session is not in the list of sessions (`ZooKeeperServer.killSession`): without a
/// transaction, since every server that loads this state does the same.
fn kill_dead_sessions(tree: &mut TreeWriter) {
    let live: HashSet<SessionId> = tree.view().sessions().map(|(id, _)| id).collect();
    let dead: Vec<SessionId> =
        tree.view().ephemeral_owners().map(|(id, _)| id).filter(|id| !live.contains(id)).collect();
    for session in dead {
        let count = tree.view().ephemerals(session).count();
        tracing::info!("deleting {count} ephemeral(s) of session {session}, which is not alive");
        request::kill_session(tree, session);
    }
}

/// Feeds the tree from snapshot and log.
struct TreeSink {
    tree: TreeWriter,
    loading: Loading,
    acls: HashMap<i64, AclKey>,
    owner_rules: OwnerRules,
    digest: bool,
    hash_seed: u64,
    /// From where on digests in the log are compared: a snapshot of Java's may hold parts of later transactions.
    compare_after: Zxid,
    mismatches: u64,
}

impl TreeSink {
    fn new(options: &StartOptions) -> TreeSink {
        let (owner_rules, digest) = (options.rules.request.owner, options.rules.request.digest);
        TreeSink {
            tree: TreeWriter::fresh(owner_rules, digest, options.hash_seed),
            loading: Loading::default(),
            acls: HashMap::new(),
            owner_rules,
            digest,
            hash_seed: options.hash_seed,
            compare_after: Zxid::ZERO,
            mismatches: 0,
        }
    }
}

impl SnapshotSink for TreeSink {
    fn begin(&mut self) {
        self.loading = Loading::default();
        self.tree = TreeWriter::empty(self.owner_rules, self.digest, self.hash_seed);
        self.acls.clear();
    }

    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.add_session(session, timeout_ms);
    }

    fn acl(&mut self, key: i64, list: AclList) {
        let key_here = self.tree.intern_acl(Some(&list));
        self.acls.insert(key, key_here);
    }

    fn node(&mut self, node: SnapshotNode<'_>) -> Result<(), &'static str> {
        let acl = match node.acl_key {
            -1 => self.tree.intern_acl(None),
            key => *self.acls.get(&key).ok_or("a znode names an ACL that is not in the table")?,
        };
        self.loading.insert(&mut self.tree, node.path, node.data, acl, &node.stat).map_err(why_invalid)
    }

    fn end(&mut self) -> Result<(), &'static str> {
        self.loading.finish(&mut self.tree).map_err(why_invalid)
    }
}

fn why_invalid(error: InsertError) -> &'static str {
    match error {
        InsertError::NoParent => "a znode without its parent",
        InsertError::Exists => "a znode twice",
    }
}

impl RestoreSink for TreeSink {
    fn snapshot_done(&mut self, last: Zxid, trailer: &SnapshotTrailer) {
        if last == Zxid::ZERO && self.tree.view().node_count() <= 1 {
            self.tree = TreeWriter::fresh(self.owner_rules, self.digest, self.hash_seed);
        }
        self.tree.forget_unused_acls();
        request::recount_all(&mut self.tree);
        self.tree.set_last_zxid(last);
        let fuzzy_until = trailer.digest.map_or(last, |digest| digest.zxid);
        self.compare_after = fuzzy_until.max(last);
    }

    fn txn(&mut self, txn: Txn, _entry: &[u8]) {
        request::replay(&mut self.tree, &txn.header, &txn.body);
        let zxid = txn.header.zxid;
        if let (true, Some(expected)) = (self.digest && zxid >= self.compare_after, txn.digest)
            && expected.tree != self.tree.view().digest()
        {
            self.mismatches += 1;
            if self.mismatches == 1 {
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
