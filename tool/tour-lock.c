/* SPDX-License-Identifier: MIT */
/* tour-lock.c - the tour's scenes on locks: a parent and its child add to one counter, first
 * without a lock, then with each; and what becomes of a lock whose owner is killed. */
#include "tool/tour.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 1000000, SYSTEM_CALLS = 50000 }; /* fewer where each is two system calls */

/* In a region that both have before them. */
struct shared {
    _Atomic uint32_t there, finished;
    volatile uint64_t counter;
};

struct lock {
    naru_semaphore *s; /* one of these, or none */
    naru_mutex *m;
    naru_rwlock *w;
    naru_event *e;
    bool owned; /* a semaphore's permits */
    int rounds;
};

static bool is(const struct part *p, const char *what)
{
    return strcmp(p->detail, what) == 0;
}

static int open_semaphore(struct part *p, struct lock *l)
{
    l->owned = strncmp(p->url, "posix-sem:", 10) != 0; /* which has plain ones alone */
    l->rounds = strncmp(p->url, "sysv-sem:", 9) == 0 ? SYSTEM_CALLS : ROUNDS;
    struct naru_semaphore_options o = {
        .size = sizeof o, .kind = l->owned ? NARU_OWNED : NARU_PLAIN, .value = 1};
    return naru_semaphore_open(p->url, &o, &l->s);
}

static bool open_lock(struct part *p, struct lock *l)
{
    const struct naru_event_options event = {
        .size = sizeof event, .kind = NARU_AUTOMATIC, .set = 1};
    *l = (struct lock){.rounds = ROUNDS};
    return part_naru(p, "opening",
                     is(p, "none")     ? 0
                     : is(p, "mutex")  ? naru_mutex_open(p->url, NULL, &l->m)
                     : is(p, "rwlock") ? naru_rwlock_open(p->url, NULL, &l->w)
                     : is(p, "event")  ? naru_event_open(p->url, &event, &l->e)
                                       : open_semaphore(p, l));
}

static void close_lock(struct lock *l)
{
    naru_semaphore_close(l->s);
    naru_mutex_close(l->m);
    naru_rwlock_close(l->w);
    naru_event_close(l->e);
}

static int enter(struct lock *l, int64_t timeout)
{
    return l->m       ? naru_mutex_lock(l->m, timeout)
           : l->w     ? naru_rwlock_write(l->w, timeout)
           : l->e     ? naru_event_wait(l->e, timeout)
           : !l->s    ? 0
           : l->owned ? naru_semaphore_acquire(l->s, 1, timeout)
                      : naru_semaphore_wait(l->s, 1, timeout);
}

static int leave(struct lock *l)
{
    return l->m       ? naru_mutex_unlock(l->m)
           : l->w     ? naru_rwlock_unlock(l->w)
           : l->e     ? naru_event_set(l->e)
           : !l->s    ? 0
           : l->owned ? naru_semaphore_release(l->s, 1)
                      : naru_semaphore_post(l->s, 1);
}

static bool both(struct part *p, _Atomic uint32_t *count, uint32_t times)
{
    int64_t deadline = now_ns() + TOUR_TIMEOUT;
    atomic_fetch_add(count, 1);
    while (atomic_load(count) < 2 * times)
        if (now_ns() > deadline)
            return part_failed(p, "the other process did not come");
    return true;
}

/* In pieces, before each of which the two meet, so that both are awake. ret_ns: the time between.
 */
static bool add(struct part *p, struct shared *m, struct lock *l, uint32_t *met, int64_t *ret_ns)
{
    enum { PIECES = 50 };
    for (int piece = 0; piece < PIECES; piece++) {
        if (!both(p, &m->there, ++*met))
            return false;
        int64_t start = now_ns();
        for (int i = 0; i < l->rounds / PIECES; i++) {
            if (!part_naru(p, "acquiring", enter(l, TOUR_TIMEOUT)))
                return false;
            m->counter = m->counter + 1;
            if (!part_naru(p, "releasing", leave(l)))
                return false;
        }
        *ret_ns += now_ns() - start;
    }
    return true;
}

/* To a processor of its own, if there is one: where both share one, they never meet. */
static void part_ways(int index)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) < 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && index-- == 0) {
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one); /* refused: as it was */
            return;
        }
    }
}

/* Without a lock, on a busy machine, the two may not have met: then again, until they have. */
static void count(struct part *p, struct shared *m)
{
    enum { TIMES = 20 };
    struct lock l = {0};
    uint32_t met = 0;
    uint64_t added = 0, lost = 0;
    int64_t ns = 0;
    bool ok = open_lock(p, &l);
    if (is(p, "none"))
        part_ways(p->index);
    for (uint32_t i = 1; ok && i <= (is(p, "none") ? TIMES : 1) && lost == 0; i++) {
        ok = add(p, m, &l, &met, &ns) && both(p, &m->finished, i);
        added += 2 * (uint64_t)l.rounds;
        lost = added - m->counter;
    }
    if (ok && p->index == 0) {
        p->report.added = added;
        p->report.lost = lost;
        p->report.cost_ps = ns * 2000 / (int64_t)added;
        if (is(p, "none"))
            snprintf(p->report.saw, sizeof p->report.saw,
                     "%" PRIu64 " of %" PRIu64 " additions were lost: %.1f %%", lost, added,
                     (double)lost * 100 / (double)added);
        else if (lost)
            part_failed(p, "%" PRIu64 " of %" PRIu64 " additions were lost under the lock", lost,
                        added);
    }
    close_lock(&l);
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

/* Until somebody waits for it, or for a moment where nobody tells. */
static void await_waiter(const struct part *p)
{
    enum { LOOKS = 100, LOOKS_WITHOUT = 15 };
    bool told = false, waits = false;
    for (int i = 0; i < (told ? LOOKS : LOOKS_WITHOUT) && !waits; i++) {
        naru_snapshot *s = NULL;
        const struct naru_view *v;
        usleep(20000);
        if (naru_snapshot_take(p->url, &s) < 0)
            continue;
        v = naru_snapshot_view(s, 0);
        for (size_t k = 0; v && k < v->n_facts; k++)
            if (strcmp(v->facts[k].name, "waiters") == 0 && !v->facts[k].text) {
                told = true;
                waits = v->facts[k].number > 0;
            }
        naru_snapshot_free(s);
    }
}

static void dying_owner(struct part *p)
{
    struct lock l;
    if (open_lock(p, &l) && part_naru(p, "acquiring", enter(&l, TOUR_TIMEOUT))) {
        part_say(p, REPORT_READY);
        await_waiter(p);
        part_wait_for_death(p);
    }
}

/* Whom the next owner of a mutex or a rwlock is told of. */
static void told(struct part *p, struct lock *l, int64_t ms)
{
    pid_t dead = 0;
    int r = l->m ? naru_mutex_dead(l->m, &dead) : naru_rwlock_dead(l->w, &dead);
    if (part_naru(p, "asking who died", r) &&
        part_naru(p, "recovering", l->m ? naru_mutex_recover(l->m) : naru_rwlock_recover(l->w)) &&
        part_naru(p, "releasing", leave(l)) &&
        part_naru(p, "acquiring again", enter(l, TOUR_TIMEOUT)))
        snprintf(p->report.saw, sizeof p->report.saw,
                 "the next owner has it after %" PRId64
                 " ms of waiting, is told that process %d died with it, and recovers it",
                 ms, (int)dead);
}

/* Comes before the death. What is nobody's is lost with whoever took it. */
static void next_owner(struct part *p)
{
    enum { PATIENCE_MS = 700 };
    struct lock l;
    if (!open_lock(p, &l))
        return;
    bool comes_back = !l.s || l.owned;
    if (enter(&l, NARU_NOWAIT) != -EAGAIN) {
        part_failed(p, "it was free while its owner lived");
        return;
    }
    int64_t start = now_ns();
    int r = enter(&l, comes_back ? TOUR_TIMEOUT : PATIENCE_MS * NARU_MS);
    int64_t ms = (now_ns() - start) / NARU_MS;
    if ((l.m || l.w) && r != -EOWNERDEAD)
        part_failed(p, "nobody was told of the death: %d", r);
    else if (l.m || l.w)
        told(p, &l, ms);
    else if (comes_back && part_naru(p, "acquiring", r))
        snprintf(p->report.saw, sizeof p->report.saw,
                 "the dead one's permit came back by itself, after %" PRId64 " ms of waiting", ms);
    else if (!comes_back && r == 0)
        part_failed(p, "a plain permit came back");
    else if (!comes_back)
        snprintf(p->report.saw, sizeof p->report.saw,
                 "a sem_t's permit is nobody's: it is lost, and the next waits for ever (here "
                 "%" PRId64 " ms)",
                 ms);
    close_lock(&l);
}

/* ---- a party to a barrier is killed ---- */

static naru_barrier *open_barrier(struct part *p)
{
    const struct naru_barrier_options o = {.size = sizeof o, .parties = 2};
    naru_barrier *b = NULL;
    return part_naru(p, "opening", naru_barrier_open(p->url, &o, &b)) ? b : NULL;
}

static void dying_party(struct part *p)
{
    if (open_barrier(p)) {
        part_say(p, REPORT_READY);
        await_waiter(p);
        part_wait_for_death(p);
    }
}

static void waiting_party(struct part *p)
{
    naru_barrier *b = open_barrier(p);
    pid_t dead = 0;
    if (!b)
        return;
    int64_t start = now_ns();
    int r = naru_barrier_wait(b, TOUR_TIMEOUT);
    int64_t ms = (now_ns() - start) / NARU_MS;
    if (r != -EOWNERDEAD)
        part_failed(p, "nobody was told of the death: %d", r);
    else if (part_naru(p, "asking who died", naru_barrier_dead(b, &dead)))
        snprintf(p->report.saw, sizeof p->report.saw,
                 "who waits is told, after %" PRId64 " ms, that process %d died: it does not come",
                 ms, (int)dead);
    naru_barrier_close(b);
}

/* ---- tables ---- */

const struct role lock_roles[] = {
    {"lock-counts", counts},
    {"lock-dying-owner", dying_owner},
    {"lock-next-owner", next_owner},
    {"lock-dying-party", dying_party},
    {"lock-waiting-party", waiting_party},
    {0},
};

#define STARTS(what)                                                                               \
    static bool count_##what(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, "lock-counts", #what);                                         \
    }                                                                                              \
    static bool own_##what(struct stage *stage)                                                    \
    {                                                                                              \
        return stage_exec(stage, 0, "lock-dying-owner", #what);                                    \
    }                                                                                              \
    static bool follow_##what(struct stage *stage, int ready, int ended)                           \
    {                                                                                              \
        return ready != 1 || ended != 0 || stage_exec(stage, 1, "lock-next-owner", #what);         \
    }

STARTS(semaphore)
STARTS(mutex)
STARTS(rwlock)

static bool count_none(struct stage *stage)
{
    return stage_exec(stage, 0, "lock-counts", "none");
}

static bool count_event(struct stage *stage)
{
    return stage_exec(stage, 0, "lock-counts", "event");
}

static bool start_party(struct stage *stage)
{
    return stage_exec(stage, 0, "lock-dying-party", NULL);
}

static bool party_comes(struct stage *stage, int ready, int ended)
{
    return ready != 1 || ended != 0 || stage_exec(stage, 1, "lock-waiting-party", NULL);
}

#define LOCK(url, what)                                                                            \
    {url, NARU_NOUN_LOCK, "count", "-", "parent-child", "one counter, " #what, 2,                  \
     -1,  count_##what,   NULL},                                                                   \
    {                                                                                              \
        url, NARU_NOUN_LOCK, "count", "-", "unrelated", #what ", owner killed", 2, 0, own_##what,  \
            follow_##what                                                                          \
    }

const struct scene lock_scenes[] = {
    {"shm:%s-lock", NARU_NOUN_LOCK, "count", "-", "parent-child", "one counter, no lock", 2, -1,
     count_none, NULL},
    LOCK("shm:%s-lock", semaphore),
    LOCK("shm:%s-lock", mutex),
    LOCK("shm:%s-lock", rwlock),
    {"shm:%s-lock", NARU_NOUN_LOCK, "count", "-", "parent-child", "one counter, event", 2, -1,
     count_event, NULL},
    {"shm:%s-lock", NARU_NOUN_LOCK, "count", "-", "unrelated", "barrier, party killed", 2, 0,
     start_party, party_comes},
    LOCK("posix-sem:/%s-lock", semaphore),
    LOCK("sysv-sem:%s#3", semaphore),
    {0},
};
