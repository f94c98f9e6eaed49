/* SPDX-License-Identifier: MIT */
/* sending.c - the sending half. A message up to 112 bytes goes in its slot, up to a piece in one
 * part of the area, a larger one piece by piece, so that the receiver copies one while the next is
 * written. Only the sending thread comes here. */
#include "transport/shm/inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PIECE = 65536 };

/* ---- room ---- */

static int broken(const struct shm_end *e)
{
    return naru__fail(-EPROTO, "%s: the other end's cursor cannot be true: its memory is damaged",
                      name_of(e));
}

static uint64_t piece_of(const struct shm_end *e)
{
    uint64_t most = e->tx.area_size / 4;
    return most < PIECE ? most : PIECE;
}

/* Large messages need all of the area: its pages are made, so that no lack of memory is met in them
 * later. Without them it goes on as before. */
static void widen(struct shm_end *e)
{
    uint64_t used = e->tx.area_size;
    if (!naru__ring_refresh(&e->tx) || !naru__ring_may_widen(&e->tx))
        return; /* the next one, then */
    int r = naru__os_advise(e->tx.area + used, e->area_most - used, MADV_POPULATE_WRITE);
    if (r == 0)
        e->tx.area_size = e->area_most;
    else
        e->area_most = used;
}

static inline void widen_for(struct shm_end *e, size_t size)
{
    if (size >= NARU_RING_LARGE && __builtin_expect(e->tx.area_size < e->area_most, 0))
        widen(e);
}

bool naru__shm_has_room(struct shm_end *e)
{
    uint64_t at;
    if (!naru__ring_refresh(&e->tx)) /* the next send says so */
        return true;
    return naru__ring_has_slot(&e->tx) && naru__ring_room(&e->tx, piece_of(e), &at);
}

/* Why nothing can be sent any more, 0 if it can. */
static int closed(struct shm_end *e)
{
    if (e->finished)
        return naru__fail(-EPIPE, "%s: this end was shut down for sending", name_of(e));
    uint32_t state = naru__shm_state(e);
    bool ask = state == NARU_RING_LEFT || atomic_load_explicit(&e->gone, memory_order_relaxed);
    if (state == NARU_RING_CLOSED)
        return naru__fail(-EPIPE, "%s: the other end is closed: the message was not sent",
                          name_of(e));
    return ask ? naru__shm_look_for_end(e) : 0;
}

/* All slots are taken. Who looks at the cursor all the time takes its line from the receiver at
 * each message, and both pay for its travels; so it is left alone until an eighth is free, for as
 * long as a sender may spin at all. What is free then will do. */
static void let_it_get_on(struct shm_end *e)
{
    enum { ROUNDS = 16, PAUSES = 30 };
    const struct naru_handle *h = &e->channel.handle;
    uint64_t slots = e->tx.mask + 1;
    if (!h->can_spin || h->spin[1].credit <= 0)
        return;
    for (int i = 0; i < ROUNDS && e->tx.next - 1 - e->tx.consumed > slots - slots / 8; i++) {
        for (int k = 0; k < PAUSES; k++)
            naru__relax();
        if (!naru__ring_refresh(&e->tx)) /* await_room says so */
            return;
    }
}

/* Room in the area for n bytes, and a slot. ret_room: NULL for none wanted. */
static int await_room(struct shm_end *e, uint64_t n, struct naru_wait *wait, uint8_t **ret_room,
                      uint64_t *ret_at)
{
    for (;;) {
        bool slot = naru__ring_has_slot(&e->tx);
        *ret_room = slot ? naru__ring_room(&e->tx, n, ret_at) : NULL;
        if (*ret_room)
            return 0;
        uint64_t before = e->tx.consumed;
        if (!naru__ring_refresh(&e->tx))
            return broken(e);
        if (e->tx.consumed != before)
            continue;
        int r = closed(e);
        if (r == 0 && naru__shm_asks(e, wait)) /* woken, perhaps by a death */
            r = naru__shm_look_for_end(e);
        if (r == 0)
            r = naru__shm_wait(e, wait);
        if (r < 0)
            return r;
    }
}

/* ---- one message ---- */

/* There is always a slot left for this: see naru__ring_has_slot. */
static void take_back(struct shm_end *e, uint32_t type)
{
    naru__ring_publish(&e->tx, &(struct naru_ring_outgoing){.type = type, .kind = NARU_RING_ABORT});
    naru__count(&e->channel.handle.counts.dropped, 1);
    naru__shm_ring_receiver(e);
}

/* Its descriptors go ahead, just before it is published: from then on nothing can fail. */
static int send_ahead(struct shm_end *e)
{
    const _Atomic uint64_t *sent = &e->channel.handle.counts.sent;
    return e->parcel.n == 0
               ? 0
               : naru__shm_send_parcel(e, atomic_load_explicit(sent, memory_order_relaxed) + 1);
}

static int send_pieces(struct shm_end *e, const struct naru_outgoing *out, int64_t deadline)
{
    uint64_t piece = piece_of(e);
    for (uint64_t from = 0; from < out->size;) {
        uint64_t at, n = out->size - from < piece ? out->size - from : piece;
        uint8_t *room;
        /* each piece has a wait of its own: it spins anew, as long as the receiver gets on */
        struct naru_wait wait = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
        int r = await_room(e, n, &wait, &room, &at);
        naru__shm_waited(e, &wait);
        if (r == 0 && from + n == out->size)
            r = send_ahead(e);
        if (r < 0) {
            if (from > 0)
                take_back(e, out->type);
            return r;
        }
        naru__gather(out, from, room, n);
        from += n;
        naru__ring_publish(&e->tx, &(struct naru_ring_outgoing){.type = out->type,
                                                                .kind = from == n ? NARU_RING_FIRST
                                                                        : from == out->size
                                                                            ? NARU_RING_LAST
                                                                            : NARU_RING_PIECE,
                                                                .signature = out->signature,
                                                                .total = out->size,
                                                                .size = (uint32_t)n,
                                                                .at = at});
        naru__shm_ring_receiver(e);
    }
    return 0;
}

/* What cannot lie in the ring at once is no message for NARU_NOWAIT. */
static int fits_at_once(struct shm_end *e, const struct naru_outgoing *out)
{
    uint64_t piece = piece_of(e), pieces = (out->size + piece - 1) / piece;
    uint64_t room = e->tx.area_size - e->tx.area_size % piece;
    if (out->size > room || pieces >= e->tx.mask)
        return naru__fail(-EMSGSIZE,
                          "%s: the message has %s and %s fit at once: give it time, or open with a "
                          "larger .capacity",
                          name_of(e), naru__size_text(out->size).text, naru__size_text(room).text);
    if (!naru__ring_refresh(&e->tx))
        return broken(e);
    uint64_t used = e->tx.head - e->tx.tail, slots = e->tx.next - 1 - e->tx.consumed;
    if (used > 0 && (used + out->size + piece > e->tx.area_size || slots + pieces >= e->tx.mask))
        return naru__fail(-EAGAIN, "%s: there is no room for the message just now", name_of(e));
    return 0;
}

/* The usual case: it fits a slot, and there is one. */
static inline bool send_small(struct shm_end *e, const struct naru_outgoing *out)
{
    if (out->size > NARU_RING_INLINE || out->signature != 0 || out->n != 1 ||
        !naru__ring_has_slot(&e->tx))
        return false;
    naru__ring_copy(naru__ring_inline(&e->tx), out->vector->iov_base, out->size);
    naru__ring_publish_inline(&e->tx, out->type, (uint32_t)out->size);
    return true;
}

/* Publishes; the receiver is not told yet. */
static int send_one(struct shm_end *e, const struct naru_outgoing *out, int64_t deadline)
{
    struct naru_wait wait;
    uint8_t *room;
    uint64_t at;
    bool small = out->size <= NARU_RING_INLINE && out->signature == 0;
    if (send_small(e, out))
        return 0;
    widen_for(e, out->size);
    if (out->size > piece_of(e)) {
        int r = deadline == NARU__AT_ONCE ? fits_at_once(e, out) : 0;
        return r < 0 ? r : send_pieces(e, out, deadline);
    }
    int r = 0;
    if (!naru__ring_has_slot(&e->tx))
        room = NULL;
    else
        room = small ? naru__ring_inline(&e->tx) : naru__ring_room(&e->tx, out->size, &at);
    if (!room) {
        wait = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
        if (deadline != NARU__AT_ONCE && !naru__ring_has_slot(&e->tx))
            let_it_get_on(e);
        r = await_room(e, small ? 0 : out->size, &wait, &room, &at);
        naru__shm_waited(e, &wait);
    }
    if (r < 0)
        return r;
    if (small) {
        naru__gather(out, 0, naru__ring_inline(&e->tx), out->size);
        naru__ring_publish_inline(&e->tx, out->type, (uint32_t)out->size);
        return 0;
    }
    naru__gather(out, 0, room, out->size);
    r = send_ahead(e);
    if (r < 0)
        return r;
    naru__ring_publish(&e->tx, &(struct naru_ring_outgoing){.type = out->type,
                                                            .signature = out->signature,
                                                            .size = (uint32_t)out->size,
                                                            .at = at});
    return 0;
}

static int await_greeting(struct shm_end *e, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
    int r;
    wait.spin_until = 1;
    while ((r = naru__shm_met(e)) == -EAGAIN) {
        r = naru__wait_step(&wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: the program at the other end has not greeted yet",
                              name_of(e));
        if (r < 0)
            return r;
    }
    return r;
}

/* Nothing is in the way of a message of that size: the usual case. */
static inline bool is_ready(const struct shm_end *e, size_t size)
{
    return atomic_load_explicit(&e->used, memory_order_relaxed) &&
           /* acquire: as in naru__shm_met */
           atomic_load_explicit(&e->met, memory_order_acquire) &&
           naru__shm_state(e) == NARU_RING_OPEN && !e->finished &&
           !atomic_load_explicit(&e->gone, memory_order_relaxed) && size <= e->other.max_message;
}

/* Else: it waits, or says what is. */
static int ready_to_send(struct shm_end *e, size_t size, int64_t deadline)
{
    if (__builtin_expect(is_ready(e, size), 1))
        return 0;
    if (!atomic_load_explicit(&e->used, memory_order_relaxed))
        naru__shm_use(e);
    if (!atomic_load_explicit(&e->met, memory_order_acquire)) {
        int r = await_greeting(e, deadline);
        if (r < 0)
            return r;
    }
    int r = closed(e);
    if (r < 0)
        return r;
    if (size > e->other.max_message)
        return naru__fail(-EMSGSIZE,
                          "%s: the message has %s and the other end takes at most %s (its "
                          ".max_message)",
                          name_of(e), naru__size_text(size).text,
                          naru__size_text(e->other.max_message).text);
    return 0;
}

static void count_sent(struct shm_end *e, uint64_t n, uint64_t bytes)
{
    naru__count(&e->channel.handle.counts.sent, n);
    naru__count(&e->channel.handle.counts.bytes_sent, bytes);
}

int naru__shm_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    if (!is_ready(e, out->size) || !send_small(e, out)) {
        int r = ready_to_send(e, out->size, deadline);
        if (r == 0)
            r = send_one(e, out, deadline);
        if (r < 0)
            return r;
    }
    naru__shm_ring_receiver(e);
    count_sent(e, 1, out->size);
    return 0;
}

/* So many only may be with messages that the other end has not taken: it has to hold them all. */
static int await_taken(struct shm_end *e, size_t n, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
    int r = 0;
    while (r == 0 && e->parcels_out + n > NARU__FDS_MAX) {
        if (!naru__ring_refresh(&e->tx))
            return broken(e);
        if (e->tx.consumed >= e->parcel_slot) {
            e->parcels_out = 0;
            break;
        }
        r = closed(e);
        if (r == 0 && naru__shm_asks(e, &wait))
            r = naru__shm_look_for_end(e);
        if (r == 0)
            r = naru__shm_wait(e, &wait);
    }
    naru__shm_waited(e, &wait);
    return r;
}

int naru__shm_send_fds(naru_channel *channel, const struct naru_outgoing *out, const int *fds,
                       size_t n, int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    struct naru_outgoing marked = *out;
    int r = naru__descriptors_check(name_of(e), fds, n);
    if (r == 0)
        r = ready_to_send(e, out->size, deadline);
    if (r == 0)
        r = await_taken(e, n, deadline);
    if (r < 0)
        return r;
    marked.signature = (uint32_t)SHM_WITH_PARCEL;
    e->parcel.fds = fds;
    e->parcel.n = n;
    e->parcel.deadline = deadline;
    r = send_one(e, &marked, deadline);
    e->parcel.n = 0;
    if (r < 0)
        return r;
    e->parcel_slot = e->tx.next - 1;
    e->parcels_out += n;
    naru__shm_ring_receiver(e);
    count_sent(e, 1, out->size);
    return 0;
}

ssize_t naru__shm_send_many(naru_channel *channel, const struct naru_message *m, size_t n,
                            int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    uint64_t bytes = 0;
    size_t i;
    int r = 0;
    for (i = 0; i < n; i++) {
        const struct iovec one = {m[i].data, m[i].size};
        const struct naru_outgoing out = {m[i].info.type, 0, &one, 1, m[i].size};
        if (i == 0 || m[i].size > e->other.max_message || !send_small(e, &out)) {
            r = ready_to_send(e, m[i].size, deadline);
            if (r == 0)
                r = send_one(e, &out, deadline);
            if (r < 0)
                break;
        }
        bytes += m[i].size;
    }
    if (i == 0)
        return r;
    naru__shm_ring_receiver(e);
    count_sent(e, i, bytes);
    return (ssize_t)i;
}

/* ---- in place ---- */

int naru__shm_reserve(naru_channel *channel, size_t size, int64_t deadline, void **ret_data)
{
    struct shm_end *e = of_channel(channel);
    int r = ready_to_send(e, size, deadline);
    if (r < 0)
        return r;
    e->reserved.small = size <= NARU_RING_INLINE;
    if (e->reserved.small && naru__ring_has_slot(&e->tx)) {
        e->reserved.own = false;
        *ret_data = e->reserved.data = e->reserved.room;
        return 0;
    }
    struct naru_wait wait;
    widen_for(e, size);
    e->reserved.own = size > e->tx.area_size / 2; /* it might wait for ever for one piece of room */
    if (!e->reserved.own && !e->reserved.small && naru__ring_has_slot(&e->tx) &&
        (e->reserved.data = naru__ring_room(&e->tx, size, &e->reserved.at))) {
        *ret_data = e->reserved.data;
        return 0;
    }
    wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    if (e->reserved.own) {
        e->reserved.data = naru__alloc_raw(size);
        if (!e->reserved.data)
            return -ENOMEM;
    } else {
        r = await_room(e, e->reserved.small ? 0 : size, &wait, &e->reserved.data, &e->reserved.at);
        naru__shm_waited(e, &wait);
        if (r < 0)
            return r;
        if (e->reserved.small)
            e->reserved.data = e->reserved.room;
    }
    *ret_data = e->reserved.data;
    return 0;
}

int naru__shm_commit(naru_channel *channel, void *data, size_t size, uint32_t type)
{
    struct shm_end *e = of_channel(channel);
    e->reserved.data = NULL;
    if (e->reserved.own) {
        const struct iovec one = {data, size};
        int r =
            naru__shm_send(channel, &(struct naru_outgoing){type, 0, &one, 1, size}, NARU__NEVER);
        free(data);
        return r;
    }
    int r = closed(e);
    if (r < 0)
        return r;
    if (e->reserved.small) {
        naru__ring_copy(naru__ring_inline(&e->tx), data, size);
        naru__ring_publish_inline(&e->tx, type, (uint32_t)size);
    } else {
        naru__ring_publish(&e->tx, &(struct naru_ring_outgoing){
                                       .type = type, .size = (uint32_t)size, .at = e->reserved.at});
    }
    naru__shm_ring_receiver(e);
    count_sent(e, 1, size);
    return 0;
}

void naru__shm_abandon(naru_channel *channel, void *data)
{
    struct shm_end *e = of_channel(channel);
    e->reserved.data = NULL;
    if (e->reserved.own)
        free(data);
}

/* ---- the end ---- */

int naru__shm_flush(naru_channel *channel, int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    if (e->tx.next == 1)
        return 0; /* nothing was sent */
    for (;;) {
        if (!naru__ring_refresh(&e->tx))
            return broken(e);
        uint64_t left = e->tx.next - 1 - e->tx.consumed;
        if (left == 0)
            return 0;
        int r = naru__shm_look_for_end(e);
        if (r == 0 && naru__shm_state(e) == NARU_RING_CLOSED)
            r = -EPIPE;
        if (r == 0)
            r = naru__wait_tick(&wait);
        else
            return naru__fail(r, "%s: the other end has gone and has not taken the last %llu",
                              name_of(e), (unsigned long long)left);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: the other end has not taken the last %llu", name_of(e),
                              (unsigned long long)left);
        if (r < 0)
            return r;
    }
}

int naru__shm_shutdown(naru_channel *channel)
{
    struct shm_end *e = of_channel(channel);
    e->finished = true;
    naru__shm_say_state(e, NARU_RING_FINISHED);
    if (naru__shm_met(e) == 0)
        naru__shm_ring_receiver(e);
    return 0;
}
