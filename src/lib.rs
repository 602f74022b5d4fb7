//! RingKeeper: a coordination server that speaks ZooKeeper's language.
pub mod types;
pub mod message;
pub mod observe;
pub mod session;
pub mod tree;
pub mod watch;
pub mod request;
pub mod wire;
pub mod storage;
pub mod io;
pub mod runtime;
pub mod ensemble;
pub mod admin;
pub mod server;
pub mod config;
