//! The four-letter commands of Apache ZooKeeper and of another server, label by label.
//!
//! Both servers get the same sessions, nodes and watches; then every command's text must be equal after what cannot be
//! equal (ids, ports, directories, times, latencies, sizes) has been replaced by its kind. Replaced is as little as
//! possible: counts of packets, watches, connections and nodes, zxids and timeouts are compared as they stand.

use std::path::Path;

use crate::client::{Connection, Hello};
use crate::codec::{Acl, Data, Op, op};
use crate::process::{JAVA_VERSION, Kind, Server, four_letter};

/// A server with three known sessions (one holds an ephemeral node, two hold watches).
struct Stage {
    server: Server,
    sessions: Vec<(Connection, i64)>,
}

fn set_stage(kind: Kind, home: &Path) -> Stage {
    let mut server = Server::new(kind, home);
    // A long tick: nothing expires, and sessions of one timeout fall into one bucket of `dump`.
    server.set("tickTime", "3600000").set("minSessionTimeout", "4000").set("maxSessionTimeout", "80000000");
    server.set("clientPortListenBacklog", "77").set("snapCount", "100000000");
    server.start();
    assert_eq!(server.four_letter("srst"), "Server stats reset.\n");
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(server.address()).expect("cannot connect");
        let welcome = connection.shake_hands(&Hello::new_session(50_000_000)).expect("no handshake").expect("refused");
        sessions.push((connection, welcome.session_id));
    }
    let create = |path: &str, flags| Op::Create {
        opcode: op::CREATE,
        path: path.into(),
        data: Data(Some(b"data".to_vec())),
        acl: Acl::open(),
        flags,
    };
    let read = |opcode, path: &str| Op::Read { opcode, path: path.into(), watch: true };
    let (first, second) = sessions.split_at_mut(1);
    let (first, second) = (&mut first[0].0, &mut second[0].0);
    first.ask(1, &create("/a", 0));
    first.ask(2, &create("/a/ephemeral", 1));
    for n in 0..300 {
        first.ask(3 + n, &create(&format!("/a/n{n}"), 0));
    }
    first.ask(400, &read(op::GET_DATA, "/a"));
    first.call(401, &read(op::EXISTS, "/missing")).expect("no answer");
    second.ask(1, &read(op::GET_DATA, "/a"));
    second.ask(2, &read(op::GET_CHILDREN2, "/a"));
    second.ask(3, &Op::Watch { opcode: op::ADD_WATCH, path: "/b".into(), kind: 1 });
    second.call(4, &Op::Delete { path: "/missing".into(), version: -1 }).expect("no answer");
    second.ask(-2, &Op::Bare { opcode: op::PING });
    Stage { server, sessions }
}

impl Stage {
    fn say(&self, word: &str) -> String {
        self.with_names(self.server.four_letter(word))
    }

    /// Session ids and the ports of our connections become names.
    fn with_names(&self, mut text: String) -> String {
        for (nth, (connection, id)) in self.sessions.iter().enumerate() {
            text = text.replace(&format!("0x{id:x}"), &format!("SESSION-{nth}"));
            text = text.replace(&format!("127.0.0.1:{}", connection.local_port()), &format!("CLIENT-{nth}"));
        }
        text
    }
}

/// Every number becomes N (with a fraction: N.N), so that the shape of a line remains.
pub fn shape(line: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for c in line.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                out.push('N');
            }
        } else {
            out.push(c);
        }
        in_number = c.is_ascii_digit();
    }
    out
}

/// The value of `key` in `text` becomes its shape: for keys whose values cannot be equal.
pub fn blur(line: &str, keys: &[&str], separators: &str) -> String {
    for key in keys {
        if let Some(rest) = line.strip_prefix(key) {
            let Some(value) = rest.strip_prefix(|c| separators.contains(c)) else {
                continue;
            };
            return format!("{key}{}{}", &rest[..1], shape(value));
        }
    }
    line.to_string()
}

pub fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(str::to_string).collect()
}

/// The four lines `srvr` and `stat` share that hold what no two runs have in common.
pub fn blur_summary(line: &str) -> String {
    if let Some(version) = line.strip_prefix("Zookeeper version: ") {
        return format!("Zookeeper version: {}", version_shape(version));
    }
    blur(line, &["Latency min/avg/max:"], " ")
}

/// `3.9.5-<revision>, built on <date>`: the line is what clients parse, so 3.9 stays.
fn version_shape(version: &str) -> String {
    let (number, rest) = version.split_once('-').unwrap_or((version, ""));
    let line: Vec<&str> = number.split('.').collect();
    format!("{}.{} with revision and date: {}", line[0], line.get(1).unwrap_or(&""), rest.contains(", built on "))
}

fn conf(text: &str) -> Vec<String> {
    let mut blurred = Vec::new();
    for line in lines(text) {
        blurred.push(match line.split_once('=') {
            Some(("dataDir" | "dataLogDir", value)) => {
                format!("dir ending in version-2: {}", value.ends_with("/data/version-2"))
            }
            _ => blur(&line, &["clientPort", "dataDirSize", "dataLogSize"], "="),
        });
    }
    blurred
}

/// One line per connection, in no order; times and latencies blurred, our own nameless connection too.
pub fn connections(text: &str) -> Vec<String> {
    let mut blurred: Vec<String> = lines(text)
        .iter()
        .map(|line| {
            let line = if line.contains("CLIENT-") {
                line.clone()
            } else {
                line.split('[').next().map(shape).unwrap_or_default()
            };
            let fields = line.split(',').map(|field| {
                let end = if field.ends_with(')') { ")" } else { "" };
                let field = field.trim_end_matches(')');
                blur(field, &["est", "lresp", "llat", "minlat", "avglat", "maxlat"], "=") + end
            });
            fields.collect::<Vec<_>>().join(",")
        })
        .collect();
    blurred.sort();
    blurred
}

pub fn stat(text: &str) -> Vec<String> {
    let (clients, summary) = text.split_once("\n\n").unwrap_or((text, "no empty line"));
    let mut out: Vec<String> =
        lines(clients).iter().map(|line| blur_summary(line)).filter(|line| !line.starts_with(" /")).collect();
    let rows = lines(clients).into_iter().filter(|line| line.starts_with(" /")).collect::<Vec<_>>().join("\n");
    out.extend(connections(&rows));
    out.extend(lines(summary).iter().map(|line| blur_summary(line)));
    out
}

/// Sessions, ephemerals and connections in blocks; the order inside a block and the dates are free, and connections
/// may fall into different ten-second buckets.
pub fn dump(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for block in text.split("Connections dump:") {
        let is_connections = !out.is_empty();
        let mut rows = Vec::new();
        for line in block.lines() {
            let line = match line.find(" expire at ") {
                Some(at) if is_connections => {
                    "N expire at DATE".to_string() + if line[at..].ends_with(':') { ":" } else { "" }
                }
                Some(at) => format!("{} expire at DATE", &line[..at]),
                None if line.starts_with("Connections Sets") || !line.contains("CLIENT-") && line.contains("ip: ") => {
                    shape(line)
                }
                None => line.to_string(),
            };
            rows.push(line);
        }
        rows.sort();
        if is_connections {
            rows.dedup();
        }
        out.extend(rows);
        out.push("---".to_string());
    }
    out
}

/// Names in order of appearance are no contract, names and the kind of their values are.
pub fn mntr(text: &str) -> Vec<String> {
    const EXACT: &[&str] = &[
        "zk_server_state",
        "zk_num_alive_connections",
        "zk_outstanding_requests",
        "zk_znode_count",
        "zk_watch_count",
        "zk_ephemerals_count",
        "zk_approximate_data_size",
        "zk_global_sessions",
        "zk_local_sessions",
        "zk_packets_received",
        "zk_packets_sent",
        "zk_auth_failed_count",
        "zk_digest_mismatches_count",
        "zk_cnt_node_created_watch_count",
        "zk_connection_rejected",
        "zk_large_requests_rejected",
        "zk_snap_count",
        // Of members of an ensemble.
        "zk_peer_state",
        "zk_observer_master_id",
        "zk_quorum_size",
        "zk_learners",
        "zk_synced_followers",
        "zk_synced_non_voting_followers",
        "zk_synced_observers",
        "zk_pending_syncs",
        "zk_last_proposal_size",
        "zk_min_proposal_size",
        "zk_max_proposal_size",
        "zk_proposal_count",
        "zk_commit_count",
        "zk_learner_proposal_received_count",
        "zk_learner_commit_received_count",
        "zk_diff_count",
        "zk_cnt_proposal_latency",
    ];
    // RingKeeper's own.
    let is_own = |line: &String| line.starts_with("zk_stage_") || line.starts_with("zk_operation_");
    let mut out: Vec<String> = lines(text)
        .iter()
        .filter(|line| !is_own(line))
        .map(|line| match line.split_once('\t') {
            Some(("zk_version", value)) => format!("zk_version\t{}", version_shape(value)),
            Some((key, value)) if EXACT.contains(&key) => format!("{key}\t{value}"),
            Some((key, value)) => format!("{key}\t{}", number_kind(value)),
            None => line.clone(),
        })
        .collect();
    out[2..].sort();
    out
}

fn number_kind(value: &str) -> &'static str {
    if value.parse::<i64>().is_ok() {
        "integer"
    } else if value.parse::<f64>().is_ok() {
        "double"
    } else {
        "text"
    }
}

/// Blocks of a head line and indented lines, in no order.
fn blocks(text: &str) -> Vec<String> {
    let mut out: Vec<Vec<String>> = vec![vec![]];
    for line in lines(text) {
        if !line.starts_with('\t') {
            out.push(vec![]);
        }
        out.last_mut().expect("never empty").push(line);
    }
    out.iter_mut().for_each(|block| {
        if let Some(rows) = block.get_mut(1..) {
            rows.sort();
        }
    });
    out.sort();
    out.into_iter().flatten().collect()
}

fn keys(text: &str, separator: char) -> Vec<String> {
    lines(text).iter().map(|line| line.split(separator).next().unwrap_or_default().to_string()).collect()
}

type Reading = fn(&str) -> Vec<String>;

/// What two servers have to say alike, and how it is read.
const WORDS: &[(&str, Reading)] = &[
    ("ruok", lines),
    ("isro", lines),
    ("gtmk", lines),
    ("srvr", |text| lines(text).iter().map(|line| blur_summary(line)).collect()),
    ("stat", stat),
    ("cons", connections),
    ("conf", conf),
    ("mntr", mntr),
    ("dump", dump),
    ("wchs", lines),
    ("wchc", blocks),
    ("wchp", blocks),
    ("dirs", |text| lines(text).iter().map(|line| shape(line)).collect()),
    ("hash", |text| keys(text, ':')),
    ("envi", |text| keys(text, '=')),
    ("stmk\0\0\0\0\0\0\x01\x02", lines),
    ("gtmk", lines),
    ("crst", lines),
    ("cons", connections),
    ("srst", lines),
    ("ruok\n", lines),
    ("srvr and more bytes", |text| lines(text).iter().map(|line| blur_summary(line)).collect()),
    ("lsnp", lines),
    ("RUOK", lines),
    ("quit", lines),
];

pub fn differences(left: &[String], right: &[String]) -> Option<String> {
    if left == right {
        return None;
    }
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("\n    {line:?}")).collect::<String>()
    };
    let (only_left, only_right) = (only(left, right), only(right, left));
    if only_left.is_empty() && only_right.is_empty() {
        return Some(format!("the same lines in another order or number\n  left: {left:#?}\n  right: {right:#?}"));
    }
    Some(format!("\n  only left:{only_left}\n  only right:{only_right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_say_the_same_words() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let kinds = [Kind::Java(JAVA_VERSION), Kind::under_test()];
        let stages = [set_stage(kinds[0], &home.path().join("left")), set_stage(kinds[1], &home.path().join("right"))];
        let mut found = String::new();
        for (word, read) in WORDS {
            let texts = stages.each_ref().map(|stage| stage.say(word));
            if let Some(difference) = differences(&read(&texts[0]), &read(&texts[1])) {
                found.push_str(&format!("\n{}: {difference}\n", word.escape_default()));
            }
        }
        assert!(found.is_empty(), "{} and {} differ:\n{found}", kinds[0].name(), kinds[1].name());
        let mask = stages.each_ref().map(|stage| stage.server.four_letter("gtmk"));
        assert_eq!(mask, ["258", "258"], "stmk sets the mask that gtmk tells");
    }

    #[test]
    fn a_word_outside_the_whitelist_is_refused_in_the_same_words() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        for kind in [Kind::Java(JAVA_VERSION), Kind::under_test()] {
            let mut server = Server::new(kind, &home.path().join(kind.name()));
            server.set("4lw.commands.whitelist", "ruok , wchs");
            server.start();
            for word in [
                "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "srst", "stat", "stmk",
                "wchc", "wchp",
            ] {
                let refusal = format!("{word} is not executed because it is not in the whitelist.\n");
                assert_eq!(server.four_letter(word), refusal, "{}", kind.name());
            }
            assert_eq!(server.four_letter("ruok"), "imok", "{}", kind.name());
            assert!(
                server.four_letter("srvr").contains("Mode: standalone"),
                "{}: srvr needs no whitelist",
                kind.name()
            );
            assert_eq!(
                server.four_letter("wchs"),
                "0 connections watching 0 paths\nTotal watches:0\n",
                "{}",
                kind.name()
            );
            server.stop();
        }
    }

    #[test]
    fn a_four_letter_word_comes_only_first() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let mut server = Server::new(Kind::under_test(), home.path());
        server.start();
        let mut connection = Connection::open(server.address()).expect("cannot connect");
        connection.shake_hands(&Hello::new_session(10_000)).expect("no handshake").expect("refused");
        connection.push_bare(b"ruok");
        connection.flush().expect("cannot write");
        assert!(
            matches!(connection.next_frame(), Ok(None)),
            "after the handshake it is the length of a frame that is too long"
        );
        assert_eq!(four_letter(server.address(), b"ruok").expect("no answer"), "imok");
    }

    #[test]
    fn a_changed_label_a_missing_line_and_a_wrong_count_are_noticed() {
        let good =
            "Zookeeper version: 3.9.5-abc, built on 2025\nLatency min/avg/max: 0/0.5/3\nReceived: 10\nNode count: 7\n";
        let read = |text: &str| lines(text).iter().map(|line| blur_summary(line)).collect::<Vec<_>>();
        assert_eq!(differences(&read(good), &read(&good.replace("0/0.5/3", "2/1.25/40"))), None);
        let bad = [
            ("0/0.5/3", "0/0/3"),
            ("Received: 10", "Received: 11"),
            ("Node count", "Nodes"),
            ("Received: 10\n", ""),
            ("3.9.5", "3.10.0"),
            (", built on 2025", ""),
        ];
        for (from, to) in bad {
            assert!(differences(&read(good), &read(&good.replace(from, to))).is_some(), "{from} -> {to}");
        }
    }
}
