/* SPDX-License-Identifier: MIT */
/* services.c - how calls behave, the same over every carrier: each case runs on each of them. */
#include "services.h"

#include "core/handle.h"
#include "rpc/call.h"
#include "rpc/frames.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void fill(unsigned char *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
}

static int add(naru_client *c, int64_t a, int64_t b, int64_t *ret_sum)
{
    struct numbers n = {a, b};
    struct naru_payload p;
    int r = naru_client_invoke(c, &r_add, &n, sizeof n, NULL, &p);
    if (r < 0)
        return r;
    expect(p.size == sizeof *ret_sum);
    memcpy(ret_sum, p.data, sizeof *ret_sum);
    expect_ok(naru_client_release(c, &p));
    return 0;
}

static void expect_adds(naru_client *c)
{
    int64_t sum = 0;
    expect_ok(add(c, 40, 2, &sum));
    expect(sum == 42);
}

static int last_status(void)
{
    struct naru_status s;
    return naru_client_status(&s);
}

static naru_call *begin(naru_client *c, const naru_route *route)
{
    naru_call *call;
    expect_ok(naru_call_begin(c, route, NULL, &call));
    return call;
}

/* What a hook is told. */
static void keep_record(void *arg, const struct naru_call_record *record)
{
    struct told *t = arg ? arg : &seen->told;
    t->code = record->status->code;
    t->took = record->took;
    t->sent = record->bytes_sent;
    t->received = record->bytes_received;
    t->pid = record->peer ? (uint64_t)record->peer->pid : 0;
    snprintf(t->method, sizeof t->method, "%s", record->method);
    snprintf(t->message, sizeof t->message, "%s", record->status->message);
    snprintf(t->trace, sizeof t->trace, "%s", record->traceparent ? record->traceparent : "");
    t->n++;
}

/* ---- the four forms ---- */

static void four_forms(void)
{
    struct world w = begin_world(NULL, NULL);
    struct naru_payload p;
    expect_adds(w.client);

    naru_call *call = begin(w.client, &r_count);
    struct numbers n = {100, 0};
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    expect_code(-EPIPE, naru_call_send(call, &n, sizeof n, PATIENCE));
    for (int64_t i = 0; i < 100; i++) {
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect(p.size == 8 && memcmp(p.data, &i, 8) == 0);
        expect_ok(naru_call_release(call, &p));
        expect_code(-EINVAL, naru_call_release(call, &p));
    }
    expect_code(0, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_wait(call, PATIENCE));
    naru_call_close(call);

    call = begin(w.client, &r_sum);
    for (int64_t i = 1; i <= 100; i++) {
        n = (struct numbers){i, 0};
        expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    }
    expect_ok(naru_call_shutdown(call));
    expect_ok(naru_call_shutdown(call));
    expect_code(-EPIPE, naru_call_send(call, &n, sizeof n, PATIENCE));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    memcpy(&n, p.data, sizeof n);
    expect(n.a == 5050 && n.b == 100);
    expect_ok(naru_call_release(call, &p));
    expect_ok(naru_call_wait(call, PATIENCE));
    naru_call_close(call);

    call = begin(w.client, &r_chat);
    for (int i = 0; i < 50; i++) {
        char text[400];
        int size = snprintf(text, sizeof text, "message %0*d", i * 7, i);
        expect_ok(naru_call_send(call, text, (size_t)size, PATIENCE));
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect(p.size == (size_t)size && memcmp(p.data, text, p.size) == 0);
        expect_ok(naru_call_release(call, &p));
    }
    expect_ok(naru_call_shutdown(call));
    expect_code(0, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_wait(call, PATIENCE));
    naru_call_close(call);
    end_world(&w);
}

/* A client says that it sends no more, and goes on to receive. */
static void half_close(void)
{
    struct world w = begin_world(NULL, NULL);
    struct naru_payload p;
    naru_call *call = begin(w.client, &r_chat);
    for (int i = 0; i < 10; i++)
        expect_ok(naru_call_send(call, &i, sizeof i, PATIENCE));
    expect_ok(naru_call_shutdown(call));
    for (int i = 0; i < 10; i++) {
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect(memcmp(p.data, &i, sizeof i) == 0);
        expect_ok(naru_call_release(call, &p));
    }
    expect_code(0, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    call = begin(w.client, &r_sum); /* without any message at all */
    expect_ok(naru_call_shutdown(call));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_wait(call, PATIENCE));
    naru_call_close(call);
    call = begin(w.client, &r_chat); /* and begun by hand */
    expect_ok(naru_call_flush(call, PATIENCE));
    await_count(&seen->running, 1);
    expect_code(-EAGAIN, naru_call_take(call, NARU_NOWAIT, &p));
    expect_code(-ETIMEDOUT, naru_call_take(call, 5 * NARU_MS, &p));
    expect_ok(naru_call_shutdown(call));
    expect_ok(naru_call_wait(call, PATIENCE));
    naru_call_close(call);
    end_world(&w);
}

static void sizes(void)
{
    enum { MOST = 64 << 20 };
    static const size_t all[] = {
        0,     1,     47,    48,    111,   112,   255,   256,     257,           4095,    4096,
        32767, 32768, 32769, 65535, 65536, 65537, 98304, 1 << 20, (1 << 20) + 1, 5 << 20, MOST};
    struct world w = begin_world(&(struct setup){.options.max_message = MOST},
                                 &(struct naru_client_options){.max_message = MOST});
    unsigned char *bytes = malloc(MOST);
    struct naru_payload p;
    fill(bytes, MOST, 1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        expect_ok(naru_client_invoke(w.client, &r_echo, bytes, all[i], NULL, &p));
        expect(p.size == all[i] && memcmp(p.data, bytes, p.size) == 0);
        expect_ok(naru_client_release(w.client, &p));
        expect_code(-EINVAL, naru_client_release(w.client, &p));
    }
    naru_call *call = begin(w.client, &r_chat);
    for (size_t i = 0; i < sizeof all / sizeof *all - 1; i++) {
        expect_ok(naru_call_send(call, bytes, all[i], PATIENCE));
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect(p.size == all[i] && memcmp(p.data, bytes, p.size) == 0);
        expect_ok(naru_call_release(call, &p));
    }
    naru_call_close(call);
    free(bytes);
    end_world(&w);
}

static void replies_in_place(void)
{
    struct world w = begin_world(NULL, NULL);
    const struct naru_call_options o = {.size = sizeof o, .flags = NARU_IN_PLACE};
    unsigned char bytes[20000];
    struct naru_payload p, q;
    fill(bytes, sizeof bytes, 5);
    for (int i = 0; i < 200; i++) {
        expect_ok(naru_client_invoke(w.client, &r_echo, bytes, sizeof bytes, &o, &p));
        expect_ok(naru_client_invoke(w.client, &r_echo, bytes, 100, &o, &q));
        expect(p.size == sizeof bytes && memcmp(p.data, bytes, p.size) == 0);
        expect(q.size == 100 && memcmp(q.data, bytes, q.size) == 0);
        expect_ok(naru_client_release(w.client, &p));
        expect_ok(naru_client_release(w.client, &q));
    }
    naru_call *call; /* of a stream, too: one at a time */
    expect_ok(naru_call_begin(w.client, &r_chat, &o, &call));
    for (int i = 0; i < 20; i++) {
        expect_ok(naru_call_send(call, bytes, 9000, PATIENCE));
        expect_ok(naru_call_send(call, bytes, 9000 + (size_t)i, PATIENCE));
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect_code(1, naru_call_take(call, PATIENCE, &q));
        expect(p.size == 9000 && memcmp(p.data, bytes, p.size) == 0);
        expect(q.size == 9000 + (size_t)i && memcmp(q.data, bytes, q.size) == 0);
        expect_ok(naru_call_release(call, &q));
        expect_ok(naru_call_release(call, &p));
    }
    naru_call_close(call);
    /* what is in place outlives the server */
    expect_ok(naru_client_invoke(w.client, &r_echo, bytes, sizeof bytes, &o, &p));
    kill_server(w.server);
    expect_code(-ECONNRESET, add(w.client, 1, 2, &(int64_t){0}));
    expect(memcmp(p.data, bytes, p.size) == 0);
    expect_ok(naru_client_release(w.client, &p));
    naru_client_close(w.client);
    if (!carrier->pair && carrier->local)
        expect_ok(naru_remove(seen->url));
}

/* Three answers come by one look, and the last one stays in place while others come, by other
 * blocks. */
struct staying {
    naru_client *client;
    const unsigned char *bytes;
    unsigned ends;
};

static void stays_meanwhile(naru_call *call, void *arg, const void *data, size_t size)
{
    const struct staying *s = arg;
    const struct naru_call_options o = {.size = sizeof o, .flags = NARU_IN_PLACE};
    struct naru_payload p, q;
    (void)call;
    expect_ok(naru_client_invoke(s->client, &r_echo, s->bytes + 1, 20000, &o, &p));
    expect_ok(naru_client_invoke(s->client, &r_echo, s->bytes + 2, 20000, &o, &q));
    expect(size == 20000 && memcmp(data, s->bytes, size) == 0);
    expect(p.size == 20000 && memcmp(p.data, s->bytes + 1, p.size) == 0);
    expect(q.size == 20000 && memcmp(q.data, s->bytes + 2, q.size) == 0);
    expect_ok(naru_client_release(s->client, &p));
    expect_ok(naru_client_invoke(s->client, &r_echo, s->bytes + 1, 20000, &o, &p));
    expect(size == 20000 && memcmp(data, s->bytes, size) == 0);
    expect(p.size == 20000 && memcmp(p.data, s->bytes + 1, p.size) == 0);
    expect(q.size == 20000 && memcmp(q.data, s->bytes + 2, q.size) == 0);
    expect_ok(naru_client_release(s->client, &q));
    expect_ok(naru_client_release(s->client, &p));
}

static void stayed(naru_call *call, void *arg, const struct naru_status *status)
{
    struct staying *s = arg;
    expect(status->code == NARU_STATUS_OK);
    s->ends++;
    naru_call_close(call);
}

static void in_place_among_others(void)
{
    static const struct naru_call_events others = {.size = sizeof others, .end = stayed};
    static const struct naru_call_events one = {
        .size = sizeof one, .message = stays_meanwhile, .end = stayed};
    const struct naru_call_options o = {.size = sizeof o, .flags = NARU_IN_PLACE};
    struct world w = begin_world(NULL, NULL);
    unsigned char bytes[20100];
    struct staying s = {w.client, bytes, 0};
    fill(bytes, sizeof bytes, 7);
    for (unsigned i = 0; i < 100; i++) {
        naru_call *calls[3];
        for (unsigned k = 0; k < 3; k++) {
            expect_ok(naru_call_begin(w.client, &r_echo, k == 2 ? &o : NULL, &calls[k]));
            expect_ok(naru_call_on(calls[k], k == 2 ? &one : &others, &s));
            expect_ok(naru_call_send(calls[k], bytes, 20000, PATIENCE));
        }
        while (s.ends < 3 * (i + 1))
            expect_ok(naru_client_process(w.client, PATIENCE));
    }
    end_world(&w);
}

/* A stream's message is not held back behind answers that were gathered. */
static void heard(naru_call *call, void *arg, const void *data, size_t size)
{
    (void)call, (void)arg, (void)data;
    expect(size == 1);
    seen->running = 0;
}

static void told_at_once(void)
{
    static const struct naru_call_events adds = {.size = sizeof adds, .end = stayed};
    static const struct naru_call_events tells = {
        .size = sizeof tells, .message = heard, .end = stayed};
    struct world w = begin_world(NULL, NULL);
    struct numbers n = {1, 2};
    struct staying s = {w.client, NULL, 0};
    for (unsigned i = 0; i < 20; i++) {
        naru_call *call;
        for (unsigned k = 0; k < 4; k++) { /* which go together */
            expect_ok(naru_call_begin(w.client, k == 3 ? &r_tell : &r_add, NULL, &call));
            expect_ok(naru_call_on(call, k == 3 ? &tells : &adds, &s));
            expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
        }
        while (s.ends < 4 * (i + 1))
            expect_ok(naru_client_process(w.client, PATIENCE));
    }
    end_world(&w);
}

/* ---- status, metadata ---- */

static void each_status(void)
{
    struct world w = begin_world(NULL, NULL);
    struct naru_payload p;
    for (int64_t code = 0; code <= 16; code++) {
        struct numbers n = {code, 0};
        struct naru_status s;
        int r = naru_client_invoke(w.client, &r_status, &n, sizeof n, NULL, &p);
        expect_code(r < 0 ? code : 0, naru_client_status(&s));
        if (code == 0) {
            expect(r == 0 && s.message[0] == '\0' && !s.details);
            expect_ok(naru_client_release(w.client, &p));
            continue;
        }
        char text[64];
        snprintf(text, sizeof text, "status %d, as asked", (int)code);
        expect_code(code == 4 ? -ETIMEDOUT : code == 14 ? -ECONNRESET : -EREMOTEIO, r);
        expect_says(text);
        expect(strcmp(s.message, text) == 0);
        expect(s.details_size == 3 && memcmp(s.details, "\0d\xff", 3) == 0);
        naru_call *call = begin(w.client, &r_status);
        struct naru_metadata m;
        expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
        expect_code(r, naru_call_wait(call, PATIENCE));
        expect_ok(naru_call_trailer(call, "reason", 0, &m));
        expect(m.size == 7 && memcmp(m.value, "because", 7) == 0);
        expect_code(-ENOENT, naru_call_trailer(call, "reason", 1, &m));
        naru_call_close(call);
    }
    static const struct {
        int64_t error;
        int code;
    } errors[] = {{-EINVAL, 3}, {-ENOENT, 5},   {-EEXIST, 6},     {-EACCES, 7},
                  {-ENOSPC, 8}, {-EDEADLK, 10}, {-EOVERFLOW, 11}, {-EOPNOTSUPP, 12},
                  {-EPIPE, 14}, {-EPROTO, 15},  {-EXDEV, 2},      {99, 2}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct numbers n = {errors[i].error, 0};
        expect(naru_client_invoke(w.client, &r_errno, &n, sizeof n, NULL, &p) < 0);
        expect_code(errors[i].code, last_status());
        if (errors[i].error == -ENOENT)
            expect_says("/no/such/place"); /* with the server's own sentence */
    }
    expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_none, NULL, 0, NULL, &p));
    expect_code(NARU_STATUS_UNIMPLEMENTED, last_status());
    expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_none, NULL, 0, NULL, &p));
    expect_code(NARU_STATUS_UNIMPLEMENTED, last_status());
    expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_nothing, NULL, 0, NULL, &p));
    expect_code(NARU_STATUS_INTERNAL, last_status());
    expect_says("sent no answer");
    expect(naru_client_invoke(w.client, &r_twice, NULL, 0, NULL, &p) < 0);
    expect_code(NARU_STATUS_UNAVAILABLE, last_status()); /* what its second send said: -EPIPE */
    expect_adds(w.client);
    expect_code(0, last_status());
    end_world(&w);
}

static void metadata(void)
{
    struct world w = begin_world(NULL, NULL);
    static const unsigned char binary[] = {0, 255, 10, 13, 0};
    const struct naru_metadata sent[] = {{"echo", "one", 3},
                                         {"trail-bin", binary, sizeof binary},
                                         {"echo", "", 0},
                                         {"trail-bin", "", 0},
                                         {"another.key_1", "x", 1}};
    const struct naru_call_options o = {.size = sizeof o, .metadata = sent, .n_metadata = 5};
    struct naru_metadata m;
    naru_call *call;
    expect_ok(naru_call_begin(w.client, &r_meta, &o, &call));
    expect_ok(naru_call_send(call, "", 0, PATIENCE));
    expect_ok(naru_call_wait(call, PATIENCE));
    expect_ok(naru_call_header(call, "echo", 0, &m));
    expect(m.size == 3 && memcmp(m.value, "one", 3) == 0);
    expect_ok(naru_call_header(call, "echo", 1, &m));
    expect(m.size == 0);
    expect_code(-ENOENT, naru_call_header(call, "echo", 2, &m));
    expect_ok(naru_call_trailer(call, "trail-bin", 0, &m));
    expect(m.size == sizeof binary && memcmp(m.value, binary, m.size) == 0);
    expect_ok(naru_call_trailer(call, "trail-bin", 1, &m));
    naru_call_close(call);
    static const struct naru_metadata refused[] = {
        {"", "x", 1},   {"Upper", "x", 1}, {"key", "a\nb", 3}, {"sp ace", "x", 1},
        {NULL, "x", 1}, {"key", NULL, 1},  {"key", "\x80", 1}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct naru_call_options bad = {
            .size = sizeof bad, .metadata = &refused[i], .n_metadata = 1};
        expect_code(-EINVAL, naru_call_begin(w.client, &r_meta, &bad, &call));
    }
    char *large = calloc(1, 40000);
    memset(large, 'x', 40000);
    const struct naru_metadata over[] = {{"a", large, 20000}, {"b", large, 20000}};
    const struct naru_call_options too_much = {
        .size = sizeof too_much, .metadata = over, .n_metadata = 2};
    expect_code(-EMSGSIZE, naru_call_begin(w.client, &r_meta, &too_much, &call));
    const struct naru_call_options much = {.size = sizeof much, .metadata = over, .n_metadata = 1};
    struct naru_payload p; /* more than the server takes */
    expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_meta, NULL, 0, &much, &p));
    expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
    const struct naru_metadata most[] = {{"echo", large, 15000}};
    const struct naru_call_options fits = {.size = sizeof fits, .metadata = most, .n_metadata = 1};
    expect_ok(naru_client_invoke(w.client, &r_meta, large, 40000, &fits, NULL));
    free(large);
    end_world(&w);
}

static void typed_structs(void)
{
    struct world w = begin_world(NULL, NULL);
    const double in[2] = {1.5, -2};
    double out[2];
    struct naru_payload p;
    expect_ok(naru_client_invoke(w.client, &r_typed, in, sizeof in, NULL, &p));
    expect(p.size == sizeof out);
    memcpy(out, p.data, sizeof out);
    expect(out[0] == -1.5 && out[1] == 2);
    naru_client_release(w.client, &p);
    for (int i = 0; i < 2; i++) { /* told by its path, and then by its number */
        expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_wrong, in, sizeof in, NULL, &p));
        expect_code(NARU_STATUS_FAILED_PRECONDITION, last_status());
        expect_says("test.T/Typed");
    }
    expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_typed, in, 3, NULL, &p));
    expect_code(NARU_STATUS_INVALID_ARGUMENT, last_status());
    end_world(&w);
}

static void who_calls(void)
{
    struct world w = begin_world(NULL, NULL);
    int64_t sum;
    struct naru_peer peer = {.size = sizeof peer};
    expect_ok(add(w.client, 0, 0, &sum));
    if (carrier->local && strcmp(carrier->name, "pipe") != 0) {
        expect(seen->peer == getpid());
        expect_ok(naru_peer(w.client, &peer));
        expect(peer.pid == w.server && peer.uid == (int64_t)geteuid());
    }
    naru_call *call = begin(w.client, &r_add);
    expect(strcmp(naru_url(call), naru_url(w.client)) == 0);
    expect_code(-EOPNOTSUPP, naru_fd(call));
    expect_code(-EINVAL, naru_call_fail(call, 5, "no"));
    expect_code(-EINVAL, naru_call_finish(call, 0));
    expect(naru_call_method(call) == NULL);
    naru_call_close(call);
    expect_code(-EINVAL, naru_call_send((naru_call *)(void *)w.client, "", 0, PATIENCE));
    expect_says("is a client");
    end_world(&w);
}

/* ---- time and cancellation ---- */

/* False: this machine was too busy for the first answer to come in time. */
static bool stream_expires(naru_client *client, int64_t timeout)
{
    const struct naru_call_options o = {.size = sizeof o, .timeout = timeout};
    struct naru_payload p;
    naru_call *call;
    expect_ok(naru_call_begin(client, &r_chat, &o, &call));
    bool answered =
        naru_call_send(call, "x", 1, PATIENCE) == 0 && naru_call_take(call, PATIENCE, &p) == 1;
    if (answered)
        expect_ok(naru_call_release(call, &p));
    expect_code(-ETIMEDOUT, naru_call_take(call, PATIENCE, &p));
    expect_code(NARU_STATUS_DEADLINE_EXCEEDED, last_status());
    expect_code(-ETIMEDOUT, naru_call_send(call, "x", 1, PATIENCE));
    naru_call_close(call);
    for (int64_t end = test_now() + PATIENCE; answered && seen->ended == 0; usleep(500))
        expect(test_now() < end);
    return answered;
}

static void deadlines(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    struct numbers n = {60 * NARU_S, 0};
    struct naru_call_options o = {.size = sizeof o, .timeout = 50 * NARU_MS};
    struct naru_payload p;
    int64_t took;
    do { /* on a busy machine the time may be over before the handler begins */
        int64_t before = test_now();
        expect_code(-ETIMEDOUT, naru_client_invoke(w.client, &r_sleep, &n, sizeof n, &o, &p));
        took = test_now() - before;
        expect(took >= 50 * NARU_MS);
        expect_code(NARU_STATUS_DEADLINE_EXCEEDED, last_status());
        for (int i = 0; i < 5000 && seen->workers == 0; i++)
            usleep(1000);
    } while (seen->workers == 0);
    await_count(&seen->cancelled, 1); /* it has learnt of it */
    printf("# %s: a deadline of 50 ms: %.1f ms\n", carrier->name, (double)took / 1e6);
    o.timeout = PATIENCE;
    expect_ok(naru_client_invoke(w.client, &r_left, NULL, 0, &o, &p));
    int64_t left;
    memcpy(&left, p.data, sizeof left);
    expect(left > 0 && left <= PATIENCE);
    naru_client_release(w.client, &p);
    expect_ok(naru_client_invoke(w.client, &r_left, NULL, 0, NULL, &p));
    memcpy(&left, p.data, sizeof left);
    expect(left == NARU_FOREVER);
    naru_client_release(w.client, &p);
    /* streams have one, too, on both sides; their first answer comes before */
    expect(stream_expires(w.client, 2 * NARU_S) || stream_expires(w.client, 10 * NARU_S));
    o.timeout = 1; /* over before it begins */
    expect_code(-ETIMEDOUT, naru_client_invoke(w.client, &r_add, &n, sizeof n, &o, &p));
    expect_code(-EINVAL, naru_client_invoke(
                             w.client, &r_add, &n, sizeof n,
                             &(struct naru_call_options){.size = sizeof o, .timeout = -5}, &p));
    expect_adds(w.client);
    end_world(&w);
}

/* A deadline without anybody who waits for the call: the loop has it. */
static int ends[17], n_ended;

static void count_end(naru_call *call, void *arg, const struct naru_status *s)
{
    (void)arg;
    if (s->code == NARU_STATUS_INTERNAL || s->code == NARU_STATUS_RESOURCE_EXHAUSTED)
        test_failed(__FILE__, __LINE__, "a call ended with status %d: %s", s->code, s->message);
    ends[s->code]++;
    n_ended++;
    naru_call_close(call);
}

static const struct naru_call_events count_ends = {.size = sizeof count_ends, .end = count_end};

/* On a busy machine a few milliseconds are over soon. */
static void send_in_time(naru_call *call)
{
    const struct numbers n = {0, 0};
    int r = naru_call_send(call, &n, sizeof n, NARU_NOWAIT);
    expect(r == 0 || r == -ETIMEDOUT);
}

static void deadlines_in_the_loop(void)
{
    struct world w = begin_world(NULL, NULL);
    struct numbers n = {0, 0};
    naru_call *call;
    for (int i = 0; i < 20; i++) {
        const struct naru_call_options o = {.size = sizeof o,
                                            .timeout = ((i * 7) % 20 + 1) * 3 * NARU_MS};
        expect_ok(naru_call_begin(w.client, &r_hold, &o, &call));
        expect_ok(naru_call_on(call, &count_ends, NULL));
        send_in_time(call);
    }
    int64_t before = test_now();
    while (n_ended < 20)
        expect_ok(naru_client_process(w.client, PATIENCE));
    expect(ends[NARU_STATUS_DEADLINE_EXCEEDED] == 20);
    expect(test_now() - before < PATIENCE);
    await_count(&seen->running, 0); /* those that it heard of in time */
    n.a = 1;
    expect_ok(naru_client_invoke(w.client, &r_hold, &n, sizeof n, NULL, NULL));
    /* a server that is stopped says nothing at all */
    kill(w.server, SIGSTOP);
    const struct naru_call_options o = {.size = sizeof o, .timeout = 20 * NARU_MS};
    expect_ok(naru_call_begin(w.client, &r_add, &o, &call));
    expect_ok(naru_call_on(call, &count_ends, NULL));
    send_in_time(call);
    while (n_ended < 21)
        expect_ok(naru_client_process(w.client, PATIENCE));
    expect(ends[NARU_STATUS_DEADLINE_EXCEEDED] == 21);
    expect_code(-ETIMEDOUT, naru_client_invoke(w.client, &r_add, &n, sizeof n, &o, NULL));
    kill(w.server, SIGCONT);
    expect_adds(w.client);
    end_world(&w);
}

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void await_told(struct told *t, int n, int code, const char *method)
{
    await_count(&t->n, n); /* code < 0: any */
    expect((code < 0 || t->code == code) && strcmp(t->method, method) == 0);
    expect(t->took > 0 && t->took < PATIENCE);
}

static void told_of_once(void)
{
    struct told mine = {.n = 0};
    const struct setup setup = {.options = {.workers = 2, .on_call = keep_record}};
    const struct naru_client_options options = {.on_call = keep_record, .on_call_arg = &mine};
    struct world w = begin_world(&setup, &options);
    struct told *server = &seen->told;
    const struct naru_metadata trace = {"traceparent", TRACE, strlen(TRACE)};
    const struct naru_call_options o = {
        .size = sizeof o, .metadata = &trace, .n_metadata = 1, .timeout = 200 * NARU_MS};
    struct naru_call_options patient = o;
    patient.timeout = PATIENCE;
    struct numbers n = {1, 2};
    struct naru_payload p;
    expect_ok(naru_client_invoke(w.client, &r_add, &n, sizeof n, &patient, NULL));
    await_told(&mine, 1, NARU_STATUS_OK, "test.T/Add");
    await_told(server, 1, NARU_STATUS_OK, "test.T/Add");
    expect(mine.sent == sizeof n && mine.received == 8 && strcmp(mine.trace, TRACE) == 0);
    expect(server->received == sizeof n && server->sent == 8 && strcmp(server->trace, TRACE) == 0);
    expect(!carrier->local || server->pid == (uint64_t)getpid());

    naru_call *call = begin(w.client, &r_count); /* a stream */
    n = (struct numbers){10, 0};
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    while (naru_call_take(call, PATIENCE, &p) == 1)
        expect_ok(naru_call_release(call, &p));
    expect_ok(naru_call_wait(call, PATIENCE));
    expect(mine.n == 2); /* when it is over, not when it is closed */
    naru_call_close(call);
    await_told(&mine, 2, NARU_STATUS_OK, "test.T/Count");
    await_told(server, 2, NARU_STATUS_OK, "test.T/Count");
    expect(mine.received == 80 && server->sent == 80 && mine.trace[0] == '\0');

    expect(naru_client_invoke(w.client, &r_none, "", 0, NULL, NULL) < 0);
    await_told(&mine, 3, NARU_STATUS_UNIMPLEMENTED, "test.T/None");
    n = (struct numbers){60 * NARU_S, 0};
    int calls = 3;
    do { /* on a busy machine the time may be over before the server has heard of it */
        expect_code(-ETIMEDOUT, naru_client_invoke(w.client, &r_sleep, &n, sizeof n, &o, NULL));
        await_told(&mine, ++calls, NARU_STATUS_DEADLINE_EXCEEDED, "test.T/Sleep");
        expect(mine.took >= o.timeout && mine.message[0]);
        for (int i = 0; i < 5000 && server->n == 2; i++)
            usleep(1000);
    } while (server->n == 2);
    await_told(server, 3, -1, "test.T/Sleep"); /* whose clock was first */
    call = begin(w.client, &r_hold);
    naru_call_close(call);
    await_told(&mine, calls + 1, NARU_STATUS_CANCELLED, "test.T/Hold");
    end_world(&w);
    expect(mine.n == calls + 1 && server->n == 3);
}

static void trace_in_nested_calls(void)
{
    char inner_url[160];
    snprintf(inner_url, sizeof inner_url, "unix:%s/inner", test_directory);
    const struct setup inner_setup = {.url = inner_url,
                                      .options = {.workers = 2, .on_call = keep_record}};
    naru_channel *none;
    pid_t inner = start_server(&inner_setup, &none);
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    expect_adds(w.client);
    const struct naru_metadata sent[] = {{"traceparent", TRACE, strlen(TRACE)}, {"other", "x", 1}};
    const struct naru_call_options o = {
        .size = sizeof o, .metadata = sent, .n_metadata = 2, .timeout = PATIENCE};
    naru_call *call;
    expect_ok(naru_call_begin(w.client, &r_nested, &o, &call));
    expect_ok(naru_call_send(call, inner_url, strlen(inner_url), PATIENCE));
    await_count(&seen->running, 1);
    expect_ok(naru_call_cancel(call));
    naru_call_close(call);
    await_told(&seen->told, 1, NARU_STATUS_CANCELLED, "test.T/Sleep");
    expect(strcmp(seen->told.trace, TRACE) == 0);
    await_count(&seen->ended, 1);
    end_world(&w);
    end_server(inner);
}

/* False: this machine was too busy for both calls to begin in time. */
static bool nested_call_expires(naru_client *client, const char *inner_url, int64_t timeout)
{
    const struct naru_call_options o = {.size = sizeof o, .timeout = timeout};
    naru_call *call;
    expect_ok(naru_call_begin(client, &r_nested, &o, &call));
    if (naru_call_send(call, inner_url, strlen(inner_url), PATIENCE) < 0)
        expect_code(NARU_STATUS_DEADLINE_EXCEEDED, last_status());
    int64_t end = test_now() + timeout;
    while (seen->running == 0 && test_now() < end)
        usleep(500);
    bool began = seen->running > 0;
    int64_t left = seen->left;
    expect_code(-ETIMEDOUT, naru_call_wait(call, PATIENCE));
    naru_call_close(call);
    if (began) {
        expect(left > 0 && left <= timeout); /* the inner call has it from the outer */
        await_count(&seen->cancelled, 1);    /* the innermost handler */
        await_count(&seen->ended, 1);
    }
    return began;
}

static void nested_calls(void)
{
    char inner_url[160];
    snprintf(inner_url, sizeof inner_url, "unix:%s/inner", test_directory);
    naru_channel *none;
    struct world w;
    pid_t inner;
    bool expired = false;
    for (int64_t timeout = 2 * NARU_S; !expired; timeout *= 5) {
        expect(timeout < PATIENCE);
        inner = start_server(&(struct setup){.url = inner_url, .options.workers = 4}, &none);
        w = begin_world(&(struct setup){.options.workers = 2}, NULL);
        expect_adds(w.client); /* there is a connection: the time is for both calls to begin */
        expired = nested_call_expires(w.client, inner_url, timeout);
        if (!expired) {
            end_world(&w);
            end_server(inner);
            seen->running = seen->cancelled = seen->ended = 0;
        }
    }
    naru_call *call = begin(w.client, &r_nested); /* and cancelled from outside */
    expect_ok(naru_call_send(call, inner_url, strlen(inner_url), PATIENCE));
    await_count(&seen->running, 1);
    expect_ok(naru_call_cancel(call));
    naru_call_close(call);
    await_count(&seen->cancelled, 2);
    await_count(&seen->ended, 2);
    end_world(&w);
    end_server(inner);
}

static void cancel_at_each_moment(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 3}, NULL);
    struct numbers n = {60 * NARU_S, 0};
    struct naru_payload p;
    naru_call *call = begin(w.client, &r_chat);
    naru_call_close(call); /* before anything was sent */
    call = begin(w.client, &r_chat);
    expect_ok(naru_call_cancel(call));
    expect_code(-ECANCELED, naru_call_send(call, "x", 1, PATIENCE));
    expect_code(NARU_STATUS_CANCELLED, last_status());
    expect_code(-ECANCELED, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    call = begin(w.client, &r_sleep); /* while its handler works */
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    drive_until(w.client, &seen->running, 1);
    expect_ok(naru_call_cancel(call));
    expect_ok(naru_call_cancel(call));
    expect_code(-ECANCELED, naru_call_wait(call, PATIENCE));
    naru_call_close(call);
    drive_until(w.client, &seen->cancelled, 1);
    call = begin(w.client, &r_chat); /* between two messages */
    expect_ok(naru_call_send(call, "x", 1, PATIENCE));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    drive_until(w.client, &seen->cancelled, 2);
    call = begin(w.client, &r_count); /* in the middle of what the server sends */
    n = (struct numbers){INT64_C(1) << 40, 1000};
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    for (int i = 0; i < 1000; i++) {
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect_ok(naru_call_release(call, &p));
    }
    naru_call_close(call);
    drive_until(w.client, &seen->cancelled, 3);
    call = begin(w.client, &r_sum); /* of what the client sends */
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    drive_until(w.client, &seen->taken, 1);
    for (int i = 1; i < 1000; i++)
        expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    naru_call_close(call);
    drive_until(w.client, &seen->cancelled, 4);
    call = begin(w.client, &r_add); /* after the end */
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    expect_ok(naru_call_wait(call, PATIENCE));
    expect_ok(naru_call_cancel(call));
    expect_ok(naru_call_wait(call, PATIENCE));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    for (int i = 0; i < 300; i++) { /* and anywhere in between */
        call = begin(w.client, &r_echo);
        expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
        for (int k = 0; k < i * 20; k++)
            __asm__ volatile("");
        if (i % 3 == 0)
            naru_call_take(call, NARU_NOWAIT, &p);
        naru_call_close(call);
    }
    expect_adds(w.client);
    end_world(&w);
}

struct late {
    naru_call *call;
    naru_client *client;
};

static void *cancel_later(void *context)
{
    struct late *late = context;
    usleep(30000);
    if (late->call)
        naru_call_cancel(late->call);
    else
        naru_cancel(late->client);
    return NULL;
}

static void cancel_from_a_thread(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 3}, NULL);
    struct numbers n = {60 * NARU_S, 0};
    struct naru_payload p;
    pthread_t thread;
    naru_call *call = begin(w.client, &r_sleep);
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    await_count(&seen->running, 1);
    struct late late = {call, w.client};
    pthread_create(&thread, NULL, cancel_later, &late);
    expect_code(-ECANCELED, naru_call_wait(call, PATIENCE));
    pthread_join(thread, NULL);
    naru_call_close(call);
    await_count(&seen->cancelled, 1);
    late.call = NULL; /* the wait, not the call */
    call = begin(w.client, &r_sleep);
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    await_count(&seen->running, 1);
    pthread_create(&thread, NULL, cancel_later, &late);
    expect_code(-ECANCELED, naru_call_wait(call, PATIENCE));
    pthread_join(thread, NULL);
    expect_code(0, naru_call_cancelled(call));
    expect_code(-ETIMEDOUT, naru_call_take(call, 5 * NARU_MS, &p));
    naru_call_close(call);
    await_count(&seen->cancelled, 2);
    end_world(&w);
}

/* An answer to a call that has been given up is dropped and counted, and is no other's. */
static void late_answers(void)
{
    struct world w = begin_world(NULL, NULL);
    struct naru_stats stats = {.size = sizeof stats};
    naru_call *calls[2];
    for (int i = 0; i < 2; i++) {
        calls[i] = begin(w.client, &r_pause); /* the server answers after 30 ms */
        expect_ok(naru_call_flush(calls[i], PATIENCE));
    }
    await_count(&seen->ended, 2);
    usleep(20000);
    for (int i = 0; i < 2; i++)
        naru_call_close(calls[i]);
    for (int i = 0; i < 10; i++)
        expect_adds(w.client); /* new calls have the old ones' slots */
    expect_ok(naru_stats(w.client, &stats));
    expect(stats.dropped == 2);
    expect(stats.sent == 12 && stats.received == 12);
    end_world(&w);
}

/* ---- many, and slow ones ---- */

static void ten_thousand_in_flight(void)
{
    enum { MANY = 10000 };
    struct world w = begin_world(&(struct setup){.options.max_calls_each = MANY + 10},
                                 &(struct naru_client_options){.max_calls = MANY + 10});
    struct numbers n = {0, 0};
    naru_call *call;
    n_ended = 0;
    memset(ends, 0, sizeof ends);
    for (int i = 0; i < MANY; i++) {
        int r;
        expect_ok(naru_call_begin(w.client, &r_hold, NULL, &call));
        expect_ok(naru_call_on(call, &count_ends, NULL));
        while ((r = naru_call_send(call, &n, sizeof n, NARU_NOWAIT)) == -EAGAIN)
            naru_client_process(w.client, 10 * NARU_MS);
        expect_ok(r);
        if (i % 500 == 0)
            naru_client_process(w.client, NARU_NOWAIT);
    }
    while (seen->running < MANY)
        naru_client_process(w.client, 5 * NARU_MS);
    expect(n_ended == 0);
    n.a = 1;
    expect_ok(naru_client_invoke(w.client, &r_hold, &n, sizeof n, NULL, NULL));
    while (n_ended < MANY)
        expect_ok(naru_client_process(w.client, PATIENCE));
    expect(ends[0] == MANY);
    end_world(&w);
}

/* What a moment of many large calls took is not kept for ever. */
static void memory_is_given_back(void)
{
    enum { MANY = 300, MOST = 256, SIZE = 60000 };
    struct naru_spares spares = {NULL, NULL, 0, 0};
    struct naru_call *calls[MANY];
    size_t kept = 0;
    for (int i = 0; i < MANY; i++) {
        calls[i] = naru__call_new(NULL, NULL, NULL, NULL, "");
        expect(calls[i] && naru__buffer_need(&calls[i]->keeps.answer, SIZE) == 0);
    }
    for (int i = 0; i < MANY; i++)
        naru__spares_give(&spares, calls[i], MOST);
    expect(spares.n_hot + spares.n_cold == MOST);
    calls[0] = naru__spares_take(&spares);
    expect(calls[0]->keeps.answer.size >= SIZE); /* the next ones are ready for as much again */
    naru__spares_give(&spares, calls[0], MOST);
    for (int i = 0; (calls[i] = naru__spares_take(&spares)); i++)
        kept += calls[i]->keeps.answer.size;
    expect(kept <= CALLS_HOT * CALL_KEEPS);
    for (int i = 0; i < MOST; i++)
        naru__call_free(calls[i]);
}

static void limits_of_calls(void)
{
    struct world w =
        begin_world(&(struct setup){.options.max_calls_each = 8, .options.max_calls = 6},
                    &(struct naru_client_options){.max_calls = 9});
    struct numbers n = {0, 0};
    naru_call *calls[9], *more;
    struct naru_payload p;
    for (int i = 0; i < 6; i++) {
        calls[i] = begin(w.client, &r_hold);
        expect_ok(naru_call_send(calls[i], &n, sizeof n, PATIENCE));
    }
    await_count(&seen->running, 6);
    calls[6] = begin(w.client, &r_hold); /* the server's in all */
    expect_ok(naru_call_send(calls[6], &n, sizeof n, PATIENCE));
    expect_code(-EREMOTEIO, naru_call_wait(calls[6], PATIENCE));
    expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
    calls[7] = begin(w.client, &r_hold);
    calls[8] = begin(w.client, &r_hold);
    expect_code(-EBUSY, naru_call_begin(w.client, &r_hold, NULL, &more));
    expect_says(".max_calls");
    for (int i = 0; i < 9; i++)
        naru_call_close(calls[i]);
    await_count(&seen->cancelled, 6);
    n.a = 1; /* each has been finished by its handler */
    expect_ok(naru_client_invoke(w.client, &r_hold, &n, sizeof n, NULL, &p));
    naru_client_release(w.client, &p);
    end_world(&w);
}

/* The server is held back when nobody takes what it sends. */
static void slow_reader(void)
{
    enum { MANY = 3000, SIZE = 2000 };
    struct world w = begin_world(NULL, NULL);
    struct numbers n = {MANY, SIZE};
    struct naru_payload p;
    naru_call *call = begin(w.client, &r_count);
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    int before = -1;
    while (before != seen->sent || before == 0) { /* until it stands still */
        before = seen->sent;
        for (int i = 0; i < 10; i++) {
            naru_client_process(w.client, 5 * NARU_MS);
        }
    }
    expect(before < MANY / 4);
    for (int64_t i = 0; i < MANY; i++) {
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect(p.size == SIZE && memcmp(p.data, &i, sizeof i) == 0);
        expect_ok(naru_call_release(call, &p));
    }
    expect_code(0, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    end_world(&w);
}

/* A client is held back when the server does not take what it sends; others get on. */
static void slow_server(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    struct naru_payload p;
    char bytes[2000] = "";
    naru_call *call = begin(w.client, &r_stuck);
    int64_t sent = 0;
    int r;
    expect_adds(w.client); /* there is a connection */
    while ((r = naru_call_send(call, bytes, sizeof bytes, 100 * NARU_MS)) == 0)
        sent++;
    expect_code(-ETIMEDOUT, r);
    expect(sent > 10 && sent < 1000);
    expect_code(-EAGAIN, naru_call_send(call, bytes, sizeof bytes, NARU_NOWAIT));
    expect_adds(w.client);
    seen->running = 0; /* go on */
    for (int i = 0; i < 500; i++, sent++)
        expect_ok(naru_call_send(call, bytes, sizeof bytes, PATIENCE));
    expect_ok(naru_call_shutdown(call));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    struct numbers n;
    memcpy(&n, p.data, sizeof n);
    expect(n.b == sent);
    naru_call_close(call);
    end_world(&w);
}

/* Who writes slowly holds nobody up, at either side. */
static void slow_writer(void)
{
    enum { MESSAGES = 8 };
    struct world w = begin_world(&(struct setup){.options.workers = 3}, NULL);
    struct naru_payload p;
    struct numbers n;
    naru_call *summed = begin(w.client, &r_sum), *chat = begin(w.client, &r_chat);
    for (int64_t i = 1; i <= MESSAGES; i++) {
        n = (struct numbers){i, 0};
        expect_ok(naru_call_send(summed, &n, sizeof n, PATIENCE));
        expect_code(-ETIMEDOUT, naru_call_take(chat, 5 * NARU_MS, &p));
        expect_adds(w.client); /* of the same connection */
        expect_ok(naru_call_send(chat, &i, sizeof i, PATIENCE));
        expect_code(1, naru_call_take(chat, PATIENCE, &p));
        expect(memcmp(p.data, &i, sizeof i) == 0);
        expect_ok(naru_call_release(chat, &p));
    }
    expect_ok(naru_call_shutdown(summed));
    expect_code(1, naru_call_take(summed, PATIENCE, &p));
    memcpy(&n, p.data, sizeof n);
    expect(n.a == MESSAGES * (MESSAGES + 1) / 2 && n.b == MESSAGES);
    expect_ok(naru_call_release(summed, &p));
    expect_ok(naru_call_shutdown(chat));
    expect_ok(naru_call_wait(chat, PATIENCE));
    naru_call_close(summed);
    naru_call_close(chat);
    end_world(&w);
}

struct thread {
    naru_client *client;
    int number;
};

static void *call_often(void *context)
{
    const struct thread *t = context;
    unsigned char bytes[3000];
    struct naru_payload p;
    fill(bytes, sizeof bytes, (unsigned)t->number);
    for (int i = 0; i < 300; i++) {
        int64_t sum;
        size_t size = (size_t)(i * 37 + t->number) % sizeof bytes;
        expect_ok(add(t->client, t->number * 1000, i, &sum));
        expect(sum == t->number * 1000 + i);
        expect_ok(naru_client_invoke(t->client, &r_echo, bytes, size, NULL, &p));
        expect(p.size == size && memcmp(p.data, bytes, size) == 0);
        expect_ok(naru_client_release(t->client, &p));
        if (i % 50 == 0) {
            naru_call *call = begin(t->client, &r_chat);
            expect_ok(naru_call_send(call, &i, sizeof i, PATIENCE));
            expect_code(1, naru_call_take(call, PATIENCE, &p));
            expect(memcmp(p.data, &i, sizeof i) == 0);
            naru_call_close(call);
        }
    }
    return NULL;
}

static void threads_on_one_client(void)
{
    enum { THREADS = 6 };
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    pthread_t threads[THREADS];
    struct thread arguments[THREADS];
    for (int i = 0; i < THREADS; i++) {
        arguments[i] = (struct thread){w.client, i};
        expect(pthread_create(&threads[i], NULL, call_often, &arguments[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    end_world(&w);
}

static void *hold_one(void *client)
{
    struct numbers n = {0, 0};
    expect_ok(naru_client_invoke(client, &r_hold, &n, sizeof n, NULL, NULL));
    return NULL;
}

static void *wait_for_one(void *call)
{
    expect_ok(naru_call_wait(call, PATIENCE));
    return NULL;
}

static void await_waiter(naru_call *call)
{
    for (bool waits = false; !waits; usleep(500)) {
        pthread_mutex_lock(call->lock);
        waits = call->waiter[0] != NULL;
        pthread_mutex_unlock(call->lock);
    }
}

/* The first thread leads, and leaves when its own call has ended: another one has to lead then, or
 * nobody reads what comes for it. */
static void lead_is_handed_on(void)
{
    struct numbers n = {0, 0};
    pthread_t threads[2];
    naru_client *other;
    if (carrier->pair)
        return;
    struct world w = begin_world(NULL, NULL);
    expect_ok(naru_client_open(seen->url, usual_options(), &other));
    naru_call *oldest = begin(w.client, &r_hold);
    expect_ok(naru_call_send(oldest, &n, sizeof n, PATIENCE));
    await_count(&seen->running, 1);
    expect(pthread_create(&threads[0], NULL, hold_one, w.client) == 0);
    await_count(&seen->running, 2);
    expect(pthread_create(&threads[1], NULL, wait_for_one, oldest) == 0);
    await_waiter(oldest);
    n = (struct numbers){1, 1}; /* the first thread's */
    expect_ok(naru_client_invoke(other, &r_hold, &n, sizeof n, NULL, NULL));
    pthread_join(threads[0], NULL);
    n.b = 0;
    expect_ok(naru_client_invoke(other, &r_hold, &n, sizeof n, NULL, NULL));
    pthread_join(threads[1], NULL);
    naru_call_close(oldest);
    naru_client_close(other);
    end_world(&w);
}

static void workers_work_at_once(void)
{
    enum { WORKERS = 4 };
    struct world w = begin_world(&(struct setup){.options.workers = WORKERS}, NULL);
    const struct numbers n = {60 * NARU_S, 0};
    naru_call *calls[WORKERS + 1];
    for (int i = 0; i <= WORKERS; i++) {
        calls[i] = begin(w.client, &r_sleep);
        expect_ok(naru_call_send(calls[i], &n, sizeof n, PATIENCE));
    }
    await_count(&seen->running, WORKERS);
    usleep(20000);
    expect(seen->running == WORKERS); /* the last one waits for a worker, */
    expect_ok(naru_call_cancel(calls[0]));
    await_count(&seen->cancelled, 1);
    await_count(&seen->running, WORKERS); /* and gets it */
    for (int i = 0; i <= WORKERS; i++)
        naru_call_close(calls[i]);
    await_count(&seen->cancelled, WORKERS + 1);
    end_world(&w);
}

/* ---- in a loop of somebody else's ---- */

struct tally {
    int messages, half, writable, end;
    int64_t sum;
    naru_call *call;
};

static void on_message(naru_call *call, void *arg, const void *data, size_t size)
{
    struct tally *t = arg;
    int64_t i;
    (void)call;
    expect(size >= sizeof i);
    memcpy(&i, data, sizeof i);
    expect(i == t->messages);
    t->messages++;
}

static void on_half(naru_call *call, void *arg)
{
    (void)call;
    ((struct tally *)arg)->half++;
}

static void on_writable(naru_call *call, void *arg)
{
    (void)call;
    ((struct tally *)arg)->writable++;
}

static void on_end(naru_call *call, void *arg, const struct naru_status *s)
{
    struct tally *t = arg;
    expect(s->code == 0 && t->end == 0);
    t->end++;
    naru_call_close(call);
}

static void events_in_a_foreign_loop(void)
{
    static const struct naru_call_events events = {
        .size = sizeof events,
        .message = on_message,
        .half_closed = on_half,
        .writable = on_writable,
        .end = on_end,
    };
    struct world w = begin_world(&(struct setup){.foreign_loop = true}, NULL);
    struct tally tallies[5] = {{0}};
    int fd = naru_fd(w.client);
    expect(fd >= 0);
    for (int i = 0; i < 5; i++) {
        struct numbers n = {1000, 100};
        naru_call *call = begin(w.client, &r_count);
        expect_ok(naru_call_on(call, &events, &tallies[i]));
        expect_ok(naru_call_send(call, &n, sizeof n, NARU_NOWAIT));
    }
    int ended = 0;
    for (int64_t end = test_now() + PATIENCE; ended < 5 && test_now() < end;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        expect(poll(&p, 1, PATIENCE_MS) == 1);
        int r;
        while ((r = naru_client_process(w.client, NARU_NOWAIT)) > 0)
            ;
        expect_code(-EAGAIN, r);
        ended = 0;
        for (int i = 0; i < 5; i++)
            ended += tallies[i].end;
    }
    for (int i = 0; i < 5; i++)
        expect(tallies[i].messages == 1000);
    /* nothing to do: nothing to be told */
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int told = 0;
    for (; told < 20 && poll(&p, 1, 50) == 1; told++)
        naru_client_process(w.client, NARU_NOWAIT);
    expect(told < 20);
    expect_adds(w.client);
    end_world(&w);
}

static void *wait_for_call(void *call)
{
    expect_code(-ECANCELED, naru_call_wait(call, PATIENCE));
    return NULL;
}

/* A thread that waits for a call of its own reads what the loop is to run. */
static void events_beside_a_waiting_thread(void)
{
    struct world w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    const struct numbers n = {60 * NARU_S, 0};
    pthread_t thread;
    expect_adds(w.client);
    struct pollfd p = {.fd = naru_fd(w.client), .events = POLLIN};
    naru_call *slow = begin(w.client, &r_sleep), *call;
    expect_ok(naru_call_send(slow, &n, sizeof n, PATIENCE));
    await_count(&seen->running, 1);
    expect(pthread_create(&thread, NULL, wait_for_call, slow) == 0);
    usleep(20000);
    for (int i = 1; i <= 5; i++) {
        expect_ok(naru_call_begin(w.client, &r_add, NULL, &call));
        expect_ok(naru_call_on(call, &count_ends, NULL));
        expect_ok(naru_call_send(call, &n, sizeof n, NARU_NOWAIT));
        for (int64_t end = test_now() + PATIENCE; n_ended < i && test_now() < end;) {
            naru_client_process(w.client, NARU_NOWAIT);
            if (n_ended < i)
                expect(poll(&p, 1, PATIENCE_MS) == 1);
        }
        expect(n_ended == i && ends[0] == i);
    }
    expect_ok(naru_call_cancel(slow));
    pthread_join(thread, NULL);
    naru_call_close(slow);
    end_world(&w);
}

/* ---- deaths, ends, returns ---- */

static void *call_until_lost(void *context)
{
    struct numbers n = {60 * NARU_S, 0};
    int r = naru_client_invoke(context, &r_hold, &(struct numbers){0, 0}, sizeof n, NULL, NULL);
    return (void *)(intptr_t)(r == -ECONNRESET ? last_status() : r);
}

static void server_killed(void)
{
    enum { THREADS = 4 };
    struct world w = begin_world(NULL, NULL);
    pthread_t threads[THREADS];
    struct naru_payload p;
    naru_call *call = begin(w.client, &r_hold);
    expect_ok(naru_call_send(call, &(struct numbers){0, 0}, 16, PATIENCE));
    for (int i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, call_until_lost, w.client) == 0);
    await_count(&seen->running, THREADS + 1);
    int64_t before = test_now();
    kill_server(w.server);
    expect_code(-ECONNRESET, naru_call_take(call, PATIENCE, &p));
    for (int i = 0; i < THREADS; i++) {
        void *status = NULL;
        pthread_join(threads[i], &status);
        expect((intptr_t)status == NARU_STATUS_UNAVAILABLE);
    }
    int64_t took = test_now() - before;
    expect(took < PATIENCE);
    printf("# %s: calls ended %.1f ms after the server's death\n", carrier->name,
           (double)took / 1e6);
    naru_call_close(call);
    expect_code(-ECONNRESET, add(w.client, 1, 1, &(int64_t){0}));
    naru_client_close(w.client);
    if (!carrier->pair && carrier->local)
        expect_ok(naru_remove(seen->url));
}

static void call_and_die(void *context)
{
    naru_client *c = context;
    naru_call *call;
    if (!c)
        expect_ok(naru_client_open(seen->url, usual_options(), &c));
    for (int i = 0; i < 5; i++) {
        expect_ok(naru_call_begin(c, &r_hold, NULL, &call));
        expect_ok(naru_call_send(call, &(struct numbers){0, 0}, 16, PATIENCE));
    }
    expect_ok(naru_call_begin(c, &r_chat, NULL, &call));
    expect_ok(naru_call_send(call, "x", 1, PATIENCE));
    while (seen->running < 6)
        usleep(1000);
    raise(SIGKILL);
}

static void client_killed(void)
{
    naru_channel *channel = NULL;
    pid_t server = start_server(&(struct setup){.options.workers = 2}, &channel);
    if (channel) { /* a pair's end: the child must have it */
        pid_t pid = fork();
        if (pid == 0) {
            naru_client *c;
            expect_ok(naru_adopt(channel));
            expect_ok(naru_client_attach(channel, NULL, &c));
            call_and_die(c);
        }
        naru_channel_close(channel);
        waitpid(pid, NULL, 0);
    } else {
        pid_t pid = start_child(call_and_die, NULL);
        waitpid(pid, NULL, 0);
    }
    int64_t before = test_now();
    await_count(&seen->cancelled, 6);
    printf("# %s: handlers learnt of the client's death after %.1f ms\n", carrier->name,
           (double)(test_now() - before) / 1e6);
    if (!carrier->pair) { /* and the server serves on */
        naru_client *c;
        expect_ok(naru_client_open(seen->url, usual_options(), &c));
        expect_adds(c);
        expect_ok(naru_client_invoke(c, &r_hold, &(struct numbers){1, 0}, 16, NULL, NULL));
        naru_client_close(c);
    }
    kill(server, SIGUSR1);
    end_child(server);
}

static void shutdown_in_mid_stream(void)
{
    struct world w = begin_world(NULL, NULL);
    struct numbers n = {2000, 1000};
    struct naru_payload p;
    naru_call *call = begin(w.client, &r_count);
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_release(call, &p));
    kill(w.server, SIGTERM); /* finishes what it has begun */
    usleep(20000);
    for (int64_t i = 1; i < n.a; i++) {
        expect_code(1, naru_call_take(call, PATIENCE, &p));
        expect(memcmp(p.data, &i, sizeof i) == 0);
        expect_ok(naru_call_release(call, &p));
    }
    expect_code(0, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    end_child(w.server);
    expect_code(-ECONNRESET, add(w.client, 1, 2, &(int64_t){0}));
    expect_code(NARU_STATUS_UNAVAILABLE, last_status());
    naru_client_close(w.client);
}

static void shutdown_without_grace(void)
{
    struct world w = begin_world(NULL, NULL);
    naru_call *call = begin(w.client, &r_hold);
    expect_ok(naru_call_send(call, &(struct numbers){0, 0}, 16, PATIENCE));
    await_count(&seen->running, 1);
    kill(w.server, SIGUSR1);
    expect_code(-ECONNRESET, naru_call_wait(call, PATIENCE));
    expect_code(NARU_STATUS_UNAVAILABLE, last_status());
    await_count(&seen->cancelled, 1);
    naru_call_close(call);
    end_child(w.server);
    naru_client_close(w.client);
}

/* A child that serves its parent ends when that has gone. */
static void nobody_can_come(void)
{
    if (!carrier->pair)
        return;
    struct world w = begin_world(NULL, NULL);
    expect_adds(w.client);
    naru_client_close(w.client);
    end_child(w.server);
    w = begin_world(&(struct setup){.options.workers = 2}, NULL);
    naru_call *call = begin(w.client, &r_sleep);
    expect_ok(naru_call_send(call, &(struct numbers){60 * NARU_S, 0}, 16, PATIENCE));
    await_count(&seen->running, 1);
    naru_client_close(w.client);
    end_child(w.server);
    expect(seen->cancelled == 1);
}

static void restart_under_a_waiting_client(void)
{
    char url[256];
    if (carrier->pair) { /* one that is lost is lost */
        struct world lost = begin_world(NULL, NULL);
        const struct naru_call_options o = {.size = sizeof o, .flags = NARU_WAIT_FOR_READY};
        expect_adds(lost.client);
        kill_server(lost.server);
        expect_code(-ECONNRESET, add(lost.client, 1, 1, &(int64_t){0}));
        expect_code(-ECONNRESET,
                    naru_client_invoke(lost.client, &r_add, &(struct numbers){1, 1}, 16, &o, NULL));
        naru_client_close(lost.client);
        return;
    }
    struct world w = begin_world(NULL, &(struct naru_client_options){.max_backoff = 50 * NARU_MS});
    const struct naru_call_options waits = {
        .size = sizeof waits, .flags = NARU_WAIT_FOR_READY, .timeout = PATIENCE};
    expect_adds(w.client);
    snprintf(url, sizeof url, "%s", seen->url);
    const struct setup late = {.url = url, .late_ms = 100};
    for (int i = 0; i < 3; i++) {
        struct naru_payload p;
        naru_channel *none;
        kill_server(w.server);
        expect_code(-ECONNRESET, add(w.client, 1, 1, &(int64_t){0}));
        w.server = start_server(&late, &none); /* no thread forks it, while this one allocates */
        expect_ok(naru_client_invoke(w.client, &r_add, &(struct numbers){i, 1}, 16, &waits, &p));
        expect(*(const int64_t *)p.data == i + 1);
        naru_client_release(w.client, &p);
        await_server();
        expect_adds(w.client);
    }
    /* a call that waits has a deadline, too */
    kill_server(w.server);
    expect_code(-ECONNRESET, add(w.client, 1, 1, &(int64_t){0}));
    const struct naru_call_options briefly = {
        .size = sizeof briefly, .flags = NARU_WAIT_FOR_READY, .timeout = 200 * NARU_MS};
    expect_code(-ETIMEDOUT,
                naru_client_invoke(w.client, &r_add, &(struct numbers){1, 1}, 16, &briefly, NULL));
    expect_says("no server was there");
    expect_code(-ETIMEDOUT, naru_client_wait_ready(w.client, 1));
    naru_client_close(w.client);
    if (carrier->local)
        expect_ok(naru_remove(url));
}

static const char *nobody_there(void)
{
    return strcmp(carrier->name, "tcp") == 0   ? "tcp://127.0.0.1:1"
           : strcmp(carrier->name, "tls") == 0 ? "tls://127.0.0.1:1"
                                               : test_url(carrier->url);
}

/* Asynchronous calls wait by themselves, and those that do not wait are told. */
static void async_without_a_server(void)
{
    naru_client *c;
    naru_call *call;
    n_ended = 0;
    memset(ends, 0, sizeof ends);
    if (carrier->pair)
        return;
    expect_ok(naru_client_open(nobody_there(), usual_options(), &c));
    for (int i = 0; i < 3; i++) {
        expect_ok(naru_call_begin(c, &r_add, NULL, &call));
        expect_ok(naru_call_on(call, &count_ends, NULL));
        expect_ok(naru_call_send(call, &(struct numbers){1, 1}, 16, NARU_NOWAIT));
    }
    while (n_ended < 3)
        expect_ok(naru_client_process(c, PATIENCE));
    expect(ends[NARU_STATUS_UNAVAILABLE] == 3);
    naru_client_close(c);
    struct world w = begin_world(NULL, NULL);
    expect_ok(naru_client_open(seen->url, usual_options(), &c));
    n_ended = 0;
    for (int i = 0; i < 3; i++) { /* before there is a connection */
        expect_ok(naru_call_begin(c, &r_add, NULL, &call));
        expect_ok(naru_call_on(call, &count_ends, NULL));
        expect_ok(naru_call_send(call, &(struct numbers){1, 1}, 16, NARU_NOWAIT));
    }
    while (n_ended < 3)
        expect_ok(naru_client_process(c, PATIENCE));
    expect(ends[0] == 3);
    naru_client_close(c);
    end_world(&w);
}

/* So long a client waits from an attempt in vain to the next one: it lies between these. */
struct pause {
    int64_t least, most;
};

static struct pause pause_after_attempt(naru_client *c)
{
    struct naru_handle *h = (struct naru_handle *)c;
    struct naru_watch watch = {.again = NARU__NEVER};
    int64_t before = test_now();
    expect_code(-ECONNRESET, add(c, 1, 1, &(int64_t){0}));
    int64_t after = test_now();
    expect_ok(h->ops->watch(h, NARU_IN, &watch));
    return (struct pause){watch.again - after, watch.again - before};
}

/* They double up to a limit, and no two clients that have lost a server come back in step. */
static void pauses_between_attempts(void)
{
    enum { ATTEMPTS = 16, DOUBLED = 3, SOON_US = 11000 };
    const struct naru_client_options o = {
        .size = sizeof o, .first_backoff = NARU_S, .max_backoff = NARU_S << DOUBLED};
    naru_client *clients[2];
    bool differ = false;
    if (carrier->pair)
        return;
    for (int k = 0; k < 2; k++)
        expect_ok(naru_client_open(nobody_there(), &o, &clients[k]));
    for (int i = 0; i < ATTEMPTS; i++) {
        int64_t usual = NARU_S << (i < DOUBLED ? i : DOUBLED);
        struct pause pauses[2];
        usleep(SOON_US); /* before it a call does not ask again */
        for (int k = 0; k < 2; k++) {
            pauses[k] = pause_after_attempt(clients[k]);
            expect(pauses[k].most >= usual * 8 / 10 && pauses[k].least <= usual * 12 / 10);
        }
        differ |= pauses[0].least > pauses[1].most || pauses[1].least > pauses[0].most;
    }
    expect(differ);
    for (int k = 0; k < 2; k++)
        naru_client_close(clients[k]);
}

static void retries(void)
{
    struct world w = begin_world(NULL, NULL);
    struct naru_call_options o = {.size = sizeof o, .retries = 3};
    struct numbers n = {3, 0};
    expect_ok(naru_client_invoke(w.client, &r_again, &n, sizeof n, &o, NULL));
    expect(seen->ended == 3);
    seen->ended = 0;
    o.retries = 1;
    expect_code(-ECONNRESET, naru_client_invoke(w.client, &r_again, &n, sizeof n, &o, NULL));
    expect(seen->ended == 2);
    n.a = NARU_STATUS_UNAVAILABLE; /* of a method that may not be done twice: once */
    o.retries = 5;
    expect_code(-ECONNRESET, naru_client_invoke(w.client, &r_status, &n, sizeof n, &o, NULL));
    end_world(&w);
}

/* ---- limits and rights ---- */

static void limits_of_messages(void)
{
    struct world w = begin_world(&(struct setup){.options.max_message = 100000},
                                 &(struct naru_client_options){.max_message = 200000});
    char *bytes = calloc(1, 300000);
    struct naru_payload p;
    struct numbers n = {1, 250000};
    expect_adds(w.client);
    expect_ok(naru_client_invoke(w.client, &r_echo, bytes, 100000, NULL, NULL));
    expect_code(carrier->grpc ? -EREMOTEIO : -EMSGSIZE,
                naru_client_invoke(w.client, &r_echo, bytes, 100001, NULL, &p));
    expect_says("100000");
    if (carrier->grpc)
        expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
    naru_call *call = begin(w.client, &r_count); /* an answer that this client does not take */
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    expect_code(-EREMOTEIO, naru_call_take(call, PATIENCE, &p));
    expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
    naru_call_close(call);
    call = begin(w.client, &r_chat);
    expect_code(carrier->grpc ? 0 : -EMSGSIZE, naru_call_send(call, bytes, 100001, PATIENCE));
    if (carrier->grpc) {
        expect_code(-EREMOTEIO, naru_call_take(call, PATIENCE, &p));
        expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
    } else { /* which does the call no harm */
        expect_ok(naru_call_send(call, bytes, 100, PATIENCE));
        expect_code(1, naru_call_take(call, PATIENCE, &p));
    }
    naru_call_close(call);
    free(bytes);
    expect_adds(w.client);
    end_world(&w);
}

/* To the byte, below the usual limit and above it. */
static void limits_of_metadata(void)
{
    static const size_t limits[] = {1000, 30000};
    static char bytes[RPC_METADATA_MAX];
    naru_server *none;
    memset(bytes, 'x', sizeof bytes);
    for (size_t i = 0; i < 2; i++) {
        struct world w = begin_world(&(struct setup){.options.max_metadata = limits[i]}, NULL);
        struct naru_metadata entry = {"echo", bytes, 0};
        const struct naru_call_options o = {.size = sizeof o, .metadata = &entry, .n_metadata = 1};
        entry.size = limits[i] - naru__metadata_size(&entry);
        expect_ok(naru_client_invoke(w.client, &r_meta, NULL, 0, &o, NULL));
        entry.size++;
        expect_code(-EREMOTEIO, naru_client_invoke(w.client, &r_meta, NULL, 0, &o, NULL));
        expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
        expect_says(".max_metadata");
        expect_adds(w.client);
        end_world(&w);
    }
    const struct naru_server_options most = {.size = sizeof most,
                                             .max_metadata = RPC_METADATA_MAX + 1};
    expect_code(-EINVAL, naru_server_new(&most, &none));
    expect_says("max_metadata");
}

/* One that says nothing, as while a handshake takes its time; -1: not on this carrier. */
static int connect_silently(void)
{
    if (carrier->local)
        return -1;
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)atoi(strrchr(seen->url, ':') + 1)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void idle_and_old_connections(void)
{
    if (carrier->pair)
        return;
    struct world w = begin_world(&(struct setup){.options.max_idle = 100 * NARU_MS}, NULL);
    struct pollfd silent = {.fd = connect_silently(), .events = POLLRDHUP};
    expect_adds(w.client);
    usleep(1700000);
    expect_adds(w.client);                             /* over another connection */
    expect(silent.fd < 0 || poll(&silent, 1, 0) == 0); /* it has not been idle, it has not begun */
    close(silent.fd);
    end_world(&w);
    w = begin_world(&(struct setup){.options.max_age = 100 * NARU_MS, .options.workers = 2}, NULL);
    struct naru_payload p;
    naru_call *call = begin(w.client, &r_chat);
    expect_ok(naru_call_send(call, "1", 1, PATIENCE));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_release(call, &p));
    usleep(700000);
    expect_ok(naru_call_send(call, "2", 1, PATIENCE)); /* a call goes on where it was */
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_release(call, &p));
    expect_adds(w.client);
    expect_ok(naru_call_send(call, "3", 1, PATIENCE));
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    expect_ok(naru_call_release(call, &p));
    naru_call_close(call);
    expect_adds(w.client);
    end_world(&w);
}

static void who_may_not(void)
{
    static const int64_t nobody[] = {65533, -1}, us[] = {0, 12345, -1};
    if (carrier->pair || !carrier->local)
        return;
    struct world w = begin_world(&(struct setup){.options.uids = nobody}, NULL);
    expect_code(-EREMOTEIO, add(w.client, 1, 1, &(int64_t){0}));
    expect_code(NARU_STATUS_PERMISSION_DENIED, last_status());
    expect_code(-EREMOTEIO, add(w.client, 1, 1, &(int64_t){0}));
    expect_code(NARU_STATUS_PERMISSION_DENIED, last_status());
    end_world(&w);
    int64_t gids[] = {(int64_t)getegid(), -1};
    w = begin_world(&(struct setup){.options.uids = nobody, .options.gids = gids}, NULL);
    expect_adds(w.client);
    end_world(&w);
    if (geteuid() == 0) {
        w = begin_world(&(struct setup){.options.uids = us}, NULL);
        expect_adds(w.client);
        end_world(&w);
    }
}

struct stranger {
    const char *url;
    int64_t id;
    int status; /* that it is to get */
};

static void call_as_stranger(void *context)
{
    const struct stranger *is = context;
    naru_client *c;
    expect(setresgid((gid_t)is->id, (gid_t)is->id, (gid_t)is->id) == 0);
    expect(setresuid((uid_t)is->id, (uid_t)is->id, (uid_t)is->id) == 0);
    expect_ok(naru_client_open(is->url, usual_options(), &c));
    int r = add(c, 1, 1, &(int64_t){0});
    if (is->status)
        expect(r == -EREMOTEIO && last_status() == is->status);
    else
        expect_ok(r);
    naru_client_close(c);
}

/* Another user calls, at a name that has no file whose rights would be in the way. */
static void other_users(void)
{
    static const int64_t them[] = {54321, 65533, -1}, nobody[] = {54321, -1};
    char url[64];
    if (strcmp(carrier->name, "unix") != 0)
        return;
    if (geteuid() != 0)
        test_skip("only root becomes another user");
    const struct {
        struct naru_server_options options;
        int status;
    } servers[] = {
        {{.size = 0}, NARU_STATUS_PERMISSION_DENIED},
        {{.flags = NARU_ANY_USER}, 0},
        {{.uids = them}, 0},
        {{.gids = them}, 0},
        {{.uids = nobody, .gids = nobody}, NARU_STATUS_PERMISSION_DENIED},
        {{.uids = nobody, .flags = NARU_ANY_USER}, NARU_STATUS_PERMISSION_DENIED},
    };
    snprintf(url, sizeof url, "unix:@naru-test-services-%d", (int)getpid());
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
        struct stranger stranger = {url, 65533, servers[i].status};
        struct world w =
            begin_world(&(struct setup){.options = servers[i].options, .also = url}, NULL);
        end_child(start_child(call_as_stranger, &stranger));
        end_world(&w);
    }
}

/* The server says how many calls of one client it takes, and the next one is not sent; over gRPC
 * it waits until there is room. */
static void limits_of_one_client(void)
{
    struct world w = begin_world(&(struct setup){.options.max_calls_each = 3}, NULL);
    struct numbers n = {0, 0};
    naru_call *calls[4];
    naru_client *other;
    expect_adds(w.client);
    for (int i = 0; i < 3; i++) {
        calls[i] = begin(w.client, &r_hold);
        expect_ok(naru_call_send(calls[i], &n, sizeof n, PATIENCE));
    }
    await_count(&seen->running, 3);
    calls[3] = begin(w.client, &r_hold);
    if (carrier->grpc) {
        struct naru_payload p;
        expect_ok(naru_call_send(calls[3], &n, sizeof n, PATIENCE));
        expect_code(-ETIMEDOUT, naru_call_take(calls[3], 20 * NARU_MS, &p));
        expect(seen->running == 3);
    } else {
        expect_code(-EBUSY, naru_call_send(calls[3], &n, sizeof n, PATIENCE));
        expect_says(".max_calls_each");
    }
    if (!carrier->pair) { /* which is no other one's limit */
        expect_ok(naru_client_open(seen->url, usual_options(), &other));
        expect_adds(other);
        naru_client_close(other);
    }
    naru_call_close(calls[0]);
    drive_until(w.client, &seen->cancelled, 1);
    if (carrier->grpc) { /* it was waited for */
        drive_until(w.client, &seen->running, 3);
        naru_call_close(calls[3]);
        drive_until(w.client, &seen->cancelled, 2);
    }
    expect_adds(w.client);
    for (int i = 1; i < 4 - carrier->grpc; i++)
        naru_call_close(calls[i]);
    drive_until(w.client, &seen->cancelled, 3 + carrier->grpc);
    n.a = 1;
    expect_ok(naru_client_invoke(w.client, &r_hold, &n, sizeof n, NULL, NULL));
    end_world(&w);
}

/* One server, one set of handlers, several ways to it. */
static void several_urls(void)
{
    char also[160];
    naru_client *other;
    struct stat st;
    snprintf(also, sizeof also, "unix:%s/also", test_directory);
    struct world w = begin_world(&(struct setup){.also = also}, NULL);
    expect_ok(naru_client_open(also, usual_options(), &other));
    naru_call *call = begin(w.client, &r_hold);
    struct numbers n = {0, 0};
    expect_ok(naru_call_send(call, &n, sizeof n, PATIENCE));
    await_count(&seen->running, 1);
    expect_adds(other);
    expect_adds(w.client);
    n.a = 1; /* what one holds the other lets go */
    expect_ok(naru_client_invoke(other, &r_hold, &n, sizeof n, NULL, NULL));
    expect_ok(naru_call_wait(call, PATIENCE));
    naru_call_close(call);
    expect(stat(also + 5, &st) == 0 && (st.st_mode & 0777) == 0600);
    naru_client_close(other);
    end_world(&w);
    expect(stat(also + 5, &st) < 0);
    w = begin_world(&(struct setup){.also = also, .options.mode = 0660}, NULL);
    expect(stat(also + 5, &st) == 0 && (st.st_mode & 0777) == 0660);
    end_world(&w);
}

/* ---- what is told of it; server and client in one process ---- */

static void both_get_on(naru_server *s, naru_client *c, int until)
{
    for (int64_t end = test_now() + PATIENCE; n_ended < until && test_now() < end;) {
        naru_server_process(s, NARU_NOWAIT);
        naru_client_process(c, NARU_NOWAIT);
    }
    expect(n_ended == until);
}

static int answer(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self;
    return naru_call_send(call, request, size, NARU_FOREVER);
}

/* How many connected TCP sockets this process has, whose peers all are given up after so long
 * silent; and after how long without an acknowledgement, together. */
static int given_up_after(int seconds, int *ret_milliseconds)
{
    int n = 0;
    *ret_milliseconds = 0;
    for (int fd = 3; fd < 64; fd++) {
        struct sockaddr_in peer;
        int on = 0, idle = 0, interval = 0, probes = 0, unanswered = 0;
        socklen_t size = sizeof peer, length = sizeof on;
        if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0 || peer.sin_family != AF_INET)
            continue;
        expect(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &length) == 0 && on);
        expect(getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &length) == 0);
        expect(getsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, &length) == 0);
        expect(getsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, &length) == 0);
        expect(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered, &length) == 0);
        expect(idle + interval * probes == seconds);
        *ret_milliseconds += unanswered;
        n++;
    }
    return n;
}

static void statistics_and_keepalive(void)
{
    static const naru_method methods[] = {{"Echo", 0, answer, NULL, NULL}};
    static const naru_service service = {
        .size = sizeof service, .name = "test.T", .methods = methods, .n = 1};
    const struct naru_server_options so = {
        .size = sizeof so, .keepalive = 7 * NARU_S, .tls = usual_server()};
    const struct naru_client_options co = {.size = sizeof co,
                                           .keepalive = 7 * NARU_S,
                                           .user_timeout = 60 * NARU_S,
                                           .tls = usual_client()};
    const int tcp = !carrier->local && !carrier->pair;
    int unanswered;
    struct naru_stats stats = {.size = sizeof stats};
    naru_server *s;
    naru_client *c;
    naru_call *call;
    expect_ok(naru_server_new(&so, &s));
    expect_ok(naru_server_add(s, &service, NULL));
    if (carrier->pair) {
        naru_channel *a, *b;
        expect_ok(naru_channel_pair(carrier->url, NULL, &a, &b));
        expect_ok(naru_server_attach(s, a));
        expect_ok(naru_client_attach(b, &co, &c));
    } else {
        expect_ok(naru_server_listen(s, test_url(carrier->url)));
        expect_ok(naru_client_open(naru_url(s), &co, &c));
    }
    n_ended = 0;
    memset(ends, 0, sizeof ends);
    for (int i = 0; i < 10; i++) {
        expect_ok(naru_call_begin(c, i == 9 ? &r_none : &r_echo, NULL, &call));
        expect_ok(naru_call_on(call, &count_ends, NULL));
        expect_ok(naru_call_send(call, "x", 1, NARU_NOWAIT));
    }
    both_get_on(s, c, 10);
    expect(ends[0] == 9 && ends[NARU_STATUS_UNIMPLEMENTED] == 1);
    expect_ok(naru_stats(s, &stats));
    expect(stats.received == 9 && stats.sent == 9 && stats.dropped == 0);
    expect_ok(naru_stats(c, &stats));
    expect(stats.sent == 10 && stats.received == 10 && stats.dropped == 0);
    expect(given_up_after(7, &unanswered) == 2 * tcp);
    expect(unanswered == (60000 - 250) * tcp); /* the client's: see tcp.c */
    naru_client_close(c);
    naru_server_close(s);
}

static void clients_beyond_the_limit(void)
{
    if (carrier->pair)
        return;
    struct world w = begin_world(&(struct setup){.options.max_clients = 2}, NULL);
    naru_client *more[2];
    expect_adds(w.client);
    expect_ok(naru_client_open(seen->url, usual_options(), &more[0]));
    expect_ok(naru_client_open(seen->url, usual_options(), &more[1]));
    expect_adds(more[0]);
    expect_code(-ECONNRESET, add(more[1], 1, 1, &(int64_t){0}));
    naru_client_close(more[0]);
    int64_t sum = 0, end = test_now() + PATIENCE;
    while (add(more[1], 1, 1, &sum) < 0 && test_now() < end)
        usleep(10000);
    expect(sum == 2);
    naru_client_close(more[1]);
    end_world(&w);
}

static void in_a_forked_child(void)
{
    struct world w = begin_world(NULL, NULL);
    expect_adds(w.client);
    naru_call *call = begin(w.client, &r_chat);
    expect_ok(naru_call_send(call, "x", 1, PATIENCE));
    pid_t pid = fork();
    if (pid == 0) {
        struct naru_payload p;
        if (naru_call_take(call, NARU_NOWAIT, &p) != -ECHILD ||
            naru_client_process(w.client, NARU_NOWAIT) != -ECHILD ||
            add(w.client, 1, 1, &(int64_t){0}) != -ECHILD)
            _exit(3);
        naru_client_close(w.client);
        _exit(0);
    }
    end_child(pid);
    struct naru_payload p;
    expect_code(1, naru_call_take(call, PATIENCE, &p));
    naru_call_close(call);
    expect_adds(w.client);
    end_world(&w);
}

/* ---- all of them, on each carrier ---- */

static const struct test_case cases[] = {
    {"the four forms", four_forms},
    {"half-close", half_close},
    {"messages of 0 bytes to 64 MiB", sizes},
    {"replies in place", replies_in_place},
    {"a reply in place among others", in_place_among_others},
    {"told at once behind others", told_at_once},
    {"each status", each_status},
    {"metadata both ways", metadata},
    {"flat structs", typed_structs},
    {"who calls", who_calls},
    {"deadlines", deadlines},
    {"deadlines in the loop", deadlines_in_the_loop},
    {"deadline and cancellation in nested calls", nested_calls},
    {"each call is told of once", told_of_once},
    {"a trace goes on through nested calls", trace_in_nested_calls},
    {"cancelled at each moment", cancel_at_each_moment},
    {"cancelled from a thread", cancel_from_a_thread},
    {"late answers are dropped and counted", late_answers},
    {"10 000 calls in flight", ten_thousand_in_flight},
    {"memory is given back", memory_is_given_back},
    {"limits of calls", limits_of_calls},
    {"a slow reader holds the server back", slow_reader},
    {"a slow server holds the client back", slow_server},
    {"a slow writer holds nobody up", slow_writer},
    {"threads on one client", threads_on_one_client},
    {"the lead is handed on", lead_is_handed_on},
    {"workers work at once", workers_work_at_once},
    {"events in a foreign loop", events_in_a_foreign_loop},
    {"events beside a waiting thread", events_beside_a_waiting_thread},
    {"server killed", server_killed},
    {"client killed", client_killed},
    {"nobody can come", nobody_can_come},
    {"shutdown in mid-stream", shutdown_in_mid_stream},
    {"shutdown without grace", shutdown_without_grace},
    {"restart under a waiting client", restart_under_a_waiting_client},
    {"asynchronous calls without a server", async_without_a_server},
    {"pauses between attempts", pauses_between_attempts},
    {"retries", retries},
    {"limits of messages", limits_of_messages},
    {"limits of metadata", limits_of_metadata},
    {"idle and old connections", idle_and_old_connections},
    {"who may not", who_may_not},
    {"clients beyond the limit", clients_beyond_the_limit},
    {"other users", other_users},
    {"limits of one client", limits_of_one_client},
    {"several URLs", several_urls},
    {"statistics and keepalive", statistics_and_keepalive},
    {"in a forked child", in_a_forked_child},
};

/* CARRIERS: names of those that are asked, with spaces between; else all are. */
static bool is_asked(const char *name)
{
    const char *asked = getenv("CARRIERS");
    size_t n = strlen(name);
    if (!asked)
        return true;
    for (const char *at = asked; (at = strstr(at, name)); at += n)
        if ((at == asked || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

int main(int argc, char **argv)
{
    make_usual();
    for (carrier = carriers; carrier->name; carrier++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char name[128], why[900] = "";
            snprintf(name, sizeof name, "%s: %s", carrier->name, cases[i].name);
            if (!is_asked(carrier->name) || (argc > 1 && !strstr(name, argv[1])))
                continue;
            bool ok = run_case(name, cases[i].run, case_seconds(60), why, sizeof why);
            tap_result(ok, name, why);
        }
    return tap_end();
}
