/* SPDX-License-Identifier: MIT */
/* futex.c - futexes between processes: FUTEX_PRIVATE_FLAG is never set. */
#include "os/futex.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/process.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
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

/* ---- with priority inheritance ---- */

static int pi_call(_Atomic uint32_t *word, int operation, int64_t deadline)
{
    struct futex_time until = {deadline / 1000000000, deadline % 1000000000};
    long r =
        syscall(FUTEX_CALL, word, operation, 0, deadline == NARU__NEVER ? NULL : &until, NULL, 0);
    return r == 0 ? 0 : -errno;
}

static int64_t realtime(int64_t deadline)
{
    struct timespec t;
    if (deadline == NARU__NEVER)
        return deadline;
    clock_gettime(CLOCK_REALTIME, &t);
    return deadline - naru__now() + (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int naru__os_futex_lock_pi(_Atomic uint32_t *word, int64_t deadline)
{
    enum { LOCK_PI2 = 13 }; /* Linux 5.14: the clock is the monotonic one */
    int fault = naru__fault_at("futex_lock_pi");
    if (fault < 0)
        return fault;
    if (deadline == NARU__AT_ONCE)
        return pi_call(word, FUTEX_TRYLOCK_PI, NARU__NEVER);
    int r = pi_call(word, LOCK_PI2, deadline);
    return r == -ENOSYS ? pi_call(word, FUTEX_LOCK_PI, realtime(deadline)) : r;
}

int naru__os_futex_unlock_pi(_Atomic uint32_t *word)
{
    int fault = naru__fault_at("futex_unlock_pi");
    return fault < 0 ? fault : pi_call(word, FUTEX_UNLOCK_PI, NARU__NEVER);
}

uint32_t naru__os_thread_id(void)
{
    static _Thread_local struct {
        uint64_t process; /* a forked child has another id */
        uint32_t id;
    } self;
    if (self.process != naru__process()) {
        self.id = (uint32_t)syscall(SYS_gettid);
        self.process = naru__process();
    }
    return self.id;
}
