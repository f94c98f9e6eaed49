/* SPDX-License-Identifier: MIT */
/* soak.c - threads of a client that call, give up and run out of time at random, over each carrier.
 *
 * Each answer is right, each call ends as it may, and what the server needs does not grow.
 * SOAK_SECONDS sets how long, SEED the calls. CARRIERS: as services.c. */
#include "services.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 6, LARGEST = 300000 };
#ifdef __SANITIZE_ADDRESS__
enum { GROWTH_KIB = 1 << 20 }; /* it keeps what was freed for a while */
#else
enum { GROWTH_KIB = 32768 };
#endif

static unsigned seed = 1;
static double seconds = 1;
static int64_t until;
static _Atomic long ended[3]; /* well, given up, out of time */

struct caller {
    naru_client *client;
    unsigned random;
    unsigned char bytes[LARGEST];
};

static unsigned below(struct caller *c, unsigned n)
{
    c->random = c->random * 1664525u + 1013904223u;
    return (c->random >> 8) % n;
}

static size_t some_size(struct caller *c)
{
    static const size_t all[] = {1, 16, 64, 1000, 40000, LARGEST};
    return all[below(c, sizeof all / sizeof *all)];
}

/* Most have time enough; whether the others have, nobody knows. */
static struct naru_call_options some_time(struct caller *c)
{
    static const int64_t all[] = {NARU_MS / 2, 5 * NARU_MS, PATIENCE, PATIENCE};
    return (struct naru_call_options){.size = sizeof(struct naru_call_options),
                                      .timeout = all[below(c, sizeof all / sizeof *all)]};
}

/* A call of that time has ended: may it end so? */
static void tally(int r, int64_t timeout)
{
    struct naru_status s;
    int code = r >= 0 ? 0 : naru_client_status(&s);
    if (code == NARU_STATUS_DEADLINE_EXCEEDED && timeout < PATIENCE)
        ended[2]++;
    else if (r >= 0)
        ended[0]++;
    else
        test_failed(__FILE__, __LINE__, "a call ended with %d: %s", r, naru_why());
}

static void fill(struct caller *c, size_t n)
{
    memset(c->bytes, (int)below(c, 256), n);
    memcpy(c->bytes, &c->random, n < sizeof c->random ? n : sizeof c->random);
}

static void echo(struct caller *c)
{
    const struct naru_call_options o = some_time(c);
    struct naru_payload p;
    size_t n = some_size(c);
    fill(c, n);
    int r = naru_client_invoke(c->client, &r_echo, c->bytes, n, &o, &p);
    tally(r, o.timeout);
    if (r < 0)
        return;
    expect(p.size == n && memcmp(p.data, c->bytes, n) == 0);
    expect_ok(naru_client_release(c->client, &p));
}

/* Many at once, of which some are given up. */
static void echoes(struct caller *c)
{
    enum { MANY = 20 };
    const struct naru_call_options o = some_time(c);
    naru_call *calls[MANY];
    struct naru_payload p;
    for (int i = 0; i < MANY; i++) {
        expect_ok(naru_call_begin(c->client, &r_echo, &o, &calls[i]));
        (void)naru_call_send(calls[i], &i, sizeof i, PATIENCE); /* its failure, wait tells */
    }
    for (int i = 0; i < MANY; i++) {
        if (below(c, 4) == 0) {
            (void)naru_call_cancel(calls[i]);
            ended[1]++;
        } else {
            int r = naru_call_wait(calls[i], 2 * PATIENCE);
            tally(r, o.timeout);
            if (r >= 0) {
                expect_code(1, naru_call_take(calls[i], NARU_NOWAIT, &p));
                expect(p.size == sizeof i && memcmp(p.data, &i, sizeof i) == 0);
                expect_ok(naru_call_release(calls[i], &p));
            }
        }
        naru_call_close(calls[i]);
    }
}

/* A stream of the server's, that may be given up on the way. */
static void counted(struct caller *c)
{
    const struct naru_call_options o = some_time(c);
    const struct numbers n = {below(c, 200), 8 + (int64_t)some_size(c) % 50000};
    int64_t i = 0;
    struct naru_payload p;
    naru_call *call;
    bool gives_up = false;
    expect_ok(naru_call_begin(c->client, &r_count, &o, &call));
    int r = naru_call_send(call, &n, sizeof n, PATIENCE);
    while (r >= 0 && !gives_up && (r = naru_call_take(call, 2 * PATIENCE, &p)) == 1) {
        expect(p.size == (size_t)n.b && memcmp(p.data, &i, sizeof i) == 0);
        expect_ok(naru_call_release(call, &p));
        i++;
        gives_up = below(c, 300) == 0;
    }
    if (gives_up) {
        (void)naru_call_cancel(call);
        ended[1]++;
    } else {
        expect(r != 0 || i == n.a);
        tally(r, o.timeout);
    }
    naru_call_close(call);
}

static void chat(struct caller *c)
{
    const struct naru_call_options o = some_time(c);
    struct naru_payload p;
    naru_call *call;
    int r = 0;
    expect_ok(naru_call_begin(c->client, &r_chat, &o, &call));
    for (unsigned left = below(c, 20); left > 0 && r >= 0; left--) {
        size_t n = 1 + below(c, 2000);
        fill(c, n);
        r = naru_call_send(call, c->bytes, n, PATIENCE);
        if (r >= 0)
            r = naru_call_take(call, 2 * PATIENCE, &p);
        if (r < 0)
            break;
        expect(r == 1 && p.size == n && memcmp(p.data, c->bytes, n) == 0);
        expect_ok(naru_call_release(call, &p));
    }
    if (r >= 0)
        r = naru_call_shutdown(call);
    if (r >= 0)
        r = naru_call_take(call, 2 * PATIENCE, &p);
    expect(r <= 0);
    tally(r, o.timeout);
    naru_call_close(call);
}

static void *work(void *context)
{
    static void (*const all[])(struct caller *) = {echo, echoes, counted, chat};
    struct caller *c = context;
    while (test_now() < until)
        all[below(c, sizeof all / sizeof *all)](c);
    return NULL;
}

static long resident_kib(pid_t pid)
{
    char path[64];
    long size, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    expect(f && fscanf(f, "%ld %ld", &size, &resident) == 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void soak(void)
{
    static struct caller callers[THREADS];
    pthread_t threads[THREADS];
    struct world w = begin_world(&(struct setup){.options.workers = 4}, NULL);
    int64_t whole = (int64_t)(seconds * (double)NARU_S);
    memset((void *)ended, 0, sizeof ended);
    until = test_now() + whole;
    for (unsigned i = 0; i < THREADS; i++) {
        callers[i].client = w.client;
        callers[i].random = seed * THREADS + i;
        expect(pthread_create(&threads[i], NULL, work, &callers[i]) == 0);
    }
    usleep((useconds_t)(whole / 5000)); /* a fifth: what it needs, it has by then */
    long before = resident_kib(w.server);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    long after = resident_kib(w.server);
    printf("# %s: %ld calls went well, %ld were given up, %ld ran out of time; %ld and %ld KiB\n",
           carrier->name, (long)ended[0], (long)ended[1], (long)ended[2], before, after);
    expect(ended[0] > 0 && after < before + GROWTH_KIB);
    end_world(&w);
}

int main(int argc, char **argv)
{
    const char *asked = getenv("CARRIERS"), *wish = getenv("SOAK_SECONDS");
    (void)argc, (void)argv;
    make_usual();
    seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : seed;
    seconds = wish ? atof(wish) : seconds;
    printf("# seed %u\n", seed);
    for (carrier = carriers; carrier->name; carrier++) {
        char name[64], why[900] = "";
        if (asked && strcmp(asked, carrier->name) != 0)
            continue;
        snprintf(name, sizeof name, "%s", carrier->name);
        tap_result(run_case(name, soak, 60 + (int)seconds, why, sizeof why), name, why);
    }
    return tap_end();
}
