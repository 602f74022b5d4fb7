//! What must not go wrong when servers die: each story in the order in which it happens. Numbers are rows of the faults
//! that were seen in the field (ZOOKEEPER-…).

use super::world::{Options, World};
use crate::types::{ServerId, Zxid};
use crate::zab::{Leader, LeaderInput, LeaderOutput, LeaderStart};

pub fn id(of: i64) -> ServerId {
    ServerId(of)
}

/// So many voters, led by one of them, followed by others.
pub fn ensemble(voters: usize, leader: i64, followers: &[i64]) -> World {
    let mut world = World::new(Options { voters, ..Options::default() }, 7);
    led_by(&mut world, leader, followers);
    world
}

pub fn led_by(world: &mut World, leader: i64, followers: &[i64]) {
    world.lead(id(leader));
    for follower in followers {
        world.follow(id(*follower), id(leader));
    }
    world.run_ms(50);
}

pub fn writes(world: &mut World, leader: i64, many: usize) {
    for _ in 0..many {
        world.write(id(leader)).expect("the leader takes writes");
    }
    world.run_ms(20);
}

pub fn history(world: &World, of: i64) -> Vec<Zxid> {
    world.server(id(of)).disk.entries.iter().map(|entry| entry.zxid).collect()
}

fn crash(world: &mut World, of: &[i64]) {
    of.iter().for_each(|server| world.crash_keeping(id(*server), 0));
    world.run_ms(5);
}

fn restart(world: &mut World, of: &[i64]) {
    of.iter().for_each(|server| world.restart(id(*server)));
}

fn all_equal(world: &World) {
    assert!(world.has_converged(), "all servers serve one history");
}

#[test]
fn the_third_of_three_joins_late() {
    let mut world = ensemble(3, 2, &[1]);
    writes(&mut world, 2, 5);
    assert_eq!(world.ghost.committed.len(), 5, "two of three decide");
    world.follow(id(3), id(2));
    world.run_ms(50);
    all_equal(&world);
    assert_eq!(history(&world, 3).len(), 5);
}

#[test]
fn three_bear_one_loss_and_at_two_nothing_is_decided() {
    let mut world = ensemble(3, 3, &[1, 2]);
    crash(&mut world, &[1]);
    writes(&mut world, 3, 2);
    assert_eq!(world.ghost.committed.len(), 2);
    crash(&mut world, &[2]);
    world.write(id(3));
    world.run_ms(500);
    assert_eq!(world.ghost.committed.len(), 2);
    assert!(!world.server(id(3)).is_leading(), "a leader without a quorum steps down");
}

#[test]
fn four_bear_one_loss_and_no_more() {
    let mut world = ensemble(4, 4, &[1, 2, 3]);
    crash(&mut world, &[1]);
    writes(&mut world, 4, 1);
    assert_eq!(world.ghost.committed.len(), 1);
    crash(&mut world, &[2]);
    world.write(id(4));
    world.run_ms(500);
    assert_eq!(world.ghost.committed.len(), 1);
    assert!(!world.server(id(4)).is_leading());
}

#[test]
fn five_bear_two_losses() {
    let mut world = ensemble(5, 5, &[1, 2, 3, 4]);
    crash(&mut world, &[1, 2]);
    writes(&mut world, 5, 3);
    assert_eq!(world.ghost.committed.len(), 3);
}

/// The leader commits to one follower and dies before the other hears of it: the proposal survives everywhere.
#[test]
fn one_follower_has_heard_of_the_commit() {
    let mut world = ensemble(3, 3, &[1, 2]);
    // Server 2's disk is slow: it has the proposal and has not acknowledged it.
    world.server_mut(id(2)).disk_stalls = true;
    writes(&mut world, 3, 1);
    assert_eq!(world.server(id(1)).visible, 1, "server 1's clients have seen it");
    crash(&mut world, &[2, 3]);
    restart(&mut world, &[2]);
    assert_eq!(history(&world, 2).len(), 0);
    world.run_ms(50);
    led_by(&mut world, 1, &[2]);
    assert_eq!(world.server(id(2)).visible, 1);
    restart(&mut world, &[3]);
    world.follow(id(3), id(1));
    world.run_ms(50);
    all_equal(&world);
}

/// The same, and the election errs: who has less must not lead who has more.
#[test]
fn who_has_not_logged_the_commit_is_not_followed() {
    let mut world = ensemble(3, 3, &[1, 2]);
    world.server_mut(id(2)).disk_stalls = true;
    writes(&mut world, 3, 1);
    crash(&mut world, &[2, 3]);
    restart(&mut world, &[2]);
    world.run_ms(50);
    world.lead(id(2));
    world.follow(id(1), id(2));
    world.run_ms(200);
    assert!(!world.server(id(2)).is_established());
    world.run_ms(2000);
    assert!(world.server(id(1)).is_looking() && world.server(id(2)).is_looking(), "both look again");
}

/// The leader logs a proposal alone and dies; the others go on; it returns and is cut (1154, 1156).
#[test]
fn what_the_old_leader_logged_alone_is_dropped() {
    for (goes_on, expected) in [(0, "TRUNC"), (4, "SNAP")] {
        let mut world = ensemble(3, 3, &[1, 2]);
        writes(&mut world, 3, 3);
        world.separate(&[3], true);
        world.write(id(3));
        world.run_ms(20);
        assert_eq!(history(&world, 3).len(), 4, "logged and flushed, alone");
        crash(&mut world, &[3]);
        led_by(&mut world, 2, &[1]);
        writes(&mut world, 2, goes_on);
        world.apart.clear();
        restart(&mut world, &[3]);
        let before = world.counts.get(expected).copied().unwrap_or(0);
        world.follow(id(3), id(2));
        world.run_ms(50);
        assert_eq!(world.counts.get(expected).copied().unwrap_or(0), before + 1, "{goes_on} writes later");
        all_equal(&world);
        assert_eq!(history(&world, 3), history(&world, 2));
    }
}

/// All die after the leader logged alone; the others go on, far enough that only the leader's log on disk reaches back to where
/// the old leader ends. It holds what is around, but not that transaction itself (1154, 1156, 2846).
#[test]
fn a_log_on_disk_that_never_held_it_is_not_read_on_from_there() {
    let mut world = ensemble(3, 3, &[1, 2]);
    world.options.retained = 3;
    writes(&mut world, 3, 3);
    world.separate(&[3], true);
    world.write(id(3));
    world.run_ms(20);
    crash(&mut world, &[1, 2, 3]);
    restart(&mut world, &[1, 2]);
    led_by(&mut world, 2, &[1]);
    writes(&mut world, 2, 10);
    world.apart.clear();
    restart(&mut world, &[3]);
    world.follow(id(3), id(2));
    world.run_ms(50);
    assert_eq!(world.counts.get("SNAP"), Some(&1));
    all_equal(&world);
}

/// Epochs are not used again, whenever the servers die (335, 1081).
#[test]
fn an_epoch_that_was_accepted_is_never_led_again() {
    let mut world = ensemble(3, 3, &[1]);
    assert_eq!(world.ghost.newest_epoch(), 1);
    crash(&mut world, &[1, 3]);
    restart(&mut world, &[1, 3]);
    // Server 2 never heard of epoch 1 and proposes it again; server 1 knows better.
    world.run_ms(50);
    led_by(&mut world, 2, &[1]);
    assert!(!world.server(id(2)).is_established(), "server 1 has been in an epoch, and server 2 in none");
    world.run_ms(2000);
    led_by(&mut world, 1, &[2, 3]);
    assert!(world.ghost.newest_epoch() > 1);
    all_equal(&world);
}

/// The connection breaks right behind the promise. The learner says at its return that it has accepted the epoch before: it
/// has promised it to this leader, which knows.
#[test]
fn a_promise_outlives_its_connection() {
    let mut world = World::new(Options { voters: 5, ..Options::default() }, 7);
    world.lead(id(5));
    for follower in [1, 2, 3] {
        world.follow(id(follower), id(5));
    }
    while world.server(id(1)).disk.accepted_epoch == 0 {
        world.happen();
    }
    // Its ACKEPOCH arrives, then the connection breaks; those of servers 2 and 3 are lost, and those two with them.
    world.cut_between(|learner, _| learner == id(2) || learner == id(3), true);
    world.run(100);
    world.cut_between(|learner, _| learner == id(1), true);
    world.run_ms(1);
    assert!(!world.server(id(5)).is_established());
    world.follow(id(1), id(5));
    world.follow(id(4), id(5));
    world.run_ms(50);
    assert!(world.server(id(5)).is_established(), "with the promises of 1 and 4");
    assert_eq!(world.ghost.newest_epoch(), 1);
}

/// A voter that has accepted a higher epoch than the established one could never follow it.
#[test]
fn a_voter_ahead_of_the_epoch_gets_a_new_one() {
    let mut world = ensemble(3, 3, &[1]);
    world.persist_accepted(id(2), 9);
    world.follow(id(2), id(3));
    world.run_ms(50);
    assert!(!world.server(id(3)).is_leading());
    led_by(&mut world, 3, &[1, 2]);
    assert_eq!(world.ghost.newest_epoch(), 10);
    all_equal(&world);
}

/// The same, but its data are of that epoch too: they are another ensemble's, and it would win the next election.
#[test]
fn data_of_a_later_epoch_are_another_ensembles() {
    let mut world = ensemble(3, 3, &[1]);
    world.persist_accepted(id(2), 9);
    world.leader_input(id(3), LeaderInput::DataEpoch { server: id(2), epoch: 9 });
    world.follow(id(2), id(3));
    world.run_ms(50);
    assert!(world.server(id(3)).is_established() && !world.server(id(2)).is_serving());
    writes(&mut world, 3, 2);
    assert_eq!(world.ghost.committed.len(), 2);
    // Emptied, it is one of them.
    world.leader_input(id(3), LeaderInput::DataEpoch { server: id(2), epoch: 1 });
    world.server_mut(id(2)).disk.accepted_epoch = 0;
    world.follow(id(2), id(3));
    world.run_ms(50);
    all_equal(&world);
}

/// Where a directory was lost nobody knows what its server had agreed to: no leader rests on its word, but it is filled.
#[test]
fn a_lost_directory_is_filled_and_makes_nobody_leader() {
    let mut world = World::new(Options { voters: 3, ..Options::default() }, 7);
    world.server_mut(id(1)).disk.is_lost = true;
    led_by(&mut world, 3, &[1]);
    assert!(!world.server(id(3)).is_established() && world.server(id(3)).is_leading(), "server 2 may yet come");
    world.follow(id(2), id(3));
    world.run_ms(50);
    assert!(world.server(id(3)).is_established());
    // Nothing was written yet, and still it is not taken for one that has it all.
    assert_eq!(world.counts.get("SNAP"), Some(&1));
    all_equal(&world);
}

#[test]
fn a_single_voter_leads_by_itself() {
    let mut world = ensemble(1, 1, &[]);
    writes(&mut world, 1, 3);
    world.ask_sync(id(1), None);
    assert_eq!((world.ghost.committed.len(), world.counts.get("sync")), (3, Some(&1)));
}

/// The counter's last value is never used (zxid roll-over).
#[test]
fn the_epoch_ends_before_its_counter() {
    let mut world = ensemble(1, 1, &[]);
    world.end_role(id(1));
    let start = LeaderStart {
        me: id(1),
        config: world.config.clone(),
        last_seen: None,
        reconfig_enabled: false,
        limits: world.options.limits,
        accepted_epoch: 4,
        current_epoch: 4,
        last_zxid: Zxid::new(4, 7),
    };
    let mut leader = Leader::new(start, world.instant());
    let mut out = Vec::new();
    leader.step(world.instant(), LeaderInput::Tick, &mut out);
    assert!(out.contains(&LeaderOutput::Established { epoch: 5 }));
    leader.skip_to(u32::MAX - 3);
    for counter in [u32::MAX - 2, u32::MAX - 1] {
        let zxid = Zxid::new(5, counter);
        assert_eq!(leader.next_zxid(), Some(zxid));
        leader.step(world.instant(), LeaderInput::Proposed { zxid }, &mut out);
        leader.step(world.instant(), LeaderInput::Flushed { through: zxid }, &mut out);
        assert_eq!(out.last(), Some(&LeaderOutput::Commit { through: zxid }));
    }
    assert_eq!(leader.next_zxid(), None, "0xffffffff is never proposed");
}

/// All servers of a whole ensemble go on in the next epoch when one is used up.
#[test]
fn the_next_epoch_goes_on_where_the_counter_ended() {
    let mut world = World::new(Options { counter_max: Some(4), ..Options::default() }, 7);
    led_by(&mut world, 3, &[1, 2]);
    writes(&mut world, 3, 4);
    assert_eq!(world.write(id(3)), None);
    world.run_ms(50);
    assert!(world.server(id(3)).is_looking());
    led_by(&mut world, 3, &[1, 2]);
    writes(&mut world, 3, 1);
    assert_eq!(history(&world, 1).last(), Some(&Zxid::new(2, 1)));
    all_equal(&world);
}
