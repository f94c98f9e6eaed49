/* SPDX-License-Identifier: MIT */
/* shm.c - `shm:`: how the ends of a connection come to their socket. */
#include "transport/shm/shm.h"

#include "base/error.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/socket.h"
#include "transport/common/place.h"
#include "transport/shm/lanes.h"

#include <errno.h>

static int shm_pair(const struct naru_channel_options *o, naru_channel **ret_a,
                    naru_channel **ret_b)
{
    naru_channel *end[2] = {NULL, NULL};
    int fds[2];
    int r = naru__os_socket_pair(SOCK_SEQPACKET, fds);
    if (r < 0)
        return naru__fail(r, "shm: no socket for the meeting: %s%s", naru__errno_text(r),
                          naru__limit_of_files(r).text);
    for (int i = 0; i < 2 && r == 0; i++)
        r = naru__shm_end("shm:", fds[i], true, o, &end[i]);
    if (r == 0)
        r = naru__shm_couple(end[0], end[1]);
    if (r == 0) {
        *ret_a = end[0];
        *ret_b = end[1];
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        if (end[i])
            end[i]->ops->close(end[i], true);
        else
            naru__os_close(fds[i]);
    }
    return r;
}

static int shm_inherit(const char *name, const int fds[2], const struct naru_channel_options *o,
                       naru_channel **ret_c)
{
    if (naru__os_get_number(fds[0], SOL_SOCKET, SO_DOMAIN) != AF_UNIX ||
        naru__os_get_number(fds[0], SOL_SOCKET, SO_TYPE) != SOCK_SEQPACKET)
        return naru__fail(-EPROTO, "%s: descriptor %d is no socket of naru's", name, fds[0]);
    return naru__shm_end(name, fds[0], false, o, ret_c);
}

/* ---- by a name ---- */

static int accepted(const char *name, int fd, const struct naru_channel_options *o,
                    naru_channel **ret_c)
{
    return naru__shm_end(name, fd, false, o, ret_c);
}

static const struct naru_medium medium = {.scheme = "shm", .socket = true};

static const struct naru_socket_kind kind = {
    .medium = &medium,
    .packets = accepted,
};

static int shm_connect(const struct naru_url *url, const struct naru_channel_options *o,
                       int64_t deadline, naru_channel **ret_c)
{
    int fd = naru__unix_connected(url, SOCK_SEQPACKET, 0, o->flags, deadline);
    if (fd < 0)
        return fd;
    int r = naru__shm_end(url->text, fd, false, o, ret_c);
    if (r < 0)
        naru__os_close(fd);
    return r;
}

static int shm_listen(const struct naru_url *url, const struct naru_listen_options *o,
                      struct naru_listener **ret_l)
{
    return naru__unix_listen(&kind, SOCK_SEQPACKET, NARU__CHANNEL_LISTENER, url, o, ret_l);
}

/* A name holds one object: a listener's socket, or a directory. */
static int shm_remove(const struct naru_url *url)
{
    int r = naru__object_remove(url);
    return r == -EEXIST ? naru__unix_remove(url) : r;
}

const struct naru_transport naru__shm_transport = {
    .size = sizeof naru__shm_transport,
    .scheme = "shm",
    .one_descriptor = true,
    .channel_pair = shm_pair,
    .channel_connect = shm_connect,
    .channel_listen = shm_listen,
    .channel_inherit = shm_inherit,
    .queue_open = naru__lanes_queue,
    .topic_open = naru__lanes_topic,
    .remove = shm_remove,
};
