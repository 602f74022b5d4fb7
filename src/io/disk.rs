//! A disk as storage needs it: directories of files, exclusive names, files that are mapped and written into, and syncs.
//! `real_disk.rs` is the machine's file system, `sim/disk.rs` one in memory that a seed drives; storage cannot tell them
//! apart. Errors are the kernel's, or what the simulator makes of them.
//!
//! What every implementation keeps to: bytes are durable once a sync of their file that began after they were written has
//! returned; a name is durable once a sync of its directory has. Before that anything may happen to them in a crash, except
//! that a rename happens whole or not at all. After a failed sync nothing that it covered is ever known to be durable.

use std::any::Any;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories and the names in them. Renames stay within a directory.
pub trait Disk: Debug + Send + Sync {
    /// Names of the entries, in no order. Names that are not UTF-8 are nobody's we know and left out.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
    fn exists(&self, path: &Path) -> bool;
    /// For syncs: creations, renames and removals in it become durable.
    fn open_directory(&self, path: &Path) -> io::Result<Arc<dyn SyncTarget>>;
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// For cutting a file that an earlier process wrote.
    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A new file of `head` and then zeros up to `bytes`, all of it on disk and all blocks taken when this returns, so that
    /// writes inside change no metadata. A full disk is met here, and nothing is left behind then. `flush_bytes`: about as much
    /// will be synced at once, for what it is worth.
    fn create_mapped(&self, path: &Path, head: &[u8], bytes: u64, flush_bytes: u64) -> io::Result<Box<dyn LogMapping>>;
    /// An existing `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// An existing `to` is an error and stays as it is.
    fn rename_exclusive(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.open_directory(path)?.sync()
    }

    /// The fault that faults.md warns of: going on in a file of an earlier process.
    #[cfg(any(put_backs, test))]
    fn map_inherited(&self, path: &Path) -> io::Result<Box<dyn LogMapping>>;
}

/// Something that can be made durable, here and now or by a driver that knows what it is.
pub trait SyncTarget: Any + Debug + Send + Sync {
    /// Waits for the disk. Of a file: its bytes and its length.
    fn sync(&self) -> io::Result<()>;
    /// For a sync on the ring. `None`: the kernel does not know it.
    fn kernel_file(&self) -> Option<&Arc<File>>;
}

/// An open file. Its `sync` is the one for data.
pub trait DiskFile: SyncTarget {
    fn bytes(&self) -> io::Result<u64>;
    /// How many bytes there were, less than asked for only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    /// Metadata as well.
    fn sync_all(&self) -> io::Result<()>;
    /// It will be read from front to back.
    fn expect_reading(&self) {}
    /// Asks for write-back without waiting, so that a later sync finds little left to do.
    fn start_write_back(&self, _offset: u64, _bytes: u64) {}
    /// Waits until the disk has taken that range, which makes nothing durable: others' syncs do not queue behind it then.
    /// An error here may not be told again by the sync.
    fn finish_write_back(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// It will not be read again soon.
    fn drop_pages(&self, _bytes: u64) {}
}

/// A log file that is written through memory.
pub trait LogMapping: Debug + Send {
    /// Copies `bytes` to `offset`; the range must lie inside the file. A sync of the file makes them durable.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Lets go of the memory; what was written stays. Must precede any shortening.
    fn unmap(&mut self);
    fn file(&self) -> Arc<dyn DiskFile>;
}

/// An open directory with its path, for whoever works in one for long.
#[derive(Debug)]
pub struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    target: Arc<dyn SyncTarget>,
}

impl Directory {
    pub fn open(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Directory> {
        let target = disk.open_directory(path)?;
        Ok(Directory { disk: Arc::clone(disk), path: path.to_owned(), target })
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// For a sync that somebody else carries out.
    pub fn target(&self) -> &Arc<dyn SyncTarget> {
        &self.target
    }

    pub fn sync(&self) -> io::Result<()> {
        self.target.sync()
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names(&self.path)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.join(name))
    }

    pub fn rename_exclusive(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename_exclusive(&self.join(from), &self.join(to))
    }
}

/// Fills the buffer, or fails where the file ends before.
pub fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    match file.read_at(buffer, offset)? {
        count if count == buffer.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A file as a stream from its beginning.
#[derive(Debug)]
pub struct FileReader {
    file: Arc<dyn DiskFile>,
    offset: u64,
}

impl FileReader {
    pub fn new(file: Arc<dyn DiskFile>) -> FileReader {
        FileReader { file, offset: 0 }
    }
}

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
