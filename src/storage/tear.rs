//! What stands where the records of a log file end badly, and behind it: was it torn by a crash, or was something damaged that
//! had been flushed? Pure.
//!
//! A file is all zeros before anything is written to it, and disks write sectors whole. So what a crash keeps from the disk
//! reads as zeros: sectors of the last flush, or the end of what a dying process was copying. A bad record without such a
//! *hole* was written whole once, and if a whole one stands behind it, then nothing was torn here. Nor was it if what stands
//! behind belongs to a later flush: one of a later epoch (no flush holds two), or one farther away than a flush reaches.

use super::recovery::Behind;
use super::txnlog_format::{FoundRecord, RECORD_END, RECORD_FRAME_BYTES, RECORD_HEAD_BYTES, RecordHead, find_records};
use crate::types::Zxid;
use zerocopy::FromBytes;

/// What a disk writes whole, bytes.
const SECTOR_BYTES: usize = 512;
/// Zeros up to the end of a sector that are a hole though the sector does not begin with them, bytes: a process that was killed
/// while it copied leaves them.
const COPY_BYTES_MIN: usize = 64;
/// Zeros at the start of every record, bytes: a checksum has 32 bits in a field of 64.
const LEADING_ZEROS: usize = 4;
/// No record is longer, bytes; so much is looked at.
pub(super) const TEAR_BYTES_MAX: u64 = 256 << 20;

/// A file from its first bad record on.
pub(super) struct Tear {
    /// Bytes of the bad record, as far as its length can be believed: it may reach beyond the end of the file.
    claimed_bytes: Option<usize>,
    has_hole: bool,
    /// Whole records behind it.
    whole: Vec<FoundRecord>,
    /// From the start of the bad record through the last byte that is not zero.
    bytes: u64,
}

/// What is known besides the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Last transaction before the bad record, in this file or in what comes before it.
    pub last: Zxid,
    /// Of the snapshot that the log is read behind.
    pub snapshot: Zxid,
    /// First transaction of the next file that has any.
    pub next: Option<Zxid>,
    pub flush_bytes_max: u64,
}

impl Tear {
    /// `bytes` are those from the bad record, which starts at `offset`, through the last one that is not zero; `bytes_left` are all
    /// through the end of the file.
    pub fn examine(bytes: &[u8], offset: u64, bytes_left: u64) -> Tear {
        let found = find_records(bytes);
        let length = RecordHead::ref_from_prefix(bytes).map_or(0, |(head, _)| head.length.get());
        let claimed_bytes = usize::try_from(length).ok().filter(|length| *length > 0).map(|n| n + RECORD_FRAME_BYTES);
        let true_end = claimed_bytes.and_then(|_| end_by_checksum(bytes, &found));
        let ends = true_end.or(claimed_bytes);
        // Records within its bytes are somebody's data.
        let whole: Vec<FoundRecord> =
            found.into_iter().filter(|found| ends.is_none_or(|end| found.start >= end)).collect();
        let damaged = ends.or(whole.first().map(|first| first.start)).unwrap_or(bytes.len());
        let is_cut_short = claimed_bytes.is_some_and(|claimed| claimed as u64 > bytes_left) && whole.is_empty();
        let is_unfinished = claimed_bytes.is_some_and(|claimed| claimed > bytes.len());
        let has_hole = true_end.is_none()
            && (is_cut_short || is_unfinished || has_hole(bytes, offset, claimed_bytes.is_some(), damaged));
        Tear { claimed_bytes, has_hole, whole, bytes: bytes.len() as u64 }
    }

    /// zxids of the whole records: what a cut takes away.
    pub fn lost(&self) -> Vec<Zxid> {
        self.whole.iter().map(|found| found.zxid).collect()
    }

    /// How far what one flush leaves can lie from the start of its first bad record.
    fn reach(&self, flush_bytes_max: u64) -> u64 {
        match self.claimed_bytes {
            Some(claimed) => flush_bytes_max + claimed as u64,
            // It may be one long record whose start is lost.
            None if self.has_hole && self.whole.is_empty() => TEAR_BYTES_MAX,
            None => flush_bytes_max,
        }
    }

    /// Whether all of it can be of one flush, by its place.
    pub fn is_near(&self, flush_bytes_max: u64) -> bool {
        self.bytes <= self.reach(flush_bytes_max).min(TEAR_BYTES_MAX)
    }

    /// What a cut right before the bad record would take away.
    pub fn behind(&self, around: Surroundings) -> Behind {
        // A file that goes on with the same zxids tells that this one's end was dropped before. What the snapshot holds stays.
        let is_lost_by_a_cut =
            |zxid: Zxid| zxid > around.last.max(around.snapshot) && around.next.is_none_or(|next| zxid < next);
        let whole: Vec<&FoundRecord> = self.whole.iter().filter(|found| is_lost_by_a_cut(found.zxid)).collect();
        // A snapshot is named when the log is flushed through it.
        let is_in_snapshot = around.last < around.snapshot;
        let Some(first) = whole.first() else {
            let is_made_up_for = is_in_snapshot || around.next.is_none_or(|next| next == around.last.next());
            return if self.has_hole || is_made_up_for { Behind::Nothing } else { Behind::Unflushed };
        };
        let epoch = first.zxid.epoch();
        let begins_epoch = epoch > around.last.epoch() && first.zxid.counter() == 1;
        let is_of_later_flush =
            |found: &&FoundRecord| found.zxid.epoch() != epoch || found.end as u64 > self.reach(around.flush_bytes_max);
        if is_in_snapshot || !self.has_hole || begins_epoch || whole.iter().any(is_of_later_flush) {
            return Behind::Flushed;
        }
        Behind::Unflushed
    }
}

/// Where the record ends that is whole but for its length.
fn end_by_checksum(bytes: &[u8], found: &[FoundRecord]) -> Option<usize> {
    let (head, _) = RecordHead::ref_from_prefix(bytes).ok()?;
    let mut checksum = simd_adler32::Adler32::new();
    let mut summed = RECORD_HEAD_BYTES;
    for end in found.iter().map(|found| found.start).filter(|end| *end > RECORD_HEAD_BYTES) {
        checksum.write(&bytes[summed..end - 1]);
        summed = end - 1;
        if bytes[end - 1] == RECORD_END && u64::from(checksum.finish()) == head.checksum.get() {
            return Some(end);
        }
    }
    None
}

/// Zeros in the first `damaged` bytes, where a record has none: in a whole sector, or as much of one as belongs to the record.
fn has_hole(bytes: &[u8], offset: u64, is_length_known: bool, damaged: usize) -> bool {
    let damaged = damaged.min(bytes.len());
    let mut start = 0;
    while start < damaged {
        let into_sector = ((offset + start as u64) % SECTOR_BYTES as u64) as usize;
        let sector_end = start + SECTOR_BYTES - into_sector;
        let end = if is_length_known { sector_end.min(damaged) } else { sector_end.min(bytes.len()) };
        let zeros = bytes[start..end].iter().rev().take_while(|byte| **byte == 0).count();
        let expected = if start == 0 { LEADING_ZEROS } else { 0 };
        let is_lost = zeros == end - start && zeros > expected;
        if is_lost || (end == sector_end && zeros >= COPY_BYTES_MIN) {
            return true;
        }
        start = sector_end;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry;
    use super::super::txnlog_format::push_record;
    use super::*;

    const FLUSH: u64 = 8192;

    fn records(zxids: impl IntoIterator<Item = Zxid>, data_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        zxids.into_iter().for_each(|zxid| push_record(&mut bytes, &entry(zxid.0, data_bytes)));
        bytes
    }

    fn epoch_one(counters: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = Zxid> {
        counters.map(|counter| Zxid::new(1, counter))
    }

    /// What stands behind a bad record that follows 0x1_00000006, at the start of a sector.
    fn behind(bytes: &[u8]) -> Behind {
        behind_with(bytes, |around| around)
    }

    fn behind_with(bytes: &[u8], change: fn(Surroundings) -> Surroundings) -> Behind {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let tear = Tear::examine(&bytes[..end], 1024, bytes.len() as u64);
        let around = Surroundings { last: Zxid::new(1, 6), snapshot: Zxid(0), next: None, flush_bytes_max: FLUSH };
        tear.behind(change(around))
    }

    #[test]
    fn any_flipped_bit_before_a_whole_record_is_no_tear() {
        let whole = records(epoch_one(7..=9), 150);
        let of_first = records(epoch_one(7..=7), 150).len();
        for at in 0..of_first {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert_eq!(behind(&bytes), Behind::Flushed, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn lost_sectors_are_a_tear_whatever_else_survived() {
        let whole = records(epoch_one(7..=30), 150);
        let sectors = whole.len().div_ceil(SECTOR_BYTES);
        for lost in 1u32..1 << sectors.min(10) {
            let mut bytes = whole.clone();
            for sector in (0..sectors).filter(|sector| lost & (1 << sector) != 0) {
                let end = bytes.len().min((sector + 1) * SECTOR_BYTES);
                bytes[sector * SECTOR_BYTES..end].fill(0);
            }
            // Up to the first hole all is good.
            let first_lost = lost.trailing_zeros() as usize * SECTOR_BYTES;
            let found = find_records(&whole);
            let bad = found.iter().rev().find(|found| found.start <= first_lost).expect("the first starts at zero");
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if end <= bad.start {
                continue;
            }
            let tear = Tear::examine(&bytes[bad.start..end], bad.start as u64, (whole.len() - bad.start) as u64);
            let last = Zxid(bad.zxid.0 - 1);
            let around = Surroundings { last, snapshot: Zxid(0), next: None, flush_bytes_max: FLUSH };
            assert_ne!(tear.behind(around), Behind::Flushed, "{lost:b}");
            assert!(tear.is_near(FLUSH));
        }
    }

    #[test]
    fn no_flush_holds_two_epochs() {
        let torn = |zxids: Vec<Zxid>| {
            let mut bytes = records(zxids, 600);
            bytes[..SECTOR_BYTES].fill(0);
            bytes
        };
        let second = |counter| Zxid::new(2, counter);
        assert_eq!(behind(&torn(vec![Zxid::new(1, 7), Zxid::new(1, 8)])), Behind::Unflushed);
        // The first transaction of an epoch was flushed behind all of the epoch before.
        assert_eq!(behind(&torn(vec![Zxid::new(1, 7), second(1)])), Behind::Flushed);
        assert_eq!(behind(&torn(vec![Zxid::new(1, 7), Zxid::new(1, 8), second(1)])), Behind::Flushed);
        // Here the first one of the new epoch is torn itself.
        assert_eq!(behind(&torn(vec![second(1), second(2)])), Behind::Unflushed);
    }

    #[test]
    fn a_later_flush_is_known_by_its_distance_and_by_the_snapshot() {
        let mut bytes = records(epoch_one(7..=8), 600);
        bytes[..SECTOR_BYTES].fill(0);
        assert_eq!(behind_with(&bytes, |around| Surroundings { snapshot: Zxid::new(1, 7), ..around }), Behind::Flushed);
        assert_eq!(behind_with(&bytes, |around| Surroundings { snapshot: Zxid::new(1, 8), ..around }), Behind::Nothing);
        assert_eq!(behind_with(&bytes, |around| Surroundings { flush_bytes_max: 1000, ..around }), Behind::Flushed);
    }

    #[test]
    fn what_the_next_file_repeats_was_dropped_before() {
        let mut flipped = records(epoch_one(7..=8), 600);
        flipped[100] ^= 1;
        assert_eq!(
            behind_with(&flipped, |around| Surroundings { next: Some(Zxid::new(1, 7)), ..around }),
            Behind::Nothing
        );
        assert_eq!(
            behind_with(&flipped, |around| Surroundings { next: Some(Zxid::new(2, 1)), ..around }),
            Behind::Flushed
        );
        let mut last = records(epoch_one(7..=7), 600);
        last[100] ^= 1;
        // It may have been the last transaction of its epoch.
        assert_eq!(
            behind_with(&last, |around| Surroundings { next: Some(Zxid::new(2, 1)), ..around }),
            Behind::Unflushed
        );
        last.truncate(300);
        last.resize(5000, 0);
        assert_eq!(
            behind_with(&last, |around| Surroundings { next: Some(Zxid::new(2, 1)), ..around }),
            Behind::Nothing
        );
    }

    #[test]
    fn a_record_longer_than_a_flush_may_be_torn() {
        let whole = records(epoch_one(7..=7), 5 * FLUSH as usize);
        for lost in [0..SECTOR_BYTES, 4096..8192, whole.len() - 700..whole.len() - 1] {
            let mut bytes = whole.clone();
            let is_start = lost.start == 0;
            bytes[lost.start.next_multiple_of(SECTOR_BYTES)..lost.end].fill(0);
            let tear = Tear::examine(&bytes, 1024, bytes.len() as u64);
            assert!(tear.is_near(FLUSH), "start lost: {is_start}");
            assert_eq!(behind(&bytes), Behind::Nothing);
        }
    }

    #[test]
    fn data_that_look_like_records_are_data() {
        // A client stored a log of a later epoch; the record that holds it is torn.
        let inner = records([Zxid::new(9, 1)], 100);
        let mut outer = entry(Zxid::new(1, 7).0, 2000);
        outer[1000..1000 + inner.len()].copy_from_slice(&inner);
        let mut bytes = Vec::new();
        push_record(&mut bytes, &outer);
        bytes[SECTOR_BYTES..2 * SECTOR_BYTES].fill(0);
        assert_eq!(behind(&bytes), Behind::Nothing);
    }
}
