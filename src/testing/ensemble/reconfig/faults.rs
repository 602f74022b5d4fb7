//! Changes that are refused, that meet each other, whose leader is killed in the middle, and that have to wait for servers that
//! are away.

use super::*;
use crate::differential::walk;
use crate::ensemble::ledger::Load;
use crate::ensemble::{JAVA, OURS};

#[test]
fn of_two_at_a_time_one_waits_or_is_refused() {
    let (mut ensemble, lines) = reconfigurable(&[OURS; 3], 3);
    start(&mut ensemble, &[1, 2, 3]);
    let mut first = operator(ensemble.address(1));
    let mut second = operator(ensemble.address(2));
    let (mut done, mut refused) = (0, 0);
    for round in 0..20 {
        let role = if round % 2 == 0 { "observer" } else { "participant" };
        let follower = (1..=3).find(|id| ensemble.leader() != *id && *id != 1 && *id != 2).unwrap_or(1);
        let op = request(&lines.of(follower, role), "", "", -1);
        for client in [&mut first, &mut second] {
            client.push(1, &op);
            client.flush().expect("cannot send");
        }
        for (at, client) in [(1, &mut first), (2, &mut second)] {
            match next(client, op::RECONFIG) {
                Ok(Frame::Reply { err: 0, .. }) => done += 1,
                Ok(Frame::Reply { err: -14, .. }) => refused += 1,
                // Its server has another role, or another leader.
                Ok(Frame::Closed) => *client = operator(ensemble.address(at)),
                other => panic!("{other:?}\n{}", ensemble.logs()),
            }
        }
        ensemble.wait_until_all_serve();
    }
    println!("{done} done, {refused} refused");
    assert!(done >= 10, "{done} done, {refused} refused");
    ensemble.assert_all_equal();
}

/// The leader is killed right after it was asked: the change is done or it is not, on all servers alike, and they go on.
fn the_leader_is_killed(kinds: &[Kind; 4]) {
    let rounds = std::env::var("RINGKEEPER_RECONFIG_ROUNDS").map_or(6, |text| text.parse().expect("a number"));
    let (mut ensemble, lines) = reconfigurable(kinds, 3);
    start(&mut ensemble, &[1, 2, 3]);
    start(&mut ensemble, &[4]);
    let load = Load::begin(&ensemble.addresses(), 3);
    for round in 0..rounds {
        load.wait_for_more(30);
        let leader = ensemble.leader();
        // One that stays up comes or goes in turns.
        let moving = if leader == 4 { 1 } else { 4 };
        let op = match round % 2 {
            0 => request(&lines.participant(moving), "", "", -1),
            _ => request("", &moving.to_string(), "", -1),
        };
        let mut client = operator(ensemble.address(leader));
        client.push(1, &op);
        client.flush().expect("cannot send");
        sleep(Duration::from_micros(rand::random_range(0..20_000)));
        ensemble.server_mut(leader).kill();
        load.wait_for_more(30);
        // One that is no member any more does not start; the others have it back as soon as they want it.
        let asked = ensemble.ids().find(|id| *id != leader).expect("another one");
        reconfig(&ensemble, asked, &lines.participant(leader), "", "");
        let is_member = fs::read_to_string(ensemble.server(leader).config_file("zoo.cfg")).expect("a file");
        println!("round {round}: {leader} was killed; {}", is_member.lines().last().unwrap_or_default());
        ensemble.server_mut(leader).spawn();
        ensemble.wait_until_all_serve();
        let newest = config_at(ensemble.address(asked));
        for id in ensemble.ids() {
            wait_until("one configuration", || config_at(ensemble.address(id)) == newest);
        }
    }
    let ledger = load.end();
    println!("{} writes acknowledged, {} reconnects", ledger.acknowledged(), ledger.reconnects());
    ensemble.assert_all_equal();
    ledger.check(&walk::tree(ensemble.address(1)));
}

#[test]
fn leaders_of_ours_are_killed_in_the_middle() {
    the_leader_is_killed(&[OURS; 4]);
}

#[test]
fn leaders_of_both_kinds_are_killed_in_the_middle() {
    the_leader_is_killed(&[OURS, JAVA, OURS, JAVA]);
}

/// A server that was down while the others changed hears of it from their votes, and takes the new members up.
#[test]
fn who_was_away_hears_of_it() {
    let (mut ensemble, lines) = reconfigurable(&[OURS; 4], 3);
    start(&mut ensemble, &[1, 2, 3]);
    ensemble.server_mut(1).kill();
    start(&mut ensemble, &[4]);
    let joined = reconfig(&ensemble, 2, &lines.participant(4), "", "");
    // The ones that it knows are gone, but for one.
    let leader = ensemble.leader();
    let gone = if leader == 2 { 3 } else { 2 };
    ensemble.server_mut(gone).kill();
    ensemble.server_mut(1).spawn();
    ensemble.wait_until_serving(&[1]);
    assert_eq!(config_at(ensemble.address(1)), joined);
}

/// With `standaloneEnabled=false` one voter is an ensemble, that grows and shrinks back.
#[test]
fn from_one_to_three_and_back() {
    let (mut ensemble, lines) = reconfigurable(&[OURS; 3], 1);
    for id in ensemble.ids() {
        ensemble.server_mut(id).set("standaloneEnabled", "false");
    }
    start(&mut ensemble, &[1]);
    assert_eq!(ensemble.leader(), 1);
    start(&mut ensemble, &[2, 3]);
    reconfig(&ensemble, 1, &format!("{},{}", lines.participant(2), lines.participant(3)), "", "");
    let all: Vec<String> = [1, 2, 3].map(|id| lines.participant(id)).into();
    wait_for_one_config(&ensemble, &[1, 2, 3], &all);
    reconfig(&ensemble, 2, "", "2,3", "");
    wait_for_one_config(&ensemble, &[1, 2, 3], &all[..1]);
    ensemble.server_mut(2).kill();
    ensemble.server_mut(3).kill();
    let mut client = operator(ensemble.address(1));
    client.ask(1, &create("/alone", b"", PERSISTENT));
}

/// Whoever watches the configuration is told of every change, by whichever server.
#[test]
fn watchers_of_the_configuration_are_told() {
    let (mut ensemble, lines) = reconfigurable(&[OURS; 4], 3);
    start(&mut ensemble, &[1, 2, 3, 4]);
    let mut clients: Vec<Connection> = ensemble.ids().map(|id| visitor(ensemble.address(id))).collect();
    for client in &mut clients {
        client.ask(1, &get_and_watch(CONFIG));
    }
    let joined = reconfig(&ensemble, 1, &lines.participant(4), "", "");
    for (id, client) in (1..).zip(&mut clients) {
        let told = next(client, op::GET_DATA);
        let is_event = matches!(&told, Ok(Frame::Event { kind: DATA_CHANGED, .. }));
        assert!(is_event, "server {id} tells {told:?}");
        assert_eq!(text_of(&client.ask(2, &get(CONFIG))), joined, "server {id}");
    }
}
