//! Fetching ahead: what the lookups of several paths will read is asked for together, so that the memory is waited for once
//! and not once a path. In a tree larger than the processor's cache a lookup is little but waiting.
//!
//! A hint: nothing depends on it, and a path that leads nowhere is no error.

use super::node::Znode;
use super::trie::{Step, Walk};
use super::view::View;

/// Of a record, bytes: its head, its name and the data of most.
const RECORD_BYTES: usize = 256;
const LINE_BYTES: usize = 64;

impl View<'_> {
    /// Walks that are under way together: the processor keeps about as many fetches in flight.
    pub const PREFETCHED_AT_ONCE: usize = 16;

    /// Has the znodes at these paths brought close, as far as their parents are known.
    pub fn prefetch<'p>(self, paths: impl IntoIterator<Item = &'p str>) {
        let mut walks = [const { None }; View::PREFETCHED_AT_ONCE];
        let mut count = 0;
        // Neighbours mostly have one parent.
        let mut parent = None;
        for path in paths {
            let Some((above, name)) = path.rsplit_once('/') else { continue };
            if parent.is_none_or(|(known, _)| known != above) {
                parent = Some((above, self.lookup(above)));
            }
            let Some((_, Some(node))) = parent else { continue };
            // SAFETY: the node belongs to this version.
            let (children, _) = unsafe { Znode::children(node.node) };
            walks[count] = Some(Walk::begin(children, name, self.seed));
            count += 1;
            if count == walks.len() {
                go_on(&mut walks);
                count = 0;
            }
        }
        go_on(&mut walks[..count]);
    }
}

/// Takes every walk a level further, until all have come to their ends.
fn go_on(walks: &mut [Option<Walk>]) {
    let mut is_over = false;
    while !is_over {
        is_over = true;
        for place in walks.iter_mut() {
            let Some(walk) = place else { continue };
            // SAFETY: the version is alive, and so are the branches of its tries.
            match unsafe { walk.step() } {
                Step::Branch(branch) => {
                    fetch(branch, LINE_BYTES);
                    is_over = false;
                }
                Step::Record(record) => {
                    fetch(record, RECORD_BYTES);
                    *place = None;
                }
                Step::Nowhere => *place = None,
            }
        }
    }
}

/// Nothing is read here, whatever the address.
fn fetch(from: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(LINE_BYTES) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch has no effect that a program could see.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(offset).cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (from, offset);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ParentChange, TreeWriter};
    use crate::types::{OwnerRules, StatPersisted};

    /// Nothing can be seen of it but that it comes to an end, whatever is asked for.
    #[test]
    fn any_path_may_be_asked_for() {
        let mut tree = TreeWriter::fresh(OwnerRules::default(), true, 7);
        let mut paths = vec!["/a".to_owned(), "/b".to_owned()];
        paths.extend((0..500).map(|n| format!("/a/{n}")));
        paths.extend((0..5).map(|n| format!("/b/{n}")));
        let stat = StatPersisted::default();
        for path in &paths {
            tree.insert(path, Some(b"data"), None, &stat, ParentChange::default()).expect("a new path");
        }
        let others = ["", "/", "no slash", "/a/none", "/none/at/all", "//", "/a/", "/a/7/deeper"];
        tree.view().prefetch(paths.iter().map(String::as_str).chain(others));
        tree.view().prefetch(others);
        tree.view().prefetch([]);
    }
}
