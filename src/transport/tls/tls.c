/* SPDX-License-Identifier: MIT */
/* tls.c - TLS over TCP: a TCP socket with a cover of src/tls. Who opens has the handshake behind
 * it, unless NARU_CONNECTING; who is accepted does it in the first calls on the new end. */
#include "transport/tls/tls.h"

#include "base/error.h"
#include "os/fd.h"
#include "tls/tls.h"
#include "transport/common/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct naru_medium medium = {.scheme = "tls", .socket = true};

static void describe(int fd, char *buf, size_t n)
{
    struct naru_address peer;
    if (naru__os_peer_address(fd, &peer) >= 0)
        naru__socket_address_text(&peer, "tls", buf, n);
}

static const struct naru_socket_kind kind = {
    .medium = &medium,
    .prepare = naru__tcp_prepare,
    .describe = describe,
};

/* Carriers speak HTTP/2 inside, and nothing else (core/transport.h). */
static const char *protocol(unsigned flags)
{
    return flags & NARU__HTTP2 ? "h2" : NULL;
}

/* ---- connecting ---- */

/* "[::1]:5" and "example.org:5" without the port: how the server is called. */
static void host_of(const struct naru_url *url, char *buf, size_t n)
{
    const char *host = url->rest + strspn(url->rest, "/");
    size_t length = *host == '[' ? strcspn(++host, "]%") : strcspn(host, ":%");
    snprintf(buf, n, "%.*s", (int)length, host);
}

struct dialled {
    int fd;
    struct naru_cover *cover;
};

/* A socket on its way to the server, or there, with its cover. */
static int dial(const struct naru_url *url, const struct naru_socket_wish *wish,
                const struct naru_tls_options *options, int64_t deadline, struct dialled *ret)
{
    char host[256];
    struct naru_tls *tls;
    struct dialled d = {NARU__NO_FD, NULL};
    if (deadline == NARU__AT_ONCE && !(wish->flags & NARU_CONNECTING))
        return naru__fail(-EAGAIN,
                          "%s: a handshake takes its time: give a timeout, or NARU_CONNECTING with "
                          "which it goes on in the calls that follow",
                          url->text);
    host_of(url, host, sizeof host);
    int r = naru__tls_new(options, false, protocol(wish->flags), url->text, &tls);
    if (r < 0)
        return r;
    d.fd = naru__tcp_connect(url, wish, deadline);
    r = d.fd < 0 ? d.fd : naru__tls_cover(tls, d.fd, host, &d.cover);
    naru__tls_unref(tls); /* the cover has its own */
    if (r < 0)
        naru__os_close(d.fd);
    else
        *ret = d;
    return r;
}

static void hang_up(const struct dialled *d)
{
    d->cover->ops->close(d->cover);
    naru__os_close(d->fd);
}

static int tls_stream_open(const struct naru_url *url, int mode,
                           const struct naru_stream_options *o, int64_t deadline,
                           naru_stream **ret_s)
{
    const struct naru_socket_wish wish = {o->capacity, o->flags, o->keepalive, o->user_timeout};
    struct dialled d;
    naru_stream *s;
    int r = dial(url, &wish, o->tls, deadline, &d);
    if (r < 0)
        return r;
    r = naru__socket_stream(&kind, url->text, d.fd, d.cover, mode, o->capacity, &s);
    if (r < 0) {
        hang_up(&d);
        return r;
    }
    if (!(o->flags & NARU_CONNECTING))
        r = naru__cover_meet(&s->handle, d.cover, deadline);
    if (r == 0 && !(mode & NARU_WRITE) && !(o->flags & NARU_CONNECTING))
        r = s->ops->shutdown(s, NARU_WRITE);
    if (r < 0)
        s->ops->close(s, true);
    else
        *ret_s = s;
    return r;
}

static int tls_channel_connect(const struct naru_url *url, const struct naru_channel_options *o,
                               int64_t deadline, naru_channel **ret_c)
{
    const struct naru_socket_wish wish = {o->capacity, o->flags, o->keepalive, o->user_timeout};
    struct dialled d;
    naru_channel *c;
    int r = dial(url, &wish, o->tls, deadline, &d);
    if (r < 0)
        return r;
    r = naru__connection_new(&medium, url->text, (int[2]){d.fd, d.fd}, d.cover, o, 0, &c);
    if (r < 0) {
        hang_up(&d);
        return r;
    }
    if (!(o->flags & NARU_CONNECTING))
        r = naru__cover_meet(&c->handle, d.cover, deadline);
    if (r < 0)
        c->ops->close(c, true);
    else
        *ret_c = c;
    return r;
}

/* ---- listening ---- */

static int listen_as(enum naru_handle_noun noun, const struct naru_url *url,
                     const struct naru_listen_options *o, struct naru_listener **ret_l)
{
    char name[512];
    struct naru_cover_maker *covers;
    int r = naru__tls_covers(o->tls, protocol(o->flags), url->text, &covers);
    if (r < 0)
        return r;
    int fd = naru__tcp_listen(url, o, name, sizeof name);
    r = fd < 0 ? fd : naru__socket_listener(&kind, noun, name, fd, o, NULL, covers, ret_l);
    if (r < 0) {
        covers->free(covers);
        naru__os_close(fd);
    }
    return r;
}

static int tls_stream_listen(const struct naru_url *url, const struct naru_listen_options *o,
                             struct naru_listener **ret_l)
{
    return listen_as(NARU__STREAM_LISTENER, url, o, ret_l);
}

static int tls_channel_listen(const struct naru_url *url, const struct naru_listen_options *o,
                              struct naru_listener **ret_l)
{
    return listen_as(NARU__CHANNEL_LISTENER, url, o, ret_l);
}

const struct naru_transport naru__tls_transport = {
    .size = sizeof naru__tls_transport,
    .scheme = "tls",
    .one_descriptor = true,
    .stream_open = tls_stream_open,
    .stream_listen = tls_stream_listen,
    .channel_connect = tls_channel_connect,
    .channel_listen = tls_channel_listen,
};
