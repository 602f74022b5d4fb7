"""The recipes of kazoo as they come, for src/testing/recipes.rs: two participants in one process, each with a session of its
own, take part in all of them at once until stdin says so.

Usage: kazoo_recipes.py HOSTS PROCESS PARTICIPANT,...   (all participants of all processes; ours begin with PROCESS)

Who leads or holds a lock writes into /ledger, and every entry is one transaction with a check that the znode it leads or locks by
is still there: that is the fence. The test reads the ledger and judges. What this program knows goes to stdout, one fact a line:
  ACK path                     a ledger entry was acknowledged
  INCREMENTED n, PUT queue item, TOOK queue item, ... see `facts`
stdin: "quiet" ends what directs the others, up to QUIET; "stop" ends the work and has the facts printed, up to READY; "quit"
closes the sessions, and DONE is the last line.
"""

import logging
import queue
import sys
import threading
import time
import traceback

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError, RolledBackError
from kazoo.retry import KazooRetry

# Lost connections are what this is about; they are counted, not told.
logging.getLogger("kazoo").setLevel(logging.CRITICAL)

SESSION_S = 4
PACE_S = 0.02
quiet, over = threading.Event(), threading.Event()
lines = queue.Queue()


def fact(*words):
    lines.put(" ".join(str(word) for word in words))


class Participant:
    def __init__(self, hosts, name, everybody):
        self.name, self.everybody = name, everybody
        for_ever = KazooRetry(max_tries=-1, delay=0.02, backoff=2, max_delay=0.5)
        self.zk = KazooClient(hosts, timeout=SESSION_S, connection_retry=for_ever.copy(), command_retry=for_ever.copy())
        self.suspended, self.lost, self.fenced, self.failed = 0, 0, 0, 0
        self.zk.add_listener(self.hear)
        self.zk.start(timeout=30)
        self.threads, self.directors = [], []

    def hear(self, state):
        self.suspended += state == KazooState.SUSPENDED
        self.lost += state == KazooState.LOST

    def work(self, jobs, until, threads):
        for job in jobs:
            thread = threading.Thread(target=self.again_and_again, args=(job, until), name=f"{self.name}.{job.__name__}", daemon=True)
            thread.start()
            threads.append(thread)

    def again_and_again(self, job, until):
        state = {}
        while not until.is_set():
            try:
                job(state)
            except KazooException:
                # A call that the library does not repeat, or a session that has ended: the next turn begins afresh.
                self.failed += 1
                state.clear()
            except Exception:
                fact("BROKEN", traceback.format_exc().replace("\n", " | "))
                return
            time.sleep(PACE_S)

    # One leader, one holder.

    def witness(self, recipe, node):
        """Writes into the ledger, twice, that this contender is the one. The service refuses if its znode is gone."""
        stat = self.zk.retry(self.zk.exists, node)
        for _ in range(2):
            if stat is None:
                self.fenced += 1
                return
            entry = self.zk.transaction()
            entry.check(node, 0)
            entry.create(f"/ledger/{recipe}/w-", f"{self.name} {stat.czxid}".encode(), sequence=True)
            checked, written = self.zk.retry(entry_commit, entry)
            if isinstance(written, str):
                fact("ACK", written)
            elif isinstance(checked, NoNodeError):
                self.fenced += 1
                return
            else:
                raise AssertionError(f"the ledger was answered {checked!r}, {written!r}")
            time.sleep(0.002)

    def lock(self, _):
        lock = self.zk.Lock("/recipes/lock", self.name)
        with lock:
            self.witness("lock", f"{lock.path}/{lock.node}")

    def election(self, _):
        election = self.zk.Election("/recipes/election", self.name)
        election.run(lambda: self.witness("election", f"{election.lock.path}/{election.lock.node}"))

    # Numbers.

    def counter(self, state):
        counter = state.setdefault("counter", self.zk.Counter("/recipes/counter"))
        counter += 1
        fact("INCREMENTED", 1)

    # Membership.

    def party(self, state):
        if state.get("lost") != self.lost:
            state["lost"] = self.lost
            self.member = self.zk.Party("/recipes/party", self.name)
            self.member.join()
        if "watch" not in state:
            state["watch"] = True
            self.zk.ensure_path("/recipes/party")
            self.zk.ChildrenWatch("/recipes/party", self.see_members)
        time.sleep(0.2)

    def see_members(self, names):
        self.members_seen = len(names)

    # Configuration.

    def watch_config(self, state):
        if "news" not in state:
            news = state["news"] = queue.Queue()
            self.zk.DataWatch("/config", lambda data, stat: news.put(int(data)))
        try:
            value = state["news"].get(timeout=0.2)
        except queue.Empty:
            return
        if value < getattr(self, "config", 0):
            fact("BACKWARDS", self.name, value, self.config)
        self.config = value
        self.zk.retry(self.zk.set, f"/seen/{self.name}", str(value).encode())

    def push_config(self, state):
        """One value after the other, each as soon as everybody has seen the one before."""
        value = state["value"] = state["value"] + 1 if "value" in state else int(self.zk.retry(self.zk.get, "/config")[0]) + 1
        self.zk.retry(self.zk.set, "/config", str(value).encode())
        told = lambda: all(int(self.zk.retry(self.zk.get, f"/seen/{name}")[0]) >= value for name in self.everybody)
        while not told():
            time.sleep(PACE_S)
        fact("TOLD", value)

    # Waiting for each other.

    def keep_barrier(self, state):
        round_ = state["round"] = state["round"] + 1 if "round" in state else self.next_round()
        entered = lambda: len([n for n in self.barrier_ledger() if n.startswith(f"waits-{round_:06}-")])
        passed = lambda: len([n for n in self.barrier_ledger() if n.startswith(f"passed-{round_:06}-")])
        barrier = self.zk.Barrier(f"/recipes/barrier-{round_:06}")
        self.zk.retry(barrier.create)
        self.once(f"/ledger/barrier/begun-{round_:06}")
        while entered() < len(self.everybody):
            time.sleep(PACE_S)
        self.once(f"/ledger/barrier/opened-{round_:06}")
        self.zk.retry(barrier.remove)
        while passed() < len(self.everybody):
            time.sleep(PACE_S)

    def next_round(self):
        rounds = [int(name[6:]) for name in self.barrier_ledger() if name.startswith("begun-")]
        return max(rounds, default=0) + 1

    def barrier_ledger(self):
        return self.zk.retry(self.zk.get_children, "/ledger/barrier")

    def once(self, path):
        try:
            self.zk.retry(self.zk.create, path, b"")
        except NodeExistsError:
            pass

    def wait_at_barrier(self, _):
        rounds = [name[6:] for name in self.barrier_ledger() if name.startswith("begun-")]
        for round_ in sorted(rounds)[-1:]:
            if f"passed-{round_}-{self.name}" in self.barrier_ledger():
                return
            self.once(f"/ledger/barrier/waits-{round_}-{self.name}")
            barrier = self.zk.Barrier(f"/recipes/barrier-{round_}")
            # The recipe's watch is gone with the connection, hence the limit.
            while not barrier.wait(timeout=1) and not over.is_set():
                pass
            if not over.is_set():
                self.once(f"/ledger/barrier/passed-{round_}-{self.name}")

    # Work to hand out.

    def put(self, state):
        state["n"] = state.get("n", 0) + 1
        for kind in ("Queue", "LockingQueue"):
            item = f"{self.name}-{time.monotonic_ns()}"
            try:
                getattr(self.zk, kind)(f"/recipes/{kind}").put(item.encode())
            except KazooException:
                # May be there or not.
                continue
            fact("PUT", kind, item)
        time.sleep(0.1)

    def take(self, _):
        item = self.zk.Queue("/recipes/Queue").get()
        if item is not None:
            fact("TOOK", "Queue", item.decode())

    def take_locked(self, state):
        waiting = state.setdefault("queue", self.zk.LockingQueue("/recipes/LockingQueue"))
        item = waiting.get(timeout=1)
        if item is None:
            return
        try:
            consumed = waiting.consume()
        except KazooException:
            fact("PERHAPS", "LockingQueue", item.decode())
            raise
        if consumed:
            fact("TOOK", "LockingQueue", item.decode())
        else:
            state.clear()

    def facts(self):
        """What can be said when the work is over and the ensemble whole."""
        zk = self.zk
        zk.retry(zk.sync, "/")
        fact("PARTY", ",".join(sorted(self.member)), self.members_seen)
        stat = zk.retry(zk.exists, self.member.create_path)
        fact("MEMBER", self.name, self.member.create_path, zk.client_id[0], stat.ephemeralOwner if stat else 0)
        fact("SESSION", self.name, self.suspended, self.lost, self.fenced, self.failed)


def join(threads):
    for thread in threads:
        thread.join(timeout=30)
        if thread.is_alive():
            stack = traceback.format_stack(sys._current_frames()[thread.ident])
            fact("STUCK", thread.name, " | ".join(stack).replace("\n", " "))


def entry_commit(entry):
    """Committing again what may have been committed: the ledger then has the same entry twice, which is no harm."""
    entry.committed = False
    return entry.commit()


def main():
    hosts, process, everybody = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
    ours = [Participant(hosts, name, everybody) for name in everybody if name.startswith(process)]
    jobs = ["lock", "election", "counter", "party", "watch_config", "wait_at_barrier", "put", "take", "take_locked"]
    for one in ours:
        for path, value in [("/config", b"0"), *((f"/seen/{name}", b"0") for name in everybody)]:
            try:
                one.zk.create(path, value, makepath=True)
            except NodeExistsError:
                pass
        for recipe in ("lock", "election", "barrier"):
            one.zk.ensure_path(f"/ledger/{recipe}")
        one.work([getattr(one, job) for job in jobs], over, one.threads)
        # Those who direct the others are in one process.
        if one.name == everybody[0]:
            one.work([one.push_config, one.keep_barrier], quiet, one.directors)
    print("BEGUN", flush=True)
    for line in sys.stdin:
        if line.strip() == "quiet":
            quiet.set()
            join(thread for one in ours for thread in one.directors)
            print("QUIET", flush=True)
        if line.strip() == "stop":
            over.set()
            join(thread for one in ours for thread in one.threads)
            for one in ours:
                one.facts()
            while not lines.empty():
                print(lines.get())
            print("READY", flush=True)
        if line.strip() == "quit":
            for one in ours:
                one.zk.stop()
                one.zk.close()
            print("DONE", flush=True)
            return


main()
