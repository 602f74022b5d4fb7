"""Gaps and the client that measures them, against a small server that can close connections and forget writes."""

import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from argparse import Namespace
from pathlib import Path
from unittest import mock

from side_by_side import ensemble_record, ensembles, machine, servers, steady_writes
from side_by_side.ensemble_measurements import gap_figures, longest_gap_ms
from side_by_side.test_record import Contender


class SmallServer:
    """Knows sessions, znodes and nothing else. One thread per connection."""

    def __init__(self, forgets=False):
        self.forgets, self.data, self.sessions, self.reattached = forgets, {}, 0, 0
        self.connections, self.writes = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        try:
            hello = servers.receive_frame(connection)
            (session,) = struct.unpack_from(">q", hello, 16)
            self.reattached += session != 0
            if session == 0:
                self.sessions += 1
                session = self.sessions
            welcome = struct.pack(">iiq", 0, 10_000, session) + steady_writes.text(bytes(16)) + b"\0"
            connection.sendall(servers.frame(welcome))
            while True:
                connection.sendall(servers.frame(self.answer(servers.receive_frame(connection))))
        except OSError:
            connection.close()

    def answer(self, request):
        xid, op = struct.unpack_from(">ii", request)
        body = b""
        if op in (steady_writes.OP_CREATE, steady_writes.OP_SET_DATA, steady_writes.OP_GET_DATA):
            (length,) = struct.unpack_from(">i", request, 8)
            path = request[12 : 12 + length]
        if op == steady_writes.OP_CREATE:
            self.data[path] = b"0"
        if op == steady_writes.OP_SET_DATA:
            (size,) = struct.unpack_from(">i", request, 12 + length)
            self.writes += 1
            if not self.forgets:
                self.data[path] = request[16 + length : 16 + length + size]
        if op == steady_writes.OP_GET_DATA:
            body = steady_writes.text(self.data[path])
        return struct.pack(">iqi", xid, self.writes, 0) + body

    def close_connections(self):
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def steady(server, meanwhile=lambda: None):
    """What steady_writes tells of a run against `server`."""
    command = [sys.executable, "-B", steady_writes.__file__, "--servers", server.address, "--connections", "4"]
    process = subprocess.Popen(
        [*command, "--rate", "400"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    said = process.stdout.readline()
    meanwhile()
    told, _ = process.communicate(timeout=30)
    server.listener.close()
    return said, json.loads(told)


class SteadyWritesTest(unittest.TestCase):
    def test_closed_connections_are_attached_again_with_their_sessions(self):
        server = SmallServer()

        def close_twice():
            for _ in range(2):
                server.close_connections()
                time.sleep(0.3)

        said, told = steady(server, close_twice)
        self.assertEqual(said, "steady\n")
        self.assertEqual((told["closed"], told["attached"]), (8, 12))
        # A handshake that was given up on a busy machine comes twice.
        self.assertGreaterEqual(server.reattached, 8)
        self.assertEqual((told["lost"], told["expired"], told["errors"]), (0, 0, {}))
        # Four sessions, and one each to create the znodes and to read them in the end.
        self.assertEqual(server.sessions, 6)
        self.assertGreater(len(told["acknowledged_at"]), 150)

    def test_a_server_that_forgets_is_found_out(self):
        _, told = steady(SmallServer(forgets=True))
        self.assertEqual(told["lost"], 4)


class GapTest(unittest.TestCase):
    def test_counts_from_the_last_acknowledgement_before(self):
        self.assertAlmostEqual(longest_gap_ms([0.9, 1.3, 1.4], 1.0, 1.5), 400)

    def test_an_open_gap_counts_to_the_end(self):
        self.assertAlmostEqual(longest_gap_ms([0.9, 1.0], 1.0, 3.0), 2000)
        self.assertAlmostEqual(longest_gap_ms([], 1.0, 3.0), 2000)

    def test_what_came_before_does_not_count(self):
        self.assertAlmostEqual(longest_gap_ms([0.0, 5.0, 5.01, 5.02], 5.0, 5.03), 10)

    def test_figures_tell_an_end_that_was_not_seen(self):
        told = {"acknowledged_at": [10.0, 10.1], "late": [[9.0, 70], [10.05, 7.5]], "lost": 0}
        figures = gap_figures(told, 10.0, 15.0)
        self.assertFalse(figures["recovered"])
        self.assertEqual((figures["client_late_ms"], figures["lost"]), (7.5, 0))
        self.assertNotIn("late", figures)


class PortsTest(unittest.TestCase):
    def test_all_differ(self):
        self.assertEqual(len(set(ensembles.free_ports(9))), 9)


class GapBookTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        sizes = {"znodes": 1000, "rate": 1000, "connections": 64, "retry_ms": 5}
        arguments = Namespace(output=Path(folder.name) / "run", host_label="test", **sizes)
        self.java, self.ours = Contender("java"), Contender("ringkeeper")
        with mock.patch.object(machine, "describe", return_value=[("processor", "test")]):
            self.book = ensemble_record.GapBook(arguments, [self.java, self.ours])
        self.addCleanup(self.book.raw.close)

    def add(self, test, server, gaps, **figures):
        calm = {"gap_ms_before": 1, "client_late_ms": 0, "recovered": True, "lost": 0, "expired": 0, "errors": {}}
        for number, gap in enumerate(gaps, 1):
            line = {**calm, "gap_ms": gap, "closed": 3, "leader": 2, "seconds": 1.0, **figures}
            self.book.add(test, server, number, line)

    def test_median_and_worst_have_goals_of_their_own(self):
        self.add("failover", self.java, [400, 600, 500])
        self.add("failover", self.ours, [40, 160, 30])
        text = self.book.summary()
        self.assertRegex(text, r"ratio +x 0.08")
        self.assertRegex(text, r"median gap, ms +at most 50 +40.0 +met")
        self.assertRegex(text, r"worst gap, ms +at most 150 +160.0 +MISSED")
        self.assertNotIn("Noise", text)

    def test_join_says_how_many_times_faster(self):
        self.add("join", self.java, [90], seconds=12.0)
        self.add("join", self.ours, [20], seconds=3.0)
        text = self.book.summary()
        self.assertRegex(text, r"faster +at least x 3 +x 4 +met")
        self.assertRegex(text, r"longest gap, ms +at most 50 +20.0 +met")

    def test_lost_writes_and_noise_are_named(self):
        self.add("failover", self.ours, [40], lost=2, client_late_ms=80, recovered=False)
        text = self.book.summary()
        self.assertIn("failover ringkeeper round 1: ACKNOWLEDGED WRITES LOST on 2 connections", text)
        self.assertIn("no write was acknowledged at the end", text)
        self.assertIn("the client itself was more than 15 ms late in failover ringkeeper round 1", text)


if __name__ == "__main__":
    unittest.main()
