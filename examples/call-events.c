/* SPDX-License-Identifier: MIT */
/* call-events.c - many calls at once and no thread: their answers come as events, in a loop of the
 * program's own. */
#include <naru/naru.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int square(naru_call *call, void *self, const void *request, size_t size)
{
    int n = 0;
    (void)self;
    memcpy(&n, request, size < sizeof n ? size : sizeof n);
    return naru_call_send(call, &(int){n * n}, sizeof n, NARU_FOREVER);
}

static const naru_method methods[] = {{.name = "Square", .serve = square}};
static const naru_service service = {
    .size = sizeof service, .name = "example.Squares", .methods = methods, .n = 1};
static const naru_route route = {.path = "example.Squares/Square"};

/* snippet */
struct total {
    int sum, ended;
};

static void answered(naru_call *call, void *arg, const void *data, size_t size)
{
    int n = 0;
    (void)call;
    memcpy(&n, data, size < sizeof n ? size : sizeof n);
    ((struct total *)arg)->sum += n;
}

static void ended(naru_call *call, void *arg, const struct naru_status *status)
{
    if (status->code != NARU_STATUS_OK)
        fprintf(stderr, "%s\n", status->message);
    ((struct total *)arg)->ended++;
    naru_call_close(call);
}

static int call_many(naru_client *client, int n)
{
    const struct naru_call_events events = {
        .size = sizeof events, .message = answered, .end = ended};
    const struct naru_call_options o = {.size = sizeof o, .timeout = 5 * NARU_S};
    struct total total = {0, 0};
    struct pollfd p = {.fd = naru_fd(client), .events = POLLIN};
    naru_call *call;
    for (int i = 1; i <= n; i++)
        if (naru_call_begin(client, &route, &o, &call) < 0 ||
            naru_call_on(call, &events, &total) < 0 ||
            naru_call_send(call, &i, sizeof i, NARU_NOWAIT) < 0)
            return fprintf(stderr, "%s\n", naru_why()), -1;
    while (total.ended < n && poll(&p, 1, 5000) > 0)
        while (naru_client_process(client, NARU_NOWAIT) > 0)
            ;
    return total.sum;
}
/* end */

int main(void)
{
    char url[64];
    naru_server *server;
    naru_client *client;
    snprintf(url, sizeof url, "unix:@example-squares-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &service, NULL) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork(); /* the server is the parent's, who opened it */
    if (child == 0) {
        naru_server_close(server);
        if (naru_client_open(url, NULL, &client) < 0)
            return 1;
        int sum = call_many(client, 100);
        printf("the squares of 1 to 100 add up to %d\n", sum);
        naru_client_close(client);
        return sum == 338350 ? 0 : 1;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0)
        (void)naru_server_process(server, 20 * NARU_MS);
    naru_server_close(server);
    return status;
}
