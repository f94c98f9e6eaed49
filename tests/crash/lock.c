/* SPDX-License-Identifier: MIT */
/* lock.c - semaphores under the rig: no permit is lost or invented, and none stays with the dead.
 *
 * place.c says where they lie. The log says how many permits the subject
 * has at least (own[0]), and how many it may just now be taking or giving (own[1]); of a plain
 * semaphore, how many were posted at least and at most (own[2], own[3]) and taken likewise. */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE = 4, PARTICIPANTS = 8 };

struct place {
    naru_region *region;
    naru_semaphore *s;
};

static const struct naru_semaphore_options *options_of(bool plain, bool fair)
{
    static struct naru_semaphore_options o;
    o = (struct naru_semaphore_options){.size = sizeof o,
                                        .kind = plain ? NARU_PLAIN : NARU_OWNED,
                                        .value = VALUE,
                                        .flags = (fair ? NARU_FAIR : 0u) | NARU_SLEEP,
                                        .participants = PARTICIPANTS};
    return &o;
}

static naru_semaphore *open_with(struct world *w, const struct naru_semaphore_options *o)
{
    const struct place *p = w->object;
    naru_semaphore *s;
    int r = p->region ? naru_semaphore_at(p->region, LOCK_AT, o, &s)
                      : naru_semaphore_open(lock_url(w, p->s), o, &s);
    if (r < 0)
        failed(w, "the semaphore cannot be opened: %d, %s", r, naru_why());
    return s;
}

static naru_semaphore *open_it(struct world *w)
{
    return open_with(w,
                     &(struct naru_semaphore_options){.size = sizeof(struct naru_semaphore_options),
                                                      .flags = NARU_EXISTING | NARU_SLEEP});
}

static struct place *make(struct world *w, bool plain, bool fair)
{
    struct place *p = calloc(1, sizeof *p);
    w->object = p;
    p->region = lock_region(w, PARTICIPANTS);
    naru_semaphore_close(open_with(w, options_of(plain, fair)));
    return p;
}

static void enter(struct world *w)
{
    struct place *p = w->object;
    p->region = lock_region_again(w, p->region);
    p->s = open_it(w);
}

static void leave(struct world *w)
{
    struct place *p = w->object;
    p->s = naru_semaphore_close(p->s);
    p->region = naru_region_close(p->region);
}

static unsigned value_of(struct world *w, naru_semaphore *s)
{
    unsigned value = 0;
    if (naru_semaphore_value(s, &value) < 0)
        failed(w, "no value: %s", naru_why());
    return value;
}

/* ---- owned ---- */

enum { ACQUIRE, RELEASE, OPEN, RECOVER };
static const char *const operations[] = {"acquire", "release", "open", "recover", NULL};
enum { IDLE, OTHERS, STALE, FAIR, CONTENDED };
static const char *const states[] = {"idle", "others", "stale", "fair", "contended", NULL};
static const char *const rooms[] = {"/src/shm/lock.", "/src/lock/lock.", "/src/api/lock.", NULL};

static void prepare(struct world *w)
{
    struct place *p = make(w, false, w->state == FAIR);
    if (w->state != STALE)
        return;
    pid_t child = fork(); /* one that died with two */
    if (child == 0) {
        enter(w);
        _exit(naru_semaphore_acquire(p->s, 2, NARU_NOWAIT) == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    if (status != 0)
        failed(w, "the one that dies could not begin");
}

static void attach(struct world *w, int who)
{
    struct place *p = w->object;
    enter(w);
    unsigned n = who == 0 ? (w->operation == RELEASE ? 2 : 0)
                          : who == 1 && (w->state == OTHERS || w->state == CONTENDED);
    if (n && naru_semaphore_acquire(p->s, n, NARU_S) < 0)
        failed(w, "%u to begin with: %s", n, naru_why());
    if (who == 0)
        atomic_store(&w->log->own[0], n);
    /* a stranger changes the word last, in one state after the subject, in another before */
    if (who == 2 && w->state == CONTENDED && naru_semaphore_acquire(p->s, 1, NARU_S) == 0)
        naru_semaphore_release(p->s, 1);
}

static void take(struct world *w, naru_semaphore *s, unsigned n)
{
    atomic_fetch_add(&w->log->own[1], n);
    if (naru_semaphore_acquire(s, n, 20 * NARU_MS) == 0)
        atomic_fetch_add(&w->log->own[0], n);
    atomic_fetch_sub(&w->log->own[1], n);
}

static void give(struct world *w, naru_semaphore *s, unsigned n)
{
    if (atomic_load(&w->log->own[0]) < n)
        return;
    atomic_fetch_add(&w->log->own[1], n);
    atomic_fetch_sub(&w->log->own[0], n);
    int r = naru_semaphore_release(s, n);
    if (r < 0 && r != -EPERM)
        failed(w, "release: %d, %s", r, naru_why());
    atomic_fetch_sub(&w->log->own[1], n);
}

static void operate(struct world *w)
{
    struct place *p = w->object;
    switch (w->operation) {
    case ACQUIRE:
        take(w, p->s, 1);
        take(w, p->s, 2);
        give(w, p->s, 2);
        break;
    case RELEASE:
        give(w, p->s, 1);
        give(w, p->s, 1);
        break;
    case OPEN: {
        naru_semaphore *s = open_it(w);
        take(w, s, 1);
        atomic_store(&w->log->own[0], 0);
        naru_semaphore_close(s);
        break;
    }
    case RECOVER: /* whoever finds too few looks for the dead */
        take(w, p->s, w->state == OTHERS || w->state == CONTENDED ? VALUE - 1 : VALUE);
        break;
    default:
        break;
    }
}

/* Everything there is must be there. */
static void all_of_it(struct world *w, naru_semaphore *s)
{
    int r = naru_semaphore_acquire(s, VALUE, 1900 * NARU_MS);
    if (r < 0)
        failed(w, "permits are lost: %d, %s", r, naru_why());
    if (value_of(w, s) != 0)
        failed(w, "%u permits too many", value_of(w, s));
    if (naru_semaphore_release(s, VALUE) < 0)
        failed(w, "all cannot be released: %s", naru_why());
}

/* While the subject sleeps nobody gets what it has. */
static void meanwhile(struct world *w, naru_semaphore *s)
{
    unsigned n = 0, had = (unsigned)naru_semaphore_owned(s);
    unsigned others = atomic_load(&w->log->own[0]);
    while (n <= VALUE && naru_semaphore_acquire(s, 1, NARU_MS) == 0)
        n++;
    if (n + had + others > VALUE)
        failed(w, "%u are owned by a sleeper, and %u were there besides", others, n + had);
    if (n && naru_semaphore_release(s, n) < 0)
        failed(w, "what was taken meanwhile cannot be released: %s", naru_why());
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct place *p = w->object;
    if (w->image) {
        naru_semaphore *s = open_it(w);
        all_of_it(w, s);
        naru_semaphore_close(s);
        leave(w);
        return;
    }
    if (fate == PAUSED) {
        meanwhile(w, p->s);
        return;
    }
    int owned = naru_semaphore_owned(p->s);
    if (owned > 0 && naru_semaphore_release(p->s, (unsigned)owned) < 0)
        failed(w, "release: %s", naru_why());
    if (who != 0) {
        all_of_it(w, p->s);
        going_on(w, who);
    }
    leave(w);
}

static void check(struct world *w)
{
    (void)w; /* survive() has found everything there */
}

static bool applies(int operation, int state)
{
    return operation != RECOVER || state != FAIR;
}

const struct scenario semaphore_scenario = {
    .name = "semaphore",
    .operations = operations,
    .states = states,
    .rooms = rooms,
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

/* ---- plain ---- */

enum { POST, WAIT };
static const char *const plain_operations[] = {"post", "wait", NULL};
enum { FULL, EMPTY, PLAIN_FAIR, PLAIN_OTHERS };
static const char *const plain_states[] = {"full", "empty", "fair", "others", NULL};

static void plain_prepare(struct world *w)
{
    make(w, true, w->state == PLAIN_FAIR);
    atomic_store(&w->log->own[2], VALUE);
    atomic_store(&w->log->own[3], VALUE);
}

static void plain_attach(struct world *w, int who)
{
    struct place *p = w->object;
    enter(w);
    for (int i = 0; who == 1 && w->state == EMPTY && i < VALUE; i++) {
        if (naru_semaphore_wait(p->s, 1, NARU_S) < 0)
            failed(w, "wait: %s", naru_why());
        atomic_fetch_sub(&w->log->own[2], 1);
        atomic_fetch_sub(&w->log->own[3], 1);
    }
    if (who == 2 && w->state == PLAIN_OTHERS && naru_semaphore_post(p->s, 1) == 0) {
        atomic_fetch_add(&w->log->own[2], 1);
        atomic_fetch_add(&w->log->own[3], 1);
    }
}

static void plain_operate(struct world *w)
{
    struct place *p = w->object;
    for (int i = 0; i < 2; i++) {
        if (w->operation == POST) {
            atomic_fetch_add(&w->log->own[3], 1);
            if (naru_semaphore_post(p->s, 1) < 0)
                failed(w, "post: %s", naru_why());
            atomic_fetch_add(&w->log->own[2], 1);
        } else {
            atomic_fetch_sub(&w->log->own[2], 1);
            if (naru_semaphore_wait(p->s, 1, 5 * NARU_MS) == 0)
                atomic_fetch_sub(&w->log->own[3], 1);
            else
                atomic_fetch_add(&w->log->own[2], 1);
        }
    }
}

static void plain_survive(struct world *w, int who, enum fate fate)
{
    struct place *p = w->object;
    naru_semaphore *s = w->image ? open_it(w) : p->s;
    if (who == 1) {
        int least = (int)atomic_load(&w->log->own[2]), most = (int)atomic_load(&w->log->own[3]);
        int value = (int)value_of(w, s);
        if (!subject_dead(w) && fate == DIED) /* it is at it just now */
            value = value < least ? least : value;
        else if (value < least || value > most)
            failed(w, "%d are there, and it must be %d to %d", value, least, most);
        if (least > 0 && fate != PAUSED && naru_semaphore_wait(s, 1, 1900 * NARU_MS) < 0)
            failed(w, "none can be had: %s", naru_why());
        else if (least > 0 && fate != PAUSED)
            (void)naru_semaphore_post(s, 1);
        going_on(w, who);
    }
    if (w->image)
        naru_semaphore_close(s);
    if (fate != PAUSED)
        leave(w);
}

const struct scenario plain_semaphore_scenario = {
    .name = "plain-semaphore",
    .operations = plain_operations,
    .states = plain_states,
    .rooms = rooms,
    .participants = 3,
    .media = lock_media,
    .no_delays = true,
    .prepare = plain_prepare,
    .attach = plain_attach,
    .operate = plain_operate,
    .survive = plain_survive,
    .check = check,
};
