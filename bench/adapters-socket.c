/* SPDX-License-Identifier: MIT */
/* adapters-socket.c - naru beside read(2) and write(2) on sockets: unix pairs, and TCP over the
 * loopback device with TCP_NODELAY on both. */
#include "bench/adapters.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the raw calls ---- */

static int sockets[2];

static int raw_unix_setup(void)
{
    return socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0
               ? bench_say("socketpair: %s", strerror(errno))
               : 0;
}

static int raw_tcp_setup(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);
    sockets[1] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (struct sockaddr *)&a, n) < 0 || listen(l, 1) < 0 ||
        getsockname(l, (struct sockaddr *)&a, &n) < 0 ||
        connect(sockets[1], (struct sockaddr *)&a, n) < 0 ||
        (sockets[0] = accept(l, NULL, NULL)) < 0)
        return bench_say("TCP: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return close(l);
}

static int raw_attach(int side)
{
    bench_in = bench_out = sockets[side];
    return close(sockets[!side]);
}

/* Writes do not sleep then either: the one message in flight fits. */
static int spin_attach(int side)
{
    raw_attach(side);
    return bench_no_sleep();
}

static void raw_detach(int side)
{
    (void)side;
    close(bench_in);
}

/* ---- naru ---- */

static naru_channel *ends[2];
static naru_stream *streams[2];

static int unix_setup(void)
{
    return naru_channel_pair("unix:", NULL, &ends[0], &ends[1]) < 0 ? bench_naru_failed() : 0;
}

static int unix_attach(int side)
{
    bench_sender = bench_receiver = ends[side];
    if (naru_adopt(ends[side]) < 0)
        return bench_naru_failed();
    naru_channel_close(ends[!side]);
    return 0;
}

static int unix_stream_setup(void)
{
    return naru_stream_pair("unix:", NULL, &streams[0], &streams[1]) < 0 ? bench_naru_failed() : 0;
}

static int unix_stream_attach(int side)
{
    bench_reader = bench_writer = streams[side];
    if (naru_adopt(streams[side]) < 0)
        return bench_naru_failed();
    naru_stream_close(streams[!side]);
    return 0;
}

/* TCP has no pairs: side 0 listens on a port chosen before, and side 1 asks until it does. */
static char url[64];

static int tcp_setup(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, n) < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        return bench_say("TCP: %s", strerror(errno));
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", ntohs(a.sin_port));
    return close(fd);
}

static int again(int r, int64_t *left)
{
    if (r != -ECONNREFUSED || (*left -= NARU_MS) < 0)
        return false;
    usleep(1000);
    return true;
}

static int tcp_attach(int side)
{
    naru_channel_listener *l = NULL;
    int64_t left = 5 * NARU_S;
    int r;
    if (side == 0) {
        r = naru_channel_listen(url, NULL, &l);
        if (r == 0)
            r = naru_channel_accept(l, left, &bench_sender);
        naru_channel_listener_close(l);
    } else {
        do
            r = naru_channel_connect(url, NULL, left, &bench_sender);
        while (again(r, &left));
    }
    bench_receiver = bench_sender;
    return r < 0 ? bench_naru_failed() : 0;
}

static int tcp_stream_attach(int side)
{
    naru_stream_listener *l = NULL;
    int64_t left = 5 * NARU_S;
    int r;
    if (side == 0) {
        r = naru_stream_listen(url, NULL, &l);
        if (r == 0)
            r = naru_stream_accept(l, left, &bench_reader);
        naru_stream_listener_close(l);
    } else {
        do
            r = naru_stream_open(url, NARU_READ | NARU_WRITE, NULL, left, &bench_reader);
        while (again(r, &left));
    }
    bench_writer = bench_reader;
    return r < 0 ? bench_naru_failed() : 0;
}

static void channel_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
}

static void stream_detach(int side)
{
    (void)side;
    naru_stream_close(bench_reader);
}

#define RAW(scheme, title)                                                                         \
    const struct adapter bench_raw_##scheme = {.name = "raw " title,                               \
                                               .url = #scheme ":",                                 \
                                               .setup = raw_##scheme##_setup,                      \
                                               .attach = raw_attach,                               \
                                               .send = bench_raw_send,                             \
                                               .recv = bench_raw_recv,                             \
                                               .detach = raw_detach};                              \
    const struct adapter bench_spinning_##scheme = {.name = "raw " title ", spinning",             \
                                                    .url = #scheme ":",                            \
                                                    .setup = raw_##scheme##_setup,                 \
                                                    .attach = spin_attach,                         \
                                                    .send = bench_raw_send,                        \
                                                    .recv = bench_spin_recv,                       \
                                                    .detach = raw_detach,                          \
                                                    .max_size = 64 << 10,                          \
                                                    .modes = 1u << BENCH_LATENCY};                 \
    const struct adapter bench_gathered_##scheme = {.name = "raw " title ", gathered",             \
                                                    .url = #scheme ":",                            \
                                                    .setup = raw_##scheme##_setup,                 \
                                                    .attach = raw_attach,                          \
                                                    .send = bench_raw_send,                        \
                                                    .recv = bench_raw_recv,                        \
                                                    .send_batch = bench_raw_send_batch,            \
                                                    .recv_batch = bench_raw_recv_batch,            \
                                                    .detach = raw_detach,                          \
                                                    .modes = 1u << BENCH_BATCH};
#define NARU(scheme, title, raw_title, stream_setup_)                                              \
    const struct adapter bench_naru_##scheme = {.name = "naru " title " connection",               \
                                                .url = #scheme ":",                                \
                                                .reference = "raw " raw_title,                     \
                                                .setup = scheme##_setup,                           \
                                                .attach = scheme##_attach,                         \
                                                .send = bench_channel_send,                        \
                                                .recv = bench_channel_recv,                        \
                                                .send_batch = bench_channel_send_batch,            \
                                                .recv_batch = bench_channel_recv_batch,            \
                                                .detach = channel_detach};                         \
    const struct adapter bench_naru_##scheme##_stream = {.name = "naru " title " stream",          \
                                                         .url = #scheme ":",                       \
                                                         .reference = "raw " raw_title,            \
                                                         .setup = stream_setup_,                   \
                                                         .attach = scheme##_stream_attach,         \
                                                         .send = bench_stream_send,                \
                                                         .recv = bench_stream_recv,                \
                                                         .detach = stream_detach};
RAW(unix, "unix socket")
NARU(unix, "unix", "unix socket", unix_stream_setup)
RAW(tcp, "TCP")
NARU(tcp, "TCP", "TCP", tcp_setup)
