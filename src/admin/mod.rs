//! What operators ask: the four-letter words. Values in, text out; collecting the values is `server`'s and
//! `ensemble`'s work, sending the text is `server`'s.

mod commands;
mod date;
mod four_letter;
mod latency;
mod mntr;
mod status;
mod version;

pub use commands::{
    CONNECTION_STATS_RESET, IMOK, SERVER_STATS_RESET, conf, cons, dirs, dump, envi, hash, isro, srvr, stat, trace_mask,
    wchc, wchp, wchs,
};
pub use date::{TimeZone, java_date};
pub use four_letter::{Gate, NOT_SERVING, Word, gate};
pub use latency::{LatencyStatus, hdrl, lats};
pub use mntr::mntr;
pub use status::{
    Bucket, ConnectionStatus, Directories, DumpSessions, DumpStatus, Environment, ExpiringConnection, NamespaceQuota,
    ServerMode, ServerStatus, SessionTraffic, TRACE_MASK_DEFAULT, TreeDigest, WatchStatus, WatchSummary, last_op_label,
};
pub use version::{VERSION, version_line};
