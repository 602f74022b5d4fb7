//! Values to text: every word's answer, line by line as ZooKeeper 3.9.5 writes it. The order of sessions, connections
//! and paths is free there; here it is the order given, or ascending.

use super::date::java_date;
use super::status::{
    Bucket, ConnectionStatus, Directories, DumpSessions, DumpStatus, Environment, ServerMode, ServerStatus, TreeDigest,
    WatchStatus, WatchSummary,
};
use super::version::version_line;
use crate::config::{EnsembleSettings, Settings};
use crate::message::InForce;
use crate::observe::java_double;
use crate::types::{QuorumAddress, QuorumConfig, Role, SessionId};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// `ruok`.
pub const IMOK: &str = "imok";
/// `crst`, once the connections' statistics are cleared.
pub const CONNECTION_STATS_RESET: &str = "Connection stats reset.\n";
/// `srst`, once `MetricsRegistry::reset` was called.
pub const SERVER_STATS_RESET: &str = "Server stats reset.\n";

/// The only one there is.
const ELECTION_ALG: u8 = 3;

/// Appends a formatted text; writing to a `String` cannot fail.
macro_rules! put {
    ($text:expr, $($arg:tt)*) => {{ let _ = write!($text, $($arg)*); }};
}

pub fn srvr(server: &ServerStatus) -> String {
    let mut text = format!("Zookeeper version: {}\n", version_line());
    if server.mode == ServerMode::ReadOnly {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    put_server_stats(&mut text, server);
    text
}

pub fn stat(server: &ServerStatus, connections: &[ConnectionStatus]) -> String {
    let mut text = format!("Zookeeper version: {}\n", version_line());
    if server.mode == ServerMode::ReadOnly {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    text.push_str("Clients:\n");
    for connection in connections {
        put_connection(&mut text, connection);
        text.push_str(")\n");
    }
    text.push('\n');
    put_server_stats(&mut text, server);
    text
}

fn put_server_stats(text: &mut String, server: &ServerStatus) {
    let metrics = &server.metrics;
    let latency = &metrics.latency_ms;
    put!(text, "Latency min/avg/max: {}/{}/{}\n", latency.min(), java_double(latency.average()), latency.max);
    put!(text, "Received: {}\n", metrics.packets_received);
    put!(text, "Sent: {}\n", metrics.packets_sent);
    put!(text, "Connections: {}\n", server.connections);
    put!(text, "Outstanding: {}\n", server.outstanding_requests);
    put!(text, "Zxid: {}\n", server.last_zxid);
    put!(text, "Mode: {}\n", server.mode.name());
    put!(text, "Node count: {}\n", server.node_count);
    if server.mode == ServerMode::Leader {
        let sizes = &metrics.proposals;
        put!(text, "Proposal sizes last/min/max: {}/{}/{}\n", sizes.last, sizes.min, sizes.max);
    }
}

pub fn cons(connections: &[ConnectionStatus]) -> String {
    let mut text = String::new();
    for connection in connections {
        put_connection(&mut text, connection);
        if let Some(session) = &connection.session {
            put!(text, ",sid={}", session.session);
            put!(text, ",lop={}", session.last_op);
            put!(text, ",est={}", session.established.0);
            put!(text, ",to={}", session.session_timeout_ms);
            if session.last_cxid >= 0 {
                put!(text, ",lcxid=0x{:x}", session.last_cxid);
            }
            put!(text, ",lzxid={}", session.last_zxid);
            put!(text, ",lresp={}", session.last_response_ms);
            put!(text, ",llat={}", session.last_latency_ms);
            put!(text, ",minlat={}", session.min_latency_ms);
            put!(text, ",avglat={}", session.avg_latency_ms);
            put!(text, ",maxlat={}", session.max_latency_ms);
        }
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

/// Everything of a connection that `stat` shows too, without the closing bracket.
fn put_connection(text: &mut String, connection: &ConnectionStatus) {
    put!(
        text,
        " {}[{}](queued={},recved={},sent={}",
        java_address(connection.remote),
        u8::from(connection.reading),
        connection.outstanding_requests,
        connection.packets_received,
        connection.packets_sent
    );
}

/// `/127.0.0.1:4000`, `/[0:0:0:0:0:0:0:1]:4000`. An IPv4 client of an IPv6 socket shows as IPv4, as in Java.
fn java_address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}"));
            format!("/[{}]:{}", groups.join(":"), address.port())
        }
    }
}

/// `in_force`: the members, where they may have changed since the start. A read-only server does not show them.
pub fn conf(settings: &Settings, directories: &Directories, mode: ServerMode, in_force: Option<&InForce>) -> String {
    /// Of a server on its own.
    const NO_ID: i64 = 0;
    let port = |port: Option<u16>| port.map_or(-1, i32::from);
    let server_id = settings.ensemble.as_ref().map_or(NO_ID, |member| member.my_id.0);
    let mut text = String::new();
    let moved = in_force.and_then(|in_force| in_force.own.as_ref()?.client.as_ref());
    put!(text, "clientPort={}\n", port(moved.map(|client| client.port).or(settings.client_port)));
    put!(text, "secureClientPort={}\n", port(None));
    put!(text, "dataDir={}\n", directories.data_dir.display());
    put!(text, "dataDirSize={}\n", directories.data_dir_bytes);
    put!(text, "dataLogDir={}\n", directories.log_dir.display());
    put!(text, "dataLogSize={}\n", directories.log_dir_bytes);
    put!(text, "tickTime={}\n", settings.tick_time_ms);
    put!(text, "maxClientCnxns={}\n", settings.max_client_cnxns.unwrap_or(0));
    put!(text, "minSessionTimeout={}\n", settings.min_session_timeout_ms);
    put!(text, "maxSessionTimeout={}\n", settings.max_session_timeout_ms);
    put!(text, "clientPortListenBacklog={}\n", settings.client_port_listen_backlog);
    put!(text, "serverId={server_id}\n");
    if let Some(member) = &settings.ensemble {
        let config = put_member_conf(&mut text, member, in_force);
        if mode != ServerMode::ReadOnly {
            put!(text, "membership: \n{config}");
        }
    }
    text
}

/// Returns the configuration that is in force.
fn put_member_conf<'a>(
    text: &mut String,
    member: &'a EnsembleSettings,
    in_force: Option<&'a InForce>,
) -> &'a QuorumConfig {
    let (config, role, own) = match in_force {
        Some(InForce { config, role, own }) => (&**config, *role, own.as_ref()),
        None => (&member.config, member.role, member.config.membership.members.get(&member.my_id)),
    };
    let ports = |port_of: fn(&QuorumAddress) -> u16| {
        let ports = own.into_iter().flat_map(|own| &own.addresses).map(|address| port_of(address).to_string());
        ports.collect::<Vec<_>>().join("|")
    };
    put!(text, "initLimit={}\n", member.init_limit_ticks);
    put!(text, "syncLimit={}\n", member.sync_limit_ticks);
    put!(text, "electionAlg={ELECTION_ALG}\n");
    put!(text, "electionPort={}\n", ports(|address| address.election_port));
    put!(text, "quorumPort={}\n", ports(|address| address.quorum_port));
    put!(text, "peerType={}\n", u8::from(role == Role::Observer));
    config
}

pub fn dirs(directories: &Directories) -> String {
    format!("datadir_size: {}\nlogdir_size: {}\n", directories.data_dir_bytes, directories.log_dir_bytes)
}

pub fn dump(dump: &DumpStatus) -> String {
    let mut text = "SessionTracker dump:\n".to_owned();
    if let Some(buckets) = &dump.local_sessions {
        put_session_buckets(&mut text, dump, "Local Session Sets", buckets);
    }
    match &dump.sessions {
        DumpSessions::Expiring(buckets) => {
            let what = if dump.local_sessions.is_some() { "Global Session Sets" } else { "Session Sets" };
            put_session_buckets(&mut text, dump, what, buckets);
        }
        DumpSessions::OfLeader(sessions) => {
            put!(text, "Global Sessions({}):\n", sessions.len());
            for (session, timeout_ms) in sessions {
                put!(text, "{session}\t{timeout_ms}ms\n");
            }
        }
    }
    text.push_str("ephemeral nodes dump:\n");
    put!(text, "Sessions with Ephemerals ({}):\n", dump.ephemerals.len());
    for (session, paths) in &dump.ephemerals {
        put!(text, "{session}:\n");
        for path in paths {
            put!(text, "\t{path}\n");
        }
    }
    text.push_str("Connections dump:\n");
    put_buckets_header(&mut text, "Connections Sets", &dump.connections);
    for bucket in &dump.connections {
        put_bucket(&mut text, dump, bucket);
        for connection in &bucket.members {
            let address = java_address(connection.remote);
            put!(text, "\tip: {address} sessionId: {}\n", connection.session);
        }
    }
    text
}

fn put_session_buckets(text: &mut String, dump: &DumpStatus, what: &str, buckets: &[Bucket<SessionId>]) {
    put_buckets_header(text, what, buckets);
    for bucket in buckets {
        put_bucket(text, dump, bucket);
        bucket.members.iter().for_each(|session| put_session(text, *session));
    }
}

fn put_buckets_header<T>(text: &mut String, what: &str, buckets: &[Bucket<T>]) {
    let members: usize = buckets.iter().map(|bucket| bucket.members.len()).sum();
    put!(text, "{what} ({})/({members}):\n", buckets.len());
}

fn put_bucket<T>(text: &mut String, dump: &DumpStatus, bucket: &Bucket<T>) {
    let date = java_date(bucket.expires_at, &dump.time_zone);
    put!(text, "{} expire at {date}:\n", bucket.members.len());
}

pub fn wchs(summary: &WatchSummary) -> String {
    format!("{} connections watching {} paths\nTotal watches:{}\n", summary.connections, summary.paths, summary.watches)
}

pub fn wchc(watches: &WatchStatus) -> String {
    let mut text = String::new();
    for (session, paths) in &watches.by_session {
        put!(text, "{session}\n");
        for path in paths {
            put!(text, "\t{path}\n");
        }
    }
    text.push('\n');
    text
}

pub fn wchp(watches: &WatchStatus) -> String {
    let mut text = String::new();
    for (path, sessions) in watches.by_path() {
        put!(text, "{path}\n");
        for session in sessions {
            put_session(&mut text, session);
        }
    }
    text.push('\n');
    text
}

fn put_session(text: &mut String, session: SessionId) {
    put!(text, "\t{session}\n");
}

/// `gtmk`, and `stmk` with the mask just set.
pub fn trace_mask(mask: i64) -> String {
    mask.to_string()
}

pub fn isro(mode: ServerMode) -> &'static str {
    match mode {
        ServerMode::ReadOnly => "ro",
        _ => "rw",
    }
}

/// Oldest first.
pub fn hash(digests: &[TreeDigest]) -> String {
    let mut text = String::new();
    for entry in digests {
        put!(text, "{:x}: {}\n", entry.zxid, entry.digest);
    }
    text
}

/// What belongs to a Java machine keeps its key and has Java's own text for "not there".
pub fn envi(environment: &Environment) -> String {
    const NOT_THERE: &str = "<NA>";
    let version = version_line();
    let free = format!("{}MB", environment.memory_free_mb);
    let max = format!("{}MB", environment.memory_max_mb);
    let total = format!("{}MB", environment.memory_total_mb);
    let mut text = "Environment:\n".to_owned();
    for (key, value) in [
        ("zookeeper.version", version.as_str()),
        ("host.name", &environment.host_name),
        ("java.version", NOT_THERE),
        ("java.vendor", NOT_THERE),
        ("java.home", NOT_THERE),
        ("java.class.path", NOT_THERE),
        ("java.library.path", NOT_THERE),
        ("java.io.tmpdir", &environment.temp_dir),
        ("java.compiler", NOT_THERE),
        ("os.name", &environment.os_name),
        ("os.arch", &environment.os_arch),
        ("os.version", &environment.os_version),
        ("user.name", &environment.user_name),
        ("user.home", &environment.user_home),
        ("user.dir", &environment.user_dir),
        ("os.memory.free", &free),
        ("os.memory.max", &max),
        ("os.memory.total", &total),
    ] {
        put!(text, "{key}={value}\n");
    }
    text
}

#[cfg(test)]
#[path = "commands_tests.rs"]
pub(super) mod tests;
