//! Quorum packets: a captured session, there and back, every cut, and what is none.

use super::*;
use proptest::prelude::*;

const DATA_BYTES_MAX: usize = 2 << 20;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decoder(from: Side) -> QuorumDecoder {
    QuorumDecoder::new(from, DATA_BYTES_MAX)
}

/// All packets of a stream that came whole.
fn packets(from: Side, mut bytes: &[u8]) -> Result<Vec<QuorumPacket>, BadBytes> {
    let mut decoder = decoder(from);
    let mut packets = Vec::new();
    while let Decoded::Whole { value, consumed } = decoder.next(bytes)? {
        packets.push(value);
        bytes = &bytes[consumed..];
    }
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    Ok(packets)
}

const LEADER: Side = Side::Leader;
const LEARNER: Side = Side::Learner;
const EPOCH_1: Zxid = Zxid(0x1_0000_0000);
const SESSION: SessionId = SessionId(0x0100_0017_b4dc_0000);
const CREATE_SESSION: &str =
    "01000017b4dc0000 00000000 0000000100000001 000001a202518eed fffffff6 00002710 00000002 0000000051c6d660";
const ERROR: &str = "01000017b4dc0000 00000002 0000000100000003 000001a202518eed ffffffff ffffff92";

/// Follower 1 joins leader 2 (quorum-protocol sheet §17): who said it, its bytes, what it means.
fn captured() -> Vec<(Side, String, QuorumPacket)> {
    let config = "server.1=127.0.0.1:1:2:participant\nversion=0";
    let config_hex: String = config.bytes().map(|byte| format!("{byte:02x}")).collect();
    let info = LearnerInfo { server: ServerId(1), protocol_version: 0x10000, config_version: 0, drops_log: false };
    let request = |cxid, op, body: &str, ids: &[(&str, &str)]| {
        let ids = ids.iter().map(|(scheme, id)| Id::new(scheme, id)).collect();
        QuorumPacket::Request(ForwardedRequest { session: SESSION, cxid, op, body: hex(body), ids })
    };
    let ids = [("ip", "127.0.0.1"), ("digest", "u:8")];
    let rows = vec![
        (
            LEARNER,
            "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff",
            QuorumPacket::LearnerInfo { observer: false, accepted_epoch: 0, info: Some(info) },
        ),
        (
            LEADER,
            "00000011 0000000100000000 00000004 00010000 ffffffff",
            QuorumPacket::LeaderInfo { epoch: 1, protocol_version: 0x10000 },
        ),
        (
            LEARNER,
            "00000012 0000000000000000 00000004 00000000 ffffffff",
            QuorumPacket::AckEpoch { last_zxid: Zxid(0), current_epoch: Some(0) },
        ),
        (LEADER, "0000000d 0000000000000000 ffffffff ffffffff", QuorumPacket::Diff { zxid: Zxid(0) }),
        (LEARNER, "00000003 0000000100000000 ffffffff ffffffff", QuorumPacket::Ack { zxid: EPOCH_1 }),
        (LEADER, "0000000c ffffffffffffffff ffffffff ffffffff", QuorumPacket::UpToDate),
        (LEADER, "00000005 0000000100000000 ffffffff ffffffff", QuorumPacket::Ping { zxid: EPOCH_1, touched: vec![] }),
        (LEARNER, "00000005 0000000100000000 00000000 ffffffff", QuorumPacket::Ping { zxid: EPOCH_1, touched: vec![] }),
        (
            LEARNER,
            "00000005 0000000100000000 0000000c 01000017b4dc0000 00002710 ffffffff",
            QuorumPacket::Ping { zxid: EPOCH_1, touched: vec![(SESSION, 10_000)] },
        ),
        (
            LEARNER,
            "00000001 ffffffffffffffff 00000014 01000017b4dc0000 00000000 fffffff6 00002710 ffffffff",
            request(0, -10, "00002710", &[]),
        ),
        (
            LEARNER,
            "00000001 ffffffffffffffff 00000012 01000017b4dc0000 00000001 00000001 abcd \
             00000002 00000002 6970 00000009 3132372e302e302e31 00000006 646967657374 00000003 753a38",
            request(1, 1, "abcd", &ids),
        ),
        (LEADER, "00000004 0000000100000001 ffffffff ffffffff", QuorumPacket::Commit { zxid: EPOCH_1.next() }),
        (LEADER, "00000007 0000000000000000 ffffffff ffffffff", QuorumPacket::Sync),
        (
            LEARNER,
            "00000006 ffffffffffffffff 0000000c 01000017b4dc0000 00002710 ffffffff",
            QuorumPacket::Revalidate { session: SESSION, timeout_ms: 10_000, resumes: false },
        ),
        (
            LEARNER,
            "00000006 ffffffffffffffff 0000000d 01000017b4dc0000 00002710 01 ffffffff",
            QuorumPacket::Revalidate { session: SESSION, timeout_ms: 10_000, resumes: true },
        ),
        (
            LEADER,
            "00000006 ffffffffffffffff 00000009 01000017b4dc0000 01 ffffffff",
            QuorumPacket::Revalidated { session: SESSION, valid: true },
        ),
    ];
    let mut rows: Vec<_> = rows.into_iter().map(|(from, bytes, packet)| (from, bytes.to_owned(), packet)).collect();
    let with_data = |head: &str, data: &str| format!("{head} {:08x} {data} ffffffff", hex(data).len());
    rows.push((
        LEADER,
        with_data("0000000a 0000000100000000", &config_hex),
        QuorumPacket::NewLeader { zxid: EPOCH_1, config: Some(config.into()) },
    ));
    for (number, entry) in [(1, CREATE_SESSION), (3, ERROR)] {
        let zxid = Zxid(EPOCH_1.0 + number);
        let entry_bytes: Arc<[u8]> = hex(entry).into();
        rows.push((
            LEADER,
            with_data(&format!("00000002 {:016x}", zxid.0), entry),
            QuorumPacket::Proposal { zxid, entry: entry_bytes.clone() },
        ));
        rows.push((
            LEADER,
            with_data(&format!("00000008 {:016x}", zxid.0), entry),
            QuorumPacket::Inform { zxid, entry: entry_bytes.clone() },
        ));
        rows.push((
            LEADER,
            with_data(&format!("00000013 {:016x}", zxid.0), &format!("0000000000000002 {entry}")),
            QuorumPacket::InformAndActivate { zxid, designated: ServerId(2), entry: entry_bytes },
        ));
    }
    rows
}

#[test]
fn the_captured_session_byte_for_byte() {
    for (from, bytes, packet) in captured() {
        let bytes = hex(&bytes);
        let mut ours = Vec::new();
        encode(&packet, from, &mut ours);
        assert_eq!(ours, bytes, "{packet:?}");
        assert_eq!(packets(from, &bytes).unwrap(), [packet]);
    }
}

#[test]
fn the_header_of_an_entry_without_its_body() {
    let header = txn::decode_header(&hex(CREATE_SESSION)).unwrap();
    assert_eq!((header.session, header.cxid, header.zxid), (SESSION, 0, EPOCH_1.next()));
    assert_eq!(header, txn::decode(&hex(CREATE_SESSION)).unwrap().header);
    assert!(txn::decode_header(&hex(CREATE_SESSION)[..27]).is_err());
}

#[test]
fn older_and_anonymous_learners() {
    let info = |data: &str| {
        let data = if data.is_empty() { "ffffffff".to_owned() } else { format!("{:08x} {data}", hex(data).len()) };
        match packets(LEARNER, &hex(&format!("00000010 0000000200000000 {data} ffffffff")))?.remove(0) {
            QuorumPacket::LearnerInfo { observer: true, accepted_epoch: 2, info } => Ok(info),
            other => panic!("{other:?}"),
        }
    };
    let with = |protocol_version, config_version| {
        Ok::<_, BadBytes>(Some(LearnerInfo { server: ServerId(7), protocol_version, config_version, drops_log: false }))
    };
    assert_eq!(info(""), Ok(None));
    assert_eq!(info("0000000000000007"), with(1, 0));
    assert_eq!(info("0000000000000007 00010000"), with(0x10000, 0));
    assert_eq!(info("0000000000000007 00010000 0000000000000009"), with(0x10000, 9));
    assert!(info("00000000000007").is_err());
}

#[test]
fn packets_that_none_may_send() {
    let max = format!("{:08x}", DATA_BYTES_MAX + 1);
    for (from, bytes) in [
        (LEADER, "00000000 0000000000000000 ffffffff ffffffff".to_owned()),
        (LEADER, "00000014 0000000000000000 ffffffff ffffffff".to_owned()),
        (LEADER, "ffffffff 0000000000000000 ffffffff ffffffff".to_owned()),
        // The other side's.
        (LEADER, "00000003 0000000000000000 ffffffff ffffffff".to_owned()),
        (LEARNER, "00000004 0000000000000000 ffffffff ffffffff".to_owned()),
        // Lengths.
        (LEADER, "00000002 0000000000000001 fffffffe ffffffff".to_owned()),
        (LEADER, format!("00000002 0000000000000001 {max} ffffffff")),
        (LEARNER, "00000001 ffffffffffffffff ffffffff 7fffffff".to_owned()),
        // Data that is missing or short.
        (LEADER, "00000002 0000000000000001 ffffffff ffffffff".to_owned()),
        (LEARNER, "00000001 ffffffffffffffff 00000004 01000017 ffffffff".to_owned()),
        (LEARNER, "00000005 0000000000000000 00000004 01000017 ffffffff".to_owned()),
        (LEARNER, "00000012 0000000000000000 ffffffff ffffffff".to_owned()),
        (LEADER, "00000006 ffffffffffffffff 00000008 01000017b4dc0000 ffffffff".to_owned()),
        // An entry of another zxid.
        (LEADER, format!("00000002 0000000100000002 0000002c {CREATE_SESSION} ffffffff")),
    ] {
        assert!(packets(from, &hex(&bytes)).is_err(), "{bytes}");
    }
}

/// A megabyte that comes byte by byte is not walked again for each.
#[test]
fn dribbling_bytes_cost_linear_time() {
    let entry: Arc<[u8]> = [hex(CREATE_SESSION), vec![0; 1 << 20]].concat().into();
    let mut bytes = Vec::new();
    encode(&QuorumPacket::Proposal { zxid: EPOCH_1.next(), entry }, LEADER, &mut bytes);
    let ids = (0..50_000).map(|i| Id::new("ip", &i.to_string())).collect();
    let request = ForwardedRequest { session: SESSION, cxid: 1, op: 1, body: vec![0; 9], ids };
    let mut with_ids = Vec::new();
    encode(&QuorumPacket::Request(request), LEARNER, &mut with_ids);
    for (from, bytes) in [(LEADER, bytes), (LEARNER, with_ids)] {
        let mut decoder = decoder(from);
        for have in 0..bytes.len() {
            assert!(matches!(decoder.next(&bytes[..have]).unwrap(), Decoded::NeedMore { missing } if missing > 0));
        }
        assert!(matches!(decoder.next(&bytes).unwrap(), Decoded::Whole { consumed, .. } if consumed == bytes.len()));
    }
}

fn any_entry() -> impl Strategy<Value = (Zxid, Arc<[u8]>)> {
    (any::<i64>(), proptest::collection::vec(any::<u8>(), 20..60)).prop_map(|(zxid, mut bytes)| {
        bytes.splice(12..12, zxid.to_be_bytes());
        (Zxid(zxid), bytes.into())
    })
}

fn from_leader() -> impl Strategy<Value = QuorumPacket> {
    let zxid = || any::<i64>().prop_map(Zxid);
    prop_oneof![
        any_entry().prop_map(|(zxid, entry)| QuorumPacket::Proposal { zxid, entry }),
        zxid().prop_map(|zxid| QuorumPacket::Commit { zxid }),
        zxid().prop_map(|zxid| QuorumPacket::Ping { zxid, touched: vec![] }),
        (any::<i64>(), any::<bool>())
            .prop_map(|(session, valid)| QuorumPacket::Revalidated { session: SessionId(session), valid }),
        Just(QuorumPacket::Sync),
        any_entry().prop_map(|(zxid, entry)| QuorumPacket::Inform { zxid, entry }),
        (zxid(), any::<i64>())
            .prop_map(|(zxid, id)| QuorumPacket::CommitAndActivate { zxid, designated: ServerId(id) }),
        (any_entry(), any::<i64>()).prop_map(|((zxid, entry), id)| QuorumPacket::InformAndActivate {
            zxid,
            designated: ServerId(id),
            entry
        }),
        (zxid(), proptest::option::of("[ -~\\n]{2,40}"))
            .prop_map(|(zxid, config)| QuorumPacket::NewLeader { zxid, config: config.map(|text| text.into()) }),
        Just(QuorumPacket::UpToDate),
        zxid().prop_map(|zxid| QuorumPacket::Diff { zxid }),
        zxid().prop_map(|zxid| QuorumPacket::Trunc { zxid }),
        zxid().prop_map(|zxid| QuorumPacket::Snap { zxid }),
        (any::<i32>(), any::<i32>())
            .prop_map(|(epoch, protocol_version)| QuorumPacket::LeaderInfo { epoch: epoch.into(), protocol_version }),
    ]
}

fn from_learner() -> impl Strategy<Value = QuorumPacket> {
    let zxid = || any::<i64>().prop_map(Zxid);
    let touched = proptest::collection::vec((any::<i64>().prop_map(SessionId), any::<i32>()), 0..5);
    let ids = proptest::collection::vec(("[a-z]{0,6}", "[a-z:]{0,9}"), 0..4);
    let info = proptest::option::of((any::<i64>(), any::<i32>(), any::<i64>()));
    prop_oneof![
        (any::<i64>(), any::<i32>(), any::<i32>(), proptest::collection::vec(any::<u8>(), 0..40), ids).prop_map(
            |(session, cxid, op, body, ids)| {
                let ids = ids.iter().map(|(scheme, id)| Id::new(scheme, id)).collect();
                QuorumPacket::Request(ForwardedRequest { session: SessionId(session), cxid, op, body, ids })
            }
        ),
        zxid().prop_map(|zxid| QuorumPacket::Ack { zxid }),
        (zxid(), touched).prop_map(|(zxid, touched)| QuorumPacket::Ping { zxid, touched }),
        (any::<i64>(), any::<i32>(), any::<bool>()).prop_map(|(session, timeout_ms, resumes)| {
            QuorumPacket::Revalidate { session: SessionId(session), timeout_ms, resumes }
        }),
        (any::<bool>(), any::<i32>(), info, any::<bool>()).prop_map(|(observer, epoch, info, drops_log)| {
            QuorumPacket::LearnerInfo {
                observer,
                accepted_epoch: epoch.into(),
                info: info.map(|(server, protocol_version, config_version)| LearnerInfo {
                    server: ServerId(server),
                    protocol_version,
                    config_version,
                    drops_log,
                }),
            }
        }),
        (zxid(), proptest::option::of(0i32..))
            .prop_map(|(last_zxid, current_epoch)| QuorumPacket::AckEpoch { last_zxid, current_epoch }),
    ]
}

fn any_stream() -> impl Strategy<Value = (Side, Vec<QuorumPacket>)> {
    prop_oneof![
        proptest::collection::vec(from_leader(), 1..6).prop_map(|packets| (LEADER, packets)),
        proptest::collection::vec(from_learner(), 1..6).prop_map(|packets| (LEARNER, packets)),
    ]
}

proptest! {
    #[test]
    fn whatever_the_pieces_the_packets_are_the_same(
        (from, sent) in any_stream(),
        pieces in proptest::collection::vec(1usize..30, 1..200),
    ) {
        let mut bytes = Vec::new();
        for packet in &sent {
            encode(packet, from, &mut bytes);
        }
        let (mut decoder, mut found) = (decoder(from), Vec::new());
        let (mut start, mut have) = (0, 0);
        for piece in pieces.into_iter().chain([bytes.len()]) {
            have = bytes.len().min(have + piece);
            loop {
                match decoder.next(&bytes[start..have]).unwrap() {
                    Decoded::Whole { value, consumed } => {
                        found.push(value);
                        start += consumed;
                    }
                    Decoded::NeedMore { missing } => {
                        prop_assert!(missing > 0);
                        prop_assert!(start == bytes.len() || have + missing <= bytes.len());
                        break;
                    }
                }
            }
        }
        prop_assert_eq!(found, sent);
        prop_assert_eq!(start, bytes.len());
    }

    #[test]
    fn any_bytes_get_an_answer(kind in 0u8..21, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for from in [LEADER, LEARNER] {
            let _ = packets_or_rest(from, &bytes);
            let _ = packets_or_rest(from, &[&[0, 0, 0, kind][..], &bytes].concat());
            let sized = [&[0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, bytes.len() as u8][..], &bytes, &[0xff; 4]];
            let _ = packets_or_rest(from, &sized.concat());
        }
    }
}

fn packets_or_rest(from: Side, mut bytes: &[u8]) -> Result<(), BadBytes> {
    let mut decoder = decoder(from);
    while let Decoded::Whole { consumed, .. } = decoder.next(bytes)? {
        bytes = &bytes[consumed..];
    }
    Ok(())
}
