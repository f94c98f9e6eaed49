/* SPDX-License-Identifier: MIT */
/* sweep-codes.h - what all sweeps have: for each system call of src/os the errnos that they make it
 * fail with, the hook that does so, and what an operation did that it must not. After cmocka.h. */
#ifndef NARU_TESTS_SWEEP_CODES_H
#define NARU_TESTS_SWEEP_CODES_H

#include "patience.h"

#include "base/error.h"
#include "base/fault.h"

#include <naru/naru.h>

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *wrong; /* what the operation did that it must not */

static inline void wrong_if(bool condition, const char *what)
{
    if (condition && !wrong)
        wrong = what;
}

/* What a function says: true, or it failed as it should. */
static inline bool fine(long r)
{
    wrong_if(r < 0 && !*naru_why(), "no sentence");
    wrong_if(r < -4095, "no errno");
    return r >= 0;
}

static inline int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void need(long r)
{
    if (r < 0) {
        print_message("# preparing failed: %ld %s\n", r, naru_why());
        fail();
    }
}

static const struct {
    const char *call;
    int codes[8];
} table[] = {
    {"alloc", {ENOMEM}},
    {"mmap", {ENOMEM}},
    {"madvise", {ENOMEM}},
    {"read", {EIO, EAGAIN, ENOMEM}},
    {"readv", {EIO, EAGAIN, ENOMEM}},
    {"writev", {EIO, EAGAIN, EPIPE, ENOMEM, ENOSPC}},
    {"tee", {ENOMEM, EAGAIN}},
    {"pipe2", {EMFILE, ENFILE, ENOMEM}},
    {"F_GETPIPE_SZ", {EBADF}},
    {"F_SETPIPE_SZ", {EPERM, EBUSY, ENOMEM}},
    {"F_GETFL", {EBADF}},
    {"F_SETFL", {EPERM}},
    {"F_SETFD", {EBADF}},
    {"FIONREAD", {EINVAL, EIO}},
    {"open", {EMFILE, ENFILE, EACCES, EPERM, ENOMEM, ENXIO, ENOENT, EROFS}},
    {"mkfifo", {EACCES, ENOSPC, EROFS, EPERM, ENOMEM, EEXIST}},
    {"chmod", {EPERM, EIO, EROFS}},
    {"lstat", {EACCES, ENOMEM, EIO, ENOENT}},
    {"fstat", {ENOMEM, EIO}},
    {"chown", {EPERM, EIO}},
    {"unlink", {EACCES, EPERM, EBUSY, EROFS, ENOENT}},
    {"lock", {ENOLCK, EAGAIN, EACCES, ENOMEM}},
    {"flock", {ENOLCK, EAGAIN}},
    {"inotify_init1", {EMFILE, ENFILE, ENOMEM}},
    {"inotify_add_watch", {ENOSPC, ENOENT, EACCES, ENOMEM}},
    {"ppoll", {ENOMEM, EINTR}},
    {"epoll_create1", {EMFILE, ENFILE, ENOMEM}},
    {"epoll_ctl", {ENOMEM, ENOSPC}},
    {"epoll_wait", {EINTR}},
    {"eventfd", {EMFILE, ENFILE, ENOMEM}},
    {"timerfd_create", {EMFILE, ENFILE, ENOMEM}},
    {"timerfd_settime", {EINVAL}},
    {"stat", {ENOENT, EACCES, ENOMEM}},
    {"pthread_create", {EAGAIN}},
    {"vfork", {EAGAIN, ENOMEM}},
    {"pidfd_open", {EMFILE, ENFILE, ENOMEM, ENOSYS}},
    {"pidfd_send_signal", {EPERM, ESRCH, ENOSYS}},
    {"waitid", {ECHILD}},
    {"getrandom", {ENOSYS, EIO}},
    /* message queues */
    {"mq_open", {ENOENT, EACCES, EMFILE, ENFILE, ENOMEM}},
    {"mq_create", {ENOSPC, EMFILE, EINVAL, ENOMEM, EACCES, EEXIST}},
    {"fchmod", {EPERM, EIO}},
    {"mq_unlink", {EACCES, ENOENT}},
    {"mq_getattr", {EBADF}},
    {"mq_send", {EAGAIN, EMSGSIZE, ENOMEM}},
    {"mq_receive", {EAGAIN, EBADMSG, ENOMEM}},
    {"ftok", {ENOENT, EACCES}},
    {"msgget", {ENOENT, EACCES, ENOSPC, ENOMEM, EEXIST}},
    {"msgsnd", {EAGAIN, EINTR, ENOMEM, EIDRM, EINVAL, EACCES}},
    {"msgrcv", {ENOMSG, EINTR, EIDRM, EINVAL, EACCES, E2BIG, ENOMEM}},
    {"IPC_STAT", {EACCES, EIDRM, EINVAL}},
    {"MSG_STAT_ANY", {EINVAL, EACCES}},
    {"IPC_SET", {EPERM, EIDRM}},
    {"IPC_RMID", {EPERM, EIDRM}},
    {"IPC_INFO", {ENOSYS}},
    {"MSG_INFO", {ENOSYS}},
    /* sockets */
    {"socket", {EMFILE, ENFILE, ENOMEM, EAFNOSUPPORT}},
    {"socketpair", {EMFILE, ENFILE, ENOMEM}},
    {"bind", {EACCES, EADDRNOTAVAIL, ENOMEM, EROFS}},
    {"listen", {EADDRINUSE}},
    {"accept4", {EMFILE, ENFILE, ENOMEM, EAGAIN, ECONNABORTED}},
    {"connect", {ECONNREFUSED, EACCES, ENOENT, ENETUNREACH, EAGAIN, ENOMEM}},
    {"getsockname", {ENOBUFS}},
    {"getpeername", {ENOTCONN, ENOBUFS}},
    {"getsockopt", {ENOPROTOOPT, ENOBUFS}},
    {"setsockopt", {ENOPROTOOPT, ENOMEM}},
    {"shutdown", {ENOTCONN}},
    {"sendmsg", {EAGAIN, ENOBUFS, ENOMEM, EPIPE, ECONNRESET, EMSGSIZE}},
    {"recvmsg", {EAGAIN, ENOMEM}},
    {"send", {EAGAIN, ENOBUFS, ENOMEM, EPIPE, ECONNRESET, EMSGSIZE}},
    {"recv", {EAGAIN, ENOMEM, ECONNRESET}},
    {"SIOCOUTQ", {EINVAL}},
    {"getaddrinfo", {ENOMEM, EMFILE}},
    {"if_nametoindex", {ENODEV}},
    {"opendir", {EACCES}},
    {"mkdir", {EACCES, ENOSPC, EROFS}},
    /* shared memory */
    {"memfd_create", {EMFILE, ENFILE, ENOMEM}},
    {"fallocate", {ENOSPC, ENOMEM, EOPNOTSUPP}},
    {"F_ADD_SEALS", {EINVAL, EPERM}},
    {"F_GET_SEALS", {EINVAL}},
    {"membarrier", {ENOSYS, EPERM}},
    /* regions and named objects */
    {"F_DUPFD_CLOEXEC", {EMFILE}},
    {"pread", {EIO, ENOMEM}},
    {"pwrite", {EIO, EPERM, ENOSPC, ENOMEM}},
    {"madvise", {EINVAL, ENOMEM, EAGAIN, EFAULT}},
    {"mlock", {ENOMEM, EPERM, EAGAIN}},
    {"readlink", {ENOENT, EACCES, ENOMEM}},
    {"linkat", {EACCES, ENOSPC, ENOENT, ENOMEM}},
    {"renameat2", {EACCES, ENOSPC, ENOMEM}},
    {"renameat", {EACCES, ENOSPC, ENOMEM}},
    {"rmdir", {EACCES, EBUSY, EIO}},
    {"getdents64", {EIO, ENOMEM}},
    {"O_TMPFILE", {EOPNOTSUPP, EISDIR, EACCES, ENOSPC, EMFILE, ENOENT}},
    {"fsetxattr", {EOPNOTSUPP, ENOSPC, EPERM}},
    {"fgetxattr", {ENODATA, EOPNOTSUPP, ERANGE, EIO}},
    {"ftruncate", {EIO, EPERM}},
    {"fsync", {EIO, ENOSPC, EDQUOT, EROFS}},
    {"sync_file_range", {EIO, ENOSPC, ENOMEM}},
    {"pwritev2", {ENOSPC, EINTR, EIO, EOPNOTSUPP}},
    {"process_vm", {EFAULT, EPERM, ENOSYS}},
    {"F_SETLEASE", {EAGAIN, EACCES, EINVAL}},
    {"F_GETLEASE", {EAGAIN, EINVAL}},
    {"F_SETOWN", {EPERM}},
    {"dup3", {EBUSY, EMFILE}},
    {"futex_wait", {EINTR}},
    {"futex_lock_pi", {ETIMEDOUT, EAGAIN, ESRCH, EDEADLK, EINVAL, EPERM, ENOMEM, EINTR}},
    {"futex_unlock_pi", {EINVAL, EPERM, ENOSYS}},
    {"shmget", {ENOENT, EACCES, ENOSPC, ENOMEM, EEXIST, EINVAL}},
    {"shmat", {EACCES, ENOMEM, EMFILE}},
    {"SHM_STAT_ANY", {EINVAL, EACCES}},
    {"SHM_INFO", {ENOSYS}},
};
enum { CODES_MAX = 8, CALLS_MAX = 4096, SECONDS_MAX = 3 };

/* Where an operation is a child's, this lies in memory that both share. */
struct hook {
    int count;             /* calls seen */
    int at;                /* the one that fails, -1: none */
    int code;              /* which of the call's errnos */
    bool for_ever, missed; /* missed: the call has no such errno */
    bool last;             /* it has none behind this one either */
    bool waited;           /* before it: the next time it may be another call */
    int gap, second;       /* another call fails so many later, with that errno; 0: none */
    bool unlisted, removal_failed;
    char call[32]; /* that failed */
};
static struct hook own_hook, *hook = &own_hook;

static int choose(const int *codes, bool first)
{
    int code = codes[hook->code];
    if (first)
        hook->last = hook->code + 1 == CODES_MAX || codes[hook->code + 1] == 0;
    if (hook->for_ever && code == EINTR) /* no signal comes for ever */
        code = 0;
    if (first && code == 0)
        hook->missed = true;
    return code == 0 && hook->for_ever ? codes[0] : code;
}

static int failing(const char *call)
{
    int n = hook->count++;
    hook->waited |= n < hook->at && (strcmp(call, "ppoll") == 0 || strncmp(call, "futex", 5) == 0);
    bool again = hook->gap > 0 && n == hook->at + hook->gap;
    if (hook->at < 0 || (hook->for_ever ? n < hook->at : n != hook->at && !again))
        return 0;
    if (n == hook->at)
        snprintf(hook->call, sizeof hook->call, "%s", call);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].call, call) != 0)
            continue;
        const int *codes = table[i].codes;
        int code = !again                ? choose(codes, n == hook->at)
                   : codes[hook->second] ? codes[hook->second]
                                         : codes[0];
        hook->removal_failed |=
            code && (strcmp(call, "mq_unlink") == 0 || strcmp(call, "IPC_RMID") == 0 ||
                     strcmp(call, "unlink") == 0 || strcmp(call, "rmdir") == 0 ||
                     strcmp(call, "renameat2") == 0);
        return -code;
    }
    hook->unlisted = true;
    snprintf(hook->call, sizeof hook->call, "%s", call);
    return 0;
}

/* The next errno of the call that has failed, CODES_MAX: it has no more. */
static int next_code(int code)
{
    return hook->last && !hook->waited ? CODES_MAX : code + 1;
}

static void arm(void)
{
    naru__fail_static(0, "");
    naru__fault = failing;
}

static void disarm(void)
{
    naru__fault = NULL;
}

static int poison_place __attribute__((unused)); /* not all have out-parameters */
#define POISON ((void *)&poison_place)

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

#endif
