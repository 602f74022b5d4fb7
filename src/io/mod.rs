//! Devices: with `runtime` the only folder that touches the kernel. No format and no meaning of bytes here.

pub mod clock;
pub mod disk;
pub mod ending;
pub mod file;
pub mod halfway;
pub mod mmap;
pub mod process;
pub mod real_disk;
pub mod signals;
