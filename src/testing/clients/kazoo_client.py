"""All that kazoo can ask of a server, for src/testing/clients.rs.

Usage: kazoo_client.py HOST:PORT. Prints CUT when it wants its connections cut, DONE at the end.
"""

import queue
import sys

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError, InvalidACLError, NoAuthError, NoChildrenForEphemeralsError, NodeExistsError, NoNodeError,
    NotEmptyError, RolledBackError, RuntimeInconsistency,
)
from kazoo.security import make_acl, make_digest_acl


def fails(kind, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except kind:
        return
    raise AssertionError(f"{call.__name__}{args} should raise {kind.__name__}, gave {result!r}")


def nodes(zk):
    path, stat = zk.create("/k", b"one", include_data=True)
    assert (path, stat.version, stat.data_length, stat.ephemeralOwner) == ("/k", 0, 3, 0), stat
    assert zk.create("/k/e", b"", ephemeral=True) == "/k/e"
    assert zk.create("/k/s-", b"", sequence=True) == "/k/s-0000000001"
    assert zk.create("/k/es-", b"", ephemeral=True, sequence=True) == "/k/es-0000000002"
    assert zk.create("/k/deep/er/path", b"", makepath=True) == "/k/deep/er/path"
    fails(NodeExistsError, zk.create, "/k", b"")
    fails(NoNodeError, zk.create, "/missing/child", b"")
    fails(NoChildrenForEphemeralsError, zk.create, "/k/e/child", b"")

    data, stat = zk.get("/k")
    assert data == b"one" and stat.numChildren == 4 and stat.cversion == 4, stat
    assert zk.set("/k", b"two!", version=0).version == 1
    fails(BadVersionError, zk.set, "/k", b"", version=0)
    assert zk.get("/k")[0] == b"two!"
    assert zk.exists("/missing") is None and zk.exists("/k").dataLength == 4
    assert sorted(zk.get_children("/k")) == ["deep", "e", "es-0000000002", "s-0000000001"]
    names, stat = zk.get_children("/k", include_data=True)
    assert len(names) == stat.numChildren == 4
    assert zk.get("/k/e")[1].ephemeralOwner == zk.client_id[0]
    assert zk.sync("/k") == "/k"

    zk.create("/k/big", bytes(1_000_000))
    assert len(zk.get("/k/big")[0]) == 1_000_000
    fails(NotEmptyError, zk.delete, "/k")
    fails(BadVersionError, zk.delete, "/k/big", version=7)
    zk.delete("/k/big", version=0)
    fails(NoNodeError, zk.delete, "/k/big")
    zk.delete("/k/deep", recursive=True)


def acls(zk, hosts):
    zk.create("/k/locked", b"secret", acl=[make_digest_acl("joe", "pass", all=True), make_acl("ip", "127.0.0.1", read=True)])
    fails(NoAuthError, zk.set, "/k/locked", b"")
    assert zk.get("/k/locked")[0] == b"secret"
    zk.add_auth("digest", "joe:pass")
    zk.set("/k/locked", b"opened")
    acl, stat = zk.get_acls("/k/locked")
    assert len(acl) == 2 and acl[0].id.scheme == "digest" and stat.aversion == 0, acl
    zk.set_acls("/k/locked", [make_digest_acl("joe", "pass", read=True, admin=True)], version=0)
    fails(NoAuthError, zk.set, "/k/locked", b"")
    fails(InvalidACLError, zk.set_acls, "/k/locked", [make_acl("nonsense", "x", all=True)])

    stranger = KazooClient(hosts)
    stranger.start()
    fails(NoAuthError, stranger.get, "/k/locked")
    stranger.stop()
    stranger.close()


def transactions(zk):
    good = zk.transaction()
    good.check("/k", 1)
    good.create("/k/t", b"t")
    good.set_data("/k/t", b"u")
    good.create("/k/ts-", b"", sequence=True)
    good.delete("/k/s-0000000001")
    results = good.commit()
    # deep, big and locked were created in between.
    assert results[0] is True and results[1] == "/k/t" and results[2].version == 1, results
    assert results[3].startswith("/k/ts-00000000") and results[4] is True, results
    bad = zk.transaction()
    bad.create("/k/never", b"")
    bad.check("/k", 77)
    bad.delete("/k/t")
    assert [type(r) for r in bad.commit()] == [RolledBackError, BadVersionError, RuntimeInconsistency]
    assert zk.exists("/k/never") is None and zk.get("/k/t")[0] == b"u"


def watches(zk, hosts):
    events = queue.Queue()
    other = KazooClient(hosts)
    other.start()

    def expect(kind, path):
        event = events.get(timeout=10)
        assert (event.type, event.path) == (kind, path), event

    assert zk.exists("/w", watch=events.put) is None
    other.create("/w", b"")
    expect("CREATED", "/w")
    zk.get("/w", watch=events.put)
    other.set("/w", b"x")
    expect("CHANGED", "/w")
    zk.get_children("/w", watch=events.put)
    other.create("/w/c", b"")
    expect("CHILD", "/w")
    zk.get("/w/c", watch=events.put)
    other.delete("/w/c")
    expect("DELETED", "/w/c")
    other.set("/w", b"y")
    zk.sync("/w")
    assert events.empty(), "a one-shot watch fired twice"
    other.stop()
    other.close()


def reattach(zk, hosts):
    states = queue.Queue()
    zk.add_listener(states.put)
    session = zk.client_id
    events = queue.Queue()
    zk.get("/w", watch=events.put)
    print("CUT", flush=True)
    assert states.get(timeout=10) == KazooState.SUSPENDED
    assert states.get(timeout=20) == KazooState.CONNECTED
    assert zk.client_id == session, "a new session instead of the old one"
    assert zk.exists("/k/e").ephemeralOwner == session[0], "the ephemeral node is gone"
    # kazoo does not set watches again; it reports them lost with the connection.
    assert zk.get("/w", watch=events.put)[0] == b"y"
    other = KazooClient(hosts)
    other.start()
    other.set("/w", b"z")
    while events.get(timeout=10).type != "CHANGED":
        pass
    zk.remove_listener(states.put)
    zk.stop()
    zk.close()
    assert other.exists("/k/e") is None, "closing the session leaves its ephemeral node"
    other.delete("/k", recursive=True) if other.add_auth("digest", "joe:pass") else None
    other.stop()
    other.close()


def main():
    hosts = sys.argv[1]
    zk = KazooClient(hosts, timeout=8)
    zk.start()
    assert zk.server_version()[:2] == (3, 9), zk.server_version()
    assert zk.command(b"ruok") == "imok"
    nodes(zk)
    transactions(zk)
    acls(zk, hosts)
    watches(zk, hosts)
    reattach(zk, hosts)
    print("DONE", flush=True)


main()
