/* SPDX-License-Identifier: MIT */
/* inet.h - "//host:port": which addresses it means, and binding to them. */
#ifndef NARU_TRANSPORT_COMMON_INET_H
#define NARU_TRANSPORT_COMMON_INET_H

#include "base/url.h"
#include "os/socket.h"

struct naru_inet {
    char host[256]; /* empty: any of this host's addresses */
    unsigned port;
    unsigned interface; /* of "%name" behind the host, 0: none */
    struct naru_address address[8];
    size_t n;
};

/* type: SOCK_STREAM, SOCK_DGRAM. here: for binding, so that no host means every address, IPv6 with
 * IPv4 first; else it is an error. Takes as long as the resolver takes. */
int naru__inet_resolve(const struct naru_url *, int type, bool here, struct naru_inet *ret_inet);

/* As naru__socket_activated, for whichever of the addresses there is one. *ret_at: of which. */
int naru__inet_activated(const struct naru_inet *, int type, size_t *ret_at);

unsigned naru__inet_port(const struct naru_address *);
bool naru__inet_is_group(const struct naru_address *); /* multicast */

/* socket(2) and bind(2) with their sentences. [::] is every address, also of IPv4. shared: others
 * may bind it too (SO_REUSEADDR). -EBUSY: somebody has the port. */
int naru__inet_socket(const char *name, const struct naru_address *, int type);
int naru__inet_bind(int fd, const char *name, const struct naru_address *, int type, bool shared);

#endif
