/* SPDX-License-Identifier: MIT */
/* run.c - naru run: a pipeline over any kind.
 *
 * Pipes and FIFOs join the programs directly; streams over sockets do not, for a program whose
 * reader has had enough would be told of a reset, and not end by SIGPIPE as in any pipeline. Over a
 * message kind each link is two processes of naru's (pump.c): one turns the left program's output
 * into messages, the other turns them back. A kind is a row of `vias`. */
#include "tool/command.h"
#include "tool/print.h"
#include "tool/pump.h"
#include "tool/rate.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROGRAMS_MAX = 64, PUMPS_MAX = 2 * PROGRAMS_MAX };

struct end {
    naru_stream *stream; /* or: */
    int fd;
};

struct pipeline {
    struct invocation *in;
    char directory[256];         /* of names; empty if there is none */
    char url[PROGRAMS_MAX][300]; /* of the links that have one, to be removed */
    struct end out[PROGRAMS_MAX], into[PROGRAMS_MAX]; /* each program's stdout and stdin */
    naru_child *child[PROGRAMS_MAX];
    struct naru_exit exit[PROGRAMS_MAX];
    double seconds[PROGRAMS_MAX];
    naru_child *pump[PUMPS_MAX]; /* of each link: in, out */
    bool dismissed[PUMPS_MAX];   /* ended by us: its status says nothing */
    int n, n_pumps;
    struct rate rate;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- links ---- */

static int make_directory(struct pipeline *p)
{
    const char *base = getenv("TMPDIR");
    if (p->directory[0])
        return 0;
    int n = snprintf(p->directory, sizeof p->directory, "%s/naru-run-XXXXXX", base ? base : "/tmp");
    if (n >= (int)sizeof p->directory)
        errno = ENAMETOOLONG;
    else if (mkdtemp(p->directory))
        return 0;
    int r = fail(p->in, "no directory for the links' names in %s: %s", base ? base : "/tmp",
                 strerror(errno));
    p->directory[0] = '\0';
    return r;
}

static int link_pair(struct pipeline *p, int i, const char *kind)
{
    struct naru_stream_options o = {.size = sizeof o, .direction = NARU_ONE_WAY};
    if (naru_stream_pair(kind, &o, &p->into[i + 1].stream, &p->out[i].stream) < 0)
        return fail_naru(p->in);
    return 0;
}

/* Programs want blocking descriptors, opened in an order that does not wait. */
static int link_fifo(struct pipeline *p, int i, const char *kind)
{
    naru_stream *made;
    int r = make_directory(p);
    if (r)
        return r;
    char *url = p->url[i];
    snprintf(url, sizeof p->url[i], "%s%s/%d", kind, p->directory, i);
    const char *path = strchr(url, ':') + 1;
    if (naru_stream_open(url, NARU_READ, NULL, NARU_NOWAIT, &made) < 0)
        return fail_naru(p->in);
    p->out[i].fd = open(path, O_WRONLY | O_CLOEXEC);
    p->into[i + 1].fd = open(path, O_RDONLY | O_CLOEXEC);
    naru_stream_close(made);
    if (p->out[i].fd < 0 || p->into[i + 1].fd < 0)
        return fail(p->in, "%s: %s", url, strerror(errno));
    return 0;
}

static int start_pump(struct pipeline *p, const char *way, int link, const char *url,
                      naru_stream *stream, naru_channel *channel)
{
    char number[16];
    snprintf(number, sizeof number, "%d", link + 1);
    char *argv[] = {"/proc/self/exe", PUMP_ARGUMENT, (char *)way, number, (char *)url, NULL};
    struct naru_spawn_end ends[] = {{"stream", stream, -1}, {"channel", channel, -1}};
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = channel ? 2 : 1};
    if (naru_spawn(argv, &o, &p->pump[p->n_pumps]) == 0) {
        p->n_pumps++;
        return 0;
    }
    int r = fail_naru(p->in);
    naru_stream_close(stream);
    naru_channel_close(channel);
    return r;
}

/* Two one-way pipes with the pumps between them. url "-": over a pair that the pumps inherit. */
static int link_pumped(struct pipeline *p, int i, const char *url, naru_channel *a, naru_channel *b)
{
    struct naru_stream_options o = {.size = sizeof o, .direction = NARU_ONE_WAY};
    naru_stream *from, *to;
    if (naru_stream_pair("pipe:", &o, &from, &p->out[i].stream) < 0)
        return fail_naru(p->in);
    int r = start_pump(p, "in", i, url, from, a);
    if (r)
        return r;
    if (naru_stream_pair("pipe:", &o, &p->into[i + 1].stream, &to) < 0)
        return fail_naru(p->in);
    return start_pump(p, "out", i, url, to, b);
}

static int link_messages(struct pipeline *p, int i, const char *kind)
{
    naru_channel *a, *b;
    if (naru_channel_pair(kind, NULL, &a, &b) < 0)
        return fail_naru(p->in);
    return link_pumped(p, i, "-", a, b);
}

/* Over loopback, at a port that is free, which nobody else gets: it is closed at once. */
static int link_loopback(struct pipeline *p, int i, const char *kind)
{
    char url[32];
    naru_channel_listener *l;
    naru_channel *a, *b;
    snprintf(url, sizeof url, "%s//127.0.0.1:0", kind);
    if (naru_channel_listen(url, NULL, &l) < 0)
        return fail_naru(p->in);
    int r = naru_channel_connect(naru_url(l), NULL, 5 * NARU_S, &a);
    if (r == 0 && (r = naru_channel_accept(l, 5 * NARU_S, &b)) < 0)
        naru_channel_close(a);
    if (r < 0)
        r = fail_naru(p->in);
    naru_channel_listener_close(l);
    return r ? r : link_pumped(p, i, "-", a, b);
}

/* A queue in a file's place, which its first opener makes there. */
static int link_file(struct pipeline *p, int i, const char *kind)
{
    int r = make_directory(p);
    snprintf(p->url[i], sizeof p->url[i], "%s%s/%d", kind, p->directory, i);
    return r ? r : link_pumped(p, i, p->url[i], NULL, NULL);
}

/* A queue of the kernel's: made here, for it must be nobody else's, and there may be one of that
 * name or key. */
static int link_queue(struct pipeline *p, int i, const char *kind)
{
    const struct naru_queue_options o = {.size = sizeof o, .flags = NARU_EXCLUSIVE};
    naru_channel *made;
    char url[sizeof p->url[i]];
    int r = make_directory(p);
    if (r)
        return r;
    for (int id = 1, tried = -EEXIST; tried == -EEXIST && id < 256; id++) {
        if (strcmp(kind, "sysv-mq:") == 0)
            snprintf(url, sizeof url, "%s%s#%d", kind, p->directory, id);
        else
            snprintf(url, sizeof url, "%s%s-%d", kind, strrchr(p->directory, '/'), id);
        r = tried = naru_queue_open(url, NARU_RECV, &o, &made);
    }
    if (r < 0)
        return fail_naru(p->in);
    naru_channel_close(made);
    memcpy(p->url[i], url, sizeof url);
    return link_pumped(p, i, url, NULL, NULL);
}

static const struct {
    int (*link)(struct pipeline *, int link, const char *kind);
    const char *kind;
} vias[] = {{link_pair, "pipe:"},
            {link_fifo, "fifo:"},
            {link_messages, "pipe:"},
            {link_file, "fifo:"},
            {link_messages, "unix:"},
            {link_loopback, "tcp:"},
            {link_messages, "unix+seqpacket:"},
            {link_file, "unix+dgram:"},
            {link_queue, "posix-mq:"},
            {link_queue, "sysv-mq:"},
            {link_messages, "shm:"},
            {link_file, "shm:"}};
#define VIA_WORDS                                                                                  \
    "pipe fifo pipe:messages fifo:messages unix:messages tcp:messages unix+seqpacket "             \
    "unix+dgram posix-mq sysv-mq shm shm:queue"

/* ---- programs ---- */

static int start_program(struct pipeline *p, int i)
{
    char *argv[] = {"/bin/sh", "-c", p->in->arguments[i], NULL};
    struct naru_spawn_end ends[2];
    size_t n = 0;
    if (i > 0)
        ends[n++] = (struct naru_spawn_end){"stdin", p->into[i].stream, p->into[i].fd};
    if (i < p->n - 1)
        ends[n++] = (struct naru_spawn_end){"stdout", p->out[i].stream, p->out[i].fd};
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = n};
    p->seconds[i] = now();
    if (naru_spawn(argv, &o, &p->child[i]) < 0)
        return fail_naru(p->in);
    p->into[i].stream = p->out[i].stream = NULL; /* the program's now */
    for (int k = 0; k < 2; k++) {
        struct end *end = k ? &p->out[i] : &p->into[i];
        if (end->fd >= 0)
            close(end->fd);
        end->fd = -1;
    }
    return 0;
}

/* A program and what it has started, youngest first: the shell forks for what it runs. */
static void signal_tree(int pid, int signal)
{
    char path[64];
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *children = fopen(path, "re");
    while (children && fscanf(children, "%d", &child) == 1)
        signal_tree(child, signal);
    if (children)
        fclose(children);
    kill(pid, signal);
}

static void signal_all(struct pipeline *p, int signal)
{
    for (int i = 0; i < p->n + p->n_pumps; i++) {
        naru_child *child = i < p->n ? p->child[i] : p->pump[i - p->n];
        /* not reaped yet, so the pid is still its own */
        if (child && naru_child_wait(child, NARU_NOWAIT, NULL) == -EAGAIN)
            signal_tree(naru_child_pid(child), signal);
    }
}

/* The last program's output leaves the pipeline: its rate is nobody's link. */
static void show(struct pipeline *p, bool end)
{
    int pids[PROGRAMS_MAX];
    for (int i = 0; i < p->n - 1; i++) {
        bool runs = p->child[i] && naru_child_wait(p->child[i], NARU_NOWAIT, NULL) == -EAGAIN;
        pids[i] = runs ? naru_child_pid(p->child[i]) : 0;
    }
    rate_show(&p->rate, pids, p->n - 1, end);
}

/* A link is over once one of its pumps has ended, for over a queue the other would wait for the
 * next one. But what an "in" sent in order is still the "out"'s to deliver. */
static void end_links(struct pipeline *p)
{
    for (int i = 0; i < (p->n_pumps & ~1); i++) {
        int other = i ^ 1;
        bool in = i % 2 == 0;
        struct naru_exit e;
        if (naru_child_wait(p->pump[i], NARU_NOWAIT, &e) < 0 || (in && e.code == 0) ||
            naru_child_wait(p->pump[other], NARU_NOWAIT, NULL) == 0 || p->dismissed[other])
            continue;
        p->dismissed[other] = true;
        naru_child_signal(p->pump[other], SIGTERM);
    }
}

/* Waits for the programs and then the pumps; a signal to naru is passed on once. */
static void wait_all(struct pipeline *p)
{
    int passed = 0;
    for (int i = 0; i < p->n + p->n_pumps; i++) {
        naru_child *child = i < p->n ? p->child[i] : p->pump[i - p->n];
        struct naru_exit e = {-1, 0};
        while (child && naru_child_wait(child, 50 * NARU_MS, &e) == -ETIMEDOUT) {
            show(p, false);
            end_links(p);
            if (stopped() && !passed) {
                signal_all(p, stopped());
                passed = 1;
            }
        }
        if (i < p->n) {
            p->exit[i] = e;
            p->seconds[i] = now() - p->seconds[i];
        }
    }
    if (p->rate.began > 0)
        show(p, true);
}

static void clean(struct pipeline *p)
{
    for (int i = 0; i < p->n; i++) {
        naru_stream_close(p->into[i].stream);
        naru_stream_close(p->out[i].stream);
        naru_child_close(p->child[i]);
    }
    for (int i = 0; i < p->n_pumps; i++)
        naru_child_close(p->pump[i]);
    for (int i = 0; i < p->n; i++)
        if (p->url[i][0])
            (void)naru_remove(p->url[i]); /* a socket's goes with its receiver */
    if (p->directory[0])
        rmdir(p->directory);
}

/* A pump says itself why it failed, unless it was killed. */
static int pumps_status(struct pipeline *p)
{
    int status = 0;
    for (int i = 0; i < p->n_pumps; i++) {
        struct naru_exit e;
        if (p->dismissed[i] || naru_child_wait(p->pump[i], NARU_NOWAIT, &e) < 0 || e.code == 0)
            continue;
        status = EXIT_FAILED;
        if (e.signal)
            fail(p->in, "link %d: the process that carries it was ended by signal %d", i / 2 + 1,
                 e.signal);
    }
    return status;
}

static int report(struct pipeline *p)
{
    int status = pumps_status(p);
    for (int i = 0; i < p->n; i++) {
        const struct naru_exit *e = &p->exit[i];
        int own = e->signal ? 128 + e->signal : e->code;
        /* a program whose reader has had enough ends so; that is no failure of the pipeline */
        bool enough = own == 128 + SIGPIPE && i < p->n - 1;
        if (own && !enough)
            status = own;
        if (!wants_json(p->in))
            continue;
        json_t *o = json_pack("{s:s, s:i, s:f}", "program", p->in->arguments[i], "pid",
                              naru_child_pid(p->child[i]), "seconds", p->seconds[i]);
        json_object_set_new(o, e->signal ? "signal" : "exit",
                            json_integer(e->signal ? e->signal : e->code));
        char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6));
        fprintf(stderr, "%s\n", line); /* standard output is the last program's */
        free(line);
        json_decref(o);
    }
    return status;
}

static int run(struct invocation *in)
{
    struct pipeline p = {.in = in, .n = in->n_arguments};
    int via = (int)option_number(in, "via", 0), status = 0;
    if (p.n > PROGRAMS_MAX)
        return usage(in, "%d programs; at most %d", p.n, PROGRAMS_MAX);
    for (int i = 0; i < p.n; i++)
        p.out[i].fd = p.into[i].fd = -1;
    stop_on_signals(NULL);
    signal(SIGPIPE, SIG_DFL); /* the programs end by it, as in any pipeline */
    for (int i = 0; i < p.n - 1 && status == 0; i++)
        status = vias[via].link(&p, i, vias[via].kind);
    for (int i = 0; i < p.n && status == 0; i++)
        status = start_program(&p, i);
    if (status)
        signal_all(&p, SIGTERM);
    wait_all(&p);
    if (status == 0)
        status = stopped() ? 128 + stopped() : report(&p);
    clean(&p);
    return status;
}

static const struct option_row options[] = {
    {.name = "via",
     .argument = "KIND",
     .kind = OPTION_CHOICE,
     .words = VIA_WORDS,
     .help = "what joins the programs: pipe (default), fifo; or a kind of messages"},
    {0},
};

const struct command run_command = {
    "run",
    "runs a pipeline over any kind",
    "PROGRAM [PROGRAM...]",
    "Standard output of each program goes to standard input of the next; each is run by sh. Over a "
    "message kind processes of naru's turn bytes into messages and back; tcp: goes over loopback, "
    "and "
    "udp: is not among them, as it may lose some. On a terminal what each "
    "program writes is shown as it runs. Exit status: that of the last program that failed, 128 + "
    "N if signal N ended it; 1 if a process of naru's did. "
    "With --json a summary of each program goes to standard error.",
    1,
    PROGRAMS_MAX,
    options,
    run,
};
