//! What threads share, under one name each. `models/sync.rs` has the same names made by a model checker, so that the
//! very sources of `alarm`, `lanes` and `ready` are proved, not copies of them.

pub(super) use crossbeam::queue::{ArrayQueue, SegQueue};
pub(super) use parking_lot::Mutex;
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
