/* SPDX-License-Identifier: MIT */
/* udp.c - UDP: a queue is its receiver's port, a topic is a multicast group.
 *
 * Senders connect, since only so are they told that nobody receives (an ICMP answer to an earlier
 * datagram). A group stays on its link (TTL 1), comes back to this host's own subscribers, and can
 * name its interface: udp://239.1.2.3%eth0:5000. */
#include "transport/udp/udp.h"

#include "base/error.h"
#include "os/fd.h"
#include "os/limit.h"
#include "transport/common/datagram.h"
#include "transport/common/inet.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

static const struct naru_datagram_kind datagrams = {
    .scheme = "udp",
    .loses = true,
    .largest = 65507, /* RFC 768 and 791: 65535 less both headers */
    .largest_name = "the largest UDP datagram",
};

static int no_route(const char *name, int code)
{
    if (code == -ENETUNREACH || code == -ENODEV || code == -EHOSTUNREACH)
        return naru__fail(-EHOSTUNREACH,
                          "%s: no route leads there (ip route); a multicast group can name its "
                          "interface, as udp://239.1.2.3%%eth0:5000",
                          name);
    if (code == -EADDRNOTAVAIL)
        return naru__fail(code, "%s: no address of this host leads there (ip address)", name);
    if (code == -EAGAIN)
        return naru__fail(-EADDRNOTAVAIL, "%s: no port of this host is left to send from%s", name,
                          naru__limit_of_ports().text);
    return naru__fail(code, "%s: connecting failed: %s", name, naru__errno_text(code));
}

static int make_socket(const char *name, const struct naru_address *a, size_t capacity)
{
    int fd = naru__inet_socket(name, a, SOCK_DGRAM);
    naru__socket_capacity(fd, fd >= 0 ? capacity : 0);
    return fd;
}

/* ---- multicast ---- */

static int join_group(int fd, const struct naru_address *group, unsigned interface)
{
    if (group->is.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const void *)&group->is;
        const struct ipv6_mreq wish = {six->sin6_addr, interface};
        return naru__os_set_option(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &wish, sizeof wish);
    }
    const struct sockaddr_in *four = (const void *)&group->is;
    const struct ip_mreqn wish = {.imr_multiaddr = four->sin_addr, .imr_ifindex = (int)interface};
    return naru__os_set_option(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &wish, sizeof wish);
}

/* The descriptor. One that the environment hands over may have joined already. */
static int join(int fd, const char *name, const struct naru_address *group, unsigned interface)
{
    int r = join_group(fd, group, interface);
    if (r >= 0 || r == -EADDRINUSE)
        return fd;
    naru__os_close(fd);
    return no_route(name, r);
}

static int send_through(int fd, const struct naru_address *group, unsigned interface)
{
    int index = (int)interface;
    if (!interface)
        return 0;
    if (group->is.ss_family == AF_INET6)
        return naru__os_set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
    const struct ip_mreqn wish = {.imr_ifindex = index};
    return naru__os_set_option(fd, IPPROTO_IP, IP_MULTICAST_IF, &wish, sizeof wish);
}

/* ---- ends ---- */

/* A socket that receives what is sent to the address. */
static int receiver(const char *name, const struct naru_address *a, bool shared, size_t capacity)
{
    int fd = make_socket(name, a, capacity);
    if (fd < 0)
        return fd;
    int r = naru__inet_bind(fd, name, a, SOCK_DGRAM, shared);
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

static int sender(const char *name, const struct naru_address *a, const struct naru_inet *group,
                  size_t capacity)
{
    int fd = make_socket(name, a, capacity);
    if (fd < 0)
        return fd;
    int r = group ? send_through(fd, a, group->interface) : 0;
    if (r >= 0)
        r = naru__os_connect(fd, a);
    if (r < 0) {
        naru__os_close(fd);
        return no_route(name, r);
    }
    return fd;
}

/* The address that both ends of this handle mean. */
struct meeting {
    const char *name;
    const struct naru_inet *inet, *group; /* group: inet if it is one */
    int role;
    size_t capacity, max_message;
    unsigned max_taken;
};

/* The receiver's socket, and which of the addresses it has. */
static int any_receiver(const struct meeting *m, struct naru_address *ret_there)
{
    size_t at;
    int fd = naru__inet_activated(m->inet, SOCK_DGRAM, &at);
    if (fd == -ENOENT)
        for (at = 0; at < m->inet->n; at++) { /* no IPv6: then IPv4 */
            fd = receiver(m->name, &m->inet->address[at], m->group != NULL, m->capacity);
            if (fd != -EADDRNOTAVAIL)
                break;
        }
    if (fd < 0)
        return fd;
    *ret_there = m->inet->address[at];
    return m->group ? join(fd, m->name, ret_there, m->group->interface) : fd;
}

static int open_ends(const struct meeting *m, struct naru_datagram_parts *p)
{
    struct naru_address there = m->inet->address[0];
    int r = 0;
    if (m->role & NARU_RECV) {
        r = p->in = any_receiver(m, &there);
        if (r >= 0 && m->inet->port == 0 && (r = naru__os_own_address(p->in, &there)) < 0)
            naru__fail(r, "%s: the port that it got is not known: %s", m->name,
                       naru__errno_text(r));
        if (r < 0)
            return r;
    }
    if (m->role & NARU_SEND)
        r = p->out = sender(m->name, &there, m->group, m->capacity);
    return r;
}

static int open_datagrams(const struct meeting *m, naru_channel **ret_c)
{
    struct naru_address own;
    struct naru_datagram *d;
    char name[512];
    struct naru_datagram_parts p = {.name = name,
                                    .role = m->role,
                                    .in = NARU__NO_FD,
                                    .out = NARU__NO_FD,
                                    .capacity = m->capacity,
                                    .max_message = m->max_message,
                                    .max_taken = m->max_taken,
                                    .file = {.directory = NARU__NO_FD}};
    snprintf(name, sizeof name, "%s", m->name);
    int r = open_ends(m, &p);
    if (r >= 0 && m->inet->port == 0 && naru__os_own_address(p.in, &own) >= 0)
        naru__socket_address_text(&own, "udp", name, sizeof name);
    if (r >= 0)
        r = naru__datagram_new(&datagrams, &p, &d);
    if (r < 0) {
        naru__os_close(p.in);
        naru__os_close(p.out);
        return r;
    }
    *ret_c = &d->mq.channel;
    return 0;
}

/* ---- queues and topics ---- */

static int udp_queue(const struct naru_url *url, int role, const struct naru_queue_options *o,
                     naru_channel **ret_c)
{
    struct naru_inet inet;
    if (o->messages)
        return naru__fail(-EOPNOTSUPP,
                          "%s: .messages cannot be asked for; .capacity asks for bytes", url->text);
    int r = naru__inet_resolve(url, SOCK_DGRAM, role & NARU_RECV, &inet);
    if (r < 0)
        return r;
    if (naru__inet_is_group(&inet.address[0]))
        return naru__fail(-EINVAL,
                          "%s is a multicast group, where every receiver gets every message: open "
                          "it as a topic",
                          url->text);
    return open_datagrams(
        &(struct meeting){url->text, &inet, NULL, role, o->capacity, o->max_message, o->max_taken},
        ret_c);
}

static int udp_topic(const struct naru_url *url, int role, const struct naru_topic_options *o,
                     naru_channel **ret_c)
{
    struct naru_inet inet;
    if (o->history)
        return naru__fail(-EOPNOTSUPP, "%s keeps no history for late subscribers", url->text);
    int r = naru__inet_resolve(url, SOCK_DGRAM, false, &inet);
    if (r < 0)
        return r;
    if (!naru__inet_is_group(&inet.address[0]))
        return naru__fail(-EINVAL,
                          "%s is the address of one host: a topic needs a multicast group, from "
                          "224.0.0.0 to 239.255.255.255 or in ff00::/8; or open it as a queue",
                          url->text);
    inet.n = 1;
    return open_datagrams(
        &(struct meeting){url->text, &inet, &inet, role, o->capacity, o->max_message, o->max_taken},
        ret_c);
}

const struct naru_transport naru__udp_transport = {
    .size = sizeof naru__udp_transport,
    .scheme = "udp",
    .queue_open = udp_queue,
    .topic_open = udp_topic,
};
