/* SPDX-License-Identifier: MIT */
/* rwlock.c - readers and writers: who of this process's threads is which.
 *
 * A writer wants several permits, so from its first look on nobody overtakes it (QUEUED, see
 * lock.c), and those that come later, readers too, are served in the order of arrival.
 *
 * The handle owns the permits; that a thread gives back what it has itself, and does not wait for
 * itself, is seen by the list of this handle's reading threads, and by `writer`. */
#include "lock/rwlock.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct naru_lock_want want_of(const struct naru_rwlock_options *o)
{
    return (struct naru_lock_want){.what = NARU_OBJECT_RWLOCK,
                                   .noun = NARU__RWLOCK,
                                   .fair = o->flags & NARU_FAIR,
                                   .value = NARU__RWLOCK_PERMITS,
                                   .flags = o->flags,
                                   .mode = o->mode,
                                   .participants = o->participants,
                                   .size = sizeof(struct naru_rwlock),
                                   .name = "naru_rwlock_options"};
}

static int opened(int r, struct naru_lock *l, naru_rwlock **ret_rwlock)
{
    if (r < 0)
        return r;
    naru_rwlock *w = (naru_rwlock *)l;
    w->readers = w->few;
    w->room = sizeof w->few / sizeof *w->few;
    *ret_rwlock = w;
    return 0;
}

int naru__rwlock_open(const struct naru_url *url, const struct naru_rwlock_options *o,
                      naru_rwlock **ret_rwlock)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_open(url, &want, &l);
    return opened(r, l, ret_rwlock);
}

int naru__rwlock_place(const struct naru_lock_place *at, const struct naru_rwlock_options *o,
                       naru_rwlock **ret_rwlock)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_place(at, &want, &l);
    return opened(r, l, ret_rwlock);
}

void naru__rwlock_free(naru_rwlock *w)
{
    if (w->readers != w->few)
        free(w->readers);
    naru__lock_free(&w->lock);
}

/* ---- this process's threads; under the guard ---- */

static uintptr_t *find(naru_rwlock *w)
{
    for (unsigned i = 0; i < w->n_readers; i++)
        if (w->readers[i] == naru__thread())
            return &w->readers[i];
    return NULL;
}

static int make_room(naru_rwlock *w)
{
    if (w->n_readers < w->room)
        return 0;
    uintptr_t *more = naru__alloc(2 * w->room * sizeof *more);
    if (!more)
        return -ENOMEM;
    memcpy(more, w->readers, w->n_readers * sizeof *more);
    if (w->readers != w->few)
        free(w->readers);
    w->readers = more;
    w->room *= 2;
    return 0;
}

static void remove_reader(naru_rwlock *w, uintptr_t *reader)
{
    *reader = w->readers[--w->n_readers];
}

/* ---- using ---- */

static bool writes(const naru_rwlock *w)
{
    /* relaxed: only a thread itself writes its own name there */
    return atomic_load_explicit(&w->writer, memory_order_relaxed) == naru__thread();
}

static int again(const naru_rwlock *w, bool reads)
{
    return naru__fail(-EDEADLK, "%s: this thread %s already%s", w->lock.handle.name,
                      reads ? "reads" : "writes",
                      reads ? ": with a writer waiting in between it would wait for itself" : "");
}

static int told(const naru_rwlock *w)
{
    return __builtin_expect(naru__lock_dirty(&w->lock), 0) ? naru__lock_owner_died(&w->lock) : 0;
}

int naru__rwlock_read(naru_rwlock *w, int64_t timeout)
{
    if (writes(w))
        return again(w, false);
    bool mutex = naru__lock_enter(&w->lock);
    bool reads = find(w);
    int r = reads ? 0 : make_room(w);
    if (!reads && r == 0)
        w->readers[w->n_readers++] = naru__thread();
    naru__lock_leave(&w->lock, mutex);
    if (reads)
        return again(w, true);
    if (r == 0) {
        r = naru__lock_take(&w->lock, 1, timeout);
        if (r == 0)
            return told(w);
        mutex = naru__lock_enter(&w->lock);
        remove_reader(w, find(w));
        naru__lock_leave(&w->lock, mutex);
    }
    return r;
}

int naru__rwlock_write(naru_rwlock *w, int64_t timeout)
{
    if (writes(w))
        return again(w, false);
    bool mutex = naru__lock_enter(&w->lock);
    bool reads = find(w);
    naru__lock_leave(&w->lock, mutex);
    if (reads)
        return again(w, true);
    int r = naru__lock_take(&w->lock, NARU__RWLOCK_PERMITS, timeout);
    if (r < 0)
        return r;
    atomic_store_explicit(&w->writer, naru__thread(), memory_order_relaxed);
    return told(w);
}

int naru__rwlock_unlock(naru_rwlock *w)
{
    if (writes(w)) {
        /* relaxed: comes before the exchange by which another thread of this process gets it */
        atomic_store_explicit(&w->writer, 0, memory_order_relaxed);
        return naru__lock_give(&w->lock, NARU__RWLOCK_PERMITS);
    }
    bool mutex = naru__lock_enter(&w->lock);
    uintptr_t *reader = find(w);
    if (reader)
        remove_reader(w, reader);
    naru__lock_leave(&w->lock, mutex);
    return reader ? naru__lock_give(&w->lock, 1)
                  : naru__fail(-EPERM, "%s: this thread neither reads nor writes",
                               w->lock.handle.name);
}

int naru__rwlock_writes(const naru_rwlock *w)
{
    return writes(w) ? 0
                     : naru__fail(-EPERM,
                                  "%s: this thread does not write, and who recovers it or "
                                  "gives it up is its writer",
                                  w->lock.handle.name);
}
