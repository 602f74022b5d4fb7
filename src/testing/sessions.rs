//! How long sessions live: negotiated timeouts, buckets, re-attaching, what goes with a session when it ends, pauses of the
//! whole server; and the znodes that the server itself removes in time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Hello;
use crate::codec::{Frame, op};
use crate::process::{Kind, Server};
use crate::stories::*;

const TICK_MS: u64 = 200;

fn server(home: &Path, threads: Threads) -> Server {
    let mut server = Server::new(Kind::under_test(), home);
    server.set("tickTime", &TICK_MS.to_string()).set("maxSessionTimeout", "60000").set("forceSync", "no");
    server.set("extendedTypesEnabled", "true").property("znode.container.checkIntervalMs", "100");
    if server.kind == Kind::Ours {
        threads.choose(&mut server);
    }
    server
}

fn started(home: &Path) -> Server {
    let mut server = server(home, Threads::One);
    server.start();
    server
}

/// Pings in a thread until told to stop; returns whether the session was there all the time.
fn ping_until(
    mut connection: crate::client::Connection,
    stop: &std::sync::atomic::AtomicBool,
) -> Result<crate::client::Connection, String> {
    let mut sent = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        connection.push(-2, &ping());
        connection.flush().map_err(|e| format!("cannot send: {e}"))?;
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    for _ in 0..sent {
        match next(&mut connection, op::PING) {
            Ok(Frame::Reply { xid: -2, err: 0, .. }) => {}
            other => return Err(format!("instead of a ping's reply: {other:?}")),
        }
    }
    Ok(connection)
}

/// Lets the pinging thread go, also when the story fails.
struct StopAtEnd<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn pause_of(pause: Duration, threads: Threads) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut server = server(home.path(), threads);
    // Longer than a turn may take on a loaded machine, so that nothing but the pause can be the reason.
    server.set("tickTime", "1400");
    server.start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut alive, welcome) = session(server.address(), 4000);
    assert_eq!(welcome.timeout_ms, 4000);
    alive.ask(1, &create("/alive", b"", EPHEMERAL));
    let (mut dead, _) = session(server.address(), 4000);
    dead.ask(1, &create("/dead", b"", EPHEMERAL));
    let (mut witness, _) = session(server.address(), 60_000);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let pinging = scope.spawn(|| ping_until(alive, &stop));
        std::thread::sleep(Duration::from_millis(300));
        server.pause(true);
        std::thread::sleep(pause);
        server.pause(false);
        wait_until("the silent session expires", || code_of(witness.call(1, &exists("/dead"))) == NO_NODE);
        std::thread::sleep(Duration::from_millis(1500));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut alive = pinging.join().expect("the pinging thread failed").unwrap_or_else(|e| {
            panic!("{threads:?}, pause of {pause:?}: {e}\n{}", server.log_tail());
        });
        alive.ask(2, &exists("/alive"));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_clamped_and_negotiated_anew_at_each_attach() {
        let home = tempfile::tempdir().unwrap();
        let server = started(home.path());
        for (asked, granted) in [(1, 400), (-5, 400), (400, 400), (1234, 1234), (60_000, 60_000), (i32::MAX, 60_000)] {
            let (_connection, welcome) = session(server.address(), asked);
            assert_eq!(welcome.timeout_ms, granted, "asked for {asked}");
        }
        let (_first, welcome) = session(server.address(), 60_000);
        let (mut connection, again) = reattach(server.address(), &welcome, 500).expect("known session");
        assert_eq!((again.timeout_ms, again.session_id), (500, welcome.session_id));
        // And the new one counts: without a sign the session is gone long before 60 s.
        connection.set_patience(PATIENCE);
        let began = Instant::now();
        assert!(is_closed_silently(&mut connection));
        assert!(began.elapsed() >= Duration::from_millis(450), "after {:?}", began.elapsed());
        assert!(reattach(server.address(), &welcome, 500).is_none());
    }

    #[test]
    fn a_silent_session_ends_in_time_and_takes_its_ephemerals_along_at_once() {
        let home = tempfile::tempdir().unwrap();
        let server = started(home.path());
        let (mut witness, _) = session(server.address(), 60_000);
        witness.ask(1, &create("/by-all", b"", PERSISTENT));
        witness.ask(2, &watch_for_ever("/by-all", true));
        let (mut silent, welcome) = session(server.address(), 3000);
        for name in ["/by-all/e1", "/by-all/e2", "/by-all/e3"] {
            silent.ask(1, &create(name, b"", EPHEMERAL));
        }
        let (mut talking, _) = session(server.address(), 10_000);
        talking.ask(1, &create("/talking", b"", EPHEMERAL));
        let last_word = Instant::now();
        silent.ask(2, &ping());
        let mut deleted = Vec::new();
        while deleted.len() < 3 {
            talking.ask(3, &ping());
            std::thread::sleep(Duration::from_millis(50));
            witness.push(-2, &ping());
            witness.flush().unwrap();
            loop {
                match next(&mut witness, op::PING).unwrap() {
                    Frame::Event { kind: DELETED, zxid, path, .. } => deleted.push((zxid, path, last_word.elapsed())),
                    Frame::Event { .. } => {}
                    Frame::Reply { xid: -2, .. } => break,
                    other => panic!("{other:?}"),
                }
            }
            assert!(last_word.elapsed() < PATIENCE, "the session never expires");
        }
        let when = deleted[0].2;
        assert!(when >= Duration::from_millis(3000), "expired after {when:?} of silence, timeout 3000 ms");
        assert!(deleted.iter().all(|(zxid, ..)| *zxid == deleted[0].0), "not in one transaction: {deleted:?}");
        // The connection is closed without a word, and the session cannot come back.
        assert!(is_closed_silently(&mut silent));
        assert!(reattach(server.address(), &welcome, 3000).is_none());
        talking.ask(4, &exists("/talking"));
        assert_eq!(server.log().matches("expired").count(), 1, "{}", server.log());
    }

    #[test]
    fn a_session_moves_to_another_connection() {
        for threads in [Threads::One, Threads::Workers(2)] {
            let home = tempfile::tempdir().unwrap();
            let mut server = server(home.path(), threads);
            server.start();
            let (mut old, welcome) = session(server.address(), 30_000);
            old.ask(1, &create("/mine", b"", EPHEMERAL));
            // Often: with several workers the two connections are sometimes on the same, sometimes on different ones.
            for nth in 0..10 {
                let (mut new, again) = reattach(server.address(), &welcome, 30_000).expect("known session");
                assert_eq!(again.password, welcome.password);
                assert!(is_closed_silently(&mut old), "the connection it left is closed");
                new.ask(nth, &set("/mine", b"still"));
                let Ok((_, Frame::Reply { body, .. })) = new.call(1, &get("/mine")) else { panic!("no answer") };
                let crate::codec::Body::Data(_, stat) = body else { panic!("no data") };
                assert_eq!(stat.ephemeral_owner, welcome.session_id);
                old = new;
            }
            old.ask(2, &close_session());
            assert!(is_closed_silently(&mut old));
            assert!(reattach(server.address(), &welcome, 30_000).is_none(), "a closed session");
            let (mut witness, _) = session(server.address(), 30_000);
            assert_eq!(code_of(witness.call(1, &exists("/mine"))), NO_NODE);
            assert!(greet(server.address(), &Hello::reattach(0x7777, &[0; 16], 1000)).is_none(), "an unknown session");
        }
    }

    #[test]
    fn a_client_that_goes_away_keeps_its_session_until_the_timeout() {
        let home = tempfile::tempdir().unwrap();
        let server = started(home.path());
        let (mut witness, _) = session(server.address(), 60_000);
        let (mut away, welcome) = session(server.address(), 8000);
        away.ask(1, &create("/away", b"", EPHEMERAL));
        drop(away);
        std::thread::sleep(Duration::from_millis(1000));
        witness.ask(1, &exists("/away"));
        let (back, _) = reattach(server.address(), &welcome, 8000).expect("its time is not up");
        drop(back);
        wait_until("the session expires", || code_of(witness.call(2, &exists("/away"))) == NO_NODE);
    }

    #[test]
    fn clients_that_kept_pinging_outlive_a_pause_of_the_server() {
        // Just past the timeout, by less and by more than a tick, and far beyond it.
        std::thread::scope(|scope| {
            for (pause_ms, threads) in [
                (3800, Threads::One),
                (4400, Threads::One),
                (5000, Threads::Workers(2)),
                (6000, Threads::One),
                (6600, Threads::Workers(2)),
                (14_000, Threads::One),
                (14_000, Threads::Workers(3)),
            ] {
                scope.spawn(move || pause_of(Duration::from_millis(pause_ms), threads));
            }
        });
    }

    #[test]
    fn containers_and_ttl_nodes_are_removed_when_it_is_time() {
        let home = tempfile::tempdir().unwrap();
        let server = started(home.path());
        let (mut client, _) = session(server.address(), 60_000);
        let is_there = |client: &mut crate::client::Connection, path: &str| match code_of(client.call(9, &exists(path)))
        {
            0 => true,
            NO_NODE => false,
            other => panic!("exists {path} was answered {other}"),
        };
        for container in ["/used", "/never-used", "/in-use"] {
            client.ask(1, &create_container(container));
        }
        client.ask(2, &create("/used/child", b"", PERSISTENT));
        client.ask(3, &create("/in-use/child", b"", PERSISTENT));
        let began = Instant::now();
        for ttl in ["/ttl", "/ttl-parent", "/ttl-touched"] {
            client.ask(4, &create_ttl(ttl, 1500));
        }
        client.ask(5, &create("/ttl-parent/child", b"", PERSISTENT));
        client.ask(6, &create_ttl("/ttl-long", 3_600_000));
        std::thread::sleep(Duration::from_millis(700));
        assert!(is_there(&mut client, "/used"), "a container with a child stays");
        client.ask(7, &set("/ttl-touched", b"1"));
        let touched = Instant::now();
        client.ask(8, &delete("/used/child"));
        wait_until("a used and empty container goes", || !is_there(&mut client, "/used"));
        if began.elapsed() < Duration::from_millis(1400) {
            assert!(is_there(&mut client, "/ttl"), "before its time");
        }
        wait_until("a TTL node goes", || !is_there(&mut client, "/ttl"));
        assert!(began.elapsed() >= Duration::from_millis(1500), "after {:?}", began.elapsed());
        wait_until("a touched one goes later", || !is_there(&mut client, "/ttl-touched"));
        assert!(touched.elapsed() >= Duration::from_millis(1500), "after {:?}", touched.elapsed());
        for path in ["/never-used", "/in-use", "/ttl-parent", "/ttl-long"] {
            assert!(is_there(&mut client, path), "{path}");
        }
        client.ask(9, &delete("/ttl-parent/child"));
        wait_until("without children it goes", || !is_there(&mut client, "/ttl-parent"));
    }
}
