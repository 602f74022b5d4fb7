//! Replies of the right form and size to what the load generator sends, put together without any state.
//!
//! A multi is looked into as far as it takes to answer each of its operations; nothing else is.

const STAT_BYTES: usize = 68;
/// As Java's `jute.maxbuffer`.
const FRAME_BYTES_MAX: usize = 0xf_ffff;
/// Ids of the session that everybody gets.
const SESSION: u64 = 1;
const PASSWORD_BYTES: usize = 16;

/// Of requests, as far as answers differ.
mod op {
    use ringkeeper::types::OpCode;

    pub const CREATE: i32 = OpCode::Create as i32;
    pub const DELETE: i32 = OpCode::Delete as i32;
    pub const EXISTS: i32 = OpCode::Exists as i32;
    pub const GET_DATA: i32 = OpCode::GetData as i32;
    pub const SET_DATA: i32 = OpCode::SetData as i32;
    pub const GET_CHILDREN: i32 = OpCode::GetChildren as i32;
    pub const SYNC: i32 = OpCode::Sync as i32;
    pub const GET_CHILDREN_2: i32 = OpCode::GetChildren2 as i32;
    pub const CHECK: i32 = OpCode::Check as i32;
    pub const MULTI: i32 = OpCode::Multi as i32;
    pub const CREATE_2: i32 = OpCode::Create2 as i32;
    pub const MULTI_READ: i32 = OpCode::MultiRead as i32;
    pub const CLOSE_SESSION: i32 = OpCode::CloseSession as i32;
}

pub struct Replies {
    value: Vec<u8>,
    /// A vector of names, as it travels.
    names: Vec<u8>,
}

/// What became of the bytes of one read.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// Bytes of the whole frames at the front.
    pub used: usize,
    /// The client closes its session: nothing follows the replies.
    pub ends: bool,
    /// Bytes of each frame that changes something.
    pub changes: Vec<usize>,
}

impl Replies {
    pub fn new(value_bytes: usize, children: usize) -> Replies {
        let mut names = (children as u32).to_be_bytes().to_vec();
        for child in 0..children {
            put_bytes(&mut names, format!("k{child:08}").as_bytes());
        }
        Replies { value: vec![b'x'; value_bytes], names }
    }

    /// Appends the replies to all whole frames of `bytes` to `out`.
    pub fn answer(&self, bytes: &[u8], has_session: &mut bool, out: &mut Vec<u8>) -> Result<Answered, String> {
        let mut answered = Answered { used: 0, ends: false, changes: Vec::new() };
        while let Some(length) = int_at(bytes, answered.used) {
            let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX);
            let length = length.ok_or("a frame is longer than 1 MiB: that is no ZooKeeper client")?;
            let start = answered.used + 4;
            let Some(frame) = bytes.get(start..start + length) else { break };
            answered.used = start + length;
            let reply_at = out.len();
            out.extend_from_slice(&[0; 4]);
            if std::mem::replace(has_session, true) {
                self.reply(frame, out, &mut answered)?;
            } else {
                connect_response(frame, out);
            }
            let reply_bytes = (out.len() - reply_at - 4) as u32;
            out[reply_at..reply_at + 4].copy_from_slice(&reply_bytes.to_be_bytes());
        }
        Ok(answered)
    }

    fn reply(&self, frame: &[u8], out: &mut Vec<u8>, answered: &mut Answered) -> Result<(), String> {
        let (Some(xid), Some(kind)) = (frame.get(..4), int_at(frame, 4)) else {
            return Err(format!("a frame of {} bytes is no request", frame.len()));
        };
        out.extend_from_slice(xid);
        out.extend_from_slice(&[0; 12]);
        let body = &frame[8..];
        match kind {
            op::GET_DATA => self.put_data(out),
            op::EXISTS => put_stat(out),
            op::GET_CHILDREN => out.extend_from_slice(&self.names),
            op::GET_CHILDREN_2 => {
                out.extend_from_slice(&self.names);
                put_stat(out);
            }
            op::SYNC => put_bytes(out, string_at(body, 0).ok_or("a sync without path")?),
            op::MULTI_READ => self.multi_read(body, out)?,
            op::SET_DATA | op::CREATE | op::CREATE_2 | op::DELETE | op::MULTI => {
                answered.changes.push(frame.len());
                match kind {
                    op::MULTI => multi(body, out)?,
                    op::DELETE => {}
                    op::SET_DATA => put_stat(out),
                    _ => created(kind, body, out)?,
                }
            }
            op::CLOSE_SESSION => answered.ends = true,
            // A ping, or anything else that is answered with a header.
            _ => {}
        }
        Ok(())
    }

    fn put_data(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.value);
        put_stat(out);
    }

    fn multi_read(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        each_of(body, |kind, rest| {
            put_multi_header(out, kind, false);
            match kind {
                op::GET_DATA => self.put_data(out),
                op::GET_CHILDREN => out.extend_from_slice(&self.names),
                _ => return None,
            }
            Some(string_at(rest, 0)?.len() + 4 + 1)
        })?;
        put_multi_header(out, -1, true);
        Ok(())
    }
}

fn multi(body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    each_of(body, |kind, rest| {
        put_multi_header(out, kind, false);
        let path = string_at(rest, 0)?;
        let path_bytes = 4 + path.len();
        Some(match kind {
            op::SET_DATA => {
                put_stat(out);
                path_bytes + 4 + bytes_at(rest, path_bytes)?.len() + 4
            }
            op::DELETE | op::CHECK => path_bytes + 4,
            op::CREATE | op::CREATE_2 => {
                created(kind, rest, out).ok()?;
                let acl_at = path_bytes + 4 + bytes_at(rest, path_bytes)?.len();
                acl_end(rest, acl_at)? + 4
            }
            _ => return None,
        })
    })?;
    put_multi_header(out, -1, true);
    Ok(())
}

/// Calls `operation` with the kind and the bytes of each operation of a multi; it answers how many of them were its own.
fn each_of(body: &[u8], mut operation: impl FnMut(i32, &[u8]) -> Option<usize>) -> Result<(), String> {
    let mut at = 0;
    loop {
        let (kind, is_last) = int_at(body, at).zip(body.get(at + 4)).ok_or("a multi without end")?;
        if *is_last != 0 {
            return Ok(());
        }
        at += 9;
        let rest = body.get(at..).ok_or("a multi without end")?;
        at += operation(kind, rest).ok_or_else(|| format!("an operation of kind {kind} that is not understood"))?;
    }
}

fn connect_response(frame: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(frame.get(12..16).unwrap_or(&[0; 4])); // the timeout asked for
    out.extend_from_slice(&SESSION.to_be_bytes());
    put_bytes(out, &[0; PASSWORD_BYTES]);
    out.push(0); // not read-only
}

fn created(kind: i32, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    put_bytes(out, string_at(body, 0).ok_or("a create without path")?);
    if kind == op::CREATE_2 {
        put_stat(out);
    }
    Ok(())
}

fn put_stat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; STAT_BYTES]);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_multi_header(out: &mut Vec<u8>, kind: i32, is_last: bool) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.push(u8::from(is_last));
    out.extend_from_slice(&if is_last { -1i32 } else { 0 }.to_be_bytes());
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A buffer or a string; a null one has no bytes.
fn bytes_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = int_at(bytes, at)?.max(0) as usize;
    bytes.get(at + 4..at + 4 + length)
}

fn string_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    bytes_at(bytes, at)
}

/// Where a vector of ACLs ends.
fn acl_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 4;
    for _ in 0..int_at(bytes, at)?.max(0) {
        end += 4; // permissions
        end += 4 + bytes_at(bytes, end)?.len();
        end += 4 + bytes_at(bytes, end)?.len();
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: i32, body: &[u8]) -> Vec<u8> {
        let mut payload = 7i32.to_be_bytes().to_vec();
        payload.extend_from_slice(&kind.to_be_bytes());
        payload.extend_from_slice(body);
        let mut out = Vec::new();
        put_bytes(&mut out, &payload);
        out
    }

    fn text(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, text.as_bytes());
        out
    }

    /// Bodies of the replies, and what became of the bytes.
    fn answers(bytes: &[u8]) -> (Vec<Vec<u8>>, Answered) {
        let mut out = Vec::new();
        let answered = Replies::new(3, 2).answer(bytes, &mut true, &mut out).expect("understood");
        let (mut bodies, mut at) = (Vec::new(), 0);
        while let Some(payload) = bytes_at(&out, at) {
            assert_eq!(payload[..16], [&7i32.to_be_bytes()[..], &[0; 12]].concat());
            bodies.push(payload[16..].to_vec());
            at += 4 + payload.len();
        }
        assert_eq!(at, out.len());
        (bodies, answered)
    }

    #[test]
    fn whole_frames_are_answered_and_the_rest_is_kept() {
        let get = frame(op::GET_DATA, &[text("/a"), vec![0]].concat());
        let set = frame(op::SET_DATA, &[text("/a"), text("xy"), vec![0; 4]].concat());
        let bytes = [&get[..], &set, &get[..9]].concat();
        let (bodies, answered) = answers(&bytes);
        assert_eq!(bodies, [[text("xxx"), vec![0; STAT_BYTES]].concat(), vec![0; STAT_BYTES]]);
        assert_eq!(answered, Answered { used: get.len() + set.len(), ends: false, changes: vec![set.len() - 4] });
    }

    #[test]
    fn the_first_frame_opens_a_session() {
        let hello = [vec![0; 12], 9000i32.to_be_bytes().to_vec(), vec![0; 8], text(&"\0".repeat(16)), vec![0]].concat();
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, &hello);
        let (mut out, mut has_session) = (Vec::new(), false);
        Replies::new(0, 0).answer(&bytes, &mut has_session, &mut out).expect("understood");
        assert!(has_session);
        assert_eq!((out.len(), int_at(&out, 8)), (4 + 37, Some(9000)));
    }

    #[test]
    fn every_operation_of_a_multi_is_answered() {
        let header = |kind: i32, last: bool| [&kind.to_be_bytes()[..], &[u8::from(last)], &[0xff; 4]].concat();
        let acl = [&1i32.to_be_bytes()[..], &[0; 4], &text("world"), &text("anyone")].concat();
        let create = [header(op::CREATE, false), text("/n"), text("v"), acl, vec![0; 4]].concat();
        let set = [header(op::SET_DATA, false), text("/a"), text("xy"), vec![0; 4]].concat();
        let check = [header(op::CHECK, false), text("/a"), vec![0; 4]].concat();
        let body = [create, set, check, header(-1, true)].concat();
        let (bodies, answered) = answers(&frame(op::MULTI, &body));
        let ok = |kind: i32| [&kind.to_be_bytes()[..], &[0], &[0; 4]].concat();
        let expected =
            [ok(op::CREATE), text("/n"), ok(op::SET_DATA), vec![0; STAT_BYTES], ok(op::CHECK), header(-1, true)];
        assert_eq!(bodies, [expected.concat()]);
        assert_eq!(answered.changes, [8 + body.len()]);
    }

    #[test]
    fn lists_have_the_names_asked_for() {
        let (bodies, _) = answers(&frame(op::GET_CHILDREN, &[text("/a"), vec![0]].concat()));
        assert_eq!(bodies, [[2i32.to_be_bytes().to_vec(), text("k00000000"), text("k00000001")].concat()]);
    }

    #[test]
    fn what_is_no_client_is_refused() {
        let mut out = Vec::new();
        let replies = Replies::new(0, 0);
        assert!(replies.answer(&[0x7f; 8], &mut true, &mut out).is_err());
        assert!(replies.answer(&frame(op::MULTI, &[0; 3]), &mut true, &mut out).is_err());
    }
}
