/* SPDX-License-Identifier: MIT */
/* locks.h - the static table of the kinds of semaphores, and what opening any lock checks. */
#ifndef NARU_API_LOCKS_H
#define NARU_API_LOCKS_H

#include "lock/semaphore.h"
#include "naru/region.h"

/* The row of a scheme, NULL if it is no semaphore in this build. */
const struct naru_semaphore_kind_ops *naru__semaphore_kind(const char *scheme);

/* The URL of a lock that is naru's own alone: `noun` is "a mutex". */
int naru__lock_url(const char *text, const char *noun, struct naru_url *ret_url);
/* .flags, .mode and .participants of its options. */
struct naru_lock_common {
    unsigned flags, known;
    mode_t mode;
    unsigned participants;
};
int naru__lock_common(const char *name, const struct naru_lock_common *);
int naru__lock_place_of(const naru_region *, size_t offset, struct naru_lock_place *ret_place);

#endif
