//! The simulator: devices in memory, driven by a seed, under the code that runs on the real ones.
//!
//! - `random`: where every draw comes from
//! - `disk`: a disk that loses power, and what its owner can do to it; `file_image` and `directory_image` say what is in its
//!   cache, what is durable and what a crash may leave; `disk_handles` is the side that storage sees
//! - `simulator`: whole ensembles: the loop; `agenda` is what happens next, `options` what a seed stands for, `faults` what goes
//!   wrong and `correlated` what goes wrong together, `ending` how it ends, `report` what came of it
//! - `members`: who they are and how that changes; `operator` sees to the files that say so
//! - `server`: one server, real from the sockets down to the disk, with its `settings`; `clock` is its clocks, `net` its sockets, `dials` how they
//!   come about, `wiretap` listens to them
//! - `java`: a model of Java's server, which is a member of a third of the ensembles
//! - `client`, `client_wire` and `workload`: clients with histories; `checkers` hold them, and the servers, against what was promised

mod agenda;
mod checkers;
mod client;
mod client_wire;
mod clock;
mod correlated;
mod counts;
mod damage;
mod dials;
mod directory_image;
pub mod disk;
mod disk_handles;
#[cfg(test)]
mod disk_tests;
mod ending;
#[cfg(test)]
mod ensemble_tests;
mod faults;
mod file_image;
mod java;
mod members;
mod net;
mod operator;
mod options;
pub mod random;
mod report;
mod server;
mod settings;
mod simulator;
#[cfg(test)]
mod storage_tests;
mod survival;
mod wiretap;
mod workload;

pub use crate::types::PutBack;
pub use disk::{DiskCounts, Fault, SimDisk, SyncId};
pub use random::Random;
pub use report::{Counts, RecoveryRows, Report};
pub use simulator::run;
