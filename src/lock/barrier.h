/* SPDX-License-Identifier: MIT */
/* barrier.h - the handle of a barrier. */
#ifndef NARU_LOCK_BARRIER_H
#define NARU_LOCK_BARRIER_H

#include "lock/lock.h"
#include "naru/lock.h"

struct naru_barrier {
    struct naru_lock lock;
    uint32_t parties;
    _Atomic uint64_t arrived; /* by naru_barrier_arrive: the word of that round, and 1; else 0 */
};

int naru__barrier_open(const struct naru_url *, const struct naru_barrier_options *,
                       naru_barrier **ret_b);
int naru__barrier_place(const struct naru_lock_place *, const struct naru_barrier_options *,
                        naru_barrier **ret_b);
int naru__barrier_arrive(naru_barrier *);
int naru__barrier_wait(naru_barrier *, int64_t timeout);
int naru__barrier_reset(naru_barrier *);
int naru__barrier_arrived(const naru_barrier *);
pid_t naru__barrier_dead(const naru_barrier *);
void naru__barrier_close(naru_barrier *);
/* A dead participant breaks it. */
naru_object_clean naru__barrier_clean;

#endif
