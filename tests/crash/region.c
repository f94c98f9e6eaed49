/* SPDX-License-Identifier: MIT */
/* region.c - regions with a name, in memory and on disk: made, opened, grown, closed, removed, and
 * swept up after; on disk also made shorter and synced.
 *
 * The subject dies at it. Whoever opens the name then finds a whole region or none: of the size
 * that it was made with, or of the one that it was grown to, with the bytes that were written, and
 * every byte of it is memory. Who had it open before goes on to use it, at the same address. While
 * the subject sleeps nobody sweeps what it is making or removing; and while another has a file, it
 * is not made shorter. */
#include "rig.h"

#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <naru/naru.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "region"
#define OTHER "other"
enum { TINY = 3000, SMALL = 5000, MIDDLE = 9000, LARGE = 18000, MOST = 40960 };

enum { CREATE, OPEN, GROW, CLOSE, REMOVE, COLLECT, SHRINK = COLLECT, SYNC };
static const char *const operations[] = {"create", "open",    "grow", "close",
                                         "remove", "collect", NULL};
static const char *const disk_operations[] = {"create", "open",   "grow", "close",
                                              "remove", "shrink", "sync", NULL};

/* stale: one who had it open has died. grown: it was already, once. contended: another has it open,
 * and works in it. littered: a maker and a remover of others have died. */
enum { ABSENT, PRESENT, STALE, GROWN_BEFORE, CONTENDED, LITTERED };
static const char *const states[] = {"absent",    "present",  "stale", "grown",
                                     "contended", "littered", NULL};
static const char *const disk_states[] = {"absent", "present", "stale", "grown", "contended", NULL};
static const char *const rooms[] = {
    "/src/region/file.c",      "/src/region/region.c", "/src/region/shm.c",  "/src/object/object.c",
    "/src/object/directory.c", "/src/api/region.c",    "/src/api/collect.c", NULL};
static const char *const disk_rooms[] = {"/src/region/file.c",
                                         "/src/region/region.c",
                                         "/src/region/map.c",
                                         "/src/region/place.c",
                                         "/src/api/region.c",
                                         "/src/os/lease.c",
                                         NULL};

/* In the log's own words: the subject's call has said so; and whoever contends has it open. */
enum { MADE, REMOVED, GROWN, SHRUNK, HAS_IT };

static const struct naru_region_options sizes = {.size = sizeof sizes, .reserve = MOST};
static const char mark[] = "written before";

static bool on_disk(const struct world *w)
{
    return w->scenario->disk;
}

static bool shrinks(const struct world *w)
{
    return on_disk(w) && w->operation == SHRINK;
}

static const char *url_of(const struct world *w, const char *name)
{
    static char url[PATH_MAX];
    if (on_disk(w))
        snprintf(url, sizeof url, "map:%.*s/%s", PATH_MAX - 40, disk_directory(), name);
    else
        snprintf(url, sizeof url, "shm:%s", name);
    return url;
}

static naru_region *make(struct world *w)
{
    naru_region *r;
    int code = naru_region_create(url_of(w, NAME), SMALL, &sizes, &r);
    if (code < 0)
        failed(w, "making it gave %d: %s", code, naru_why());
    return r;
}

/* What a maker and a remover leave that were killed just before their last step. */
static void litter(struct world *w)
{
    static const char *const left[] = {".new-0123456789abcdef", ".dead-0123456789abcdef"};
    char own[64], from[96], to[96];
    snprintf(own, sizeof own, "/dev/shm/naru-%u", geteuid());
    snprintf(from, sizeof from, "%s/%s", own, OTHER);
    for (int i = 0; i < 2; i++) {
        naru_region *r;
        snprintf(to, sizeof to, "%s/%s", own, left[i]);
        if (naru_region_create(url_of(w, OTHER), SMALL, &sizes, &r) < 0 || rename(from, to) != 0)
            failed(w, "no litter: %s", naru_why());
        naru_region_close(r);
    }
    snprintf(to, sizeof to, "%s/.new-empty", own);
    if (mkdir(to, 0700) != 0)
        failed(w, "no litter: %s", strerror(errno));
}

static void prepare(struct world *w)
{
    if (w->state == ABSENT)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        naru_region *r = make(w);
        naru_region_write(r, 0, mark, sizeof mark);
        if (w->state == LITTERED)
            litter(w);
        if (w->state == GROWN_BEFORE && naru_region_grow(r, MIDDLE) < 0)
            failed(w, "growing it at first: %s", naru_why());
        if (w->state == STALE)
            kill(getpid(), SIGKILL);
        naru_region_close(r);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static bool applies(int operation, int state)
{
    return state != ABSENT || operation == CREATE || operation == OPEN;
}

static void attach(struct world *w, int who)
{
    naru_region *r = NULL;
    bool works = who == 0 ? w->operation == GROW || w->operation == CLOSE ||
                                (on_disk(w) && w->operation >= SHRINK)
                          : who == 2 && w->state == CONTENDED;
    if (works && naru_region_open(url_of(w, NAME), NARU_READ | NARU_WRITE, NULL, &r) < 0)
        failed(w, "opening it at first: %s", naru_why());
    if (works && who != 0)
        w->log->own[HAS_IT] = 1;
    w->object = r;
}

static void make_shorter(struct world *w, naru_region *r)
{
    int code = naru_region_shrink(r, TINY);
    if (code == 0 && w->log->own[HAS_IT])
        failed(w, "it was made shorter, and another has it");
    if (code < 0 && code != -EBUSY)
        failed(w, "making it shorter gave %d: %s", code, naru_why());
    w->log->own[SHRUNK] = code == 0;
}

static bool in_memory(void) /* a $TMPDIR on a tmpfs, which has nothing to sync */
{
    int fd = open(disk_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool memory = fd >= 0 && naru__os_file_system(fd).memory;
    if (fd >= 0)
        close(fd);
    return memory;
}

static void sync_it(struct world *w, naru_region *r)
{
    int expected = in_memory() ? -EOPNOTSUPP : 0;
    for (int how = NARU_SYNC_ASYNC; how <= NARU_SYNC_FULL; how++) {
        int code = naru_region_write(r, sizeof mark, mark, sizeof mark);
        if (code == 0)
            code = naru_region_sync(r, 0, SMALL, how);
        if (code != expected)
            failed(w, "syncing it gave %d: %s", code, naru_why());
    }
}

static void operate(struct world *w)
{
    naru_region *r = w->object;
    if (w->operation == CREATE && naru_region_create(url_of(w, NAME), SMALL, &sizes, &r) == 0)
        w->log->own[MADE] = 1;
    if (w->operation == OPEN)
        (void)naru_region_open(url_of(w, NAME), NARU_READ, NULL, &r);
    if (w->operation == GROW && naru_region_grow(r, LARGE) == 0)
        w->log->own[GROWN] = 1;
    if (w->operation == REMOVE && naru_remove(url_of(w, NAME)) == 0)
        w->log->own[REMOVED] = 1;
    struct naru_collected c = {.size = sizeof c};
    bool collects = !on_disk(w) && w->operation == COLLECT;
    if (collects && w->state != ABSENT && naru_collect(url_of(w, NAME), 0, &c) < 0)
        failed(w, "cleaning up after members: %s", naru_why());
    if (collects && naru_collect("shm:", 0, &c) < 0)
        failed(w, "sweeping: %s", naru_why());
    if (shrinks(w))
        make_shorter(w, r);
    if (on_disk(w) && w->operation == SYNC)
        sync_it(w, r);
    if (w->operation == CLOSE)
        r = NULL, naru_region_close(w->object);
    w->object = r;
}

/* Every byte is there, and what was written. */
static void use(struct world *w, naru_region *r)
{
    char got[sizeof mark] = "";
    size_t size = naru_region_size(r);
    bool grown = w->log->own[GROWN], shrunk = w->log->own[SHRUNK];
    struct naru_stats stats = {.size = sizeof stats};
    if (size != (w->state == GROWN_BEFORE ? MIDDLE : SMALL) &&
        (w->operation != GROW || size != LARGE) && (!shrinks(w) || size != TINY))
        failed(w, "it has %zu bytes", size);
    if (grown && size != LARGE && naru_region_size(r) != LARGE)
        failed(w, "it had grown, and has %zu bytes", size);
    if (shrunk && size != TINY && naru_region_size(r) != TINY)
        failed(w, "it was made shorter, and has %zu bytes", size);
    if (naru_stats(r, &stats) < 0 || stats.capacity != MOST)
        failed(w, "it may have %zu bytes, and its maker said %d", (size_t)stats.capacity, MOST);
    if (naru_region_read(r, 0, got, sizeof got) < 0)
        failed(w, "reading gave %s", naru_why());
    if (w->state != ABSENT && memcmp(got, mark, sizeof mark) != 0)
        failed(w, "other bytes are in it");
    const volatile char *p = naru_region_data(r);
    for (size_t i = 0; i < size; i += 4096)
        (void)p[i];
    if (naru_region_write(r, size - 1, "x", 1) < 0)
        failed(w, "writing gave %s", naru_why());
}

/* One's own, whose removal sweeps: what a sleeper is at is still there when it wakes. */
static void make_and_remove(struct world *w, int who)
{
    char name[32];
    naru_region *r;
    snprintf(name, sizeof name, "survivor-%d", who);
    const char *url = url_of(w, name);
    if (naru_region_create(url, SMALL, &sizes, &r) < 0)
        failed(w, "meanwhile another one could not be made: %s", naru_why());
    naru_region_close(r);
    if (naru_remove(url) < 0)
        failed(w, "meanwhile another one could not be removed: %s", naru_why());
}

/* Whoever opens what a sleeper is removing, or making shorter, waits for 2 s, and is told of it:
 * tests/object.c. */
static bool held_up(const struct world *w)
{
    if (!shrinks(w))
        return !on_disk(w) && w->operation == REMOVE;
    int fd = open(url_of(w, NAME) + strlen("map:"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    bool leased = fd < 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return leased;
}

static void survive(struct world *w, int who, enum fate fate)
{
    bool made = w->log->own[MADE], removed = w->log->own[REMOVED];
    naru_region *r = w->object;
    const void *data = r ? naru_region_data(r) : NULL;
    if (r && who != 0)
        use(w, r);
    if (fate == PAUSED)
        make_and_remove(w, who);
    if (fate == LIVES && w->operation == REMOVE && !removed)
        failed(w, "it was not removed by the one who woke again");
    if (fate == LIVES && w->operation == GROW && !w->log->own[GROWN])
        failed(w, "it was not grown by the one who woke again");
    if (fate == LIVES && shrinks(w) && w->state != CONTENDED && !w->log->own[SHRUNK])
        failed(w, "it was not made shorter by the one who woke again");
    if (fate == LIVES && w->operation == CREATE && !made)
        failed(w, "it was not made by the one who woke again");
    if (r && naru_region_data(r) != data)
        failed(w, "it has moved");
    if (!(fate == PAUSED && held_up(w)) && (fate != LIVES || who != 0)) {
        naru_region *other = NULL;
        int code = naru_region_open(url_of(w, NAME), NARU_READ | NARU_WRITE, NULL, &other);
        if (code == 0)
            use(w, other);
        else if (code != -ENOENT)
            failed(w, "opening gave %d: %s", code, naru_why());
        naru_region_close(other);
        if (code == 0 && removed)
            failed(w, "it was removed, and is there");
        if (code < 0 && (made || (w->state != ABSENT && w->operation != REMOVE)))
            failed(w, "it should be there: %s", naru_why());
    }
    going_on(w, who);
    if (fate == PAUSED)
        return;
    if (who == 2)
        w->log->own[HAS_IT] = 0;
    naru_region_close(r);
    w->object = NULL;
}

/* The next maker has the name for himself, and leaves nothing. */
static void sweep(struct world *w)
{
    (void)naru_remove(url_of(w, NAME));
    naru_region *r = make(w);
    if (naru_region_size(r) != SMALL || naru_region_grow(r, LARGE) < 0)
        failed(w, "the next one does not grow: %s", naru_why());
    naru_region_close(r);
    if (naru_remove(url_of(w, NAME)) < 0)
        failed(w, "the next one is not removed: %s", naru_why());
}

static void check(struct world *w)
{
    (void)w; /* all is said in survive() and sweep() */
}

const struct scenario region_scenario = {
    .name = "region",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 3,
    .names = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .sweep = sweep,
    .applies = applies,
};

const struct scenario disk_region_scenario = {
    .name = "region-on-disk",
    .operations = disk_operations,
    .states = disk_states,
    .rooms = disk_rooms,
    .participants = 3,
    .one_in = 3,
    .names = true,
    .disk = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .sweep = sweep,
    .applies = applies,
};
