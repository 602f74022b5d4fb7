//! `kill -9` under load: after every restart each session finds what a prefix of its requests leaves behind, and that
//! prefix holds everything that was acknowledged.
//!
//! Each session writes below a parent of its own, so its requests alone decide what must be there: a model is carried
//! along, and after a crash the one number sought is how many of the requests took effect. Nothing else is tolerated:
//! no half multi, no gap, no node that nobody created. Snapshots are written all the while.
//!
//! `RINGKEEPER_CRASH_ROUNDS` crashes (20); `RINGKEEPER_CRASH_SEED` (1) repeats the requests, not the moment of the kill.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::{Connection, Welcome};
use crate::codec::{Body, Data, Frame, Op};
use crate::differential::walk;
use crate::process::{JAVA_VERSION, Kind, Server, copy_dir};
use crate::stories::*;

const SESSIONS: usize = 6;
const IN_FLIGHT_MAX: usize = 64;
const TIMEOUT_MS: i32 = 40_000;
/// Nodes of one kind that a session keeps; beyond it the oldest is deleted, so that trees and closeSessions stay small.
const KEPT_MAX: usize = 40;

/// What a session's requests have made of its parent: name to content and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    nodes: BTreeMap<String, (String, i32)>,
}

/// One request, by its number `n` of this session.
#[derive(Clone, Debug)]
enum Step {
    SetCounter,
    Sequential,
    Ephemeral,
    /// Two nodes and a counter at once.
    Pair,
    /// The same, refused by its last part.
    PairRefused,
    Delete(String),
    /// Of the node that request `by` made, which has this path.
    DeleteSequential {
        by: u64,
        path: String,
    },
}

impl Step {
    fn request(&self, parent: &str, n: u64) -> Op {
        let (text, at) = (n.to_string(), |name: &str| format!("{parent}/{name}"));
        let data = text.as_bytes();
        let pair = |last: Op| {
            let node = |kind: &str| create(&at(&format!("{kind}-{n:012}")), data, PERSISTENT);
            multi(vec![node("a"), node("b"), set(&at("pairs"), data), last])
        };
        match self {
            Step::SetCounter => set(&at("counter"), data),
            Step::Sequential => create(&at("seq-"), data, SEQUENTIAL),
            Step::Ephemeral => create(&at(&format!("e-{n:012}")), data, EPHEMERAL),
            Step::Pair => pair(check(&at("counter"), -1)),
            Step::PairRefused => pair(check(&at("counter"), i32::MAX)),
            Step::Delete(name) => delete(&at(name)),
            Step::DeleteSequential { path, .. } => delete(path),
        }
    }

    /// Sequential nodes are known by their content: the model cannot know their names.
    fn apply(&self, n: u64, model: &mut Model) {
        let text = n.to_string();
        let mut add = |name: String| assert!(model.nodes.insert(name, (text.clone(), 0)).is_none());
        match self {
            Step::SetCounter => model.set("counter", n),
            Step::Sequential => add(sequential(n)),
            Step::Ephemeral => add(format!("e-{n:012}")),
            Step::Pair => {
                add(format!("a-{n:012}"));
                add(format!("b-{n:012}"));
                model.set("pairs", n);
            }
            Step::PairRefused => {}
            Step::Delete(name) => assert!(model.nodes.remove(name).is_some()),
            Step::DeleteSequential { by, .. } => assert!(model.nodes.remove(&sequential(*by)).is_some()),
        }
    }
}

/// What the model calls the sequential node made by request `n`.
fn sequential(n: u64) -> String {
    format!("seq-{n:012}")
}

impl Model {
    fn set(&mut self, name: &str, n: u64) {
        let (content, version) = self.nodes.get_mut(name).expect("made at the beginning");
        *content = n.to_string();
        *version += 1;
    }

    /// The oldest of a kind of which there are too many.
    fn surplus(&self) -> Option<String> {
        ["a-", "b-", "e-"].iter().find_map(|kind| {
            let mut of_kind = self.nodes.keys().filter(|name| name.starts_with(kind));
            (of_kind.clone().count() > KEPT_MAX).then(|| of_kind.next().expect("counted").clone())
        })
    }
}

/// A client through all the crashes.
struct Client {
    parent: String,
    welcome: Welcome,
    random: SmallRng,
    /// What is known to be there.
    base: Model,
    /// Number of the first step not in `base`.
    first: u64,
    steps: VecDeque<Step>,
    /// Of `steps`, how many were acknowledged.
    acknowledged: usize,
    /// Paths that sequential creates were answered with, by the step's number.
    named: BTreeMap<u64, String>,
    total_acknowledged: u64,
}

impl Client {
    fn new(nth: usize, seed: u64, address: SocketAddr) -> (Client, Connection) {
        let (mut connection, welcome) = session(address, TIMEOUT_MS);
        let parent = format!("/crash-{nth}");
        connection.ask(1, &create(&parent, b"", PERSISTENT));
        let mut base = Model::default();
        for name in ["counter", "pairs"] {
            connection.ask(2, &create(&format!("{parent}/{name}"), b"0", PERSISTENT));
            base.nodes.insert(name.to_string(), ("0".to_string(), 0));
        }
        let random = SmallRng::seed_from_u64(seed * 1000 + nth as u64);
        let client = Client {
            parent,
            welcome,
            random,
            base,
            first: 1,
            steps: VecDeque::new(),
            acknowledged: 0,
            named: BTreeMap::new(),
            total_acknowledged: 0,
        };
        (client, connection)
    }

    fn draw(&mut self, head: &Model) -> Step {
        if let Some(name) = head.surplus() {
            return Step::Delete(name);
        }
        let mut sequentials = head.nodes.keys().filter(|name| name.starts_with("seq-"));
        if sequentials.clone().count() > KEPT_MAX {
            let oldest = sequentials.next().expect("counted").trim_start_matches("seq-").parse().expect("a number");
            // Known once it was answered or seen.
            if let Some(path) = self.named.get(&oldest) {
                return Step::DeleteSequential { by: oldest, path: path.clone() };
            }
        }
        match self.random.random_range(0..10) {
            0..4 => Step::SetCounter,
            4 => Step::Sequential,
            5 => Step::Ephemeral,
            6..9 => Step::Pair,
            _ => Step::PairRefused,
        }
    }

    /// Writes until the server is gone.
    fn write_on(&mut self, mut connection: Connection) {
        assert!(self.steps.is_empty());
        self.acknowledged = 0;
        let mut head = self.base.clone();
        loop {
            let burst = self.random.random_range(1..=IN_FLIGHT_MAX - (self.steps.len() - self.acknowledged));
            for _ in 0..burst {
                let step = self.draw(&head);
                let n = self.first + self.steps.len() as u64;
                step.apply(n, &mut head);
                connection.push(n as i32, &step.request(&self.parent, n));
                self.steps.push_back(step);
            }
            if connection.flush().is_err() {
                break;
            }
            let leave_open = self.random.random_range(0..IN_FLIGHT_MAX / 2);
            while self.steps.len() - self.acknowledged > leave_open {
                if !self.hear(&mut connection) {
                    return;
                }
            }
        }
        while self.hear(&mut connection) {}
    }

    /// Takes one reply; false when the server is gone.
    fn hear(&mut self, connection: &mut Connection) -> bool {
        let Some(step) = self.steps.get(self.acknowledged) else { return false };
        let n = self.first + self.acknowledged as u64;
        let op = step.request(&self.parent, n);
        let Ok(frame) = next(connection, op.opcode()) else { return false };
        let Frame::Reply { xid, err, body, .. } = frame else {
            assert_eq!(frame, Frame::Closed, "instead of the reply to {step:?}");
            return false;
        };
        assert_eq!(xid, n as i32, "replies come in the order of their requests");
        let expected = if matches!(step, Step::PairRefused) { BAD_VERSION } else { 0 };
        let multi_error = match &body {
            Body::Multi(results) => results.iter().map(|result| result.err).find(|err| *err != 0).unwrap_or(0),
            _ => 0,
        };
        assert_eq!(if err == 0 { multi_error } else { err }, expected, "{step:?} number {n}: {body:?}");
        if let (Step::Sequential, Body::Path(path)) = (step, &body) {
            let path = path.as_str().expect("our paths are text").to_string();
            self.named.insert(n, path);
        }
        self.acknowledged += 1;
        self.total_acknowledged += 1;
        true
    }

    /// Attaches again with the password and finds out how far the requests came.
    fn return_to(&mut self, address: SocketAddr) -> Connection {
        let (mut connection, welcome) = reattach(address, &self.welcome, TIMEOUT_MS)
            .unwrap_or_else(|| panic!("{}: the session is lost", self.parent));
        assert_eq!(welcome, self.welcome);
        let (seen, names) = self.look(&mut connection);
        let mut model = self.base.clone();
        let mut done = 0;
        while done < self.acknowledged || model != seen {
            let Some(step) = self.steps.get(done) else {
                panic!(
                    "{}: no prefix of the requests leads to what is there.\nacknowledged {} of {}: {:?}\nbefore: {:?}\nnow: {seen:?}",
                    self.parent,
                    self.acknowledged,
                    self.steps.len(),
                    self.steps,
                    self.base
                );
            };
            step.apply(self.first + done as u64, &mut model);
            done += 1;
        }
        for (n, path) in self.named.iter().filter(|(n, _)| model.nodes.contains_key(&sequential(**n))) {
            assert_eq!(
                names.get(n),
                Some(path),
                "{}: the node of request {n} was acknowledged by that name",
                self.parent
            );
        }
        self.named = names;
        self.first += done as u64;
        // A refused multi leaves no trace, so more may have been done than the tree tells; their numbers are not used again.
        self.first += (self.steps.len() - done) as u64;
        self.steps.clear();
        self.base = model;
        connection
    }

    /// Everything below the parent, in terms of the model, and the names of sequential nodes.
    fn look(&self, connection: &mut Connection) -> (Model, BTreeMap<u64, String>) {
        let Body::NamesStat(children, _) = connection.ask(1, &children(&self.parent)) else { panic!("no children") };
        let (mut model, mut names) = (Model::default(), BTreeMap::new());
        for child in children {
            let name = child.as_str().expect("our names are text").to_string();
            let path = format!("{}/{name}", self.parent);
            let Body::Data(Data(Some(content)), stat) = connection.ask(2, &get(&path)) else { panic!("no data") };
            let content = String::from_utf8(content).expect("our content is text");
            let owner = if name.starts_with("e-") { self.welcome.session_id } else { 0 };
            assert_eq!(stat.ephemeral_owner, owner, "{path}");
            let known_as = if name.starts_with("seq-") {
                let n: u64 = content.parse().expect("a number");
                names.insert(n, path);
                sequential(n)
            } else {
                name
            };
            assert!(model.nodes.insert(known_as, (content, stat.version)).is_none(), "the same request done twice");
        }
        let in_order: Vec<&String> = names.values().collect();
        assert!(in_order.is_sorted(), "sequence numbers are not in the order of the requests: {names:?}");
        (model, names)
    }
}

fn server(home: &std::path::Path, threads: Threads) -> Server {
    let mut server = Server::new(Kind::under_test(), home);
    // Snapshots every few hundred transactions and a new file every few hundred as well.
    server.set("snapCount", "600").set("preAllocSize", "64");
    if server.kind == Kind::Ours {
        threads.choose(&mut server);
    }
    server
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn crash_rounds(threads: Threads, rounds: u64) {
    let seed = number_from_environment("RINGKEEPER_CRASH_SEED", 1);
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut server = server(&home.path().join("ours"), threads);
    server.start();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut clients: Vec<(Client, Connection)> =
        (0..SESSIONS).map(|nth| Client::new(nth, seed, server.address())).collect();
    for round in 0..rounds {
        let load = Duration::from_millis(random.random_range(30..500));
        clients = std::thread::scope(|scope| {
            let writers: Vec<_> = clients
                .into_iter()
                .map(|(mut client, connection)| {
                    scope.spawn(move || {
                        client.write_on(connection);
                        client
                    })
                })
                .collect();
            std::thread::sleep(load);
            server.kill();
            let gone: Vec<Client> = writers.into_iter().map(|writer| writer.join().expect("a writer failed")).collect();
            server.start();
            let back = gone.into_iter().map(|mut client| {
                let connection = client.return_to(server.address());
                (client, connection)
            });
            back.collect()
        });
        if round % 50 == 49 {
            println!("{} crashes survived", round + 1);
        }
    }
    let acknowledged: u64 = clients.iter().map(|(client, _)| client.total_acknowledged).sum();
    println!("{threads:?}: {rounds} crashes, {acknowledged} acknowledged writes, none lost (seed {seed})");
    assert!(acknowledged > rounds * SESSIONS as u64 * 10, "hardly anything was written between the crashes");
    let snapshots = std::fs::read_dir(server.data_dir().join("version-2")).expect("cannot list");
    let names: Vec<String> =
        snapshots.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert!(
        names.iter().filter(|name| name.starts_with("snapshot.")).count() > 3,
        "no snapshots were taken: {names:?}"
    );
    if server.kind == Kind::Ours {
        java_goes_on(server, clients, home.path());
    }
}

/// After the last crash Java starts on a copy and has the same tree and digests; then ours starts on what Java left.
fn java_goes_on(mut ours: Server, mut clients: Vec<(Client, Connection)>, home: &std::path::Path) {
    // Something to replay, so that digests are compared one by one.
    let (_, connection) = &mut clients[0];
    for n in 0..100 {
        connection.ask(n, &set("/crash-0/counter", n.to_string().as_bytes()));
    }
    let tree = walk::tree(ours.address());
    ours.kill();
    let mut java = Server::new(Kind::Java(JAVA_VERSION), &home.join("java"));
    copy_dir(&ours.data_dir(), &java.data_dir());
    java.start();
    walk::same_bits(&tree, &walk::tree(java.address())).unwrap_or_else(|e| panic!("Java after our crash: {e}"));
    assert_eq!(gauge(&java, "zk_digest_mismatches_count"), 0);
    let (mut visitor, _) = session(java.address(), TIMEOUT_MS);
    for n in 0..300 {
        visitor.ask(n, &create(&format!("/java-{n}"), b"guest", PERSISTENT));
    }
    visitor.ask(300, &close_session());
    let tree = walk::tree(java.address());
    java.kill();
    let mut again = Server::new(Kind::Ours, &home.join("again"));
    copy_dir(&java.data_dir(), &again.data_dir());
    again.start();
    walk::same_bits(&tree, &walk::tree(again.address())).unwrap_or_else(|e| panic!("ours after Java: {e}"));
    assert!(!again.log().contains("disagree"), "digests differ\n{}", again.log());
}

/// A session that says nothing across the crash keeps what is its own.
fn patient_session_survives(threads: Threads) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut server = server(home.path(), threads);
    server.start();
    let (mut connection, welcome) = session(server.address(), TIMEOUT_MS);
    connection.ask(1, &create("/mine", b"1", EPHEMERAL));
    server.kill();
    let began = Instant::now();
    server.start();
    let (mut other, _) = session(server.address(), TIMEOUT_MS);
    assert_eq!(
        text_of(&other.ask(1, &get("/mine"))),
        "1",
        "an ephemeral of a live session is there before its owner is"
    );
    let (mut back, _) = reattach(server.address(), &welcome, TIMEOUT_MS).expect("the session is lost");
    assert!(began.elapsed() < Duration::from_millis(TIMEOUT_MS as u64), "this machine is too slow for the story");
    back.ask(2, &close_session());
    assert_eq!(code_of(other.call(2, &exists("/mine"))), NO_NODE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_lost_and_no_multi_is_halved() {
        crash_rounds(Threads::One, number_from_environment("RINGKEEPER_CRASH_ROUNDS", 20));
    }

    #[test]
    fn the_same_with_threads_of_their_own() {
        crash_rounds(Threads::Workers(2), number_from_environment("RINGKEEPER_CRASH_ROUNDS", 20) / 2);
    }

    #[test]
    fn a_session_and_its_ephemerals_outlive_the_crash() {
        patient_session_survives(Threads::One);
    }
}
