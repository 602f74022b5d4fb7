//! Replies against captured frames and against the sheet's layouts.

use super::*;
use crate::message::WatchEventKind;
use crate::types::SessionId;
use crate::wire::Reader;
use crate::wire::client::test_client::hex;
use proptest::prelude::*;

/// One frame; its payload, once the length has been checked.
fn payload(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    let frame = out.strip_prefix(b"before").expect("only appended to");
    let (length, rest) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(i32::from_be_bytes(*length) as usize, rest.len());
    rest.to_vec()
}

const STAT: Stat = Stat {
    czxid: Zxid(0x0102),
    mzxid: Zxid(0x0304),
    ctime: 0x05,
    mtime: 0x06,
    version: 0x07,
    cversion: -1,
    aversion: 0x08,
    ephemeral_owner: 0x09,
    data_length: 0x0a,
    num_children: 0x0b,
    pzxid: Zxid(0x0c0d),
};
const STAT_HEX: &str = "0000000000000102 0000000000000304 0000000000000005 0000000000000006 00000007 ffffffff
    00000008 0000000000000009 0000000a 0000000b 0000000000000c0d";

#[test]
fn captured_replies() {
    assert_eq!(
        payload(
            |out| outcome(out, Xid(1), &Outcome { zxid: Zxid(8), result: Ok(WriteResult::Path("/a".to_owned())) },)
        ),
        hex("00000001 0000000000000008 00000000 00000002 2f61")
    );
    assert_eq!(
        payload(|out| notification(
            out,
            &WatchEvent { kind: WatchEventKind::NodeDataChanged, path: "/p1".into(), zxid: Zxid(0x7e) },
        )),
        hex("ffffffff 000000000000007e 00000000 00000003 00000003 00000003 2f7031")
    );
    assert_eq!(payload(|out| ping(out, Zxid(0x80))), hex("fffffffe 0000000000000080 00000000"));
    assert_eq!(payload(|out| unknown_op(out, Xid(1))), hex("00000001 ffffffffffffffff fffffffa"));
}

#[test]
fn captured_connect_response() {
    let mut response = ConnectResponse {
        timeout_ms: 10_000,
        session: SessionId(0x0100_0012_19cd_0000),
        password: hex("29d782eb02a46588af6c79fa1bc94e46").try_into().unwrap(),
        read_only: Some(false),
    };
    let captured = hex("00000000 00002710 0100001219cd0000 00000010 29d782eb02a46588af6c79fa1bc94e46 00");
    assert_eq!(payload(|out| connect(out, &response)), captured);
    response.read_only = None;
    assert_eq!(payload(|out| connect(out, &response)), captured[..36]);
    assert_eq!(
        payload(|out| connect(out, &ConnectResponse::refused(Some(true)))),
        [&[0; 19][..], &[16], &[0; 17]].concat()
    );
}

#[test]
fn a_failed_multi_as_captured() {
    let failed = Outcome {
        zxid: Zxid(5),
        result: Ok(WriteResult::Multi(vec![MultiResult::Error(0), MultiResult::Error(-103), MultiResult::Error(-2)])),
    };
    assert_eq!(
        payload(|out| outcome(out, Xid(9), &failed)),
        hex("00000009 0000000000000005 00000000
             ffffffff 00 00000000 00000000 | ffffffff 00 ffffff99 ffffff99 | ffffffff 00 fffffffe fffffffe
             | ffffffff 01 ffffffff")
    );
}

#[test]
fn a_successful_multi() {
    let entries = vec![
        MultiResult::Create("/a".to_owned()),
        MultiResult::Create2("/b".to_owned(), STAT),
        MultiResult::Delete,
        MultiResult::SetData(STAT),
        MultiResult::Check,
    ];
    let succeeded = Outcome { zxid: Zxid(5), result: Ok(WriteResult::Multi(entries)) };
    let expected = format!(
        "00000009 0000000000000005 00000000
         00000001 00 00000000 00000002 2f61 | 0000000f 00 00000000 00000002 2f62 {STAT_HEX}
         | 00000002 00 00000000 | 00000005 00 00000000 {STAT_HEX} | 0000000d 00 00000000 | ffffffff 01 ffffffff"
    );
    assert_eq!(payload(|out| outcome(out, Xid(9), &succeeded)), hex(&expected));
}

#[test]
fn a_multi_read_with_and_without_an_error_of_its_own() {
    let entries = [
        MultiReadResult::Data(None, STAT),
        MultiReadResult::Error(ErrorCode::NoNode),
        MultiReadResult::Children(vec!["c", "d"]),
    ];
    let expected = format!(
        "00000009 0000000000000005 fffffffb
         00000004 00 00000000 ffffffff {STAT_HEX} | ffffffff 00 ffffff9b ffffff9b
         | 00000008 00 00000000 00000002 00000001 63 00000001 64 | ffffffff 01 ffffffff"
    );
    assert_eq!(payload(|out| multi_read(out, Xid(9), Zxid(5), -5, entries)), hex(&expected));
    assert_eq!(
        payload(|out| multi_read(out, Xid(9), Zxid(5), 0, [])),
        hex("00000009 0000000000000005 00000000 ffffffff 01 ffffffff")
    );
}

#[test]
fn every_other_record() {
    let head = "00000007 0000000000000010 00000000";
    let (xid, zxid) = (Xid(7), Zxid(0x10));
    let is = |got: Vec<u8>, record: &str| assert_eq!(got, hex(&format!("{head} {record}")));
    is(payload(|out| stat(out, xid, zxid, &STAT)), STAT_HEX);
    is(payload(|out| data(out, xid, zxid, Some(b"xy"), &STAT)), &format!("00000002 7879 {STAT_HEX}"));
    is(payload(|out| data(out, xid, zxid, Some(b""), &STAT)), &format!("00000000 {STAT_HEX}"));
    is(payload(|out| data(out, xid, zxid, None, &STAT)), &format!("ffffffff {STAT_HEX}"));
    is(
        payload(|out| acl(out, xid, zxid, &Acl::open_unsafe(), &STAT)),
        &format!("00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 {STAT_HEX}"),
    );
    is(payload(|out| names(out, xid, zxid, ["a", "bc"])), "00000002 00000001 61 00000002 6263");
    is(payload(|out| names(out, xid, zxid, [])), "00000000");
    is(payload(|out| names_and_stat(out, xid, zxid, ["a"], &STAT)), &format!("00000001 00000001 61 {STAT_HEX}"));
    is(payload(|out| int(out, xid, zxid, 0)), "00000000");
    is(payload(|out| path(out, xid, zxid, None)), "ffffffff");
    is(payload(|out| path(out, xid, zxid, Some("/"))), "00000001 2f");
    is(
        payload(|out| who_am_i(out, xid, zxid, [("ip", "1"), ("super", "")].into_iter())),
        "00000002 00000002 6970 00000001 31 00000005 7375706572 00000000",
    );
    let ended = |result| Outcome { zxid, result };
    is(payload(|out| outcome(out, xid, &ended(Ok(WriteResult::Nothing)))), "");
    is(payload(|out| outcome(out, xid, &ended(Ok(WriteResult::Stat(STAT))))), STAT_HEX);
    let created = WriteResult::PathAndStat("/b".to_owned(), STAT);
    is(payload(|out| outcome(out, xid, &ended(Ok(created)))), &format!("00000002 2f62 {STAT_HEX}"));
    let config = WriteResult::Data(Some(b"c".to_vec()), STAT);
    is(payload(|out| outcome(out, xid, &ended(Ok(config)))), &format!("00000001 63 {STAT_HEX}"));
    assert_eq!(
        payload(|out| outcome(out, xid, &ended(Err(ErrorCode::NoNode)))),
        hex("00000007 0000000000000010 ffffff9b")
    );
    assert_eq!(payload(|out| sasl(out, xid, 0, None)), hex("00000007 0000000000000000 00000000 ffffffff"));
}

proptest! {
    /// The fixed layouts agree with the field-by-field writer.
    #[test]
    fn stat_and_data_agree_with_the_writer(
        longs in prop::array::uniform6(any::<i64>()),
        ints in prop::array::uniform5(any::<i32>()),
        bytes in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        xid in any::<i32>(),
        zxid in any::<i64>(),
    ) {
        let shown = Stat {
            czxid: Zxid(longs[0]),
            mzxid: Zxid(longs[1]),
            ctime: longs[2],
            mtime: longs[3],
            version: ints[0],
            cversion: ints[1],
            aversion: ints[2],
            ephemeral_owner: longs[4],
            data_length: ints[3],
            num_children: ints[4],
            pzxid: Zxid(longs[5]),
        };
        let mut expected = Vec::new();
        let mut w = Writer::new(&mut expected);
        w.buffer(bytes.as_deref());
        w.stat(&shown);
        let got = payload(|out| data(out, Xid(xid), Zxid(zxid), bytes.as_deref(), &shown));
        let mut r = Reader::new(&got);
        prop_assert_eq!(r.int("").unwrap(), xid);
        prop_assert_eq!(r.long("").unwrap(), zxid);
        prop_assert_eq!(r.int("").unwrap(), 0);
        prop_assert_eq!(r.rest(), &expected[..]);
        let got = payload(|out| stat(out, Xid(xid), Zxid(zxid), &shown));
        prop_assert_eq!(&got[16..], &expected[expected.len() - 68..]);
    }
}
