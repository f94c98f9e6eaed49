/* SPDX-License-Identifier: MIT */
/* sysv.c - System V message queues and shared memory. */
#include "os/sysv.h"

#include "base/fault.h"

#include <errno.h>
#include <sys/ipc.h>

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13 /* include/uapi/linux/msg.h, Linux 4.17 */
#endif

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15 /* include/uapi/linux/shm.h, Linux 4.17 */
#endif
#ifndef SHM_INFO /* and what it fills in, of which musl has no declaration */
#define SHM_INFO 14
#endif

#define CALL(name, expression)                                                                     \
    do {                                                                                           \
        int r_ = naru__fault_at(name);                                                             \
        if (r_ < 0)                                                                                \
            return r_;                                                                             \
        r_ = (int)(expression);                                                                    \
        return r_ < 0 ? -errno : r_;                                                               \
    } while (0)

int naru__os_ftok(const char *path, int id, key_t *ret_key)
{
    CALL("ftok", (*ret_key = ftok(path, id)) == (key_t)-1 ? -1 : 0);
}

int naru__os_msg_get(key_t key, int flags)
{
    CALL("msgget", msgget(key, flags));
}

int naru__os_msg_send(int id, const void *message, size_t size, int flags)
{
    CALL("msgsnd", msgsnd(id, message, size, flags));
}

ssize_t naru__os_msg_receive(int id, void *message, size_t room, long type, int flags)
{
    CALL("msgrcv", msgrcv(id, message, room, type, flags));
}

static int control(const char *name, int id, int command, void *buf)
{
    CALL(name, msgctl(id, command, buf));
}

int naru__os_msg_stat(int id, struct msqid_ds *ret_ds)
{
    int r = control("IPC_STAT", id, IPC_STAT, ret_ds);
    if (r != -EACCES)
        return r;
    /* by place in the kernel's table, which is the low half of the id; it answers whose it is */
    return control("MSG_STAT_ANY", id & 0x7fff, MSG_STAT_ANY, ret_ds) == id ? 0 : -EACCES;
}

int naru__os_msg_set(int id, struct msqid_ds *ds)
{
    CALL("IPC_SET", msgctl(id, IPC_SET, ds));
}

int naru__os_msg_remove(int id)
{
    CALL("IPC_RMID", msgctl(id, IPC_RMID, NULL));
}

int naru__os_msg_use(struct naru_msg_use *ret_use)
{
    struct msginfo limits, use;
    int r = control("IPC_INFO", 0, IPC_INFO, &limits);
    if (r >= 0)
        r = control("MSG_INFO", 0, MSG_INFO, &use);
    if (r < 0)
        return r;
    *ret_use = (struct naru_msg_use){limits.msgmax, limits.msgmnb, limits.msgmni, use.msgpool};
    return 0;
}

int naru__os_shm_get(key_t key, size_t size, int flags)
{
    CALL("shmget", shmget(key, size, flags));
}

int naru__os_shm_attach(int id, bool writable, void *to, void **ret_memory)
{
    int fault = naru__fault_at("shmat");
    if (fault < 0)
        return fault;
    void *p = shmat(id, to, (writable ? 0 : SHM_RDONLY) | (to ? SHM_REMAP : 0));
    if (p == (void *)-1)
        return -errno;
    *ret_memory = p;
    return 0;
}

void naru__os_shm_detach(const void *memory)
{
    if (memory)
        shmdt(memory);
}

static int shm_control(const char *name, int id, int command, void *buf)
{
    CALL(name, shmctl(id, command, buf));
}

int naru__os_shm_stat(int id, struct shmid_ds *ret_ds)
{
    int r = shm_control("IPC_STAT", id, IPC_STAT, ret_ds);
    if (r != -EACCES)
        return r;
    return shm_control("SHM_STAT_ANY", id & 0x7fff, SHM_STAT_ANY, ret_ds) == id ? 0 : -EACCES;
}

int naru__os_shm_remove(int id)
{
    CALL("IPC_RMID", shmctl(id, IPC_RMID, NULL));
}

int naru__os_shm_use(struct naru_shm_use *ret_use)
{
    struct shminfo limits;
    struct shm_info use;
    int r = shm_control("IPC_INFO", 0, IPC_INFO, &limits);
    if (r >= 0)
        r = shm_control("SHM_INFO", 0, SHM_INFO, &use);
    if (r < 0)
        return r;
    *ret_use = (struct naru_shm_use){limits.shmmax, limits.shmall, use.shm_tot,
                                     (int64_t)limits.shmmni, use.used_ids};
    return 0;
}
