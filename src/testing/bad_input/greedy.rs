//! Clients that ask for much and take nothing: what the server holds for them is bounded, and nobody else waits.

use std::time::{Duration, Instant};

use super::{Scene, TIMEOUT_MS};
use crate::client::Connection;
use crate::codec::{Frame, op};
use crate::stories::*;

/// What a server may hold for one client that does not read: twice the bound on its output, and half as much for the
/// others. What is freed goes back to the kernel a little later.
const HELD_BYTES_MAX: u64 = 256 << 20;
const BIG_BYTES: usize = 900_000;

/// Asks until the server takes no more, reads nothing; returns how many requests went out.
fn ask_without_listening(client: &mut Connection, mut frames: impl FnMut(&mut Connection, i32), most: i32) -> i32 {
    client.set_patience(Duration::from_millis(500));
    for nth in 0..most {
        frames(client, nth);
        if nth % 50 == 49 && client.flush().is_err() {
            return nth;
        }
    }
    let _ = client.flush();
    most
}

/// Ten thousand times 900 kB are asked for: 9 GB that must not be prepared for somebody who does not fetch them.
fn never_reads(mut asks: impl FnMut(&mut Connection, i32)) {
    for threads in [Threads::One, Threads::Workers(2)] {
        let mut scene = Scene::set(|server| threads.choose(server));
        scene.owner.ask(1, &create("/big", &vec![b'b'; BIG_BYTES], PERSISTENT));
        let connections = scene.connections();
        let resident = scene.server.heap_bytes();
        let (mut deaf, _) = session(scene.server.address(), 5000);
        ask_without_listening(&mut deaf, &mut asks, 10_000);
        let began = Instant::now();
        let mut highest = 0;
        while began.elapsed() < Duration::from_secs(2) {
            highest = highest.max(scene.server.heap_bytes().saturating_sub(resident));
            scene.check_on_owner("a client that does not read");
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{threads:?}: {} MiB held", highest >> 20);
        assert!(highest < HELD_BYTES_MAX, "{threads:?}: {} MiB for one client that does not read", highest >> 20);
        // It cannot be heard either, so its session ends and with it the connection.
        wait_until("it is closed", || scene.connections() == connections);
    }
}

/// Events cannot be held back: whoever does not take them is closed when too many wait.
fn watches_and_stops_reading() {
    for threads in [Threads::One, Threads::Workers(2)] {
        let mut scene = Scene::set(|server| threads.choose(server));
        let connections = scene.connections();
        let resident = scene.server.heap_bytes();
        let path = format!("/{}", "long".repeat(1000));
        scene.owner.ask(1, &create(&path, b"", PERSISTENT));
        let (mut deaf, _) = session(scene.server.address(), TIMEOUT_MS);
        deaf.ask(1, &watch_for_ever("/", true));
        let (mut listening, _) = session(scene.server.address(), TIMEOUT_MS);
        listening.ask(1, &watch_for_ever("/", true));
        let (mut highest, mut closed_after, mut events) = (0, None, 0);
        // 4 kB each, 100 in a burst: 120 MB in all.
        for burst in 0..300 {
            for nth in 0..100 {
                scene.owner.push(nth, &set(&path, b""));
            }
            scene.owner.flush().expect("cannot send");
            for _ in 0..100 {
                let Frame::Reply { err: 0, .. } = next(&mut scene.owner, op::SET_DATA).expect("an answer") else {
                    panic!("a write failed")
                };
            }
            for _ in 0..100 {
                let event = next(&mut listening, op::PING).expect("an event");
                assert!(matches!(event, Frame::Event { kind: DATA_CHANGED, .. }), "{event:?}");
                events += 1;
            }
            highest = highest.max(scene.server.heap_bytes().saturating_sub(resident));
            if closed_after.is_none() && scene.connections() == connections + 1 {
                closed_after = Some(burst);
            }
        }
        assert_eq!(events, 30_000, "whoever listens misses nothing");
        assert!(closed_after.is_some(), "{threads:?}: it is never closed");
        println!("{threads:?}: {} MiB held", highest >> 20);
        assert!(highest < HELD_BYTES_MAX, "{threads:?}: {} MiB for one client that does not read", highest >> 20);
        assert!(scene.server.log().contains("it does not read"), "{}", scene.server.log_tail());
        scene.check_on_owner("a watching client that does not read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_nobody_fetches_are_not_prepared() {
        never_reads(|client, nth| client.push(nth, &get("/big")));
    }

    /// Reads behind a write wait for it, and then all become ready at once.
    #[test]
    fn nor_are_those_that_waited_for_a_write() {
        never_reads(|client, nth| {
            if nth % 1000 == 0 {
                client.push(nth, &create("/behind-", b"", SEQUENTIAL));
            }
            client.push(nth, &get("/big"));
        });
    }

    /// One request for more than anybody can hold.
    #[test]
    fn one_reply_has_its_bound_as_well() {
        let mut scene = Scene::set(|_| {});
        scene.owner.ask(1, &create("/big", &vec![b'b'; BIG_BYTES], PERSISTENT));
        let resident = scene.server.heap_bytes();
        let (mut greedy, _) = session(scene.server.address(), TIMEOUT_MS);
        greedy.push(1, &multi_read(vec![get("/big"); 20_000]));
        greedy.flush().expect("cannot send");
        assert!(is_closed_silently(&mut greedy), "18 GB are no reply");
        let grown = scene.server.heap_bytes().saturating_sub(resident);
        println!("{} MiB held", grown >> 20);
        assert!(grown < super::HELD_BYTES_MAX, "{} MiB", grown >> 20);
        let (mut modest, _) = session(scene.server.address(), TIMEOUT_MS);
        modest.ask(2, &multi_read(vec![get("/big"); 20]));
        scene.check_on_owner("a request for too much");
    }

    #[test]
    fn a_watching_client_that_stops_reading_is_closed() {
        watches_and_stops_reading();
    }
}
