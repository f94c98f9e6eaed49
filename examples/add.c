/* SPDX-License-Identifier: MIT */
/* add.c - the smallest service: add(a, b) in another process, over shared memory. The local call
 * that it replaces is add-local.c, the same with sockets add-sockets.c. */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* snippet */
static int add(naru_call *call, void *self, const void *request, size_t size)
{
    const int *n = request;
    (void)self;
    return size != 8 ? -EINVAL : naru_call_send(call, &(int){n[0] + n[1]}, 4, NARU_FOREVER);
}

static const naru_method methods[] = {{.name = "Add", .serve = add}};
static const naru_service calculator = {
    .size = sizeof calculator, .name = "example.Calculator", .methods = methods, .n = 1};
static const naru_route route = {.path = "example.Calculator/Add"};

static int call(naru_client *client, int a, int b)
{
    struct naru_payload sum;
    int n = naru_client_invoke(client, &route, (int[]){a, b}, 8, NULL, &sum);
    if (n == 0) {
        n = *(const int *)sum.data;
        naru_client_release(client, &sum);
    }
    return n;
}
/* end */

int main(void)
{
    char url[64];
    naru_server *server;
    naru_client *client;
    snprintf(url, sizeof url, "shm:example-add-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &calculator, NULL) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        int sum = naru_client_open(url, NULL, &client) < 0 ? -1 : call(client, 2, 3);
        printf("2 + 3 = %d\n", sum);
        naru_client_close(client);
        naru_server_close(server); /* this process's copy */
        return sum == 5 ? 0 : 1;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0)
        naru_server_process(server, 20 * NARU_MS);
    naru_server_close(server);
    return status;
}
