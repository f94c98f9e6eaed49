/* SPDX-License-Identifier: MIT */
/* module.h - libnaru-net: the kinds that need more than libc, in a library of its own, so that who
 * uses none of them needs neither nghttp2 nor OpenSSL nor zlib.
 *
 * libnaru loads it when a URL first asks for one of them. A program that has libnaru.a in it links
 * libnaru-net.a as well (whole: nothing else names its entry), and nothing is loaded. */
#ifndef NARU_NET_MODULE_H
#define NARU_NET_MODULE_H

#include "base/private.h"
#include "core/transport.h"
#include "rpc/carrier.h"

/* The entry, `naru__net_module`: all that is asked of the library by its name. */
struct naru_net {
    size_t size;
    const char *version; /* the same as libnaru's, or it is refused */
    /* naru__core, as the module finds it: it could have been bound to another copy of libnaru. */
    const void *(*core)(void);
    const struct naru_transport *const *transports;  /* ended by NULL */
    const struct naru_carrier_kind *const *carriers; /* ended by NULL */
};

#define NARU__TEXT_(x) #x
#define NARU__TEXT(x) NARU__TEXT_(x)
#define NARU__VERSION                                                                              \
    NARU__TEXT(NARU_VERSION_MAJOR)                                                                 \
    "." NARU__TEXT(NARU_VERSION_MINOR) "." NARU__TEXT(NARU_VERSION_PATCH)

#define NARU__NET_LIBRARY "libnaru-net.so.0"
#define NARU__NET_ENTRY "naru__net_module"

extern const struct naru_net naru__net_module NARU__EXPORTED;

#endif
