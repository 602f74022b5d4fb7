//! Model checking of the rule by which records are freed: loom runs the source of `reclaim` with a writer, a reader that
//! pins, and one that holds or looks at a cut, through every interleaving. A record that is read while, or after, it is freed is
//! found, and so is one that is never freed. Each fault that is put back must be found. See `docs/testing.md`.

#[path = "../reclaim.rs"]
#[allow(dead_code, clippy::duplicate_mod)]
mod reclaim;
mod sync;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicPtr, Ordering};
use loom::thread;
use reclaim::{HoldToken, Reclaim, Released, VersionNumber};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use sync::{Fault, epoch};

/// Stands for a node of the tree; it is marked instead of freed.
struct Record {
    birth: VersionNumber,
    freed: UnsafeCell<bool>,
}

// SAFETY: access to `freed` is what loom checks.
unsafe impl Sync for Record {}
unsafe impl Send for Record {}

impl Record {
    fn new(birth: VersionNumber) -> Arc<Record> {
        Arc::new(Record { birth, freed: UnsafeCell::new(false) })
    }

    fn is_freed(&self) -> bool {
        // SAFETY: as above.
        self.freed.with(|freed| unsafe { *freed })
    }

    fn read(&self) {
        assert!(!self.is_freed(), "a record is read after it was freed");
    }

    /// # Safety
    /// `record` points to a `Record`.
    unsafe fn free(record: *mut ()) {
        unsafe {
            (*record.cast::<Record>()).freed.with_mut(|freed| {
                assert!(!*freed, "freed once");
                *freed = true;
            });
        }
    }
}

/// A tree of two records.
struct Version {
    number: VersionNumber,
    records: [Arc<Record>; 2],
}

impl Version {
    fn read(&self) {
        self.records.iter().for_each(|record| record.read());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// A version is looked at without being registered with the writer.
    DoesNotHold,
    /// Replaced records are given up before the version without them is published.
    RetiresFirst,
    /// A record counts as younger than it is.
    TakesForYounger,
}

/// What readers find; the versions themselves live as long as the model.
struct Shared {
    versions: Vec<Version>,
    current: AtomicPtr<Version>,
}

impl Shared {
    fn pin_and_read(&self, newest: &mut VersionNumber) {
        let _guard = epoch::pin();
        // SAFETY: points into `versions`.
        let version = unsafe { &*self.current.load(Ordering::Acquire) };
        assert!(version.number >= *newest, "versions go forward");
        *newest = version.number;
        version.read();
    }
}

struct Writer {
    shared: Arc<Shared>,
    reclaim: Reclaim,
    wrong: Wrong,
}

impl Writer {
    fn retire(&mut self, record: &Arc<Record>) {
        let birth = record.birth + u64::from(self.wrong == Wrong::TakesForYounger);
        // SAFETY: the head does not reach it any more.
        unsafe { self.reclaim.retire(Arc::as_ptr(record).cast_mut().cast(), birth, Record::free) };
    }

    /// As `TreeWriter::seal` and `publish_through`.
    fn publish(&mut self, number: VersionNumber) {
        self.publish_with(number, Vec::new());
    }

    /// `cuts`: cuts among the versions that are published.
    fn publish_with(&mut self, number: VersionNumber, cuts: Vec<Released>) {
        let retired = std::mem::take(&mut self.reclaim.retired);
        self.reclaim.birth = number + 1;
        let version = (&raw const self.shared.versions[number as usize - 1]).cast_mut();
        if self.wrong == Wrong::RetiresFirst {
            self.reclaim.published(number, retired, cuts, &epoch::pin());
            self.shared.current.swap(version, Ordering::AcqRel);
        } else {
            let guard = epoch::pin();
            self.shared.current.swap(version, Ordering::AcqRel);
            self.reclaim.published(number, retired, cuts, &guard);
        }
    }
}

fn hold(writer: &mut Writer, number: VersionNumber) -> thread::JoinHandle<()> {
    let token: Option<HoldToken> = (writer.wrong != Wrong::DoesNotHold).then(|| writer.reclaim.hold(number));
    let shared = writer.shared.clone();
    thread::spawn(move || {
        shared.versions[number as usize - 1].read();
        drop(token);
    })
}

/// Version 2 replaces one record of version 1, version 3 both of version 2's; `held` is looked at for longer.
fn run(held: VersionNumber, pins: usize, wrong: Wrong) {
    let (a1, b1, a2, a3, b3) = (Record::new(1), Record::new(1), Record::new(2), Record::new(3), Record::new(3));
    let trees = [[&a1, &b1], [&a2, &b1], [&a3, &b3], [&a3, &b3]];
    let versions = (1..).zip(trees).map(|(number, records)| Version { number, records: records.map(Arc::clone) });
    let shared = Arc::new(Shared { versions: versions.collect(), current: AtomicPtr::default() });
    shared.current.store((&raw const shared.versions[0]).cast_mut(), Ordering::Release);
    let mut writer = Writer { shared: shared.clone(), reclaim: Reclaim::new(2), wrong };

    let reader = thread::spawn(move || {
        let mut newest = 0;
        (0..pins).for_each(|_| shared.pin_and_read(&mut newest));
    });
    let mut holder = (held == 1).then(|| hold(&mut writer, 1));
    // Edited within one version: nobody else ever saw it.
    let draft = Record::new(2);
    writer.retire(&a1);
    if wrong != Wrong::TakesForYounger {
        writer.retire(&draft);
        assert!(draft.is_freed());
    }
    writer.publish(2);
    if held == 2 {
        holder = Some(hold(&mut writer, 2));
    }
    writer.retire(&a2);
    writer.retire(&b1);
    writer.publish(3);
    if let Some(holder) = holder {
        holder.join().unwrap();
    }
    reader.join().unwrap();
    // Everybody is gone: what was kept for them goes with the next version.
    writer.publish(4);
    drop(writer);
    for (record, freed) in [(&a1, true), (&a2, true), (&b1, true), (&a3, false), (&b3, false)] {
        assert_eq!(record.is_freed(), freed, "birth {}", record.birth);
    }
}

/// Versions 2 and 3 are published together, and 2 is looked at afterwards, while version 4 replaces what it shares with it.
fn run_cut(wrong: Wrong) {
    let (a1, b1, a2, a3, b4) = (Record::new(1), Record::new(1), Record::new(2), Record::new(3), Record::new(4));
    let trees = [[&a1, &b1], [&a2, &b1], [&a3, &b1], [&a3, &b4], [&a3, &b4]];
    let versions = (1..).zip(trees).map(|(number, records)| Version { number, records: records.map(Arc::clone) });
    let shared = Arc::new(Shared { versions: versions.collect(), current: AtomicPtr::default() });
    shared.current.store((&raw const shared.versions[0]).cast_mut(), Ordering::Release);
    let mut writer = Writer { shared: shared.clone(), reclaim: Reclaim::new(2), wrong };
    writer.retire(&a1);
    writer.reclaim.birth = 3;
    let (token, released) = HoldToken::new();
    writer.retire(&a2);
    writer.publish_with(3, if wrong == Wrong::DoesNotHold { Vec::new() } else { vec![released] });
    let looking = thread::spawn(move || {
        shared.versions[1].read();
        drop(token);
    });
    writer.retire(&b1);
    writer.publish(4);
    looking.join().unwrap();
    assert_eq!(writer.reclaim.has_backlog(), [&a1, &a2, &b1].iter().any(|record| !record.is_freed()));
    writer.reclaim.go_on(&epoch::pin());
    writer.publish(5);
    drop(writer);
    for (record, freed) in [(&a1, true), (&a2, true), (&b1, true), (&a3, false), (&b4, false)] {
        assert_eq!(record.is_freed(), freed, "birth {}", record.birth);
    }
}

fn check(fault: Fault, model: impl Fn() + Send + Sync + 'static) -> Result<(), String> {
    sync::set_fault(fault);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    let outcome = catch_unwind(AssertUnwindSafe(|| builder.check(model)));
    sync::set_fault(Fault::None);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

const READ_FREED: &str = "a record is read after it was freed";
/// Reading and freeing are not ordered: loom's words.
const RACE: &str = "Causality violation";

fn finds(held: VersionNumber, fault: Fault, wrong: Wrong) -> bool {
    let found = check(fault, move || run(held, 1, wrong)).expect_err("the fault must be found");
    found.contains(READ_FREED) || found.contains(RACE)
}

#[test]
fn what_somebody_reads_is_kept_and_all_else_is_freed() {
    for held in [1, 2] {
        check(Fault::None, move || run(held, 1, Wrong::Nothing)).unwrap();
    }
    check(Fault::None, || run(0, 2, Wrong::Nothing)).unwrap();
}

#[test]
fn what_a_cut_reaches_is_kept_until_it_was_looked_at() {
    check(Fault::None, || run_cut(Wrong::Nothing)).unwrap();
    let found = check(Fault::None, || run_cut(Wrong::DoesNotHold)).expect_err("the fault must be found");
    assert!(found.contains(READ_FREED) || found.contains(RACE), "{found}");
    let found = check(Fault::RelaxedStores, || run_cut(Wrong::Nothing)).expect_err("the fault must be found");
    assert!(found.contains(RACE), "{found}");
}

#[test]
fn pinning_that_protects_nothing_is_found() {
    assert!(finds(0, Fault::NoGuards, Wrong::Nothing));
}

#[test]
fn giving_up_before_publishing_is_found() {
    assert!(finds(0, Fault::None, Wrong::RetiresFirst));
}

#[test]
fn looking_without_holding_is_found() {
    assert!(finds(1, Fault::None, Wrong::DoesNotHold));
}

#[test]
fn taking_a_record_for_younger_is_found() {
    assert!(finds(1, Fault::None, Wrong::TakesForYounger));
}

#[test]
fn a_hold_that_ends_without_order_is_found() {
    let found = check(Fault::RelaxedStores, || run(1, 0, Wrong::Nothing)).expect_err("the fault must be found");
    assert!(found.contains(RACE), "{found}");
}
