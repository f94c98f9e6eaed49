/* SPDX-License-Identifier: MIT */
/* killed-services.c - servers and clients that are killed at random moments of calls of each form.
 *
 * The survivor's calls are right until then, and end as they should: never a wrong answer, never a
 * wait for the dead. ROUNDS sets how often, SEED the moments; both are printed. */
#include "services.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_US = 4000 };

static unsigned seed = 1;
static int rounds = 40;

static unsigned next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void fill(unsigned char *p, size_t n, unsigned from)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)((i * 2654435761u + from) >> 13);
}

/* ---- a call of each form; 0, or how it ended ---- */

static int one_add(naru_client *c, unsigned i)
{
    const struct numbers n = {i, 2};
    struct naru_payload p;
    int64_t sum;
    int r = naru_client_invoke(c, &r_add, &n, sizeof n, NULL, &p);
    if (r < 0)
        return r;
    expect(p.size == sizeof sum);
    memcpy(&sum, p.data, sizeof sum);
    expect(sum == (int64_t)i + 2);
    naru_client_release(c, &p);
    return 0;
}

/* Larger than a part, so that it may be killed between two. */
static int one_echo(naru_client *c, unsigned i)
{
    static unsigned char data[100000];
    struct naru_payload p;
    fill(data, sizeof data, i);
    int r = naru_client_invoke(c, &r_echo, data, sizeof data, NULL, &p);
    if (r < 0)
        return r;
    expect(p.size == sizeof data && memcmp(p.data, data, sizeof data) == 0);
    naru_client_release(c, &p);
    return 0;
}

static int one_count(naru_client *c)
{
    const struct numbers n = {20, 5000};
    struct naru_payload p;
    naru_call *call;
    int64_t number = 0;
    int r = naru_call_begin(c, &r_count, NULL, &call);
    if (r < 0)
        return r;
    r = naru_call_send(call, &n, sizeof n, NARU_FOREVER);
    for (; r == 0 && (r = naru_call_take(call, NARU_FOREVER, &p)) == 1; number++) {
        expect(p.size == 5000 && memcmp(p.data, &number, sizeof number) == 0);
        naru_call_release(call, &p);
        r = 0;
    }
    expect(r < 0 || number == n.a);
    naru_call_close(call);
    return r;
}

static int one_sum(naru_client *c)
{
    struct naru_payload p;
    naru_call *call;
    int r = naru_call_begin(c, &r_sum, NULL, &call);
    if (r < 0)
        return r;
    for (int64_t i = 1; i <= 20 && r == 0; i++) {
        const struct numbers n = {i, 0};
        r = naru_call_send(call, &n, sizeof n, NARU_FOREVER);
    }
    if (r == 0)
        r = naru_call_shutdown(call);
    if (r == 0 && (r = naru_call_take(call, NARU_FOREVER, &p)) == 1) {
        struct numbers total;
        expect(p.size == sizeof total);
        memcpy(&total, p.data, sizeof total);
        expect(total.a == 210 && total.b == 20);
        naru_call_release(call, &p);
        r = 0;
    }
    naru_call_close(call);
    return r;
}

static int one_chat(naru_client *c)
{
    struct naru_payload p;
    naru_call *call;
    int r = naru_call_begin(c, &r_chat, NULL, &call);
    if (r < 0)
        return r;
    for (int i = 0; i < 10 && r == 0; i++) {
        r = naru_call_send(call, &i, sizeof i, NARU_FOREVER);
        if (r == 0 && (r = naru_call_take(call, NARU_FOREVER, &p)) == 1) {
            expect(p.size == sizeof i && memcmp(p.data, &i, sizeof i) == 0);
            naru_call_release(call, &p);
            r = 0;
        }
    }
    if (r == 0)
        r = naru_call_shutdown(call);
    if (r == 0)
        r = naru_call_wait(call, NARU_FOREVER);
    naru_call_close(call);
    return r;
}

static int one_call(naru_client *c, unsigned i)
{
    switch (i % 5) {
    case 0:
        return one_add(c, i);
    case 1:
        return one_echo(c, i);
    case 2:
        return one_count(c);
    case 3:
        return one_sum(c);
    default:
        return one_chat(c);
    }
}

/* ---- the server is killed ---- */

struct killing {
    pid_t victim;
    unsigned after_us;
};

static void kill_later(void *arg)
{
    const struct killing *k = arg;
    usleep(k->after_us);
    kill(k->victim, SIGKILL);
}

/* Who called sees UNAVAILABLE, and nothing else. */
static void server_dies(void)
{
    struct setup setup = {.foreign_loop = false};
    for (int round = 0; round < rounds; round++) {
        setup.options.workers = round % 3 == 2 ? 2 : 0;
        struct world w = begin_world(&setup, NULL);
        unsigned i = next_random();
        expect_ok(one_add(w.client, i)); /* there is a connection: what is killed had begun */
        struct killing k = {w.server, next_random() % LONGEST_US};
        pid_t killer = start_child(kill_later, &k);
        int64_t since = test_now();
        int r;
        while ((r = one_call(w.client, i++)) == 0)
            expect(test_now() - since < PATIENCE);
        expect_code(-ECONNRESET, r);
        expect(test_now() - since < PATIENCE);
        end_child(killer);
        waitpid(w.server, NULL, 0);
        naru_client_close(w.client);
    }
    if (carrier->local) /* a name outlives who is killed */
        (void)naru_remove(seen->url);
}

/* ---- clients are killed ---- */

static void call_for_ever(void *arg)
{
    naru_client *c;
    (void)arg;
    expect_ok(naru_client_open(seen->url, usual_options(), &c));
    for (unsigned i = (unsigned)getpid();; i++)
        expect_ok(one_call(c, i));
}

/* The server serves the others on, and its handlers all end. */
static void clients_die(void)
{
    enum { AT_ONCE = 3 };
    struct setup setup = {.options = {.workers = 0}};
    for (unsigned workers = 0; workers <= 2 && !carrier->pair; workers += 2) {
        setup.options.workers = workers;
        struct world w = begin_world(&setup, NULL);
        for (int round = 0; round < rounds; round += AT_ONCE) {
            pid_t clients[AT_ONCE];
            for (int i = 0; i < AT_ONCE; i++)
                clients[i] = start_child(call_for_ever, NULL);
            for (int i = 0; i < AT_ONCE; i++) {
                usleep(next_random() % LONGEST_US);
                kill(clients[i], SIGKILL);
                int status;
                waitpid(clients[i], &status, 0);
                expect(WIFSIGNALED(status)); /* no call of its own had failed */
                for (unsigned k = 0; k < 5; k++)
                    expect_ok(one_call(w.client, k));
            }
        }
        await_count(&seen->running, 0);
        end_world(&w);
    }
}

static const struct test_case cases[] = {
    {"the server is killed at any moment", server_dies},
    {"clients are killed at any moment", clients_die},
};

int main(int argc, char **argv)
{
    rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : rounds;
    seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : seed;
    printf("# %d rounds, seed %u\n", rounds, seed);
    make_usual();
    for (carrier = carriers; carrier->name; carrier++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char name[128], why[900] = "";
            snprintf(name, sizeof name, "%s: %s", carrier->name, cases[i].name);
            if ((argc > 1 && !strstr(name, argv[1])) ||
                (carrier->pair && cases[i].run == clients_die)) /* a pair has one client */
                continue;
            bool ok = run_case(name, cases[i].run, case_seconds(300), why, sizeof why);
            tap_result(ok, name, why);
        }
    return tap_end();
}
