//! Writing the log: what is in the files, when, and what happens when there is no room.

use super::super::testing::{entry, real_disk};
use super::super::{DataDirs, LogReader, file_name, truncate};
use super::*;
use crate::io::real_disk::RealDisk;
use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs run at once, in the caller.
fn inline() -> Background {
    Arc::new(|job| job())
}

fn small() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() }
}

fn logs(directory: &Path) -> Vec<String> {
    let names = RealDisk.names(directory).unwrap();
    file_name::all_logs(&names).into_iter().map(|(_, name)| name).collect()
}

fn read_all(directory: &Path, from: i64) -> Vec<(i64, Vec<u8>)> {
    let mut reader = LogReader::open(&real_disk(), directory, Zxid(from)).unwrap();
    let mut all = Vec::new();
    while let Some(record) = reader.read_next().unwrap() {
        all.push((record.txn.header.zxid.0, record.entry.to_vec()));
    }
    all
}

fn append_all(log: &mut TxnLog, zxids: std::ops::RangeInclusive<i64>, data_bytes: usize) {
    for zxid in zxids {
        log.append(Zxid(zxid), &entry(zxid, data_bytes)).unwrap();
    }
}

#[test]
fn what_is_appended_is_read_back_across_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    append_all(&mut log, 1..=100, 1000);
    assert_eq!(log.flush_blocking().unwrap().unwrap().zxid(), Zxid(100));
    append_all(&mut log, 101..=200, 1000);
    log.close().unwrap();
    assert!(logs(dir.path()).len() >= 3, "{:?}", logs(dir.path()));
    assert_eq!(logs(dir.path())[0], "log.1");
    let all = read_all(dir.path(), 1);
    assert_eq!(all.len(), 200);
    for (index, (zxid, bytes)) in all.iter().enumerate() {
        assert_eq!(*zxid, index as i64 + 1);
        assert_eq!(*bytes, entry(*zxid, 1000));
    }
    assert_eq!(read_all(dir.path(), 150)[0].0, 150);
}

#[test]
fn nothing_is_copied_while_a_flush_is_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    append_all(&mut log, 1..=1, 10);
    let first = log.start_flush().unwrap().unwrap();
    assert!(first.targets().len() == 2, "the file is new");
    assert_eq!(first.through(), Zxid(1));
    append_all(&mut log, 2..=3, 10);
    assert!(log.start_flush().unwrap().is_none(), "one ticket at a time");
    assert_eq!(read_all(dir.path(), 1).len(), 1);
    first.sync_blocking().unwrap();
    assert_eq!(log.flush_done(first).zxid(), Zxid(1));
    let second = log.start_flush().unwrap().unwrap();
    assert!(second.targets().len() == 1);
    assert_eq!(read_all(dir.path(), 1).len(), 3);
    second.sync_blocking().unwrap();
    assert_eq!(log.flush_done(second).zxid(), Zxid(3));
    assert!(log.start_flush().unwrap().is_none());
}

#[test]
fn one_flush_never_exceeds_its_bound_nor_spans_two_files() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { flush_bytes_max: 5000, ..small() };
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, options, inline()).unwrap();
    append_all(&mut log, 1..=150, 1000);
    let mut covered = 0;
    while let Some(ticket) = log.start_flush().unwrap() {
        assert!(ticket.bytes() <= 5000);
        assert!(ticket.through().0 > covered);
        covered = ticket.through().0;
        ticket.sync_blocking().unwrap();
        log.flush_done(ticket);
        assert_eq!(read_all(dir.path(), 1).len() as i64, covered);
    }
    assert_eq!(covered, 150);
    assert_eq!(log.staged_bytes(), 0);
}

#[test]
fn a_record_larger_than_a_file_or_a_flush_gets_a_file_of_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { flush_bytes_max: 5000, ..small() };
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, options, inline()).unwrap();
    append_all(&mut log, 1..=1, 10);
    log.has_room_for(1, 3_000_100).unwrap();
    append_all(&mut log, 2..=2, 3_000_000);
    append_all(&mut log, 3..=3, 10);
    log.close().unwrap();
    let all = read_all(dir.path(), 1);
    assert_eq!(all.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>()[1], entry(2, 3_000_000).len());
    assert_eq!(all.len(), 3);
}

#[test]
fn rolling_opens_a_file_named_by_its_first_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    log.roll(); // nothing written yet: nothing to leave
    append_all(&mut log, 1..=3, 10);
    log.roll();
    append_all(&mut log, 4..=5, 10);
    log.roll();
    log.roll();
    append_all(&mut log, 0x1f..=0x1f, 10);
    log.close().unwrap();
    assert_eq!(logs(dir.path()), ["log.1", "log.4", "log.1f"]);
}

#[test]
fn a_file_is_prepared_for_what_is_flushed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    assert_eq!(log.next_size().flush_bytes, 0, "nothing was flushed yet");
    for flush in 0..5 {
        append_all(&mut log, flush * 10 + 1..=flush * 10 + 10, 500);
        log.flush_blocking().unwrap();
    }
    let at_once = (10 * (entry(1, 500).len() + RECORD_FRAME_BYTES)) as u64;
    let told = log.next_size().flush_bytes;
    assert!((at_once..at_once + HEADER_BYTES as u64).contains(&told), "{told}, {at_once}");
    log.roll();
    append_all(&mut log, 51..=51, 500);
    log.flush_blocking().unwrap();
    assert!(log.next_size().flush_bytes < 1000, "of the newest file alone");
}

#[test]
fn a_file_at_its_limit_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { file_bytes_limit: Some(3000), ..small() };
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, options, inline()).unwrap();
    append_all(&mut log, 1..=9, 1000);
    log.close().unwrap();
    assert_eq!(logs(dir.path()), ["log.1", "log.4", "log.7"]);
}

#[test]
fn a_clean_stop_leaves_whole_files_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    append_all(&mut log, 1..=100, 1000);
    log.close().unwrap();
    let mut names = RealDisk.names(dir.path()).unwrap();
    names.sort();
    assert_eq!(names, ["log.1", "log.3d"]);
    for name in names {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        assert_eq!(bytes.last(), Some(&super::super::txnlog_format::RECORD_END));
    }
    TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap().close().unwrap();
    assert_eq!(logs(dir.path()).len(), 2, "no file before the first append");
}

#[test]
fn what_a_crashed_process_prepared_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prepared.7.tmp"), [0; 100]).unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    assert!(!dir.path().join("prepared.7.tmp").exists());
    append_all(&mut log, 1..=1, 10);
    log.close().unwrap();
}

#[test]
fn an_existing_log_of_that_name_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.1"), "precious").unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    append_all(&mut log, 1..=1, 10);
    assert!(log.start_flush().is_err());
    assert_eq!(std::fs::read(dir.path().join("log.1")).unwrap(), b"precious");
}

#[test]
#[should_panic(expected = "appended behind")]
fn a_zxid_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), Some(Zxid(7)), small(), inline()).unwrap();
    let _ = log.append(Zxid(7), &entry(7, 1));
}

/// Preparing is made to fail by taking away the directory.
#[test]
fn without_room_for_the_next_file_it_says_so_before_anything_is_taken() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("logs");
    let away = parent.path().join("away");
    std::fs::create_dir(&directory).unwrap();
    let mut log = TxnLog::open(&real_disk(), &directory, None, small(), inline()).unwrap();
    let entry_bytes = entry(1, 1000).len();
    log.has_room_for(1, entry_bytes).unwrap();
    append_all(&mut log, 1..=1, 1000);
    log.flush_blocking().unwrap();
    // The first file is named; the second one is prepared. From here on no further file can be created.
    std::fs::rename(&directory, &away).unwrap();
    let mut zxid = 1;
    let refused = loop {
        match log.has_room_for(1, entry_bytes) {
            Ok(()) => {
                zxid += 1;
                log.append(Zxid(zxid), &entry(zxid, 1000)).expect("there was room");
            }
            Err(refused) => break refused,
        }
    };
    assert!(zxid > 60, "the room at hand was used: {zxid}");
    assert!(refused.to_string().contains("cannot prepare"), "{refused}");
    assert!(log.has_room_for(1, entry_bytes).is_err(), "still no room");
    std::fs::rename(&away, &directory).unwrap();
    // Room again: the next question finds it, with no restart.
    log.has_room_for(1, entry_bytes).unwrap();
    append_all(&mut log, zxid + 1..=zxid + 50, 1000);
    log.close().unwrap();
    let zxids: Vec<i64> = read_all(&directory, 1).into_iter().map(|(zxid, _)| zxid).collect();
    assert_eq!(zxids, (1..=zxid + 50).collect::<Vec<_>>());
}

#[test]
fn a_late_background_is_not_waited_for_and_a_lost_one_is_done_without() {
    for is_lost in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let held: Arc<Mutex<Vec<Job>>> = Arc::default();
        let background: Background = {
            let held = Arc::clone(&held);
            Arc::new(move |job| match is_lost {
                true => drop(job),
                false => held.lock().push(job),
            })
        };
        let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), background).unwrap();
        append_all(&mut log, 1..=200, 1000);
        log.flush_blocking().unwrap();
        assert_eq!(held.lock().is_empty(), is_lost);
        held.lock().drain(..).for_each(|job| job());
        append_all(&mut log, 201..=400, 1000);
        log.flush_blocking().unwrap();
        // What is still held would be waited for.
        held.lock().drain(..).for_each(|job| job());
        log.close().unwrap();
        assert_eq!(read_all(dir.path(), 1).len(), 400);
        assert_eq!(prepared_count(dir.path()), 0);
    }
}

fn prepared_count(directory: &Path) -> usize {
    let names = RealDisk.names(directory).unwrap();
    names.iter().filter(|name| file_name::is_prepared(name)).count()
}

#[test]
fn without_force_sync_no_sync_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { force_sync: false, ..small() };
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, options, inline()).unwrap();
    append_all(&mut log, 1..=1, 10);
    let ticket = log.start_flush().unwrap().unwrap();
    assert!(!ticket.sync_needed());
    log.flush_done(ticket);
    assert_eq!(read_all(dir.path(), 1).len(), 1);
}

fn dirs_of(path: &Path) -> DataDirs {
    DataDirs::on(real_disk(), path.to_owned(), path.to_owned(), false)
}

#[test]
fn truncating_cuts_behind_the_target_and_removes_what_is_later() {
    for target in [1, 2, 3, 4, 5, 7] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
        append_all(&mut log, 1..=3, 10);
        log.roll();
        append_all(&mut log, 4..=5, 10);
        log.roll();
        append_all(&mut log, 6..=7, 10);
        log.close().unwrap();
        truncate(&dirs_of(dir.path()), Zxid(target)).unwrap();
        let left: Vec<i64> = read_all(dir.path(), 1).into_iter().map(|(zxid, _)| zxid).collect();
        assert_eq!(left, (1..=target).collect::<Vec<_>>());
        // The next one goes on behind it, in a file of its own.
        let mut log = TxnLog::open(&real_disk(), dir.path(), Some(Zxid(target)), small(), inline()).unwrap();
        append_all(&mut log, target + 1..=target + 1, 20);
        log.close().unwrap();
        assert_eq!(read_all(dir.path(), 1).len() as i64, target + 1);
    }
}

#[test]
fn truncating_to_what_is_not_there_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = TxnLog::open(&real_disk(), dir.path(), None, small(), inline()).unwrap();
    append_all(&mut log, 1..=3, 10);
    append_all(&mut log, 5..=6, 10);
    log.close().unwrap();
    for target in [4, 9] {
        assert!(matches!(truncate(&dirs_of(dir.path()), Zxid(target)), Err(StorageError::NotInLog(_))));
    }
    assert_eq!(read_all(dir.path(), 1).len(), 5);
}
