/* SPDX-License-Identifier: MIT */
/* socket.h - sockets, each call thin. Results as in os/fd.h: -EINTR is met here. Every socket is
 * close-on-exec and non-blocking from birth, and its number is above 2. */
#ifndef NARU_OS_SOCKET_H
#define NARU_OS_SOCKET_H

#include "base/private.h"

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

struct naru_address {
    struct sockaddr_storage is;
    socklen_t length;
};

int naru__os_socket(int domain, int type, int protocol);
int naru__os_socket_pair(int type, int ret_fds[2]);
int naru__os_bind(int fd, const struct naru_address *);
int naru__os_listen(int fd, int backlog);
int naru__os_accept(int fd);
/* -EINPROGRESS: poll for writing, then ask SO_ERROR; -EINTR is the caller's, who knows the time. */
int naru__os_connect(int fd, const struct naru_address *);
int naru__os_own_address(int fd, struct naru_address *ret_address);
NARU__EXPORTED int naru__os_peer_address(int fd, struct naru_address *ret_address);

int naru__os_get_option(int fd, int level, int option, void *ret_value, socklen_t size);
int naru__os_set_option(int fd, int level, int option, const void *value, socklen_t size);
NARU__EXPORTED int naru__os_get_number(int fd, int level, int option); /* 0 or more, or the error */
int naru__os_set_number(int fd, int level, int option, int value);

NARU__EXPORTED int naru__os_shutdown(int fd, int how); /* SHUT_RD, SHUT_WR, SHUT_RDWR */
ssize_t naru__os_send(int fd, const struct msghdr *message, int flags); /* no SIGPIPE */
ssize_t naru__os_receive(int fd, struct msghdr *message, int flags);
/* Bytes alone: of one piece without a message header, which costs the kernel 0.1 us to take over.
 */
NARU__EXPORTED ssize_t naru__os_send_vector(int fd, const struct iovec *vector, int n);
NARU__EXPORTED ssize_t naru__os_receive_bytes(int fd, void *buf, size_t n, int flags);
int naru__os_unsent(int fd); /* bytes that the other side has not taken: SIOCOUTQ */

/* Does the other end still hold the socket? 1: it has hung up, or an error waits. */
int naru__os_socket_ended(int fd);

/* getaddrinfo of a host and a port's number: its result; -1000 - errno for EAI_SYSTEM. */
int naru__os_resolve(const char *host, const char *port, int type, struct addrinfo **ret_found);

unsigned naru__os_interface(const char *name); /* its index; 0: there is none */

/* The program of a process, as its /proc entry names it; "?" if it cannot be known. */
void naru__os_program_of(pid_t pid, char *buf, size_t n);
bool naru__os_is_stopped(pid_t pid); /* by a signal or a debugger */

#endif
