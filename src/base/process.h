/* SPDX-License-Identifier: MIT */
/* process.h - which process is this? Told by a page that the kernel wipes in every forked child,
 * so that asking costs one load instead of a system call. And which of its threads? */
#ifndef NARU_BASE_PROCESS_H
#define NARU_BASE_PROCESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* A number that is the same as long as this is the same process, and another in each forked
 * child, also by raw clone(). Never 0. */
/* NULL before the first call, or without the advice. */
extern _Atomic uint64_t *_Atomic naru__process_page;
uint64_t naru__process_slow(void);

/* The number, or 0: naru__process_slow() knows. */
static inline uint64_t naru__process_known(void)
{
    /* acquire: pairs with the release in map_page(), by another thread */
    _Atomic uint64_t *page = atomic_load_explicit(&naru__process_page, memory_order_acquire);
    /* relaxed: as in naru__process_slow */
    return __builtin_expect(page != NULL, 1) ? atomic_load_explicit(page, memory_order_relaxed) : 0;
}

static inline uint64_t naru__process(void)
{
    uint64_t generation = naru__process_known();
    return __builtin_expect(generation != 0, 1) ? generation : naru__process_slow();
}

/* This thread's number: no other that runs in this process has it. */
static inline uintptr_t naru__thread(void)
{
#if defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#define NARU__THREAD_POINTER
#endif
#endif
#ifdef NARU__THREAD_POINTER /* a register, and no call */
    return (uintptr_t)__builtin_thread_pointer();
#else
    return (uintptr_t)pthread_self();
#endif
}

#endif
