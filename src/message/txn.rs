//! Transactions: what the log holds and, in an ensemble, what servers agree on. Bytes: `wire/txn.rs`.

use crate::types::{Acl, OpCode, SessionId, WallMillis, Zxid};

/// 32 bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session that asked; 0 for the sweeper.
    pub session: SessionId,
    pub cxid: i32,
    pub zxid: Zxid,
    /// Leader's wall clock at proposal.
    pub time: WallMillis,
}

/// A transaction with its header; the header's type number follows from the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    pub header: TxnHeader,
    pub body: TxnBody,
    /// Digest of the tree after this transaction; absent for plain error transactions and foreign writers.
    pub digest: Option<TxnDigest>,
}

/// Tree digest as carried by transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnDigest {
    /// Version of the algorithm; ours is 2.
    pub version: i32,
    pub tree: u64,
}

impl TxnDigest {
    pub const VERSION: i32 = 2;
}

/// The change itself. `None` data is a null buffer and differs from empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnBody {
    /// Types 1 and 15, told apart by `op` (`Create` or `Create2`).
    Create {
        op: OpCode,
        path: String,
        data: Option<Vec<u8>>,
        acl: Option<Vec<Acl>>,
        ephemeral: bool,
        parent_cversion: i32,
    },
    CreateContainer {
        path: String,
        data: Option<Vec<u8>>,
        acl: Option<Vec<Acl>>,
        parent_cversion: i32,
    },
    CreateTtl {
        path: String,
        data: Option<Vec<u8>>,
        acl: Option<Vec<Acl>>,
        parent_cversion: i32,
        ttl_ms: i64,
    },
    /// Types 2 and 20 (`Delete` or `DeleteContainer`).
    Delete {
        op: OpCode,
        path: String,
    },
    /// Types 5 and 16 (`SetData` or `Reconfig`); `version` is the resulting one, -1 for reconfig.
    SetData {
        op: OpCode,
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    /// `version` is the resulting aversion.
    SetAcl {
        path: String,
        acl: Option<Vec<Acl>>,
        version: i32,
    },
    /// Only inside a multi.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<SubTxn>),
    CreateSession {
        timeout_ms: i32,
    },
    /// `None` = written without the list (older logs, or `closeSessionTxn.enabled=false`).
    CloseSession {
        paths: Option<Vec<String>>,
    },
    Error(i32),
}

/// An entry of a multi: its type number and its body. In a failed multi the operations before the
/// failing one keep their real type; the failing one and those behind it are `Error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubTxn {
    pub body: TxnBody,
}

impl TxnBody {
    /// The type number written into the header, or into the multi's entry.
    pub fn op_code(&self) -> OpCode {
        match self {
            TxnBody::Create { op, .. } | TxnBody::Delete { op, .. } | TxnBody::SetData { op, .. } => *op,
            TxnBody::CreateContainer { .. } => OpCode::CreateContainer,
            TxnBody::CreateTtl { .. } => OpCode::CreateTtl,
            TxnBody::SetAcl { .. } => OpCode::SetAcl,
            TxnBody::Check { .. } => OpCode::Check,
            TxnBody::Multi(_) => OpCode::Multi,
            TxnBody::CreateSession { .. } => OpCode::CreateSession,
            TxnBody::CloseSession { .. } => OpCode::CloseSession,
            TxnBody::Error(_) => OpCode::Error,
        }
    }

    /// Of the znodes that it names; a closeSession's are left out.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let subs = if let TxnBody::Multi(subs) = self { subs.as_slice() } else { &[] };
        self.path().into_iter().chain(subs.iter().filter_map(|sub| sub.body.path()))
    }

    fn path(&self) -> Option<&str> {
        match self {
            TxnBody::Create { path, .. }
            | TxnBody::CreateContainer { path, .. }
            | TxnBody::CreateTtl { path, .. }
            | TxnBody::Delete { path, .. }
            | TxnBody::SetData { path, .. }
            | TxnBody::SetAcl { path, .. }
            | TxnBody::Check { path, .. } => Some(path),
            TxnBody::Multi(_) | TxnBody::CreateSession { .. } | TxnBody::CloseSession { .. } | TxnBody::Error(_) => {
                None
            }
        }
    }
}
