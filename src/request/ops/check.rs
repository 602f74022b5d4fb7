//! check, which exists only inside a multi and changes nothing.

use super::legal_path;
use crate::message::TxnBody;
use crate::request::prepare::{Context, next_version};
use crate::tree::View;
use crate::types::{ErrorCode, perms};

pub(in crate::request) fn prepare(
    view: View<'_>,
    path: Option<String>,
    version: i32,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    context.check_session()?;
    let path = legal_path(path)?;
    let node = view.lookup(&path).ok_or(ErrorCode::NoNode)?;
    let access = &context.rules.access;
    access.check(node.acl(), perms::READ, context.by.ids)?;
    let version = next_version(node.stat_persisted().version, version)?;
    Ok(TxnBody::Check { path, version })
}
