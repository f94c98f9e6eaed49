/* SPDX-License-Identifier: MIT */
/* fd.c - descriptors. The only interesting part is writing without SIGPIPE. */
#include "os/fd.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100 /* include/uapi/linux/fs.h, Linux 6.18 */
#endif

#define RETRY(call)                                                                                \
    ({                                                                                             \
        ssize_t r_;                                                                                \
        do                                                                                         \
            r_ = (call);                                                                           \
        while (r_ < 0 && errno == EINTR);                                                          \
        r_ < 0 ? (ssize_t)-errno : r_;                                                             \
    })

ssize_t naru__os_read(int fd, void *buf, size_t n)
{
    int fault = naru__fault_at("read");
    return fault < 0 ? fault : RETRY(read(fd, buf, n));
}

ssize_t naru__os_readv(int fd, const struct iovec *vector, int n)
{
    int fault = naru__fault_at("readv");
    return fault < 0 ? fault : RETRY(readv(fd, vector, n));
}

/* The kernel's own way. glibc's pwritev2 turns offset -1 into the current position, as here. */
static ssize_t write_nosignal(int fd, const struct iovec *vector, int n)
{
    return syscall(SYS_pwritev2, fd, vector, (unsigned long)n, (unsigned long)-1, (unsigned long)-1,
                   RWF_NOSIGNAL);
}

static ssize_t write_masked(int fd, const struct iovec *vector, int n)
{
    sigset_t pipe_signal, old, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
    ssize_t r = RETRY(writev(fd, vector, n));
    if (r == -EPIPE && !was_pending) {
        const struct timespec zero = {0, 0};
        while (sigtimedwait(&pipe_signal, NULL, &zero) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

ssize_t naru__os_writev(int fd, const struct iovec *vector, int n)
{
    static _Atomic bool no_flag; /* relaxed: each thread may find out for itself */
    int fault = naru__fault_at("writev");
    if (fault < 0)
        return fault;
    if (!atomic_load_explicit(&no_flag, memory_order_relaxed)) {
        ssize_t r = RETRY(write_nosignal(fd, vector, n));
        if (r != -EOPNOTSUPP && r != -ENOSYS && r != -EINVAL)
            return r;
        atomic_store_explicit(&no_flag, true, memory_order_relaxed);
    }
    return write_masked(fd, vector, n);
}

ssize_t naru__os_write(int fd, const void *buf, size_t n)
{
    struct iovec one = {(void *)(uintptr_t)buf, n};
    return naru__os_writev(fd, &one, 1);
}

ssize_t naru__os_tee(int from, int to, size_t n)
{
    int fault = naru__fault_at("tee");
    return fault < 0 ? fault : RETRY(tee(from, to, n, SPLICE_F_NONBLOCK));
}

int naru__os_pipe(int ret_fds[2])
{
    int fault = naru__fault_at("pipe2");
    if (fault < 0)
        return fault;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    for (int i = 0; i < 2;
         i++) { /* 0, 1 and 2 are not a library's to take, even if they are closed */
        int high = fds[i] > 2 ? fds[i] : fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        int error = errno;
        if (high != fds[i])
            close(fds[i]);
        fds[i] = high;
        if (high < 0) {
            close(fds[!i]);
            return -error;
        }
    }
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

static int control(const char *name, int fd, int command, long argument)
{
    int fault = naru__fault_at(name);
    return fault < 0 ? fault : (int)RETRY(fcntl(fd, command, argument));
}

int naru__os_pipe_capacity(int fd)
{
    return control("F_GETPIPE_SZ", fd, F_GETPIPE_SZ, 0);
}

int naru__os_set_pipe_capacity(int fd, size_t bytes)
{
    return control("F_SETPIPE_SZ", fd, F_SETPIPE_SZ, bytes > INT_MAX ? INT_MAX : (long)bytes);
}

int naru__os_unread(int fd)
{
    int n = 0, fault = naru__fault_at("FIONREAD");
    if (fault < 0)
        return fault;
    return ioctl(fd, FIONREAD, &n) < 0 ? -errno : n;
}

int naru__os_flags(int fd)
{
    return control("F_GETFL", fd, F_GETFL, 0);
}

int naru__os_set_nonblocking(int fd, bool nonblocking)
{
    int flags = naru__os_flags(fd);
    if (flags < 0)
        return flags;
    return control("F_SETFL", fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

int naru__os_set_cloexec(int fd)
{
    return control("F_SETFD", fd, F_SETFD, FD_CLOEXEC);
}

int naru__os_duplicate(int fd)
{
    return control("F_DUPFD_CLOEXEC", fd, F_DUPFD_CLOEXEC, 3);
}

int naru__os_replace(int fd, int by)
{
    int r = naru__fault_at("dup3");
    if (r == 0 && RETRY(dup3(by, fd, O_CLOEXEC)) < 0)
        r = -errno;
    close(by);
    return r;
}

int naru__os_close(int fd)
{
    if (fd >= 0)
        close(fd); /* EINTR: the descriptor is gone all the same on Linux */
    return NARU__NO_FD;
}
