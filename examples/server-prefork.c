/* SPDX-License-Identifier: MIT */
/* server-prefork.c - the listener is made before the workers are forked, and each adopts it: they
 * accept from one queue of connections, and each connection has one worker. A worker that dies
 * takes only its own connection with it. */
#include <naru/naru.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, CLIENTS = 200 };

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, naru_why());
    return 1;
}

static int worker(naru_channel_listener *listener, int number)
{
    naru_channel *c;
    char text[64];
    if (naru_adopt(listener) < 0)
        return failed("adopting the listener");
    while (naru_channel_accept(listener, NARU_FOREVER, &c) == 0) {
        ssize_t n = naru_channel_recv(c, 0, text, sizeof text, NULL, 10 * NARU_S);
        if (n < 0 || naru_channel_send(c, 1, &number, sizeof number, 10 * NARU_S) < 0)
            failed("a client"); /* it may have gone: that is its own affair */
        naru_channel_close(c);
    }
    return failed("accepting");
}

int main(void)
{
    naru_channel_listener *listener;
    pid_t pid[WORKERS];
    int served[WORKERS] = {0}, status = 0;
    char url[64];
    snprintf(url, sizeof url, "unix:@example-server-prefork-%d", (int)getpid());
    if (naru_channel_listen(url, NULL, &listener) < 0)
        return failed("listening");
    for (int i = 0; i < WORKERS; i++)
        if ((pid[i] = fork()) == 0)
            _exit(worker(listener, i));

    for (int i = 0; i < CLIENTS && status == 0; i++) {
        naru_channel *c;
        int by;
        if (i == CLIENTS / 2) { /* the others go on */
            kill(pid[0], SIGKILL);
            waitpid(pid[0], NULL, 0);
        }
        if (naru_channel_connect(url, NULL, 10 * NARU_S, &c) < 0)
            return failed("connecting");
        if (naru_channel_send(c, 1, "hello", 5, 10 * NARU_S) < 0 ||
            naru_channel_recv(c, 0, &by, sizeof by, NULL, 10 * NARU_S) < 0)
            status = failed("being served");
        else
            served[by]++;
        naru_channel_close(c);
    }
    for (int i = 0; i < WORKERS; i++) {
        printf("worker %d served %d%s\n", i, served[i], i == 0 ? " and was killed" : "");
        if (i > 0) {
            kill(pid[i], SIGTERM);
            waitpid(pid[i], NULL, 0);
        }
    }
    naru_channel_listener_close(listener);
    return status;
}
