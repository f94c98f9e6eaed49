/* SPDX-License-Identifier: MIT */
/* clock.h - time inside naru: absolute nanoseconds of CLOCK_MONOTONIC. */
#ifndef NARU_BASE_CLOCK_H
#define NARU_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NARU__NEVER INT64_MAX   /* a deadline that does not come */
#define NARU__AT_ONCE INT64_MIN /* do not wait at all */

static inline int64_t naru__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The public, relative timeout as a deadline. */
static inline int64_t naru__deadline(int64_t timeout)
{
    if (timeout < 0)
        return NARU__NEVER;
    if (timeout == 0)
        return NARU__AT_ONCE;
    int64_t now = naru__now();
    return timeout > INT64_MAX - 1 - now ? INT64_MAX - 1 : now + timeout;
}

#endif
