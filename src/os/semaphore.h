/* SPDX-License-Identifier: MIT */
/* semaphore.h - POSIX and System V semaphores, each call thin. Results as in os/fd.h; -EINTR is
 * handed on by those that wait. */
#ifndef NARU_OS_SEMAPHORE_H
#define NARU_OS_SEMAPHORE_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/sem.h>
#include <sys/types.h>

/* flags: O_CREAT, O_EXCL */
int naru__os_sem_open(const char *name, int flags, mode_t mode, unsigned value, sem_t **ret_sem);
void naru__os_sem_close(sem_t *);
int naru__os_sem_unlink(const char *name);
int naru__os_sem_post(sem_t *);
/* Until the deadline (base/clock.h); NARU__AT_ONCE: -EAGAIN. */
int naru__os_sem_wait(sem_t *, int64_t deadline);
int naru__os_sem_value(sem_t *); /* what stands there */

int naru__os_sysv_sem_get(key_t key, int n, int flags);
/* Until the deadline. op: what to add; flags: SEM_UNDO. */
int naru__os_sysv_sem_change(int id, int op, int flags, int64_t deadline);
int naru__os_sysv_sem_begin(int id, int value); /* of a new one: sets it, and sem_otime */
int naru__os_sysv_sem_value(int id);
struct naru_sysv_sem_use {
    int value, waiting, waiting_for_zero;
    pid_t pid; /* who changed it last */
};
int naru__os_sysv_sem_use(int id, struct naru_sysv_sem_use *ret_use);
int naru__os_sysv_sem_stat(int id, struct semid_ds *ret_ds);
int naru__os_sysv_sem_remove(int id);

#endif
