/* SPDX-License-Identifier: MIT */
/* mutex.c - naru/lock.h: argument checks, then the mutex. */
#include "lock/mutex.h"

#include "api/locks.h"
#include "api/transports.h"
#include "base/error.h"

#include <errno.h>

static int check_options(const struct naru_mutex_options *o)
{
    unsigned known =
        NARU_EXCLUSIVE | NARU_EXISTING | NARU_SPIN | NARU_SLEEP | NARU_FAIR | NARU_PRIO_INHERIT;
    int r = naru__check_options(o, sizeof *o, "naru_mutex_options");
    if (r < 0 || !o)
        return r;
    if (o->flags & NARU_FAIR && o->flags & NARU_PRIO_INHERIT)
        return naru__fail_static(-EINVAL, "naru_mutex_options.flags: NARU_FAIR serves in the order "
                                          "of arrival and NARU_PRIO_INHERIT in that of priorities: "
                                          "give one of them");
    return naru__lock_common("naru_mutex_options",
                             &(struct naru_lock_common){o->flags, known, o->mode, o->participants});
}

int naru_mutex_open(const char *text, const struct naru_mutex_options *options,
                    naru_mutex **ret_mutex)
{
    struct naru_url url;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_url(text, "a mutex", &url);
    return r < 0 ? r : naru__mutex_open(&url, NARU_OPTIONS(naru_mutex_options, options), ret_mutex);
}

int naru_mutex_at(naru_region *region, size_t offset, const struct naru_mutex_options *options,
                  naru_mutex **ret_mutex)
{
    struct naru_lock_place at;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_place_of(region, offset, &at);
    return r < 0 ? r : naru__mutex_place(&at, NARU_OPTIONS(naru_mutex_options, options), ret_mutex);
}

/* The fast way makes no call, so that it keeps nothing for the time after one. */
static __attribute__((noinline)) int lock_slow(naru_mutex *m, int64_t timeout)
{
    int r = naru__enter(m, NARU__MUTEX);
    if (r < 0)
        return r;
    r = naru__mutex_lock(m, timeout);
    naru__leave(&m->lock.handle);
    return r;
}

int naru_mutex_lock(naru_mutex *m, int64_t timeout)
{
    if (naru__entered(m, NARU__MUTEX) && __builtin_expect(naru__mutex_lock_fast(m), 1))
        return 0;
    return lock_slow(m, timeout);
}

static __attribute__((noinline)) int unlock_slow(naru_mutex *m)
{
    int r = naru__enter(m, NARU__MUTEX);
    if (r < 0)
        return r;
    r = naru__mutex_unlock(m);
    naru__leave(&m->lock.handle);
    return r;
}

int naru_mutex_unlock(naru_mutex *m)
{
    if (naru__entered(m, NARU__MUTEX) && __builtin_expect(naru__mutex_unlock_fast(m), 1))
        return 0;
    return unlock_slow(m);
}

/* A call of its owner's alone. */
static int enter_owner(const naru_mutex *m)
{
    int r = naru__enter(m, NARU__MUTEX);
    return r < 0 ? r : naru__mutex_is_mine(m) ? 0 : naru__mutex_not_mine(m);
}

int naru_mutex_recover(naru_mutex *m)
{
    int r = enter_owner(m);
    return r < 0 ? r : naru__lock_recover(&m->lock);
}

int naru_mutex_give_up(naru_mutex *m)
{
    int r = enter_owner(m);
    if (r == 0)
        r = naru__lock_lose(&m->lock);
    if (r < 0)
        return r;
    r = naru_mutex_unlock(m);
    naru__lock_ring_all(&m->lock);
    return r;
}

int naru_mutex_dead(naru_mutex *m, pid_t *ret_pid)
{
    int r = naru__enter(m, NARU__MUTEX);
    if (r == 0)
        r = naru__lock_check(&m->lock);
    if (r < 0)
        return r;
    pid_t pid = naru__lock_dead(&m->lock);
    if (pid)
        *ret_pid = pid;
    return pid != 0;
}

naru_mutex *naru_mutex_close(naru_mutex *m)
{
    if (m)
        naru__lock_free(&m->lock);
    return NULL;
}
