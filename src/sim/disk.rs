//! A disk in memory that a seed drives: what its owner, the simulator, can do to it. Storage sees it through `mount`.
//!
//! What is written lands in a cache that readers see. It becomes durable when a sync completes: at once where code waits for
//! one, and when the simulator says so for a flush that it was handed (`start_sync`, `finish_sync`). A crash keeps what is
//! durable and, of the rest, whatever the seed likes (`file_image`, `directory_image`); handles of the life before it are dead.
//! A killed process leaves the cache as it is.
//!
//! Not simulated: sectors torn within, files that grow again after a cut that was not synced, renames between directories.

use super::counts::counts;
use super::directory_image::{DirectoryImage, FileId, NameChange};
use super::disk_handles::{Mount, target_of};
use super::file_image::FileImage;
use super::random::Random;
use crate::io::disk::{Disk, SyncTarget};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILES_MIN: usize = 16;

counts! {
    /// What a disk went through, for the statistics of a campaign.
    pub struct DiskCounts {
        operations,
        bytes_written,
        file_syncs,
        directory_syncs,
        crashes,
        kills,
        /// Sectors written and not synced when the power went: of them lost, left, and left in an older version.
        sectors_lost,
        sectors_kept,
        sectors_aged,
        lengths_lost,
        /// Creations, renames and removals not synced when the power went.
        names_lost,
        names_kept,
        /// Syncs that a crash or a kill cut short.
        syncs_cut_short,
        faults,
        full,
        unreadable,
        bits_flipped,
    }
}

/// Something that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Any operation fails with EIO.
    Operation,
    /// A write fails with EIO.
    Write,
    /// A sync fails with EIO; the bytes of a file that it covered are never written by a later one.
    Sync,
    /// A rename fails with EIO, nothing renamed.
    Rename,
    /// The power goes instead of an operation that changes something; nothing works from then on, until `crash`.
    PowerCut,
    /// The process dies there; nothing works from then on, until `kill`.
    ProcessDies,
}

/// A sync under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncId(u64);

/// What an operation is, to faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Sync,
    Rename,
    /// Creating, removing, changing a length.
    Change,
}

impl Fault {
    fn strikes(self, operation: Operation) -> bool {
        match self {
            Fault::Operation => true,
            Fault::Write => operation == Operation::Write,
            Fault::Sync => operation == Operation::Sync,
            Fault::Rename => operation == Operation::Rename,
            Fault::PowerCut | Fault::ProcessDies => operation != Operation::Read,
        }
    }
}

/// What a sync is of.
#[derive(Clone, Debug)]
pub(super) enum Target {
    File(FileId),
    Directory(PathBuf),
}

/// An open file holds the token, so that it outlives its name.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub image: FileImage,
    pub token: Arc<()>,
}

#[derive(Debug)]
pub(super) struct State {
    random: Random,
    pub life: u64,
    /// What has ended this life, and is not yet carried out.
    death: Option<Fault>,
    /// Counts what was done, so that a sync knows what it covers.
    moment: u64,
    pub directories: BTreeMap<PathBuf, DirectoryImage>,
    pub files: BTreeMap<FileId, OpenFile>,
    next_file: u64,
    /// With more it is worth looking for those that nothing leads to; always where they take room that there is not.
    files_max: usize,
    capacity_bytes: Option<u64>,
    /// What goes wrong, and how many operations of its kind go well before.
    planned: Vec<(Fault, u64)>,
    syncs: BTreeMap<SyncId, Vec<(Target, u64)>>,
    next_sync: u64,
    /// What was written into mapped files, and where, until somebody asks.
    pub log_writes: Vec<(u64, Vec<u8>)>,
    pub counts: DiskCounts,
}

/// The simulator's side of the disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            random: Random::new(seed),
            life: 0,
            death: None,
            moment: 0,
            directories: BTreeMap::new(),
            files: BTreeMap::new(),
            next_file: 0,
            files_max: FILES_MIN,
            capacity_bytes: None,
            planned: Vec::new(),
            syncs: BTreeMap::new(),
            next_sync: 0,
            log_writes: Vec::new(),
            counts: DiskCounts::default(),
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as storage sees it, until the next crash or kill.
    pub fn mount(&self) -> Arc<dyn Disk> {
        let life = self.state.lock().life;
        Arc::new(Mount { state: Arc::clone(&self.state), life })
    }

    /// Makes a directory, at once and durably.
    pub fn create_directory(&self, path: &Path) {
        self.state.lock().directories.entry(path.to_owned()).or_default();
    }

    /// Lays down a file, durably, as if it had always been there. Its directory must exist.
    pub fn lay(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let file = state.add_file(FileImage::durable(bytes));
        let (directory, name) = split(path).expect("a path in a directory");
        state.directories.get_mut(&directory).expect("the directory exists").lay(&name, file);
    }

    /// What was done to the names of a directory is durable.
    pub fn settle(&self, directory: &Path) {
        let mut state = self.state.lock();
        let moment = state.now();
        if let Some(directory) = state.directories.get_mut(directory) {
            directory.synced(moment);
        }
    }

    /// A file is gone, durably. Nobody may have it open.
    pub fn take_away(&self, path: &Path) {
        let mut state = self.state.lock();
        if let Ok((directory, name)) = split(path)
            && let Some(directory) = state.directories.get_mut(&directory)
        {
            directory.take_away(&name);
        }
        state.forget_unreachable();
    }

    /// An empty directory is in its place: nothing of the old one comes back with a crash. Nobody may have a file of it open.
    pub fn empty(&self, directory: &Path) {
        let mut state = self.state.lock();
        if let Some(old) = state.directories.get_mut(directory) {
            *old = DirectoryImage::default();
        }
        state.forget_unreachable();
    }

    /// What a reader would find in a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let file = state.find(path).ok()?;
        Some(state.files[&file].image.contents())
    }

    /// Every file there is, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state.lock();
        let named = state.directories.iter();
        named.flat_map(|(path, directory)| directory.names().keys().map(|name| path.join(name))).collect()
    }

    /// The power goes and comes back. Handles and syncs under way are dead, planned faults forgotten.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.counts.crashes += 1;
        state.end_life();
        state.death = None;
        state.planned.clear();
        state.lose();
    }

    /// The process dies, the machine does not: what was written stays in the cache.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.counts.kills += 1;
        state.end_life();
        state.death = None;
    }

    /// False once a planned power cut has struck: it is time to call `crash`.
    pub fn is_powered(&self) -> bool {
        self.state.lock().death != Some(Fault::PowerCut)
    }

    /// What a planned `PowerCut` or `ProcessDies` has come to: it is time to call `crash`, or `kill`.
    pub fn death(&self) -> Option<Fault> {
        self.state.lock().death
    }

    /// A flush begins; it covers what was written before. The simulator ends it whenever it likes, or never.
    pub fn start_sync(&self, targets: &[Arc<dyn SyncTarget>]) -> SyncId {
        let targets = targets.iter().map(|target| target_of(&**target)).collect::<Vec<Target>>();
        let mut state = self.state.lock();
        let id = SyncId(state.next_sync);
        state.next_sync += 1;
        let moment = state.moment;
        state.syncs.insert(id, targets.into_iter().map(|target| (target, moment)).collect());
        id
    }

    /// The outcome goes to whoever asked for the flush. One of a life gone by fails.
    pub fn finish_sync(&self, id: SyncId) -> io::Result<()> {
        let mut state = self.state.lock();
        let targets = state.syncs.remove(&id).ok_or_else(dead)?;
        targets.into_iter().try_for_each(|(target, moment)| state.sync(&target, moment))
    }

    pub fn syncs_under_way(&self) -> Vec<SyncId> {
        self.state.lock().syncs.keys().copied().collect()
    }

    /// Something goes wrong once, after `spared` operations of the kind that it strikes.
    pub fn plan(&self, fault: Fault, spared: u64) {
        self.state.lock().planned.push((fault, spared));
    }

    /// Forgets what was planned.
    pub fn heal(&self) {
        self.state.lock().planned.clear();
    }

    /// Files together hold no more than this; growing one beyond it fails with ENOSPC. `None`: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity_bytes = bytes;
    }

    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// One bit of a file changes on its own.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        state.counts.bits_flipped += 1;
        let file = state.find(path)?;
        state.image(file).flip_bit(offset, bit);
        Ok(())
    }

    /// The sector with this byte cannot be read (EIO) until somebody writes it.
    pub fn make_unreadable(&self, path: &Path, offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.find(path)?;
        state.image(file).make_unreadable(offset);
        Ok(())
    }

    /// What was written into log files since this was asked last, each piece with its offset.
    pub fn take_log_writes(&self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.state.lock().log_writes)
    }

    pub fn counts(&self) -> DiskCounts {
        self.state.lock().counts
    }
}

impl State {
    /// Every operation of a handle begins here: is it alive, and does it go well?
    pub fn begin(&mut self, life: u64, operation: Operation) -> io::Result<()> {
        if life != self.life {
            return Err(dead());
        }
        self.pass(operation)
    }

    fn pass(&mut self, operation: Operation) -> io::Result<()> {
        if self.death.is_some() {
            return Err(dead());
        }
        self.counts.operations += 1;
        let mut struck = None;
        for (index, (fault, spared)) in self.planned.iter_mut().enumerate() {
            match (fault.strikes(operation), &spared) {
                (false, _) => {}
                (true, 0) => struck = Some(index),
                (true, _) => *spared -= 1,
            }
        }
        let Some(index) = struck else {
            return Ok(());
        };
        self.counts.faults += 1;
        match self.planned.swap_remove(index).0 {
            death @ (Fault::PowerCut | Fault::ProcessDies) => {
                self.death = Some(death);
                Err(dead())
            }
            _ => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }

    /// Time stamp of a change.
    pub fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    pub fn now(&self) -> u64 {
        self.moment
    }

    pub fn sync(&mut self, target: &Target, moment: u64) -> io::Result<()> {
        let outcome = self.pass(Operation::Sync);
        let is_lost = outcome.is_err() && self.death.is_none();
        match target {
            Target::File(file) => {
                // Nothing left of it: whoever flushed it is gone, and so is its name.
                if let Some(OpenFile { image, .. }) = self.files.get_mut(file) {
                    match outcome {
                        Ok(()) => image.synced(moment),
                        Err(_) if is_lost => image.abandon(moment),
                        Err(_) => {}
                    }
                }
                self.counts.file_syncs += 1;
            }
            Target::Directory(path) => {
                let directory = self.directories.get_mut(path).ok_or_else(not_found)?;
                if outcome.is_ok() {
                    directory.synced(moment);
                }
                self.counts.directory_syncs += 1;
                if self.capacity_bytes.is_some() || self.files.len() > self.files_max {
                    self.forget_unreachable();
                }
            }
        }
        outcome
    }

    pub fn image(&mut self, file: FileId) -> &mut FileImage {
        &mut self.files.get_mut(&file).expect("open or named, so it is kept").image
    }

    pub fn find(&self, path: &Path) -> io::Result<FileId> {
        let (directory, name) = split(path)?;
        self.directories.get(&directory).and_then(|d| d.get(&name)).ok_or_else(not_found)
    }

    pub fn change_name(&mut self, directory: &Path, change: NameChange) -> io::Result<()> {
        let moment = self.tick();
        self.directories.get_mut(directory).ok_or_else(not_found)?.change(moment, change);
        Ok(())
    }

    /// A new file under this name, which is to be synced.
    pub fn add_named(&mut self, path: &Path, image: FileImage) -> io::Result<FileId> {
        let (directory, name) = split(path)?;
        if !self.directories.contains_key(&directory) {
            return Err(not_found());
        }
        let file = self.add_file(image);
        self.change_name(&directory, NameChange::Link { name, file })?;
        Ok(file)
    }

    fn add_file(&mut self, image: FileImage) -> FileId {
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(file, OpenFile { image, token: Arc::default() });
        file
    }

    /// Is there room for so many bytes more?
    pub fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let is_full = self.capacity_bytes.is_some_and(|capacity| self.used_bytes() + bytes > capacity);
        if is_full && bytes > 0 {
            self.counts.full += 1;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.image.bytes()).sum()
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.counts.syncs_cut_short += self.syncs.len() as u64;
        self.syncs.clear();
    }

    /// The cache goes.
    fn lose(&mut self) {
        for file in self.files.values_mut() {
            let losses = file.image.crash(&mut self.random);
            self.counts.sectors_lost += losses.sectors_lost;
            self.counts.sectors_kept += losses.sectors_kept;
            self.counts.sectors_aged += losses.sectors_aged;
            self.counts.lengths_lost += losses.lengths_lost;
        }
        for directory in self.directories.values_mut() {
            let (lost, kept) = directory.crash(&mut self.random);
            self.counts.names_lost += lost;
            self.counts.names_kept += kept;
        }
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let named: HashSet<FileId> = self.directories.values().flat_map(DirectoryImage::may_hold).collect();
        self.files.retain(|id, file| named.contains(id) || Arc::strong_count(&file.token) > 1);
        self.files_max = FILES_MIN + 2 * self.files.len();
    }
}

/// Directory and name.
pub(super) fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        // Written with or without a slash at its end, a directory is the same one.
        (Some(directory), Some(name)) => Ok((directory.components().collect(), name.to_owned())),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

pub(super) fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Of a handle or a sync whose process or machine is gone.
pub(super) fn dead() -> io::Error {
    io::Error::other("the simulated machine went down")
}
