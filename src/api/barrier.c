/* SPDX-License-Identifier: MIT */
/* barrier.c - the barriers of naru/lock.h: argument checks, then lock/barrier.c. */
#include "lock/barrier.h"
#include "api/locks.h"
#include "api/transports.h"
#include "base/error.h"

#include <errno.h>

static int check_options(const struct naru_barrier_options *o)
{
    unsigned flags = NARU_EXCLUSIVE | NARU_EXISTING | NARU_SPIN | NARU_SLEEP;
    int r = naru__check_options(o, sizeof *o, "naru_barrier_options");
    if (r < 0 || !o)
        return r;
    if (o->parties > NARU_BARRIER_MAX)
        return naru__fail(-EINVAL, "naru_barrier_options.parties is %u, and the most is %d",
                          o->parties, NARU_BARRIER_MAX);
    return naru__lock_common("naru_barrier_options",
                             &(struct naru_lock_common){o->flags, flags, o->mode, o->participants});
}

int naru_barrier_open(const char *text, const struct naru_barrier_options *options,
                      naru_barrier **ret_b)
{
    struct naru_url url;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_url(text, "a barrier", &url);
    return r < 0 ? r : naru__barrier_open(&url, NARU_OPTIONS(naru_barrier_options, options), ret_b);
}

int naru_barrier_at(naru_region *region, size_t offset, const struct naru_barrier_options *options,
                    naru_barrier **ret_b)
{
    struct naru_lock_place at;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_place_of(region, offset, &at);
    return r < 0 ? r : naru__barrier_place(&at, NARU_OPTIONS(naru_barrier_options, options), ret_b);
}

int naru_barrier_wait(naru_barrier *b, int64_t timeout)
{
    int r = naru__enter_fast(b, NARU__BARRIER);
    if (r == 0) {
        r = naru__barrier_wait(b, timeout);
        naru__leave(&b->lock.handle);
    }
    return r;
}

int naru_barrier_arrive(naru_barrier *b)
{
    int r = naru__enter_fast(b, NARU__BARRIER);
    if (r == 0) {
        r = naru__barrier_arrive(b);
        naru__leave(&b->lock.handle);
    }
    return r;
}

int naru_barrier_reset(naru_barrier *b)
{
    int r = naru__enter(b, NARU__BARRIER);
    if (r == 0) {
        r = naru__barrier_reset(b);
        naru__leave(&b->lock.handle);
    }
    return r;
}

int naru_barrier_arrived(naru_barrier *b)
{
    int r = naru__enter(b, NARU__BARRIER);
    if (r == 0)
        r = naru__lock_check(&b->lock);
    return r == 0 ? naru__barrier_arrived(b) : r;
}

int naru_barrier_dead(naru_barrier *b, pid_t *ret_pid)
{
    int r = naru__enter(b, NARU__BARRIER);
    if (r == 0)
        r = naru__lock_check(&b->lock);
    pid_t pid = r == 0 ? naru__barrier_dead(b) : 0;
    if (pid == 0)
        return r;
    *ret_pid = pid;
    return 1;
}

naru_barrier *naru_barrier_close(naru_barrier *b)
{
    if (b)
        naru__barrier_close(b);
    return NULL;
}
