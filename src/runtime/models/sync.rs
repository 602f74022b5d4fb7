//! The names of `runtime/sync.rs`, made of loom's. The queues are weaker than crossbeam's on purpose (they order only what
//! a release and an acquire must, and have no fences): what holds with them holds with the real ones.
//!
//! A model can put a fault back, so that the checker is seen to find it.

use loom::cell::UnsafeCell;
use std::cell::Cell;

pub(super) use loom::sync::atomic::{AtomicUsize, Ordering};

/// What can go wrong below the sources that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Sequentially consistent fences do nothing.
    NoFences,
    /// A swap is a load and then a store.
    SwapsAreStores,
}

thread_local! {
    // The threads of a model are coroutines of one thread.
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

pub(super) fn set_fault(fault: Fault) {
    FAULT.set(fault);
}

pub(super) fn fence(ordering: Ordering) {
    if FAULT.get() != Fault::NoFences {
        loom::sync::atomic::fence(ordering);
    }
}

#[derive(Default)]
pub(super) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub fn new(value: bool) -> AtomicBool {
        AtomicBool(loom::sync::atomic::AtomicBool::new(value))
    }

    pub fn load(&self, ordering: Ordering) -> bool {
        self.0.load(ordering)
    }

    pub fn store(&self, value: bool, ordering: Ordering) {
        self.0.store(value, ordering);
    }

    pub fn compare_exchange(&self, old: bool, new: bool, success: Ordering, failure: Ordering) -> Result<bool, bool> {
        self.0.compare_exchange(old, new, success, failure)
    }

    pub fn swap(&self, value: bool, ordering: Ordering) -> bool {
        if FAULT.get() == Fault::SwapsAreStores {
            let before = self.0.load(Ordering::Acquire);
            self.0.store(value, Ordering::Release);
            return before;
        }
        self.0.swap(value, ordering)
    }
}

#[derive(Default)]
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics with the lock")
    }
}

/// One producer, one consumer; each slot is used once.
struct Slots<T> {
    slots: Vec<UnsafeCell<Option<T>>>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

// SAFETY: a slot belongs to the producer until `tail` has passed it, then to the consumer. loom checks that.
unsafe impl<T: Send> Sync for Slots<T> {}

/// Elements that may pass through one queue in a model.
const PASSES_MAX: usize = 8;

impl<T> Slots<T> {
    fn new() -> Slots<T> {
        Slots {
            slots: (0..PASSES_MAX).map(|_| UnsafeCell::new(None)).collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    fn push(&self, value: T) {
        let tail = self.tail.load(Ordering::Relaxed);
        // SAFETY: as above.
        self.slots[tail].with_mut(|slot| unsafe { *slot = Some(value) });
        self.tail.store(tail + 1, Ordering::Release);
    }

    fn pop(&self) -> Option<T> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: as above.
        let value = self.slots[head].with_mut(|slot| unsafe { (*slot).take() });
        self.head.store(head + 1, Ordering::Release);
        Some(value.expect("filled before the tail passed it"))
    }

    fn len(&self) -> usize {
        // Either end may be the caller's own; the other may be seen late.
        let tail = self.tail.load(Ordering::Relaxed);
        tail.saturating_sub(self.head.load(Ordering::Relaxed))
    }
}

pub(super) struct ArrayQueue<T> {
    slots: Slots<T>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    pub fn new(capacity: usize) -> ArrayQueue<T> {
        ArrayQueue { slots: Slots::new(), capacity }
    }

    pub fn push(&self, value: T) -> Result<(), T> {
        let (tail, head) = (self.slots.tail.load(Ordering::Relaxed), self.slots.head.load(Ordering::Acquire));
        if tail - head == self.capacity {
            return Err(value);
        }
        self.slots.push(value);
        Ok(())
    }

    pub fn pop(&self) -> Option<T> {
        self.slots.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.capacity
    }
}

pub(super) struct SegQueue<T>(Slots<T>);

impl<T> Default for SegQueue<T> {
    fn default() -> Self {
        SegQueue(Slots::new())
    }
}

impl<T> SegQueue<T> {
    pub fn new() -> SegQueue<T> {
        SegQueue::default()
    }

    pub fn push(&self, value: T) {
        self.0.push(value);
    }

    pub fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}
