//! What a transaction changes (`DataTree.processTxn`). The same code serves the server that prepared it, servers
//! that were sent it, and a replay of the log over a snapshot that may already hold part of it; hence every case in
//! which the tree does not look as the transaction expects is an error of that transaction and never of the server.

use super::ops::create::NewNode;
use super::ops::{create, delete, multi, session, set_acl, set_data};
use crate::message::{Effect, MultiResult, SubTxn, TxnBody, TxnHeader, WriteResult};
use crate::tree::TreeWriter;
use crate::types::{EphemeralOwner, ErrorCode, OpCode, SessionId, Stat, WallMillis, Zxid};

/// Applies a transaction and says what its client is to be told. An error transaction comes to nothing here: its code
/// is its answer.
pub fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    body: &TxnBody,
    effects: Option<&mut Vec<Effect>>,
) -> Result<WriteResult, ErrorCode> {
    let result = match body {
        TxnBody::Multi(subs) => Ok(WriteResult::Multi(apply_multi(tree, header, subs, effects))),
        body => change(tree, header, body, effects).map(|stat| result(body, stat)),
    };
    moved_to(tree, header.zxid);
    result
}

/// Applies a transaction from the log, whose failures were dealt with when it was written.
pub fn replay(tree: &mut TreeWriter, header: &TxnHeader, body: &TxnBody) {
    match body {
        TxnBody::Multi(subs) if failed(subs) => {}
        TxnBody::Multi(subs) => {
            for sub in subs {
                let _ = change(tree, header, &sub.body, None);
            }
        }
        body => drop(change(tree, header, body, None)),
    }
    moved_to(tree, header.zxid);
}

/// Deletes the ephemerals of a session that is not alive, as every server does that loads this state
/// (`DataTree.killSession`): without a transaction, marked with the last zxid.
pub fn kill_session(tree: &mut TreeWriter, session: SessionId) {
    let zxid = tree.view().last_zxid();
    let header = TxnHeader { session, cxid: 0, zxid, time: WallMillis(0) };
    session::apply_close(tree, &header, None, None);
}

/// The tree has seen the whole transaction. Its zxid never goes back.
pub(super) fn moved_to(tree: &mut TreeWriter, zxid: Zxid) {
    if zxid > tree.view().last_zxid() {
        tree.set_last_zxid(zxid);
    }
}

/// One change that is not a multi; the stat of the znode where the answer has one.
pub(super) fn change(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    body: &TxnBody,
    effects: Option<&mut Vec<Effect>>,
) -> Result<Option<Stat>, ErrorCode> {
    if let Some(new) = new_node(header, body) {
        return create::apply(tree, header, &new, effects).map(Some);
    }
    match body {
        TxnBody::Delete { path, .. } => {
            delete::apply(tree, header, path, effects)?;
            Ok(None)
        }
        TxnBody::SetData { path, data, version, .. } => {
            set_data::apply(tree, header, path, data.as_deref(), *version, effects).map(Some)
        }
        TxnBody::SetAcl { path, acl, version } => set_acl::apply(tree, path, acl.as_deref(), *version).map(Some),
        TxnBody::CreateSession { timeout_ms } => {
            tree.add_session(header.session, *timeout_ms);
            Ok(None)
        }
        TxnBody::CloseSession { paths } => {
            session::apply_close(tree, header, paths.as_deref(), effects);
            Ok(None)
        }
        // A multi inside a multi can not be decoded; checks and errors change nothing.
        _ => Ok(None),
    }
}

fn new_node<'a>(header: &TxnHeader, body: &'a TxnBody) -> Option<NewNode<'a>> {
    let (path, data, acl, owner, parent_cversion) = match body {
        TxnBody::Create { path, data, acl, ephemeral, parent_cversion, .. } => {
            let owner = match ephemeral {
                true => EphemeralOwner::Session(header.session),
                false => EphemeralOwner::Persistent,
            };
            (path, data, acl, owner, parent_cversion)
        }
        TxnBody::CreateContainer { path, data, acl, parent_cversion } => {
            (path, data, acl, EphemeralOwner::Container, parent_cversion)
        }
        TxnBody::CreateTtl { path, data, acl, parent_cversion, ttl_ms } => {
            let ttl_ms = ttl_ms & EphemeralOwner::TTL_MS_MAX;
            (path, data, acl, EphemeralOwner::Ttl { ttl_ms }, parent_cversion)
        }
        _ => return None,
    };
    Some(NewNode {
        path,
        data: data.as_deref(),
        acl: acl.as_deref(),
        owner,
        parent_cversion: *parent_cversion,
        raises_parent_if_exists: body.op_code() == OpCode::Create,
    })
}

/// One error among the entries and nothing is applied; else each stands for itself, as far as the tree allows.
fn apply_multi(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    subs: &[SubTxn],
    mut effects: Option<&mut Vec<Effect>>,
) -> Vec<MultiResult> {
    if failed(subs) {
        return multi::error_results(subs);
    }
    subs.iter()
        .map(|sub| match change(tree, header, &sub.body, effects.as_deref_mut()) {
            Ok(stat) => result_in_multi(&sub.body, stat),
            Err(error) => MultiResult::Error(error.code()),
        })
        .collect()
}

fn failed(subs: &[SubTxn]) -> bool {
    subs.iter().any(|sub| matches!(sub.body, TxnBody::Error(_)))
}

/// The answer to a change that went well.
fn result(body: &TxnBody, stat: Option<Stat>) -> WriteResult {
    match (body, stat) {
        (TxnBody::Create { op, path, .. }, _) if *op == OpCode::Create => WriteResult::Path(path.clone()),
        (
            TxnBody::Create { path, .. } | TxnBody::CreateContainer { path, .. } | TxnBody::CreateTtl { path, .. },
            Some(stat),
        ) => WriteResult::PathAndStat(path.clone(), stat),
        (TxnBody::SetData { op, data, .. }, Some(stat)) if *op == OpCode::Reconfig => {
            WriteResult::Data(data.clone(), stat)
        }
        (_, Some(stat)) => WriteResult::Stat(stat),
        (_, None) => WriteResult::Nothing,
    }
}

/// The same inside a multi.
pub(super) fn result_in_multi(body: &TxnBody, stat: Option<Stat>) -> MultiResult {
    match (result(body, stat), body) {
        (WriteResult::Path(path), _) => MultiResult::Create(path),
        (WriteResult::PathAndStat(path, stat), _) => MultiResult::Create2(path, stat),
        (WriteResult::Stat(stat), _) => MultiResult::SetData(stat),
        (_, TxnBody::Check { .. }) => MultiResult::Check,
        _ => MultiResult::Delete,
    }
}

#[cfg(test)]
mod tests {
    use crate::message::{TxnBody, TxnHeader};
    use crate::request::testbed::{Testbed, create_op};
    use crate::request::{RequestRules, Requester, create_session, execute};
    use crate::tree::TreeWriter;
    use crate::types::{OwnerRules, SessionId, WallMillis, Zxid};

    /// The first two transactions of a log that Java wrote (storage sheet §3.1).
    #[test]
    fn digests_are_the_ones_java_logged() {
        let mut tree = TreeWriter::fresh(OwnerRules::default(), true, 0);
        let rules = RequestRules::default();
        let header = |zxid, time| TxnHeader {
            session: SessionId(0x0100_0016_23f2_0000),
            cxid: 1,
            zxid: Zxid(zxid),
            time: WallMillis(time),
        };
        let opened = create_session(&mut tree, header(1, 0), 10_000, &rules);
        assert_eq!(opened.txn.digest.map(|d| d.tree), Some(0x51c6_d660));
        let create = crate::message::CreateOp { data: Some(b"x".to_vec()), ..create_op("/a", 0) };
        let by = Requester::granted(&[]);
        let create = crate::message::WriteOp::Create(create);
        let header = header(2, 1_795_335_101_051);
        let created = execute(&mut tree, header, create, by, &rules, None);
        assert_eq!(created.txn.digest.map(|d| d.tree), Some(0xcca3_6c58));
        let TxnBody::Create { parent_cversion, .. } = created.txn.body else { panic!("{:?}", created.txn.body) };
        assert_eq!(parent_cversion, 1);
    }

    #[test]
    fn a_refusal_takes_a_zxid_and_carries_no_digest() {
        let mut bed = Testbed::default();
        let header = bed.header(SessionId(1));
        let by = Requester::granted(&[]);
        let op = crate::request::testbed::delete("/none", -1);
        let refused = execute(&mut bed.tree, header, op, by, &bed.rules, None);
        assert_eq!(refused.txn.body, TxnBody::Error(-101));
        assert_eq!(refused.txn.digest, None);
        assert_eq!(refused.outcome.zxid, Zxid(1));
        assert_eq!(bed.view().last_zxid(), Zxid(1));
    }

    #[test]
    fn the_last_zxid_never_goes_back() {
        let mut bed = Testbed::default();
        for (zxid, expected) in [(5, 5), (3, 5), (6, 6)] {
            bed.zxid = zxid - 1;
            let header = bed.header(SessionId(1));
            super::replay(&mut bed.tree, &header, &TxnBody::Error(-101));
            assert_eq!(bed.view().last_zxid(), Zxid(expected));
        }
    }
}
