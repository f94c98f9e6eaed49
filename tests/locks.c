/* SPDX-License-Identifier: MIT */
/* locks.c - semaphores of all kinds: what they promise to the living, and what a death leaves. */
#include "locks.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const struct naru_semaphore_options plain = {sizeof plain, .kind = NARU_PLAIN};
static const struct naru_semaphore_options exclusive = {sizeof exclusive, .value = 2,
                                                        .flags = NARU_EXCLUSIVE};

static naru_semaphore *open_owned(const char *url, unsigned value, unsigned flags)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = {sizeof o, .value = value, .flags = flags};
    expect_ok(naru_semaphore_open(url, &o, &s));
    return s;
}

static naru_semaphore *open_plain(const char *url, unsigned value)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = plain;
    o.value = value;
    expect_ok(naru_semaphore_open(url, &o, &s));
    return s;
}

static unsigned value_of(naru_semaphore *s)
{
    unsigned value = 0;
    expect_ok(naru_semaphore_value(s, &value));
    return value;
}

/* ---- owned permits ---- */

static void owned(void)
{
    const char *url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(url, 5, 0), *t = open_owned(url, 0, 0);
    expect(value_of(s) == 5);
    expect_ok(naru_semaphore_acquire(s, 3, NARU_NOWAIT));
    expect_code(3, naru_semaphore_owned(s));
    expect(value_of(t) == 2);
    expect_code(-EAGAIN, naru_semaphore_acquire(t, 3, NARU_NOWAIT));
    expect_code(-EPERM, naru_semaphore_release(t, 1));
    expect_says("owns 0");
    expect_code(-EPERM, naru_semaphore_release(s, 4));
    expect(value_of(t) == 2);
    expect_ok(naru_semaphore_release(s, 1));
    expect_ok(naru_semaphore_acquire(t, 3, NARU_NOWAIT));
    int64_t begin = test_now();
    expect_code(-ETIMEDOUT, naru_semaphore_acquire(t, 1, 30 * NARU_MS));
    expect(test_now() - begin >= 30 * NARU_MS);
    expect_says("owns 2");
    expect_says("owns 3");
    expect_code(-EINVAL, naru_semaphore_acquire(s, 6, NARU_NOWAIT));
    expect_code(-EINVAL, naru_semaphore_acquire(s, 0, NARU_NOWAIT));
    expect_code(-EINVAL, naru_semaphore_release(s, 0));
    expect_code(-EOPNOTSUPP, naru_semaphore_post(s, 1));
    expect_code(-EOPNOTSUPP, naru_semaphore_wait(s, 1, NARU_NOWAIT));
    naru_semaphore_close(t); /* gives back */
    expect(value_of(s) == 3);
    naru_semaphore_close(s);
    s = open_owned(url, 0, 0);
    expect(value_of(s) == 5);
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

static void options(void)
{
    naru_semaphore *s, *t;
    const char *url = test_url("shm:%s/s");
    struct naru_semaphore_options o = {sizeof o, .value = 3, .mode = 0640};
    expect_code(-EINVAL, naru_semaphore_open(url, NULL, &s));
    expect_says(".value");
    o.flags = NARU_EXISTING;
    expect_code(-ENOENT, naru_semaphore_open(url, &o, &s));
    o.flags = 0;
    expect_ok(naru_semaphore_open(url, &o, &s));
    expect_ok(naru_semaphore_open(url, NULL, &t));
    naru_semaphore_close(t);
    expect_code(-EEXIST, naru_semaphore_open(url, &exclusive, &t));
    o.value = 4;
    expect_code(-EEXIST, naru_semaphore_open(url, &o, &t));
    expect_says("3 permits");
    expect_says("4");
    o = (struct naru_semaphore_options){sizeof o, .mode = 0600};
    expect_code(-EEXIST, naru_semaphore_open(url, &o, &t));
    o = (struct naru_semaphore_options){sizeof o, .flags = NARU_FAIR};
    expect_code(-EEXIST, naru_semaphore_open(url, &o, &t));
    expect_code(-EEXIST, naru_semaphore_open(url, &plain, &t));
    o = (struct naru_semaphore_options){sizeof o, .value = 1 << 20};
    expect_code(-EINVAL, naru_semaphore_open(url, &o, &t));
    expect_says("1048575");
    o = (struct naru_semaphore_options){sizeof o, .kind = 7};
    expect_code(-EINVAL, naru_semaphore_open(url, &o, &t));
    o = (struct naru_semaphore_options){sizeof o, .flags = 1u << 30};
    expect_code(-EINVAL, naru_semaphore_open(url, &o, &t));
    o = (struct naru_semaphore_options){sizeof o, .participants = 5000};
    expect_code(-EINVAL, naru_semaphore_open(url, &o, &t));
    naru_channel *c;
    expect_code(-EEXIST, naru_queue_open(url, NARU_RECV, NULL, &c));
    expect_says("is a semaphore");
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
    expect_code(-ENOENT, naru_remove(url));
}

static void many(void)
{
    enum { PERMITS = 10000, HANDLES = 1000 };
    const char *url = test_url("shm:%s/s");
    struct naru_semaphore_options o = {sizeof o, .value = PERMITS, .participants = HANDLES};
    naru_semaphore *s[HANDLES], *more;
    for (int i = 0; i < HANDLES; i++)
        expect_ok(naru_semaphore_open(url, &o, &s[i]));
    expect_code(-ENOSPC, naru_semaphore_open(url, &o, &more));
    expect_says("as many participants as it can have: 1000");
    for (int i = 0; i < PERMITS; i++)
        expect_ok(naru_semaphore_acquire(s[0], 1, NARU_NOWAIT));
    expect_code(-EAGAIN, naru_semaphore_acquire(s[1], 1, NARU_NOWAIT));
    expect_code(PERMITS, naru_semaphore_owned(s[0]));
    expect_ok(naru_semaphore_release(s[0], PERMITS));
    for (int i = 0; i < HANDLES; i++)
        expect_ok(naru_semaphore_acquire(s[i], 10, NARU_NOWAIT));
    expect(value_of(s[0]) == 0);
    for (int i = 0; i < HANDLES; i++)
        s[i] = naru_semaphore_close(s[i]);
    more = open_owned(url, 0, 0);
    expect(value_of(more) == PERMITS);
    naru_semaphore_close(more);
    expect_ok(naru_remove(url));
}

/* ---- death ---- */

struct holder {
    const char *url;
    unsigned n;
    _Atomic int holds, go;
};

static void hold(void *context)
{
    struct holder *h = context;
    naru_semaphore *s = open_owned(h->url, 0, 0);
    for (unsigned i = 0; i < h->n; i++)
        expect_ok(naru_semaphore_acquire(s, 1, NARU_FOREVER));
    atomic_fetch_add(&h->holds, 1);
    for (;;)
        pause();
}

static void killed(void)
{
    struct holder *h = shared(sizeof *h);
    *h = (struct holder){.url = test_url("shm:%s/s"), .n = 10000};
    naru_semaphore *s = open_owned(h->url, 10001, 0);
    pid_t child = start_child(hold, h);
    await(&h->holds, 1);
    expect(value_of(s) == 1);
    expect_code(-ETIMEDOUT, naru_semaphore_acquire(s, 2, 10 * NARU_MS));
    expect_says("owns 10000");
    kill(child, SIGKILL);
    int64_t begin = test_now();
    expect_ok(naru_semaphore_acquire(s, 10001, PATIENCE));
    printf("# %.1f ms after the kill\n", (double)(test_now() - begin) / 1e6);
    fflush(stdout);
    waitpid(child, NULL, 0);
    expect_ok(naru_semaphore_release(s, 10001));
    expect(value_of(s) == 10001);
    /* without anybody waiting: the next who tries, and the next who opens */
    child = start_child(hold, h);
    await(&h->holds, 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    usleep(60000);
    expect_ok(naru_semaphore_acquire(s, 10001, NARU_NOWAIT));
    expect_ok(naru_semaphore_release(s, 10001));
    /* and by who comes to clean up */
    struct naru_collected c = {.size = sizeof c};
    child = start_child(hold, h);
    await(&h->holds, 3);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect_ok(naru_collect(h->url, 0, &c));
    expect(c.participants == 1);
    expect(value_of(s) == 10001);
    naru_semaphore_close(s);
    expect_ok(naru_remove(h->url));
}

/* It has what it has; the others wait to their timeout, and are told who. */
static void stopped(void)
{
    struct holder *h = shared(sizeof *h);
    *h = (struct holder){.url = test_url("shm:%s/s"), .n = 1};
    naru_semaphore *s = open_owned(h->url, 1, 0);
    char pid[32];
    pid_t child = start_child(hold, h);
    await(&h->holds, 1);
    kill(child, SIGSTOP);
    expect_code(-ETIMEDOUT, naru_semaphore_acquire(s, 1, 200 * NARU_MS));
    snprintf(pid, sizeof pid, "process %d", child);
    expect_says(pid);
    kill(child, SIGKILL);
    expect_ok(naru_semaphore_acquire(s, 1, PATIENCE));
    waitpid(child, NULL, 0);
    naru_semaphore_close(s);
    expect_ok(naru_remove(h->url));
}

/* Revoked while it hangs: what it had is free, its release an error, and no surplus. */
static void give_back_late(void *context)
{
    struct holder *h = context;
    naru_semaphore *s = open_owned(h->url, 0, 0);
    expect_ok(naru_semaphore_acquire(s, h->n, NARU_FOREVER));
    atomic_store(&h->holds, 1);
    await(&h->go, 1);
    expect_code(-EPERM, naru_semaphore_release(s, h->n));
    expect_says("revoked");
    expect_code(0, naru_semaphore_owned(s));
    expect_ok(naru_semaphore_acquire(s, 1, NARU_NOWAIT)); /* and begins anew */
    expect_ok(naru_semaphore_release(s, 1));
    naru_semaphore_close(s);
}

static void revoked(void)
{
    struct holder *h = shared(sizeof *h);
    unsigned n = 99;
    *h = (struct holder){.url = test_url("shm:%s/s"), .n = 3};
    naru_semaphore *s = open_owned(h->url, 4, 0);
    pid_t child = start_child(give_back_late, h);
    await(&h->holds, 1);
    kill(child, SIGSTOP);
    expect_code(-ESRCH, naru_semaphore_revoke(h->url, 1, &n));
    expect(n == 99);
    expect_ok(naru_semaphore_revoke(h->url, child, &n));
    expect(n == 3);
    expect(value_of(s) == 4);
    expect_ok(naru_semaphore_revoke(h->url, child, &n)); /* again, before it has noticed */
    expect(n == 0);
    expect_ok(naru_semaphore_acquire(s, 3, NARU_NOWAIT));
    atomic_store(&h->go, 1);
    kill(child, SIGCONT);
    end_child(child);
    expect(value_of(s) == 1);
    expect_ok(naru_semaphore_release(s, 3));
    expect(value_of(s) == 4);
    naru_semaphore_close(s);
    expect_ok(naru_remove(h->url));
}

/* Killed all the time, and revoked now and then: in the end everything is there. */
struct storm {
    const char *url;
    _Atomic int rounds, inside, wrong;
};

static void storm_child(void *context)
{
    struct storm *t = context;
    naru_semaphore *s = open_owned(t->url, 0, 0);
    unsigned seed = (unsigned)getpid();
    for (;;) {
        unsigned n = 1 + (unsigned)rand_r(&seed) % 4;
        if (naru_semaphore_acquire(s, n, 5 * NARU_MS) < 0)
            continue;
        if (rand_r(&seed) % 8 == 0)
            usleep(50);
        int r = naru_semaphore_release(s, n);
        if (r < 0 && r != -EPERM)
            atomic_store(&t->wrong, r);
        atomic_fetch_add(&t->rounds, 1);
    }
}

static void storm(void)
{
    enum { CHILDREN = 4, KILLS = 300 };
    struct storm *t = shared(sizeof *t);
    t->url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(t->url, 5, 0);
    pid_t child[CHILDREN];
    unsigned seed = 1, n;
    for (int i = 0; i < CHILDREN; i++)
        child[i] = start_child(storm_child, t);
    for (int i = 0; i < KILLS; i++) {
        usleep((useconds_t)(rand_r(&seed) % 2000));
        pid_t *c = &child[rand_r(&seed) % CHILDREN];
        if (i % 3 == 0) {
            (void)naru_semaphore_revoke(t->url, *c, &n);
            continue;
        }
        kill(*c, SIGKILL);
        waitpid(*c, NULL, 0);
        *c = start_child(storm_child, t);
    }
    for (int i = 0; i < CHILDREN; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    expect(t->wrong == 0);
    expect(t->rounds > 0);
    expect_ok(naru_semaphore_acquire(s, 5, PATIENCE));
    expect(value_of(s) == 0);
    naru_semaphore_close(s);
    expect_ok(naru_remove(t->url));
}

/* ---- waiting ---- */

struct waiter {
    naru_semaphore *s;
    unsigned n;
    int64_t timeout, took;
    int result;
    _Atomic int begun, ended;
};

static void *wait_in_thread(void *context)
{
    struct waiter *w = context;
    int64_t begin = test_now();
    atomic_store(&w->begun, 1);
    w->result = naru_semaphore_acquire(w->s, w->n, w->timeout);
    w->took = test_now() - begin;
    atomic_store(&w->ended, 1);
    return NULL;
}

static void cancelled(void)
{
    const char *url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(url, 1, 0), *t = open_owned(url, 0, 0);
    struct waiter w = {.s = t, .n = 1, .timeout = NARU_FOREVER};
    pthread_t thread;
    expect_ok(naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    pthread_create(&thread, NULL, wait_in_thread, &w);
    await(&w.begun, 1);
    usleep(SOON_MS * 1000);
    expect_ok(naru_cancel(t));
    pthread_join(thread, NULL);
    expect(w.result == -ECANCELED);
    expect_ok(naru_cancel(t)); /* sticky */
    expect_code(-ECANCELED, naru_semaphore_acquire(t, 1, NARU_FOREVER));
    expect_ok(naru_semaphore_release(s, 1));
    expect_ok(naru_semaphore_acquire(t, 1, NARU_NOWAIT));
    naru_semaphore_close(s);
    naru_semaphore_close(t);
    expect_ok(naru_remove(url));
}

/* A small request that comes later does not overtake a large one for ever. */
static void large_requests(void)
{
    const char *url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(url, 4, 0), *t = open_owned(url, 0, 0);
    struct waiter w = {.s = t, .n = 4, .timeout = 2 * PATIENCE};
    pthread_t thread;
    expect_ok(naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    pthread_create(&thread, NULL, wait_in_thread, &w);
    await(&w.begun, 1);
    int64_t end = test_now() + PATIENCE;
    while (!w.ended && test_now() < end) /* never all four free, if small ones come first */
        if (naru_semaphore_acquire(s, 1, NARU_MS) == 0)
            expect_ok(naru_semaphore_release(s, 1));
        else if (naru_semaphore_owned(s) > 0)
            expect_ok(naru_semaphore_release(s, 1));
    pthread_join(thread, NULL);
    expect(w.result == 0);
    naru_semaphore_close(t);
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

static void removed(void)
{
    const char *url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(url, 1, 0), *t = open_owned(url, 0, 0);
    struct waiter w = {.s = t, .n = 1, .timeout = NARU_FOREVER};
    pthread_t thread;
    unsigned value;
    expect_ok(naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    pthread_create(&thread, NULL, wait_in_thread, &w);
    await(&w.begun, 1);
    usleep(SOON_MS * 1000);
    expect_ok(naru_remove(url));
    pthread_join(thread, NULL);
    expect(w.result == -EIDRM);
    expect_code(-EIDRM, naru_semaphore_release(s, 1));
    expect_code(-EIDRM, naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    expect_code(-EIDRM, naru_semaphore_value(s, &value));
    naru_semaphore *u = open_owned(url, 1, 0); /* another one */
    expect_ok(naru_semaphore_acquire(u, 1, NARU_NOWAIT));
    naru_semaphore_close(u);
    naru_semaphore_close(s);
    naru_semaphore_close(t);
    expect_ok(naru_remove(url));
}

static void forked(void)
{
    const char *url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(url, 2, 0);
    expect_ok(naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    pid_t child = fork();
    if (child == 0) {
        unsigned value;
        bool right = naru_semaphore_acquire(s, 1, NARU_NOWAIT) == -ECHILD &&
                     naru_semaphore_release(s, 1) == -ECHILD &&
                     naru_semaphore_value(s, &value) == -ECHILD && naru_fd(s) == -ECHILD;
        naru_semaphore_close(s);
        _exit(right ? 0 : 1);
    }
    end_child(child);
    expect_code(1, naru_semaphore_owned(s));
    expect(value_of(s) == 1);
    expect_ok(naru_semaphore_release(s, 1));
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

static void descriptor_of(const char *url, naru_semaphore *s, naru_semaphore *t)
{
    (void)url;
    int fd = naru_fd(t);
    expect_ok(fd);
    expect(readable(fd, 0)); /* level-triggered: there is one */
    expect_ok(naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    expect_code(-EAGAIN, naru_semaphore_acquire(t, 1, NARU_NOWAIT));
    expect(!readable(fd, SOON_MS) || naru_semaphore_acquire(t, 1, NARU_NOWAIT) == -EAGAIN);
    expect_ok(naru_semaphore_release(s, 1));
    expect(readable(fd, PATIENCE_MS));
    while (naru_semaphore_acquire(t, 1, NARU_NOWAIT) == -EAGAIN)
        expect(readable(fd, PATIENCE_MS));
    expect_ok(naru_cancel(t));
    expect(readable(fd, PATIENCE_MS));
    expect_code(-ECANCELED, naru_semaphore_acquire(t, 1, NARU_NOWAIT));
    expect_ok(naru_semaphore_release(t, 1));
}

static void descriptor(void)
{
    const char *url = test_url("shm:%s/s");
    naru_semaphore *s = open_owned(url, 1, 0), *t = open_owned(url, 0, 0);
    descriptor_of(url, s, t);
    struct holder *h = shared(sizeof *h); /* and a death */
    *h = (struct holder){.url = url, .n = 1};
    pid_t child = start_child(hold, h);
    await(&h->holds, 1);
    while (naru_semaphore_acquire(t, 1, NARU_NOWAIT) == 0)
        expect_ok(naru_semaphore_release(t, 1));
    kill(child, SIGKILL);
    int64_t end = test_now() + PATIENCE;
    while (naru_semaphore_acquire(t, 1, NARU_NOWAIT) < 0) {
        expect(test_now() < end);
        expect(readable(naru_fd(t), PATIENCE_MS));
    }
    waitpid(child, NULL, 0);
    naru_semaphore_close(s);
    naru_semaphore_close(t);
    expect_ok(naru_remove(url));
}

/* Threads of one handle: none of them makes more of it than there is. */
enum { THREADS = 4, ROUNDS = 20000 };
struct crowd {
    naru_semaphore *s;
    _Atomic int inside, most;
};

static void *crowd_thread(void *context)
{
    struct crowd *c = context;
    for (int i = 0; i < ROUNDS; i++) {
        expect_ok(naru_semaphore_acquire(c->s, 1, 30 * NARU_S));
        int inside = atomic_fetch_add(&c->inside, 1) + 1;
        if (inside > atomic_load(&c->most))
            atomic_store(&c->most, inside);
        atomic_fetch_sub(&c->inside, 1);
        expect_ok(naru_semaphore_release(c->s, 1));
    }
    return NULL;
}

static void threads(void)
{
    const char *url = test_url("shm:%s/s");
    struct crowd c = {.s = open_owned(url, 2, 0)};
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, crowd_thread, &c);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    expect(c.most <= 2);
    expect_code(0, naru_semaphore_owned(c.s));
    expect(value_of(c.s) == 2);
    naru_semaphore_close(c.s);
    expect_ok(naru_remove(url));
}

/* A second thread comes while the first is held up by a signal at whatever instruction, inside its
 * call or outside: it waits until that one has done with the record. */
static struct {
    naru_semaphore *s;
    _Atomic int rounds, held, second_done, stop;
} meeting;

static void hold_up(int number)
{
    int64_t end = test_now() + NARU_MS;
    (void)number;
    atomic_store(&meeting.held, 1);
    while (!atomic_load(&meeting.second_done) && test_now() < end)
        ;
}

static void *first_thread(void *context)
{
    (void)context;
    while (!atomic_load(&meeting.stop)) {
        expect_ok(naru_semaphore_acquire(meeting.s, 1, NARU_NOWAIT));
        expect_ok(naru_semaphore_release(meeting.s, 1));
        atomic_fetch_add_explicit(&meeting.rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

static void second_thread(void)
{
    enum { MEETINGS = 400, ALONE = 50 };
    const char *url = test_url("shm:%s/s");
    signal(SIGUSR1, hold_up);
    for (int i = 0; i < MEETINGS; i++) {
        pthread_t first;
        memset(&meeting, 0, sizeof meeting);
        meeting.s = open_owned(url, 4, 0);
        pthread_create(&first, NULL, first_thread, NULL);
        await(&meeting.rounds, ALONE + i % 7);
        pthread_kill(first, SIGUSR1);
        while (!atomic_load(&meeting.held))
            ;
        expect_ok(naru_semaphore_acquire(meeting.s, 1, NARU_NOWAIT));
        atomic_store(&meeting.stop, 1);
        atomic_store(&meeting.second_done, 1);
        pthread_join(first, NULL);
        expect_code(1, naru_semaphore_owned(meeting.s)); /* the second one's */
        expect_ok(naru_semaphore_release(meeting.s, 1));
        expect_code(0, naru_semaphore_owned(meeting.s));
        expect(value_of(meeting.s) == 4);
        naru_semaphore_close(meeting.s);
    }
    signal(SIGUSR1, SIG_DFL);
    expect_ok(naru_remove(url));
}

/* ---- fairness ---- */

struct race {
    const char *url;
    _Atomic int ready, go, stop;
    struct {
        int64_t longest, total;
        int rounds;
    } racer[64];
};
struct racer {
    struct race *race;
    int i;
};

static void run_race(void *context)
{
    struct racer *me = context;
    struct race *r = me->race;
    naru_semaphore *s = open_owned(r->url, 0, 0);
    atomic_fetch_add(&r->ready, 1);
    await(&r->go, 1);
    while (!atomic_load(&r->stop)) {
        int64_t begin = test_now();
        expect_ok(naru_semaphore_acquire(s, 1, 30 * NARU_S));
        int64_t took = test_now() - begin;
        if (took > r->racer[me->i].longest)
            r->racer[me->i].longest = took;
        r->racer[me->i].total += took;
        r->racer[me->i].rounds++;
        for (int64_t end = test_now() + 20 * NARU_US; test_now() < end;)
            ; /* something to do inside, so that the others come meanwhile */
        expect_ok(naru_semaphore_release(s, 1));
    }
    naru_semaphore_close(s);
}

static void race(int n, unsigned flags)
{
    struct race *r = shared(sizeof *r);
    struct racer me[64];
    pid_t child[64];
    r->url = test_url(flags ? "shm:%s/fair" : "shm:%s/fast");
    naru_semaphore *s = open_owned(r->url, 1, flags);
    for (int i = 0; i < n; i++) {
        me[i] = (struct racer){r, i};
        child[i] = start_child(run_race, &me[i]);
    }
    await(&r->ready, n);
    atomic_store(&r->go, 1);
    usleep(400000);
    atomic_store(&r->stop, 1);
    int64_t longest = 0, total = 0, least = INT64_MAX, most = 0, rounds = 0;
    for (int i = 0; i < n; i++) {
        end_child(child[i]);
        longest = r->racer[i].longest > longest ? r->racer[i].longest : longest;
        least = r->racer[i].rounds < least ? r->racer[i].rounds : least;
        most = r->racer[i].rounds > most ? r->racer[i].rounds : most;
        total += r->racer[i].total;
        rounds += r->racer[i].rounds;
    }
    printf("# %-4s %2d contenders: %7lld rounds, mean wait %8.1f us, longest %8.1f us (%.1f x), "
           "least and most rounds of one %lld %lld\n",
           flags ? "fair" : "fast", n, (long long)rounds, (double)total / (double)rounds / 1e3,
           (double)longest / 1e3, (double)longest * (double)rounds / (double)total,
           (long long)least, (long long)most);
    fflush(stdout);
    expect(rounds > n); /* who is fair is judged in fairness.c, without a clock */
    naru_semaphore_close(s);
    expect_ok(naru_remove(r->url));
    munmap(r, sizeof *r);
}

static void fair_and_fast(void)
{
    for (int n = 2; n <= 64; n = n == 2 ? 4 : n * 4) {
        race(n, NARU_FAIR);
        race(n, 0);
    }
}

/* ---- POSIX's conditions, of naru's plain one and of the kernel's ---- */

struct form {
    const char *name, *url;
    unsigned most;
    bool many_at_once, owned_by_fork, cancels;
};
static const struct form forms[] = {
    {"shm", "shm:%s/p", INT_MAX, true, false, true},
    {"posix-sem", "posix-sem:/%s-p", SEM_VALUE_MAX, false, false, false},
    {"sysv-sem", "sysv-sem:%s#7", 32767, true, false, false},
};

static _Atomic int signalled;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signalled, 1);
}

static void post_later(void *context)
{
    naru_semaphore *s = open_plain(context, 0);
    usleep(SOON_MS * 1000);
    expect_ok(naru_semaphore_post(s, 1));
    naru_semaphore_close(s);
}

static void interrupt_then_post(void *context)
{
    naru_semaphore *s = open_plain(context, 0);
    for (int i = 0; i < 5; i++) {
        usleep(5000);
        kill(getppid(), SIGUSR1);
    }
    expect_ok(naru_semaphore_post(s, 1));
    naru_semaphore_close(s);
}

static void conditions(const struct form *f)
{
    char url[256], other[256];
    snprintf(url, sizeof url, "%s", test_url(f->url));
    snprintf(other, sizeof other, "%s", url);
    struct naru_semaphore_options o = {sizeof o, .kind = NARU_PLAIN, .value = 2,
                                       .flags = NARU_EXCLUSIVE};
    naru_semaphore *s, *t;
    /* initial value, trywait */
    expect_ok(naru_semaphore_open(url, &o, &s));
    expect(value_of(s) == 2);
    expect_code(-EEXIST, naru_semaphore_open(url, &o, &t));
    expect_ok(naru_semaphore_wait(s, 1, NARU_NOWAIT));
    expect_ok(naru_semaphore_wait(s, 1, NARU_NOWAIT));
    expect_code(-EAGAIN, naru_semaphore_wait(s, 1, NARU_NOWAIT));
    /* timed wait: long past is at once, short, and so far that it cannot be counted */
    int64_t begin = test_now();
    expect_code(-ETIMEDOUT, naru_semaphore_wait(s, 1, 1));
    expect_code(-ETIMEDOUT, naru_semaphore_wait(s, 1, 10 * NARU_MS));
    expect(test_now() - begin >= 10 * NARU_MS);
    expect(test_now() - begin < PATIENCE);
    expect_ok(naru_semaphore_post(s, 1));
    expect_ok(naru_semaphore_wait(s, 1, INT64_MAX));
    expect_ok(naru_semaphore_post(s, 1));
    expect_ok(naru_semaphore_wait(s, 1, 1)); /* what is there is taken, whatever the time */
    expect_ok(naru_semaphore_post(s, 1));
    expect_ok(naru_semaphore_wait(s, 1, INT64_MIN)); /* below 0: for ever */
    /* numbers that cannot be */
    expect_code(-EINVAL, naru_semaphore_wait(s, 0, NARU_NOWAIT));
    if (f->many_at_once) {
        expect_ok(naru_semaphore_post(s, 3));
        expect_code(-EAGAIN, naru_semaphore_wait(s, 4, NARU_NOWAIT));
        expect(value_of(s) == 3);
        expect_ok(naru_semaphore_wait(s, 3, NARU_NOWAIT));
    } else {
        expect_code(-EOPNOTSUPP, naru_semaphore_post(s, 2));
        expect_code(-EOPNOTSUPP, naru_semaphore_wait(s, 2, NARU_NOWAIT));
    }
    expect_code(-EOPNOTSUPP, naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    expect_code(-EOPNOTSUPP, naru_semaphore_release(s, 1));
    /* two processes, one asleep */
    pid_t child = start_child(post_later, url);
    expect_ok(naru_semaphore_wait(s, 1, PATIENCE));
    end_child(child);
    /* a signal during the wait */
    signal(SIGUSR1, on_signal);
    atomic_store(&signalled, 0);
    child = start_child(interrupt_then_post, url);
    expect_ok(naru_semaphore_wait(s, 1, PATIENCE));
    end_child(child);
    expect(atomic_load(&signalled) > 0);
    signal(SIGUSR1, SIG_DFL);
    /* after fork the handle is the parent's */
    child = fork();
    if (child == 0) {
        bool right = naru_semaphore_post(s, 1) == -ECHILD;
        naru_semaphore_close(s);
        _exit(right ? 0 : 1);
    }
    end_child(child);
    expect(value_of(s) == 0);
    /* descriptor and cancel */
    if (f->cancels) {
        expect_ok(naru_cancel(s));
        expect_code(-ECANCELED, naru_semaphore_wait(s, 1, NARU_FOREVER));
    } else {
        expect_code(-EOPNOTSUPP, naru_cancel(s));
        expect_says("neither a descriptor");
        expect_code(-EOPNOTSUPP, naru_fd(s));
    }
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
    expect_code(-ENOENT, naru_remove(url));
    /* post at the maximum */
    o.value = f->most;
    expect_ok(naru_semaphore_open(url, &o, &s));
    expect(value_of(s) == f->most);
    expect_code(-EOVERFLOW, naru_semaphore_post(s, 1));
    expect(value_of(s) == f->most);
    expect_ok(naru_semaphore_wait(s, 1, NARU_NOWAIT));
    expect_ok(naru_semaphore_post(s, 1));
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

static void conditions_shm(void)
{
    conditions(&forms[0]);
}

static void conditions_posix(void)
{
    conditions(&forms[1]);
    /* unlinked while it is open: whoever has it keeps it, and the name is free */
    const char *url = test_url(forms[1].url);
    naru_semaphore *s = open_plain(url, 1), *t;
    expect_ok(naru_remove(url));
    t = open_plain(url, 5);
    expect_ok(naru_semaphore_wait(s, 1, NARU_NOWAIT));
    expect(value_of(s) == 0 && value_of(t) == 5);
    naru_semaphore_close(s);
    naru_semaphore_close(t);
    expect_ok(naru_remove(url));
    /* another program's, by its own calls */
    const char *name = strchr(url, '/');
    sem_t *theirs = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
    expect(theirs != SEM_FAILED);
    s = open_plain(url, 0);
    expect_ok(naru_semaphore_wait(s, 1, NARU_NOWAIT));
    expect(sem_trywait(theirs) < 0 && errno == EAGAIN);
    expect_ok(naru_semaphore_post(s, 1));
    expect(sem_trywait(theirs) == 0);
    sem_close(theirs);
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

static void conditions_sysv(void)
{
    conditions(&forms[2]);
    struct holder *h = shared(sizeof *h); /* SEM_UNDO */
    *h = (struct holder){.url = test_url("sysv-sem:%s#8"), .n = 1};
    naru_semaphore *s = open_owned(h->url, 1, 0);
    pid_t child = start_child(hold, h);
    await(&h->holds, 1);
    expect_code(-EPERM, naru_semaphore_release(s, 1));
    expect_code(-EAGAIN, naru_semaphore_acquire(s, 1, NARU_NOWAIT));
    kill(child, SIGKILL);
    expect_ok(naru_semaphore_acquire(s, 1, PATIENCE));
    waitpid(child, NULL, 0);
    expect_ok(naru_remove(h->url));
    expect_code(-EIDRM, naru_semaphore_release(s, 1));
    naru_semaphore_close(s);
}

/* ---- in a region ---- */

static void in_region(void)
{
    naru_region *r, *q;
    naru_semaphore *s, *t;
    size_t bytes = naru_lock_bytes(8);
    struct naru_semaphore_options o = {sizeof o, .value = 2, .participants = 8};
    const char *url = test_url("shm:%s/r");
    expect_ok(naru_region_create(url, 128 + bytes, NULL, &r));
    expect_ok(naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &q));
    expect_code(-EINVAL, naru_semaphore_at(r, 100, &o, &s));
    expect_code(-ENOSPC, naru_semaphore_at(r, 256, &o, &s));
    o.flags = NARU_EXISTING;
    expect_code(-ENOENT, naru_semaphore_at(r, 128, &o, &s));
    o.flags = 0;
    expect_ok(naru_semaphore_at(r, 128, &o, &s));
    expect_ok(naru_semaphore_at(q, 128, &o, &t));
    expect_ok(naru_semaphore_acquire(s, 2, NARU_NOWAIT));
    expect_code(-EAGAIN, naru_semaphore_acquire(t, 1, NARU_NOWAIT));
    expect_ok(naru_semaphore_release(s, 1));
    descriptor_of(url, t, s); /* of one permit that goes to and fro */
    pid_t child = fork();
    if (child == 0) {
        naru_region *mine;
        naru_semaphore *u;
        if (naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &mine) < 0 ||
            naru_semaphore_at(mine, 128, NULL, &u) < 0 ||
            naru_semaphore_acquire(u, 1, NARU_NOWAIT) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    expect(WIFSIGNALED(status));
    expect_ok(naru_semaphore_acquire(t, 1, PATIENCE));
    expect(value_of(s) == 0);
    naru_semaphore_close(s);
    naru_semaphore_close(t);
    ((unsigned char *)naru_region_data(r))[128] ^= 1; /* not naru's any more */
    expect_code(-EPROTO, naru_semaphore_at(q, 128, &o, &t));
    naru_region_close(q);
    expect_ok(naru_region_open(url, NARU_READ, NULL, &q));
    expect_code(-EPERM, naru_semaphore_at(q, 128, &o, &t));
    naru_region_close(q);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

/* ---- memory that others have spoiled ---- */

static void spoiled(void)
{
    enum { KIND = 4096 + 128 };
    struct naru_semaphore_options o = {sizeof o, .value = 2, .participants = 2};
    naru_region *r;
    naru_semaphore *s, *t;
    expect_ok(naru_region_create(NULL, naru_lock_bytes(2), NULL, &r));
    expect_ok(naru_semaphore_at(r, 0, &o, &s));
    expect_ok(naru_semaphore_at(r, 0, &o, &t));
    unsigned char *memory = naru_region_data(r);
    _Atomic uint64_t *word = (void *)(memory + KIND);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t right = atomic_load(word);
        atomic_store(word, right ^ UINT64_C(1) << bit);
        int a = naru_semaphore_acquire(s, 1, NARU_MS);
        int b = naru_semaphore_acquire(t, 2, NARU_MS);
        expect(a == 0 || a == -EPROTO || a == -ETIMEDOUT);
        expect(b == 0 || b == -EPROTO || b == -ETIMEDOUT);
        if (a == 0)
            (void)naru_semaphore_release(s, 1);
        if (b == 0)
            (void)naru_semaphore_release(t, 2);
        atomic_store(word, right);
    }
    /* every byte of state and records, each value in turn */
    for (size_t at = 4096; at < naru_lock_bytes(2); at++) {
        if (at == 8192 || (at > 4096 && at < KIND))
            continue;
        unsigned char right = memory[at];
        for (int step = 1; step < 256; step += at >= KIND && at < KIND + 256 ? 1 : 37) {
            memory[at] = (unsigned char)(right + step);
            int a = naru_semaphore_acquire(s, 1, NARU_NOWAIT);
            if (a == 0)
                (void)naru_semaphore_release(s, 1);
            memory[at] = right;
        }
    }
    memset(memory + 4096, 0xa5, naru_lock_bytes(2) - 4096);
    (void)naru_semaphore_acquire(s, 1, 10 * NARU_MS);
    (void)naru_semaphore_release(s, 1);
    naru_semaphore_close(s);
    naru_semaphore_close(t);
    naru_region_close(r);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"owned permits", owned},
        {"options", options},
        {"10 000 permits, 1 000 participants", many},
        {"the owner is killed", killed},
        {"the owner is stopped", stopped},
        {"revoked", revoked},
        {"killed and revoked at random", storm},
        {"cancelled", cancelled},
        {"large requests are not starved", large_requests},
        {"removed while open", removed},
        {"forked", forked},
        {"readiness in a foreign loop", descriptor},
        {"threads of one handle", threads},
        {"a second thread at its record", second_thread},
        {"fair and fast", fair_and_fast},
        {"POSIX's conditions: shm", conditions_shm},
        {"POSIX's conditions: posix-sem", conditions_posix},
        {"POSIX's conditions: sysv-sem", conditions_sysv},
        {"in a region", in_region},
        {"spoiled memory", spoiled},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
