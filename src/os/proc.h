/* SPDX-License-Identifier: MIT */
/* proc.h - what /proc tells of other processes and their files. Results as in os/fd.h. */
#ifndef NARU_OS_PROC_H
#define NARU_OS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A file that a process has open: its descriptor there, and what the link says that it is. */
typedef int naru_proc_file(void *arg, pid_t pid, int fd, const char *target);

/* Calls `each` for every open file of every process that may be looked at, until it returns an
 * error. ret_hidden: how many may not. 0, or the error. */
int naru__os_proc_files(naru_proc_file *each, void *arg, size_t *ret_hidden);

/* Memory that a process shares with others: its mapping of a file, or of a System V segment. */
struct naru_proc_map {
    dev_t device;
    ino_t inode; /* of a segment: its id */
    uint64_t bytes;
    bool writable;
    const char *path; /* "/dev/shm/x", "/SYSV000000ab (deleted)" */
};
typedef int naru_proc_mapped(void *arg, pid_t pid, const struct naru_proc_map *map);

/* The same for every such mapping of every process that may be looked at. */
int naru__os_proc_maps(naru_proc_mapped *each, void *arg, size_t *ret_hidden);

int naru__os_proc_open(pid_t pid, int fd);       /* the same file, for reading */
int naru__os_proc_file_flags(pid_t pid, int fd); /* O_... of that descriptor */
int64_t naru__os_proc_uid(pid_t pid);            /* -1: not known */
pid_t naru__os_proc_inner_pid(pid_t pid);        /* in its own namespace; 0: not known */
uint64_t naru__os_boot(void); /* another number after each start of the machine; 0: not known */

#endif
