//! What `main` makes of a configuration file, made of a seed's options: the settings of one server.

use super::disk::SimDisk;
use super::java::{JavaRules, Waits};
use super::operator::{read_settings, static_file};
use super::options::Options;
use super::server::data_directory;
use crate::admin::{Gate, ServerMode, TimeZone};
use crate::config::static_text_for;
use crate::ensemble::{EnsembleRules, ReconfigOptions, SeatOptions, SnapshotOptions, StartOptions};
use crate::message::MembersSign;
use crate::message::lane::StandingSign;
use crate::observe::MetricsRegistry;
use crate::request::{AuthRules, DigestRules, ReapRules, RequestRules, digest_id};
use crate::server::{Admission, ServerRules, StatusSource};
use crate::storage::{Compression, ConfigFiles, LogOptions, RestoreOptions};
use crate::types::{DigestAlgorithm, Instant, OwnerRules, QuorumConfig, Role, StageClock};
use std::sync::Arc;

/// Whoever knows this may change the members.
pub(super) const OPERATOR: &str = "super:of the simulation";
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
    let algorithm = DigestAlgorithm::Sha1;
    let super_digest = options.members.reconfig.then(|| digest_id(OPERATOR, algorithm));
    ServerRules {
        replicated: true,
        local_sessions: options.local_sessions.enabled,
        auth: AuthRules { digest: Some(DigestRules { algorithm, super_digest }), ..AuthRules::default() },
        session_timeout_ms_min,
        session_timeout_ms_max,
        herd_in_a_turn_max: options.herd_in_a_turn_max,
        ..ServerRules::default()
    }
}

/// Who the members are, for a server that starts.
pub(super) struct StartMembers {
    pub config: QuorumConfig,
    pub role: Role,
    pub reconfig: ReconfigOptions,
    pub sign: MembersSign,
}

impl StartMembers {
    /// As `main` does it, from files where members change; a copy of the one that was written is made then.
    pub fn of(index: usize, options: &Options, disk: &SimDisk) -> Result<StartMembers, String> {
        let sign = MembersSign::default();
        if !options.members.reconfig {
            let role = if index < options.voters { Role::Participant } else { Role::Observer };
            return Ok(StartMembers { config: options.config(), role, reconfig: ReconfigOptions::disabled(), sign });
        }
        let settings = read_settings(disk).map_err(|error| error.to_string())?;
        let files = ConfigFiles::new(disk.mount(), static_file(), |text, dynamic_file, drops_client| {
            static_text_for(text, dynamic_file, drops_client).map_err(|bad| bad.to_string())
        });
        if settings.dynamic_file.is_none()
            && let Err(error) = files.back_up()
        {
            tracing::error!("{error}: there is no copy of the configuration file as it was written");
        }
        let reconfig = ReconfigOptions {
            enabled: true,
            standalone_enabled: settings.standalone_enabled,
            last_seen: settings.last_seen,
            files: Some(files),
        };
        Ok(StartMembers { config: settings.config, role: settings.role, reconfig, sign })
    }
}

fn request_rules(options: &Options) -> RequestRules {
    RequestRules {
        owner: OwnerRules { extended_types: true, emulate_353_ttl: false },
        close_session_list: options.close_session_list,
        reconfig_enabled: options.members.reconfig,
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
    members: StartMembers,
    registry: &MetricsRegistry,
    standing: StandingSign,
    seed: u64,
) -> StartOptions {
    let tick_ms = options.limits.tick_ms;
    let request = request_rules(options);
    StartOptions {
        rules: EnsembleRules {
            request,
            tick_ms,
            pause_ms: (tick_ms / 2).max(1),
            flush_ms_warn: 1000,
            clock: StageClock::STILL,
        },
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
            config: members.config,
            reconfig: members.reconfig,
            move_client_port: None,
            members: members.sign,
            role: members.role,
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
            local_sessions: options.local_sessions,
            leader_serves: true,
            read_only_mode: options.read_only,
        }),
        standing,
    }
}
