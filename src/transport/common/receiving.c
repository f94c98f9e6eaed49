/* SPDX-License-Identifier: MIT */
/* receiving.c - a connection's receiving half: bytes go into the inbox (inbox.h), many frames a
 * system call; recv, take and select pick from it.
 *
 * The receiving thread owns the inbox under `rx`, because a sender may have to look there for a
 * greeting, or for why its write failed. Nobody sleeps holding it. */
#include "transport/common/connection-inside.h"

#include "base/error.h"
#include "base/text.h"
#include "os/fd.h"
#include "transport/common/descriptors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A message with descriptors is announced. They came with the frame's first byte, so they are here;
 * some of them, or none, if they could not be opened. */
static int announced(struct connection *c, uint32_t n)
{
    const bool cut = c->arrived.cut;
    int r = 0;
    if (n == 0) {
        c->inbox.parcel = naru__parcel_free(c->inbox.parcel);
        return 0;
    }
    if (c->inbox.parcel || n > NARU__FDS_MAX || c->arrived.n > n || (c->arrived.n != n && !cut))
        return naru__fail(-EPROTO, "%" PRIu32 " descriptors are announced, and %u came", n,
                          c->arrived.n);
    r = naru__parcel_new(c->arrived.fd, cut ? 0 : n, cut ? n : 0, &c->inbox.parcel);
    if (r == 0 && cut)
        naru__descriptors_close(c->arrived.fd, c->arrived.n);
    if (r == 0)
        c->arrived.n = c->arrived.cut = 0;
    return r;
}

/* Bytes, and the descriptors beside them. The kernel ends a read behind the bytes that had some. */
static ssize_t read_all(struct connection *c, struct iovec *room, int n)
{
    union naru_ancillary ancillary;
    struct msghdr message = {.msg_iov = room};
    if (c->cover)
        return c->cover->ops->read(c->cover, room, n);
    if (!c->medium->descriptors)
        return n == 1 ? naru__os_read(c->in, room[0].iov_base, room[0].iov_len)
                      : naru__os_readv(c->in, room, n);
    message.msg_iovlen = (__typeof__(message.msg_iovlen))n; /* size_t here, int there */
    naru__descriptors_expect(&message, &ancillary);
    ssize_t r = naru__os_receive(c->in, &message, 0);
    if (r <= 0 || (message.msg_controllen == 0 && !(message.msg_flags & MSG_CTRUNC)))
        return r;
    int fds[NARU__FDS_MAX];
    size_t got = naru__descriptors_of(&message, fds);
    if (c->arrived.n || c->arrived.cut) {
        naru__descriptors_close(fds, got);
        return naru__fail(-EPROTO, "descriptors come that no message announces");
    }
    memcpy(c->arrived.fd, fds, got * sizeof *fds);
    c->arrived.n = (unsigned)got;
    c->arrived.cut = message.msg_flags & MSG_CTRUNC;
    return r;
}

/* HELLO, BYE and PARCEL, seen by the inbox. Under rx. */
int naru__connection_control(void *context, const struct naru_frame *frame, const uint8_t *payload)
{
    struct connection *c = context;
    struct naru_hello hello;
    if (frame->kind == FRAME_BYE) {
        if (frame->sender == c->holder) /* not of one that gave the end away and closes late */
            c->bye = frame->sender;
        return 0;
    }
    if (frame->kind == FRAME_PARCEL)
        return announced(c, naru__frame_parcel_count(payload));
    int r = naru__hello_decode(payload, frame->size, &hello);
    if (r < 0)
        return r;
    c->inbox.greeted = true;
    c->holder = hello.pid;
    c->bye = 0;
    uint64_t most = hello.max_message < NARU_MESSAGE_MAX ? hello.max_message : NARU_MESSAGE_MAX;
    atomic_store_explicit(&c->peer_max, (size_t)most, memory_order_relaxed);
    /* release: whoever sees the bit sees the limit that came with it (acquire in must_wait) */
    atomic_fetch_or_explicit(&c->met, MET_ANYBODY | (hello.flags & HELLO_INHERITED ? MET_HEIR : 0u),
                             memory_order_release);
    naru__nudge(&c->channel.handle, 1); /* the sending thread may be waiting for it */
    return 0;
}

/* Is the other end another program's, which shares no memory with this one? */
bool naru__peer_is_foreign(const struct connection *c)
{
    return !c->pair || atomic_load_explicit(&c->pair->passed[!c->side], memory_order_acquire);
}

/* The last holder of the other end: has it finished? */
bool naru__peer_finished(struct connection *c)
{
    if (naru__peer_is_foreign(c))
        return c->inbox.greeted && c->bye == c->holder;
    /* acquire: pairs with the release in say_bye and connection_adopt; the end of file, which came
     * through the kernel after them, orders them anyway */
    struct holders *h = c->pair->shared;
    c->holder = atomic_load_explicit(&h->holder[!c->side], memory_order_acquire);
    return atomic_load_explicit(&h->finished[!c->side], memory_order_acquire) == c->holder;
}

/* code: 0, or the socket's error, which is an end like any other. */
static int end_of_stream(struct connection *c, int code)
{
    bool in_order = naru__peer_finished(c) && !naru__inbox_midway(&c->inbox);
    c->rx_end = in_order ? -EPIPE : -ECONNRESET;
    if (in_order)
        snprintf(c->rx_why, sizeof c->rx_why,
                 "the other end has finished and all it sent was read");
    else
        snprintf(c->rx_why, sizeof c->rx_why,
                 "the other end (pid %" PRIu32 ") vanished without "
                 "finishing%s%s%s",
                 c->holder, code ? ": " : "", code ? naru__errno_text(code) : "",
                 naru__inbox_midway(&c->inbox) ? "; the message it was sending is dropped" : "");
    if (c->inbox.join.active) {
        naru__inbox_direct_leave(&c->inbox);
        naru__inbox_drop(&c->inbox);
    }
    return c->rx_end;
}

static int broken(struct connection *c, int code)
{
    bool final = code == -EPROTO || naru__cover_tells(c->cover, code);
    if (final && c->rx_end == 0) {
        c->rx_end = code;
        snprintf(c->rx_why, sizeof c->rx_why, "%s", naru__why());
        naru__nudge(&c->channel.handle, 1);
    }
    return code;
}

/* Takes in what the kernel has, once. > 0: something came; -EAGAIN; else the end. Under rx. */
int naru__connection_pull(struct connection *c)
{
    struct iovec room[2];
    if (c->rx_end < 0)
        return c->rx_end;
    int n = naru__inbox_room(&c->inbox, room, 0);
    if (n <= 0)
        return n < 0 ? broken(c, n) : 1;
    ssize_t r = read_all(c, room, n);
    if (r == -EAGAIN)
        return -EAGAIN;
    if (r == -EPROTO || (naru__cover_tells(c->cover, (int)r) &&
                         !(r == -ECONNRESET && c->inbox.greeted))) /* it may have finished */
        return broken(c, (int)r);
    naru__count(&c->channel.handle.counts.calls[0], 1);
    bool transient = r == -ENOMEM || r == -ENOBUFS || r == -EIO; /* this host's, not the socket's */
    if (r == 0 || (r < 0 && c->medium->socket && !transient))
        return end_of_stream(c, (int)r);
    if (r < 0)
        return naru__fail((int)r, "%s: reading failed: %s", name_of(c), naru__errno_text((int)r));
    uint64_t dropped = c->inbox.dropped;
    int f = naru__inbox_fed(&c->inbox, (size_t)r);
    if (f == 0 && c->arrived.n && !naru__inbox_midway(&c->inbox))
        f = naru__fail(-EPROTO, "%u descriptors came that no message announces", c->arrived.n);
    naru__count(&c->channel.handle.counts.dropped, c->inbox.dropped - dropped);
    if (f < 0)
        (void)broken(c, f);
    /* what came before the fault is received first; EPROTO is then the answer for ever */
    return f < 0 && f != -EPROTO && c->inbox.count == 0 ? f : 1;
}

int naru__connection_say_end(struct connection *c, int code)
{
    pthread_mutex_lock(&c->rx); /* a sender may be finding the end just now */
    if (code == c->rx_end)
        naru__fail(code, "%s: %s", name_of(c), c->rx_why);
    pthread_mutex_unlock(&c->rx);
    return code;
}

static int stash_full(const struct connection *c, int64_t select)
{
    return naru__fail(
        -ENOBUFS,
        "%s: %zu messages of other types than select %" PRId64
        " asks for wait here, %s with their upkeep, and .stash is %s: receive them, or "
        "open with a larger .stash",
        name_of(c), c->inbox.count, select, naru__size_text(c->inbox.held).text,
        naru__size_text(c->stash).text);
}

enum { READS_MAX = 64 };

/* Looks, takes in, looks again. 0 with a message in ret_item, or -EAGAIN, or why there is none. */
static int receive_once(struct connection *c, int64_t select, void *buf, size_t cap, bool *direct,
                        struct naru_item *ret_item)
{
    struct naru_inbox *in = &c->inbox;
    for (int reads = 0; reads < READS_MAX; reads++) {
        *direct = *direct && in->join.direct; /* its sender may have given the message up */
        if (*direct && naru__inbox_direct_done(in, ret_item)) {
            *direct = false;
            ret_item->data = buf;
            (void)broken(
                c, naru__inbox_fed(in, 0)); /* what came behind it; an error is for the next */
            return 0;
        }
        if (!*direct && naru__inbox_take(in, select, ret_item))
            return 0;
        if (in->count > 0 && in->held > c->stash && c->rx_end == 0)
            return stash_full(c, select);
        if (buf && !*direct)
            *direct = naru__inbox_direct(in, select, buf, cap);
        int r = naru__connection_pull(c);
        if (r < 0)
            return r;
    }
    return -EAGAIN; /* a long message is still coming: the caller looks at the clock */
}

/* The next message, waiting for it. buf: where a long one may go straight; it then has no block. */
static int receive(struct connection *c, int64_t select, void *buf, size_t cap, int64_t deadline,
                   struct naru_item *ret_item)
{
    struct naru_wait wait = naru__wait_begin(&c->channel.handle, NARU_IN, deadline);
    bool direct = false;
    int r;
    atomic_store_explicit(&c->used, true, memory_order_relaxed);
    for (;;) {
        pthread_mutex_lock(&c->rx);
        r = receive_once(c, select, buf, cap, &direct, ret_item);
        if (r != -EAGAIN && direct)
            naru__inbox_direct_leave(&c->inbox);
        atomic_store_explicit(&c->channel.handle.counts.held, c->inbox.held, memory_order_relaxed);
        c->armed = r == -EAGAIN;
        c->armed_select = select;
        pthread_mutex_unlock(&c->rx);
        if (r != -EAGAIN)
            break;
        r = naru__wait_step(&wait);
        if (r < 0)
            break;
    }
    naru__wait_done(&wait);
    if (r < 0 && direct) {
        pthread_mutex_lock(&c->rx);
        naru__inbox_direct_leave(&c->inbox);
        pthread_mutex_unlock(&c->rx);
    }
    return r < 0 ? naru__connection_say_end(c, r) : 0;
}

static void release_item(struct connection *c, struct naru_item *item)
{
    pthread_mutex_lock(&c->rx);
    naru__item_release(&c->inbox, item);
    pthread_mutex_unlock(&c->rx);
}

static void count_received(struct connection *c, size_t n, size_t bytes)
{
    naru__count(&c->channel.handle.counts.received, n);
    naru__count(&c->channel.handle.counts.bytes_received, bytes);
}

ssize_t naru__connection_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                              struct naru_info *ret_info, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    struct naru_item item;
    int r = receive(c, select, buf, cap, deadline, &item);
    if (r < 0)
        return r;
    naru__item_info(&item, ret_info);
    if (item.size > cap) {
        pthread_mutex_lock(&c->rx);
        r = naru__inbox_return(&c->inbox, &item, false);
        pthread_mutex_unlock(&c->rx);
        return r < 0 ? r : -EMSGSIZE;
    }
    if (item.data != buf && item.size)
        memcpy(buf, item.data, item.size);
    if (item.block || item.parcel)
        release_item(c, &item);
    count_received(c, 1, item.size);
    return (ssize_t)item.size;
}

ssize_t naru__connection_recv_fds(naru_channel *channel, int64_t select, void *buf, size_t cap,
                                  struct naru_info *ret_info, int *ret_fds, size_t max_fds,
                                  size_t *ret_n_fds, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    struct naru_item item;
    if (!c->medium->descriptors)
        return naru__parcel_unsupported(name_of(c));
    int r = receive(c, select, NULL, 0, deadline, &item);
    if (r < 0)
        return r;
    naru__item_info(&item, ret_info);
    r = naru__parcel_check(name_of(c), item.parcel, max_fds, ret_n_fds);
    if (r == 0 && item.size > cap)
        r = -EMSGSIZE;
    if (r < 0) {
        pthread_mutex_lock(&c->rx);
        int back = naru__inbox_return(&c->inbox, &item, false);
        pthread_mutex_unlock(&c->rx);
        return back < 0 ? back : r;
    }
    if (item.size)
        memcpy(buf, item.data, item.size);
    item.parcel = naru__parcel_hand_out(item.parcel, ret_fds);
    release_item(c, &item);
    count_received(c, 1, item.size);
    return (ssize_t)item.size;
}

int naru__connection_take(naru_channel *channel, int64_t select, int64_t deadline,
                          struct naru_message *ret_message)
{
    struct connection *c = of_channel(channel);
    struct naru_item item;
    int r = receive(c, select, NULL, 0, deadline, &item);
    if (r < 0)
        return r;
    naru__item_to_message(&item, channel, ret_message);
    count_received(c, 1, item.size);
    return 0;
}

size_t naru__connection_take_ready(naru_channel *channel, int64_t select,
                                   struct naru_message *ret_messages, size_t n)
{
    struct connection *c = of_channel(channel);
    size_t bytes;
    pthread_mutex_lock(&c->rx);
    n = naru__inbox_take_messages(&c->inbox, select, channel, ret_messages, n, &bytes);
    pthread_mutex_unlock(&c->rx);
    count_received(c, n, bytes);
    return n;
}

static void end_messages(naru_channel *channel, struct naru_message *m, size_t n, bool give_back)
{
    struct connection *c = of_channel(channel);
    pthread_mutex_lock(&c->rx);
    naru__inbox_end_messages(&c->inbox, m, n, give_back);
    pthread_mutex_unlock(&c->rx);
}

void naru__connection_release(naru_channel *channel, struct naru_message *m, size_t n)
{
    end_messages(channel, m, n, false);
}

void naru__connection_give_back(naru_channel *channel, struct naru_message *m, size_t n)
{
    end_messages(channel, m, n, true);
}
