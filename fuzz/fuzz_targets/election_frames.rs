//! The bytes of an election connection, from its first: the initiator's message, then notifications. Must not panic,
//! must not find more than there is, and must find the same when more bytes follow. What decodes survives being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::Decoded;
use ringkeeper::wire::election::{
    Received, decode_introduction, encode_introduction, encode_notification, next_notification,
};

fuzz_target!(|stream: &[u8]| {
    let Ok(Decoded::Whole { value, consumed }) = decode_introduction(stream) else {
        return;
    };
    assert!(consumed <= stream.len());
    assert_eq!(decode_introduction(&stream[..consumed]), Ok(Decoded::Whole { value: value.clone(), consumed }));
    if !value.addresses.is_empty() {
        let mut ours = Vec::new();
        encode_introduction(value.server, &value.addresses, true, &mut ours);
        // Addresses are written in a longer form than some are read, which may then exceed what one message holds.
        if let Ok(Decoded::Whole { value: back, .. }) = decode_introduction(&ours) {
            assert_eq!(back, value);
        }
    }
    let mut rest = &stream[consumed..];
    while let Ok(Decoded::Whole { value, consumed }) = next_notification(rest) {
        assert!(consumed <= rest.len());
        if let Received::Notification(found) = &value
            && let Some(config) = &found.config
        {
            let mut ours = Vec::new();
            encode_notification(found.state, &found.vote, config, &mut ours);
            let Ok(Decoded::Whole { value: Received::Notification(back), .. }) = next_notification(&ours) else {
                panic!("what we write is no notification");
            };
            assert_eq!((back.vote, &back.config), (found.vote, &found.config));
        }
        rest = &rest[consumed..];
    }
});
