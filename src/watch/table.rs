//! Who watches what: a watch is a connection's modes on one side of one path. Made for many watches: a path's text
//! is held once, a watch is one 28-byte record in a dense array, chained into the list of its path's side and
//! into the list of its connection, and found through an index that holds its number and 4 bytes of its hash.
//!
//! ```text
//! paths:   "/a" → [data: first,last | child: first,last]
//!                      ╰→ watch ⇄ watch ⇄ watch        in the order of registration
//! conns:   conn → first,last ⇄ watch ⇄ watch           likewise
//! index:   hash(path, side, conn) → watch
//! ```
//!
//! Invariants: a watch is in exactly one list of a path, one list of a connection, and in the index; a path is kept
//! while one of its lists is not empty, a connection until it is dropped. Lists keep the order of registration, so
//! that the same input gives the same output; the indexes are never iterated.

use super::mode::{Modes, Side};
use crate::types::ConnId;
use hashbrown::HashTable;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// No slot: end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// One side of one path: the slot of the path, and the side in the lowest bit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot(u32);

impl Spot {
    pub fn new(path: u32, side: Side) -> Spot {
        Spot(path << 1 | side as u32)
    }

    fn path(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn side(self) -> usize {
        (self.0 & 1) as usize
    }
}

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub first: u32,
    last: u32,
}

impl Ends {
    const EMPTY: Ends = Ends { first: NONE, last: NONE };
}

/// Lists a watch is in.
#[derive(Clone, Copy)]
enum Chain {
    OfSpot = 0,
    OfConn = 1,
}

pub(super) struct Watch {
    spot: Spot,
    pub conn: u32,
    links: [Link; 2],
    pub modes: Modes,
}

struct Path {
    /// `None` only in a free slot.
    text: Option<Arc<str>>,
    sides: [Ends; 2],
}

pub(super) struct Conn {
    pub id: ConnId,
    watches: Ends,
    /// How many of them are on the data side.
    data_watches: u32,
    /// Number of the last event this connection was considered for; see `trigger.rs`.
    pub considered: u64,
}

/// A dense array whose freed slots are used again, last freed first.
struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    fn new() -> Slab<T> {
        Slab { items: Vec::new(), free: Vec::new() }
    }

    fn insert(&mut self, item: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.items[slot as usize] = item;
            return slot;
        }
        let slot = u32::try_from(self.items.len()).expect("fewer than 2^31 watches in a shard");
        assert!(slot < NONE >> 1, "a path slot and a side share 32 bits");
        self.items.push(item);
        slot
    }

    fn used(&self) -> usize {
        self.items.len() - self.free.len()
    }
}

/// Slots by hash. The hash is kept beside the slot, so that growing touches nothing else.
struct Index(HashTable<(u32, u32)>);

impl Index {
    fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let found = self.0.find(spread(hash), |(kept, slot)| *kept == hash && is(*slot));
        found.map(|(_, slot)| *slot)
    }

    fn insert(&mut self, hash: u32, slot: u32) {
        self.0.insert_unique(spread(hash), (hash, slot), |(kept, _)| spread(*kept));
    }

    fn remove(&mut self, hash: u32, slot: u32) {
        let entry =
            self.0.find_entry(spread(hash), |(_, kept)| *kept == slot).expect("what is in a list is in the index");
        entry.remove();
    }
}

/// `hashbrown` takes the bucket from the low bits and a tag from the top ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Hash of numbers that are ours: slots and connections.
fn mixed(number: u64) -> u32 {
    let product = u128::from(number ^ 0x2d35_8dcc_aa6c_78a5) * 0x9e37_79b9_7f4a_7c15;
    ((product >> 64) as u64 ^ product as u64) as u32
}

pub(super) struct Table {
    paths: Slab<Path>,
    conns: Slab<Conn>,
    watches: Slab<Watch>,
    path_index: Index,
    conn_index: Index,
    watch_index: Index,
    hash_seed: u64,
    /// Watches with the recursive mode.
    pub recursive_count: usize,
    pub data_watches: usize,
    pub data_paths: usize,
    pub data_conns: usize,
}

impl Table {
    pub fn new(hash_seed: u64) -> Table {
        Table {
            paths: Slab::new(),
            conns: Slab::new(),
            watches: Slab::new(),
            path_index: Index(HashTable::new()),
            conn_index: Index(HashTable::new()),
            watch_index: Index(HashTable::new()),
            hash_seed,
            recursive_count: 0,
            data_watches: 0,
            data_paths: 0,
            data_conns: 0,
        }
    }

    /// Entries of both sides.
    pub fn watch_count(&self) -> usize {
        self.watches.used()
    }

    /// Paths are the clients' choice: without the seed nobody can make them collide.
    fn path_hash(&self, text: &str) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.hash_seed);
        hasher.write(text.as_bytes());
        let hash = hasher.finish();
        (hash >> 32) as u32 ^ hash as u32
    }

    fn watch_hash(spot: Spot, conn: u32) -> u32 {
        mixed(u64::from(spot.0) << 32 | u64::from(conn))
    }

    fn find_path_hashed(&self, hash: u32, text: &str) -> Option<u32> {
        let paths = &self.paths.items;
        self.path_index.find(hash, |slot| paths[slot as usize].text.as_deref() == Some(text))
    }

    pub fn find_path(&self, text: &str) -> Option<u32> {
        self.find_path_hashed(self.path_hash(text), text)
    }

    /// The slot of a path, made if nobody watches it yet; the caller puts a watch on it.
    pub fn path_slot(&mut self, text: &str) -> u32 {
        let hash = self.path_hash(text);
        self.find_path_hashed(hash, text).unwrap_or_else(|| {
            let slot = self.paths.insert(Path { text: Some(text.into()), sides: [Ends::EMPTY; 2] });
            self.path_index.insert(hash, slot);
            slot
        })
    }

    /// Text of a path that somebody watches.
    pub fn path_text(&self, slot: u32) -> &Arc<str> {
        let text = &self.paths.items[slot as usize].text;
        text.as_ref().expect("a watched path has a text")
    }

    pub fn find_conn(&self, id: ConnId) -> Option<u32> {
        let conns = &self.conns.items;
        self.conn_index.find(mixed(id.0), |slot| conns[slot as usize].id == id)
    }

    pub fn conn_slot(&mut self, id: ConnId) -> u32 {
        self.find_conn(id).unwrap_or_else(|| {
            let slot = self.conns.insert(Conn { id, watches: Ends::EMPTY, data_watches: 0, considered: 0 });
            self.conn_index.insert(mixed(id.0), slot);
            slot
        })
    }

    pub fn conn(&mut self, slot: u32) -> &mut Conn {
        &mut self.conns.items[slot as usize]
    }

    pub fn watch(&self, slot: u32) -> &Watch {
        &self.watches.items[slot as usize]
    }

    pub fn find_watch(&self, spot: Spot, conn: u32) -> Option<u32> {
        let watches = &self.watches.items;
        self.watch_index.find(Self::watch_hash(spot, conn), |slot| {
            let watch = &watches[slot as usize];
            watch.spot == spot && watch.conn == conn
        })
    }

    /// First watch on one side of a path; the slot may be a path that nobody watches any more.
    pub fn first_at(&self, spot: Spot) -> u32 {
        self.paths.items[spot.path()].sides[spot.side()].first
    }

    pub fn next_at(&self, watch: u32) -> u32 {
        self.watch(watch).links[Chain::OfSpot as usize].next
    }

    fn first_of(&self, conn: u32) -> u32 {
        self.conns.items[conn as usize].watches.first
    }

    fn next_of(&self, watch: u32) -> u32 {
        self.watch(watch).links[Chain::OfConn as usize].next
    }

    /// Adds modes to what `conn` holds there.
    pub fn add(&mut self, spot: Spot, conn: u32, modes: Modes) {
        let (slot, had) = match self.find_watch(spot, conn) {
            Some(slot) => (slot, Some(self.watch(slot).modes)),
            None => (self.insert(spot, conn, modes), None),
        };
        let has = had.map_or(modes, |had| had.or(modes));
        self.watches.items[slot as usize].modes = has;
        self.count_recursive(had, Some(has));
    }

    /// Takes modes away; a watch without any is gone.
    pub fn take(&mut self, watch: u32, modes: Modes) {
        let had = self.watch(watch).modes;
        let has = had.without(modes);
        self.count_recursive(Some(had), has);
        match has {
            Some(has) => self.watches.items[watch as usize].modes = has,
            None => self.remove(watch),
        }
    }

    fn count_recursive(&mut self, had: Option<Modes>, has: Option<Modes>) {
        let is = |modes: Option<Modes>| modes.is_some_and(|modes| modes.meets(Modes::RECURSIVE));
        match (is(had), is(has)) {
            (false, true) => self.recursive_count += 1,
            (true, false) => self.recursive_count -= 1,
            _ => {}
        }
    }

    fn insert(&mut self, spot: Spot, conn: u32, modes: Modes) -> u32 {
        let unlinked = Link { prev: NONE, next: NONE };
        let slot = self.watches.insert(Watch { spot, conn, links: [unlinked; 2], modes });
        self.watch_index.insert(Self::watch_hash(spot, conn), slot);
        let watches = &mut self.watches.items;
        let owner = &mut self.conns.items[conn as usize];
        let ends = &mut self.paths.items[spot.path()].sides[spot.side()];
        if spot.side() == Side::Data as usize {
            self.data_watches += 1;
            self.data_paths += usize::from(ends.first == NONE);
            self.data_conns += usize::from(owner.data_watches == 0);
            owner.data_watches += 1;
        }
        append(watches, ends, Chain::OfSpot, slot);
        append(watches, &mut owner.watches, Chain::OfConn, slot);
        slot
    }

    fn remove(&mut self, slot: u32) {
        let Watch { spot, conn, .. } = *self.watch(slot);
        self.watch_index.remove(Self::watch_hash(spot, conn), slot);
        let watches = &mut self.watches.items;
        let owner = &mut self.conns.items[conn as usize];
        let path = &mut self.paths.items[spot.path()];
        unlink(watches, &mut path.sides[spot.side()], Chain::OfSpot, slot);
        unlink(watches, &mut owner.watches, Chain::OfConn, slot);
        if spot.side() == Side::Data as usize {
            owner.data_watches -= 1;
            self.data_watches -= 1;
            self.data_conns -= usize::from(owner.data_watches == 0);
            self.data_paths -= usize::from(path.sides[spot.side()].first == NONE);
        }
        self.watches.free.push(slot);
        if path.sides.iter().all(|ends| ends.first == NONE) {
            let text = path.text.take().expect("a watched path has a text");
            let path = spot.path() as u32;
            self.path_index.remove(self.path_hash(&text), path);
            self.paths.free.push(path);
        }
    }

    /// Forgets a connection with all its watches.
    pub fn drop_conn(&mut self, conn: u32) {
        let mut next = self.first_of(conn);
        while next != NONE {
            let watch = next;
            next = self.next_of(watch);
            self.take(watch, Modes::ANY);
        }
        let id = self.conns.items[conn as usize].id;
        self.conn_index.remove(mixed(id.0), conn);
        self.conns.free.push(conn);
    }

    /// Paths with watches on the data side, and the watches.
    pub fn paths_watched(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = ConnId>)> {
        let watched = self.paths.items.iter().filter_map(|path| {
            let first = path.sides[Side::Data as usize].first;
            let text = path.text.as_deref()?;
            (first != NONE).then_some((text, first))
        });
        watched.map(|(text, first)| {
            let watches = chain(first, |watch| self.next_at(watch));
            let ids = watches.map(|watch| self.conns.items[self.watch(watch).conn as usize].id);
            (text, ids)
        })
    }

    /// Connections with watches on the data side, and the paths.
    pub fn conns_watching(&self) -> impl Iterator<Item = (ConnId, impl Iterator<Item = &str>)> {
        let watching = self.conns.items.iter().filter(|conn| conn.data_watches > 0);
        watching.map(|conn| {
            let watches = chain(conn.watches.first, |watch| self.next_of(watch));
            let spots = watches.map(|watch| self.watch(watch).spot);
            let data = spots.filter(|spot| spot.side() == Side::Data as usize);
            (conn.id, data.map(|spot| &**self.path_text(spot.path() as u32)))
        })
    }
}

fn chain(first: u32, next: impl Fn(u32) -> u32) -> impl Iterator<Item = u32> {
    let some = |slot| (slot != NONE).then_some(slot);
    std::iter::successors(some(first), move |slot| some(next(*slot)))
}

fn append(watches: &mut [Watch], ends: &mut Ends, chain: Chain, slot: u32) {
    let chain = chain as usize;
    watches[slot as usize].links[chain] = Link { prev: ends.last, next: NONE };
    match ends.last {
        NONE => ends.first = slot,
        last => watches[last as usize].links[chain].next = slot,
    }
    ends.last = slot;
}

fn unlink(watches: &mut [Watch], ends: &mut Ends, chain: Chain, slot: u32) {
    let chain = chain as usize;
    let Link { prev, next } = watches[slot as usize].links[chain];
    match prev {
        NONE => ends.first = next,
        prev => watches[prev as usize].links[chain].next = next,
    }
    match next {
        NONE => ends.last = prev,
        next => watches[next as usize].links[chain].prev = prev,
    }
}

const _: () = assert!(size_of::<Watch>() == 28);
const _: () = assert!(size_of::<Path>() == 32);
const _: () = assert!(size_of::<Conn>() == 32);
