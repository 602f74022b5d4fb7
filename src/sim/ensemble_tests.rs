//! Ensembles of the usual run; the long one is `cargo run --release --bin sim`.

use super::{Counts, run};
use std::time::{Duration, Instant};

const SEEDS_MAX: u64 = 300;
const TIME_MAX: Duration = Duration::from_secs(12);

#[test]
fn ensembles_keep_their_promises_whatever_happens_to_them() {
    let began = Instant::now();
    let mut counts = Counts::default();
    for seed in 0..SEEDS_MAX {
        if began.elapsed() > TIME_MAX {
            break;
        }
        let report = run(seed, None, false);
        assert!(report.failure.is_none(), "{report}");
        counts.add(&report.counts);
    }
    println!("{:?}", counts.each());
    assert!(counts.commits > counts.seeds * 100, "{counts:?}");
    assert!(counts.seeds < 30 || counts.configurations > counts.seeds / 2, "members hardly change: {counts:?}");
}

#[test]
fn a_seed_does_the_same_again() {
    // In the last one members change, on disks that fail.
    for seed in [0, 1, 2, 330] {
        assert_eq!(run(seed, None, false).trace_hash, run(seed, None, false).trace_hash, "seed {seed}");
    }
}
