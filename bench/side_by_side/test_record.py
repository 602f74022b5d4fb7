"""The summary's arithmetic: `python3 -m unittest discover -s bench -t bench`."""

import tempfile
import unittest
from argparse import Namespace
from pathlib import Path
from unittest import mock

from side_by_side import machine, measurements, record, servers


class Contender:
    version = "some version"

    def __init__(self, name):
        self.name = name

    def runtime(self):
        return "some runtime"


def row(rate, cpu, p50, other_cores=0.0):
    latency = {"get": {"p50": p50, "p99": p50 * 2, "p99.9": p50 * 3}}
    figures = {"row": "get 64x1", "rate": rate, "server_cpu_us_per_operation": cpu, "latency_us": latency}
    return {**figures, "generator_cores": 0.5, "other_cores": other_cores}


class SummaryTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.java, self.ours = Contender("java"), Contender("ringkeeper")
        arguments = Namespace(output=Path(folder.name) / "run", host_label="test", znodes=1000)
        work = mock.patch.object(servers, "WORK", Path(folder.name) / "work")
        work.start()
        self.addCleanup(work.stop)
        with mock.patch.object(machine, "describe", return_value=[("processor", "test")]):
            self.book = record.Book(arguments, [self.java, self.ours])
        self.addCleanup(self.book.raw.close)

    def add_rounds(self, server, rates, cpu, p50):
        for number, rate in enumerate(rates, 1):
            self.book.add("table", server, number, row(rate, cpu, p50))

    def test_median_spread_ratio_and_goals(self):
        self.add_rounds(self.java, [10_000, 30_000, 20_000], 40, 1000)
        self.add_rounds(self.ours, [70_000, 60_000, 80_000], 20, 250)
        text = self.book.summary()
        self.assertIn("20,000 [10,000-30,000]", text)
        self.assertIn("70,000 [60,000-80,000]", text)
        self.assertRegex(text, r"get 64x1 +ratio +x 3.5 +x 0.5 +x 0.25")
        self.assertRegex(text, r"rate +at least x 3.5 +x 3.5 +met")
        self.assertRegex(text, r"CPU per operation +at most x 0.25 +x 0.5 +MISSED")

    def test_shares_of_the_floor(self):
        self.add_rounds(Contender("floor"), [100_000], 5, 200)
        self.add_rounds(self.java, [10_000], 50, 2000)
        self.add_rounds(self.ours, [70_000], 10, 250)
        text = self.book.summary()
        self.assertRegex(text, r"get 64x1 +java +10% +10% +10% +10%")
        self.assertRegex(text, r"get 64x1 +ringkeeper +70% +50% +80% +80%")
        self.assertRegex(text, r"get 64x1 +rate of the floor's +at least 80% +70% +MISSED")
        self.assertRegex(text, r"get 64x1 +ratio +x 7 ")

    def test_a_report_of_each_row_that_was_measured(self):
        row = measurements.TABLE[0]
        for number in (1, 2):
            self.book.saved_run(row, self.ours, number).write_text("{}")
        with mock.patch.object(record.subprocess, "run", return_value=Namespace(returncode=0)) as told:
            self.book.write_reports(Path("load"))
        (command,), _ = told.call_args
        self.assertEqual(command[1:3], ["report", "--out"])
        self.assertEqual(command[3].name, "report-get-64x1.html")
        self.assertEqual([run.split("=")[0] for run in command[6:]], ["ringkeeper", "ringkeeper"])

    def test_one_server_alone_has_no_ratio(self):
        self.add_rounds(self.java, [10_000], 40, 1000)
        text = self.book.summary()
        self.assertNotIn("ratio", text)
        self.assertNotIn("Goals", text)

    def test_noise_is_named(self):
        self.book.add("table", self.java, 2, row(1, 1, 1, other_cores=0.9))
        self.assertIn("get 64x1 java round 2", self.book.summary())

    def test_restart_says_how_many_times_faster(self):
        for server, seconds in [(self.java, 6.0), (self.ours, 0.5)]:
            self.book.add("restart", server, 1, {"seconds": seconds, "resident_kib": 1})
        self.assertRegex(self.book.summary(), r"faster +x 12")

    def test_no_record_says_where_the_repository_lies(self):
        self.assertEqual(record.anywhere(f"--save {record.servers.REPOSITORY}/target/a.json"), "--save target/a.json")

    def test_storms_are_compared(self):
        for server, told, p99, back, expired in [(self.java, 3_000_000, 90_000, 8e6, 2), (self.ours, 500_000, 15_000, 2e6, 0)]:
            figures = {"storms": 3, "all_told_us": told, "one_told_us": told / 2, "bystander_p99_us": p99, "generator_cores": 0.5}
            self.book.add("watch-storm", server, 1, {**figures, "failure": None})
            figures = {"storms": 3, "all_back_us": back, "all_back_us_max": back, "expired": expired, "failure": None}
            self.book.add("reconnect-storm", server, 1, figures)
            figures = {"planned_rate": 1000, "snapshots": 4, "get_p50_us": 100, "get_p99.9_us": told / 1000, "set_p50_us": 100}
            self.book.add("snapshot-tail", server, 1, {**figures, "set_p99.9_us": 900})
        text = self.book.summary()
        self.assertRegex(text, r"p99 of others, ms +at most 20.0 +15.0 +met")
        self.assertRegex(text, r"times faster +at least x 5 +x 6 +met")
        self.assertRegex(text, r"java +8.00 +8.00 +2 +0 of 1\n")
        self.assertRegex(text, r"times faster +at least x 3 +x 4 +met")
        self.assertRegex(text, r"p99.9 / p50 of get +at most 8 +5.0 +met")
        self.assertRegex(text, r"p99.9 / p50 of set +at most 8 +9.0 +MISSED")

    def test_what_was_measured_is_on_disk_before_the_end(self):
        self.add_rounds(self.java, [10_000], 40, 1000)
        self.assertIn('"rate": 10000', (self.book.folder / "raw.jsonl").read_text())
        self.book.close()
        self.assertIn("some runtime", (self.book.folder / "README.md").read_text())


if __name__ == "__main__":
    unittest.main()
