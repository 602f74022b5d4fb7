//! setData, and the change a reconfig makes to `/zookeeper/config`.

use super::legal_path;
use crate::message::{Effect, EffectKind, TxnBody, TxnHeader};
use crate::request::prepare::{Context, next_version};
use crate::request::quota::{self, Allowance};
use crate::tree::{TreeWriter, View};
use crate::types::{ErrorCode, OpCode, Stat, StatPersisted, perms};

pub(in crate::request) fn prepare(
    view: View<'_>,
    path: Option<String>,
    data: Option<Vec<u8>>,
    version: i32,
    allowance: &Allowance,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    context.check_session()?;
    let path = legal_path(path)?;
    let node = view.lookup(&path).ok_or(ErrorCode::NoNode)?;
    let access = &context.rules.access;
    access.check(node.acl(), perms::WRITE, context.by.ids)?;
    if quota::set_data_breaks_java(&path, data.as_deref()) {
        return Err(ErrorCode::BadArguments);
    }
    allowance.check(0, bytes(data.as_deref()) - bytes(node.data()))?;
    let version = next_version(node.stat_persisted().version, version)?;
    Ok(TxnBody::SetData { op: OpCode::SetData, path, data, version })
}

fn bytes(data: Option<&[u8]>) -> i64 {
    data.map_or(0, <[u8]>::len) as i64
}

/// `DataTree.setData`: applied whatever the znode's version is, since a replay ends at the newest one anyway.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    path: &str,
    data: Option<&[u8]>,
    version: i32,
    effects: Option<&mut Vec<Effect>>,
) -> Result<Stat, ErrorCode> {
    let node = tree.view().lookup(path).ok_or(ErrorCode::NoNode)?;
    let stored = StatPersisted { mzxid: header.zxid, mtime: header.time.0, version, ..node.stat_persisted() };
    let shown =
        Stat { mzxid: stored.mzxid, mtime: stored.mtime, version, data_length: bytes(data) as i32, ..node.stat() };
    let more_bytes = bytes(data) - bytes(node.data());
    if let Some(effects) = effects {
        effects.push(Effect {
            zxid: header.zxid,
            kind: EffectKind::DataChanged,
            path: path.into(),
            acl: node.acl().clone(),
            parent_acl: None,
        });
    }
    tree.set_data(path, data, &stored);
    quota::record_change(tree, path, 0, more_bytes);
    Ok(shown)
}
