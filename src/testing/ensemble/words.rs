//! The four-letter words of a leader, a follower and an observer, label by label as Java's say them; and of a server without
//! a leader.

use super::*;
use crate::client::{Connection, Hello};
use crate::codec::{Acl, Data, Op, op};
use crate::four_letter::{blur, blur_summary, connections, differences, dump, lines, mntr, shape, stat};
use crate::process::four_letter;

const OBSERVER: usize = 4;
const LEADER: usize = 3;
const FOLLOWER: usize = 1;

/// Three voters and an observer with a session each, which has written and watches.
struct Stage {
    ensemble: Ensemble,
    sessions: Vec<(Connection, i64)>,
}

fn set_stage(kind: Kind) -> Stage {
    let mut ensemble = Ensemble::with_observers(&[kind; 4], &[OBSERVER]);
    for id in ensemble.ids() {
        ensemble.server_mut(id).set("maxSessionTimeout", "80000000");
    }
    ensemble.start_led_by(LEADER);
    for id in ensemble.ids() {
        assert_eq!(ensemble.server(id).four_letter("srst"), "Server stats reset.\n");
    }
    let mut sessions: Vec<(Connection, i64)> = Vec::new();
    for id in ensemble.ids() {
        let mut connection = Connection::open(ensemble.address(id)).expect("cannot connect");
        let welcome = connection.shake_hands(&Hello::new_session(50_000_000)).expect("no handshake").expect("refused");
        sessions.push((connection, welcome.session_id));
    }
    for (id, (connection, _)) in ensemble.ids().zip(&mut sessions) {
        let node = format!("/n{id}");
        let create = |path: &str, flags| Op::Create {
            opcode: op::CREATE,
            path: path.into(),
            data: Data(Some(vec![b'x'; 10 * id])),
            acl: Acl::open(),
            flags,
        };
        connection.call(1, &create(&node, 0)).expect("no answer");
        connection.call(2, &create(&format!("{node}/ephemeral"), 1)).expect("no answer");
        connection
            .call(3, &Op::Read { opcode: op::GET_DATA, path: node.as_str().into(), watch: true })
            .expect("no answer");
    }
    // The last write is everywhere before anybody is asked.
    for (connection, _) in &mut sessions {
        connection.call(4, &Op::Path { opcode: op::SYNC, path: "/".into() }).expect("no answer");
    }
    Stage { ensemble, sessions }
}

impl Stage {
    /// Ids of sessions and our ports become names.
    fn say(&self, id: usize, word: &str) -> String {
        let mut text = self.ensemble.server(id).four_letter(word);
        for (nth, (connection, session)) in self.sessions.iter().enumerate() {
            text = text.replace(&format!("0x{session:x}"), &format!("SESSION-{nth}"));
            text = text.replace(&format!("127.0.0.1:{}", connection.local_port()), &format!("CLIENT-{nth}"));
        }
        text
    }
}

/// The epoch is what the election made it; the counter is compared.
fn summary(text: &str) -> Vec<String> {
    lines(text).iter().map(|line| blur_summary(&without_epoch(line))).collect()
}

fn without_epoch(line: &str) -> String {
    match line.strip_prefix("Zxid: 0x") {
        Some(zxid) if zxid.len() > 8 => format!("Zxid: EPOCH and {}", &zxid[zxid.len() - 8..]),
        _ => line.to_owned(),
    }
}

fn member_stat(text: &str) -> Vec<String> {
    let text: Vec<String> = lines(text).iter().map(|line| without_epoch(line)).collect();
    stat(&text.join("\n"))
}

/// Ports are what was free.
fn member_conf(text: &str) -> Vec<String> {
    let shown = |line: &String| match line.split_once('=') {
        Some(("dataDir" | "dataLogDir", _)) => "a directory".to_owned(),
        Some((key, value)) if key.starts_with("server.") => format!("{key}={}", shape(value)),
        _ => blur(line, &["clientPort", "dataDirSize", "dataLogSize", "electionPort", "quorumPort"], "="),
    };
    lines(text).iter().map(shown).collect()
}

/// Sessions of one timeout may fall into neighbouring buckets.
fn member_dump(text: &str) -> Vec<String> {
    let blurred = dump(text).into_iter().filter(|line| !line.contains(" expire at "));
    blurred.map(|line| if line.starts_with("Session Sets") { shape(&line) } else { line }).collect()
}

/// Java's queues to its learners have no counterpart; the other keys are the same, and of these the values.
fn member_mntr(text: &str) -> Vec<String> {
    let mut rows = mntr(text);
    rows.retain(|row| !row.contains("_learner_handler_qp_"));
    rows
}

type Reading = fn(&str) -> Vec<String>;

const WORDS: &[(&str, Reading)] = &[
    ("mntr", member_mntr),
    ("srvr", summary),
    ("stat", member_stat),
    ("cons", |text| connections(&without_zxids(text))),
    ("isro", lines),
    ("ruok", lines),
    ("conf", member_conf),
    ("dump", member_dump),
    ("wchs", lines),
    ("wchc", lines),
    ("wchp", lines),
    ("crst", lines),
    ("srst", lines),
    ("srvr", summary),
];

/// Of replies: `lzxid=0x100000009`.
fn without_zxids(text: &str) -> String {
    let fields = text.split(',').map(|field| if field.starts_with("lzxid=") { "lzxid=Z" } else { field });
    fields.collect::<Vec<_>>().join(",")
}

#[test]
fn leaders_followers_and_observers_say_what_javas_say() {
    let stages = [set_stage(JAVA), set_stage(OURS)];
    let mut found = String::new();
    for id in [FOLLOWER, LEADER, OBSERVER] {
        for (word, read) in WORDS {
            let texts = stages.each_ref().map(|stage| stage.say(id, word));
            if let Some(difference) = differences(&read(&texts[0]), &read(&texts[1])) {
                found.push_str(&format!("\nserver {id}, {word}: {difference}\n"));
            }
        }
    }
    assert!(found.is_empty(), "Java's and ours differ:\n{found}");
}

#[test]
fn a_server_without_a_leader_says_that_it_serves_nobody() {
    let mut ensembles = [JAVA, OURS].map(|kind| Ensemble::of(&[kind; 3]));
    for ensemble in &mut ensembles {
        ensemble.server_mut(1).spawn();
    }
    let deadline = Instant::now() + PATIENCE;
    for ensemble in &ensembles {
        while four_letter(ensemble.address(1), b"ruok").map_or(true, |text| text != "imok") {
            assert!(Instant::now() < deadline, "{}", ensemble.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for word in
        ["srvr", "stat", "mntr", "conf", "cons", "dump", "isro", "hash", "dirs", "wchs", "wchc", "wchp", "srst", "crst"]
    {
        let [java, ours] = ensembles.each_ref().map(|ensemble| ensemble.server(1).four_letter(word));
        assert_eq!(java, ours, "{word}");
    }
}
