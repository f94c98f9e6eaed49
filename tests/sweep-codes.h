/* SPDX-License-Identifier: MIT */
/* sweep-codes.h - for each system call of src/os the errnos that sweep.c makes it fail with. */
#ifndef NARU_TESTS_SWEEP_CODES_H
#define NARU_TESTS_SWEEP_CODES_H

#include <errno.h>

static const struct {
    const char *call;
    int codes[8];
} table[] = {
    {"alloc", {ENOMEM}},
    {"mmap", {ENOMEM}},
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
    {"eventfd", {EMFILE, ENFILE, ENOMEM}},
    {"timerfd_create", {EMFILE, ENFILE, ENOMEM}},
    {"timerfd_settime", {EINVAL}},
    {"stat", {ENOENT, EACCES, ENOMEM}},
    {"vfork", {EAGAIN, ENOMEM}},
    {"pidfd_open", {EMFILE, ENFILE, ENOMEM, ENOSYS}},
    {"pidfd_send_signal", {EPERM, ESRCH, ENOSYS}},
    {"waitid", {ECHILD}},
    {"getrandom", {ENOSYS, EIO}},
};

#endif
