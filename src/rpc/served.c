/* SPDX-License-Identifier: MIT */
/* served.c - a server's calls: from the frame that opens one to its status, and their handlers.
 *
 * A call lives until its handler has returned, it is finished, and its status has gone: three
 * references. Upcalls of the carrier come with the connection's lock held, handlers and events run
 * without it. A handler that waits in the loop's thread (await_in_loop) serves its own connection
 * meanwhile; in a worker it sleeps until the loop wakes it. */
#include "rpc/server-inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/poll.h"
#include "rpc/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct naru_call_side server_side;

static struct connection *connection_of(const struct naru_call *call)
{
    return call->owner;
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
    struct naru_call *call = naru__spares_take(&n->spares);
    if (!call)
        call = naru__call_new(&call_handle_ops, &server_side, &n->lock, n, n->name);
    if (!call)
        return NULL;
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

void naru__release_request(struct naru_call *call)
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
    naru__release_request(call);
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
    naru__spares_give(&n->spares, call, n->carrier ? KEEPS : 0);
}

/* Nobody waits for the call any more; its handler learns of it. */
static void set_over(struct naru_call *call, int code, struct naru_span text)
{
    const struct naru_server_options *o = &connection_of(call)->server->options;
    if (call->over)
        return;
    call->over = true;
    call->code = code;
    if (o->on_call)
        naru__call_tell(call, o->on_call, o->on_call_arg, code, text);
    naru__timers_remove(&connection_of(call)->timers, call);
    naru__waiter_wake(call->waiter[0]);
    naru__waiter_wake(call->waiter[1]);
    if (call->children)
        naru__cancel_children(call, code);
    if (call->has_events)
        server_side.queue_events(call);
}

/* One that no handler has begun with ends here; others when theirs returns. */
void naru__drop_unbegun(struct naru_call *call)
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
    if (r == 1) { /* until on_gone; the carrier has copied what has to go */
        call->refs++;
        naru__buffer_trim(&call->keeps.answer, CALL_KEEPS);
    } else if (call->flow.opened) /* the connection fails, and is found so by the loop */
        carrier->ops->forget(carrier, call);
}

/* The server ends it, before its handler does. */
void naru__end_now(struct naru_call *call, int code, const char *text)
{
    if (call->over)
        return;
    const struct naru_ending e = {.code = code, .text = {text, strlen(text)}};
    send_status(call, &e, NULL, 0);
    set_over(call, code, e.text);
    naru__drop_unbegun(call);
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
    return naru__find_method(n->server, path);
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
    n->told |= n->denied;
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
    if (s->options.on_call)
        call->begun_at = naru__now();
    call->path = e->path;
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
    call->bytes_in += a->size;
    if (call->received++ > 0) {
        free(a->owned);
        naru__end_now(call, NARU_STATUS_INTERNAL, "the method takes one message, and more came");
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
        naru__end_now(call, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
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
        naru__end_now(call, NARU_STATUS_INTERNAL, "the method takes one message, and none came");
    else
        naru__call_on_half_close(call);
}

static void on_end(struct naru_call *call, const struct naru_ending *e)
{
    set_over(call, e->code == NARU_STATUS_DEADLINE_EXCEEDED ? e->code : NARU_STATUS_CANCELLED,
             e->text);
    naru__drop_unbegun(call);
}

static void on_fault(struct naru_call *call, int code, const char *text)
{
    naru__end_now(call, code, text);
}

static void on_gone(struct naru_call *call)
{
    drop_call(call);
}

static void on_late(struct naru_carrier *carrier)
{
    (void)carrier;
}

const struct naru_carrier_events naru__served_events = {
    .size = sizeof naru__served_events,
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
        naru__release_request(call);
    if (!call->over) {
        const void *answer = call->keeps.answer.used ? call->keeps.answer.data : (const void *)"";
        send_status(call, &e, answers ? answer : NULL, answers ? call->keeps.answer.used : 0);
        /* relaxed: as naru__count, but for several threads */
        atomic_fetch_add_explicit(&connection_of(call)->server->handle.counts.sent, 1,
                                  memory_order_relaxed);
        set_over(call, e.code, e.text);
    }
    drop_call(call);
}

/* Something was sent, or a call finished, outside of what the loop does with the connection. */
static void touch(struct connection *n)
{
    struct naru_server *s = n->server;
    bool stops = atomic_load_explicit(&s->stop_at, memory_order_relaxed) != 0;
    bool untold = n->events && !naru__in_loop(s);
    if (n->carrier && !n->going && !stops && !untold && !n->run &&
        !n->carrier->ops->owes(n->carrier))
        return;
    if (n->carrier)
        naru__make_due(s, n);
    if (!naru__in_loop(s)) /* also as the last call may have ended, for which it waits to stop */
        naru__nudge(&s->handle, 0);
}

void naru__free_connection(struct connection *n)
{
    while (n->calls) {
        struct naru_call *call = n->calls;
        n->calls = call->next;
        naru__call_free(call);
    }
    naru__spares_free(&n->spares);
    naru__timers_free(&n->timers);
    pthread_mutex_destroy(&n->lock);
    free(n->name);
    free(n);
}

/* After the last of its calls, if it is gone. Lets the lock go. */
void naru__leave_connection(struct connection *n)
{
    struct naru_server *s = n->server;
    bool last = !n->carrier && n->n_calls == 0;
    pthread_mutex_unlock(&n->lock);
    if (!last)
        return;
    pthread_mutex_lock(&s->lock);
    naru__unlist(&s->gone, n);
    pthread_mutex_unlock(&s->lock);
    naru__free_connection(n);
}

/* The handler has returned; another thread may have finished the call before. */
static void handled(struct naru_call *call, int code)
{
    call->running = false;
    naru__release_request(call);
    if (code != NARU_LATER)
        finish(call, code);
    drop_call(call);
}

void naru__run_in_worker(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    int code = call->method->serve(call, call->self, call->request, call->request_size);
    pthread_mutex_lock(&n->lock);
    n->working--;
    handled(call, code);
    touch(n);
    naru__leave_connection(n);
}

/* The next call whose handler is to run. With the lock held, which is let go meanwhile. */
void naru__run_next(struct connection *n)
{
    struct naru_server *s = n->server;
    struct naru_call *call = n->run;
    n->run = call->next_event;
    call->has_request = false;
    if (call->over || call->finished) {
        naru__drop_unbegun(call);
        return;
    }
    call->began = call->running = true;
    call->refs++; /* the handler's */
    if (s->workers) {
        n->working++;
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

void naru__run_events(struct connection *n)
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
        if (n->carrier && !naru__in_loop(n->server) && n->carrier->ops->owes(n->carrier))
            (void)n->carrier->ops->flush(n->carrier);
        touch(n);
    }
    naru__leave_connection(n);
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

void naru__lose_calls(struct connection *n)
{
    struct naru_carrier *carrier = n->carrier;
    n->lost = true;
    for (struct naru_call *call = n->calls, *next; call; call = next) {
        next = call->next;
        bool goes = call->flow.leaves;
        call->refs++;
        carrier->ops->forget(carrier, call);
        set_over(call, NARU_STATUS_CANCELLED, (struct naru_span){NULL, 0});
        naru__drop_unbegun(call);
        if (goes)
            drop_call(call);
        next = call->next;
        drop_call(call);
    }
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
            naru__lose_calls(n);
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
    if (n->carrier && !naru__in_loop(n->server) && n->carrier->ops->owes(n->carrier))
        touch(n);
    int r = naru__in_loop(n->server) ? await_in_loop(call, done, until)
                                     : await_elsewhere(call, thread, done, until);
    if (r == -ETIMEDOUT && until == call->deadline) {
        naru__end_now(call, NARU_STATUS_DEADLINE_EXCEEDED, "the time given passed");
        r = 0;
    }
    return r;
}

static void server_sent(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    if (!n->carrier)
        return;
    if (n->carrier->gather && naru__in_loop(n->server) && call->method_flags & NARU_SERVER_STREAMS)
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
    if (naru__in_loop(connection_of(call)->server) && !settled(call))
        (void)await_in_loop(call, settled, until);
}

static int server_cancel(struct naru_call *call, int code)
{
    call->cancelled = true;
    naru__end_now(call, code, "the server cancelled the call");
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
    call->bytes_out += size;
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

/* What happened before is told by the loop, which may be asleep; and is with a connection no more
 * once that is gone. */
static int server_listens(struct naru_call *call)
{
    struct connection *n = connection_of(call);
    if (!n->carrier)
        return server_over(call);
    if (!naru__in_loop(n->server)) {
        naru__make_due(n->server, n);
        naru__nudge(&n->server->handle, 0);
    }
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
