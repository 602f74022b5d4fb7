//! Statistics per top-level znode, without a lock: entries are only ever added, by the one writing thread.

use super::cell::{Plain, SummaryCell};
use std::sync::OnceLock;

/// Top-level znodes of which one thread keeps statistics; further ones are not counted.
const NAMES_MAX: usize = 256;
const SLOTS: usize = 2 * NAMES_MAX;

/// The first part of a path; `None` for the root, of which ZooKeeper keeps none either.
pub fn namespace_of(path: &str) -> Option<&str> {
    let names = path.strip_prefix('/')?;
    // Names are short: a plain loop over bytes beats a searcher.
    let end = names.bytes().position(|byte| byte == b'/').unwrap_or(names.len());
    (end > 0).then(|| &names[..end])
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    summary: SummaryCell,
}

/// An open hash table whose entries never move or go.
#[derive(Debug)]
pub(super) struct NamespaceTable {
    slots: Box<[OnceLock<Box<Entry>>]>,
}

impl NamespaceTable {
    pub fn new() -> NamespaceTable {
        NamespaceTable { slots: (0..SLOTS).map(|_| OnceLock::new()).collect() }
    }

    pub fn record(&self, name: &str, value: u64) {
        let start = hash(name);
        // Half the slots stay empty, so the walk ends at an empty one soon.
        for step in 0..NAMES_MAX {
            let slot = &self.slots[(start + step) % SLOTS];
            let entry = slot.get_or_init(|| Box::new(Entry { name: name.into(), summary: SummaryCell::new() }));
            if *entry.name == *name {
                entry.summary.record(value);
                return;
            }
        }
    }

    pub fn clear(&self) {
        for entry in self.slots.iter().filter_map(OnceLock::get) {
            entry.summary.clear();
        }
    }

    pub fn for_each(&self, mut visit: impl FnMut(&str, Plain)) {
        for entry in self.slots.iter().filter_map(OnceLock::get) {
            visit(&entry.name, entry.summary.read());
        }
    }
}

/// FNV-1a; names are short and nobody gains by colliding, since the table is bounded.
fn hash(name: &str) -> usize {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_parts() {
        assert_eq!(namespace_of("/a/b"), Some("a"));
        assert_eq!(namespace_of("/a"), Some("a"));
        assert_eq!(namespace_of("/"), None);
        assert_eq!(namespace_of(""), None);
    }

    #[test]
    fn names_keep_apart_and_the_table_has_an_end() {
        let table = NamespaceTable::new();
        for round in 1..=2u64 {
            for index in 0..2000 {
                table.record(&format!("n{index}"), round * 10);
            }
        }
        let mut names = 0;
        table.for_each(|name, plain| {
            names += 1;
            assert_eq!((plain.count, plain.sum, plain.min, plain.max), (2, 30, 10, 20), "{name}");
        });
        assert!((NAMES_MAX..=SLOTS).contains(&names), "{names}");
        table.clear();
        table.for_each(|_, plain| assert_eq!(plain, Plain::EMPTY));
    }
}
