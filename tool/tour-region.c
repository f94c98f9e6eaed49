/* SPDX-License-Identifier: MIT */
/* tour-region.c - the tour's scenes on regions: the whole input laid into memory by one process and
 * found there by another, also by programs that know shm_open, shmget or mmap alone; what two see
 * of each other's writes, in memory and in a file; and that many attachers take memory once. */
#include "tool/tour.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- naru's, or a foreign program's ---- */

struct memory {
    naru_region *region; /* NULL: foreign */
    uint8_t *data;
    size_t size;
};

static bool lay_out(struct part *p, size_t size, struct memory *m)
{
    if (!part_naru(p, "creating", naru_region_create(p->url, size, NULL, &m->region)))
        return false;
    m->data = naru_region_data(m->region);
    m->size = size;
    return true;
}

static bool find(struct part *p, struct memory *m)
{
    struct naru_region_options o = {.size = sizeof o, .bytes = p->input.size};
    if (!part_naru(p, "opening", naru_region_open(p->url, NARU_READ, &o, &m->region)))
        return false;
    m->data = naru_region_data(m->region);
    m->size = naru_region_size(m->region);
    return true;
}

static bool foreign_posix(struct part *p, size_t make, struct memory *m)
{
    struct stat st;
    int fd = shm_open(strchr(p->url, '/'), make ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    if (fd < 0 || (make && ftruncate(fd, (off_t)make) < 0) || fstat(fd, &st) < 0)
        return part_failed(p, "shm_open: %s", strerror(errno));
    m->size = (size_t)st.st_size;
    m->data = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return m->data != MAP_FAILED || part_failed(p, "mmap: %s", strerror(errno));
}

static bool foreign_sysv(struct part *p, size_t make, struct memory *m)
{
    struct shmid_ds ds;
    char path[200];
    const char *place = strchr(p->url, ':') + 1;
    snprintf(path, sizeof path, "%.*s", (int)strcspn(place, "#"), place);
    key_t key = ftok(path, atoi(strchr(place, '#') + 1));
    int id = shmget(key, make, make ? IPC_CREAT | IPC_EXCL | 0600 : 0);
    if (id < 0 || shmctl(id, IPC_STAT, &ds) < 0)
        return part_failed(p, "shmget: %s", strerror(errno));
    m->size = ds.shm_segsz;
    m->data = shmat(id, NULL, 0);
    return m->data != (void *)-1 || part_failed(p, "shmat: %s", strerror(errno));
}

/* A program that knows files alone: open, mmap. */
static bool foreign_file(struct part *p, size_t make, struct memory *m)
{
    struct stat st;
    int fd = open(strchr(p->url, '/'), (make ? O_CREAT | O_EXCL : 0) | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || (make && ftruncate(fd, (off_t)make) < 0) || fstat(fd, &st) < 0)
        return part_failed(p, "open: %s", strerror(errno));
    m->size = (size_t)st.st_size;
    m->data = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return m->data != MAP_FAILED || part_failed(p, "mmap: %s", strerror(errno));
}

/* make: the size of a new one, 0: it is there. */
static bool foreign(struct part *p, size_t make, struct memory *m)
{
    m->region = NULL;
    if (strncmp(p->url, "map:", 4) == 0)
        return foreign_file(p, make, m);
    return strncmp(p->url, "posix-shm:", 10) == 0 ? foreign_posix(p, make, m)
                                                  : foreign_sysv(p, make, m);
}

/* ---- one writes, another reads ---- */

static void writes(struct part *p, struct memory *m)
{
    int64_t start = now_ns();
    memcpy(m->data, p->input.data, m->size);
    p->report.ns = now_ns() - start;
    conclude(p, SIDE_SENDER, p->input.data, m->size);
    part_say(p, REPORT_READY); /* it stays when this process is gone */
    naru_region_close(m->region);
}

static void reads(struct part *p, struct memory *m)
{
    uint8_t *copy = malloc(m->size);
    if (!copy) {
        part_failed(p, "no memory");
        return;
    }
    memset(copy, 1, m->size); /* touched, so that the time is that of reading */
    int64_t start = now_ns();
    memcpy(copy, m->data, m->size);
    p->report.ns = now_ns() - start;
    if (judge_bytes(p, copy, 0, m->size, p->input.size))
        conclude(p, SIDE_RECEIVER, copy, m->size);
    free(copy);
    naru_region_close(m->region);
}

static void writer(struct part *p)
{
    struct memory m;
    if (lay_out(p, p->input.size, &m))
        writes(p, &m);
}

static void reader(struct part *p)
{
    struct memory m;
    if (find(p, &m))
        reads(p, &m);
}

static void foreign_writer(struct part *p)
{
    struct memory m;
    if (foreign(p, p->input.size, &m))
        writes(p, &m);
}

static void foreign_reader(struct part *p)
{
    struct memory m;
    if (foreign(p, 0, &m))
        reads(p, &m);
}

/* Killed in the middle; the region stays, with what was written. */
static void dying_writer(struct part *p)
{
    struct memory m;
    if (!lay_out(p, p->input.size, &m))
        return;
    memcpy(m.data, p->input.data, m.size / 2);
    part_say(p, REPORT_READY);
    part_wait_for_death(p);
}

static void finishes_it(struct part *p)
{
    naru_region *r;
    if (!part_naru(p, "opening", naru_region_open(p->url, NARU_READ | NARU_WRITE, NULL, &r)))
        return;
    uint8_t *data = naru_region_data(r);
    size_t n = naru_region_size(r), half = p->input.size / 2;
    if (n != p->input.size || memcmp(data, p->input.data, half) != 0) {
        part_failed(p, "what the killed process had written is not there");
    } else if (part_naru(p, "writing",
                         naru_region_write(r, half, p->input.data + half, n - half))) {
        conclude(p, SIDE_RECEIVER, data, n);
        p->report.has_digest = judge_bytes(p, data, 0, n, n);
        snprintf(p->report.saw, sizeof p->report.saw,
                 "the survivor found the first %zu bytes of %zu and wrote the rest", half, n);
    }
    naru_region_close(r);
}

/* ---- two edit one file ---- */

enum { PIECE = 1 << 16 };

/* Behind the file's text: how many pieces each of the two has done. */
struct edits {
    _Atomic uint64_t done[2];
};

/* Each turns the bits of every other piece over, after it has seen the other's one before it. */
static void edit(struct part *p, uint8_t *text, size_t size, struct edits *edits)
{
    size_t pieces = (size + PIECE - 1) / PIECE;
    int me = p->index;
    int64_t start = now_ns(), deadline = start + TOUR_TIMEOUT;
    for (size_t i = 0; i < pieces; i++) {
        size_t n = size - i * PIECE < PIECE ? size - i * PIECE : PIECE;
        if ((int)(i % 2) == me) {
            for (size_t k = 0; k < n; k++)
                text[i * PIECE + k] ^= 0xff;
            /* release: whoever sees the count sees the piece */
            atomic_store_explicit(&edits->done[me], i + 1, memory_order_release);
            continue;
        }
        while (atomic_load_explicit(&edits->done[1 - me], memory_order_acquire) <= i) {
            if (now_ns() > deadline) {
                part_failed(p, "piece %zu of the other was never seen", i);
                return;
            }
            sched_yield();
        }
        if (text[i * PIECE] != 255 - p->input.data[i * PIECE]) {
            part_failed(p, "piece %zu is not as the other made it", i);
            return;
        }
    }
    p->report.ns = now_ns() - start;
}

static bool turned_over(struct part *p, const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] != 255 - p->input.data[i])
            return part_failed(p, "byte %zu of the file is %d", i, text[i]);
    return true;
}

/* The first lays the input into the file; both edit it by pointer, and read it as a file. */
static void editor(struct part *p)
{
    naru_region *r;
    size_t size = p->input.size, at = (size + PIECE - 1) / PIECE * PIECE;
    size_t all = at + sizeof(struct edits);
    bool made = p->index == 0;
    if (made) {
        if (!part_naru(p, "creating", naru_region_create(p->url, all, NULL, &r)))
            return;
        memcpy(naru_region_data(r), p->input.data, size);
        part_say(p, REPORT_READY);
    } else if (!part_naru(p, "opening",
                          naru_region_open(p->url, NARU_READ | NARU_WRITE, NULL, &r))) {
        return;
    }
    uint8_t *text = naru_region_data(r), *copy = malloc(size);
    if (!copy)
        part_failed(p, "no memory");
    else
        edit(p, text, size, (struct edits *)(void *)(text + at));
    int fd = open(strchr(p->url, '/'), O_RDONLY | O_CLOEXEC);
    int synced = p->report.ok && made ? naru_region_sync(r, 0, all, NARU_SYNC_FULL) : 0;
    if (synced != -EOPNOTSUPP) /* which a /tmp in memory says */
        (void)part_naru(p, "syncing", synced);
    if (p->report.ok && pread(fd, copy, size, 0) != (ssize_t)size)
        part_failed(p, "the file is shorter");
    if (p->report.ok && turned_over(p, copy, size)) {
        for (size_t i = 0; i < size; i++) /* the digest is the input's again */
            copy[i] ^= 0xff;
        conclude(p, made ? SIDE_SENDER : SIDE_RECEIVER, copy, size);
        snprintf(p->report.saw, sizeof p->report.saw,
                 "each saw every edit of the other at once, in memory and in the file%s",
                 synced < 0 ? "; tmpfs has nothing to sync" : "");
    }
    close(fd);
    free(copy);
    naru_region_close(r);
}

/* ---- what two see of each other ---- */

enum { ROUNDS = 20000, ENOUGH = 1000 };

struct turns {
    _Atomic uint32_t mine[2]; /* each written by one of the two */
    _Atomic uint32_t last;    /* the first of the two says so, before its turn of that number */
    uint8_t apart[116];
    uint32_t text[2][16]; /* plain words, ordered by those above */
};

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Writes its plain words, then its turn; waits for the other's turn, and looks at its words. Where
 * the two have one processor between them a turn takes a slice: fewer will do. */
static void take_turns(struct part *p, struct turns *t, int me)
{
    static int64_t took[ROUNDS];
    int64_t begun = now_ns(), deadline = begun + TOUR_TIMEOUT;
    uint32_t i = 0;
    bool last = false;
    while (!last) {
        int64_t start = now_ns();
        last = ++i == ROUNDS || (i >= ENOUGH && start > begun + 2 * NARU_S);
        if (me == 0 && last)
            atomic_store_explicit(&t->last, i, memory_order_relaxed);
        if (me == 1)
            while (atomic_load_explicit(&t->mine[0], memory_order_acquire) != i)
                if (now_ns() > deadline) {
                    part_failed(p, "write %u of the other was never seen", i);
                    return;
                }
        if (me == 1) /* relaxed: written before the turn that was acquired */
            last = atomic_load_explicit(&t->last, memory_order_relaxed) == i;
        for (int k = 0; k < 16; k++)
            t->text[me][k] = i * 2 + (uint32_t)me;
        /* release: whoever sees the turn sees the words before it */
        atomic_store_explicit(&t->mine[me], i, memory_order_release);
        if (me == 0)
            while (atomic_load_explicit(&t->mine[1], memory_order_acquire) != i)
                if (now_ns() > deadline) {
                    part_failed(p, "write %u of the other was never seen", i);
                    return;
                }
        took[i - 1] = now_ns() - start;
        for (int k = 0; k < 16 && me == 0; k++)
            if (t->text[1][k] != i * 2 + 1) {
                part_failed(p, "the words of write %u are not those of the other", i);
                return;
            }
    }
    if (me == 1)
        return;
    qsort(took, i, sizeof *took, compare);
    p->report.p50_ns = took[i / 2] / 2;
    snprintf(p->report.saw, sizeof p->report.saw,
             "each saw all %u writes of the other, every word, in order", i);
}

static void second_of_two(struct part *p, void *region)
{
    if (part_naru(p, "adopting", naru_adopt(region)))
        take_turns(p, naru_region_data(region), 1);
    naru_region_close(region);
}

static void two_see(struct part *p)
{
    naru_region *r;
    if (!part_naru(p, "creating", naru_region_create(p->url, sizeof(struct turns), NULL, &r)))
        return;
    if (part_fork(p, 1, second_of_two, r) > 0)
        take_turns(p, naru_region_data(r), 0);
    naru_region_close(r);
}

/* ---- many attachers ---- */

enum { ATTACHERS = PARTS_MAX, EACH = 16 << 20 };

struct crowd {
    _Atomic uint32_t attached, counted;
    _Atomic uint64_t rss, pss; /* KiB, of all */
};

static bool crowd_waits(struct part *p, _Atomic uint32_t *count)
{
    int64_t deadline = now_ns() + TOUR_TIMEOUT;
    atomic_fetch_add(count, 1);
    while (atomic_load(count) < ATTACHERS) {
        if (now_ns() > deadline)
            return part_failed(p, "only %u of %d attached", atomic_load(count), ATTACHERS);
        usleep(200);
    }
    return true;
}

/* Of the mapping at `data` in this process, in KiB. */
static void resident(const void *data, uint64_t *ret_rss, uint64_t *ret_pss)
{
    char line[300];
    uintptr_t from, to;
    bool here = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            here = from == (uintptr_t)data;
        else if (here)
            (void)(sscanf(line, "Rss: %" SCNu64, ret_rss) == 1 ||
                   sscanf(line, "Pss: %" SCNu64, ret_pss) == 1);
    }
    if (f)
        fclose(f);
}

static void attacher(struct part *p)
{
    naru_region *r;
    uint64_t rss = 0, pss = 0, sum = 0;
    if (!part_naru(p, "attaching", naru_region_create(p->url, EACH, NULL, &r)))
        return;
    struct crowd *crowd = naru_region_data(r);
    const volatile uint8_t *bytes = naru_region_data(r);
    for (size_t i = 0; i < EACH; i += 4096)
        sum += bytes[i];
    if (crowd_waits(p, &crowd->attached)) {
        resident(crowd, &rss, &pss);
        atomic_fetch_add(&crowd->rss, rss);
        atomic_fetch_add(&crowd->pss, pss);
    }
    if (p->report.ok && crowd_waits(p, &crowd->counted) && p->index == 0) {
        uint64_t all = atomic_load(&crowd->rss), once = atomic_load(&crowd->pss);
        bool right = once >= (EACH >> 10) * 95 / 100 && once <= (EACH >> 10) * 105 / 100;
        snprintf(p->report.saw, sizeof p->report.saw,
                 "%d processes have 16 MiB before them, %" PRIu64
                 " MiB by count, and take %.1f MiB together (Pss)",
                 ATTACHERS, all >> 10, (double)once / 1024);
        p->report.ok = right && sum < UINT64_MAX;
    }
    naru_region_close(r);
}

/* ---- tables ---- */

const struct role region_roles[] = {
    {"region-writer", writer},
    {"region-reader", reader},
    {"region-foreign-writer", foreign_writer},
    {"region-foreign-reader", foreign_reader},
    {"region-dying-writer", dying_writer},
    {"region-finishes-it", finishes_it},
    {"region-two-see", two_see},
    {"region-editor", editor},
    {"region-attacher", attacher},
    {0},
};

#define ONE_THEN(name, first, second)                                                              \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, "region-" first, NULL);                                        \
    }                                                                                              \
    static bool next_##name(struct stage *stage, int ready, int ended)                             \
    {                                                                                              \
        return ready != 1 || ended != 0 || stage_exec(stage, 1, "region-" second, NULL);           \
    }
ONE_THEN(naru, "writer", "reader")
ONE_THEN(foreign_reads, "writer", "foreign-reader")
ONE_THEN(foreign_writes, "foreign-writer", "reader")

static bool start_dies(struct stage *stage)
{
    return stage_exec(stage, 0, "region-dying-writer", NULL);
}

static bool next_dies(struct stage *stage, int ready, int ended)
{
    (void)ready;
    return ended != 1 || stage_exec(stage, 1, "region-finishes-it", NULL);
}

static bool start_editors(struct stage *stage)
{
    return stage_exec(stage, 0, "region-editor", NULL);
}

static bool next_editors(struct stage *stage, int ready, int ended)
{
    return ready != 1 || ended != 0 || stage_exec(stage, 1, "region-editor", NULL);
}

static bool start_two_see(struct stage *stage)
{
    return stage_fork(stage, 0, "region-two-see", NULL);
}

static bool start_attachers(struct stage *stage)
{
    for (int i = 0; i < ATTACHERS; i++)
        if (!stage_exec(stage, i, "region-attacher", NULL))
            return false;
    return true;
}

#define REGION(url, relation, shows, parts, victim, start, next)                                   \
    {                                                                                              \
        url, NARU_NOUN_REGION, "page", "two-way", relation, shows, parts, victim, start, next      \
    }
#define KERNELS(url, call)                                                                         \
    REGION(url, "unrelated", "one writes, one reads", 2, -1, start_naru, next_naru),               \
        REGION(url, "unrelated", call " reads", 2, -1, start_foreign_reads, next_foreign_reads),   \
        REGION(url, "unrelated", call " writes", 2, -1, start_foreign_writes, next_foreign_writes)

const struct scene region_scenes[] = {
    REGION("shm:", "parent-child", "what each sees of the other's writes", 2, -1, start_two_see,
           NULL),
    REGION("shm:%s-region", "unrelated", "one writes, one reads", 2, -1, start_naru, next_naru),
    REGION("shm:%s-region", "unrelated", "the writer killed midway", 2, 0, start_dies, next_dies),
    REGION("shm:%s-region", "unrelated", "8 attachers of 16 MiB", ATTACHERS, -1, start_attachers,
           NULL),
    KERNELS("posix-shm:/%s-region", "shm_open"),
    KERNELS("sysv-shm:%s#1", "shmget"),
    REGION("map:%s/file", "unrelated", "two edit one mapped file", 2, -1, start_editors,
           next_editors),
    REGION("map:%s/file", "unrelated", "the writer killed midway", 2, 0, start_dies, next_dies),
    KERNELS("map:%s/file", "mmap"),
    {0},
};
