//! The machine's file system as a `Disk`. Logs are mapped a window at a time and synced by whoever holds the descriptor;
//! everything else blocks.

use super::disk::{Disk, DiskFile, LogMapping, SyncTarget};
use super::file::{self, c_path, create_zeroed};
use super::mmap::MappedWindow;
use crate::types::limits::LOG_MAPPED_BYTES_MAX;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Mapped at a time: the resident set counts these pages.
const WINDOW_BYTES: usize = 2 << 20;
const _: () = assert!(WINDOW_BYTES <= LOG_MAPPED_BYTES_MAX);

#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

impl RealDisk {
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }
}

impl Disk for RealDisk {
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn open_directory(&self, path: &Path) -> io::Result<Arc<dyn SyncTarget>> {
        let handle = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        Ok(Arc::new(RealDirectory { handle: Arc::new(handle) }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::shared(File::open(path)?))
    }

    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::shared(OpenOptions::new().write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::shared(OpenOptions::new().write(true).create(true).truncate(true).open(path)?))
    }

    fn create_mapped(&self, path: &Path, head: &[u8], bytes: u64, flush_bytes: u64) -> io::Result<Box<dyn LogMapping>> {
        Ok(RealMapping::boxed(create_zeroed(path, head, bytes, flush_bytes)?, bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_exclusive(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (c_from, c_to) = (c_path(from)?, c_path(to)?);
        // SAFETY: both are NUL-terminated strings that live through the call.
        let outcome = unsafe {
            libc::renameat2(libc::AT_FDCWD, c_from.as_ptr(), libc::AT_FDCWD, c_to.as_ptr(), libc::RENAME_NOREPLACE)
        };
        if outcome == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        let is_unsupported = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS));
        if !is_unsupported {
            return Err(error);
        }
        // A filesystem without the flag: the directory is ours alone (data_dir.rs locks it), so looking first will do.
        if to.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    #[cfg(any(put_backs, test))]
    fn map_inherited(&self, path: &Path) -> io::Result<Box<dyn LogMapping>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(RealMapping::boxed(file, bytes))
    }
}

#[derive(Debug)]
struct RealDirectory {
    handle: Arc<File>,
}

impl SyncTarget for RealDirectory {
    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn kernel_file(&self) -> Option<&Arc<File>> {
        Some(&self.handle)
    }
}

#[derive(Debug)]
struct RealFile {
    file: Arc<File>,
}

impl RealFile {
    fn shared(file: File) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { file: Arc::new(file) })
    }
}

impl SyncTarget for RealFile {
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn kernel_file(&self) -> Option<&Arc<File>> {
        Some(&self.file)
    }
}

impl DiskFile for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            match self.file.read_at(&mut buffer[have..], offset + have as u64) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(have)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn expect_reading(&self) {
        file::read_ahead(&self.file);
    }

    fn start_write_back(&self, offset: u64, bytes: u64) {
        file::start_write_back(&self.file, offset, bytes);
    }

    fn finish_write_back(&self, offset: u64, bytes: u64) -> io::Result<()> {
        file::finish_write_back(&self.file, offset, bytes)
    }

    fn drop_pages(&self, bytes: u64) {
        file::drop_pages(&self.file, 0, bytes);
    }
}

#[derive(Debug)]
struct RealMapping {
    file: Arc<RealFile>,
    file_bytes: u64,
    window: MappedWindow,
}

impl RealMapping {
    fn boxed(file: File, file_bytes: u64) -> Box<dyn LogMapping> {
        let file = Arc::new(RealFile { file: Arc::new(file) });
        Box::new(RealMapping { file, file_bytes, window: MappedWindow::new(WINDOW_BYTES) })
    }
}

impl LogMapping for RealMapping {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.window.write(&self.file.file, self.file_bytes, offset, bytes)
    }

    fn unmap(&mut self) {
        self.window.unmap();
    }

    fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file) as Arc<dyn DiskFile>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_rename_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "a").unwrap();
        std::fs::write(path("b"), "b").unwrap();
        let error = RealDisk.rename_exclusive(&path("a"), &path("b")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        RealDisk.rename_exclusive(&path("a"), &path("c")).unwrap();
        assert_eq!(std::fs::read(path("c")).unwrap(), b"a");
    }

    #[test]
    fn what_is_mapped_and_synced_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let mut mapping = RealDisk.create_mapped(&path, b"head", 200_000, 0).unwrap();
        mapping.write(150_000, b"far").unwrap();
        mapping.file().sync().unwrap();
        mapping.unmap();
        mapping.file().set_bytes(150_003).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((&bytes[..4], &bytes[150_000..]), (&b"head"[..], &b"far"[..]));
        RealDisk.sync_directory(dir.path()).unwrap();
        assert!(mapping.file().kernel_file().is_some());
    }
}
