"""A client that never lets up: writes on a fixed timetable, whatever happens to the servers, and when each was acknowledged.

A process of its own, so that whoever kills servers does not delay it:

    python3 steady_writes.py --servers 127.0.0.1:2181,127.0.0.1:2182 --connections 64 --rate 1000

It prints `steady` when every connection has had an acknowledgement, writes until its standard input closes, and then prints
one line of JSON: the moments (CLOCK_MONOTONIC) of all acknowledgements and of its own delays, and what happened to
connections and sessions.

Open loop: the k-th write is due at start + k/rate, on connection k mod n, in flight or not. A connection that a server closed
is attached again with its session, at the next server, then every --retry-ms at the one after, and repeats what was not
acknowledged. All of a connection's writes go to one znode and carry their number, so that in the end the znodes prove that
nothing acknowledged is lost.
"""

import argparse
import collections
import json
import resource
import select
import socket
import struct
import sys
import time

OP_CREATE, OP_GET_DATA, OP_SET_DATA, OP_SYNC, OP_CLOSE = 1, 4, 5, 9, -11
NODE_EXISTS = -110
SESSION_EXPIRED, SESSION_MOVED = -112, -118
OPEN_ACL = struct.pack(">ii", 1, 31) + struct.pack(">i", 5) + b"world" + struct.pack(">i", 6) + b"anyone"
SESSION_TIMEOUT_MS = 10_000
# Setting up and proving: plain blocking calls, which may be hit by an election too.
CALL_SECONDS_MAX = 30
RECEIVE_BYTES = 65_536
NUMBER_DIGITS = 12
# A write this long after it was due tells that this process was kept from running.
LATE_MS_MIN = 5


def text(value):
    return struct.pack(">i", len(value)) + value


def frame(payload):
    return struct.pack(">i", len(payload)) + payload


def handshake(last_zxid, session, password):
    head = struct.pack(">iqiq", 0, last_zxid, SESSION_TIMEOUT_MS, session)
    return frame(head + text(password) + b"\0")


def session_of(payload):
    """(session, password) of a ConnectResponse; session 0 when the server knows it no more."""
    timeout_ms, session = struct.unpack_from(">iq", payload, 4)
    (length,) = struct.unpack_from(">i", payload, 16)
    return (session if timeout_ms > 0 else 0), payload[20 : 20 + length]


def value_of(number, value_bytes):
    return f"{number:0{NUMBER_DIGITS}}".encode().ljust(value_bytes, b"x")


class Tally:
    def __init__(self):
        self.acknowledged_at, self.late = [], []
        self.closed = self.attempts = self.attached = self.expired = self.stalled_handshakes = 0
        self.handshake_seconds_max = 0.0
        self.errors = collections.Counter()


class Connection:
    """One session and its znode. `due` holds the numbers of writes not acknowledged; the first `sent` are in flight."""

    def __init__(self, index, options, poller, tally):
        self.index, self.options, self.poller, self.tally = index, options, poller, tally
        self.path = text(f"{options.path}/{index}".encode())
        self.due, self.sent, self.next_number, self.acknowledged = collections.deque(), 0, 1, 0
        self.session, self.password, self.last_zxid = 0, bytes(16), 0
        self.server = index
        self.socket, self.up = None, False
        self.next_attempt_at = self.give_up_at = 0.0
        self.received, self.unsent = b"", b""

    def due_now(self):
        self.due.append(self.next_number)
        self.next_number += 1
        if self.up:
            self.send_due()

    def send_due(self):
        frames = []
        while self.sent < len(self.due):
            number = self.due[self.sent]
            value = text(value_of(number, self.options.value_bytes))
            frames.append(frame(struct.pack(">ii", number, OP_SET_DATA) + self.path + value + struct.pack(">i", -1)))
            self.sent += 1
        self.send(b"".join(frames))

    def send(self, some):
        self.unsent += some
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :] if self.unsent else b""
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def tend(self, now):
        """What time alone brings about: another attempt, or the end of one."""
        if self.socket is None:
            if now >= self.next_attempt_at:
                self.attempt(now)
        elif not self.up and now >= self.give_up_at:
            self.tally.stalled_handshakes += 1
            self.close()
        elif self.unsent:
            self.send(b"")

    def attempt(self, now):
        self.tally.attempts += 1
        self.next_attempt_at = now + self.options.retry_ms / 1000
        self.give_up_at = now + self.options.handshake_ms / 1000
        self.received = self.unsent = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self.socket.connect_ex(self.options.addresses[self.server % len(self.options.addresses)])
        if error not in (0, 115):  # 115: EINPROGRESS
            return self.close()
        self.poller.register(self, select.EPOLLIN)
        self.send(handshake(self.last_zxid, self.session, self.password))

    def close(self):
        if self.socket is None:
            return
        self.poller.forget(self)
        self.socket.close()
        self.tally.closed += self.up
        self.socket, self.up, self.sent = None, False, 0
        # The next attempt goes to another server.
        self.server += 1

    def readable(self):
        try:
            some = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            some = b""
        if not some:
            return self.close()
        self.received += some
        now = time.monotonic()
        while self.socket is not None and len(self.received) >= 4:
            (length,) = struct.unpack_from(">i", self.received)
            if len(self.received) < 4 + length:
                return
            payload, self.received = self.received[4 : 4 + length], self.received[4 + length :]
            self.answered(payload, now) if self.up else self.welcomed(payload, now)

    def welcomed(self, payload, now):
        session, password = session_of(payload)
        if session == 0:
            self.tally.expired += 1
            self.session, self.password = 0, bytes(16)
            return self.close()
        self.session, self.password, self.up = session, password, True
        self.tally.attached += 1
        taken = now - (self.give_up_at - self.options.handshake_ms / 1000)
        self.tally.handshake_seconds_max = max(self.tally.handshake_seconds_max, taken)
        self.send_due()

    def answered(self, payload, now):
        number, zxid, error = struct.unpack_from(">iqi", payload)
        if number < 0:
            return
        self.last_zxid = max(self.last_zxid, zxid)
        if not self.due or number != self.due[0]:
            raise SystemExit(f"steady_writes: connection {self.index} was answered {number}, not {list(self.due)[:1]}")
        if error == 0:
            self.due.popleft()
            self.sent -= 1
            self.acknowledged = number
            self.tally.acknowledged_at.append(now)
        else:
            # Not done, to be repeated; where the server would rather be rid of us, elsewhere.
            self.tally.errors[error] += 1
            if error == SESSION_EXPIRED:
                self.session, self.password = 0, bytes(16)
            self.close()


class Poller:
    def __init__(self):
        self.epoll, self.known = select.epoll(), {}

    def register(self, owner, events):
        self.known[owner.socket.fileno()] = owner
        self.epoll.register(owner.socket.fileno(), events)

    def forget(self, owner):
        if self.known.pop(owner.socket.fileno(), None) is not None:
            self.epoll.unregister(owner.socket.fileno())

    def wait(self, seconds):
        return [(descriptor, self.known.get(descriptor)) for descriptor, _ in self.epoll.poll(max(seconds, 0))]


def write_until_told(options, connections, poller, tally):
    """The loop. Returns the number of writes that were due."""
    poller.epoll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
    start, planned, steady = time.monotonic(), 0, False
    while True:
        now = time.monotonic()
        late_ms = (now - start - planned / options.rate) * 1000
        if late_ms >= LATE_MS_MIN:
            tally.late.append([round(now, 5), round(late_ms, 1)])
        while start + planned / options.rate <= now:
            connections[planned % len(connections)].due_now()
            planned += 1
        for connection in connections:
            if not connection.up or connection.unsent:
                connection.tend(now)
        if not steady and all(connection.acknowledged for connection in connections):
            steady = True
            print("steady", flush=True)
        for descriptor, owner in poller.wait(start + planned / options.rate - time.monotonic()):
            if descriptor == sys.stdin.fileno():
                return planned
            if owner is not None:
                owner.readable()


class Caller:
    """One session, one request at a time, for what is not timed."""

    def __init__(self, addresses):
        give_up_at = time.monotonic() + CALL_SECONDS_MAX
        for turn in range(1_000_000):
            try:
                self.socket = socket.create_connection(addresses[turn % len(addresses)], timeout=CALL_SECONDS_MAX)
                self.socket.sendall(handshake(0, 0, bytes(16)))
                session, _ = session_of(self.receive())
                if session:
                    return
            except OSError as error:
                if time.monotonic() > give_up_at:
                    raise SystemExit(f"steady_writes: no server takes a session: {error}") from None
            time.sleep(0.02)

    def receive(self):
        def exactly(length):
            got = b""
            while len(got) < length:
                some = self.socket.recv(length - len(got))
                if not some:
                    raise ConnectionError("closed")
                got += some
            return got

        (length,) = struct.unpack(">i", exactly(4))
        return exactly(length)

    def call(self, op, body):
        """(error, rest of the reply)"""
        self.socket.sendall(frame(struct.pack(">ii", 1, op) + body))
        payload = self.receive()
        return struct.unpack_from(">i", payload, 12)[0], payload[16:]

    def create(self, path):
        error, _ = self.call(OP_CREATE, text(path.encode()) + text(b"0") + OPEN_ACL + struct.pack(">i", 0))
        if error not in (0, NODE_EXISTS):
            raise SystemExit(f"steady_writes: create {path} failed with {error}")

    def number_at(self, path):
        error, rest = self.call(OP_GET_DATA, text(path.encode()) + b"\0")
        if error != 0:
            raise SystemExit(f"steady_writes: getData {path} failed with {error}")
        (length,) = struct.unpack_from(">i", rest)
        return int(rest[4 : 4 + min(length, NUMBER_DIGITS)])

    def close(self):
        self.call(OP_CLOSE, b"")
        self.socket.close()


def lost_writes(options, connections):
    """How many connections' last acknowledged write is not in the tree."""
    caller = Caller(options.addresses)
    caller.call(OP_SYNC, text(options.path.encode()))
    lost = 0
    for connection in connections:
        number = caller.number_at(f"{options.path}/{connection.index}")
        lost += not connection.acknowledged <= number < connection.next_number
    caller.close()
    return lost


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", required=True, help="host:port[,host:port...]")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--retry-ms", type=float, default=5)
    # A server that takes a connection and says nothing on it is left for the next one.
    parser.add_argument("--handshake-ms", type=float, default=250)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--path", default="/steady")
    options = parser.parse_args()
    named = [address.rsplit(":", 1) for address in options.servers.split(",")]
    options.addresses = [(host, int(port)) for host, port in named]
    return options


def main():
    options = parse_options()
    caller = Caller(options.addresses)
    caller.create(options.path)
    for index in range(options.connections):
        caller.create(f"{options.path}/{index}")
    caller.close()
    poller, tally = Poller(), Tally()
    connections = [Connection(index, options, poller, tally) for index in range(options.connections)]
    planned = write_until_told(options, connections, poller, tally)
    closed = tally.closed
    for connection in connections:
        connection.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "planned": planned,
        "closed": closed,
        "attempts": tally.attempts,
        "attached": tally.attached,
        "stalled_handshakes": tally.stalled_handshakes,
        "handshake_ms_max": round(tally.handshake_seconds_max * 1000, 1),
        "expired": tally.expired,
        "errors": dict(tally.errors),
        "client_cpu_seconds": used.ru_utime + used.ru_stime,
        "lost": lost_writes(options, connections),
        "late": tally.late,
        "acknowledged_at": [round(moment, 5) for moment in tally.acknowledged_at],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
