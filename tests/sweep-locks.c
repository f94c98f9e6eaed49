/* SPDX-License-Identifier: MIT */
/* sweep-locks.c - the n-th failure, for every n, of semaphores, events and barriers: as sweep.c,
 * each system call and each allocation of an operation fails with each errno that it can give,
 * once, and with the first two from then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, leaves its
 * out-parameters alone, and closes without a leak. Whoever comes next has the lock whole: all
 * permits, an event that releases, a barrier at which two meet. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

enum { OWNED, PLAIN, MANUAL, AUTOMATIC, BARRIER, KINDS };
enum { VALUE = 3 };

static const char *const kind_name[] = {"semaphore", "plain semaphore", "manual event",
                                        "automatic event", "barrier"};
static char directory[] = "/dev/shm/naru-sweep-XXXXXX";

/* ---- what the operations work on ---- */

static struct {
    int kind;
    void *mine, *other, *made; /* handles: prepared, and by the operation */
    naru_region *region;       /* it lies in this, else it has a name */
    char url[100];
} w;

static int open_one(void **ret_handle)
{
    struct naru_semaphore_options so = {sizeof so, .kind = w.kind == PLAIN, .value = VALUE};
    struct naru_event_options eo = {sizeof eo, .kind = w.kind == AUTOMATIC};
    struct naru_barrier_options bo = {sizeof bo, .parties = 2};
    naru_semaphore *s = POISON;
    naru_event *e = POISON;
    naru_barrier *b = POISON;
    int r;
    if (w.kind <= PLAIN)
        r = w.region ? naru_semaphore_at(w.region, 0, &so, &s)
                     : naru_semaphore_open(w.url, &so, &s);
    else if (w.kind <= AUTOMATIC)
        r = w.region ? naru_event_at(w.region, 0, &eo, &e) : naru_event_open(w.url, &eo, &e);
    else
        r = w.region ? naru_barrier_at(w.region, 0, &bo, &b) : naru_barrier_open(w.url, &bo, &b);
    wrong_if(r < 0 && (s != POISON || e != POISON || b != POISON), "an out-parameter was touched");
    if (r >= 0)
        *ret_handle = w.kind <= PLAIN ? (void *)s : w.kind <= AUTOMATIC ? (void *)e : (void *)b;
    return r;
}

static void close_one(void **handle)
{
    if (w.kind <= PLAIN)
        naru_semaphore_close(*handle);
    else if (w.kind <= AUTOMATIC)
        naru_event_close(*handle);
    else
        naru_barrier_close(*handle);
    *handle = NULL;
}

static void nothing(void)
{
}

static void region_made(void)
{
    need(naru_region_create(NULL, naru_lock_bytes(64), NULL, &w.region));
}

static void one(void)
{
    need(open_one(&w.mine));
}

static void two(void)
{
    one();
    need(open_one(&w.other));
}

static void two_in_region(void)
{
    region_made();
    two();
}

/* The other one has it all, so that whoever waits does so in vain. */
static void taken(void)
{
    two();
    if (w.kind == OWNED)
        need(naru_semaphore_acquire(w.other, VALUE, NARU_NOWAIT));
    if (w.kind == PLAIN)
        need(naru_semaphore_wait(w.other, VALUE, NARU_NOWAIT));
}

static void watched(void)
{
    two();
    need(naru_fd(w.other));
}

/* One with everything has died. */
static void died(void)
{
    one();
    pid_t child = fork();
    if (child == 0) {
        void *h;
        _exit(open_one(&h) < 0 ||
              (w.kind == OWNED && naru_semaphore_acquire(h, VALUE, NARU_NOWAIT) < 0));
    }
    int status;
    waitpid(child, &status, 0);
    need(status == 0 ? 0 : -EIO);
}

/* ---- the operations ---- */

static long open_it(void)
{
    return open_one(&w.made);
}

static long use(int64_t timeout)
{
    long r;
    switch (w.kind) {
    case OWNED:
        r = naru_semaphore_acquire(w.mine, VALUE, timeout);
        return r < 0 ? r : naru_semaphore_release(w.mine, VALUE);
    case PLAIN:
        r = naru_semaphore_wait(w.mine, VALUE, timeout);
        return r < 0 ? r : naru_semaphore_post(w.mine, VALUE);
    case BARRIER:
        return naru_barrier_wait(w.mine, timeout);
    default:
        return naru_event_wait(w.mine, timeout);
    }
}

static long expected(long r)
{
    bool fits = r == -ETIMEDOUT || r == -EAGAIN || r == -EOWNERDEAD;
    return hook->at < 0 && fits ? 0 : r;
}

static long wait_long(void)
{
    return expected(use(60 * NARU_MS)); /* a look for the dead comes in between */
}
static long try_it(void)
{
    return expected(use(NARU_NOWAIT));
}

static long give(void)
{
    if (w.kind == OWNED) {
        long r = naru_semaphore_acquire(w.mine, 1, NARU_NOWAIT);
        return r < 0 ? r : naru_semaphore_release(w.mine, 1);
    }
    if (w.kind == PLAIN)
        return naru_semaphore_post(w.mine, 1);
    if (w.kind == BARRIER)
        return naru_barrier_arrive(w.mine);
    long r = naru_event_set(w.mine);
    return r < 0 ? r : naru_event_reset(w.mine);
}

static long reset(void)
{
    return naru_barrier_reset(w.mine);
}

static long descriptor(void)
{
    long r = naru_fd(w.mine);
    return r < 0 ? r : 0;
}

static long revoke_it(void)
{
    unsigned n = 77;
    long r = naru_semaphore_revoke(w.url, getpid(), &n);
    wrong_if(r < 0 && n != 77, "an out-parameter was touched");
    wrong_if(r >= 0 && n > VALUE, "more came back than there were");
    return r;
}

static long collect(void)
{
    struct naru_collected c = {.size = sizeof c};
    return naru_collect(w.url, 0, &c);
}

static long remove_it(void)
{
    return naru_remove(w.url);
}

enum { ALL = 31, EVENTS = 12 };
static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    int kinds;   /* bits */
    bool silent; /* no call that could fail */
    int most;    /* of its calls; 0: all */
} operations[] = {
    {"open new", nothing, open_it, ALL, false, 0},
    {"open", one, open_it, ALL, false, 0},
    {"open after a death", died, open_it, ALL, false, 0},
    {"open in a region", region_made, open_it, ALL, false, 0},
    {"wait", taken, wait_long, ALL, false, 8},
    {"wait in a region", two_in_region, wait_long, EVENTS | 1 << BARRIER, false, 6},
    {"wait after a death", died, wait_long, ALL & ~(1 << PLAIN), false, 20},
    {"try", taken, try_it, ALL, false, 0},
    {"give", two, give, ALL, true, 0},
    {"give to a descriptor", watched, give, ALL & ~(1 << BARRIER), false, 0},
    {"reset after a death", died, reset, 1 << BARRIER, false, 0},
    {"descriptor", two, descriptor, ALL, false, 0},
    {"revoke", taken, revoke_it, 1 << OWNED, false, 0},
    {"collect after a death", died, collect, ALL, false, 60},
    {"remove", two, remove_it, ALL, false, 0},
};

/* ---- the sweep ---- */

static void is_whole(void)
{
    void *h = NULL;
    if (open_one(&h) < 0) {
        wrong_if(true, "it cannot be opened any more");
        return;
    }
    if (w.kind == OWNED)
        wrong_if(naru_semaphore_acquire(h, VALUE, PATIENCE) < 0, "permits are lost");
    else if (w.kind == PLAIN)
        wrong_if(naru_semaphore_post(h, VALUE) < 0 || naru_semaphore_wait(h, VALUE, PATIENCE) < 0,
                 "it cannot be waited for");
    else if (w.kind < BARRIER)
        wrong_if(naru_event_set(h) < 0 || naru_event_wait(h, PATIENCE) < 0, "it releases nobody");
    else {
        void *other = NULL;
        wrong_if(naru_barrier_reset(h) < 0 || open_one(&other) < 0, "it cannot be reset");
        wrong_if(naru_barrier_arrived(h) != 0, "somebody who has gone has arrived");
        wrong_if(other && (naru_barrier_arrive(h) != 0 || naru_barrier_arrive(other) != 1),
                 "two do not meet");
        close_one(&other);
    }
    close_one(&h);
}

static int left_behind(void)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void clean_up(void)
{
    close_one(&w.made);
    close_one(&w.mine);
    close_one(&w.other);
    is_whole();
    w.region = naru_region_close(w.region);
    (void)naru_remove(w.url);
    /* who was stopped on the way is cleaned up after by the next */
    void *again = NULL;
    need(open_one(&again));
    close_one(&again);
    need(naru_remove(w.url));
    wrong_if(left_behind() > 0, "files are left");
}

/* One point. False: there is no such call any more. */
static bool point(const struct operation *o, int kind, int at, int code, bool for_ever,
                  long *ret_points)
{
    int before = open_descriptors();
    char why[300];
    memset(&w, 0, sizeof w);
    wrong = NULL;
    w.kind = kind;
    snprintf(w.url, sizeof w.url, "shm:%s/l", directory);
    o->prepare();
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    long r = o->run();
    disarm();
    alarm(0);
    snprintf(why, sizeof why, "%s", naru_why());
    wrong_if(r < 0 && !*why, "no sentence");
    wrong_if(r < -4095, "no errno");
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    clean_up();
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    wrong_if(at < 0 && r < 0, "it fails by itself");
    if (wrong && (counts || at < 0)) {
        print_message("# %s %s: call %d (%s), errno number %d%s, result %ld: %s; \"%s\"\n",
                      kind_name[kind], o->name, at, hook->call, code, for_ever ? ", for ever" : "",
                      r, wrong, why);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

static void sweep(void **state)
{
    const struct operation *o = *state;
    for (int kind = 0; kind < KINDS; kind++) {
        long points = 0;
        if (!(o->kinds >> kind & 1))
            continue;
        int most = o->most ? o->most : CALLS_MAX;
        bool calls = point(o, kind, -1, 0, false, &points);
        for (int mode = 0; mode < (getenv("ONCE") ? 1 : 2) && calls; mode++)
            for (int at = 0, reached = 1; reached; at++)
                for (int code = reached = 0; code < (mode ? 2 : CODES_MAX) && at < most;
                     code = next_code(code))
                    reached |= point(o, kind, at, code, mode == 1, &points);
        print_message("# %s %s: %ld points\n", kind_name[kind], o->name, points);
        assert_int_equal(points > 0, !o->silent);
    }
}

int main(void)
{
    enum { N = sizeof operations / sizeof *operations };
    static struct CMUnitTest tests[N];
    if (!mkdtemp(directory))
        return 1;
    for (size_t i = 0; i < N; i++) {
        const struct operation *o = &operations[i];
        tests[i] = (struct CMUnitTest){o->name, sweep, NULL, NULL, (void *)(uintptr_t)o};
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return failed;
}
