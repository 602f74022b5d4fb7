//! Where a record ends whose bytes are still coming. Each looks at a byte once, however small the pieces are in which
//! the bytes arrive: what was walked stays walked.

use super::{BadBytes, Found};

/// What can be said about bytes that are still coming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// At least so many bytes more, one or more; before they are there, asking again says the same.
    NeedMore { missing: usize },
    /// The value, and how many bytes it took.
    Whole { value: T, consumed: usize },
}

/// Length of a buffer or string at `at`, null as 0. `Err` with what is missing where its four bytes are not all there.
pub fn buffer_length(bytes: &[u8], at: usize, what: &'static str, max: usize) -> Result<Decoded<usize>, BadBytes> {
    let Some(length) = int_at(bytes, at) else {
        return Ok(Decoded::NeedMore { missing: at + 4 - bytes.len() });
    };
    match length {
        -1 => Ok(Decoded::Whole { value: 0, consumed: 4 }),
        0.. if length as usize <= max => Ok(Decoded::Whole { value: length as usize, consumed: 4 }),
        _ => Err(BadBytes { what, offset: at, found: Found::Length(length) }),
    }
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(i32::from_be_bytes(*bytes))
}

/// Finds the end of a vector of ids, each two strings behind `prefix_bytes`: 0 in a list of identities, 4 in an ACL.
#[derive(Clone, Debug)]
pub struct IdVectorScan {
    what: &'static str,
    prefix_bytes: usize,
    /// Everything before is walked.
    at: usize,
    /// Strings to come; `None` before the count was seen.
    strings_left: Option<usize>,
}

impl IdVectorScan {
    /// `at`: where the count stands.
    pub fn new(what: &'static str, at: usize, prefix_bytes: usize) -> IdVectorScan {
        IdVectorScan { what, prefix_bytes, at, strings_left: None }
    }

    /// `bytes`: those of the call before and any number more. The value is where the vector ends, never beyond
    /// `end_max`.
    pub fn advance(&mut self, bytes: &[u8], end_max: usize) -> Result<Decoded<usize>, BadBytes> {
        let mut left = match self.strings_left {
            Some(left) => left,
            None => match int_at(bytes, self.at) {
                None => return Ok(Decoded::NeedMore { missing: self.at + 4 - bytes.len() }),
                Some(count) => {
                    self.at += 4;
                    // Null and, as in Java's loop, any other negative count have no elements.
                    2 * count.max(0) as usize
                }
            },
        };
        loop {
            self.strings_left = Some(left);
            // What is still to come takes at least this.
            let end_min = self.at + left * 4 + left / 2 * self.prefix_bytes;
            if end_min > end_max {
                let found = Found::Short { needed: end_min, left: end_max };
                return Err(BadBytes { what: self.what, offset: self.at, found });
            }
            if left == 0 {
                return Ok(whole_at(bytes, self.at));
            }
            let length_at = self.at + if left.is_multiple_of(2) { self.prefix_bytes } else { 0 };
            match buffer_length(bytes, length_at, self.what, end_max)? {
                Decoded::NeedMore { .. } => return Ok(Decoded::NeedMore { missing: end_min - bytes.len() }),
                Decoded::Whole { value, consumed } => {
                    self.at = length_at + consumed + value;
                    left -= 1;
                }
            }
        }
    }
}

/// `end`, once all bytes before it are there.
fn whole_at(bytes: &[u8], end: usize) -> Decoded<usize> {
    match end.checked_sub(bytes.len()) {
        None | Some(0) => Decoded::Whole { value: end, consumed: end },
        Some(missing) => Decoded::NeedMore { missing },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Acl;
    use crate::wire::Writer;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_is_found_whatever_the_pieces(
            acl in proptest::collection::vec((any::<i32>(), "[a-z]{0,4}", "[a-z]{0,9}"), 0..5),
            pieces in proptest::collection::vec(1usize..12, 0..80),
        ) {
            let acl: Vec<Acl> = acl.iter().map(|(perms, scheme, id)| Acl::new(*perms, scheme, id)).collect();
            let mut bytes = vec![7; 3];
            Writer::new(&mut bytes).acl(Some(&acl));
            let end = bytes.len();
            bytes.extend([0xff; 9]);
            let mut scan = IdVectorScan::new("acl", 3, 4);
            let mut have = 3;
            for piece in pieces.into_iter().chain([bytes.len()]) {
                have = bytes.len().min(have + piece);
                match scan.advance(&bytes[..have], 1000).unwrap() {
                    Decoded::NeedMore { missing } => prop_assert!(missing > 0 && have + missing <= end),
                    Decoded::Whole { value, .. } => {
                        prop_assert_eq!(value, end);
                        prop_assert!(have >= end);
                    }
                }
            }
            prop_assert_eq!(scan.advance(&bytes, 1000), Ok(Decoded::Whole { value: end, consumed: end }));
        }
    }

    #[test]
    fn counts_and_lengths_beyond_the_limit() {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).int(i32::MAX);
        assert!(IdVectorScan::new("ids", 0, 0).advance(&bytes, 1 << 20).is_err());
        for length in [-2, 101] {
            let mut bytes = Vec::new();
            Writer::new(&mut bytes).int(1);
            Writer::new(&mut bytes).int(length);
            assert!(IdVectorScan::new("ids", 0, 0).advance(&bytes, 100).is_err(), "{length}");
        }
        let null = (-1i32).to_be_bytes();
        let end = IdVectorScan::new("ids", 0, 0).advance(&null, 100);
        assert_eq!(end, Ok(Decoded::Whole { value: 4, consumed: 4 }));
    }
}
