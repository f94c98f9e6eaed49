/* SPDX-License-Identifier: MIT */
/* lock.h - what semaphore, mutex and rwlock share: permits of an object, and waiting for them. */
#ifndef NARU_LOCK_LOCK_H
#define NARU_LOCK_LOCK_H

#include "core/handle.h"
#include "object/object.h"
#include "shm/lock.h"

/* One thread of a handle at a time may change its record. The first that does so needs no atomic
 * operation for it, until another comes; see guard_slow(). */
struct naru_lock_guard {
    _Atomic uintptr_t user; /* the only thread so far; 0: none yet; 1: whoever has the mutex */
    _Atomic int busy;       /* it is inside */
    pthread_mutex_t mutex;
};

/* Embedded first in each lock's handle. */
struct naru_lock {
    struct naru_handle handle;
    struct naru_object object;
    struct naru_permits permits;
    struct naru_lock_guard guard;
    bool fair;
    _Atomic uint32_t turn; /* futex of this process: 1 a thread is in the queue, 2 more want to */
    _Atomic uint32_t revoked; /* permits that were taken from it */
    int doorbell, deaths;
};

enum naru_lock_kind { NARU__LOCK_OWNED, NARU__LOCK_PLAIN };

/* What an opener wants, checked. */
struct naru_lock_want {
    enum naru_object_what what;
    enum naru_handle_noun noun;
    bool plain, fair;
    bool inherit;   /* a mutex: priority inheritance */
    uint64_t value; /* permits, 0: as it is */
    unsigned flags;
    mode_t mode;
    unsigned participants;
    size_t size;      /* of the handle */
    const char *name; /* "naru_semaphore_options" */
};

/* By a name. */
int naru__lock_open(const struct naru_url *, const struct naru_lock_want *,
                    struct naru_lock **ret_lock);
/* In a region: at that offset of the file that it is, where `bytes` are left. */
struct naru_lock_place {
    const char *region;
    int file;
    size_t offset, bytes;
    void *memory;
};
int naru__lock_place(const struct naru_lock_place *, const struct naru_lock_want *,
                     struct naru_lock **ret_lock);
void naru__lock_free(struct naru_lock *);
/* What a dead participant owns comes back; it waits no more. */
naru_object_clean naru__lock_clean;

/* Takes n, waiting for them; gives back n that are owned (plain: any). */
int naru__lock_take_slow(struct naru_lock *, uint64_t n, int64_t timeout);
int naru__lock_give_slow(struct naru_lock *, uint64_t n, int code, uint64_t word);

static inline int naru__lock_check(const struct naru_lock *l)
{
    return __builtin_expect(naru__object_removed(&l->object), 0)
               ? naru__object_removed_fail(&l->object)
               : 0;
}

bool naru__lock_guard_slow(struct naru_lock *);
/* true: the mutex is held, else `busy`. */
static inline bool naru__lock_enter(struct naru_lock *l)
{
    struct naru_lock_guard *g = &l->guard;
    uintptr_t self = naru__thread();
    /* relaxed: only a thread itself writes its own name there; the rest is guard_slow()'s */
    if (__builtin_expect(atomic_load_explicit(&g->user, memory_order_relaxed) == self, 1)) {
        atomic_store_explicit(&g->busy, 1, memory_order_relaxed);
        /* the compiler alone is held back: who takes this away issues a barrier for both */
        atomic_signal_fence(memory_order_seq_cst);
        if (__builtin_expect(atomic_load_explicit(&g->user, memory_order_relaxed) == self, 1))
            return false;
        atomic_store_explicit(&g->busy, 0, memory_order_release);
    }
    return naru__lock_guard_slow(l);
}
static inline void naru__lock_leave(struct naru_lock *l, bool mutex)
{
    if (__builtin_expect(mutex, 0))
        pthread_mutex_unlock(&l->guard.mutex);
    else /* release: pairs with the acquire in guard_slow(): this one's changes are done */
        atomic_store_explicit(&l->guard.busy, 0, memory_order_release);
}

static inline int naru__lock_take(struct naru_lock *l, uint64_t n, int64_t timeout)
{
    uint64_t word;
    bool mutex = naru__lock_enter(l);
    bool done = naru__permits_fast(&l->permits, (int64_t)n, &word);
    naru__lock_leave(l, mutex);
    if (__builtin_expect(done && !naru__object_removed(&l->object), 1))
        return 0;
    if (done)
        return naru__object_removed_fail(&l->object);
    return naru__lock_take_slow(l, n, timeout);
}

/* Somebody may have to be woken: `word` is from before the change. */
void naru__lock_wake(struct naru_lock *);
/* All who sleep look again. */
void naru__lock_ring_all(struct naru_lock *);
int naru__lock_look_for_dead(struct naru_lock *);

static inline int naru__lock_give(struct naru_lock *l, uint64_t n)
{
    uint64_t word = 0;
    bool mutex = naru__lock_enter(l);
    bool done = naru__permits_fast(&l->permits, -(int64_t)n, &word);
    naru__lock_leave(l, mutex);
    if (__builtin_expect(!done || (word & NARU_LOCK_WAITED), 0))
        return naru__lock_give_slow(l, n, done ? 0 : -1, word);
    return naru__lock_check(l);
}

/* The same of a plain one, where no record has to be kept. */
static inline int naru__lock_wait(struct naru_lock *l, uint64_t n, int64_t timeout)
{
    uint64_t word;
    int r = naru__permits_take(&l->permits, n, false, &word);
    return __builtin_expect(r == 0 && !naru__object_removed(&l->object), 1)
               ? 0
               : naru__lock_take_slow(l, n, timeout);
}
static inline int naru__lock_post(struct naru_lock *l, uint64_t n)
{
    uint64_t word = 0;
    int r = naru__permits_give(&l->permits, n, &word);
    return __builtin_expect(r != 0 || (word & NARU_LOCK_WAITED), 0)
               ? naru__lock_give_slow(l, n, r, word)
               : naru__lock_check(l);
}

/* ---- what an exclusive owner's death leaves (recover.c) ---- */

/* Has one died, and nobody recovered what it guards? Whoever owns any of it may ask: only its sole
 * owner changes that. */
static inline bool naru__lock_dirty(const struct naru_lock *l)
{
    /* relaxed: this one's own exchange, by which it took it, came behind the mark */
    return atomic_load_explicit(&l->permits.state->word, memory_order_relaxed) & NARU_LOCK_DIRTY;
}
int naru__lock_owner_died(const struct naru_lock *); /* -EOWNERDEAD */
/* The pid of who died; 0: nobody, or it was recovered. */
pid_t naru__lock_dead(const struct naru_lock *);
/* By the sole owner. lose: nobody gets it any more; give it back then, and ring for all. */
int naru__lock_recover(struct naru_lock *);
int naru__lock_lose(struct naru_lock *);

/* Takes everything from those participants of this pid that live, or have died. */
int naru__lock_revoke(const struct naru_url *, pid_t pid, unsigned *ret_n);

#endif
