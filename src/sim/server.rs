//! One server of a simulated ensemble: the real ensemble thread and the real workers, over a simulated disk. What its sockets
//! tell is put into its inboxes; whoever takes a turn finds it there.
//!
//! A server that stops itself, and one whose disk loses power under it, ends the turn it is in by unwinding (`Ended`).

use super::agenda::Actor;
use super::clock::Clock;
use super::disk::{SimDisk, SyncId};
use super::java::{Entry, JavaDisk, JavaPeer};
use super::net::Socket;
use super::options::Options;
use super::random::Random;
use super::report::RecoveryRows;
use super::settings::{StartMembers, java_rules, server_rules, start_options, status_source};
use crate::ensemble::{self, Backgrounds, Ensemble, FeedWriter};
use crate::io::ending;
use crate::io::halfway::with_others;
use crate::message::lane::{Standing, StandingSign};
use crate::message::{InForce, MembersSign};
use crate::observe::MetricsRegistry;
use crate::runtime::core::{EnsembleTurn, FlushRequest, SocketAction, WorkerTurn};
use crate::runtime::lanes::lanes_with;
use crate::runtime::link_io::{LinkAction, LinkEvent};
use crate::runtime::sockets::SocketEvent;
use crate::server::{Admission, Desk, Worker, WorkerParts};
use crate::storage::{Background, DataDirs, StorageError};
use crate::tree::TreeReader;
use crate::types::{ConnId, Instant, LinkId, Now, QuorumConfig, WorkerIndex, Zxid};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake, Waker};

pub type Job = Box<dyn FnOnce() + Send>;

/// How a turn, or a start, came to nothing.
#[derive(Debug)]
pub enum Ended {
    /// The server stopped itself, with this message.
    Stopped(String),
    /// An invariant is broken.
    Panicked(String),
}

/// What unwinds from a server that stops itself.
struct Stop(String);

fn stop(message: &str) -> ! {
    std::panic::resume_unwind(Box::new(Stop(message.to_owned())))
}

/// Servers that stop themselves from now on end their turn, and not the process.
pub fn stops_end_turns() {
    ending::on_stop(stop);
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Ended> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match payload.downcast::<Stop>() {
        Ok(stop) => Ended::Stopped(stop.0),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Ended::Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
        }
    })
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thread's place: when it takes its next turn, and who wakes it.
pub struct Seat {
    bell: Arc<Bell>,
    waker: Waker,
    pub next_turn: Option<u64>,
    /// When it has to have a turn if nothing happens.
    pub deadline: Option<u64>,
    /// The next time somebody looks whether the deadline has come.
    pub alarm_at: Option<u64>,
}

impl Seat {
    fn new() -> Seat {
        let bell = Arc::<Bell>::default();
        Seat { waker: Waker::from(bell.clone()), bell, next_turn: None, deadline: None, alarm_at: None }
    }
}

pub struct WorkerSeat {
    worker: Worker,
    pub seat: Seat,
    pub events: Vec<SocketEvent>,
    pub conns: BTreeMap<ConnId, Socket>,
    free: Vec<u64>,
    slots: u64,
    generation: u64,
}

impl WorkerSeat {
    fn turn(&mut self, now: Now) -> Result<WorkerWants, Ended> {
        let WorkerSeat { worker, events, .. } = self;
        let mut sockets = Vec::new();
        let mut events = std::mem::take(events);
        let deadline = guarded(|| worker.turn(now, &mut events, &mut sockets))?;
        Ok(WorkerWants { sockets, deadline })
    }

    /// As `runtime/sockets.rs` numbers them: a slot, and how many came before.
    pub fn new_conn(&mut self) -> ConnId {
        self.generation += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        ConnId(self.generation << 32 | slot)
    }

    pub fn forget(&mut self, conn: ConnId) -> Option<Socket> {
        let socket = self.conns.remove(&conn)?;
        self.free.push(conn.0 & u64::from(u32::MAX));
        Some(socket)
    }
}

/// Whose work the ensemble thread does.
enum Mind {
    Ours(Box<Ensemble>),
    /// Has no workers, and serves no clients.
    Java(Box<JavaPeer>),
}

/// A process that runs.
pub struct Running {
    /// Marks what it logs.
    span: tracing::Span,
    mind: Mind,
    pub seat: Seat,
    pub workers: Vec<WorkerSeat>,
    reader: TreeReader,
    pub standing: StandingSign,
    pub events: Vec<LinkEvent>,
    pub flushed: Option<io::Result<()>>,
    pub flush: Option<SyncId>,
    pub links: BTreeMap<LinkId, Socket>,
    pub dialing: BTreeSet<LinkId>,
    /// Where, by `PeerPort`.
    pub listening: [Vec<u16>; 3],
    next_accepted: u64,
    jobs: Arc<Mutex<Vec<Job>>>,
    random: Random,
    members: MembersSign,
    /// What the checkers know of it.
    pub led: bool,
    pub served: bool,
    /// How often its service had begun.
    pub begins: u64,
    pub in_force: Option<Arc<QuorumConfig>>,
}

pub struct Server {
    pub index: usize,
    pub disk: SimDisk,
    /// What is on its disk instead if it is one of Java's.
    pub java: Option<JavaDisk>,
    pub clock: Clock,
    /// Counts the processes.
    pub life: u64,
    pub running: Option<Box<Running>>,
    pub paused_until: u64,
    pub is_disk_slow: bool,
    /// Faults that its disk had had when this process began.
    faults_before: u64,
    /// The last it has shown to clients.
    pub shown: Zxid,
    /// Some of its files are damaged, and were not replaced since: it may refuse to start, or come back with less.
    pub is_damaged: bool,
    /// It has lost its directory, and has not served since: what it once had is not to be had from it.
    pub is_unfilled: bool,
    /// So often it goes down again right after it has come up.
    pub falls: u64,
    /// Its operator has emptied its directory; from then on it must not take an empty one for the beginning.
    pub is_wiped: bool,
    /// It has served clients since all became well.
    pub has_served: bool,
    /// How often each row of the recovery table applied to one of its log files.
    pub recovery_rows: RecoveryRows,
}

/// Files are prepared in time, or not at all.
fn half_of_them() -> Background {
    let count = AtomicUsize::new(0);
    Arc::new(move |job: Job| {
        if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            drop(job);
        } else {
            job();
        }
    })
}

/// What a turn wants done.
pub struct EnsembleWants {
    pub flush: Option<FlushRequest>,
    pub links: Vec<LinkAction>,
    /// Of workers that took a turn in the middle of this one.
    pub sockets: Vec<(usize, Vec<SocketAction>)>,
    pub deadline: Option<Instant>,
}

pub struct WorkerWants {
    pub sockets: Vec<SocketAction>,
    pub deadline: Option<Instant>,
}

/// Workers while the ensemble thread takes its turn: now and then one of them takes its own, halfway through that.
struct Meanwhile {
    workers: Vec<WorkerSeat>,
    random: Random,
    sockets: Vec<(usize, Vec<SocketAction>)>,
    ended: Result<(), Ended>,
}

impl Default for Meanwhile {
    fn default() -> Meanwhile {
        Meanwhile { workers: Vec::new(), random: Random::new(0), sockets: Vec::new(), ended: Ok(()) }
    }
}

impl Meanwhile {
    fn of(running: &mut Running) -> Meanwhile {
        let (workers, random) = (std::mem::take(&mut running.workers), running.random.clone());
        Meanwhile { workers, random, ..Meanwhile::default() }
    }

    fn happens(&mut self, now: Now) {
        if self.ended.is_err() || !self.random.chance(1, 8) {
            return;
        }
        let index = self.random.below(self.workers.len() as u64) as usize;
        match self.workers[index].turn(now) {
            Ok(wants) => self.sockets.push((index, wants.sockets)),
            Err(ended) => self.ended = Err(ended),
        }
    }
}

pub(super) fn data_directory() -> PathBuf {
    PathBuf::from("/data/version-2")
}

impl Server {
    pub fn new(index: usize, random: &mut Random) -> Server {
        let disk = SimDisk::new(random.draw());
        disk.create_directory(&data_directory());
        Server {
            index,
            disk,
            java: None,
            clock: Clock::new(random),
            life: 0,
            running: None,
            paused_until: 0,
            is_disk_slow: false,
            faults_before: 0,
            shown: Zxid::ZERO,
            is_damaged: false,
            is_unfilled: false,
            falls: 0,
            is_wiped: false,
            has_served: false,
            recovery_rows: RecoveryRows::default(),
        }
    }

    pub fn begin_life(&mut self) {
        self.faults_before = self.disk_faults();
    }

    fn disk_faults(&self) -> u64 {
        let counts = self.disk.counts();
        counts.faults + counts.full
    }

    /// Its disk gave it a reason to stop.
    pub fn is_excused(&self) -> bool {
        self.disk_faults() != self.faults_before || self.is_damaged
    }

    /// What an operator does with a server whose data are damaged, as its messages advise: it fetches everything anew.
    pub fn wipe(&mut self) {
        self.disk.empty(&data_directory());
        (self.is_wiped, self.is_unfilled, self.is_damaged) = (true, true, false);
    }

    /// A new process: restores and takes its place. An error says why it refuses.
    pub fn start(&mut self, options: &Options, now: u64, random: &mut Random) -> Result<Result<(), String>, Ended> {
        self.life += 1;
        if let Some(disk) = &self.java {
            let (index, disk, random) = (self.index, disk.clone(), random.split());
            self.running = Some(Box::new(guarded(|| Running::start_java(index, disk, options, random))?));
            return Ok(Ok(()));
        }
        let (disk, now) = (self.disk.clone(), self.clock.read(now));
        let (index, is_wiped, rows) = (self.index, self.is_wiped, &mut self.recovery_rows);
        let started = guarded(|| Running::start(index, &disk, is_wiped, options, rows, now, random))?;
        Ok(started.map(|running| self.running = Some(Box::new(running))))
    }
}

impl Running {
    fn start(
        index: usize,
        disk: &SimDisk,
        is_wiped: bool,
        options: &Options,
        rows: &mut RecoveryRows,
        now: Now,
        random: &mut Random,
    ) -> Result<Running, String> {
        let registry = Arc::new(MetricsRegistry::new());
        let standing = StandingSign::new(Standing::Looking);
        let members = StartMembers::of(index, options, disk)?;
        let sign = members.sign.clone();
        let mut start_options = start_options(index, options, members, &registry, standing.clone(), random.draw());
        start_options.restore.db_autocreate = !is_wiped;
        let directory = data_directory();
        let dirs = Arc::new(DataDirs::on(disk.mount(), directory.clone(), directory, false));
        let loaded = ensemble::load(&dirs, &start_options).map_err(|error| {
            if let StorageError::CorruptLog { case, .. } = &error {
                rows.count(case);
            }
            error.to_string()
        })?;
        loaded.restored.cases.iter().for_each(|case| rows.count(case));
        let (ensemble_lanes, worker_lanes) = lanes_with(options.workers, options.submits_max);
        let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
        let later = jobs.clone();
        let inline: Background = Arc::new(|job: Job| job());
        let log_files = if random.chance(1, 2) { inline.clone() } else { half_of_them() };
        let background = Backgrounds {
            snapshots: Arc::new(move |job| later.lock().push(job)),
            log_files,
            feeds: FeedWriter { background: inline, pieces_max: usize::MAX },
        };
        let reader = loaded.tree.reader();
        let ensemble = ensemble::start(dirs, loaded, start_options, ensemble_lanes, background, now)
            .map_err(|error| error.to_string())?;
        let rules = Arc::new(server_rules(options));
        let admission = Arc::new(Admission::new(None, None, None, now.mono, 0));
        let doorbells = worker_lanes.iter().map(|lane| lane.doorbell()).collect();
        let desk = Arc::new(Desk::new(status_source(registry.clone(), admission.clone(), now.mono), doorbells));
        let workers = worker_lanes.into_iter().zip(0..).map(|(lane, index)| {
            let parts = WorkerParts {
                index: WorkerIndex(index),
                rules: rules.clone(),
                tree: reader.clone(),
                lane,
                admission: admission.clone(),
                desk: desk.clone(),
                metrics: registry.register(),
                standing: standing.clone(),
                hash_seed: 0,
            };
            WorkerSeat {
                worker: Worker::new(parts),
                seat: Seat::new(),
                events: Vec::new(),
                conns: BTreeMap::new(),
                free: Vec::new(),
                slots: 0,
                generation: 0,
            }
        });
        let workers = workers.collect();
        let span = tracing::info_span!("server", index);
        let random = random.split();
        Ok(Running {
            workers,
            jobs,
            members: sign,
            ..Running::of(span, Mind::Ours(Box::new(ensemble)), reader, standing, random)
        })
    }

    fn start_java(index: usize, disk: JavaDisk, options: &Options, mut random: Random) -> Running {
        let standing = StandingSign::new(Standing::Looking);
        let peer = JavaPeer::start(java_rules(index, options), disk, standing.clone(), random.split());
        let (span, reader) = (tracing::info_span!("java", index), peer.reader());
        Running::of(span, Mind::Java(Box::new(peer)), reader, standing, random)
    }

    /// Without workers, and with nothing that has happened yet.
    fn of(span: tracing::Span, mind: Mind, reader: TreeReader, standing: StandingSign, random: Random) -> Running {
        Running {
            span,
            mind,
            seat: Seat::new(),
            workers: Vec::new(),
            reader,
            standing,
            events: Vec::new(),
            flushed: None,
            flush: None,
            links: BTreeMap::new(),
            dialing: BTreeSet::new(),
            listening: Default::default(),
            next_accepted: 1,
            jobs: Arc::default(),
            random,
            members: MembersSign::default(),
            led: false,
            served: false,
            begins: 0,
            in_force: None,
        }
    }

    pub fn has(&self, actor: Actor) -> bool {
        match actor {
            Actor::Ensemble => true,
            Actor::Worker(index) => index < self.workers.len(),
        }
    }

    pub fn seat(&mut self, actor: Actor) -> &mut Seat {
        match actor {
            Actor::Ensemble => &mut self.seat,
            Actor::Worker(index) => &mut self.workers[index].seat,
        }
    }

    /// Accepted links are odd.
    pub fn new_link(&mut self) -> LinkId {
        self.next_accepted += 2;
        LinkId(self.next_accepted - 2)
    }

    pub fn ensemble_turn(&mut self, now: Now) -> Result<EnsembleWants, Ended> {
        let mut links = Vec::new();
        let flushed = self.flushed.take();
        let mut events = std::mem::take(&mut self.events);
        let _span = self.span.clone().entered();
        if let Mind::Java(peer) = &mut self.mind {
            return java_turn(peer, now, flushed, &mut events);
        }
        let meanwhile = Rc::new(RefCell::new(Meanwhile::of(self)));
        let others = meanwhile.clone();
        let Mind::Ours(ensemble) = &mut self.mind else { unreachable!("seen above") };
        let turn = || ensemble.turn(now, flushed, &mut events, &mut links);
        let flush = guarded(|| with_others(Box::new(move || others.borrow_mut().happens(now)), turn));
        let Meanwhile { workers, random, sockets, ended } = meanwhile.take();
        (self.workers, self.random) = (workers, random);
        let (flush, ()) = (flush?, ended?);
        Ok(EnsembleWants { flush, links, sockets, deadline: ensemble.next_deadline() })
    }

    pub fn worker_turn(&mut self, index: usize, now: Now) -> Result<WorkerWants, Ended> {
        let _span = self.span.clone().entered();
        self.workers[index].turn(now)
    }

    /// As the loops of `runtime/core.rs` do at the end of a turn. True: there is more to do at once.
    pub fn fall_asleep(&mut self, actor: Actor) -> bool {
        match actor {
            Actor::Ensemble => {
                let Mind::Ours(ensemble) = &self.mind else { return false };
                let alarm = ensemble.alarm().cloned().unwrap_or_default();
                alarm.fall_asleep(&self.seat.waker);
                let has_work = ensemble.has_work();
                if has_work {
                    alarm.stay_awake();
                }
                has_work
            }
            Actor::Worker(index) => {
                let WorkerSeat { worker, seat, .. } = &self.workers[index];
                worker.alarm().fall_asleep(&seat.waker);
                let has_work = worker.has_work();
                if has_work {
                    worker.alarm().stay_awake();
                }
                has_work
            }
        }
    }

    /// Was this one woken since that was asked last?
    pub fn was_woken(&mut self, actor: Actor) -> bool {
        if !self.has(actor) {
            return false;
        }
        let bell = &self.seat(actor).bell.0;
        bell.load(Ordering::Relaxed) && bell.swap(false, Ordering::Relaxed)
    }

    pub fn take_job(&mut self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        if jobs.is_empty() { None } else { Some(jobs.remove(0)) }
    }

    pub fn has_jobs(&self) -> bool {
        !self.jobs.lock().is_empty()
    }

    pub fn run_job(&mut self, job: Job) -> Result<(), Ended> {
        guarded(job)
    }

    pub fn standing(&self) -> Standing {
        self.standing.get()
    }

    pub fn is_serving(&self) -> bool {
        !matches!(self.standing(), Standing::Looking | Standing::ReadOnly)
    }

    pub fn members(&self) -> Option<Arc<InForce>> {
        self.members.get()
    }

    /// Everything that it has behind `zxid`; `None` when that is more than is at hand.
    pub fn history_after(&self, zxid: Zxid) -> Option<Vec<Entry>> {
        match &self.mind {
            Mind::Ours(ensemble) => Some(ensemble.history_after(zxid)?.collect()),
            Mind::Java(peer) => peer.history_after(zxid),
        }
    }

    /// What its leader did that none may do.
    pub fn breach(&self) -> Option<&str> {
        match &self.mind {
            Mind::Ours(ensemble) => ensemble.breach(),
            Mind::Java(_) => None,
        }
    }

    pub fn flushed_through(&self) -> Zxid {
        match &self.mind {
            Mind::Ours(ensemble) => ensemble.flushed_through(),
            Mind::Java(peer) => peer.flushed_through(),
        }
    }

    /// Last zxid and digest of what clients are shown.
    pub fn shown(&self) -> (Zxid, u64) {
        let pinned = self.reader.pin();
        (pinned.view().last_zxid(), pinned.view().digest())
    }

    pub fn reader(&self) -> &TreeReader {
        &self.reader
    }
}

fn java_turn(
    peer: &mut JavaPeer,
    now: Now,
    flushed: Option<io::Result<()>>,
    events: &mut Vec<LinkEvent>,
) -> Result<EnsembleWants, Ended> {
    if let Some(Err(error)) = &flushed {
        return Err(Ended::Stopped(format!("the log of a Java server cannot be flushed: {error}")));
    }
    let wants = guarded(|| peer.turn(now, flushed.is_some(), events))?.map_err(Ended::Stopped)?;
    let flush = wants.flushes.then(|| FlushRequest { targets: Vec::new() });
    Ok(EnsembleWants { flush, links: wants.links, sockets: Vec::new(), deadline: Some(wants.deadline) })
}
