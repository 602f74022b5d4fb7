//! The two directories that hold everything, `<dataDir>/version-2` and `<dataLogDir>/version-2`, as found or made at start
//! (storage-format sheet §1, §7). Whoever has a `DataDirs` has them alone: a lock is held as long as it lives. Making,
//! checking and locking them is the real file system's; what lies in them is reached through `disk`.

use super::error::{At, StorageError};
use super::file_name;
use crate::io::disk::Disk;
use crate::io::file::{FileLock, is_writable};
use crate::io::real_disk::RealDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSION: &str = "version-2";
/// Laid down by an operator: an empty database is intended.
const INITIALIZE: &str = "initialize";

#[derive(Clone, Debug)]
pub struct DataDirOptions {
    pub data_dir: PathBuf,
    /// `None`: logs go where snapshots go.
    pub data_log_dir: Option<PathBuf>,
    /// `zookeeper.datadir.autocreate`
    pub autocreate: bool,
}

#[derive(Debug)]
pub struct DataDirs {
    pub disk: Arc<dyn Disk>,
    /// Snapshots and epoch files.
    pub snapshots: PathBuf,
    pub logs: PathBuf,
    /// An `initialize` file lay there; it is gone now.
    pub empty_intended: bool,
    _locks: Vec<FileLock>,
}

impl DataDirs {
    /// Finds or makes the directories, checks them and takes them for this process alone.
    pub fn open(options: &DataDirOptions) -> Result<DataDirs, StorageError> {
        let log_root = options.data_log_dir.as_ref().unwrap_or(&options.data_dir);
        let snapshots = options.data_dir.join(VERSION);
        let logs = log_root.join(VERSION);
        for directory in [&logs, &snapshots] {
            ensure_directory(directory, options.autocreate)?;
        }
        let are_separate = !is_same(&snapshots, &logs)?;
        let mut locks = vec![lock(&snapshots)?];
        if are_separate {
            locks.push(lock(&logs)?);
            refuse_misplaced(&logs, "snapshot", |name| file_name::parse_snapshot(name).is_some())?;
            refuse_misplaced(&snapshots, "log", |name| file_name::parse_log(name).is_some())?;
        }
        let empty_intended = take_initialize(log_root)?;
        Ok(DataDirs { disk: RealDisk::shared(), snapshots, logs, empty_intended, _locks: locks })
    }

    /// Directories of a disk that nobody else can reach: the simulator's.
    pub fn on(disk: Arc<dyn Disk>, snapshots: PathBuf, logs: PathBuf, empty_intended: bool) -> DataDirs {
        DataDirs { disk, snapshots, logs, empty_intended, _locks: Vec::new() }
    }

    /// Bytes of all files in the snapshot directory and in the log directory, as the `dirs` command shows them.
    pub fn sizes(&self) -> Result<(u64, u64), StorageError> {
        Ok((size(&self.snapshots)?, size(&self.logs)?))
    }
}

fn ensure_directory(directory: &Path, autocreate: bool) -> Result<(), StorageError> {
    if !directory.exists() {
        if !autocreate {
            return Err(StorageError::MissingDirectory(directory.to_owned()));
        }
        std::fs::create_dir_all(directory).at("cannot create", directory)?;
        if let Some(parent) = directory.parent() {
            RealDisk.sync_directory(parent).at("cannot sync", parent)?;
        }
    }
    if !directory.is_dir() {
        return Err(StorageError::NotADirectory(directory.to_owned()));
    }
    if !is_writable(directory) {
        return Err(StorageError::NotWritable(directory.to_owned()));
    }
    Ok(())
}

/// Also when one is reached through a link.
fn is_same(a: &Path, b: &Path) -> Result<bool, StorageError> {
    let real = |path: &Path| path.canonicalize().at("cannot resolve", path);
    Ok(real(a)? == real(b)?)
}

fn lock(directory: &Path) -> Result<FileLock, StorageError> {
    let path = directory.join(file_name::LOCK);
    let lock = FileLock::acquire(&path).at("cannot lock", &path)?;
    lock.ok_or(StorageError::InUse(path))
}

fn refuse_misplaced(directory: &Path, kind: &'static str, is_misplaced: fn(&str) -> bool) -> Result<(), StorageError> {
    let names = RealDisk.names(directory).at("cannot list", directory)?;
    match names.iter().find(|name| is_misplaced(name)) {
        None => Ok(()),
        Some(name) => Err(StorageError::Misplaced { file: directory.join(name), kind }),
    }
}

fn take_initialize(root: &Path) -> Result<bool, StorageError> {
    let path = root.join(INITIALIZE);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("cannot remove", &path),
    }
}

fn size(directory: &Path) -> Result<u64, StorageError> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory).at("cannot list", directory)? {
        let entry = entry.at("cannot list", directory)?;
        // A file may go away while we look.
        total += entry.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(root: &Path) -> DataDirOptions {
        DataDirOptions { data_dir: root.join("data"), data_log_dir: None, autocreate: true }
    }

    #[test]
    fn a_second_server_on_the_same_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDirs::open(&options(root.path())).unwrap();
        let error = DataDirs::open(&options(root.path())).unwrap_err();
        assert!(matches!(error, StorageError::InUse(_)), "{error}");
        let mut shares_logs = options(root.path());
        shares_logs.data_dir = root.path().join("other");
        shares_logs.data_log_dir = Some(root.path().join("data"));
        assert!(matches!(DataDirs::open(&shares_logs), Err(StorageError::InUse(_))));
        drop(first);
        DataDirs::open(&options(root.path())).unwrap();
    }

    #[test]
    fn directories_are_made_only_if_allowed() {
        let root = tempfile::tempdir().unwrap();
        let mut options = options(root.path());
        options.autocreate = false;
        assert!(matches!(DataDirs::open(&options), Err(StorageError::MissingDirectory(_))));
        assert!(!root.path().join("data").exists());
        options.autocreate = true;
        let dirs = DataDirs::open(&options).unwrap();
        assert!(dirs.snapshots.is_dir());
        assert!(!dirs.empty_intended);
    }

    #[test]
    fn a_file_in_the_way_is_no_directory() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        std::fs::write(root.path().join("data/version-2"), "x").unwrap();
        assert!(matches!(DataDirs::open(&options(root.path())), Err(StorageError::NotADirectory(_))));
    }

    #[test]
    fn logs_and_snapshots_must_not_be_mixed_up() {
        let root = tempfile::tempdir().unwrap();
        let mut options = options(root.path());
        options.data_log_dir = Some(root.path().join("logs"));
        drop(DataDirs::open(&options).unwrap());
        let misplaced = root.path().join("logs/version-2/snapshot.0");
        std::fs::write(&misplaced, "").unwrap();
        assert!(matches!(DataDirs::open(&options), Err(StorageError::Misplaced { kind: "snapshot", .. })));
        std::fs::remove_file(&misplaced).unwrap();
        std::fs::write(root.path().join("data/version-2/log.1"), "").unwrap();
        assert!(matches!(DataDirs::open(&options), Err(StorageError::Misplaced { kind: "log", .. })));
        options.data_log_dir = None;
        DataDirs::open(&options).unwrap();
    }

    #[test]
    fn an_initialize_file_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        std::fs::write(root.path().join("data/initialize"), "").unwrap();
        assert!(DataDirs::open(&options(root.path())).unwrap().empty_intended);
        assert!(!DataDirs::open(&options(root.path())).unwrap().empty_intended);
    }
}
