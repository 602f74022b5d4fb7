//! A lookup a level at a time.

use super::{BITS_PER_LEVEL, Branch, HashSeed, LEVELS_PER_ROUND, Slot};
use std::hash::BuildHasher;

/// A lookup in pieces, for who has other things to do while memory is waited for.
pub(in crate::tree) struct Walk {
    slot: Slot,
    hash: u64,
    level: u32,
}

/// Where the next piece of a walk reads.
pub(in crate::tree) enum Step {
    Branch(*const u8),
    Record(*const u8),
    Nowhere,
}

impl Walk {
    pub fn begin<K: ?Sized + std::hash::Hash>(root: Slot, key: &K, seed: &HashSeed) -> Walk {
        Walk { slot: root, hash: seed.hash_one(key), level: 0 }
    }

    /// Down one level. Behind the first round of the hash it leads nowhere: hardly anything is there.
    ///
    /// # Safety
    /// The trie is alive.
    pub unsafe fn step(&mut self) -> Step {
        if self.slot.is_branch() && self.level < LEVELS_PER_ROUND {
            let (branch, bit) = (self.slot.branch(), 1 << ((self.hash >> (self.level * BITS_PER_LEVEL)) & 63));
            self.level += 1;
            // SAFETY: alive by the contract.
            unsafe {
                if (*branch).bitmap & bit == 0 {
                    return Step::Nowhere;
                }
                self.slot = *Branch::slots(branch).add(Branch::position(branch, bit));
            }
        }
        match self.slot.is_branch() {
            true if self.level < LEVELS_PER_ROUND => Step::Branch(self.slot.branch().cast::<u8>()),
            true => Step::Nowhere,
            false if self.slot.is_empty() => Step::Nowhere,
            false => Step::Record(self.slot.record()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EMPTY, free_since, get, insert};
    use super::*;
    use crate::tree::node::{Parts, Znode};
    use crate::tree::reclaim::Reclaim;
    use crate::types::StatPersisted;

    #[test]
    fn a_walk_comes_to_where_a_lookup_does() {
        let (seed, mut reclaim, mut root) = (HashSeed::with_seed(1), Reclaim::new(1), EMPTY);
        let names: Vec<String> = (0..3_000).map(|n| format!("name-{n}")).collect();
        // SAFETY: the records are alive until they are freed with the trie.
        unsafe {
            for name in &names {
                let stat = StatPersisted::default();
                let parts =
                    Parts { name: &**name, data: None, stat, acl: 0, digest: 0, children: EMPTY, child_count: 0 };
                assert!(insert(&raw mut root, Znode::build(1, &parts), &seed, &mut reclaim));
            }
            let mut steps = 0;
            for name in &names {
                let mut walk = Walk::begin(root, &**name, &seed);
                let end = loop {
                    steps += 1;
                    match walk.step() {
                        Step::Branch(_) => {}
                        Step::Record(record) => break record,
                        Step::Nowhere => panic!("{name} is there"),
                    }
                };
                assert_eq!(end, get::<Znode>(root, &**name, &seed).cast_const().cast());
            }
            // 64 branches of 64 slots hold a record each, or two or three a branch below.
            assert!((2 * names.len()..=3 * names.len()).contains(&steps), "{steps}");
            assert!(matches!(Walk::begin(EMPTY, "a", &seed).step(), Step::Nowhere));
            free_since::<Znode>(root, 0);
        }
    }
}
