/* SPDX-License-Identifier: MIT */
/* socket-stream.c - bytes, and descriptors, through a connected socket. */
#include "transport/common/descriptors.h"
#include "transport/common/sockets.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/poll.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct socket_stream {
    struct naru_stream stream;
    const struct naru_socket_kind *kind;
    struct naru_cover *cover; /* NULL: bytes go as they are */
    int fd;
    _Atomic bool shut[2]; /* reading, writing; each set by its thread, read by the other's */
    size_t asked;
};

static struct socket_stream *of_stream(naru_stream *s)
{
    return (struct socket_stream *)s;
}

static struct socket_stream *of_handle(struct naru_handle *h)
{
    return (struct socket_stream *)h;
}

/* A socket's errors are ends: the connection is no more, whatever it was. */
static int failed(struct naru_handle *h, int code)
{
    if (naru__cover_tells(of_handle(h)->cover, code)) {
        (void)of_handle(h)->cover->ops->meet(of_handle(h)->cover); /* which says it, once more */
        return naru__cover_failed(h, code);
    }
    switch (code) {
    case -EPIPE:
        return naru__fail(code, "%s: the other end reads no more", h->name);
    case -ECONNRESET:
        return naru__fail(code, "%s: the other end vanished, or left without reading all", h->name);
    case -ETIMEDOUT:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -ENETDOWN:
    case -ENETRESET:
        return naru__fail(-ECONNRESET, "%s: the other end vanished: %s", h->name,
                          naru__errno_text(code));
    default:
        return naru__fail(code, "%s: the socket failed: %s%s", h->name, naru__errno_text(code),
                          naru__limit_of_files(code).text);
    }
}

static ssize_t receive_once(struct socket_stream *s, struct msghdr *message, int flags)
{
    if (s->cover)
        return s->cover->ops->read(s->cover, message->msg_iov, 1);
    if (message->msg_control)
        return naru__os_receive(s->fd, message, flags);
    return naru__os_receive_bytes(s->fd, message->msg_iov->iov_base, message->msg_iov->iov_len,
                                  flags);
}

static ssize_t send_once(struct socket_stream *s, const struct msghdr *message)
{
    if (s->cover)
        return s->cover->ops->write(s->cover, message->msg_iov, 1);
    return message->msg_control ? naru__os_send(s->fd, message, 0)
                                : naru__os_send_vector(s->fd, message->msg_iov, 1);
}

static ssize_t read_message(struct socket_stream *s, struct msghdr *message, int flags,
                            int64_t deadline)
{
    struct naru_handle *h = &s->stream.handle;
    struct naru_wait wait = naru__wait_begin(h, NARU_IN, deadline);
    ssize_t r;
    while ((r = receive_once(s, message, flags)) == -EAGAIN) {
        int w = naru__wait_step(&wait);
        if (w < 0) {
            naru__wait_done(&wait);
            return w;
        }
    }
    naru__wait_done(&wait);
    naru__count(&h->counts.calls[0], 1);
    return r < 0 ? failed(h, (int)r) : r;
}

static ssize_t write_message(struct socket_stream *s, const struct msghdr *message,
                             int64_t deadline)
{
    struct naru_handle *h = &s->stream.handle;
    struct naru_wait wait = naru__wait_begin(h, NARU_OUT, deadline);
    ssize_t r;
    if (s->shut[1])
        return naru__fail(-EPIPE, "%s: this end was shut down for writing", h->name);
    while ((r = send_once(s, message)) == -EAGAIN) {
        int w = naru__wait_step(&wait);
        if (w < 0) {
            naru__wait_done(&wait);
            return w;
        }
    }
    for (int left; r > 0 && s->cover && (left = s->cover->ops->flush(s->cover)) != 0;) {
        if (left != -EAGAIN)
            r = left;
        else if (naru__wait_step(&wait) < 0)
            break; /* it follows with what is written next, or by the end of it */
    }
    naru__wait_done(&wait);
    naru__count(&h->counts.calls[1], 1);
    if (r == -ETOOMANYREFS)
        return naru__parcel_too_many(h->name);
    if (r < 0)
        return failed(h, (int)r);
    naru__count(&h->counts.bytes_sent, (uint64_t)r);
    return r;
}

static ssize_t socket_read(naru_stream *stream, void *buf, size_t n, int64_t deadline)
{
    struct socket_stream *s = of_stream(stream);
    struct iovec one = {buf, n};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    if (s->shut[0])
        return 0;
    ssize_t r = read_message(s, &message, 0, deadline);
    if (r > 0)
        naru__count(&stream->handle.counts.bytes_received, (uint64_t)r);
    return r;
}

static ssize_t socket_write(naru_stream *stream, const void *buf, size_t n, int64_t deadline)
{
    struct iovec one = {(void *)(uintptr_t)buf, n};
    const struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    return write_message(of_stream(stream), &message, deadline);
}

/* ---- descriptors ---- */

static ssize_t socket_send_fds(naru_stream *stream, const void *buf, size_t n, const int *fds,
                               size_t n_fds, int64_t deadline)
{
    struct socket_stream *s = of_stream(stream);
    union naru_ancillary ancillary;
    struct iovec one = {(void *)(uintptr_t)buf, n};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    if (!s->kind->medium->descriptors)
        return naru__fail(-EOPNOTSUPP, "%s carries no descriptors; a unix: stream does",
                          stream->handle.name);
    int r = naru__descriptors_check(stream->handle.name, fds, n_fds);
    if (r < 0)
        return r;
    naru__descriptors_attach(&message, &ancillary, fds, n_fds);
    return write_message(s, &message, deadline);
}

/* Peeks, so that bytes and descriptors stay if not all of them can be taken; then takes exactly
 * the bytes that were seen, whose descriptors are here already. */
static ssize_t socket_recv_fds(naru_stream *stream, void *buf, size_t n, int *ret_fds,
                               size_t max_fds, size_t *ret_n_fds, int64_t deadline)
{
    struct socket_stream *s = of_stream(stream);
    union naru_ancillary ancillary;
    struct iovec one = {buf, n};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    int fds[NARU__FDS_MAX];
    naru__descriptors_expect(&message, &ancillary);
    if (!s->kind->medium->descriptors)
        return naru__fail(-EOPNOTSUPP, "%s carries no descriptors; a unix: stream does",
                          stream->handle.name);
    ssize_t r = s->shut[0] ? 0 : read_message(s, &message, MSG_PEEK, deadline);
    if (r < 0)
        return r;
    size_t got = r > 0 ? naru__descriptors_of(&message, fds) : 0;
    ssize_t problem = 0;
    if (r > 0 && message.msg_flags & MSG_CTRUNC)
        problem = naru__fail(-EMFILE, "%s: the descriptors that came cannot all be opened here%s",
                             stream->handle.name, naru__limit_of_files(-EMFILE).text);
    else if (got > max_fds)
        problem = naru__fail(-EMSGSIZE, "%s: %zu descriptors have come, and there is room for %zu",
                             stream->handle.name, got, max_fds);
    if (problem == 0 && r > 0) {
        one.iov_len = (size_t)r;
        message = (struct msghdr){.msg_iov = &one, .msg_iovlen = 1};
        problem = read_message(s, &message, 0, NARU__AT_ONCE);
    }
    if (problem < 0)
        naru__descriptors_close(fds, got);
    if (problem >= 0 && got)
        memcpy(ret_fds, fds, got * sizeof *fds);
    if (problem >= 0 || problem == -EMSGSIZE)
        *ret_n_fds = got;
    if (problem >= 0)
        naru__count(&stream->handle.counts.bytes_received, (uint64_t)r);
    return problem < 0 ? problem : r;
}

/* ---- the rest ---- */

static int socket_flush(naru_stream *stream, int64_t deadline)
{
    struct socket_stream *s = of_stream(stream);
    struct naru_wait wait = naru__wait_begin(&stream->handle, NARU_OUT, deadline);
    for (int r; s->cover && (r = s->cover->ops->flush(s->cover)) != 0;) {
        r = r == -EAGAIN ? naru__wait_step(&wait) : failed(&stream->handle, r);
        if (r < 0)
            return r;
    }
    for (;;) {
        bool gone = naru__os_closed(s->fd) > 0; /* before: its reader may have left some unread */
        int left = naru__os_unsent(s->fd);
        if (left < 0)
            return failed(&stream->handle, left);
        if (gone)
            return naru__fail(-EPIPE, "%s: the other end left without reading all",
                              stream->handle.name);
        if (left == 0)
            return 0;
        int r = naru__wait_tick(&wait);
        if (r < 0)
            return r;
    }
}

static int socket_shutdown(naru_stream *stream, int how)
{
    struct socket_stream *s = of_stream(stream);
    static const int hows[] = {0, SHUT_RD, SHUT_WR, SHUT_RDWR};
    if (s->cover && how & NARU_WRITE) /* which says so first, and may have to wait for room */
        s->cover->ops->finish(s->cover);
    if (s->cover)
        how &= ~NARU_WRITE;
    int r = how ? naru__os_shutdown(s->fd, hows[how]) : 0;
    if (r < 0 && r != -ENOTCONN) /* the other end has left: it is finished as it is */
        return failed(&stream->handle, r);
    if (how & NARU_READ)
        s->shut[0] = true;
    if (how & NARU_WRITE)
        s->shut[1] = true;
    return 0;
}

static void socket_free(struct socket_stream *s)
{
    if (s->cover)
        s->cover->ops->close(s->cover);
    naru__os_close(s->fd);
    naru__handle_deinit(&s->stream.handle);
    free(s);
}

static void socket_close(naru_stream *stream, bool owner)
{
    struct socket_stream *s = of_stream(stream);
    if (s->cover && owner) { /* else closing a copy of a descriptor never hurts the other copies */
        s->cover->ops->finish(s->cover);
        naru__socket_last_word(s->fd); /* TLS also sends what nobody asked for */
    }
    socket_free(s);
}

static int socket_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct socket_stream *s = of_handle(h);
    short want = 0;
    if (s->cover) {
        s->cover->ops->watch(s->cover,
                             events & ((s->shut[0] ? 0 : NARU_IN) | (s->shut[1] ? 0 : NARU_OUT)),
                             ret_watch);
        return 0;
    }
    if (events & NARU_IN && !s->shut[0])
        want |= POLLIN;
    if (events & NARU_OUT && !s->shut[1])
        want |= POLLOUT;
    ret_watch->n = want != 0;
    ret_watch->fds[0] = (struct pollfd){.fd = s->fd, .events = want};
    return 0;
}

/* A direction that was shut down answers at once. */
static bool socket_ready(struct naru_handle *h, int events)
{
    const struct socket_stream *s = of_handle(h);
    return (events & NARU_IN && (s->shut[0] || (s->cover && s->cover->ops->ready(s->cover)))) ||
           (events & NARU_OUT && s->shut[1]);
}

static int socket_adopt(struct naru_handle *h)
{
    if (of_handle(h)->cover)
        return naru__fail(-EOPNOTSUPP,
                          "%s: its keys are counted on in the process that opened it: let the one "
                          "that is to serve it accept it",
                          h->name);
    return 0; /* nothing is kept in memory */
}

static int socket_pass(struct naru_handle *h, struct naru_passage *ret_passage)
{
    const struct socket_stream *s = of_handle(h);
    if (s->cover)
        return naru__fail(-EOPNOTSUPP,
                          "%s cannot go to another program: its keys are in this one's memory",
                          h->name);
    *ret_passage = (struct naru_passage){"stream", s->kind->medium->scheme, {s->fd, s->fd}};
    return 0;
}

static void socket_passed(struct naru_handle *h)
{
    socket_free(of_handle(h));
}

static int socket_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    return naru__socket_peer(h, of_handle(h)->fd, of_handle(h)->cover, ret_peer);
}

static void socket_stats(struct naru_handle *h, struct naru_stats *stats)
{
    naru__socket_stats(of_handle(h)->fd, false, of_handle(h)->asked, stats);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = socket_watch,
    .ready = socket_ready,
    .adopt = socket_adopt,
    .pass = socket_pass,
    .passed = socket_passed,
    .peer = socket_peer,
    .stats = socket_stats,
};

static const struct naru_stream_ops stream_ops = {
    .size = sizeof stream_ops,
    .read = socket_read,
    .write = socket_write,
    .flush = socket_flush,
    .shutdown = socket_shutdown,
    .send_fds = socket_send_fds,
    .recv_fds = socket_recv_fds,
    .close = socket_close,
};

int naru__socket_stream(const struct naru_socket_kind *kind, const char *name, int fd,
                        struct naru_cover *cover, int directions, size_t capacity,
                        naru_stream **ret_s)
{
    struct socket_stream *s = naru__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    int r = naru__handle_init(&s->stream.handle, NARU__STREAM, &handle_ops, name, directions);
    if (r < 0) {
        free(s);
        return r;
    }
    s->stream.ops = &stream_ops;
    s->kind = kind;
    s->fd = fd;
    s->cover = cover;
    if (cover)
        cover->handle = &s->stream.handle;
    s->asked = capacity;
    *ret_s = &s->stream;
    return 0;
}
