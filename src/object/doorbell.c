/* SPDX-License-Identifier: MIT */
/* doorbell.c - a socket in the object's directory, by which others wake a member that sleeps in a
 * loop of its own, on a descriptor. */
#include "object/object.h"

#include "base/error.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/socket.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static void bell_name(char name[24], uint32_t member)
{
    snprintf(name, 24, "bell-%" PRIu32, member);
}

static void bell_address(const struct naru_object *o, uint32_t member, struct naru_address *ret)
{
    struct sockaddr_un *address = (void *)&ret->is;
    char name[24];
    bell_name(name, member);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int n = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s",
                     o->directory, name);
    ret->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
}

void naru__object_knock(const struct naru_object *o, uint32_t member)
{
    struct naru_address to;
    int fd = naru__os_socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0)
        return; /* it looks by itself before long */
    bell_address(o, member, &to);
    struct iovec nothing = {(void *)(uintptr_t) "", 1};
    struct msghdr m = {
        .msg_name = &to.is, .msg_namelen = to.length, .msg_iov = &nothing, .msg_iovlen = 1};
    (void)naru__os_send(fd, &m, 0);
    naru__os_close(fd);
}

int naru__object_doorbell(const struct naru_object *o, int *ret_fd)
{
    struct naru_address address;
    char name[24];
    int fd = naru__os_socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0)
        return naru__fail(fd, "%s: no socket for its descriptor: %s%s", o->url,
                          naru__errno_text(fd), naru__limit_of_files(fd).text);
    naru__object_no_doorbell(o, o->member); /* a former member's */
    bell_name(name, o->member);
    bell_address(o, o->member, &address);
    int r = naru__os_bind(fd, &address);
    if (r >= 0) {
        r = naru__os_chmod_at(o->directory, name, o->meta.mode);
        if (r < 0)
            naru__object_no_doorbell(o, o->member);
    }
    if (r < 0) {
        naru__os_close(fd);
        return naru__fail(r, "%s: its descriptor's socket cannot be bound: %s%s", o->url,
                          naru__errno_text(r),
                          r == -ENOENT ? " (its place is named by /proc: is that mounted?)" : "");
    }
    *ret_fd = fd;
    return 0;
}

void naru__object_no_doorbell(const struct naru_object *o, uint32_t member)
{
    char name[24];
    bell_name(name, member);
    if (!o->in_region)
        (void)naru__os_unlink_at(o->directory, name);
}
