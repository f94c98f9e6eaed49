/* SPDX-License-Identifier: MIT */
/* adapters-datagram.c - naru beside read(2) and write(2) on sockets that keep messages apart. UDP
 * has no row but the one message in flight: it loses what is sent too fast. */
#include "bench/adapters.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGEST = 65536, LARGEST_UDP = 32768 };

/* ---- the raw calls ---- */

static int sockets[2];

static int pair_setup(int type)
{
    return socketpair(AF_UNIX, type, 0, sockets) < 0 ? bench_say("socketpair: %s", strerror(errno))
                                                     : 0;
}

static int raw_packet_setup(void)
{
    return pair_setup(SOCK_SEQPACKET);
}

static int raw_dgram_setup(void)
{
    return pair_setup(SOCK_DGRAM);
}

/* Two sockets of free ports of this host, each connected to the other. */
static int raw_udp_setup(void)
{
    struct sockaddr_in a[2];
    socklen_t n = sizeof a[0];
    for (int i = 0; i < 2; i++) {
        a[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(sockets[i], (struct sockaddr *)&a[i], n) < 0 ||
            getsockname(sockets[i], (struct sockaddr *)&a[i], &n) < 0)
            return bench_say("UDP: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++)
        if (connect(sockets[i], (struct sockaddr *)&a[!i], n) < 0)
            return bench_say("UDP: %s", strerror(errno));
    return 0;
}

static int raw_attach(int side)
{
    bench_in = bench_out = sockets[side];
    return close(sockets[!side]);
}

static void raw_detach(int side)
{
    (void)side;
    close(bench_in);
}

/* ---- naru ---- */

static naru_channel *ends[2];
static char urls[2][160];
static int barrier[2]; /* both ends of a unix socket */

static int packet_setup(void)
{
    return naru_channel_pair("unix+seqpacket:", NULL, &ends[0], &ends[1]) < 0 ? bench_naru_failed()
                                                                              : 0;
}

static int packet_attach(int side)
{
    bench_sender = bench_receiver = ends[side];
    if (naru_adopt(ends[side]) < 0)
        return bench_naru_failed();
    naru_channel_close(ends[!side]);
    return 0;
}

static void packet_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
}

static int dgram_setup(void)
{
    for (int i = 0; i < 2; i++)
        snprintf(urls[i], sizeof urls[i], "unix+dgram:%s/datagram-%d-%d", bench_directory,
                 (int)getpid(), i);
    return socketpair(AF_UNIX, SOCK_STREAM, 0, barrier);
}

static int udp_setup(void)
{
    if (raw_udp_setup() < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in a;
        socklen_t n = sizeof a;
        getsockname(sockets[i], (struct sockaddr *)&a, &n);
        snprintf(urls[i], sizeof urls[i], "udp://127.0.0.1:%d", ntohs(a.sin_port));
    }
    close(sockets[0]);
    close(sockets[1]);
    return socketpair(AF_UNIX, SOCK_STREAM, 0, barrier);
}

/* Nothing is sent before both receive. */
static int queue_attach(int side)
{
    char byte = 0;
    if (naru_queue_open(urls[side], NARU_RECV, NULL, &bench_receiver) < 0)
        return bench_naru_failed();
    if (write(barrier[side], &byte, 1) != 1 || read(barrier[side], &byte, 1) != 1)
        return bench_say("the other side has gone");
    close(barrier[0]);
    close(barrier[1]);
    return naru_queue_open(urls[!side], NARU_SEND, NULL, &bench_sender) < 0 ? bench_naru_failed()
                                                                            : 0;
}

static void queue_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
    naru_channel_close(bench_receiver);
}

#define RAW(id, title, scheme, most, in_modes)                                                     \
    const struct adapter bench_raw_##id = {.name = "raw " title,                                   \
                                           .url = scheme,                                          \
                                           .setup = raw_##id##_setup,                              \
                                           .attach = raw_attach,                                   \
                                           .send = bench_raw_send,                                 \
                                           .recv = bench_raw_recv,                                 \
                                           .detach = raw_detach,                                   \
                                           .max_size = (most),                                     \
                                           .modes = (in_modes)};
#define NARU(id, title, scheme, raw_title, how, most, in_modes)                                    \
    const struct adapter bench_naru_##id = {.name = "naru " title,                                 \
                                            .url = scheme,                                         \
                                            .reference = "raw " raw_title,                         \
                                            .setup = id##_setup,                                   \
                                            .attach = how##_attach,                                \
                                            .send = bench_channel_send,                            \
                                            .recv = bench_channel_recv,                            \
                                            .detach = how##_detach,                                \
                                            .max_size = (most),                                    \
                                            .modes = (in_modes)};
RAW(packet, "unix packets", "unix+seqpacket:", LARGEST, 0)
NARU(packet, "packet connection", "unix+seqpacket:", "unix packets", packet, LARGEST, 0)
RAW(dgram, "unix datagrams", "unix+dgram:", LARGEST, 0)
NARU(dgram, "datagram queue", "unix+dgram:", "unix datagrams", queue, LARGEST, 0)
RAW(udp, "UDP", "udp:", LARGEST_UDP, 1u << BENCH_LATENCY)
NARU(udp, "UDP queue", "udp:", "UDP", queue, LARGEST_UDP, 1u << BENCH_LATENCY)
