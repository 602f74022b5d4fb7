//! Replies and notifications as bytes: every function appends one whole frame to a connection's output
//! (client-protocol sheet §3, §7, §14). What the answer is, is decided elsewhere.
//!
//! The answers most often given (bare header, Stat, data) have a length known beforehand: they are laid out in a
//! fixed array or after a single reservation, so that a reply costs one check of the vector's bounds per piece.
//!
//! ```text
//! length:4 | xid:4 zxid:8 err:4 | record, absent when there is none
//! ```

use crate::message::{ConnectResponse, MultiReadResult, MultiResult, Outcome, WatchEvent, WriteResult};
use crate::types::{Acl, ErrorCode, OpCode, Stat, Xid, Zxid};
use crate::wire::Writer;
use crate::wire::frame::LENGTH_BYTES;

const HEADER_BYTES: usize = 16;
const STAT_BYTES: usize = 68;
/// Where a frame's record starts.
const RECORD_AT: usize = LENGTH_BYTES + HEADER_BYTES;
/// `WatcherEvent.state`: the only one a server sends.
const SYNC_CONNECTED: i32 = 3;

/// A reply without a record; `err` 0 is success.
pub fn header_only(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, err: i32) {
    out.extend_from_slice(&head(HEADER_BYTES, xid, zxid, err));
}

/// A refused request.
pub fn error(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, code: ErrorCode) {
    header_only(out, xid, zxid, code.code());
}

/// Any ping, whatever xid it carried.
pub fn ping(out: &mut Vec<u8>, zxid: Zxid) {
    header_only(out, Xid::PING, zxid, 0);
}

/// A request type nobody knows; the connection is closed behind it.
pub fn unknown_op(out: &mut Vec<u8>, xid: Xid) {
    error(out, xid, Zxid(-1), ErrorCode::Unimplemented);
}

/// exists, setData, setACL.
pub fn stat(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, stat: &Stat) {
    let mut frame = [0; RECORD_AT + STAT_BYTES];
    frame[..RECORD_AT].copy_from_slice(&head(HEADER_BYTES + STAT_BYTES, xid, zxid, 0));
    frame[RECORD_AT..].copy_from_slice(&stat_bytes(stat));
    out.extend_from_slice(&frame);
}

/// getData and reconfig; `None` is a null buffer.
pub fn data(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, data: Option<&[u8]>, stat: &Stat) {
    let bytes = data.unwrap_or_default();
    let length: i32 = match data {
        None => -1,
        Some(_) => length(bytes.len()),
    };
    let payload_bytes = HEADER_BYTES + 4 + bytes.len() + STAT_BYTES;
    let mut start = [0; RECORD_AT + 4];
    start[..RECORD_AT].copy_from_slice(&head(payload_bytes, xid, zxid, 0));
    start[RECORD_AT..].copy_from_slice(&length.to_be_bytes());
    out.reserve(LENGTH_BYTES + payload_bytes);
    out.extend_from_slice(&start);
    out.extend_from_slice(bytes);
    out.extend_from_slice(&stat_bytes(stat));
}

/// getACL; ids are shown as they are handed in.
pub fn acl(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, acl: &[Acl], stat: &Stat) {
    frame(out, xid, zxid, 0, |w| {
        w.acl(Some(acl));
        w.raw(&stat_bytes(stat));
    });
}

/// getChildren and getEphemerals: any number of names.
pub fn names<'a>(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, names: impl IntoIterator<Item = &'a str>) {
    let start = begin(out, xid, zxid, 0);
    append_names(out, names);
    finish(out, start);
}

/// getChildren2.
pub fn names_and_stat<'a>(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    names: impl IntoIterator<Item = &'a str>,
    stat: &Stat,
) {
    let start = begin(out, xid, zxid, 0);
    append_names(out, names);
    out.extend_from_slice(&stat_bytes(stat));
    finish(out, start);
}

/// getAllChildrenNumber, and the ErrorResponse{0} that answers addWatch.
pub fn int(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, value: i32) {
    frame(out, xid, zxid, 0, |w| w.int(value));
}

/// sync, which echoes a null path as null.
pub fn path(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, path: Option<&str>) {
    frame(out, xid, zxid, 0, |w| w.string_or_null(path));
}

/// whoAmI: scheme and user of every identity.
pub fn who_am_i<'a>(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    identities: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) {
    frame(out, xid, zxid, 0, |w| {
        w.count(identities.len());
        for (scheme, user) in identities {
            w.string(scheme);
            w.string(user);
        }
    });
}

/// sasl, zxid always 0; a null token comes from a server without SASL, and with a failure.
pub fn sasl(out: &mut Vec<u8>, xid: Xid, err: i32, token: Option<&[u8]>) {
    frame(out, xid, Zxid::ZERO, err, |w| w.buffer(token));
}

/// How a write ended.
pub fn outcome(out: &mut Vec<u8>, xid: Xid, outcome: &Outcome) {
    let zxid = outcome.zxid;
    match &outcome.result {
        Err(code) => error(out, xid, zxid, *code),
        Ok(WriteResult::Stat(s)) => stat(out, xid, zxid, s),
        Ok(WriteResult::Path(created)) => path(out, xid, zxid, Some(created)),
        Ok(WriteResult::PathAndStat(created, s)) => frame(out, xid, zxid, 0, |w| {
            w.string(created);
            w.raw(&stat_bytes(s));
        }),
        Ok(WriteResult::Nothing) => header_only(out, xid, zxid, 0),
        Ok(WriteResult::Multi(entries)) => multi(out, xid, zxid, entries),
        Ok(WriteResult::Data(bytes, s)) => data(out, xid, zxid, bytes.as_deref(), s),
    }
}

/// multi, succeeded or failed: the header's err is 0 in both cases.
fn multi(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, entries: &[MultiResult]) {
    frame(out, xid, zxid, 0, |w| {
        for entry in entries {
            let err = match entry {
                MultiResult::Error(code) => *code,
                _ => 0,
            };
            entry_header(w, entry.op_code(), err);
            match entry {
                MultiResult::Create(created) => w.string(created),
                MultiResult::Create2(created, s) => {
                    w.string(created);
                    w.raw(&stat_bytes(s));
                }
                MultiResult::Delete | MultiResult::Check => {}
                MultiResult::SetData(s) => w.raw(&stat_bytes(s)),
                MultiResult::Error(code) => w.int(*code),
            }
        }
        end_marker(w);
    });
}

/// multiRead. `err` is 0 unless the list as a whole was refused (-5); then `entries` are those answered before.
pub fn multi_read<'a>(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    err: i32,
    entries: impl IntoIterator<Item = MultiReadResult<'a>>,
) {
    frame(out, xid, zxid, err, |w| {
        for entry in entries {
            match entry {
                MultiReadResult::Data(bytes, s) => {
                    entry_header(w, OpCode::GetData, 0);
                    w.buffer(bytes);
                    w.raw(&stat_bytes(&s));
                }
                MultiReadResult::Children(names) => {
                    entry_header(w, OpCode::GetChildren, 0);
                    w.count(names.len());
                    for name in names {
                        w.string(name);
                    }
                }
                MultiReadResult::Error(code) => {
                    entry_header(w, OpCode::Error, code.code());
                    w.int(code.code());
                }
            }
        }
        end_marker(w);
    });
}

/// A watch event. It is the same for everybody who hears it.
pub fn notification(out: &mut Vec<u8>, event: &WatchEvent) {
    frame(out, Xid::NOTIFICATION, event.zxid, 0, |w| {
        w.int(event.kind as i32);
        w.int(SYNC_CONNECTED);
        w.string(&event.path);
    });
}

/// Answer to the first frame, without a reply header: 37 bytes, 36 for a client that did not send readOnly.
pub fn connect(out: &mut Vec<u8>, response: &ConnectResponse) {
    Writer::frame(out, |w| {
        w.int(0);
        w.int(response.timeout_ms);
        w.long(response.session.0);
        w.buffer(Some(&response.password));
        if let Some(read_only) = response.read_only {
            w.bool(read_only);
        }
    });
}

fn entry_header(w: &mut Writer<'_>, op: OpCode, err: i32) {
    w.int(op.code());
    w.bool(false);
    w.int(err);
}

fn end_marker(w: &mut Writer<'_>) {
    w.int(-1);
    w.bool(true);
    w.int(-1);
}

fn frame(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, err: i32, record: impl FnOnce(&mut Writer<'_>)) {
    let start = begin(out, xid, zxid, err);
    record(&mut Writer::new(out));
    finish(out, start);
}

/// Appends a header whose length is not known yet; `finish` takes what this returns.
fn begin(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, err: i32) -> usize {
    let start = out.len();
    out.extend_from_slice(&head(0, xid, zxid, err));
    start
}

fn finish(out: &mut [u8], start: usize) {
    let payload_bytes = length(out.len() - start - LENGTH_BYTES);
    out[start..start + LENGTH_BYTES].copy_from_slice(&payload_bytes.to_be_bytes());
}

/// Count, patched afterwards, and the names.
fn append_names<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = &'a str>) {
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0;
    for name in names {
        out.extend_from_slice(&length(name.len()).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        count += 1;
    }
    out[count_at..count_at + 4].copy_from_slice(&length(count).to_be_bytes());
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a reply is shorter than 2 GiB")
}

fn head(payload_bytes: usize, xid: Xid, zxid: Zxid, err: i32) -> [u8; RECORD_AT] {
    let mut bytes = [0; RECORD_AT];
    bytes[0..4].copy_from_slice(&length(payload_bytes).to_be_bytes());
    bytes[4..8].copy_from_slice(&xid.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&zxid.0.to_be_bytes());
    bytes[16..20].copy_from_slice(&err.to_be_bytes());
    bytes
}

/// The record Stat.
fn stat_bytes(stat: &Stat) -> [u8; STAT_BYTES] {
    let mut bytes = [0; STAT_BYTES];
    bytes[0..8].copy_from_slice(&stat.czxid.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&stat.mzxid.0.to_be_bytes());
    bytes[16..24].copy_from_slice(&stat.ctime.to_be_bytes());
    bytes[24..32].copy_from_slice(&stat.mtime.to_be_bytes());
    bytes[32..36].copy_from_slice(&stat.version.to_be_bytes());
    bytes[36..40].copy_from_slice(&stat.cversion.to_be_bytes());
    bytes[40..44].copy_from_slice(&stat.aversion.to_be_bytes());
    bytes[44..52].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes[52..56].copy_from_slice(&stat.data_length.to_be_bytes());
    bytes[56..60].copy_from_slice(&stat.num_children.to_be_bytes());
    bytes[60..68].copy_from_slice(&stat.pzxid.0.to_be_bytes());
    bytes
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
