/* SPDX-License-Identifier: MIT */
/* common.c - naru/common.h and naru/kinds.h: calls on any handle, on names, and the tables. */
#include "api/locks.h"
#include "api/net.h"
#include "api/regions.h"
#include "api/transports.h"
#include "base/error.h"
#include "core/kinds.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *naru_version(void)
{
    return NARU__VERSION;
}

const void *naru__core(void)
{
    static const char here;
    return &here;
}

const char *naru_why(void)
{
    return naru__why();
}

int naru_fail(int code, const char *format, ...)
{
    char text[768]; /* of its own: an argument may be naru_why() */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return naru__fail(code, "%s", text);
}

const char *naru_strerror(int code)
{
    switch (code < 0 ? -code : code) {
    case 0:
        return "success";
#define ROW(name, text, meaning)                                                                   \
    case name:                                                                                     \
        return text;
        NARU_ERRORS(ROW)
#undef ROW
    default:
        return "error";
    }
}

const char *naru_url(const void *handle)
{
    const struct naru_handle *h = handle;
    return naru__enter_any(handle) < 0 ? NULL : h->name;
}

int naru_fd(void *handle)
{
    int r = naru__enter_any(handle);
    return r < 0 ? r : naru__handle_fd(handle);
}

int naru_want(void *handle, int events)
{
    int r = naru__enter_any(handle);
    return r < 0 ? r : naru__handle_want(handle, events);
}

int naru_cancel(void *handle)
{
    int r = naru__enter_any(handle);
    return r < 0 ? r : naru__handle_cancel(handle);
}

int naru_peer(void *handle, struct naru_peer *ret_peer)
{
    struct naru_handle *h = handle;
    int r = naru__enter_any(handle);
    if (r < 0)
        return r;
    if (!ret_peer)
        return naru__fail_static(-EINVAL, "naru_peer: ret_peer is NULL");
    r = naru__check_options(ret_peer, sizeof *ret_peer, "naru_peer");
    if (r < 0)
        return r;
    if (!h->ops->peer)
        return naru__fail(-EOPNOTSUPP,
                          "%s: the kernel does not tell who else has a pipe, FIFO, message "
                          "queue or region; of a unix: socket it does",
                          h->name);
    return h->ops->peer(h, ret_peer);
}

int naru_stats(void *handle, struct naru_stats *ret_stats)
{
    int r = naru__enter_any(handle);
    if (r < 0)
        return r;
    if (!ret_stats)
        return naru__fail_static(-EINVAL, "naru_stats: ret_stats is NULL");
    r = naru__check_options(ret_stats, sizeof *ret_stats, "naru_stats");
    if (r < 0)
        return r;
    naru__handle_stats(handle, ret_stats);
    return 0;
}

int naru_adopt(void *handle)
{
    if (!handle)
        return naru__fail_static(-EINVAL, "the handle is NULL");
    return naru__handle_adopt(handle);
}

int naru_remove(const char *text)
{
    struct naru_url url;
    int r = naru__url_parse(text, &url);
    if (r < 0)
        return r;
    if (!naru__url_form(url.scheme))
        return -EINVAL;
    const struct naru_region_kind *region = naru__region_kind(url.scheme);
    r = region && region->remove ? region->remove(&url) : NARU__REGION_NOT;
    if (r != NARU__REGION_NOT)
        return r;
    const struct naru_semaphore_kind_ops *semaphore = naru__semaphore_kind(url.scheme);
    if (semaphore && semaphore->remove)
        return semaphore->remove(&url);
    const struct naru_transport *transport = naru__transport(url.scheme);
    struct naru_service_at at;
    if (!transport && naru__net_has(url.scheme)) { /* a carrier's name is its medium's */
        r = naru__find_service(text, &at);
        if (r < 0)
            return r;
        transport = at.transport;
    }
    if (!transport)
        return naru__fail(-EOPNOTSUPP, "%s is not in this build", text);
    if (!transport->remove)
        return naru__fail(-EOPNOTSUPP, "%s has no name to remove: it goes with its last holder",
                          text);
    return transport->remove(&url);
}

size_t naru_kinds(const struct naru_kind **ret_kinds)
{
    *ret_kinds = naru__kinds;
    return naru__kinds_count;
}

size_t naru_url_forms(const struct naru_url_form **ret_forms)
{
    *ret_forms = naru__url_forms;
    return naru__url_forms_count;
}

const char *naru_noun_name(int noun)
{
    return naru__noun_name(noun);
}

int naru_can(const char *text, int noun)
{
    struct naru_url url;
    return naru__url_of(text, noun, &url);
}
