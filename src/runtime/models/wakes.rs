//! No wake-up is lost: `Alarm`, `ReadyList`, and the ring of submissions that is full.

use super::alarm::Alarm;
use super::lanes::{EnsembleLanes, WorkerLane, lanes_with};
use super::ready::{ReadyList, waker};
use super::sync::{AtomicUsize, Fault, Ordering};
use super::{Sleep, check, find, sleep_unless};
use crate::message::lane::{ConnRef, Submit};
use crate::types::{ConnId, SessionId, WorkerIndex};
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

const DEADLOCK: &str = "deadlock";

/// `ringers` others put something down and ring; the core sleeps until it has seen all of it.
fn alarm(ringers: usize, looks_before_asleep: bool) {
    let alarm = Arc::new(Alarm::default());
    let work = Arc::new(AtomicUsize::new(0));
    let others: Vec<_> = (0..ringers)
        .map(|_| {
            let (alarm, work) = (alarm.clone(), work.clone());
            thread::spawn(move || {
                work.fetch_add(1, Ordering::Relaxed);
                alarm.ring();
            })
        })
        .collect();
    let sleep = Sleep::new();
    while work.load(Ordering::Relaxed) < ringers {
        if looks_before_asleep {
            let has_work = work.load(Ordering::Relaxed) == ringers;
            sleep_unless(&alarm, &sleep, || has_work);
        } else {
            sleep_unless(&alarm, &sleep, || work.load(Ordering::Relaxed) == ringers);
        }
    }
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn an_alarm_is_never_missed() {
    check(Fault::None, || alarm(1, false));
    check(Fault::None, || alarm(2, false));
}

#[test]
fn an_alarm_without_fences_is_missed() {
    assert!(find(Fault::NoFences, || alarm(1, false)).contains(DEADLOCK));
}

#[test]
fn an_alarm_is_missed_by_a_core_that_looks_before_it_is_asleep() {
    assert!(find(Fault::None, || alarm(1, true)).contains(DEADLOCK));
}

/// Two operations complete elsewhere; the core sleeps until it has taken both off the list.
fn ready(attends_last: bool) {
    let list = Arc::<ReadyList>::default();
    let completed = [waker(&list, 1), waker(&list, 2)];
    let sleep = Sleep::new();
    let main = Waker::from(sleep.clone());
    let other = thread::spawn(move || completed.into_iter().for_each(Waker::wake));
    let mut seen = 0;
    while seen < 2 {
        if !attends_last {
            list.attend(&main);
        }
        while let Some(token) = list.pop() {
            seen += 1;
            assert_eq!(token, seen);
        }
        if attends_last {
            list.attend(&main);
        }
        if seen < 2 {
            sleep.sleep();
        }
    }
    other.join().unwrap();
}

#[test]
fn a_completed_operation_is_never_missed() {
    check(Fault::None, || ready(false));
}

#[test]
fn a_completed_operation_is_missed_by_a_core_that_attends_too_late() {
    assert!(find(Fault::None, || ready(true)).contains(DEADLOCK));
}

#[test]
fn a_completed_operation_is_missed_if_attending_is_a_plain_store() {
    assert!(find(Fault::SwapsAreStores, || ready(false)).contains(DEADLOCK));
}

fn submission(number: u64) -> Submit {
    let from = ConnRef { worker: WorkerIndex(0), conn: ConnId(0) };
    Submit::Disconnected { from, session: SessionId(number as i64) }
}

fn take_submits(lanes: &mut EnsembleLanes, taken: &mut i64, tells: bool) {
    let before = *taken;
    while let Some(submit) = lanes.next_submit(0) {
        *taken += 1;
        assert!(matches!(submit, Submit::Disconnected { session, .. } if session.0 == *taken), "in order");
    }
    if tells && *taken > before {
        lanes.made_room(0);
    }
}

/// A worker has more to submit than its ring holds, nobody answers any of it, and both threads sleep when they can.
fn full_ring(tells: bool) {
    const SUBMITS: i64 = 3;
    let (mut ensemble, mut workers) = lanes_with(1, 1);
    let mut lane: WorkerLane = workers.remove(0);
    let other = thread::spawn(move || {
        let sleep = Sleep::new();
        let alarm = ensemble.alarm().expect("there is a worker").clone();
        let mut taken = 0;
        loop {
            take_submits(&mut ensemble, &mut taken, tells);
            if taken == SUBMITS {
                return;
            }
            sleep_unless(&alarm, &sleep, || ensemble.has_submits());
        }
    });
    let sleep = Sleep::new();
    (1..=SUBMITS as u64).for_each(|number| lane.submit(submission(number)));
    loop {
        lane.flush();
        lane.announce();
        if !lane.is_full() {
            break;
        }
        sleep_unless(lane.alarm(), &sleep, || lane.has_work(|| 0));
    }
    other.join().unwrap();
}

#[test]
fn a_full_ring_empties_though_nobody_answers() {
    check(Fault::None, || full_ring(true));
}

#[test]
fn a_full_ring_stays_full_if_nobody_tells_of_room() {
    assert!(find(Fault::None, || full_ring(false)).contains(DEADLOCK));
}

#[test]
fn a_full_ring_stays_full_without_fences() {
    assert!(find(Fault::NoFences, || full_ring(true)).contains(DEADLOCK));
}
