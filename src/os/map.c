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
#include <sys/uio.h>
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

void *(*naru__map_at)(int fd, uint64_t at, uint64_t size);
bool (*naru__unmap_at)(const void *memory);

/* share: MAP_SHARED or MAP_PRIVATE. to: NULL, or address space that the mapping replaces. */
static int map(int fd, uint64_t at, uint64_t size, bool writable, int share, void *to,
               void **ret_memory)
{
    int fault = naru__fault_at("mmap");
    if (fault < 0)
        return fault;
    if ((uint64_t)(size_t)size != size)
        return -ENOMEM;
    if (__builtin_expect(naru__map_at && !to, 0)) {
        *ret_memory = naru__map_at(fd, at, size);
        return *ret_memory ? 0 : -ENOMEM;
    }
    void *p = mmap(to, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                   share | MAP_NORESERVE | (to ? MAP_FIXED : 0), fd, (off_t)at);
    if (p == MAP_FAILED)
        return errno == EAGAIN ? -ENOMEM : -errno; /* all is locked, and no more may be */
    *ret_memory = p;
    return 0;
}

int naru__os_map(int fd, uint64_t size, bool writable, void **ret_memory)
{
    return map(fd, 0, size, writable, MAP_SHARED, NULL, ret_memory);
}

int naru__os_map_at(int fd, uint64_t at, uint64_t size, bool writable, void **ret_memory)
{
    return map(fd, at, size, writable, MAP_SHARED, NULL, ret_memory);
}

int naru__os_map_private(int fd, uint64_t size, bool writable, void **ret_memory)
{
    return map(fd, 0, size, writable, MAP_PRIVATE, NULL, ret_memory);
}

int naru__os_map_over(void *memory, int fd, uint64_t at, uint64_t size, bool writable)
{
    void *there;
    return map(fd, at, size, writable, MAP_SHARED, memory, &there);
}

bool naru__os_cover(void *memory, uint64_t size, bool writable)
{
    return mmap(memory, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

int naru__os_map_nothing(uint64_t size, uint64_t align, void **ret_memory)
{
    int fault = naru__fault_at("mmap");
    if (fault < 0)
        return fault;
    uint64_t room = size + align;
    if (room < size || (uint64_t)(size_t)room != room)
        return -ENOMEM;
    uint8_t *p = mmap(NULL, (size_t)room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    size_t before = (size_t)(-(uintptr_t)p & (align - 1));
    if (before > 0)
        munmap(p, before);
    munmap(p + before + size, (size_t)(align - before));
    *ret_memory = p + before;
    return 0;
}

int naru__os_map_aligned(int fd, uint64_t size, bool writable, uint64_t align, void **ret_memory)
{
    void *to;
    int r = naru__os_map_nothing(size, align, &to);
    if (r < 0)
        return r;
    r = map(fd, 0, size, writable, MAP_SHARED, to, ret_memory);
    if (r < 0)
        munmap(to, (size_t)size);
    return r;
}

int naru__os_map_copy(int fd, uint64_t size, void **ret_memory)
{
    int fault = naru__fault_at("mmap");
    if (fault < 0)
        return fault;
    if ((uint64_t)(size_t)size != size)
        return -ENOMEM;
    void *p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret_memory = p;
    return 0;
}

void naru__os_unmap(const void *memory, uint64_t size)
{
    if (memory && !(naru__unmap_at && naru__unmap_at(memory)))
        munmap((void *)(uintptr_t)memory, (size_t)size);
}

int naru__os_advise(void *memory, uint64_t size, int advice)
{
    int r = naru__fault_at("madvise");
    if (r < 0)
        return r;
    do
        r = madvise(memory, (size_t)size, advice) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

int naru__os_lock_memory(void *memory, uint64_t size)
{
    int fault = naru__fault_at("mlock");
    if (fault < 0)
        return fault;
    return mlock(memory, (size_t)size) < 0 ? -errno : 0;
}

int naru__os_sync_memory(void *memory, uint64_t size)
{
    int fault = naru__fault_at("fsync");
    if (fault < 0)
        return fault;
    return msync(memory, (size_t)size, MS_SYNC) < 0 ? -errno : 0;
}

/* All n bytes, in pieces, as one call copies no more than 2 GiB. */
static int copy(bool out, char *memory, char *buf, size_t n)
{
    enum { PIECE = 1 << 30 };
    int fault = naru__fault_at("process_vm");
    if (fault < 0)
        return fault;
    for (size_t done = 0; done < n;) {
        size_t piece = n - done < PIECE ? n - done : PIECE;
        struct iovec here = {buf + done, piece}, there = {memory + done, piece};
        ssize_t r = out ? process_vm_readv(getpid(), &here, 1, &there, 1, 0)
                        : process_vm_writev(getpid(), &here, 1, &there, 1, 0);
        if (r <= 0)
            return r < 0 ? -errno : -EFAULT;
        done += (size_t)r;
    }
    return 0;
}

int naru__os_copy_out(const void *memory, void *buf, size_t n)
{
    return copy(true, (char *)(uintptr_t)memory, buf, n);
}

int naru__os_copy_in(void *memory, const void *buf, size_t n)
{
    return copy(false, memory, (char *)(uintptr_t)buf, n);
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
