/* SPDX-License-Identifier: MIT */
/* unix.c - stream sockets of this host. Both directions are one descriptor. */
#include "transport/unix/unix.h"

#include "base/error.h"
#include "os/fd.h"

#include <errno.h>
#include <limits.h>

static const struct naru_medium medium = {
    .scheme = "unix",
    .atomic = PIPE_BUF, /* one buffer of the kernel's, which it has or has not */
    .socket = true,
    .descriptors = true,
};

static const struct naru_socket_kind kind = {
    .medium = &medium,
    .admit = naru__unix_admit,
};

/* ---- pairs ---- */

static int make_pair(int ret_fds[2])
{
    int r = naru__os_socket_pair(SOCK_STREAM, ret_fds);
    return r < 0 ? naru__unix_no_socket("unix", r) : 0;
}

static int unix_stream_pair(const struct naru_stream_options *o, naru_stream **ret_a,
                            naru_stream **ret_b)
{
    bool both = o->direction == NARU_TWO_WAY;
    int fds[2];
    naru_stream *a, *b;
    int r = make_pair(fds);
    if (r < 0)
        return r;
    naru__socket_capacity(fds[0], o->capacity);
    naru__socket_capacity(fds[1], o->capacity);
    r = naru__socket_stream(&kind, "unix", fds[0], NULL, both ? NARU_IN | NARU_OUT : NARU_IN,
                            o->capacity, &a);
    if (r < 0) {
        naru__os_close(fds[0]);
        naru__os_close(fds[1]);
        return r;
    }
    r = naru__socket_stream(&kind, "unix", fds[1], NULL, both ? NARU_IN | NARU_OUT : NARU_OUT,
                            o->capacity, &b);
    if (r < 0) {
        a->ops->close(a, true);
        naru__os_close(fds[1]);
        return r;
    }
    if (!both)
        (void)naru__os_shutdown(fds[0], SHUT_WR);
    *ret_a = a;
    *ret_b = b;
    return 0;
}

static int unix_channel_pair(const struct naru_channel_options *o, naru_channel **ret_a,
                             naru_channel **ret_b)
{
    int fds[2];
    int r = make_pair(fds);
    if (r < 0)
        return r;
    naru__socket_capacity(fds[0], o->capacity);
    naru__socket_capacity(fds[1], o->capacity);
    return naru__connection_pair(&medium, "unix", (int[2]){fds[0], fds[0]},
                                 (int[2]){fds[1], fds[1]}, o, ret_a, ret_b);
}

/* ---- inheriting ---- */

static int check_socket(const char *name, int fd)
{
    if (naru__os_get_number(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX &&
        naru__os_get_number(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM)
        return 0;
    return naru__fail(-EPROTO, "%s: descriptor %d is no unix stream socket", name, fd);
}

static int unix_stream_inherit(const char *name, const int fds[2], naru_stream **ret_s)
{
    int r = check_socket(name, fds[0]);
    return r < 0 ? r : naru__socket_stream(&kind, name, fds[0], NULL, NARU_IN | NARU_OUT, 0, ret_s);
}

static int unix_channel_inherit(const char *name, const int fds[2],
                                const struct naru_channel_options *o, naru_channel **ret_c)
{
    int r = check_socket(name, fds[0]);
    return r < 0 ? r : naru__connection_new(&medium, name, fds, NULL, o, HELLO_INHERITED, ret_c);
}

/* ---- connecting ---- */

static int unix_stream_open(const struct naru_url *url, int mode,
                            const struct naru_stream_options *o, int64_t deadline,
                            naru_stream **ret_s)
{
    int fd = naru__unix_connected(url, SOCK_STREAM, o->capacity, o->flags, deadline);
    if (fd < 0)
        return fd;
    if (!(mode & NARU_WRITE))
        (void)naru__os_shutdown(fd, SHUT_WR);
    int r = naru__socket_stream(&kind, url->text, fd, NULL, mode, o->capacity, ret_s);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

static int unix_channel_connect(const struct naru_url *url, const struct naru_channel_options *o,
                                int64_t deadline, naru_channel **ret_c)
{
    int fd = naru__unix_connected(url, SOCK_STREAM, o->capacity, o->flags, deadline);
    if (fd < 0)
        return fd;
    int r = naru__connection_new(&medium, url->text, (int[2]){fd, fd}, NULL, o, 0, ret_c);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

/* ---- listening ---- */

static int unix_stream_listen(const struct naru_url *url, const struct naru_listen_options *o,
                              struct naru_listener **ret_l)
{
    return naru__unix_listen(&kind, SOCK_STREAM, NARU__STREAM_LISTENER, url, o, ret_l);
}

static int unix_channel_listen(const struct naru_url *url, const struct naru_listen_options *o,
                               struct naru_listener **ret_l)
{
    return naru__unix_listen(&kind, SOCK_STREAM, NARU__CHANNEL_LISTENER, url, o, ret_l);
}

const struct naru_transport naru__unix_transport = {
    .size = sizeof naru__unix_transport,
    .scheme = "unix",
    .one_descriptor = true,
    .stream_pair = unix_stream_pair,
    .stream_open = unix_stream_open,
    .stream_listen = unix_stream_listen,
    .stream_inherit = unix_stream_inherit,
    .channel_pair = unix_channel_pair,
    .channel_connect = unix_channel_connect,
    .channel_listen = unix_channel_listen,
    .channel_inherit = unix_channel_inherit,
    .remove = naru__unix_remove,
};
