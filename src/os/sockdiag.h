/* SPDX-License-Identifier: MIT */
/* sockdiag.h - asks the kernel which unix socket has a name, without touching that socket
 * (NETLINK_SOCK_DIAG, sock_diag(7)). Only those of this network namespace are told. */
#ifndef NARU_OS_SOCKDIAG_H
#define NARU_OS_SOCKDIAG_H

#include "os/socket.h"

#include <stdint.h>
#include <sys/stat.h>

struct naru_unix_seen {
    int type;
    int64_t uid; /* -1: not told (before Linux 5.3) */
    uint32_t inode;
    uint32_t queued, backlog; /* of a listener: connections that wait, and how many may */
};

/* The socket that takes what is sent to the name: one that listens, or one of datagrams. The name
 * is a file's (as its device and inode) or, if file is NULL, an abstract address. -ENOENT: none. */
int naru__os_unix_find(const struct naru_address *, const struct stat *file,
                       struct naru_unix_seen *ret_seen);

/* A process that holds the socket, as far as /proc lets this user look; 0: not found. */
pid_t naru__os_socket_holder(uint32_t inode);

#endif
