//! The lanes between real threads: millions of submissions through a ring that is full most of the time, batches faster
//! than they are taken off. Nothing is lost, nothing changes places, nobody sleeps for ever.

use super::alarm::Alarm;
use super::lanes::{EnsembleLanes, WorkerLane, lanes, lanes_with};
use crate::message::lane::{ConnRef, Deliver, Reply, Submit};
use crate::types::limits::WORKER_UNHEARD_BYTES_MAX;
use crate::types::{ConnId, SessionId, WorkerIndex, Zxid};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const WORKERS: u16 = 2;
/// Longer than any pause of the machine; a wake-up that is lost costs this much.
const SLEEP_MAX: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 60 });

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The end of every loop of `core.rs`, on a thread that parks.
fn sleep_unless(alarm: &Alarm, waker: &Waker, has_work: impl FnOnce() -> bool) {
    alarm.fall_asleep(waker);
    if has_work() {
        alarm.stay_awake();
        return;
    }
    let began = Instant::now();
    thread::park_timeout(SLEEP_MAX);
    assert!(began.elapsed() < SLEEP_MAX, "a wake-up was lost");
}

fn submission(worker: WorkerIndex, number: u64) -> Submit {
    let from = ConnRef { worker, conn: ConnId(0) };
    Submit::Disconnected { from, session: SessionId(number as i64) }
}

/// Takes submissions until each worker has sent `submits`. Of every worker's, each `reply_every`th is answered with the
/// batch that it belongs to; a batch is published per turn, and goes to all.
fn ensemble(mut lanes: EnsembleLanes, current: &AtomicU64, submits: u64, reply_every: u64) -> u64 {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let alarm = lanes.alarm().expect("there are workers").clone();
    let mut taken = [0; WORKERS as usize];
    let mut version = 0;
    while taken.iter().any(|taken| *taken < submits) {
        let mut replies = [const { Vec::new() }; WORKERS as usize];
        let before = taken;
        for worker in 0..lanes.workers() {
            while let Some(submit) = lanes.next_submit(worker) {
                taken[worker] += 1;
                let number = taken[worker];
                assert!(
                    matches!(submit, Submit::Disconnected { from, session }
                        if usize::from(from.worker.0) == worker && session.0 as u64 == number),
                    "{submit:?} in place of {number}"
                );
                if number % reply_every == 0 {
                    replies[worker].push(Reply::Close { conn: ConnId(number) });
                }
            }
            if taken[worker] > before[worker] {
                lanes.made_room(worker);
            }
        }
        if taken != before {
            version += 1;
            let answered = replies.each_ref().map(|replies| !replies.is_empty());
            for (worker, replies) in (0..).map(WorkerIndex).zip(replies) {
                lanes.deliver(
                    worker,
                    Deliver {
                        version,
                        last_zxid: Zxid::ZERO,
                        effects: Arc::default(),
                        replies,
                        passages: Arc::default(),
                        cuts: None,
                    },
                );
            }
            current.store(version, Ordering::Release);
            for (worker, answered) in (0..).map(WorkerIndex).zip(answered) {
                lanes.announce(worker, answered);
            }
        }
        if taken.iter().any(|taken| *taken < submits) {
            sleep_unless(&alarm, &waker, || lanes.has_submits());
        }
    }
    version
}

/// Submits until `submits` are out and all their replies are here.
fn worker(mut lane: WorkerLane, index: WorkerIndex, current: &AtomicU64, submits: u64, reply_every: u64) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut submitted, mut replied, mut told) = (0, 0, 0);
    while submitted < submits || replied < submits / reply_every {
        let pinned = current.load(Ordering::Acquire);
        while let Some(batch) = lane.next_deliver(pinned) {
            told += 1;
            assert_eq!(batch.version, told);
            for reply in batch.replies {
                replied += 1;
                assert!(matches!(reply, Reply::Close { conn } if conn.0 == replied * reply_every), "{reply:?}");
            }
        }
        assert_eq!(told, pinned, "everything up to the pinned version has been delivered");
        lane.flush();
        // As a worker's turn that carries out what it has read: the ring may overflow within it.
        if !lane.is_full() {
            let turn_end = submits.min(submitted + 1 + pinned % 5000);
            for number in submitted + 1..=turn_end {
                lane.submit(submission(index, number));
            }
            submitted = turn_end;
        }
        lane.announce();
        if lane.is_full() || submitted == submits && replied < submits / reply_every {
            sleep_unless(lane.alarm(), &waker, || lane.has_work(|| current.load(Ordering::Acquire)));
        }
    }
    while lane.is_full() {
        lane.flush();
        lane.announce();
        thread::yield_now();
    }
}

fn exchange(submits_max: Option<usize>, submits: u64, reply_every: u64) {
    let (ensemble_lanes, worker_lanes) =
        submits_max.map_or_else(|| lanes(WORKERS), |submits_max| lanes_with(WORKERS, submits_max));
    let current = &AtomicU64::new(0);
    thread::scope(|scope| {
        for (index, lane) in (0..).map(WorkerIndex).zip(worker_lanes) {
            scope.spawn(move || worker(lane, index, current, submits, reply_every));
        }
        let versions = ensemble(ensemble_lanes, current, submits, reply_every);
        assert!(versions > 0);
    });
}

fn scaled(count: u64) -> u64 {
    if cfg!(miri) { count / 10_000 } else { count }
}

#[test]
fn millions_pass_through_lanes_of_full_size() {
    exchange(None, scaled(1_500_000), 3);
}

#[test]
fn hundreds_of_thousands_pass_through_rings_of_two() {
    exchange(Some(2), scaled(200_000), 2);
}

/// Nobody answers: only the news that there is room keeps a blocked worker going.
#[test]
fn a_blocked_worker_goes_on_without_replies() {
    exchange(Some(4), scaled(200_000), u64::MAX);
}

fn batch(version: u64) -> Deliver {
    Deliver {
        version,
        last_zxid: Zxid::ZERO,
        effects: Arc::default(),
        replies: Vec::new(),
        passages: Arc::default(),
        cuts: None,
    }
}

#[test]
fn a_batch_that_came_early_is_work_as_soon_as_its_version_is_there() {
    let (mut ensemble, mut workers) = lanes(1);
    let worker = &mut workers[0];
    ensemble.deliver(WorkerIndex(0), batch(7));
    assert!(worker.has_work(|| 6));
    assert!(worker.next_deliver(6).is_none());
    assert!(!worker.has_work(|| 6), "nothing can be done with it yet, so the worker may sleep");
    assert!(worker.has_work(|| 7), "published between the look at the lane and falling asleep");
    ensemble.deliver(WorkerIndex(0), batch(8));
    assert_eq!(worker.next_deliver(7).map(|deliver| deliver.version), Some(7));
    assert!(worker.next_deliver(7).is_none());
    assert_eq!(worker.next_deliver(9).map(|deliver| deliver.version), Some(8));
    assert!(!worker.has_work(|| 9));
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A worker whose clients are all quiet sleeps through other workers' business, but not until much waits for it.
#[test]
#[cfg_attr(miri, ignore = "posts thousands of batches, and shares nothing that the others do not")]
fn a_worker_that_nothing_concerns_is_woken_before_much_waits_for_it() {
    let (mut ensemble, workers) = lanes(1);
    let bell = Arc::new(Bell::default());
    workers[0].alarm().fall_asleep(&bell.clone().into());
    let mut posted = 0;
    while !bell.0.load(Ordering::Relaxed) {
        posted += 1;
        ensemble.deliver(WorkerIndex(0), batch(posted));
        ensemble.announce(WorkerIndex(0), false);
        assert!(posted as usize * batch(0).bytes() <= 2 * WORKER_UNHEARD_BYTES_MAX, "it sleeps on");
    }
    assert!(posted > 100, "it is woken for everything");
}

/// However many batches wait, a worker finds all of them once their version is published.
#[test]
fn a_slow_worker_finds_everything_that_was_posted() {
    let (mut ensemble, mut workers) = lanes(1);
    let posted = if cfg!(miri) { 100 } else { 100_000 };
    (1..=posted).for_each(|version| ensemble.deliver(WorkerIndex(0), batch(version)));
    let found = std::iter::from_fn(|| workers[0].next_deliver(posted)).map(|deliver| deliver.version);
    assert!(found.eq(1..=posted));
}
