//! Layout of a log file (storage-format sheet §2). Pure: slices in, values out.
//!
//! ```text
//! 0        16                                                                     preallocated size
//! ┌────────┬──────────────────────────────────┬──────────────────────┬───────────────┐
//! │ header │ checksum 8 │ length 4 │ entry │ B │ next record …        │ zeros …       │
//! └────────┴──────────────────────────────────┴──────────────────────┴───────────────┘
//! ```
//! The checksum is Adler-32 of the entry, zero-extended. `B` is 0x42. Entries are `wire::txn`'s business.

use crate::types::Zxid;
use crate::wire::{BadBytes, txn};
use zerocopy::byteorder::big_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const MAGIC: u32 = 0x5a4b_4c47; // "ZKLG"
pub const VERSION: i32 = 2;
pub const HEADER_BYTES: usize = size_of::<FileHeader>();
/// In front of an entry.
pub const RECORD_HEAD_BYTES: usize = size_of::<RecordHead>();
/// What a record takes beyond its entry.
pub const RECORD_FRAME_BYTES: usize = RECORD_HEAD_BYTES + 1;
/// Last byte of every record.
pub const RECORD_END: u8 = 0x42;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileHeader {
    pub magic: U32,
    pub version: I32,
    pub dbid: I64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordHead {
    pub checksum: U64,
    pub length: I32,
}

const _: () = assert!(HEADER_BYTES == 16 && RECORD_HEAD_BYTES == 12);

impl FileHeader {
    pub const OURS: FileHeader = FileHeader {
        magic: U32::from_bytes(MAGIC.to_be_bytes()),
        version: I32::from_bytes(VERSION.to_be_bytes()),
        dbid: I64::ZERO,
    };
}

/// What the first bytes of a log file look like. Version and dbid are not looked at, as Java does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Good,
    /// The file has no bytes.
    Empty,
    /// Fewer than 16 bytes, as far as they go those of a header or zeros.
    Short,
    /// 16 zeros.
    Zero,
    /// Somebody else's file.
    Foreign,
}

impl Header {
    /// `head` is the beginning of the file, at least 16 bytes of it if there are that many.
    pub fn of(head: &[u8]) -> Header {
        let head = &head[..head.len().min(HEADER_BYTES)];
        let ours = FileHeader::OURS;
        let is_zero = head.iter().all(|byte| *byte == 0);
        match FileHeader::read_from_bytes(head) {
            Ok(header) if header.magic.get() == MAGIC => Header::Good,
            Ok(_) if is_zero => Header::Zero,
            Ok(_) => Header::Foreign,
            Err(_) if head.is_empty() => Header::Empty,
            Err(_) if is_zero || ours.as_bytes().starts_with(head) => Header::Short,
            Err(_) => Header::Foreign,
        }
    }
}

/// Why the records of a file end where they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Right behind a record, or behind the header.
    EndOfFile,
    /// A record of length zero: padding, or a hole.
    ZeroLength,
    /// The file ends inside the record.
    CutShort,
    /// A negative length.
    BadLength,
    /// The last byte is not `B`.
    BadEnd,
    BadChecksum,
    /// The checksum is right but the entry is no transaction.
    Undecodable,
    /// A good record whose zxid is not above the one before it.
    OutOfOrder,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    Record {
        entry: &'a [u8],
        framed_bytes: usize,
    },
    /// The slice must hold this many bytes before anything can be said.
    NeedMore(usize),
    Stop(Stop),
}

/// Reads the record at the start of `bytes`, of which the file has `file_bytes_left` (at least as many as the slice).
pub fn parse_record(bytes: &[u8], file_bytes_left: u64) -> Parsed<'_> {
    if file_bytes_left == 0 {
        return Parsed::Stop(Stop::EndOfFile);
    }
    let Ok((head, rest)) = RecordHead::ref_from_prefix(bytes) else {
        return match file_bytes_left < RECORD_HEAD_BYTES as u64 {
            false => Parsed::NeedMore(RECORD_HEAD_BYTES),
            true if (bytes.len() as u64) < file_bytes_left => Parsed::NeedMore(file_bytes_left as usize),
            true if bytes.iter().all(|byte| *byte == 0) => Parsed::Stop(Stop::ZeroLength),
            true => Parsed::Stop(Stop::CutShort),
        };
    };
    let length = head.length.get();
    if length == 0 {
        return Parsed::Stop(Stop::ZeroLength);
    }
    let Ok(length) = usize::try_from(length) else {
        return Parsed::Stop(Stop::BadLength);
    };
    let framed_bytes = length + RECORD_FRAME_BYTES;
    if framed_bytes as u64 > file_bytes_left {
        return Parsed::Stop(Stop::CutShort);
    }
    if bytes.len() < framed_bytes {
        return Parsed::NeedMore(framed_bytes);
    }
    let entry = &rest[..length];
    if rest[length] != RECORD_END {
        return Parsed::Stop(Stop::BadEnd);
    }
    if head.checksum.get() != checksum(entry) {
        return Parsed::Stop(Stop::BadChecksum);
    }
    Parsed::Record { entry, framed_bytes }
}

pub fn checksum(entry: &[u8]) -> u64 {
    u64::from(simd_adler32::adler32(&entry))
}

/// Appends one record.
pub fn push_record(out: &mut Vec<u8>, entry: &[u8]) {
    let length = i32::try_from(entry.len()).expect("an entry is shorter than 2 GiB");
    assert!(length > 0, "a record of length zero reads as the end of the log");
    let head = RecordHead { checksum: U64::new(checksum(entry)), length: I32::new(length) };
    out.reserve(entry.len() + RECORD_FRAME_BYTES);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(entry);
    out.push(RECORD_END);
}

/// A whole record among bytes that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    pub zxid: Zxid,
    /// Within the bytes that were looked at.
    pub start: usize,
    pub end: usize,
}

/// Whole records anywhere in `bytes`, which begins at a bad one. The work is bounded however the bytes were chosen.
pub fn find_records(bytes: &[u8]) -> Vec<FoundRecord> {
    let mut checksum_bytes_left = 8 * bytes.len();
    let mut found = Vec::new();
    let mut at = 0;
    while at + RECORD_FRAME_BYTES <= bytes.len() {
        // A checksum's upper half is zero, a length is positive: nearly every wrong place fails here.
        let looks_right = bytes[at..at + 4] == [0; 4] && bytes[at + 8..at + 12] != [0; 4];
        if looks_right
            && let Parsed::Record { entry, framed_bytes } = parse_if_affordable(&bytes[at..], &mut checksum_bytes_left)
            && let Ok(zxid) = txn::decode_zxid(entry)
        {
            found.push(FoundRecord { zxid, start: at, end: at + framed_bytes });
            at += framed_bytes;
        } else {
            at += 1;
        }
    }
    found
}

fn parse_if_affordable<'a>(bytes: &'a [u8], checksum_bytes_left: &mut usize) -> Parsed<'a> {
    let length = u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")) as usize;
    let Some(left) = checksum_bytes_left.checked_sub(length) else {
        return Parsed::Stop(Stop::CutShort);
    };
    let parsed = parse_record(bytes, bytes.len() as u64);
    if !matches!(parsed, Parsed::Stop(Stop::BadEnd | Stop::CutShort)) {
        *checksum_bytes_left = left;
    }
    parsed
}

/// Fuzz target: an entry as it comes from a file.
pub fn fuzz_log_entry(entry: &[u8]) -> Result<crate::message::Txn, BadBytes> {
    txn::decode(entry)
}

/// Fuzz target: a whole log file. Returns its good records' zxids and why they end.
pub fn fuzz_log_file(bytes: &[u8]) -> (Vec<Zxid>, Option<Stop>) {
    if Header::of(bytes) != Header::Good {
        return (find_records(bytes).iter().map(|found| found.zxid).collect(), None);
    }
    let mut zxids = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let rest = &bytes[at..];
        match parse_record(rest, rest.len() as u64) {
            Parsed::Record { entry, framed_bytes } => match txn::decode(entry) {
                Ok(txn) => {
                    zxids.push(txn.header.zxid);
                    at += framed_bytes;
                }
                Err(_) => return (zxids, Some(Stop::Undecodable)),
            },
            Parsed::Stop(stop) => {
                find_records(rest);
                return (zxids, Some(stop));
            }
            Parsed::NeedMore(_) => unreachable!("the whole file is in the slice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_framed_as_the_sheet_shows() {
        let mut bytes = Vec::new();
        push_record(&mut bytes, b"entry");
        assert_eq!(&bytes[..12], &[0, 0, 0, 0, 0x06, 0x6f, 0x02, 0x33, 0, 0, 0, 5]);
        assert_eq!(&bytes[12..], b"entryB");
        assert_eq!(FileHeader::OURS.as_bytes()[..8], [0x5a, 0x4b, 0x4c, 0x47, 0, 0, 0, 2]);
    }

    #[test]
    fn every_way_to_be_no_record_has_its_name() {
        let mut good = Vec::new();
        push_record(&mut good, b"entry");
        let stop = |bytes: &[u8]| match parse_record(bytes, bytes.len() as u64) {
            Parsed::Stop(stop) => stop,
            other => panic!("{other:?}"),
        };
        assert_eq!(stop(b""), Stop::EndOfFile);
        assert_eq!(stop(&[0; 5]), Stop::ZeroLength);
        assert_eq!(stop(&[0; 50]), Stop::ZeroLength);
        for cut in 1..good.len() {
            let expected = if cut <= 4 { Stop::ZeroLength } else { Stop::CutShort };
            assert_eq!(stop(&good[..cut]), expected, "cut at {cut}");
        }
        let changed = |at: usize, with: u8| {
            let mut bytes = good.clone();
            bytes[at] ^= with;
            stop(&bytes)
        };
        assert_eq!(changed(0, 1), Stop::BadChecksum);
        assert_eq!(changed(7, 1), Stop::BadChecksum);
        assert_eq!(changed(8, 0x80), Stop::BadLength);
        assert_eq!(changed(11, 1), Stop::BadEnd);
        assert_eq!(changed(13, 1), Stop::BadChecksum);
        assert_eq!(changed(17, 1), Stop::BadEnd);
        assert_eq!(parse_record(&good[..3], 100), Parsed::NeedMore(12));
        assert_eq!(parse_record(&good[..12], 100), Parsed::NeedMore(18));
    }

    #[test]
    fn headers_are_told_apart() {
        let ours = FileHeader::OURS;
        let ours = ours.as_bytes();
        assert_eq!(Header::of(ours), Header::Good);
        assert_eq!(Header::of(b""), Header::Empty);
        assert_eq!(Header::of(&ours[..9]), Header::Short);
        assert_eq!(Header::of(&[0; 7]), Header::Short);
        assert_eq!(Header::of(&[0; 40]), Header::Zero);
        assert_eq!(Header::of(b"ZKSN"), Header::Foreign);
        assert_eq!(Header::of(b"something else here"), Header::Foreign);
    }

    #[test]
    fn records_behind_damage_are_found() {
        let entry = |zxid: i64| [&[1u8; 12][..], &zxid.to_be_bytes(), &[0; 12]].concat();
        let mut bytes = b"torn".to_vec();
        push_record(&mut bytes, &entry(7));
        bytes.extend([0; 600]);
        push_record(&mut bytes, &entry(9));
        let zxids: Vec<Zxid> = find_records(&bytes).iter().map(|found| found.zxid).collect();
        assert_eq!(zxids, [Zxid(7), Zxid(9)]);
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(
            tail in proptest::collection::vec(prop_oneof![Just(0u8), Just(0x42u8), any::<u8>()], 0..300)
        ) {
            fuzz_log_file(&tail);
            fuzz_log_file(&[FileHeader::OURS.as_bytes(), &tail].concat());
        }
    }
}
