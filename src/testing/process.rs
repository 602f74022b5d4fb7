//! Servers as child processes: Apache ZooKeeper from a class path, ours from the binary under test.
//!
//! Owns their directories, their `zoo.cfg`, starting, waiting until they serve, stopping and killing by process id.
//! What is asked of a running server belongs to `client.rs`. Invariant: no server outlives the value that stands
//! for it, nor the test process (the kernel kills it when the thread that started it is gone).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The ZooKeeper release everything is compared with.
pub const JAVA_VERSION: &str = "3.9.5";

/// A JVM on a busy two-core machine needs a while; a server that takes longer than this is broken.
const START_MS_MAX: u64 = 60_000;
const STOP_MS_MAX: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Java(&'static str),
    Ours,
}

impl Kind {
    /// What stands on the right-hand side of comparisons and serves the real clients: our server, or with
    /// `RINGKEEPER_TEST_SERVER=java` another Java server, which proves the tests themselves.
    pub fn under_test() -> Kind {
        match std::env::var("RINGKEEPER_TEST_SERVER").as_deref() {
            Ok("java") => Kind::Java(JAVA_VERSION),
            Ok("ringkeeper") | Err(_) => Kind::Ours,
            Ok(other) => panic!("RINGKEEPER_TEST_SERVER must be java or ringkeeper, not {other:?}"),
        }
    }

    pub fn name(self) -> String {
        match self {
            Kind::Java(version) => format!("java-{version}"),
            Kind::Ours => "ringkeeper".to_string(),
        }
    }

    fn command(self) -> Command {
        match self {
            Kind::Java(version) => {
                let mut command = Command::new("java");
                command.args([
                    "-Xmx512m",
                    "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1",
                    "-Djava.net.preferIPv4Stack=true",
                ]);
                command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
                // These three print a stack trace for every bad request, and bad requests are our trade.
                for class in ["server.PrepRequestProcessor", "server.FinalRequestProcessor", "CreateMode"] {
                    command.arg(format!("-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.{class}=off"));
                }
                // Who leads, and how learners are synchronized.
                for class in ["Learner", "LearnerHandler", "QuorumPeer", "Leader", "Follower", "Observer"] {
                    command
                        .arg(format!("-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.quorum.{class}=info"));
                }
                command.arg("-cp").arg(java_class_path(version));
                command
            }
            Kind::Ours => Command::new(env!("CARGO_BIN_EXE_ringkeeper")),
        }
    }
}

/// `target/zookeeper-<version>/lib/*` as left by `tools/fetch-zookeeper`.
pub fn java_class_path(version: &str) -> String {
    let home = target_dir().join(format!("zookeeper-{version}"));
    assert!(
        home.join("complete").exists(),
        "Apache ZooKeeper {version} is not in {}: run tools/fetch-zookeeper {version} (or tools/test, which does)",
        home.display()
    );
    format!("{}/lib/*", home.display())
}

pub fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

/// One server: its directory, its settings, and the process while it runs.
pub struct Server {
    pub kind: Kind,
    home: PathBuf,
    host: Ipv4Addr,
    port: u16,
    /// The network namespace that the process runs in; `None`: ours.
    namespace: Option<Arc<File>>,
    settings: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    child: Option<Child>,
    starts: u32,
    descriptors_max: Option<u64>,
    owns_config: bool,
}

impl Server {
    /// A server whose data and log live under `home`; nothing runs yet.
    pub fn new(kind: Kind, home: &Path) -> Server {
        fs::create_dir_all(home.join("data")).expect("cannot make the data directory");
        let mut server = Server {
            kind,
            home: home.to_path_buf(),
            host: Ipv4Addr::LOCALHOST,
            port: free_port(),
            namespace: None,
            settings: Vec::new(),
            properties: Vec::new(),
            child: None,
            starts: 0,
            descriptors_max: None,
            owns_config: false,
        };
        server.set("tickTime", "2000");
        server.set("admin.enableServer", "false");
        server.set("4lw.commands.whitelist", "*");
        server.set("maxClientCnxns", "0");
        server
    }

    /// One line of `zoo.cfg`; a later value replaces an earlier one.
    pub fn set(&mut self, key: &str, value: &str) -> &mut Server {
        self.settings.retain(|(k, _)| k != key);
        self.settings.push((key.to_string(), value.to_string()));
        self
    }

    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What Java takes as `-Dname=value`, for keys that `zoo.cfg` cannot carry.
    pub fn property(&mut self, name: &str, value: &str) -> &mut Server {
        self.properties.push((name.to_string(), value.to_string()));
        self
    }

    /// Most files and sockets that the process may have open.
    pub fn limit_descriptors(&mut self, most: u64) -> &mut Server {
        self.descriptors_max = Some(most);
        self
    }

    /// The server may rewrite its `zoo.cfg`, and later starts begin from what it made of it.
    pub fn owns_config(&mut self) -> &mut Server {
        self.owns_config = true;
        self
    }

    /// Clients find it at another port from now on.
    pub fn has_moved_to(&mut self, port: u16) {
        self.port = port;
    }

    /// A file beside `zoo.cfg`, or that one.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Lets this server stand where another one does.
    pub fn share_port_of(&mut self, other: &Server) -> &mut Server {
        self.port = other.port;
        self
    }

    /// Lets this server live at that address of a network of its own.
    pub fn live_at(&mut self, host: Ipv4Addr, namespace: Arc<File>) -> &mut Server {
        (self.host, self.namespace) = (host, Some(namespace));
        self
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.host, self.port))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Starts the process and waits until it answers `srvr` as a serving server.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_serving();
    }

    /// Starts a process that must give up by itself; says with which exit code.
    pub fn start_in_vain(&mut self) -> i32 {
        self.spawn();
        let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
        loop {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("cannot wait for the server") {
                self.child = None;
                return status.code().unwrap_or_else(|| panic!("ended by a signal: {status}\n{}", self.log_tail()));
            }
            assert!(Instant::now() < deadline, "the server did not give up\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The same for several servers at once.
    pub fn start_all(servers: &mut [Server]) {
        servers.iter_mut().for_each(Server::spawn);
        servers.iter_mut().for_each(Server::wait_until_serving);
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let mut text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress={}\n",
            self.data_dir().display(),
            self.port,
            self.host
        );
        for (key, value) in &self.settings {
            writeln!(text, "{key}={value}").expect("writing to a string");
        }
        let cfg = self.home.join("zoo.cfg");
        if !(self.owns_config && cfg.exists()) {
            fs::write(&cfg, text).expect("cannot write zoo.cfg");
        }

        let mut command = self.kind.command();
        for (name, value) in &self.properties {
            command.arg(format!("-D{name}={value}"));
        }
        if let Kind::Java(_) = self.kind {
            command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        }
        self.starts += 1;
        let log = File::create(self.log_path()).expect("cannot create the server's log");
        command.arg(&cfg).current_dir(&self.home).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("cannot share the log")).stderr(log);
        let descriptors_max = self.descriptors_max;
        let namespace = self.namespace.clone();
        // SAFETY: prctl, setns and setrlimit are async-signal-safe and touch only the child between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                if let Some(namespace) = &namespace
                    && libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) != 0
                {
                    return Err(io::Error::last_os_error());
                }
                if let Some(most) = descriptors_max {
                    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                    if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|e| {
            panic!("cannot start {}: {e} (Java missing? Debian: apt-get install openjdk-17-jdk-headless, or run tools/test)", self.kind.name())
        });
        self.child = Some(child);
    }

    fn wait_until_serving(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
        loop {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("cannot wait for the server") {
                self.child = None;
                panic!("{} ended while starting: {status}\n{}", self.kind.name(), self.log_tail());
            }
            if self.mode().is_some() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} does not serve after {START_MS_MAX} ms\n{}",
                self.kind.name(),
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the server says it is, once it serves: standalone, leader, follower, observer.
    pub fn mode(&self) -> Option<String> {
        let text = four_letter_within(self.address(), b"srvr", Duration::from_millis(500)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // SAFETY: plain system call on the id of a child that has not been waited for.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        let deadline = Instant::now() + Duration::from_millis(STOP_MS_MAX);
        while child.try_wait().expect("cannot wait for the server").is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{} does not stop within {STOP_MS_MAX} ms of SIGTERM\n{}", self.kind.name(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: what a crash of the process leaves behind.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process in its tracks and waits until its last thread stands still, or lets it go on.
    pub fn pause(&self, paused: bool) {
        let signal = if paused { libc::SIGSTOP } else { libc::SIGCONT };
        // SAFETY: plain system call on the id of a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid() as libc::pid_t, signal) }, 0);
        let stands_still = |stat: &str| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        if !paused {
            return;
        }
        loop {
            let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("cannot list threads");
            let stats = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
            if stats.into_iter().all(|stat| stands_still(&stat)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Memory of its own that the process has in use (RssAnon): heap and stacks. Pages of the log that are mapped at the
    /// moment do not count.
    pub fn heap_bytes(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a RssAnon line");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number of kB") * 1024
    }

    /// Sockets that the process has open. (Files come and go with the log.)
    pub fn sockets(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("cannot list descriptors");
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Processor time used since the start, in user mode and in the kernel.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        // SAFETY: a plain library call.
        Duration::from_millis(ticks * 1000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64)
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}\n{}", self.log_tail()))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn log_path(&self) -> PathBuf {
        self.home.join(format!("server-{}.log", self.starts))
    }

    /// What the process printed since its last start.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("--- end of the log of {} ---\n{tail}", self.kind.name())
    }

    pub fn four_letter(&self, word: &str) -> String {
        four_letter(self.address(), word.as_bytes())
            .unwrap_or_else(|e| panic!("{word} to {}: {e}\n{}", self.kind.name(), self.log_tail()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            eprintln!("{}", self.log_tail());
        }
        self.kill();
    }
}

/// Sends the bytes of a four-letter command and reads until the server closes.
pub fn four_letter(address: SocketAddr, word: &[u8]) -> io::Result<String> {
    four_letter_within(address, word, Duration::from_secs(20))
}

/// A Java server that is just starting may accept a connection and never answer on it.
fn four_letter_within(address: SocketAddr, word: &[u8], patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A port that nobody listens on, and that no other story of this run is given: they go round from a random one. Below those
/// that the kernel gives to outgoing connections: a server that is down for a moment must not lose its port to one of the
/// many clients of these tests.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| AtomicUsize::new(rand::random_range(0..PORTS.len())));
    (0..1000)
        .map(|_| PORTS.start + (NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len()) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("no free port on loopback")
}

/// Copies a stopped server's data directory, so that another server can start on it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("cannot make the target directory");
    for entry in fs::read_dir(from).expect("cannot list the data directory") {
        let entry = entry.expect("cannot read a directory entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("cannot stat").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("cannot copy a data file");
        }
    }
}
