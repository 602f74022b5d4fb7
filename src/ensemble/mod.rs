//! The ensemble thread: the only writer of replicated state.
//!
//! `driver.rs` takes the turns; `submits.rs` is what workers ask, `batch.rs` what a turn means to them; `chores.rs` and
//! `snapshots.rs` are what is due now and then. In an ensemble `roles.rs` leads from role to role (`role.rs`): `elections.rs`
//! speaks with the others until there is a leader, `leading.rs` and `learning.rs` do what `zab` asks for, `feeding.rs` decides
//! what learners are sent, `learner_feed.rs` is the stream to one of them, over `links.rs`, and `packets.rs` what comes back;
//! `observer_master.rs` has observers follow a follower. `membership.rs` knows who the members are, `reconfiguring.rs` does
//! what changes of them mean; `local_sessions.rs` is what needs no leader, `read_only.rs` the time without one. `stages.rs` says how long
//! transactions take where. `startup.rs` makes all of it from the data directory; `witness.rs` shows it to the simulator.

mod batch;
mod chores;
mod driver;
mod election_port;
mod elections;
mod feeding;
mod history;
mod leading;
mod learner_feed;
mod learning;
mod links;
mod local_sessions;
mod log_feed;
mod membership;
mod observer_master;
mod packets;
mod pieces;
mod read_only;
mod reconfiguring;
mod role;
mod role_clock;
mod roles;
mod seat;
mod snapshot_feed;
mod snapshot_load;
mod snapshots;
mod stages;
mod startup;
mod submits;
mod tree_sink;
mod witness;

pub use driver::{Ensemble, EnsembleRules};
pub use local_sessions::LocalSessionRules;
pub use membership::ReconfigOptions;
pub use pieces::FeedWriter;
pub use seat::{MoveClientPort, SeatOptions};
pub(crate) use snapshot_load::SnapshotLoad;
pub use snapshots::SnapshotOptions;
pub(crate) use snapshots::Source as SnapshotOf;
pub use startup::{Backgrounds, Loaded, StartOptions, load, start};
