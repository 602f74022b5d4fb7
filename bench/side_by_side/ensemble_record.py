"""The record of ensembles: `record.Book` with their table, and one of gaps between writes with the goals for them."""

import statistics

from . import ensemble_measurements, record
from .text import aligned, at_most, goal_table, spread

FAILOVER_GAP_MS_MEDIAN_MAX = 50
FAILOVER_GAP_MS_WORST_MAX = 150
JOIN_FASTER_MIN = 3
JOIN_GAP_MS_MAX = 50
# A gap of this length while nothing happens, or a client kept from running for so long, says that the machine was busy
# with something else.
CALM_GAP_MS_MAX = 25
CLIENT_LATE_MS_MAX = 15


class EnsembleBook(record.Book):
    kind = "-ensemble"
    rows = ensemble_measurements.TABLE
    table_title = (
        "Workloads, three servers, 10,000 keys of 100 B; CPU is that of the three servers together; "
        "latency of mixes is getData's"
    )
    shares_title = (
        "As a share of what the machine allows: three io_uring servers that answer without looking; one of them takes the writes, "
        "and answers them when two of three have their records on disk (rate / its rate; its time / time)"
    )


class GapBook(record.Book):
    kind = "-failover"

    def summary(self):
        parts = [self.failover(), self.join(), self.complaints(), self.calm()]
        return "\n\n".join(part for part in parts if part) or "nothing was measured"

    def brief(self, line):
        if line["test"] == "failover":
            return f"failover   gap {line['gap_ms']:,.0f} ms (before {line['gap_ms_before']:.0f}), {line['closed']} connections closed"
        if line["test"] == "join":
            return f"join       {line['seconds']:.2f} s, gap {line['gap_ms']:,.0f} ms (before {line['gap_ms_before']:.0f})"
        return super().brief(line)

    def failover(self):
        lines, medians, goals = [], [], []
        for server in ("java", "ringkeeper"):
            gaps = self.values("failover", server, "gap_ms")
            if not gaps:
                continue
            medians.append(statistics.median(gaps))
            closed = self.values("failover", server, "closed")
            before = self.values("failover", server, "gap_ms_before")
            cells = [f"{medians[-1]:,.1f}", f"{min(gaps):,.1f}", f"{max(gaps):,.1f}"]
            lines.append([server, str(len(gaps)), *cells, spread(before, 1), spread(closed, 0)])
            if server == "ringkeeper":
                goals.append(at_most("median gap, ms", medians[-1], FAILOVER_GAP_MS_MEDIAN_MAX))
                goals.append(at_most("worst gap, ms", max(gaps), FAILOVER_GAP_MS_WORST_MAX))
        if len(medians) == 2:
            lines.append(["ratio", "", f"x {medians[1] / medians[0]:.3g}", "", "", "", ""])
        heading = ["server", "rounds", "median ms", "lowest", "worst", "longest gap in 2 s before", "connections closed"]
        title = (
            "Longest gap without an acknowledged write after kill -9 of the leader of three. "
            f"On the two survivors: {self.load()}"
        )
        return title + "\n\n" + aligned([heading, *lines]) + goal_table(goals) if lines else ""

    def join(self):
        lines, medians, goals = [], [], []
        for server in ("java", "ringkeeper"):
            seconds = self.values("join", server, "seconds")
            if not seconds:
                continue
            medians.append(statistics.median(seconds))
            gaps = self.values("join", server, "gap_ms")
            before = self.values("join", server, "gap_ms_before")
            lines.append([server, spread(seconds, 2), spread(gaps, 1), spread(before, 1)])
            if server == "ringkeeper":
                goals.append(at_most("longest gap, ms", max(gaps), JOIN_GAP_MS_MAX))
        if len(medians) == 2:
            faster = medians[0] / medians[1]
            lines.append(["faster", f"x {faster:.3g}", "", ""])
            met = "met" if faster >= JOIN_FASTER_MIN else "MISSED"
            goals.append(["faster", f"at least x {JOIN_FASTER_MIN}", f"x {faster:.3g}", met])
        heading = ["server", "seconds until it serves", "longest gap ms meanwhile", "longest gap in 2 s before"]
        title = (
            f"A follower with an empty disk joins two servers with {self.arguments.znodes:,} znodes. "
            f"On the two: {self.load()}"
        )
        return title + "\n\n" + aligned([heading, *lines]) + goal_table(goals) if lines else ""

    def load(self):
        arguments = self.arguments
        return (
            f"{arguments.rate:,.0f} writes/s, open loop, {arguments.connections} connections, "
            f"attached again every {arguments.retry_ms:g} ms"
        )

    def complaints(self):
        """What makes a figure worthless, or a server wrong."""
        found = []
        for line in self.lines:
            if line["test"] not in ("failover", "join"):
                continue
            where = f"{line['test']} {line['server']} round {line['round']}"
            if line["lost"]:
                found.append(f"{where}: ACKNOWLEDGED WRITES LOST on {line['lost']} connections")
            if not line["recovered"]:
                found.append(f"{where}: no write was acknowledged at the end; the gap is longer than what was watched")
            if line["expired"]:
                found.append(f"{where}: {line['expired']} attempts found their session expired")
            if line["errors"]:
                found.append(f"{where}: answered with errors {line['errors']}")
            if line.get("leader_after", line["leader"]) != line["leader"]:
                found.append(f"{where}: the leader changed")
        return "\n".join(found)

    def calm(self):
        found = []
        for figure, most, what in [
            ("gap_ms_before", CALM_GAP_MS_MAX, "writes had gaps of more than {} ms before anything happened"),
            ("client_late_ms", CLIENT_LATE_MS_MAX, "the client itself was more than {} ms late"),
        ]:
            lines = [line for line in self.lines if line[figure] > most]
            named = ", ".join(f"{line['test']} {line['server']} round {line['round']}" for line in lines)
            if lines:
                found.append(f"Noise: {what.format(most)} in {named}.")
        return "\n".join(found)
