//! The client protocol's bytes: requests in (`request.rs`, the lists of multi and multiRead in `multi_list.rs`),
//! replies and notifications out (`response.rs`), writes on to a leader (`forward.rs`).

mod forward;
mod multi_list;
mod request;
pub mod response;

pub use forward::encode_write;
pub use request::{Header, Refusal, Request, decode, decode_connect, decode_header, path_of_read};

#[cfg(test)]
mod test_client;
