/* SPDX-License-Identifier: MIT */
/* packets.c - `unix+seqpacket:`: connections whose messages the kernel keeps apart. Raw: there is
 * no greeting, so an end that finished and one that died look alike. */
#include "transport/unix/unix.h"

#include "base/error.h"
#include "os/fd.h"
#include "transport/common/datagram.h"

#include <errno.h>

static const struct naru_datagram_kind packets = {.scheme = "unix+seqpacket", .ends = true};

static int new_end(const char *name, int fd, const struct naru_channel_options *o,
                   naru_channel **ret_c)
{
    struct naru_datagram *d;
    int r = naru__datagram_prepare(fd, name, o->capacity, o->max_message);
    if (r == 0)
        r = naru__datagram_new(&packets,
                               &(struct naru_datagram_parts){.name = name,
                                                             .role = NARU_SEND | NARU_RECV,
                                                             .in = fd,
                                                             .out = fd,
                                                             .capacity = o->capacity,
                                                             .max_message = o->max_message,
                                                             .max_taken = o->max_taken,
                                                             .file = {.directory = NARU__NO_FD}},
                               &d);
    if (r == 0)
        *ret_c = &d->mq.channel;
    return r;
}

static const struct naru_medium medium = {.scheme = "unix+seqpacket", .socket = true};

static const struct naru_socket_kind kind = {
    .medium = &medium,
    .admit = naru__unix_admit,
    .packets = new_end,
};

static int packet_pair(const struct naru_channel_options *o, naru_channel **ret_a,
                       naru_channel **ret_b)
{
    naru_channel *end[2] = {NULL, NULL};
    int fds[2];
    int r = naru__os_socket_pair(SOCK_SEQPACKET, fds);
    if (r < 0)
        return naru__unix_no_socket(packets.scheme, r);
    for (int i = 0; i < 2 && r == 0; i++)
        r = new_end(packets.scheme, fds[i], o, &end[i]);
    for (int i = 0; i < 2 && r < 0; i++) {
        if (end[i])
            end[i]->ops->close(end[i], true);
        else
            naru__os_close(fds[i]);
    }
    if (r < 0)
        return r;
    *ret_a = end[0];
    *ret_b = end[1];
    return 0;
}

static int packet_inherit(const char *name, const int fds[2], const struct naru_channel_options *o,
                          naru_channel **ret_c)
{
    if (naru__os_get_number(fds[0], SOL_SOCKET, SO_DOMAIN) != AF_UNIX ||
        naru__os_get_number(fds[0], SOL_SOCKET, SO_TYPE) != SOCK_SEQPACKET)
        return naru__fail(-EPROTO, "%s: descriptor %d is no unix socket of packets", name, fds[0]);
    return new_end(name, fds[0], o, ret_c);
}

static int packet_connect(const struct naru_url *url, const struct naru_channel_options *o,
                          int64_t deadline, naru_channel **ret_c)
{
    int fd = naru__unix_connected(url, SOCK_SEQPACKET, o->capacity, o->flags, deadline);
    if (fd < 0)
        return fd;
    int r = new_end(url->text, fd, o, ret_c);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

static int packet_listen(const struct naru_url *url, const struct naru_listen_options *o,
                         struct naru_listener **ret_l)
{
    return naru__unix_listen(&kind, SOCK_SEQPACKET, NARU__CHANNEL_LISTENER, url, o, ret_l);
}

const struct naru_transport naru__unix_packet_transport = {
    .size = sizeof naru__unix_packet_transport,
    .scheme = "unix+seqpacket",
    .one_descriptor = true,
    .channel_pair = packet_pair,
    .channel_connect = packet_connect,
    .channel_listen = packet_listen,
    .channel_inherit = packet_inherit,
    .remove = naru__unix_remove,
};
