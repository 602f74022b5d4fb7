//! Removes snapshots and logs that no start needs any more (storage-format sheet §9).

use super::error::{At, StorageError};
use super::file_name;
use super::snapshot::list_snapshots;
use crate::io::disk::Disk;
use crate::types::Zxid;
use std::path::{Path, PathBuf};

/// Fewest snapshots kept, whatever the config says.
pub const RETAIN_COUNT_MIN: usize = 3;

/// Keeps the newest `retain_count` snapshots that look valid, and every log they need. Without a valid one nothing is
/// removed. Returns what was.
pub fn purge(
    disk: &dyn Disk,
    snapshots: &Path,
    logs: &Path,
    retain_count: usize,
) -> Result<Vec<PathBuf>, StorageError> {
    let Some(oldest_kept) = oldest_kept(disk, snapshots, retain_count.max(RETAIN_COUNT_MIN))? else {
        return Ok(Vec::new());
    };
    let mut removed = Vec::new();
    for snapshot in list_snapshots(disk, snapshots)? {
        if snapshot.zxid < oldest_kept {
            disk.remove(&snapshot.path).at("cannot remove", &snapshot.path)?;
            removed.push(snapshot.path);
        }
    }
    // A snapshot that came back in a crash, its logs gone, would be one that nothing leads on from.
    disk.sync_directory(snapshots).at("cannot sync", snapshots)?;
    let names = disk.names(logs).at("cannot list", logs)?;
    let needed_from = file_name::logs_from(&names, oldest_kept.next()).first().map(|(zxid, _)| *zxid);
    // Oldest first: a crash half way leaves a log without holes.
    for (zxid, name) in file_name::all_logs(&names) {
        if zxid < oldest_kept && needed_from.is_some_and(|needed| zxid < needed) {
            let path = logs.join(name);
            disk.remove(&path).at("cannot remove", &path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

fn oldest_kept(disk: &dyn Disk, directory: &Path, retain_count: usize) -> Result<Option<Zxid>, StorageError> {
    let mut oldest = None;
    let mut kept = 0;
    for snapshot in list_snapshots(disk, directory)? {
        if kept == retain_count {
            break;
        }
        if snapshot.looks_valid(disk).at("cannot look at", &snapshot.path)? {
            oldest = Some(snapshot.zxid);
            kept += 1;
        }
    }
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::real_disk::RealDisk;

    const VALID: &[u8] = b"ZKSN....\0\0\0\x01/";

    fn names(directory: &Path) -> Vec<String> {
        let mut names = RealDisk.names(directory).unwrap();
        names.sort();
        names
    }

    fn lay(directory: &Path, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            std::fs::write(directory.join(name), content).unwrap();
        }
    }

    #[test]
    fn the_newest_valid_snapshots_and_their_logs_stay() {
        let dir = tempfile::tempdir().unwrap();
        lay(
            dir.path(),
            &[
                ("snapshot.5", VALID),
                ("snapshot.20", VALID),
                ("snapshot.30", VALID),
                ("snapshot.40", b"damaged at its end"),
                ("snapshot.50", VALID),
                ("log.1", b""),
                ("log.8", b""),
                ("log.1a", b""),
                ("log.21", b""),
                ("log.51", b""),
                ("acceptedEpoch", b""),
            ],
        );
        // log.1a is the last one that starts at or below the oldest snapshot kept, 20.
        let mut removed: Vec<String> = purge(&RealDisk, dir.path(), dir.path(), 0)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        removed.sort();
        assert_eq!(removed, ["log.1", "log.8", "snapshot.5"]);
        let left = names(dir.path());
        assert_eq!(
            left,
            ["acceptedEpoch", "log.1a", "log.21", "log.51", "snapshot.20", "snapshot.30", "snapshot.40", "snapshot.50"]
        );
    }

    #[test]
    fn without_a_valid_snapshot_nothing_goes() {
        let dir = tempfile::tempdir().unwrap();
        lay(dir.path(), &[("snapshot.5", b"damaged at its end"), ("log.1", b""), ("log.8", b"")]);
        assert!(purge(&RealDisk, dir.path(), dir.path(), 3).unwrap().is_empty());
        assert_eq!(names(dir.path()).len(), 3);
    }
}
