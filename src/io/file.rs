//! Files of the machine beyond what std offers: real zeros, locks, advice to the kernel. What the bytes mean is
//! `storage`'s business, which comes here through `disk.rs`. Everything here blocks.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Zeros are written in pieces of at least and at most so many bytes. A larger piece costs less for each byte, but leaves a
/// larger folio in the page cache, and a flush writes back whole folios: it should have that much to write, and not lose
/// much where it turns out that it has not. Beyond 16 KiB nothing more was gained.
const ZERO_WRITE_BYTES_MIN: u64 = 4 << 10;
const ZERO_WRITE_BYTES_MAX: u64 = 16 << 10;
/// Zeros written between two syncs, so that a flush of the live log never queues behind much of it.
const ZERO_BURST_BYTES: u64 = 1 << 20;

/// Creates `path`, gives it `head` and then zeros up to `bytes`, all of it on disk when this returns:
/// later writes inside change no metadata. A full disk is met here, and nothing is left behind then. `flush_bytes`: about as
/// much will be written and synced at once.
pub fn create_zeroed(path: &Path, head: &[u8], bytes: u64, flush_bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    match fill_with_zeros(&file, head, bytes, zero_write_bytes(flush_bytes)) {
        Ok(()) => Ok(file),
        Err(error) => {
            drop(file);
            let _ = std::fs::remove_file(path); // the error in hand is the one to tell
            Err(error)
        }
    }
}

/// A power of two, so that pieces lie as folios do.
fn zero_write_bytes(flush_bytes: u64) -> u64 {
    1 << flush_bytes.clamp(ZERO_WRITE_BYTES_MIN, ZERO_WRITE_BYTES_MAX).ilog2()
}

fn fill_with_zeros(file: &File, head: &[u8], bytes: u64, piece_bytes: u64) -> io::Result<()> {
    reserve(file, bytes)?;
    let zeros = vec![0u8; piece_bytes as usize];
    let mut offset = 0;
    while offset < bytes {
        let burst_end = (offset + ZERO_BURST_BYTES).min(bytes);
        while offset < burst_end {
            let piece = piece_bytes.min(burst_end - offset);
            file.write_all_at(&zeros[..piece as usize], offset)?;
            offset += piece;
        }
        file.sync_data()?;
    }
    file.write_all_at(head, 0)?;
    file.sync_all()
}

/// Takes the blocks first: a full disk shows before anything is written. Filesystems that cannot are left to the writes.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    // SAFETY: a plain system call on an open descriptor.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => Ok(()),
        _ => Err(error),
    }
}

/// Asks for write-back of a range without waiting, so that a later sync finds little left to do.
pub fn start_write_back(file: &File, offset: u64, bytes: u64) {
    // Nothing is waited for, so an error stays for the sync to tell.
    let _ = write_back(file, offset, bytes, libc::SYNC_FILE_RANGE_WRITE);
}

/// Waits until a range has been written back. The disk may still keep it in a cache: this is no sync. Its error must be
/// heeded: the kernel tells of a failed write-back once, here or in the sync.
pub fn finish_write_back(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    match write_back(file, offset, bytes, wait) {
        // A filesystem that knows no such thing: the sync will do all of it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(()),
        outcome => outcome,
    }
}

fn write_back(file: &File, offset: u64, bytes: u64, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset as libc::off64_t, bytes as libc::off64_t, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Tells the kernel that a range will not be read again soon.
pub fn drop_pages(file: &File, offset: u64, bytes: u64) {
    // SAFETY: as above.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), offset as libc::off_t, bytes as libc::off_t, libc::POSIX_FADV_DONTNEED)
    };
}

/// Tells the kernel that a file is about to be read from front to back.
pub fn read_ahead(file: &File) {
    // SAFETY: as above.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
}

/// Held as long as the value lives; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// `None` when somebody else holds it.
    pub fn acquire(path: &Path) -> io::Result<Option<FileLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // SAFETY: a plain system call on an open descriptor.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(Some(FileLock { _file: file }));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        }
    }
}

pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// May this process create and remove entries in `path`?
pub fn is_writable(path: &Path) -> bool {
    // SAFETY: the string is NUL-terminated and lives through the call.
    c_path(path).is_ok_and(|path| unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zeroed_file_has_its_head_its_size_and_all_its_blocks() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("z");
        let file = create_zeroed(&path, b"head", 100_000, 0).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert_eq!(&bytes[..4], b"head");
        assert!(bytes[4..].iter().all(|b| *b == 0));
        assert!(file.metadata().unwrap().blocks() * 512 >= 100_000);
        assert!(create_zeroed(&path, b"", 1, 0).is_err(), "never over an existing file");
    }

    #[test]
    fn zeros_are_written_in_pieces_that_a_flush_fills() {
        assert_eq!([0, 200, 4096, 8191].map(zero_write_bytes), [4 << 10; 4]);
        assert_eq!([8192, 16_383].map(zero_write_bytes), [8 << 10; 2]);
        assert_eq!([16_384, 1 << 40].map(zero_write_bytes), [16 << 10; 2]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("z");
        create_zeroed(&path, b"head", (1 << 20) + 100, 1 << 20).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), (1 << 20) + 100);
        assert!(bytes.starts_with(b"head") && bytes[4..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path).unwrap();
        assert!(held.is_some());
        assert!(FileLock::acquire(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::acquire(&path).unwrap().is_some());
    }
}
