//! Members that come, go and change what they are, while clients write: nothing that was acknowledged is lost, all servers
//! have one configuration, in the tree and in their files.
//!
//! - `changes`: one change after the other, in every mix of ours and Java's
//! - `faults`: changes that are refused, that meet each other, and whose leader is killed in the middle
//! - `answers`: what is answered to what, by a Java leader and by ours
//! - `kazoo`: the same through a client library

mod answers;
mod changes;
mod faults;
mod kazoo;

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Ensemble, SESSION_MS, SUPER_DIGEST, TICK_MS};
use crate::client::{Connection, Hello};
use crate::codec::{Body, Data, Frame, Op, Text, op};
use crate::process::{Kind, Server, free_port};
use crate::stories::*;

const CONFIG: &str = "/zookeeper/config";

/// What stands behind `server.N=` for each server, as participant.
struct Lines(Vec<(u16, u16, u16)>);

impl Lines {
    fn of(&self, id: usize, role: &str) -> String {
        let (quorum, election, client) = self.0[id - 1];
        format!("server.{id}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}")
    }

    fn participant(&self, id: usize) -> String {
        self.of(id, "participant")
    }
}

/// Servers of these kinds that may be reconfigured; the first `members` of them are an ensemble, the others have themselves
/// beside those in their files and may join. Nothing runs yet.
fn reconfigurable(kinds: &[Kind], members: usize) -> (Ensemble, Lines) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut servers: Vec<Server> =
        (1..=kinds.len()).zip(kinds).map(|(id, kind)| Server::new(*kind, &home.path().join(id.to_string()))).collect();
    let ports = servers.iter().map(|server| (free_port(), free_port(), server.address().port()));
    let lines = Lines(ports.collect());
    for (id, server) in (1..).zip(&mut servers) {
        fs::write(server.data_dir().join("myid"), id.to_string()).expect("cannot write myid");
        server.set("tickTime", &TICK_MS.to_string()).set("initLimit", "20").set("syncLimit", "10");
        server.set("reconfigEnabled", "true").set("extendedTypesEnabled", "true");
        server.set("DigestAuthenticationProvider.superDigest", SUPER_DIGEST);
        let known = (1..=members).chain((id > members).then_some(id));
        for other in known {
            let line = lines.participant(other);
            let (key, value) = line.split_once('=').expect("a line");
            server.set(key, value);
        }
        server.owns_config();
    }
    (Ensemble { servers, home }, lines)
}

fn start(ensemble: &mut Ensemble, ids: &[usize]) {
    ids.iter().for_each(|id| ensemble.server_mut(*id).spawn());
    ensemble.wait_until_serving(ids);
}

/// A session, as soon as the server takes one: between two roles it takes none.
fn visitor(address: SocketAddr) -> Connection {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let greeted = Connection::open(address).and_then(|mut client| {
            client.set_patience(Duration::from_secs(4));
            let welcome = client.shake_hands(&Hello::new_session(SESSION_MS))?;
            Ok(welcome.filter(|welcome| welcome.session_id != 0).map(|_| client))
        });
        if let Ok(Some(mut client)) = greeted {
            client.set_patience(Duration::from_secs(30));
            return client;
        }
        assert!(Instant::now() < deadline, "{address} takes no session: {greeted:?}", greeted = greeted.err());
        sleep(Duration::from_millis(50));
    }
}

/// A session that may do everything.
fn operator(address: SocketAddr) -> Connection {
    let auth = Op::Auth { scheme: "digest".into(), auth: Data(Some(b"super:test".to_vec())) };
    loop {
        let mut client = visitor(address);
        if matches!(client.call(-4, &auth), Ok((_, Frame::Reply { err: 0, .. }))) {
            return client;
        }
    }
}

fn given(text: &str) -> Text {
    if text.is_empty() { Text(None) } else { text.into() }
}

fn request(joining: &str, leaving: &str, members: &str, config_id: i64) -> Op {
    Op::Reconfig { joining: given(joining), leaving: given(leaving), members: given(members), config_id }
}

/// The new configuration, or the code of the refusal; `None`: the connection ended first.
fn try_reconfig(client: &mut Connection, op: &Op) -> Option<Result<String, i32>> {
    match client.call(1, op) {
        Ok((_, Frame::Reply { err: 0, body: Body::Data(data, _), .. })) => {
            Some(Ok(String::from_utf8_lossy(&data.0.unwrap_or_default()).into_owned()))
        }
        Ok((_, Frame::Reply { err, .. })) => Some(Err(err)),
        Ok((_, Frame::Closed)) => None,
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => None,
        other => panic!("{op:?} was answered {other:?}"),
    }
}

/// Sent to some server until it is done; a server that loses its clients over it says nothing.
fn reconfig(ensemble: &Ensemble, at: usize, joining: &str, leaving: &str, members: &str) -> String {
    const NO_QUORUM: i32 = -13;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = operator(ensemble.address(at));
        match try_reconfig(&mut client, &request(joining, leaving, members, -1)) {
            Some(Ok(config)) => return config,
            // It is done or it is not; once more does no harm. Who joins may not have caught up yet.
            None | Some(Err(NO_QUORUM | -14)) => {}
            Some(Err(code)) => panic!("{joining} {leaving} {members}: {code}\n{}", ensemble.logs()),
        }
        assert!(Instant::now() < deadline, "{joining} {leaving} {members}\n{}", ensemble.logs());
        sleep(Duration::from_millis(100));
    }
}

/// What a server shows its clients.
fn config_at(address: SocketAddr) -> String {
    let sync = Op::Path { opcode: op::SYNC, path: "/".into() };
    loop {
        let mut client = visitor(address);
        if matches!(client.call(1, &sync), Ok((_, Frame::Reply { err: 0, .. })))
            && let Ok((_, Frame::Reply { err: 0, body, .. })) = client.call(2, &get(CONFIG))
        {
            let _ = client.call(3, &close_session());
            return text_of(&body).to_owned();
        }
    }
}

/// All of these show the same configuration, and have it in their files.
fn wait_for_one_config(ensemble: &Ensemble, ids: &[usize], lines: &[String]) {
    let is_so = |id: &usize| {
        let text = config_at(ensemble.address(*id));
        let (members, version) = text.rsplit_once("\nversion=").expect("a version");
        let mut shown: Vec<&str> = members.lines().collect();
        shown.sort_unstable();
        let mut wanted: Vec<&str> = lines.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        let server = ensemble.server(*id);
        let dynamic = server.config_file(&format!("zoo.cfg.dynamic.{version}"));
        let file = fs::read_to_string(&dynamic).unwrap_or_default();
        let names = fs::read_to_string(server.config_file("zoo.cfg")).unwrap_or_default();
        let named = format!("dynamicConfigFile={}", dynamic.display());
        shown == wanted
            && file == wanted.join("\n")
            && names.lines().any(|line| line == named)
            && !names.contains("server.")
            && !server.config_file("zoo.cfg.dynamic.next").exists()
    };
    let deadline = Instant::now() + PATIENCE;
    for id in ids {
        while !is_so(id) {
            let shown = config_at(ensemble.address(*id));
            assert!(
                Instant::now() < deadline,
                "server {id} shows\n{shown}\nnot\n{}\n{}\n{}",
                lines.join("\n"),
                fs::read_to_string(ensemble.server(*id).config_file("zoo.cfg")).unwrap_or_default(),
                ensemble.logs()
            );
            sleep(Duration::from_millis(100));
        }
    }
}
