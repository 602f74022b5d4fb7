//! Layout of a snapshot (storage-format sheet §4), uncompressed. Pure: from any stream into a sink, from a source to any stream.
//!
//! ```text
//! header 16 │ sessions │ ACL table │ nodes, parents first │ "/" │ seal │ digest │ seal │ last zxid │ seal
//! ```
//! A seal is the Adler-32 of every byte before it and the string "/" again. The digest and the last zxid may be
//! missing, as older releases did not write them. Which zxid a snapshot stands for is said by its file name only.

use super::byte_stream::ByteStream;
use super::error::StreamError;
use crate::message::SnapshotNode;
use crate::types::{Acl, AclList, SessionId, StatPersisted, Zxid};
use crate::wire::{BadBytes, Found, Reader, Writer, txn::stored_acl};
use simd_adler32::Adler32;
use std::io::{self, Read, Write};
use zerocopy::byteorder::big_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const MAGIC: u32 = 0x5a4b_534e; // "ZKSN"
pub const VERSION: i32 = 2;
const DBID: i64 = -1;
/// Path behind the last node, and text of a seal: the string "/".
pub const END_MARK: [u8; 5] = [0, 0, 0, 1, b'/'];
const STAT_BYTES: usize = size_of::<StoredStat>();
/// ACL key and stat, behind a node's data.
const NODE_TAIL_BYTES: usize = 8 + STAT_BYTES;
/// Everything behind the first seal is far below this.
const TRAILER_BYTES_MAX: usize = 4 << 10;
/// Written at a time.
const WRITE_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FileHeader {
    magic: U32,
    version: I32,
    dbid: I64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Seal {
    checksum: U64,
    mark: [u8; 5],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StoredStat {
    czxid: I64,
    mzxid: I64,
    ctime: I64,
    mtime: I64,
    version: I32,
    cversion: I32,
    aversion: I32,
    ephemeral_owner: I64,
    pzxid: I64,
}

const _: () = assert!(size_of::<FileHeader>() == 16 && size_of::<Seal>() == 13 && STAT_BYTES == 60);

/// Digest of the tree as of a transaction that the snapshot, being fuzzy, may be behind or ahead of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDigest {
    pub zxid: Zxid,
    pub version: i32,
    pub tree: u64,
}

/// What stands behind the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SnapshotTrailer {
    pub digest: Option<SnapshotDigest>,
    pub last_zxid: Option<Zxid>,
}

/// Takes in what a snapshot holds, in this order.
pub trait SnapshotSink {
    /// Forget everything: a snapshot begins, perhaps after one that failed half way.
    fn begin(&mut self);
    fn session(&mut self, session: SessionId, timeout_ms: i32);
    fn acl(&mut self, key: i64, list: AclList);
    /// Parents come first; the root has the empty path. An error (no parent, unknown ACL key) makes the snapshot invalid.
    fn node(&mut self, node: SnapshotNode<'_>) -> Result<(), &'static str>;
    /// That was the last node; a sink that looks at them all together may still find the snapshot invalid.
    fn end(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Gives out what a snapshot is to hold. `each` fails when the disk does; pass that on at once.
pub trait SnapshotSource {
    fn session_count(&self) -> usize;
    fn sessions(&self, each: &mut dyn FnMut(SessionId, i32) -> io::Result<()>) -> io::Result<()>;
    fn acl_count(&self) -> usize;
    fn acls(&self, each: &mut dyn FnMut(i64, &[Acl]) -> io::Result<()>) -> io::Result<()>;
    /// Pre-order; the root with the empty path.
    fn nodes(&self, each: &mut dyn FnMut(&SnapshotNode<'_>) -> io::Result<()>) -> io::Result<()>;
    /// Asked last.
    fn trailer(&self) -> SnapshotTrailer;
}

/// Reads a whole snapshot and verifies every seal.
pub(super) fn read(source: impl Read, sink: &mut impl SnapshotSink) -> Result<SnapshotTrailer, StreamError> {
    let mut stream = ByteStream::new(source);
    read_header(&mut stream)?;
    read_sessions(&mut stream, sink)?;
    read_acls(&mut stream, sink)?;
    while read_node(&mut stream, sink)? {}
    sink.end().map_err(|reason| StreamError::Invalid(reason.into()))?;
    read_seal(&mut stream)?;
    read_trailer(&mut stream)
}

fn read_header<R: Read>(stream: &mut ByteStream<R>) -> Result<(), StreamError> {
    stream.need("snapshot header", size_of::<FileHeader>())?;
    let (header, _) = FileHeader::ref_from_prefix(stream.window()).expect("needed above");
    let (magic, version) = (header.magic.get(), header.version.get());
    if magic != MAGIC || version != VERSION {
        return Err(StreamError::Invalid(format!(
            "not a snapshot of a known version: magic {magic:#x}, version {version}"
        )));
    }
    stream.consume(size_of::<FileHeader>());
    Ok(())
}

fn read_sessions<R: Read>(stream: &mut ByteStream<R>, sink: &mut impl SnapshotSink) -> Result<(), StreamError> {
    let count = stream.record(|r| r.int("session count"))?;
    for _ in 0..count {
        let (session, timeout_ms) =
            stream.record(|r| Ok((SessionId(r.long("session id")?), r.int("session timeout")?)))?;
        sink.session(session, timeout_ms);
    }
    Ok(())
}

fn read_acls<R: Read>(stream: &mut ByteStream<R>, sink: &mut impl SnapshotSink) -> Result<(), StreamError> {
    let count = stream.record(|r| r.int("ACL count"))?;
    for _ in 0..count {
        let (key, list) = stream.record(|r| {
            let key = r.long("ACL key")?;
            let list = stored_acl(r)?.ok_or_else(|| r.error("ACL list", Found::Null))?;
            Ok((key, list))
        })?;
        sink.acl(key, list.into());
    }
    Ok(())
}

/// False at the end mark, which is consumed.
#[inline]
fn read_node<R: Read>(stream: &mut ByteStream<R>, sink: &mut impl SnapshotSink) -> Result<bool, StreamError> {
    loop {
        let offset = stream.offset();
        match node_extent(stream.window(), usize::MAX).map_err(|bad| shifted(bad, offset))? {
            NodeExtent::AtLeast(bytes) => stream.need("node", bytes)?,
            NodeExtent::EndMark => {
                stream.consume(END_MARK.len());
                return Ok(false);
            }
            NodeExtent::Node(extent) => {
                give_node(stream.window(), extent, offset, sink)?;
                stream.consume(extent.bytes);
                return Ok(true);
            }
        }
    }
}

/// With the offset counted from the start of the snapshot.
pub(super) fn shifted(bad: BadBytes, by: u64) -> BadBytes {
    BadBytes { offset: by as usize + bad.offset, ..bad }
}

/// What stands where a node may begin.
pub(super) enum NodeExtent {
    /// Not told before so many bytes are seen.
    AtLeast(usize),
    EndMark,
    Node(NodeBytes),
}

/// Where the parts of a node lie.
#[derive(Clone, Copy)]
pub(super) struct NodeBytes {
    path: usize,
    data: Option<usize>,
    /// The whole of it.
    pub bytes: usize,
}

/// Finds the end of the node at the start of `window`; path and data may be `buffer_bytes_max` long each.
#[inline]
pub(super) fn node_extent(window: &[u8], buffer_bytes_max: usize) -> Result<NodeExtent, BadBytes> {
    let Some(path) = length_at(window, 0, buffer_bytes_max)? else {
        return Ok(NodeExtent::AtLeast(4));
    };
    let path = path.unwrap_or(0);
    let data_length_at = 4 + path;
    if path == 1 && window.len() < END_MARK.len() {
        return Ok(NodeExtent::AtLeast(END_MARK.len()));
    }
    if window.starts_with(&END_MARK) {
        return Ok(NodeExtent::EndMark);
    }
    let Some(data) = length_at(window, data_length_at, buffer_bytes_max)? else {
        return Ok(NodeExtent::AtLeast(data_length_at + 4));
    };
    let bytes = data_length_at + 4 + data.unwrap_or(0) + NODE_TAIL_BYTES;
    if window.len() < bytes {
        return Ok(NodeExtent::AtLeast(bytes));
    }
    Ok(NodeExtent::Node(NodeBytes { path, data, bytes }))
}

/// A buffer's length; the inner `None` is a null, the outer one says that it is not all there.
#[inline]
fn length_at(window: &[u8], at: usize, max: usize) -> Result<Option<Option<usize>>, BadBytes> {
    let Some(bytes) = window.get(at..).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    match i32::from_be_bytes(*bytes) {
        -1 => Ok(Some(None)),
        length @ 0.. if length as usize <= max => Ok(Some(Some(length as usize))),
        length => Err(BadBytes { what: "length in a node", offset: at, found: Found::Length(length) }),
    }
}

/// Hands the node at the start of `window`, `offset` bytes into the snapshot, to the sink.
#[inline]
pub(super) fn give_node(
    window: &[u8],
    extent: NodeBytes,
    offset: u64,
    sink: &mut impl SnapshotSink,
) -> Result<(), StreamError> {
    let node = &window[..extent.bytes];
    let (head, stat) = node.split_at(extent.bytes - STAT_BYTES);
    let (head, acl_key) = head.split_at(head.len() - 8);
    let acl_key = i64::from_be_bytes(acl_key.try_into().expect("split at eight"));
    let stat = StoredStat::ref_from_bytes(stat).expect("sixty bytes are left");
    let path = std::str::from_utf8(&node[4..4 + extent.path]).map_err(|_| bad("node path", offset, Found::NotUtf8))?;
    let data = extent.data.map(|bytes| &head[head.len() - bytes..]);
    sink.node(SnapshotNode { path, data, acl_key, stat: stat.into() })
        .map_err(|reason| StreamError::Invalid(format!("node {path:?} at byte {offset}: {reason}")))
}

fn bad(what: &'static str, offset: u64, found: Found) -> StreamError {
    StreamError::Bad(BadBytes { what, offset: offset as usize, found })
}

/// The text of a seal is not looked at, as in Java.
fn read_seal<R: Read>(stream: &mut ByteStream<R>) -> Result<(), StreamError> {
    let offset = stream.offset();
    let expected = u64::from(stream.checksum());
    let found = stream.record(|r| {
        let found = r.long("checksum")? as u64;
        r.string("seal")?;
        Ok(found)
    })?;
    if found != expected {
        return Err(StreamError::Invalid(format!(
            "checksum at byte {offset} is {found:#x}, the bytes before it sum up to {expected:#x}"
        )));
    }
    Ok(())
}

/// Which sections are there is not written anywhere, only what fits: the seals tell.
fn read_trailer<R: Read>(stream: &mut ByteStream<R>) -> Result<SnapshotTrailer, StreamError> {
    if stream.is_at_end()? {
        return Ok(SnapshotTrailer::default());
    }
    let before = Adler32::from_checksum(stream.checksum());
    let mut bytes = Vec::new();
    while !stream.is_at_end()? {
        let count = stream.window().len();
        bytes.extend_from_slice(stream.window());
        stream.consume(count);
        if bytes.len() > TRAILER_BYTES_MAX {
            return Err(StreamError::Invalid("bytes behind the end".into()));
        }
    }
    for (has_digest, has_last_zxid) in [(true, true), (true, false), (false, true)] {
        if let Some(trailer) = parse_trailer(&bytes, &before, has_digest, has_last_zxid) {
            return Ok(trailer);
        }
    }
    Err(StreamError::Invalid("the digest or the last zxid behind the nodes is damaged".into()))
}

fn parse_trailer(bytes: &[u8], before: &Adler32, has_digest: bool, has_last_zxid: bool) -> Option<SnapshotTrailer> {
    let mut r = Reader::new(bytes);
    let mut trailer = SnapshotTrailer::default();
    if has_digest {
        trailer.digest = Some(parse_digest(&mut r).ok()?);
        check_seal(bytes, before, &mut r)?;
    }
    if has_last_zxid {
        trailer.last_zxid = Some(Zxid(r.long("last zxid").ok()?));
        check_seal(bytes, before, &mut r)?;
    }
    r.is_empty().then_some(trailer)
}

fn parse_digest(r: &mut Reader<'_>) -> Result<SnapshotDigest, BadBytes> {
    let zxid = Zxid(r.long("digest zxid")?);
    let version = r.int("digest version")?;
    // Version 1 was text.
    let tree = if version < 2 {
        let text = r.string_present("digest text")?;
        u64::from_str_radix(text, 16).map_err(|_| r.error("digest text", Found::Null))?
    } else {
        r.long("digest")? as u64
    };
    Ok(SnapshotDigest { zxid, version, tree })
}

fn check_seal(bytes: &[u8], before: &Adler32, r: &mut Reader<'_>) -> Option<()> {
    let mut expected = before.clone();
    expected.write(&bytes[..r.offset()]);
    let found = r.long("checksum").ok()?;
    r.string("seal").ok()?;
    (found as u64 == u64::from(expected.finish())).then_some(())
}

impl From<&StoredStat> for StatPersisted {
    #[inline]
    fn from(stored: &StoredStat) -> StatPersisted {
        StatPersisted {
            czxid: Zxid(stored.czxid.get()),
            mzxid: Zxid(stored.mzxid.get()),
            ctime: stored.ctime.get(),
            mtime: stored.mtime.get(),
            version: stored.version.get(),
            cversion: stored.cversion.get(),
            aversion: stored.aversion.get(),
            ephemeral_owner: stored.ephemeral_owner.get(),
            pzxid: Zxid(stored.pzxid.get()),
        }
    }
}

/// Writes a whole snapshot.
pub(super) fn write(target: impl Write, source: &impl SnapshotSource) -> io::Result<()> {
    let mut out = SealedWriter::new(target);
    let header = FileHeader { magic: U32::new(MAGIC), version: I32::new(VERSION), dbid: I64::new(DBID) };
    out.pending.extend_from_slice(header.as_bytes());
    write_content(&mut out, source)?;
    out.seal()?;
    let trailer = source.trailer();
    if let Some(digest) = trailer.digest {
        assert!(digest.version >= 2, "version 1 is no longer written");
        let mut w = Writer::new(&mut out.pending);
        w.long(digest.zxid.0);
        w.int(digest.version);
        w.long(digest.tree as i64);
        out.seal()?;
    }
    if let Some(zxid) = trailer.last_zxid {
        Writer::new(&mut out.pending).long(zxid.0);
        out.seal()?;
    }
    out.target.flush()
}

/// Sessions, ACL table, nodes and the mark behind them.
fn write_content<W: Write>(out: &mut SealedWriter<W>, source: &(impl SnapshotSource + ?Sized)) -> io::Result<()> {
    write_sessions(out, source)?;
    write_acls(out, source)?;
    source.nodes(&mut |node| {
        let mut w = Writer::new(&mut out.pending);
        w.string(node.path);
        w.buffer(node.data);
        w.long(node.acl_key);
        w.stat_persisted(&node.stat);
        out.flush_if_full()
    })?;
    out.pending.extend_from_slice(&END_MARK);
    Ok(())
}

/// Writes the content as it travels to a learner, without header and seals, and `signature` behind it.
pub(super) fn write_bare(
    target: impl Write,
    source: &(impl SnapshotSource + ?Sized),
    signature: &str,
) -> io::Result<()> {
    let mut out = SealedWriter::new(target);
    write_content(&mut out, source)?;
    Writer::new(&mut out.pending).string(signature);
    out.flush()?;
    out.target.flush()
}

fn write_sessions<W: Write>(out: &mut SealedWriter<W>, source: &(impl SnapshotSource + ?Sized)) -> io::Result<()> {
    let mut left = source.session_count();
    Writer::new(&mut out.pending).count(left);
    source.sessions(&mut |session, timeout_ms| {
        left = left.checked_sub(1).ok_or_else(wrong_count)?;
        let mut w = Writer::new(&mut out.pending);
        w.long(session.0);
        w.int(timeout_ms);
        out.flush_if_full()
    })?;
    if left == 0 { Ok(()) } else { Err(wrong_count()) }
}

fn write_acls<W: Write>(out: &mut SealedWriter<W>, source: &(impl SnapshotSource + ?Sized)) -> io::Result<()> {
    let mut left = source.acl_count();
    Writer::new(&mut out.pending).count(left);
    source.acls(&mut |key, list| {
        left = left.checked_sub(1).ok_or_else(wrong_count)?;
        let mut w = Writer::new(&mut out.pending);
        w.long(key);
        w.acl(Some(list));
        out.flush_if_full()
    })?;
    if left == 0 { Ok(()) } else { Err(wrong_count()) }
}

/// The count stands in front: a source that gives out another number would make the file unreadable.
fn wrong_count() -> io::Error {
    io::Error::other("a snapshot source gave out another number of entries than it announced")
}

struct SealedWriter<W> {
    target: W,
    pending: Vec<u8>,
    checksum: Adler32,
}

impl<W: Write> SealedWriter<W> {
    fn new(target: W) -> SealedWriter<W> {
        SealedWriter { target, pending: Vec::with_capacity(WRITE_BYTES + (64 << 10)), checksum: Adler32::new() }
    }

    #[inline]
    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.pending.len() < WRITE_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.checksum.write(&self.pending);
        self.target.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        self.flush()?;
        let seal = Seal { checksum: U64::new(u64::from(self.checksum.finish())), mark: END_MARK };
        self.pending.extend_from_slice(seal.as_bytes());
        self.flush()
    }
}

/// Fuzz target: an uncompressed snapshot. Returns how many nodes it holds, if it is one.
pub fn fuzz_snapshot(bytes: &[u8]) -> Result<usize, String> {
    let mut counter = NodeCounter(0);
    match read(bytes, &mut counter) {
        Ok(_) => Ok(counter.0),
        Err(error) => Err(error.to_string()),
    }
}

/// Takes in anything and only counts.
pub(super) struct NodeCounter(pub usize);

impl SnapshotSink for NodeCounter {
    fn begin(&mut self) {
        self.0 = 0;
    }
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclList) {}
    fn node(&mut self, _: SnapshotNode<'_>) -> Result<(), &'static str> {
        self.0 += 1;
        Ok(())
    }
}

#[cfg(test)]
#[path = "snapshot_format_tests.rs"]
mod tests;
