/* SPDX-License-Identifier: MIT */
/* tour-stops.c - the rows of the tour. Each starts the processes of one relation, carries the cargo
 * across, and compares what the receiving process counted and hashed with what was sent. */
#include "tool/tour-stops.h"
#include "tool/pump.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE (30 * NARU_S)

static void add_pid(struct result *r, int64_t pid)
{
    if (r->n_pids < TOUR_PIDS)
        r->pids[r->n_pids++] = pid;
}

/* What the receiver says, against what was sent. */
static void judge(struct result *r, const struct report *report, bool came, double began)
{
    r->bytes = report->bytes;
    r->messages = report->messages;
    r->seconds = report->ended - began;
    if (report->p50_ns > 0)
        r->p50_ns = report->p50_ns;
    memcpy(r->received, report->sha256, sizeof r->received);
    bool same = strcmp(r->sent, r->received) == 0;
    if (!came)
        snprintf(r->note, sizeof r->note, "%s", report->why);
    else if (!same && !r->note[0])
        snprintf(r->note, sizeof r->note, "the digests differ");
    r->ok = came && same && !r->note[0];
}

static void sender_failed(struct result *r)
{
    if (!r->note[0])
        snprintf(r->note, sizeof r->note, "%s", naru_why());
}

/* ---- streams ---- */

static void drain_stream(naru_stream *s, uint64_t most, struct report *report)
{
    static char buf[1 << 16];
    struct digest *d = digest_new();
    ssize_t n = 1;
    while (report->bytes < most && n > 0) {
        size_t want =
            most - report->bytes < sizeof buf ? (size_t)(most - report->bytes) : sizeof buf;
        n = naru_stream_read(s, buf, want, PATIENCE);
        if (!tour_check(report, n))
            break;
        digest_add(d, buf, (size_t)n);
        report->bytes += (uint64_t)n;
    }
    digest_end(d, report->sha256);
    report->ended = tour_now();
}

static void echo_stream(naru_stream *s, struct report *report)
{
    char byte[8];
    for (int i = 0; i < TOUR_ROUNDS; i++)
        if (!tour_check(report, naru_stream_read_all(s, byte, 8, PATIENCE, NULL)) ||
            !tour_check(report, naru_stream_write_all(s, byte, 8, PATIENCE, NULL)))
            return;
}

static double ping_stream(naru_stream *s)
{
    static double half[TOUR_ROUNDS];
    char byte[8] = "ferry";
    for (int i = 0; i < TOUR_ROUNDS; i++) {
        double began = tour_now();
        if (naru_stream_write_all(s, byte, 8, PATIENCE, NULL) < 0 ||
            naru_stream_read_all(s, byte, 8, PATIENCE, NULL) < 0)
            return 0;
        half[i] = (tour_now() - began) * 1e9 / 2;
    }
    return tour_median(half, TOUR_ROUNDS);
}

struct stream_job {
    naru_stream *mine, *other;
    const struct cargo *cargo;
    char url[160];
};

static void stream_child(void *context, struct report *report)
{
    struct stream_job *job = context;
    if (!tour_check(report, naru_adopt(job->mine)))
        return;
    naru_stream_close(job->other);
    echo_stream(job->mine, report);
    drain_stream(job->mine, job->cargo->size, report);
    naru_stream_close(job->mine);
}

static void pipe_parent_child(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct stream_job job = {.cargo = cargo};
    struct report report;
    (void)directory;
    naru_stream *a;
    if (naru_stream_pair("pipe:", NULL, &a, &job.mine) < 0) {
        sender_failed(r);
        return;
    }
    job.other = a;
    struct worker *w = worker_start(stream_child, &job);
    add_pid(r, getpid());
    add_pid(r, worker_pid(w));
    naru_stream_close(job.mine);
    r->p50_ns = ping_stream(a);
    double began = tour_now();
    if (naru_stream_write_all(a, cargo->data, cargo->size, PATIENCE, NULL) < 0)
        sender_failed(r);
    bool came = worker_join(w, &report);
    naru_stream_close(a);
    judge(r, &report, came, began);
}

/* The line of sha256sum at the end of a pipeline of programs. */
static void read_digest(naru_stream *s, struct result *r)
{
    size_t got;
    int e = naru_stream_read_all(s, r->received, TOUR_HEX - 1, PATIENCE, &got);
    if (e < 0)
        snprintf(r->note, sizeof r->note, "no digest came back: %s", naru_why());
}

static void finish_children(naru_child **children, size_t n, struct result *r)
{
    for (size_t i = 0; i < n; i++) {
        struct naru_exit e = {-1, 0};
        if (naru_child_wait(children[i], PATIENCE, &e) < 0 || e.code != 0)
            snprintf(r->note, sizeof r->note, "program %zu ended with %d, signal %d", i + 1, e.code,
                     e.signal);
        naru_child_close(children[i]);
    }
}

static void pipe_siblings(const struct cargo *cargo, const char *directory, struct result *r)
{
    static char *const programs[][2] = {{"cat", NULL}, {"cat", NULL}, {"sha256sum", NULL}};
    struct naru_stream_options one_way = {.size = sizeof one_way, .direction = NARU_ONE_WAY};
    naru_stream *read_end[4], *write_end[4];
    naru_child *child[3];
    (void)directory;
    for (int i = 0; i < 4; i++)
        if (naru_stream_pair("pipe:", &one_way, &read_end[i], &write_end[i]) < 0) {
            sender_failed(r);
            return;
        }
    add_pid(r, getpid());
    for (int i = 0; i < 3; i++) {
        struct naru_spawn_end ends[] = {{"stdin", read_end[i], -1},
                                        {"stdout", write_end[i + 1], -1}};
        struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 2};
        if (naru_spawn(programs[i], &o, &child[i]) < 0) {
            sender_failed(r);
            return;
        }
        add_pid(r, naru_child_pid(child[i]));
    }
    double began = tour_now();
    if (naru_stream_write_all(write_end[0], cargo->data, cargo->size, PATIENCE, NULL) < 0)
        sender_failed(r);
    naru_stream_close(write_end[0]);
    read_digest(read_end[3], r);
    r->seconds = tour_now() - began;
    naru_stream_close(read_end[3]);
    finish_children(child, 3, r);
    r->bytes = cargo->size;
    r->ok = !r->note[0] && strcmp(r->sent, r->received) == 0;
}

static void fifo_reader(void *context, struct report *report)
{
    struct stream_job *job = context;
    struct naru_stream_options o = {.size = sizeof o, .flags = NARU_UNTIL_HANGUP};
    setsid(); /* no relation but the name */
    if (!tour_check(report, naru_stream_open(job->url, NARU_READ, &o, PATIENCE, &job->mine)))
        return;
    drain_stream(job->mine, UINT64_MAX, report);
    naru_stream_close(job->mine);
}

static void fifo_writer(void *context, struct report *report)
{
    struct stream_job *job = context;
    setsid();
    if (!tour_check(report, naru_stream_open(job->url, NARU_WRITE, NULL, PATIENCE, &job->mine)))
        return;
    report->began = tour_now();
    tour_check(report, naru_stream_write_all(job->mine, job->cargo->data, job->cargo->size,
                                             PATIENCE, NULL));
    naru_stream_close(job->mine);
}

static void fifo_unrelated(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct stream_job job = {.cargo = cargo};
    struct report sent, report;
    snprintf(job.url, sizeof job.url, "fifo:%s/stream", directory);
    struct worker *reader = worker_start(fifo_reader, &job);
    struct worker *writer = worker_start(fifo_writer, &job);
    add_pid(r, worker_pid(writer));
    add_pid(r, worker_pid(reader));
    if (!worker_join(writer, &sent))
        snprintf(r->note, sizeof r->note, "%s", sent.why);
    bool came = worker_join(reader, &report);
    judge(r, &report, came, sent.began);
    naru_remove(job.url);
}

static void fifo_shell(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct naru_stream_options one_way = {.size = sizeof one_way, .direction = NARU_ONE_WAY};
    char url[160], path[200];
    naru_stream *s, *back, *theirs;
    naru_child *child;
    snprintf(url, sizeof url, "fifo:%s/shell", directory);
    snprintf(path, sizeof path, "cat '%s/shell' | sha256sum", directory);
    if (naru_stream_open(url, NARU_WRITE, NULL, NARU_NOWAIT, &s) < 0 ||
        naru_stream_pair("pipe:", &one_way, &back, &theirs) < 0) {
        sender_failed(r);
        return;
    }
    char *argv[] = {"sh", "-c", path, NULL};
    struct naru_spawn_end end = {"stdout", theirs, -1};
    struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    if (naru_spawn(argv, &o, &child) < 0) {
        sender_failed(r);
        return;
    }
    add_pid(r, getpid());
    add_pid(r, naru_child_pid(child));
    double began = tour_now();
    if (naru_stream_write_all(s, cargo->data, cargo->size, PATIENCE, NULL) < 0)
        sender_failed(r);
    naru_stream_close(s);
    read_digest(back, r);
    r->seconds = tour_now() - began;
    naru_stream_close(back);
    finish_children(&child, 1, r);
    naru_remove(url);
    r->bytes = cargo->size;
    r->ok = !r->note[0] && strcmp(r->sent, r->received) == 0;
}

static void two_way_answer(void *context, struct report *report)
{
    struct stream_job *job = context;
    setsid();
    if (!tour_check(report,
                    naru_stream_open(job->url, NARU_READ | NARU_WRITE, NULL, PATIENCE, &job->mine)))
        return;
    echo_stream(job->mine, report);
    drain_stream(job->mine, job->cargo->size, report);
    tour_check(report,
               naru_stream_write_all(job->mine, report->sha256, TOUR_HEX - 1, PATIENCE, NULL));
    naru_stream_close(job->mine);
}

static void fifo_two_way(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct stream_job job = {.cargo = cargo};
    struct report report;
    char answer[TOUR_HEX] = "";
    naru_stream *s;
    snprintf(job.url, sizeof job.url, "fifo:%s/both", directory);
    struct worker *w = worker_start(two_way_answer, &job);
    add_pid(r, getpid());
    add_pid(r, worker_pid(w));
    double began = 0;
    if (naru_stream_open(job.url, NARU_READ | NARU_WRITE, NULL, PATIENCE, &s) < 0) {
        sender_failed(r);
    } else {
        r->p50_ns = ping_stream(s);
        began = tour_now();
        if (naru_stream_write_all(s, cargo->data, cargo->size, PATIENCE, NULL) < 0 ||
            naru_stream_read_all(s, answer, TOUR_HEX - 1, PATIENCE, NULL) < 0)
            sender_failed(r);
        else if (strcmp(answer, r->sent) != 0)
            snprintf(r->note, sizeof r->note, "the answer over the same pair is another digest");
    }
    bool came = worker_join(w, &report);
    if (began > 0)
        naru_stream_close(s);
    judge(r, &report, came, began);
    naru_remove(job.url);
}

/* ---- channels ---- */

struct channel_job {
    naru_channel *mine, *other;
    const struct cargo *cargo;
    char url[160];
    int number;
    uint64_t messages; /* to send or expect */
};

static bool send_cargo(naru_channel *c, const struct cargo *cargo, uint32_t type)
{
    const uint8_t *p = cargo->data;
    for (size_t i = 0; i < cargo->n_cuts; p += cargo->cuts[i++])
        if (naru_channel_send(c, type, p, cargo->cuts[i], PATIENCE) < 0)
            return false;
    return true;
}

static void drain_channel(naru_channel *c, uint64_t bytes, struct report *report)
{
    struct digest *d = digest_new();
    while (report->bytes < bytes) {
        struct naru_message m;
        if (!tour_check(report, naru_channel_take(c, 0, PATIENCE, &m)))
            break;
        digest_add(d, m.data, m.size);
        report->bytes += m.size;
        report->messages++;
        naru_channel_release(c, &m, 1);
    }
    digest_end(d, report->sha256);
    report->ended = tour_now();
}

static double ping_channel(naru_channel *out, naru_channel *in)
{
    static double half[TOUR_ROUNDS];
    char word[8] = "ferry";
    for (int i = 0; i < TOUR_ROUNDS; i++) {
        double began = tour_now();
        if (naru_channel_send(out, 1, word, 8, PATIENCE) < 0 ||
            naru_channel_recv(in, 0, word, 8, NULL, PATIENCE) < 0)
            return 0;
        half[i] = (tour_now() - began) * 1e9 / 2;
    }
    return tour_median(half, TOUR_ROUNDS);
}

static void connection_child(void *context, struct report *report)
{
    struct channel_job *job = context;
    char word[8];
    if (!tour_check(report, naru_adopt(job->mine)))
        return;
    naru_channel_close(job->other);
    for (int i = 0; i < TOUR_ROUNDS; i++)
        if (!tour_check(report, naru_channel_recv(job->mine, 0, word, 8, NULL, PATIENCE)) ||
            !tour_check(report, naru_channel_send(job->mine, 1, word, 8, PATIENCE)))
            return;
    drain_channel(job->mine, job->cargo->size, report);
    naru_channel_close(job->mine);
}

static void pipe_connection(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct channel_job job = {.cargo = cargo};
    struct report report;
    naru_channel *a;
    (void)directory;
    if (naru_channel_pair("pipe:", NULL, &a, &job.mine) < 0) {
        sender_failed(r);
        return;
    }
    job.other = a;
    struct worker *w = worker_start(connection_child, &job);
    add_pid(r, getpid());
    add_pid(r, worker_pid(w));
    naru_channel_close(job.mine);
    r->p50_ns = ping_channel(a, a);
    double began = tour_now();
    if (!send_cargo(a, cargo, 1))
        sender_failed(r);
    bool came = worker_join(w, &report);
    naru_channel_close(a);
    judge(r, &report, came, began);
}

/* naru itself, started as another program with two named ends, turns bytes into messages. */
static void spawned_program(const struct cargo *cargo, const char *directory, struct result *r)
{
    char *argv[] = {"/proc/self/exe", PUMP_ARGUMENT, "in", "tour", "-", NULL};
    struct naru_stream_options one_way = {.size = sizeof one_way, .direction = NARU_ONE_WAY};
    struct report report;
    naru_stream *theirs, *mine;
    naru_channel *a, *b;
    naru_child *child;
    (void)directory;
    if (naru_stream_pair("pipe:", &one_way, &theirs, &mine) < 0 ||
        naru_channel_pair("pipe:", NULL, &a, &b) < 0) {
        sender_failed(r);
        return;
    }
    struct naru_spawn_end ends[] = {{"stream", theirs, -1}, {"channel", b, -1}};
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 2};
    if (naru_spawn(argv, &o, &child) < 0) {
        sender_failed(r);
        return;
    }
    add_pid(r, getpid());
    add_pid(r, naru_child_pid(child));
    /* a writer of its own, for this process receives */
    pid_t writer = fork();
    if (writer == 0) {
        naru_adopt(mine);
        naru_channel_close(a);
        bool ok = naru_stream_write_all(mine, cargo->data, cargo->size, PATIENCE, NULL) == 0;
        _exit(ok ? 0 : 1);
    }
    add_pid(r, writer);
    naru_stream_close(mine);
    double began = tour_now();
    report = (struct report){.error = 0};
    drain_channel(a, cargo->size, &report);
    int status = -1;
    waitpid(writer, &status, 0);
    if (status != 0)
        snprintf(r->note, sizeof r->note, "the writer failed");
    naru_channel_recv(a, 0, NULL, 0, NULL, PATIENCE); /* the pump's last word: an empty message */
    finish_children(&child, 1, r);
    judge(r, &report, report.error == 0, began);
    naru_channel_close(a);
}

/* Order-free digest of a set of messages: their SHA-256 added byte by byte. */
static void add_up(uint8_t sum[32], const void *data, size_t n)
{
    char hex[TOUR_HEX];
    struct digest *d = digest_new();
    digest_add(d, data, n);
    digest_end(d, hex);
    for (int i = 0; i < 32; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        sum[i] = (uint8_t)(sum[i] + byte);
    }
}

static void print_sum(const uint8_t sum[32], char hex[TOUR_HEX])
{
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

enum { SENDERS = 3, RECEIVERS = 2 };

static void queue_sender(void *context, struct report *report)
{
    struct channel_job *job = context;
    const uint8_t *p = job->cargo->data;
    uint8_t sum[32] = {0};
    setsid();
    if (!tour_check(report, naru_queue_open(job->url, NARU_SEND, NULL, &job->mine)))
        return;
    for (size_t i = 0; i < job->cargo->n_cuts; p += job->cargo->cuts[i++]) {
        if ((int)(i % SENDERS) != job->number)
            continue;
        if (!tour_check(report, naru_channel_send(job->mine, (uint32_t)job->number + 1, p,
                                                  job->cargo->cuts[i], PATIENCE)))
            return;
        add_up(sum, p, job->cargo->cuts[i]);
        report->bytes += job->cargo->cuts[i];
        report->messages++;
    }
    tour_check(report, naru_channel_flush(job->mine, PATIENCE));
    naru_channel_close(job->mine);
    memcpy(report->sha256, sum, sizeof sum);
}

static void queue_receiver(void *context, struct report *report)
{
    struct channel_job *job = context;
    uint8_t sum[32] = {0};
    setsid();
    if (!tour_check(report, naru_queue_open(job->url, NARU_RECV, NULL, &job->mine)))
        return;
    for (;;) { /* a queue has no end: a type of its own says that all has been sent */
        struct naru_message m;
        if (!tour_check(report, naru_channel_take(job->mine, 0, PATIENCE, &m)))
            return;
        bool last = m.info.type == 99;
        if (!last) {
            add_up(sum, m.data, m.size);
            report->bytes += m.size;
            report->messages++;
        }
        naru_channel_release(job->mine, &m, 1);
        if (last)
            break;
    }
    report->ended = tour_now();
    naru_channel_close(job->mine);
    memcpy(report->sha256, sum, sizeof sum);
}

static bool join_sum(struct worker *w, struct result *r, struct report *total, uint8_t sum[32])
{
    struct report one;
    bool came = worker_join(w, &one);
    if (!came)
        snprintf(r->note, sizeof r->note, "%s", one.why);
    for (int i = 0; i < 32; i++)
        sum[i] = (uint8_t)(sum[i] + (uint8_t)one.sha256[i]);
    total->bytes += one.bytes;
    total->messages += one.messages;
    if (one.ended > total->ended)
        total->ended = one.ended;
    return came;
}

static void fifo_queue(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct channel_job job = {.cargo = cargo};
    struct worker *senders[SENDERS], *receivers[RECEIVERS];
    struct report in = {0}, out = {0};
    uint8_t sum_in[32] = {0}, sum_out[32] = {0};
    naru_channel *last;
    snprintf(job.url, sizeof job.url, "fifo:%s/queue", directory);
    double began = tour_now();
    for (int i = 0; i < RECEIVERS; i++)
        add_pid(r, worker_pid(receivers[i] = worker_start(queue_receiver, &job)));
    for (job.number = 0; job.number < SENDERS; job.number++)
        add_pid(r, worker_pid(senders[job.number] = worker_start(queue_sender, &job)));
    bool came = true;
    for (int i = 0; i < SENDERS; i++)
        came &= join_sum(senders[i], r, &out, sum_out);
    if (naru_queue_open(job.url, NARU_SEND, NULL, &last) == 0) {
        /* one at a time: each receiver takes one and leaves */
        for (int i = 0; i < RECEIVERS; i++)
            if (naru_channel_send(last, 99, NULL, 0, PATIENCE) < 0 ||
                naru_channel_flush(last, PATIENCE) < 0)
                sender_failed(r);
        naru_channel_close(last);
    }
    for (int i = 0; i < RECEIVERS; i++)
        came &= join_sum(receivers[i], r, &in, sum_in);
    print_sum(sum_out, r->sent);
    print_sum(sum_in, in.sha256);
    if (out.messages != cargo->n_cuts)
        snprintf(r->note, sizeof r->note, "the senders sent %llu messages of %zu",
                 (unsigned long long)out.messages, cargo->n_cuts);
    judge(r, &in, came, began);
    naru_remove(job.url);
}

/* ---- typed structs ---- */

struct reading {
    uint32_t sensor;
    int32_t value;
};
struct order {
    uint64_t id;
    char text[24];
};
NARU_STRUCT(reading, 1, struct reading)
NARU_STRUCT(order, 2, struct order)

static void typed_child(void *context, struct report *report)
{
    struct channel_job *job = context;
    struct order o;
    struct reading v;
    struct digest *d = digest_new();
    if (!tour_check(report, naru_adopt(job->mine)))
        return;
    naru_channel_close(job->other);
    for (int i = 0; i < 2 && tour_check(report, order_recv(job->mine, &o, NULL, PATIENCE)); i++) {
        digest_add(d, &o, sizeof o);
        report->messages++;
        report->bytes += sizeof o;
    }
    for (int i = 0; i < 2 && tour_check(report, reading_recv(job->mine, &v, NULL, PATIENCE)); i++) {
        digest_add(d, &v, sizeof v);
        report->messages++;
        report->bytes += sizeof v;
    }
    digest_end(d, report->sha256);
    report->ended = tour_now();
    naru_channel_close(job->mine);
}

static void typed_structs(const struct cargo *cargo, const char *directory, struct result *r)
{
    const struct reading v[2] = {{1, -40}, {2, 451}};
    const struct order o[2] = {{7, "oars"}, {8, "rope"}};
    struct channel_job job = {.cargo = cargo};
    struct report report;
    struct digest *d = digest_new();
    (void)directory;
    naru_channel *a;
    digest_add(d, o, sizeof o); /* the receiver fetches both orders first */
    digest_add(d, v, sizeof v);
    digest_end(d, r->sent);
    if (naru_channel_pair("pipe:", NULL, &a, &job.mine) < 0) {
        sender_failed(r);
        return;
    }
    job.other = a;
    struct worker *w = worker_start(typed_child, &job);
    add_pid(r, getpid());
    add_pid(r, worker_pid(w));
    naru_channel_close(job.mine);
    double began = tour_now();
    for (int i = 0; i < 2; i++)
        if (reading_send(a, &v[i], PATIENCE) < 0 || order_send(a, &o[i], PATIENCE) < 0)
            sender_failed(r);
    bool came = worker_join(w, &report);
    naru_channel_close(a);
    judge(r, &report, came, began);
    if (r->ok)
        snprintf(r->note, sizeof r->note, "sent as types 1 2 1 2, received 2 2 1 1");
}

/* ---- deaths ---- */

static void victim_receiver(void *context, struct report *report)
{
    struct channel_job *job = context;
    static char buf[1 << 20];
    if (tour_check(report, naru_adopt(job->mine)))
        for (;;)
            if (naru_channel_recv(job->mine, 0, buf, sizeof buf, NULL, PATIENCE) < 0)
                return;
}

static void killed_receiver(const struct cargo *cargo, const char *directory, struct result *r)
{
    struct channel_job job = {.cargo = cargo};
    struct report report;
    naru_channel *a;
    (void)directory;
    r->sent[0] = '\0';
    if (naru_channel_pair("pipe:", NULL, &a, &job.mine) < 0) {
        sender_failed(r);
        return;
    }
    struct worker *w = worker_start(victim_receiver, &job);
    add_pid(r, getpid());
    add_pid(r, worker_pid(w));
    naru_channel_close(job.mine);
    int e = 0;
    double killed = 0;
    size_t half = cargo->size < 1 << 20 ? cargo->size : 1 << 20;
    while (e == 0 && r->messages < 100000) {
        if (r->messages == 20) {
            worker_kill(w);
            killed = tour_now();
        }
        e = naru_channel_send(a, 1, cargo->data, half, PATIENCE);
        r->messages += e == 0;
    }
    double after = tour_now() - killed;
    r->bytes = r->messages * half;
    r->ok = e == -ECONNRESET && killed > 0;
    snprintf(r->note, sizeof r->note, "the sender learnt of it after %.1f ms: %s", after * 1e3,
             naru_strerror(e));
    worker_join(w, &report);
    naru_channel_close(a);
}

static void victim_sender(void *context, struct report *report)
{
    struct channel_job *job = context;
    if (tour_check(report, naru_queue_open(job->url, NARU_SEND, NULL, &job->mine)))
        for (;;)
            if (naru_channel_send(job->mine, 1, job->cargo->data, job->cargo->size, PATIENCE) < 0)
                return;
}

/* Takes whatever comes until the other sender's record has come. */
static void surviving_receiver(void *context, struct report *report)
{
    struct channel_job *job = context;
    struct naru_message m = {.info = {.type = 0}};
    if (!tour_check(report, naru_queue_open(job->url, NARU_RECV, NULL, &job->mine)))
        return;
    while (m.info.type != 2 && tour_check(report, naru_channel_take(job->mine, 0, PATIENCE, &m))) {
        if (m.info.type == 2)
            snprintf(report->sha256, sizeof report->sha256, "%.*s", (int)m.size, (char *)m.data);
        report->messages++;
        report->bytes += m.size;
        naru_channel_release(job->mine, &m, 1);
    }
    struct naru_stats stats = {.size = sizeof stats};
    naru_stats(job->mine, &stats);
    snprintf(report->why, sizeof report->why, "%llu cut records dropped",
             (unsigned long long)stats.dropped);
    report->ended = tour_now();
    naru_channel_close(job->mine);
}

/* A sender killed in the middle of a long record; another one's record comes whole. */
static void killed_sender(const struct cargo *cargo, const char *directory, struct result *r)
{
    static const char word[] = "still afloat";
    struct channel_job job = {.cargo = cargo};
    struct report report, none;
    naru_channel *out;
    r->sent[0] = '\0';
    snprintf(job.url, sizeof job.url, "fifo:%s/victim", directory);
    struct worker *receiver = worker_start(surviving_receiver, &job);
    struct worker *victim = worker_start(victim_sender, &job);
    add_pid(r, getpid());
    add_pid(r, worker_pid(victim));
    add_pid(r, worker_pid(receiver));
    usleep(20000); /* it is in the middle of a record: a record takes longer than this */
    worker_kill(victim);
    worker_join(victim, &none);
    double killed = tour_now();
    if (naru_queue_open(job.url, NARU_SEND, NULL, &out) < 0 ||
        naru_channel_send(out, 2, word, sizeof word - 1, PATIENCE) < 0)
        sender_failed(r);
    else
        naru_channel_flush(out, PATIENCE);
    bool came = worker_join(receiver, &report);
    naru_channel_close(out);
    r->bytes = report.bytes;
    r->messages = report.messages;
    r->ok = came && strcmp(report.sha256, word) == 0 && !r->note[0];
    if (r->ok)
        snprintf(r->note, sizeof r->note,
                 "the next record came whole %.1f ms after; %.100s",
                 (report.ended - killed) * 1e3, report.why);
    else if (!r->note[0])
        snprintf(r->note, sizeof r->note, "%s", report.why);
    naru_remove(job.url);
}

const struct stop tour_stops[] = {
    {"anonymous-pipe", "pipe:", "stream", "parent and child", pipe_parent_child},
    {"anonymous-pipe", "pipe:", "stream", "siblings cat | cat | sha256sum", pipe_siblings},
    {"anonymous-pipe", "pipe:", "connection", "parent and child", pipe_connection},
    {"anonymous-pipe", "pipe:", "connection", "a program with named ends", spawned_program},
    {"anonymous-pipe", "pipe:", "connection", "typed structs", typed_structs},
    {"anonymous-pipe", "pipe:", "connection", "receiver killed", killed_receiver},
    {"named-pipe", "fifo:", "stream", "unrelated processes", fifo_unrelated},
    {"named-pipe", "fifo:", "stream", "naru and the shell's cat", fifo_shell},
    {"named-pipe", "fifo:", "stream", "two-way, unrelated", fifo_two_way},
    {"named-pipe", "fifo:", "queue", "3 senders, 2 receivers", fifo_queue},
    {"named-pipe", "fifo:", "queue", "sender killed in a record", killed_sender},
};
const size_t tour_stops_count = sizeof tour_stops / sizeof *tour_stops;
