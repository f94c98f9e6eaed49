/* SPDX-License-Identifier: MIT */
/* locks-threads.c - semaphores on one common mapping, for ThreadSanitizer: each thread has a handle
 * of its own in the same region, so that all changes of the words are seen, and so is what the
 * permits guard. Prints TAP. */
#include <naru/naru.h>
#include <pthread.h>
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

int main(void)
{
    bool ok[] = {guarded("fast", 0), guarded("fair", NARU_FAIR), handed_over(), one_handle()};
    static const char *const name[] = {"a permit guards", "a fair permit guards",
                                       "a post publishes", "threads of one handle"};
    int bad = 0;
    for (int i = 0; i < 4; i++) {
        printf("%s %d - %s\n", ok[i] ? "ok" : "not ok", i + 1, name[i]);
        bad += !ok[i];
    }
    printf("1..4\n");
    return bad > 0;
}
