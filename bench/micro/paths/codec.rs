//! Bytes of requests into values, values into bytes of replies and of the log.

use super::{Step, VALUE, key_path};
use ringkeeper::message::{TxnBody, TxnDigest, TxnHeader};
use ringkeeper::types::{OpCode, SessionId, Stat, WallMillis, Xid, Zxid};
use ringkeeper::wire::client::{decode, decode_header, response};
use ringkeeper::wire::frame::{Frame, next_frame};
use ringkeeper::wire::{Writer, txn};
use std::hint::black_box;

const FRAME_BYTES_MAX: usize = 0xf_ffff;
const MULTI_OPS: usize = 5;

/// A frame as clients send it.
pub(super) fn frame(xid: i32, op: OpCode, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::frame(&mut bytes, |w| {
        w.int(xid);
        w.int(op.code());
        body(w);
    });
    bytes
}

pub(super) fn get_frame(xid: i32, path: &str) -> Vec<u8> {
    frame(xid, OpCode::GetData, |w| {
        w.string(path);
        w.bool(false);
    })
}

fn decoding(bytes: Vec<u8>) -> Step {
    Box::new(move || {
        let bytes = black_box(bytes.as_slice());
        let Ok(Frame::Whole(payload)) = next_frame(bytes, FRAME_BYTES_MAX) else { panic!("a whole frame") };
        let header = decode_header(&bytes[payload]).expect("a header");
        black_box(decode(header.op, header.body).expect("a request"));
    })
}

pub fn decode_get() -> Step {
    decoding(get_frame(1, &key_path(1)))
}

pub fn decode_set() -> Step {
    decoding(frame(1, OpCode::SetData, |w| put_set(w, 1)))
}

pub fn decode_multi() -> Step {
    decoding(frame(1, OpCode::Multi, |w| {
        for key in 0..MULTI_OPS {
            put_multi_header(w, OpCode::SetData.code(), false);
            put_set(w, key as u64);
        }
        put_multi_header(w, -1, true);
    }))
}

fn put_set(w: &mut Writer<'_>, key: u64) {
    w.string(&key_path(key));
    w.buffer(Some(&VALUE));
    w.int(-1);
}

fn put_multi_header(w: &mut Writer<'_>, op: i32, is_last: bool) {
    w.int(op);
    w.bool(is_last);
    w.int(-1);
}

pub fn reply_get() -> Step {
    let (mut out, stat) = (Vec::with_capacity(1024), Stat::default());
    Box::new(move || {
        out.clear();
        response::data(black_box(&mut out), Xid(1), Zxid(1), Some(&VALUE), &stat);
    })
}

/// A setData as the log holds it.
pub(super) fn set_entry(zxid: i64, key: u64, out: &mut Vec<u8>) {
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: WallMillis(1) };
    let body = TxnBody::SetData { op: OpCode::SetData, path: key_path(key), data: Some(VALUE.into()), version: 1 };
    let digest = TxnDigest { version: TxnDigest::VERSION, tree: 1 };
    txn::encode(&header, &body, Some(&digest), out);
}

pub fn encode_txn() -> Step {
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(1), time: WallMillis(1) };
    let body = TxnBody::SetData { op: OpCode::SetData, path: key_path(1), data: Some(VALUE.into()), version: 1 };
    let digest = TxnDigest { version: TxnDigest::VERSION, tree: 1 };
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        txn::encode(black_box(&header), &body, Some(&digest), &mut out);
    })
}
