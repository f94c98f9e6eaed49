/* SPDX-License-Identifier: MIT */
/* receiving.c - the receiving half. Messages are looked at in order; the first that is wanted is
 * handed out in place or copied, the others wait in the ring. What came in pieces is put together
 * in this process's memory, and what stands in the way of a sender without room is moved there, up
 * to the stash. Only the receiving thread comes here. */
#include "transport/shm/inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages in this process's memory ---- */

static struct shm_kept *new_kept(const struct naru_ring_item *item, uint64_t size)
{
    struct shm_kept *k = naru__alloc_raw(sizeof *k + (size_t)size);
    if (k)
        *k = (struct shm_kept){.sequence = item->sequence,
                               .size = (size_t)size,
                               .type = item->type,
                               .signature = item->signature,
                               .flags = item->flags,
                               .cost = (size_t)size};
    return k;
}

static bool has_parcel(uint32_t signature)
{
    return signature == (uint32_t)SHM_WITH_PARCEL;
}

/* What its descriptors count for in the stash. */
static size_t parcel_cost(struct shm_end *e, const struct naru_ring_item *item)
{
    return has_parcel(item->signature) ? naru__shm_parcel_size(e, item->sequence) * NARU__FD_COST
                                       : 0;
}

/* It is received without its descriptors, also if it is given back. */
static void drop_parcel(struct shm_end *e, uint32_t *signature, uint64_t sequence)
{
    if (!has_parcel(*signature))
        return;
    *signature = 0;
    naru__parcel_free(naru__shm_parcel(e, sequence));
}

static void keep(struct shm_end *e, struct shm_kept *k)
{
    struct shm_kept **at = &e->kept;
    while (*at && (*at)->sequence < k->sequence)
        at = &(*at)->next;
    k->next = *at;
    *at = k;
    e->kept_bytes += k->cost;
    naru__count(&e->channel.handle.counts.held, k->size);
}

static void unkeep(struct shm_end *e, struct shm_kept **at)
{
    struct shm_kept *k = *at;
    *at = k->next;
    e->kept_bytes -= k->cost;
    naru__count(&e->channel.handle.counts.held, (uint64_t)0 - k->size);
}

void naru__shm_drop_received(struct shm_end *e)
{
    while (e->kept) {
        struct shm_kept *k = e->kept;
        e->kept = k->next;
        free(k);
    }
    free(e->joining.message);
    e->joining.message = NULL;
}

/* ---- looking ---- */

static int broken(const struct shm_end *e)
{
    return naru__fail(-EPROTO,
                      "%s: what the other end published cannot be true: its memory is damaged",
                      name_of(e));
}

static void done_with(struct shm_end *e, struct naru_ring_item *item)
{
    naru__ring_done(item);
    if (naru__ring_advance(&e->rx))
        naru__shm_ring_sender(e);
}

static int begin_joining(struct shm_end *e, struct naru_ring_item *item)
{
    if (e->joining.message || item->total <= item->size)
        return broken(e);
    if (item->total > e->max_receive)
        return naru__fail(-EPROTO, "%s: a message of %s is coming and .max_message is %s",
                          name_of(e), naru__size_text(item->total).text,
                          naru__size_text(e->max_receive).text);
    item->sequence = e->received + 1;
    e->joining.message = new_kept(item, item->total);
    if (!e->joining.message)
        return -ENOMEM;
    bool next = !e->kept && e->n_ready == 0; /* nothing is to be received before it */
    bool fits = next && e->direct && item->total <= e->direct_size;
    e->joining.to = fits ? e->direct : e->joining.message->data;
    e->joining.got = 0;
    return 0;
}

/* The caller's buffer goes: what came so far moves into this process's own memory. */
static void leave_direct(struct shm_end *e)
{
    struct shm_kept *k = e->joining.message;
    if (k && e->joining.to != k->data) {
        memcpy(k->data, e->joining.to, (size_t)e->joining.got);
        e->joining.to = k->data;
    }
    e->direct = NULL;
}

static int stop_joining(struct shm_end *e, struct naru_ring_item *item)
{
    if (!e->joining.message)
        return broken(e);
    free(e->joining.message);
    e->joining.message = NULL;
    naru__count(&e->channel.handle.counts.dropped, 1);
    done_with(e, item);
    return 0;
}

/* One piece. The room it lay in is the sender's again at once. */
static int join(struct shm_end *e, struct naru_ring_item *item)
{
    int r = item->kind == NARU_RING_FIRST ? begin_joining(e, item) : 0;
    if (r < 0)
        return r;
    struct shm_kept *k = e->joining.message;
    if (!k || item->size > k->size - e->joining.got)
        return broken(e);
    memcpy(e->joining.to + e->joining.got, item->data, item->size);
    e->joining.got += item->size;
    bool last = item->kind == NARU_RING_LAST;
    if (last != (e->joining.got == k->size))
        return broken(e);
    done_with(e, item);
    if (last) {
        e->joining.message = NULL;
        e->received++;
        if (e->joining.to == k->data)
            keep(e, k);
        else
            e->joined = k;
    }
    return 0;
}

/* Looks at the next slot. 1: something was there; 0: nothing; or the error. A piece for which there
 * is no memory is looked at again. */
static int look(struct shm_end *e)
{
    int r = naru__ring_look(&e->rx);
    if (r <= 0)
        return r < 0 ? broken(e) : 0;
    struct naru_ring_item *item = naru__ring_item(&e->rx, e->rx.seen - 1);
    if (item->kind == NARU_RING_WHOLE) {
        item->sequence = ++e->received;
        e->n_ready++;
        r = item->size > e->max_receive ? broken(e) : 0;
    } else if (item->kind == NARU_RING_ABORT) {
        r = stop_joining(e, item);
    } else {
        r = join(e, item);
    }
    if (r < 0)
        e->rx.seen--;
    atomic_store_explicit(&e->next_seen, e->rx.seen, memory_order_relaxed);
    return r < 0 ? r : 1;
}

/* ---- choosing ---- */

struct choice {
    struct naru_ring_item *item;
    struct shm_kept **kept;
    struct shm_kept *joined; /* it lies in the caller's buffer */
};

/* By the lowest type with -t, else by sequence. */
static bool better(int64_t select, uint32_t type, uint64_t sequence, uint32_t than_type,
                   uint64_t than_sequence)
{
    if (select < 0 && type != than_type)
        return type < than_type;
    return sequence < than_sequence;
}

static struct choice choose(struct shm_end *e, int64_t select)
{
    struct choice c = {NULL, NULL, NULL};
    uint64_t left = e->n_ready;
    if (select == 0 && left == 1 && !e->kept &&
        naru__ring_item(&e->rx, e->rx.seen - 1)->state == NARU_RING_READY) {
        c.item = naru__ring_item(&e->rx, e->rx.seen - 1);
        return c;
    }
    for (uint64_t n = e->rx.first; left > 0 && n < e->rx.seen; n++) {
        struct naru_ring_item *item = naru__ring_item(&e->rx, n);
        if (item->state != NARU_RING_READY)
            continue;
        left--;
        if (naru__select_wants(select, item->type) &&
            (!c.item || better(select, item->type, item->sequence, c.item->type, c.item->sequence)))
            c.item = item;
        if (c.item && select >= 0)
            break;
    }
    for (struct shm_kept **at = &e->kept; *at; at = &(*at)->next) {
        const struct shm_kept *best = c.kept ? *c.kept : NULL;
        if (naru__select_wants(select, (*at)->type) &&
            (!best || better(select, (*at)->type, (*at)->sequence, best->type, best->sequence)))
            c.kept = at;
    }
    if (c.item && c.kept) {
        if (better(select, c.item->type, c.item->sequence, (*c.kept)->type, (*c.kept)->sequence))
            c.kept = NULL;
        else
            c.item = NULL;
    }
    return c;
}

/* The sender has no room and nothing here is wanted: the oldest moves out of its way. */
static int make_way(struct shm_end *e, int64_t select)
{
    struct naru_ring_item *item = NULL;
    for (uint64_t n = e->rx.first; n < e->rx.seen && !item; n++)
        if (naru__ring_item(&e->rx, n)->state == NARU_RING_READY)
            item = naru__ring_item(&e->rx, n);
    if (!item)
        return -EAGAIN; /* what is taken stands in the way */
    size_t cost = item->size + parcel_cost(e, item);
    if (e->kept_bytes + cost > e->stash)
        return naru__fail(-ENOBUFS,
                          "%s: %" PRIu64 " messages of other types than select %" PRId64
                          " asks for wait here, %s of them stashed, and .stash is %s: receive "
                          "them, or open with a larger .stash",
                          name_of(e), e->n_ready, select, naru__size_text(e->kept_bytes).text,
                          naru__size_text(e->stash).text);
    struct shm_kept *k = new_kept(item, item->size);
    if (!k)
        return -ENOMEM;
    memcpy(k->data, item->data, item->size);
    k->cost = cost;
    keep(e, k);
    e->n_ready--;
    done_with(e, item);
    return 0;
}

static bool sender_waits(const struct shm_end *e)
{
    return atomic_load_explicit(&e->theirs->armed_out.value, memory_order_relaxed) & 1;
}

/* 0, or -EAGAIN, or why nothing will come any more. */
static int find_once(struct shm_end *e, int64_t select, struct choice *ret_choice)
{
    int r = naru__shm_met(e);
    if (r < 0)
        return r;
    for (;;) {
        if (e->joined) {
            *ret_choice = (struct choice){.joined = e->joined};
            e->joined = NULL;
            return 0;
        }
        if (e->n_ready > 0 || e->kept) {
            *ret_choice = choose(e, select);
            if (ret_choice->item || ret_choice->kept)
                return 0;
        }
        r = look(e);
        if (r == 0 && e->n_ready > 0 && sender_waits(e))
            r = make_way(e, select);
        else if (r == 0)
            return -EAGAIN;
        if (r < 0)
            return r;
    }
}

/* After a look that found nothing. */
static int look_for_end(struct shm_end *e, const struct naru_wait *wait)
{
    bool finished = atomic_load_explicit(&e->met, memory_order_relaxed) &&
                    naru__shm_state(e) >= NARU_RING_FINISHED;
    int r = finished ? -EPIPE : naru__shm_asks(e, wait) ? naru__shm_look_for_end(e) : 0;
    if (r == 0 || !atomic_load_explicit(&e->met, memory_order_relaxed))
        return r;
    if (naru__ring_ready(&e->rx))
        return 0; /* it came before the end */
    if (e->joining.message) {
        free(e->joining.message);
        e->joining.message = NULL;
        naru__count(&e->channel.handle.counts.dropped, 1);
    }
    return r == -EPIPE || r == -ECONNRESET ? naru__shm_ended(e, r == -EPIPE) : r;
}

static int find(struct shm_end *e, int64_t select, int64_t deadline, struct choice *ret_choice)
{
    int r = find_once(e, select, ret_choice);
    if (__builtin_expect(r == -EAGAIN, 0)) {
        struct naru_wait wait = naru__wait_begin(&e->channel.handle, NARU_IN, deadline);
        atomic_store_explicit(&e->has_ready, false, memory_order_relaxed);
        for (;;) {
            r = look_for_end(e, &wait);
            if (r == 0)
                r = naru__shm_wait(e, &wait);
            if (r < 0)
                break;
            uint64_t got = e->rx.seen;
            r = find_once(e, select, ret_choice);
            if (r != -EAGAIN)
                break;
            if (e->rx.seen != got) { /* a piece came: wait for the next one afresh */
                naru__shm_waited(e, &wait);
                wait = naru__wait_begin(&e->channel.handle, NARU_IN, deadline);
            }
        }
        naru__shm_waited(e, &wait);
    }
    return r;
}

/* ---- handing out ---- */

static struct naru_info info_of(const struct shm_end *e, uint32_t type, uint32_t flags,
                                uint64_t size, uint64_t sequence)
{
    return (struct naru_info){.type = type,
                              .flags = flags,
                              .size = size,
                              .sequence = sequence,
                              .sender = naru__shm_their_pid(e)};
}

static void count_received(struct shm_end *e, uint64_t n, uint64_t size)
{
    naru__count(&e->channel.handle.counts.received, n);
    naru__count(&e->channel.handle.counts.bytes_received, size);
    bool ready = e->n_ready > 0 || e->kept;
    if (atomic_load_explicit(&e->has_ready, memory_order_relaxed) != ready)
        atomic_store_explicit(&e->has_ready, ready, memory_order_relaxed);
}

/* The usual case, a whole message and nothing waiting here: without an item. -EAGAIN: it is another
 * case. */
static inline ssize_t recv_small(struct shm_end *e, void *buf, size_t cap,
                                 struct naru_info *ret_info)
{
    struct naru_ring_receiver *r = &e->rx;
    uint32_t type, size;
    if (r->first != r->seen || e->kept || !naru__ring_ready(r))
        return -EAGAIN;
    const uint8_t *data = naru__ring_whole(r, &type, &size);
    if (!data || size > cap || size > e->max_receive)
        return -EAGAIN;
    if (size <= NARU_RING_INLINE)
        naru__ring_copy(buf, data, size);
    else
        memcpy(buf, data, size);
    *ret_info = info_of(e, type, 0, size, ++e->received);
    r->first = ++r->seen;
    naru__ring_expect(r, data, size, true);
    atomic_store_explicit(&e->next_seen, r->seen, memory_order_relaxed);
    /* release: as in naru__ring_advance */
    atomic_store_explicit(r->cursor, r->seen - 1, memory_order_release);
    naru__shm_ring_sender(e);
    naru__count(&e->channel.handle.counts.received, 1);
    naru__count(&e->channel.handle.counts.bytes_received, size);
    return size;
}

/* -EMSGSIZE: it stays. Its descriptors, if they were not handed out before, are closed. */
static ssize_t copy_out(struct shm_end *e, const struct choice *c, void *buf, size_t cap,
                        struct naru_info *ret_info)
{
    if (c->item) {
        uint32_t size = c->item->size;
        *ret_info = info_of(e, c->item->type, c->item->flags, size, c->item->sequence);
        if (size > cap)
            return -EMSGSIZE;
        if (size)
            memcpy(buf, c->item->data, size);
        drop_parcel(e, &c->item->signature, c->item->sequence);
        e->n_ready--;
        done_with(e, c->item);
        count_received(e, 1, size);
        return size;
    }
    struct shm_kept *k = *c->kept;
    size_t size = k->size;
    *ret_info = info_of(e, k->type, k->flags, size, k->sequence);
    if (size > cap)
        return -EMSGSIZE;
    if (size)
        memcpy(buf, k->data, size);
    drop_parcel(e, &k->signature, k->sequence);
    unkeep(e, c->kept);
    free(k);
    count_received(e, 1, size);
    return (ssize_t)size;
}

/* The answer of one that is awake comes within a microsecond: it is looked for without pauses, and
 * without all that a wait is. True: something is there. */
static bool spin_briefly(struct shm_end *e)
{
    enum { LOOKS = 4000 };
    const struct naru_handle *h = &e->channel.handle;
    const struct naru_ring_receiver *r = &e->rx;
    if (!h->can_spin || h->spin[0].credit <= 0 || r->first != r->seen || e->kept ||
        !atomic_load_explicit(&e->met, memory_order_relaxed))
        return false;
    uint32_t line = 0;
    for (int i = 0; i < LOOKS; i++) {
        if (naru__ring_ready(r))
            return true;
        naru__ring_fetch(r, &line);
    }
    return false;
}

static ssize_t recv_any(struct shm_end *e, int64_t select, void *buf, size_t cap,
                        struct naru_info *ret_info, int64_t deadline)
{
    struct choice c;
    if (!atomic_load_explicit(&e->used, memory_order_relaxed))
        naru__shm_use(e);
    e->direct = select == 0 ? buf : NULL;
    e->direct_size = cap;
    int r = find(e, select, deadline, &c);
    leave_direct(e);
    if (r < 0)
        return r;
    if (c.joined) {
        size_t whole = c.joined->size;
        *ret_info = info_of(e, c.joined->type, 0, whole, c.joined->sequence);
        drop_parcel(e, &c.joined->signature, c.joined->sequence);
        free(c.joined);
        count_received(e, 1, whole);
        return (ssize_t)whole;
    }
    return copy_out(e, &c, buf, cap, ret_info);
}

ssize_t naru__shm_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                       struct naru_info *ret_info, int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    if (select == 0 && atomic_load_explicit(&e->used, memory_order_relaxed) &&
        /* acquire: as in naru__shm_met */
        atomic_load_explicit(&e->met, memory_order_acquire)) {
        for (int tries = 0; tries == 0 || (deadline != NARU__AT_ONCE && spin_briefly(e)); tries++) {
            ssize_t n = recv_small(e, buf, cap, ret_info);
            if (n >= 0)
                return n;
            if (tries == 1)
                break;
        }
    }
    return recv_any(e, select, buf, cap, ret_info, deadline);
}

ssize_t naru__shm_recv_fds(naru_channel *channel, int64_t select, void *buf, size_t cap,
                           struct naru_info *ret_info, int *ret_fds, size_t max_fds,
                           size_t *ret_n_fds, int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    struct naru_parcel *p = NULL;
    struct choice c;
    if (!atomic_load_explicit(&e->used, memory_order_relaxed))
        naru__shm_use(e);
    int r = find(e, select, deadline, &c);
    if (r < 0)
        return r;
    uint64_t sequence = c.item ? c.item->sequence : (*c.kept)->sequence;
    if (has_parcel(c.item ? c.item->signature : (*c.kept)->signature)) {
        p = naru__shm_parcel(e, sequence);
        if (!p) {
            r = naru__shm_refused(e);
            return naru__fail(r,
                              "%s: the descriptors of the next message did not come (%s); it is "
                              "received without them by naru_channel_recv",
                              name_of(e), naru__errno_text(r));
        }
    }
    *ret_info = c.item ? info_of(e, c.item->type, c.item->flags, c.item->size, sequence)
                       : info_of(e, (*c.kept)->type, (*c.kept)->flags, (*c.kept)->size, sequence);
    r = naru__parcel_check(name_of(e), p, max_fds, ret_n_fds);
    if (r == 0 && ret_info->size > cap)
        r = -EMSGSIZE;
    if (r < 0) {
        if (p)
            naru__shm_keep_parcel(e, p);
        return r;
    }
    naru__parcel_hand_out(p, ret_fds);
    return copy_out(e, &c, buf, cap, ret_info);
}

enum { IN_RING = 1, KEPT = 2 };

/* As recv_small, in place, and as many as are there. How many. */
static size_t take_small(struct shm_end *e, struct naru_message *ret_messages, size_t n)
{
    struct naru_ring_receiver *r = &e->rx;
    const uint64_t sender = naru__shm_their_pid(e), us = (uint64_t)(uintptr_t)&e->channel;
    const uint8_t *data = NULL;
    uint64_t bytes = 0;
    uint32_t type, size, last = 0;
    size_t got = 0;
    if (e->n_ready > 0 || e->kept)
        return 0;
    while (got < n && naru__ring_ready(r) && r->seen - r->first <= r->mask) {
        const uint8_t *next = naru__ring_whole(r, &type, &size);
        if (!next || size > e->max_receive)
            break;
        struct naru_ring_item *item = naru__ring_item(r, r->seen++);
        *item = (struct naru_ring_item){.data = next,
                                        .total = size,
                                        .sequence = ++e->received,
                                        .size = size,
                                        .type = type,
                                        .state = NARU_RING_TAKEN};
        ret_messages[got++] = (struct naru_message){
            .data = (void *)(uintptr_t)next,
            .size = size,
            .info = {.type = type, .size = size, .sequence = e->received, .sender = sender},
            .internal = {(uint64_t)(uintptr_t)item, IN_RING, us, 0}};
        data = next;
        last = size;
        bytes += size;
    }
    if (got == 0)
        return 0;
    naru__ring_expect(r, data, last, false);
    atomic_store_explicit(&e->next_seen, r->seen, memory_order_relaxed);
    count_received(e, got, bytes);
    return got;
}

static void hand_out(struct shm_end *e, const struct choice *c, struct naru_message *ret_message)
{
    uint64_t us = (uint64_t)(uintptr_t)&e->channel;
    if (c->item) {
        struct naru_ring_item *i = c->item;
        i->state = NARU_RING_TAKEN;
        e->n_ready--;
        *ret_message =
            (struct naru_message){.data = (void *)(uintptr_t)i->data,
                                  .size = i->size,
                                  .info = info_of(e, i->type, i->flags, i->size, i->sequence),
                                  .internal = {(uint64_t)(uintptr_t)i, IN_RING, us, i->signature}};
        drop_parcel(e, &i->signature, i->sequence);
    } else {
        struct shm_kept *k = *c->kept;
        unkeep(e, c->kept);
        *ret_message =
            (struct naru_message){.data = k->data,
                                  .size = k->size,
                                  .info = info_of(e, k->type, k->flags, k->size, k->sequence),
                                  .internal = {(uint64_t)(uintptr_t)k, KEPT, us, k->signature}};
        drop_parcel(e, &k->signature, k->sequence);
    }
    count_received(e, 1, ret_message->size);
}

int naru__shm_take(naru_channel *channel, int64_t select, int64_t deadline,
                   struct naru_message *ret_message)
{
    struct shm_end *e = of_channel(channel);
    struct choice c;
    bool used = atomic_load_explicit(&e->used, memory_order_relaxed);
    if (select == 0 && used && atomic_load_explicit(&e->met, memory_order_acquire) &&
        (take_small(e, ret_message, 1) ||
         (deadline != NARU__AT_ONCE && spin_briefly(e) && take_small(e, ret_message, 1))))
        return 0;
    if (!used)
        naru__shm_use(e);
    int r = find(e, select, deadline, &c);
    if (r < 0)
        return r;
    hand_out(e, &c, ret_message);
    return 0;
}

size_t naru__shm_take_ready(naru_channel *channel, int64_t select, struct naru_message *ret,
                            size_t n)
{
    struct shm_end *e = of_channel(channel);
    struct choice c;
    if (naru__shm_met(e) < 0)
        return 0;
    size_t got = select == 0 ? take_small(e, ret, n) : 0;
    while (got < n && find_once(e, select, &c) == 0)
        hand_out(e, &c, &ret[got++]);
    return got;
}

void naru__shm_release(naru_channel *channel, struct naru_message *m, size_t n)
{
    struct shm_end *e = of_channel(channel);
    for (size_t i = 0; i < n; i++) {
        void *what = (void *)(uintptr_t)m[i].internal[0];
        if (m[i].internal[1] == IN_RING)
            naru__ring_done(what);
        else
            free(what);
    }
    if (naru__ring_advance(&e->rx))
        naru__shm_ring_sender(e);
}

void naru__shm_give_back(naru_channel *channel, struct naru_message *m, size_t n)
{
    struct shm_end *e = of_channel(channel);
    for (size_t i = 0; i < n; i++) {
        void *what = (void *)(uintptr_t)m[i].internal[0];
        if (m[i].internal[1] == IN_RING) {
            struct naru_ring_item *item = what;
            item->state = NARU_RING_READY;
            item->flags |= NARU_REDELIVERED;
            e->n_ready++;
        } else {
            struct shm_kept *k = what;
            k->flags |= NARU_REDELIVERED;
            keep(e, k);
        }
    }
    atomic_store_explicit(&e->has_ready, true, memory_order_relaxed);
}
