/* SPDX-License-Identifier: MIT */
/* tour-lock.c - the tour's scenes on semaphores: a parent and its child add to one counter, first
 * without a lock, then with it; and what becomes of a permit whose owner is killed. */
#include "tool/tour.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 1000000, SYSTEM_CALLS = 50000 }; /* fewer where each is two system calls */

/* In a region that both have before them. */
struct shared {
    _Atomic uint32_t there[3], finished[3];
    volatile uint64_t counter[2]; /* without a lock, with it */
};

struct lock {
    naru_semaphore *s;
    bool owned;
    int rounds;
};

static bool open_lock(struct part *p, struct lock *l)
{
    l->owned = strncmp(p->url, "posix-sem:", 10) != 0; /* which has plain ones alone */
    l->rounds = strncmp(p->url, "sysv-sem:", 9) == 0 ? SYSTEM_CALLS : ROUNDS;
    struct naru_semaphore_options o = {
        .size = sizeof o, .kind = l->owned ? NARU_OWNED : NARU_PLAIN, .value = 1};
    return part_naru(p, "opening", naru_semaphore_open(p->url, &o, &l->s));
}

static int enter(struct lock *l)
{
    return l->owned ? naru_semaphore_acquire(l->s, 1, TOUR_TIMEOUT)
                    : naru_semaphore_wait(l->s, 1, TOUR_TIMEOUT);
}

static int leave(struct lock *l)
{
    return l->owned ? naru_semaphore_release(l->s, 1) : naru_semaphore_post(l->s, 1);
}

static bool both(struct part *p, _Atomic uint32_t *count)
{
    int64_t deadline = now_ns() + TOUR_TIMEOUT;
    atomic_fetch_add(count, 1);
    while (atomic_load(count) < 2)
        if (now_ns() > deadline)
            return part_failed(p, "the other process did not come");
    return true;
}

/* The time of one addition, in ns. */
static bool add(struct part *p, struct shared *m, int with, struct lock *l, double *ret_ns)
{
    int rounds = with ? l->rounds : ROUNDS;
    if (!both(p, &m->there[with]))
        return false;
    int64_t start = now_ns();
    for (int i = 0; i < rounds; i++) {
        if (with && !part_naru(p, "acquiring", enter(l)))
            return false;
        m->counter[with] = m->counter[with] + 1;
        if (with && !part_naru(p, "releasing", leave(l)))
            return false;
    }
    *ret_ns = (double)(now_ns() - start) / rounds;
    return both(p, &m->finished[with]);
}

static void count(struct part *p, struct shared *m)
{
    struct lock l = {0};
    double without = 0, with = 0;
    if (open_lock(p, &l) && add(p, m, 0, &l, &without) && add(p, m, 1, &l, &with) &&
        p->index == 0) {
        uint64_t all = 2 * (uint64_t)l.rounds, lost = 2 * ROUNDS - m->counter[0];
        snprintf(p->report.saw, sizeof p->report.saw,
                 "without a lock %" PRIu64
                 " of %d additions were lost (%.1f ns each); with it %" PRIu64 " of %" PRIu64
                 " (%.1f ns each)",
                 lost, 2 * ROUNDS, without, all - m->counter[1], all, with);
        p->report.ok = m->counter[1] == all;
    }
    naru_semaphore_close(l.s);
}

static void child_counts(struct part *p, void *region)
{
    if (part_naru(p, "adopting", naru_adopt(region)))
        count(p, naru_region_data(region));
    naru_region_close(region);
}

static void counts(struct part *p)
{
    naru_region *r;
    if (!part_naru(p, "creating", naru_region_create(NULL, sizeof(struct shared), NULL, &r)))
        return;
    if (part_fork(p, 1, child_counts, r) > 0)
        count(p, naru_region_data(r));
    naru_region_close(r);
}

/* ---- the owner is killed ---- */

static void dying_owner(struct part *p)
{
    struct lock l;
    if (open_lock(p, &l) && part_naru(p, "acquiring", enter(&l))) {
        part_say(p, REPORT_READY);
        part_wait_for_death(p);
    }
}

/* Comes before the death. A permit of nobody's is lost with whoever took it. */
static void next_owner(struct part *p)
{
    enum { PATIENCE_MS = 700 };
    struct lock l;
    if (!open_lock(p, &l))
        return;
    int64_t start = now_ns();
    int r = l.owned ? naru_semaphore_acquire(l.s, 1, TOUR_TIMEOUT)
                    : naru_semaphore_wait(l.s, 1, PATIENCE_MS * NARU_MS);
    int64_t ms = (now_ns() - start) / NARU_MS;
    if (l.owned && part_naru(p, "acquiring", r))
        snprintf(p->report.saw, sizeof p->report.saw,
                 "the dead one's permit came back by itself, after %" PRId64 " ms of waiting", ms);
    else if (!l.owned && r == 0)
        part_failed(p, "a plain permit came back");
    else if (!l.owned)
        snprintf(
            p->report.saw, sizeof p->report.saw,
            "a plain permit is nobody's: it is lost, and the next waits for ever (here %" PRId64
            " ms)",
            ms);
    naru_semaphore_close(l.s);
}

/* ---- tables ---- */

const struct role lock_roles[] = {
    {"lock-counts", counts},
    {"lock-dying-owner", dying_owner},
    {"lock-next-owner", next_owner},
    {0},
};

static bool start_counts(struct stage *stage)
{
    return stage_exec(stage, 0, "lock-counts", NULL);
}

static bool start_owner(struct stage *stage)
{
    return stage_exec(stage, 0, "lock-dying-owner", NULL);
}

static bool next_owner_comes(struct stage *stage, int ready, int ended)
{
    return ready != 1 || ended != 0 || stage_exec(stage, 1, "lock-next-owner", NULL);
}

#define LOCK(url)                                                                                  \
    {url, NARU_NOUN_LOCK, "count", "-", "parent-child", "one counter, without and with it", 2,     \
     -1,  start_counts,   NULL},                                                                   \
    {                                                                                              \
        url, NARU_NOUN_LOCK, "count", "-", "unrelated", "owner killed", 2, 0, start_owner,         \
            next_owner_comes                                                                       \
    }

const struct scene lock_scenes[] = {
    LOCK("shm:%s-lock"),
    LOCK("posix-sem:/%s-lock"),
    LOCK("sysv-sem:%s#3"),
    {0},
};
