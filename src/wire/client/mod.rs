//! The client protocol's bytes: requests in (`request.rs`, the lists of multi and multiRead in `multi_list.rs`),
//! replies and notifications out (`response.rs`).

mod multi_list;
mod request;
pub mod response;

pub use request::{Header, Refusal, Request, decode, decode_connect, decode_header};

/// Bytes of the tests, as the sheet writes them: hexadecimal digits, anything else is decoration.
#[cfg(test)]
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}
