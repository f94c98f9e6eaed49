/* SPDX-License-Identifier: MIT */
/* tcp.c - TCP for whatever is spoken over it. Small writes go at once, and a silent peer is probed.
 */
#include "transport/common/tcp.h"

#include "base/error.h"
#include "os/fd.h"
#include "transport/common/inet.h"
#include "transport/common/sockets.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- options ---- */

/* Silence for `seconds` in all: half of it, then up to five probes. */
static void keep_alive(int fd, int64_t seconds)
{
    int idle = seconds < 4 ? 1 : (int)(seconds / 2);
    int interval = (int)((seconds - idle) / 5);
    interval = interval < 1 ? 1 : interval;
    int probes = (int)((seconds - idle) / interval);
    (void)naru__os_set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    (void)naru__os_set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle);
    (void)naru__os_set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
    (void)naru__os_set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, probes < 1 ? 1 : probes);
}

/* A socket that the other end has reset already refuses them, and tells when it is used. */
void naru__tcp_prepare(int fd, const struct naru_socket_wish *wish)
{
    /* the kernel counts from the first retransmission, a good 200 ms after what was sent */
    enum { USUAL_SECONDS = 10, MOST_SECONDS = 32767, FIRST_TRY_MS = 250 };
    int64_t alive = wish->keepalive / NARU_S, user = wish->user_timeout / NARU_MS;
    if (wish->keepalive == 0)
        alive = USUAL_SECONDS;
    if (!(wish->flags & NARU_DELAY))
        (void)naru__os_set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (wish->user_timeout > 0) {
        int64_t rest = user > 2 * FIRST_TRY_MS ? user - FIRST_TRY_MS : user / 2;
        (void)naru__os_set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
                                  rest < 1         ? 1
                                  : rest > INT_MAX ? INT_MAX
                                                   : (int)rest);
        /* the kernel ends a probed connection by the user timeout, too, once a probe is out */
        if (wish->keepalive >= 0 && user < alive * 1000)
            alive = user / 1000;
    }
    if (wish->keepalive >= 0)
        keep_alive(fd, alive < 2 ? 2 : alive > MOST_SECONDS ? MOST_SECONDS : alive);
}

/* ---- connecting ---- */

/* A port of this host that nobody listens on can, by chance, connect to itself. */
static bool is_itself(int fd)
{
    struct naru_address own, peer;
    return naru__os_own_address(fd, &own) >= 0 && naru__os_peer_address(fd, &peer) >= 0 &&
           own.length == peer.length && memcmp(&own.is, &peer.is, own.length) == 0;
}

/* NARU_CONNECTING: on its way is enough; on the same host it has an outcome already. */
static int begin(int fd, const char *name, const struct naru_address *a)
{
    int r = naru__socket_connect(fd, name, a, NARU__AT_ONCE);
    return r == -EAGAIN ? 0 : r;
}

static int connect_one(const char *name, const struct naru_address *a,
                       const struct naru_socket_wish *wish, int64_t deadline)
{
    int fd = naru__inet_socket(name, a, SOCK_STREAM);
    if (fd < 0)
        return fd;
    naru__socket_capacity(fd, wish->capacity);
    naru__tcp_prepare(fd, wish);
    int r = wish->flags & NARU_CONNECTING ? begin(fd, name, a)
                                          : naru__socket_connect(fd, name, a, deadline);
    if (r == 0 && is_itself(fd))
        r = naru__fail(-ECONNREFUSED, "%s: nobody listens there: start the server first", name);
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

/* One that does not answer leaves time for the others. */
static int64_t share_of(int64_t deadline, size_t left)
{
    int64_t now = naru__now();
    bool bounded = deadline != NARU__NEVER && deadline > now;
    return bounded ? now + (deadline - now) / (int64_t)left : deadline;
}

/* Each address of the host in turn. */
int naru__tcp_connect(const struct naru_url *url, const struct naru_socket_wish *wish,
                      int64_t deadline)
{
    static _Atomic unsigned turn; /* relaxed: any order will do */
    struct naru_inet inet;
    int r = naru__inet_resolve(url, SOCK_STREAM, false, &inet);
    /* who does not wait for an outcome begins with another one each time */
    size_t first = wish->flags & NARU_CONNECTING
                       ? atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed)
                       : 0;
    unsigned only = NARU__ADDRESS_OF(wish->flags);
    if (r == 0 && only > inet.n)
        return naru__fail(-ENXIO, "%s: there are %zu addresses of that name", url->text, inet.n);
    if (r == 0 && only)
        return connect_one(url->text, &inet.address[only - 1], wish, deadline);
    for (size_t i = 0; r == 0 && i < inet.n; i++) {
        int fd = connect_one(url->text, &inet.address[(first + i) % inet.n], wish,
                             share_of(deadline, inet.n - i));
        if (fd >= 0)
            return fd;
        bool over = deadline != NARU__AT_ONCE && naru__now() >= deadline;
        r = i + 1 < inet.n && !over && fd != -EMFILE && fd != -ENFILE ? 0 : fd;
    }
    return r;
}

/* ---- listening ---- */

static int listen_one(const char *name, const struct naru_address *a,
                      const struct naru_listen_options *o)
{
    int fd = naru__inet_socket(name, a, SOCK_STREAM);
    if (fd < 0)
        return fd;
    naru__socket_capacity(fd, o->capacity);
    int r = naru__inet_bind(fd, name, a, SOCK_STREAM, true); /* also beside what lingers */
    if (r == 0)
        r = naru__socket_listen(fd, name, o->backlog);
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

/* The URL with the port that it got. */
static void name_listener(const struct naru_url *url, const struct naru_inet *inet, int fd,
                          char *buf, size_t n)
{
    struct naru_address own;
    snprintf(buf, n, "%s", url->text);
    if (inet->port == 0 && naru__os_own_address(fd, &own) >= 0)
        naru__socket_address_text(&own, url->scheme, buf, n);
}

int naru__tcp_listen(const struct naru_url *url, const struct naru_listen_options *o, char *buf,
                     size_t n)
{
    struct naru_inet inet;
    size_t at;
    int r = naru__inet_resolve(url, SOCK_STREAM, true, &inet);
    if (r < 0)
        return r;
    int fd = naru__inet_activated(&inet, SOCK_STREAM, &at);
    if (fd == -ENOENT)
        fd = -EADDRNOTAVAIL;
    for (size_t i = 0; i < inet.n && fd == -EADDRNOTAVAIL; i++) /* no IPv6: the next is IPv4 */
        fd = listen_one(url->text, &inet.address[i], o);
    if (fd >= 0)
        name_listener(url, &inet, fd, buf, n);
    return fd;
}
