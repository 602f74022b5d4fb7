//! The part of ZooKeeper's client protocol a load generator needs: the handshake, ready-made request
//! frames, and reply headers. It owns bytes only; sockets are `connection`'s and choices are `workload`'s.
//!
//! ```text
//! request  len:i32 | xid:i32 | op:i32 | path:string ...        reply  len:i32 | xid:i32 | zxid:i64 | err:i32 | ...
//! ```
//!
//! A request is built once as a [`Template`]; sending one copies it and overwrites the xid and the digits of
//! the key. Invariant: a template's length never depends on xid or key, so no frame length is ever recomputed.
//! This codec is deliberately separate from the server's: a mistake in one must not be hidden by the other.

pub const LENGTH_PREFIX_BYTES: usize = 4;
pub const REPLY_HEADER_BYTES: usize = 16;
/// Replies below this xid's sign are not answers to our operations: -1 watch events, -2 pings.
pub const XID_PING: i32 = -2;
/// No reply of a sane server to this generator comes near it; more means that the stream is not ours.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// Keys are written with a fixed number of digits, so that every frame of a template has the same length.
pub const KEY_DIGITS: usize = 8;
pub const KEYS_MAX: u64 = 10u64.pow(KEY_DIGITS as u32);
/// Names of the `create` workload, which must never run out during a run.
pub const SEQUENCE_DIGITS: usize = 12;
/// Offsets inside a ConnectRequest or ConnectResponse payload, up to the length of the password.
const CONNECT_RESPONSE_BYTES_MIN: usize = 36;
const PASSWORD_BYTES: usize = 16;

/// Operation codes, as ZooKeeper's `ZooDefs.OpCode` numbers them.
pub mod op_code {
    pub const CREATE: i32 = 1;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const PING: i32 = 11;
    pub const CLOSE_SESSION: i32 = -11;
}

/// Error codes this tool treats specially or names in its report.
pub mod error_code {
    pub const NODE_EXISTS: i32 = -110;

    /// ZooKeeper's own name of an error code, for people.
    pub fn name(code: i32) -> &'static str {
        match code {
            -1 => "SYSTEMERROR",
            -2 => "RUNTIMEINCONSISTENCY",
            -4 => "CONNECTIONLOSS",
            -5 => "MARSHALLINGERROR",
            -6 => "UNIMPLEMENTED",
            -8 => "BADARGUMENTS",
            -101 => "NONODE",
            -102 => "NOAUTH",
            -103 => "BADVERSION",
            -108 => "NOCHILDRENFOREPHEMERALS",
            -110 => "NODEEXISTS",
            -112 => "SESSIONEXPIRED",
            -115 => "AUTHFAILED",
            -118 => "SESSIONMOVED",
            -119 => "NOTREADONLY",
            -124 => "SESSIONCLOSEDREQUIRESASLAUTH",
            -125 => "QUOTAEXCEEDED",
            -127 => "THROTTLEDOP",
            _ => "error",
        }
    }
}

/// Wraps a payload written by `fill` into a frame at the end of `out`.
fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_PREFIX_BYTES]);
    fill(out);
    let payload_bytes = (out.len() - start - LENGTH_PREFIX_BYTES) as i32;
    out[start..start + LENGTH_PREFIX_BYTES].copy_from_slice(&payload_bytes.to_be_bytes());
}

fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_int(out, bytes.len() as i32);
    out.extend_from_slice(bytes);
}

/// One `ACL{perms: all, world:anyone}`, the list every create of ours carries.
fn put_open_acl(out: &mut Vec<u8>) {
    put_int(out, 1);
    put_int(out, 0x1f);
    put_bytes(out, b"world");
    put_bytes(out, b"anyone");
}

/// A ConnectRequest for a new session.
pub fn connect_request(session_timeout_ms: i32) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, |out| {
        put_int(out, 0); // protocolVersion
        out.extend_from_slice(&0i64.to_be_bytes()); // lastZxidSeen
        put_int(out, session_timeout_ms);
        out.extend_from_slice(&0i64.to_be_bytes()); // sessionId: a new one
        put_bytes(out, &[0; PASSWORD_BYTES]);
        out.push(0); // readOnly
    });
    out
}

/// What a server said to a ConnectRequest.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectAnswer {
    Session { session_id: i64, timeout_ms: i32 },
    Refused,
}

/// True when a length prefix can be that of a ConnectResponse; anything else is not a ZooKeeper server.
pub fn is_connect_response_length(payload_bytes: i32) -> bool {
    let bytes_min = CONNECT_RESPONSE_BYTES_MIN as i32;
    (bytes_min..=bytes_min + 1).contains(&payload_bytes)
}

/// Reads a ConnectResponse payload; `None` when it is not one.
pub fn connect_answer(payload: &[u8]) -> Option<ConnectAnswer> {
    let timeout_ms = int_at(payload, 4)?;
    let session_id = i64::from_be_bytes(payload.get(8..16)?.try_into().ok()?);
    let password_bytes = int_at(payload, 16)?;
    if password_bytes != PASSWORD_BYTES as i32 || payload.len() < CONNECT_RESPONSE_BYTES_MIN {
        return None;
    }
    Some(if timeout_ms <= 0 || session_id == 0 {
        ConnectAnswer::Refused
    } else {
        ConnectAnswer::Session { session_id, timeout_ms }
    })
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Appends a request that consists of a header alone (ping, closeSession).
pub fn append_header_only(out: &mut Vec<u8>, xid: i32, op: i32) {
    frame(out, |out| {
        put_int(out, xid);
        put_int(out, op);
    });
}

/// A request frame, complete but for its xid and the digits at the end of its path.
pub struct Template {
    bytes: Vec<u8>,
    digits_at: usize,
    digits: usize,
}

impl Template {
    pub fn get_data(path_prefix: &str, digits: usize) -> Template {
        Template::build(op_code::GET_DATA, path_prefix, digits, |out| out.push(0)) // watch: no
    }

    pub fn set_data(path_prefix: &str, digits: usize, value: &[u8]) -> Template {
        Template::build(op_code::SET_DATA, path_prefix, digits, |out| {
            put_bytes(out, value);
            put_int(out, -1); // any version
        })
    }

    pub fn create(path_prefix: &str, digits: usize, value: &[u8]) -> Template {
        Template::build(op_code::CREATE, path_prefix, digits, |out| {
            put_bytes(out, value);
            put_open_acl(out);
            put_int(out, 0); // flags: persistent
        })
    }

    fn build(op: i32, path_prefix: &str, digits: usize, rest: impl FnOnce(&mut Vec<u8>)) -> Template {
        let mut bytes = Vec::new();
        let mut digits_at = 0;
        frame(&mut bytes, |out| {
            put_int(out, 0); // xid, patched
            put_int(out, op);
            put_int(out, (path_prefix.len() + digits) as i32);
            out.extend_from_slice(path_prefix.as_bytes());
            digits_at = out.len();
            out.resize(out.len() + digits, b'0');
            rest(out);
        });
        Template { bytes, digits_at, digits }
    }

    /// Appends the frame with `xid` and `key` filled in. Digits of `key` beyond the template's are dropped.
    #[inline]
    pub fn append(&self, out: &mut Vec<u8>, xid: i32, key: u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
        let digits_at = start + self.digits_at;
        let mut rest = key;
        for digit in out[digits_at..digits_at + self.digits].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii"));
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
    }

    /// The frame a ZooKeeper 3.9 client sends for `create /a` = "x" with the open ACL.
    #[test]
    fn create_equals_the_captured_frame() {
        let mut out = Vec::new();
        Template::create("/a", 0, b"x").append(&mut out, 1, 0);
        let payload = "00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000";
        assert_eq!(out[4..], hex(payload));
        assert_eq!(out[..4], (out.len() as i32 - 4).to_be_bytes());
    }

    #[test]
    fn append_patches_xid_and_key_and_nothing_else() {
        let template = Template::get_data("/bench/k", KEY_DIGITS);
        let mut out = b"earlier".to_vec();
        template.append(&mut out, 0x0102_0304, 9_041);
        let expected = "0000001d 01020304 00000004 00000010 2f62656e63682f6b 3030303039303431 00";
        assert_eq!(out[..7], *b"earlier");
        assert_eq!(out[7..], hex(expected));
    }

    #[test]
    fn handshake_equals_the_captured_exchange() {
        let request =
            "0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00";
        assert_eq!(connect_request(10_000), hex(request));
        let response = hex("00000000 00002710 0100001219cd0000 00000010 29d782eb02a46588af6c79fa1bc94e46 00");
        assert!(is_connect_response_length(response.len() as i32));
        let session = ConnectAnswer::Session { session_id: 0x0100_0012_19cd_0000, timeout_ms: 10_000 };
        assert_eq!(connect_answer(&response), Some(session));
        let refused = hex("00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00");
        assert_eq!(connect_answer(&refused), Some(ConnectAnswer::Refused));
    }

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
