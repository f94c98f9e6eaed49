/* SPDX-License-Identifier: MIT */
/* listener.c - a listening socket: whoever comes becomes a stream or a connection.
 *
 * A descriptor is kept in reserve. When accept4 finds none left, the reserve makes room for one
 * connection, which is closed: it is better refused than left waiting, and a foreign loop would
 * turn for ever over a queue that never empties. */
#include "transport/common/sockets.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct socket_listener {
    struct naru_listener listener;
    const struct naru_socket_kind *kind;
    int fd, reserve;
    struct naru_listen_options options;
    struct naru_socket_file file;
    struct naru_cover_maker *covers; /* NULL: none */
    bool made_file;    /* by this process: not by a parent, nor handed over */
    char refused[160]; /* whom last, and why */
};

static struct socket_listener *of_listener(struct naru_listener *l)
{
    return (struct socket_listener *)l;
}

static struct socket_listener *of_handle(struct naru_handle *h)
{
    return (struct socket_listener *)h;
}

static void count_refused(struct socket_listener *l)
{
    naru__count(&l->listener.handle.counts.dropped, 1);
    snprintf(l->refused, sizeof l->refused, "%.150s", naru__why());
}

/* Makes room for one connection, and closes it. */
static int refuse_one(struct socket_listener *l, int code)
{
    const char *name = l->listener.handle.name;
    bool had = l->reserve >= 0;
    l->reserve = naru__os_close(l->reserve);
    int fd = had ? naru__os_accept(l->fd) : NARU__NO_FD;
    naru__os_close(fd);
    l->reserve = naru__os_eventfd();
    naru__fail(code, "%s: %s: %s%s", name,
               fd >= 0 ? "a connection was refused" : "no connection could be accepted",
               naru__errno_text(code), naru__limit_of_files(code).text);
    if (fd >= 0)
        count_refused(l);
    return code;
}

/* Errors that a connection had before it was accepted: accept(2) says to look for the next. */
static bool of_the_connection(int code)
{
    return code == -ECONNABORTED || code == -EPROTO || code == -ENOPROTOOPT || code == -EHOSTDOWN ||
           code == -ENONET || code == -EHOSTUNREACH || code == -ENETDOWN || code == -ENETUNREACH;
}

/* The next connection that may come in: its descriptor. */
static int accept_fd(struct socket_listener *l, int64_t deadline)
{
    struct naru_handle *h = &l->listener.handle;
    struct naru_wait wait = naru__wait_begin(h, NARU_IN, deadline);
    wait.spin_until = 1;   /* connections are rare beside messages */
    for (int none = 0;;) { /* of those that came in vain, one after the other */
        int fd = naru__os_accept(l->fd);
        naru__count(&h->counts.calls[0], 1);
        if (fd == -EMFILE || fd == -ENFILE)
            return refuse_one(l, fd);
        if (fd >= 0 && l->kind->admit && l->kind->admit(fd, h->name, l->options.flags) < 0) {
            count_refused(l);
            naru__os_close(fd);
            fd = -ECONNABORTED;
        }
        if (fd >= 0)
            return fd;
        if (of_the_connection(fd) && ++none % 64 != 0)
            continue; /* else look at the time */
        if (fd != -EAGAIN && !of_the_connection(fd))
            return naru__fail(fd, "%s: accepting failed: %s", h->name, naru__errno_text(fd));
        int r = naru__wait_step(&wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            naru__fail(r, "%s: nobody has connected", h->name);
        if (r < 0)
            return r;
    }
}

/* ... set up, with its name and its cover, whose handshake its owner's calls do: who is slow in it
 * keeps nobody else waiting. */
static int accept_ready(struct socket_listener *l, int64_t deadline, char *name, size_t n,
                        struct naru_cover **ret_cover)
{
    const struct naru_listen_options *o = &l->options;
    int fd = accept_fd(l, deadline);
    if (fd < 0)
        return fd;
    if (l->reserve < 0)
        l->reserve = naru__os_eventfd();
    naru__socket_capacity(fd, o->capacity);
    if (l->kind->prepare)
        l->kind->prepare(
            fd, &(struct naru_socket_wish){o->capacity, o->flags, o->keepalive, o->user_timeout});
    snprintf(name, n, "%s", l->listener.handle.name);
    if (l->kind->describe)
        l->kind->describe(fd, name, n);
    *ret_cover = NULL;
    int r = l->covers ? l->covers->make(l->covers, fd, ret_cover) : 0;
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

static void drop(int fd, struct naru_cover *cover)
{
    if (cover)
        cover->ops->close(cover);
    naru__os_close(fd);
}

static int accept_stream(struct naru_listener *listener, int64_t deadline, naru_stream **ret_s)
{
    struct socket_listener *l = of_listener(listener);
    char name[512];
    struct naru_cover *cover;
    int fd = accept_ready(l, deadline, name, sizeof name, &cover);
    if (fd < 0)
        return fd;
    int r = naru__socket_stream(l->kind, name, fd, cover, NARU_IN | NARU_OUT, l->options.capacity,
                                ret_s);
    if (r < 0)
        drop(fd, cover);
    else
        naru__count(&listener->handle.counts.received, 1);
    return r;
}

static int accept_channel(struct naru_listener *listener, int64_t deadline, naru_channel **ret_c)
{
    struct socket_listener *l = of_listener(listener);
    const struct naru_channel_options o = {.size = sizeof o,
                                           .capacity = l->options.capacity,
                                           .max_message = l->options.max_message,
                                           .stash = l->options.stash,
                                           .max_taken = l->options.max_taken,
                                           .flags = l->options.flags};
    char name[512];
    struct naru_cover *cover;
    int fd = accept_ready(l, deadline, name, sizeof name, &cover);
    if (fd < 0)
        return fd;
    int r = l->kind->packets ? l->kind->packets(name, fd, &o, ret_c)
                             : naru__connection_new(l->kind->medium, name, (int[2]){fd, fd}, cover,
                                                    &o, 0, ret_c);
    if (r < 0) {
        drop(fd, cover);
        return r;
    }
    naru__set_waiting(&(*ret_c)->handle, o.flags);
    naru__count(&listener->handle.counts.received, 1);
    return 0;
}

void naru__socket_remove_file(const struct naru_socket_file *file)
{
    struct stat st;
    if (naru__os_stat_at(file->directory, file->name, &st) == 0 && st.st_ino == file->inode &&
        st.st_dev == file->device)
        (void)naru__os_unlink_at(file->directory, file->name);
}

static void close_listener(struct naru_listener *listener, bool owner)
{
    struct socket_listener *l = of_listener(listener);
    if (owner && l->made_file)
        naru__socket_remove_file(&l->file);
    naru__os_close(l->file.directory);
    naru__os_close(l->fd);
    naru__os_close(l->reserve);
    if (l->covers)
        l->covers->free(l->covers);
    naru__handle_deinit(&listener->handle);
    free(l);
}

static int listener_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    (void)events;
    ret_watch->n = 1;
    ret_watch->fds[0] = (struct pollfd){.fd = of_handle(h)->fd, .events = POLLIN};
    return 0;
}

/* A forked child accepts beside its parent, whose file stays the parent's. */
static int listener_adopt(struct naru_handle *h)
{
    of_handle(h)->made_file = false;
    return 0;
}

static int listener_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    return naru__socket_peer(h, of_handle(h)->fd, NULL, ret_peer);
}

/* capacity: connections that may wait. */
static void listener_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct socket_listener *l = of_handle(h);
    int64_t most = naru__limit_sysctl("net/core/somaxconn"), asked = l->options.backlog;
    stats->capacity_asked = (uint64_t)asked;
    if (most > 0)
        stats->capacity = (uint64_t)(asked > 0 && asked < most ? asked : most);
    if (l->covers)
        l->covers->note(l->covers, stats->note, sizeof stats->note);
    if (stats->note[0])
        return;
    if (l->refused[0])
        snprintf(stats->note, sizeof stats->note, "%s", l->refused);
    else if (most > 0 && asked > most)
        snprintf(
            stats->note, sizeof stats->note,
            "a backlog of %" PRId64 " was asked, %" PRId64
            " granted: net.core.somaxconn; raise it with `sysctl -w net.core.somaxconn=%" PRId64
            "`",
            asked, most, asked);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = listener_watch,
    .adopt = listener_adopt,
    .peer = listener_peer,
    .stats = listener_stats,
};

static const struct naru_listener_ops listener_ops = {
    .size = sizeof listener_ops,
    .accept_stream = accept_stream,
    .accept_channel = accept_channel,
    .close = close_listener,
};

int naru__socket_listener(const struct naru_socket_kind *kind, enum naru_handle_noun noun,
                          const char *name, int fd, const struct naru_listen_options *options,
                          const struct naru_socket_file *file, struct naru_cover_maker *covers,
                          struct naru_listener **ret_l)
{
    struct socket_listener *l = naru__alloc(sizeof *l);
    if (!l)
        return -ENOMEM;
    int r = naru__handle_init(&l->listener.handle, noun, &handle_ops, name, NARU_IN);
    if (r < 0) {
        free(l);
        return r;
    }
    l->listener.ops = &listener_ops;
    l->kind = kind;
    l->fd = fd;
    l->reserve = naru__os_eventfd();
    l->covers = covers;
    l->options = *options;
    l->options.tls = NULL; /* the caller's */
    l->file.directory = NARU__NO_FD;
    l->made_file = file != NULL;
    if (file)
        l->file = *file;
    *ret_l = &l->listener;
    return 0;
}
