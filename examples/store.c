/* SPDX-License-Identifier: MIT */
/* store.c - a key-value store, as store.proto describes it: one method of each form. A server and
 * its client in two processes, at a URL from the command line or in shared memory. */
#include "store.naru.h"

#include <naru/naru.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ENTRIES = 4096, WATCHERS = 64 };

/* ---- the store: one thread, so no lock ---- */

struct store {
    Example__Entry *entries[ENTRIES]; /* as they came, and so freed as messages are */
    size_t n;
    struct watcher {
        naru_call *call; /* NULL: free */
        Example__WatchRequest *request;
    } watchers[WATCHERS];
};

static size_t find(const struct store *s, const char *key)
{
    size_t i = 0;
    while (i < s->n && strcmp(s->entries[i]->key, key) != 0)
        i++;
    return i;
}

static void end_watch(struct watcher *w, int code)
{
    naru_call *call = w->call;
    w->call = NULL;
    example__watch_request__free_unpacked(w->request, NULL);
    naru_call_finish(call, code);
}

/* Who does not keep up is not waited for: the store would wait with it. */
static void tell(struct store *s, Example__Change__Kind kind, const Example__Entry *entry)
{
    Example__Change change = EXAMPLE__CHANGE__INIT;
    Google__Protobuf__Timestamp now = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    now.seconds = t.tv_sec;
    now.nanos = (int32_t)t.tv_nsec;
    change.kind = kind;
    change.entry = (Example__Entry *)entry;
    change.time = &now;
    for (struct watcher *w = s->watchers; w < s->watchers + WATCHERS; w++)
        if (w->call && strncmp(entry->key, w->request->prefix, strlen(w->request->prefix)) == 0 &&
            example_store_watch_reply(w->call, &change, NARU_NOWAIT) < 0)
            end_watch(w, naru_call_fail(w->call, NARU_STATUS_RESOURCE_EXHAUSTED,
                                        "the watcher does not keep up"));
}

/* Takes the entry over. 1: there was one of this key; 0; negative: there is no room. */
static int put_entry(struct store *s, Example__Entry *entry)
{
    size_t i = find(s, entry->key);
    if (i == ENTRIES) {
        example__entry__free_unpacked(entry, NULL);
        return -ENOSPC;
    }
    int replaced = i < s->n;
    if (replaced)
        example__entry__free_unpacked(s->entries[i], NULL);
    else
        s->n++;
    s->entries[i] = entry;
    tell(s, EXAMPLE__CHANGE__KIND__PUT, entry);
    return replaced;
}

static int no_key(naru_call *call, const char *key)
{
    return naru_call_fail(call, NARU_STATUS_NOT_FOUND, "there is no key \"%s\"", key);
}

static int no_room(naru_call *call)
{
    return naru_call_fail(call, NARU_STATUS_RESOURCE_EXHAUSTED, "%d keys are all it keeps",
                          ENTRIES);
}

/* ---- its methods ---- */

static int get(naru_call *call, void *self, Example__Key *request)
{
    struct store *s = self;
    size_t i = find(s, request->key);
    return i < s->n ? example_store_get_reply(call, s->entries[i]) : no_key(call, request->key);
}

/* The request is freed when the handler returns, so what is kept of it is taken out. */
static Example__Entry *take_out(Example__Entry *request)
{
    Example__Entry *entry = malloc(sizeof *entry);
    if (entry) {
        *entry = *request;
        example__entry__init(request);
    }
    return entry;
}

static int put(naru_call *call, void *self, Example__Entry *request)
{
    Example__PutReply reply = EXAMPLE__PUT_REPLY__INIT;
    Example__Entry *entry = take_out(request);
    int r = entry ? put_entry(self, entry) : -ENOMEM;
    if (r < 0)
        return no_room(call);
    reply.replaced = r;
    return example_store_put_reply(call, &reply);
}

static int delete_key(naru_call *call, void *self, Example__Key *request)
{
    struct store *s = self;
    Google__Protobuf__Empty reply = GOOGLE__PROTOBUF__EMPTY__INIT;
    size_t i = find(s, request->key);
    if (i == s->n)
        return no_key(call, request->key);
    Example__Entry *gone = s->entries[i], bare = EXAMPLE__ENTRY__INIT;
    s->entries[i] = s->entries[--s->n];
    bare.key = gone->key;
    tell(s, EXAMPLE__CHANGE__KIND__DELETED, &bare);
    example__entry__free_unpacked(gone, NULL);
    return example_store_delete_reply(call, &reply);
}

static void watch_ended(naru_call *call, void *arg, const struct naru_status *status)
{
    struct store *s = arg;
    (void)status;
    for (struct watcher *w = s->watchers; w < s->watchers + WATCHERS; w++)
        if (w->call == call)
            end_watch(w, NARU_STATUS_CANCELLED);
}

/* It goes on until its caller has enough, so it is finished later, and the request kept. */
static int watch(naru_call *call, void *self, Example__WatchRequest *request)
{
    struct store *s = self;
    const struct naru_call_events events = {.size = sizeof events, .end = watch_ended};
    for (struct watcher *w = s->watchers; w < s->watchers + WATCHERS; w++)
        if (!w->call) {
            int r = naru_call_on(call, &events, s);
            if (r < 0)
                return r;
            *w = (struct watcher){call, request};
            return NARU_LATER;
        }
    return naru_call_fail(call, NARU_STATUS_RESOURCE_EXHAUSTED, "%d watch already", WATCHERS);
}

static int load(naru_call *call, void *self)
{
    Example__LoadReply reply = EXAMPLE__LOAD_REPLY__INIT;
    Example__Entry *entry;
    int r;
    while ((r = example_store_load_next(call, NARU_FOREVER, &entry)) > 0) {
        reply.entries++;
        reply.bytes += entry->value.len;
        if (put_entry(self, entry) < 0)
            return no_room(call);
    }
    return r < 0 ? r : example_store_load_reply(call, &reply);
}

static void do_command(struct store *s, Example__Command *command, Example__Answer *answer)
{
    answer->id = command->id;
    if (command->what_case == EXAMPLE__COMMAND__WHAT_PUT) {
        if (put_entry(s, command->put) < 0)
            answer->code = NARU_STATUS_RESOURCE_EXHAUSTED;
        command->what_case = EXAMPLE__COMMAND__WHAT__NOT_SET; /* it is the store's */
    } else if (command->what_case == EXAMPLE__COMMAND__WHAT_GET) {
        size_t i = find(s, command->get->key);
        answer->entry = i < s->n ? s->entries[i] : NULL;
        answer->code = i < s->n ? NARU_STATUS_OK : NARU_STATUS_NOT_FOUND;
    } else {
        answer->code = NARU_STATUS_UNIMPLEMENTED;
    }
}

static int session(naru_call *call, void *self)
{
    Example__Command *command;
    int r;
    while ((r = example_store_session_next(call, NARU_FOREVER, &command)) > 0) {
        Example__Answer answer = EXAMPLE__ANSWER__INIT;
        do_command(self, command, &answer);
        r = example_store_session_reply(call, &answer, NARU_FOREVER);
        example__command__free_unpacked(command, NULL);
        if (r < 0)
            break;
    }
    return r;
}

static int server_main(naru_server *server)
{
    int r = naru_server_run(server);
    if (r < 0)
        fprintf(stderr, "server: %s\n", naru_why());
    return r < 0;
}

/* ---- the client ---- */

static int check(int good, const char *what)
{
    if (!good)
        fprintf(stderr, "%s: %s\n", what, naru_why());
    return !good;
}

static Example__Entry entry_of(char *key, char *value)
{
    Example__Entry entry = EXAMPLE__ENTRY__INIT;
    entry.key = key;
    entry.value.data = (uint8_t *)value;
    entry.value.len = strlen(value);
    return entry;
}

static int put_get_delete(naru_client *client)
{
    Example__Entry entry = entry_of("greeting", "hello"), *found;
    Example__Key key = EXAMPLE__KEY__INIT;
    Example__PutReply *put_reply;
    Google__Protobuf__Empty *nothing;
    struct naru_status status;
    key.key = "greeting";
    if (check(example_store_put(client, &entry, NULL, &put_reply) == 0, "Put"))
        return 1;
    example__put_reply__free_unpacked(put_reply, NULL);
    if (check(example_store_get(client, &key, NULL, &found) == 0, "Get"))
        return 1;
    printf("%s: %.*s\n", found->key, (int)found->value.len, (const char *)found->value.data);
    example__entry__free_unpacked(found, NULL);
    if (check(example_store_delete(client, &key, NULL, &nothing) == 0, "Delete"))
        return 1;
    google__protobuf__empty__free_unpacked(nothing, NULL);
    int r = example_store_get(client, &key, NULL, &found);
    naru_client_status(&status);
    printf("after that: %s\n", status.message);
    return check(r == -EREMOTEIO && status.code == NARU_STATUS_NOT_FOUND, "the end of a key");
}

/* Loads entries while another call watches them. */
static int load_and_watch(naru_client *client)
{
    enum { LOADED = 1000, WATCHED = 10 };
    Example__WatchRequest all = EXAMPLE__WATCH_REQUEST__INIT;
    struct example_store_watch changes;
    struct example_store_load stream;
    Example__LoadReply *reply;
    int seen = 0, r = 0;
    all.prefix = "key 99";
    if (check(example_store_watch_begin(client, &all, NULL, &changes) == 0, "Watch") ||
        check(example_store_load_begin(client, NULL, &stream) == 0, "Load"))
        return 1;
    for (int i = 0; i < LOADED && r == 0; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "value %d", i);
        Example__Entry entry = entry_of(key, value);
        r = example_store_load_send(&stream, &entry, NARU_FOREVER);
    }
    if (check(example_store_load_finish(&stream, NARU_FOREVER, &reply) == 0, "Load"))
        return 1;
    printf("loaded %d entries of %d bytes\n", (int)reply->entries, (int)reply->bytes);
    r |= reply->entries != LOADED;
    example__load_reply__free_unpacked(reply, NULL);
    for (Example__Change *change; seen < WATCHED + 1; seen++) { /* key 99, key 990 ... key 999 */
        if (check(example_store_watch_take(&changes, 5 * NARU_S, &change) == 1, "a change"))
            return 1;
        example__change__free_unpacked(change, NULL);
    }
    naru_call_close(changes.call); /* enough */
    printf("%d changes of keys that begin with \"%s\"\n", seen, all.prefix);
    return r;
}

/* Sends all commands before it takes the first answer. */
static int pipeline(naru_client *client)
{
    enum { COMMANDS = 20 };
    struct example_store_session stream;
    Example__Answer *answer;
    int right = 0, r = example_store_session_begin(client, NULL, &stream);
    for (uint64_t i = 0; i < COMMANDS && r == 0; i++) {
        Example__Command command = EXAMPLE__COMMAND__INIT;
        Example__Key key = EXAMPLE__KEY__INIT;
        char name[16];
        snprintf(name, sizeof name, "key %d", (int)i * 100);
        key.key = name;
        command.id = i;
        command.what_case = EXAMPLE__COMMAND__WHAT_GET;
        command.get = &key;
        r = example_store_session_send(&stream, &command, NARU_FOREVER);
    }
    if (check(r == 0, "Session"))
        return 1;
    naru_call_shutdown(stream.call);
    while ((r = example_store_session_take(&stream, NARU_FOREVER, &answer)) > 0) {
        right += answer->code == (answer->id < 10 ? NARU_STATUS_OK : NARU_STATUS_NOT_FOUND);
        example__answer__free_unpacked(answer, NULL);
    }
    printf("%d commands in flight, %d answered rightly\n", COMMANDS, right);
    return check(r == 0 && example_store_session_finish(&stream, NARU_FOREVER) == 0 &&
                     right == COMMANDS,
                 "Session");
}

static int client_main(const char *url)
{
    naru_client *client;
    if (check(naru_client_open(url, NULL, &client) == 0, url))
        return 1;
    int failed = put_get_delete(client) || load_and_watch(client) || pipeline(client);
    naru_client_close(client);
    return failed;
}

int main(int argc, char **argv)
{
    static const struct example_store_handlers handlers = {.get = get,
                                                           .put = put,
                                                           .delete_ = delete_key,
                                                           .watch = watch,
                                                           .load = load,
                                                           .session = session};
    static struct store store;
    naru_service service = example_store_service(&handlers);
    naru_server *server;
    char own[64];
    const char *url = argc > 1 ? argv[1] : own;
    snprintf(own, sizeof own, "shm:example-store-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &service, &store) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        int failed = client_main(url);
        naru_server_close(server); /* this process's copy */
        return failed;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0)
        naru_server_process(server, 20 * NARU_MS);
    naru_server_shutdown(server, NARU_S);
    int failed = server_main(server);
    naru_server_close(server);
    while (store.n > 0)
        example__entry__free_unpacked(store.entries[--store.n], NULL);
    return failed || status != 0;
}
