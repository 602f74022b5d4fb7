"""What the machine allows: the floor under the load generator, and the bare log of a disk.

The rows are those of the table, so that each of its figures has one here. `LimitBook` writes them down as `record.Book` does.
"""

import json
import statistics
import subprocess

from . import measurements, record, servers
from .text import aligned, spread
from .servers import Stop

# Records in one flush: a lone write; what 64 connections have in flight with 1 and with 16 requests each.
BATCHES = (1, 16, 64, 1024)


class LimitBench(measurements.Bench):
    def __init__(self, load, arguments, book, floor):
        super().__init__(load, arguments, book)
        self.floor = floor

    def append(self, round_number):
        """Appends and flushes without any server."""
        servers.WORK.mkdir(parents=True, exist_ok=True)
        for batch in BATCHES:
            command = [self.floor, "append", "--file", servers.WORK / "append.log", "--batch", str(batch)]
            command += ["--seconds", str(self.arguments.seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Stop(f"{' '.join(map(str, command[1:]))}\n{done.stderr.strip()}")
            self.book.add("append", LOG, round_number, json.loads(done.stdout))


class Log:
    """Named in the raw lines of `append`."""

    name = "log"


LOG = Log()


class LimitBook(record.Book):
    kind = "-limit"
    title = "What the machine allows"
    conditions = "what each server does is said above its table."

    def summary(self):
        parts = [self.ceiling(), self.served("echo", ECHO_TITLE), self.served("floor", FLOOR_TITLE), self.appended(), self.noise()]
        return "\n\n".join(part for part in parts if part) or "nothing was measured"

    def brief(self, line):
        if line["test"] == "append":
            flush = line["flush_us"]
            return f"append     {line['batch']:>5} a flush {line['records_per_second']:>12,.0f} records/s  p50 {flush['p50']:,.0f} us"
        return super().brief(line)

    def served(self, server, title):
        lines = []
        for row in self.rows:
            figures = self.figures(row, server)
            if figures["rate"]:
                cells = [spread(figures["rate"], 0), spread(figures["cpu"], 2)]
                cells += [spread(figures[name], 0) for name in ("p50", "p99", "p99.9")]
                lines.append([row.name, *cells, f"{statistics.median(figures['generator']):.2f}"])
        heading = ["workload", "ops/s", "CPU us/op", "p50 us", "p99 us", "p99.9 us", "generator cores"]
        return title + "\n\n" + aligned([heading, *lines]) if lines else ""

    def appended(self):
        lines = []
        for batch in BATCHES:
            def values(take, batch=batch):
                return self.values("append", "log", take, batch=batch)

            if not values("flushes"):
                continue
            cells = [spread(values("records_per_second"), 0), spread(values("flushes_per_second"), 0)]
            cells += [spread(values(lambda line, name=name: line["flush_us"][name]), 0) for name in ("p50", "p99", "p99.9")]
            written = [kib for kib in values("kib_written_per_flush") if kib is not None]
            lines.append([str(batch), *cells, spread(written, 1) if written else "not told"])
        heading = ["records a flush", "records/s", "flushes/s", "p50 us", "p99 us", "p99.9 us", "KiB written a flush"]
        return APPEND_TITLE + "\n\n" + aligned([heading, *lines]) if lines else ""


ECHO_TITLE = "Echo: one io_uring thread answers every frame without looking and keeps nothing"
FLOOR_TITLE = "Floor: the same, but a write is answered when its record is flushed; one flush in flight, all that comes shares the next"
APPEND_TITLE = "Bare log: records of a setData of 100 B copied into a mapped file and fdatasync, one after the other"
