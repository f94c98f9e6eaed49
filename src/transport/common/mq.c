/* SPDX-License-Identifier: MIT */
/* mq.c - what the transports over the kernel's message queues share.
 *
 * A message is received into a parcel of naru's, since only then its size is known, and is handed
 * out in place or copied. One that does not fit the caller's buffer, or that is given back, is kept
 * here and is this handle's next: no other receiver gets it. */
#include "transport/common/mq.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct naru_mq *of(naru_channel *channel)
{
    return (struct naru_mq *)channel;
}

/* ---- parcels ---- */

static struct naru_parcel *parcel_new(size_t room)
{
    struct naru_parcel *p = naru__alloc_raw(sizeof *p + room);
    if (p)
        p->room = room;
    return p;
}

/* The receiving thread's. */
static void parcel_free(struct naru_mq *q, struct naru_parcel *p)
{
    if (!q->spare && p->room == q->room)
        q->spare = p;
    else
        free(p);
}

static struct naru_parcel *spare(struct naru_mq *q)
{
    if (q->spare && q->spare->room != q->room) {
        free(q->spare);
        q->spare = NULL;
    }
    if (!q->spare)
        q->spare = parcel_new(q->room);
    return q->spare;
}

struct naru_parcel *naru__mq_enlarge(struct naru_mq *q, size_t room)
{
    struct naru_parcel *p = parcel_new(room);
    if (!p)
        return NULL;
    memcpy(p, q->spare, sizeof *p + q->spare->room);
    p->room = room;
    free(q->spare);
    q->room = room;
    return q->spare = p;
}

static bool before(const struct naru_mq *q, const struct naru_parcel *a,
                   const struct naru_parcel *b)
{
    if (q->by_priority && a->type != b->type)
        return a->type > b->type;
    return a->order < b->order;
}

static void keep(struct naru_mq *q, struct naru_parcel *p)
{
    pthread_mutex_lock(&q->lock);
    struct naru_parcel **at = &q->kept;
    while (*at && before(q, *at, p))
        at = &(*at)->next;
    p->next = *at;
    *at = p;
    q->channel.handle.counts.held += p->size;
    pthread_mutex_unlock(&q->lock);
}

/* Under the lock. The place of the first that is wanted, with -t of the lowest type. */
static struct naru_parcel **find_kept(struct naru_mq *q, int64_t select)
{
    struct naru_parcel **found = NULL;
    for (struct naru_parcel **at = &q->kept; *at; at = &(*at)->next) {
        if (!naru__select_wants(select, (*at)->type))
            continue;
        if (select >= 0)
            return at;
        if (!found || (*at)->type < (*found)->type)
            found = at;
    }
    return found;
}

/* The receiving thread alone changes the list, so that it need not lock to see it empty. */
static bool has_kept(struct naru_mq *q, int64_t select, uint32_t *ret_type)
{
    if (!q->kept)
        return false;
    pthread_mutex_lock(&q->lock);
    struct naru_parcel **at = find_kept(q, select);
    if (at)
        *ret_type = (*at)->type;
    pthread_mutex_unlock(&q->lock);
    return at;
}

static struct naru_parcel *take_kept(struct naru_mq *q, int64_t select)
{
    struct naru_parcel *p = NULL;
    if (!q->kept)
        return NULL;
    pthread_mutex_lock(&q->lock);
    struct naru_parcel **at = find_kept(q, select);
    if (at) {
        p = *at;
        *at = p->next;
        q->channel.handle.counts.held -= p->size;
    }
    pthread_mutex_unlock(&q->lock);
    return p;
}

/* ---- receiving ---- */

/* A message out of the medium into *ret_p, which is the caller's. */
static int get(struct naru_mq *q, int64_t select, bool block, struct naru_parcel **ret_p)
{
    int r;
    do {
        struct naru_parcel *p = spare(q);
        if (!p)
            return -ENOMEM;
        p->missed = 0;
        r = q->ops->get(q, select, p, block);
        naru__count(&q->channel.handle.counts.calls[0], 1);
    } while (r == -E2BIG || r == -EINTR);
    if (r < 0)
        return r;
    struct naru_parcel *p = q->spare;
    q->spare = NULL;
    p->order = ++q->order;
    p->flags = 0;
    *ret_p = p;
    return 0;
}

/* What is kept comes first; but with -t a lower type in the medium comes before that. */
static int get_kept_or_lower(struct naru_mq *q, int64_t select, struct naru_parcel **ret_p)
{
    uint32_t type;
    if (!has_kept(q, select, &type))
        return -EAGAIN;
    if (select < 0 && type > 1 && get(q, 1 - (int64_t)type, false, ret_p) == 0)
        return 0;
    *ret_p = take_kept(q, select);
    return 0;
}

static void remember_select(struct naru_mq *q, int64_t select)
{
    if (q->armed_select == select) /* only this thread writes it */
        return;
    pthread_mutex_lock(&q->lock);
    q->armed_select = select;
    pthread_mutex_unlock(&q->lock);
}

/* What a wait for ever does where the kernel alone can wait. */
static int get_blocking(struct naru_mq *q, int64_t select, struct naru_wait *wait,
                        struct naru_parcel **ret_p)
{
    int r = naru__wait_deaf(wait);
    if (r == 0)
        r = get(q, select, true, ret_p);
    naru__wait_hearing(wait);
    return r;
}

static int get_waiting(struct naru_mq *q, int64_t select, struct naru_wait *wait,
                       struct naru_parcel **ret_p)
{
    int r;
    do
        r = get(q, select, false, ret_p);
    while (r == -EAGAIN && (r = q->ops->step(wait)) == 0);
    naru__wait_done(wait);
    return r;
}

static int receive(struct naru_mq *q, int64_t select, int64_t deadline, struct naru_parcel **ret_p)
{
    struct naru_wait wait = naru__wait_begin(&q->channel.handle, NARU_IN, deadline);
    int r = get_kept_or_lower(q, select, ret_p);
    if (r == -EAGAIN)
        r = (q->blocks && deadline == NARU__NEVER ? get_blocking : get_waiting)(q, select, &wait,
                                                                                ret_p);
    remember_select(q, r < 0 ? select : 0);
    return r;
}

static void count_received(struct naru_mq *q, size_t size)
{
    naru__count(&q->channel.handle.counts.received, 1);
    naru__count(&q->channel.handle.counts.bytes_received, size);
}

static struct naru_info info_of(const struct naru_parcel *p)
{
    return (struct naru_info){
        .type = p->type, .flags = p->flags, .size = p->size, .missed = p->missed};
}

static void hand_out(struct naru_mq *q, struct naru_parcel *p, struct naru_message *ret_message)
{
    *ret_message = (struct naru_message){
        .data = p->data,
        .size = p->size,
        .info = info_of(p),
        .internal = {(uint64_t)(uintptr_t)p, 0, (uint64_t)(uintptr_t)&q->channel, 0}};
    count_received(q, p->size);
}

static int mq_take(naru_channel *channel, int64_t select, int64_t deadline,
                   struct naru_message *ret_message)
{
    struct naru_parcel *p;
    int r = receive(of(channel), select, deadline, &p);
    if (r < 0)
        return r;
    hand_out(of(channel), p, ret_message);
    return 0;
}

static ssize_t mq_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                       struct naru_info *ret_info, int64_t deadline)
{
    struct naru_mq *q = of(channel);
    struct naru_parcel *p;
    int r = receive(q, select, deadline, &p);
    if (r < 0)
        return r;
    *ret_info = info_of(p);
    if (p->size > cap) {
        keep(q, p);
        return -EMSGSIZE;
    }
    ssize_t size = (ssize_t)p->size;
    if (size)
        memcpy(buf, p->data, p->size);
    parcel_free(q, p);
    count_received(q, (size_t)size);
    return size;
}

static size_t mq_take_ready(naru_channel *channel, int64_t select,
                            struct naru_message *ret_messages, size_t n)
{
    struct naru_parcel *p;
    size_t got = 0;
    for (; got < n && (p = take_kept(of(channel), select)); got++)
        hand_out(of(channel), p, &ret_messages[got]);
    return got;
}

static struct naru_parcel *parcel_of(const struct naru_message *message)
{
    return (struct naru_parcel *)(uintptr_t)message->internal[0];
}

static void mq_release(naru_channel *channel, struct naru_message *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        parcel_free(of(channel), parcel_of(&m[i]));
}

static void mq_give_back(naru_channel *channel, struct naru_message *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct naru_parcel *p = parcel_of(&m[i]);
        p->flags |= NARU_REDELIVERED;
        keep(of(channel), p);
    }
}

/* ---- sending ---- */

uint8_t *naru__mq_gather(struct naru_mq *q, const struct naru_outgoing *out, size_t lead)
{
    if (q->out_room < lead + out->size || !q->out) {
        free(q->out);
        q->out_room = lead + out->size;
        q->out = naru__alloc_raw(q->out_room ? q->out_room : 1);
    }
    if (!q->out)
        return NULL;
    size_t at = lead;
    for (size_t i = 0; i < out->n; i++) {
        if (out->vector[i].iov_len)
            memcpy(q->out + at, out->vector[i].iov_base, out->vector[i].iov_len);
        at += out->vector[i].iov_len;
    }
    return q->out;
}

static int put(struct naru_mq *q, const struct naru_outgoing *out, bool block)
{
    int r;
    do {
        r = q->ops->put(q, out, block);
        naru__count(&q->channel.handle.counts.calls[1], 1);
    } while (r == -EINTR);
    return r;
}

static int put_blocking(struct naru_mq *q, const struct naru_outgoing *out, struct naru_wait *wait)
{
    int r = naru__wait_deaf(wait);
    if (r == 0)
        r = put(q, out, true);
    naru__wait_hearing(wait);
    return r;
}

static int mq_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct naru_mq *q = of(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    int r;
    if (q->blocks && deadline == NARU__NEVER) {
        r = put_blocking(q, out, &wait);
    } else {
        do
            r = put(q, out, false);
        while (r == -EAGAIN && (r = q->ops->step(&wait)) == 0);
        naru__wait_done(&wait);
    }
    if (r == -ETIMEDOUT)
        return q->ops->full(q, r);
    if (r < 0)
        return r;
    naru__count(&channel->handle.counts.sent, 1);
    naru__count(&channel->handle.counts.bytes_sent, out->size);
    return 0;
}

static int mq_flush(naru_channel *channel, int64_t deadline)
{
    struct naru_mq *q = of(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    for (;;) {
        long left = q->ops->unread(q);
        if (left <= 0)
            return (int)left;
        int r = naru__wait_tick(&wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: no receiver has taken what was sent last (%ld %s)",
                              channel->handle.name, left, q->counts_bytes ? "bytes" : "messages");
        if (r < 0)
            return r;
    }
}

static int mq_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    (void)deadline;
    if (n == 0)
        return 0;
    return naru__fail(-EOPNOTSUPP, "%s: the kernel tells nobody who receives from it",
                      channel->handle.name);
}

static int mq_shutdown(naru_channel *channel)
{
    struct naru_mq *q = of(channel);
    if (!q->ops->shutdown)
        return naru__fail(-EOPNOTSUPP,
                          "%s is a queue: it has no other end that could be told; close it",
                          channel->handle.name);
    return q->ops->shutdown(q);
}

/* ---- life ---- */

bool naru__mq_ready(struct naru_handle *h, int events)
{
    struct naru_mq *q = (struct naru_mq *)h;
    pthread_mutex_lock(&q->lock);
    bool ready = events & NARU_IN && find_kept(q, q->armed_select);
    pthread_mutex_unlock(&q->lock);
    return ready;
}

static void mq_close(naru_channel *channel, bool owner)
{
    struct naru_mq *q = of(channel);
    q->copy = !owner;
    naru__mq_free(q);
}

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = mq_send,
    .take = mq_take,
    .take_ready = mq_take_ready,
    .recv = mq_recv,
    .release = mq_release,
    .give_back = mq_give_back,
    .flush = mq_flush,
    .shutdown = mq_shutdown,
    .wait_peers = mq_wait_peers,
    .close = mq_close,
};

int naru__mq_init(struct naru_mq *q, const struct naru_mq_ops *ops,
                  const struct naru_handle_ops *handle_ops, const char *name, int role,
                  unsigned max_taken)
{
    int directions = (role & NARU_RECV ? NARU_IN : 0) | (role & NARU_SEND ? NARU_OUT : 0);
    int r = naru__handle_init(&q->channel.handle, NARU__CHANNEL, handle_ops, name, directions);
    if (r < 0)
        return r;
    pthread_mutex_init(&q->lock, NULL);
    q->ops = ops;
    q->channel.ops = &channel_ops;
    q->channel.max_taken = max_taken ? max_taken : 1024;
    return 0;
}

void naru__mq_free(struct naru_mq *q)
{
    if (q->ops) {
        q->ops->close(q);
        pthread_mutex_destroy(&q->lock);
    }
    while (q->kept) {
        struct naru_parcel *p = q->kept;
        q->kept = p->next;
        free(p);
    }
    free(q->spare);
    free(q->out);
    naru__handle_deinit(&q->channel.handle);
    free(q);
}
