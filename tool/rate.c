/* SPDX-License-Identifier: MIT */
/* rate.c - bytes written are wchar of /proc/PID/io (proc(5)), so no byte of the programs' own links
 * has to pass through naru for it. */
#include "tool/rate.h"

#include "tool/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t written(int pid)
{
    char path[64], line[80];
    uint64_t sum = 0;
    int child;
    snprintf(path, sizeof path, "/proc/%d/io", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "wchar: %" SCNu64, &sum) == 1)
            break;
    if (f)
        fclose(f);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    f = fopen(path, "re");
    while (f && fscanf(f, "%d", &child) == 1)
        sum += written(child);
    if (f)
        fclose(f);
    return sum;
}

void rate_show(struct rate *r, const int *pids, int n, bool end)
{
    double t = now();
    if (n < 1 || !is_live(STDERR_FILENO))
        return;
    if (r->began == 0)
        r->began = r->shown = t;
    for (int i = 0; i < n && i < RATES_MAX; i++) {
        uint64_t bytes = pids[i] > 0 ? written(pids[i]) : 0;
        if (bytes > r->bytes[i])
            r->bytes[i] = bytes;
    }
    if (!end && t - r->shown < 0.25)
        return;
    r->shown = t;
    fputc('\r', stderr);
    for (int i = 0; i < n && i < RATES_MAX; i++)
        fprintf(stderr, "%s%d: %.1f MB, %.1f MB/s", i ? " | " : "", i + 1,
                (double)r->bytes[i] / 1e6,
                t > r->began ? (double)r->bytes[i] / 1e6 / (t - r->began) : 0.0);
    fputs(end ? "\n" : "   ", stderr);
}
