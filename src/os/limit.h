/* SPDX-License-Identifier: MIT */
/* limit.h - says which limit of the kernel stands behind an errno: its name, value, use, remedy. */
#ifndef NARU_OS_LIMIT_H
#define NARU_OS_LIMIT_H

#include <stddef.h>
#include <stdint.h>

/* Writes " (…)" about the limit behind a failed call, or "" if none is known: EMFILE, ENFILE,
 * EAGAIN of fork, ENOSPC and EMFILE of inotify, ENOMEM. */
struct naru_limit_text {
    char text[256];
};
struct naru_limit_text naru__limit_of_files(int code);
struct naru_limit_text naru__limit_of_processes(int code);
/* Memory of so many bytes, allocated or mapped: ENOMEM, ENOSPC. */
struct naru_limit_text naru__limit_of_memory(int code, uint64_t bytes);
struct naru_limit_text naru__limit_of_inotify(int code);

/* Creating a POSIX queue of so many messages of such a size: EINVAL, EMFILE, ENFILE, ENOSPC. */
struct naru_limit_text naru__limit_of_mqueue(int code, int64_t messages, int64_t size);
/* Creating a System V queue: ENOSPC; giving it so many bytes: EPERM. */
struct naru_limit_text naru__limit_of_msg(int code, size_t bytes);

/* More descriptors on their way through sockets than a user may have: ETOOMANYREFS. */
struct naru_limit_text naru__limit_of_passing(void);
/* No port of this host is left for a connection, or to be bound: EADDRNOTAVAIL, EADDRINUSE. */
struct naru_limit_text naru__limit_of_ports(void);
/* Locking so many bytes in memory: ENOMEM, EPERM, EAGAIN. */
struct naru_limit_text naru__limit_of_locked(int code, uint64_t bytes);
/* As naru__limit_of_memory, of a file in the file system at that path. */
struct naru_limit_text naru__limit_of_room(int code, const char *path, uint64_t bytes);
uint64_t naru__huge_page(void); /* bytes of a transparent one, 0: there are none */
/* Creating a System V segment of so many bytes: EINVAL, ENOSPC. */
struct naru_limit_text naru__limit_of_shm(int code, uint64_t bytes);

/* Why a pipe got `granted` bytes where `asked` were wanted (code: what F_SETPIPE_SZ returned). */
struct naru_limit_text naru__limit_of_pipe(size_t asked, size_t granted, int code);

/* A number from /proc/sys, -1 if it cannot be read. */
int64_t naru__limit_sysctl(const char *path);

#endif
