//! Single random requests, good and bad.
//!
//! Owns which paths, data, ACLs, versions, flags and broken bytes are drawn. When they are sent, and by whom, is
//! `plan.rs`. Few paths and few users, so that requests of different sessions meet.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::plan::Known;
use crate::codec::{Acl, Bytes, Data, Op, Text, op, put_int};

pub struct RequestMaker {
    pub enforce_quota: bool,
    /// Quotas inside subtrees that have one.
    pub nested_quota: bool,
    pub last_zxid: i64,
}

/// Subtrees with quotas; each lives beside the ordinary ones so that hard limits can be kept out of bursts.
const QUOTA_ROOTS: [&str; 4] = ["/q0", "/q1", "/q2", "/q2/d"];

const ODD_PATHS: &[&str] = &[
    "",
    "/",
    "//",
    "a",
    "a/b",
    "/n0/",
    "/n0//m0",
    "/n0/.",
    "/n0/..",
    "/n0/./m0",
    "/n0/../n1",
    "/./n0",
    "/n0\0",
    "/\u{1}",
    "/n1/\u{1f}x",
    "/\u{7f}",
    "/\u{9f}",
    "/\u{a0}",
    "/é",
    "/日本/語",
    "/\u{e000}",
    "/\u{f8ff}",
    "/\u{f900}",
    "/\u{ffef}",
    "/\u{fff0}",
    "/\u{ffff}",
    "/😀",
    "/zookeeper",
    "/zookeeper/",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/x",
    "/n0/...",
    "/ ",
    "/n0 /m0",
    "/n0/m0/k0/j0/i0",
];

/// digest ids of the passwords used by `auth`: user and the same word again as password.
const DIGEST_IDS: [&str; 4] = [
    "u1:BbIBBpXdwXH+35AR0YOrF8lUzyE=",
    "u2:oQDpg9ON5srtW+yPL9pyHnsZVFQ=",
    "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
    "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=",
];

fn pick<T: Copy>(rng: &mut SmallRng, from: &[T]) -> T {
    *from.choose(rng).expect("something to pick from")
}

/// Whether text with letters of several bytes is in there. All of it comes from `ODD_PATHS`, and data, whose bytes count
/// upwards, never looks like it.
fn has_long_letters(body: &[u8]) -> bool {
    let odd = ODD_PATHS.iter().filter(|path| !path.is_ascii());
    odd.map(|path| path.as_bytes()).any(|path| body.windows(path.len()).any(|window| window == path))
}

impl RequestMaker {
    fn tree_path(&self, rng: &mut SmallRng) -> Text {
        let mut path = match rng.random_range(0..10) {
            0..9 => format!("/n{}", rng.random_range(0..7)),
            _ => self.quota_root(rng).to_string(),
        };
        for (letter, count) in [("m", 4), ("k", 3)] {
            if rng.random_bool(0.45) {
                break;
            }
            path.push_str(&format!("/{letter}{}", rng.random_range(0..count)));
        }
        path.as_str().into()
    }

    fn quota_root(&self, rng: &mut SmallRng) -> &'static str {
        pick(rng, if self.nested_quota { &QUOTA_ROOTS } else { &QUOTA_ROOTS[..3] })
    }

    fn odd_path(&self, rng: &mut SmallRng) -> Text {
        match rng.random_range(0..40) {
            0 => Text(None),
            1 => format!("/n0/{}", "long".repeat(rng.random_range(1..800))).as_str().into(),
            _ => pick(rng, ODD_PATHS).into(),
        }
    }

    /// Any path, for requests that may not change the quota bookkeeping.
    pub fn path(&self, rng: &mut SmallRng, known: &Known) -> Text {
        match rng.random_range(0..100) {
            0..55 => self.tree_path(rng),
            55..92 => known.any(rng).unwrap_or_else(|| self.tree_path(rng)),
            _ => self.odd_path(rng),
        }
    }

    /// Without letters that Java does not send back as they came, see `DELIBERATE_DIFFERENCES`.
    fn read_path(&self, rng: &mut SmallRng, known: &Known) -> Text {
        let path = self.any_read_path(rng, known);
        if path.as_str().is_some_and(|path| path.chars().any(|letter| letter > '\u{ffff}')) {
            "/é".into()
        } else {
            path
        }
    }

    fn any_read_path(&self, rng: &mut SmallRng, known: &Known) -> Text {
        match rng.random_range(0..100) {
            0..4 => "/".into(),
            4..8 => {
                let root = self.quota_root(rng);
                let leaf = pick(rng, &["", "/zookeeper_limits", "/zookeeper_stats"]);
                format!("/zookeeper/quota{root}{leaf}").as_str().into()
            }
            _ => self.path(rng, known),
        }
    }

    /// A path for watches: null is left out (Java keeps a watch on null, or fails inside its own tables).
    fn watch_path(&self, rng: &mut SmallRng, known: &Known) -> Text {
        let path = self.read_path(rng, known);
        if path.0.is_none() { "/n0".into() } else { path }
    }

    fn create_path(&self, rng: &mut SmallRng, known: &Known) -> Text {
        match rng.random_range(0..100) {
            0..15 => format!("{}/s-", self.tree_path(rng).as_str().unwrap_or("/n0")).as_str().into(),
            15..20 => format!("{}/", self.tree_path(rng).as_str().unwrap_or("/n0")).as_str().into(),
            20..30 => {
                let parent = known.any(rng).unwrap_or_else(|| "/n0".into());
                format!("{}/c{}", parent.as_str().unwrap_or("/n0"), rng.random_range(0..3)).as_str().into()
            }
            30..94 => self.tree_path(rng),
            _ => self.odd_path(rng),
        }
    }

    fn data(&self, rng: &mut SmallRng) -> Data {
        let length = match rng.random_range(0..100) {
            0..4 => return Data(None),
            4..12 => 0,
            12..95 => rng.random_range(1..60),
            95..99 => rng.random_range(500..4000),
            _ => rng.random_range(10_000..80_000),
        };
        let first: u8 = rng.random();
        Data(Some((0..length).map(|i| first.wrapping_add(i as u8)).collect()))
    }

    fn version(&self, rng: &mut SmallRng) -> i32 {
        match rng.random_range(0..100) {
            0..60 => -1,
            60..92 => rng.random_range(0..4),
            _ => pick(rng, &[-2, i32::MAX, i32::MIN, 1000]),
        }
    }

    fn acl_entry(&self, rng: &mut SmallRng) -> Acl {
        let perms = match rng.random_range(0..10) {
            0..5 => 31,
            5..8 => rng.random_range(0..32),
            _ => pick(rng, &[0, 1, 16, 15, 30, 32, 255, -1, i32::MIN]),
        };
        let schemes: &[(&str, &[&str])] = &[
            ("world", &["anyone", "anyone", "someone", ""]),
            ("auth", &["", "whatever"]),
            ("digest", &DIGEST_IDS),
            ("digest", &["u1", "u1:a:b", ":", "a:b", ""]),
            (
                "ip",
                &[
                    "127.0.0.1",
                    "127.0.0.1/8",
                    "10.0.0.0/8",
                    "127.0.0.2",
                    "0.0.0.0/0",
                    "::1",
                    "fe80::/10",
                    "1:2:3:4:5:6:7:8",
                ],
            ),
            (
                "ip",
                &[
                    "127.0.0.300",
                    "1.2.3",
                    "127.0.0.1/33",
                    "127.0.0.1/",
                    "::1::",
                    "",
                    "::1/129",
                    "1.2.3.4.5",
                    "localhost",
                    "127.0.0.1/-1",
                ],
            ),
            ("sasl", &["bob"]),
            ("x509", &["CN=bob"]),
            ("super", &["", "super"]),
            ("nonsense", &["x"]),
            ("", &["x"]),
        ];
        let scheme = match rng.random_range(0..100) {
            0..40 => return Acl::new(perms, "world", "anyone"),
            40..90 => &schemes[rng.random_range(1..6)],
            _ => pick(rng, &schemes.iter().collect::<Vec<_>>()),
        };
        Acl::new(perms, scheme.0, pick(rng, scheme.1))
    }

    fn acl(&self, rng: &mut SmallRng) -> Option<Vec<Acl>> {
        match rng.random_range(0..100) {
            0..70 => Acl::open(),
            70..72 => None,
            72..74 => Some(vec![]),
            _ => {
                let mut list: Vec<Acl> = (0..rng.random_range(1..4)).map(|_| self.acl_entry(rng)).collect();
                if rng.random_bool(0.2) {
                    list.push(list[0].clone());
                }
                Some(list)
            }
        }
    }

    fn create(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let (path, data, acl) = (self.create_path(rng, known), self.data(rng), self.acl(rng));
        match rng.random_range(0..100) {
            0..12 => {
                let flags = match rng.random_range(0..10) {
                    0 => pick(rng, &[0, 1, 4, 7, -1]),
                    _ => pick(rng, &[5, 6]),
                };
                let ttl = match flags {
                    5 | 6 => pick(rng, &[1, 1000, 3_600_000, (1 << 40) - 1, 5000, 60_000, 0, -1, 1 << 40, i64::MIN]),
                    // Not below zero: see `DELIBERATE_DIFFERENCES`.
                    _ => pick(rng, &[0, 1, 5000, 1 << 40, i64::MAX]),
                };
                Op::CreateTtl { path, data, acl, flags, ttl }
            }
            12..20 => Op::Create {
                opcode: op::CREATE_CONTAINER,
                path,
                data,
                acl,
                flags: pick(rng, &[4, 4, 4, 4, 0, 1, 2, 3, 5, -1]),
            },
            _ => {
                let flags = match rng.random_range(0..100) {
                    0..50 => 0,
                    50..94 => pick(rng, &[1, 2, 3, 4]),
                    _ => pick(rng, &[5, 6, 7, -1, 100, i32::MAX]),
                };
                Op::Create { opcode: pick(rng, &[op::CREATE, op::CREATE2]), path, data, acl, flags }
            }
        }
    }

    /// A node that requests may change: not the ones whose junk content Java does not survive, see `DELIBERATE_DIFFERENCES`.
    fn set_data(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let mut path = self.path(rng, known);
        if path.as_str().is_some_and(|path| path.starts_with("/zookeeper/")) {
            path = "/n0".into();
        }
        Op::SetData { path, data: self.data(rng), version: self.version(rng) }
    }

    pub fn set_acl(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let path = if rng.random_bool(0.02) { "/".into() } else { self.path(rng, known) };
        Op::SetAcl { path, acl: self.acl(rng), version: self.version(rng) }
    }

    pub fn read(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let path = self.read_path(rng, known);
        match rng.random_range(0..100) {
            0..65 => {
                let opcode = pick(rng, &[op::EXISTS, op::GET_DATA, op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2]);
                Op::Read { opcode, path, watch: rng.random_bool(0.3) }
            }
            65..77 => Op::Path { opcode: op::GET_ACL, path },
            77..81 => Op::Path { opcode: op::GET_ALL_CHILDREN_NUMBER, path },
            81..86 => {
                let prefix = pick(rng, &["/", "", "/n", "/n0", "/n0/m", " ", "/nothing"]);
                let path = if rng.random_bool(0.1) { Text(None) } else { prefix.into() };
                Op::Path { opcode: op::GET_EPHEMERALS, path }
            }
            86..90 => Op::Path { opcode: op::SYNC, path },
            90..92 => Op::Bare { opcode: op::PING },
            92..94 => Op::Bare { opcode: op::WHO_AM_I },
            _ => self.multi_read(rng, known),
        }
    }

    fn multi_read(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let mut items = Vec::new();
        for _ in 0..rng.random_range(0..6) {
            let path = self.read_path(rng, known);
            items.push(match rng.random_range(0..40) {
                0 => Op::Read { opcode: op::EXISTS, path, watch: false },
                1 => Op::Delete { path, version: -1 },
                _ => {
                    Op::Read { opcode: pick(rng, &[op::GET_DATA, op::GET_CHILDREN]), path, watch: rng.random_bool(0.5) }
                }
            });
        }
        Op::Multi { opcode: op::MULTI_READ, items }
    }

    fn multi(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let mut items = Vec::new();
        for _ in 0..rng.random_range(0..6) {
            items.push(match rng.random_range(0..100) {
                0..40 => self.create(rng, known),
                40..60 => Op::Delete { path: self.path(rng, known), version: self.version(rng) },
                60..80 => self.set_data(rng, known),
                80..98 => Op::Check { path: self.path(rng, known), version: self.version(rng) },
                98 => Op::Read { opcode: op::GET_DATA, path: self.path(rng, known), watch: false },
                _ => self.set_acl(rng, known),
            });
        }
        Op::Multi { opcode: op::MULTI, items }
    }

    fn watch(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let path = self.watch_path(rng, known);
        match rng.random_range(0..100) {
            0..35 => Op::Watch { opcode: op::ADD_WATCH, path, kind: pick(rng, &[0, 0, 0, 1, 1, 1, 2, -1, 7]) },
            35..80 => Op::Watch {
                opcode: pick(rng, &[op::CHECK_WATCHES, op::REMOVE_WATCHES, op::REMOVE_WATCHES]),
                path,
                kind: pick(rng, &[1, 2, 3, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6, -1]),
            },
            _ => {
                let (opcode, count) = pick(rng, &[(op::SET_WATCHES, 3), (op::SET_WATCHES2, 5)]);
                let lists = (0..count)
                    .map(|_| (0..rng.random_range(0..4)).map(|_| self.watch_path(rng, known)).collect())
                    .collect();
                let relative_zxid = match rng.random_range(0..10) {
                    0 => pick(rng, &[0, -1, i64::MAX]),
                    _ => self.last_zxid - rng.random_range(0..400),
                };
                Op::SetWatches { opcode, relative_zxid, lists }
            }
        }
    }

    fn reconfig(&self, rng: &mut SmallRng) -> Op {
        let text = |rng: &mut SmallRng| match rng.random_range(0..3) {
            0 => Text(None),
            1 => "".into(),
            _ => "server.2=127.0.0.1:2888:3888;2181".into(),
        };
        Op::Reconfig { joining: text(rng), leaving: text(rng), members: text(rng), config_id: pick(rng, &[-1, 0, 5]) }
    }

    /// Any request that leaves the connection open and is answered in order.
    pub fn any(&self, rng: &mut SmallRng, known: &Known) -> Op {
        match rng.random_range(0..1000) {
            0..200 => self.create(rng, known),
            200..330 => Op::Delete { path: self.path(rng, known), version: self.version(rng) },
            330..450 => self.set_data(rng, known),
            450..455 => self.set_acl(rng, known),
            455..560 => self.multi(rng, known),
            560..640 => self.watch(rng, known),
            640..642 => self.reconfig(rng),
            642..665 => self.mangled(rng, known),
            _ => self.read(rng, known),
        }
    }

    /// A good request with its bytes spoilt: cut short, a length changed, bytes overwritten or added.
    fn mangled(&self, rng: &mut SmallRng, known: &Known) -> Op {
        let good = match rng.random_range(0..6) {
            0 => self.create(rng, known),
            1 => self.set_data(rng, known),
            2 => self.multi(rng, known),
            3 => self.watch(rng, known),
            4 => self.set_acl(rng, known),
            _ => self.read(rng, known),
        };
        let mut body = good.body();
        // A changed byte could make the one TTL request that Java does not survive.
        // And a changed length could cut a letter of several bytes, see `DELIBERATE_DIFFERENCES`.
        let ways = if Self::has_ttl(&good) || has_long_letters(&body) { 2 } else { 5 };
        match rng.random_range(0..ways) {
            0 => body.truncate(rng.random_range(0..=body.len())),
            1 => body.extend(b"more than was asked for"),
            2 if body.len() >= 4 => {
                // Away from the start these bytes may become text, which has to stay text: see `DELIBERATE_DIFFERENCES`.
                let (at, lengths): (usize, &[i32]) = match rng.random_bool(0.6) {
                    true => (0, &[-1, -2, i32::MIN, i32::MAX, 0x000f_ffff, 0x0020_0000, 1]),
                    false => (rng.random_range(0..=body.len() - 4), &[0x7f7f_7f7f, 0x0020_0000, 1]),
                };
                let length = pick(rng, lengths);
                body[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            3 => body.fill_with(|| rng.random()),
            _ => {
                if let Some(byte) = body.len().checked_sub(1).map(|last| rng.random_range(0..=last))
                    && body[byte].is_ascii()
                {
                    // Never upwards: a longer length would take bytes that are no text into a path.
                    body[byte] = rng.random_range(0..=body[byte]);
                }
            }
        }
        Op::Raw { opcode: good.opcode(), body: Bytes(body) }
    }

    fn has_ttl(op: &Op) -> bool {
        match op {
            Op::CreateTtl { .. } => true,
            Op::Multi { items, .. } => items.iter().any(Self::has_ttl),
            _ => false,
        }
    }

    pub fn token() -> Data {
        Data(Some(vec![]))
    }

    pub fn digest_auth(text: &str) -> Op {
        Op::Auth { scheme: "digest".into(), auth: Data(Some(text.as_bytes().to_vec())) }
    }

    /// An auth packet that is accepted.
    pub fn auth(&self, rng: &mut SmallRng) -> Op {
        match rng.random_range(0..10) {
            0 => Op::Auth { scheme: "ip".into(), auth: Data(Some(b"anything".to_vec())) },
            1 => Self::digest_auth(pick(rng, &["no colon", "", ":", "u1:", ":u1", "u1:u1:u1", "é:ü"])),
            2 => Self::digest_auth("super:test"),
            _ => Self::digest_auth(pick(rng, &["u1:u1", "u2:u2", "u:p"])),
        }
    }

    /// Unlocks what the others may have locked.
    pub fn heal(&self, rng: &mut SmallRng) -> Vec<Op> {
        let mut ops = Vec::new();
        let open = |path: &str| Op::SetAcl { path: path.into(), acl: Acl::open(), version: -1 };
        ops.extend(["/", "/zookeeper", "/zookeeper/quota"].map(open));
        for node in 0..7 {
            ops.push(open(&format!("/n{node}")));
            if rng.random_bool(0.3) {
                ops.push(Op::Delete { path: format!("/n{node}").as_str().into(), version: -1 });
            }
        }
        ops
    }

    /// Whether a write may change or be limited by the usage of a quota.
    pub fn touches_quota(op: &Op) -> bool {
        let counted = |path: &Text| path.0.as_deref().is_some_and(|path| path.starts_with(b"/q"));
        match op {
            Op::Create { path, .. }
            | Op::CreateTtl { path, .. }
            | Op::Delete { path, .. }
            | Op::SetData { path, .. } => counted(path),
            Op::Multi { opcode: op::MULTI, items } => items.iter().any(Self::touches_quota),
            // Broken bytes may still be a write to anywhere.
            Op::Raw { opcode, .. } => ![op::EXISTS, op::GET_DATA, op::GET_CHILDREN, op::GET_ACL].contains(opcode),
            _ => false,
        }
    }

    /// Whether Java judges the next request by luck, namely by whether this one has been applied already: it checks
    /// against the old ACL until a setACL is applied, and takes a container made with an ephemeral flag for an
    /// ephemeral node until then. Such a request has to be the last of its burst.
    pub fn unsettled(op: &Op) -> bool {
        match op {
            Op::SetAcl { .. } => true,
            Op::Create { opcode: op::CREATE_CONTAINER, flags, .. } => matches!(flags, 1 | 3),
            Op::Multi { opcode: op::MULTI, items } => items.iter().any(Self::unsettled),
            Op::Raw { opcode, .. } => [op::SET_ACL, op::CREATE_CONTAINER, op::MULTI].contains(opcode),
            _ => false,
        }
    }

    /// Makes, changes or removes a quota, one request at a time.
    pub fn quota(&self, rng: &mut SmallRng) -> Vec<Op> {
        let root = self.quota_root(rng);
        let node = format!("/zookeeper/quota{root}");
        let (limits, stats) = (format!("{node}/zookeeper_limits"), format!("{node}/zookeeper_stats"));
        let create = |path: &str, data: &str| Op::Create {
            opcode: op::CREATE,
            path: path.into(),
            data: Data(Some(data.as_bytes().to_vec())),
            acl: Acl::open(),
            flags: 0,
        };
        let delete = |path: &str| Op::Delete { path: path.into(), version: -1 };
        let limit = self.limits(rng);
        match rng.random_range(0..10) {
            0..6 => {
                let parents = node.match_indices('/').skip(2).map(|(at, _)| create(&node[..at], ""));
                let mut ops: Vec<Op> = parents.collect();
                ops.extend([
                    create(root, "some"),
                    create(&node, ""),
                    create(&limits, &limit),
                    create(&stats, "count=0,bytes=0"),
                ]);
                ops
            }
            6..8 => {
                vec![Op::SetData { path: limits.as_str().into(), data: Data(Some(limit.into_bytes())), version: -1 }]
            }
            _ => vec![delete(&limits), delete(&stats), delete(&node)],
        }
    }

    fn limits(&self, rng: &mut SmallRng) -> String {
        let (count, bytes) = (rng.random_range(-1..20), rng.random_range(-1..600));
        match rng.random_range(0..4) {
            0 => format!("count={count},bytes={bytes}"),
            1 => format!("count=-1,bytes=-1=;byteHardLimit={bytes};countHardLimit={count}"),
            2 => format!("count={count},bytes=-1=;byteHardLimit={bytes}"),
            _ => format!("count=-1,bytes={bytes}=;countHardLimit={count}"),
        }
    }

    /// A frame after which the server closes the connection, and the opcode its reply is read with.
    pub fn last_words(&self, rng: &mut SmallRng, xid: i32) -> (Vec<u8>, i32) {
        let request = |opcode: i32, body: &[u8]| {
            let mut frame = xid.to_be_bytes().to_vec();
            put_int(&mut frame, opcode);
            frame.extend_from_slice(body);
            (frame, opcode)
        };
        let auth = |scheme: &str, auth: Data| request(op::AUTH, &Op::Auth { scheme: scheme.into(), auth }.body());
        match rng.random_range(0..10) {
            0..4 => request(pick(rng, &[0, 10, 13, -1, 23, 99, 108, 1000, i32::MIN, i32::MAX]), b"whatever"),
            4 => (vec![0; rng.random_range(0..8)], 0),
            5 => {
                auth(pick(rng, &["auth", "world", "super", "nonsense", "sasl", "x509", ""]), Data(Some(b"x".to_vec())))
            }
            6 => auth("digest", Data(None)),
            7 => request(op::AUTH, b"\0\0\0\0\0\0\0\x09dig"),
            8 => request(op::AUTH, b"\0\0\0\0\0\0\0\x06digest\x7f\xff\xff\xff"),
            _ => request(op::SASL, b"\0\0\0"),
        }
    }

    /// Bytes of somebody who is no ZooKeeper client.
    pub fn stranger(&self, rng: &mut SmallRng) -> Vec<u8> {
        let mut framed = |length: i32, count: usize| {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.extend((0..count).map(|_| rng.random::<u8>() | 0x80));
            bytes
        };
        match framed(0, 1)[4] % 5 {
            0 => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            1 => framed(-1, 20),
            2 => framed(0x10_0000, 20),
            3 => framed(10, 10),
            _ => framed(27, 27),
        }
    }
}
