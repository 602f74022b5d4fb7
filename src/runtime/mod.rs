//! Cores and what runs on them: the only folder with futures. Above it everything is a synchronous turn,
//! `turn(now, events) -> actions`; here tokio-uring is asked what happened and told what to do.

pub mod alarm;
pub mod background;
pub mod client_port;
pub mod core;
mod dial;
mod duplex;
pub mod lanes;
pub mod link_io;
mod links;
pub mod placement;
mod ports;
mod ready;
mod socket_wait;
pub mod sockets;
pub mod stall;
mod sync;

pub use duplex::without_pacing;

#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod lanes_tests;
#[cfg(test)]
mod links_tests;
// The checker switches stacks by itself, which Miri cannot follow.
#[cfg(all(test, not(miri)))]
mod models;
