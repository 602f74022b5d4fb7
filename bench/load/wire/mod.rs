//! The part of ZooKeeper's client protocol a load generator needs: the handshake, ready-made request
//! frames, and reply headers. It owns bytes only; sockets are `connection`'s and choices are `workload`'s.
//!
//! ```text
//! request  len:i32 | xid:i32 | op:i32 | path:string ...        reply  len:i32 | xid:i32 | zxid:i64 | err:i32 | ...
//! ```
//!
//! Requests that are sent by the million are built once, see [`Template`]. This codec is deliberately separate from the server's: a mistake in one must not be hidden by the other.

pub mod error_code;
pub mod multi;
pub mod session;
mod template;

pub use template::{Part, Slot, Template, successor};

pub const LENGTH_PREFIX_BYTES: usize = 4;
pub const REPLY_HEADER_BYTES: usize = 16;
/// Where the body of a reply's frame begins.
pub const BODY_AT: usize = LENGTH_PREFIX_BYTES + REPLY_HEADER_BYTES;
/// Replies below this xid's sign are not answers to our operations: -1 watch events, -2 pings.
pub const XID_EVENT: i32 = -1;
pub const XID_PING: i32 = -2;
pub const XID_SET_WATCHES: i32 = -8;
/// No reply of a sane server to this generator comes near it; more means that the stream is not ours.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// Keys are written with a fixed number of digits, so that every frame of a template has the same length.
pub const KEY_DIGITS: usize = 8;
pub const KEYS_MAX: u64 = 10u64.pow(KEY_DIGITS as u32);
/// Names of the `create` workload, which must never run out during a run.
pub const SEQUENCE_DIGITS: usize = 12;

/// Operation codes, as ZooKeeper's `ZooDefs.OpCode` numbers them.
pub mod op_code {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const MULTI_READ: i32 = 22;
    pub const SET_WATCHES: i32 = 101;
    pub const CLOSE_SESSION: i32 = -11;
}

/// Wraps a payload written by `fill` into a frame at the end of `out`.
pub fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_PREFIX_BYTES]);
    fill(out);
    let payload_bytes = (out.len() - start - LENGTH_PREFIX_BYTES) as i32;
    out[start..start + LENGTH_PREFIX_BYTES].copy_from_slice(&payload_bytes.to_be_bytes());
}

pub fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_int(out, bytes.len() as i32);
    out.extend_from_slice(bytes);
}

/// One `ACL{perms: all, world:anyone}`, the list every create of ours carries.
pub fn put_open_acl(out: &mut Vec<u8>) {
    put_int(out, 1);
    put_int(out, 0x1f);
    put_bytes(out, b"world");
    put_bytes(out, b"anyone");
}

pub fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Appends a request that consists of a header alone (ping, closeSession).
pub fn append_header_only(out: &mut Vec<u8>, xid: i32, op: i32) {
    frame(out, |out| {
        put_int(out, xid);
        put_int(out, op);
    });
}

/// The two fields of a ReplyHeader that matter here; the zxid is left unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    pub xid: i32,
    pub error_code: i32,
}

/// What stands at the beginning of some received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole reply, `bytes` long with its prefix.
    Reply { header: ReplyHeader, bytes: usize },
    /// The reply is not complete yet.
    More,
    /// Not a reply: its length prefix is this.
    Foreign { payload_bytes: i32 },
}

/// Looks at the first reply in `bytes` without copying it.
#[inline]
pub fn cut_reply(bytes: &[u8]) -> Cut {
    let Some(payload_bytes) = int_at(bytes, 0) else {
        return Cut::More;
    };
    if payload_bytes < REPLY_HEADER_BYTES as i32 || payload_bytes as usize > REPLY_BYTES_MAX {
        return Cut::Foreign { payload_bytes };
    }
    let frame_bytes = LENGTH_PREFIX_BYTES + payload_bytes as usize;
    if bytes.len() < frame_bytes {
        return Cut::More;
    }
    match (int_at(bytes, 4), int_at(bytes, 16)) {
        (Some(xid), Some(error_code)) => Cut::Reply { header: ReplyHeader { xid, error_code }, bytes: frame_bytes },
        _ => Cut::More,
    }
}

/// Bytes written down as hexadecimal digits.
#[cfg(test)]
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_waits_for_every_byte_and_tells_strangers_apart() {
        let reply = hex("00000010 00000007 0000000000000080 ffffff9b");
        for cut in 0..reply.len() {
            assert_eq!(cut_reply(&reply[..cut]), Cut::More, "{cut} bytes");
        }
        let header = ReplyHeader { xid: 7, error_code: -101 };
        assert_eq!(cut_reply(&reply), Cut::Reply { header, bytes: 20 });
        let foreign = i32::from_be_bytes(*b"HTTP");
        assert_eq!(cut_reply(b"HTTP/1.1 400"), Cut::Foreign { payload_bytes: foreign });
        assert_eq!(cut_reply(&hex("ffffffff")), Cut::Foreign { payload_bytes: -1 });
    }
}
