//! A whole turn of a worker: bytes of getData requests came on a connection, bytes of their replies go out.

use super::tree::{Database, paths};
use super::{Keys, Step, codec};
use ringkeeper::admin::{Gate, ServerMode, TimeZone};
use ringkeeper::message::ConnectResponse;
use ringkeeper::message::lane::{Deliver, Reply, Standing, StandingSign, Submit};
use ringkeeper::observe::MetricsRegistry;
use ringkeeper::runtime::core::{SocketAction, WorkerTurn};
use ringkeeper::runtime::lanes::{EnsembleLanes, lanes};
use ringkeeper::runtime::sockets::SocketEvent;
use ringkeeper::server::{Admission, Desk, ServerRules, StatusSource, Worker, WorkerParts};
use ringkeeper::types::{ConnId, Instant, Now, SessionId, WorkerIndex};
use ringkeeper::wire::Writer;
use std::net::SocketAddr;
use std::sync::Arc;

const CONN: ConnId = ConnId(0);
const SESSION: SessionId = SessionId(0x77);

pub fn turn_of_1() -> Step {
    turn_of(1)
}

pub fn turn_of_16() -> Step {
    turn_of(16)
}

/// A worker with one connected client; sockets and the ensemble thread are played by hand.
struct Stage {
    worker: Worker,
    ensemble: EnsembleLanes,
    database: Database,
    actions: Vec<SocketAction>,
    /// As the sockets keep it between turns.
    events: Vec<SocketEvent>,
}

impl Stage {
    fn connected() -> Stage {
        let database = Database::filled();
        let metrics = Arc::new(MetricsRegistry::new());
        let (ensemble, mut lanes) = lanes(1);
        let lane = lanes.remove(0);
        let admission = Arc::new(Admission::new(None, None, None, Instant::default(), 0));
        let source = StatusSource {
            mode: Box::new(|| ServerMode::Standalone),
            gate: Box::new(|_| Gate::Answer),
            conf: Box::new(|_| String::new()),
            directories: Box::new(|| unreachable!("nobody asks for them")),
            environment: Box::new(|| unreachable!("nobody asks for it")),
            descriptors: Box::new(|| (0, 0)),
            time_zone: TimeZone::utc(),
            metrics: metrics.clone(),
            admission: admission.clone(),
            started: Instant::default(),
        };
        let desk = Arc::new(Desk::new(source, vec![lane.doorbell()]));
        let worker = Worker::new(WorkerParts {
            index: WorkerIndex(0),
            rules: Arc::new(ServerRules::default()),
            tree: database.tree.reader(),
            lane,
            admission,
            desk,
            metrics: metrics.register(),
            standing: StandingSign::new(Standing::Alone),
            hash_seed: 0,
        });
        let mut stage = Stage { worker, ensemble, database, actions: Vec::new(), events: Vec::new() };
        stage.connect();
        stage
    }

    fn connect(&mut self) {
        let mut hello = Vec::new();
        Writer::frame(&mut hello, |w| {
            w.int(0);
            w.long(0);
            w.int(10_000);
            w.long(0);
            w.buffer(Some(&[0; 16]));
        });
        let peer = SocketAddr::from(([127, 0, 0, 1], 4321));
        self.turn(SocketEvent::Accepted { conn: CONN, peer });
        self.turn(SocketEvent::Received { conn: CONN, bytes: hello });
        assert!(matches!(self.ensemble.next_submit(0), Some(Submit::CreateSession { .. })));
        let response = ConnectResponse { timeout_ms: 10_000, session: SESSION, password: [0; 16], read_only: None };
        let reply = Reply::Connected { conn: CONN, response, last_heard: Arc::default() };
        let version = self.database.tree.published_version();
        let last_zxid = self.database.tree.view().last_zxid();
        let deliver = Deliver {
            version,
            last_zxid,
            effects: Arc::default(),
            replies: vec![reply],
            passages: Arc::default(),
            cuts: None,
        };
        self.ensemble.deliver(WorkerIndex(0), deliver);
        self.worker.turn(Now::default(), &mut self.events, &mut self.actions);
        let sent = self.sent().expect("the connect response");
        self.turn(SocketEvent::Sent { conn: CONN, buffer: sent });
    }

    fn turn(&mut self, event: SocketEvent) {
        self.events.push(event);
        self.worker.turn(Now::default(), &mut self.events, &mut self.actions);
    }

    /// What the socket was given to send, and emptied as the socket does.
    fn sent(&mut self) -> Option<Vec<u8>> {
        let mut sent = None;
        for action in self.actions.drain(..) {
            if let SocketAction::Send { mut bytes, .. } = action {
                assert!(!bytes.is_empty());
                bytes.clear();
                sent = Some(bytes);
            }
        }
        sent
    }
}

fn turn_of(requests: usize) -> Step {
    let mut stage = Stage::connected();
    let mut keys = Keys::new();
    // Different keys in each of so many turns.
    let paths = paths();
    let mut request = || codec::get_frame(1, &paths[keys.next() as usize]);
    let reads: Vec<Vec<u8>> = (0..64).map(|_| (0..requests).flat_map(|_| request()).collect()).collect();
    let mut next = 0;
    Box::new(move || {
        let bytes = reads[next % reads.len()].clone();
        next += 1;
        stage.turn(SocketEvent::Received { conn: CONN, bytes });
        let buffer = stage.sent().expect("the replies");
        stage.turn(SocketEvent::Sent { conn: CONN, buffer });
        stage.sent();
    })
}
