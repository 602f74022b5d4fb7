//! What the words speak of, as values. Whoever owns the things fills these in; nothing here asks anybody.

use super::date::TimeZone;
use crate::message::QuorumStatus;
use crate::observe::{Latencies, Metrics};
use crate::types::{OpCode, SessionId, WallMillis, Zxid};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMode {
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl ServerMode {
    pub fn name(self) -> &'static str {
        match self {
            ServerMode::Standalone => "standalone",
            ServerMode::Leader => "leader",
            ServerMode::Follower => "follower",
            ServerMode::Observer => "observer",
            ServerMode::ReadOnly => "read-only",
        }
    }
}

/// The server as a whole.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    pub mode: ServerMode,
    /// Last applied.
    pub last_zxid: Zxid,
    /// Client connections, this one included.
    pub connections: u64,
    /// Requests taken and not answered yet.
    pub outstanding_requests: u64,
    /// Znodes, the root counted twice: 5 on a fresh server, as ZooKeeper counts.
    pub node_count: u64,
    pub ephemerals_count: u64,
    /// Watches on data and existence.
    pub watch_count: u64,
    /// Lengths of all paths and data, bytes: 44 on a fresh server.
    pub approximate_data_bytes: u64,
    pub global_sessions: u64,
    pub local_sessions: u64,
    /// Of the process; of a member of an ensemble: since it serves in its role.
    pub uptime_ms: u64,
    /// `None`: a server on its own.
    pub quorum: Option<QuorumStatus>,
    pub open_file_descriptors: u64,
    pub max_file_descriptors: u64,
    pub auth_failed: u64,
    /// 0 to 1, see `connection_throttle_freeze_time`.
    pub connection_drop_probability: f64,
    /// By top-level znode: limits and usage where a quota is set anywhere below; see `NamespaceQuota`.
    pub quotas: BTreeMap<String, NamespaceQuota>,
    pub metrics: Metrics,
    /// `mntr` alone tells of them.
    pub latencies: Latencies,
}

/// Quota of one top-level znode; -1 = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceQuota {
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_usage: i64,
    pub bytes_usage: i64,
}

/// One client connection.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    pub remote: SocketAddr,
    /// Bytes from the client are taken at the moment: the `[1]`, else `[0]`.
    pub reading: bool,
    pub outstanding_requests: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    /// What is known once the connection has a session.
    pub session: Option<SessionTraffic>,
}

/// What a connection with a session did; after `crst` as at the start, but for session, time and timeout.
#[derive(Clone, Debug)]
pub struct SessionTraffic {
    pub session: SessionId,
    /// Label of the last request answered, see `last_op_label`; `NA` before.
    pub last_op: &'static str,
    pub established: WallMillis,
    pub session_timeout_ms: u32,
    /// Last xid that was not negative; 0 with the session's creation; -1 = none since a reset.
    pub last_cxid: i64,
    /// zxid of the last reply; -1 = none since a reset.
    pub last_zxid: Zxid,
    /// Monotonic clock at the last reply, ms.
    pub last_response_ms: u64,
    pub last_latency_ms: u64,
    pub min_latency_ms: u64,
    pub avg_latency_ms: u64,
    pub max_latency_ms: u64,
}

/// The label that `cons` shows for a request. A write that failed, and requests that have none, show `NA` once they are
/// answered; auth and sasl never change the label.
pub fn last_op_label(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::CloseSession => "CLOS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::Sync => "SYNC",
        OpCode::Check => "CHEC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Error | OpCode::Auth | OpCode::Sasl => "NA",
    }
}

/// Things that expire together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket<T> {
    pub expires_at: WallMillis,
    pub members: Vec<T>,
}

/// A connection as `dump` lists it; session 0 = none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiringConnection {
    pub remote: SocketAddr,
    pub session: SessionId,
}

/// Sessions as far as this server answers for them.
#[derive(Clone, Debug)]
pub enum DumpSessions {
    /// It lets them expire.
    Expiring(Vec<Bucket<SessionId>>),
    /// Its leader does: with their timeouts in ms.
    OfLeader(Vec<(SessionId, i32)>),
}

/// What `dump` shows. Buckets in ascending order of time.
#[derive(Clone, Debug)]
pub struct DumpStatus {
    /// Those that only this server knows; `None` where there are no such sessions.
    pub local_sessions: Option<Vec<Bucket<SessionId>>>,
    pub sessions: DumpSessions,
    /// Sessions that have any.
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    pub connections: Vec<Bucket<ExpiringConnection>>,
    pub time_zone: TimeZone,
}

/// Watches on data and existence; child watches are not listed by any word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchStatus {
    pub by_session: BTreeMap<SessionId, Vec<String>>,
}

impl WatchStatus {
    pub fn summary(&self) -> WatchSummary {
        WatchSummary {
            connections: self.by_session.len() as u64,
            paths: self.by_path().len() as u64,
            watches: self.by_session.values().map(|paths| paths.len() as u64).sum(),
        }
    }

    pub fn by_path(&self) -> BTreeMap<&str, Vec<SessionId>> {
        let mut by_path: BTreeMap<&str, Vec<SessionId>> = BTreeMap::new();
        for (session, paths) in &self.by_session {
            for path in paths {
                by_path.entry(path).or_default().push(*session);
            }
        }
        by_path
    }
}

/// How many watches there are, without listing them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSummary {
    pub connections: u64,
    pub paths: u64,
    pub watches: u64,
}

/// The directories in use, absolute and with their `version-2`, and the bytes of all files in each.
#[derive(Clone, Debug)]
pub struct Directories {
    pub data_dir: PathBuf,
    pub data_dir_bytes: u64,
    pub log_dir: PathBuf,
    pub log_dir_bytes: u64,
}

/// One entry of `hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigest {
    pub zxid: Zxid,
    pub digest: i64,
}

/// The machine and the process, for `envi`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub host_name: String,
    pub os_name: String,
    pub os_arch: String,
    pub os_version: String,
    pub user_name: String,
    pub user_home: String,
    pub user_dir: String,
    pub temp_dir: String,
    pub memory_free_mb: u64,
    pub memory_max_mb: u64,
    pub memory_total_mb: u64,
}

/// What `gtmk` says on a ZooKeeper that was not told otherwise. The mask is kept for those who ask; no output hangs on it.
pub const TRACE_MASK_DEFAULT: i64 = 306;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_has_its_row_in_the_manual() {
        let page = include_str!("../../docs/compatibility.md");
        for op in OpCode::ALL {
            let row = format!("\n| {} | ", op.code());
            let name = page.split_once(&row).map(|(_, rest)| rest.split(' ').next());
            let expected = format!("{op:?}");
            let said = name.flatten().unwrap_or_default();
            assert!(said.eq_ignore_ascii_case(&expected), "{expected}: {said}");
        }
    }

    #[test]
    fn labels_as_zookeeper_3_9_5_shows_them() {
        for (code, label) in [
            (15, "CREA"),
            (3, "EXIS"),
            (12, "GETC"),
            (9, "SYNC"),
            (22, "MLTR"),
            (105, "STW2"),
            (104, "GETACN"),
            (107, "HOMI"),
            (-11, "CLOS"),
        ] {
            let op = OpCode::from_code(code).unwrap();
            assert_eq!(last_op_label(op), label);
        }
    }
}
