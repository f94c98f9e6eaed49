/* SPDX-License-Identifier: MIT */
/* hostile-services.c - clients and servers that keep to none of the rules: whoever else is there is
 * served on, and they cost a bounded amount of memory and no processor time while they are idle. */
#include "rpc/frames.h"
#include "services.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const struct carrier over[] = {{"unix", "unix:%s/s", false, true, false},
                                      {"shm", "shm:%s/s", false, true, false},
                                      {NULL, NULL, false, false, false}};

static long resident(pid_t pid) /* KiB */
{
    char path[64], line[128];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static long ticks(pid_t pid) /* of processor time */
{
    char path[64];
    long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    expect(f);
    expect(fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user,
                  &kernel) == 2);
    fclose(f);
    return user + kernel;
}

static void expect_served(naru_client *c)
{
    const struct numbers n = {20, 3};
    const struct naru_call_options o = {.size = sizeof o, .timeout = PATIENCE};
    struct naru_payload p;
    expect_ok(naru_client_invoke(c, &r_add, &n, sizeof n, &o, &p));
    expect(*(const int64_t *)p.data == 23);
    naru_client_release(c, &p);
}

/* ---- a client by hand ---- */

static naru_channel *dial(void)
{
    naru_channel *c;
    uint8_t bytes[RPC_HELLO_SIZE];
    expect_ok(naru_channel_connect(seen->url, NULL, PATIENCE, &c));
    naru__rpc_hello_encode(
        &(struct naru_rpc_hello){RPC_VERSION, 10000, 1 << 20, RPC_FIRST_WINDOW, 4096}, bytes);
    expect_ok(naru_channel_send(c, RPC_HELLO, bytes, sizeof bytes, PATIENCE));
    return c;
}

static int put(naru_channel *c, const struct naru_rpc_frame *f, int64_t timeout)
{
    static uint8_t bytes[RPC_HEAD + RPC_EXTRA_MAX + RPC_PART];
    size_t n = naru__rpc_encode(f, bytes);
    if (f->message.size)
        memcpy(bytes + n, f->message.data, f->message.size);
    return naru_channel_send(c, f->kind, bytes, n + f->message.size, timeout);
}

static struct naru_rpc_frame open_frame(uint64_t id, const char *path, const void *data,
                                        size_t size)
{
    return (struct naru_rpc_frame){.kind = RPC_OPEN,
                                   .id = id,
                                   .flags = RPC_TEXT | RPC_HAS | RPC_END,
                                   .text = {path, strlen(path)},
                                   .message = {data, size}};
}

static void drain(naru_channel *c)
{
    struct naru_message m;
    while (naru_channel_take(c, 0, NARU_NOWAIT, &m) == 0)
        naru_channel_release(c, &m, 1);
}

static void expect_status(naru_channel *c, uint64_t id, uint32_t code)
{
    struct naru_message m;
    struct naru_rpc_frame f;
    for (;;) {
        expect_ok(naru_channel_take(c, RPC_STATUS, PATIENCE, &m));
        expect(naru__rpc_decode(m.info.type, m.data, m.size, &f) == NULL);
        expect(f.id != id || f.number == code);
        naru_channel_release(c, &m, 1);
        if (f.id == id)
            return;
    }
}

/* ---- cases ---- */

static void silent_ones(void)
{
    enum { MANY = 50 };
    struct world w = begin_world(NULL, NULL);
    naru_channel *channels[MANY];
    int sockets[MANY];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", strchr(seen->url, ':') + 1);
    for (int i = 0; i < MANY;
         i++) { /* those that say nothing at all, and those that only connect */
        sockets[i] = socket(AF_UNIX, carrier == &over[0] ? SOCK_STREAM : SOCK_SEQPACKET, 0);
        expect(connect(sockets[i], (struct sockaddr *)&a, sizeof a) == 0);
        expect_ok(naru_channel_connect(seen->url, NULL, PATIENCE, &channels[i]));
    }
    expect_served(w.client);
    long before = ticks(w.server);
    usleep(500000);
    long used = ticks(w.server) - before;
    printf("# %s: %d silent clients: %ld ms of processor time in 500 ms\n", carrier->name, 2 * MANY,
           used * 1000 / sysconf(_SC_CLK_TCK));
    expect(used * 1000 / sysconf(_SC_CLK_TCK) < 250);
    expect_served(w.client);
    for (int i = 0; i < MANY; i++) {
        close(sockets[i]);
        naru_channel_close(channels[i]);
    }
    expect_served(w.client);
    end_world(&w);
}

static void floods_of_opens_and_cancels(void)
{
    enum { MANY = 100000 };
    struct world w = begin_world(NULL, NULL);
    naru_channel *c = dial();
    static const struct numbers held = {0, 0};
    expect_served(w.client);
    long before = resident(w.server), most = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        uint64_t id = (i + 1) << 32 | i % 100;
        struct naru_rpc_frame f = open_frame(id, i % 2 ? "test.T/Hold" : "test.T/None", &held, 16);
        expect_ok(put(c, &f, PATIENCE));
        f = (struct naru_rpc_frame){.kind = RPC_CANCEL, .id = id, .number = 1};
        expect_ok(put(c, &f, PATIENCE));
        if (i % 1000 == 0)
            drain(c);
        if (i % 10000 == 0) {
            expect_served(w.client);
            long now = resident(w.server);
            most = now > most ? now : most;
        }
    }
    printf("# %s: %d opens and cancels: %ld KiB at the beginning, %ld at most\n", carrier->name,
           MANY, before, most);
    expect(most - before < 65536);
    naru_channel_close(c);
    expect_served(w.client);
    end_world(&w);
}

/* It asks, and asks, and reads no answer: in the end nobody listens to it any more. */
static void answers_that_nobody_reads(void)
{
    struct world w = begin_world(NULL, NULL);
    naru_channel *c = dial();
    static char request[16000];
    long before = resident(w.server);
    int64_t sent = 0;
    for (; sent < 20000; sent++) {
        struct naru_rpc_frame f = open_frame((uint64_t)(sent + 1) << 32 | (uint64_t)(sent % 5000),
                                             "test.T/Echo", request, sizeof request);
        if (put(c, &f, 200 * NARU_MS) < 0)
            break;
        if (sent % 100 == 0)
            expect_served(w.client);
    }
    long after = resident(w.server);
    printf("# %s: %lld requests of 16 KB and no answer read: %ld KiB more\n", carrier->name,
           (long long)sent, after - before);
    expect(sent < 20000);
    expect(after - before < 65536);
    expect_served(w.client);
    for (int i = 0; i < 10000000; i++) { /* and pings */
        struct naru_rpc_frame f = {.kind = RPC_PING, .value = 1};
        if (put(c, &f, 100 * NARU_MS) < 0)
            break;
    }
    expect(resident(w.server) - before < 65536);
    expect_served(w.client);
    naru_channel_close(c);
    end_world(&w);
}

/* A stream whose receiver never opens the window. */
static void a_window_that_is_never_opened(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    naru_channel *c = dial();
    const struct numbers n = {INT64_C(1) << 40, 1000};
    struct naru_rpc_frame f = open_frame(INT64_C(1) << 32, "test.T/Count", &n, sizeof n);
    expect_ok(put(c, &f, PATIENCE));
    int before = -1;
    while (before != seen->sent || before == 0) { /* it stands still */
        before = seen->sent;
        usleep(50000);
        drain(c);
    }
    expect(before < 100);
    expect_served(w.client);
    naru_channel_close(c); /* and its handler is let go */
    await_count(&seen->cancelled, 1);
    expect_served(w.client);
    end_world(&w);
}

/* A client that sends more than its window allows, or what is no frame, loses its connection or its
 * call, and nobody else does. */
static void those_who_break_the_rules(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    static char part[RPC_PART];
    for (int what = 0; what < 6; what++) {
        naru_channel *c = dial();
        struct naru_rpc_frame f = open_frame(INT64_C(1) << 32, "test.T/Stuck", NULL, 0);
        f.flags = RPC_TEXT;
        expect_ok(put(c, &f, PATIENCE));
        for (int i = 0; i < 100; i++) {
            struct naru_rpc_frame m = {.kind = RPC_MESSAGE, .id = f.id, .flags = RPC_HAS};
            m.message = (struct naru_span){part, sizeof part};
            if (what == 1)
                m.kind = RPC_STATUS;
            if (what == 2)
                m.flags = 0;
            if (what == 3) {
                m.flags |= RPC_MORE | RPC_TOTAL;
                m.total = UINT64_C(1) << 50;
            }
            if (what == 4) {
                m = f;
                m.id += 1;
            }
            int r = what == 5
                        ? naru_channel_send(c, 2 + (uint32_t)i % 9, part, (size_t)i * 7, NARU_S)
                        : put(c, &m, NARU_S);
            if (r < 0)
                break;
        }
        expect_served(w.client);
        if (what == 0)
            expect_status(c, f.id, NARU_STATUS_RESOURCE_EXHAUSTED);
        naru_channel_close(c);
        seen->running = 0;
        expect_served(w.client);
    }
    end_world(&w);
}

static const struct test_case cases[] = {
    {"silent ones", silent_ones},
    {"floods of opens and cancels", floods_of_opens_and_cancels},
    {"answers that nobody reads", answers_that_nobody_reads},
    {"a window that is never opened", a_window_that_is_never_opened},
    {"those who break the rules", those_who_break_the_rules},
};

int main(int argc, char **argv)
{
    for (carrier = over; carrier->name; carrier++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char name[128], why[900] = "";
            snprintf(name, sizeof name, "%s: %s", carrier->name, cases[i].name);
            if (argc > 1 && !strstr(name, argv[1]))
                continue;
            bool ok = run_case(name, cases[i].run, case_seconds(60), why, sizeof why);
            tap_result(ok, name, why);
        }
    return tap_end();
}
