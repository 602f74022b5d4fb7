//! A client's frames become typed requests here, once and completely: whoever holds a `Request` holds valid values
//! (client-protocol sheet §3, §6, §7, §10, §16, §20). What a request means, which node exists, who may do what, is
//! `request`'s business; framing is `wire/frame.rs`.
//!
//! Invariants: no input panics; nothing is allocated that the bytes do not justify; trailing bytes are ignored. A
//! write that can not be decoded never gets any farther, so it consumes no zxid (a list of a multi is the
//! exception, see `multi_list.rs`).
//!
//! Differs from Java on purpose: text that is not UTF-8 is undecodable (Java replaces the bad bytes), a null scheme or id in
//! an ACL entry reads as the empty id (answered -114, where Java trips over it and answers -5), opcodes 20
//! (deleteContainer) and -10 (createSession) are the servers' own and unknown to clients.

use super::multi_list::{self, BadList, List};
use crate::message::{
    AddWatchMode, AuthPacket, ConnectRequest, CreateOp, ReadOp, WatchRemovalKind, WatchesToSet, WriteOp,
};
use crate::types::{Acl, Id, OpCode, SessionId, Xid, Zxid};
use crate::wire::{BadBytes, Found, Reader};

/// RequestHeader and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub xid: Xid,
    /// As sent; `decode` knows which numbers mean something.
    pub op: i32,
    pub body: &'a [u8],
}

/// A decoded request, sorted by who carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The worker, from a pinned version of the tree.
    Read(ReadOp<'a>),
    /// The ensemble thread, as a transaction.
    Write(WriteOp),
    /// The connection at once, unordered with queued requests.
    Auth(AuthPacket<'a>),
    /// The connection at once, unordered with queued requests.
    Sasl { token: &'a [u8] },
    /// The ensemble thread, then the connection is closed.
    CloseSession,
}

/// Why a request is not carried out, and thereby what the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Reply -5 with the zxid last processed, in the order of the session's requests; the connection goes on.
    #[error("undecodable request: {0}")]
    Undecodable(#[from] BadBytes),
    /// Reply -6 with zxid -1, then close.
    #[error("unknown request type {0}")]
    UnknownOp(i32),
    /// Close without a reply: packets handled at the connection itself.
    #[error("undecodable authentication packet: {0}")]
    HangUp(BadBytes),
}

/// First 8 bytes of every request but the first; too few of them close the connection without a reply.
pub fn decode_header(payload: &[u8]) -> Result<Header<'_>, BadBytes> {
    let mut r = Reader::new(payload);
    let xid = Xid(r.int("xid")?);
    let op = r.int("request type")?;
    Ok(Header { xid, op, body: r.rest() })
}

/// The znode that a request reads, if it is such a request; for a first look, which looks neither for text nor for errors.
pub fn path_of_read(payload: &[u8]) -> Option<&[u8]> {
    let header = decode_header(payload).ok()?;
    let (OpCode::GetData | OpCode::Exists | OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetAcl) =
        OpCode::from_code(header.op)?
    else {
        return None;
    };
    Reader::new(header.body).buffer("path").ok()?
}

/// First frame of a connection. The last field is missing from clients before 3.4.
pub fn decode_connect(payload: &[u8]) -> Result<ConnectRequest, BadBytes> {
    let mut r = Reader::new(payload);
    Ok(ConnectRequest {
        protocol_version: r.int("protocolVersion")?,
        last_zxid_seen: Zxid(r.long("lastZxidSeen")?),
        timeout_ms: r.int("timeOut")?,
        session: SessionId(r.long("sessionId")?),
        password: r.buffer("passwd")?.map(<[u8]>::to_vec),
        read_only: if r.is_empty() { None } else { Some(r.bool("readOnly")?) },
    })
}

/// The request of type `op` with the given body.
pub fn decode(op: i32, body: &[u8]) -> Result<Request<'_>, Refusal> {
    let known = OpCode::from_code(op).ok_or(Refusal::UnknownOp(op))?;
    let r = &mut Reader::new(body);
    Ok(match known {
        OpCode::GetData
        | OpCode::Exists
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::GetAcl
        | OpCode::GetAllChildrenNumber
        | OpCode::GetEphemerals
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::WhoAmI => Request::Read(plain_read(known, r)?),
        OpCode::MultiRead => Request::Read(multi_read(body)?),
        OpCode::SetWatches | OpCode::SetWatches2 | OpCode::AddWatch => Request::Read(watch_setting(known, r)?),
        OpCode::CheckWatches | OpCode::RemoveWatches => Request::Read(watch_query(known, r)?),
        OpCode::SetData => Request::Write(set_data(r)?),
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            Request::Write(WriteOp::Create(create(known, r)?))
        }
        OpCode::Delete => Request::Write(delete(r)?),
        OpCode::SetAcl => Request::Write(set_acl(r)?),
        OpCode::Multi => Request::Write(multi(body)?),
        OpCode::Reconfig => Request::Write(reconfig(r)?),
        OpCode::Auth => Request::Auth(auth(r).map_err(Refusal::HangUp)?),
        OpCode::Sasl => Request::Sasl { token: sasl_token(r).map_err(Refusal::HangUp)? },
        OpCode::CloseSession => Request::CloseSession,
        OpCode::Error | OpCode::CreateSession | OpCode::DeleteContainer | OpCode::Check => {
            return Err(Refusal::UnknownOp(op));
        }
    })
}

/// Reads of one path, and the requests without one. A null path is refused only where Java trips over it.
fn plain_read<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<ReadOp<'a>, BadBytes> {
    Ok(match op {
        OpCode::GetData => ReadOp::GetData { path: r.string_present("path")?, watch: r.bool("watch")? },
        OpCode::Exists => ReadOp::Exists { path: r.string_present("path")?, watch: r.bool("watch")? },
        OpCode::GetChildren => ReadOp::GetChildren { path: r.string_present("path")?, watch: r.bool("watch")? },
        OpCode::GetChildren2 => ReadOp::GetChildren2 { path: r.string_present("path")?, watch: r.bool("watch")? },
        OpCode::GetAcl => ReadOp::GetAcl { path: r.string_present("path")? },
        OpCode::GetAllChildrenNumber => ReadOp::GetAllChildrenNumber { path: r.string_present("path")? },
        OpCode::GetEphemerals => ReadOp::GetEphemerals { prefix: r.string("prefixPath")? },
        OpCode::Sync => ReadOp::Sync { path: r.string("path")? },
        OpCode::WhoAmI => ReadOp::WhoAmI,
        _ => ReadOp::Ping,
    })
}

/// A path of a watch request. Java accepts null there, and a watch on it never fires; neither does one on the
/// empty path, so it stands for both.
fn watched_path<'a>(r: &mut Reader<'a>) -> Result<&'a str, BadBytes> {
    Ok(r.string("path")?.unwrap_or_default())
}

fn watch_setting<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<ReadOp<'a>, BadBytes> {
    if op == OpCode::AddWatch {
        let path = watched_path(r)?;
        let mode = match r.int("mode")? {
            0 => AddWatchMode::Persistent,
            1 => AddWatchMode::PersistentRecursive,
            other => return Err(r.error("mode", Found::Value(other.into()))),
        };
        return Ok(ReadOp::AddWatch { path, mode });
    }
    let mut watches = WatchesToSet {
        relative_zxid: Zxid(r.long("relativeZxid")?),
        data: present_paths(r, "dataWatches")?,
        exist: present_paths(r, "existWatches")?,
        child: present_paths(r, "childWatches")?,
        persistent: Vec::new(),
        persistent_recursive: Vec::new(),
    };
    if op == OpCode::SetWatches2 {
        watches.persistent = watched_paths(r, "persistentWatches")?;
        watches.persistent_recursive = watched_paths(r, "persistentRecursiveWatches")?;
    }
    Ok(ReadOp::SetWatches(watches))
}

/// Paths that are looked up, none of which may be null.
fn present_paths<'a>(r: &mut Reader<'a>, what: &'static str) -> Result<Vec<&'a str>, BadBytes> {
    r.vector(what, 4, |r| r.string_present(what))?.ok_or_else(|| r.error(what, Found::Null))
}

/// Paths that are only registered.
fn watched_paths<'a>(r: &mut Reader<'a>, what: &'static str) -> Result<Vec<&'a str>, BadBytes> {
    r.vector(what, 4, watched_path)?.ok_or_else(|| r.error(what, Found::Null))
}

fn watch_query<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<ReadOp<'a>, BadBytes> {
    let path = watched_path(r)?;
    let kind = match r.int("type")? {
        1 => WatchRemovalKind::Children,
        2 => WatchRemovalKind::Data,
        3 => WatchRemovalKind::Any,
        4 => WatchRemovalKind::Persistent,
        5 => WatchRemovalKind::PersistentRecursive,
        other => return Err(r.error("type", Found::Value(other.into()))),
    };
    Ok(match op {
        OpCode::CheckWatches => ReadOp::CheckWatches { path, kind },
        _ => ReadOp::RemoveWatches { path, kind },
    })
}

/// A path of a write; null travels on, because the answer to it takes a zxid.
pub(super) fn owned_path(r: &mut Reader<'_>) -> Result<Option<String>, BadBytes> {
    Ok(r.string("path")?.map(str::to_owned))
}

pub(super) fn owned_data(r: &mut Reader<'_>) -> Result<Option<Vec<u8>>, BadBytes> {
    Ok(r.buffer("data")?.map(<[u8]>::to_vec))
}

/// A list as a client may send it. A null scheme or id reads as empty: no provider accepts either, so both are
/// answered -114 where the list is checked.
fn acl(r: &mut Reader<'_>) -> Result<Option<Vec<Acl>>, BadBytes> {
    r.vector("acl", 12, |r| {
        let perms = r.int("perms")?;
        let scheme = r.string("scheme")?.unwrap_or_default().to_owned();
        let id = r.string("id")?.unwrap_or_default().to_owned();
        Ok(Acl { perms, id: Id { scheme, id } })
    })
}

/// The body of any of the four creates. Flags are not judged here.
pub(super) fn create(op: OpCode, r: &mut Reader<'_>) -> Result<CreateOp, BadBytes> {
    Ok(CreateOp {
        op,
        path: owned_path(r)?,
        data: owned_data(r)?,
        acl: acl(r)?,
        flags: r.int("flags")?,
        ttl_ms: match op {
            OpCode::CreateTtl => r.long("ttl")?,
            _ => -1,
        },
    })
}

fn delete(r: &mut Reader<'_>) -> Result<WriteOp, BadBytes> {
    Ok(WriteOp::Delete { path: owned_path(r)?, version: r.int("version")? })
}

fn set_data(r: &mut Reader<'_>) -> Result<WriteOp, BadBytes> {
    Ok(WriteOp::SetData { path: owned_path(r)?, data: owned_data(r)?, version: r.int("version")? })
}

fn set_acl(r: &mut Reader<'_>) -> Result<WriteOp, BadBytes> {
    Ok(WriteOp::SetAcl { path: owned_path(r)?, acl: acl(r)?, version: r.int("version")? })
}

fn reconfig(r: &mut Reader<'_>) -> Result<WriteOp, BadBytes> {
    Ok(WriteOp::Reconfig {
        joining: r.string("joiningServers")?.map(str::to_owned),
        leaving: r.string("leavingServers")?.map(str::to_owned),
        new_members: r.string("newMembers")?.map(str::to_owned),
        config_id: r.long("curConfigId")?,
    })
}

/// A list that is none still becomes a transaction, as in Java.
fn multi(body: &[u8]) -> Result<WriteOp, BadBytes> {
    Ok(match multi_list::decode(body) {
        Ok(List { writes, reads }) => {
            // Java finds a null path only when it prepares the list, and then refuses all of it.
            if reads.is_empty() && writes.iter().all(multi_list::has_path) {
                WriteOp::Multi(writes)
            } else {
                WriteOp::BadMulti
            }
        }
        Err(BadList::Bytes(_)) => WriteOp::BadMulti,
        Err(BadList::NullAcl(bad)) => return Err(bad),
    })
}

/// A list of writes decodes, but is answered by -5 with an empty list.
fn multi_read(body: &[u8]) -> Result<ReadOp<'_>, BadBytes> {
    match multi_list::decode(body) {
        Ok(List { writes, reads }) => Ok(ReadOp::MultiRead { ops: writes.is_empty().then_some(reads) }),
        Err(BadList::Bytes(bad) | BadList::NullAcl(bad)) => Err(bad),
    }
}

fn auth<'a>(r: &mut Reader<'a>) -> Result<AuthPacket<'a>, BadBytes> {
    Ok(AuthPacket { kind: r.int("type")?, scheme: r.string("scheme")?, auth: r.buffer("auth")? })
}

fn sasl_token<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], BadBytes> {
    r.buffer("token")?.ok_or_else(|| r.error("token", Found::Null))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
