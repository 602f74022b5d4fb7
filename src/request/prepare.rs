//! The leader's side of a write (`PrepRequestProcessor`): checks, then the transaction, applied at once to the
//! writer's unpublished head. There is no table of pending changes: the head is the state after everything that was
//! prepared before.
//!
//! Every write that could be decoded takes a zxid, refused ones too; a refusal is a transaction of its own. That keeps
//! zxids free of gaps, which followers rely on.

use super::apply::apply;
use super::ops::{create, delete, multi, reconfig, session, set_acl, set_data};
use super::permission::AccessRules;
use super::quota::{self, Allowance};
use crate::message::{Effect, Outcome, Txn, TxnBody, TxnDigest, TxnHeader, WriteOp, WriteResult};
use crate::tree::{TreeWriter, View};
use crate::types::{ErrorCode, Id, OwnerRules};

/// The settings that decide what a request does; fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRules {
    pub access: AccessRules,
    /// `zookeeper.extendedTypesEnabled` and `zookeeper.emulate353TTLNodes`
    pub owner: OwnerRules,
    /// `zookeeper.enforceQuota`
    pub enforce_quota: bool,
    /// `reconfigEnabled`
    pub reconfig_enabled: bool,
    /// `zookeeper.closeSessionTxn.enabled`: closing a session names the ephemerals that go with it.
    pub close_session_list: bool,
    /// `zookeeper.digest.enabled`
    pub digest: bool,
    /// `jute.maxbuffer`: a closeSession that would be longer goes without its list.
    pub jute_bytes_max: usize,
}

impl Default for RequestRules {
    fn default() -> RequestRules {
        RequestRules {
            access: AccessRules::default(),
            owner: OwnerRules::default(),
            enforce_quota: false,
            reconfig_enabled: false,
            close_session_list: true,
            digest: true,
            jute_bytes_max: 0xf_ffff,
        }
    }
}

/// Who asks for a write.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    pub ids: &'a [Id],
    /// Why the session may not write, if so: -112 when it is closing or unknown, -118 when it has moved. Reported
    /// where the operation's order of checks has the session.
    pub refusal: Option<ErrorCode>,
    /// Why the session may not own an ephemeral, if so: -112 when only another server knows it, -120 when it is local and
    /// must stay so. It stands in front of `refusal`.
    pub ephemeral_refusal: Option<ErrorCode>,
}

impl<'a> Requester<'a> {
    /// Whose session may do whatever the ids may.
    pub fn granted(ids: &'a [Id]) -> Requester<'a> {
        Requester { ids, refusal: None, ephemeral_refusal: None }
    }
}

/// What the checks of an operation look at besides the tree.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub by: Requester<'a>,
    pub rules: &'a RequestRules,
}

impl Context<'_> {
    pub fn check_session(&self) -> Result<(), ErrorCode> {
        self.by.refusal.map_or(Ok(()), Err)
    }

    /// Of a session that is to own what it creates.
    pub fn check_ephemeral_session(&self) -> Result<(), ErrorCode> {
        self.by.ephemeral_refusal.map_or_else(|| self.check_session(), Err)
    }

    pub fn allowance(&self, view: View<'_>, path: Option<&str>) -> Allowance {
        match path {
            Some(path) if self.rules.enforce_quota => quota::allowance(view, path),
            _ => Allowance::Unlimited,
        }
    }
}

/// A write that was done, or refused: the transaction for the log, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub txn: Txn,
    pub outcome: Outcome,
}

/// Checks `op` against the head and applies it there. `effects` is `None` where nobody watches.
pub fn execute(
    tree: &mut TreeWriter,
    header: TxnHeader,
    op: WriteOp,
    by: Requester<'_>,
    rules: &RequestRules,
    effects: Option<&mut Vec<Effect>>,
) -> Executed {
    let context = Context { by, rules };
    match op {
        WriteOp::Multi(ops) => {
            let (body, result) = multi::execute(tree, &header, ops, &context, effects);
            finished(tree, header, body, result, rules)
        }
        op => {
            let decided = prepare(tree.view(), op, &context);
            execute_body(tree, header, decided, rules, effects)
        }
    }
}

/// What was decided elsewhere, applied as a transaction.
pub(super) fn execute_body(
    tree: &mut TreeWriter,
    header: TxnHeader,
    decided: Result<TxnBody, ErrorCode>,
    rules: &RequestRules,
    effects: Option<&mut Vec<Effect>>,
) -> Executed {
    let (body, result) = match decided {
        Ok(body) => {
            let result = apply(tree, &header, &body, effects);
            (body, result)
        }
        Err(error) => refused(tree, &header, error),
    };
    finished(tree, header, body, result, rules)
}

/// The checks of one operation, in the order of the sheet's §11.
fn prepare(view: View<'_>, op: WriteOp, context: &Context<'_>) -> Result<TxnBody, ErrorCode> {
    match op {
        WriteOp::Create(op) => {
            let allowance = context.allowance(view, op.path.as_deref());
            create::prepare(view, op, &allowance, context)
        }
        WriteOp::Delete { path, version } => delete::prepare(view, path, version, context),
        WriteOp::DeleteContainer { path } => delete::prepare_container(view, path),
        WriteOp::SetData { path, data, version } => {
            let allowance = context.allowance(view, path.as_deref());
            set_data::prepare(view, path, data, version, &allowance, context)
        }
        WriteOp::SetAcl { path, acl, version } => set_acl::prepare(view, path, acl, version, context),
        WriteOp::Reconfig { .. } => reconfig::prepare_standalone(context),
        WriteOp::BadMulti => Err(ErrorCode::MarshallingError),
        WriteOp::Multi(_) => unreachable!("a multi is checked and applied step by step"),
    }
}

/// Whether the session needs to be known to all servers for this, since it would own an ephemeral.
pub fn wants_global_session(op: &WriteOp) -> bool {
    match op {
        WriteOp::Create(op) => create::makes_ephemeral(op.op, op.flags),
        WriteOp::Multi(ops) => multi::creates_ephemeral(ops),
        _ => false,
    }
}

/// Opens a session with `timeout_ms`; the answer to the client is the caller's.
pub fn create_session(tree: &mut TreeWriter, header: TxnHeader, timeout_ms: i32, rules: &RequestRules) -> Executed {
    let body = TxnBody::CreateSession { timeout_ms };
    let result = apply(tree, &header, &body, None);
    finished(tree, header, body, result, rules)
}

/// Ends the session of `header` and with it its ephemerals; there is nothing to check.
pub fn close_session(
    tree: &mut TreeWriter,
    header: TxnHeader,
    rules: &RequestRules,
    effects: Option<&mut Vec<Effect>>,
) -> Executed {
    let body = session::prepare_close(tree.view(), header.session, rules);
    let result = apply(tree, &header, &body, effects);
    finished(tree, header, body, result, rules)
}

/// A refusal as a transaction: it moves the zxid on and nothing else.
pub(super) fn refused(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    error: ErrorCode,
) -> (TxnBody, Result<WriteResult, ErrorCode>) {
    let body = TxnBody::Error(error.code());
    let applied = apply(tree, header, &body, None);
    debug_assert_eq!(applied, Ok(WriteResult::Nothing));
    (body, Err(error))
}

fn finished(
    tree: &TreeWriter,
    header: TxnHeader,
    body: TxnBody,
    result: Result<WriteResult, ErrorCode>,
    rules: &RequestRules,
) -> Executed {
    // A digest behind a closeSession without its list would be read as the list.
    let carries_digest = !matches!(body, TxnBody::Error(_) | TxnBody::CloseSession { paths: None });
    let digest =
        (rules.digest && carries_digest).then(|| TxnDigest { version: TxnDigest::VERSION, tree: tree.view().digest() });
    Executed { outcome: Outcome { zxid: header.zxid, result }, txn: Txn { header, body, digest } }
}

/// `checkAndIncVersion`: -1 accepts any version; the next one wraps.
pub(super) fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}
