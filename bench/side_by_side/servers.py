"""The contenders: how each is fetched or built, started on a data directory, recognised as serving, and stopped.

Both get the same zoo.cfg with a server's own defaults but for what a load test needs (no connection limit, no admin
port), hence forced flushes before every answer to a write. Every process started here is known by pid and stopped by it.
"""

import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
WORK = TARGET / "compare"
ZOOKEEPER_VERSION = "3.9.5"
# Children of what the generator's workloads list.
LISTED_CHILDREN = 100
START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 30
# For the answer to a four-letter word.
ASK_SECONDS_MAX = 10
# While a server starts: how often a new connection is tried beside those that wait, and after one was refused.
ATTEMPT_SECONDS = 0.1
RETRY_SECONDS = 0.002

# Apache ZooKeeper and what its server needs at run time but its pom leaves to the distribution.
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId><artifactId>zookeeper-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>{version}</version></dependency>
    <dependency><groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId><version>4.1.12.1</version></dependency>
    <dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId><version>1.1.10.5</version></dependency>
    <dependency><groupId>ch.qos.logback</groupId><artifactId>logback-classic</artifactId><version>1.3.15</version></dependency>
  </dependencies>
</project>
"""

# Level INFO as the distribution ships it; without a file logback would log every request at DEBUG.
LOGBACK = """<configuration>
  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5p %c - %m%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="CONSOLE"/></root>
</configuration>
"""


class Stop(Exception):
    """Ends the comparison with a message for the person who started it."""


def build(binary):
    """Builds a release binary and returns its path."""
    command = ["cargo", "build", "--release", "--bin", binary]
    try:
        built = subprocess.run(command, cwd=REPOSITORY, check=False)
    except FileNotFoundError:
        raise Stop("cargo is not installed") from None
    if built.returncode != 0:
        raise Stop(f"{' '.join(command)} failed")
    return TARGET / "release" / binary


def binary(given, name):
    """The path of a release binary: the one given on the command line, or else freshly built."""
    if given is None:
        return build(name)
    if not given.is_file():
        raise Stop(f"{given}: no such file")
    return given.resolve()


def etcd():
    """What is to be said of etcd: it is named where people look for it, and not measured."""
    found = shutil.which("etcd")
    here = "installed here" if found else "not installed here"
    return f"not measured ({here}): it does not speak ZooKeeper's protocol, which is what the generator speaks"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


RUNNING = []


def stop_all():
    for running in list(RUNNING):
        running.kill()


class Running:
    """One started server process."""

    def __init__(self, name, command, port, log_path, started):
        self.name, self.port, self.log_path, self.started = name, port, log_path, started
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=log_path.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the comparison, which then stops the server itself
            )
        self.pid = self.process.pid
        RUNNING.append(self)

    def wait_for_reply(self, path="/", retry_seconds=RETRY_SECONDS):
        """Seconds from the start of the process to the first reply to a getData, and that reply's numChildren.

        A server that starts may refuse connections, close them, or accept one and never answer on it (Java does when the
        connection comes while it has no database yet). So attempts are renewed every ATTEMPT_SECONDS, and the first that
        is answered counts, be it an old one.
        """
        attempts, renew_at = [], 0.0
        try:
            while True:
                self.check_starting()
                if time.perf_counter() >= renew_at:
                    attempts += begin_session(self.port)
                    renew_at = time.perf_counter() + ATTEMPT_SECONDS
                answered, _, _ = select.select(attempts, [], [], RETRY_SECONDS)
                for attempt in answered:
                    try:
                        receive_frame(attempt)
                        children = ask_for_children(attempt, path)
                        return time.perf_counter() - self.started, children
                    except OSError:
                        attempts.remove(attempt)
                        attempt.close()
                if not attempts:
                    time.sleep(retry_seconds)
                    renew_at = 0.0
        finally:
            for attempt in attempts:
                attempt.close()

    def check_starting(self):
        code = self.process.poll()
        if code is not None:
            raise Stop(f"{self.name} ended with code {code} while starting:\n{self.log_tail()}")
        if time.perf_counter() - self.started > START_SECONDS_MAX:
            raise Stop(f"{self.name} does not serve after {START_SECONDS_MAX} s:\n{self.log_tail()}")

    def memory_kib(self, label="VmRSS"):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(label + ":"):
                return int(line.split()[1])
        raise Stop(f"{self.name} ended unexpectedly:\n{self.log_tail()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        RUNNING.remove(self)

    def kill(self):
        self.process.kill()
        self.process.wait()
        RUNNING.remove(self)

    def log_tail(self):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-15:])


def begin_session(port):
    """[a connection on which the handshake was sent], or [] when the server takes none yet."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS_MAX)
        connection.sendall(frame(struct.pack(">iqiqi16s?", 0, 0, 10_000, 0, 16, bytes(16), False)))
        return [connection]
    except OSError:
        return []


def ask_for_children(connection, path):
    """One getData on an open session, which it then closes. Returns the znode's numChildren."""
    name = path.encode()
    connection.sendall(frame(struct.pack(">iii", 1, 4, len(name)) + name + b"\0"))
    reply = receive_frame(connection)
    connection.sendall(frame(struct.pack(">ii", 2, -11)))
    (error,) = struct.unpack_from(">i", reply, 12)
    if error != 0:
        raise Stop(f"getData {path} was answered with error {error}: the data is not what it should be")
    # The Stat ends the reply: ... int numChildren, long pzxid.
    return struct.unpack(">i", reply[-12:-8])[0]


def say(port, word):
    """What a server answers to a four-letter word."""
    told = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ASK_SECONDS_MAX) as connection:
        connection.sendall(word.encode())
        while some := connection.recv(65536):
            told += some
    return told.decode()


def mntr(running):
    """The numbers of `mntr`."""
    pairs = (line.split("\t") for line in say(running.port, "mntr").splitlines() if "\t" in line)
    return {name: float(value) for name, value in pairs if re.fullmatch(r"-?[\d.]+(E-?\d+)?", value)}


def frame(payload):
    return struct.pack(">i", len(payload)) + payload


def receive_frame(connection):
    (length,) = struct.unpack(">i", receive(connection, 4))
    return receive(connection, length)


def receive(connection, length):
    received = b""
    while len(received) < length:
        some = connection.recv(length - len(received))
        if not some:
            raise ConnectionError("closed")
        received += some
    return received


class Server:
    """A contender. Subclasses say what to execute."""

    name = version = ""

    def command(self, config):
        raise NotImplementedError

    def fresh_data(self):
        """An empty data directory; whatever the last round left is removed."""
        folder = WORK / self.name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        return folder

    def start(self, folder, **settings):
        """Starts on `folder/data`; `settings` are further lines of zoo.cfg."""
        # The last round's dirty pages are not this round's burden.
        os.sync()
        return self.launch(folder, free_port(), **settings)

    def launch(self, folder, port, **settings):
        """As `start`, without the sync: that would stall other servers that serve already."""
        lines = {
            "tickTime": 2000,
            "dataDir": folder / "data",
            "clientPort": port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **settings,
        }
        config = folder / "zoo.cfg"
        config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        started = time.perf_counter()
        return Running(self.name, self.command(config), port, folder / "server.log", started)


class Floor(Server):
    """No contender: an io_uring server that answers without looking, and writes when their records are flushed. What it
    reaches is what a server on this machine can reach at best."""

    name = "floor"
    version = "Floor"

    def __init__(self, binary, durable=True):
        self.binary, self.durable = binary, durable
        if not durable:
            self.name, self.version = "echo", "Echo"

    def runtime(self):
        what = "one io_uring thread that answers without looking"
        return f"{what}, writes when their records are flushed" if self.durable else what

    def launch(self, folder, port, copies=(), copy_port=None):
        """`copies`: ports of others that keep copies of its log; `copy_port`: where it keeps one itself."""
        command = [str(self.binary), "serve", "--port", str(port), "--children", str(LISTED_CHILDREN)]
        if self.durable:
            command += ["--log", str(folder / "data" / "floor.log")]
        if copies:
            command += ["--copies", ",".join(f"127.0.0.1:{port}" for port in copies)]
        if copy_port is not None:
            command += ["--copy-port", str(copy_port)]
        started = time.perf_counter()
        return Running(self.name, command, port, folder / "server.log", started)


class Java(Server):
    name = "java"

    def __init__(self, version):
        self.version = f"Apache ZooKeeper {version}"
        # Beside the rounds' own folders, apart from what the tests fetch: here is a logback.xml and a pom of our own.
        self.home = WORK / f"zookeeper-{version}"
        self.fetch(version)

    def fetch(self, version):
        """Fetches the jars once; a half-fetched folder is fetched again."""
        jar = self.home / "lib" / f"zookeeper-{version}.jar"
        done = self.home / "fetched"
        if done.exists() and jar.exists():
            return
        print(f"fetching Apache ZooKeeper {version} with mvn", flush=True)
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "conf").mkdir(parents=True)
        (self.home / "conf" / "logback.xml").write_text(LOGBACK)
        (self.home / "pom.xml").write_text(POM.format(version=version))
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"]
        try:
            fetched = subprocess.run(command, cwd=self.home, check=False)
        except FileNotFoundError:
            raise Stop("mvn is not installed; it fetches Apache ZooKeeper (Debian: apt install maven)") from None
        if fetched.returncode != 0 or not jar.exists():
            raise Stop(f"mvn could not fetch org.apache.zookeeper:zookeeper:{version}")
        done.touch()

    def runtime(self):
        """First line of `java -version`."""
        try:
            told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise Stop("java is not installed (Debian: apt install default-jre-headless)") from None
        return told.stderr.splitlines()[0]

    def command(self, config):
        # As zkServer.sh starts it: 1000 MB of heap, otherwise the JVM's defaults, JMX for local tools only.
        return [
            "java",
            "-XX:+HeapDumpOnOutOfMemoryError",
            f"-XX:HeapDumpPath={config.parent}",
            "-Xmx1000m",
            "-Dcom.sun.management.jmxremote",
            "-Dcom.sun.management.jmxremote.local.only=false",
            "-cp",
            f"{self.home / 'conf'}:{self.home / 'lib'}/*",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(config),
        ]


class RingKeeper(Server):
    name = "ringkeeper"

    def __init__(self, binary):
        self.binary = binary
        self.version = "RingKeeper"

    def runtime(self):
        told = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False)
        return told.stdout.strip()

    def command(self, config):
        return [str(self.binary), str(config)]
