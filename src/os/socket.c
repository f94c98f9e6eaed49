/* SPDX-License-Identifier: MIT */
/* socket.c - sockets. */
#include "os/socket.h"

#include "base/fault.h"
#include "os/fd.h"
#include "os/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CALL(name, expression)                                                                     \
    do {                                                                                           \
        ssize_t r_ = naru__fault_at(name);                                                         \
        if (r_ < 0)                                                                                \
            return (int)r_;                                                                        \
        do                                                                                         \
            r_ = (expression);                                                                     \
        while (r_ < 0 && errno == EINTR);                                                          \
        return r_ < 0 ? -errno : (int)r_;                                                          \
    } while (0)

/* 0, 1 and 2 are not a library's to take, even if they are closed. */
static int above_two(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    return high < 0 ? -error : high;
}

static int make(int domain, int type, int protocol)
{
    CALL("socket", socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

int naru__os_socket(int domain, int type, int protocol)
{
    return above_two(make(domain, type, protocol));
}

static int make_pair(int type, int fds[2])
{
    CALL("socketpair", socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
}

int naru__os_socket_pair(int type, int ret_fds[2])
{
    int fds[2];
    int r = make_pair(type, fds);
    if (r < 0)
        return r;
    for (int i = 0; i < 2; i++) {
        fds[i] = above_two(fds[i]);
        if (fds[i] < 0) {
            naru__os_close(fds[!i]);
            return fds[i];
        }
    }
    memcpy(ret_fds, fds, sizeof fds);
    return 0;
}

static const struct sockaddr *address_of(const struct naru_address *a)
{
    return (const struct sockaddr *)&a->is;
}

int naru__os_bind(int fd, const struct naru_address *a)
{
    CALL("bind", bind(fd, address_of(a), a->length));
}

int naru__os_listen(int fd, int backlog)
{
    CALL("listen", listen(fd, backlog));
}

static int take(int fd)
{
    CALL("accept4", accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int naru__os_accept(int fd)
{
    return above_two(take(fd));
}

int naru__os_connect(int fd, const struct naru_address *a)
{
    int fault = naru__fault_at("connect");
    if (fault < 0)
        return fault;
    return connect(fd, address_of(a), a->length) < 0 ? -errno : 0;
}

int naru__os_own_address(int fd, struct naru_address *ret_address)
{
    ret_address->length = sizeof ret_address->is;
    CALL("getsockname", getsockname(fd, (struct sockaddr *)&ret_address->is, &ret_address->length));
}

int naru__os_peer_address(int fd, struct naru_address *ret_address)
{
    ret_address->length = sizeof ret_address->is;
    CALL("getpeername", getpeername(fd, (struct sockaddr *)&ret_address->is, &ret_address->length));
}

int naru__os_get_option(int fd, int level, int option, void *ret_value, socklen_t size)
{
    CALL("getsockopt", getsockopt(fd, level, option, ret_value, &size));
}

int naru__os_set_option(int fd, int level, int option, const void *value, socklen_t size)
{
    CALL("setsockopt", setsockopt(fd, level, option, value, size));
}

int naru__os_get_number(int fd, int level, int option)
{
    int value = 0;
    int r = naru__os_get_option(fd, level, option, &value, sizeof value);
    return r < 0 ? r : value;
}

int naru__os_set_number(int fd, int level, int option, int value)
{
    return naru__os_set_option(fd, level, option, &value, sizeof value);
}

int naru__os_shutdown(int fd, int how)
{
    CALL("shutdown", shutdown(fd, how));
}

ssize_t naru__os_send(int fd, const struct msghdr *message, int flags)
{
    CALL("sendmsg", sendmsg(fd, message, flags | MSG_NOSIGNAL));
}

ssize_t naru__os_receive(int fd, struct msghdr *message, int flags)
{
    CALL("recvmsg", recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC));
}

static ssize_t send_piece(int fd, const struct iovec *piece)
{
    CALL("send", send(fd, piece->iov_base, piece->iov_len, MSG_NOSIGNAL));
}

ssize_t naru__os_receive_bytes(int fd, void *buf, size_t n, int flags)
{
    CALL("recv", recv(fd, buf, n, flags));
}

ssize_t naru__os_send_vector(int fd, const struct iovec *vector, int n)
{
    if (n == 1)
        return send_piece(fd, vector);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector};
    message.msg_iovlen = (__typeof__(message.msg_iovlen))n; /* size_t here, int there */
    return naru__os_send(fd, &message, 0);
}

int naru__os_unsent(int fd)
{
    int n = 0, fault = naru__fault_at("SIOCOUTQ");
    if (fault < 0)
        return fault;
    return ioctl(fd, SIOCOUTQ, &n) < 0 ? -errno : n;
}

int naru__os_socket_ended(int fd)
{
    return naru__os_closed(fd) > 0 || naru__os_hung_up(fd);
}

int naru__os_resolve(const char *host, const char *port, int type, struct addrinfo **ret_found)
{
    const struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICSERV};
    int fault = naru__fault_at("getaddrinfo");
    if (fault < 0)
        return fault == -ENOMEM ? EAI_MEMORY : fault - 1000;
    int r = getaddrinfo(host, port, &hints, ret_found);
    return r == EAI_SYSTEM ? -1000 - errno : r;
}

unsigned naru__os_interface(const char *name)
{
    return naru__fault_at("if_nametoindex") < 0 ? 0 : if_nametoindex(name);
}

void naru__os_program_of(pid_t pid, char *buf, size_t n)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t r = fd < 0 ? -1 : read(fd, buf, n - 1);
    naru__os_close(fd);
    snprintf(r > 0 ? buf + r - 1 : buf, 2, "%s", r > 0 ? "" : "?");
}

bool naru__os_is_stopped(pid_t pid)
{
    char path[64], stat[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t r = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
    naru__os_close(fd);
    if (r <= 0)
        return false;
    stat[r] = '\0';
    const char *state = strrchr(stat, ')'); /* the program's name may have anything in it */
    return state && (state[2] == 'T' || state[2] == 't');
}
