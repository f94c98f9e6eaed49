/* SPDX-License-Identifier: MIT */
/* service.c - naru/service.h: checks, then src/rpc. */
#include "naru/service.h"
#include "naru/tls.h"

#include "api/transports.h"
#include "base/error.h"
#include "base/text.h"
#include "rpc/client.h"
#include "rpc/frames.h"
#include "rpc/server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- servers ---- */

static int check_window(const char *options, size_t window, size_t max_message)
{
    if (window > 0 && (window < RPC_FIRST_WINDOW || window > INT32_MAX))
        return naru__fail(-EINVAL, "%s.window is %zu and it is from %d to %d", options, window,
                          RPC_FIRST_WINDOW, INT32_MAX);
    if (max_message > NARU_MESSAGE_MAX)
        return naru__fail(-EINVAL, "%s.max_message is %s and the largest message is 1 GiB", options,
                          naru__size_text(max_message).text);
    return 0;
}

int naru_server_new(const struct naru_server_options *options, naru_server **ret_s)
{
    int r = naru__check_options(options, sizeof *options, "naru_server_options");
    if (r == 0 && options)
        r = naru__check_options(options->tls, sizeof *options->tls, "naru_tls_options");
    if (r < 0)
        return r;
    options = NARU_OPTIONS(naru_server_options, options);
    r = naru__check_waiting(options->flags);
    if (r == 0)
        r = check_window("naru_server_options", options->window, options->max_message);
    if (r == 0 && options->max_metadata > RPC_METADATA_MAX)
        r = naru__fail(-EINVAL, "naru_server_options.max_metadata is %zu and at most %d",
                       options->max_metadata, RPC_METADATA_MAX);
    if (r == 0 && options->workers > 1024)
        r = naru__fail(-EINVAL, "naru_server_options.workers is %u and at most 1024",
                       options->workers);
    return r < 0 ? r : naru__server_new(options, ret_s);
}

int naru_server_add(naru_server *server, const naru_service *service, void *self)
{
    int r = naru__enter(server, NARU__SERVER);
    if (r == 0 && (!service || !service->name || (!service->methods && service->n)))
        r = naru__fail_static(-EINVAL, "naru_server_add: the service, its name or its methods are "
                                       "NULL");
    if (r == 0)
        r = naru__check_options(service, sizeof *service, "naru_service");
    return r < 0 ? r : naru__server_add(server, service, self);
}

const naru_service *naru_server_service(naru_server *server, size_t i)
{
    return naru__enter(server, NARU__SERVER) < 0 ? NULL : naru__server_service(server, i);
}

int naru_server_listen(naru_server *server, const char *url)
{
    int r = naru__enter(server, NARU__SERVER);
    struct naru_service_at at;
    if (r == 0)
        r = naru__find_service(url, &at);
    if (r == 0)
        r = naru__server_listen(server, &at);
    if (r == 0)
        naru__leave((struct naru_handle *)server);
    return r;
}

static int check_channel(naru_channel *channel)
{
    int r = naru__enter(channel, NARU__CHANNEL);
    if (r == 0 && channel->handle.directions != (NARU_IN | NARU_OUT))
        r = naru__fail(-EOPNOTSUPP, "%s goes one way, and calls go both", channel->handle.name);
    return r;
}

int naru_server_attach(naru_server *server, naru_channel *channel)
{
    int r = naru__enter(server, NARU__SERVER);
    if (r == 0)
        r = check_channel(channel);
    if (r == 0)
        r = naru__server_attach(server, channel);
    if (r == 0)
        naru__leave((struct naru_handle *)server);
    return r;
}

int naru_server_process(naru_server *server, int64_t timeout)
{
    int r = naru__enter_fast(server, NARU__SERVER);
    if (r < 0)
        return r;
    r = naru__server_process(server, naru__deadline(timeout));
    naru__leave((struct naru_handle *)server);
    return r;
}

int naru_server_run(naru_server *server)
{
    int r = naru__enter(server, NARU__SERVER);
    return r < 0 ? r : naru__server_run(server);
}

int naru_server_shutdown(naru_server *server, int64_t grace)
{
    int r = naru__enter(server, NARU__SERVER);
    return r < 0 ? r : naru__server_shutdown(server, grace);
}

naru_server *naru_server_close(naru_server *server)
{
    if (server)
        naru__server_close(server, naru__is_owner((struct naru_handle *)server));
    return NULL;
}

/* ---- clients ---- */

static int check_client_options(const struct naru_client_options *o)
{
    int r = naru__check_waiting(o->flags);
    if (r == 0)
        r = check_window("naru_client_options", o->window, o->max_message);
    if (r == 0 && (o->first_backoff < 0 || o->max_backoff < 0))
        r = naru__fail_static(-EINVAL, "naru_client_options: a back-off is negative");
    if (r == 0)
        r = naru__check_options(o->tls, sizeof *o->tls, "naru_tls_options");
    return r;
}

int naru_client_open(const char *url, const struct naru_client_options *options,
                     naru_client **ret_c)
{
    struct naru_service_at at;
    int r = naru__check_options(options, sizeof *options, "naru_client_options");
    if (r == 0)
        r = naru__find_service(url, &at);
    if (r < 0)
        return r;
    if (!at.transport->channel_connect)
        return naru__fail(-EOPNOTSUPP,
                          "%s has no name to connect to: attach one end of a pair "
                          "(naru_client_attach)",
                          url);
    options = NARU_OPTIONS(naru_client_options, options);
    r = check_client_options(options);
    if (r == 0 && options->flags & NARU_ROUND_ROBIN && strcmp(at.url.scheme, "grpc") != 0 &&
        strcmp(at.url.scheme, "grpcs") != 0)
        r = naru__fail(-EOPNOTSUPP,
                       "%s: NARU_ROUND_ROBIN is for grpc: and grpcs:, whose names may have several "
                       "addresses",
                       url);
    return r < 0 ? r : naru__client_new(&at, NULL, options, ret_c);
}

int naru_client_attach(naru_channel *channel, const struct naru_client_options *options,
                       naru_client **ret_c)
{
    int r = naru__check_options(options, sizeof *options, "naru_client_options");
    if (r == 0)
        r = check_channel(channel);
    if (r < 0)
        return r;
    options = NARU_OPTIONS(naru_client_options, options);
    r = check_client_options(options);
    return r < 0 ? r : naru__client_new(NULL, channel, options, ret_c);
}

int naru_client_process(naru_client *client, int64_t timeout)
{
    int r = naru__enter_fast(client, NARU__CLIENT);
    if (r < 0)
        return r;
    r = naru__client_process(client, naru__deadline(timeout));
    naru__leave((struct naru_handle *)client);
    return r;
}

int naru_client_wait_ready(naru_client *client, int64_t timeout)
{
    int r = naru__enter(client, NARU__CLIENT);
    if (r < 0)
        return r;
    r = naru__client_wait_ready(client, naru__deadline(timeout));
    naru__leave((struct naru_handle *)client);
    return r;
}

int naru_client_status(struct naru_status *ret_status)
{
    if (!ret_status)
        return naru__fail_static(-EINVAL, "naru_client_status: ret_status is NULL");
    naru__status_last(ret_status);
    return ret_status->code;
}

naru_client *naru_client_close(naru_client *client)
{
    if (client)
        naru__client_close(client, naru__is_owner((struct naru_handle *)client));
    return NULL;
}

static int check_call_options(const struct naru_call_options *o)
{
    int r = naru__check_options(o, sizeof *o, "naru_call_options");
    if (r < 0 || !o)
        return r;
    if (o->timeout < 0 && o->timeout != NARU_FOREVER)
        return naru__fail(-EINVAL, "naru_call_options.timeout is %" PRId64, o->timeout);
    if (!o->metadata && o->n_metadata)
        return naru__fail_static(-EINVAL, "naru_call_options.metadata is NULL");
    return o->parent ? naru__enter(o->parent, NARU__CALL) : 0;
}

static int check_route(const naru_route *route)
{
    if (!route || !route->path || !*route->path)
        return naru__fail_static(-EINVAL, "a method's path is NULL, or empty");
    return 0;
}

int naru_client_invoke(naru_client *client, const naru_route *route, const void *request,
                       size_t size, const struct naru_call_options *options,
                       struct naru_payload *ret_reply)
{
    struct naru_payload reply;
    int r = naru__enter_fast(client, NARU__CLIENT);
    if (r == 0)
        r = check_route(route);
    if (r == 0 && options)
        r = check_call_options(options);
    if (r < 0)
        return r;
    if (route->flags & (NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS))
        return naru__fail(-EINVAL, "%s streams: begin it with naru_call_begin", route->path);
    if ((!request && size > 0) || size > NARU_MESSAGE_MAX)
        return naru__fail(-EINVAL, "%s: the request is NULL, or larger than 1 GiB", route->path);
    r = naru__client_invoke(client, route, request, size, options, &reply);
    if (r == 0 && ret_reply)
        *ret_reply = reply;
    else if (r == 0)
        naru__client_release(client, &reply);
    naru__leave((struct naru_handle *)client);
    return r;
}

int naru_client_release(naru_client *client, struct naru_payload *reply)
{
    int r = naru__enter_fast(client, NARU__CLIENT);
    if (r < 0)
        return r;
    if (!reply || !reply->internal[0])
        return naru__fail_static(-EINVAL, "the reply is NULL, or was released already");
    naru__client_release(client, reply);
    return 0;
}

/* ---- calls ---- */

static int enter_call(const naru_call *call, bool client)
{
    int r = naru__enter(call, NARU__CALL);
    if (r == 0 && (call->route != NULL) != client)
        r = naru__fail(-EINVAL, "%s: that is for a call at its %s", call->handle.name,
                       client ? "client" : "server");
    return r;
}

static void leave_call(naru_call *call)
{
    if (call->route)
        naru__leave(call->owner);
}

int naru_call_begin(naru_client *client, const naru_route *route,
                    const struct naru_call_options *options, naru_call **ret_call)
{
    int r = naru__enter(client, NARU__CLIENT);
    if (r == 0)
        r = check_route(route);
    if (r == 0 && options)
        r = check_call_options(options);
    return r < 0 ? r : naru__client_begin(client, route, options, ret_call);
}

static int check_data(const naru_call *call, const void *data, size_t size)
{
    if ((!data && size > 0) || size > NARU_MESSAGE_MAX)
        return naru__fail(-EINVAL, "%s: the message is NULL, or larger than 1 GiB",
                          call->handle.name);
    return 0;
}

int naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout)
{
    int r = naru__enter_fast(call, NARU__CALL);
    if (r == 0)
        r = check_data(call, data, size);
    if (r < 0)
        return r;
    r = naru__call_send(call, data, size, false, naru__deadline(timeout));
    leave_call(call);
    return r;
}

int naru_call_reserve(naru_call *call, size_t size, int64_t timeout, void **ret_data)
{
    int r = naru__enter_fast(call, NARU__CALL);
    (void)timeout;
    if (r == 0)
        r = check_data(call, "", size);
    return r < 0 ? r : naru__call_reserve(call, size, ret_data);
}

static int enter_reserved(const naru_call *call, const void *data)
{
    int r = naru__enter_fast(call, NARU__CALL);
    if (r == 0 && (!data || data != call->reserved))
        r = naru__fail(-EINVAL, "%s: the pointer is not this call's open reservation",
                       call->handle.name);
    return r;
}

int naru_call_commit(naru_call *call, void *data, size_t size)
{
    int r = enter_reserved(call, data);
    if (r == 0 && size > call->reserved_size)
        r = naru__fail(-EINVAL, "%s: %zu bytes committed and %zu reserved", call->handle.name, size,
                       call->reserved_size);
    if (r < 0)
        return r;
    r = naru__call_commit(call, size);
    leave_call(call);
    return r;
}

int naru_call_abandon(naru_call *call, void *data)
{
    int r = enter_reserved(call, data);
    if (r == 0)
        call->reserved = NULL;
    return r;
}

int naru_call_flush(naru_call *call, int64_t timeout)
{
    int r = naru__enter(call, NARU__CALL);
    if (r < 0)
        return r;
    r = naru__call_flush(call, naru__deadline(timeout));
    leave_call(call);
    return r;
}

int naru_call_shutdown(naru_call *call)
{
    int r = enter_call(call, true);
    if (r < 0)
        return r;
    r = naru__call_shutdown(call);
    leave_call(call);
    return r;
}

int naru_call_take(naru_call *call, int64_t timeout, struct naru_payload *ret_payload)
{
    int r = naru__enter_fast(call, NARU__CALL);
    if (r == 0 && !ret_payload)
        r = naru__fail(-EINVAL, "%s: ret_payload is NULL", call->handle.name);
    if (r < 0)
        return r;
    r = naru__call_take(call, naru__deadline(timeout), ret_payload);
    leave_call(call);
    return r;
}

int naru_call_release(naru_call *call, struct naru_payload *payload)
{
    int r = naru__enter_fast(call, NARU__CALL);
    if (r == 0 && (!payload || payload->internal[0] != (uint64_t)(uintptr_t)call))
        r = naru__fail(-EINVAL,
                       "%s: the message was not taken from this call, or is released "
                       "already",
                       call->handle.name);
    if (r < 0)
        return r;
    pthread_mutex_lock(call->lock);
    call->side->release(call, payload);
    pthread_mutex_unlock(call->lock);
    return 0;
}

int naru_call_wait(naru_call *call, int64_t timeout)
{
    int r = enter_call(call, true);
    if (r < 0)
        return r;
    r = naru__client_wait(call, naru__deadline(timeout));
    leave_call(call);
    return r;
}

int naru_call_on(naru_call *call, const struct naru_call_events *events, void *arg)
{
    int r = naru__enter(call, NARU__CALL);
    if (r == 0 && !events)
        r = naru__fail(-EINVAL, "%s: the events are NULL", call->handle.name);
    if (r == 0)
        r = naru__check_options(events, sizeof *events, "naru_call_events");
    if (r < 0)
        return r;
    r = naru__call_on(call, events, arg);
    leave_call(call);
    return r;
}

int naru_call_cancel(naru_call *call)
{
    int r = naru__enter(call, NARU__CALL);
    if (r < 0)
        return r;
    pthread_mutex_lock(call->lock);
    r = call->side->cancel(call, NARU_STATUS_CANCELLED);
    pthread_mutex_unlock(call->lock);
    leave_call(call);
    return r;
}

naru_call *naru_call_close(naru_call *call)
{
    if (call && call->route) {
        naru_client *client = call->owner;
        naru__client_end(call);
        naru__leave((struct naru_handle *)client);
    }
    return NULL;
}

/* ---- a handler's ---- */

static int fail(naru_call *call, int code, const void *details, size_t size, const char *format,
                va_list arguments)
{
    char text[1024];
    int r = enter_call(call, false);
    if (r == 0 && (code <= 0 || code > NARU_STATUS_UNAUTHENTICATED))
        r = naru__fail(-EINVAL, "%d is no status code by which a call fails", code);
    if (r == 0 && (size > RPC_DETAILS_MAX || (!details && size > 0)))
        r = naru__fail(-EMSGSIZE, "%s: details of %zu bytes; at most %d", call->handle.name, size,
                       RPC_DETAILS_MAX);
    if (r < 0)
        return r;
    text[0] = '\0';
    if (format)
        vsnprintf(text, sizeof text, format, arguments);
    return naru__server_fail(call, code, details, size, text);
}

int naru_call_fail(naru_call *call, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int r = fail(call, code, NULL, 0, format, arguments);
    va_end(arguments);
    return r;
}

int naru_call_fail_details(naru_call *call, int code, const void *details, size_t size,
                           const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int r = fail(call, code, details, size, format, arguments);
    va_end(arguments);
    return r;
}

int naru_call_finish(naru_call *call, int code)
{
    int r = enter_call(call, false);
    if (r == 0 && code == NARU_LATER)
        r = naru__fail_static(-EINVAL, "NARU_LATER finishes no call");
    return r < 0 ? r : naru__server_finish(call, code);
}

int naru_call_set_header(naru_call *call, const struct naru_metadata *entry)
{
    int r = enter_call(call, false);
    return r < 0 ? r : naru__server_send_header(call, entry);
}

int naru_call_set_trailer(naru_call *call, const struct naru_metadata *entry)
{
    int r = enter_call(call, false);
    return r < 0 ? r : naru__server_set_trailer(call, entry);
}

const naru_service *naru_call_service(const naru_call *call)
{
    return enter_call(call, false) < 0 ? NULL : call->service;
}

const naru_method *naru_call_method(const naru_call *call)
{
    return enter_call(call, false) < 0 ? NULL : call->method;
}

int naru_call_compress(naru_call *call, int on)
{
    int r = naru__enter(call, NARU__CALL);
    if (r < 0)
        return r;
    pthread_mutex_lock(call->lock);
    call->flow.compress = on;
    pthread_mutex_unlock(call->lock);
    return 0;
}

int naru_call_compressed(const naru_call *call)
{
    int r = naru__enter(call, NARU__CALL);
    if (r < 0)
        return r;
    pthread_mutex_lock(call->lock);
    r = call->compressed;
    pthread_mutex_unlock(call->lock);
    return r;
}

int naru_call_cancelled(const naru_call *call)
{
    int r = naru__enter(call, NARU__CALL);
    if (r < 0)
        return r;
    pthread_mutex_lock(call->lock);
    r = call->over;
    pthread_mutex_unlock(call->lock);
    return r;
}

static int find(const naru_call *call, bool trailer, const char *key, unsigned i,
                struct naru_metadata *ret_entry)
{
    int r = naru__enter(call, NARU__CALL);
    if (r == 0 && (!key || !ret_entry))
        r = naru__fail(-EINVAL, "%s: the key, or ret_entry, is NULL", call->handle.name);
    return r < 0 ? r : naru__call_find(call, trailer, key, i, ret_entry);
}

int naru_call_header(const naru_call *call, const char *key, unsigned i,
                     struct naru_metadata *ret_entry)
{
    return find(call, false, key, i, ret_entry);
}

int naru_call_trailer(const naru_call *call, const char *key, unsigned i,
                      struct naru_metadata *ret_entry)
{
    return find(call, true, key, i, ret_entry);
}

int64_t naru_call_time_left(const naru_call *call)
{
    int r = naru__enter(call, NARU__CALL);
    if (r < 0)
        return r;
    if (call->deadline == NARU__NEVER)
        return NARU_FOREVER;
    int64_t left = call->deadline - naru__now();
    return left < 0 ? 0 : left;
}
