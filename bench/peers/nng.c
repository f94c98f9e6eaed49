/* SPDX-License-Identifier: MIT */
/* nng.c - nng, a pair of sockets over ipc:. Its buffers are 0 by default, which makes a stream wait
 * for every message; here they are 128. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdio.h>
#include <unistd.h>

static char url[120];
static nng_socket pair;

static void name(int pid)
{
    snprintf(url, sizeof url, "ipc://%s/nng-%d", bench_directory, pid);
}

static int setup(void)
{
    name((int)getpid());
    return 0;
}

static int attach(int side)
{
    int r = nng_pair0_open(&pair);
    if (r)
        return bench_say("nng_pair0_open: %s", nng_strerror(r));
    nng_socket_set_size(pair, NNG_OPT_RECVMAXSZ, 0);
    nng_socket_set_int(pair, NNG_OPT_SENDBUF, 128);
    nng_socket_set_int(pair, NNG_OPT_RECVBUF, 128);
    if (side)
        r = nng_listen(pair, url, NULL, 0);
    else /* until the other listens */
        for (int i = 0; i < 400 && (r = nng_dial(pair, url, NULL, 0)) != 0; i++)
            usleep(5000);
    return r ? bench_say("%s: %s", url, nng_strerror(r)) : 0;
}

static int send_one(const void *buf, size_t n)
{
    int r = nng_send(pair, (void *)(uintptr_t)buf, n, 0);
    return r ? bench_say("nng_send: %s", nng_strerror(r)) : 0;
}

static int recv_one(void *buf, size_t n)
{
    size_t came = n;
    int r = nng_recv(pair, buf, &came, 0);
    return r || came != n ? bench_say("nng_recv: %s, %zu bytes", nng_strerror(r), came) : 0;
}

static void detach(int side)
{
    (void)side;
    nng_close(pair);
}

static void clean_up(int pid)
{
    name(pid);
    unlink(url + sizeof "ipc://" - 1);
}

const struct adapter bench_nng = {.name = "nng pair",
                                  .url = "shm:",
                                  .setup = setup,
                                  .attach = attach,
                                  .send = send_one,
                                  .recv = recv_one,
                                  .detach = detach,
                                  .clean_up = clean_up};
