//! Memory for records and branches. What was freed last is taken first: a change is written into lines that the processor
//! still has at hand, where a general allocator goes through all of its pages by turns and misses the cache at each block.
//!
//! Each thread keeps what it frees, up to a bound; beyond it, and for large blocks, the allocator does both.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ptr;

/// Blocks are kept by sizes that are multiples of this, bytes.
const CLASS_BYTES: usize = 16;
/// A larger block is the allocator's, bytes.
const BLOCK_BYTES_MAX: usize = 1 << 10;
const CLASSES: usize = BLOCK_BYTES_MAX / CLASS_BYTES;
/// Kept of each size, bytes: what some versions free before the next takes it again. Tests keep nothing, so that
/// sanitizers and Miri see every use of freed memory.
const KEPT_BYTES_MAX: usize = if cfg!(test) { 0 } else { 128 << 10 };

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::new(KEPT_BYTES_MAX)) };
}

/// Memory for `bytes`, aligned to a pointer's needs; the process ends where there is none.
pub(super) fn take(bytes: usize) -> *mut u8 {
    // A thread that is ending keeps nothing any more.
    let kept = KEPT.try_with(|kept| kept.borrow_mut().take(bytes)).unwrap_or(ptr::null_mut());
    if !kept.is_null() {
        return kept;
    }
    let layout = layout(bytes);
    // SAFETY: the layout is never empty.
    let block = unsafe { alloc(layout) };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    block
}

/// # Safety
/// `block` came from `take(bytes)` and is not used afterwards.
pub(super) unsafe fn give_back(block: *mut u8, bytes: usize) {
    let is_kept = KEPT.try_with(|kept| kept.borrow_mut().keep(block, bytes)).unwrap_or(false);
    if !is_kept {
        // SAFETY: by the contract.
        unsafe { dealloc(block, layout(bytes)) };
    }
}

fn class_of(bytes: usize) -> usize {
    bytes.div_ceil(CLASS_BYTES)
}

fn layout(bytes: usize) -> Layout {
    let bytes = if bytes <= BLOCK_BYTES_MAX { class_of(bytes) * CLASS_BYTES } else { bytes };
    Layout::from_size_align(bytes, align_of::<u64>()).expect("a record is smaller than memory")
}

/// Freed blocks by size, the last on top.
struct Kept {
    classes: [Vec<*mut u8>; CLASSES + 1],
    bytes_max: usize,
}

impl Kept {
    const fn new(bytes_max: usize) -> Kept {
        Kept { classes: [const { Vec::new() }; CLASSES + 1], bytes_max }
    }

    /// Null where none is kept.
    fn take(&mut self, bytes: usize) -> *mut u8 {
        if bytes > BLOCK_BYTES_MAX {
            return ptr::null_mut();
        }
        self.classes[class_of(bytes)].pop().unwrap_or(ptr::null_mut())
    }

    /// False if the block stays the caller's.
    fn keep(&mut self, block: *mut u8, bytes: usize) -> bool {
        if bytes > BLOCK_BYTES_MAX {
            return false;
        }
        let class = &mut self.classes[class_of(bytes)];
        let has_room = (class.len() + 1) * bytes <= self.bytes_max;
        if has_room {
            class.push(block);
        }
        has_room
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (class, blocks) in self.classes.iter_mut().enumerate() {
            for block in blocks.drain(..) {
                // SAFETY: taken with a size of this class, and nobody's since it was given back.
                unsafe { dealloc(block, layout(class * CLASS_BYTES)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_back_last_is_taken_first_by_whoever_needs_that_size() {
        let mut kept = Kept::new(1 << 10);
        let blocks: Vec<*mut u8> = [40, 33, 48, 1_000].map(take).into();
        for (block, bytes) in blocks.iter().zip([40, 33, 48, 1_000]) {
            assert!(kept.keep(*block, bytes));
        }
        // 33 to 48 bytes are one size.
        assert_eq!([48, 34, 48, 48].map(|bytes| kept.take(bytes)), [blocks[2], blocks[1], blocks[0], ptr::null_mut()]);
        assert_eq!((kept.take(900), kept.take(1_008)), (ptr::null_mut(), blocks[3]));
        blocks.iter().zip([40, 33, 48, 1_000]).for_each(|(block, bytes)| unsafe { give_back(*block, bytes) });
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let mut kept = Kept::new(200);
        let blocks = [64, 64, 64, 64].map(take);
        assert_eq!(blocks.map(|block| kept.keep(block, 64)), [true, true, true, false]);
        assert!(!kept.keep(blocks[3], BLOCK_BYTES_MAX + 1));
        // The three are freed with what keeps them.
        drop(kept);
        unsafe { give_back(blocks[3], 64) };
        let large = take(BLOCK_BYTES_MAX + 1);
        unsafe { give_back(large, BLOCK_BYTES_MAX + 1) };
    }
}
