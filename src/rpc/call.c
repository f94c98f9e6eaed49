/* SPDX-License-Identifier: MIT */
/* call.c - what a call keeps: messages that came, its status, metadata, its place among the timers.
 *
 * A call is used again and again, so what is usual needs no allocation: a received message of up to
 * 256 bytes lies in the call itself, one up to 64 KiB in a buffer that stays with it. */
#include "rpc/call.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/futex.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers ---- */

int naru__buffer_need(struct naru_buffer *b, size_t size)
{
    if (b->size >= size)
        return 0;
    size_t room = b->size ? b->size : 256;
    while (room < size)
        room *= 2;
    uint8_t *grown = naru__large_alloc(room);
    if (!grown)
        return -ENOMEM;
    if (b->used)
        memcpy(grown, b->data, b->used);
    naru__large_free(b->data);
    b->data = grown;
    b->size = room;
    return 0;
}

void naru__buffer_slide(struct naru_buffer *b, size_t *gone, size_t size)
{
    const size_t left = b->used - *gone;
    if (left > 0 && (b->used + size <= b->size || left > *gone))
        return;
    if (left > 0)
        memmove(b->data, b->data + *gone, left);
    b->used = left;
    *gone = 0;
}

int naru__buffer_set(struct naru_buffer *b, const void *data, size_t size)
{
    b->used = 0;
    int r = naru__buffer_need(b, size);
    if (r < 0)
        return r;
    if (size)
        memcpy(b->data, data, size);
    b->used = size;
    return 0;
}

void naru__buffer_trim(struct naru_buffer *b, size_t most)
{
    b->used = 0;
    if (b->size <= most)
        return;
    naru__large_free(b->data);
    *b = (struct naru_buffer){NULL, 0, 0};
}

/* ---- life ---- */

/* The name is borrowed. None of a handle's descriptors is ever made for a call. */
struct naru_call *naru__call_new(const struct naru_handle_ops *ops,
                                 const struct naru_call_side *side, pthread_mutex_t *lock,
                                 void *owner, const char *name)
{
    struct naru_call *call = naru__alloc(sizeof *call);
    if (!call)
        return NULL;
    struct naru_handle *h = &call->handle;
    h->noun = NARU__CALL;
    h->process = naru__process();
    h->ops = ops;
    h->name = (char *)(uintptr_t)name;
    h->epoll = h->timer = NARU__NO_FD;
    h->wake[0] = h->wake[1] = h->bell = h->pidfd = NARU__NO_FD;
    h->kernels = "a call is waited for, and cancelled, by functions of its own";
    h->magic = NARU__MAGIC;
    call->side = side;
    call->lock = lock;
    call->owner = owner;
    call->deadline = NARU__NEVER;
    return call;
}

static struct naru_received *small_of(struct naru_call *call)
{
    return (struct naru_received *)(void *)call->small;
}

static void drop(struct naru_call *call, struct naru_received *m)
{
    if (m == small_of(call)) {
        call->small_used = false;
    } else if ((uint8_t *)m == call->keeps.received.data) {
        call->kept_used = false;
    } else {
        naru__large_free(m->owned);
        free(m);
    }
}

static void drop_messages(struct naru_call *call)
{
    if (call->request_payload.internal[1]) /* of a method that takes one message */
        naru__call_drop(call, &call->request_payload);
    while (call->first) {
        struct naru_received *m = call->first;
        call->first = m->next;
        drop(call, m);
    }
    call->last = NULL;
}

static void drop_flow(struct naru_call *call)
{
    void *const owned[] = {call->flow.rest.data, call->flow.status, call->flow.joining.data,
                           call->text,           call->details,     call->held_data};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        if (__builtin_expect(owned[i] != NULL, 0))
            free(owned[i]);
}

enum { BUFFERS = sizeof((struct naru_call *)0)->keeps / sizeof(struct naru_buffer) };

/* Fit for its next use. */
static void reset(struct naru_call *call, size_t most)
{
    struct naru_buffer *all = (struct naru_buffer *)&call->keeps;
    drop_messages(call);
    drop_flow(call);
    for (size_t i = 0; i < BUFFERS; i++)
        naru__buffer_trim(&all[i], most);
    memset(&call->flow, 0, offsetof(struct naru_call, small) - offsetof(struct naru_call, flow));
    call->deadline = NARU__NEVER;
}

void naru__call_free(struct naru_call *call)
{
    struct naru_buffer *all = (struct naru_buffer *)&call->keeps;
    drop_messages(call);
    drop_flow(call);
    for (size_t i = 0; i < BUFFERS; i++)
        free(all[i].data);
    call->handle.magic = 0;
    free(call);
}

/* The last that came goes first, so those that keep their buffers are used again and again. */
struct naru_call *naru__spares_take(struct naru_spares *s)
{
    struct naru_call **list = s->n_hot > 0 ? &s->hot : &s->cold, *call = *list;
    if (!call)
        return NULL;
    *(s->n_hot > 0 ? &s->n_hot : &s->n_cold) -= 1;
    *list = call->next;
    call->handle.magic = NARU__MAGIC;
    return call;
}

void naru__spares_give(struct naru_spares *s, struct naru_call *call, unsigned most)
{
    bool is_hot = s->n_hot < CALLS_HOT;
    struct naru_call **list = is_hot ? &s->hot : &s->cold;
    if (s->n_hot + s->n_cold >= most) {
        naru__call_free(call);
        return;
    }
    reset(call, is_hot ? CALL_KEEPS : CALL_SPARE);
    call->handle.magic = 0; /* who uses it after its end is told so */
    *(is_hot ? &s->n_hot : &s->n_cold) += 1;
    call->next = *list;
    *list = call;
}

void naru__spares_free(struct naru_spares *s)
{
    struct naru_call *call;
    while ((call = naru__spares_take(s)))
        naru__call_free(call);
}

/* ---- messages ---- */

static struct naru_received *place_for(struct naru_call *call, const struct naru_arrival *a)
{
    struct naru_received *m;
    bool owned = a->owned && a->size > CALL_SMALL;
    if (!call->small_used && a->size <= CALL_SMALL) {
        call->small_used = true;
        m = small_of(call);
    } else if (!owned && !call->kept_used && a->size <= CALL_KEEPS) {
        call->keeps.received.used = 0;
        if (naru__buffer_need(&call->keeps.received, sizeof *m + a->size) < 0)
            return NULL;
        call->kept_used = true;
        m = (struct naru_received *)(void *)call->keeps.received.data;
    } else {
        m = naru__alloc_raw(sizeof *m + (owned ? 0 : a->size));
        if (!m)
            return NULL;
    }
    m->next = NULL;
    m->size = a->size;
    m->compressed = a->compressed;
    m->owned = owned ? a->owned : NULL;
    return m;
}

int naru__call_receive(struct naru_call *call, const struct naru_arrival *a)
{
    struct naru_received *m = place_for(call, a);
    if (m && !m->owned && a->size)
        memcpy(m->data, a->data, a->size);
    if (!m || !m->owned)
        free(a->owned);
    if (!m)
        return -ENOMEM;
    if (call->last)
        call->last->next = m;
    else
        call->first = m;
    call->last = m;
    return 0;
}

int naru__call_next(struct naru_call *call, struct naru_payload *ret_payload)
{
    struct naru_received *m = call->first;
    if (!m)
        return 0;
    call->first = m->next;
    if (!call->first)
        call->last = NULL;
    call->compressed = m->compressed;
    *ret_payload = (struct naru_payload){
        .data = m->owned ? m->owned : m->data,
        .size = m->size,
        .internal = {(uint64_t)(uintptr_t)call, (uint64_t)(uintptr_t)m},
    };
    if (call->in_place_next) {
        call->in_place_next = false;
        ret_payload->data = call->request;
        ret_payload->size = call->request_size;
        ret_payload->internal[2] = 1;
    }
    return 1;
}

void naru__call_drop(struct naru_call *call, struct naru_payload *payload)
{
    drop(call, (struct naru_received *)(uintptr_t)payload->internal[1]);
    *payload = (struct naru_payload){.data = NULL};
}

/* ---- status and metadata ---- */

void naru__call_set_status(struct naru_call *call, int code, const char *text, size_t size)
{
    call->code = code;
    free(call->text);
    call->text = NULL;
    if (text && size > 0)
        call->text = naru__copy_text(text, size < RPC_TEXT_MAX ? size : RPC_TEXT_MAX);
}

/* The value of one of the call's own metadata, as text. "": there is none, or it is too long. */
static void trace_of(const struct naru_call *call, char *text, size_t size)
{
    const struct naru_buffer *list = call->route ? &call->keeps.header : &call->keeps.their_header;
    struct naru_metadata entry;
    text[0] = '\0';
    if (list->used &&
        naru__metadata_find((struct naru_span){list->data, list->used}, "traceparent", 0, &entry) &&
        entry.size < size)
        snprintf(text, size, "%.*s", (int)entry.size, (const char *)entry.value);
}

void naru__call_tell(const struct naru_call *call, naru_call_hook *hook, void *arg, int code,
                     struct naru_span text)
{
    char message[RPC_TEXT_MAX + 1], trace[256];
    struct naru_peer peer = {.size = sizeof peer};
    int64_t now = naru__now();
    snprintf(message, sizeof message, "%.*s", (int)text.size,
             text.data ? (const char *)text.data : "");
    trace_of(call, trace, sizeof trace);
    bool has_peer = call->carrier && call->carrier->ops->peer(call->carrier, &peer) == 0;
    const struct naru_status status = {.code = code, .message = message};
    hook(arg, &(struct naru_call_record){.size = sizeof(struct naru_call_record),
                                         .method = call->path,
                                         .url = call->handle.name,
                                         .peer = has_peer ? &peer : NULL,
                                         .status = &status,
                                         .began = call->begun_at,
                                         .took = now - call->begun_at,
                                         .bytes_sent = call->bytes_out,
                                         .bytes_received = call->bytes_in,
                                         .traceparent = trace[0] ? trace : NULL});
}

/* Of a call that is served, what came does not change. */
int naru__call_pass_trace(struct naru_call *call, const struct naru_call *parent)
{
    static const char *const keys[] = {"traceparent", "tracestate"};
    const struct naru_buffer *mine = &call->keeps.header, *theirs = &parent->keeps.their_header;
    struct naru_metadata entry;
    int r = 0;
    if (parent->route || theirs->used == 0 ||
        (mine->used &&
         naru__metadata_find((struct naru_span){mine->data, mine->used}, keys[0], 0, &entry)))
        return 0;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (unsigned i = 0;
             r == 0 && naru__metadata_find((struct naru_span){theirs->data, theirs->used}, keys[k],
                                           i, &entry);
             i++)
            r = naru__call_add_metadata(call, &call->keeps.header, &entry, RPC_METADATA_MAX,
                                        "call's");
    return r;
}

int naru__call_set_details(struct naru_call *call, const void *details, size_t size)
{
    uint8_t *copy = NULL;
    if (size > 0 && !(copy = naru__alloc_raw(size)))
        return -ENOMEM;
    if (size > 0)
        memcpy(copy, details, size);
    free(call->details);
    call->details = copy;
    call->details_size = size;
    return 0;
}

int naru__call_add_metadata(struct naru_call *call, struct naru_buffer *list,
                            const struct naru_metadata *entry, size_t limit, const char *what)
{
    const char *fault = naru__metadata_fault(entry);
    if (fault)
        return naru__fail(-EINVAL, "%s: an entry of the %s metadata is refused: %s",
                          call->handle.name, what, fault);
    size_t size = naru__metadata_size(entry);
    if (list->used + size > limit)
        return naru__fail(-EMSGSIZE,
                          "%s: with \"%s\" the %s metadata has %zu bytes and at most %zu may be "
                          "sent",
                          call->handle.name, entry->key, what, list->used + size, limit);
    int r = naru__buffer_need(list, list->used + size);
    if (r < 0)
        return r;
    list->used += naru__metadata_put(entry, list->data + list->used);
    return 0;
}

/* ---- waking ---- */

void naru__waiter_wake(struct naru_waiter *w)
{
    if (!w)
        return;
    /* release: pairs with the acquire of who sleeps; what it waits for is under the lock anyway */
    atomic_fetch_add_explicit(&w->word, 1, memory_order_release);
    (void)naru__os_futex_wake(&w->word, INT_MAX);
}

/* ---- timers ---- */

static bool before(const struct naru_call *a, const struct naru_call *b)
{
    return a->deadline < b->deadline;
}

static void put(struct naru_timers *t, size_t at, struct naru_call *call)
{
    t->heap[at] = call;
    call->timer = at;
}

static void sift_up(struct naru_timers *t, size_t at, struct naru_call *call)
{
    for (; at > 1 && before(call, t->heap[at / 2]); at /= 2)
        put(t, at, t->heap[at / 2]);
    put(t, at, call);
}

static void sift_down(struct naru_timers *t, size_t at, struct naru_call *call)
{
    for (size_t child; (child = at * 2) <= t->n; at = child) {
        child += child < t->n && before(t->heap[child + 1], t->heap[child]);
        if (!before(t->heap[child], call))
            break;
        put(t, at, t->heap[child]);
    }
    put(t, at, call);
}

int naru__timers_add(struct naru_timers *t, struct naru_call *call)
{
    if (call->timer || call->deadline == NARU__NEVER)
        return 0;
    if (t->n + 1 >= t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        struct naru_call **heap = naru__alloc_raw(room * sizeof *heap);
        if (!heap)
            return -ENOMEM;
        if (t->n)
            memcpy(heap, t->heap, (t->n + 1) * sizeof *heap);
        free(t->heap);
        t->heap = heap;
        t->room = room;
    }
    sift_up(t, ++t->n, call);
    return 0;
}

void naru__timers_remove(struct naru_timers *t, struct naru_call *call)
{
    size_t at = call->timer;
    if (at == 0)
        return;
    struct naru_call *last = t->heap[t->n--];
    call->timer = 0;
    if (last == call)
        return;
    if (at > 1 && before(last, t->heap[at / 2]))
        sift_up(t, at, last);
    else
        sift_down(t, at, last);
}

struct naru_call *naru__timers_first(const struct naru_timers *t)
{
    return t->n ? t->heap[1] : NULL;
}

void naru__timers_free(struct naru_timers *t)
{
    free(t->heap);
    *t = (struct naru_timers){NULL, 0, 0};
}
