//! Elections as stories, each with servers of ours alone, in the small world of `world_tests.rs`, or with one server and
//! the messages it hears.

use super::world_tests::{Kind, World, electorate};
use super::{Election, ElectionRules, Input, Output};
use crate::message::{Notification, Vote};
use crate::types::{Instant, Role, ServerId, ServerState, Zxid};

const OURS: [Kind; 7] = [Kind::Ours; 7];
const SECOND: u64 = 1_000_000;

fn world(voters: usize, observers: usize) -> World {
    World::new(1, &OURS[..voters], &OURS[..observers], (100, 100), &[])
}

fn agree(world: &mut World) -> i64 {
    let agreed = world.run(world.now + 5 * SECOND, |world| world.agreed_leader().is_some());
    assert!(agreed, "{}", world.describe());
    world.agreed_leader().unwrap().0
}

#[test]
fn three_servers_start_one_after_the_other() {
    let mut world = world(3, 0);
    world.start(1);
    assert!(!world.run(SECOND, |world| world.node(1).vote.is_some()), "one of three decides nothing");
    world.start(2);
    assert_eq!(agree(&mut world), 2);
    world.start(3);
    assert_eq!(agree(&mut world), 2);
    assert_eq!(world.node(3).state, ServerState::Following);
    assert_eq!(world.reigns.len(), 1, "the late one did not disturb");
}

#[test]
fn the_longer_history_wins_over_the_larger_id() {
    let mut world = world(3, 0);
    for (id, zxid) in [(1, 99), (2, 95), (3, 95)] {
        world.set_disk(id, 1, zxid);
        world.start(id);
    }
    assert_eq!(agree(&mut world), 1);
}

#[test]
fn the_later_epoch_wins_over_the_longer_history() {
    let mut world = world(3, 0);
    for (id, epoch, zxid) in [(1, 3, 5), (2, 2, 99), (3, 2, 99)] {
        world.set_disk(id, epoch, zxid);
        world.start(id);
    }
    assert_eq!(agree(&mut world), 1);
}

#[test]
fn the_leader_dies_and_the_rest_elect_again() {
    let mut world = world(5, 0);
    (1..=5).for_each(|id| world.start(id));
    let first = agree(&mut world);
    world.kill(first);
    let second = agree(&mut world);
    assert_ne!(first, second);
    world.kill(second);
    let third = agree(&mut world);
    assert_eq!(world.reigns.len(), 3);
    // Two of five are not enough.
    world.kill(third);
    assert!(!world.run(world.now + 10 * SECOND, |world| world.reigns.len() > 3));
    world.start(first);
    agree(&mut world);
    // It was away with an old history and did not win by its id alone.
    let leader = world.agreed_leader().unwrap();
    assert!(world.nodes.values().filter(|node| node.alive).all(|node| node.epoch == world.nodes[&leader].epoch));
}

#[test]
fn a_server_alone_leads_itself_at_once() {
    let mut world = world(1, 0);
    world.start(1);
    assert!(world.run(1_000, |world| world.node(1).state == ServerState::Leading));
}

#[test]
fn observers_never_win_and_learn_the_leader() {
    let mut world = world(3, 2);
    world.set_disk(4, 9, 999);
    world.start(4);
    world.start(5);
    world.run(SECOND, |_| false);
    assert_eq!(world.decisions, 0);
    (1..=3).for_each(|id| world.start(id));
    let leader = agree(&mut world);
    assert!(leader <= 3);
    assert_eq!(world.node(4).state, ServerState::Observing);
    world.kill(leader);
    assert_ne!(agree(&mut world), leader);
    assert_eq!(world.node(5).state, ServerState::Observing);
}

#[test]
fn without_weight_a_server_votes_and_never_leads() {
    let lines = [("group.1", "1:2:3"), ("weight.3", "0")];
    let mut world = World::new(1, &OURS[..3], &[], (100, 100), &lines);
    world.set_disk(3, 1, 50);
    world.set_disk(1, 1, 40);
    (1..=3).for_each(|id| world.start(id));
    assert_eq!(agree(&mut world), 1);
    assert_eq!(world.node(3).state, ServerState::Following);
}

#[test]
fn groups_decide_by_groups() {
    let lines = [("group.1", "1:2"), ("group.2", "3:4"), ("group.3", "5:6:7")];
    let mut world = World::new(1, &OURS, &[], (100, 100), &lines);
    // Four of seven, but one group only.
    [1, 3, 5, 6].into_iter().for_each(|id| world.start(id));
    assert!(!world.run(3 * SECOND, |world| !world.reigns.is_empty()), "{}", world.describe());
    // Two groups.
    world.start(2);
    assert_eq!(agree(&mut world), 6);
}

#[test]
fn a_partitioned_leader_is_replaced_and_comes_back_as_follower() {
    let mut world = world(3, 0);
    (1..=3).for_each(|id| world.start(id));
    let old = agree(&mut world);
    let others: Vec<i64> = (1..=3).filter(|id| *id != old).collect();
    others.iter().for_each(|id| world.set_cut(old, *id, true));
    assert!(world.run(world.now + SECOND, |world| {
        others.iter().all(|id| world.node(*id).active && world.node(*id).vote.unwrap().leader.0 != old)
    }));
    assert_eq!(world.node(old).state, ServerState::Looking);
    others.iter().for_each(|id| world.set_cut(old, *id, false));
    assert_ne!(agree(&mut world), old);
    assert_eq!(world.reigns.len(), 2);
}

/// One server of three, driven by hand.
struct Alone {
    election: Election,
    now: Instant,
}

impl Alone {
    fn new(id: i64, role: Role, zxid: i64) -> Alone {
        let lines: Vec<(String, String)> = (1..=3).map(|id| (format!("server.{id}"), "a:1:2".to_owned())).collect();
        let election = Election::new(ServerId(id), ElectionRules::default(), electorate(&lines));
        let mut alone = Alone { election, now: Instant::from_millis(1_000) };
        alone.step(Input::LookForLeader { role, zxid: Zxid(zxid), epoch: 0 });
        alone
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.election.step(self.now, input, &mut out);
        out
    }

    fn hear(&mut self, from: i64, state: ServerState, numbers: (i64, i64, i64, i64)) -> Vec<Output> {
        self.hear_version(from, state, numbers, 2)
    }

    fn hear_version(
        &mut self,
        from: i64,
        state: ServerState,
        (leader, zxid, round, peer_epoch): (i64, i64, i64, i64),
        version: i32,
    ) -> Vec<Output> {
        let vote = Vote { leader: ServerId(leader), zxid: Zxid(zxid), round, peer_epoch };
        let notification = Notification { state, vote, version, config: None };
        self.step(Input::Notification { from: ServerId(from), notification })
    }

    fn wait(&mut self, millis: u64) -> Vec<Output> {
        self.now = self.now.plus_millis(millis);
        self.step(Input::Tick)
    }
}

fn decided(out: &[Output]) -> Option<(i64, ServerState)> {
    out.iter().find_map(|output| match output {
        Output::Decided { vote, state } => Some((vote.leader.0, *state)),
        _ => None,
    })
}

/// To whom something was said, with state, leader and round of it.
fn said(out: &[Output]) -> Vec<(i64, ServerState, i64, i64)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Send { to, notification } => {
                Some((to.0, notification.state, notification.vote.leader.0, notification.vote.round))
            }
            _ => None,
        })
        .collect()
}

use ServerState::{Following, Leading, Looking, Observing};

#[test]
fn a_claim_to_lead_is_not_believed_without_followers() {
    let mut one = Alone::new(1, Role::Participant, 0);
    assert_eq!(decided(&one.hear(3, Leading, (3, 0, 7, 4))), None);
    assert_eq!(decided(&one.wait(60_000)), None);
    // Nor are followers without the word of their leader.
    let mut one = Alone::new(1, Role::Participant, 0);
    assert_eq!(decided(&one.hear(2, Following, (3, 0, 7, 4))), None);
    assert_eq!(decided(&one.hear(3, Following, (3, 0, 7, 4))), None);
    assert_eq!(decided(&one.hear(3, Leading, (3, 0, 7, 4))), Some((3, Following)));
    assert_eq!(one.election.round(), 7);
}

#[test]
fn a_connection_lost_takes_the_leaders_word_with_it() {
    let mut one = Alone::new(1, Role::Participant, 0);
    one.step(Input::PeerConnected(ServerId(3)));
    one.hear(3, Leading, (3, 0, 7, 4));
    one.step(Input::PeerLost(ServerId(3)));
    assert_eq!(decided(&one.hear(2, Following, (3, 0, 7, 4))), None);
}

#[test]
fn zxids_and_rounds_of_an_ensemble_may_differ_but_not_epochs() {
    let mut one = Alone::new(1, Role::Participant, 0);
    one.hear(2, Following, (3, 11, 5, 4));
    assert_eq!(decided(&one.hear(3, Leading, (3, 99, 7, 4))), Some((3, Following)));
    let mut one = Alone::new(1, Role::Participant, 0);
    one.hear(2, Following, (3, 11, 5, 3));
    assert_eq!(decided(&one.hear(3, Leading, (3, 99, 7, 4))), None);
    // A message from before 3.5 has no epoch worth comparing.
    let mut one = Alone::new(1, Role::Participant, 0);
    one.hear_version(2, Following, (3, 11, 5, 0), 0);
    assert_eq!(decided(&one.hear(3, Leading, (3, 99, 7, 4))), Some((3, Following)));
}

#[test]
fn in_the_round_of_the_election_the_leader_alone_counts() {
    let mut one = Alone::new(1, Role::Participant, 0);
    one.hear(2, Following, (3, 11, 1, 3));
    assert_eq!(decided(&one.hear(3, Leading, (3, 99, 1, 4))), Some((3, Following)));
}

#[test]
fn a_later_round_is_joined_and_an_earlier_one_answered() {
    let mut two = Alone::new(2, Role::Participant, 5);
    // A later round is entered with the better of its vote and our own first one.
    let out = two.hear(3, Looking, (3, 4, 6, 0));
    assert_eq!(said(&out), [(1, Looking, 2, 6), (3, Looking, 2, 6)]);
    let out = two.hear(1, Looking, (1, 1, 8, 0));
    assert_eq!(said(&out), [(1, Looking, 2, 8), (3, Looking, 2, 8)]);
    assert_eq!(decided(&out), None);
    let out = two.hear(3, Looking, (3, 9, 6, 0));
    assert_eq!(said(&out), [(3, Looking, 2, 8)]);
    assert_eq!(decided(&out), None);
    // The better vote of a later round is adopted.
    let out = two.hear(3, Looking, (3, 9, 10, 0));
    assert_eq!(said(&out), [(1, Looking, 3, 10), (3, Looking, 3, 10)]);
    assert_eq!(decided(&out), Some((3, Following)));
}

#[test]
fn a_decision_waits_for_a_connected_voter_that_was_not_heard() {
    let mut two = Alone::new(2, Role::Participant, 5);
    two.step(Input::PeerConnected(ServerId(1)));
    two.step(Input::PeerConnected(ServerId(3)));
    assert_eq!(decided(&two.hear(1, Looking, (2, 5, 1, 0))), None);
    assert_eq!(decided(&two.wait(199)), None);
    // It has no better vote.
    assert_eq!(decided(&two.hear(3, Looking, (3, 1, 1, 0))), Some((2, Leading)));
    // Silence is waited for no longer than Java does; and a loss ends the wait.
    for ends in [0, 1] {
        let mut two = Alone::new(2, Role::Participant, 5);
        two.step(Input::PeerConnected(ServerId(3)));
        assert_eq!(decided(&two.hear(1, Looking, (2, 5, 1, 0))), None);
        let out = if ends == 0 { two.wait(200) } else { two.step(Input::PeerLost(ServerId(3))) };
        assert_eq!(decided(&out), Some((2, Leading)));
    }
    // Who has a leader still will not come with a better vote.
    let mut two = Alone::new(2, Role::Participant, 5);
    two.step(Input::PeerConnected(ServerId(3)));
    two.hear(3, Following, (1, 5, 0, 0));
    assert_eq!(decided(&two.hear(1, Looking, (2, 5, 1, 0))), Some((2, Leading)));
}

#[test]
fn an_empty_database_does_not_vote() {
    let mut two = Alone::new(2, Role::Participant, -1);
    assert_eq!(decided(&two.hear(1, Looking, (2, -1, 1, 0))), None);
    assert_eq!(decided(&two.hear(3, Looking, (3, 0, 1, 0))), None);
    two.hear(1, Following, (3, 0, 1, 1));
    assert_eq!(decided(&two.hear(3, Leading, (3, 0, 1, 1))), Some((3, Following)));
    let mut two = Alone::new(2, Role::Participant, 0);
    assert_eq!(decided(&two.hear(1, Looking, (2, -1, 1, 0))), None);
}

#[test]
fn strangers_are_answered_and_not_counted() {
    let mut two = Alone::new(2, Role::Participant, 0);
    let out = two.hear(9, Looking, (2, 0, 1, 0));
    assert_eq!((said(&out), decided(&out)), (vec![(9, Looking, 2, 1)], None));
    // Answers to answers end.
    assert!(said(&two.hear(9, Looking, (2, 0, 1, 0))).is_empty());
    assert!(said(&two.hear(9, Following, (2, 0, 1, 0))).is_empty());
    two.now = two.now.plus_millis(150);
    assert_eq!(said(&two.hear(9, Looking, (2, 0, 1, 0))).len(), 1);
    // A voter that names a stranger does not count either.
    assert_eq!(decided(&two.hear(1, Looking, (9, 77, 1, 0))), None);
    assert_eq!(two.election.vote().unwrap().leader, ServerId(2));
}

#[test]
fn repetitions_double_and_others_put_them_off() {
    let mut one = Alone::new(1, Role::Participant, 0);
    assert!(said(&one.wait(199)).is_empty());
    assert_eq!(said(&one.wait(1)), [(2, Looking, 1, 1), (3, Looking, 1, 1)]);
    assert!(said(&one.wait(399)).is_empty());
    assert_eq!(said(&one.wait(1)).len(), 2);
    one.wait(799);
    one.hear(2, Observing, (3, 0, 1, 0));
    assert!(said(&one.wait(1)).is_empty(), "a word from somebody starts the wait anew");
    for _ in 0..20 {
        one.now = Instant { micros: one.election.next_deadline().unwrap().micros };
        assert_eq!(said(&one.step(Input::Tick)).len(), 2);
    }
    let next = one.election.next_deadline().unwrap();
    assert_eq!(next.micros_since(one.now), 60_000_000);
}

#[test]
fn with_a_leader_looking_servers_are_answered_with_the_round_of_the_vote() {
    let mut two = Alone::new(2, Role::Participant, 5);
    assert_eq!(decided(&two.hear(1, Looking, (2, 5, 1, 0))), Some((2, Leading)));
    let out = two.hear(3, Looking, (3, 0, 4, 0));
    assert_eq!(said(&out), [(3, Leading, 2, 1)]);
    // Who asked too early hears again, with the epoch everybody answers from now on.
    let out = two.step(Input::Activated { epoch: 6 });
    assert_eq!(said(&out), [(3, Leading, 2, 1)]);
    assert_eq!(two.election.vote().unwrap().peer_epoch, 6);
    assert_eq!(two.election.vote().unwrap().zxid, Zxid(5));
    assert!(said(&two.hear(3, Following, (2, 5, 1, 6))).is_empty());
}

#[test]
fn a_leader_that_turns_away_is_noticed_and_its_round_rejoined() {
    let mut one = Alone::new(1, Role::Participant, 0);
    assert_eq!(decided(&one.hear(2, Looking, (2, 0, 1, 0))), Some((2, Following)));
    assert!(!one.hear(2, Looking, (2, 0, 1, 0)).contains(&Output::Unsupported), "it merely repeats itself");
    let out = one.hear(2, Looking, (3, 0, 1, 0));
    assert!(out.contains(&Output::Unsupported));
    let out = one.step(Input::LookForLeader { role: Role::Participant, zxid: Zxid(0), epoch: 0 });
    assert_eq!(decided(&out), Some((3, Following)));
    assert_eq!(one.election.round(), 1);
}

#[test]
fn a_leader_without_its_quorum_is_told() {
    let mut two = Alone::new(2, Role::Participant, 5);
    two.hear(1, Looking, (2, 5, 1, 0));
    assert!(!two.hear(3, Looking, (3, 0, 9, 0)).contains(&Output::Unsupported), "it never was for us");
    assert!(two.hear(1, Looking, (1, 0, 2, 0)).contains(&Output::Unsupported));
    let out = two.step(Input::LookForLeader { role: Role::Participant, zxid: Zxid(5), epoch: 0 });
    assert_eq!(two.election.round(), 9, "the latest of those that spoke meanwhile");
    assert_eq!(decided(&out), None);
    // An active leader goes by what its followers do.
    let mut two = Alone::new(2, Role::Participant, 5);
    two.hear(1, Looking, (2, 5, 1, 0));
    two.step(Input::Activated { epoch: 1 });
    assert!(!two.hear(1, Looking, (1, 0, 2, 0)).contains(&Output::Unsupported));
}

#[test]
fn another_configuration_is_reported_once() {
    let mut one = Alone::new(1, Role::Participant, 0);
    let vote = Vote { leader: ServerId(2), zxid: Zxid(0), round: 1, peer_epoch: 0 };
    let with = |text: &str| Notification { state: Observing, vote, version: 2, config: Some(text.into()) };
    let seen = |out: Vec<Output>| out.iter().any(|output| matches!(output, Output::ConfigSeen { .. }));
    let hear = |text: &str| Input::Notification { from: ServerId(2), notification: with(text) };
    assert!(!seen(one.step(hear("config"))), "it is ours");
    assert!(seen(one.step(hear("config of tomorrow"))));
    assert!(!seen(one.step(hear("config of tomorrow"))));
}

/// Elected, it lost its directory and came back: what it was elected for is gone.
#[test]
fn who_has_lost_what_it_was_elected_for_does_not_lead() {
    for (zxid, leads) in [(9, Some((3, Leading))), (Zxid::UNKNOWN.0, None)] {
        let mut three = Alone::new(3, Role::Participant, zxid);
        let mut out = three.hear(1, Following, (3, 9, 1, 0));
        out.extend(three.hear(2, Following, (3, 9, 1, 0)));
        assert_eq!(decided(&out), leads);
        if leads.is_none() {
            three.hear(1, Following, (2, 9, 1, 0));
            assert_eq!(decided(&three.hear(2, Leading, (2, 9, 1, 0))), Some((2, Following)), "it joins others");
        }
    }
}
