//! setACL.

use super::legal_path;
use crate::message::TxnBody;
use crate::request::prepare::{Context, next_version};
use crate::tree::{TreeWriter, View};
use crate::types::{Acl, ErrorCode, Stat, StatPersisted, perms};

pub(in crate::request) fn prepare(
    view: View<'_>,
    path: Option<String>,
    acl: Option<Vec<Acl>>,
    version: i32,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    let access = &context.rules.access;
    context.check_session()?;
    let path = legal_path(path)?;
    let acl = access.fix_up(acl, context.by.ids)?;
    let node = view.lookup(&path).ok_or(ErrorCode::NoNode)?;
    access.check(node.acl(), perms::ADMIN, context.by.ids)?;
    let version = next_version(node.stat_persisted().aversion, version)?;
    Ok(TxnBody::SetAcl { path, acl: Some(acl), version })
}

/// `DataTree.setACL`: the list and its version, nothing else; nobody is notified.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    path: &str,
    acl: Option<&[Acl]>,
    version: i32,
) -> Result<Stat, ErrorCode> {
    let node = tree.view().lookup(path).ok_or(ErrorCode::NoNode)?;
    let stored = StatPersisted { aversion: version, ..node.stat_persisted() };
    let shown = Stat { aversion: version, ..node.stat() };
    tree.set_acl(path, acl, &stored);
    Ok(shown)
}
