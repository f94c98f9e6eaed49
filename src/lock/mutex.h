/* SPDX-License-Identifier: MIT */
/* mutex.h - a mutex: one permit, owned by a handle, and of its threads by one. */
#ifndef NARU_LOCK_MUTEX_H
#define NARU_LOCK_MUTEX_H

#include "lock/lock.h"
#include "naru/lock.h"

struct naru_mutex {
    struct naru_lock lock;
    _Atomic uintptr_t thread; /* of this process that has it, 0: none */
    bool inherit;             /* priority inheritance */
    bool boosted;             /* whoever waits boosts `thread`; its owner's */
};

int naru__mutex_open(const struct naru_url *, const struct naru_mutex_options *,
                     naru_mutex **ret_mutex);
int naru__mutex_place(const struct naru_lock_place *, const struct naru_mutex_options *,
                      naru_mutex **ret_mutex);

int naru__mutex_again(const naru_mutex *);    /* -EDEADLK */
int naru__mutex_not_mine(const naru_mutex *); /* -EPERM */

/* Priority inheritance (inherit.c). check: can it be had here? lock: instead of naru__lock_take;
 * leave: after giving back, if `boosted` was set. */
int naru__inherit_check(const char *name, uint64_t pid_namespace);
int naru__inherit_lock(naru_mutex *, int64_t timeout);
void naru__inherit_leave(naru_mutex *);

static inline bool naru__mutex_is_mine(const naru_mutex *m)
{
    /* relaxed: only a thread itself writes its own name there */
    return atomic_load_explicit(&m->thread, memory_order_relaxed) == naru__thread();
}

/* Where nothing is in the way, and no call has to be made: false, and naru__mutex_lock does it. */
static inline bool naru__mutex_lock_fast(naru_mutex *m)
{
    struct naru_lock *l = &m->lock;
    if (__builtin_expect(l->handle.epoll >= 0 || naru__object_removed(&l->object) || m->inherit ||
                             naru__mutex_is_mine(m) || !naru__lock_enter_alone(l),
                         0))
        return false;
    bool done = naru__permits_fast(&l->permits, 1, NARU_LOCK_NOT_TAKEN);
    naru__lock_leave(l, false);
    if (__builtin_expect(!done, 0))
        return false;
    atomic_store_explicit(&m->thread, naru__thread(), memory_order_relaxed);
    return true;
}

static inline int naru__mutex_lock(naru_mutex *m, int64_t timeout)
{
    if (__builtin_expect(naru__mutex_is_mine(m), 0))
        return naru__mutex_again(m);
    int r = __builtin_expect(m->inherit, 0) ? naru__inherit_lock(m, timeout)
                                            : naru__lock_take(&m->lock, 1, timeout);
    if (__builtin_expect(r < 0, 0))
        return r;
    atomic_store_explicit(&m->thread, naru__thread(), memory_order_relaxed);
    return __builtin_expect(naru__lock_dirty(&m->lock), 0) ? naru__lock_owner_died(&m->lock) : 0;
}

/* The same of unlocking. */
static inline bool naru__mutex_unlock_fast(naru_mutex *m)
{
    struct naru_lock *l = &m->lock;
    if (__builtin_expect(l->handle.epoll >= 0 || naru__object_removed(&l->object) || m->boosted ||
                             !naru__mutex_is_mine(m) || !naru__lock_enter_alone(l),
                         0))
        return false;
    /* relaxed: as in naru__mutex_unlock */
    atomic_store_explicit(&m->thread, 0, memory_order_relaxed);
    bool done = naru__permits_fast(&l->permits, -1, NARU_LOCK_WAITED);
    if (__builtin_expect(!done, 0)) /* it has it still */
        atomic_store_explicit(&m->thread, naru__thread(), memory_order_relaxed);
    naru__lock_leave(l, false);
    return done;
}

static inline int naru__mutex_unlock(naru_mutex *m)
{
    if (__builtin_expect(!naru__mutex_is_mine(m), 0))
        return naru__mutex_not_mine(m);
    bool boosted = m->boosted;
    m->boosted = false;
    /* relaxed: comes before the exchange by which another thread of this process gets it */
    atomic_store_explicit(&m->thread, 0, memory_order_relaxed);
    int r = naru__lock_give(&m->lock, 1);
    if (__builtin_expect(boosted, 0))
        naru__inherit_leave(m);
    return r;
}

#endif
