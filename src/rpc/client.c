/* SPDX-License-Identifier: MIT */
/* client.c - clients: connecting, the calls of any number of threads on one connection, deadlines.
 *
 * One lock guards the client and its calls. One thread at a time *leads*: it alone reads what
 * comes, connects, and sleeps in the kernel; the others sleep on a word of their own until what
 * they wait for has come, or until the leader leaves and hands the lead on. Whoever sends does so
 * at once under the lock, which no one holds while it waits.
 *
 * There is no thread of the library's: connecting and deadlines get on when somebody waits for a
 * call, or in naru_client_process. A connection that the server has told to go (GOAWAY) drains: its
 * calls go on, new ones take the next connection. */
#include "rpc/client.h"

#include "base/error.h"
#include "base/memory.h"
#include "core/cover.h"
#include "os/fd.h"
#include "os/futex.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TARGETS = 8, DRAINS = 3, ABSENT_S = 30 };

/* A connection for new calls, or the attempts to have one. */
struct target {
    struct naru_carrier *link;
    bool ready;        /* it has been reached */
    bool proven;       /* and something has come by it */
    bool absent;       /* the name has no such address now */
    unsigned failures; /* attempts in vain since the last success */
    int64_t next_attempt;
};

struct naru_client {
    struct naru_handle handle;
    pthread_mutex_t lock;
    struct naru_client_options options;
    struct naru_carrier_limits limits;
    struct naru_service_at at; /* its URL is the handle's name */

    struct target target[TARGETS]; /* one; each of the name's addresses under NARU_ROUND_ROBIN */
    unsigned n_targets, turn;
    struct naru_carrier *drain[DRAINS]; /* those that take no new calls */
    unsigned n_drains;
    struct naru_carrier *dead;          /* lost: closed when nobody looks at them any more */
    bool attached, no_more;             /* over a connection that is there; and now it is not */
    bool denied;                        /* the server has said that it does not let this user in */
    bool ready;                         /* a target is */
    bool wanted;                        /* somebody waits for a connection */
    uint64_t failed; /* attempts in vain at all: who waits sees whether one was since */
    int64_t last_attempt;
    int error; /* of the last */
    char why[256];
    uint64_t random;

    struct naru_call *calls, *events, *events_last;
    struct naru_spares spares;
    struct naru_call *held, *held_last; /* that wait for a connection, in order */
    unsigned n_calls;
    struct naru_timers timers;
    bool leads;
    struct naru_waiter *waiters; /* who does not lead */
    bool in_process;             /* the leader runs events when they come */
};

static naru_client *client_of(const struct naru_call *call)
{
    return call->owner;
}

static const char *name_of(const naru_client *c)
{
    return c->handle.name;
}

static const struct naru_call_side client_side;
static const struct naru_carrier_events carrier_events;

/* ---- connections ---- */

static unsigned n_links(const naru_client *c)
{
    return c->n_targets + DRAINS;
}

static struct naru_carrier *link_at(const naru_client *c, unsigned i)
{
    return i < c->n_targets ? c->target[i].link : c->drain[i - c->n_targets];
}

static struct target *target_of(naru_client *c, const struct naru_carrier *link)
{
    for (unsigned i = 0; i < c->n_targets; i++)
        if (c->target[i].link == link)
            return &c->target[i];
    return NULL;
}

static void leave_target(naru_client *c, struct target *t)
{
    t->link = NULL;
    t->ready = t->proven = false;
    c->ready = false;
    for (unsigned i = 0; i < c->n_targets; i++)
        c->ready |= c->target[i].ready;
}

/* Is a connection being made, or due to be? */
static bool may_come(const naru_client *c, int64_t now)
{
    for (unsigned i = 0; i < c->n_targets; i++)
        if (c->target[i].link || c->target[i].next_attempt <= now)
            return true;
    return false;
}

static int64_t next_attempt(const naru_client *c)
{
    int64_t next = NARU__NEVER;
    for (unsigned i = 0; i < c->n_targets; i++)
        if (!c->target[i].link && c->target[i].next_attempt < next)
            next = c->target[i].next_attempt;
    return next;
}

/* The one whose turn it is. One is ready. */
static struct naru_carrier *pick(naru_client *c)
{
    if (c->n_targets == 1)
        return c->target[0].link;
    do
        c->turn = c->turn + 1 < c->n_targets ? c->turn + 1 : 0;
    while (!c->target[c->turn].ready);
    return c->target[c->turn].link;
}
static void on_writable(struct naru_call *call);

/* ---- calls ---- */

static int client_peer(struct naru_handle *h, struct naru_peer *ret_peer);

static int call_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    struct naru_call *call = (struct naru_call *)h;
    pthread_mutex_lock(call->lock);
    struct naru_carrier *carrier = call->carrier;
    int r = carrier ? carrier->ops->peer(carrier, ret_peer) : 1;
    pthread_mutex_unlock(call->lock);
    return r == 1 ? client_peer(&client_of(call)->handle, ret_peer) : r;
}

static const struct naru_handle_ops call_handle_ops = {
    .size = sizeof call_handle_ops,
    .peer = call_peer,
};

static void unlink_call(naru_client *c, struct naru_call *call)
{
    if (call->next)
        call->next->previous = call->previous;
    if (call->previous)
        call->previous->next = call->next;
    else
        c->calls = call->next;
}

static int new_call(naru_client *c, struct naru_call **ret_call)
{
    if (c->n_calls >= c->options.max_calls)
        return naru__fail(-EBUSY, "%s: %u calls are in flight and .max_calls is that", name_of(c),
                          c->n_calls);
    struct naru_call *call = naru__spares_take(&c->spares);
    if (!call)
        call = naru__call_new(&call_handle_ops, &client_side, &c->lock, c, name_of(c));
    if (!call)
        return -ENOMEM;
    call->next = c->calls;
    call->previous = NULL;
    if (c->calls)
        c->calls->previous = call;
    c->calls = call;
    c->n_calls++;
    call->refs = 1;
    *ret_call = call;
    return 0;
}

static void unqueue_events(naru_client *c, struct naru_call *call)
{
    struct naru_call **at = &c->events, *last = NULL;
    if (!call->queued)
        return;
    for (; *at && *at != call; at = &(*at)->next_event)
        last = *at;
    if (*at)
        *at = call->next_event;
    if (c->events_last == call)
        c->events_last = last;
    call->queued = false;
}

/* It waits for a connection no more. */
static void unhold(naru_client *c, struct naru_call *call)
{
    struct naru_call **at = &c->held, *last = NULL;
    if (!call->held)
        return;
    for (; *at && *at != call; at = &(*at)->next_held)
        last = *at;
    if (*at)
        *at = call->next_held;
    if (c->held_last == call)
        c->held_last = last;
    call->held = false;
}

static void unpin(struct naru_call *call)
{
    if (!call->has_in_place)
        return;
    call->carrier->ops->release(call->carrier, &call->in_place);
    call->carrier->pins--;
    call->has_in_place = false;
}

static void free_call(naru_client *c, struct naru_call *call)
{
    enum { KEEPS = 1024 };
    unpin(call);
    unqueue_events(c, call);
    naru__timers_remove(&c->timers, call);
    unlink_call(c, call);
    c->n_calls--;
    unhold(c, call);
    naru__spares_give(&c->spares, call, KEEPS);
}

/* The call is over, here and now. */
static void end_call(naru_client *c, struct naru_call *call, int code, const char *text, size_t n)
{
    if (call->over)
        return;
    if (call->flow.opened)
        (void)call->carrier->ops->cancel(call->carrier, call, code);
    if (call->flow.opened || call->flow.waits) /* also one that waited to be opened */
        call->carrier->ops->forget(call->carrier, call);
    naru__call_set_status(call, code, text, n);
    call->over = true;
    naru__count(&c->handle.counts.received, 1);
    if (c->options.on_call)
        naru__call_tell(call, c->options.on_call, c->options.on_call_arg, code,
                        (struct naru_span){text, n});
    unhold(c, call);
    naru__timers_remove(&c->timers, call);
    naru__waiter_wake(call->waiter[0]);
    naru__waiter_wake(call->waiter[1]);
    if (call->has_events)
        client_side.queue_events(call);
}

static void end_with(naru_client *c, struct naru_call *call, int code, const char *text)
{
    end_call(c, call, code, text, strlen(text));
}

/* ---- what the carrier tells ---- */

static void on_header(struct naru_call *call, struct naru_span metadata)
{
    if (call->keeps.their_header.used == 0) /* once: it may be read already */
        (void)naru__buffer_set(&call->keeps.their_header, metadata.data, metadata.size);
}

static void on_message(struct naru_call *call, const struct naru_arrival *a)
{
    naru_client *c = client_of(call);
    if (!(call->method_flags & NARU_SERVER_STREAMS) && call->received > 0) {
        free(a->owned);
        end_with(c, call, NARU_STATUS_INTERNAL, "the server answers twice");
        return;
    }
    if (call->flags & NARU_IN_PLACE && !a->owned && !call->has_in_place && !call->first) {
        call->received++;
        call->bytes_in += a->size;
        call->carrier->ops->keep(call->carrier, &call->in_place);
        call->carrier->pins++;
        call->has_in_place = call->in_place_next = true;
        /* a node without bytes stands for it in the order of messages */
        (void)naru__call_receive(call, &(struct naru_arrival){.data = NULL});
        call->request = a->data;
        call->request_size = a->size;
        naru__waiter_wake(call->waiter[0]);
        if (call->has_events)
            client_side.queue_events(call);
        return;
    }
    naru__call_on_message(call, a);
}

static void on_end(struct naru_call *call, const struct naru_ending *e)
{
    naru_client *c = client_of(call);
    int code = e->code;
    const char *text = e->text.data;
    size_t n = e->text.size;
    if (code == NARU_STATUS_OK && !(call->method_flags & NARU_SERVER_STREAMS) &&
        call->received == 0) {
        static const char none[] = "the server says that all went well, and sent no answer";
        code = NARU_STATUS_INTERNAL;
        text = none;
        n = sizeof none - 1;
    }
    (void)naru__buffer_set(&call->keeps.their_trailer, e->metadata.data, e->metadata.size);
    if (e->details.size)
        (void)naru__call_set_details(call, e->details.data, e->details.size);
    call->in_ended = true;
    end_call(c, call, code, text, n);
}

static void on_fault(struct naru_call *call, int code, const char *text)
{
    end_with(client_of(call), call, code, text);
}

static void on_gone(struct naru_call *call)
{
    (void)call;
}

static void on_goaway(struct naru_carrier *carrier, int code)
{
    naru_client *c = carrier->owner;
    if (code == NARU_STATUS_PERMISSION_DENIED) { /* and closes */
        snprintf(c->why, sizeof c->why, "%s: the server does not let this user in", name_of(c));
        c->denied = true;
        return;
    }
    carrier->going = true;
    struct target *t = target_of(c, carrier);
    int i = 0;
    while (i < DRAINS && c->drain[i])
        i++;
    if (!t || i == DRAINS)
        return; /* it is lost when its calls are done */
    c->drain[i] = carrier;
    c->n_drains++;
    leave_target(c, t);
    if (c->attached) {
        snprintf(c->why, sizeof c->why, "%s: the server takes no more calls", name_of(c));
        c->error = -ECONNRESET;
        c->no_more = true;
    }
}

static void on_late(struct naru_carrier *carrier)
{
    naru_client *c = carrier->owner;
    naru__count(&c->handle.counts.dropped, 1);
}

static const struct naru_carrier_events carrier_events = {
    .size = sizeof carrier_events,
    .on_header = on_header,
    .on_message = on_message,
    .on_half_close = naru__call_on_half_close,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_goaway = on_goaway,
    .on_late = on_late,
};

/* ---- connecting ---- */

static void wake_all(naru_client *c)
{
    for (struct naru_waiter *w = c->waiters; w; w = w->next)
        naru__waiter_wake(w);
}

/* xorshift64: enough to keep clients apart. */
static int64_t jitter(naru_client *c, int64_t time)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return time - time / 5 + (int64_t)(c->random % (uint64_t)(time / 5 * 2 + 1));
}

static int status_of_failure(const naru_client *c)
{
    return c->error == -EACCES ? NARU_STATUS_PERMISSION_DENIED : NARU_STATUS_UNAVAILABLE;
}

/* An attempt was in vain: if no other is on its way, those that do not wait for a server have their
 * answer. */
static void attempt_failed(naru_client *c, struct target *t, int code)
{
    int64_t pause = c->options.first_backoff, now = naru__now();
    for (unsigned i = 0; i < t->failures && pause < c->options.max_backoff; i++)
        pause *= 2;
    if (pause > c->options.max_backoff)
        pause = c->options.max_backoff;
    t->failures++;
    t->next_attempt = now + jitter(c, pause);
    c->error = code;
    snprintf(c->why, sizeof c->why, "%s", naru__why());
    if (c->n_targets > 1 && code != -EACCES && (c->ready || may_come(c, now)))
        return;
    c->failed++;
    for (struct naru_call *call = c->held, *next; call; call = next) {
        next = call->next_held;
        if (code == -EACCES || !(call->flags & NARU_WAIT_FOR_READY))
            end_with(c, call, status_of_failure(c), c->why);
    }
    wake_all(c);
}

/* code: as process said. A server that tells its clients to go ends the connection in order, when
 * none of their calls is left that it has begun with. */
static void link_lost(naru_client *c, struct naru_carrier *lost, int code)
{
    struct target *t = target_of(c, lost);
    char why[256];
    snprintf(why, sizeof why, "%s", c->denied ? c->why : naru__why());
    for (int i = 0; i < DRAINS; i++)
        if (c->drain[i] == lost) {
            c->drain[i] = NULL;
            c->n_drains--;
        }
    bool proven = t && t->proven;
    if (t)
        leave_target(c, t);
    lost->next = c->dead;
    c->dead = lost;
    for (struct naru_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (call->carrier != lost)
            continue;
        lost->ops->forget(lost, call);
        if (!call->over)
            call->unbegun = lost->going && code == -EPIPE && call->received == 0;
        end_with(c, call, c->denied ? NARU_STATUS_PERMISSION_DENIED : NARU_STATUS_UNAVAILABLE, why);
        if (!call->has_in_place)
            call->carrier = NULL;
    }
    if (t && (!proven || c->attached || c->denied)) {
        c->no_more |= c->attached;
        naru__fail(-ECONNRESET, "%s", why);
        attempt_failed(c, t, c->denied ? -EACCES : -ECONNRESET);
        c->denied = false;
    } else if (t) {
        t->next_attempt = 0;
    }
    wake_all(c);
}

/* Those that are lost are closed by the leader, when the set of naru_fd knows them no more. */
static void bury(naru_client *c)
{
    struct naru_carrier **at = &c->dead, *gone = NULL;
    while (*at) {
        struct naru_carrier *dead = *at;
        if (dead->pins > 0) {
            at = &dead->next;
            continue;
        }
        *at = dead->next;
        dead->next = gone;
        gone = dead;
    }
    if (!gone)
        return;
    pthread_mutex_unlock(&c->lock);
    naru__leave(&c->handle);
    while (gone) {
        struct naru_carrier *dead = gone;
        gone = dead->next;
        dead->ops->close(dead);
    }
    pthread_mutex_lock(&c->lock);
}

/* Sending failed: what the server has said before is read, and then the connection is lost. */
static void give_up_link(naru_client *c, const struct naru_carrier *failed)
{
    for (unsigned i = 0; i < n_links(c); i++) {
        struct naru_carrier *link = link_at(c, i);
        if (!link || link != failed)
            continue;
        int r;
        while ((r = link->ops->process(link)) > 0)
            ;
        if (r < 0)
            link_lost(c, link, r);
        return;
    }
}

static int carry(naru_client *c, naru_channel *channel)
{
    struct naru_carrier *made;
    int r = naru__channel_carrier(channel, false, &c->limits, &carrier_events, c, &made);
    if (r == 0)
        c->target[0].link = made;
    return r;
}

/* A carrier of its own kind has a stream for its medium. */
static int connect_stream(naru_client *c, struct target *t, const struct naru_channel_options *wish)
{
    unsigned address = c->n_targets > 1 ? NARU__ADDRESS(t - c->target) : 0;
    const struct naru_stream_options options = {
        .size = sizeof options,
        .flags = wish->flags | NARU__HTTP2 | address,
        .keepalive = wish->keepalive,
        .user_timeout = wish->user_timeout,
        .tls = wish->tls,
    };
    struct naru_carrier *made;
    naru_stream *stream;
    pthread_mutex_unlock(&c->lock);
    int r = c->at.transport->stream_open(&c->at.url, NARU_READ | NARU_WRITE, &options,
                                         NARU__AT_ONCE, &stream);
    pthread_mutex_lock(&c->lock);
    if (r < 0)
        return r;
    r = c->at.carrier->make(stream, false, &c->limits, &carrier_events, c, &made);
    if (r < 0)
        (void)naru_stream_close(stream);
    else
        t->link = made;
    return r;
}

static int connect_channel(naru_client *c, const struct naru_channel_options *options)
{
    naru_channel *channel;
    pthread_mutex_unlock(&c->lock);
    int r = naru_channel_connect(name_of(c), options, NARU_NOWAIT, &channel);
    pthread_mutex_lock(&c->lock);
    if (r < 0)
        return r;
    r = carry(c, channel);
    if (r < 0)
        (void)naru_channel_close(channel);
    return r;
}

/* This one and those behind it. By then the name is asked for again. */
static void are_absent(naru_client *c, struct target *t)
{
    for (; t < c->target + c->n_targets; t++) {
        t->absent = true;
        t->next_attempt = naru__now() + ABSENT_S * NARU_S;
    }
}

static void connect_now(naru_client *c, struct target *t)
{
    const struct naru_client_options *o = &c->options;
    const struct naru_channel_options options = {
        .size = sizeof options,
        .flags = (o->flags & ~(NARU_WAIT_FOR_READY | NARU_ROUND_ROBIN)) | NARU_CONNECTING,
        .keepalive = o->keepalive,
        .user_timeout = o->user_timeout,
        .tls = o->tls,
    };
    enum { FULL = 2000000 }; /* ns: its backlog is, which is no failure */
    c->last_attempt = naru__now();
    int r = c->at.carrier ? connect_stream(c, t, &options) : connect_channel(c, &options);
    t->absent = false;
    if (r == -EAGAIN)
        t->next_attempt = naru__now() + FULL;
    else if (r == -ENXIO && t != c->target)
        are_absent(c, t);
    else if (r < 0)
        attempt_failed(c, t, r);
}

static void connect_due(naru_client *c, bool *did)
{
    if (c->attached || c->no_more || !(c->wanted || c->held))
        return;
    for (unsigned i = 0; i < c->n_targets; i++) {
        if (c->target[i].link || naru__now() < c->target[i].next_attempt)
            continue;
        connect_now(c, &c->target[i]);
        *did = true;
    }
}

/* Holds a message of a call that cannot be opened yet. */
static int hold(naru_client *c, struct naru_call *call, const void *data, size_t size, bool end)
{
    if (call->held)
        return -EAGAIN;
    if (data) {
        call->held_data = naru__alloc_raw(size ? size : 1);
        if (!call->held_data)
            return -ENOMEM;
        memcpy(call->held_data, data, size);
        call->held_size = size;
    }
    call->held = true;
    call->held_end = end;
    call->next_held = NULL;
    if (c->held)
        c->held_last->next_held = call;
    else
        c->held = call;
    c->held_last = call;
    return 0;
}

static int open_on(naru_client *c, struct naru_call *call, const void *data, size_t size, bool end)
{
    const struct naru_opening o = {
        .route = call->route,
        .time = NARU_FOREVER,
        .metadata = {call->keeps.header.data, call->keeps.header.used},
    };
    struct naru_opening timed = o;
    if (call->deadline != NARU__NEVER) {
        timed.time = call->deadline - naru__now();
        timed.time = timed.time < 0 ? 0 : timed.time;
    }
    call->flow.limited = call->method_flags & NARU_CLIENT_STREAMS;
    call->flow.counted = call->method_flags & NARU_SERVER_STREAMS;
    call->carrier = pick(c);
    call->carrier->gather = call->has_events; /* until naru_client_process */
    int r = call->carrier->ops->open(call->carrier, call, &timed, data, size, end);
    if (call->flow.opened)
        call->carrier->gather = false;
    if (r >= 0)
        call->bytes_out += size;
    return r;
}

/* False: the connection takes no more now, and on_writable tells. */
static bool open_one_held(naru_client *c, struct naru_call *call)
{
    int r = open_on(c, call, call->held_data, call->held_size, call->held_end);
    if (r == -EAGAIN)
        return false;
    free(call->held_data);
    call->held_data = NULL;
    unhold(c, call);
    if (r < 0)
        end_with(c, call, naru__status_from_errno(r), naru__why());
    else
        naru__call_on_writable(call);
    return true;
}

static void open_held(naru_client *c)
{
    while (c->held && c->ready && open_one_held(c, c->held))
        ;
}

static void on_writable(struct naru_call *call)
{
    if (call->held)
        open_held(client_of(call));
    else
        naru__call_on_writable(call);
}

/* ---- leading ---- */

/* Its time is over, whoever noticed. */
static void expire(naru_client *c, struct naru_call *call)
{
    char text[320] = "the time given passed";
    size_t n = strlen(text);
    if (!call->flow.opened && !c->ready)
        snprintf(text + n, sizeof text - n, " and no server was there%s%s", c->why[0] ? ": " : "",
                 c->why);
    end_with(c, call, NARU_STATUS_DEADLINE_EXCEEDED, text);
}

static void run_timers(naru_client *c)
{
    struct naru_call *first = naru__timers_first(&c->timers);
    for (; first && first->deadline <= naru__now(); first = naru__timers_first(&c->timers))
        expire(c, first);
}

/* Handles what has come by one connection: 1, 0, or it is lost. */
static int step_link(naru_client *c, struct naru_carrier *link, bool thorough)
{
    int r = 0;
    bool owes = link->ops->owes(link);
    if (owes) /* what fails there, process tells when all that came is read */
        (void)link->ops->flush(link);
    if (thorough || owes || link->ops->ready(link) || !link->ops->cheap(link))
        r = link->ops->process(link);
    struct target *t = r > 0 ? target_of(c, link) : NULL;
    if (t && !t->proven) {
        t->proven = true;
        t->failures = 0;
    }
    if (r < 0)
        link_lost(c, link, r);
    return r;
}

/* A connection that goes is given up once nobody's call is there. */
static void drop_drained(naru_client *c, struct naru_carrier *link)
{
    for (const struct naru_call *call = c->calls; call; call = call->next)
        if (call->carrier == link && (!call->over || call->has_in_place))
            return;
    for (struct naru_call *call = c->calls; call; call = call->next)
        if (call->carrier == link)
            call->carrier = NULL;
    naru__fail_static(-EPIPE, "the server has gone");
    link_lost(c, link, -EPIPE);
}

static bool is_link(const naru_client *c, const struct naru_carrier *carrier)
{
    for (unsigned i = 0; i < n_links(c); i++)
        if (link_at(c, i) == carrier)
            return carrier != NULL;
    return false;
}

/* Has the other side been reached? Then calls go there. */
static void meet(naru_client *c, struct target *t, bool *did)
{
    int r = t->link->ops->met(t->link);
    if (r == -EAGAIN)
        return;
    *did = true;
    if (r < 0) {
        link_lost(c, t->link, r);
        return;
    }
    (void)t->link->ops->flush(t->link);
    c->ready = t->ready = true;
    open_held(c);
    wake_all(c);
}

/* One step of whatever there is to do: did it do something? */
static bool step_all(naru_client *c, bool thorough)
{
    bool did = false;
    for (unsigned i = 0; i < n_links(c); i++)
        if (link_at(c, i))
            did |= step_link(c, link_at(c, i), thorough) != 0;
    if (!thorough && c->ready && c->n_targets == 1)
        return did;
    for (unsigned i = 0; i < c->n_targets; i++)
        if (c->target[i].link && !c->target[i].ready)
            meet(c, &c->target[i], &did);
    for (int i = 0; i < DRAINS; i++)
        if (c->drain[i] && !did)
            drop_drained(c, c->drain[i]);
    connect_due(c, &did);
    run_timers(c);
    if (c->dead)
        bury(c);
    return did;
}

/* Each call passes here twice: where there is one connection, it is all. */
static bool step(naru_client *c, bool thorough)
{
    return !thorough && c->ready && c->n_targets == 1 && c->n_drains == 0
               ? step_link(c, c->target[0].link, false) != 0
               : step_all(c, thorough);
}

/* Nothing to do: looks for a while, then sleeps. The lock is let go. */
static int pause_leading(naru_client *c, struct naru_wait *wait)
{
    enum { FIRST_LOOKS = 4000, LOOKS = 200 };
    struct naru_carrier *link = c->n_targets == 1 ? c->target[0].link : NULL;
    for (int i = 0; i < DRAINS; i++)
        link = c->drain[i] ? NULL : link;
    bool cheap = link && link->ops->cheap(link) && c->ready;
    bool events = c->events != NULL; /* a loop of somebody else's is to run them */
    pthread_mutex_unlock(&c->lock);
    int r = 0;
    if (events)
        naru__leave(&c->handle);
    if (cheap && wait->deadline != NARU__AT_ONCE && c->handle.can_spin) {
        bool (*ready)(struct naru_carrier *) = link->ops->ready;
        if (wait->spin_until == 0 && c->handle.spin[0].credit > 0)
            for (int i = 0; i < FIRST_LOOKS; i++) /* who is awake answers soon: without pauses */
                if (ready(link))
                    goto out;
        for (int i = 0; i < LOOKS && naru__wait_spins(wait); i++) {
            if (ready(link))
                goto out;
            naru__relax();
        }
        wait->looks = true;
    }
    r = naru__wait_step(wait);
out:
    pthread_mutex_lock(&c->lock);
    return r;
}

/* Another thread leads: sleeps until it is woken. */
static int follow(naru_client *c, struct naru_waiter **slot, int64_t deadline)
{
    struct naru_waiter w = {.next = c->waiters};
    if (deadline == NARU__AT_ONCE)
        return naru__fail_static(-EAGAIN, "nothing can be done at once, and NARU_NOWAIT was given");
    if (deadline != NARU__NEVER && naru__now() >= deadline)
        return naru__fail(-ETIMEDOUT, "%s: the time given passed", name_of(c));
    if (w.next)
        w.next->previous = &w;
    c->waiters = &w;
    if (slot)
        *slot = &w;
    pthread_mutex_unlock(&c->lock);
    /* acquire: pairs with the release in naru__waiter_wake */
    (void)naru__os_futex_wait(&w.word, 0, deadline);
    pthread_mutex_lock(&c->lock);
    if (slot)
        *slot = NULL;
    if (w.next)
        w.next->previous = w.previous;
    if (w.previous)
        w.previous->next = w.next;
    else
        c->waiters = w.next;
    return 0;
}

/* Waits until done(client, what). */
static int await(naru_client *c, bool (*done)(naru_client *, void *), void *what,
                 struct naru_waiter **slot, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&c->handle, NARU_IN, deadline);
    bool lead = false, thorough = deadline == NARU__AT_ONCE || !c->ready;
    int r = 0;
    while (!done(c, what)) {
        if (!lead && c->leads) {
            r = follow(c, slot, deadline);
            if (r < 0)
                break;
            continue;
        }
        c->leads = lead = true;
        bool did = step(c, thorough);
        thorough = !c->ready;
        if (did)
            continue;
        if (done(c, what))
            break;
        r = pause_leading(c, &wait);
        thorough |= wait.slept;
        if (r < 0)
            break;
    }
    naru__wait_done(&wait);
    if (lead)
        c->leads = false;
    if (!c->leads) /* also who was woken to lead, and has what it waited for */
        naru__waiter_wake(c->waiters);
    return done(c, what) ? 0 : r;
}

/* ---- a call's side ---- */

struct waits_for {
    struct naru_call *call;
    bool (*done)(const struct naru_call *);
};

static bool call_done(naru_client *c, void *what)
{
    const struct waits_for *w = what;
    (void)c;
    return w->done(w->call);
}

static int client_await(struct naru_call *call, int thread, bool (*done)(const struct naru_call *),
                        int64_t deadline)
{
    naru_client *c = client_of(call);
    struct waits_for w = {call, done};
    int64_t until = call->deadline < deadline ? call->deadline : deadline;
    if (!call->flow.opened && !call->over)
        c->wanted = true;
    int r = await(c, call_done, &w, &call->waiter[thread], until);
    if (r == -ETIMEDOUT && until == call->deadline) {
        expire(c, call);
        r = 0; /* which ends every wait */
    }
    return r;
}

static bool ready_or_failed(naru_client *c, void *what)
{
    const uint64_t *failed = what;
    return c->ready || c->no_more || (failed && c->failed != *failed);
}

static int unavailable(naru_client *c, struct naru_call *call)
{
    end_with(c, call, status_of_failure(c), c->why);
    return client_side.over(call);
}

/* A connection for the call: 0, -EAGAIN for who does not wait, or the call is over. */
static int reach(naru_client *c, struct naru_call *call, int64_t deadline)
{
    enum { SOON = 10000000 }; /* ns: between attempts of those that do not wait for a server */
    bool waits = call->flags & NARU_WAIT_FOR_READY;
    int64_t until = call->deadline < deadline ? call->deadline : deadline;
    uint64_t failed = c->failed;
    if (c->ready)
        return 0;
    if (c->no_more)
        return unavailable(c, call);
    int64_t now = naru__now();
    if (!waits && !may_come(c, now)) {
        if (now - c->last_attempt < SOON)
            return unavailable(c, call);
        for (unsigned i = 0; i < c->n_targets; i++) /* it asks for itself */
            if (!c->target[i].absent)
                c->target[i].next_attempt = now;
    }
    c->wanted = true;
    int r = 0;
    do
        r = await(c, ready_or_failed, &failed, &call->waiter[1], until);
    while (r == 0 && waits && !c->ready && !c->no_more && !call->over && c->error != -EACCES &&
           (failed = c->failed, true));
    if (call->over)
        return client_side.over(call);
    if (c->ready)
        return 0;
    if (r == 0)
        return unavailable(c, call);
    if (r != -ETIMEDOUT || until != call->deadline)
        return r;
    expire(c, call);
    return client_side.over(call);
}

/* Of the caller's own, and not of the connection's. */
static bool is_local(int code)
{
    return code == -EMSGSIZE || code == -EBUSY || code == -ENOMEM || code == -ECANCELED ||
           code == -EAGAIN || code == -ETIMEDOUT;
}

static int client_over(struct naru_call *call);

static int client_open(struct naru_call *call, const void *data, size_t size, bool end,
                       int64_t deadline)
{
    enum { TRIES = 3 };
    naru_client *c = client_of(call);
    int r = 0;
    if (c->ready && call->deadline == NARU__NEVER) { /* the usual way */
        r = open_on(c, call, data, size, end);
        if (r >= 0 || is_local(r))
            return r;
        call->carrier->ops->forget(call->carrier, call);
        give_up_link(c, call->carrier);
        call->carrier = NULL;
    }
    for (int i = 0; i < TRIES; i++) {
        if (call->deadline != NARU__NEVER && call->deadline <= naru__now()) {
            end_with(c, call, NARU_STATUS_DEADLINE_EXCEEDED, "the time given passed");
            return client_over(call);
        }
        if (call->has_events && !c->ready) /* it waits by itself */
            return c->no_more ? unavailable(c, call) : hold(c, call, data, size, end);
        r = reach(c, call, deadline);
        if (r < 0)
            return r;
        r = open_on(c, call, data, size, end);
        if (r >= 0 || is_local(r))
            return r;
        /* nothing of it has gone: the next connection will do as well */
        struct naru_carrier *failed = call->carrier;
        failed->ops->forget(failed, call);
        call->carrier = NULL;
        give_up_link(c, failed);
    }
    return r;
}

static void client_sent(struct naru_call *call)
{
    naru_client *c = client_of(call);
    if (call->carrier && c->leads && call->carrier->ops->owes(call->carrier))
        naru__nudge(&c->handle, 0); /* the leader sleeps, and not for room */
}

static bool settled(naru_client *c, void *what)
{
    const struct naru_call *call = what;
    const struct naru_carrier *link = call->carrier;
    if (call->over || !is_link(c, link))
        return true;
    return !link->ops->owes(call->carrier);
}

static void client_settle(struct naru_call *call, int64_t deadline)
{
    naru_client *c = client_of(call);
    int64_t until = call->deadline < deadline ? call->deadline : deadline;
    if (!c->leads && !settled(c, call))
        (void)await(c, settled, call, &call->waiter[1], until);
}

static int client_cancel(struct naru_call *call, int code)
{
    naru_client *c = client_of(call);
    bool was_over = call->over;
    call->cancelled = true;
    end_with(c, call, code, "this side cancelled the call");
    if (!was_over && c->leads)
        naru__nudge(&c->handle, 0);
    return 0;
}

static void client_queue_events(struct naru_call *call)
{
    naru_client *c = client_of(call);
    if (call->queued || call->runs || call->closed)
        return;
    call->queued = true;
    call->next_event = NULL;
    if (c->events_last && c->events)
        c->events_last->next_event = call;
    else
        c->events = call;
    c->events_last = call;
    if (!c->in_process) /* somebody may sleep in naru_client_process, or in a loop of its own */
        wake_all(c);
}

static int client_over(struct naru_call *call)
{
    int r = naru__status_to_errno(call->code);
    naru__status_keep(call->code, call->text, call->details, call->details_size);
    if (call->code == NARU_STATUS_OK)
        return naru__fail(-EPIPE, "%s: %s is over: the server has answered", call->handle.name,
                          call->route->path);
    if (call->cancelled)
        r = -ECANCELED;
    return naru__fail(r, "%s: %s: %s%s%s", call->handle.name, call->route->path,
                      naru__status_name(call->code), call->text ? ": " : "",
                      call->text ? call->text : "");
}

static int client_broken(struct naru_call *call, int code)
{
    if (is_local(code))
        return code;
    if (call->carrier)
        give_up_link(client_of(call), call->carrier);
    if (!call->over)
        end_with(client_of(call), call, NARU_STATUS_UNAVAILABLE, naru__why());
    return client_over(call);
}

/* Nobody may wait for it, so its deadline is the client's to watch. */
static int client_listens(struct naru_call *call)
{
    return naru__timers_add(&client_of(call)->timers, call);
}

static void client_drop(struct naru_call *call, struct naru_payload *payload)
{
    if (payload->internal[2])
        unpin(call);
    naru__call_drop(call, payload);
}

static const struct naru_call_side client_side = {
    .size = sizeof client_side,
    .await = client_await,
    .open = client_open,
    .sent = client_sent,
    .settle = client_settle,
    .cancel = client_cancel,
    .queue_events = client_queue_events,
    .over = client_over,
    .broken = client_broken,
    .listens = client_listens,
    .release = client_drop,
};

/* ---- beginning and ending ---- */

/* With the parent's lock held. */
void naru__cancel_children(struct naru_call *parent, int code)
{
    for (struct naru_call *child = parent->children; child; child = child->next_child) {
        pthread_mutex_lock(child->lock);
        end_with(client_of(child), child, code, "the call for which it was made is over");
        naru__nudge(&client_of(child)->handle, 0);
        pthread_mutex_unlock(child->lock);
    }
}

static void join_parent(struct naru_call *call, struct naru_call *parent)
{
    pthread_mutex_lock(parent->lock);
    if (parent->deadline < call->deadline)
        call->deadline = parent->deadline;
    bool over = parent->over;
    call->parent = parent;
    call->next_child = parent->children;
    parent->children = call;
    pthread_mutex_unlock(parent->lock);
    if (over) {
        pthread_mutex_lock(call->lock);
        end_with(client_of(call), call, NARU_STATUS_CANCELLED,
                 "the call for which it was made is over");
        pthread_mutex_unlock(call->lock);
    }
}

static void leave_parent(struct naru_call *call)
{
    struct naru_call *parent = call->parent;
    if (!parent)
        return;
    pthread_mutex_lock(parent->lock);
    struct naru_call **at = &parent->children;
    while (*at && *at != call)
        at = &(*at)->next_child;
    if (*at)
        *at = call->next_child;
    pthread_mutex_unlock(parent->lock);
    call->parent = NULL;
}

/* With the lock held. */
static int begin(naru_client *c, const naru_route *route, const struct naru_call_options *o,
                 struct naru_call **ret_call)
{
    struct naru_call *call = NULL;
    int r = new_call(c, &call);
    if (r < 0)
        return r;
    call->route = route;
    call->path = route->path;
    call->method_flags = route->flags;
    call->flags = c->options.flags & NARU_WAIT_FOR_READY;
    if (c->options.on_call)
        call->begun_at = naru__now();
    if (o) {
        call->flags |= o->flags;
        call->flow.compress = o->flags & NARU_COMPRESS;
        call->deadline = o->timeout > 0 ? naru__deadline(o->timeout) : NARU__NEVER;
        for (size_t i = 0; i < o->n_metadata && r == 0; i++)
            r = naru__call_add_metadata(call, &call->keeps.header, &o->metadata[i],
                                        RPC_METADATA_MAX, "call's");
        if (r == 0 && o->parent)
            r = naru__call_pass_trace(call, o->parent);
    }
    if (r < 0) {
        free_call(c, call);
        return r;
    }
    naru__count(&c->handle.counts.sent, 1);
    *ret_call = call;
    return 0;
}

int naru__client_begin(naru_client *c, const naru_route *route, const struct naru_call_options *o,
                       naru_call **ret_call)
{
    pthread_mutex_lock(&c->lock);
    int r = begin(c, route, o, ret_call);
    pthread_mutex_unlock(&c->lock);
    if (r == 0 && o && o->parent)
        join_parent(*ret_call, o->parent);
    return r;
}

void naru__client_end(naru_call *call)
{
    naru_client *c = client_of(call);
    leave_parent(call);
    pthread_mutex_lock(&c->lock);
    bool was_over = call->over;
    call->cancelled |= !call->over;
    end_with(c, call, NARU_STATUS_CANCELLED, "this side closed the call");
    if (!was_over)
        client_sent(call);
    if (call->runs)
        call->closed = true; /* and freed when its event returns */
    else
        free_call(c, call);
    pthread_mutex_unlock(&c->lock);
}

/* The status, as this thread's last. */
static int status_of(struct naru_call *call)
{
    if (call->code != NARU_STATUS_OK)
        return client_over(call);
    naru__status_keep(NARU_STATUS_OK, NULL, NULL, 0);
    return 0;
}

int naru__client_wait(naru_call *call, int64_t deadline)
{
    pthread_mutex_lock(call->lock);
    int r = call->over ? 0 : client_await(call, 0, naru__call_is_over, deadline);
    if (r == 0)
        r = status_of(call);
    pthread_mutex_unlock(call->lock);
    return r;
}

/* One attempt, with the lock held. */
static int invoke_once(struct naru_call *call, const void *request, size_t size)
{
    int r;
    while ((r = client_open(call, request, size, true, NARU__NEVER)) == -EAGAIN) {
        call->shut = true;
        r = client_await(call, 1, naru__call_can_send, NARU__NEVER);
        if (r < 0 || call->over)
            break;
    }
    if (r < 0 && !call->over)
        r = client_broken(call, r);
    if (r < 0 && !call->over)
        return r;
    client_sent(call);
    if (!call->over)
        r = client_await(call, 0, naru__call_is_over, NARU__NEVER);
    if (!call->over)
        return r;
    return status_of(call);
}

static bool never(naru_client *c, void *what)
{
    (void)what;
    return c->ready;
}

/* Ready for another attempt, in a fresh call with what was left of the time. */
static int again(naru_client *c, struct naru_call **call, const naru_route *route,
                 const struct naru_call_options *o)
{
    int64_t deadline = (*call)->deadline;
    int64_t until = next_attempt(c) < deadline ? next_attempt(c) : deadline;
    free_call(c, *call);
    *call = NULL;
    if (!c->ready && naru__now() < until)
        (void)await(c, never, NULL, NULL, until);
    int r = begin(c, route, o, call);
    if (r == 0)
        (*call)->deadline = deadline;
    return r;
}

int naru__client_invoke(naru_client *c, const naru_route *route, const void *request, size_t size,
                        const struct naru_call_options *o, struct naru_payload *ret_reply)
{
    struct naru_call *call = NULL;
    unsigned left = o && route->flags & NARU_IDEMPOTENT && !o->parent ? o->retries : 0;
    int r;
    if (o && o->parent) {
        r = naru__client_begin(c, route, o, &call);
        pthread_mutex_lock(&c->lock);
    } else {
        pthread_mutex_lock(&c->lock);
        r = begin(c, route, o, &call);
    }
    if (r == 0)
        r = call->over ? client_over(call) : invoke_once(call, request ? request : "", size);
    enum { UNBEGUN = 3 };
    for (int i = 0; r == -ECONNRESET && call->deadline > naru__now(); i++) {
        if (call->unbegun ? i >= UNBEGUN || call->parent : left-- == 0)
            break;
        r = again(c, &call, route, o);
        if (r == 0)
            r = invoke_once(call, request ? request : "", size);
    }
    if (r == 0 && call->first)
        (void)naru__call_next(call, ret_reply);
    bool keep = r == 0;
    if (call && !keep) {
        if (!call->over)
            end_with(c, call, NARU_STATUS_CANCELLED, "this side gave up");
        client_sent(call);
        if (!(o && o->parent))
            free_call(c, call);
    }
    pthread_mutex_unlock(&c->lock);
    if (call && !keep && o && o->parent)
        naru__client_end(call);
    return r;
}

void naru__client_release(naru_client *c, struct naru_payload *payload)
{
    struct naru_call *call = (struct naru_call *)(uintptr_t)payload->internal[0];
    leave_parent(call);
    pthread_mutex_lock(&c->lock);
    client_drop(call, payload);
    free_call(c, call);
    pthread_mutex_unlock(&c->lock);
}

/* ---- processing ---- */

static bool has_events(naru_client *c, void *what)
{
    (void)what;
    return c->events != NULL;
}

static int run_events(naru_client *c)
{
    int n = 0;
    while (c->events) {
        struct naru_call *call = c->events;
        c->events = call->next_event;
        call->queued = false;
        n += naru__call_run_events(call);
        if (call->closed)
            free_call(c, call);
    }
    return n;
}

static void flush_all(naru_client *c)
{
    for (unsigned i = 0; i < n_links(c); i++) {
        struct naru_carrier *link = link_at(c, i);
        if (link && link->ops->owes(link))
            (void)link->ops->flush(link); /* what is lost, the next step meets */
    }
}

int naru__client_process(naru_client *c, int64_t deadline)
{
    pthread_mutex_lock(&c->lock);
    c->in_process = true;
    c->wanted = true;
    flush_all(c);
    int r = await(c, has_events, NULL, NULL, deadline);
    /* what has come behind it, without waiting */
    enum { MORE = 256 };
    if (r == 0 && !c->leads) {
        c->leads = true;
        for (int i = 0; i < MORE && step(c, false); i++)
            ;
        c->leads = false;
        naru__waiter_wake(c->waiters);
    }
    if (r == 0)
        r = run_events(c);
    c->in_process = false;
    flush_all(c);
    pthread_mutex_unlock(&c->lock);
    return r;
}

int naru__client_wait_ready(naru_client *c, int64_t deadline)
{
    pthread_mutex_lock(&c->lock);
    c->wanted = true;
    int r = c->ready ? 0 : await(c, ready_or_failed, NULL, NULL, deadline);
    if (r == 0 && !c->ready)
        r = naru__fail(-ECONNRESET, "%s", c->why);
    else if (r == -ETIMEDOUT && c->why[0])
        naru__fail(r, "the time given passed: %s", c->why);
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* ---- the handle ---- */

static int client_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    naru_client *c = (naru_client *)h;
    int r = 0;
    (void)events;
    pthread_mutex_lock(&c->lock);
    ret_watch->n = 0;
    for (unsigned i = 0; i < n_links(c) && r == 0; i++) {
        struct naru_carrier *link = link_at(c, i);
        r = link ? link->ops->watch(link, ret_watch) : 0;
        /* looking may have taken the bell from a leader who sleeps on it */
        if (link && c->leads && link->ops->ready(link))
            naru__nudge(h, 0);
    }
    const struct naru_call *first = naru__timers_first(&c->timers);
    if (first && first->deadline < ret_watch->again)
        ret_watch->again = first->deadline;
    bool connects = !c->attached && !c->no_more && (c->wanted || c->held);
    if (connects && next_attempt(c) < ret_watch->again)
        ret_watch->again = next_attempt(c);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static bool client_ready(struct naru_handle *h, int events)
{
    naru_client *c = (naru_client *)h;
    bool ready;
    (void)events;
    pthread_mutex_lock(&c->lock);
    ready = c->events != NULL || c->dead;
    for (unsigned i = 0; i < n_links(c); i++)
        ready |= link_at(c, i) && link_at(c, i)->ops->ready(link_at(c, i));
    pthread_mutex_unlock(&c->lock);
    return ready;
}

static int client_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    naru_client *c = (naru_client *)h;
    pthread_mutex_lock(&c->lock);
    struct naru_carrier *link = c->target[0].link;
    for (unsigned i = 1; i < c->n_targets && !link; i++)
        link = c->target[i].link;
    int r = link ? link->ops->peer(link, ret_peer)
                 : naru__fail(-ECONNRESET, "%s: there is no connection now", name_of(c));
    pthread_mutex_unlock(&c->lock);
    return r;
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = client_watch,
    .ready = client_ready,
    .peer = client_peer,
};

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value ? value : otherwise;
}

int naru__client_new(const struct naru_service_at *at, naru_channel *channel,
                     const struct naru_client_options *options, naru_client **ret_c)
{
    naru_client *c = naru__alloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    const char *name = at ? at->url.text : channel->handle.name;
    int r = naru__handle_init(&c->handle, NARU__CLIENT, &handle_ops, name, NARU_IN);
    if (r < 0) {
        free(c);
        return r;
    }
    naru__set_waiting(&c->handle, options->flags);
    pthread_mutex_init(&c->lock, NULL);
    c->options = *options;
    r = naru__tls_keep(options->tls, &c->options.tls);
    c->options.max_calls = (unsigned)or_default(options->max_calls, 10000);
    c->options.first_backoff = or_default(options->first_backoff, 50 * NARU_MS);
    c->options.max_backoff = or_default(options->max_backoff, 5 * NARU_S);
    c->limits = (struct naru_carrier_limits){
        .max_message = (size_t)or_default((int64_t)options->max_message, 4 << 20),
        .max_metadata = RPC_METADATA_MAX,
        .window = (size_t)or_default((int64_t)options->window, 256 << 10),
        .max_calls = c->options.max_calls,
        .max_unread = SIZE_MAX, /* its own requests are its own affair */
        .max_unfinished = 512 << 20,
        .keepalive = options->keepalive > 0 ? options->keepalive : 0,
    };
    c->random = (uint64_t)naru__now() ^ ((uint64_t)(uintptr_t)c << 16) ^ 1;
    if (at) { /* its text is the caller's, and the name its copy */
        c->at = *at;
        (void)naru__url_parse(c->handle.name, &c->at.url);
    }
    c->n_targets = options->flags & NARU_ROUND_ROBIN ? TARGETS : 1;
    c->attached = channel != NULL;
    if (r == 0 && channel)
        r = carry(c, channel);
    if (r < 0) {
        free((void *)(uintptr_t)c->options.tls);
        pthread_mutex_destroy(&c->lock);
        naru__handle_deinit(&c->handle);
        free(c);
        return r;
    }
    *ret_c = c;
    return 0;
}

void naru__client_close(naru_client *c, bool owner)
{
    if (owner) {
        pthread_mutex_lock(&c->lock);
        for (struct naru_call *call = c->calls, *next; call; call = next) {
            next = call->next;
            end_with(c, call, NARU_STATUS_CANCELLED, "the client was closed");
        }
        (void)run_events(c); /* what an event was given, its end gives back */
        pthread_mutex_unlock(&c->lock);
    }
    for (unsigned i = 0; i < n_links(c); i++)
        if (link_at(c, i))
            link_at(c, i)->ops->close(link_at(c, i));
    while (c->dead) {
        struct naru_carrier *dead = c->dead;
        c->dead = dead->next;
        dead->ops->close(dead);
    }
    while (c->calls) {
        struct naru_call *call = c->calls;
        c->calls = call->next;
        naru__call_free(call);
    }
    naru__spares_free(&c->spares);
    naru__timers_free(&c->timers);
    free((void *)(uintptr_t)c->options.tls);
    pthread_mutex_destroy(&c->lock);
    naru__handle_deinit(&c->handle);
    free(c);
}
