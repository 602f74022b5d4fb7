//! `leaderServes=no`: who leads takes no clients, and says to operators what a server without a leader says.

use super::*;
use crate::client::{Connection, Hello};

/// Starts three servers, the third of which leads.
fn of(kind: Kind) -> Ensemble {
    let mut ensemble = Ensemble::of(&[kind; 3]);
    for id in ensemble.ids() {
        ensemble.server_mut(id).set("leaderServes", "no");
    }
    [3, 2].iter().for_each(|id| ensemble.server_mut(*id).spawn());
    ensemble.wait_until_serving(&[2]);
    ensemble.server_mut(1).spawn();
    ensemble.wait_until_serving(&[1]);
    ensemble
}

/// What a client and an operator meet at a server.
fn met_at(ensemble: &Ensemble, id: usize) -> Vec<String> {
    let mut connection = Connection::open(ensemble.address(id)).expect("cannot connect");
    let taken = connection.shake_hands(&Hello::new_session(SESSION_MS)).map(|welcome| welcome.is_some());
    let mut told = vec![format!("taken: {:?}", taken.map_err(|error| error.kind()))];
    for word in ["ruok", "srvr", "stat", "mntr", "isro", "dump", "cons", "wchs", "hash"] {
        let text = ensemble.server(id).four_letter(word);
        told.push(format!("{word}: {:?}", text.lines().next().map(|line| line.split('-').next())));
    }
    told
}

fn tell(kind: Kind) -> Vec<String> {
    let mut ensemble = of(kind);
    let mut told = met_at(&ensemble, 3);
    let (mut client, welcome) = session(ensemble.address(1), SESSION_MS);
    client.ask(1, &create("/served", b"", EPHEMERAL));
    assert!(reattach(ensemble.address(3), &welcome, SESSION_MS).is_none());
    // A follower that becomes the leader leaves its clients to the one that is left.
    ensemble.server_mut(3).kill();
    let mut moved = None;
    wait_until("one leads and the other has the session", || {
        // Who takes it follows somebody, and there is only one other.
        moved = [1, 2].into_iter().find_map(|id| {
            let follows = ensemble.server(id).mode().as_deref() == Some("follower");
            follows.then(|| reattach(ensemble.address(id), &welcome, SESSION_MS)).flatten().map(|there| (id, there))
        });
        moved.is_some()
    });
    let (follower, (mut client, _)) = moved.expect("just seen");
    client.ask(1, &set("/served", b"still"));
    client.ask(2, &close_session());
    told.extend(met_at(&ensemble, 3 - follower));
    let (mut client, _) = session(ensemble.address(follower), SESSION_MS);
    assert_eq!(code_of(client.call(1, &exists("/served"))), NO_NODE);
    client.ask(2, &close_session());
    told
}

#[test]
fn a_leader_may_leave_clients_to_the_others() {
    assert_eq!(tell(OURS), tell(JAVA));
}
