/* SPDX-License-Identifier: MIT */
/* report.c - failures, each with the line that replays it, and how long survivors were held up. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

enum { DELAYS_MAX = 1 << 17, PRINTED_MAX = 3 };

static struct shared {
    _Atomic uint32_t n;
    _Atomic uint32_t microseconds[DELAYS_MAX];
} * delays;

void report_begin(void)
{
    delays = rig_memory(sizeof *delays);
}

void report_delay(int64_t ns)
{
    uint32_t i = delays->n++;
    if (i < DELAYS_MAX)
        delays->microseconds[i] = (uint32_t)(ns < 0 ? 0 : ns / 1000);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

size_t report_delays(double *ret_p50, double *ret_p99, double *ret_max)
{
    size_t n = delays->n < DELAYS_MAX ? delays->n : DELAYS_MAX;
    uint32_t *list = (uint32_t *)delays->microseconds;
    *ret_p50 = *ret_p99 = *ret_max = 0;
    if (n == 0)
        return 0;
    qsort(list, n, sizeof *list, by_size);
    *ret_p50 = list[n / 2];
    *ret_p99 = list[n * 99 / 100];
    *ret_max = list[n - 1];
    return n;
}

void report_failure(struct world *w, struct job *job, enum mode mode, struct point point,
                    const struct point *second)
{
    if (job->tally.failures[mode]++ >= PRINTED_MAX || (w->flaw && !getenv("NARU_CRASH_DEBUG")))
        return;
    char name[256];
    snprintf(name, sizeof name, "%s", point_name(point));
    printf("# FAILED: %s\n#   crash%s%s --replay %s.%s:%s:%s:%s%s%s:%llu\n", w->control->why,
           w->flaw ? " --flaw " : "", w->flaw ? w->flaw : "", job->scenario->name,
           job->scenario->operations[job->operation], job->scenario->states[job->state],
           mode_names[mode], name, second ? "/" : "", second ? point_name(*second) : "",
           (unsigned long long)w->seed);
    fflush(stdout);
}
