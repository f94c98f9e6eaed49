/* SPDX-License-Identifier: MIT */
/* tcp.c - TCP as it is. No write is atomic: a message is always FIRST to END, so that one cut by a
 * timeout can be given up. */
#include "transport/tcp/tcp.h"

#include "base/error.h"
#include "os/fd.h"
#include "transport/common/tcp.h"

#include <errno.h>

static const struct naru_medium medium = {.scheme = "tcp", .socket = true};

static void describe(int fd, char *buf, size_t n)
{
    struct naru_address peer;
    if (naru__os_peer_address(fd, &peer) >= 0)
        naru__socket_address_text(&peer, "tcp", buf, n);
}

static const struct naru_socket_kind kind = {
    .medium = &medium,
    .prepare = naru__tcp_prepare,
    .describe = describe,
};

/* ---- connecting ---- */

static int tcp_stream_open(const struct naru_url *url, int mode,
                           const struct naru_stream_options *o, int64_t deadline,
                           naru_stream **ret_s)
{
    const struct naru_socket_wish wish = {o->capacity, o->flags, o->keepalive, o->user_timeout};
    int fd = naru__tcp_connect(url, &wish, deadline);
    if (fd < 0)
        return fd;
    if (!(mode & NARU_WRITE))
        (void)naru__os_shutdown(fd, SHUT_WR);
    int r = naru__socket_stream(&kind, url->text, fd, NULL, mode, o->capacity, ret_s);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

static int tcp_channel_connect(const struct naru_url *url, const struct naru_channel_options *o,
                               int64_t deadline, naru_channel **ret_c)
{
    const struct naru_socket_wish wish = {o->capacity, o->flags, o->keepalive, o->user_timeout};
    int fd = naru__tcp_connect(url, &wish, deadline);
    if (fd < 0)
        return fd;
    int r = naru__connection_new(&medium, url->text, (int[2]){fd, fd}, NULL, o, 0, ret_c);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

/* ---- listening ---- */

static int listen_as(enum naru_handle_noun noun, const struct naru_url *url,
                     const struct naru_listen_options *o, struct naru_listener **ret_l)
{
    char name[512];
    int fd = naru__tcp_listen(url, o, name, sizeof name);
    if (fd < 0)
        return fd;
    int r = naru__socket_listener(&kind, noun, name, fd, o, NULL, NULL, ret_l);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

static int tcp_stream_listen(const struct naru_url *url, const struct naru_listen_options *o,
                             struct naru_listener **ret_l)
{
    return listen_as(NARU__STREAM_LISTENER, url, o, ret_l);
}

static int tcp_channel_listen(const struct naru_url *url, const struct naru_listen_options *o,
                              struct naru_listener **ret_l)
{
    return listen_as(NARU__CHANNEL_LISTENER, url, o, ret_l);
}

/* ---- inheriting ---- */

static int check_socket(const char *name, int fd)
{
    int domain = naru__os_get_number(fd, SOL_SOCKET, SO_DOMAIN);
    if ((domain == AF_INET || domain == AF_INET6) &&
        naru__os_get_number(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM)
        return 0;
    return naru__fail(-EPROTO, "%s: descriptor %d is no TCP socket", name, fd);
}

static int tcp_stream_inherit(const char *name, const int fds[2], naru_stream **ret_s)
{
    int r = check_socket(name, fds[0]);
    return r < 0 ? r : naru__socket_stream(&kind, name, fds[0], NULL, NARU_IN | NARU_OUT, 0, ret_s);
}

static int tcp_channel_inherit(const char *name, const int fds[2],
                               const struct naru_channel_options *o, naru_channel **ret_c)
{
    int r = check_socket(name, fds[0]);
    return r < 0 ? r : naru__connection_new(&medium, name, fds, NULL, o, HELLO_INHERITED, ret_c);
}

const struct naru_transport naru__tcp_transport = {
    .size = sizeof naru__tcp_transport,
    .scheme = "tcp",
    .one_descriptor = true,
    .stream_open = tcp_stream_open,
    .stream_listen = tcp_stream_listen,
    .stream_inherit = tcp_stream_inherit,
    .channel_connect = tcp_channel_connect,
    .channel_listen = tcp_channel_listen,
    .channel_inherit = tcp_channel_inherit,
};
