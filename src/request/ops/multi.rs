//! multi: all of its operations or none, under one zxid and one time. Each operation is checked against the tree as
//! the ones before it left it; the first failure takes all of them back.

use super::{create, delete, set_data};
use crate::message::{Effect, MultiOp, MultiResult, SubTxn, TxnBody, TxnHeader, WriteResult};
use crate::request::apply::{change, moved_to, result_in_multi};
use crate::request::prepare::{Context, prepare_check, refused};
use crate::request::quota::Allowance;
use crate::tree::{TreeWriter, View};
use crate::types::ErrorCode;

pub(in crate::request) fn execute(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    ops: Vec<MultiOp>,
    context: &Context<'_>,
    mut effects: Option<&mut Vec<Effect>>,
) -> (TxnBody, Result<WriteResult, ErrorCode>) {
    let count = ops.len();
    let effects_before = effects.as_deref().map_or(0, Vec::len);
    let allowances = allowances(tree.view(), &ops, context);
    let mut bodies = Vec::with_capacity(count);
    let mut results = Vec::with_capacity(count);
    let savepoint = tree.savepoint();
    let mut failure = None;
    for (index, op) in ops.into_iter().enumerate() {
        let allowance = allowances.get(index).unwrap_or(&Allowance::Unlimited);
        let done = prepare(tree.view(), op, allowance, context).and_then(|body| {
            let stat = change(tree, header, &body, effects.as_deref_mut())?;
            Ok((body, stat))
        });
        match done {
            Ok((body, stat)) => {
                results.push(result_in_multi(&body, stat));
                bodies.push(SubTxn { body });
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let Some(error) = failure else {
        tree.release(savepoint);
        moved_to(tree, header.zxid);
        return (TxnBody::Multi(bodies), Ok(WriteResult::Multi(results)));
    };
    tree.rollback(savepoint);
    if let Some(effects) = effects {
        effects.truncate(effects_before);
    }
    if error == ErrorCode::MarshallingError {
        // Java met something it did not expect: the request fails as a whole, not one of its operations.
        return refused(tree, header, error);
    }
    moved_to(tree, header.zxid);
    failed(bodies, error, count)
}

/// Quota is checked against the usage before the multi, as in Java, where usage moves on only when a transaction is
/// applied.
fn allowances(view: View<'_>, ops: &[MultiOp], context: &Context<'_>) -> Vec<Allowance> {
    if !context.rules.enforce_quota {
        return Vec::new();
    }
    ops.iter()
        .map(|op| match op {
            MultiOp::Create(op) => context.allowance(view, op.path.as_deref()),
            MultiOp::SetData { path, .. } => context.allowance(view, path.as_deref()),
            MultiOp::Delete { .. } | MultiOp::Check { .. } => Allowance::Unlimited,
        })
        .collect()
}

fn prepare(view: View<'_>, op: MultiOp, allowance: &Allowance, context: &Context<'_>) -> Result<TxnBody, ErrorCode> {
    match op {
        MultiOp::Create(op) => create::prepare(view, op, allowance, context),
        MultiOp::Delete { path, version } => delete::prepare(view, path, version, context),
        MultiOp::SetData { path, data, version } => set_data::prepare(view, path, data, version, allowance, context),
        MultiOp::Check { path, version } => prepare_check(view, path, version, context),
    }
}

/// The transaction of a failed multi: the operations before the failing one as they were, it and the rest as errors.
fn failed(mut bodies: Vec<SubTxn>, error: ErrorCode, count: usize) -> (TxnBody, Result<WriteResult, ErrorCode>) {
    let code_at = |index: usize, failed_at: usize| match index {
        index if index == failed_at => error.code(),
        _ => ErrorCode::RuntimeInconsistency.code(),
    };
    let failed_at = bodies.len();
    bodies.extend((failed_at..count).map(|index| SubTxn { body: TxnBody::Error(code_at(index, failed_at)) }));
    let results = error_results(&bodies);
    (TxnBody::Multi(bodies), Ok(WriteResult::Multi(results)))
}

/// What each entry of a failed multi is answered with: 0 before the failing one, its code, -2 behind it.
pub(in crate::request) fn error_results(bodies: &[SubTxn]) -> Vec<MultiResult> {
    let codes = bodies.iter().scan(false, |failed, sub| {
        let code = match sub.body {
            TxnBody::Error(code) => {
                *failed = true;
                code
            }
            _ if *failed => ErrorCode::RuntimeInconsistency.code(),
            _ => 0,
        };
        Some(MultiResult::Error(code))
    });
    codes.collect()
}
