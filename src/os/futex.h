/* SPDX-License-Identifier: MIT */
/* futex.h - sleeping on a word of shared memory. Results as in os/fd.h. */
#ifndef NARU_OS_FUTEX_H
#define NARU_OS_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while the word has that value, until the deadline (base/clock.h). 0: woken, or it has
 * another value; -ETIMEDOUT; -EINTR. */
int naru__os_futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t deadline);
/* Wakes up to n sleepers, of any process. Async-signal-safe, keeps errno. */
int naru__os_futex_wake(_Atomic uint32_t *word, int n);

#endif
