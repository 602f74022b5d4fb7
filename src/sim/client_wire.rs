//! A client's requests and the replies to them, in bytes; and what a read shows against the one history.

use super::checkers::client_history::{Head, check_children, check_znode};
use super::checkers::{Checked, History, Violation};
use super::workload::Request;
use crate::message::WatchEventKind;
use crate::types::{OpCode, Stat, Zxid};
use crate::wire::client::encode_write;
use crate::wire::{Reader, Writer};

/// A read shows the tree of the history as of the zxid of its reply.
pub fn check_read(history: &History, request: &Request, head: Head, r: &mut Reader<'_>) -> Checked {
    let bad = |error: crate::wire::BadBytes| Violation(format!("a reply: {error}"));
    match request {
        Request::Get { path, .. } => {
            let shown = match head.err {
                0 => Some((r.buffer("data").map_err(bad)?.unwrap_or_default(), read_stat(r).map_err(bad)?)),
                _ => None,
            };
            let shown = shown.as_ref().map(|(data, stat)| (stat, Some(*data)));
            check_znode(history.znodes.at(path, head.zxid), path, head, shown)
        }
        Request::Exists { path, .. } => {
            let stat = (head.err == 0).then(|| read_stat(r)).transpose().map_err(bad)?;
            let shown = stat.as_ref().map(|stat| (stat, None));
            check_znode(history.znodes.at(path, head.zxid), path, head, shown)
        }
        Request::Children { path, .. } if head.err != 0 => {
            check_znode(history.znodes.at(path, head.zxid), path, head, None)
        }
        Request::Children { path, .. } => {
            let names = r.vector("names", 4, |r| r.string_present("name")).map_err(bad)?.unwrap_or_default();
            check_children(history, path, head, &names)
        }
        Request::Write(_) | Request::CloseSession | Request::Sync { .. } => Ok(()),
    }
}

/// What stands in a whole frame.
pub fn take_frame(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = input.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)?;
    if input.len() < 4 + length {
        return None;
    }
    let frame = input[4..4 + length].to_vec();
    input.drain(..4 + length);
    Some(frame)
}

pub fn read_head(r: &mut Reader<'_>) -> Result<Head, Violation> {
    let bad = |error: crate::wire::BadBytes| Violation(format!("a reply: {error}"));
    Ok(Head {
        xid: r.int("xid").map_err(bad)?,
        zxid: Zxid(r.long("zxid").map_err(bad)?),
        err: r.int("err").map_err(bad)?,
    })
}

pub fn put_request(w: &mut Writer<'_>, request: &Request) {
    match request {
        Request::Write(op) => {
            let (code, body) = encode_write(op).expect("a client can send it");
            w.int(code.code());
            w.raw(&body);
        }
        Request::Get { path, watch } => put_read(w, OpCode::GetData, path, *watch),
        Request::Exists { path, watch } => put_read(w, OpCode::Exists, path, *watch),
        Request::Children { path, watch } => put_read(w, OpCode::GetChildren, path, *watch),
        Request::Sync { path } => {
            w.int(OpCode::Sync.code());
            w.string(path);
        }
        Request::CloseSession => w.int(OpCode::CloseSession.code()),
    }
}

fn put_read(w: &mut Writer<'_>, op: OpCode, path: &str, watch: bool) {
    w.int(op.code());
    w.string(path);
    w.bool(watch);
}

fn read_stat(r: &mut Reader<'_>) -> Result<Stat, crate::wire::BadBytes> {
    Ok(Stat {
        czxid: Zxid(r.long("czxid")?),
        mzxid: Zxid(r.long("mzxid")?),
        ctime: r.long("ctime")?,
        mtime: r.long("mtime")?,
        version: r.int("version")?,
        cversion: r.int("cversion")?,
        aversion: r.int("aversion")?,
        ephemeral_owner: r.long("ephemeralOwner")?,
        data_length: r.int("dataLength")?,
        num_children: r.int("numChildren")?,
        pzxid: Zxid(r.long("pzxid")?),
    })
}

pub fn event_kind(code: i32) -> Option<WatchEventKind> {
    use WatchEventKind::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
    [NodeCreated, NodeDeleted, NodeDataChanged, NodeChildrenChanged].into_iter().find(|kind| *kind as i32 == code)
}
