//! From settings to what each part wants to know. The parts do not know the configuration, so that each can be built and
//! tested without it.

use ringkeeper::config::{EnsembleSettings, PinCores, Settings, SnapshotCompression, static_text_for};
use ringkeeper::election::ElectionRules;
use ringkeeper::ensemble::{
    EnsembleRules, LocalSessionRules, MoveClientPort, ReconfigOptions, SeatOptions, SnapshotOptions, StartOptions,
};
use ringkeeper::io::clock;
use ringkeeper::io::real_disk::RealDisk;
use ringkeeper::message::MembersSign;
use ringkeeper::message::lane::StandingSign;
use ringkeeper::observe::MetricsRegistry;
use ringkeeper::request::{AccessRules, AuthRules, DigestRules, ReapRules, RequestRules};
use ringkeeper::runtime::placement::Wish;
use ringkeeper::server::{ConnectionThrottle, RandomDrop, RequestThrottle, ServerRules};
use ringkeeper::storage::{
    Compression, ConfigFiles, DataDirOptions, DataDirs, LogOptions, RestoreOptions, StorageError,
};
use ringkeeper::types::{OwnerRules, ServerId, StageClock, limits};
use ringkeeper::zab::Limits;

/// Server id of a server on its own: the top byte of its session ids.
const STANDALONE_ID: ServerId = ServerId(1);
const HOUR_MS: u64 = 3_600_000;

pub fn wish(settings: &Settings) -> Wish {
    let pin = match settings.cores.pin {
        PinCores::Auto => None,
        PinCores::Yes => Some(true),
        PinCores::No => Some(false),
    };
    Wish { workers: settings.cores.workers, pin, list: settings.cores.list.iter().map(|c| usize::from(*c)).collect() }
}

pub fn open_data_dir(settings: &Settings) -> Result<DataDirs, StorageError> {
    let separate = settings.data_log_dir != settings.data_dir;
    DataDirs::open(&DataDirOptions {
        data_dir: settings.data_dir.clone(),
        data_log_dir: separate.then(|| settings.data_log_dir.clone()),
        autocreate: settings.data_dir_autocreate,
    })
}

pub fn start_options(
    settings: &Settings,
    seed: u64,
    registry: &MetricsRegistry,
    standing: StandingSign,
    move_client_port: MoveClientPort,
    members: MembersSign,
) -> StartOptions {
    let version_dir = |root: &std::path::Path| root.join("version-2");
    StartOptions {
        rules: EnsembleRules {
            request: request_rules(settings),
            tick_ms: u64::from(settings.tick_time_ms),
            pause_ms: u64::from(settings.min_session_timeout_ms / 4).min(u64::from(settings.tick_time_ms / 2)).max(1),
            flush_ms_warn: settings.fsync_warning_threshold_ms,
            clock: StageClock::reading(clock::monotonic),
        },
        restore: RestoreOptions {
            trust_empty_snapshot: settings.snapshot_trust_empty,
            db_autocreate: settings.db_autocreate,
            ..RestoreOptions::default()
        },
        log: LogOptions {
            segment_bytes: settings.pre_alloc_bytes,
            force_sync: settings.force_sync,
            file_bytes_limit: settings.txn_log_size_limit_bytes,
            ..LogOptions::default()
        },
        snapshots: SnapshotOptions {
            snapshot_dir: version_dir(&settings.data_dir),
            log_dir: version_dir(&settings.data_log_dir),
            txns: settings.snap_count,
            log_bytes: settings.snap_size_limit_bytes,
            compression: compression(settings.snapshot_compression),
            digest: settings.digest_enabled,
            last_zxid: settings.serialize_last_processed_zxid,
            retain_count: settings.autopurge_snap_retain_count as usize,
            seed,
        },
        server: settings.ensemble.as_ref().map_or(STANDALONE_ID, |member| member.my_id),
        container_check_interval_ms: settings.container_check_interval_ms,
        container_per_minute_max: settings.container_max_per_minute,
        reap: ReapRules {
            never_used_ms_max: settings
                .container_max_never_used_interval_ms
                .map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        },
        purge_interval_ms: settings.autopurge_interval_hours.map(|hours| u64::from(hours) * HOUR_MS),
        hash_seed: seed,
        metrics: registry.register(),
        snapshot_metrics: registry.register(),
        seat: settings.ensemble.as_ref().map(|member| seat(settings, member, move_client_port, members)),
        standing,
    }
}

fn seat(
    settings: &Settings,
    member: &EnsembleSettings,
    move_client_port: MoveClientPort,
    members: MembersSign,
) -> SeatOptions {
    let ms = |ms: u32| u64::from(ms);
    SeatOptions {
        me: member.my_id,
        config: member.config.clone(),
        reconfig: ReconfigOptions {
            enabled: settings.reconfig_enabled,
            standalone_enabled: member.standalone_enabled,
            last_seen: member.last_seen.clone(),
            files: settings.reconfig_enabled.then(|| config_files(member)),
        },
        move_client_port: Some(move_client_port),
        members,
        role: member.role,
        limits: Limits {
            tick_ms: ms(settings.tick_time_ms),
            init_ticks: ms(member.init_limit_ticks),
            sync_ticks: ms(member.sync_limit_ticks),
        },
        election: ElectionRules {
            finalize_wait_ms: ms(member.finalize_wait_ms),
            min_interval_ms: ms(member.notification_interval_ms_min),
            max_interval_ms: ms(member.notification_interval_ms_max),
        },
        dial_timeout_ms: ms(member.cnx_timeout_ms),
        hello_timeout_ms: ms(member.quorum_cnxn_timeout_ms),
        listen_on_all_addresses: member.quorum_listen_on_all_ips,
        multi_address: member.multi_address_enabled,
        packet_data_bytes_max: limits::quorum_data_bytes_max(
            settings.jute_maxbuffer_bytes as usize,
            settings.jute_maxbuffer_extra_bytes as usize,
        ),
        commit_log_count: member.commit_log_count as usize,
        snapshot_size_factor: member.snapshot_size_factor,
        force_snapshot_sync: member.force_snapshot_sync,
        connect_ms_max: ms(settings.tick_time_ms) * ms(member.connect_to_learner_master_limit_ticks),
        election_bind_tries_max: member.election_port_bind_retry_max,
        snap_syncs_max: member.snap_syncs_max,
        diff_syncs_max: member.diff_syncs_max,
        observer_master_port: member.observer_master_port,
        local_sessions: LocalSessionRules {
            enabled: member.local_sessions_enabled,
            upgrading: member.local_sessions_upgrading_enabled,
        },
        leader_serves: member.leader_serves,
        read_only_mode: settings.readonly_mode_enabled,
    }
}

/// The files that configurations are kept in. What they name is named as Java's servers name it: without links.
pub fn config_files(member: &EnsembleSettings) -> ConfigFiles {
    let file = std::path::absolute(&member.static_file).unwrap_or_else(|_| member.static_file.clone());
    let directory = file.parent().and_then(|directory| std::fs::canonicalize(directory).ok());
    let file = match (directory, file.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => file,
    };
    ConfigFiles::new(RealDisk::shared(), file, |text, dynamic_file, drops_client| {
        static_text_for(text, dynamic_file, drops_client).map_err(|bad| bad.to_string())
    })
}

fn compression(setting: SnapshotCompression) -> Compression {
    match setting {
        SnapshotCompression::None => Compression::None,
        SnapshotCompression::Gz => Compression::Gzip,
        SnapshotCompression::Snappy => Compression::Snappy,
    }
}

fn access_rules(settings: &Settings) -> AccessRules {
    AccessRules { skip_acl: settings.skip_acl, digest: settings.digest_auth_enabled, ..AccessRules::default() }
}

fn request_rules(settings: &Settings) -> RequestRules {
    RequestRules {
        access: access_rules(settings),
        owner: OwnerRules {
            extended_types: settings.extended_types_enabled,
            emulate_353_ttl: settings.emulate_353_ttl_nodes,
        },
        enforce_quota: settings.enforce_quota,
        reconfig_enabled: settings.reconfig_enabled,
        close_session_list: settings.close_session_txn_enabled,
        digest: settings.digest_enabled,
        jute_bytes_max: settings.jute_maxbuffer_bytes as usize,
    }
}

pub fn server_rules(settings: &Settings) -> ServerRules {
    let digest = settings
        .digest_auth_enabled
        .then(|| DigestRules { algorithm: settings.digest_algorithm, super_digest: settings.super_digest.clone() });
    let local_sessions = settings.ensemble.as_ref().is_some_and(|member| member.local_sessions_enabled);
    let to_i32 = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
    ServerRules {
        replicated: settings.ensemble.is_some(),
        local_sessions,
        access: access_rules(settings),
        auth: AuthRules { digest, ensemble: None, enforced_schemes: settings.enforce_auth_schemes.clone() },
        frame_bytes_max: settings.jute_maxbuffer_bytes as usize,
        session_timeout_ms_min: to_i32(settings.min_session_timeout_ms),
        session_timeout_ms_max: to_i32(settings.max_session_timeout_ms),
        sessionless_timeout_ms: u64::from(settings.sessionless_cnxn_timeout_ms),
        outstanding_max: settings.global_outstanding_limit as usize,
        large_request_threshold: settings.large_request_threshold_bytes.map(|bytes| bytes as usize),
        large_request_bytes_max: settings.large_request_bytes_max as usize,
        throttle: settings.connection_throttle_tokens.map(|tokens| ConnectionThrottle {
            tokens,
            fill_time_ms: settings.connection_throttle_fill_time_ms,
            fill_count: settings.connection_throttle_fill_count,
            weight_new: match local_sessions {
                true => settings.connection_throttle_weight_local,
                false => settings.connection_throttle_weight_global,
            },
            weight_renew: settings.connection_throttle_weight_renew,
            random: settings.connection_throttle_freeze_time_ms.map(|freeze_time_ms| RandomDrop {
                freeze_time_ms,
                increase: settings.connection_throttle_drop_increase,
                decrease: settings.connection_throttle_drop_decrease,
                decrease_ratio: settings.connection_throttle_decrease_ratio,
            }),
        }),
        request_throttle: settings.request_throttle_max_requests.map(|max| RequestThrottle {
            in_process_max: max as usize,
            wait_ms_max: settings.throttled_op_wait_time_ms.map(u64::from),
            closes_stale: settings.request_throttle_drop_stale && settings.request_stale_latency_check,
        }),
        slow_ms: settings.request_warning_threshold_ms,
        herd_in_a_turn_max: limits::HERD_IN_A_TURN_MAX,
        clock: StageClock::reading(clock::monotonic),
    }
}
