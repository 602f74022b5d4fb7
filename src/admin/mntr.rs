//! `mntr`: every metric of ZooKeeper's default provider, one `zk_<name>\t<value>` a line, and our own latencies.

use super::latency;
use super::status::ServerStatus;
use super::version::version_line;
use crate::message::QuorumPart;
use crate::observe::Number;
use std::fmt::Write;

pub fn mntr(server: &ServerStatus) -> String {
    let mut text = format!("zk_version\t{}\n", version_line());
    let _ = writeln!(text, "zk_server_state\t{}", server.mode.name());
    if let Some(quorum) = &server.quorum {
        put_peer_state(&mut text, quorum.part);
    }
    let stored = server.metrics.default_provider();
    for (name, value) in gauges(server).into_iter().chain(quorum_gauges(server)).chain(quotas(server)).chain(stored) {
        let _ = writeln!(text, "zk_{name}\t{value}");
    }
    for (name, value) in latency::gauges(&server.latencies) {
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

/// What serves clients is past election, discovery and synchronization.
fn put_peer_state(text: &mut String, part: QuorumPart) {
    let state = match part {
        QuorumPart::Leading(_) => "leading",
        QuorumPart::Following { .. } => "following",
        QuorumPart::Observing { .. } => "observing",
    };
    let _ = writeln!(text, "zk_peer_state\t{state} - broadcast");
    if let QuorumPart::Observing { leader } = part {
        let _ = writeln!(text, "zk_observer_master_id\t{}", leader.0);
    }
}

fn quorum_gauges(server: &ServerStatus) -> Vec<(String, Number)> {
    let Some(quorum) = &server.quorum else { return Vec::new() };
    let whole = |number: u64| Number::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let mut list = vec![("quorum_size", whole(quorum.voters))];
    if let QuorumPart::Leading(counts) = quorum.part {
        let sizes = &server.metrics.proposals;
        list.extend([
            ("learners", whole(counts.learners)),
            ("synced_followers", whole(counts.synced_followers)),
            ("synced_non_voting_followers", whole(counts.synced_non_voting_followers)),
            ("synced_observers", whole(counts.synced_observers)),
            ("pending_syncs", whole(counts.pending_syncs)),
            ("leader_uptime", whole(server.uptime_ms)),
            ("last_proposal_size", Number::Integer(sizes.last)),
            ("max_proposal_size", Number::Integer(sizes.max)),
            ("min_proposal_size", Number::Integer(sizes.min)),
        ]);
    }
    if let QuorumPart::Following { synced_observers: Some(count) } = quorum.part {
        list.push(("synced_observers", whole(count)));
    }
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
    use crate::admin::latency::tests::is_own;
    use crate::admin::status::{NamespaceQuota, ServerMode};
    use crate::message::{LearnerCounts, QuorumStatus};
    use crate::observe::{MetricsRegistry, Namespaced};
    use crate::types::{Instant, Operation, ServerId, Stage};
    use std::collections::BTreeSet;

    /// The keys that a standalone ZooKeeper 3.9.5 prints, those per top-level znode left out.
    const KEYS_OF_3_9_5: &str = include_str!("captured/mntr_keys.txt");

    fn keys(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.split('\t').next()).filter(|key| !is_own(key)).collect()
    }

    #[test]
    fn exactly_the_keys_of_zookeeper() {
        let text = mntr(&server());
        let ours = keys(&text);
        let set: BTreeSet<&str> = ours.iter().copied().collect();
        assert_eq!(set.len(), ours.len(), "a key twice");
        assert_eq!(set, KEYS_OF_3_9_5.lines().collect());
        assert_eq!(&ours[..2], ["zk_version", "zk_server_state"]);
        let own: BTreeSet<&str> =
            text.lines().filter_map(|line| line.split('\t').next()).filter(|key| is_own(key)).collect();
        assert_eq!(own.len(), (Stage::COUNT + Operation::COUNT) * 5, "each once");
    }

    /// What a server of an ensemble of three voters and an observer printed beyond a server on its own. The leader's
    /// `<id>_learner_handler_qp_…`, of the queues to its learners, are left out: there are none here.
    #[test]
    fn exactly_the_further_keys_of_members() {
        let counts =
            LearnerCounts { learners: 3, synced_followers: 2, synced_observers: 1, ..LearnerCounts::default() };
        const OF_ALL: [&str; 2] = ["zk_peer_state", "zk_quorum_size"];
        const OF_LEADER: [&str; 9] = [
            "zk_last_proposal_size",
            "zk_leader_uptime",
            "zk_learners",
            "zk_max_proposal_size",
            "zk_min_proposal_size",
            "zk_pending_syncs",
            "zk_synced_followers",
            "zk_synced_non_voting_followers",
            "zk_synced_observers",
        ];
        for (mode, part, further, lines) in [
            (
                ServerMode::Leader,
                QuorumPart::Leading(counts),
                OF_LEADER.as_slice(),
                ["leader", "leading - broadcast", "zk_synced_followers\t2\n", "zk_leader_uptime\t55213\n"],
            ),
            (
                ServerMode::Follower,
                QuorumPart::Following { synced_observers: None },
                &[],
                ["follower", "following - broadcast", "zk_quorum_size\t3\n", "zk_uptime\t55213\n"],
            ),
            (
                ServerMode::Follower,
                QuorumPart::Following { synced_observers: Some(2) },
                &["zk_synced_observers"],
                ["follower", "following - broadcast", "zk_quorum_size\t3\n", "zk_synced_observers\t2\n"],
            ),
            (
                ServerMode::Observer,
                QuorumPart::Observing { leader: ServerId(3) },
                &["zk_observer_master_id"],
                ["observer", "observing - broadcast", "zk_observer_master_id\t3\n", "zk_quorum_size\t3\n"],
            ),
        ] {
            let quorum = QuorumStatus { voters: 3, serving_since: Instant::default(), part };
            let text = mntr(&ServerStatus { mode, quorum: Some(quorum), ..server() });
            let ours: BTreeSet<&str> = keys(&text).into_iter().collect();
            let expected = KEYS_OF_3_9_5.lines().chain(OF_ALL).chain(further.iter().copied());
            assert_eq!(ours, expected.collect(), "{mode:?}");
            let head = format!("\nzk_server_state\t{}\nzk_peer_state\t{}\n", lines[0], lines[1]);
            assert!(text.contains(&head) && text.contains(lines[2]) && text.contains(lines[3]), "{mode:?}\n{text}");
        }
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
