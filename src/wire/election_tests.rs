//! Election bytes: those that ZooKeeper sent, old forms, every cut, and what is none.

use super::*;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn whole<T>(decoded: Result<Decoded<T>, BadBytes>) -> (T, usize) {
    match decoded.unwrap() {
        Decoded::Whole { value, consumed } => (value, consumed),
        Decoded::NeedMore { missing } => panic!("{missing} more expected"),
    }
}

fn notification(bytes: &[u8]) -> Notification {
    match whole(next_notification(bytes)) {
        (Received::Notification(notification), consumed) => {
            assert_eq!(consumed, bytes.len());
            notification
        }
        (Received::Skipped(bad), _) => panic!("{bad}"),
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::frame(&mut bytes, |w| w.raw(body));
    bytes
}

fn address(host: &str, port: u16) -> ElectionAddress {
    ElectionAddress { host: host.to_owned(), port }
}

/// What leader 2 of three answered to a vote (quorum-protocol sheet §3).
#[test]
fn the_captured_reply_of_a_leader() {
    let config = "server.1=127.0.0.1:21011:21012:participant\nserver.2=127.0.0.1:21021:21022:participant\n\
                  server.3=127.0.0.1:21031:21032:participant\nversion=0";
    assert_eq!(config.len(), 138);
    let mut captured =
        hex("00000002 0000000000000002 0000000000000000 0000000000000001 0000000000000001 00000002 0000008a");
    captured.extend(config.as_bytes());
    let captured = framed(&captured);
    let vote = Vote { leader: ServerId(2), zxid: Zxid(0), round: 1, peer_epoch: 1 };
    let found = notification(&captured);
    let expected = Notification { state: ServerState::Leading, vote, version: 2, config: Some(config.into()) };
    assert_eq!(found, expected);
    let mut ours = Vec::new();
    encode_notification(ServerState::Leading, &vote, config, &mut ours);
    assert_eq!(ours, captured);
}

#[test]
fn the_forms_of_older_releases() {
    let head = hex("00000000 0000000000000003 0000000500000007 0000000000000009");
    let found = notification(&framed(&head));
    let vote = Vote { leader: ServerId(3), zxid: Zxid(0x5_0000_0007), round: 9, peer_epoch: 5 };
    assert_eq!(found, Notification { state: ServerState::Looking, vote, version: 0, config: None });
    let with_epoch = [&head[..], &hex("0000000000000006")].concat();
    // The last four of forty bytes are not looked at.
    let found = notification(&framed(&[&with_epoch[..], &hex("00000002")].concat()));
    assert_eq!((found.vote.peer_epoch, found.version, found.config), (6, 0, None));
    let found = notification(&framed(&[&with_epoch[..], &hex("00000001 00000000")].concat()));
    assert_eq!((found.vote.peer_epoch, found.version, found.config), (6, 1, None));
    let found = notification(&framed(&[&with_epoch[..], &hex("00000002 00000001 ff 77")].concat()));
    assert_eq!(found.config.as_deref(), Some("\u{fffd}"));
}

#[test]
fn what_is_no_notification_is_skipped_and_the_connection_stays() {
    let head = hex("00000000 0000000000000003 0000000500000007 0000000000000009 0000000000000006");
    let skipped = [
        head[..27].to_vec(),
        head[..29].to_vec(),
        head.clone(),
        [&head[..], &hex("000000")].concat(),
        [&head[..], &hex("00000002 000000")].concat(),
        [&head[..], &hex("00000002 ffffffff")].concat(),
        [&head[..], &hex("00000002 fffffffe")].concat(),
        [&head[..], &hex("00000002 7fffffff")].concat(),
        [&head[..], &hex("00000002 00000002 61")].concat(),
        [&hex("00000004"), &head[4..28]].concat(),
    ];
    for body in skipped {
        let bytes = [framed(&body), vec![1, 2, 3]].concat();
        let (received, consumed) = whole(next_notification(&bytes));
        assert!(matches!(received, Received::Skipped(_)), "{body:02x?}");
        assert_eq!(consumed, bytes.len() - 3);
    }
}

#[test]
fn frames_of_impossible_length_close_the_connection() {
    for length in [0, -1, -2, i32::MIN, 524_289, i32::MAX] {
        assert!(next_notification(&length.to_be_bytes()).is_err(), "{length}");
    }
    let longest = next_notification(&524_288i32.to_be_bytes());
    assert_eq!(longest, Ok(Decoded::NeedMore { missing: 524_288 }));
}

#[test]
fn introductions() {
    let mut bytes = Vec::new();
    let both = [address("127.0.0.1", 3888), address("0:0:0:0:0:0:0:1", 3889)];
    encode_introduction(ServerId(2), &both, false, &mut bytes);
    assert_eq!(bytes, [&hex("ffffffffffff0000 0000000000000002 0000000e")[..], b"127.0.0.1:3888"].concat());
    let (found, consumed) = whole(decode_introduction(&bytes));
    assert_eq!(consumed, bytes.len());
    assert_eq!(found, Introduction { server: ServerId(2), addresses: both[..1].to_vec() });
    let mut bytes = Vec::new();
    encode_introduction(ServerId(i64::MAX), &both, true, &mut bytes);
    assert_eq!(bytes[..8], hex("ffffffffffff0001"));
    assert!(bytes.ends_with(b"127.0.0.1:3888|[0:0:0:0:0:0:0:1]:3889"));
    let (found, _) = whole(decode_introduction(&bytes));
    assert_eq!(found, Introduction { server: ServerId(i64::MAX), addresses: both.to_vec() });
    let (found, consumed) = whole(decode_introduction(&hex("0000000000000007 ffff")));
    assert_eq!((found.server, found.addresses, consumed), (ServerId(7), vec![], 8));
}

fn introduced(text: &str) -> Result<Vec<ElectionAddress>, BadBytes> {
    let mut bytes = hex("ffffffffffff0001 0000000000000002");
    Writer::new(&mut bytes).string(text);
    decode_introduction(&bytes).map(|decoded| whole(Ok(decoded)).0.addresses)
}

#[test]
fn addresses_that_nobody_can_connect_to() {
    assert_eq!(introduced("0.0.0.0:1|[::]:2|a:3||").unwrap(), [address("a", 3)]);
    assert_eq!(introduced("[::1]:1").unwrap(), [address("0:0:0:0:0:0:0:1", 1)]);
    assert_eq!(introduced("|").unwrap(), []);
    for wrong in ["", "a", "a|b:1", "a:b", "a:", ":5", "a:70000", "a:1:2", "[::1", "|a:1", "a:1||b:2"] {
        let found = introduced(wrong);
        assert!(found.is_err(), "{wrong}: {found:?}");
    }
    for version in [-1i64, -65534, -65537, i64::MIN] {
        assert!(decode_introduction(&version.to_be_bytes()).is_err(), "{version}");
    }
    for length in [0, -1, 2049] {
        let mut bytes = hex("ffffffffffff0000 0000000000000002");
        Writer::new(&mut bytes).int(length);
        assert!(decode_introduction(&bytes).is_err(), "{length}");
    }
}

/// Every cut asks for bytes that are to come, never for more, until the whole is there.
fn check_cuts<T: PartialEq + std::fmt::Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<Decoded<T>, BadBytes>) {
    let expected = whole(decode(bytes));
    assert_eq!(expected.1, bytes.len());
    for cut in 0..bytes.len() {
        match decode(&bytes[..cut]).unwrap() {
            Decoded::NeedMore { missing } => assert!(missing > 0 && cut + missing <= bytes.len()),
            Decoded::Whole { .. } => panic!("whole at {cut} of {}", bytes.len()),
        }
    }
    let longer = [bytes, &[0xff; 5]].concat();
    assert_eq!(whole(decode(&longer)), expected);
}

proptest! {
    #[test]
    fn every_cut(
        state in 0i32..4,
        longs in any::<[i64; 4]>(),
        config in "[ -~\\n]{0,40}",
        addresses in proptest::collection::vec(("[a-z]{1,5}", any::<u16>()), 1..4),
    ) {
        let state = ServerState::from_code(state).unwrap();
        let [leader, zxid, round, peer_epoch] = longs;
        let vote = Vote { leader: ServerId(leader), zxid: Zxid(zxid), round, peer_epoch };
        let mut bytes = Vec::new();
        encode_notification(state, &vote, &config, &mut bytes);
        let config = Some(config.as_str().into());
        prop_assert_eq!(notification(&bytes), Notification { state, vote, version: 2, config });
        check_cuts(&bytes, next_notification);
        let addresses: Vec<_> = addresses.iter().map(|(host, port)| address(host, *port)).collect();
        let mut bytes = Vec::new();
        encode_introduction(ServerId(leader), &addresses, true, &mut bytes);
        prop_assert_eq!(&whole(decode_introduction(&bytes)).0.addresses, &addresses);
        check_cuts(&bytes, decode_introduction);
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode_introduction(&bytes);
        let _ = decode_introduction(&[&hex("ffffffffffff0001 0000000000000002")[..], &bytes].concat());
        let _ = next_notification(&framed(&bytes));
    }
}
