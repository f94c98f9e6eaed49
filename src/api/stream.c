/* SPDX-License-Identifier: MIT */
/* stream.c - naru/stream.h: checks, then the transport. */
#include "api/inherit.h"
#include "api/transports.h"
#include "base/error.h"

#include <errno.h>

int naru_stream_pair(const char *kind, const struct naru_stream_options *options,
                     naru_stream **ret_a, naru_stream **ret_b)
{
    struct naru_url url;
    const struct naru_transport *transport;
    int r = naru__check_options(options, sizeof *options, "naru_stream_options");
    if (r == 0)
        r = naru__find_transport(kind, NARU_NOUN_STREAM, &url, &transport);
    if (r < 0)
        return r;
    if (!transport->stream_pair || url.rest[0])
        return naru__fail(-EOPNOTSUPP, "%s makes no pairs of streams; \"pipe:\" does", kind);
    options = NARU_OPTIONS(naru_stream_options, options);
    if (options->direction != NARU_TWO_WAY && options->direction != NARU_ONE_WAY)
        return naru__fail(-EINVAL, ".direction is %d: neither NARU_TWO_WAY nor NARU_ONE_WAY",
                          options->direction);
    return transport->stream_pair(options, ret_a, ret_b);
}

int naru_stream_open(const char *text, int mode, const struct naru_stream_options *options,
                     int64_t timeout, naru_stream **ret_s)
{
    struct naru_url url;
    const struct naru_transport *transport;
    int r = naru__check_options(options, sizeof *options, "naru_stream_options");
    if (r == 0)
        r = naru__find_transport(text, NARU_NOUN_STREAM, &url, &transport);
    if (r < 0)
        return r;
    if (mode == 0 || mode & ~(NARU_READ | NARU_WRITE))
        return naru__fail(-EINVAL, "the mode %d is neither NARU_READ, NARU_WRITE nor both", mode);
    if (!transport->stream_open)
        return naru__fail(-EOPNOTSUPP,
                          "%s has no name that could be opened: make a pair "
                          "(naru_stream_pair)",
                          text);
    options = NARU_OPTIONS(naru_stream_options, options);
    return transport->stream_open(&url, mode, options, naru__deadline(timeout), ret_s);
}

int naru_stream_listen(const char *text, const struct naru_listen_options *options,
                       naru_stream_listener **ret_l)
{
    struct naru_url url;
    const struct naru_transport *transport;
    struct naru_listener *listener;
    int r = naru__check_options(options, sizeof *options, "naru_listen_options");
    if (r == 0)
        r = naru__find_transport(text, NARU_NOUN_STREAM, &url, &transport);
    if (r < 0)
        return r;
    if (!transport->stream_listen)
        return naru__fail(-EOPNOTSUPP, "%s does not listen; unix: and tcp: do", text);
    r = transport->stream_listen(&url, NARU_OPTIONS(naru_listen_options, options), &listener);
    if (r == 0)
        *ret_l = (naru_stream_listener *)(void *)listener;
    return r;
}

int naru_stream_accept(naru_stream_listener *handle, int64_t timeout, naru_stream **ret_s)
{
    struct naru_listener *listener = (void *)handle;
    int r = naru__enter(listener, NARU__STREAM_LISTENER);
    if (r < 0)
        return r;
    r = listener->ops->accept_stream(listener, naru__deadline(timeout), ret_s);
    naru__leave(&listener->handle);
    return r;
}

naru_stream_listener *naru_stream_listener_close(naru_stream_listener *handle)
{
    struct naru_listener *listener = (void *)handle;
    if (listener)
        listener->ops->close(listener, naru__is_owner(&listener->handle));
    return NULL;
}

/* The checks before a transfer in one direction. */
static int enter(naru_stream *stream, int direction, const void *buf, size_t n)
{
    int r = naru__enter(stream, NARU__STREAM);
    if (r == 0)
        r = naru__check_direction(&stream->handle, direction);
    if (r == 0 && !buf && n > 0)
        r = naru__fail(-EINVAL, "%s: the buffer is NULL", stream->handle.name);
    return r;
}

ssize_t naru_stream_read(naru_stream *stream, void *buf, size_t n, int64_t timeout)
{
    ssize_t r = enter(stream, NARU_IN, buf, n);
    if (r < 0 || n == 0)
        return r;
    r = stream->ops->read(stream, buf, n, naru__deadline(timeout));
    naru__leave(&stream->handle);
    return r;
}

ssize_t naru_stream_write(naru_stream *stream, const void *buf, size_t n, int64_t timeout)
{
    ssize_t r = enter(stream, NARU_OUT, buf, n);
    if (r < 0 || n == 0)
        return r;
    r = stream->ops->write(stream, buf, n, naru__deadline(timeout));
    naru__leave(&stream->handle);
    return r;
}

static int no_fds(const naru_stream *stream)
{
    return naru__fail(-EOPNOTSUPP, "%s carries no descriptors; a unix: stream does",
                      stream->handle.name);
}

ssize_t naru_stream_send_fds(naru_stream *stream, const void *buf, size_t n, const int *fds,
                             size_t n_fds, int64_t timeout)
{
    ssize_t r = enter(stream, NARU_OUT, buf, n);
    if (r < 0)
        return r;
    if (!stream->ops->send_fds)
        return no_fds(stream);
    if (n == 0 || !fds || n_fds == 0 || n_fds > NARU__FDS_MAX)
        return naru__fail(-EINVAL,
                          "%s: %zu descriptors with %zu bytes: 1 to %d go with at least one byte",
                          stream->handle.name, fds ? n_fds : 0, n, NARU__FDS_MAX);
    r = stream->ops->send_fds(stream, buf, n, fds, n_fds, naru__deadline(timeout));
    naru__leave(&stream->handle);
    return r;
}

ssize_t naru_stream_recv_fds(naru_stream *stream, void *buf, size_t n, int *ret_fds, size_t max_fds,
                             size_t *ret_n_fds, int64_t timeout)
{
    ssize_t r = enter(stream, NARU_IN, buf, n);
    if (r < 0)
        return r;
    if (!stream->ops->recv_fds)
        return no_fds(stream);
    if (n == 0 || !ret_n_fds || (!ret_fds && max_fds > 0))
        return naru__fail(-EINVAL, "%s: no room for bytes, descriptors or their number",
                          stream->handle.name);
    r = stream->ops->recv_fds(stream, buf, n, ret_fds, max_fds, ret_n_fds, naru__deadline(timeout));
    naru__leave(&stream->handle);
    return r;
}

int naru_stream_read_all(naru_stream *stream, void *buf, size_t n, int64_t timeout,
                         size_t *ret_done)
{
    size_t done = 0;
    ssize_t r = enter(stream, NARU_IN, buf, n);
    int64_t deadline = naru__deadline(timeout);
    while (r >= 0 && done < n) {
        r = stream->ops->read(stream, (char *)buf + done, n - done, deadline);
        if (r == 0)
            r = naru__fail(-EPIPE, "%s: the stream ended after %zu of %zu bytes",
                           stream->handle.name, done, n);
        if (r > 0)
            done += (size_t)r;
    }
    if (ret_done)
        *ret_done = done;
    if (r != -EINVAL && r != -ECHILD)
        naru__leave(&stream->handle);
    return r < 0 ? (int)r : 0;
}

int naru_stream_write_all(naru_stream *stream, const void *buf, size_t n, int64_t timeout,
                          size_t *ret_done)
{
    size_t done = 0;
    ssize_t r = enter(stream, NARU_OUT, buf, n);
    int64_t deadline = naru__deadline(timeout);
    while (r >= 0 && done < n) {
        r = stream->ops->write(stream, (const char *)buf + done, n - done, deadline);
        if (r > 0)
            done += (size_t)r;
    }
    if (ret_done)
        *ret_done = done;
    if (r != -EINVAL && r != -ECHILD)
        naru__leave(&stream->handle);
    return r < 0 ? (int)r : 0;
}

int naru_stream_flush(naru_stream *stream, int64_t timeout)
{
    int r = enter(stream, NARU_OUT, NULL, 0);
    if (r < 0)
        return r;
    r = stream->ops->flush(stream, naru__deadline(timeout));
    naru__leave(&stream->handle);
    return r;
}

int naru_stream_shutdown(naru_stream *stream, int how)
{
    int r = naru__enter(stream, NARU__STREAM);
    if (r < 0)
        return r;
    if (how == 0 || how & ~(NARU_READ | NARU_WRITE))
        return naru__fail(-EINVAL, "%s: how is %d: neither NARU_READ, NARU_WRITE nor both",
                          stream->handle.name, how);
    for (int d = NARU_READ; d <= NARU_WRITE && r == 0; d <<= 1)
        r = how & d ? naru__check_direction(&stream->handle, d) : 0;
    if (r < 0)
        return r;
    r = stream->ops->shutdown(stream, how);
    naru__leave(&stream->handle);
    return r;
}

int naru_stream_inherit(const char *name, naru_stream **ret_s)
{
    struct naru_inherited end;
    int r = naru__inherited(name, "stream", &end);
    if (r < 0)
        return r;
    if (!end.transport->stream_inherit)
        return naru__fail(-EPROTO, "%s: this build inherits no streams over %s:", end.variable,
                          end.transport->scheme);
    r = end.transport->stream_inherit(end.variable, end.fds, ret_s);
    if (r == 0)
        naru__inherited_done(&end);
    return r;
}

naru_stream *naru_stream_close(naru_stream *stream)
{
    if (stream)
        stream->ops->close(stream, naru__is_owner(&stream->handle));
    return NULL;
}
