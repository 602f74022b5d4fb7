//! `acceptedEpoch` and `currentEpoch` in the snapshot directory (quorum-protocol sheet §14): the newest epoch that this
//! server has promised a leader, and the newest whose history it has made its own. Elections trust them, so a start that
//! finds them at odds with the data is refused.
//!
//! A file is one decimal number without line break. It is replaced whole: written under `<name>.tmp`, synced, renamed, and
//! the directory synced; only then may anybody be told of the epoch.

use super::error::{At, StorageError};
use crate::io::disk::{Disk, read_exact_at};
use crate::types::Zxid;
use std::io;
use std::path::{Path, PathBuf};

/// More than any number has.
const EPOCH_FILE_BYTES_MAX: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochFile {
    Accepted,
    Current,
}

impl EpochFile {
    pub fn name(self) -> &'static str {
        match self {
            EpochFile::Accepted => "acceptedEpoch",
            EpochFile::Current => "currentEpoch",
        }
    }

    fn path(self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }

    /// Where the file stands until it is complete.
    fn tmp_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.tmp", self.name()))
    }
}

/// Both numbers, as a start found or made them. Invariant: `current <= accepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    pub accepted: i64,
    pub current: i64,
}

/// Finds the epochs of a server whose data ends at `last_zxid`, and writes what is missing.
pub fn load_epochs(disk: &dyn Disk, directory: &Path, last_zxid: Zxid) -> Result<Epochs, StorageError> {
    let of_data = last_zxid.0 >> 32;
    let mut current = read_or_create(disk, directory, EpochFile::Current, of_data)?;
    let accepted = read_or_create(disk, directory, EpochFile::Accepted, of_data)?;
    if current < of_data {
        current = finish_current(disk, directory, current, accepted, last_zxid)?;
    }
    if accepted < current {
        let directory = directory.to_owned();
        return Err(StorageError::EpochsAtOdds { directory, accepted, current });
    }
    Ok(Epochs { accepted, current })
}

/// Makes `epoch` durable.
pub fn write_epoch(disk: &dyn Disk, directory: &Path, file: EpochFile, epoch: i64) -> Result<(), StorageError> {
    let (path, tmp) = (file.path(directory), file.tmp_path(directory));
    write_synced(disk, &tmp, epoch.to_string().as_bytes()).at("cannot write", &tmp)?;
    disk.rename(&tmp, &path).at("cannot rename to", &path)?;
    disk.sync_directory(directory).at("cannot sync", directory)
}

/// The number in the file; `None` where there is none.
pub fn read_epoch(disk: &dyn Disk, directory: &Path, file: EpochFile) -> Result<Option<i64>, StorageError> {
    read_number(disk, &file.path(directory))
}

/// A server of an older release, or one that has never been in an ensemble, has no such file.
fn read_or_create(disk: &dyn Disk, directory: &Path, file: EpochFile, of_data: i64) -> Result<i64, StorageError> {
    match read_epoch(disk, directory, file)? {
        Some(epoch) => Ok(epoch),
        None => write_epoch(disk, directory, file, of_data).map(|()| of_data),
    }
}

/// Transactions of a newer epoch are there, its number is not: the server stopped between the two. What it had promised is
/// the epoch that they came in, and they came behind all of the history they rest on; so the number follows.
fn finish_current(
    disk: &dyn Disk,
    directory: &Path,
    current: i64,
    accepted: i64,
    last_zxid: Zxid,
) -> Result<i64, StorageError> {
    let of_data = last_zxid.0 >> 32;
    let prepared = match read_number(disk, &EpochFile::Current.tmp_path(directory)) {
        // The power went while it was written: it was never complete, and says nothing.
        Err(StorageError::BadEpoch { .. }) => None,
        read => read?,
    };
    match prepared.filter(|epoch| *epoch >= of_data).or((accepted >= of_data).then_some(of_data)) {
        Some(epoch) => write_epoch(disk, directory, EpochFile::Current, epoch).map(|()| epoch),
        None => Err(StorageError::EpochBehindData { file: EpochFile::Current.path(directory), current, last_zxid }),
    }
}

/// Only the first line counts, as in ZooKeeper.
fn read_number(disk: &dyn Disk, path: &Path) -> Result<Option<i64>, StorageError> {
    let bytes = match read_bytes(disk, path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("cannot read", path),
    };
    let text = String::from_utf8_lossy(&bytes);
    let first = text.lines().next().unwrap_or_default();
    match first.parse() {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => Err(StorageError::BadEpoch { file: path.to_owned(), found: first.chars().take(40).collect() }),
    }
}

fn read_bytes(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; file.bytes()?.min(EPOCH_FILE_BYTES_MAX) as usize];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

fn write_synced(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(path)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::real_disk::RealDisk;

    const LAST: Zxid = Zxid(0x5_0000_0007);

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn loaded(files: &[(&str, &str)]) -> Result<(i64, i64), StorageError> {
        let directory = directory(files);
        let epochs = load_epochs(&RealDisk, directory.path(), LAST)?;
        // What is used is what the files say from now on.
        let text = |file: EpochFile| std::fs::read_to_string(file.path(directory.path())).unwrap();
        assert_eq!(text(EpochFile::Accepted).parse(), Ok(epochs.accepted));
        assert_eq!(text(EpochFile::Current).parse(), Ok(epochs.current));
        Ok((epochs.accepted, epochs.current))
    }

    #[test]
    fn missing_files_are_made_from_the_last_zxid() {
        assert_eq!(loaded(&[]).unwrap(), (5, 5));
        assert_eq!(loaded(&[("currentEpoch", "5")]).unwrap(), (5, 5));
        assert_eq!(loaded(&[("acceptedEpoch", "6")]).unwrap(), (6, 5));
        let fresh = directory(&[]);
        let epochs = load_epochs(&RealDisk, fresh.path(), Zxid::ZERO).unwrap();
        assert_eq!(epochs, Epochs { accepted: 0, current: 0 });
        assert_eq!(std::fs::read(fresh.path().join("acceptedEpoch")).unwrap(), b"0");
        assert_eq!(std::fs::read(fresh.path().join("currentEpoch")).unwrap(), b"0");
    }

    #[test]
    fn files_are_taken_as_they_are() {
        assert_eq!(loaded(&[("currentEpoch", "5"), ("acceptedEpoch", "5")]).unwrap(), (5, 5));
        assert_eq!(loaded(&[("currentEpoch", "6"), ("acceptedEpoch", "8")]).unwrap(), (8, 6));
        // An old temporary file says nothing where the file itself is up to date.
        let files = [("currentEpoch", "5"), ("acceptedEpoch", "5"), ("currentEpoch.tmp", "9")];
        assert_eq!(loaded(&files).unwrap(), (5, 5));
        let by_hand = directory(&[("currentEpoch", "5\n"), ("acceptedEpoch", "7\r\nby hand")]);
        assert_eq!(load_epochs(&RealDisk, by_hand.path(), LAST).unwrap(), Epochs { accepted: 7, current: 5 });
    }

    #[test]
    fn data_of_a_newer_epoch_needs_a_promise_of_it() {
        for accepted in ["4", "5"] {
            let files = [("currentEpoch", "4"), ("acceptedEpoch", accepted), ("currentEpoch.tmp", "5")];
            assert_eq!(loaded(&files).map(|epochs| epochs.1).unwrap_or(-1), if accepted == "5" { 5 } else { -1 });
        }
        assert_eq!(loaded(&[("currentEpoch", "4"), ("acceptedEpoch", "6")]).unwrap(), (6, 5));
        for tmp in [None, Some("4")] {
            let mut files = vec![("currentEpoch", "4"), ("acceptedEpoch", "4")];
            files.extend(tmp.map(|text| ("currentEpoch.tmp", text)));
            let error = loaded(&files).unwrap_err();
            assert!(matches!(error, StorageError::EpochBehindData { current: 4, last_zxid: LAST, .. }), "{error}");
        }
    }

    #[test]
    fn an_accepted_epoch_below_the_current_one_is_refused() {
        for files in [&[("currentEpoch", "6"), ("acceptedEpoch", "5")][..], &[("currentEpoch", "6")]] {
            let error = loaded(files).unwrap_err();
            assert!(matches!(error, StorageError::EpochsAtOdds { accepted: 5, current: 6, .. }), "{error}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_with_its_file() {
        for (name, text) in [
            ("currentEpoch", ""),
            ("currentEpoch", "five"),
            ("acceptedEpoch", "5 "),
            ("acceptedEpoch", "9223372036854775808"),
        ] {
            let error = loaded(&[("currentEpoch", "5"), ("acceptedEpoch", "5"), (name, text)]).unwrap_err();
            assert!(matches!(&error, StorageError::BadEpoch { file, .. } if file.ends_with(name)), "{error}");
        }
    }

    /// A power cut between making the temporary file and syncing it kept a server from ever starting again.
    #[test]
    fn a_temporary_file_that_was_never_complete_is_as_good_as_none() {
        for text in ["", "fi"] {
            let files = [("currentEpoch", "4"), ("acceptedEpoch", "5"), ("currentEpoch.tmp", text)];
            assert_eq!(loaded(&files).unwrap(), (5, 5));
            let error =
                loaded(&[("currentEpoch", "4"), ("acceptedEpoch", "4"), ("currentEpoch.tmp", text)]).unwrap_err();
            assert!(matches!(error, StorageError::EpochBehindData { current: 4, last_zxid: LAST, .. }), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_left_over() {
        let directory = directory(&[("currentEpoch.tmp", "a longer text of an earlier attempt")]);
        assert_eq!(read_epoch(&RealDisk, directory.path(), EpochFile::Current).unwrap(), None);
        for epoch in [0, 17, i64::MAX] {
            write_epoch(&RealDisk, directory.path(), EpochFile::Current, epoch).unwrap();
            assert_eq!(read_epoch(&RealDisk, directory.path(), EpochFile::Current).unwrap(), Some(epoch));
        }
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["currentEpoch"]);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let directory = directory(&[]);
        let missing = directory.path().join("missing");
        let error = write_epoch(&RealDisk, &missing, EpochFile::Accepted, 1).unwrap_err();
        assert!(error.to_string().contains("acceptedEpoch.tmp"), "{error}");
    }
}
