//! Ensembles of server processes on loopback, each server of a kind of its own: ours, Apache ZooKeeper 3.9 or 3.8.
//!
//! Owns their ports and `server.N` lines, and the questions that are asked of an ensemble as a whole: who leads, do all serve,
//! are all trees the same. One server as a process is `process.rs`'s. A server's kind may change between two starts: its
//! directory, id and ports stay.
//!
//! - `mixed`: everything that clients do, in every split between ours and Java's
//! - `elections`: leaders killed again and again under load
//! - `synchronization`: DIFF, TRUNC and SNAP between the two
//! - `bad_peers`: garbage on the ports between servers, and servers that are not what they say
//! - `migration`: `tools/migrate`
//! - `reconfig`: members that come, go and change what they are
//! - `latency`: how long requests take where
//! - `words`: what operators are told by leaders, followers and observers
//! - `local_sessions`: sessions that one server knows, and how they become known to all
//! - `read_only`: a server without a leader, and the clients who put up with it
//! - `observer_masters`: observers that follow followers
//! - `limits`: how many learners at a time, how long, how often
//! - `leader_serves`: a leader that leaves clients to the others
//! - `ledger`: clients that write all the while and know what was acknowledged to them

mod bad_peers;
mod elections;
mod latency;
mod leader_serves;
pub mod ledger;
mod limits;
mod local_sessions;
mod migration;
mod mixed;
mod observer_masters;
mod read_only;
mod reconfig;
mod synchronization;
mod words;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::differential::walk;
use crate::process::{JAVA_VERSION, Kind, Server, free_port};
use crate::stories::*;

pub const OURS: Kind = Kind::Ours;
pub const JAVA: Kind = Kind::Java(JAVA_VERSION);
pub const JAVA_38: Kind = Kind::Java("3.8.5");

/// Of super:test, as `walk` expects it.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
const TICK_MS: u64 = 500;
/// The longest that servers with such ticks grant.
pub const SESSION_MS: i32 = 20 * TICK_MS as i32;

/// Server ids are 1 to n.
pub struct Ensemble {
    servers: Vec<Server>,
    home: tempfile::TempDir,
}

impl Ensemble {
    /// Voters of these kinds; nothing runs yet.
    pub fn of(kinds: &[Kind]) -> Ensemble {
        Ensemble::with_observers(kinds, &[])
    }

    /// The servers with these ids are observers.
    pub fn with_observers(kinds: &[Kind], observers: &[usize]) -> Ensemble {
        Ensemble::at(|_| Ipv4Addr::LOCALHOST, kinds, observers)
    }

    /// Members with these addresses.
    pub fn at(host_of: impl Fn(usize) -> Ipv4Addr, kinds: &[Kind], observers: &[usize]) -> Ensemble {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let members: Vec<(String, String)> = (1..=kinds.len())
            .map(|id| {
                let role = if observers.contains(&id) { ":observer" } else { "" };
                (format!("server.{id}"), format!("{}:{}:{}{role}", host_of(id), free_port(), free_port()))
            })
            .collect();
        let servers = (1..=kinds.len()).zip(kinds).map(|(id, kind)| {
            let mut server = Server::new(*kind, &home.path().join(id.to_string()));
            fs::write(server.data_dir().join("myid"), id.to_string()).expect("cannot write myid");
            server.set("tickTime", &TICK_MS.to_string()).set("initLimit", "20").set("syncLimit", "10");
            server.set("extendedTypesEnabled", "true");
            server.set("DigestAuthenticationProvider.superDigest", SUPER_DIGEST);
            server.property("znode.container.checkIntervalMs", "500");
            members.iter().for_each(|(key, value)| {
                server.set(key, value);
            });
            if observers.contains(&id) {
                server.set("peerType", "observer");
            }
            server
        });
        Ensemble { servers: servers.collect(), home }
    }

    pub fn ids(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.servers.len()
    }

    pub fn server(&self, id: usize) -> &Server {
        &self.servers[id - 1]
    }

    pub fn server_mut(&mut self, id: usize) -> &mut Server {
        &mut self.servers[id - 1]
    }

    pub fn address(&self, id: usize) -> SocketAddr {
        self.server(id).address()
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ids().map(|id| self.address(id)).collect()
    }

    /// Quorum and election port of a server.
    pub fn ports(&self, id: usize) -> (u16, u16) {
        let line = self.server(id).setting(&format!("server.{id}")).expect("every member is configured");
        let mut ports = line.split(':').skip(1).map(|port| port.parse().expect("a port"));
        (ports.next().expect("a quorum port"), ports.next().expect("an election port"))
    }

    pub fn version_2(&self, id: usize) -> PathBuf {
        self.server(id).data_dir().join("version-2")
    }

    /// Another server is configured as this one is.
    pub fn copy_settings(&self, id: usize, to: &mut Server) {
        for (key, value) in self.server(id).settings() {
            to.set(key, value);
        }
    }

    /// Starts all of them, so that `leader` leads: without history the highest id of the first quorum does.
    pub fn start_led_by(&mut self, leader: usize) {
        let is_voter = |id: &usize| {
            let line = self.server(*id).setting(&format!("server.{id}"));
            !line.expect("every member is configured").ends_with(":observer")
        };
        // One voter more would do for a quorum without the leader.
        let quorum = self.ids().filter(is_voter).count() / 2 + 1;
        let first: Vec<usize> = (1..=leader).rev().filter(is_voter).take(quorum).collect();
        assert_eq!(first.len(), quorum, "server {leader} is the highest of no quorum");
        first.iter().for_each(|id| self.server_mut(*id).spawn());
        self.wait_until_serving(&first);
        let later: Vec<usize> = self.ids().filter(|id| !first.contains(id)).collect();
        later.iter().for_each(|id| self.server_mut(*id).spawn());
        self.wait_until_serving(&later);
        assert_eq!(self.leader(), leader, "{}", self.logs());
    }

    pub fn wait_until_serving(&mut self, ids: &[usize]) {
        for id in ids {
            self.wait_for(*id, "serves", |mode| mode.is_some());
        }
    }

    pub fn wait_until_all_serve(&mut self) {
        self.wait_until_serving(&self.ids().collect::<Vec<_>>());
    }

    /// Waits for what a server says it is.
    pub fn wait_for(&mut self, id: usize, what: &str, is_so: impl Fn(Option<&str>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self.server(id).mode().as_deref()) {
            let is_running = self.server_mut(id).is_running();
            assert!(is_running && Instant::now() < deadline, "server {id} {what}: not so.\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The one that leads; waits until there is exactly one.
    pub fn leader(&self) -> usize {
        let mut leaders = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while leaders.len() != 1 {
            assert!(Instant::now() < deadline, "leaders: {leaders:?}\n{}", self.logs());
            leaders = self.ids().filter(|id| self.server(*id).mode().as_deref() == Some("leader")).collect();
        }
        leaders[0]
    }

    /// The same znodes with the same stats, ACLs and owners on every server, and nobody has seen another digest.
    pub fn assert_all_equal(&self) {
        self.assert_equal_trees();
        for id in self.ids() {
            assert_eq!(gauge(self.server(id), "zk_digest_mismatches_count"), 0, "server {id}\n{}", self.logs());
            let log = self.server(id).log();
            let told = log.lines().find(|line| line.contains("igest mismatch") || line.contains("servers differ"));
            assert_eq!(told, None, "server {id}");
        }
        self.assert_equal_digests();
    }

    /// The same znodes with the same stats, ACLs and owners on every server.
    pub fn assert_equal_trees(&self) {
        let read = |id| walk::without_config_time(walk::tree(self.address(id)));
        let first = read(1);
        for id in self.ids().skip(1) {
            if let Err(difference) = walk::same_bits(&first, &read(id)) {
                panic!("servers 1 and {id}: {difference}\n{}", self.logs());
            }
        }
    }

    /// Every 128th transaction leaves a digest with each server; those of the same transaction are the same.
    fn assert_equal_digests(&self) {
        let digests = |id: usize| -> Vec<(String, String)> {
            let text = self.server(id).four_letter("hash");
            let lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.map(|(zxid, digest)| (zxid.to_owned(), digest.to_owned())).collect()
        };
        let first = digests(1);
        for id in self.ids().skip(1) {
            for (zxid, digest) in digests(id) {
                let other = first.iter().find(|(of, _)| *of == zxid).map_or(&digest, |(_, other)| other);
                assert_eq!(&digest, other, "servers 1 and {id} after transaction {zxid}");
            }
        }
    }

    /// No Java server complained of what it was sent. What it says of election connections that come and go is no complaint.
    pub fn assert_no_complaints(&self) {
        for id in self.ids().filter(|id| self.server(*id).kind != OURS) {
            let log = self.server(id).log();
            let mut by = "";
            for line in log.lines() {
                // Stack traces follow the line that says who prints them.
                if line.starts_with('[') {
                    by = line;
                }
                let is_bad = line.contains("ERROR") || line.contains("Exception");
                let is_harmless = HARMLESS.iter().any(|harmless| by.contains(harmless));
                assert!(!is_bad || is_harmless, "server {id} complains: {line}\n{log}");
            }
        }
    }

    pub fn logs(&self) -> String {
        let mut text = String::new();
        for id in self.ids() {
            let mode = self.server(id).mode();
            writeln!(text, "server {id} of {} is {mode:?}\n{}", self.ids().end(), self.server(id).log_tail())
                .expect("text");
        }
        text
    }

    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }
}

/// Lines under which Java prints stack traces when peers and clients come and go, and when a client asks for what it may not
/// have.
const HARMLESS: [&str; 4] = [
    "quorum.QuorumCnxManager - ",
    "server.NIOServerCnxn - ",
    "quorum.Learner - Unexpected exception, tries=",
    "Error creating upgrade request",
];
