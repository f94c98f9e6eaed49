/* SPDX-License-Identifier: MIT */
/* event.c - events: whom a set releases, and that nobody misses it, whoever dies meanwhile.
 *
 * Where it matters who waits at a set, the test looks into the memory of an event in a region. */
#include "locks.h"

#include "base/fault.h"
#include "lock/lock.h"
#include "shm/lock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { MANUAL = NARU_MANUAL, AUTOMATIC = NARU_AUTOMATIC };

static naru_event *open_event(const char *url, int kind, unsigned flags)
{
    naru_event *e;
    struct naru_event_options o = {sizeof o, .kind = kind, .flags = flags};
    expect_ok(naru_event_open(url, &o, &e));
    return e;
}

/* ---- in a region, whose memory tells who waits ---- */

enum { PARTICIPANTS = 128 };

static naru_region *make_region(unsigned participants)
{
    naru_region *r;
    expect_ok(naru_region_create(NULL, naru_lock_bytes(participants), NULL, &r));
    return r;
}

static naru_event *event_at(naru_region *r, int kind, unsigned participants, unsigned flags)
{
    naru_event *e;
    struct naru_event_options o = {sizeof o, .kind = kind, .participants = participants,
                                   .flags = flags};
    expect_ok(naru_event_at(r, 0, &o, &e));
    return e;
}

static int waiting_in(naru_region *r)
{
    struct naru_object_meta *meta = naru_region_data(r);
    struct naru_object_state *state = (void *)((char *)meta + NARU_OBJECT_STATE_AT);
    struct naru_object_member *member = (void *)(state + 1);
    struct naru_lock_state *s = (void *)state->kind;
    int n = 0;
    for (int i = 0; i < 64; i++)
        n += __builtin_popcountll(atomic_load(&s->waiting[i]));
    if (meta->option[NARU_LOCK_KIND] != 0) /* a manual one */
        return n;
    n = 0;
    for (uint32_t i = 0; i < meta->members_max; i++)
        n += (int)(atomic_load(&member[i].kind[NARU_LOCK_OWNED]) & NARU_EVENT_WAITS);
    return n;
}

static void await_waiting(naru_region *r, int n)
{
    int64_t end = test_now() + PATIENCE;
    while (waiting_in(r) != n) {
        if (test_now() > end)
            test_failed(__FILE__, __LINE__, "%d wait, not %d", waiting_in(r), n);
        usleep(100);
    }
}

/* ---- alone ---- */

static void manual(void)
{
    const char *url = test_url("shm:%s/e");
    naru_event *e = open_event(url, MANUAL, 0), *f = open_event(url, 0, 0);
    expect_code(0, naru_event_is_set(e));
    expect_code(-EAGAIN, naru_event_wait(f, NARU_NOWAIT));
    int64_t begin = test_now();
    expect_code(-ETIMEDOUT, naru_event_wait(f, 20 * NARU_MS));
    expect(test_now() - begin >= 20 * NARU_MS);
    expect_says("nobody has set it");
    expect_ok(naru_event_set(e));
    expect_ok(naru_event_set(e));
    expect_code(1, naru_event_is_set(f));
    for (int i = 0; i < 3; i++) {
        expect_ok(naru_event_wait(f, NARU_NOWAIT));
        expect_ok(naru_event_wait(e, 1));
        expect_ok(naru_event_wait(e, NARU_FOREVER));
    }
    expect_ok(naru_event_reset(f));
    expect_ok(naru_event_reset(f));
    expect_code(0, naru_event_is_set(e));
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    naru_event_close(f);
    expect_ok(naru_remove(url));
}

static void automatic(void)
{
    const char *url = test_url("shm:%s/e");
    naru_event *e = open_event(url, AUTOMATIC, 0), *f = open_event(url, AUTOMATIC, 0);
    expect_code(-EAGAIN, naru_event_wait(f, NARU_NOWAIT));
    for (int i = 0; i < 5; i++) /* who waits for none of them finds one */
        expect_ok(naru_event_set(i % 2 ? e : f));
    expect_code(1, naru_event_is_set(e));
    expect_ok(naru_event_wait(f, NARU_NOWAIT));
    expect_code(0, naru_event_is_set(e));
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_event_wait(e, 10 * NARU_MS));
    expect_says("nobody has set it for this wait");
    expect_ok(naru_event_set(e));
    expect_ok(naru_event_reset(f));
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    for (int i = 0; i < 1000; i++) {
        expect_ok(naru_event_set(i % 3 ? e : f));
        expect_ok(naru_event_wait(i % 2 ? e : f, NARU_FOREVER));
    }
    naru_event_close(f);
    f = open_event(url, AUTOMATIC, 0);
    expect_code(0, naru_event_is_set(f));
    naru_event_close(e);
    naru_event_close(f);
    expect_ok(naru_remove(url));
}

static void options(void)
{
    naru_event *e, *f;
    naru_semaphore *s;
    const char *url = test_url("shm:%s/e");
    struct naru_event_options o = {sizeof o, .flags = NARU_EXISTING};
    expect_code(-ENOENT, naru_event_open(url, &o, &e));
    o = (struct naru_event_options){sizeof o, .set = 1, .mode = 0640};
    expect_ok(naru_event_open(url, &o, &e));
    expect_code(1, naru_event_is_set(e));
    o.flags = NARU_EXCLUSIVE;
    expect_code(-EEXIST, naru_event_open(url, &o, &f));
    o = (struct naru_event_options){sizeof o, .mode = 0600};
    expect_code(-EEXIST, naru_event_open(url, &o, &f));
    o = (struct naru_event_options){sizeof o, .kind = AUTOMATIC};
    expect_code(-EEXIST, naru_event_open(url, &o, &f));
    expect_says("NARU_AUTOMATIC");
    o = (struct naru_event_options){sizeof o, .kind = 2};
    expect_code(-EINVAL, naru_event_open(url, &o, &f));
    o = (struct naru_event_options){sizeof o, .flags = 1u << 30};
    expect_code(-EINVAL, naru_event_open(url, &o, &f));
    o = (struct naru_event_options){sizeof o, .participants = 5000};
    expect_code(-EINVAL, naru_event_open(url, &o, &f));
    expect_says("4095");
    o = (struct naru_event_options){.size = sizeof o - 8};
    expect_code(-EINVAL, naru_event_open(url, &o, &f));
    expect_code(-EEXIST, naru_semaphore_open(url, NULL, &s));
    expect_says("is an event, and a semaphore was asked for");
    expect_code(-EINVAL, naru_semaphore_acquire((naru_semaphore *)(void *)e, 1, 0));
    naru_event_close(e);
    expect_ok(naru_remove(url));
    struct naru_semaphore_options so = {sizeof so, .value = 1};
    expect_ok(naru_semaphore_open(url, &so, &s));
    expect_code(-EEXIST, naru_event_open(url, NULL, &e));
    expect_says("is a semaphore, and an event was asked for");
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
    o = (struct naru_event_options){sizeof o, .kind = AUTOMATIC, .set = 1};
    expect_ok(naru_event_open(url, &o, &e));
    expect_ok(naru_event_open(url, NULL, &f)); /* as it is */
    expect_ok(naru_event_wait(f, NARU_NOWAIT));
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    naru_event_close(f);
    expect_ok(naru_remove(url));
    static const char *const others[] = {"posix-sem:/x", "sysv-sem:/tmp#1", "posix-shm:/x",
                                         "fifo:/tmp/x",  "tcp:localhost:1", "nothing:x"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        int r = naru_event_open(others[i], NULL, &e);
        expect(r == -EOPNOTSUPP || r == -EINVAL);
        expect_says("shm:");
    }
}

/* ---- with others ---- */

struct waiter {
    naru_region *r;
    int kind;
    unsigned participants, flags;
    int64_t timeout;
    int rounds;
    _Atomic int passed, more, result;
};

/* A child that waits again and again, as long as `more` says. */
static void wait_in_child(void *context)
{
    struct waiter *w = context;
    expect_ok(naru_adopt(w->r));
    naru_event *e = event_at(w->r, w->kind, w->participants, w->flags);
    do {
        int r = naru_event_wait(e, w->timeout);
        if (r < 0)
            test_failed(__FILE__, __LINE__, "wait: %d, %s", r, naru_why());
        atomic_fetch_add(&w->passed, 1);
    } while (atomic_load(&w->more));
    naru_event_close(e);
    naru_region_close(w->r);
}

static struct waiter *new_waiter(int kind, unsigned flags)
{
    struct waiter *w = shared(sizeof *w);
    *w = (struct waiter){.r = make_region(PARTICIPANTS),
                         .kind = kind,
                         .participants = PARTICIPANTS,
                         .flags = flags,
                         .timeout = 30 * NARU_S};
    return w;
}

/* A bit may be left of who was awake already: for a test that counts them they go. */
static void forget_bits(naru_region *r)
{
    struct naru_object_state *state = (void *)((char *)naru_region_data(r) + NARU_OBJECT_STATE_AT);
    struct naru_lock_state *s = (void *)state->kind;
    for (int i = 0; i < 64; i++)
        atomic_store(&s->waiting[i], 0);
}

static void wait_in_turns(void *context)
{
    struct waiter *w = context;
    expect_ok(naru_adopt(w->r));
    naru_event *e = event_at(w->r, w->kind, w->participants, w->flags);
    for (int i = 1; i <= w->rounds; i++) {
        await(&w->more, i);
        expect_ok(naru_event_wait(e, w->timeout));
        atomic_fetch_add(&w->passed, 1);
    }
    naru_event_close(e);
    naru_region_close(w->r);
}

/* A set that is reset at once releases all who waited at the set. */
static void pulses(void)
{
    enum { CHILDREN = 12, ROUNDS = 60 };
    for (int k = 0; k < 2; k++) {
        struct waiter *w = new_waiter(MANUAL, k ? NARU_SLEEP : 0);
        naru_event *e = event_at(w->r, MANUAL, PARTICIPANTS, 0);
        pid_t child[CHILDREN];
        w->rounds = ROUNDS;
        for (int i = 0; i < CHILDREN; i++)
            child[i] = start_child(wait_in_turns, w);
        for (int i = 0; i < ROUNDS; i++) {
            atomic_store(&w->more, i + 1);
            await_waiting(w->r, CHILDREN);
            expect(w->passed == i * CHILDREN);
            expect_ok(naru_event_set(e));
            expect_ok(naru_event_reset(e));
            await(&w->passed, (i + 1) * CHILDREN);
            forget_bits(w->r);
        }
        for (int i = 0; i < CHILDREN; i++)
            end_child(child[i]);
        naru_event_close(e);
        naru_region_close(w->r);
    }
}

/* So many sets, so many of those who wait. */
static void one_for_each_set(void)
{
    enum { CHILDREN = 12, ROUNDS = 40 };
    for (int k = 0; k < 2; k++) {
        struct waiter *w = new_waiter(AUTOMATIC, k ? NARU_SLEEP : 0);
        naru_event *e = event_at(w->r, AUTOMATIC, PARTICIPANTS, 0);
        pid_t child[CHILDREN];
        int sets = 0;
        atomic_store(&w->more, 1);
        for (int i = 0; i < CHILDREN; i++)
            child[i] = start_child(wait_in_child, w);
        for (int i = 0; i < ROUNDS; i++) {
            await_waiting(w->r, CHILDREN);
            expect(w->passed == sets);
            for (int n = i % CHILDREN + 1; n > 0; n--, sets++) {
                expect_ok(naru_event_set(e));
                if (i % 3 == 0)
                    expect_ok(naru_event_reset(e)); /* takes nothing from who was released */
            }
            await(&w->passed, sets);
        }
        usleep(SOON_MS * 1000);
        expect(w->passed == sets);
        atomic_store(&w->more, 0);
        await_waiting(w->r, CHILDREN);
        for (int i = 0; i < CHILDREN; i++)
            expect_ok(naru_event_set(e));
        for (int i = 0; i < CHILDREN; i++)
            end_child(child[i]);
        expect_code(0, naru_event_is_set(e));
        naru_event_close(e);
        naru_region_close(w->r);
    }
}

/* Threads of one handle count each for itself. */
static void *wait_in_thread(void *context)
{
    struct waiter *w = context;
    naru_event *e = (naru_event *)(void *)w->r;
    int r = naru_event_wait(e, w->timeout);
    if (r == 0)
        atomic_fetch_add(&w->passed, 1);
    else
        atomic_store(&w->result, r);
    return NULL;
}

/* More sets than wait: one is kept, whenever the waiter takes its own. */
static void one_is_kept(void)
{
    enum { ROUNDS = 1500 };
    naru_region *region = make_region(8);
    naru_event *e = event_at(region, AUTOMATIC, 8, 0), *f = event_at(region, AUTOMATIC, 8, 0);
    struct waiter w = {.r = (naru_region *)(void *)f, .timeout = PATIENCE};
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_in_thread, &w);
        await_waiting(region, 1);
        for (int k = 0; k < 3; k++) {
            expect_ok(naru_event_set(e));
            for (int d = 0; d < i % 20 * 20; d++)
                __asm__ volatile("" ::: "memory");
        }
        pthread_join(thread, NULL);
        expect(w.passed == i + 1);
        expect_ok(naru_event_wait(e, NARU_NOWAIT));
        expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    }
    naru_event_close(e);
    naru_event_close(f);
    naru_region_close(region);
}

static void threads_of_one_handle(int kind)
{
    enum { THREADS = 10 };
    naru_region *region = make_region(8);
    naru_event *e = event_at(region, kind, 8, NARU_SLEEP), *f = event_at(region, kind, 8, 0);
    struct waiter w = {.r = (naru_region *)(void *)e, .timeout = PATIENCE};
    pthread_t thread[THREADS];
    for (int round = 0; round < 20; round++) {
        atomic_store(&w.passed, 0);
        for (int i = 0; i < THREADS; i++)
            pthread_create(&thread[i], NULL, wait_in_thread, &w);
        if (kind == AUTOMATIC)
            await_waiting(region, THREADS);
        else
            usleep(SOON_MS * 1000); /* they have one bit together */
        naru_event *setter = round % 2 ? e : f;
        for (int i = 0; i < (kind == AUTOMATIC ? THREADS : 1); i++)
            expect_ok(naru_event_set(setter));
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        expect(w.passed == THREADS);
        expect_ok(naru_event_reset(f));
    }
    expect_code(-EAGAIN, naru_event_wait(f, NARU_NOWAIT));
    naru_event_close(e);
    naru_event_close(f);
    naru_region_close(region);
}

static void threads_manual(void)
{
    threads_of_one_handle(MANUAL);
}

static void threads_automatic(void)
{
    threads_of_one_handle(AUTOMATIC);
}

/* ---- deaths and pauses ---- */

/* The one that was rung for does not run, and dies: the next has the set. */
static void killed_when_released(void)
{
    struct waiter *w = new_waiter(AUTOMATIC, NARU_SLEEP);
    naru_event *e = event_at(w->r, AUTOMATIC, PARTICIPANTS, 0);
    for (int i = 0; i < 5; i++) {
        pid_t first = start_child(wait_in_child, w);
        await_waiting(w->r, 1);
        kill(first, SIGSTOP);
        expect_ok(naru_event_set(e));
        kill(first, SIGKILL);
        expect_ok(naru_event_wait(e, PATIENCE));
        waitpid(first, NULL, 0);
        expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
        expect(w->passed == 0);
    }
    naru_event_close(e);
    naru_region_close(w->r);
}

/* It has taken the set, is about to tell others that there is one more, and dies at it. */
static int die_at_the_knock(const char *call)
{
    if (strcmp(call, "socket") == 0)
        kill(getpid(), SIGKILL);
    return 0;
}

static bool somebody_waits(const naru_event *e)
{
    const struct naru_lock *l = (const void *)e;
    for (uint32_t m = 0; m < naru__object_members(&l->object); m++)
        if (atomic_load(&l->permits.members[m].kind[NARU_LOCK_OWNED]) & NARU_EVENT_WAITS)
            return true;
    return false;
}

static void wait_and_die(void *context)
{
    naru_event *e = open_event(context, AUTOMATIC, NARU_SLEEP);
    naru__fault = die_at_the_knock;
    (void)naru_event_wait(e, NARU_FOREVER);
}

static void killed_before_it_returns(void)
{
    char url[200];
    int status = 0;
    snprintf(url, sizeof url, "%s", test_url("shm:%s/e"));
    naru_event *e = open_event(url, AUTOMATIC, 0), *f = open_event(url, AUTOMATIC, 0);
    pid_t child = start_child(wait_and_die, url);
    for (int64_t end = test_now() + PATIENCE; !somebody_waits(e); usleep(200))
        expect(test_now() < end);
    kill(child, SIGSTOP);
    expect_ok(naru_event_set(e));
    expect_ok(naru_event_set(e));
    expect_ok(naru_fd(f)); /* is to be told of what is left */
    kill(child, SIGCONT);
    waitpid(child, &status, 0);
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    expect_ok(naru_event_wait(e, PATIENCE));
    expect_ok(naru_event_wait(e, PATIENCE));
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    naru_event_close(f);
    expect_ok(naru_remove(url));
}

/* One who is stopped when it is released: it passes once it goes on; others have sets of theirs. */
static void stopped_when_released(int kind)
{
    struct waiter *w = new_waiter(kind, NARU_SLEEP);
    naru_event *e = event_at(w->r, kind, PARTICIPANTS, 0);
    pid_t first = start_child(wait_in_child, w);
    await_waiting(w->r, 1);
    kill(first, SIGSTOP);
    pid_t second = start_child(wait_in_child, w);
    await_waiting(w->r, 2);
    expect_ok(naru_event_set(e));
    if (kind == AUTOMATIC)
        expect_ok(naru_event_set(e));
    expect_ok(naru_event_reset(e));
    await(&w->passed, 1);
    end_child(second);
    kill(first, SIGCONT);
    end_child(first);
    expect(w->passed == 2);
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    naru_region_close(w->r);
}

static void stopped_manual(void)
{
    stopped_when_released(MANUAL);
}

static void stopped_automatic(void)
{
    stopped_when_released(AUTOMATIC);
}

/* Waiters are killed at random; what they did not get others do. */
struct storm {
    const char *url;
    int kind;
    _Atomic long rounds;
};

static void storm_child(void *context)
{
    struct storm *t = context;
    naru_event *e = open_event(t->url, t->kind, 0);
    for (unsigned i = (unsigned)getpid();; i++) {
        int r = i % 3 == 0   ? naru_event_set(e)
                : i % 7 == 0 ? naru_event_reset(e)
                             : naru_event_wait(e, i % 5 ? NARU_MS : NARU_NOWAIT);
        if (r < 0 && r != -ETIMEDOUT && r != -EAGAIN)
            test_failed(__FILE__, __LINE__, "%d, %s", r, naru_why());
        atomic_fetch_add(&t->rounds, 1);
    }
}

static void storm(int kind)
{
    enum { CHILDREN = 4, KILLS = 200 };
    struct storm *t = shared(sizeof *t);
    *t = (struct storm){.url = test_url("shm:%s/e"), .kind = kind};
    naru_event *e = open_event(t->url, kind, 0);
    pid_t child[CHILDREN];
    unsigned seed = 1;
    int status;
    for (int i = 0; i < CHILDREN; i++)
        child[i] = start_child(storm_child, t);
    for (int i = 0; i < KILLS; i++) {
        usleep((useconds_t)(rand_r(&seed) % 2000));
        pid_t *c = &child[rand_r(&seed) % CHILDREN];
        kill(*c, SIGKILL);
        waitpid(*c, &status, 0);
        expect(WIFSIGNALED(status));
        *c = start_child(storm_child, t);
    }
    for (int i = 0; i < CHILDREN; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], &status, 0);
        expect(WIFSIGNALED(status));
    }
    expect(t->rounds > 0);
    struct naru_collected c = {.size = sizeof c};
    expect_ok(naru_collect(t->url, 0, &c));
    while (naru_event_wait(e, NARU_NOWAIT) == 0) /* what the dead left, one each at most */
        expect_ok(naru_event_reset(e));
    expect_ok(naru_event_set(e));
    expect_ok(naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    expect_ok(naru_remove(t->url));
}

static void storm_manual(void)
{
    storm(MANUAL);
}

static void storm_automatic(void)
{
    storm(AUTOMATIC);
}

/* ---- ends of waits ---- */

static void cancelled(int kind)
{
    naru_region *region = make_region(8);
    naru_event *e = event_at(region, kind, 8, NARU_SLEEP), *f = event_at(region, kind, 8, 0);
    struct waiter w = {.r = (naru_region *)(void *)e, .timeout = NARU_FOREVER};
    pthread_t thread;
    pthread_create(&thread, NULL, wait_in_thread, &w);
    await_waiting(region, 1);
    expect_ok(naru_cancel(e));
    pthread_join(thread, NULL);
    expect(w.result == -ECANCELED);
    expect_ok(naru_cancel(e)); /* sticky */
    expect_code(-ECANCELED, naru_event_wait(e, NARU_FOREVER));
    expect_code(-EAGAIN, naru_event_wait(e, NARU_NOWAIT));
    expect_ok(naru_event_set(f));
    expect_ok(naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    naru_event_close(f);
    naru_region_close(region);
}

static void cancelled_manual(void)
{
    cancelled(MANUAL);
}

static void cancelled_automatic(void)
{
    cancelled(AUTOMATIC);
}

static void removed(int kind)
{
    const char *url = test_url("shm:%s/e");
    for (int others = 0; others < 2; others++) {
        naru_event *e = open_event(url, kind, NARU_SLEEP),
                   *f = others ? open_event(url, kind, 0) : NULL;
        struct waiter w = {.r = (naru_region *)(void *)e, .timeout = NARU_FOREVER};
        pthread_t thread;
        pthread_create(&thread, NULL, wait_in_thread, &w);
        usleep(SOON_MS * 1000);
        expect_ok(naru_remove(url));
        pthread_join(thread, NULL);
        expect(w.result == -EIDRM);
        expect_code(-EIDRM, naru_event_set(e));
        expect_code(-EIDRM, naru_event_reset(e));
        expect_code(-EIDRM, naru_event_is_set(e));
        expect_code(-EIDRM, naru_event_wait(e, NARU_NOWAIT));
        naru_event *g = open_event(url, kind, 0); /* another one */
        expect_ok(naru_event_set(g));
        expect_ok(naru_event_wait(g, NARU_NOWAIT));
        naru_event_close(g);
        naru_event_close(e);
        naru_event_close(f);
        expect_ok(naru_remove(url));
    }
}

static void removed_manual(void)
{
    removed(MANUAL);
}

static void removed_automatic(void)
{
    removed(AUTOMATIC);
}

static void forked(void)
{
    const char *url = test_url("shm:%s/e");
    naru_event *e = open_event(url, AUTOMATIC, 0);
    pid_t child = fork();
    if (child == 0) {
        bool right = naru_event_set(e) == -ECHILD && naru_event_wait(e, 0) == -ECHILD &&
                     naru_event_reset(e) == -ECHILD && naru_event_is_set(e) == -ECHILD &&
                     naru_fd(e) == -ECHILD;
        naru_event_close(e);
        _exit(right ? 0 : 1);
    }
    end_child(child);
    expect_ok(naru_event_set(e));
    expect_ok(naru_event_wait(e, NARU_NOWAIT));
    naru_event_close(e);
    expect_ok(naru_remove(url));
}

/* ---- readiness ---- */

static void descriptor_of(naru_event *e, naru_event *f, int kind)
{
    int fd = naru_fd(f);
    expect_ok(fd);
    expect(!readable(fd, SOON_MS));
    expect_ok(naru_event_set(e));
    expect(readable(fd, PATIENCE_MS));
    expect(readable(fd, 0)); /* level-triggered */
    expect_ok(naru_event_wait(f, NARU_NOWAIT));
    if (kind == MANUAL) {
        expect(readable(fd, 0));
        expect_ok(naru_event_reset(f));
        expect(!readable(fd, SOON_MS));
        expect_code(-EAGAIN, naru_event_wait(f, NARU_NOWAIT));
        /* set and reset at once: told all the same */
        expect_ok(naru_event_set(e));
        expect_ok(naru_event_reset(e));
        expect(readable(fd, PATIENCE_MS));
        expect_ok(naru_event_wait(f, NARU_NOWAIT));
    }
    expect(!readable(fd, SOON_MS) || naru_event_wait(f, NARU_NOWAIT) == -EAGAIN);
    expect_code(-EAGAIN, naru_event_wait(f, NARU_NOWAIT));
    expect(!readable(fd, SOON_MS));
    expect_ok(naru_cancel(f));
    expect(readable(fd, PATIENCE_MS));
    expect_code(-ECANCELED, naru_event_wait(f, NARU_NOWAIT));
    expect(!readable(fd, SOON_MS));
}

static void descriptor(void)
{
    for (int kind = 0; kind < 2; kind++) {
        const char *url = test_url("shm:%s/e");
        naru_event *e = open_event(url, kind, 0), *f = open_event(url, kind, 0);
        descriptor_of(e, f, kind);
        expect_ok(naru_remove(url));
        expect(readable(naru_fd(f), PATIENCE_MS));
        expect_code(-EIDRM, naru_event_wait(f, NARU_NOWAIT));
        naru_event_close(e);
        naru_event_close(f);
    }
}

static void in_region(void)
{
    for (int kind = 0; kind < 2; kind++) {
        naru_region *r, *q;
        naru_event *e, *f;
        size_t bytes = naru_lock_bytes(8);
        struct naru_event_options o = {sizeof o, .kind = kind, .participants = 8};
        const char *url = test_url("shm:%s/r");
        expect_ok(naru_region_create(url, 128 + bytes, NULL, &r));
        expect_ok(naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &q));
        expect_code(-EINVAL, naru_event_at(r, 100, &o, &e));
        expect_code(-ENOSPC, naru_event_at(r, 256, &o, &e));
        expect_ok(naru_event_at(r, 128, &o, &e));
        expect_ok(naru_event_at(q, 128, NULL, &f));
        expect_ok(naru_event_set(e));
        expect_ok(naru_event_wait(f, NARU_NOWAIT));
        expect_ok(naru_event_reset(f));
        int fd = naru_fd(f);
        expect(!readable(fd, SOON_MS) || naru_event_wait(f, NARU_NOWAIT) == -EAGAIN);
        expect_ok(naru_event_set(e));
        while (naru_event_wait(f, NARU_NOWAIT) == -EAGAIN)
            expect(readable(fd, PATIENCE_MS));
        naru_semaphore *s;
        expect_code(-EEXIST, naru_semaphore_at(q, 128, NULL, &s));
        expect_says("is an event");
        naru_event_close(e);
        naru_event_close(f);
        naru_region_close(q);
        naru_region_close(r);
        expect_ok(naru_remove(url));
    }
}

/* ---- many ---- */

static void many(void)
{
    enum { HANDLES = 1000 };
    for (int kind = 0; kind < 2; kind++) {
        naru_region *region = make_region(HANDLES + 1);
        naru_event *setter = event_at(region, kind, HANDLES + 1, 0), *more;
        static struct waiter w[HANDLES];
        static pthread_t thread[HANDLES];
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 64 << 10);
        for (int i = 0; i < HANDLES; i++) {
            naru_event *e = event_at(region, kind, HANDLES + 1, NARU_SLEEP);
            w[i] = (struct waiter){.r = (naru_region *)(void *)e, .timeout = 60 * NARU_S};
        }
        struct naru_event_options o = {.size = sizeof o};
        expect_code(-ENOSPC, naru_event_at(region, 0, &o, &more));
        expect_says("as many participants as it can have: 1001");
        for (int i = 0; i < HANDLES; i++)
            expect(pthread_create(&thread[i], &small, wait_in_thread, &w[i]) == 0);
        await_waiting(region, HANDLES);
        int64_t begin = test_now();
        for (int i = 0; i < (kind == AUTOMATIC ? HANDLES : 1); i++)
            expect_ok(naru_event_set(setter));
        expect_ok(naru_event_reset(setter));
        for (int i = 0; i < HANDLES; i++)
            pthread_join(thread[i], NULL);
        printf("# %d waits ended after %.1f ms\n", HANDLES, (double)(test_now() - begin) / 1e6);
        fflush(stdout);
        for (int i = 0; i < HANDLES; i++) {
            expect(w[i].passed == 1);
            naru_event_close((naru_event *)(void *)w[i].r);
        }
        expect_code(-EAGAIN, naru_event_wait(setter, NARU_NOWAIT));
        naru_event_close(setter);
        naru_region_close(region);
        pthread_attr_destroy(&small);
    }
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"manual", manual},
        {"automatic", automatic},
        {"options", options},
        {"set and reset at once releases everybody", pulses},
        {"one for each set", one_for_each_set},
        {"one is kept", one_is_kept},
        {"threads of one handle: manual", threads_manual},
        {"threads of one handle: automatic", threads_automatic},
        {"killed when it was released", killed_when_released},
        {"killed before it returns", killed_before_it_returns},
        {"stopped when it was released: manual", stopped_manual},
        {"stopped when it was released: automatic", stopped_automatic},
        {"killed at random: manual", storm_manual},
        {"killed at random: automatic", storm_automatic},
        {"cancelled: manual", cancelled_manual},
        {"cancelled: automatic", cancelled_automatic},
        {"removed: manual", removed_manual},
        {"removed: automatic", removed_automatic},
        {"forked", forked},
        {"readiness in a foreign loop", descriptor},
        {"in a region", in_region},
        {"1 000 participants", many},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
