//! What is on disk: the transaction log, snapshots, and how a start puts them together (storage-format sheet).
//! `*_format.rs`, `tear.rs` and `recovery.rs` are pure; the rest drives files through `io`. The znode tree is not known here:
//! it is fed through `SnapshotSink` and `RestoreSink`, and read through `SnapshotSource`.
//!
//! In reading order:
//! - `file_name`: `log.N`, `snapshot.N.gz`, which names are whose
//! - `txnlog_format`, `tear`, `recovery`: records in a log file, what stands where they end, and what to do there
//! - `log_reader`, `log_range`, `txnlog`, `truncate`: reading logs, reading what a learner lacks, writing the log, cutting it
//! - `snapshot_format`, `snapshot`: the other file; `snapshot_stream`: the same on its way to a learner
//! - `epoch_files`: what a member of an ensemble has promised; `config_files`: who its members are
//! - `restore`: a start, from both; `data_dir`, `purge`: the directories around them

mod byte_stream;
mod config_files;
pub mod data_dir;
pub mod epoch_files;
mod error;
pub mod file_name;
mod log_range;
mod log_reader;
pub mod purge;
pub mod recovery;
mod restore;
mod segment;
mod snappy_stream;
mod snapshot;
pub mod snapshot_format;
pub mod snapshot_stream;
mod tear;
#[cfg(test)]
pub(crate) mod testing;
mod truncate;
mod txnlog;
pub mod txnlog_format;

pub use config_files::{ConfigFiles, EditStatic};
pub use data_dir::{DataDirOptions, DataDirs};
pub use epoch_files::{EpochFile, Epochs, load_epochs, read_epoch, write_epoch};
pub use error::{StorageError, Unavailable};
pub use log_range::{LogEnd, LogPlace};
pub use log_reader::{LogReader, LogRecord};
pub use restore::{Origin, Repair, RestoreOptions, RestoreSink, Restored, restore};
pub use segment::Background;
pub use snapshot::{Compression, SnapshotFile, SnapshotOptions, list_snapshots, load_snapshot, write_snapshot};
pub use snapshot_format::{SnapshotDigest, SnapshotSink, SnapshotSource, SnapshotTrailer};
pub use snapshot_stream::{BadSnapshotStream, Progress, SnapshotStreamReader, write_stream};
pub use truncate::{cut_above, remove_logs, truncate};
pub use txnlog::{FlushTicket, FlushedThrough, LogOptions, TxnLog};
