//! Real client libraries against a real server: what users have, untouched.
//!
//! Each program in `clients/` connects, does everything its library can (all create modes, get, set, delete, children,
//! exists, ACLs, transactions), sees its watches fire, loses its connection, comes back with the same session, and
//! ends loudly at the first surprise. It talks through `proxy.rs`, which cuts the connection when the program prints
//! CUT; the program's last line is DONE. A missing tool fails the test and says what to install: nothing is skipped.

mod proxy;
mod rust_client;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::process::{JAVA_VERSION, Kind, Server, java_class_path, target_dir};
use proxy::Proxy;

/// One client's whole programme takes a few seconds; a JVM on a busy machine a few more.
const PROGRAM_MS_MAX: u64 = 90_000;

fn server(home: &Path) -> Server {
    let mut server = Server::new(Kind::under_test(), home);
    server.set("extendedTypesEnabled", "true").set("tickTime", "2000");
    server.start();
    server
}

pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/clients").join(name)
}

/// A client program and everything it has printed.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    deadline: Instant,
}

impl Program {
    pub fn start(command: Command, install: &str) -> Program {
        Program::start_for(command, install, Duration::from_millis(PROGRAM_MS_MAX))
    }

    /// One that may take so long.
    pub fn start_for(mut command: Command, install: &str, patience: Duration) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| {
            panic!("cannot run {:?}: {e}. Install {install}, or run tools/test, which does", command.get_program())
        });
        let (sender, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    // The receiver is gone only when the test has ended.
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Program { child, lines, said: Vec::new(), deadline: Instant::now() + patience }
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}; the client said:\n{}", self.said.join("\n"))
    }

    /// The next line, or `None` when the program has closed its output.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => self.fail("not done in time"),
        }
    }

    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.line() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => self.fail(&format!("ended without saying {text:?}")),
            }
        }
    }

    pub fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        if let Err(e) = writeln!(stdin, "{text}").and_then(|()| stdin.flush()) {
            self.fail(&format!("cannot say {text:?}: {e}"));
        }
    }

    /// Stops the program in its tracks, or lets it go on.
    pub fn pause(&self, paused: bool) {
        let signal = if paused { libc::SIGSTOP } else { libc::SIGCONT };
        // SAFETY: plain system call on the id of a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    pub fn end(mut self) {
        drop(self.child.stdin.take());
        while self.line().is_some() {}
        let status = self.child.wait().expect("cannot wait for the client");
        if !status.success() {
            self.fail(&format!("ended with {status}"));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program that prints CUT and DONE.
fn run(mut command: Command, install: &str) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let server = server(home.path());
    let proxy = Proxy::before(server.address());
    command.arg(proxy.address().to_string());
    let mut program = Program::start(command, install);
    program.wait_for("CUT");
    assert!(proxy.cut() > 0, "there was no connection to cut");
    program.wait_for("DONE");
    program.end();
}

pub fn must_exist(path: &Path, install: &str) {
    assert!(path.exists(), "{} is missing: run {install}, or tools/test, which does", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kazoo() {
        let python = target_dir().join("clients/python/bin/python");
        must_exist(&python, "tools/fetch-clients (Debian package python3-venv)");
        let mut command = Command::new(python);
        command.arg(source("kazoo_client.py"));
        run(command, "python3-venv");
    }

    #[test]
    fn node() {
        let modules = target_dir().join("clients/node_modules");
        must_exist(&modules.join("node-zookeeper-client"), "tools/fetch-clients (Debian packages nodejs, npm)");
        let mut command = Command::new("node");
        command.arg(source("node_client.js")).env("NODE_PATH", modules);
        run(command, "the Debian packages nodejs and npm");
    }

    #[test]
    fn c_library() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let program = home.path().join("c_client");
        let mut compiler = Command::new("gcc");
        compiler.args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"]).arg(&program).arg(source("c_client.c"));
        let install = "the Debian packages gcc, libc6-dev and libzookeeper-mt-dev";
        let output = compiler
            .args(["-lzookeeper_mt", "-lpthread"])
            .output()
            .unwrap_or_else(|e| panic!("cannot run gcc: {e}. Install {install}, or run tools/test, which does"));
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cannot compile c_client.c (needs {install}, or run tools/test):\n{messages}");
        run(Command::new(program), install);
    }

    #[test]
    fn rust_crate() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let server = server(home.path());
        let proxy = Proxy::before(server.address());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("no runtime");
        let programme = rust_client::programme(&proxy);
        let in_time = async { tokio::time::timeout(Duration::from_millis(PROGRAM_MS_MAX), programme).await };
        runtime.block_on(in_time).expect("the client is not done in time");
    }

    /// What `zkCli.sh` starts, its commands typed at it and its answers read.
    #[test]
    fn java_shell() {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let server = server(home.path());
        let proxy = Proxy::before(server.address());
        let mut command = Command::new("java");
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
        command.arg("-cp").arg(java_class_path(JAVA_VERSION)).arg("org.apache.zookeeper.ZooKeeperMain");
        command.arg("-server").arg(proxy.address().to_string());
        let mut shell = Program::start(command, "the Debian package openjdk-17-jdk-headless");
        shell.wait_for("state:SyncConnected");

        // Each command with words that must appear in its answer, in this order.
        let first: &[(&str, &[&str])] = &[
            ("create /j one", &["Created /j"]),
            ("create -e /j/e", &["Created /j/e"]),
            ("create -s /j/s-", &["Created /j/s-0000000001"]),
            ("create -s -e /j/es-", &["Created /j/es-0000000002"]),
            ("create -c /j/container", &["Created /j/container"]),
            ("create -t 3600000 /j/ttl x", &["Created /j/ttl"]),
            ("create -s -t 3600000 /j/sttl- x", &["Created /j/sttl-0000000005"]),
            ("create /j", &["Node already exists: /j"]),
            ("create /missing/child", &["Node does not exist: /missing/child"]),
            ("create /j/e/child", &["Ephemerals cannot have children: /j/e/child"]),
            ("get /j", &["one"]),
            ("set -v 0 -s /j two!", &["dataVersion = 1", "dataLength = 4", "numChildren = 6"]),
            ("set -v 0 /j never", &["version No is not valid : /j"]),
            ("stat /j", &["cversion = 6", "dataVersion = 1", "ephemeralOwner = 0x0"]),
            ("ls /j", &["[container, e, es-0000000002, s-0000000001, sttl-0000000005, ttl]"]),
            ("ls -R /j", &["/j", "/j/ttl"]),
            ("getAllChildrenNumber /j", &["6"]),
            ("getEphemerals /j", &["/j/es-0000000002"]),
            ("delete -v 7 /j/ttl", &["version No is not valid : /j/ttl"]),
            ("delete /j", &["Node not empty: /j"]),
            ("delete /missing", &["Node does not exist: /missing"]),
            ("delete -v 0 /j/ttl", &[]),
            ("sync /", &["Sync is OK"]),
            ("addauth digest u:p", &[]),
            ("whoami", &["digest: u"]),
            ("create /j/locked x auth:u:p:cdrwa", &["Created /j/locked"]),
            ("getAcl /j/locked", &["'digest,'u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=", ": cdrwa"]),
            ("setAcl -v 0 /j/locked world:anyone:r", &[]),
            ("set /j/locked never", &["Insufficient permission : /j/locked"]),
            ("setAcl /j nonsense:x:r", &["Acl is not valid : /j"]),
            ("setquota -n 100 /j", &[]),
            ("listquota /j", &["Output quota for /j count=100", "Output stat for /j"]),
            ("delquota /j", &[]),
            ("stat -w /w", &["Node does not exist: /w"]),
            ("create /w", &["type:NodeCreated path:/w"]),
            ("get -w /w", &["null"]),
            ("set /w x", &["type:NodeDataChanged path:/w"]),
            ("addWatch -m PERSISTENT_RECURSIVE /w", &[]),
            ("create /w/c", &["type:NodeCreated path:/w/c"]),
            ("delete /w/c", &["type:NodeDeleted path:/w/c"]),
            ("removewatches /w", &[]),
            ("reconfig -remove 3", &["econfig is disabled"]),
            ("config", &[]),
        ];
        converse(&mut shell, first);
        shell.say("stat /j/e");
        let owner = shell.wait_for("ephemeralOwner");
        assert!(proxy.cut() > 0, "there was no connection to cut");
        shell.wait_for("state:Disconnected");
        shell.wait_for("state:SyncConnected");
        shell.say("stat /j/e");
        assert_eq!(shell.wait_for("ephemeralOwner"), owner, "the ephemeral node has another owner now");
        converse(
            &mut shell,
            &[("whoami", &["digest: u"]), ("deleteall /j/sttl-0000000005", &[]), ("close", &["type:None path:null"])],
        );
        shell.say("quit");
        shell.end();
    }

    fn converse(shell: &mut Program, dialogue: &[(&str, &[&str])]) {
        for (command, answers) in dialogue {
            shell.say(command);
            for answer in *answers {
                shell.wait_for(answer);
            }
        }
    }
}
