//! What a modelled Java server has on its disk: the newest snapshot, the log, the two epochs. Simpler than the disk under our
//! servers: whatever is written at a moment at which Java waits for it (epochs, snapshots, a cut) is durable at once; of the
//! log a power cut takes what was not flushed, from some entry on.
//!
//! As in Java, a snapshot that a leader sent leaves the log alone: entries in front of it stay, also those that nobody ever
//! committed, and a restart reads all that lie behind the snapshot's zxid.

use crate::sim::Random;
use crate::types::Zxid;
use parking_lot::Mutex;
use std::sync::Arc;

/// A transaction as it stands in the log: header, record, digest.
pub type Entry = (Zxid, Arc<[u8]>);

#[derive(Clone, Default)]
pub struct JavaDisk(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    snapshot: Option<Snapshot>,
    /// The one before it.
    before: Option<Snapshot>,
    log: Vec<Entry>,
    /// What was appended since an onlooker asked last.
    written: Vec<Entry>,
    /// So many entries are durable.
    flushed: usize,
    /// Entries in front of this one are older than the snapshot.
    stale: usize,
    cuts: u64,
    accepted_epoch: i64,
    current_epoch: i64,
}

#[derive(Clone)]
pub struct Snapshot {
    pub zxid: Zxid,
    /// As it travels to learners.
    pub stream: Arc<[u8]>,
}

/// How far a flush reaches. A cut makes it void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub entries: usize,
    cuts: u64,
}

/// What became of an order to cut the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Done,
    /// The log does not hold the entry to cut behind.
    NotHeld,
    /// It does not because a snapshot stands in its place.
    Covered,
}

impl JavaDisk {
    /// Appends and says how many entries there are.
    pub fn append(&self, entry: Entry) -> usize {
        let mut kept = self.0.lock();
        kept.written.push(entry.clone());
        kept.log.push(entry);
        kept.log.len()
    }

    pub fn take_written(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.lock().written)
    }

    pub fn mark(&self) -> Mark {
        let kept = self.0.lock();
        Mark { entries: kept.log.len(), cuts: kept.cuts }
    }

    pub fn has_unflushed(&self) -> bool {
        let kept = self.0.lock();
        kept.flushed < kept.log.len()
    }

    /// A flush has ended. False if the log was cut meanwhile.
    pub fn flushed(&self, mark: Mark) -> bool {
        let mut kept = self.0.lock();
        let counts = mark.cuts == kept.cuts;
        if counts {
            kept.flushed = kept.flushed.max(mark.entries);
        }
        counts
    }

    pub fn flush(&self) {
        self.flushed(self.mark());
    }

    pub fn flushed_through(&self) -> Zxid {
        let kept = self.0.lock();
        let of_snapshot = kept.snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
        kept.log[..kept.flushed].last().map_or(of_snapshot, |(zxid, _)| of_snapshot.max(*zxid))
    }

    /// A state in place of what was applied before.
    pub fn save_snapshot(&self, snapshot: Snapshot) {
        let mut kept = self.0.lock();
        kept.stale = kept.log.len();
        kept.before = kept.snapshot.replace(snapshot);
    }

    pub fn snapshot(&self) -> Option<Snapshot> {
        self.0.lock().snapshot.clone()
    }

    /// What is read of the log behind `zxid`: everything from the first entry above it on, in the order of writing.
    pub fn log_after(&self, zxid: Zxid) -> Vec<Entry> {
        let kept = self.0.lock();
        kept.log.iter().skip_while(|(logged, _)| *logged <= zxid).cloned().collect()
    }

    /// What was written since the last snapshot.
    pub fn log_since_snapshot(&self) -> Vec<Entry> {
        let kept = self.0.lock();
        kept.log[kept.stale..].to_vec()
    }

    /// Cuts the log behind `to`. Nothing happens unless that is done.
    pub fn cut_behind(&self, to: Zxid) -> Cut {
        let mut kept = self.0.lock();
        match kept.log.iter().rposition(|(zxid, _)| *zxid == to) {
            Some(at) => {
                kept.shorten(at + 1);
                kept.give_up_snapshot_above(to);
                Cut::Done
            }
            None if kept.snapshot.as_ref().is_some_and(|snapshot| snapshot.zxid >= to) => Cut::Covered,
            None => Cut::NotHeld,
        }
    }

    /// Takes away every entry above `to`: what Java's cut is meant to do and does not where the log does not hold `to`.
    pub fn forget_above(&self, to: Zxid) {
        let mut kept = self.0.lock();
        let at = kept.log.iter().position(|(zxid, _)| *zxid > to).unwrap_or(kept.log.len());
        kept.shorten(at);
    }

    pub fn accepted_epoch(&self) -> i64 {
        self.0.lock().accepted_epoch
    }

    pub fn current_epoch(&self) -> i64 {
        self.0.lock().current_epoch
    }

    pub fn accept_epoch(&self, epoch: i64) {
        self.0.lock().accepted_epoch = epoch;
    }

    pub fn enter_epoch(&self, epoch: i64) {
        self.0.lock().current_epoch = epoch;
    }

    /// The power goes: an end of what was not flushed is gone.
    pub fn crash(&self, random: &mut Random) {
        let mut kept = self.0.lock();
        let unflushed = kept.log.len() - kept.flushed;
        let left = kept.flushed + random.below(unflushed as u64 + 1) as usize;
        kept.shorten(left);
        kept.flushed = kept.log.len();
    }
}

impl Kept {
    /// A leader that was never established sent it, and what it holds above `to` did not happen. The log that led to `to` before is
    /// still there. (Java keeps the snapshot, and shows its state under the zxid of the cut.)
    fn give_up_snapshot_above(&mut self, to: Zxid) {
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.zxid > to) {
            self.snapshot = self.before.take();
            self.stale = 0;
        }
    }

    fn shorten(&mut self, entries: usize) {
        self.log.truncate(entries);
        self.flushed = self.flushed.min(entries);
        self.stale = self.stale.min(entries);
        self.cuts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u32, counter: u32) -> Entry {
        (Zxid::new(epoch, counter), Arc::from([]))
    }

    fn zxids(entries: &[Entry]) -> Vec<Zxid> {
        entries.iter().map(|(zxid, _)| *zxid).collect()
    }

    #[test]
    fn a_power_cut_takes_an_end_of_what_was_not_flushed() {
        for seed in 0..50 {
            let disk = JavaDisk::default();
            for counter in 1..=3 {
                disk.append(entry(1, counter));
            }
            disk.flush();
            for counter in 4..=6 {
                disk.append(entry(1, counter));
            }
            disk.crash(&mut Random::new(seed));
            let left = zxids(&disk.log_after(Zxid::ZERO));
            assert!((3..=6).contains(&left.len()), "{left:?}");
            assert!(!disk.has_unflushed());
        }
    }

    #[test]
    fn a_snapshot_leaves_what_stands_in_front_of_it_to_the_next_restart() {
        let disk = JavaDisk::default();
        disk.append(entry(2, 5));
        disk.append(entry(3, 1));
        disk.save_snapshot(Snapshot { zxid: Zxid::new(2, 5), stream: Arc::from([]) });
        disk.append(entry(4, 1));
        assert_eq!(zxids(&disk.log_after(Zxid::new(2, 5))), [Zxid::new(3, 1), Zxid::new(4, 1)]);
        assert_eq!(zxids(&disk.log_after(Zxid::new(4, 0))), [Zxid::new(4, 1)]);
        assert_eq!(zxids(&disk.log_since_snapshot()), [Zxid::new(4, 1)]);
    }

    #[test]
    fn a_cut_gives_up_a_snapshot_of_what_did_not_happen() {
        let disk = JavaDisk::default();
        let of = |counter| Snapshot { zxid: Zxid::new(1, counter), stream: Arc::from([]) };
        disk.save_snapshot(of(1));
        disk.append(entry(1, 2));
        disk.save_snapshot(of(4));
        assert_eq!(disk.cut_behind(Zxid::new(1, 2)), Cut::Done);
        assert_eq!(disk.snapshot().map(|snapshot| snapshot.zxid), Some(Zxid::new(1, 1)));
        assert_eq!(disk.cut_behind(Zxid::new(1, 2)), Cut::Done);
        assert_eq!(disk.snapshot().map(|snapshot| snapshot.zxid), Some(Zxid::new(1, 1)));
    }

    #[test]
    fn a_cut_needs_the_entry_and_makes_flushes_void() {
        let disk = JavaDisk::default();
        for counter in 1..=3 {
            disk.append(entry(1, counter));
        }
        let mark = disk.mark();
        assert_eq!(disk.cut_behind(Zxid::new(1, 7)), Cut::NotHeld);
        assert_eq!(disk.cut_behind(Zxid::new(1, 2)), Cut::Done);
        assert!(!disk.flushed(mark));
        disk.save_snapshot(Snapshot { zxid: Zxid::new(2, 3), stream: Arc::from([]) });
        assert_eq!(disk.cut_behind(Zxid::new(2, 3)), Cut::Covered);
    }
}
