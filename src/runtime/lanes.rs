//! The queues between the ensemble thread and the workers: one producer and one consumer each. Where one thread is both,
//! nobody is woken.
//!
//! Submissions are bounded: a worker whose submissions do not fit stops reading its sockets, and is woken when there is
//! room. Batches are not, because the ensemble never blocks on a worker, and because a batch that a worker could not
//! find once its version is published would break the order rule (`server/deliver.rs`). Should
//! `WORKER_BACKLOG_BYTES_MAX` wait for one worker, the server stops.

use super::alarm::Alarm;
use super::sync::{ArrayQueue, AtomicBool, AtomicUsize, Ordering, SegQueue, fence};
use crate::message::lane::{Deliver, Submit};
use crate::types::WorkerIndex;
use crate::types::limits::{WORKER_BACKLOG_BYTES_MAX, WORKER_UNHEARD_BYTES_MAX};
use std::collections::VecDeque;
use std::sync::Arc;

/// Submissions one worker may have on its ring.
const SUBMITS_MAX: usize = 4096;

struct Lane {
    submits: ArrayQueue<Submit>,
    delivers: SegQueue<Deliver>,
    /// Of the batches in `delivers`.
    delivers_bytes: AtomicUsize,
    worker_alarm: Alarm,
    ensemble_alarm: Arc<Alarm>,
    /// The worker has watches, so effects concern it even when no reply does.
    watching: AtomicBool,
    /// The worker has submissions that did not fit.
    blocked: AtomicBool,
}

/// A worker's end.
pub struct WorkerLane {
    lane: Arc<Lane>,
    backlog: VecDeque<Submit>,
    submitted: bool,
    /// Off the lane already, but its version was not pinned when it came; those behind it are of later versions.
    early: Option<Deliver>,
}

/// The ensemble thread's ends, one per worker.
pub struct EnsembleLanes {
    lanes: Vec<Arc<Lane>>,
}

/// Both ends of the lanes of `workers` workers.
pub fn lanes(workers: u16) -> (EnsembleLanes, Vec<WorkerLane>) {
    lanes_with(workers, SUBMITS_MAX)
}

/// `lanes` with another bound of the submissions on a ring.
pub fn lanes_with(workers: u16, submits_max: usize) -> (EnsembleLanes, Vec<WorkerLane>) {
    let ensemble_alarm = Arc::new(Alarm::default());
    let lanes: Vec<Arc<Lane>> = (0..workers)
        .map(|_| {
            Arc::new(Lane {
                submits: ArrayQueue::new(submits_max),
                delivers: SegQueue::new(),
                delivers_bytes: AtomicUsize::new(0),
                worker_alarm: Alarm::default(),
                ensemble_alarm: ensemble_alarm.clone(),
                watching: AtomicBool::new(false),
                blocked: AtomicBool::new(false),
            })
        })
        .collect();
    let worker_lanes = lanes
        .iter()
        .map(|lane| WorkerLane { lane: lane.clone(), backlog: VecDeque::new(), submitted: false, early: None })
        .collect();
    (EnsembleLanes { lanes }, worker_lanes)
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
        set(&self.lane.blocked, !self.backlog.is_empty());
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
        let deliver = self.early.take().or_else(|| self.pop())?;
        if deliver.version <= pinned {
            return Some(deliver);
        }
        self.early = Some(deliver);
        None
    }

    fn pop(&self) -> Option<Deliver> {
        let deliver = self.lane.delivers.pop()?;
        self.lane.delivers_bytes.fetch_sub(deliver.bytes(), Ordering::Relaxed);
        Some(deliver)
    }

    /// Whether a turn would find something to do: to be asked once more after falling asleep. A batch that came early
    /// counts once its version is there: whoever published it may have rung while nobody was asleep yet.
    pub fn has_work(&self, published: impl FnOnce() -> u64) -> bool {
        let has_batch = match &self.early {
            Some(early) => early.version <= published(),
            None => !self.lane.delivers.is_empty(),
        };
        has_batch || !self.backlog.is_empty() && !self.lane.submits.is_full()
    }

    /// Set before the worker falls asleep after the turn in which its first watch was registered. Then either the ensemble
    /// thread sees it and wakes this worker, or `has_work` sees what was published after the version that the watch
    /// was registered at.
    pub fn set_watching(&self, watching: bool) {
        set(&self.lane.watching, watching);
    }

    pub fn alarm(&self) -> &Alarm {
        &self.lane.worker_alarm
    }

    /// Lets other threads wake this worker.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell { lane: self.lane.clone() }
    }
}

/// Tells the ensemble thread something that it looks at behind a fence of its own.
fn set(flag: &AtomicBool, value: bool) {
    if flag.load(Ordering::Relaxed) != value {
        flag.store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
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

    /// Wakes the worker if it waits for room on its ring; to be called when some of its submissions have been taken.
    pub fn made_room(&self, worker: usize) {
        let lane = &self.lanes[worker];
        fence(Ordering::SeqCst);
        if lane.blocked.load(Ordering::Relaxed) {
            lane.worker_alarm.ring();
        }
    }

    pub fn has_submits(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.submits.is_empty())
    }

    /// Puts a batch on a worker's lane. The version it is tagged with must not be published yet.
    pub fn deliver(&mut self, worker: WorkerIndex, deliver: Deliver) {
        let lane = &self.lanes[usize::from(worker.0)];
        let bytes = deliver.bytes();
        let bytes_waiting = lane.delivers_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        assert!(
            bytes_waiting <= WORKER_BACKLOG_BYTES_MAX,
            "worker {} has not turned while {WORKER_BACKLOG_BYTES_MAX} bytes of changes waited for it; \
             the server stops rather than lose watch events. Look for a stalled core in the log.",
            worker.0
        );
        lane.delivers.push(deliver);
    }

    /// Wakes the worker: because replies wait for it (`must`), because it has watches, or because so much waits for it
    /// that it should take it off the lane.
    pub fn announce(&self, worker: WorkerIndex, must: bool) {
        let lane = &self.lanes[usize::from(worker.0)];
        fence(Ordering::SeqCst);
        if must
            || lane.watching.load(Ordering::Relaxed)
            || lane.delivers_bytes.load(Ordering::Relaxed) > WORKER_UNHEARD_BYTES_MAX
        {
            lane.worker_alarm.ring();
        }
    }

    /// Wakes every worker: something has changed that concerns all of them.
    pub fn wake_all(&self) {
        self.lanes.iter().for_each(|lane| lane.worker_alarm.ring());
    }

    pub fn alarm(&self) -> Option<&Arc<Alarm>> {
        self.lanes.first().map(|lane| &lane.ensemble_alarm)
    }
}
