//! A start: the newest snapshot that reads, then the log behind it (storage-format sheet §6), into a sink that keeps the tree.
//! Where the log ends badly the table in `recovery.rs` decides; cuts are made, durably, before this returns, newest file
//! first. After a refusal nothing on disk has changed. All that was read is on disk when this returns.
//!
//! Beyond Java: a gap between files is refused. Java replays across it, and so turns a lost file, or an older
//! snapshot taken in place of a damaged one, into a tree that no other server has.

use super::data_dir::DataDirs;
use super::error::{At, StorageError};
use super::file_name;
use super::log_reader::{LogFileReader, first_zxid};
use super::recovery::{Behind, Beyond, Decision, Facts, Next, Row, decide, follows};
use super::snapshot::{self, SnapshotFile};
use super::snapshot_format::{SnapshotSink, SnapshotTrailer};
use super::tear::{Surroundings, Tear};
use super::truncate::{remove, shorten};
use super::txnlog_format::{HEADER_BYTES, Header, RECORD_FRAME_BYTES};
use crate::io::disk::{Disk, read_exact_at};
use crate::message::Txn;
use crate::types::limits::FLUSH_BYTES_MAX;
use crate::types::{PutBack, Zxid};
use std::fmt::{self, Write as _};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Written again at a time.
const REWRITE_BYTES: usize = 256 << 10;

/// Snapshots that are looked at, newest first.
const SNAPSHOTS_TRIED_MAX: usize = 100;

#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// `snapshot.trust.empty`
    pub trust_empty_snapshot: bool,
    /// `zookeeper.db.autocreate`
    pub db_autocreate: bool,
    /// As the log was written with (`LogOptions`).
    pub flush_bytes_max: u64,
}

impl Default for RestoreOptions {
    fn default() -> RestoreOptions {
        RestoreOptions { trust_empty_snapshot: false, db_autocreate: true, flush_bytes_max: FLUSH_BYTES_MAX as u64 }
    }
}

/// Takes in a snapshot, then the transactions after it.
pub trait RestoreSink: SnapshotSink {
    /// The snapshot is in, and verified; or there is none, and the tree is the empty one.
    fn snapshot_done(&mut self, last: Zxid, trailer: &SnapshotTrailer);
    /// In order, each above the snapshot's zxid. `entry` is what `txn` was decoded from.
    fn txn(&mut self, txn: Txn, entry: &[u8]);
}

/// What the state was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Snapshot(SnapshotFile),
    /// No snapshot, and the operator said that the logs are complete.
    LogsAlone,
    /// An empty database is intended: write its snapshot, zxid 0, before anything is logged.
    Fresh,
    /// An empty directory that may have been lost: do not vote with it before it has synced.
    Unknown,
}

impl Origin {
    fn snapshot(&self) -> Option<&PathBuf> {
        match self {
            Origin::Snapshot(file) => Some(&file.path),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub struct Restored {
    pub origin: Origin,
    /// zxid in the snapshot's name; what is above it was replayed.
    pub snapshot_zxid: Zxid,
    pub trailer: SnapshotTrailer,
    /// Last transaction of snapshot and log; unknown for `Origin::Unknown`.
    pub last_zxid: Zxid,
    pub txns_replayed: u64,
    /// Newer snapshots that could not be read, and why.
    pub snapshots_rejected: Vec<StorageError>,
    /// zxid of the newest of these.
    pub newest_rejected: Option<Zxid>,
    /// What was changed on disk; to be told to the operator.
    pub repairs: Vec<Repair>,
    /// Rows of the recovery table, one for every log file that was read.
    pub cases: Vec<&'static str>,
}

/// A log file that was cut or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    pub file: PathBuf,
    pub case: &'static str,
    /// Zero when the file was removed.
    pub bytes_kept: u64,
    pub bytes_before: u64,
    /// Last transaction that was kept in the file.
    pub last_kept: Option<Zxid>,
    /// Whole records in what was cut away; never acknowledged.
    pub lost: Vec<Zxid>,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repair { file, case, .. } = self;
        write!(f, "{}: {case}; ", file.display())?;
        match self.bytes_kept {
            0 => write!(f, "removed ({} bytes)", self.bytes_before)?,
            kept => write!(f, "cut at byte {kept} of {}", self.bytes_before)?,
        }
        if let Some(last) = self.last_kept {
            write!(f, ", last transaction kept {last}")?;
        }
        if !self.lost.is_empty() {
            write!(f, ", never acknowledged and gone: {:?}", self.lost)?;
        }
        Ok(())
    }
}

/// Brings the sink to the state on disk.
pub fn restore(
    dirs: &DataDirs,
    options: &RestoreOptions,
    sink: &mut impl RestoreSink,
) -> Result<Restored, StorageError> {
    let disk = &*dirs.disk;
    let log_names = disk.names(&dirs.logs).at("cannot list", &dirs.logs)?;
    let mut restored = load_newest(disk, &dirs.snapshots, sink)?;
    if restored.origin == Origin::Unknown {
        restored.origin = empty_origin(dirs, options, &log_names)?;
        sink.begin();
    }
    if restored.origin == Origin::Unknown {
        restored.last_zxid = Zxid::UNKNOWN;
        return Ok(restored);
    }
    sink.snapshot_done(restored.snapshot_zxid, &restored.trailer);
    let files = file_name::logs_from(&log_names, restored.snapshot_zxid.next());
    let paths: Vec<PathBuf> = files.iter().map(|(_, name)| dirs.logs.join(name)).collect();
    let mut replay = Replay {
        disk,
        options,
        is_first_trusted: restored.origin == Origin::LogsAlone,
        snapshot_zxid: restored.snapshot_zxid,
        newest_snapshot: restored.newest_rejected.unwrap_or(restored.snapshot_zxid),
        last_logged: None,
        tail: None,
        txns_replayed: 0,
        repairs: Vec::new(),
        cases: Vec::new(),
    };
    for (index, path) in paths.iter().enumerate() {
        replay.file(path, &paths[index + 1..], sink)?;
    }
    restored.last_zxid = replay.covered();
    restored.txns_replayed = replay.txns_replayed;
    restored.repairs = replay.repairs;
    restored.cases = replay.cases;
    let tail = replay.tail;
    snapshot::remove_unfinished(disk, &dirs.snapshots)?;
    for repair in restored.repairs.iter().rev() {
        carry_out(disk, repair)?;
    }
    let removed = restored.repairs.iter().filter(|repair| repair.bytes_kept == 0).map(|repair| &repair.file);
    let removed: Vec<&PathBuf> = removed.collect();
    let kept = paths.iter().filter(|path| !removed.contains(path));
    make_durable(dirs, restored.origin.snapshot().into_iter().chain(kept), tail.as_ref())?;
    Ok(restored)
}

/// `Origin::Unknown` when there is none that looks valid.
fn load_newest(disk: &dyn Disk, directory: &Path, sink: &mut impl SnapshotSink) -> Result<Restored, StorageError> {
    let mut restored = Restored {
        origin: Origin::Unknown,
        snapshot_zxid: Zxid::ZERO,
        trailer: SnapshotTrailer::default(),
        last_zxid: Zxid::ZERO,
        txns_replayed: 0,
        snapshots_rejected: Vec::new(),
        newest_rejected: None,
        repairs: Vec::new(),
        cases: Vec::new(),
    };
    let mut tried = 0;
    for file in snapshot::list_snapshots(disk, directory)? {
        if tried == SNAPSHOTS_TRIED_MAX {
            break;
        }
        if !file.looks_valid(disk).at("cannot look at", &file.path)? {
            continue;
        }
        tried += 1;
        match snapshot::load_snapshot(disk, &file, sink) {
            Ok(trailer) => {
                restored.snapshot_zxid = file.zxid;
                restored.trailer = trailer;
                restored.origin = Origin::Snapshot(file);
                return Ok(restored);
            }
            Err(error) => {
                restored.newest_rejected.get_or_insert(file.zxid);
                restored.snapshots_rejected.push(error);
            }
        }
    }
    if tried == 0 {
        return Ok(restored);
    }
    Err(StorageError::NoReadableSnapshot {
        directory: directory.to_owned(),
        tried,
        newest: Box::new(restored.snapshots_rejected.swap_remove(0)),
    })
}

/// No snapshot: is that all right?
fn empty_origin(dirs: &DataDirs, options: &RestoreOptions, log_names: &[String]) -> Result<Origin, StorageError> {
    let has_logs = !file_name::all_logs(log_names).is_empty();
    match (has_logs, options.trust_empty_snapshot) {
        (true, true) => Ok(Origin::LogsAlone),
        (true, false) => {
            Err(StorageError::LogsWithoutSnapshot { snapshots: dirs.snapshots.clone(), logs: dirs.logs.clone() })
        }
        (false, _) if dirs.empty_intended || options.db_autocreate => Ok(Origin::Fresh),
        (false, _) => Ok(Origin::Unknown),
    }
}

/// The log files one after the other.
struct Replay<'a> {
    disk: &'a dyn Disk,
    options: &'a RestoreOptions,
    /// The first record may have any zxid.
    is_first_trusted: bool,
    snapshot_zxid: Zxid,
    /// That of a newer snapshot that cannot be read, or the same. What leads from the one to the other has to be in the log: a
    /// new epoch alone does not show that nothing is missing before it.
    newest_snapshot: Zxid,
    last_logged: Option<Zxid>,
    tail: Option<Tail>,
    txns_replayed: u64,
    repairs: Vec<Repair>,
    cases: Vec<&'static str>,
}

/// Where the last flush of an earlier process lies, at the most.
struct Tail {
    file: PathBuf,
    range: Range<u64>,
}

impl Replay<'_> {
    /// Last transaction of snapshot and log so far.
    fn covered(&self) -> Zxid {
        self.last_logged.map_or(self.snapshot_zxid, |last| last.max(self.snapshot_zxid))
    }

    fn file(&mut self, path: &Path, later: &[PathBuf], sink: &mut impl RestoreSink) -> Result<(), StorageError> {
        let mut reader = LogFileReader::open(self.disk, path)?;
        let mut is_first_in_file = true;
        while let Some(txn) = reader.advance()? {
            let zxid = txn.header.zxid;
            if is_first_in_file {
                self.check_start(path, zxid)?;
                is_first_in_file = false;
            }
            self.last_logged = Some(zxid);
            if zxid > self.snapshot_zxid {
                self.txns_replayed += 1;
                sink.txn(txn, reader.entry());
            }
        }
        if reader.last().is_some() {
            let flush_bytes = self.options.flush_bytes_max.max((reader.entry().len() + RECORD_FRAME_BYTES) as u64);
            let end = reader.offset();
            self.tail = Some(Tail { file: path.to_owned(), range: end.saturating_sub(flush_bytes)..end });
        }
        let tear = match reader.header() {
            Header::Good | Header::Zero => reader.tear()?,
            _ => None,
        };
        let facts = self.facts(&reader, tear.as_ref(), later)?;
        let row = decide(&facts);
        self.note(row, &reader, tear.map_or(Vec::new(), |tear| tear.lost()))
    }

    /// The first record of a file carries on where snapshot and log are.
    fn check_start(&mut self, path: &Path, first: Zxid) -> Result<(), StorageError> {
        let is_trusted = self.is_first_trusted && self.last_logged.is_none();
        if is_trusted || self.relation(first) == Next::Follows {
            return Ok(());
        }
        Err(StorageError::CorruptLog {
            file: path.to_owned(),
            offset: HEADER_BYTES as u64,
            case: "transactions are missing before this file",
            detail: format!(": it starts with {first}, what is known ends with {}", self.covered()),
            advice: "Nothing was changed. Restore the missing files from a backup; in an ensemble, move this server's \
                version-2 directories away and let it fetch the data from the others",
        })
    }

    fn relation(&self, first: Zxid) -> Next {
        let covered = self.covered();
        let is_in_order = self.last_logged.is_none_or(|last| first > last);
        let leaps = covered < self.newest_snapshot && first > self.newest_snapshot;
        if is_in_order && !leaps && (first <= covered || follows(covered, first)) { Next::Follows } else { Next::Gap }
    }

    fn facts(&self, reader: &LogFileReader, tear: Option<&Tear>, later: &[PathBuf]) -> Result<Facts, StorageError> {
        let mut next_first = None;
        for path in later {
            next_first = first_zxid(self.disk, path)?;
            if next_first.is_some() {
                break;
            }
        }
        let around = Surroundings {
            last: self.last_logged.unwrap_or(self.snapshot_zxid),
            snapshot: self.snapshot_zxid,
            next: next_first,
            flush_bytes_max: self.options.flush_bytes_max,
        };
        let beyond = match tear {
            None => Beyond::Nothing,
            Some(tear) if tear.is_near(around.flush_bytes_max) => Beyond::Near,
            Some(_) => Beyond::Far,
        };
        Ok(Facts {
            header: reader.header(),
            stop: reader.stop().expect("read to its stop"),
            beyond,
            behind: tear.map_or(Behind::Nothing, |tear| tear.behind(around)),
            next: next_first.map_or(Next::None, |first| self.relation(first)),
            has_records: reader.last().is_some(),
        })
    }

    fn note(&mut self, row: &'static Row, reader: &LogFileReader, lost: Vec<Zxid>) -> Result<(), StorageError> {
        let case = row.case;
        self.cases.push(case);
        match row.decision {
            Decision::Keep => {}
            Decision::Cut | Decision::Remove => {
                let bytes_kept = match reader.last() {
                    Some(_) => reader.offset(),
                    None => 0,
                };
                self.repairs.push(Repair {
                    file: reader.path().to_owned(),
                    case,
                    bytes_kept,
                    bytes_before: reader.file_bytes(),
                    last_kept: reader.last(),
                    lost,
                });
            }
            Decision::Refuse(advice) => {
                let mut detail = match reader.last() {
                    Some(last) => format!("; the last good transaction before it is {last}"),
                    None => String::new(),
                };
                if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
                    let _ = write!(detail, "; behind it {} are whole, {first} to {last}", lost.len());
                }
                return Err(StorageError::CorruptLog {
                    file: reader.path().to_owned(),
                    offset: reader.offset(),
                    case,
                    detail,
                    advice,
                });
            }
        }
        Ok(())
    }
}

/// What was read may so far be in the kernel's cache alone: a process that was killed never waited for its last flush, and
/// Java does not wait for its snapshots. The server goes on to say what it has, so the disk must have it.
///
/// Nor is a sync enough where an earlier one failed: the kernel then takes the pages for clean and never writes them again. So
/// the last flush is written once more, byte for byte.
fn make_durable<'a>(
    dirs: &DataDirs,
    files: impl Iterator<Item = &'a PathBuf>,
    tail: Option<&Tail>,
) -> Result<(), StorageError> {
    if PutBack::TrustTheCache.is_on() {
        return Ok(());
    }
    if let Some(Tail { file, range }) = tail {
        rewrite(&*dirs.disk, file, range.clone()).at("cannot write again", file)?;
    }
    for path in files {
        dirs.disk.open(path).and_then(|file| file.sync_all()).at("cannot sync", path)?;
    }
    for directory in [&dirs.snapshots, &dirs.logs] {
        dirs.disk.sync_directory(directory).at("cannot sync", directory)?;
    }
    Ok(())
}

fn rewrite(disk: &dyn Disk, path: &Path, range: Range<u64>) -> io::Result<()> {
    let (source, target) = (disk.open(path)?, disk.open_writable(path)?);
    let mut piece = vec![0; REWRITE_BYTES.min((range.end - range.start) as usize)];
    for offset in range.clone().step_by(REWRITE_BYTES) {
        let count = piece.len().min((range.end - offset) as usize);
        read_exact_at(&*source, &mut piece[..count], offset)?;
        target.write_all_at(&piece[..count], offset)?;
    }
    Ok(())
}

fn carry_out(disk: &dyn Disk, repair: &Repair) -> Result<(), StorageError> {
    match repair.bytes_kept {
        0 => remove(disk, &repair.file),
        // The fault needs the file as the crash left it.
        _ if PutBack::AppendToInheritedFile.is_on() => Ok(()),
        kept => shorten(disk, &repair.file, kept),
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
