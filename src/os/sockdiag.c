/* SPDX-License-Identifier: MIT */
/* sockdiag.c - unix sockets as the kernel lists them. */
#include "os/sockdiag.h"

#include "base/fault.h"
#include "os/fd.h"

#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

enum { SHOW_UID = 0x40, ATTRIBUTE_UID = 7 }; /* linux/unix_diag.h, Linux 5.3 */

struct wanted {
    const char *name; /* abstract: with the leading NUL; NULL: a file */
    size_t length;
    uint32_t inode, device;
};

static int ask(int fd)
{
    struct {
        struct nlmsghdr head;
        struct unix_diag_req body;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = AF_UNIX,
                 .udiag_states = ~0u,
                 .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN | SHOW_UID}};
    return naru__os_send(fd,
                         &(struct msghdr){.msg_iov = &(struct iovec){&request, sizeof request},
                                          .msg_iovlen = 1},
                         0) < 0
               ? -EIO
               : 0;
}

/* Is this the wanted one? Then it is told. */
static bool matches(const struct nlmsghdr *head, const struct wanted *w,
                    struct naru_unix_seen *ret_seen)
{
    const struct unix_diag_msg *m = NLMSG_DATA(head);
    struct naru_unix_seen seen = {.type = m->udiag_type, .uid = -1, .inode = m->udiag_ino};
    bool found = false;
    int left = (int)NLMSG_PAYLOAD(head, sizeof *m);
    if (m->udiag_state != TCP_LISTEN && m->udiag_type != SOCK_DGRAM)
        return false;
    for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        const void *data = (const char *)a + RTA_LENGTH(0);
        size_t n = RTA_PAYLOAD(a);
        if (a->rta_type == UNIX_DIAG_NAME && w->name)
            found |= n == w->length && memcmp(data, w->name, n) == 0;
        if (a->rta_type == UNIX_DIAG_VFS && !w->name && n >= sizeof(struct unix_diag_vfs)) {
            const struct unix_diag_vfs *vfs = data;
            found |= vfs->udiag_vfs_ino == w->inode && vfs->udiag_vfs_dev == w->device;
        }
        if (a->rta_type == UNIX_DIAG_RQLEN && n >= sizeof(struct unix_diag_rqlen)) {
            const struct unix_diag_rqlen *length = data;
            seen.queued = length->udiag_rqueue;
            seen.backlog = length->udiag_wqueue;
        }
        if (a->rta_type == ATTRIBUTE_UID && n >= sizeof(uint32_t)) {
            uint32_t uid;
            memcpy(&uid, data, sizeof uid);
            seen.uid = uid;
        }
    }
    if (found)
        *ret_seen = seen;
    return found;
}

/* 1: found; 0: not in here; -ENOENT: that was all. */
static int look_through(const char *bytes, size_t n, const struct wanted *w,
                        struct naru_unix_seen *ret_seen)
{
    for (const struct nlmsghdr *h = (const void *)bytes; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
        if (h->nlmsg_type == NLMSG_DONE)
            return -ENOENT;
        if (h->nlmsg_type == NLMSG_ERROR)
            return -EIO;
        if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && matches(h, w, ret_seen))
            return 1;
    }
    return 0;
}

static int search(int fd, const struct wanted *w, struct naru_unix_seen *ret_seen)
{
    _Alignas(struct nlmsghdr) char bytes[32768]; /* sock_diag(7): 8 KiB or the kernel's page */
    int r = ask(fd);
    while (r == 0) {
        struct msghdr m = {.msg_iov = &(struct iovec){bytes, sizeof bytes}, .msg_iovlen = 1};
        ssize_t n = naru__os_receive(fd, &m, 0);
        if (n <= 0) /* a dump is answered within the calls: nothing to wait for */
            return n < 0 ? (int)n : -EIO;
        r = look_through(bytes, (size_t)n, w, ret_seen);
    }
    return r > 0 ? 0 : r;
}

int naru__os_unix_find(const struct naru_address *a, const struct stat *file,
                       struct naru_unix_seen *ret_seen)
{
    struct wanted w = {.name = NULL};
    if (file) {
        w.inode = (uint32_t)file->st_ino; /* the kernel tells 32 bits of it */
        w.device = major(file->st_dev) << 20 | minor(file->st_dev); /* the kernel's own dev_t */
    } else {
        w.name = (const char *)&a->is + offsetof(struct sockaddr_un, sun_path);
        w.length = a->length - offsetof(struct sockaddr_un, sun_path);
    }
    int fd = naru__os_socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return fd;
    int r = search(fd, &w, ret_seen);
    naru__os_close(fd);
    return r;
}

/* ---- who holds it ---- */

static bool holds(const char *process, const char *link)
{
    char path[512], target[64];
    struct dirent *entry;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%.20s/fd", process);
    DIR *fds = opendir(path);
    while (fds && !found && (entry = readdir(fds))) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", process, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        found = strcmp(target, link) == 0;
    }
    if (fds)
        closedir(fds);
    return found;
}

pid_t naru__os_socket_holder(uint32_t inode)
{
    char link[64];
    struct dirent *entry;
    pid_t pid = 0;
    if (naru__fault_at("opendir") < 0)
        return 0;
    snprintf(link, sizeof link, "socket:[%u]", inode);
    DIR *processes = opendir("/proc");
    while (processes && pid == 0 && (entry = readdir(processes)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && holds(entry->d_name, link))
            pid = (pid_t)atol(entry->d_name);
    if (processes)
        closedir(processes);
    return pid;
}
