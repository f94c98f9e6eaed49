/* SPDX-License-Identifier: MIT */
/* locks.h - what the tests of locks share. */
#ifndef NARU_TESTS_LOCKS_H
#define NARU_TESTS_LOCKS_H

#include "harness.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SOON_MS = 20 };

/* Memory that the processes of a case share. */
static inline void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
    return p;
}

static inline void await(_Atomic int *word, int value)
{
    int64_t end = test_now() + PATIENCE;
    while (atomic_load(word) < value) {
        expect(test_now() < end);
        usleep(200);
    }
}

static inline bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

#endif
