/* SPDX-License-Identifier: MIT */
/* rate.h - how fast programs write, on a terminal, for whoever waits for a pipeline. */
#ifndef NARU_TOOL_RATE_H
#define NARU_TOOL_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum { RATES_MAX = 64 };

struct rate {
    double began, shown;
    uint64_t bytes[RATES_MAX]; /* the last that was read of each */
};

/* One line on standard error, rewritten four times a second: what each program has written since it
 * began, by the kernel's account, its children included. pids[i] <= 0: as it was. Nothing where
 * standard error is no terminal. */
void rate_show(struct rate *, const int *pids, int n, bool end);

#endif
