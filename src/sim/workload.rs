//! What clients ask for: all kinds of requests over few znodes, so that they get in each other's way.

use super::random::Random;
use crate::message::{CreateOp, MultiOp, WriteOp};
use crate::types::{Acl, OpCode};

const PARENTS: u64 = 4;
const CHILDREN: u64 = 6;
/// A znode carries so many bytes at most; now and then one is large.
const DATA_BYTES_MAX: u64 = 60;
const LARGE_BYTES_MAX: u64 = 12_000;

#[derive(Clone, Debug)]
pub enum Request {
    Write(WriteOp),
    Get { path: String, watch: bool },
    Exists { path: String, watch: bool },
    Children { path: String, watch: bool },
    Sync { path: String },
    CloseSession,
}

fn parent(random: &mut Random) -> String {
    format!("/p{}", random.below(PARENTS))
}

fn znode(random: &mut Random) -> String {
    match random.chance(1, 4) {
        true => parent(random),
        false => format!("{}/c{}", parent(random), random.below(CHILDREN)),
    }
}

/// Two writes never write the same.
fn data(random: &mut Random) -> Option<Vec<u8>> {
    let length = if random.chance(1, 100) { random.below(LARGE_BYTES_MAX) } else { random.below(DATA_BYTES_MAX) };
    let mut bytes = random.draw().to_be_bytes().to_vec();
    bytes.resize(8 + length as usize, b'.');
    Some(bytes)
}

fn create(random: &mut Random) -> CreateOp {
    const EPHEMERAL: i32 = 1;
    const SEQUENTIAL: i32 = 2;
    const CONTAINER: i32 = 4;
    const TTL: i32 = 5;
    const TTL_SEQUENTIAL: i32 = 6;
    let (op, flags) = match random.below(16) {
        0..=3 => (OpCode::Create, 0),
        4..=5 => (OpCode::Create2, 0),
        6..=8 => (OpCode::Create, EPHEMERAL),
        9..=10 => (OpCode::Create2, EPHEMERAL | SEQUENTIAL),
        11 => (OpCode::Create, SEQUENTIAL),
        12..=13 => (OpCode::CreateContainer, CONTAINER),
        14 => (OpCode::CreateTtl, TTL),
        _ => (OpCode::CreateTtl, TTL_SEQUENTIAL),
    };
    let ttl_ms = if op == OpCode::CreateTtl { 50 + random.below(5000) as i64 } else { -1 };
    let path = match random.chance(1, 3) {
        true => parent(random),
        false => znode(random),
    };
    CreateOp { op, path: Some(path), data: data(random), acl: Some(acl(random)), flags, ttl_ms }
}

fn acl(random: &mut Random) -> Vec<Acl> {
    let mut acl = Acl::open_unsafe();
    if random.chance(1, 3) {
        acl.push(Acl::new(1 + random.below(31) as i32, "digest", &format!("user{}:hash", random.below(5))));
    }
    acl
}

fn version(random: &mut Random) -> i32 {
    if random.chance(3, 4) { -1 } else { random.below(4) as i32 }
}

fn write(random: &mut Random) -> WriteOp {
    match random.below(20) {
        0..=6 => WriteOp::Create(create(random)),
        7..=12 => WriteOp::SetData { path: Some(znode(random)), data: data(random), version: version(random) },
        13..=16 => WriteOp::Delete { path: Some(znode(random)), version: version(random) },
        17 => WriteOp::SetAcl { path: Some(znode(random)), acl: Some(acl(random)), version: version(random) },
        _ => WriteOp::Multi((0..1 + random.below(4)).map(|_| multi_op(random)).collect()),
    }
}

fn multi_op(random: &mut Random) -> MultiOp {
    match random.below(6) {
        0..=1 => MultiOp::Create(CreateOp {
            flags: random.below(4) as i32,
            op: OpCode::Create,
            ttl_ms: -1,
            ..create(random)
        }),
        2..=3 => MultiOp::SetData { path: Some(znode(random)), data: data(random), version: version(random) },
        4 => MultiOp::Delete { path: Some(znode(random)), version: version(random) },
        _ => MultiOp::Check { path: Some(znode(random)), version: version(random) },
    }
}

/// A write that does no harm wherever it comes in between.
pub fn set_of_any(random: &mut Random) -> Request {
    Request::Write(WriteOp::SetData { path: Some(znode(random)), data: data(random), version: -1 })
}

pub fn request(random: &mut Random, writes_percent: u64) -> Request {
    if random.chance(writes_percent, 100) {
        return match random.chance(1, 200) {
            true => Request::CloseSession,
            false => Request::Write(write(random)),
        };
    }
    let watch = random.chance(1, 2);
    // Who does not write looks for what others wrote.
    let kinds = if writes_percent == 0 { 12 } else { 8 };
    match random.below(kinds) {
        0..=2 => Request::Get { path: znode(random), watch },
        3..=4 => Request::Exists { path: znode(random), watch },
        5..=6 => Request::Children { path: parent(random), watch },
        _ => Request::Sync { path: "/".to_owned() },
    }
}
