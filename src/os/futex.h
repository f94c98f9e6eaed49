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

/* A futex of the kernel's with priority inheritance: the word is 0, or the id of the thread that
 * has it, with the kernel's bits; who waits lends that thread its priority. lock: until the
 * deadline, NARU__AT_ONCE: a try. 0: it has it; -ETIMEDOUT; -EAGAIN a try failed, or again; -ESRCH
 * the thread that has it is not there; -EDEADLK it is this one; other errors: the word is not what
 * the kernel knows of it. naru_cancel does not end it, nor does a signal. */
int naru__os_futex_lock_pi(_Atomic uint32_t *word, int64_t deadline);
int naru__os_futex_unlock_pi(_Atomic uint32_t *word);
uint32_t naru__os_thread_id(void); /* this thread's, in its pid namespace */

#endif
