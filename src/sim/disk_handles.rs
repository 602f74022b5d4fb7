//! The side of the simulated disk that storage sees: `Disk` and its files, mappings and directories. Each handle belongs to
//! one life and fails in every later one.

use super::directory_image::{FileId, NameChange};
use super::disk::{Operation, State, Target, dead, not_found, split};
use super::file_image::FileImage;
use crate::io::disk::{Disk, DiskFile, LogMapping, SyncTarget};
use parking_lot::Mutex;
use std::any::Any;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a handle of ours stands for. Others cannot be synced here.
pub(super) fn target_of(target: &dyn SyncTarget) -> Target {
    let any: &dyn Any = target;
    if let Some(file) = any.downcast_ref::<SimFile>() {
        return Target::File(file.id);
    }
    let directory = any.downcast_ref::<SimDirectory>().expect("a file or a directory of a simulated disk");
    Target::Directory(directory.path.clone())
}

#[derive(Debug)]
pub(super) struct Mount {
    pub state: Arc<Mutex<State>>,
    pub life: u64,
}

impl Mount {
    fn handle(&self, state: &State, id: FileId) -> Arc<SimFile> {
        let token = Arc::clone(&state.files[&id].token);
        Arc::new(SimFile { state: Arc::clone(&self.state), life: self.life, id, _token: token })
    }

    fn open_existing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Read)?;
        let id = state.find(path)?;
        Ok(self.handle(&state, id))
    }

    fn rename_to(&self, from: &Path, to: &Path, is_exclusive: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Rename)?;
        let file = state.find(from)?;
        let ((directory, from), (target, to_name)) = (split(from)?, split(to)?);
        if directory != target {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        if is_exclusive && state.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change_name(&directory, NameChange::Rename { from, to: to_name, file })
    }
}

impl Disk for Mount {
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Read)?;
        let directory: PathBuf = directory.components().collect();
        let found = state.directories.get(&directory).ok_or_else(not_found)?;
        Ok(found.names().keys().cloned().collect())
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state.lock();
        let is_directory = || state.directories.contains_key(&path.components().collect::<PathBuf>());
        self.life == state.life && (state.find(path).is_ok() || is_directory())
    }

    fn open_directory(&self, path: &Path) -> io::Result<Arc<dyn SyncTarget>> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Read)?;
        let path: PathBuf = path.components().collect();
        if !state.directories.contains_key(&path) {
            return Err(not_found());
        }
        Ok(Arc::new(SimDirectory { state: Arc::clone(&self.state), life: self.life, path }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_existing(path)
    }

    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_existing(path)
    }

    /// The name leads to a new file; until a sync, a crash may give back the old one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Change)?;
        let id = state.add_named(path, FileImage::default())?;
        Ok(self.handle(&state, id))
    }

    fn create_mapped(
        &self,
        path: &Path,
        head: &[u8],
        bytes: u64,
        _flush_bytes: u64,
    ) -> io::Result<Box<dyn LogMapping>> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Change)?;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.reserve(bytes)?;
        let id = state.add_named(path, FileImage::padded(head, bytes))?;
        Ok(Box::new(SimMapping { file: self.handle(&state, id), bytes }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_to(from, to, false)
    }

    fn rename_exclusive(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_to(from, to, true)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Change)?;
        let file = state.find(path)?;
        let (directory, name) = split(path)?;
        state.change_name(&directory, NameChange::Unlink { name, file })
    }

    #[cfg(any(put_backs, test))]
    fn map_inherited(&self, path: &Path) -> io::Result<Box<dyn LogMapping>> {
        let mut state = self.state.lock();
        state.begin(self.life, Operation::Read)?;
        let id = state.find(path)?;
        let bytes = state.image(id).bytes();
        Ok(Box::new(SimMapping { file: self.handle(&state, id), bytes }))
    }
}

#[derive(Debug)]
struct SimDirectory {
    state: Arc<Mutex<State>>,
    life: u64,
    path: PathBuf,
}

impl SyncTarget for SimDirectory {
    fn sync(&self) -> io::Result<()> {
        sync_now(&self.state, self.life, &Target::Directory(self.path.clone()))
    }

    fn kernel_file(&self) -> Option<&Arc<File>> {
        None
    }
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    life: u64,
    id: FileId,
    _token: Arc<()>,
}

impl SimFile {
    fn change<T>(&self, operation: Operation, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        state.begin(self.life, operation)?;
        change(&mut state)
    }
}

impl SyncTarget for SimFile {
    fn sync(&self) -> io::Result<()> {
        sync_now(&self.state, self.life, &Target::File(self.id))
    }

    fn kernel_file(&self) -> Option<&Arc<File>> {
        None
    }
}

impl DiskFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        self.change(Operation::Read, |state| Ok(state.image(self.id).bytes()))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.change(Operation::Read, |state| match state.image(self.id).read(buffer, offset) {
            Some(count) => Ok(count),
            None => {
                state.counts.unreadable += 1;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Operation::Write, |state| {
            let end = offset + bytes.len() as u64;
            let growth = end.saturating_sub(state.image(self.id).bytes());
            state.reserve(growth)?;
            state.counts.bytes_written += bytes.len() as u64;
            let moment = state.tick();
            state.image(self.id).write(moment, offset, bytes);
            Ok(())
        })
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.change(Operation::Change, |state| {
            let growth = bytes.saturating_sub(state.image(self.id).bytes());
            state.reserve(growth)?;
            let moment = state.tick();
            state.image(self.id).set_bytes(moment, bytes);
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

/// Written at once into the cache.
#[derive(Debug)]
struct SimMapping {
    file: Arc<SimFile>,
    bytes: u64,
}

impl LogMapping for SimMapping {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.bytes, "a write outside of the mapped file");
        self.file.write_all_at(bytes, offset)?;
        self.file.state.lock().log_writes.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn unmap(&mut self) {}

    fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file) as Arc<dyn DiskFile>
    }
}

fn sync_now(state: &Mutex<State>, life: u64, target: &Target) -> io::Result<()> {
    let mut state = state.lock();
    if life != state.life {
        return Err(dead());
    }
    let moment = state.now();
    state.sync(target, moment)
}
