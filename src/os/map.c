/* SPDX-License-Identifier: MIT */
/* map.c - memory that processes share. */
#include "os/map.h"

#include "base/fault.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* include/uapi/linux/memfd.h, Linux 6.3 */
#endif

int naru__os_memfd(const char *name)
{
    int fault = naru__fault_at("memfd_create");
    if (fault < 0)
        return fault;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = (int)syscall(SYS_memfd_create, name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_memfd_create, name, flags);
    if (fd < 0 || fd > 2)
        return fd < 0 ? -errno : fd;
    int high = naru__os_duplicate(fd);
    naru__os_close(fd);
    return high;
}

int naru__os_allocate(int fd, uint64_t size)
{
    int r = naru__fault_at("fallocate");
    if (r < 0)
        return r;
    if ((uint64_t)(off_t)size != size)
        return -EINVAL;
    struct rlimit most; /* beyond which the kernel sends SIGXFSZ */
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && size > most.rlim_cur)
        return -ENOSPC;
    do
        r = fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

int naru__os_seal(int fd, int seals)
{
    int fault = naru__fault_at("F_ADD_SEALS");
    if (fault < 0)
        return fault;
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int naru__os_seals(int fd)
{
    int fault = naru__fault_at("F_GET_SEALS");
    if (fault < 0)
        return fault;
    int r = fcntl(fd, F_GET_SEALS);
    return r < 0 ? -errno : r;
}

int naru__os_map(int fd, uint64_t size, bool writable, void **ret_memory)
{
    return naru__os_map_at(fd, 0, size, writable, ret_memory);
}

int naru__os_map_at(int fd, uint64_t at, uint64_t size, bool writable, void **ret_memory)
{
    int fault = naru__fault_at("mmap");
    if (fault < 0)
        return fault;
    if ((uint64_t)(size_t)size != size)
        return -ENOMEM;
    void *p =
        mmap(NULL, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
             (off_t)at);
    if (p == MAP_FAILED)
        return errno == EAGAIN ? -ENOMEM : -errno; /* all is locked, and no more may be */
    *ret_memory = p;
    return 0;
}

void naru__os_unmap(const void *memory, uint64_t size)
{
    if (memory)
        munmap((void *)(uintptr_t)memory, (size_t)size);
}

static int barrier(int command)
{
    int fault = naru__fault_at("membarrier");
    if (fault < 0)
        return fault;
    return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int naru__os_barrier_register(void)
{
    return barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

int naru__os_barrier(void)
{
    return barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

uint64_t naru__os_pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) < 0 ? 0 : st.st_ino;
}
