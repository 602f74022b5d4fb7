//! One file: what a reader sees, what is durable, and in between what was written and not yet synced, sector by sector.
//!
//! A crash leaves of every sector the durable bytes or any later version of it, of the length likewise, each on its own. A cut
//! zeroes the rest of the block that it ends in; those zeros may reach the disk without the cut. Sectors are never torn.

use super::random::Random;
use super::survival::Survival;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SECTOR_BYTES: u64 = 512;
/// What a file system zeroes behind a cut.
const BLOCK_BYTES: u64 = 4096;

type Sector = [u8; SECTOR_BYTES as usize];

/// Not durable yet.
#[derive(Clone, Debug)]
struct Version<T> {
    moment: u64,
    value: T,
    /// A sync that covered it failed: the cache calls it clean, and no later sync will write it.
    abandoned: bool,
}

/// A file's bytes; behind those that are stored come zeros, as in logs that are made ready.
#[derive(Clone, Debug, Default)]
struct Bytes {
    stored: Vec<u8>,
    length: usize,
}

impl Bytes {
    fn of(mut stored: Vec<u8>) -> Bytes {
        let length = stored.len();
        stored.truncate(stored.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        stored.shrink_to_fit();
        Bytes { stored, length }
    }

    fn resize(&mut self, length: usize) {
        self.stored.truncate(length);
        self.length = length;
    }

    /// Within the length.
    fn read(&self, buffer: &mut [u8], offset: usize) {
        let stored = self.stored.get(offset..).unwrap_or_default();
        let count = stored.len().min(buffer.len());
        buffer[..count].copy_from_slice(&stored[..count]);
        buffer[count..].fill(0);
    }

    /// Within the length.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.stored.len() {
            self.stored.resize(end, 0);
        }
        self.stored[offset..end].copy_from_slice(bytes);
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.stored.clone();
        bytes.resize(self.length, 0);
        bytes
    }
}

#[derive(Debug, Default)]
pub(super) struct FileImage {
    cache: Bytes,
    durable: Bytes,
    sectors: BTreeMap<u64, Vec<Version<Sector>>>,
    lengths: Vec<Version<u64>>,
    unreadable: BTreeSet<u64>,
}

/// What a crash did to a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub sectors_lost: u64,
    pub sectors_kept: u64,
    /// An older version reached the disk, the newest did not.
    pub sectors_aged: u64,
    pub lengths_lost: u64,
}

impl FileImage {
    /// All of it on disk.
    pub fn durable(bytes: Vec<u8>) -> FileImage {
        let bytes = Bytes::of(bytes);
        FileImage { cache: bytes.clone(), durable: bytes, ..FileImage::default() }
    }

    /// All of it on disk: `head`, and zeros behind it.
    pub fn padded(head: &[u8], length: u64) -> FileImage {
        let bytes = Bytes { stored: head.to_vec(), length: length as usize };
        FileImage { cache: bytes.clone(), durable: bytes, ..FileImage::default() }
    }

    pub fn bytes(&self) -> u64 {
        self.cache.length as u64
    }

    pub fn contents(&self) -> Vec<u8> {
        self.cache.to_vec()
    }

    /// `None` where a sector cannot be read.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        let start = offset.min(self.bytes()) as usize;
        let count = buffer.len().min(self.cache.length - start);
        let sectors = sectors_of(offset, count as u64);
        if !self.unreadable.is_empty() && self.unreadable.range(sectors).next().is_some() {
            return None;
        }
        self.cache.read(&mut buffer[..count], start);
        Some(count)
    }

    pub fn write(&mut self, moment: u64, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if end > self.bytes() {
            self.grow(moment, end);
        }
        self.cache.write(offset as usize, bytes);
        self.note_versions(moment, offset, bytes.len() as u64);
        for sector in sectors_of(offset, bytes.len() as u64) {
            self.unreadable.remove(&sector);
        }
    }

    pub fn set_bytes(&mut self, moment: u64, bytes: u64) {
        let before = self.bytes();
        if bytes > before {
            return self.grow(moment, bytes);
        }
        let block_end = bytes.next_multiple_of(BLOCK_BYTES).min(before);
        self.cache.resize(bytes as usize);
        self.note_versions(moment, bytes, block_end - bytes);
        self.lengths.push(Version { moment, value: bytes, abandoned: false });
    }

    fn grow(&mut self, moment: u64, bytes: u64) {
        let is_cut = self.lengths.iter().any(|length| length.value < self.durable.length as u64);
        assert!(!is_cut, "a file that grows again after a cut that was not synced is not simulated");
        self.cache.resize(bytes as usize);
        self.lengths.push(Version { moment, value: bytes, abandoned: false });
    }

    fn note_versions(&mut self, moment: u64, offset: u64, count: u64) {
        for sector in sectors_of(offset, count) {
            let value = sector_at(&self.cache, sector);
            // Most are synced before they are written again.
            let versions = self.sectors.entry(sector).or_insert_with(|| Vec::with_capacity(1));
            versions.push(Version { moment, value, abandoned: false });
        }
    }

    /// A sync that began at `moment` is done.
    pub fn synced(&mut self, moment: u64) {
        if let Some(bytes) = take_covered(&mut self.lengths, moment) {
            self.durable.resize(bytes as usize);
        }
        if let Some((last, _)) = self.sectors.last_key_value() {
            // Room for all of them at once.
            let end = ((*last + 1) * SECTOR_BYTES) as usize;
            let stored = &mut self.durable.stored;
            stored.reserve(end.saturating_sub(stored.len()));
        }
        let durable = &mut self.durable;
        self.sectors.retain(|sector, versions| {
            if let Some(bytes) = take_covered(versions, moment) {
                put_sector(durable, *sector, &bytes);
            }
            !versions.is_empty()
        });
    }

    /// A sync that began at `moment` failed.
    pub fn abandon(&mut self, moment: u64) {
        let mark = |abandoned: &mut bool, at: u64| *abandoned |= at <= moment;
        self.lengths.iter_mut().for_each(|length| mark(&mut length.abandoned, length.moment));
        for version in self.sectors.values_mut().flatten() {
            mark(&mut version.abandoned, version.moment);
        }
    }

    /// The power goes: what is on disk now is all there is.
    pub fn crash(&mut self, random: &mut Random) -> Losses {
        let mut losses = Losses::default();
        if self.sectors.is_empty() && self.lengths.is_empty() {
            return losses;
        }
        let reached = random.below(self.lengths.len() as u64 + 1) as usize;
        losses.lengths_lost = (self.lengths.len() - reached) as u64;
        let bytes = match reached {
            0 => self.durable.length,
            count => self.lengths[count - 1].value as usize,
        };
        self.durable.resize(bytes);
        let survival = self.draw_survival(random);
        for (sector, versions) in std::mem::take(&mut self.sectors) {
            let reached = survival.reached(random, sector, versions.iter().map(|version| version.moment));
            match reached {
                0 => losses.sectors_lost += 1,
                count if count == versions.len() => losses.sectors_kept += 1,
                _ => losses.sectors_aged += 1,
            }
            if reached > 0 {
                put_sector(&mut self.durable, sector, &versions[reached - 1].value);
            }
        }
        self.lengths.clear();
        self.cache.clone_from(&self.durable);
        losses
    }

    fn draw_survival(&self, random: &mut Random) -> Survival {
        let moments = self.sectors.values().flatten().map(|version| version.moment);
        let bounds = moments.fold((u64::MAX, 0), |(low, high), at| (low.min(at), high.max(at)));
        let places = (self.sectors.keys().next(), self.sectors.keys().next_back());
        match places {
            (Some(first), Some(last)) => Survival::draw(random, bounds, (*first, *last)),
            _ => Survival::Nothing,
        }
    }

    /// One bit, on disk and in the cache, changes on its own.
    pub fn flip_bit(&mut self, offset: u64, bit: u8) {
        for bytes in [&mut self.cache, &mut self.durable] {
            if (offset as usize) < bytes.length {
                let mut byte = [0];
                bytes.read(&mut byte, offset as usize);
                bytes.write(offset as usize, &[byte[0] ^ 1 << (bit % 8)]);
            }
        }
    }

    /// The sector that holds this byte cannot be read until it is written.
    pub fn make_unreadable(&mut self, offset: u64) {
        self.unreadable.insert(offset / SECTOR_BYTES);
    }
}

/// The newest version that a sync begun at `moment` makes durable; it and everything older is forgotten.
fn take_covered<T>(versions: &mut Vec<Version<T>>, moment: u64) -> Option<T> {
    let newest = versions.iter().rposition(|version| version.moment <= moment && !version.abandoned)?;
    versions.drain(..=newest).next_back().map(|version| version.value)
}

fn sectors_of(offset: u64, count: u64) -> std::ops::Range<u64> {
    match count {
        0 => 0..0,
        _ => offset / SECTOR_BYTES..(offset + count).div_ceil(SECTOR_BYTES),
    }
}

/// What lies beyond the end is zero.
fn sector_at(bytes: &Bytes, sector: u64) -> Sector {
    let mut copy = [0; SECTOR_BYTES as usize];
    bytes.read(&mut copy, (sector * SECTOR_BYTES) as usize);
    copy
}

/// What lies beyond the end is cut off.
fn put_sector(bytes: &mut Bytes, sector: u64, copy: &Sector) {
    let start = ((sector * SECTOR_BYTES) as usize).min(bytes.length);
    let end = (start + copy.len()).min(bytes.length);
    bytes.write(start, &copy[..end - start]);
}
