//! The list inside a multi or a multiRead: `MultiHeader{type, done, err}` and a record each, until a header says
//! done (client-protocol sheet §14). Both requests share the format; which kind of list suits which request is
//! decided in `request.rs`.
//!
//! Read off Java 3.9.5: the end marker's type and err are not looked at; reads and writes do not mix; the create
//! flags decide what kind of create an entry is, whatever its type says.

use super::request::{create, owned_data, owned_path};
use crate::message::{CreateOp, MultiOp, MultiReadOp};
use crate::types::{CreateMode, OpCode};
use crate::wire::{BadBytes, Found, Reader};

/// A decoded list; at most one of the two holds anything.
#[derive(Debug, Default)]
pub(super) struct List<'a> {
    pub writes: Vec<MultiOp>,
    pub reads: Vec<MultiReadOp<'a>>,
}

/// Why bytes are no list. As a multi it takes a zxid nevertheless, except for a null ACL list.
#[derive(Debug)]
pub(super) enum BadList {
    Bytes(BadBytes),
    NullAcl(BadBytes),
}

impl From<BadBytes> for BadList {
    fn from(bad: BadBytes) -> BadList {
        BadList::Bytes(bad)
    }
}

pub(super) fn decode(body: &[u8]) -> Result<List<'_>, BadList> {
    let mut r = Reader::new(body);
    let mut list = List::default();
    loop {
        let kind = r.int("type")?;
        let done = r.bool("done")?;
        r.int("err")?;
        if done {
            return Ok(list);
        }
        match OpCode::from_code(kind) {
            Some(OpCode::GetData) => list.reads.push(MultiReadOp::GetData { path: read(&mut r)? }),
            Some(OpCode::GetChildren) => {
                list.reads.push(MultiReadOp::GetChildren { path: read(&mut r)? });
            }
            Some(op) => list.writes.push(write(op, &mut r)?),
            None => return Err(foreign(&r, kind).into()),
        }
        if !list.reads.is_empty() && !list.writes.is_empty() {
            return Err(foreign(&r, kind).into());
        }
    }
}

/// A path to read; the watch flag behind it is ignored.
fn read<'a>(r: &mut Reader<'a>) -> Result<Option<&'a str>, BadBytes> {
    let path = r.string("path")?;
    r.bool("watch")?;
    Ok(path)
}

fn write(op: OpCode, r: &mut Reader<'_>) -> Result<MultiOp, BadList> {
    Ok(match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => MultiOp::Create(plain_create(op, r)?),
        OpCode::CreateTtl => MultiOp::Create(create(op, r)?),
        OpCode::Delete => MultiOp::Delete { path: owned_path(r)?, version: r.int("version")? },
        OpCode::SetData => MultiOp::SetData { path: owned_path(r)?, data: owned_data(r)?, version: r.int("version")? },
        OpCode::Check => MultiOp::Check { path: owned_path(r)?, version: r.int("version")? },
        other => return Err(foreign(r, other.code()).into()),
    })
}

/// Types 1, 15 and 19: TTL flags and unknown ones make the list bad. What flags make of a good one, and of type 21,
/// is decided where the list is carried out.
fn plain_create(op: OpCode, r: &mut Reader<'_>) -> Result<CreateOp, BadList> {
    let entry = create(op, r)?;
    let bad_flags = r.error("flags", Found::Value(entry.flags.into()));
    match CreateMode::from_flags(entry.flags) {
        None => Err(bad_flags.into()),
        Some(_) if entry.acl.is_none() => Err(BadList::NullAcl(r.error("acl", Found::Null))),
        Some(mode) if mode.is_ttl() => Err(bad_flags.into()),
        Some(_) => Ok(entry),
    }
}

fn foreign(r: &Reader<'_>, kind: i32) -> BadBytes {
    r.error("type in a list", Found::Value(kind.into()))
}

/// Whether an entry names a path at all.
pub(super) fn has_path(op: &MultiOp) -> bool {
    match op {
        MultiOp::Create(CreateOp { path, .. })
        | MultiOp::Delete { path, .. }
        | MultiOp::SetData { path, .. }
        | MultiOp::Check { path, .. } => path.is_some(),
    }
}

#[cfg(test)]
#[path = "multi_list_tests.rs"]
mod tests;
