//! Snapshot streams there and back, in any pieces, and bytes that are none.

use super::*;
use crate::storage::testing::{Database, any_database};
use proptest::prelude::*;

const BUFFER_BYTES_MAX: usize = 1 << 20;

fn written(source: &dyn SnapshotSource) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_stream(source, &mut bytes).unwrap();
    bytes
}

/// Pushes pieces that end at `ends` and at the end.
fn read_in_pieces(bytes: &[u8], ends: &[usize]) -> Result<(Database, Option<usize>), BadSnapshotStream> {
    let mut back = Database::default();
    let mut reader = SnapshotStreamReader::new(BUFFER_BYTES_MAX);
    let mut from = 0;
    for end in ends.iter().copied().chain([bytes.len()]) {
        match reader.push(&bytes[from..end], &mut back)? {
            Progress::More => from = end,
            Progress::Done { consumed } => return Ok((back, Some(from + consumed))),
        }
    }
    Ok((back, None))
}

/// Sessions none, one ACL, the root, the marks: written out by hand from the sheet.
#[test]
fn the_bytes_of_a_small_tree() {
    let mut database = Database::empty();
    database.acls.push((1, vec![crate::types::Acl::new(1, "world", "anyone")]));
    let bytes = written(&database);
    let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
    expected.extend(*b"\0\0\0\x05world\0\0\0\x06anyone");
    expected.extend([0; 8]); // path and data of the root, both empty
    expected.extend([0xff; 8]); // its ACL: open
    expected.extend([0; 60]);
    expected.extend(*b"\0\0\0\x01/\0\0\0\x0aBenWasHere");
    assert_eq!(bytes, expected);
}

/// Written by ZooKeeper 3.9.5 (`SerializeUtils.serializeSnapshot`, then the signature): one session with an ephemeral.
const FROM_JAVA: &str = "
    00000001000000000000004d00000fa0000000030000000000000001000000010000000100000005776f726c6400000006616e796f6e6500
    00000000000002000000010000001f0000000461757468000000000000000000000003000000010000001f00000005776f726c6400000006
    616e796f6e650000000000000000ffffffffffffffff00000000000000000000000000000000000000000000000000000000000000000000
    0000000000010000000000000000000000000000000000000005000000022f61000000017800000000000000020000000000000005000000
    00000000050000000000000006000000000000000600000000000000010000000000000000000000000000000000000007000000042f612f
    62ffffffff000000000000000300000000000000070000000000000007000000000000000800000000000000080000000000000000000000
    00000000000000004d00000000000000070000000a2f7a6f6f6b656570657200000000ffffffffffffffff00000000000000000000000000
    0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000112f7a6f6f6b
    65657065722f636f6e6669670000000000000000000000010000000000000000000000000000000000000000000000000000000000000000
    0000000000000000ffffffff00000000000000000000000000000000000000102f7a6f6f6b65657065722f71756f746100000000ffffffff
    ffffffff00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
    0000000000000000000000012f0000000a42656e57617348657265
";

#[test]
fn the_bytes_that_zookeeper_sends() {
    let digits: Vec<u8> = FROM_JAVA.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(pair).collect();
    let (database, end) = read_in_pieces(&bytes, &[100, 101]).unwrap();
    assert_eq!(end, Some(bytes.len()));
    assert_eq!(database.sessions, [(SessionId(77), 4000)]);
    let paths: Vec<&str> = database.nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(paths, ["", "/a", "/a/b", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]);
    assert_eq!((database.nodes[1].data.as_deref(), &database.nodes[2].data), (Some(&b"x"[..]), &None));
    assert_eq!((database.nodes[2].stat.ephemeral_owner, database.acls.len()), (77, 3));
    assert_eq!(written(&database), bytes);
}

#[test]
fn what_is_no_snapshot() {
    let good = written(&Database::empty());
    let read = |bytes: &[u8]| read_in_pieces(bytes, &[]).map(|(_, end)| end);
    assert_eq!(read(&good), Ok(Some(good.len())));
    let at_signature = good.len() - 14;
    for (at, with) in [
        (at_signature + 3, 11),   // its length
        (at_signature + 4, b'X'), // its text
        (8, 0x7f),                // a path of 2 GiB
        (8, 0x80),                // of negative length
        (11, 0xff),               // a path that is longer than the stream and not text
    ] {
        let mut changed = good.clone();
        changed[at] = with;
        let found = read(&changed);
        assert!(matches!(found, Err(_) | Ok(None)), "byte {at}: {found:?}");
        assert!(at == 11 || found.is_err(), "byte {at}: {found:?}");
    }
    let no_list = [&[0; 4][..], &[0, 0, 0, 1], &[0; 8], &[0xff; 4]].concat();
    assert!(read(&no_list).unwrap_err().to_string().contains("ACL list"));
    let absurd_list = [&[0; 4][..], &[0, 0, 0, 1], &[0; 8], &[0x7f, 0xff, 0xff, 0xff]].concat();
    assert!(read(&absurd_list).is_err());
    let orphan = Database {
        nodes: vec![crate::storage::testing::OwnedNode {
            path: "/orphan".into(),
            data: None,
            acl_key: -1,
            stat: Default::default(),
        }],
        ..Database::default()
    };
    assert!(read(&written(&orphan)).unwrap_err().to_string().contains("/orphan"));
}

#[test]
fn bytes_behind_the_signature_are_the_next_packets() {
    let good = written(&Database::empty());
    let longer = [&good[..], b"packet"].concat();
    let mut back = Database::default();
    let mut reader = SnapshotStreamReader::new(BUFFER_BYTES_MAX);
    assert_eq!(reader.push(&longer, &mut back), Ok(Progress::Done { consumed: good.len() }));
    assert_eq!(reader.push(b"packet", &mut back), Ok(Progress::Done { consumed: 0 }));
}

proptest! {
    #[test]
    fn every_cut_gives_the_same(database in any_database()) {
        let mut database = database;
        database.trailer = Default::default();
        let bytes = written(&database);
        let longer = [&bytes[..], &[0, 0, 0, 10]].concat();
        for cut in 0..=longer.len() {
            let (back, end) = read_in_pieces(&longer, &[cut]).unwrap();
            prop_assert_eq!(&back, &database);
            prop_assert_eq!(end, Some(bytes.len()));
        }
        let byte_by_byte: Vec<usize> = (0..longer.len()).collect();
        let (back, end) = read_in_pieces(&longer, &byte_by_byte).unwrap();
        prop_assert_eq!(&back, &database);
        prop_assert_eq!(end, Some(bytes.len()));
        for short in 0..bytes.len() {
            prop_assert_eq!(read_in_pieces(&bytes[..short], &[]).unwrap().1, None);
        }
    }

    #[test]
    fn changed_bytes_never_panic(database in any_database(), at in any::<usize>(), with in 1u8.., piece in 1usize..50) {
        let mut bytes = written(&database);
        let at = at % bytes.len();
        bytes[at] ^= with;
        compare(&bytes, piece)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1usize..20) {
        compare(&bytes, piece)?;
    }
}

/// By pieces as at once. Only an error in a record whose end never comes may go unseen by pieces: it is not looked at
/// until it can be whole.
fn compare(bytes: &[u8], piece: usize) -> Result<(), TestCaseError> {
    let at_once = fuzz_snapshot_stream(bytes, bytes.len());
    let by_pieces = fuzz_snapshot_stream(bytes, piece);
    prop_assert!(by_pieces == at_once || at_once.is_err() && by_pieces == Ok(None), "{by_pieces:?}, {at_once:?}");
    Ok(())
}
