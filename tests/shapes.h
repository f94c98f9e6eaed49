/* SPDX-License-Identifier: MIT */
/* shapes.h - what conformance.c runs over: a shape is a transport and a noun, and how its two ends
 * are opened. A new transport adds its shapes here. */
#ifndef NARU_TESTS_SHAPES_H
#define NARU_TESTS_SHAPES_H

#include "certificates.h"
#include "harness.h"

#include <naru/naru.h>

#include <stdio.h>
#include <string.h>

/* Two ends of a conversation. Streams or channels; `out` sends to `in`. */
struct ends {
    naru_stream *s_out, *s_in;
    naru_channel *out, *in;
    naru_stream_listener *s_listener; /* of connected shapes */
    naru_channel_listener *listener;
};

enum {
    STREAM = 1,
    CHANNEL = 2,
    PAIR = 4,
    BOTH_WAYS = 8,
    SELECT = 16,
    NAMED = 32,
    TELLS_DEATH = 64,
    FRAMED = 128,  /* a channel whose messages naru frames: of any size, with sequence and sender */
    WATCHED = 256, /* the kernel tells when something has come */
    PRIORITY = 512,  /* the highest type first */
    CONNECTS = 1024, /* `out` connects, `in` is accepted */
    BOUND = 2048,    /* the name is of `in`'s socket, and goes with it */
    RAW = 4096,      /* datagrams: type 1 alone, and an end that tells no reason */
    LOSES = 8192,    /* the medium holds no sender back */
    SHARED = 16384, /* messages wait in memory that both see, not in a stash */
    LANES = 32768,  /* queues and topics there: no message is ever cut, none is lost with a death */
    TOPIC = 65536,
    ENDLESS = 131072 /* never full: it grows until the disk is */
};

struct shape {
    const char *name;
    int can;
    void (*open)(struct ends *, size_t max_message, size_t stash, unsigned max_taken);
    const char *url; /* of named ones: form with the directory; of pairs their kind */
};

static const struct shape *shape; /* of the running case */

static void open_stream_pair(struct ends *e, size_t a, size_t b, unsigned c)
{
    (void)a, (void)b, (void)c;
    expect_ok(naru_stream_pair(shape->url, NULL, &e->s_in, &e->s_out));
}

static void open_one_way(struct ends *e, size_t a, size_t b, unsigned c)
{
    struct naru_stream_options o = {.size = sizeof o, .direction = NARU_ONE_WAY};
    (void)a, (void)b, (void)c;
    expect_ok(naru_stream_pair(shape->url, &o, &e->s_in, &e->s_out));
}

static void open_fifo_stream(struct ends *e, size_t a, size_t b, unsigned c)
{
    const char *url = test_url("fifo:%s/s");
    (void)a, (void)b, (void)c;
    expect_ok(naru_stream_open(url, NARU_READ, NULL, NARU_NOWAIT, &e->s_in));
    expect_ok(naru_stream_open(url, NARU_WRITE, NULL, NARU_NOWAIT, &e->s_out));
}

static void open_two_way(struct ends *e, size_t a, size_t b, unsigned c)
{
    const char *url = test_url("fifo:%s/t");
    (void)a, (void)b, (void)c;
    expect_ok(naru_stream_open(url, NARU_READ | NARU_WRITE, NULL, NARU_NOWAIT, &e->s_out));
    expect_ok(naru_stream_open(url, NARU_READ | NARU_WRITE, NULL, NARU_NOWAIT, &e->s_in));
}

static void open_connection(struct ends *e, size_t max_message, size_t stash, unsigned max_taken)
{
    struct naru_channel_options o = {
        .size = sizeof o, .max_message = max_message, .stash = stash, .max_taken = max_taken};
    expect_ok(naru_channel_pair(shape->url, &o, &e->out, &e->in));
}

static void open_queue(struct ends *e, size_t max_message, size_t stash, unsigned max_taken)
{
    struct naru_queue_options o = {
        .size = sizeof o, .max_message = max_message, .stash = stash, .max_taken = max_taken};
    const char *url = test_url("fifo:%s/q");
    expect_ok(naru_queue_open(url, NARU_RECV, &o, &e->in));
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &e->out));
}

static size_t journal_segment; /* bytes; 0: the usual */

static void open_mq(struct ends *e, size_t max_message, size_t stash, unsigned max_taken)
{
    struct naru_queue_options o = {.size = sizeof o,
                                   .max_message = max_message,
                                   .stash = stash,
                                   .max_taken = max_taken,
                                   .capacity = journal_segment,
                                   .cancellable = strncmp(shape->url, "sysv", 4) == 0};
    const char *url = test_url(shape->url);
    expect_ok(naru_queue_open(url, NARU_RECV, &o, &e->in));
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &e->out));
}

/* Small buffers, so that a full one is met soon. */
enum { SOCKET_BYTES = 65536 };

/* A file each, since many are open at once. */
static const char *new_socket_url(void)
{
    static char url[256];
    static int count;
    snprintf(url, sizeof url, test_url(shape->url), ++count);
    return url;
}

/* One thread has both ends, so each has its part of the handshake in turn. */
static void shake_hands(struct ends *e)
{
    struct naru_peer peer[2] = {{.size = sizeof *peer}, {.size = sizeof *peer}};
    bool met = strncmp(shape->url, "tls:", 4) != 0;
    char byte;
    for (int64_t end = test_now() + PATIENCE; !met && test_now() < end;) {
        if (e->s_out) {
            expect_code(-EAGAIN, naru_stream_read(e->s_out, &byte, 1, NARU_NOWAIT));
            expect_code(-EAGAIN, naru_stream_read(e->s_in, &byte, 1, NARU_NOWAIT));
        } else {
            expect_code(-EAGAIN, naru_channel_recv(e->out, 0, &byte, 1, NULL, NARU_NOWAIT));
            expect_code(-EAGAIN, naru_channel_recv(e->in, 0, &byte, 1, NULL, NARU_NOWAIT));
        }
        expect_ok(naru_peer(e->s_out ? (void *)e->s_out : (void *)e->out, &peer[0]));
        expect_ok(naru_peer(e->s_in ? (void *)e->s_in : (void *)e->in, &peer[1]));
        met = strcmp(peer[0].subject, "CN=the server,O=naru") == 0 &&
              strcmp(peer[1].subject, "CN=the client,O=naru") == 0;
    }
    expect(met);
}

static void open_socket_stream(struct ends *e, size_t a, size_t b, unsigned c)
{
    struct naru_listen_options lo = {
        .size = sizeof lo, .capacity = SOCKET_BYTES, .tls = usual_server()};
    /* a handshake cannot be waited for by who has both ends */
    struct naru_stream_options o = {.size = sizeof o,
                                    .capacity = SOCKET_BYTES,
                                    .flags = NARU_CONNECTING,
                                    .tls = usual_client()};
    (void)a, (void)b, (void)c;
    expect_ok(naru_stream_listen(new_socket_url(), &lo, &e->s_listener));
    expect_ok(
        naru_stream_open(naru_url(e->s_listener), NARU_READ | NARU_WRITE, &o, PATIENCE, &e->s_out));
    expect_ok(naru_stream_accept(e->s_listener, PATIENCE, &e->s_in));
    shake_hands(e);
}

static void open_socket_connection(struct ends *e, size_t max_message, size_t stash,
                                   unsigned max_taken)
{
    struct naru_listen_options lo = {.size = sizeof lo,
                                     .capacity = SOCKET_BYTES,
                                     .max_message = max_message,
                                     .stash = stash,
                                     .max_taken = max_taken,
                                     .tls = usual_server()};
    struct naru_channel_options o = {.size = sizeof o,
                                     .capacity = SOCKET_BYTES,
                                     .max_message = max_message,
                                     .stash = stash,
                                     .max_taken = max_taken,
                                     .tls = usual_client()};
    if (strncmp(shape->url, "tls", 3) == 0)
        o.flags = NARU_CONNECTING;
    expect_ok(naru_channel_listen(new_socket_url(), &lo, &e->listener));
    expect_ok(naru_channel_connect(naru_url(e->listener), &o, PATIENCE, &e->out));
    expect_ok(naru_channel_accept(e->listener, PATIENCE, &e->in));
    shake_hands(e);
}

static void open_datagrams(struct ends *e, size_t max_message, size_t stash, unsigned max_taken)
{
    struct naru_queue_options o = {.size = sizeof o,
                                   .capacity = SOCKET_BYTES,
                                   .max_message = max_message,
                                   .stash = stash,
                                   .max_taken = max_taken};
    expect_ok(naru_queue_open(new_socket_url(), NARU_RECV, &o, &e->in));
    expect_ok(naru_queue_open(naru_url(e->in), NARU_SEND, &o, &e->out));
}

static void open_topic(struct ends *e, size_t max_message, size_t stash, unsigned max_taken)
{
    struct naru_topic_options o = {.size = sizeof o,
                                   .max_message = max_message,
                                   .stash = stash,
                                   .max_taken = max_taken,
                                   .capacity = journal_segment};
    const char *url = test_url(shape->url);
    expect_ok(naru_topic_open(url, NARU_RECV, &o, &e->in));
    expect_ok(naru_topic_open(url, NARU_SEND, &o, &e->out));
}

static const struct shape shapes[] = {
    {"stream pipe:", STREAM | PAIR | BOTH_WAYS | TELLS_DEATH | WATCHED, open_stream_pair, "pipe:"},
    {"stream pipe: one-way", STREAM | PAIR | TELLS_DEATH | WATCHED, open_one_way, "pipe:"},
    {"stream fifo:", STREAM | NAMED | WATCHED, open_fifo_stream, "fifo:%s/s"},
    {"stream fifo: two-way", STREAM | NAMED | BOTH_WAYS | WATCHED, open_two_way, "fifo:%s/t"},
    {"connection pipe:", CHANNEL | PAIR | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED,
     open_connection, "pipe:"},
    {"queue fifo:", CHANNEL | SELECT | NAMED | FRAMED | WATCHED, open_queue, "fifo:%s/q"},
    {"queue posix-mq:", CHANNEL | NAMED | WATCHED | PRIORITY, open_mq, "posix-mq:/%s-q"},
    {"queue sysv-mq:", CHANNEL | SELECT | NAMED, open_mq, "sysv-mq:%s#1"},
    {"stream unix: pair", STREAM | PAIR | BOTH_WAYS | TELLS_DEATH | WATCHED, open_stream_pair,
     "unix:"},
    {"stream unix: one-way", STREAM | PAIR | TELLS_DEATH | WATCHED, open_one_way, "unix:"},
    {"stream unix:", STREAM | CONNECTS | BOTH_WAYS | TELLS_DEATH | WATCHED, open_socket_stream,
     "unix:%s/s%%d"},
    {"connection unix: pair", CHANNEL | PAIR | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED,
     open_connection, "unix:"},
    {"connection unix:", CHANNEL | CONNECTS | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED,
     open_socket_connection, "unix:%s/c%%d"},
    {"stream tcp:", STREAM | CONNECTS | BOTH_WAYS | TELLS_DEATH | WATCHED, open_socket_stream,
     "tcp://127.0.0.1:0"},
    {"connection tcp:", CHANNEL | CONNECTS | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED,
     open_socket_connection, "tcp://[::1]:0"},
    {"stream tls:", STREAM | CONNECTS | BOTH_WAYS | TELLS_DEATH | WATCHED, open_socket_stream,
     "tls://127.0.0.1:0"},
    {"connection tls:", CHANNEL | CONNECTS | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED,
     open_socket_connection, "tls://[::1]:0"},
    {"connection unix+seqpacket: pair", CHANNEL | PAIR | BOTH_WAYS | TELLS_DEATH | WATCHED | RAW,
     open_connection, "unix+seqpacket:"},
    {"connection unix+seqpacket:", CHANNEL | CONNECTS | BOTH_WAYS | TELLS_DEATH | WATCHED | RAW,
     open_socket_connection, "unix+seqpacket:%s/p%%d"},
    {"connection shm: pair",
     CHANNEL | PAIR | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED | SHARED, open_connection,
     "shm:"},
    {"connection shm:",
     CHANNEL | CONNECTS | BOTH_WAYS | SELECT | TELLS_DEATH | FRAMED | WATCHED | SHARED,
     open_socket_connection, "shm:%s/s%%d"},
    {"queue shm:", CHANNEL | SELECT | NAMED | FRAMED | WATCHED | SHARED | LANES, open_mq,
     "shm:%s/q"},
    {"topic shm:", CHANNEL | SELECT | NAMED | FRAMED | WATCHED | LANES | TOPIC, open_topic,
     "shm:%s/t"},
    {"queue map:", CHANNEL | SELECT | NAMED | FRAMED | WATCHED | SHARED | LANES | ENDLESS, open_mq,
     "map:%s/j"},
    {"topic map:", CHANNEL | SELECT | NAMED | FRAMED | WATCHED | SHARED | LANES | TOPIC | ENDLESS,
     open_topic, "map:%s/k"},
    {"queue unix+dgram:", CHANNEL | WATCHED | RAW | BOUND, open_datagrams, "unix+dgram:%s/d%%d"},
    {"queue udp:", CHANNEL | WATCHED | RAW | BOUND | LOSES, open_datagrams, "udp://127.0.0.1:0"},
};

static struct ends e; /* of the running case */

/* ---- a sender in a child ---- */

static void *out_handle(void)
{
    return shape->can & STREAM ? (void *)e.s_out : (void *)e.out;
}

static void give_away(void)
{
    naru_stream_close(e.s_out);
    naru_channel_close(e.out);
    e.s_out = NULL;
    e.out = NULL;
}

static char listening[256]; /* the URL that a connecting child uses */

/* A child that becomes the sender: by its name, by connecting, or by adopting. */
static pid_t start_sender(void (*body)(void *), void *context)
{
    bool connects = shape->can & CONNECTS;
    if (connects || shape->can & (NAMED | BOUND))
        give_away();
    if (shape->can & BOUND)
        snprintf(listening, sizeof listening, "%s", naru_url(e.in));
    if (connects) {
        e.s_in = naru_stream_close(e.s_in);
        e.in = naru_channel_close(e.in);
        snprintf(listening, sizeof listening, "%s",
                 naru_url(e.s_listener ? (void *)e.s_listener : (void *)e.listener));
    }
    pid_t child = start_child(body, context);
    if (connects && shape->can & STREAM)
        expect_ok(naru_stream_accept(e.s_listener, PATIENCE, &e.s_in));
    else if (connects)
        expect_ok(naru_channel_accept(e.listener, PATIENCE, &e.in));
    give_away();
    return child;
}

/* In a child: adopts the sending end, or opens it by its name. */
static void open_sender(void)
{
    if (shape->can & PAIR)
        expect_ok(naru_adopt(out_handle()));
    else if (shape->can & CONNECTS && shape->can & STREAM)
        expect_ok(
            naru_stream_open(listening, NARU_READ | NARU_WRITE,
                             &(struct naru_stream_options){
                                 .size = sizeof(struct naru_stream_options), .tls = usual_client()},
                             PATIENCE, &e.s_out));
    else if (shape->can & CONNECTS)
        expect_ok(naru_channel_connect(
            listening,
            &(struct naru_channel_options){.size = sizeof(struct naru_channel_options),
                                           .tls = usual_client()},
            PATIENCE, &e.out));
    else if (shape->can & TOPIC)
        expect_ok(naru_topic_open(test_url(shape->url), NARU_SEND, NULL, &e.out));
    else if (shape->can & CHANNEL)
        expect_ok(naru_queue_open(shape->can & BOUND ? listening : test_url(shape->url), NARU_SEND,
                                  NULL, &e.out));
    else
        expect_ok(naru_stream_open(test_url(shape->url),
                                   shape->can & BOTH_WAYS ? NARU_READ | NARU_WRITE : NARU_WRITE,
                                   NULL, PATIENCE, &e.s_out));
}

#endif
