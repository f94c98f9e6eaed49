/* SPDX-License-Identifier: MIT */
/* questions.c - what anybody may ask of reflection, in both its forms, and of health.
 *
 * Input: messages; a byte, of which the lowest bit chooses (1: of health), two of length, the
 * bytes. A question goes to both forms of reflection, which answer alike, in order, until one of
 * them is no question; a request goes to Check and Watch, which know the same services. Each answer
 * can be unpacked, and has its question in it. */
#include <naru/health.h>
#include <naru/naru.h>
#include <naru/protobuf.h>
#include <naru/reflection.h>

#include "grpc/health/v1/health.naru.h"
#include "grpc/reflection/v1/reflection.naru.h"
#include "told.naru.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FORMS = 2, OF_HEALTH = 1, SERVICE_UNKNOWN = 3 };
static const naru_route forms[FORMS] = {
    {"grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL},
    {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
     NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL}};
static const naru_route check = {"grpc.health.v1.Health/Check", 0, NULL},
                        watch = {"grpc.health.v1.Health/Watch", NARU_SERVER_STREAMS, NULL};

static naru_server *server;
static naru_client *client;

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void get_on(void)
{
    for (int i = 0; i < 4; i++) {
        (void)naru_server_process(server, NARU_NOWAIT);
        (void)naru_client_process(client, NARU_NOWAIT);
    }
}

/* 1, 0, or the negative errno of the status. There must be something. */
static int next(naru_call *call, struct naru_payload *ret_payload)
{
    int r = -EAGAIN;
    for (int i = 0; i < 100 && r == -EAGAIN; i++) {
        get_on();
        r = naru_call_take(call, NARU_NOWAIT, ret_payload);
    }
    must(r != -EAGAIN);
    return r;
}

static int last_status(void)
{
    struct naru_status s;
    return naru_client_status(&s);
}

/* ---- reflection ---- */

typedef Grpc__Reflection__V1__ServerReflectionRequest Question;
typedef Grpc__Reflection__V1__ServerReflectionResponse Answer;

static bool same(const void *a, const void *b)
{
    uint8_t *bytes[2];
    const void *messages[2] = {a, b};
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        size[i] = protobuf_c_message_get_packed_size(messages[i]);
        must((bytes[i] = malloc(size[i] + 1)) != NULL);
        protobuf_c_message_pack(messages[i], bytes[i]);
    }
    bool is = size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0;
    free(bytes[0]);
    free(bytes[1]);
    return is;
}

static void check_answer(const Question *question, const struct naru_payload *p)
{
    void *message;
    must(naru_protobuf_unpack(&grpc__reflection__v1__server_reflection_response__descriptor,
                              p->data, p->size, &message) == 0);
    const Answer *answer = message;
    must(answer->original_request && same(answer->original_request, question));
    must(answer->message_response_case !=
         GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE__NOT_SET);
    naru_protobuf_free(message);
}

/* False: the calls are over. */
static bool ask(naru_call *const *calls, const uint8_t *data, size_t size)
{
    struct naru_payload p[FORMS];
    void *question = NULL;
    int known = naru_protobuf_unpack(&grpc__reflection__v1__server_reflection_request__descriptor,
                                     data, size, &question);
    int r[FORMS], code[FORMS];
    for (int i = 0; i < FORMS; i++) {
        must(naru_call_send(calls[i], data, size, NARU_NOWAIT) == 0);
        r[i] = next(calls[i], &p[i]);
        code[i] = r[i] < 0 ? last_status() : 0;
    }
    must(r[0] == r[1] && code[0] == code[1]);
    if (r[0] == 1) {
        must(known == 0 && p[0].size == p[1].size && memcmp(p[0].data, p[1].data, p[0].size) == 0);
        check_answer(question, &p[0]);
        for (int i = 0; i < FORMS; i++)
            must(naru_call_release(calls[i], &p[i]) == 0);
    } else {
        must(code[0] == NARU_STATUS_INVALID_ARGUMENT);
    }
    if (known == 0)
        naru_protobuf_free(question);
    return r[0] == 1;
}

static void reflect(const uint8_t *data, size_t size)
{
    static naru_call *calls[FORMS]; /* as long as questions are answered */
    if (!data) {
        for (int i = 0; i < FORMS; i++) {
            struct naru_payload p;
            if (calls[i])
                must(naru_call_shutdown(calls[i]) == 0 && next(calls[i], &p) == 0);
            calls[i] = naru_call_close(calls[i]);
        }
        return;
    }
    for (int i = 0; i < FORMS && !calls[i]; i++)
        must(naru_call_begin(client, &forms[i], NULL, &calls[i]) == 0);
    if (!ask(calls, data, size))
        for (int i = 0; i < FORMS; i++)
            calls[i] = naru_call_close(calls[i]);
}

/* ---- health ---- */

/* The state that is told; negative: the status as one. */
static int health(const naru_route *route, const uint8_t *data, size_t size)
{
    struct naru_payload p;
    naru_call *call;
    void *message;
    must(naru_call_begin(client, route, NULL, &call) == 0);
    must(naru_call_send(call, data, size, NARU_NOWAIT) == 0);
    int state, r = next(call, &p);
    if (r == 1) {
        must(naru_protobuf_unpack(&grpc__health__v1__health_check_response__descriptor, p.data,
                                  p.size, &message) == 0);
        state = (int)((Grpc__Health__V1__HealthCheckResponse *)message)->status;
        must(state >= 0 && state <= SERVICE_UNKNOWN);
        naru_protobuf_free(message);
        must(naru_call_release(call, &p) == 0);
    } else {
        must(r < 0);
        state = -last_status();
    }
    naru_call_close(call);
    get_on();
    return state;
}

static void ask_health(const uint8_t *data, size_t size)
{
    int checked = health(&check, data, size), watched = health(&watch, data, size);
    if (checked == -NARU_STATUS_NOT_FOUND) /* a name may be too long to be watched */
        must(watched == SERVICE_UNKNOWN || watched == -NARU_STATUS_INVALID_ARGUMENT);
    else
        must(checked == watched && (checked > 0 || checked == -NARU_STATUS_INVALID_ARGUMENT));
}

/* ---- both ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct told_teller_handlers teller;
    const naru_service told = told_teller_service(&teller);
    naru_channel *a, *b;
    naru_health *state;
    naru_reflection *reflection;
    if (naru_channel_pair("pipe:", NULL, &a, &b) < 0)
        return 0;
    must(naru_server_new(NULL, &server) == 0 && naru_server_add(server, &told, NULL) == 0);
    must(naru_health_new(server, &state) == 0 && naru_reflection_new(server, &reflection) == 0);
    must(naru_health_set(state, "set", NARU_HEALTH_NOT_SERVING) == 0);
    must(naru_server_attach(server, a) == 0 && naru_client_attach(b, NULL, &client) == 0);
    while (naru_client_wait_ready(client, NARU_NOWAIT) != 0)
        get_on();
    for (size_t at = 0; at + 3 <= size;) {
        bool of_health = data[at] & OF_HEALTH;
        size_t n = data[at + 1] | (size_t)data[at + 2] << 8;
        at += 3;
        n = n < size - at ? n : size - at;
        (of_health ? ask_health : reflect)(data + at, n);
        at += n;
    }
    reflect(NULL, 0);
    naru_client_close(client);
    naru_server_close(server);
    naru_reflection_close(reflection);
    naru_health_close(state);
    return 0;
}
