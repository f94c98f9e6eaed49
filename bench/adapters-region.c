/* SPDX-License-Identifier: MIT */
/* adapters-region.c - naru's regions beside the system calls that they stand on. One place each
 * way: the sender copies into it and stamps, the receiver copies out and acknowledges. So what is
 * timed is memory, and for naru_region_write and _read the price of copying that nobody can kill.
 */
#include "bench/adapters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

enum { LARGEST = 16 << 20 };

struct way {
    _Alignas(128) _Atomic uint64_t stamp;
    _Alignas(128) _Atomic uint64_t taken;
    _Atomic uint32_t attached; /* of the first: sides that have opened it by its name */
    char data[LARGEST];
};

enum { AREA = 2 * sizeof(struct way) };

static struct way *ways;
static naru_region *region;
static uint64_t sent, got;
static int own;
static char url[64];

/* ---- where it lies ---- */

/* Names outlive processes, so whoever started these can remove what was left before that. */
static void posix_url(int pid)
{
    snprintf(url, sizeof url, "posix-shm:/naru-bench-%d", pid);
}

static void sysv_url(int pid)
{
    snprintf(url, sizeof url, "sysv-shm:0x%x", 0x6d000000u | (unsigned)pid);
}

static int map_file(int fd)
{
    if (fd < 0 || fallocate(fd, 0, 0, AREA) < 0)
        return bench_say("a file in memory: %s", strerror(errno));
    ways = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return ways == MAP_FAILED ? bench_say("mmap: %s", strerror(errno)) : 0;
}

static int memfd_setup(void)
{
    return map_file(memfd_create("bench", MFD_CLOEXEC));
}

static int shm_open_setup(void)
{
    posix_url(getpid());
    int fd = shm_open(strchr(url, '/'), O_RDWR | O_CREAT | O_EXCL, 0600);
    shm_unlink(strchr(url, '/'));
    return map_file(fd);
}

static int shmget_setup(void)
{
    int id = shmget(IPC_PRIVATE, AREA, 0600);
    if (id < 0)
        return bench_say("shmget: %s", strerror(errno));
    ways = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    return ways == (void *)-1 ? bench_say("shmat: %s", strerror(errno)) : 0;
}

static int region_named(const char *name)
{
    if (naru_region_create(name, AREA, NULL, &region) < 0)
        return bench_naru_failed();
    ways = naru_region_data(region);
    return 0;
}

/* `url` may hold another's name: the parent cleans up by it. */
static int region_setup(void)
{
    return region_named(NULL);
}

static int posix_setup(void)
{
    posix_url(getpid());
    return region_named(url);
}

static int sysv_setup(void)
{
    sysv_url(getpid());
    return region_named(url);
}

static int start(int side)
{
    own = side;
    sent = got = 0;
    return 0;
}

static int adopt(int side)
{
    return naru_adopt(region) < 0 ? bench_naru_failed() : start(side);
}

/* What has a name is opened by it, in each process; the second takes the name away, so that nothing
 * is left of a run that is killed. */
static int open_it(int side)
{
    naru_region_close(region);
    if (naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &region) < 0)
        return bench_naru_failed();
    ways = naru_region_data(region);
    if (atomic_fetch_add(&ways->attached, 1) == 1 && naru_remove(url) < 0)
        return bench_naru_failed();
    return start(side);
}

static void detach_raw(int side)
{
    (void)side;
    munmap(ways, AREA);
}

static void detach_region(int side)
{
    (void)side;
    region = naru_region_close(region);
}

static void posix_clean_up(int pid)
{
    posix_url(pid);
    naru_remove(url);
}

static void sysv_clean_up(int pid)
{
    sysv_url(pid);
    naru_remove(url);
}

/* ---- carrying ---- */

static struct way *free_way(void)
{
    struct way *w = &ways[own];
    while (atomic_load_explicit(&w->taken, memory_order_acquire) != sent)
        ;
    return w;
}

static void stamp(struct way *w)
{
    /* release: pairs with the acquire in full_way */
    atomic_store_explicit(&w->stamp, ++sent, memory_order_release);
}

static struct way *full_way(void)
{
    struct way *w = &ways[!own];
    while (atomic_load_explicit(&w->stamp, memory_order_acquire) != got + 1)
        ;
    return w;
}

static void taken(struct way *w)
{
    /* release: pairs with the acquire in free_way */
    atomic_store_explicit(&w->taken, ++got, memory_order_release);
}

static int by_pointer_send(const void *buf, size_t n)
{
    struct way *w = free_way();
    memcpy(w->data, buf, n);
    stamp(w);
    return 0;
}

static int by_pointer_recv(void *buf, size_t n)
{
    struct way *w = full_way();
    memcpy(buf, w->data, n);
    taken(w);
    return 0;
}

static int copied_send(const void *buf, size_t n)
{
    struct way *w = free_way();
    if (naru_region_write(region, (size_t)(w->data - (char *)ways), buf, n) < 0)
        return bench_naru_failed();
    stamp(w);
    return 0;
}

static int copied_recv(void *buf, size_t n)
{
    struct way *w = full_way();
    if (naru_region_read(region, (size_t)(w->data - (char *)ways), buf, n) < 0)
        return bench_naru_failed();
    taken(w);
    return 0;
}

#define MODES ((1u << BENCH_LATENCY) | (1u << BENCH_STREAM))
#define ADAPTER(variable, called, kind, beside, how_setup, how_attach, how, how_detach, how_clean) \
    const struct adapter variable = {.name = called,                                               \
                                     .url = kind,                                                  \
                                     .reference = beside,                                          \
                                     .setup = how_setup,                                           \
                                     .attach = how_attach,                                         \
                                     .send = how##_send,                                           \
                                     .recv = how##_recv,                                           \
                                     .detach = how_detach,                                         \
                                     .clean_up = how_clean,                                        \
                                     .max_size = LARGEST,                                          \
                                     .modes = MODES};

ADAPTER(bench_raw_memfd, "raw memfd", "shm:", NULL, memfd_setup, start, by_pointer, detach_raw,
        NULL)
ADAPTER(bench_naru_region, "naru region", "shm:", "raw memfd", region_setup, adopt, by_pointer,
        detach_region, NULL)
ADAPTER(bench_naru_copied_region, "naru region, copied", "shm:", "raw memfd", region_setup, adopt,
        copied, detach_region, NULL)
ADAPTER(bench_raw_posix_shm, "raw shm_open", "posix-shm:", NULL, shm_open_setup, start, by_pointer,
        detach_raw, NULL)
ADAPTER(bench_naru_posix_shm, "naru posix-shm", "posix-shm:", "raw shm_open", posix_setup, open_it,
        by_pointer, detach_region, posix_clean_up)
ADAPTER(bench_raw_sysv_shm, "raw shmget", "sysv-shm:", NULL, shmget_setup, start, by_pointer,
        detach_raw, NULL)
ADAPTER(bench_naru_sysv_shm, "naru sysv-shm", "sysv-shm:", "raw shmget", sysv_setup, open_it,
        by_pointer, detach_region, sysv_clean_up)
