//! A model of an Apache ZooKeeper 3.9 server, as a member of simulated ensembles: what our servers have to live with where
//! they take their places one by one. Made from the facts sheets and from what Java's servers were seen to do, apart from our
//! own state machines, whose mistakes it must not share: of our code it uses the words of the wire, and what a transaction
//! does to the tree.
//!
//! - `peer`: `QuorumPeer`, turn by turn; `outbox` is what it wants done, and why it ends
//! - `connections`, `election`: `QuorumCnxManager`, `FastLeaderElection`
//! - `follower`: `Learner` and `Follower`; `leader`, `establishing`, `handler`, `sync_choice`, `sessions`, `requests`: `Leader` and what belongs to it
//! - `database`, `disk`: `ZKDatabase`, and what a power cut leaves
//!
//! It serves no clients, and knows neither reconfiguration nor observers of its own kind, snapshots in between, containers that
//! end. Where Java's process would exit, abort a synchronization, wait for ever or lose what it was told because of what a
//! leader or a learner says, the turn fails, and so does the simulation.

mod connections;
mod database;
mod disk;
mod election;
mod establishing;
mod follower;
mod handler;
mod leader;
mod outbox;
mod peer;
mod requests;
mod sessions;
mod sync_choice;
#[cfg(test)]
mod tests;

pub use disk::{Entry, JavaDisk};
pub use election::Waits;
pub use peer::{JavaPeer, JavaRules};
