//! The rings between the ensemble thread and the workers: bounded, one producer and one consumer each. Where one
//! thread is both, they are plain queues and nobody is woken.
//!
//! The ensemble never blocks on a worker: a batch takes one slot, and what does not fit waits here in order, up to
//! `WORKER_BACKLOG_BYTES_MAX`. A worker whose submissions do not fit stops reading its sockets.

use super::alarm::Alarm;
use crate::message::lane::{Deliver, Submit};
use crate::types::WorkerIndex;
use crate::types::limits::WORKER_BACKLOG_BYTES_MAX;
use crossbeam::queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Submissions one worker may have on its ring.
const SUBMITS_MAX: usize = 4096;
/// Batches one worker may have on its ring.
const DELIVERS_MAX: usize = 1024;
/// So many on its ring wake even a worker that they do not concern.
const DELIVERS_TO_WAKE: usize = DELIVERS_MAX / 2;

struct Lane {
    submits: ArrayQueue<Submit>,
    delivers: ArrayQueue<Deliver>,
    worker_alarm: Alarm,
    ensemble_alarm: Arc<Alarm>,
    /// The worker has watches, so effects concern it even when no reply does.
    watching: AtomicBool,
}

/// A worker's end.
pub struct WorkerLane {
    lane: Arc<Lane>,
    backlog: VecDeque<Submit>,
    submitted: bool,
    /// Off the ring already, but its version was not pinned when it came.
    early: Option<Deliver>,
}

/// The ensemble thread's ends, one per worker.
pub struct EnsembleLanes {
    lanes: Vec<Arc<Lane>>,
    backlog: Vec<VecDeque<Deliver>>,
    backlog_bytes: usize,
}

/// Both ends of the lanes of `workers` workers.
pub fn lanes(workers: u16) -> (EnsembleLanes, Vec<WorkerLane>) {
    let ensemble_alarm = Arc::new(Alarm::default());
    let lanes: Vec<Arc<Lane>> = (0..workers)
        .map(|_| {
            Arc::new(Lane {
                submits: ArrayQueue::new(SUBMITS_MAX),
                delivers: ArrayQueue::new(DELIVERS_MAX),
                worker_alarm: Alarm::default(),
                ensemble_alarm: ensemble_alarm.clone(),
                watching: AtomicBool::new(false),
            })
        })
        .collect();
    let worker_lanes = lanes
        .iter()
        .map(|lane| WorkerLane { lane: lane.clone(), backlog: VecDeque::new(), submitted: false, early: None })
        .collect();
    let backlog = lanes.iter().map(|_| VecDeque::new()).collect();
    (EnsembleLanes { lanes, backlog, backlog_bytes: 0 }, worker_lanes)
}

impl WorkerLane {
    /// Hands a request to the ensemble thread; in order, at the latest when there is room again.
    pub fn submit(&mut self, submit: Submit) {
        self.backlog.push_back(submit);
        self.flush();
    }

    /// Moves what waited onto the ring.
    pub fn flush(&mut self) {
        while let Some(submit) = self.backlog.pop_front() {
            if let Err(submit) = self.lane.submits.push(submit) {
                self.backlog.push_front(submit);
                break;
            }
            self.submitted = true;
        }
    }

    /// Wakes the ensemble thread if anything was submitted since the last call.
    pub fn announce(&mut self) {
        if std::mem::take(&mut self.submitted) {
            self.lane.ensemble_alarm.ring();
        }
    }

    /// No more requests should be read before this is false.
    pub fn is_full(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The oldest batch, if the version it is tagged with is pinned.
    pub fn next_deliver(&mut self, pinned: u64) -> Option<Deliver> {
        let deliver = self.early.take().or_else(|| self.lane.delivers.pop())?;
        if deliver.version <= pinned {
            return Some(deliver);
        }
        self.early = Some(deliver);
        None
    }

    /// Asked before falling asleep. A batch that came early counts once its version is there: whoever published it may
    /// have rung while nobody was asleep yet.
    pub fn has_delivers(&self, published: impl FnOnce() -> u64) -> bool {
        match &self.early {
            Some(early) => early.version <= published(),
            None => !self.lane.delivers.is_empty(),
        }
    }

    /// Set before the version is pinned at which the first watch is registered: then either the ensemble thread sees
    /// it and wakes this worker, or the pinned version contains the change already.
    pub fn set_watching(&self, watching: bool) {
        if self.lane.watching.load(Ordering::Relaxed) != watching {
            self.lane.watching.store(watching, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    pub fn alarm(&self) -> &Alarm {
        &self.lane.worker_alarm
    }

    /// Lets other threads wake this worker.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell { lane: self.lane.clone() }
    }
}

/// Wakes a worker, from any thread.
#[derive(Clone)]
pub struct Doorbell {
    lane: Arc<Lane>,
}

impl Doorbell {
    pub fn ring(&self) {
        self.lane.worker_alarm.ring();
    }
}

impl EnsembleLanes {
    pub fn workers(&self) -> usize {
        self.lanes.len()
    }

    pub fn next_submit(&mut self, worker: usize) -> Option<Submit> {
        self.lanes[worker].submits.pop()
    }

    pub fn has_submits(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.submits.is_empty())
    }

    /// Puts a batch on a worker's ring. The version it is tagged with must not be published yet, unless it is an
    /// answer that belongs to no transaction.
    pub fn deliver(&mut self, worker: WorkerIndex, deliver: Deliver) {
        let index = usize::from(worker.0);
        let backlog = &mut self.backlog[index];
        if backlog.is_empty() {
            if let Err(deliver) = self.lanes[index].delivers.push(deliver) {
                self.backlog_bytes += deliver.bytes();
                backlog.push_back(deliver);
            }
        } else {
            self.backlog_bytes += deliver.bytes();
            backlog.push_back(deliver);
        }
        assert!(
            self.backlog_bytes <= WORKER_BACKLOG_BYTES_MAX,
            "worker {index} has not turned while {WORKER_BACKLOG_BYTES_MAX} bytes of changes waited for it; \
             the server stops rather than lose watch events. Look for a stalled core in the log."
        );
    }

    /// Moves what waited onto the rings that have room again. Replies may be among it, so their workers are woken.
    pub fn flush(&mut self) {
        for (lane, backlog) in self.lanes.iter().zip(&mut self.backlog) {
            let mut moved = false;
            while let Some(deliver) = backlog.pop_front() {
                let bytes = deliver.bytes();
                if let Err(deliver) = lane.delivers.push(deliver) {
                    backlog.push_front(deliver);
                    break;
                }
                self.backlog_bytes -= bytes;
                moved = true;
            }
            if moved {
                lane.worker_alarm.ring();
            }
        }
    }

    pub fn has_backlog(&self) -> bool {
        self.backlog_bytes > 0
    }

    /// Wakes the worker: because replies wait for it (`must`), because it has watches, or because its ring fills up with
    /// what does not concern it.
    pub fn announce(&self, worker: WorkerIndex, must: bool) {
        let lane = &self.lanes[usize::from(worker.0)];
        fence(Ordering::SeqCst);
        if must || lane.watching.load(Ordering::Relaxed) || lane.delivers.len() >= DELIVERS_TO_WAKE {
            lane.worker_alarm.ring();
        }
    }

    pub fn alarm(&self) -> Option<&Arc<Alarm>> {
        self.lanes.first().map(|lane| &lane.ensemble_alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(version: u64) -> Deliver {
        Deliver { version, effects: Arc::default(), replies: Vec::new() }
    }

    #[test]
    fn a_batch_that_came_early_is_work_as_soon_as_its_version_is_there() {
        let (mut ensemble, mut workers) = lanes(1);
        let worker = &mut workers[0];
        ensemble.deliver(WorkerIndex(0), batch(7));
        assert!(worker.has_delivers(|| 6));
        assert!(worker.next_deliver(6).is_none());
        assert!(!worker.has_delivers(|| 6), "nothing can be done with it yet, so the worker may sleep");
        assert!(worker.has_delivers(|| 7), "published between the look at the ring and falling asleep");
        ensemble.deliver(WorkerIndex(0), batch(8));
        assert_eq!(worker.next_deliver(7).map(|deliver| deliver.version), Some(7));
        assert!(worker.next_deliver(7).is_none());
        assert_eq!(worker.next_deliver(9).map(|deliver| deliver.version), Some(8));
        assert!(!worker.has_delivers(|| 9));
    }

    #[derive(Default)]
    struct Bell(AtomicBool);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A worker whose clients are all quiet sleeps through other workers' business, but not until its ring overflows.
    #[test]
    fn a_worker_that_nothing_concerns_is_woken_before_its_ring_is_full() {
        let (mut ensemble, workers) = lanes(1);
        let bell = Arc::new(Bell::default());
        workers[0].alarm().fall_asleep(&bell.clone().into());
        let mut posted = 0;
        while !bell.0.load(Ordering::Relaxed) {
            posted += 1;
            ensemble.deliver(WorkerIndex(0), batch(posted));
            ensemble.announce(WorkerIndex(0), false);
            assert!(posted < DELIVERS_MAX as u64, "it sleeps on");
        }
        assert!(posted > 100, "it is woken for everything");
    }

    #[test]
    fn a_worker_is_woken_when_what_waited_comes_onto_its_ring() {
        let (mut ensemble, mut workers) = lanes(1);
        for version in 0..=DELIVERS_MAX as u64 {
            ensemble.deliver(WorkerIndex(0), batch(version));
        }
        assert!(ensemble.has_backlog());
        while workers[0].next_deliver(u64::MAX).is_some() {}
        let bell = Arc::new(Bell::default());
        workers[0].alarm().fall_asleep(&bell.clone().into());
        ensemble.flush();
        assert!(!ensemble.has_backlog() && bell.0.load(Ordering::Relaxed));
    }
}
