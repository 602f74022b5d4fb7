//! The tree: what a read costs, and what a write costs that is checked, applied, and published with its batch.

use super::{KEYS, Keys, Step, VALUE, key_path};
use ringkeeper::message::{CreateOp, Effect, MultiOp, ReadOp, TxnHeader, WriteOp};
use ringkeeper::request::{AccessRules, ReadAnswer, RequestRules, Requester, execute, read};
use ringkeeper::tree::TreeWriter;
use ringkeeper::types::{Acl, OpCode, OwnerRules, SessionId, WallMillis, Zxid};
use std::hint::black_box;

/// Writes between two publications.
pub const BATCH: usize = 16;
const HASH_SEED: u64 = 1;
const MULTI_OPS: usize = 5;

/// A tree with its writer and what it takes to execute requests on it.
pub(super) struct Database {
    pub tree: TreeWriter,
    rules: RequestRules,
    zxid: i64,
    effects: Vec<Effect>,
}

impl Database {
    pub fn filled() -> Database {
        let tree = TreeWriter::fresh(OwnerRules::default(), true, HASH_SEED);
        let mut database = Database { tree, rules: RequestRules::default(), zxid: 0, effects: Vec::new() };
        database.execute(create("/bench"));
        for key in 0..KEYS {
            database.execute(create(&key_path(key)));
        }
        database.publish();
        database
    }

    fn execute(&mut self, op: WriteOp) {
        self.zxid += 1;
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(self.zxid), time: WallMillis(self.zxid) };
        let by = Requester::granted(&[]);
        let executed = execute(&mut self.tree, header, op, by, &self.rules, Some(&mut self.effects));
        assert!(executed.outcome.result.is_ok(), "{executed:?}");
        black_box(executed);
    }

    fn publish(&mut self) {
        self.effects.clear();
        let version = self.tree.seal();
        self.tree.publish_through(version);
    }
}

fn create(path: &str) -> WriteOp {
    WriteOp::Create(CreateOp {
        op: OpCode::Create,
        path: Some(path.to_owned()),
        data: Some(VALUE.into()),
        acl: Some(Acl::open_unsafe()),
        flags: 0,
        ttl_ms: -1,
    })
}

/// Paths made beforehand, so that no text is put together while it counts.
pub(super) fn paths() -> Vec<String> {
    (0..KEYS).map(key_path).collect()
}

pub fn lookup() -> Step {
    let (database, paths, mut keys) = (Database::filled(), paths(), Keys::new());
    let reader = database.tree.reader();
    Box::new(move || {
        let _alive = &database;
        let pinned = reader.pin();
        let node = pinned.view().lookup(&paths[keys.next() as usize]).expect("it was created");
        black_box(node.stat_persisted());
    })
}

pub fn read_get() -> Step {
    let (database, paths, mut keys) = (Database::filled(), paths(), Keys::new());
    let (reader, access) = (database.tree.reader(), AccessRules::default());
    Box::new(move || {
        let _alive = &database;
        let pinned = reader.pin();
        let op = ReadOp::GetData { path: &paths[keys.next() as usize], watch: false };
        match read(pinned.view(), &op, SessionId(1), &[], &access) {
            Some(Ok(ReadAnswer::Data(data, stat))) => drop(black_box((data, stat))),
            _ => panic!("it was created"),
        }
    })
}

fn set_data(path: &str) -> WriteOp {
    WriteOp::SetData { path: Some(path.to_owned()), data: Some(VALUE.into()), version: -1 }
}

pub fn set() -> Step {
    let (mut database, paths, mut keys) = (Database::filled(), paths(), Keys::new());
    Box::new(move || {
        for _ in 0..BATCH {
            database.execute(set_data(&paths[keys.next() as usize]));
        }
        database.publish();
    })
}

pub fn create_and_delete() -> Step {
    let (mut database, new) = (Database::filled(), key_path(KEYS));
    Box::new(move || {
        database.execute(create(&new));
        database.execute(WriteOp::Delete { path: Some(new.clone()), version: -1 });
        database.publish();
    })
}

pub fn multi() -> Step {
    let (mut database, paths, mut keys) = (Database::filled(), paths(), Keys::new());
    Box::new(move || {
        let mut set = || match set_data(&paths[keys.next() as usize]) {
            WriteOp::SetData { path, data, version } => MultiOp::SetData { path, data, version },
            _ => unreachable!("made above"),
        };
        let ops = (0..MULTI_OPS).map(|_| set()).collect();
        database.execute(WriteOp::Multi(ops));
        database.publish();
    })
}
