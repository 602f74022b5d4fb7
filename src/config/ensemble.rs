//! What a member of an ensemble uses beyond what every server does: typed, with ZooKeeper's defaults filled in and its
//! clamps applied. Who the members are is read in `members.rs`.

use super::error::{ConfigError, Source};
use super::sources::Sources;
use crate::types::{QuorumConfig, Role, ServerId};
use std::path::PathBuf;

/// How long a server that has a quorum of equal votes waits for a better one, ms. ZooKeeper has no key for it.
const FINALIZE_WAIT_MS: u32 = 200;
/// The least that ZooKeeper keeps.
const COMMIT_LOG_COUNT_MIN: u32 = 500;

#[derive(Clone, Debug, PartialEq)]
pub struct EnsembleSettings {
    // Who is in it.
    /// Content of `myid`; one of the members.
    pub my_id: ServerId,
    /// This server's role by its member line, whatever `peerType` says.
    pub role: Role,
    /// The committed configuration: the member lines, with the version that the dynamic file's name ends with, else 0.
    pub config: QuorumConfig,
    /// The newest configuration heard of but not known to be committed: `<config file>.dynamic.next`, where there is one.
    pub last_seen: Option<QuorumConfig>,
    /// The file that was given to start with.
    pub static_file: PathBuf,
    /// The file that the member lines stand in; `None` = they stand in the static file. `dynamicConfigFile`.
    pub dynamic_file: Option<PathBuf>,
    /// false = one voter alone forms a quorum instead of running standalone. `standaloneEnabled`, default true.
    pub standalone_enabled: bool,
    /// A file whose first character `1` may stand in for the missing vote of two voters. `oraclePath`.
    pub oracle_path: Option<PathBuf>,

    // Limits in ticks, from 1.
    /// For a learner to connect and synchronize. `initLimit`, required.
    pub init_limit_ticks: u32,
    /// For silence between leader and learner. `syncLimit`, required.
    pub sync_limit_ticks: u32,
    /// For a learner to reach the leader's port. `connectToLearnerMasterLimit`, default (0): as `init_limit_ticks`.
    pub connect_to_learner_master_limit_ticks: u32,

    // Election.
    /// Time to connect to another election port, ms. `cnxTimeout`, default 5000.
    pub cnx_timeout_ms: u32,
    /// Time for the first message of an election connection, ms, from 1. `quorumCnxnTimeoutMs`, default (-1): syncLimit
    /// ticks.
    pub quorum_cnxn_timeout_ms: u32,
    /// First time between repeated notifications, ms, from 1. `fastleader.minNotificationInterval`, default 200.
    pub notification_interval_ms_min: u32,
    /// It doubles up to this, ms, not below the first. `fastleader.maxNotificationInterval`, default 60000.
    pub notification_interval_ms_max: u32,
    /// Longest wait for a better vote once a quorum agrees, ms. No key, 200.
    pub finalize_wait_ms: u32,
    /// Attempts to bind the election port, a second apart; `None` = any number. `electionPortBindRetry`, default 3; 0 is
    /// any number.
    pub election_port_bind_retry_max: Option<u32>,
    /// Quorum and election ports are bound on every address. `quorumListenOnAllIPs`, default false.
    pub quorum_listen_on_all_ips: bool,
    /// TCP keep-alive on election sockets. `tcpKeepAlive`, default false.
    pub tcp_keep_alive: bool,
    /// Members may have several addresses. `multiAddress.enabled`, default false.
    pub multi_address_enabled: bool,
    /// Addresses of a member are tried before one is chosen. `multiAddress.reachabilityCheckEnabled`, default true.
    pub multi_address_reachability_check_enabled: bool,
    /// How long each is tried, ms. `multiAddress.reachabilityCheckTimeoutMs`, default 1000.
    pub multi_address_reachability_check_timeout_ms: u32,

    // The leader.
    /// A leader serves clients. `leaderServes` (yes/no), default yes.
    pub leader_serves: bool,
    /// A leader that waits for epochs longer than this, ms, steps down when a voter looks for a leader; `None` = off.
    /// `leader.maxTimeToWaitForEpoch`, default off.
    pub epoch_wait_ms_max: Option<u32>,
    /// Snapshots sent to observers at a time, from 1. `leader.maxConcurrentSnapSyncs`, default 10.
    pub snap_syncs_max: u32,
    /// Other synchronizations of observers at a time, from 1. `leader.maxConcurrentDiffSyncs`, default 100.
    pub diff_syncs_max: u32,
    /// TCP_NODELAY towards learners. `leader.nodelay`, default true.
    pub leader_nodelay: bool,

    // Synchronization.
    /// Committed transactions kept at hand for learners, from 500. `commitLogCount`, default 500.
    pub commit_log_count: u32,
    /// Learners are synchronized from log files up to this share of the newest snapshot's size (0 = of any size); `None` =
    /// never. `snapshotSizeFactor`, default 0.33; negative is never.
    pub snapshot_size_factor: Option<f64>,
    /// Every learner gets a snapshot. `forceSnapshotSync`, default false.
    pub force_snapshot_sync: bool,

    // Learners.
    /// TCP_NODELAY towards the leader. `follower.nodelay`, default true.
    pub follower_nodelay: bool,
    /// Time between attempts to reach the leader's port, ms. `leaderConnectDelayDuringRetryMs`, default 100.
    pub leader_connect_retry_delay_ms: u32,
    /// An observer writes log and snapshots. `syncEnabled`, overridden by `observer.syncEnabled`; default true.
    pub observer_sync_enabled: bool,
    /// Port on which followers take observers; `None` = off. `observerMasterPort`, default off.
    pub observer_master_port: Option<u16>,
    /// Recent transactions that a follower keeps for its observers, bytes, from 1. `observerMaster.sizeLimit`, default
    /// 33554432.
    pub observer_master_bytes_max: u32,
    /// An observer's wait after it tried every follower, ms. `observer.reconnectDelayMs`, default 0.
    pub observer_reconnect_delay_ms: u64,
    /// An observer waits a random time below this before an election, ms. `observer.election.DelayMs`, default 200.
    pub observer_election_delay_ms_max: u64,

    // Requests.
    /// Sessions begin known to their server only. `localSessionsEnabled`, default false.
    pub local_sessions_enabled: bool,
    /// They become global with their first ephemeral. `localSessionsUpgradingEnabled`, default false.
    pub local_sessions_upgrading_enabled: bool,
    /// Learners check ACLs before they forward a request. `enableEagerACLCheck`, default false.
    pub eager_acl_check_enabled: bool,
}

/// What `members.rs` found.
pub(super) struct Who {
    pub my_id: Option<ServerId>,
    pub config: QuorumConfig,
    pub last_seen: Option<QuorumConfig>,
    pub static_file: PathBuf,
    pub dynamic_file: Option<PathBuf>,
}

/// Everything else about it.
pub(super) fn ensemble_settings(
    s: &Sources,
    who: Who,
    tick_time_ms: u32,
    origin: &Source,
) -> Result<EnsembleSettings, ConfigError> {
    refuse_what_is_missing(s, origin)?;
    let init_limit_ticks = required_limit(s, "initLimit", origin)?;
    let sync_limit_ticks = required_limit(s, "syncLimit", origin)?;
    let (my_id, role) = myself(&who, origin)?;
    let cnxn_timeout_ms = s.limit("quorumCnxnTimeoutMs");
    let notification_interval_ms_min = s.u32("fastleader.minNotificationInterval");
    Ok(EnsembleSettings {
        my_id,
        role,
        config: who.config,
        last_seen: who.last_seen,
        static_file: who.static_file,
        dynamic_file: who.dynamic_file,
        standalone_enabled: s.bool("standaloneEnabled"),
        oracle_path: s.text("oraclePath").map(PathBuf::from),
        init_limit_ticks,
        sync_limit_ticks,
        connect_to_learner_master_limit_ticks: s.limit("connectToLearnerMasterLimit").unwrap_or(init_limit_ticks),
        cnx_timeout_ms: s.u32("cnxTimeout"),
        quorum_cnxn_timeout_ms: cnxn_timeout_ms.unwrap_or(tick_time_ms.saturating_mul(sync_limit_ticks)),
        notification_interval_ms_min,
        notification_interval_ms_max: s.u32("fastleader.maxNotificationInterval").max(notification_interval_ms_min),
        finalize_wait_ms: FINALIZE_WAIT_MS,
        election_port_bind_retry_max: s.limit("electionPortBindRetry"),
        quorum_listen_on_all_ips: s.bool("quorumListenOnAllIPs"),
        tcp_keep_alive: s.bool("tcpKeepAlive"),
        multi_address_enabled: s.bool("multiAddress.enabled"),
        multi_address_reachability_check_enabled: s.bool("multiAddress.reachabilityCheckEnabled"),
        multi_address_reachability_check_timeout_ms: s.u32("multiAddress.reachabilityCheckTimeoutMs"),
        leader_serves: s.bool("leaderServes"),
        epoch_wait_ms_max: s.int("leader.maxTimeToWaitForEpoch").and_then(|ms| u32::try_from(ms).ok()),
        snap_syncs_max: s.u32("leader.maxConcurrentSnapSyncs"),
        diff_syncs_max: s.u32("leader.maxConcurrentDiffSyncs"),
        leader_nodelay: s.bool("leader.nodelay"),
        commit_log_count: s.u32("commitLogCount").max(COMMIT_LOG_COUNT_MIN),
        snapshot_size_factor: Some(s.real("snapshotSizeFactor")).filter(|factor| *factor >= 0.0),
        force_snapshot_sync: s.bool("forceSnapshotSync"),
        follower_nodelay: s.bool("follower.nodelay"),
        leader_connect_retry_delay_ms: s.u32("leaderConnectDelayDuringRetryMs"),
        observer_sync_enabled: match s.given("observer.syncEnabled") {
            Some(_) => s.bool("observer.syncEnabled"),
            None => s.bool("syncEnabled"),
        },
        observer_master_port: s.int("observerMasterPort").and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0),
        observer_master_bytes_max: s.u32("observerMaster.sizeLimit"),
        observer_reconnect_delay_ms: s.millis("observer.reconnectDelayMs"),
        observer_election_delay_ms_max: s.millis("observer.election.DelayMs"),
        local_sessions_enabled: s.bool("localSessionsEnabled"),
        local_sessions_upgrading_enabled: s.bool("localSessionsUpgradingEnabled"),
        eager_acl_check_enabled: s.bool("enableEagerACLCheck"),
    })
}

/// Starting without these would put in plain text what was to be encrypted, or let in whom nobody has checked.
fn refuse_what_is_missing(s: &Sources, origin: &Source) -> Result<(), ConfigError> {
    const NO_TLS: &str = "this version has no TLS yet; remove the key to join an ensemble that speaks in plain text";
    const NO_SASL: &str =
        "this version has no SASL yet; remove the key to join an ensemble that asks for no credentials";
    for (name, reason) in [
        ("sslQuorum", NO_TLS),
        ("portUnification", NO_TLS),
        ("quorum.auth.enableSasl", NO_SASL),
        ("quorum.auth.learnerRequireSasl", NO_SASL),
        ("quorum.auth.serverRequireSasl", NO_SASL),
    ] {
        if s.bool(name) {
            return Err(s.error(name, origin, reason));
        }
    }
    Ok(())
}

/// A server that is not on the list cannot take part, as in ZooKeeper; one to be added later starts with a list of its own.
fn myself(who: &Who, origin: &Source) -> Result<(ServerId, Role), ConfigError> {
    let my_id =
        who.my_id.ok_or_else(|| ConfigError::new(origin, "there is no myid file in dataDir, an ensemble needs it"))?;
    match who.config.membership.members.get(&my_id) {
        Some(member) => Ok((my_id, member.role)),
        None => Err(ConfigError::new(origin, format!("myid is {0}, but there is no line server.{0}", my_id.0))),
    }
}

fn required_limit(s: &Sources, name: &str, origin: &Source) -> Result<u32, ConfigError> {
    s.limit(name).ok_or_else(|| ConfigError::new(origin, format!("{name} is not set, an ensemble needs it")))
}
