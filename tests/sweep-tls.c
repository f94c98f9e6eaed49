/* SPDX-License-Identifier: MIT */
/* sweep-tls.c - the n-th failure, for every n, of TLS: as sweep.c, each system call and each
 * allocation of naru's fails with each errno that it can give, once and from then on, while a
 * listener and a client of one process come to be, shake hands, exchange bytes or messages, and go;
 * and then memory of OpenSSL's.
 *
 * Each function succeeds, or returns a negative code with a sentence; each end has all that was
 * sent, or an error, as soon as nothing fails any more; what is closed leaves nothing behind. And
 * the next client is served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include "certificates.h"

#include <naru/naru.h>
#include <openssl/crypto.h>

enum { LARGE = 70000, CLIENT = 0, SERVER = 1 };
static char large[LARGE], buffer[LARGE];
static bool framed;

static struct {
    naru_stream_listener *sl;
    naru_channel_listener *cl;
    struct end {
        naru_stream *s;
        naru_channel *c;
        size_t sent, got; /* bytes */
        bool over;        /* failed, and was closed */
    } end[2];
} w;

static void close_end(struct end *e)
{
    e->s = naru_stream_close(e->s);
    e->c = naru_channel_close(e->c);
    e->over = true;
}

static bool there(const struct end *e)
{
    return e->s || e->c;
}

static bool listen_now(void)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = usual_server()};
    return fine(framed ? naru_channel_listen("tls://127.0.0.1:0", &o, &w.cl)
                       : naru_stream_listen("tls://127.0.0.1:0", &o, &w.sl));
}

static bool dial(void)
{
    const struct naru_stream_options so = {
        .size = sizeof so, .flags = NARU_CONNECTING, .tls = usual_client()};
    const struct naru_channel_options co = {
        .size = sizeof co, .flags = NARU_CONNECTING, .tls = usual_client()};
    struct end *e = &w.end[CLIENT];
    naru_stream *stream = POISON;
    naru_channel *channel = POISON;
    int r = framed ? naru_channel_connect(naru_url(w.cl), &co, NARU_NOWAIT, &channel)
                   : naru_stream_open(naru_url(w.sl), NARU_READ | NARU_WRITE, &so, NARU_NOWAIT,
                                      &stream);
    wrong_if(r < 0 && ((void *)stream != POISON || (void *)channel != POISON),
             "an out-parameter was touched");
    if (r == 0 && framed)
        e->c = channel;
    else if (r == 0)
        e->s = stream;
    return fine(r);
}

/* Whatever each end can do at once. */
static void step(struct end *e)
{
    long r;
    if (e->sent < LARGE) {
        r = framed ? naru_channel_send(e->c, 1, large, LARGE, NARU_NOWAIT)
                   : naru_stream_write(e->s, large + e->sent, LARGE - e->sent, NARU_NOWAIT);
        if (fine(r))
            e->sent += framed ? LARGE : (size_t)r;
        else if (r != -EAGAIN && r != -ENOMEM && r != -ENOBUFS)
            close_end(e);
    }
    if (there(e) && e->got < LARGE) {
        r = framed ? naru_channel_recv(e->c, 0, buffer, LARGE, NULL, NARU_NOWAIT)
                   : naru_stream_read(e->s, buffer, LARGE - e->got, NARU_NOWAIT);
        if (fine(r) && r > 0)
            wrong_if(memcmp(buffer, large + e->got, (size_t)r) != 0, "other bytes came");
        if (r > 0)
            e->got += (size_t)r;
        else if (r != -EAGAIN && r != -ENOMEM && r != -ENOBUFS)
            close_end(e);
    }
}

static bool done(const struct end *e)
{
    return e->over || (e->sent == LARGE && e->got == LARGE);
}

static void pump(int64_t until)
{
    struct end *server = &w.end[SERVER];
    do {
        if (!there(server) && !w.end[CLIENT].over) { /* it may be one that has left before */
            if (fine(framed ? naru_channel_accept(w.cl, NARU_NOWAIT, &server->c)
                            : naru_stream_accept(w.sl, NARU_NOWAIT, &server->s)))
                *server = (struct end){.s = server->s, .c = server->c};
        }
        for (int i = 0; i < 2; i++)
            if (there(&w.end[i]))
                step(&w.end[i]);
        if (w.end[CLIENT].over && !there(server))
            server->over = true; /* nobody comes any more */
    } while (!(done(&w.end[CLIENT]) && done(server)) && now() < until);
}

static void exchange(void)
{
    if (!listen_now() || !dial())
        return;
    if (framed) {
        (void)fine(naru_fd(w.end[CLIENT].c));
    } else {
        struct naru_peer peer = {.size = sizeof peer};
        (void)fine(naru_fd(w.end[CLIENT].s));
        (void)fine(naru_peer(w.end[CLIENT].s, &peer));
    }
    pump(now() + 30 * NARU_MS);
}

static bool listens(void)
{
    return w.sl || w.cl;
}

static void go_on(void)
{
    if (!listens() || !there(&w.end[CLIENT]))
        return;
    pump(now() + PATIENCE);
    for (int i = 0; i < 2; i++)
        wrong_if(!done(&w.end[i]), "an end has neither all that was sent nor an error");
}

/* Is the listener still of use? */
static void check_next(void)
{
    if (!listens() || strstr(naru_url(w.sl ? (void *)w.sl : (void *)w.cl), ":0") != NULL)
        return; /* its port could not be told */
    close_end(&w.end[CLIENT]);
    close_end(&w.end[SERVER]);
    memset(w.end, 0, sizeof w.end);
    wrong_if(!dial(), "the next client cannot connect");
    go_on();
    wrong_if(w.end[CLIENT].got != LARGE || w.end[SERVER].got != LARGE,
             "the next client is not served");
}

static bool point(int at, int code, bool for_ever, long *ret_points)
{
    const int before = open_descriptors();
    static char why[400];
    wrong = NULL;
    memset(&w, 0, sizeof w);
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    exchange();
    disarm();
    snprintf(why, sizeof why, "%s", naru_why());
    go_on();
    if (at < 0)
        wrong_if(w.end[CLIENT].got != LARGE || w.end[SERVER].got != LARGE, "it fails by itself");
    check_next();
    close_end(&w.end[CLIENT]);
    close_end(&w.end[SERVER]);
    naru_stream_listener_close(w.sl);
    naru_channel_listener_close(w.cl);
    alarm(0);
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    if (wrong && (counts || at < 0)) {
        print_message("# call %d (%s), errno number %d%s: %s; \"%s\"\n", at, hook->call, code,
                      for_ever ? ", for ever" : "", wrong, why);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

/* A handshake is milliseconds of arithmetic: each day a part of the places, with ALL all of them.
 */
static int stride_of(int parts)
{
    return getenv("ALL") ? 1 : parts;
}

static int today(int stride)
{
    return (int)(time(NULL) / 86400 % stride);
}

static void sweep(void **state)
{
    const int modes = getenv("ALL") ? 2 : 1, stride = stride_of(3);
    long points = 0;
    framed = *state != NULL;
    assert_true(point(-1, 0, false, &points));
    for (int mode = 0; mode < modes; mode++)
        for (int at = today(stride), reached = 1; reached; at += stride)
            for (int code = reached = 0; code < CODES_MAX && at < CALLS_MAX; code = next_code(code))
                reached |= point(at, code, mode == 1, &points);
    print_message("# %s: %ld points\n", framed ? "connection" : "stream", points);
    assert_true(points > 0);
}

/* ---- OpenSSL's memory ---- */

static bool memory_too;

static void *some(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return memory_too && naru__fault && naru__fault("alloc") ? NULL : malloc(n);
}

static void *more(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return memory_too && naru__fault && naru__fault("alloc") ? NULL : realloc(p, n);
}

static void none(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

/* Some thousand allocations. */
static void memory(void **state)
{
    const int stride = stride_of(149);
    long points = 0;
    (void)state;
    memory_too = true;
    for (int at = today(stride); point(at, 0, false, &points); at += stride)
        ;
    memory_too = false;
    print_message("# OpenSSL's memory: %ld points\n", points);
    assert_true(points > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"stream", sweep, NULL, NULL, NULL},
        {"connection", sweep, NULL, NULL, (void *)(uintptr_t) "framed"},
        {"memory", memory, NULL, NULL, NULL},
    };
    CRYPTO_set_mem_functions(some, more, none); /* before it allocates anything */
    make_usual();
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 2654435761u >> 13);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
