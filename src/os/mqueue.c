/* SPDX-License-Identifier: MIT */
/* mqueue.c - POSIX message queues. */
#include "os/mqueue.h"

#include "base/fault.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CALL(name, expression)                                                                     \
    do {                                                                                           \
        int r_ = naru__fault_at(name);                                                             \
        if (r_ < 0)                                                                                \
            return r_;                                                                             \
        do                                                                                         \
            r_ = (int)(expression);                                                                \
        while (r_ < 0 && errno == EINTR);                                                          \
        return r_ < 0 ? -errno : r_;                                                               \
    } while (0)

int naru__os_mq_open(const char *name, int access)
{
    CALL("mq_open", mq_open(name, access | O_NONBLOCK | O_CLOEXEC));
}

static int create(const char *name, int access, mode_t mode, const struct mq_attr *attributes)
{
    CALL("mq_create",
         mq_open(name, access | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, mode, attributes));
}

int naru__os_mq_create(const char *name, int access, mode_t mode, const struct mq_attr *attributes)
{
    int queue = create(name, access, mode, attributes);
    if (queue < 0)
        return queue;
    int r = naru__os_fchmod(queue, mode); /* what the umask took away */
    if (r < 0) {
        mq_close(queue);
        mq_unlink(name);
        return r;
    }
    return queue;
}

int naru__os_mq_unlink(const char *name)
{
    CALL("mq_unlink", mq_unlink(name));
}

int naru__os_mq_attributes(int queue, struct mq_attr *ret_attributes)
{
    CALL("mq_getattr", mq_getattr(queue, ret_attributes));
}

int naru__os_mq_send(int queue, const void *data, size_t size, unsigned priority)
{
    CALL("mq_send", mq_send(queue, data, size, priority));
}

ssize_t naru__os_mq_receive(int queue, void *buf, size_t cap, unsigned *ret_priority)
{
    CALL("mq_receive", mq_receive(queue, buf, cap, ret_priority));
}

int naru__os_mq_look(const char *name, struct stat *ret_stat)
{
    struct mntent entry;
    char line[1024], path[1400];
    int r = -ENOENT;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts)
        return -ENOENT;
    while (r < 0 && getmntent_r(mounts, &entry, line, sizeof line))
        if (strcmp(entry.mnt_type, "mqueue") == 0) {
            snprintf(path, sizeof path, "%s%s", entry.mnt_dir, name);
            r = stat(path, ret_stat) < 0 ? -ENOENT : 0;
        }
    endmntent(mounts);
    return r;
}
