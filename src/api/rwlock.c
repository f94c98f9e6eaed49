/* SPDX-License-Identifier: MIT */
/* rwlock.c - naru/lock.h: argument checks, then the rwlock. */
#include "lock/rwlock.h"

#include "api/locks.h"
#include "api/transports.h"
#include "base/error.h"

#include <errno.h>

static int check_options(const struct naru_rwlock_options *o)
{
    unsigned known = NARU_EXCLUSIVE | NARU_EXISTING | NARU_SPIN | NARU_SLEEP | NARU_FAIR;
    int r = naru__check_options(o, sizeof *o, "naru_rwlock_options");
    if (r < 0 || !o)
        return r;
    if (o->flags & NARU_PRIO_INHERIT)
        return naru__fail_static(-EOPNOTSUPP,
                                 "naru_rwlock_options.flags: NARU_PRIO_INHERIT is a mutex's: the "
                                 "kernel lends a priority to one owner, and readers are many");
    return naru__lock_common("naru_rwlock_options",
                             &(struct naru_lock_common){o->flags, known, o->mode, o->participants});
}

int naru_rwlock_open(const char *text, const struct naru_rwlock_options *options,
                     naru_rwlock **ret_rwlock)
{
    struct naru_url url;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_url(text, "a rwlock", &url);
    return r < 0 ? r
                 : naru__rwlock_open(&url, NARU_OPTIONS(naru_rwlock_options, options), ret_rwlock);
}

int naru_rwlock_at(naru_region *region, size_t offset, const struct naru_rwlock_options *options,
                   naru_rwlock **ret_rwlock)
{
    struct naru_lock_place at;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_place_of(region, offset, &at);
    return r < 0 ? r
                 : naru__rwlock_place(&at, NARU_OPTIONS(naru_rwlock_options, options), ret_rwlock);
}

int naru_rwlock_read(naru_rwlock *w, int64_t timeout)
{
    int r = naru__enter_fast(w, NARU__RWLOCK);
    if (__builtin_expect(r < 0, 0))
        return r;
    r = naru__rwlock_read(w, timeout);
    naru__leave(&w->lock.handle);
    return r;
}

int naru_rwlock_write(naru_rwlock *w, int64_t timeout)
{
    int r = naru__enter_fast(w, NARU__RWLOCK);
    if (__builtin_expect(r < 0, 0))
        return r;
    r = naru__rwlock_write(w, timeout);
    naru__leave(&w->lock.handle);
    return r;
}

int naru_rwlock_unlock(naru_rwlock *w)
{
    int r = naru__enter_fast(w, NARU__RWLOCK);
    if (__builtin_expect(r < 0, 0))
        return r;
    r = naru__rwlock_unlock(w);
    naru__leave(&w->lock.handle);
    return r;
}

/* A call of its owner's alone. */
static int enter_owner(const naru_rwlock *w)
{
    int r = naru__enter(w, NARU__RWLOCK);
    return r < 0 ? r : naru__rwlock_writes(w);
}

int naru_rwlock_recover(naru_rwlock *w)
{
    int r = enter_owner(w);
    return r < 0 ? r : naru__lock_recover(&w->lock);
}

int naru_rwlock_give_up(naru_rwlock *w)
{
    int r = enter_owner(w);
    if (r == 0)
        r = naru__lock_lose(&w->lock);
    if (r < 0)
        return r;
    r = naru_rwlock_unlock(w);
    naru__lock_ring_all(&w->lock);
    return r;
}

int naru_rwlock_dead(naru_rwlock *w, pid_t *ret_pid)
{
    int r = naru__enter(w, NARU__RWLOCK);
    if (r == 0)
        r = naru__lock_check(&w->lock);
    if (r < 0)
        return r;
    pid_t pid = naru__lock_dead(&w->lock);
    if (pid)
        *ret_pid = pid;
    return pid != 0;
}

naru_rwlock *naru_rwlock_close(naru_rwlock *w)
{
    if (w)
        naru__rwlock_free(w);
    return NULL;
}
