"""What is measured: the rows of the table, memory, restart, and reads while a snapshot is written.

Each method of `Bench` is one server's part of one round. It starts its server on a directory of its own, measures, stops
it, and hands plain dictionaries to the book. The generator does the timing; nothing here computes a figure it reports.
"""

import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import servers
from .servers import Stop

KEYS = 10_000
VALUE_BYTES = 100
PARENT = "/bench"
LOGGED_TXNS = 50_000
SETTLE_SECONDS = 10
FILL = ["--connections", "64", "--depth", "32"]
# Larger than any run's number of txns: no snapshot is taken while the server runs. Fits Java's int.
SNAP_COUNT_NEVER = 2_000_000_000
# With 1,000 writes a second one snapshot follows the other every few seconds.
SNAP_COUNT_OFTEN = 6_000
WRITES_PER_SECOND = 1_000


# Workloads that change nothing.
READ_ONLY = ("get", "exists", "list", "get-list")
# Workloads that need more than the keys: the generator makes it, before it measures.
OF_KEYS = ("get", "set", "mixed")


@dataclass(frozen=True)
class Row:
    """One row of the table, and what it must reach: ours divided by Java's."""

    name: str
    workload: str
    connections: int
    depth: int
    # The operation whose latency the row shows, where the workload has more than one; else the workload's own.
    timed: str = ""
    # Ensembles: the members that the connections are spread over, `all`, or the one `leader` or `follower`.
    members: str = "all"
    # Further options of the generator.
    more: tuple = ()
    # Operations a second on a timetable; 0 = as many as are answered.
    planned_rate: int = 0
    rate_ratio_min: float = 0.0
    cpu_ratio_max: float = 0.0
    p50_ratio_max: float = 0.0
    # Rate as a share of the floor's.
    floor_share_min: float = 0.0

    @property
    def latency_of(self):
        return self.timed or self.workload

    @property
    def file_name(self):
        """Its name with what belongs into a file's."""
        return "-".join(re.findall(r"[a-z0-9.]+", self.name))

    @property
    def writes(self):
        return self.workload not in READ_ONLY

    @property
    def setup(self):
        return ["--no-setup"] if self.workload in OF_KEYS else []

    def options(self):
        """What the generator is to be told."""
        options = ["--workload", self.workload, "--connections", str(self.connections), "--depth", str(self.depth)]
        if self.planned_rate:
            options += ["--rate", str(self.planned_rate)]
        return [*options, *self.more]


TABLE = [
    Row("get 64x1", "get", 64, 1, rate_ratio_min=3.5, cpu_ratio_max=1 / 4, floor_share_min=0.8),
    Row("get 64x16", "get", 64, 16, rate_ratio_min=10, cpu_ratio_max=1 / 20, floor_share_min=0.6),
    Row("set 64x1", "set", 64, 1, rate_ratio_min=3, cpu_ratio_max=1 / 4),
    Row("set 64x16", "set", 64, 16, rate_ratio_min=6, cpu_ratio_max=1 / 6),
    Row("set 1x1", "set", 1, 1, p50_ratio_max=0.75),
    Row("get 1x1", "get", 1, 1, p50_ratio_max=0.5),
    Row("production 64x4", "production", 64, 4, timed="get"),
    Row("get-list 64x4", "get-list", 64, 4, timed="get"),
    Row("list-heavy 64x4", "list-heavy", 64, 4, timed="get"),
]


class NullServer:
    """The generator's own server, as `generate` and the book want to see one."""

    name = "null"

    def __init__(self, process):
        # "null server on 127.0.0.1:<port>, pid <pid>"
        said = process.stdout.readline()
        self.port, self.pid = int(said.split(":")[1].split(",")[0]), process.pid

    def log_tail(self):
        return "(the null server writes none)"


class Bench:
    def __init__(self, load, arguments, book):
        self.load, self.arguments, self.book = load, arguments, book

    def table(self, server, round_number, rows):
        running = server.start(server.fresh_data())
        running.wait_for_reply()
        self.generate(running, "--fill", str(KEYS), *FILL)
        # Long enough for a just-in-time compiler to have seen both paths.
        warm = ["--workload", "mixed", "--write-percent", "50", "--depth", "16", "--seconds", "5", "--no-setup"]
        self.generate(running, *warm, "--warmup-seconds", "0")
        for row in rows:
            result = self.generate(
                running,
                *row.options(),
                *["--seconds", str(self.arguments.seconds), "--warmup-seconds", str(self.arguments.warmup_seconds)],
                *["--keys", str(KEYS), *row.setup, "--save", str(self.book.saved_run(row, server, round_number))],
            )
            self.book.add("table", server, round_number, {"row": row.name, **result})
        running.stop()

    def ceiling(self):
        """What the generator reaches against a server that does nothing: no figure of the table means more than this."""
        process = subprocess.Popen([self.load, "--null-server", "0"], stdout=subprocess.PIPE, text=True)
        try:
            null = NullServer(process)
            for depth in (1, 16):
                sizes = ["--depth", str(depth), "--seconds", "3", "--warmup-seconds", "1"]
                result = self.generate(null, "--workload", "get", *sizes)
                self.book.add("ceiling", null, 1, {"row": f"get 64x{depth}", **result})
        finally:
            process.kill()
            process.wait()

    def memory(self, server, round_number):
        running = server.start(server.fresh_data())
        running.wait_for_reply()
        empty_kib = running.memory_kib()
        result = self.generate(running, "--fill", str(self.arguments.znodes), *FILL)
        full_kib = running.memory_kib()
        time.sleep(SETTLE_SECONDS)
        figures = {
            "znodes": self.arguments.znodes,
            "fill_rate": result["rate"],
            "resident_kib_empty": empty_kib,
            "resident_kib_filled": full_kib,
            "resident_kib_settled": running.memory_kib(),
            "resident_kib_peak": running.memory_kib("VmHWM"),
        }
        running.stop()
        self.book.add("memory", server, round_number, figures)

    def prepare_large_data(self, java):
        """A data directory both servers can start on: one snapshot of all znodes, then logged txns.

        Java writes it, since its format is the common one. A server that starts writes a snapshot of what it found, so
        the second start makes the snapshot, and killing it afterwards leaves the txns in the log alone.
        """
        znodes = self.arguments.znodes
        print(f"preparing a data directory with {znodes:,} znodes", flush=True)
        folder = java.fresh_data()
        running = java.start(folder, snapCount=SNAP_COUNT_NEVER)
        running.wait_for_reply()
        self.generate(running, "--fill", str(znodes), *FILL)
        running.stop()
        version = folder / "data" / "version-2"
        earlier = set(version.iterdir())
        running = java.start(folder, snapCount=SNAP_COUNT_NEVER)
        running.wait_for_reply()
        sets = ["--workload", "set", "--operations", str(LOGGED_TXNS), "--keys", str(znodes), "--depth", "16"]
        self.generate(running, *sets, "--no-setup", "--warmup-seconds", "0")
        running.kill()
        for path in earlier:
            path.unlink()
        data = servers.WORK / "large-data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.move(folder / "data", data)
        return data

    def copy_of(self, server, data):
        folder = server.fresh_data()
        shutil.rmtree(folder / "data")
        shutil.copytree(data, folder / "data")
        return folder

    def restart(self, server, round_number, data):
        running = server.start(self.copy_of(server, data))
        seconds, children = running.wait_for_reply(PARENT)
        resident_kib = running.memory_kib()
        running.stop()
        if children != self.arguments.znodes:
            raise Stop(f"{server.name} restarted with {children} of {self.arguments.znodes} znodes")
        self.book.add("restart", server, round_number, {"seconds": seconds, "resident_kib": resident_kib})

    def snapshot_stall(self, server, round_number, data):
        """Reads at half the highest rate beside a trickle of writes, without snapshots and with one after the other."""
        calm = self.start_large(server, data, SNAP_COUNT_NEVER)
        reads = ["--workload", "get", "--keys", str(self.arguments.znodes), "--no-setup"]
        highest = self.generate(calm, *reads, "--depth", "16", "--seconds", "5", "--warmup-seconds", "3")
        half = int(highest["rate"] / 2)
        without, taken = self.reads_beside_writes(calm, reads, half)
        calm.stop()
        if taken:
            raise Stop(f"{server.name} wrote {taken} snapshots although snapCount forbids it")
        busy = self.start_large(server, data, SNAP_COUNT_OFTEN)
        with_snapshots, taken = self.reads_beside_writes(busy, reads, half)
        busy.stop()
        figures = {"highest_rate": highest["rate"], "planned_rate": half, "snapshots": taken}
        for name, result in [("without", without), ("with", with_snapshots)]:
            latency = result["latency_us"]["get"]
            figures.update({f"{percentile}_{name}": latency[percentile] for percentile in ("p50", "p99", "p99.9", "max")})
            figures[f"rate_{name}"] = result["rate"]
        self.book.add("snapshot-stall", server, round_number, figures)

    def start_large(self, server, data, snap_count):
        running = server.start(self.copy_of(server, data), snapCount=snap_count)
        running.data = servers.WORK / server.name / "data" / "version-2"
        running.wait_for_reply(PARENT)
        time.sleep(SETTLE_SECONDS / 2)
        return running

    def reads_beside_writes(self, running, reads, rate):
        seconds = max(self.arguments.seconds * 2, 10)
        warmup = self.arguments.warmup_seconds
        writes = ["--workload", "set", "--keys", str(self.arguments.znodes), "--connections", "1", "--depth", "64"]
        pace = ["--no-setup", "--warmup-seconds", "0", "--rate", str(WRITES_PER_SECOND)]
        # Two seconds more on each side than the reads need.
        length = ["--seconds", str(seconds + warmup + 4)]
        writer = subprocess.Popen(
            [self.load, "--servers", f"127.0.0.1:{running.port}", "--quiet", *writes, *pace, *length],
            stdin=subprocess.DEVNULL,
        )
        try:
            time.sleep(1)
            before = snapshots(running.data)
            # Bursts, because a system call per read would cost the generator the core the server needs.
            paced = ["--rate", str(rate), "--burst", "16", "--depth", "64"]
            result = self.generate(running, *reads, *paced, "--seconds", str(seconds), "--warmup-seconds", str(warmup))
            taken = len(snapshots(running.data) - before)
        except BaseException:
            writer.kill()
            raise
        finally:
            code = writer.wait()
        if code != 0:
            raise Stop(f"the writer beside the reads of {running.name} failed with code {code}")
        return result, taken

    def generate(self, running, *options):
        """Runs the load generator and returns its result; anything but a whole run without errors stops us."""
        return self.generate_at([f"127.0.0.1:{running.port}"], running, "--pid", str(running.pid), *options)

    def command(self, addresses, *options):
        """How the generator is called."""
        command = [self.load, "--servers", ",".join(addresses)]
        # The generator's own ceiling is a test of its own here, not a part of each run.
        return [*command, "--value-bytes", str(VALUE_BYTES), "--path", PARENT, "--json", "--quiet", "--ceiling-seconds", "0", *options]

    def generate_at(self, addresses, running, *options):
        """As `generate`, with connections spread over `addresses`; `running` is who to name when it fails."""
        command = self.command(addresses, *options)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            words = " ".join(str(word) for word in command[1:])
            said = done.stderr.strip() or done.stdout.strip()
            raise Stop(f"{running.name}: ringkeeper-load {words}\n{said}\nserver log:\n{running.log_tail()}")
        return json.loads(done.stdout)


def snapshots(folder):
    return {path.name for path in Path(folder).glob("snapshot.*")}
