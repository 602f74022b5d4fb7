//! Snapshots there and back, old forms, and bytes that are none.

use super::*;
use crate::storage::testing::{Database, OwnedNode, any_database};
use crate::types::Acl;
use proptest::prelude::*;

fn written(source: &Database) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, source).unwrap();
    bytes
}

fn read_back(bytes: &[u8]) -> Result<Database, String> {
    let mut back = Database::default();
    back.trailer = read(bytes, &mut back).map_err(|error| error.to_string())?;
    Ok(back)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The empty standalone database of the storage sheet, §4.2.
#[test]
fn the_sheets_example_is_written_byte_for_byte() {
    let system_node = |path: &str, acl_key: i64, aversion: i32, cversion: i32| OwnedNode {
        path: path.into(),
        data: Some(vec![]),
        acl_key,
        stat: StatPersisted { aversion, cversion, ..StatPersisted::default() },
    };
    let database = Database {
        sessions: vec![],
        acls: vec![(1, vec![Acl::new(1, "world", "anyone")])],
        nodes: vec![
            system_node("", -1, 0, 0),
            system_node("/zookeeper", -1, 0, 0),
            system_node("/zookeeper/config", 1, -1, 0),
            system_node("/zookeeper/quota", -1, 0, 0),
        ],
        trailer: SnapshotTrailer {
            digest: Some(SnapshotDigest { zxid: Zxid::ZERO, version: 2, tree: 0 }),
            last_zxid: Some(Zxid::ZERO),
        },
        ..Database::default()
    };
    let bytes = written(&database);
    assert_eq!(bytes.len(), 478);
    let head = hex("5a4b534e 00000002 ffffffffffffffff 00000000 00000001 0000000000000001 00000001 00000001
        00000005 776f726c64 00000006 616e796f6e65 00000000 00000000 ffffffffffffffff");
    assert_eq!(bytes[..head.len()], head);
    let tail = hex("00000001 2f 00000000b8a23b49 00000001 2f 0000000000000000 00000002 0000000000000000
        0000000095b93d59 00000001 2f 0000000000000000 00000000bde83f6d 00000001 2f");
    assert_eq!(bytes[bytes.len() - tail.len()..], tail);
    assert_eq!(read_back(&bytes).unwrap(), database);
}

#[test]
fn sections_behind_the_nodes_may_be_missing() {
    let digest = Some(SnapshotDigest { zxid: Zxid(7), version: 2, tree: 0x1234_5678_9abc_def0 });
    for digest in [digest, None] {
        for last_zxid in [Some(Zxid(9)), None] {
            let database = Database { trailer: SnapshotTrailer { digest, last_zxid }, ..Database::default() };
            assert_eq!(read_back(&written(&database)).unwrap(), database);
        }
    }
}

#[test]
fn a_digest_of_version_one_is_text() {
    let mut bytes = written(&Database::default());
    let mut checksum = Adler32::new();
    let mut w = Writer::new(&mut bytes);
    w.long(7);
    w.int(1);
    w.string("1f3");
    checksum.write(&bytes);
    let mut w = Writer::new(&mut bytes);
    w.long(i64::from(checksum.finish()));
    w.raw(&END_MARK);
    let digest = read_back(&bytes).unwrap().trailer.digest.unwrap();
    assert_eq!((digest.zxid, digest.version, digest.tree), (Zxid(7), 1, 0x1f3));
}

#[test]
fn a_node_without_parent_makes_the_snapshot_invalid() {
    let database = Database {
        nodes: vec![OwnedNode { path: "/orphan".into(), data: None, acl_key: -1, stat: StatPersisted::default() }],
        ..Database::default()
    };
    assert!(read_back(&written(&database)).unwrap_err().contains("/orphan"));
}

#[test]
fn a_source_that_miscounts_is_found_out() {
    struct Miscounting(Database);
    impl SnapshotSource for Miscounting {
        fn session_count(&self) -> usize {
            self.0.session_count() + 1
        }
        fn sessions(&self, each: &mut dyn FnMut(SessionId, i32) -> io::Result<()>) -> io::Result<()> {
            self.0.sessions(each)
        }
        fn acl_count(&self) -> usize {
            self.0.acl_count()
        }
        fn acls(&self, each: &mut dyn FnMut(i64, &[Acl]) -> io::Result<()>) -> io::Result<()> {
            self.0.acls(each)
        }
        fn nodes(&self, each: &mut dyn FnMut(&SnapshotNode<'_>) -> io::Result<()>) -> io::Result<()> {
            self.0.nodes(each)
        }
        fn trailer(&self) -> SnapshotTrailer {
            self.0.trailer()
        }
    }
    assert!(write(Vec::new(), &Miscounting(Database::default())).is_err());
}

#[test]
fn absurd_lengths_are_refused_without_memory_for_them() {
    let mut bytes = written(&Database::default());
    bytes.truncate(24);
    bytes.extend([0x7f, 0xff, 0xff, 0xff]); // a path of 2 GiB
    assert!(read_back(&bytes).unwrap_err().contains("only"));
    bytes.truncate(20);
    bytes.extend(hex("00000001 0000000000000001 7fffffff")); // an ACL list of two billion
    assert!(read_back(&bytes).unwrap_err().contains("only"));
}

proptest! {
    #[test]
    fn every_database_reads_back_equal(database in any_database()) {
        prop_assert_eq!(read_back(&written(&database)).unwrap(), database);
    }

    #[test]
    fn no_cut_and_no_changed_byte_goes_unnoticed(database in any_database(), at in any::<usize>(), with in 1u8..) {
        let good = written(&database);
        let at = at % good.len();
        // A file that ends behind a seal is one of an older release: it reads, but only to what it holds.
        if let Ok(cut) = read_back(&good[..at]) {
            prop_assert_eq!(cut.nodes, database.nodes.clone());
            prop_assert!(cut.trailer != database.trailer);
        }
        let mut changed = good;
        changed[at] ^= with;
        if let Ok(back) = read_back(&changed) {
            // Only the text of a seal is not verified.
            prop_assert_eq!(back, database);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = fuzz_snapshot(&tail);
        let _ = fuzz_snapshot(&[&hex("5a4b534e 00000002 ffffffffffffffff")[..], &tail].concat());
    }
}
