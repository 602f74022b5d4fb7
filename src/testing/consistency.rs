//! What clients may conclude from what they are told, while many of them write and read at once.
//!
//! Every story runs with one thread for everything and with threads of their own, since hand-overs between threads are
//! where these promises break.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::Connection;
use crate::codec::{Body, Frame, Op, op};
use crate::process::{Kind, Server};
use crate::stories::*;

const TIMEOUT_MS: i32 = 60_000;
const LAYOUTS: [Threads; 3] = [Threads::One, Threads::Workers(2), Threads::Workers(3)];
/// Of each story in each layout.
const STORY: Duration = Duration::from_millis(1500);

/// A server, and a flag that falls when the story is over.
struct Stage {
    server: Server,
    over: AtomicBool,
    _home: tempfile::TempDir,
}

impl Stage {
    fn set(threads: Threads) -> Stage {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let server = started(home.path(), threads);
        Stage { server, over: AtomicBool::new(false), _home: home }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn client(&self) -> Connection {
        session(self.server.address(), TIMEOUT_MS).0
    }

    /// Runs the actors until the time is up, or one of them has failed.
    fn play(&self, actors: Vec<Box<dyn FnOnce() + Send + '_>>) {
        std::thread::scope(|scope| {
            let actors: Vec<_> = actors.into_iter().map(|actor| scope.spawn(actor)).collect();
            let end = Instant::now() + STORY;
            while Instant::now() < end && actors.iter().all(|actor| !actor.is_finished()) {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.over.store(true, Ordering::Relaxed);
        });
    }
}

fn started(home: &Path, threads: Threads) -> Server {
    let mut server = Server::new(Kind::under_test(), home);
    server.set("snapCount", "2000");
    if server.kind == Kind::Ours {
        threads.choose(&mut server);
    }
    server.start();
    server
}

/// The reply to the request `xid` of kind `opcode`; anything else, an event too, fails.
fn reply(connection: &mut Connection, xid: i32, opcode: i32) -> (i64, Body) {
    match next(connection, opcode) {
        Ok(Frame::Reply { xid: answered, zxid, err: 0, body }) if answered == xid => (zxid, body),
        other => panic!("instead of the reply to request {xid}: {other:?}"),
    }
}

/// Two nodes that only ever change together.
fn readers_of_a_pair(threads: Threads) {
    let stage = Stage::set(threads);
    let mut setter = stage.client();
    for path in ["/left", "/right"] {
        setter.ask(1, &create(path, b"0", PERSISTENT));
    }
    let write = |nth: u64| {
        let mut client = stage.client();
        let stage = &stage;
        move || {
            let mut n = nth;
            while stage.goes_on() {
                let text = n.to_string();
                let halves = vec![set("/left", text.as_bytes()), set("/right", text.as_bytes())];
                client.ask(1, &multi(halves));
                n += 2;
            }
        }
    };
    let read = || {
        let mut client = stage.client();
        let stage = &stage;
        move || {
            let mut rounds = 0;
            while stage.goes_on() {
                let Body::Multi(halves) = client.ask(1, &multi_read(vec![get("/left"), get("/right")])) else {
                    panic!("no multi")
                };
                assert_eq!(number_of(&halves[0].body), number_of(&halves[1].body), "half a multi is visible");
                // The same in two requests: what is read later is never older.
                client.push(2, &get("/left"));
                client.push(3, &get("/right"));
                client.flush().expect("cannot send");
                let ((_, left), (_, right)) =
                    (reply(&mut client, 2, op::GET_DATA), reply(&mut client, 3, op::GET_DATA));
                assert!(version_of(&right) >= version_of(&left), "{right:?} was read after {left:?}");
                rounds += 1;
            }
            assert!(rounds > 20, "only {rounds} rounds");
        }
    };
    stage.play(vec![Box::new(write(1)), Box::new(write(2)), Box::new(read()), Box::new(read()), Box::new(read())]);
}

fn version_of(body: &Body) -> i32 {
    match body {
        Body::Data(_, stat) | Body::Stat(stat) => stat.version,
        other => panic!("no stat in {other:?}"),
    }
}

/// A client with watches that writes and reads in a pipeline while others change what it watches. Everything it hears is
/// one story: each event before the first reply that reflects the change, and after the event every read reflects it.
fn watcher_in_a_pipeline(threads: Threads, seed: u64) {
    let stage = Stage::set(threads);
    let mut setter = stage.client();
    setter.ask(1, &create("/watched", b"0", PERSISTENT));
    let disturb = || {
        let mut client = stage.client();
        let stage = &stage;
        move || {
            while stage.goes_on() {
                client.ask(1, &set("/watched", b"x"));
            }
        }
    };
    let watch = |nth: u64| {
        let mut client = stage.client();
        client.ask(1, &create(&format!("/own-{nth}"), b"0", PERSISTENT));
        client.ask(2, &watch_for_ever("/watched", nth.is_multiple_of(2)));
        let stage = &stage;
        move || {
            let mut random = SmallRng::seed_from_u64(seed + nth);
            let mut story = Heard::default();
            while stage.goes_on() {
                let burst = random.random_range(1..24);
                let asked: Vec<Op> = (0..burst)
                    .map(|_| match random.random_range(0..5) {
                        0 => set(&format!("/own-{nth}"), b"y"),
                        1 => set("/watched", b"z"),
                        2 => exists("/watched"),
                        _ => get("/watched"),
                    })
                    .collect();
                asked.iter().zip(1..).for_each(|(op, xid)| client.push(xid, op));
                client.flush().expect("cannot send");
                for (op, xid) in asked.iter().zip(1..) {
                    story.hear_reply(&mut client, xid, op);
                }
            }
            assert!(story.events > 20, "only {} events", story.events);
        }
    };
    stage.play(vec![Box::new(disturb()), Box::new(watch(0)), Box::new(watch(1)), Box::new(watch(2))]);
}

/// What a watching client was told so far.
#[derive(Default)]
struct Heard {
    events: u64,
    /// Version of the watched node minus events heard; fixed by the first reply.
    unseen_versions: Option<i64>,
    last_event_zxid: i64,
    last_reply_zxid: i64,
}

impl Heard {
    fn hear_reply(&mut self, client: &mut Connection, xid: i32, op: &Op) {
        loop {
            match next(client, op.opcode()).expect("no answer") {
                Frame::Event { kind: DATA_CHANGED, zxid, path, .. } => {
                    assert_eq!(path.as_str(), Some("/watched"));
                    assert!(zxid > self.last_event_zxid, "events out of order");
                    assert!(
                        zxid > self.last_reply_zxid,
                        "the event of {zxid:#x} comes after a reply of {:#x}",
                        self.last_reply_zxid
                    );
                    self.last_event_zxid = zxid;
                    self.events += 1;
                }
                Frame::Reply { xid: answered, zxid, err: 0, body } => {
                    assert_eq!(answered, xid, "replies come in the order of their requests");
                    assert!(
                        zxid >= self.last_reply_zxid,
                        "a reply of {zxid:#x} after one of {:#x}",
                        self.last_reply_zxid
                    );
                    assert!(
                        zxid >= self.last_event_zxid,
                        "a reply of {zxid:#x} after an event of {:#x}",
                        self.last_event_zxid
                    );
                    self.last_reply_zxid = zxid;
                    return self.compare_with_node(op, &body);
                }
                other => panic!("instead of a reply to {op:?}: {other:?}"),
            }
        }
    }

    /// Every change makes one event, so a version and the number of events heard go hand in hand.
    fn compare_with_node(&mut self, op: &Op, body: &Body) {
        let is_about_it = match op {
            Op::Read { .. } => true,
            Op::SetData { path, .. } => path.as_str() == Some("/watched"),
            _ => false,
        };
        if is_about_it {
            let version = i64::from(version_of(body));
            let unseen = *self.unseen_versions.get_or_insert(version - self.events as i64);
            assert_eq!(version - self.events as i64, unseen, "{op:?}: version {version} after {} events", self.events);
        }
    }
}

/// One-shot watches, set by the reads of a pipeline: the read behind an event shows the change, and only one comes.
fn one_shot_watches(threads: Threads) {
    let stage = Stage::set(threads);
    let mut setter = stage.client();
    setter.ask(1, &create("/watched", b"0", PERSISTENT));
    let change = || {
        let mut client = stage.client();
        let stage = &stage;
        move || {
            let mut n = 0;
            while stage.goes_on() {
                n += 1;
                client.ask(1, &set("/watched", n.to_string().as_bytes()));
            }
        }
    };
    let watch = |nth: u32| {
        let mut client = stage.client();
        client.ask(1, &create(&format!("/own-{nth}"), b"0", PERSISTENT));
        let stage = &stage;
        move || {
            let mut armed_at: Option<i32> = None;
            let mut rounds = 0;
            while stage.goes_on() {
                // The write in front makes the reads wait for it.
                let asked = [set(&format!("/own-{nth}"), b"y"), get_and_watch("/watched"), get("/watched")];
                asked.iter().zip(1..).for_each(|(op, xid)| client.push(xid, op));
                client.flush().expect("cannot send");
                let mut fired = false;
                for (op, xid) in asked.iter().zip(1..) {
                    loop {
                        match next(&mut client, op.opcode()).expect("no answer") {
                            Frame::Event { kind: DATA_CHANGED, .. } => {
                                assert!(armed_at.take().is_some(), "an event without a watch");
                                fired = true;
                            }
                            Frame::Reply { xid: answered, err: 0, body, .. } if answered == xid => {
                                if let (2.., Some(armed)) = (xid, armed_at) {
                                    assert_eq!(version_of(&body), armed, "a change without its event before");
                                }
                                if xid == 2 {
                                    armed_at = Some(version_of(&body));
                                }
                                break;
                            }
                            other => panic!("instead of a reply to {op:?}: {other:?}"),
                        }
                    }
                }
                rounds += u32::from(fired);
            }
            assert!(rounds > 10, "watches fired in {rounds} rounds only");
        }
    };
    stage.play(vec![Box::new(change()), Box::new(watch(0)), Box::new(watch(1)), Box::new(watch(2))]);
}

/// Whatever anybody was told, by the reply to a write or to a read, everybody reads from then on.
fn nothing_older_than_told(threads: Threads) {
    let stage = Stage::set(threads);
    let mut setter = stage.client();
    setter.ask(1, &create("/told", b"0", PERSISTENT));
    let told = AtomicU64::new(0);
    let write = || {
        let mut client = stage.client();
        let (stage, told) = (&stage, &told);
        move || {
            let mut n = 0;
            while stage.goes_on() {
                n += 1;
                client.ask(1, &set("/told", n.to_string().as_bytes()));
                told.fetch_max(n, Ordering::SeqCst);
            }
        }
    };
    let read = || {
        let mut client = stage.client();
        let (stage, told) = (&stage, &told);
        move || {
            let mut rounds = 0;
            while stage.goes_on() {
                let at_least = told.load(Ordering::SeqCst);
                let seen = number_of(&client.ask(1, &get("/told")));
                assert!(seen >= at_least, "read {seen} after somebody was told of {at_least}");
                told.fetch_max(seen, Ordering::SeqCst);
                rounds += 1;
            }
            assert!(rounds > 20, "only {rounds} rounds");
        }
    };
    stage.play(vec![Box::new(write()), Box::new(read()), Box::new(read()), Box::new(read()), Box::new(read())]);
}

/// A session that asks for many things at once gets the answers as if it had asked one by one.
fn pipelines_of_one_session(threads: Threads, seed: u64) {
    let stage = Stage::set(threads);
    let act = |nth: u64| {
        let mut client = stage.client();
        let own = format!("/own-{nth}");
        client.ask(1, &create(&own, b"0", PERSISTENT));
        let stage = &stage;
        move || {
            let mut random = SmallRng::seed_from_u64(seed + nth);
            let mut written = 0u64;
            let mut asked_in_all = 0;
            let child = format!("{own}/child");
            let mut has_child = false;
            while stage.goes_on() {
                // Each request with what must come back.
                let mut expected: Vec<(Op, Expected)> = Vec::new();
                for _ in 0..random.random_range(1..60) {
                    expected.push(match random.random_range(0..8) {
                        0 | 1 => {
                            written += 1;
                            (set(&own, written.to_string().as_bytes()), Expected::Code(0))
                        }
                        2 => {
                            written += 1;
                            let text = written.to_string();
                            (multi(vec![check(&own, -1), set(&own, text.as_bytes())]), Expected::Code(0))
                        }
                        3 => {
                            let code = if has_child { NODE_EXISTS } else { 0 };
                            has_child = true;
                            (create(&child, b"", EPHEMERAL), Expected::Code(code))
                        }
                        4 => {
                            let code = if has_child { 0 } else { NO_NODE };
                            has_child = false;
                            (delete(&child), Expected::Code(code))
                        }
                        5 => (exists(&child), Expected::Code(if has_child { 0 } else { NO_NODE })),
                        6 => (ping(), Expected::Pong),
                        _ => (get(&own), Expected::Number(written)),
                    });
                }
                expected.iter().zip(1..).for_each(|((op, _), xid)| client.push(xid, op));
                client.flush().expect("cannot send");
                for ((op, what), xid) in expected.iter().zip(1..) {
                    let frame = next(&mut client, op.opcode()).expect("no answer");
                    what.compare(op, xid, &frame);
                }
                asked_in_all += expected.len();
            }
            assert!(asked_in_all > 200, "only {asked_in_all} requests");
        }
    };
    stage.play(vec![Box::new(act(0)), Box::new(act(1)), Box::new(act(2)), Box::new(act(3))]);
}

#[derive(Debug)]
enum Expected {
    Code(i32),
    Number(u64),
    Pong,
}

impl Expected {
    fn compare(&self, op: &Op, xid: i32, frame: &Frame) {
        let as_expected = match (self, frame) {
            (Expected::Pong, Frame::Reply { xid: -2, err: 0, .. }) => true,
            (Expected::Code(code), Frame::Reply { xid: answered, err, .. }) => *answered == xid && err == code,
            (Expected::Number(number), Frame::Reply { xid: answered, err: 0, body, .. }) => {
                *answered == xid && number_of(body) == *number
            }
            _ => false,
        };
        assert!(as_expected, "{op:?} (xid {xid}) should bring {self:?}, brought {frame:?}");
    }
}

/// A lone client waits for the server, never for a timer of it: a wake-up lost between threads would cost up to a second.
fn no_wake_up_is_lost(threads: Threads) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut server = Server::new(Kind::under_test(), home.path());
    server.set("forceSync", "no");
    threads.choose(&mut server);
    server.start();
    let (mut writer, _) = session(server.address(), TIMEOUT_MS);
    let (mut watcher, _) = session(server.address(), TIMEOUT_MS);
    writer.ask(1, &create("/bell", b"", PERSISTENT));
    watcher.ask(1, &watch_for_ever("/bell", false));
    let mut slow = Vec::new();
    for n in 0..6000 {
        let began = Instant::now();
        writer.ask(n, &set("/bell", b""));
        let answered = began.elapsed();
        assert!(matches!(next(&mut watcher, op::PING), Ok(Frame::Event { kind: DATA_CHANGED, .. })));
        let told = began.elapsed();
        if told > Duration::from_millis(300) {
            slow.push((n, answered, told));
        }
    }
    // A few are this machine's, not ours: a busy neighbour can hold up anybody.
    assert!(slow.len() <= 20, "{threads:?}: {} of 6000 took long (request, answered, told): {slow:?}", slow.len());
}

/// Workers without clients hear of every change as well. They must neither pile it up nor be slow for their first client.
fn idle_workers_keep_up(threads: Threads) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut server = Server::new(Kind::under_test(), home.path());
    server.set("forceSync", "no");
    threads.choose(&mut server);
    server.start();
    let (mut writer, _) = session(server.address(), TIMEOUT_MS);
    writer.ask(1, &create("/busy", b"", PERSISTENT));
    // One by one, so that each is a batch of its own: several times what a ring holds.
    for n in 0..5000 {
        writer.ask(n, &set("/busy", b""));
    }
    wait_until_at_rest(&server);
    let mut newcomers = Vec::new();
    let mut slow = Vec::new();
    for _ in 0..16 {
        let began = Instant::now();
        let (mut newcomer, _) = session(server.address(), TIMEOUT_MS);
        newcomer.ask(1, &set("/busy", b""));
        if began.elapsed() > Duration::from_millis(800) {
            slow.push(began.elapsed());
        }
        newcomers.push(newcomer);
    }
    assert!(slow.len() <= 4, "{threads:?}: {} of 16 newcomers waited long: {slow:?}", slow.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_never_see_half_a_multi() {
        LAYOUTS.into_iter().for_each(readers_of_a_pair);
    }

    #[test]
    fn no_reply_is_ahead_of_its_watch_event() {
        LAYOUTS.into_iter().for_each(|threads| watcher_in_a_pipeline(threads, 1));
    }

    #[test]
    fn one_shot_watches_fire_once_and_before_the_change_is_read() {
        LAYOUTS.into_iter().for_each(one_shot_watches);
    }

    #[test]
    fn nobody_reads_a_state_older_than_one_somebody_was_told_of() {
        LAYOUTS.into_iter().for_each(nothing_older_than_told);
    }

    #[test]
    fn pipelined_requests_are_answered_as_if_asked_one_by_one() {
        LAYOUTS.into_iter().for_each(|threads| pipelines_of_one_session(threads, 1));
    }

    #[test]
    fn workers_without_clients_keep_up() {
        LAYOUTS.into_iter().for_each(idle_workers_keep_up);
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        [Threads::Workers(1), Threads::Workers(2)].into_iter().for_each(no_wake_up_is_lost);
    }
}
