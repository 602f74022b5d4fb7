//! RingKeeper: a coordination server that speaks ZooKeeper's language to clients, on disk and to operators. This page is
//! the map of the code; `docs/compatibility.md` says what is equal to Apache ZooKeeper and what is not.
//!
//! # Threads
//!
//! | thread | owns |
//! |---|---|
//! | ensemble | request preparation, the txn log, sessions; the only writer of replicated state. In an ensemble also the election, the role, and the links to the other servers |
//! | worker, one or more | its client connections, its shard of the watch tables, all their reads |
//! | background | snapshots, log segments made ready, purge |
//! | learner-feed, one per learner that needs it | a snapshot, or transactions of the log files, on their way to that learner |
//! | stall | tells of others that do not turn |
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
//! # A write in an ensemble
//!
//! On the leader it goes the same way, but for the end: `ensemble/driver.rs` also tells `zab/leader.rs` of the proposal and
//! keeps its entry in `ensemble/history.rs`, from where `ensemble/learner_feed.rs` sends it to every learner while this
//! server's own disk is at work (`log_feed.rs` reads what is no longer there); `zab/acks.rs` says when a quorum has it, and only then `driver.rs` releases what it says.
//!
//! On a learner `ensemble/learning.rs` forwards it to the leader (`forward_write`) and remembers who waits. It comes back as a
//! proposal like all others: `zab/learner.rs` has it logged, acknowledges it behind the flush, has it applied with its commit;
//! `apply_committed` finds by session and xid that it is the one that somebody waits for. From there on effects and replies
//! go as above.
//!
//! # Where its time goes
//!
//! `docs/latency.md` names the stages. `ensemble/stages.rs` stamps what a turn handles together and books what the ensemble
//! thread can see; a `message/passage.rs` goes back with the answers, and `server/stages.rs` books the rest when a worker's
//! turn ends. `observe/latency.rs` keeps the histograms, `admin/latency.rs` shows them.
//!
//! # From looking to serving
//!
//! `runtime/links.rs` moves the bytes between servers, `ensemble/roles.rs` hands them to whom they belong.
//! `ensemble/elections.rs` joins the votes (`election/search.rs`) to their connections (`election/connections.rs`); its
//! verdict makes `roles.rs` begin a role, `leading.rs` or `learning.rs`, which carries out what the state machine of `zab` asks
//! for, until `begin_service`. `end_role` is the way back. Workers read the outcome from the `StandingSign` of
//! `message/lane.rs`, operators get a `QuorumStatus` with every question; `server/leaderless.rs` keeps connections meanwhile.
//!
//! # A change of the members
//!
//! `ensemble/reconfiguring.rs` has the request planned (`request/ops/reconfig.rs`) and the configuration kept
//! (`ensemble/membership.rs`, `storage/config_files.rs`) before it is proposed like any write. `zab/reconfig.rs` and `zab/acks.rs`
//! ask quorums of both configurations for it; `zab/leader/activation.rs` says when it is in force and who leads then, the feeds
//! say it to the learners. Whoever is told activates it: votes, ports and roles follow (`reconfiguring.rs`, again).
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
//! complete and waits for its flush. *standing*: what a server is to its clients: alone, looking, read-only, leading,
//! following, observing. *local session*: known to its server alone. *learner*: a follower or an observer. *observer master*: a
//! follower that observers follow. *feed*: what one learner is sent, a position in the history. *publish*: readers see it.
//! *hold*: a version is kept for longer than a turn. *stage*: a part of a request's way that is timed. *passage*: when a
//! batch passed the stages of the ensemble thread.

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
