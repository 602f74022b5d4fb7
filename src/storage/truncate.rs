//! Cutting the log: snapshots of what is cut go first, for one that stayed would bring it back; then later files, newest
//! first, then the file that holds the target is shortened. Every step is durable before the next, so that a crash in between
//! leaves a log without holes.
//!
//! A file system may write the zeros behind a cut before it writes the cut itself: to the end of the block that the file now
//! ends in. With whole records behind them that would look like damage in the middle of a file, which a start refuses. So a file
//! is first cut where a block ends, for any size of block in turn: there is nothing to zero then, or nothing behind the zeros.

use super::data_dir::DataDirs;
use super::error::{At, StorageError};
use super::file_name;
use super::log_reader::LogFileReader;
use super::snapshot::remove_snapshots_above;
use crate::io::disk::Disk;
use crate::types::{PutBack, Zxid};
use std::path::{Path, PathBuf};

/// Sizes that the blocks of file systems have, largest first.
const BLOCK_BYTES: [u64; 7] = [64 << 10, 32 << 10, 16 << 10, 8 << 10, 4 << 10, 2 << 10, 1 << 10];

/// Cuts the log right behind `target` and removes snapshots above it. Everything is durable on return; after `NotInLog`
/// nothing has changed. No `TxnLog` is open on the directory.
pub fn truncate(dirs: &DataDirs, target: Zxid) -> Result<(), StorageError> {
    let (disk, directory) = (&*dirs.disk, dirs.logs.as_path());
    let names = disk.names(directory).at("cannot list", directory)?;
    let mut logs = file_name::logs_from(&names, target.next());
    let Some((file, end)) = find_end(disk, directory, &logs, target)? else {
        return Err(StorageError::NotInLog(target));
    };
    if !PutBack::SnapshotOfUncommitted.is_on() {
        remove_snapshots_above(disk, &dirs.snapshots, target)?;
    }
    if PutBack::CutOldestFirst.is_on() {
        logs[1..].reverse();
    }
    while let Some((_, name)) = logs.pop() {
        let path = directory.join(&name);
        if path == file {
            break;
        }
        remove(disk, &path)?;
    }
    shorten(disk, &file, end)
}

/// Cuts off everything above `target`, whether or not the log holds it; as `truncate` otherwise.
pub fn cut_above(dirs: &DataDirs, target: Zxid) -> Result<(), StorageError> {
    let (disk, directory) = (&*dirs.disk, dirs.logs.as_path());
    remove_snapshots_above(disk, &dirs.snapshots, target)?;
    let names = disk.names(directory).at("cannot list", directory)?;
    for (first, name) in file_name::logs_from(&names, target.next()).into_iter().rev() {
        let path = directory.join(name);
        if first > target {
            remove(disk, &path)?;
            continue;
        }
        let mut reader = LogFileReader::open(disk, &path)?;
        let mut end = None;
        while let Some(txn) = reader.advance()?
            && txn.header.zxid <= target
        {
            end = Some(reader.offset());
        }
        return match end {
            Some(end) => shorten(disk, &path, end),
            None => remove(disk, &path),
        };
    }
    Ok(())
}

/// Removes every log file, newest first.
pub fn remove_logs(dirs: &DataDirs) -> Result<(), StorageError> {
    let (disk, directory) = (&*dirs.disk, dirs.logs.as_path());
    let names = disk.names(directory).at("cannot list", directory)?;
    for (_, name) in file_name::logs_from(&names, Zxid::ZERO).into_iter().rev() {
        remove(disk, &directory.join(name))?;
    }
    Ok(())
}

/// The file that holds `target`, and the offset behind it.
fn find_end(
    disk: &dyn Disk,
    directory: &Path,
    logs: &[(Zxid, String)],
    target: Zxid,
) -> Result<Option<(PathBuf, u64)>, StorageError> {
    for (_, name) in logs {
        let path = directory.join(name);
        let mut reader = LogFileReader::open(disk, &path)?;
        while let Some(txn) = reader.advance()? {
            if txn.header.zxid == target {
                return Ok(Some((path, reader.offset())));
            }
        }
    }
    Ok(None)
}

/// Removes a file and makes that durable.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    disk.remove(path).at("cannot remove", path)?;
    sync_directory_of(disk, path)
}

/// Shortens a file and makes that durable.
pub(super) fn shorten(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), StorageError> {
    let file = disk.open_writable(path).at("cannot open", path)?;
    let mut now = file.bytes().at("cannot look at", path)?;
    for block_bytes in BLOCK_BYTES.into_iter().chain([1]) {
        let end = bytes.next_multiple_of(block_bytes);
        if end < now {
            file.set_bytes(end).and_then(|()| file.sync_all()).at("cannot shorten", path)?;
            now = end;
        }
    }
    sync_directory_of(disk, path)
}

fn sync_directory_of(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let directory = path.parent().expect("a file lies in a directory");
    disk.sync_directory(directory).at("cannot sync", directory)
}
