//! The random stream: which session does what next, drawn from one seed.
//!
//! Owns every choice. Two runs with one seed against servers that answer alike draw the same stream; answers feed
//! back only as the list of paths known to exist, so that reads, deletes and versions hit something.
//!
//! `DELIBERATE_DIFFERENCES` names what is never drawn, because our server answers otherwise on purpose.

use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::requests::RequestMaker;
use crate::client::Hello;
use crate::codec::{Body, Frame, Op, Text, op};

/// What Java does here is worth no imitation; each row says what would be drawn and how ours differs.
pub const DELIBERATE_DIFFERENCES: &[(&str, &str)] = &[
    (
        "create or setData on /zookeeper/**/zookeeper_limits|zookeeper_stats with other than well-formed quota text",
        "Java dies, ours refuses with -8",
    ),
    (
        "createTTL with flags 0 to 4 and a ttl below zero",
        "Java logs the transaction, dies applying it and cannot start again, ours refuses with -8",
    ),
    ("deleteContainer (opcode 20) from a client", "Java deletes without any ACL check, ours refuses"),
    (
        "re-attach with a wrong password while the owner is connected",
        "Java closes the owner's connection, ours does not",
    ),
    (
        "text that is not UTF-8",
        "Java replaces the bytes, so that two names can become one; to ours the request is undecodable",
    ),
    (
        "setWatches and setWatches2 with a null list, or a null path among data, exist and child watches",
        "Java sends the events and registers the watches that come before the null, then answers -5; ours does nothing of it",
    ),
    (
        "a null scheme or id in an ACL entry",
        "Java trips over it in most places and answers -5, to ours it is an invalid entry: -114",
    ),
    (
        "letters beyond U+FFFF in a path that is sent back (sync, events of setWatches)",
        "Java sends two surrogates of three bytes each, which is no UTF-8; ours sends the letter",
    ),
    ("createSession (opcode -10) from a client", "Java makes a second session, ours refuses it as unknown"),
];

/// One thing to do to both servers.
pub enum Step {
    /// All requests of one session in one write.
    Burst { slot: usize, requests: Vec<(i32, Op)> },
    /// Reads of several sessions at once.
    Reads(Vec<(usize, Vec<(i32, Op)>)>),
    /// A whole frame that ends the connection; the session is attached again.
    LastWords { slot: usize, frame: Vec<u8>, opcode: i32, then: Hello },
    /// closeSession, then a new session in its place.
    Renew { slot: usize, close: Vec<u8>, then: Hello },
    /// The client goes away and comes back, perhaps after somebody tried the session with a wrong password.
    HangUp { slot: usize, wrong_password: Option<Vec<u8>>, then: Hello },
    /// A second connection takes the session over.
    Steal { slot: usize, then: Hello },
    /// A connection that never gets a session: raw bytes after connect.
    Stranger(Vec<u8>),
}

pub struct Plan {
    rng: SmallRng,
    maker: RequestMaker,
    slots: usize,
    next_xid: i32,
    known: Known,
    /// Steps to be done before anything new is drawn.
    owed: Vec<Step>,
    steps: u64,
}

/// Paths that have been created and, as far as replies told, not deleted.
#[derive(Default)]
pub struct Known {
    paths: Vec<Text>,
    place: HashMap<Text, usize>,
}

impl Known {
    fn insert(&mut self, path: Text) {
        if !self.place.contains_key(&path) {
            self.place.insert(path.clone(), self.paths.len());
            self.paths.push(path);
        }
    }

    fn remove(&mut self, path: &Text) {
        if let Some(index) = self.place.remove(path) {
            self.paths.swap_remove(index);
            if let Some(moved) = self.paths.get(index) {
                self.place.insert(moved.clone(), index);
            }
        }
    }

    pub fn any(&self, rng: &mut SmallRng) -> Option<Text> {
        self.paths.choose(rng).cloned()
    }
}

/// More nodes than this and the tidier goes round.
const KNOWN_PATHS_MAX: usize = 300;
/// The session of this slot is authenticated as super: it unlocks and tidies what the others leave.
pub const SUPER_SLOT: usize = 0;

impl Plan {
    pub fn new(seed: u64, slots: usize, enforce_quota: bool, nested_quota: bool) -> Plan {
        let rng = SmallRng::seed_from_u64(seed);
        let maker = RequestMaker { enforce_quota, nested_quota, last_zxid: 0 };
        Plan { rng, maker, slots, next_xid: 1, known: Known::default(), owed: Vec::new(), steps: 0 }
    }

    pub fn new_session(&mut self) -> Hello {
        let password = [Some(vec![0; 16]), None, Some(vec![]), Some(vec![7; 16]), Some(vec![1; 5])];
        Hello { password: password.choose(&mut self.rng).cloned().flatten(), ..self.hello() }
    }

    fn hello(&mut self) -> Hello {
        let timeouts_ms = [-1, 0, 1, 30_000, 7_200_000, 10_000_000, 72_000_000, 72_000_001, i32::MAX];
        Hello {
            protocol_version: *[0, 0, 0, 1, -7].choose(&mut self.rng).expect("not empty"),
            last_zxid_seen: if self.rng.random_bool(0.5) {
                0
            } else {
                self.rng.random_range(-1..=self.maker.last_zxid)
            },
            timeout_ms: *timeouts_ms.choose(&mut self.rng).expect("not empty"),
            session_id: 0,
            password: Some(vec![0; 16]),
            read_only: *[None, Some(false), Some(false), Some(true)].choose(&mut self.rng).expect("not empty"),
        }
    }

    /// What a connection says first after each attach: the super slot proves who it is.
    pub fn greeting(&mut self, slot: usize) -> Option<Step> {
        (slot == SUPER_SLOT).then(|| self.one(slot, RequestMaker::digest_auth("super:test")))
    }

    fn one(&mut self, slot: usize, op: Op) -> Step {
        let xid = self.xid(&op);
        Step::Burst { slot, requests: vec![(xid, op)] }
    }

    fn xid(&mut self, op: &Op) -> i32 {
        self.next_xid = self.next_xid.wrapping_add(1);
        match (op.opcode(), self.rng.random_range(0..100)) {
            (op::AUTH, 0..90) => -4,
            (op::SET_WATCHES | op::SET_WATCHES2, 0..90) => -8,
            (op::PING, 0..80) => -2,
            (_, 0..2) => *[0, -3, -8, i32::MIN, i32::MAX].choose(&mut self.rng).expect("not empty"),
            _ => self.next_xid & i32::MAX,
        }
    }

    fn numbered(&mut self, ops: Vec<Op>) -> Vec<(i32, Op)> {
        ops.into_iter().map(|op| (self.xid(&op), op)).collect()
    }

    pub fn next(&mut self, last_zxid: i64) -> Step {
        self.maker.last_zxid = last_zxid;
        self.steps += 1;
        if let Some(step) = self.owed.pop() {
            return step;
        }
        if self.known.paths.len() > KNOWN_PATHS_MAX {
            return self.tidy();
        }
        if self.steps.is_multiple_of(150) {
            let ops = self.maker.heal(&mut self.rng);
            let requests = self.numbered(ops);
            return Step::Burst { slot: SUPER_SLOT, requests };
        }
        let slot = self.rng.random_range(0..self.slots);
        match self.rng.random_range(0..1000) {
            0..760 => self.burst(slot),
            760..840 => self.reads(),
            840..880 => {
                let op = self.maker.auth(&mut self.rng);
                self.one(slot, op)
            }
            880..890 => self.one(slot, Op::Sasl { token: RequestMaker::token() }),
            890..920 => self.quota(),
            920..935 => self.last_words(slot),
            935..955 => self.renew(slot),
            955..975 => self.hang_up(slot),
            975..985 => Step::Steal { slot, then: self.hello() },
            _ => Step::Stranger(self.maker.stranger(&mut self.rng)),
        }
    }

    fn burst(&mut self, slot: usize) -> Step {
        let count = match self.rng.random_range(0..10) {
            0 => 1,
            1..7 => self.rng.random_range(20..120),
            _ => self.rng.random_range(100..300),
        };
        let mut ops: Vec<Op> = (0..count).map(|_| self.maker.any(&mut self.rng, &self.known)).collect();
        // Hard quotas are checked against applied usage: only a write sent alone has one right answer.
        if self.maker.enforce_quota && count > 1 {
            ops.retain(|op| !RequestMaker::touches_quota(op));
        }
        // Super may everything, before and after: an ACL not yet applied makes no difference to it.
        let unsettled =
            |op: &Op| RequestMaker::unsettled(op) && !(slot == SUPER_SLOT && matches!(op, Op::SetAcl { .. }));
        if let Some(last) = ops.iter().position(unsettled) {
            ops.truncate(last + 1);
        } else if self.rng.random_bool(0.3) {
            ops.push(self.maker.set_acl(&mut self.rng, &self.known));
        }
        Step::Burst { slot, requests: self.numbered(ops) }
    }

    fn reads(&mut self) -> Step {
        let mut bursts = Vec::new();
        for slot in 0..self.slots {
            let count = self.rng.random_range(1..60);
            let ops = (0..count).map(|_| self.maker.read(&mut self.rng, &self.known)).collect();
            bursts.push((slot, self.numbered(ops)));
        }
        Step::Reads(bursts)
    }

    fn quota(&mut self) -> Step {
        let slot = if self.rng.random_bool(0.7) { SUPER_SLOT } else { self.rng.random_range(0..self.slots) };
        for op in self.maker.quota(&mut self.rng).into_iter().rev() {
            let step = self.one(slot, op);
            self.owed.push(step);
        }
        self.owed.pop().expect("a quota change has at least one request")
    }

    fn tidy(&mut self) -> Step {
        let mut ops = Vec::new();
        for _ in 0..KNOWN_PATHS_MAX / 2 {
            let Some(path) = self.known.any(&mut self.rng) else {
                break;
            };
            ops.push(Op::Delete { path, version: -1 });
        }
        Step::Burst { slot: SUPER_SLOT, requests: self.numbered(ops) }
    }

    fn last_words(&mut self, slot: usize) -> Step {
        let xid = self.next_xid;
        let (frame, opcode) = self.maker.last_words(&mut self.rng, xid);
        Step::LastWords { slot, frame, opcode, then: self.hello() }
    }

    fn renew(&mut self, slot: usize) -> Step {
        let mut close = self.next_xid.to_be_bytes().to_vec();
        close.extend(op::CLOSE_SESSION.to_be_bytes());
        if self.rng.random_bool(0.1) {
            close.extend(b"trailing bytes are nobody's business");
        }
        Step::Renew { slot, close, then: self.new_session() }
    }

    fn hang_up(&mut self, slot: usize) -> Step {
        let wrong = [None, Some(vec![0; 16]), Some(vec![9; 16]), Some(vec![]), Some(vec![1; 15])];
        let wrong_password = wrong.choose(&mut self.rng).cloned().flatten();
        Step::HangUp { slot, wrong_password, then: self.hello() }
    }

    /// Takes from the replies what exists and what does not any more.
    pub fn learn(&mut self, requests: &[(i32, Op)], heard: &[Frame]) {
        let replies = heard.iter().filter_map(|frame| match frame {
            Frame::Reply { err, body, .. } => Some((*err, body)),
            _ => None,
        });
        for ((_, op), (err, body)) in requests.iter().zip(replies) {
            match (op, body) {
                (_, Body::Path(path)) if op.opcode() == op::CREATE => self.known.insert(path.clone()),
                (_, Body::PathStat(path, _)) => self.known.insert(path.clone()),
                (Op::Delete { path, .. }, _) if err == 0 || err == -101 => self.known.remove(path),
                (_, Body::Multi(results)) => {
                    for result in results {
                        if let Body::Path(path) | Body::PathStat(path, _) = &result.body {
                            self.known.insert(path.clone());
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
