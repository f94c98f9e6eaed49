/* SPDX-License-Identifier: MIT */
/* lease.h - being alone with a file, by the kernel's word: a write lease. Results as in os/fd.h.
 *
 * It is granted only if nothing but this open file description refers to the file: nobody else has
 * it open, or has it mapped, whatever program that is. Who opens it meanwhile waits for its end. */
#ifndef NARU_OS_LEASE_H
#define NARU_OS_LEASE_H

#include <signal.h>
#include <stdbool.h>

struct naru_lease {
    int fd;
    bool pending;
    sigset_t mask;
};

/* -EAGAIN somebody else has the file; -EACCES it is another user's; -EINVAL this file system has no
 * leases. Drop it in the same thread, soon. */
int naru__os_lease_take(int fd, struct naru_lease *ret_lease);
/* The kernel takes it away from who is asked for it and does not go on for
 * /proc/sys/fs/lease-break-time s, as when it is stopped. -EAGAIN: somebody opens the file, or has
 * it by now. */
int naru__os_lease_check(const struct naru_lease *);
void naru__os_lease_drop(struct naru_lease *);

#endif
