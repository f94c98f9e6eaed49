/* SPDX-License-Identifier: MIT */
/* pipe.c - anonymous pipes. A two-way end is two pipes, one each way; naru's ends are non-blocking,
 * which is a property of each end's own description and so never shows at the other end. */
#include "transport/pipe/pipe.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/limit.h"
#include "transport/common/bytes.h"
#include "transport/common/connection.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static const struct naru_medium medium = {
    .scheme = "pipe",
    .atomic = PIPE_BUF,
    .grows = true,
};

struct pipe_stream {
    struct naru_stream stream;
    _Atomic int in, out;
    struct naru_capacity capacity;
};

static struct pipe_stream *of_stream(naru_stream *s)
{
    return (struct pipe_stream *)s;
}

static struct pipe_stream *of_handle(struct naru_handle *h)
{
    return (struct pipe_stream *)h;
}

static ssize_t pipe_read(naru_stream *stream, void *buf, size_t n, int64_t deadline)
{
    struct pipe_stream *p = of_stream(stream);
    return p->in < 0 ? 0 : naru__bytes_read(&stream->handle, p->in, buf, n, deadline);
}

static int finished(const struct pipe_stream *p)
{
    return naru__fail(-EPIPE, "%s: this end was shut down for writing", p->stream.handle.name);
}

static ssize_t pipe_write(naru_stream *stream, const void *buf, size_t n, int64_t deadline)
{
    struct pipe_stream *p = of_stream(stream);
    return p->out < 0 ? finished(p) : naru__bytes_write(&stream->handle, p->out, buf, n, deadline);
}

static int pipe_flush(naru_stream *stream, int64_t deadline)
{
    struct pipe_stream *p = of_stream(stream);
    return p->out < 0 ? finished(p) : naru__bytes_flush(&stream->handle, p->out, deadline);
}

static int pipe_shutdown(naru_stream *stream, int how)
{
    struct pipe_stream *p = of_stream(stream);
    if (how & NARU_READ)
        naru__replace_fd(&stream->handle, &p->in, NARU__NO_FD);
    if (how & NARU_WRITE)
        naru__replace_fd(&stream->handle, &p->out, NARU__NO_FD);
    return 0;
}

static void pipe_free(struct pipe_stream *p)
{
    naru__os_close(p->in);
    naru__os_close(p->out);
    naru__handle_deinit(&p->stream.handle);
    free(p);
}

static void pipe_close(naru_stream *stream, bool owner)
{
    (void)owner; /* closing a copy of a descriptor never hurts the other copies */
    pipe_free(of_stream(stream));
}

static int pipe_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct pipe_stream *p = of_handle(h);
    unsigned n = 0;
    if (events & NARU_IN && p->in >= 0)
        ret_watch->fds[n++] = (struct pollfd){.fd = p->in, .events = POLLIN};
    if (events & NARU_OUT && p->out >= 0)
        ret_watch->fds[n++] = (struct pollfd){.fd = p->out, .events = POLLOUT};
    ret_watch->n = n;
    return 0;
}

/* A direction that was shut down answers at once. */
static bool pipe_ready(struct naru_handle *h, int events)
{
    const struct pipe_stream *p = of_handle(h);
    return (events & NARU_IN && p->in < 0) || (events & NARU_OUT && p->out < 0);
}

static int pipe_adopt(struct naru_handle *h)
{
    (void)h; /* nothing is kept in memory */
    return 0;
}

static int pipe_pass(struct naru_handle *h, struct naru_passage *ret_passage)
{
    const struct pipe_stream *p = of_handle(h);
    *ret_passage = (struct naru_passage){"stream", "pipe", {p->in, p->out}};
    return 0;
}

static void pipe_passed(struct naru_handle *h)
{
    pipe_free(of_handle(h));
}

static void pipe_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct pipe_stream *p = of_handle(h);
    naru__capacity_stats(&p->capacity, p->out >= 0 ? p->out : p->in, stats);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = pipe_watch,
    .ready = pipe_ready,
    .adopt = pipe_adopt,
    .pass = pipe_pass,
    .passed = pipe_passed,
    .stats = pipe_stats,
};

static const struct naru_stream_ops stream_ops = {
    .size = sizeof stream_ops,
    .read = pipe_read,
    .write = pipe_write,
    .flush = pipe_flush,
    .shutdown = pipe_shutdown,
    .close = pipe_close,
};

/* Takes the descriptors over on success only. */
static int new_stream(const char *name, int in, int out, size_t capacity, naru_stream **ret_s)
{
    struct pipe_stream *p = naru__alloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    int directions = (in >= 0 ? NARU_IN : 0) | (out >= 0 ? NARU_OUT : 0);
    int r = naru__handle_init(&p->stream.handle, NARU__STREAM, &handle_ops, name, directions);
    if (r < 0) {
        free(p);
        return r;
    }
    p->stream.ops = &stream_ops;
    p->in = in;
    p->out = out;
    p->capacity = naru__capacity_ask(out >= 0 ? out : in, capacity);
    *ret_s = &p->stream;
    return 0;
}

static int make_pipe(int ret_fds[2])
{
    int r = naru__os_pipe(ret_fds);
    if (r < 0)
        return naru__fail(r, "no pipe could be made: %s%s", naru__errno_text(r),
                          naru__limit_of_files(r).text);
    return 0;
}

static void close_both(const int fds[2])
{
    naru__os_close(fds[0]);
    naru__os_close(fds[1]);
}

/* {a's, b's} descriptors {reading, writing}; one-way: a reads, b writes. */
static int make_pipes(bool two_way, int ret_a[2], int ret_b[2])
{
    int to_a[2], to_b[2] = {NARU__NO_FD, NARU__NO_FD};
    int r = make_pipe(to_a);
    if (r < 0)
        return r;
    r = two_way ? make_pipe(to_b) : 0;
    if (r < 0) {
        close_both(to_a);
        return r;
    }
    ret_a[0] = to_a[0];
    ret_a[1] = to_b[1];
    ret_b[0] = to_b[0];
    ret_b[1] = to_a[1];
    return 0;
}

static int pipe_stream_pair(const struct naru_stream_options *o, naru_stream **ret_a,
                            naru_stream **ret_b)
{
    int fa[2], fb[2];
    naru_stream *a, *b;
    int r = make_pipes(o->direction == NARU_TWO_WAY, fa, fb);
    if (r < 0)
        return r;
    r = new_stream("pipe", fa[0], fa[1], o->capacity, &a);
    if (r < 0) {
        close_both(fa);
        close_both(fb);
        return r;
    }
    r = new_stream("pipe", fb[0], fb[1], o->capacity, &b);
    if (r < 0) {
        pipe_free(of_stream(a));
        close_both(fb);
        return r;
    }
    *ret_a = a;
    *ret_b = b;
    return 0;
}

static int pipe_stream_inherit(const char *name, const int fds[2], naru_stream **ret_s)
{
    return new_stream(name, fds[0], fds[1], 0, ret_s);
}

static int pipe_channel_pair(const struct naru_channel_options *o, naru_channel **ret_a,
                             naru_channel **ret_b)
{
    int fa[2], fb[2];
    int r = make_pipes(true, fa, fb);
    return r < 0 ? r : naru__connection_pair(&medium, "pipe", fa, fb, o, ret_a, ret_b);
}

static int pipe_channel_inherit(const char *name, const int fds[2],
                                const struct naru_channel_options *o, naru_channel **ret_c)
{
    return naru__connection_new(&medium, name, fds, NULL, o, HELLO_INHERITED, ret_c);
}

const struct naru_transport naru__pipe_transport = {
    .size = sizeof naru__pipe_transport,
    .scheme = "pipe",
    .stream_pair = pipe_stream_pair,
    .stream_inherit = pipe_stream_inherit,
    .channel_pair = pipe_channel_pair,
    .channel_inherit = pipe_channel_inherit,
};
