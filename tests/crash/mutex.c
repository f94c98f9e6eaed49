/* SPDX-License-Identifier: MIT */
/* mutex.c - mutexes and rwlocks under the rig: nobody has one that is dead, and whoever gets it
 * after an owner's death is told so, and by whom, until it is recovered or given up.
 *
 * place.c says where they lie. The log says what the subject has: HAS before the call that it is
 * in, WILL after it, and the same of the mark that a death has left and of giving up. Whatever lies
 * between may be found. MET: a survivor is at it, or has been, so that it may be the one that died,
 * or that recovered. */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTICIPANTS = 8 };

union lock {
    naru_mutex *m;
    naru_rwlock *w;
};

struct place {
    naru_region *region;
    union lock l;
};

/* w->log->own */
enum { HAS, WILL, DIRTY, DIRTY_WILL, LOST, LOST_WILL, DEAD, MET };
enum { NOTHING_, READS, SOLE };                 /* HAS, WILL */
enum { HELD = 1, RECOVERING = 2, ALL_DIE = 4 }; /* MET */

enum { LOCK, UNLOCK, OPEN, RECOVER, GIVE_UP, READ, UNREAD };
static const char *const mutex_operations[] = {"lock",    "unlock",  "open",
                                               "recover", "give-up", NULL};
static const char *const rwlock_operations[] = {"write",   "unwrite", "open",   "recover",
                                                "give-up", "read",    "unread", NULL};
enum { IDLE, OTHERS, STALE, FAIR, CONTENDED, INHERIT };
static const char *const mutex_states[] = {"idle",      "others",  "stale", "fair",
                                           "contended", "inherit", NULL};
static const char *const rwlock_states[] = {"idle", "others", "stale", "fair", "contended", NULL};
static const char *const mutex_rooms[] = {"/src/shm/lock.",
                                          "/src/lock/lock.",
                                          "/src/lock/mutex.",
                                          "/src/lock/inherit.",
                                          "/src/lock/recover.",
                                          "/src/api/mutex.",
                                          NULL};
static const char *const rwlock_rooms[] = {"/src/shm/lock.",    "/src/lock/lock.",
                                           "/src/lock/rwlock.", "/src/lock/recover.",
                                           "/src/api/rwlock.",  NULL};

static bool is_rwlock(const struct world *w)
{
    return w->scenario->states == rwlock_states;
}

static unsigned get(const struct world *w, int what)
{
    return atomic_load(&w->log->own[what]);
}

static void set(struct world *w, int what, unsigned value)
{
    atomic_store(&w->log->own[what], value);
}

/* ---- both alike ---- */

static union lock open_with(struct world *w, unsigned flags)
{
    const struct place *p = w->object;
    const char *url = p->region ? NULL : lock_url(w, p->l.m);
    union lock l;
    int r;
    struct naru_mutex_options m = {sizeof m, .flags = flags, .participants = PARTICIPANTS};
    struct naru_rwlock_options o = {sizeof o, .flags = flags, .participants = PARTICIPANTS};
    if (is_rwlock(w))
        r = url ? naru_rwlock_open(url, &o, &l.w) : naru_rwlock_at(p->region, LOCK_AT, &o, &l.w);
    else
        r = url ? naru_mutex_open(url, &m, &l.m) : naru_mutex_at(p->region, LOCK_AT, &m, &l.m);
    if (r < 0)
        failed(w, "it cannot be opened: %d, %s", r, naru_why());
    return l;
}

static int lock(const struct world *w, union lock l, int64_t timeout)
{
    return is_rwlock(w) ? naru_rwlock_write(l.w, timeout) : naru_mutex_lock(l.m, timeout);
}

static int unlock(const struct world *w, union lock l)
{
    return is_rwlock(w) ? naru_rwlock_unlock(l.w) : naru_mutex_unlock(l.m);
}

static int recover(const struct world *w, union lock l)
{
    return is_rwlock(w) ? naru_rwlock_recover(l.w) : naru_mutex_recover(l.m);
}

static void close_lock(const struct world *w, union lock l)
{
    if (is_rwlock(w))
        naru_rwlock_close(l.w);
    else
        naru_mutex_close(l.m);
}

static void enter(struct world *w)
{
    struct place *p = w->object;
    p->region = lock_region_again(w, p->region);
    p->l = open_with(w, NARU_EXISTING | NARU_SLEEP);
}

static void leave(struct world *w)
{
    struct place *p = w->object;
    close_lock(w, p->l);
    p->region = naru_region_close(p->region);
}

static void prepare(struct world *w)
{
    struct place *p = calloc(1, sizeof *p);
    unsigned flags = NARU_SLEEP | (w->state == FAIR ? NARU_FAIR : 0u) |
                     (w->state == INHERIT ? NARU_PRIO_INHERIT : 0u);
    w->object = p;
    p->region = lock_region(w, PARTICIPANTS);
    close_lock(w, open_with(w, flags));
    if (w->state != STALE)
        return;
    pid_t child = fork(); /* one that died holding it */
    if (child == 0) {
        enter(w);
        _exit(lock(w, p->l, NARU_NOWAIT) == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    if (status != 0)
        failed(w, "the one that dies could not begin");
    set(w, DIRTY, 1);
    set(w, DIRTY_WILL, 1);
    set(w, DEAD, (unsigned)child);
}

/* ---- the subject ---- */

static void take(struct world *w, union lock l, bool reads)
{
    unsigned what = reads ? READS : SOLE;
    set(w, WILL, what);
    int r = reads ? naru_rwlock_read(l.w, 20 * NARU_MS) : lock(w, l, 20 * NARU_MS);
    if (r == 0 && get(w, DIRTY) && !(get(w, MET) & RECOVERING))
        failed(w, "nobody has told the subject of the death");
    if (r == -EOWNERDEAD && !get(w, DIRTY) && !get(w, MET))
        failed(w, "the subject was told of a death that was none: %s", naru_why());
    if (r == 0 || r == -EOWNERDEAD)
        set(w, HAS, what);
    else
        set(w, WILL, NOTHING_);
}

static void give(struct world *w, union lock l)
{
    if (get(w, HAS) == NOTHING_)
        return;
    set(w, WILL, NOTHING_);
    int r = unlock(w, l);
    if (r < 0)
        failed(w, "unlock: %d, %s", r, naru_why());
    set(w, HAS, NOTHING_);
}

static void make_whole(struct world *w, union lock l)
{
    set(w, DIRTY_WILL, 0);
    int r = recover(w, l);
    if (r < 0 && r != -EINVAL)
        failed(w, "recover: %d, %s", r, naru_why());
    set(w, DIRTY, 0);
}

static void lose(struct world *w, union lock l)
{
    set(w, LOST_WILL, 1);
    set(w, WILL, NOTHING_);
    int r = is_rwlock(w) ? naru_rwlock_give_up(l.w) : naru_mutex_give_up(l.m);
    if (r == 0) {
        set(w, LOST, 1);
        set(w, HAS, NOTHING_);
    } else if (r == -EINVAL) { /* another one has recovered it before */
        set(w, LOST_WILL, 0);
        set(w, WILL, get(w, HAS));
    } else {
        failed(w, "give up: %d, %s", r, naru_why());
    }
}

static void operate(struct world *w)
{
    struct place *p = w->object;
    switch (w->operation) {
    case LOCK:
    case READ:
        take(w, p->l, w->operation == READ);
        give(w, p->l);
        take(w, p->l, w->operation == READ);
        break;
    case UNLOCK:
    case UNREAD:
        give(w, p->l);
        break;
    case OPEN: {
        union lock l = open_with(w, NARU_EXISTING | NARU_SLEEP);
        take(w, l, false);
        set(w, WILL, NOTHING_);
        close_lock(w, l);
        set(w, HAS, NOTHING_);
        break;
    }
    default: /* RECOVER, GIVE_UP */
        take(w, p->l, false);
        if (get(w, HAS) == SOLE && w->operation == RECOVER)
            make_whole(w, p->l);
        else if (get(w, HAS) == SOLE)
            lose(w, p->l);
        give(w, p->l);
        break;
    }
}

/* ---- the survivors ---- */

static bool holds_before(const struct world *w, int who)
{
    return who == 1 && w->state == OTHERS;
}

static void attach(struct world *w, int who)
{
    struct place *p = w->object;
    int r = 0;
    enter(w);
    if (who == 0 && w->operation == UNLOCK) {
        r = lock(w, p->l, NARU_S);
        set(w, HAS, SOLE);
        set(w, WILL, SOLE);
    } else if (who == 0 && w->operation == UNREAD) {
        r = naru_rwlock_read(p->l.w, NARU_S);
        set(w, HAS, READS);
        set(w, WILL, READS);
    } else if (holds_before(w, who)) {
        bool beside = w->operation == READ || w->operation == UNREAD; /* that, and not against */
        r = beside ? naru_rwlock_read(p->l.w, NARU_S) : lock(w, p->l, NARU_S);
        if (!beside)
            atomic_fetch_or(&w->log->own[MET], HELD);
    } else if (who == 2 && w->state == CONTENDED) { /* changes the word last */
        r = is_rwlock(w) ? naru_rwlock_read(p->l.w, NARU_MS) : lock(w, p->l, NARU_MS);
        if (r == 0)
            r = unlock(w, p->l);
        r = r == -ETIMEDOUT ? 0 : r;
    }
    if (r < 0 && r != -EOWNERDEAD)
        failed(w, "participant %d could not begin: %d, %s", who, r, naru_why());
}

static void check_pid(struct world *w, union lock l)
{
    pid_t pid = 0;
    int r = is_rwlock(w) ? naru_rwlock_dead(l.w, &pid) : naru_mutex_dead(l.m, &pid);
    bool subject = get(w, HAS) == SOLE || get(w, WILL) == SOLE;
    if (r != 1)
        failed(w, "nobody knows who died: %d", r);
    if (get(w, MET) || (subject && pid == w->control->seat[0].pid) ||
        (get(w, DEAD) && pid == (pid_t)get(w, DEAD)))
        return;
    failed(w, "process %d is said to have died", pid);
}

/* It can be had, and the death is told if, and only if, there was one. */
static void have_it(struct world *w, union lock l, bool dead)
{
    bool must =
        (get(w, HAS) == SOLE && get(w, WILL) == SOLE) || (get(w, DIRTY) && get(w, DIRTY_WILL));
    bool may = get(w, HAS) == SOLE || get(w, WILL) == SOLE || get(w, DIRTY) || get(w, DIRTY_WILL);
    unsigned met = atomic_fetch_or(&w->log->own[MET], HELD);
    int r = lock(w, l, 1900 * NARU_MS);
    if (r == -ENOTRECOVERABLE && (get(w, LOST_WILL) || get(w, LOST)))
        return;
    if (r != 0 && r != -EOWNERDEAD)
        failed(w, "it cannot be had: %d, %s", r, naru_why());
    if (get(w, LOST))
        failed(w, "it was given up, and can be had: %d", r);
    if (dead && r == 0 && must && !(get(w, MET) & RECOVERING))
        failed(w, "its owner died, and the next is not told");
    if (dead && r == -EOWNERDEAD && !may && !met)
        failed(w, "nobody died holding it, and the next is told: %s", naru_why());
    if (r == -EOWNERDEAD) {
        if (dead && !met)
            check_pid(w, l);
        atomic_fetch_or(&w->log->own[MET], RECOVERING);
        if (recover(w, l) < 0)
            failed(w, "recover: %s", naru_why());
    }
    if (unlock(w, l) < 0)
        failed(w, "unlock: %s", naru_why());
}

/* The subject sleeps: nobody gets what it has, and nobody takes it for dead. */
static void meanwhile(struct world *w, union lock l)
{
    unsigned has = get(w, HAS), will = get(w, WILL);
    bool told = get(w, DIRTY) || get(w, DIRTY_WILL);
    int r = lock(w, l, NARU_MS);
    if (r == -EOWNERDEAD && !told)
        failed(w, "a sleeper was taken for dead: %s", naru_why());
    if (r == 0 || r == -EOWNERDEAD) {
        if (has != NOTHING_ && has == will)
            failed(w, "a sleeper has it, and it could be had");
        if (unlock(w, l) < 0)
            failed(w, "unlock: %s", naru_why());
    }
    if (has == SOLE && will == SOLE && is_rwlock(w) && naru_rwlock_read(l.w, NARU_MS) == 0)
        failed(w, "a sleeper writes, and it could be read");
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct place *p = w->object;
    if (w->image) { /* nobody lives there: what others had is a dead one's as well */
        union lock l = open_with(w, NARU_EXISTING | NARU_SLEEP);
        have_it(w, l, true);
        close_lock(w, l);
        leave(w);
        return;
    }
    if (fate == PAUSED) {
        if (!holds_before(w, who))
            meanwhile(w, p->l);
        return;
    }
    if (holds_before(w, who) && unlock(w, p->l) < 0)
        failed(w, "unlock: %s", naru_why());
    if (who != 0) {
        have_it(w, p->l, fate == DIED && subject_dead(w));
        going_on(w, who);
    }
    leave(w);
}

static void check(struct world *w)
{
    (void)w; /* the survivors have looked */
}

static bool applies(int operation, int state)
{
    if (operation == RECOVER || operation == GIVE_UP)
        return state == STALE;
    if (operation == UNLOCK)
        return state != OTHERS && state != STALE;
    return operation != UNREAD || state != STALE;
}

const struct scenario mutex_scenario = {
    .name = "mutex",
    .operations = mutex_operations,
    .states = mutex_states,
    .rooms = mutex_rooms,
    .participants = 3,
    .media = lock_media,
    .no_delays = true, /* survivors wait for each other, too */
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .applies = applies,
};

const struct scenario rwlock_scenario = {
    .name = "rwlock",
    .operations = rwlock_operations,
    .states = rwlock_states,
    .rooms = rwlock_rooms,
    .participants = 3,
    .media = lock_media,
    .no_delays = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .applies = applies,
};
