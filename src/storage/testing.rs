//! A database as plain lists, for tests of storage: source and sink of snapshots, sink of a restore.

use super::snapshot_format::{SnapshotDigest, SnapshotSink, SnapshotSource, SnapshotTrailer};
use super::{RestoreSink, StorageError};
use crate::io::disk::Disk;
use crate::io::real_disk::RealDisk;
use crate::message::{SnapshotNode, Txn, TxnBody, TxnDigest, TxnHeader};
use crate::types::{Acl, AclList, OpCode, SessionId, StatPersisted, WallMillis, Zxid};
use crate::wire::txn;
use proptest::prelude::*;
use std::io;
use std::sync::Arc;

pub fn real_disk() -> Arc<dyn Disk> {
    RealDisk::shared()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNode {
    pub path: String,
    pub data: Option<Vec<u8>>,
    pub acl_key: i64,
    pub stat: StatPersisted,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Database {
    pub sessions: Vec<(SessionId, i32)>,
    pub acls: Vec<(i64, Vec<Acl>)>,
    pub nodes: Vec<OwnedNode>,
    pub trailer: SnapshotTrailer,
    pub snapshot_zxid: Option<Zxid>,
    pub txns: Vec<Txn>,
}

impl SnapshotSink for Database {
    fn begin(&mut self) {
        *self = Database::default();
    }

    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.push((session, timeout_ms));
    }

    fn acl(&mut self, key: i64, list: AclList) {
        self.acls.push((key, list.to_vec()));
    }

    fn node(&mut self, node: SnapshotNode<'_>) -> Result<(), &'static str> {
        let parent = node.path.rfind('/').map(|slash| &node.path[..slash]);
        if let Some(parent) = parent
            && !self.nodes.iter().any(|known| known.path == parent)
        {
            return Err("no parent");
        }
        self.nodes.push(OwnedNode {
            path: node.path.to_owned(),
            data: node.data.map(<[u8]>::to_vec),
            acl_key: node.acl_key,
            stat: node.stat,
        });
        Ok(())
    }
}

impl RestoreSink for Database {
    fn snapshot_done(&mut self, last: Zxid, trailer: &SnapshotTrailer) {
        self.snapshot_zxid = Some(last);
        self.trailer = *trailer;
    }

    fn txn(&mut self, txn: Txn, entry: &[u8]) {
        assert_eq!(txn::decode(entry).unwrap(), txn);
        self.txns.push(txn);
    }
}

impl SnapshotSource for Database {
    fn session_count(&self) -> usize {
        self.sessions.len()
    }

    fn sessions(&self, each: &mut dyn FnMut(SessionId, i32) -> io::Result<()>) -> io::Result<()> {
        self.sessions.iter().try_for_each(|(session, timeout_ms)| each(*session, *timeout_ms))
    }

    fn acl_count(&self) -> usize {
        self.acls.len()
    }

    fn acls(&self, each: &mut dyn FnMut(i64, &[Acl]) -> io::Result<()>) -> io::Result<()> {
        self.acls.iter().try_for_each(|(key, list)| each(*key, list))
    }

    fn nodes(&self, each: &mut dyn FnMut(&SnapshotNode<'_>) -> io::Result<()>) -> io::Result<()> {
        self.nodes.iter().try_for_each(|node| {
            each(&SnapshotNode { path: &node.path, data: node.data.as_deref(), acl_key: node.acl_key, stat: node.stat })
        })
    }

    fn trailer(&self) -> SnapshotTrailer {
        self.trailer
    }
}

impl Database {
    /// A root and nothing else.
    pub fn empty() -> Database {
        Database {
            nodes: vec![OwnedNode {
                path: String::new(),
                data: Some(vec![]),
                acl_key: -1,
                stat: StatPersisted::default(),
            }],
            ..Database::default()
        }
    }

    pub fn zxids(&self) -> Vec<i64> {
        self.txns.iter().map(|txn| txn.header.zxid.0).collect()
    }
}

/// A setData of `data_bytes`, different for every zxid.
pub fn entry(zxid: i64, data_bytes: usize) -> Vec<u8> {
    let header = TxnHeader {
        session: SessionId(0x0100_0016_23f2_0000),
        cxid: 7,
        zxid: Zxid(zxid),
        time: WallMillis(1_795_335_101_051),
    };
    let body = TxnBody::SetData {
        op: OpCode::SetData,
        path: "/some/node".into(),
        data: Some((0..data_bytes).map(|i| (i as i64 * 7 + zxid) as u8 | 1).collect()),
        version: 3,
    };
    let digest = TxnDigest { version: 2, tree: (zxid as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    let mut bytes = Vec::new();
    txn::encode(&header, &body, Some(&digest), &mut bytes);
    bytes
}

pub fn refusal(error: StorageError) -> &'static str {
    match error {
        StorageError::CorruptLog { case, .. } => case,
        other => panic!("{other}"),
    }
}

fn any_stat() -> impl Strategy<Value = StatPersisted> {
    (any::<[i64; 6]>(), any::<[i32; 3]>()).prop_map(|(longs, ints)| StatPersisted {
        czxid: Zxid(longs[0]),
        mzxid: Zxid(longs[1]),
        ctime: longs[2],
        mtime: longs[3],
        version: ints[0],
        cversion: ints[1],
        aversion: ints[2],
        ephemeral_owner: longs[4],
        pzxid: Zxid(longs[5]),
    })
}

pub fn any_database() -> impl Strategy<Value = Database> {
    let data = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60));
    let acl = (any::<i32>(), "[a-z]{0,6}", "[a-z:=]{0,9}").prop_map(|(p, s, i)| Acl::new(p, &s, &i));
    let acls = proptest::collection::vec((any::<i64>(), proptest::collection::vec(acl, 0..3)), 0..4);
    let sessions = proptest::collection::vec((any::<i64>().prop_map(SessionId), any::<i32>()), 0..5);
    let root = (data(), any::<i64>(), any_stat());
    let children = proptest::collection::vec((data(), any::<i64>(), any_stat()), 0..8);
    let digest = proptest::option::of((any::<i64>(), any::<u64>()));
    (sessions, acls, root, children, digest, proptest::option::of(any::<i64>())).prop_map(
        |(sessions, acls, root, children, digest, last_zxid)| {
            let paths = std::iter::once(String::new()).chain((0..).map(|i| format!("/n{i}")));
            let nodes = paths
                .zip(std::iter::once(root).chain(children))
                .map(|(path, (data, acl_key, stat))| OwnedNode { path, data, acl_key, stat })
                .collect();
            Database {
                sessions,
                acls,
                nodes,
                trailer: SnapshotTrailer {
                    digest: digest.map(|(zxid, tree)| SnapshotDigest { zxid: Zxid(zxid), version: 2, tree }),
                    last_zxid: last_zxid.map(Zxid),
                },
                ..Database::default()
            }
        },
    )
}
