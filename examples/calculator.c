/* SPDX-License-Identifier: MIT */
/* calculator.c - add(a, b) in another process, as calculator.proto describes it: what protoc makes
 * of that reads like a local call. */
#include "calculator.naru.h"

#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* snippet */
static int add(naru_call *call, void *self, Example__AddRequest *request)
{
    Example__AddReply reply = EXAMPLE__ADD_REPLY__INIT;
    (void)self;
    reply.sum = (int32_t)((uint32_t)request->a + (uint32_t)request->b);
    return example_calculator_add_reply(call, &reply);
}

static const struct example_calculator_handlers handlers = {.add = add};

static int call(naru_client *client, int32_t a, int32_t b, int32_t *ret_sum)
{
    Example__AddRequest request = EXAMPLE__ADD_REQUEST__INIT;
    Example__AddReply *reply;
    request.a = a;
    request.b = b;
    int r = example_calculator_add(client, &request, NULL, &reply);
    if (r < 0)
        return r;
    *ret_sum = reply->sum;
    example__add_reply__free_unpacked(reply, NULL);
    return 0;
}
/* end */

static int client_main(const char *url)
{
    naru_client *client;
    int32_t sum = 0;
    if (naru_client_open(url, NULL, &client) < 0 || call(client, 2, 3, &sum) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    printf("2 + 3 = %d\n", sum);
    naru_client_close(client);
    return sum != 5;
}

int main(void)
{
    char url[64];
    naru_server *server;
    naru_service calculator = example_calculator_service(&handlers);
    snprintf(url, sizeof url, "shm:example-calculator-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &calculator, NULL) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        int failed = client_main(url);
        naru_server_close(server); /* this process's copy */
        return failed;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0)
        naru_server_process(server, 20 * NARU_MS);
    naru_server_close(server);
    return status != 0;
}
