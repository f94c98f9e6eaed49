/* SPDX-License-Identifier: MIT */
/* barrier.c - barriers: one word, which each step exchanges as a whole, so that a death in between
 * leaves nothing half done.
 *
 * The word has how many have arrived, how many rounds were completed and how often it was reset.
 * Whoever arrives last begins the next round with the same exchange, and is the serial one. Who
 * finds a participant dead writes its pid into the word instead: nobody arrives then, and who waits
 * is told, until somebody resets it.
 *
 * Who waits has read both numbers. If resets are the same and rounds are not, its round was
 * completed. After a reset it may have been completed before: which round was the last is noted
 * before the exchange (last_of()); who has slept through a second reset is told of the death. */
#include "lock/barrier.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

enum { RESETS_MASK = 0x3fff, ROUNDS_MASK = 0xffffff };

static uint64_t number_of(uint64_t word)
{
    return word >> NARU_BARRIER_NUMBER_SHIFT & NARU_BARRIER_NUMBER;
}

static uint64_t resets_of(uint64_t word)
{
    return word >> NARU_BARRIER_RESETS_SHIFT & RESETS_MASK;
}

static uint64_t rounds_of(uint64_t word)
{
    return word >> NARU_BARRIER_ROUNDS_SHIFT & ROUNDS_MASK;
}

static uint64_t word_of(uint64_t rounds, uint64_t resets, uint64_t number, uint64_t flags)
{
    return (rounds & ROUNDS_MASK) << NARU_BARRIER_ROUNDS_SHIFT |
           (resets & RESETS_MASK) << NARU_BARRIER_RESETS_SHIFT |
           number << NARU_BARRIER_NUMBER_SHIFT | flags;
}

/* Rounds and resets alone. */
static uint64_t round_of(uint64_t word)
{
    return word >> NARU_BARRIER_RESETS_SHIFT;
}

static bool exchange(struct naru_lock *l, uint64_t *was, uint64_t to)
{
    /* seq_cst: before it what was written before the barrier, behind it who is to be told */
    return atomic_compare_exchange_strong(&l->permits.state->word, was, to);
}

static bool is_over(uint64_t word, uint64_t since)
{
    return word & NARU_BARRIER_BROKEN || round_of(word) != round_of(since);
}

static int broken(const naru_barrier *b, uint64_t word)
{
    const char *name = b->lock.handle.name;
    if (word & NARU_BARRIER_BROKEN)
        return naru__fail(-EOWNERDEAD,
                          "%s is broken: process %" PRIu64
                          ", a party to it, has died; naru_barrier_reset begins anew without it",
                          name, number_of(word));
    return naru__fail(-EOWNERDEAD, "%s: a party had died, and it was reset meanwhile", name);
}

/* Which round was the last before that reset. Two places, in turn: whoever is about to reset it
 * once more does not touch what those need who wait since before the reset of now. */
static _Atomic uint64_t *last_of(const naru_barrier *b, uint64_t resets)
{
    struct naru_lock_state *s = b->lock.permits.state;
    return resets & 1 ? &s->fences : &s->queue;
}

/* Of a round that is over. */
static int outcome(const naru_barrier *b, uint64_t word, uint64_t since)
{
    if (resets_of(word) == resets_of(since))
        return rounds_of(word) == rounds_of(since) ? broken(b, word) : 0;
    uint64_t last = atomic_load(last_of(b, resets_of(since)));
    return resets_of(last) == resets_of(since) && rounds_of(last) != rounds_of(since)
               ? 0
               : broken(b, word & ~(uint64_t)NARU_BARRIER_BROKEN);
}

/* 1: it was the last, and the round is over; 0, and which round it is. */
static int arrive(naru_barrier *b, bool only_last, uint64_t *ret_since)
{
    struct naru_lock *l = &b->lock;
    uint64_t was = atomic_load(&l->permits.state->word), to;
    bool last;
    do {
        uint64_t n = number_of(was);
        *ret_since = was;
        if (was & NARU_BARRIER_BROKEN)
            return broken(b, was);
        if (n >= b->parties)
            return naru__lock_damaged(l);
        last = n + 1 == b->parties;
        if (!last && only_last)
            return 0;
        to = last ? word_of(rounds_of(was) + 1, resets_of(was), 0, 0)
                  : word_of(rounds_of(was), resets_of(was), n + 1, was & NARU_LOCK_FLAGS);
    } while (!exchange(l, &was, to));
    if (last && was & NARU_LOCK_WAITED)
        naru__lock_tell_all(l);
    else if (was & NARU_LOCK_WAITED && number_of(to) + 1 == b->parties)
        naru__lock_tell_watchers(l); /* the next is the last */
    return last;
}

/* It has not arrived after all; unless its round is over. */
static int withdraw(naru_barrier *b, uint64_t since, int code)
{
    struct naru_lock *l = &b->lock;
    uint64_t was = atomic_load(&l->permits.state->word);
    do {
        if (is_over(was, since))
            return outcome(b, was, since);
        if (number_of(was) == 0)
            return naru__lock_damaged(l);
    } while (!exchange(l, &was, was - (UINT64_C(1) << NARU_BARRIER_NUMBER_SHIFT)));
    return code;
}

int naru__barrier_arrive(naru_barrier *b)
{
    uint64_t since, none = 0;
    int r = naru__lock_check(&b->lock);
    if (r == 0 && atomic_load(&b->arrived))
        return naru__fail(-EBUSY, "%s: this handle has arrived, and has not waited since",
                          b->lock.handle.name);
    if (r == 0)
        r = arrive(b, false, &since);
    if (r == 0 && !atomic_compare_exchange_strong(&b->arrived, &none, since | 1)) {
        r = withdraw(b, since, -EBUSY);
        if (r == -EBUSY)
            naru__fail(r, "%s: another thread has just arrived with this handle",
                       b->lock.handle.name);
    }
    return r;
}

/* As naru__lock_await; what is cancelled though its round is over will be the next time. */
static int await(naru_barrier *b, uint64_t since, int64_t timeout, bool stays)
{
    struct naru_lock *l = &b->lock;
    int r = naru__lock_await(l, is_over, since, timeout);
    if (r == 0)
        return outcome(b, atomic_load(&l->permits.state->word), since);
    if (stays || r == -EIDRM)
        return r;
    int code = withdraw(b, since, r);
    if (code == 0 && r == -ECANCELED)
        atomic_store(&l->handle.cancelled, 1);
    return code;
}

static int wait_at_once(naru_barrier *b)
{
    uint64_t since;
    int r = naru__lock_look_for_dead(&b->lock);
    if (r >= 0)
        r = arrive(b, true, &since);
    return r == 0 ? naru__lock_await(&b->lock, is_over, since, NARU_NOWAIT) : r;
}

int naru__barrier_wait(naru_barrier *b, int64_t timeout)
{
    struct naru_lock *l = &b->lock;
    uint64_t since = atomic_load(&b->arrived);
    bool stays = since != 0;
    int r = naru__lock_check(l);
    if (r == 0 && !stays && timeout == NARU_NOWAIT)
        return wait_at_once(b);
    if (r == 0 && !stays)
        r = arrive(b, false, &since);
    if (r != 0)
        return r;
    r = await(b, since, timeout, stays);
    if (stays && (r == 0 || r == -EOWNERDEAD))
        atomic_compare_exchange_strong(&b->arrived, &since, 0);
    if (r == -ETIMEDOUT) {
        uint64_t n = number_of(atomic_load(&l->permits.state->word));
        naru__fail(r, "%s: the time given passed, and %" PRIu64 " of %" PRIu32 " are there%s",
                   l->handle.name, n, b->parties, stays ? "" : " without this one");
    }
    return r;
}

int naru__barrier_reset(naru_barrier *b)
{
    struct naru_lock *l = &b->lock;
    struct naru_lock_state *s = l->permits.state;
    int r = naru__lock_check(l);
    if (r == 0) /* those whose death nobody has found yet as well */
        r = naru__object_collect(&l->object, l->type->clean);
    if (r < 0)
        return r;
    uint64_t was = atomic_load(&s->word);
    while (was & NARU_BARRIER_BROKEN) {
        _Atomic uint64_t *note = last_of(b, resets_of(was));
        uint64_t last = atomic_load(note), to;
        /* in this order: a broken one's rounds stand still, so all who reset it note the same */
        if (atomic_load(&s->word) == was && round_of(last) != round_of(was))
            atomic_compare_exchange_strong(note, &last, was);
        to = word_of(rounds_of(was), resets_of(was) + 1, 0, 0);
        if (exchange(l, &was, to)) {
            if (was & NARU_LOCK_WAITED)
                naru__lock_tell_all(l);
            break;
        }
    }
    return 0;
}

int naru__barrier_arrived(const naru_barrier *b)
{
    uint64_t word = atomic_load(&b->lock.permits.state->word);
    return word & NARU_BARRIER_BROKEN ? 0 : (int)number_of(word);
}

pid_t naru__barrier_dead(const naru_barrier *b)
{
    uint64_t word = atomic_load(&b->lock.permits.state->word);
    return word & NARU_BARRIER_BROKEN ? (pid_t)number_of(word) : 0;
}

int naru__barrier_clean(struct naru_object *o, uint32_t m)
{
    struct naru_lock view = naru__lock_view(o);
    uint64_t was = atomic_load(&view.permits.state->word), to;
    uint64_t pid = atomic_load(&o->members[m].pid) & NARU_BARRIER_NUMBER;
    while (!(was & NARU_BARRIER_BROKEN)) {
        to = word_of(rounds_of(was), resets_of(was), pid, NARU_BARRIER_BROKEN);
        if (exchange(&view, &was, to))
            break;
    }
    naru__lock_tell_all(&view);
    return naru__lock_clean(o, m);
}

void naru__barrier_close(naru_barrier *b)
{
    uint64_t since = atomic_load(&b->arrived);
    if (since && naru__is_owner(&b->lock.handle) && !naru__object_removed(&b->lock.object))
        (void)withdraw(b, since, 0);
    naru__lock_free(&b->lock);
}

/* ---- opening ---- */

static bool barrier_ready(struct naru_handle *h, int events)
{
    naru_barrier *b = (naru_barrier *)h;
    uint64_t word = atomic_load(&b->lock.permits.state->word), since = atomic_load(&b->arrived);
    (void)events;
    return naru__object_removed(&b->lock.object) || word & NARU_BARRIER_BROKEN ||
           (since ? is_over(word, since) : number_of(word) + 1 >= b->parties);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = naru__lock_watch,
    .ready = barrier_ready,
};

static int make(struct naru_object *o, void *arg)
{
    const struct naru_lock_want *want = arg;
    if (want->value == 0)
        return naru__fail(-EINVAL,
                          "%s is not there, and a barrier is for so many parties: set %s.parties",
                          o->url, want->name);
    naru__permits_init((void *)o->state->kind, 0, true);
    return 0;
}

static int agree(const struct naru_object *o, void *arg)
{
    const struct naru_lock_want *want = arg;
    uint64_t parties = o->meta.option[NARU_LOCK_VALUE];
    if (parties == 0 || parties > NARU_BARRIER_MAX ||
        o->meta.option[NARU_LOCK_KIND] != NARU__LOCK_PLAIN)
        return naru__fail(-EPROTO, "%s: its meta is damaged", o->url);
    if (want->value && want->value != parties)
        return naru__fail(-EEXIST,
                          "%s was made for %" PRIu64 " parties, and %" PRIu64
                          " are asked for: leave it 0 to take it as it is",
                          o->url, parties, want->value);
    return 0;
}

static const struct naru_lock_type type = {&handle_ops, naru__barrier_clean, make, agree};

static struct naru_lock_want want_of(const struct naru_barrier_options *o)
{
    return (struct naru_lock_want){.what = NARU_OBJECT_BARRIER,
                                   .noun = NARU__BARRIER,
                                   .plain = true,
                                   .value = o->parties,
                                   .flags = o->flags,
                                   .mode = o->mode,
                                   .participants = o->participants,
                                   .size = sizeof(struct naru_barrier),
                                   .name = "naru_barrier_options",
                                   .type = &type};
}

static int opened(int r, struct naru_lock *l, naru_barrier **ret_b)
{
    if (r < 0)
        return r;
    naru_barrier *b = (naru_barrier *)l;
    b->parties = (uint32_t)l->object.meta.option[NARU_LOCK_VALUE];
    *ret_b = b;
    return 0;
}

int naru__barrier_open(const struct naru_url *url, const struct naru_barrier_options *o,
                       naru_barrier **ret_b)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_open(url, &want, &l);
    return opened(r, l, ret_b);
}

int naru__barrier_place(const struct naru_lock_place *at, const struct naru_barrier_options *o,
                        naru_barrier **ret_b)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_place(at, &want, &l);
    return opened(r, l, ret_b);
}
