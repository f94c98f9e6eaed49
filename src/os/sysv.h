/* SPDX-License-Identifier: MIT */
/* sysv.h - System V message queues and shared memory, each call thin. Results as in os/fd.h; -EINTR
 * is handed on by the two that can wait. */
#ifndef NARU_OS_SYSV_H
#define NARU_OS_SYSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/types.h>

int naru__os_ftok(const char *path, int id, key_t *ret_key);
int naru__os_msg_get(key_t key, int flags);
/* message: a long with the type, then size bytes. flags: IPC_NOWAIT, MSG_EXCEPT. */
int naru__os_msg_send(int id, const void *message, size_t size, int flags);
ssize_t naru__os_msg_receive(int id, void *message, size_t room, long type, int flags);
int naru__os_msg_stat(int id, struct msqid_ds *ret_ds); /* also without the right to read */
int naru__os_msg_set(int id, struct msqid_ds *ds);
int naru__os_msg_remove(int id);

/* What the limits of this IPC namespace are, and what is in use. */
struct naru_msg_use {
    int64_t msgmax, msgmnb, msgmni, queues;
};
int naru__os_msg_use(struct naru_msg_use *ret_use);

int naru__os_shm_get(key_t key, size_t size, int flags);
/* to: NULL, or address space that the segment replaces. */
int naru__os_shm_attach(int id, bool writable, void *to, void **ret_memory);
void naru__os_shm_detach(const void *memory);
int naru__os_shm_stat(int id, struct shmid_ds *ret_ds); /* also without the right to read */
int naru__os_shm_remove(int id);

struct naru_shm_use {
    uint64_t shmmax, shmall, pages; /* bytes; pages; pages in use */
    int64_t shmmni, segments;
};
int naru__os_shm_use(struct naru_shm_use *ret_use);

#endif
