//! Packets between leader and learner. The first byte says from which side they come and by what pieces. Must not
//! panic, must find the same packets by pieces as at once, and what decodes survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::message::QuorumPacket;
use ringkeeper::wire::Decoded;
use ringkeeper::wire::quorum::{QuorumDecoder, Side, encode};

const DATA_BYTES_MAX: usize = 4096;

/// The packets, where they end, and whether something is wrong behind them.
fn decode(from: Side, stream: &[u8], piece_bytes: usize) -> (Vec<QuorumPacket>, usize, bool) {
    let mut decoder = QuorumDecoder::new(from, DATA_BYTES_MAX);
    let (mut packets, mut start, mut have) = (Vec::new(), 0, 0);
    while have < stream.len() {
        have = stream.len().min(have + piece_bytes);
        loop {
            match decoder.next(&stream[start..have]) {
                Ok(Decoded::Whole { value, consumed }) => {
                    packets.push(value);
                    start += consumed;
                }
                Ok(Decoded::NeedMore { missing }) => {
                    assert!(missing > 0);
                    break;
                }
                Err(_) => return (packets, start, true),
            }
        }
    }
    (packets, start, false)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let from = if first & 1 == 0 { Side::Leader } else { Side::Learner };
    let at_once = decode(from, stream, stream.len().max(1));
    assert!(at_once.1 <= stream.len());
    assert_eq!(decode(from, stream, usize::from(first >> 1) + 1), at_once);
    let mut ours = Vec::new();
    for packet in &at_once.0 {
        encode(packet, from, &mut ours);
    }
    let (back, end, _) = decode(from, &ours, ours.len().max(1));
    // Text that was not UTF-8 is written in a longer form, which may exceed the limit.
    if end == ours.len() {
        assert_eq!(back, at_once.0);
    }
});
