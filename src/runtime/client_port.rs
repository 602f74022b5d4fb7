//! Another client port for a worker that runs: put down by whoever opened it, taken by the worker's core.

use super::lanes::Doorbell;
use parking_lot::Mutex;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a core should do about its client port.
#[derive(Debug)]
pub enum PortChange {
    /// New clients are refused; connections stay.
    Close,
    Listen(TcpListener),
}

/// Where changes are put down for one core; the last one counts.
#[derive(Clone, Debug, Default)]
pub struct PortSlot(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    is_filled: AtomicBool,
    change: Mutex<Option<PortChange>>,
}

impl PortSlot {
    /// `doorbell`: of the worker on that core.
    pub fn put(&self, change: PortChange, doorbell: &Doorbell) {
        *self.0.change.lock() = Some(change);
        self.0.is_filled.store(true, Ordering::Release);
        doorbell.ring();
    }

    pub(super) fn is_filled(&self) -> bool {
        self.0.is_filled.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<PortChange> {
        if !self.is_filled() {
            return None;
        }
        self.0.is_filled.store(false, Ordering::Relaxed);
        self.0.change.lock().take()
    }
}
