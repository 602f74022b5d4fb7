//! Many connections, too many connections, silent connections.

use std::time::{Duration, Instant};

use super::{Scene, TIMEOUT_MS};
use crate::client::{Connection, Hello};
use crate::stories::*;

const IDLE: usize = 10_000;
/// With session, buffers and all: 3.5 kB when this was written. Several threads each keep some free memory of their own, more
/// or less of it from run to run.
const IDLE_BYTES_MAX: u64 = 5 << 10;
const IDLE_BYTES_MAX_THREADS: u64 = 10 << 10;

/// As many descriptors as the machine allows us.
fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on a value of ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    limit.rlim_max
}

fn ten_thousand_idle(threads: Threads) {
    let descriptors = raise_descriptor_limit();
    assert!(descriptors > IDLE as u64 + 1000, "the story needs more than {IDLE} descriptors, here are {descriptors}");
    let mut scene = Scene::set(|server| threads.choose(server));
    let (base, sockets) = (scene.connections(), scene.server.sockets());
    let mut idle = Vec::with_capacity(IDLE);
    let settled = |scene: &Scene| {
        // Nothing happens for a while: what was needed for handshakes is given back.
        std::thread::sleep(Duration::from_secs(2));
        scene.server.heap_bytes()
    };
    // What a server needs for the first ones only is not counted.
    idle.extend((0..IDLE / 5).map(|_| scene.session()));
    let before = settled(&scene);
    idle.extend((IDLE / 5..IDLE).map(|_| scene.session()));
    assert_eq!(scene.connections(), base + IDLE as u64);
    let each = settled(&scene).saturating_sub(before) / (IDLE - IDLE / 5) as u64;
    println!("{threads:?}: {each} bytes per idle connection");
    let most = if matches!(threads, Threads::One) { IDLE_BYTES_MAX } else { IDLE_BYTES_MAX_THREADS };
    assert!(each <= most, "{threads:?}: {each} bytes per idle connection");
    wait_until_at_rest(&scene.server);
    let cpu = scene.server.cpu_time();
    for _ in 0..100 {
        scene.owner.ask(1, &set("/owner", b"x"));
        scene.owner.ask(2, &get("/owner"));
    }
    let each = (scene.server.cpu_time() - cpu) / 200;
    assert!(each < Duration::from_millis(10), "{each:?} of processor time per request beside {IDLE} idle connections");
    // The last ones are as alive as the first.
    for connection in idle.iter_mut().step_by(1000) {
        connection.ask(3, &get("/owner"));
    }
    drop(idle);
    wait_until("all are let go", || scene.connections() == base);
    wait_until("all sockets are let go", || scene.server.sockets() <= sockets);
}

/// More clients than the process may have sockets.
fn out_of_descriptors(threads: Threads) {
    let mut scene = Scene::set(|server| {
        threads.choose(server);
        server.limit_descriptors(100);
    });
    let base = scene.connections();
    let mut crowd: Vec<Connection> = (0..300).map(|_| scene.connect()).collect();
    wait_until("it runs out of descriptors", || scene.server.log().contains("cannot accept"));
    wait_until_at_rest(&scene.server);
    scene.check_on_owner("no descriptors left");
    let log = scene.server.log();
    assert!(log.len() < 50_000, "{} bytes of log", log.len());
    crowd.clear();
    wait_until("newcomers are served", || {
        let mut newcomer = scene.connect();
        newcomer.set_patience(Duration::from_secs(5));
        newcomer.shake_hands(&Hello::new_session(TIMEOUT_MS)).is_ok_and(|welcome| welcome.is_some())
    });
    wait_until("all are let go", || scene.connections() == base);
}

/// Whether somebody new gets a session. A refusal may show at any step.
fn is_let_in(scene: &Scene) -> bool {
    Connection::open(scene.server.address())
        .and_then(|mut connection| connection.shake_hands(&Hello::new_session(TIMEOUT_MS)))
        .is_ok_and(|welcome| welcome.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_idle_connections_cost_little() {
        // One after the other: the descriptors on this side are few as well.
        [Threads::One, Threads::Workers(3)].into_iter().for_each(ten_thousand_idle);
    }

    #[test]
    fn a_process_without_descriptors_serves_those_it_has() {
        [Threads::One, Threads::Workers(2)].into_iter().for_each(out_of_descriptors);
    }

    #[test]
    fn one_address_has_so_many_connections_and_no_more() {
        let mut scene = Scene::set(|server| {
            server.set("maxClientCnxns", "5");
        });
        let mut others: Vec<Connection> = (0..4).map(|_| scene.session()).collect();
        for _ in 0..20 {
            assert!(!is_let_in(&scene), "one too many");
        }
        scene.check_on_owner("too many connections");
        others.pop();
        wait_until("there is room again", || is_let_in(&scene));
    }

    #[test]
    fn a_connection_without_a_session_is_not_waited_for() {
        let mut scene = Scene::set(|server| {
            server.property("zookeeper.nio.sessionlessCnxnTimeout", "700");
        });
        let base = scene.connections();
        let began = Instant::now();
        let mut silent = scene.connect();
        let mut half = scene.connect();
        half.push_bare(&[0, 0, 0, 44, 0, 0]);
        half.flush().expect("cannot send");
        silent.set_patience(PATIENCE);
        half.set_patience(PATIENCE);
        assert!(is_closed_silently(&mut silent) && is_closed_silently(&mut half));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(650), "closed after {took:?}");
        wait_until("they are let go", || scene.connections() == base);
        scene.check_on_owner("silent connections");
    }
}
