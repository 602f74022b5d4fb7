//! The one integration-test binary; each module below is one kind of proof.
//!
//! `process.rs` starts servers, `client.rs` and `codec.rs` talk to them without using any of the server's own code,
//! `stories.rs` makes that short.
//! `RINGKEEPER_TEST_SERVER=java` puts Apache ZooKeeper where our server would stand, to prove the tests themselves.

mod bad_input;
mod client;
mod clients;
mod codec;
mod consistency;
mod crash;
mod differential;
mod disk_full;
mod ensemble;
mod faults;
mod four_letter;
mod golden;
mod latency;
mod layers;
mod load;
mod namespaces;
mod process;
mod recipes;
mod sessions;
mod stories;
