/* SPDX-License-Identifier: MIT */
/* curves.c - queues and topics in shared memory as they grow: senders, receivers, subscribers
 * (more than there are processors), messages that wait, names. Rates are of messages received; the
 * processor time a message is that of all processes of a point together.
 *
 *   curves [-s SECONDS a point] [-p PROCESSES] [-q QUEUED] [-n NAMES] >queues.json */
#include <naru/naru.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 256, SIZE = 64 };

struct shared {
    _Atomic int ready, go, stop, failed;
    struct {
        _Alignas(128) _Atomic uint64_t n;
    } got[PROCESSES_MAX];
};

static struct shared *shared;
static char url[64];
static bool first_row = true;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NARU_S + t.tv_nsec;
}

static void must(int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "curves: %s\n", naru_why());
    if (shared)
        shared->failed = 1;
    exit(1);
}

static void row(const char *curve, uint64_t x, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void row(const char *curve, uint64_t x, const char *format, ...)
{
    va_list arguments;
    printf("%s\n  {\"curve\": \"%s\", \"x\": %" PRIu64 ", ", first_row ? "" : ",", curve, x);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('}');
    fflush(stdout);
    first_row = false;
}

/* ---- many processes ---- */

static naru_channel *opened(bool topic, int role)
{
    naru_channel *c = NULL;
    must(topic ? naru_topic_open(url, role, NULL, &c) : naru_queue_open(url, role, NULL, &c));
    atomic_fetch_add(&shared->ready, 1);
    while (!shared->go && !shared->failed)
        usleep(1000);
    return c;
}

static void send_on(bool topic)
{
    char data[SIZE] = "";
    naru_channel *c = opened(topic, NARU_SEND);
    while (!shared->stop) {
        int r = naru_channel_send(c, 1, data, sizeof data, 100 * NARU_MS);
        if (r < 0 && r != -ETIMEDOUT)
            must(r);
    }
    naru_channel_close(c);
    exit(0);
}

static void receive_on(bool topic, int i)
{
    char data[SIZE];
    naru_channel *c = opened(topic, NARU_RECV);
    for (;;) {
        ssize_t n = naru_channel_recv(c, 0, data, sizeof data, NULL, 100 * NARU_MS);
        if (n >= 0)
            atomic_store_explicit(&shared->got[i].n, shared->got[i].n + 1, memory_order_relaxed);
        else if (n == -ETIMEDOUT && shared->stop)
            break;
        else if (n != -ETIMEDOUT)
            must((int)n);
    }
    naru_channel_close(c);
    exit(0);
}

static uint64_t received(int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += atomic_load(&shared->got[i].n);
    return sum;
}

static void point(const char *curve, int x, bool topic, int senders, int receivers, double seconds)
{
    struct rusage before, after;
    memset(shared, 0, sizeof *shared);
    getrusage(RUSAGE_CHILDREN, &before);
    fflush(stdout);
    for (int i = 0; i < senders + receivers; i++) {
        pid_t pid = fork();
        if (pid == 0 && i < receivers)
            receive_on(topic, i);
        if (pid == 0)
            send_on(topic);
        if (pid < 0)
            shared->failed = 1;
    }
    while (shared->ready < senders + receivers && !shared->failed)
        usleep(1000);
    int64_t start = now();
    shared->go = 1;
    usleep((useconds_t)(seconds * 1e6));
    uint64_t in_time = received(receivers);
    double took = (double)(now() - start) / 1e9;
    shared->stop = 1;
    int status, failed = shared->failed;
    while (wait(&status) > 0)
        failed |= status;
    getrusage(RUSAGE_CHILDREN, &after);
    must(naru_remove(url));
    if (failed)
        exit(1);
    double cpu = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec +
                          after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
                 (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                          after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
    uint64_t all = received(receivers);
    row(curve, (uint64_t)x, "\"rate\": %.0f, \"cpu_ns\": %.1f", (double)in_time / took,
        all ? cpu * 1e9 / (double)all : 0);
}

/* ---- many messages, many names ---- */

static void queued(uint64_t n)
{
    const struct naru_queue_options o = {
        .size = sizeof o, .capacity = 1, .messages = (unsigned)n};
    naru_channel *c;
    char data[8] = "";
    must(naru_queue_open(url, NARU_SEND | NARU_RECV, &o, &c));
    int64_t start = now();
    for (uint64_t i = 0; i < n; i++)
        must(naru_channel_send(c, 1, &i, sizeof i, NARU_NOWAIT));
    int64_t full = now();
    for (uint64_t i = 0; i < n; i++) {
        must((int)naru_channel_recv(c, 0, data, sizeof data, NULL, NARU_NOWAIT));
        if (memcmp(data, &i, sizeof i) != 0)
            exit(1);
    }
    int64_t end = now();
    naru_channel_close(c);
    must(naru_remove(url));
    row("queued", n, "\"send_ns\": %.1f, \"recv_ns\": %.1f", (double)(full - start) / (double)n,
        (double)(end - full) / (double)n);
}

static void name_at(uint64_t i, char text[96])
{
    snprintf(text, 96, "%s-%" PRIu64, url, i);
}

static void names(uint64_t n)
{
    const struct naru_queue_options o = {.size = sizeof o, .capacity = 8192};
    char text[96], data[8];
    naru_channel *c;
    int64_t start = now();
    for (uint64_t i = 0; i < n; i++) {
        name_at(i, text);
        must(naru_queue_open(text, NARU_SEND, &o, &c));
        must(naru_channel_send(c, 1, "a name", 6, NARU_NOWAIT));
        naru_channel_close(c);
    }
    int64_t made = now();
    for (uint64_t i = 0; i < n; i++) {
        name_at(i, text);
        must(naru_queue_open(text, NARU_RECV, NULL, &c));
        must((int)naru_channel_recv(c, 0, data, sizeof data, NULL, NARU_NOWAIT));
        naru_channel_close(c);
    }
    int64_t read = now();
    for (uint64_t i = 0; i < n; i++) {
        name_at(i, text);
        must(naru_remove(text));
    }
    row("names", n, "\"make_us\": %.1f, \"open_us\": %.1f, \"remove_us\": %.1f",
        (double)(made - start) / 1e3 / (double)n, (double)(read - made) / 1e3 / (double)n,
        (double)(now() - read) / 1e3 / (double)n);
}

int main(int argc, char **argv)
{
    double seconds = 1;
    int most = 64, option;
    uint64_t most_queued = 10000000, most_names = 10000;
    while ((option = getopt(argc, argv, "s:p:q:n:")) != -1) {
        if (option == 's')
            seconds = atof(optarg);
        else if (option == 'p')
            most = atoi(optarg);
        else if (option == 'q')
            most_queued = strtoull(optarg, NULL, 10);
        else if (option == 'n')
            most_names = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    if (most < 1 || most >= PROCESSES_MAX || seconds <= 0)
        return 2;
    snprintf(url, sizeof url, "shm:curves-%d", (int)getpid());
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    printf("[");
    for (int n = 1; n <= most; n *= 2)
        point("senders", n, false, n, 1, seconds);
    for (int n = 1; n <= most; n *= 2)
        point("receivers", n, false, 1, n, seconds);
    for (int n = 1; n <= most; n *= 2)
        point("subscribers", n, true, 1, n, seconds);
    for (uint64_t n = most_queued < 1000 ? most_queued : 1000; n && n <= most_queued; n *= 10)
        queued(n);
    for (uint64_t n = 1; n <= most_names; n *= 10)
        names(n);
    printf("\n]\n");
    return 0;
}
