//! What happens next: events in the order of their time, and of their making where times are equal.

use super::net::{DialId, Socket, StreamId};
use std::cmp::Reverse;
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
    /// Somebody's turn may be due, whether or not anything has happened.
    Deadline {
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
    /// A connection breaks.
    Cut {
        stream: StreamId,
    },
    /// Clients fall silent until then.
    Hush {
        until: u64,
    },
    /// A server goes the way of another one.
    Fall {
        server: usize,
    },
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

/// Ordered by time, then by when it was made; the event itself lies aside, so that little is moved about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    number: u32,
    slot: u32,
}

/// Time in microseconds since the simulation began.
#[derive(Default)]
pub struct Agenda {
    now: u64,
    number: u32,
    heap: BinaryHeap<Reverse<Entry>>,
    events: Vec<Event>,
    free: Vec<u32>,
}

impl Agenda {
    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn at(&mut self, at: u64, event: Event) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.events[slot as usize] = event;
                slot
            }
            None => {
                self.events.push(event);
                (self.events.len() - 1) as u32
            }
        };
        self.number = self.number.checked_add(1).expect("a simulation has fewer than 2^32 events");
        self.heap.push(Reverse(Entry { at: at.max(self.now), number: self.number, slot }));
    }

    pub fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + micros, event);
    }

    /// The next event; time goes on to it.
    pub fn next(&mut self) -> Option<Event> {
        let Reverse(Entry { at, slot, .. }) = self.heap.pop()?;
        self.now = at;
        self.free.push(slot);
        Some(self.events[slot as usize])
    }
}
