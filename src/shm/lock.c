/* SPDX-License-Identifier: MIT */
/* lock.c - taking, giving back and settling permits; shm/lock.h says what the words mean.
 *
 * Kept true: the count, what the participants own, and what is planned to come back are together
 * what there is. A word is only replaced after `seen` of its participant has its ticket. */
#include "shm/lock.h"

static _Atomic uint64_t *word_of(const struct naru_permits *p, uint32_t m, int what)
{
    return &p->members[m].kind[what];
}

static uint64_t ticket_of(uint64_t record) /* of INTENT and OWNED */
{
    return record >> 20 & NARU_LOCK_TICKET_MASK;
}

void naru__permits_init(struct naru_lock_state *s, uint64_t value, bool plain)
{
    uint64_t nobody = plain ? 0 : NARU_LOCK_NOBODY;
    /* relaxed: nobody sees it yet */
    atomic_store_explicit(&s->word, naru__permits_word(value, nobody, 0, 0), memory_order_relaxed);
}

void naru__permits_begin(struct naru_permits *p)
{
    _Atomic uint64_t *settle = word_of(p, p->me, NARU_LOCK_SETTLE);
    uint64_t was = atomic_load_explicit(settle, memory_order_relaxed);
    if (was == 0)
        return;
    uint64_t nothing = was >> NARU_LOCK_TICKET_SHIFT << 20;
    /* release: whoever finds `settle` empty finds these */
    atomic_store_explicit(word_of(p, p->me, NARU_LOCK_INTENT), nothing, memory_order_release);
    atomic_store_explicit(word_of(p, p->me, NARU_LOCK_OWNED), nothing, memory_order_release);
    atomic_store_explicit(settle, 0, memory_order_release);
}

void naru__permits_forget(struct naru_permits *p, uint32_t m)
{
    struct naru_permits its = *p;
    its.me = m;
    naru__permits_begin(&its);
}

bool naru__permits_settled(const struct naru_permits *p)
{
    return atomic_load(word_of(p, p->me, NARU_LOCK_SETTLE)) != 0;
}

/* Notes that the word `was` had this ticket. Between the look at `seen` and its exchange nobody
 * else may have noted anything, and the word is looked at once more in between: so a note never
 * takes the place of a later one. */
static int naru__permits_note(struct naru_permits *p, uint64_t was)
{
    uint32_t m = naru__permits_member(was);
    uint64_t ticket = naru__permits_ticket(was);
    if (m == NARU_LOCK_NOBODY)
        return 0;
    if (m >= p->records)
        return NARU_PERMITS_RECORDS;
    _Atomic uint64_t *seen = word_of(p, m, NARU_LOCK_SEEN);
    for (;;) {
        uint64_t is = atomic_load(seen);
        if (is == ticket || atomic_load(&p->state->word) != was)
            return 0; /* or the caller's exchange fails */
        if (atomic_compare_exchange_strong(seen, &is, ticket))
            return 0;
    }
}

/* Did m succeed with that ticket? `word` was read before: if it is replaced just then, `seen` has
 * it. */
static bool happened(const struct naru_permits *p, uint32_t m, uint64_t ticket, uint64_t word)
{
    return (naru__permits_member(word) == m && naru__permits_ticket(word) == ticket) ||
           atomic_load(word_of(p, m, NARU_LOCK_SEEN)) == ticket;
}

static int change_plain(struct naru_permits *p, uint64_t was, uint64_t count, uint64_t flags)
{
    uint64_t to = count << NARU_LOCK_COUNT_SHIFT | flags;
    /* acq_rel: what was written before a post is read after the wait that takes it */
    return atomic_compare_exchange_strong_explicit(&p->state->word, &was, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

int naru__permits_change(struct naru_permits *p, uint64_t was, uint64_t count, uint64_t flags,
                         uint64_t owned)
{
    if (p->plain)
        return change_plain(p, was, count, flags);
    _Atomic uint64_t *record = p->members[p->me].kind;
    uint64_t ticket =
        (ticket_of(atomic_load_explicit(&record[NARU_LOCK_OWNED], memory_order_relaxed)) + 1) &
        NARU_LOCK_TICKET_MASK;
    uint64_t intent = ticket << 20 | owned;
    /* release: pairs with a settler's acquire; `owned` of the operation before is there with it */
    atomic_store_explicit(&record[NARU_LOCK_INTENT], intent, memory_order_release);
    if (__builtin_expect(naru__permits_member(was) != p->me, 0)) {
        int r = naru__permits_note(p, was);
        if (r)
            return -r;
    }
    uint64_t to = naru__permits_word(count, p->me, ticket, flags);
    /* seq_cst: before it the intent, behind it what the permit guards, and the look at who waits */
    if (!atomic_compare_exchange_strong(&p->state->word, &was, to))
        return 0;
    p->last = to;
    /* release: pairs with a settler's acquire */
    atomic_store_explicit(&record[NARU_LOCK_OWNED], intent, memory_order_release);
    return 1;
}

/* The word, and whether this one may change it. In this order: a settler writes `settle` first and
 * then another word, so who has a word from after that sees it, and who has one from before
 * fails. */
int naru__permits_look(const struct naru_permits *p, uint64_t *ret_word)
{
    *ret_word = atomic_load_explicit(&p->state->word, memory_order_acquire);
    if (p->plain)
        return 0;
    const _Atomic uint64_t *settle = &p->members[p->me].kind[NARU_LOCK_SETTLE];
    return __builtin_expect(atomic_load_explicit(settle, memory_order_acquire) != 0, 0)
               ? NARU_PERMITS_SETTLED
               : 0;
}

int naru__permits_take(struct naru_permits *p, uint64_t n, bool first, uint64_t *ret_word)
{
    for (;;) {
        uint64_t was;
        int r = naru__permits_look(p, &was);
        if (__builtin_expect(r != 0, 0))
            return r;
        uint64_t count = naru__permits_count(p, was);
        *ret_word = was;
        if (count > p->max)
            return NARU_PERMITS_DAMAGED;
        if (was & NARU_LOCK_LOST)
            return NARU_PERMITS_LOST;
        if (count < n || ((was & NARU_LOCK_QUEUED) && !first))
            return NARU_PERMITS_FEW;
        uint64_t owned = p->plain ? 0 : naru__permits_owned(p) + (n << p->shift);
        if (owned > p->max)
            return NARU_PERMITS_DAMAGED;
        r = naru__permits_change(p, was, count - n, was & NARU_LOCK_FLAGS, owned);
        if (__builtin_expect(r != 0, 1))
            return r < 0 ? -r : 0;
    }
}

int naru__permits_give(struct naru_permits *p, uint64_t n, uint64_t *ret_word)
{
    for (;;) {
        uint64_t was;
        int r = naru__permits_look(p, &was);
        if (__builtin_expect(r != 0, 0))
            return r;
        uint64_t count = naru__permits_count(p, was);
        *ret_word = was;
        if (count > p->max || n > p->max - count)
            return NARU_PERMITS_DAMAGED;
        uint64_t owned = p->plain ? 0 : naru__permits_owned(p) - n;
        r = naru__permits_change(p, was, count + n, was & NARU_LOCK_FLAGS, owned);
        if (__builtin_expect(r != 0, 1))
            return r < 0 ? -r : 0;
    }
}

uint64_t naru__permits_waits(const struct naru_permits *p, uint64_t word)
{
    uint64_t waits = 0;
    for (uint32_t m = 0; m < p->records; m++) {
        /* in this order, as in plan() */
        uint64_t intent = atomic_load(word_of(p, m, NARU_LOCK_INTENT));
        uint64_t owned = atomic_load(word_of(p, m, NARU_LOCK_OWNED));
        if (ticket_of(intent) != ticket_of(owned) && happened(p, m, ticket_of(intent), word))
            owned = intent;
        uint64_t all = owned & NARU_EVENT_WAITS, got = owned >> NARU_EVENT_SHIFT & NARU_EVENT_WAITS;
        waits += all > got ? all - got : 0;
    }
    return waits;
}

/* Leaves participant and ticket as they are, so nothing has to be noted. */
void naru__permits_flag(struct naru_permits *p, uint64_t set, uint64_t clear, uint64_t *ret_word)
{
    uint64_t was = atomic_load(&p->state->word);
    /* seq_cst: comes between this one's `want` and its look at the count */
    while (((was & set) != set || (was & clear)) &&
           !atomic_compare_exchange_weak(&p->state->word, &was, (was | set) & ~clear))
        ;
    *ret_word = was;
}

/* ---- settling ---- */

/* The word changes, so that an exchange that m has prepared fails. */
static int fence(struct naru_permits *p)
{
    for (;;) {
        uint64_t was = atomic_load(&p->state->word);
        int r = naru__permits_note(p, was);
        if (r)
            return r;
        uint64_t ticket = atomic_fetch_add(&p->state->fences, 1) + 1;
        uint64_t to = naru__permits_word(naru__permits_count(p, was), NARU_LOCK_NOBODY, ticket,
                                         was & NARU_LOCK_FLAGS);
        if (atomic_compare_exchange_strong(&p->state->word, &was, to))
            return 0;
    }
}

/* What m owns, now that it succeeds with nothing any more. `intent` first: `owned` of the operation
 * before it is there then. */
static int plan(struct naru_permits *p, uint32_t m, uint64_t *ret_plan)
{
    uint64_t intent = atomic_load(word_of(p, m, NARU_LOCK_INTENT));
    uint64_t owned = atomic_load(word_of(p, m, NARU_LOCK_OWNED));
    uint64_t ticket = ticket_of(intent);
    if (ticket != ticket_of(owned)) {
        if (ticket != ((ticket_of(owned) + 1) & NARU_LOCK_TICKET_MASK))
            return NARU_PERMITS_DAMAGED;
        if (happened(p, m, ticket, atomic_load(&p->state->word)))
            owned = intent;
    }
    uint64_t n = (owned & 0xfffff) >> p->shift;
    if (n > p->max)
        return NARU_PERMITS_DAMAGED;
    ticket = (ticket_of(owned) + (n ? 1 : 0)) & NARU_LOCK_TICKET_MASK;
    *ret_plan = ticket << NARU_LOCK_TICKET_SHIFT | n << 4 |
                (uint64_t)(n ? NARU_SETTLE_PLANNED : NARU_SETTLE_DONE);
    return 0;
}

static int carry_out(struct naru_permits *p, uint32_t m, uint64_t planned, uint64_t flag)
{
    uint64_t ticket = planned >> NARU_LOCK_TICKET_SHIFT, n = planned >> 4 & 0xfffff;
    bool exclusive = flag && n == p->max;
    for (;;) {
        uint64_t was = atomic_load(&p->state->word);
        if (happened(p, m, ticket, was))
            return 0;
        uint64_t count = naru__permits_count(p, was);
        if (count > p->max || n > p->max - count)
            return NARU_PERMITS_DAMAGED;
        int r = naru__permits_note(p, was);
        if (r)
            return r;
        /* here, where m still owns it, so that no other's death can be noted meanwhile */
        if (exclusive)
            atomic_store(&p->state->dead, atomic_load(&p->members[m].pid));
        uint64_t flags = (was & NARU_LOCK_FLAGS) | (exclusive ? flag : 0);
        uint64_t to = naru__permits_word(count + n, m, ticket, flags);
        if (atomic_compare_exchange_strong(&p->state->word, &was, to))
            return 0;
    }
}

int naru__permits_settle(struct naru_permits *p, uint32_t m, uint64_t flag, uint64_t *ret_n)
{
    if (m >= p->records)
        return NARU_PERMITS_RECORDS;
    _Atomic uint64_t *settle = word_of(p, m, NARU_LOCK_SETTLE);
    uint64_t is = atomic_load(settle);
    int r = 0;
    *ret_n = 0;
    if ((is & 15) == NARU_SETTLE_DONE)
        return 0;
    if ((is & 15) <= NARU_SETTLE_FENCED) {
        atomic_store(settle, NARU_SETTLE_FENCED);
        r = fence(p);
        if (r == 0)
            r = plan(p, m, &is);
        if (r)
            return r;
        atomic_store(settle, is);
    }
    if ((is & 15) == NARU_SETTLE_DONE)
        return 0;
    if ((is & 15) != NARU_SETTLE_PLANNED)
        return NARU_PERMITS_DAMAGED;
    r = carry_out(p, m, is, flag);
    if (r)
        return r;
    atomic_store(settle, (is & ~UINT64_C(15)) | NARU_SETTLE_DONE);
    *ret_n = is >> 4 & 0xfffff;
    return 0;
}
