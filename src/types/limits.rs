//! Every maximum that is not a ZooKeeper setting, with unit and reason. Settings live in `config/settings.rs`.

/// Longest name of one znode, bytes: its length shares a word with flags in the node record.
pub const NODE_NAME_BYTES_MAX: usize = (1 << 24) - 1;

/// Unsent output one connection may hold, bytes; beyond it the connection is closed, because
/// watch events cannot be back-pressured.
pub const CONNECTION_OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Unsent output above which no further request of that connection is read, bytes.
pub const CONNECTION_OUTPUT_BYTES_PAUSE: usize = 1 << 20;

/// Connections of a herd that are told in one turn, and that are answered: one or two milliseconds, mostly of system calls.
pub const HERD_IN_A_TURN_MAX: usize = 64;

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

/// Identities that one forwarded request may carry, bytes: a client has a handful of some ten bytes each.
pub const FORWARDED_IDS_BYTES_MAX: usize = 1 << 20;

/// Addresses in the first message of an election connection, bytes; Java's readers refuse more.
pub const ELECTION_ADDRESSES_BYTES_MAX: usize = 2048;

/// Body of an election notification, bytes; Java's readers close the connection beyond it.
pub const NOTIFICATION_BYTES_MAX: usize = 512 << 10;

/// Text of a configuration, bytes: it has to fit into a notification, and into a packet as ZooKeeper limits it, with room for
/// what goes with it. Thousands of members do.
pub const CONFIG_BYTES_MAX: usize = NOTIFICATION_BYTES_MAX / 2;

/// Longest data of one packet between leader and learner, bytes: a Java reader refuses a longer buffer.
pub const fn quorum_data_bytes_max(jute_maxbuffer_bytes: usize, jute_maxbuffer_extra_bytes: usize) -> usize {
    jute_maxbuffer_bytes.saturating_add(jute_maxbuffer_extra_bytes)
}

/// Longest packet between leader and learner, bytes, if its data has at most `data_bytes_max`: what a connection's read
/// buffer may grow to. Type, zxid, length of the data and count of the identities take 20.
pub const fn quorum_packet_bytes_max(data_bytes_max: usize) -> usize {
    data_bytes_max.saturating_add(20 + FORWARDED_IDS_BYTES_MAX)
}

const _: () = assert!(CONNECTION_OUTPUT_BYTES_PAUSE < CONNECTION_OUTPUT_BYTES_MAX);
const _: () = assert!(READ_BUFFER_BYTES_IDLE <= READ_BUFFER_BYTES_BUSY);
