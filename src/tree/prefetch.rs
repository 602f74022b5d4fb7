//! Fetching ahead: what the lookups of several paths will read is asked for together, so that the memory is waited for once
//! and not once a path. In a tree larger than the processor's cache a lookup is little but waiting.
//!
//! A hint: nothing depends on it, and a path that leads nowhere is no error.

use super::node::Znode;
use super::trie::{Step, Walk};
use super::view::View;
use std::hash::{Hash, Hasher};

/// Of a record, bytes: its head, its name and the data of most.
const RECORD_BYTES: usize = 256;
const LINE_BYTES: usize = 64;

impl View<'_> {
    /// Walks that are under way together: the processor keeps about as many fetches in flight.
    pub const PREFETCHED_AT_ONCE: usize = 16;

    /// Has the znodes at these paths brought close, as far as their parents are known. Nobody has to have looked whether a path
    /// is text.
    pub fn prefetch<'p, P: AsRef<[u8]> + ?Sized + 'p>(self, paths: impl IntoIterator<Item = &'p P>) {
        let mut walks = [const { None }; View::PREFETCHED_AT_ONCE];
        let mut count = 0;
        // Neighbours mostly have one parent.
        let mut parent = None;
        for path in paths {
            let path = path.as_ref();
            // Names are short: a loop is quicker than a search that is made for long texts.
            let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else { continue };
            let (above, name) = (&path[..slash], &path[slash + 1..]);
            if parent.is_none_or(|(known, _)| known != above) {
                parent = Some((above, str::from_utf8(above).ok().and_then(|above| self.lookup(above))));
            }
            let Some((_, Some(node))) = parent else { continue };
            // SAFETY: the node belongs to this version.
            let (children, _) = unsafe { Znode::children(node.node) };
            walks[count] = Some(Walk::begin(children, &Name(name), self.seed));
            count += 1;
            if count == walks.len() {
                go_on(&mut walks);
                count = 0;
            }
        }
        go_on(&mut walks[..count]);
    }
}

/// Bytes that hash as the text that they should be; a test says whether they do.
struct Name<'a>(&'a [u8]);

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
        state.write_u8(0xff);
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
    use super::super::trie::HashSeed;
    use super::super::{ParentChange, TreeWriter};
    use super::Name;
    use crate::types::{OwnerRules, StatPersisted};
    use std::hash::BuildHasher;

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
        tree.view().prefetch::<str>([]);
        tree.view().prefetch([b"/a/\xff".as_slice(), b"/\xff/a", b"\xff"]);
    }

    #[test]
    fn names_hash_as_text() {
        let seed = HashSeed::with_seed(3);
        for name in ["", "a", "ä/b", "k00001234", &"long".repeat(100)] {
            assert_eq!(seed.hash_one(Name(name.as_bytes())), seed.hash_one(name));
        }
    }
}
