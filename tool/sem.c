/* SPDX-License-Identifier: MIT */
/* sem.c - naru sem: permits for shell scripts, and taking them from a process that hangs. */
#include "tool/command.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NOT_IN_TIME = 124, NARU_FAILED = 125, NOT_TO_RUN = 126, NOT_FOUND = 127 }; /* timeout(1) */

struct semaphore {
    struct invocation *in;
    const char *url;
    naru_semaphore *s;
    unsigned n;
    bool plain; /* post and wait are its calls */
    double waited;
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NARU_S + t.tv_nsec;
}

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static int open_it(struct semaphore *s, int kind, unsigned flags)
{
    const struct naru_semaphore_options o = {
        .size = sizeof o,
        .kind = kind,
        .value = (unsigned)option_number(s->in, "value", 0),
        .flags = flags | (option_flag(s->in, "fair") ? NARU_FAIR : 0),
    };
    if (naru_semaphore_open(s->url, &o, &s->s) < 0)
        return fail_naru(s->in);
    stop_on_signals(s->s);
    return 0;
}

static int take_once(struct semaphore *s, int64_t timeout)
{
    int r = s->plain ? naru_semaphore_wait(s->s, s->n, timeout)
                     : naru_semaphore_acquire(s->s, s->n, timeout);
    if (r != -EOPNOTSUPP || s->plain)
        return r;
    s->plain = true;
    return naru_semaphore_wait(s->s, s->n, timeout);
}

/* Where a signal cannot cancel the wait, it is in slices; elsewhere that would lose the place in
 * the queue. */
static int take(struct semaphore *s)
{
    bool slices = strncmp(s->url, "shm:", 4) != 0;
    int64_t began = now(), timeout = option_number(s->in, "timeout", NARU_FOREVER);
    int r;
    for (;;) {
        int64_t left = timeout < 0 ? NARU_FOREVER : timeout - (now() - began);
        bool last = !slices || (left >= 0 && left <= 100 * NARU_MS);
        r = take_once(s, last ? (timeout >= 0 && left < 0 ? NARU_NOWAIT : left) : 100 * NARU_MS);
        if (last || r != -ETIMEDOUT || stopped())
            break;
    }
    s->waited = seconds(now() - began);
    if (r == 0)
        return 0;
    if (stopped())
        return 128 + stopped();
    fail_naru(s->in);
    return r == -ETIMEDOUT || r == -EAGAIN ? NOT_IN_TIME : EXIT_FAILED;
}

static int give(struct semaphore *s)
{
    int r = s->plain ? naru_semaphore_post(s->s, s->n) : naru_semaphore_release(s->s, s->n);
    return r < 0 ? fail_naru(s->in) : 0;
}

static int tell(const struct semaphore *s, const char *what, uint64_t n)
{
    json_t *o = json_pack("{s:s, s:I}", "url", s->url, what, (json_int_t)n);
    json_line(o);
    json_decref(o);
    return 0;
}

/* ---- acquire ---- */

static int run_program(struct semaphore *s, char **argv, struct naru_exit *ret_exit)
{
    naru_child *child;
    int passed = 0;
    int r = naru_spawn(argv, NULL, &child);
    if (r < 0) {
        fail_naru(s->in);
        return r == -ENOENT ? NOT_FOUND : NOT_TO_RUN;
    }
    while (naru_child_wait(child, 50 * NARU_MS, ret_exit) == -ETIMEDOUT)
        if (stopped() && !passed++)
            naru_child_signal(child, stopped());
    naru_child_close(child);
    return 0;
}

static int acquire(struct semaphore *s)
{
    char **program = s->in->arguments + 2;
    struct naru_exit e = {-1, 0};
    if (!program[0])
        return usage(s->in, "acquire wants a command that is run while the permits are held: "
                            "naru sem acquire URL -- COMMAND");
    int status = open_it(s, option_flag(s->in, "plain") ? NARU_PLAIN : NARU_OWNED, 0);
    if (status == 0)
        status = take(s);
    if (status)
        return status == EXIT_FAILED ? NARU_FAILED : status;
    int64_t began = now();
    stop_on_signals(NULL);
    status = run_program(s, program, &e);
    double held = seconds(now() - began);
    int given = give(s); /* revoked meanwhile: a sentence, and no harm */
    if (status == 0)
        status = e.signal ? 128 + e.signal : e.code;
    if (wants_json(s->in)) {
        json_t *o = json_pack("{s:s, s:s, s:i, s:f, s:f, s:i, s:b}", "url", s->url, "program",
                              program[0], "permits", (int)s->n, "waited", s->waited, "held", held,
                              "exit", status, "kept", given == 0);
        char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6));
        fprintf(stderr, "%s\n", line); /* standard output is the program's */
        free(line);
        json_decref(o);
    }
    return status == 0 && given ? NARU_FAILED : status;
}

/* ---- the others ---- */

static int wait_for(struct semaphore *s)
{
    s->plain = true;
    int status = open_it(s, NARU_PLAIN, 0);
    if (status == 0)
        status = take(s);
    return status == 0 && wants_json(s->in) ? tell(s, "taken", s->n) : status;
}

static int post(struct semaphore *s)
{
    s->plain = true;
    int status = open_it(s, NARU_PLAIN, 0);
    if (status == 0)
        status = give(s);
    return status == 0 && wants_json(s->in) ? tell(s, "posted", s->n) : status;
}

static int print_value(struct semaphore *s)
{
    unsigned value = 0;
    int status = open_it(s, NARU_OWNED, NARU_EXISTING);
    if (status == 0 && naru_semaphore_value(s->s, &value) < 0)
        status = fail_naru(s->in);
    if (status == 0 && wants_json(s->in))
        tell(s, "value", value);
    else if (status == 0)
        printf("%u\n", value);
    return status;
}

static int revoke(struct semaphore *s)
{
    const char *text = s->in->n_arguments > 2 ? s->in->arguments[2] : "";
    char *end;
    unsigned n = 0;
    long pid = strtol(text, &end, 10);
    if (end == text || *end || pid <= 0 || pid > INT32_MAX)
        return usage(s->in, "revoke wants the pid of who has them, not \"%s\"", text);
    if (naru_semaphore_revoke(s->url, (pid_t)pid, &n) < 0)
        return fail_naru(s->in);
    if (!wants_json(s->in)) {
        printf("%u permit%s of process %ld %s free now\n", n, n == 1 ? "" : "s", pid,
               n == 1 ? "is" : "are");
        return 0;
    }
    json_t *o =
        json_pack("{s:s, s:I, s:i}", "url", s->url, "pid", (json_int_t)pid, "revoked", (int)n);
    json_line(o);
    json_decref(o);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct semaphore *);
    int most; /* arguments; 0: any number */
} verbs[] = {{"acquire", acquire, 0},
             {"wait", wait_for, 2},
             {"post", post, 2},
             {"value", print_value, 2},
             {"revoke", revoke, 3}};

static int run(struct invocation *in)
{
    struct semaphore s = {
        .in = in, .url = in->arguments[1], .n = (unsigned)option_number(in, "permits", 1)};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(in->arguments[0], verbs[i].name) != 0)
            continue;
        if (verbs[i].most && in->n_arguments > verbs[i].most)
            return usage(in, "\"%s\" is one argument too many for %s", in->arguments[verbs[i].most],
                         verbs[i].name);
        int status = verbs[i].run(&s);
        stop_on_signals(NULL);
        naru_semaphore_close(s.s);
        return status;
    }
    return usage(in, "\"%s\" is none of acquire, wait, post, value, revoke", in->arguments[0]);
}

static const struct option_row options[] = {
    {.name = "permits",
     .argument = "N",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = INT32_MAX,
     .help = "so many at once (default 1)"},
    {.name = "timeout",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "wait no longer than so (default: for ever; 0: not at all)"},
    {.name = "value",
     .argument = "N",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = INT32_MAX,
     .help = "permits of a new one; of one that is there, what it must have been made with"},
    {.name = "plain", .help = "acquire: make a plain one, whose permits nobody owns"},
    {.name = "fair", .help = "make one that serves in the order of arrival"},
    {0},
};

const struct command sem_command = {
    "sem",
    "takes, gives and revokes the permits of a semaphore",
    "acquire|wait|post|value|revoke URL [PID | -- COMMAND...]",
    "acquire takes permits, runs the command, and gives them back; of an owned semaphore they also "
    "come back when naru is killed, and they do then while the command goes on. post and wait are "
    "for plain ones, whose permits belong to nobody; value prints how many are free. acquire, wait "
    "and post make a semaphore that is not there.\n"
    "revoke takes all permits from a process that hangs: its next release is an error then, and "
    "no surplus. naru show URL tells who has how many, naru why who waits for whom.\n"
    "URL is shm:name, posix-sem:/name (plain), or sysv-sem:/path#id.\n"
    "Exit status: 124 the permits were not there in time, 1 any other failure. Of acquire that of "
    "the command, 128 + N if signal N ended it, 126 or 127 if it could not be run or found, 125 "
    "if naru failed, or the permits were revoked meanwhile.",
    2,
    -1,
    options,
    run,
};
