/* SPDX-License-Identifier: MIT */
/* made.c - locks on disk under the rig, made by their first opener, and set back by the first one
 * after a restart of the machine, which dies at it. Whoever comes next has a whole one, that is as
 * it was made: free, though before the restart a process had it, and its memory is torn. */
#include "rig.h"

#include "os/file.h"
#include "shm/object.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE = 4, PARTICIPANTS = 8 };
enum { MAKE, RESTART };
static const char *const operations[] = {"make", "restart", NULL};
enum { SEMAPHORE, PLAIN, MUTEX, RWLOCK, EVENT, MANUAL, BARRIER };
static const char *const states[] = {"semaphore", "plain",        "mutex",   "rwlock",
                                     "event",     "manual-event", "barrier", NULL};
static const char *const rooms[] = {
    "/src/object/object.c", "/src/object/file.c",  "/src/lock/lock.c",    "/src/lock/semaphore.c",
    "/src/lock/mutex.c",    "/src/lock/rwlock.c",  "/src/lock/event.c",   "/src/lock/barrier.c",
    "/src/shm/lock.c",      "/src/lock/inherit.c", "/src/lock/recover.c", NULL};

/* log->own: the subject; waits for the automatic event that passed; a survivor has been at it */
enum { OPENING, OPENED, PASSED, MET };

union lock {
    void *any;
    naru_semaphore *s;
    naru_mutex *m;
    naru_rwlock *w;
    naru_event *e;
    naru_barrier *b;
};

struct place {
    naru_region *region;
};

static int open_lock(struct world *w, unsigned flags, union lock *l)
{
    naru_region *r = ((struct place *)w->object)->region;
    const char *url = r ? NULL : lock_url(w, NULL);
    struct naru_semaphore_options s = {
        sizeof s, w->state == PLAIN ? NARU_PLAIN : NARU_OWNED, VALUE, flags, 0, PARTICIPANTS};
    struct naru_mutex_options m = {sizeof m, flags, 0, PARTICIPANTS};
    struct naru_rwlock_options o = {sizeof o, flags, 0, PARTICIPANTS};
    struct naru_event_options e = {
        sizeof e, w->state == MANUAL ? NARU_MANUAL : NARU_AUTOMATIC, 1, flags, 0, PARTICIPANTS};
    struct naru_barrier_options b = {sizeof b, 1, flags, 0, PARTICIPANTS};
    switch (w->state) {
    case SEMAPHORE:
    case PLAIN:
        return r ? naru_semaphore_at(r, LOCK_AT, &s, &l->s) : naru_semaphore_open(url, &s, &l->s);
    case MUTEX:
        return r ? naru_mutex_at(r, LOCK_AT, &m, &l->m) : naru_mutex_open(url, &m, &l->m);
    case RWLOCK:
        return r ? naru_rwlock_at(r, LOCK_AT, &o, &l->w) : naru_rwlock_open(url, &o, &l->w);
    case EVENT:
    case MANUAL:
        return r ? naru_event_at(r, LOCK_AT, &e, &l->e) : naru_event_open(url, &e, &l->e);
    default:
        return r ? naru_barrier_at(r, LOCK_AT, &b, &l->b) : naru_barrier_open(url, &b, &l->b);
    }
}

static void close_lock(const struct world *w, union lock l)
{
    switch (w->state) {
    case SEMAPHORE:
    case PLAIN:
        naru_semaphore_close(l.s);
        break;
    case MUTEX:
        naru_mutex_close(l.m);
        break;
    case RWLOCK:
        naru_rwlock_close(l.w);
        break;
    case EVENT:
    case MANUAL:
        naru_event_close(l.e);
        break;
    default:
        naru_barrier_close(l.b);
        break;
    }
}

static int have(const struct world *w, union lock l, int64_t timeout)
{
    switch (w->state) {
    case SEMAPHORE:
        return naru_semaphore_acquire(l.s, VALUE, timeout);
    case PLAIN:
        return naru_semaphore_wait(l.s, 1, timeout);
    case MUTEX:
        return naru_mutex_lock(l.m, timeout);
    case RWLOCK:
        return naru_rwlock_write(l.w, timeout);
    case EVENT:
    case MANUAL:
        return naru_event_wait(l.e, timeout);
    default:
        return naru_barrier_wait(l.b, timeout);
    }
}

static int give_back(const struct world *w, union lock l)
{
    switch (w->state) {
    case SEMAPHORE:
        return naru_semaphore_release(l.s, VALUE);
    case PLAIN:
        return naru_semaphore_post(l.s, 1);
    case MUTEX:
        return naru_mutex_unlock(l.m);
    case RWLOCK:
        return naru_rwlock_unlock(l.w);
    default:
        return 0;
    }
}

/* One has it when the machine stops, and what is left of its pages is of different ages. */
static void restart(struct world *w)
{
    enum { TORN = NARU_OBJECT_MEMBERS_AT - NARU_OBJECT_STATE_AT + PARTICIPANTS * 128 };
    static unsigned char torn[TORN];
    uint64_t boot = 1, seed = 1;
    int64_t at;
    int status = 0, fd = lock_file(w, &at);
    pid_t child = fork();
    if (child == 0) {
        union lock l = {NULL};
        struct place *p = w->object;
        p->region = lock_region_again(w, p->region);
        _exit(open_lock(w, NARU_SLEEP, &l) == 0 && have(w, l, NARU_NOWAIT) >= 0 ? 0 : 1);
    }
    waitpid(child, &status, 0);
    for (int i = 0; i < TORN; i++)
        torn[i] = (unsigned char)pseudo_random(&seed);
    fd = fd < 0 ? lock_file(w, &at) : fd;
    if (status != 0 || pwrite(fd, torn, TORN, at + NARU_OBJECT_STATE_AT) != TORN ||
        pwrite(fd, &boot, sizeof boot, at + (int64_t)offsetof(struct naru_object_meta, boot)) < 0)
        failed(w, "no restart: %d, %s", status, strerror(errno));
    close(fd);
}

static void prepare(struct world *w)
{
    struct place *p = calloc(1, sizeof *p);
    w->object = p;
    p->region = lock_region(w, PARTICIPANTS);
    if (w->operation == RESTART)
        restart(w);
}

static void attach(struct world *w, int who)
{
    struct place *p = w->object;
    (void)who;
    p->region = lock_region_again(w, p->region);
}

static void operate(struct world *w)
{
    union lock l = {NULL};
    atomic_store(&w->log->own[OPENING], 1);
    if (open_lock(w, NARU_SLEEP, &l) < 0)
        failed(w, "the subject could not open it: %s", naru_why());
    atomic_store(&w->log->own[OPENED], 1);
    close_lock(w, l);
}

/* What a sleeper is at is not waited for here: whoever opens it waits for 2 s, and is told so. */
static bool at_work(const struct world *w)
{
    int64_t at;
    int fd = lock_file(w, &at);
    bool held = fd >= 0 && naru__os_lock_held(fd, (int64_t)NARU_OBJECT_REGION_LIFE_AT + at +
                                                      NARU_OBJECT_REGION_LOCK) != 0;
    if (fd >= 0)
        close(fd);
    return held;
}

/* Another survivor has taken the set of an event, and says so in a moment. */
static bool has_passed(const struct world *w)
{
    for (int64_t end = clock_now() + NARU_S; clock_now() < end; usleep(1000))
        if (atomic_load(&w->log->own[PASSED]) != 0)
            return true;
    return false;
}

/* met: another survivor is at it, or died at it. */
static void is_free(struct world *w, union lock l, bool met)
{
    unsigned value = VALUE;
    bool joined = atomic_load(&w->log->own[OPENING]);
    int64_t timeout = w->state == EVENT || w->state == MANUAL ? NARU_NOWAIT : 1900 * NARU_MS;
    if (w->state == PLAIN && !met && (naru_semaphore_value(l.s, &value) < 0 || value != VALUE))
        failed(w, "it was made with %d, and has %u", VALUE, value);
    int r = have(w, l, timeout);
    if (w->state == BARRIER && r == -EOWNERDEAD && (joined || met)) /* it was a party */
        r = naru_barrier_reset(l.b);
    if (w->state == EVENT && r == -EAGAIN && (met || has_passed(w)))
        return;
    if (r == -EOWNERDEAD && met && (w->state == MUTEX || w->state == RWLOCK))
        r = w->state == MUTEX ? naru_mutex_recover(l.m) : naru_rwlock_recover(l.w);
    if (r < 0)
        failed(w, "it is not free: %d, %s", r, naru_why());
    if (w->state == EVENT && atomic_fetch_add(&w->log->own[PASSED], 1) != 0)
        failed(w, "it was set once, and two have passed");
    if (give_back(w, l) < 0)
        failed(w, "it cannot be given back: %s", naru_why());
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct place *p = w->object;
    union lock l = {NULL};
    bool there = w->operation == RESTART || atomic_load(&w->log->own[OPENED]);
    if (fate == PAUSED && at_work(w))
        return;
    if (who != 0) {
        int r = open_lock(w, NARU_SLEEP | (there ? NARU_EXISTING : 0u), &l);
        if (r < 0)
            failed(w, "it cannot be opened: %d, %s", r, naru_why());
        is_free(w, l, atomic_fetch_or(&w->log->own[MET], 1));
        close_lock(w, l);
        going_on(w, who);
    }
    if (fate != PAUSED)
        p->region = naru_region_close(p->region);
}

static void check(struct world *w)
{
    (void)w; /* survive() has seen it */
}

static void sweep(struct world *w)
{
    (void)w;
    lock_remove();
}

const struct scenario made_scenario = {
    .name = "lock-on-disk",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 3,
    .names = true,
    .disk = true,
    .no_delays = true, /* survivors wait for each other, too */
    .media = &lock_media[1],
    .one_in = 2,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .sweep = sweep,
};
