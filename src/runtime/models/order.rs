//! The order rule of `server/deliver.rs`, between the ensemble thread (`say_what_is_flushed`) and one worker (`turn`).
//!
//! The state is modelled by the number of its version: batch `n` carries the change that version `n` shows. So a worker that
//! has delivered `d` batches and pins version `p` has told its clients of everything they can read exactly if `d == p`.

use super::lanes::{EnsembleLanes, WorkerLane, lanes_with};
use super::sync::Fault;
use super::{Sleep, check, find, sleep_unless};
use crate::message::lane::{Deliver, Reply};
use crate::types::{ConnId, WorkerIndex, Zxid};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

/// What the threads do in the wrong order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The ensemble thread publishes, then posts.
    PublishesFirst,
    /// The ensemble thread wakes, then publishes.
    WakesFirst,
    /// The worker delivers, then pins what it answers from.
    PinsLast,
    /// The worker says that it has watches only once it has looked for work.
    WatchesLast,
    /// The worker looks at its lane, but not at the batch that it took off too early.
    ForgetsEarly,
}

/// What happens in a model.
#[derive(Clone, Copy)]
struct Plan {
    /// Each batch changes something; these also answer a client of the worker.
    replies: &'static [u64],
    /// The worker's client sets its watch in the turn that has delivered this many batches, or more.
    watch_after: Option<u64>,
    /// The last batch that somebody at the worker is concerned by.
    concerned_through: u64,
    versions: u64,
}

fn ensemble(mut lanes: EnsembleLanes, current: &AtomicU64, plan: Plan, wrong: Wrong) {
    let worker = WorkerIndex(0);
    for version in 1..=plan.versions {
        let answers = plan.replies.contains(&version);
        let replies = if answers { vec![Reply::Close { conn: ConnId(0) }] } else { Vec::new() };
        let batch = Deliver {
            version,
            last_zxid: Zxid::ZERO,
            effects: Arc::default(),
            replies,
            passages: Arc::default(),
            cuts: None,
        };
        match wrong {
            Wrong::PublishesFirst => {
                current.swap(version, Ordering::AcqRel);
                lanes.deliver(worker, batch);
                lanes.announce(worker, answers);
            }
            Wrong::WakesFirst => {
                lanes.deliver(worker, batch);
                lanes.announce(worker, answers);
                current.swap(version, Ordering::AcqRel);
            }
            _ => {
                lanes.deliver(worker, batch);
                current.swap(version, Ordering::AcqRel);
                lanes.announce(worker, answers);
            }
        }
    }
}

fn worker(mut lane: WorkerLane, current: &AtomicU64, plan: Plan, wrong: Wrong) {
    let sleep = Sleep::new();
    let (mut told, mut answered_from) = (0, 0);
    loop {
        let mut pinned = current.load(Ordering::Acquire);
        while let Some(batch) = lane.next_deliver(pinned) {
            told += 1;
            assert_eq!(batch.version, told, "batches come in order");
            assert!(told <= pinned, "an event is ahead of what can be read");
        }
        if wrong == Wrong::PinsLast {
            pinned = current.load(Ordering::Acquire);
        }
        assert!(answered_from <= pinned, "versions go forward");
        assert_eq!(told, pinned, "a reply is ahead of an event");
        answered_from = pinned;

        let watching = plan.watch_after.is_some_and(|after| told >= after);
        if wrong != Wrong::WatchesLast {
            lane.set_watching(watching);
        }
        if told >= plan.concerned_through {
            return;
        }
        sleep_unless(lane.alarm(), &sleep, || {
            let published = || if wrong == Wrong::ForgetsEarly { 0 } else { current.load(Ordering::Acquire) };
            let has_work = lane.has_work(published);
            if wrong == Wrong::WatchesLast {
                lane.set_watching(watching);
            }
            has_work
        });
    }
}

fn run(plan: Plan, wrong: Wrong) {
    let (ensemble_lanes, mut lanes) = lanes_with(1, 1);
    let current = Arc::new(AtomicU64::new(0));
    let seen = current.clone();
    let other = thread::spawn(move || ensemble(ensemble_lanes, &current, plan, wrong));
    worker(lanes.remove(0), &seen, plan, wrong);
    other.join().unwrap();
}

/// A client sets a watch in the worker's first turn and must hear of the change.
const WATCH: Plan = Plan { replies: &[], watch_after: Some(0), concerned_through: 1, versions: 1 };
/// A write is answered, then its client sets a watch and must hear of the next change.
const WRITE_THEN_WATCH: Plan = Plan { replies: &[1], watch_after: Some(1), concerned_through: 2, versions: 2 };
/// The second of two changes is the client's own.
const WRITE: Plan = Plan { replies: &[2], watch_after: None, concerned_through: 2, versions: 2 };

#[test]
fn watch_events_and_replies_come_in_order_and_always() {
    for plan in [WATCH, WRITE, WRITE_THEN_WATCH] {
        check(Fault::None, move || run(plan, Wrong::Nothing));
    }
}

#[test]
fn publishing_before_posting_is_found() {
    assert!(find(Fault::None, || run(WRITE, Wrong::PublishesFirst)).contains("a reply is ahead of an event"));
}

#[test]
fn waking_before_publishing_is_found() {
    assert!(find(Fault::None, || run(WRITE, Wrong::WakesFirst)).contains("deadlock"));
}

#[test]
fn pinning_after_delivering_is_found() {
    assert!(find(Fault::None, || run(WRITE, Wrong::PinsLast)).contains("a reply is ahead of an event"));
}

#[test]
fn watching_after_looking_is_found() {
    assert!(find(Fault::None, || run(WATCH, Wrong::WatchesLast)).contains("deadlock"));
}

#[test]
fn forgetting_the_batch_that_came_early_is_found() {
    assert!(find(Fault::None, || run(WATCH, Wrong::ForgetsEarly)).contains("deadlock"));
}

#[test]
fn missing_fences_are_found() {
    assert!(find(Fault::NoFences, || run(WATCH, Wrong::Nothing)).contains("deadlock"));
}
