//! A snapshot on its way from a leader to a learner, behind the SNAP packet (quorum-protocol sheet §8.3): the content of a
//! snapshot file without header and seals, and a signature at its end. Written to any stream; read from whatever pieces a
//! socket gives, without ever waiting for more.
//!
//! ```text
//! sessions │ ACL table │ nodes, parents first │ "/" │ "BenWasHere"
//! ```
//! There is no checksum; the signature says that it came to its end. Memory is bounded by the longest record that
//! really came; each byte is copied once at most, and only where a record was cut.

use super::error::StreamError;
use super::snapshot_format::{self, NodeExtent, SnapshotSink, SnapshotSource, give_node, node_extent, shifted};
use crate::types::SessionId;
use crate::wire::{Decoded, Found, IdVectorScan, Reader, txn::stored_acl};
use std::io::{self, Write};

const SIGNATURE: &str = "BenWasHere";
const SESSION_BYTES: usize = 12;
const ACL_KEY_BYTES: usize = 8;
/// In an ACL, permissions stand before each identity.
const PERMS_BYTES: usize = 4;
/// An ACL list may be as long as so many buffers.
const ACL_LIST_BUFFERS_MAX: usize = 4;

/// Writes the whole stream. What `source` says behind the nodes (digest, last zxid) does not travel.
pub fn write_stream(source: &(impl SnapshotSource + ?Sized), out: &mut impl Write) -> io::Result<()> {
    snapshot_format::write_bare(out, source, SIGNATURE)
}

/// Bytes that are no snapshot; what the sink has taken in by then is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot that the leader sends is invalid: {0}")]
pub struct BadSnapshotStream(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes are taken, more must come.
    More,
    /// The snapshot is complete; so many of the bytes pushed last belonged to it, the next packet begins behind them.
    Done { consumed: usize },
}

/// Takes a stream in, piece by piece.
#[derive(Debug)]
pub struct SnapshotStreamReader {
    section: Section,
    /// The beginning of a record whose end has not come. Invariant: never more than that record.
    pending: Vec<u8>,
    /// `pending` is not worth another look before it has so many bytes.
    needed: usize,
    /// Bytes of the stream before the record at hand.
    offset: u64,
    buffer_bytes_max: usize,
}

#[derive(Debug)]
enum Section {
    Start,
    SessionCount,
    Sessions { left: i32 },
    AclCount,
    Acls { left: i32, list: IdVectorScan },
    Nodes,
    Signature,
    Done,
}

/// What became of a look at the record at hand.
enum Step {
    /// It has at least so many bytes.
    AtLeast(usize),
    /// It had so many and is taken in.
    Taken(usize),
}

impl SnapshotStreamReader {
    /// No path and no data of a znode may be longer than `buffer_bytes_max`.
    pub fn new(buffer_bytes_max: usize) -> SnapshotStreamReader {
        SnapshotStreamReader { section: Section::Start, pending: Vec::new(), needed: 0, offset: 0, buffer_bytes_max }
    }

    /// Takes in the bytes that follow those of the last call. The sink begins anew with the first.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl SnapshotSink) -> Result<Progress, BadSnapshotStream> {
        if let Section::Start = self.section {
            sink.begin();
            self.section = Section::SessionCount;
        }
        let mut consumed = 0;
        while !matches!(self.section, Section::Done) {
            let fresh = &bytes[consumed..];
            let step = if self.pending.is_empty() {
                self.step(fresh, sink)
            } else {
                consumed += self.fill_pending(fresh);
                if self.pending.len() < self.needed {
                    return Ok(Progress::More);
                }
                let pending = std::mem::take(&mut self.pending);
                let step = self.step(&pending, sink);
                self.pending = pending;
                step
            };
            match step.map_err(|bad| BadSnapshotStream(bad.to_string()))? {
                Step::Taken(record_bytes) => {
                    if self.pending.is_empty() {
                        consumed += record_bytes;
                    }
                    self.pending.clear();
                    self.offset += record_bytes as u64;
                }
                Step::AtLeast(needed) => {
                    self.needed = needed;
                    if self.pending.is_empty() {
                        self.pending.extend_from_slice(fresh);
                        return Ok(Progress::More);
                    }
                }
            }
        }
        Ok(Progress::Done { consumed })
    }

    /// Moves what the pending record still needs, as far as it is there.
    fn fill_pending(&mut self, fresh: &[u8]) -> usize {
        let taken = fresh.len().min(self.needed - self.pending.len());
        self.pending.extend_from_slice(&fresh[..taken]);
        taken
    }

    /// Looks at the record at the start of `window`.
    fn step(&mut self, window: &[u8], sink: &mut impl SnapshotSink) -> Result<Step, StreamError> {
        let offset = self.offset;
        if let Section::Nodes = self.section {
            return self.step_in_nodes(window, sink);
        }
        self.step_elsewhere(window, sink).map_err(|error| match error {
            StreamError::Bad(bad) => shifted(bad, offset).into(),
            other => other,
        })
    }

    fn step_elsewhere(&mut self, window: &[u8], sink: &mut impl SnapshotSink) -> Result<Step, StreamError> {
        let mut r = Reader::new(window);
        let minimum = match self.section {
            Section::Sessions { .. } => SESSION_BYTES,
            Section::Acls { .. } => ACL_KEY_BYTES + 4,
            _ => 4,
        };
        if window.len() < minimum {
            return Ok(Step::AtLeast(minimum));
        }
        match &mut self.section {
            Section::Start | Section::Nodes | Section::Done => unreachable!("not a section of these records"),
            Section::SessionCount => self.section = Section::sessions(r.int("session count")?),
            Section::Sessions { left } => {
                sink.session(SessionId(r.long("session id")?), r.int("session timeout")?);
                self.section = Section::sessions(*left - 1);
            }
            Section::AclCount => self.section = Section::acls(r.int("ACL count")?),
            Section::Acls { left, list } => {
                let end_max = self.buffer_bytes_max.saturating_mul(ACL_LIST_BUFFERS_MAX);
                if let Decoded::NeedMore { missing } = list.advance(window, end_max)? {
                    return Ok(Step::AtLeast(window.len() + missing));
                }
                let key = r.long("ACL key")?;
                let list = stored_acl(&mut r)?.ok_or_else(|| r.error("ACL list", Found::Null))?;
                sink.acl(key, list.into());
                self.section = Section::acls(*left - 1);
            }
            Section::Signature => {
                let length = r.int("signature")?;
                if length as usize != SIGNATURE.len() {
                    return Err(r.error("signature", Found::Length(length)).into());
                }
                if r.rest().len() < SIGNATURE.len() {
                    return Ok(Step::AtLeast(window.len() + SIGNATURE.len() - r.rest().len()));
                }
                let text = r.take("signature", SIGNATURE.len())?;
                if text != SIGNATURE.as_bytes() {
                    let found = String::from_utf8_lossy(text).into_owned();
                    return Err(StreamError::Invalid(format!("signature {found:?} at its end")));
                }
                self.section = Section::Done;
            }
        }
        Ok(Step::Taken(r.offset()))
    }

    fn step_in_nodes(&mut self, window: &[u8], sink: &mut impl SnapshotSink) -> Result<Step, StreamError> {
        match node_extent(window, self.buffer_bytes_max).map_err(|bad| shifted(bad, self.offset))? {
            NodeExtent::AtLeast(bytes) => Ok(Step::AtLeast(bytes)),
            NodeExtent::EndMark => {
                sink.end().map_err(|why| StreamError::Invalid(why.to_owned()))?;
                self.section = Section::Signature;
                Ok(Step::Taken(snapshot_format::END_MARK.len()))
            }
            NodeExtent::Node(extent) => {
                give_node(window, extent, self.offset, sink)?;
                Ok(Step::Taken(extent.bytes))
            }
        }
    }
}

impl Section {
    fn sessions(left: i32) -> Section {
        if left > 0 { Section::Sessions { left } } else { Section::AclCount }
    }

    fn acls(left: i32) -> Section {
        let list = IdVectorScan::new("ACL list", ACL_KEY_BYTES, PERMS_BYTES);
        if left > 0 { Section::Acls { left, list } } else { Section::Nodes }
    }
}

/// Fuzz target: `bytes`, taken in by pieces of `piece_bytes`. Returns how many nodes it holds and how long it is.
pub fn fuzz_snapshot_stream(bytes: &[u8], piece_bytes: usize) -> Result<Option<(usize, usize)>, BadSnapshotStream> {
    let mut counter = snapshot_format::NodeCounter(0);
    let mut reader = SnapshotStreamReader::new(bytes.len());
    let mut pushed = 0;
    for piece in bytes.chunks(piece_bytes.max(1)) {
        match reader.push(piece, &mut counter)? {
            Progress::More => pushed += piece.len(),
            Progress::Done { consumed } => return Ok(Some((counter.0, pushed + consumed))),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "snapshot_stream_tests.rs"]
mod tests;
