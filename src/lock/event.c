/* SPDX-License-Identifier: MIT */
/* event.c - events.
 *
 * A manual one is a word: whether it is set, and how often it was. Who waits has read how often,
 * so a set that is reset at once has released it all the same.
 *
 * The sets of an automatic one are permits (shm/lock.h): a wait takes one and spends it as the last
 * thing that it does, so who dies before has owned it, and it comes back. How many waits are on
 * stands in the records, and changes with the word alone; so a set knows at its exchange how many
 * there are that have got nothing: it adds one, unless there is one for each of these and one more.
 *
 * Each set is an exchange, though it may change nothing that counts: what was written before it is
 * read after the wait that it releases, or after the reset that undoes it. */
#include "lock/event.h"

#include "base/error.h"

#include <errno.h>

/* ---- automatic ---- */

enum change {
    SET,
    RESET,
    CLAIM, /* a set that is there */
    JOIN,  /* waits from here on */
    LEAVE  /* ... and no more, with nothing */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

enum { TOO_MANY = 100 }; /* besides NARU_PERMITS_ */

/* One try, under the guard: 1 done, 0 again, else one of those, negative. */
static int try_change(struct naru_lock *l, enum change what, uint64_t *ret_word)
{
    struct naru_permits *p = &l->permits;
    uint64_t word;
    int r = naru__permits_look(p, &word);
    /* after the word: whoever has changed it has a record by now */
    p->records = naru__object_members(&l->object);
    uint64_t count = naru__permits_count(p, word), owned = naru__permits_owned(p);
    uint64_t waits = count > 0 && what != CLAIM ? naru__permits_waits(p, word) : 0;
    *ret_word = word;
    if (r)
        return -r;
    switch (what) {
    case SET:
        count += count <= waits;
        break;
    case RESET:
        count = least(count, waits);
        break;
    case CLAIM:
        if (count == 0 || word & NARU_LOCK_QUEUED)
            return -NARU_PERMITS_FEW;
        count--;
        owned += 1 + NARU_EVENT_GOT;
        break;
    case JOIN:
        owned++;
        break;
    case LEAVE:
        count = least(count, waits); /* one for each of the others, and one more */
        owned--;
        break;
    }
    if ((what == CLAIM || what == JOIN) && (owned & NARU_EVENT_WAITS) == 0)
        return -TOO_MANY;
    return naru__permits_change(p, word, count, word & NARU_LOCK_FLAGS, owned);
}

/* 0, NARU_PERMITS_FEW, or negative. */
static int change(struct naru_lock *l, enum change what, uint64_t *ret_word)
{
    enum { TRIES = 100 }; /* of what cannot be for long */
    int tries = 0, r;
    do {
        bool mutex = naru__lock_enter(l);
        r = try_change(l, what, ret_word);
        naru__lock_leave(l, mutex);
    } while (r == 0 || (r == -NARU_PERMITS_RECORDS && tries++ < TRIES));
    if (r == 1)
        return 0;
    if (r == -TOO_MANY)
        return naru__fail(-ENOSPC,
                          "%s: %d threads wait with this handle, as many as can: open another one "
                          "for more",
                          l->handle.name, NARU_EVENT_WAITS);
    return r == -NARU_PERMITS_FEW ? NARU_PERMITS_FEW : naru__lock_damaged(l);
}

static void spend(struct naru_lock *l)
{
    bool mutex = naru__lock_enter(l);
    naru__permits_spend(&l->permits, 1 + NARU_EVENT_GOT);
    naru__lock_leave(l, mutex);
}

static int wait_automatic(struct naru_lock *l, int64_t timeout)
{
    uint64_t word;
    int r = change(l, CLAIM, &word);
    if (r == NARU_PERMITS_FEW) {
        r = change(l, JOIN, &word);
        if (r == 0)
            r = naru__lock_take_slow(l, 1, timeout);
        if (r < 0)
            (void)change(l, LEAVE, &word); /* r has its sentence */
    }
    if (r == 0)
        spend(l);
    return r;
}

/* ---- manual ---- */

static bool was_set(uint64_t word, uint64_t since)
{
    return word & NARU_EVENT_SET || word >> NARU_EVENT_SETS_SHIFT != since >> NARU_EVENT_SETS_SHIFT;
}

/* Who waits by the descriptor has waited since the last call. */
static int wait_manual(naru_event *e, int64_t timeout)
{
    struct naru_lock *l = &e->lock;
    uint64_t since = atomic_load(l->handle.epoll >= 0 ? &e->since : &l->permits.state->word);
    int r = naru__lock_await(l, was_set, since, timeout);
    atomic_store(&e->since, atomic_load(&l->permits.state->word));
    return r;
}

static void change_manual(struct naru_lock *l, bool set)
{
    _Atomic uint64_t *place = &l->permits.state->word;
    uint64_t was = atomic_load(place), to;
    do
        to = set ? ((was | NARU_EVENT_SET) + (UINT64_C(1) << NARU_EVENT_SETS_SHIFT)) &
                       ~(uint64_t)NARU_LOCK_WAITED
                 : was & ~(uint64_t)NARU_EVENT_SET;
    while (!atomic_compare_exchange_weak(place, &was, to)); /* seq_cst: before it what it tells */
    if (set && was & NARU_LOCK_WAITED)
        naru__lock_tell_all(l);
}

/* ---- both ---- */

int naru__event_set(naru_event *e)
{
    struct naru_lock *l = &e->lock;
    uint64_t word;
    int r = naru__lock_check(l);
    if (r == 0 && e->manual)
        change_manual(l, true);
    else if (r == 0) {
        r = change(l, SET, &word);
        if (r == 0 && word & NARU_LOCK_WAITED)
            naru__lock_wake(l);
    }
    return r;
}

int naru__event_reset(naru_event *e)
{
    uint64_t word;
    int r = naru__lock_check(&e->lock);
    if (r == 0 && e->manual)
        change_manual(&e->lock, false);
    else if (r == 0)
        r = change(&e->lock, RESET, &word);
    return r;
}

int naru__event_wait(naru_event *e, int64_t timeout)
{
    int r = naru__lock_check(&e->lock);
    if (r == 0)
        r = e->manual ? wait_manual(e, timeout) : wait_automatic(&e->lock, timeout);
    return r == -ETIMEDOUT ? naru__fail(r, "%s: the time given passed, and nobody has set it%s",
                                        e->lock.handle.name, e->manual ? "" : " for this wait")
                           : r;
}

bool naru__event_is_set(naru_event *e)
{
    struct naru_permits *p = &e->lock.permits;
    uint64_t word = atomic_load(&p->state->word);
    if (e->manual)
        return word & NARU_EVENT_SET;
    p->records = naru__object_members(&e->lock.object);
    return naru__permits_count(p, word) > naru__permits_waits(p, word);
}

/* ---- opening ---- */

static bool event_ready(struct naru_handle *h, int events)
{
    naru_event *e = (naru_event *)h;
    uint64_t word = atomic_load(&e->lock.permits.state->word);
    (void)events;
    return naru__object_removed(&e->lock.object) ||
           (e->manual
                ? was_set(word, atomic_load(&e->since))
                : naru__permits_count(&e->lock.permits, word) > 0 && !(word & NARU_LOCK_QUEUED));
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = naru__lock_watch,
    .ready = event_ready,
};

static int make(struct naru_object *o, void *arg)
{
    const struct naru_lock_want *want = arg;
    struct naru_lock_state *s = (void *)o->state->kind;
    naru__permits_init(s, want->set, want->plain);
    return 0;
}

static int agree(const struct naru_object *o, void *arg)
{
    const struct naru_lock_want *want = arg;
    const uint64_t *option = o->meta.option;
    if (option[NARU_LOCK_KIND] > NARU__LOCK_PLAIN || option[NARU_LOCK_VALUE] != want->value)
        return naru__fail(-EPROTO, "%s: its meta is damaged", o->url);
    if (!want->plain && option[NARU_LOCK_KIND] != NARU__LOCK_OWNED)
        return naru__fail(-EEXIST, "%s is reset by hand, and NARU_AUTOMATIC is asked for", o->url);
    return 0;
}

static const struct naru_lock_type type = {&handle_ops, naru__lock_clean, make, agree};

static struct naru_lock_want want_of(const struct naru_event_options *o)
{
    return (struct naru_lock_want){.what = NARU_OBJECT_EVENT,
                                   .noun = NARU__EVENT,
                                   .plain = o->kind == NARU_MANUAL,
                                   .value = NARU_PERMITS_OWNED_MAX,
                                   .set = o->set,
                                   .flags = o->flags,
                                   .mode = o->mode,
                                   .participants = o->participants,
                                   .size = sizeof(struct naru_event),
                                   .name = "naru_event_options",
                                   .type = &type};
}

static int opened(int r, struct naru_lock *l, naru_event **ret_e)
{
    if (r < 0)
        return r;
    naru_event *e = (naru_event *)l;
    e->manual = l->permits.plain;
    atomic_store(&e->since, atomic_load(&l->permits.state->word));
    *ret_e = e;
    return 0;
}

int naru__event_open(const struct naru_url *url, const struct naru_event_options *o,
                     naru_event **ret_e)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_open(url, &want, &l);
    return opened(r, l, ret_e);
}

int naru__event_place(const struct naru_lock_place *at, const struct naru_event_options *o,
                      naru_event **ret_e)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_place(at, &want, &l);
    return opened(r, l, ret_e);
}
