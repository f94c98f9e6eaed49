/* SPDX-License-Identifier: MIT */
/* server.c - servers: listeners and connections in one loop, calls and their handlers.
 *
 * One thread is in naru_server_process; what it alone touches needs no lock: listeners, the list
 * of connections, what is armed. A connection's lock guards its carrier and its calls, for workers
 * and naru_call_finish send from other threads. The server's lock guards the list of connections
 * that such a thread has touched. Order: connection, then server; a connection, then a client's.
 *
 * Connections lie in one epoll set, so idle ones cost nothing. Those in shared memory that were
 * active lately are `hot`: they are looked at in memory, and armed only before the loop sleeps.
 * A handler that waits in the loop's thread (server_await) serves its own connection meanwhile. */
#include "rpc/server.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/limit.h"
#include "os/poll.h"
#include "rpc/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct entry { /* a method that is served */
    struct entry *next;
    const naru_service *service;
    const naru_method *method;
    void *self;
    uint64_t signature;
    char path[];
};

struct connection {
    struct naru_server *server;
    pthread_mutex_t lock;
    struct naru_carrier *carrier; /* NULL: it is gone, and its last calls are being finished */
    struct naru_call *calls, *free_calls;
    unsigned n_calls, n_free;
    struct naru_call *run, *run_last; /* calls whose handler is to run, by next_event */
    struct naru_call *events, *events_last;
    struct naru_timers timers;
    char *name;
    bool lost, going, proven;
    unsigned depth; /* of handlers that run in the loop's thread */

    struct connection *next, *previous; /* the loop's list */
    struct connection *next_due, *next_hot;
    bool due, hot, ticks, armed_out; /* due: guarded by the server's lock */
    bool denied;                     /* whoever it is may not call */
    struct naru_watch armed;
    int64_t born, idle_since, go_at;
};

struct listener {
    struct listener *next;
    naru_channel_listener *handle;
    int fd;
};

struct place { /* whose a descriptor in the set is */
    struct connection *connection;
    struct listener *listener;
};

struct naru_server {
    struct naru_handle handle;
    struct naru_server_options options;
    struct naru_carrier_limits limits;
    int epoll;
    struct place *places; /* by descriptor */
    int n_places;
    struct listener *listeners;
    struct connection *connections;
    unsigned n_connections, n_unproven;
    struct entry **table; /* methods by the hash of their path */
    size_t table_size, n_entries;
    struct naru_workers *workers;

    pthread_mutex_t lock;
    struct connection *due, *gone; /* gone: closed, and calls of theirs are not finished yet */
    _Atomic bool has_due;
    struct connection *hot; /* the loop's */
    unsigned n_ticks;
    _Atomic unsigned n_calls;
    _Atomic uintptr_t thread; /* in naru_server_process now */

    int64_t next_timer, next_sweep;
    unsigned rounds;
    _Atomic int64_t stop_at; /* 0: it runs; else when calls are ended */
    bool stopping, ended;
};

static const struct naru_call_side server_side;

static struct connection *connection_of(const struct naru_call *call)
{
    return call->owner;
}

static bool in_loop(struct naru_server *s)
{
    return atomic_load_explicit(&s->thread, memory_order_relaxed) == naru__thread();
}

/* ---- methods ---- */

static size_t hash(const char *path)
{
    size_t h = 1469598103u;
    for (; *path; path++)
        h = (h ^ (unsigned char)*path) * 16777619u;
    return h;
}

static struct entry *find_entry(const struct naru_server *s, const char *path)
{
    if (*path == '/')
        path++;
    struct entry *e = s->table_size ? s->table[hash(path) & (s->table_size - 1)] : NULL;
    while (e && strcmp(e->path, path) != 0)
        e = e->next;
    return e;
}

static int grow_table(struct naru_server *s)
{
    size_t size = s->table_size ? s->table_size * 2 : 16;
    struct entry **table = naru__alloc(size * sizeof *table);
    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < s->table_size; i++)
        for (struct entry *e = s->table[i], *next; e; e = next) {
            next = e->next;
            e->next = table[hash(e->path) & (size - 1)];
            table[hash(e->path) & (size - 1)] = e;
        }
    free(s->table);
    s->table = table;
    s->table_size = size;
    return 0;
}

static int add_method(struct naru_server *s, const naru_service *service, const naru_method *method,
                      void *self)
{
    char path[RPC_PATH_MAX + 1];
    int n = snprintf(path, sizeof path, "%s/%s", service->name, method->name);
    if (n < 0 || n > RPC_PATH_MAX || !method->serve)
        return naru__fail(-EINVAL, "the method %s/%s has %s", service->name, method->name,
                          method->serve ? "a name that is too long" : "no handler");
    if (find_entry(s, path))
        return naru__fail(-EEXIST, "the method %s is served already", path);
    int r = s->n_entries >= s->table_size ? grow_table(s) : 0;
    struct entry *e = r < 0 ? NULL : naru__alloc(sizeof *e + (size_t)n + 1);
    if (!e)
        return -ENOMEM;
    e->service = service;
    e->method = method;
    e->self = self;
    e->signature = naru__layout_signature(method->layout);
    memcpy(e->path, path, (size_t)n + 1);
    struct entry **at = &s->table[hash(path) & (s->table_size - 1)];
    e->next = *at;
    *at = e;
    s->n_entries++;
    return 0;
}

int naru__server_add(naru_server *s, const naru_service *service, void *self)
{
    for (size_t i = 0; i < service->n; i++) {
        int r = add_method(s, service, &service->methods[i], self);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- calls ---- */

static int call_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    struct naru_call *call = (struct naru_call *)h;
    pthread_mutex_lock(call->lock);
    struct naru_carrier *carrier = connection_of(call)->carrier;
    int r = carrier ? carrier->ops->peer(carrier, ret_peer)
                    : naru__fail(-ECONNRESET, "%s: the client has gone", h->name);
    pthread_mutex_unlock(call->lock);
    return r;
}

static const struct naru_handle_ops call_handle_ops = {
    .size = sizeof call_handle_ops,
    .peer = call_peer,
};

static struct naru_call *new_call(struct connection *n)
{
    struct naru_call *call = n->free_calls;
    if (call) {
        n->free_calls = call->next;
        n->n_free--;
        call->handle.magic = NARU__MAGIC;
    } else {
        call = naru__call_new(&call_handle_ops, &server_side, &n->lock, n, n->name);
        if (!call)
            return NULL;
    }
    call->next = n->calls;
    call->previous = NULL;
    if (n->calls)
        n->calls->previous = call;
    n->calls = call;
    n->n_calls++;
    atomic_fetch_add_explicit(&n->server->n_calls, 1, memory_order_relaxed);
    call->refs = 1;
    return call;
}

static void unqueue_events(struct connection *n, struct naru_call *call)
{
    struct naru_call **at = &n->events, *last = NULL;
    if (!call->queued)
        return;
    for (; *at && *at != call; at = &(*at)->next_event)
        last = *at;
    if (*at)
        *at = call->next_event;
    if (n->events_last == call)
        n->events_last = last;
    call->queued = false;
}

static void release_request(struct naru_call *call)
{
    struct naru_carrier *carrier = connection_of(call)->carrier;
    if (call->has_in_place && carrier) {
        carrier->ops->release(carrier, &call->in_place);
        carrier->pins--;
    }
    call->has_in_place = false;
    if (call->request_payload.internal[0])
        naru__call_drop(call, &call->request_payload);
}

/* With the lock held. The last reference frees it. */
static void drop_call(struct naru_call *call)
{
    enum { KEEPS = 256 };
    struct connection *n = connection_of(call);
    if (--call->refs > 0)
        return;
    release_request(call);
    unqueue_events(n, call);
    naru__timers_remove(&n->timers, call);
    for (struct naru_call *child = call->children; child; child = child->next_child)
        child->parent = NULL; /* its user had to close it; it lives on by itself */
    if (call->next)
        call->next->previous = call->previous;
    if (call->previous)
        call->previous->next = call->next;
    else
        n->calls = call->next;
    n->n_calls--;
    if (n->n_calls == 0)
        n->idle_since = n->server->options.max_idle ? naru__now() : 0;
    /* release: pairs with the acquire in has_ended: what the call did is over */
    atomic_fetch_sub_explicit(&n->server->n_calls, 1, memory_order_release);
    naru__call_reset(call);
    call->handle.magic = 0;
    if (n->n_free >= KEEPS || !n->carrier) {
        naru__call_free(call);
        return;
    }
    call->next = n->free_calls;
    n->free_calls = call;
    n->n_free++;
}

/* Nobody waits for the call any more; its handler learns of it. */
static void set_over(struct naru_call *call, int code)
{
    if (call->over)
        return;
    call->over = true;
    call->code = code;
    naru__timers_remove(&connection_of(call)->timers, call);
    naru__waiter_wake(call->waiter[0]);
    naru__waiter_wake(call->waiter[1]);
    if (call->children)
        naru__cancel_children(call, code);
    if (call->has_events)
        server_side.queue_events(call);
}

/* One that no handler has begun with ends here; others when theirs returns. */
static void drop_unbegun(struct naru_call *call)
{
    if (!call->began && !call->has_request && !call->finished) {
        call->finished = true;
        drop_call(call);
    }
}

static void send_status(struct naru_call *call, const struct naru_ending *e, const void *data,
                        size_t size)
{
    struct naru_carrier *carrier = call->carrier;
    if (!carrier || !call->flow.opened)
        return;
    int r = carrier->ops->status(carrier, call, e, data, size);
    if (r == -EMSGSIZE) { /* more than the client takes */
        const char *why = naru__why();
        const struct naru_ending large = {.code = NARU_STATUS_RESOURCE_EXHAUSTED,
                                          .text = {why, strlen(why)}};
        r = carrier->ops->status(carrier, call, &large, NULL, 0);
    }
    if (r == 1)
        call->refs++;           /* until on_gone */
    else if (call->flow.opened) /* the connection fails, and is found so by the loop */
        carrier->ops->forget(carrier, call);
}

/* The server ends it, before its handler does. */
static void end_now(struct naru_call *call, int code, const char *text)
{
    if (call->over)
        return;
    send_status(call, &(struct naru_ending){.code = code, .text = {text, strlen(text)}}, NULL, 0);
    set_over(call, code);
    drop_unbegun(call);
}

static void give_to_run(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    call->has_request = true;
    call->next_event = NULL;
    if (n->run)
        n->run_last->next_event = call;
    else
        n->run = call;
    n->run_last = call;
}

/* ---- what the carrier tells ---- */

static void *resolve(struct naru_carrier *carrier, const char *path)
{
    struct connection *n = carrier->owner;
    return find_entry(n->server, path);
}

static int refuse(int code, const char *text)
{
    naru__fail(-EREMOTEIO, "%s", text);
    return code;
}

static int on_open(struct naru_carrier *carrier, const struct naru_call_request *request,
                   struct naru_call **ret_call)
{
    struct connection *n = carrier->owner;
    struct naru_server *s = n->server;
    const struct entry *e = request->method;
    if (n->denied)
        return refuse(NARU_STATUS_PERMISSION_DENIED, "the server does not let this user in");
    if (s->stopping)
        return refuse(NARU_STATUS_UNAVAILABLE, "the server shuts down and takes no more calls");
    if (!e)
        return refuse(NARU_STATUS_UNIMPLEMENTED, "the server has no such method");
    if (request->time == 0)
        return refuse(NARU_STATUS_DEADLINE_EXCEEDED, "the time given passed on the way");
    if (atomic_load_explicit(&s->n_calls, memory_order_relaxed) >= s->options.max_calls)
        return refuse(NARU_STATUS_RESOURCE_EXHAUSTED,
                      "the server has as many calls in flight as it takes (.max_calls)");
    if (request->signature && e->signature && request->signature != e->signature) {
        naru__fail(-EPROTO,
                   "the structs of %s are not the same at both sides: %016" PRIx64
                   " at the client, %016" PRIx64 " at the server",
                   e->path, request->signature, e->signature);
        return NARU_STATUS_FAILED_PRECONDITION;
    }
    struct naru_call *call = new_call(n);
    if (!call)
        return refuse(NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for a call");
    call->service = e->service;
    call->method = e->method;
    call->self = e->self;
    call->method_flags = e->method->flags;
    call->carrier = carrier;
    call->flow.limited = call->method_flags & NARU_SERVER_STREAMS;
    call->flow.counted = call->method_flags & NARU_CLIENT_STREAMS;
    int r = 0;
    if (request->time >= 0) {
        call->deadline = naru__now();
        call->deadline = request->time > INT64_MAX - 1 - call->deadline
                             ? INT64_MAX - 1
                             : call->deadline + request->time;
        r = naru__timers_add(&n->timers, call);
        if (call->deadline < s->next_timer)
            s->next_timer = call->deadline;
    }
    if (r == 0 && request->metadata.size)
        r = naru__buffer_set(&call->keeps.their_header, request->metadata.data,
                             request->metadata.size);
    if (r < 0) {
        drop_call(call);
        return refuse(NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for a call");
    }
    naru__count(&s->handle.counts.received, 1);
    if (call->method_flags & NARU_CLIENT_STREAMS)
        give_to_run(call);
    *ret_call = call;
    return 0;
}

static void on_message(struct naru_call *call, const struct naru_arrival *a)
{
    struct connection *n = connection_of(call);
    if (call->method_flags & NARU_CLIENT_STREAMS) {
        naru__call_on_message(call, a);
        return;
    }
    if (call->received++ > 0) {
        free(a->owned);
        end_now(call, NARU_STATUS_INTERNAL, "the method takes one message, and more came");
        return;
    }
    /* A handler that cannot wait has it where it is: in shared memory nothing new comes by when
     * what is held stands in the way. */
    bool waits = n->server->workers || n->depth > 0 || call->method_flags & NARU_SERVER_STREAMS;
    if (!waits && !a->owned) {
        call->carrier->ops->keep(call->carrier, &call->in_place);
        call->carrier->pins++;
        call->has_in_place = true;
        call->request = a->data;
        call->request_size = a->size;
    } else if (naru__call_receive(call, a) < 0) {
        end_now(call, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    } else {
        (void)naru__call_next(call, &call->request_payload);
        call->request = call->request_payload.data;
        call->request_size = call->request_payload.size;
    }
    give_to_run(call);
}

static void on_half_close(struct naru_call *call)
{
    if (!(call->method_flags & NARU_CLIENT_STREAMS) && call->received == 0)
        end_now(call, NARU_STATUS_INTERNAL, "the method takes one message, and none came");
    else
        naru__call_on_half_close(call);
}

static void on_end(struct naru_call *call, const struct naru_ending *e)
{
    set_over(call, e->code == NARU_STATUS_DEADLINE_EXCEEDED ? e->code : NARU_STATUS_CANCELLED);
    drop_unbegun(call);
}

static void on_fault(struct naru_call *call, int code, const char *text)
{
    end_now(call, code, text);
}

static void on_gone(struct naru_call *call)
{
    drop_call(call);
}

static void on_late(struct naru_carrier *carrier)
{
    (void)carrier;
}

static const struct naru_carrier_events carrier_events = {
    .size = sizeof carrier_events,
    .resolve = resolve,
    .on_open = on_open,
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_writable = naru__call_on_writable,
    .on_gone = on_gone,
    .on_late = on_late,
};

/* ---- handlers ---- */

/* The initial metadata goes ahead of the first message. */
static int send_header(struct naru_call *call)
{
    if (call->header_sent || call->keeps.header.used == 0)
        return 0;
    call->header_sent = true;
    return call->carrier->ops->header(
        call->carrier, call, (struct naru_span){call->keeps.header.data, call->keeps.header.used});
}

/* The call is done: its status goes, unless nobody waits for it. With the lock held. */
static void finish(struct naru_call *call, int code)
{
    struct naru_ending e = {.code = code};
    const char *text = NULL;
    if (call->finished)
        return;
    if (code < 0) {
        text = naru__why();
        e.code = naru__status_from_errno(code);
    } else if (code > NARU_STATUS_UNAUTHENTICATED) {
        text = "the handler returned what is no status";
        e.code = NARU_STATUS_UNKNOWN;
    } else if (code == call->code && call->text) {
        text = call->text;
        e.details = (struct naru_span){call->details, call->details_size};
    }
    bool unary = !(call->method_flags & NARU_SERVER_STREAMS);
    if (e.code == NARU_STATUS_OK && unary && !call->answered) {
        text = "the handler says that all went well, and sent no answer";
        e.code = NARU_STATUS_INTERNAL;
    }
    if (text)
        e.text = (struct naru_span){text, strnlen(text, RPC_TEXT_MAX)};
    e.metadata = (struct naru_span){call->keeps.trailer.data, call->keeps.trailer.used};
    bool answers = e.code == NARU_STATUS_OK && unary;
    if (!call->over && call->flow.opened)
        (void)send_header(call);
    call->finished = true;
    if (!call->running)
        release_request(call);
    if (!call->over) {
        const void *answer = call->keeps.answer.used ? call->keeps.answer.data : (const void *)"";
        send_status(call, &e, answers ? answer : NULL, answers ? call->keeps.answer.used : 0);
        naru__count(&connection_of(call)->server->handle.counts.sent, 1);
        set_over(call, e.code);
    }
    drop_call(call);
}

static void make_due(struct naru_server *s, struct connection *n)
{
    pthread_mutex_lock(&s->lock);
    if (!n->due) {
        n->due = true;
        n->next_due = s->due;
        s->due = n;
        /* relaxed: a hint; the list is read under the lock, and other threads wake the loop */
        atomic_store_explicit(&s->has_due, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Something was sent, or a call finished, outside of what the loop does with the connection. */
static void touch(struct connection *n)
{
    struct naru_server *s = n->server;
    if (!n->carrier)
        return;
    bool stops = atomic_load_explicit(&s->stop_at, memory_order_relaxed) != 0;
    if (!n->going && !stops && !n->carrier->ops->owes(n->carrier))
        return;
    make_due(s, n);
    if (!in_loop(s))
        naru__nudge(&s->handle, 0);
}

static void free_connection(struct connection *n)
{
    while (n->calls) {
        struct naru_call *call = n->calls;
        n->calls = call->next;
        naru__call_free(call);
    }
    while (n->free_calls) {
        struct naru_call *call = n->free_calls;
        n->free_calls = call->next;
        naru__call_free(call);
    }
    naru__timers_free(&n->timers);
    pthread_mutex_destroy(&n->lock);
    free(n->name);
    free(n);
}

static void unlist(struct connection **list, struct connection *n)
{
    if (n->next)
        n->next->previous = n->previous;
    if (n->previous)
        n->previous->next = n->next;
    else
        *list = n->next;
}

static void list(struct connection **list, struct connection *n)
{
    n->next = *list;
    n->previous = NULL;
    if (n->next)
        n->next->previous = n;
    *list = n;
}

/* After the last of its calls, if it is gone. Lets the lock go. */
static void leave_connection(struct connection *n)
{
    struct naru_server *s = n->server;
    bool last = !n->carrier && n->n_calls == 0;
    pthread_mutex_unlock(&n->lock);
    if (!last)
        return;
    pthread_mutex_lock(&s->lock);
    unlist(&s->gone, n);
    pthread_mutex_unlock(&s->lock);
    free_connection(n);
}

/* The handler has returned; another thread may have finished the call before. */
static void handled(struct naru_call *call, int code)
{
    call->running = false;
    release_request(call);
    if (code != NARU_LATER)
        finish(call, code);
    drop_call(call);
}

static void run_in_worker(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    int code = call->method->serve(call, call->self, call->request, call->request_size);
    pthread_mutex_lock(&n->lock);
    handled(call, code);
    touch(n);
    leave_connection(n);
}

/* The next call whose handler is to run. With the lock held, which is let go meanwhile. */
static void run_next(struct connection *n)
{
    struct naru_server *s = n->server;
    struct naru_call *call = n->run;
    n->run = call->next_event;
    call->has_request = false;
    if (call->over || call->finished) {
        drop_unbegun(call);
        return;
    }
    call->began = call->running = true;
    call->refs++; /* the handler's */
    if (s->workers) {
        naru__workers_give(s->workers, call);
        return;
    }
    n->depth++;
    pthread_mutex_unlock(&n->lock);
    int code = call->method->serve(call, call->self, call->request, call->request_size);
    pthread_mutex_lock(&n->lock);
    n->depth--;
    handled(call, code);
}

static void run_events(struct connection *n)
{
    while (n->events) {
        struct naru_call *call = n->events;
        n->events = call->next_event;
        call->queued = false;
        call->refs++;
        n->depth++;
        (void)naru__call_run_events(call);
        n->depth--;
        drop_call(call);
    }
}

int naru__server_finish(naru_call *call, int code)
{
    struct connection *n = connection_of(call);
    pthread_mutex_lock(&n->lock);
    int r = call->finished
                ? naru__fail(-EINVAL, "%s: the call is finished already", call->handle.name)
                : 0;
    if (r == 0) {
        finish(call, code);
        if (n->carrier && !in_loop(n->server) && n->carrier->ops->owes(n->carrier))
            (void)n->carrier->ops->flush(n->carrier);
        touch(n);
    }
    leave_connection(n);
    return r;
}

int naru__server_fail(naru_call *call, int code, const void *details, size_t size, const char *text)
{
    pthread_mutex_lock(call->lock);
    naru__call_set_status(call, code, text, strlen(text));
    int r = naru__call_set_details(call, details, size);
    pthread_mutex_unlock(call->lock);
    return r < 0 ? r : code;
}

int naru__server_send_header(naru_call *call, const struct naru_metadata *entry)
{
    pthread_mutex_lock(call->lock);
    int r = call->header_sent ? naru__fail(-EBUSY,
                                           "%s: the header is sent already: entries come "
                                           "before the first message",
                                           call->handle.name)
                              : naru__call_add_metadata(call, &call->keeps.header, entry,
                                                        RPC_METADATA_MAX, "initial");
    pthread_mutex_unlock(call->lock);
    return r;
}

int naru__server_set_trailer(naru_call *call, const struct naru_metadata *entry)
{
    pthread_mutex_lock(call->lock);
    int r =
        naru__call_add_metadata(call, &call->keeps.trailer, entry, RPC_METADATA_MAX, "trailing");
    pthread_mutex_unlock(call->lock);
    return r;
}

/* ---- connections ---- */

static int place_for(struct naru_server *s, int fd, struct place **ret_place)
{
    if (fd >= s->n_places) {
        int n = s->n_places ? s->n_places : 64;
        while (n <= fd)
            n *= 2;
        struct place *places = naru__alloc((size_t)n * sizeof *places);
        if (!places)
            return -ENOMEM;
        if (s->n_places)
            memcpy(places, s->places, (size_t)s->n_places * sizeof *places);
        free(s->places);
        s->places = places;
        s->n_places = n;
    }
    *ret_place = &s->places[fd];
    return 0;
}

static bool same_fds(const struct naru_watch *a, const struct naru_watch *b)
{
    for (unsigned i = 0; a->n == b->n && i < a->n; i++)
        if (a->fds[i].fd != b->fds[i].fd || a->fds[i].events != b->fds[i].events)
            return false;
    return a->n == b->n;
}

static void disarm(struct naru_server *s, struct connection *n)
{
    for (unsigned i = 0; i < n->armed.n; i++) {
        int fd = n->armed.fds[i].fd;
        (void)naru__os_epoll_change(s->epoll, EPOLL_CTL_DEL, fd, 0);
        if (fd < s->n_places)
            s->places[fd].connection = NULL;
    }
    n->armed.n = 0;
}

/* The set is told what the connection waits for. True: there is something already. */
static bool arm(struct naru_server *s, struct connection *n)
{
    struct naru_watch now = {.again = NARU__NEVER};
    pthread_mutex_lock(&n->lock);
    int r = n->carrier->ops->watch(n->carrier, &now);
    bool owes = n->carrier->ops->owes(n->carrier);
    pthread_mutex_unlock(&n->lock);
    n->armed_out = owes;
    if (r == 0 && !same_fds(&now, &n->armed)) {
        for (unsigned i = 0; i < n->armed.n; i++)
            if (n->armed.fds[i].fd < s->n_places)
                s->places[n->armed.fds[i].fd].connection = NULL;
        for (unsigned i = 0; i < now.n && r == 0; i++) {
            struct place *p;
            r = place_for(s, now.fds[i].fd, &p);
            if (r == 0)
                *p = (struct place){n, NULL};
        }
        if (r == 0)
            r = naru__watch_arm(s->epoll, &n->armed, &now);
    }
    bool ticks = r < 0 || now.again != NARU__NEVER;
    s->n_ticks += (unsigned)ticks - (unsigned)n->ticks;
    n->ticks = ticks;
    n->armed.again = r < 0 ? naru__now() + 10 * NARU_MS : now.again;
    return r == 0 && now.again != NARU__NEVER && now.again <= naru__now();
}

static void lose_calls(struct connection *n)
{
    struct naru_carrier *carrier = n->carrier;
    n->lost = true;
    for (struct naru_call *call = n->calls, *next; call; call = next) {
        next = call->next;
        bool goes = call->flow.status != NULL; /* its status was on its way */
        call->refs++;
        carrier->ops->forget(carrier, call);
        set_over(call, NARU_STATUS_CANCELLED);
        drop_unbegun(call);
        if (goes)
            drop_call(call);
        next = call->next;
        drop_call(call);
    }
}

/* Its calls are over; it goes when the last handler has returned. */
static void close_connection(struct naru_server *s, struct connection *n)
{
    disarm(s, n);
    s->n_ticks -= n->ticks;
    for (struct connection **at = &s->hot; n->hot && *at; at = &(*at)->next_hot)
        if (*at == n) {
            *at = n->next_hot;
            break;
        }
    pthread_mutex_lock(&n->lock);
    if (!n->lost)
        lose_calls(n);
    while (n->run) {
        struct naru_call *call = n->run;
        n->run = call->next_event;
        call->has_request = false;
        drop_unbegun(call);
    }
    run_events(n);
    struct naru_carrier *carrier = n->carrier;
    for (struct naru_call *call = n->calls; call; call = call->next) {
        release_request(call);
        call->carrier = NULL;
    }
    n->carrier = NULL;
    carrier->ops->close(carrier);
    unlist(&s->connections, n);
    pthread_mutex_lock(&s->lock); /* without a carrier it becomes due no more */
    for (struct connection **at = &s->due; n->due && *at; at = &(*at)->next_due)
        if (*at == n) {
            *at = n->next_due;
            break;
        }
    n->due = false;
    list(&s->gone, n);
    pthread_mutex_unlock(&s->lock);
    s->n_connections--;
    s->n_unproven -= !n->proven;
    leave_connection(n);
}

static void make_hot(struct naru_server *s, struct connection *n)
{
    if (n->hot)
        return;
    n->hot = true;
    n->next_hot = s->hot;
    s->hot = n;
}

/* In a forked child: nothing is told, and the set is the parent's. */
static void forget_connection(struct naru_server *s, struct connection *n)
{
    s->connections = n->next;
    n->carrier->ops->close(n->carrier);
    free_connection(n);
}

/* Handles some of what has come. 1: did; 0; negative: it is lost, and was closed. */
static int serve(struct naru_server *s, struct connection *n)
{
    enum { BUDGET = 64, SLOW = 100000 };
    pthread_mutex_lock(&n->lock);
    struct naru_carrier *carrier = n->carrier;
    const bool cheap = carrier->ops->cheap(carrier), gathers = !cheap && !s->workers;
    int64_t began = gathers ? naru__now() : 0;
    int r = 0, did = 0;
    carrier->gather = gathers;
    for (int i = 0; i < BUDGET && !n->lost; i++) {
        r = carrier->ops->process(carrier);
        if (r <= 0)
            break;
        did = 1;
        if (!n->proven) {
            n->proven = true;
            s->n_unproven--;
        }
        while (n->run) {
            /* what others wait for is not held up by a slow handler */
            if (gathers && i > 0 && naru__now() - began > SLOW) {
                (void)carrier->ops->flush(carrier);
                began = naru__now();
            }
            run_next(n);
        }
        if (n->events)
            run_events(n);
        if (!carrier->ops->ready(carrier)) {
            r = 0;
            break;
        }
    }
    carrier->gather = false;
    if (r >= 0 && !n->lost && carrier->ops->owes(carrier)) {
        int f = carrier->ops->flush(carrier);
        r = f == 0 || f == -EAGAIN ? r : f;
        while (n->run)
            run_next(n);
        if (n->events)
            run_events(n);
    }
    bool owes = r >= 0 && carrier->ops->owes(carrier);
    bool more = r > 0 && !n->lost && carrier->ops->ready(carrier);
    bool refused = n->denied && n->proven && !owes; /* it has been told */
    pthread_mutex_unlock(&n->lock);
    if (r < 0 || n->lost || refused) {
        close_connection(s, n);
        return -ECONNRESET;
    }
    if (more) /* in memory already, so no descriptor tells */
        make_due(s, n);
    if (cheap)
        make_hot(s, n);
    else if (owes || n->armed_out)
        (void)arm(s, n);
    return did;
}

/* ---- coming in ---- */

static bool listed(const int64_t *list, int64_t id)
{
    for (; list && *list >= 0; list++)
        if (*list == id)
            return true;
    return false;
}

static bool lets_in(const struct naru_server *s, naru_channel *channel)
{
    const struct naru_server_options *o = &s->options;
    struct naru_peer peer = {.size = sizeof peer, .uid = -1, .gid = -1};
    struct naru_handle *h = &channel->handle;
    bool lists = o->uids || o->gids;
    if (!h->ops->peer || h->ops->peer(h, &peer) < 0 || peer.uid < 0)
        return !lists; /* of a pipe's end, or another host, nobody knows */
    if (lists)
        return listed(o->uids, peer.uid) || listed(o->gids, peer.gid);
    return o->flags & NARU_ANY_USER || peer.uid == 0 || peer.uid == (int64_t)geteuid();
}

/* Takes the channel over on success. */
static int take_connection(struct naru_server *s, naru_channel *channel, bool checked)
{
    struct connection *n = naru__alloc(sizeof *n);
    if (!n)
        return -ENOMEM;
    n->server = s;
    n->name = naru__copy_text(channel->handle.name, strlen(channel->handle.name));
    pthread_mutex_init(&n->lock, NULL);
    int r = n->name
                ? naru__channel_carrier(channel, true, &s->limits, &carrier_events, n, &n->carrier)
                : -ENOMEM;
    if (r < 0) {
        free_connection(n);
        return r;
    }
    n->armed.again = NARU__NEVER;
    n->born = n->idle_since = naru__now();
    list(&s->connections, n);
    s->n_connections++;
    s->n_unproven++;
    if (!checked) {
        (void)n->carrier->ops->goaway(n->carrier, NARU_STATUS_PERMISSION_DENIED);
        n->denied = n->going = true;
    }
    (void)arm(s, n); /* also so that naru_fd tells */
    make_due(s, n);
    return 0;
}

static void accept_some(struct naru_server *s, struct listener *l)
{
    enum { SOME = 16 };
    naru_channel *channel;
    for (int i = 0; i < SOME && naru_channel_accept(l->handle, NARU_NOWAIT, &channel) == 0; i++) {
        bool lets = lets_in(s, channel);
        if (s->n_connections >= s->options.max_clients || take_connection(s, channel, lets) < 0) {
            naru__count(&s->handle.counts.dropped, 1);
            (void)naru_channel_close(channel);
        } else if (!lets) {
            naru__count(&s->handle.counts.dropped, 1);
        }
    }
}

/* ---- time ---- */

static void run_timers(struct naru_server *s)
{
    int64_t now, next = NARU__NEVER;
    if (s->next_timer == NARU__NEVER || (now = naru__now()) < s->next_timer)
        return;
    for (struct connection *n = s->connections; n; n = n->next) {
        pthread_mutex_lock(&n->lock);
        struct naru_call *first;
        while ((first = naru__timers_first(&n->timers)) && first->deadline <= now)
            end_now(first, NARU_STATUS_DEADLINE_EXCEEDED, "the time given passed");
        if (first && first->deadline < next)
            next = first->deadline;
        if (n->events)
            run_events(n);
        bool owes = n->carrier->ops->owes(n->carrier);
        pthread_mutex_unlock(&n->lock);
        if (owes)
            make_due(s, n);
    }
    s->next_timer = next;
}

static void tell_to_go(struct naru_server *s, struct connection *n)
{
    pthread_mutex_lock(&n->lock);
    if (!n->going)
        (void)n->carrier->ops->goaway(n->carrier, NARU_STATUS_UNAVAILABLE);
    n->going = true;
    pthread_mutex_unlock(&n->lock);
    make_due(s, n);
}

/* Once a second, if there is anything to look for. */
static void sweep(struct naru_server *s)
{
    enum { GREETS_IN = 10 };
    const struct naru_server_options *o = &s->options;
    int64_t now;
    bool any = o->max_idle || o->max_age || s->n_unproven;
    if (!any) {
        s->next_sweep = NARU__NEVER;
        return;
    }
    now = naru__now();
    if (s->next_sweep == NARU__NEVER)
        s->next_sweep = now + NARU_S / 4;
    if (now < s->next_sweep)
        return;
    s->next_sweep = now + NARU_S / 4;
    for (struct connection *n = s->connections, *next; n; n = next) {
        next = n->next;
        bool idle = o->max_idle && n->n_calls == 0 && n->idle_since > 0 &&
                    now - n->idle_since > o->max_idle;
        bool old = o->max_age && now - n->born > o->max_age;
        if (!n->proven && now - n->born > (int64_t)GREETS_IN * NARU_S) {
            close_connection(s, n);
            continue;
        }
        if ((idle || old) && !n->going) {
            tell_to_go(s, n);
            n->go_at = now + NARU_S;
        } else if (n->going && n->go_at && now > n->go_at && n->n_calls == 0) {
            close_connection(s, n);
        }
    }
}

static void close_listeners(struct naru_server *s)
{
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        (void)naru__os_epoll_change(s->epoll, EPOLL_CTL_DEL, l->fd, 0);
        if (l->fd < s->n_places)
            s->places[l->fd].listener = NULL;
        (void)naru_channel_listener_close(l->handle);
        free(l);
    }
}

static void begin_stopping(struct naru_server *s)
{
    s->stopping = true;
    close_listeners(s);
    for (struct connection *n = s->connections; n; n = n->next)
        tell_to_go(s, n);
}

static void end_all(struct naru_server *s)
{
    s->ended = true;
    for (struct connection *n = s->connections; n; n = n->next) {
        pthread_mutex_lock(&n->lock);
        for (struct naru_call *call = n->calls, *next; call; call = next) {
            next = call->next;
            end_now(call, NARU_STATUS_UNAVAILABLE, "the server shuts down");
        }
        if (n->events)
            run_events(n);
        pthread_mutex_unlock(&n->lock);
        make_due(s, n);
    }
}

/* All that was begun is over, or the grace is. */
static bool has_ended(struct naru_server *s)
{
    enum { LAST_WORDS = 1000000000 }; /* ns: for answers that nobody reads */
    int64_t at = atomic_load_explicit(&s->stop_at, memory_order_acquire);
    if (at == 0)
        return false;
    if (!s->stopping)
        begin_stopping(s);
    int64_t now = naru__now();
    if (now >= at && !s->ended)
        end_all(s);
    /* acquire: pairs with the release in drop_call */
    if (!s->ended && atomic_load_explicit(&s->n_calls, memory_order_acquire) > 0)
        return false;
    bool owes = false;
    for (struct connection *n = s->connections; n && !owes; n = n->next) {
        pthread_mutex_lock(&n->lock);
        owes = n->carrier->ops->owes(n->carrier);
        pthread_mutex_unlock(&n->lock);
    }
    return !owes || (s->ended && now > at + LAST_WORDS);
}

/* ---- the loop ---- */

/* What the set tells, without waiting, or until `until`. */
static int look(struct naru_server *s, int64_t until)
{
    enum { MOST = 64 };
    int fds[MOST];
    int n = naru__os_epoll_wait(s->epoll, fds, MOST, until);
    if (n == -EINTR)
        return 0;
    if (n < 0)
        return naru__fail(n, "the server's wait failed: %s", naru__errno_text(n));
    for (int i = 0; i < n; i++) {
        if (fds[i] == s->handle.wake[0]) {
            naru__os_drain(fds[i]);
            continue;
        }
        struct place p = fds[i] < s->n_places ? s->places[fds[i]] : (struct place){NULL, NULL};
        if (p.listener)
            accept_some(s, p.listener);
        else if (p.connection)
            make_due(s, p.connection);
    }
    return n;
}

static bool serve_due(struct naru_server *s)
{
    bool did = false;
    pthread_mutex_lock(&s->lock);
    struct connection *due = s->due, *all = NULL;
    while (due) { /* in the order in which they came */
        struct connection *next = due->next_due;
        due->next_due = all;
        all = due;
        due = next;
    }
    s->due = NULL;
    atomic_store_explicit(&s->has_due, false, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    while (all) {
        struct connection *n = all;
        all = n->next_due;
        pthread_mutex_lock(&s->lock);
        n->due = false;
        pthread_mutex_unlock(&s->lock);
        did |= serve(s, n) != 0;
    }
    return did;
}

/* Those in shared memory that something has come by. */
static bool serve_hot(struct naru_server *s)
{
    bool did = false;
    for (struct connection *n = s->hot, *next; n; n = next) {
        next = n->next_hot;
        if (n->carrier->ops->ready(n->carrier))
            did |= serve(s, n) != 0;
    }
    return did;
}

static bool hot_ready(const struct naru_server *s)
{
    for (const struct connection *n = s->hot; n; n = n->next_hot)
        if (n->carrier->ops->ready(n->carrier))
            return true;
    return false;
}

/* Before sleeping. True: there is something, and it is not to sleep. ret_again: how long it may. */
static bool arm_hot(struct naru_server *s, int64_t *ret_again)
{
    struct connection *all = s->hot;
    bool ready = false;
    s->hot = NULL;
    while (all) {
        struct connection *n = all;
        all = n->next_hot;
        n->hot = false;
        if (arm(s, n)) {
            make_due(s, n);
            ready = true;
        }
    }
    for (struct connection *n = s->n_ticks ? s->connections : NULL; n; n = n->next)
        if (n->ticks && n->armed.again < *ret_again)
            *ret_again = n->armed.again;
    return ready;
}

static void make_ticking_due(struct naru_server *s)
{
    int64_t now = s->n_ticks ? naru__now() : 0;
    for (struct connection *n = s->n_ticks ? s->connections : NULL; n; n = n->next)
        if (n->ticks && n->armed.again <= now)
            make_due(s, n);
}

static int64_t earliest(const struct naru_server *s)
{
    int64_t t = s->next_timer < s->next_sweep ? s->next_timer : s->next_sweep;
    int64_t stop = atomic_load_explicit(&s->stop_at, memory_order_relaxed);
    if (stop && !s->ended && stop < t)
        t = stop;
    return stop && s->ended ? naru__now() + 10 * NARU_MS : t;
}

static int sleep_once(struct naru_server *s, struct naru_wait *wait)
{
    int64_t until = earliest(s);
    if (wait->deadline < until)
        until = wait->deadline;
    if (arm_hot(s, &until))
        return 0;
    if (until != NARU__NEVER && until < naru__now())
        until = NARU__AT_ONCE;
    int r = look(s, until);
    wait->slept = true;
    naru__count(&s->handle.counts.sleeps[0], 1);
    make_ticking_due(s);
    return r < 0 ? r : 0;
}

/* Nothing to do: looks for a while, then sleeps. */
static int pause_loop(struct naru_server *s, struct naru_wait *wait)
{
    enum { LOOKS = 200, LOOK_EVERY = 16 };
    bool spins = wait->spin_until == 0 ? s->handle.spin[0].credit > 0 : naru__wait_spins(wait);
    if (s->hot && s->handle.can_spin && wait->deadline != NARU__AT_ONCE && spins) {
        wait->looks = true;
        for (int i = 0; i < LOOKS; i++) {
            if (hot_ready(s))
                return 0;
            naru__relax();
        }
    }
    int r = naru__wait_spin(wait);
    if (r < 0)
        return r;
    if (r == 0)
        return sleep_once(s, wait);
    if (s->hot && ++s->rounds % LOOK_EVERY != 0)
        return 0;
    r = look(s, NARU__AT_ONCE);
    return r < 0 ? r : 0;
}

int naru__server_process(naru_server *s, int64_t deadline)
{
    enum { LOOK_EVERY = 64 };
    struct naru_wait wait = naru__wait_begin(&s->handle, NARU_IN, deadline);
    int r = 0;
    if (in_loop(s))
        return naru__fail(-EDEADLK,
                          "the server is in naru_server_process already: a handler, or an "
                          "event, called it");
    atomic_store_explicit(&s->thread, naru__thread(), memory_order_relaxed);
    for (bool first = true; r == 0; first = false) {
        bool did = false;
        if ((first && deadline == NARU__AT_ONCE) || ++s->rounds % LOOK_EVERY == 0) {
            r = look(s, NARU__AT_ONCE);
            r = r < 0 ? r : 0;
            make_ticking_due(s);
        }
        did |= serve_hot(s);
        /* relaxed: as in make_due */
        if (atomic_load_explicit(&s->has_due, memory_order_relaxed))
            did |= serve_due(s);
        run_timers(s);
        sweep(s);
        if (has_ended(s)) {
            while (s->connections)
                close_connection(s, s->connections);
            r = naru__fail(-EPIPE, "the server was shut down");
            break;
        }
        if (did)
            break;
        if (r == 0)
            r = pause_loop(s, &wait);
    }
    naru__wait_done(&wait);
    if (s->handle.epoll >= 0) { /* who sleeps elsewhere has to be told */
        int64_t again = NARU__NEVER;
        (void)arm_hot(s, &again);
    }
    atomic_store_explicit(&s->thread, 0, memory_order_relaxed);
    return r;
}

/* ---- a call's side ---- */

/* In a handler that the loop's thread runs: its own connection goes on. */
static int await_in_loop(struct naru_call *call, bool (*done)(const struct naru_call *),
                         int64_t until)
{
    struct connection *n = connection_of(call);
    struct naru_server *s = n->server;
    struct naru_wait wait = naru__wait_begin(&s->handle, NARU_IN, until);
    struct naru_carrier *carrier = n->carrier;
    int r = 0;
    bool gathers = carrier && carrier->gather;
    if (gathers)
        carrier->gather = false;
    while (!done(call) && r == 0) {
        if (n->lost || !n->carrier)
            break;
        int p = carrier->ops->process(carrier);
        int f = p >= 0 && carrier->ops->owes(carrier) ? carrier->ops->flush(carrier) : 0;
        if (p < 0 || (f < 0 && f != -EAGAIN)) {
            lose_calls(n);
            break;
        }
        if (p > 0 || done(call))
            continue;
        struct naru_watch watch = {.again = NARU__NEVER};
        r = naru__wait_spin(&wait);
        if (r == 1) {
            r = 0;
            continue;
        }
        if (r == 0)
            r = carrier->ops->watch(carrier, &watch);
        if (r < 0)
            break;
        struct pollfd fds[NARU__WATCH_MAX + 1];
        memcpy(fds, watch.fds, watch.n * sizeof *fds);
        fds[watch.n] = (struct pollfd){.fd = s->handle.wake[0], .events = POLLIN};
        pthread_mutex_unlock(&n->lock);
        int polled = naru__os_poll(fds, watch.n + 1, watch.again < until ? watch.again : until);
        if (polled > 0 && fds[watch.n].revents)
            naru__os_drain(s->handle.wake[0]);
        pthread_mutex_lock(&n->lock);
        wait.slept = true;
        if (polled < 0 && polled != -EINTR)
            r = naru__fail(polled, "%s: waiting failed: %s", n->name, naru__errno_text(polled));
    }
    naru__wait_done(&wait);
    if (gathers && !n->lost)
        carrier->gather = true;
    return done(call) ? 0 : r;
}

static int await_elsewhere(struct naru_call *call, int thread,
                           bool (*done)(const struct naru_call *), int64_t until)
{
    while (!done(call)) {
        struct naru_waiter w = {.next = NULL};
        if (until == NARU__AT_ONCE)
            return naru__fail_static(-EAGAIN, "nothing is there, and NARU_NOWAIT was given");
        if (until != NARU__NEVER && naru__now() >= until)
            return naru__fail(-ETIMEDOUT, "%s: the time given passed", call->handle.name);
        call->waiter[thread] = &w;
        pthread_mutex_unlock(call->lock);
        (void)naru__os_futex_wait(&w.word, 0, until);
        pthread_mutex_lock(call->lock);
        call->waiter[thread] = NULL;
    }
    return 0;
}

static int server_await(struct naru_call *call, int thread, bool (*done)(const struct naru_call *),
                        int64_t deadline)
{
    struct connection *n = connection_of(call);
    int64_t until = call->deadline < deadline ? call->deadline : deadline;
    if (n->carrier && !in_loop(n->server) && n->carrier->ops->owes(n->carrier))
        touch(n);
    int r = in_loop(n->server) ? await_in_loop(call, done, until)
                               : await_elsewhere(call, thread, done, until);
    if (r == -ETIMEDOUT && until == call->deadline) {
        end_now(call, NARU_STATUS_DEADLINE_EXCEEDED, "the time given passed");
        r = 0;
    }
    return r;
}

static void server_sent(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    if (!n->carrier)
        return;
    if (n->carrier->gather && in_loop(n->server) && call->method_flags & NARU_SERVER_STREAMS)
        (void)n->carrier->ops->flush(n->carrier); /* the handler may take its time now */
    touch(n);
}

static bool settled(const struct naru_call *call)
{
    return call->over || !call->carrier || !call->carrier->ops->owes(call->carrier);
}

static void server_settle(struct naru_call *call, int64_t deadline)
{
    int64_t until = call->deadline < deadline ? call->deadline : deadline;
    if (in_loop(connection_of(call)->server) && !settled(call))
        (void)await_in_loop(call, settled, until);
}

static int server_cancel(struct naru_call *call, int code)
{
    call->cancelled = true;
    end_now(call, code, "the server cancelled the call");
    touch(connection_of(call));
    return 0;
}

static int server_answer(struct naru_call *call, const void *data, size_t size)
{
    struct connection *n = connection_of(call);
    if (call->answered)
        return naru__fail(-EPIPE, "%s: the method has one answer, and it was given", n->name);
    if (data == call->keeps.answer.data)
        call->keeps.answer.used = size; /* it was reserved there */
    else if (naru__buffer_set(&call->keeps.answer, data, size) < 0)
        return -ENOMEM;
    call->answered = true;
    return 0;
}

static void server_queue_events(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    if (call->queued || call->runs || call->finished)
        return;
    call->queued = true;
    call->next_event = NULL;
    if (n->events)
        n->events_last->next_event = call;
    else
        n->events = call;
    n->events_last = call;
}

static int server_over(struct naru_call *call)
{
    return naru__fail(-ECANCELED, "%s: nobody waits for the call any more: %s", call->handle.name,
                      naru__status_name(call->code));
}

static int server_broken(struct naru_call *call, int code)
{
    (void)call;
    return code;
}

static int server_listens(struct naru_call *call)
{
    (void)call;
    return 0;
}

static void server_drop(struct naru_call *call, struct naru_payload *payload)
{
    naru__call_drop(call, payload);
}

static const struct naru_call_side server_side = {
    .size = sizeof server_side,
    .await = server_await,
    .header = send_header,
    .sent = server_sent,
    .settle = server_settle,
    .cancel = server_cancel,
    .answer = server_answer,
    .queue_events = server_queue_events,
    .over = server_over,
    .broken = server_broken,
    .listens = server_listens,
    .release = server_drop,
};

/* ---- the handle ---- */

static int server_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct naru_server *s = (struct naru_server *)h;
    (void)events;
    ret_watch->n = 1;
    ret_watch->fds[0] = (struct pollfd){.fd = s->epoll, .events = POLLIN};
    ret_watch->again = earliest(s);
    for (struct connection *n = s->n_ticks ? s->connections : NULL; n; n = n->next)
        if (n->ticks && n->armed.again < ret_watch->again)
            ret_watch->again = n->armed.again;
    return 0;
}

static bool server_ready(struct naru_handle *h, int events)
{
    struct naru_server *s = (struct naru_server *)h;
    (void)events;
    pthread_mutex_lock(&s->lock);
    bool ready = s->due != NULL;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = server_watch,
    .ready = server_ready,
};

static unsigned or_default(unsigned value, unsigned otherwise)
{
    return value ? value : otherwise;
}

static int64_t *copy_list(const int64_t *list)
{
    size_t n = 1;
    while (list[n - 1] >= 0)
        n++;
    int64_t *copy = naru__alloc(n * sizeof *copy);
    if (copy)
        memcpy(copy, list, n * sizeof *copy);
    return copy;
}

static int make_epoll(struct naru_server *s)
{
    int r = s->epoll = naru__os_epoll();
    if (r >= 0)
        r = s->handle.wake[0] = naru__os_eventfd();
    if (r >= 0)
        r = naru__os_epoll_change(s->epoll, EPOLL_CTL_ADD, s->handle.wake[0], EPOLLIN);
    return r < 0 ? naru__fail(r, "a server needs an epoll set and an eventfd: %s%s",
                              naru__errno_text(r), naru__limit_of_files(r).text)
                 : 0;
}

int naru__server_new(const struct naru_server_options *options, naru_server **ret_s)
{
    naru_server *s = naru__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    int r = naru__handle_init(&s->handle, NARU__SERVER, &handle_ops, "server:", NARU_IN);
    if (r < 0) {
        free(s);
        return r;
    }
    naru__set_waiting(&s->handle, options->flags);
    pthread_mutex_init(&s->lock, NULL);
    s->epoll = NARU__NO_FD;
    s->next_timer = s->next_sweep = NARU__NEVER;
    s->options = *options;
    s->options.uids = s->options.gids = NULL;
    s->options.max_clients = or_default(options->max_clients, 10000);
    s->options.max_calls = or_default(options->max_calls, 100000);
    s->options.max_calls_each = or_default(options->max_calls_each, 10000);
    s->limits = (struct naru_carrier_limits){
        .max_message = options->max_message ? options->max_message : 4 << 20,
        .max_metadata = options->max_metadata ? options->max_metadata : 16384,
        .window = options->window ? options->window : 256 << 10,
        .max_calls = s->options.max_calls_each,
    };
    if (options->uids && !(s->options.uids = copy_list(options->uids)))
        r = -ENOMEM;
    if (options->gids && !(s->options.gids = copy_list(options->gids)))
        r = -ENOMEM;
    if (r == 0)
        r = make_epoll(s);
    if (r == 0 && options->workers)
        r = naru__workers_new(options->workers, run_in_worker, &s->workers);
    if (r < 0) {
        naru__server_close(s, true);
        return r;
    }
    *ret_s = s;
    return 0;
}

int naru__server_listen(naru_server *s, const char *url)
{
    const struct naru_server_options *o = &s->options;
    const struct naru_listen_options options = {
        .size = sizeof options,
        .mode = o->mode,
        .flags = o->flags,
        .keepalive = o->keepalive,
    };
    struct listener *l = naru__alloc(sizeof *l);
    struct place *p;
    if (!l)
        return -ENOMEM;
    int r = naru_channel_listen(url, &options, &l->handle);
    if (r < 0) {
        free(l);
        return r;
    }
    struct naru_handle *h = (struct naru_handle *)l->handle;
    struct naru_watch watch = {.again = NARU__NEVER};
    r = h->ops->watch(h, NARU_IN, &watch);
    l->fd = watch.fds[0].fd;
    if (r == 0)
        r = place_for(s, l->fd, &p);
    if (r == 0)
        r = naru__os_epoll_change(s->epoll, EPOLL_CTL_ADD, l->fd, EPOLLIN);
    if (r < 0) {
        (void)naru_channel_listener_close(l->handle);
        free(l);
        return naru__fail(r, "%s: it cannot be waited for: %s", url, naru__errno_text(r));
    }
    char *name = naru__copy_text(h->name, strlen(h->name));
    if (name) { /* naru_url tells it, with the port that it got */
        free(s->handle.name);
        s->handle.name = name;
    }
    *p = (struct place){NULL, l};
    l->next = s->listeners;
    s->listeners = l;
    return 0;
}

int naru__server_attach(naru_server *s, naru_channel *channel)
{
    if (s->stopping)
        return naru__fail(-EPIPE, "the server was shut down");
    return take_connection(s, channel, true);
}

/* Async-signal-safe: an atomic store, and a write. */
int naru__server_shutdown(naru_server *s, int64_t grace)
{
    int64_t at = naru__deadline(grace == 0 ? 1 : grace), before = 0;
    /* the first one holds, or an earlier end */
    if (!atomic_compare_exchange_strong(&s->stop_at, &before, at) && at < before)
        atomic_store(&s->stop_at, at);
    naru__nudge(&s->handle, 0);
    return 0;
}

void naru__server_close(naru_server *s, bool owner)
{
    naru__workers_stop(s->workers, owner);
    s->workers = NULL;
    if (owner) {
        atomic_store_explicit(&s->thread, naru__thread(), memory_order_relaxed);
        close_listeners(s);
        for (struct connection *n = s->connections; n; n = n->next) {
            (void)n->carrier->ops->goaway(n->carrier, NARU_STATUS_UNAVAILABLE);
            n->going = true;
        }
    }
    while (s->connections)
        (owner ? close_connection : forget_connection)(s, s->connections);
    while (s->gone) { /* what was not finished is given up */
        struct connection *n = s->gone;
        s->gone = n->next;
        free_connection(n);
    }
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        (void)naru_channel_listener_close(l->handle);
        free(l);
    }
    for (size_t i = 0; i < s->table_size; i++)
        while (s->table[i]) {
            struct entry *e = s->table[i];
            s->table[i] = e->next;
            free(e);
        }
    free(s->table);
    free(s->places);
    free((void *)(uintptr_t)s->options.uids);
    free((void *)(uintptr_t)s->options.gids);
    naru__os_close(s->epoll);
    pthread_mutex_destroy(&s->lock);
    naru__handle_deinit(&s->handle);
    free(s);
}
