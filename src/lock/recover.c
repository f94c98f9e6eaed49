/* SPDX-License-Identifier: MIT */
/* recover.c - what the death of an exclusive owner leaves: the word is DIRTY, `dead` is the pid of
 * who died, and every next owner is told so, until one says that it has made whole what the lock
 * guards (recover), or that nobody can (give_up: the word is LOST, for good, before it is given
 * back).
 *
 * The marks are set with the very exchange that gives back what the dead one owned, and only who
 * owns all there is takes them away: so whoever owns sees them. */
#include "lock/lock.h"

#include "base/error.h"

#include <errno.h>

int naru__lock_owner_died(const struct naru_lock *l)
{
    return naru__fail(-EOWNERDEAD,
                      "%s is yours, and process %d died holding it: make whole what it guards and "
                      "recover it, or give it up; until then each next owner is told",
                      l->handle.name, (int)naru__lock_dead(l));
}

pid_t naru__lock_dead(const struct naru_lock *l)
{
    const struct naru_lock_state *s = l->permits.state;
    /* acquire: pairs with the exchange by which the mark came: `dead` was noted before it */
    uint64_t word = atomic_load_explicit(&s->word, memory_order_acquire);
    return word & NARU_LOCK_DIRTY ? (pid_t)atomic_load(&s->dead) : 0;
}

int naru__lock_recover(struct naru_lock *l)
{
    uint64_t word;
    int r = naru__lock_check(l);
    if (r < 0)
        return r;
    if (!naru__lock_dirty(l))
        return naru__fail(-EINVAL, "%s: nobody has died holding it", l->handle.name);
    naru__permits_flag(&l->permits, 0, NARU_LOCK_DIRTY, &word);
    return 0;
}

int naru__lock_lose(struct naru_lock *l)
{
    uint64_t word;
    int r = naru__lock_check(l);
    if (r < 0)
        return r;
    if (!naru__lock_dirty(l))
        return naru__fail(-EINVAL, "%s: nobody has died holding it", l->handle.name);
    naru__permits_flag(&l->permits, NARU_LOCK_LOST, 0, &word);
    return 0;
}
