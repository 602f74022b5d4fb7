"""Counts that repeat: instructions of the hot paths under callgrind; system calls, flushes and bytes written of a real server under
a fixed number of requests.

callgrind knows no io_uring, so it runs `hot-paths` (pure code and the mapped log), never the server. System calls are counted
by strace. How often a core finds nothing to do, and how many writes share a flush, are matters of time; server, tracer and
generator therefore share one processor, where they can only take turns.
"""

import os
import re
import shutil
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import servers
from .servers import Stop

# Enough that what varies (a page of the allocator, a node split) is spread thin.
STEPS = 400
REQUESTS = 2_000
# Of each load of a server; the median counts.
REPEATS = 3
KEYS = 1_000
# What a start leaves to do in the background (the next log segment) is done by then.
SETTLE_SECONDS_MAX = 20
SETTLE_STEP_SECONDS = 0.5
# What a server that does nothing adds to its trace between two looks is less: its stall detector sleeps four times a second.
TRACE_AT_REST_BYTES = 2_000


@dataclass(frozen=True)
class Load:
    name: str
    workload: str
    connections: int
    depth: int

    def options(self):
        return ["--workload", self.workload, "--connections", str(self.connections), "--depth", str(self.depth)]


READS = [Load("get 1x1", "get", 1, 1), Load("get 1x16", "get", 1, 16)]
WRITES = [Load("set 1x1", "set", 1, 1), Load("set 1x16", "set", 1, 16)]
# How many share a flush depends on how long the disk takes: budgets of these are bounds, not values.
CROWDS = [Load("set 64x16", "set", 64, 16)]


class Counted(servers.RingKeeper):
    """A server under strace, or as it is."""

    name = "budgets"

    def __init__(self, binary, trace=None):
        super().__init__(binary)
        self.trace = trace

    def command(self, config):
        # -D: the process that is started becomes the server, the tracer is its grandchild.
        tracer = ["strace", "-D", "-f", "-o", str(self.trace)] if self.trace else []
        return [*tracer, *super().command(config)]


def need(tool, package):
    if shutil.which(tool) is None:
        raise Stop(f"{tool} is not installed (Debian: apt install {package})")


def instructions(hot_paths, chosen):
    """{"instructions/<path>": instructions per operation}"""
    need("valgrind", "valgrind")
    told = subprocess.run([hot_paths], capture_output=True, text=True, check=True).stdout
    operations = dict(line.split("\t") for line in told.splitlines())
    names = [name for name in operations if chosen(f"instructions/{name}")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        collected = list(pool.map(lambda name: collect(hot_paths, name), names))
    return {f"instructions/{name}": count / STEPS / int(operations[name]) for name, count in zip(names, collected)}


def collect(hot_paths, name):
    """Instructions inside `measured_steps` of one run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=measured_steps"]
    command += [hot_paths, name, str(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None or int(found[1]) == 0:
        raise Stop(f"{' '.join(map(str, command))} counted nothing:\n{done.stderr.strip()[-2000:]}")
    return int(found[1])


def of_server(binary, generator, chosen):
    """System calls per request; flushes and KiB written per commit."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        counts = {}
        traced = [load for load in READS + WRITES if chosen(f"system calls/{load.name}")]
        if traced:
            need("strace", "strace")
            counts.update(system_calls(binary, generator, traced))
        flushed = [
            load for load in WRITES + CROWDS if chosen(f"flushes/{load.name}") or chosen(f"KiB written/{load.name}")
        ]
        if flushed:
            counts.update({name: count for name, count in flushes(binary, generator, flushed).items() if chosen(name)})
        return counts
    finally:
        os.sched_setaffinity(0, allowed)


def system_calls(binary, generator, loads):
    servers.WORK.mkdir(parents=True, exist_ok=True)
    trace = servers.WORK / "budgets.strace"
    running = start(Counted(binary, trace), generator)
    try:
        return {
            f"system calls/{load.name}": grown(generator, running, load, lambda: [traced_calls(trace)])[0] for load in loads
        }
    finally:
        running.stop()
        trace.unlink(missing_ok=True)


def grown(generator, running, load, read):
    """By how much each of the numbers that `read` tells grows with a request."""
    repeats = []
    for _ in range(REPEATS):
        before = read()
        request(generator, running, *load.options())
        repeats.append([(after - earlier) / REQUESTS for after, earlier in zip(read(), before)])
    return [statistics.median(values) for values in zip(*repeats)]


def traced_calls(trace):
    """Calls begun so far, once no more are being written down than those of the thread that looks after the others."""
    size = -TRACE_AT_REST_BYTES
    while trace.stat().st_size - size >= TRACE_AT_REST_BYTES:
        size = trace.stat().st_size
        time.sleep(SETTLE_STEP_SECONDS / 2)
    with open(trace, errors="replace") as lines:
        # A call that another thread interrupted has a second line; signals and exits are none.
        return sum(1 for line in lines if " resumed>" not in line and "---" not in line and "+++" not in line)


def flushes(binary, generator, loads):
    counts = {}
    running = start(Counted(binary), generator)
    try:
        for load in loads:
            read = lambda: [servers.mntr(running)["zk_cnt_fsynctime"], written(running) / 1024]  # noqa: E731
            flushed, kib = grown(generator, running, load, read)
            if kib == 0:
                raise Stop(f"{servers.WORK} is on a file system that counts no bytes written: set CARGO_TARGET_DIR to a disk")
            counts[f"flushes/{load.name}"], counts[f"KiB written/{load.name}"] = flushed, kib
    finally:
        running.stop()
    return counts


def start(server, generator):
    """A server with its keys, and at rest."""
    running = server.start(server.fresh_data())
    running.wait_for_reply()
    generate(generator, running, "--fill", str(KEYS), "--depth", "16", "--connections", "1")
    before, give_up_at = -1, time.monotonic() + SETTLE_SECONDS_MAX
    while before != (before := written(running)) and time.monotonic() < give_up_at:
        time.sleep(SETTLE_STEP_SECONDS)
    return running


def request(generator, running, *options):
    fixed = ["--operations", str(REQUESTS), "--keys", str(KEYS), "--no-setup", "--warmup-seconds", "0"]
    generate(generator, running, *options, *fixed)


def generate(generator, running, *options):
    command = [generator, "--servers", f"127.0.0.1:{running.port}", "--quiet", "--ceiling-seconds", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Stop(f"{' '.join(map(str, command))}\n{done.stderr.strip()}\nserver log:\n{running.log_tail()}")


def written(running):
    """Bytes that the kernel counts as written to disks for this process."""
    for line in Path(f"/proc/{running.pid}/io").read_text().splitlines():
        if line.startswith("write_bytes: "):
            return int(line.split()[1])
    raise Stop("/proc/<pid>/io tells no write_bytes: the kernel has no task I/O accounting")
