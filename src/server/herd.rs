//! A change that many watch wakes a herd: all of them are told, and most ask at once for what has changed. Whoever is not of it
//! would wait behind all of that. So each turn tells only some of a herd, and carries out the next requests of only some, behind
//! everybody else's.
//!
//! The order rule (`deliver.rs`) holds: events stand in the outputs of their connections before the version that they tell of is
//! read, whenever they are sent; and what waited is answered from a version that is newer than its coming.

use super::connection::Phase;
use super::worker::Worker;
use crate::runtime::core::SocketAction;
use crate::tree::View;
use crate::types::{ConnId, Instant};
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Herd {
    /// Connections with nothing but events to send, so far: those that waited longest first.
    told: VecDeque<ConnId>,
    /// What connections of a herd have sent since they were told, and when it came.
    waiting: VecDeque<(ConnId, Vec<u8>, Instant)>,
}

impl Herd {
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.waiting.is_empty()
    }
}

impl Worker {
    /// As `mark_dirty`, for an event that `count` connections get.
    pub(super) fn mark_told(&mut self, id: ConnId, count: usize) {
        let is_herd = count > self.rules.herd_in_a_turn_max;
        let Some(conn) = self.get_mut(id) else { return };
        conn.of_herd |= is_herd;
        if !conn.dirty && !conn.told {
            conn.told = true;
            self.herd.told.push_back(id);
        }
    }

    /// Puts off what a connection of a herd has sent; gives it back if it is of none.
    pub(super) fn put_off(&mut self, id: ConnId, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let now = self.now.mono;
        match self.get_mut(id) {
            Some(conn) if conn.of_herd && conn.phase != Phase::Ending => {
                conn.of_herd = false;
                conn.heard(now);
            }
            _ => return Some(bytes),
        }
        self.herd.waiting.push_back((id, bytes, now));
        None
    }

    /// Carries out some of what was put off, when everybody is told.
    pub(super) fn herd_goes_on(&mut self, view: View<'_>, actions: &mut Vec<SocketAction>) {
        if !self.herd.told.is_empty() {
            return;
        }
        for _ in 0..self.rules.herd_in_a_turn_max {
            let Some((id, bytes, since)) = self.herd.waiting.pop_front() else { break };
            self.arrived = since;
            self.received(id, bytes, view, actions);
        }
        self.arrived = self.now.mono;
    }

    /// Some of those with nothing but events are to be sent to now.
    pub(super) fn tell_herd(&mut self) {
        for _ in 0..self.rules.herd_in_a_turn_max {
            let Some(id) = self.herd.told.pop_front() else { break };
            if let Some(conn) = self.get_mut(id) {
                conn.told = false;
                self.mark_dirty(id);
            }
        }
    }
}
