//! A trie made of many records at once, as a snapshot is loaded.

use super::{BITS_PER_LEVEL, Bits, Branch, EMPTY, HashSeed, LEVELS_PER_ROUND, Record, Slot, insert_at};
use crate::tree::reclaim::Reclaim;
use std::hash::BuildHasher;

/// A record that waits to be built into a trie with others.
pub(in crate::tree) struct Seed<R> {
    /// The hash with its bits reversed: sorted by it, records that share a path stand together on every level.
    order: u64,
    pub record: *mut R,
}

impl<R: Record> Seed<R> {
    /// # Safety
    /// `record` is alive.
    pub unsafe fn new(record: *mut R, seed: &HashSeed) -> Seed<R> {
        Seed { order: seed.hash_one(unsafe { R::key(record) }).reverse_bits(), record }
    }

    /// What chooses the slot on a level of the first round.
    fn digit(&self, level: u32) -> u32 {
        let bits = (self.order >> (u64::BITS - BITS_PER_LEVEL * (level + 1))) as u32;
        (bits & 63).reverse_bits() >> (u32::BITS - BITS_PER_LEVEL)
    }

    /// Whether the first round does not tell the two apart.
    fn collides_with(&self, other: &Seed<R>) -> bool {
        (self.order ^ other.order) >> (u64::BITS - BITS_PER_LEVEL * LEVELS_PER_ROUND) == 0
    }
}

/// Sorts what is to be built; false if a key is there twice.
///
/// # Safety
/// The records are alive.
pub(in crate::tree) unsafe fn sort<R: Record>(seeds: &mut [Seed<R>]) -> bool {
    seeds.sort_unstable_by_key(|seed| seed.order);
    let is_twice = |at: usize| {
        let later = seeds[at + 1..].iter().take_while(|later| later.collides_with(&seeds[at]));
        // SAFETY: alive by the contract.
        unsafe { later.into_iter().any(|later| R::key(later.record) == R::key(seeds[at].record)) }
    };
    !(0..seeds.len()).any(is_twice)
}

/// The trie of all these records, each branch made once and in its final size.
///
/// # Safety
/// The seeds went through `sort`, and no trie holds their records yet.
pub(in crate::tree) unsafe fn build<R: Record>(seeds: &[Seed<R>], seed: &HashSeed, reclaim: &mut Reclaim) -> Slot {
    unsafe { build_level(seeds, 0, seed, reclaim) }
}

unsafe fn build_level<R: Record>(seeds: &[Seed<R>], level: u32, seed: &HashSeed, reclaim: &mut Reclaim) -> Slot {
    unsafe {
        match seeds {
            [] => return EMPTY,
            [only] => return Slot::of(only.record),
            _ if level == LEVELS_PER_ROUND => {
                let mut slot = EMPTY;
                for Seed { record, .. } in seeds {
                    let bits = Bits::at_level(R::key(*record), seed, level);
                    assert!(insert_at(&raw mut slot, *record, bits, reclaim), "sorted, so no key is there twice");
                }
                return slot;
            }
            _ => {}
        }
        let groups = || seeds.chunk_by(|a, b| a.digit(level) == b.digit(level));
        let bitmap = groups().fold(0, |bitmap, group| bitmap | 1 << group[0].digit(level));
        let branch = Branch::new(reclaim.birth, bitmap);
        for group in groups() {
            let slot = build_level(group, level + 1, seed, reclaim);
            Branch::slots(branch).add(Branch::position(branch, 1 << group[0].digit(level))).write(slot);
        }
        Slot::of_branch(branch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{free_since, iter};
    use super::*;
    use crate::tree::node::{Parts, Znode};
    use crate::types::StatPersisted;

    /// Nobody finds names that collide, so the hashes are set by hand.
    #[test]
    fn records_whose_hashes_are_equal_are_built_into_one_trie_all_the_same() {
        let (seed, mut reclaim) = (HashSeed::with_seed(1), Reclaim::new(1));
        let names: Vec<String> = (0..50).map(|n| format!("name-{n}")).collect();
        let record = |name: &str| {
            let stat = StatPersisted::default();
            let parts = Parts { name, data: None, stat, acl: 0, digest: 0, children: EMPTY, child_count: 0 };
            // SAFETY: the name is borrowed.
            unsafe { Znode::build(1, &parts) }
        };
        let seeds = |names: &[String]| -> Vec<Seed<Znode>> {
            let seed_of =
                |(nth, name): (usize, &String)| Seed { order: (7 << 60) | (nth as u64 % 3), record: record(name) };
            names.iter().enumerate().map(seed_of).collect()
        };
        // SAFETY: the records are alive until they are freed with the trie.
        unsafe {
            let mut all = seeds(&names);
            assert!(sort(&mut all));
            let trie = build(&all, &seed, &mut reclaim);
            let mut found: Vec<&str> = iter::<Znode>(trie).map(|node| Znode::name(node)).collect();
            found.sort_unstable();
            let mut expected: Vec<&str> = names.iter().map(String::as_str).collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
            free_since::<Znode>(trie, 0);
            let mut twice = seeds(&[names.clone(), names[20..21].to_vec()].concat());
            assert!(!sort(&mut twice));
            twice.iter().for_each(|seed| Znode::free(seed.record.cast()));
        }
    }
}
