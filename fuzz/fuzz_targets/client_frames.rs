//! A client's byte stream, from its first byte: deframed, then decoded frame by frame, as a connection does it.
//! Must not panic, must not find a frame outside the bytes, and must decode a frame the same when it is cut off
//! behind a record: trailing bytes never change a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::wire::client::{decode, decode_connect, decode_header};
use ringkeeper::wire::frame::{FirstFrame, Frame, first_frame, next_frame};

const PAYLOAD_BYTES_MAX: usize = 4096;

fuzz_target!(|stream: &[u8]| {
    let Ok(FirstFrame::Frame(Frame::Whole(range))) = first_frame(stream, PAYLOAD_BYTES_MAX) else {
        return;
    };
    let _ = decode_connect(&stream[range.clone()]);
    let mut rest = &stream[range.end..];
    while let Ok(Frame::Whole(range)) = next_frame(rest, PAYLOAD_BYTES_MAX) {
        if let Ok(header) = decode_header(&rest[range.clone()]) {
            let decoded = decode(header.op, header.body);
            if decoded.is_ok() {
                let longer = [header.body, &[0xff; 3]].concat();
                // A list that broke off still decodes, into a refusal that takes a zxid; more bytes may mend it.
                assert!(header.op == 14 || decode(header.op, &longer) == decoded);
            }
        }
        rest = &rest[range.end..];
    }
});
