/* SPDX-License-Identifier: MIT */
/* reflection.c - a client that has no .proto file asks a server what it serves, and in which file
 * that is described: gRPC's own service, in two lines of the server's. Compile with what protoc
 * makes of PREFIX/share/naru/proto/grpc/reflection/v1/reflection.proto, and with naru-services. */
#include "grpc/reflection/v1/reflection.naru.h"

#include <naru/naru.h>
#include <naru/reflection.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASKS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define SERVICE "grpc.reflection.v1.ServerReflection"

typedef struct grpc_reflection_v1_server_reflection_server_reflection_info asking;
typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer;

/* snippet */
static answer *ask(asking *asking, const question *q)
{
    answer *a;
    int r = grpc_reflection_v1_server_reflection_server_reflection_info_send(asking, q, NARU_S);
    if (r == 0)
        r = grpc_reflection_v1_server_reflection_server_reflection_info_take(asking, 5 * NARU_S,
                                                                             &a);
    return r == 1 ? a : NULL;
}

static int list(asking *asking)
{
    question q = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    q.message_request_case = ASKS(LIST_SERVICES);
    q.list_services = "";
    answer *a = ask(asking, &q);
    if (!a)
        return -1;
    const Grpc__Reflection__V1__ListServiceResponse *all = a->list_services_response;
    for (size_t i = 0; i < all->n_service; i++)
        printf("%s\n", all->service[i]->name);
    int n = (int)all->n_service;
    grpc__reflection__v1__server_reflection_response__free_unpacked(a, NULL);
    return n;
}

static int describe(asking *asking, char *symbol)
{
    question q = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    q.message_request_case = ASKS(FILE_CONTAINING_SYMBOL);
    q.file_containing_symbol = symbol;
    answer *a = ask(asking, &q);
    if (!a)
        return -1;
    /* each a google.protobuf.FileDescriptorProto; first the one with the symbol */
    const Grpc__Reflection__V1__FileDescriptorResponse *files = a->file_descriptor_response;
    int n = files ? (int)files->n_file_descriptor_proto : 0;
    if (n > 0)
        printf("%s: %d file, of %zu bytes\n", symbol, n, files->file_descriptor_proto[0].len);
    grpc__reflection__v1__server_reflection_response__free_unpacked(a, NULL);
    return n;
}
/* end */

static int client_main(const char *url)
{
    naru_client *client;
    asking asking;
    if (naru_client_open(url, NULL, &client) < 0 ||
        grpc_reflection_v1_server_reflection_server_reflection_info_begin(client, NULL, &asking) <
            0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    bool good = list(&asking) == 2 && describe(&asking, SERVICE) == 1;
    naru_call_close(asking.call);
    naru_client_close(client);
    return !good;
}

int main(void)
{
    char url[64];
    naru_server *server;
    naru_reflection *reflection;
    snprintf(url, sizeof url, "shm:example-reflection-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_reflection_new(server, &reflection) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        int failed = client_main(url);
        naru_server_close(server); /* this process's copy */
        naru_reflection_close(reflection);
        return failed;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0)
        naru_server_process(server, 20 * NARU_MS);
    naru_server_close(server);
    naru_reflection_close(reflection);
    return status != 0;
}
