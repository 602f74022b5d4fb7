//! Storage on a disk that loses power: stories of lives that append, flush, roll, snapshot, purge, cut and end badly. After
//! each, a start must find every flushed transaction, nothing that was never logged, and nothing half.

use super::counts::counts;
use super::disk::{DiskCounts, Fault, SimDisk, SyncId};
use super::random::Random;
use crate::io::disk::Disk;
use crate::message::{SnapshotNode, Txn, TxnBody, TxnHeader};
use crate::storage::testing::Database;
use crate::storage::{
    Background, Compression, DataDirs, FlushTicket, LogOptions, LogReader, Origin, RestoreOptions, RestoreSink,
    SnapshotOptions, SnapshotSink, SnapshotTrailer, StorageError, TxnLog, list_snapshots, purge, restore, truncate,
    write_snapshot,
};
use crate::types::{AclList, OpCode, SessionId, WallMillis, Zxid};
use crate::wire::txn;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Stories of the usual run; `RINGKEEPER_SEEDS` sets another count, `RINGKEEPER_SEED` runs one.
const SEEDS: u64 = 3000;
const LIVES_MAX: u64 = 8;
/// No flush of these stories is larger, but some are about as large.
const FLUSH_BYTES: [usize; 3] = [2 << 10, 8 << 10, 64 << 10];
const ENTRY_BYTES_MAX: u64 = 1500;

type Job = Box<dyn FnOnce() + Send>;

counts! {
    struct Counts {
        stories,
        starts,
        txns,
        flushes,
        snapshots,
        purged,
        cuts,
        damages,
        refusals,
    }
}

/// What a start found.
#[derive(Default)]
struct Found {
    node: Vec<u8>,
    entries: Vec<(i64, Vec<u8>)>,
}

impl SnapshotSink for Found {
    fn begin(&mut self) {
        *self = Found::default();
    }

    fn session(&mut self, _: SessionId, _: i32) {}

    fn acl(&mut self, _: i64, _: AclList) {}

    fn node(&mut self, node: SnapshotNode<'_>) -> Result<(), &'static str> {
        self.node = node.data.unwrap_or_default().to_vec();
        Ok(())
    }
}

impl RestoreSink for Found {
    fn snapshot_done(&mut self, _: Zxid, _: &SnapshotTrailer) {}

    fn txn(&mut self, txn: Txn, entry: &[u8]) {
        self.entries.push((txn.header.zxid.0, entry.to_vec()));
    }
}

/// Why a life is over.
enum End {
    /// The power went, or is to go.
    Crash,
    /// The process ended; the machine did not.
    Exit,
}

/// A failed check, or the end of a life.
enum Stop {
    Wrong(String),
    Over(End),
}

struct Story {
    random: Random,
    disk: SimDisk,
    snapshots: PathBuf,
    logs: PathBuf,
    log_options: LogOptions,
    /// Records of one size: what an old one leaves lines up with new ones.
    data_bytes: Option<u64>,
    jobs: Arc<Mutex<Vec<Job>>>,
    /// The one history: every transaction logged, flushed or not, as of the last start and since.
    logged: BTreeMap<i64, Vec<u8>>,
    /// Through here a start must bring everything.
    flushed: i64,
    /// Something may fail that is not the power.
    is_fault_planned: bool,
    is_damaged: bool,
    /// One story alone is told as it goes.
    is_told: bool,
    counts: Counts,
}

/// An open log and the flush in flight.
struct Life {
    disk: Arc<dyn Disk>,
    log: TxnLog,
    flush: Option<(FlushTicket, SyncId)>,
    last: i64,
}

impl Story {
    fn new(seed: u64) -> Story {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(random.draw());
        let snapshots = PathBuf::from("/data/version-2");
        let logs = if random.chance(1, 2) { snapshots.clone() } else { PathBuf::from("/log/version-2") };
        disk.create_directory(&snapshots);
        disk.create_directory(&logs);
        let log_options = LogOptions {
            segment_bytes: 64 << 10,
            force_sync: true,
            file_bytes_limit: random.chance(1, 2).then(|| 1000 + random.below(20_000)),
            flush_bytes_max: FLUSH_BYTES[random.below(3) as usize],
        };
        let data_bytes = random.chance(1, 2).then(|| random.below(600));
        Story {
            data_bytes,
            random,
            disk,
            snapshots,
            logs,
            log_options,
            jobs: Arc::default(),
            logged: BTreeMap::new(),
            flushed: 0,
            is_fault_planned: false,
            is_damaged: false,
            is_told: from_environment("RINGKEEPER_SEED").is_some(),
            counts: Counts { stories: 1, ..Counts::default() },
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{}", what());
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(LIVES_MAX) {
            let ended = self.life();
            match ended {
                _ if !self.disk.is_powered() && !matches!(ended, Err(Stop::Wrong(_))) => self.disk.crash(),
                Ok(()) | Err(Stop::Over(End::Exit)) => self.disk.kill(),
                Err(Stop::Over(End::Crash)) => self.disk.crash(),
                Err(Stop::Wrong(what)) => return Err(what),
            }
            self.tell(|| format!("life over: {:?}", self.disk.counts()));
            self.jobs.lock().clear();
            self.is_fault_planned = false;
            self.disk.heal();
        }
        if self.random.chance(1, 4) { self.damage() } else { self.start_again() }
    }

    fn life(&mut self) -> Result<(), Stop> {
        if self.random.chance(1, 3) {
            self.disk.plan(Fault::PowerCut, self.random.below(60));
        }
        if self.random.chance(1, 6) {
            self.is_fault_planned = true;
            let fault = [Fault::Operation, Fault::Write, Fault::Sync, Fault::Rename][self.random.below(4) as usize];
            let spared = self.random.below(40);
            self.disk.plan(fault, spared);
            self.tell(|| format!("planned: {fault:?} after {spared}"));
        }
        let (disk, last) = self.start()?;
        let log = TxnLog::open(&disk, &self.logs, Some(Zxid(last)), self.log_options.clone(), self.background());
        let log = self.ok(log)?;
        let mut life = Life { disk, log, flush: None, last };
        let steps = 5 + self.random.below(80);
        for _ in 0..steps {
            if let ControlFlow::Break(()) = self.step(&mut life)? {
                return self.cut(life);
            }
        }
        match self.random.below(4) {
            0 => self.close(life).map(drop),
            1 => Err(Stop::Over(End::Exit)),
            _ => Err(Stop::Over(End::Crash)),
        }
    }

    /// Errors that were asked for end the life; others are failures.
    fn ok<T>(&mut self, outcome: Result<T, StorageError>) -> Result<T, Stop> {
        outcome.map_err(|error| {
            self.tell(|| format!("error: {error}"));
            if !self.disk.is_powered() {
                return Stop::Over(End::Crash);
            }
            match self.is_fault_planned {
                true => Stop::Over(if self.random.chance(1, 2) { End::Crash } else { End::Exit }),
                false => Stop::Wrong(format!("unasked for: {error}")),
            }
        })
    }

    fn background(&self) -> Background {
        let jobs = Arc::clone(&self.jobs);
        Arc::new(move |job| jobs.lock().push(job))
    }

    /// A start, and what must hold of it.
    fn start(&mut self) -> Result<(Arc<dyn Disk>, i64), Stop> {
        self.counts.starts += 1;
        let disk = self.disk.mount();
        let dirs = DataDirs::on(Arc::clone(&disk), self.snapshots.clone(), self.logs.clone(), false);
        let options =
            RestoreOptions { flush_bytes_max: self.log_options.flush_bytes_max as u64, ..RestoreOptions::default() };
        let mut found = Found::default();
        let restored = self.ok(restore(&dirs, &options, &mut found))?;
        let last = restored.last_zxid.0;
        if restored.origin == Origin::Fresh {
            let written = self.write_snapshot(&*disk, 0);
            self.ok(written)?;
        } else {
            self.check_found(&found, restored.snapshot_zxid.0, last).map_err(Stop::Wrong)?;
        }
        // A flipped bit in the last transaction of all looks like the torn end that it may be.
        let is_torn_by_damage = self.is_damaged && self.between(last, self.flushed).count() == 1;
        if last < self.flushed && !is_torn_by_damage {
            return Err(Stop::Wrong(format!(
                "flushed through {:x}, found {last:x}: {:?}",
                self.flushed, restored.repairs
            )));
        }
        // What was not flushed and is not there never happened; what is there was told to the world.
        self.logged.split_off(&(last + 1));
        self.flushed = last;
        self.tell(|| format!("started through {last:x}: {restored:?}"));
        self.check_reader(&disk, restored.snapshot_zxid.0 + 1).map_err(Stop::Wrong)?;
        Ok((disk, last))
    }

    fn check_found(&self, found: &Found, snapshot: i64, last: i64) -> Result<(), String> {
        let digest = self.digest(snapshot);
        if found.node.len() < 8 || found.node.chunks(8).any(|chunk| *chunk != digest.to_le_bytes()[..chunk.len()]) {
            return Err(format!("snapshot {snapshot:x} is not of this history"));
        }
        let expected: Vec<(i64, Vec<u8>)> =
            self.between(snapshot, last).map(|(zxid, entry)| (*zxid, entry.clone())).collect();
        if found.entries != expected {
            let zxids = |all: &[(i64, Vec<u8>)]| all.iter().map(|(zxid, _)| format!("{zxid:x}")).collect::<Vec<_>>();
            let (got, wanted) = (zxids(&found.entries), zxids(&expected));
            return Err(format!("found {got:?}\n behind snapshot {snapshot:x}, where history has {wanted:?}"));
        }
        Ok(())
    }

    /// What learners would be sent.
    fn check_reader(&self, disk: &Arc<dyn Disk>, from: i64) -> Result<(), String> {
        let read = || -> Result<Vec<i64>, StorageError> {
            let mut reader = LogReader::open(disk, &self.logs, Zxid(from))?;
            let mut zxids = Vec::new();
            while let Some(record) = reader.read_next()? {
                zxids.push(record.txn.header.zxid.0);
            }
            Ok(zxids)
        };
        match read() {
            _ if self.is_damaged => Ok(()),
            Ok(zxids) if zxids.iter().eq(self.logged.range(from..).map(|(zxid, _)| zxid)) => Ok(()),
            Ok(zxids) => Err(format!("a reader from {from:x} gets {zxids:x?}")),
            Err(_) if !self.disk.is_powered() || self.is_fault_planned => Ok(()),
            Err(error) => Err(format!("a reader from {from:x}: {error}")),
        }
    }

    fn between(&self, after: i64, through: i64) -> impl Iterator<Item = (&i64, &Vec<u8>)> {
        self.logged.range(after + 1..).take_while(move |(zxid, _)| **zxid <= through)
    }

    /// Of everything through `last`.
    fn digest(&self, last: i64) -> u64 {
        let bytes = self.logged.range(..=last).flat_map(|(_, entry)| entry);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn write_snapshot(&mut self, disk: &dyn Disk, last: i64) -> Result<(), StorageError> {
        self.counts.snapshots += 1;
        self.tell(|| format!("snapshot of {last:x}"));
        let mut database = Database::empty();
        let words = 1 + self.random.below(300) as usize;
        database.nodes[0].data = Some(self.digest(last).to_le_bytes().repeat(words));
        let compression = Compression::ALL[self.random.below(3) as usize];
        write_snapshot(disk, &self.snapshots, Zxid(last), SnapshotOptions { compression }, &database).map(drop)
    }

    /// Breaks where the log is to be cut.
    fn step(&mut self, life: &mut Life) -> Result<ControlFlow<()>, Stop> {
        match self.random.below(100) {
            0..45 => self.append(life),
            45..65 => self.begin_flush(life)?,
            65..85 => self.end_flush(life)?,
            85..88 => life.log.roll(),
            88..93 => self.run_job(),
            93..96 => {
                let written = self.write_snapshot(&*life.disk, self.flushed);
                if written.is_err() && !self.disk.is_powered() {
                    return Err(Stop::Over(End::Crash));
                }
                if !self.is_fault_planned {
                    self.ok(written)?;
                }
            }
            96..97 => self.purge(life)?,
            97..98 => return Ok(ControlFlow::Break(())),
            98..99 => return Err(Stop::Over(End::Crash)),
            _ => return Err(Stop::Over(End::Exit)),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn append(&mut self, life: &mut Life) {
        for _ in 0..1 + self.random.below(4) {
            let zxid = match self.random.chance(1, 40) {
                true => Zxid::new(Zxid(life.last).epoch() + 1, 1),
                false => Zxid(life.last).next(),
            };
            let bytes = self.data_bytes.unwrap_or_else(|| self.random.below(ENTRY_BYTES_MAX));
            let entry = entry(zxid, self.random.draw(), bytes as usize);
            if life.log.has_room_for(1, entry.len()).is_err() {
                // No zxid is taken. Only a fault or a cut of the power makes that.
                assert!(self.is_fault_planned || !self.disk.is_powered());
                return;
            }
            life.log.append(zxid, &entry).expect("there was room");
            life.last = zxid.0;
            self.logged.insert(zxid.0, entry);
            self.counts.txns += 1;
        }
    }

    fn begin_flush(&mut self, life: &mut Life) -> Result<(), Stop> {
        let started = life.log.start_flush();
        if let Some(ticket) = self.ok(started)? {
            let sync = self.disk.start_sync(&ticket.targets());
            life.flush = Some((ticket, sync));
            // With `forceSync=no` nobody waits for the disk.
            if !life.flush.as_ref().is_some_and(|(ticket, _)| ticket.sync_needed()) {
                self.flush_done(life);
            }
        }
        Ok(())
    }

    fn end_flush(&mut self, life: &mut Life) -> Result<(), Stop> {
        let Some((_, sync)) = &life.flush else {
            return Ok(());
        };
        if self.disk.finish_sync(*sync).is_err() {
            // The log is done with; a start after it must not take the cache for the disk.
            return Err(Stop::Over(if self.disk.is_powered() { End::Exit } else { End::Crash }));
        }
        self.flush_done(life);
        Ok(())
    }

    fn flush_done(&mut self, life: &mut Life) {
        let (ticket, _) = life.flush.take().expect("a flush is in flight");
        self.flushed = life.log.flush_done(ticket).zxid().0;
        self.tell(|| format!("flushed through {:x}", self.flushed));
        self.counts.flushes += 1;
    }

    fn run_job(&mut self) {
        let job = {
            let mut jobs = self.jobs.lock();
            let index = self.random.below(jobs.len() as u64) as usize;
            (!jobs.is_empty()).then(|| jobs.swap_remove(index))
        };
        if let Some(job) = job {
            job();
        }
    }

    fn purge(&mut self, life: &mut Life) -> Result<(), Stop> {
        let purged = purge::purge(&*life.disk, &self.snapshots, &self.logs, 3);
        self.counts.purged += self.ok(purged)?.len() as u64;
        Ok(())
    }

    fn close(&mut self, mut life: Life) -> Result<Arc<dyn Disk>, Stop> {
        self.end_flush(&mut life)?;
        self.jobs.lock().drain(..).for_each(|job| job());
        let closed = life.log.close();
        if let Some(through) = self.ok(closed)? {
            self.flushed = through.zxid().0;
        }
        Ok(life.disk)
    }

    /// As a learner that is told to forget: the log is closed, newer snapshots go, then the log's end.
    fn cut(&mut self, life: Life) -> Result<(), Stop> {
        let disk = self.close(life)?;
        let listed = list_snapshots(&*disk, &self.snapshots);
        let oldest = self.ok(listed)?.last().map_or(0, |oldest| oldest.zxid.0);
        let targets: Vec<i64> = self.between(oldest, self.flushed).map(|(zxid, _)| *zxid).collect();
        let Some(&target) = self.random.pick(&targets) else {
            return Ok(());
        };
        self.counts.cuts += 1;
        self.tell(|| format!("cutting to {target:x}"));
        self.flushed = target;
        let dirs = DataDirs::on(disk, self.snapshots.clone(), self.logs.clone(), false);
        let cut = truncate(&dirs, Zxid(target));
        self.ok(cut)?;
        self.logged.split_off(&(target + 1));
        Err(Stop::Over(if self.random.chance(1, 2) { End::Crash } else { End::Exit }))
    }

    /// The last start of a story.
    fn start_again(&mut self) -> Result<(), String> {
        match self.start() {
            Ok(_) => Ok(()),
            Err(Stop::Wrong(what)) => Err(what),
            Err(Stop::Over(_)) => Err("a start failed although nothing was planned".to_owned()),
        }
    }

    /// A bit flips or a sector fails: a start may refuse, or leave out the very last transaction, since that looks like a torn
    /// end. It never brings what was not logged, and never less than that.
    fn damage(&mut self) -> Result<(), String> {
        self.counts.damages += 1;
        for path in self.disk.paths() {
            let bytes = self.disk.contents(&path).map_or(0, |contents| contents.len() as u64);
            if bytes > 0 && self.random.chance(1, 3) {
                let offset = match self.random.chance(1, 2) {
                    true => self.random.below(bytes),
                    false => self.random.below(bytes.min(3000)),
                };
                let done = match self.random.chance(1, 2) {
                    true => self.disk.flip_bit(&path, offset, self.random.below(8) as u8),
                    false => self.disk.make_unreadable(&path, offset),
                };
                done.expect("the file is there");
            }
        }
        (self.is_fault_planned, self.is_damaged) = (true, true);
        match self.start() {
            Err(Stop::Wrong(what)) => Err(what),
            Ok(_) => Ok(()),
            Err(Stop::Over(_)) => {
                self.counts.refusals += 1;
                Ok(())
            }
        }
    }
}

/// Different for every transaction, even of the same zxid.
fn entry(zxid: Zxid, nonce: u64, data_bytes: usize) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(nonce as i64), cxid: 7, zxid, time: WallMillis(1_795_335_101_051) };
    let data = (0..data_bytes).map(|i| (nonce >> (i % 57)) as u8 | 1).collect();
    let body = TxnBody::SetData { op: OpCode::SetData, path: "/n".into(), data: Some(data), version: 3 };
    let mut bytes = Vec::new();
    txn::encode(&header, &body, None, &mut bytes);
    bytes
}

fn run_story(seed: u64) -> Result<(Counts, DiskCounts), String> {
    let mut story = Story::new(seed);
    match story.run() {
        Ok(()) => Ok((story.counts, story.disk.counts())),
        Err(what) => Err(format!("{what}\nRINGKEEPER_SEED={seed} cargo test --lib sim::storage_tests")),
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_was_flushed_is_there_after_any_crash() {
    if let Some(seed) = from_environment("RINGKEEPER_SEED") {
        println!("{:#?}", run_story(seed).unwrap_or_else(|what| panic!("{what}")));
        return;
    }
    let seeds = from_environment("RINGKEEPER_SEEDS").unwrap_or(SEEDS);
    let mut all = Counts::default();
    let mut disks = DiskCounts::default();
    for seed in 0..seeds {
        let (counts, disk) = run_story(seed).unwrap_or_else(|what| panic!("{what}"));
        all.add(&counts);
        disks.add(&disk);
    }
    println!("{all:?}\n{disks:?}");
    // A campaign that meets none of these proves nothing.
    for (what, count) in all.each().into_iter().chain(disks.each()).filter(|(what, _)| *what != "full") {
        assert!(count > 0, "no story had {what}");
    }
}

#[test]
fn a_story_is_repeated_by_its_seed() {
    for seed in 0..50 {
        let (first, second) = (run_story(seed).unwrap(), run_story(seed).unwrap());
        assert_eq!(first.1, second.1);
    }
}

#[test]
fn paths_with_and_without_a_slash_at_the_end_are_the_same() {
    let disk = SimDisk::new(1);
    disk.create_directory(Path::new("/data/version-2"));
    disk.lay(Path::new("/data/version-2/log.1"), vec![]);
    let mount = disk.mount();
    assert_eq!(mount.names(Path::new("/data/version-2/")).unwrap(), ["log.1"]);
}
