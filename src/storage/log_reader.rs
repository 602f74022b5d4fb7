//! Reads transactions back: one file (`LogFileReader`), or all files from a zxid on (`LogReader`).
//! Streams through a small buffer, whatever the size of the file; a file that shrinks or fails underneath is an
//! error, never a signal. What to do about a bad end is `recovery.rs`'s business.

use super::error::{At, StorageError};
use super::file_name;
use super::recovery;
use super::tear::{TEAR_BYTES_MAX, Tear};
use super::txnlog_format::{HEADER_BYTES, Header, Parsed, Stop, parse_record};
use crate::io::disk::{Disk, DiskFile, read_exact_at};
use crate::message::Txn;
use crate::types::Zxid;
use crate::wire::txn;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read at a time; a longer record makes the buffer grow.
const READ_BYTES: usize = 256 << 10;

/// A transaction with the bytes it was read from: the same bytes go to learners.
#[derive(Debug)]
pub struct LogRecord<'a> {
    pub txn: Txn,
    pub entry: &'a [u8],
    /// It is the first of its file, and the one before that ends with something else than records: what that was is not known.
    pub is_behind_tear: bool,
}

/// One file, record after record, until it stops making sense.
pub(super) struct LogFileReader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    header: Header,
    /// Offset in the file of `buffer[0]`.
    buffer_start: u64,
    buffer: Vec<u8>,
    /// Next record, within `buffer`.
    at: usize,
    /// Last good record.
    last: Option<Zxid>,
    entry: Vec<u8>,
    stop: Option<Stop>,
}

impl LogFileReader {
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<LogFileReader, StorageError> {
        let file = disk.open(path).at("cannot open", path)?;
        let file_bytes = file.bytes().at("cannot look at", path)?;
        file.expect_reading();
        let mut reader = LogFileReader {
            path: path.to_owned(),
            file,
            file_bytes,
            header: Header::Empty,
            buffer_start: 0,
            buffer: Vec::new(),
            at: 0,
            last: None,
            entry: Vec::new(),
            stop: None,
        };
        reader.fill(HEADER_BYTES)?;
        reader.header = Header::of(&reader.buffer);
        reader.at = HEADER_BYTES.min(reader.buffer.len());
        if reader.header != Header::Good {
            reader.at = 0;
            reader.stop = Some(Stop::EndOfFile);
        }
        Ok(reader)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> Header {
        self.header
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where the next record starts, or where the last one ended.
    pub fn offset(&self) -> u64 {
        self.buffer_start + self.at as u64
    }

    /// Last good record.
    pub fn last(&self) -> Option<Zxid> {
        self.last
    }

    /// Set once `advance` has returned `None`.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// The next good record; its bytes are `entry()`. One repeated word for word is passed over: Java learners log a
    /// transaction twice at times.
    pub fn advance(&mut self) -> Result<Option<Txn>, StorageError> {
        while self.stop.is_none() {
            match parse_record(&self.buffer[self.at..], self.bytes_left()) {
                Parsed::NeedMore(needed) => self.fill(needed)?,
                Parsed::Stop(stop) => self.stop = Some(stop),
                Parsed::Record { entry, framed_bytes } => {
                    let is_repeated = self.last.is_some() && entry == self.entry;
                    match txn::decode(entry) {
                        Err(_) => self.stop = Some(Stop::Undecodable),
                        Ok(_) if is_repeated => self.at += framed_bytes,
                        Ok(txn) if self.last.is_some_and(|last| txn.header.zxid <= last) => {
                            self.stop = Some(Stop::OutOfOrder);
                        }
                        Ok(txn) => {
                            self.entry.clear();
                            self.entry.extend_from_slice(entry);
                            self.at += framed_bytes;
                            self.last = Some(txn.header.zxid);
                            return Ok(Some(txn));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Bytes of the record that `advance` returned last.
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }

    fn bytes_left(&self) -> u64 {
        self.file_bytes - self.offset()
    }

    /// Reads until `needed` bytes stand behind `at`, or the file ends.
    fn fill(&mut self, needed: usize) -> Result<(), StorageError> {
        self.buffer.drain(..self.at);
        self.buffer_start += self.at as u64;
        self.at = 0;
        let left = self.file_bytes.saturating_sub(self.buffer_start);
        let wanted = needed.max(READ_BYTES.min(left as usize));
        let mut have = self.buffer.len();
        self.buffer.resize(wanted.max(have), 0);
        while have < needed {
            let offset = self.buffer_start + have as u64;
            let count = self.file.read_at(&mut self.buffer[have..], offset).at("cannot read", &self.path)?;
            if count == 0 {
                break;
            }
            have += count;
        }
        self.buffer.truncate(have);
        // Shrunk since it was opened: what is gone reads as the end.
        let seen = self.buffer_start + have as u64;
        if have < needed {
            self.file_bytes = self.file_bytes.min(seen);
        }
        Ok(())
    }

    /// Nothing but zeros follows behind the last record. To be asked once `advance` has returned `None`.
    fn ends_with_its_records(&self) -> Result<bool, StorageError> {
        Ok(match self.stop {
            Some(Stop::EndOfFile) => true,
            Some(Stop::ZeroLength) => self.last_non_zero_end(self.offset())?.is_none(),
            _ => false,
        })
    }

    /// Whether anything but zeros follows from the stop on, and what it looks like. Reads the rest of the file.
    pub fn tear(&self) -> Result<Option<Tear>, StorageError> {
        let start = self.offset();
        let Some(end) = self.last_non_zero_end(start)? else {
            return Ok(None);
        };
        let mut bytes = vec![0; (end - start).min(TEAR_BYTES_MAX + 1) as usize];
        read_exact_at(&*self.file, &mut bytes, start).at("cannot read", &self.path)?;
        Ok(Some(Tear::examine(&bytes, start, self.file_bytes - start)))
    }

    /// The offset behind the last byte from `start` on that is not zero.
    fn last_non_zero_end(&self, start: u64) -> Result<Option<u64>, StorageError> {
        let mut piece = vec![0; READ_BYTES.min((self.file_bytes - start) as usize).max(1)];
        let (mut offset, mut end) = (start, None);
        loop {
            let count = self.file.read_at(&mut piece, offset).at("cannot read", &self.path)?;
            if count == 0 {
                return Ok(end);
            }
            if let Some(last) = last_non_zero(&piece[..count]) {
                end = Some(offset + last as u64 + 1);
            }
            offset += count as u64;
        }
    }
}

fn last_non_zero(bytes: &[u8]) -> Option<usize> {
    // Whole words first: padding is most of a file.
    const WORDS: usize = 512;
    let mut end = bytes.len();
    while end >= WORDS && bytes[end - WORDS..end] == [0; WORDS] {
        end -= WORDS;
    }
    bytes[..end].iter().rposition(|byte| *byte != 0)
}

/// zxid of a file's first good record.
pub(super) fn first_zxid(disk: &dyn Disk, path: &Path) -> Result<Option<Zxid>, StorageError> {
    let mut reader = LogFileReader::open(disk, path)?;
    Ok(reader.advance()?.map(|txn| txn.header.zxid))
}

/// Transactions from a zxid on, over all files. Meant for directories that a start has already gone over; of the file
/// being written it sees what was copied there so far, so the caller stops at what it knows to be flushed.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    from: Zxid,
    /// Not opened yet, newest first.
    rest: Vec<String>,
    current: Option<LogFileReader>,
    last: Option<Zxid>,
    /// The file before the present one did not end with its records, and nothing was read of this one.
    is_behind_tear: bool,
}

impl LogReader {
    pub fn open(disk: &Arc<dyn Disk>, directory: &Path, from: Zxid) -> Result<LogReader, StorageError> {
        let names = disk.names(directory).at("cannot list", directory)?;
        let mut rest: Vec<String> = file_name::logs_from(&names, from).into_iter().map(|(_, name)| name).collect();
        rest.reverse();
        Ok(LogReader {
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            from,
            rest,
            current: None,
            last: None,
            is_behind_tear: false,
        })
    }

    /// From the start of the file that may hold `zxid` on; whatever is missing in between is an error.
    pub fn open_around(disk: &Arc<dyn Disk>, directory: &Path, zxid: Zxid) -> Result<LogReader, StorageError> {
        Ok(LogReader { from: Zxid(i64::MIN), ..LogReader::open(disk, directory, zxid)? })
    }

    /// The next transaction, or `None` at the end of the log.
    pub fn read_next(&mut self) -> Result<Option<LogRecord<'_>>, StorageError> {
        let Some(txn) = self.advance()? else {
            return Ok(None);
        };
        let current = self.current.as_ref().expect("the transaction came from a file");
        let entry = current.entry();
        Ok(Some(LogRecord { txn, entry, is_behind_tear: std::mem::take(&mut self.is_behind_tear) }))
    }

    fn advance(&mut self) -> Result<Option<Txn>, StorageError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(name) = self.rest.pop() else {
                    return Ok(None);
                };
                self.current = Some(LogFileReader::open(&*self.disk, &self.directory.join(name))?);
                continue;
            };
            let offset = current.offset();
            match current.advance()? {
                Some(txn) => {
                    let zxid = txn.header.zxid;
                    if offset == HEADER_BYTES as u64 {
                        check_continues(self.last, zxid, self.from, current.path())?;
                    }
                    self.last = Some(zxid);
                    if zxid >= self.from {
                        return Ok(Some(txn));
                    }
                }
                None if self.rest.is_empty() => return Ok(None),
                None => {
                    // A file without a record says nothing of the one before it.
                    self.is_behind_tear |= !current.ends_with_its_records()?;
                    self.current = None;
                }
            }
        }
    }
}

/// What is missing below `from` is in a snapshot: a learner that was sent one goes on logging behind it.
fn check_continues(last: Option<Zxid>, first: Zxid, from: Zxid, file: &Path) -> Result<(), StorageError> {
    match last {
        Some(last) if first > from && !recovery::follows(last, first) => Err(StorageError::CorruptLog {
            file: file.to_owned(),
            offset: HEADER_BYTES as u64,
            case: "transactions are missing before this file",
            detail: format!(": it starts with {first}, the one before it ends with {last}"),
            advice: "Nothing was changed",
        }),
        _ => Ok(()),
    }
}
