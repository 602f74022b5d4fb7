"""kazoo's reconfig, for src/testing/ensemble/reconfig/kazoo.rs.

Usage: kazoo_reconfig.py (HOST:PORT SERVER-LINE)*4. The first three are an ensemble, the fourth may join. Prints DONE at the end.
"""

import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadArgumentsError, BadVersionError, ConnectionLoss, NewConfigNoQuorumError, NoAuthError, ReconfigInProcessError,
    SessionExpiredError,
)

HOSTS, LINES = sys.argv[1::2], sys.argv[2::2]
CONFIG = "/zookeeper/config"


def fails(kind, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except kind:
        return
    raise AssertionError(f"{call.__name__}{args} should raise {kind.__name__}, gave {result!r}")


def ask(zk, joining="", leaving="", new_members="", from_config=-1):
    """A server that is given another role ends its connections; then the question is put again."""
    for _ in range(100):
        try:
            return zk.reconfig(
                joining=joining or None, leaving=leaving or None, new_members=new_members or None,
                from_config=from_config)
        except (ConnectionLoss, ReconfigInProcessError, NewConfigNoQuorumError, SessionExpiredError):
            time.sleep(0.1)
    raise AssertionError("never done")


def version(text):
    return int(text.decode().rsplit("version=", 1)[1], 16)


def members(text):
    return sorted(line for line in text.decode().splitlines() if line.startswith("server."))


def main():
    zk = KazooClient(hosts=",".join(HOSTS), timeout=8)
    zk.start(30)
    fails(NoAuthError, zk.reconfig, joining=None, leaving="1", new_members=None)
    zk.add_auth("digest", "super:test")
    data, stat = zk.get(CONFIG)
    assert members(data) == sorted(LINES[:3]) and stat.version == -1, (data, stat)
    seen = []
    zk.DataWatch(CONFIG, lambda data, stat: seen.append(data))

    data, stat = ask(zk, joining=LINES[3])
    assert members(data) == sorted(LINES), data
    assert version(data) == stat.mzxid and stat.version == -1, (data, stat)
    fails(BadVersionError, zk.reconfig, joining=None, leaving="4", new_members=None, from_config=version(data) - 1)
    fails(BadArgumentsError, zk.reconfig, joining="server.9=nonsense", leaving=None, new_members=None)
    nobody = "server.8=127.0.0.1:1:2;3,server.9=127.0.0.1:4:5;6"
    fails(NewConfigNoQuorumError, zk.reconfig, joining=None, leaving=None, new_members=nobody)

    data, _ = ask(zk, leaving="4", from_config=version(data))
    assert members(data) == sorted(LINES[:3]), data
    observer = LINES[0].replace(":participant;", ":observer;")
    data, _ = ask(zk, joining=observer)
    assert members(data) == sorted([observer] + LINES[1:3]), data
    data, _ = ask(zk, new_members=",".join(LINES))
    assert members(data) == sorted(LINES), data
    zk.sync("/")
    assert zk.get(CONFIG)[0] == data
    for _ in range(100):
        if seen[-1] == data:
            break
        time.sleep(0.1)
    assert seen[-1] == data and len(seen) > 2, seen
    zk.create("/after", b"")
    zk.stop()
    zk.close()
    print("DONE")


main()
