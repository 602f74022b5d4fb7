"""Ensembles of a contender on loopback: configured alike, started on directories below one folder, asked who leads.

Members are `servers.Running` processes, known by pid and stopped by it. An ensemble of two out of three configured members
serves; the third may be started later, on an empty directory, by `join`.
"""

import os
import random
import re
import shutil
import socket
import time
from pathlib import Path

from . import servers
from .servers import Stop

MEMBERS = (1, 2, 3)
LEADER_SECONDS_MAX = 30
# A snapshot is done when its file has not changed for so long.
SNAPSHOT_REST_SECONDS = 1.5
SNAPSHOT_SECONDS_MAX = 120
# Members wait for each other with an open client port. Java writes a stack trace for each client it turns away meanwhile,
# which must not become what is measured.
RETRY_SECONDS = 0.02
SETTINGS = {"initLimit": 10, "syncLimit": 5}
# Below the range that Linux takes the ports of outgoing connections from: a client that reconnects in a storm must not
# be given the port that a member is about to listen on.
PORTS = range(12_000, 32_000)


class Ensemble:
    def __init__(self, server, data=None, started=MEMBERS):
        """`data`: a data directory that each of the started members gets a copy of."""
        self.server, self.members = server, {}
        self.folder = server.fresh_data()
        ports = iter(free_ports(3 * len(MEMBERS)))
        self.ports = {member: next(ports) for member in MEMBERS}
        self.peers = {f"server.{member}": f"127.0.0.1:{next(ports)}:{next(ports)}" for member in MEMBERS}
        for member in MEMBERS:
            data_folder = self.folder / str(member) / "data"
            if data is not None and member in started:
                shutil.copytree(data, data_folder)
            else:
                data_folder.mkdir(parents=True)
            (data_folder / "myid").write_text(f"{member}\n")
        os.sync()
        for member in started:
            self.launch(member)
        for member in started:
            self.members[member].wait_for_reply(retry_seconds=RETRY_SECONDS)

    def launch(self, member):
        running = self.server.launch(self.folder / str(member), self.ports[member], **SETTINGS, **self.peers)
        self.members[member] = running
        return running

    def wait_until_snapshots_rest(self):
        """A server that starts writes a snapshot of what it found, perhaps while it serves already: no part of what follows."""
        give_up_at = time.monotonic() + SNAPSHOT_SECONDS_MAX
        seen, rests_since = None, time.monotonic()
        while time.monotonic() - rests_since < SNAPSHOT_REST_SECONDS:
            if time.monotonic() > give_up_at:
                raise Stop(f"{self.server.name}: still writing snapshots after {SNAPSHOT_SECONDS_MAX} s")
            files = [path for member in self.members for path in self.folder.glob(f"{member}/data/version-2/snapshot.*")]
            sizes = {path: size(path) for path in files}
            if sizes != seen:
                seen, rests_since = sizes, time.monotonic()
            time.sleep(0.1)

    def address(self, member):
        return f"127.0.0.1:{self.ports[member]}"

    def addresses(self):
        return [self.address(member) for member in sorted(self.members)]

    def leader(self):
        """The member that says that it leads. There is none for a moment after the start of a client port."""
        give_up_at = time.monotonic() + LEADER_SECONDS_MAX
        while time.monotonic() < give_up_at:
            leading = [member for member in self.members if mode(self.ports[member]) == "leader"]
            if len(leading) == 1:
                return leading[0]
            time.sleep(0.05)
        tails = "\n".join(running.log_tail() for running in self.members.values())
        raise Stop(f"{self.server.name}: no leader after {LEADER_SECONDS_MAX} s:\n{tails}")

    def follower(self):
        leader = self.leader()
        return next(member for member in sorted(self.members) if member != leader)

    def cpu_seconds(self):
        return sum(process_cpu_seconds(running) for running in self.members.values())

    def resident_kib(self):
        return [running.memory_kib() for _, running in sorted(self.members.items())]

    def kill(self, member):
        """kill -9. Returns the moment (time.monotonic) before the signal was sent."""
        moment = time.monotonic()
        self.members.pop(member).kill()
        return moment

    def stop(self):
        for member in list(self.members):
            self.members.pop(member).stop()


class Floors(Ensemble):
    """Three floors. Reads are spread over all, as over an ensemble; writes go to the first, which answers when two of three logs
    have them on disk: the least that an ensemble must do."""

    def __init__(self, server):
        self.server, self.members = server, {}
        self.folder = server.fresh_data()
        ports = free_ports(2 * len(MEMBERS) - 1)
        self.ports = dict(zip(MEMBERS, ports))
        leader, *others = MEMBERS
        copy_ports = dict(zip(others, ports[len(MEMBERS) :]))
        os.sync()
        for member in others:
            self.launch(member, copy_port=copy_ports[member])
        self.launch(leader, copies=copy_ports.values())
        for running in self.members.values():
            running.wait_for_reply(retry_seconds=RETRY_SECONDS)

    def launch(self, member, **how):
        (self.folder / str(member) / "data").mkdir(parents=True)
        self.members[member] = self.server.launch(self.folder / str(member), self.ports[member], **how)

    def leader(self):
        return MEMBERS[0]

    def follower(self):
        return MEMBERS[0]


def size(path):
    """None for a file that has got another name meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def free_ports(count):
    """Ports that nobody listens on. All are held until the last is found, so that they differ."""
    probes = []
    try:
        for port in random.sample(PORTS, len(PORTS)):
            probe = socket.socket()
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                probe.close()
                continue
            probes.append(probe)
            if len(probes) == count:
                return [probe.getsockname()[1] for probe in probes]
        raise Stop(f"fewer than {count} free ports between {PORTS.start} and {PORTS.stop}")
    finally:
        for probe in probes:
            probe.close()


def mode(port):
    """What `srvr` says after `Mode:`, or None when the server does not say."""
    try:
        told = servers.say(port, "srvr")
    except OSError:
        return None
    found = re.search(r"Mode: (\S+)", told)
    return found[1] if found else None


def process_cpu_seconds(running):
    """User and system time of all threads, those that ended included."""
    try:
        text = Path(f"/proc/{running.pid}/stat").read_text()
    except OSError:
        raise Stop(f"{running.name} ended unexpectedly:\n{running.log_tail()}") from None
    # The command's name may hold blanks and parentheses: fields are counted from its last one.
    fields = text[text.rindex(")") + 1 :].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
