/* SPDX-License-Identifier: MIT */
/* locks.h - the static table of the kinds of semaphores. */
#ifndef NARU_API_LOCKS_H
#define NARU_API_LOCKS_H

#include "lock/semaphore.h"

/* The row of a scheme, NULL if it is no semaphore in this build. */
const struct naru_semaphore_kind_ops *naru__semaphore_kind(const char *scheme);

#endif
