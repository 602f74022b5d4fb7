//! Other servers that mean harm, are broken, or are not what they say: each is told or closed, and the ensemble goes on.
//!
//! A writer is asked after each of them whether it still gets its answers at once; at the end the trees are equal, and nobody
//! holds more sockets than before. Clients of this kind are `bad_input.rs`'s.

mod wrong_servers;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Ensemble, JAVA, OURS, SESSION_MS};
use crate::client::Connection;
use crate::codec::{put_int, put_long};
use crate::stories::*;

/// Beyond this a lone write waits for somebody who does not do his part, however loaded the machine is.
const AT_ONCE: Duration = Duration::from_secs(4);
/// A server has noticed by then: twice initLimit.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);
/// First long of an election connection.
pub(super) const V1: i64 = -65536;
pub(super) const LOOKING: i32 = 0;
/// A server that is in nobody's configuration.
const STRANGER: i64 = 99;

pub(super) const FOLLOWERINFO: i32 = 11;
pub(super) const OBSERVERINFO: i32 = 16;
pub(super) const NEWLEADER: i32 = 10;
const UPTODATE: i32 = 12;
const LEADERINFO: i32 = 17;
const ACKEPOCH: i32 = 18;
pub(super) const ACK: i32 = 3;

/// The ensemble, and somebody who uses it as one should.
struct Scene {
    ensemble: Ensemble,
    writer: Connection,
    writes: u32,
}

impl Scene {
    /// Ours leads one of ours and one of Java's.
    fn set() -> Scene {
        let mut ensemble = Ensemble::of(&[OURS, JAVA, OURS]);
        ensemble.start_led_by(3);
        let (mut writer, _) = session(ensemble.address(1), SESSION_MS);
        writer.ask(1, &create("/writer", b"", EPHEMERAL));
        Scene { ensemble, writer, writes: 0 }
    }

    /// Server 1 is about to go.
    fn move_writer_to(&mut self, id: usize) {
        self.writer.ask(1, &close_session());
        self.writer = session(self.ensemble.address(id), SESSION_MS).0;
        self.writer.ask(1, &create("/writer", b"", EPHEMERAL));
    }

    fn check_on_writer(&mut self, after: &str) {
        let began = Instant::now();
        self.writes += 1;
        self.writer.ask(1, &set("/writer", self.writes.to_string().as_bytes()));
        assert!(began.elapsed() < AT_ONCE, "{after}: others wait {:?}", began.elapsed());
    }

    /// Keeps the writer's session alive meanwhile.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Ensemble) -> bool) {
        let (ensemble, writer) = (&self.ensemble, &mut self.writer);
        let mut pinged = Instant::now();
        wait_until(what, || {
            if pinged.elapsed() > Duration::from_secs(1) {
                pinged = Instant::now();
                writer.ask(-2, &ping());
            }
            is_so(ensemble)
        });
    }

    fn end(self) {
        self.ensemble.assert_no_complaints();
        self.end_after_an_election();
    }

    /// Java complains when its leader goes, as it should.
    fn end_after_an_election(mut self) {
        self.check_on_writer("at the end");
        assert_eq!(self.ensemble.leader(), 3, "somebody else leads\n{}", self.ensemble.logs());
        self.ensemble.assert_all_equal();
    }
}

pub(super) fn connect(port: u16) -> TcpStream {
    // A server says that it looks for a leader a moment before it listens.
    let mut connected = None;
    wait_until("the port takes connections", || {
        connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        connected.is_some()
    });
    let stream = connected.expect("waited for");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

/// Whether the server ends the connection in time, whatever it says before.
pub(super) fn is_closed(stream: &mut TcpStream) -> bool {
    is_closed_while(stream, || ())
}

/// Likewise; `meanwhile` is done every second.
fn is_closed_while(stream: &mut TcpStream, mut meanwhile: impl FnMut()) -> bool {
    let deadline = Instant::now() + CLOSED_WITHIN;
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket option");
    let mut answer = [0; 4096];
    while Instant::now() < deadline {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
        meanwhile();
    }
    false
}

pub(super) fn introduction(first: i64, sid: i64, address: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_long(&mut bytes, first);
    put_long(&mut bytes, sid);
    put_int(&mut bytes, address.len() as i32);
    bytes.extend_from_slice(address.as_bytes());
    bytes
}

/// A vote for oneself, framed.
pub(super) fn vote(state: i32, sid: i64, zxid: i64, epoch: i64) -> Vec<u8> {
    let mut body = Vec::new();
    put_int(&mut body, state);
    for word in [sid, zxid, epoch, epoch] {
        put_long(&mut body, word);
    }
    put_int(&mut body, 2);
    put_int(&mut body, 0);
    [&(body.len() as i32).to_be_bytes()[..], &body].concat()
}

/// A packet of the quorum port without identities.
pub(super) fn packet(kind: i32, zxid: i64, data: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_int(&mut bytes, kind);
    put_long(&mut bytes, zxid);
    crate::codec::put_buffer(&mut bytes, &data.map(<[u8]>::to_vec));
    put_int(&mut bytes, -1);
    bytes
}

fn learner_info(sid: i64) -> Vec<u8> {
    let mut info = Vec::new();
    put_long(&mut info, sid);
    put_int(&mut info, 0x10000);
    put_long(&mut info, 0);
    info
}

/// What no server would say on any port.
fn garbage() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut noise = vec![0; 5000];
    random.fill(&mut noise[..]);
    vec![
        noise,
        b"GET / HTTP/1.1\r\nHost: zoo\r\n\r\n".to_vec(),
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x41; 300]].concat(),
        vec![0xff; 400],
        b"ruok".to_vec(),
    ]
}

fn bad_on_the_election_port() -> Vec<Vec<u8>> {
    let hostile = |length: i32| [&introduction(V1, STRANGER, "")[..16], &length.to_be_bytes()].concat();
    let then = |rest: &[u8]| [&introduction(V1, STRANGER, "127.0.0.1:1")[..], rest].concat();
    let mut all = vec![
        hostile(i32::MAX),
        hostile(-1),
        hostile(100_000),
        introduction(-3, STRANGER, "127.0.0.1:1"),
        introduction(V1, STRANGER, "no address"),
        then(&i32::MAX.to_be_bytes()),
        then(&(-5i32).to_be_bytes()),
        then(&0i32.to_be_bytes()),
        then(&524_289i32.to_be_bytes()),
        // Half an introduction, and then nothing.
        introduction(V1, STRANGER, "127.0.0.1:1")[..11].to_vec(),
        Vec::new(),
    ];
    all.extend(garbage());
    all
}

fn bad_on_the_quorum_port() -> Vec<Vec<u8>> {
    let head = |kind: i32, length: i32| [&packet(kind, 0, None)[..12], &length.to_be_bytes()].concat();
    let mut identities = packet(FOLLOWERINFO, 0, Some(&learner_info(STRANGER)));
    let end = identities.len() - 4;
    identities[end..].copy_from_slice(&i32::MAX.to_be_bytes());
    let mut all = vec![
        head(FOLLOWERINFO, i32::MAX),
        head(FOLLOWERINFO, -2),
        head(1, i32::MAX),
        identities,
        packet(99, 0, None),
        packet(2, 1 << 32, Some(b"a proposal")),
        packet(ACK, 1 << 32, None),
        packet(FOLLOWERINFO, 0, Some(b"short")),
        // Our leader's own id, and one from before 3.4.
        packet(FOLLOWERINFO, 0, Some(&learner_info(3))),
        packet(FOLLOWERINFO, 0, Some(&STRANGER.to_be_bytes())),
        // Half a packet, and then nothing.
        packet(FOLLOWERINFO, 0, Some(&learner_info(STRANGER)))[..9].to_vec(),
        Vec::new(),
    ];
    all.extend(garbage());
    all
}

/// All at once, so that those who are waited out are waited out together.
fn throw_at(scene: &mut Scene, what: &str, port: u16, pieces: Vec<Vec<u8>>) {
    let mut streams: Vec<TcpStream> = pieces
        .iter()
        .map(|bytes| {
            let mut stream = connect(port);
            // The server may close before it has all of it.
            let _ = stream.write_all(bytes);
            stream
        })
        .collect();
    scene.check_on_writer(what);
    for (stream, bytes) in streams.iter_mut().zip(&pieces) {
        let begin = &bytes[..bytes.len().min(40)];
        let is_closed = is_closed_while(stream, || drop(scene.writer.ask(-2, &ping())));
        assert!(is_closed, "{what}: not closed after {}\n{}", begin.escape_ascii(), scene.ensemble.logs());
    }
    scene.check_on_writer(what);
}

/// A learner by hand, as far as UPTODATE.
pub(super) struct FakeLearner {
    pub(super) stream: TcpStream,
}

impl FakeLearner {
    /// Introduces itself, promises, says where its log ends.
    pub(super) fn greet(
        port: u16,
        sid: i64,
        kind: i32,
        accepted_epoch: i64,
        last_zxid: i64,
        current_epoch: i32,
    ) -> FakeLearner {
        let mut learner = FakeLearner { stream: connect(port) };
        learner.say(&packet(kind, accepted_epoch << 32, Some(&learner_info(sid))));
        assert_eq!(learner.hear().0, LEADERINFO);
        learner.say(&packet(ACKEPOCH, last_zxid, Some(&current_epoch.to_be_bytes())));
        learner
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the leader listens");
    }

    /// Kind and zxid of the next packet. Not for what follows SNAP.
    pub(super) fn hear(&mut self) -> (i32, i64) {
        let mut head = [0; 16];
        self.stream.set_read_timeout(Some(CLOSED_WITHIN)).expect("a socket option");
        self.stream.read_exact(&mut head).expect("a packet of the leader's");
        let int = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let mut rest = vec![0; int(12).max(0) as usize + 4];
        self.stream.read_exact(&mut rest).expect("the rest of a packet");
        (int(0), i64::from_be_bytes(head[4..12].try_into().expect("eight bytes")))
    }

    /// Whether this packet comes before the leader closes.
    pub(super) fn hears_of(&mut self, kind: i32) -> bool {
        let mut head = [0; 16];
        self.stream.set_read_timeout(Some(CLOSED_WITHIN)).expect("a socket option");
        while self.stream.read_exact(&mut head).is_ok() {
            if head[..4] == kind.to_be_bytes() {
                return true;
            }
            let length = i32::from_be_bytes(head[12..16].try_into().expect("four bytes")).max(0) as usize;
            if self.stream.read_exact(&mut vec![0; length + 4]).is_err() {
                return false;
            }
        }
        false
    }

    /// Reads until this packet has come.
    pub(super) fn hear_until(&mut self, kind: i32) -> i64 {
        loop {
            let (heard, zxid) = self.hear();
            if heard == kind {
                return zxid;
            }
        }
    }
}

/// Zxid of the last transaction, as a server shows it.
pub(super) fn last_zxid(ensemble: &Ensemble, id: usize) -> i64 {
    let text = ensemble.server(id).four_letter("srvr");
    let zxid = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).expect("a zxid");
    i64::from_str_radix(zxid, 16).expect("hexadecimal")
}

#[test]
fn garbage_on_the_ports_between_servers_harms_nobody() {
    let mut scene = Scene::set();
    let sockets = [1, 3].map(|id| scene.ensemble.server(id).sockets());
    for id in [1, 3] {
        let (_, election) = scene.ensemble.ports(id);
        throw_at(&mut scene, "garbage on the election port", election, bad_on_the_election_port());
    }
    let (quorum, _) = scene.ensemble.ports(3);
    throw_at(&mut scene, "garbage on the quorum port", quorum, bad_on_the_quorum_port());
    scene.until("the leader's sockets are closed", |ensemble| ensemble.server(3).sockets() <= sockets[1]);
    scene.until("the follower's sockets are closed", |ensemble| ensemble.server(1).sockets() <= sockets[0]);
    scene.end();
}

#[test]
fn strangers_and_pretenders_harm_nobody() {
    let mut scene = Scene::set();
    let (quorum, election) = scene.ensemble.ports(3);

    // A stranger that is looking is told who leads, and its own vote moves nobody.
    let mut stranger = connect(election);
    stranger.write_all(&introduction(V1, STRANGER, "127.0.0.1:1")).expect("it listens");
    stranger.write_all(&vote(LOOKING, STRANGER, i64::MAX, i64::from(i32::MAX))).expect("it listens");
    let mut told = [0; 16];
    stranger.set_read_timeout(Some(CLOSED_WITHIN)).expect("a socket option");
    stranger.read_exact(&mut told).expect("an answer to a stranger");
    assert_eq!(told[4..8], 2i32.to_be_bytes(), "it says that it leads");
    assert_eq!(told[8..16], 3i64.to_be_bytes());
    scene.check_on_writer("a stranger's vote");

    // Somebody with a member's id, and with the server's own: their votes are no reason to look for another leader.
    for sid in [1, 2, 3] {
        let mut pretender = connect(election);
        pretender.write_all(&introduction(V1, sid, "127.0.0.1:1")).expect("it listens");
        let _ = pretender.write_all(&vote(LOOKING, sid, i64::MAX, i64::from(i32::MAX)));
        scene.check_on_writer("a pretender's vote");
    }
    scene.until("the pretender is told of", |ensemble| {
        ensemble.server(3).log().contains("two servers have the same myid")
    });

    // One that looks for a leader a hundred thousand times in one breath, and does not listen.
    let before = scene.ensemble.server(3).heap_bytes();
    let mut flooding = connect(election);
    flooding.write_all(&introduction(V1, STRANGER, "127.0.0.1:1")).expect("it listens");
    flooding.set_write_timeout(Some(CLOSED_WITHIN)).expect("a socket option");
    let _ = flooding.write_all(&vote(LOOKING, STRANGER, 1, 1).repeat(100_000));
    scene.check_on_writer("a flood of votes");
    let more = scene.ensemble.server(3).heap_bytes().saturating_sub(before);
    assert!(more < 40 << 20, "{more} bytes more for votes that are not to be answered");
    drop(flooding);

    // A learner from the future, and one from the past.
    let future = FakeLearner::greet(quorum, STRANGER, FOLLOWERINFO, 0x7000, i64::MAX - 7, 0x7000);
    let past = FakeLearner::greet(quorum, STRANGER - 1, FOLLOWERINFO, 0, 3, 0);
    scene.check_on_writer("a learner from the future");
    drop((future, past));

    // One that acknowledges what was never proposed.
    let last = last_zxid(&scene.ensemble, 3);
    let mut liar = FakeLearner::greet(quorum, STRANGER, FOLLOWERINFO, 0, last, 0);
    let epoch = liar.hear_until(NEWLEADER);
    liar.say(&packet(ACK, epoch, None));
    liar.hear_until(UPTODATE);
    liar.say(&packet(ACK, epoch + 1_000_000, None));
    assert!(is_closed(&mut liar.stream), "{}", scene.ensemble.logs());
    scene.end();
}

/// Its link fills, and that is all: what waits for it is a position in the history, not copies.
#[test]
fn a_learner_that_stops_reading_costs_little_and_is_closed() {
    const WRITES: usize = 400;
    let mut scene = Scene::set();
    let (quorum, _) = scene.ensemble.ports(3);
    let flood = |scene: &mut Scene| {
        for _ in 0..WRITES {
            scene.writer.ask(1, &set("/writer", &[b'x'; 200_000]));
        }
    };
    // The history has its full size then.
    flood(&mut scene);
    flood(&mut scene);
    let before = scene.ensemble.server(3).heap_bytes();
    let last = last_zxid(&scene.ensemble, 3);
    let mut lazy = FakeLearner::greet(quorum, STRANGER, OBSERVERINFO, 0, last, 0);
    let epoch = lazy.hear_until(NEWLEADER);
    lazy.say(&packet(ACK, epoch, None));
    lazy.hear_until(UPTODATE);
    flood(&mut scene);
    let more = scene.ensemble.server(3).heap_bytes().saturating_sub(before);
    assert!(more < 40 << 20, "{more} bytes more for {} bytes that somebody does not read", WRITES * 200_000);
    scene.until("the lazy one is told of", |ensemble| {
        ensemble.server(3).log().contains(&format!("server {STRANGER} was not heard of"))
    });
    // What the kernel holds can still be read, and then it ends.
    assert!(is_closed(&mut lazy.stream));

    // The same in the middle of a snapshot.
    let snapped = FakeLearner::greet(quorum, STRANGER, OBSERVERINFO, 0, 0, 0);
    for _ in 0..20 {
        scene.check_on_writer("a learner that stops in the middle of a snapshot");
    }
    drop(snapped);
    scene.end();
}
