//! RingKeeper: a coordination server that speaks ZooKeeper's language to clients, on disk and to operators. This page is
//! the map of the code; `docs/compatibility.md` says what is equal to Apache ZooKeeper and what is not.
//!
//! # Threads
//!
//! | thread | owns |
//! |---|---|
//! | ensemble | request preparation, the txn log, sessions; the only writer of replicated state |
//! | worker, one or more | its client connections, its shard of the watch tables, all their reads |
//! | background | snapshots, log segments made ready, purge |
//! | stall | watches that the others turn |
//!
//! With one to three cores, worker and ensemble share one thread and take their turns one after the other. Every pinned
//! thread runs its own tokio-uring runtime; everything above `runtime` is a synchronous turn.
//!
//! # Reading order
//!
//! ```text
//! WORDS        types      zxids, paths, ACLs, stats, limits
//!              message    requests, replies, transactions, effects; lane: what threads say to each other
//!              observe    metrics
//!              config     command line, zoo.cfg, settings
//! PURE LOGIC   zab        one sequence of transactions: leader, learners, who is sent what
//!              tree       the znodes: persistent versions, one writer, readers without locks
//!              session    who is alive, when somebody expires
//!              watch      who is told of what
//!              request    what each operation means
//!              election   whom the servers choose as leader, and who keeps which connection for it
//! BYTES        wire       frames, requests, replies, transactions
//!              storage    log, snapshots, recovery
//! DEVICES      io         files, mappings, clocks, signals
//!              runtime    cores, sockets, rings, placement
//! SHELLS       ensemble   the turns of the ensemble thread
//!              server     the turns of a worker
//!              admin      four-letter words
//!              main.rs    puts them together
//! SIMULATOR    sim        disk, network and clock from a seed, under the code that runs on the real ones
//! ```
//!
//! Who may import whom is written and checked in `testing/layers.rs`.
//!
//! # A read, from socket to socket
//!
//! `runtime/sockets.rs` reaps bytes; `server/worker.rs` pins the published version and delivers what is tagged up to it;
//! `server/pipeline.rs` finds the frame and has `wire/client` decode it; `server/reads.rs` asks `request/read.rs`,
//! registers the watch in the worker's own shard, and appends the reply; `worker.rs` sends once per connection and turn.
//!
//! # A write
//!
//! `pipeline.rs` submits it over `runtime/lanes.rs`; `ensemble/driver.rs` takes it, `request/prepare.rs` checks it against
//! the head of the tree and applies it there, `wire/txn.rs` encodes it, `storage/txnlog.rs` stages it and, when no flush is
//! in flight, copies it into the mapped log; `runtime/core.rs` flushes on the ring. Then effects and replies go onto the
//! lanes, the version is published, and `server/deliver.rs` tells watchers and answers.
//!
//! # A watch event
//!
//! `request/apply.rs` returns effects; `ensemble/batch.rs` posts them before the version is published; the worker that
//! pins it has `watch/trigger.rs` pick who hears, and `server/deliver.rs` puts the event ahead of every reply that reflects
//! the change. That rule stands at the top of `deliver.rs`.
//!
//! # Glossary
//!
//! *worker*: a thread that owns client connections. *shard*: one worker's watches. *apply*: the tree change of a
//! transaction. *flush*: its log entry becomes durable. *commit*: it counts (on a server of its own: with the flush).
//! *head*: the newest tree, seen by the writer alone. *version*: a tree that readers can pin. *seal*: a version is
//! complete and waits for its flush. *publish*: readers see it. *hold*: a version is kept for longer than a turn.

pub mod admin;
pub mod config;
pub mod election;
pub mod ensemble;
pub mod io;
pub mod message;
pub mod observe;
pub mod request;
pub mod runtime;
pub mod server;
pub mod session;
pub mod sim;
pub mod storage;
pub mod tree;
pub mod types;
pub mod watch;
pub mod wire;
pub mod zab;
