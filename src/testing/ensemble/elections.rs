//! Leaders of either kind killed again and again while clients write: whoever leads next has every acknowledged write.
//!
//! `RINGKEEPER_ELECTION_ROUNDS` leaders are killed in each mix (6).

use super::ledger::Load;
use super::{Ensemble, JAVA, OURS};
use crate::differential::walk;
use crate::process::Kind;

const CLIENTS: usize = 3;
/// Acknowledged between one fault and the next.
const WRITES: u64 = 60;

fn rounds() -> usize {
    std::env::var("RINGKEEPER_ELECTION_ROUNDS").map_or(6, |text| text.parse().expect("a number of rounds"))
}

fn leaders_die(kinds: &[Kind]) {
    let mut ensemble = Ensemble::of(kinds);
    ensemble.start_led_by(kinds.len());
    let load = Load::begin(&ensemble.addresses(), CLIENTS);
    let mut led = Vec::new();
    for _ in 0..rounds() {
        load.wait_for_more(WRITES);
        let leader = ensemble.leader();
        led.push(leader);
        ensemble.server_mut(leader).kill();
        load.wait_for_more(WRITES);
        ensemble.server_mut(leader).spawn();
        ensemble.wait_until_serving(&[leader]);
    }
    let ledger = load.end();
    println!(
        "{:?}: led by {led:?}, {} writes acknowledged, {} reconnects",
        kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        ledger.acknowledged(),
        ledger.reconnects()
    );
    ensemble.wait_until_all_serve();
    ensemble.assert_all_equal();
    ledger.check(&walk::tree(ensemble.address(1)));
}

/// The two with the highest ids lead in turns; they are of different kinds.
#[test]
fn ours_and_one_of_javas_lead_in_turns() {
    leaders_die(&[JAVA, OURS, JAVA]);
    leaders_die(&[OURS, JAVA, OURS]);
}

#[test]
fn three_of_ours_lead_in_turns() {
    leaders_die(&[OURS, OURS, OURS]);
}
