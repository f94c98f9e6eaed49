/* SPDX-License-Identifier: MIT */
/* queue.c - `fifo:` as a queue: N senders, M receivers, records that never mix.
 *
 * Every frame is at most PIPE_BUF bytes and written by itself, so the kernel never splits it and
 * never puts another writer's bytes inside. A record that fits in one frame needs nothing else.
 * A longer one is several frames; its sender holds lock LONG meanwhile, so that long records do not
 * mix either (short ones may come between; they carry their sender, and receivers sort them out).
 *
 * Receivers hold lock TURN while they read a record. One that is alone (nobody else holds HERE)
 * reads as much as there is; else each reads one record and lets go. It looks at a frame's header
 * through tee(2) and takes the frame in one read, so that one that is killed never leaves a part of
 * a frame. A receiver that dies in its turn loses what it had read (the kernel has handed it out);
 * the next one skips the rest of a record whose beginning is gone. A sender that dies, or gives up,
 * in a long record lets go of LONG; the receiver that waits for the rest sees that on its next look
 * (50 ms) and drops the part.
 *
 * The locks are open file description locks on the FIFO itself. A forked child shares the parent's
 * descriptions, and would keep a dead parent's turn; so it closes its copies at once, in an atfork
 * handler. (A child made by raw clone() does not, until it execs or ends.) */
#include "transport/fifo/fifo.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/process.h"
#include "transport/common/bytes.h"
#include "transport/common/inbox.h"
#include "transport/common/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { LOCK_TURN, LOCK_HERE, LOCK_LONG }; /* bytes of the FIFO that are locked */

enum { READS_MAX = 64, LOOK_NS = 50000000, TURN_NS = 1000000, PIECE = PIPE_BUF - FRAME_HEADER };

struct fifo_queue {
    struct naru_channel channel;
    char *path;
    struct fifo_queue *next, *previous; /* all queues of this process, for fork */

    int in;             /* receiving half */
    pthread_mutex_t rx; /* guards it: the sending thread's naru__leave looks there too */
    size_t stash;
    struct naru_inbox inbox;
    bool one_by_one;    /* NARU_NO_READ_AHEAD */
    bool turn;          /* this receiver holds TURN */
    bool turn_is_other; /* there is something to read, and somebody else's turn */
    bool fresh;         /* nothing read yet: one that was alone may have died in a frame */
    bool garbage;       /* what is no frame was skipped, and nobody has been told */
    int look[2];        /* a pipe, for the next header */
    int64_t armed_select;
    bool armed;

    _Atomic int out;        /* sending half */
    _Atomic bool abandoned; /* no receiver has it open: `out` keeps what lies in it for the next */
    _Atomic int watch;
    uint32_t sender;
    uint64_t sequence;
    struct naru_capacity capacity;
    uint8_t *batch; /* PIPE_BUF bytes */
};

static struct fifo_queue *of_channel(naru_channel *channel)
{
    return (struct fifo_queue *)channel;
}

static struct fifo_queue *of_handle(struct naru_handle *h)
{
    return (struct fifo_queue *)h;
}

static const char *name_of(const struct fifo_queue *q)
{
    return q->channel.handle.name;
}

/* ---- fork ---- */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fifo_queue *all;

static void before_fork(void)
{
    pthread_mutex_lock(&all_lock);
}
static void after_fork(void)
{
    pthread_mutex_unlock(&all_lock);
}

static void in_child(void)
{
    for (struct fifo_queue *q = all; q; q = q->next) {
        q->in = naru__os_close(q->in);
        q->out = naru__os_close(q->out);
    }
    all = NULL; /* the copies stay the child's to close, each by itself */
    pthread_mutex_unlock(&all_lock);
}

static void register_fork(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

static void enlist(struct fifo_queue *q)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork);
    pthread_mutex_lock(&all_lock);
    q->next = all;
    if (all)
        all->previous = q;
    all = q;
    pthread_mutex_unlock(&all_lock);
}

static void delist(struct fifo_queue *q)
{
    pthread_mutex_lock(&all_lock);
    if (q->next)
        q->next->previous = q->previous;
    if (q->previous)
        q->previous->next = q->next;
    else
        all = q->next;
    pthread_mutex_unlock(&all_lock);
}

/* ---- receiving ---- */

static int reading_failed(const struct fifo_queue *q, int code)
{
    return naru__fail(code, "%s: reading failed: %s", name_of(q), naru__errno_text(code));
}

static void end_turn(struct fifo_queue *q)
{
    if (q->turn)
        (void)naru__os_unlock(q->in, LOCK_TURN);
    q->turn = false;
}

/* 1: the turn is ours; 0: there is nothing to read, or it is another's turn. */
static int take_turn(struct fifo_queue *q)
{
    q->turn_is_other = false;
    if (q->turn)
        return 1;
    int unread = naru__os_unread(q->in);
    if (unread <= 0)
        return unread;
    int r = naru__os_lock(q->in, LOCK_TURN, true);
    if (r == -EAGAIN || r == -EACCES) {
        q->turn_is_other = true;
        return 0;
    }
    if (r < 0)
        return r;
    q->turn = true;
    return 1;
}

/* The FIFO is empty and a record is not whole. Is its sender still at it? A frame is written whole,
 * so a part of one that has no rest was never naru's. */
static int stuck(struct fifo_queue *q)
{
    bool part = q->inbox.end > q->inbox.start;
    if (!part && naru__os_lock_held(q->in, LOCK_LONG) > 0)
        return -EAGAIN;
    if (naru__os_unread(q->in) > 0) /* it came just now */
        return 0;
    uint64_t dropped = q->inbox.dropped;
    naru__inbox_drop(&q->inbox);
    naru__count(&q->channel.handle.counts.dropped, q->inbox.dropped - dropped);
    end_turn(q);
    q->garbage |= part;
    return -EAGAIN;
}

/* Said once for what was skipped, when what came before and behind it has been received. */
static int say_garbage(struct fifo_queue *q)
{
    q->garbage = false;
    return naru__fail(-EPROTO,
                      "%s: bytes came that are no naru frame: somebody else writes into this FIFO, "
                      "or a receiver died while it read; they were skipped",
                      name_of(q));
}

static int make_look(struct fifo_queue *q)
{
    if (q->look[0] >= 0)
        return 0;
    int r = naru__os_pipe(q->look);
    if (r < 0)
        return naru__fail(r, "%s: no pipe to look ahead with: %s%s", name_of(q),
                          naru__errno_text(r), naru__limit_of_files(r).text);
    (void)naru__os_set_pipe_capacity(q->look[0], 2 * PIPE_BUF); /* a header may touch two pages */
    return 0;
}

/* A header left in there would be taken for the next one's. */
static void drop_look(struct fifo_queue *q)
{
    q->look[0] = naru__os_close(q->look[0]);
    q->look[1] = naru__os_close(q->look[1]);
}

/* Bytes of the frame that comes next; 0 if there is none now. */
static ssize_t next_frame(struct fifo_queue *q)
{
    uint8_t header[FRAME_HEADER];
    struct naru_frame frame;
    if (q->inbox.end > q->inbox.start)
        return (ssize_t)naru__inbox_need(&q->inbox); /* it has begun when this one was alone */
    int r = make_look(q);
    if (r < 0)
        return r;
    ssize_t n = naru__os_tee(q->in, q->look[1], sizeof header), seen = n;
    if (seen > 0)
        n = naru__os_read(q->look[0], header, (size_t)seen);
    if (n != seen)
        drop_look(q);
    if (n == -EAGAIN)
        return 0;
    if (n < 0)
        return reading_failed(q, (int)n);
    if (n < FRAME_HEADER || naru__frame_decode(header, &frame) < 0)
        return n;
    return FRAME_HEADER + (ssize_t)frame.size;
}

/* Were those the last bytes of a frame that a receiver had begun to read when it was killed? */
static bool remainder_of_dead(const struct fifo_queue *q, bool fresh, size_t before)
{
    bool good_behind = q->inbox.count > before || q->inbox.join.active;
    return fresh && good_behind && q->inbox.garbage < PIPE_BUF;
}

/* One read; what it brought is parsed. 0, -EAGAIN, or an error. */
static int read_some(struct fifo_queue *q, bool alone)
{
    struct iovec room[2];
    size_t before = q->inbox.count;
    bool fresh = q->fresh;
    ssize_t limit = alone ? 0 : next_frame(q);
    if (limit < 0)
        return (int)limit;
    if (limit == 0 && !alone)
        return naru__inbox_midway(&q->inbox) ? stuck(q) : -EAGAIN;
    int n = naru__inbox_room(&q->inbox, room, (size_t)limit);
    if (n <= 0)
        return n;
    ssize_t got = naru__os_readv(q->in, room, n);
    naru__count(&q->channel.handle.counts.calls[0], 1);
    if (got == -EAGAIN || got == 0)
        return naru__inbox_midway(&q->inbox) ? stuck(q) : -EAGAIN;
    if (got < 0)
        return reading_failed(q, (int)got);
    uint64_t dropped = q->inbox.dropped;
    int r = naru__inbox_fed(&q->inbox, (size_t)got);
    q->fresh = false;
    if (r == -EPROTO) {
        q->garbage |= !remainder_of_dead(q, fresh, before);
        r = 0;
    }
    naru__count(&q->channel.handle.counts.dropped, q->inbox.dropped - dropped);
    return r;
}

/* What a receiver put aside would be kept from the others. */
static int cannot_select(struct fifo_queue *q)
{
    end_turn(q);
    return naru__fail(-EOPNOTSUPP,
                      "%s: a FIFO with several receivers hands each the next record and cannot "
                      "select by type: receive with select 0, or use sysv-mq:",
                      name_of(q));
}

/* Reads what there is: one record if there are other receivers, else what fits. 1: a message came,
 * perhaps while a long one is still coming; -EAGAIN; an error. */
static int refill(struct fifo_queue *q, int64_t select)
{
    int r = take_turn(q);
    if (r <= 0)
        return r < 0 ? reading_failed(q, r) : -EAGAIN;
    int others = naru__os_lock_held(q->in, LOCK_HERE); /* an error: as if there were some */
    if (others && select && !naru__inbox_midway(&q->inbox))
        return cannot_select(q);
    size_t before = q->inbox.count;
    int reads = 0;
    do /* after so many reads the caller looks at the clock */
        r = read_some(q, others == 0 && !q->one_by_one);
    while (r == 0 && naru__inbox_midway(&q->inbox) && q->inbox.count == before &&
           ++reads < READS_MAX);
    if (!naru__inbox_midway(&q->inbox))
        end_turn(q);
    if (q->inbox.count > before)
        return 1;
    return r < 0 ? r : -EAGAIN;
}

static int stash_full(const struct fifo_queue *q, int64_t select)
{
    return naru__fail(
        -ENOBUFS,
        "%s: %zu messages of other types than select %" PRId64
        " asks for wait here, %s with their upkeep, and .stash is %s: receive them, or "
        "open with a larger .stash",
        name_of(q), q->inbox.count, select, naru__size_text(q->inbox.held).text,
        naru__size_text(q->stash).text);
}

static int receive_once(struct fifo_queue *q, int64_t select, struct naru_item *ret_item)
{
    for (;;) {
        if (naru__inbox_take(&q->inbox, select, ret_item))
            return 0;
        if (q->inbox.count > 0 && q->inbox.held > q->stash)
            return stash_full(q, select);
        int r = q->garbage ? say_garbage(q) : refill(q, select);
        if (r < 0 && !(r == -EAGAIN && q->garbage))
            return r;
    }
}

/* The next message, waiting for it. */
static int receive(struct fifo_queue *q, int64_t select, int64_t deadline,
                   struct naru_item *ret_item)
{
    struct naru_wait wait = naru__wait_begin(&q->channel.handle, NARU_IN, deadline);
    int r;
    do {
        pthread_mutex_lock(&q->rx);
        r = receive_once(q, select, ret_item);
        q->armed = r == -EAGAIN;
        q->armed_select = select;
        atomic_store_explicit(&q->channel.handle.counts.held, q->inbox.held, memory_order_relaxed);
        pthread_mutex_unlock(&q->rx);
        if (r != -EAGAIN)
            break;
        r = naru__wait_step(&wait);
    } while (r == 0);
    naru__wait_done(&wait);
    return r;
}

static void count_received(struct fifo_queue *q, size_t n, size_t bytes)
{
    naru__count(&q->channel.handle.counts.received, n);
    naru__count(&q->channel.handle.counts.bytes_received, bytes);
}

static void release_item(struct fifo_queue *q, struct naru_item *item)
{
    pthread_mutex_lock(&q->rx);
    naru__item_release(&q->inbox, item);
    pthread_mutex_unlock(&q->rx);
}

static void put_back(struct fifo_queue *q, struct naru_item *item)
{
    pthread_mutex_lock(&q->rx);
    if (naru__inbox_return(&q->inbox, item, false) < 0)
        naru__item_release(&q->inbox, item);
    pthread_mutex_unlock(&q->rx);
}

static int queue_take(naru_channel *channel, int64_t select, int64_t deadline,
                      struct naru_message *ret_message)
{
    struct fifo_queue *q = of_channel(channel);
    struct naru_item item;
    int r = receive(q, select, deadline, &item);
    if (r < 0)
        return r;
    naru__item_to_message(&item, channel, ret_message);
    count_received(q, 1, item.size);
    return 0;
}

static ssize_t queue_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                          struct naru_info *ret_info, int64_t deadline)
{
    struct fifo_queue *q = of_channel(channel);
    struct naru_item item;
    int r = receive(q, select, deadline, &item);
    if (r < 0)
        return r;
    naru__item_info(&item, ret_info);
    if (item.size > cap) {
        put_back(q, &item);
        return -EMSGSIZE;
    }
    if (item.size)
        memcpy(buf, item.data, item.size);
    release_item(q, &item);
    count_received(q, 1, item.size);
    return (ssize_t)item.size;
}

static size_t queue_take_ready(naru_channel *channel, int64_t select,
                               struct naru_message *ret_messages, size_t n)
{
    struct fifo_queue *q = of_channel(channel);
    size_t bytes;
    pthread_mutex_lock(&q->rx);
    n = naru__inbox_take_messages(&q->inbox, select, channel, ret_messages, n, &bytes);
    pthread_mutex_unlock(&q->rx);
    count_received(q, n, bytes);
    return n;
}

static void end_messages(struct fifo_queue *q, struct naru_message *m, size_t n, bool give_back)
{
    pthread_mutex_lock(&q->rx);
    naru__inbox_end_messages(&q->inbox, m, n, give_back);
    pthread_mutex_unlock(&q->rx);
}

static void queue_release(naru_channel *channel, struct naru_message *m, size_t n)
{
    end_messages(of_channel(channel), m, n, false);
}

static void queue_give_back(naru_channel *channel, struct naru_message *m, size_t n)
{
    end_messages(of_channel(channel), m, n, true);
}

/* ---- sending ---- */

/* Somebody has it open for reading, or the time passes. */
static int connected(struct fifo_queue *q, struct naru_wait *wait)
{
    if (q->out >= 0 && !q->abandoned)
        return 0;
    int r = naru__fifo_connect(wait, q->path, &q->out, &q->watch);
    if (r == 0)
        q->abandoned = false;
    if (r == 0 && q->capacity.asked)
        q->capacity = naru__capacity_ask(q->out, q->capacity.asked);
    return r;
}

/* One frame, or a few whole ones, of at most PIPE_BUF bytes: all of it or nothing. -EPIPE when the
 * last receiver has gone: the caller begins again with the next one. */
static int write_frames(struct fifo_queue *q, struct naru_wait *wait, const struct iovec *vector,
                        int n)
{
    for (;;) {
        int r = connected(q, wait);
        if (r < 0)
            return r;
        ssize_t w = naru__os_writev(q->out, vector, n);
        naru__count(&q->channel.handle.counts.calls[1], 1);
        if (w >= 0)
            return 0;
        if (w == -EPIPE) {
            q->abandoned = true;
            return -EPIPE;
        }
        if (w != -EAGAIN)
            return naru__fail((int)w, "%s: writing failed: %s", name_of(q),
                              naru__errno_text((int)w));
        r = naru__wait_step(wait);
        if (r < 0)
            return r;
    }
}

static int lock_long(struct fifo_queue *q, struct naru_wait *wait)
{
    for (;;) {
        int r = connected(q, wait);
        if (r < 0)
            return r;
        r = naru__os_lock(q->out, LOCK_LONG, true);
        if (r != -EAGAIN && r != -EACCES)
            return r < 0 ? naru__fail(r, "%s: locking failed: %s", name_of(q), naru__errno_text(r))
                         : 0;
        r = naru__wait_tick(wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: another sender is writing a long record", name_of(q));
        if (r < 0)
            return r;
    }
}

static int send_small(struct fifo_queue *q, const struct naru_outgoing *out, struct naru_wait *wait)
{
    uint8_t bytes[FRAME_HEADER + WIRE_SMALL];
    struct iovec one = {bytes, naru__wire_small(out, q->sender, q->sequence + 1, bytes)};
    int r;
    do
        r = write_frames(q, wait, &one, 1);
    while (r == -EPIPE);
    return r;
}

/* All frames of one record. */
static int send_wire(struct fifo_queue *q, struct naru_wire *wire, struct naru_wait *wait)
{
    struct iovec vector[WIRE_VECTOR];
    while (!wire->done) {
        size_t bytes = 0;
        int n = naru__wire_fill(wire, vector, 1);
        for (int i = 0; i < n; i++)
            bytes += vector[i].iov_len;
        if (wire->frame.kind != FRAME_END && bytes < FRAME_HEADER + (size_t)wire->frame.size)
            return -E2BIG; /* too many small pieces for one vector */
        int r = write_frames(q, wait, vector, n);
        if (r < 0)
            return r;
        naru__wire_advance(wire, bytes);
    }
    return 0;
}

static int send_record(struct fifo_queue *q, const struct naru_outgoing *out,
                       struct naru_wait *wait)
{
    struct naru_wire wire;
    int r;
    do { /* again from its beginning when the receiver has gone: the next one needs all of it */
        bool is_long = FRAME_HEADER + out->size > PIPE_BUF;
        r = is_long ? lock_long(q, wait) : 0;
        if (r < 0)
            return r;
        naru__wire_init(&wire, out, PIPE_BUF, PIECE, q->sender, q->sequence + 1);
        r = send_wire(q, &wire, wait);
        if (is_long)
            (void)naru__os_unlock(q->out, LOCK_LONG);
        if (r < 0 && naru__wire_begun(&wire)) {
            q->sequence++; /* what went of it must not meet another record of this number */
            naru__count(&q->channel.handle.counts.dropped, r != -EPIPE);
        }
    } while (r == -EPIPE);
    return r;
}

/* A vector of many small pieces is copied into one. */
static int send_copied(struct fifo_queue *q, const struct naru_outgoing *out,
                       struct naru_wait *wait)
{
    uint8_t *copy = naru__alloc_raw(out->size);
    if (!copy)
        return -ENOMEM;
    size_t at = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (out->vector[i].iov_len)
            memcpy(copy + at, out->vector[i].iov_base, out->vector[i].iov_len);
        at += out->vector[i].iov_len;
    }
    const struct iovec one = {copy, at};
    int r = send_record(q, &(struct naru_outgoing){out->type, out->signature, &one, 1, at}, wait);
    free(copy);
    return r;
}

static int queue_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct fifo_queue *q = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    int r = out->size <= WIRE_SMALL    ? send_small(q, out, &wait)
            : out->n > WIRE_VECTOR / 2 ? send_copied(q, out, &wait)
                                       : send_record(q, out, &wait);
    naru__wait_done(&wait);
    if (r < 0)
        return r;
    q->sequence++;
    naru__count(&channel->handle.counts.sent, 1);
    naru__count(&channel->handle.counts.bytes_sent, out->size);
    return 0;
}

/* As many short records as one atomic write takes. */
static size_t gather(struct fifo_queue *q, const struct naru_message *m, size_t n,
                     size_t *ret_bytes)
{
    size_t at = 0, i = 0;
    for (; i < n && m[i].size <= PIPE_BUF && at + FRAME_HEADER + m[i].size <= PIPE_BUF; i++) {
        const struct naru_frame frame = {.kind = FRAME_WHOLE,
                                         .type = m[i].info.type,
                                         .size = (uint32_t)m[i].size,
                                         .sender = q->sender,
                                         .sequence = q->sequence + 1 + i};
        naru__frame_encode(&frame, q->batch + at);
        if (m[i].size)
            memcpy(q->batch + at + FRAME_HEADER, m[i].data, m[i].size);
        at += FRAME_HEADER + m[i].size;
    }
    *ret_bytes = at;
    return i;
}

static ssize_t queue_send_many(naru_channel *channel, const struct naru_message *m, size_t n,
                               int64_t deadline)
{
    struct fifo_queue *q = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    size_t sent = 0;
    int r = 0;
    if (!q->batch && !(q->batch = naru__alloc_raw(PIPE_BUF)))
        return -ENOMEM;
    while (sent < n && r == 0) {
        size_t bytes, some = gather(q, m + sent, n - sent, &bytes);
        if (some == 0) {
            struct iovec one = {m[sent].data, m[sent].size};
            r = queue_send(channel,
                           &(struct naru_outgoing){m[sent].info.type, 0, &one, 1, m[sent].size},
                           deadline);
            sent += r == 0;
            continue;
        }
        struct iovec batch = {q->batch, bytes};
        do
            r = write_frames(q, &wait, &batch, 1);
        while (r == -EPIPE);
        if (r < 0)
            break;
        for (size_t i = 0; i < some; i++)
            naru__count(&channel->handle.counts.bytes_sent, m[sent + i].size);
        naru__count(&channel->handle.counts.sent, some);
        q->sequence += some;
        sent += some;
    }
    naru__wait_done(&wait);
    return sent ? (ssize_t)sent : r;
}

static int queue_flush(naru_channel *channel, int64_t deadline)
{
    struct fifo_queue *q = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    while (q->out >= 0) { /* else nothing is on its way */
        int left = naru__os_unread(q->out);
        if (left == 0)
            return 0;
        if (left < 0)
            return naru__fail(left, "%s: asking for unread bytes failed: %s", name_of(q),
                              naru__errno_text(left));
        int r = naru__wait_tick(&wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: no receiver has taken the last %d bytes", name_of(q), left);
        if (r < 0)
            return r;
    }
    return 0;
}

static int queue_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    struct fifo_queue *q = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    if (n == 0)
        return 0;
    if (n > 1 || !(channel->handle.directions & NARU_OUT))
        return naru__fail(-EOPNOTSUPP,
                          "%s: a FIFO tells a sender whether there is a receiver, and nothing "
                          "more to anybody",
                          name_of(q));
    return connected(q, &wait);
}

/* ---- the handle ---- */

static int queue_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct fifo_queue *q = of_handle(h);
    unsigned n = 0;
    if (events & NARU_IN) {
        pthread_mutex_lock(&q->rx);
        if (q->turn_is_other) /* readable all the while, but not for us */
            ret_watch->again = naru__now() + TURN_NS;
        else
            ret_watch->fds[n++] = (struct pollfd){.fd = q->in, .events = POLLIN};
        if (q->turn) /* in a long record: is its sender still there? */
            ret_watch->again = naru__now() + LOOK_NS;
        pthread_mutex_unlock(&q->rx);
    }
    if (events & NARU_OUT && q->out >= 0 && !q->abandoned) {
        ret_watch->fds[n++] = (struct pollfd){.fd = q->out, .events = POLLOUT};
    } else if (events & NARU_OUT && q->watch >= 0) {
        ret_watch->fds[n++] = (struct pollfd){.fd = q->watch, .events = POLLIN};
        ret_watch->again = naru__now() + FIFO_LOOK_NS;
    }
    ret_watch->n = n;
    return 0;
}

static bool queue_ready(struct naru_handle *h, int events)
{
    struct fifo_queue *q = of_handle(h);
    pthread_mutex_lock(&q->rx);
    bool in = events & NARU_IN && naru__inbox_has(&q->inbox, q->armed ? q->armed_select : 0);
    pthread_mutex_unlock(&q->rx);
    return in || (events & NARU_OUT && (q->out < 0 || q->abandoned) && q->watch < 0);
}

static void queue_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct fifo_queue *q = of_handle(h);
    naru__capacity_stats(&q->capacity, q->out >= 0 ? q->out : q->in, stats);
}

static void queue_free(struct fifo_queue *q)
{
    naru__os_close(q->in); /* its locks go with it */
    naru__os_close(q->out);
    naru__os_close(q->watch);
    drop_look(q);
    naru__inbox_deinit(&q->inbox);
    pthread_mutex_destroy(&q->rx);
    free(q->batch);
    free(q->path);
    naru__handle_deinit(&q->channel.handle);
    free(q);
}

static void queue_close(naru_channel *channel, bool owner)
{
    struct fifo_queue *q = of_channel(channel);
    if (owner)
        delist(q);
    queue_free(q);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = queue_watch,
    .ready = queue_ready,
    .stats = queue_stats,
};

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = queue_send,
    .send_many = queue_send_many,
    .take = queue_take,
    .take_ready = queue_take_ready,
    .recv = queue_recv,
    .release = queue_release,
    .give_back = queue_give_back,
    .flush = queue_flush,
    .wait_peers = queue_wait_peers,
    .close = queue_close,
};

/* ---- opening ---- */

static int new_queue(const char *name, const char *path, int role,
                     const struct naru_queue_options *o, struct fifo_queue **ret_q)
{
    struct fifo_queue *q = naru__alloc(sizeof *q);
    if (!q)
        return -ENOMEM;
    int directions = (role & NARU_RECV ? NARU_IN : 0) | (role & NARU_SEND ? NARU_OUT : 0);
    q->in = NARU__NO_FD;
    q->out = NARU__NO_FD;
    q->watch = NARU__NO_FD;
    q->look[0] = q->look[1] = NARU__NO_FD;
    q->fresh = true;
    pthread_mutex_init(&q->rx, NULL);
    int r = naru__handle_init(&q->channel.handle, NARU__CHANNEL, &handle_ops, name, directions);
    if (r == 0)
        r = (q->path = naru__copy_text(path, strlen(path))) ? 0 : -ENOMEM;
    if (r == 0 && role & NARU_SEND) {
        r = naru__os_random(&q->sender, sizeof q->sender);
        if (r < 0)
            naru__fail(r, "%s: no random number for this sender: %s", name, naru__errno_text(r));
    }
    if (r < 0) {
        queue_free(q);
        return r;
    }
    size_t most = o->max_message ? o->max_message : NARU_MESSAGE_MAX;
    q->channel.ops = &channel_ops;
    q->channel.selects = true;
    q->channel.max_message = most;
    q->channel.max_name = o->max_message ? "this end's .max_message" : "the largest framed message";
    q->channel.max_taken = o->max_taken ? o->max_taken : 1024;
    q->one_by_one = o->flags & NARU_NO_READ_AHEAD;
    q->stash = o->stash ? o->stash : 1 << 20;
    q->capacity.asked = o->capacity;
    naru__inbox_init(&q->inbox, true, most, NULL, NULL);
    *ret_q = q;
    return 0;
}

static int open_ends(struct fifo_queue *q, int role)
{
    int r;
    if (role & NARU_RECV) {
        r = naru__fifo_open(name_of(q), q->path, O_RDWR);
        if (r < 0)
            return r;
        q->in = r;
        r = naru__os_lock(q->in, LOCK_HERE, false);
        if (r < 0)
            return naru__fail(r, "%s: locking failed: %s", name_of(q), naru__errno_text(r));
        if (q->capacity.asked)
            q->capacity = naru__capacity_ask(q->in, q->capacity.asked);
    }
    if (role & NARU_SEND) {
        r = naru__fifo_open(name_of(q), q->path, O_WRONLY); /* says at once if it is forbidden */
        if (r < 0)
            return r == -ENXIO ? 0 : r;
        q->out = r;
        if (q->capacity.asked)
            q->capacity = naru__capacity_ask(q->out, q->capacity.asked);
    }
    return 0;
}

int naru__fifo_queue_open(const struct naru_url *url, int role, const struct naru_queue_options *o,
                          naru_channel **ret_c)
{
    const struct fifo_wish wish = {o->flags, o->mode, 0, 0};
    struct fifo_queue *q = NULL;
    const char *path;
    int r = naru__fifo_path(url, &path);
    if (r == 0 && o->messages)
        r = naru__fail(-EINVAL, "%s: .messages is %u, and a FIFO counts bytes: use .capacity",
                       url->text, o->messages);
    if (r < 0)
        return r;
    int created = naru__fifo_ensure(url->text, path, &wish);
    if (created < 0)
        return created;
    r = new_queue(url->text, path, role, o, &q);
    if (r == 0)
        r = open_ends(q, role);
    if (r < 0) {
        if (q)
            queue_free(q);
        if (created)
            (void)naru__os_unlink(path);
        return r;
    }
    enlist(q);
    *ret_c = &q->channel;
    return 0;
}
