/* SPDX-License-Identifier: MIT */
/* futex.c - futexes between processes: FUTEX_PRIVATE_FLAG is never set. */
#include "os/futex.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_futex_time64 /* a 32-bit system's 64-bit time */
#define FUTEX_CALL SYS_futex_time64
#else
#define FUTEX_CALL SYS_futex
#endif

/* The kernel's timespec, 64 bits wide on both. */
struct futex_time {
    int64_t seconds, nanoseconds;
};

int naru__os_futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
    int fault = naru__fault_at("futex_wait");
    if (fault < 0)
        return fault;
    struct futex_time until = {deadline / 1000000000, deadline % 1000000000};
    /* the bitset form takes an absolute time of CLOCK_MONOTONIC */
    long r = syscall(FUTEX_CALL, word, FUTEX_WAIT_BITSET, value,
                     deadline == NARU__NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    return r == 0 || errno == EAGAIN ? 0 : -errno;
}

int naru__os_futex_wake(_Atomic uint32_t *word, int n)
{
    int keep = errno;
    long r = syscall(FUTEX_CALL, word, FUTEX_WAKE, n, NULL, NULL, 0);
    int code = r < 0 ? -errno : (int)r;
    errno = keep;
    return code;
}
