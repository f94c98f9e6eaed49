/* SPDX-License-Identifier: MIT */
/* transports.h - the static table of transports, and the way from a URL to its row. */
#ifndef NARU_API_TRANSPORTS_H
#define NARU_API_TRANSPORTS_H

#include "core/transport.h"
#include "naru/kinds.h"
#include "rpc/carrier.h"

/* Parses the URL, asks the table of kinds whether it can be `noun`, finds its transport. */
int naru__find_transport(const char *url, int noun, struct naru_url *ret_url,
                         const struct naru_transport **ret_transport);

/* The same for calls: by which carrier, and over which transport. */
int naru__find_service(const char *url, struct naru_service_at *ret_at);

/* The row of a scheme, NULL if this build has none. */
const struct naru_transport *naru__transport(const char *scheme);

/* The options the caller gave, or all defaults; each after its size was checked. */
#define NARU_OPTIONS(type, given)                                                                  \
    ((given) ? (given) : &(const struct type){.size = sizeof(struct type)})

#endif
