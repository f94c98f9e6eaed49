/* SPDX-License-Identifier: MIT */
/* adapters-call.c - calls of a sum of two integers, over each carrier, beside the same over a bare
 * unix socket: both write what was begun in one, and read what there is. */
#include "bench/adapters.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct sum_of {
    uint64_t a, b;
};

enum { WORDS = 8 }; /* of a message of a stream that is answered: a, b, and 48 bytes more */

/* ---- a bare socket ---- */

struct question {
    uint64_t id, a, b;
};
struct reply {
    uint64_t id, sum;
};

static int sockets[2], fd;
static char out[65536];
static size_t n_out;

static int raw_setup(void)
{
    return socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0
               ? bench_say("socketpair: %s", strerror(errno))
               : 0;
}

static int raw_attach(int side)
{
    fd = sockets[side];
    n_out = 0;
    return close(sockets[!side]);
}

static int write_out(void)
{
    for (size_t at = 0; at < n_out;) {
        ssize_t w = write(fd, out + at, n_out - at);
        if (w <= 0)
            return bench_say("write: %s", strerror(errno));
        at += (size_t)w;
    }
    n_out = 0;
    return 0;
}

static int put_out(const void *data, size_t n)
{
    if (n_out + n > sizeof out && write_out())
        return -1;
    memcpy(out + n_out, data, n);
    n_out += n;
    return 0;
}

/* Whole records of n bytes, as many as there are; 0 at the end. */
static ssize_t read_records(void *buf, size_t size, size_t n)
{
    size_t got = 0;
    do {
        ssize_t r = read(fd, (char *)buf + got, size / n * n - got);
        if (r <= 0)
            return r == 0 && got == 0 ? 0 : bench_say("read: %s", strerror(errno));
        got += (size_t)r;
    } while (got % n);
    return (ssize_t)(got / n);
}

static int raw_serve(void)
{
    static struct question in[2048];
    ssize_t n;
    while ((n = read_records(in, sizeof in, sizeof *in)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (put_out(&(struct reply){in[i].id, in[i].a + in[i].b}, sizeof(struct reply)))
                return -1;
        if (write_out())
            return -1;
    }
    return (int)n;
}

static int raw_start(uint64_t number)
{
    return put_out(&(struct question){number, number, 1}, sizeof(struct question));
}

static int raw_harvest(void)
{
    static struct reply in[2048];
    ssize_t n = write_out() ? -1 : read_records(in, sizeof in, sizeof *in);
    for (ssize_t i = 0; i < n; i++)
        if (bench_called(in[i].id, in[i].sum))
            return -1;
    return n > 0 ? 0 : n == 0 ? bench_say("the server is gone") : -1;
}

static int raw_finish(void)
{
    return shutdown(fd, SHUT_WR);
}

static void raw_detach(int side)
{
    (void)side;
    close(fd);
}

const struct adapter bench_raw_call = {
    .name = "bare unix socket, call",
    .url = "unix:",
    .setup = raw_setup,
    .attach = raw_attach,
    .start = raw_start,
    .harvest = raw_harvest,
    .serve = raw_serve,
    .finish = raw_finish,
    .detach = raw_detach,
};

/* ---- naru ---- */

static const naru_route add_route = {"bench.Sums/Add", NARU_IDEMPOTENT, NULL};
static const naru_route stop_route = {"bench.Sums/Stop", 0, NULL};
static naru_channel *ends[2];
static char url[512]; /* of what has no pairs */
static naru_server *server;
static naru_client *client;
static bool server_side;

static int add(naru_call *call, void *self, const void *request, size_t size)
{
    struct sum_of in;
    (void)self;
    if (size != sizeof in)
        return -EINVAL;
    memcpy(&in, request, sizeof in);
    uint64_t sum = in.a + in.b;
    return naru_call_send(call, &sum, sizeof sum, NARU_FOREVER);
}

static int stop(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self, (void)request, (void)size;
    naru_server_shutdown(server, NARU_S);
    return naru_call_send(call, "", 0, NARU_FOREVER);
}

/* Of echoes: side 1 takes a request out of its handler, and answers later. */
static naru_call *asked;
static void *asked_data;

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self;
    if (size != bench_size || asked)
        return -EINVAL;
    memcpy(asked_data, request, size);
    asked = call;
    return NARU_LATER;
}

/* Of streams: what the harness does in the handler. */
static void (*in_handler)(void);

static int stream(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self, (void)request, (void)size;
    asked = call;
    in_handler();
    return naru_call_method(call)->flags & NARU_SERVER_STREAMS
               ? NARU_STATUS_OK
               : naru_call_send(call, "", 0, NARU_FOREVER);
}

/* One answer to each message of a stream. */
static int add_all(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_payload p;
    int r;
    (void)self, (void)request, (void)size;
    while ((r = naru_call_take(call, NARU_FOREVER, &p)) > 0) {
        uint64_t words[WORDS];
        if (p.size != sizeof words)
            return -EINVAL;
        memcpy(words, p.data, sizeof words);
        naru_call_release(call, &p);
        words[0] += words[1];
        r = naru_call_send(call, words, sizeof words, NARU_FOREVER);
        if (r < 0)
            return r;
    }
    return r;
}

static const naru_method methods[] = {
    {"Add", 0, add, NULL, NULL},
    {"Stop", 0, stop, NULL, NULL},
    {"Echo", 0, echo, NULL, NULL},
    {"Up", NARU_CLIENT_STREAMS, stream, NULL, NULL},
    {"Down", NARU_SERVER_STREAMS, stream, NULL, NULL},
    {"AddAll", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, add_all, NULL, NULL},
};
static const naru_service sums = {.size = sizeof sums,
                                  .name = "bench.Sums",
                                  .methods = methods,
                                  .n = sizeof methods / sizeof *methods};

static int pair(const char *kind)
{
    url[0] = '\0';
    return naru_channel_pair(kind, NULL, &ends[0], &ends[1]) < 0 ? bench_naru_failed() : 0;
}

static int shm_setup(void)
{
    return pair("shm:");
}

static int unix_setup(void)
{
    return pair("unix:");
}

static int pipe_setup(void)
{
    return pair("pipe:");
}

static int at_port(const char *form)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(s, (struct sockaddr *)&a, n) < 0 || getsockname(s, (struct sockaddr *)&a, &n) < 0)
        return bench_say("TCP: %s", strerror(errno));
    snprintf(url, sizeof url, form, ntohs(a.sin_port));
    return close(s);
}

static int tcp_setup(void)
{
    return at_port("tcp://127.0.0.1:%d");
}

static int grpc_setup(void)
{
    return at_port("grpc://127.0.0.1:%d");
}

static int grpc_unix_setup(void)
{
    snprintf(url, sizeof url, "grpc+unix:%s/grpc", bench_directory);
    return 0;
}

enum { LARGEST = 1 << 20 };

static int open_server(void)
{
    int r = naru_server_new(NULL, &server);
    if (r == 0)
        r = naru_server_add(server, &sums, NULL);
    if (r == 0)
        r = url[0] ? naru_server_listen(server, url) : naru_server_attach(server, ends[1]);
    return r < 0 ? bench_naru_failed() : 0;
}

static int open_client(void)
{
    const struct naru_client_options o = {.size = sizeof o, .flags = NARU_WAIT_FOR_READY};
    int r = url[0] ? naru_client_open(url, &o, &client) : naru_client_attach(ends[0], &o, &client);
    return r < 0 ? bench_naru_failed() : 0;
}

static int attach(int side)
{
    if (!url[0]) {
        if (naru_adopt(ends[side]) < 0)
            return bench_naru_failed();
        naru_channel_close(ends[!side]);
    }
    return side == 1 ? open_server() : open_client();
}

static int serve(void)
{
    return naru_server_run(server) < 0 ? bench_naru_failed() : 0;
}

static int call_and_wait(uint64_t number)
{
    const struct sum_of request = {number, 1};
    const struct naru_call_options o = {.size = sizeof o, .flags = NARU_IN_PLACE};
    struct naru_payload reply;
    uint64_t sum;
    if (naru_client_invoke(client, &add_route, &request, sizeof request, &o, &reply) < 0)
        return bench_naru_failed();
    if (reply.size != sizeof sum)
        return bench_say("a reply of %zu bytes", reply.size);
    memcpy(&sum, reply.data, sizeof sum);
    naru_client_release(client, &reply);
    return bench_called(number, sum);
}

static int failed;

static void came(naru_call *call, void *arg, const void *data, size_t size)
{
    uint64_t sum = 0;
    (void)call;
    if (size == sizeof sum)
        memcpy(&sum, data, size);
    if (bench_called((uint64_t)(uintptr_t)arg, sum))
        failed = -1;
}

static void ended(naru_call *call, void *arg, const struct naru_status *status)
{
    (void)arg;
    if (status->code != NARU_STATUS_OK)
        failed = bench_say("a call ended with %d: %s", status->code, status->message);
    naru_call_close(call);
}

static int start(uint64_t number)
{
    static const struct naru_call_events events = {
        .size = sizeof events, .message = came, .end = ended};
    const struct sum_of request = {number, 1};
    naru_call *call;
    if (bench_size == 1) /* one at a time is waited for */
        return call_and_wait(number);
    if (naru_call_begin(client, &add_route, NULL, &call) < 0 ||
        naru_call_on(call, &events, (void *)(uintptr_t)number) < 0)
        return bench_naru_failed();
    int r = naru_call_send(call, &request, sizeof request, NARU_NOWAIT);
    while (r == -EAGAIN) {
        if (naru_client_process(client, NARU_FOREVER) < 0)
            return bench_naru_failed();
        r = naru_call_send(call, &request, sizeof request, NARU_NOWAIT);
    }
    return r < 0 ? bench_naru_failed() : 0;
}

static int harvest(void)
{
    if (bench_size == 1)
        return 0;
    return naru_client_process(client, NARU_FOREVER) < 0 ? bench_naru_failed() : failed;
}

static int finish(void)
{
    return naru_client_invoke(client, &stop_route, "", 0, NULL, NULL) < 0 ? bench_naru_failed() : 0;
}

static void detach(int side)
{
    if (side == 1)
        naru_server_close(server);
    else
        naru_client_close(client);
}

#define NARU_CALLS(symbol, kind, beside)                                                           \
    const struct adapter bench_naru_##symbol##_call = {                                            \
        .name = "naru " kind " call",                                                              \
        .url = kind ":",                                                                           \
        .reference = beside,                                                                       \
        .setup = symbol##_setup,                                                                   \
        .attach = attach,                                                                          \
        .start = start,                                                                            \
        .harvest = harvest,                                                                        \
        .serve = serve,                                                                            \
        .finish = finish,                                                                          \
        .detach = detach,                                                                          \
    }

NARU_CALLS(shm, "shm", "bare unix socket, call");
NARU_CALLS(unix, "unix", "bare unix socket, call");
NARU_CALLS(tcp, "tcp", "bare unix socket, call");
NARU_CALLS(pipe, "pipe", "bare unix socket, call");
NARU_CALLS(grpc, "grpc", "bare unix socket, call");
NARU_CALLS(grpc_unix, "grpc+unix", "bare unix socket, call");

/* ---- calls that carry a message there and back: what a payload costs ---- */

static const naru_route echo_route = {"bench.Sums/Echo", 0, NULL};
static const void *to_send;

static int echo_attach(int side)
{
    asked = NULL;
    server_side = side == 1;
    return attach(side);
}

static int echo_send(const void *buf, size_t n)
{
    if (!server_side) {
        to_send = buf; /* with the wait for the answer */
        return 0;
    }
    naru_call *call = asked;
    asked = NULL;
    if (naru_call_send(call, buf, n, NARU_FOREVER) < 0 ||
        naru_call_finish(call, NARU_STATUS_OK) < 0)
        return bench_naru_failed();
    return bench_is_last(buf) ? serve() : 0; /* which sends what is left of it, and is stopped */
}

static int echo_recv(void *buf, size_t n)
{
    const struct naru_call_options o = {.size = sizeof o, .flags = NARU_IN_PLACE};
    struct naru_payload reply;
    if (server_side) {
        asked_data = buf;
        while (!asked)
            if (naru_server_process(server, NARU_FOREVER) < 0)
                return bench_naru_failed();
        return 0;
    }
    if (naru_client_invoke(client, &echo_route, to_send, n, &o, &reply) < 0)
        return bench_naru_failed();
    if (reply.size == n)
        memcpy(buf, reply.data, n);
    int r = reply.size == n ? 0 : bench_say("a reply of %zu bytes", reply.size);
    naru_client_release(client, &reply);
    return r || !bench_is_last(buf) ? r : finish();
}

#define NARU_ECHO(symbol, kind, beside)                                                            \
    const struct adapter bench_naru_##symbol##_echo = {                                            \
        .name = "naru " kind " call, echo",                                                        \
        .url = kind ":",                                                                           \
        .reference = beside,                                                                       \
        .setup = symbol##_setup,                                                                   \
        .attach = echo_attach,                                                                     \
        .send = echo_send,                                                                         \
        .recv = echo_recv,                                                                         \
        .detach = detach,                                                                          \
        .max_size = LARGEST,                                                                       \
        .modes = 1u << BENCH_LATENCY,                                                              \
    }

NARU_ECHO(shm, "shm", "bare ring");
NARU_ECHO(unix, "unix", "raw unix socket");
NARU_ECHO(tcp, "tcp", "raw TCP");
NARU_ECHO(pipe, "pipe", "raw pipe");

/* ---- streams within a call: the server's, where side 0 is the server, and the client's ---- */

static const naru_route up_route = {"bench.Sums/Up", NARU_CLIENT_STREAMS, NULL};
static const naru_route down_route = {"bench.Sums/Down", NARU_SERVER_STREAMS, NULL};

static int up_attach(int side)
{
    server_side = side == 1;
    return attach(side);
}

static int down_attach(int side)
{
    server_side = side == 0;
    return attach(!side);
}

/* Both name the call `asked`. */
static int call_within(const naru_route *route, void (*exchange)(void))
{
    bool up = route->flags & NARU_CLIENT_STREAMS;
    if (server_side) {
        in_handler = exchange;
        return serve();
    }
    int r = naru_call_begin(client, route, NULL, &asked);
    if (r == 0)
        r = up ? naru_call_flush(asked, NARU_FOREVER) : naru_call_send(asked, "", 0, NARU_FOREVER);
    if (r < 0)
        return bench_naru_failed();
    exchange();
    if ((up && naru_call_shutdown(asked) < 0) || naru_call_wait(asked, NARU_FOREVER) < 0)
        return bench_naru_failed();
    naru_call_close(asked);
    return finish();
}

static int up_within(int side, void (*exchange)(void))
{
    (void)side;
    return call_within(&up_route, exchange);
}

static int down_within(int side, void (*exchange)(void))
{
    (void)side;
    return call_within(&down_route, exchange);
}

static int stream_send(const void *buf, size_t n)
{
    return naru_call_send(asked, buf, n, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

static int stream_recv(void *buf, size_t n)
{
    struct naru_payload p;
    if (naru_call_take(asked, NARU_FOREVER, &p) != 1)
        return bench_naru_failed();
    int r = p.size == n ? 0 : bench_say("a message of %zu bytes", p.size);
    if (r == 0)
        memcpy(buf, p.data, n);
    naru_call_release(asked, &p);
    return r;
}

static void up_detach(int side)
{
    detach(side);
}

static void down_detach(int side)
{
    detach(!side);
}

#define NARU_STREAM(symbol, kind, way, text, beside)                                               \
    const struct adapter bench_naru_##symbol##_##way = {                                           \
        .name = "naru " kind " call, " text,                                                       \
        .url = kind ":",                                                                           \
        .reference = beside ", " text,                                                             \
        .setup = symbol##_setup,                                                                   \
        .attach = way##_attach,                                                                    \
        .send = stream_send,                                                                       \
        .recv = stream_recv,                                                                       \
        .within = way##_within,                                                                    \
        .detach = way##_detach,                                                                    \
        .min_size = 64,                                                                            \
        .max_size = LARGEST,                                                                       \
        .modes = 1u << BENCH_CALL_STREAM,                                                          \
    }

NARU_STREAM(shm, "shm", up, "client streams", "gRPC C++");
NARU_STREAM(unix, "unix", up, "client streams", "gRPC C++");
NARU_STREAM(grpc_unix, "grpc+unix", up, "client streams", "gRPC C++");
NARU_STREAM(grpc, "grpc", up, "client streams", "gRPC C++ on TCP");
NARU_STREAM(shm, "shm", down, "server streams", "gRPC C++");
NARU_STREAM(unix, "unix", down, "server streams", "gRPC C++");
NARU_STREAM(grpc_unix, "grpc+unix", down, "server streams", "gRPC C++");
NARU_STREAM(grpc, "grpc", down, "server streams", "gRPC C++ on TCP");

/* ---- messages there and back on one stream: the next only when one is back, or more ---- */

static const naru_route add_all_route = {"bench.Sums/AddAll",
                                         NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL};
static naru_call *streaming;
static uint64_t came_back;

static int both_attach(int side)
{
    came_back = 0;
    if (attach(side))
        return -1;
    return side == 0 && naru_call_begin(client, &add_all_route, NULL, &streaming) < 0
               ? bench_naru_failed()
               : 0;
}

static int both_start(uint64_t number)
{
    const uint64_t words[WORDS] = {number, 1};
    return naru_call_send(streaming, words, sizeof words, NARU_FOREVER) < 0 ? bench_naru_failed()
                                                                            : 0;
}

static int both_harvest(void)
{
    struct naru_payload p;
    uint64_t sum = 0;
    if (naru_call_take(streaming, NARU_FOREVER, &p) != 1)
        return bench_naru_failed();
    if (p.size == WORDS * sizeof sum)
        memcpy(&sum, p.data, sizeof sum);
    naru_call_release(streaming, &p);
    return bench_called(came_back++, sum);
}

static int both_finish(void)
{
    if (naru_call_shutdown(streaming) < 0 || naru_call_wait(streaming, NARU_FOREVER) < 0)
        return bench_naru_failed();
    naru_call_close(streaming);
    return finish();
}

#define NARU_BOTH(symbol, kind, beside)                                                            \
    const struct adapter bench_naru_##symbol##_both = {                                            \
        .name = "naru " kind " call, one stream",                                                  \
        .url = kind ":",                                                                           \
        .reference = beside ", one stream",                                                        \
        .setup = symbol##_setup,                                                                   \
        .attach = both_attach,                                                                     \
        .start = both_start,                                                                       \
        .harvest = both_harvest,                                                                   \
        .serve = serve,                                                                            \
        .finish = both_finish,                                                                     \
        .detach = detach,                                                                          \
        .max_size = 32,                                                                            \
    }

NARU_BOTH(shm, "shm", "gRPC C++");
NARU_BOTH(unix, "unix", "gRPC C++");
NARU_BOTH(grpc_unix, "grpc+unix", "gRPC C++");
NARU_BOTH(grpc, "grpc", "gRPC C++ on TCP");
