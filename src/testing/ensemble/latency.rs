//! Where the time goes in an ensemble: on the leader, on a follower that its client is connected to, on one that nobody
//! asks, and on an observer; and ZooKeeper's own latencies of proposals.

use super::*;
use crate::latency::{Table, mntr_value, pipeline};

const OBSERVER: usize = 4;
const LEADER: usize = 3;
const FOLLOWER: usize = 1;
const WRITES: u64 = 200;

fn wait_until(ensemble: &Ensemble, is_so: impl Fn(&Ensemble) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so(ensemble) {
        assert!(Instant::now() < deadline, "{}", ensemble.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_server_counts_what_it_has_a_part_in() {
    let mut ensemble = Ensemble::with_observers(&[OURS; 4], &[OBSERVER]);
    ensemble.start_led_by(LEADER);
    // Sessions first: they are transactions of their own.
    let mut sessions: Vec<_> = ensemble.ids().map(|id| session(ensemble.address(id), SESSION_MS).0).collect();
    sessions[0].ask(1, &create("/app", b"", PERSISTENT));
    for connection in &mut sessions {
        connection
            .call(2, &crate::codec::Op::Path { opcode: crate::codec::op::SYNC, path: "/".into() })
            .expect("no answer");
    }
    // What is acknowledged after the reset would be counted.
    let is_quiet = |id| Table::of(ensemble.server(id)).count("create", "flush") == 1;
    wait_until(&ensemble, |ensemble| ensemble.ids().all(is_quiet));
    for id in ensemble.ids() {
        assert_eq!(ensemble.server(id).four_letter("srst"), "Server stats reset.\n");
    }
    let sets: Vec<_> = (0..WRITES).map(|_| set("/app", b"value")).collect();
    for connection in &mut sessions {
        pipeline(connection, 10, &sets);
    }
    for connection in &mut sessions {
        connection
            .call(900, &crate::codec::Op::Path { opcode: crate::codec::op::SYNC, path: "/".into() })
            .expect("no answer");
    }
    let all = 4 * WRITES;
    // The last acknowledgements may come after the last commit.
    let is_done = |id| Table::of(ensemble.server(id)).count("set_data", "flush") == all;
    wait_until(&ensemble, |ensemble| ensemble.ids().all(is_done));
    for id in ensemble.ids() {
        let server = ensemble.server(id);
        let table = Table::of(server);
        // Of its own client.
        table.assert_counts("set_data", &["socket", "queue", "reply", "total"], WRITES);
        table.assert_counts("sync", &["socket", "total"], 1);
        // Of everybody.
        table.assert_counts("set_data", &["log_wait", "log_copy", "flush", "apply"], all);
        assert_eq!(mntr_value(server, "zk_cnt_propagation_latency"), all, "server {id}");
        let total = table.row("set_data", "total");
        assert!(total.p50 > 0 && table.row("set_data", "flush").p50 > 0, "server {id}");
        if id == LEADER {
            table.assert_counts("set_data", &["prepare", "quorum"], all);
            table.assert_counts("set_data", &["forward", "commit"], 0);
            assert!(table.row("set_data", "quorum").p50 > 0);
            assert_eq!(mntr_value(server, "zk_cnt_quorum_ack_latency"), all);
            assert_eq!(mntr_value(server, "zk_cnt_proposal_ack_creation_latency"), all);
            assert_eq!(mntr_value(server, "zk_cnt_commit_propagation_latency"), 0);
        } else {
            table.assert_counts("set_data", &["forward", "commit"], WRITES);
            table.assert_counts("set_data", &["prepare", "quorum"], 0);
            let (forward, commit) = (table.row("set_data", "forward"), table.row("set_data", "commit"));
            assert!(
                forward.max > 0 && forward.max + commit.p50 <= 2 * total.max,
                "server {id}: {forward:?} {commit:?}"
            );
            assert_eq!(mntr_value(server, "zk_cnt_quorum_ack_latency"), 0);
            assert_eq!(mntr_value(server, "zk_cnt_commit_propagation_latency"), all);
            let acknowledged = if id == OBSERVER { 0 } else { all };
            assert_eq!(mntr_value(server, "zk_cnt_proposal_ack_creation_latency"), acknowledged, "server {id}");
        }
    }
    let table = Table::of(ensemble.server(FOLLOWER));
    assert!(table.row("set_data", "queue").max <= table.row("set_data", "total").max);
}

#[test]
fn a_server_without_a_leader_tells_its_latencies_all_the_same() {
    let mut ensemble = Ensemble::of(&[OURS; 3]);
    ensemble.server_mut(1).spawn();
    let answers = |ensemble: &Ensemble| {
        crate::process::four_letter(ensemble.address(1), b"ruok").is_ok_and(|text| text == "imok")
    };
    wait_until(&ensemble, answers);
    assert_eq!(Table::of(ensemble.server(1)).count("all", "total"), 0);
    assert!(ensemble.server(1).four_letter("hdrl").starts_with("#[Histogram log format version 1.3]\n"));
}
