/* SPDX-License-Identifier: MIT */
/* lying-server.c - a server whose reflection, or whose answers, are not as they should be: what
 * naru methods, describe and call must stand. lying-server URL HOW; ends on SIGTERM. */
#include "grpc/reflection/v1/reflection.naru.h"

#include "calculator.naru.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <naru/naru.h>
#include <naru/protobuf.h>
#include <naru/reflection.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest Question;
typedef Grpc__Reflection__V1__ServerReflectionResponse Answer;

#define ASKS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define TELLS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

static const char *how;
static naru_server *server;

static int answer(naru_call *call, const Question *q)
{
    Answer a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__FileDescriptorResponse files =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse service = GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT,
                                          *services[] = {&service};
    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    static int number;
    char name[32], next[32], *imports[] = {next};
    uint8_t packed[256];
    service.name = "lie.Service";
    list.n_service = 1;
    list.service = services;
    if (q->message_request_case == ASKS(LIST_SERVICES)) {
        a.message_response_case = TELLS(LIST_SERVICES_RESPONSE);
        a.list_services_response = &list;
        return grpc_reflection_v1_server_reflection_server_reflection_info_reply(call, &a,
                                                                                 NARU_FOREVER);
    }
    if (strcmp(how, "dies") == 0)
        _exit(0);
    /* a file that imports one more, for ever; or bytes that are no file */
    snprintf(name, sizeof name, "%d.proto", number);
    if (q->message_request_case == ASKS(FILE_BY_FILENAME))
        snprintf(name, sizeof name, "%s", q->file_by_filename);
    snprintf(next, sizeof next, "%d.proto", ++number);
    Google__Protobuf__ServiceDescriptorProto defined =
                                                 GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT,
                                             *all[] = {&defined};
    defined.name = "Service";
    if (q->message_request_case == ASKS(FILE_CONTAINING_SYMBOL)) {
        file.package = "lie";
        file.n_service = 1;
        file.service = all;
    }
    file.name = name;
    file.n_dependency = 1;
    file.dependency = imports;
    ProtobufCBinaryData bytes = {google__protobuf__file_descriptor_proto__pack(&file, packed),
                                 packed};
    if (strcmp(how, "nonsense") == 0)
        memset(packed, 0xff, bytes.len);
    files.n_file_descriptor_proto = 1;
    files.file_descriptor_proto = &bytes;
    a.message_response_case = TELLS(FILE_DESCRIPTOR_RESPONSE);
    a.file_descriptor_response = &files;
    return grpc_reflection_v1_server_reflection_server_reflection_info_reply(call, &a,
                                                                             NARU_FOREVER);
}

static int info(naru_call *call, void *self)
{
    Question *q;
    int r;
    (void)self;
    while ((r = grpc_reflection_v1_server_reflection_server_reflection_info_next(call, NARU_FOREVER,
                                                                                 &q)) == 1) {
        if (strcmp(how, "garbage") == 0)
            r = naru_call_send(call, "\x0a\xff\xff\xff\xff\x0f", 6, NARU_FOREVER);
        else if (strcmp(how, "silent") != 0)
            r = answer(call, q);
        grpc__reflection__v1__server_reflection_request__free_unpacked(q, NULL);
        if (r < 0)
            break;
    }
    return r;
}

static int lie(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self, (void)request, (void)size;
    return naru_call_send(call, "\x0a\xff\xff\xff\xff\x0f", 6, NARU_FOREVER);
}

static void on_term(int signal)
{
    (void)signal;
    naru_server_shutdown(server, 0);
}

int main(int argc, char **argv)
{
    static const struct grpc_reflection_v1_server_reflection_handlers handlers = {info};
    static const naru_method lies[] = {{"Add", 0, lie, NULL, NULL}};
    naru_service told = grpc_reflection_v1_server_reflection_service(&handlers),
                 calculator = example_calculator_service(NULL);
    static const naru_service raw = {
        .size = sizeof raw, .name = "raw.Lies", .methods = lies, .n = 1};
    naru_reflection *reflection = NULL;
    if (argc != 3)
        return 2;
    how = argv[2];
    calculator.methods = lies;
    signal(SIGTERM, on_term);
    int r = naru_server_new(NULL, &server);
    bool honest = strcmp(how, "answers") == 0 || strcmp(how, "raw") == 0;
    if (honest)
        r = r < 0 ? r : naru_reflection_new(server, &reflection);
    if (strcmp(how, "answers") == 0)
        r = r < 0 ? r : naru_server_add(server, &calculator, NULL);
    else if (strcmp(how, "raw") == 0 || strcmp(how, "bare") == 0)
        r = r < 0 ? r : naru_server_add(server, &raw, NULL);
    else
        r = r < 0 ? r : naru_server_add(server, &told, NULL);
    r = r < 0 ? r : naru_server_listen(server, argv[1]);
    r = r < 0 ? r : naru_server_run(server);
    if (r < 0)
        fprintf(stderr, "%s\n", naru_why());
    naru_server_close(server);
    naru_reflection_close(reflection);
    return r < 0;
}
