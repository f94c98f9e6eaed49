/* SPDX-License-Identifier: MIT */
/* sending.c - a connection's sending half: one write for a message that is written whole, longer
 * ones as frames (wire.h), many small ones gathered. What must follow later (the rest of a frame
 * whose sender gave up, a greeting that found no room) is `owed` and goes first next time. */
#include "transport/common/connection-inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/poll.h"
#include "os/socket.h"
#include "transport/common/descriptors.h"
#include "transport/common/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int naru__connection_owe(struct connection *c, const void *bytes, size_t n)
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

static ssize_t put_vector(const struct connection *c, const struct iovec *vector, int n)
{
    if (c->cover)
        return c->cover->ops->write(c->cover, vector, n);
    return c->medium->socket ? naru__os_send_vector(c->out, vector, n)
                             : naru__os_writev(c->out, vector, n);
}

static ssize_t put_bytes(const struct connection *c, const void *bytes, size_t n)
{
    const struct iovec one = {(void *)(uintptr_t)bytes, n};
    return put_vector(c, &one, 1);
}

bool naru__connection_speaks(const struct connection *c)
{
    return !c->pair || atomic_load_explicit(&c->pair->shared->holder[c->side],
                                            memory_order_acquire) == (uint32_t)getpid();
}

/* Nothing more goes out. A socket still receives; one that a child adopted is the child's. */
static void stop_sending(struct connection *c)
{
    c->finished = true;
    if (!c->medium->socket) {
        naru__replace_fd(&c->channel.handle, &c->out, NARU__NO_FD);
        return;
    }
    if (c->cover)
        c->cover->ops->finish(c->cover);
    else if (c->out >= 0 && naru__connection_speaks(c))
        (void)naru__os_shutdown(c->out, SHUT_WR);
    c->out = NARU__NO_FD;
}

int naru__connection_pay(struct connection *c)
{
    while (c->owed_start < c->owed_end) {
        ssize_t r = put_bytes(c, c->owed + c->owed_start, c->owed_end - c->owed_start);
        if (r < 0)
            return (int)r;
        c->owed_start += (size_t)r;
    }
    return c->cover ? c->cover->ops->flush(c->cover) : 0;
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
        r = naru__connection_pull(c);
    while (r > 0 && c->inbox.held <= c->stash);
    /* a dying process closes one descriptor after the other: the end of file may yet come */
    bool died =
        c->rx_end ? c->rx_end == -ECONNRESET : !naru__peer_is_foreign(c) && !naru__peer_finished(c);
    r = died ? -ECONNRESET : -EPIPE;
    uint32_t holder = c->holder;
    bool told = c->rx_end != -EPIPE && naru__cover_tells(c->cover, c->rx_end) &&
                !(c->rx_end == -ECONNRESET && c->inbox.greeted);
    int end = c->rx_end;
    pthread_mutex_unlock(&c->rx);
    tell_receiver(c);
    if (told)
        return naru__connection_say_end(c, end);
    if (r == -ECONNRESET)
        return naru__fail(r,
                          "%s: the other end (pid %" PRIu32 ") vanished without finishing: "
                          "the message was not sent",
                          name_of(c), holder);
    return naru__fail(r, "%s: the other end is closed: the message was not sent", name_of(c));
}

static int write_failed(struct connection *c, int code)
{
    if (code == -EPIPE || c->medium->socket)
        return why_closed(c);
    return naru__fail(code, "%s: writing failed: %s", name_of(c), naru__errno_text(code));
}

/* What a cover has taken and the kernel has not: rarely anything. When there is no time for it, it
 * has gone nevertheless, and follows. */
static int drain(struct connection *c, struct naru_wait *wait)
{
    int r = 0;
    while (c->cover && (r = c->cover->ops->flush(c->cover)) == -EAGAIN)
        if (naru__wait_step(wait) < 0)
            return 0;
    return r < 0 ? write_failed(c, r) : 0;
}

/* Is there a program at the other end whose limits are not known yet? */
static bool must_wait(struct connection *c)
{
    bool passed = c->pair && atomic_load_explicit(&c->pair->passed[!c->side], memory_order_acquire);
    unsigned need = passed ? MET_HEIR : c->wait_hello ? MET_ANYBODY : 0;
    /* acquire: pairs with the release in naru__connection_control() */
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
        int r = full ? -EAGAIN : naru__connection_pull(c);
        pthread_mutex_unlock(&c->rx);
        if (r != -EAGAIN)
            tell_receiver(c);
        if (r == -EAGAIN) {
            r = full ? naru__wait_tick(&wait) : naru__wait_step(&wait);
            if (r == -ETIMEDOUT || r == -EAGAIN)
                return naru__fail(r, "%s: the program at the other end has not greeted yet%s",
                                  name_of(c),
                                  c->medium->socket ? ": is it one of naru's?"
                                                    : ": it opens it with naru_channel_inherit");
        }
        /* the receiving thread may have met the greeting and the end behind it: half of it is open
         */
        if (r < 0 && must_wait(c))
            return naru__connection_say_end(c, r);
    }
}

static int ready_to_send(struct connection *c, int64_t deadline)
{
    if (c->finished)
        return naru__fail(-EPIPE, "%s: this end was shut down for sending", name_of(c));
    return must_wait(c) ? await_greeting(c, deadline) : 0;
}

static int check_size(struct connection *c, size_t size)
{
    size_t most = atomic_load_explicit(&c->peer_max, memory_order_relaxed);
    if (size <= most)
        return 0;
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
    int r = bytes ? naru__connection_owe(c, bytes, naru__wire_abort(wire, bytes)) : -ENOMEM;
    free(bytes);
    if (r < 0) /* nothing sensible can follow half a message */
        stop_sending(c);
    return code;
}

static int send_wire(struct connection *c, struct naru_wire *wire, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&c->channel.handle, NARU_OUT, deadline);
    struct iovec vector[WIRE_VECTOR];
    while (!wire->done) {
        ssize_t r = naru__connection_pay(c);
        if (r == 0) {
            int n = naru__wire_fill(wire, vector, WIRE_FRAMES);
            r = put_vector(c, vector, n);
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
    int r = drain(c, &wait);
    naru__wait_done(&wait);
    return r;
}

/* A small message in one write, the usual case. -EAGAIN: the long way must wait for room. */
static int send_small(struct connection *c, const struct naru_outgoing *out)
{
    uint8_t bytes[FRAME_HEADER + WIRE_SMALL];
    size_t n = naru__wire_small(out, c->sender, c->sequence, bytes);
    naru__count(&c->channel.handle.counts.calls[1], 1);
    ssize_t r = put_bytes(c, bytes, n);
    return r < 0 ? (int)r : 0;
}

static int send_message(struct connection *c, const struct naru_outgoing *out, int64_t deadline)
{
    struct naru_wire wire;
    bool small = out->size <= WIRE_SMALL && FRAME_HEADER + out->size <= c->medium->atomic;
    int r = small && c->owed_start == c->owed_end ? send_small(c, out) : -EAGAIN;
    if (r != -EAGAIN)
        return r < 0 ? write_failed(c, r) : 0;
    naru__wire_init(&wire, out, c->medium->atomic, FRAME_PIECE, c->sender, c->sequence);
    return send_wire(c, &wire, deadline);
}

int naru__connection_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    atomic_store_explicit(&c->used, true, memory_order_relaxed);
    int r = ready_to_send(c, deadline);
    if (r == 0)
        r = check_size(c, out->size);
    if (r < 0)
        return r;
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

/* What is left of a message is copied, and written when there is room. */
static int owe_rest(struct connection *c, struct naru_wire *wire)
{
    struct iovec vector[WIRE_VECTOR];
    while (!wire->done) {
        int n = naru__wire_fill(wire, vector, WIRE_FRAMES);
        size_t bytes = 0;
        for (int i = 0; i < n; i++) {
            if (naru__connection_owe(c, vector[i].iov_base, vector[i].iov_len) < 0) {
                stop_sending(c); /* nothing sensible can follow half a message */
                return -ENOMEM;
            }
            bytes += vector[i].iov_len;
        }
        naru__wire_advance(wire, bytes);
    }
    return 0;
}

static int post_wire(struct connection *c, struct naru_wire *wire)
{
    struct iovec vector[WIRE_VECTOR];
    while (!wire->done) {
        int n = naru__wire_fill(wire, vector, WIRE_FRAMES);
        ssize_t r = put_vector(c, vector, n);
        naru__count(&c->channel.handle.counts.calls[1], 1);
        if (r > 0)
            naru__wire_advance(wire, (size_t)r);
        else if (r != -EAGAIN)
            return write_failed(c, (int)r);
        else
            return naru__wire_begun(wire) ? owe_rest(c, wire) : -EAGAIN;
    }
    return 0;
}

int naru__connection_settle(naru_channel *channel)
{
    struct connection *c = of_channel(channel);
    int r = must_wait(c) ? ready_to_send(c, NARU__AT_ONCE) : naru__connection_pay(c);
    return r == 0 || r == -EAGAIN ? r : write_failed(c, r);
}

int naru__connection_post(naru_channel *channel, const struct naru_outgoing *out)
{
    struct connection *c = of_channel(channel);
    struct naru_wire wire;
    atomic_store_explicit(&c->used, true, memory_order_relaxed);
    int r = ready_to_send(c, NARU__AT_ONCE);
    if (r == 0)
        r = check_size(c, out->size);
    if (r < 0)
        return r;
    r = naru__connection_pay(c);
    if (r < 0)
        return r == -EAGAIN ? r : write_failed(c, r);
    c->sequence++;
    naru__wire_init(&wire, out, c->medium->atomic, FRAME_PIECE, c->sender, c->sequence);
    r = post_wire(c, &wire);
    if (r < 0)
        return r;
    naru__count(&channel->handle.counts.sent, 1);
    naru__count(&channel->handle.counts.bytes_sent, out->size);
    return 0;
}

/* Says that descriptors come with the next message, and brings them: one write, whole or not at
 * all. */
static int announce(struct connection *c, const int *fds, size_t n, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&c->channel.handle, NARU_OUT, deadline);
    union naru_ancillary ancillary;
    uint8_t bytes[FRAME_HEADER + FRAME_PARCEL_SIZE];
    struct iovec one = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    naru__frame_parcel((uint32_t)n, c->sender, bytes);
    naru__descriptors_attach(&message, &ancillary, fds, n);
    for (;;) {
        ssize_t r = naru__connection_pay(c);
        if (r == 0)
            r = naru__os_send(c->out, &message, 0);
        if (r == -EAGAIN)
            r = naru__wait_step(&wait);
        else if (r == -ETOOMANYREFS)
            return naru__parcel_too_many(name_of(c));
        else if (r < 0)
            r = write_failed(c, (int)r);
        else
            break;
        if (r < 0)
            return (int)r;
    }
    naru__wait_done(&wait);
    return 0;
}

/* The message that they were for does not come. */
static void take_back(struct connection *c)
{
    uint8_t bytes[FRAME_HEADER + FRAME_PARCEL_SIZE];
    naru__frame_parcel(0, c->sender, bytes);
    if (!c->finished && naru__connection_owe(c, bytes, sizeof bytes) < 0)
        stop_sending(c);
}

int naru__connection_send_fds(naru_channel *channel, const struct naru_outgoing *out,
                              const int *fds, size_t n, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    if (!c->medium->descriptors)
        return naru__parcel_unsupported(name_of(c));
    int r = naru__descriptors_check(name_of(c), fds, n);
    atomic_store_explicit(&c->used, true, memory_order_relaxed);
    if (r == 0)
        r = ready_to_send(c, deadline);
    if (r == 0)
        r = check_size(c, out->size);
    if (r == 0)
        r = announce(c, fds, n, deadline);
    if (r < 0)
        return r;
    r = naru__connection_send(channel, out, deadline);
    if (r < 0)
        take_back(c);
    return r;
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
 * Others, and all where no write is atomic: FIRST and END, as many as there is room for; one that
 * is cut can be given up. */
static void gather(struct connection *c, const struct naru_message *m, size_t n, size_t most,
                   struct batch *b)
{
    const size_t below = c->medium->atomic ? BATCH_SMALL : 0;
    bool small = m[0].size < below;
    size_t at = 0, room = small ? c->medium->atomic : BATCH;
    size_t cost = small ? FRAME_HEADER : 2 * FRAME_HEADER + 1;
    for (b->n = 0; b->n < n && b->n < BATCH_COUNT; b->n++) {
        const struct naru_message *one = &m[b->n];
        if (one->size > most || at + cost + one->size > room || (one->size < below) != small)
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
        ssize_t w = naru__connection_pay(c);
        if (w == 0) {
            w = put_bytes(c, b->bytes + at, b->ends[b->n - 1] - at);
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
        if (naru__connection_owe(c, b->bytes + at, b->ends[gone] - at) < 0)
            stop_sending(c);
    }
    if (r == 0)
        r = drain(c, &wait);
    naru__wait_done(&wait);
    *ret_gone = gone;
    return r;
}

ssize_t naru__connection_send_many(naru_channel *channel, const struct naru_message *m, size_t n,
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
            size_t bytes = 0;
            for (size_t i = 0; i < gone; i++)
                bytes += m[sent + i].size;
            naru__count(&channel->handle.counts.bytes_sent, bytes);
            naru__count(&channel->handle.counts.sent, gone);
            c->sequence += b->n; /* also those cut off: a number is never used twice */
        } else {
            struct iovec one = {m[sent].data, m[sent].size};
            r = naru__connection_send(
                channel, &(struct naru_outgoing){m[sent].info.type, 0, &one, 1, m[sent].size},
                deadline);
            gone = r == 0;
        }
        sent += gone;
    }
    return sent ? (ssize_t)sent : r;
}

/* Twice the room, as far as the limits allow. */
static int make_room(struct connection *c)
{
    int holds = c->medium->grows ? naru__os_pipe_capacity(c->out)
                                 : naru__os_get_number(c->out, SOL_SOCKET, SO_SNDBUF);
    if (holds < 0)
        return holds;
    if (c->medium->grows)
        return naru__os_set_pipe_capacity(c->out, (size_t)holds * 2);
    return naru__os_set_number(c->out, SOL_SOCKET, SO_SNDBUF, holds); /* the kernel doubles it */
}

/* Says BYE if it can be said at once: a full pipe may be made larger for it. */
void naru__connection_say_bye(struct connection *c)
{
    uint8_t bye[FRAME_HEADER];
    if (!naru__connection_speaks(c))
        return;
    if (c->pair) {
        atomic_store_explicit(&c->pair->shared->finished[c->side], (uint32_t)getpid(),
                              memory_order_release);
        if (!naru__peer_is_foreign(c)) {
            (void)naru__connection_pay(c);
            return;
        }
    }
    const struct naru_frame frame = {.kind = FRAME_BYE, .sender = c->sender};
    naru__frame_encode(&frame, bye);
    if (c->out < 0 || naru__connection_owe(c, bye, sizeof bye) < 0)
        return;
    for (int tries = 0; naru__connection_pay(c) == -EAGAIN && tries < 2; tries++)
        if (make_room(c) < 0)
            return;
}

int naru__connection_shutdown(naru_channel *channel)
{
    struct connection *c = of_channel(channel);
    if (c->finished)
        return 0;
    naru__connection_say_bye(c);
    stop_sending(c);
    return 0;
}

int naru__connection_flush(naru_channel *channel, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    if (c->finished)
        return naru__fail(-EPIPE, "%s: this end was shut down for sending", name_of(c));
    for (;;) {
        int r = naru__connection_pay(c);
        if (r == 0) {
            bool closed = naru__os_closed(c->out) > 0; /* a socket's reader may leave some unread */
            r = c->medium->socket ? naru__os_unsent(c->out) : naru__os_unread(c->out);
            if (r == 0 && !(closed && c->medium->socket))
                return 0;
            if (r >= 0 && closed)
                r = -EPIPE;
        }
        if (r == -EPIPE || (r < 0 && r != -EAGAIN))
            return write_failed(c, r);
        r = naru__wait_tick(&wait);
        if (r < 0)
            return r;
    }
}

int naru__connection_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    struct connection *c = of_channel(channel);
    if (n > 1)
        return naru__fail(-EOPNOTSUPP, "%s is a connection: it has one peer, not %u", name_of(c),
                          n);
    return n == 0 ? 0 : ready_to_send(c, deadline);
}
