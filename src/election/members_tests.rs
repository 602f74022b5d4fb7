//! Members that change under an election: what is heard of them, whose votes count, and leaders that a configuration named.

use super::world_tests::electorate;
use super::{Election, ElectionRules, Electorate, Input, Output};
use crate::message::{Notification, Vote};
use crate::types::{Instant, Quorum, QuorumConfig, Role, ServerId, ServerState, Zxid};

fn lines(ids: &[i64]) -> Vec<(String, String)> {
    ids.iter().map(|id| (format!("server.{id}"), "a:1:2".to_owned())).collect()
}

fn of(ids: &[i64]) -> Electorate {
    electorate(&lines(ids))
}

fn quorum(ids: &[i64]) -> Quorum {
    let text: String = lines(ids).iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    Quorum::of(&QuorumConfig::parse(&text).unwrap().membership)
}

struct Alone {
    election: Election,
    now: Instant,
}

impl Alone {
    fn looking(id: i64, electorate: Electorate) -> Alone {
        let election = Election::new(ServerId(id), ElectionRules::default(), electorate);
        let mut alone = Alone { election, now: Instant::from_millis(1_000) };
        alone.look();
        alone
    }

    fn look(&mut self) -> Vec<Output> {
        self.step(Input::LookForLeader { role: Role::Participant, zxid: Zxid(5), epoch: 0 })
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.election.step(self.now, input, &mut out);
        out
    }

    fn hear(&mut self, from: i64, leader: i64, config: Option<&str>) -> Vec<Output> {
        let vote = Vote { leader: ServerId(leader), zxid: Zxid(5), round: 1, peer_epoch: 0 };
        let config = config.map(Into::into);
        let notification = Notification { state: ServerState::Looking, vote, version: 2, config };
        self.step(Input::Notification { from: ServerId(from), notification })
    }

    fn wait(&mut self) -> Vec<Output> {
        self.now = self.now.plus_millis(250);
        self.step(Input::Tick)
    }
}

fn decision(out: &[Output]) -> Option<(i64, ServerState)> {
    out.iter().find_map(|output| match output {
        Output::Decided { vote, state } => Some((vote.leader.0, *state)),
        _ => None,
    })
}

fn asked(out: &[Output]) -> Vec<i64> {
    let to = out.iter().filter_map(|output| match output {
        Output::Send { to, .. } => Some(to.0),
        _ => None,
    });
    to.collect()
}

#[test]
fn another_configuration_is_told_of_once_and_only_while_looking() {
    let mut alone = Alone::looking(1, of(&[1, 2, 3, 4, 5]));
    let is_told = |out: &[Output]| out.iter().any(|output| matches!(output, Output::ConfigSeen { .. }));
    assert!(!is_told(&alone.hear(2, 2, Some("config"))), "the own one");
    assert!(is_told(&alone.hear(2, 2, Some("another"))));
    assert!(!is_told(&alone.hear(3, 3, Some("another"))));
    assert!(is_told(&alone.hear(9, 9, Some("a stranger's"))));
    alone.look();
    assert!(is_told(&alone.hear(9, 9, Some("a stranger's"))), "a new search may not know of it");
    let vote = Vote { leader: ServerId(3), zxid: Zxid(5), round: -1, peer_epoch: -1 };
    alone.step(Input::Assigned { state: ServerState::Following, vote });
    assert!(!is_told(&alone.hear(2, 2, Some("a third"))));
}

/// A change that is pending asks its own members too, and needs a quorum of either.
#[test]
fn the_members_to_come_vote_too() {
    let pending = of(&[1, 2, 3]).with_last_seen(quorum(&[3, 4, 5]), 1);
    let mut alone = Alone::looking(3, pending);
    let mut to = asked(&alone.look());
    to.sort_unstable();
    assert_eq!(to, [1, 2, 4, 5]);
    alone.look();
    for (from, decides) in [(1, None), (2, None), (4, Some((3, ServerState::Leading)))] {
        let vote = Vote { leader: ServerId(3), zxid: Zxid(5), round: 3, peer_epoch: 0 };
        let notification = Notification { state: ServerState::Looking, vote, version: 2, config: None };
        let mut out = alone.step(Input::Notification { from: ServerId(from), notification });
        out.extend(alone.wait());
        assert_eq!(decision(&out), decides, "with server {from}");
    }
}

/// What one server heard of makes it look again, with the members that there are.
#[test]
fn new_members_begin_a_new_round() {
    let mut alone = Alone::looking(1, of(&[1, 2, 3, 4]));
    assert_eq!(decision(&alone.hear(2, 2, None)), None);
    alone.step(Input::Configured(of(&[1, 2, 3, 4, 5])));
    let mut to = asked(&alone.look());
    to.sort_unstable();
    assert_eq!(to, [2, 3, 4, 5]);
    assert_eq!(alone.election.round(), 2, "votes of before are of another round");
}

/// Who is no member asks all of them, votes for nobody, and can only follow.
#[test]
fn who_is_no_member_votes_for_nobody() {
    let mut alone = Alone::looking(9, of(&[1, 2, 3]));
    let vote = alone.election.vote().unwrap();
    assert_eq!((vote.leader.0, vote.zxid), (i64::MIN, Zxid(5)));
    let mut out = alone.hear(1, 3, None);
    out.extend(alone.hear(2, 3, None));
    out.extend(alone.hear(3, 3, None));
    out.extend(alone.wait());
    assert_eq!(decision(&out), Some((3, ServerState::Following)));
}

/// A leader that a configuration named answers like one that was elected.
#[test]
fn a_leader_that_was_named_is_told_to_those_who_look() {
    let mut alone = Alone::looking(1, of(&[1, 2, 3]));
    let vote = Vote { leader: ServerId(1), zxid: Zxid(5), round: -1, peer_epoch: -1 };
    alone.step(Input::Assigned { state: ServerState::Leading, vote });
    alone.step(Input::Activated { epoch: 4 });
    let out = alone.hear(2, 2, None);
    let [Output::Send { to: ServerId(2), notification }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(
        (notification.state, notification.vote.leader, notification.vote.peer_epoch),
        (ServerState::Leading, ServerId(1), 4)
    );
    assert!(alone.wait().is_empty());
}

/// A leader that could not have its proposal kept fell, and comes back with it: the others go on without, and do not wait.
#[test]
fn a_pending_configuration_that_nobody_else_heard_of_does_not_keep_anybody_away() {
    let pending = of(&[1, 2, 3]).with_last_seen(quorum(&[3, 4, 5]), 1);
    let mut alone = Alone::looking(3, pending);
    let vote = Vote { leader: ServerId(1), zxid: Zxid(5), round: 7, peer_epoch: 1 };
    let mut says = |from, state| {
        let notification = Notification { state, vote, version: 2, config: None };
        alone.step(Input::Notification { from: ServerId(from), notification })
    };
    assert_eq!(decision(&says(2, ServerState::Following)), None);
    assert_eq!(decision(&says(1, ServerState::Leading)), Some((1, ServerState::Following)));
}
