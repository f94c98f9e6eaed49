/* SPDX-License-Identifier: MIT */
/* forms.c - what the generated functions do: the four forms, calls that are not waited for,
 * handlers that finish later, and what goes wrong. Its services are those of values.proto. TAP. */
#include "values.naru.h"

#include <naru/protobuf.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned number, failed;
static naru_client *client;

#define CHECK(condition, name)                                                                     \
    do {                                                                                           \
        int good_ = (condition);                                                                   \
        failed += !good_;                                                                          \
        printf("%s %u - %s\n", good_ ? "ok" : "not ok", ++number, name);                           \
        if (!good_)                                                                                \
            printf("# %s:%d: %s; why: %s\n", __FILE__, __LINE__, #condition, naru_why());          \
    } while (0)

static Test__Values__Older older(int32_t known)
{
    Test__Values__Older m = TEST__VALUES__OLDER__INIT;
    m.known = known;
    return m;
}

static void free_older(Test__Values__Older *m)
{
    test__values__older__free_unpacked(m, NULL);
}

/* ---- allocations that fail: those of this program, protobuf-c's included ---- */

static long failing = -1; /* which from now on, counted down */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static int fails(void)
{
    long n = __atomic_load_n(&failing, __ATOMIC_RELAXED);
    return n >= 0 && __atomic_fetch_sub(&failing, 1, __ATOMIC_RELAXED) == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

/* ---- a call that ends before its request is sent, as by another thread ---- */

static int early;

int __real_naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout);
int __wrap_naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout);

int __wrap_naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout)
{
    if (early) {
        naru_call_cancel(call);
        naru_client_process(client, NARU_MS);
    }
    return __real_naru_call_send(call, data, size, timeout);
}

/* ---- the handlers ---- */

static naru_call *kept_call;
static Test__Values__Older *kept_request;

enum { LATER = 1000, FAIL, NO_REPLY, GARBAGE, NEGATIVE, MANY };

static int handle_delete(naru_call *call, void *self, Test__Values__Older *request)
{
    int32_t n = request->known;
    Test__Values__Older reply = older(n + *(int32_t *)self);
    switch (n) {
    case LATER:
        kept_call = call;
        __atomic_store_n(&kept_request, request, __ATOMIC_RELEASE); /* with wait_for_kept */
        return NARU_LATER;
    case FAIL:
        return naru_call_fail(call, NARU_STATUS_NOT_FOUND, "there is no %d", n);
    case NO_REPLY:
        return NARU_STATUS_OK;
    case GARBAGE:
        return naru_call_send(call, "\xff\xff\xff", 3, NARU_FOREVER);
    case NEGATIVE:
        return -ENOMEM;
    default:
        return test_values_words_delete_reply(call, &reply);
    }
}

static int handle_double(naru_call *call, void *self)
{
    Test__Values__Older reply = older(0), *message;
    int r;
    (void)self;
    while ((r = test_values_words_double_next(call, NARU_FOREVER, &message)) > 0) {
        reply.known += 2 * message->known;
        free_older(message);
    }
    return r < 0 ? r : test_values_words_double_reply(call, &reply);
}

static int handle_register(naru_call *call, void *self, Test__Values__Older *request)
{
    (void)self;
    for (int32_t i = 0; i < request->known % LATER; i++) {
        Test__Values__Older reply = older(i);
        int r = test_values_words_register_reply(call, &reply, NARU_FOREVER);
        if (r < 0)
            return r;
    }
    if (request->known > LATER)
        return naru_call_fail(call, NARU_STATUS_ABORTED, "enough");
    return NARU_STATUS_OK;
}

static int handle_template(naru_call *call, void *self)
{
    Test__Values__Older *message;
    int r;
    (void)self;
    while ((r = test_values_words_template_next(call, NARU_FOREVER, &message)) > 0) {
        Test__Values__Older reply = older(-message->known);
        free_older(message);
        if ((r = test_values_words_template_reply(call, &reply, NARU_FOREVER)) < 0)
            break;
    }
    return r;
}

static int handle_tree(naru_call *call, void *self, Test__Values__Tree *request)
{
    (void)self;
    return test_values_values_echo_tree_reply(call, request);
}

static void *serve(void *server)
{
    if (naru_server_run(server) < 0)
        printf("# the server: %s\n", naru_why());
    return NULL;
}

/* ---- one message to, one back ---- */

static int status(const char *text)
{
    struct naru_status s;
    if (naru_client_status(&s) < 0 || (text && !strstr(s.message, text))) {
        printf("# the status says: %s\n", s.message);
        return -1;
    }
    return s.code;
}

static int call_delete(int32_t n, Test__Values__Older **ret_reply)
{
    Test__Values__Older request = older(n);
    return test_values_words_delete(client, &request, NULL, ret_reply);
}

static void unary(void)
{
    Test__Values__Older *reply = NULL, request = older(0);
    CHECK(call_delete(41, &reply) == 0 && reply->known == 42, "a call reads like a local one");
    free_older(reply);
    CHECK(call_delete(-1, &reply) == 0 && reply->known == 0, "a reply of no bytes");
    free_older(reply);
    reply = NULL;
    CHECK(call_delete(FAIL, &reply) == -EREMOTEIO && !reply &&
              status("there is no 1001") == NARU_STATUS_NOT_FOUND,
          "a handler's status and text, and ret_reply stays as it was");
    CHECK(call_delete(NO_REPLY, &reply) < 0 && !reply, "a handler that forgets to reply");
    CHECK(call_delete(GARBAGE, &reply) == -EPROTO && !reply &&
              strstr(naru_why(), "3 bytes are no test.values.Older"),
          "a reply that is no message");
    CHECK(call_delete(NEGATIVE, &reply) < 0 && !reply, "a handler's negative errno");
    CHECK(test_values_words_allcaps(client, &request, NULL, &reply) == -EREMOTEIO && !reply &&
              status("test.values.Words.ALLCAPS has no handler here") == NARU_STATUS_UNIMPLEMENTED,
          "a method without a handler");
}

/* Bytes as the request of a method. */
static int raw(const char *path, const void *data, size_t size)
{
    static const naru_route routes[] = {{"test.values.Words/Delete", 0, NULL},
                                        {"test.values.Values/EchoTree", 0, NULL}};
    naru_call *call;
    struct naru_payload payload;
    const naru_route *route = &routes[strcmp(path, routes[0].path) != 0];
    int r = naru_call_begin(client, route, NULL, &call);
    if (r >= 0)
        r = naru_call_send(call, data, size, NARU_FOREVER);
    if (r >= 0)
        r = naru_call_take(call, NARU_FOREVER, &payload);
    if (r > 0)
        naru_call_release(call, &payload);
    if (r >= 0)
        r = naru_call_wait(call, NARU_FOREVER);
    naru_call_close(call);
    return r;
}

/* Bytes as a message of a stream. */
static int raw_stream(const void *data, size_t size)
{
    static const naru_route route = {"test.values.Words/Double", NARU_CLIENT_STREAMS, NULL};
    naru_call *call;
    int r = naru_call_begin(client, &route, NULL, &call);
    if (r >= 0)
        r = naru_call_send(call, data, size, NARU_FOREVER);
    if (r >= 0)
        r = naru_call_wait(call, NARU_FOREVER);
    naru_call_close(call);
    return r;
}

static size_t varint(uint8_t *to, size_t value)
{
    size_t n = 0;
    for (; value > 127; value >>= 7)
        to[n++] = (uint8_t)(value | 0x80);
    to[n++] = (uint8_t)value;
    return n;
}

/* Trees in trees, each the left one (field 2) of the one around it. */
static uint8_t *nested(unsigned depth, size_t *ret_size)
{
    size_t room = 16 * (size_t)depth + 16, begin = room;
    uint8_t *bytes = calloc(1, room), *whole, prefix[16];
    for (unsigned i = 0; i < depth; i++) {
        prefix[0] = 0x12;
        size_t n = 1 + varint(prefix + 1, room - begin);
        begin -= n;
        memcpy(bytes + begin, prefix, n);
    }
    *ret_size = room - begin;
    whole = calloc(1, *ret_size + 1);
    memcpy(whole, bytes + begin, *ret_size);
    free(bytes);
    return whole;
}

static int raw_nested(unsigned depth)
{
    size_t size;
    uint8_t *bytes = nested(depth, &size);
    int r = raw("test.values.Values/EchoTree", bytes, size);
    free(bytes);
    return r;
}

/* The leaf n times, each with one more vein, which are joined. */
static int raw_repeated(unsigned n)
{
    static const uint8_t part[] = {0x2a, 2, 0x12, 0};
    uint8_t *bytes = calloc(n, sizeof part);
    for (unsigned i = 0; i < n; i++)
        memcpy(bytes + i * sizeof part, part, sizeof part);
    int r = raw("test.values.Values/EchoTree", bytes, n * sizeof part);
    free(bytes);
    return r;
}

static void hostile_requests(void)
{
    CHECK(raw("test.values.Words/Delete", "\xff\xff\xff", 3) == -EREMOTEIO &&
              status("3 bytes are no test.values.Older") == NARU_STATUS_INVALID_ARGUMENT,
          "bytes that are no message");
    CHECK(raw("test.values.Words/Delete", "\x08", 1) == -EREMOTEIO &&
              status(NULL) == NARU_STATUS_INVALID_ARGUMENT,
          "a message that is cut short");
    CHECK(raw("test.values.Words/Delete", "", 0) == 0, "no bytes are a message");
    CHECK(raw_stream("\xff\xff\xff", 3) == -EREMOTEIO &&
              status("3 bytes are no test.values.Older") == NARU_STATUS_INVALID_ARGUMENT,
          "bytes in a stream that are no message");
    CHECK(raw_nested(NARU_PROTOBUF_DEPTH - 1) == 0, "messages 100 deep");
    CHECK(raw_nested(NARU_PROTOBUF_DEPTH) == -EREMOTEIO &&
              status("go deeper than 100 messages") == NARU_STATUS_INVALID_ARGUMENT,
          "messages 101 deep");
    CHECK(raw_nested(100000) == -EREMOTEIO && status(NULL) == NARU_STATUS_INVALID_ARGUMENT,
          "messages 100 000 deep");
    CHECK(raw_repeated(NARU_PROTOBUF_REPEATS) == 0, "a part 100 times is joined");
    CHECK(raw_repeated(200000) == -EREMOTEIO && status(NULL) == NARU_STATUS_INVALID_ARGUMENT,
          "a part 200 000 times is refused at once");
}

/* Each allocation of a call fails once: memory is short at one of its sides, and nothing else. */
static void no_memory(void)
{
    int at_server = 0, at_client = 0, other = 0, done = 0;
    for (long n = 0; n < 100 && !done; n++) {
        Test__Values__Older *reply = NULL;
        __atomic_store_n(&failing, n, __ATOMIC_RELAXED);
        int r = call_delete(1, &reply);
        done = __atomic_load_n(&failing, __ATOMIC_RELAXED) >= 0;
        __atomic_store_n(&failing, -1, __ATOMIC_RELAXED);
        if (r == 0)
            other += reply->known != 2 || !done;
        else if (r == -ENOMEM)
            at_client++;
        else
            at_server += r == -EREMOTEIO && status("no memory") == NARU_STATUS_RESOURCE_EXHAUSTED;
        free_older(reply);
    }
    CHECK(done && at_server == 1 && at_client == 1 && other == 0,
          "no memory for a request is RESOURCE_EXHAUSTED, for a reply -ENOMEM");
}

/* ---- not waited for ---- */

struct told {
    int n, code, known;
};

static void done(void *arg, const struct naru_status *s, Test__Values__Older *reply)
{
    struct told *t = arg;
    t->n++;
    t->code = s->code;
    t->known = reply ? reply->known : -1;
    free_older(reply);
}

static int begin_delete(int32_t n, struct told *t, naru_call **ret_call)
{
    Test__Values__Older request = older(n);
    *t = (struct told){0, -1, -2};
    return test_values_words_delete_async(client, &request, NULL, done, t, ret_call);
}

static void process_until(const struct told *t)
{
    for (int i = 0; i < 2000 && t->n == 0; i++)
        naru_client_process(client, NARU_MS);
}

static naru_call *wait_for_kept(void) /* processing sends what was gathered */
{
    for (int i = 0; i < 2000 && !__atomic_load_n(&kept_request, __ATOMIC_ACQUIRE); i++)
        naru_client_process(client, NARU_MS);
    return kept_request ? kept_call : NULL;
}

static void not_waited_for(void)
{
    enum { AT_ONCE = 20 };
    struct told t, many[AT_ONCE];
    naru_call *call = NULL;
    CHECK(begin_delete(7, &t, &call) == 0 && call && t.n == 0, "an asynchronous call begins");
    process_until(&t);
    CHECK(t.n == 1 && t.code == NARU_STATUS_OK && t.known == 8,
          "naru_client_process tells its end");
    int begun = 0, right = 0;
    for (int32_t i = 0; i < AT_ONCE; i++)
        begun += begin_delete(i, &many[i], NULL) == 0;
    for (int32_t i = 0; i < AT_ONCE; i++) {
        process_until(&many[i]);
        right += many[i].n == 1 && many[i].known == i + 1;
    }
    CHECK(begun == AT_ONCE && right == AT_ONCE, "many at once, each told once");
    begun = begin_delete(FAIL, &t, NULL);
    process_until(&t);
    CHECK(begun == 0 && t.n == 1 && t.code == NARU_STATUS_NOT_FOUND && t.known == -1,
          "its status, and no reply");
    begun = begin_delete(GARBAGE, &t, NULL);
    process_until(&t);
    CHECK(begun == 0 && t.n == 1 && t.code == NARU_STATUS_INTERNAL && t.known == -1,
          "a reply that is no message is INTERNAL");
}

static void tree_done(void *arg, const struct naru_status *s, Test__Values__Tree *reply)
{
    struct told *t = arg;
    t->n++;
    t->code = s->code;
    t->known = reply ? (int)strlen(reply->name) : -1;
    test__values__tree__free_unpacked(reply, NULL);
}

static int begin_tree(char *name, struct told *t)
{
    Test__Values__Tree request = TEST__VALUES__TREE__INIT;
    request.name = name;
    *t = (struct told){0, -1, -2};
    return test_values_values_echo_tree_async(client, &request, NULL, tree_done, t, NULL);
}

/* The first allocation is of what a call needs, the second of a large request, packed. */
static void not_begun(void)
{
    char name[2000];
    struct told t;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (long n = 0; n < 2; n++) {
        __atomic_store_n(&failing, n, __ATOMIC_RELAXED);
        int r = begin_tree(name, &t);
        __atomic_store_n(&failing, -1, __ATOMIC_RELAXED);
        for (int i = 0; i < 3; i++)
            naru_client_process(client, NARU_MS);
        CHECK(r == -ENOMEM && t.n == 0, "a call that cannot begin says so, and has no end");
    }
    int r = begin_tree(name, &t);
    process_until(&t);
    CHECK(r == 0 && t.n == 1 && t.known == sizeof name - 1, "a large one that can");
}

static void later(void)
{
    struct told t;
    int begun = begin_delete(LATER, &t, NULL);
    naru_call *call = wait_for_kept();
    CHECK(begun == 0 && call && t.n == 0, "a handler finishes later");
    if (!call)
        return;
    Test__Values__Older reply = older(kept_request->known + 5);
    free_older(kept_request);
    kept_request = NULL;
    CHECK(test_values_words_delete_reply(call, &reply) == 0 &&
              naru_call_finish(call, NARU_STATUS_OK) == 0,
          "its reply, with a request that was kept");
    process_until(&t);
    CHECK(t.n == 1 && t.code == NARU_STATUS_OK && t.known == LATER + 5, "reaches the caller");
}

static void ends_before_it_begins(void)
{
    struct told t;
    early = 1;
    int r = begin_delete(1, &t, NULL);
    early = 0;
    CHECK(r == 0 && t.n == 1 && t.code == NARU_STATUS_CANCELLED && t.known == -1,
          "an end before the request is sent is told, and once");
}

static int stop;

static void *process(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        naru_client_process(client, NARU_MS);
    return NULL;
}

static void count(void *arg, const struct naru_status *s, Test__Values__Older *reply)
{
    (void)s;
    free_older(reply);
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELEASE);
}

/* One thread begins calls, whose time is over at once or soon, and another is told their ends. */
static void ends_while_it_begins(void)
{
    enum { CALLS = 3000 };
    static int told[CALLS];
    pthread_t thread;
    int begun = 0, right = 0;
    pthread_create(&thread, NULL, process, NULL);
    for (int i = 0; i < CALLS; i++) {
        struct naru_call_options o = {.size = sizeof o, .timeout = 1 + i % 100 * 1000};
        Test__Values__Older request = older(i % 100);
        int r = test_values_words_delete_async(client, &request, &o, count, &told[i], NULL);
        begun += r == 0;
        if (r < 0)
            told[i] = -1; /* and never again */
    }
    for (int i = 0; i < 2000 && right < begun; i++) {
        right = 0;
        for (int j = 0; j < CALLS; j++)
            right += __atomic_load_n(&told[j], __ATOMIC_ACQUIRE) == 1;
        usleep(1000);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    for (int j = 0; j < CALLS; j++)
        right -= told[j] == 0 || told[j] > 1;
    printf("# %d of %d began\n", begun, CALLS);
    CHECK(begun > 0 && right == begun, "an end that another thread is told at once is told once");
}

/* The client is another one, which is closed. */
static void closed(const char *url)
{
    enum { OPEN = 3 };
    struct told t[OPEN];
    naru_client *first = client;
    int begun = 0, told = 0;
    naru_client_open(url, NULL, &client);
    for (int i = 0; i < OPEN; i++)
        begun += begin_delete(i == 0 ? LATER : i, &t[i], NULL) == 0;
    for (int i = 0; i < 2000 && !__atomic_load_n(&kept_request, __ATOMIC_ACQUIRE); i++)
        naru_client_process(client, NARU_MS);
    client = naru_client_close(client);
    for (int i = 0; i < OPEN; i++)
        told += t[i].n == 1;
    CHECK(kept_request && begun == OPEN && told == OPEN && t[0].code == NARU_STATUS_CANCELLED,
          "closing a client tells the end of its calls");
    client = first;
    naru_call *call = wait_for_kept();
    if (call) {
        free_older(kept_request);
        kept_request = NULL;
        naru_call_finish(call, NARU_STATUS_OK);
    }
}

/* ---- streams ---- */

static void client_streams(void)
{
    struct test_values_words_double stream;
    Test__Values__Older *reply = NULL;
    int good = test_values_words_double_begin(client, NULL, &stream) == 0;
    for (int32_t i = 1; i <= 10 && good; i++) {
        Test__Values__Older message = older(i);
        good = test_values_words_double_send(&stream, &message, NARU_FOREVER) == 0;
    }
    CHECK(good, "a stream of requests is sent");
    CHECK(test_values_words_double_finish(&stream, NARU_FOREVER, &reply) == 0 && reply &&
              reply->known == 110 && !stream.call,
          "and answered by one reply");
    free_older(reply);
    reply = NULL;
    CHECK(test_values_words_double_begin(client, NULL, &stream) == 0 &&
              test_values_words_double_finish(&stream, NARU_FOREVER, &reply) == 0 && reply &&
              reply->known == 0,
          "a stream of none, too");
    free_older(reply);
}

static void server_streams(void)
{
    struct test_values_words_register stream;
    Test__Values__Older request = older(10), *message;
    int n = 0, r, right = 0;
    CHECK(test_values_words_register_begin(client, &request, NULL, &stream) == 0,
          "a stream of replies begins with one request");
    while ((r = test_values_words_register_take(&stream, NARU_FOREVER, &message)) > 0) {
        right += message->known == n++;
        free_older(message);
    }
    CHECK(r == 0 && n == 10 && right == 10, "all come, in order, then 0");
    CHECK(test_values_words_register_finish(&stream, NARU_FOREVER) == 0 && !stream.call,
          "and the status is OK");
    request = older(LATER + 3);
    n = 0;
    CHECK(test_values_words_register_begin(client, &request, NULL, &stream) == 0, "another");
    while ((r = test_values_words_register_take(&stream, NARU_FOREVER, &message)) > 0) {
        n++;
        free_older(message);
    }
    r = test_values_words_register_finish(&stream, NARU_FOREVER);
    CHECK(n == 3 && r == -EREMOTEIO && status("enough") == NARU_STATUS_ABORTED,
          "ends with the handler's status after what it sent");
}

static void both_stream(void)
{
    struct test_values_words_template stream;
    Test__Values__Older *message = NULL;
    int right = 0, r = test_values_words_template_begin(client, NULL, &stream);
    for (int32_t i = 1; i <= 5 && r == 0; i++) {
        Test__Values__Older one = older(i);
        r = test_values_words_template_send(&stream, &one, NARU_FOREVER);
    }
    naru_call_shutdown(stream.call);
    for (int32_t i = 1; i <= 5 && r == 0; i++) {
        right += test_values_words_template_take(&stream, NARU_FOREVER, &message) == 1 &&
                 message->known == -i;
        free_older(message);
        message = NULL;
    }
    CHECK(r == 0 && right == 5, "both stream");
    CHECK(test_values_words_template_take(&stream, NARU_FOREVER, &message) == 0 && !message,
          "until there are no more");
    CHECK(test_values_words_template_finish(&stream, NARU_FOREVER) == 0 && !stream.call,
          "and the status is OK");
}

int main(void)
{
    static int32_t one = 1;
    static const struct test_values_words_handlers words = {.delete_ = handle_delete,
                                                            .double_ = handle_double,
                                                            .register_ = handle_register,
                                                            .template_ = handle_template};
    static const struct test_values_values_handlers values = {.echo_tree = handle_tree};
    naru_service words_service = test_values_words_service(&words);
    naru_service values_service = test_values_values_service(&values);
    naru_server *server;
    pthread_t thread;
    char url[64];
    setvbuf(stdout, NULL, _IOLBF, 0);        /* what was found stays, whatever comes */
    const char *name = getenv("PROTO_NAME"); /* who gave it clears up if this program cannot */
    snprintf(url, sizeof url, "shm:%s", name ? name : "naru-test-forms");
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &words_service, &one) < 0 ||
        naru_server_add(server, &values_service, NULL) < 0 || naru_server_listen(server, url) < 0 ||
        naru_client_open(url, NULL, &client) < 0 ||
        pthread_create(&thread, NULL, serve, server) != 0) {
        printf("Bail out! %s\n", naru_why());
        return 1;
    }
    unary();
    hostile_requests();
    no_memory();
    not_waited_for();
    not_begun();
    later();
    ends_before_it_begins();
    ends_while_it_begins();
    closed(url);
    client_streams();
    server_streams();
    both_stream();
    naru_client_close(client);
    naru_server_shutdown(server, 0);
    pthread_join(thread, NULL);
    naru_server_close(server);
    return failed != 0;
}
