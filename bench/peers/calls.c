/* SPDX-License-Identifier: MIT */
/* calls.c - the rows of grpc.cpp and capnp.cpp, and the socket of those that make one by a name. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void name(int pid)
{
    snprintf(address.sun_path, sizeof address.sun_path, "%.80s/calls-%d", bench_directory, pid);
}

int bench_socket_setup(void)
{
    name((int)getpid());
    return 0;
}

const char *bench_socket(void)
{
    return address.sun_path;
}

int bench_await_socket(void)
{
    enum { TRIES = 20000, PAUSE_US = 500 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = -1;
    for (int i = 0; i < TRIES && r < 0; i++) {
        r = connect(fd, (const struct sockaddr *)&address, sizeof address);
        if (r < 0)
            usleep(PAUSE_US);
    }
    close(fd);
    return r < 0 ? bench_say("%s: %s", address.sun_path, strerror(errno)) : 0;
}

void bench_socket_clean_up(int pid)
{
    name(pid);
    unlink(address.sun_path);
}

#define PEER(symbol, text, attach_of, start_of, harvest_of, library, any_order)                    \
    const struct adapter symbol = {                                                                \
        .name = text,                                                                              \
        .reference = "bare unix socket, call",                                                     \
        .setup = bench_socket_setup,                                                               \
        .attach = attach_of,                                                                       \
        .start = start_of,                                                                         \
        .harvest = harvest_of,                                                                     \
        .serve = library##_serve,                                                                  \
        .finish = library##_finish,                                                                \
        .detach = library##_detach,                                                                \
        .clean_up = bench_socket_clean_up,                                                         \
        .unordered = any_order,                                                                    \
    }

PEER(bench_grpc, "gRPC C++, synchronous", bench_grpc_attach, bench_grpc_start, bench_grpc_harvest,
     bench_grpc, true);
PEER(bench_grpc_callback, "gRPC C++, callback", bench_grpc_callback_attach,
     bench_grpc_callback_start, bench_grpc_callback_harvest, bench_grpc, true);
PEER(bench_capnp, "Cap'n Proto", bench_capnp_attach, bench_capnp_start, bench_capnp_harvest,
     bench_capnp, false);
