//! Requests: captured frames, what Java 3.9.5 was seen to do with bad ones, round trips, arbitrary bytes.

use super::*;
use crate::wire::client::test_client::{
    any_acl, any_create, any_data, any_path, bytes, create_op, decode_op, hex, is_undecodable, write_create,
};
use proptest::prelude::*;

#[test]
fn captured_create() {
    let frame =
        hex("00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65
         00000000");
    let header = decode_header(&frame).unwrap();
    assert_eq!((header.xid, header.op), (Xid(1), 1));
    assert_eq!(
        decode(header.op, header.body),
        Ok(Request::Write(WriteOp::Create(create_op(OpCode::Create, Some("/a"), 0))))
    );
}

#[test]
fn a_header_needs_eight_bytes() {
    for length in 0..8 {
        assert!(decode_header(&[0; 8][..length]).is_err());
    }
    assert_eq!(decode_header(&[0, 0, 0, 5, 0, 0, 0, 11]).unwrap().body, b"");
}

#[test]
fn connect_requests_of_old_and_new_clients() {
    let captured =
        hex("00000000 0000000000000007 00002710 0000000000000000 00000010 00000000000000000000000000000000 01");
    let old = captured[..captured.len() - 1].to_vec();
    let request = decode_connect(&old).unwrap();
    assert_eq!(request.read_only, None);
    assert_eq!((request.last_zxid_seen, request.timeout_ms), (Zxid(7), 10_000));
    assert_eq!(request.password, Some(vec![0; 16]));
    for (byte, read_only) in [(0, false), (1, true), (77, true)] {
        let mut new = old.clone();
        new.extend([byte, 9, 9]);
        assert_eq!(decode_connect(&new).unwrap().read_only, Some(read_only));
    }
    for length in 0..old.len() {
        assert!(decode_connect(&old[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn unknown_and_internal_types_are_refused() {
    for op in [0, 10, 13, 20, 23, -1, -10, -12, 99, 108, i32::MAX, i32::MIN] {
        assert_eq!(decode(op, b""), Err(Refusal::UnknownOp(op)));
    }
    assert_eq!(decode(-11, b"xyz"), Ok(Request::CloseSession));
    assert_eq!(decode(11, b"xyz"), Ok(Request::Read(ReadOp::Ping)));
    assert_eq!(decode(107, b"xyz"), Ok(Request::Read(ReadOp::WhoAmI)));
}

/// Every type that has a record refuses an empty body, a cut one, and text that is not UTF-8.
#[test]
fn undecodable_bodies() {
    let tails: [(OpCode, &[u8]); 17] = [
        (OpCode::Exists, &[0]),
        (OpCode::GetData, &[0]),
        (OpCode::GetChildren, &[0]),
        (OpCode::GetChildren2, &[0]),
        (OpCode::GetAcl, &[]),
        (OpCode::GetAllChildrenNumber, &[]),
        (OpCode::GetEphemerals, &[]),
        (OpCode::Sync, &[]),
        (OpCode::AddWatch, &[0; 4]),
        (OpCode::CheckWatches, &[0, 0, 0, 3]),
        (OpCode::RemoveWatches, &[0, 0, 0, 3]),
        (OpCode::Delete, &[0; 4]),
        (OpCode::SetData, &[0; 8]),
        (OpCode::SetAcl, &[0; 8]),
        (OpCode::Create, &[0; 12]),
        (OpCode::CreateTtl, &[0; 20]),
        (OpCode::Reconfig, &[0; 16]),
    ];
    for (op, tail) in tails {
        let body = |path: &[u8]| {
            let mut body = bytes(|w| w.buffer(Some(path)));
            body.extend_from_slice(tail);
            body
        };
        let whole = body(b"/e");
        assert!(decode_op(op, &whole).is_ok(), "{op:?}");
        for length in 0..whole.len() {
            assert!(is_undecodable(op, &whole[..length]), "{op:?} {length}");
        }
        assert!(is_undecodable(op, &body(b"/\xff")), "{op:?}");
        let negative = [&[0xff, 0xff, 0xff, 0xfe][..], tail].concat();
        assert!(is_undecodable(op, &negative), "{op:?}");
        let trailing = [&whole[..], b"trailing"].concat();
        assert_eq!(decode_op(op, &trailing), decode_op(op, &whole));
    }
}

#[test]
fn null_paths_of_reads() {
    let null = |tail: &[u8]| [&[0xff; 4][..], tail].concat();
    for op in [
        OpCode::Exists,
        OpCode::GetData,
        OpCode::GetChildren,
        OpCode::GetChildren2,
        OpCode::GetAcl,
        OpCode::GetAllChildrenNumber,
    ] {
        assert!(is_undecodable(op, &null(&[1])), "{op:?}");
    }
    assert_eq!(decode_op(OpCode::Sync, &null(&[])), Ok(Request::Read(ReadOp::Sync { path: None })));
    assert_eq!(decode_op(OpCode::GetEphemerals, &null(&[])), Ok(Request::Read(ReadOp::GetEphemerals { prefix: None })));
    assert_eq!(
        decode_op(OpCode::AddWatch, &null(&[0, 0, 0, 1])),
        Ok(Request::Read(ReadOp::AddWatch { path: "", mode: AddWatchMode::PersistentRecursive }))
    );
    assert_eq!(
        decode_op(OpCode::CheckWatches, &null(&[0, 0, 0, 3])),
        Ok(Request::Read(ReadOp::CheckWatches { path: "", kind: WatchRemovalKind::Any }))
    );
    assert!(is_undecodable(OpCode::CheckWatches, &null(&[0, 0, 0, 9])));
}

/// They take a zxid, so they travel on.
#[test]
fn null_paths_of_writes() {
    let null = |tail: &[u8]| [&[0xff; 4][..], tail].concat();
    assert_eq!(
        decode_op(OpCode::Delete, &null(&[0xff; 4])),
        Ok(Request::Write(WriteOp::Delete { path: None, version: -1 }))
    );
    assert_eq!(
        decode_op(OpCode::SetData, &null(&[0xff; 8])),
        Ok(Request::Write(WriteOp::SetData { path: None, data: None, version: -1 }))
    );
    assert_eq!(
        decode_op(OpCode::SetAcl, &null(&[0xff; 8])),
        Ok(Request::Write(WriteOp::SetAcl { path: None, acl: None, version: -1 }))
    );
    let body = bytes(|w| write_create(w, &create_op(OpCode::Create, None, 77)));
    assert_eq!(
        decode_op(OpCode::Create, &body),
        Ok(Request::Write(WriteOp::Create(create_op(OpCode::Create, None, 77))))
    );
}

#[test]
fn unknown_modes_and_kinds() {
    let body = |number: i32| {
        bytes(|w| {
            w.string("/e");
            w.int(number);
        })
    };
    for mode in [-1, 2, 7] {
        assert!(is_undecodable(OpCode::AddWatch, &body(mode)));
    }
    for kind in [-1, 0, 6] {
        assert!(is_undecodable(OpCode::CheckWatches, &body(kind)));
        assert!(is_undecodable(OpCode::RemoveWatches, &body(kind)));
    }
    let kinds = [
        WatchRemovalKind::Children,
        WatchRemovalKind::Data,
        WatchRemovalKind::Any,
        WatchRemovalKind::Persistent,
        WatchRemovalKind::PersistentRecursive,
    ];
    for (number, kind) in (1..).zip(kinds) {
        assert_eq!(
            decode_op(OpCode::RemoveWatches, &body(number)),
            Ok(Request::Read(ReadOp::RemoveWatches { path: "/e", kind }))
        );
    }
}

#[test]
fn lists_of_set_watches() {
    let body = |lists: &[Option<&[Option<&str>]>]| {
        bytes(|w| {
            w.long(5);
            for list in lists {
                let Some(paths) = list else {
                    w.int(-1);
                    continue;
                };
                w.count(paths.len());
                for path in *paths {
                    w.string_or_null(*path);
                }
            }
        })
    };
    let one: Option<&[Option<&str>]> = Some(&[Some("/e")]);
    let null_inside: Option<&[Option<&str>]> = Some(&[None, Some("/e")]);
    let whole = body(&[one, Some(&[]), one, null_inside, one]);
    let Ok(Request::Read(ReadOp::SetWatches(watches))) = decode_op(OpCode::SetWatches2, &whole) else {
        panic!("undecodable");
    };
    assert_eq!(watches.relative_zxid, Zxid(5));
    assert_eq!(watches.data, ["/e"]);
    assert!(watches.exist.is_empty());
    assert_eq!(watches.child, ["/e"]);
    assert_eq!(watches.persistent, ["", "/e"]);
    assert_eq!(watches.persistent_recursive, ["/e"]);
    for length in 0..whole.len() {
        assert!(is_undecodable(OpCode::SetWatches2, &whole[..length]));
    }
    let Ok(Request::Read(ReadOp::SetWatches(watches))) = decode_op(OpCode::SetWatches, &whole) else {
        panic!("undecodable");
    };
    assert!(watches.persistent.is_empty());
    // A null list is refused, and a null path where paths are looked up.
    for at in 0..5 {
        let mut lists = [one; 5];
        lists[at] = None;
        assert!(is_undecodable(OpCode::SetWatches2, &body(&lists)));
        lists[at] = null_inside;
        assert_eq!(is_undecodable(OpCode::SetWatches2, &body(&lists)), at < 3);
    }
}

#[test]
fn vectors_with_absurd_counts() {
    for (count, ok) in [(i32::MAX, false), (2, false), (-2, true), (i32::MIN, true)] {
        let set_acl = bytes(|w| {
            w.string("/e");
            w.int(count);
            w.int(-1);
        });
        assert_eq!(decode_op(OpCode::SetAcl, &set_acl).is_ok(), ok);
        let set_watches = bytes(|w| {
            w.long(0);
            w.int(count);
            w.int(0);
            w.int(0);
        });
        assert_eq!(decode_op(OpCode::SetWatches, &set_watches).is_ok(), ok);
    }
}

#[test]
fn acl_entries_with_nulls_read_as_empty() {
    let body = bytes(|w| {
        w.string("/e");
        w.int(1);
        w.int(31);
        w.string_or_null(None);
        w.string_or_null(None);
        w.int(-1);
    });
    assert_eq!(
        decode_op(OpCode::SetAcl, &body),
        Ok(Request::Write(WriteOp::SetAcl {
            path: Some("/e".to_owned()),
            acl: Some(vec![Acl::new(31, "", "")]),
            version: -1
        }))
    );
}

#[test]
fn authentication_packets() {
    let body = bytes(|w| {
        w.int(0);
        w.string("digest");
        w.buffer(Some(b"\xff:p"));
    });
    assert_eq!(
        decode_op(OpCode::Auth, &body),
        Ok(Request::Auth(AuthPacket { kind: 0, scheme: Some("digest"), auth: Some(b"\xff:p") }))
    );
    assert!(matches!(decode_op(OpCode::Auth, &body[..9]), Err(Refusal::HangUp(_))));
    let token = bytes(|w| w.buffer(Some(b"abc")));
    assert_eq!(decode_op(OpCode::Sasl, &token), Ok(Request::Sasl { token: b"abc" }));
    for bad in [&b""[..], &[0xff; 4]] {
        assert!(matches!(decode_op(OpCode::Sasl, bad), Err(Refusal::HangUp(_))));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        op in prop_oneof![-12i32..25, 98i32..110, any::<i32>()],
        body in prop::collection::vec(prop_oneof![Just(0u8), Just(0xffu8), 0u8..8, any::<u8>()], 0..80),
    ) {
        let _ = decode(op, &body);
        let _ = decode_connect(&body);
        if let Ok(header) = decode_header(&body) {
            let _ = decode(header.op, header.body);
        }
    }

    #[test]
    fn creates_round_trip(create in any_create()) {
        let body = bytes(|w| write_create(w, &create));
        let decoded = decode_op(create.op, &body);
        prop_assert_eq!(decoded, Ok(Request::Write(WriteOp::Create(create))));
    }

    #[test]
    fn other_writes_round_trip(
        path in any_path(), data in any_data(), acl in prop::option::of(any_acl()), version in any::<i32>(),
    ) {
        let body = bytes(|w| {
            w.string_or_null(path.as_deref());
            w.buffer(data.as_deref());
            w.int(version);
        });
        let expected = WriteOp::SetData { path: path.clone(), data, version };
        prop_assert_eq!(decode_op(OpCode::SetData, &body), Ok(Request::Write(expected)));
        let body = bytes(|w| {
            w.string_or_null(path.as_deref());
            w.acl(acl.as_deref());
            w.int(version);
        });
        let expected = WriteOp::SetAcl { path: path.clone(), acl, version };
        prop_assert_eq!(decode_op(OpCode::SetAcl, &body), Ok(Request::Write(expected)));
        let body = bytes(|w| {
            w.string_or_null(path.as_deref());
            w.int(version);
        });
        prop_assert_eq!(
            decode_op(OpCode::Delete, &body),
            Ok(Request::Write(WriteOp::Delete { path, version }))
        );
    }

    #[test]
    fn reads_round_trip(path in "(/[a-zé]{0,3}){0,3}", watch in any::<bool>()) {
        let body = bytes(|w| {
            w.string(&path);
            w.bool(watch);
        });
        let path = path.as_str();
        let rows = [
            (OpCode::Exists, ReadOp::Exists { path, watch }),
            (OpCode::GetData, ReadOp::GetData { path, watch }),
            (OpCode::GetChildren, ReadOp::GetChildren { path, watch }),
            (OpCode::GetChildren2, ReadOp::GetChildren2 { path, watch }),
            (OpCode::GetAcl, ReadOp::GetAcl { path }),
            (OpCode::GetAllChildrenNumber, ReadOp::GetAllChildrenNumber { path }),
            (OpCode::GetEphemerals, ReadOp::GetEphemerals { prefix: Some(path) }),
            (OpCode::Sync, ReadOp::Sync { path: Some(path) }),
        ];
        for (op, expected) in rows {
            prop_assert_eq!(decode_op(op, &body), Ok(Request::Read(expected)));
        }
    }
}
