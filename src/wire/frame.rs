//! Where a client's frames begin and end: `int length`, then that many bytes (client-protocol sheet §1). Looks at
//! the bytes accumulated so far and says which of them are the next payload; copies nothing and keeps nothing, so
//! the connection owns its buffer. What a payload means is `client/request.rs`; which four-letter words are
//! answered, and how, is `admin`.
//!
//! Invariant: a range that is returned lies within the bytes that were passed in, and is never longer than the
//! limit.

use std::ops::Range;

/// Default of `jute.maxbuffer`, bytes: the longest payload a client may send.
pub const PAYLOAD_BYTES_MAX_DEFAULT: usize = 0xf_ffff;

/// The length field.
pub const LENGTH_BYTES: usize = 4;

/// Words that a connection may send instead of its first length. Compared before the length is looked at, since a
/// large `jute.maxbuffer` would make lengths of them. The last one is what telnet sends on an interrupt.
pub const FOUR_LETTER_WORDS: [[u8; 4]; 21] = [
    *b"conf",
    *b"cons",
    *b"crst",
    *b"dirs",
    *b"dump",
    *b"envi",
    *b"gtmk",
    *b"hash",
    *b"hdrl",
    *b"isro",
    *b"lats",
    *b"mntr",
    *b"ruok",
    *b"srst",
    *b"srvr",
    *b"stat",
    *b"stmk",
    *b"wchc",
    *b"wchp",
    *b"wchs",
    [0xff, 0xf4, 0xff, 0xfd],
];

/// What stands at the start of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole frame: where its payload lies. The next frame starts at the range's end.
    Whole(Range<usize>),
    /// The start of one: how many more bytes it needs at least.
    Short { missing: usize },
}

/// What stands at the start of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstFrame {
    Word([u8; 4]),
    Frame(Frame),
}

/// A length no client may send; the connection is closed without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("frame of length {0}")]
    Negative(i32),
    #[error("frame of {bytes} bytes, at most {bytes_max} are accepted")]
    TooLong { bytes: usize, bytes_max: usize },
}

/// The frame at the start of `bytes`, once the ConnectRequest has been accepted.
pub fn next_frame(bytes: &[u8], payload_bytes_max: usize) -> Result<Frame, BadFrame> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(Frame::Short { missing: LENGTH_BYTES - bytes.len() });
    };
    let length = i32::from_be_bytes(*length);
    let payload_bytes = usize::try_from(length).map_err(|_| BadFrame::Negative(length))?;
    if payload_bytes > payload_bytes_max {
        return Err(BadFrame::TooLong { bytes: payload_bytes, bytes_max: payload_bytes_max });
    }
    if payload_bytes > rest.len() {
        return Ok(Frame::Short { missing: payload_bytes - rest.len() });
    }
    Ok(Frame::Whole(LENGTH_BYTES..LENGTH_BYTES + payload_bytes))
}

/// The frame, or the four-letter word, at the start of a connection.
pub fn first_frame(bytes: &[u8], payload_bytes_max: usize) -> Result<FirstFrame, BadFrame> {
    if let Some(word) = bytes.first_chunk::<LENGTH_BYTES>()
        && FOUR_LETTER_WORDS.contains(word)
    {
        return Ok(FirstFrame::Word(*word));
    }
    next_frame(bytes, payload_bytes_max).map(FirstFrame::Frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn the_limit_is_inclusive() {
        let max = PAYLOAD_BYTES_MAX_DEFAULT;
        assert_eq!(next_frame(&[0x00, 0x0f, 0xff, 0xff], max), Ok(Frame::Short { missing: max }));
        assert_eq!(
            next_frame(&[0x00, 0x10, 0x00, 0x00], max),
            Err(BadFrame::TooLong { bytes: 0x10_0000, bytes_max: max })
        );
        assert_eq!(next_frame(&framed(b""), max), Ok(Frame::Whole(4..4)));
    }

    #[test]
    fn negative_lengths_are_refused() {
        for length in [-1, -2, i32::MIN] {
            assert_eq!(next_frame(&length.to_be_bytes(), 100), Err(BadFrame::Negative(length)));
        }
    }

    #[test]
    fn words_count_only_at_the_start_of_a_connection() {
        for word in FOUR_LETTER_WORDS {
            let mut bytes = word.to_vec();
            bytes.push(b'\n');
            assert_eq!(first_frame(&bytes, usize::MAX), Ok(FirstFrame::Word(word)));
            assert!(next_frame(&bytes, 0xf_ffff).is_err());
            assert_eq!(first_frame(&word[..3], 0xf_ffff), Ok(FirstFrame::Frame(Frame::Short { missing: 1 })));
        }
        assert!(first_frame(b"nope", 0xf_ffff).is_err());
        assert!(first_frame(b"GET / HTTP/1.1\r\n", 0xf_ffff).is_err());
    }

    proptest! {
        /// Cut a stream of frames at any point: what came before the cut is found, and what is asked for is
        /// exactly what brings the next answer.
        #[test]
        fn every_split_point_yields_the_same_frames(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..5),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| framed(p)).collect();
            for cut in 0..=stream.len() {
                let mut found = Vec::new();
                let (mut start, mut end) = (0, cut);
                loop {
                    match next_frame(&stream[start..end], 100).unwrap() {
                        Frame::Whole(range) => {
                            found.push(stream[start..end][range.clone()].to_vec());
                            start += range.end;
                        }
                        Frame::Short { missing } => {
                            prop_assert!(missing > 0);
                            if end == stream.len() {
                                break;
                            }
                            end += missing;
                            prop_assert!(end <= stream.len());
                        }
                    }
                }
                prop_assert_eq!(&found, &payloads);
            }
        }

        #[test]
        fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64), max in 0usize..80) {
            match first_frame(&bytes, max) {
                Ok(FirstFrame::Frame(Frame::Whole(range))) => {
                    prop_assert!(range.end <= bytes.len() && range.len() <= max);
                }
                Ok(FirstFrame::Frame(Frame::Short { missing })) => prop_assert!(missing > 0 && missing <= max + 4),
                Ok(FirstFrame::Word(word)) => prop_assert!(bytes.starts_with(&word)),
                Err(_) => prop_assert!(bytes.len() >= 4),
            }
        }
    }
}
