//! Many connections, too many connections, silent connections.

use std::time::{Duration, Instant};

use super::{Scene, TIMEOUT_MS};
use crate::client::{Connection, Hello};
use crate::process::Kind;
use crate::stories::*;

const IDLE: usize = 10_000;
/// With session, buffers and all.
const IDLE_BYTES_MAX: u64 = 4096;

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
    let (base, descriptors) = (scene.connections(), scene.server.descriptors());
    let before = scene.server.resident_bytes();
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(scene.session());
    }
    assert_eq!(scene.connections(), base + IDLE as u64);
    // Several seconds of nothing: buffers of the handshake are given back by then.
    std::thread::sleep(Duration::from_secs(2));
    let each = scene.server.resident_bytes().saturating_sub(before) / IDLE as u64;
    println!("{threads:?}: {each} bytes resident per idle connection");
    assert!(each <= IDLE_BYTES_MAX, "{threads:?}: {each} bytes resident per idle connection");
    let cpu = scene.server.cpu_time();
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let cpu = scene.server.cpu_time() - cpu;
    assert!(cpu < began.elapsed() / 4, "{cpu:?} of processor time for {IDLE} connections that say nothing");
    let began = Instant::now();
    for _ in 0..100 {
        scene.owner.ask(1, &set("/owner", b"x"));
        scene.owner.ask(2, &get("/owner"));
    }
    let each = began.elapsed() / 200;
    assert!(each < Duration::from_millis(20), "{each:?} per request beside {IDLE} idle connections");
    // The last ones are as alive as the first.
    for connection in idle.iter_mut().step_by(1000) {
        connection.ask(3, &get("/owner"));
    }
    drop(idle);
    wait_until("all are let go", Duration::from_secs(60), || scene.connections() == base);
    wait_until("all descriptors are let go", Duration::from_secs(60), || scene.server.descriptors() <= descriptors);
}

/// More clients than the process may have sockets.
fn out_of_descriptors(threads: Threads) {
    let mut scene = Scene::set(|server| {
        threads.choose(server);
        server.limit_descriptors(100);
    });
    let base = scene.connections();
    let mut crowd: Vec<Connection> = (0..300).map(|_| scene.connect()).collect();
    std::thread::sleep(Duration::from_secs(1));
    let cpu = scene.server.cpu_time();
    std::thread::sleep(Duration::from_secs(2));
    let cpu = scene.server.cpu_time() - cpu;
    assert!(cpu < Duration::from_millis(700), "{threads:?}: {cpu:?} of processor time in 2 s without descriptors");
    scene.check_on_owner("no descriptors left");
    let log = scene.server.log();
    assert!(log.contains("cannot accept"), "{log}");
    assert!(log.len() < 50_000, "{} bytes of log in 3 s", log.len());
    crowd.clear();
    wait_until("newcomers are served", Duration::from_secs(20), || {
        let mut newcomer = scene.connect();
        newcomer.set_patience(Duration::from_secs(5));
        newcomer.shake_hands(&Hello::new_session(TIMEOUT_MS)).is_ok_and(|welcome| welcome.is_some())
    });
    wait_until("all are let go", Duration::from_secs(30), || scene.connections() == base);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_idle_connections_cost_little() {
        ten_thousand_idle(Threads::One);
    }

    #[test]
    fn also_with_threads_of_their_own() {
        ten_thousand_idle(Threads::Workers(3));
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
            let mut one_too_many = scene.connect();
            let outcome = one_too_many.shake_hands(&Hello::new_session(TIMEOUT_MS));
            assert!(!matches!(outcome, Ok(Some(_))), "let in: {outcome:?}");
        }
        scene.check_on_owner("too many connections");
        others.pop();
        wait_until("there is room again", Duration::from_secs(10), || {
            let mut connection = scene.connect();
            matches!(connection.shake_hands(&Hello::new_session(TIMEOUT_MS)), Ok(Some(_)))
        });
    }

    #[test]
    fn a_connection_without_a_session_is_not_waited_for() {
        let mut scene = Scene::set(|server| {
            let name = match server.kind {
                Kind::Java(_) => "zookeeper.nio.sessionlessCnxnTimeout",
                Kind::Ours => "nio.sessionlessCnxnTimeout",
            };
            server.property(name, "700");
        });
        let base = scene.connections();
        let began = Instant::now();
        let mut silent = scene.connect();
        let mut half = scene.connect();
        half.push_bare(&[0, 0, 0, 44, 0, 0]);
        half.flush().expect("cannot send");
        silent.set_patience(Duration::from_secs(10));
        half.set_patience(Duration::from_secs(10));
        assert!(is_closed_silently(&mut silent) && is_closed_silently(&mut half));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(650) && took < Duration::from_secs(5), "closed after {took:?}");
        wait_until("they are let go", Duration::from_secs(5), || scene.connections() == base);
        scene.check_on_owner("silent connections");
    }
}
