//! The transaction log as it is written. Records are staged in memory; a flush copies them into the mapped file and is then
//! synced by whoever holds the `FlushTicket`, on a ring or blocking. Everything that is staged meanwhile shares the next one.
//!
//! ```text
//! append → staged runs ─ start_flush → page cache ─ fdatasync (caller) ─ flush_done → FlushedThrough
//!          one run = one file, at most flush_bytes_max                  one ticket out at a time
//! ```
//! Invariants, which `recovery.rs` builds on:
//! - Nothing is copied into a file while a flush is in flight: any byte of a batch on disk proves the batch before it durable.
//! - No flush holds transactions of two epochs.
//! - A file is written by the process that created it, never by a later one, but for a start that writes the last flush again
//!   as it is (`restore.rs`).
//! - A file has its header, its zeros and its blocks on disk before it gets a log's name.
//! - `FlushedThrough` is made only by `flush_done`, for a ticket whose syncs were done.
//!
//! Growth of the staged bytes is bounded by the caller (requests outstanding). After a failed write or sync the
//! log must not be used again: the server stops and comes back through recovery.

use super::error::{At, StorageError, Unavailable};
use super::file_name;
use super::segment::{Background, PreparedSegment, SegmentSize, SegmentSupply, remove_leftovers};
use super::txnlog_format::{HEADER_BYTES, RECORD_FRAME_BYTES, push_record};
use crate::io::disk::{Directory, Disk, DiskFile, LogMapping, SyncTarget};
use crate::types::limits::FLUSH_BYTES_MAX;
use crate::types::{PutBack, Zxid};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Java's default of `preAllocSize`.
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Below this a file would be all header; also what `preAllocSize` of zero or less comes to.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// A staging buffer larger than this is not kept for the next batch.
const SPARE_BYTES_MAX: usize = 1 << 20;
/// The format's lengths are ints.
const ENTRY_BYTES_MAX: usize = i32::MAX as usize - RECORD_FRAME_BYTES;

#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `preAllocSize` in bytes: size of a file. A record that does not fit gets a larger one.
    pub segment_bytes: u64,
    /// `forceSync`: without it nothing is synced and a power cut loses what it will.
    pub force_sync: bool,
    /// `txnLogSizeLimitInKb` in bytes: a file at or above it is not written to further.
    pub file_bytes_limit: Option<u64>,
    /// Most bytes of one flush, unless one record is larger; recovery must be told the same.
    pub flush_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            force_sync: true,
            file_bytes_limit: None,
            flush_bytes_max: FLUSH_BYTES_MAX,
        }
    }
}

/// Proof that the log is durable up to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushedThrough(Zxid);

impl FlushedThrough {
    pub fn zxid(self) -> Zxid {
        self.0
    }
}

/// A flush whose bytes are in the page cache. Sync what it names, then give it back to `flush_done`; after a failed sync
/// drop it: then the log never acknowledges anything again.
#[derive(Debug)]
#[must_use = "until it is given back nothing further is flushed"]
pub struct FlushTicket {
    file: Arc<dyn DiskFile>,
    /// Set when the file is new, and so is its name.
    directory: Option<Arc<dyn SyncTarget>>,
    sync_needed: bool,
    through: Zxid,
    bytes: usize,
    buffer: Vec<u8>,
}

impl FlushTicket {
    /// False with `forceSync=no`: give the ticket straight back.
    pub fn sync_needed(&self) -> bool {
        self.sync_needed && !PutBack::FlushIsNotSynced.is_on()
    }

    /// What is to be synced, the file last.
    pub fn targets(&self) -> Vec<Arc<dyn SyncTarget>> {
        let file = Arc::clone(&self.file) as Arc<dyn SyncTarget>;
        let directory = self.directory.iter().filter(|_| !PutBack::SkipDirectoryFsync.is_on());
        directory.cloned().chain([file]).collect()
    }

    /// Last transaction covered.
    pub fn through(&self) -> Zxid {
        self.through
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Does the syncs here and now.
    pub fn sync_blocking(&self) -> io::Result<()> {
        if !self.sync_needed {
            return Ok(());
        }
        self.targets().iter().try_for_each(|target| target.sync())
    }
}

/// Records for one file, behind one another.
struct Run {
    /// Set when they begin a new file.
    opens: Option<(PreparedSegment, String)>,
    offset: u64,
    bytes: Vec<u8>,
    through: Zxid,
}

pub struct TxnLog {
    directory: Arc<Directory>,
    options: LogOptions,
    background: Background,
    supply: SegmentSupply,
    /// The file that flushed runs went to last.
    current: Option<Box<dyn LogMapping>>,
    current_end: u64,
    /// How many runs went to it.
    current_flushes: u64,
    staged: VecDeque<Run>,
    staged_bytes: usize,
    /// End of what is staged in the file that the last run belongs to, and that file's size. Zero before the first.
    end: u64,
    file_bytes: u64,
    roll_wanted: bool,
    appended: Option<Zxid>,
    in_flight: bool,
    spare: Vec<u8>,
    /// Length of the last run, but for more than is kept.
    run_bytes: usize,
}

impl TxnLog {
    /// Opens for writing after `last`, the last transaction restored. No file is created yet; the first one
    /// is prepared in the background. Leftovers of earlier processes are removed.
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        last: Option<Zxid>,
        mut options: LogOptions,
        background: Background,
    ) -> Result<TxnLog, StorageError> {
        options.segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN);
        let opened = Directory::open(disk, directory).at("cannot open", directory)?;
        remove_leftovers(&opened).at("cannot tidy up", directory)?;
        let directory = Arc::new(opened);
        let supply = SegmentSupply::start(Arc::clone(&directory), options.segment_bytes, Arc::clone(&background));
        #[allow(unused_mut, reason = "changed by a fault that is put back")]
        let mut log = TxnLog {
            directory,
            options,
            background,
            supply,
            current: None,
            current_end: 0,
            current_flushes: 0,
            staged: VecDeque::new(),
            staged_bytes: 0,
            end: 0,
            file_bytes: 0,
            roll_wanted: false,
            appended: last,
            in_flight: false,
            spare: Vec::new(),
            run_bytes: 0,
        };
        #[cfg(any(put_backs, test))]
        if PutBack::AppendToInheritedFile.is_on() {
            log.inherit().at("cannot inherit a file", log.directory.path())?;
        }
        Ok(log)
    }

    /// The fault: goes on in an earlier process's file, behind everything that was ever written to it, good or torn.
    #[cfg(any(put_backs, test))]
    fn inherit(&mut self) -> io::Result<()> {
        use super::log_reader::LogFileReader;
        use crate::io::disk::read_exact_at;
        let Some((_, name)) = file_name::all_logs(&self.directory.names()?).pop() else {
            return Ok(());
        };
        let path = self.directory.join(&name);
        let mut reader = LogFileReader::open(&**self.directory.disk(), &path).map_err(io::Error::other)?;
        while reader.advance().map_err(io::Error::other)?.is_some() {}
        if reader.last() == self.appended {
            let mut contents = vec![0; reader.file_bytes() as usize];
            read_exact_at(&*self.directory.disk().open(&path)?, &mut contents, 0)?;
            let written = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            self.current = Some(self.directory.disk().map_inherited(&path)?);
            (self.end, self.file_bytes) = (written.max(reader.offset()), reader.file_bytes());
            self.current_end = self.end;
        }
        Ok(())
    }

    /// Asked before a zxid is taken: will appends of `entry_bytes` in all, in `entries` records, find room? Anything but an
    /// `Ok` means: answer the request with an error, take no zxid, ask again later.
    pub fn has_room_for(&mut self, entries: usize, entry_bytes: usize) -> Result<(), Unavailable> {
        let bytes = (entry_bytes + entries * RECORD_FRAME_BYTES) as u64;
        if self.fits(bytes) && !self.is_over_limit() {
            return Ok(());
        }
        match self.supply.ensure(bytes) {
            // A file above its limit is still better than refusing.
            Err(_) if self.fits(bytes) => Ok(()),
            outcome => outcome,
        }
    }

    /// Stages one record. zxids only ever grow. Fails only where `has_room_for` would have.
    pub fn append(&mut self, zxid: Zxid, entry: &[u8]) -> Result<(), Unavailable> {
        assert!(self.appended.is_none_or(|last| zxid > last), "{zxid} appended behind {:?}", self.appended);
        assert!(entry.len() <= ENTRY_BYTES_MAX);
        let bytes = (entry.len() + RECORD_FRAME_BYTES) as u64;
        let wants_new_file = (self.roll_wanted || self.is_over_limit()) && self.supply.is_ready(bytes);
        if wants_new_file || !self.fits(bytes) {
            self.begin_file(zxid, bytes)?;
        } else if self.needs_new_run(zxid, bytes as usize) {
            self.begin_run(None);
        }
        let run = self.staged.back_mut().expect("begun above if there was none");
        push_record(&mut run.bytes, entry);
        run.through = zxid;
        self.end += bytes;
        self.staged_bytes += bytes as usize;
        self.appended = Some(zxid);
        Ok(())
    }

    fn fits(&self, bytes: u64) -> bool {
        self.end + bytes <= self.file_bytes
    }

    fn is_over_limit(&self) -> bool {
        self.options.file_bytes_limit.is_some_and(|limit| self.end >= limit)
    }

    fn needs_new_run(&self, zxid: Zxid, bytes: usize) -> bool {
        let is_complete =
            |run: &Run| run.bytes.len() + bytes > self.options.flush_bytes_max || run.through.epoch() != zxid.epoch();
        self.staged.back().is_none_or(|run| !run.bytes.is_empty() && is_complete(run))
    }

    fn begin_file(&mut self, first: Zxid, bytes: u64) -> Result<(), Unavailable> {
        let prepared = self.supply.take(bytes, self.next_size())?;
        self.roll_wanted = false;
        self.end = HEADER_BYTES as u64;
        self.file_bytes = prepared.file_bytes;
        self.begin_run(Some((prepared, file_name::log(first))));
        Ok(())
    }

    /// Size for the file after the next one. Zeroing what a roll then leaves unused would cost more than the writes
    /// themselves, so a file that is rolled early makes later ones smaller, and one that gets full makes them larger.
    fn next_size(&self) -> SegmentSize {
        let file_bytes = if self.roll_wanted { self.end + self.end / 2 } else { self.file_bytes.saturating_mul(2) };
        SegmentSize { file_bytes, flush_bytes: self.current_end.checked_div(self.current_flushes).unwrap_or(0) }
    }

    fn begin_run(&mut self, opens: Option<(PreparedSegment, String)>) {
        let mut bytes = std::mem::take(&mut self.spare);
        // The spare one may be on its way to the disk: the next is about as long as the last.
        bytes.reserve(self.run_bytes);
        self.staged.push_back(Run { opens, offset: self.end, bytes, through: Zxid::ZERO });
    }

    /// The next append opens a new file, as soon as one is prepared.
    pub fn roll(&mut self) {
        self.roll_wanted = self.file_bytes > 0;
    }

    /// Copies the oldest staged run into its file. `None` when there is nothing to flush, or a flush is in flight.
    /// An error means that the log is not to be used again.
    pub fn start_flush(&mut self) -> Result<Option<FlushTicket>, StorageError> {
        if self.in_flight {
            return Ok(None);
        }
        let Some(run) = self.staged.pop_front() else {
            return Ok(None);
        };
        self.in_flight = true;
        self.staged_bytes -= run.bytes.len();
        self.run_bytes = run.bytes.len().min(SPARE_BYTES_MAX);
        let mut directory = None;
        if let Some((prepared, name)) = run.opens {
            self.leave_current();
            let path = self.directory.join(&name);
            self.current = Some(prepared.become_log(&self.directory, &name).at("cannot name", &path)?);
            self.current_flushes = 0;
            directory = Some(Arc::clone(self.directory.target()));
        }
        let segment = self.current.as_mut().expect("the first run opens a file");
        segment.write(run.offset, &run.bytes).at("cannot map", self.directory.path())?;
        self.current_end = run.offset + run.bytes.len() as u64;
        self.current_flushes += 1;
        Ok(Some(FlushTicket {
            file: segment.file(),
            directory,
            sync_needed: self.options.force_sync,
            through: run.through,
            bytes: run.bytes.len(),
            buffer: run.bytes,
        }))
    }

    /// The syncs of the ticket are done.
    pub fn flush_done(&mut self, ticket: FlushTicket) -> FlushedThrough {
        assert!(self.in_flight, "a ticket is given back once");
        self.in_flight = false;
        let mut buffer = ticket.buffer;
        if buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare = buffer;
        }
        FlushedThrough(ticket.through)
    }

    /// Flushes all that is staged, waiting for the disk. The caller holds no ticket.
    pub fn flush_blocking(&mut self) -> Result<Option<FlushedThrough>, StorageError> {
        assert!(!self.in_flight, "a flush is in flight");
        let mut through = None;
        while let Some(ticket) = self.start_flush()? {
            ticket.sync_blocking().at("cannot sync the log in", self.directory.path())?;
            through = Some(self.flush_done(ticket));
        }
        Ok(through)
    }

    /// The file left behind is whole and flushed: its unused zeros are given back, out of the way of writes.
    fn leave_current(&mut self) {
        if let Some(mut left) = self.current.take() {
            left.unmap();
            let (file, end) = (left.file(), self.current_end);
            // Zeros that stay are padding like any other.
            (self.background)(Box::new(move || drop(file.set_bytes(end))));
        }
    }

    /// A clean stop: flushes, gives back the unused zeros, removes what was prepared.
    pub fn close(mut self) -> Result<Option<FlushedThrough>, StorageError> {
        let through = self.flush_blocking()?;
        if let Some(mut current) = self.current.take() {
            current.unmap();
            let file = current.file();
            let trimmed = file.set_bytes(self.current_end).and_then(|()| file.sync_all());
            trimmed.at("cannot trim the log in", self.directory.path())?;
        }
        self.supply.stop();
        self.directory.sync().at("cannot sync", self.directory.path())?;
        Ok(through)
    }

    /// Last transaction appended, durable or not; before the first append the one restored.
    pub fn appended(&self) -> Option<Zxid> {
        self.appended
    }

    pub fn is_flush_in_flight(&self) -> bool {
        self.in_flight
    }

    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    pub fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Bytes of the file that appends go to, staged ones included and padding not.
    pub fn file_end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
#[path = "txnlog_tests.rs"]
mod tests;
