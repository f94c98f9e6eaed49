/* SPDX-License-Identifier: MIT */
/* server-epoll.c - one process, one epoll loop, 1 000 clients at once. Nothing in the loop waits
 * for one client: every call is made with NARU_NOWAIT, and a client that does not read its answers
 * is sent away. */
#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 1000, QUESTION = 1, ANSWER = 2 };

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, naru_why());
    return 1;
}

/* ---- the clients: all in one child, for this example ---- */

static int clients(const char *url)
{
    static naru_channel *c[CLIENTS];
    char text[32];
    for (int i = 0; i < CLIENTS; i++)
        if (naru_channel_connect(url, NULL, 10 * NARU_S, &c[i]) < 0)
            return failed("connecting");
    for (int i = 0; i < CLIENTS; i++) {
        int n = snprintf(text, sizeof text, "%d", i);
        if (naru_channel_send(c[i], QUESTION, text, (size_t)n, 10 * NARU_S) < 0)
            return failed("asking");
    }
    for (int i = 0; i < CLIENTS; i++) {
        ssize_t n = naru_channel_recv(c[i], ANSWER, text, sizeof text - 1, NULL, 10 * NARU_S);
        if (n < 0)
            return failed("the answer");
        text[n] = '\0';
        if (atoi(text) != 2 * i)
            return fprintf(stderr, "client %d was answered %s\n", i, text), 1;
        naru_channel_close(c[i]);
    }
    return 0;
}

/* ---- the server ---- */

static int loop, connected, served;

static int watch(void *handle)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = handle};
    int fd = naru_fd(handle);
    return fd < 0 ? fd : epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e);
}

static void accept_all(naru_channel_listener *listener)
{
    naru_channel *c;
    int r;
    while ((r = naru_channel_accept(listener, NARU_NOWAIT, &c)) == 0) {
        if (watch(c) < 0) {
            failed("watching a client");
            naru_channel_close(c);
        } else {
            connected++;
        }
    }
    if (r != -EAGAIN) /* -EMFILE: naru has refused one, and says so; the others are served */
        failed("accepting");
}

static void serve(naru_channel *c)
{
    char text[32];
    ssize_t n;
    while ((n = naru_channel_recv(c, 0, text, sizeof text - 1, NULL, NARU_NOWAIT)) >= 0) {
        text[n] = '\0';
        int m = snprintf(text, sizeof text, "%d", 2 * atoi(text));
        n = naru_channel_send(c, ANSWER, text, (size_t)m, NARU_NOWAIT);
        if (n < 0)
            break; /* -EAGAIN: it does not read */
        served++;
    }
    if (n == -EAGAIN && naru_want(c, NARU_IN) == 0)
        return; /* no more for now */
    if (n != -EPIPE)
        failed("a client was sent away");
    naru_channel_close(c); /* takes its descriptor out of the epoll set */
    connected--;
}

int main(void)
{
    struct rlimit limit; /* each client takes three descriptors here */
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    naru_channel_listener *listener;
    char url[64];
    snprintf(url, sizeof url, "unix:@example-server-epoll-%d", (int)getpid());
    if (naru_channel_listen(url, NULL, &listener) < 0)
        return failed("listening");
    pid_t child = fork();
    if (child == 0)
        _exit(clients(url));
    loop = epoll_create1(EPOLL_CLOEXEC);
    if (watch(listener) < 0)
        return failed("watching the listener");
    while (served < CLIENTS || connected > 0) {
        struct epoll_event ready[64];
        int n = epoll_wait(loop, ready, 64, 10000);
        if (n <= 0)
            return fprintf(stderr, "nothing came for 10 s, %d were served\n", served), 1;
        for (int i = 0; i < n; i++) {
            if (ready[i].data.ptr == listener)
                accept_all(listener);
            else
                serve(ready[i].data.ptr);
        }
    }
    int status;
    waitpid(child, &status, 0);
    printf("%d clients were served by one process\n", served);
    naru_channel_listener_close(listener);
    close(loop);
    return status != 0;
}
