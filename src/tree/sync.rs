//! What `reclaim` shares between threads. `models/sync.rs` has the same names made by a model checker.

pub(super) use crossbeam::epoch;
pub(super) use std::sync::atomic::{AtomicBool, Ordering};
