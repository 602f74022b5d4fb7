// The recipes of Curator as they come, for src/testing/recipes.rs: two participants in one process, each with a session of its
// own, take part in all of them at once until stdin says so. The same language as kazoo_recipes.py, whose first lines explain it.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

public final class CuratorRecipes {
    private static final int SESSION_MS = 4000;
    private static final int PACE_MS = 20;
    private static final CountDownLatch QUIET = new CountDownLatch(1);
    private static final CountDownLatch OVER = new CountDownLatch(1);
    private static final ConcurrentLinkedQueue<String> LINES = new ConcurrentLinkedQueue<>();

    private static void fact(Object... words) {
        List<String> texts = new ArrayList<>();
        for (Object word : words) {
            texts.add(String.valueOf(word));
        }
        LINES.add(String.join(" ", texts));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private interface Job {
        void turn() throws Exception;
    }

    private static final class Participant {
        final String name;
        final List<String> everybody;
        final CuratorFramework client;
        final AtomicInteger suspended = new AtomicInteger();
        final AtomicInteger lost = new AtomicInteger();
        final AtomicInteger fenced = new AtomicInteger();
        final AtomicInteger failed = new AtomicInteger();
        final List<Thread> threads = new ArrayList<>();
        final List<Thread> directors = new ArrayList<>();
        GroupMember member;
        LeaderSelector selector;
        PathChildrenCache children;
        CuratorCache cache;
        SharedCount shared;
        volatile int config = -1;
        int pushed = -1;

        Participant(String hosts, String name, List<String> everybody) {
            this.name = name;
            this.everybody = everybody;
            client = CuratorFrameworkFactory.newClient(hosts, SESSION_MS, 3000, new RetryForever(50));
            client.getConnectionStateListenable().addListener((c, state) -> {
                if (state == ConnectionState.SUSPENDED) {
                    suspended.incrementAndGet();
                } else if (state == ConnectionState.LOST) {
                    lost.incrementAndGet();
                }
            });
            client.start();
        }

        void begin() throws Exception {
            once("/ledger/lock", "");
            once("/ledger/latch", "");
            once("/ledger/selector", "");
            once("/config", "0");
            for (String one : everybody) {
                once("/seen/" + one, "0");
            }
            member = new GroupMember(client, "/recipes/group", name, bytes(name));
            member.start();
            children = new PathChildrenCache(client, "/recipes/group", true);
            children.start();
            shared = new SharedCount(client, "/recipes/shared", 0);
            shared.start();
            cache = CuratorCache.build(client, "/config", CuratorCache.Options.SINGLE_NODE_CACHE);
            cache.listenable().addListener(CuratorCacheListener.builder()
                .forAll((type, old, now) -> {
                    if (now != null) {
                        seeConfig(Integer.parseInt(new String(now.getData(), StandardCharsets.UTF_8)));
                    }
                }).build());
            cache.start();
            selector = new LeaderSelector(client, "/recipes/selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework c) throws Exception {
                    witness("selector", "/recipes/selector", () -> selector.hasLeadership());
                    Thread.sleep(PACE_MS);
                }
            });
            selector.autoRequeue();
            selector.start();
            work("lock", this::lock, OVER, threads);
            work("latch", this::latch, OVER, threads);
            work("counter", this::count, OVER, threads);
            work("shared", this::share, OVER, threads);
            work("seen", this::acknowledge, OVER, threads);
        }

        void seeConfig(int value) {
            if (value < config) {
                fact("BACKWARDS", name, value, config);
            }
            config = value;
        }

        void once(String path, String value) throws Exception {
            try {
                client.create().creatingParentsIfNeeded().forPath(path, bytes(value));
            } catch (KeeperException.NodeExistsException e) {
                // Another participant was first.
            }
        }

        void work(String what, Job job, CountDownLatch until, List<Thread> list) {
            Thread thread = new Thread(() -> {
                while (until.getCount() > 0) {
                    try {
                        job.turn();
                    } catch (KeeperException e) {
                        failed.incrementAndGet();
                    } catch (IllegalMonitorStateException e) {
                        failed.incrementAndGet();
                    } catch (Exception e) {
                        fact("BROKEN", name, what, e, List.of(e.getStackTrace()));
                        return;
                    }
                    try {
                        Thread.sleep(PACE_MS);
                    } catch (InterruptedException e) {
                        return;
                    }
                }
            }, name + "." + what);
            thread.setDaemon(true);
            thread.start();
            list.add(thread);
        }

        // One leader, one holder.

        /** Our oldest contender below the recipe's path: that is what we lead or hold the lock by. */
        String contender(String path) throws Exception {
            long session = client.getZookeeperClient().getZooKeeper().getSessionId();
            String oldest = null;
            long czxid = Long.MAX_VALUE;
            for (String child : client.getChildren().forPath(path)) {
                Stat stat = client.checkExists().forPath(path + "/" + child);
                if (stat != null && stat.getEphemeralOwner() == session && stat.getCzxid() < czxid) {
                    oldest = path + "/" + child;
                    czxid = stat.getCzxid();
                }
            }
            return oldest;
        }

        /**
         * The question whether we lead comes after the look for our znode: who was stopped for long may lead no more and have
         * made another znode since, which is behind others.
         */
        void witness(String recipe, String path, BooleanSupplier leads) throws Exception {
            String node = contender(path);
            Stat stat = node == null ? null : client.checkExists().forPath(node);
            if (!leads.getAsBoolean()) {
                fenced.incrementAndGet();
                return;
            }
            for (int i = 0; i < 2; i++) {
                if (stat == null) {
                    fenced.incrementAndGet();
                    return;
                }
                CuratorOp check = client.transactionOp().check().withVersion(0).forPath(node);
                CuratorOp create = client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL)
                    .forPath("/ledger/" + recipe + "/w-", bytes(name + " " + stat.getCzxid()));
                try {
                    List<CuratorTransactionResult> results = client.transaction().forOperations(check, create);
                    fact("ACK", results.get(1).getResultPath());
                } catch (KeeperException.NoNodeException e) {
                    fenced.incrementAndGet();
                    return;
                }
                Thread.sleep(2);
            }
        }

        void lock() throws Exception {
            InterProcessMutex mutex = new InterProcessMutex(client, "/recipes/lock");
            if (!mutex.acquire(5, TimeUnit.SECONDS)) {
                return;
            }
            try {
                witness("lock", "/recipes/lock", mutex::isAcquiredInThisProcess);
            } finally {
                mutex.release();
            }
        }

        void latch() throws Exception {
            try (LeaderLatch latch = new LeaderLatch(client, "/recipes/latch", name)) {
                latch.start();
                if (latch.await(5, TimeUnit.SECONDS)) {
                    witness("latch", "/recipes/latch", latch::hasLeadership);
                }
            }
        }

        // Numbers.

        void count() throws Exception {
            AtomicValue<Long> value = new DistributedAtomicLong(client, "/recipes/counter", new RetryForever(5)).increment();
            if (value.succeeded()) {
                fact("INCREMENTED", 1);
            }
        }

        void share() throws Exception {
            VersionedValue<Integer> before = shared.getVersionedValue();
            if (shared.trySetCount(before, before.getValue() + 1)) {
                fact("SHARED", before.getValue() + 1);
            }
        }

        // Configuration.

        void acknowledge() throws Exception {
            int value = config;
            if (value > pushed) {
                client.setData().forPath("/seen/" + name, bytes(String.valueOf(value)));
                pushed = value;
            }
        }

        void push() throws Exception {
            int value = Integer.parseInt(new String(client.getData().forPath("/config"), StandardCharsets.UTF_8)) + 1;
            client.setData().forPath("/config", bytes(String.valueOf(value)));
            for (String one : everybody) {
                while (Integer.parseInt(new String(client.getData().forPath("/seen/" + one), StandardCharsets.UTF_8)) < value) {
                    Thread.sleep(PACE_MS);
                }
            }
            fact("TOLD", value);
        }

        void facts() throws Exception {
            client.sync().forPath("/");
            client.checkExists().forPath("/");
            children.rebuild();
            fact("PARTY", String.join(",", new TreeSet<>(member.getCurrentMembers().keySet())), children.getCurrentData().size());
            Stat stat = client.checkExists().forPath("/recipes/group/" + name);
            fact("MEMBER", name, "/recipes/group/" + name, client.getZookeeperClient().getZooKeeper().getSessionId(),
                stat == null ? 0 : stat.getEphemeralOwner());
            fact("SESSION", name, suspended, lost, fenced, failed);
        }

        void end() throws Exception {
            shared.close();
            cache.close();
            children.close();
            member.close();
            client.close();
        }
    }

    private static void join(List<Thread> threads) throws InterruptedException {
        for (Thread thread : threads) {
            thread.join(30_000);
            if (thread.isAlive()) {
                fact("STUCK", thread.getName(), List.of(thread.getStackTrace()));
            }
        }
    }

    public static void main(String[] args) throws Exception {
        List<String> everybody = List.of(args[2].split(","));
        List<Participant> ours = new ArrayList<>();
        for (String name : everybody) {
            if (name.startsWith(args[1])) {
                ours.add(new Participant(args[0], name, everybody));
            }
        }
        for (Participant one : ours) {
            one.begin();
        }
        if (ours.get(0).name.equals(everybody.get(0))) {
            ours.get(0).work("push", ours.get(0)::push, QUIET, ours.get(0).directors);
        }
        System.out.println("BEGUN");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            if (line.equals("quiet")) {
                QUIET.countDown();
                for (Participant one : ours) {
                    join(one.directors);
                }
                System.out.println("QUIET");
            } else if (line.equals("stop")) {
                OVER.countDown();
                for (Participant one : ours) {
                    one.selector.close();
                    join(one.threads);
                }
                for (Participant one : ours) {
                    one.facts();
                }
                LINES.forEach(System.out::println);
                System.out.println("READY");
            } else if (line.equals("quit")) {
                for (Participant one : ours) {
                    one.end();
                }
                System.out.println("DONE");
                return;
            }
        }
    }
}
