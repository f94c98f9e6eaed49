/* SPDX-License-Identifier: MIT */
/* random-access.c - random access to a large file: pread(2), a mapping of one's own, and naru's
 * ways, in turns. One line of JSON a way: ns an access, the median of the rounds.
 *
 *   random-access [-s GiB] [-n BYTES an access] [-a ACCESSES] [-r ROUNDS] [-d DIRECTORY]
 *
 * The file is 10 GiB, or as large as half of what the disk has left allows, and written full. Its
 * name goes as soon as all have opened it, so that nothing is left of it, whatever happens. It lies
 * in $TMPDIR, else in /var/tmp. Cold: the kernel was told to forget it. Warm: once more. */
#include <fcntl.h>
#include <naru/naru.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, ROUNDS_MAX = 31, ACCESSES_MAX = 1 << 20, EACH_MAX = 1 << 16 };

static uint64_t places[ACCESSES_MAX], size = UINT64_C(10) << 30;
static int each = PAGE, accesses = 1 << 14, rounds = 3, fd;
static const char *mapped;
static naru_region *region;

static int by_pread(uint64_t at, char *to)
{
    return pread(fd, to, (size_t)each, (off_t)at) == each ? 0 : -1;
}

static int by_mmap(uint64_t at, char *to)
{
    memcpy(to, mapped + at, (size_t)each);
    return 0;
}

static int by_pointer(uint64_t at, char *to)
{
    const void *p = naru_region_at(region, at, (size_t)each, 1);
    if (!p)
        return -1;
    memcpy(to, p, (size_t)each);
    return 0;
}

static int by_copy(uint64_t at, char *to)
{
    return naru_region_read(region, at, to, (size_t)each);
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

/* Each page begins with its place. */
static int fill(void)
{
    enum { PIECE = 1 << 20 };
    static char piece[PIECE];
    for (uint64_t at = 0; at < size; at += PIECE) {
        for (uint64_t k = 0; k < PIECE; k += PAGE) {
            uint64_t place = at + k;
            memcpy(piece + k, &place, sizeof place);
        }
        if (pwrite(fd, piece, PIECE, (off_t)at) != PIECE)
            return -1;
    }
    for (int i = 0; i < accesses; i++)
        places[i] = random_number() % ((size - (uint64_t)each) / PAGE) * PAGE;
    return fsync(fd);
}

/* ns an access; each is checked. */
static double measure(int way)
{
    static char got[EACH_MAX];
    double start = now();
    for (int i = 0; i < accesses; i++)
        if (ways[way].access(places[i], got) < 0 || memcmp(got, &places[i], sizeof places[i]) != 0)
            return -1;
    return (now() - start) / accesses;
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
    double cold[WAYS][ROUNDS_MAX], warm[WAYS][ROUNDS_MAX];
    for (int k = 0; k < rounds; k++)
        for (int i = 0; i < WAYS; i++) {
            int way = (i + k) % WAYS;
            if (forget() != 0 || (cold[way][k] = measure(way)) < 0 ||
                (warm[way][k] = measure(way)) < 0)
                return fprintf(stderr, "%s: wrong bytes, or none\n", ways[way].name), -1;
        }
    for (int i = 0; i < WAYS; i++) {
        size_t n = (size_t)rounds;
        qsort(cold[i], n, sizeof **cold, compare);
        qsort(warm[i], n, sizeof **warm, compare);
        printf("{\"mode\": \"random access\", \"adapter\": \"%s\", \"size\": %d, \"file\": %llu, "
               "\"accesses\": %d, \"repetitions\": %d, \"cold_ns\": %.0f, \"cold_low\": %.0f, "
               "\"cold_high\": %.0f, \"warm_ns\": %.1f, \"warm_low\": %.1f, \"warm_high\": %.1f}\n",
               ways[i].name, each, (unsigned long long)size, accesses, rounds, cold[i][n / 2],
               cold[i][0], cold[i][n - 1], warm[i][n / 2], warm[i][0], warm[i][n - 1]);
    }
    return 0;
}

static int options(int argc, char **argv, const char **directory)
{
    int c;
    while ((c = getopt(argc, argv, "s:n:a:r:d:")) != -1)
        if (c == 's')
            size = strtoull(optarg, NULL, 10) << 30;
        else if (c == 'n')
            each = atoi(optarg);
        else if (c == 'a')
            accesses = atoi(optarg);
        else if (c == 'r')
            rounds = atoi(optarg);
        else if (c == 'd')
            *directory = optarg;
        else
            return -1;
    return size > 0 && each >= 8 && each <= EACH_MAX && accesses > 0 && accesses <= ACCESSES_MAX &&
                   rounds > 0 && rounds <= ROUNDS_MAX
               ? 0
               : -1;
}

int main(int argc, char **argv)
{
    char path[200], url[220];
    const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
    struct statvfs fs;
    if (options(argc, argv, &directory) < 0 || sizeof(size_t) < 8)
        return fprintf(stderr, "random-access: see the head of bench/random-access.c\n"), 2;
    snprintf(path, sizeof path, "%.150s/naru-random-%d", directory, (int)getpid());
    snprintf(url, sizeof url, "map:%s", path);
    if (statvfs(directory, &fs) == 0)
        while (size > 1 << 20 && size > (uint64_t)fs.f_bavail * fs.f_frsize / 2)
            size /= 2;
    if ((fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600)) < 0)
        return perror(path), 1;
    int r = ftruncate(fd, (off_t)size);
    mapped = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (r == 0 && mapped != MAP_FAILED)
        (void)naru_region_open(url, NARU_READ, NULL, &region);
    unlink(path);
    if (r < 0 || mapped == MAP_FAILED)
        perror(path);
    else if (!region || naru_region_advise(region, 0, size, NARU_ADVICE_RANDOM) < 0)
        fprintf(stderr, "%s\n", naru_why());
    else if (madvise((void *)(uintptr_t)mapped, size, MADV_RANDOM) < 0 ||
             posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0 || fill() < 0)
        perror(path);
    else
        r = compare_all() + 1;
    naru_region_close(region);
    return r == 1 ? 0 : 1;
}
