//! Files the log will be written to, made ready ahead of time: header and zeros on disk, under a name that nobody takes for
//! a log. Preparing happens in the background; whoever is faster than that waits or prepares on the spot.
//!
//! A full disk is met here, as a value, while nothing depends on the outcome yet.

use super::error::Unavailable;
use super::file_name;
use super::txnlog_format::{FileHeader, HEADER_BYTES};
use crate::io::file::{Directory, create_zeroed};
use crate::io::mmap::MappedWindow;
use crate::types::limits::LOG_MAPPED_BYTES_MAX;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use zerocopy::IntoBytes;

/// Runs a job on the background thread. Jobs may be run late, in any order, or dropped.
pub type Background = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Mapped at a time: the resident set counts these pages.
const WINDOW_BYTES: usize = 2 << 20;
const _: () = assert!(WINDOW_BYTES <= LOG_MAPPED_BYTES_MAX);

/// The first file after a start is small, so that the first write need not wait for a large one.
const FIRST_SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// A log file being written, and the window through which that happens.
pub struct Segment {
    pub file: Arc<File>,
    pub file_bytes: u64,
    window: MappedWindow,
}

impl Segment {
    /// The range must lie inside the file.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.window.write(&self.file, self.file_bytes, offset, bytes)
    }

    pub fn unmap(&mut self) {
        self.window.unmap();
    }
}

/// On disk, zeroed and synced, waiting for its name.
#[derive(Debug)]
pub struct PreparedSegment {
    name: String,
    file: File,
    pub file_bytes: u64,
}

impl PreparedSegment {
    fn create(directory: &Directory, name: String, file_bytes: u64) -> io::Result<PreparedSegment> {
        let file = create_zeroed(&directory.join(&name), FileHeader::OURS.as_bytes(), file_bytes)?;
        Ok(PreparedSegment { name, file, file_bytes })
    }

    /// Gives it its real name; the directory is still to be synced.
    pub fn become_log(self, directory: &Directory, name: &str) -> io::Result<Segment> {
        directory.rename_exclusive(&self.name, name)?;
        Ok(Segment { file: Arc::new(self.file), file_bytes: self.file_bytes, window: MappedWindow::new(WINDOW_BYTES) })
    }

    pub fn discard(self, directory: &Directory) {
        // Left behind, it is removed at the next start.
        let _ = directory.remove(&self.name);
    }
}

/// Keeps one prepared segment at hand.
pub struct SegmentSupply {
    directory: Arc<Directory>,
    segment_bytes: u64,
    background: Background,
    number: u64,
    ready: Option<PreparedSegment>,
    pending: Option<Receiver<io::Result<PreparedSegment>>>,
    /// Why the last attempt failed; cleared by one that succeeds.
    failure: Option<Unavailable>,
}

impl SegmentSupply {
    /// Starts preparing the first one at once.
    pub fn start(directory: Arc<Directory>, segment_bytes: u64, background: Background) -> SegmentSupply {
        let mut supply = SegmentSupply {
            directory,
            segment_bytes,
            background,
            number: 0,
            ready: None,
            pending: None,
            failure: None,
        };
        supply.prepare_in_background(segment_bytes.min(FIRST_SEGMENT_BYTES_MAX));
        supply
    }

    /// Is one at hand that holds records of `bytes` in all? Makes sure of it if it can; waits for what is under way,
    /// but not for a disk that was full the last time it was asked.
    pub fn ensure(&mut self, bytes: u64) -> Result<(), Unavailable> {
        self.collect_finished();
        if self.has_ready(bytes) {
            return Ok(());
        }
        if let Some(failure) = &self.failure {
            let failure = failure.clone();
            if self.pending.is_none() {
                self.start_job(self.bytes_for(bytes));
            }
            self.collect_finished();
            return if self.has_ready(bytes) { Ok(()) } else { Err(failure) };
        }
        self.wait_for_pending();
        if !self.has_ready(bytes) {
            self.prepare_now(bytes);
        }
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Hands one out and starts on the next.
    pub fn take(&mut self, bytes: u64) -> Result<PreparedSegment, Unavailable> {
        self.ensure(bytes)?;
        let taken = self.ready.take().expect("ensured above");
        self.prepare_in_background(self.segment_bytes);
        Ok(taken)
    }

    /// Is one at hand without waiting?
    pub fn is_ready(&mut self, bytes: u64) -> bool {
        self.collect_finished();
        self.has_ready(bytes)
    }

    /// Waits for what is under way and removes what nobody will use.
    pub fn stop(mut self) {
        self.wait_for_pending();
        if let Some(unused) = self.ready.take() {
            unused.discard(&self.directory);
        }
    }

    fn has_ready(&self, bytes: u64) -> bool {
        let room = |segment: &PreparedSegment| segment.file_bytes - HEADER_BYTES as u64;
        self.ready.as_ref().is_some_and(|segment| bytes <= room(segment))
    }

    /// Size of a segment for records of `bytes`.
    fn bytes_for(&self, bytes: u64) -> u64 {
        self.segment_bytes.max(bytes + HEADER_BYTES as u64)
    }

    fn prepare_in_background(&mut self, file_bytes: u64) {
        if self.ready.is_none() && self.pending.is_none() {
            self.start_job(file_bytes);
        }
    }

    fn start_job(&mut self, file_bytes: u64) {
        let (sender, receiver) = sync_channel(1);
        let directory = Arc::clone(&self.directory);
        let name = self.next_name();
        self.pending = Some(receiver);
        (self.background)(Box::new(move || {
            let outcome = PreparedSegment::create(&directory, name, file_bytes);
            if let Err(unsent) = sender.send(outcome)
                && let Ok(segment) = unsent.0
            {
                segment.discard(&directory);
            }
        }));
    }

    fn prepare_now(&mut self, bytes: u64) {
        let name = self.next_name();
        let outcome = PreparedSegment::create(&self.directory, name, self.bytes_for(bytes));
        self.settle(outcome);
    }

    fn collect_finished(&mut self) {
        let Some(receiver) = &self.pending else {
            return;
        };
        match receiver.try_recv() {
            Ok(outcome) => self.settle(outcome),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.pending = None,
        }
    }

    fn wait_for_pending(&mut self) {
        if let Some(receiver) = self.pending.take()
            && let Ok(outcome) = receiver.recv()
        {
            self.settle(outcome);
        }
    }

    fn settle(&mut self, outcome: io::Result<PreparedSegment>) {
        self.pending = None;
        match outcome {
            Ok(segment) => {
                self.failure = None;
                // The one before was too small for what was asked.
                if let Some(replaced) = self.ready.replace(segment) {
                    replaced.discard(&self.directory);
                }
            }
            Err(error) => {
                self.failure = Some(Unavailable {
                    directory: self.directory.path().to_owned(),
                    bytes: self.segment_bytes,
                    reason: error.to_string(),
                });
            }
        }
    }

    fn next_name(&mut self) -> String {
        self.number += 1;
        file_name::prepared(self.number)
    }
}

/// Removes what an earlier process prepared and never used.
pub fn remove_leftovers(directory: &Directory) -> io::Result<()> {
    for name in directory.names()? {
        if file_name::is_prepared(&name) {
            directory.remove(&name)?;
        }
    }
    Ok(())
}
