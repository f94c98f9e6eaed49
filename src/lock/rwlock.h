/* SPDX-License-Identifier: MIT */
/* rwlock.h - a lock for readers and writers: a reader takes one permit, a writer all. */
#ifndef NARU_LOCK_RWLOCK_H
#define NARU_LOCK_RWLOCK_H

#include "lock/lock.h"
#include "naru/lock.h"

enum { NARU__RWLOCK_PERMITS = NARU_PERMITS_OWNED_MAX };

struct naru_rwlock {
    struct naru_lock lock;
    _Atomic uintptr_t writer; /* the thread of this process that has it, 0: none */
    /* The threads of this process that read; under lock.guard. */
    uintptr_t *readers, few[8];
    unsigned n_readers, room;
};

int naru__rwlock_open(const struct naru_url *, const struct naru_rwlock_options *,
                      naru_rwlock **ret_rwlock);
int naru__rwlock_place(const struct naru_lock_place *, const struct naru_rwlock_options *,
                       naru_rwlock **ret_rwlock);
int naru__rwlock_read(naru_rwlock *, int64_t timeout);
int naru__rwlock_write(naru_rwlock *, int64_t timeout);
int naru__rwlock_unlock(naru_rwlock *);
int naru__rwlock_writes(const naru_rwlock *); /* this thread: 0, else -EPERM */
void naru__rwlock_free(naru_rwlock *);

#endif
