//! How many learners are synchronized at a time, how long a leader is tried to be reached, how often a port is tried.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use super::bad_peers::{
    ACK, FOLLOWERINFO, FakeLearner, LOOKING, NEWLEADER, OBSERVERINFO, V1, connect, introduction, is_closed, last_zxid,
    packet, vote,
};
use super::*;
use std::io::Write;

const SNAP: i32 = 15;
/// Ids of learners that are in nobody's configuration.
const GUESTS: std::ops::Range<i64> = 90..99;

#[test]
fn observers_are_synchronized_in_turns() {
    for kind in [JAVA, OURS] {
        let mut ensemble = Ensemble::of(&[kind; 3]);
        for id in ensemble.ids() {
            let server = ensemble.server_mut(id);
            server.set("leader.maxConcurrentSnapSyncs", "1").set("leader.maxConcurrentDiffSyncs", "2");
        }
        ensemble.start_led_by(3);
        let (mut client, _) = session(ensemble.address(3), SESSION_MS);
        client.ask(1, &create("/some", b"", PERSISTENT));
        let (quorum, _) = ensemble.ports(3);
        let last = last_zxid(&ensemble, 3);
        let mut ids = GUESTS;
        let mut guest = |kind, zxid| FakeLearner::greet(quorum, ids.next().expect("a guest"), kind, 0, zxid, 0);

        // By DIFF: the leader waits for two, and the third has to come again.
        let mut first = guest(OBSERVERINFO, last);
        let epoch = first.hear_until(NEWLEADER);
        let mut second = guest(OBSERVERINFO, last);
        second.hear_until(NEWLEADER);
        let mut third = guest(OBSERVERINFO, last);
        assert!(is_closed(&mut third.stream), "{}", ensemble.logs());
        guest(FOLLOWERINFO, last).hear_until(NEWLEADER);
        // One has the history: there is room again.
        first.say(&packet(ACK, epoch, None));
        wait_until("there is room for another", || {
            let mut fourth = guest_again(quorum, last);
            fourth.hears_of(NEWLEADER)
        });

        // By SNAP there is room for one.
        let mut first = guest(OBSERVERINFO, 0);
        assert_eq!(first.hear().0, SNAP);
        let mut second = guest(OBSERVERINFO, 0);
        assert!(is_closed(&mut second.stream), "{}", ensemble.logs());
        assert_eq!(guest(FOLLOWERINFO, 0).hear().0, SNAP);
        client.ask(2, &close_session());
    }
}

fn guest_again(quorum: u16, zxid: i64) -> FakeLearner {
    FakeLearner::greet(quorum, GUESTS.end, OBSERVERINFO, 0, zxid, 0)
}

/// A predecessor that has not quite gone is waited for; a port that is taken for good ends the start.
#[test]
fn an_election_port_is_tried_again() {
    let mut ensemble = Ensemble::of(&[OURS; 3]);
    ensemble.start_led_by(3);
    ensemble.server_mut(1).kill();
    let (_, election) = ensemble.ports(1);
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, election)).expect("the port is free");
    for kind in [JAVA, OURS] {
        let holder = bind();
        ensemble.server_mut(1).kind = kind;
        ensemble.server_mut(1).set("electionPortBindRetry", "2");
        assert_eq!(ensemble.server_mut(1).start_in_vain(), 14, "{}", ensemble.server(1).log());
        drop(holder);
    }
    let holder = bind();
    ensemble.server_mut(1).set("electionPortBindRetry", "0");
    ensemble.server_mut(1).spawn();
    wait_until("it was tried in vain", || ensemble.server(1).log().contains("cannot listen on the election port"));
    drop(holder);
    ensemble.wait_until_serving(&[1]);
}

/// Somebody is elected who never leads: `connectToLearnerMasterLimit` is how long he is tried.
#[test]
fn a_leader_that_cannot_be_reached_is_left() {
    let mut ensemble = Ensemble::of(&[OURS; 3]);
    // Two minutes, and a second.
    ensemble.server_mut(1).set("initLimit", "240").set("connectToLearnerMasterLimit", "2");
    let (_, own) = ensemble.ports(3);
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, own)).expect("the port is free");
    ensemble.server_mut(1).spawn();
    wait_until("server 1 looks for a leader", || ensemble.server(1).log().contains("looking for a leader"));
    let began = Instant::now();
    let (_, election) = ensemble.ports(1);
    let mut pretender = connect(election);
    pretender.write_all(&introduction(V1, 3, &format!("127.0.0.1:{own}"))).expect("it listens");
    pretender.write_all(&vote(LOOKING, 3, 1 << 32, 1)).expect("it listens");
    wait_until("server 1 looks again", || {
        let log = ensemble.server(1).log();
        let followed = log.find("following server 3");
        followed.is_some_and(|at| log[at..].contains("looking for a leader"))
    });
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
