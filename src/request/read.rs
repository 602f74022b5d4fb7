//! Reads, answered from any version of the tree. Answers borrow from it: reading data or a stat allocates nothing.
//! Registering the watch a read asks for is the caller's business, at the same version: after success, and for `exists`
//! after `NoNode` too, but not after any other error.

use super::permission::{AccessRules, without_digest_hashes};
use crate::message::{MultiReadOp, MultiReadResult, ReadOp};
use crate::tree::{NodeRef, View};
use crate::types::{Acl, ErrorCode, Id, SessionId, Stat, path, perms};
use std::borrow::Cow;

/// Body of a read's reply.
#[derive(Clone)]
pub enum ReadAnswer<'a> {
    Stat(Stat),
    Data(Option<&'a [u8]>, Stat),
    Acl(Cow<'a, [Acl]>, Stat),
    /// The names of this node's children.
    Children(NodeRef<'a>),
    /// The names of this node's children, and its stat.
    ChildrenAndStat(NodeRef<'a>),
    Number(i32),
    Paths(Vec<&'a str>),
    MultiRead(Vec<MultiReadResult<'a>>),
}

/// Answers what the tree can answer. `None`: ping, sync, whoAmI and the operations on watches, which do not concern it.
/// A multiRead whose list was not one is refused with -5, and its reply still has a body, the end of an empty list.
pub fn read<'a>(
    view: View<'a>,
    op: &ReadOp<'_>,
    session: SessionId,
    ids: &[Id],
    access: &AccessRules,
) -> Option<Result<ReadAnswer<'a>, ErrorCode>> {
    Some(match op {
        ReadOp::Exists { path, .. } => exists(view, path, ids, access).map(ReadAnswer::Stat),
        ReadOp::GetData { path, .. } => {
            get_data(view, path, ids, access).map(|(data, stat)| ReadAnswer::Data(data, stat))
        }
        ReadOp::GetAcl { path } => get_acl(view, path, ids, access).map(|(acl, stat)| ReadAnswer::Acl(acl, stat)),
        ReadOp::GetChildren { path, .. } => get_children(view, path, ids, access).map(ReadAnswer::Children),
        ReadOp::GetChildren2 { path, .. } => get_children(view, path, ids, access).map(ReadAnswer::ChildrenAndStat),
        ReadOp::GetAllChildrenNumber { path } => {
            get_all_children_number(view, path, ids, access).map(ReadAnswer::Number)
        }
        ReadOp::GetEphemerals { prefix } => Ok(ReadAnswer::Paths(get_ephemerals(view, *prefix, session).collect())),
        ReadOp::MultiRead { ops: Some(ops) } => Ok(ReadAnswer::MultiRead(multi_read(view, ops, ids, access))),
        ReadOp::MultiRead { ops: None } => Err(ErrorCode::MarshallingError),
        ReadOp::Sync { .. }
        | ReadOp::Ping
        | ReadOp::WhoAmI
        | ReadOp::SetWatches(_)
        | ReadOp::AddWatch { .. }
        | ReadOp::CheckWatches { .. }
        | ReadOp::RemoveWatches { .. } => return None,
    })
}

pub fn exists(view: View<'_>, path: &str, ids: &[Id], access: &AccessRules) -> Result<Stat, ErrorCode> {
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    readable(view, path, ids, access).map(NodeRef::stat)
}

pub fn get_data<'a>(
    view: View<'a>,
    path: &str,
    ids: &[Id],
    access: &AccessRules,
) -> Result<(Option<&'a [u8]>, Stat), ErrorCode> {
    let node = readable(view, path, ids, access)?;
    Ok((node.data(), node.stat()))
}

/// Names and stat are to be taken from the node.
pub fn get_children<'a>(
    view: View<'a>,
    path: &str,
    ids: &[Id],
    access: &AccessRules,
) -> Result<NodeRef<'a>, ErrorCode> {
    readable(view, path, ids, access)
}

/// READ or ADMIN opens it; only ADMIN sees the hashes of digest ids.
pub fn get_acl<'a>(
    view: View<'a>,
    path: &str,
    ids: &[Id],
    access: &AccessRules,
) -> Result<(Cow<'a, [Acl]>, Stat), ErrorCode> {
    let node = view.lookup(path).ok_or(ErrorCode::NoNode)?;
    let acl: &'a [Acl] = node.acl();
    access.check(acl, perms::READ | perms::ADMIN, ids)?;
    let shown = match access.check(acl, perms::ADMIN, ids) {
        Ok(()) => Cow::Borrowed(acl),
        Err(_) => Cow::Owned(without_digest_hashes(acl)),
    };
    Ok((shown, node.stat()))
}

/// Everything below the node. Java counts by paths: the empty one, which reads as the root, counts the root as well.
pub fn get_all_children_number(view: View<'_>, path: &str, ids: &[Id], access: &AccessRules) -> Result<i32, ErrorCode> {
    let node = readable(view, path, ids, access)?;
    let count = match path {
        path::ROOT => view.node_count() - 1,
        "" => view.node_count(),
        _ => node.descendant_count(),
    };
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Ephemerals of the session that asks, by the beginning of their paths; null, blank and `/` mean all.
pub fn get_ephemerals<'a>(view: View<'a>, prefix: Option<&str>, session: SessionId) -> impl Iterator<Item = &'a str> {
    let prefix = match prefix {
        Some(prefix) if !matches!(prefix.trim(), "" | "/") => prefix,
        _ => "",
    };
    view.ephemerals(session).filter(move |path| path.starts_with(prefix))
}

/// Each item succeeds or fails for itself; a null path fails like any error inside a read.
pub fn multi_read<'a>(
    view: View<'a>,
    ops: &[MultiReadOp<'_>],
    ids: &[Id],
    access: &AccessRules,
) -> Vec<MultiReadResult<'a>> {
    let item = |op: &MultiReadOp<'_>| match *op {
        MultiReadOp::GetData { path } => {
            let path = path.ok_or(ErrorCode::MarshallingError)?;
            let (data, stat) = get_data(view, path, ids, access)?;
            Ok(MultiReadResult::Data(data, stat))
        }
        MultiReadOp::GetChildren { path } => {
            let path = path.ok_or(ErrorCode::MarshallingError)?;
            let node = get_children(view, path, ids, access)?;
            let names = node.children().map(NodeRef::name).collect();
            Ok(MultiReadResult::Children(names))
        }
    };
    ops.iter().map(|op| item(op).unwrap_or_else(MultiReadResult::Error)).collect()
}

fn readable<'a>(view: View<'a>, path: &str, ids: &[Id], access: &AccessRules) -> Result<NodeRef<'a>, ErrorCode> {
    let node = view.lookup(path).ok_or(ErrorCode::NoNode)?;
    access.check(node.acl(), perms::READ, ids)?;
    Ok(node)
}
