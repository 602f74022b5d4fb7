//! Bytes of the wire and of log entries: jute records in and out (client-protocol sheet §2).
//! Slices in, values out, and back; no sockets, no files.

pub mod client;
pub mod election;
pub mod frame;
pub mod quorum;
mod reader;
mod scan;
pub mod txn;
mod writer;

pub use reader::{BadBytes, Found, Reader};
pub use scan::{Decoded, IdVectorScan, buffer_length};
pub use writer::Writer;
