//! Requests: captured frames, what Java 3.9.5 was seen to do with bad ones, round trips, arbitrary bytes.

use super::*;
use crate::message::{MultiOp, MultiReadOp};
use crate::types::CreateMode;
use crate::wire::Writer;
use crate::wire::client::hex;
use proptest::prelude::*;

fn bytes(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut Writer::new(&mut bytes));
    bytes
}

fn decode_op(op: OpCode, body: &[u8]) -> Result<Request<'_>, Refusal> {
    decode(op.code(), body)
}

fn is_undecodable(op: OpCode, body: &[u8]) -> bool {
    matches!(decode_op(op, body), Err(Refusal::Undecodable(_)))
}

/// Bytes of a request, written the way a client does.
fn write_create(w: &mut Writer<'_>, create: &CreateOp) {
    w.string_or_null(create.path.as_deref());
    w.buffer(create.data.as_deref());
    w.acl(create.acl.as_deref());
    w.int(create.flags);
    if create.op == OpCode::CreateTtl {
        w.long(create.ttl_ms);
    }
}

fn write_entry_header(w: &mut Writer<'_>, kind: i32, done: bool) {
    w.int(kind);
    w.bool(done);
    w.int(-1);
}

fn write_list(w: &mut Writer<'_>, ops: &[MultiOp]) {
    for op in ops {
        match op {
            MultiOp::Create(create) => {
                write_entry_header(w, create.op.code(), false);
                write_create(w, create);
            }
            MultiOp::Delete { path, version } => {
                write_entry_header(w, 2, false);
                w.string_or_null(path.as_deref());
                w.int(*version);
            }
            MultiOp::SetData {
                path,
                data,
                version,
            } => {
                write_entry_header(w, 5, false);
                w.string_or_null(path.as_deref());
                w.buffer(data.as_deref());
                w.int(*version);
            }
            MultiOp::Check { path, version } => {
                write_entry_header(w, 13, false);
                w.string_or_null(path.as_deref());
                w.int(*version);
            }
        }
    }
    write_entry_header(w, -1, true);
}

fn create_op(op: OpCode, path: Option<&str>, flags: i32) -> CreateOp {
    CreateOp {
        op,
        path: path.map(str::to_owned),
        data: Some(b"x".to_vec()),
        acl: Some(Acl::open_unsafe()),
        flags,
        ttl_ms: if op == OpCode::CreateTtl { 100 } else { -1 },
    }
}

fn decode_multi(ops: &[MultiOp]) -> Result<WriteOp, Refusal> {
    match decode_op(OpCode::Multi, &bytes(|w| write_list(w, ops)))? {
        Request::Write(op) => Ok(op),
        other => panic!("a multi became {other:?}"),
    }
}

#[test]
fn captured_create() {
    let frame = hex(
        "00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65
         00000000",
    );
    let header = decode_header(&frame).unwrap();
    assert_eq!((header.xid, header.op), (Xid(1), 1));
    assert_eq!(
        decode(header.op, header.body),
        Ok(Request::Write(WriteOp::Create(create_op(
            OpCode::Create,
            Some("/a"),
            0
        ))))
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
    let captured = hex(
        "00000000 0000000000000007 00002710 0000000000000000 00000010 00000000000000000000000000000000 01",
    );
    let old = captured[..captured.len() - 1].to_vec();
    let request = decode_connect(&old).unwrap();
    assert_eq!(request.read_only, None);
    assert_eq!(
        (request.last_zxid_seen, request.timeout_ms),
        (Zxid(7), 10_000)
    );
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
    assert_eq!(
        decode_op(OpCode::Sync, &null(&[])),
        Ok(Request::Read(ReadOp::Sync { path: None }))
    );
    assert_eq!(
        decode_op(OpCode::GetEphemerals, &null(&[])),
        Ok(Request::Read(ReadOp::GetEphemerals { prefix: None }))
    );
    assert_eq!(
        decode_op(OpCode::AddWatch, &null(&[0, 0, 0, 1])),
        Ok(Request::Read(ReadOp::AddWatch {
            path: "",
            mode: AddWatchMode::PersistentRecursive
        }))
    );
    assert_eq!(
        decode_op(OpCode::CheckWatches, &null(&[0, 0, 0, 3])),
        Ok(Request::Read(ReadOp::CheckWatches {
            path: "",
            kind: WatchRemovalKind::Any
        }))
    );
    assert!(is_undecodable(OpCode::CheckWatches, &null(&[0, 0, 0, 9])));
}

/// They take a zxid, so they travel on.
#[test]
fn null_paths_of_writes() {
    let null = |tail: &[u8]| [&[0xff; 4][..], tail].concat();
    assert_eq!(
        decode_op(OpCode::Delete, &null(&[0xff; 4])),
        Ok(Request::Write(WriteOp::Delete {
            path: None,
            version: -1
        }))
    );
    assert_eq!(
        decode_op(OpCode::SetData, &null(&[0xff; 8])),
        Ok(Request::Write(WriteOp::SetData {
            path: None,
            data: None,
            version: -1
        }))
    );
    assert_eq!(
        decode_op(OpCode::SetAcl, &null(&[0xff; 8])),
        Ok(Request::Write(WriteOp::SetAcl {
            path: None,
            acl: None,
            version: -1
        }))
    );
    let body = bytes(|w| write_create(w, &create_op(OpCode::Create, None, 77)));
    assert_eq!(
        decode_op(OpCode::Create, &body),
        Ok(Request::Write(WriteOp::Create(create_op(
            OpCode::Create,
            None,
            77
        ))))
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
    let Ok(Request::Read(ReadOp::SetWatches(watches))) = decode_op(OpCode::SetWatches2, &whole)
    else {
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
    let Ok(Request::Read(ReadOp::SetWatches(watches))) = decode_op(OpCode::SetWatches, &whole)
    else {
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
        Ok(Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some("digest"),
            auth: Some(b"\xff:p")
        }))
    );
    assert!(matches!(
        decode_op(OpCode::Auth, &body[..9]),
        Err(Refusal::HangUp(_))
    ));
    let token = bytes(|w| w.buffer(Some(b"abc")));
    assert_eq!(
        decode_op(OpCode::Sasl, &token),
        Ok(Request::Sasl { token: b"abc" })
    );
    for bad in [&b""[..], &[0xff; 4]] {
        assert!(matches!(
            decode_op(OpCode::Sasl, bad),
            Err(Refusal::HangUp(_))
        ));
    }
}

/// As seen with Java 3.9.5: whatever is wrong with the list of a multi, it takes a zxid.
#[test]
fn bad_lists_of_a_multi_travel_on() {
    let good = MultiOp::Create(create_op(OpCode::Create, Some("/q"), 0));
    let bad_flags = |op| MultiOp::Create(create_op(op, Some("/q"), 77));
    let null_path = MultiOp::Delete {
        path: None,
        version: -1,
    };
    for ops in [
        vec![bad_flags(OpCode::Create)],
        vec![good.clone(), bad_flags(OpCode::Create2)],
        vec![MultiOp::Create(create_op(OpCode::Create, Some("/q"), 5))],
        vec![good.clone(), null_path.clone()],
        vec![null_path],
        vec![MultiOp::Create(create_op(OpCode::CreateTtl, None, 5))],
    ] {
        assert_eq!(decode_multi(&ops), Ok(WriteOp::BadMulti), "{ops:?}");
    }
    let list = bytes(|w| write_list(w, &[good.clone(), good.clone()]));
    for length in 0..list.len() {
        assert_eq!(
            decode_op(OpCode::Multi, &list[..length]),
            Ok(Request::Write(WriteOp::BadMulti))
        );
    }
    for kind in [
        0, 3, 4, 6, 7, 8, 9, 11, 12, 14, 16, 20, 22, 100, -1, -11, 77,
    ] {
        for before in [&[][..], std::slice::from_ref(&good)] {
            let mut list = bytes(|w| write_list(w, before));
            list.truncate(list.len() - 9);
            list.extend(bytes(|w| {
                write_entry_header(w, kind, false);
                w.string("/e");
                w.bool(false);
                write_entry_header(w, -1, true);
            }));
            assert_eq!(
                decode_op(OpCode::Multi, &list),
                Ok(Request::Write(WriteOp::BadMulti)),
                "{kind}"
            );
        }
    }
}

#[test]
fn a_null_acl_list_in_a_multi_takes_no_zxid_unless_it_is_a_create_ttl() {
    let no_acl = |op, flags| {
        MultiOp::Create(CreateOp {
            acl: None,
            ..create_op(op, Some("/q"), flags)
        })
    };
    for op in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer] {
        let refused = decode_multi(&[no_acl(op, 0)]);
        assert!(matches!(refused, Err(Refusal::Undecodable(_))));
        assert_eq!(decode_multi(&[no_acl(op, 77)]), Ok(WriteOp::BadMulti));
    }
    for flags in [0, 5] {
        let decoded = decode_multi(&[no_acl(OpCode::CreateTtl, flags)]);
        assert!(matches!(decoded, Ok(WriteOp::Multi(ops)) if ops.len() == 1));
    }
}

/// Type and flags sent, type and TTL that come of it, as found in a log written by Java 3.9.5.
#[test]
fn flags_decide_what_a_create_in_a_multi_is() {
    let rows = [
        (OpCode::Create, 0, OpCode::Create),
        (OpCode::Create, 3, OpCode::Create),
        (OpCode::Create, 4, OpCode::CreateContainer),
        (OpCode::Create2, 0, OpCode::Create2),
        (OpCode::Create2, 4, OpCode::CreateContainer),
        (OpCode::CreateContainer, 0, OpCode::CreateContainer),
        (OpCode::CreateContainer, 1, OpCode::CreateContainer),
        (OpCode::CreateTtl, 0, OpCode::Create),
        (OpCode::CreateTtl, 3, OpCode::Create),
        (OpCode::CreateTtl, 4, OpCode::CreateContainer),
        (OpCode::CreateTtl, 5, OpCode::CreateTtl),
        (OpCode::CreateTtl, 6, OpCode::CreateTtl),
        (OpCode::CreateTtl, 77, OpCode::Create),
    ];
    for (sent, flags, expected) in rows {
        let decoded = decode_multi(&[MultiOp::Create(create_op(sent, Some("/q"), flags))]);
        let wanted = CreateOp {
            ttl_ms: if expected == OpCode::CreateTtl {
                100
            } else {
                -1
            },
            ..create_op(expected, Some("/q"), flags)
        };
        assert_eq!(
            decoded,
            Ok(WriteOp::Multi(vec![MultiOp::Create(wanted)])),
            "{sent:?} {flags}"
        );
    }
}

#[test]
fn the_end_marker_may_say_anything() {
    for marker in [
        [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff],
        [0, 0, 0, 4, 2, 0, 0, 0, 0],
    ] {
        assert_eq!(
            decode_op(OpCode::Multi, &marker),
            Ok(Request::Write(WriteOp::Multi(vec![])))
        );
        assert_eq!(
            decode_op(OpCode::MultiRead, &marker),
            Ok(Request::Read(ReadOp::MultiRead { ops: Some(vec![]) }))
        );
    }
}

#[test]
fn lists_of_a_multi_read() {
    let reads = |paths: &[(i32, Option<&str>)]| {
        bytes(|w| {
            for (kind, path) in paths {
                write_entry_header(w, *kind, false);
                w.string_or_null(*path);
                w.bool(true);
            }
            write_entry_header(w, -1, true);
        })
    };
    assert_eq!(
        decode_op(OpCode::MultiRead, &reads(&[(4, Some("/e")), (8, None)])),
        Ok(Request::Read(ReadOp::MultiRead {
            ops: Some(vec![
                MultiReadOp::GetData { path: Some("/e") },
                MultiReadOp::GetChildren { path: None }
            ])
        }))
    );
    for kind in [0, 3, 6, 12, 22, 77] {
        assert!(is_undecodable(
            OpCode::MultiRead,
            &reads(&[(4, Some("/e")), (kind, Some("/e"))])
        ));
    }
    let create = [MultiOp::Create(create_op(OpCode::Create, Some("/q"), 0))];
    let writes = bytes(|w| write_list(w, &create));
    assert_eq!(
        decode_op(OpCode::MultiRead, &writes),
        Ok(Request::Read(ReadOp::MultiRead { ops: None }))
    );
    let mixed = [&writes[..writes.len() - 9], &reads(&[(4, Some("/e"))])].concat();
    assert!(is_undecodable(OpCode::MultiRead, &mixed));
    assert_eq!(
        decode_op(OpCode::Multi, &mixed),
        Ok(Request::Write(WriteOp::BadMulti))
    );
}

fn any_path() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.9, "(/[a-zé]{0,3}){0,3}")
}

fn any_data() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..9))
}

fn any_acl() -> impl Strategy<Value = Vec<Acl>> {
    prop::collection::vec(
        (any::<i32>(), "[a-z]{0,3}", "[a-z:]{0,4}")
            .prop_map(|(perms, scheme, id)| Acl::new(perms, &scheme, &id)),
        0..3,
    )
}

fn any_create() -> impl Strategy<Value = CreateOp> {
    let op = prop::sample::select(vec![
        OpCode::Create,
        OpCode::Create2,
        OpCode::CreateContainer,
        OpCode::CreateTtl,
    ]);
    (
        op,
        any_path(),
        any_data(),
        prop::option::of(any_acl()),
        -1..8,
        any::<i64>(),
    )
        .prop_map(|(op, path, data, acl, flags, ttl_ms)| CreateOp {
            op,
            path,
            data,
            acl,
            flags,
            ttl_ms: if op == OpCode::CreateTtl { ttl_ms } else { -1 },
        })
}

/// Entries that a multi keeps as they are.
fn any_entry() -> impl Strategy<Value = MultiOp> {
    let path = || any_path().prop_map(|path| Some(path.unwrap_or_default()));
    prop_oneof![
        any_create().prop_map(|create| {
            let mode = CreateMode::from_flags(create.flags).filter(|mode| !mode.is_ttl());
            MultiOp::Create(match create.op {
                OpCode::CreateTtl => CreateOp {
                    flags: 5,
                    path: Some("/t".to_owned()),
                    ..create
                },
                op => CreateOp {
                    op: match mode {
                        Some(CreateMode::Container) => OpCode::CreateContainer,
                        _ => op,
                    },
                    flags: mode.map_or(0, |mode| mode as i32),
                    path: Some(create.path.unwrap_or_default()),
                    acl: Some(create.acl.unwrap_or_default()),
                    ..create
                },
            })
        }),
        (path(), any::<i32>()).prop_map(|(path, version)| MultiOp::Delete { path, version }),
        (path(), any_data(), any::<i32>()).prop_map(|(path, data, version)| MultiOp::SetData {
            path,
            data,
            version
        }),
        (path(), any::<i32>()).prop_map(|(path, version)| MultiOp::Check { path, version }),
    ]
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
    fn lists_round_trip(ops in prop::collection::vec(any_entry(), 0..5)) {
        prop_assert_eq!(decode_multi(&ops), Ok(WriteOp::Multi(ops)));
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
