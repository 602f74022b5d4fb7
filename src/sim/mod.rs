//! The simulator: devices in memory, driven by a seed, under the code that runs on the real ones.
//!
//! - `random`: where every draw comes from
//! - `disk`: a disk that loses power, and what its owner can do to it; `file_image` and `directory_image` say what is in its
//!   cache, what is durable and what a crash may leave; `disk_handles` is the side that storage sees

mod counts;
mod directory_image;
pub mod disk;
mod disk_handles;
#[cfg(test)]
mod disk_tests;
mod file_image;
pub mod random;
#[cfg(test)]
mod storage_tests;
mod survival;

pub use disk::{DiskCounts, Fault, SimDisk, SyncId};
pub use random::Random;
