//! What a request came to, as values; `wire/client` turns them into reply bytes.

use crate::types::{ErrorCode, OpCode, SessionId, Stat, Zxid};

/// Answer to the first frame. A refused session is all zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    pub timeout_ms: i32,
    pub session: SessionId,
    pub password: [u8; 16],
    /// Written only when the request carried the byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    pub fn refused(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse {
            timeout_ms: 0,
            session: SessionId::NONE,
            password: [0; 16],
            read_only: read_only.map(|_| false),
        }
    }
}

/// How a write ended: `zxid` goes into the reply header in both cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub zxid: Zxid,
    pub result: Result<WriteResult, ErrorCode>,
}

/// Body of a successful write's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// create: `CreateResponse`
    Path(String),
    /// create2, createContainer, createTTL: `Create2Response`
    PathAndStat(String, Stat),
    /// setData, setACL
    Stat(Stat),
    /// delete, closeSession
    Nothing,
    /// multi, succeeded or failed: the reply's err is 0 in both cases
    Multi(Vec<MultiResult>),
    /// reconfig: the new configuration
    Data(Option<Vec<u8>>, Stat),
}

/// One entry of a multi's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiResult {
    Create(String),
    /// create2, createContainer and createTTL all answer with type 15
    Create2(String, Stat),
    Delete,
    SetData(Stat),
    Check,
    /// In a failed multi: 0 before the failing operation, its code, -2 behind it.
    Error(i32),
}

/// One entry of a multiRead's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiReadResult<'a> {
    Data(Option<&'a [u8]>, Stat),
    Children(Vec<&'a str>),
    Error(ErrorCode),
}

impl MultiResult {
    /// `MultiHeader.type` of this entry.
    pub fn op_code(&self) -> OpCode {
        match self {
            MultiResult::Create(_) => OpCode::Create,
            MultiResult::Create2(..) => OpCode::Create2,
            MultiResult::Delete => OpCode::Delete,
            MultiResult::SetData(_) => OpCode::SetData,
            MultiResult::Check => OpCode::Check,
            MultiResult::Error(_) => OpCode::Error,
        }
    }
}
