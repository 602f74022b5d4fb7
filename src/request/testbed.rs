//! A tree with clients, for the tests of this folder: every request takes the next zxid and the clock's time, is
//! executed by the leader's code, and is then applied by the code of everybody else to a second tree. The two must
//! agree after every step, in answers, effects and digest.

use super::{AccessRules, Executed, RequestRules, Requester, apply, execute};
use crate::message::{CreateOp, Effect, EffectKind, MultiOp, MultiResult, TxnBody, TxnHeader, WriteOp, WriteResult};
use crate::tree::{TreeWriter, View};
use crate::types::{Acl, ErrorCode, Id, OpCode, OwnerRules, SessionId, Stat, WallMillis, Zxid};

pub const ALICE: SessionId = SessionId(0x100_0000_0000_0001);
pub const BOB: SessionId = SessionId(0x100_0000_0000_0002);

pub struct Testbed {
    pub tree: TreeWriter,
    follower: TreeWriter,
    pub rules: RequestRules,
    pub zxid: i64,
    pub now: i64,
    pub ids: Vec<Id>,
    pub refusal: Option<ErrorCode>,
    pub ephemeral_refusal: Option<ErrorCode>,
    /// Of the last request.
    pub effects: Vec<Effect>,
    /// Of the last request.
    pub body: TxnBody,
}

impl Default for Testbed {
    fn default() -> Testbed {
        let owner = OwnerRules { extended_types: true, emulate_353_ttl: false };
        Testbed {
            tree: TreeWriter::fresh(owner, true, 1),
            follower: TreeWriter::fresh(owner, true, 2),
            rules: RequestRules {
                owner,
                enforce_quota: true,
                access: AccessRules::default(),
                ..RequestRules::default()
            },
            zxid: 0,
            now: 1000,
            ids: Vec::new(),
            refusal: None,
            ephemeral_refusal: None,
            effects: Vec::new(),
            body: TxnBody::Error(0),
        }
    }
}

impl Testbed {
    pub fn view(&self) -> View<'_> {
        self.tree.view()
    }

    pub fn header(&mut self, session: SessionId) -> TxnHeader {
        self.zxid += 1;
        TxnHeader { session, cxid: 7, zxid: Zxid(self.zxid), time: WallMillis(self.now) }
    }

    pub fn run(&mut self, op: WriteOp) -> Result<WriteResult, ErrorCode> {
        self.run_as(ALICE, op)
    }

    pub fn run_as(&mut self, session: SessionId, op: WriteOp) -> Result<WriteResult, ErrorCode> {
        let header = self.header(session);
        let by = Requester { ids: &self.ids, refusal: self.refusal, ephemeral_refusal: self.ephemeral_refusal };
        self.effects.clear();
        let effects = Some(&mut self.effects);
        let executed = execute(&mut self.tree, header, op, by, &self.rules, effects);
        self.follow(executed)
    }

    pub fn close(&mut self, session: SessionId) {
        let header = self.header(session);
        self.effects.clear();
        let effects = Some(&mut self.effects);
        let executed = super::close_session(&mut self.tree, header, &self.rules, effects);
        assert_eq!(self.follow(executed), Ok(WriteResult::Nothing));
    }

    pub fn open(&mut self, session: SessionId, timeout_ms: i32) {
        let header = self.header(session);
        let executed = super::create_session(&mut self.tree, header, timeout_ms, &self.rules);
        self.effects.clear();
        assert_eq!(self.follow(executed), Ok(WriteResult::Nothing));
    }

    /// What every other server makes of the transaction must be the same.
    fn follow(&mut self, executed: Executed) -> Result<WriteResult, ErrorCode> {
        let Executed { txn, outcome } = executed;
        assert_eq!(outcome.zxid, txn.header.zxid);
        let mut effects = Vec::new();
        let result = apply(&mut self.follower, &txn.header, &txn.body, Some(&mut effects));
        assert_eq!(effects, self.effects);
        match (&txn.body, &outcome.result) {
            (TxnBody::Error(code), Err(error)) => assert_eq!(*code, error.code()),
            _ => assert_eq!(result, outcome.result),
        }
        let (ours, theirs) = (self.tree.view(), self.follower.view());
        assert_eq!(ours.last_zxid(), txn.header.zxid);
        assert_eq!(theirs.last_zxid(), txn.header.zxid);
        assert_eq!(ours.digest(), theirs.digest());
        if let Some(digest) = txn.digest {
            assert_eq!((digest.version, digest.tree), (2, ours.digest()));
        }
        self.body = txn.body;
        outcome.result
    }

    pub fn stat(&self, path: &str) -> Stat {
        self.view().lookup(path).expect(path).stat()
    }

    pub fn data(&self, path: &str) -> &str {
        let data = self.view().lookup(path).expect(path).data();
        std::str::from_utf8(data.expect("data")).expect("text")
    }

    /// Kinds and paths of the last request's effects.
    pub fn changes(&self) -> Vec<(EffectKind, &str)> {
        self.effects.iter().map(|e| (e.kind, &*e.path)).collect()
    }

    /// Creates a plain znode with the open ACL.
    pub fn add(&mut self, path: &str) {
        self.run(create(path, 0)).expect(path);
    }

    pub fn add_with(&mut self, path: &str, data: &str) {
        let op = CreateOp { data: Some(data.into()), ..create_op(path, 0) };
        self.run(WriteOp::Create(op)).expect(path);
    }

    /// Creates a znode with one ACL entry.
    pub fn add_guarded(&mut self, path: &str, perms: i32, scheme: &str, id: &str) {
        let op = CreateOp { acl: Some(vec![Acl::new(perms, scheme, id)]), ..create_op(path, 0) };
        self.run(WriteOp::Create(op)).expect(path);
    }
}

pub fn create_op(path: &str, flags: i32) -> CreateOp {
    CreateOp {
        op: OpCode::Create,
        path: Some(path.to_owned()),
        data: Some(Vec::new()),
        acl: Some(Acl::open_unsafe()),
        flags,
        ttl_ms: -1,
    }
}

pub fn create(path: &str, flags: i32) -> WriteOp {
    WriteOp::Create(create_op(path, flags))
}

pub fn delete(path: &str, version: i32) -> WriteOp {
    WriteOp::Delete { path: Some(path.to_owned()), version }
}

pub fn set_data(path: &str, data: &str, version: i32) -> WriteOp {
    WriteOp::SetData { path: Some(path.to_owned()), data: Some(data.into()), version }
}

pub fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> WriteOp {
    WriteOp::SetAcl { path: Some(path.to_owned()), acl: Some(acl), version }
}

pub fn in_multi(op: WriteOp) -> MultiOp {
    match op {
        WriteOp::Create(op) => MultiOp::Create(op),
        WriteOp::Delete { path, version } => MultiOp::Delete { path, version },
        WriteOp::SetData { path, data, version } => MultiOp::SetData { path, data, version },
        other => panic!("{other:?} has no place in a multi"),
    }
}

pub fn check(path: &str, version: i32) -> MultiOp {
    MultiOp::Check { path: Some(path.to_owned()), version }
}

/// Error codes of a multi's entries; `None` where one succeeded.
pub fn codes(result: Result<WriteResult, ErrorCode>) -> Vec<Option<i32>> {
    match result {
        Ok(WriteResult::Multi(results)) => results
            .iter()
            .map(|result| match result {
                MultiResult::Error(code) => Some(*code),
                _ => None,
            })
            .collect(),
        other => panic!("not a multi's result: {other:?}"),
    }
}
