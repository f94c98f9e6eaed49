/* SPDX-License-Identifier: MIT */
/* datagram.c - sending and receiving datagrams.
 *
 * What does not fit the buffer is lost. So behind the usual room there is as much as a socket of
 * this host can send at all (net.core.wmem_max, doubled by the kernel), of which nothing is touched
 * while messages are small; where that is too much to reserve, the next one's size is asked before
 * each receive. A connection's end and an empty packet look alike to recvmsg(2); but a packet comes
 * with its sender's credentials (SO_PASSCRED), and the end does not. A reset is told by the kernel
 * before the packets that came ahead of it: it is kept for the end. */
#include "transport/common/datagram.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ROOM = 65536,
    BEYOND_MOST = 64 << 20,
    SKB_UPKEEP = 32 /* af_unix.c: sk_sndbuf - 32 */
};

static struct naru_datagram *of_mq(struct naru_mq *mq)
{
    return (struct naru_datagram *)mq;
}

static struct naru_datagram *of_handle(struct naru_handle *h)
{
    return (struct naru_datagram *)h;
}

static const char *name_of(const struct naru_datagram *d)
{
    return d->mq.channel.handle.name;
}

/* ---- receiving ---- */

/* -E2BIG after asking for more room. */
static int make_room(struct naru_datagram *d, const struct naru_parcel *p)
{
    int next = naru__os_unread(d->in);
    if (next < 0)
        return naru__fail(next, "%s: the next message's size is not known: %s", name_of(d),
                          naru__errno_text(next));
    if ((size_t)next <= p->room)
        return 0;
    d->mq.room = (size_t)next;
    return -E2BIG;
}

/* A large message's rest comes behind what fitted; without memory for it both stay where they are,
 * for the next try. */
static int put_together(struct naru_datagram *d)
{
    size_t fitted = d->mq.spare->room, rest = d->pending - fitted;
    struct naru_parcel *p = naru__mq_enlarge(&d->mq, d->pending);
    if (!p)
        return -ENOMEM;
    memcpy(p->data + fitted, d->beyond, rest);
    p->size = d->pending;
    d->pending = 0;
    return 0;
}

/* Who sent it, and what was lost before it. */
struct beside {
    bool sent; /* it has a sender */
    bool stranger;
};

static struct beside read_control(struct naru_datagram *d, struct msghdr *m, struct naru_parcel *p)
{
    struct beside b = {false, false};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred cred;
            memcpy(&cred, CMSG_DATA(c), sizeof cred);
            b = (struct beside){true, cred.uid != d->user && cred.uid != 0};
        }
        if (c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t now; /* since the socket was made; wraps */
            memcpy(&now, CMSG_DATA(c), sizeof now);
            p->missed = now - d->overflow;
            d->overflow = now;
            naru__count(&d->mq.channel.handle.counts.dropped, p->missed);
        }
    }
    return b;
}

static int finished(const struct naru_datagram *d)
{
    if (d->end == -ECONNRESET)
        return naru__fail(-ECONNRESET, "%s: the other end vanished with messages unread",
                          name_of(d));
    return naru__fail(-EPIPE, "%s: the other end has finished", name_of(d));
}

/* One receive. 1: that was none, look again. */
static int get_one(struct naru_datagram *d, struct naru_parcel *p)
{
    /* not a byte more, or the kernel would open here what descriptors a stranger sends along */
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec bytes[2] = {{p->data, p->room}, {d->beyond, d->beyond_room}};
    struct msghdr m = {.msg_iov = bytes, .msg_iovlen = d->beyond ? 2 : 1};
    if (d->kind->ends || d->kind->loses || d->own_users) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
    }
    if (d->pending)
        return put_together(d);
    int r = d->asks ? make_room(d, p) : 0;
    if (r < 0)
        return r;
    ssize_t n = naru__os_receive(d->in, &m, 0);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n == -ECONNRESET && d->kind->ends) {
        d->end = -ECONNRESET;
        return 1;
    }
    if (n < 0)
        return naru__fail((int)n, "%s: receiving failed: %s", name_of(d), naru__errno_text((int)n));
    if (m.msg_flags & MSG_TRUNC) { /* of a sender that may go beyond net.core.wmem_max */
        d->asks = true;
        naru__count(&d->mq.channel.handle.counts.dropped, 1);
        return naru__fail(-EPROTO,
                          "%s: a message was larger than the limit of %s, and is lost; the next "
                          "one's size will be asked for",
                          name_of(d), naru__size_text(p->room + d->beyond_room).text);
    }
    struct beside b = read_control(d, &m, p);
    if (n == 0 && d->kind->ends && !b.sent)
        return finished(d);
    if (d->own_users && (!b.sent || b.stranger)) {
        naru__count(&d->mq.channel.handle.counts.dropped, 1);
        return 1;
    }
    p->size = (size_t)n;
    p->type = 1;
    if (p->size <= p->room)
        return 0;
    d->pending = p->size;
    return put_together(d);
}

static int datagram_get(struct naru_mq *mq, int64_t select, struct naru_parcel *p, bool block)
{
    enum { AT_MOST = 64 }; /* strangers may never stop: then look at the time */
    int r = 1;
    (void)select, (void)block;
    for (int i = 0; i < AT_MOST && r > 0; i++)
        r = get_one(of_mq(mq), p);
    return r > 0 ? -EAGAIN : r;
}

/* ---- sending ---- */

static int too_large(const struct naru_datagram *d, size_t size)
{
    return naru__fail(-EMSGSIZE, "%s: the message has %s and %s is %s", name_of(d),
                      naru__size_text(size).text, d->mq.channel.max_name,
                      naru__size_text(d->mq.channel.max_message).text);
}

/* There is none now; the next send looks for one. */
static int receiver_gone(struct naru_datagram *d)
{
    atomic_store_explicit(&d->apart, d->kind->join != NULL, memory_order_relaxed);
    return naru__fail(-ECONNREFUSED, "%s: the receiver has gone: %s", name_of(d),
                      d->kind->loses ? "an earlier message was refused, and this one was not sent"
                                     : "the message was not sent");
}

static int put_failed(struct naru_datagram *d, const struct naru_outgoing *out, int code)
{
    switch (code) {
    case -ENOBUFS: /* the device's queue is full */
        return -EAGAIN;
    case -ECONNREFUSED:
    case -ENOTCONN:
        return receiver_gone(d);
    case -EMSGSIZE:
        return too_large(d, out->size);
    case -EPIPE:
    case -ECONNRESET:
        return naru__fail(code, "%s: the other end has gone: the message was not sent", name_of(d));
    case -ENETUNREACH:
    case -EHOSTUNREACH:
        return naru__fail(-EHOSTUNREACH, "%s: %s: look at the address and the routes (ip route)",
                          name_of(d), naru__errno_text(code));
    default:
        return naru__fail(code, "%s: sending failed: %s", name_of(d), naru__errno_text(code));
    }
}

static int datagram_put(struct naru_mq *mq, const struct naru_outgoing *out, bool block)
{
    struct naru_datagram *d = of_mq(mq);
    (void)block;
    if (out->type != 1)
        return naru__fail(-EINVAL,
                          "%s: a message of type %" PRIu32 " cannot be sent: a datagram carries "
                          "its bytes alone, so that all are of type 1",
                          name_of(d), out->type);
    if (atomic_load_explicit(&d->apart, memory_order_relaxed)) {
        int r = d->kind->join(d);
        if (r == -ECONNREFUSED || r == -ENOENT)
            return -EAGAIN;
        if (r < 0)
            return r;
        atomic_store_explicit(&d->apart, false, memory_order_relaxed);
    }
    ssize_t r = naru__os_send_vector(d->out, out->vector, (int)out->n);
    if (r >= 0)
        return 0;
    return r == -EAGAIN ? -EAGAIN : put_failed(d, out, (int)r);
}

/* Nobody tells of a receiver that is not there yet. */
static int datagram_step(struct naru_wait *w)
{
    struct naru_datagram *d = of_handle(w->handle);
    bool apart = w->events == NARU_OUT && atomic_load_explicit(&d->apart, memory_order_relaxed);
    int r = apart ? naru__wait_tick(w) : naru__wait_step(w);
    if (apart && (r == -ETIMEDOUT || r == -EAGAIN))
        naru__fail(r, "%s: nobody receives there", name_of(d));
    return r;
}

static long datagram_unread(struct naru_mq *mq)
{
    struct naru_datagram *d = of_mq(mq);
    if (d->kind->loses)
        return naru__fail(-EOPNOTSUPP, "%s: nobody tells what of it has been received", name_of(d));
    int left = naru__os_unsent(d->out);
    if (left < 0)
        naru__fail(left, "%s: asking what is unread failed: %s", name_of(d),
                   naru__errno_text(left));
    return left;
}

/* A unix datagram waits in its receiver's queue and counts in its sender's buffer: whichever is
 * full holds the sender back. */
static int datagram_full(struct naru_mq *mq, int code)
{
    struct naru_datagram *d = of_mq(mq);
    int unread = naru__os_unsent(d->out);
    int room = naru__os_get_number(d->out, SOL_SOCKET, SO_SNDBUF);
    if (unread < 0 || room < 0 || atomic_load_explicit(&d->apart, memory_order_relaxed))
        return code; /* it says that nobody receives there */
    if (unread < room && !d->kind->ends && !d->kind->loses)
        return naru__fail(code,
                          "%s: the time given passed and its receiver has read none of the "
                          "messages that wait there: net.unix.max_dgram_qlen, %" PRId64
                          ", is how many may; `sysctl -w net.unix.max_dgram_qlen=N` raises it for "
                          "receivers that come later",
                          name_of(d), naru__limit_sysctl("net/unix/max_dgram_qlen"));
    return naru__fail(code,
                      "%s: the time given passed and the receiver has not made room: %d bytes of "
                      "this end's buffer of %d hold what it has not read; .capacity asks for more, "
                      "up to net.core.wmem_max, %" PRId64
                      " (`sysctl -w net.core.wmem_max=N` raises it)",
                      name_of(d), unread, room, naru__limit_sysctl("net/core/wmem_max"));
}

static int datagram_shutdown(struct naru_mq *mq)
{
    struct naru_datagram *d = of_mq(mq);
    int r = naru__os_shutdown(d->out, SHUT_WR);
    if (r < 0 && r != -ENOTCONN)
        return naru__fail(r, "%s: finishing failed: %s", name_of(d), naru__errno_text(r));
    return 0;
}

/* ---- life ---- */

static void datagram_close(struct naru_mq *mq)
{
    struct naru_datagram *d = of_mq(mq);
    if (d->file.directory >= 0 && !mq->copy)
        naru__socket_remove_file(&d->file);
    naru__os_close(d->file.directory);
    if (d->out != d->in)
        naru__os_close(d->out);
    naru__os_close(d->in);
    free(d->beyond);
}

static const struct naru_mq_ops queue_ops = {.get = datagram_get,
                                             .put = datagram_put,
                                             .step = datagram_step,
                                             .unread = datagram_unread,
                                             .full = datagram_full,
                                             .close = datagram_close};
static const struct naru_mq_ops connection_ops = {.get = datagram_get,
                                                  .put = datagram_put,
                                                  .step = datagram_step,
                                                  .unread = datagram_unread,
                                                  .full = datagram_full,
                                                  .shutdown = datagram_shutdown,
                                                  .close = datagram_close};

static int datagram_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    enum { AGAIN = 10 }; /* ms */
    const struct naru_datagram *d = of_handle(h);
    bool apart = events & NARU_OUT && atomic_load_explicit(&d->apart, memory_order_relaxed);
    unsigned n = 0;
    if (events & NARU_IN)
        ret_watch->fds[n++] = (struct pollfd){.fd = d->in, .events = POLLIN};
    if (events & NARU_OUT && !apart && n > 0 && d->out == d->in)
        ret_watch->fds[0].events |= POLLOUT; /* a descriptor is in a set once */
    else if (events & NARU_OUT && !apart)
        ret_watch->fds[n++] = (struct pollfd){.fd = d->out, .events = POLLOUT};
    ret_watch->n = n;
    if (apart)
        ret_watch->again = naru__now() + AGAIN * NARU_MS;
    return 0;
}

static int datagram_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    const struct naru_datagram *d = of_handle(h);
    return naru__socket_peer(h, d->out >= 0 ? d->out : d->in, NULL, ret_peer);
}

static void datagram_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct naru_datagram *d = of_handle(h);
    bool receives = d->kind->loses && d->in >= 0; /* there a full receiver's is what loses */
    naru__socket_stats(receives || d->out < 0 ? d->in : d->out, receives, d->capacity, stats);
}

/* The socket is shared with whoever has a copy of it; what this process keeps is its own. */
static int datagram_adopt(struct naru_handle *h)
{
    pthread_mutex_init(&of_handle(h)->mq.lock, NULL);
    return 0;
}

static int datagram_pass(struct naru_handle *h, struct naru_passage *ret_passage)
{
    const struct naru_datagram *d = of_handle(h);
    *ret_passage = (struct naru_passage){"channel", d->kind->scheme, {d->in, d->out}};
    return 0;
}

static void datagram_passed(struct naru_handle *h)
{
    naru__mq_free(&of_handle(h)->mq);
}

static const struct naru_handle_ops queue_handle = {
    .size = sizeof queue_handle,
    .watch = datagram_watch,
    .ready = naru__mq_ready,
    .peer = datagram_peer,
    .stats = datagram_stats,
};
static const struct naru_handle_ops connection_handle = {
    .size = sizeof connection_handle,
    .watch = datagram_watch,
    .ready = naru__mq_ready,
    .adopt = datagram_adopt,
    .pass = datagram_pass,
    .passed = datagram_passed,
    .peer = datagram_peer,
    .stats = datagram_stats,
};

/* ---- making one ---- */

static size_t largest_of(int fd)
{
    int buffer = naru__os_get_number(fd, SOL_SOCKET, SO_SNDBUF);
    return buffer > SKB_UPKEEP ? (size_t)buffer - SKB_UPKEEP : 0;
}

int naru__datagram_prepare(int fd, const char *name, size_t capacity, size_t max_message)
{
    naru__socket_capacity(fd, capacity);
    if (max_message <= largest_of(fd))
        return 0;
    naru__socket_capacity(fd, max_message);
    if (max_message <= largest_of(fd))
        return 0;
    return naru__fail(
        -EINVAL,
        "%s: .max_message is %s, and a socket's buffer bounds a datagram to %s: raise "
        "net.core.wmem_max, now %" PRId64,
        name, naru__size_text(max_message).text, naru__size_text(largest_of(fd)).text,
        naru__limit_sysctl("net/core/wmem_max"));
}

/* Room for the largest message that can come. */
static int set_room(struct naru_datagram *d)
{
    int64_t most = 2 * naru__limit_sysctl("net/core/wmem_max");
    d->mq.room = ROOM;
    if (d->kind->largest || d->in < 0)
        return 0;
    d->asks = most <= 0 || most > BEYOND_MOST;
    if (d->asks || most <= ROOM)
        return 0;
    d->beyond_room = (size_t)most - ROOM;
    d->beyond = naru__alloc_raw(d->beyond_room);
    return d->beyond ? 0 : -ENOMEM;
}

/* The largest message that this end sends. */
static void set_limit(struct naru_datagram *d, size_t max_message)
{
    struct naru_channel *c = &d->mq.channel;
    c->max_message = d->kind->largest;
    c->max_name = d->kind->largest_name;
    if (!d->kind->largest) {
        c->max_message = largest_of(d->out >= 0 ? d->out : d->in);
        c->max_name = "the socket's buffer (.capacity or .max_message asks for more, up to "
                      "net.core.wmem_max)";
    }
    if (max_message && max_message < c->max_message) {
        c->max_message = max_message;
        c->max_name = "this end's .max_message";
    }
}

static int set_up(const struct naru_datagram_kind *kind, const struct naru_datagram_parts *parts)
{
    int r = 0;
    if (kind->largest && parts->max_message > kind->largest)
        return naru__fail(-EINVAL, "%s: .max_message is %s and %s is %s", parts->name,
                          naru__size_text(parts->max_message).text, kind->largest_name,
                          naru__size_text(kind->largest).text);
    if (kind->ends)
        r = naru__os_set_number(parts->in, SOL_SOCKET, SO_PASSCRED, 1);
    if (r == 0 && kind->loses && parts->in >= 0)
        r = naru__os_set_number(parts->in, SOL_SOCKET, SO_RXQ_OVFL, 1);
    if (r < 0)
        naru__fail(r, "%s: the socket cannot be set up: %s", parts->name, naru__errno_text(r));
    return r;
}

int naru__datagram_new(const struct naru_datagram_kind *kind,
                       const struct naru_datagram_parts *parts, struct naru_datagram **ret_d)
{
    int r = set_up(kind, parts);
    if (r < 0)
        return r;
    struct naru_datagram *d = naru__alloc(sizeof *d);
    if (!d)
        return -ENOMEM;
    d->kind = kind;
    d->in = d->out = d->file.directory = NARU__NO_FD;
    r = naru__mq_init(&d->mq, kind->ends ? &connection_ops : &queue_ops,
                      kind->ends ? &connection_handle : &queue_handle, parts->name, parts->role,
                      parts->max_taken);
    d->in = parts->in;
    d->out = parts->out;
    if (r == 0)
        r = set_room(d);
    if (r < 0) {
        d->in = d->out = NARU__NO_FD;
        naru__mq_free(&d->mq);
        return r;
    }
    d->capacity = parts->capacity;
    d->own_users = parts->own_users;
    d->flags = parts->flags;
    d->file = parts->file;
    d->user = geteuid();
    d->mq.counts_bytes = true;
    set_limit(d, parts->max_message);
    *ret_d = d;
    return 0;
}
