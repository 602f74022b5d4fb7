//! multi: all of its operations or none, under one zxid and one time. Each operation is checked against the tree as
//! the ones before it left it; the first failure takes all of them back.

use super::{check, create, delete, set_data};
use crate::message::{CreateOp, Effect, MultiOp, MultiResult, SubTxn, TxnBody, TxnHeader, WriteResult};
use crate::request::apply::{change, moved_to, result_in_multi};
use crate::request::prepare::{Context, refused};
use crate::request::quota::Allowance;
use crate::tree::{TreeWriter, View};
use crate::types::{CreateMode, ErrorCode, OpCode};

pub(in crate::request) fn execute(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    mut ops: Vec<MultiOp>,
    context: &Context<'_>,
    mut effects: Option<&mut Vec<Effect>>,
) -> (TxnBody, Result<WriteResult, ErrorCode>) {
    if let Err(error) = ops.iter_mut().try_for_each(as_java_reads_it) {
        return refused(tree, header, error);
    }
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

/// Java builds each operation anew from what it reads, and fails as a whole on what it can not build: a null path, and in
/// the creates that have no TTL flags that ask for one, unknown flags and a null ACL.
fn as_java_reads_it(op: &mut MultiOp) -> Result<(), ErrorCode> {
    let (MultiOp::Create(CreateOp { path, .. })
    | MultiOp::Delete { path, .. }
    | MultiOp::SetData { path, .. }
    | MultiOp::Check { path, .. }) = &*op;
    if path.is_none() {
        return Err(ErrorCode::MarshallingError);
    }
    let MultiOp::Create(create) = op else {
        return Ok(());
    };
    create.op = java_op_code(create)?;
    Ok(())
}

/// The flags outrank the opcode.
fn java_op_code(create: &CreateOp) -> Result<OpCode, ErrorCode> {
    let mode = CreateMode::from_flags(create.flags);
    let is_ttl = mode.is_some_and(CreateMode::is_ttl);
    if create.op != OpCode::CreateTtl && (mode.is_none() || is_ttl || create.acl.is_none()) {
        return Err(ErrorCode::MarshallingError);
    }
    Ok(match (create.op, mode) {
        (_, Some(CreateMode::Container)) => OpCode::CreateContainer,
        (OpCode::CreateTtl, _) if !is_ttl => OpCode::Create,
        (op, _) => op,
    })
}

/// Whether one of the operations is a create or create2 of an ephemeral, in a multi that Java can read.
pub(in crate::request) fn creates_ephemeral(ops: &[MultiOp]) -> bool {
    let mut found = false;
    for op in ops {
        let MultiOp::Create(create) = op else { continue };
        match java_op_code(create) {
            Ok(code) => found |= super::create::makes_ephemeral(code, create.flags),
            Err(_) => return false,
        }
    }
    found
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
        MultiOp::Check { path, version } => check::prepare(view, path, version, context),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{EffectKind, WriteOp};
    use crate::request::testbed::{Testbed, check, codes, create, create_op, delete, in_multi, set_data};
    use crate::types::{EphemeralOwner, Zxid};

    fn multi(ops: Vec<MultiOp>) -> WriteOp {
        WriteOp::Multi(ops)
    }

    fn code(error: ErrorCode) -> Option<i32> {
        Some(error.code())
    }

    #[test]
    fn later_operations_see_earlier_ones_and_all_share_a_zxid() {
        let mut bed = Testbed::default();
        let result = bed.run(multi(vec![
            in_multi(create("/q", 0)),
            in_multi(create("/q/n-", 2)),
            in_multi(create("/q/n-", 2)),
            in_multi(delete("/q/n-0000000000", 0)),
            in_multi(set_data("/q", "zz", 0)),
            check("/q", 1),
        ]));
        let stat = bed.stat("/q");
        assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (Zxid(1), Zxid(1), Zxid(1)));
        let shown = |path: &str| MultiResult::Create(path.to_owned());
        let expected = vec![
            shown("/q"),
            shown("/q/n-0000000000"),
            shown("/q/n-0000000001"),
            MultiResult::Delete,
            MultiResult::SetData(stat),
            MultiResult::Check,
        ];
        assert_eq!(result, Ok(WriteResult::Multi(expected)));
        assert_eq!(
            bed.changes(),
            [
                (EffectKind::Created, "/q"),
                (EffectKind::Created, "/q/n-0000000000"),
                (EffectKind::Created, "/q/n-0000000001"),
                (EffectKind::Deleted, "/q/n-0000000000"),
                (EffectKind::DataChanged, "/q"),
            ]
        );
    }

    #[test]
    fn a_failure_takes_everything_back() {
        let mut bed = Testbed::default();
        bed.add("/a");
        let digest = bed.view().digest();
        let result = bed.run(multi(vec![
            in_multi(create("/e", 1)),
            in_multi(set_data("/a", "changed", 0)),
            check("/a", 7),
            in_multi(create("/b", 0)),
            check("", 0),
        ]));
        let after = code(ErrorCode::RuntimeInconsistency);
        assert_eq!(codes(result), [Some(0), Some(0), code(ErrorCode::BadVersion), after, after]);
        assert_eq!(bed.view().digest(), digest);
        assert!(bed.view().lookup("/e").is_none());
        assert_eq!(bed.data("/a"), "");
        assert!(bed.effects.is_empty());
        let TxnBody::Multi(subs) = &bed.body else { panic!("{:?}", bed.body) };
        let types: Vec<_> = subs.iter().map(|sub| sub.body.op_code()).collect();
        let error = OpCode::Error;
        assert_eq!(types, [OpCode::Create, OpCode::SetData, error, error, error]);
        assert_eq!(subs[2].body, TxnBody::Error(-103));
    }

    #[test]
    fn an_empty_multi_succeeds_and_takes_a_zxid() {
        let mut bed = Testbed::default();
        let result = bed.run(multi(vec![]));
        assert_eq!(result, Ok(WriteResult::Multi(vec![])));
        assert_eq!(bed.view().last_zxid(), Zxid(1));
        assert_eq!(bed.run(WriteOp::BadMulti), Err(ErrorCode::MarshallingError));
        assert_eq!(bed.view().last_zxid(), Zxid(2));
    }

    #[test]
    fn a_session_that_may_not_write_fails_the_first_operation() {
        let mut bed = Testbed::default();
        bed.refusal = Some(ErrorCode::SessionExpired);
        let result = bed.run(multi(vec![check("/", -1), check("/", -1)]));
        let after = code(ErrorCode::RuntimeInconsistency);
        assert_eq!(codes(result), [code(ErrorCode::SessionExpired), after]);
    }

    /// As `QuorumZooKeeperServer.checkUpgradeSession` reads them: by their own opcodes, those in a multi by their flags.
    #[test]
    fn what_makes_a_session_global() {
        let wants = |op: &WriteOp| crate::request::wants_global_session(op);
        let by = |op, flags| CreateOp { op, ttl_ms: 50, ..create_op("/x", flags) };
        for (op, flags, alone, in_multi) in [
            (OpCode::Create, 0, false, false),
            (OpCode::Create, 1, true, true),
            (OpCode::Create2, 3, true, true),
            (OpCode::Create2, 2, false, false),
            (OpCode::Create, 4, false, false),
            (OpCode::Create, 9, false, false),
            (OpCode::CreateContainer, 1, false, false),
            (OpCode::CreateTtl, 1, false, true),
            (OpCode::CreateTtl, 5, false, false),
        ] {
            assert_eq!(wants(&WriteOp::Create(by(op, flags))), alone, "{op:?} {flags}");
            let ops = vec![check("/", -1), MultiOp::Create(by(op, flags))];
            assert_eq!(wants(&multi(ops)), in_multi, "{op:?} {flags} in a multi");
        }
        // One that Java cannot read is no reason.
        let unreadable = CreateOp { flags: 9, ..create_op("/x", 1) };
        let ops = vec![MultiOp::Create(create_op("/x", 1)), MultiOp::Create(unreadable)];
        assert!(!wants(&multi(ops)));
        assert!(!wants(&delete("/x", -1)));
    }

    /// opcode and flags in, owner and kind of answer out; what a running Java server does.
    #[test]
    fn inside_a_multi_flags_outrank_the_opcode() {
        let mut bed = Testbed::default();
        let container = EphemeralOwner::Container;
        let persistent = EphemeralOwner::Persistent;
        let ttl = EphemeralOwner::Ttl { ttl_ms: 50 };
        for (op, flags, ttl_ms, owner, answered) in [
            (OpCode::Create, 0, -1, persistent, OpCode::Create),
            (OpCode::Create, 4, -1, container, OpCode::Create2),
            (OpCode::Create2, 0, -1, persistent, OpCode::Create2),
            (OpCode::Create2, 4, -1, container, OpCode::Create2),
            (OpCode::CreateContainer, 0, -1, container, OpCode::Create2),
            (OpCode::CreateContainer, 1, -1, container, OpCode::Create2),
            (OpCode::CreateTtl, 0, 50, persistent, OpCode::Create),
            (OpCode::CreateTtl, 4, 50, container, OpCode::Create2),
            (OpCode::CreateTtl, 5, 50, ttl, OpCode::Create2),
        ] {
            let create = CreateOp { op, ttl_ms, ..create_op("/x", flags) };
            let result = bed.run(multi(vec![MultiOp::Create(create)]));
            let Ok(WriteResult::Multi(results)) = result else { panic!("{op:?} {flags}: {result:?}") };
            assert_eq!(results[0].op_code(), answered, "{op:?} {flags}");
            assert_eq!(bed.view().lookup("/x").expect("there").owner(), owner);
            bed.run(delete("/x", -1)).expect("deleted");
        }
    }

    #[test]
    fn what_java_can_not_build_fails_the_whole_request() {
        let mut bed = Testbed::default();
        let creating = |op, flags| MultiOp::Create(CreateOp { op, ..create_op("/x", flags) });
        let no_acl = MultiOp::Create(CreateOp { acl: None, ..create_op("/x", 0) });
        for bad in [
            creating(OpCode::Create, 9),
            creating(OpCode::Create2, 5),
            creating(OpCode::CreateContainer, 6),
            no_acl,
            MultiOp::Delete { path: None, version: 0 },
            MultiOp::Check { path: None, version: 0 },
        ] {
            // Even behind an operation that fails by itself.
            let ops = vec![check("/none", 0), bad.clone()];
            let result = bed.run(multi(ops));
            assert_eq!(result, Err(ErrorCode::MarshallingError), "{bad:?}");
        }
        // A createTTL Java can always build: bad flags and a null ACL are that entry's own error.
        let ttl_with_bad_flags = bed.run(multi(vec![creating(OpCode::CreateTtl, 9)]));
        assert_eq!(codes(ttl_with_bad_flags), [code(ErrorCode::BadArguments)]);
        for flags in [0, 4, 5] {
            let op = OpCode::CreateTtl;
            let create = CreateOp { op, ttl_ms: 5, acl: None, ..create_op("/x", flags) };
            let without_acl = bed.run(multi(vec![MultiOp::Create(create)]));
            assert_eq!(codes(without_acl), [code(ErrorCode::InvalidAcl)], "{flags}");
        }
    }

    /// As the log may hold it, replayed over a state that has part of it already.
    #[test]
    fn a_replayed_multi_applies_what_it_can_unless_it_had_failed() {
        use crate::request::{apply, replay};
        let mut bed = Testbed::default();
        bed.add("/a");
        let sub = |body| SubTxn { body };
        let deleted = |path: &str| sub(TxnBody::Delete { op: OpCode::Delete, path: path.to_owned() });
        let header = bed.header(crate::request::testbed::BOB);
        let failed = vec![deleted("/a"), sub(TxnBody::Error(-110)), deleted("/b")];
        replay(&mut bed.tree, &header, &TxnBody::Multi(failed.clone()));
        assert!(bed.view().lookup("/a").is_some());
        let result = apply(&mut bed.tree, &header, &TxnBody::Multi(failed), None);
        assert_eq!(codes(result), [Some(0), Some(-110), Some(-2)]);
        let good = vec![deleted("/none"), deleted("/a")];
        replay(&mut bed.tree, &header, &TxnBody::Multi(good));
        assert!(bed.view().lookup("/a").is_none());
        assert_eq!(bed.view().last_zxid(), header.zxid);
    }
}
