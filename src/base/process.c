/* SPDX-License-Identifier: MIT */
/* process.c - the generation of this process.
 *
 * A private page marked MADV_WIPEONFORK holds the generation; a child finds 0 there and takes its
 * parent's count plus one (the count lies in ordinary memory, which fork copies). Siblings may get
 * equal numbers: a handle never travels between siblings but by their parent. Where the kernel
 * lacks the advice (valgrind, before 4.14) getpid() is the generation. */
#include "base/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

_Atomic uint64_t *_Atomic naru__process_page;
static _Atomic uint64_t count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void map_page(void)
{
    void *p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return;
    if (madvise(p, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) != 0) {
        munmap(p, (size_t)sysconf(_SC_PAGESIZE));
        return;
    }
    atomic_store_explicit(&naru__process_page, p, memory_order_release);
}

uint64_t naru__process_slow(void)
{
    pthread_once(&once, map_page);
    _Atomic uint64_t *page = naru__process_page;
    if (!page)
        return (uint64_t)getpid();
    /* relaxed: the page and the count are this process's alone; threads that race here after a
     * fork agree by the compare-and-swap */
    uint64_t generation = atomic_load_explicit(page, memory_order_relaxed);
    if (__builtin_expect(generation == 0, 0)) {
        uint64_t next = atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) + 1;
        if (atomic_compare_exchange_strong_explicit(page, &generation, next, memory_order_relaxed,
                                                    memory_order_relaxed))
            generation = next;
    }
    return generation;
}
