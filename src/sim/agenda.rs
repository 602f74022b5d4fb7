//! What happens next: events in the order of their time, and of their making where times are equal.

use super::net::{DialId, Socket};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Who takes turns in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Ensemble,
    Worker(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Turn {
        server: usize,
        life: u64,
        actor: Actor,
    },
    Flushed {
        server: usize,
        life: u64,
    },
    Background {
        server: usize,
        life: u64,
    },
    Arrive {
        socket: Socket,
    },
    Sent {
        socket: Socket,
    },
    Dial {
        dial: DialId,
    },
    Client {
        client: usize,
    },
    Restart {
        server: usize,
    },
    /// Something is to go wrong.
    Fault,
    /// The partition of this number ends.
    Join {
        partition: u64,
    },
    /// The disk of a server is as it was: fast, and not full.
    DiskWell {
        server: usize,
    },
    /// Nothing goes wrong any more.
    Heal,
    /// Have all servers come together?
    Look,
}

struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap gives the greatest first.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Time in microseconds since the simulation began.
#[derive(Default)]
pub struct Agenda {
    now: u64,
    number: u64,
    heap: BinaryHeap<Entry>,
}

impl Agenda {
    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.heap.push(Entry { at: at.max(self.now), number: self.number, event });
    }

    pub fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + micros, event);
    }

    /// The next event; time goes on to it.
    pub fn next(&mut self) -> Option<Event> {
        let Entry { at, event, .. } = self.heap.pop()?;
        self.now = at;
        Some(event)
    }
}
