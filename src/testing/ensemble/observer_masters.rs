//! Observers that follow followers (`observerMasterPort`): ours under Java's, and Java's under ours.
//!
//! All voters have one observer master port, so each server has a loopback address of its own.

use super::mixed::everything_in;
use super::*;
use crate::process::free_port;

const LEADER: usize = 3;
const OBSERVERS: [usize; 2] = [4, 5];

fn of(kinds: [Kind; 5]) -> Ensemble {
    let mut ensemble = Ensemble::with_observers(&kinds, &OBSERVERS);
    let port = free_port().to_string();
    let lines: Vec<(String, String)> = ensemble
        .ids()
        .map(|id| {
            let key = format!("server.{id}");
            let line = ensemble.server(1).setting(&key).expect("every member is configured");
            (key, line.replace("127.0.0.1", &format!("127.0.0.{id}")))
        })
        .collect();
    for id in ensemble.ids() {
        let server = ensemble.server_mut(id);
        server.set("observerMasterPort", &port);
        lines.iter().for_each(|(key, line)| {
            server.set(key, line);
        });
    }
    ensemble
}

/// Whom the observer follows; `None` while it serves nobody.
fn master_of(ensemble: &Ensemble, observer: usize) -> Option<usize> {
    let text = ensemble.server(observer).four_letter("mntr");
    text.lines().find_map(|line| line.strip_prefix("zk_observer_master_id\t")?.parse().ok())
}

fn followed(ensemble: &Ensemble) -> u64 {
    let followers = ensemble.ids().filter(|id| ensemble.server(*id).mode().as_deref() == Some("follower"));
    followers.map(|id| gauge(ensemble.server(id), "zk_synced_observers")).sum()
}

fn write_some(ensemble: &Ensemble, at: usize, name: &str) {
    let (mut client, _) = session(ensemble.address(at), SESSION_MS);
    for n in 0..40 {
        client.ask(1, &create(&format!("/{name}-{n}"), b"some", PERSISTENT));
    }
    client.ask(2, &close_session());
}

fn tell(kinds: [Kind; 5]) {
    println!("{kinds:?}");
    let mut ensemble = of(kinds);
    ensemble.start_led_by(LEADER);
    for observer in OBSERVERS {
        let master = master_of(&ensemble, observer);
        assert!(matches!(master, Some(1 | 2)), "observer {observer} follows {master:?}\n{}", ensemble.logs());
    }
    assert_eq!(followed(&ensemble), 2, "{}", ensemble.logs());
    assert_eq!(gauge(ensemble.server(LEADER), "zk_synced_observers"), 0);
    // Requests, syncs, watches, sessions that move and expire: all of it through a follower.
    everything_in(&ensemble);

    // One was away, and one begins from nothing.
    let [away, empty] = OBSERVERS;
    OBSERVERS.iter().for_each(|id| ensemble.server_mut(*id).kill());
    write_some(&ensemble, 1, "meanwhile");
    fs::remove_dir_all(ensemble.version_2(empty)).expect("it has data");
    OBSERVERS.iter().for_each(|id| ensemble.server_mut(*id).spawn());
    ensemble.wait_until_serving(&OBSERVERS);
    ensemble.assert_all_equal();

    // Its master dies: it follows the other follower, whoever leads.
    let master = master_of(&ensemble, away).expect("it serves");
    ensemble.server_mut(master).kill();
    wait_until("its observer follows the other", || master_of(&ensemble, away) == Some(3 - master));
    ensemble.wait_until_serving(&OBSERVERS);
    write_some(&ensemble, away, "without-one");
    ensemble.server_mut(master).spawn();
    ensemble.wait_until_all_serve();
    ensemble.assert_all_equal();

    // So does the leader.
    ensemble.server_mut(LEADER).kill();
    wait_until("another leads, and the observers follow its follower", || {
        let leads = [1, 2].into_iter().find(|id| ensemble.server(*id).mode().as_deref() == Some("leader"));
        leads.is_some_and(|leader| OBSERVERS.iter().all(|id| master_of(&ensemble, *id) == Some(3 - leader)))
    });
    write_some(&ensemble, empty, "with-another");
    ensemble.server_mut(LEADER).spawn();
    ensemble.wait_until_all_serve();
    ensemble.assert_all_equal();
}

#[test]
fn observers_follow_followers_of_ours() {
    tell([OURS, OURS, OURS, OURS, JAVA]);
}

#[test]
fn observers_follow_followers_of_either_kind() {
    tell([OURS, JAVA, JAVA, OURS, JAVA]);
    tell([JAVA, OURS, OURS, JAVA, OURS]);
}

#[test]
fn our_observers_follow_followers_of_java() {
    tell([JAVA, JAVA, JAVA, OURS, OURS]);
}
