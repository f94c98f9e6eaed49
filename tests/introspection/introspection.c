/* SPDX-License-Identifier: MIT */
/* introspection.c - reflection and health, as a client sees them, over each carrier. */
#include "harness.h"

#include <naru/health.h>
#include <naru/protobuf.h>
#include <naru/reflection.h>

#include "grpc/health/v1/health.naru.h"
#include "grpc/reflection/v1/reflection.naru.h"
#include "told.naru.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef Grpc__Health__V1__HealthCheckRequest HealthRequest;
typedef Grpc__Health__V1__HealthCheckResponse HealthResponse;
typedef Grpc__Reflection__V1__ServerReflectionRequest Question;
typedef Grpc__Reflection__V1__ServerReflectionResponse Answer;

#define ASKS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TELLS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

enum { SMALLEST_WINDOW = 65536 };
enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

static const struct carrier {
    const char *name, *url;
    bool pair;
} carriers[] = {
    {"shm", "shm:%s/s", false}, {"unix", "unix:%s/s", false}, {"tcp", "tcp://127.0.0.1:0", false},
    {"pipe", "pipe:", true},    {NULL, NULL, false},
};
static const struct carrier *carrier;

/* ---- the server ---- */

struct shared {
    _Atomic int ready;
    char url[256];
};
static struct shared *shared;
static naru_server *the_server;
static naru_health *the_health;

/* "STATUS NAME" sets one; "down" shuts health down; "toggle" changes one many times from a thread,
 * and "flood" without a pause. */
static pthread_t toggling;
static _Atomic int toggles; /* 1: it runs, 2: it is to end */

static void *toggle(void *arg)
{
    (void)arg;
    for (int i = 0; atomic_load(&toggles) == 1; i++) {
        naru_health_set(the_health, "toggled", i % 2 ? SERVING : NOT_SERVING);
        usleep(200);
    }
    return NULL;
}

static int control(naru_call *call, void *self, const void *request, size_t size)
{
    char text[128] = "", name[100] = "";
    int status, r = 0;
    (void)self;
    memcpy(text, request, size < sizeof text - 1 ? size : sizeof text - 1);
    if (strcmp(text, "down") == 0)
        r = naru_health_shutdown(the_health);
    else if (strcmp(text, "toggle") == 0)
        r = atomic_exchange(&toggles, 1) ? 0 : -pthread_create(&toggling, NULL, toggle, NULL);
    else if (strcmp(text, "flood") == 0)
        for (int i = 0; i < 50000 && r == 0; i++)
            r = naru_health_set(the_health, "flooded", i % 2 ? SERVING : NOT_SERVING);
    else if (sscanf(text, "%d %99s", &status, name) >= 1)
        r = naru_health_set(the_health, name, status);
    return r < 0 ? r : naru_call_send(call, "", 0, NARU_FOREVER);
}

static const naru_method control_methods[] = {{"Do", 0, control, NULL, NULL}};
static const naru_service control_service = {
    .size = sizeof control_service, .name = "raw.Control", .methods = control_methods, .n = 1};
static const naru_route control_route = {"raw.Control/Do", 0, NULL};

static void on_term(int signal)
{
    (void)signal;
    naru_server_shutdown(the_server, PATIENCE);
}

struct start {
    naru_channel *a, *b;
    unsigned workers;
};

static void serve(void *context)
{
    static const struct told_teller_handlers teller;
    const struct start *start = context;
    const struct naru_server_options o = {.size = sizeof o, .workers = start->workers};
    naru_service told = told_teller_service(&teller);
    naru_reflection *reflection;
    if (start->b)
        naru_channel_close(start->b);
    expect_ok(naru_server_new(&o, &the_server));
    expect(naru_server_service(the_server, 0) == NULL);
    expect_ok(naru_server_add(the_server, &control_service, NULL));
    expect_ok(naru_reflection_new(the_server, &reflection));
    expect_ok(naru_health_new(the_server, &the_health));
    expect_ok(naru_server_add(the_server, &told, NULL)); /* after reflection */
    expect(naru_server_service(the_server, 0) == &control_service);
    expect(naru_server_service(the_server, 4) == &told);
    expect(naru_server_service(the_server, 5) == NULL);
    signal(SIGTERM, on_term);
    if (start->a) {
        expect_ok(naru_adopt(start->a));
        expect_ok(naru_server_attach(the_server, start->a));
    } else {
        expect_ok(naru_server_listen(the_server, test_url(carrier->url)));
        snprintf(shared->url, sizeof shared->url, "%s", naru_url(the_server));
    }
    shared->ready = 1;
    expect_ok(naru_server_run(the_server));
    signal(SIGTERM, SIG_IGN);
    if (atomic_exchange(&toggles, 2) == 1)
        pthread_join(toggling, NULL);
    naru_server_close(the_server);
    naru_reflection_close(reflection);
    naru_health_close(the_health);
}

struct world {
    pid_t server;
    naru_client *client;
};

static struct world begin_world(unsigned workers)
{
    static const struct naru_client_options options = {.size = sizeof options,
                                                       .window = SMALLEST_WINDOW};
    struct start start = {NULL, NULL, workers};
    struct world w;
    if (!shared)
        shared =
            mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared->ready = 0;
    if (carrier->pair)
        expect_ok(naru_channel_pair(carrier->url, NULL, &start.a, &start.b));
    w.server = start_child(serve, &start);
    if (start.a)
        naru_channel_close(start.a);
    for (int64_t end = test_now() + PATIENCE; !shared->ready && test_now() < end;)
        usleep(500);
    expect(shared->ready);
    if (carrier->pair)
        expect_ok(naru_client_attach(start.b, &options, &w.client));
    else
        expect_ok(naru_client_open(shared->url, &options, &w.client));
    return w;
}

/* In order: a call that nobody finishes would hold it up for its grace. */
static void end_world(struct world *w)
{
    int64_t began = test_now();
    naru_client_close(w->client);
    kill(w->server, SIGTERM);
    end_child(w->server);
    expect(test_now() - began < PATIENCE * 3 / 4);
}

static void order(naru_client *c, const char *text)
{
    expect_ok(naru_client_invoke(c, &control_route, text, strlen(text), NULL, NULL));
}

static int last_status(void)
{
    struct naru_status s;
    return naru_client_status(&s);
}

/* ---- health ---- */

/* The status; negative: as the call. */
static int check(naru_client *c, const char *service)
{
    HealthRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    HealthResponse *response;
    request.service = (char *)(uintptr_t)service;
    int r = grpc_health_v1_health_check(c, &request, NULL, &response);
    if (r < 0)
        return r;
    r = (int)response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return r;
}

static struct grpc_health_v1_health_watch watch(naru_client *c, const char *service)
{
    HealthRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct grpc_health_v1_health_watch stream;
    request.service = (char *)(uintptr_t)service;
    expect_ok(grpc_health_v1_health_watch_begin(c, &request, NULL, &stream));
    return stream;
}

static int next(struct grpc_health_v1_health_watch *stream, int64_t timeout)
{
    HealthResponse *response;
    int r = grpc_health_v1_health_watch_take(stream, timeout, &response);
    if (r <= 0)
        return r;
    r = (int)response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return r;
}

static void health_of_services(void)
{
    struct world w = begin_world(0);
    expect_code(SERVING, check(w.client, ""));
    expect_code(SERVING, check(w.client, "told.Teller"));
    expect_code(SERVING, check(w.client, "raw.Control"));
    expect_code(-EREMOTEIO, check(w.client, "nobody.Knows"));
    expect_code(NARU_STATUS_NOT_FOUND, last_status());
    expect_says("no service \"nobody.Knows\"");
    order(w.client, "2 told.Teller");
    expect_code(NOT_SERVING, check(w.client, "told.Teller"));
    expect_code(SERVING, check(w.client, ""));
    order(w.client, "1 nobody.Knows");
    expect_code(SERVING, check(w.client, "nobody.Knows"));
    order(w.client, "0 nobody.Knows");
    expect_code(0, check(w.client, "nobody.Knows"));
    order(w.client, "2 ");
    expect_code(NOT_SERVING, check(w.client, ""));
    end_world(&w);
}

static void watching_health(void)
{
    struct world w = begin_world(0);
    struct grpc_health_v1_health_watch known = watch(w.client, "told.Teller"),
                                       unknown = watch(w.client, "nobody.Knows");
    expect_code(SERVING, next(&known, PATIENCE));
    expect_code(SERVICE_UNKNOWN, next(&unknown, PATIENCE));
    order(w.client, "2 told.Teller");
    expect_code(NOT_SERVING, next(&known, PATIENCE));
    order(w.client, "2 told.Teller"); /* no change: nothing is told */
    expect_code(-ETIMEDOUT, next(&known, 20 * NARU_MS));
    order(w.client, "1 nobody.Knows");
    expect_code(SERVING, next(&unknown, PATIENCE));
    order(w.client, "1 told.Teller");
    expect_code(SERVING, next(&known, PATIENCE));
    naru_call_close(known.call); /* enough of one: the other goes on */
    order(w.client, "2 nobody.Knows");
    expect_code(NOT_SERVING, next(&unknown, PATIENCE));
    order(w.client, "1 told.Teller");
    naru_call_close(unknown.call);
    end_world(&w);
}

/* What it did not read is not kept for it, and the last is not lost. */
static void slow_watcher(void)
{
    struct world w = begin_world(0);
    struct grpc_health_v1_health_watch stream = watch(w.client, "flooded");
    int told = 0, status = 0;
    expect_code(SERVICE_UNKNOWN, next(&stream, PATIENCE));
    order(w.client, "flood");
    order(w.client, "0 flooded");
    do {
        status = next(&stream, PATIENCE);
        told++;
    } while (status == SERVING || status == NOT_SERVING);
    expect_code(0, status);
    expect(told < 50000);
    naru_call_close(stream.call);
    end_world(&w);
}

static void health_shut_down(void)
{
    struct world w = begin_world(0);
    struct grpc_health_v1_health_watch stream = watch(w.client, ""), late;
    expect_code(SERVING, next(&stream, PATIENCE));
    order(w.client, "down");
    expect_code(NOT_SERVING, next(&stream, PATIENCE));
    expect_code(-ECONNRESET, next(&stream, PATIENCE));
    expect_code(NARU_STATUS_UNAVAILABLE, last_status());
    naru_call_close(stream.call);
    expect_code(NOT_SERVING, check(w.client, "told.Teller"));
    late = watch(w.client, "");
    expect_code(-ECONNRESET, next(&late, PATIENCE));
    naru_call_close(late.call);
    expect_code(-ECONNRESET,
                naru_client_invoke(w.client, &control_route, "1 x", 3, NULL, NULL)); /* -EPIPE */
    expect_says("health was shut down");
    end_world(&w);
}

static void watch_and_wait(void *context)
{
    naru_client *c = *(naru_client **)context;
    expect_ok(naru_client_open(shared->url, NULL, &c));
    struct grpc_health_v1_health_watch stream = watch(c, "");
    expect_code(SERVING, next(&stream, PATIENCE));
    shared->ready = 2;
    for (;;)
        pause();
}

/* A client that is killed in the middle watches no more: the server ends in order. */
static void watcher_killed(void)
{
    struct world w = begin_world(0);
    if (!carrier->pair) {
        pid_t pid = start_child(watch_and_wait, &w.client);
        for (int64_t end = test_now() + PATIENCE; shared->ready != 2 && test_now() < end;)
            usleep(500);
        expect(shared->ready == 2);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        order(w.client, "2 ");
        expect_code(NOT_SERVING, check(w.client, ""));
    }
    end_world(&w);
}

/* Calls end while another thread sets the state, and workers begin them. */
static void watchers_come_and_go(void)
{
    enum { ROUNDS = 150 };
    struct world w = begin_world(2);
    order(w.client, "toggle");
    for (int i = 0; i < ROUNDS; i++) {
        struct grpc_health_v1_health_watch stream = watch(w.client, "toggled");
        for (int k = 0; k < i % 4; k++) {
            int status = next(&stream, PATIENCE);
            expect(status == SERVING || status == NOT_SERVING || status == SERVICE_UNKNOWN);
        }
        naru_call_close(stream.call);
    }
    end_world(&w);
}

/* ---- reflection ---- */

typedef struct grpc_reflection_v1_server_reflection_server_reflection_info Asking;

static void ask(Asking *asking, int what, const char *text)
{
    Question question = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    question.host = "somewhere";
    question.message_request_case = what;
    question.file_by_filename = (char *)(uintptr_t)text; /* each is a string in the same place */
    expect_ok(grpc_reflection_v1_server_reflection_server_reflection_info_send(asking, &question,
                                                                               PATIENCE));
}

static Answer *answer(Asking *asking)
{
    Answer *a;
    expect_code(
        1, grpc_reflection_v1_server_reflection_server_reflection_info_take(asking, PATIENCE, &a));
    return a;
}

static void forget(Answer *a)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(a, NULL);
}

static Asking begin_asking(naru_client *c)
{
    Asking asking;
    expect_ok(grpc_reflection_v1_server_reflection_server_reflection_info_begin(c, NULL, &asking));
    return asking;
}

static void end_asking(Asking *asking)
{
    expect_ok(grpc_reflection_v1_server_reflection_server_reflection_info_finish(asking, PATIENCE));
}

/* The names of the files of an answer, "a b c". */
static void expect_files(Asking *asking, int what, const char *about, const char *first, size_t n)
{
    ask(asking, what, about);
    Answer *a = answer(asking);
    expect(strcmp(a->valid_host, "somewhere") == 0);
    expect(a->original_request && a->original_request->message_request_case == (unsigned)what);
    if (a->message_response_case != TELLS(FILE_DESCRIPTOR_RESPONSE))
        test_failed(about, 0, "no files came");
    Grpc__Reflection__V1__FileDescriptorResponse *files = a->file_descriptor_response;
    expect(files->n_file_descriptor_proto == n);
    for (size_t i = 0; i < n; i++) {
        const ProtobufCBinaryData *bytes = &files->file_descriptor_proto[i];
        Google__Protobuf__FileDescriptorProto *file =
            google__protobuf__file_descriptor_proto__unpack(NULL, bytes->len, bytes->data);
        expect(file != NULL);
        expect(i > 0 || strcmp(file->name, first) == 0);
        expect(i == 0 || strcmp(file->name, first) != 0);
        google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
    }
    forget(a);
}

static void expect_error(Asking *asking, int what, const char *about, int code)
{
    ask(asking, what, about);
    Answer *a = answer(asking);
    expect(a->message_response_case == TELLS(ERROR_RESPONSE));
    expect_code(code, a->error_response->error_code);
    expect(strstr(a->error_response->error_message, about) || code == NARU_STATUS_UNIMPLEMENTED);
    forget(a);
}

static void services_are_listed(void)
{
    struct world w = begin_world(0);
    Asking asking = begin_asking(w.client);
    static const char *const names[] = {"raw.Control", "grpc.reflection.v1.ServerReflection",
                                        "grpc.reflection.v1alpha.ServerReflection",
                                        "grpc.health.v1.Health", "told.Teller"};
    ask(&asking, ASKS(LIST_SERVICES), "");
    Answer *a = answer(&asking);
    expect(a->message_response_case == TELLS(LIST_SERVICES_RESPONSE));
    expect(a->list_services_response->n_service == 5);
    for (int i = 0; i < 5; i++)
        expect(strcmp(a->list_services_response->service[i]->name, names[i]) == 0);
    forget(a);
    end_asking(&asking);
    end_world(&w);
}

static void symbols_are_found(void)
{
    static const char *const symbols[] = {"told.Teller",
                                          "told.Teller.Tell",
                                          "told.Open",
                                          "told.Open.time",
                                          "told.more",
                                          "told.Outer",
                                          "told.SECOND",
                                          "told.Holder.Inner",
                                          "told.Holder.Inner.Deep",
                                          "told.Holder.Inner.BOTTOM",
                                          "told.Holder.nested",
                                          "told.Holder.choice",
                                          "told.Holder.left"};
    static const char *const none[] = {"",
                                       "told",
                                       "told.",
                                       "told.Teller.",
                                       "told.Teller.None",
                                       "told.Outer.SECOND",
                                       "told.Holder.Deep",
                                       "Teller",
                                       "told.Tellers",
                                       "told.Tell",
                                       ".told.Teller",
                                       "toldXTeller"};
    struct world w = begin_world(0);
    Asking asking = begin_asking(w.client);
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        expect_files(&asking, ASKS(FILE_CONTAINING_SYMBOL), symbols[i], "told.proto", 3);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        expect_error(&asking, ASKS(FILE_CONTAINING_SYMBOL), none[i], NARU_STATUS_NOT_FOUND);
    expect_files(&asking, ASKS(FILE_CONTAINING_SYMBOL), "grpc.health.v1.Health.Watch",
                 "grpc/health/v1/health.proto", 1);
    expect_files(&asking, ASKS(FILE_CONTAINING_SYMBOL), "google.protobuf.Empty",
                 "google/protobuf/empty.proto", 1);
    expect_files(&asking, ASKS(FILE_CONTAINING_SYMBOL), "grpc.reflection.v1alpha.ServerReflection",
                 "grpc/reflection/v1alpha/reflection.proto", 1);
    expect_files(&asking, ASKS(FILE_BY_FILENAME), "told.proto", "told.proto", 3);
    expect_files(&asking, ASKS(FILE_BY_FILENAME), "google/protobuf/timestamp.proto",
                 "google/protobuf/timestamp.proto", 1);
    expect_error(&asking, ASKS(FILE_BY_FILENAME), "other.proto", NARU_STATUS_NOT_FOUND);
    expect_error(&asking, ASKS(_NOT_SET), "", NARU_STATUS_UNIMPLEMENTED);
    end_asking(&asking);
    end_world(&w);
}

static void extensions_are_found(void)
{
    struct world w = begin_world(0);
    Asking asking = begin_asking(w.client);
    ask(&asking, ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE), "told.Open");
    Answer *a = answer(&asking);
    expect(a->message_response_case == TELLS(ALL_EXTENSION_NUMBERS_RESPONSE));
    expect(a->all_extension_numbers_response->n_extension_number == 2);
    expect(a->all_extension_numbers_response->extension_number[0] == 100);
    expect(a->all_extension_numbers_response->extension_number[1] == 107);
    expect(strcmp(a->all_extension_numbers_response->base_type_name, "told.Open") == 0);
    forget(a);
    ask(&asking, ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE), "told.Holder");
    a = answer(&asking);
    expect(a->message_response_case == TELLS(ALL_EXTENSION_NUMBERS_RESPONSE));
    expect(a->all_extension_numbers_response->n_extension_number == 0);
    forget(a);
    expect_error(&asking, ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE), "told.None", NARU_STATUS_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        Question question = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
        Grpc__Reflection__V1__ExtensionRequest extension =
            GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
        extension.containing_type = "told.Open";
        extension.extension_number = 107 + i;
        question.message_request_case = ASKS(FILE_CONTAINING_EXTENSION);
        question.file_containing_extension = &extension;
        expect_ok(grpc_reflection_v1_server_reflection_server_reflection_info_send(
            &asking, &question, PATIENCE));
        a = answer(&asking);
        expect(a->message_response_case ==
               (i ? TELLS(ERROR_RESPONSE) : TELLS(FILE_DESCRIPTOR_RESPONSE)));
        forget(a);
    }
    end_asking(&asking);
    end_world(&w);
}

/* The first form, whose messages are the same bytes. */
static void first_form(void)
{
    static const naru_route route = {
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL};
    struct world w = begin_world(0);
    Asking asking;
    expect_ok(naru_call_begin(w.client, &route, NULL, &asking.call));
    expect_files(&asking, ASKS(FILE_CONTAINING_SYMBOL), "told.Teller", "told.proto", 3);
    end_asking(&asking);
    end_world(&w);
}

/* A stream that stays open holds nobody up, in the loop's thread as in workers. */
static void streams_stay_open(void)
{
    for (unsigned workers = 0; workers < 2; workers++) {
        struct world w = begin_world(workers);
        Asking asking[20];
        for (int i = 0; i < 20; i++) {
            asking[i] = begin_asking(w.client);
            expect_files(&asking[i], ASKS(FILE_BY_FILENAME), "told.proto", "told.proto", 3);
        }
        expect_code(SERVING, check(w.client, ""));
        for (int i = 0; i < 20; i++) {
            expect_files(&asking[i], ASKS(FILE_BY_FILENAME), "told.proto", "told.proto", 3);
            if (i % 2)
                end_asking(&asking[i]);
            else
                naru_call_close(asking[i].call);
        }
        end_world(&w);
    }
}

/* Many questions before the first answer is read: some wait for room, and too many are refused. */
static void answers_wait_for_room(void)
{
    struct world w = begin_world(0);
    const struct naru_call_options o = {.size = sizeof o, .timeout = PATIENCE};
    Asking asking = begin_asking(w.client);
    ask(&asking, ASKS(FILE_BY_FILENAME), "told.proto");
    Answer *first = answer(&asking);
    size_t size = grpc__reflection__v1__server_reflection_response__get_packed_size(first) + 64;
    size_t n = SMALLEST_WINDOW / size + 10; /* about ten more than there is room for */
    forget(first);
    for (size_t i = 0; i < n; i++)
        ask(&asking, ASKS(FILE_BY_FILENAME), "told.proto");
    naru_call_shutdown(asking.call);
    for (size_t i = 0; i < n; i++)
        forget(answer(&asking));
    end_asking(&asking);

    Question question = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    question.message_request_case = ASKS(FILE_BY_FILENAME);
    question.file_by_filename = "told.proto";
    expect_ok(
        grpc_reflection_v1_server_reflection_server_reflection_info_begin(w.client, &o, &asking));
    int r = 0;
    for (int i = 0; i < 100000 && r == 0; i++)
        r = grpc_reflection_v1_server_reflection_server_reflection_info_send(&asking, &question,
                                                                             PATIENCE);
    expect_code(-EREMOTEIO, r);
    expect_code(NARU_STATUS_RESOURCE_EXHAUSTED, last_status());
    naru_call_close(asking.call);
    expect_code(SERVING, check(w.client, ""));
    end_world(&w);
}

static void hostile_questions(void)
{
    static const char garbage[] = "\x0a\xff\xff\xff\xff\x0f not a question";
    struct world w = begin_world(0);
    char *large = calloc(1, 100000);
    Asking asking = begin_asking(w.client);
    Answer *a;
    expect_ok(naru_call_send(asking.call, garbage, sizeof garbage, PATIENCE));
    expect_code(-EREMOTEIO, grpc_reflection_v1_server_reflection_server_reflection_info_take(
                                &asking, PATIENCE, &a));
    expect_code(NARU_STATUS_INVALID_ARGUMENT, last_status());
    naru_call_close(asking.call);
    asking = begin_asking(w.client);
    expect_ok(naru_call_send(asking.call, large, 100000, PATIENCE));
    expect_code(-EREMOTEIO, grpc_reflection_v1_server_reflection_server_reflection_info_take(
                                &asking, PATIENCE, &a));
    expect_code(NARU_STATUS_INVALID_ARGUMENT, last_status());
    expect_says("a question of 100000 bytes");
    naru_call_close(asking.call);
    struct grpc_health_v1_health_watch stream;
    HealthRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    memset(large, 'x', 2000);
    request.service = large;
    expect_ok(grpc_health_v1_health_watch_begin(w.client, &request, NULL, &stream));
    expect_code(-EREMOTEIO, next(&stream, PATIENCE));
    expect_code(NARU_STATUS_INVALID_ARGUMENT, last_status());
    naru_call_close(stream.call);
    free(large);
    asking = begin_asking(w.client); /* and it goes away in the middle */
    ask(&asking, ASKS(FILE_BY_FILENAME), "told.proto");
    end_world(&w);
}

/* ---- what the functions refuse ---- */

static void refusals(void)
{
    naru_server *server;
    naru_health *health, *second = NULL;
    naru_reflection *reflection, *another = NULL;
    char name[1030];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    expect_ok(naru_server_new(NULL, &server));
    expect_ok(naru_health_new(server, &health));
    expect_code(-EEXIST, naru_health_new(server, &second));
    expect(second == NULL);
    expect_ok(naru_reflection_new(server, &reflection));
    expect_code(-EEXIST, naru_reflection_new(server, &another));
    expect(another == NULL);
    expect_code(-EINVAL, naru_health_set(health, NULL, SERVING));
    expect_code(-EINVAL, naru_health_set(NULL, "", SERVING));
    expect_code(-EINVAL, naru_health_set(health, name, SERVING));
    expect_code(-EINVAL, naru_health_set(health, "", SERVICE_UNKNOWN));
    expect_says("3 is no status");
    expect_code(-EINVAL, naru_health_set(health, "", -1));
    expect_code(-EINVAL, naru_health_shutdown(NULL));
    expect_ok(naru_health_set(health, "", SERVING));
    expect_ok(naru_health_shutdown(health));
    expect_code(-EPIPE, naru_health_set(health, "", SERVING));
    expect(naru_health_close(NULL) == NULL);
    expect(naru_reflection_close(NULL) == NULL);
    naru_server_close(server);
    naru_health_close(health);
    naru_reflection_close(reflection);
}

static const struct test_case cases[] = {
    {"the health of services", health_of_services},
    {"watching health", watching_health},
    {"a watcher that reads slowly", slow_watcher},
    {"health is shut down", health_shut_down},
    {"a watcher is killed", watcher_killed},
    {"watchers come and go", watchers_come_and_go},
    {"services are listed", services_are_listed},
    {"symbols are found", symbols_are_found},
    {"extensions are found", extensions_are_found},
    {"reflection's first form", first_form},
    {"streams stay open", streams_stay_open},
    {"answers wait for room", answers_wait_for_room},
    {"hostile questions", hostile_questions},
    {"refusals", refusals},
};

int main(int argc, char **argv)
{
    for (carrier = carriers; carrier->name; carrier++)
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
