/* SPDX-License-Identifier: MIT */
/* transports.c - a transport is a directory and one row here. */
#include "api/transports.h"

#include "api/net.h"
#include "base/error.h"
#include "core/kinds.h"
#include "transport/fifo/fifo.h"
#include "transport/map/map.h"
#include "transport/pipe/pipe.h"
#include "transport/posix_mq/posix_mq.h"
#include "transport/shm/shm.h"
#include "transport/sysv_mq/sysv_mq.h"
#include "transport/tcp/tcp.h"
#include "transport/udp/udp.h"
#include "transport/unix/unix.h"

#include <errno.h>
#include <string.h>

static const struct naru_transport *const transports[] = {
    &naru__pipe_transport,
    &naru__fifo_transport,
    &naru__posix_mq_transport,
    &naru__sysv_mq_transport,
    &naru__shm_transport,
    &naru__map_transport,
    &naru__unix_transport,
    &naru__unix_packet_transport,
    &naru__unix_datagram_transport,
    &naru__tcp_transport,
    &naru__udp_transport,
};

const struct naru_transport *naru__transport(const char *scheme)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
        if (strcmp(transports[i]->scheme, scheme) == 0)
            return transports[i];
    const struct naru_net *net = naru__net_has(scheme) ? naru__net(scheme) : NULL;
    for (size_t i = 0; net && net->transports[i]; i++)
        if (strcmp(net->transports[i]->scheme, scheme) == 0)
            return net->transports[i];
    return NULL;
}

int naru__find_transport(const char *url, int noun, struct naru_url *ret_url,
                         const struct naru_transport **ret_transport)
{
    struct naru_url parsed;
    int r = naru__url_of(url, noun, &parsed);
    if (r < 0)
        return r;
    const struct naru_transport *transport = naru__transport(parsed.scheme);
    if (!transport && naru__net_has(parsed.scheme) && !naru__net(url))
        return -EOPNOTSUPP;
    if (!transport)
        return naru__fail(-EOPNOTSUPP, "%s is not in this build", url);
    *ret_url = parsed;
    *ret_transport = transport;
    return 0;
}

int naru__find_service(const char *url, struct naru_service_at *ret_at)
{
    struct naru_service_at at = {.carrier = NULL};
    int r = naru__url_of(url, NARU_NOUN_SERVICE, &at.url);
    if (r < 0)
        return r;
    const struct naru_net *net = naru__net_has(at.url.scheme) ? naru__net(url) : NULL;
    for (size_t i = 0; net && net->carriers[i] && !at.carrier; i++)
        if (strcmp(net->carriers[i]->scheme, at.url.scheme) == 0)
            at.carrier = net->carriers[i];
    if (at.carrier) {
        at.transport = naru__transport(at.carrier->medium);
        *ret_at = at;
        return 0;
    }
    r = naru__find_transport(url, NARU_NOUN_SERVICE, &at.url, &at.transport);
    if (r == 0)
        *ret_at = at;
    return r;
}
