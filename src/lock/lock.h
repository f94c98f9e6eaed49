/* SPDX-License-Identifier: MIT */
/* lock.h - what all locks share: taking part, permits of an object, and waiting for them. */
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

/* Where a lock differs from a semaphore. */
struct naru_lock_type {
    const struct naru_handle_ops *ops;
    naru_object_clean *clean;
    int (*make)(struct naru_object *, void *want);        /* as in naru_object_want */
    int (*agree)(const struct naru_object *, void *want); /* the same */
};

/* Embedded first in each lock's handle. */
struct naru_lock {
    struct naru_handle handle;
    const struct naru_lock_type *type;
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
    const struct naru_lock_type *type; /* NULL: as a semaphore */
    bool set;                          /* an event: at creation */
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

/* This is the only thread so far: `busy`. Else false. */
static inline bool naru__lock_enter_alone(struct naru_lock *l)
{
    struct naru_lock_guard *g = &l->guard;
    uintptr_t self = naru__thread();
    /* relaxed: only a thread itself writes its own name there; the rest is guard_slow()'s */
    if (__builtin_expect(atomic_load_explicit(&g->user, memory_order_relaxed) != self, 0))
        return false;
    atomic_store_explicit(&g->busy, 1, memory_order_relaxed);
    /* the compiler alone is held back: who takes this away issues a barrier for both */
    atomic_signal_fence(memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&g->user, memory_order_relaxed) == self, 1))
        return true;
    atomic_store_explicit(&g->busy, 0, memory_order_release);
    return false;
}
bool naru__lock_guard_slow(struct naru_lock *);
/* true: the mutex is held, else `busy`. */
static inline bool naru__lock_enter(struct naru_lock *l)
{
    return naru__lock_enter_alone(l) ? false : naru__lock_guard_slow(l);
}
static inline void naru__lock_leave(struct naru_lock *l, bool mutex)
{
    if (__builtin_expect(mutex, 0))
        pthread_mutex_unlock(&l->guard.mutex);
    else /* release: pairs with the acquire in guard_slow(): this one's changes are done */
        atomic_store_explicit(&l->guard.busy, 0, memory_order_release);
}

/* Where nothing is in the way, and no call has to be made; false: nothing was done. n as there. */
static inline bool naru__lock_fast(struct naru_lock *l, int64_t n, uint64_t refuse)
{
    if (__builtin_expect(l->handle.epoll >= 0 || naru__object_removed(&l->object) ||
                             !naru__lock_enter_alone(l),
                         0))
        return false;
    bool done = naru__permits_fast(&l->permits, n, refuse);
    naru__lock_leave(l, false);
    return done;
}

static inline int naru__lock_take(struct naru_lock *l, uint64_t n, int64_t timeout)
{
    bool mutex = naru__lock_enter(l);
    bool done = naru__permits_fast(&l->permits, (int64_t)n, NARU_LOCK_NOT_TAKEN);
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
    bool mutex = naru__lock_enter(l);
    bool done = naru__permits_fast(&l->permits, -(int64_t)n, 0);
    uint64_t word = l->permits.last;
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

/* ---- for who waits without permits, too ---- */

int naru__lock_damaged(const struct naru_lock *); /* -EPROTO */
/* Looks for the dead, unless somebody has just done so. */
int naru__lock_look_for_dead(struct naru_lock *);
/* Till when to sleep at most. The bell was read before. */
int64_t naru__lock_tick(const struct naru_lock *);
void naru__lock_set_bit(_Atomic uint64_t *words, uint32_t member);
bool naru__lock_take_bit(_Atomic uint64_t *words, uint32_t member);
void naru__lock_ring(const struct naru_permits *, uint32_t member);
void naru__lock_tell_watchers(struct naru_lock *); /* naru_fd: look again */
int naru__lock_watch(struct naru_handle *, int events, struct naru_watch *ret_watch);
/* Of an object that is only looked at, as a cleaner does. */
struct naru_lock naru__lock_view(const struct naru_object *);

/* Waits until the word says, to who has known it since it was `since`, that it is over; 0 then.
 * Whoever makes it so clears WAITED in the same exchange, and if it was set tells all. broadcast.c
 */
typedef bool naru_lock_over(uint64_t word, uint64_t since);
int naru__lock_await(struct naru_lock *, naru_lock_over *over, uint64_t since, int64_t timeout);
void naru__lock_tell_all(struct naru_lock *);

/* Takes everything from those participants of this pid that live, or have died. */
int naru__lock_revoke(const struct naru_url *, pid_t pid, unsigned *ret_n);

#endif
