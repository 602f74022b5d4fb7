//! `mntr`: every metric of ZooKeeper's default provider, one `zk_<name>\t<value>` a line.

use super::status::ServerStatus;
use super::version::version_line;
use crate::observe::Number;
use std::fmt::Write;

pub fn mntr(server: &ServerStatus) -> String {
    let mut text = format!("zk_version\t{}\n", version_line());
    let _ = writeln!(text, "zk_server_state\t{}", server.mode.name());
    let stored = server.metrics.default_provider();
    for (name, value) in gauges(server).into_iter().chain(quotas(server)).chain(stored) {
        let _ = writeln!(text, "zk_{name}\t{value}");
    }
    text
}

/// What is not counted but known.
fn gauges(server: &ServerStatus) -> Vec<(String, Number)> {
    let whole = |number: u64| Number::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let metrics = &server.metrics;
    let latency = &metrics.latency_ms;
    let sizes = &metrics.responses;
    // TLS is not there yet, so nothing is outstanding of it.
    let no_tls = Number::Integer(0);
    [
        ("avg_latency", Number::Double(latency.average())),
        ("max_latency", whole(latency.max)),
        ("min_latency", whole(latency.min())),
        ("packets_received", whole(metrics.packets_received)),
        ("packets_sent", whole(metrics.packets_sent)),
        ("num_alive_connections", whole(server.connections)),
        ("outstanding_requests", whole(server.outstanding_requests)),
        ("uptime", whole(server.uptime_ms)),
        ("znode_count", whole(server.node_count)),
        ("watch_count", whole(server.watch_count)),
        ("ephemerals_count", whole(server.ephemerals_count)),
        ("approximate_data_size", whole(server.approximate_data_bytes)),
        ("global_sessions", whole(server.global_sessions)),
        ("local_sessions", whole(server.local_sessions)),
        ("open_file_descriptor_count", whole(server.open_file_descriptors)),
        ("max_file_descriptor_count", whole(server.max_file_descriptors)),
        ("connection_drop_probability", Number::Double(server.connection_drop_probability)),
        ("last_client_response_size", Number::Integer(sizes.last)),
        ("max_client_response_size", Number::Integer(sizes.max)),
        ("min_client_response_size", Number::Integer(sizes.min)),
        ("outstanding_tls_handshake", no_tls),
        ("auth_failed_count", whole(server.auth_failed)),
        ("non_mtls_remote_conn_count", no_tls),
        ("non_mtls_local_conn_count", no_tls),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn quotas(server: &ServerStatus) -> Vec<(String, Number)> {
    let mut list = Vec::new();
    for (name, quota) in &server.quotas {
        for (metric, value) in [
            ("quota_count_limit_per_namespace", quota.count_limit),
            ("quota_bytes_limit_per_namespace", quota.bytes_limit),
            ("quota_count_usage_per_namespace", quota.count_usage),
            ("quota_bytes_usage_per_namespace", quota.bytes_usage),
        ] {
            list.push((format!("{name}_{metric}"), Number::Integer(value)));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::commands::tests::server;
    use crate::admin::status::NamespaceQuota;
    use crate::observe::{MetricsRegistry, Namespaced};
    use std::collections::BTreeSet;

    /// The keys that a standalone ZooKeeper 3.9.5 prints, those per top-level znode left out.
    const KEYS_OF_3_9_5: &str = include_str!("captured/mntr_keys.txt");

    fn keys(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.split('\t').next()).collect()
    }

    #[test]
    fn exactly_the_keys_of_zookeeper() {
        let text = mntr(&server());
        let ours = keys(&text);
        let set: BTreeSet<&str> = ours.iter().copied().collect();
        assert_eq!(set.len(), ours.len(), "a key twice");
        assert_eq!(set, KEYS_OF_3_9_5.lines().collect());
        assert_eq!(&ours[..2], ["zk_version", "zk_server_state"]);
    }

    #[test]
    fn values_and_what_is_kept_per_top_level_znode() {
        let registry = MetricsRegistry::new();
        let writer = registry.register();
        for value in [71, 71, 72] {
            writer.record_for_path(Namespaced::Read, "/p/x", value);
        }
        writer.record_for_path(Namespaced::QuotaExceeded, "/q", 1);
        let mut server = server();
        server.metrics = registry.read();
        let quota = NamespaceQuota { count_limit: 5, bytes_limit: -1, count_usage: 2, bytes_usage: 30 };
        server.quotas.insert("q".to_owned(), quota);
        let text = mntr(&server);
        for line in [
            "zk_avg_p_read_per_namespace\t71.3333",
            "zk_sum_p_read_per_namespace\t214",
            "zk_q_quota_exceeded_error_per_namespace\t1",
            "zk_q_quota_bytes_limit_per_namespace\t-1",
            "zk_q_quota_count_usage_per_namespace\t2",
            "zk_avg_latency\t0.0",
            "zk_server_state\tstandalone",
            "zk_znode_count\t309",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }
}
