//! The client's side, for tests: bytes of requests, and requests to draw from.

use super::{Refusal, Request, decode};
use crate::message::CreateOp;
use crate::types::{Acl, OpCode};
use crate::wire::Writer;
use proptest::prelude::*;

/// Bytes of the tests, as the sheet writes them: hexadecimal digits, anything else is decoration.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

pub fn bytes(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut Writer::new(&mut bytes));
    bytes
}

pub fn decode_op(op: OpCode, body: &[u8]) -> Result<Request<'_>, Refusal> {
    decode(op.code(), body)
}

pub fn is_undecodable(op: OpCode, body: &[u8]) -> bool {
    matches!(decode_op(op, body), Err(Refusal::Undecodable(_)))
}

/// Bytes of a request, written the way a client does.
pub fn write_create(w: &mut Writer<'_>, create: &CreateOp) {
    w.string_or_null(create.path.as_deref());
    w.buffer(create.data.as_deref());
    w.acl(create.acl.as_deref());
    w.int(create.flags);
    if create.op == OpCode::CreateTtl {
        w.long(create.ttl_ms);
    }
}

pub fn create_op(op: OpCode, path: Option<&str>, flags: i32) -> CreateOp {
    CreateOp {
        op,
        path: path.map(str::to_owned),
        data: Some(b"x".to_vec()),
        acl: Some(Acl::open_unsafe()),
        flags,
        ttl_ms: if op == OpCode::CreateTtl { 100 } else { -1 },
    }
}

pub fn any_path() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.9, "(/[a-zé]{0,3}){0,3}")
}

pub fn any_data() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..9))
}

pub fn any_acl() -> impl Strategy<Value = Vec<Acl>> {
    prop::collection::vec(
        (any::<i32>(), "[a-z]{0,3}", "[a-z:]{0,4}").prop_map(|(perms, scheme, id)| Acl::new(perms, &scheme, &id)),
        0..3,
    )
}

pub fn any_create() -> impl Strategy<Value = CreateOp> {
    let op = prop::sample::select(vec![OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl]);
    (op, any_path(), any_data(), prop::option::of(any_acl()), -1..8, any::<i64>()).prop_map(
        |(op, path, data, acl, flags, ttl_ms)| CreateOp {
            op,
            path,
            data,
            acl,
            flags,
            ttl_ms: if op == OpCode::CreateTtl { ttl_ms } else { -1 },
        },
    )
}
