/* SPDX-License-Identifier: MIT */
/* limit.h - says which limit of the kernel stands behind an errno: its name, value, use, remedy. */
#ifndef NARU_OS_LIMIT_H
#define NARU_OS_LIMIT_H

#include <stddef.h>
#include <stdint.h>

/* Writes " (…)" about the limit behind a failed call, or "" if none is known: EMFILE, ENFILE,
 * EAGAIN of fork, ENOSPC and EMFILE of inotify. */
struct naru_limit_text {
    char text[256];
};
struct naru_limit_text naru__limit_of_files(int code);
struct naru_limit_text naru__limit_of_processes(int code);
struct naru_limit_text naru__limit_of_inotify(int code);

/* Why a pipe got `granted` bytes where `asked` were wanted (code: what F_SETPIPE_SZ returned). */
struct naru_limit_text naru__limit_of_pipe(size_t asked, size_t granted, int code);

/* A number from /proc/sys, -1 if it cannot be read. */
int64_t naru__limit_sysctl(const char *path);

#endif
