//! Client requests, decoded completely. Reads borrow from the frame they came in, since they are answered on
//! the spot; writes own what they carry, since they travel to the ensemble thread.

use crate::types::{Acl, Operation, Zxid};

/// First frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    pub protocol_version: i32,
    pub last_zxid_seen: Zxid,
    pub timeout_ms: i32,
    /// 0 = new session.
    pub session: crate::types::SessionId,
    /// `None` for a null buffer.
    pub password: Option<Vec<u8>>,
    /// `None` from clients before 3.4, who do not send the byte and must not get it back.
    pub read_only: Option<bool>,
}

/// Requests answered by the worker from a pinned version of the tree. A `None` path is a null string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOp<'a> {
    Exists {
        path: &'a str,
        watch: bool,
    },
    GetData {
        path: &'a str,
        watch: bool,
    },
    GetAcl {
        path: &'a str,
    },
    GetChildren {
        path: &'a str,
        watch: bool,
    },
    GetChildren2 {
        path: &'a str,
        watch: bool,
    },
    GetAllChildrenNumber {
        path: &'a str,
    },
    /// `None` = null prefix, which means all.
    GetEphemerals {
        prefix: Option<&'a str>,
    },
    /// `None` = the list could not be read as a list of reads; answered by -5 with an empty list.
    MultiRead {
        ops: Option<Vec<MultiReadOp<'a>>>,
    },
    /// The path is echoed, null included; existence is not checked.
    Sync {
        path: Option<&'a str>,
    },
    Ping,
    WhoAmI,
    SetWatches(WatchesToSet<'a>),
    AddWatch {
        path: &'a str,
        mode: AddWatchMode,
    },
    CheckWatches {
        path: &'a str,
        kind: WatchRemovalKind,
    },
    RemoveWatches {
        path: &'a str,
        kind: WatchRemovalKind,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiReadOp<'a> {
    GetData { path: Option<&'a str> },
    GetChildren { path: Option<&'a str> },
}

/// setWatches and setWatches2 (whose last two lists are empty in the first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchesToSet<'a> {
    pub relative_zxid: Zxid,
    pub data: Vec<&'a str>,
    pub exist: Vec<&'a str>,
    pub child: Vec<&'a str>,
    pub persistent: Vec<&'a str>,
    pub persistent_recursive: Vec<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddWatchMode {
    Persistent,
    PersistentRecursive,
}

/// `Watcher.WatcherType` of checkWatches and removeWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchRemovalKind {
    Children,
    Data,
    Any,
    Persistent,
    PersistentRecursive,
}

/// Requests that become a transaction. A `None` path or list is a null on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// create, create2, createContainer and createTTL, told apart by `op`; `ttl_ms` only with `CreateTtl`.
    Create(CreateOp),
    Delete {
        path: Option<String>,
        version: i32,
    },
    /// The sweeper's own; refused from clients.
    DeleteContainer {
        path: String,
    },
    SetData {
        path: Option<String>,
        data: Option<Vec<u8>>,
        version: i32,
    },
    SetAcl {
        path: Option<String>,
        acl: Option<Vec<Acl>>,
        version: i32,
    },
    Multi(Vec<MultiOp>),
    /// A multi whose list decodes as a frame but holds what a multi may not hold: consumes a zxid, answered -5.
    BadMulti,
    Reconfig {
        joining: Option<String>,
        leaving: Option<String>,
        new_members: Option<String>,
        config_id: i64,
    },
}

/// One of the four creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOp {
    /// `Create`, `Create2`, `CreateContainer` or `CreateTtl`.
    pub op: crate::types::OpCode,
    pub path: Option<String>,
    pub data: Option<Vec<u8>>,
    /// `None` = null vector; an entry is never null here (a null entry is undecodable on our wire).
    pub acl: Option<Vec<Acl>>,
    pub flags: i32,
    /// -1 unless `op` is `CreateTtl`.
    pub ttl_ms: i64,
}

/// An operation inside a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp {
    Create(CreateOp),
    Delete { path: Option<String>, version: i32 },
    SetData { path: Option<String>, data: Option<Vec<u8>>, version: i32 },
    Check { path: Option<String>, version: i32 },
}

/// opcode 100; handled at the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    pub kind: i32,
    pub scheme: Option<&'a str>,
    pub auth: Option<&'a [u8]>,
}

impl WriteOp {
    /// Of the znodes that it names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let (path, ops): (Option<&str>, &[MultiOp]) = match self {
            WriteOp::Create(CreateOp { path, .. })
            | WriteOp::Delete { path, .. }
            | WriteOp::SetData { path, .. }
            | WriteOp::SetAcl { path, .. } => (path.as_deref(), &[]),
            WriteOp::DeleteContainer { path } => (Some(path), &[]),
            WriteOp::Multi(ops) => (None, ops),
            WriteOp::BadMulti | WriteOp::Reconfig { .. } => (None, &[]),
        };
        path.into_iter().chain(ops.iter().filter_map(MultiOp::path))
    }

    pub fn operation(&self) -> Operation {
        match self {
            WriteOp::Create(_) => Operation::Create,
            WriteOp::Delete { .. } | WriteOp::DeleteContainer { .. } => Operation::Delete,
            WriteOp::SetData { .. } => Operation::SetData,
            WriteOp::SetAcl { .. } => Operation::SetAcl,
            WriteOp::Multi(_) | WriteOp::BadMulti => Operation::Multi,
            WriteOp::Reconfig { .. } => Operation::Reconfig,
        }
    }

    /// Most bytes that this request's log entry can take, without header and digest.
    pub fn entry_bytes_max(&self) -> usize {
        match self {
            WriteOp::Create(op) => op.entry_bytes_max(),
            WriteOp::Delete { path, .. } => text_bytes(path),
            WriteOp::DeleteContainer { path } => path.len() + FIXED_BYTES,
            WriteOp::SetData { path, data, .. } => text_bytes(path) + data_bytes(data),
            WriteOp::SetAcl { path, acl, .. } => text_bytes(path) + acl_bytes(acl),
            WriteOp::Multi(ops) => ops.iter().map(MultiOp::entry_bytes_max).sum(),
            WriteOp::BadMulti | WriteOp::Reconfig { .. } => FIXED_BYTES,
        }
    }
}

impl CreateOp {
    fn entry_bytes_max(&self) -> usize {
        text_bytes(&self.path) + data_bytes(&self.data) + acl_bytes(&self.acl)
    }
}

impl MultiOp {
    fn path(&self) -> Option<&str> {
        match self {
            MultiOp::Create(CreateOp { path, .. })
            | MultiOp::Delete { path, .. }
            | MultiOp::SetData { path, .. }
            | MultiOp::Check { path, .. } => path.as_deref(),
        }
    }

    fn entry_bytes_max(&self) -> usize {
        match self {
            MultiOp::Create(op) => op.entry_bytes_max(),
            MultiOp::Delete { path, .. } | MultiOp::Check { path, .. } => text_bytes(path),
            MultiOp::SetData { path, data, .. } => text_bytes(path) + data_bytes(data),
        }
    }
}

/// Numbers and lengths of one operation, and a sequence suffix.
const FIXED_BYTES: usize = 64;

fn text_bytes(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len) + FIXED_BYTES
}

fn data_bytes(data: &Option<Vec<u8>>) -> usize {
    data.as_ref().map_or(0, Vec::len)
}

/// Scheme `auth` grows into ids of the connection: `AUTH_ID_BYTES_MAX` covers those of a digest user.
fn acl_bytes(acl: &Option<Vec<Acl>>) -> usize {
    const AUTH_ID_BYTES_MAX: usize = 512;
    acl.as_ref().map_or(0, |acl| acl.iter().map(|a| a.id.scheme.len() + a.id.id.len() + AUTH_ID_BYTES_MAX).sum())
}
