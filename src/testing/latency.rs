//! What a server says about how long requests take: the words `lats` and `hdrl`, the lines of `mntr`, the lines in the log
//! about slow requests and stalled cores. Counts must be those of the requests that were made.

use std::collections::BTreeMap;

use crate::client::Connection;
use crate::codec::Op;
use crate::process::Server;
use crate::stories::*;

/// One row of `lats`, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    pub count: u64,
    pub p50: u64,
    pub max: u64,
}

/// The rows of `lats` by operation and stage.
pub struct Table(BTreeMap<(String, String), Row>);

impl Table {
    pub fn of(server: &Server) -> Table {
        let text = server.four_letter("lats");
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("Latencies in microseconds since ")), "{text}");
        let head: Vec<&str> = lines.next().expect("a head").split_whitespace().collect();
        assert_eq!(head, ["operation", "stage", "count", "mean", "p50", "p90", "p99", "p999", "max"]);
        let rows = lines.map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(columns.len(), head.len(), "{line}");
            let number = |at: usize| columns[at].parse::<u64>().expect("a number");
            let (count, max) = (number(2), number(8));
            let ascending = [number(4), number(5), number(6), number(7), max];
            assert!(ascending.is_sorted(), "{line}");
            assert!(columns[3].parse::<f64>().expect("a mean") <= max as f64, "{line}");
            ((columns[0].to_owned(), columns[1].to_owned()), Row { count, p50: number(4), max })
        });
        Table(rows.collect())
    }

    /// Zeros where there is none.
    pub fn row(&self, operation: &str, stage: &str) -> Row {
        self.0.get(&(operation.to_owned(), stage.to_owned())).copied().unwrap_or_default()
    }

    pub fn count(&self, operation: &str, stage: &str) -> u64 {
        self.row(operation, stage).count
    }

    /// All of these stages saw so many.
    pub fn assert_counts(&self, operation: &str, stages: &[&str], count: u64) {
        for stage in stages {
            assert_eq!(self.count(operation, stage), count, "{operation} {stage}\n{:#?}", self.0);
        }
    }
}

/// A value of `mntr`.
pub fn mntr_value(server: &Server, key: &str) -> u64 {
    let text = server.four_letter("mntr");
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in\n{text}"))
}

/// Sends all, then waits for all answers: the server gets them in large batches.
pub fn pipeline(connection: &mut Connection, first_xid: i32, ops: &[Op]) {
    for (xid, op) in (first_xid..).zip(ops) {
        connection.push(xid, op);
    }
    connection.flush().expect("cannot write");
    for _ in ops {
        connection.next_frame().expect("cannot read").expect("an answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::op;
    use crate::process::{Kind, target_dir};
    use std::process::Command;
    use std::time::{Duration, Instant};

    const WRITES: u64 = 500;
    /// Of a write on a server of its own.
    const STAGES: [&str; 9] =
        ["socket", "queue", "prepare", "log_wait", "log_copy", "flush", "apply", "reply", "total"];

    /// On the disk that the project is built on: /tmp may be none.
    fn home() -> tempfile::TempDir {
        tempfile::tempdir_in(target_dir()).expect("cannot make a directory")
    }

    fn started(home: &tempfile::TempDir, settings: &[(&str, &str)]) -> Server {
        let mut server = Server::new(Kind::Ours, home.path());
        settings.iter().for_each(|(key, value)| {
            server.set(key, value);
        });
        server.start();
        server
    }

    fn load(server: &Server) {
        let (mut connection, _) = session(server.address(), 30_000);
        connection.ask(1, &create("/app", b"", PERSISTENT));
        let sets: Vec<Op> = (0..WRITES).map(|_| set("/app", b"value")).collect();
        pipeline(&mut connection, 2, &sets);
        let gets: Vec<Op> = (0..WRITES).map(|_| get("/app")).collect();
        pipeline(&mut connection, 1_000, &gets);
        // Half of them behind a write of their connection.
        let mixed: Vec<Op> = (0..WRITES).flat_map(|_| [set("/app", b"more"), exists("/app")]).collect();
        pipeline(&mut connection, 2_000, &mixed);
        // One that fails is a request like any other.
        assert_eq!(code_of(connection.call(9_000, &set("/missing", b""))), NO_NODE);
        connection.call(9_001, &close_session()).expect("no answer");
    }

    #[test]
    fn every_request_is_counted_in_every_stage() {
        for threads in [("cores.list", "0"), ("cores.workers", "2")] {
            let home = home();
            let server = started(&home, &[threads]);
            assert_eq!(server.four_letter("srst"), "Server stats reset.\n");
            load(&server);
            let table = Table::of(&server);
            table.assert_counts("create", &STAGES, 1);
            table.assert_counts("set_data", &STAGES, 2 * WRITES + 1);
            table.assert_counts("close_session", &STAGES, 1);
            table.assert_counts("create_session", &["socket", "total", "flush"], 1);
            table.assert_counts("get_data", &["socket", "reply", "total"], WRITES);
            table.assert_counts("get_data", &["queue", "prepare", "flush", "quorum", "forward"], 0);
            table.assert_counts("exists", &["socket", "reply", "total"], WRITES);
            assert!(table.count("exists", "order") > WRITES / 2, "they wait behind writes");
            table.assert_counts("set_data", &["quorum", "forward", "commit"], 0);
            table.assert_counts("all", &["flush"], 2 * WRITES + 4);
            assert_eq!(table.0.keys().filter(|(operation, _)| operation == "other").count(), 0);
            // The disk has been waited for, and nothing takes longer than all of it.
            let (flush, total) = (table.row("set_data", "flush"), table.row("set_data", "total"));
            assert!(flush.p50 > 0 && flush.max <= total.max, "{flush:?} {total:?}");
            assert!(table.row("exists", "order").max > 0);
            for stage in STAGES.iter().filter(|stage| **stage != "socket") {
                assert!(table.row("set_data", stage).max <= total.max, "{stage}");
            }

            assert_eq!(mntr_value(&server, "zk_stage_flush_count"), 2 * WRITES + 4);
            assert_eq!(mntr_value(&server, "zk_operation_get_data_count"), WRITES);
            assert_eq!(mntr_value(&server, "zk_operation_set_data_max_us"), total.max);
            assert!(mntr_value(&server, "zk_stage_flush_p99_us") >= mntr_value(&server, "zk_stage_flush_p50_us"));
            // ZooKeeper's own, of every transaction.
            assert_eq!(mntr_value(&server, "zk_cnt_propagation_latency"), 2 * WRITES + 4);

            server.four_letter("srst");
            assert_eq!(Table::of(&server).count("all", "total"), 0);
            assert_eq!(mntr_value(&server, "zk_stage_flush_count"), 0);
        }
    }

    #[test]
    fn without_forced_syncs_there_is_no_flush() {
        let home = home();
        let server = started(&home, &[("forceSync", "no")]);
        load(&server);
        let table = Table::of(&server);
        table.assert_counts("set_data", &["log_copy", "apply", "total"], 2 * WRITES + 1);
        table.assert_counts("set_data", &["flush"], 0);
    }

    #[test]
    fn the_words_obey_the_whitelist() {
        let home = home();
        let server = started(&home, &[("4lw.commands.whitelist", "ruok")]);
        for word in ["lats", "hdrl"] {
            let refusal = format!("{word} is not executed because it is not in the whitelist.\n");
            assert_eq!(server.four_letter(word), refusal);
        }
    }

    /// HdrHistogram's own reader in Python takes the log and finds the same counts.
    #[test]
    fn the_log_of_histograms_is_read_by_others() {
        let home = home();
        let server = started(&home, &[]);
        load(&server);
        let log = home.path().join("server.hlog");
        std::fs::write(&log, server.four_letter("hdrl")).expect("cannot write the log");
        let table = Table::of(&server);
        let python = target_dir().join("clients/python/bin/python");
        crate::clients::must_exist(&python, "tools/fetch-clients (Debian package python3-venv)");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/testing/clients/read_histograms.py");
        let output = Command::new(python).arg(script).arg(&log).output().expect("cannot run Python");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let mut tags = 0;
        for line in text.lines() {
            let columns: Vec<&str> = line.split(' ').collect();
            let (operation, stage) = columns[0].split_once('.').expect("operation.stage");
            let number = |at: usize| columns[at].parse::<u64>().expect("a number");
            let row = table.row(operation, stage);
            assert_eq!(number(1), row.count, "{line}");
            assert!(number(2).abs_diff(row.max) * 32 <= row.max, "{line}: {row:?}");
            assert!(number(3).abs_diff(row.p50) * 32 <= row.p50, "{line}: {row:?}");
            tags += 1;
        }
        let rows = table.0.iter().filter(|((operation, _), row)| operation != "all" && row.count > 0).count();
        assert_eq!(tags, rows, "{text}");
    }

    #[test]
    fn a_slow_request_is_told_with_its_slowest_stage() {
        let home = home();
        let server = started(&home, &[("request.warningthresholdms", "0")]);
        let (mut connection, welcome) = session(server.address(), 30_000);
        connection.ask(1, &create("/slow", b"", PERSISTENT));
        let deadline = Instant::now() + Duration::from_secs(20);
        let session = format!("of session 0x{:x}, xid ", welcome.session_id);
        let mut xid = 1;
        // One a second is told; on a busy machine it may be one that waited for the processor.
        let told = loop {
            xid += 1;
            connection.call(xid, &set("/slow", b"value")).expect("no answer");
            let log = server.log();
            let mut lines =
                log.lines().filter(|line| line.contains("slow request: set_data") && line.contains(&session));
            let flushed = lines.rfind(|line| line.contains("slowest stage: flush with "));
            if let Some(line) = flushed.filter(|line| line.contains("more slow one(s) since the last line")) {
                break line.to_owned();
            }
            assert!(Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(told.contains(", path /slow took "), "{told}");
        assert!(server.log().matches("slow request").count() < 30, "once a second");
    }

    #[test]
    fn nobody_is_told_of_requests_that_are_not_slow() {
        let home = home();
        for threshold in ["1000000", "-1"] {
            let mut server = started(&home, &[("request.warningthresholdms", threshold)]);
            load(&server);
            assert!(!server.log().contains("slow request"), "{}", server.log());
            server.stop();
            std::fs::remove_dir_all(server.data_dir().join("version-2")).expect("cannot tidy up");
        }
    }

    /// Twenty times very many children take a while, and the core is at nothing else meanwhile.
    #[test]
    fn a_core_that_does_not_turn_is_told() {
        let home = home();
        let server = started(&home, &[("stall.warningthresholdms", "10"), ("request.warningthresholdms", "5")]);
        let (mut connection, _) = session(server.address(), 30_000);
        connection.ask(1, &create("/many", b"", PERSISTENT));
        const BATCH: usize = 500;
        for batch in 0..100 {
            let name = |n: usize| format!("/many/child-with-a-name-of-some-length-{batch}-{n}");
            let creates: Vec<Op> = (0..BATCH).map(|n| create(&name(n), b"", PERSISTENT)).collect();
            connection.call(2 + batch, &multi(creates)).expect("no answer");
        }
        let list = || Op::Read { opcode: op::GET_CHILDREN, path: "/many".into(), watch: false };
        let lists = multi_read((0..20).map(|_| list()).collect());
        let deadline = Instant::now() + Duration::from_secs(30);
        for xid in 1_000.. {
            connection.call(xid, &lists).expect("no answer");
            let log = server.log();
            let stalled = log.lines().any(|line| line.contains("stalled: ") && line.contains("in one turn for 10 ms"));
            let slow =
                log.lines().any(|line| line.contains("slow turn: 1 request(s) (multi_read) were answered in one"));
            if stalled && slow && log.contains("goes on after a stall of about ") {
                break;
            }
            assert!(Instant::now() < deadline, "{log}");
        }
        assert!(Table::of(&server).row("multi_read", "reply").max >= 5_000);
    }
}
