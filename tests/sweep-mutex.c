/* SPDX-License-Identifier: MIT */
/* sweep-mutex.c - the n-th failure, for every n, of mutexes and rwlocks: as sweep.c, each system
 * call and each allocation of an operation fails with each errno that it can give, once and from
 * then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, leaves its
 * out-parameters alone and closes without a leak; and whoever comes next can have the lock, is told
 * of the death that there was, and leaves nothing behind. */
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

enum { MUTEX, INHERIT, RWLOCK, PLACED, FORMS };

static const char *const form_name[] = {"mutex", "mutex with priority inheritance", "rwlock",
                                        "mutex in a region"};
static char directory[] = "/dev/shm/naru-sweep-XXXXXX";

union lock {
    void *any;
    naru_mutex *m;
    naru_rwlock *w;
};

static struct {
    int form;
    union lock l, other; /* the operation's; one that has it */
    naru_region *region;
    bool dead; /* somebody died holding it, and nobody has recovered it */
    char url[100];
} w;

static long open_it(union lock *ret_lock)
{
    struct naru_mutex_options o = {sizeof o, .participants = 8};
    struct naru_rwlock_options p = {sizeof p, .flags = NARU_SLEEP, .participants = 8};
    o.flags = NARU_SLEEP | (w.form == INHERIT ? NARU_PRIO_INHERIT : 0u);
    union lock l = {POISON};
    long r = w.form == PLACED   ? naru_mutex_at(w.region, 0, &o, &l.m)
             : w.form == RWLOCK ? naru_rwlock_open(w.url, &p, &l.w)
                                : naru_mutex_open(w.url, &o, &l.m);
    wrong_if(r < 0 && l.any != POISON, "an out-parameter was touched");
    if (r >= 0)
        *ret_lock = l;
    return r;
}

static int lock(union lock l, int64_t timeout)
{
    return w.form == RWLOCK ? naru_rwlock_write(l.w, timeout) : naru_mutex_lock(l.m, timeout);
}

static int unlock(union lock l)
{
    return w.form == RWLOCK ? naru_rwlock_unlock(l.w) : naru_mutex_unlock(l.m);
}

static void close_lock(union lock l)
{
    if (w.form == RWLOCK)
        naru_rwlock_close(l.w);
    else
        naru_mutex_close(l.m);
}

/* ---- what the operations work on ---- */

static void nothing(void)
{
}

static void opened(void)
{
    need(open_it(&w.l));
}

static void there(void)
{
    union lock l;
    need(open_it(&l));
    close_lock(l);
}

static void held(void)
{
    opened();
    need(open_it(&w.other));
    need(lock(w.other, NARU_NOWAIT));
}

static void had_by_the_dead(void)
{
    int status = 0;
    opened();
    pid_t child = fork();
    if (child == 0) {
        union lock l;
        if (w.region && naru_adopt(w.region) < 0)
            _exit(2);
        _exit(open_it(&l) < 0 ? 3 : lock(l, NARU_NOWAIT) != 0);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        fail();
    w.dead = true;
}

/* ---- the operations ---- */

static long open_lock(void)
{
    return open_it(&w.l);
}

static long lock_free(void)
{
    long r = lock(w.l, NARU_NOWAIT);
    return r < 0 ? r : unlock(w.l);
}

static long time_out(void)
{
    long r = lock(w.l, 3 * NARU_MS);
    wrong_if(r == 0, "two have it");
    return r == -ETIMEDOUT ? 0 : r;
}

static long unlock_it(void)
{
    return unlock(w.other);
}

static long after_death(void)
{
    long r = lock(w.l, hook->at < 0 ? PATIENCE : 60 * NARU_MS); /* a tick, for most */
    wrong_if(r == 0, "the death was not told");
    if (r != -EOWNERDEAD)
        return r;
    r = w.form == RWLOCK ? naru_rwlock_recover(w.l.w) : naru_mutex_recover(w.l.m);
    w.dead = r < 0;
    return r;
}

static long descriptor(void)
{
    int fd = naru_fd(w.l.any);
    return fd;
}

static long close_it(void)
{
    close_lock(w.other);
    w.other.any = NULL;
    return 0;
}

static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    int silent; /* bits: no call that could fail */
} operations[] = {
    {"create", nothing, open_lock, 0},
    {"open", there, open_lock, 0},
    {"lock and unlock", opened, lock_free, 1 << MUTEX | 1 << INHERIT | 1 << RWLOCK | 1 << PLACED},
    {"time out", held, time_out, 0},
    {"unlock", held, unlock_it, 1 << MUTEX | 1 << INHERIT | 1 << RWLOCK | 1 << PLACED},
    {"lock after a death", had_by_the_dead, after_death, 0},
    {"naru_fd", opened, descriptor, 0},
    {"close what is locked", held, close_it, -1},
};

/* ---- the sweep ---- */

static int left_behind(void)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void close_all(void)
{
    if (w.l.any)
        close_lock(w.l);
    if (w.other.any)
        close_lock(w.other);
    w.l.any = w.other.any = NULL;
}

/* The next who comes. */
static void go_on(void)
{
    union lock l;
    close_all();
    need(open_it(&l));
    int r = lock(l, PATIENCE);
    wrong_if(r != 0 && r != -EOWNERDEAD, "nobody can have it any more");
    wrong_if((r == -EOWNERDEAD) != w.dead, "the next is told of a death wrongly");
    close_lock(l);
    if (w.form == PLACED)
        w.region = naru_region_close(w.region);
    else
        need(naru_remove(w.url));
    wrong_if(left_behind() > 0, "files are left");
}

/* One point. False: there is no such call any more. */
static bool point(const struct operation *o, int form, int at, int code, bool for_ever,
                  long *ret_points)
{
    int before = open_descriptors();
    char why[300];
    memset(&w, 0, sizeof w);
    wrong = NULL;
    w.form = form;
    snprintf(w.url, sizeof w.url, "shm:%s/l", directory);
    if (form == PLACED)
        need(naru_region_create(NULL, naru_lock_bytes(8), NULL, &w.region));
    o->prepare();
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    long r = o->run();
    disarm();
    snprintf(why, sizeof why, "%s", naru_why());
    wrong_if(r < 0 && !*why, "no sentence");
    wrong_if(r < -4095, "no errno");
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    go_on();
    alarm(0);
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    wrong_if(at < 0 && r < 0, "it fails by itself");
    if (wrong && (counts || at < 0)) {
        print_message("# %s %s: call %d (%s), errno number %d%s, result %ld: %s; \"%s\"\n",
                      form_name[form], o->name, at, hook->call, code, for_ever ? ", for ever" : "",
                      r, wrong, why);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

static void sweep(void **state)
{
    const struct operation *o = *state;
    for (int form = 0; form < FORMS; form++) {
        long points = 0;
        bool calls = point(o, form, -1, 0, false, &points);
        for (int mode = 0; mode < 2 && calls; mode++)
            for (int at = 0, reached = 1; reached; at++)
                for (int code = reached = 0; code < CODES_MAX; code = next_code(code))
                    reached |= point(o, form, at, code, mode == 1, &points);
        print_message("# %s %s: %ld points\n", form_name[form], o->name, points);
        if (o->silent >= 0)
            assert_int_equal(points > 0, !(o->silent >> form & 1));
    }
}

int main(void)
{
    enum { N = sizeof operations / sizeof *operations };
    static struct CMUnitTest tests[N];
    if (!mkdtemp(directory))
        return 1;
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){operations[i].name, sweep, NULL, NULL,
                                       (void *)(uintptr_t)&operations[i]};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return r;
}
