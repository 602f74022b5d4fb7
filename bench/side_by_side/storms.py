"""What happens to everybody at once: one transaction that fires 100,000 watches, 10,000 sessions that come back, and snapshots
that are written under load. `StormBench` measures, `parts` says what came of it."""

import json
import signal
import statistics
import subprocess
import time

from . import measurements, servers
from .servers import Stop
from .text import aligned, at_most, goal_table, spread

CONNECTIONS = 10_000
# As the workloads watch-storm-multi and reconnect-storm have it.
WATCHES_EACH = 10
WATCHES = CONNECTIONS * WATCHES_EACH
# Somebody who has nothing to do with the storm: reads on a timetable.
BYSTANDER = ["--workload", "get", "--connections", "16", "--depth", "64", "--rate", "1000"]
BYSTANDER_P99_US_MAX = 20_000
RECONNECTS = 3
# The most that a server gives by default with its tick of 2 s.
SESSION_TIMEOUT_MS = 40_000
# Whoever is not back by then is not waited for.
RECONNECT_SECONDS_MAX = 100
GIVE_UP_SECONDS = 600
WATCH_STORM_FASTER_MIN = 5
RECONNECT_FASTER_MIN = 3
TAIL_RATIO_MAX = 8
# With the writes of the mix one snapshot follows the other every few seconds.
SNAP_COUNT = 20_000
SNAPSHOT_ZNODES = 100_000
# The generator's exit codes when connections are lost for good, when operations failed, and when it is told to end: here these
# are results.
LOST, OPERATIONS_FAILED, INTERRUPTED = 6, 7, 130
TESTS = ("watch-storm", "reconnect-storm", "snapshot-tail")


class StormBench:
    """Beside a `measurements.Bench`, whose generator and book it uses."""

    def __init__(self, bench):
        self.bench, self.book, self.arguments = bench, bench.book, bench.arguments

    def watch_storm(self, server, round_number):
        running = self.start(server)
        seconds = max(self.arguments.seconds, 10)
        storms = self.begin(running, "--workload", "watch-storm-multi", "--seconds", str(GIVE_UP_SECONDS))
        self.wait_for_watches(running, storms)
        quiet = ["--seconds", str(seconds), "--warmup-seconds", "1", "--keys", str(measurements.KEYS), "--no-setup"]
        bystander = self.bench.generate(running, *BYSTANDER, *quiet)
        # When the storms are over 10,000 sessions are closed at once, which is another thing: not while others are measured.
        storms.send_signal(signal.SIGINT)
        result = self.end(running, storms)
        running.stop()
        latency = result["latency_us"]
        figures = {
            "storms": latency["storm"]["count"],
            "all_told_us": latency["storm"]["p50"],
            "all_told_us_max": latency["storm"]["max"],
            "one_told_us": latency["watch-event"]["p50"],
            "bystander_p99_us": bystander["latency_us"]["get"]["p99"],
            "bystander_max_us": bystander["latency_us"]["get"]["max"],
            "failure": None if storms.returncode == INTERRUPTED else result["failure"],
            "generator_cores": result["generator_cores"],
        }
        self.book.add("watch-storm", server, round_number, figures)

    def reconnect_storm(self, server, round_number):
        running = self.start(server)
        options = ["--workload", "reconnect-storm", "--operations", str(RECONNECTS), "--no-setup"]
        options += ["--timeout-seconds", str(RECONNECT_SECONDS_MAX)]
        result = self.end(running, self.begin(running, *options))
        running.stop()
        latency = result["latency_us"]
        # A storm that somebody never came back from has no end.
        storm = latency.get("storm", {"count": 0, "p50": None, "max": None})
        gave_up = result["failure"] is not None
        figures = {
            "storms": storm["count"],
            "all_back_us": None if gave_up else storm["p50"],
            "all_back_us_max": None if gave_up else storm["max"],
            "one_back_us": latency["reconnect"]["p50"],
            "expired": sum(result["errors"].values()),
            "failure": result["failure"],
            "generator_cores": result["generator_cores"],
        }
        self.book.add("reconnect-storm", server, round_number, figures)

    def snapshot_tail(self, server, round_number):
        """A mix at half the highest rate while snapshots are written one after the other."""
        running = server.start(server.fresh_data(), snapCount=SNAP_COUNT)
        running.wait_for_reply()
        self.bench.generate(running, "--fill", str(SNAPSHOT_ZNODES), *measurements.FILL)
        mixed = ["--workload", "mixed", "--write-percent", "10", "--connections", "64"]
        mixed += ["--keys", str(SNAPSHOT_ZNODES), "--no-setup"]
        highest = self.bench.generate(running, *mixed, "--depth", "4", "--seconds", "5", "--warmup-seconds", "5")
        folder = servers.WORK / server.name / "data" / "version-2"
        before = measurements.snapshots(folder)
        half = int(highest["rate"] / 2)
        seconds = max(self.arguments.seconds * 2, 10)
        result = self.bench.generate(
            running, *mixed, "--depth", "64", "--rate", str(half), "--seconds", str(seconds), "--warmup-seconds", "1"
        )
        taken = len(measurements.snapshots(folder) - before)
        running.stop()
        figures = {"planned_rate": half, "rate": result["rate"], "snapshots": taken}
        for operation in ("get", "set"):
            figures.update({f"{operation}_{name}_us": result["latency_us"][operation][name] for name in ("p50", "p99.9")})
        self.book.add("snapshot-tail", server, round_number, figures)

    # A server with so many clients.

    def start(self, server):
        running = server.start(server.fresh_data())
        running.wait_for_reply()
        self.bench.generate(running, "--fill", str(measurements.KEYS), *measurements.FILL)
        return running

    def begin(self, running, *options):
        crowd = ["--connections", str(CONNECTIONS), "--session-timeout-ms", str(SESSION_TIMEOUT_MS)]
        command = self.bench.command([f"127.0.0.1:{running.port}"], "--pid", str(running.pid), *crowd, *options)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)

    def end(self, running, generator):
        try:
            out, errors = generator.communicate(timeout=GIVE_UP_SECONDS)
        except BaseException:
            generator.kill()
            generator.wait()
            raise
        if generator.returncode not in (0, LOST, OPERATIONS_FAILED, INTERRUPTED) or not out:
            raise Stop(f"{running.name}: ringkeeper-load ended with code {generator.returncode}\n{errors}\n{running.log_tail()}")
        return json.loads(out)

    def wait_for_watches(self, running, generator):
        until = time.monotonic() + GIVE_UP_SECONDS
        while servers.mntr(running)["zk_watch_count"] < WATCHES:
            if generator.poll() is not None:
                return  # `end` tells why
            if time.monotonic() > until:
                generator.kill()
                raise Stop(f"{running.name} has not all watches after {GIVE_UP_SECONDS} s")
            time.sleep(0.1)


# What came of it.


def parts(book):
    return [watch_storms(book), reconnect_storms(book), snapshot_tails(book)]


def brief(line):
    if line["test"] == "watch-storm":
        told, p99 = line["all_told_us"] / 1000, line["bystander_p99_us"] / 1000
        end = f", then {line['failure']}" if line["failure"] else ""
        return f"watches    all told after {told:,.1f} ms ({line['storms']} storms), somebody else's p99 {p99:,.1f} ms{end}"
    if line["test"] == "reconnect-storm":
        back = f"all back after {line['all_back_us'] / 1e6:,.2f} s" if line["all_back_us"] else line["failure"]
        return f"reconnect  {back} ({line['storms']} storms), {line['expired']} expired"
    ratios = ", ".join(f"{of} {line[f'{of}_p99.9_us'] / line[f'{of}_p50_us']:.1f}" for of in ("get", "set"))
    return f"tail       p99.9/p50 {ratios}, {line['snapshots']} snapshots at {line['planned_rate']:,}/s"


def watch_storms(book):
    lines, medians, goals = [], {}, []
    for server in ("java", "ringkeeper"):
        told = book.values("watch-storm", server, lambda line: line["all_told_us"] / 1000)
        if not told:
            continue
        medians[server] = statistics.median(told)
        other = book.values("watch-storm", server, lambda line: line["bystander_p99_us"] / 1000)
        one = book.values("watch-storm", server, lambda line: line["one_told_us"] / 1000)
        cores = book.values("watch-storm", server, "generator_cores")
        lines.append([server, spread(told, 1), spread(one, 1), spread(other, 1), spread(cores, 2)])
        if server == "ringkeeper":
            goals.append(at_most("p99 of others, ms", statistics.median(other), BYSTANDER_P99_US_MAX / 1000))
    goals += faster(medians, WATCH_STORM_FASTER_MIN)
    title = (
        f"{WATCHES:,} one-shot watches of {CONNECTIONS:,} sessions fired by one transaction, each set again at once, storm after "
        "storm; and somebody else's 1,000 getData a second meanwhile"
    )
    heading = ["server", "all told, ms", "half told, ms", "p99 of others, ms", "generator cores"]
    return told_in(title, heading, lines, goals)


def reconnect_storms(book):
    lines, medians, goals = [], {}, []
    for server in ("java", "ringkeeper"):
        # Where somebody did not come back, the time after which the others stopped waiting is what it took at least.
        limit_us = RECONNECT_SECONDS_MAX * 1e6
        back = book.values("reconnect-storm", server, lambda line: (line["all_back_us"] or limit_us) / 1e6)
        if not back:
            continue
        medians[server] = statistics.median(back)
        worst = book.values("reconnect-storm", server, lambda line: (line["all_back_us_max"] or limit_us) / 1e6)
        expired = book.values("reconnect-storm", server, "expired")
        gave_up = sum(failure is not None for failure in book.values("reconnect-storm", server, "failure"))
        lines.append([server, spread(back, 2), f"{max(worst):.2f}", str(sum(expired)), f"{gave_up} of {len(back)}"])
        if server == "ringkeeper":
            goals.append(at_most("sessions expired", sum(expired), 0))
    goals += faster(medians, RECONNECT_FASTER_MIN)
    title = f"{CONNECTIONS:,} connections cut at once, all sessions attached again with {WATCHES_EACH} watches each"
    return told_in(title, ["server", "all back, s", "worst, s", "expired", "rounds in which not all came back"], lines, goals)


def snapshot_tails(book):
    lines, goals = [], []
    for server in ("java", "ringkeeper"):
        taken = book.values("snapshot-tail", server, "snapshots")
        if not taken:
            continue
        cells = [spread(book.values("snapshot-tail", server, "planned_rate"), 0), spread(taken, 0)]
        for operation in ("get", "set"):
            p50 = book.values("snapshot-tail", server, f"{operation}_p50_us")
            tail = book.values("snapshot-tail", server, f"{operation}_p99.9_us")
            ratio = statistics.median(tail) / statistics.median(p50)
            cells += [spread(p50, 0), spread(tail, 0), f"{ratio:.1f}"]
            if server == "ringkeeper":
                goals.append(at_most(f"p99.9 / p50 of {operation}", ratio, TAIL_RATIO_MAX))
        lines.append([server, *cells])
    heading = ["server", "ops/s", "snapshots"]
    heading += ["get p50 us", "get p99.9 us", "p99.9/p50", "set p50 us", "set p99.9 us", "p99.9/p50"]
    title = (
        f"90 % getData, 10 % setData at half the highest rate while snapshots of {SNAPSHOT_ZNODES:,} znodes are written one after "
        "the other"
    )
    return told_in(title, heading, lines, goals)


def faster(medians, times):
    if len(medians) < 2:
        return []
    ratio = medians["java"] / medians["ringkeeper"]
    return [["times faster", f"at least x {times}", f"x {ratio:.3g}", "met" if ratio >= times else "MISSED"]]


def told_in(title, heading, lines, goals):
    if not lines:
        return ""
    return title + "\n\n" + aligned([heading, *lines]) + goal_table(goals)
