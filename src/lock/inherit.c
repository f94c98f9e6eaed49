/* SPDX-License-Identifier: MIT */
/* inherit.c - priority inheritance of mutexes.
 *
 * The permit says who owns the mutex, always. Beside it lies a futex of the kernel's with priority
 * inheritance (`boosted`), and who locks gets that first and then the permit, so whoever waits does
 * so in the kernel and lends the owner its priority; who unlocks leaves both. The futex keeps
 * nobody from anything by itself: it is only about who is boosted. So what it cannot know does no
 * harm: that its thread has died, or that the id was used again, or what was written there by
 * chance. Who finds the permit free though the futex is taken goes on without, and takes it over.
 *
 * The kernel looks the thread up by its id, so all who take part are in one pid namespace. A sleep
 * in there is ended by neither a bell nor naru_cancel: it lasts TICK_MS at most, and then the dead,
 * removal and cancellation are looked at. */
#include "lock/mutex.h"

#include "base/error.h"
#include "os/futex.h"
#include "os/map.h"

#include <errno.h>
#include <inttypes.h>

enum { TICK_MS = 50, THREAD = 0x3fffffff }; /* the id among the kernel's bits */

int naru__inherit_check(const char *name, uint64_t pid_namespace)
{
    _Atomic uint32_t word = 0;
    if (naru__os_futex_unlock_pi(&word) == -ENOSYS)
        return naru__fail(-EOPNOTSUPP,
                          "%s: this kernel has no futexes with priority inheritance "
                          "(CONFIG_FUTEX_PI), and NARU_PRIO_INHERIT is asked for",
                          name);
    uint64_t here = naru__os_pid_namespace();
    if (here != pid_namespace)
        return naru__fail(-EOPNOTSUPP,
                          "%s was made with NARU_PRIO_INHERIT in pid namespace %" PRIu64
                          ", and this is %" PRIu64
                          ": the kernel lends priority to threads of the same one alone",
                          name, pid_namespace, here);
    return 0;
}

static bool is_free(const naru_mutex *m)
{
    const struct naru_permits *p = &m->lock.permits;
    uint64_t word = atomic_load_explicit(&p->state->word, memory_order_relaxed);
    return naru__permits_count(p, word) > 0 || word & NARU_LOCK_LOST;
}

/* 1: this thread has the futex; 0: it goes on without; or negative. */
static int enter(naru_mutex *m, struct naru_wait *w)
{
    _Atomic uint32_t *word = &m->lock.permits.state->boosted;
    uint32_t self = naru__os_thread_id();
    for (;;) {
        /* seq_cst throughout: few come here, and the kernel's own exchanges are so */
        uint32_t is = 0;
        if (atomic_compare_exchange_strong(word, &is, self))
            return 1;
        int64_t tick = naru__now() + TICK_MS * NARU_MS;
        bool once = w->deadline == NARU__AT_ONCE;
        int r = naru__os_futex_lock_pi(word, once                 ? NARU__AT_ONCE
                                             : tick < w->deadline ? tick
                                                                  : w->deadline);
        if (r == 0)
            return 1;
        if (once && r != -ESRCH)
            return 0;
        if (r != -ETIMEDOUT && r != -EAGAIN && r != -EINTR && r != -ESRCH)
            return 0;
        if (r == -ETIMEDOUT)
            (void)naru__lock_look_for_dead(&m->lock);
        uint32_t had = is & THREAD;
        is = atomic_load(word);
        if ((r == -ESRCH || (r == -ETIMEDOUT && is_free(m))) && (is & THREAD) == had)
            return atomic_compare_exchange_strong(word, &is, self); /* who had it is gone */
        r = naru__lock_check(&m->lock);
        if (r == 0)
            r = naru__wait_spin(w); /* the time, and cancellation */
        if (r < 0)
            return r == -ETIMEDOUT ? 0 : r; /* to be told there, with who has it */
    }
}

void naru__inherit_leave(naru_mutex *m)
{
    _Atomic uint32_t *word = &m->lock.permits.state->boosted;
    uint32_t self = naru__os_thread_id(), is = self;
    if (atomic_compare_exchange_strong(word, &is, 0) || (is & THREAD) != self)
        return;                             /* it was taken over, at the latest */
    if (naru__os_futex_unlock_pi(word) < 0) /* the kernel knows another owner */
        (void)atomic_compare_exchange_strong(word, &is, 0);
}

int naru__inherit_lock(naru_mutex *m, int64_t timeout)
{
    struct naru_wait w = naru__wait_begin(&m->lock.handle, NARU_IN, naru__deadline(timeout));
    struct naru_permits *p = &m->lock.permits;
    _Atomic uint64_t *lends = &p->members[p->me].kind[NARU_LOCK_SLEEPS];
    /* relaxed: for people to look at, as is SLEEPS */
    bool free = atomic_load_explicit(&p->state->boosted, memory_order_relaxed) == 0;
    if (!free)
        atomic_store_explicit(lends, (uint64_t)naru__now(), memory_order_relaxed);
    int has = enter(m, &w);
    if (!free)
        atomic_store_explicit(lends, 0, memory_order_relaxed);
    if (has < 0)
        return has;
    int64_t left = timeout;
    if (timeout > 0) {
        left = w.deadline - naru__now();
        left = left > 0 ? left : 1;
    }
    int r = naru__lock_take(&m->lock, 1, left);
    if (r == 0)
        m->boosted = has;
    else if (has)
        naru__inherit_leave(m);
    return r;
}
