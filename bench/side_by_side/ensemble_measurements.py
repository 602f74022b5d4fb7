"""What is measured of ensembles: the rows of the table, a leader's end, a follower that joins on an empty disk.

As in `measurements`, each method is one server's part of one round, on directories of its own. Rates and latencies are the
generator's; gaps are computed here from the moments of acknowledgement that `steady_writes` tells.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from . import ensembles
from .ensembles import Ensemble, Floors
from .measurements import FILL, KEYS, PARENT, Bench, Row
from .servers import Floor, Stop

TABLE = [
    Row("set 64x1", "set", 64, 1, rate_ratio_min=4, cpu_ratio_max=1 / 6),
    Row("set 64x16", "set", 64, 16, rate_ratio_min=8, cpu_ratio_max=1 / 12),
    # One connection is at one member, and a follower has one hop more to make: both are measured.
    Row("set 1x1 follower", "set", 1, 1, members="follower", p50_ratio_max=0.65),
    Row("set 1x1 leader", "set", 1, 1, members="leader", p50_ratio_max=0.65),
    Row("set 1x1 / 20 ms", "set", 1, 1, planned_rate=50, p50_ratio_max=0.65),
    Row("get 64x16", "get", 64, 16, rate_ratio_min=8, cpu_ratio_max=1 / 18),
    Row("mixed 10% 64x4", "mixed", 64, 4, timed="get", more=("--write-percent", "10"), rate_ratio_min=8),
    Row("production 64x4", "production", 64, 4, timed="get", rate_ratio_min=8),
    Row("get-list 64x4", "get-list", 64, 4, timed="get"),
    Row("list-heavy 64x4", "list-heavy", 64, 4, timed="get"),
]
# Of a run that is there for what it sets up.
SETUP_SECONDS = 0.1
JOINER = ensembles.MEMBERS[-1]
# The longest gap of so long a time before anything happens is the noise that the other gaps stand in.
CALM_SECONDS = 2
# After this time without a single acknowledgement a gap has no end that we saw.
TAIL_SECONDS = 2


class SteadyWrites:
    """The `steady_writes` process."""

    def __init__(self, addresses, arguments):
        command = [sys.executable, "-B", str(Path(__file__).with_name("steady_writes.py")), "--servers", ",".join(addresses)]
        command += ["--connections", str(arguments.connections), "--rate", str(arguments.rate)]
        command += ["--retry-ms", str(arguments.retry_ms), "--handshake-ms", str(arguments.handshake_ms)]
        # Ctrl-C is for us; the closed standard input then ends the process.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def wait_until_steady(self):
        if self.process.stdout.readline() != "steady\n":
            raise Stop(f"steady_writes ended with code {self.process.wait()} before every connection had written")

    def finish(self):
        told, _ = self.process.communicate()
        if self.process.returncode != 0:
            raise Stop(f"steady_writes ended with code {self.process.returncode}")
        return json.loads(told)

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def longest_gap_ms(moments, since, until):
    """The longest time without an acknowledgement that touches since..until, counted from the last one before `since`.

    A gap that is still open at `until` counts as far as that.
    """
    before = max((moment for moment in moments if moment <= since), default=since)
    edges = [before, *sorted(moment for moment in moments if since < moment < until), until]
    return max(later - earlier for earlier, later in zip(edges, edges[1:])) * 1000


def gap_figures(told, since, until):
    """What both tests of gaps record: the gap, and by how much the machine alone could have caused it."""
    moments, late = told.pop("acknowledged_at"), told.pop("late")
    return {
        "gap_ms": longest_gap_ms(moments, since, until),
        "gap_ms_before": longest_gap_ms(moments, since - CALM_SECONDS, since),
        "client_late_ms": max((late_ms for moment, late_ms in late if since <= moment <= until), default=0),
        "recovered": any(until - TAIL_SECONDS < moment < until for moment in moments),
        "acknowledged": len(moments),
        **told,
    }


class EnsembleBench(Bench):
    def table(self, server, round_number, rows):
        is_floor = isinstance(server, Floor)
        ensemble = (Floors if is_floor else Ensemble)(server)
        leader, follower = ensemble.leader(), ensemble.follower()
        places = {
            "all": ensemble.addresses(),
            "leader": [ensemble.address(leader)],
            "follower": [ensemble.address(follower)],
        }
        self.measure(ensemble, places["all"], "--fill", str(KEYS), *FILL)
        # Long enough for a just-in-time compiler to have seen both paths.
        warm = ["--workload", "mixed", "--write-percent", "50", "--depth", "16", "--keys", str(KEYS), "--no-setup"]
        self.measure(ensemble, places["all"], *warm, "--seconds", "5", "--warmup-seconds", "0")
        for row in rows:
            what = [*row.options(), "--keys", str(KEYS), "--warmup-seconds", "0"]
            place = places["leader" if is_floor and row.writes else row.members]
            # The warm-up, and what is to be set up, is a run of its own, so that CPU time can be read between the two.
            if self.arguments.warmup_seconds > 0 or not row.setup:
                warm_up = max(self.arguments.warmup_seconds, SETUP_SECONDS)
                self.measure(ensemble, place, *what, *row.setup, "--seconds", str(warm_up))
            saved = ["--save", str(self.book.saved_run(row, server, round_number))]
            result = self.measure(ensemble, place, *what, "--no-setup", *saved, "--seconds", str(self.arguments.seconds))
            self.book.add("table", server, round_number, {"row": row.name, "leader": leader, **result})
        if ensemble.leader() != leader:
            raise Stop(f"{server.name}: the leader changed from {leader} to {ensemble.leader()} during the round")
        ensemble.stop()

    def measure(self, ensemble, addresses, *options):
        """As `generate`; the servers' CPU time is that of all members together.

        It contains what the generator's start and end cost them: opening and closing sessions, well below a thousandth of a
        run of seconds.
        """
        any_member = next(iter(ensemble.members.values()))
        before = ensemble.cpu_seconds()
        result = self.generate_at(addresses, any_member, *options)
        used = ensemble.cpu_seconds() - before
        answered = result["operations"] + sum(result["errors"].values())
        result["server_cpu_us_per_operation"] = used * 1e6 / max(answered, 1)
        result["server_cores"] = used / result["seconds"]
        result["other_cores"] = max(result["other_cores"] - result["server_cores"], 0)
        result["server_resident_kib"] = ensemble.resident_kib()
        return result

    def failover(self, server, round_number):
        ensemble = Ensemble(server)
        leader = ensemble.leader()
        survivors = [ensemble.address(member) for member in ensembles.MEMBERS if member != leader]
        writes = SteadyWrites(survivors, self.arguments)
        try:
            writes.wait_until_steady()
            time.sleep(max(self.arguments.warmup_seconds, CALM_SECONDS))
            if ensemble.leader() != leader:
                raise Stop(f"{server.name}: the leader changed before it was killed")
            killed_at = ensemble.kill(leader)
            time.sleep(self.arguments.watch_seconds)
            until = time.monotonic()
            told = writes.finish()
        finally:
            writes.abandon()
        figures = {**gap_figures(told, killed_at, until), "leader": leader, "next_leader": ensemble.leader()}
        ensemble.stop()
        self.book.add("failover", server, round_number, figures)

    def join(self, server, round_number, data):
        """From the start of the process of a member without data to its first reply, which must tell all znodes."""
        ensemble = Ensemble(server, data, started=ensembles.MEMBERS[:-1])
        leader = ensemble.leader()
        writes = SteadyWrites(ensemble.addresses(), self.arguments)
        try:
            writes.wait_until_steady()
            ensemble.wait_until_snapshots_rest()
            time.sleep(max(self.arguments.warmup_seconds, CALM_SECONDS))
            started_at = time.monotonic()
            seconds, children = ensemble.launch(JOINER).wait_for_reply(PARENT, ensembles.RETRY_SECONDS)
            time.sleep(TAIL_SECONDS)
            until = time.monotonic()
            told = writes.finish()
        finally:
            writes.abandon()
        if children != self.arguments.znodes:
            raise Stop(f"{server.name}: the joined member has {children} of {self.arguments.znodes} znodes")
        if ensembles.mode(ensemble.ports[JOINER]) != "follower":
            raise Stop(f"{server.name}: the joined member serves, but not as a follower")
        figures = {
            "znodes": self.arguments.znodes,
            "seconds": seconds,
            **gap_figures(told, started_at, until),
            "leader": leader,
            "leader_after": ensemble.leader(),
            "resident_kib": ensemble.resident_kib(),
        }
        ensemble.stop()
        self.book.add("join", server, round_number, figures)


