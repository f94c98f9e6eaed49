/* SPDX-License-Identifier: MIT */
/* zmq.c - libzmq, a pair of sockets over ipc:, with its own default limit of 1000 messages. */
#include "bench/harness.h"
#include "bench/peers/peers.h"

#include <stdio.h>
#include <unistd.h>
#include <zmq.h>

static char url[120];
static void *context, *pair;

static void name(int pid)
{
    snprintf(url, sizeof url, "ipc://%s/zmq-%d", bench_directory, pid);
}

static int failed(const char *what)
{
    return bench_say("%s: %s", what, zmq_strerror(zmq_errno()));
}

static int setup(void)
{
    name((int)getpid());
    return 0;
}

static int attach(int side)
{
    const int zero = 0;
    context = zmq_ctx_new();
    pair = zmq_socket(context, ZMQ_PAIR);
    if (!pair || zmq_setsockopt(pair, ZMQ_LINGER, &zero, sizeof zero) < 0)
        return failed("zmq_socket");
    return (side ? zmq_bind(pair, url) : zmq_connect(pair, url)) < 0 ? failed(url) : 0;
}

static int send_one(const void *buf, size_t n)
{
    return zmq_send(pair, buf, n, 0) == (int)n ? 0 : failed("zmq_send");
}

static int recv_one(void *buf, size_t n)
{
    return zmq_recv(pair, buf, n, 0) == (int)n ? 0 : failed("zmq_recv");
}

static void detach(int side)
{
    (void)side;
    zmq_close(pair);
    zmq_ctx_term(context);
}

static void clean_up(int pid)
{
    name(pid);
    unlink(url + sizeof "ipc://" - 1);
}

const struct adapter bench_zmq = {.name = "zmq pair",
                                  .url = "shm:",
                                  .setup = setup,
                                  .attach = attach,
                                  .send = send_one,
                                  .recv = recv_one,
                                  .detach = detach,
                                  .clean_up = clean_up};
