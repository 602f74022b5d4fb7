//! Turns of a worker, with sockets and the ensemble thread played by hand.

#[path = "overtaking_tests.rs"]
mod overtaking;

use super::*;
use crate::admin::{Gate, TimeZone};
use crate::io::process;
use crate::message::lane::{Deliver, Reply, Standing, StandingSign, Submit};
use crate::message::{ConnectResponse, CreateOp, Effect, EffectKind, Outcome, WriteOp, WriteResult};
use crate::observe::{MetricsRegistry, Namespaced};
use crate::runtime::lanes::{EnsembleLanes, lanes};
use crate::server::{Desk, StatusSource};
use crate::tree::TreeWriter;
use crate::types::{Acl, ErrorCode, OpCode, OwnerRules, SessionId, Xid, Zxid};
use crate::wire::Writer;

const CONN: ConnId = ConnId(0);
const SESSION: SessionId = SessionId(0x77);
const PING: i32 = 11;
const CREATE: i32 = 1;
const CLOSE_SESSION: i32 = -11;

struct Stage {
    worker: Worker,
    ensemble: EnsembleLanes,
    tree: TreeWriter,
    metrics: Arc<MetricsRegistry>,
    actions: Vec<SocketAction>,
}

fn status_source(metrics: Arc<MetricsRegistry>, admission: Arc<Admission>) -> StatusSource {
    StatusSource {
        mode: Box::new(|| crate::admin::ServerMode::Standalone),
        gate: Box::new(|_| Gate::Answer),
        conf: Box::new(|_| unreachable!("not asked")),
        directories: Box::new(|| unreachable!("not asked")),
        environment: Box::new(|| unreachable!("not asked")),
        descriptors: Box::new(process::file_descriptors),
        time_zone: TimeZone::utc(),
        metrics,
        admission,
        started: Instant::default(),
    }
}

/// A frame: xid, type, body.
fn frame(xid: i32, op: i32, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::frame(&mut bytes, |w| {
        w.int(xid);
        w.int(op);
        body(w);
    });
    bytes
}

fn create(xid: i32) -> Vec<u8> {
    frame(xid, CREATE, |w| {
        w.string("/a");
        w.buffer(None);
        w.acl(None);
        w.int(0);
    })
}

/// xid, zxid and error of every reply in `bytes`.
fn replies(mut bytes: &[u8]) -> Vec<(i32, i64, i32)> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let int = |at: usize| i32::from_be_bytes(*frame[at..].first_chunk().expect("a header"));
        let zxid = i64::from_be_bytes(*frame[4..].first_chunk().expect("a header"));
        found.push((int(0), zxid, int(12)));
        bytes = rest;
    }
    found
}

impl Stage {
    fn new() -> Stage {
        Stage::of(ServerRules::default(), Standing::Alone)
    }

    fn of(rules: ServerRules, standing: Standing) -> Stage {
        let mut tree = TreeWriter::fresh(OwnerRules::default(), false, 0);
        tree.set_last_zxid(Zxid(5));
        let version = tree.seal();
        tree.publish_through(version);
        let metrics = Arc::new(MetricsRegistry::new());
        let (ensemble, mut worker_lanes) = lanes(1);
        let lane = worker_lanes.remove(0);
        let admission = Arc::new(Admission::new(None, None, None, Instant::default(), 0));
        let desk = Arc::new(Desk::new(status_source(metrics.clone(), admission.clone()), vec![lane.doorbell()]));
        let worker = Worker::new(WorkerParts {
            index: WorkerIndex(0),
            rules: Arc::new(rules),
            tree: tree.reader(),
            lane,
            admission,
            desk,
            metrics: metrics.register(),
            standing: StandingSign::new(standing),
            hash_seed: 0,
        });
        Stage { worker, ensemble, tree, metrics, actions: Vec::new() }
    }

    /// With a connection that sent its hello, asking for `session`; the ensemble thread has let it in.
    fn connected(session: SessionId) -> Stage {
        Stage::connected_to(Stage::new(), session)
    }

    fn connected_to(mut stage: Stage, session: SessionId) -> Stage {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
        let mut hello = Vec::new();
        Writer::frame(&mut hello, |w| {
            w.int(0);
            w.long(0);
            w.int(10_000);
            w.long(session.0);
            w.buffer(Some(&crate::session::password(session)));
        });
        stage
            .turn(vec![SocketEvent::Accepted { conn: CONN, peer }, SocketEvent::Received { conn: CONN, bytes: hello }]);
        let asked = stage.submitted();
        assert!(matches!(asked[..], [Submit::CreateSession { .. } | Submit::Reattach { .. }]), "{asked:?}");
        let password = crate::session::password(SESSION);
        let response = ConnectResponse { timeout_ms: 10_000, session: SESSION, password, read_only: None };
        stage.answer(Reply::Connected { conn: CONN, response, last_heard: Arc::default() });
        stage.sent();
        stage
    }

    fn turn(&mut self, mut events: Vec<SocketEvent>) {
        self.worker.turn(Now::default(), &mut events, &mut self.actions);
    }

    fn receive(&mut self, frames: &[Vec<u8>]) {
        self.turn(vec![SocketEvent::Received { conn: CONN, bytes: frames.concat() }]);
    }

    fn answer(&mut self, reply: Reply) {
        self.deliver(vec![reply], Vec::new());
        self.turn(vec![]);
    }

    fn deliver(&mut self, replies: Vec<Reply>, effects: Vec<Effect>) {
        let version = self.tree.published_version();
        let (effects, passages, cuts) = (Arc::new(effects), Arc::default(), None);
        self.ensemble
            .deliver(WorkerIndex(0), Deliver { version, last_zxid: Zxid(5), effects, replies, passages, cuts });
    }

    /// One more connection, with a session.
    fn join(&mut self, conn: ConnId) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
        let bytes = hello(SessionId::NONE, None);
        self.turn(vec![SocketEvent::Accepted { conn, peer }, SocketEvent::Received { conn, bytes }]);
        assert!(matches!(self.submitted()[..], [Submit::CreateSession { .. }]));
        let session = SessionId(SESSION.0 + conn.0 as i64);
        let password = crate::session::password(session);
        let response = ConnectResponse { timeout_ms: 10_000, session, password, read_only: None };
        self.answer(Reply::Connected { conn, response, last_heard: Arc::default() });
        self.sends();
    }

    /// What each connection was given to send since the last call, in that order; all of it is sent at once.
    fn sends(&mut self) -> Vec<(ConnId, Vec<u8>)> {
        let sends = |action| match action {
            SocketAction::Send { conn, bytes } => Some((conn, bytes)),
            _ => None,
        };
        let sends: Vec<_> = std::mem::take(&mut self.actions).into_iter().filter_map(sends).collect();
        for (conn, _) in &sends {
            let connection = self.worker.get_mut(*conn).expect("connected");
            connection.sending = false;
        }
        sends
    }

    fn submitted(&mut self) -> Vec<Submit> {
        std::iter::from_fn(|| self.ensemble.next_submit(0)).collect()
    }

    /// What the socket was given to send since the last call; it is sent at once.
    fn sent(&mut self) -> Vec<u8> {
        let sends = |action| match action {
            SocketAction::Send { bytes, .. } => Some(bytes),
            _ => None,
        };
        let bytes: Vec<u8> = std::mem::take(&mut self.actions).into_iter().filter_map(sends).flatten().collect();
        self.turn(vec![SocketEvent::Sent { conn: CONN, buffer: Vec::new() }]);
        bytes
    }

    fn last(&self) -> (&'static str, i64, Zxid) {
        let traffic = self.worker.get(CONN).expect("connected").traffic;
        (traffic.last_op, traffic.last_cxid, traffic.last_zxid)
    }
}

fn write_reply(xid: i32, zxid: i64, result: Result<WriteResult, ErrorCode>) -> Reply {
    Reply::Write { conn: CONN, xid: Xid(xid), outcome: Outcome { zxid: Zxid(zxid), result } }
}

/// A write that can not be decoded never gets to the ensemble thread, and still must not be answered too early.
#[test]
fn an_undecodable_write_is_answered_behind_the_writes_before_it() {
    let mut stage = Stage::connected(SessionId::NONE);
    let undecodable = frame(3, CREATE, |w| w.int(99));
    stage.receive(&[create(2), undecodable, create(4), frame(-2, PING, |_| {})]);
    let submitted = stage.submitted();
    assert!(matches!(submitted[..], [Submit::Write { xid: Xid(2), .. }]), "{submitted:?}");
    assert!(stage.sent().is_empty());
    stage.answer(write_reply(2, 6, Ok(WriteResult::Path("/a".to_owned()))));
    assert_eq!(replies(&stage.sent()), [(2, 6, 0), (3, 5, -5)]);
    let submitted = stage.submitted();
    assert!(matches!(submitted[..], [Submit::Write { xid: Xid(4), .. }]), "{submitted:?}");
    stage.answer(write_reply(4, 7, Err(ErrorCode::NodeExists)));
    assert_eq!(replies(&stage.sent()), [(4, 7, -110), (-2, 5, 0)]);
}

/// What it writes behind a closeSession makes it lose its connection, and with it the answers to the writes before that. The
/// answer to the closeSession would say that they were done.
#[test]
fn a_close_is_not_answered_where_the_writes_before_it_are_not() {
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[frame(-2, PING, |_| {})]);
    // The answer to the ping is on its way meanwhile: what ends is still there when the answers come.
    let hang_up = (-1_i32).to_be_bytes().to_vec();
    stage.receive(&[create(2), frame(3, CLOSE_SESSION, |_| {}), hang_up]);
    let submitted = stage.submitted();
    assert!(matches!(submitted[..], [Submit::Write { .. }, Submit::CloseSession { .. }]), "{submitted:?}");
    let written = write_reply(2, 6, Ok(WriteResult::Path("/a".to_owned())));
    let closed = Reply::SessionClosed { conn: CONN, xid: Xid(3), zxid: Zxid(7) };
    stage.deliver(vec![written, closed], Vec::new());
    stage.turn(vec![]);
    assert!(
        stage.worker.get(CONN).is_some_and(|conn| conn.out.is_empty()),
        "it waits for the ping's answer to be sent"
    );
    assert_eq!(replies(&stage.sent()), [(-2, 5, 0)]);
    assert!(matches!(stage.actions[..], [SocketAction::Close { conn: CONN }]));
}

/// lop, lcxid and lzxid of `cons`, as a Java server was seen to set them.
#[test]
fn the_last_request_is_told_as_java_tells_it() {
    let mut stage = Stage::connected(SessionId::NONE);
    assert_eq!(stage.last(), ("SESS", 0, Zxid(5)));
    stage.receive(&[create(1)]);
    stage.answer(write_reply(1, 6, Ok(WriteResult::Path("/a".to_owned()))));
    assert_eq!(stage.last(), ("CREA", 1, Zxid(6)));
    stage.receive(&[frame(-2, PING, |_| {})]);
    assert_eq!(stage.last(), ("PING", 1, Zxid(5)));
    stage.receive(&[create(2)]);
    stage.answer(write_reply(2, 7, Err(ErrorCode::NodeExists)));
    assert_eq!(stage.last(), ("NA", 2, Zxid(7)));
    let auth = frame(-4, 100, |w| {
        w.int(0);
        w.string("digest");
        w.buffer(Some(b"u:p"));
    });
    stage.receive(&[auth, frame(9, 102, |w| w.buffer(Some(b"")))]);
    assert_eq!(stage.last(), ("NA", 2, Zxid(7)));
    assert_eq!(stage.worker.get(CONN).expect("connected").traffic.packets_sent, 6);
    stage.receive(&[frame(10, 4, |w| w.int(99))]);
    assert_eq!(stage.last(), ("GETD", 10, Zxid(5)));
    stage.receive(&[frame(11, CREATE, |w| w.int(99))]);
    assert_eq!(stage.last(), ("NA", 11, Zxid(5)));
    assert_eq!(Stage::connected(SESSION).last(), ("null", 0, Zxid(0)));
}

#[test]
fn a_four_letter_word_counts_as_a_packet_each_way_and_an_unknown_one_as_none() {
    for (word, expected) in [(b"ruok", (1, 1)), (b"srvr", (1, 1)), (b"abcd", (0, 0)), (b"\xff\xf4\xff\xfd", (1, 0))] {
        let mut stage = Stage::new();
        let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
        let bytes = word.to_vec();
        stage.turn(vec![SocketEvent::Accepted { conn: CONN, peer }, SocketEvent::Received { conn: CONN, bytes }]);
        let seen = stage.metrics.read();
        assert_eq!((seen.packets_received, seen.packets_sent), expected, "{}", word.escape_ascii());
    }
}

/// Bytes of path, Stat and data or names, and nothing for what was not there; from a Java server.
#[test]
fn reads_are_counted_by_top_level_znode() {
    let mut stage = Stage::connected(SessionId::NONE);
    let planted = [("/na", Some(b"12345".to_vec())), ("/na/cc", None), ("/na/ddd", None)];
    for (path, data) in planted {
        let (path, acl) = (Some(path.to_owned()), Some(Acl::open_unsafe()));
        let op = WriteOp::Create(CreateOp { op: OpCode::Create, path, data, acl, flags: 0, ttl_ms: -1 });
        let zxid = stage.tree.view().last_zxid().next();
        let header = crate::message::TxnHeader { session: SESSION, cxid: 0, zxid, time: Default::default() };
        let by = crate::request::Requester::granted(&[]);
        crate::request::execute(&mut stage.tree, header, op, by, &Default::default(), None);
    }
    let version = stage.tree.seal();
    stage.tree.publish_through(version);
    let mut before = (0, 0);
    for (op, path, expected) in [
        (4, "/na", (1, 76)),
        (4, "/nax", (0, 0)),
        (3, "/na", (1, 71)),
        (3, "/nax", (0, 0)),
        (8, "/na", (1, 76)),
        (12, "/na", (1, 76)),
        (6, "/na", (0, 0)),
        (104, "/na", (0, 0)),
        (8, "/", (0, 0)),
    ] {
        let read = frame(1, op, |w| {
            w.string(path);
            w.bool(false);
        });
        stage.receive(&[read]);
        stage.sent();
        let namespaces = stage.metrics.read().namespace(Namespaced::Read);
        let after = namespaces.get("na").map_or((0, 0), |values| (values.count, values.sum));
        assert_eq!((after.0 - before.0, after.1 - before.1), expected, "{op} {path}");
        before = after;
    }
}

fn hello(session: SessionId, read_only: Option<bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::frame(&mut bytes, |w| {
        w.int(0);
        w.long(0);
        w.int(10_000);
        w.long(session.0);
        w.buffer(Some(&crate::session::password(session)));
        read_only.into_iter().for_each(|flag| w.bool(flag));
    });
    bytes
}

/// Which clients a server without a leader lets in; -119 where a local session cannot be had.
#[test]
fn a_read_only_server_takes_those_who_asked_for_one() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
    for (local_sessions, session, read_only, asks, closes, header) in [
        (true, SessionId::NONE, Some(true), true, false, None),
        (true, SessionId::NONE, Some(false), false, true, None),
        (true, SessionId::NONE, None, false, true, None),
        (true, SESSION, Some(true), true, false, None),
        (true, SESSION, Some(false), false, true, None),
        (false, SessionId::NONE, Some(true), false, false, Some((0, 5, -119))),
        (false, SESSION, Some(true), true, false, None),
    ] {
        let mut stage = Stage::of(ServerRules { local_sessions, ..ServerRules::default() }, Standing::ReadOnly);
        let bytes = hello(session, read_only);
        stage.turn(vec![SocketEvent::Accepted { conn: CONN, peer }, SocketEvent::Received { conn: CONN, bytes }]);
        assert_eq!(!stage.submitted().is_empty(), asks, "{local_sessions} {session} {read_only:?}");
        let is_closed = stage.actions.iter().any(|action| matches!(action, SocketAction::Close { .. }));
        assert_eq!(is_closed, closes, "{local_sessions} {session} {read_only:?}");
        assert_eq!(replies(&stage.sent()).first().copied(), header);
    }
}

/// A session that all servers know is not this one's to give out.
#[test]
fn a_read_only_server_closes_on_a_global_session() {
    let mut stage = Stage::of(ServerRules::default(), Standing::ReadOnly);
    let header = crate::message::TxnHeader { session: SESSION, cxid: 0, zxid: Zxid(6), time: Default::default() };
    crate::request::create_session(&mut stage.tree, header, 10_000, &Default::default());
    let version = stage.tree.seal();
    stage.tree.publish_through(version);
    let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
    let bytes = hello(SESSION, Some(true));
    stage.turn(vec![SocketEvent::Accepted { conn: CONN, peer }, SocketEvent::Received { conn: CONN, bytes }]);
    assert!(stage.submitted().is_empty());
    assert!(stage.actions.iter().any(|action| matches!(action, SocketAction::Close { .. })));
}

/// In the order of the requests, whatever can be decoded of them.
#[test]
fn a_read_only_server_answers_writes_by_itself() {
    let mut stage =
        Stage::of(ServerRules { replicated: true, local_sessions: true, ..ServerRules::default() }, Standing::ReadOnly);
    let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
    let bytes = hello(SessionId::NONE, Some(true));
    stage.turn(vec![SocketEvent::Accepted { conn: CONN, peer }, SocketEvent::Received { conn: CONN, bytes }]);
    stage.submitted();
    let password = crate::session::password(SESSION);
    let response = ConnectResponse { timeout_ms: 10_000, session: SESSION, password, read_only: Some(true) };
    stage.answer(Reply::Connected { conn: CONN, response, last_heard: Arc::default() });
    stage.sent();
    let refused = [1, 2, 5, 7, 9, 14, 15, 16, 19, 21];
    let mut frames: Vec<Vec<u8>> = refused.iter().map(|op| frame(*op, *op, |w| w.int(99))).collect();
    frames.insert(3, frame(-2, PING, |_| {}));
    stage.receive(&frames);
    assert!(stage.submitted().is_empty());
    let mut expected: Vec<(i32, i64, i32)> = refused.iter().map(|op| (*op, 5, -119)).collect();
    expected.insert(3, (-2, 5, 0));
    assert_eq!(replies(&stage.sent()), expected);
    // What comes behind a closeSession waits for its answer.
    stage.receive(&[frame(30, -11, |_| {}), frame(31, 5, |w| w.int(99))]);
    assert!(matches!(stage.submitted()[..], [Submit::CloseSession { .. }]));
    assert_eq!(replies(&stage.sent()), []);
}

/// A change that many watch: each turn tells some of them, then carries out what some of them ask, and whoever is not of them
/// goes first.
#[test]
fn a_herd_waits_for_everybody_else() {
    let mut stage = Stage::of(ServerRules { herd_in_a_turn_max: 1, ..ServerRules::default() }, Standing::Alone);
    let watchers = [0, 1, 2].map(ConnId);
    let bystander = ConnId(3);
    watchers.into_iter().chain([bystander]).for_each(|conn| stage.join(conn));
    let watch = frame(1, 4, |w| {
        w.string("/");
        w.bool(true);
    });
    for conn in watchers {
        stage.turn(vec![SocketEvent::Received { conn, bytes: watch.clone() }]);
    }
    assert_eq!(stage.sends().len(), 3);
    let (path, acl) = (Arc::from("/"), crate::types::AclList::default());
    let effect = Effect { zxid: Zxid(5), kind: EffectKind::DataChanged, path, acl, parent_acl: None };
    stage.deliver(Vec::new(), vec![effect]);
    let mut turn = |events| {
        let again = stage.worker.turn(Now::default(), &mut { events }, &mut stage.actions);
        let sends = stage.sends().into_iter().map(|(conn, bytes)| (conn.0, replies(&bytes)));
        (sends.collect::<Vec<_>>(), again == Some(Instant::default()))
    };
    let event = || vec![(-1, 5, 0)];
    assert_eq!(turn(vec![]), (vec![(0, event())], true));
    let ping = |conn| SocketEvent::Received { conn, bytes: frame(-2, PING, |_| {}) };
    let pong = || vec![(-2, 5, 0)];
    assert_eq!(turn(vec![ping(ConnId(0)), ping(bystander)]), (vec![(3, pong()), (1, event())], true));
    assert_eq!(turn(vec![ping(ConnId(2))]), (vec![(2, event())], true));
    assert_eq!(turn(vec![]), (vec![(0, pong())], true));
    // From now on nobody is of a herd.
    assert_eq!(turn(vec![ping(ConnId(0))]), (vec![(0, pong()), (2, pong())], false));
}
