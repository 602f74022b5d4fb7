//! What is used: every setting of the server, typed, with ZooKeeper's defaults filled in and its clamps applied.
//!
//! Each field says its unit, its range, its default, and the key it comes from. Nothing here is optional for want of a
//! default: `None` always means "switched off" or "not there".

use super::ensemble::EnsembleSettings;
use super::known_keys::Value;
use crate::types::{DigestAlgorithm, Membership, ServerId};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    // Where things are.
    /// Holds `version-2` with snapshots, and `myid`. `dataDir`, required in a file; `./data` without arguments.
    pub data_dir: PathBuf,
    /// Holds `version-2` with transaction logs. `dataLogDir`, default: as `data_dir`.
    pub data_log_dir: PathBuf,
    /// Content of `myid` where there is one; any whole number. A standalone server does without.
    pub my_id: Option<ServerId>,
    /// The text of `zoo.cfg` as it was read; empty without file.
    pub initial_config: String,

    // The client port.
    /// 1 to 65535; `None` = no plaintext client port. `clientPort`, or the client part of this server's own member line.
    pub client_port: Option<u16>,
    /// Name or address to bind; `None` = every address. `clientPortAddress`.
    pub client_host: Option<String>,
    /// Connections that may wait to be accepted; -1 = left to us (ZooKeeper: 50). `clientPortListenBacklog`, default -1.
    pub client_port_listen_backlog: i32,
    /// Connections of one source address; `None` = any number. `maxClientCnxns`, default 60; without file but with port
    /// and directory on the command line: any number, as in ZooKeeper.
    pub max_client_cnxns: Option<u32>,
    /// Connections in all; `None` = any number. `maxCnxns`, default off.
    pub max_cnxns: Option<u32>,
    /// TCP keep-alive on client sockets. `clientTcpKeepAlive`, default false.
    pub client_tcp_keep_alive: bool,
    /// A connection that has not asked for a session after so many ms is closed; from 1. `nio.sessionlessCnxnTimeout`,
    /// default 10000.
    pub sessionless_cnxn_timeout_ms: u32,

    // Time and sessions.
    /// ms, from 1. `tickTime`, default 3000.
    pub tick_time_ms: u32,
    /// Lower bound of negotiated session timeouts, ms. `minSessionTimeout`, default (-1): 2 ticks.
    pub min_session_timeout_ms: u32,
    /// Upper bound, ms, not below the lower. `maxSessionTimeout`, default (-1): 20 ticks.
    pub max_session_timeout_ms: u32,
    /// closeSession transactions name the ephemerals they delete. `closeSessionTxn.enabled`, default true.
    pub close_session_txn_enabled: bool,

    // Limits of requests.
    /// Longest frame of a client, bytes, from 1. `jute.maxbuffer`, default 1048575.
    pub jute_maxbuffer_bytes: u32,
    /// Allowance beyond it for strings and buffers inside records, bytes, from 1024. `jute.maxbuffer.extrasize`, default:
    /// as `jute_maxbuffer_bytes`.
    pub jute_maxbuffer_extra_bytes: u32,
    /// Requests in process above which a connection that has one outstanding is not read. `globalOutstandingLimit`,
    /// default 1000.
    pub global_outstanding_limit: u32,
    /// Frames longer than this, bytes, count against `large_request_bytes_max`; `None` = off. `largeRequestThreshold`.
    pub large_request_threshold_bytes: Option<u32>,
    /// Sum of large requests in process, bytes, from 1. `largeRequestMaxBytes`, default 104857600.
    pub large_request_bytes_max: u32,

    // Throttling.
    /// Requests in process above which further ones are stalled; `None` = off. `request_throttle_max_requests`.
    pub request_throttle_max_requests: Option<u32>,
    /// Drop stale requests before they are executed. `request_throttle_drop_stale`, default true.
    pub request_throttle_drop_stale: bool,
    /// A request is stale when its connection is gone. `request_stale_connection_check`, default true.
    pub request_stale_connection_check: bool,
    /// A request is stale when it is older than its session's timeout. `request_stale_latency_check`, default false.
    pub request_stale_latency_check: bool,
    /// A request that waited longer, ms, is answered -127; `None` = off. `throttled_op_wait_time`.
    pub throttled_op_wait_time_ms: Option<u32>,
    /// Size of the token bucket for new connections; `None` = off. `connection_throttle_tokens`, times
    /// `connection_throttle_global_session_weight` where weights are enabled.
    pub connection_throttle_tokens: Option<u32>,
    /// ms after which tokens are added, from 1. `connection_throttle_fill_time`, default 1.
    pub connection_throttle_fill_time_ms: u32,
    /// Tokens added, from 1. `connection_throttle_fill_count`, default 1; weighted as the bucket.
    pub connection_throttle_fill_count: u32,
    /// ms between changes of the drop probability; `None` = no random dropping. `connection_throttle_freeze_time`.
    pub connection_throttle_freeze_time_ms: Option<u32>,
    /// Probability added while the bucket is empty, 0 to 1. `connection_throttle_drop_increase`, default 0.02.
    pub connection_throttle_drop_increase: f64,
    /// Probability taken away again, 0 to 1. `connection_throttle_drop_decrease`, default 0.002.
    pub connection_throttle_drop_decrease: f64,
    /// Share of the bucket that may be missing when the probability falls. `connection_throttle_decrease_ratio`, default 0.
    pub connection_throttle_decrease_ratio: f64,
    /// Tokens that a new session takes; 1 without weights. `connection_throttle_global_session_weight`, default 3.
    pub connection_throttle_weight_global: u32,
    /// Tokens that a new local session takes; 1 without weights. `connection_throttle_local_session_weight`, default 1.
    pub connection_throttle_weight_local: u32,
    /// Tokens that a re-attach takes; 1 without weights. `connection_throttle_renew_session_weight`, default 2.
    pub connection_throttle_weight_renew: u32,

    // Storage.
    /// Size of a new log segment, bytes, multiple of 1024. `preAllocSize` (KiB), default 65536 KiB.
    pub pre_alloc_bytes: u64,
    /// Transactions per snapshot, from 2; rolled at random between half and all of it. `snapCount`, default 100000.
    pub snap_count: u32,
    /// Log bytes per snapshot, rolled likewise; `None` = off. `snapSizeLimitInKb` (KiB), default 4194304.
    pub snap_size_limit_bytes: Option<u64>,
    /// A log file that has grown beyond this, bytes, is followed by a new one; `None` = off. `txnLogSizeLimitInKb` (KiB),
    /// default off.
    pub txn_log_size_limit_bytes: Option<u64>,
    /// A flush that took longer, ms, is logged and counted. `fsync.warningthresholdms`, default 1000.
    pub fsync_warning_threshold_ms: u64,
    /// false = transactions are acknowledged without flush. `forceSync` (yes/no), default yes.
    pub force_sync: bool,
    /// Form of new snapshots. `snapshot.compression.method`, default none.
    pub snapshot_compression: SnapshotCompression,
    /// Start from logs without any snapshot. `snapshot.trust.empty`, default false.
    pub snapshot_trust_empty: bool,
    /// Write and check digests of the tree. `digest.enabled`, default true.
    pub digest_enabled: bool,
    /// Snapshots end with the last zxid they hold. `serializeLastProcessedZxid.enabled`, default true.
    pub serialize_last_processed_zxid: bool,
    /// Make missing data directories. `datadir.autocreate`, default true.
    pub data_dir_autocreate: bool,
    /// Begin an empty database where there is none, even without the `initialize` file. `db.autocreate`, default true.
    pub db_autocreate: bool,
    /// Hours between purges of old snapshots and logs; `None` = off. `autopurge.purgeInterval`, default off.
    pub autopurge_interval_hours: Option<u32>,
    /// Snapshots that a purge leaves, from 3. `autopurge.snapRetainCount`, default 3.
    pub autopurge_snap_retain_count: u32,

    // Znodes.
    /// TTL nodes are allowed. `extendedTypesEnabled`, default false.
    pub extended_types_enabled: bool,
    /// TTL nodes are written as ZooKeeper 3.5.3 did. `emulate353TTLNodes`, default false.
    pub emulate_353_ttl_nodes: bool,
    /// Hard quotas are enforced. `enforceQuota`, default false.
    pub enforce_quota: bool,
    /// Time between looks for containers and TTL nodes that are due, ms, from 1. `znode.container.checkIntervalMs`,
    /// default 60000.
    pub container_check_interval_ms: u64,
    /// Most of them deleted in a minute, from 1. `znode.container.maxPerMinute`, default 10000.
    pub container_max_per_minute: u32,
    /// A container that never had children is deleted after so many ms; `None` = kept.
    /// `znode.container.maxNeverUsedIntervalMs`, default off.
    pub container_max_never_used_interval_ms: Option<u64>,
    /// reconfig is allowed. `reconfigEnabled`, default false.
    pub reconfig_enabled: bool,

    // Who may do what.
    /// No ACL is checked. `skipACL` (yes/no), default no.
    pub skip_acl: bool,
    /// The scheme digest exists. `DigestAuthenticationProvider.enabled`, default true.
    pub digest_auth_enabled: bool,
    /// `super:<base64 of the hash>`; whoever proves it passes every check. `DigestAuthenticationProvider.superDigest`.
    pub super_digest: Option<String>,
    /// Hash of the scheme digest. `DigestAuthenticationProvider.digestAlg`, default SHA1.
    pub digest_algorithm: DigestAlgorithm,
    /// Schemes of which a connection must hold an identity before any request; empty = none needed.
    /// `enforce.auth.enabled` and `enforce.auth.schemes`.
    pub enforce_auth_schemes: Vec<String>,

    // Operators.
    /// Four-letter words that are answered. `4lw.commands.whitelist`, default srvr.
    pub four_letter_whitelist: FourLetterWhitelist,
    /// A member without a leader serves reads; everywhere the word `isro` is let through. `readonlymode.enabled`.
    pub readonly_mode_enabled: bool,

    /// A request that takes so long, ms, is told in the log; `None` = none is. RingKeeper's own.
    /// `request.warningthresholdms`, default 1000, -1 = off.
    pub request_warning_threshold_ms: Option<u64>,
    /// A core that does not turn for so long, ms, is told in the log; from 10. RingKeeper's own.
    /// `stall.warningthresholdms`, default 1000.
    pub stall_warning_threshold_ms: u64,

    /// Threads and cores; RingKeeper's own.
    pub cores: Cores,

    // For the parts to come.
    /// The member lines, checked; empty where there are none.
    pub membership: Membership,
    /// What a member of an ensemble uses besides; `None` = a server on its own.
    pub ensemble: Option<EnsembleSettings>,
    /// Every key that was given, known, checked, and has no field above, by name.
    pub kept: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotCompression {
    None,
    Gz,
    Snappy,
}

/// The words an operator lets through; `srvr` always is, `isro` where read-only mode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FourLetterWhitelist {
    All,
    Words(Vec<String>),
}

impl FourLetterWhitelist {
    pub(super) fn from_text(text: &str, readonly_mode_enabled: bool) -> FourLetterWhitelist {
        let mut words: Vec<String> =
            text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
        if words.iter().any(|word| word == "*") {
            return FourLetterWhitelist::All;
        }
        words.push("srvr".to_owned());
        if readonly_mode_enabled {
            words.push("isro".to_owned());
        }
        words.sort();
        words.dedup();
        FourLetterWhitelist::Words(words)
    }

    pub fn allows(&self, word: &str) -> bool {
        match self {
            FourLetterWhitelist::All => true,
            FourLetterWhitelist::Words(words) => words.iter().any(|allowed| allowed == word),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinCores {
    Auto,
    Yes,
    No,
}

/// Which threads there are and where they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Worker threads, 1 to 1024; `None` = chosen from the cores there are. `cores.workers` (auto or a number).
    pub workers: Option<u16>,
    /// Whether threads are bound to cores. `cores.pin`, default auto.
    pub pin: PinCores,
    /// The cores to use, ascending; empty = all that the process may use. `cores.list`, as `0-3,8`.
    pub list: Vec<u16>,
}
