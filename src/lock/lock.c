/* SPDX-License-Identifier: MIT */
/* lock.c - taking part in a lock: opening it, waiting in its queue, waking, cleaning up after the
 * dead.
 *
 * Waiting: whoever finds too few permits looks again for as long as a wake-up takes, then queues
 * up: a number and how many it wants into its record, WAITED into the word, one more look, and
 * sleep on its bell. Whoever gives back and sees WAITED takes that away and rings for the first in
 * the queue, who says WAITED again as soon as it runs, and passes it on if more is left: so one
 * wake-up is under way at a time, and till then giving back costs what it does without waiters.
 * With QUEUED only the first may take: always under NARU_FAIR, else when some are free, but one in
 * the queue wants several, or was overtaken for OVERDUE since it was woken. So nobody starves, and
 * else a lock is handed to whoever is awake.
 *
 * Death: a lock of the kernel's that falls free wakes nobody, so those who sleep look every 50 ms
 * whether somebody has died (one of all does). What the dead owned is settled, see shm/lock.h. A
 * sleeper looks at everything anew then, which also mends what a death between giving and ringing
 * has left undone. One who was rung for and does not run is passed over after two such looks.
 *
 * Threads of one handle share its record: one at a time changes it, and one at a time queues up. */
#include "lock/lock.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/poll.h"
#include "os/socket.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_MS = 50, OVERDUE = 1000000 /* ns */ };
static const uint64_t number_mask = (UINT64_C(1) << 43) - 1;

/* ---- one thread at a time ---- */

bool naru__lock_guard_slow(struct naru_lock *l)
{
    struct naru_lock_guard *g = &l->guard;
    uintptr_t self = naru__thread(), none = 0;
    if (atomic_load(&g->user) == 0 && atomic_compare_exchange_strong(&g->user, &none, self))
        return naru__lock_enter(l);
    pthread_mutex_lock(&g->mutex);
    if (atomic_load(&g->user) != 1) {
        /* the barrier is the fence between `busy` and `user` that the other thread has not */
        atomic_store(&g->user, 1);
        (void)naru__os_barrier();
        while (atomic_load_explicit(&g->busy, memory_order_acquire))
            sched_yield();
    }
    return true;
}

static void guard_init(struct naru_lock *l, bool barrier)
{
    atomic_store(&l->guard.user, barrier ? 0 : 1);
    pthread_mutex_init(&l->guard.mutex, NULL);
}

/* ---- sentences ---- */

int naru__lock_damaged(const struct naru_lock *l)
{
    return naru__fail(-EPROTO,
                      "%s: its memory is damaged: the word is %016" PRIx64 ", and the permits are "
                      "%" PRIu64,
                      l->handle.name, atomic_load(&l->permits.state->word), l->permits.max);
}

/* "owns 3", "has it" */
static void what_is_owned(const struct naru_lock *l, uint64_t owned, char text[32])
{
    uint32_t what = l->object.meta.what;
    if (what == NARU_OBJECT_MUTEX)
        snprintf(text, 32, "has it");
    else if (what == NARU_OBJECT_RWLOCK)
        snprintf(text, 32, owned == l->permits.max ? "writes" : "reads");
    else
        snprintf(text, 32, "owns %" PRIu64, owned);
}

/* Who owns: "; process 12 (make) owns 3". */
static void owners(const struct naru_lock *l, char *text, size_t size)
{
    const struct naru_permits *p = &l->permits;
    size_t n = 0;
    text[0] = '\0';
    uint32_t records = naru__object_members(&l->object);
    for (uint32_t i = 0; !p->plain && i < records && n < size; i++) {
        char program[32] = "", has[32];
        uint64_t owned = atomic_load(&p->members[i].kind[NARU_LOCK_OWNED]) & 0xfffff;
        uint32_t pid = atomic_load(&p->members[i].pid);
        if (owned == 0)
            continue;
        if (n > size / 2) {
            n += (size_t)snprintf(text + n, size - n, ", and more do");
            break;
        }
        naru__os_program_of((pid_t)pid, program, sizeof program);
        what_is_owned(l, owned, has);
        n += (size_t)snprintf(text + n, size - n, "%s process %" PRIu32 " (%s) %s", n ? "," : ";",
                              pid, program, has);
    }
}

static int timed_out(const struct naru_lock *l, uint64_t n)
{
    char who[320];
    owners(l, who, sizeof who);
    if (l->object.meta.what != NARU_OBJECT_SEMAPHORE)
        return naru__fail(-ETIMEDOUT, "%s: the time given passed%s", l->handle.name, who);
    return naru__fail(
        -ETIMEDOUT,
        "%s: the time given passed; %" PRIu64 " asked for, %" PRIu64 " of %" PRIu64 " free%s",
        l->handle.name, n, naru__permits_count(&l->permits, atomic_load(&l->permits.state->word)),
        l->permits.max, who);
}

static int lost(const struct naru_lock *l)
{
    const struct naru_lock_state *s = l->permits.state;
    return l->object.meta.what != NARU_OBJECT_MUTEX && l->object.meta.what != NARU_OBJECT_RWLOCK
               ? naru__lock_damaged(l)
               : naru__fail(-ENOTRECOVERABLE,
                            "%s was given up after process %" PRIu64
                            " had died holding it: remove it, and begin anew",
                            l->handle.name, atomic_load(&s->dead));
}

/* ---- bits ---- */

static uint64_t bit(uint32_t member)
{
    return UINT64_C(1) << (member % 64);
}

void naru__lock_set_bit(_Atomic uint64_t *words, uint32_t member)
{
    /* seq_cst: comes before this one's last look at the word, as others change the word before they
     * look at the bits */
    atomic_fetch_or(&words[member / 64], bit(member));
}

bool naru__lock_take_bit(_Atomic uint64_t *words, uint32_t member)
{
    return atomic_fetch_and(&words[member / 64], ~bit(member)) & bit(member);
}

static bool any_bit(const _Atomic uint64_t *words)
{
    uint64_t any = 0;
    for (int i = 0; i < 64; i++)
        any |= atomic_load(&words[i]);
    return any != 0;
}

/* ---- who is next ---- */

struct turn {
    uint64_t number; /* 0: nobody waits */
    uint64_t want;
    uint32_t member;
    uint64_t most; /* that anybody in the queue wants */
};

static uint64_t number_of(uint64_t want)
{
    return want >> 20 & number_mask;
}

/* The first in the queue, but for the one with that number. */
static struct turn first_in(const struct naru_permits *p, uint64_t but)
{
    struct turn first = {0};
    for (uint32_t w = 0; w <= (p->records - 1) / 64 && w < 64; w++) {
        uint64_t bits = atomic_load(&p->state->waiting[w]);
        for (; bits; bits &= bits - 1) {
            uint32_t m = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (m >= p->records)
                break;
            uint64_t want = atomic_load(&p->members[m].kind[NARU_LOCK_WANT]);
            uint64_t number = number_of(want);
            if (number == 0 || number == but)
                continue;
            first.most = (want & 0xfffff) > first.most ? want & 0xfffff : first.most;
            if (first.number == 0 || number < first.number)
                first = (struct turn){number, want, m, first.most};
        }
    }
    return first;
}

void naru__lock_ring(const struct naru_permits *p, uint32_t member)
{
    _Atomic uint32_t *bell = &p->members[member].bell[0];
    atomic_fetch_add(bell, 1);
    (void)naru__os_futex_wake(bell, INT_MAX); /* threads of one handle share it */
}

void naru__lock_tell_watchers(struct naru_lock *l)
{
    struct naru_lock_state *s = l->permits.state;
    for (uint32_t w = 0; w < 64; w++) {
        uint64_t bits = atomic_load(&s->watching[w]);
        for (; bits; bits &= bits - 1) {
            uint32_t m = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (m < l->object.meta.members_max && naru__lock_take_bit(s->watching, m))
                naru__object_knock(&l->object, m);
        }
    }
}

static void see_records(struct naru_lock *l)
{
    l->permits.records = naru__object_members(&l->object);
}

/* Could those who want less overtake who wants so many time and again? Not while none is free: then
 * the next who gives back wakes, and who is woken looks. */
static bool overtakable(const struct naru_permits *p, uint64_t word, uint64_t n)
{
    return n > 1 && naru__permits_count(p, word) > 0;
}

/* What the word has to say of those who wait. */
static uint64_t queue_says(struct naru_lock *l)
{
    struct turn next = first_in(&l->permits, 0);
    uint64_t word = atomic_load(&l->permits.state->word);
    bool closed = next.number && (l->fair || overtakable(&l->permits, word, next.most));
    bool waited = next.number || any_bit(l->permits.state->watching);
    return (closed ? NARU_LOCK_QUEUED : 0u) | (waited ? NARU_LOCK_WAITED : 0u);
}

/* Somebody has left the queue, and the word may say too much. Somebody may come between the look
 * and that: so look once more, and put it back. */
static void queue_flags(struct naru_lock *l)
{
    uint64_t word;
    see_records(l);
    uint64_t clear = (NARU_LOCK_QUEUED | NARU_LOCK_WAITED) & ~queue_says(l);
    naru__permits_flag(&l->permits, 0, clear, &word);
    naru__permits_flag(&l->permits, queue_says(l), 0, &word);
}

void naru__lock_wake(struct naru_lock *l)
{
    struct naru_permits *p = &l->permits;
    see_records(l);
    struct turn first = first_in(p, 0);
    /* after the bits, which were set before their owners' last look at the count */
    uint64_t word = atomic_load(&p->state->word), count = naru__permits_count(p, word), was;
    /* for whom there are too few, it closes the queue */
    bool looks = (first.want & 0xfffff) <= count || (count > 0 && !(word & NARU_LOCK_QUEUED));
    if (first.number && looks && first.want & NARU_LOCK_ASLEEP) {
        naru__permits_flag(p, 0, NARU_LOCK_WAITED, &was);
        /* whoever is first now: it sleeps, and so may not have seen that WAITED is gone; or it is
         * still to look at the word before it does */
        first = first_in(p, 0);
        if (first.number && first.want & NARU_LOCK_ASLEEP)
            naru__lock_ring(p, first.member);
    }
    if (count > 0)
        naru__lock_tell_watchers(l);
}

/* ---- the dead ---- */

/* Is nobody else there who could die? */
static bool alone(const struct naru_lock *l)
{
    uint32_t n = naru__object_members(&l->object);
    for (uint32_t i = 0; i < n; i++)
        if (i != l->object.member && naru__member_role(atomic_load_explicit(
                                         &l->object.members[i].who, memory_order_relaxed)))
            return false;
    return true;
}

int64_t naru__lock_tick(const struct naru_lock *l)
{
    return alone(l) && !naru__object_going(&l->object) ? NARU__NEVER
                                                       : naru__now() + TICK_MS * NARU_MS;
}

static struct naru_permits permits_of(const struct naru_object *o)
{
    bool plain = o->meta.option[NARU_LOCK_KIND] == NARU__LOCK_PLAIN;
    return (struct naru_permits){.state = (void *)o->state->kind,
                                 .members = o->members,
                                 .records = naru__object_members(o),
                                 .me = o->member,
                                 .max = plain ? NARU_PERMITS_PLAIN_MAX
                                              : o->meta.option[NARU_LOCK_VALUE],
                                 .plain = plain,
                                 .shift = o->meta.what == NARU_OBJECT_EVENT ? NARU_EVENT_SHIFT : 0};
}

struct naru_lock naru__lock_view(const struct naru_object *o)
{
    struct naru_lock l = {.object = *o, .permits = permits_of(o)};
    l.permits.me = NARU_LOCK_NOBODY;
    return l;
}

/* Under the lock for settling m, which falls if this process dies. */
static int settle(const struct naru_object *o, struct naru_permits *p, uint32_t m, uint64_t flag,
                  uint64_t *ret_n)
{
    enum { PATIENCE = 2, TRIES = 100 };
    int64_t end = naru__now() + PATIENCE * NARU_S;
    struct naru_life life = {0};
    int r;
    while ((r = naru__object_hold(o, NARU_OBJECT_SETTLE_LOCKS + m, &life)) == -EAGAIN &&
           naru__now() < end)
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    if (r == -EAGAIN)
        return naru__fail(-EBUSY, "%s: a process that does not go on is taking permits away",
                          o->url);
    if (r == -ENOENT)
        return naru__object_removed_fail(o);
    if (r < 0)
        return naru__fail(r, "%s: a lock of the kernel's: %s%s", o->url, naru__errno_text(r),
                          naru__limit_of_files(r).text);
    int tries = 0;
    do { /* who has joined meanwhile may be the word's last owner */
        p->records = naru__object_members(o);
        r = naru__permits_settle(p, m, flag, ret_n);
    } while (r == NARU_PERMITS_RECORDS && ++tries < TRIES);
    if (r == 0 && m == p->me && o->generation)
        naru__permits_begin(p); /* this one itself: it goes on */
    naru__os_life_drop(&life);
    return r == 0 ? 0
                  : naru__fail(-EPROTO, "%s: the record of participant %" PRIu32 " is damaged",
                               o->url, m);
}

static void note_death(struct naru_lock_state *s, uint32_t pid)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    atomic_store_explicit(&s->death, ms << 22 | (pid & 0x3fffff), memory_order_relaxed);
}

int naru__lock_clean(struct naru_object *o, uint32_t m)
{
    struct naru_permits p = permits_of(o);
    struct naru_lock_state *s = p.state;
    uint64_t n = 0;
    bool exclusive = o->meta.what == NARU_OBJECT_MUTEX || o->meta.what == NARU_OBJECT_RWLOCK;
    p.me = NARU_LOCK_NOBODY;
    if (!p.plain) {
        int r = settle(o, &p, m, exclusive ? NARU_LOCK_DIRTY : 0, &n);
        if (r < 0)
            return r;
        naru__permits_forget(&p, m);
        if (n)
            note_death(s, atomic_load(&o->members[m].pid));
    }
    atomic_store(&o->members[m].kind[NARU_LOCK_WANT], 0);
    atomic_store(&o->members[m].kind[NARU_LOCK_SLEEPS], 0);
    (void)naru__lock_take_bit(s->waiting, m);
    (void)naru__lock_take_bit(s->watching, m);
    naru__object_no_doorbell(o, m);
    struct naru_lock view = naru__lock_view(o);
    queue_flags(&view); /* it may have been the one for whom others had to queue */
    naru__lock_wake(&view);
    return 0;
}

/* For people to look at: who has owned since when, at the latest. Owners cannot say so themselves,
 * for looking at a clock costs as much as taking a lock. */
static void note_owners(const struct naru_lock *l)
{
    const struct naru_permits *p = &l->permits;
    uint64_t now = (uint64_t)naru__now() / NARU_MS;
    for (uint32_t m = 0; !p->plain && m < p->records; m++) {
        uint64_t owned = atomic_load(&p->members[m].kind[NARU_LOCK_OWNED]);
        _Atomic uint64_t *held = &p->members[m].kind[NARU_LOCK_HELD];
        uint64_t ticket = naru__permits_held_ticket(owned);
        /* relaxed: nothing depends on it */
        if (owned & 0xfffff && atomic_load_explicit(held, memory_order_relaxed) >> 42 != ticket)
            atomic_store_explicit(held, ticket << 42 | now, memory_order_relaxed);
    }
}

int naru__lock_look_for_dead(struct naru_lock *l)
{
    struct naru_lock_state *s = l->permits.state;
    uint64_t now = (uint64_t)naru__now();
    uint64_t last = atomic_load_explicit(&s->checked, memory_order_relaxed);
    if (now - last < (TICK_MS - 10) * UINT64_C(1000000) && now > last)
        return 0;
    if (!atomic_compare_exchange_strong(&s->checked, &last, now))
        return 0;
    int r = naru__object_collect(&l->object, l->type->clean);
    return r == -EBUSY ? 0 : r;
}

/* ---- taking ---- */

/* Settles what was done to this participant, and goes on. */
static int resettle(struct naru_lock *l)
{
    uint64_t n, had;
    bool mutex = naru__lock_enter(l);
    had = naru__permits_owned(&l->permits);
    int r = naru__permits_settled(&l->permits)
                ? settle(&l->object, &l->permits, l->permits.me, 0, &n)
                : 0;
    if (r == 0)
        atomic_fetch_add(&l->revoked, (uint32_t)had);
    naru__lock_leave(l, mutex);
    return r;
}

/* 0, NARU_PERMITS_FEW, or negative. ret_word: what the word was then. */
static int try_take(struct naru_lock *l, uint64_t n, bool first, uint64_t *ret_word)
{
    enum { SETTLED_IN_A_ROW = 100 };
    bool plain = l->permits.plain;
    for (int tries = 0;; tries++) {
        bool mutex = !plain && naru__lock_enter(l);
        int r = naru__permits_take(&l->permits, n, first, ret_word);
        if (!plain)
            naru__lock_leave(l, mutex);
        if (r == 0 || r == NARU_PERMITS_FEW)
            return r;
        if (r == NARU_PERMITS_SETTLED && tries < SETTLED_IN_A_ROW) {
            r = resettle(l);
            if (r < 0)
                return r;
        } else if (r == NARU_PERMITS_LOST) {
            return lost(l);
        } else if (r == NARU_PERMITS_RECORDS && tries < SETTLED_IN_A_ROW) {
            mutex = !plain && naru__lock_enter(l);
            see_records(l);
            if (!plain)
                naru__lock_leave(l, mutex);
        } else {
            return naru__lock_damaged(l);
        }
    }
}

static bool possible(const struct naru_lock *l, uint64_t n)
{
    uint64_t word = atomic_load_explicit(&l->permits.state->word, memory_order_relaxed);
    return naru__permits_count(&l->permits, word) >= n && !(word & NARU_LOCK_QUEUED);
}

/* One thread of a handle queues up, the others wait for that here, in their own process. */
static int my_turn(struct naru_lock *l, struct naru_wait *w)
{
    uint32_t free = 0;
    if (atomic_compare_exchange_strong(&l->turn, &free, 1))
        return 0;
    while (atomic_exchange(&l->turn, 2) != 0) {
        int r = naru__wait_spin(w);
        if (r == 0)
            r = naru__wait_futex(w, &l->turn, 2, naru__now() + TICK_MS * NARU_MS);
        if (r < 0)
            return r;
    }
    return 0;
}

static void turn_over(struct naru_lock *l)
{
    if (atomic_exchange(&l->turn, 0) == 2)
        (void)naru__os_futex_wake(&l->turn, 1);
}

struct waiting {
    uint64_t n, number;
    int64_t woken;    /* when it was first */
    bool overdue;     /* it is not overtaken again */
    uint64_t passed;  /* one who was first and has not taken what is there: it is passed over */
    uint64_t suspect; /* ... it was so at the last tick */
};

/* Whoever was first at the last tick, too, and could have taken, does not run. */
static void suspect(struct naru_lock *l, struct waiting *q)
{
    struct turn first = first_in(&l->permits, q->passed);
    uint64_t word = atomic_load(&l->permits.state->word);
    if (first.number == 0 || first.number == q->number ||
        (first.want & 0xfffff) > naru__permits_count(&l->permits, word)) {
        q->suspect = 0;
    } else if (q->suspect == first.number) {
        q->passed = first.number;
        q->suspect = 0;
    } else {
        q->suspect = first.number;
    }
}

/* What the word says of this one where it sleeps. */
static uint64_t waits(const struct naru_lock *l, const struct waiting *q, uint64_t word)
{
    bool closes = l->fair || q->overdue || overtakable(&l->permits, word, q->n);
    return NARU_LOCK_WAITED | (closes ? NARU_LOCK_QUEUED : 0u);
}

static int sleep_once(struct naru_lock *l, struct naru_wait *w, struct waiting *q,
                      uint64_t *ret_word)
{
    _Atomic uint64_t *want = &l->permits.members[l->permits.me].kind[NARU_LOCK_WANT];
    _Atomic uint32_t *bell = &l->permits.members[l->permits.me].bell[0];
    uint32_t value = atomic_load(bell);
    int64_t now = naru__now(), until = naru__lock_tick(l);
    /* seq_cst: before the last look, as others change the word before they look at it */
    atomic_store(want, atomic_load(want) | NARU_LOCK_ASLEEP);
    int r = try_take(l, q->n, first_in(&l->permits, q->passed).number == q->number, ret_word);
    /* whoever takes WAITED away after that look rings after it */
    if (r == NARU_PERMITS_FEW && !(waits(l, q, *ret_word) & ~*ret_word) &&
        !naru__object_removed(&l->object)) {
        int slept = naru__wait_futex(w, bell, value, until);
        int64_t then = naru__now();
        q->woken = q->woken ? q->woken : then;
        q->overdue |= then - q->woken >= OVERDUE;
        if (slept < 0)
            r = slept;
        else if (then - now >= (TICK_MS - 10) * NARU_MS) {
            slept = naru__lock_look_for_dead(l);
            suspect(l, q);
            note_owners(l);
            if (slept < 0)
                r = slept;
        }
    }
    atomic_store(want, atomic_load(want) & ~NARU_LOCK_ASLEEP);
    return r;
}

static void leave_queue(struct naru_lock *l)
{
    struct naru_permits *p = &l->permits;
    atomic_store(&p->members[p->me].kind[NARU_LOCK_WANT], 0);
    (void)naru__lock_take_bit(p->state->waiting, p->me);
    queue_flags(l);
    naru__lock_wake(l);
}

static int queue_up(struct naru_lock *l, struct naru_wait *w, uint64_t n)
{
    enum { LOOKS = 50 };
    struct naru_permits *p = &l->permits;
    struct waiting q = {.n = n};
    uint64_t word = atomic_load(&p->state->word), was;
    do
        q.number = (atomic_fetch_add(&p->state->queue, 1) + 1) & number_mask;
    while (q.number == 0);
    atomic_store(&p->members[p->me].kind[NARU_LOCK_SINCE], (uint64_t)naru__now());
    atomic_store(&p->members[p->me].kind[NARU_LOCK_WANT], q.number << 20 | n);
    naru__lock_set_bit(p->state->waiting, p->me);
    int r;
    for (;;) {
        naru__permits_flag(p, waits(l, &q, word), 0, &was);
        see_records(l);
        r = try_take(l, n, first_in(p, q.passed).number == q.number, &word);
        if (r != NARU_PERMITS_FEW)
            break;
        r = naru__lock_check(l);
        if (r == 0)
            r = naru__wait_spin(w);
        if (r < 0)
            break;
        for (int i = 0; r == 1 && i < LOOKS && !possible(l, n); i++)
            naru__relax();
        if (r == 0) {
            r = sleep_once(l, w, &q, &word);
            if (r != NARU_PERMITS_FEW)
                break;
        }
    }
    leave_queue(l);
    return r;
}

int naru__lock_take_slow(struct naru_lock *l, uint64_t n, int64_t timeout)
{
    enum { LOOKS = 50 };
    struct naru_wait w = naru__wait_begin(&l->handle, NARU_IN, naru__deadline(timeout));
    bool looked = false;
    uint64_t word;
    w.looks = true;
    int r;
    for (;;) {
        r = naru__lock_check(l);
        if (r == 0)
            r = try_take(l, n, false, &word);
        if (r != NARU_PERMITS_FEW)
            return r;
        if (timeout == NARU_NOWAIT && !looked) { /* what the dead owned may be there now */
            looked = true;
            r = naru__lock_look_for_dead(l);
            if (r < 0)
                return r;
            continue;
        }
        r = naru__wait_spin(&w);
        if (r <= 0 || l->fair)
            break;
        for (int i = 0; i < LOOKS && !possible(l, n); i++)
            naru__relax();
    }
    if (r >= 0)
        r = my_turn(l, &w);
    if (r == 0) {
        r = queue_up(l, &w, n);
        turn_over(l);
    }
    naru__wait_done(&w);
    return r == -ETIMEDOUT ? timed_out(l, n) : r;
}

int naru__lock_give_slow(struct naru_lock *l, uint64_t n, int code, uint64_t word)
{
    bool plain = l->permits.plain;
    for (int tries = 0; code != 0; tries++) {
        if (code == NARU_PERMITS_DAMAGED && plain)
            return naru__fail(-EOVERFLOW,
                              "%s: a post of %" PRIu64 " makes more than the most, %" PRIu64,
                              l->handle.name, n, l->permits.max);
        if (code == NARU_PERMITS_DAMAGED || tries > 2)
            return naru__lock_damaged(l);
        if (code == NARU_PERMITS_SETTLED) {
            int r = resettle(l);
            if (r < 0)
                return r;
        }
        bool mutex = !plain && naru__lock_enter(l);
        see_records(l);
        uint64_t owned = plain ? n : naru__permits_owned(&l->permits);
        if (owned >= n)
            code = naru__permits_give(&l->permits, n, &word);
        if (!plain)
            naru__lock_leave(l, mutex);
        if (owned < n) {
            uint32_t revoked = atomic_load(&l->revoked);
            return naru__fail(
                -EPERM, "%s: %" PRIu64 " to be released, and this handle owns %" PRIu64 "%s",
                l->handle.name, n, owned, revoked ? ": its permits were revoked" : "");
        }
    }
    if (word & NARU_LOCK_WAITED)
        naru__lock_wake(l);
    return naru__lock_check(l);
}

/* ---- naru_fd ---- */

/* Called under the handle's `arm`. */
int naru__lock_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct naru_lock *l = (struct naru_lock *)h;
    struct naru_lock_state *s = l->permits.state;
    uint64_t word;
    unsigned n = 0;
    (void)events;
    if (l->doorbell < 0 && !l->object.in_region) {
        int r = naru__object_doorbell(&l->object, &l->doorbell);
        if (r < 0)
            return r;
        l->deaths = naru__os_watch_closes(l->object.file); /* or none: then it looks by itself */
    }
    if (l->object.in_region) { /* no place for a name that others could knock at */
        ret_watch->again = naru__now() + NARU_MS;
    } else {
        naru__os_drain(l->doorbell);
        naru__lock_set_bit(s->watching, l->permits.me);
        naru__permits_flag(&l->permits, NARU_LOCK_WAITED, 0, &word);
        ret_watch->fds[n++] = (struct pollfd){.fd = l->doorbell, .events = POLLIN};
    }
    if (l->deaths >= 0) {
        ret_watch->fds[n++] = (struct pollfd){.fd = l->deaths, .events = POLLIN};
        struct pollfd fell = {.fd = l->deaths, .events = POLLIN};
        if (naru__os_poll(&fell, 1, NARU__AT_ONCE) > 0) {
            naru__os_drain(l->deaths);
            /* may be what this one waits for */
            (void)naru__object_collect(&l->object, l->type->clean);
        }
    } else if (!l->object.in_region && !alone(l)) {
        (void)naru__lock_look_for_dead(l);
        ret_watch->again = naru__now() + TICK_MS * NARU_MS;
    }
    ret_watch->n = n;
    return 0;
}

static bool lock_ready(struct naru_handle *h, int events)
{
    struct naru_lock *l = (struct naru_lock *)h;
    uint64_t word = atomic_load(&l->permits.state->word);
    return naru__object_removed(&l->object) || word & NARU_LOCK_LOST ||
           (events & NARU_IN && possible(l, 1)) ||
           (events & NARU_OUT && possible(l, l->permits.max));
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = naru__lock_watch,
    .ready = lock_ready,
};

/* ---- opening and closing ---- */

static int make(struct naru_object *o, void *arg)
{
    const struct naru_lock_want *want = arg;
    if (want->value == 0 && !want->plain)
        return naru__fail(-EINVAL,
                          "%s is not there, and one without permits is of no use: %s.value is how "
                          "many it has",
                          o->url, want->name);
    naru__permits_init((void *)o->state->kind, want->value, want->plain);
    return 0;
}

static int agree(const struct naru_object *o, void *arg)
{
    const struct naru_lock_want *want = arg;
    const uint64_t *option = o->meta.option;
    uint64_t value = option[NARU_LOCK_VALUE];
    if (!naru__permits_options_can_be(option))
        return naru__fail(-EPROTO, "%s: its meta is damaged", o->url);
    if (want->plain && option[NARU_LOCK_KIND] != NARU__LOCK_PLAIN)
        return naru__fail(-EEXIST, "%s has owned permits, and a plain one is asked for", o->url);
    if (want->what != NARU_OBJECT_SEMAPHORE && value != want->value)
        return naru__fail(-EPROTO, "%s: its meta is damaged", o->url);
    if (want->value && want->value != value)
        return naru__fail(-EEXIST,
                          "%s was made with %" PRIu64 " permits, and %" PRIu64
                          " are asked for: leave it 0 to take it as it is",
                          o->url, value, want->value);
    if (want->fair && !option[NARU_LOCK_FAIR])
        return naru__fail(-EEXIST, "%s was made without NARU_FAIR, which is asked for", o->url);
    if (want->inherit && !option[NARU_LOCK_INHERIT])
        return naru__fail(-EEXIST, "%s was made without NARU_PRIO_INHERIT, which is asked for",
                          o->url);
    return 0;
}

static const struct naru_lock_type permits_type = {&handle_ops, naru__lock_clean, make, agree};

static const struct naru_lock_type *type_of(const struct naru_lock_want *w)
{
    return w->type ? w->type : &permits_type;
}

/* As it was made, whatever this opener asks for. */
static int again(struct naru_object *o, void *arg)
{
    struct naru_lock_want was = *(const struct naru_lock_want *)arg;
    was.plain = o->meta.option[NARU_LOCK_KIND] == NARU__LOCK_PLAIN;
    was.value = o->meta.option[NARU_LOCK_VALUE];
    was.set = o->meta.option[NARU_LOCK_SET];
    return type_of(&was)->make(o, &was);
}

static void want_object(const struct naru_lock_want *w, uint32_t members,
                        struct naru_object_want *ret_want)
{
    *ret_want = (struct naru_object_want){
        .what = w->what,
        .signature = NARU_LOCK_VERSION,
        .members_max = w->participants ? w->participants : members,
        .flags = w->flags & (NARU_EXCLUSIVE | NARU_EXISTING),
        .mode = w->mode,
        .option = {[NARU_LOCK_KIND] = w->plain ? NARU__LOCK_PLAIN : NARU__LOCK_OWNED,
                   [NARU_LOCK_VALUE] = w->value,
                   [NARU_LOCK_FAIR] = w->fair,
                   [NARU_LOCK_INHERIT] = w->inherit ? naru__os_pid_namespace() : 0,
                   [NARU_LOCK_SET] = w->set},
        .make = type_of(w)->make,
        .agree = type_of(w)->agree,
        .again = again,
        .arg = (void *)(uintptr_t)w};
}

static int new_lock(const char *name, const struct naru_lock_want *w, struct naru_lock **ret_lock)
{
    struct naru_lock *l = naru__alloc(w->size);
    if (!l)
        return -ENOMEM;
    int r = naru__handle_init(&l->handle, w->noun, type_of(w)->ops, name,
                              w->noun == NARU__RWLOCK ? NARU_IN | NARU_OUT : NARU_IN);
    if (r < 0) {
        free(l);
        return r;
    }
    naru__set_waiting(&l->handle, w->flags);
    l->type = type_of(w);
    l->object = NARU_OBJECT_NONE;
    l->doorbell = l->deaths = NARU__NO_FD;
    guard_init(l, false);
    *ret_lock = l;
    return 0;
}

void naru__lock_ring_all(struct naru_lock *l)
{
    for (uint32_t w = 0; w < 64; w++) {
        uint64_t bits = atomic_load(&l->permits.state->waiting[w]);
        for (; bits; bits &= bits - 1) {
            uint32_t m = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (m < l->permits.records)
                naru__lock_ring(&l->permits, m);
        }
    }
}

static int join(struct naru_lock *l)
{
    l->object.url = l->handle.name;
    l->object.keeps = true;
    int r = naru__object_join(&l->object, l->type->clean);
    if (r < 0)
        return r;
    struct naru_object_member *m = &l->object.members[l->object.member];
    l->handle.word[0] = &m->bell[0];
    l->permits = permits_of(&l->object);
    l->permits.record = m->kind;
    l->permits.last = NARU_LOCK_NEVER;
    l->fair = l->object.meta.option[NARU_LOCK_FAIR];
    atomic_store(&l->guard.user, atomic_load(&m->registered) ? 0 : 1);
    naru__object_appear(&l->object, 1);
    naru__lock_ring_all(
        l); /* who sleeps alone, without looking for the dead, is not alone any more */
    return naru__object_removed(&l->object) ? -EAGAIN : 0;
}

static int open_once(const struct naru_url *url, const struct naru_lock_want *w,
                     struct naru_lock **ret_lock)
{
    enum { PARTICIPANTS = 1024 };
    struct naru_object_want want;
    struct naru_lock *l;
    want_object(w, PARTICIPANTS, &want);
    int r = new_lock(url->text, w, &l);
    if (r < 0)
        return r;
    r = naru__object_open(url, &want, &l->object);
    if (r == 0)
        r = join(l);
    if (r < 0)
        naru__lock_free(l);
    else
        *ret_lock = l;
    return r;
}

int naru__lock_open(const struct naru_url *url, const struct naru_lock_want *w,
                    struct naru_lock **ret_lock)
{
    enum { TRIES = 100 };
    int r = -EAGAIN;
    for (int i = 0; i < TRIES && (r == -EAGAIN || r == -EIDRM); i++)
        r = open_once(url, w, ret_lock);
    return r == -EAGAIN || r == -EIDRM
               ? naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text)
               : r;
}

int naru__lock_place(const struct naru_lock_place *at, const struct naru_lock_want *w,
                     struct naru_lock **ret_lock)
{
    enum { PARTICIPANTS = 64, ALIGN = 128 };
    struct naru_object_want want;
    struct naru_lock *l;
    char name[300];
    want_object(w, PARTICIPANTS, &want);
    snprintf(name, sizeof name, "%.200s at %zu", at->region, at->offset);
    if (at->offset % ALIGN)
        return naru__fail(-EINVAL, "%s: the place of a lock is a multiple of %d", name, ALIGN);
    int r = new_lock(name, w, &l);
    if (r < 0)
        return r;
    r = naru__object_in_region(l->handle.name, at->file, at->offset, at->memory, at->bytes, &want,
                               &l->object);
    if (r == 0)
        r = join(l);
    if (r < 0)
        naru__lock_free(l);
    else
        *ret_lock = l;
    return r;
}

void naru__lock_free(struct naru_lock *l)
{
    bool owner = naru__is_owner(&l->handle);
    if (owner && l->object.generation) {
        uint64_t n = l->permits.plain ? 0 : naru__permits_owned(&l->permits);
        struct naru_lock_state *s = l->permits.state;
        if (n)
            (void)naru__lock_give(l, n);
        /* whatever was begun by a settler: as if this one had died */
        if (!l->permits.plain && naru__permits_settled(&l->permits))
            (void)resettle(l);
        if (l->doorbell >= 0) {
            (void)naru__lock_take_bit(s->watching, l->permits.me);
            naru__object_no_doorbell(&l->object, l->permits.me);
        }
        naru__object_leave(&l->object);
    }
    naru__os_close(l->doorbell);
    naru__os_close(l->deaths);
    naru__object_close(&l->object);
    pthread_mutex_destroy(&l->guard.mutex);
    naru__handle_deinit(&l->handle);
    free(l);
}

/* ---- revoking ---- */

int naru__lock_revoke(const struct naru_url *url, pid_t pid, unsigned *ret_n)
{
    struct naru_object o;
    struct naru_lock_want any = {.what = NARU_OBJECT_SEMAPHORE, .flags = NARU_EXISTING};
    struct naru_object_want want;
    uint64_t all = 0, n;
    bool there = false;
    want_object(&any, 1, &want);
    int r = naru__object_open(url, &want, &o);
    if (r < 0)
        return r;
    struct naru_permits p = permits_of(&o);
    p.me = NARU_LOCK_NOBODY;
    if (p.plain)
        r = naru__fail(-EOPNOTSUPP, "%s is plain: nobody owns its permits", url->text);
    for (uint32_t i = 0; r == 0 && i < p.records; i++) {
        struct naru_object_member *m = &o.members[i];
        if (!naru__member_role(atomic_load(&m->who)) || atomic_load(&m->pid) != (uint32_t)pid ||
            atomic_load(&m->pid_namespace) != naru__os_pid_namespace())
            continue;
        there = true;
        r = settle(&o, &p, i, 0, &n);
        all += r == 0 ? n : 0;
    }
    if (r == 0 && !there)
        r = naru__fail(-ESRCH, "%s: process %d does not take part", url->text, (int)pid);
    if (r == 0) {
        struct naru_lock view = {.object = o, .permits = p};
        naru__lock_wake(&view);
        *ret_n = (unsigned)all;
    }
    naru__object_close(&o);
    return r;
}
