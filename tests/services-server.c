/* SPDX-License-Identifier: MIT */
/* services-server.c - see services.h. */
#include "services.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

const struct carrier carriers[] = {
    {"shm", "shm:%s/s", false, true, false},
    {"unix", "unix:%s/s", false, true, false},
    {"tcp", "tcp://127.0.0.1:0", false, false, false},
    {"tls", "tls://127.0.0.1:0", false, false, false},
    {"pipe", "pipe:", true, false, false},
    {"grpc", "grpc://127.0.0.1:0", false, false, true},
    {"grpc+unix", "grpc+unix:%s/s", false, true, true},
    {"grpcs", "grpcs://127.0.0.1:0", false, false, true},
    {NULL, NULL, false, false, false},
};
const struct carrier *carrier;
struct seen *seen;
static naru_server *the_server;

/* ---- methods ---- */

static struct numbers numbers_of(const void *request, size_t size)
{
    struct numbers n = {0, 0};
    memcpy(&n, request, size < sizeof n ? size : sizeof n);
    return n;
}

static int add(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    int64_t sum = n.a + n.b;
    (void)self;
    struct naru_peer peer = {.size = sizeof peer};
    if (n.a == 0 && n.b == 0 && naru_peer(call, &peer) == 0)
        seen->peer = (long)peer.pid;
    return naru_call_send(call, &sum, sizeof sum, NARU_FOREVER);
}

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    void *room;
    (void)self;
    int r = naru_call_reserve(call, size, NARU_FOREVER, &room);
    if (r < 0)
        return r;
    if (size)
        memcpy(room, request, size);
    return naru_call_commit(call, room, size);
}

static int status(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    (void)self;
    if (n.a == 0)
        return naru_call_send(call, "ok", 2, NARU_FOREVER);
    struct naru_metadata trailer = {"reason", "because", 7};
    int r = naru_call_set_trailer(call, &trailer);
    return r < 0 ? r
                 : naru_call_fail_details(call, (int)n.a, "\0d\xff", 3, "status %d, as asked",
                                          (int)n.a);
}

static int say_errno(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    naru_stream *s;
    (void)call, (void)self;
    if (n.a == -ENOENT) /* one with a sentence */
        return naru_stream_open("fifo:/no/such/place", NARU_READ, NULL, NARU_NOWAIT, &s);
    return (int)n.a;
}

static void nap(naru_call *call, int64_t ns)
{
    for (int64_t end = test_now() + ns; test_now() < end && naru_call_cancelled(call) == 0;)
        usleep(500);
}

static int do_sleep(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    (void)self;
    seen->left = naru_call_time_left(call);
    int now = ++seen->running;
    if (now > seen->workers)
        seen->workers = now;
    nap(call, n.a);
    seen->running--;
    if (naru_call_cancelled(call) == 1) {
        seen->cancelled++;
        return NARU_STATUS_CANCELLED;
    }
    return naru_call_send(call, &n, sizeof n, NARU_FOREVER);
}

/* a messages of b bytes, each with its number in front. */
static int count(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    size_t bytes = n.b < 8 ? 8 : (size_t)n.b;
    char *message = calloc(1, bytes);
    int r = 0;
    (void)self;
    for (int64_t i = 0; i < n.a && r == 0; i++) {
        memcpy(message, &i, sizeof i);
        r = naru_call_send(call, message, bytes, NARU_FOREVER);
        seen->sent += r == 0;
    }
    free(message);
    seen->cancelled += r == -ECANCELED;
    seen->ended++;
    return r;
}

/* The sum of all the numbers that come, and how many. */
static int sum(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_payload p;
    struct numbers total = {0, 0};
    int r;
    (void)self, (void)request, (void)size;
    while ((r = naru_call_take(call, NARU_FOREVER, &p)) == 1) {
        total.a += numbers_of(p.data, p.size).a;
        total.b++;
        seen->taken++;
        naru_call_release(call, &p);
    }
    seen->cancelled += r == -ECANCELED;
    seen->ended++;
    return r < 0 ? r : naru_call_send(call, &total, sizeof total, NARU_FOREVER);
}

static int chat(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_payload p;
    int r;
    (void)self, (void)request, (void)size;
    seen->running++;
    while ((r = naru_call_take(call, NARU_FOREVER, &p)) == 1) {
        r = naru_call_send(call, p.data, p.size, NARU_FOREVER);
        naru_call_release(call, &p);
        if (r < 0)
            break;
    }
    seen->cancelled += r == -ECANCELED;
    seen->ended++;
    seen->running--;
    return r;
}

/* Calls that wait for the one that lets them go, the youngest first, all but n.b of the oldest.
 * Handlers may run in workers. */
static naru_call *held[20000];
static int n_held;
static pthread_mutex_t holding = PTHREAD_MUTEX_INITIALIZER;

static void held_end(naru_call *call, void *arg, const struct naru_status *s)
{
    (void)arg;
    if (s->code == NARU_STATUS_OK)
        return;
    bool ours = false;
    pthread_mutex_lock(&holding);
    for (int i = 0; i < n_held; i++)
        if (held[i] == call) {
            held[i] = held[--n_held];
            ours = true;
            break;
        }
    pthread_mutex_unlock(&holding);
    if (!ours)
        return;
    naru_call_finish(call, NARU_STATUS_CANCELLED);
    seen->running--;
    seen->cancelled++;
}

static int hold(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    (void)self;
    if (n.a == 0) {
        static const struct naru_call_events events = {.size = sizeof events, .end = held_end};
        pthread_mutex_lock(&holding);
        int r = naru_call_on(call, &events, NULL); /* told when the lock is free */
        if (r == 0) {
            held[n_held++] = call;
            seen->running++;
        }
        pthread_mutex_unlock(&holding);
        return r < 0 ? r : NARU_LATER;
    }
    for (;;) {
        pthread_mutex_lock(&holding);
        naru_call *one = n_held > n.b ? held[--n_held] : NULL;
        int64_t number = n_held;
        pthread_mutex_unlock(&holding);
        if (!one)
            break;
        seen->running--;
        if (naru_call_cancelled(one) == 0)
            naru_call_send(one, &number, sizeof number, NARU_NOWAIT);
        naru_call_finish(one, NARU_STATUS_OK);
    }
    return naru_call_send(call, "", 0, NARU_FOREVER);
}

static int meta(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_metadata m;
    (void)self, (void)request, (void)size;
    for (unsigned i = 0; naru_call_header(call, "echo", i, &m) == 0; i++) {
        int r = naru_call_set_header(call, &m);
        if (r < 0)
            return r;
    }
    for (unsigned i = 0; naru_call_header(call, "trail-bin", i, &m) == 0; i++) {
        int r = naru_call_set_trailer(call, &m);
        if (r < 0)
            return r;
    }
    return naru_call_send(call, "", 0, NARU_FOREVER);
}

/* Calls sleep at the other server, whose URL is the request, for this call. */
static int nested(naru_call *call, void *self, const void *request, size_t size)
{
    char url[256] = "";
    naru_client *c;
    struct numbers n = {60 * NARU_S, 0};
    const struct naru_call_options o = {.size = sizeof o, .parent = call};
    (void)self;
    memcpy(url, request, size < 255 ? size : 255);
    int r = naru_client_open(url, usual_options(), &c);
    if (r < 0)
        return r;
    r = naru_client_invoke(c, &r_sleep, &n, sizeof n, &o, NULL);
    naru_client_close(c);
    seen->ended++;
    return r < 0 ? r : naru_call_send(call, "", 0, NARU_FOREVER);
}

static int left(naru_call *call, void *self, const void *request, size_t size)
{
    int64_t ns = naru_call_time_left(call);
    (void)self, (void)request, (void)size;
    return naru_call_send(call, &ns, sizeof ns, NARU_FOREVER);
}

static int nothing(naru_call *call, void *self, const void *request, size_t size)
{
    (void)call, (void)self, (void)request, (void)size;
    return NARU_STATUS_OK;
}

static int twice(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self, (void)request, (void)size;
    int r = naru_call_send(call, "1", 1, NARU_FOREVER);
    return r < 0 ? r : naru_call_send(call, "2", 1, NARU_FOREVER);
}

/* Takes nothing until it is told by a second call. */
static int stuck(naru_call *call, void *self, const void *request, size_t size)
{
    seen->running++;
    while (seen->running > 0 && naru_call_cancelled(call) == 0)
        usleep(1000);
    return sum(call, self, request, size);
}

/* Has something to say at once, and then does not return until the client has heard it. */
static int tell(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self, (void)request, (void)size;
    seen->running = 1;
    int r = naru_call_send(call, "1", 1, NARU_NOWAIT);
    for (int64_t end = test_now() + PATIENCE; seen->running > 0 && test_now() < end;)
        usleep(500);
    return r < 0 ? r : seen->running > 0 ? NARU_STATUS_ABORTED : NARU_STATUS_OK;
}

static int pause_then(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_payload p;
    (void)self, (void)request, (void)size;
    int r = naru_call_take(call, 30 * NARU_MS, &p);
    if (r == -ETIMEDOUT)
        r = naru_call_send(call, "late", 4, NARU_FOREVER);
    seen->ended++;
    return r;
}

/* Fails as if the server were gone, until it has been called so often. */
static int again(naru_call *call, void *self, const void *request, size_t size)
{
    struct numbers n = numbers_of(request, size);
    (void)self;
    if (++seen->ended < n.a)
        return naru_call_fail(call, NARU_STATUS_UNAVAILABLE, "not yet");
    return naru_call_send(call, "", 0, NARU_FOREVER);
}

struct point {
    double x, y;
};

NARU_METHOD_STRUCT(mirror, "test.T/Typed", struct point, struct point)

static int mirrored(naru_call *call, void *self, const struct point *in, struct point *ret_out)
{
    (void)call, (void)self;
    *ret_out = (struct point){-in->x, -in->y};
    return 0;
}

NARU_SERVE_STRUCT(mirror, mirrored, struct point, struct point)

static const naru_method methods[] = {
    {"Add", 0, add, NULL, NULL},
    {"Echo", 0, echo, NULL, NULL},
    {"Status", 0, status, NULL, NULL},
    {"Errno", 0, say_errno, NULL, NULL},
    {"Sleep", 0, do_sleep, NULL, NULL},
    {"Count", SERVER_STREAMS, count, NULL, NULL},
    {"Sum", CLIENT_STREAMS, sum, NULL, NULL},
    {"Chat", BOTH, chat, NULL, NULL},
    {"Hold", 0, hold, NULL, NULL},
    {"Meta", 0, meta, NULL, NULL},
    {"Nested", 0, nested, NULL, NULL},
    {"Left", 0, left, NULL, NULL},
    {"Nothing", 0, nothing, NULL, NULL},
    {"Twice", 0, twice, NULL, NULL},
    {"Stuck", CLIENT_STREAMS, stuck, NULL, NULL},
    {"Tell", SERVER_STREAMS, tell, NULL, NULL},
    {"Pause", BOTH, pause_then, NULL, NULL},
    {"Again", NARU_IDEMPOTENT, again, NULL, NULL},
    {"Typed", 0, mirror_serve, NULL, &mirror_layout},
};
static const naru_service service = {.size = sizeof service,
                                     .name = "test.T",
                                     .methods = methods,
                                     .n = sizeof methods / sizeof *methods};

static const struct naru_layout wrong_layout = {"struct point", "struct point", 24, 8, 16, 8};
#define ROUTE(name, path, flags) const naru_route name = {"test.T/" path, flags, NULL}
ROUTE(r_add, "Add", 0);
ROUTE(r_echo, "Echo", 0);
ROUTE(r_status, "Status", 0);
ROUTE(r_errno, "Errno", 0);
ROUTE(r_sleep, "Sleep", 0);
ROUTE(r_count, "Count", SERVER_STREAMS);
ROUTE(r_tell, "Tell", SERVER_STREAMS);
ROUTE(r_sum, "Sum", CLIENT_STREAMS);
ROUTE(r_chat, "Chat", BOTH);
ROUTE(r_hold, "Hold", 0);
ROUTE(r_meta, "Meta", 0);
ROUTE(r_nested, "Nested", 0);
ROUTE(r_left, "Left", 0);
ROUTE(r_nothing, "Nothing", 0);
ROUTE(r_twice, "Twice", 0);
ROUTE(r_stuck, "Stuck", CLIENT_STREAMS);
ROUTE(r_pause, "Pause", BOTH);
ROUTE(r_again, "Again", NARU_IDEMPOTENT);
ROUTE(r_none, "None", 0);
const naru_route r_typed = {"test.T/Typed", 0, &mirror_layout};
const naru_route r_wrong = {"test.T/Typed", 0, &wrong_layout};

/* ---- the process ---- */

static void on_term(int signal)
{
    (void)signal;
    naru_server_shutdown(the_server, PATIENCE);
}

static void on_usr1(int signal)
{
    (void)signal;
    naru_server_shutdown(the_server, NARU_MS);
}

struct start {
    const struct setup *setup;
    naru_channel *a, *b;
};

/* As libuv or asyncio would have it: one descriptor in a loop of somebody else's. */
static int run_in_foreign_loop(naru_server *s)
{
    int r;
    for (;;) {
        struct pollfd p = {.fd = naru_fd(s), .events = POLLIN};
        expect(p.fd >= 0);
        if (poll(&p, 1, 1000) < 0 && errno != EINTR)
            return -errno;
        while ((r = naru_server_process(s, NARU_NOWAIT)) == 0)
            ;
        if (r != -EAGAIN)
            return r == -EPIPE ? 0 : r;
    }
}

static void serve(void *context)
{
    const struct start *start = context;
    struct naru_server_options options = start->setup->options;
    options.size = sizeof options;
    usleep((useconds_t)start->setup->late_ms * 1000);
    int before = open_descriptors();
    if (start->b)
        naru_channel_close(start->b);
    options.tls = usual_server();
    expect_ok(naru_server_new(&options, &the_server));
    expect_ok(naru_server_add(the_server, &service, NULL));
    signal(SIGTERM, on_term);
    signal(SIGUSR1, on_usr1);
    if (start->a) {
        expect_ok(naru_adopt(start->a));
        expect_ok(naru_server_attach(the_server, start->a));
    } else {
        expect_ok(naru_server_listen(the_server, start->setup->url ? start->setup->url
                                                                   : test_url(carrier->url)));
        snprintf(seen->url, sizeof seen->url, "%s", naru_url(the_server));
    }
    if (start->setup->also)
        expect_ok(naru_server_listen(the_server, start->setup->also));
    seen->ready = 1;
    expect_ok(start->setup->foreign_loop ? run_in_foreign_loop(the_server)
                                         : naru_server_run(the_server));
    signal(SIGTERM, SIG_IGN); /* it may have ended by itself */
    signal(SIGUSR1, SIG_IGN);
    naru_server_close(the_server);
    int after = open_descriptors();
    if (!start->a && before != after)
        test_failed("server", 0, "%d descriptors before, %d after", before, after);
}

pid_t start_server(const struct setup *setup, naru_channel **ret_channel)
{
    struct start start = {setup, NULL, NULL};
    if (!seen)
        seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    seen->ready = 0;
    if (carrier->pair && !setup->url)
        expect_ok(naru_channel_pair(carrier->url, NULL, &start.a, &start.b));
    pid_t pid = start_child(serve, &start);
    if (start.a) {
        naru_channel_close(start.a);
        *ret_channel = start.b;
    }
    if (setup->late_ms == 0)
        await_server();
    return pid;
}

void await_server(void)
{
    for (int64_t end = test_now() + PATIENCE; !seen->ready && test_now() < end;)
        usleep(500);
    expect(seen->ready);
}

void end_server(pid_t pid)
{
    kill(pid, SIGTERM);
    end_child(pid);
}

void kill_server(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

const struct naru_client_options *usual_options(void)
{
    static struct naru_client_options o = {.size = sizeof o};
    o.tls = usual_client();
    return &o;
}

struct world begin_world(const struct setup *setup, const struct naru_client_options *options)
{
    static const struct setup usual;
    struct naru_client_options o = options ? *options : (struct naru_client_options){.size = 0};
    struct world w;
    naru_channel *channel = NULL;
    o.size = sizeof o;
    o.tls = usual_client();
    w.server = start_server(setup ? setup : &usual, &channel);
    if (channel)
        expect_ok(naru_client_attach(channel, &o, &w.client));
    else
        expect_ok(naru_client_open(seen->url, &o, &w.client));
    return w;
}

void end_world(struct world *w)
{
    naru_client_close(w->client);
    end_server(w->server);
}

void drive_until(naru_client *client, const _Atomic int *count_is, int value)
{
    for (int64_t end = test_now() + PATIENCE; *count_is != value && test_now() < end;)
        if (!client || naru_client_process(client, NARU_MS) == 0)
            usleep(500);
    if (*count_is != value)
        test_failed("count", 0, "a count is %d, not %d", *count_is, value);
}

void await_count(const _Atomic int *count_is, int value)
{
    drive_until(NULL, count_is, value);
}
