//! A few clients read and write a few znodes while leaders are killed; what they were answered, and when, goes to porcupine, a
//! checker of linearizability (`linearizable/main.go`).
//!
//! A read is a sync and a getData in one pipeline, a write a setData with the version last read. A write whose answer was lost
//! is told as such: it may have been carried out then, later, or never. Servers of ours only: a Java leader answers a sync
//! without asking whether it still leads.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::kills;
use crate::client::{Connection, Hello};
use crate::codec::{Body, Data, Frame, Op, op};
use crate::ensemble::{Ensemble, OURS, SESSION_MS};
use crate::stories::*;

const ZNODES: [&str; 3] = ["/r1", "/r2", "/r3"];
const CLIENTS: usize = 6;
/// Between two operations of one client.
const PACE: Duration = Duration::from_millis(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

pub struct Client<'a> {
    nth: usize,
    servers: &'a [SocketAddr],
    at: usize,
    began: Instant,
    /// Values are never written twice.
    last_value: &'a AtomicU64,
    over: &'a AtomicBool,
    history: String,
    lost: u64,
}

impl<'a> Client<'a> {
    pub fn new(
        nth: usize,
        servers: &'a [SocketAddr],
        began: Instant,
        last_value: &'a AtomicU64,
        over: &'a AtomicBool,
    ) -> Client<'a> {
        Client { nth, servers, at: nth, began, last_value, over, history: String::new(), lost: 0 }
    }

    fn now(&self) -> u128 {
        self.began.elapsed().as_nanos()
    }

    fn connect(&mut self) -> Connection {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no server takes a client");
            self.at = (self.at + 1) % self.servers.len();
            if let Ok(mut connection) = Connection::open(self.servers[self.at]) {
                connection.set_patience(ANSWER_WITHIN);
                if matches!(connection.shake_hands(&Hello::new_session(SESSION_MS)), Ok(Some(welcome)) if welcome.session_id != 0)
                {
                    return connection;
                }
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Its history, and how many connections it lost.
    pub fn work(mut self) -> (String, u64) {
        let mut connection = self.connect();
        for turn in self.nth.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let znode = ZNODES[turn % ZNODES.len()];
            let is_through = match self.read(&mut connection, znode) {
                // Some read twice as often as they write.
                Some(_) if turn.is_multiple_of(2) && self.nth.is_multiple_of(2) => true,
                Some(version) => self.write(&mut connection, znode, version).is_some(),
                None => false,
            };
            if !is_through {
                self.lost += 1;
                connection = self.connect();
            }
            sleep(PACE);
        }
        (self.history, self.lost)
    }

    /// The version that was read, unless the connection broke.
    fn read(&mut self, connection: &mut Connection, znode: &str) -> Option<i32> {
        let call = self.now();
        connection.push(1, &Op::Path { opcode: op::SYNC, path: znode.into() });
        connection.push(2, &get(znode));
        connection.flush().ok()?;
        answer(connection, 1, op::SYNC)?;
        let (0, Body::Data(Data(Some(value)), stat)) = answer(connection, 2, op::GET_DATA)? else {
            panic!("{znode} is gone")
        };
        let value = std::str::from_utf8(&value).expect("we write text only");
        let (nth, back, version) = (self.nth, self.now(), stat.version);
        writeln!(self.history, "{znode} {nth} {call} {back} read {version} {value}").expect("text");
        Some(version)
    }

    fn write(&mut self, connection: &mut Connection, znode: &str, version: i32) -> Option<()> {
        let value = self.last_value.fetch_add(1, Ordering::Relaxed) + 1;
        let call = self.now();
        let data = Data(Some(value.to_string().into_bytes()));
        connection.push(3, &Op::SetData { path: znode.into(), data, version });
        let answer = connection.flush().ok().and_then(|()| answer(connection, 3, op::SET_DATA));
        let outcome = match &answer {
            Some((0, Body::Stat(stat))) => {
                assert_eq!(stat.version, version + 1, "{znode} was set from version {version}");
                "done"
            }
            // -1: no room for it, and no zxid was taken.
            Some((BAD_VERSION | -1, _)) => "refused",
            Some(other) => panic!("{znode} was answered {other:?}"),
            None => "unknown",
        };
        let (nth, back) = (self.nth, self.now());
        writeln!(self.history, "{znode} {nth} {call} {back} set {version} {value} {outcome}").expect("text");
        answer.map(|_| ())
    }
}

/// The answer to request `xid`, unless the connection broke; an answer to another request is a failure.
fn answer(connection: &mut Connection, xid: i32, opcode: i32) -> Option<(i32, Body)> {
    match next(connection, opcode) {
        Ok(Frame::Reply { xid: answered, err, body, .. }) => {
            assert_eq!(answered, xid, "replies are out of order");
            Some((err, body))
        }
        Ok(Frame::Closed) | Err(_) => None,
        other => panic!("instead of the reply to request {xid}: {other:?}"),
    }
}

/// Makes what the clients read and write.
pub fn set_up(server: SocketAddr) {
    let (mut setter, _) = session(server, SESSION_MS);
    ZNODES.iter().for_each(|znode| {
        setter.ask(1, &create(znode, b"0", PERSISTENT));
    });
    setter.ask(2, &close_session());
}

/// Asks porcupine, and keeps the history if it does not like it.
pub fn assert_linearizable(history: &str, home: &Path) -> String {
    check(history, home).unwrap_or_else(|said| {
        let kept = std::env::temp_dir().join(format!("history-{}", std::process::id()));
        std::fs::write(&kept, history).expect("cannot keep the history");
        panic!("{said}: the history is in {}", kept.display())
    })
}

/// Asks porcupine; the answer is what it says.
fn check(history: &str, home: &Path) -> Result<String, String> {
    let checker = home.join("linearizable");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/recipes/linearizable");
    let install =
        "Install the Debian package golang-go and run tools/fetch-clients, or run tools/test, which does both";
    let built = Command::new("go").args(["build", "-o"]).arg(&checker).arg(".").current_dir(source).output();
    let built = built.unwrap_or_else(|e| panic!("cannot run go: {e}. {install}"));
    assert!(built.status.success(), "{install}.\n{}", String::from_utf8_lossy(&built.stderr));
    let mut child =
        Command::new(checker).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cannot start the checker");
    child.stdin.take().expect("piped").write_all(history.as_bytes()).expect("cannot tell the history");
    let output = child.wait_with_output().expect("cannot wait for the checker");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_linearizable_while_leaders_die() {
        let mut ensemble = Ensemble::of(&[OURS, OURS, OURS]);
        ensemble.start_led_by(3);
        set_up(ensemble.address(1));
        let (servers, began) = (ensemble.addresses(), Instant::now());
        let (last_value, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let histories: Vec<(String, u64)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|nth| {
                    let (servers, last_value, over) = (&servers, &last_value, &over);
                    let client = Client::new(nth, servers, began, last_value, over);
                    scope.spawn(move || client.work())
                })
                .collect();
            for _ in 0..kills() {
                sleep(Duration::from_millis(800));
                let leader = ensemble.leader();
                ensemble.server_mut(leader).kill();
                sleep(Duration::from_millis(500));
                ensemble.server_mut(leader).spawn();
                ensemble.wait_until_serving(&[leader]);
            }
            sleep(Duration::from_millis(800));
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().expect("a client failed")).collect()
        });
        ensemble.assert_all_equal();
        let history: String = histories.iter().map(|(history, _)| history.as_str()).collect();
        let lost: u64 = histories.iter().map(|(_, lost)| lost).sum();
        let said = assert_linearizable(&history, ensemble.home());
        println!("{} leaders killed, {lost} connections lost; {said}", kills());
    }

    /// The same story with one thing wrong.
    #[test]
    fn what_is_not_linearizable_is_noticed() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let story = "/r1 1 0 10 set 0 5 done\n/r1 2 11 12 read 1 5\n/r1 3 13 20 set 1 6 unknown\n/r1 1 30 31 read 1 5\n/r1 2 32 33 read 2 6\n";
        assert!(check(story, home.path()).is_ok());
        for (right, wrong) in [
            ("/r1 2 11 12 read 1 5", "/r1 2 11 12 read 0 0"),
            ("set 1 6 unknown", "set 1 6 refused"),
            ("read 2 6", "read 2 7"),
            ("set 0 5 done", "set 1 5 done"),
        ] {
            assert!(check(&story.replace(right, wrong), home.path()).is_err(), "{wrong:?} was taken for right");
        }
    }
}
