/* SPDX-License-Identifier: MIT */
/* curves.c - queues and topics in shared memory as they grow: senders, receivers, subscribers
 * (more than there are processors), messages that wait, names; if named, calls (curves-call.c).
 * Rates are of messages received; the processor time a message is that of all processes of a point
 * together. "publisher" is that of the publisher alone, beside so many subscribers that are awake
 * (x) or asleep ("asleep").
 *
 *   COMMIT=$(git rev-parse HEAD) curves [-s SECONDS a point] [-f FROM] [-p PROCESSES] [-q QUEUED]
 *          [-n NAMES] [-c CURVE] >queues.json
 *   curves -c payload, -c clients, -c connections [-p CONNECTIONS] [-g GRPC-SERVER]
 *          [-t CERTIFICATES]: of calls, which tools/bench-calls runs */
#include "bench/curves.h"

#include <naru/naru.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
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

int64_t curves_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NARU_S + t.tv_nsec;
}

void curves_must(int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "curves: %s\n", naru_why());
    if (shared)
        shared->failed = 1;
    exit(1);
}

void curves_row(const char *curve, uint64_t x, const char *format, ...)
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
    curves_must(topic ? naru_topic_open(url, role, NULL, &c)
                      : naru_queue_open(url, role, NULL, &c));
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
            curves_must(r);
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
            curves_must((int)n);
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
    int64_t start = curves_now();
    shared->go = 1;
    usleep((useconds_t)(seconds * 1e6));
    uint64_t in_time = received(receivers);
    double took = (double)(curves_now() - start) / 1e9;
    shared->stop = 1;
    int status, failed = shared->failed;
    while (wait(&status) > 0)
        failed |= status;
    getrusage(RUSAGE_CHILDREN, &after);
    curves_must(naru_remove(url));
    if (failed)
        exit(1);
    double cpu = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec +
                          after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
                 (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                          after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
    uint64_t all = received(receivers);
    curves_row(curve, (uint64_t)x, "\"rate\": %.0f, \"cpu_ns\": %.1f", (double)in_time / took,
               all ? cpu * 1e9 / (double)all : 0);
}

/* ---- what a publisher pays ---- */

enum { BURST = 2048, ROUNDS = 15, SUBSCRIBERS = 8 };

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A publisher has processor 0 for itself: a subscriber beside it is awake then, and what else runs
 * there is not what is measured. */
void curves_keep_to(bool first)
{
    cpu_set_t set;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    CPU_ZERO(&set);
    for (int i = first ? 0 : 1; i < (first ? 1 : n); i++)
        CPU_SET(i, &set);
    if (n > 1)
        sched_setaffinity(0, sizeof set, &set);
}

int curves_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void subscriber(unsigned flags)
{
    const struct naru_topic_options o = {.size = sizeof o, .flags = flags};
    char data[SIZE];
    naru_channel *c;
    curves_must(naru_topic_open(url, NARU_RECV, &o, &c));
    atomic_fetch_add(&shared->ready, 1);
    while (!shared->stop) {
        ssize_t n = naru_channel_recv(c, 0, data, sizeof data, NULL, 20 * NARU_MS);
        if (n < 0 && n != -ETIMEDOUT)
            curves_must((int)n);
    }
    naru_channel_close(c);
    exit(0);
}

/* ns a message of bursts that fit the lane, so that nobody is waited for; asleep: one message at a
 * time, after all have gone to sleep. */
static double publish(naru_channel *c, bool asleep)
{
    char data[SIZE] = "";
    int n = asleep ? 1 : BURST;
    double cost[9];
    for (size_t i = 0; i < sizeof cost / sizeof *cost; i++) {
        curves_must(naru_channel_flush(c, 10 * NARU_S));
        if (asleep)
            usleep(3000);
        double before = cpu_now();
        for (int k = 0; k < n; k++)
            curves_must(naru_channel_send(c, 1, data, sizeof data, NARU_NOWAIT));
        cost[i] = (cpu_now() - before) / n;
    }
    qsort(cost, sizeof cost / sizeof *cost, sizeof *cost, curves_compare);
    return cost[sizeof cost / sizeof *cost / 2];
}

/* One more subscriber after the other, ROUNDS times over. */
static void publisher(bool asleep)
{
    const struct naru_topic_options o = {.size = sizeof o, .capacity = 1 << 20};
    static double cost[SUBSCRIBERS + 1][ROUNDS], growth[ROUNDS];
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    curves_keep_to(true);
    for (int round = 0; round < ROUNDS; round++) {
        naru_channel *c;
        memset(shared, 0, sizeof *shared);
        curves_must(naru_topic_open(url, NARU_SEND, &o, &c));
        for (int n = 0; n <= SUBSCRIBERS; n++) {
            fflush(stdout);
            pid_t pid = n ? fork() : 1;
            if (pid == 0)
                curves_keep_to(false);
            if (pid == 0)
                subscriber(asleep ? NARU_SLEEP : NARU_SPIN);
            if (pid < 0)
                curves_must(-ENOMEM);
            while (shared->ready < n && !shared->failed)
                usleep(1000);
            cost[n][round] = publish(c, asleep);
        }
        growth[round] =
            (cost[SUBSCRIBERS][round] / cost[1][round] - 1) * 100 / (SUBSCRIBERS - 1);
        shared->stop = 1;
        while (wait(NULL) > 0)
            ;
        naru_channel_close(c);
        curves_must(naru_remove(url));
    }
    sched_setaffinity(0, sizeof before, &before);
    for (int n = 0; n <= SUBSCRIBERS; n++) {
        qsort(cost[n], ROUNDS, sizeof **cost, curves_compare);
        curves_row(asleep ? "publisher, asleep" : "publisher", (uint64_t)n, "\"cpu_ns\": %.1f",
                   cost[n][ROUNDS / 2]);
    }
    qsort(growth, ROUNDS, sizeof *growth, curves_compare);
    if (!asleep) /* of 15 the 4th and the 12th enclose the median with 96 % */
        curves_row("publisher, growth", SUBSCRIBERS,
                   "\"percent_a_subscriber\": %.2f, \"low\": %.2f, \"high\": %.2f",
                   growth[ROUNDS / 2], growth[3], growth[11]);
}

/* ---- many messages, many names ---- */

static void queued(uint64_t n)
{
    const struct naru_queue_options o = {
        .size = sizeof o, .capacity = 1, .messages = (unsigned)n};
    naru_channel *c;
    char data[8] = "";
    curves_must(naru_queue_open(url, NARU_SEND | NARU_RECV, &o, &c));
    int64_t start = curves_now();
    for (uint64_t i = 0; i < n; i++)
        curves_must(naru_channel_send(c, 1, &i, sizeof i, NARU_NOWAIT));
    int64_t full = curves_now();
    for (uint64_t i = 0; i < n; i++) {
        curves_must((int)naru_channel_recv(c, 0, data, sizeof data, NULL, NARU_NOWAIT));
        if (memcmp(data, &i, sizeof i) != 0)
            exit(1);
    }
    int64_t end = curves_now();
    naru_channel_close(c);
    curves_must(naru_remove(url));
    curves_row("queued", n, "\"send_ns\": %.1f, \"recv_ns\": %.1f",
               (double)(full - start) / (double)n, (double)(end - full) / (double)n);
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
    int64_t start = curves_now();
    for (uint64_t i = 0; i < n; i++) {
        name_at(i, text);
        curves_must(naru_queue_open(text, NARU_SEND, &o, &c));
        curves_must(naru_channel_send(c, 1, "a name", 6, NARU_NOWAIT));
        naru_channel_close(c);
    }
    int64_t made = curves_now();
    for (uint64_t i = 0; i < n; i++) {
        name_at(i, text);
        curves_must(naru_queue_open(text, NARU_RECV, NULL, &c));
        curves_must((int)naru_channel_recv(c, 0, data, sizeof data, NULL, NARU_NOWAIT));
        naru_channel_close(c);
    }
    int64_t read = curves_now();
    for (uint64_t i = 0; i < n; i++) {
        name_at(i, text);
        curves_must(naru_remove(text));
    }
    curves_row("names", n, "\"make_us\": %.1f, \"open_us\": %.1f, \"remove_us\": %.1f",
               (double)(made - start) / 1e3 / (double)n, (double)(read - made) / 1e3 / (double)n,
               (double)(curves_now() - read) / 1e3 / (double)n);
}

static void head(int argc, char **argv)
{
    char date[32];
    time_t t = time(NULL);
    const char *commit = getenv("COMMIT");
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
    printf("{\"commit\": \"%s\", \"command\": \"", commit ? commit : "");
    for (int i = 0; i < argc; i++)
        printf("%s%s", i ? " " : "", argv[i]);
    printf("\",\n \"date\": \"%s\", \"processors\": %ld, \"rows\": [", date,
           sysconf(_SC_NPROCESSORS_ONLN));
}

static bool wants(const char *only, const char *curve)
{
    return !only || strcmp(only, curve) == 0;
}

int main(int argc, char **argv)
{
    double seconds = 1;
    int first = 1, most = 64, option;
    const char *only = NULL, *grpc_server = NULL, *certificates = NULL, *to_serve = NULL;
    uint64_t most_queued = 10000000, most_names = 10000;
    while ((option = getopt(argc, argv, "s:f:p:q:n:c:g:t:u:")) != -1) {
        if (option == 's')
            seconds = atof(optarg);
        else if (option == 'p')
            most = atoi(optarg);
        else if (option == 'q')
            most_queued = strtoull(optarg, NULL, 10);
        else if (option == 'f')
            first = atoi(optarg);
        else if (option == 'c')
            only = optarg;
        else if (option == 'g')
            grpc_server = optarg;
        else if (option == 'u')
            to_serve = optarg;
        else if (option == 't')
            certificates = optarg;
        else if (option == 'n')
            most_names = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    bool many = wants(only, "clients") || wants(only, "connections");
    if (most < 1 || (most >= PROCESSES_MAX && !many) || seconds <= 0)
        return 2;
    snprintf(url, sizeof url, "shm:curves-%d", (int)getpid());
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    if (only && to_serve && wants(only, "serve")) { /* of connections */
        curves_serve(to_serve, certificates);
        return 0;
    }
    head(argc, argv);
    for (int n = first; n <= most && wants(only, "senders"); n *= 2)
        point("senders", n, false, n, 1, seconds);
    for (int n = first; n <= most && wants(only, "receivers"); n *= 2)
        point("receivers", n, false, 1, n, seconds);
    for (int n = first; n <= most && wants(only, "subscribers"); n *= 2)
        point("subscribers", n, true, 1, n, seconds);
    if (wants(only, "publisher"))
        for (int asleep = 0; asleep < 2; asleep++)
            publisher(asleep);
    for (uint64_t n = most_queued < 1000 ? most_queued : 1000;
         n && n <= most_queued && wants(only, "queued"); n *= 10)
        queued(n);
    for (uint64_t n = 1; n <= most_names && wants(only, "names"); n *= 10)
        names(n);
    if (only && wants(only, "payload"))
        curves_of_payload(seconds);
    if (only && wants(only, "clients"))
        curves_of_clients(seconds, most);
    if (only && wants(only, "connections"))
        curves_of_connections(most, grpc_server, certificates);
    printf("\n]}\n");
    return 0;
}
