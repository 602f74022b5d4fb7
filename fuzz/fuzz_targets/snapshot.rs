//! A snapshot, uncompressed: read to its end or refused, whatever its counts and lengths claim.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringkeeper::storage::snapshot_format::fuzz_snapshot;

fuzz_target!(|bytes: &[u8]| {
    // Every node takes at least a path's length, a data length, a key and a stat.
    if let Ok(nodes) = fuzz_snapshot(bytes) {
        assert!(nodes * 76 <= bytes.len());
    }
});
