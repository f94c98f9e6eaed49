/* SPDX-License-Identifier: MIT */
/* grpc.c - naru's client against servers of HTTP/2 that say what the case wants, byte by byte: each
 * form of an answer, each moment at which it breaks off, and what HTTP/2 tells a client to heed.
 * Both are in one thread: the client is processed until it has done what it can. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
static const naru_route unary = {"test.T/One", 0, NULL};
static const naru_route stream = {"test.T/Many", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL};

/* ---- the server's bytes ---- */

struct bytes {
    uint8_t at[65536];
    size_t n;
};

static void put(struct bytes *b, const void *data, size_t n)
{
    expect(b->n + n <= sizeof b->at);
    memcpy(b->at + b->n, data, n);
    b->n += n;
}

static void frame(struct bytes *b, int kind, int flags, int on, const void *data, size_t n)
{
    const uint8_t head[9] = {
        (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)kind, (uint8_t)flags, 0, 0, 0,
        (uint8_t)on};
    put(b, head, sizeof head);
    if (n)
        put(b, data, n);
}

/* "name: value" a line, as literals (RFC 7541, 6.2.2). */
static void headers(struct bytes *b, int flags, int on, const char *lines)
{
    struct bytes list = {.n = 0};
    for (const char *line = lines; *line;) {
        const char *end = line + strcspn(line, "\n"), *colon = strstr(line + 1, ": ");
        const uint8_t sizes[2] = {(uint8_t)(colon - line), (uint8_t)(end - colon - 2)};
        put(&list, "", 1);
        put(&list, &sizes[0], 1);
        put(&list, line, sizes[0]);
        put(&list, &sizes[1], 1);
        put(&list, colon + 2, sizes[1]);
        line = *end ? end + 1 : end;
    }
    frame(b, HEADERS, flags | END_HEADERS, on, list.at, list.n);
}

#define BEGIN ":status: 200\ncontent-type: application/grpc\n"

static void message(struct bytes *b, int flags, int on, const char *text, int compressed)
{
    uint8_t data[1024] = {(uint8_t)compressed, 0, 0, 0, (uint8_t)strlen(text)};
    memcpy(data + 5, text, strlen(text));
    frame(b, DATA, flags, on, data, 5 + strlen(text));
}

/* ---- the two ---- */

struct world {
    char url[160];
    int listens, fd; /* the server's */
    naru_client *client;
    struct bytes in; /* of the client, not looked at yet */
};

struct outcome {
    int code, ends, messages;
    char text[256], message[64], header[64], trailer[64];
    size_t details;
    bool compressed;
};

static void on_message(naru_call *call, void *arg, const void *data, size_t size)
{
    struct outcome *o = arg;
    snprintf(o->message, sizeof o->message, "%.*s", (int)size, (const char *)data);
    o->compressed = naru_call_compressed(call);
    o->messages++;
}

static void on_end(naru_call *call, void *arg, const struct naru_status *status)
{
    struct outcome *o = arg;
    struct naru_metadata m;
    o->code = status->code;
    o->ends++;
    o->details = status->details_size;
    snprintf(o->text, sizeof o->text, "%s", status->message);
    if (naru_call_header(call, "h-bin", 0, &m) == 0)
        snprintf(o->header, sizeof o->header, "%.*s", (int)m.size, (const char *)m.value);
    if (naru_call_trailer(call, "t-bin", 1, &m) == 0)
        snprintf(o->trailer, sizeof o->trailer, "%.*s", (int)m.size, (const char *)m.value);
    naru_call_close(call);
}

static const struct naru_call_events events = {
    .size = sizeof events, .message = on_message, .end = on_end};

static int64_t stepped, gap; /* when the last time; the longest between two */

static void step(struct world *w)
{
    int64_t now = test_now();
    gap = now - stepped > gap ? now - stepped : gap;
    stepped = now;
    for (int i = 0; i < 8; i++)
        (void)naru_client_process(w->client, i == 0 ? NARU_MS : NARU_NOWAIT);
    ssize_t n = recv(w->fd, w->in.at + w->in.n, sizeof w->in.at - w->in.n, MSG_DONTWAIT);
    w->in.n += n > 0 ? (size_t)n : 0;
}

static void say(struct world *w, struct bytes *b)
{
    (void)send(w->fd, b->at, b->n, MSG_NOSIGNAL);
    b->n = 0;
}

/* How many frames of a kind have come, in all; ret_last: the last one's payload. */
static int seen(const struct world *w, int kind, int flags, int on, const uint8_t **ret_last)
{
    static const size_t preface = 24;
    int n = 0;
    for (size_t at = preface; at + 9 <= w->in.n;) {
        const uint8_t *head = w->in.at + at;
        size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (head[3] == kind && (head[4] & flags) == flags && (on < 0 || head[8] == on)) {
            n++;
            if (ret_last)
                *ret_last = head + 9;
        }
        at += 9 + size;
    }
    return n;
}

static void await_frames(struct world *w, int kind, int flags, int on, int n)
{
    for (int64_t end = test_now() + PATIENCE; seen(w, kind, flags, on, NULL) < n;) {
        expect(test_now() < end);
        step(w);
    }
}

static void await_end(struct world *w, const struct outcome *o)
{
    for (int64_t end = test_now() + PATIENCE; o->ends == 0;) {
        expect(test_now() < end);
        step(w);
    }
    expect(o->ends == 1);
}

static void accept_client(struct world *w, struct bytes *first)
{
    for (int64_t end = test_now() + PATIENCE;;) {
        (void)naru_client_process(w->client, NARU_MS);
        w->fd = accept4(w->listens, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (w->fd >= 0)
            break;
        expect(test_now() < end);
    }
    w->in.n = 0;
    if (first) {
        say(w, first);
        return;
    }
    struct bytes b = {.n = 0};
    frame(&b, SETTINGS, 0, 0, NULL, 0);
    say(w, &b);
}

static void open_world(struct world *w)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    expect(snprintf(a.sun_path, sizeof a.sun_path, "%s/s", test_directory) <
           (int)sizeof a.sun_path);
    snprintf(w->url, sizeof w->url, "grpc+unix:%s", a.sun_path);
    w->listens = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    w->in.n = 0;
    w->fd = -1;
    expect(bind(w->listens, (struct sockaddr *)&a, sizeof a) == 0 && listen(w->listens, 8) == 0);
    const struct naru_client_options options = {.size = sizeof options, .max_message = 1000};
    expect_ok(naru_client_open(w->url, &options, &w->client));
}

static naru_call *begin(struct world *w, const naru_route *route, struct outcome *o)
{
    naru_call *call;
    memset(o, 0, sizeof *o);
    expect_ok(naru_call_begin(w->client, route, NULL, &call));
    expect_ok(naru_call_on(call, &events, o));
    expect_ok(naru_call_send(call, "q", 1, NARU_NOWAIT));
    return call;
}

static void close_world(struct world *w)
{
    naru_client_close(w->client);
    close(w->fd);
    close(w->listens);
    expect_ok(naru_remove(w->url));
}

/* ---- each form of an answer ---- */

struct answer {
    const char *name;
    int code;
    const char *text; /* in the status's; of an answer that is well, the message */
    void (*say)(struct bytes *);
};

static void whole(struct bytes *b)
{
    headers(b, 0, 1, BEGIN "h-bin: aGVhZA\n");
    message(b, 0, 1, "yes", 0);
    headers(b, END_STREAM, 1, "grpc-status: 0\nt-bin: YQ==,Yg\n");
}

static void byte_by_byte(struct bytes *b)
{
    struct bytes m = {.n = 0};
    message(&m, 0, 1, "yes", 0);
    headers(b, 0, 1, BEGIN);
    for (size_t i = 9; i < m.n; i++) {
        frame(b, DATA, 0, 1, NULL, 0);
        frame(b, DATA, 0, 1, m.at + i, 1);
    }
    headers(b, END_STREAM, 1, "grpc-status: 0\n");
}

static void informed_before(struct bytes *b)
{
    headers(b, 0, 1, ":status: 103\nlink: x\n");
    whole(b);
}

static void no_reset_is_needed(struct bytes *b)
{
    whole(b);
    frame(b, RST, 0, 1, "\0\0\0\0", 4);
}

static void gzipped(struct bytes *b)
{
    static const uint8_t yes[] = {0x1f, 0x8b, 0x8,  0x0,  0x0,  0x0, 0x0, 0x0,
                                  0x2,  0x3,  0xab, 0x4c, 0x2d, 0x6, 0x0, 0xa9,
                                  0x35, 0xe7, 0x75, 0x3,  0x0,  0x0, 0x0};
    uint8_t m[5 + sizeof yes] = {1, 0, 0, 0, sizeof yes};
    memcpy(m + 5, yes, sizeof yes);
    headers(b, 0, 1, BEGIN "grpc-encoding: gzip\n");
    frame(b, DATA, 0, 1, m, sizeof m);
    headers(b, END_STREAM, 1, "grpc-status: 0\n");
}

static void trailers_only(struct bytes *b)
{
    headers(b, END_STREAM, 1,
            BEGIN "grpc-status: 5\ngrpc-message: not%20%E2%98%BA here%\n"
                  "grpc-status-details-bin: AAEC\n");
}

static void said_anew(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    headers(b, END_STREAM, 1, "grpc-status: 99\n");
}

static void no_number(struct bytes *b)
{
    headers(b, END_STREAM, 1, BEGIN "grpc-status: five\n");
}

static void no_status(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    message(b, END_STREAM, 1, "yes", 0);
}

static void no_answer(struct bytes *b)
{
    headers(b, END_STREAM, 1, BEGIN "grpc-status: 0\n");
}

static void two_answers(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    message(b, 0, 1, "yes", 0);
    message(b, 0, 1, "no", 0);
}

static void http_503(struct bytes *b)
{
    headers(b, 0, 1, ":status: 503\ncontent-type: text/html\n");
    frame(b, DATA, END_STREAM, 1, "<html>", 6);
}

static void http_404(struct bytes *b)
{
    headers(b, END_STREAM, 1, ":status: 404\n");
}

static void http_401(struct bytes *b)
{
    headers(b, END_STREAM, 1, ":status: 401\n");
}

static void a_page(struct bytes *b)
{
    headers(b, 0, 1, ":status: 200\ncontent-type: text/html\n");
    frame(b, DATA, END_STREAM, 1, "<html>", 6);
}

static void http_with_status(struct bytes *b) /* which counts */
{
    headers(b, END_STREAM, 1, ":status: 503\ncontent-type: application/grpc\ngrpc-status: 8\n");
}

static void unsaid_compression(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    message(b, 0, 1, "yes", 1);
}

static void strange_encoding(struct bytes *b)
{
    headers(b, 0, 1, BEGIN "grpc-encoding: snappy\n");
}

static void junk(struct bytes *b)
{
    headers(b, 0, 1, BEGIN "grpc-encoding: gzip\n");
    message(b, 0, 1, "yes", 1);
}

static void too_large(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    frame(b, DATA, 0, 1, "\0\0\0\x03\xe9", 5); /* 1001 */
}

static void strange_flag(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    message(b, 0, 1, "yes", 2);
}

static void bad_metadata(struct bytes *b)
{
    headers(b, 0, 1, BEGIN);
    message(b, 0, 1, "yes", 0);
    headers(b, END_STREAM, 1, "grpc-status: 0\nt-bin: !!\n");
}

static const struct answer answers[] = {
    {"whole", 0, "yes", whole},
    {"byte by byte", 0, "yes", byte_by_byte},
    {"informed before", 0, "yes", informed_before},
    {"a reset behind the status", 0, "yes", no_reset_is_needed},
    {"compressed", 0, "yes", gzipped},
    {"trailers only", NARU_STATUS_NOT_FOUND, "not \xe2\x98\xba here%", trailers_only},
    {"a status that is none", NARU_STATUS_UNKNOWN, "", said_anew},
    {"a status that is no number", NARU_STATUS_UNKNOWN, "", no_number},
    {"no status", NARU_STATUS_UNKNOWN, "without a status", no_status},
    {"no answer", NARU_STATUS_INTERNAL, "sent no answer", no_answer},
    {"two answers", NARU_STATUS_INTERNAL, "answers twice", two_answers},
    {"503", NARU_STATUS_UNAVAILABLE, "503", http_503},
    {"404", NARU_STATUS_UNIMPLEMENTED, "404", http_404},
    {"401", NARU_STATUS_UNAUTHENTICATED, "401", http_401},
    {"a page", NARU_STATUS_UNKNOWN, "not gRPC", a_page},
    {"503 with a status", NARU_STATUS_RESOURCE_EXHAUSTED, "", http_with_status},
    {"compression that was not said", NARU_STATUS_INTERNAL, "grpc-encoding", unsaid_compression},
    {"an encoding that is not known", NARU_STATUS_INTERNAL, "grpc-encoding", strange_encoding},
    {"what cannot be inflated", NARU_STATUS_INTERNAL, "inflated", junk},
    {"a message that is too large", NARU_STATUS_RESOURCE_EXHAUSTED, ".max_message is 1000",
     too_large},
    {"a flag that is none", NARU_STATUS_INTERNAL, "neither 0 nor 1", strange_flag},
    {"metadata that is none", NARU_STATUS_INTERNAL, "metadata", bad_metadata},
};

static void each_answer(void)
{
    static struct world w;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct answer *a = &answers[i];
        struct bytes b = {.n = 0};
        struct outcome o;
        open_world(&w);
        begin(&w, &unary, &o);
        accept_client(&w, NULL);
        await_frames(&w, HEADERS, 0, 1, 1);
        a->say(&b);
        say(&w, &b);
        await_end(&w, &o);
        const char *is = a->code == 0 ? o.message : o.text;
        if (o.code != a->code || !strstr(is, a->text))
            test_failed(__FILE__, __LINE__, "%s: %d \"%s\"", a->name, o.code, is);
        if (a->say == whole)
            expect(strcmp(o.trailer, "b") == 0 && strcmp(o.header, "head") == 0);
        if (a->say == trailers_only)
            expect(o.details == 3);
        expect(o.compressed == (a->say == gzipped));
        if (a->code == 0) { /* and the connection is as good as before */
            begin(&w, &unary, &o);
            await_frames(&w, HEADERS, 0, 3, 1);
            headers(&b, END_STREAM, 3, BEGIN "grpc-status: 7\n");
            say(&w, &b);
            await_end(&w, &o);
            expect(o.code == NARU_STATUS_PERMISSION_DENIED);
        }
        close_world(&w);
    }
}

/* ---- RST_STREAM with each code, at each moment ---- */

static const struct {
    int code, status;
} resets[] = {
    {0, NARU_STATUS_INTERNAL},
    {1, NARU_STATUS_INTERNAL},
    {2, NARU_STATUS_INTERNAL},
    {3, NARU_STATUS_INTERNAL},
    {6, NARU_STATUS_INTERNAL},
    {7, NARU_STATUS_UNAVAILABLE},
    {8, NARU_STATUS_CANCELLED},
    {9, NARU_STATUS_INTERNAL},
    {11, NARU_STATUS_RESOURCE_EXHAUSTED},
    {12, NARU_STATUS_PERMISSION_DENIED},
};

static void reset_at_each_moment(void)
{
    static struct world w;
    open_world(&w);
    int on = 1;
    for (size_t i = 0; i < sizeof resets / sizeof *resets; i++)
        for (int moment = 0; moment < 4; moment++, on += 2) {
            const uint8_t code[4] = {0, 0, 0, (uint8_t)resets[i].code};
            struct bytes b = {.n = 0};
            struct outcome o;
            begin(&w, &stream, &o);
            if (on == 1)
                accept_client(&w, NULL);
            await_frames(&w, HEADERS, 0, on, 1);
            if (moment > 0)
                headers(&b, 0, on, BEGIN);
            if (moment > 1)
                message(&b, 0, on, "one", 0);
            if (moment > 2) /* and the beginning of another */
                frame(&b, DATA, 0, on, "\0\0\0\0\x09xy", 7);
            frame(&b, RST, 0, on, code, 4);
            say(&w, &b);
            await_end(&w, &o);
            if (o.code != resets[i].status || o.messages != (moment > 1))
                test_failed(__FILE__, __LINE__, "code %d at moment %d: %d, %d messages",
                            resets[i].code, moment, o.code, o.messages);
        }
    close_world(&w);
}

/* ---- GOAWAY ---- */

/* Streams 1 and 3 of one connection. */
static void begin_two(struct world *w, struct outcome *first, struct outcome *second)
{
    open_world(w);
    begin(w, &stream, first);
    accept_client(w, NULL);
    await_frames(w, HEADERS, 0, 1, 1);
    begin(w, &stream, second);
    await_frames(w, HEADERS, 0, 3, 1);
}

/* What the server has taken goes on; what it has not goes to the next connection. */
static void goaway(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome first, second, third;
    begin_two(&w, &first, &second);
    frame(&b, GOAWAY, 0, 0, "\0\0\0\x01\0\0\0\0", 8);
    say(&w, &b);
    await_end(&w, &second);
    expect(second.code == NARU_STATUS_UNAVAILABLE && first.ends == 0);
    begin(&w, &stream, &third);
    struct world other = w;
    accept_client(&other, NULL);
    await_frames(&other, HEADERS, 0, 1, 1);
    headers(&b, 0, 1, BEGIN);
    message(&b, 0, 1, "late", 0);
    headers(&b, END_STREAM, 1, "grpc-status: 0\n");
    say(&w, &b);
    await_end(&w, &first);
    expect(first.code == 0 && strcmp(first.message, "late") == 0);
    for (int64_t end = test_now() + PATIENCE; recv(w.fd, &b, 1, MSG_DONTWAIT) != 0;) {
        expect(test_now() < end); /* drained: the client has closed it */
        step(&other);
    }
    b.n = 0;
    headers(&b, END_STREAM, 1, BEGIN "grpc-status: 3\n");
    say(&other, &b);
    await_end(&other, &third);
    expect(third.code == NARU_STATUS_INVALID_ARGUMENT);
    close(w.fd);
    close_world(&other);
}

/* Why a client is sent away is told to each of its calls. */
static void sent_away(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome first, second;
    begin_two(&w, &first, &second);
    frame(&b, GOAWAY, 0, 0,
          "\0\0\0\x01\0\0\0\x0b"
          "enough",
          14);
    say(&w, &b);
    shutdown(w.fd, SHUT_WR);
    await_end(&w, &first);
    await_end(&w, &second);
    expect(strstr(first.text, "enough (ENHANCE_YOUR_CALM)"));
    expect(strstr(second.text, "enough (ENHANCE_YOUR_CALM)"));
    close_world(&w);
}

/* A connection that ends fails its calls at once; the next call has the next one. */
static void cut_off(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    open_world(&w);
    for (int moment = 0; moment < 3; moment++) {
        begin(&w, &stream, &o);
        accept_client(&w, NULL);
        await_frames(&w, HEADERS, 0, 1, 1);
        if (moment > 0)
            headers(&b, 0, 1, BEGIN);
        if (moment > 1)
            frame(&b, DATA, 0, 1, "\0\0\0\0\x09xy", 7);
        say(&w, &b);
        close(w.fd);
        w.fd = -1;
        for (int64_t end = test_now() + PATIENCE; o.ends == 0; expect(test_now() < end))
            (void)naru_client_process(w.client, NARU_MS);
        expect(o.code == NARU_STATUS_UNAVAILABLE);
    }
    close_world(&w);
}

static void no_http2(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    open_world(&w);
    put(&b, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    begin(&w, &unary, &o);
    accept_client(&w, &b);
    await_end(&w, &o);
    expect(o.code == NARU_STATUS_UNAVAILABLE);
    close_world(&w);
}

/* ---- what is to be heeded ---- */

static void pings_are_answered(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    const uint8_t *pong = NULL;
    open_world(&w);
    begin(&w, &stream, &o);
    accept_client(&w, NULL);
    frame(&b, PING, 0, 0, "12345678", 8);
    frame(&b, PING, ACK, 0, "unasked!", 8);
    say(&w, &b);
    await_frames(&w, PING, ACK, 0, 1);
    expect(seen(&w, PING, ACK, 0, &pong) == 1 && memcmp(pong, "12345678", 8) == 0);
    close_world(&w);
}

static void calls_wait_for_room(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o[3];
    open_world(&w);
    for (int i = 0; i < 3; i++)
        begin(&w, &unary, &o[i]);
    frame(&b, SETTINGS, 0, 0, "\0\3\0\0\0\1", 6); /* MAX_CONCURRENT_STREAMS */
    accept_client(&w, &b);
    for (int i = 0; i < 3; i++) {
        await_frames(&w, HEADERS, 0, 2 * i + 1, 1);
        for (int k = 0; k < 5; k++)
            step(&w);
        expect(seen(&w, HEADERS, 0, -1, NULL) == i + 1);
        headers(&b, END_STREAM, 2 * i + 1, BEGIN "grpc-status: 6\n");
        say(&w, &b);
        await_end(&w, &o[i]);
        expect(o[i].code == NARU_STATUS_ALREADY_EXISTS);
    }
    close_world(&w);
}

static void windows_are_kept(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    open_world(&w);
    begin(&w, &unary, &o);
    frame(&b, SETTINGS, 0, 0, "\0\4\0\0\0\0", 6); /* INITIAL_WINDOW_SIZE */
    accept_client(&w, &b);
    await_frames(&w, HEADERS, 0, 1, 1);
    for (int i = 0; i < 5; i++)
        step(&w);
    expect(seen(&w, DATA, 0, 1, NULL) == 0);
    frame(&b, WINDOW, 0, 1, "\0\0\0\5", 4);
    say(&w, &b);
    await_frames(&w, DATA, 0, 1, 1);
    expect(seen(&w, DATA, END_STREAM, 1, NULL) == 0); /* a byte is missing */
    frame(&b, WINDOW, 0, 1, "\0\0\0\1", 4);
    say(&w, &b);
    await_frames(&w, DATA, END_STREAM, 1, 1);
    close_world(&w);
}

static long resident_bytes(void)
{
    long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    expect(f && fscanf(f, "%ld %ld", &size, &resident) == 2);
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

/* A server that takes as much as there is window, or a socket's buffer, for: something always waits
 * for it, and what has gone is to give its memory back all the same. */
static void always_behind(bool by_window)
{
    enum { ROUNDS = 4000, STEP = 16384, MOST = 16 << 20 };
    static struct world w;
    static char text[1000], sink[1 << 20];
    struct bytes b = {.n = 0};
    struct outcome o;
    long before = 0, sent = 0;
    open_world(&w);
    naru_call *call = begin(&w, &stream, &o);
    frame(&b, SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff", by_window ? 0 : 6);
    if (!by_window)
        frame(&b, WINDOW, 0, 0, "\x7f\xfe\0\0", 4);
    accept_client(&w, &b);
    await_frames(&w, HEADERS, 0, 1, 1);
    for (int i = 0; i < ROUNDS; i++) {
        while (naru_call_send(call, text, sizeof text, NARU_NOWAIT) == 0)
            sent += (long)sizeof text;
        if (by_window) {
            frame(&b, WINDOW, 0, 0, "\0\0\x40\0", 4);
            frame(&b, WINDOW, 0, 1, "\0\0\x40\0", 4);
            say(&w, &b);
        }
        for (int k = 0; k < 4; k++)
            (void)naru_client_process(w.client, NARU_NOWAIT);
        (void)recv(w.fd, sink, by_window ? sizeof sink : STEP, MSG_DONTWAIT);
        if (i == ROUNDS / 8)
            before = resident_bytes();
    }
    printf("# %ld MB went, and memory grew by %ld KiB\n", sent / 1000000,
           (resident_bytes() - before) / 1024);
    expect(sent > 3L * MOST && resident_bytes() - before < MOST);
    close_world(&w);
}

static void behind_a_window(void)
{
    always_behind(true);
}

static void behind_a_socket(void)
{
    always_behind(false);
}

static void given_up(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    const uint8_t *code = NULL;
    open_world(&w);
    naru_call *call = begin(&w, &stream, &o);
    accept_client(&w, NULL);
    await_frames(&w, HEADERS, 0, 1, 1);
    expect_ok(naru_call_cancel(call));
    await_end(&w, &o);
    await_frames(&w, RST, 0, 1, 1);
    expect(seen(&w, RST, 0, 1, &code) == 1 && code[3] == 8);
    headers(&b, 0, 1, BEGIN); /* what was on its way is dropped */
    message(&b, 0, 1, "late", 0);
    headers(&b, END_STREAM, 1, "grpc-status: 0\n");
    say(&w, &b);
    begin(&w, &unary, &o);
    await_frames(&w, HEADERS, 0, 3, 1);
    headers(&b, END_STREAM, 3, BEGIN "grpc-status: 6\n");
    say(&w, &b);
    await_end(&w, &o);
    expect(o.code == NARU_STATUS_ALREADY_EXISTS && o.messages == 0);
    close_world(&w);
}

/* A server that ends first does not want what still could come. */
static void ended_early(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    const uint8_t *code = NULL;
    open_world(&w);
    begin(&w, &stream, &o);
    accept_client(&w, NULL);
    await_frames(&w, HEADERS, 0, 1, 1);
    headers(&b, END_STREAM, 1, BEGIN "grpc-status: 0\n");
    say(&w, &b);
    await_end(&w, &o);
    expect(o.code == 0);
    await_frames(&w, RST, 0, 1, 1);
    expect(seen(&w, RST, 0, 1, &code) == 1 && code[3] == 0);
    close_world(&w);
}

/* Who could not run so long may have been too late with its answers. */
static bool held_back(void)
{
    return gap > NARU_S / 5 || test_now() - stepped > NARU_S / 5;
}

/* Asked when it is silent, and lost when it stays so; an answer counts as life. */
static bool kept_alive(void)
{
    static struct world w;
    struct bytes b = {.n = 0};
    struct outcome o;
    const uint8_t *ping = NULL;
    open_world(&w);
    naru_client_close(w.client);
    const struct naru_client_options options = {.size = sizeof options, .keepalive = NARU_S};
    expect_ok(naru_client_open(w.url, &options, &w.client));
    begin(&w, &unary, &o);
    accept_client(&w, NULL);
    await_frames(&w, HEADERS, 0, 1, 1);
    headers(&b, END_STREAM, 1, BEGIN "grpc-status: 6\n");
    say(&w, &b);
    await_end(&w, &o);
    usleep(1100000); /* without a call nobody is asked, and silence does not count */
    int64_t began = test_now();
    stepped = began;
    gap = 0;
    begin(&w, &stream, &o);
    await_frames(&w, HEADERS, 0, 3, 1);
    expect(seen(&w, PING, 0, 0, NULL) == 0 || held_back());
    for (int i = 1; i <= 2; i++) {
        while (o.ends == 0 && seen(&w, PING, 0, 0, NULL) < i && test_now() < began + PATIENCE)
            step(&w);
        if (o.ends > 0 && held_back()) {
            close_world(&w);
            return false;
        }
        expect(o.ends == 0);
        expect(seen(&w, PING, 0, 0, &ping) == i);
        frame(&b, PING, ACK, 0, ping, 8);
        say(&w, &b);
    }
    await_end(&w, &o);
    expect(test_now() - began >= 1500 * NARU_MS);
    expect(o.code == NARU_STATUS_UNAVAILABLE && strstr(o.text, "PING"));
    close_world(&w);
    return true;
}

static void keepalive(void)
{
    for (int tries = 0; !kept_alive(); tries++)
        expect(tries < 8);
}

/* How often a client may ask is the server's to say: GOAWAY says that it was too often. */
static void ping_interval(void)
{
    static struct world w;
    for (int allowed = 0; allowed < 2; allowed++) {
        const struct naru_server_options options = {.size = sizeof options,
                                                    .ping_interval = allowed};
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        struct bytes b = {.n = 0};
        naru_server *server;
        expect(snprintf(a.sun_path, sizeof a.sun_path, "%s/s", test_directory) <
               (int)sizeof a.sun_path);
        expect_ok(naru_server_new(&options, &server));
        expect_ok(naru_server_listen(server, test_url("grpc+unix:%s/s")));
        w.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        expect(connect(w.fd, (struct sockaddr *)&a, sizeof a) == 0);
        put(&b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        frame(&b, SETTINGS, 0, 0, NULL, 0);
        for (int i = 0; i < 10; i++)
            frame(&b, PING, 0, 0, "12345678", 8);
        say(&w, &b);
        w.in.n = 24; /* which a server does not send */
        for (int64_t end = test_now() + PATIENCE; test_now() < end;) {
            (void)naru_server_process(server, 5 * NARU_MS);
            ssize_t n = recv(w.fd, w.in.at + w.in.n, sizeof w.in.at - w.in.n, MSG_DONTWAIT);
            w.in.n += n > 0 ? (size_t)n : 0;
            if (seen(&w, PING, ACK, 0, NULL) == 10 || seen(&w, GOAWAY, 0, 0, NULL) == 1)
                break;
        }
        expect(!allowed || seen(&w, PING, ACK, 0, NULL) == 10);
        expect(seen(&w, GOAWAY, 0, 0, NULL) == !allowed);
        close(w.fd);
        naru_server_close(server);
    }
}

static const struct test_case cases[] = {
    {"each form of an answer", each_answer},
    {"RST_STREAM at each moment", reset_at_each_moment},
    {"GOAWAY", goaway},
    {"a client that is sent away", sent_away},
    {"a connection that is cut off", cut_off},
    {"what is no HTTP/2", no_http2},
    {"PING", pings_are_answered},
    {"keepalive", keepalive},
    {"how often a client may ask", ping_interval},
    {"MAX_CONCURRENT_STREAMS", calls_wait_for_room},
    {"a window", windows_are_kept},
    {"always behind a window", behind_a_window},
    {"always behind a socket", behind_a_socket},
    {"a call that is given up", given_up},
    {"a server that ends first", ended_early},
};

int main(int argc, char **argv)
{
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
