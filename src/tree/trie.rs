//! A persistent hash trie: 64-way, bitmap-compressed, edited in place where the writer owns the branch and
//! copied elsewhere. It holds pointers to records of one kind (znodes by name, ACLs by key, …).
//!
//! ```text
//! slot:   0 = empty | pointer to a record | pointer to a branch, lowest bit set
//! branch: birth u64 | bitmap u64 | one slot per set bit
//! ```
//!
//! Six bits of the key's hash choose the slot of a level; after ten levels the key is hashed again with another
//! round number, so equal hashes need no special case. A branch never holds a single record alone
//! (removal collapses it), so equal contents mean equal shape.

mod build;
mod walk;

pub(super) use build::{Seed, build, sort};
pub(super) use walk::{Step, Walk};

use super::memory;
use super::reclaim::{Reclaim, VersionNumber};
use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::ptr;

/// Seeded so that nobody outside can choose names that collide.
pub(super) type HashSeed = foldhash::quality::FixedState;

/// Empty trie, or an empty place in a branch.
pub(super) const EMPTY: Slot = Slot(ptr::null_mut());

const BITS_PER_LEVEL: u32 = 6;
const LEVELS_PER_ROUND: u32 = 10;

/// What a trie holds. A record is found by its key and freed alone, without what it points to.
pub(super) trait Record: Sized {
    type Key: ?Sized + std::hash::Hash + Eq;
    /// # Safety
    /// `this` points to a live record.
    unsafe fn key<'a>(this: *const Self) -> &'a Self::Key;
    /// # Safety
    /// `this` points to a live record.
    unsafe fn birth(this: *const Self) -> VersionNumber;
    /// # Safety
    /// `this` was made by this kind's constructor and is not used afterwards.
    unsafe fn free(this: *mut ());
    /// Frees everything below the record whose birth is at least `since`; not the record itself.
    ///
    /// # Safety
    /// Nothing reads the freed records afterwards.
    unsafe fn free_below(_this: *mut Self, _since: VersionNumber) {}
}

/// Tagged pointer; see the drawing above.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(*mut u8);

impl Slot {
    pub fn of<R>(record: *mut R) -> Slot {
        debug_assert_eq!(record.addr() & 1, 0);
        Slot(record.cast())
    }

    fn of_branch(branch: *mut Branch) -> Slot {
        Slot(branch.cast::<u8>().map_addr(|a| a | 1))
    }

    pub fn is_empty(self) -> bool {
        self.0.is_null()
    }

    fn is_branch(self) -> bool {
        self.0.addr() & 1 == 1
    }

    fn branch(self) -> *mut Branch {
        self.0.map_addr(|a| a & !1).cast()
    }

    pub fn record<R>(self) -> *mut R {
        self.0.cast()
    }
}

#[repr(C)]
struct Branch {
    birth: VersionNumber,
    bitmap: u64,
}

impl Branch {
    const fn bytes(slots: usize) -> usize {
        size_of::<Branch>() + slots * size_of::<Slot>()
    }

    unsafe fn new(birth: VersionNumber, bitmap: u64) -> *mut Branch {
        let branch = memory::take(Branch::bytes(bitmap.count_ones() as usize)).cast::<Branch>();
        unsafe { branch.write(Branch { birth, bitmap }) };
        branch
    }

    unsafe fn slots(this: *mut Branch) -> *mut Slot {
        unsafe { this.add(1).cast() }
    }

    unsafe fn count(this: *mut Branch) -> usize {
        unsafe { (*this).bitmap.count_ones() as usize }
    }

    /// Position of `bit`'s slot, present or not.
    unsafe fn position(this: *mut Branch, bit: u64) -> usize {
        unsafe { ((*this).bitmap & (bit - 1)).count_ones() as usize }
    }

    unsafe fn free(this: *mut ()) {
        let branch = this.cast::<Branch>();
        unsafe { memory::give_back(branch.cast(), Branch::bytes(Branch::count(branch))) };
    }

    unsafe fn retire(this: *mut Branch, reclaim: &mut Reclaim) {
        unsafe { reclaim.retire(this.cast(), (*this).birth, Branch::free) };
    }

    /// This branch if the writer owns it, else a copy; the old one is retired.
    unsafe fn owned(this: *mut Branch, reclaim: &mut Reclaim) -> *mut Branch {
        unsafe {
            if reclaim.owns((*this).birth) {
                return this;
            }
            let copy = Branch::new(reclaim.birth, (*this).bitmap);
            ptr::copy_nonoverlapping(Branch::slots(this), Branch::slots(copy), Branch::count(this));
            Branch::retire(this, reclaim);
            copy
        }
    }

    /// A branch like this one with `slot` added at `bit`; the old one is retired.
    unsafe fn with(this: *mut Branch, bit: u64, slot: Slot, reclaim: &mut Reclaim) -> *mut Branch {
        unsafe {
            let (count, at) = (Branch::count(this), Branch::position(this, bit));
            let grown = Branch::new(reclaim.birth, (*this).bitmap | bit);
            let (from, to) = (Branch::slots(this), Branch::slots(grown));
            ptr::copy_nonoverlapping(from, to, at);
            to.add(at).write(slot);
            ptr::copy_nonoverlapping(from.add(at), to.add(at + 1), count - at);
            Branch::retire(this, reclaim);
            grown
        }
    }

    /// A branch like this one without `bit`; the old one is retired.
    unsafe fn without(this: *mut Branch, bit: u64, reclaim: &mut Reclaim) -> *mut Branch {
        unsafe {
            let (count, at) = (Branch::count(this), Branch::position(this, bit));
            let shrunk = Branch::new(reclaim.birth, (*this).bitmap & !bit);
            let (from, to) = (Branch::slots(this), Branch::slots(shrunk));
            ptr::copy_nonoverlapping(from, to, at);
            ptr::copy_nonoverlapping(from.add(at + 1), to.add(at), count - at - 1);
            Branch::retire(this, reclaim);
            shrunk
        }
    }
}

/// The bits of a key's hash, handed out level by level.
struct Bits<'a, K: ?Sized> {
    key: &'a K,
    seed: &'a HashSeed,
    round: u32,
    /// Bits of this round's hash that are used up.
    used: u32,
    hash: u64,
}

impl<'a, K: ?Sized + std::hash::Hash> Bits<'a, K> {
    fn new(key: &'a K, seed: &'a HashSeed) -> Self {
        Bits { key, seed, round: 0, used: 0, hash: seed.hash_one(key) }
    }

    fn at_level(key: &'a K, seed: &'a HashSeed, level: u32) -> Self {
        let mut bits = Bits::new(key, seed);
        for _ in 0..level {
            bits.next();
        }
        bits
    }

    /// How many levels the bits so far have chosen slots on.
    fn level(&self) -> u32 {
        self.round * LEVELS_PER_ROUND + self.used / BITS_PER_LEVEL
    }

    /// The bit that chooses the slot on the current level; moves to the next.
    fn next(&mut self) -> u64 {
        if self.used == LEVELS_PER_ROUND * BITS_PER_LEVEL {
            self.round += 1;
            self.used = 0;
            self.hash = self.seed.hash_one((self.round, self.key));
        }
        let bit = 1 << ((self.hash >> self.used) & 63);
        self.used += BITS_PER_LEVEL;
        bit
    }
}

/// Finds a record; null if there is none.
///
/// # Safety
/// `root` is a trie of `R` whose records stay alive during the call.
pub(super) unsafe fn get<R: Record>(root: Slot, key: &R::Key, seed: &HashSeed) -> *mut R {
    let mut slot = root;
    if slot.is_branch() {
        let mut bits = Bits::new(key, seed);
        while slot.is_branch() {
            let (branch, bit) = (slot.branch(), bits.next());
            unsafe {
                if (*branch).bitmap & bit == 0 {
                    return ptr::null_mut();
                }
                slot = *Branch::slots(branch).add(Branch::position(branch, bit));
            }
        }
    }
    let record = slot.record::<R>();
    if !record.is_null() && unsafe { R::key(record) } == key { record } else { ptr::null_mut() }
}

/// The place that holds `key`'s record, on a path the writer owns; `None` if there is no such record.
///
/// # Safety
/// As `get`; `root` is reachable from the head alone once this returns.
pub(super) unsafe fn place_of<R: Record>(
    root: *mut Slot,
    key: &R::Key,
    seed: &HashSeed,
    reclaim: &mut Reclaim,
) -> Option<*mut Slot> {
    let mut place = root;
    let mut bits = Bits::new(key, seed);
    unsafe {
        while (*place).is_branch() {
            let branch = Branch::owned((*place).branch(), reclaim);
            *place = Slot::of_branch(branch);
            let bit = bits.next();
            if (*branch).bitmap & bit == 0 {
                return None;
            }
            place = Branch::slots(branch).add(Branch::position(branch, bit));
        }
        let found = !(*place).is_empty() && R::key((*place).record::<R>()) == key;
        found.then_some(place)
    }
}

/// Adds a record; false if its key is there already, then the record stays the caller's.
///
/// # Safety
/// As `place_of`; the trie takes `record` over.
pub(super) unsafe fn insert<R: Record>(
    root: *mut Slot,
    record: *mut R,
    seed: &HashSeed,
    reclaim: &mut Reclaim,
) -> bool {
    unsafe { insert_at(root, record, Bits::new(R::key(record), seed), reclaim) }
}

/// `insert` into the part of a trie that hangs at `place`, on the level that `bits` have come to.
unsafe fn insert_at<R: Record>(
    mut place: *mut Slot,
    record: *mut R,
    mut bits: Bits<'_, R::Key>,
    reclaim: &mut Reclaim,
) -> bool {
    unsafe {
        let (key, seed) = (bits.key, bits.seed);
        while (*place).is_branch() {
            let branch = (*place).branch();
            let bit = bits.next();
            if (*branch).bitmap & bit == 0 {
                *place = Slot::of_branch(Branch::with(branch, bit, Slot::of(record), reclaim));
                return true;
            }
            let branch = Branch::owned(branch, reclaim);
            *place = Slot::of_branch(branch);
            place = Branch::slots(branch).add(Branch::position(branch, bit));
        }
        if (*place).is_empty() {
            *place = Slot::of(record);
            return true;
        }
        let other = (*place).record::<R>();
        if R::key(other) == key {
            return false;
        }
        let mut other_bits = Bits::at_level(R::key(other), seed, bits.level());
        loop {
            let (bit, other_bit) = (bits.next(), other_bits.next());
            let branch = Branch::new(reclaim.birth, bit | other_bit);
            *place = Slot::of_branch(branch);
            if bit != other_bit {
                Branch::slots(branch).add(Branch::position(branch, bit)).write(Slot::of(record));
                Branch::slots(branch).add(Branch::position(branch, other_bit)).write(Slot::of(other));
                return true;
            }
            place = Branch::slots(branch);
        }
    }
}

/// Takes a record out; it must be there. The caller retires it.
///
/// # Safety
/// As `place_of`.
pub(super) unsafe fn remove<R: Record>(
    root: *mut Slot,
    key: &R::Key,
    seed: &HashSeed,
    reclaim: &mut Reclaim,
) -> *mut R {
    unsafe { remove_at::<R>(root, &mut Bits::new(key, seed), reclaim) }
}

unsafe fn remove_at<R: Record>(place: *mut Slot, bits: &mut Bits<'_, R::Key>, reclaim: &mut Reclaim) -> *mut R {
    unsafe {
        if !(*place).is_branch() {
            let record = (*place).record::<R>();
            assert!(!record.is_null() && R::key(record) == bits.key, "the caller looked the record up");
            *place = EMPTY;
            return record;
        }
        let branch = Branch::owned((*place).branch(), reclaim);
        *place = Slot::of_branch(branch);
        let bit = bits.next();
        assert!((*branch).bitmap & bit != 0, "the caller looked the record up");
        let below = Branch::slots(branch).add(Branch::position(branch, bit));
        let record = remove_at::<R>(below, bits, reclaim);
        match (Branch::count(branch), (*below).is_empty()) {
            // A branch made only to separate two records that share bits.
            (1, _) => {
                *place = *below;
                if !(*below).is_branch() {
                    Branch::retire(branch, reclaim);
                } else {
                    *place = Slot::of_branch(branch);
                }
            }
            (2, true) => {
                let kept = *Branch::slots(branch).add(1 - Branch::position(branch, bit));
                if !kept.is_branch() {
                    *place = kept;
                    Branch::retire(branch, reclaim);
                } else {
                    *place = Slot::of_branch(Branch::without(branch, bit, reclaim));
                }
            }
            (_, true) => *place = Slot::of_branch(Branch::without(branch, bit, reclaim)),
            (_, false) => {}
        }
        record
    }
}

/// Frees every branch and record of the trie whose birth is at least `since`, and what they point to. An older
/// branch has nothing younger below it, since a change copies the whole path.
///
/// # Safety
/// Nothing reads the freed records afterwards.
pub(super) unsafe fn free_since<R: Record>(slot: Slot, since: VersionNumber) {
    unsafe {
        if slot.is_empty() {
        } else if slot.is_branch() {
            let branch = slot.branch();
            if (*branch).birth >= since {
                for index in 0..Branch::count(branch) {
                    free_since::<R>(*Branch::slots(branch).add(index), since);
                }
                Branch::free(branch.cast());
            }
        } else {
            let record = slot.record::<R>();
            if R::birth(record) >= since {
                R::free_below(record, since);
                R::free(record.cast());
            }
        }
    }
}

/// Retires every branch of the trie; the records are the caller's, who sees each of them before.
///
/// # Safety
/// As `place_of`; the trie is dropped from the head.
pub(super) unsafe fn retire_branches(slot: Slot, reclaim: &mut Reclaim) {
    unsafe {
        if slot.is_branch() {
            let branch = slot.branch();
            for index in 0..Branch::count(branch) {
                retire_branches(*Branch::slots(branch).add(index), reclaim);
            }
            Branch::retire(branch, reclaim);
        }
    }
}

/// All records of a trie, in hash order.
pub(super) struct Iter<'a, R> {
    path: Vec<(*mut Branch, usize)>,
    single: *mut R,
    lifetime: PhantomData<&'a R>,
}

/// # Safety
/// The records stay alive for `'a`.
pub(super) unsafe fn iter<'a, R: Record>(root: Slot) -> Iter<'a, R> {
    let mut iter = Iter { path: Vec::new(), single: ptr::null_mut(), lifetime: PhantomData };
    if root.is_branch() {
        iter.path.push((root.branch(), 0));
    } else {
        iter.single = root.record();
    }
    iter
}

impl<R: Record> Iter<'_, R> {
    /// The next record as it hangs in the trie, for who is to free it: a reference would not allow that.
    pub fn next_record(&mut self) -> Option<*mut R> {
        if !self.single.is_null() {
            return Some(std::mem::replace(&mut self.single, ptr::null_mut()));
        }
        loop {
            let (branch, index) = self.path.last_mut()?;
            // SAFETY: alive by the contract of `iter`.
            unsafe {
                if *index == Branch::count(*branch) {
                    self.path.pop();
                    continue;
                }
                let slot = *Branch::slots(*branch).add(*index);
                *index += 1;
                if slot.is_branch() {
                    self.path.push((slot.branch(), 0));
                } else {
                    return Some(slot.record::<R>());
                }
            }
        }
    }
}

impl<'a, R: Record> Iterator for Iter<'a, R> {
    type Item = &'a R;

    fn next(&mut self) -> Option<&'a R> {
        // SAFETY: alive for 'a by the contract of `iter`.
        self.next_record().map(|record| unsafe { &*record })
    }
}
