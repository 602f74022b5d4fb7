//! A server without a leader, and the clients who put up with what it knows: ours beside Java's. And that nothing of the
//! history is lost over it.

use super::*;
use crate::client::{Connection, Hello, Welcome, password_of};
use crate::clients::{Program, must_exist};
use crate::codec::{Acl, Data, Frame, Op, op};
use crate::four_letter::{blur_summary, shape};
use crate::process::{four_letter, java_class_path, target_dir};
use std::process::Command;

fn of(kinds: [Kind; 3], local_sessions: bool) -> Ensemble {
    let mut ensemble = Ensemble::of(&kinds);
    for id in ensemble.ids() {
        let server = ensemble.server_mut(id);
        server.property("readonlymode.enabled", "true");
        server.set("localSessionsEnabled", &local_sessions.to_string());
        server.set("localSessionsUpgradingEnabled", "true");
    }
    ensemble.start_led_by(3);
    ensemble
}

fn reading(session_id: i64) -> Hello {
    Hello {
        read_only: Some(true),
        session_id,
        password: Some(password_of(session_id)),
        ..Hello::new_session(SESSION_MS)
    }
}

fn wait_until_read_only(ensemble: &Ensemble, id: usize) {
    // It may still be starting.
    wait_until("it is read-only", || four_letter(ensemble.address(id), b"isro").is_ok_and(|mode| mode == "ro"));
}

fn first_answer(address: SocketAddr, hello: &Hello) -> String {
    let mut connection = Connection::open(address).expect("cannot connect");
    connection.push_bytes(&hello.body());
    connection.flush().expect("cannot send");
    match connection.next_frame() {
        Ok(Some(frame)) => format!("{} bytes", frame.len()),
        Ok(None) => "closed".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn log_bytes(ensemble: &Ensemble, id: usize) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(ensemble.version_2(id)).expect("a data directory").flatten();
    let logs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("log."));
    let mut logs: Vec<(String, Vec<u8>)> = logs
        .map(|log| (log.file_name().to_string_lossy().into_owned(), fs::read(log.path()).expect("a log")))
        .collect();
    logs.sort();
    logs
}

/// Everything a read-only server is asked for, and what it answers.
fn met_at(ensemble: &Ensemble, id: usize, global: &Welcome) -> Vec<String> {
    let address = ensemble.address(id);
    let mut told = Vec::new();
    for (what, hello) in [
        ("who wants to write", Hello::new_session(SESSION_MS)),
        ("an old client", Hello { read_only: None, ..Hello::new_session(SESSION_MS) }),
        ("who has seen more", Hello { last_zxid_seen: i64::MAX, ..reading(0) }),
        ("a global session", reading(global.session_id)),
        ("an unknown session", reading(0x0700_0000_0000_0001)),
    ] {
        told.push(format!("{what}: {}", first_answer(address, &hello)));
    }
    let (mut client, welcome) = greet(address, &reading(0)).expect("who only reads is refused");
    let is_own = welcome.session_id >> 56 == id as i64;
    told.push(format!("{is_own} {} {:?}", welcome.timeout_ms, welcome.read_only));
    let path = |opcode| Op::Path { opcode, path: "/kept".into() };
    let open = |opcode| Op::Create { opcode, path: "/new".into(), data: Data(None), acl: Acl::open(), flags: 0 };
    for (what, op) in [
        ("get", get_and_watch("/kept")),
        ("nothing there", exists("/none")),
        ("children", children("/")),
        ("ping", ping()),
        ("create", open(op::CREATE)),
        ("create2", open(op::CREATE2)),
        ("container", create_container("/new")),
        ("ttl", create_ttl("/new", 1000)),
        ("ephemeral", create("/new", b"", EPHEMERAL)),
        ("delete", delete("/kept")),
        ("set", set("/kept", b"")),
        ("set acl", Op::SetAcl { path: "/kept".into(), acl: Some(vec![]), version: -1 }),
        ("multi", multi(vec![check("/kept", -1)])),
        ("multi read", multi_read(vec![get("/kept")])),
        ("sync", path(op::SYNC)),
        ("who am i", Op::Bare { opcode: op::WHO_AM_I }),
        ("watch for ever", watch_for_ever("/kept", true)),
    ] {
        let answer = client.call(1, &op).map(|(_, frame)| match frame {
            Frame::Reply { err, .. } => err.to_string(),
            other => format!("{other:?}"),
        });
        told.push(format!("{what}: {answer:?}"));
    }
    told.extend(words(ensemble, id));
    let (mut again, welcome) = greet(address, &reading(welcome.session_id)).expect("its own session is refused");
    told.push(format!("again: {:?}", welcome.read_only));
    told.push(format!("close: {}", code_of(again.call(2, &close_session()))));
    assert!(is_closed_silently(&mut again));
    told.push(format!("after its end: {}", first_answer(address, &reading(welcome.session_id))));
    told
}

fn words(ensemble: &Ensemble, id: usize) -> Vec<String> {
    let ask = |word| ensemble.server(id).four_letter(word);
    let mut told = Vec::new();
    // What Java has refused stays outstanding for ever.
    let summary = ["Received", "Sent", "Connections", "Zxid", "Latency", "Outstanding"];
    for word in ["srvr", "stat"] {
        let shown = ask(word).lines().map(blur_summary).collect::<Vec<_>>();
        let rows = shown.into_iter().filter(|line| !line.starts_with(" /"));
        told.extend(rows.map(|row| if summary.iter().any(|key| row.starts_with(key)) { shape(&row) } else { row }));
    }
    let keys = ["zk_server_state", "zk_peer_state", "zk_quorum_size", "zk_global_sessions"];
    told.extend(ask("mntr").lines().filter(|line| keys.iter().any(|key| line.starts_with(key))).map(str::to_owned));
    // Local sessions of ours outlive the leader.
    assert!(gauge(ensemble.server(id), "zk_local_sessions") > 0);
    let keys = ["initLimit", "electionAlg", "peerType", "membership", "server.", "version"];
    told.extend(ask("conf").lines().filter(|line| keys.iter().any(|key| line.starts_with(key))).map(str::to_owned));
    told.extend(ask("dump").lines().filter(|line| line.contains("Session")).map(shape));
    told.push(ask("isro"));
    told.push(ask("ruok"));
    told
}

/// One of the kind is alone, is asked, starts again, is asked, and goes on with the others.
fn alone(kinds: [Kind; 3]) -> Vec<String> {
    let mut ensemble = of(kinds, true);
    let (mut client, _) = session(ensemble.address(1), SESSION_MS);
    let (mut owner, global) = session(ensemble.address(2), SESSION_MS);
    owner.ask(1, &create("/owned", b"", EPHEMERAL));
    client.ask(1, &create("/kept", b"as it was", PERSISTENT));
    client.ask(2, &Op::Path { opcode: op::SYNC, path: "/".into() });
    [2, 3].iter().for_each(|id| ensemble.server_mut(*id).kill());
    wait_until("it has no leader", || ensemble.server(1).four_letter("isro") == "null");
    wait_until_read_only(&ensemble, 1);
    assert!(is_closed_silently(&mut client));
    let logs = log_bytes(&ensemble, 1);
    let mut told = met_at(&ensemble, 1, &global);
    assert_eq!(log_bytes(&ensemble, 1), logs, "something was logged");

    // A start without a leader: what is on its disk.
    ensemble.server_mut(1).kill();
    ensemble.server_mut(1).spawn();
    wait_until_read_only(&ensemble, 1);
    told.extend(met_at(&ensemble, 1, &global));

    let (mut reader, _) = greet(ensemble.address(1), &reading(0)).expect("who only reads is refused");
    assert_eq!(text_of(&reader.ask(1, &get("/kept"))), "as it was");
    reader.ask(-2, &ping());
    // Its client hears nothing but the end, perhaps before the others are known to run.
    [2, 3].iter().for_each(|id| ensemble.server_mut(*id).spawn());
    assert!(matches!(next(&mut reader, op::GET_DATA), Ok(Frame::Closed) | Err(_)));
    ensemble.wait_until_all_serve();
    let (mut writer, welcome) = greet(ensemble.address(1), &reading(0)).expect("refused");
    told.push(format!("with a leader: {:?}", welcome.read_only));
    writer.ask(1, &set("/kept", b"as it is"));
    let (_, again) = reattach(ensemble.address(1), &global, SESSION_MS).expect("a global session has outlived all");
    assert_eq!(again.session_id, global.session_id);
    ensemble.assert_all_equal();
    told
}

#[test]
fn a_server_without_a_leader_serves_who_only_reads() {
    let java = alone([JAVA; 3]);
    println!("{}", java.join("\n"));
    for kinds in [[OURS; 3], [OURS, JAVA, JAVA]] {
        let told = alone(kinds);
        for (expected, seen) in java.iter().zip(&told) {
            assert_eq!(seen, expected, "{kinds:?}:\n{}", told.join("\n"));
        }
        assert_eq!(told.len(), java.len());
    }
}

/// Sessions that all know cannot be made without a leader.
#[test]
fn without_local_sessions_nobody_gets_in() {
    let told = |kind| {
        let mut ensemble = of([kind; 3], false);
        [2, 3].iter().for_each(|id| ensemble.server_mut(*id).kill());
        wait_until_read_only(&ensemble, 1);
        let mut connection = Connection::open(ensemble.address(1)).expect("cannot connect");
        connection.push_bytes(&reading(0).body());
        connection.flush().expect("cannot send");
        let frame = connection.next_frame().expect("no answer").expect("closed");
        let code = i32::from_be_bytes(frame[12..16].try_into().expect("four bytes"));
        (frame.len(), frame[..4].to_vec(), code)
    };
    assert_eq!(told(OURS), told(JAVA));
}

/// ZOOKEEPER-3526: one that was read-only leads afterwards, and has nobody cut off what all have.
#[test]
fn who_was_read_only_leads_without_loss() {
    let mut ensemble = of([OURS; 3], true);
    let write = |ensemble: &Ensemble, at: usize, name: &str| {
        let (mut client, _) = session(ensemble.address(at), SESSION_MS);
        for n in 0..40 {
            client.ask(1, &create(&format!("/{name}-{n}"), b"", PERSISTENT));
        }
        client.ask(2, &close_session());
    };
    for round in 0..3 {
        write(&ensemble, 1, &format!("before-{round}"));
        [1, 2].iter().for_each(|id| ensemble.server(*id).pause(true));
        wait_until_read_only(&ensemble, 3);
        let (mut reader, _) = greet(ensemble.address(3), &reading(0)).expect("who only reads is refused");
        reader.ask(1, &get(&format!("/before-{round}-39")));
        [1, 2].iter().for_each(|id| ensemble.server(*id).pause(false));
        ensemble.wait_until_all_serve();
        // The others write on while one of them is away; who was read-only, should it lead, brings it up to date.
        let away = if ensemble.leader() == 1 { 2 } else { 1 };
        ensemble.server_mut(away).kill();
        ensemble.wait_until_serving(&[3, 3 - away]);
        write(&ensemble, 3, &format!("after-{round}"));
        ensemble.server_mut(away).spawn();
        ensemble.wait_until_all_serve();
        ensemble.assert_all_equal();
    }
    let (mut client, _) = session(ensemble.address(2), SESSION_MS);
    for round in 0..3 {
        for n in 0..40 {
            client.ask(1, &exists(&format!("/before-{round}-{n}")));
            client.ask(1, &exists(&format!("/after-{round}-{n}")));
        }
    }
    for id in ensemble.ids() {
        assert!(!ensemble.server(id).log().contains("the log cut"), "{}", ensemble.server(id).log());
    }
}

const KAZOO: &str = r#"
import sys, time
from kazoo.client import KazooClient, KeeperState
from kazoo.exceptions import NotReadOnlyCallError
zk = KazooClient(hosts=sys.argv[1], read_only=True, timeout=8)
zk.start(timeout=60)
assert zk.client_state == KeeperState.CONNECTED_RO, zk.client_state
assert zk.get('/kept')[0] == b'as it was'
try:
    zk.set('/kept', b'never')
    raise SystemExit('a write went through')
except NotReadOnlyCallError:
    pass
print('READ', flush=True)
deadline = time.time() + 60
while zk.client_state != KeeperState.CONNECTED:
    assert time.time() < deadline, zk.client_state
    time.sleep(0.05)
zk.retry(zk.set, '/kept', b'as it is')
print('DONE', flush=True)
zk.stop()
"#;

/// kazoo and `zkCli.sh -r` read from a server that is alone, and write when it is alone no longer.
#[test]
fn real_clients_read_and_then_write() {
    let python = target_dir().join("clients/python/bin/python");
    must_exist(&python, "tools/fetch-clients (Debian package python3-venv)");
    let mut ensemble = of([OURS; 3], true);
    let (mut client, _) = session(ensemble.address(1), SESSION_MS);
    client.ask(1, &create("/kept", b"as it was", PERSISTENT));
    client.ask(2, &close_session());
    [2, 3].iter().for_each(|id| ensemble.server_mut(*id).kill());
    wait_until_read_only(&ensemble, 1);

    let mut kazoo = Command::new(python);
    kazoo.args(["-c", KAZOO]).arg(ensemble.address(1).to_string());
    let mut kazoo = Program::start(kazoo, "python3-venv");
    kazoo.wait_for("READ");
    let mut shell = Command::new("java");
    shell.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
    shell.arg("-cp").arg(java_class_path(crate::process::JAVA_VERSION)).arg("org.apache.zookeeper.ZooKeeperMain");
    shell.arg("-server").arg(ensemble.address(1).to_string()).arg("-r");
    let mut shell = Program::start(shell, "the Debian package openjdk-17-jdk-headless");
    shell.wait_for("state:ConnectedReadOnly");
    shell.say("get /kept");
    shell.wait_for("as it was");
    shell.say("set /kept never");
    shell.wait_for("Not a read-only call");

    [2, 3].iter().for_each(|id| ensemble.server_mut(*id).spawn());
    kazoo.wait_for("DONE");
    kazoo.end();
    shell.wait_for("state:SyncConnected");
    shell.say("set -s /kept shell");
    shell.wait_for("dataVersion = 2");
    shell.say("quit");
    shell.end();
    ensemble.wait_until_all_serve();
    ensemble.assert_all_equal();
}
