/* SPDX-License-Identifier: MIT */
/* life.c - a lock that lasts as long as an address space.
 *
 * Between open and close the description has a descriptor, which a fork by another thread would
 * copy for good: so forks wait meanwhile, and signal handlers too, for they may fork. (A bare clone
 * by another thread in these few microseconds does not ask.) */
#include "os/life.h"

#include "base/fault.h"
#include "base/process.h"
#include "os/fd.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void shut_out(void)
{
    pthread_mutex_lock(&opening);
}

static void let_in(void)
{
    pthread_mutex_unlock(&opening);
}

static void watch_forks(void)
{
    pthread_atfork(shut_out, let_in, let_in);
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* A page that can be neither read nor written, for its reference to the description alone. */
static int keep(int fd, struct naru_life *ret_life)
{
    int r = naru__fault_at("mmap");
    if (r < 0)
        return r;
    void *page = mmap(NULL, page_size(), PROT_NONE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return errno == EAGAIN ? -ENOMEM : -errno; /* all memory is locked, and no more may be */
    r = naru__fault_at("madvise");
    if (r == 0 && madvise(page, page_size(), MADV_DONTFORK) < 0)
        r = -errno;
    if (r < 0) {
        munmap(page, page_size());
        return r;
    }
    *ret_life = (struct naru_life){page, naru__process()};
    return 0;
}

static int hold(int directory, const char *name, int flags, uint64_t byte,
                struct naru_life *ret_life)
{
    sigset_t all, mask;
    sigfillset(&all);
    pthread_once(&once, watch_forks);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pthread_mutex_lock(&opening);
    int fd = naru__os_open_at(directory, name, O_RDWR | flags);
    int r = fd < 0 ? fd : naru__os_lock(fd, (int64_t)byte, true);
    if (r == 0)
        r = keep(fd, ret_life);
    naru__os_close(fd);
    pthread_mutex_unlock(&opening);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return r == -EACCES && fd >= 0 ? -EAGAIN : r; /* POSIX leaves F_SETLK both */
}

int naru__os_life_hold_at(int directory, const char *name, uint64_t byte,
                          struct naru_life *ret_life)
{
    return hold(directory, name, O_NOFOLLOW, byte, ret_life);
}

int naru__os_life_hold(int fd, uint64_t byte, struct naru_life *ret_life)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return hold(AT_FDCWD, path, 0, byte, ret_life);
}

void naru__os_life_drop(struct naru_life *life)
{
    if (life->page && life->process == naru__process())
        munmap(life->page, page_size());
    life->page = NULL;
}

int naru__os_life_held(int fd, uint64_t byte)
{
    return naru__os_lock_held(fd, (int64_t)byte);
}
