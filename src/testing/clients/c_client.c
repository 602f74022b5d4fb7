/* All that the C library can ask of a server, for src/testing/clients.rs.
 * Usage: c_client HOST:PORT. Prints CUT when it wants its connections cut, DONE at the end. */
#define THREADED
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#define EXPECT(what, expected)                                                                      \
    do {                                                                                            \
        int got_ = (what);                                                                          \
        if (got_ != (expected)) {                                                                   \
            fprintf(stderr, "line %d: %s is %d (%s), not %d\n", __LINE__, #what, got_, zerror(got_), \
                    (expected));                                                                    \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)
#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "line %d: not true: %s\n", __LINE__, #condition);    \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int connected_count, event_type, event_count;
static char event_path[256];

static void session_watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh, (void)path, (void)context;
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE) connected_count++;
    pthread_mutex_unlock(&lock);
}

static void node_watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh, (void)state, (void)context;
    if (type == ZOO_SESSION_EVENT) return;
    pthread_mutex_lock(&lock);
    event_type = type;
    snprintf(event_path, sizeof event_path, "%s", path);
    event_count++;
    pthread_mutex_unlock(&lock);
}

static void wait_for(int *counter, int value) {
    for (int waited_ms = 0;; waited_ms += 10) {
        pthread_mutex_lock(&lock);
        int now = *counter;
        pthread_mutex_unlock(&lock);
        if (now >= value) return;
        if (waited_ms > 20000) {
            fprintf(stderr, "waited in vain for number %d, have %d\n", value, now);
            exit(1);
        }
        usleep(10000);
    }
}

static zhandle_t *attach(const char *hosts, const clientid_t *id) {
    int before = connected_count;
    zhandle_t *zh = zookeeper_init(hosts, session_watcher, 8000, id, NULL, 0);
    CHECK(zh != NULL);
    wait_for(&connected_count, before + 1);
    return zh;
}

static void nodes(zhandle_t *zh) {
    char path[256], data[64];
    struct Stat stat;
    int length = sizeof data;
    EXPECT(zoo_create2(zh, "/c", "one", 3, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, path, sizeof path, &stat), ZOK);
    CHECK(stat.version == 0 && stat.dataLength == 3 && stat.ephemeralOwner == 0 && !strcmp(path, "/c"));
    EXPECT(zoo_create(zh, "/c/e", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, path, sizeof path), ZOK);
    EXPECT(zoo_create(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, path, sizeof path), ZOK);
    CHECK(!strcmp(path, "/c/s-0000000001"));
    EXPECT(zoo_create(zh, "/c/es-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, path, sizeof path), ZOK);
    CHECK(!strcmp(path, "/c/es-0000000002"));
    EXPECT(zoo_create(zh, "/c/container", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, path, sizeof path), ZOK);
    EXPECT(zoo_create2_ttl(zh, "/c/ttl", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 3600000, path, sizeof path, &stat), ZOK);
    CHECK(stat.ephemeralOwner == 0);
    EXPECT(zoo_create_ttl(zh, "/c/sttl-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 3600000, path, sizeof path), ZOK);
    CHECK(!strcmp(path, "/c/sttl-0000000005"));
    EXPECT(zoo_create_ttl(zh, "/c/bad", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 1LL << 40, path, sizeof path), ZBADARGUMENTS);
    EXPECT(zoo_create(zh, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZNODEEXISTS);
    EXPECT(zoo_create(zh, "/missing/child", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZNONODE);
    EXPECT(zoo_create(zh, "/c/e/child", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZNOCHILDRENFOREPHEMERALS);

    EXPECT(zoo_get(zh, "/c", 0, data, &length, &stat), ZOK);
    CHECK(length == 3 && !memcmp(data, "one", 3) && stat.numChildren == 6 && stat.cversion == 6);
    EXPECT(zoo_set2(zh, "/c", "two!", 4, 0, &stat), ZOK);
    CHECK(stat.version == 1 && stat.dataLength == 4);
    EXPECT(zoo_set(zh, "/c", "", 0, 0), ZBADVERSION);
    EXPECT(zoo_exists(zh, "/missing", 0, &stat), ZNONODE);
    EXPECT(zoo_exists(zh, "/c/e", 0, &stat), ZOK);
    CHECK(stat.ephemeralOwner == zoo_client_id(zh)->client_id);
    struct String_vector names;
    EXPECT(zoo_get_children2(zh, "/c", 0, &names, &stat), ZOK);
    CHECK(names.count == 6 && stat.numChildren == 6);
    deallocate_String_vector(&names);
    EXPECT(zoo_get_children(zh, "/c/ttl", 0, &names), ZOK);
    CHECK(names.count == 0);
    deallocate_String_vector(&names);
    EXPECT(zoo_delete(zh, "/c", -1), ZNOTEMPTY);
    EXPECT(zoo_delete(zh, "/c/ttl", 7), ZBADVERSION);
    EXPECT(zoo_delete(zh, "/c/ttl", 0), ZOK);
    EXPECT(zoo_delete(zh, "/c/ttl", 0), ZNONODE);
    length = sizeof data;
    EXPECT(zoo_getconfig(zh, 0, data, &length, &stat), ZOK);
}

static volatile int auth_result = 1;
static void auth_done(int result, const void *data) {
    (void)data;
    auth_result = result;
}

static void acls(zhandle_t *zh) {
    char path[64], data[64];
    int length = sizeof data;
    struct Stat stat;
    struct ACL one = {ZOO_PERM_ALL, {(char *)"digest", (char *)"u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="}};
    struct ACL_vector joe = {1, &one}, list;
    EXPECT(zoo_create(zh, "/c/locked", "secret", 6, &joe, 0, path, sizeof path), ZOK);
    EXPECT(zoo_get(zh, "/c/locked", 0, data, &length, &stat), ZNOAUTH);
    EXPECT(zoo_add_auth(zh, "digest", "u:p", 3, auth_done, NULL), ZOK);
    for (int i = 0; auth_result == 1 && i < 1000; i++) usleep(10000);
    EXPECT(auth_result, ZOK);
    length = sizeof data;
    EXPECT(zoo_get(zh, "/c/locked", 0, data, &length, &stat), ZOK);
    EXPECT(zoo_get_acl(zh, "/c/locked", &list, &stat), ZOK);
    CHECK(list.count == 1 && list.data[0].perms == 31 && !strcmp(list.data[0].id.scheme, "digest"));
    deallocate_ACL_vector(&list);
    EXPECT(zoo_set_acl(zh, "/c/locked", 0, &ZOO_CREATOR_ALL_ACL), ZOK);
    EXPECT(zoo_set_acl(zh, "/c/locked", 0, &ZOO_OPEN_ACL_UNSAFE), ZBADVERSION);
    struct ACL nonsense = {ZOO_PERM_ALL, {(char *)"nonsense", (char *)"x"}};
    struct ACL_vector bad = {1, &nonsense};
    EXPECT(zoo_set_acl(zh, "/c/locked", -1, &bad), ZINVALIDACL);
}

static void transactions(zhandle_t *zh) {
    char first[64], second[64];
    struct Stat stat;
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    zoo_check_op_init(&ops[0], "/c", 1);
    zoo_create_op_init(&ops[1], "/c/t", "t", 1, &ZOO_OPEN_ACL_UNSAFE, 0, first, sizeof first);
    zoo_set_op_init(&ops[2], "/c/t", "u", 1, 0, &stat);
    zoo_create_op_init(&ops[3], "/c/ts-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, second, sizeof second);
    zoo_delete_op_init(&ops[4], "/c/s-0000000001", -1);
    EXPECT(zoo_multi(zh, 5, ops, results), ZOK);
    CHECK(!strcmp(first, "/c/t") && !strncmp(second, "/c/ts-00000000", 14) && stat.version == 1);
    zoo_create_op_init(&ops[0], "/c/never", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, first, sizeof first);
    zoo_check_op_init(&ops[1], "/c", 77);
    zoo_delete_op_init(&ops[2], "/c/t", -1);
    EXPECT(zoo_multi(zh, 3, ops, results), ZBADVERSION);
    EXPECT(results[0].err, ZOK);
    EXPECT(results[1].err, ZBADVERSION);
    EXPECT(results[2].err, ZRUNTIMEINCONSISTENCY);
    EXPECT(zoo_exists(zh, "/c/never", 0, &stat), ZNONODE);
    EXPECT(zoo_exists(zh, "/c/t", 0, &stat), ZOK);
}

static void expect_event(int nth, int type, const char *path) {
    wait_for(&event_count, nth);
    pthread_mutex_lock(&lock);
    CHECK(event_count == nth && event_type == type && !strcmp(event_path, path));
    pthread_mutex_unlock(&lock);
}

static void watches(zhandle_t *zh, zhandle_t *other) {
    char path[64], data[64];
    int length = sizeof data;
    struct Stat stat;
    struct String_vector names;
    EXPECT(zoo_wexists(zh, "/w", node_watcher, NULL, &stat), ZNONODE);
    EXPECT(zoo_create(other, "/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    expect_event(1, ZOO_CREATED_EVENT, "/w");
    EXPECT(zoo_wget(zh, "/w", node_watcher, NULL, data, &length, &stat), ZOK);
    EXPECT(zoo_set(other, "/w", "x", 1, -1), ZOK);
    expect_event(2, ZOO_CHANGED_EVENT, "/w");
    EXPECT(zoo_wget_children(zh, "/w", node_watcher, NULL, &names), ZOK);
    EXPECT(zoo_create(other, "/w/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), ZOK);
    expect_event(3, ZOO_CHILD_EVENT, "/w");
    EXPECT(zoo_wexists(zh, "/w/c", node_watcher, NULL, &stat), ZOK);
    EXPECT(zoo_delete(other, "/w/c", -1), ZOK);
    expect_event(4, ZOO_DELETED_EVENT, "/w/c");
    length = sizeof data;
    EXPECT(zoo_wget(zh, "/w", node_watcher, NULL, data, &length, &stat), ZOK);
    EXPECT(zoo_remove_watches(zh, "/w", ZWATCHTYPE_DATA, node_watcher, NULL, 0), ZOK);
    EXPECT(zoo_set(other, "/w", "y", 1, -1), ZOK);
    EXPECT(zoo_exists(zh, "/w", 0, &stat), ZOK);
    CHECK(event_count <= 5); /* the library itself reports the removal as an event */
}

static void reattach(zhandle_t *zh, zhandle_t *other) {
    char data[64];
    int length = sizeof data;
    struct Stat stat;
    clientid_t before = *zoo_client_id(zh);
    EXPECT(zoo_wget(zh, "/w", node_watcher, NULL, data, &length, &stat), ZOK);
    int connected_before = connected_count, events_before = event_count;
    puts("CUT");
    fflush(stdout);
    wait_for(&connected_count, connected_before + 2); /* both handles come back */
    CHECK(zoo_client_id(zh)->client_id == before.client_id);
    EXPECT(zoo_exists(zh, "/c/e", 0, &stat), ZOK);
    CHECK(stat.ephemeralOwner == before.client_id);
    EXPECT(zoo_set(other, "/w", "z", 1, -1), ZOK);
    expect_event(events_before + 1, ZOO_CHANGED_EVENT, "/w");
    EXPECT(zookeeper_close(zh), ZOK);
    EXPECT(zoo_exists(other, "/c/e", 0, &stat), ZNONODE);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *zh = attach(argv[1], NULL), *other = attach(argv[1], NULL);
    nodes(zh);
    transactions(zh);
    acls(zh);
    watches(zh, other);
    reattach(zh, other);
    EXPECT(zookeeper_close(other), ZOK);
    puts("DONE");
    return 0;
}
