//! A window of a file that is written through memory. At most one window is mapped at a time; it slides forward as the
//! writer does. The file must already have all its blocks (`file::create_zeroed`): then a store never needs space, and only a
//! failing disk can turn one into SIGBUS.

use memmap2::{MmapMut, MmapOptions, UncheckedAdvice};
use std::fs::File;
use std::io;

/// Windows start at multiples of this, which every page size divides.
const WINDOW_ALIGN_BYTES: u64 = 64 << 10;

/// Writes land in the page cache at once; `fdatasync` of the file makes them durable.
#[derive(Debug)]
pub struct MappedWindow {
    map: Option<MmapMut>,
    start: u64,
    bytes_max: usize,
}

impl MappedWindow {
    /// Maps nothing yet.
    pub fn new(bytes_max: usize) -> MappedWindow {
        assert!(bytes_max as u64 >= 2 * WINDOW_ALIGN_BYTES);
        MappedWindow { map: None, start: 0, bytes_max }
    }

    /// Copies `bytes` to `offset`; the range must lie inside the first `file_bytes` of the file.
    pub fn write(&mut self, file: &File, file_bytes: u64, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= file_bytes);
        while !bytes.is_empty() {
            let (map, within) = self.place_of(file, file_bytes, offset)?;
            let count = (map.len() - within).min(bytes.len());
            copy_in_order(&mut map[within..within + count], &bytes[..count]);
            let_go(map, within, count);
            bytes = &bytes[count..];
            offset += count as u64;
        }
        Ok(())
    }

    /// Lets go of the pages; what was written stays.
    pub fn unmap(&mut self) {
        self.map = None;
    }

    /// The window, slid to `offset` first if need be, and where in it that is.
    fn place_of(&mut self, file: &File, file_bytes: u64, offset: u64) -> io::Result<(&mut MmapMut, usize)> {
        let is_inside = |map: &MmapMut| offset >= self.start && offset < self.start + map.len() as u64;
        if !self.map.as_ref().is_some_and(is_inside) {
            self.map = None; // never two windows at once
            self.start = offset - offset % WINDOW_ALIGN_BYTES;
            let length = (file_bytes - self.start).min(self.bytes_max as u64) as usize;
            // SAFETY: the file is ours alone (data_dir.rs locks the directory) and is not shortened while mapped:
            // its owner unmaps before it trims.
            let map = unsafe { MmapOptions::new().offset(self.start).len(length).map_mut(file)? };
            // Touched ahead, so that a write never waits for a page to be read. Older kernels just fault later.
            let _ = map.advise(memmap2::Advice::PopulateRead);
            self.map = Some(map);
        }
        Ok((self.map.as_mut().expect("mapped above"), (offset - self.start) as usize))
    }
}

/// Takes pages that were written out of the map again; their contents stay in the page cache. A flush that finds them mapped takes
/// the right to write away from each by itself, and interrupts the process's other cores each time.
fn let_go(map: &MmapMut, start: usize, bytes: usize) {
    // SAFETY: a shared map of a file: whoever looks there next finds the page cache's contents, which are what was written.
    // Where the kernel refuses, the flush does it.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) };
}

/// From front to back, word by word: a process that is killed meanwhile leaves a prefix, and recovery takes nothing else for a
/// crash (`storage/tear.rs`). A library's copy may fill several pages at a time, or begin at the end.
fn copy_in_order(target: &mut [u8], source: &[u8]) {
    assert_eq!(target.len(), source.len());
    // SAFETY: every bit pattern is a u64, and every u64 is eight bytes.
    let (head, words, tail) = unsafe { target.align_to_mut::<u64>() };
    let (first, rest) = source.split_at(head.len());
    let (middle, last) = rest.split_at(size_of_val(words));
    store_in_order(head, first.iter().copied());
    store_in_order(words, middle.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)));
    store_in_order(tail, last.iter().copied());
}

fn store_in_order<T>(target: &mut [T], source: impl Iterator<Item = T>) {
    for (place, value) in target.iter_mut().zip(source) {
        // SAFETY: a place that may be written. Volatile, so that the compiler keeps the order.
        unsafe { std::ptr::write_volatile(place, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::file::create_zeroed;

    #[test]
    fn all_of_it_is_copied_wherever_it_begins_and_ends() {
        let source: Vec<u8> = (1..=64).collect();
        for start in 0..24 {
            for end in start..40 {
                let mut target = [0; 48];
                copy_in_order(&mut target[start..end], &source[..end - start]);
                let mut expected = [0; 48];
                expected[start..end].copy_from_slice(&source[..end - start]);
                assert_eq!(target, expected);
            }
        }
    }

    #[test]
    fn writes_cross_windows_and_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let size = 300_001;
        let file = create_zeroed(&path, b"", size, 0).unwrap();
        let mut window = MappedWindow::new(128 << 10);
        let pattern: Vec<u8> = (0..size as usize).map(|i| (i % 251) as u8).collect();
        for (index, chunk) in pattern.chunks(70_000).enumerate() {
            window.write(&file, size, index as u64 * 70_000, chunk).unwrap();
        }
        window.write(&file, size, 5, b"again").unwrap();
        window.unmap();
        let mut expected = pattern;
        expected[5..10].copy_from_slice(b"again");
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
}
