/* SPDX-License-Identifier: MIT */
/* servers.c - one server and clients of every sort: slow ones, silent ones, ones that do not read,
 * ones that break off, and too many. The others are served meanwhile. */
#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const places[] = {"unix:%s/s", "tcp://127.0.0.1:0"};
enum { PLACES = 2 };

/* ---- the server: an epoll loop that echoes ---- */

enum { CLIENTS_MAX = 1024 };
static struct server {
    naru_channel_listener *l;
    naru_channel *c[CLIENTS_MAX];
    int n, loop;
    long echoed, refused, broken; /* broken: sent away for an error */
} v;

static void start_server(const char *url)
{
    memset(&v, 0, sizeof v);
    expect_ok(naru_channel_listen(url, NULL, &v.l));
    v.loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = -1};
    expect(epoll_ctl(v.loop, EPOLL_CTL_ADD, naru_fd(v.l), &e) == 0);
}

static void admit_all(void)
{
    naru_channel *c;
    int r;
    while ((r = naru_channel_accept(v.l, NARU_NOWAIT, &c)) == 0) {
        int at = 0;
        while (v.c[at])
            expect(++at < CLIENTS_MAX);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = at};
        int fd = naru_fd(c);
        if (fd < 0 || epoll_ctl(v.loop, EPOLL_CTL_ADD, fd, &e) < 0) { /* no descriptor for it */
            naru_channel_close(c);
            v.refused++;
            continue;
        }
        v.c[at] = c;
        v.n++;
    }
    v.refused += r == -EMFILE;
    expect(r == -EAGAIN || r == -EMFILE);
}

static void serve(int at)
{
    static char text[65536];
    struct naru_info info;
    ssize_t n;
    int r = 0;
    while (r == 0 &&
           (n = naru_channel_recv(v.c[at], 0, text, sizeof text, &info, NARU_NOWAIT)) >= 0) {
        r = naru_channel_send(v.c[at], info.type, text, (size_t)n, NARU_NOWAIT);
        v.echoed += r == 0;
    }
    if (r == 0 && n == -EAGAIN)
        return;
    v.broken += r < 0 || n != -EPIPE;
    v.c[at] = naru_channel_close(v.c[at]);
    v.n--;
}

/* Serves until `done` says so. */
static void run_server(bool (*done)(void), int64_t at_most)
{
    struct epoll_event ready[64];
    int64_t end = test_now() + at_most;
    while (!done()) {
        if (test_now() > end)
            test_failed(__FILE__, __LINE__, "%d clients are left, %ld were echoed", v.n, v.echoed);
        int n = epoll_wait(v.loop, ready, 64, 20);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd < 0)
                admit_all();
            else if (v.c[ready[i].data.fd])
                serve(ready[i].data.fd);
        }
    }
}

static void stop_server(void)
{
    for (int i = 0; i < CLIENTS_MAX; i++)
        naru_channel_close(v.c[i]);
    naru_channel_listener_close(v.l);
    close(v.loop);
}

static pid_t good_client;
static bool good_client_done(void)
{
    int status;
    if (waitpid(good_client, &status, WNOHANG) == 0)
        return false;
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

/* 1 000 questions, none of which may take long. */
static void ask(void *url)
{
    naru_channel *c;
    int64_t slowest = 0;
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c));
    for (int i = 0; i < 1000; i++) {
        int got = -1;
        int64_t before = test_now();
        expect_ok(naru_channel_send(c, 1, &i, sizeof i, PATIENCE));
        expect_code(sizeof got, naru_channel_recv(c, 0, &got, sizeof got, NULL, PATIENCE));
        expect(got == i);
        slowest = test_now() - before > slowest ? test_now() - before : slowest;
    }
    printf("# the slowest of 1 000 answers took %.2f ms\n", (double)slowest / 1e6);
    fflush(stdout);
    expect(slowest < PATIENCE);
    naru_channel_close(c);
}

/* A socket connected to where the server listens, by hand. */
static int dial(const char *url)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_unix = url[0] == 'u';
    snprintf(local.sun_path, sizeof local.sun_path, "%s", strchr(url, ':') + 1);
    host.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect(connect(fd, is_unix ? (struct sockaddr *)&local : (struct sockaddr *)&host,
                   is_unix ? sizeof local : sizeof host) == 0);
    return fd;
}

/* What a naru client says first, recorded from one: a greeting and a message. */
static size_t recorded(char *buf, size_t size)
{
    naru_stream_listener *l;
    naru_channel *c;
    naru_stream *tap;
    size_t n = 0;
    char hello[64];
    expect_ok(naru_stream_listen(test_url("unix:%s/tap"), NULL, &l));
    expect_ok(naru_channel_connect(test_url("unix:%s/tap"), NULL, PATIENCE, &c));
    expect_ok(naru_stream_accept(l, PATIENCE, &tap));
    expect_ok(naru_stream_read_all(tap, hello, 64, PATIENCE, NULL));
    expect_ok(naru_stream_write_all(tap, hello, 64, PATIENCE, NULL)); /* greeted by itself */
    memcpy(buf, hello, 64);
    n = 64;
    expect_ok(naru_channel_send(c, 7, "slowly", 6, PATIENCE));
    ssize_t r = naru_stream_read(tap, buf + n, size - n, PATIENCE);
    expect_ok(r);
    naru_channel_close(c);
    naru_stream_close(tap);
    naru_stream_listener_close(l);
    return n + (size_t)r;
}

/* ---- slow and silent ---- */

enum { SLOW = 100, SILENT = 100 };
static int slow[SLOW], silent[SILENT];
static char words[512];
static size_t n_words;

/* Each slow client sends a byte at a time, all the while. */
static void drip(void *url)
{
    for (int i = 0; i < SLOW; i++)
        slow[i] = dial(url);
    for (int i = 0; i < SILENT; i++)
        silent[i] = dial(url);
    for (size_t at = 0; at < n_words; at++) {
        for (int i = 0; i < SLOW; i++)
            expect(send(slow[i], words + at, 1, MSG_NOSIGNAL) == 1);
        usleep(5000);
    }
    char answer[512];
    for (int i = 0; i < SLOW; i++) { /* in the end they are served like the others */
        size_t got = 0;
        while (got < n_words) {
            ssize_t n = read(slow[i], answer + got, sizeof answer - got);
            expect(n > 0);
            got += (size_t)n;
        }
        expect(memmem(answer, got, "slowly", 6));
    }
    for (int i = 0; i < SLOW; i++)
        close(slow[i]);
    for (int i = 0; i < SILENT; i++) /* half of them break off in their greeting */
        if (i % 2 == 0)
            expect(send(silent[i], words, 20, MSG_NOSIGNAL) == 20);
}

static bool nobody_left(void)
{
    return v.n == 0 && v.echoed > 0;
}

static void slow_loris(void)
{
    n_words = recorded(words, sizeof words);
    for (int i = 0; i < PLACES; i++) {
        start_server(test_url(places[i]));
        char url[128];
        snprintf(url, sizeof url, "%s", naru_url(v.l));
        pid_t child = start_child(drip, url);
        good_client = start_child(ask, url);
        run_server(good_client_done, PATIENCE);
        run_server(nobody_left, PATIENCE);
        end_child(child);
        expect_code(1000 + SLOW, v.echoed);
        stop_server();
    }
}

/* ---- half open: stopped in the middle, or not reading ---- */

static void ask_and_stop(void *url)
{
    static char block[60000];
    naru_channel *c;
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c));
    for (int i = 0; i < 200; i++) /* until the answers that it does not read stand in the way */
        if (naru_channel_send(c, 1, block, sizeof block, 100 * NARU_MS) < 0)
            break;
    pause();
}

static void does_not_read(void)
{
    for (int i = 0; i < PLACES; i++) {
        start_server(test_url(places[i]));
        char url[128];
        snprintf(url, sizeof url, "%s", naru_url(v.l));
        pid_t stuck[3];
        for (int k = 0; k < 3; k++)
            stuck[k] = start_child(ask_and_stop, url);
        good_client = start_child(ask, url);
        run_server(good_client_done, PATIENCE);
        for (int k = 0; k < 3; k++) {
            kill(stuck[k], SIGKILL);
            waitpid(stuck[k], NULL, 0);
        }
        run_server(nobody_left, PATIENCE);
        stop_server();
    }
}

/* ---- resets ---- */

static void break_off(void *url)
{
    const struct linger hard = {1, 0};
    for (int i = 0; i < 300; i++) { /* after each number of bytes of a greeting and a message */
        int fd = dial(url);
        size_t n = (size_t)i % n_words;
        expect(n == 0 || send(fd, words, n, MSG_NOSIGNAL) == (ssize_t)n);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
    }
}

static void resets(void)
{
    n_words = recorded(words, sizeof words);
    for (int i = 0; i < PLACES; i++) {
        start_server(test_url(places[i]));
        char url[128];
        snprintf(url, sizeof url, "%s", naru_url(v.l));
        int before = open_descriptors();
        pid_t child = start_child(break_off, url);
        good_client = start_child(ask, url);
        run_server(good_client_done, PATIENCE);
        run_server(nobody_left, PATIENCE);
        end_child(child);
        run_server(nobody_left, PATIENCE);
        expect_code(1000, v.echoed); /* nothing partial was taken for a message */
        expect(open_descriptors() == before);
        stop_server();
    }
}

/* ---- too many ---- */

static void raise_limit(rlim_t wanted)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < wanted)
        test_skip("RLIMIT_NOFILE's hard limit is below what 10 000 connections need");
    limit.rlim_cur = wanted;
    expect(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

enum { CROWD = 10000 };

/* 10 000 connect before anybody is accepted; each wants one byte. */
static void crowd(void *url)
{
    static naru_stream *s[CROWD];
    char byte;
    for (int i = 0; i < CROWD; i++)
        expect_ok(naru_stream_open(url, NARU_READ | NARU_WRITE, NULL, 50 * NARU_S, &s[i]));
    for (int i = 0; i < CROWD; i++) {
        expect_code(1, naru_stream_read(s[i], &byte, 1, 50 * NARU_S));
        naru_stream_close(s[i]);
    }
}

static void full_backlog(void)
{
    raise_limit(CROWD + 100);
    for (int i = 0; i < PLACES; i++) {
        struct naru_listen_options o = {.size = sizeof o, .backlog = CROWD};
        struct naru_stats stats = {.size = sizeof stats};
        naru_stream_listener *l;
        naru_stream *s;
        expect_ok(naru_stream_listen(test_url(places[i]), &o, &l));
        expect_ok(naru_stats(l, &stats));
        expect(stats.capacity_asked == CROWD);
        expect(stats.capacity == CROWD || strstr(stats.note, "net.core.somaxconn"));
        pid_t child = start_child(crowd, (void *)(uintptr_t)naru_url(l));
        usleep(300000); /* the backlog fills, the rest waits outside */
        for (int k = 0; k < CROWD; k++) {
            expect_ok(naru_stream_accept(l, PATIENCE, &s));
            expect_ok(naru_stream_write_all(s, "x", 1, PATIENCE, NULL));
            naru_stream_close(s);
        }
        end_child(child);
        expect_code(-EAGAIN, naru_stream_accept(l, NARU_NOWAIT, &s));
        naru_stream_listener_close(l);
    }
}

/* More clients than descriptors: those that have one are served, the others are refused by count,
 * and when some have left others come in. */
static void press_in(void *url)
{
    naru_channel *c;
    int in = 0, out = 0;
    for (int i = 0; i < 60; i++) {
        int got, r = naru_channel_connect(url, NULL, PATIENCE, &c);
        expect_ok(r);
        r = naru_channel_send(c, 1, &i, sizeof i, PATIENCE);
        if (r == 0)
            r = (int)naru_channel_recv(c, 0, &got, sizeof got, NULL, PATIENCE);
        in += r == sizeof got;
        out += r == -EPIPE || r == -ECONNRESET;
        expect(in + out == i + 1);
        if (i % 3 == 0) /* two of three stay */
            naru_channel_close(c);
    }
    printf("# %d were served, %d refused\n", in, out);
    fflush(stdout);
    expect(in >= 20 && out >= 10);
    pause();
}

static void descriptors_run_out(void)
{
    for (int i = 0; i < PLACES; i++) {
        struct rlimit limit;
        struct naru_stats stats = {.size = sizeof stats};
        char url[128];
        start_server(test_url(places[i]));
        snprintf(url, sizeof url, "%s", naru_url(v.l));
        pid_t child = start_child(press_in, url);
        getrlimit(RLIMIT_NOFILE, &limit);
        const struct rlimit few = {60, limit.rlim_max};
        setrlimit(RLIMIT_NOFILE, &few);
        int64_t end = test_now() + PATIENCE;
        while (v.refused < 10 && test_now() < end) {
            struct epoll_event ready[64];
            int n = epoll_wait(v.loop, ready, 64, 100);
            for (int k = 0; k < n; k++)
                ready[k].data.fd < 0 ? admit_all() : serve(ready[k].data.fd);
        }
        expect_ok(naru_stats(v.l, &stats));
        printf("# refused: %ld; %s\n", v.refused, stats.note);
        kill(child, SIGKILL); /* everybody leaves, and the server meets it */
        waitpid(child, NULL, 0);
        run_server(nobody_left, PATIENCE);
        setrlimit(RLIMIT_NOFILE, &limit);
        good_client = start_child(ask, url);
        setrlimit(RLIMIT_NOFILE, &few);
        run_server(good_client_done, PATIENCE); /* and somebody comes in again */
        setrlimit(RLIMIT_NOFILE, &limit);
        stop_server();
    }
}

/* ---- coming and going ---- */

static long resident(void)
{
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "re");
    expect(f && fscanf(f, "%ld %ld", &all, &pages) == 2);
    fclose(f);
    return pages * 4;
}

static void come_and_go(void *url)
{
    const char *seconds = getenv("CHURN_SECONDS");
    int total = 1000 * (seconds ? atoi(seconds) : 3);
    int64_t start = test_now();
    for (int i = 0; i < total; i++) {
        naru_channel *c;
        expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c));
        expect_ok(naru_channel_send(c, 1, &i, sizeof i, PATIENCE));
        naru_channel_close(c);
        int64_t ahead = start + i * NARU_MS - test_now(); /* 1 000 a second */
        if (ahead > 0)
            usleep((unsigned)(ahead / 1000));
    }
    printf("# %d connections in %.1f s\n", total, (double)(test_now() - start) / 1e9);
    fflush(stdout);
}

static long came;
static bool all_came(void)
{
    const char *seconds = getenv("CHURN_SECONDS");
    return v.echoed + v.broken >= came + 1000 * (seconds ? atoi(seconds) : 3) && v.n == 0;
}

static void churn(void)
{
    for (int i = 0; i < PLACES; i++) {
        const char *seconds = getenv("CHURN_SECONDS");
        start_server(test_url(places[i]));
        came = 0;
        pid_t child = start_child(come_and_go, (void *)(uintptr_t)naru_url(v.l));
        usleep(200000);
        int before = open_descriptors();
        long memory = resident();
        run_server(all_came, (60 + (seconds ? atoi(seconds) : 3)) * NARU_S);
        end_child(child);
        printf("# descriptors %d, then %d; resident %ld KiB, then %ld\n", before,
               open_descriptors(), memory, resident());
        fflush(stdout);
        expect(open_descriptors() == before);
        /* sanitizers keep what is freed for a while, and find leaks themselves */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        expect(resident() < memory + 512);
#endif
        stop_server();
    }
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"100 slow and 100 silent clients", slow_loris},
        {"clients that do not read", does_not_read},
        {"resets in every place of a greeting and a message", resets},
        {"10 000 connections at once", full_backlog},
        {"descriptors run out", descriptors_run_out},
        {"1 000 connect, send, close a second", churn},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
