/* SPDX-License-Identifier: MIT */
/* http2-server.c - the server that tests/http2-rules asks: EmptyCall, over the URL given; says its
 * own, and ends with standard input. */
#include <naru/naru.h>
#include <poll.h>
#include <stdio.h>

static int answer(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self, (void)request, (void)size;
    return naru_call_send(call, "", 0, NARU_FOREVER);
}

int main(int argc, char **argv)
{
    static const naru_method methods[] = {{"EmptyCall", 0, answer, NULL, NULL}};
    static const naru_service service = {.size = sizeof service,
                                         .name = "grpc.testing.TestService",
                                         .methods = methods,
                                         .n = sizeof methods / sizeof *methods};
    const struct naru_server_options options = {.size = sizeof options, .max_calls_each = 100};
    naru_server *server;
    if (argc != 2)
        return 2;
    if (naru_server_new(&options, &server) < 0 || naru_server_add(server, &service, NULL) < 0 ||
        naru_server_listen(server, argv[1]) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    printf("%s\n", naru_url(server));
    fflush(stdout);
    struct pollfd p[] = {{0, POLLIN, 0}, {naru_fd(server), POLLIN, 0}};
    while (poll(p, 2, -1) >= 0 && !p[0].revents)
        naru_server_process(server, NARU_NOWAIT);
    naru_server_close(server);
    return 0;
}
