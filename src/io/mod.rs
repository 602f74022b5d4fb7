//! Devices: the thin layer over files, mappings and the ring. No format and no meaning of bytes here.

pub mod file;
pub mod mmap;
