/* SPDX-License-Identifier: MIT */
/* fd.h - descriptors: reading, writing, pipes. Every call returns >= 0 or a negative errno, goes on
 * after EINTR, and asks the fault hook first. No sentences here: the caller knows the object. */
#ifndef NARU_OS_FD_H
#define NARU_OS_FD_H

#include "base/private.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NARU__NO_FD (-9) /* -EBADF: a mistaken use fails loudly */

NARU__EXPORTED ssize_t naru__os_read(int fd, void *buf, size_t n);
ssize_t naru__os_readv(int fd, const struct iovec *vector, int n);

/* Writes and never raises SIGPIPE: a pipe without reader is -EPIPE. Where the kernel lacks
 * RWF_NOSIGNAL (before 6.18) SIGPIPE is blocked in this thread around the write and taken away if
 * the write raised it: three system calls more. */
ssize_t naru__os_write(int fd, const void *buf, size_t n);
ssize_t naru__os_writev(int fd, const struct iovec *vector, int n);

/* Copies up to n bytes from one pipe to another and leaves them in the first. */
ssize_t naru__os_tee(int from, int to, size_t n);

/* Two descriptors, O_CLOEXEC | O_NONBLOCK. */
int naru__os_pipe(int ret_fds[2]);
int naru__os_pipe_capacity(int fd);
int naru__os_set_pipe_capacity(int fd, size_t bytes); /* returns the capacity granted */
int naru__os_unread(int fd);                          /* bytes in the pipe, from either end */
int naru__os_flags(int fd);                           /* F_GETFL */
int naru__os_set_nonblocking(int fd, bool nonblocking);
int naru__os_set_cloexec(int fd);
int naru__os_duplicate(int fd); /* close-on-exec, above 2 */
/* `fd` refers to what `by` refers to, close-on-exec; `by` is closed. */
int naru__os_replace(int fd, int by);
NARU__EXPORTED int naru__os_close(int fd); /* ignores what is no descriptor; returns NARU__NO_FD */

#endif
