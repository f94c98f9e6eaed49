/* SPDX-License-Identifier: MIT */
/* barrier.c - barriers under the rig: the death of a party is told, at whatever instruction, and
 * after a reset three parties meet again.
 *
 * place.c says where they lie. The log says that the
 * subject's round was completed (own[0]) and that it was the serial one (own[1]), and that a
 * survivor has reset it (own[2]). */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTIES = 3, PARTICIPANTS = 16 };

struct place {
    naru_region *region;
    naru_barrier *b;
};

static naru_barrier *open_with(struct world *w, const struct naru_barrier_options *o)
{
    const struct place *p = w->object;
    naru_barrier *b;
    int r = p->region ? naru_barrier_at(p->region, LOCK_AT, o, &b)
                      : naru_barrier_open(lock_url(w, p->b), o, &b);
    if (r < 0)
        failed(w, "the barrier cannot be opened: %d, %s", r, naru_why());
    return b;
}

static naru_barrier *open_it(struct world *w)
{
    struct naru_barrier_options o = {sizeof o, .flags = NARU_EXISTING | NARU_SLEEP};
    return open_with(w, &o);
}

static void enter(struct world *w)
{
    struct place *p = w->object;
    p->region = lock_region_again(w, p->region);
    p->b = open_it(w);
}

static void leave(struct world *w)
{
    struct place *p = w->object;
    p->b = naru_barrier_close(p->b);
    p->region = naru_region_close(p->region);
}

enum { WAIT, ARRIVE, RESET, OPEN };
static const char *const operations[] = {"wait", "arrive", "reset", "open", NULL};
enum { FIRST, LAST, STALE, BROKEN };
static const char *const states[] = {"first", "last", "stale", "broken", NULL};
static const char *const rooms[] = {"/src/lock/barrier.", "/src/lock/broadcast.", "/src/lock/lock.",
                                    "/src/api/barrier.", NULL};

static void prepare(struct world *w)
{
    struct place *p = calloc(1, sizeof *p);
    struct naru_barrier_options o = {sizeof o, .parties = PARTIES, .participants = PARTICIPANTS};
    w->object = p;
    p->region = lock_region(w, PARTICIPANTS);
    p->b = open_with(w, &o);
    if (w->state == STALE || w->state == BROKEN) { /* one that died, which one has noticed or not */
        pid_t child = fork();
        if (child == 0) {
            enter(w);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        if (w->state == BROKEN && naru_barrier_wait(p->b, NARU_NOWAIT) != -EOWNERDEAD)
            failed(w, "it is not broken: %s", naru_why());
    }
    p->b = naru_barrier_close(p->b);
}

static void attach(struct world *w, int who)
{
    struct place *p = w->object;
    enter(w);
    if (who != 0 && w->state == LAST && naru_barrier_arrive(p->b) != 0)
        failed(w, "arriving: %s", naru_why());
}

/* What may come of it while all live. */
static bool fits(const struct world *w, int r)
{
    return r == 0 || r == 1 || r == -ETIMEDOUT || r == -EAGAIN ||
           (r == -EOWNERDEAD && (w->state == STALE || w->state == BROKEN));
}

static void operate(struct world *w)
{
    struct place *p = w->object;
    naru_barrier *b = w->operation == OPEN ? open_it(w) : p->b;
    int r = 0;
    if (w->operation == RESET) {
        r = naru_barrier_reset(b);
    } else {
        if (w->operation == ARRIVE)
            r = naru_barrier_arrive(b);
        if (r == 0)
            r = naru_barrier_wait(b, 5 * NARU_MS);
        if (r >= 0) {
            atomic_store(&w->log->own[1], r == 1);
            atomic_store(&w->log->own[0], 1);
        }
    }
    if (!fits(w, r))
        failed(w, "the subject got %d: %s", r, naru_why());
    if (w->operation == OPEN)
        naru_barrier_close(b);
}

/* All three by this process: whoever else does the same makes a round of its own. */
static void meets(struct world *w)
{
    naru_barrier *b[PARTIES];
    int serial = 0;
    for (int i = 0; i < PARTIES; i++)
        b[i] = open_it(w);
    for (int i = 0; i < PARTIES; i++) {
        int r = naru_barrier_arrive(b[i]);
        if (r < 0)
            failed(w, "arriving after the reset: %d, %s", r, naru_why());
        serial += r;
        if (r == 1)
            b[i] = naru_barrier_close(b[i]);
    }
    for (int i = 0; i < PARTIES; i++)
        if (b[i] && naru_barrier_wait(b[i], 1900 * NARU_MS) < 0)
            failed(w, "the round after the reset: %s", naru_why());
    for (int i = 0; i < PARTIES; i++)
        naru_barrier_close(b[i]);
    if (w->image && serial != 1)
        failed(w, "%d of one round were the serial one", serial);
}

/* Until the death is told; before it rounds may be completed. Or another survivor was told, and has
 * reset it (own[2]) before this one came. */
static void is_told(struct world *w, naru_barrier *b)
{
    enum { SLICE = 150, SLICES = 12, FEW = 3 };
    pid_t pid = 0;
    int r = 0;
    for (int i = 0, waited = 0; r != -EOWNERDEAD; i++) {
        bool done = atomic_load(&w->log->own[0]), serial = atomic_load(&w->log->own[1]);
        r = naru_barrier_wait(b, SLICE * NARU_MS);
        if (i == 0 && w->state == LAST && !w->image && done && (r < 0 || (serial && r != 0)))
            failed(w, "the subject's round was completed, and here it gave %d: %s", r, naru_why());
        if (r == -ETIMEDOUT && atomic_load(&w->log->own[2]))
            return;
        if (r == -EOWNERDEAD && !fits(w, r) && !subject_dies(w))
            failed(w, "told of a death that was none: %s", naru_why());
        if (r == -EOWNERDEAD && !subject_dead(w)) { /* of the one that had died before */
            if (naru_barrier_reset(b) < 0)
                failed(w, "reset: %s", naru_why());
            atomic_store(&w->log->own[3], 1); /* and of the subject's, if it died just then */
            r = 0;
            i = waited = 0;
        }
        waited += r == -ETIMEDOUT;
        if (waited > FEW && r == -ETIMEDOUT && atomic_load(&w->log->own[3]))
            return; /* that reset was for both deaths; SLICES would be the bound for a hang */
        if ((r < 0 && r != -ETIMEDOUT && r != -EOWNERDEAD) || waited > SLICES)
            failed(w, "the death is not told: %d, %s", r, naru_why());
    }
    if (naru_barrier_dead(b, &pid) == 1 && pid <= 0)
        failed(w, "%d has died", (int)pid);
    atomic_store(&w->log->own[2], 1);
    if (naru_barrier_reset(b) < 0)
        failed(w, "reset: %s", naru_why());
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct place *p = w->object;
    if (fate == PAUSED) { /* neither dead nor waited for longer than that */
        int r = naru_barrier_wait(p->b, 2 * NARU_MS);
        if (!fits(w, r))
            failed(w, "%d while one is stopped: %s", r, naru_why());
        return;
    }
    naru_barrier *b = w->image ? open_it(w) : p->b;
    if (fate == DIED)
        is_told(w, b);
    else if (naru_barrier_reset(b) < 0)
        failed(w, "reset: %s", naru_why());
    if (fate == DIED)
        going_on(w, who);
    if (w->image)
        meets(w);
    if (w->image)
        naru_barrier_close(b);
    leave(w);
}

static void check(struct world *w)
{
    (void)w; /* survive() has seen it */
}

static bool applies(int operation, int state)
{
    return operation != RESET || state != LAST;
}

const struct scenario barrier_scenario = {
    .name = "barrier",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 3,
    .media = lock_media,
    .no_delays = true, /* one is told, resets it, and another waits on */
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .applies = applies,
};
