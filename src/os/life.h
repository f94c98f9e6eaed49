/* SPDX-License-Identifier: MIT */
/* life.h - how the kernel says who lives: a lock on a byte of a file, which its holder has as long
 * as any thread runs in its memory. Results as in os/fd.h.
 *
 * The lock belongs to an open file description of its own, and to that nothing refers but a mapping
 * that no forked child gets. So it falls when the memory goes: by exit, by any signal, by exec; and
 * neither with the thread that took it, nor because a descriptor of the file is closed. No child
 * keeps it, whether forked by fork, vfork or clone; only one that runs in the same memory, until it
 * execs. A zombie's memory is gone, a stopped or frozen process's is not. Neither pids nor their
 * namespaces come into it. */
#ifndef NARU_OS_LIFE_H
#define NARU_OS_LIFE_H

#include <stdint.h>

struct naru_life {
    void *page; /* NULL: none is held */
    uint64_t process;
};

/* Locks the byte, which need not exist: -EAGAIN if another holds it. fd: any descriptor of the
 * file; it is opened again for writing by /proc (-ENOENT where that is not mounted, -EACCES), and
 * never used. Take it before others can look for it. */
int naru__os_life_hold(int fd, uint64_t byte, struct naru_life *ret_life);
/* The same by a name in a directory (or AT_FDCWD), which is no symbolic link. */
int naru__os_life_hold_at(int directory, const char *name, uint64_t byte,
                          struct naru_life *ret_life);
/* In a forked child, which does not hold it, nothing. */
void naru__os_life_drop(struct naru_life *);
/* 1: somebody holds it, 0: nobody; this process too is somebody. fd: any descriptor of the file. */
int naru__os_life_held(int fd, uint64_t byte);

#endif
