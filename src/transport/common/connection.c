/* SPDX-License-Identifier: MIT */
/* connection.c - messages over a pair of byte streams.
 *
 * Receiving: bytes go into the inbox (inbox.h), many frames a system call; recv, take and select
 * pick from it. Sending: one writev for a message that is written whole; longer ones as frames
 * (wire.h). What must follow later (the rest of a frame whose sender gave up, a greeting that found
 * no room) is `owed` and goes first next time.
 *
 * Greeting: each end says HELLO with its limits: the maker of a pair for both at once, a program
 * that inherits an end for itself. The end is the kernel's end of file, when no process holds the
 * other end any more; it was in order if the last holder has finished (-EPIPE), else that holder
 * died
 * (-ECONNRESET). A pair's holders say so in memory that they share; another program says BYE.
 *
 * Threads: the receiving thread owns the inbox under `rx`, because a sender may have to look there
 * for a greeting, or for why its write failed. Nobody sleeps holding it. */
#include "transport/common/connection.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/poll.h"
#include "os/process.h"
#include "transport/common/bytes.h"
#include "transport/common/inbox.h"
#include "transport/common/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who holds each end of a pair, and who has finished with it, in memory that a fork shares. Said
 * here and not in the stream, for two processes that have the same end, the maker and the child
 * that adopted it, may not both write: a word of one would fall into a message of the other. */
struct holders {
    _Atomic uint32_t holder[2], finished[2]; /* pids */
};

struct naru_pair { /* of this process */
    _Atomic int refs;
    _Atomic bool passed[2]; /* this end went to another program, which will greet for itself */
    struct holders *shared;
};

/* Messages copied behind one another for one write. */
struct batch {
    uint8_t *bytes;
    size_t *ends; /* where each message's frames end */
    size_t n;
};

enum { MET_ANYBODY = 1u, MET_HEIR = 2u };

struct connection {
    struct naru_channel channel;
    const struct naru_medium *medium;
    _Atomic int in, out; /* written by their own direction's thread, read by naru_fd and stats */
    size_t max_receive, stash;
    struct naru_capacity capacity;
    struct naru_pair *pair;
    int side;

    pthread_mutex_t rx; /* guards the receiving half */
    struct naru_inbox inbox;
    int rx_end;           /* 0, or what receiving answers once the inbox is empty */
    char rx_why[200];     /* its sentence */
    uint32_t holder, bye; /* pids of the last HELLO and BYE */
    int64_t armed_select; /* what naru_fd is to tell of: the last select that found nothing */
    bool armed;

    _Atomic unsigned met;    /* MET_ bits: which HELLOs have come */
    _Atomic size_t peer_max; /* the largest message that the other end takes */
    bool wait_hello;         /* this end was inherited: nothing is sent before a HELLO */

    uint64_t sequence; /* sending half */
    uint32_t sender;
    uint8_t *owed;
    size_t owed_start, owed_end, owed_size;
    struct batch batch; /* one allocation, at ends */
    bool finished;      /* shut down */
    _Atomic bool used; /* relaxed: both threads only ever set it; pass reads it when neither runs */
};

static struct connection *of_channel(naru_channel *channel)
{
    return (struct connection *)channel;
}

static struct connection *of_handle(struct naru_handle *h)
{
    return (struct connection *)h;
}

static const char *name_of(const struct connection *c)
{
    return c->channel.handle.name;
}

/* ---- receiving ---- */

/* HELLO and BYE, seen by the inbox. Under rx. */
static int control(void *context, const struct naru_frame *frame, const uint8_t *payload)
{
    struct connection *c = context;
    struct naru_hello hello;
    if (frame->kind == FRAME_BYE) {
        if (frame->sender == c->holder) /* not of one that gave the end away and closes late */
            c->bye = frame->sender;
        return 0;
    }
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
static bool peer_is_foreign(const struct connection *c)
{
    return !c->pair || atomic_load_explicit(&c->pair->passed[!c->side], memory_order_acquire);
}

/* The last holder of the other end: has it finished? */
static bool peer_finished(struct connection *c)
{
    if (peer_is_foreign(c))
        return c->inbox.greeted && c->bye == c->holder;
    /* acquire: pairs with the release in say_bye and connection_adopt; the end of file, which came
     * through the kernel after them, orders them anyway */
    struct holders *h = c->pair->shared;
    c->holder = atomic_load_explicit(&h->holder[!c->side], memory_order_acquire);
    return atomic_load_explicit(&h->finished[!c->side], memory_order_acquire) == c->holder;
}

static int end_of_file(struct connection *c)
{
    bool in_order = peer_finished(c) && !naru__inbox_midway(&c->inbox);
    c->rx_end = in_order ? -EPIPE : -ECONNRESET;
    if (in_order)
        snprintf(c->rx_why, sizeof c->rx_why,
                 "the other end has finished and all it sent was read");
    else
        snprintf(c->rx_why, sizeof c->rx_why,
                 "the other end (pid %" PRIu32 ") vanished without "
                 "finishing%s",
                 c->holder,
                 naru__inbox_midway(&c->inbox) ? "; the message it was sending is dropped" : "");
    if (c->inbox.join.active) {
        naru__inbox_direct_leave(&c->inbox);
        naru__inbox_drop(&c->inbox);
    }
    return c->rx_end;
}

static int broken(struct connection *c, int code)
{
    if (code == -EPROTO && c->rx_end == 0) {
        c->rx_end = code;
        snprintf(c->rx_why, sizeof c->rx_why, "%s", naru__why());
        naru__nudge(&c->channel.handle, 1);
    }
    return code;
}

/* Takes in what the kernel has, once. > 0: something came; -EAGAIN; else the end. Under rx. */
static int pull(struct connection *c)
{
    struct iovec room[2];
    if (c->rx_end < 0)
        return c->rx_end;
    int n = naru__inbox_room(&c->inbox, room, 0);
    if (n <= 0) /* 0: what is here must be taken first */
        return n < 0 ? broken(c, n) : -EAGAIN;
    ssize_t r = n == 1 ? naru__os_read(c->in, room[0].iov_base, room[0].iov_len)
                       : naru__os_readv(c->in, room, n);
    if (r == -EAGAIN)
        return -EAGAIN;
    naru__count(&c->channel.handle.counts.calls[0], 1);
    if (r < 0)
        return naru__fail((int)r, "%s: reading failed: %s", name_of(c), naru__errno_text((int)r));
    if (r == 0)
        return end_of_file(c);
    uint64_t dropped = c->inbox.dropped;
    int f = naru__inbox_fed(&c->inbox, (size_t)r);
    naru__count(&c->channel.handle.counts.dropped, c->inbox.dropped - dropped);
    if (f < 0)
        (void)broken(c, f);
    /* what came before the fault is received first; EPROTO is then the answer for ever */
    return f < 0 && f != -EPROTO && c->inbox.count == 0 ? f : 1;
}

static int say_end(struct connection *c, int code)
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
        int r = pull(c);
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
    return r < 0 ? say_end(c, r) : 0;
}

static void release_item(struct connection *c, struct naru_item *item)
{
    pthread_mutex_lock(&c->rx);
    naru__item_release(&c->inbox, item);
    pthread_mutex_unlock(&c->rx);
}

static void count_received(struct connection *c, size_t size)
{
    naru__count(&c->channel.handle.counts.received, 1);
    naru__count(&c->channel.handle.counts.bytes_received, size);
}

static ssize_t connection_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
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
    if (item.block)
        release_item(c, &item);
    count_received(c, item.size);
    return (ssize_t)item.size;
}

static int connection_take(naru_channel *channel, int64_t select, int64_t deadline,
                           struct naru_message *ret_message)
{
    struct connection *c = of_channel(channel);
    struct naru_item item;
    int r = receive(c, select, NULL, 0, deadline, &item);
    if (r < 0)
        return r;
    naru__item_to_message(&item, channel, ret_message);
    count_received(c, item.size);
    return 0;
}

static bool connection_at_hand(naru_channel *channel, int64_t select)
{
    struct connection *c = of_channel(channel);
    pthread_mutex_lock(&c->rx);
    bool has = naru__inbox_has(&c->inbox, select);
    pthread_mutex_unlock(&c->rx);
    return has;
}

static void connection_release(naru_channel *channel, struct naru_message *message)
{
    struct naru_item item = naru__item_of_message(message);
    release_item(of_channel(channel), &item);
}

static void connection_give_back(naru_channel *channel, struct naru_message *message)
{
    struct connection *c = of_channel(channel);
    struct naru_item item = naru__item_of_message(message);
    pthread_mutex_lock(&c->rx);
    if (naru__inbox_return(&c->inbox, &item, true) < 0)
        naru__item_release(&c->inbox, &item);
    pthread_mutex_unlock(&c->rx);
}

/* ---- sending ---- */

static int owe(struct connection *c, const void *bytes, size_t n)
{
    if (c->owed_start == c->owed_end)
        c->owed_start = c->owed_end = 0;
    if (c->owed_end + n > c->owed_size) {
        size_t size = c->owed_end + n;
        uint8_t *grown = naru__alloc_raw(size);
        if (!grown)
            return -ENOMEM;
        if (c->owed_end)
            memcpy(grown, c->owed, c->owed_end);
        free(c->owed);
        c->owed = grown;
        c->owed_size = size;
    }
    memcpy(c->owed + c->owed_end, bytes, n);
    c->owed_end += n;
    return 0;
}

static int pay_owed(struct connection *c)
{
    while (c->owed_start < c->owed_end) {
        ssize_t r = naru__os_write(c->out, c->owed + c->owed_start, c->owed_end - c->owed_start);
        if (r < 0)
            return (int)r;
        c->owed_start += (size_t)r;
    }
    return 0;
}

/* This thread has taken in what the receiving one, or its loop, may be asleep for. */
static void tell_receiver(struct connection *c)
{
    naru__nudge(&c->channel.handle, 0);
    naru__leave(&c->channel.handle);
}

/* A write said EPIPE. Why? What the other end sent last may tell. */
static int why_closed(struct connection *c)
{
    int r;
    pthread_mutex_lock(&c->rx);
    do
        r = pull(c);
    while (r > 0 && c->inbox.held <= c->stash);
    /* a dying process closes one descriptor after the other: the end of file may yet come */
    bool died = c->rx_end ? c->rx_end == -ECONNRESET : !peer_is_foreign(c) && !peer_finished(c);
    r = died ? -ECONNRESET : -EPIPE;
    uint32_t holder = c->holder;
    pthread_mutex_unlock(&c->rx);
    tell_receiver(c);
    if (r == -ECONNRESET)
        return naru__fail(r,
                          "%s: the other end (pid %" PRIu32 ") vanished without finishing: "
                          "the message was not sent",
                          name_of(c), holder);
    return naru__fail(r, "%s: the other end is closed: the message was not sent", name_of(c));
}

static int write_failed(struct connection *c, int code)
{
    if (code == -EPIPE)
        return why_closed(c);
    return naru__fail(code, "%s: writing failed: %s", name_of(c), naru__errno_text(code));
}

/* Is there a program at the other end whose limits are not known yet? */
static bool must_wait(struct connection *c)
{
    bool passed = c->pair && atomic_load_explicit(&c->pair->passed[!c->side], memory_order_acquire);
    unsigned need = passed ? MET_HEIR : c->wait_hello ? MET_ANYBODY : 0;
    /* acquire: pairs with the release in control() */
    return need & ~atomic_load_explicit(&c->met, memory_order_acquire);
}

/* Nothing is sent to such a program. */
static int await_greeting(struct connection *c, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&c->channel.handle, NARU_IN, deadline);
    wait.spin_until = 1; /* the receiving thread may be spinning on the same handle */
    wait.thread = 1;
    for (;;) {
        if (!must_wait(c))
            return 0;
        pthread_mutex_lock(&c->rx);
        bool full = c->inbox.held > c->stash; /* the receiver must take some out first */
        int r = full ? -EAGAIN : pull(c);
        pthread_mutex_unlock(&c->rx);
        if (r != -EAGAIN)
            tell_receiver(c);
        if (r == -EAGAIN) {
            r = full ? naru__wait_tick(&wait) : naru__wait_step(&wait);
            if (r == -ETIMEDOUT || r == -EAGAIN)
                return naru__fail(
                    r,
                    "%s: the program that was given the other end has not greeted yet: "
                    "it opens it with naru_channel_inherit",
                    name_of(c));
        }
        if (r < 0)
            return say_end(c, r);
    }
}

static int ready_to_send(struct connection *c, int64_t deadline)
{
    if (c->finished)
        return naru__fail(-EPIPE, "%s: this end was shut down for sending", name_of(c));
    return must_wait(c) ? await_greeting(c, deadline) : 0;
}

static int too_large(const struct connection *c, size_t size, size_t most)
{
    return naru__fail(-EMSGSIZE,
                      "%s: the message has %s and the other end takes at most %s (its "
                      ".max_message)",
                      name_of(c), naru__size_text(size).text, naru__size_text(most).text);
}

/* Leaves in the middle of a message: the receiver will be told to forget it. */
static int give_up(struct connection *c, struct naru_wire *wire, int code)
{
    naru__count(&c->channel.handle.counts.dropped, 1);
    uint8_t *bytes = naru__alloc_raw(WIRE_ABORT_MAX);
    int r = bytes ? owe(c, bytes, naru__wire_abort(wire, bytes)) : -ENOMEM;
    free(bytes);
    if (r < 0) { /* nothing sensible can follow half a message */
        c->finished = true;
        naru__replace_fd(&c->channel.handle, &c->out, NARU__NO_FD);
    }
    return code;
}

static int send_wire(struct connection *c, struct naru_wire *wire, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&c->channel.handle, NARU_OUT, deadline);
    struct iovec vector[WIRE_VECTOR];
    while (!wire->done) {
        ssize_t r = pay_owed(c);
        if (r == 0) {
            int n = naru__wire_fill(wire, vector, WIRE_FRAMES);
            r = naru__os_writev(c->out, vector, n);
            naru__count(&c->channel.handle.counts.calls[1], 1);
        }
        if (r > 0) {
            naru__wire_advance(wire, (size_t)r);
            continue;
        }
        if (r == -EAGAIN)
            r = naru__wait_step(&wait);
        else
            r = write_failed(c, (int)r);
        if (r < 0)
            return naru__wire_begun(wire) ? give_up(c, wire, (int)r) : (int)r;
    }
    naru__wait_done(&wait);
    return 0;
}

enum { SMALL = 1024 }; /* up to here one copy is cheaper than a vector */

/* A small message in one write, the usual case. -EAGAIN: the long way must wait for room. */
static int send_small(struct connection *c, const struct naru_outgoing *out)
{
    uint8_t bytes[FRAME_HEADER + SMALL];
    size_t at = FRAME_HEADER;
    naru__frame_encode(&(struct naru_frame){.kind = FRAME_WHOLE,
                                            .type = out->type,
                                            .size = (uint32_t)out->size,
                                            .signature = out->signature,
                                            .sender = c->sender,
                                            .sequence = c->sequence},
                       bytes);
    for (size_t i = 0; i < out->n; i++) {
        if (out->vector[i].iov_len)
            memcpy(bytes + at, out->vector[i].iov_base, out->vector[i].iov_len);
        at += out->vector[i].iov_len;
    }
    naru__count(&c->channel.handle.counts.calls[1], 1);
    ssize_t r = naru__os_write(c->out, bytes, at);
    return r < 0 ? (int)r : 0;
}

static int send_message(struct connection *c, const struct naru_outgoing *out, int64_t deadline)
{
    struct naru_wire wire;
    bool small = out->size <= SMALL && FRAME_HEADER + out->size <= c->medium->atomic;
    int r = small && c->owed_start == c->owed_end ? send_small(c, out) : -EAGAIN;
    if (r != -EAGAIN)
        return r < 0 ? write_failed(c, r) : 0;
    naru__wire_init(&wire, out, c->medium->atomic, FRAME_PIECE, c->sender, c->sequence);
    return send_wire(c, &wire, deadline);
}

static int connection_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    atomic_store_explicit(&c->used, true, memory_order_relaxed);
    int r = ready_to_send(c, deadline);
    if (r < 0)
        return r;
    size_t most = atomic_load_explicit(&c->peer_max, memory_order_relaxed);
    if (out->size > most)
        return too_large(c, out->size, most);
    c->sequence++;
    r = send_message(c, out, deadline);
    if (r < 0) {
        if (r == -EAGAIN && c->medium->grows) {
            int holds = naru__os_pipe_capacity(c->out);
            if (holds > 0 && out->size + FRAME_HEADER > (size_t)holds)
                return naru__fail(
                    -EMSGSIZE,
                    "%s: the message has %s and the pipe holds %s: with "
                    "NARU_NOWAIT it can never go; give a timeout, or open with a larger "
                    ".capacity",
                    name_of(c), naru__size_text(out->size).text,
                    naru__size_text((uint64_t)holds).text);
        }
        return r;
    }
    naru__count(&channel->handle.counts.sent, 1);
    naru__count(&channel->handle.counts.bytes_sent, out->size);
    return 0;
}

enum {
    BATCH = 65536,     /* bytes gathered for one write */
    BATCH_SMALL = 256, /* from this size on messages are gathered with an END each */
    BATCH_COUNT = 2048
};

static size_t put_frame(struct batch *b, size_t at, const struct naru_frame *frame,
                        const void *data)
{
    naru__frame_encode(frame, b->bytes + at);
    if (frame->size)
        memcpy(b->bytes + at + FRAME_HEADER, data, frame->size);
    return at + FRAME_HEADER + frame->size;
}

/* Small messages: WHOLE frames, as many as one atomic write takes, so that no message is ever cut.
 * Others: FIRST and END, as many as there is room for; one that is cut can be given up. */
static void gather(struct connection *c, const struct naru_message *m, size_t n, size_t most,
                   struct batch *b)
{
    bool small = m[0].size < BATCH_SMALL;
    size_t at = 0, room = small ? c->medium->atomic : BATCH;
    size_t cost = small ? FRAME_HEADER : 2 * FRAME_HEADER + 1;
    for (b->n = 0; b->n < n && b->n < BATCH_COUNT; b->n++) {
        const struct naru_message *one = &m[b->n];
        if (one->size > most || at + cost + one->size > room || (one->size < BATCH_SMALL) != small)
            break;
        struct naru_frame frame = {.kind = small ? FRAME_WHOLE : FRAME_FIRST,
                                   .type = one->info.type,
                                   .size = (uint32_t)one->size,
                                   .sender = c->sender,
                                   .sequence = c->sequence + 1 + b->n};
        at = put_frame(b, at, &frame, one->data);
        if (!small) {
            frame.kind = FRAME_END;
            frame.size = 1;
            at = put_frame(b, at, &frame, "");
        }
        b->ends[b->n] = at;
    }
}

/* Writes a batch. ret_gone: how many messages went whole. */
static int write_batch(struct connection *c, struct batch *b, int64_t deadline, size_t *ret_gone)
{
    struct naru_wait wait = naru__wait_begin(&c->channel.handle, NARU_OUT, deadline);
    size_t at = 0, gone = 0;
    int r = 0;
    while (gone < b->n && r == 0) {
        ssize_t w = pay_owed(c);
        if (w == 0) {
            w = naru__os_write(c->out, b->bytes + at, b->ends[b->n - 1] - at);
            naru__count(&c->channel.handle.counts.calls[1], 1);
        }
        if (w > 0)
            at += (size_t)w;
        else
            r = w == -EAGAIN ? naru__wait_step(&wait) : write_failed(c, (int)w);
        while (gone < b->n && b->ends[gone] <= at)
            gone++;
    }
    if (gone < b->n && at > (gone ? b->ends[gone - 1] : 0)) { /* cut: its END says no */
        b->bytes[b->ends[gone] - 1] = 1;
        naru__count(&c->channel.handle.counts.dropped, 1);
        if (owe(c, b->bytes + at, b->ends[gone] - at) < 0) {
            c->finished = true;
            naru__replace_fd(&c->channel.handle, &c->out, NARU__NO_FD);
        }
    }
    naru__wait_done(&wait);
    *ret_gone = gone;
    return r;
}

static ssize_t connection_send_many(naru_channel *channel, const struct naru_message *m, size_t n,
                                    int64_t deadline)
{
    struct connection *c = of_channel(channel);
    struct batch *b = &c->batch;
    size_t sent = 0;
    atomic_store_explicit(&c->used, true, memory_order_relaxed);
    int r = ready_to_send(c, deadline);
    if (r == 0 && n > 1 && !b->bytes) {
        b->ends = naru__alloc_raw(BATCH_COUNT * sizeof *b->ends + BATCH);
        if (!b->ends)
            return -ENOMEM;
        b->bytes = (uint8_t *)(b->ends + BATCH_COUNT);
    }
    size_t most = atomic_load_explicit(&c->peer_max, memory_order_relaxed);
    while (sent < n && r == 0) {
        size_t gone = 0;
        b->n = 0;
        if (n - sent > 1)
            gather(c, m + sent, n - sent, most, b);
        if (b->n > 1) {
            r = write_batch(c, b, deadline, &gone);
            for (size_t i = 0; i < gone; i++)
                naru__count(&channel->handle.counts.bytes_sent, m[sent + i].size);
            naru__count(&channel->handle.counts.sent, gone);
            c->sequence += b->n; /* also those cut off: a number is never used twice */
        } else {
            struct iovec one = {m[sent].data, m[sent].size};
            r = connection_send(
                channel, &(struct naru_outgoing){m[sent].info.type, 0, &one, 1, m[sent].size},
                deadline);
            gone = r == 0;
        }
        sent += gone;
    }
    return sent ? (ssize_t)sent : r;
}

/* Says BYE if it can be said at once: a full pipe may be made larger for it. */
static void say_bye(struct connection *c)
{
    uint8_t bye[FRAME_HEADER];
    if (c->pair) {
        struct holders *h = c->pair->shared;
        uint32_t holder = atomic_load_explicit(&h->holder[c->side], memory_order_acquire);
        if (holder != (uint32_t)getpid())
            return; /* a child adopted this end: it speaks for it */
        atomic_store_explicit(&h->finished[c->side], holder, memory_order_release);
        if (!peer_is_foreign(c)) {
            (void)pay_owed(c);
            return;
        }
    }
    const struct naru_frame frame = {.kind = FRAME_BYE, .sender = c->sender};
    naru__frame_encode(&frame, bye);
    if (c->out < 0 || owe(c, bye, sizeof bye) < 0)
        return;
    for (int tries = 0; pay_owed(c) == -EAGAIN && c->medium->grows && tries < 2; tries++) {
        int holds = naru__os_pipe_capacity(c->out);
        if (holds < 0 || naru__os_set_pipe_capacity(c->out, (size_t)holds * 2) < 0)
            return;
    }
}

static int connection_shutdown(naru_channel *channel)
{
    struct connection *c = of_channel(channel);
    if (c->finished)
        return 0;
    say_bye(c);
    c->finished = true;
    naru__replace_fd(&c->channel.handle, &c->out, NARU__NO_FD);
    return 0;
}

static int connection_flush(naru_channel *channel, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    if (c->finished)
        return naru__fail(-EPIPE, "%s: this end was shut down for sending", name_of(c));
    for (;;) {
        int r = pay_owed(c);
        if (r == 0) {
            r = naru__os_unread(c->out);
            if (r == 0)
                return 0;
            if (r > 0 && naru__os_closed(c->out) > 0)
                r = -EPIPE;
        }
        if (r == -EPIPE || (r < 0 && r != -EAGAIN))
            return write_failed(c, r);
        r = naru__wait_tick(&wait);
        if (r < 0)
            return r;
    }
}

static int connection_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    if (n > 1)
        return naru__fail(-EOPNOTSUPP, "%s is a connection: it has one peer, not %u", name_of(c),
                          n);
    return n == 0 ? 0 : ready_to_send(c, deadline);
}

/* ---- the handle ---- */

static int connection_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct connection *c = of_handle(h);
    unsigned n = 0;
    if (events & NARU_IN)
        ret_watch->fds[n++] = (struct pollfd){.fd = c->in, .events = POLLIN};
    if (events & NARU_OUT && c->out >= 0)
        ret_watch->fds[n++] = (struct pollfd){.fd = c->out, .events = POLLOUT};
    ret_watch->n = n;
    return 0;
}

static bool connection_ready(struct naru_handle *h, int events)
{
    struct connection *c = of_handle(h);
    bool ready = false;
    if (events & NARU_IN) {
        pthread_mutex_lock(&c->rx);
        ready = c->rx_end < 0 || naru__inbox_has(&c->inbox, c->armed ? c->armed_select : 0);
        pthread_mutex_unlock(&c->rx);
    }
    return ready || (events & NARU_OUT && c->finished);
}

static int say_hello(struct connection *c, uint32_t flags)
{
    uint8_t bytes[FRAME_HEADER + FRAME_HELLO_SIZE];
    c->sender = (uint32_t)getpid();
    const struct naru_hello hello = {.version = FRAME_VERSION,
                                     .header = FRAME_HEADER,
                                     .pid = c->sender,
                                     .flags = flags,
                                     .max_message = c->max_receive};
    naru__hello_encode(&hello, bytes);
    int r = owe(c, bytes, sizeof bytes);
    if (r < 0)
        return r;
    r = pay_owed(c);
    if (r == 0 || r == -EAGAIN || r == -EPIPE)
        return 0; /* later; or whoever writes next learns of it */
    return naru__fail(r, "%s: greeting failed: %s", name_of(c), naru__errno_text(r));
}

static int connection_adopt(struct naru_handle *h)
{
    struct connection *c = of_handle(h);
    if (!c->pair)
        return naru__fail(-EOPNOTSUPP,
                          "%s is this end's only holder's: it was inherited, not made as a pair",
                          name_of(c));
    struct holders *holders = c->pair->shared;
    pthread_mutex_init(&c->rx, NULL); /* whoever held it at the fork is not here */
    c->sender = (uint32_t)getpid();
    atomic_store_explicit(&holders->finished[c->side], 0, memory_order_release);
    atomic_store_explicit(&holders->holder[c->side], c->sender, memory_order_release);
    return 0;
}

static int connection_pass(struct naru_handle *h, struct naru_passage *ret_passage)
{
    struct connection *c = of_handle(h);
    if (c->used)
        return naru__fail(-EBUSY,
                          "%s: this end has been used already and cannot go to another program",
                          name_of(c));
    *ret_passage = (struct naru_passage){"channel", c->medium->scheme, {c->in, c->out}};
    return 0;
}

static void unref_pair(struct naru_pair *pair)
{
    if (!pair || atomic_fetch_sub_explicit(&pair->refs, 1, memory_order_acq_rel) > 1)
        return;
    naru__os_unshare(pair->shared, sizeof *pair->shared);
    free(pair);
}

static struct naru_pair *new_pair(void)
{
    struct naru_pair *pair = naru__alloc(sizeof *pair);
    if (!pair)
        return NULL;
    pair->refs = 1; /* the maker's, until both ends have theirs */
    pair->shared = naru__os_share(sizeof *pair->shared);
    if (!pair->shared) {
        naru__fail(-ENOMEM, "no memory to share with forked children");
        free(pair);
        return NULL;
    }
    return pair;
}

/* Frees memory and descriptors, tells nobody. */
static void connection_free(struct connection *c)
{
    naru__os_close(c->in);
    naru__os_close(c->out);
    naru__inbox_deinit(&c->inbox);
    pthread_mutex_destroy(&c->rx);
    unref_pair(c->pair);
    free(c->owed);
    free(c->batch.ends);
    naru__handle_deinit(&c->channel.handle);
    free(c);
}

static void connection_passed(struct naru_handle *h)
{
    struct connection *c = of_handle(h);
    if (c->pair) /* release: pairs with the acquire in ready_to_send */
        atomic_store_explicit(&c->pair->passed[c->side], true, memory_order_release);
    connection_free(c);
}

static void connection_close(naru_channel *channel, bool owner)
{
    struct connection *c = of_channel(channel);
    if (owner && !c->finished)
        say_bye(c);
    connection_free(c);
}

static void connection_stats(struct naru_handle *h, struct naru_stats *stats)
{
    struct connection *c = of_handle(h);
    if (c->medium->grows)
        naru__capacity_stats(&c->capacity, c->out, stats);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = connection_watch,
    .ready = connection_ready,
    .adopt = connection_adopt,
    .pass = connection_pass,
    .passed = connection_passed,
    .stats = connection_stats,
};

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = connection_send,
    .send_many = connection_send_many,
    .take = connection_take,
    .at_hand = connection_at_hand,
    .recv = connection_recv,
    .release = connection_release,
    .give_back = connection_give_back,
    .flush = connection_flush,
    .shutdown = connection_shutdown,
    .wait_peers = connection_wait_peers,
    .close = connection_close,
};

static size_t or_default(size_t value, size_t otherwise)
{
    return value ? value : otherwise;
}

/* Takes the descriptors over on success only. */
static int new_end(const struct naru_medium *medium, const char *name, const int fds[2],
                   const struct naru_channel_options *o, struct connection **ret_c)
{
    struct connection *c = naru__alloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    c->in = c->out = NARU__NO_FD;
    int r =
        naru__handle_init(&c->channel.handle, NARU__CHANNEL, &handle_ops, name, NARU_IN | NARU_OUT);
    if (r < 0) {
        free(c);
        return r;
    }
    c->channel.ops = &channel_ops;
    c->channel.selects = true;
    c->channel.max_message = NARU_MESSAGE_MAX;
    c->channel.max_name = "the largest framed message";
    c->channel.max_taken = o->max_taken ? o->max_taken : 1024;
    c->medium = medium;
    c->max_receive = or_default(o->max_message, NARU_MESSAGE_MAX);
    c->stash = or_default(o->stash, 1 << 20);
    c->peer_max = c->max_receive; /* of a pair: both ends were given the same options */
    pthread_mutex_init(&c->rx, NULL);
    naru__inbox_init(&c->inbox, false, c->max_receive, control, c);
    c->in = fds[0];
    c->out = fds[1];
    if (medium->grows)
        c->capacity = naru__capacity_ask(c->out, o->capacity);
    *ret_c = c;
    return 0;
}

int naru__connection_new(const struct naru_medium *medium, const char *name, const int fds[2],
                         const struct naru_channel_options *options, uint32_t hello_flags,
                         naru_channel **ret_c)
{
    struct connection *c;
    int r = new_end(medium, name, fds, options, &c);
    if (r < 0)
        return r;
    c->wait_hello = true;
    r = say_hello(c, hello_flags);
    if (r < 0) {
        c->in = c->out = NARU__NO_FD;
        connection_free(c);
        return r;
    }
    *ret_c = &c->channel;
    return 0;
}

int naru__connection_pair(const struct naru_medium *medium, const char *name, const int fds_a[2],
                          const int fds_b[2], const struct naru_channel_options *options,
                          naru_channel **ret_a, naru_channel **ret_b)
{
    const int *fds[2] = {fds_a, fds_b};
    struct connection *end[2] = {NULL, NULL};
    struct naru_pair *pair = new_pair();
    int r = pair ? 0 : -ENOMEM;
    for (int i = 0; i < 2 && r == 0; i++)
        r = new_end(medium, name, fds[i], options, &end[i]);
    for (int i = 0; i < 2 && r == 0; i++) {
        atomic_fetch_add_explicit(&pair->refs, 1, memory_order_relaxed);
        end[i]->pair = pair;
        end[i]->side = i;
        atomic_store_explicit(&pair->shared->holder[i], (uint32_t)getpid(), memory_order_release);
        r = say_hello(end[i], 0);
    }
    unref_pair(pair);
    if (r == 0) {
        *ret_a = &end[0]->channel;
        *ret_b = &end[1]->channel;
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        if (end[i]) {
            connection_free(end[i]);
        } else {
            naru__os_close(fds[i][0]);
            naru__os_close(fds[i][1]);
        }
    }
    return r;
}
