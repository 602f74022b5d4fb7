//! Requests written and replies read by a second, independent hand.
//!
//! Owns the bytes of client requests and the decoding of what a server sends back. Deliberately shares nothing with
//! the server's own wire code: a mistake made there must not be repeated here. It can also write what no library
//! would: null paths, text that is not UTF-8, wrong counts. A decoder here either accounts for every byte of a
//! frame or keeps the frame raw, so that two frames compare equal only when all their bytes were understood.

use std::fmt;

pub mod op {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CLOSE_SESSION: i32 = -11;
}

/// A `ustring` as it stands on the wire: perhaps null, perhaps not UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(pub Option<Vec<u8>>);

impl Text {
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(Some(text.as_bytes().to_vec()))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("null"),
            Some(bytes) => write_bytes(bytes, f),
        }
    }
}

/// Longer ones are shown by their beginning and their length.
const SHOWN_BYTES_MAX: usize = 60;

fn write_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        _ if bytes.len() > SHOWN_BYTES_MAX => {
            write!(f, "b\"{}\"… ({} bytes)", bytes[..SHOWN_BYTES_MAX / 2].escape_ascii(), bytes.len())
        }
        Ok(text) => write!(f, "{text:?}"),
        Err(_) => write!(f, "b\"{}\"", bytes.escape_ascii()),
    }
}

/// Bytes nobody made sense of.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(&self.0, f)
    }
}

/// A `buffer`: null and empty differ.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(pub Option<Vec<u8>>);

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("null"),
            Some(bytes) => write_bytes(bytes, f),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub perms: i32,
    pub scheme: Text,
    pub id: Text,
}

impl Acl {
    pub fn new(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, scheme: scheme.into(), id: id.into() }
    }

    pub fn open() -> Option<Vec<Acl>> {
        Some(vec![Acl::new(31, "world", "anyone")])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

/// A request, typed as far as it is well formed.
#[derive(Clone, Debug)]
pub enum Op {
    /// create, create2, createContainer
    Create {
        opcode: i32,
        path: Text,
        data: Data,
        acl: Option<Vec<Acl>>,
        flags: i32,
    },
    CreateTtl {
        path: Text,
        data: Data,
        acl: Option<Vec<Acl>>,
        flags: i32,
        ttl: i64,
    },
    Delete {
        path: Text,
        version: i32,
    },
    /// exists, getData, getChildren, getChildren2
    Read {
        opcode: i32,
        path: Text,
        watch: bool,
    },
    SetData {
        path: Text,
        data: Data,
        version: i32,
    },
    SetAcl {
        path: Text,
        acl: Option<Vec<Acl>>,
        version: i32,
    },
    /// getACL, sync, getEphemerals, getAllChildrenNumber
    Path {
        opcode: i32,
        path: Text,
    },
    /// Stands alone only as a way to be refused.
    Check {
        path: Text,
        version: i32,
    },
    /// multi, multiRead
    Multi {
        opcode: i32,
        items: Vec<Op>,
    },
    Reconfig {
        joining: Text,
        leaving: Text,
        members: Text,
        config_id: i64,
    },
    /// checkWatches, removeWatches, addWatch
    Watch {
        opcode: i32,
        path: Text,
        kind: i32,
    },
    Auth {
        scheme: Text,
        auth: Data,
    },
    Sasl {
        token: Data,
    },
    /// setWatches (three lists), setWatches2 (five)
    SetWatches {
        opcode: i32,
        relative_zxid: i64,
        lists: Vec<Vec<Text>>,
    },
    /// ping, whoAmI, closeSession: no body
    Bare {
        opcode: i32,
    },
    /// Any opcode with any bytes.
    Raw {
        opcode: i32,
        body: Bytes,
    },
}

impl Op {
    pub fn opcode(&self) -> i32 {
        match self {
            Op::Create { opcode, .. }
            | Op::Read { opcode, .. }
            | Op::Path { opcode, .. }
            | Op::Multi { opcode, .. }
            | Op::Watch { opcode, .. }
            | Op::SetWatches { opcode, .. }
            | Op::Bare { opcode }
            | Op::Raw { opcode, .. } => *opcode,
            Op::CreateTtl { .. } => op::CREATE_TTL,
            Op::Delete { .. } => op::DELETE,
            Op::SetData { .. } => op::SET_DATA,
            Op::SetAcl { .. } => op::SET_ACL,
            Op::Check { .. } => op::CHECK,
            Op::Reconfig { .. } => op::RECONFIG,
            Op::Auth { .. } => op::AUTH,
            Op::Sasl { .. } => op::SASL,
        }
    }

    /// The request record, without header.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_body(&mut out);
        out
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Op::Create { path, data, acl, flags, .. } => {
                put_buffer(out, &path.0);
                put_buffer(out, &data.0);
                put_acl(out, acl);
                put_int(out, *flags);
            }
            Op::CreateTtl { path, data, acl, flags, ttl } => {
                put_buffer(out, &path.0);
                put_buffer(out, &data.0);
                put_acl(out, acl);
                put_int(out, *flags);
                put_long(out, *ttl);
            }
            Op::Delete { path, version } | Op::Check { path, version } => {
                put_buffer(out, &path.0);
                put_int(out, *version);
            }
            Op::Read { path, watch, .. } => {
                put_buffer(out, &path.0);
                out.push(u8::from(*watch));
            }
            Op::SetData { path, data, version } => {
                put_buffer(out, &path.0);
                put_buffer(out, &data.0);
                put_int(out, *version);
            }
            Op::SetAcl { path, acl, version } => {
                put_buffer(out, &path.0);
                put_acl(out, acl);
                put_int(out, *version);
            }
            Op::Path { path, .. } => put_buffer(out, &path.0),
            Op::Multi { items, .. } => {
                for item in items {
                    put_multi_header(out, item.opcode(), false, -1);
                    item.write_body(out);
                }
                put_multi_header(out, -1, true, -1);
            }
            Op::Reconfig { joining, leaving, members, config_id } => {
                put_buffer(out, &joining.0);
                put_buffer(out, &leaving.0);
                put_buffer(out, &members.0);
                put_long(out, *config_id);
            }
            Op::Watch { path, kind, .. } => {
                put_buffer(out, &path.0);
                put_int(out, *kind);
            }
            Op::Auth { scheme, auth } => {
                put_int(out, 0);
                put_buffer(out, &scheme.0);
                put_buffer(out, &auth.0);
            }
            Op::Sasl { token } => put_buffer(out, &token.0),
            Op::SetWatches { relative_zxid, lists, .. } => {
                put_long(out, *relative_zxid);
                for list in lists {
                    put_int(out, list.len() as i32);
                    list.iter().for_each(|path| put_buffer(out, &path.0));
                }
            }
            Op::Bare { .. } => {}
            Op::Raw { body, .. } => out.extend_from_slice(&body.0),
        }
    }
}

pub fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_long(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_buffer(out: &mut Vec<u8>, bytes: &Option<Vec<u8>>) {
    match bytes {
        None => put_int(out, -1),
        Some(bytes) => {
            put_int(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

fn put_acl(out: &mut Vec<u8>, acl: &Option<Vec<Acl>>) {
    let Some(acl) = acl else {
        return put_int(out, -1);
    };
    put_int(out, acl.len() as i32);
    for entry in acl {
        put_int(out, entry.perms);
        put_buffer(out, &entry.scheme.0);
        put_buffer(out, &entry.id.0);
    }
}

fn put_multi_header(out: &mut Vec<u8>, kind: i32, done: bool, err: i32) {
    put_int(out, kind);
    out.push(u8::from(done));
    put_int(out, err);
}

/// One frame from the server, after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Event {
        zxid: i64,
        err: i32,
        kind: i32,
        state: i32,
        path: Text,
    },
    Reply {
        xid: i32,
        zxid: i64,
        err: i32,
        body: Body,
    },
    /// The server closed the connection.
    Closed,
    /// Bytes that are not what this request's reply may look like.
    Raw(Bytes),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Empty,
    Stat(Stat),
    Path(Text),
    PathStat(Text, Stat),
    Data(Data, Stat),
    Acl(Option<Vec<Acl>>, Stat),
    Names(Vec<Text>),
    NamesStat(Vec<Text>, Stat),
    Int(i32),
    Token(Data),
    Clients(Vec<(Text, Text)>),
    Multi(Vec<MultiResult>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiResult {
    pub kind: i32,
    pub err: i32,
    pub body: Body,
}

/// The opcode decides how the body of a reply reads; events announce themselves by xid -1.
pub fn decode_frame(bytes: &[u8], opcode: Option<i32>) -> Frame {
    let mut input = Input { bytes, at: 0 };
    try_decode(&mut input, opcode)
        .filter(|_| input.at == bytes.len())
        .unwrap_or_else(|| Frame::Raw(Bytes(bytes.to_vec())))
}

pub fn is_event(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff; 4])
}

fn try_decode(input: &mut Input, opcode: Option<i32>) -> Option<Frame> {
    let xid = input.int()?;
    let zxid = input.long()?;
    let err = input.int()?;
    if xid == -1 {
        return Some(Frame::Event { zxid, err, kind: input.int()?, state: input.int()?, path: input.text()? });
    }
    let body = if input.at == input.bytes.len() { Body::Empty } else { body_of(input, opcode?)? };
    Some(Frame::Reply { xid, zxid, err, body })
}

fn body_of(input: &mut Input, opcode: i32) -> Option<Body> {
    Some(match opcode {
        op::CREATE | op::SYNC => Body::Path(input.text()?),
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => Body::PathStat(input.text()?, input.stat()?),
        op::EXISTS | op::SET_DATA | op::SET_ACL => Body::Stat(input.stat()?),
        op::GET_DATA | op::RECONFIG => Body::Data(input.data()?, input.stat()?),
        op::GET_ACL => Body::Acl(input.acl()?, input.stat()?),
        op::GET_CHILDREN | op::GET_EPHEMERALS => Body::Names(input.texts()?),
        op::GET_CHILDREN2 => Body::NamesStat(input.texts()?, input.stat()?),
        op::GET_ALL_CHILDREN_NUMBER | op::ADD_WATCH => Body::Int(input.int()?),
        op::SASL => Body::Token(input.data()?),
        op::WHO_AM_I => {
            let count = input.count()?;
            Body::Clients((0..count).map(|_| Some((input.text()?, input.text()?))).collect::<Option<_>>()?)
        }
        op::MULTI | op::MULTI_READ => Body::Multi(multi_results(input)?),
        _ => return None,
    })
}

fn multi_results(input: &mut Input) -> Option<Vec<MultiResult>> {
    let mut results = Vec::new();
    loop {
        let kind = input.int()?;
        let done = input.byte()?;
        let err = input.int()?;
        if done != 0 {
            return (kind == -1 && done == 1 && err == -1).then_some(results);
        }
        let body = match kind {
            -1 => Body::Int(input.int()?),
            op::DELETE | op::CHECK => Body::Empty,
            op::CREATE | op::CREATE2 | op::SET_DATA | op::GET_DATA | op::GET_CHILDREN => body_of(input, kind)?,
            _ => return None,
        };
        results.push(MultiResult { kind, err, body });
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let slice = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(slice)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn buffer(&mut self) -> Option<Option<Vec<u8>>> {
        match self.int()? {
            -1 => Some(None),
            len => Some(Some(self.take(usize::try_from(len).ok()?)?.to_vec())),
        }
    }

    fn text(&mut self) -> Option<Text> {
        Some(Text(self.buffer()?))
    }

    fn data(&mut self) -> Option<Data> {
        Some(Data(self.buffer()?))
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.int()?).ok()
    }

    fn texts(&mut self) -> Option<Vec<Text>> {
        (0..self.count()?).map(|_| self.text()).collect()
    }

    fn acl(&mut self) -> Option<Option<Vec<Acl>>> {
        match self.int()? {
            -1 => Some(None),
            count => (0..usize::try_from(count).ok()?)
                .map(|_| Some(Acl { perms: self.int()?, scheme: self.text()?, id: self.text()? }))
                .collect::<Option<Vec<_>>>()
                .map(Some),
        }
    }

    fn stat(&mut self) -> Option<Stat> {
        Some(Stat {
            czxid: self.long()?,
            mzxid: self.long()?,
            ctime: self.long()?,
            mtime: self.long()?,
            version: self.int()?,
            cversion: self.int()?,
            aversion: self.int()?,
            ephemeral_owner: self.long()?,
            data_length: self.int()?,
            num_children: self.int()?,
            pzxid: self.long()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn a_create_request_is_the_captured_one() {
        let create = Op::Create {
            opcode: op::CREATE,
            path: "/a".into(),
            data: Data(Some(b"x".to_vec())),
            acl: Acl::open(),
            flags: 0,
        };
        let captured = "00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000";
        assert_eq!(create.body(), bytes(captured));
    }

    #[test]
    fn captured_replies_and_events_decode() {
        let reply = decode_frame(&bytes("00000001 0000000000000008 00000000 00000002 2f61"), Some(op::CREATE));
        assert_eq!(reply, Frame::Reply { xid: 1, zxid: 8, err: 0, body: Body::Path("/a".into()) });
        let event = decode_frame(&bytes("ffffffff 000000000000007e 00000000 00000003 00000003 00000003 2f7031"), None);
        assert_eq!(event, Frame::Event { zxid: 0x7e, err: 0, kind: 3, state: 3, path: "/p1".into() });
    }

    #[test]
    fn a_frame_with_a_byte_too_many_stays_raw() {
        let frame = bytes("00000001 0000000000000008 00000000 00000002 2f61 00");
        assert_eq!(decode_frame(&frame, Some(op::CREATE)), Frame::Raw(Bytes(frame)));
    }
}
