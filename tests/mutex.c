/* SPDX-License-Identifier: MIT */
/* mutex.c - mutexes and rwlocks: what they promise to the living, and what a death leaves. What is
 * had by one alone is tried with each kind of it, by a name and in a region. */
#include "harness.h"
#include "lock/lock.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON_MS = 20, PARTICIPANTS = 8 };

/* ---- one face for what one alone can have ---- */

union lock {
    void *any;
    naru_mutex *m;
    naru_rwlock *w;
};

static const struct kind {
    const char *name, *noun;
    unsigned flags;
    bool rwlock, placed;
} kinds[] = {
    {"mutex", "a mutex", 0, false, false},
    {"mutex in a region", "a mutex", 0, false, true},
    {"fair mutex", "a mutex", NARU_FAIR, false, false},
    {"mutex that never spins", "a mutex", NARU_SLEEP, false, false},
    {"mutex with priority inheritance", "a mutex", NARU_PRIO_INHERIT, false, false},
    {"the same in a region", "a mutex", NARU_PRIO_INHERIT, false, true},
    {"rwlock", "a rwlock", 0, true, false},
    {"rwlock in a region", "a rwlock", 0, true, true},
    {"fair rwlock", "a rwlock", NARU_FAIR, true, false},
};

static const struct kind *k; /* of this case */
static naru_region *region;  /* where those lie that are in one; of this process */

static int try_open(const char *url, unsigned flags, union lock *l)
{
    struct naru_mutex_options m = {sizeof m, .flags = k->flags | flags};
    struct naru_rwlock_options w = {sizeof w, .flags = k->flags | flags};
    m.participants = w.participants = PARTICIPANTS;
    if (!k->placed)
        return k->rwlock ? naru_rwlock_open(url, &w, &l->w) : naru_mutex_open(url, &m, &l->m);
    if (!region)
        expect_ok(naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &region));
    return k->rwlock ? naru_rwlock_at(region, 128, &w, &l->w)
                     : naru_mutex_at(region, 128, &m, &l->m);
}

static union lock open_lock(const char *url)
{
    union lock l;
    expect_ok(try_open(url, 0, &l));
    return l;
}

static const char *make(union lock *l)
{
    const char *url = test_url("shm:%s/x");
    if (k->placed)
        expect_ok(naru_region_create(url, 128 + naru_lock_bytes(PARTICIPANTS), NULL, &region));
    *l = open_lock(url);
    return url;
}

static int lock(union lock l, int64_t timeout)
{
    return k->rwlock ? naru_rwlock_write(l.w, timeout) : naru_mutex_lock(l.m, timeout);
}

static int unlock(union lock l)
{
    return k->rwlock ? naru_rwlock_unlock(l.w) : naru_mutex_unlock(l.m);
}

static int recover(union lock l)
{
    return k->rwlock ? naru_rwlock_recover(l.w) : naru_mutex_recover(l.m);
}

static int give_up(union lock l)
{
    return k->rwlock ? naru_rwlock_give_up(l.w) : naru_mutex_give_up(l.m);
}

static int dead(union lock l, pid_t *ret_pid)
{
    return k->rwlock ? naru_rwlock_dead(l.w, ret_pid) : naru_mutex_dead(l.m, ret_pid);
}

static void close_lock(union lock l)
{
    if (k->rwlock)
        naru_rwlock_close(l.w);
    else
        naru_mutex_close(l.m);
}

static void end(const char *url)
{
    region = naru_region_close(region);
    expect_ok(naru_remove(url));
}

static void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
    return p;
}

static void await(_Atomic int *word, int value)
{
    int64_t until = test_now() + PATIENCE;
    while (atomic_load(word) < value) {
        expect(test_now() < until);
        usleep(200);
    }
}

/* A thread that does one thing. */
struct job {
    union lock l;
    int (*what)(union lock, int64_t);
    int64_t timeout;
    int result;
    _Atomic int begun, ended;
};

static void *work(void *context)
{
    struct job *j = context;
    atomic_store(&j->begun, (int)syscall(SYS_gettid));
    j->result = j->what(j->l, j->timeout);
    atomic_store(&j->ended, 1);
    return NULL;
}

/* It has begun, and sleeps: so it is among those that wait. */
static void await_asleep(struct job *j)
{
    int64_t end = test_now() + PATIENCE;
    char path[64], state = 0;
    await(&j->begun, 1);
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", j->begun);
    while (state != 'S') {
        FILE *f = fopen(path, "r");
        expect(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
        fclose(f);
        expect(test_now() < end);
    }
}

static int unlock_it(union lock l, int64_t timeout)
{
    (void)timeout;
    return unlock(l);
}
static int recover_it(union lock l, int64_t timeout)
{
    (void)timeout;
    return recover(l);
}
static int lock_and_unlock(union lock l, int64_t timeout)
{
    int r = lock(l, timeout);
    return r < 0 ? r : unlock(l);
}

static int in_thread(union lock l, int (*what)(union lock, int64_t), int64_t timeout)
{
    struct job j = {.l = l, .what = what, .timeout = timeout};
    pthread_t thread;
    pthread_create(&thread, NULL, work, &j);
    pthread_join(thread, NULL);
    return j.result;
}

/* ---- the living ---- */

static void had_by_one(void)
{
    union lock a, b;
    const char *url = make(&a);
    pid_t pid = 77;
    b = open_lock(url);
    expect_code(-EPERM, unlock(a));
    expect_code(0, lock(a, NARU_NOWAIT));
    expect_code(-EAGAIN, lock(b, NARU_NOWAIT));
    int64_t begin = test_now();
    expect_code(-ETIMEDOUT, lock(b, 30 * NARU_MS));
    expect(test_now() - begin >= 30 * NARU_MS);
    expect_says(k->rwlock ? "writes" : "has it");
    expect_code(-EPERM, unlock(b));
    /* error checking by thread */
    expect_code(-EDEADLK, lock(a, NARU_FOREVER));
    expect_says("already");
    expect_code(-EPERM, in_thread(a, unlock_it, 0));
    expect_code(-EPERM, in_thread(a, recover_it, 0));
    expect_code(-ETIMEDOUT, in_thread(a, lock, 10 * NARU_MS)); /* threads of one handle */
    expect_code(-EINVAL, recover(a));
    expect_code(-EINVAL, give_up(a));
    expect_code(-EPERM, recover(b));
    expect_code(0, dead(b, &pid));
    expect(pid == 77);
    expect_code(0, unlock(a));
    expect_code(-EPERM, unlock(a));
    expect_code(0, in_thread(a, lock_and_unlock, NARU_NOWAIT));
    expect_code(0, lock(b, NARU_NOWAIT));
    expect_code(-EAGAIN, lock(a, NARU_NOWAIT));
    close_lock(b); /* unlocks */
    expect_code(0, lock(a, NARU_NOWAIT));
    expect_code(0, unlock(a));
    close_lock(a);
    end(url);
}

/* Whoever changes the word of a new one leaves its name there, as whoever comes later: else a death
 * at once would leave a record of which nobody could say whether it counts. */
static void first_owner(void)
{
    union lock a;
    const char *url = make(&a);
    const struct naru_permits *p = &((const struct naru_lock *)a.any)->permits;
    expect(naru__permits_member(atomic_load(&p->state->word)) == NARU_LOCK_NOBODY);
    expect_code(0, lock(a, NARU_NOWAIT));
    expect(naru__permits_member(atomic_load(&p->state->word)) == p->me);
    expect_code(0, unlock(a));
    expect(naru__permits_member(atomic_load(&p->state->word)) == p->me);
    close_lock(a);
    end(url);
}

static void options(void)
{
    union lock a, b;
    struct naru_mutex_options m = {.size = sizeof m};
    struct naru_rwlock_options w = {.size = sizeof w};
    const char *url = make(&a);
    naru_semaphore *s;
    naru_channel *c;
    if (!k->placed) {
        expect_code(-EEXIST, try_open(url, NARU_EXCLUSIVE, &b));
        expect_code(-EEXIST, naru_queue_open(url, NARU_RECV, NULL, &c));
        expect_says(k->noun);
        expect_code(-EEXIST, naru_semaphore_open(url, NULL, &s));
        expect_says(k->noun);
        if (k->rwlock)
            expect_code(-EEXIST, naru_mutex_open(url, NULL, &b.m));
        else
            expect_code(-EEXIST, naru_rwlock_open(url, NULL, &b.w));
        expect_says(k->noun);
        m.mode = w.mode = 0644;
        expect_code(-EEXIST,
                    k->rwlock ? naru_rwlock_open(url, &w, &b.w) : naru_mutex_open(url, &m, &b.m));
        m.mode = w.mode = 0;
    }
    if (!(k->flags & NARU_FAIR) && !k->placed) {
        m.flags = w.flags = NARU_FAIR;
        expect_code(-EEXIST,
                    k->rwlock ? naru_rwlock_open(url, &w, &b.w) : naru_mutex_open(url, &m, &b.m));
        expect_says("NARU_FAIR");
    }
    if (!(k->flags & NARU_PRIO_INHERIT) && !k->placed) {
        m.flags = w.flags = NARU_PRIO_INHERIT;
        expect_code(k->rwlock ? -EOPNOTSUPP : -EEXIST,
                    k->rwlock ? naru_rwlock_open(url, &w, &b.w) : naru_mutex_open(url, &m, &b.m));
        expect_says("NARU_PRIO_INHERIT");
    }
    if (k->placed) {
        expect_code(-EEXIST, k->rwlock ? naru_mutex_at(region, 128, NULL, &b.m)
                                       : naru_rwlock_at(region, 128, NULL, &b.w));
        expect_says(k->noun);
    }
    m.flags = w.flags = 1u << 30;
    expect_code(-EINVAL,
                k->rwlock ? naru_rwlock_open(url, &w, &b.w) : naru_mutex_open(url, &m, &b.m));
    m.flags = NARU_FAIR | NARU_PRIO_INHERIT;
    expect_code(-EINVAL, naru_mutex_open(url, &m, &b.m));
    m.flags = w.flags = 0;
    m.participants = w.participants = 5000;
    expect_code(-EINVAL,
                k->rwlock ? naru_rwlock_open(url, &w, &b.w) : naru_mutex_open(url, &m, &b.m));
    expect_code(-EOPNOTSUPP, k->rwlock ? naru_rwlock_open("posix-sem:/x", NULL, &b.w)
                                       : naru_mutex_open("posix-sem:/x", NULL, &b.m));
    expect_says("semaphores alone");
    expect_code(-EOPNOTSUPP, naru_mutex_open("fifo:/tmp/x", NULL, &b.m));
    /* a handle of another noun */
    expect_code(-EINVAL, naru_semaphore_acquire(a.any, 1, NARU_NOWAIT));
    expect_code(-EINVAL, k->rwlock ? naru_mutex_lock(a.any, 0) : naru_rwlock_read(a.any, 0));
    close_lock(a);
    end(url);
    if (!k->placed)
        expect_code(-ENOENT, try_open(url, NARU_EXISTING, &b));
}

/* A counter that several processes, each with several threads of one handle, change. */
struct count {
    const char *url;
    volatile long counter;
    _Atomic int wrong;
};

enum { COUNTERS = 3, THREADS = 2, ROUNDS = 2000 };

static struct count *counted;
static union lock counters;

static void *add(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (lock(counters, 30 * NARU_S) != 0)
            atomic_store(&counted->wrong, 1);
        counted->counter = counted->counter + 1;
        if (unlock(counters) != 0)
            atomic_store(&counted->wrong, 1);
    }
    return unused;
}

static void add_in_threads(void *context)
{
    pthread_t thread[THREADS];
    counted = context;
    region = naru_region_close(region); /* the parent's */
    counters = open_lock(counted->url);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, add, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    close_lock(counters);
    region = naru_region_close(region);
}

static void counts(void)
{
    struct count *c = shared(sizeof *c);
    union lock a;
    pid_t child[COUNTERS];
    c->url = make(&a);
    for (int i = 0; i < COUNTERS; i++)
        child[i] = start_child(add_in_threads, c);
    for (int i = 0; i < COUNTERS; i++)
        end_child(child[i]);
    expect(c->wrong == 0);
    expect(c->counter == COUNTERS * THREADS * ROUNDS);
    close_lock(a);
    end(c->url);
}

static void cancelled(void)
{
    union lock a, b;
    const char *url = make(&a);
    b = open_lock(url);
    struct job j = {.l = b, .what = lock, .timeout = NARU_FOREVER};
    pthread_t thread;
    expect_code(0, lock(a, NARU_NOWAIT));
    pthread_create(&thread, NULL, work, &j);
    await(&j.begun, 1);
    usleep(SOON_MS * 1000);
    expect_ok(naru_cancel(b.any));
    pthread_join(thread, NULL);
    expect(j.result == -ECANCELED);
    expect_ok(naru_cancel(b.any)); /* sticky */
    expect_code(-ECANCELED, lock(b, NARU_FOREVER));
    expect_code(0, unlock(a));
    expect_code(0, lock(b, NARU_NOWAIT));
    close_lock(b);
    close_lock(a);
    end(url);
}

static void removed(void)
{
    union lock a, b;
    pid_t pid;
    if (k->placed)
        return; /* it goes with its region */
    const char *url = make(&a);
    b = open_lock(url);
    struct job j = {.l = b, .what = lock, .timeout = NARU_FOREVER};
    pthread_t thread;
    expect_code(0, lock(a, NARU_NOWAIT));
    pthread_create(&thread, NULL, work, &j);
    await(&j.begun, 1);
    usleep(SOON_MS * 1000);
    expect_ok(naru_remove(url));
    pthread_join(thread, NULL);
    expect(j.result == -EIDRM);
    expect_code(-EIDRM, unlock(a));
    expect_code(-EIDRM, lock(b, NARU_FOREVER));
    expect_code(-EIDRM, dead(a, &pid));
    close_lock(a);
    close_lock(b);
    a = open_lock(url); /* another one */
    expect_code(0, lock(a, NARU_NOWAIT));
    close_lock(a);
    end(url);
}

static void forked(void)
{
    union lock a;
    pid_t pid = 1;
    const char *url = make(&a);
    expect_code(0, lock(a, NARU_NOWAIT));
    pid_t child = fork();
    if (child == 0) {
        bool right = lock(a, NARU_NOWAIT) == -ECHILD && unlock(a) == -ECHILD &&
                     recover(a) == -ECHILD && dead(a, &pid) == -ECHILD;
        close_lock(a);
        _exit(right ? 0 : 1);
    }
    end_child(child);
    expect_code(0, unlock(a)); /* it is had still, and by this one */
    close_lock(a);
    end(url);
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

static void descriptor(void)
{
    union lock a, b;
    const char *url = make(&a);
    b = open_lock(url);
    int fd = naru_fd(b.any);
    expect(fd >= 0);
    expect(readable(fd, PATIENCE_MS));
    expect(readable(fd, 0)); /* level-triggered */
    expect_code(0, lock(a, NARU_NOWAIT));
    expect_code(-EAGAIN, lock(b, NARU_NOWAIT)); /* arms it */
    int spurious = 0;
    for (; spurious < 20 && readable(fd, 20); spurious++)
        expect_code(-EAGAIN, lock(b, NARU_NOWAIT));
    expect(k->placed || spurious < 20); /* in a region it looks once a millisecond */
    for (int i = 0; i < 100; i++) {
        expect_code(0, unlock(a));
        expect(readable(fd, PATIENCE_MS));
        expect_code(0, lock(b, NARU_NOWAIT));
        expect_code(0, unlock(b));
        expect_code(0, lock(a, NARU_NOWAIT));
        expect_code(-EAGAIN, lock(b, NARU_NOWAIT));
    }
    expect_ok(naru_cancel(b.any));
    expect(readable(fd, PATIENCE_MS));
    expect_code(-ECANCELED, lock(b, NARU_NOWAIT));
    close_lock(b);
    close_lock(a);
    end(url);
}

/* ---- the dead ---- */

struct holder {
    const char *url;
    bool reads;
    _Atomic int holds;
};

static void hold(void *context)
{
    struct holder *h = context;
    region = naru_region_close(region);
    union lock l = open_lock(h->url);
    int r = h->reads ? naru_rwlock_read(l.w, PATIENCE) : lock(l, PATIENCE);
    expect(r == 0 || r == -EOWNERDEAD);
    atomic_fetch_add(&h->holds, 1);
    for (;;)
        pause();
}

static struct holder *holder(const char *url)
{
    struct holder *h = shared(sizeof *h);
    h->url = url;
    return h;
}

static pid_t held_by_child(struct holder *h)
{
    int n = atomic_load(&h->holds);
    pid_t child = start_child(hold, h);
    await(&h->holds, n + 1);
    return child;
}

static void kill_child(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void expect_dead(union lock l, pid_t pid)
{
    pid_t who = 0;
    char text[40];
    snprintf(text, sizeof text, "process %d died", pid);
    expect_says(text);
    expect_code(1, dead(l, &who));
    expect(who == pid);
}

static void owner_dies(void)
{
    union lock a, b;
    pid_t who = 5;
    const char *url = make(&a);
    struct holder *h = holder(url);
    b = open_lock(url);
    /* somebody waits already */
    pid_t child = held_by_child(h);
    struct job j = {.l = b, .what = lock, .timeout = PATIENCE};
    pthread_t thread;
    pthread_create(&thread, NULL, work, &j);
    await(&j.begun, 1);
    usleep(SOON_MS * 1000);
    kill(child, SIGKILL);
    int64_t begin = test_now();
    pthread_join(thread, NULL);
    int64_t took = test_now() - begin;
    printf("# %.1f ms after the kill\n", (double)took / 1e6);
    fflush(stdout);
    waitpid(child, NULL, 0);
    expect(j.result == -EOWNERDEAD);
    expect(took < PATIENCE);
    expect_code(1, dead(a, &who));
    expect(who == child);
    close_lock(b); /* which unlocks, and recovers nothing */
    /* every next owner is told, until one recovers */
    for (int i = 0; i < 3; i++) {
        expect_code(-EOWNERDEAD, lock(a, NARU_NOWAIT));
        expect_dead(a, child);
        expect_code(-EDEADLK, lock(a, NARU_NOWAIT)); /* it has it */
        expect_code(0, unlock(a));
    }
    expect_code(-EPERM, recover(a));
    expect_code(-EOWNERDEAD, lock(a, NARU_NOWAIT));
    expect_code(0, recover(a));
    expect_code(-EINVAL, recover(a));
    expect_code(0, dead(a, &who));
    expect_code(0, unlock(a));
    expect_code(0, lock(a, NARU_NOWAIT));
    expect_code(0, unlock(a));
    /* the last who died holding it counts; one who died beside it does not */
    kill_child(held_by_child(h));
    child = held_by_child(h);
    kill_child(child);
    expect_code(-EOWNERDEAD, lock(a, PATIENCE));
    pid_t beside = start_child(hold, h);
    usleep(SOON_MS * 1000);
    kill_child(beside);
    b = open_lock(url); /* who opens it settles what that one has left */
    expect_dead(a, child);
    expect_code(0, unlock(a));
    expect_code(-EOWNERDEAD, lock(b, NARU_NOWAIT));
    expect_dead(b, child);
    expect_code(0, recover(b));
    expect_code(0, unlock(b));
    close_lock(b);
    close_lock(a);
    end(url);
}

static void waiter_dies(void)
{
    union lock a;
    pid_t who = 5;
    const char *url = make(&a);
    struct holder *h = holder(url);
    expect_code(0, lock(a, NARU_NOWAIT));
    for (int i = 0; i < 3; i++) {
        pid_t child = start_child(hold, h);
        usleep(SOON_MS * 1000);
        kill_child(child);
    }
    expect(h->holds == 0);
    expect_code(0, unlock(a));
    expect_code(0, lock(a, PATIENCE));
    expect_code(0, dead(a, &who));
    expect_code(0, unlock(a));
    /* nor does it stand in the way of who tries only */
    int64_t until = test_now() + PATIENCE;
    for (int i = 0; i < 5; i++) {
        expect_code(0, lock(a, NARU_NOWAIT));
        pid_t child = start_child(hold, h);
        usleep(SOON_MS * 1000);
        kill_child(child);
        expect_code(0, unlock(a));
        int r;
        while ((r = lock(a, NARU_NOWAIT)) == -EAGAIN && test_now() < until)
            usleep(1000);
        expect_code(0, r);
        expect_code(0, unlock(a));
    }
    close_lock(a);
    end(url);
}

static void given_up(void)
{
    union lock a, b;
    const char *url = make(&a);
    struct holder *h = holder(url);
    b = open_lock(url);
    pid_t child = held_by_child(h);
    kill_child(child);
    expect_code(-EOWNERDEAD, lock(a, PATIENCE));
    struct job j = {.l = b, .what = lock, .timeout = NARU_FOREVER};
    pthread_t thread;
    pthread_create(&thread, NULL, work, &j);
    await(&j.begun, 1);
    usleep(SOON_MS * 1000);
    int fd = naru_fd(b.any);
    expect_code(0, give_up(a));
    pthread_join(thread, NULL);
    expect(j.result == -ENOTRECOVERABLE);
    expect(readable(fd, PATIENCE_MS));
    expect_code(-ENOTRECOVERABLE, lock(a, NARU_NOWAIT));
    char text[40];
    snprintf(text, sizeof text, "process %d had died", child);
    expect_says(text);
    expect_code(-ENOTRECOVERABLE, lock(b, NARU_FOREVER));
    expect_code(-EPERM, unlock(a));
    expect_code(-EPERM, recover(a));
    close_lock(b);
    b = open_lock(url); /* for good */
    expect_code(-ENOTRECOVERABLE, lock(b, PATIENCE));
    close_lock(b);
    close_lock(a);
    end(url);
}

/* It has what it has; the others wait to their timeout, and are told who. */
static void stopped(void)
{
    union lock a;
    const char *url = make(&a);
    struct holder *h = holder(url);
    char text[32];
    pid_t child = held_by_child(h);
    kill(child, SIGSTOP);
    expect_code(-ETIMEDOUT, lock(a, 200 * NARU_MS));
    snprintf(text, sizeof text, "process %d", child);
    expect_says(text);
    kill_child(child);
    expect_code(-EOWNERDEAD, lock(a, PATIENCE));
    close_lock(a);
    end(url);
}

/* Killed all the time, at it: nobody finds what is guarded half done without being told. */
struct storm {
    const char *url;
    volatile long left, right; /* equal, whenever nobody is inside */
    _Atomic int rounds, told, wrong;
};

static void storm_child(void *context)
{
    struct storm *t = context;
    region = naru_region_close(region);
    union lock l = open_lock(t->url);
    for (;;) {
        int r = lock(l, 5 * NARU_MS);
        if (r == -ETIMEDOUT)
            continue;
        if (r == -EOWNERDEAD) {
            atomic_fetch_add(&t->told, 1);
            t->right = t->left;
            if (recover(l) < 0)
                atomic_store(&t->wrong, 1);
        } else if (r < 0) {
            atomic_store(&t->wrong, -r);
        }
        if (t->left != t->right)
            atomic_store(&t->wrong, 2);
        t->left = t->left + 1;
        for (volatile int i = 0; i < 2000; i = i + 1)
            ; /* which is where most should be killed */
        t->right = t->right + 1;
        if (unlock(l) < 0)
            atomic_store(&t->wrong, 3);
        atomic_fetch_add(&t->rounds, 1);
    }
}

static void storm(void)
{
    enum { CHILDREN = 4, KILLS = 200 };
    struct storm *t = shared(sizeof *t);
    union lock a;
    pid_t child[CHILDREN];
    unsigned seed = 1;
    t->url = make(&a);
    for (int i = 0; i < CHILDREN; i++)
        child[i] = start_child(storm_child, t);
    for (int i = 0; i < KILLS; i++) {
        usleep((useconds_t)(rand_r(&seed) % 2000));
        pid_t *c = &child[rand_r(&seed) % CHILDREN];
        kill_child(*c);
        *c = start_child(storm_child, t);
    }
    for (int i = 0; i < CHILDREN; i++)
        kill_child(child[i]);
    printf("# %d rounds, %d told of a death\n", t->rounds, t->told);
    fflush(stdout);
    expect_code(0, t->wrong);
    expect(t->rounds > 0);
    int r = lock(a, PATIENCE);
    expect(r == 0 || r == -EOWNERDEAD);
    expect(r == -EOWNERDEAD || t->left == t->right);
    close_lock(a);
    end(t->url);
}

/* ---- memory that others have spoiled ---- */

static bool known(int r)
{
    return r == 0 || r == -EPROTO || r == -ETIMEDOUT || r == -EAGAIN || r == -EOWNERDEAD ||
           r == -ENOTRECOVERABLE || r == -EPERM || r == -EINVAL || r == -EIDRM || r == -EBUSY;
}

static void use(union lock a, union lock b, int64_t timeout)
{
    pid_t pid;
    int r = lock(a, timeout), q = r == 0 || r == -EOWNERDEAD ? 0 : lock(b, timeout);
    expect(known(r) && known(q));
    if (r == -EOWNERDEAD)
        expect(known(recover(a)));
    expect(known(unlock(a)));
    expect(known(unlock(b)));
    (void)dead(b, &pid);
}

static void spoiled(void)
{
    enum { KIND = 128 + NARU_OBJECT_STATE_AT + offsetof(struct naru_object_state, kind) };
    union lock a, b;
    if (!k->placed)
        return; /* the memory is laid out alike */
    const char *url = make(&a);
    unsigned char *memory = naru_region_data(region);
    size_t bytes = 128 + naru_lock_bytes(2);
    b = open_lock(url);
    _Atomic uint64_t *word = (void *)(memory + KIND);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t right = atomic_load(word);
        atomic_store(word, right ^ UINT64_C(1) << bit);
        use(a, b, NARU_MS);
        atomic_store(word, right);
    }
    for (size_t at = 128 + 4096; at < bytes; at++) { /* state and records */
        if (at > 128 + 4096 && at < KIND)
            continue;
        unsigned char right = memory[at];
        bool near = at < KIND + 192;
        for (int step = 1; step < 256; step += near ? 7 : 51) {
            memory[at] = (unsigned char)(right + step);
            use(a, b, NARU_NOWAIT);
            memory[at] = right;
        }
    }
    memset(memory + 128 + 4096, 0xa5, bytes - 128 - 4096);
    use(a, b, 10 * NARU_MS);
    close_lock(b);
    close_lock(a);
    end(url);
}

/* ---- mutexes alone ---- */

/* More than the kernel's robust list recovers, by one process. */
static void ten_thousand(void)
{
    enum { MUTEXES = 10000 };
    struct naru_mutex_options o = {sizeof o, .participants = 2};
    const char *url = test_url("shm:%s/r");
    size_t bytes = naru_lock_bytes(2);
    _Atomic int *holds = shared(sizeof *holds);
    static naru_mutex *m[MUTEXES];
    naru_region *r;
    pid_t who;
    expect_ok(naru_region_create(url, MUTEXES * bytes, NULL, &r));
    pid_t child = fork();
    if (child == 0) {
        naru_region *mine;
        if (naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &mine) < 0) {
            printf("# %s\n", naru_why());
            fflush(stdout);
            _exit(1);
        }
        for (size_t i = 0; i < MUTEXES; i++)
            if (naru_mutex_at(mine, i * bytes, &o, &m[i]) < 0 ||
                naru_mutex_lock(m[i], NARU_NOWAIT) < 0) {
                printf("# %zu: %s\n", i, naru_why());
                fflush(stdout);
                _exit(1);
            }
        atomic_store(holds, 1);
        for (;;)
            pause();
    }
    int64_t until = test_now() + 60 * NARU_S;
    while (!atomic_load(holds)) {
        expect(test_now() < until && waitpid(child, NULL, WNOHANG) == 0);
        usleep(1000);
    }
    kill_child(child);
    for (size_t i = 0; i < MUTEXES; i++) {
        expect_ok(naru_mutex_at(r, i * bytes, &o, &m[i]));
        expect_code(-EOWNERDEAD, naru_mutex_lock(m[i], NARU_NOWAIT));
        expect_code(1, naru_mutex_dead(m[i], &who));
        expect(who == child);
        expect_ok(naru_mutex_recover(m[i]));
        expect_ok(naru_mutex_unlock(m[i]));
        naru_mutex_close(m[i]);
    }
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

/* The priority that the kernel runs a thread at: -1 - what a real-time one was given. */
static int runs_at(pid_t thread)
{
    char path[64], text[512] = "";
    int priority = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    const char *at = n ? strrchr(text, ')') : NULL;
    expect(at && sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %d",
                        &priority) == 1);
    return priority;
}

static bool fifo(int priority)
{
    struct sched_param p = {.sched_priority = priority};
    return pthread_setschedparam(pthread_self(), priority ? SCHED_FIFO : SCHED_OTHER, &p) == 0;
}

struct urgent {
    naru_mutex *m;
    int priority, result;
    _Atomic int begun, ended;
};

static void *urgent(void *context)
{
    struct urgent *u = context;
    if (!fifo(u->priority))
        return NULL;
    atomic_store(&u->begun, 1);
    u->result = naru_mutex_lock(u->m, PATIENCE);
    if (u->result == 0)
        u->result = naru_mutex_unlock(u->m);
    atomic_store(&u->ended, 1);
    return NULL;
}

/* The owner of the mutex runs at the priority of who waits for it, and only while it does. */
static int boosted_to(unsigned flags)
{
    const char *url = test_url("shm:%s/x");
    struct naru_mutex_options o = {sizeof o, .flags = flags};
    naru_mutex *m, *other;
    pthread_t thread;
    expect_ok(naru_mutex_open(url, &o, &m));
    expect_ok(naru_mutex_open(url, &o, &other));
    expect(fifo(10));
    expect_ok(naru_mutex_lock(m, NARU_NOWAIT));
    pid_t self = (pid_t)syscall(SYS_gettid);
    expect_code(-11, runs_at(self));
    struct urgent u = {.m = other, .priority = 30};
    pthread_create(&thread, NULL, urgent, &u);
    await(&u.begun, 1);
    int priority = -11;
    int turns = flags ? PATIENCE_MS / 2 : 100;
    for (int i = 0; i < turns && priority == -11; i++) {
        usleep(2000);
        priority = runs_at(self);
    }
    expect(!u.ended);
    expect_ok(naru_mutex_unlock(m));
    pthread_join(thread, NULL);
    expect_code(0, u.result);
    expect_code(-11, runs_at(self));
    expect_ok(naru_mutex_lock(m, NARU_NOWAIT)); /* and all over again */
    expect_ok(naru_mutex_unlock(m));
    expect(fifo(0));
    naru_mutex_close(other);
    naru_mutex_close(m);
    expect_ok(naru_remove(url));
    return priority;
}

static void need_real_time(void)
{
    if (!fifo(1))
        test_skip("no right to real-time priorities (RLIMIT_RTPRIO)");
    fifo(0);
}

static void priorities(void)
{
    need_real_time();
    expect_code(-31, boosted_to(NARU_PRIO_INHERIT));
    expect_code(-11, boosted_to(0));
}

/* What it is for: an urgent thread waits for a low one, which a middling one keeps from running,
 * all on one processor. Without inheritance it waits as long as that one likes. */
struct inversion {
    naru_mutex *low, *high;
    _Atomic int has, stop, go;
    int64_t waited;
    bool outlasted; /* by the middling one */
};

static void *low_thread(void *context)
{
    struct inversion *v = context;
    fifo(10);
    expect_ok(naru_mutex_lock(v->low, NARU_NOWAIT));
    atomic_store(&v->has, 1);
    while (!atomic_load(&v->go)) /* until the others are there, which go before it */
        ;
    for (volatile int i = 0; i < 100000; i = i + 1)
        ;
    expect_ok(naru_mutex_unlock(v->low));
    return NULL;
}

static void *middling_thread(void *context)
{
    struct inversion *v = context;
    fifo(20);
    int64_t until = test_now() + 300 * NARU_MS;
    while (!atomic_load(&v->stop) && test_now() < until)
        ;
    v->outlasted = !atomic_load(&v->stop);
    return NULL;
}

static void *high_thread(void *context)
{
    struct inversion *v = context;
    fifo(30);
    int64_t begin = test_now();
    expect_ok(naru_mutex_lock(v->high, PATIENCE));
    v->waited = test_now() - begin;
    atomic_store(&v->stop, 1);
    expect_ok(naru_mutex_unlock(v->high));
    return NULL;
}

static struct inversion inverted(unsigned flags)
{
    const char *url = test_url("shm:%s/x");
    struct naru_mutex_options o = {sizeof o, .flags = flags | NARU_SLEEP};
    struct inversion v = {0};
    pthread_t low, middling, high;
    expect_ok(naru_mutex_open(url, &o, &v.low));
    expect_ok(naru_mutex_open(url, &o, &v.high));
    expect(fifo(40)); /* starts the others in order, on the one processor that they have */
    pthread_create(&low, NULL, low_thread, &v);
    await(&v.has, 1);
    pthread_create(&middling, NULL, middling_thread, &v);
    pthread_create(&high, NULL, high_thread, &v);
    atomic_store(&v.go, 1);
    pthread_join(high, NULL);
    pthread_join(middling, NULL);
    pthread_join(low, NULL);
    fifo(0);
    naru_mutex_close(v.low);
    naru_mutex_close(v.high);
    expect_ok(naru_remove(url));
    return v;
}

static void inversion(void)
{
    cpu_set_t one;
    need_real_time();
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    expect(sched_setaffinity(0, sizeof one, &one) == 0);
    struct inversion with = inverted(NARU_PRIO_INHERIT), without = inverted(0);
    printf("# the urgent thread waited %.1f ms with inheritance, %.1f ms without\n",
           (double)with.waited / 1e6, (double)without.waited / 1e6);
    fflush(stdout);
    expect(without.outlasted && !with.outlasted);
}

/* What the kernel's futex may say without being right: it is only about boosting. */
static void lying_futex(void)
{
    union lock a, b;
    const char *url = make(&a);
    b = open_lock(url);
    struct naru_object_state *o =
        (void *)((char *)naru_region_data(region) + 128 + NARU_OBJECT_STATE_AT);
    _Atomic uint32_t *word = &((struct naru_lock_state *)(void *)o->kind)->boosted;
    pid_t child = fork();
    if (child == 0)
        pause();
    const uint32_t lies[] = {(uint32_t)child, 0x3ffffff0, 0x80000001,
                             0xffffffff,      0x40000000, (uint32_t)syscall(SYS_gettid)};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        int64_t begin = test_now();
        atomic_store(word, lies[i]);
        expect_code(0, lock(a, NARU_NOWAIT));
        expect_code(-ETIMEDOUT, in_thread(b, lock, 60 * NARU_MS));
        expect_code(0, unlock(a));
        atomic_store(word, lies[i]);
        expect_code(0, lock(b, PATIENCE));
        expect_code(0, unlock(b));
        expect(test_now() - begin < PATIENCE);
    }
    atomic_store(word, (uint32_t)child); /* put right by who comes after a tick */
    expect_code(0, lock(a, PATIENCE));
    expect((atomic_load(word) & 0x3fffffff) == (uint32_t)syscall(SYS_gettid));
    expect_code(0, unlock(a));
    expect(atomic_load(word) == 0);
    kill_child(child);
    close_lock(b);
    close_lock(a);
    end(url);
}

/* ---- rwlocks alone ---- */

static int read_and_unlock(union lock l, int64_t timeout)
{
    int r = naru_rwlock_read(l.w, timeout);
    return r < 0 ? r : naru_rwlock_unlock(l.w);
}

static int read_it(union lock l, int64_t timeout)
{
    return naru_rwlock_read(l.w, timeout);
}

static void readers(void)
{
    enum { MANY = 20 };
    union lock a, b;
    const char *url = make(&a);
    b = open_lock(url);
    expect_code(0, naru_rwlock_read(a.w, NARU_NOWAIT));
    expect_code(0, naru_rwlock_read(b.w, NARU_NOWAIT));
    expect_code(0, in_thread(a, read_and_unlock, NARU_NOWAIT)); /* a thread of the same handle */
    expect_code(-EDEADLK, naru_rwlock_read(a.w, NARU_NOWAIT));
    expect_code(-EDEADLK, naru_rwlock_write(a.w, NARU_NOWAIT));
    expect_code(-EPERM, in_thread(a, unlock_it, 0));
    expect_code(-EPERM, naru_rwlock_recover(a.w));
    expect_code(-EAGAIN, in_thread(a, lock, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, in_thread(b, lock, 10 * NARU_MS));
    expect_code(0, naru_rwlock_unlock(a.w));
    expect_code(-EPERM, naru_rwlock_unlock(a.w));
    expect_code(-EAGAIN, naru_rwlock_write(a.w, NARU_NOWAIT));
    expect_code(0, naru_rwlock_unlock(b.w));
    /* threads of one handle that stop reading by ending */
    for (int i = 0; i < MANY; i++)
        expect_code(0, in_thread(a, read_and_unlock, PATIENCE));
    struct job j[MANY];
    pthread_t thread[MANY];
    for (int i = 0; i < MANY; i++) {
        j[i] = (struct job){.l = b, .what = read_it, .timeout = PATIENCE};
        pthread_create(&thread[i], NULL, work, &j[i]);
    }
    for (int i = 0; i < MANY; i++) {
        pthread_join(thread[i], NULL);
        expect(j[i].result == 0 || j[i].result == -EDEADLK); /* a thread's number used again */
    }
    expect_code(-EAGAIN, naru_rwlock_write(a.w, NARU_NOWAIT));
    close_lock(b); /* all of them */
    expect_code(0, naru_rwlock_write(a.w, NARU_NOWAIT));
    expect_code(-EDEADLK, naru_rwlock_read(a.w, NARU_NOWAIT));
    expect_code(-EDEADLK, naru_rwlock_write(a.w, NARU_NOWAIT));
    expect_code(-EAGAIN, in_thread(a, read_it, NARU_NOWAIT));
    expect_code(0, naru_rwlock_unlock(a.w));
    close_lock(a);
    end(url);
}

static void writers_are_not_starved(void)
{
    union lock a, b, c;
    const char *url = make(&a);
    b = open_lock(url);
    c = open_lock(url);
    struct job j = {.l = c, .what = lock_and_unlock, .timeout = PATIENCE};
    pthread_t thread;
    expect_code(0, naru_rwlock_read(a.w, NARU_NOWAIT));
    pthread_create(&thread, NULL, work, &j);
    await_asleep(&j);
    /* it waits: no reader that comes now goes before it */
    expect_code(-EAGAIN, naru_rwlock_read(b.w, NARU_NOWAIT));
    expect_code(0, naru_rwlock_unlock(a.w));
    pthread_join(thread, NULL);
    expect_code(0, j.result);
    /* two readers that never both stop reading */
    j = (struct job){.l = c, .what = lock_and_unlock, .timeout = PATIENCE};
    expect_code(0, naru_rwlock_read(a.w, PATIENCE));
    pthread_create(&thread, NULL, work, &j);
    int64_t until = test_now() + PATIENCE;
    for (int turn = 0; !j.ended && test_now() < until; turn++) {
        union lock next = turn % 2 ? a : b, last = turn % 2 ? b : a;
        int r = naru_rwlock_read(next.w, NARU_MS);
        expect_code(0, naru_rwlock_unlock(last.w));
        if (r < 0)
            expect_code(0, naru_rwlock_read(next.w, PATIENCE));
    }
    expect(j.ended);
    pthread_join(thread, NULL);
    expect_code(0, j.result);
    if (naru_rwlock_unlock(a.w) < 0)
        expect_code(0, naru_rwlock_unlock(b.w));
    /* nor by those behind the readers before it: a writer, two readers, and it, in that order */
    expect_code(0, naru_rwlock_write(a.w, PATIENCE));
    struct job queue[3] = {{.l = b, .what = read_it, .timeout = PATIENCE},
                           {.l = open_lock(url), .what = read_it, .timeout = PATIENCE},
                           {.l = c, .what = lock_and_unlock, .timeout = PATIENCE}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, work, &queue[i]);
        await_asleep(&queue[i]);
    }
    expect_code(0, naru_rwlock_unlock(a.w));
    await(&queue[0].ended, 1);
    await(&queue[1].ended, 1);
    for (int i = 0; i < 30; i++, usleep(1000))
        expect_code(-EAGAIN, naru_rwlock_read(a.w, NARU_NOWAIT));
    close_lock(queue[0].l);
    close_lock(queue[1].l);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    expect_code(0, queue[2].result);
    close_lock(a);
    close_lock(c);
    end(url);
}

static void reader_dies(void)
{
    union lock a;
    pid_t who = 5;
    const char *url = make(&a);
    struct holder *h = holder(url);
    h->reads = true;
    pid_t child = held_by_child(h);
    expect_code(0, naru_rwlock_read(a.w, NARU_NOWAIT));
    expect_code(0, naru_rwlock_unlock(a.w));
    expect_code(-ETIMEDOUT, naru_rwlock_write(a.w, 10 * NARU_MS));
    expect_says("reads");
    kill_child(child);
    expect_code(0, naru_rwlock_write(a.w, PATIENCE)); /* silently */
    expect_code(0, dead(a, &who));
    expect_code(0, naru_rwlock_unlock(a.w));
    /* of a dead writer readers are told, too, and a writer recovers */
    h->reads = false;
    child = held_by_child(h);
    kill_child(child);
    expect_code(-EOWNERDEAD, naru_rwlock_read(a.w, PATIENCE));
    expect_dead(a, child);
    expect_code(-EPERM, naru_rwlock_recover(a.w));
    expect_code(-EPERM, naru_rwlock_give_up(a.w));
    expect_code(0, naru_rwlock_unlock(a.w));
    /* a reader that dies then changes nothing of it */
    h->reads = true;
    kill_child(held_by_child(h));
    expect_code(-EOWNERDEAD, naru_rwlock_write(a.w, PATIENCE));
    expect_dead(a, child);
    expect_code(0, naru_rwlock_recover(a.w));
    expect_code(0, naru_rwlock_unlock(a.w));
    expect_code(0, naru_rwlock_read(a.w, NARU_NOWAIT));
    close_lock(a);
    end(url);
}

/* NARU_IN: it can be read; NARU_OUT: written. */
static void directions(void)
{
    union lock a, b;
    const char *url = make(&a);
    b = open_lock(url);
    int fd = naru_fd(b.any);
    expect_code(0, naru_rwlock_read(a.w, NARU_NOWAIT));
    expect_code(0, naru_rwlock_read(b.w, NARU_NOWAIT));
    expect_code(0, naru_rwlock_unlock(b.w));
    expect(readable(fd, PATIENCE_MS));
    expect_ok(naru_want(b.any, NARU_OUT));
    expect_code(-EAGAIN, naru_rwlock_write(b.w, NARU_NOWAIT));
    int spurious = 0;
    for (; spurious < 20 && readable(fd, 20); spurious++)
        expect_code(-EAGAIN, naru_rwlock_write(b.w, NARU_NOWAIT));
    expect(spurious < 20);
    expect_code(0, naru_rwlock_unlock(a.w));
    expect(readable(fd, PATIENCE_MS));
    expect_code(0, naru_rwlock_write(b.w, NARU_NOWAIT));
    close_lock(b);
    close_lock(a);
    end(url);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } every[] = {
        {"had by one", had_by_one},
        {"options", options},
        {"the first owner is somebody", first_owner},
        {"processes and threads count", counts},
        {"cancelled", cancelled},
        {"removed while open", removed},
        {"forked", forked},
        {"readiness in a foreign loop", descriptor},
        {"the owner is killed", owner_dies},
        {"one who waits is killed", waiter_dies},
        {"given up", given_up},
        {"the owner is stopped", stopped},
        {"killed at random", storm},
        {"spoiled memory", spoiled},
    };
    static const struct {
        const char *name;
        void (*run)(void);
        int kind;
    } some[] = {
        {"10 000 held by one that is killed", ten_thousand, 0},
        {"priorities are lent", priorities, 4},
        {"priorities inverted", inversion, 4},
        {"a futex that lies", lying_futex, 5},
        {"readers", readers, 6},
        {"readers in a region", readers, 7},
        {"writers are not starved", writers_are_not_starved, 6},
        {"writers are not starved, fair", writers_are_not_starved, 8},
        {"a reader is killed", reader_dies, 6},
        {"a reader in a region is killed", reader_dies, 7},
        {"readiness to read and to write", directions, 6},
    };
    char name[100];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (size_t c = 0; c < sizeof every / sizeof *every; c++) {
            k = &kinds[i];
            snprintf(name, sizeof name, "%s: %s", k->name, every[c].name);
            if (argc > 1 && !strstr(name, argv[1]))
                continue;
            char why[900] = "";
            bool ok = run_case(name, every[c].run, case_seconds(60), why, sizeof why);
            tap_result(ok, name, why);
        }
    for (size_t c = 0; c < sizeof some / sizeof *some; c++) {
        k = &kinds[some[c].kind];
        if (argc > 1 && !strstr(some[c].name, argv[1]))
            continue;
        char why[900] = "";
        bool ok = run_case(some[c].name, some[c].run, case_seconds(100), why, sizeof why);
        tap_result(ok, some[c].name, why);
    }
    return tap_end();
}
