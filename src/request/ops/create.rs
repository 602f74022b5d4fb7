//! create, create2, createContainer and createTTL.

use super::rough_path;
use crate::message::{CreateOp, Effect, EffectKind, TxnBody, TxnHeader};
use crate::request::prepare::Context;
use crate::request::quota::{self, Allowance};
use crate::tree::{InsertError, NodeRef, ParentChange, TreeWriter, View};
use crate::types::{Acl, CreateMode, EphemeralOwner, ErrorCode, OpCode, Stat, StatPersisted, path, perms};
use std::fmt::Write;

/// Digits of a sequence number; a negative one has its sign among them.
const SEQUENCE_DIGITS: usize = 10;

pub(in crate::request) fn prepare(
    view: View<'_>,
    op: CreateOp,
    allowance: &Allowance,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    let access = &context.rules.access;
    let mode = legal_mode(&op, context)?;
    context.check_session()?;
    let path = rough_path(op.path)?;
    let acl = access.fix_up(op.acl, context.by.ids)?;
    let parent = view.lookup(path::parent(&path)).ok_or(ErrorCode::NoNode)?;
    access.check(parent.acl(), perms::CREATE, context.by.ids)?;
    let parent_cversion = parent.stat_persisted().cversion;
    let path = final_path(path, mode, parent_cversion)?;
    check_place(parent, &path)?;
    allowance.check(1, bytes(op.data.as_deref()))?;

    let parent_cversion = parent_cversion.wrapping_add(1);
    let (data, acl) = (op.data, Some(acl));
    Ok(match op.op {
        OpCode::CreateContainer => TxnBody::CreateContainer { path, data, acl, parent_cversion },
        OpCode::CreateTtl => TxnBody::CreateTtl { path, data, acl, parent_cversion, ttl_ms: op.ttl_ms },
        op => TxnBody::Create { op, path, data, acl, ephemeral: mode.is_ephemeral(), parent_cversion },
    })
}

/// Flags, and what they ask of the TTL. A createTTL without a TTL mode would break a Java server when it applies it.
fn legal_mode(op: &CreateOp, context: &Context<'_>) -> Result<CreateMode, ErrorCode> {
    let mode = CreateMode::from_flags(op.flags).ok_or(ErrorCode::BadArguments)?;
    if mode.is_ttl() && !context.rules.owner.extended_types {
        return Err(ErrorCode::Unimplemented);
    }
    let is_ttl_op = op.op == OpCode::CreateTtl;
    let ttl_is_legal = (1..=EphemeralOwner::TTL_MS_MAX).contains(&op.ttl_ms);
    if mode.is_ttl() != is_ttl_op || (is_ttl_op && !ttl_is_legal) {
        return Err(ErrorCode::BadArguments);
    }
    Ok(mode)
}

/// The path with its sequence number, validated in full only now: a sequential `/a/` is legal.
fn final_path(mut path: String, mode: CreateMode, parent_cversion: i32) -> Result<String, ErrorCode> {
    if mode.is_sequential() {
        path.reserve_exact(SEQUENCE_DIGITS + 1);
        write!(path, "{parent_cversion:0SEQUENCE_DIGITS$}").expect("a string takes what it is given");
    }
    if path::validate(&path).is_err() || quota::create_breaks_java(&path) {
        return Err(ErrorCode::BadArguments);
    }
    Ok(path)
}

fn check_place(parent: NodeRef<'_>, path: &str) -> Result<(), ErrorCode> {
    let (_, name) = path::split(path).ok_or(ErrorCode::BadArguments)?;
    // Only the root itself has no name.
    if name.is_empty() || parent.child(name).is_some() {
        return Err(ErrorCode::NodeExists);
    }
    match parent.owner() {
        EphemeralOwner::Session(_) => Err(ErrorCode::NoChildrenForEphemerals),
        _ => Ok(()),
    }
}

fn bytes(data: Option<&[u8]>) -> i64 {
    data.map_or(0, <[u8]>::len) as i64
}

/// A znode as a transaction describes it.
pub(in crate::request) struct NewNode<'a> {
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: Option<&'a [Acl]>,
    pub owner: EphemeralOwner,
    /// Number of creates under the parent, this one included; -1 = one more than now (logs before 3.4).
    pub parent_cversion: i32,
    /// Type 1 only: when the znode is there already, the parent's count is raised all the same.
    pub raises_parent_if_exists: bool,
}

/// `DataTree.createNode`, and what `processTxn` does when the znode is there already, which happens when a log is
/// replayed over a snapshot that was written while writes went on.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    new: &NewNode<'_>,
    effects: Option<&mut Vec<Effect>>,
) -> Result<Stat, ErrorCode> {
    let (parent_path, name) = path::split(new.path).ok_or(ErrorCode::NoNode)?;
    let parent = tree.view().lookup(parent_path).ok_or(ErrorCode::NoNode)?;
    let parent = parent.stat_persisted();
    let parent_change = parent_change(&parent, new.parent_cversion, header);
    let stat = StatPersisted {
        czxid: header.zxid,
        mzxid: header.zxid,
        pzxid: header.zxid,
        ctime: header.time.0,
        mtime: header.time.0,
        ephemeral_owner: new.owner.to_raw(),
        ..StatPersisted::default()
    };
    match tree.insert(new.path, new.data, new.acl, &stat, parent_change) {
        Ok(()) => {}
        Err(InsertError::NoParent) => return Err(ErrorCode::NoNode),
        Err(InsertError::Exists) => {
            meet_existing(tree, new, parent_path, &parent, parent_change);
            return Err(ErrorCode::NodeExists);
        }
    }
    quota::record_creation(tree, new.path);
    quota::record_change(tree, new.path, 1, bytes(new.data));
    if let Some(effects) = effects {
        effects.extend(created(tree.view(), header, new.path, parent_path, name));
    }
    Ok(shown(&stat, new))
}

/// The parent's count never goes back, so that replaying an old create over a newer state changes nothing.
fn parent_change(parent: &StatPersisted, cversion: i32, header: &TxnHeader) -> ParentChange {
    let cversion = match cversion {
        -1 => parent.cversion.wrapping_add(1),
        given => given,
    };
    if cversion <= parent.cversion {
        return ParentChange::default();
    }
    ParentChange { cversion: Some(cversion), pzxid: Some(header.zxid) }
}

/// The znode in place takes the transaction's ACL: a snapshot may hold it with a key from before.
fn meet_existing(
    tree: &mut TreeWriter,
    new: &NewNode<'_>,
    parent_path: &str,
    parent: &StatPersisted,
    change: ParentChange,
) {
    let existing = tree.view().lookup(new.path).map(NodeRef::stat_persisted);
    if let Some(stat) = existing {
        tree.set_acl(new.path, new.acl, &stat);
    }
    if let (true, Some(cversion), Some(pzxid)) = (new.raises_parent_if_exists, change.cversion, change.pzxid) {
        let raised = StatPersisted { cversion, pzxid, ..*parent };
        tree.set_stat(parent_path, &raised);
    }
}

fn created(view: View<'_>, header: &TxnHeader, path: &str, parent_path: &str, name: &str) -> Option<Effect> {
    let parent = view.lookup(parent_path)?;
    Some(Effect {
        zxid: header.zxid,
        kind: EffectKind::Created,
        path: path.into(),
        acl: parent.child(name)?.acl().clone(),
        parent_acl: Some(parent.acl().clone()),
    })
}

/// A new znode as clients see it.
fn shown(stat: &StatPersisted, new: &NewNode<'_>) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        ephemeral_owner: new.owner.shown(),
        data_length: bytes(new.data) as i32,
        ..Stat::default()
    }
}
