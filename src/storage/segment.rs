//! Files the log will be written to, made ready ahead of time: header and zeros on disk, under a name that nobody takes for
//! a log. Preparing happens in the background; whoever is faster than that prepares a small one on the spot.
//!
//! A full disk is met here, as a value, while nothing depends on the outcome yet.

use super::error::Unavailable;
use super::file_name;
use super::txnlog_format::{FileHeader, HEADER_BYTES};
use crate::io::disk::{Directory, LogMapping};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use zerocopy::IntoBytes;

/// Runs a job on the background thread. Jobs may be run late, in any order, or dropped.
pub type Background = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// The first file after a start is small, so that the first write need not wait for a large one. Each later one is
/// twice the size, up to the configured one: it is prepared in less time than its predecessor takes to fill.
const FIRST_SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// How large a segment is to be, and how it will be used.
#[derive(Clone, Copy, Debug)]
pub struct SegmentSize {
    pub file_bytes: u64,
    /// About as much is flushed at once. 0: not known.
    pub flush_bytes: u64,
}

/// On disk, zeroed and synced, waiting for its name.
#[derive(Debug)]
pub struct PreparedSegment {
    name: String,
    mapping: Box<dyn LogMapping>,
    pub file_bytes: u64,
}

impl PreparedSegment {
    fn create(directory: &Directory, name: String, size: SegmentSize) -> io::Result<PreparedSegment> {
        let path = directory.join(&name);
        let SegmentSize { file_bytes, flush_bytes } = size;
        let mapping = directory.disk().create_mapped(&path, FileHeader::OURS.as_bytes(), file_bytes, flush_bytes)?;
        Ok(PreparedSegment { name, mapping, file_bytes })
    }

    /// Gives it its real name; the directory is still to be synced.
    pub fn become_log(self, directory: &Directory, name: &str) -> io::Result<Box<dyn LogMapping>> {
        directory.rename_exclusive(&self.name, name)?;
        Ok(self.mapping)
    }

    pub fn discard(self, directory: &Directory) {
        // Left behind, it is removed at the next start.
        let _ = directory.remove(&self.name);
    }
}

/// A job that the background was given.
struct Pending {
    file_bytes: u64,
    outcome: Receiver<io::Result<PreparedSegment>>,
}

/// Keeps one prepared segment at hand.
pub struct SegmentSupply {
    directory: Arc<Directory>,
    segment_bytes: u64,
    /// Of the next one, unless a record needs more.
    next: SegmentSize,
    background: Background,
    number: u64,
    ready: Option<PreparedSegment>,
    pending: Option<Pending>,
    /// Why the last attempt failed; cleared by one that succeeds.
    failure: Option<Unavailable>,
}

impl SegmentSupply {
    /// Starts preparing the first one at once.
    pub fn start(directory: Arc<Directory>, segment_bytes: u64, background: Background) -> SegmentSupply {
        let mut supply = SegmentSupply {
            directory,
            segment_bytes,
            next: SegmentSize { file_bytes: segment_bytes.min(FIRST_SEGMENT_BYTES_MAX), flush_bytes: 0 },
            background,
            number: 0,
            ready: None,
            pending: None,
            failure: None,
        };
        supply.prepare_in_background();
        supply
    }

    /// Is one at hand that holds records of `bytes` in all? Makes sure of it if it can; asks a disk that was full the
    /// last time in the background only.
    pub fn ensure(&mut self, bytes: u64) -> Result<(), Unavailable> {
        self.collect_finished();
        if self.has_ready(bytes) {
            return Ok(());
        }
        let file_bytes = self.bytes_for(bytes);
        match self.failure.clone() {
            // Less than what failed has not been tried.
            Some(failure) if failure.bytes <= file_bytes => {
                if self.pending.is_none() {
                    self.start_job(file_bytes);
                    self.collect_finished();
                }
                if self.has_ready(bytes) { Ok(()) } else { Err(failure) }
            }
            _ => self.prepare_now(file_bytes),
        }
    }

    /// Hands one out and starts on the next, which is to have about the size of `next`.
    pub fn take(&mut self, bytes: u64, next: SegmentSize) -> Result<PreparedSegment, Unavailable> {
        self.ensure(bytes)?;
        let taken = self.ready.take().expect("ensured above");
        let least = self.segment_bytes.min(FIRST_SEGMENT_BYTES_MAX);
        self.next = SegmentSize { file_bytes: next.file_bytes.clamp(least, self.segment_bytes), ..next };
        self.prepare_in_background();
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

    /// Size of a segment for records of `bytes` that are waiting for it: small, it is quick.
    fn bytes_for(&self, bytes: u64) -> u64 {
        let usual = self.segment_bytes.min(FIRST_SEGMENT_BYTES_MAX);
        usual.max(bytes + HEADER_BYTES as u64)
    }

    fn prepare_in_background(&mut self) {
        if self.ready.is_none() && self.pending.is_none() {
            self.start_job(self.next.file_bytes);
        }
    }

    fn start_job(&mut self, file_bytes: u64) {
        let (sender, outcome) = sync_channel(1);
        let directory = Arc::clone(&self.directory);
        let (name, size) = (self.next_name(), SegmentSize { file_bytes, ..self.next });
        self.pending = Some(Pending { file_bytes, outcome });
        (self.background)(Box::new(move || {
            let outcome = PreparedSegment::create(&directory, name, size);
            if let Err(unsent) = sender.send(outcome)
                && let Ok(segment) = unsent.0
            {
                segment.discard(&directory);
            }
        }));
    }

    /// What is under way is not waited for: the background has the lowest priority and may be long.
    fn prepare_now(&mut self, file_bytes: u64) -> Result<(), Unavailable> {
        let name = self.next_name();
        let outcome = PreparedSegment::create(&self.directory, name, SegmentSize { file_bytes, ..self.next });
        self.settle(file_bytes, outcome);
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    fn collect_finished(&mut self) {
        let Some(pending) = &self.pending else {
            return;
        };
        match pending.outcome.try_recv() {
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.pending = None,
            Ok(outcome) => {
                let file_bytes = pending.file_bytes;
                self.pending = None;
                self.settle(file_bytes, outcome);
            }
        }
    }

    fn wait_for_pending(&mut self) {
        if let Some(pending) = self.pending.take()
            && let Ok(outcome) = pending.outcome.recv()
        {
            self.settle(pending.file_bytes, outcome);
        }
    }

    fn settle(&mut self, file_bytes: u64, outcome: io::Result<PreparedSegment>) {
        match outcome {
            Ok(segment) => {
                self.failure = None;
                self.keep_larger(segment);
            }
            Err(error) => {
                let directory = self.directory.path().to_owned();
                self.failure = Some(Unavailable { directory, bytes: file_bytes, reason: error.to_string() });
            }
        }
    }

    /// Two at hand: a record was too large for one, or the background came second.
    fn keep_larger(&mut self, segment: PreparedSegment) {
        let is_larger = self.ready.as_ref().is_none_or(|ready| ready.file_bytes < segment.file_bytes);
        let unneeded = if is_larger { self.ready.replace(segment) } else { Some(segment) };
        if let Some(unneeded) = unneeded {
            unneeded.discard(&self.directory);
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
