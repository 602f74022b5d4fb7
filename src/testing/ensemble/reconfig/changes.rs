//! One change after the other, under load: a server joins, changes its role back and forth, leaves; the leader leaves; a list as
//! a whole; a restart of everybody from
//! the files, read by servers of the other kind.

use super::*;
use crate::differential::walk;
use crate::ensemble::ledger::Load;
use crate::ensemble::{JAVA, OURS};

const WRITES: u64 = 40;

fn tell(kinds: &[Kind]) {
    assert_eq!(kinds.len(), 4);
    println!("{:?}", kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>());
    let (mut ensemble, lines) = reconfigurable(kinds, 3);
    start(&mut ensemble, &[1, 2, 3]);
    let p = |ids: &[usize]| -> Vec<String> { ids.iter().map(|id| lines.participant(*id)).collect() };
    wait_for_one_config(&ensemble, &[1, 2, 3], &p(&[1, 2, 3]));
    let load = Load::begin(&[ensemble.address(1), ensemble.address(2), ensemble.address(3)], 3);
    load.wait_for_more(WRITES);

    // One joins: first it follows without a vote.
    start(&mut ensemble, &[4]);
    wait_for_one_config(&ensemble, &[4], &p(&[1, 2, 3]));
    reconfig(&ensemble, 1, &lines.participant(4), "", "");
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &p(&[1, 2, 3, 4]));
    load.wait_for_more(WRITES);

    // A follower becomes an observer, and a follower again.
    let follower = [1, 2].into_iter().find(|id| ensemble.leader() != *id).expect("one leads");
    let others: Vec<usize> = [1, 2, 3, 4].into_iter().filter(|id| *id != follower).collect();
    let mut observed = p(&others);
    observed.push(lines.of(follower, "observer"));
    reconfig(&ensemble, others[0], &lines.of(follower, "observer"), "", "");
    ensemble.wait_for(follower, "observes", |mode| mode == Some("observer"));
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &observed);
    load.wait_for_more(WRITES);
    reconfig(&ensemble, others[0], &lines.participant(follower), "", "");
    ensemble.wait_for(follower, "follows", |mode| mode == Some("follower"));
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &p(&[1, 2, 3, 4]));
    load.wait_for_more(WRITES);

    // A follower leaves, and goes on without a vote.
    reconfig(&ensemble, others[0], "", &follower.to_string(), "");
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &p(&others));
    ensemble.wait_for(follower, "follows", |mode| mode == Some("follower"));
    load.wait_for_more(WRITES);

    // The leader leaves: one of the others leads without an election.
    let leader = ensemble.leader();
    let left: Vec<usize> = others.iter().copied().filter(|id| *id != leader).collect();
    reconfig(&ensemble, left[0], "", &leader.to_string(), "");
    ensemble.wait_for(leader, "follows", |mode| mode == Some("follower"));
    assert_ne!(ensemble.leader(), leader);
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &p(&left));
    load.wait_for_more(WRITES);

    // All of them again, as a list.
    reconfig(&ensemble, left[0], "", "", &p(&[1, 2, 3, 4]).join(","));
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &p(&[1, 2, 3, 4]));
    load.wait_for_more(WRITES);

    let ledger = load.end();
    println!("{} writes acknowledged, {} reconnects", ledger.acknowledged(), ledger.reconnects());
    ensemble.assert_all_equal();
    ledger.check(&walk::tree(ensemble.address(4)));

    // From their files, each read by a server of the other kind.
    for id in ensemble.ids() {
        let server = ensemble.server_mut(id);
        server.kill();
        server.kind = if server.kind == OURS { JAVA } else { OURS };
    }
    start(&mut ensemble, &[1, 2, 3, 4]);
    wait_for_one_config(&ensemble, &[1, 2, 3, 4], &p(&[1, 2, 3, 4]));
    ledger.check(&walk::tree(ensemble.address(1)));
}

#[test]
fn all_ours() {
    tell(&[OURS, OURS, OURS, OURS]);
}

#[test]
fn ours_lead_java() {
    tell(&[JAVA, OURS, OURS, JAVA]);
}

#[test]
fn java_leads_ours() {
    tell(&[OURS, OURS, JAVA, OURS]);
}

#[test]
fn java_joins_ours() {
    tell(&[OURS, JAVA, OURS, JAVA]);
}

/// All three ports of a server change while it runs: of a follower, and of the leader, which is found elsewhere and therefore
/// leads no longer.
fn members_move(kinds: &[Kind; 3]) {
    let (mut ensemble, mut lines) = reconfigurable(kinds, 3);
    start(&mut ensemble, &[2, 3]);
    start(&mut ensemble, &[1]);
    for id in [1, 3] {
        let (was, was_leader) = (ensemble.address(id), ensemble.leader() == id);
        let mut stays = visitor(was);
        lines.0[id - 1] = (free_port(), free_port(), free_port());
        reconfig(&ensemble, 2, &lines.participant(id), "", "");
        ensemble.server_mut(id).has_moved_to(lines.0[id - 1].2);
        wait_until("clients are refused at the old port", || std::net::TcpStream::connect(was).is_err());
        ensemble.wait_for(id, "follows", |mode| mode == Some("follower"));
        if !was_leader {
            stays.ask(1, &exists("/"));
        }
        let all: Vec<String> = [1, 2, 3].map(|id| lines.participant(id)).into();
        wait_for_one_config(&ensemble, &[1, 2, 3], &all);
    }
    // Votes find them.
    ensemble.server_mut(2).kill();
    ensemble.wait_until_serving(&[1, 3]);
    ensemble.server_mut(1).kill();
    ensemble.server_mut(1).spawn();
    ensemble.wait_until_serving(&[1, 3]);
    ensemble.server_mut(2).spawn();
    ensemble.wait_until_all_serve();
    ensemble.assert_all_equal();
}

#[test]
fn members_of_ours_move() {
    members_move(&[OURS, OURS, OURS]);
}

#[test]
fn members_of_both_kinds_move() {
    members_move(&[JAVA, OURS, OURS]);
    members_move(&[OURS, OURS, JAVA]);
}

/// The only voter goes on leading where it moves to. It went on taking learners where it had been, and nobody who came later
/// found it.
#[test]
fn the_only_voter_moves_and_is_found() {
    let (mut ensemble, mut lines) = reconfigurable(&[OURS, OURS], 1);
    for id in [1, 2] {
        ensemble.server_mut(id).set("standaloneEnabled", "false");
    }
    start(&mut ensemble, &[1, 2]);
    reconfig(&ensemble, 1, &lines.of(2, "observer"), "", "");
    // It changes its role, and has to be back to hear of what follows.
    ensemble.wait_until_serving(&[1, 2]);
    wait_for_one_config(&ensemble, &[1, 2], &[lines.participant(1), lines.of(2, "observer")]);
    (lines.0[0].0, lines.0[0].1) = (free_port(), free_port());
    reconfig(&ensemble, 1, &lines.participant(1), "", "");
    wait_for_one_config(&ensemble, &[1, 2], &[lines.participant(1), lines.of(2, "observer")]);
    ensemble.server_mut(2).kill();
    start(&mut ensemble, &[2]);
    wait_for_one_config(&ensemble, &[1, 2], &[lines.participant(1), lines.of(2, "observer")]);
}
