//! How a server that was away is brought to the leader's history, between ours and Java's in both directions: DIFF, TRUNC and
//! SNAP. What was logged by a leader alone is cut off or replaced, and no client ever sees it.

use std::fs;

use ringkeeper::storage::txnlog_format::{RECORD_HEAD_BYTES, find_records, push_record};

use super::{Ensemble, JAVA, OURS, SESSION_MS};
use crate::client::Connection;
use crate::process::Kind;
use crate::stories::*;

/// What a synchronization is called in logs: Java's as a learner; ours as a leader, and as a learner.
struct Way {
    to_java: &'static str,
    from_us: &'static str,
    to_us: &'static str,
}

/// We say nothing of it: it is what happens where nothing has to be thrown away.
const DIFF: Way = Way { to_java: "Getting a diff from the leader", from_us: ": Diff", to_us: "" };
/// No longer in memory: read from the log files.
const DIFF_FROM_LOG: Way = Way { from_us: ": DiffFromDisk", ..DIFF };
const TRUNC: Way =
    Way { to_java: "Truncating log to get in sync", from_us: ": Trunc", to_us: "the leader has the log cut behind" };
const SNAP: Way =
    Way { to_java: "Getting a snapshot from leader", from_us: ": Snap", to_us: "the leader sends a snapshot" };

fn write_some(ensemble: &Ensemble, at: usize, name: &str) {
    let (mut client, _) = session(ensemble.address(at), SESSION_MS);
    for n in 0..50 {
        client.ask(1, &create(&format!("/{name}-{n}"), b"some", PERSISTENT));
    }
    client.ask(2, &close_session());
}

/// The learner comes back and is equal; `way` is how.
fn returns(ensemble: &mut Ensemble, learner: usize, way: &Way) {
    let leader = ensemble.leader();
    ensemble.server_mut(learner).spawn();
    ensemble.wait_until_serving(&[learner]);
    let told = ensemble.server(learner).log();
    match ensemble.server(learner).kind {
        OURS => {
            let said = [TRUNC.to_us, SNAP.to_us].into_iter().find(|way| told.contains(way));
            assert_eq!(said.unwrap_or_default(), way.to_us, "{told}");
        }
        _ => assert!(told.contains(way.to_java), "not {:?}:\n{told}", way.to_java),
    }
    if ensemble.server(leader).kind == OURS {
        let led = ensemble.server(leader).log();
        let line = led.lines().rfind(|line| line.contains(&format!("server {learner}: its log ends at")));
        assert!(line.is_some_and(|line| line.contains(way.from_us)), "not {:?}:\n{led}", way.from_us);
    }
    ensemble.assert_all_equal();
}

/// The leader puts a proposal into its log that nobody else gets; then all die, and the others go on without it.
fn logs_alone_and_dies(ensemble: &mut Ensemble, path: &str) -> usize {
    let leader = ensemble.leader();
    let others: Vec<usize> = ensemble.ids().filter(|id| *id != leader).collect();
    let (mut client, _) = session(ensemble.address(leader), SESSION_MS);
    let before = format!("{path}-before");
    client.ask(1, &create(&before, b"", PERSISTENT));
    // A quorum has it, which may leave one out: were that one behind, it could not lead next.
    for id in &others {
        let version_2 = ensemble.version_2(*id);
        wait_until("everybody has what came before in its log", || holds(&version_2, &before));
    }
    others.iter().for_each(|id| ensemble.server(*id).pause(true));
    client.push(2, &create(path, b"", PERSISTENT));
    client.flush().expect("cannot send");
    let version_2 = ensemble.version_2(leader);
    wait_until("the proposal is in the leader's log", || holds(&version_2, path));
    ensemble.server_mut(leader).kill();
    // What waits in their sockets must die as well: they would log it and acknowledge it to nobody, and it would be history.
    others.iter().for_each(|id| ensemble.server_mut(*id).kill());
    others.iter().for_each(|id| ensemble.server_mut(*id).spawn());
    assert!(is_unanswered(&mut client), "a write that no quorum has was acknowledged");
    let next = ensemble.leader();
    assert_ne!(next, leader);
    ensemble.wait_until_serving(&others);
    leader
}

fn is_unanswered(client: &mut Connection) -> bool {
    !matches!(client.next_frame(), Ok(Some(_)))
}

/// Whether a log file has a create of exactly this path.
pub(super) fn holds(version_2: &std::path::Path, path: &str) -> bool {
    let mut pattern = (path.len() as u32).to_be_bytes().to_vec();
    pattern.extend_from_slice(path.as_bytes());
    let files = fs::read_dir(version_2).expect("cannot list").flatten();
    let mut logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log."));
    logs.any(|log| fs::read(log.path()).is_ok_and(|bytes| bytes.windows(pattern.len()).any(|at| at == pattern)))
}

fn nobody_has(ensemble: &Ensemble, path: &str) {
    for id in ensemble.ids() {
        let (mut client, _) = session(ensemble.address(id), SESSION_MS);
        assert_eq!(code_of(client.call(1, &exists(path))), NO_NODE, "server {id} has a proposal that never was");
        assert_eq!(code_of(client.call(2, &exists(&format!("{path}-before")))), 0, "server {id}");
        client.ask(3, &close_session());
    }
}

fn every_way(kinds: &[Kind; 3]) {
    let mut ensemble = Ensemble::of(kinds);
    ensemble.start_led_by(3);
    write_some(&ensemble, 1, "begin");

    // Nothing of the next epoch is there yet when it returns: what comes too much is cut off.
    let away = logs_alone_and_dies(&mut ensemble, "/alone");
    assert_eq!((away, ensemble.leader()), (3, 2));
    returns(&mut ensemble, away, &TRUNC);
    nobody_has(&ensemble, "/alone");

    ensemble.server_mut(3).kill();
    write_some(&ensemble, 1, "missed");
    returns(&mut ensemble, 3, &DIFF);

    ensemble.server_mut(3).kill();
    fs::remove_dir_all(ensemble.version_2(3)).expect("cannot empty the data directory");
    returns(&mut ensemble, 3, &SNAP);

    // The next epoch has begun when it returns: its history is replaced.
    let away = logs_alone_and_dies(&mut ensemble, "/alone-again");
    assert_eq!((away, ensemble.leader()), (2, 3));
    write_some(&ensemble, 1, "later");
    returns(&mut ensemble, away, &SNAP);
    nobody_has(&ensemble, "/alone-again");
}

/// Larger than what a leader keeps in memory: beyond the 500 transactions of a Java leader and the 16 MiB of ours.
fn write_much(ensemble: &Ensemble, at: usize) {
    let (mut client, _) = session(ensemble.address(at), SESSION_MS);
    let made = code_of(client.call(1, &create("/much", b"", PERSISTENT)));
    assert!(made == 0 || made == NODE_EXISTS);
    let value = vec![b'm'; 32 << 10];
    for batch in 0..35 {
        (0..20).for_each(|n| client.push(batch * 20 + n, &set("/much", &value)));
        client.flush().expect("cannot send");
        (0..20).for_each(|_| {
            next(&mut client, crate::codec::op::SET_DATA).expect("an answer");
        });
    }
    client.ask(2, &close_session());
}

/// Server 1 misses much, and comes back to servers 2 and 3.
fn much_is_missed(kinds: &[Kind; 3]) {
    let mut ensemble = Ensemble::of(kinds);
    ensemble.ids().for_each(|id| {
        ensemble.server_mut(id).set("snapshotSizeFactor", "0");
    });
    ensemble.start_led_by(3);
    write_some(&ensemble, 1, "begin");
    ensemble.server_mut(1).kill();
    write_much(&ensemble, 2);
    // It is cut off in the middle of what it is sent, several times.
    if kinds[0] == OURS {
        for ms in [5, 20, 60, 200] {
            ensemble.server_mut(1).spawn();
            std::thread::sleep(std::time::Duration::from_millis(ms));
            ensemble.server_mut(1).kill();
        }
        write_much(&ensemble, 2);
    }
    returns(&mut ensemble, 1, &DIFF_FROM_LOG);
    if kinds[2] != OURS {
        let led = ensemble.server(3).log();
        assert!(led.contains("Use txnlog and committedLog for peer sid: 1"), "{led}");
    }
    // Who was fed from the log feeds others.
    ensemble.server_mut(3).kill();
    ensemble.leader();
    ensemble.wait_until_serving(&[1, 2]);
    write_some(&ensemble, 1, "later");
    returns(&mut ensemble, 3, &DIFF);
    if kinds[2] != OURS {
        return;
    }
    // What is missed is larger than a third of the snapshot.
    ensemble.ids().for_each(|id| ensemble.server_mut(id).kill());
    for id in [2, 3] {
        ensemble.server_mut(id).set("snapshotSizeFactor", "0.33").spawn();
    }
    ensemble.leader();
    ensemble.wait_until_serving(&[2, 3]);
    write_much(&ensemble, 2);
    returns(&mut ensemble, 1, &SNAP);
}

#[test]
fn what_is_no_longer_in_memory_comes_from_the_log() {
    much_is_missed(&[OURS, OURS, OURS]);
    much_is_missed(&[JAVA, OURS, OURS]);
    much_is_missed(&[OURS, JAVA, JAVA]);
}

/// A follower that stands still while more is written than memory keeps goes on where it stood.
#[test]
fn a_follower_that_stood_still_is_fed_from_the_log() {
    let mut ensemble = Ensemble::of(&[OURS, OURS, OURS]);
    ensemble.ids().for_each(|id| {
        ensemble.server_mut(id).set("syncLimit", "120");
    });
    ensemble.start_led_by(3);
    ensemble.server(1).pause(true);
    (0..3).for_each(|_| write_much(&ensemble, 2));
    ensemble.server(1).pause(false);
    wait_until("server 1 has all of it", || {
        let zxid = |id: usize| {
            ensemble.server(id).four_letter("srvr").lines().find(|l| l.starts_with("Zxid")).map(str::to_owned)
        };
        zxid(1) == zxid(3)
    });
    ensemble.assert_all_equal();
    assert!(!ensemble.server(1).log().contains("following ends"), "{}", ensemble.logs());
}

#[test]
fn java_brings_us_back_and_we_bring_java_back() {
    every_way(&[JAVA, JAVA, OURS]);
    every_way(&[OURS, OURS, JAVA]);
}

#[test]
fn ours_bring_ours_back() {
    every_way(&[OURS, OURS, OURS]);
}

/// A server that does not know what it had says so, and is given everything, even where that is an empty tree.
#[test]
fn a_lost_directory_is_filled_before_anything_is_written() {
    for kinds in [[OURS, JAVA, JAVA], [JAVA, OURS, OURS], [OURS, OURS, OURS]] {
        let mut ensemble = Ensemble::of(&kinds);
        ensemble.server_mut(1).property("zookeeper.db.autocreate", "false");
        ensemble.start_led_by(3);
        let (way, log) = (if kinds[0] == OURS { SNAP.to_us } else { SNAP.to_java }, ensemble.server(1).log());
        assert!(log.contains(way), "not {way:?}:\n{log}");
        write_some(&ensemble, 1, "begin");
        ensemble.assert_all_equal();
        // From now on it votes.
        ensemble.server_mut(3).kill();
        ensemble.leader();
        ensemble.wait_until_serving(&[1, 2]);
        write_some(&ensemble, 1, "later");
    }
}

/// The create of `path` in a server's log holds other data, and its checksum is right: a server that stopped has no means to tell.
fn forge_data(version_2: &std::path::Path, path: &str, from: &[u8], to: &[u8]) {
    let field = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let pattern = [field(path.as_bytes()), field(from)].concat();
    for file in fs::read_dir(version_2).expect("cannot list").flatten() {
        let mut log = fs::read(file.path()).expect("cannot read");
        let Some(found) = log.windows(pattern.len()).position(|at| at == pattern) else { continue };
        let record = find_records(&log).into_iter().find(|record| (record.start..record.end).contains(&found));
        let record = record.expect("a record around it");
        let data = found + pattern.len() - from.len();
        log[data..data + to.len()].copy_from_slice(to);
        let mut forged = Vec::new();
        push_record(&mut forged, &log[record.start + RECORD_HEAD_BYTES..record.end - 1]);
        log[record.start..record.end].copy_from_slice(&forged);
        return fs::write(file.path(), log).expect("cannot write");
    }
    panic!("no log has {path}");
}

/// Its digests tell that what it is sent does not lead to its leader's tree; so it asks for that tree, and serves no other.
#[test]
fn a_server_whose_log_holds_something_else_takes_a_snapshot() {
    let mut ensemble = Ensemble::of(&[OURS, OURS, OURS]);
    ensemble.start_led_by(3);
    let (mut client, _) = session(ensemble.address(1), SESSION_MS);
    client.ask(1, &create("/forged", b"as written", PERSISTENT));
    client.ask(2, &close_session());
    let version_2 = ensemble.version_2(1);
    wait_until("server 1 has it in its log", || holds(&version_2, "/forged"));
    ensemble.server_mut(1).kill();
    forge_data(&version_2, "/forged", b"as written", b"as altered");
    write_some(&ensemble, 2, "missed");
    ensemble.server_mut(1).spawn();
    ensemble.wait_until_serving(&[1]);
    let told = ensemble.server(1).log();
    for line in ["the two servers differ", "what the leader sends does not lead to its state", SNAP.to_us] {
        assert!(told.contains(line), "not {line:?}:\n{told}");
    }
    let led = ensemble.server(3).log();
    let ways: Vec<&str> = led.lines().filter(|line| line.contains("server 1: its log ends at")).collect();
    assert!(
        matches!(ways[..], [.., diff, snap] if diff.contains(DIFF.from_us) && snap.contains(SNAP.from_us)),
        "{led}"
    );
    ensemble.assert_equal_trees();
}
