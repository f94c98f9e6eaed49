/* SPDX-License-Identifier: MIT */
/* reflect.c - asking a server's reflection, in one stream of questions and answers. */
#include "tool/reflect.h"
#include "tool/certificates.h"

#include <naru/protobuf.h>

#include "grpc/reflection/v1/reflection.pb-c.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest Question;
typedef Grpc__Reflection__V1__ServerReflectionResponse Answer;

enum { ANSWER_MAX = 256 << 20 };

#define ASKS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TELLS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NARU_S + t.tv_nsec;
}

int64_t reflect_left(const struct reflect *r)
{
    if (r->until == NARU_FOREVER)
        return NARU_FOREVER;
    int64_t left = r->until - now();
    return left > 0 ? left : 1; /* 0 would be none */
}

/* ---- one question ---- */

static int send_question(struct reflect *r, const Question *question)
{
    static const naru_route forms[] = {
        {"grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
         NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL},
        {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
         NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL},
    };
    const struct naru_call_options o = {.size = sizeof o,
                                        .timeout = reflect_left(r),
                                        .flags =
                                            option_flag(r->in, "wait") ? NARU_WAIT_FOR_READY : 0};
    int status = r->call ? 0 : naru_call_begin(r->client, &forms[r->first_form], &o, &r->call);
    return status < 0 ? status : naru_protobuf_send(r->call, question, NARU_FOREVER);
}

/* 0; negative, with its sentence kept: then the stream is gone. */
static int exchange(struct reflect *r, const Question *question, Answer **ret_answer)
{
    struct naru_status status;
    void *answer = NULL;
    for (;;) {
        int code = send_question(r, question);
        if (code >= 0)
            code = naru_protobuf_take(r->call,
                                      &grpc__reflection__v1__server_reflection_response__descriptor,
                                      NARU_FOREVER, &answer);
        *ret_answer = answer;
        if (code == 1) {
            r->why[0] = '\0'; /* of a form that the server has not */
            return 0;
        }
        if (code == 0)
            code = naru_fail(-EPROTO, "the server ended its reflection without an answer");
        bool older = code == -EREMOTEIO && !r->first_form &&
                     naru_client_status(&status) == NARU_STATUS_UNIMPLEMENTED;
        bool none = code == -EREMOTEIO && naru_client_status(&status) == NARU_STATUS_UNIMPLEMENTED;
        snprintf(r->why, sizeof r->why, "%s%s", naru_why(),
                 none ? ": the server has no reflection, which naru_reflection_new adds" : "");
        r->call = naru_call_close(r->call);
        if (!older)
            return code;
        r->first_form = true;
    }
}

static void forget(Answer *answer)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(answer, NULL);
}

/* ---- the schema's source ---- */

static int ask(void *arg, enum schema_asks asks, const char *name, int number,
               void (*got)(void *to, const void *data, size_t size, int number), void *to)
{
    struct reflect *r = arg;
    Question question = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    Answer *answer;
    char *text = (char *)(uintptr_t)name;
    switch (asks) {
    case SCHEMA_FILE:
        question.message_request_case = ASKS(FILE_BY_FILENAME);
        question.file_by_filename = text;
        break;
    case SCHEMA_SYMBOL:
        question.message_request_case = ASKS(FILE_CONTAINING_SYMBOL);
        question.file_containing_symbol = text;
        break;
    case SCHEMA_EXTENSION:
        extension.containing_type = text;
        extension.extension_number = number;
        question.message_request_case = ASKS(FILE_CONTAINING_EXTENSION);
        question.file_containing_extension = &extension;
        break;
    case SCHEMA_EXTENSIONS:
        question.message_request_case = ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE);
        question.all_extension_numbers_of_type = text;
        break;
    }
    if (exchange(r, &question, &answer) < 0)
        return -1;
    int status = 1;
    if (answer->message_response_case == TELLS(FILE_DESCRIPTOR_RESPONSE)) {
        const Grpc__Reflection__V1__FileDescriptorResponse *files =
            answer->file_descriptor_response;
        for (size_t i = 0; i < files->n_file_descriptor_proto; i++)
            got(to, files->file_descriptor_proto[i].data, files->file_descriptor_proto[i].len, 0);
        status = 0;
    } else if (answer->message_response_case == TELLS(ALL_EXTENSION_NUMBERS_RESPONSE)) {
        const Grpc__Reflection__V1__ExtensionNumberResponse *numbers =
            answer->all_extension_numbers_response;
        for (size_t i = 0; i < numbers->n_extension_number; i++)
            got(to, NULL, 0, numbers->extension_number[i]);
        status = 0;
    }
    forget(answer);
    return status;
}

int reflect_services(struct reflect *r, void (*each)(void *, const char *), void *arg)
{
    Question question = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    Answer *answer;
    question.message_request_case = ASKS(LIST_SERVICES);
    question.list_services = "";
    if (exchange(r, &question, &answer) < 0)
        return fail(r->in, "%s", r->why);
    int status = 0;
    if (answer->message_response_case == TELLS(LIST_SERVICES_RESPONSE))
        for (size_t i = 0; i < answer->list_services_response->n_service; i++)
            each(arg, answer->list_services_response->service[i]->name);
    else
        status = fail(r->in, "%s: its reflection does not list its services", r->in->arguments[0]);
    forget(answer);
    return status;
}

int reflect_fail(struct reflect *r, char *why)
{
    /* what could not be asked is the reason for all that is not known */
    int status = fail(r->in, "%s", r->why[0] ? r->why : why ? why : "no memory");
    free(why);
    return status;
}

/* ---- opening ---- */

/* The module is found by where this program is: beside it in the tree where it was built, else
 * where both were installed. */
static void *load_module(void)
{
    static const char *const places[] = {"naru-schema.so",
                                         "../" NARU_LIBDIR "/naru/naru-schema.so"};
    char path[4200];
    void *module = NULL;
    ssize_t n = readlink("/proc/self/exe", path, 4096);
    while (n > 0 && path[n - 1] != '/')
        n--;
    for (size_t i = 0; n > 0 && !module && i < 2; i++) {
        snprintf(path + n, sizeof path - (size_t)n, "%s", places[i]);
        module = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* for as long as we run */
    }
    return module;
}

static int load(struct reflect *r)
{
    void *module = load_module();
    r->ops = module ? dlsym(module, "naru_schema_ops") : NULL;
    if (!r->ops)
        return fail(r->in, "its part that reads .proto files cannot be loaded: %s", dlerror());
    if (r->ops->size != sizeof *r->ops)
        return fail(r->in, "naru-schema.so is of another version than this command");
    return 0;
}

int reflect_open(struct reflect *r, struct invocation *in)
{
    const struct naru_client_options o = {
        .size = sizeof o, .max_message = ANSWER_MAX, .tls = certificates(in, false)};
    int64_t deadline = option_number(in, "deadline", NARU_FOREVER);
    *r =
        (struct reflect){.in = in, .until = deadline == NARU_FOREVER ? deadline : now() + deadline};
    int status = load(r);
    if (status)
        return status;
    if (naru_client_open(in->arguments[0], &o, &r->client) < 0)
        return fail_naru(in);
    r->schema = r->ops->open(&(struct schema_source){.ask = ask, .arg = r});
    return 0;
}

void reflect_close(struct reflect *r)
{
    r->ops->close(r->schema);
    naru_call_close(r->call);
    naru_client_close(r->client);
}
