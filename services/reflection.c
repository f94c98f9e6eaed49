/* SPDX-License-Identifier: MIT */
/* reflection.c - naru/reflection.h: what a server serves, asked over the server itself.
 *
 * A client keeps its stream open as long as it likes, so the call is served by events and finished
 * later: nobody else waits for it. An answer that the client's window has no room for waits as its
 * question, which is small; of these a few are kept, and then the call fails. The events of calls
 * run in the server's thread, the handler perhaps in a worker: the lock guards the list of calls
 * and the files. */
#include "files.h"

#include <naru/protobuf.h>
#include <naru/reflection.h>

#include "grpc/reflection/v1/reflection.naru.h"
#include "grpc/reflection/v1alpha/reflection.naru.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1__ServerReflectionResponse Response;

#define QUESTION(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWER(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

enum { WAITING_MAX = 16, QUESTION_MAX = 4096 };

struct asking { /* a call */
    struct asking *next, **link;
    struct naru_reflection *reflection;
    naru_call *call;
    Request *waiting[WAITING_MAX]; /* questions whose answers have no room yet, the oldest first */
    unsigned n;
    bool half_closed;
};

struct naru_reflection {
    naru_server *server;
    struct files files;
    pthread_mutex_t lock;
    struct asking *asking;
    naru_service v1, v1alpha;
};

/* ---- answers ---- */

struct answer {
    Response response;
    Grpc__Reflection__V1__ErrorResponse error;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ExtensionNumberResponse extensions;
    Grpc__Reflection__V1__ListServiceResponse list;
    char text[512];
    void *memory[2]; /* owned */
};

static void __attribute__((format(printf, 3, 4)))
fail(struct answer *a, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(a->text, sizeof a->text, format, arguments);
    va_end(arguments);
    a->error.error_code = code;
    a->error.error_message = a->text;
    a->response.error_response = &a->error;
    a->response.message_response_case = ANSWER(ERROR_RESPONSE);
}

static void *memory(struct answer *a, int which, size_t n, size_t size)
{
    a->memory[which] = calloc(n + 1, size);
    if (!a->memory[which])
        fail(a, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for the answer");
    return a->memory[which];
}

/* The file, and what it imports behind it. */
static void answer_file(struct answer *a, const struct files *f, int file)
{
    bool *marks = memory(a, 0, f->n, sizeof *marks);
    ProtobufCBinaryData *bytes = memory(a, 1, f->n, sizeof *bytes);
    if (!marks || !bytes)
        return;
    file_mark(f, (size_t)file, marks);
    marks[file] = false;
    bytes[0] = (ProtobufCBinaryData){f->all[file].packed->size,
                                     (uint8_t *)(uintptr_t)f->all[file].packed->data};
    a->files.n_file_descriptor_proto = 1;
    for (size_t i = 0; i < f->n; i++)
        if (marks[i])
            bytes[a->files.n_file_descriptor_proto++] = (ProtobufCBinaryData){
                f->all[i].packed->size, (uint8_t *)(uintptr_t)f->all[i].packed->data};
    a->files.file_descriptor_proto = bytes;
    a->response.file_descriptor_response = &a->files;
    a->response.message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
}

static void answer_extensions(struct answer *a, const struct files *f, const char *type)
{
    size_t n;
    int32_t *numbers;
    if (extensions_of(f, type, &numbers, &n) < 0) {
        fail(a, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for the answer");
        return;
    }
    a->memory[0] = numbers;
    if (n == 0 && file_of_symbol(f, type) < 0) {
        fail(a, NARU_STATUS_NOT_FOUND, "no service here has a message \"%s\"", type);
        return;
    }
    a->extensions.base_type_name = (char *)(uintptr_t)type;
    a->extensions.n_extension_number = n;
    a->extensions.extension_number = numbers;
    a->response.all_extension_numbers_response = &a->extensions;
    a->response.message_response_case = ANSWER(ALL_EXTENSION_NUMBERS_RESPONSE);
}

static bool has_service(Grpc__Reflection__V1__ServiceResponse *const *list, size_t n,
                        const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i]->name, name) == 0)
            return true;
    return false;
}

static void answer_list(struct answer *a, naru_server *server)
{
    size_t n = 0;
    while (naru_server_service(server, n))
        n++;
    Grpc__Reflection__V1__ServiceResponse *rows = memory(a, 0, n, sizeof *rows);
    Grpc__Reflection__V1__ServiceResponse **list = memory(a, 1, n, sizeof *list);
    if (!rows || !list)
        return;
    for (size_t i = 0; i < n; i++) {
        const naru_service *service = naru_server_service(server, i);
        size_t at = a->list.n_service;
        if (has_service(list, at, service->name))
            continue;
        rows[at] =
            (Grpc__Reflection__V1__ServiceResponse)GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT;
        rows[at].name = (char *)(uintptr_t)service->name;
        list[at] = &rows[at];
        a->list.n_service++;
    }
    a->list.service = list;
    a->response.list_services_response = &a->list;
    a->response.message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
}

static void look_up(struct answer *a, struct naru_reflection *reflection, const Request *q)
{
    const struct files *f = &reflection->files;
    int file = -1;
    int r = files_update(&reflection->files, reflection->server);
    if (r < 0) {
        fail(a, r == -ENOMEM ? NARU_STATUS_RESOURCE_EXHAUSTED : NARU_STATUS_INTERNAL, "%s",
             naru_why());
        return;
    }
    switch (q->message_request_case) {
    case QUESTION(LIST_SERVICES):
        answer_list(a, reflection->server);
        return;
    case QUESTION(FILE_BY_FILENAME):
        file = file_by_name(f, q->file_by_filename);
        if (file < 0)
            fail(a, NARU_STATUS_NOT_FOUND, "no service here is made of a file \"%s\"",
                 q->file_by_filename);
        break;
    case QUESTION(FILE_CONTAINING_SYMBOL):
        file = file_of_symbol(f, q->file_containing_symbol);
        if (file < 0)
            fail(a, NARU_STATUS_NOT_FOUND, "no file of the services here has \"%s\"",
                 q->file_containing_symbol);
        break;
    case QUESTION(FILE_CONTAINING_EXTENSION):
        file = file_of_extension(f, q->file_containing_extension->containing_type,
                                 q->file_containing_extension->extension_number);
        if (file < 0)
            fail(a, NARU_STATUS_NOT_FOUND, "no file of the services here extends \"%s\" by %d",
                 q->file_containing_extension->containing_type,
                 (int)q->file_containing_extension->extension_number);
        break;
    case QUESTION(ALL_EXTENSION_NUMBERS_OF_TYPE):
        answer_extensions(a, f, q->all_extension_numbers_of_type);
        return;
    default:
        fail(a, NARU_STATUS_UNIMPLEMENTED, "no question that is known here was asked");
        return;
    }
    if (file >= 0)
        answer_file(a, f, file);
}

/* As naru_call_send. With the lock held. */
static int answer(struct asking *asking, Request *question)
{
    struct answer a = {
        .response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT,
        .error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT,
        .files = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT,
        .extensions = GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT,
        .list = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT,
    };
    a.response.valid_host = question->host;
    a.response.original_request = question;
    look_up(&a, asking->reflection, question);
    size_t size = protobuf_c_message_get_packed_size(&a.response.base);
    uint8_t *packed = malloc(size);
    int r = -ENOMEM;
    if (packed) {
        protobuf_c_message_pack(&a.response.base, packed);
        r = naru_call_send(asking->call, packed, size, NARU_NOWAIT);
    }
    free(packed);
    free(a.memory[0]);
    free(a.memory[1]);
    return r;
}

/* ---- calls ---- */

/* With the lock held. */
static void forget(struct asking *asking)
{
    *asking->link = asking->next;
    if (asking->next)
        asking->next->link = asking->link;
    while (asking->n > 0)
        grpc__reflection__v1__server_reflection_request__free_unpacked(
            asking->waiting[--asking->n], NULL);
    free(asking);
}

/* With the lock held. */
static void finish(struct asking *asking, int code)
{
    naru_call_finish(asking->call, code);
    forget(asking);
}

/* What waits is answered as long as there is room. With the lock held. */
static void go_on(struct asking *asking)
{
    while (asking->n > 0) {
        int r = answer(asking, asking->waiting[0]);
        if (r == -EAGAIN)
            return;
        if (r < 0) {
            finish(asking, r);
            return;
        }
        grpc__reflection__v1__server_reflection_request__free_unpacked(asking->waiting[0], NULL);
        memmove(asking->waiting, asking->waiting + 1, --asking->n * sizeof *asking->waiting);
    }
    if (asking->half_closed)
        finish(asking, NARU_STATUS_OK);
}

/* With the lock held. */
static void take(struct asking *asking, const void *data, size_t size)
{
    void *question = NULL;
    int code;
    if (asking->n == WAITING_MAX)
        finish(asking, naru_call_fail(asking->call, NARU_STATUS_RESOURCE_EXHAUSTED,
                                      "%d answers wait to be read: read them before asking more",
                                      WAITING_MAX));
    else if (size > QUESTION_MAX)
        finish(asking, naru_call_fail(asking->call, NARU_STATUS_INVALID_ARGUMENT,
                                      "a question of %zu bytes; at most %d", size, QUESTION_MAX));
    else if ((code = naru_protobuf_request(
                  asking->call, &grpc__reflection__v1__server_reflection_request__descriptor, data,
                  size, &question)) != NARU_STATUS_OK)
        finish(asking, code);
    else {
        asking->waiting[asking->n++] = question;
        if (asking->n == 1)
            go_on(asking);
    }
}

static struct asking *enter(void *arg)
{
    struct asking *asking = arg;
    pthread_mutex_lock(&asking->reflection->lock);
    return asking;
}

static void on_message(naru_call *call, void *arg, const void *data, size_t size)
{
    struct asking *asking = enter(arg);
    struct naru_reflection *reflection = asking->reflection;
    (void)call;
    take(asking, data, size);
    pthread_mutex_unlock(&reflection->lock);
}

static void on_half_closed(naru_call *call, void *arg)
{
    struct asking *asking = enter(arg);
    struct naru_reflection *reflection = asking->reflection;
    (void)call;
    asking->half_closed = true;
    if (asking->n == 0)
        finish(asking, NARU_STATUS_OK);
    pthread_mutex_unlock(&reflection->lock);
}

static void on_writable(naru_call *call, void *arg)
{
    struct asking *asking = enter(arg);
    struct naru_reflection *reflection = asking->reflection;
    (void)call;
    go_on(asking);
    pthread_mutex_unlock(&reflection->lock);
}

static void on_end(naru_call *call, void *arg, const struct naru_status *status)
{
    struct asking *asking = enter(arg);
    struct naru_reflection *reflection = asking->reflection;
    (void)call, (void)status;
    finish(asking, NARU_STATUS_CANCELLED);
    pthread_mutex_unlock(&reflection->lock);
}

static int info(naru_call *call, void *self)
{
    static const struct naru_call_events events = {
        .size = sizeof events,
        .message = on_message,
        .half_closed = on_half_closed,
        .writable = on_writable,
        .end = on_end,
    };
    struct naru_reflection *reflection = self;
    struct asking *asking = calloc(1, sizeof *asking);
    if (!asking)
        return naru_fail(-ENOMEM, "no memory for one more question");
    pthread_mutex_lock(&reflection->lock);
    *asking = (struct asking){.next = reflection->asking,
                              .link = &reflection->asking,
                              .reflection = reflection,
                              .call = call};
    if (asking->next)
        asking->next->link = &asking->next;
    reflection->asking = asking;
    int r = naru_call_on(call, &events, asking);
    if (r < 0)
        forget(asking);
    pthread_mutex_unlock(&reflection->lock);
    return r < 0 ? r : NARU_LATER;
}

/* ---- the two services ---- */

int naru_reflection_new(naru_server *server, naru_reflection **ret_reflection)
{
    static const struct grpc_reflection_v1_server_reflection_handlers v1 = {info};
    static const struct grpc_reflection_v1alpha_server_reflection_handlers v1alpha = {info};
    struct naru_reflection *reflection = calloc(1, sizeof *reflection);
    if (!reflection)
        return naru_fail(-ENOMEM, "no memory for reflection");
    reflection->server = server;
    reflection->v1 = grpc_reflection_v1_server_reflection_service(&v1);
    reflection->v1alpha = grpc_reflection_v1alpha_server_reflection_service(&v1alpha);
    pthread_mutex_init(&reflection->lock, NULL);
    int r = naru_server_add(server, &reflection->v1, reflection);
    if (r < 0) {
        naru_reflection_close(reflection);
        return r;
    }
    r = naru_server_add(server, &reflection->v1alpha, reflection);
    if (r < 0)
        return r; /* the server knows the first: it stays as long as the process */
    *ret_reflection = reflection;
    return 0;
}

naru_reflection *naru_reflection_close(naru_reflection *reflection)
{
    if (!reflection)
        return NULL;
    while (reflection->asking) /* of calls that went with the server */
        forget(reflection->asking);
    files_free(&reflection->files);
    pthread_mutex_destroy(&reflection->lock);
    free(reflection);
    return NULL;
}
