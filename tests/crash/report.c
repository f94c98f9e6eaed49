/* SPDX-License-Identifier: MIT */
/* report.c - failures, each with the line that replays it, and how long survivors were held up. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

enum { DELAYS_MAX = 1 << 19, PRINTED_MAX = 3 };

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

struct delays report_delays(void)
{
    struct delays d = {.n = delays->n < DELAYS_MAX ? delays->n : DELAYS_MAX};
    uint32_t *list = (uint32_t *)delays->microseconds;
    if (d.n == 0)
        return d;
    qsort(list, d.n, sizeof *list, by_size);
    d.p50 = list[d.n / 2];
    d.p90 = list[d.n * 9 / 10];
    d.p99 = list[d.n * 99 / 100];
    d.p999 = list[d.n * 999 / 1000];
    d.max = list[d.n - 1];
    for (size_t i = 0; i < d.n; i++) {
        int k = 0;
        while (k < DELAY_CLASSES - 1 && list[i] >> k)
            k++;
        d.below[k]++;
    }
    return d;
}

void print_delays(void)
{
    struct delays d = report_delays();
    printf("# survivors went on after p50 %u, p90 %u, p99 %u, p99.9 %u, max %u us (%zu)\n", d.p50,
           d.p90, d.p99, d.p999, d.max, d.n);
    for (int k = 0; k < DELAY_CLASSES; k++)
        if (d.below[k])
            printf("#   below %7u us: %6zu, %5.1f %%\n", 1u << k, d.below[k],
                   100.0 * (double)d.below[k] / (double)d.n);
}

void write_delays(FILE *f)
{
    struct delays d = report_delays();
    const char *comma = "";
    fprintf(f,
            "  \"going_on_us\": {\"n\": %zu, \"p50\": %u, \"p90\": %u, \"p99\": %u, "
            "\"p99.9\": %u, \"max\": %u,\n    \"below\": {",
            d.n, d.p50, d.p90, d.p99, d.p999, d.max);
    for (int k = 0; k < DELAY_CLASSES; k++)
        if (d.below[k]) {
            fprintf(f, "%s\"%u\": %zu", comma, 1u << k, d.below[k]);
            comma = ", ";
        }
    fprintf(f, "}},\n");
}

void report_failure(struct world *w, struct job *job, enum mode mode, struct point point,
                    const struct point *second)
{
    if (job->tally.failures[mode]++ >= PRINTED_MAX || (w->flaw && !getenv("NARU_CRASH_DEBUG")))
        return;
    char name[256];
    snprintf(name, sizeof name, "%s", point_name(point));
    const char *const *media = job->scenario->media;
    printf("# FAILED: %s\n#   crash%s%s --replay %s.%s:%s%s%s:%s:%s%s%s:%llu\n", w->control->why,
           w->flaw ? " --flaw " : "", w->flaw ? w->flaw : "", job->scenario->name,
           job->scenario->operations[job->operation], job->scenario->states[job->state],
           media ? "@" : "", media ? media[job->medium] : "", mode_names[mode], name,
           second ? "/" : "", second ? point_name(*second) : "", (unsigned long long)w->seed);
    fflush(stdout);
}
