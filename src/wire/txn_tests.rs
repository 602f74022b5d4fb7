//! Entries there and back, the forms of old releases, and bytes that are no entry.

use super::*;
use proptest::prelude::*;

fn header(zxid: i64) -> TxnHeader {
    TxnHeader {
        session: SessionId(0x0100_0016_23f2_0000),
        cxid: 1,
        zxid: Zxid(zxid),
        time: WallMillis(1_795_335_101_051),
    }
}

fn encoded(txn: &Txn) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&txn.header, &txn.body, txn.digest.as_ref(), &mut bytes);
    bytes
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The worked example of the storage sheet, §3.1.
const CREATE_A: &str = "0100001623f20000 00000001 0000000000000002 000001a2024f9a7b 00000001 00000002 2f61 00000001 78
    00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00 00000001 00000002 00000000cca36c58";

#[test]
fn the_sheets_example_reads_as_described() {
    let bytes = hex(CREATE_A);
    assert_eq!(bytes.len(), 87);
    let txn = decode(&bytes).unwrap();
    assert_eq!(txn.header, header(2));
    assert_eq!(
        txn.body,
        TxnBody::Create {
            op: OpCode::Create,
            path: "/a".into(),
            data: Some(b"x".to_vec()),
            acl: Some(Acl::open_unsafe()),
            ephemeral: false,
            parent_cversion: 1,
        }
    );
    let digest = TxnDigest { version: 2, tree: 0xcca3_6c58 };
    assert_eq!(txn.digest, Some(digest));
    assert_eq!(encoded(&txn), bytes);
    assert_eq!(decode_zxid(&bytes).unwrap(), Zxid(2));
}

#[test]
fn a_create_of_an_old_release_has_no_parent_cversion() {
    let bytes = hex(CREATE_A);
    let old = &bytes[..bytes.len() - 16];
    let txn = decode(old).unwrap();
    let TxnBody::Create { parent_cversion, .. } = txn.body else { panic!("{txn:?}") };
    assert_eq!(parent_cversion, -1);
    assert_eq!(txn.digest, None);
}

#[test]
fn close_session_is_told_apart_from_a_digest_without_list() {
    let head = &hex("0100001623f20000 00000000 0000000000000003 000001a2024f9a7b fffffff5")[..];
    let with = |rest: &str| decode(&[head, &hex(rest)].concat()).unwrap();
    let paths = |txn: &Txn| match &txn.body {
        TxnBody::CloseSession { paths } => paths.clone(),
        other => panic!("{other:?}"),
    };
    let digest = |tree| Some(TxnDigest { version: 2, tree });

    let neither = with("");
    assert_eq!((paths(&neither), neither.digest), (None, None));
    let only_digest = with("00000002 0000000051c6d660");
    assert_eq!((paths(&only_digest), only_digest.digest), (None, digest(0x51c6_d660)));
    let zero_digest = with("00000002 0000000000000000");
    assert_eq!((paths(&zero_digest), zero_digest.digest), (None, digest(0)));
    let empty_list = with("00000000");
    assert_eq!((paths(&empty_list), empty_list.digest), (Some(vec![]), None));
    let both = with("00000001 00000004 2f612f65 00000002 0000000051c6d660");
    assert_eq!((paths(&both), both.digest), (Some(vec!["/a/e".into()]), digest(0x51c6_d660)));
    let list_of_twelve_bytes = with("00000001 00000004 2f612f65");
    assert_eq!(paths(&list_of_twelve_bytes), Some(vec!["/a/e".into()]));
    for txn in [&neither, &only_digest, &zero_digest, &empty_list, &both] {
        assert_eq!(decode(&encoded(txn)).unwrap(), *txn);
    }
}

#[test]
fn what_is_no_transaction_is_refused() {
    let head = "0100001623f20000 00000000 0000000000000003 000001a2024f9a7b";
    for (rest, why) in [
        ("00000063", "unknown type"),
        ("00000003 00000002 2f61", "a read"),
        ("0000000d 00000002 2f61 00000001", "a check outside a multi"),
        ("00000002 ffffffff", "a null path"),
        ("00000002 00000000", "an empty path"),
        ("00000002 00000002 2f61 00", "one byte too many"),
        ("0000000e 00000001 0000000e 00000004 00000000", "a multi in a multi"),
        ("0000000e 00000001 00000002 ffffffff", "a multi entry without record"),
        ("0000000e 7fffffff 00000002", "more entries than bytes"),
    ] {
        let bytes = hex(&format!("{head}{rest}"));
        assert!(decode(&bytes).is_err(), "{why}");
    }
}

#[test]
fn an_acl_id_with_surrogates_stays_readable() {
    let bytes = hex("0100001623f20000 00000001 0000000000000002 000001a2024f9a7b 00000007 00000002 2f61
        00000001 0000001f 00000006 646967657374 00000006 eda0bdedb880 00000001");
    let TxnBody::SetAcl { acl, .. } = decode(&bytes).unwrap().body else { panic!() };
    assert!(acl.unwrap()[0].id.id.contains('\u{fffd}'));
}

fn any_path() -> impl Strategy<Value = String> {
    "/[a-zé]{1,8}(/[a-z0-9]{1,5}){0,3}"
}

fn any_data() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
}

fn any_acl() -> impl Strategy<Value = Option<Vec<Acl>>> {
    let entry = (any::<i32>(), "[a-z]{0,6}", "[a-z:=]{0,9}").prop_map(|(p, s, i)| Acl::new(p, &s, &i));
    proptest::option::of(proptest::collection::vec(entry, 0..3))
}

fn any_plain_body() -> impl Strategy<Value = TxnBody> {
    let create_op = prop_oneof![Just(OpCode::Create), Just(OpCode::Create2)];
    let delete_op = prop_oneof![Just(OpCode::Delete), Just(OpCode::DeleteContainer)];
    let set_op = prop_oneof![Just(OpCode::SetData), Just(OpCode::Reconfig)];
    prop_oneof![
        (create_op, any_path(), any_data(), any_acl(), any::<bool>(), any::<i32>()).prop_map(
            |(op, path, data, acl, ephemeral, parent_cversion)| {
                TxnBody::Create { op, path, data, acl, ephemeral, parent_cversion }
            }
        ),
        (any_path(), any_data(), any_acl(), any::<i32>()).prop_map(|(path, data, acl, parent_cversion)| {
            TxnBody::CreateContainer { path, data, acl, parent_cversion }
        }),
        (any_path(), any_data(), any_acl(), any::<i32>(), any::<i64>()).prop_map(
            |(path, data, acl, parent_cversion, ttl_ms)| TxnBody::CreateTtl {
                path,
                data,
                acl,
                parent_cversion,
                ttl_ms
            }
        ),
        (delete_op, any_path()).prop_map(|(op, path)| TxnBody::Delete { op, path }),
        (set_op, any_path(), any_data(), any::<i32>())
            .prop_map(|(op, path, data, version)| { TxnBody::SetData { op, path, data, version } }),
        (any_path(), any_acl(), any::<i32>()).prop_map(|(path, acl, version)| TxnBody::SetAcl { path, acl, version }),
        any::<i32>().prop_map(TxnBody::Error),
    ]
}

fn any_body() -> impl Strategy<Value = TxnBody> {
    let check = (any_path(), any::<i32>()).prop_map(|(path, version)| TxnBody::Check { path, version });
    let in_multi = prop_oneof![any_plain_body(), check].prop_map(|body| SubTxn { body });
    let paths = proptest::collection::vec(any_path(), 0..4);
    prop_oneof![
        6 => any_plain_body(),
        2 => proptest::collection::vec(in_multi, 0..5).prop_map(TxnBody::Multi),
        1 => any::<i32>().prop_map(|timeout_ms| TxnBody::CreateSession { timeout_ms }),
        1 => proptest::option::of(paths).prop_map(|paths| TxnBody::CloseSession { paths }),
    ]
}

/// Any transaction that a server writes.
pub fn any_txn() -> impl Strategy<Value = Txn> {
    let head = (any::<i64>(), any::<i32>(), any::<i64>(), any::<i64>());
    (head, any_body(), proptest::option::of(any::<u64>())).prop_map(|((session, cxid, zxid, time), body, tree)| Txn {
        header: TxnHeader { session: SessionId(session), cxid, zxid: Zxid(zxid), time: WallMillis(time) },
        body,
        digest: tree.map(|tree| TxnDigest { version: 2, tree }),
    })
}

proptest! {
    #[test]
    fn every_transaction_reads_back_equal(txn in any_txn()) {
        let bytes = encoded(&txn);
        prop_assert_eq!(decode_zxid(&bytes).unwrap(), txn.header.zxid);
        prop_assert_eq!(decode(&bytes).unwrap(), txn);
    }

    #[test]
    fn a_cut_or_changed_entry_never_panics(txn in any_txn(), at in any::<usize>(), with in any::<u8>()) {
        let mut bytes = encoded(&txn);
        let at = at % bytes.len();
        let _ = decode(&bytes[..at]);
        bytes[at] ^= with;
        let _ = decode(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}
