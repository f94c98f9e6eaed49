/* SPDX-License-Identifier: MIT */
/* tour-rpc.c - the tour's scenes of calls: the example's key-value store, served over each carrier.
 *
 * A client calls all four forms of its methods, the same over each: it puts, gets and deletes, is
 * told of that by a watch, has commands answered in order, and loads the whole input in bulk. What
 * the server keeps then is the receiver's digest. */
#include "tool/tour.h"

#include "examples/store-service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 1000, WARM = 100, WATCHED = 10, MOST_ENTRIES = 2000 };

/* ---- the server ---- */

struct keeping {
    naru_server *server;
    naru_service service;
    struct store store;
};
static struct keeping keeping;

static bool prepare(struct part *p)
{
    keeping.service = store_service();
    const struct naru_server_options o = {.size = sizeof o, .tls = part_tls(p, true)};
    return part_naru(p, "making a server", naru_server_new(&o, &keeping.server)) &&
           part_naru(p, "adding the store",
                     naru_server_add(keeping.server, &keeping.service, &keeping.store));
}

int rpc_listen(struct part *p, void **ret_server)
{
    if (!prepare(p))
        return -EINVAL;
    *ret_server = keeping.server;
    return naru_server_listen(keeping.server, p->url);
}

static bool is_done(const struct store *s)
{
    return s->n > 0 && strcmp(s->entries[s->n - 1]->key, "done") == 0;
}

static void close_server(void)
{
    keeping.server = naru_server_close(keeping.server);
    store_free(&keeping.store);
}

/* What was loaded, in the order in which it came. */
static void conclude_kept(struct part *p)
{
    const struct store *s = &keeping.store;
    uint8_t *all = malloc(p->input.size + 1);
    size_t n = 0;
    for (size_t i = 0; all && i < s->n; i++) {
        const ProtobufCBinaryData *value = &s->entries[i]->value;
        if (strncmp(s->entries[i]->key, "piece ", 6) != 0 || value->len > p->input.size - n)
            continue;
        memcpy(all + n, value->data, value->len);
        n += value->len;
        p->report.messages++;
    }
    if (all && judge_bytes(p, all, 0, n, p->input.size))
        conclude(p, SIDE_RECEIVER, all, n);
    free(all);
}

static void serve_until_done(struct part *p)
{
    int r = 0;
    while (r == 0 && !is_done(&keeping.store))
        r = naru_server_process(keeping.server, TOUR_TIMEOUT);
    if (part_naru(p, "serving", r)) {
        naru_server_shutdown(keeping.server, NARU_S);
        part_naru(p, "shutting down", naru_server_run(keeping.server));
        conclude_kept(p);
    }
}

void rpc_serve(struct part *p, void *server)
{
    (void)server; /* rpc_listen's */
    serve_until_done(p);
    close_server();
}

static bool listening(struct part *p)
{
    void *server = NULL;
    if (!part_naru(p, "listening", rpc_listen(p, &server)))
        return false;
    snprintf(p->report.url, sizeof p->report.url, "%s", naru_url(server));
    part_say(p, REPORT_READY);
    return true;
}

static void server(struct part *p)
{
    if (listening(p))
        serve_until_done(p);
    close_server();
}

/* A child that serves its parent. */
static void child_serves(struct part *p)
{
    naru_channel *c;
    if (part_naru(p, "naru_channel_inherit", naru_channel_inherit("calls", NULL, &c)) &&
        prepare(p) && part_naru(p, "attaching", naru_server_attach(keeping.server, c)))
        serve_until_done(p);
    close_server();
}

/* ---- the client ---- */

static Example__Entry entry_of(char *key, const void *value, size_t size)
{
    Example__Entry entry = EXAMPLE__ENTRY__INIT;
    entry.key = key;
    entry.value.data = (uint8_t *)(uintptr_t)value;
    entry.value.len = size;
    return entry;
}

static bool put_one(struct part *p, naru_client *c, char *key, const void *value, size_t size)
{
    const Example__Entry entry = entry_of(key, value, size);
    Example__PutReply *reply;
    if (!part_naru(p, "Put", example_store_put(c, &entry, NULL, &reply)))
        return false;
    example__put_reply__free_unpacked(reply, NULL);
    return true;
}

static bool get_one(struct part *p, naru_client *c, char *key, const void *value, size_t size)
{
    Example__Key request = EXAMPLE__KEY__INIT;
    Example__Entry *entry;
    request.key = key;
    if (!part_naru(p, "Get", example_store_get(c, &request, NULL, &entry)))
        return false;
    bool same = entry->value.len == size && memcmp(entry->value.data, value, size) == 0;
    example__entry__free_unpacked(entry, NULL);
    return same || part_failed(p, "Get of \"%s\" gave another value than was put", key);
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool measure(struct part *p, naru_client *c)
{
    static int64_t took[ROUNDS];
    char value[SMALL] = "a small value";
    if (!put_one(p, c, "measured", value, sizeof value))
        return false;
    for (int i = -WARM; i < ROUNDS; i++) {
        int64_t start = now_ns();
        if (!get_one(p, c, "measured", value, sizeof value))
            return false;
        if (i >= 0)
            took[i] = now_ns() - start;
    }
    qsort(took, ROUNDS, sizeof *took, compare_times);
    p->report.p50_ns = took[ROUNDS / 2] / 2; /* there and back */
    return true;
}

static bool next_change(struct part *p, struct example_store_watch *watch, int kind,
                        const char *key)
{
    Example__Change *change;
    if (!part_naru(p, "watching", example_store_watch_take(watch, TOUR_TIMEOUT, &change)))
        return false;
    bool right = (int)change->kind == kind && strcmp(change->entry->key, key) == 0;
    if (!right)
        part_failed(p, "the watch tells of \"%s\", not \"%s\"", change->entry->key, key);
    example__change__free_unpacked(change, NULL);
    return right;
}

/* When the server answers what was asked after it, it watches. */
static bool begin_watch(struct part *p, naru_client *c, struct example_store_watch *ret_watch)
{
    Example__WatchRequest request = EXAMPLE__WATCH_REQUEST__INIT;
    request.prefix = "small ";
    return part_naru(p, "Watch", example_store_watch_begin(c, &request, NULL, ret_watch));
}

static bool watch_and_delete(struct part *p, naru_client *c)
{
    struct example_store_watch watch;
    Example__Key key = EXAMPLE__KEY__INIT;
    Google__Protobuf__Empty *nothing;
    Example__Entry *none;
    struct naru_status status;
    bool ok = begin_watch(p, c, &watch);
    for (int i = 0; i < WATCHED && ok; i++) {
        char name[16];
        snprintf(name, sizeof name, "small %d", i);
        ok = put_one(p, c, name, "value", 5) &&
             next_change(p, &watch, EXAMPLE__CHANGE__KIND__PUT, name);
    }
    key.key = "small 0";
    ok = ok && part_naru(p, "Delete", example_store_delete(c, &key, NULL, &nothing));
    if (!ok)
        return false;
    google__protobuf__empty__free_unpacked(nothing, NULL);
    ok = next_change(p, &watch, EXAMPLE__CHANGE__KIND__DELETED, "small 0");
    naru_call_close(watch.call); /* enough */
    if (ok && (example_store_get(c, &key, NULL, &none) != -EREMOTEIO ||
               naru_client_status(&status) != NARU_STATUS_NOT_FOUND))
        ok = part_failed(p, "Get of a key that was deleted: %s", naru_why());
    return ok;
}

/* All commands go before the first answer is taken. */
static bool session_of(struct part *p, naru_client *c)
{
    struct example_store_session stream;
    Example__Answer *answer;
    int right = 0, r;
    if (!part_naru(p, "Session", example_store_session_begin(c, NULL, &stream)))
        return false;
    for (int i = 0; i < WATCHED; i++) {
        Example__Command command = EXAMPLE__COMMAND__INIT;
        Example__Key key = EXAMPLE__KEY__INIT;
        char name[16];
        snprintf(name, sizeof name, "small %d", i);
        key.key = name;
        command.id = (uint64_t)i;
        command.what_case = EXAMPLE__COMMAND__WHAT_GET;
        command.get = &key;
        if (!part_naru(p, "commanding",
                       example_store_session_send(&stream, &command, TOUR_TIMEOUT)))
            return false;
    }
    naru_call_shutdown(stream.call);
    while ((r = example_store_session_take(&stream, TOUR_TIMEOUT, &answer)) > 0) {
        int code = answer->id == 0 ? NARU_STATUS_NOT_FOUND : NARU_STATUS_OK; /* deleted; there */
        right += answer->code == code;
        example__answer__free_unpacked(answer, NULL);
    }
    if (!part_naru(p, "Session", example_store_session_finish(&stream, TOUR_TIMEOUT)))
        return false;
    return right == WATCHED ||
           part_failed(p, "%d of %d commands were answered rightly", right, WATCHED);
}

/* As many pieces in a message as it takes for the store to have room for all. */
static size_t gather(struct cut *cut, const struct part *p, struct piece *ret_piece)
{
    struct piece more;
    size_t least = p->input.size / MOST_ENTRIES, n = 0;
    while (n <= least && cut_next(cut, &more)) {
        if (n == 0)
            *ret_piece = more;
        n += more.size;
    }
    return n;
}

static bool load_all(struct part *p, naru_client *c)
{
    struct cut cut = cut_begin(p->input.size);
    struct piece piece;
    struct example_store_load stream;
    Example__LoadReply *reply;
    int64_t start = now_ns();
    if (!part_naru(p, "Load", example_store_load_begin(c, NULL, &stream)))
        return false;
    for (size_t n; (n = gather(&cut, p, &piece)) > 0; p->report.messages++) {
        char key[32];
        snprintf(key, sizeof key, "piece %d", (int)p->report.messages);
        const Example__Entry entry = entry_of(key, p->input.data + piece.at, n);
        if (!part_naru(p, "loading", example_store_load_send(&stream, &entry, TOUR_TIMEOUT)))
            return false;
    }
    if (!part_naru(p, "Load", example_store_load_finish(&stream, TOUR_TIMEOUT, &reply)))
        return false;
    p->report.ns = now_ns() - start;
    bool ok = reply->entries == p->report.messages && reply->bytes == p->input.size;
    if (!ok)
        part_failed(p, "%d entries of %d bytes were loaded", (int)reply->entries,
                    (int)reply->bytes);
    example__load_reply__free_unpacked(reply, NULL);
    conclude(p, SIDE_SENDER, p->input.data, p->input.size);
    return ok;
}

static void call_all(struct part *p, naru_client *c)
{
    if (measure(p, c) && watch_and_delete(p, c) && session_of(p, c) && load_all(p, c))
        put_one(p, c, "done", "", 0);
    naru_client_close(c);
}

static naru_client *open_client(struct part *p)
{
    const struct naru_client_options o = {.size = sizeof o, .tls = part_tls(p, false)};
    naru_client *c = NULL;
    part_naru(p, "opening a client", naru_client_open(p->url, &o, &c));
    return c;
}

static void client(struct part *p)
{
    naru_client *c = open_client(p);
    if (c)
        call_all(p, c);
}

static void calls_its_child(struct part *p)
{
    naru_channel *a, *b;
    naru_client *c = NULL;
    if (!part_naru(p, "making the pair", naru_channel_pair(p->url, NULL, &a, &b)))
        return;
    naru_child *child = part_spawn(p, 1, "rpc-child", &(struct naru_spawn_end){"calls", b, -1}, 1);
    if (child && part_naru(p, "attaching", naru_client_attach(a, NULL, &c)))
        call_all(p, c);
    struct naru_exit e = {-1, 0};
    if (child && part_naru(p, "waiting for the child", naru_child_wait(child, TOUR_TIMEOUT, &e)) &&
        e.code != 0)
        part_failed(p, "the child ended with status %d, signal %d", e.code, e.signal);
    naru_child_close(child);
}

/* ---- somebody is killed ---- */

static bool is_watched(void)
{
    return keeping.store.watchers[0].call != NULL;
}

static void dying_server(struct part *p)
{
    int r = listening(p) ? 0 : -1;
    while (r == 0 && !is_watched())
        r = naru_server_process(keeping.server, TOUR_TIMEOUT);
    if (part_naru(p, "serving", r))
        part_wait_for_death(p);
}

static void surviving_client(struct part *p)
{
    naru_client *c = open_client(p);
    struct example_store_watch watch;
    Example__Change *change;
    if (c && begin_watch(p, c, &watch)) {
        part_saw(p, "client", example_store_watch_take(&watch, TOUR_TIMEOUT, &change), -ECONNRESET);
        naru_call_close(watch.call);
    }
    naru_client_close(c);
}

static void dying_client(struct part *p)
{
    naru_client *c = open_client(p);
    struct example_store_watch watch;
    if (c && begin_watch(p, c, &watch) && put_one(p, c, "small x", "", 0) &&
        next_change(p, &watch, EXAMPLE__CHANGE__KIND__PUT, "small x"))
        part_wait_for_death(p);
}

static void surviving_server(struct part *p)
{
    int r = listening(p) ? 0 : -1;
    while (r == 0 && !is_watched())
        r = naru_server_process(keeping.server, TOUR_TIMEOUT);
    while (r == 0 && is_watched())
        r = naru_server_process(keeping.server, TOUR_TIMEOUT);
    if (part_naru(p, "serving", r))
        snprintf(p->report.saw, sizeof p->report.saw,
                 "the server saw: who watched is gone, and its call was cancelled");
    close_server();
}

/* ---- tables ---- */

const struct role rpc_roles[] = {
    {"rpc-server", server},
    {"rpc-client", client},
    {"rpc-child", child_serves},
    {"rpc-parent", calls_its_child},
    {"rpc-dying-server", dying_server},
    {"rpc-surviving-client", surviving_client},
    {"rpc-dying-client", dying_client},
    {"rpc-surviving-server", surviving_server},
    {0},
};

/* A server, and when it listens a client. */
#define MEETING(name, first, second)                                                               \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, "rpc-" first, stage_directory(stage));                         \
    }                                                                                              \
    static bool next_##name(struct stage *stage, int ready, int ended)                             \
    {                                                                                              \
        return ready != 1 || ended != 0 ||                                                         \
               stage_exec(stage, 1, "rpc-" second, stage_directory(stage));                        \
    }
MEETING(store, "server", "client")
MEETING(server_dies, "dying-server", "surviving-client")
MEETING(client_dies, "surviving-server", "dying-client")

static bool start_child(struct stage *stage)
{
    return stage_fork(stage, 0, "rpc-parent", NULL);
}

static bool start_hosts(struct stage *stage)
{
    return stage_fork(stage, 0, "socket-hosts-calls", "calls");
}

#define CALLS(url, relation, shows, victim, start, next)                                           \
    {                                                                                              \
        url, NARU_NOUN_SERVICE, "call", "two-way", relation, shows, 2, victim, start, next         \
    }
#define STORE(url) CALLS(url, "unrelated", "a store, all forms", -1, start_store, next_store)
#define DEATHS(url)                                                                                \
    CALLS(url, "unrelated", "server killed", 0, start_server_dies, next_server_dies),              \
        CALLS(url, "unrelated", "client killed", 1, start_client_dies, next_client_dies)

const struct scene rpc_scenes[] = {
    STORE("shm:%s-calls"),
    DEATHS("shm:%s-calls"),
    CALLS("pipe:", "parent-child", "a store, all forms", -1, start_child, NULL),
    STORE("unix:%s/calls"),
    DEATHS("unix:%s/calls"),
    STORE("tcp://127.0.0.1:0"),
    STORE("tls://127.0.0.1:0"),
    STORE("grpc://127.0.0.1:0"),
    STORE("grpc+unix:%s/calls"),
    STORE("grpcs://127.0.0.1:0"),
    CALLS("tcp://192.0.2.1:0", "two hosts", "a store, all forms", -1, start_hosts, NULL),
    {0},
};
