"""The record of a run: raw lines as they come, then a summary with medians, spread, ratios and goals, and a README.

Raw lines are written at once, so that an aborted run keeps what it measured. All figures of the summary are computed here
from the raw lines and from nothing else.
"""

import datetime
import json
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from . import machine, measurements, servers, storms
from .text import aligned, spread

# Contenders in the order of the tables; the floor is what the others are measured by.
SERVERS = ("floor", "java", "ringkeeper")
RUNS = servers.REPOSITORY / "bench" / "runs"
# In the order of a report.
REPORTED = ("floor", "echo", "java", "ringkeeper")
# More than this fraction of a core busy with something else, and a figure deserves suspicion.
OTHER_CORES_MAX = 0.15


class Book:
    # What a book of another kind replaces: name of its folder, the rows and heading of its table.
    kind = ""
    rows = measurements.TABLE
    title = "Side by side"
    conditions = (
        "every write flushed before its answer (the default of both). Java runs with `-Xmx1000m`, as its start script sets it."
    )
    table_title = "Workloads, 10,000 keys of 100 B; latency of mixes is getData's"
    shares_title = (
        "As a share of what the machine allows: an io_uring server that answers without looking, and writes when their "
        "records are flushed (rate / its rate; its time / time)"
    )

    def __init__(self, arguments, contenders):
        self.arguments, self.contenders = arguments, contenders
        self.date = datetime.date.today().isoformat()
        self.commit = commit()
        self.folder = arguments.output or unused(RUNS / f"{self.date}-{arguments.host_label}-{self.commit}{self.kind}")
        self.folder.mkdir(parents=True, exist_ok=True)
        servers.WORK.mkdir(parents=True, exist_ok=True)
        self.saved = servers.WORK / "saved"
        shutil.rmtree(self.saved, ignore_errors=True)
        self.machine = machine.describe(servers.WORK)
        self.runtimes = [(server.version, server.runtime()) for server in contenders]
        if any(server.name == "java" for server in contenders):
            self.runtimes.append(("etcd", servers.etcd()))
        if getattr(arguments, "ringkeeper", None):
            self.runtimes.append(("RingKeeper binary", "given with --ringkeeper, not built from the commit below"))
        self.lines = []
        self.raw = open(self.folder / "raw.jsonl", "w", encoding="utf-8")

    def add(self, test, server, round_number, figures):
        line = {"test": test, "server": server.name, "round": round_number, **figures}
        self.lines.append(line)
        self.raw.write(anywhere(json.dumps(line)) + "\n")
        self.raw.flush()
        print(f"round {round_number}  {server.name:<11}{self.brief(line)}", flush=True)

    def brief(self, line):
        return brief(line)

    def saved_run(self, row, server, round_number):
        """Where the generator is to save a run of the table, for the report of its row."""
        folder = self.saved / row.file_name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{server.name}-{round_number}.json"

    def write_reports(self, load):
        """`report-<row>.html` of each row that was measured: its runs laid over each other. The record is complete without them,
        so a failure is told and ends nothing."""
        for row in self.rows:
            saved = {server: sorted((self.saved / row.file_name).glob(f"{server}-*.json")) for server in REPORTED}
            runs = [f"{server}={path}" for server, paths in saved.items() for path in paths]
            for path in (path for paths in saved.values() for path in paths):
                path.write_text(anywhere(path.read_text(encoding="utf-8")), encoding="utf-8")
            if not runs:
                continue
            page = self.folder / f"report-{row.file_name}.html"
            command = [load, "report", "--out", page, "--title", f"{row.name}, {self.date}, {self.commit}", *runs]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{page.name} could not be written: {done.stderr.strip()}", file=sys.stderr)

    def close(self):
        self.raw.close()
        text = self.summary()
        (self.folder / "summary.txt").write_text(text + "\n")
        (self.folder / "README.md").write_text(self.readme(text))

    def readme(self, text):
        command = shlex.join([f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]])
        facts = [*self.machine, *self.runtimes, ("RingKeeper commit", self.commit)]
        table = "\n".join(f"| {name} | {value} |" for name, value in facts)
        return (
            f"# {self.title}, {self.date}, {self.arguments.host_label}\n\n"
            f"    {command}\n\n"
            f"| what | value |\n|---|---|\n{table}\n\n"
            f"Load generator and server share the machine; loopback; {self.conditions} Values are medians over the rounds, the "
            "span in brackets is the lowest and the highest round. `raw.jsonl` has every measurement.\n\n"
            f"```text\n{text}\n```\n"
        )

    def summary(self):
        parts = [self.ceiling(), self.table(), self.memory(), self.restart(), self.stall(), *storms.parts(self), self.noise()]
        return "\n\n".join(part for part in parts if part) or "nothing was measured"

    def values(self, test, server, figure, **where):
        """The figure of every round, in order. `figure` is a key or a function of the line."""
        take = figure if callable(figure) else lambda line: line[figure]
        chosen = [line for line in self.lines if line["test"] == test and line["server"] == server]
        return [take(line) for line in chosen if all(line[key] == value for key, value in where.items())]

    def ceiling(self):
        lines = [
            [line["row"], f"{line['rate']:,.0f}", f"{line['generator_cpu_us_per_operation']:.2f}", f"{line['generator_cores']:.2f}"]
            for line in self.lines
            if line["test"] == "ceiling"
        ]
        heading = ["workload", "ops/s", "generator CPU us/op", "generator cores"]
        title = "The generator's own ceiling: the same requests against a server that does nothing but answer"
        return title + "\n\n" + aligned([heading, *lines]) if lines else ""

    def table(self):
        lines = []
        for row in self.rows:
            lines += self.row_lines(row)
        if not lines:
            return ""
        heading = ["workload", "server", "ops/s", "CPU us/op", "p50 us", "p99 us", "p99.9 us", "generator cores"]
        return self.table_title + "\n\n" + aligned([heading, *lines]) + self.shares() + self.goals()

    def figures(self, row, server):
        """What the rounds told of a row, by name; empty lists where it was not measured."""
        return {name: self.values("table", server, take, row=row.name) for name, take in figures_of(row).items()}

    def medians(self, row):
        """Medians by server, of those that were measured."""
        every = {server: self.figures(row, server) for server in SERVERS}
        return {
            server: {name: statistics.median(values) for name, values in figures.items()}
            for server, figures in every.items()
            if figures["rate"]
        }

    def row_lines(self, row):
        lines, medians = [], self.medians(row)
        for server in medians:
            figures = self.figures(row, server)
            cells = [spread(figures["rate"], 0), spread(figures["cpu"], 2)]
            cells += [spread(figures[name], 0) for name in ("p50", "p99", "p99.9")]
            lines.append([row.name, server, *cells, f"{medians[server]['generator']:.2f}"])
        if "java" in medians and "ringkeeper" in medians:
            java, ours = medians["java"], medians["ringkeeper"]
            ratio = {name: ours[name] / java[name] if java[name] else float("nan") for name in java}
            cells = [f"x {ratio[name]:.3g}" for name in ("rate", "cpu", "p50", "p99", "p99.9")]
            lines.append([row.name, "ratio", *cells, ""])
        return lines

    def shares(self):
        """How near each server comes to the floor: 100 % is as good as a server that does nothing."""
        lines = []
        for row in self.rows:
            medians = self.medians(row)
            floor = medians.pop("floor", None)
            if floor is None:
                continue
            for server, figures in medians.items():
                rate = figures["rate"] / floor["rate"]
                others = [floor[name] / figures[name] if figures[name] else float("nan") for name in ("cpu", "p50", "p99")]
                lines.append([row.name, server, *(f"{share:.0%}" for share in (rate, *others))])
        heading = ["workload", "server", "ops/s", "CPU us/op", "p50", "p99"]
        return f"\n\n{self.shares_title}\n\n" + aligned([heading, *lines]) if lines else ""

    def goals(self):
        lines = []
        for row in self.rows:
            medians = self.medians(row)
            if "ringkeeper" in medians:
                lines += goal_lines(row, medians)
        return "\n\nGoals\n\n" + aligned([["workload", "what", "goal", "measured", ""], *lines]) if lines else ""

    def memory(self):
        lines = []
        for server in ("java", "ringkeeper"):
            settled = self.values("memory", server, lambda line: line["resident_kib_settled"] / 1024)
            if settled:
                peak = self.values("memory", server, lambda line: line["resident_kib_peak"] / 1024)
                empty = self.values("memory", server, lambda line: line["resident_kib_empty"] / 1024)
                rate = self.values("memory", server, "fill_rate")
                lines.append([server, spread(empty, 0), spread(settled, 0), spread(peak, 0), spread(rate, 0)])
        heading = ["server", "empty MiB", "filled MiB", "peak MiB", "creates/s"]
        title = f"Resident memory, {self.arguments.znodes:,} znodes of 100 B under one parent (goal: at most 220 MiB)"
        return title + "\n\n" + aligned([heading, *lines]) if lines else ""

    def restart(self):
        lines, medians = [], []
        for server in ("java", "ringkeeper"):
            seconds = self.values("restart", server, "seconds")
            if seconds:
                medians.append(statistics.median(seconds))
                lines.append([server, spread(seconds, 2)])
        if len(medians) == 2:
            lines.append(["faster", f"x {medians[0] / medians[1]:.3g}"])
        title = (
            f"Restart, start of the process to first reply: snapshot of {self.arguments.znodes:,} znodes and "
            f"{measurements.LOGGED_TXNS:,} logged txns (goal: 5 times faster and at most 1 s)"
        )
        return title + "\n\n" + aligned([["server", "seconds"], *lines]) if lines else ""

    def stall(self):
        lines = []
        for server in ("java", "ringkeeper"):
            rate = self.values("snapshot-stall", server, "planned_rate")
            if rate:
                taken = self.values("snapshot-stall", server, "snapshots")
                without = self.values("snapshot-stall", server, "p99.9_without")
                with_them = self.values("snapshot-stall", server, "p99.9_with")
                ratio = statistics.median(with_them) / statistics.median(without)
                cells = [spread(rate, 0), spread(without, 0), spread(with_them, 0), f"x {ratio:.3g}", spread(taken, 0)]
                lines.append([server, *cells])
        heading = ["server", "reads/s", "p99.9 us without", "p99.9 us with", "with/without", "snapshots"]
        title = (
            f"Reads at half the highest rate while a snapshot of {self.arguments.znodes:,} znodes is written, beside "
            f"{measurements.WRITES_PER_SECOND:,} writes/s (goal: p99.9 at most 2 times that without)"
        )
        return title + "\n\n" + aligned([heading, *lines]) if lines else ""

    def noise(self):
        noisy = [line for line in self.lines if line.get("other_cores", 0) > OTHER_CORES_MAX]
        if not noisy:
            return ""
        named = ", ".join(f"{line['row']} {line['server']} round {line['round']}" for line in noisy if "row" in line)
        return f"Noise: something else kept more than {OTHER_CORES_MAX} cores busy during {named}."


def figures_of(row):
    """What a row's line tells, by name."""
    return {
        "rate": lambda line: line["rate"],
        "cpu": lambda line: line["server_cpu_us_per_operation"],
        "p50": lambda line: line["latency_us"][row.latency_of]["p50"],
        "p99": lambda line: line["latency_us"][row.latency_of]["p99"],
        "p99.9": lambda line: line["latency_us"][row.latency_of]["p99.9"],
        "generator": lambda line: line["generator_cores"],
    }


def goal_lines(row, medians):
    ours, lines = medians["ringkeeper"], []
    if row.floor_share_min and "floor" in medians:
        share, least = ours["rate"] / medians["floor"]["rate"], row.floor_share_min
        lines.append(goal_line(row, "rate of the floor's", f"at least {least:.0%}", f"{share:.0%}", share >= least))
    return lines + (ratio_goal_lines(row, medians["java"], ours) if "java" in medians else [])


def goal_line(row, what, goal, measured, met):
    return [row.name, what, goal, measured, "met" if met else "MISSED"]


def ratio_goal_lines(row, java, ours):
    def line(what, goal, ratio, met):
        return goal_line(row, what, goal, f"x {ratio:.3g}", met)

    lines = []
    rate, cpu, p50 = (ours[name] / java[name] for name in ("rate", "cpu", "p50"))
    if row.rate_ratio_min:
        lines.append(line("rate", f"at least x {row.rate_ratio_min}", rate, rate >= row.rate_ratio_min))
    if row.cpu_ratio_max:
        lines.append(line("CPU per operation", f"at most x {row.cpu_ratio_max:.3g}", cpu, cpu <= row.cpu_ratio_max))
    if row.p50_ratio_max:
        p99 = ours["p99"] / java["p99"]
        lines.append(line("p50", f"at most x {row.p50_ratio_max}", p50, p50 <= row.p50_ratio_max))
        lines.append(line("p99", "below x 1", p99, p99 < 1))
    return lines


def brief(line):
    """One measurement in a few words, for the person who waits."""
    if line["test"] in ("table", "ceiling"):
        latency = next(iter(line["latency_us"].values()))
        cpu = line["server_cpu_us_per_operation"]
        return f"{line['row']:<16} {line['rate']:>11,.0f} ops/s {cpu:>7.2f} us CPU  p50 {latency['p50']:,.0f}  p99 {latency['p99']:,.0f} us"
    if line["test"] == "memory":
        return f"memory     {line['resident_kib_settled'] / 1024:,.0f} MiB"
    if line["test"] == "restart":
        return f"restart    {line['seconds']:.2f} s"
    if line["test"] in storms.TESTS:
        return storms.brief(line)
    return f"stall      p99.9 {line['p99.9_without']:,.0f} us, with {line['snapshots']} snapshots {line['p99.9_with']:,.0f} us"


def anywhere(text):
    """Without where this repository lies: a record is read on other machines."""
    return text.replace(f"{servers.REPOSITORY}/", "")


def commit():
    """Short hash of what is measured; `-dirty` when the tree differs from it outside the records themselves."""

    def git(*words):
        told = subprocess.run(["git", *words], cwd=servers.REPOSITORY, capture_output=True, text=True, check=False)
        return told.stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!bench/runs")
    return (git("rev-parse", "--short=9", "HEAD") or "uncommitted") + ("-dirty" if changed else "")


def unused(folder):
    """The folder, or its name with the next free number: a second run of a day never overwrites the first."""
    candidate, number = folder, 2
    while candidate.exists():
        candidate = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return candidate
