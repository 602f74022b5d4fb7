//! Local sessions on leaders, followers and observers, of ours and of Java's: the same things are done to each server, and what
//! it answers is compared, kind by kind, with an ensemble of Java's alone.

use std::time::{Duration, Instant};

use super::*;
use crate::client::{Connection, Hello, Welcome, password_of};
use crate::codec::{Acl, Body, Data, Frame, Op, op};
use crate::four_letter::shape;

const OBSERVER: usize = 4;
const LEADER: usize = 3;

fn of(kinds: [Kind; 4], upgrading: bool) -> Ensemble {
    let mut ensemble = Ensemble::with_observers(&kinds, &[OBSERVER]);
    for id in ensemble.ids() {
        let server = ensemble.server_mut(id);
        server.set("localSessionsEnabled", "true");
        server.set("localSessionsUpgradingEnabled", &upgrading.to_string());
    }
    ensemble.start_led_by(LEADER);
    ensemble
}

fn create_as(opcode: i32, path: &str, flags: i32) -> Op {
    Op::Create { opcode, path: path.into(), data: Data(Some(b"x".to_vec())), acl: Acl::open(), flags }
}

fn sync() -> Op {
    Op::Path { opcode: op::SYNC, path: "/".into() }
}

/// Code of the reply, and of each operation of a multi.
fn outcome(client: &mut Connection, op: &Op) -> String {
    match client.call(1, op) {
        Ok((_, Frame::Reply { err, body: Body::Multi(results), .. })) => {
            let codes: Vec<String> = results.iter().map(|result| result.err.to_string()).collect();
            format!("{err}: {}", codes.join(" "))
        }
        Ok((_, Frame::Reply { err, .. })) => err.to_string(),
        other => format!("{other:?}"),
    }
}

/// What server `id` says to a session of its own, line by line.
struct Told<'a> {
    ensemble: &'a Ensemble,
    id: usize,
    lines: Vec<String>,
}

impl Told<'_> {
    fn put(&mut self, what: &str, answer: impl std::fmt::Display) {
        self.lines.push(format!("{}: {what}: {answer}", self.id));
    }

    fn home(&self) -> SocketAddr {
        self.ensemble.address(self.id)
    }

    fn others(&self) -> Vec<usize> {
        self.ensemble.ids().filter(|id| *id != self.id).collect()
    }

    fn open(&mut self, timeout_ms: i32) -> (Connection, Welcome) {
        let (client, welcome) = session(self.home(), timeout_ms);
        let is_own = welcome.session_id >> 56 == self.id as i64;
        let is_known = welcome.password == password_of(welcome.session_id);
        self.put("opens", format!("{is_own} {is_known} {} {:?}", welcome.timeout_ms, welcome.read_only));
        (client, welcome)
    }

    fn at_others(&mut self, what: &str, welcome: &Welcome) {
        let taken: Vec<bool> = self
            .others()
            .into_iter()
            .map(|id| reattach(self.ensemble.address(id), welcome, SESSION_MS).is_some())
            .collect();
        self.put(what, format!("{taken:?}"));
    }

    fn counts(&mut self, what: &str) {
        let server = self.ensemble.server(self.id);
        let (local, global) = (gauge(server, "zk_local_sessions"), gauge(server, "zk_global_sessions"));
        self.put(what, format!("{local} local, {global} global"));
    }

    fn zxid(&self) -> String {
        let text = self.ensemble.server(self.id).four_letter("srvr");
        text.lines().find(|line| line.starts_with("Zxid: ")).expect("srvr tells the zxid").to_owned()
    }

    fn at(&self, name: &str) -> String {
        format!("/by-{}-{name}", self.id)
    }

    fn ask(&mut self, client: &mut Connection, what: &str, op: &Op) {
        let answer = outcome(client, op);
        self.put(what, answer);
    }
}

/// Everything but ephemerals; those are refused.
fn never_upgraded(ensemble: &Ensemble, id: usize) -> Vec<String> {
    let mut told = Told { ensemble, id, lines: Vec::new() };
    told.counts("at first");
    let before = told.zxid();
    let (mut client, welcome) = told.open(SESSION_MS);
    told.counts("with one");
    told.at_others("elsewhere", &welcome);
    told.ask(&mut client, "sync", &sync());
    let after = told.zxid();
    assert_eq!(before, after, "server {id}: a local session took a transaction");
    let at = |name: &str| format!("/by-{id}-{name}");
    for (what, op) in [
        ("create", create(&at("a"), b"", PERSISTENT)),
        ("again", create(&at("a"), b"", PERSISTENT)),
        ("create2 sequential", create_as(op::CREATE2, &at("s-"), SEQUENTIAL)),
        ("container", create_container(&at("c"))),
        ("child of a container", create(&at("c/x"), b"", PERSISTENT)),
        ("ttl", create_ttl(&at("t"), 3_600_000)),
        ("set", set(&at("a"), b"1")),
        ("ephemeral", create(&at("e"), b"", EPHEMERAL)),
        ("ephemeral, create2", create_as(op::CREATE2, &at("e"), EPHEMERAL)),
        ("sequential ephemeral", create(&at("e-"), b"", EPHEMERAL | SEQUENTIAL)),
        ("ephemeral without parent", create("/nowhere/e", b"", EPHEMERAL)),
        ("container with flags of an ephemeral", create_as(op::CREATE_CONTAINER, &at("ce"), EPHEMERAL)),
        ("unknown flags", create(&at("u"), b"", 9)),
        ("multi", multi(vec![create(&at("m"), b"", PERSISTENT), set(&at("a"), b"2")])),
        (
            "multi with an ephemeral",
            multi(vec![create(&at("n"), b"", PERSISTENT), create(&at("e"), b"", EPHEMERAL), check("/", -1)]),
        ),
        ("multi with an odd container", multi(vec![create_as(op::CREATE_CONTAINER, &at("mc"), EPHEMERAL)])),
        ("multi that fails before", multi(vec![check(&at("none"), -1), create(&at("e"), b"", EPHEMERAL)])),
        ("what is there", exists(&at("e"))),
        ("what is not there", exists(&at("n"))),
        ("delete", delete(&at("s-0000000000"))),
        ("sync behind it", sync()),
    ] {
        // Sequence numbers count on with every server's turn.
        if what != "delete" {
            told.ask(&mut client, what, &op);
        }
    }
    told.at_others("elsewhere after writes", &welcome);
    let (mut client, again) = reattach(told.home(), &welcome, 3000).expect("its own server refuses a local session");
    told.put("again", format!("{} {}", again.session_id == welcome.session_id, again.timeout_ms));
    let dump = ensemble.server(id).four_letter("dump");
    let shown = dump.lines().filter(|line| line.contains("Session") || line.starts_with('\t') || line.contains("0x"));
    for line in shown.map(|line| line.replace(&format!("0x{:x}", welcome.session_id), "SESSION")) {
        if !line.contains("ip: ") && !line.starts_with("Connections Sets") {
            told.put("dump", shape(&line));
        }
    }
    client.push(2, &set(&told.at("a"), b"3"));
    client.push(3, &close_session());
    client.flush().expect("cannot send");
    for opcode in [op::SET_DATA, op::CLOSE_SESSION] {
        let answer = next(&mut client, opcode);
        told.put("set and close", format!("{:?}", answer.as_ref().map(code_of_frame)));
    }
    assert!(is_closed_silently(&mut client));
    let wrong = Hello::reattach(welcome.session_id, &[7; 16], SESSION_MS);
    told.put("with a wrong password", greet(told.home(), &wrong).is_some());
    told.put("after its end", reattach(told.home(), &welcome, SESSION_MS).is_some());
    told.counts("in the end");
    told.lines.extend(expiry(ensemble, id));
    told.lines
}

fn code_of_frame(frame: &Frame) -> Option<i32> {
    match frame {
        Frame::Reply { err, .. } => Some(*err),
        _ => None,
    }
}

/// Who is silent expires, at its own server; who pings lives.
fn expiry(ensemble: &Ensemble, id: usize) -> Vec<String> {
    let mut told = Told { ensemble, id, lines: Vec::new() };
    let (mut silent, lost) = told.open(1000);
    let (mut pinging, kept) = told.open(1000);
    silent.set_patience(Duration::from_millis(10));
    let began = Instant::now();
    wait_until("the silent one expires", || {
        pinging.ask(-2, &ping());
        std::thread::sleep(Duration::from_millis(100));
        is_closed_silently(&mut silent)
    });
    wait_until("the time of any session is over", || {
        pinging.ask(-2, &ping());
        std::thread::sleep(Duration::from_millis(100));
        began.elapsed() > Duration::from_secs(4)
    });
    told.put("silent", reattach(told.home(), &lost, 1000).is_some());
    told.put("pinging", reattach(told.home(), &kept, 1000).is_some());
    // Whoever is left expires before the next server is asked.
    wait_until("nobody is left", || gauge(ensemble.server(id), "zk_local_sessions") == 0);
    told.lines
}

/// With its first ephemeral a session becomes known to all.
fn upgraded(ensemble: &Ensemble, id: usize) -> Vec<String> {
    let mut told = Told { ensemble, id, lines: Vec::new() };
    let (mut client, _) = told.open(SESSION_MS);
    told.ask(&mut client, "odd container", &create_as(op::CREATE_CONTAINER, &told.at("ce"), EPHEMERAL));
    told.counts("before");
    for n in 0..3 {
        client.push(n, &create(&told.at(&format!("p{n}")), b"", PERSISTENT));
    }
    client.push(3, &create(&told.at("e"), b"", EPHEMERAL));
    client.push(4, &set(&told.at("e"), b"1"));
    client.push(5, &get(&told.at("e")));
    client.flush().expect("cannot send");
    for opcode in [op::CREATE, op::CREATE, op::CREATE, op::CREATE, op::SET_DATA, op::GET_DATA] {
        let answer = next(&mut client, opcode);
        told.put("one after the other", format!("{:?}", answer.as_ref().map(code_of_frame)));
    }
    told.counts("after");
    told.ask(&mut client, "another", &create_as(op::CREATE2, &told.at("e2"), EPHEMERAL));
    told.ask(&mut client, "close", &close_session());
    let (mut visitor, _) = told.open(SESSION_MS);
    told.ask(&mut visitor, "its ephemeral is gone", &exists(&told.at("e")));

    // One that came back with another timeout before: what was granted first is what all servers learn.
    let (_old, welcome) = told.open(SESSION_MS);
    let (mut client, _) = reattach(told.home(), &welcome, 4000).expect("refused at home");
    let ops = vec![check("/", -1), create(&told.at("m"), b"", EPHEMERAL | SEQUENTIAL)];
    told.ask(&mut client, "in a multi", &multi(ops));
    let learner = ensemble.ids().find(|other| *other != id && *other != LEADER).expect("a learner");
    let line = format!("0x{:x}\t", welcome.session_id);
    wait_until("another learner knows it", || {
        client.ask(-2, &ping());
        ensemble.server(learner).four_letter("dump").contains(&line)
    });
    let dump = ensemble.server(learner).four_letter("dump");
    let timeout = dump.lines().find_map(|shown| shown.strip_prefix(&line)).expect("just seen");
    told.put("as all know it", timeout);
    for other in told.others() {
        let (mut there, moved) = reattach(ensemble.address(other), &welcome, SESSION_MS).expect("a global session");
        there.ask(1, &sync());
        let seen = outcome(&mut there, &set(&told.at("p0"), b"moved"));
        told.put("moved on", format!("{} {seen}", moved.session_id == welcome.session_id));
        client = there;
    }
    told.ask(&mut client, "close elsewhere", &close_session());

    // The leader lets it expire, and hears of it through its server.
    let (mut silent, _) = told.open(1000);
    let (mut pinging, _) = told.open(1000);
    told.ask(&mut silent, "silent", &create(&told.at("silent"), b"", EPHEMERAL));
    told.ask(&mut pinging, "pinging", &create(&told.at("pinging"), b"", EPHEMERAL));
    wait_until("the silent one expires", || {
        pinging.ask(-2, &ping());
        visitor.ask(-2, &ping());
        std::thread::sleep(Duration::from_millis(100));
        outcome(&mut visitor, &exists(&told.at("silent"))) == NO_NODE.to_string()
    });
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        pinging.ask(-2, &ping());
        visitor.ask(-2, &ping());
    }
    told.ask(&mut visitor, "pinging lives", &exists(&told.at("pinging")));
    told.ask(&mut pinging, "close", &close_session());
    told.ask(&mut visitor, "close", &close_session());
    told.lines
}

fn tell(kinds: [Kind; 4], upgrading: bool, story: fn(&Ensemble, usize) -> Vec<String>) -> Vec<String> {
    let names: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
    println!("{names:?}, upgrading {upgrading}");
    let ensemble = of(kinds, upgrading);
    let told = ensemble.ids().flat_map(|id| story(&ensemble, id)).collect();
    ensemble.assert_all_equal();
    ensemble.assert_no_complaints();
    told
}

fn same_as_java(upgrading: bool, story: fn(&Ensemble, usize) -> Vec<String>) {
    let java = tell([JAVA; 4], upgrading, story);
    println!("{}", java.join("\n"));
    for kinds in [[OURS; 4], [OURS, JAVA, JAVA, OURS], [JAVA, OURS, OURS, JAVA]] {
        let told = tell(kinds, upgrading, story);
        for (expected, seen) in java.iter().zip(&told) {
            assert_eq!(seen, expected, "{kinds:?}:\n{}", told.join("\n"));
        }
        assert_eq!(told.len(), java.len());
    }
}

#[test]
fn a_local_session_is_its_servers_alone() {
    same_as_java(false, never_upgraded);
}

#[test]
fn a_local_session_becomes_global_with_its_first_ephemeral() {
    same_as_java(true, upgraded);
}

/// A local session and its watches outlive a leader of ours, as its connection does; Java's end with the leader.
#[test]
fn a_local_session_outlives_the_leader() {
    let mut ensemble = of([OURS; 4], true);
    let (mut client, welcome) = session(ensemble.address(1), SESSION_MS);
    client.ask(1, &create("/seen", b"", PERSISTENT));
    client.ask(2, &get_and_watch("/seen"));
    ensemble.server_mut(LEADER).kill();
    let mut leader = LEADER;
    wait_until("another leads", || {
        leader =
            [1, 2].into_iter().find(|id| ensemble.server(*id).mode().as_deref() == Some("leader")).unwrap_or(LEADER);
        leader != LEADER
    });
    ensemble.wait_until_serving(&[1, 2]);
    let (mut client, _) = match client.call(3, &exists("/seen")) {
        Ok((_, Frame::Reply { err: 0, .. })) => {
            // Its connection was kept, and so are its watches.
            let (mut other, _) = session(ensemble.address(leader), SESSION_MS);
            other.ask(1, &set("/seen", b"1"));
            let told = next(&mut client, op::GET_DATA).expect("no event");
            assert!(matches!(told, Frame::Event { .. }), "{told:?}");
            (client, welcome)
        }
        // On a slow machine the election outlasts it.
        _ => reattach(ensemble.address(1), &welcome, SESSION_MS).expect("its server has forgotten it"),
    };
    client.ask(4, &create("/mine", b"", EPHEMERAL));
    client.ask(5, &close_session());
    ensemble.server_mut(LEADER).spawn();
    ensemble.wait_until_all_serve();
    ensemble.assert_all_equal();
}
