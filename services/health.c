/* SPDX-License-Identifier: MIT */
/* health.c - naru/health.h: the service grpc.health.v1.Health.
 *
 * Who watches has a call that is finished later. It is told the state that is, and while it has no
 * room for that nothing is kept for it: when it has, it is told what is then. States may be set by
 * any thread, and handlers run in workers: the lock guards both lists. */
#include <naru/health.h>
#include <naru/protobuf.h>

#include "grpc/health/v1/health.naru.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 1024, UNTOLD = -1, SERVICE_UNKNOWN = 3 };

struct state { /* that was set */
    struct state *next;
    int status;
    char service[];
};

struct watching {
    struct watching *next, **link;
    struct naru_health *health;
    naru_call *call;
    int told;
    char service[];
};

struct naru_health {
    naru_server *server;
    pthread_mutex_t lock;
    struct state *states;
    struct watching *watching;
    int down;
    naru_service service;
};

/* ---- states; with the lock held ---- */

static struct state *find(const struct naru_health *h, const char *service)
{
    struct state *s = h->states;
    while (s && strcmp(s->service, service) != 0)
        s = s->next;
    return s;
}

static int is_served(const struct naru_health *h, const char *name)
{
    const naru_service *service;
    for (size_t i = 0; (service = naru_server_service(h->server, i)); i++)
        if (strcmp(service->name, name) == 0)
            return 1;
    return name[0] == '\0';
}

static int status_of(const struct naru_health *h, const char *service)
{
    const struct state *s = find(h, service);
    if (!s && !is_served(h, service))
        return SERVICE_UNKNOWN;
    if (h->down)
        return NARU_HEALTH_NOT_SERVING;
    return s ? s->status : NARU_HEALTH_SERVING;
}

/* ---- who watches; with the lock held ---- */

static void forget(struct watching *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    free(w);
}

static void finish(struct watching *w, int code)
{
    naru_call_finish(w->call, code);
    forget(w);
}

static void tell(struct watching *w)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    int status = status_of(w->health, w->service);
    if (status == w->told)
        return;
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    uint8_t packed[16];
    size_t size = grpc__health__v1__health_check_response__pack(&response, packed);
    int r = naru_call_send(w->call, packed, size, NARU_NOWAIT);
    if (r == 0)
        w->told = status;
    else if (r != -EAGAIN && r != -ECANCELED) /* on_writable, or on_end, comes */
        finish(w, r);
}

static void tell_all(struct naru_health *h)
{
    for (struct watching *w = h->watching, *next; w; w = next) {
        next = w->next;
        tell(w);
    }
}

/* An event may have been on its way while another thread finished the call: then it is nobody's. */
static struct watching *watching_by(const struct naru_health *h, const naru_call *call)
{
    struct watching *w = h->watching;
    while (w && w->call != call)
        w = w->next;
    return w;
}

static void on_writable(naru_call *call, void *arg)
{
    struct naru_health *h = arg;
    pthread_mutex_lock(&h->lock);
    struct watching *w = watching_by(h, call);
    if (w)
        tell(w);
    pthread_mutex_unlock(&h->lock);
}

static void on_end(naru_call *call, void *arg, const struct naru_status *status)
{
    struct naru_health *h = arg;
    (void)status;
    pthread_mutex_lock(&h->lock);
    struct watching *w = watching_by(h, call);
    if (w)
        finish(w, NARU_STATUS_CANCELLED);
    pthread_mutex_unlock(&h->lock);
}

/* ---- methods ---- */

/* Does the name have a length that a service's can have? */
static int fits(const char *service)
{
    return strnlen(service, NAME_MAX_BYTES + 1) <= NAME_MAX_BYTES;
}

static int check(naru_call *call, void *self, Grpc__Health__V1__HealthCheckRequest *request)
{
    struct naru_health *h = self;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    pthread_mutex_lock(&h->lock);
    int status = status_of(h, request->service);
    pthread_mutex_unlock(&h->lock);
    if (status == SERVICE_UNKNOWN)
        return naru_call_fail(call, NARU_STATUS_NOT_FOUND, "no service \"%.*s\" is known here",
                              NAME_MAX_BYTES, request->service);
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return grpc_health_v1_health_check_reply(call, &response);
}

static int begin_watching(struct naru_health *h, naru_call *call, const char *service)
{
    static const struct naru_call_events events = {
        .size = sizeof events, .writable = on_writable, .end = on_end};
    struct watching *w = malloc(sizeof *w + strlen(service) + 1);
    if (!w)
        return naru_fail(-ENOMEM, "no memory for one who watches");
    *w = (struct watching){
        .next = h->watching, .link = &h->watching, .health = h, .call = call, .told = UNTOLD};
    strcpy(w->service, service);
    if (w->next)
        w->next->link = &w->next;
    h->watching = w;
    int r = naru_call_on(call, &events, h);
    if (r < 0) {
        forget(w);
        return r;
    }
    tell(w);
    return NARU_LATER;
}

static int watch(naru_call *call, void *self, Grpc__Health__V1__HealthCheckRequest *request)
{
    struct naru_health *h = self;
    int r;
    if (!fits(request->service))
        return naru_call_fail(call, NARU_STATUS_INVALID_ARGUMENT,
                              "a service's name of more than %d bytes", NAME_MAX_BYTES);
    pthread_mutex_lock(&h->lock);
    if (h->down)
        r = naru_call_fail(call, NARU_STATUS_UNAVAILABLE, "the server shuts down");
    else
        r = begin_watching(h, call, request->service);
    pthread_mutex_unlock(&h->lock);
    if (r == NARU_LATER)
        grpc__health__v1__health_check_request__free_unpacked(request, NULL);
    return r;
}

/* ---- the interface ---- */

int naru_health_new(naru_server *server, naru_health **ret_health)
{
    static const struct grpc_health_v1_health_handlers handlers = {.check = check, .watch = watch};
    struct naru_health *h = calloc(1, sizeof *h);
    if (!h)
        return naru_fail(-ENOMEM, "no memory for health");
    h->server = server;
    h->service = grpc_health_v1_health_service(&handlers);
    pthread_mutex_init(&h->lock, NULL);
    int r = naru_server_add(server, &h->service, h);
    if (r < 0) {
        naru_health_close(h);
        return r;
    }
    *ret_health = h;
    return 0;
}

/* With the lock held. */
static int set(struct naru_health *h, const char *service, int status)
{
    struct state *s = find(h, service);
    if (h->down)
        return naru_fail(-EPIPE, "health was shut down: all is NOT_SERVING from then on");
    if (!s) {
        s = malloc(sizeof *s + strlen(service) + 1);
        if (!s)
            return naru_fail(-ENOMEM, "no memory for the health of \"%s\"", service);
        strcpy(s->service, service);
        s->next = h->states;
        h->states = s;
    }
    s->status = status;
    tell_all(h);
    return 0;
}

int naru_health_set(naru_health *h, const char *service, int status)
{
    if (!h || !service || !fits(service))
        return naru_fail(-EINVAL,
                         "naru_health_set: health or the name is NULL, or it has more than %d "
                         "bytes",
                         NAME_MAX_BYTES);
    if (status < NARU_HEALTH_UNKNOWN || status > NARU_HEALTH_NOT_SERVING)
        return naru_fail(-EINVAL, "%s: %d is no status of a service; they go from 0 to 2", service,
                         status);
    pthread_mutex_lock(&h->lock);
    int r = set(h, service, status);
    pthread_mutex_unlock(&h->lock);
    return r;
}

int naru_health_shutdown(naru_health *h)
{
    if (!h)
        return naru_fail(-EINVAL, "naru_health_shutdown: health is NULL");
    pthread_mutex_lock(&h->lock);
    h->down = 1;
    tell_all(h);
    while (h->watching)
        finish(h->watching,
               naru_call_fail(h->watching->call, NARU_STATUS_UNAVAILABLE, "the server shuts down"));
    pthread_mutex_unlock(&h->lock);
    return 0;
}

naru_health *naru_health_close(naru_health *h)
{
    if (!h)
        return NULL;
    while (h->watching) /* whose calls went with the server */
        forget(h->watching);
    while (h->states) {
        struct state *s = h->states;
        h->states = s->next;
        free(s);
    }
    pthread_mutex_destroy(&h->lock);
    free(h);
    return NULL;
}
