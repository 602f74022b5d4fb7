//! A snapshot on its way to a learner. The first byte says by what pieces it comes. Must not panic, and must find the
//! same by pieces as at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::storage::snapshot_stream::fuzz_snapshot_stream;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let at_once = fuzz_snapshot_stream(stream, stream.len());
    // Every node takes at least a path's length, a data length, a key and a stat.
    if let Ok(Some((nodes, end))) = at_once {
        assert!(nodes * 76 <= end && end <= stream.len());
    }
    // An error in a record whose end never comes may go unseen by pieces: it is not looked at until it can be whole.
    let by_pieces = fuzz_snapshot_stream(stream, usize::from(*first) + 1);
    assert!(by_pieces == at_once || at_once.is_err() && by_pieces == Ok(None), "{by_pieces:?}, {at_once:?}");
});
