//! Lists of multi and multiRead: what Java 3.9.5 was seen to make of them, and round trips.

use super::*;
use crate::message::{ReadOp, WriteOp};
use crate::wire::Writer;
use crate::wire::client::test_client::{
    any_create, any_data, any_path, bytes, create_op, decode_op, is_undecodable, write_create,
};
use crate::wire::client::{Refusal, Request};
use proptest::prelude::*;

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
            MultiOp::SetData { path, data, version } => {
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

fn decode_multi(ops: &[MultiOp]) -> Result<WriteOp, Refusal> {
    match decode_op(OpCode::Multi, &bytes(|w| write_list(w, ops)))? {
        Request::Write(op) => Ok(op),
        other => panic!("a multi became {other:?}"),
    }
}

/// As seen with Java 3.9.5: whatever is wrong with the list of a multi, it takes a zxid.
#[test]
fn bad_lists_of_a_multi_travel_on() {
    let good = MultiOp::Create(create_op(OpCode::Create, Some("/q"), 0));
    let bad_flags = |op| MultiOp::Create(create_op(op, Some("/q"), 77));
    let null_path = MultiOp::Delete { path: None, version: -1 };
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
        assert_eq!(decode_op(OpCode::Multi, &list[..length]), Ok(Request::Write(WriteOp::BadMulti)));
    }
    for kind in [0, 3, 4, 6, 7, 8, 9, 11, 12, 14, 16, 20, 22, 100, -1, -11, 77] {
        for before in [&[][..], std::slice::from_ref(&good)] {
            let mut list = bytes(|w| write_list(w, before));
            list.truncate(list.len() - 9);
            list.extend(bytes(|w| {
                write_entry_header(w, kind, false);
                w.string("/e");
                w.bool(false);
                write_entry_header(w, -1, true);
            }));
            assert_eq!(decode_op(OpCode::Multi, &list), Ok(Request::Write(WriteOp::BadMulti)), "{kind}");
        }
    }
}

#[test]
fn a_null_acl_list_in_a_multi_takes_no_zxid_unless_it_is_a_create_ttl() {
    let no_acl = |op, flags| MultiOp::Create(CreateOp { acl: None, ..create_op(op, Some("/q"), flags) });
    for op in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer] {
        for flags in 0..=6 {
            let refused = decode_multi(&[no_acl(op, flags)]);
            assert!(matches!(refused, Err(Refusal::Undecodable(_))), "{op:?} {flags}");
        }
        assert_eq!(decode_multi(&[no_acl(op, 77)]), Ok(WriteOp::BadMulti));
    }
    for flags in [0, 5] {
        let decoded = decode_multi(&[no_acl(OpCode::CreateTtl, flags)]);
        assert!(matches!(decoded, Ok(WriteOp::Multi(ops)) if ops.len() == 1));
    }
}

/// What flags make of it is decided later; only a type 21 may come with any.
#[test]
fn creates_travel_on_as_they_were_sent() {
    for (op, flags) in [
        (OpCode::Create, 0),
        (OpCode::Create, 4),
        (OpCode::Create2, 3),
        (OpCode::CreateContainer, 0),
        (OpCode::CreateTtl, 0),
        (OpCode::CreateTtl, 4),
        (OpCode::CreateTtl, 5),
        (OpCode::CreateTtl, 77),
    ] {
        let create = create_op(op, Some("/q"), flags);
        let decoded = decode_multi(&[MultiOp::Create(create.clone())]);
        assert_eq!(decoded, Ok(WriteOp::Multi(vec![MultiOp::Create(create)])), "{op:?} {flags}");
    }
}

#[test]
fn the_end_marker_may_say_anything() {
    for marker in [[0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff], [0, 0, 0, 4, 2, 0, 0, 0, 0]] {
        assert_eq!(decode_op(OpCode::Multi, &marker), Ok(Request::Write(WriteOp::Multi(vec![]))));
        assert_eq!(decode_op(OpCode::MultiRead, &marker), Ok(Request::Read(ReadOp::MultiRead { ops: Some(vec![]) })));
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
            ops: Some(vec![MultiReadOp::GetData { path: Some("/e") }, MultiReadOp::GetChildren { path: None }])
        }))
    );
    for kind in [0, 3, 6, 12, 22, 77] {
        assert!(is_undecodable(OpCode::MultiRead, &reads(&[(4, Some("/e")), (kind, Some("/e"))])));
    }
    let create = [MultiOp::Create(create_op(OpCode::Create, Some("/q"), 0))];
    let writes = bytes(|w| write_list(w, &create));
    assert_eq!(decode_op(OpCode::MultiRead, &writes), Ok(Request::Read(ReadOp::MultiRead { ops: None })));
    let mixed = [&writes[..writes.len() - 9], &reads(&[(4, Some("/e"))])].concat();
    assert!(is_undecodable(OpCode::MultiRead, &mixed));
    assert_eq!(decode_op(OpCode::Multi, &mixed), Ok(Request::Write(WriteOp::BadMulti)));
}

/// Entries that a multi keeps as they are.
fn any_entry() -> impl Strategy<Value = MultiOp> {
    let path = || any_path().prop_map(|path| Some(path.unwrap_or_default()));
    prop_oneof![
        any_create().prop_map(|create| {
            let mode = CreateMode::from_flags(create.flags).filter(|mode| !mode.is_ttl());
            MultiOp::Create(match create.op {
                OpCode::CreateTtl => CreateOp { path: Some("/t".to_owned()), ..create },
                _ => CreateOp {
                    flags: mode.map_or(0, |mode| mode as i32),
                    path: Some(create.path.unwrap_or_default()),
                    acl: Some(create.acl.unwrap_or_default()),
                    ..create
                },
            })
        }),
        (path(), any::<i32>()).prop_map(|(path, version)| MultiOp::Delete { path, version }),
        (path(), any_data(), any::<i32>()).prop_map(|(path, data, version)| MultiOp::SetData { path, data, version }),
        (path(), any::<i32>()).prop_map(|(path, version)| MultiOp::Check { path, version }),
    ]
}

proptest! {
    #[test]
    fn lists_round_trip(ops in prop::collection::vec(any_entry(), 0..5)) {
        prop_assert_eq!(decode_multi(&ops), Ok(WriteOp::Multi(ops)));
    }
}
