//! Everything that clients do, in ensembles of our servers and Java's, in every split: the same story is told for each.

use std::time::Duration;

use super::{Ensemble, JAVA, JAVA_38, OURS, SESSION_MS};
use crate::client::{Connection, Hello, Welcome};
use crate::codec::{Acl, Body, Data, Frame, Op, op};
use crate::differential::walk;
use crate::process::Kind;
use crate::stories::*;

const NOT_EMPTY: i32 = -111;
const SESSION_MOVED: i32 = -118;

fn sync() -> Op {
    Op::Path { opcode: op::SYNC, path: "/".into() }
}

fn create_as(opcode: i32, path: &str, data: &[u8], flags: i32) -> Op {
    Op::Create { opcode, path: path.into(), data: Data(Some(data.to_vec())), acl: Acl::open(), flags }
}

fn set_acl(path: &str, acl: Vec<Acl>) -> Op {
    Op::SetAcl { path: path.into(), acl: Some(acl), version: -1 }
}

/// Every kind of transaction, sent by a client of this server. Returns the session, which owns ephemerals.
fn write_everything(ensemble: &Ensemble, id: usize) -> (Connection, Welcome) {
    let (mut client, welcome) = session(ensemble.address(id), SESSION_MS);
    let top = format!("/by-{id}");
    let at = |name: &str| format!("{top}/{name}");
    let granted = [
        create(&top, b"", PERSISTENT),
        create_as(op::CREATE2, &at("two"), b"2", PERSISTENT),
        create_as(op::CREATE2, &at("seq-"), b"s", SEQUENTIAL),
        create(&at("seq-"), b"s", SEQUENTIAL),
        create(&at("e"), b"e", EPHEMERAL),
        create_as(op::CREATE2, &at("es-"), b"e", EPHEMERAL | SEQUENTIAL),
        create_container(&at("container")),
        create(&at("container/child"), b"", PERSISTENT),
        create_ttl(&at("ttl"), 3_600_000),
        set(&top, b"1"),
        set(&top, &vec![b'x'; 400_000]),
        set(&top, b""),
        Op::SetData { path: at("two").as_str().into(), data: Data(None), version: 0 },
        set_acl(&at("two"), vec![Acl::new(31, "world", "anyone"), Acl::new(1, "ip", "127.0.0.1")]),
        create(&at("gone"), b"", PERSISTENT),
        delete(&at("gone")),
        Op::Auth { scheme: "digest".into(), auth: Data(Some(format!("user-{id}:secret").into_bytes())) },
        set_acl(&at("ttl"), vec![Acl::new(31, "auth", "")]),
        set(&at("ttl"), b"mine"),
        multi(vec![
            create(&at("m1"), b"m", PERSISTENT),
            create(&at("m-"), b"m", SEQUENTIAL),
            create(&at("m-e"), b"m", EPHEMERAL),
            set(&at("m1"), b"m2"),
            check(&at("m1"), 1),
            create(&at("m3"), b"", PERSISTENT),
            delete(&at("m3")),
        ]),
    ];
    for op in &granted {
        // What authentication is answered has an xid of its own.
        client.ask(if matches!(op, Op::Auth { .. }) { -4 } else { 1 }, op);
    }
    for (op, code) in [
        (create(&top, b"", PERSISTENT), NODE_EXISTS),
        (delete(&at("nothing")), NO_NODE),
        (delete(&top), NOT_EMPTY),
        (Op::SetData { path: top.as_str().into(), data: Data(None), version: 77 }, BAD_VERSION),
    ] {
        assert_eq!(code_of(client.call(1, &op)), code, "{op:?} at server {id}");
    }
    let halved = client.ask(1, &multi(vec![create(&at("half"), b"", PERSISTENT), check(&at("m1"), 77)]));
    let Body::Multi(results) = halved else { panic!("{halved:?}") };
    let codes: Vec<i32> = results.iter().map(|result| result.err).collect();
    assert_eq!(codes, [0, BAD_VERSION], "a multi that fails at server {id}");
    assert_eq!(code_of(client.call(1, &exists(&at("half")))), NO_NODE);
    let (mut short, _) = session(ensemble.address(id), SESSION_MS);
    short.ask(1, &create(&at("short"), b"", EPHEMERAL));
    short.ask(2, &close_session());
    (client, welcome)
}

/// A session goes from server to server with its password; where it was, it is no longer.
fn a_session_moves(ensemble: &Ensemble) {
    let first = *ensemble.ids().start();
    let (mut client, mut welcome) = session(ensemble.address(first), SESSION_MS);
    client.ask(1, &create("/mover", b"", EPHEMERAL));
    // Round and back to where it began.
    for (n, id) in ensemble.ids().skip(1).chain([first]).enumerate() {
        let wrong = Hello::reattach(welcome.session_id, &[7; 16], SESSION_MS);
        assert!(greet(ensemble.address(id), &wrong).is_none(), "server {id} takes a wrong password");
        let (mut there, again) = reattach(ensemble.address(id), &welcome, SESSION_MS)
            .unwrap_or_else(|| panic!("server {id} refuses the session\n{}", ensemble.logs()));
        assert_eq!((again.session_id, &again.password), (welcome.session_id, &welcome.password));
        welcome = again;
        there.ask(1, &set("/mover", format!("{n}").as_bytes()));
        // A writer that was left behind is told so, or its connection ends.
        match client.call(9, &set("/mover", b"from the past")) {
            Ok((_, Frame::Closed | Frame::Reply { err: SESSION_MOVED, .. })) => {}
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {}
            other => panic!("the connection that the session left for server {id} was answered {other:?}"),
        }
        there.ask(2, &sync());
        assert_eq!(text_of(&there.ask(3, &get("/mover"))), n.to_string());
        client = there;
    }
    client.ask(1, &close_session());
    for id in ensemble.ids() {
        let (mut visitor, _) = session(ensemble.address(id), SESSION_MS);
        visitor.ask(1, &sync());
        assert_eq!(code_of(visitor.call(2, &exists("/mover"))), NO_NODE, "server {id}");
        visitor.ask(3, &close_session());
    }
    assert!(reattach(ensemble.address(first), &welcome, SESSION_MS).is_none(), "a session that was closed lives");
}

/// Whoever pings lives, whoever is silent expires, wherever it is connected.
fn sessions_live_and_expire(ensemble: &Ensemble) {
    const SHORT_MS: i32 = 2000;
    let open = |id, kind: &str| {
        let (mut client, _) = session(ensemble.address(id), SHORT_MS);
        client.ask(1, &create(&format!("/{kind}-{id}"), b"", EPHEMERAL));
        client
    };
    let mut pinging: Vec<Connection> = ensemble.ids().map(|id| open(id, "pinging")).collect();
    let silent: Vec<Connection> = ensemble.ids().map(|id| open(id, "silent")).collect();
    let mut visitors: Vec<Connection> = ensemble.ids().map(|id| session(ensemble.address(id), SESSION_MS).0).collect();
    let is_there = |visitor: &mut Connection, kind: &str, id: usize| {
        visitor.ask(1, &sync());
        code_of(visitor.call(2, &exists(&format!("/{kind}-{id}")))) == 0
    };
    wait_until("the silent have expired everywhere", || {
        pinging.iter_mut().for_each(|client| {
            client.ask(-2, &ping());
        });
        std::thread::sleep(Duration::from_millis(200));
        visitors.iter_mut().all(|visitor| ensemble.ids().all(|id| !is_there(visitor, "silent", id)))
    });
    drop(silent);
    for (at, visitor) in ensemble.ids().zip(&mut visitors) {
        for id in ensemble.ids() {
            assert!(is_there(visitor, "pinging", id), "seen at {at}: a client of server {id} that pings has expired");
        }
    }
    for mut client in pinging.into_iter().chain(visitors) {
        client.ask(1, &close_session());
    }
}

/// What is written at one server is there at every other one after a sync, and watchers hear of it everywhere.
fn syncs_and_watches(ensemble: &Ensemble) {
    let mut clients: Vec<Connection> = ensemble.ids().map(|id| session(ensemble.address(id), SESSION_MS).0).collect();
    clients[0].ask(1, &create("/shared", b"0", PERSISTENT));
    for n in 1..=20 {
        let (writer, text) = (n % clients.len(), n.to_string());
        for client in &mut clients {
            client.ask(1, &sync());
            client.ask(2, &get_and_watch("/shared"));
        }
        clients[writer].push(3, &set("/shared", text.as_bytes()));
        clients[writer].flush().expect("cannot send");
        for (id, client) in ensemble.ids().zip(&mut clients) {
            let told = next(client, op::SET_DATA).unwrap_or_else(|e| panic!("server {id} tells nothing: {e}"));
            assert!(matches!(&told, Frame::Event { kind: DATA_CHANGED, .. }), "server {id} tells {told:?}");
        }
        let written = next(&mut clients[writer], op::SET_DATA);
        assert!(matches!(written, Ok(Frame::Reply { err: 0, .. })), "{written:?}");
        for (id, client) in ensemble.ids().zip(&mut clients) {
            client.ask(4, &sync());
            assert_eq!(text_of(&client.ask(5, &get("/shared"))), text, "at server {id}");
        }
    }
    clients.into_iter().for_each(|mut client| {
        client.ask(1, &close_session());
    });
}

/// Syncs of some clients and writes of others, all in flight at every server: each is answered. A Java server waits for them in
/// the order in which it sent them to its leader, and answers nobody any more where that order is not kept.
fn syncs_beside_writes(ensemble: &Ensemble) {
    const EACH: usize = 150;
    let clients = ensemble.ids().flat_map(|id| [(id, true), (id, false), (id, false)]);
    let clients = clients.map(|(id, syncs)| {
        let address = ensemble.address(id);
        std::thread::spawn(move || {
            let (mut client, _) = session(address, SESSION_MS);
            for n in 0..EACH {
                let op = if syncs { sync() } else { set("/shared", format!("{n}").as_bytes()) };
                assert_eq!(code_of(client.call(n as i32 + 1, &op)), 0, "{op:?} at server {id}");
            }
            client.ask(EACH as i32 + 1, &close_session());
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("a client was not answered"));
}

/// A container whose last child goes and a znode that outlives its time vanish by the leader's hand.
fn the_leader_sweeps(ensemble: &Ensemble) {
    let (mut client, _) = session(ensemble.address(1), SESSION_MS);
    for op in
        [create_container("/box"), create("/box/child", b"", PERSISTENT), delete("/box/child"), create_ttl("/brief", 1)]
    {
        client.ask(1, &op);
    }
    wait_until("the leader has swept", || {
        client.ask(-2, &ping());
        ["/box", "/brief"].iter().all(|path| code_of(client.call(1, &exists(path))) == NO_NODE)
    });
    client.ask(1, &close_session());
}

/// The whole story. The ensemble runs.
fn everything_in(ensemble: &Ensemble) {
    let mut sessions: Vec<(Connection, Welcome)> = ensemble.ids().map(|id| write_everything(ensemble, id)).collect();
    ensemble.assert_all_equal();
    syncs_and_watches(ensemble);
    syncs_beside_writes(ensemble);
    a_session_moves(ensemble);
    the_leader_sweeps(ensemble);
    // Enough for a digest or two of the history that `hash` shows.
    let (client, _) = &mut sessions[0];
    for n in 0..300 {
        client.push(1, &set("/shared", format!("{n}").as_bytes()));
    }
    client.flush().expect("cannot send");
    for _ in 0..300 {
        assert!(matches!(next(client, op::SET_DATA), Ok(Frame::Reply { err: 0, .. })));
    }
    let owned: Vec<i64> = sessions.iter().map(|(_, welcome)| welcome.session_id).collect();
    sessions.iter_mut().for_each(|(client, _)| {
        client.ask(1, &close_session());
    });
    for id in ensemble.ids() {
        let tree = walk::tree(ensemble.address(id));
        let left = tree.iter().find(|(_, node)| owned.contains(&node.owner()));
        assert!(left.is_none(), "server {id} keeps {left:?} of a closed session");
    }
    ensemble.assert_all_equal();
    sessions_live_and_expire(ensemble);
    ensemble.assert_all_equal();
    ensemble.assert_no_complaints();
}

fn tell(kinds: &[Kind], observers: &[usize], leader: usize) {
    let names: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
    println!("{names:?}, observers {observers:?}, led by server {leader}");
    let mut ensemble = Ensemble::with_observers(kinds, observers);
    ensemble.start_led_by(leader);
    everything_in(&ensemble);
}

#[test]
fn three_of_ours() {
    tell(&[OURS, OURS, OURS], &[], 3);
}

#[test]
fn we_lead_two_of_java() {
    tell(&[JAVA, JAVA, OURS], &[], 3);
    tell(&[JAVA_38, JAVA_38, OURS], &[], 3);
}

#[test]
fn we_follow_java_beside_java() {
    tell(&[OURS, JAVA, JAVA], &[], 3);
    tell(&[OURS, JAVA_38, JAVA_38], &[], 3);
}

#[test]
fn two_of_ours_and_one_of_java() {
    tell(&[OURS, JAVA, OURS], &[], 3);
    tell(&[OURS, OURS, JAVA], &[], 3);
}

#[test]
fn observers_of_either_kind() {
    tell(&[JAVA, JAVA, OURS], &[3], 2);
    tell(&[OURS, OURS, JAVA], &[3], 2);
}

#[test]
fn five_of_both() {
    tell(&[JAVA, OURS, JAVA, OURS, OURS], &[], 4);
    tell(&[OURS, OURS, JAVA, JAVA, JAVA], &[], 4);
}
