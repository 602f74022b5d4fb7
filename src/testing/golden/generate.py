#!/usr/bin/env python3
"""Has Apache ZooKeeper write the golden files of this directory: every transaction type, every kind of snapshot.

usage: generate.py VERSION    (3.9.5 or 3.8.5; needs java, mvn and python 3, nothing else)

Starts a standalone server on loopback again and again, each time with other options, drives it with a raw client, kills
it, and copies its version-2 directory to ./VERSION. Then ZooKeeper's own tools print what they read: those texts
are what our reader is compared with.
"""

import os, shutil, socket, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>golden</groupId><artifactId>golden</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>%s</version></dependency>
<dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId><version>1.1.10.5</version></dependency>
<dependency><groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId><version>4.1.12.1</version></dependency>
<dependency><groupId>commons-cli</groupId><artifactId>commons-cli</artifactId><version>1.5.0</version></dependency>
</dependencies></project>"""

ANYONE = [(31, "world", "anyone")]


def fetch_jars(version, work):
    with open(os.path.join(work, "pom.xml"), "w") as pom:
        pom.write(POM % version)
    offline = ["-o"] if os.environ.get("MAVEN_OFFLINE") else []
    subprocess.run(["mvn", "-q", *offline, "dependency:copy-dependencies", "-DoutputDirectory=" + work + "/lib"],
                   cwd=work, check=True)
    # No logging backend: the tools' output is kept.
    for jar in os.listdir(work + "/lib"):
        if jar.startswith("logback"):
            os.remove(os.path.join(work, "lib", jar))
    return work + "/lib/*"


def i(value): return struct.pack(">i", value)
def q(value): return struct.pack(">q", value)
def buf(data): return i(-1) if data is None else i(len(data)) + data
def s(text): return buf(text.encode())
def acls(entries): return i(len(entries)) + b"".join(i(p) + s(a) + s(b) for p, a, b in entries)


def create(path, data=b"", acl=ANYONE, flags=0): return s(path) + buf(data) + acls(acl) + i(flags)


class Client:
    """One session."""

    def __init__(self, port, timeout=10000):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.xid = 0
        self.send(i(0) + q(0) + i(timeout) + q(0) + buf(bytes(16)) + b"\0")
        self.receive()

    def send(self, payload): self.sock.sendall(i(len(payload)) + payload)

    def receive(self):
        def exactly(count):
            data = b""
            while len(data) < count:
                more = self.sock.recv(count - len(data))
                if not more:
                    raise EOFError
                data += more
            return data
        return exactly(struct.unpack(">i", exactly(4))[0])

    def call(self, op, record, expected=0):
        self.xid += 1
        self.send(i(self.xid) + i(op) + record)
        reply = self.receive()
        error = struct.unpack(">i", reply[12:16])[0]
        assert error == expected, "op %d: error %d" % (op, error)

    def multi(self, *ops):
        body = b"".join(i(op) + b"\0" + i(-1) + record for op, record in ops)
        self.call(14, body + i(-1) + b"\1" + i(-1))

    def close(self):
        self.call(-11, b"")
        self.sock.close()


class Server:
    def __init__(self, classpath, data, *properties):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = data + ".cfg"
        with open(config, "w") as file:
            file.write("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\ntickTime=2000\n" % (data, self.port))
        properties = ["-Dzookeeper." + name for name in (
            "admin.enableServer=false", "extendedTypesEnabled=true", "preAllocSize=8", "4lw.commands.whitelist=*",
            *properties)]
        self.process = subprocess.Popen(
            ["java", "-Xmx128m", "-Dznode.container.checkIntervalMs=500", *properties, "-cp", classpath,
             "org.apache.zookeeper.server.ZooKeeperServerMain", config],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"srvr")
                    if b"Mode: standalone" in probe.makefile("rb").read():
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit("the server did not start with %s" % properties)

    def kill(self):
        self.process.kill()
        self.process.wait()


def every_kind_of_transaction(port):
    client = Client(port)
    client.call(1, create("/plain", b"data"))
    client.call(15, create("/with-stat", b"\0\xff"))
    client.call(1, create("/null-data", None))
    client.call(1, create("/guarded", b"g", [(31, "digest", "user:mSGpPKVAxVLr8Oj/9O+fmLBYKcU="), (1, "ip", "127.0.0.1")]))
    client.call(1, create("/plain/seq-", b"", flags=2))
    client.call(1, create("/ephemeral", b"e", flags=1))
    client.call(1, create("/\u00e9\u4e16", "\u00fc".encode()))
    client.call(19, create("/container", b"c", flags=4))
    client.call(15, create("/container/child"))
    client.call(21, create("/ttl", b"t", flags=5) + q(3_600_000))
    client.call(21, create("/ttl-seq-", b"t", flags=6) + q(1_000_000_000))
    client.call(5, s("/plain") + buf(b"data 2") + i(-1))
    client.call(5, s("/plain") + buf(None) + i(1))
    client.call(7, s("/plain") + acls([(1, "world", "anyone"), (30, "ip", "127.0.0.1/8")]) + i(-1))
    client.call(2, s("/with-stat") + i(0))
    client.call(1, create("/missing/child"), expected=-101)
    client.call(5, s("/null-data") + buf(b"x") + i(7), expected=-103)
    client.multi((1, create("/m", b"1")), (15, create("/m/a", b"2")), (19, create("/m/container", flags=4)),
                 (21, create("/m/ttl", flags=5) + q(5000_000)), (5, s("/m/a") + buf(b"3") + i(0)), (13, s("/m") + i(0)),
                 (2, s("/m/a") + i(1)))
    client.multi((1, create("/n", b"1")), (13, s("/m") + i(9)), (2, s("/m") + i(-1)))
    client.multi()
    # The sweeper removes it once its last child is gone: a deleteContainer of session 0.
    client.call(2, s("/container/child") + i(-1))
    time.sleep(2)
    other = Client(port, 6000)
    other.call(1, create("/plain-2", flags=1))
    other.call(1, create("/plain-2-seq-", flags=3))
    other.close()
    return client


def some_more(port, mark):
    client = Client(port)
    client.call(1, create("/after-" + mark, mark.encode() * 50))
    client.call(1, create("/after-" + mark + "-ephemeral", flags=1))
    client.close()
    return Client(port, 30000)  # stays, and is in the next snapshot


def write_all(version, work):
    classpath = fetch_jars(version, work)
    data = work + "/data"
    steps = [
        ("first", []),
        ("plain", []),
        ("no-list", ["closeSessionTxn.enabled=false"]),
        # Both off: with the digest alone switched off 3.9 takes one section of its earlier snapshot for the other.
        ("no-digest", ["digest.enabled=false", "serializeLastProcessedZxid.enabled=false"]),
        ("gz", ["snapshot.compression.method=gz"]),
        ("snappy", ["snapshot.compression.method=snappy"]),
    ]
    for mark, properties in steps:
        server = Server(classpath, data, *properties)
        kept_open = every_kind_of_transaction(server.port) if mark == "first" else some_more(server.port, mark)
        server.kill()
        kept_open.sock.close()
    return classpath, data + "/version-2"


def copy_and_print(classpath, source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    def tool(name, *arguments):
        command = ["java", "-Duser.timezone=UTC", "-cp", classpath, "org.apache.zookeeper.server." + name, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name)
        if name.startswith("log."):
            text = tool("persistence.TxnLogToolkit", "-d", path)
        else:
            text = tool("SnapshotFormatter", "-d", path)
        with open(os.path.join(target, name + ".txt"), "wb") as file:
            file.write(text)


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as work:
        classpath, written = write_all(sys.argv[1], work)
        copy_and_print(classpath, written, os.path.join(HERE, sys.argv[1]))


main()
