//! When snapshots are taken, and by whom: a version is held and written by the background thread while writes go on. Its
//! name is the zxid of that version, which is flushed already, so a snapshot never holds what the log does not.

use crate::io::clock;
use crate::io::disk::Disk;
use crate::message::SnapshotNode;
use crate::observe::{Counter, MetricsWriter, Summary};
use crate::storage::{self, Background, SnapshotDigest, SnapshotSource, SnapshotTrailer, StorageError, TxnLog};
use crate::tree::{Held, NodeRef, TreeWriter, View};
use crate::types::{Acl, SessionId, Zxid};
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    pub snapshot_dir: PathBuf,
    pub log_dir: PathBuf,
    /// `snapCount`: transactions per snapshot; half of it plus a random part of the other half, so that the servers of an
    /// ensemble do not all write at once.
    pub txns: u32,
    /// `snapSizeLimitInKb` in bytes, likewise.
    pub log_bytes: Option<u64>,
    pub compression: storage::Compression,
    pub digest: bool,
    /// `serializeLastProcessedZxid.enabled`
    pub last_zxid: bool,
    /// `autopurge.snapRetainCount`
    pub retain_count: usize,
    /// Seed of the random parts.
    pub seed: u64,
}

pub(super) struct Snapshots {
    options: SnapshotOptions,
    disk: Arc<dyn Disk>,
    background: Background,
    txns_logged: u64,
    bytes_logged: u64,
    txns_limit: u64,
    bytes_limit: Option<u64>,
    wanted: bool,
    writing: Arc<AtomicBool>,
    /// The background thread's; one snapshot at a time is written.
    metrics: Arc<Mutex<MetricsWriter>>,
    random: u64,
}

impl Snapshots {
    pub fn new(
        options: SnapshotOptions,
        disk: Arc<dyn Disk>,
        background: Background,
        metrics: MetricsWriter,
    ) -> Snapshots {
        let random = options.seed | 1;
        let mut snapshots = Snapshots {
            options,
            disk,
            background,
            txns_logged: 0,
            bytes_logged: 0,
            txns_limit: 0,
            bytes_limit: None,
            wanted: false,
            writing: Arc::default(),
            metrics: Arc::new(Mutex::new(metrics)),
            random,
        };
        snapshots.draw_limits();
        snapshots
    }

    /// A transaction of `entry_bytes` was logged.
    pub fn logged(&mut self, entry_bytes: usize) {
        self.txns_logged += 1;
        self.bytes_logged += entry_bytes as u64;
    }

    /// A snapshot is due, whatever was logged (at a start that replayed).
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Rolls the log and begins a snapshot if one is due; one is written at a time. Its name promises that everything in it
    /// is in the log, so a version that was published before its flush has to wait for that.
    pub fn turn(&mut self, tree: &mut TreeWriter, log: &mut TxnLog, flushed_through: Zxid) {
        let due = self.txns_logged > self.txns_limit || self.bytes_limit.is_some_and(|max| self.bytes_logged > max);
        if due {
            log.roll();
            self.txns_logged = 0;
            self.bytes_logged = 0;
            self.draw_limits();
            self.wanted = true;
        }
        let is_flushed = |tree: &TreeWriter| tree.reader().pin().view().last_zxid() <= flushed_through;
        if self.wanted && is_flushed(tree) && !self.writing.swap(true, Ordering::AcqRel) {
            self.wanted = false;
            self.write(tree.hold());
        }
    }

    /// Writes the head, here and now: it was loaded from elsewhere and nothing else on this disk leads to it.
    pub fn write_head(&mut self, disk: &dyn Disk, tree: &TreeWriter) -> Result<(), StorageError> {
        self.wanted = false;
        write_view(disk, &self.options, tree.view())
    }

    fn write(&self, held: Held) {
        let (options, disk) = (self.options.clone(), self.disk.clone());
        let (writing, metrics) = (self.writing.clone(), self.metrics.clone());
        (self.background)(Box::new(move || {
            let (zxid, began) = (held.view().last_zxid(), clock::monotonic());
            match write_snapshot(&*disk, &options, &held) {
                Ok(()) => {
                    let took_ms = clock::monotonic().micros_since(began) / 1000;
                    metrics.lock().record(Summary::Snapshottime, took_ms);
                    tracing::info!("snapshot of zxid {zxid} written in {took_ms} ms");
                }
                Err(error) => {
                    metrics.lock().count(Counter::SnapshotErrorCount);
                    tracing::error!(
                        "writing the snapshot of zxid {zxid} failed: {error}. The log keeps everything; the next snapshot \
                         is tried when it is due"
                    );
                }
            }
            drop(held);
            writing.store(false, Ordering::Release);
        }));
    }

    /// Deletes files that no start needs any more.
    pub fn purge(&self) {
        let (options, disk) = (self.options.clone(), self.disk.clone());
        (self.background)(Box::new(move || {
            match storage::purge::purge(&*disk, &options.snapshot_dir, &options.log_dir, options.retain_count) {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => tracing::info!("purged {} old file(s)", removed.len()),
                Err(error) => tracing::warn!("purging old files failed: {error}"),
            }
        }));
    }

    fn draw_limits(&mut self) {
        let half = u64::from(self.options.txns / 2);
        self.txns_limit = half + self.random_below(half);
        self.bytes_limit = self.options.log_bytes.map(|bytes| bytes / 2 + self.random_below(bytes / 2));
    }

    /// xorshift: the only property wanted is that two servers differ.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }
}

/// Writes `held` here and now.
pub(super) fn write_snapshot(disk: &dyn Disk, options: &SnapshotOptions, held: &Held) -> Result<(), StorageError> {
    write_view(disk, options, held.view())
}

fn write_view(disk: &dyn Disk, options: &SnapshotOptions, view: View<'_>) -> Result<(), StorageError> {
    let source = Source { view, digest: options.digest, last_zxid: options.last_zxid };
    let file_options = storage::SnapshotOptions { compression: options.compression };
    storage::write_snapshot(disk, &options.snapshot_dir, view.last_zxid(), file_options, &source)?;
    Ok(())
}

/// A state as storage wants to read it.
pub(crate) struct Source<'a> {
    pub view: View<'a>,
    /// Which sections the trailer has.
    pub digest: bool,
    pub last_zxid: bool,
}

impl SnapshotSource for Source<'_> {
    fn session_count(&self) -> usize {
        self.view.session_count() as usize
    }

    fn sessions(&self, each: &mut dyn FnMut(SessionId, i32) -> io::Result<()>) -> io::Result<()> {
        self.view.sessions().try_for_each(|(id, timeout_ms)| each(id, timeout_ms))
    }

    fn acl_count(&self) -> usize {
        self.view.acls().count()
    }

    fn acls(&self, each: &mut dyn FnMut(i64, &[Acl]) -> io::Result<()>) -> io::Result<()> {
        self.view.acls().try_for_each(|(key, list)| each(key, list))
    }

    fn nodes(&self, each: &mut dyn FnMut(&SnapshotNode<'_>) -> io::Result<()>) -> io::Result<()> {
        visit(self.view.root(), &mut String::new(), each)
    }

    fn trailer(&self) -> SnapshotTrailer {
        let view = self.view;
        let zxid = view.last_zxid();
        // An empty database has processed nothing yet, so there is no digest of anything processed.
        let tree = if zxid == Zxid::ZERO { 0 } else { view.digest() };
        SnapshotTrailer {
            digest: self.digest.then_some(SnapshotDigest { zxid, version: 2, tree }),
            last_zxid: self.last_zxid.then_some(zxid),
        }
    }
}

/// Pre-order without recursion: paths may be as deep as they are long.
fn visit(
    root: NodeRef<'_>,
    path: &mut String,
    each: &mut dyn FnMut(&SnapshotNode<'_>) -> io::Result<()>,
) -> io::Result<()> {
    each(&snapshot_node(root, path))?;
    let mut levels = vec![(root.children(), path.len())];
    while let Some((children, parent_bytes)) = levels.last_mut() {
        path.truncate(*parent_bytes);
        let Some(node) = children.next() else {
            levels.pop();
            continue;
        };
        path.push('/');
        path.push_str(node.name());
        each(&snapshot_node(node, path))?;
        if node.child_count() > 0 {
            levels.push((node.children(), path.len()));
        }
    }
    Ok(())
}

fn snapshot_node<'a>(node: NodeRef<'a>, path: &'a str) -> SnapshotNode<'a> {
    SnapshotNode { path, data: node.data(), acl_key: node.acl_key(), stat: node.stat_persisted() }
}
