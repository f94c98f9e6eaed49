/* SPDX-License-Identifier: MIT */
/* carrier-channel.c - calls over a connection of naru's, in its own frames (frames.h).
 *
 * A call's id is its slot, 32 bits, and how often the client has used the slot: finding a call is
 * an index and a compare, and a late answer finds another number. A message longer than RPC_PART
 * goes in parts, between which other calls' frames go; it is accepted whole: what the medium does
 * not take is copied and follows. Frames that find no room wait in `queue`, copied, in order; a
 * server whose queue is long reads no more, so whoever does not read its answers asks for no more.
 *
 * Everything is called with the owner's lock held, but ready. */
#include "base/error.h"
#include "base/memory.h"
#include "rpc/call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_FULL = 65536,   /* no more messages are accepted */
    QUEUE_PAUSE = 262144, /* a server reads no more */
    GATHERED = 32768,     /* a gathering queue is written at */
    GATHERED_FRAMES = 8,  /* in shared memory, where the other side begins with them at once */
    TAKES = 32            /* from a socket's connection by one look */
};

struct queued {
    size_t at, size;
    uint32_t kind;
};

struct known { /* a route that has a number on this connection */
    const naru_route *route;
    const char *path;
    uint64_t signature;
    uint32_t number;
};

struct over_channel {
    struct naru_carrier carrier;
    naru_channel *channel;
    bool memory; /* sending is no system call, and one frame as good as many */
    bool met, greeted;
    int lost;     /* it is over */
    int out_lost; /* nothing more can be sent; what has come is read first */
    struct naru_rpc_hello there;
    size_t part; /* largest part of a message that a frame of this connection carries */

    struct {
        uint8_t *bytes;
        size_t used, room;
        struct queued *frames;
        size_t first, n, frames_room;
    } queue;
    struct naru_call *waiting, *waiting_last;

    struct naru_call **slots;
    uint32_t n_slots;
    struct { /* client */
        uint32_t *generations, *free;
        uint32_t n_free;
        struct known *known; /* open addressing, a power of two */
        uint32_t known_room, n_known;
    } ids;
    struct { /* server: by number */
        void **at;
        uint32_t n;
        bool *told;
    } methods;

    struct { /* by the last look; not in shared memory */
        struct naru_message at[TAKES];
        unsigned next, n;
        unsigned done; /* the first so many of `at` are to be released */
    } taken;
    struct naru_message current;
    bool has_current;
    struct naru_buffer scratch; /* a copy of metadata, while it is handed on */
};

static struct over_channel *of(struct naru_carrier *carrier)
{
    return (struct over_channel *)carrier;
}

static const char *name_of(const struct over_channel *c)
{
    return c->channel->handle.name;
}

/* ---- the queue ---- */

static int lose(struct over_channel *c, int code)
{
    if (c->lost == 0)
        c->lost = code;
    return code;
}

static int lose_out(struct over_channel *c, int code)
{
    if (c->out_lost == 0)
        c->out_lost = code;
    return code;
}

static void *grown(void *old, size_t used, size_t size)
{
    void *now = naru__large_alloc(size);
    if (now && used)
        memcpy(now, old, used);
    if (now)
        naru__large_free(old);
    return now;
}

static int enqueue(struct over_channel *c, uint32_t kind, const struct iovec *pieces, int n)
{
    size_t size = 0;
    for (int i = 0; i < n; i++)
        size += pieces[i].iov_len;
    if (c->queue.used + size > c->queue.room) {
        size_t room = c->queue.room ? c->queue.room : 4096;
        while (room < c->queue.used + size)
            room *= 2;
        uint8_t *bytes = grown(c->queue.bytes, c->queue.used, room);
        if (!bytes)
            return lose(c, -ENOMEM); /* half of what was agreed on cannot be said */
        c->queue.bytes = bytes;
        c->queue.room = room;
    }
    if (c->queue.n == c->queue.frames_room) {
        size_t room = c->queue.frames_room ? c->queue.frames_room * 2 : 64;
        struct queued *frames =
            grown(c->queue.frames, c->queue.n * sizeof *frames, room * sizeof *frames);
        if (!frames)
            return lose(c, -ENOMEM);
        c->queue.frames = frames;
        c->queue.frames_room = room;
    }
    c->queue.frames[c->queue.n++] = (struct queued){c->queue.used, size, kind};
    for (int i = 0; i < n; i++) {
        if (pieces[i].iov_len)
            memcpy(c->queue.bytes + c->queue.used, pieces[i].iov_base, pieces[i].iov_len);
        c->queue.used += pieces[i].iov_len;
    }
    return 0;
}

static bool queue_empty(const struct over_channel *c)
{
    return c->queue.first == c->queue.n;
}

static void queue_done(struct over_channel *c)
{
    enum { KEEPS = 262144 };
    c->queue.first = c->queue.n = c->queue.used = 0;
    if (c->queue.room <= KEEPS)
        return;
    naru__large_free(c->queue.bytes);
    c->queue.bytes = NULL;
    c->queue.room = 0;
}

static int post(struct over_channel *c, uint32_t kind, const struct iovec *pieces, int n,
                size_t size)
{
    const struct naru_channel_ops *ops = c->channel->ops;
    const struct naru_outgoing out = {kind, 0, pieces, (size_t)n, size};
    return ops->post ? ops->post(c->channel, &out) : ops->send(c->channel, &out, NARU__AT_ONCE);
}

/* Has the other end's connection greeted? Nothing can be sent before. */
static int channel_met(struct naru_carrier *carrier)
{
    struct over_channel *c = of(carrier);
    if (c->met)
        return 0;
    if (c->lost || c->out_lost)
        return c->lost ? c->lost : c->out_lost;
    int r = c->channel->ops->wait_peers(c->channel, 1, NARU__AT_ONCE);
    c->met = r == 0;
    return r == 0 || r == -EAGAIN ? r : lose_out(c, r);
}

/* Small frames gathered into one write. */
static int write_many(struct over_channel *c)
{
    enum { MOST = 128, SMALL = 4096 };
    struct naru_message m[MOST];
    size_t n = 0;
    for (size_t i = c->queue.first; i < c->queue.n && n < MOST; i++, n++) {
        const struct queued *q = &c->queue.frames[i];
        if (q->size > SMALL)
            break;
        m[n].data = c->queue.bytes + q->at;
        m[n].size = q->size;
        m[n].info.type = q->kind;
    }
    if (n < 2) {
        const struct queued *q = &c->queue.frames[c->queue.first];
        const struct iovec one = {c->queue.bytes + q->at, q->size};
        int r = post(c, q->kind, &one, 1, q->size);
        c->queue.first += r == 0;
        return r;
    }
    ssize_t r = c->channel->ops->send_many(c->channel, m, n, NARU__AT_ONCE);
    if (r > 0)
        c->queue.first += (size_t)r;
    return r < 0 ? (int)r : (size_t)r < n ? -EAGAIN : 0;
}

static int write_queue(struct over_channel *c)
{
    int r = channel_met(&c->carrier);
    if (r == 0 && c->channel->ops->settle)
        r = c->channel->ops->settle(c->channel);
    while (r == 0 && !queue_empty(c))
        r = write_many(c);
    if (queue_empty(c))
        queue_done(c);
    return r == 0 || r == -EAGAIN ? r : lose_out(c, r);
}

/* ---- frames out ---- */

static bool gathered_enough(const struct over_channel *c)
{
    return c->queue.used - c->queue.frames[c->queue.first].at >= GATHERED ||
           (c->memory && c->queue.n - c->queue.first >= GATHERED_FRAMES);
}

static int put_raw(struct over_channel *c, uint32_t kind, const struct iovec *pieces, int n)
{
    size_t size = 0;
    if (c->lost || c->out_lost)
        return c->lost ? c->lost : c->out_lost;
    for (int i = 0; i < n; i++)
        size += pieces[i].iov_len;
    if (!queue_empty(c) || c->carrier.gather || channel_met(&c->carrier) < 0) {
        int r = c->out_lost ? c->out_lost : enqueue(c, kind, pieces, n);
        if (r == 0 && c->carrier.gather && gathered_enough(c))
            r = write_queue(c);
        return r == -EAGAIN ? 0 : r;
    }
    int r = post(c, kind, pieces, n, size);
    if (r == -EAGAIN)
        return enqueue(c, kind, pieces, n);
    return r == 0 || r == -EMSGSIZE ? r : lose_out(c, r);
}

static int put(struct over_channel *c, const struct naru_rpc_frame *f)
{
    uint8_t usual[512], *head = usual;
    size_t size = naru__rpc_size(f);
    if (size > sizeof usual && !(head = naru__alloc_raw(size)))
        return -ENOMEM;
    naru__rpc_encode(f, head);
    const struct iovec pieces[2] = {{head, size},
                                    {(void *)(uintptr_t)f->message.data, f->message.size}};
    int r = put_raw(c, f->kind, pieces, f->message.size ? 2 : 1);
    if (head != usual)
        free(head);
    return r;
}

static int say_hello(struct over_channel *c)
{
    uint8_t bytes[RPC_HELLO_SIZE];
    const struct naru_carrier_limits *l = &c->carrier.here;
    naru__rpc_hello_encode(&(struct naru_rpc_hello){.version = RPC_VERSION,
                                                    .max_calls = l->max_calls,
                                                    .max_message = l->max_message,
                                                    .window = l->window,
                                                    .max_metadata = (uint32_t)l->max_metadata},
                           bytes);
    return put_raw(c, RPC_HELLO, &(struct iovec){bytes, sizeof bytes}, 1);
}

/* ---- messages out ---- */

static void want_medium(struct over_channel *c, struct naru_call *call)
{
    if (call->flow.waits)
        return;
    call->flow.waits = true;
    call->flow.next_waiting = NULL;
    if (c->waiting_last)
        c->waiting_last->flow.next_waiting = call;
    else
        c->waiting = call;
    c->waiting_last = call;
}

static void want_no_more(struct over_channel *c, struct naru_call *call)
{
    struct naru_call **at = &c->waiting, *last = NULL;
    if (!call->flow.waits)
        return;
    for (; *at && *at != call; at = &(*at)->flow.next_waiting)
        last = *at;
    if (*at)
        *at = call->flow.next_waiting;
    if (c->waiting_last == call)
        c->waiting_last = last;
    call->flow.waits = false;
}

static int keep_rest(struct over_channel *c, struct naru_call *call, const uint8_t *data,
                     size_t size, bool end)
{
    uint8_t *copy = naru__large_alloc(size);
    if (!copy)
        return lose(c, -ENOMEM); /* half a message has gone */
    memcpy(copy, data, size);
    call->flow.rest.data = copy;
    call->flow.rest.size = size;
    call->flow.rest.gone = 0;
    call->flow.ends = end;
    want_medium(c, call);
    return 0;
}

/* The parts behind the first, as long as the medium takes them. */
static int put_parts(struct over_channel *c, struct naru_call *call, const uint8_t *data,
                     size_t size, bool end)
{
    while (size > 0) {
        if (!queue_empty(c) && !c->carrier.gather)
            return keep_rest(c, call, data, size, end);
        size_t n = size < c->part ? size : c->part;
        bool last = n == size;
        const struct naru_rpc_frame f = {
            .kind = RPC_MESSAGE,
            .id = call->flow.id,
            .flags = RPC_HAS | (last ? 0u : RPC_MORE) | (last && end ? RPC_END : 0u),
            .message = {data, n},
        };
        int r = put(c, &f);
        if (r < 0)
            return r;
        data += n;
        size -= n;
    }
    return 0;
}

static int too_large(struct over_channel *c, size_t size)
{
    return naru__fail(-EMSGSIZE,
                      "%s: the message has %zu bytes and the other side takes at most %" PRIu64
                      " (its .max_message)",
                      name_of(c), size, c->there.max_message);
}

/* f: OPEN or MESSAGE, all but the message. */
static int put_message(struct over_channel *c, struct naru_call *call, struct naru_rpc_frame *f,
                       const void *data, size_t size, bool end)
{
    if (c->greeted && size > c->there.max_message)
        return too_large(c, size);
    size_t room = c->part;
    if (f->flags & (RPC_TEXT | RPC_METADATA) && naru__rpc_size(f) > room / 2)
        room = 0; /* the message by itself */
    bool whole = size <= room;
    f->flags |= RPC_HAS | (whole && end ? RPC_END : 0u);
    f->message = (struct naru_span){data, whole ? size : room};
    if (!whole) {
        f->flags |= RPC_MORE | RPC_TOTAL;
        f->total = size;
    }
    int r = put(c, f);
    if (r < 0)
        return r;
    if (call->flow.limited)
        call->flow.credit -= naru__cost(size);
    return whole ? 0 : put_parts(c, call, (const uint8_t *)data + room, size - room, end);
}

/* May a message be accepted now? */
static int accepts(struct over_channel *c, struct naru_call *call)
{
    if (c->lost || c->out_lost)
        return c->lost ? c->lost : c->out_lost;
    if (call->flow.limited && call->flow.credit <= 0)
        return -EAGAIN;
    if (call->flow.rest.data || c->queue.used > QUEUE_FULL) {
        if (!queue_empty(c))
            (void)write_queue(c);
        if (c->out_lost)
            return c->out_lost;
        if (call->flow.rest.data || c->queue.used > QUEUE_FULL) {
            want_medium(c, call);
            return -EAGAIN;
        }
    }
    return 0;
}

static int channel_message(struct naru_carrier *carrier, struct naru_call *call, const void *data,
                           size_t size, bool end)
{
    struct over_channel *c = of(carrier);
    int r = accepts(c, call);
    if (r < 0)
        return r;
    struct naru_rpc_frame f = {.kind = RPC_MESSAGE, .id = call->flow.id};
    return put_message(c, call, &f, data, size, end);
}

static int channel_half_close(struct naru_carrier *carrier, struct naru_call *call)
{
    struct over_channel *c = of(carrier);
    if (call->flow.rest.data) {
        call->flow.ends = true;
        return 0;
    }
    return put(
        c, &(struct naru_rpc_frame){.kind = RPC_MESSAGE, .id = call->flow.id, .flags = RPC_END});
}

/* ---- numbers ---- */

static struct naru_call *find(const struct over_channel *c, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    struct naru_call *call = slot < c->n_slots ? c->slots[slot] : NULL;
    return call && call->flow.id == id ? call : NULL;
}

static int more_slots(struct over_channel *c, uint32_t need)
{
    uint32_t n = c->n_slots ? c->n_slots : 16;
    while (n < need)
        n *= 2;
    struct naru_call **slots = naru__alloc(n * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    if (!c->carrier.server) {
        uint32_t *generations = naru__alloc(n * sizeof *generations);
        uint32_t *free_slots = naru__alloc_raw(n * sizeof *free_slots);
        if (!generations || !free_slots) {
            free(generations);
            free(free_slots);
            free(slots);
            return -ENOMEM;
        }
        if (c->n_slots)
            memcpy(generations, c->ids.generations, c->n_slots * sizeof *generations);
        free(c->ids.generations);
        free(c->ids.free); /* it is empty, or there would be no need */
        c->ids.generations = generations;
        c->ids.free = free_slots;
        c->ids.n_free = 0;
        for (uint32_t i = n; i-- > c->n_slots;) /* the lowest comes first */
            c->ids.free[c->ids.n_free++] = i;
    }
    if (c->n_slots)
        memcpy(slots, c->slots, c->n_slots * sizeof *slots);
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return 0;
}

static int new_id(struct over_channel *c, struct naru_call *call)
{
    int r = c->ids.n_free == 0 ? more_slots(c, c->n_slots + 1) : 0;
    if (r < 0)
        return r;
    uint32_t slot = c->ids.free[c->ids.n_free - 1];
    if (c->greeted && slot >= c->there.max_calls)
        return naru__fail(-EBUSY,
                          "%s: %" PRIu32 " calls are in flight and the server takes no more of one "
                          "client (its .max_calls_each)",
                          name_of(c), c->there.max_calls);
    c->ids.n_free--;
    c->slots[slot] = call;
    call->flow.id = (uint64_t)++c->ids.generations[slot] << 32 | slot;
    call->flow.opened = true;
    return 0;
}

static void channel_forget(struct naru_carrier *carrier, struct naru_call *call)
{
    struct over_channel *c = of(carrier);
    uint32_t slot = (uint32_t)call->flow.id;
    want_no_more(c, call);
    if (!call->flow.opened)
        return;
    call->flow.opened = false;
    if (slot < c->n_slots && c->slots[slot] == call) {
        c->slots[slot] = NULL;
        if (!carrier->server)
            c->ids.free[c->ids.n_free++] = slot;
    }
}

static uint32_t hash(const naru_route *route)
{
    return (uint32_t)(((uint64_t)(uintptr_t)route * UINT64_C(0x9e3779b97f4a7c15)) >> 40);
}

static int more_known(struct over_channel *c)
{
    uint32_t room = c->ids.known_room ? c->ids.known_room * 2 : 32;
    struct known *known = naru__alloc(room * sizeof *known);
    if (!known)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->ids.known_room; i++) {
        if (!c->ids.known[i].route)
            continue;
        uint32_t at = hash(c->ids.known[i].route) & (room - 1);
        while (known[at].route)
            at = (at + 1) & (room - 1);
        known[at] = c->ids.known[i];
    }
    free(c->ids.known);
    c->ids.known = known;
    c->ids.known_room = room;
    return 0;
}

/* A route's number on this connection, and whether the server still has to be told its path.
 * 0: it gets none, and is told each time. */
static struct known number_of(struct over_channel *c, const naru_route *route, bool *ret_new)
{
    struct known new = {route, route->path, 0, 0};
    *ret_new = true;
    bool full = c->ids.n_known * 2 >= c->ids.known_room && more_known(c) < 0;
    uint32_t at = full ? 0 : hash(route) & (c->ids.known_room - 1);
    for (; !full && c->ids.known[at].route; at = (at + 1) & (c->ids.known_room - 1))
        if (c->ids.known[at].route == route && c->ids.known[at].path == route->path) {
            *ret_new = false;
            return c->ids.known[at];
        }
    new.signature = naru__layout_signature(route->layout);
    if (strlen(route->path) > RPC_PATH_MAX) /* each time: the server says that there is none */
        return new;
    if (full || c->ids.n_known + 1 >= RPC_METHODS)
        return new;
    new.number = ++c->ids.n_known;
    return c->ids.known[at] = new;
}

/* ---- a client's calls ---- */

static int channel_open(struct naru_carrier *carrier, struct naru_call *call,
                        const struct naru_opening *o, const void *data, size_t size, bool end)
{
    struct over_channel *c = of(carrier);
    bool named;
    if (c->lost || c->out_lost)
        return c->lost ? c->lost : c->out_lost;
    if (data && c->greeted && size > c->there.max_message)
        return too_large(c, size);
    if (c->queue.used > QUEUE_FULL && write_queue(c) < 0 && c->queue.used > QUEUE_FULL) {
        want_medium(c, call);
        return c->out_lost ? c->out_lost : -EAGAIN;
    }
    int r = new_id(c, call);
    if (r < 0)
        return r;
    const struct known known = number_of(c, o->route, &named);
    struct naru_rpc_frame f = {.kind = RPC_OPEN, .id = call->flow.id, .number = known.number};
    if (named) {
        f.flags |= RPC_TEXT;
        f.text = (struct naru_span){o->route->path, strnlen(o->route->path, RPC_PATH_MAX)};
    }
    if (o->time >= 0) {
        f.flags |= RPC_TIME;
        f.time = o->time;
    }
    if (known.signature) {
        f.flags |= RPC_SIGNATURE;
        f.signature = known.signature;
    }
    if (o->metadata.size) {
        f.flags |= RPC_METADATA;
        f.metadata = o->metadata;
    }
    call->flow.credit = c->greeted ? (int64_t)c->there.window : RPC_FIRST_WINDOW;
    call->flow.granted = (int64_t)carrier->here.window;
    if (data)
        return put_message(c, call, &f, data, size, end);
    f.flags |= end ? RPC_END : 0u;
    return put(c, &f);
}

static void drop_outgoing(struct naru_call *call)
{
    free(call->flow.rest.data);
    free(call->flow.status);
    call->flow.rest.data = call->flow.status = NULL;
}

static int channel_cancel(struct naru_carrier *carrier, struct naru_call *call, int code)
{
    struct over_channel *c = of(carrier);
    if (!call->flow.opened)
        return 0;
    drop_outgoing(call);
    return put(c, &(struct naru_rpc_frame){
                      .kind = RPC_CANCEL, .id = call->flow.id, .number = (uint32_t)code});
}

/* ---- a server's ---- */

static int channel_header(struct naru_carrier *carrier, struct naru_call *call,
                          struct naru_span metadata)
{
    return put(of(carrier), &(struct naru_rpc_frame){.kind = RPC_HEADER,
                                                     .id = call->flow.id,
                                                     .flags = RPC_METADATA,
                                                     .metadata = metadata});
}

static struct naru_rpc_frame status_frame(uint64_t id, const struct naru_ending *e)
{
    struct naru_rpc_frame f = {.kind = RPC_STATUS, .id = id, .number = (uint32_t)e->code};
    f.flags = (e->text.size ? RPC_TEXT : 0u) | (e->metadata.size ? RPC_METADATA : 0u) |
              (e->details.size ? RPC_DETAILS : 0u);
    f.text = e->text;
    f.metadata = e->metadata;
    f.details = e->details;
    return f;
}

static int channel_status(struct naru_carrier *carrier, struct naru_call *call,
                          const struct naru_ending *ending, const void *data, size_t size)
{
    struct over_channel *c = of(carrier);
    struct naru_rpc_frame f = status_frame(call->flow.id, ending);
    if (!call->flow.opened)
        return 0;
    int r = 0;
    if (data && size > c->part) {
        struct naru_rpc_frame m = {.kind = RPC_MESSAGE, .id = call->flow.id};
        r = put_message(c, call, &m, data, size, false);
        data = NULL;
        if (r == -EMSGSIZE) { /* more than the client takes: it gets that for an answer */
            const char *why = naru__why();
            const struct naru_ending large = {.code = NARU_STATUS_RESOURCE_EXHAUSTED,
                                              .text = {why, strlen(why)}};
            f = status_frame(call->flow.id, &large);
            r = 0;
        }
    }
    if (r < 0)
        return r;
    if (call->flow.rest.data) {
        size_t n = naru__rpc_size(&f);
        call->flow.status = naru__alloc_raw(n);
        if (!call->flow.status)
            return lose(c, -ENOMEM);
        call->flow.status_size = naru__rpc_encode(&f, call->flow.status);
        call->flow.leaves = true;
        return 1;
    }
    if (data) {
        f.flags |= RPC_HAS;
        f.message = (struct naru_span){data, size};
    }
    r = put(c, &f);
    channel_forget(carrier, call);
    return r;
}

static void channel_consumed(struct naru_carrier *carrier, struct naru_call *call, size_t size)
{
    struct over_channel *c = of(carrier);
    struct naru_flow *flow = &call->flow;
    if (!flow->counted || !flow->opened || call->in_ended)
        return;
    flow->consumed += (uint64_t)naru__cost(size);
    if (flow->consumed < carrier->here.window / 4)
        return;
    flow->granted += (int64_t)flow->consumed;
    (void)put(
        c, &(struct naru_rpc_frame){.kind = RPC_WINDOW, .id = flow->id, .value = flow->consumed});
    flow->consumed = 0;
}

static int channel_goaway(struct naru_carrier *carrier, int code)
{
    return put(of(carrier), &(struct naru_rpc_frame){.kind = RPC_GOAWAY, .number = (uint32_t)code});
}

/* ---- what has waited goes ---- */

static void put_rest(struct over_channel *c, struct naru_call *call)
{
    struct naru_flow *flow = &call->flow;
    uint8_t *data = flow->rest.data;
    size_t left = flow->rest.size - flow->rest.gone, n = left < c->part ? left : c->part;
    bool last = n == left;
    const struct naru_rpc_frame f = {
        .kind = RPC_MESSAGE,
        .id = flow->id,
        .flags = RPC_HAS | (last ? 0u : RPC_MORE) | (last && flow->ends ? RPC_END : 0u),
        .message = {data + flow->rest.gone, n},
    };
    (void)put(c, &f);
    flow->rest.gone += n;
    if (!last) {
        want_medium(c, call);
        return;
    }
    naru__large_free(data);
    flow->rest.data = NULL;
    if (!flow->status) {
        c->carrier.events->on_writable(call);
        return;
    }
    (void)put_raw(c, RPC_STATUS, &(struct iovec){flow->status, flow->status_size}, 1);
    channel_forget(&c->carrier, call);
    c->carrier.events->on_gone(call);
}

static int channel_flush(struct naru_carrier *carrier)
{
    struct over_channel *c = of(carrier);
    int r = c->lost ? c->lost : c->out_lost ? c->out_lost : write_queue(c);
    while (r == 0 && c->waiting) {
        struct naru_call *call = c->waiting;
        want_no_more(c, call);
        if (call->flow.rest.data)
            put_rest(c, call);
        else
            carrier->events->on_writable(call);
        r = c->lost ? c->lost : c->out_lost ? c->out_lost : queue_empty(c) ? 0 : -EAGAIN;
    }
    return r;
}

/* ---- frames in ---- */

static int wrong(struct over_channel *c, const char *what)
{
    return lose(c, naru__fail(-EPROTO, "%s: what came is refused: %s", name_of(c), what));
}

static void forget_joining(struct naru_call *call)
{
    free(call->flow.joining.data);
    memset(&call->flow.joining, 0, sizeof call->flow.joining);
}

static void fault(struct over_channel *c, struct naru_call *call, int code, const char *text)
{
    forget_joining(call);
    c->carrier.events->on_fault(call, code, text);
}

/* A part: 1: the message is whole; 0: more comes; negative: it cannot be true. */
static int join(struct naru_flow *flow, const struct naru_rpc_frame *f)
{
    enum { FIRST_ROOM = 1 << 20 }; /* who announces much and sends little gets no more memory */
    size_t n = f->message.size, need = flow->joining.got + n;
    bool last = !(f->flags & RPC_MORE);
    if (need > flow->joining.size || last != (need == flow->joining.size))
        return -EPROTO;
    if (need > flow->joining.room || !flow->joining.data) {
        size_t room = flow->joining.room * 2 > FIRST_ROOM ? flow->joining.room * 2 : FIRST_ROOM;
        room = room < need ? need : room;
        room = room < flow->joining.size ? room : flow->joining.size;
        uint8_t *data = grown(flow->joining.data, flow->joining.got, room);
        if (!data)
            return -ENOMEM;
        flow->joining.data = data;
        flow->joining.room = room;
    }
    if (n)
        memcpy(flow->joining.data + flow->joining.got, f->message.data, n);
    flow->joining.got = need;
    return last;
}

/* A message, or its first part, begins. False: not so. */
static bool begin_message(struct over_channel *c, struct naru_call *call,
                          const struct naru_rpc_frame *f)
{
    struct naru_flow *flow = &call->flow;
    uint64_t size = f->flags & RPC_TOTAL ? f->total : f->message.size;
    if (!!(f->flags & RPC_TOTAL) != !!(f->flags & RPC_MORE)) {
        fault(c, call, NARU_STATUS_INTERNAL, "a part of a message comes out of turn");
        return false;
    }
    if (size > c->carrier.here.max_message) {
        char text[128];
        snprintf(text, sizeof text, "a message of %" PRIu64 " bytes, and .max_message is %zu", size,
                 c->carrier.here.max_message);
        fault(c, call, NARU_STATUS_RESOURCE_EXHAUSTED, text);
        return false;
    }
    if (flow->counted && flow->granted <= 0) {
        fault(c, call, NARU_STATUS_RESOURCE_EXHAUSTED, "more came than the window allows");
        return false;
    }
    if (flow->counted)
        flow->granted -= naru__cost((size_t)size);
    flow->joining.size = f->flags & RPC_MORE ? (size_t)size : 0;
    return true;
}

/* Hands on what the frame has of a message. False: the call has ended by it. */
static bool take_message(struct over_channel *c, struct naru_call *call,
                         const struct naru_rpc_frame *f)
{
    const struct naru_carrier_events *up = c->carrier.events;
    struct naru_flow *flow = &call->flow;
    const uint64_t id = flow->id;
    if (!(f->flags & RPC_HAS))
        return true;
    if (flow->joining.size == 0) {
        if (!begin_message(c, call, f))
            return false;
        if (flow->joining.size == 0) {
            up->on_message(
                call, &(struct naru_arrival){.data = f->message.data, .size = f->message.size});
            return find(c, id) == call;
        }
    } else if (f->flags & RPC_TOTAL) {
        fault(c, call, NARU_STATUS_INTERNAL, "a message begins in the middle of another");
        return false;
    }
    int r = join(flow, f);
    if (r < 0)
        fault(c, call, r == -ENOMEM ? NARU_STATUS_RESOURCE_EXHAUSTED : NARU_STATUS_INTERNAL,
              r == -ENOMEM ? "no memory for a message"
                           : "the parts of a message are not what was announced");
    if (r <= 0)
        return r == 0;
    const struct naru_arrival whole = {
        .data = flow->joining.data, .size = flow->joining.size, .owned = flow->joining.data};
    memset(&flow->joining, 0, sizeof flow->joining);
    up->on_message(call, &whole);
    return find(c, id) == call;
}

/* Metadata, copied and checked. */
static bool copy_metadata(struct over_channel *c, const struct naru_rpc_frame *f,
                          struct naru_span *ret_span)
{
    *ret_span = (struct naru_span){NULL, 0};
    if (f->metadata.size == 0)
        return true;
    if (naru__buffer_set(&c->scratch, f->metadata.data, f->metadata.size) < 0)
        return false;
    *ret_span = (struct naru_span){c->scratch.data, f->metadata.size};
    return naru__metadata_check(ret_span->data, ret_span->size);
}

static int refuse(struct over_channel *c, uint64_t id, int code, const char *text)
{
    const struct naru_ending e = {.code = code, .text = {text, strlen(text)}};
    const struct naru_rpc_frame f = status_frame(id, &e);
    int r = put(c, &f);
    return r < 0 ? r : 1;
}

/* The method that a frame means. */
static int method_of(struct over_channel *c, const struct naru_rpc_frame *f, void **ret_method)
{
    char path[RPC_PATH_MAX + 1];
    *ret_method = NULL;
    if (f->flags & RPC_TEXT) {
        memcpy(path, f->text.data, f->text.size);
        path[f->text.size] = '\0';
        *ret_method = c->carrier.events->resolve(&c->carrier, path);
    }
    if (f->number == 0)
        return f->flags & RPC_TEXT ? 0 : -EPROTO;
    if (f->number >= c->methods.n) {
        uint32_t n = c->methods.n ? c->methods.n : 16;
        while (n <= f->number)
            n *= 2;
        void **at = naru__alloc(n * sizeof *at);
        bool *told = naru__alloc(n * sizeof *told);
        if (!at || !told) {
            free(at);
            free(told);
            return -ENOMEM;
        }
        if (c->methods.n) {
            memcpy(at, c->methods.at, c->methods.n * sizeof *at);
            memcpy(told, c->methods.told, c->methods.n * sizeof *told);
        }
        free(c->methods.at);
        free(c->methods.told);
        c->methods.at = at;
        c->methods.told = told;
        c->methods.n = n;
    }
    if (f->flags & RPC_TEXT) {
        if (c->methods.told[f->number])
            return -EPROTO;
        c->methods.told[f->number] = true;
        c->methods.at[f->number] = *ret_method;
    }
    *ret_method = c->methods.at[f->number];
    return c->methods.told[f->number] ? 0 : -EPROTO;
}

static int on_open(struct over_channel *c, const struct naru_rpc_frame *f)
{
    const struct naru_carrier_limits *here = &c->carrier.here;
    uint32_t slot = (uint32_t)f->id;
    struct naru_call *call = NULL;
    void *method;
    int r = method_of(c, f, &method);
    if (r == -EPROTO)
        return wrong(c, "a method's number and its path do not fit");
    if (r < 0)
        return refuse(c, f->id, NARU_STATUS_RESOURCE_EXHAUSTED,
                      "no memory for the method's number");
    if (slot >= here->max_calls)
        return refuse(c, f->id, NARU_STATUS_RESOURCE_EXHAUSTED,
                      "too many calls of one client are in flight (.max_calls_each)");
    if (slot >= c->n_slots && more_slots(c, slot + 1) < 0)
        return refuse(c, f->id, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for a call");
    if (c->slots[slot])
        return wrong(c, "a call has the number of one that is not over");
    struct naru_call_request request = {.method = method,
                                        .time = f->flags & RPC_TIME ? f->time : NARU_FOREVER,
                                        .signature = f->signature};
    if (f->metadata.size > here->max_metadata)
        return refuse(c, f->id, NARU_STATUS_RESOURCE_EXHAUSTED,
                      "more metadata than the server takes (.max_metadata)");
    if (!copy_metadata(c, f, &request.metadata))
        return refuse(c, f->id, NARU_STATUS_INTERNAL, "the metadata is none");
    r = c->carrier.events->on_open(&c->carrier, &request, &call);
    if (r != 0)
        return refuse(c, f->id, r, naru__why());
    c->slots[slot] = call;
    call->flow.id = f->id;
    call->flow.opened = true;
    call->flow.credit = c->greeted ? (int64_t)c->there.window : RPC_FIRST_WINDOW;
    call->flow.granted = (int64_t)here->window;
    if (take_message(c, call, f) && f->flags & RPC_END)
        c->carrier.events->on_half_close(call);
    return 1;
}

static int on_message(struct over_channel *c, const struct naru_rpc_frame *f)
{
    struct naru_call *call = find(c, f->id);
    if (!call) /* it was cancelled, or refused, and the other side did not know yet */
        return 1;
    if (take_message(c, call, f) && f->flags & RPC_END) {
        if (!c->carrier.server)
            return wrong(c, "a server half-closes a call");
        c->carrier.events->on_half_close(call);
    }
    return 1;
}

static int on_status(struct over_channel *c, const struct naru_rpc_frame *f)
{
    struct naru_call *call = find(c, f->id);
    struct naru_ending ending = {.code = (int)f->number, .text = f->text, .details = f->details};
    if (!call) {
        c->carrier.events->on_late(&c->carrier);
        return 1;
    }
    if (f->number > NARU_STATUS_UNAUTHENTICATED)
        ending.code = NARU_STATUS_UNKNOWN;
    if (!copy_metadata(c, f, &ending.metadata))
        ending.metadata.size = 0;
    if (!take_message(c, call, f))
        return 1;
    forget_joining(call);
    channel_forget(&c->carrier, call);
    c->carrier.events->on_end(call, &ending);
    return 1;
}

static int on_header(struct over_channel *c, const struct naru_rpc_frame *f)
{
    struct naru_call *call = find(c, f->id);
    struct naru_span metadata;
    if (call && copy_metadata(c, f, &metadata))
        c->carrier.events->on_header(call, metadata);
    return 1;
}

static int on_window(struct over_channel *c, const struct naru_rpc_frame *f)
{
    struct naru_call *call = find(c, f->id);
    if (f->value > INT32_MAX)
        return wrong(c, "a window is opened too far");
    if (!call)
        return 1;
    bool was_shut = call->flow.credit <= 0;
    if (call->flow.credit <= INT32_MAX)
        call->flow.credit += (int64_t)f->value;
    if (was_shut && call->flow.credit > 0 && !call->flow.rest.data)
        c->carrier.events->on_writable(call);
    return 1;
}

static int on_hello(struct over_channel *c, const struct naru_message *m)
{
    const char *fault_is = naru__rpc_hello_decode(m->data, m->size, &c->there);
    if (fault_is)
        return wrong(c, fault_is);
    c->greeted = true;
    int64_t more = (int64_t)c->there.window - RPC_FIRST_WINDOW;
    for (uint32_t i = 0; i < c->n_slots; i++) {
        struct naru_call *call = c->slots[i];
        if (!call)
            continue;
        bool was_shut = call->flow.credit <= 0;
        call->flow.credit += more;
        if (was_shut && call->flow.credit > 0)
            c->carrier.events->on_writable(call);
    }
    return 1;
}

static int dispatch(struct over_channel *c, const struct naru_message *m)
{
    struct naru_rpc_frame f;
    if (m->info.type == RPC_HELLO)
        return c->greeted ? wrong(c, "it greets twice") : on_hello(c, m);
    if (!c->greeted)
        return wrong(c, "it does not greet as one who calls");
    const char *fault_is = naru__rpc_decode(m->info.type, m->data, m->size, &f);
    if (fault_is)
        return wrong(c, fault_is);
    bool server = c->carrier.server;
    switch (f.kind) {
    case RPC_MESSAGE:
        return on_message(c, &f);
    case RPC_WINDOW:
        return on_window(c, &f);
    case RPC_PING:
        (void)put(c, &(struct naru_rpc_frame){.kind = RPC_PONG, .value = f.value});
        return 1;
    case RPC_PONG:
        return 1;
    case RPC_OPEN:
        return server ? on_open(c, &f) : wrong(c, "a server calls its client");
    case RPC_CANCEL:
        if (!server)
            return wrong(c, "a server cancels a call");
        break;
    default:
        if (server)
            return wrong(c, "a client answers a call");
    }
    if (f.kind == RPC_STATUS)
        return on_status(c, &f);
    if (f.kind == RPC_HEADER)
        return on_header(c, &f);
    if (f.kind == RPC_GOAWAY) {
        c->carrier.events->on_goaway(&c->carrier, (int)f.number);
        return 1;
    }
    struct naru_call *call = find(c, f.id);
    if (call) {
        drop_outgoing(call);
        channel_forget(&c->carrier, call);
        c->carrier.events->on_end(call, &(struct naru_ending){.code = (int)f.number});
    }
    return 1;
}

static bool paused(const struct over_channel *c)
{
    return !c->out_lost && c->carrier.server && c->queue.used > QUEUE_PAUSE;
}

static bool has_taken(const struct over_channel *c)
{
    return c->taken.next < c->taken.n;
}

static void release_done(struct over_channel *c)
{
    if (c->taken.done > 0)
        c->channel->ops->release(c->channel, c->taken.at, c->taken.done);
    c->taken.done = 0;
}

/* Not in shared memory, the messages of one look are released together: each is under a lock. */
static void release(struct over_channel *c, struct naru_message *m)
{
    if (c->memory || c->taken.done == c->taken.next) {
        c->channel->ops->release(c->channel, m, 1);
        return;
    }
    c->taken.at[c->taken.done++] = *m;
    if (!has_taken(c))
        release_done(c);
}

static int take(struct over_channel *c)
{
    naru_channel *channel = c->channel;
    if (c->memory)
        return channel->ops->take(channel, 0, NARU__AT_ONCE, &c->current);
    if (!has_taken(c)) {
        int r = channel->ops->take(channel, 0, NARU__AT_ONCE, &c->taken.at[0]);
        if (r < 0)
            return r;
        c->taken.next = 0;
        c->taken.n = 1;
        if (channel->ops->take_ready)
            c->taken.n +=
                (unsigned)channel->ops->take_ready(channel, 0, &c->taken.at[1], TAKES - 1);
    }
    c->current = c->taken.at[c->taken.next++];
    return 0;
}

static int channel_process(struct naru_carrier *carrier)
{
    struct over_channel *c = of(carrier);
    if (c->lost)
        return c->lost;
    if (paused(c))
        return 0;
    int r = take(c);
    if (r == -EAGAIN && c->out_lost)
        return lose(c, c->out_lost);
    if (r < 0)
        return r == -EAGAIN ? 0 : lose(c, r);
    c->has_current = true;
    r = dispatch(c, &c->current);
    if (c->has_current)
        release(c, &c->current);
    else if (!has_taken(c)) /* the last one is kept, and the next look takes the others' place */
        release_done(c);
    c->has_current = false;
    return r < 0 ? lose(c, r) : 1;
}

static void channel_keep(struct naru_carrier *carrier, struct naru_message *ret_message)
{
    struct over_channel *c = of(carrier);
    *ret_message = c->current;
    c->has_current = false;
}

static void channel_release(struct naru_carrier *carrier, struct naru_message *m)
{
    release(of(carrier), m);
}

/* ---- waiting ---- */

static bool channel_ready(struct naru_carrier *carrier)
{
    const struct over_channel *c = of(carrier);
    struct naru_handle *h = &c->channel->handle;
    return has_taken(c) || (h->ops->ready && h->ops->ready(h, NARU_IN));
}

static bool channel_cheap(struct naru_carrier *carrier)
{
    return of(carrier)->memory;
}

static bool owes(struct over_channel *c)
{
    const struct naru_channel_ops *channel = c->channel->ops;
    return !queue_empty(c) || c->waiting ||
           (channel->settle && c->met && channel->settle(c->channel) == -EAGAIN);
}

static bool channel_owes(struct naru_carrier *carrier)
{
    struct over_channel *c = of(carrier);
    return c->lost || c->out_lost || owes(c);
}

static int channel_watch(struct naru_carrier *carrier, struct naru_watch *watch)
{
    struct over_channel *c = of(carrier);
    struct naru_handle *h = &c->channel->handle;
    struct naru_watch own = {.again = NARU__NEVER};
    if (c->lost || c->out_lost) {
        watch->again = NARU__AT_ONCE + 1;
        return 0;
    }
    if (has_taken(c) && !paused(c))
        watch->again = NARU__AT_ONCE + 1;
    bool out = c->met && owes(c);
    int events = (paused(c) ? 0 : NARU_IN) | (out ? NARU_OUT : 0);
    int r = h->ops->watch(h, events ? events : NARU_IN, &own);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < own.n && watch->n < NARU__WATCH_MAX; i++)
        watch->fds[watch->n++] = own.fds[i];
    if (own.again < watch->again)
        watch->again = own.again;
    return 0;
}

static int channel_peer(struct naru_carrier *carrier, struct naru_peer *ret_peer)
{
    struct naru_handle *h = &of(carrier)->channel->handle;
    if (!h->ops->peer)
        return naru__fail(-EOPNOTSUPP, "%s: the kernel does not tell who has the other end",
                          h->name);
    return h->ops->peer(h, ret_peer);
}

static const char *channel_name(struct naru_carrier *carrier)
{
    return name_of(of(carrier));
}

static void channel_close(struct naru_carrier *carrier)
{
    struct over_channel *c = of(carrier);
    bool owner = naru__is_owner(&c->channel->handle);
    if (!c->lost && !c->out_lost && owner)
        (void)write_queue(c);
    if (owner) /* in a forked child who holds the locks may not be there */
        release_done(c);
    if (owner && has_taken(c))
        c->channel->ops->release(c->channel, &c->taken.at[c->taken.next],
                                 c->taken.n - c->taken.next);
    (void)naru_channel_close(c->channel);
    free(c->queue.bytes);
    free(c->queue.frames);
    free(c->slots);
    free(c->ids.generations);
    free(c->ids.free);
    free(c->ids.known);
    free(c->methods.at);
    free(c->methods.told);
    free(c->scratch.data);
    free(c);
}

static const struct naru_carrier_ops ops = {
    .size = sizeof ops,
    .process = channel_process,
    .ready = channel_ready,
    .cheap = channel_cheap,
    .watch = channel_watch,
    .owes = channel_owes,
    .flush = channel_flush,
    .met = channel_met,
    .open = channel_open,
    .message = channel_message,
    .half_close = channel_half_close,
    .cancel = channel_cancel,
    .header = channel_header,
    .status = channel_status,
    .consumed = channel_consumed,
    .forget = channel_forget,
    .keep = channel_keep,
    .release = channel_release,
    .goaway = channel_goaway,
    .peer = channel_peer,
    .name = channel_name,
    .close = channel_close,
};

int naru__channel_carrier(naru_channel *channel, bool server,
                          const struct naru_carrier_limits *limits,
                          const struct naru_carrier_events *events, void *owner,
                          struct naru_carrier **ret_carrier)
{
    enum { LEAST_PART = 4096 };
    struct over_channel *c = naru__alloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    c->carrier = (struct naru_carrier){
        .ops = &ops, .events = events, .owner = owner, .server = server, .here = *limits};
    c->channel = channel;
    c->memory = channel->ops->reserve != NULL;
    c->part = RPC_PART;
    struct naru_stats stats = {.size = sizeof stats};
    if (c->memory && channel->handle.ops->stats) { /* a frame has to fit while others wait */
        channel->handle.ops->stats(&channel->handle, &stats);
        if (stats.capacity / 4 < c->part)
            c->part = stats.capacity / 4 < LEAST_PART ? LEAST_PART : stats.capacity / 4;
    }
    int r = say_hello(c);
    if (r < 0) { /* the channel stays the caller's */
        free(c->queue.bytes);
        free(c->queue.frames);
        free(c);
        return r;
    }
    *ret_carrier = &c->carrier;
    return 0;
}
