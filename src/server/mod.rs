//! Client connections: bytes in, bytes out. One `Worker` per core owns its connections and their watches, answers
//! reads from a pinned version and hands writes to the ensemble thread.
//!
//! Reading order: `worker.rs` (the turn), `connection.rs` (what is known of a client), `handshake.rs`, `pipeline.rs` (in
//! which order requests are carried out), `reads.rs`, `deliver.rs` (events and replies of transactions),
//! `admission.rs` (who may connect), `idle.rs` (who is silent), `herd.rs` (whom one change tells at once), `leaderless.rs`
//! and `read_only.rs` (what becomes of clients without a leader), `stages.rs` (how long requests take), `ask.rs` (what
//! operators ask).

mod admission;
mod ask;
mod auth;
mod connection;
mod deliver;
mod fetch_ahead;
mod handshake;
mod herd;
mod idle;
mod leaderless;
mod listen;
mod output;
mod overtaking;
mod pipeline;
mod read_only;
mod reads;
mod rules;
mod stages;
mod throttle;
mod worker;

pub use admission::Admission;
pub use ask::{Desk, StatusSource};
pub use listen::{ListenOptions, bind};
pub use rules::{ConnectionThrottle, RandomDrop, RequestThrottle, ServerRules};
pub use worker::{Worker, WorkerParts};
