/* SPDX-License-Identifier: MIT */
/* calls.c - the rows of grpc.cpp and capnp.cpp, and the socket, with a name or a port, of those
 * that make one themselves. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct sockaddr_in port; /* or there, if it has one */

static void name(int pid)
{
    snprintf(address.sun_path, sizeof address.sun_path, "%.80s/calls-%d", bench_directory, pid);
}

int bench_socket_setup(void)
{
    name((int)getpid());
    return 0;
}

/* One that was free just now. */
int bench_port_setup(void)
{
    socklen_t n = sizeof port;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    port = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool found = bind(fd, (struct sockaddr *)&port, n) == 0 &&
                 getsockname(fd, (struct sockaddr *)&port, &n) == 0;
    int r = found ? 0 : bench_say("TCP: %s", strerror(errno));
    close(fd);
    return r;
}

const char *bench_socket(void)
{
    return address.sun_path;
}

int bench_port(void)
{
    return ntohs(port.sin_port);
}

int bench_await_socket(void)
{
    enum { TRIES = 20000, PAUSE_US = 500 };
    int r = -1;
    for (int i = 0; i < TRIES && r < 0; i++) {
        int fd = socket(bench_port() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        r = bench_port() ? connect(fd, (const struct sockaddr *)&port, sizeof port)
                         : connect(fd, (const struct sockaddr *)&address, sizeof address);
        close(fd);
        if (r < 0)
            usleep(PAUSE_US);
    }
    return r < 0 ? bench_say("%s: %s", address.sun_path, strerror(errno)) : 0;
}

void bench_socket_clean_up(int pid)
{
    name(pid);
    unlink(address.sun_path);
}

#define PEER(symbol, text, place, attach_of, start_of, harvest_of, serve_of, finish_of, detach_of, \
             any_order, most)                                                                      \
    const struct adapter symbol = {                                                                \
        .name = text,                                                                              \
        .reference = "bare unix socket, call",                                                     \
        .setup = bench_##place##_setup,                                                            \
        .attach = attach_of,                                                                       \
        .start = start_of,                                                                         \
        .harvest = harvest_of,                                                                     \
        .serve = serve_of,                                                                         \
        .finish = finish_of,                                                                       \
        .detach = detach_of,                                                                       \
        .clean_up = bench_socket_clean_up,                                                         \
        .unordered = any_order,                                                                    \
        .max_size = most,                                                                          \
    }

#define GRPC_STREAM(symbol, text, place, way)                                                      \
    const struct adapter symbol = {                                                                \
        .name = text,                                                                              \
        .setup = bench_##place##_setup,                                                            \
        .attach = bench_grpc_##way##_attach,                                                       \
        .within = bench_grpc_##way##_within,                                                       \
        .send = bench_grpc_send,                                                                   \
        .recv = bench_grpc_recv,                                                                   \
        .detach = bench_grpc_detach,                                                               \
        .clean_up = bench_socket_clean_up,                                                         \
        .min_size = 64,                                                                            \
        .max_size = 1 << 20,                                                                       \
        .modes = 1u << BENCH_CALL_STREAM,                                                          \
    }

#define GRPC(symbol, text, place)                                                                  \
    PEER(symbol, text ", synchronous", place, bench_grpc_attach, bench_grpc_start,                 \
         bench_grpc_harvest, bench_grpc_serve, bench_grpc_finish, bench_grpc_detach, true, 0);     \
    PEER(symbol##_callback, text ", callback", place, bench_grpc_callback_attach,                  \
         bench_grpc_callback_start, bench_grpc_callback_harvest, bench_grpc_serve,                 \
         bench_grpc_finish, bench_grpc_detach, true, 0);                                           \
    PEER(symbol##_queue, text ", completion queue", place, bench_grpc_queue_attach,                \
         bench_grpc_queue_start, bench_grpc_queue_harvest, bench_grpc_queue_serve,                 \
         bench_grpc_finish, bench_grpc_queue_detach, true, 0);                                     \
    PEER(symbol##_both, text ", one stream", place, bench_grpc_both_attach, bench_grpc_both_start, \
         bench_grpc_both_harvest, bench_grpc_serve, bench_grpc_both_finish, bench_grpc_detach,     \
         false, 32);                                                                               \
    GRPC_STREAM(symbol##_up, text ", client streams", place, up);                                  \
    GRPC_STREAM(symbol##_down, text ", server streams", place, down)

GRPC(bench_grpc, "gRPC C++", socket);
GRPC(bench_grpc_tcp, "gRPC C++ on TCP", port);
PEER(bench_capnp, "Cap'n Proto", socket, bench_capnp_attach, bench_capnp_start, bench_capnp_harvest,
     bench_capnp_serve, bench_capnp_finish, bench_capnp_detach, false, 0);
