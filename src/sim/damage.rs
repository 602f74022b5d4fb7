//! Damage that befalls files while nobody uses them: flipped bits, sectors that cannot be read or are zeros, files that are cut,
//! gone, or somebody else's, and what Java leaves behind at the end of a log. No server can always tell such damage from the
//! end of its log, so it strikes only where those that are whole hold all that was committed, whoever votes next.

use super::disk::SimDisk;
use super::random::Random;
use super::server::data_directory;
use crate::storage::txnlog_format::{RECORD_HEAD_BYTES, find_records};
use crate::types::Zxid;
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 16;
const SECTOR_BYTES: u64 = 512;
/// A transaction or two.
const FIRST_FLUSH_BYTES: u64 = 200;
/// More than any flush of a simulated server.
const FAR_BYTES: usize = 70 << 10;

/// One kind of damage; true when there was something to damage.
type Deed = fn(&mut Damage) -> bool;

struct Damage {
    disk: SimDisk,
    random: Random,
    /// Oldest first. Without those whose end only the next one's first transaction could tell, where that is the first of its
    /// epoch: it may follow anything.
    logs: Vec<PathBuf>,
    /// Those, before the first file of an epoch.
    ends_of_epochs: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

/// Each with its weight. What only one in many of its kind leads to, of the rows of the recovery table, comes more often.
const MENU: [(u64, (&str, Deed)); 14] = [
    (4, ("a bit flipped", Damage::flip_bit)),
    (9, ("a bit flipped in the last record of an epoch", Damage::flip_last_of_epoch)),
    (1, ("a sector unreadable", Damage::make_unreadable)),
    (1, ("a sector zeroed", Damage::zero_sector)),
    (1, ("the last log cut", Damage::cut_last_log)),
    (3, ("a log emptied", Damage::empty_log)),
    (3, ("a log cut inside its header", Damage::cut_header)),
    (4, ("a header zeroed", Damage::zero_header)),
    (1, ("a foreign file in place of a log", Damage::foreign_log)),
    (1, ("a log gone", Damage::remove_log)),
    (1, ("garbage behind the records of a log", Damage::append_garbage)),
    (3, ("an unknown or repeated record behind the others", Damage::append_record)),
    (1, ("an empty log file behind the last", Damage::add_log)),
    (1, ("garbage far behind the last record", Damage::append_far)),
];

/// Does one to three kinds of damage; says what was done.
pub(super) fn damage(disk: &SimDisk, random: &mut Random) -> Vec<&'static str> {
    let mut done = Vec::new();
    for _ in 0..1 + random.below(3) {
        let Some((name, deed)) = random.weighted(&MENU) else { continue };
        if deed(&mut Damage::of(disk, random.split())) {
            done.push(name);
        }
    }
    done
}

impl Damage {
    fn of(disk: &SimDisk, random: Random) -> Damage {
        let (mut logs, mut others) = (Vec::new(), Vec::new());
        for path in disk.paths().into_iter().filter(|path| path.starts_with(data_directory())) {
            match first_of_log(&path) {
                Some(first) => logs.push((first, path)),
                None => others.push(path),
            }
        }
        logs.sort();
        let is_read = |index: usize| logs.get(index + 1).is_none_or(|(next, _): &(Zxid, PathBuf)| next.counter() != 1);
        let paths = |of: bool| -> Vec<PathBuf> {
            (0..logs.len()).filter(|index| is_read(*index) == of).map(|index| logs[index].1.clone()).collect()
        };
        Damage { disk: disk.clone(), random, logs: paths(true), ends_of_epochs: paths(false), others }
    }

    /// Newer ones more often: a start reads those alone.
    fn some_log(&mut self) -> Option<PathBuf> {
        let back = self.random.below(self.logs.len() as u64 + 1).min(self.random.below(4)) as usize;
        self.logs.iter().rev().nth(back).or(self.logs.last()).cloned()
    }

    /// Often the one before the last: to a start it is another matter than the last.
    fn some_log_before_others(&mut self) -> Option<PathBuf> {
        let before = self.logs.iter().rev().nth(1).cloned();
        before.filter(|_| self.random.chance(1, 2)).or_else(|| self.some_log())
    }

    /// A file whose format would tell of a changed byte. Those of the epochs would not.
    fn some_checked_file(&mut self) -> Option<PathBuf> {
        let snapshots: Vec<&PathBuf> = self.others.iter().filter(|path| is_snapshot(path)).collect();
        match self.random.chance(1, 4) {
            true => self.random.pick(&snapshots).map(|path| (*path).clone()),
            false => self.some_log_before_others(),
        }
    }

    /// Within what is written of it.
    fn some_place(&mut self, path: &Path) -> Option<u64> {
        let contents = self.disk.contents(path)?;
        let used = contents.iter().rposition(|byte| *byte != 0)? as u64 + 1;
        Some(self.random.below(used))
    }

    /// Has its new contents at once and durably. False: there is no such file.
    fn rewrite(&mut self, path: Option<PathBuf>, change: impl FnOnce(&mut Vec<u8>, &mut Random)) -> bool {
        let Some(path) = path else { return false };
        let mut contents = self.disk.contents(&path).unwrap_or_default();
        change(&mut contents, &mut self.random);
        self.disk.lay(&path, contents);
        true
    }

    fn flip_bit(&mut self) -> bool {
        let Some(path) = self.some_checked_file() else { return false };
        let Some(place) = self.some_place(&path) else { return false };
        let bit = self.random.below(8) as u8;
        self.disk.flip_bit(&path, place, bit).is_ok()
    }

    /// Of its transaction, not of the frame: a record whose length is wrong may be a torn one.
    fn flip_last_of_epoch(&mut self) -> bool {
        let Some(path) = self.ends_of_epochs.last().cloned() else { return false };
        let contents = self.disk.contents(&path).unwrap_or_default();
        let Some(last) = find_records(&contents).pop() else { return false };
        let entry = last.start + RECORD_HEAD_BYTES..last.end - 1;
        let place = entry.start as u64 + self.random.below(entry.len() as u64);
        let bit = self.random.below(8) as u8;
        self.disk.flip_bit(&path, place, bit).is_ok()
    }

    fn make_unreadable(&mut self) -> bool {
        let all: Vec<PathBuf> = self.logs.iter().chain(&self.others).cloned().collect();
        let Some(path) = self.random.pick(&all).cloned() else { return false };
        let Some(place) = self.some_place(&path) else { return false };
        self.disk.make_unreadable(&path, place).is_ok()
    }

    fn zero_sector(&mut self) -> bool {
        let Some(path) = self.some_checked_file() else { return false };
        let Some(place) = self.some_place(&path) else { return false };
        self.rewrite(Some(path), |contents, _| {
            let from = (place / SECTOR_BYTES * SECTOR_BYTES) as usize;
            let until = (from + SECTOR_BYTES as usize).min(contents.len());
            contents[from..until].fill(0);
        })
    }

    fn cut_last_log(&mut self) -> bool {
        let last = self.logs.last().cloned();
        self.rewrite(last, |contents, random| contents.truncate(random.below(contents.len() as u64 + 1) as usize))
    }

    fn empty_log(&mut self) -> bool {
        let path = self.some_log_before_others();
        self.rewrite(path, |contents, _| contents.clear())
    }

    fn cut_header(&mut self) -> bool {
        let path = self.some_log_before_others();
        self.rewrite(path, |contents, random| contents.truncate(1 + random.below(HEADER_BYTES as u64 - 1) as usize))
    }

    fn zero_header(&mut self) -> bool {
        let path = if self.random.chance(1, 4) { self.some_log() } else { self.logs.last().cloned() };
        self.rewrite(path, |contents, random| {
            match random.below(3) {
                // A file that was prepared and never written.
                0 => contents.fill(0),
                // One whose first flush alone had reached it.
                1 => contents.truncate(HEADER_BYTES + 1 + random.below(FIRST_FLUSH_BYTES) as usize),
                _ => {}
            }
            let until = HEADER_BYTES.min(contents.len());
            contents[..until].fill(0);
        })
    }

    fn foreign_log(&mut self) -> bool {
        let path = self.some_log();
        self.rewrite(path, |contents, _| {
            contents.resize(contents.len().max(HEADER_BYTES), 0);
            contents[..HEADER_BYTES].copy_from_slice(b"\x7fELF nothing of ");
        })
    }

    fn remove_log(&mut self) -> bool {
        let Some(path) = self.some_log() else { return false };
        self.disk.take_away(&path);
        true
    }

    fn append_garbage(&mut self) -> bool {
        let path = self.some_log();
        self.rewrite(path, |contents, random| {
            cut_padding(contents);
            contents.extend((0..1 + random.below(200)).map(|_| random.draw() as u8));
        })
    }

    fn append_far(&mut self) -> bool {
        let path = self.logs.last().cloned();
        self.rewrite(path, |contents, _| {
            cut_padding(contents);
            // A record whose length can be believed; without one it might be a long one whose start is lost.
            contents.extend([0xff; 8]);
            contents.extend(50_u32.to_be_bytes());
            contents.extend([0xff; 60]);
            contents.resize(contents.len() + FAR_BYTES, 0);
            contents.push(1);
        })
    }

    /// Its checksum is right.
    fn append_record(&mut self) -> bool {
        let path = self.some_log();
        self.rewrite(path, |contents, random| {
            cut_padding(contents);
            let first = contents.get(HEADER_BYTES + 12..HEADER_BYTES + 44).map(<[u8]>::to_vec);
            let entry = match first.filter(|_| random.chance(1, 2)) {
                // The header of the first transaction, as an error's.
                Some(mut entry) => {
                    entry[28..32].copy_from_slice(&(-1_i32).to_be_bytes());
                    entry.extend((-4_i32).to_be_bytes());
                    entry
                }
                None => vec![0x7f; 40],
            };
            contents.extend(u64::from(simd_adler32::adler32(&entry.as_slice())).to_be_bytes());
            contents.extend((entry.len() as u32).to_be_bytes());
            contents.extend(entry);
            contents.push(0x42);
        })
    }

    /// As a crash of Java's leaves it: empty, begun, zeros, or a header alone.
    fn add_log(&mut self) -> bool {
        let Some(last) = self.logs.last() else { return false };
        let first = first_of_log(last).unwrap_or(Zxid::ZERO);
        let name = format!("log.{:x}", first.0 + (1 << 20));
        let contents = match self.random.below(4) {
            0 => Vec::new(),
            1 => b"ZKLG\0\0".to_vec(),
            2 => vec![0; 1000],
            _ => b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec(),
        };
        self.disk.lay(&data_directory().join(name), contents);
        true
    }
}

fn first_of_log(path: &Path) -> Option<Zxid> {
    let name = path.file_name()?.to_str()?;
    i64::from_str_radix(name.strip_prefix("log.")?, 16).ok().map(Zxid)
}

fn is_snapshot(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("snapshot."))
}

/// Its zeros are given back, as at a clean stop.
fn cut_padding(contents: &mut Vec<u8>) {
    let used = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    contents.truncate(used);
}
