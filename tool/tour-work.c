/* SPDX-License-Identifier: MIT */
/* tour-work.c - the tour's workers: forked processes that report through a pipe of their own. */
#include "tool/tour-stops.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double tour_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct digest {
    struct sha256_ctx sha;
};

struct digest *digest_new(void)
{
    struct digest *d = malloc(sizeof *d);
    if (!d)
        abort();
    sha256_init(&d->sha);
    return d;
}

void digest_add(struct digest *d, const void *data, size_t n)
{
    sha256_update(&d->sha, n, data);
}

void digest_end(struct digest *d, char hex[TOUR_HEX])
{
    uint8_t bytes[SHA256_DIGEST_SIZE];
    sha256_digest(&d->sha, sizeof bytes, bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    free(d);
}

struct worker {
    pid_t pid;
    int report;
};

struct worker *worker_start(void (*body)(void *, struct report *), void *context)
{
    int fds[2];
    struct worker *w = malloc(sizeof *w);
    if (!w || pipe(fds) < 0) {
        free(w);
        return NULL;
    }
    pid_t parent = getpid();
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0) {
        struct report report = {.error = 0};
        close(fds[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the tour */
        if (getppid() != parent)
            _exit(1);
        body(context, &report);
        _exit(write(fds[1], &report, sizeof report) == sizeof report ? 0 : 1);
    }
    close(fds[1]);
    w->report = fds[0];
    if (w->pid < 0) {
        close(fds[0]);
        free(w);
        return NULL;
    }
    return w;
}

int64_t worker_pid(const struct worker *w)
{
    return w ? w->pid : -1;
}

void worker_kill(struct worker *w)
{
    kill(w->pid, SIGKILL);
}

bool worker_join(struct worker *w, struct report *report)
{
    *report = (struct report){.error = -ECHILD, .why = "the process died before it could report"};
    if (!w)
        return false;
    struct pollfd p = {w->report, POLLIN, 0};
    int status = -1, ready;
    do
        ready = poll(&p, 1, 60000);
    while (ready < 0 && errno == EINTR);
    bool whole = ready == 1 && read(w->report, report, sizeof *report) == (ssize_t)sizeof *report;
    if (!whole)
        kill(w->pid, SIGKILL);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(w->report);
    free(w);
    return whole && status == 0 && report->error == 0;
}

bool tour_check(struct report *report, long r)
{
    if (r >= 0)
        return true;
    if (report->error == 0) {
        report->error = (int)r;
        snprintf(report->why, sizeof report->why, "%s", naru_why());
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tour_median(double *values, size_t n)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof *values, compare);
    return values[n / 2];
}
