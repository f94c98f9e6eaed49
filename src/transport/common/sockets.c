/* SPDX-License-Identifier: MIT */
/* sockets.c - sockets of any domain: connecting, buffers, who is at the other end, what the
 * environment hands over. */
#include "transport/common/sockets.h"

#include "base/error.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/poll.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* include/uapi/asm-generic/socket.h, Linux 6.5 */
#endif

/* ---- buffers ---- */

void naru__socket_capacity(int fd, size_t bytes)
{
    if (!bytes)
        return;
    enum { LEAST = 16384, MOST = 1 << 30 }; /* below, a small frame would be cut */
    int n = bytes > MOST ? MOST : bytes < LEAST ? LEAST : (int)bytes;
    (void)naru__os_set_number(fd, SOL_SOCKET, SO_SNDBUF, n); /* naru__socket_stats tells */
    (void)naru__os_set_number(fd, SOL_SOCKET, SO_RCVBUF, n);
}

void naru__socket_stats(int fd, bool receives, size_t asked, struct naru_stats *stats)
{
    int holds = naru__os_get_number(fd, SOL_SOCKET, receives ? SO_RCVBUF : SO_SNDBUF);
    const char *limit = receives ? "rmem_max" : "wmem_max";
    char path[32];
    snprintf(path, sizeof path, "net/core/%s", limit);
    if (holds < 0)
        return;
    stats->capacity = (uint64_t)holds / 2; /* the kernel doubles it, for its own upkeep */
    stats->capacity_asked = asked;
    if (stats->capacity < asked)
        snprintf(stats->note, sizeof stats->note,
                 "%s asked, %s granted: net.core.%s is %" PRId64
                 "; raise it with `sysctl -w net.core.%s=%zu`",
                 naru__size_text(asked).text, naru__size_text(stats->capacity).text, limit,
                 naru__limit_sysctl(path), limit, asked);
}

void naru__socket_last_word(int fd)
{
    char waste[16384];
    (void)naru__os_shutdown(fd, SHUT_WR);
    for (int i = 0; i < 256; i++)
        if (naru__os_read(fd, waste, sizeof waste) <= 0)
            break;
}

/* ---- addresses ---- */

static void unix_text(const struct naru_address *a, const char *scheme, char *buf, size_t n)
{
    const struct sockaddr_un *un = (const void *)&a->is;
    size_t length = a->length - offsetof(struct sockaddr_un, sun_path);
    if (a->length <= offsetof(struct sockaddr_un, sun_path))
        return; /* it has none */
    if (un->sun_path[0] == '\0')
        snprintf(buf, n, "%s:@%.*s", scheme, (int)length - 1, un->sun_path + 1);
    else
        snprintf(buf, n, "%s:%.*s", scheme, (int)length, un->sun_path);
}

void naru__socket_address_text(const struct naru_address *a, const char *scheme, char *buf,
                               size_t n)
{
    char host[INET6_ADDRSTRLEN];
    buf[0] = '\0';
    if (a->is.ss_family == AF_UNIX) {
        unix_text(a, scheme, buf, n);
    } else if (a->is.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&a->is;
        snprintf(buf, n, "%s://%s:%u", scheme, inet_ntop(AF_INET, &in->sin_addr, host, sizeof host),
                 ntohs(in->sin_port));
    } else if (a->is.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&a->is;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
            snprintf(buf, n, "%s://%s:%u", scheme, host + sizeof "::ffff:" - 1,
                     ntohs(in->sin6_port));
        else
            snprintf(buf, n, "%s://[%s]:%u", scheme, host, ntohs(in->sin6_port));
    }
}

/* ---- the other end ---- */

/* A pidfd is made once and lent from then on. */
static int peer_pidfd(struct naru_handle *h, int fd)
{
    int made, none = NARU__NO_FD;
    if (h->pidfd >= 0)
        return h->pidfd;
    if (naru__os_get_option(fd, SOL_SOCKET, SO_PEERPIDFD, &made, sizeof made) < 0 || made < 0)
        return -1;
    if (!atomic_compare_exchange_strong(&h->pidfd, &none, made)) {
        naru__os_close(made); /* another thread asked, too */
        return none;
    }
    return made;
}

int naru__socket_peer(struct naru_handle *h, int fd, struct naru_cover *cover,
                      struct naru_peer *ret_peer)
{
    struct naru_peer peer = {.size = ret_peer->size, .uid = -1, .gid = -1, .pidfd = -1};
    struct naru_address address;
    struct ucred cred;
    bool listens = h->noun == NARU__STREAM_LISTENER || h->noun == NARU__CHANNEL_LISTENER;
    int r = listens ? naru__os_own_address(fd, &address) : naru__os_peer_address(fd, &address);
    if (r < 0 && r != -ENOTCONN) /* it has left */
        return naru__fail(r, "%s: the other end's address is not known: %s", h->name,
                          naru__errno_text(r));
    const char *scheme = "unix";
    if (r >= 0 && address.is.ss_family != AF_UNIX)
        scheme = strncmp(h->name, "udp:", 4) == 0   ? "udp"
                 : strncmp(h->name, "tls:", 4) == 0 ? "tls"
                                                    : "tcp";
    if (r >= 0)
        naru__socket_address_text(&address, scheme, peer.address, sizeof peer.address);
    if (naru__os_get_number(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX &&
        naru__os_get_option(fd, SOL_SOCKET, SO_PEERCRED, &cred, sizeof cred) == 0 &&
        cred.uid != (uid_t)-1) {
        peer.pid = cred.pid;
        peer.uid = cred.uid;
        peer.gid = cred.gid;
        peer.pidfd = peer_pidfd(h, fd);
    }
    if (cover)
        cover->ops->subject(cover, peer.subject, sizeof peer.subject);
    *ret_peer = peer;
    return 0;
}

/* ---- connecting and listening ---- */

static int connect_failed(const char *name, int code)
{
    switch (code) {
    case -ECONNREFUSED:
        return naru__fail(code, "%s: nobody listens there: start the server first", name);
    case -ENOENT:
        return naru__fail(code, "%s is not there: nobody has listened there yet", name);
    case -EAGAIN:
    case -ETIMEDOUT:
        return naru__fail(code,
                          "%s: it did not take the connection in time: it is silent, or its "
                          "backlog is full (net.core.somaxconn bounds that)",
                          name);
    case -EPROTOTYPE:
        return naru__fail(-EPROTO, "%s: a socket of another type listens there", name);
    case -ENETUNREACH:
    case -EHOSTUNREACH:
        return naru__fail(-EHOSTUNREACH, "%s: %s: look at the address and the routes (ip route)",
                          name, naru__errno_text(code));
    case -EADDRNOTAVAIL:
        return naru__fail(code,
                          "%s: no port, or no address, of this host is left to connect from%s",
                          name, naru__limit_of_ports().text);
    default:
        return naru__fail(code, "%s: connecting failed: %s", name, naru__errno_text(code));
    }
}

/* Waits for an outcome; then it is in SO_ERROR. */
static int await_connection(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int r;
    do
        r = naru__os_poll(&p, 1, deadline);
    while (r == -EINTR);
    if (r <= 0)
        return r < 0 ? r : deadline == NARU__AT_ONCE ? -EAGAIN : -ETIMEDOUT;
    int error = naru__os_get_number(fd, SOL_SOCKET, SO_ERROR);
    return error < 0 ? error : -error;
}

/* A full backlog of a unix socket can only be waited for inside connect(2). */
static int connect_blocking(int fd, const struct naru_address *a, int64_t deadline)
{
    int r;
    do {
        int64_t left = deadline == NARU__NEVER ? 0 : deadline - naru__now();
        if (deadline != NARU__NEVER && left <= 0)
            return -ETIMEDOUT;
        struct timeval t = {(time_t)(left / NARU_S), (suseconds_t)(left % NARU_S / 1000)};
        if (deadline != NARU__NEVER && t.tv_sec == 0 && t.tv_usec == 0)
            t.tv_usec = 1; /* 0 would be for ever */
        r = naru__os_set_option(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
        if (r >= 0)
            r = naru__os_set_nonblocking(fd, false);
        if (r >= 0)
            r = naru__os_connect(fd, a);
    } while (r == -EINTR || (r == -EAGAIN && deadline == NARU__NEVER));
    const struct timeval none = {0, 0};
    if (r == 0)
        r = naru__os_set_option(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
    if (r == 0)
        r = naru__os_set_nonblocking(fd, true);
    return r == -EAGAIN ? -ETIMEDOUT : r < 0 ? r : 0;
}

int naru__socket_connect(int fd, const char *name, const struct naru_address *a, int64_t deadline)
{
    int r = naru__os_connect(fd, a);
    if (r == -EINPROGRESS || r == -EINTR)
        r = await_connection(fd, deadline);
    else if (r == -EAGAIN && deadline != NARU__AT_ONCE)
        r = connect_blocking(fd, a, deadline);
    return r < 0 ? connect_failed(name, r) : 0;
}

int naru__socket_listen(int fd, const char *name, int backlog)
{
    int r = naru__os_listen(fd, backlog > 0 ? backlog : INT_MAX); /* the kernel bounds it */
    if (r < 0)
        return naru__fail(r, "%s: listening failed: %s%s", name, naru__errno_text(r),
                          naru__limit_of_files(r).text);
    return 0;
}

/* ---- what the environment hands over: sd_listen_fds(3) without its library ---- */

static long number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    long n = text ? strtol(text, &end, 10) : 0;
    return text && end != text && *end == '\0' ? n : 0;
}

static bool same_address(const struct naru_address *a, const struct naru_address *b)
{
    if (a->is.ss_family != b->is.ss_family)
        return false;
    if (a->is.ss_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)&a->is, *y = (const void *)&b->is;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    if (a->is.ss_family == AF_INET6) {
        const struct sockaddr_in6 *x = (const void *)&a->is, *y = (const void *)&b->is;
        return x->sin6_port == y->sin6_port &&
               memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
    }
    const struct sockaddr_un *x = (const void *)&a->is, *y = (const void *)&b->is;
    if (x->sun_path[0] != '\0') /* the length may count the NUL behind a path or not */
        return strncmp(x->sun_path, y->sun_path, sizeof x->sun_path) == 0;
    return a->length == b->length && memcmp(x, y, a->length) == 0;
}

int naru__socket_activated(const struct naru_address *wanted, int type)
{
    enum { FIRST = 3 };
    struct naru_address is;
    if (number_of("LISTEN_PID") != getpid())
        return -ENOENT;
    long n = number_of("LISTEN_FDS");
    for (int fd = FIRST; fd < FIRST + n && n < 4096; fd++) {
        if (naru__os_own_address(fd, &is) < 0 || !same_address(wanted, &is) ||
            naru__os_get_number(fd, SOL_SOCKET, SO_TYPE) != type)
            continue;
        if (type != SOCK_DGRAM && naru__os_get_number(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
            continue;
        (void)naru__os_set_cloexec(fd);
        int copy = naru__os_duplicate(fd);
        int r = copy < 0 ? copy : naru__os_set_nonblocking(copy, true);
        if (r < 0)
            naru__os_close(copy);
        return r < 0 ? r : copy;
    }
    return -ENOENT;
}
