/* SPDX-License-Identifier: MIT */
/* onc.c - ONC RPC (libtirpc) over a unix socket, with what rpcgen makes. It has one call in flight.
 */
#include "bench/harness.h"
#include "bench/peers/peers.h"
#include "bench/peers/sums.rpc.h"

#include <string.h>
#include <sys/un.h>

static CLIENT *client;

void sums_program_1(struct svc_req *request, SVCXPRT *transport); /* rpcgen -m */

u_quad_t *sums_add_1_svc(sums_pair *in, struct svc_req *request)
{
    static u_quad_t sum;
    (void)request;
    sum = in->a + in->b;
    return &sum;
}

void *sums_stop_1_svc(void *in, struct svc_req *request)
{
    static char nothing;
    (void)in, (void)request;
    svc_exit();
    return &nothing;
}

static int attach(int side)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = RPC_ANYSOCK;
    if (side == 1) {
        char *path = (char *)(uintptr_t)bench_socket();
        SVCXPRT *transport = svcunix_create(RPC_ANYSOCK, 0, 0, path);
        return transport && svc_register(transport, SUMS_PROGRAM, SUMS_VERSION, sums_program_1, 0)
                   ? 0
                   : bench_say("svcunix_create: no server at %s", path);
    }
    if (bench_await_socket())
        return -1;
    strncpy(address.sun_path, bench_socket(), sizeof address.sun_path - 1);
    client = clntunix_create(&address, SUMS_PROGRAM, SUMS_VERSION, &fd, 0, 0);
    return client ? 0 : bench_say("%s", clnt_spcreateerror("clntunix_create"));
}

static int start(uint64_t number)
{
    sums_pair in = {number, 1};
    const u_quad_t *sum = sums_add_1(&in, client);
    return sum ? bench_called(number, *sum) : bench_say("%s", clnt_sperror(client, "a call"));
}

static int harvest(void)
{
    return 0;
}

static int serve(void)
{
    svc_run();
    return 0;
}

static int finish(void)
{
    return sums_stop_1(NULL, client) ? 0 : bench_say("%s", clnt_sperror(client, "the last call"));
}

static void detach(int side)
{
    if (side == 0)
        clnt_destroy(client);
}

const struct adapter bench_onc = {
    .name = "ONC RPC",
    .reference = "bare unix socket, call",
    .setup = bench_socket_setup,
    .attach = attach,
    .start = start,
    .harvest = harvest,
    .serve = serve,
    .finish = finish,
    .detach = detach,
    .clean_up = bench_socket_clean_up,
    .max_size = 1,
};
