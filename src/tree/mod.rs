//! The replicated state: znodes, ACL table, sessions, ephemerals. One writer, any number of readers that never
//! lock, never retry and never wait.
//!
//! A *version* is everything as of one zxid. It is a persistent tree: the writer copies what it changes (once per
//! version, then edits its own copy) and publishes a new root with one atomic store.
//!
//! ```text
//! head (the writer's, growing) --seal--> sealed versions, waiting for their flush --publish--> what readers pin
//! ```
//!
//! Transactions are applied to the head as soon as they are prepared, so preparing the next one sees them;
//! nobody else does before `publish_through`. Memory: `reclaim`.

mod change;
mod cut;
mod digest;
mod entry;
mod loading;
mod memory;
mod node;
mod prefetch;
mod reader;
mod reclaim;
mod sync;
mod tables;
mod trie;
mod view;
mod writer;

// The checker switches stacks by itself, which Miri cannot follow.
#[cfg(all(test, not(miri)))]
mod models;
#[cfg(test)]
mod tests;

pub use change::{InsertError, ParentChange};
pub use cut::Cuts;
pub use loading::Loading;
pub use reader::{Held, Pinned, TreeReader};
pub use reclaim::VersionNumber;
pub use tables::AclKey;
pub use view::{NodeRef, View};
pub use writer::{Savepoint, TreeWriter};
