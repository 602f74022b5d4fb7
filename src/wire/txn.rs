//! Bytes of one transaction: header ‖ record ‖ digest, as the log stores it and as proposals carry it
//! (storage-format sheet §3). Framing and checksums are `storage/txnlog_format.rs`'s business.
//!
//! Reading accepts what any Java release wrote: creates without `parentCVersion`, closeSession without its list,
//! entries without digest, ids that Java spelled with surrogates. Writing produces today's form.
//! Invariant: an entry written by `encode` reads back equal, and what a current Java wrote is written again byte for byte.

use super::{BadBytes, Found, Reader, Writer};
use crate::message::{SubTxn, Txn, TxnBody, TxnDigest, TxnHeader};
use crate::types::{Acl, Id, OpCode, SessionId, WallMillis, Zxid};

/// Smallest entry of an ACL vector: perms and two empty strings.
const ACL_BYTES_MIN: usize = 12;
/// Smallest entry of a multi: type and an empty buffer.
const SUB_TXN_BYTES_MIN: usize = 8;
const DIGEST_BYTES: usize = 12;

/// Appends an entry to `out`; allocates nothing else. A closeSession without list should have no digest either:
/// Java readers would take it for the list.
pub fn encode(header: &TxnHeader, body: &TxnBody, digest: Option<&TxnDigest>, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.long(header.session.0);
    w.int(header.cxid);
    w.long(header.zxid.0);
    w.long(header.time.0);
    w.int(body.op_code().code());
    encode_body(body, out);
    if let Some(digest) = digest {
        let mut w = Writer::new(out);
        w.int(digest.version);
        w.long(digest.tree as i64);
    }
}

fn encode_body(body: &TxnBody, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    match body {
        TxnBody::Create { op: _, path, data, acl, ephemeral, parent_cversion } => {
            w.string(path);
            w.buffer(data.as_deref());
            w.acl(acl.as_deref());
            w.bool(*ephemeral);
            w.int(*parent_cversion);
        }
        TxnBody::CreateContainer { path, data, acl, parent_cversion } => {
            w.string(path);
            w.buffer(data.as_deref());
            w.acl(acl.as_deref());
            w.int(*parent_cversion);
        }
        TxnBody::CreateTtl { path, data, acl, parent_cversion, ttl_ms } => {
            w.string(path);
            w.buffer(data.as_deref());
            w.acl(acl.as_deref());
            w.int(*parent_cversion);
            w.long(*ttl_ms);
        }
        TxnBody::Delete { op: _, path } => w.string(path),
        TxnBody::SetData { op: _, path, data, version } => {
            w.string(path);
            w.buffer(data.as_deref());
            w.int(*version);
        }
        TxnBody::SetAcl { path, acl, version } => {
            w.string(path);
            w.acl(acl.as_deref());
            w.int(*version);
        }
        TxnBody::Check { path, version } => {
            w.string(path);
            w.int(*version);
        }
        TxnBody::Multi(entries) => encode_multi(entries, out),
        TxnBody::CreateSession { timeout_ms } => w.int(*timeout_ms),
        TxnBody::CloseSession { paths: None } => {}
        TxnBody::CloseSession { paths: Some(paths) } => {
            w.count(paths.len());
            for path in paths {
                w.string(path);
            }
        }
        TxnBody::Error(code) => w.int(*code),
    }
}

fn encode_multi(entries: &[SubTxn], out: &mut Vec<u8>) {
    Writer::new(out).count(entries.len());
    for entry in entries {
        Writer::new(out).int(entry.body.op_code().code());
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        encode_body(&entry.body, out);
        let length = i32::try_from(out.len() - start - 4).expect("an entry is shorter than 2 GiB");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// Reads a whole entry. Bytes behind the digest are an error: an entry's length is part of its frame.
pub fn decode(entry: &[u8]) -> Result<Txn, BadBytes> {
    let mut r = Reader::new(entry);
    let header = read_header(&mut r)?;
    let op = decode_type(&mut r, "txn type")?;
    let body = match op {
        OpCode::Multi => TxnBody::Multi(decode_multi(&mut r)?),
        OpCode::CreateSession => TxnBody::CreateSession { timeout_ms: r.int("createSession timeout")? },
        OpCode::CloseSession => decode_close_session(&mut r)?,
        OpCode::Create | OpCode::Create2 => decode_create(&mut r, op)?,
        OpCode::Check => return Err(r.error("txn type", Found::Value(i64::from(op.code())))),
        _ => decode_plain(&mut r, op)?,
    };
    let digest = decode_digest(&mut r)?;
    Ok(Txn { header, body, digest })
}

/// The header of an entry without decoding the rest.
pub fn decode_header(entry: &[u8]) -> Result<TxnHeader, BadBytes> {
    read_header(&mut Reader::new(entry))
}

fn read_header(r: &mut Reader<'_>) -> Result<TxnHeader, BadBytes> {
    let session = SessionId(r.long("txn session")?);
    let cxid = r.int("txn cxid")?;
    let zxid = Zxid(r.long("txn zxid")?);
    let time = WallMillis(r.long("txn time")?);
    Ok(TxnHeader { session, cxid, zxid, time })
}

/// The zxid of an entry without decoding the rest.
pub fn decode_zxid(entry: &[u8]) -> Result<Zxid, BadBytes> {
    let mut r = Reader::new(entry);
    r.take("txn session and cxid", 12)?;
    Ok(Zxid(r.long("txn zxid")?))
}

fn decode_type(r: &mut Reader<'_>, what: &'static str) -> Result<OpCode, BadBytes> {
    let code = r.int(what)?;
    OpCode::from_code(code).ok_or_else(|| r.error(what, Found::Value(i64::from(code))))
}

/// A record that looks the same alone and inside a multi.
fn decode_plain(r: &mut Reader<'_>, op: OpCode) -> Result<TxnBody, BadBytes> {
    Ok(match op {
        OpCode::Create | OpCode::Create2 => decode_create(r, op)?,
        OpCode::CreateContainer => TxnBody::CreateContainer {
            path: path(r)?,
            data: data(r)?,
            acl: acl(r)?,
            parent_cversion: r.int("createContainer parentCVersion")?,
        },
        OpCode::CreateTtl => TxnBody::CreateTtl {
            path: path(r)?,
            data: data(r)?,
            acl: acl(r)?,
            parent_cversion: r.int("createTTL parentCVersion")?,
            ttl_ms: r.long("createTTL ttl")?,
        },
        OpCode::Delete | OpCode::DeleteContainer => TxnBody::Delete { op, path: path(r)? },
        OpCode::SetData | OpCode::Reconfig => {
            TxnBody::SetData { op, path: path(r)?, data: data(r)?, version: r.int("setData version")? }
        }
        OpCode::SetAcl => TxnBody::SetAcl { path: path(r)?, acl: acl(r)?, version: r.int("setACL version")? },
        OpCode::Check => TxnBody::Check { path: path(r)?, version: r.int("check version")? },
        OpCode::Error => TxnBody::Error(r.int("error code")?),
        _ => return Err(r.error("txn type", Found::Value(i64::from(op.code())))),
    })
}

/// Logs older than 3.4 lack parentCVersion; like Java, that is tried when the bytes run out.
fn decode_create(r: &mut Reader<'_>, op: OpCode) -> Result<TxnBody, BadBytes> {
    let path = path(r)?;
    let data = data(r)?;
    let acl = acl(r)?;
    let ephemeral = r.bool("create ephemeral")?;
    let is_v0 = op == OpCode::Create && r.is_empty();
    let parent_cversion = if is_v0 { -1 } else { r.int("create parentCVersion")? };
    Ok(TxnBody::Create { op, path, data, acl, ephemeral, parent_cversion })
}

fn decode_multi(r: &mut Reader<'_>) -> Result<Vec<SubTxn>, BadBytes> {
    let entries = r.vector("multi entries", SUB_TXN_BYTES_MIN, |r| {
        let op = decode_type(r, "multi entry type")?;
        let Some(record) = r.buffer("multi entry")? else {
            return Err(r.error("multi entry", Found::Null));
        };
        let mut inner = Reader::new(record);
        let body = decode_plain(&mut inner, op)?;
        if !inner.is_empty() {
            let left = i32::try_from(inner.rest().len()).unwrap_or(i32::MAX);
            return Err(r.error("bytes behind a multi entry", Found::Length(left)));
        }
        Ok(SubTxn { body })
    })?;
    entries.ok_or_else(|| r.error("multi entries", Found::Null))
}

/// The list may be absent, with or without a digest behind it. A list always wins when it reads cleanly: no ephemeral
/// has the empty path, so a digest (version 2, then eight bytes) cannot pass for a list of two.
fn decode_close_session(r: &mut Reader<'_>) -> Result<TxnBody, BadBytes> {
    if r.is_empty() {
        return Ok(TxnBody::CloseSession { paths: None });
    }
    let mut attempt = r.clone();
    match decode_path_list(&mut attempt) {
        Ok(paths) => {
            *r = attempt;
            Ok(TxnBody::CloseSession { paths: Some(paths) })
        }
        Err(_) if r.rest().len() == DIGEST_BYTES => Ok(TxnBody::CloseSession { paths: None }),
        Err(bad) => Err(bad),
    }
}

fn decode_path_list(r: &mut Reader<'_>) -> Result<Vec<String>, BadBytes> {
    let paths = r.vector("closeSession paths", 4, path)?;
    match r.rest().len() {
        0 | DIGEST_BYTES => Ok(paths.unwrap_or_default()),
        left => Err(r.error("bytes behind closeSession", Found::Length(i32::try_from(left).unwrap_or(i32::MAX)))),
    }
}

fn decode_digest(r: &mut Reader<'_>) -> Result<Option<TxnDigest>, BadBytes> {
    match r.rest().len() {
        0 => Ok(None),
        DIGEST_BYTES => Ok(Some(TxnDigest { version: r.int("digest version")?, tree: r.long("tree digest")? as u64 })),
        left => Err(r.error("bytes behind the txn", Found::Length(i32::try_from(left).unwrap_or(i32::MAX)))),
    }
}

fn path(r: &mut Reader<'_>) -> Result<String, BadBytes> {
    let path = r.string_present("txn path")?;
    if path.is_empty() {
        return Err(r.error("txn path", Found::Length(0)));
    }
    Ok(path.to_owned())
}

fn data(r: &mut Reader<'_>) -> Result<Option<Vec<u8>>, BadBytes> {
    Ok(r.buffer("txn data")?.map(<[u8]>::to_vec))
}

fn acl(r: &mut Reader<'_>) -> Result<Option<Vec<Acl>>, BadBytes> {
    stored_acl(r)
}

/// An ACL vector as files hold it: Java spells characters beyond the BMP as two encoded surrogates, and reads
/// them back as replacement characters. A log must not become unreadable over one, so the same happens here.
pub fn stored_acl(r: &mut Reader<'_>) -> Result<Option<Vec<Acl>>, BadBytes> {
    r.vector("acl", ACL_BYTES_MIN, |r| {
        let perms = r.int("acl perms")?;
        let scheme = r.buffer("acl scheme")?.unwrap_or_default();
        let id = r.buffer("acl id")?.unwrap_or_default();
        Ok(Acl {
            perms,
            id: Id {
                scheme: String::from_utf8_lossy(scheme).into_owned(),
                id: String::from_utf8_lossy(id).into_owned(),
            },
        })
    })
}

#[cfg(test)]
#[path = "txn_tests.rs"]
mod tests;
