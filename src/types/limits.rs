//! Every maximum that is not a ZooKeeper setting, with unit and reason. Settings live in `config/settings.rs`.

/// Longest name of one znode, bytes: its length shares a word with flags in the node record.
pub const NODE_NAME_BYTES_MAX: usize = (1 << 24) - 1;

/// Unsent output one connection may hold, bytes; beyond it the connection is closed, because
/// watch events cannot be back-pressured.
pub const CONNECTION_OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Unsent output above which no further request of that connection is read, bytes.
pub const CONNECTION_OUTPUT_BYTES_PAUSE: usize = 1 << 20;

/// Read buffer of an idle connection, bytes: with it a connection and its session stay below 4 KiB.
pub const READ_BUFFER_BYTES_IDLE: usize = 1 << 9;

/// Read buffer of a busy connection, bytes.
pub const READ_BUFFER_BYTES_BUSY: usize = 16 << 10;

/// Effects waiting for one slow worker, bytes; beyond it the server stops with a message.
pub const WORKER_BACKLOG_BYTES_MAX: usize = 1 << 30;

/// Effects that concern nobody at a sleeping worker, bytes; beyond it the worker is woken to drop them.
pub const WORKER_UNHEARD_BYTES_MAX: usize = 256 << 10;

/// Log bytes covered by one flush, bytes; recovery takes non-zero bytes farther than this beyond
/// the first bad record as corruption rather than as a torn tail.
pub const FLUSH_BYTES_MAX: usize = 8 << 20;

/// Log mapped at a time, bytes.
pub const LOG_MAPPED_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(CONNECTION_OUTPUT_BYTES_PAUSE < CONNECTION_OUTPUT_BYTES_MAX);
const _: () = assert!(READ_BUFFER_BYTES_IDLE <= READ_BUFFER_BYTES_BUSY);
