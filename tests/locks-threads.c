/* SPDX-License-Identifier: MIT */
/* locks-threads.c - locks on one common mapping, for ThreadSanitizer: each thread has a handle
 * of its own in the same region, so that all changes of the words are seen, and so is what the
 * locks guard. Prints TAP. */
#include <naru/naru.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, ROUNDS = 3000 };

static naru_region *region;
static long counter; /* what the permit guards */
static int mailbox;  /* what a post publishes */
static _Atomic int failures;

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    printf("# %s: %d, %s\n", what, result, naru_why());
    failures++;
}

static naru_semaphore *semaphore_at(size_t offset, const struct naru_semaphore_options *o)
{
    naru_semaphore *s = NULL;
    must(naru_semaphore_at(region, offset, o, &s), "open");
    if (!s)
        exit(1);
    return s;
}

static void *count(void *options)
{
    naru_semaphore *s = semaphore_at(0, options);
    for (int i = 0; i < ROUNDS; i++) {
        must(naru_semaphore_acquire(s, 1, 30 * NARU_S), "acquire");
        counter++;
        must(naru_semaphore_release(s, 1), "release");
        if (i % 500 == 0) { /* others come and go meanwhile */
            naru_semaphore_close(s);
            s = semaphore_at(0, options);
        }
    }
    naru_semaphore_close(s);
    return NULL;
}

static bool guarded(const char *name, unsigned flags)
{
    struct naru_semaphore_options o = {sizeof o, .value = 1, .flags = flags, .participants = 8};
    pthread_t thread[THREADS];
    if (naru_region_create(NULL, naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    counter = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, count, &o);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    region = naru_region_close(region);
    printf("# %s: %ld\n", name, counter);
    return counter == THREADS * ROUNDS && failures == 0;
}

static void *receive(void *options)
{
    naru_semaphore *full = semaphore_at(0, options);
    naru_semaphore *empty = semaphore_at(naru_lock_bytes(8), options);
    for (int i = 0; i < ROUNDS; i++) {
        must(naru_semaphore_wait(full, 1, 30 * NARU_S), "wait");
        if (mailbox != i)
            failures++;
        must(naru_semaphore_post(empty, 1), "post");
    }
    naru_semaphore_close(full);
    naru_semaphore_close(empty);
    return NULL;
}

static bool handed_over(void)
{
    struct naru_semaphore_options o = {sizeof o, .kind = NARU_PLAIN, .participants = 8};
    pthread_t thread;
    if (naru_region_create(NULL, 2 * naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    naru_semaphore *full = semaphore_at(0, &o), *empty = semaphore_at(naru_lock_bytes(8), &o);
    pthread_create(&thread, NULL, receive, &o);
    for (int i = 0; i < ROUNDS; i++) {
        mailbox = i;
        must(naru_semaphore_post(full, 1), "post");
        must(naru_semaphore_wait(empty, 1, 30 * NARU_S), "wait");
    }
    pthread_join(thread, NULL);
    naru_semaphore_close(full);
    naru_semaphore_close(empty);
    region = naru_region_close(region);
    return failures == 0;
}

/* Threads of one handle. */
static void *count_shared(void *semaphore)
{
    for (int i = 0; i < ROUNDS; i++) {
        must(naru_semaphore_acquire(semaphore, 1, 30 * NARU_S), "acquire");
        counter++;
        must(naru_semaphore_release(semaphore, 1), "release");
    }
    return NULL;
}

static bool one_handle(void)
{
    struct naru_semaphore_options o = {sizeof o, .value = 1, .participants = 8};
    pthread_t thread[THREADS];
    if (naru_region_create(NULL, naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    naru_semaphore *s = semaphore_at(0, &o);
    counter = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, count_shared, s);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    naru_semaphore_close(s);
    region = naru_region_close(region);
    return counter == THREADS * ROUNDS && failures == 0;
}

/* ---- mutexes and rwlocks: threads with handles of their own, and two of each ---- */

static unsigned flags; /* of the mutex */

static naru_mutex *mutex_here(void)
{
    naru_mutex *m = NULL;
    struct naru_mutex_options o = {sizeof o, .flags = flags, .participants = 8};
    must(naru_mutex_at(region, 0, &o, &m), "open");
    if (!m)
        exit(1);
    return m;
}

static void *count_locked(void *mutex)
{
    naru_mutex *m = mutex ? mutex : mutex_here();
    for (int i = 0; i < ROUNDS; i++) {
        must(naru_mutex_lock(m, 30 * NARU_S), "lock");
        counter++;
        must(naru_mutex_unlock(m), "unlock");
        if (!mutex && i % 500 == 0) {
            naru_mutex_close(m);
            m = mutex_here();
        }
    }
    if (!mutex)
        naru_mutex_close(m);
    return NULL;
}

static bool locked(unsigned with)
{
    pthread_t thread[THREADS];
    if (naru_region_create(NULL, naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    flags = with;
    counter = 0;
    naru_mutex *shared = mutex_here();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, count_locked, i < 2 ? shared : NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    naru_mutex_close(shared);
    region = naru_region_close(region);
    return counter == THREADS * ROUNDS && failures == 0;
}

static long half[2]; /* equal, whenever nobody writes */

static naru_rwlock *rwlock_here(void)
{
    naru_rwlock *w = NULL;
    struct naru_rwlock_options o = {sizeof o, .participants = 8};
    must(naru_rwlock_at(region, 0, &o, &w), "open");
    if (!w)
        exit(1);
    return w;
}

static void *read_and_write(void *rwlock)
{
    naru_rwlock *w = rwlock ? rwlock : rwlock_here();
    for (int i = 0; i < ROUNDS; i++) {
        bool writes = i % 4 == 0;
        must(writes ? naru_rwlock_write(w, 30 * NARU_S) : naru_rwlock_read(w, 30 * NARU_S),
             "rwlock");
        if (half[0] != half[1])
            failures++;
        if (writes) {
            half[0]++;
            half[1]++;
        }
        must(naru_rwlock_unlock(w), "unlock");
    }
    if (!rwlock)
        naru_rwlock_close(w);
    return NULL;
}

static bool read_and_written(void)
{
    pthread_t thread[THREADS];
    if (naru_region_create(NULL, naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    naru_rwlock *shared = rwlock_here();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, read_and_write, i < 2 ? shared : NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    naru_rwlock_close(shared);
    region = naru_region_close(region);
    return half[0] == THREADS * ROUNDS / 4 && failures == 0;
}

/* ---- events ---- */

static naru_event *event_at(size_t offset, int kind)
{
    naru_event *e = NULL;
    struct naru_event_options o = {sizeof o, .kind = kind, .participants = 8};
    must(naru_event_at(region, offset, &o, &e), "open");
    if (!e)
        exit(1);
    return e;
}

static void *pass_on(void *kind)
{
    int k = *(int *)kind;
    naru_event *full = event_at(0, k), *empty = event_at(naru_lock_bytes(8), k);
    for (int i = 0; i < ROUNDS; i++) {
        must(naru_event_wait(full, 30 * NARU_S), "wait");
        must(naru_event_reset(full), "reset");
        if (mailbox != i)
            failures++;
        must(naru_event_set(empty), "set");
    }
    naru_event_close(full);
    naru_event_close(empty);
    return NULL;
}

static bool told(int kind)
{
    pthread_t thread;
    if (naru_region_create(NULL, 2 * naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    naru_event *full = event_at(0, kind), *empty = event_at(naru_lock_bytes(8), kind);
    pthread_create(&thread, NULL, pass_on, &kind);
    for (int i = 0; i < ROUNDS; i++) {
        mailbox = i;
        must(naru_event_set(full), "set");
        must(naru_event_wait(empty, 30 * NARU_S), "wait");
        must(naru_event_reset(empty), "reset");
    }
    pthread_join(thread, NULL);
    naru_event_close(full);
    naru_event_close(empty);
    region = naru_region_close(region);
    return failures == 0;
}

/* A set that is merged with one before tells what was written before it, too. */
static _Atomic long written;
static long read_last;

static void *write_and_set(void *unused)
{
    naru_event *e = event_at(0, NARU_AUTOMATIC);
    (void)unused;
    for (int i = 0; i < 10 * ROUNDS; i++) {
        atomic_store_explicit(&written, i + 1, memory_order_relaxed);
        must(naru_event_set(e), "set");
    }
    naru_event_close(e);
    return NULL;
}

static bool merged(void)
{
    pthread_t thread;
    if (naru_region_create(NULL, naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    naru_event *e = event_at(0, NARU_AUTOMATIC);
    read_last = 0;
    pthread_create(&thread, NULL, write_and_set, NULL);
    while (read_last < 10 * ROUNDS && failures == 0) { /* the last set is never lost */
        must(naru_event_wait(e, 30 * NARU_S), "wait");
        read_last = atomic_load_explicit(&written, memory_order_relaxed);
    }
    pthread_join(thread, NULL);
    naru_event_close(e);
    region = naru_region_close(region);
    return failures == 0;
}

/* ---- barriers ---- */

static _Atomic int serials;
static int desk[THREADS]; /* each writes its own, and reads all behind the barrier */

static void *meet(void *me)
{
    int *mine = me, serial = 0;
    naru_barrier *b = NULL;
    struct naru_barrier_options o = {sizeof o, .parties = THREADS, .participants = 8};
    must(naru_barrier_at(region, 0, &o, &b), "open");
    for (int i = 0; b && i < ROUNDS; i++) {
        *mine = i;
        int r = naru_barrier_wait(b, 30 * NARU_S);
        must(r, "meet");
        for (int k = 0; k < THREADS; k++)
            if (desk[k] != i)
                failures++;
        serial += r;
        must(naru_barrier_wait(b, 30 * NARU_S), "part");
    }
    naru_barrier_close(b);
    serials += serial;
    return NULL;
}

static bool met(void)
{
    pthread_t thread[THREADS];
    if (naru_region_create(NULL, naru_lock_bytes(8), NULL, &region) < 0)
        return false;
    serials = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, meet, &desk[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    region = naru_region_close(region);
    return serials == ROUNDS && failures == 0;
}

int main(void)
{
    const bool ok[] = {guarded("fast", 0),
                       guarded("fair", NARU_FAIR),
                       handed_over(),
                       one_handle(),
                       locked(0),
                       locked(NARU_FAIR),
                       locked(NARU_PRIO_INHERIT),
                       read_and_written(),
                       told(NARU_MANUAL),
                       told(NARU_AUTOMATIC),
                       merged(),
                       met()};
    static const char *const name[] = {"a permit guards",
                                       "a fair permit guards",
                                       "a post publishes",
                                       "threads of one handle",
                                       "a mutex guards",
                                       "a fair mutex guards",
                                       "a mutex with priority inheritance guards",
                                       "a rwlock guards",
                                       "a set publishes",
                                       "an automatic set publishes",
                                       "so does a set that is merged",
                                       "a barrier publishes, and has one serial party"};
    enum { CASES = sizeof ok / sizeof *ok };
    int bad = 0;
    for (int i = 0; i < CASES; i++) {
        printf("%s %d - %s\n", ok[i] ? "ok" : "not ok", i + 1, name[i]);
        bad += !ok[i];
    }
    printf("1..%d\n", CASES);
    return bad > 0;
}
