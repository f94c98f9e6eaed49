/* SPDX-License-Identifier: MIT */
/* sysv.c - System V message queues. */
#include "os/sysv.h"

#include "base/fault.h"

#include <errno.h>
#include <sys/ipc.h>

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13 /* include/uapi/linux/msg.h, Linux 4.17 */
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
