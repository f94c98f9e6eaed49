/* SPDX-License-Identifier: MIT */
/* mqueue.h - POSIX message queues, each call thin. A queue is a descriptor. Results as in os/fd.h.
 */
#ifndef NARU_OS_MQUEUE_H
#define NARU_OS_MQUEUE_H

#include <mqueue.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Open one that is there; access is O_RDONLY, O_WRONLY or O_RDWR. Non-blocking, CLOEXEC. */
int naru__os_mq_open(const char *name, int access);
/* Make one that is not there, whatever the umask. attributes: NULL for the kernel's defaults. */
int naru__os_mq_create(const char *name, int access, mode_t mode, const struct mq_attr *attributes);
int naru__os_mq_unlink(const char *name);
int naru__os_mq_attributes(int queue, struct mq_attr *ret_attributes);

/* Never wait: -EAGAIN. */
int naru__os_mq_send(int queue, const void *data, size_t size, unsigned priority);
ssize_t naru__os_mq_receive(int queue, void *buf, size_t cap, unsigned *ret_priority);

/* Owner and mode by name, where a mount of mqueue shows them; -ENOENT where none does. */
int naru__os_mq_look(const char *name, struct stat *ret_stat);

#endif
