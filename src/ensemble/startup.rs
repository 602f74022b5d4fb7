//! From the data directory to an ensemble thread that is ready: restore, settle dead sessions, write what must be there.

use super::batch::Batch;
use super::chores::{Every, Sweeper};
use super::driver::{Disk, Ensemble, EnsembleRules};
use super::history::History;
use super::log_feed::LogAccess;
use super::pieces::FeedWriter;
use super::read_only::ReadOnly;
use super::role::Role;
use super::seat::{Seat, SeatOptions};
use super::snapshots::{SnapshotOptions, Snapshots, write_snapshot};
use super::stages::Stages;
use super::tree_sink::{TreeLoad, kill_dead_sessions};
use crate::io::ending::stop;
use crate::message::lane::{Standing, StandingSign};
use crate::observe::MetricsWriter;
use crate::request::ReapRules;
use crate::runtime::lanes::EnsembleLanes;
use crate::session::{SessionIds, SessionTable};
use crate::storage::{
    Background, DataDirs, LogOptions, LogPlace, Origin, RestoreOptions, Restored, StorageError, TxnLog, cut_above,
    list_snapshots, load_epochs, remove_logs, restore, truncate,
};
use crate::tree::TreeWriter;
use crate::types::{Now, PutBack, ServerId, Zxid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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
    /// `None`: a server on its own.
    pub seat: Option<SeatOptions>,
    /// Where everybody reads what this server is.
    pub standing: StandingSign,
}

/// Where jobs run that nobody should wait for. The log waits for its next file when it has used up the one before, so files
/// must not queue behind a snapshot.
pub struct Backgrounds {
    pub snapshots: Background,
    pub log_files: Background,
    /// Snapshots on their way to learners.
    pub feeds: FeedWriter,
}

/// The tree as it was, and what was found on the way.
pub struct Loaded {
    pub tree: TreeWriter,
    pub restored: Restored,
    /// The last transactions of the log, for learners, and what comes right before them.
    base: Zxid,
    entries: Entries,
}

/// Reads the data directory.
pub fn load(dirs: &DataDirs, options: &StartOptions) -> Result<Loaded, StorageError> {
    let rules = &options.rules.request;
    let mut tree = TreeWriter::fresh(rules.owner, rules.digest, options.hash_seed);
    let kept = options.seat.as_ref().map_or(0, |seat| seat.commit_log_count);
    let (restored, base, entries) = restore_into(&mut tree, dirs, &options.restore, rules, kept)?;
    Ok(Loaded { tree, restored, base, entries })
}

type Entries = VecDeque<(Zxid, Arc<[u8]>)>;

fn restore_into(
    tree: &mut TreeWriter,
    dirs: &DataDirs,
    options: &RestoreOptions,
    rules: &crate::request::RequestRules,
    entries_max: usize,
) -> Result<(Restored, Zxid, Entries), StorageError> {
    let mut load = TreeLoad::new(rules, entries_max);
    let restored = restore(dirs, options, &mut load.sink(tree))?;
    if restored.last_zxid > tree.view().last_zxid() {
        tree.set_last_zxid(restored.last_zxid);
    }
    let base = load.entries_base.unwrap_or(restored.snapshot_zxid);
    Ok((restored, base, load.entries))
}

/// Makes the ensemble thread's state of what was loaded. Must run before anybody is served.
pub fn start(
    dirs: Arc<DataDirs>,
    loaded: Loaded,
    options: StartOptions,
    lanes: EnsembleLanes,
    background: Backgrounds,
    now: Now,
) -> Result<Ensemble, StorageError> {
    let Loaded { mut tree, restored, base, entries } = loaded;
    let is_member = options.seat.is_some();
    if !is_member {
        kill_dead_sessions(&mut tree);
    }
    let last_zxid = tree.view().last_zxid();
    let mut snapshots =
        Snapshots::new(options.snapshots.clone(), dirs.disk.clone(), background.snapshots, options.snapshot_metrics);
    if !is_member || last_zxid == Zxid::ZERO {
        // A member publishes what an epoch has committed, and not before.
        let version = tree.seal();
        tree.publish_through(version);
    }
    match restored.origin {
        // A log without any snapshot is refused at the next start, so this one cannot wait.
        Origin::Fresh | Origin::LogsAlone if !is_member || last_zxid == Zxid::ZERO => {
            write_snapshot(&*dirs.disk, &options.snapshots, &tree.hold())?;
        }
        Origin::Snapshot(_) if PutBack::SnapshotOfUncommitted.is_on() => {
            let version = tree.seal();
            tree.publish_through(version);
            write_snapshot(&*dirs.disk, &options.snapshots, &tree.hold())?;
        }
        Origin::Unknown if !is_member => write_snapshot(&*dirs.disk, &options.snapshots, &tree.hold())?,
        Origin::Snapshot(_) if restored.txns_replayed > 0 => snapshots.want(),
        Origin::LogsAlone => snapshots.want(),
        Origin::Fresh | Origin::Unknown | Origin::Snapshot(_) => {}
    }
    let log_files = background.log_files.clone();
    let log = TxnLog::open(&dirs.disk, &dirs.logs, Some(last_zxid), options.log.clone(), background.log_files)?;
    let workers = lanes.workers();
    let sweeper =
        Sweeper::new(options.container_check_interval_ms, options.container_per_minute_max, options.reap, now.mono);
    let seat = match options.seat {
        None => None,
        Some(seat) => {
            let epochs = load_epochs(&*dirs.disk, &dirs.snapshots, last_zxid)?;
            let mut history = History::new(base, seat.commit_log_count);
            entries.into_iter().for_each(|(zxid, entry)| history.push(zxid, &entry));
            let alarm = lanes.alarm().cloned();
            let wake = Arc::new(move || alarm.iter().for_each(|alarm| alarm.ring()));
            let place =
                LogPlace { disk: dirs.disk.clone(), snapshots: dirs.snapshots.clone(), logs: dirs.logs.clone() };
            let log = LogAccess { place, writer: background.feeds, wake };
            Some(Box::new(Seat::new(seat, epochs, history, log)))
        }
    };
    options.standing.set(if is_member { Standing::Looking } else { Standing::Alone });
    let mut ensemble = Ensemble {
        // Wall clock: a clock since boot would give the ids of sessions that are still alive once more.
        session_ids: SessionIds::new(options.server, now.wall.0 as u64),
        sessions: SessionTable::new(options.rules.tick_ms),
        local_sessions: SessionTable::new(options.rules.tick_ms),
        stages: Stages::new(options.rules.clock),
        rules: options.rules,
        tree,
        log: Some(log),
        log_files,
        log_options: options.log,
        restore_options: options.restore,
        dirs,
        lanes,
        submits: Vec::new(),
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
        role: Role::Alone,
        seat,
        standing: options.standing,
        // An empty directory that may have been lost says nothing about what was committed.
        may_vote: restored.origin != Origin::Unknown || PutBack::LostDirectoryVotes.is_on(),
        read_only: ReadOnly::default(),
        kept: BTreeMap::new(),
        unsaid: Vec::new(),
        tail: VecDeque::new(),
        tree_is_partial: false,
        needs_snapshot: false,
        breach: None,
        compare_after: Zxid::ZERO,
    };
    if is_member {
        ensemble.look(now.mono);
    } else {
        ensemble.sessions = ensemble.fresh_sessions(now.mono);
    }
    Ok(ensemble)
}

impl Ensemble {
    /// Reads the data directory once more, into the tree that readers know; nothing is published.
    pub(super) fn reload(&mut self) {
        self.close_log();
        let kept = self.seat.as_ref().map_or(0, |seat| seat.options.commit_log_count);
        let restored = restore_into(&mut self.tree, &self.dirs, &self.restore_options, &self.rules.request, kept);
        let (restored, base, entries) = restored.unwrap_or_else(|error| stop(&error.to_string()));
        tracing::info!(
            "restored again: snapshot of zxid {}, {} transaction(s) replayed, last zxid {}",
            restored.snapshot_zxid,
            restored.txns_replayed,
            restored.last_zxid
        );
        let history = &mut self.seat().history;
        history.begin_at(base);
        entries.into_iter().for_each(|(zxid, entry)| history.push(zxid, &entry));
        self.open_log();
    }

    /// Ends the log; nothing of it is in flight.
    pub(super) fn close_log(&mut self) {
        if let Some(log) = self.log.take()
            && let Err(error) = log.close()
        {
            stop(&format!("the transaction log cannot be closed: {error}"));
        }
    }

    /// Goes on behind the end of the tree, in a new file.
    pub(super) fn open_log(&mut self) {
        let last = self.tree.view().last_zxid();
        let options = self.log_options.clone();
        match TxnLog::open(&self.dirs.disk, &self.dirs.logs, Some(last), options, self.log_files.clone()) {
            Ok(log) => self.log = Some(log),
            Err(error) => stop(&format!("the transaction log cannot be opened: {error}")),
        }
        self.flushed_through = last;
    }

    /// Cuts the log behind `to` and restores the state once more. False: neither log nor snapshots lead to `to`, and nothing
    /// has changed.
    pub(super) fn cut_log(&mut self, to: Zxid) -> Result<bool, StorageError> {
        self.close_log();
        let dirs = &self.dirs;
        let is_snapshot_there = || {
            let snapshots = list_snapshots(&*dirs.disk, &dirs.snapshots)?;
            Ok::<bool, StorageError>(snapshots.iter().any(|snapshot| snapshot.zxid == to))
        };
        match truncate(dirs, to) {
            Err(StorageError::NotInLog(_)) if is_snapshot_there()? => cut_above(dirs, to)?,
            Err(StorageError::NotInLog(_)) => {
                self.open_log();
                return Ok(false);
            }
            outcome => outcome?,
        }
        self.reload();
        // What is cut off will not be said.
        self.unsaid.retain(|effect| effect.zxid <= to);
        Ok(true)
    }

    /// The head is a snapshot of the leader's: it goes to the disk, and the log begins anew behind it.
    ///
    /// What the log has above it is in nobody's history and goes first; what it has below may be all that is left of
    /// something committed until the snapshot is durable, and goes last: it need not lead to the snapshot.
    pub(super) fn keep_loaded_snapshot(&mut self, zxid: Zxid) {
        self.close_log();
        if let Err(error) = self.replace_data(zxid) {
            stop(&format!("the leader's snapshot of zxid {zxid} cannot be kept: {error}"));
        }
        self.seat().history.begin_at(zxid);
        self.open_log();
    }

    fn replace_data(&mut self, zxid: Zxid) -> Result<(), StorageError> {
        cut_above(&self.dirs, zxid)?;
        self.snapshots.write_head(&*self.dirs.disk, &self.tree)?;
        remove_logs(&self.dirs)
    }
}
