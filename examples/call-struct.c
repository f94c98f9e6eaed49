/* SPDX-License-Identifier: MIT */
/* call-struct.c - a method whose arguments are flat structs, checked at both sides. */
#include <naru/naru.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* snippet */
struct pair {
    int64_t a, b;
};
struct sum {
    int64_t is;
};

NARU_METHOD_STRUCT(add, "example.Calculator/Add", struct pair, struct sum)

static int adds(naru_call *call, void *self, const struct pair *n, struct sum *ret_sum)
{
    (void)self;
    if (__builtin_add_overflow(n->a, n->b, &ret_sum->is))
        return naru_call_fail(call, NARU_STATUS_OUT_OF_RANGE, "the sum is too large");
    return NARU_STATUS_OK;
}

NARU_SERVE_STRUCT(add, adds, struct pair, struct sum)

static const naru_method methods[] = {{"Add", 0, add_serve, NULL, &add_layout}};
/* end */
static const naru_service calculator = {
    .size = sizeof calculator, .name = "example.Calculator", .methods = methods, .n = 1};

static int serve(naru_channel *channel)
{
    naru_server *server;
    return naru_adopt(channel) < 0 || naru_server_new(NULL, &server) < 0 ||
           naru_server_add(server, &calculator, NULL) < 0 ||
           naru_server_attach(server, channel) < 0 || naru_server_run(server) < 0;
}

int main(void)
{
    naru_channel *mine, *theirs;
    naru_client *client;
    struct sum sum;
    struct naru_status status;
    if (naru_channel_pair("unix:", NULL, &mine, &theirs) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        naru_channel_close(mine);
        return serve(theirs);
    }
    naru_channel_close(theirs);
    if (naru_client_attach(mine, NULL, &client) < 0 ||
        add(client, &(struct pair){40, 2}, &sum, NULL) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    printf("40 + 2 = %lld\n", (long long)sum.is);
    if (add(client, &(struct pair){INT64_MAX, 1}, &sum, NULL) != -EREMOTEIO)
        return 1;
    naru_client_status(&status);
    printf("refused with status %d: %s\n", status.code, status.message);
    naru_client_close(client);
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    return status.code == NARU_STATUS_OUT_OF_RANGE ? 0 : 1;
}
