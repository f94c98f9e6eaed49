/* SPDX-License-Identifier: MIT */
/* inet.c - hosts, ports and interfaces. */
#include "transport/common/inet.h"

#include "base/error.h"
#include "os/limit.h"
#include "transport/common/sockets.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int malformed(const struct naru_url *url)
{
    return naru__fail(-EINVAL,
                      "%s: write %s://host:port, with the port a number to 65535; an IPv6 address "
                      "as [::1]",
                      url->text, url->scheme);
}

static int split(const struct naru_url *url, struct naru_inet *inet)
{
    const char *host = url->rest + 2, *colon;
    size_t n;
    char *end;
    if (strncmp(url->rest, "//", 2) != 0)
        return malformed(url);
    if (*host == '[') {
        host++;
        n = strcspn(host, "]");
        colon = host[n] ? host + n + 1 : host + n;
    } else {
        n = strcspn(host, ":");
        colon = host + n;
    }
    if (*colon != ':' || n >= sizeof inet->host)
        return malformed(url);
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end || port > 65535 || colon[1] < '0' || colon[1] > '9')
        return malformed(url);
    snprintf(inet->host, sizeof inet->host, "%.*s", (int)n, host);
    char *zone = strchr(inet->host, '%');
    if (zone) {
        *zone = '\0';
        inet->interface = naru__os_interface(zone + 1);
        if (inet->interface == 0)
            return naru__fail(-EADDRNOTAVAIL, "%s: there is no interface %s (ip link)", url->text,
                              zone + 1);
    }
    if (strcmp(inet->host, "*") == 0)
        inet->host[0] = '\0';
    inet->port = (unsigned)port;
    return 0;
}

static void add(struct naru_inet *inet, const struct sockaddr *address, socklen_t length)
{
    if (inet->n == sizeof inet->address / sizeof *inet->address)
        return;
    struct naru_address *a = &inet->address[inet->n++];
    memset(a, 0, sizeof *a);
    memcpy(&a->is, address, length);
    a->length = length;
    if (inet->interface && address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&a->is)->sin6_scope_id = inet->interface;
}

static void add_any(struct naru_inet *inet)
{
    const struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                                     .sin6_port = htons((uint16_t)inet->port)};
    const struct sockaddr_in four = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)inet->port)};
    add(inet, (const struct sockaddr *)&six, sizeof six);
    add(inet, (const struct sockaddr *)&four, sizeof four);
}

int naru__inet_resolve(const struct naru_url *url, int type, bool here, struct naru_inet *ret_inet)
{
    struct naru_inet inet = {.n = 0};
    struct addrinfo *found;
    char port[8];
    int r = split(url, &inet);
    if (r < 0)
        return r;
    if (!here && (!inet.host[0] || inet.port == 0))
        return naru__fail(-EINVAL, "%s names no %s", url->text, inet.host[0] ? "port" : "host");
    if (!inet.host[0]) {
        add_any(&inet);
    } else {
        snprintf(port, sizeof port, "%u", inet.port);
        r = naru__os_resolve(inet.host, port, type, &found);
        if (r != 0)
            return naru__fail(r == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL, "%s: host %s: %s",
                              url->text, inet.host,
                              r < -1000 ? naru__errno_text(r + 1000) : gai_strerror(r));
        for (struct addrinfo *a = found; a; a = a->ai_next)
            if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
                add(&inet, a->ai_addr, a->ai_addrlen);
        freeaddrinfo(found);
        if (inet.n == 0)
            return naru__fail(-EADDRNOTAVAIL, "%s: host %s has no address", url->text, inet.host);
    }
    if (inet.interface && inet.address[0].is.ss_family == AF_INET &&
        !naru__inet_is_group(&inet.address[0]))
        return naru__fail(-EINVAL,
                          "%s: an interface can be named for a multicast group and for IPv6 alone",
                          url->text);
    *ret_inet = inet;
    return 0;
}

int naru__inet_activated(const struct naru_inet *inet, int type, size_t *ret_at)
{
    int fd = -ENOENT;
    for (*ret_at = 0; *ret_at < inet->n; ++*ret_at)
        if ((fd = naru__socket_activated(&inet->address[*ret_at], type)) != -ENOENT)
            break;
    return fd;
}

unsigned naru__inet_port(const struct naru_address *a)
{
    if (a->is.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)&a->is)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)(const void *)&a->is)->sin6_port);
}

bool naru__inet_is_group(const struct naru_address *a)
{
    if (a->is.ss_family == AF_INET)
        return IN_MULTICAST(
            ntohl(((const struct sockaddr_in *)(const void *)&a->is)->sin_addr.s_addr));
    return IN6_IS_ADDR_MULTICAST(&((const struct sockaddr_in6 *)(const void *)&a->is)->sin6_addr);
}

int naru__inet_socket(const char *name, const struct naru_address *a, int type)
{
    int fd =
        naru__os_socket(a->is.ss_family, type, type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
    if (fd == -EAFNOSUPPORT)
        return naru__fail(-EADDRNOTAVAIL, "%s: this kernel has no such kind of address", name);
    if (fd < 0)
        naru__fail(fd, "%s: no socket: %s%s", name, naru__errno_text(fd),
                   naru__limit_of_files(fd).text);
    return fd;
}

static int bind_failed(const char *name, unsigned port, int type, int code)
{
    bool stream = type == SOCK_STREAM;
    if (code == -EADDRINUSE && port == 0)
        return naru__fail(-EADDRNOTAVAIL, "%s: no port of this host is left%s", name,
                          naru__limit_of_ports().text);
    if (code == -EADDRINUSE)
        return naru__fail(
            -EBUSY, "%s: somebody %s on that port already (`ss -l%cnp 'sport = :%u'` tells who)",
            name, stream ? "listens" : "receives", stream ? 't' : 'u', port);
    if (code == -EACCES)
        return naru__fail(code,
                          "%s: ports below net.ipv4.ip_unprivileged_port_start, %" PRId64
                          ", need CAP_NET_BIND_SERVICE",
                          name, naru__limit_sysctl("net/ipv4/ip_unprivileged_port_start"));
    if (code == -EADDRNOTAVAIL)
        return naru__fail(code, "%s: that is no address of this host (ip address)", name);
    return naru__fail(code, "%s: the port cannot be bound: %s", name, naru__errno_text(code));
}

int naru__inet_bind(int fd, const char *name, const struct naru_address *a, int type, bool shared)
{
    int r = shared ? naru__os_set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1) : 0;
    if (r >= 0 && a->is.ss_family == AF_INET6)
        r = naru__os_set_number(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (r >= 0)
        r = naru__os_bind(fd, a);
    return r < 0 ? bind_failed(name, naru__inet_port(a), type, r) : 0;
}
