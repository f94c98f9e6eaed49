/* SPDX-License-Identifier: MIT */
/* sweep.c - the n-th failure, for every n, of reflection and health: as tests/sweep-services.c. The
 * library and protobuf-c ask libc for memory, so the linker puts the functions here in between.
 *
 * Each function succeeds or says why not; each call ends as soon as nothing fails any more; each
 * answer is the one that comes without a failure, or says that memory is short or that something
 * broke, and never that what is there is not. What is closed leaves nothing behind, and the next
 * client is told all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../sweep-codes.h"

#include <naru/health.h>
#include <naru/naru.h>
#include <naru/protobuf.h>
#include <naru/reflection.h>

#include "grpc/health/v1/health.naru.h"
#include "grpc/reflection/v1/reflection.naru.h"
#include "told.naru.h"

typedef Grpc__Health__V1__HealthCheckRequest HealthRequest;
typedef Grpc__Reflection__V1__ServerReflectionRequest Question;
typedef Grpc__Reflection__V1__ServerReflectionResponse Answer;

#define ASKS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TELLS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

/* ---- memory ---- */

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

void *__wrap_malloc(size_t size)
{
    return naru__fault_at("alloc") < 0 ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return naru__fault_at("alloc") < 0 ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return naru__fault_at("alloc") < 0 ? NULL : __real_realloc(old, size);
}

/* Of its two services one was added, and there is no way back: it stays, as reflection.c says. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:naru_reflection_new";
}

/* ---- what is asked ---- */

enum { REFLECTION, FIRST_FORM, CHECK, NOBODY, WATCH, CALLS, QUESTIONS = 6, ANSWERS_MAX = 8 };
static const naru_route routes[CALLS] = {
    {"grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL},
    {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
     NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL},
    {"grpc.health.v1.Health/Check", 0, NULL},
    {"grpc.health.v1.Health/Check", 0, NULL},
    {"grpc.health.v1.Health/Watch", NARU_SERVER_STREAMS, NULL},
};
static const unsigned n_asked[CALLS] = {QUESTIONS, 1, 1, 1, 1};

struct bytes {
    size_t size;
    uint8_t data[16384];
};
static struct bytes asked[CALLS][QUESTIONS];
static struct bytes right[CALLS][ANSWERS_MAX]; /* what is answered when nothing fails */
static unsigned n_right[CALLS];
static int right_code[CALLS];

static void pack(struct bytes *b, const void *message)
{
    b->size = protobuf_c_message_get_packed_size(message);
    assert_true(b->size <= sizeof b->data);
    protobuf_c_message_pack(message, b->data);
}

static void pack_questions(void)
{
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    extension.containing_type = "told.Open";
    extension.extension_number = 107;
    for (int i = 0; i < QUESTIONS; i++) {
        Question q = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
        switch (i) {
        case 0:
            q.message_request_case = ASKS(FILE_CONTAINING_SYMBOL);
            q.file_containing_symbol = "told.Holder.Inner.BOTTOM";
            break;
        case 1:
            q.message_request_case = ASKS(LIST_SERVICES);
            q.list_services = "";
            break;
        case 2:
            q.message_request_case = ASKS(FILE_BY_FILENAME);
            q.file_by_filename = "grpc/health/v1/health.proto";
            break;
        case 3:
            q.message_request_case = ASKS(FILE_CONTAINING_EXTENSION);
            q.file_containing_extension = &extension;
            break;
        case 4:
            q.message_request_case = ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE);
            q.all_extension_numbers_of_type = "told.Open";
            break;
        default:
            q.message_request_case = ASKS(FILE_CONTAINING_SYMBOL);
            q.file_containing_symbol = "nobody.Has";
        }
        pack(&asked[REFLECTION][i], &q);
    }
    asked[FIRST_FORM][0] = asked[REFLECTION][0];
    static const char *const names[CALLS] = {[CHECK] = "", [NOBODY] = "no.Body", [WATCH] = "set"};
    for (int i = CHECK; i < CALLS; i++) {
        HealthRequest h = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
        h.service = (char *)(uintptr_t)names[i];
        pack(&asked[i][0], &h);
    }
}

/* ---- one server, one client ---- */

static struct {
    naru_server *server;
    naru_health *health;
    naru_reflection *reflection;
    naru_client *client;
    naru_call *call[CALLS];
    int code[CALLS]; /* -1: not ended, -2: not begun */
    unsigned n[CALLS];
} w;
static struct bytes answered[CALLS][ANSWERS_MAX];

static void got(naru_call *call, void *arg, const void *data, size_t size)
{
    intptr_t i = (intptr_t)arg;
    struct bytes *b = &answered[i][w.n[i]];
    (void)call;
    wrong_if(w.n[i] == ANSWERS_MAX || size > sizeof b->data, "more came than was asked for");
    if (w.n[i] == ANSWERS_MAX || size > sizeof b->data)
        return;
    b->size = size;
    memcpy(b->data, data, size);
    w.n[i]++;
}

static void ended(naru_call *call, void *arg, const struct naru_status *status)
{
    intptr_t i = (intptr_t)arg;
    wrong_if(w.code[i] != -1, "a call has ended twice");
    w.code[i] = status->code;
    w.call[i] = naru_call_close(call);
}

static void begin(intptr_t i)
{
    static const struct naru_call_events events = {
        .size = sizeof events, .message = got, .end = ended};
    w.code[i] = -2;
    w.n[i] = 0;
    if (!fine(naru_call_begin(w.client, &routes[i], NULL, &w.call[i])))
        return;
    w.code[i] = -1;
    bool good = fine(naru_call_on(w.call[i], &events, (void *)i));
    for (unsigned k = 0; good && w.call[i] && k < n_asked[i]; k++)
        good = fine(naru_call_send(w.call[i], asked[i][k].data, asked[i][k].size, NARU_NOWAIT));
    if (good && w.call[i] && routes[i].flags & NARU_CLIENT_STREAMS)
        good = fine(naru_call_shutdown(w.call[i]));
    if (!good && w.call[i]) {
        w.call[i] = naru_call_close(w.call[i]);
        w.code[i] = -2;
    }
}

static bool all_ended(void)
{
    bool all = true;
    for (int i = 0; i < CALLS; i++)
        all &= w.code[i] != -1;
    return all;
}

/* Both get on, in turn, for so long, or so often as nothing happens. */
static void pump(int64_t until, int idle)
{
    while (idle > 0 && !all_ended() && now() < until) {
        int a = naru_server_process(w.server, NARU_NOWAIT);
        int b = naru_client_process(w.client, NARU_NOWAIT);
        (void)fine(a), (void)fine(b);
        idle -= a < 0 && b < 0;
    }
}

static bool meet(naru_client **ret_client)
{
    naru_channel *a, *b;
    return naru_channel_pair("pipe:", NULL, &a, &b) == 0 && naru_server_attach(w.server, a) == 0 &&
           naru_client_attach(b, NULL, ret_client) == 0;
}

static void exchange(void)
{
    naru_health *health = POISON;
    naru_reflection *reflection = POISON;
    if (fine(naru_health_new(w.server, &health)))
        w.health = health;
    else
        wrong_if(health != POISON, "an out-parameter was touched");
    if (fine(naru_reflection_new(w.server, &reflection)))
        w.reflection = reflection;
    else
        wrong_if(reflection != POISON, "an out-parameter was touched");
    if (w.health)
        (void)fine(naru_health_set(w.health, "set", NARU_HEALTH_SERVING));
    for (int i = 0; i < CALLS; i++)
        begin(i);
    pump(now() + PATIENCE, 4);
    if (w.health && fine(naru_health_set(w.health, "set", NARU_HEALTH_NOT_SERVING)))
        pump(now() + PATIENCE, 4);
    if (w.health)
        (void)fine(naru_health_shutdown(w.health));
}

static void close_all(void)
{
    for (int i = 0; i < CALLS; i++)
        w.call[i] = naru_call_close(w.call[i]);
    w.client = naru_client_close(w.client);
    w.server = naru_server_close(w.server);
    w.reflection = naru_reflection_close(w.reflection);
    w.health = naru_health_close(w.health);
}

/* ---- is it right? ---- */

static bool same(const struct bytes *a, const struct bytes *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* It tells of the services there are, some of which may not have come to be. */
static bool tells_of_all(int i)
{
    return i != REFLECTION || (w.health && w.reflection);
}

/* An answer that says why it is none. */
static bool excused(const struct bytes *b)
{
    void *message;
    if (naru_protobuf_unpack(&grpc__reflection__v1__server_reflection_response__descriptor, b->data,
                             b->size, &message) < 0)
        return false;
    const Answer *a = message;
    bool is = a->message_response_case == TELLS(ERROR_RESPONSE) &&
              (a->error_response->error_code == NARU_STATUS_RESOURCE_EXHAUSTED ||
               a->error_response->error_code == NARU_STATUS_INTERNAL) &&
              *a->error_response->error_message;
    naru_protobuf_free(message);
    return is;
}

static void check_answers(bool faulty)
{
    static const uint8_t serving[] = {8, 1}, not_serving[] = {8, 2}, unknown[] = {8, 3};
    for (int i = 0; i < CALLS; i++) {
        wrong_if(w.code[i] == -1, "a call does not end");
        wrong_if(!faulty && w.code[i] != right_code[i], "a call ends otherwise");
        wrong_if(w.code[i] == NARU_STATUS_INVALID_ARGUMENT, "the client is blamed");
        wrong_if(w.code[i] == NARU_STATUS_OK && w.n[i] != n_right[i], "answers are missing");
        for (unsigned k = 0; k < w.n[i]; k++) {
            const struct bytes *b = &answered[i][k];
            if (i == WATCH) /* what could not be set is not there */
                wrong_if(b->size != 2 || (memcmp(b->data, serving, 2) != 0 &&
                                          memcmp(b->data, not_serving, 2) != 0 &&
                                          (!faulty || memcmp(b->data, unknown, 2) != 0)),
                         "a watcher is told what was never so");
            else if (i == CHECK && faulty && b->size == 2 && memcmp(b->data, not_serving, 2) == 0)
                ; /* asked when it was down already */
            else if (tells_of_all(i) && (k >= n_right[i] || !same(b, &right[i][k])))
                wrong_if(!faulty || i > FIRST_FORM || !excused(b), "an answer is wrong");
        }
    }
}

/* The next client, of a server whose services came to be, is told all; of another, that they are
 * not there. */
static void check_next(void)
{
    for (int i = 0; i < CALLS; i++)
        w.call[i] = naru_call_close(w.call[i]);
    naru_client_close(w.client);
    assert_true(meet(&w.client));
    for (int i = 0; i < CALLS; i++)
        begin(i);
    pump(now() + PATIENCE, 1000000);
    for (int i = 0; i < CALLS; i++) {
        bool served = i <= FIRST_FORM ? w.reflection != NULL : w.health != NULL;
        if (served && i != WATCH)
            wrong_if(w.code[i] != right_code[i], "the next client is not served");
        else if (served)
            wrong_if(w.code[i] != NARU_STATUS_UNAVAILABLE, "the next one watches what is down");
        else if (i > FIRST_FORM)
            wrong_if(w.code[i] != NARU_STATUS_UNIMPLEMENTED, "what failed is served");
        for (unsigned k = 0; served && tells_of_all(i) && i <= FIRST_FORM && k < n_right[i]; k++)
            wrong_if(k >= w.n[i] || !same(&answered[i][k], &right[i][k]),
                     "the next client is told otherwise");
    }
}

static bool point(int at, int code, bool for_ever, long *ret_points)
{
    static const struct told_teller_handlers teller;
    const naru_service told = told_teller_service(&teller);
    const int before = open_descriptors();
    static char why[256];
    wrong = NULL;
    memset(&w, 0, sizeof w);
    need(naru_server_new(NULL, &w.server));
    need(naru_server_add(w.server, &told, NULL));
    assert_true(meet(&w.client));
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    exchange();
    disarm();
    snprintf(why, sizeof why, "%s", naru_why());
    if (w.health && w.code[WATCH] == -1) /* if it could not be told so */
        need(naru_health_shutdown(w.health));
    pump(now() + PATIENCE, 1000000);
    if (at < 0) {
        memcpy(right, answered, sizeof right);
        memcpy(n_right, w.n, sizeof n_right);
        memcpy(right_code, w.code, sizeof right_code);
    }
    check_answers(at >= 0);
    check_next();
    close_all();
    alarm(0);
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    if (wrong && (counts || at < 0)) {
        print_message("# call %d (%s), errno number %d%s: %s; \"%s\"; %d %d %d %d %d\n", at,
                      hook->call, code, for_ever ? ", for ever" : "", wrong, why, w.code[0],
                      w.code[1], w.code[2], w.code[3], w.code[4]);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

static void sweep(void **state)
{
    const int step = getenv("ONCE") ? 1 : 2;
    long points = 0;
    (void)state;
    pack_questions();
    assert_true(point(-1, 0, false, &points));
    assert_int_equal(n_right[REFLECTION], QUESTIONS);
    assert_int_equal(n_right[WATCH], 2);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(right_code[i], i == NOBODY  ? NARU_STATUS_NOT_FOUND
                                        : i == WATCH ? NARU_STATUS_UNAVAILABLE
                                                     : NARU_STATUS_OK);
    for (int mode = 0; mode < step; mode++)
        for (int at = 0, reached = 1; reached; at++)
            for (int code = reached = 0; code < CODES_MAX && at < CALLS_MAX; code = next_code(code))
                reached |= point(at, code, mode == 1, &points);
    print_message("# %ld points\n", points);
    assert_true(points > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweep)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
