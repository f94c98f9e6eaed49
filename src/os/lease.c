/* SPDX-License-Identifier: MIT */
/* lease.c - a write lease, and the signal that comes with it.
 *
 * Who opens the file meanwhile makes the kernel send SIGIO, which would end this process. So it is
 * to go to this thread alone, which has it blocked, and takes it away in the end. */
#include "os/lease.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int set_lease(int fd, int type)
{
    int fault = naru__fault_at("F_SETLEASE");
    if (fault < 0)
        return fault;
    return fcntl(fd, F_SETLEASE, type) < 0 ? -errno : 0;
}

static int send_to_this_thread(int fd)
{
    struct f_owner_ex owner = {F_OWNER_TID, (pid_t)syscall(SYS_gettid)};
    int fault = naru__fault_at("F_SETOWN");
    if (fault < 0)
        return fault;
    return fcntl(fd, F_SETOWN_EX, &owner) < 0 ? -errno : 0;
}

static void take_signal_away(const struct naru_lease *l, const sigset_t *io)
{
    const struct timespec zero = {0, 0};
    if (!l->pending)
        while (sigtimedwait(io, NULL, &zero) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &l->mask, NULL);
}

int naru__os_lease_take(int fd, struct naru_lease *ret_lease)
{
    struct naru_lease l = {.fd = fd};
    sigset_t io, pending;
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    sigpending(&pending);
    l.pending = sigismember(&pending, SIGIO) == 1;
    pthread_sigmask(SIG_BLOCK, &io, &l.mask);
    int r = send_to_this_thread(fd);
    if (r == 0)
        r = set_lease(fd, F_WRLCK);
    if (r < 0)
        take_signal_away(&l, &io);
    else
        *ret_lease = l;
    return r;
}

int naru__os_lease_check(const struct naru_lease *l)
{
    int fault = naru__fault_at("F_GETLEASE");
    if (fault < 0)
        return fault;
    int type = fcntl(l->fd, F_GETLEASE); /* of one that is asked for: what it is to become */
    return type < 0 ? -errno : type == F_WRLCK ? 0 : -EAGAIN;
}

void naru__os_lease_drop(struct naru_lease *l)
{
    sigset_t io;
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    (void)fcntl(l->fd, F_SETLEASE, F_UNLCK);
    take_signal_away(l, &io);
}
