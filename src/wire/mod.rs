//! Bytes of the wire and of log entries: jute records in and out (client-protocol sheet §2).
//! Slices in, values out, and back; no sockets, no files.

pub mod client;
pub mod frame;
mod reader;
pub mod txn;
mod writer;

pub use reader::{BadBytes, Found, Reader};
pub use writer::Writer;
