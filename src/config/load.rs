//! From what was typed and written to what is used: defaults, clamps, rules between keys.
//!
//! The rules are those of ZooKeeper's `QuorumPeerConfig` and of the classes that read properties, with one difference
//! on purpose: where Java falls back to a default because a property cannot be read, the start is refused.

use super::args::{CommandLine, Given};
use super::error::{ConfigError, Source, Warning};
use super::known_keys::{Standing, Value, find};
use super::members::add_membership;
use super::settings::{Cores, FourLetterWhitelist, PinCores, Settings, SnapshotCompression};
use super::sources::Sources;
use super::zoo_cfg::parse_zoo_cfg;
use crate::types::{DigestAlgorithm, Membership};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A configuration to start from, and what to tell its writer.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// In no particular order; each concerns one key.
    pub warnings: Vec<Warning>,
}

/// Reads a file; handed in so that nothing here touches a disk.
pub type ReadFile<'a> = &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

pub fn load(line: &CommandLine, read: ReadFile<'_>) -> Result<Loaded, ConfigError> {
    let mut sources = Sources::default();
    for (name, value) in &line.properties {
        sources.add_property(name, value)?;
    }
    let origin = match &line.given {
        Given::File(path) => Source::File { file: path.clone() },
        Given::Nothing | Given::Inline { .. } => Source::CommandLine,
    };
    let mut initial_config = String::new();
    match &line.given {
        Given::Nothing => {
            sources.add_from_file("clientPort", "2181", Source::CommandLine)?;
            sources.add_from_file("dataDir", "./data", Source::CommandLine)?;
        }
        Given::File(path) => initial_config = add_file(&mut sources, path, read)?,
        Given::Inline { client_port, data_dir, tick_time, max_client_cnxns } => {
            let data_dir = data_dir.to_string_lossy();
            // ZooKeeper's inline form has no limit per address unless one is given.
            let max = max_client_cnxns.as_deref().unwrap_or("0");
            sources.add_from_file("clientPort", client_port, Source::CommandLine)?;
            sources.add_from_file("dataDir", &data_dir, Source::CommandLine)?;
            sources.add_from_file("maxClientCnxns", max, Source::CommandLine)?;
            if let Some(tick_time) = tick_time {
                sources.add_from_file("tickTime", tick_time, Source::CommandLine)?;
            }
        }
    }
    sources.warn_of_unused();
    let mut settings = settings(&mut sources, &origin)?;
    settings.initial_config = initial_config;
    add_membership(&mut settings, &mut sources, &origin, read)?;
    Ok(Loaded { settings, warnings: sources.warnings })
}

/// Adds the keys of a file; returns its text.
fn add_file(sources: &mut Sources, path: &Path, read: ReadFile<'_>) -> Result<String, ConfigError> {
    let bytes = read_file(path, read)?;
    for (key, value, source) in entries(path, &bytes)? {
        sources.add_from_file(&key, &value, source)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn read_file(path: &Path, read: ReadFile<'_>) -> Result<Vec<u8>, ConfigError> {
    let file = path.to_path_buf();
    read(path).map_err(|why| ConfigError::new(&Source::File { file }, format!("cannot be read: {why}")))
}

pub(super) fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<(String, String, Source)>, ConfigError> {
    let at = |line| Source::Line { file: path.to_path_buf(), line };
    let entries = parse_zoo_cfg(bytes).map_err(|bad| ConfigError::new(&at(bad.line), bad.reason))?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value, at(entry.line))).collect())
}

/// Everything but membership.
fn settings(s: &mut Sources, origin: &Source) -> Result<Settings, ConfigError> {
    let data_dir =
        s.text("dataDir").map(PathBuf::from).ok_or_else(|| ConfigError::new(origin, "dataDir is not set"))?;
    let client_port = port(s, "clientPort");
    let client_host = s.text("clientPortAddress");
    if client_port.is_none() && client_host.is_some() {
        let reason = "is set but clientPort is not";
        return Err(s.error("clientPortAddress", origin, reason));
    }
    refuse_what_must_not_be_missing(s, origin)?;
    let tick_time_ms = s.u32("tickTime");
    let (min_session_timeout_ms, max_session_timeout_ms) = session_timeouts(s, tick_time_ms, origin)?;
    let jute_maxbuffer_bytes = s.u32("jute.maxbuffer");
    let extra = s.given("jute.maxbuffer.extrasize").map_or(jute_maxbuffer_bytes, |_| s.u32("jute.maxbuffer.extrasize"));
    let weights = connection_weights(s);
    let readonly_mode_enabled = s.bool("readonlymode.enabled");
    let whitelist = s.text("4lw.commands.whitelist").unwrap_or_default();
    let snap_count = at_least(s, "snapCount", 2);
    let autopurge_snap_retain_count = at_least(s, "autopurge.snapRetainCount", 3);
    Ok(Settings {
        data_log_dir: s.text("dataLogDir").map_or_else(|| data_dir.clone(), PathBuf::from),
        data_dir,
        my_id: None,
        initial_config: String::new(),
        client_port,
        client_host,
        client_port_listen_backlog: s.int("clientPortListenBacklog").unwrap_or(-1) as i32,
        max_client_cnxns: s.limit("maxClientCnxns"),
        max_cnxns: s.limit("maxCnxns"),
        client_tcp_keep_alive: s.bool("clientTcpKeepAlive"),
        sessionless_cnxn_timeout_ms: s.u32("nio.sessionlessCnxnTimeout"),
        tick_time_ms,
        min_session_timeout_ms,
        max_session_timeout_ms,
        close_session_txn_enabled: s.bool("closeSessionTxn.enabled"),
        jute_maxbuffer_bytes,
        jute_maxbuffer_extra_bytes: extra.max(1024),
        global_outstanding_limit: s.u32("globalOutstandingLimit"),
        large_request_threshold_bytes: s.limit("largeRequestThreshold"),
        large_request_bytes_max: s.u32("largeRequestMaxBytes"),
        request_throttle_max_requests: s.limit("request_throttle_max_requests"),
        request_throttle_drop_stale: s.bool("request_throttle_drop_stale"),
        request_stale_connection_check: s.bool("request_stale_connection_check"),
        request_stale_latency_check: s.bool("request_stale_latency_check"),
        throttled_op_wait_time_ms: s.limit("throttled_op_wait_time"),
        connection_throttle_tokens: s
            .limit("connection_throttle_tokens")
            .map(|tokens| tokens.saturating_mul(weights.global)),
        connection_throttle_fill_time_ms: s.u32("connection_throttle_fill_time"),
        connection_throttle_fill_count: s.u32("connection_throttle_fill_count").saturating_mul(weights.global),
        connection_throttle_freeze_time_ms: s
            .int("connection_throttle_freeze_time")
            .and_then(|freeze| u32::try_from(freeze).ok()),
        connection_throttle_drop_increase: s.real("connection_throttle_drop_increase"),
        connection_throttle_drop_decrease: s.real("connection_throttle_drop_decrease"),
        connection_throttle_decrease_ratio: s.real("connection_throttle_decrease_ratio"),
        connection_throttle_weight_global: weights.global,
        connection_throttle_weight_local: weights.local,
        connection_throttle_weight_renew: weights.renew,
        pre_alloc_bytes: u64::from(s.u32("preAllocSize")) * 1024,
        snap_count,
        snap_size_limit_bytes: kib(s, "snapSizeLimitInKb"),
        txn_log_size_limit_bytes: kib(s, "txnLogSizeLimitInKb"),
        fsync_warning_threshold_ms: s.millis("fsync.warningthresholdms"),
        force_sync: s.bool("forceSync"),
        snapshot_compression: match s.text("snapshot.compression.method").as_deref() {
            Some("gz") => SnapshotCompression::Gz,
            Some("snappy") => SnapshotCompression::Snappy,
            _ => SnapshotCompression::None,
        },
        snapshot_trust_empty: s.bool("snapshot.trust.empty"),
        digest_enabled: s.bool("digest.enabled"),
        serialize_last_processed_zxid: s.bool("serializeLastProcessedZxid.enabled"),
        data_dir_autocreate: s.bool("datadir.autocreate"),
        db_autocreate: s.bool("db.autocreate"),
        autopurge_interval_hours: s.limit("autopurge.purgeInterval"),
        autopurge_snap_retain_count,
        extended_types_enabled: s.bool("extendedTypesEnabled"),
        emulate_353_ttl_nodes: s.bool("emulate353TTLNodes"),
        enforce_quota: s.bool("enforceQuota"),
        container_check_interval_ms: u64::from(s.u32("znode.container.checkIntervalMs")),
        container_max_per_minute: s.u32("znode.container.maxPerMinute"),
        container_max_never_used_interval_ms: Some(s.millis("znode.container.maxNeverUsedIntervalMs"))
            .filter(|millis| *millis > 0),
        reconfig_enabled: s.bool("reconfigEnabled"),
        skip_acl: s.bool("skipACL"),
        digest_auth_enabled: s.bool("DigestAuthenticationProvider.enabled"),
        super_digest: s.text("DigestAuthenticationProvider.superDigest"),
        digest_algorithm: digest_algorithm(s, origin)?,
        enforce_auth_schemes: enforced_schemes(s, origin)?,
        four_letter_whitelist: FourLetterWhitelist::from_text(&whitelist, readonly_mode_enabled),
        readonly_mode_enabled,
        request_warning_threshold_ms: s.int("request.warningthresholdms").and_then(|ms| u64::try_from(ms).ok()),
        stall_warning_threshold_ms: s.millis("stall.warningthresholdms"),
        cores: cores(s, origin)?,
        membership: Membership::default(),
        ensemble: None,
        kept: kept(s),
    })
}

/// Starting without these would serve clients that were to be kept out, or leave out those that were to come in.
fn refuse_what_must_not_be_missing(s: &Sources, origin: &Source) -> Result<(), ConfigError> {
    if port(s, "secureClientPort").is_some() {
        let reason = "this version has no TLS yet; remove the key to start with the plaintext port only";
        return Err(s.error("secureClientPort", origin, reason));
    }
    if s.text("secureClientPortAddress").is_some() {
        let reason = "is set but secureClientPort is not";
        return Err(s.error("secureClientPortAddress", origin, reason));
    }
    if s.bool("sessionRequireClientSASLAuth") {
        let reason = "this version has no SASL yet, so no client could do anything";
        return Err(s.error("sessionRequireClientSASLAuth", origin, reason));
    }
    Ok(())
}

fn port(s: &Sources, name: &str) -> Option<u16> {
    s.int(name).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

fn kib(s: &Sources, name: &str) -> Option<u64> {
    let kib = s.int(name).and_then(|kib| u64::try_from(kib).ok())?;
    Some(kib.saturating_mul(1024)).filter(|bytes| *bytes > 0)
}

/// ZooKeeper raises these silently or with a line in its log.
fn at_least(s: &mut Sources, name: &str, least: u32) -> u32 {
    let value = s.u32(name);
    if value >= least {
        return value;
    }
    let source = s.given(name).map_or(Source::CommandLine, |item| item.source.clone());
    let written = s.given(name).map_or_else(String::new, |item| item.text.clone());
    s.warn(source, format!("{name}: {least} is used instead of {written}, the least that ZooKeeper takes"));
    least
}

fn session_timeouts(s: &Sources, tick_time_ms: u32, origin: &Source) -> Result<(u32, u32), ConfigError> {
    let bound = |name: &str, ticks: u32| match s.int(name) {
        Some(given) if given >= 0 => u32::try_from(given).unwrap_or(u32::MAX),
        _ => tick_time_ms.saturating_mul(ticks).min(i32::MAX as u32),
    };
    let min = bound("minSessionTimeout", 2);
    let max = bound("maxSessionTimeout", 20);
    if min <= max {
        return Ok((min, max));
    }
    let name = if s.given("minSessionTimeout").is_some() { "minSessionTimeout" } else { "maxSessionTimeout" };
    let reason = format!("the least session timeout ({min} ms) is larger than the largest ({max} ms)");
    Err(s.error(name, origin, reason))
}

struct ConnectionWeights {
    global: u32,
    local: u32,
    renew: u32,
}

/// As `BlueThrottle`: weights count only where enabled, and a local session never costs more than another.
fn connection_weights(s: &Sources) -> ConnectionWeights {
    if !s.bool("connection_throttle_weight_enabled") {
        return ConnectionWeights { global: 1, local: 1, renew: 1 };
    }
    let local = s.u32("connection_throttle_local_session_weight");
    ConnectionWeights {
        global: s.u32("connection_throttle_global_session_weight").max(local),
        local,
        renew: s.u32("connection_throttle_renew_session_weight").max(local),
    }
}

fn digest_algorithm(s: &Sources, origin: &Source) -> Result<DigestAlgorithm, ConfigError> {
    const KEY: &str = "DigestAuthenticationProvider.digestAlg";
    let name = s.text(KEY).unwrap_or_default();
    DigestAlgorithm::from_name(&name).ok_or_else(|| {
        let reason = format!(
            "MD5, SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224 or SHA-512/256 expected, found `{name}`"
        );
        s.error(KEY, origin, reason)
    })
}

fn enforced_schemes(s: &Sources, origin: &Source) -> Result<Vec<String>, ConfigError> {
    const KEY: &str = "enforce.auth.schemes";
    if !s.bool("enforce.auth.enabled") {
        return Ok(Vec::new());
    }
    let text = s.text(KEY).unwrap_or_default();
    let schemes: Vec<String> =
        text.split(',').map(|scheme| scheme.trim().to_owned()).filter(|scheme| !scheme.is_empty()).collect();
    if schemes.is_empty() {
        let reason = "is true but enforce.auth.schemes names no scheme";
        return Err(s.error("enforce.auth.enabled", origin, reason));
    }
    let digest = s.bool("DigestAuthenticationProvider.enabled");
    let missing = |scheme: &&String| !(scheme.as_str() == "ip" || scheme.as_str() == "digest" && digest);
    match schemes.iter().find(missing) {
        None => Ok(schemes),
        Some(scheme) => Err(s.error(KEY, origin, format!("this server has no scheme `{scheme}`"))),
    }
}

fn cores(s: &Sources, origin: &Source) -> Result<Cores, ConfigError> {
    let workers = s.text("cores.workers").unwrap_or_default();
    let workers = match workers.parse::<u16>() {
        _ if workers.eq_ignore_ascii_case("auto") => None,
        Ok(count @ 1..=1024) => Some(count),
        _ => {
            let reason = format!("auto or a number from 1 to 1024 expected, found `{workers}`");
            return Err(s.error("cores.workers", origin, reason));
        }
    };
    let list = s.text("cores.list").unwrap_or_default();
    let list = core_list(&list).ok_or_else(|| {
        let reason = format!("cores such as 0-3,8 expected, each once and below 4096, found `{list}`");
        s.error("cores.list", origin, reason)
    })?;
    Ok(Cores {
        workers,
        pin: match s.text("cores.pin").as_deref() {
            Some("yes") => PinCores::Yes,
            Some("no") => PinCores::No,
            _ => PinCores::Auto,
        },
        list,
    })
}

fn core_list(text: &str) -> Option<Vec<u16>> {
    let mut cores = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u16 = first.trim().parse().ok()?;
        let last: u16 = last.trim().parse().ok().filter(|last| (first..4096).contains(last))?;
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    let count = cores.len();
    cores.dedup();
    (cores.len() == count).then_some(cores)
}

/// Everything without a field, for the parts to come.
fn kept(s: &Sources) -> BTreeMap<String, Value> {
    s.all()
        .filter(|(name, _)| find(name).is_some_and(|row| row.standing != Standing::Used))
        .map(|(name, item)| (name.to_owned(), item.value.clone()))
        .collect()
}

#[cfg(test)]
#[path = "load_tests.rs"]
pub(super) mod tests;
