//! Real servers that are not what they should be: with another's id, with another ensemble's data, with epochs that do not
//! fit. Each says what is wrong; the others go on.

use std::fs;

use super::Scene;
use crate::differential::walk;
use crate::ensemble::synchronization::holds;
use crate::ensemble::{Ensemble, OURS, SESSION_MS};
use crate::process::{Server, copy_dir};
use crate::stories::*;

fn my_id(server: &Server, text: &str) {
    fs::write(server.data_dir().join("myid"), text).expect("cannot write myid");
}

/// A server that is started and must give up; what it said.
fn refused(scene: &mut Scene, id: usize) -> String {
    let server = scene.ensemble.server_mut(id);
    assert_ne!(server.start_in_vain(), 0);
    let log = server.log();
    scene.check_on_writer("a server that gives up");
    log
}

/// Waits until a server has said this.
fn says(scene: &mut Scene, id: usize, text: &str) {
    scene.until(text, |ensemble| ensemble.server(id).log().contains(text));
    scene.check_on_writer(text);
}

#[test]
fn ids_that_contradict_the_configuration() {
    let mut scene = Scene::set();
    scene.move_writer_to(3);
    scene.ensemble.server_mut(1).kill();
    for (text, told) in [
        ("9", "myid is 9, but there is no line server.9"),
        ("one", "a server id expected"),
        // Server 2's ports are taken, by server 2.
        ("2", "cannot listen on the election port"),
    ] {
        scene.ensemble.server_mut(1).set("electionPortBindRetry", "1");
        my_id(scene.ensemble.server(1), text);
        let log = refused(&mut scene, 1);
        assert!(log.contains(told), "{log}");
    }
    fs::remove_file(scene.ensemble.server(1).data_dir().join("myid")).expect("it was there");
    let log = refused(&mut scene, 1);
    assert!(log.contains("no myid file"), "{log}");

    // Elsewhere, with ports of its own, a second server 2 would do: two have one id.
    my_id(scene.ensemble.server(1), "1");
    scene.ensemble.server_mut(1).spawn();
    scene.ensemble.wait_until_serving(&[1]);
    let mut second = Server::new(OURS, &scene.ensemble.home().join("second"));
    my_id(&second, "1");
    scene.ensemble.copy_settings(1, &mut second);
    second.set("server.1", &format!("127.0.0.1:{}:{}", crate::process::free_port(), crate::process::free_port()));
    second.spawn();
    says(&mut scene, 3, "server 1 has connected again: it was started anew, or two servers have the same myid");
    for _ in 0..20 {
        scene.check_on_writer("two servers with one id");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    second.kill();
    scene.ensemble.wait_until_all_serve();
    scene.end();
}

#[test]
fn epochs_and_data_that_do_not_fit() {
    let mut scene = Scene::set();
    scene.move_writer_to(3);
    let version_2 = scene.ensemble.version_2(1);
    let epoch = |name: &str, text: &str| fs::write(version_2.join(name), text).expect("cannot write an epoch");

    // Lost epoch files are made from the log.
    for lost in [&["acceptedEpoch", "currentEpoch"][..], &["currentEpoch"], &["acceptedEpoch"]] {
        scene.ensemble.server_mut(1).kill();
        for name in lost {
            fs::remove_file(version_2.join(name)).expect("every member has it");
        }
        scene.ensemble.server_mut(1).spawn();
        scene.ensemble.wait_until_serving(&[1]);
        scene.ensemble.assert_all_equal();
    }

    // Epochs behind the log or each other are refused, by file.
    scene.ensemble.server_mut(1).kill();
    for (accepted, current) in [("0", "0"), ("0", "1"), ("1", "first")] {
        epoch("acceptedEpoch", accepted);
        epoch("currentEpoch", current);
        let log = refused(&mut scene, 1);
        assert!(log.contains("Epoch"), "{log}");
    }

    // A promise to a later epoch is kept: it follows from an epoch above that on. The leader begins one for its sake.
    epoch("acceptedEpoch", "50");
    epoch("currentEpoch", "1");
    scene.ensemble.server_mut(1).spawn();
    scene.ensemble.wait_until_serving(&[1]);
    assert!(scene.ensemble.server(3).log().contains("server 1 has accepted epoch 32, this is 1"));
    scene.ensemble.wait_until_all_serve();
    scene.move_writer_to(3);
    scene.check_on_writer("a server that had promised more");
    scene.ensemble.assert_all_equal();
    scene.ensemble.server_mut(1).kill();

    // The directory of another ensemble, which ends at a zxid that is known here too: nothing tells it from one of ours but
    // the digests, with the next write; unless the leader no longer has what comes behind that zxid, and sends everything.
    let mut other = Ensemble::of(&[OURS, OURS, OURS]);
    other.start_led_by(3);
    session(other.address(1), SESSION_MS).0.ask(1, &create("/foreign", b"", PERSISTENT));
    // A quorum without it may have decided that.
    wait_until("its log has it", || holds(&other.version_2(1), "/foreign"));
    other.ids().for_each(|id| other.server_mut(id).kill());
    fs::remove_dir_all(&version_2).expect("cannot remove");
    copy_dir(&other.version_2(1), &version_2);
    let said_before = scene.ensemble.server(1).log().len();
    scene.ensemble.server_mut(1).spawn();
    scene.ensemble.wait_until_serving(&[1]);
    scene.check_on_writer("a server with another ensemble's data");
    scene.until("a difference, or a snapshot", |ensemble| {
        let log = ensemble.server(1).log();
        let new = log.get(said_before..).unwrap_or(&log);
        new.contains("the two servers differ") || new.contains("the leader sends a snapshot")
    });
    scene.check_on_writer("a server with another ensemble's data");

    // Emptied it is one of them again.
    scene.ensemble.server_mut(1).kill();
    fs::remove_dir_all(&version_2).expect("cannot remove");
    scene.ensemble.server_mut(1).spawn();
    scene.ensemble.wait_until_all_serve();
    scene.end_after_an_election();
}

/// A directory that is further than everybody else's takes part in no election as long as the leader is well: it would win.
#[test]
fn data_of_another_ensemble_that_is_further() {
    let mut scene = Scene::set();
    scene.move_writer_to(3);
    let mut other = Ensemble::of(&[OURS, OURS, OURS]);
    for round in 0..3 {
        other.start_led_by(3);
        session(other.address(1), SESSION_MS).0.ask(1, &create(&format!("/foreign-{round}"), b"", PERSISTENT));
        other.ids().for_each(|id| other.server_mut(id).kill());
    }
    scene.ensemble.server_mut(1).kill();
    let version_2 = scene.ensemble.version_2(1);
    fs::remove_dir_all(&version_2).expect("cannot remove");
    copy_dir(&other.version_2(1), &version_2);
    scene.ensemble.server_mut(1).spawn();
    for _ in 0..60 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        scene.check_on_writer("a server with another ensemble's data, further than this one's");
    }
    let log = scene.ensemble.server(3).log();
    assert!(log.contains("it has the data directory of another ensemble"), "{log}");
    let tree = walk::tree(scene.ensemble.address(3));
    assert!(tree.contains_key("/writer") && !tree.contains_key("/foreign-0"), "{}", scene.ensemble.logs());
    scene.ensemble.server_mut(1).kill();
    fs::remove_dir_all(&version_2).expect("cannot remove");
    scene.ensemble.server_mut(1).spawn();
    scene.ensemble.wait_until_all_serve();
    scene.end();
}
