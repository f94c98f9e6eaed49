/* SPDX-License-Identifier: MIT */
/* connection.h - a connection over any pair of byte streams: pipes, sockets. The transport
 * makes the descriptors; framing, greeting, selecting and death are here. */
#ifndef NARU_TRANSPORT_COMMON_CONNECTION_H
#define NARU_TRANSPORT_COMMON_CONNECTION_H

#include "core/cover.h"
#include "core/transport.h"
#include "transport/common/frame.h"

/* What differs between media. */
struct naru_medium {
    const char *scheme;
    size_t atomic; /* bytes that one write takes whole or not at all */
    bool grows;    /* F_SETPIPE_SZ can make room for the last word */
    bool socket;   /* both directions are one descriptor, a socket */
    bool descriptors; /* a socket that carries them, too (SCM_RIGHTS) */
};

/* Shared by the two ends of a pair in the process that made it. */
struct naru_pair;

/* Both ends of a pair over descriptors that are taken over in every case. */
int naru__connection_pair(const struct naru_medium *, const char *name, const int fds_a[2],
                          const int fds_b[2], const struct naru_channel_options *,
                          naru_channel **ret_a, naru_channel **ret_b);

/* One end over descriptors {reading, writing}; the other end is another program, whose greeting
 * tells its limits. cover: of a socket, or NULL. Both are taken over on success only. */
NARU__EXPORTED int naru__connection_new(const struct naru_medium *, const char *name,
                                        const int fds[2], struct naru_cover *cover,
                                        const struct naru_channel_options *, uint32_t hello_flags,
                                        naru_channel **ret_c);

#endif
