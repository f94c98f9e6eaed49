/* SPDX-License-Identifier: MIT */
/* store-service.h - the service of store.proto, and what it keeps. For one thread, so without a
 * lock: of store.c, and of naru serve. */
#ifndef STORE_SERVICE_H
#define STORE_SERVICE_H

#include "store.naru.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ENTRIES = 4096, WATCHERS = 64 };

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

static void store_free(struct store *s)
{
    while (s->n > 0)
        example__entry__free_unpacked(s->entries[--s->n], NULL);
}

static naru_service store_service(void)
{
    static const struct example_store_handlers handlers = {.get = get,
                                                           .put = put,
                                                           .delete_ = delete_key,
                                                           .watch = watch,
                                                           .load = load,
                                                           .session = session};
    return example_store_service(&handlers);
}

#endif
