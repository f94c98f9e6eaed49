/* SPDX-License-Identifier: MIT */
/* broadcast.c - waiting for what releases all who wait, and telling them.
 *
 * Whoever waits says so (a bit of its participant, WAITED in the word), looks at the word once more
 * and sleeps on its bell. Whoever changes the word takes WAITED away with the same exchange, then
 * takes each bit and rings. A bit stays until it is taken: threads of one handle share it. Who is
 * killed or stopped between exchange and bell leaves nobody behind, for who sleeps looks every
 * 50 ms, unless it is alone. */
#include "base/error.h"
#include "lock/lock.h"

void naru__lock_tell_all(struct naru_lock *l)
{
    struct naru_lock_state *s = l->permits.state;
    uint32_t records = naru__object_members(&l->object);
    for (uint32_t w = 0; w < 64; w++) {
        uint64_t bits = atomic_load(&s->waiting[w]);
        for (; bits; bits &= bits - 1) {
            uint32_t m = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (m < records && naru__lock_take_bit(s->waiting, m))
                naru__lock_ring(&l->permits, m);
        }
    }
    naru__lock_tell_watchers(l);
}

static bool is_over(const struct naru_lock *l, naru_lock_over *over, uint64_t since)
{
    /* acquire: pairs with the exchange that made it so */
    return over(atomic_load_explicit(&l->permits.state->word, memory_order_acquire), since);
}

static int sleep_once(struct naru_lock *l, struct naru_wait *w, naru_lock_over *over,
                      uint64_t since)
{
    _Atomic uint32_t *bell = &l->permits.members[l->permits.me].bell[0];
    uint32_t value = atomic_load(bell);
    int64_t until = naru__lock_tick(l);
    uint64_t word;
    naru__lock_set_bit(l->permits.state->waiting, l->permits.me);
    naru__permits_flag(&l->permits, NARU_LOCK_WAITED, 0, &word);
    if (is_over(l, over, since) || naru__object_removed(&l->object))
        return 0;
    int r = until == NARU__NEVER || w->slept ? 0 : naru__lock_look_for_dead(l);
    if (r >= 0)
        r = naru__wait_futex(w, bell, value, until);
    return r == 0 && naru__now() >= until ? naru__lock_look_for_dead(l) : r;
}

int naru__lock_await(struct naru_lock *l, naru_lock_over *over, uint64_t since, int64_t timeout)
{
    enum { LOOKS = 50 };
    struct naru_wait w = naru__wait_begin(&l->handle, NARU_IN, naru__deadline(timeout));
    _Atomic uint64_t *sleeps = &l->permits.members[l->permits.me].kind[NARU_LOCK_SLEEPS];
    bool slept = false;
    w.looks = true;
    int r = timeout == NARU_NOWAIT && !is_over(l, over, since) ? naru__lock_look_for_dead(l) : 0;
    while (r >= 0) {
        r = naru__lock_check(l);
        if (r < 0 || is_over(l, over, since))
            break;
        r = naru__wait_spin(&w);
        for (int i = 0; r == 1 && i < LOOKS && !is_over(l, over, since); i++)
            naru__relax();
        if (r == 0 && !slept) { /* relaxed: for people to look at */
            atomic_store_explicit(sleeps, (uint64_t)naru__now(), memory_order_relaxed);
            slept = true;
        }
        if (r == 0)
            r = sleep_once(l, &w, over, since);
    }
    if (slept)
        atomic_store_explicit(sleeps, 0, memory_order_relaxed);
    naru__wait_done(&w);
    return r < 0 ? r : 0;
}
