//! The ensemble thread: the only writer of replicated state. Today it is a server on its own; elections and
//! broadcast join it here.
//!
//! `driver.rs` takes the turns; `batch.rs` is what a turn means to the workers; `chores.rs` is what is due now and then
//! (snapshots, containers and TTL znodes, purge).

mod batch;
mod chores;
mod driver;
mod snapshots;
mod startup;

pub use driver::{Ensemble, EnsembleRules};
pub use snapshots::SnapshotOptions;
pub use startup::{Backgrounds, Loaded, StartOptions, load, start};
