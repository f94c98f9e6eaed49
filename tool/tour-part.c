/* SPDX-License-Identifier: MIT */
/* tour-part.c - a process of the tour: how it begins, tells the guide what it did, and ends.
 *
 * A part never outlives the tour for long, even if the guide is killed: an alarm ends it. */
#include "tool/tour.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIFE_S = 60 };

void part_say(struct part *p, enum report_kind kind)
{
    struct report r = p->report;
    r.kind = (int32_t)kind;
    r.index = p->index;
    r.pid = getpid();
    if (write(p->report_fd, &r, sizeof r) != sizeof r)
        _exit(1); /* the guide has gone */
}

bool part_failed(struct part *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->report.saw, sizeof p->report.saw, format, arguments);
    va_end(arguments);
    p->report.ok = false;
    return false;
}

bool part_naru(struct part *p, const char *doing, ssize_t result)
{
    return result >= 0 ||
           part_failed(p, "%s: %s (%s)", doing, naru_why(), naru_strerror((int)result));
}

bool part_skipped(struct part *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->report.saw, sizeof p->report.saw, format, arguments);
    va_end(arguments);
    p->report.skipped = true;
    return false;
}

void part_saw(struct part *p, const char *who, ssize_t result, int expected)
{
    if (result != expected)
        part_failed(p, "the %s saw %s, not %s", who, result < 0 ? naru_why() : "no end",
                    naru_strerror(expected));
    else
        part_failed(p, "the %s saw: %s", who, naru_why());
    p->report.ok = result == expected;
}

_Noreturn void part_end(struct part *p)
{
    part_say(p, REPORT_DONE);
    _exit(p->report.ok ? 0 : 1);
}

_Noreturn void part_wait_for_death(struct part *p)
{
    part_say(p, REPORT_MIDWAY);
    for (;;)
        pause();
}

static void begin(struct part *p)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
    alarm(LIFE_S);
    p->report = (struct report){.ok = true};
    part_say(p, REPORT_BEGUN);
}

_Noreturn void part_run(struct part *p, role_function *role)
{
    begin(p);
    role(p);
    part_end(p);
}

pid_t part_fork(struct part *p, int index, void (*role)(struct part *, void *ends), void *ends)
{
    pid_t pid = fork();
    if (pid < 0)
        part_failed(p, "fork: %s", strerror(errno));
    if (pid != 0)
        return pid;
    p->index = index;
    begin(p);
    role(p, ends);
    part_end(p);
}

/* The child gets the report's and the input's descriptors beside its ends. */
naru_child *part_spawn(struct part *p, int index, const char *role,
                       const struct naru_spawn_end *ends, size_t n)
{
    char number[3][16];
    naru_child *child = NULL;
    snprintf(number[0], sizeof number[0], "%d", index);
    snprintf(number[1], sizeof number[1], "%d", p->report_fd);
    snprintf(number[2], sizeof number[2], "%d", p->input.fd);
    char *argv[] = {"/proc/self/exe", TOUR_ARGUMENT,  (char *)role,      number[0], number[1],
                    number[2],        (char *)p->url, (char *)p->detail, NULL};
    struct naru_spawn_options o = {
        .size = sizeof o, .ends = ends, .n_ends = n, .flags = NARU_SPAWN_SHARE_FDS};
    fcntl(p->report_fd, F_SETFD, 0);
    fcntl(p->input.fd, F_SETFD, 0);
    int r = naru_spawn(argv, &o, &child);
    fcntl(p->report_fd, F_SETFD, FD_CLOEXEC);
    fcntl(p->input.fd, F_SETFD, FD_CLOEXEC);
    part_naru(p, "naru_spawn", r);
    return child;
}

int tour_part_main(int argc, char **argv)
{
    const struct role *role = argc == 8 ? find_role(argv[2]) : NULL;
    if (!role)
        return 2;
    struct part part = {
        .index = atoi(argv[3]), .report_fd = atoi(argv[4]), .url = argv[6], .detail = argv[7]};
    if (input_map(&part.input, atoi(argv[5])) < 0)
        return 1;
    fcntl(part.report_fd, F_SETFD, FD_CLOEXEC);
    fcntl(part.input.fd, F_SETFD, FD_CLOEXEC);
    part_run(&part, role->run);
}
