//! What `main` makes of a configuration file, made of a seed's options: the settings of one server.

use super::java::{JavaRules, Waits};
use super::options::Options;
use super::server::data_directory;
use crate::admin::{Gate, ServerMode, TimeZone};
use crate::ensemble::{EnsembleRules, LocalSessionRules, ReconfigOptions, SeatOptions, SnapshotOptions, StartOptions};
use crate::message::MembersSign;
use crate::message::lane::StandingSign;
use crate::observe::MetricsRegistry;
use crate::request::{AccessRules, AuthRules, ReapRules, RequestRules};
use crate::server::{Admission, ServerRules, StatusSource};
use crate::storage::{Compression, LogOptions, RestoreOptions};
use crate::types::{Instant, OwnerRules, Role};
use std::sync::Arc;

/// Larger than any transaction that the workload asks for.
const RECORD_BYTES_MAX: u64 = 64 << 10;

pub(super) fn status_source(
    metrics: Arc<MetricsRegistry>,
    admission: Arc<Admission>,
    started: Instant,
) -> StatusSource {
    StatusSource {
        mode: Box::new(|| ServerMode::Standalone),
        gate: Box::new(|_| Gate::Answer),
        conf: Box::new(|_| String::new()),
        directories: Box::new(|| unreachable!("simulated clients do not ask for it")),
        environment: Box::new(|| unreachable!("simulated clients do not ask for it")),
        descriptors: Box::new(|| (0, 0)),
        time_zone: TimeZone::utc(),
        metrics,
        admission,
        started,
    }
}

pub(super) fn server_rules(options: &Options) -> ServerRules {
    let (session_timeout_ms_min, session_timeout_ms_max) = options.session_timeouts_ms();
    ServerRules {
        replicated: true,
        local_sessions: false,
        access: AccessRules::default(),
        auth: AuthRules::default(),
        frame_bytes_max: 0xf_ffff,
        session_timeout_ms_min,
        session_timeout_ms_max,
        sessionless_timeout_ms: 10_000,
        outstanding_max: 1000,
        large_request_threshold: None,
        large_request_bytes_max: 0,
        throttle: None,
        request_throttle: None,
    }
}

fn request_rules(options: &Options) -> RequestRules {
    RequestRules {
        owner: OwnerRules { extended_types: true, emulate_353_ttl: false },
        close_session_list: options.close_session_list,
        ..RequestRules::default()
    }
}

/// The same of a modelled Java server, which waits as Java does.
pub(super) fn java_rules(index: usize, options: &Options) -> JavaRules {
    JavaRules {
        me: Options::id_of(index),
        config: Arc::new(options.config()),
        limits: options.limits,
        waits: Waits { finalize_ms: 200, least_ms: 200, most_ms: options.election.max_interval_ms },
        request: request_rules(options),
        commit_log_count: options.commit_log_count,
        forces_snapshot: options.force_snapshot_sync,
        syncs_from_log: !index.is_multiple_of(2),
        java: options.java.iter().map(|index| Options::id_of(*index)).collect(),
    }
}

pub(super) fn start_options(
    index: usize,
    options: &Options,
    registry: &MetricsRegistry,
    standing: StandingSign,
    seed: u64,
) -> StartOptions {
    let tick_ms = options.limits.tick_ms;
    let request = request_rules(options);
    StartOptions {
        rules: EnsembleRules { request, tick_ms, pause_ms: (tick_ms / 2).max(1), flush_ms_warn: 1000 },
        // A record is a flush by itself when it is larger than one should be.
        restore: RestoreOptions {
            flush_bytes_max: (options.flush_bytes_max as u64).max(RECORD_BYTES_MAX),
            ..RestoreOptions::default()
        },
        log: LogOptions {
            segment_bytes: options.segment_bytes,
            force_sync: true,
            file_bytes_limit: options.file_bytes_limit,
            flush_bytes_max: options.flush_bytes_max,
        },
        snapshots: SnapshotOptions {
            snapshot_dir: data_directory(),
            log_dir: data_directory(),
            txns: options.snapshot_txns,
            log_bytes: None,
            compression: Compression::None,
            digest: true,
            last_zxid: true,
            retain_count: 3,
            seed,
        },
        server: Options::id_of(index),
        container_check_interval_ms: tick_ms * 2,
        container_per_minute_max: 10_000,
        reap: ReapRules { never_used_ms_max: 0 },
        purge_interval_ms: options.purges.then_some(tick_ms * 20),
        hash_seed: seed,
        metrics: registry.register(),
        snapshot_metrics: registry.register(),
        seat: Some(SeatOptions {
            hello_timeout_ms: options.limits.sync_ms(),
            me: Options::id_of(index),
            config: options.config(),
            reconfig: ReconfigOptions::disabled(),
            move_client_port: None,
            members: MembersSign::default(),
            role: if index < options.voters { Role::Participant } else { Role::Observer },
            limits: options.limits,
            election: options.election,
            dial_timeout_ms: tick_ms * 2,
            listen_on_all_addresses: false,
            multi_address: false,
            packet_data_bytes_max: 4 << 20,
            commit_log_count: options.commit_log_count,
            // Small snapshots: a share of one would be next to nothing.
            snapshot_size_factor: Some(0.0),
            force_snapshot_sync: options.force_snapshot_sync,
            connect_ms_max: options.limits.init_ms(),
            election_bind_tries_max: None,
            snap_syncs_max: u32::MAX,
            diff_syncs_max: u32::MAX,
            observer_master_port: None,
            local_sessions: LocalSessionRules::default(),
            leader_serves: true,
            read_only_mode: false,
        }),
        standing,
    }
}
