//! What can be wrong with the disk, said so that somebody woken at night knows the file, the place and what to do.

use crate::types::Zxid;
use crate::wire::BadBytes;
use std::io;
use std::path::{Path, PathBuf};

/// The server must not start, or must stop: going on would lose or invent data.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// A row of the recovery table said no.
    #[error("{} at byte {offset}: {case}{detail}. {advice}", file.display())]
    CorruptLog { file: PathBuf, offset: u64, case: &'static str, detail: String, advice: &'static str },
    #[error("{}: {reason}", file.display())]
    BadSnapshot { file: PathBuf, reason: String },
    #[error(
        "none of the {tried} snapshots in {} can be read; the newest: {newest}. \
         Restore the directory from a backup, or from another server of the ensemble",
        directory.display()
    )]
    NoReadableSnapshot { directory: PathBuf, tried: usize, newest: Box<StorageError> },
    #[error(
        "no snapshot found in {}, but there are log entries in {}. Bring the snapshot back, or, if the logs are complete \
         from the first transaction on, start once with snapshot.trust.empty=true",
        snapshots.display(), logs.display()
    )]
    LogsWithoutSnapshot { snapshots: PathBuf, logs: PathBuf },
    #[error("{} does not exist and datadir.autocreate is false", .0.display())]
    MissingDirectory(PathBuf),
    #[error("{} is not writable", .0.display())]
    NotWritable(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error(
        "{}: a {kind} file has no place in this directory, since dataDir and dataLogDir differ. \
         Move log.* files to dataLogDir and snapshot.* files to dataDir", file.display()
    )]
    Misplaced { file: PathBuf, kind: &'static str },
    #[error("{} is locked: another server runs on this data directory", .0.display())]
    InUse(PathBuf),
    #[error(
        "{} holds {found:?} where an epoch was expected. Restore the file from a backup; or, if the rest of the ensemble is \
         healthy, empty the data directory (keep myid) and let this server fetch everything from its leader", file.display()
    )]
    BadEpoch { file: PathBuf, found: String },
    #[error(
        "{} says epoch {current}, but the data goes up to transaction {last_zxid} of a later one: the file is older than the \
         data. Restore both from the same backup; or, if the rest of the ensemble is healthy, empty the data directory \
         (keep myid) and let this server fetch everything from its leader", file.display()
    )]
    EpochBehindData { file: PathBuf, current: i64, last_zxid: Zxid },
    #[error(
        "{}: acceptedEpoch is {accepted} and currentEpoch is {current}, but no server follows an epoch that it has not \
         accepted: one of the files is stale. Restore both from the same backup; or, if the rest of the ensemble is healthy, \
         empty the data directory (keep myid) and let this server fetch everything from its leader", directory.display()
    )]
    EpochsAtOdds { directory: PathBuf, accepted: i64, current: i64 },
    #[error("transaction {0} is not in the log, so the log cannot be truncated to it")]
    NotInLog(Zxid),
}

/// No room, or no device, for more log just now. Nothing was written and nothing is lost.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot prepare {bytes} bytes of log in {}: {reason}", directory.display())]
pub struct Unavailable {
    pub directory: PathBuf,
    pub bytes: u64,
    pub reason: String,
}

/// Adds the path and the deed to an I/O error.
pub(super) trait At<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { what, path: path.to_owned(), source })
    }
}

impl StorageError {
    /// The disk is full, or its owner's share of it is.
    pub fn is_out_of_space(&self) -> bool {
        let kind = match self {
            StorageError::Io { source, .. } => source.kind(),
            _ => return false,
        };
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    pub(super) fn bad_snapshot(file: &Path, reason: impl ToString) -> StorageError {
        StorageError::BadSnapshot { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// Why a file stopped making sense while it was streamed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bad(#[from] BadBytes),
    #[error("{0}")]
    Invalid(String),
}
