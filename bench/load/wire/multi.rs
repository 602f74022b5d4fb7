//! The reply of a multi or multiRead: one result after the other. A multi that failed is answered with an error in every
//! result and none in the reply's header; of a multiRead single reads may fail.

use crate::wire::{int_at, op_code};

const ERROR_RESULT: i32 = -1;
const RUNTIME_INCONSISTENCY: i32 = -2;
/// type, done, err.
const HEADER_BYTES: usize = 9;
const STAT_BYTES: usize = 68;

/// The first error in the results, or 0. Where a multi failed, the results of its innocent operations hold 0 and
/// RUNTIMEINCONSISTENCY: neither is the reason.
pub fn first_error(body: &[u8]) -> i32 {
    let mut at = 0;
    while let (Some(op), Some(0)) = (int_at(body, at), body.get(at + 4)) {
        at += HEADER_BYTES;
        match op {
            ERROR_RESULT => match int_at(body, at) {
                Some(0 | RUNTIME_INCONSISTENCY) => at += 4,
                error => return error.unwrap_or(0),
            },
            op_code::SET_DATA => at += STAT_BYTES,
            op_code::CREATE => at += 4 + length_at(body, at),
            op_code::GET_DATA => at += 4 + length_at(body, at) + STAT_BYTES,
            _ => {}
        }
    }
    0
}

fn length_at(body: &[u8], at: usize) -> usize {
    int_at(body, at).unwrap_or(0).max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    const END: &str = "ffffffff 01 ffffffff";

    #[test]
    fn a_failed_multi_tells_why() {
        // The second of three operations found no znode.
        let failed = "ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b ffffffff 00 fffffffe fffffffe";
        assert_eq!(first_error(&hex(&format!("{failed}{END}"))), -101);
    }

    #[test]
    fn results_of_every_kind_are_walked_over() {
        let (check, delete) = ("0000000d 00 00000000", "00000002 00 00000000");
        let set = format!("00000005 00 00000000 {}", "00".repeat(STAT_BYTES));
        let create = "00000001 00 00000000 00000002 2f61";
        let get = format!("00000004 00 00000000 00000003 616263 {}", "00".repeat(STAT_BYTES));
        let fine = format!("{check}{set}{create}{delete}{get}");
        assert_eq!(first_error(&hex(&format!("{fine}{END}"))), 0);
        assert_eq!(first_error(&hex(&format!("{fine} ffffffff 00 ffffff9a ffffff9a {END}"))), -102);
        assert_eq!(first_error(b"nonsense"), 0);
    }
}
