/* SPDX-License-Identifier: MIT */
/* barrier.c - barriers: nobody passes before all are there, one is the serial one, and a dead party
 * is reported and not waited for. */
#include "locks.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static naru_barrier *open_barrier(const char *url, unsigned parties, unsigned flags)
{
    naru_barrier *b;
    struct naru_barrier_options o = {sizeof o, .parties = parties, .flags = flags};
    expect_ok(naru_barrier_open(url, &o, &b));
    return b;
}

static void await_arrived(naru_barrier *b, int n)
{
    int64_t end = test_now() + PATIENCE;
    while (naru_barrier_arrived(b) != n) {
        expect(test_now() < end);
        usleep(200);
    }
}

static pid_t dead_of(naru_barrier *b)
{
    pid_t pid = -1;
    int r = naru_barrier_dead(b, &pid);
    expect_ok(r);
    expect(r == (pid != -1));
    return pid;
}

static void alone(void)
{
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 1, 0);
    for (int i = 0; i < 3; i++)
        expect_code(1, naru_barrier_wait(b, i ? NARU_FOREVER : NARU_NOWAIT));
    expect_code(1, naru_barrier_arrive(b));
    expect(dead_of(b) == -1);
    expect_ok(naru_barrier_reset(b));
    expect_code(1, naru_barrier_wait(b, NARU_NOWAIT));
    naru_barrier_close(b);
    expect_ok(naru_remove(url));
}

static void options(void)
{
    naru_barrier *b, *c;
    naru_event *e;
    const char *url = test_url("shm:%s/b");
    struct naru_barrier_options o = {.size = sizeof o};
    expect_code(-EINVAL, naru_barrier_open(url, NULL, &b));
    expect_says(".parties");
    o.flags = NARU_EXISTING;
    expect_code(-ENOENT, naru_barrier_open(url, &o, &b));
    o = (struct naru_barrier_options){sizeof o, .parties = 4096};
    expect_code(-EINVAL, naru_barrier_open(url, &o, &b));
    expect_says("4095");
    o = (struct naru_barrier_options){sizeof o, .parties = 3, .mode = 0640};
    expect_ok(naru_barrier_open(url, &o, &b));
    o.parties = 4;
    expect_code(-EEXIST, naru_barrier_open(url, &o, &c));
    expect_says("3 parties");
    expect_says("4");
    o = (struct naru_barrier_options){sizeof o, .mode = 0600};
    expect_code(-EEXIST, naru_barrier_open(url, &o, &c));
    o = (struct naru_barrier_options){sizeof o, .flags = NARU_EXCLUSIVE};
    expect_code(-EEXIST, naru_barrier_open(url, &o, &c));
    o = (struct naru_barrier_options){sizeof o, .flags = 1u << 30};
    expect_code(-EINVAL, naru_barrier_open(url, &o, &c));
    o = (struct naru_barrier_options){sizeof o, .participants = 5000};
    expect_code(-EINVAL, naru_barrier_open(url, &o, &c));
    expect_code(-EEXIST, naru_event_open(url, NULL, &e));
    expect_says("is a barrier, and an event was asked for");
    expect_code(-EINVAL, naru_event_set((naru_event *)(void *)b));
    naru_barrier_close(b);
    expect_ok(naru_remove(url));
    expect_code(-EOPNOTSUPP, naru_barrier_open("sysv-sem:/tmp#1", NULL, &b));
    expect_says("shm:name");
}

/* ---- rounds ---- */

enum { PARTIES = 6, ROUNDS = 400 };
struct meeting {
    const char *url;
    naru_barrier *shared; /* of threads: one handle */
    unsigned flags;
    _Atomic int at[PARTIES]; /* the round that each has come to */
    _Atomic int serial[ROUNDS];
    _Atomic int next;
};

static void meet(struct meeting *m, naru_barrier *b, int me)
{
    for (int i = 0; i < ROUNDS; i++) {
        atomic_store_explicit(&m->at[me], i + 1, memory_order_relaxed);
        int r = naru_barrier_wait(b, 30 * NARU_S);
        if (r < 0)
            test_failed(__FILE__, __LINE__, "round %d: %d, %s", i, r, naru_why());
        atomic_fetch_add(&m->serial[i], r);
        for (int k = 0; k < PARTIES; k++) /* all were there, and nobody is further than the next */
            expect(m->at[k] == i + 1 || m->at[k] == i + 2);
    }
}

static void meet_in_child(void *context)
{
    struct meeting *m = context;
    naru_barrier *b = open_barrier(m->url, 0, m->flags);
    meet(m, b, atomic_fetch_add(&m->next, 1));
    naru_barrier_close(b);
}

static void *meet_in_thread(void *context)
{
    struct meeting *m = context;
    meet(m, m->shared, atomic_fetch_add(&m->next, 1));
    return NULL;
}

static void rounds(void)
{
    for (int k = 0; k < 3; k++) {
        struct meeting *m = shared(sizeof *m);
        *m = (struct meeting){.url = test_url("shm:%s/b"), .flags = k == 1 ? NARU_SLEEP : 0};
        static naru_barrier *seen; /* a forked child's leak check does not look into `m` */
        seen = m->shared = open_barrier(m->url, PARTIES, m->flags);
        pid_t child[PARTIES];
        pthread_t thread[PARTIES];
        for (int i = 0; i < PARTIES; i++)
            if (k == 2)
                pthread_create(&thread[i], NULL, meet_in_thread, m);
            else
                child[i] = start_child(meet_in_child, m);
        for (int i = 0; i < PARTIES; i++)
            if (k == 2)
                pthread_join(thread[i], NULL);
            else
                end_child(child[i]);
        for (int i = 0; i < ROUNDS; i++)
            expect(m->serial[i] == 1);
        naru_barrier_close(seen);
        expect_ok(naru_remove(m->url));
    }
}

/* ---- ends of waits ---- */

struct waiter {
    naru_barrier *b;
    const char *url;
    int64_t timeout, took;
    _Atomic int result, ended, opened, go;
};

static void *wait_in_thread(void *context)
{
    struct waiter *w = context;
    int64_t begin = test_now();
    int r = naru_barrier_wait(w->b, w->timeout);
    w->took = test_now() - begin;
    atomic_store(&w->result, r);
    atomic_store(&w->ended, 1);
    return NULL;
}

static void start_waiter(struct waiter *w, naru_barrier *b, int64_t timeout, pthread_t *thread)
{
    *w = (struct waiter){.b = b, .timeout = timeout, .result = 99};
    pthread_create(thread, NULL, wait_in_thread, w);
}

/* Who gives up has not arrived. */
static void given_up(void)
{
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 3, NARU_SLEEP), *c = open_barrier(url, 3, NARU_SLEEP);
    struct waiter w;
    pthread_t thread;
    expect_code(-EAGAIN, naru_barrier_wait(b, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_barrier_wait(b, 10 * NARU_MS));
    expect_says("0 of 3 are there without this one");
    expect_code(0, naru_barrier_arrived(b));
    start_waiter(&w, b, NARU_FOREVER, &thread);
    await_arrived(c, 1);
    expect_code(-EAGAIN, naru_barrier_wait(c, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_barrier_wait(c, 10 * NARU_MS));
    expect_says("1 of 3");
    expect_code(1, naru_barrier_arrived(c));
    expect_ok(naru_cancel(b));
    pthread_join(thread, NULL);
    expect(w.result == -ECANCELED);
    expect_code(0, naru_barrier_arrived(c));
    expect_ok(naru_cancel(b)); /* sticky */
    expect_code(-ECANCELED, naru_barrier_wait(b, NARU_FOREVER));
    expect_code(0, naru_barrier_arrived(c));
    /* and the round is none the worse for it */
    struct waiter v;
    pthread_t second;
    start_waiter(&w, b, PATIENCE, &thread);
    start_waiter(&v, b, PATIENCE, &second);
    await_arrived(c, 2);
    expect_code(1, naru_barrier_wait(c, NARU_NOWAIT)); /* the last one needs not wait */
    pthread_join(thread, NULL);
    pthread_join(second, NULL);
    expect(w.result == 0 && v.result == 0);
    naru_barrier_close(b);
    naru_barrier_close(c);
    expect_ok(naru_remove(url));
}

static void removed(void)
{
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 2, NARU_SLEEP);
    struct waiter w;
    pthread_t thread;
    pid_t pid;
    start_waiter(&w, b, NARU_FOREVER, &thread);
    await_arrived(b, 1);
    usleep(SOON_MS * 1000);
    expect_ok(naru_remove(url));
    pthread_join(thread, NULL);
    expect(w.result == -EIDRM);
    expect_code(-EIDRM, naru_barrier_wait(b, NARU_NOWAIT));
    expect_code(-EIDRM, naru_barrier_arrive(b));
    expect_code(-EIDRM, naru_barrier_reset(b));
    expect_code(-EIDRM, naru_barrier_arrived(b));
    expect_code(-EIDRM, naru_barrier_dead(b, &pid));
    naru_barrier_close(b);
}

static void forked(void)
{
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 2, 0);
    expect_code(0, naru_barrier_arrive(b));
    pid_t child = fork();
    if (child == 0) {
        bool right = naru_barrier_wait(b, 0) == -ECHILD && naru_barrier_arrive(b) == -ECHILD &&
                     naru_barrier_reset(b) == -ECHILD && naru_fd(b) == -ECHILD;
        naru_barrier_close(b); /* the parent has still arrived */
        _exit(right ? 0 : 1);
    }
    end_child(child);
    expect_code(1, naru_barrier_arrived(b));
    expect(dead_of(b) == -1); /* a forked child is no party */
    naru_barrier_close(b);
    b = open_barrier(url, 2, 0);
    expect_code(0, naru_barrier_arrived(b));
    naru_barrier_close(b);
    expect_ok(naru_remove(url));
}

/* ---- arriving without waiting, and the descriptor ---- */

static void arrive(void)
{
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 2, 0), *c = open_barrier(url, 2, 0);
    expect_code(0, naru_barrier_arrive(b));
    expect_code(-EBUSY, naru_barrier_arrive(b));
    expect_code(-EAGAIN, naru_barrier_wait(b, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_barrier_wait(b, 10 * NARU_MS));
    expect_says("1 of 2 are there");
    expect_code(1, naru_barrier_arrived(c)); /* still */
    expect_code(1, naru_barrier_arrive(c));
    expect_code(0, naru_barrier_arrive(c)); /* of the next round */
    expect_ok(naru_barrier_wait(b, NARU_NOWAIT));
    expect_code(1, naru_barrier_wait(b, NARU_NOWAIT));
    expect_ok(naru_barrier_wait(c, NARU_NOWAIT));
    expect_code(0, naru_barrier_arrive(c));
    naru_barrier_close(c); /* has not arrived after all */
    expect_code(0, naru_barrier_arrived(b));
    naru_barrier_close(b);
    expect_ok(naru_remove(url));
}

static void descriptor_of(naru_barrier *b, naru_barrier *c, int settle_ms)
{
    int fd = naru_fd(c);
    expect_ok(fd);
    expect(!readable(fd, settle_ms) || naru_barrier_wait(c, NARU_NOWAIT) == -EAGAIN);
    /* the last one would not wait */
    expect_code(0, naru_barrier_arrive(b));
    expect(readable(fd, PATIENCE_MS));
    while (naru_barrier_wait(c, NARU_NOWAIT) == -EAGAIN)
        expect(readable(fd, PATIENCE_MS));
    expect_ok(naru_barrier_wait(b, NARU_NOWAIT));
    /* who has arrived would not wait any more */
    expect_code(0, naru_barrier_arrive(c));
    expect(!readable(fd, settle_ms) || naru_barrier_wait(c, NARU_NOWAIT) == -EAGAIN);
    expect_code(1, naru_barrier_wait(b, NARU_NOWAIT));
    expect(readable(fd, PATIENCE_MS));
    while (naru_barrier_wait(c, NARU_NOWAIT) == -EAGAIN)
        expect(readable(fd, PATIENCE_MS));
}

static void die(void *context)
{
    (void)open_barrier(context, 0, 0);
    kill(getpid(), SIGKILL);
}

static void descriptor(void)
{
    char url[200];
    snprintf(url, sizeof url, "%s", test_url("shm:%s/b"));
    naru_barrier *b = open_barrier(url, 2, 0), *c = open_barrier(url, 2, 0);
    descriptor_of(b, c, SOON_MS);
    waitpid(start_child(die, url), NULL, 0); /* and a death */
    int64_t end = test_now() + PATIENCE;
    while (naru_barrier_wait(c, NARU_NOWAIT) != -EOWNERDEAD) {
        expect(test_now() < end);
        expect(readable(naru_fd(c), PATIENCE_MS));
    }
    expect(readable(naru_fd(c), 0));
    expect_ok(naru_barrier_reset(b));
    expect_code(-EAGAIN, naru_barrier_wait(c, NARU_NOWAIT));
    expect(!readable(naru_fd(c), SOON_MS) || naru_barrier_wait(c, NARU_NOWAIT) == -EAGAIN);
    naru_barrier_close(b);
    naru_barrier_close(c);
    expect_ok(naru_remove(url));
}

/* ---- death ---- */

static void wait_in_child(void *context)
{
    struct waiter *w = context;
    naru_barrier *b = open_barrier(w->url, 0, NARU_SLEEP);
    atomic_store(&w->opened, 1);
    await(&w->go, 1);
    int r = naru_barrier_wait(b, 30 * NARU_S);
    atomic_store(&w->result, r);
    atomic_store(&w->ended, 1);
    naru_barrier_close(b);
}

static struct waiter *child_waits(const char *url, int go, pid_t *ret_child)
{
    struct waiter *w = shared(sizeof *w);
    *w = (struct waiter){.url = url, .go = go, .result = 99};
    *ret_child = start_child(wait_in_child, w);
    return w;
}

/* arrived: it dies while it waits, else before. */
static void killed(bool arrived)
{
    char says[40];
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 3, NARU_SLEEP);
    pid_t other, victim;
    struct waiter *w = child_waits(url, 1, &other);
    await_arrived(b, 1);
    struct waiter *v = child_waits(url, arrived, &victim);
    if (arrived)
        await_arrived(b, 2);
    else
        await(&v->opened, 1);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    int64_t begin = test_now();
    await(&w->ended, 1);
    printf("# %.1f ms after the kernel's report\n", (double)(test_now() - begin) / 1e6);
    fflush(stdout);
    expect(test_now() - begin < PATIENCE);
    expect(w->result == -EOWNERDEAD);
    end_child(other);
    /* until it is reset, whoever comes */
    naru_barrier *c = open_barrier(url, 0, 0);
    for (int i = 0; i < 2; i++) {
        expect_code(-EOWNERDEAD, naru_barrier_wait(i ? b : c, i ? NARU_FOREVER : NARU_NOWAIT));
        snprintf(says, sizeof says, "process %d,", victim);
        expect_says(says);
        expect(dead_of(b) == victim);
        expect_code(-EOWNERDEAD, naru_barrier_arrive(c));
    }
    expect_code(0, naru_barrier_arrived(c));
    expect_ok(naru_barrier_reset(c));
    expect(dead_of(b) == -1);
    expect_code(0, naru_barrier_arrived(b));
    /* and begins anew, with others in the dead ones' places */
    expect_code(0, naru_barrier_arrive(b));
    expect_code(0, naru_barrier_arrive(c));
    naru_barrier *d = open_barrier(url, 3, 0);
    expect_code(1, naru_barrier_wait(d, NARU_NOWAIT));
    expect_ok(naru_barrier_wait(b, NARU_NOWAIT));
    expect_ok(naru_barrier_wait(c, NARU_NOWAIT));
    naru_barrier_close(b);
    naru_barrier_close(c);
    naru_barrier_close(d);
    expect_ok(naru_remove(url));
}

static void killed_before(void)
{
    killed(false);
}

static void killed_waiting(void)
{
    killed(true);
}

/* Whether they wait for each other or not: each who opens it next is told, too, and so is who
 * comes to clean up. */
static void killed_and_nobody_there(void)
{
    char url[200];
    struct naru_collected c = {.size = sizeof c};
    snprintf(url, sizeof url, "%s", test_url("shm:%s/b"));
    naru_barrier *b = open_barrier(url, 2, 0);
    naru_barrier_close(b);
    pid_t child = start_child(die, url);
    waitpid(child, NULL, 0);
    b = open_barrier(url, 0, 0); /* takes the dead one's record */
    expect_code(-EOWNERDEAD, naru_barrier_wait(b, NARU_NOWAIT));
    expect(dead_of(b) == child);
    expect_ok(naru_barrier_reset(b));
    child = start_child(die, url);
    waitpid(child, NULL, 0);
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 1 && dead_of(b) == child);
    expect_ok(naru_barrier_reset(b));
    child = start_child(die, url);
    waitpid(child, NULL, 0);
    expect_ok(naru_barrier_reset(b)); /* forgets what nobody had found yet */
    expect_code(-EAGAIN, naru_barrier_wait(b, NARU_NOWAIT));
    naru_barrier_close(b);
    expect_ok(naru_remove(url));
}

/* Stopped is slow. */
static void stopped(void)
{
    const char *url = test_url("shm:%s/b");
    naru_barrier *b = open_barrier(url, 3, NARU_SLEEP), *c = open_barrier(url, 3, 0);
    pid_t child;
    struct waiter *w = child_waits(url, 1, &child);
    await_arrived(b, 1);
    kill(child, SIGSTOP);
    expect_code(-ETIMEDOUT, naru_barrier_wait(b, 200 * NARU_MS));
    expect(dead_of(b) == -1);
    expect_code(0, naru_barrier_arrive(c)); /* it has arrived, so the round goes on without it */
    expect_code(1, naru_barrier_wait(b, PATIENCE));
    expect_ok(naru_barrier_wait(c, NARU_NOWAIT));
    /* broken and reset meanwhile: its round was completed all the same */
    char name[200];
    snprintf(name, sizeof name, "%s", url);
    waitpid(start_child(die, name), NULL, 0);
    expect_code(-EOWNERDEAD, naru_barrier_wait(b, PATIENCE));
    expect_ok(naru_barrier_reset(b));
    expect(w->ended == 0);
    kill(child, SIGCONT);
    await(&w->ended, 1);
    expect(w->result == 0);
    end_child(child);
    /* and of one that was not it is told, though it has slept through the reset */
    w = child_waits(url, 1, &child);
    await_arrived(b, 1);
    kill(child, SIGSTOP);
    waitpid(start_child(die, name), NULL, 0);
    expect_code(-EOWNERDEAD, naru_barrier_wait(b, PATIENCE));
    expect_ok(naru_barrier_reset(b));
    for (int i = 0; i < 3; i++) { /* a round is completed besides */
        naru_barrier *d[] = {b, c, open_barrier(url, 0, 0)};
        for (int k = 0; k < 3; k++)
            expect_code(k == 2, naru_barrier_arrive(d[k]));
        for (int k = 0; k < 2; k++)
            expect_ok(naru_barrier_wait(d[k], NARU_NOWAIT));
        naru_barrier_close(d[2]);
    }
    kill(child, SIGCONT);
    await(&w->ended, 1);
    expect(w->result == -EOWNERDEAD);
    end_child(child);
    naru_barrier_close(b);
    naru_barrier_close(c);
    expect_ok(naru_remove(url));
}

/* Killed at random, and reset by whoever is told: nobody hangs, and what was completed was so by
 * all. */
struct storm {
    const char *url;
    _Atomic long rounds, deaths;
    _Atomic int stop;
};

static void storm_child(void *context)
{
    struct storm *t = context;
    naru_barrier *b = open_barrier(t->url, 0, 0);
    while (!atomic_load(&t->stop)) {
        int r = naru_barrier_wait(b, 500 * NARU_MS);
        if (r >= 0)
            atomic_fetch_add(&t->rounds, 1);
        else if (r == -EOWNERDEAD && naru_barrier_reset(b) == 0)
            atomic_fetch_add(&t->deaths, 1);
        else if (r != -ETIMEDOUT)
            test_failed(__FILE__, __LINE__, "%d, %s", r, naru_why());
    }
    naru_barrier_close(b);
}

static void storm(void)
{
    enum { CHILDREN = 3, KILLS = 60 };
    struct storm *t = shared(sizeof *t);
    *t = (struct storm){.url = test_url("shm:%s/b")};
    naru_barrier *b = open_barrier(t->url, CHILDREN, 0);
    pid_t child[CHILDREN];
    unsigned seed = 1;
    for (int i = 0; i < CHILDREN; i++)
        child[i] = start_child(storm_child, t);
    for (int i = 0; i < KILLS; i++) {
        long before = atomic_load(&t->rounds);
        usleep((useconds_t)(rand_r(&seed) % 3000));
        pid_t *c = &child[rand_r(&seed) % CHILDREN];
        kill(*c, SIGKILL);
        waitpid(*c, NULL, 0);
        *c = start_child(storm_child, t);
        int64_t end = test_now() + PATIENCE;
        while (atomic_load(&t->rounds) < before + CHILDREN && test_now() < end)
            usleep(500);
        expect(test_now() < end); /* they go on */
    }
    atomic_store(&t->stop, 1);
    for (int i = 0; i < CHILDREN; i++)
        end_child(child[i]);
    printf("# %ld rounds, %ld resets after %d kills\n", (long)t->rounds, (long)t->deaths, KILLS);
    fflush(stdout);
    expect(t->deaths > 0);
    naru_barrier_close(b);
    expect_ok(naru_remove(t->url));
}

/* ---- in a region, and many ---- */

static void in_region(void)
{
    naru_region *r, *q;
    naru_barrier *b, *c;
    size_t bytes = naru_lock_bytes(8);
    struct naru_barrier_options o = {sizeof o, .parties = 2, .participants = 8};
    const char *url = test_url("shm:%s/r");
    expect_ok(naru_region_create(url, 128 + bytes, NULL, &r));
    expect_ok(naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &q));
    o.parties = 0;
    expect_code(-EINVAL, naru_barrier_at(r, 128, &o, &b));
    o.parties = 2;
    expect_code(-ENOSPC, naru_barrier_at(r, 256, &o, &b));
    expect_ok(naru_barrier_at(r, 128, &o, &b));
    expect_ok(naru_barrier_at(q, 128, NULL, &c));
    descriptor_of(b, c, SOON_MS);
    pid_t child = fork();
    if (child == 0) {
        naru_region *mine;
        naru_barrier *d;
        if (naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &mine) < 0 ||
            naru_barrier_at(mine, 128, NULL, &d) < 0 || naru_barrier_arrive(d) != 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    expect(WIFSIGNALED(status));
    expect_code(1, naru_barrier_wait(b, PATIENCE)); /* it had arrived */
    expect_code(-EOWNERDEAD, naru_barrier_wait(c, PATIENCE));
    expect(dead_of(b) == child);
    expect_ok(naru_barrier_reset(b));
    naru_barrier_close(b);
    naru_barrier_close(c);
    naru_region_close(q);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void many(void)
{
    enum { HANDLES = 1000 };
    static naru_barrier *b[HANDLES];
    naru_barrier *more;
    const char *url = test_url("shm:%s/b");
    struct naru_barrier_options o = {sizeof o, .parties = HANDLES, .participants = HANDLES};
    for (int i = 0; i < HANDLES; i++)
        expect_ok(naru_barrier_open(url, &o, &b[i]));
    expect_code(-ENOSPC, naru_barrier_open(url, &o, &more));
    expect_says("as many participants as it can have: 1000");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < HANDLES; i++)
            expect_code(i == HANDLES - 1, naru_barrier_arrive(b[i]));
        for (int i = 0; i < HANDLES - 1; i++)
            expect_ok(naru_barrier_wait(b[i], NARU_NOWAIT));
    }
    static struct waiter w[HANDLES]; /* and asleep */
    static pthread_t thread[HANDLES];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    for (int i = 0; i < HANDLES - 1; i++) {
        w[i] = (struct waiter){.b = b[i], .timeout = 60 * NARU_S, .result = 99};
        expect(pthread_create(&thread[i], &small, wait_in_thread, &w[i]) == 0);
    }
    await_arrived(b[HANDLES - 1], HANDLES - 1);
    int64_t begin = test_now();
    expect_code(1, naru_barrier_wait(b[HANDLES - 1], NARU_NOWAIT));
    for (int i = 0; i < HANDLES - 1; i++) {
        pthread_join(thread[i], NULL);
        expect(w[i].result == 0);
    }
    printf("# %d were released within %.1f ms\n", HANDLES - 1, (double)(test_now() - begin) / 1e6);
    fflush(stdout);
    pthread_attr_destroy(&small);
    for (int i = 0; i < HANDLES; i++)
        naru_barrier_close(b[i]);
    expect_ok(naru_remove(url));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"alone", alone},
        {"options", options},
        {"rounds", rounds},
        {"who gives up has not arrived", given_up},
        {"removed", removed},
        {"forked", forked},
        {"arriving without waiting", arrive},
        {"readiness in a foreign loop", descriptor},
        {"killed before it arrives", killed_before},
        {"killed while it waits", killed_waiting},
        {"killed, and nobody there", killed_and_nobody_there},
        {"stopped", stopped},
        {"killed at random", storm},
        {"in a region", in_region},
        {"1 000 participants", many},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
