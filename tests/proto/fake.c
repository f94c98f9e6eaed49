/* SPDX-License-Identifier: MIT */
/* fake.c - stands for calls within one process, as long as the library has none: a handler runs
 * when its request is committed, that of a client's stream when the client says that there is no
 * more. */
#include <naru/common.h>
#include <naru/service.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not by malloc, which tests make fail. */
static void *zeroes(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    return memset(aligned_alloc(16, size), 0, size);
}

struct queue {
    struct {
        void *data;
        size_t size;
    } all[64];
    size_t first, n;
};

struct naru_call {
    naru_client *client;
    const naru_service *service;
    const naru_method *method;
    void *self;
    struct queue requests, replies;
    struct naru_call_events events;
    void *arg;
    void *room;
    size_t room_size;
    int code, ended, serving, began, told, cancelled;
    char text[256];
    struct naru_call *next;
};

struct naru_server {
    const naru_service *services[8];
    void *selves[8];
    size_t n;
    sem_t stop;
};

struct naru_client {
    struct naru_call *calls;
};

static naru_server *the_server;
static __thread struct naru_status last;
static __thread char last_text[256];

int naru_server_new(const struct naru_server_options *o, naru_server **ret)
{
    (void)o;
    the_server = *ret = zeroes(sizeof **ret);
    sem_init(&the_server->stop, 0, 0);
    return 0;
}

int naru_server_add(naru_server *s, const naru_service *service, void *self)
{
    s->services[s->n] = service;
    s->selves[s->n++] = self;
    return 0;
}

int naru_server_listen(naru_server *s, const char *url)
{
    (void)s;
    (void)url;
    return 0;
}

int naru_server_run(naru_server *s)
{
    sem_wait(&s->stop);
    return 0;
}

int naru_server_shutdown(naru_server *s, int64_t grace)
{
    (void)grace;
    sem_post(&s->stop);
    return 0;
}

naru_server *naru_server_close(naru_server *s)
{
    free(s);
    return NULL;
}

int naru_client_open(const char *url, const struct naru_client_options *o, naru_client **ret)
{
    (void)url;
    (void)o;
    *ret = zeroes(sizeof **ret);
    return 0;
}

naru_client *naru_client_close(naru_client *c)
{
    free(c);
    return NULL;
}

int naru_client_status(struct naru_status *ret)
{
    *ret = last;
    return 0;
}

int naru_call_begin(naru_client *client, const naru_route *route, const struct naru_call_options *o,
                    naru_call **ret)
{
    (void)o;
    naru_call *call = zeroes(sizeof *call);
    call->client = client;
    call->next = client->calls;
    client->calls = call;
    const char *slash = strchr(route->path, '/');
    for (size_t i = 0; i < the_server->n; i++) {
        const naru_service *s = the_server->services[i];
        if (strlen(s->name) != (size_t)(slash - route->path) ||
            strncmp(s->name, route->path, strlen(s->name)) != 0)
            continue;
        for (size_t j = 0; j < s->n; j++)
            if (strcmp(s->methods[j].name, slash + 1) == 0) {
                call->service = s;
                call->method = &s->methods[j];
                call->self = the_server->selves[i];
            }
    }
    if (!call->method || call->method->flags != route->flags)
        abort();
    *ret = call;
    return 0;
}

static void serve(naru_call *call, const void *data, size_t size)
{
    call->serving = 1;
    int r = call->method->serve(call, call->self, data, size);
    call->serving = 0;
    if (r == NARU_LATER)
        return;
    call->ended = 1;
    call->code = r < 0 ? NARU_STATUS_INTERNAL : r;
}

int naru_call_finish(naru_call *call, int code)
{
    call->ended = 1;
    call->code = code;
    return 0;
}

int naru_call_reserve(naru_call *call, size_t size, int64_t timeout, void **ret)
{
    if (timeout == NARU_NOWAIT && !call->serving && call->arg == (void *)call)
        return -EAGAIN;
    *ret = call->room = zeroes(size ? size : 1);
    call->room_size = size;
    return 0;
}

int naru_call_commit(naru_call *call, void *data, size_t size)
{
    int at_server = call->serving || (call->began && !(call->method->flags & NARU_CLIENT_STREAMS));
    struct queue *q = at_server ? &call->replies : &call->requests;
    if (data != call->room || size > call->room_size)
        abort();
    q->all[q->n].data = data;
    q->all[q->n++].size = size;
    if (!at_server && !(call->method->flags & NARU_CLIENT_STREAMS)) {
        call->began = 1;
        serve(call, data, size);
    }
    return 0;
}

int naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout)
{
    void *room;
    (void)timeout;
    naru_call_reserve(call, size, NARU_FOREVER, &room);
    memcpy(room, data, size);
    return naru_call_commit(call, room, size);
}

int naru_call_shutdown(naru_call *call)
{
    call->began = 1;
    serve(call, NULL, 0);
    return 0;
}

static int told(naru_call *call)
{
    static const int codes[] = {[NARU_STATUS_DEADLINE_EXCEEDED] = -ETIMEDOUT,
                                [NARU_STATUS_UNAVAILABLE] = -ECONNRESET,
                                [16] = 0};
    snprintf(last_text, sizeof last_text, "%s", call->text);
    last = (struct naru_status){call->code, last_text, NULL, 0};
    return call->code == 0 ? 0 : codes[call->code] ? codes[call->code] : -EREMOTEIO;
}

int naru_call_take(naru_call *call, int64_t timeout, struct naru_payload *ret)
{
    struct queue *q = call->serving ? &call->requests : &call->replies;
    (void)timeout;
    if (q->first == q->n)
        return call->serving ? 0 : told(call);
    ret->data = q->all[q->first].data;
    ret->size = q->all[q->first++].size;
    return 1;
}

int naru_call_release(naru_call *call, struct naru_payload *p)
{
    (void)call;
    (void)p;
    return 0;
}

int naru_call_wait(naru_call *call, int64_t timeout)
{
    (void)timeout;
    return told(call);
}

int naru_client_invoke(naru_client *client, const naru_route *route, const void *request,
                       size_t size, const struct naru_call_options *o, struct naru_payload *ret)
{
    naru_call *call;
    naru_call_begin(client, route, o, &call);
    naru_call_send(call, request, size, NARU_FOREVER);
    int r = naru_call_take(call, NARU_FOREVER, ret);
    ret->internal[0] = (uintptr_t)call;
    if (r > 0 && (r = naru_call_wait(call, NARU_FOREVER)) == 0)
        return 0;
    naru_call_close(call);
    return r ? r : -EPROTO;
}

int naru_client_release(naru_client *client, struct naru_payload *reply)
{
    (void)client;
    naru_call_close((naru_call *)(uintptr_t)reply->internal[0]);
    return 0;
}

int naru_call_on(naru_call *call, const struct naru_call_events *events, void *arg)
{
    call->events = *events;
    call->arg = arg;
    return 0;
}

int naru_call_cancel(naru_call *call)
{
    call->code = NARU_STATUS_CANCELLED;
    call->ended = 1;
    return 0;
}

int naru_client_process(naru_client *client, int64_t timeout)
{
    (void)timeout;
    for (struct naru_call *call = client->calls, *next; call; call = next) {
        next = call->next;
        if (!call->events.end)
            continue;
        if (call->events.writable)
            call->events.writable(call, call->arg);
        while (call->events.message && call->replies.first < call->replies.n) {
            size_t i = call->replies.first++;
            call->events.message(call, call->arg, call->replies.all[i].data,
                                 call->replies.all[i].size);
        }
        struct naru_status status = {call->code, call->text, NULL, 0};
        if (call->ended)
            call->events.end(call, call->arg, &status);
    }
    return 0;
}

naru_call *naru_call_close(naru_call *call)
{
    struct naru_call **at = &call->client->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    for (size_t i = 0; i < call->requests.n; i++)
        free(call->requests.all[i].data);
    for (size_t i = 0; i < call->replies.n; i++)
        free(call->replies.all[i].data);
    free(call);
    return NULL;
}

int naru_call_fail(naru_call *call, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(call->text, sizeof call->text, format, arguments);
    va_end(arguments);
    return code;
}

const naru_service *naru_call_service(const naru_call *call)
{
    return call->service;
}

const naru_method *naru_call_method(const naru_call *call)
{
    return call->method;
}
