//! Proof of the state machines: whole ensembles of them over modelled disks and a modelled network, in one thread, drawn
//! from one seed. Safety must not depend on the election, so the election here is an oracle that may be wrong.
//!
//! - `world`: the ensemble, its clock and what is due; `network`, `disk`: what carries and what keeps
//! - `leading`, `following`: carry out what the machines ask for, as the real driver does
//! - `oracle`: who leads whom; `members`: who they are
//! - `checkers`: the properties of ZAB and our promises, looked at whenever something is said
//! - `generator`: faults and work from a seed; `stories`: the known ways to lose data, told one by one
//!
//! `ZAB_SEEDS=from..to cargo test --lib zab::tests::generator` runs other seeds than the default ones.

mod checkers;
mod disk;
mod following;
mod generator;
mod leading;
mod members;
mod network;
mod oracle;
mod stories;
mod stories_reconfig;
mod stories_sync;
mod world;
