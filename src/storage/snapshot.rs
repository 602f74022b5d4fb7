//! Snapshot files: which there are, writing one while the server goes on, loading one. What is inside is
//! `snapshot_format.rs`'s business.
//!
//! A file is written as `<name>.tmp`, synced, renamed, and the rename synced: a snapshot that has its name is whole. The caller
//! names one only after the log is flushed through the zxid in the name.

use super::error::{At, StorageError};
use super::file_name;
use super::snappy_stream::{self, SnappyReader, SnappyWriter};
use super::snapshot_format::{self, END_MARK, SnapshotSink, SnapshotSource, SnapshotTrailer};
use crate::io::disk::{Disk, DiskFile, FileReader, read_exact_at};
use crate::types::Zxid;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Written back at a time while a snapshot is written, twice as much at most is under way: a flush of the log must not queue
/// behind all of it.
const WRITE_BACK_BYTES: u64 = 512 << 10;
/// Shorter files are no snapshots.
const PLAIN_BYTES_MIN: u64 = 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// `snapshot.compression.method`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
}

impl Compression {
    pub const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Snappy];

    /// As written in the config: empty, `gz` or `snappy`.
    pub fn from_name(name: &str) -> Option<Compression> {
        match name {
            "" => Some(Compression::None),
            "gz" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            _ => None,
        }
    }

    fn file_suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }

    fn of_file(name: &str) -> Compression {
        match file_name::suffix(name).as_deref() {
            Some("gz") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            _ => Compression::None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotOptions {
    pub compression: Compression,
}

/// A file that is named like a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub zxid: Zxid,
    pub path: PathBuf,
    pub compression: Compression,
}

impl SnapshotFile {
    /// Java's quick test: does it begin or end like a whole snapshot?
    pub fn looks_valid(&self, disk: &dyn Disk) -> io::Result<bool> {
        let file = disk.open(&self.path)?;
        let bytes = file.bytes()?;
        let starts_with = |magic: &[u8]| -> io::Result<bool> {
            let mut head = vec![0; magic.len()];
            Ok(bytes >= magic.len() as u64 && read_exact_at(&*file, &mut head, 0).is_ok() && head == magic)
        };
        match self.compression {
            Compression::Gzip => starts_with(&GZIP_MAGIC),
            Compression::Snappy => starts_with(&snappy_stream::HEADER[..snappy_stream::MAGIC_BYTES]),
            Compression::None if bytes < PLAIN_BYTES_MIN => Ok(false),
            Compression::None => {
                let mut tail = [0; END_MARK.len()];
                read_exact_at(&*file, &mut tail, bytes - END_MARK.len() as u64)?;
                Ok(tail == END_MARK)
            }
        }
    }
}

/// All snapshots of a directory, newest first, whatever state they are in.
pub fn list_snapshots(disk: &dyn Disk, directory: &Path) -> Result<Vec<SnapshotFile>, StorageError> {
    let names = disk.names(directory).at("cannot list", directory)?;
    let to_file = |(zxid, name): (Zxid, String)| SnapshotFile {
        zxid,
        compression: Compression::of_file(&name),
        path: directory.join(&name),
    };
    Ok(file_name::all_snapshots(&names).into_iter().map(to_file).collect())
}

/// Writes the snapshot named by `last`: every transaction up to it is in the source.
pub fn write_snapshot(
    disk: &dyn Disk,
    directory: &Path,
    last: Zxid,
    options: SnapshotOptions,
    source: &impl SnapshotSource,
) -> Result<SnapshotFile, StorageError> {
    let name = file_name::snapshot(last, options.compression.file_suffix());
    let unfinished = format!("{name}{}", file_name::UNFINISHED_SUFFIX);
    let (path, finished) = (directory.join(&unfinished), directory.join(&name));
    let written = write_file(disk, &path, options.compression, source)
        .and_then(|()| disk.rename(&path, &finished))
        .and_then(|()| disk.sync_directory(directory));
    if written.is_err() {
        // The error in hand is the one to tell; a leftover is removed at the next start.
        let _ = disk.remove(&path);
    }
    written.at("cannot write", &path)?;
    Ok(SnapshotFile { zxid: last, path: finished, compression: options.compression })
}

fn write_file(disk: &dyn Disk, path: &Path, compression: Compression, source: &impl SnapshotSource) -> io::Result<()> {
    let file = disk.create(path)?;
    let paced = PacedFile { file, written: 0, pushed: 0, taken: 0 };
    let paced = match compression {
        Compression::None => {
            let mut paced = paced;
            snapshot_format::write(&mut paced, source)?;
            paced
        }
        Compression::Gzip => {
            // The fast level: a better ratio would cost reads and writes of clients their processor.
            let mut gzip = GzEncoder::new(paced, flate2::Compression::fast());
            snapshot_format::write(&mut gzip, source)?;
            gzip.finish()?
        }
        Compression::Snappy => {
            let mut snappy = SnappyWriter::new(paced)?;
            snapshot_format::write(&mut snappy, source)?;
            snappy.finish()?
        }
    };
    paced.file.sync_all()?;
    paced.file.drop_pages(paced.written);
    Ok(())
}

/// Goes no faster than the disk, so that neither the final sync nor a flush of the log meets much of it at once.
struct PacedFile {
    file: Arc<dyn DiskFile>,
    written: u64,
    /// Its write-back has begun.
    pushed: u64,
    /// Its write-back is over.
    taken: u64,
}

impl Write for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.pushed >= WRITE_BACK_BYTES {
            self.file.start_write_back(self.pushed, self.written - self.pushed);
            if self.pushed > self.taken {
                self.file.finish_write_back(self.taken, self.pushed - self.taken)?;
            }
            (self.taken, self.pushed) = (self.pushed, self.written);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads one snapshot into the sink. After an error the sink holds part of it and is to be begun again.
pub fn load_snapshot(
    disk: &dyn Disk,
    snapshot: &SnapshotFile,
    sink: &mut impl SnapshotSink,
) -> Result<SnapshotTrailer, StorageError> {
    let path = &snapshot.path;
    let file = disk.open(path).at("cannot open", path)?;
    file.expect_reading();
    let file = FileReader::new(file);
    sink.begin();
    let outcome = match snapshot.compression {
        Compression::None => snapshot_format::read(file, sink),
        Compression::Gzip => snapshot_format::read(GzDecoder::new(io::BufReader::with_capacity(64 << 10, file)), sink),
        Compression::Snappy => read_snappy(io::BufReader::with_capacity(64 << 10, file), sink),
    };
    outcome.map_err(|error| StorageError::bad_snapshot(path, error))
}

fn read_snappy(file: impl Read, sink: &mut impl SnapshotSink) -> Result<SnapshotTrailer, super::error::StreamError> {
    snapshot_format::read(SnappyReader::new(file)?, sink)
}

/// Removes snapshots that stand for more than `target`: after a truncation they hold what no longer happened.
pub(super) fn remove_snapshots_above(disk: &dyn Disk, directory: &Path, target: Zxid) -> Result<(), StorageError> {
    for snapshot in list_snapshots(disk, directory)? {
        if snapshot.zxid > target {
            disk.remove(&snapshot.path).at("cannot remove", &snapshot.path)?;
        }
    }
    disk.sync_directory(directory).at("cannot sync", directory)
}

/// Removes what a crash left of snapshots being written.
pub(super) fn remove_unfinished(disk: &dyn Disk, directory: &Path) -> Result<(), StorageError> {
    for name in disk.names(directory).at("cannot list", directory)? {
        if file_name::is_unfinished_snapshot(&name) {
            let path = directory.join(&name);
            disk.remove(&path).at("cannot remove", &path)?;
        }
    }
    Ok(())
}
