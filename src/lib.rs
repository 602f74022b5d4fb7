//! RingKeeper: a coordination server that speaks ZooKeeper's language.
pub mod admin;
pub mod config;
pub mod ensemble;
pub mod io;
pub mod message;
pub mod observe;
pub mod request;
pub mod runtime;
pub mod server;
pub mod session;
pub mod storage;
pub mod tree;
pub mod types;
pub mod watch;
pub mod wire;
