/* SPDX-License-Identifier: MIT */
/* sweep-services.c - the n-th failure, for every n, of calls: as sweep.c, each system call and each
 * allocation fails with each errno that it can give, once and from then on, while a server and a
 * client of one process come to be, exchange calls of each form, and go.
 *
 * Each function succeeds, or returns a negative code with a sentence; each call that was begun
 * ends, with what was sent or with a status, as soon as nothing fails any more; what is closed
 * leaves nothing behind. And then the next client is served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

enum { CALLS = 4, LARGE = 70000 };
static char large[LARGE], url[200];

static struct {
    naru_server *server;
    naru_client *client;
    naru_call *call[CALLS];
    int code[CALLS]; /* -1: not ended, -2: not begun */
    size_t got[CALLS];
} w;

/* ---- what is served ---- */

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self;
    struct naru_metadata m;
    if (naru_call_header(call, "key", 0, &m) == 0)
        (void)naru_call_set_trailer(call, &m);
    return naru_call_send(call, request, size, NARU_NOWAIT);
}

static void returned(naru_call *call, void *arg, const void *data, size_t size)
{
    (void)arg;
    if (!fine(naru_call_send(call, data, size, NARU_NOWAIT)))
        (void)naru_call_finish(call, NARU_STATUS_RESOURCE_EXHAUSTED);
}

static void closed(naru_call *call, void *arg)
{
    (void)arg;
    (void)naru_call_finish(call, NARU_STATUS_OK);
}

static void over(naru_call *call, void *arg, const struct naru_status *status)
{
    (void)arg;
    if (status->code != NARU_STATUS_OK)
        (void)naru_call_finish(call, NARU_STATUS_CANCELLED);
}

static int chat(naru_call *call, void *self, const void *request, size_t size)
{
    static const struct naru_call_events events = {
        .size = sizeof events, .message = returned, .half_closed = closed, .end = over};
    (void)self, (void)request, (void)size;
    int r = naru_call_on(call, &events, NULL);
    return r < 0 ? r : NARU_LATER;
}

static const naru_method methods[] = {
    {"Echo", 0, echo, NULL, NULL},
    {"Chat", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, chat, NULL, NULL},
};
static const naru_service service = {
    .size = sizeof service, .name = "s.S", .methods = methods, .n = 2};
static const naru_route r_echo = {"s.S/Echo", 0, NULL},
                        r_chat = {"s.S/Chat", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL};

/* ---- the client ---- */

static void got(naru_call *call, void *arg, const void *data, size_t size)
{
    (void)call, (void)data;
    w.got[(intptr_t)arg] += size;
}

static void ended(naru_call *call, void *arg, const struct naru_status *status)
{
    intptr_t i = (intptr_t)arg;
    wrong_if(w.code[i] != -1, "a call has ended twice");
    w.code[i] = status->code;
    w.call[i] = naru_call_close(call);
}

static void begin(intptr_t i, const naru_route *route, const char *data, size_t size)
{
    static const struct naru_call_events events = {
        .size = sizeof events, .message = got, .end = ended};
    static const struct naru_metadata entry = {"key", "value", 5};
    const struct naru_call_options o = {
        .size = sizeof o, .metadata = &entry, .n_metadata = 1, .timeout = PATIENCE};
    if (!fine(naru_call_begin(w.client, route, &o, &w.call[i])))
        return;
    if (!fine(naru_call_on(w.call[i], &events, (void *)i)) ||
        !fine(naru_call_send(w.call[i], data, size, NARU_NOWAIT))) {
        w.call[i] = naru_call_close(w.call[i]);
        return;
    }
    if (w.code[i] == -2)
        w.code[i] = -1;
    if (route == &r_chat && w.call[i])
        (void)naru_call_shutdown(w.call[i]);
}

static bool all_ended(void)
{
    bool all = true;
    for (int i = 0; i < CALLS; i++)
        all &= w.code[i] != -1;
    return all;
}

/* Both get on, in turn. */
static void pump(int64_t until)
{
    do {
        if (w.server)
            (void)fine(naru_server_process(w.server, NARU_NOWAIT));
        if (w.client)
            (void)fine(naru_client_process(w.client, NARU_NOWAIT));
    } while (!all_ended() && now() < until);
}

/* A greeting that the kernel says nobody can receive tells that its receiver has gone: such calls
 * end by their deadlines alone, or because who waits gives up. */
static bool greeting_lost(void)
{
    return strcmp(hook->call, "sendmsg") == 0;
}

static void wait_for_ends(void)
{
    pump(now() + (greeting_lost() ? NARU_S / 2 : PATIENCE + NARU_S));
    for (int i = 0; greeting_lost() && i < CALLS; i++)
        if (w.code[i] == -1)
            (void)fine(naru_call_cancel(w.call[i]));
    pump(now() + PATIENCE);
}

static void exchange(void)
{
    const struct naru_client_options quick = {
        .size = sizeof quick, .first_backoff = NARU_MS / 10, .max_backoff = NARU_MS};
    for (int i = 0; i < CALLS; i++)
        w.code[i] = -2;
    naru_server *server = POISON;
    if (!fine(naru_server_new(NULL, &server))) {
        wrong_if(server != POISON, "an out-parameter was touched");
        return;
    }
    w.server = server;
    if (!fine(naru_server_add(w.server, &service, NULL)))
        return;
    if (strcmp(url, "pipe:") == 0) {
        naru_channel *a, *b;
        if (!fine(naru_channel_pair(url, NULL, &a, &b)))
            return;
        bool attached = fine(naru_server_attach(w.server, a));
        if (!attached)
            naru_channel_close(a);
        if (!fine(naru_client_attach(b, &quick, &w.client)))
            naru_channel_close(b);
    } else {
        if (!fine(naru_server_listen(w.server, url)))
            return;
        if (!fine(naru_client_open(naru_url(w.server), &quick, &w.client)))
            return;
    }
    if (!w.client)
        return;
    begin(0, &r_echo, "request", 7);
    begin(1, &r_chat, "message", 7);
    begin(2, &r_echo, large, LARGE);
    begin(3, &r_chat, large, LARGE);
    (void)fine(naru_fd(w.client));
    (void)fine(naru_fd(w.server));
    pump(now() + 3 * NARU_MS);
}

static void close_all(void)
{
    for (int i = 0; i < CALLS; i++)
        w.call[i] = naru_call_close(w.call[i]);
    w.client = naru_client_close(w.client);
    w.server = naru_server_close(w.server);
}

static void check_ends(bool faulty)
{
    static const size_t sizes[CALLS] = {7, 7, LARGE, LARGE};
    for (int i = 0; i < CALLS; i++) {
        wrong_if(w.code[i] == -1, "a call does not end");
        wrong_if(w.code[i] == NARU_STATUS_DEADLINE_EXCEEDED, "a call ends by its deadline alone");
        wrong_if(w.code[i] == 0 && w.got[i] != sizes[i], "a call went well, and not all came");
        wrong_if(!faulty && w.code[i] != 0, "a call fails by itself");
    }
}

/* Is the server still of use? If it came to be at all. */
static void check_next(void)
{
    struct naru_client_options quick = {.size = sizeof quick, .first_backoff = NARU_MS};
    if (!w.server || strcmp(url, "pipe:") == 0 || strcmp(naru_url(w.server), "server:") == 0 ||
        strcmp(naru_url(w.server), "tcp://127.0.0.1:0") == 0 ||
        strcmp(naru_url(w.server), "grpc://127.0.0.1:0") == 0) /* its port could not be told */
        return;
    for (int i = 0; i < CALLS; i++)
        w.call[i] = naru_call_close(w.call[i]);
    naru_client_close(w.client);
    w.client = NULL;
    assert_int_equal(naru_client_open(naru_url(w.server), &quick, &w.client), 0);
    w.code[0] = -2;
    w.got[0] = 0;
    begin(0, &r_echo, "request", 7);
    pump(now() + PATIENCE);
    wrong_if(w.code[0] != 0 || w.got[0] != 7, "the next client is not served");
}

static bool point(int at, int code, bool for_ever, long *ret_points)
{
    const int before = open_descriptors();
    static char why[256];
    wrong = NULL;
    memset(&w, 0, sizeof w);
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    exchange();
    disarm();
    snprintf(why, sizeof why, "%s", naru_why());
    wait_for_ends();
    check_ends(at >= 0);
    check_next();
    close_all();
    alarm(0);
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    wrong_if(open_descriptors() != before, "descriptors leaked");
    if (strstr(url, "unix:") || strncmp(url, "shm:", 4) == 0)
        (void)naru_remove(url); /* if its removal failed */
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    if (wrong && (counts || at < 0)) {
        print_message("# %s: call %d (%s), errno number %d%s: %s; \"%s\"; %d %d %d %d\n", url, at,
                      hook->call, code, for_ever ? ", for ever" : "", wrong, why, w.code[0],
                      w.code[1], w.code[2], w.code[3]);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

static void sweep(void **state)
{
    const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    const int step = getenv("ONCE") ? 1 : 2;
    long points = 0;
    snprintf(url, sizeof url, (const char *)*state, directory, (int)getpid());
    assert_true(point(-1, 0, false, &points));
    for (int mode = 0; mode < step; mode++)
        for (int at = 0, reached = 1; reached; at++)
            for (int code = reached = 0; code < CODES_MAX && at < CALLS_MAX; code = next_code(code))
                reached |= point(at, code, mode == 1, &points);
    print_message("# %.20s: %ld points\n", url, points);
    assert_true(points > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef OVER_GRPC /* a program of its own, for it needs libnaru-net */
        {"grpc+unix", sweep, NULL, NULL, (void *)(uintptr_t) "grpc+unix:%s/sweep-%d"},
        {"grpc", sweep, NULL, NULL, (void *)(uintptr_t) "grpc://127.0.0.1:0"},
#else
        {"pipe", sweep, NULL, NULL, (void *)(uintptr_t) "pipe:"},
        {"shm", sweep, NULL, NULL, (void *)(uintptr_t) "shm:%s/sweep-%d"},
        {"unix", sweep, NULL, NULL, (void *)(uintptr_t) "unix:%s/sweep-%d"},
        {"tcp", sweep, NULL, NULL, (void *)(uintptr_t) "tcp://127.0.0.1:0"},
#endif
    };
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 2654435761u >> 13);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
