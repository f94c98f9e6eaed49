/* SPDX-License-Identifier: MIT */
/* connection.c - messages over a pair of byte streams: making, greeting, ending. receiving.c and
 * sending.c are its halves.
 *
 * Greeting: each end says HELLO with its limits: the maker of a pair for both at once, a program
 * that inherits an end for itself. The end is the kernel's end of file, when no process holds the
 * other end any more; it was in order if the last holder has finished (-EPIPE), else that holder
 * died (-ECONNRESET). A pair's holders say so in memory that they share; another program says BYE.
 */
#include "transport/common/connection-inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/process.h"
#include "transport/common/descriptors.h"
#include "transport/common/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int connection_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct connection *c = of_handle(h);
    unsigned n = 0;
    if (c->cover) {
        c->cover->ops->watch(c->cover, c->out >= 0 ? events : events & ~NARU_OUT, ret_watch);
        return 0;
    }
    if (events & NARU_IN)
        ret_watch->fds[n++] = (struct pollfd){.fd = c->in, .events = POLLIN};
    if (events & NARU_OUT && c->out >= 0 && n > 0 && c->out == c->in)
        ret_watch->fds[0].events |= POLLOUT; /* a descriptor is in a set once */
    else if (events & NARU_OUT && c->out >= 0)
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
        ready = c->rx_end < 0 || naru__inbox_has(&c->inbox, c->armed ? c->armed_select : 0) ||
                (c->cover && c->cover->ops->ready(c->cover));
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
    if (c->cover) /* whoever comes by when the two have met sends it */
        return c->cover->ops->first(c->cover, bytes, sizeof bytes);
    int r = naru__connection_owe(c, bytes, sizeof bytes);
    if (r < 0)
        return r;
    r = naru__connection_pay(c);
    if (r == 0 || r == -EAGAIN || r == -EPIPE || (r < 0 && c->medium->socket))
        return 0; /* later; or whoever writes next learns of it */
    return naru__fail(r, "%s: greeting failed: %s", name_of(c), naru__errno_text(r));
}

static int connection_adopt(struct naru_handle *h)
{
    struct connection *c = of_handle(h);
    if (!c->pair)
        return naru__fail(
            -EOPNOTSUPP,
            "%s is no end of a pair: it has one holder, whom the other end knows; let the "
            "process that is to serve it accept, connect or inherit it",
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
    if (c->cover)
        return naru__fail(-EOPNOTSUPP,
                          "%s cannot go to another program: its keys are in this one's memory",
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
    if (c->cover)
        c->cover->ops->close(c->cover);
    if (c->out != c->in)
        naru__os_close(c->out);
    naru__os_close(c->in);
    naru__inbox_deinit(&c->inbox);
    naru__descriptors_close(c->arrived.fd, c->arrived.n);
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
        naru__connection_say_bye(c);
    if (owner && c->cover)
        c->cover->ops->finish(c->cover);
    if (owner && c->medium->socket && !c->pair) /* an end of a pair may yet be adopted */
        naru__socket_last_word(c->in);
    connection_free(c);
}

static void connection_stats(struct naru_handle *h, struct naru_stats *stats)
{
    struct connection *c = of_handle(h);
    if (c->medium->grows)
        naru__capacity_stats(&c->capacity, c->out, stats);
    if (c->medium->socket)
        naru__socket_stats(c->in, false, c->capacity.asked, stats);
}

static int connection_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    struct connection *c = of_handle(h);
    if (!c->medium->socket)
        return naru__fail(-EOPNOTSUPP,
                          "%s: the kernel does not tell who has the other end of a pipe; a unix: "
                          "socket does",
                          name_of(c));
    return naru__socket_peer(h, c->in, c->cover, ret_peer);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = connection_watch,
    .ready = connection_ready,
    .adopt = connection_adopt,
    .pass = connection_pass,
    .passed = connection_passed,
    .peer = connection_peer,
    .stats = connection_stats,
};

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = naru__connection_send,
    .send_many = naru__connection_send_many,
    .take = naru__connection_take,
    .take_ready = naru__connection_take_ready,
    .recv = naru__connection_recv,
    .send_fds = naru__connection_send_fds,
    .recv_fds = naru__connection_recv_fds,
    .release = naru__connection_release,
    .give_back = naru__connection_give_back,
    .post = naru__connection_post,
    .settle = naru__connection_settle,
    .flush = naru__connection_flush,
    .shutdown = naru__connection_shutdown,
    .wait_peers = naru__connection_wait_peers,
    .close = connection_close,
};

static size_t or_default(size_t value, size_t otherwise)
{
    return value ? value : otherwise;
}

/* Takes the descriptors over on success only. */
static int new_end(const struct naru_medium *medium, const char *name, const int fds[2],
                   struct naru_cover *cover, const struct naru_channel_options *o,
                   struct connection **ret_c)
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
    naru__inbox_init(&c->inbox, false, c->max_receive, naru__connection_control, c);
    c->in = fds[0];
    c->out = fds[1];
    c->cover = cover;
    if (cover)
        cover->handle = &c->channel.handle;
    if (medium->grows)
        c->capacity = naru__capacity_ask(c->out, o->capacity);
    else
        c->capacity.asked = o->capacity;
    *ret_c = c;
    return 0;
}

int naru__connection_new(const struct naru_medium *medium, const char *name, const int fds[2],
                         struct naru_cover *cover, const struct naru_channel_options *options,
                         uint32_t hello_flags, naru_channel **ret_c)
{
    struct connection *c;
    int r = new_end(medium, name, fds, cover, options, &c);
    if (r < 0)
        return r;
    c->wait_hello = true;
    r = say_hello(c, hello_flags);
    if (r < 0) {
        c->in = c->out = NARU__NO_FD;
        c->cover = NULL;
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
        r = new_end(medium, name, fds[i], NULL, options, &end[i]);
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
            if (fds[i][1] != fds[i][0])
                naru__os_close(fds[i][1]);
            naru__os_close(fds[i][0]);
        }
    }
    return r;
}
