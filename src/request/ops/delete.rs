//! delete, and the sweeper's deleteContainer.

use super::rough_path;
use crate::message::{Effect, EffectKind, TxnBody, TxnHeader};
use crate::request::prepare::{Context, next_version};
use crate::request::quota;
use crate::tree::{NodeRef, ParentChange, TreeWriter, View};
use crate::types::{EphemeralOwner, ErrorCode, OpCode, StatPersisted, path, perms};

pub(in crate::request) fn prepare(
    view: View<'_>,
    path: Option<String>,
    version: i32,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    context.check_session()?;
    let path = deletable(rough_path(path)?)?;
    let parent = view.lookup(path::parent(&path)).ok_or(ErrorCode::NoNode)?;
    let access = &context.rules.access;
    access.check(parent.acl(), perms::DELETE, context.by.ids)?;
    let node = child(parent, &path).ok_or(ErrorCode::NoNode)?;
    next_version(node.stat_persisted().version, version)?;
    if node.child_count() > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    Ok(TxnBody::Delete { op: OpCode::Delete, path })
}

/// The sweeper's request has no session and no ids, so nothing of them is checked; it must still find the znode empty.
pub(in crate::request) fn prepare_container(view: View<'_>, path: String) -> Result<TxnBody, ErrorCode> {
    let path = deletable(rough_path(Some(path))?)?;
    let node = view.lookup(&path).ok_or(ErrorCode::NoNode)?;
    if node.child_count() > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    if let EphemeralOwner::Session(_) = node.owner() {
        return Err(ErrorCode::BadVersion);
    }
    Ok(TxnBody::Delete { op: OpCode::DeleteContainer, path })
}

/// The znodes every server has are not for deleting.
fn deletable(path: String) -> Result<String, ErrorCode> {
    match path.as_str() {
        path::ROOT | path::ZOOKEEPER | path::QUOTA | path::CONFIG => Err(ErrorCode::BadArguments),
        _ => Ok(path),
    }
}

fn child<'a>(parent: NodeRef<'a>, path: &str) -> Option<NodeRef<'a>> {
    let (_, name) = path::split(path)?;
    parent.child(name)
}

/// `DataTree.deleteNode`. A znode that is gone already still leaves its mark on the parent: a snapshot written while
/// writes went on may have it without the znode but with the parent from before.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    path: &str,
    effects: Option<&mut Vec<Effect>>,
) -> Result<(), ErrorCode> {
    let (parent_path, name) = path::split(path).ok_or(ErrorCode::NoNode)?;
    if name.is_empty() {
        return Err(ErrorCode::NoNode);
    }
    let view = tree.view();
    let parent = view.lookup(parent_path).ok_or(ErrorCode::NoNode)?;
    let parent_stat = parent.stat_persisted();
    let pzxid = parent_stat.pzxid.max(header.zxid);
    let Some(node) = parent.child(name) else {
        let stat = StatPersisted { pzxid, ..parent_stat };
        tree.set_stat(parent_path, &stat);
        return Err(ErrorCode::NoNode);
    };
    let bytes = node.data().map_or(0, <[u8]>::len) as i64;
    let effect = effects.is_some().then(|| Effect {
        zxid: header.zxid,
        kind: EffectKind::Deleted,
        path: path.into(),
        acl: node.acl().clone(),
        parent_acl: Some(parent.acl().clone()),
    });
    let parent_change = ParentChange { cversion: None, pzxid: Some(pzxid) };
    tree.remove(path, parent_change);
    quota::record_change(tree, path, -1, -bytes);
    if let Some(effects) = effects {
        effects.extend(effect);
    }
    Ok(())
}
