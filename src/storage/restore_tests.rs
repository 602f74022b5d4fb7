//! Starts on whole, torn, damaged and foreign directories: a story for every row of the recovery table, and crash images.

use super::super::recovery::TABLE;
use super::super::testing::{Database, entry, real_disk, refusal};
use super::super::txnlog_format::{FileHeader, push_record};
use super::super::{Compression, DataDirOptions, DataDirs, LogOptions, SnapshotOptions, TxnLog, write_snapshot};
use super::*;
use crate::io::real_disk::RealDisk;
use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;
use zerocopy::IntoBytes;

/// What a flush reaches in these tests.
const FLUSH_BYTES: u64 = 4096;

struct TestDisk {
    root: TempDir,
}

impl TestDisk {
    /// A directory with a snapshot of nothing at zxid 0.
    fn new() -> TestDisk {
        let disk = TestDisk::bare();
        disk.snapshot(0);
        disk
    }

    fn bare() -> TestDisk {
        // Thousands of images are started on: in memory, where syncs cost nothing.
        let memory = Path::new("/dev/shm");
        let root = match memory.is_dir() {
            true => tempfile::tempdir_in(memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        fs::create_dir(root.path().join("version-2")).unwrap();
        TestDisk { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("version-2").join(name)
    }

    fn snapshot(&self, zxid: i64) {
        let options = SnapshotOptions::default();
        write_snapshot(&RealDisk, &self.path(""), Zxid(zxid), options, &Database::empty()).unwrap();
    }

    fn lay(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn restore_with(&self, options: RestoreOptions) -> Result<(Restored, Database), StorageError> {
        let dirs = DataDirs::open(&DataDirOptions {
            data_dir: self.root.path().to_owned(),
            data_log_dir: None,
            autocreate: false,
        })?;
        let mut database = Database::default();
        let restored = restore(&dirs, &options, &mut database)?;
        Ok((restored, database))
    }

    fn restore(&self) -> Result<(Restored, Database), StorageError> {
        self.restore_with(RestoreOptions { flush_bytes_max: FLUSH_BYTES, ..RestoreOptions::default() })
    }

    /// Every file but the lock, with its bytes.
    fn image(&self) -> Vec<(String, Vec<u8>)> {
        let names = RealDisk.names(&self.path("")).unwrap();
        let mut image: Vec<_> = names
            .into_iter()
            .filter(|name| name != file_name::LOCK)
            .map(|name| {
                let bytes = fs::read(self.path(&name)).unwrap();
                (name, bytes)
            })
            .collect();
        image.sort();
        image
    }
}

/// Header and records.
fn log_of(zxids: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let mut bytes = FileHeader::OURS.as_bytes().to_vec();
    for zxid in zxids {
        push_record(&mut bytes, &entry(zxid, 100));
    }
    bytes
}

fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0);
    bytes
}

/// The last record's checksum no longer fits.
fn damaged(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.len() - 20;
    bytes[at] ^= 0xff;
    bytes
}

fn zxids(range: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    range.collect()
}

#[test]
fn a_fresh_directory_is_said_to_be_fresh() {
    let disk = TestDisk::bare();
    let (restored, database) = disk.restore().unwrap();
    assert_eq!(restored.origin, Origin::Fresh);
    assert_eq!((restored.last_zxid, database.snapshot_zxid), (Zxid(0), Some(Zxid(0))));

    let no_autocreate = RestoreOptions { db_autocreate: false, ..RestoreOptions::default() };
    let (restored, _) = disk.restore_with(no_autocreate.clone()).unwrap();
    assert_eq!((restored.origin, restored.last_zxid), (Origin::Unknown, Zxid(-1)));
    fs::write(disk.root.path().join("initialize"), "").unwrap();
    let (restored, _) = disk.restore_with(no_autocreate).unwrap();
    assert_eq!(restored.origin, Origin::Fresh);
}

#[test]
fn logs_without_a_snapshot_need_the_operators_word() {
    let disk = TestDisk::bare();
    disk.lay("log.1", &log_of(1..=3));
    let error = disk.restore().unwrap_err();
    assert!(matches!(error, StorageError::LogsWithoutSnapshot { .. }), "{error}");
    let trusting = RestoreOptions { trust_empty_snapshot: true, ..RestoreOptions::default() };
    let (restored, database) = disk.restore_with(trusting).unwrap();
    assert_eq!(restored.origin, Origin::LogsAlone);
    assert_eq!((restored.last_zxid, database.zxids()), (Zxid(3), zxids(1..=3)));
}

#[test]
fn replay_starts_behind_the_newest_snapshot_that_reads() {
    let disk = TestDisk::new();
    disk.snapshot(3);
    disk.lay("log.1", &log_of(1..=4));
    disk.lay("log.5", &log_of(5..=6));
    let (restored, database) = disk.restore().unwrap();
    assert_eq!((restored.snapshot_zxid, restored.txns_replayed), (Zxid(3), 3));
    assert_eq!((restored.last_zxid, database.zxids()), (Zxid(6), zxids(4..=6)));
    assert_eq!(database.snapshot_zxid, Some(Zxid(3)));

    let path = disk.path("snapshot.3");
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (restored, database) = disk.restore().unwrap();
    assert_eq!((restored.snapshot_zxid, restored.snapshots_rejected.len()), (Zxid(0), 1));
    assert_eq!(database.zxids(), zxids(1..=6));

    fs::remove_file(disk.path("snapshot.0")).unwrap();
    let error = disk.restore().unwrap_err();
    assert!(matches!(error, StorageError::NoReadableSnapshot { tried: 1, .. }), "{error}");
}

#[test]
fn snapshots_of_every_compression_are_restored() {
    for compression in Compression::ALL {
        let disk = TestDisk::bare();
        let written =
            write_snapshot(&RealDisk, &disk.path(""), Zxid(9), SnapshotOptions { compression }, &Database::empty())
                .unwrap();
        assert!(written.looks_valid(&RealDisk).unwrap());
        let (restored, database) = disk.restore().unwrap();
        assert_eq!(restored.origin, Origin::Snapshot(written.clone()));
        assert_eq!(database.nodes, Database::empty().nodes);
        let bytes = fs::read(&written.path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&written.path, &bytes[..cut]).unwrap();
            let mut database = Database::default();
            if written.looks_valid(&RealDisk).unwrap()
                && let Ok(trailer) = super::super::load_snapshot(&RealDisk, &written, &mut database)
            {
                // Cut where an older release would have ended, or inside gzip's own trailer.
                assert_eq!(database.nodes, Database::empty().nodes, "{compression:?} cut at {cut}");
                assert_eq!(trailer, SnapshotTrailer::default());
            }
        }
    }
}

#[test]
fn what_a_crash_left_of_a_snapshot_is_removed() {
    let disk = TestDisk::new();
    disk.lay("snapshot.7.tmp", b"half");
    let (restored, _) = disk.restore().unwrap();
    assert_eq!(restored.snapshot_zxid, Zxid(0));
    assert!(!disk.path("snapshot.7.tmp").exists());
}

/// What a row's story ends with.
enum Outcome {
    /// Zxids replayed, and the length of each log file afterwards.
    Starts(Vec<i64>, Vec<(&'static str, usize)>),
    Refused,
}

struct Story {
    case: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    outcome: Outcome,
}

fn stories() -> Vec<Story> {
    use Outcome::*;
    let one_to_three = || log_of(1..=3);
    let whole = one_to_three().len();
    let story = |case, files, outcome| Story { case, files, outcome };
    // In the next epoch, so that the file in between is the only thing wrong.
    let epoch_two_zxids = || Zxid::new(2, 1).0..=Zxid::new(2, 2).0;
    let epoch_two = || ("log.200000001", log_of(epoch_two_zxids()));
    let kept = |zxids: Vec<i64>| Starts(zxids, vec![("log.1", whole)]);
    let without_first_sector = |records| {
        let mut bytes = log_of(records);
        bytes[..512].fill(0);
        bytes
    };
    let near_zero_header = || without_first_sector(4..=9);
    let flipped_in_the_middle = || {
        let mut bytes = log_of(1..=6);
        bytes[whole + 60] ^= 1;
        bytes
    };
    let far = || {
        let mut bytes = padded(damaged(log_of(1..=4)), whole + 2 * FLUSH_BYTES as usize);
        bytes.push(1);
        bytes
    };
    let out_of_order = || {
        let mut bytes = one_to_three();
        push_record(&mut bytes, &entry(2, 50));
        bytes
    };
    let undecodable = || {
        let mut bytes = one_to_three();
        let mut strange = entry(4, 10);
        strange[31] = 99; // a type that nobody knows
        push_record(&mut bytes, &strange);
        bytes
    };
    vec![
        story("an empty last file", vec![("log.1", one_to_three()), ("log.4", vec![])], kept(zxids(1..=3))),
        story(
            "an empty file before others",
            vec![("log.1", one_to_three()), ("log.100000001", vec![]), epoch_two()],
            Refused,
        ),
        story(
            "a last file that ends inside its header",
            vec![("log.1", one_to_three()), ("log.4", log_of([])[..9].to_vec())],
            kept(zxids(1..=3)),
        ),
        story(
            "a file before others that ends inside its header",
            vec![("log.1", one_to_three()), ("log.100000001", log_of([])[..9].to_vec()), epoch_two()],
            Refused,
        ),
        story(
            "no transaction log: its first bytes are not ZKLG",
            vec![("log.1", one_to_three()), ("log.4", b"dear diary, today ...".to_vec())],
            Refused,
        ),
        story(
            "a last file of nothing but zeros",
            vec![("log.1", one_to_three()), ("log.4", vec![0; 9000])],
            kept(zxids(1..=3)),
        ),
        story(
            "a last file whose first flush lost the header",
            vec![("log.1", one_to_three()), ("log.4", near_zero_header())],
            kept(zxids(1..=3)),
        ),
        story(
            "a file without header that holds more than its first flush, or has files after it",
            vec![("log.1", one_to_three()), ("log.100000001", near_zero_header()), epoch_two()],
            Refused,
        ),
        story("an entry that no known server writes", vec![("log.1", undecodable())], Refused),
        story("a transaction id that is not above the one before it", vec![("log.1", out_of_order())], Refused),
        story("the end of the log, without padding", vec![("log.1", one_to_three())], kept(zxids(1..=3))),
        story(
            "the end of the log, then zeros",
            vec![("log.1", padded(one_to_three(), 70_000))],
            Starts(zxids(1..=3), vec![("log.1", 70_000)]),
        ),
        story(
            "a last file with a header and no records",
            vec![("log.1", one_to_three()), ("log.4", padded(log_of([]), 70_000))],
            kept(zxids(1..=3)),
        ),
        story(
            "a whole file that the next one carries on",
            vec![("log.1", padded(one_to_three(), 9000)), ("log.4", log_of(4..=5))],
            Starts(zxids(1..=5), vec![("log.1", 9000), ("log.4", log_of(4..=5).len())]),
        ),
        story(
            "transactions are missing between this file and the next",
            vec![("log.1", one_to_three()), ("log.5", log_of(5..=6))],
            Refused,
        ),
        story("a torn end of the log", vec![("log.1", padded(damaged(log_of(1..=4)), 70_000))], kept(zxids(1..=3))),
        story("a bad record, and bytes farther behind it than one flush reaches", vec![("log.1", far())], Refused),
        story(
            "a bad record, and behind it transactions that were flushed after it",
            vec![("log.1", flipped_in_the_middle())],
            Refused,
        ),
        story(
            "a bad record at the end of a file, with transactions that the next file does not repeat",
            vec![("log.1", flipped_in_the_middle()), epoch_two()],
            Refused,
        ),
        story(
            "a torn end that the next file carries on",
            vec![("log.1", padded(damaged(log_of(1..=4)), 9000)), ("log.4", log_of(4..=5))],
            Starts(zxids(1..=5), vec![("log.1", whole), ("log.4", log_of(4..=5).len())]),
        ),
        story(
            "a torn end that the next file carries on",
            vec![("log.1", padded(one_to_three()[..whole - 9].to_vec(), 9000)), epoch_two()],
            Starts(
                [1..=2, epoch_two_zxids()].into_iter().flatten().collect(),
                vec![("log.1", log_of(1..=2).len()), ("log.200000001", log_of(epoch_two_zxids()).len())],
            ),
        ),
        story(
            "a bad record in the middle of the log",
            vec![("log.1", damaged(log_of(1..=4))), ("log.5", log_of(5..=6))],
            Refused,
        ),
    ]
}

#[test]
fn every_row_of_the_table_has_a_story_and_its_story_ends_as_told() {
    let stories = stories();
    let told: HashSet<&str> = stories.iter().map(|story| story.case).collect();
    let rows: HashSet<&str> = TABLE.iter().map(|row| row.case).collect();
    assert_eq!(told, rows);
    for story in stories {
        let disk = TestDisk::new();
        for (name, bytes) in &story.files {
            disk.lay(name, bytes);
        }
        let before = disk.image();
        match (disk.restore(), story.outcome) {
            (Err(error), Outcome::Refused) => {
                let text = error.to_string();
                assert_eq!(refusal(error), story.case);
                assert!(text.contains("log.") && text.contains("Nothing was changed"), "{text}");
                assert_eq!(disk.image(), before, "{}: a refusal changes nothing", story.case);
            }
            (Ok((restored, database)), Outcome::Starts(expected, files)) => {
                assert_eq!(database.zxids(), expected, "{}", story.case);
                let left: Vec<(String, usize)> = disk
                    .image()
                    .into_iter()
                    .filter(|(name, _)| name.starts_with("log."))
                    .map(|(name, bytes)| (name, bytes.len()))
                    .collect();
                let files: Vec<(String, usize)> =
                    files.into_iter().map(|(name, length)| (name.to_owned(), length)).collect();
                assert_eq!(left, files, "{}", story.case);
                let is_changed = disk.image() != before;
                assert_eq!(!restored.repairs.is_empty(), is_changed, "{}", story.case);
                assert!(restored.repairs.iter().all(|repair| repair.case == story.case));
                // A second start finds nothing to do.
                let (again, database) = disk.restore().unwrap();
                assert_eq!((again.repairs, database.zxids()), (vec![], expected), "{}", story.case);
            }
            (Ok(_), Outcome::Refused) => panic!("{} was not refused", story.case),
            (Err(error), Outcome::Starts(..)) => panic!("{}: {error}", story.case),
        }
    }
}

#[test]
fn a_repair_names_what_it_took() {
    let disk = TestDisk::new();
    let mut bytes = log_of(1..=3);
    let good = bytes.len() as u64;
    bytes.extend([0; 1024]);
    push_record(&mut bytes, &entry(5, 10));
    bytes.extend([0; 512]);
    push_record(&mut bytes, &entry(7, 10));
    disk.lay("log.1", &bytes);
    let (restored, _) = disk.restore().unwrap();
    let repair = &restored.repairs[0];
    assert_eq!((repair.bytes_kept, repair.last_kept), (good, Some(Zxid(3))));
    assert_eq!(repair.lost, [Zxid(5), Zxid(7)]);
    let text = repair.to_string();
    assert!(text.contains("log.1: a torn end of the log; cut at byte") && text.contains("[0x5, 0x7]"), "{text}");
}

#[test]
fn a_gap_behind_the_snapshot_is_refused() {
    let disk = TestDisk::new();
    disk.lay("log.5", &log_of(5..=6));
    assert_eq!(refusal(disk.restore().unwrap_err()), "transactions are missing before this file");
    // A newer snapshot covers it.
    disk.snapshot(4);
    assert_eq!(disk.restore().unwrap().1.zxids(), zxids(5..=6));
}

#[test]
fn a_new_epoch_is_no_gap() {
    let disk = TestDisk::new();
    let epoch_two = Zxid::new(2, 1).0;
    disk.lay("log.1", &log_of(1..=3));
    disk.lay(&file_name::log(Zxid(epoch_two)), &log_of(epoch_two..=epoch_two + 1));
    assert_eq!(disk.restore().unwrap().0.last_zxid, Zxid(epoch_two + 1));
}

#[test]
fn a_new_epoch_does_not_lead_over_a_snapshot_that_cannot_be_read() {
    let disk = TestDisk::new();
    let epoch_two = Zxid::new(2, 1).0;
    disk.snapshot(3);
    disk.lay(&file_name::log(Zxid(epoch_two)), &log_of(epoch_two..=epoch_two + 1));
    assert_eq!(disk.restore().unwrap().1.zxids(), zxids(epoch_two..=epoch_two + 1));

    let path = disk.path("snapshot.3");
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(refusal(disk.restore().unwrap_err()), "transactions are missing before this file");
}

#[test]
fn a_record_written_twice_counts_once() {
    let disk = TestDisk::new();
    let mut bytes = log_of(1..=2);
    push_record(&mut bytes, &entry(2, 100));
    push_record(&mut bytes, &entry(3, 100));
    disk.lay("log.1", &bytes);
    assert_eq!(disk.restore().unwrap().1.zxids(), zxids(1..=3));
}

// ------------------------------------------------------------ crash images

/// A log written by the real writer: `flushed` acknowledged, then one more flush that a power cut may tear.
struct CrashedLog {
    before_flush: Vec<u8>,
    after_flush: Vec<u8>,
    flushed: i64,
    appended: i64,
}

fn crashed_log() -> CrashedLog {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, options, Arc::new(|job| job())).unwrap();
    let (flushed, appended) = (6, 16);
    for zxid in 1..=flushed {
        log.append(Zxid(zxid), &entry(zxid, 150)).unwrap();
    }
    log.flush_blocking().unwrap();
    let before_flush = fs::read(dir.path().join("log.1")).unwrap();
    for zxid in flushed + 1..=appended {
        log.append(Zxid(zxid), &entry(zxid, 150)).unwrap();
    }
    let _in_flight = log.start_flush().unwrap().unwrap();
    let after_flush = fs::read(dir.path().join("log.1")).unwrap();
    CrashedLog { before_flush, after_flush, flushed, appended }
}

/// Starts on an image of `log.1`: everything acknowledged is there, in order and unchanged, and nothing behind a hole.
fn check_image(disk: &TestDisk, bytes: &[u8], crash: &CrashedLog, what: &str) -> i64 {
    disk.lay("log.1", bytes);
    let (restored, database) = disk.restore().unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = restored.last_zxid.0;
    assert!(last >= crash.flushed && last <= crash.appended, "{what}: {last}");
    assert_eq!(database.zxids(), zxids(1..=last), "{what}");
    let whole = log_of_150(last);
    let on_disk = fs::read(disk.path("log.1")).unwrap();
    assert_eq!(&on_disk[..whole.len()], &whole[..], "{what}");
    assert!(on_disk[whole.len()..].iter().all(|byte| *byte == 0), "{what}: nothing may rise again");
    last
}

fn log_of_150(last: i64) -> Vec<u8> {
    let mut bytes = FileHeader::OURS.as_bytes().to_vec();
    for zxid in 1..=last {
        push_record(&mut bytes, &entry(zxid, 150));
    }
    bytes
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_records_keeps_what_is_whole() {
    let crash = crashed_log();
    let disk = TestDisk::new();
    let start = log_of_150(crash.flushed).len();
    let end = log_of_150(crash.appended).len();
    for cut in start..=end {
        let image = &crash.after_flush[..cut];
        let last = check_image(&disk, image, &crash, &format!("cut at {cut}"));
        assert!(log_of_150(last).len() <= cut && (last == crash.appended || cut < log_of_150(last + 1).len()));
    }
}

#[test]
fn any_sectors_of_the_last_flush_may_survive_a_power_cut() {
    const SECTOR: usize = 512;
    let crash = crashed_log();
    let disk = TestDisk::new();
    let length = crash.after_flush.len();
    let sector = |at: usize| at..(at + SECTOR).min(length);
    let touched: Vec<usize> = (0..length)
        .step_by(SECTOR)
        .filter(|at| crash.before_flush[sector(*at)] != crash.after_flush[sector(*at)])
        .collect();
    assert!((4..=10).contains(&touched.len()), "{touched:?}");
    for survivors in 0u32..1 << touched.len() {
        let mut image = crash.before_flush.clone();
        for (index, at) in touched.iter().enumerate() {
            if survivors & (1 << index) != 0 {
                image[sector(*at)].copy_from_slice(&crash.after_flush[sector(*at)]);
            }
        }
        check_image(&disk, &image, &crash, &format!("survivors {survivors:b}"));
    }
}

#[test]
fn a_flipped_bit_is_noticed_and_costs_no_whole_transaction_behind_it() {
    let crash = crashed_log();
    let disk = TestDisk::new();
    let end = log_of_150(crash.appended).len();
    let start_of_last = log_of_150(crash.appended - 1).len();
    for at in 0..end {
        let mut image = crash.after_flush[..end].to_vec();
        image[at] ^= 1 << (at % 8);
        disk.lay("log.1", &image);
        let is_unread_header = (4..16).contains(&at);
        match disk.restore() {
            Err(error) => {
                assert!(at < start_of_last && !is_unread_header, "bit flipped at {at}: {error}");
                let text = error.to_string();
                assert!(text.contains("log.1 at byte") && text.contains("Nothing was changed. "), "{text}");
            }
            Ok((restored, database)) => {
                assert!(is_unread_header || at >= start_of_last, "bit flipped at {at}: {:?}", restored.repairs);
                let last = if is_unread_header { crash.appended } else { crash.appended - 1 };
                assert_eq!(
                    (restored.last_zxid, database.zxids()),
                    (Zxid(last), zxids(1..=last)),
                    "bit flipped at {at}"
                );
                for txn in &database.txns {
                    let mut bytes = Vec::new();
                    crate::wire::txn::encode(&txn.header, &txn.body, txn.digest.as_ref(), &mut bytes);
                    assert_eq!(bytes, entry(txn.header.zxid.0, 150), "bit flipped at {at}");
                }
            }
        }
    }
}

#[test]
fn a_torn_record_longer_than_a_flush_does_not_stop_a_start() {
    let disk = TestDisk::new();
    let mut whole = log_of(1..=3);
    let good = whole.len();
    push_record(&mut whole, &entry(4, 10 * FLUSH_BYTES as usize));
    for lost in [good..1024, 4096..4608, whole.len() - 512..whole.len()] {
        let mut bytes = whole.clone();
        bytes[lost].fill(0);
        disk.lay("log.1", &padded(bytes, 70_000));
        let (restored, database) = disk.restore().unwrap();
        assert_eq!((restored.repairs[0].case, database.zxids()), ("a torn end of the log", zxids(1..=3)));
    }
}

#[test]
fn a_snapshot_tells_what_was_flushed() {
    let disk = TestDisk::new();
    disk.snapshot(6);
    let mut bytes = log_of(1..=8);
    // Sectors of 4 to 6 are gone, which the snapshot holds; 7 and 8 it does not.
    let hole = log_of(1..=3).len()..log_of(1..=5).len();
    bytes[hole].fill(0);
    disk.lay("log.1", &bytes);
    assert_eq!(
        refusal(disk.restore().unwrap_err()),
        "a bad record, and behind it transactions that were flushed after it"
    );
    disk.snapshot(8);
    assert_eq!(disk.restore().unwrap().0.last_zxid, Zxid(8));
}

#[test]
fn a_writer_goes_on_behind_every_crash_image() {
    let crash = crashed_log();
    let start = log_of_150(crash.flushed).len();
    for cut in (start..crash.after_flush.len().min(start + 700)).step_by(37) {
        let disk = TestDisk::new();
        let last = check_image(&disk, &crash.after_flush[..cut], &crash, "crash");
        let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
        let mut log =
            TxnLog::open(&real_disk(), &disk.path(""), Some(Zxid(last)), options, Arc::new(|job| job())).unwrap();
        log.append(Zxid(last + 1), &entry(last + 1, 77)).unwrap();
        log.flush_blocking().unwrap();
        drop(log); // killed
        let (restored, database) = disk.restore().unwrap();
        assert_eq!(restored.last_zxid, Zxid(last + 1));
        assert_eq!(database.zxids(), zxids(1..=last + 1));
    }
}
