//! Who is told of which change: one `WatchShard` per worker, holding the watches of that worker's connections.
//!
//! Reading order: `mode.rs` (kinds of watches), `table.rs` (who watches what, in memory), `shard.rs` (registering,
//! removing, checking, counting), `trigger.rs` (a change, and who is told), `events.rs` (what they are told).
//! Nothing here knows sockets or bytes; whether a connection may hear of a node is asked of the caller.

mod events;
mod mode;
mod shard;
mod table;
mod trigger;

pub use events::Events;
pub use mode::WatchKind;
pub use shard::{LastChange, WatchCounts, WatchShard};
