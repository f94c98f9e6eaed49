/* SPDX-License-Identifier: MIT */
/* event.c - events under the rig: no set is lost or invented, and nobody waits for one that was.
 *
 * place.c says where they lie. The log counts sets at least
 * and at most (own[0], own[1]), and waits that passed at least and at most (own[2], own[3]).
 * own[4]: survivor 1 has counted. */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTICIPANTS = 8 };

extern const struct scenario manual_event_scenario;

struct place {
    naru_region *region;
    naru_event *e;
};

static bool is_manual(const struct world *w)
{
    return w->scenario == &manual_event_scenario;
}

static naru_event *open_with(struct world *w, const struct naru_event_options *o)
{
    const struct place *p = w->object;
    naru_event *e;
    int r = p->region ? naru_event_at(p->region, LOCK_AT, o, &e)
                      : naru_event_open(lock_url(w, p->e), o, &e);
    if (r < 0)
        failed(w, "the event cannot be opened: %d, %s", r, naru_why());
    return e;
}

static naru_event *open_it(struct world *w)
{
    struct naru_event_options o = {sizeof o, .flags = NARU_EXISTING | NARU_SLEEP};
    return open_with(w, &o);
}

static void enter(struct world *w)
{
    struct place *p = w->object;
    p->region = lock_region_again(w, p->region);
    p->e = open_it(w);
}

static void leave(struct world *w)
{
    struct place *p = w->object;
    p->e = naru_event_close(p->e);
    p->region = naru_region_close(p->region);
}

enum { SET, PULSE, WAIT, OPEN };
static const char *const operations[] = {"set", "pulse", "wait", "open", NULL};
enum { CLEAR, IS_SET, STALE, OTHERS };
static const char *const states[] = {"clear", "set", "stale", "others", NULL};
static const char *const rooms[] = {"/src/shm/lock.",       "/src/lock/lock.", "/src/lock/event.",
                                    "/src/lock/broadcast.", "/src/api/event.", NULL};

static void wait_and_die(struct world *w) /* its wait is still on */
{
    struct place *p = w->object;
    enter(w);
    alarm(1);
    (void)naru_event_wait(p->e, NARU_FOREVER);
    _exit(1);
}

static void prepare(struct world *w)
{
    struct place *p = calloc(1, sizeof *p);
    struct naru_event_options o = {sizeof o, .kind = is_manual(w) ? NARU_MANUAL : NARU_AUTOMATIC,
                                   .set = w->state == IS_SET, .participants = PARTICIPANTS};
    w->object = p;
    p->region = lock_region(w, PARTICIPANTS);
    naru_event_close(open_with(w, &o));
    atomic_store(&w->log->own[0], w->state == IS_SET);
    atomic_store(&w->log->own[1], w->state == IS_SET);
    if (w->state != STALE)
        return;
    pid_t child = fork();
    if (child == 0)
        wait_and_die(w);
    usleep(3000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void attach(struct world *w, int who)
{
    struct place *p = w->object;
    enter(w);
    if (who == 2 && w->state == OTHERS) { /* a stranger changes the word last */
        (void)naru_event_set(p->e);
        (void)naru_event_reset(p->e);
    }
}

static void set(struct world *w, naru_event *e)
{
    atomic_fetch_add(&w->log->own[1], 1);
    if (naru_event_set(e) < 0)
        failed(w, "set: %s", naru_why());
    atomic_fetch_add(&w->log->own[0], 1);
}

static bool passes(struct world *w, naru_event *e, int64_t timeout)
{
    atomic_fetch_add(&w->log->own[3], 1);
    int r = naru_event_wait(e, timeout);
    if (r == 0)
        atomic_fetch_add(&w->log->own[2], 1);
    else
        atomic_fetch_sub(&w->log->own[3], 1);
    if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT)
        failed(w, "wait: %d, %s", r, naru_why());
    return r == 0;
}

static void operate(struct world *w)
{
    struct place *p = w->object;
    naru_event *e = p->e;
    switch (w->operation) {
    case OPEN:
        e = open_it(w);
        set(w, e);
        naru_event_close(e);
        break;
    case SET:
        set(w, e);
        set(w, e);
        break;
    case PULSE:
        set(w, e);
        atomic_store(&w->log->own[0], 0); /* may be gone from here on */
        if (naru_event_reset(e) < 0)
            failed(w, "reset: %s", naru_why());
        break;
    case WAIT:
        for (int i = 0; i < 2; i++)
            (void)passes(w, e, 5 * NARU_MS);
        break;
    default:
        break;
    }
}

/* Survivor 1 looks first. It may wait already while the subject is at it. */
static void count(struct world *w, naru_event *e)
{
    _Atomic uint32_t *own = w->log->own;
    int64_t patience = 1800; /* ms; a set that was done is there within it */
    bool once = passes(w, e, NARU_NOWAIT);
    for (; !once && !subject_dead(w) && patience > 0; patience -= 5)
        once = passes(w, e, 5 * NARU_MS);
    for (int i = 0; i < 9 && passes(w, e, NARU_NOWAIT); i++)
        once = true;
    bool must = atomic_load(&own[0]) > 0 && (is_manual(w) || atomic_load(&own[3]) == 0);
    if (must && !once && !passes(w, e, patience * NARU_MS))
        failed(w, "it was set, and nobody passes");
    unsigned most = atomic_load(&own[1]), passed = atomic_load(&own[2]);
    if (is_manual(w) ? passed > 0 && most == 0 : passed > most)
        failed(w, "%u sets at most, and %u have passed", most, passed);
}

static void works(struct world *w, naru_event *e)
{
    bool once = false;
    for (int i = 0; i < 10 && !once; i++) { /* who is there besides may take it */
        set(w, e);
        once = passes(w, e, 150 * NARU_MS);
    }
    if (!once)
        failed(w, "set ten times, and nobody has passed: %s", naru_why());
    atomic_store(&w->log->own[0], 0);
    if (naru_event_reset(e) < 0)
        failed(w, "reset: %s", naru_why());
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct place *p = w->object;
    if (fate == PAUSED) {
        int r = naru_event_wait(p->e, NARU_MS);
        if (r == 0 && !is_manual(w)) { /* puts it back */
            (void)naru_event_set(p->e);
            r = -ETIMEDOUT;
        }
        if (r < 0 && r != -ETIMEDOUT)
            failed(w, "wait: %d, %s", r, naru_why());
        return;
    }
    naru_event *e = w->image ? open_it(w) : p->e;
    if (fate == DIED && (who == 1 || w->image) && atomic_load(&w->log->own[4]) == 0)
        count(w, e);
    for (int i = 0; i < 300 && who == 2 && !w->image && atomic_load(&w->log->own[4]) == 0; i++)
        usleep(1000); /* unless it is dead */
    atomic_store(&w->log->own[4], 1);
    if (who != 0) {
        works(w, e);
        going_on(w, who);
    }
    if (w->image)
        naru_event_close(e);
    leave(w);
}

static void check(struct world *w)
{
    (void)w; /* survive() has seen it */
}

const struct scenario event_scenario = {
    .name = "event",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 3,
    .media = lock_media,
    .no_delays = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
};

const struct scenario manual_event_scenario = {
    .name = "manual-event",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 3,
    .media = lock_media,
    .no_delays = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
};
