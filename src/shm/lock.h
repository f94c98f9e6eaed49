/* SPDX-License-Identifier: MIT */
/* lock.h - permits in shared memory: a count, who owns how many, and who waits.
 *
 * Semaphores, mutexes and rwlocks are permits: a mutex has one; a reader takes one, a writer all.
 * So are the sets of an automatic event; a manual one and a barrier are a word that nobody owns.
 * The memory is that of an object (shm/object.h), in a directory of its own or in a region: the
 * count is in state.kind, a participant's record in its member's kind[].
 *
 * One word holds the count and who changed it last: participant and ticket. Taking and giving back
 * is: say in the record what will be owned, under the next ticket; exchange the word; say that it
 * was done. So a death leaves one question, whether the exchange took place, and that is decided by
 * what anybody can see: the word has that participant and ticket, or `seen` in the record has the
 * ticket, for whoever replaces a word of another's first notes there that it was (naru__permits_
 * note). Alone that costs nothing: the word is one's own.
 *
 * Settling takes everything from one participant, dead or alive: first the exchanges that it may
 * have begun are made to fail (`settle` in its record, then another word), then what it owns is
 * found out and planned, then given back as an operation of its own, with the next ticket. Whoever
 * comes after a settler that died goes on where that was. */
#ifndef NARU_SHM_LOCK_H
#define NARU_SHM_LOCK_H

#include "shm/object.h"

#include <stdbool.h>

enum {
    NARU_LOCK_VERSION = 1,
    NARU_LOCK_NOBODY = 4095,          /* no participant's number */
    NARU_LOCK_MEMBERS_MAX = 4095,     /* so that each has one */
    NARU_PERMITS_OWNED_MAX = 0xfffff, /* 1 048 575 */
    NARU_PERMITS_PLAIN_MAX = 0x7fffffff
};

/* naru_object_meta.option of locks. INHERIT: the number of the pid namespace whose threads boost
 * each other, else 0. SET: of an event, at its creation */
enum { NARU_LOCK_KIND, NARU_LOCK_VALUE, NARU_LOCK_FAIR, NARU_LOCK_INHERIT, NARU_LOCK_SET };

/* The word. Of an owned one: flags 4 bits, count 20, participant 12, ticket 28; of a plain one:
 * flags 4, count 32. */
enum {
    NARU_LOCK_WAITED = 1, /* somebody sleeps for it: whoever gives back looks whom to wake */
    NARU_LOCK_QUEUED = 2, /* only the first in the queue may take */
    NARU_LOCK_DIRTY = 4,  /* an exclusive owner has died, and nobody has recovered what it guards */
    NARU_LOCK_LOST = 8,   /* ... and it was given up */
    NARU_LOCK_FLAGS = 15,
    NARU_LOCK_NOT_TAKEN = NARU_LOCK_FLAGS - NARU_LOCK_WAITED, /* fast */
    NARU_LOCK_COUNT_SHIFT = 4,
    NARU_LOCK_MEMBER_SHIFT = 24,
    NARU_LOCK_TICKET_SHIFT = 36
};
/* `last` of who has changed nothing yet: NOBODY's, without a ticket, and none there. Even where the
 * word is so there is nothing to take, and who owns nothing gives nothing: the fast way refuses
 * before its exchange. (With a count it was once a new rwlock's word, whose writer then was
 * nobody.) */
#define NARU_LOCK_NEVER UINT64_C(0xfff000000)
#define NARU_LOCK_TICKET_MASK ((UINT64_C(1) << 28) - 1)

/* In naru_object_state.kind. */
struct naru_lock_state {
    _Atomic uint64_t word;
    uint8_t line[120];
    _Atomic uint64_t queue;   /* numbers that were handed out to waiters; a barrier's resets */
    _Atomic uint64_t checked; /* when somebody looked for the dead, ns */
    _Atomic uint64_t fences;  /* tickets of NOBODY */
    _Atomic uint64_t dead;    /* DIRTY: the pid of who died */
    _Atomic uint32_t boosted; /* a futex of the kernel's with priority inheritance: a thread's id */
    uint8_t more[84];
    _Atomic uint64_t death;        /* of the last owner: ms since 1970 << 22 | pid */
    _Atomic uint64_t waiting[64];  /* a bit a participant: its `want` is not 0 */
    _Atomic uint64_t watching[64]; /* ... its descriptor is to be told */
};

/* In naru_object_member.kind; outlives the participant, so that no ticket is used twice. */
enum {
    NARU_LOCK_INTENT = 2, /* ticket << 20 | owned afterwards: of the operation that is on */
    NARU_LOCK_OWNED,      /* the same of the last that was done */
    NARU_LOCK_SEEN,       /* a ticket: the word had it, and was replaced. Others write it */
    NARU_LOCK_SETTLE,     /* ticket << 36 | permits << 4 | enum naru_lock_settle, by settlers */
    NARU_LOCK_WANT,       /* asleep << 63 | number in the queue << 20 | permits; 0: does not wait */
    NARU_LOCK_SINCE,      /* it waits: ns of the monotonic clock */
    NARU_LOCK_HELD,       /* a ticket (22 bits) << 42 | since when, at the latest, that is owned, in
                           * ms of that clock: whoever waits notes it, for people to look at */
    NARU_LOCK_SLEEPS      /* as SINCE, of who waits in no queue: in the kernel, to lend its
                           * priority, or until all are told; 0: it does not */
};

enum naru_lock_settle {
    NARU_SETTLE_NONE,
    NARU_SETTLE_FENCED,  /* it succeeds with nothing any more, once the word has changed */
    NARU_SETTLE_PLANNED, /* so many are given back with that ticket */
    NARU_SETTLE_DONE     /* they were; the participant, if it lives, has not noticed */
};

_Static_assert(sizeof(struct naru_lock_state) == 1280, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_lock_state) <= 496 * 8, "fits into naru_object_state.kind");

/* An automatic event's permits are the sets that nobody has got yet. A record has how many waits of
 * that participant are on, and above that how many of them have got one. */
enum { NARU_EVENT_WAITS = 1023, NARU_EVENT_SHIFT = 10, NARU_EVENT_GOT = 1 << NARU_EVENT_SHIFT };

/* A manual event's word: flags 4, set 1, how often it was set 59. */
enum { NARU_EVENT_SET = 16, NARU_EVENT_SETS_SHIFT = 5 };

/* A barrier's word: flags 4, how many have arrived (BROKEN: the pid of who died) 22, resets 14,
 * rounds that were completed 24. */
enum {
    NARU_BARRIER_BROKEN = NARU_LOCK_DIRTY,
    NARU_BARRIER_MAX = 4095,
    NARU_BARRIER_NUMBER = 0x3fffff,
    NARU_BARRIER_NUMBER_SHIFT = 4,
    NARU_BARRIER_RESETS_SHIFT = 26,
    NARU_BARRIER_ROUNDS_SHIFT = 40
};

#define NARU_LOCK_ASLEEP (UINT64_C(1) << 63)

/* As this process sees it. */
struct naru_permits {
    struct naru_lock_state *state;
    struct naru_object_member *members;
    _Atomic uint32_t records; /* of members that have memory; it only grows */
    uint32_t me;
    uint64_t max;
    bool plain;
    unsigned shift; /* a record's number is so many bits to the left: below, an event's waits */
    _Atomic uint64_t *record; /* this one's, once it takes part */
    uint64_t last;            /* the word as this one has left it; see naru__permits_fast */
};

/* What this room's functions answer besides 0; never handed to a caller of naru's. */
enum {
    NARU_PERMITS_FEW = 1, /* not so many are there, or others are first */
    NARU_PERMITS_SETTLED, /* this participant was settled: naru__permits_begin */
    NARU_PERMITS_RECORDS, /* `records` is too small */
    NARU_PERMITS_LOST,    /* it was given up: nobody gets any */
    NARU_PERMITS_DAMAGED  /* what stands there cannot be */
};

static inline uint64_t naru__permits_count(const struct naru_permits *p, uint64_t word)
{
    return word >> NARU_LOCK_COUNT_SHIFT & (p->plain ? UINT64_C(0xffffffff) : UINT64_C(0xfffff));
}
static inline uint32_t naru__permits_member(uint64_t word)
{
    return (uint32_t)(word >> NARU_LOCK_MEMBER_SHIFT & 0xfff);
}
static inline uint64_t naru__permits_ticket(uint64_t word)
{
    return word >> NARU_LOCK_TICKET_SHIFT;
}
static inline uint64_t naru__permits_word(uint64_t count, uint64_t member, uint64_t ticket,
                                          uint64_t flags)
{
    return (ticket & NARU_LOCK_TICKET_MASK) << NARU_LOCK_TICKET_SHIFT |
           member << NARU_LOCK_MEMBER_SHIFT | count << NARU_LOCK_COUNT_SHIFT | flags;
}
/* Of an OWNED word, as HELD has it. */
static inline uint64_t naru__permits_held_ticket(uint64_t owned)
{
    return owned >> 20 & 0x3fffff;
}
/* What stands in naru_object_meta.option. */
static inline bool naru__permits_options_can_be(const uint64_t *option)
{
    return option[NARU_LOCK_KIND] <= 1 && option[NARU_LOCK_FAIR] <= 1 &&
           option[NARU_LOCK_VALUE] <=
               (option[NARU_LOCK_KIND] ? NARU_PERMITS_PLAIN_MAX : NARU_PERMITS_OWNED_MAX);
}
/* How many this participant owns, as it says itself. */
static inline uint64_t naru__permits_owned(const struct naru_permits *p)
{
    /* relaxed: this participant alone writes it */
    return atomic_load_explicit(&p->members[p->me].kind[NARU_LOCK_OWNED], memory_order_relaxed) &
           0xfffff;
}

/* Of a new object. */
void naru__permits_init(struct naru_lock_state *, uint64_t value, bool plain);
/* A participant begins, or goes on after it was settled: it owns nothing. Its record is its own. */
void naru__permits_begin(struct naru_permits *);
bool naru__permits_settled(const struct naru_permits *);

/* Takes n, or gives back n that are owned (plain: any). first: this one is first in the queue. One
 * thread of a participant at a time, unless plain. ret_word: what the word was then. */
int naru__permits_take(struct naru_permits *, uint64_t n, bool first, uint64_t *ret_word);
int naru__permits_give(struct naru_permits *, uint64_t n, uint64_t *ret_word);
/* The same where this participant was the last to change the word, and nothing stands in the way:
 * false: nothing was done. n: how many are taken; below 0: given back, and owned. refuse: flags
 * that stand in the way.
 *
 * Neither the word nor `settle` is read: the word is expected as this one has left it, so whatever
 * others have done since makes the exchange fail, settlers too, who change it before they look. */
static inline bool naru__permits_fast(struct naru_permits *p, int64_t n, uint64_t refuse)
{
    _Atomic uint64_t *record = p->record;
    uint64_t was = p->last;
    /* relaxed: this one alone writes it */
    uint64_t owned = atomic_load_explicit(&record[NARU_LOCK_OWNED], memory_order_relaxed);
    /* what would be below 0 is beyond any max */
    uint64_t left = (was >> NARU_LOCK_COUNT_SHIFT & 0xfffff) - (uint64_t)n;
    uint64_t owns = (owned & 0xfffff) + (uint64_t)n;
    if (__builtin_expect((was & refuse) || left > p->max || owns > p->max, 0))
        return false;
    uint64_t intent = (owned + (1 << 20) + (uint64_t)n) & UINT64_C(0xffffffffffff);
    uint64_t to =
        was + (UINT64_C(1) << NARU_LOCK_TICKET_SHIFT) - ((uint64_t)n << NARU_LOCK_COUNT_SHIFT);
    /* orders as in lock.c: change() */
    atomic_store_explicit(&record[NARU_LOCK_INTENT], intent, memory_order_release);
    if (__builtin_expect(!atomic_compare_exchange_strong(&p->state->word, &was, to), 0))
        return false;
    p->last = to;
    atomic_store_explicit(&record[NARU_LOCK_OWNED], intent, memory_order_release);
    return true;
}
/* The same in two steps: the word, and one try to replace it by that count, with what this
 * participant's record then has. 0 or NARU_PERMITS_; 1 done, 0 again, or the negative of those. */
int naru__permits_look(const struct naru_permits *, uint64_t *ret_word);
int naru__permits_change(struct naru_permits *, uint64_t was, uint64_t count, uint64_t flags,
                         uint64_t owned);
/* Takes so much off the record, which is nobody's then. */
static inline void naru__permits_spend(struct naru_permits *p, uint64_t n)
{
    _Atomic uint64_t *owned = &p->members[p->me].kind[NARU_LOCK_OWNED];
    /* release: pairs with a settler's acquire; the ticket stays, so INTENT does not count */
    atomic_store_explicit(owned, atomic_load_explicit(owned, memory_order_relaxed) - n,
                          memory_order_release);
}
/* Waits of an automatic event that have got nothing; true as long as the word is that. */
uint64_t naru__permits_waits(const struct naru_permits *, uint64_t word);
/* Sets and clears flags of the word; *ret_word: what it was before. */
void naru__permits_flag(struct naru_permits *, uint64_t set, uint64_t clear, uint64_t *ret_word);

/* Takes everything from participant m; one settler at a time. `flag`: set in the word if m owned
 * exclusively (all there are), after its pid was noted as `dead`. ret_n: how many came back. */
int naru__permits_settle(struct naru_permits *, uint32_t m, uint64_t flag, uint64_t *ret_n);
/* ... who is dead: its record is as a new one's. */
void naru__permits_forget(struct naru_permits *, uint32_t m);

#endif
