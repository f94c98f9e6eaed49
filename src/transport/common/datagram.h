/* SPDX-License-Identifier: MIT */
/* datagram.h - channels over sockets that keep messages apart: one message a datagram, its bytes as
 * they are, so that any program can be the other end. */
#ifndef NARU_TRANSPORT_COMMON_DATAGRAM_H
#define NARU_TRANSPORT_COMMON_DATAGRAM_H

#include "transport/common/mq.h"
#include "transport/common/sockets.h"

struct naru_datagram;

/* What differs between the domains. */
struct naru_datagram_kind {
    const char *scheme;
    bool ends;      /* a connection: it can be finished */
    bool loses;     /* the kernel counts what it drops (SO_RXQ_OVFL), and tells no sender */
    size_t largest; /* the protocol's own limit; 0: SO_SNDBUF's */
    const char *largest_name;
    /* A sender finds its receiver, by the handle's name, again if it had gone. -ECONNREFUSED,
     * -ENOENT: there is none. NULL: it is found once and for all. */
    int (*join)(struct naru_datagram *);
};

/* What a channel is made of. */
struct naru_datagram_parts {
    const char *name;
    int role;
    int in, out; /* may be one; NARU__NO_FD where the role has none */
    size_t capacity, max_message;
    unsigned max_taken;
    bool own_users; /* what comes from neither this user nor root is dropped (SO_PASSCRED) */
    unsigned flags;
    struct naru_socket_file file; /* of a receiver that has bound it; directory NARU__NO_FD: none */
};

struct naru_datagram {
    struct naru_mq mq;
    const struct naru_datagram_kind *kind;
    int in, out;
    size_t capacity; /* what was asked */
    bool own_users;
    uid_t user; /* this process's */
    /* the receiving thread's: */
    bool asks;       /* the next one's size, before it is received */
    uint8_t *beyond; /* where the rest of a large message goes */
    size_t beyond_room;
    size_t pending;     /* size of one of which the rest is there still; 0: none */
    uint32_t overflow;  /* the kernel's last count */
    int end;            /* what the end of a connection answers: 0, -ECONNRESET */
    _Atomic bool apart; /* a sender that has no receiver just now; written by its thread */
    unsigned flags;     /* NARU_ANY_USER */
    struct naru_socket_file file;
};

/* Takes the descriptors and file.directory over on success only. */
int naru__datagram_new(const struct naru_datagram_kind *, const struct naru_datagram_parts *,
                       struct naru_datagram **ret_d);

/* Before the socket has its name: buffers that hold so large a message. */
int naru__datagram_prepare(int fd, const char *name, size_t capacity, size_t max_message);

#endif
