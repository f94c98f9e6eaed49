/* SPDX-License-Identifier: MIT */
/* fairness.c [--measure SECONDS] - who waits under NARU_FAIR is overtaken by nobody. TAP.
 *
 * Contenders queue up one after the other, each seen asleep before the next comes, while another
 * process tries all the time without waiting: they are served in that order, and it gets nothing
 * before the last of them. What a scheduler does changes nothing of that, but for one thing: who
 * does not run for two ticks (lock.c: suspect()) is passed over, so where a turn took that long the
 * order says nothing, and the case begins anew.
 *
 * The first one is also stopped, so that it cannot run: nobody else gets what is free meanwhile.
 *
 * --measure prints how long those who had to queue up waited, from the call to the return, fair and
 * not, and how many others had it while one slept in the queue. */
#include "harness.h"

#include "lock/lock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64, ROUNDS = 2, PASSED_OVER_MS = 40 };

static const char *const kinds[] = {"semaphore", "mutex", "rwlock"};
static int kind, contenders;
static unsigned flags = NARU_FAIR;

/* ---- one face for all ---- */

static void *open_it(const char *url)
{
    struct naru_semaphore_options s = {.size = sizeof s, .value = 1, .flags = flags};
    struct naru_mutex_options m = {.size = sizeof m, .flags = flags};
    struct naru_rwlock_options w = {.size = sizeof w, .flags = flags};
    void *l = NULL;
    expect_ok(kind == 0   ? naru_semaphore_open(url, &s, (naru_semaphore **)&l)
              : kind == 1 ? naru_mutex_open(url, &m, (naru_mutex **)&l)
                          : naru_rwlock_open(url, &w, (naru_rwlock **)&l));
    return l;
}

static int take(void *l, int64_t timeout)
{
    return kind == 0   ? naru_semaphore_acquire(l, 1, timeout)
           : kind == 1 ? naru_mutex_lock(l, timeout)
                       : naru_rwlock_write(l, timeout);
}

static int give(void *l)
{
    return kind == 0   ? naru_semaphore_release(l, 1)
           : kind == 1 ? naru_mutex_unlock(l)
                       : naru_rwlock_unlock(l);
}

static void close_it(void *l)
{
    if (kind == 0)
        naru_semaphore_close(l);
    else if (kind == 1)
        naru_mutex_close(l);
    else
        naru_rwlock_close(l);
}

static bool sleeps(const struct naru_permits *p, uint32_t member)
{
    return atomic_load(&p->members[member].kind[NARU_LOCK_WANT]) & NARU_LOCK_ASLEEP;
}

/* ---- in what order ---- */

static struct shared {
    const char *url;
    _Atomic int ready, begun, served, tried, stop, barged, errors;
    int who[MOST * ROUNDS];
    int64_t when[MOST * ROUNDS + 1];
    /* to measure */
    _Atomic uint64_t passed[NARU_LOCK_MEMBERS_MAX]; /* the participant's wait that is on */
    struct {
        int64_t longest, total;
        uint64_t rounds, waits, most, passed, cpu;
    } of[MOST];
} * all;

struct contender {
    int i;
};

static void contend(void *context)
{
    const struct contender *c = context;
    void *l = open_it(all->url);
    atomic_fetch_add(&all->ready, 1);
    while (atomic_load(&all->begun) <= c->i)
        usleep(100);
    for (int round = 0; round < ROUNDS; round++) {
        if (take(l, PATIENCE) < 0) {
            atomic_fetch_add(&all->errors, 1);
            break;
        }
        int n = atomic_load(&all->served);
        all->who[n] = c->i;
        all->when[n + 1] = test_now();
        atomic_store(&all->served, n + 1);
        give(l);
    }
    close_it(l);
}

static void try_once(void *l)
{
    if (take(l, NARU_NOWAIT) == 0) {
        atomic_fetch_add(&all->barged, atomic_load(&all->served) < contenders);
        give(l);
    }
    atomic_fetch_add(&all->tried, 1);
}

static void barge(void *context)
{
    (void)context;
    void *l = open_it(all->url);
    while (!atomic_load(&all->stop))
        try_once(l);
    close_it(l);
}

static void await_sleepers(const struct naru_lock *l, int n)
{
    int64_t end = test_now() + PATIENCE;
    for (int asleep = 0; asleep < n; usleep(100)) {
        asleep = 0;
        for (uint32_t m = 0; m < naru__object_members(&l->object); m++)
            asleep += sleeps(&l->permits, m);
        expect(test_now() < end);
    }
}

static void await(_Atomic int *word, int value)
{
    int64_t end = test_now() + PATIENCE;
    while (atomic_load(word) < value) {
        expect(test_now() < end);
        usleep(200);
    }
}

/* Longest turn of the first round, in ms. */
static int64_t one_try(void)
{
    struct contender c[MOST];
    pid_t child[MOST + 1];
    memset(all, 0, sizeof *all);
    all->url = test_url("shm:%s/x");
    void *l = open_it(all->url);
    expect_ok(take(l, NARU_NOWAIT));
    for (int i = 0; i < contenders; i++) {
        c[i] = (struct contender){i};
        child[i] = start_child(contend, &c[i]);
    }
    child[contenders] = start_child(barge, NULL);
    await(&all->ready, contenders);
    for (int i = 0; i < contenders; i++) {
        atomic_store(&all->begun, i + 1);
        await_sleepers(l, i + 1);
    }
    await(&all->tried, atomic_load(&all->tried) + 10);
    all->when[0] = test_now();
    expect_ok(give(l));
    try_once(l); /* at once, while the first one still wakes up */
    await(&all->served, contenders * ROUNDS);
    atomic_store(&all->stop, 1);
    for (int i = 0; i <= contenders; i++)
        end_child(child[i]);
    close_it(l);
    expect_ok(naru_remove(all->url));
    expect(all->errors == 0);
    int64_t longest = 0;
    for (int i = 0; i < contenders; i++)
        if (all->when[i + 1] - all->when[i] > longest)
            longest = all->when[i + 1] - all->when[i];
    return longest / NARU_MS;
}

static bool in_order(void)
{
    for (int i = 0; i < contenders; i++)
        if (all->who[i] != i)
            return false;
    return all->barged == 0;
}

static void order(void)
{
    enum { TRIES = 10 };
    for (int i = 0; i < TRIES; i++) {
        int64_t longest = one_try();
        if (in_order())
            return;
        printf("# %d of %d was served first, %d tries overtook; the longest turn took %lld ms\n",
               all->who[0], contenders, all->barged, (long long)longest);
        fflush(stdout);
        expect(longest >= PASSED_OVER_MS);
    }
    expect(!"a machine on which turns are short");
}

/* ---- while the first one cannot run ---- */

static void wait_stopped(void *context)
{
    (void)context;
    void *l = open_it(all->url);
    atomic_store(&all->ready, 1);
    expect_ok(take(l, PATIENCE));
    expect_ok(give(l));
    close_it(l);
}

/* In the kernel, not only on the way there: then what the word says of it is said. */
static bool is_asleep(pid_t pid, const struct naru_lock *l)
{
    char path[40], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    bool there = f && fgets(line, sizeof line, f);
    if (f)
        fclose(f);
    const char *end = strrchr(line, ')');
    bool sleeping = false;
    for (uint32_t m = 0; m < naru__object_members(&l->object); m++)
        sleeping |= sleeps(&l->permits, m);
    return there && end && end[2] == 'S' && sleeping;
}

/* So that nothing depends on who runs first. */
static void closed(void)
{
    memset(all, 0, sizeof *all);
    all->url = test_url("shm:%s/x");
    void *l = open_it(all->url);
    expect_ok(take(l, NARU_NOWAIT));
    pid_t child = start_child(wait_stopped, NULL);
    await(&all->ready, 1);
    int64_t end = test_now() + PATIENCE;
    while (!is_asleep(child, l)) {
        expect(test_now() < end);
        usleep(200);
    }
    kill(child, SIGSTOP);
    expect(waitpid(child, NULL, WUNTRACED) == child);
    expect_ok(give(l));
    expect_code(-EAGAIN, take(l, NARU_NOWAIT));
    kill(child, SIGCONT);
    end_child(child);
    expect_ok(take(l, NARU_NOWAIT)); /* it has had it, and given it back */
    close_it(l);
    expect_ok(naru_remove(all->url));
}

/* ---- how long ---- */

static void measured(void *context)
{
    const struct contender *c = context;
    void *handle = open_it(all->url);
    const struct naru_lock *l = handle;
    uint32_t me = l->permits.me;
    const _Atomic uint64_t *since = &l->permits.members[me].kind[NARU_LOCK_SINCE];
    atomic_fetch_add(&all->ready, 1);
    await(&all->begun, 1);
    while (!atomic_load(&all->stop)) {
        atomic_store(&all->passed[me], 0);
        int64_t begin = test_now();
        expect_ok(take(handle, PATIENCE));
        int64_t took = test_now() - begin;
        uint64_t passed = atomic_load(&all->passed[me]);
        for (uint32_t m = 0; m < naru__object_members(&l->object); m++)
            if (m != me && sleeps(&l->permits, m))
                atomic_fetch_add(&all->passed[m], 1);
        expect_ok(give(handle));
        all->of[c->i].longest = took > all->of[c->i].longest ? took : all->of[c->i].longest;
        all->of[c->i].most = passed > all->of[c->i].most ? passed : all->of[c->i].most;
        all->of[c->i].rounds++;
        /* relaxed: this one's own. It queued up, so it is a wait */
        if (atomic_load_explicit(since, memory_order_relaxed) >= (uint64_t)begin) {
            all->of[c->i].waits++;
            all->of[c->i].total += took;
            all->of[c->i].passed += passed;
        }
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    all->of[c->i].cpu = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
                        (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    close_it(handle);
}

static double seconds;

static void measure(void)
{
    struct contender c[MOST];
    pid_t child[MOST];
    memset(all, 0, sizeof *all);
    all->url = test_url("shm:%s/x");
    void *l = open_it(all->url);
    for (int i = 0; i < contenders; i++) {
        c[i] = (struct contender){i};
        child[i] = start_child(measured, &c[i]);
    }
    await(&all->ready, contenders);
    atomic_store(&all->begun, 1);
    usleep((useconds_t)(seconds * 1e6));
    atomic_store(&all->stop, 1);
    int64_t longest = 0, total = 0;
    uint64_t rounds = 0, waits = 0, most = 0, passed = 0, cpu = 0;
    for (int i = 0; i < contenders; i++) {
        end_child(child[i]);
        longest = all->of[i].longest > longest ? all->of[i].longest : longest;
        most = all->of[i].most > most ? all->of[i].most : most;
        total += all->of[i].total;
        passed += all->of[i].passed;
        rounds += all->of[i].rounds;
        waits += all->of[i].waits;
        cpu += all->of[i].cpu;
    }
    double n = waits ? (double)waits : 1;
    printf("# %-9s %-4s %2d contenders: %9.0f a second, %7.0f waits, mean %8.1f us, max %9.1f us "
           "(%7.1f x), passed mean %6.1f, max %llu (%5.1f x), cpu %5.2f us\n",
           kinds[kind], flags ? "fair" : "fast", contenders, (double)rounds / seconds, n / seconds,
           (double)total / n / 1e3, (double)longest / 1e3,
           total ? (double)longest * n / (double)total : 0.0, (double)passed / n,
           (unsigned long long)most, passed ? (double)most * n / (double)passed : 0.0,
           (double)cpu / (double)rounds);
    fflush(stdout);
    close_it(l);
    expect_ok(naru_remove(all->url));
}

int main(int argc, char **argv)
{
    bool measures = argc > 2 && strcmp(argv[1], "--measure") == 0;
    seconds = measures ? atof(argv[2]) : 0;
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return 2;
    for (kind = 0; kind < 3; kind++)
        for (contenders = 2; contenders <= MOST; contenders *= contenders == 2 ? 2 : 4)
            for (int fast = 0; fast <= measures; fast++) {
                char name[80], why[900] = "";
                flags = fast ? 0 : NARU_FAIR;
                snprintf(name, sizeof name, "%s %s, %d contenders", fast ? "fast" : "fair",
                         kinds[kind], contenders);
                if (argc == 2 && !strstr(name, argv[1]))
                    continue;
                bool ok =
                    run_case(name, measures ? measure : order, case_seconds(120), why, sizeof why);
                tap_result(ok, name, why);
            }
    for (kind = 0; kind < 3 && !measures; kind++) {
        char name[80], why[900] = "";
        snprintf(name, sizeof name, "fair %s, the first one stopped", kinds[kind]);
        if (argc == 2 && !strstr(name, argv[1]))
            continue;
        bool ok = run_case(name, closed, case_seconds(120), why, sizeof why);
        tap_result(ok, name, why);
    }
    return tap_end();
}
