/* SPDX-License-Identifier: MIT */
/* regions.h - what the suites of regions have in common: of each kind one with a name. */
#ifndef NARU_TESTS_REGIONS_H
#define NARU_TESTS_REGIONS_H

#include "harness.h"

#include <dirent.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, NOBODY = 65534, RW = NARU_READ | NARU_WRITE };

/* AddressSanitizer takes mlock away, and its shadow needs more address space than a test leaves. */
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

static const char *const named[] = {"shm:%s/region", "posix-shm:/%s-region", "sysv-shm:%s#7",
                                    "map:%s/file"};
enum { SHM, POSIX, SYSV, MAP, NAMED = sizeof named / sizeof *named };

static inline naru_region *create(const char *url, size_t bytes, size_t reserve)
{
    naru_region *r = NULL;
    struct naru_region_options o = {.size = sizeof o, .reserve = reserve};
    expect_ok(naru_region_create(url, bytes, &o, &r));
    return r;
}

static inline naru_region *open_it(const char *url, int access)
{
    naru_region *r = NULL;
    expect_ok(naru_region_open(url, access, NULL, &r));
    return r;
}

static inline bool zeroes(const void *memory, size_t n)
{
    const char *p = memory;
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static inline int entries(const char *directory)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return n;
}

#endif
