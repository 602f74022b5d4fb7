//! What a learner that is far behind is sent from the log files: only what the log really holds, without a hole.
//!
//! Zxids of one epoch tell a hole by themselves. Between two epochs they do not: a log may end in the middle of one and go on
//! with the next where a snapshot of the leader's was taken in between, whose file tells of it. Snapshots are purged oldest
//! first, so those behind the oldest that is there are all there. And a file may be damaged at its end, which a start does not
//! mind where a snapshot holds what stood there: nobody can tell what that was.

use super::error::{At, StorageError};
use super::log_reader::{LogReader, LogRecord};
use super::recovery::follows;
use super::snapshot::list_snapshots;
use super::txnlog_format::RECORD_FRAME_BYTES;
use crate::io::disk::Disk;
use crate::types::{PutBack, Zxid};
use std::path::PathBuf;
use std::sync::Arc;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct LogPlace {
    pub disk: Arc<dyn Disk>,
    pub snapshots: PathBuf,
    pub logs: PathBuf,
}

/// What the log holds around the end of a learner's, and from there on without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The last transaction at or below the learner's end.
    pub from: Zxid,
    /// The first one behind it.
    pub next: Zxid,
}

impl LogPlace {
    /// Looks where a learner whose log ends at `peer` can be sent everything through `through` from here, which is flushed. `None`:
    /// the log does not begin early enough, or has a hole, or what is to be sent is larger than `size_factor` times the newest
    /// snapshot (0: of any size).
    pub fn look(&self, peer: Zxid, through: Zxid, size_factor: f64) -> Result<Option<LogEnd>, StorageError> {
        let snapshots = list_snapshots(&*self.disk, &self.snapshots)?;
        let (Some(newest), Some(oldest)) = (snapshots.first(), snapshots.last()) else { return Ok(None) };
        if oldest.zxid > peer {
            return Ok(None);
        }
        let file = self.disk.open(&newest.path).at("cannot open", &newest.path)?;
        let snapshot_bytes = file.bytes().at("cannot look at", &newest.path)?;
        // As Java reckons: a share that comes to nothing is no limit.
        let bytes_max = Some((snapshot_bytes as f64 * size_factor) as u64).filter(|max| *max > 0);
        let is_told_of = |before: Zxid, after: Zxid| {
            before.epoch() != after.epoch() && snapshots.iter().any(|file| file.zxid > before && file.zxid < after)
        };
        let mut reader = LogReader::open_around(&self.disk, &self.logs, peer)?;
        let (mut from, mut next, mut last, mut bytes) = (None, None, None, 0);
        while last.is_none_or(|last| last < through)
            && let Some(record) = reader.read_next()?
        {
            let zxid = record.txn.header.zxid;
            if zxid <= peer {
                from = Some(zxid);
            } else {
                if !last.is_some_and(|last| is_next(last, &record) && !is_told_of(last, zxid)) {
                    return Ok(None);
                }
                next.get_or_insert(zxid);
                bytes += (record.entry.len() + RECORD_FRAME_BYTES) as u64;
            }
            if bytes_max.is_some_and(|max| bytes > max) {
                return Ok(None);
            }
            last = Some(zxid);
        }
        let end = from.zip(next).map(|(from, next)| LogEnd { from, next });
        Ok(end.filter(|_| last == Some(through)))
    }

    /// Reads everything behind `after`, which the log holds, through `through`, which is flushed. `each` may end it with an error of
    /// its own; what is missing is one too.
    pub fn read<E: From<StorageError>>(
        &self,
        after: Zxid,
        through: Zxid,
        mut each: impl FnMut(Zxid, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_unchecked = PutBack::DiffWithHole.is_on();
        let mut reader = LogReader::open_around(&self.disk, &self.logs, after)?;
        let mut last = None;
        while last.is_none_or(|last| last < through)
            && let Some(record) = reader.read_next()?
        {
            let zxid = record.txn.header.zxid;
            if zxid > after {
                if !last.is_some_and(|last| is_next(last, &record)) && !is_unchecked {
                    return Err(StorageError::NotInLog(last.unwrap_or(after).next()).into());
                }
                each(zxid, record.entry)?;
            }
            last = Some(zxid).filter(|zxid| *zxid >= after);
        }
        if last != Some(through) && !is_unchecked {
            return Err(StorageError::NotInLog(through).into());
        }
        Ok(())
    }
}

/// Nothing is missing between `last` and the record.
fn is_next(last: Zxid, record: &LogRecord<'_>) -> bool {
    let zxid = record.txn.header.zxid;
    zxid == last.next() || (follows(last, zxid) && !record.is_behind_tear)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Database, entry, real_disk};
    use super::super::txnlog_format::{FileHeader, push_record};
    use super::super::{SnapshotOptions, file_name, write_snapshot};
    use super::*;
    use zerocopy::IntoBytes;

    struct Place {
        _home: tempfile::TempDir,
        place: LogPlace,
    }

    fn epoch(epoch: u32, counters: std::ops::RangeInclusive<u32>) -> Vec<Zxid> {
        counters.map(|counter| Zxid::new(epoch, counter)).collect()
    }

    fn place(snapshots: &[Zxid], files: &[Vec<Zxid>]) -> Place {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().to_owned();
        for zxid in snapshots {
            write_snapshot(&*real_disk(), &directory, *zxid, SnapshotOptions::default(), &Database::empty()).unwrap();
        }
        for zxids in files {
            let mut bytes = FileHeader::OURS.as_bytes().to_vec();
            zxids.iter().for_each(|zxid| push_record(&mut bytes, &entry(zxid.0, 40)));
            bytes.resize(bytes.len() + 5000, 0);
            std::fs::write(directory.join(file_name::log(zxids[0])), bytes).unwrap();
        }
        Place { _home: home, place: LogPlace { disk: real_disk(), snapshots: directory.clone(), logs: directory } }
    }

    impl Place {
        fn look(&self, peer: Zxid, through: Zxid) -> Option<LogEnd> {
            self.place.look(peer, through, 0.0).unwrap()
        }

        fn read(&self, after: Zxid, through: Zxid) -> Result<Vec<Zxid>, StorageError> {
            let mut zxids = Vec::new();
            self.place.read(after, through, |zxid, _| {
                zxids.push(zxid);
                Ok::<(), StorageError>(())
            })?;
            Ok(zxids)
        }
    }

    #[test]
    fn what_the_log_holds_around_a_learners_end() {
        let (one, two) = (|counter| Zxid::new(1, counter), |counter| Zxid::new(2, counter));
        let place = place(&[Zxid(0), one(5)], &[epoch(1, 1..=3), epoch(1, 4..=9), epoch(2, 1..=4)]);
        assert_eq!(place.look(one(2), two(4)), Some(LogEnd { from: one(2), next: one(3) }));
        assert_eq!(place.look(one(3), two(2)), Some(LogEnd { from: one(3), next: one(4) }));
        assert_eq!(place.look(one(9), two(2)), Some(LogEnd { from: one(9), next: two(1) }));
        // It logged what we never had.
        assert_eq!(place.look(one(12), two(2)), Some(LogEnd { from: one(9), next: two(1) }));
        assert_eq!(place.look(Zxid(0), two(2)), None, "nothing is known of what comes first");
        assert_eq!(place.look(one(2), two(5)), None, "it does not reach so far");
        assert_eq!(place.read(one(8), two(2)).unwrap(), [one(9), two(1), two(2)]);
        assert!(matches!(place.read(one(8), two(5)), Err(StorageError::NotInLog(zxid)) if zxid == two(5)));
    }

    #[test]
    fn a_hole_is_not_read_across() {
        let (one, two) = (|counter| Zxid::new(1, counter), |counter| Zxid::new(2, counter));
        // Within an epoch, between files and within one.
        let place_of = |files: &[Vec<Zxid>]| place(&[Zxid(0)], files);
        let in_file = [epoch(1, 1..=3), epoch(1, 5..=9)].concat();
        for files in [vec![epoch(1, 1..=3), epoch(1, 5..=9)], vec![in_file]] {
            let place = place_of(&files);
            assert!(!matches!(place.place.look(one(2), one(9), 0.0), Ok(Some(_))));
            assert!(place.read(one(2), one(9)).is_err());
            assert!(place.look(one(6), one(9)).is_some(), "behind the hole all is well");
        }
        // Between epochs nothing but the leader's snapshot tells of it.
        let files = [epoch(1, 1..=3), epoch(2, 1..=4)];
        assert!(place(&[Zxid(0)], &files).look(one(2), two(4)).is_some());
        assert_eq!(place(&[Zxid(0), one(7)], &files).look(one(2), two(4)), None);
        assert_eq!(place(&[two(1)], &files).look(one(2), two(4)), None, "older snapshots may have been purged");
    }

    #[test]
    fn what_a_damaged_end_held_is_not_read_across() {
        let (one, two) = (|counter| Zxid::new(1, counter), |counter| Zxid::new(2, counter));
        for (next, is_known) in [(two(1), false), (one(3), true)] {
            let place = place(&[Zxid(0)], &[epoch(1, 1..=3), (0..2).map(|n| Zxid(next.0 + n)).collect()]);
            let path = place.place.logs.join(file_name::log(one(1)));
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[last - 4] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            // Where the next file begins with the same transaction, nothing is missing.
            assert_eq!(place.look(one(1), Zxid(next.0 + 1)).is_some(), is_known, "{next}");
            assert_eq!(place.read(one(1), Zxid(next.0 + 1)).is_ok(), is_known, "{next}");
        }
    }

    #[test]
    fn no_more_than_a_share_of_the_snapshot() {
        let place = place(&[Zxid(0)], &[epoch(1, 1..=100)]);
        let newest = list_snapshots(&*real_disk(), &place.place.snapshots).unwrap().remove(0);
        let snapshot_bytes = std::fs::metadata(newest.path).unwrap().len() as f64;
        let record_bytes = (entry(1, 40).len() + RECORD_FRAME_BYTES) as f64;
        let look = |peer, factor| place.place.look(Zxid::new(1, peer), Zxid::new(1, 100), factor).unwrap();
        let five = (5.5 * record_bytes) / snapshot_bytes;
        assert!(look(95, five).is_some() && look(94, five).is_none());
        assert!(look(1, 0.0).is_some());
    }

    #[test]
    fn files_that_go_away_meanwhile_are_an_error_and_no_hole() {
        let place = place(&[Zxid(0)], &[epoch(1, 1..=3), epoch(1, 4..=6)]);
        let second = place.place.logs.join(file_name::log(Zxid::new(1, 4)));
        let mut seen = 0;
        let ended = place.place.read(Zxid::new(1, 1), Zxid::new(1, 6), |_, _| {
            seen += 1;
            if second.exists() {
                std::fs::remove_file(&second).unwrap();
            }
            Ok::<(), StorageError>(())
        });
        assert!(ended.is_err());
        assert_eq!(seen, 2);
    }
}
