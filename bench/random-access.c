/* SPDX-License-Identifier: MIT */
/* random-access.c - random access to a file of 10 GiB: pread(2), a mapping of one's own, and naru's
 * ways, in turns. One line of JSON a way: ns an access, the median of the rounds.
 *
 *   random-access [FILE]      made, and removed again; else in $TMPDIR or /tmp
 *
 * A sparse file with 64 Ki pages here and there in it, which are read in random order, 64 bytes of
 * each. Cold: the kernel was told to forget them. Warm: once more. */
#include <fcntl.h>
#include <naru/naru.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 1 << 16, PAGE = 4096, EACH = 64, ROUNDS = 3 };
static const uint64_t size = UINT64_C(10) << 30;

static uint64_t places[PAGES];
static int fd;
static const char *mapped;
static naru_region *region;

static int by_pread(uint64_t at, char *to)
{
    return pread(fd, to, EACH, (off_t)at) == EACH ? 0 : -1;
}

static int by_mmap(uint64_t at, char *to)
{
    memcpy(to, mapped + at, EACH);
    return 0;
}

static int by_pointer(uint64_t at, char *to)
{
    const void *p = naru_region_at(region, at, EACH, 1);
    if (!p)
        return -1;
    memcpy(to, p, EACH);
    return 0;
}

static int by_copy(uint64_t at, char *to)
{
    return naru_region_read(region, at, to, EACH);
}

static const struct {
    const char *name;
    int (*access)(uint64_t at, char *to);
} ways[] = {{"pread", by_pread},
            {"mmap", by_mmap},
            {"naru pointer (naru_region_at)", by_pointer},
            {"naru copy (naru_region_read)", by_copy}};
enum { WAYS = sizeof ways / sizeof *ways };

static uint64_t random_number(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int fill(void)
{
    char page[PAGE];
    if (ftruncate(fd, (off_t)size) < 0)
        return -1;
    for (int i = 0; i < PAGES; i++) {
        places[i] = random_number() % (size / PAGE - 1) * PAGE + PAGE;
        memset(page, 0, PAGE);
        memcpy(page, &places[i], sizeof places[i]);
        if (pwrite(fd, page, PAGE, (off_t)places[i]) != PAGE)
            return -1;
    }
    return fsync(fd);
}

/* ns an access; each is checked. */
static double measure(int way)
{
    char got[EACH];
    double start = now();
    for (int i = 0; i < PAGES; i++)
        if (ways[way].access(places[i], got) < 0 || memcmp(got, &places[i], sizeof places[i]) != 0)
            return -1;
    return (now() - start) / PAGES;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Everybody forgets: the pages go from the mappings, then from the cache. */
static int forget(void)
{
    int r = madvise((void *)(uintptr_t)mapped, size, MADV_DONTNEED);
    if (r == 0)
        r = madvise(naru_region_data(region), size, MADV_DONTNEED);
    return r == 0 ? posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) : r;
}

static int compare_all(void)
{
    double cold[WAYS][ROUNDS], warm[WAYS][ROUNDS];
    for (int k = 0; k < ROUNDS; k++)
        for (int i = 0; i < WAYS; i++) {
            int way = (i + k) % WAYS;
            if (forget() != 0 || (cold[way][k] = measure(way)) < 0 ||
                (warm[way][k] = measure(way)) < 0)
                return fprintf(stderr, "%s: wrong bytes, or none\n", ways[way].name), -1;
        }
    for (int i = 0; i < WAYS; i++) {
        qsort(cold[i], ROUNDS, sizeof **cold, compare);
        qsort(warm[i], ROUNDS, sizeof **warm, compare);
        printf("{\"way\": \"%s\", \"bytes\": %d, \"pages\": %d, \"cold_ns\": %.0f, "
               "\"warm_ns\": %.1f}\n",
               ways[i].name, EACH, PAGES, cold[i][ROUNDS / 2], warm[i][ROUNDS / 2]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    char path[200], url[220];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.150s/naru-random-%d", base ? base : "/tmp", (int)getpid());
    if (argc > 1)
        snprintf(path, sizeof path, "%.190s", argv[1]);
    snprintf(url, sizeof url, "map:%s", path);
    if (sizeof(size_t) < 8 || (fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600)) < 0)
        return perror(path), 1;
    int r = fill();
    mapped = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (r < 0 || mapped == MAP_FAILED)
        perror(path);
    else if (naru_region_open(url, NARU_READ, NULL, &region) < 0 ||
             madvise((void *)(uintptr_t)mapped, size, MADV_RANDOM) < 0 ||
             naru_region_advise(region, 0, size, NARU_ADVICE_RANDOM) < 0 ||
             posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0)
        fprintf(stderr, "%s\n", naru_why());
    else
        r = compare_all();
    naru_region_close(region);
    unlink(path);
    return region && r == 0 ? 0 : 1;
}
