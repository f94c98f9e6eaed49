/* SPDX-License-Identifier: MIT */
#include "os/sync.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int naru__os_sync_data(int fd)
{
    int r = naru__fault_at("fdatasync");
    if (r < 0)
        return r;
    do
        r = fdatasync(fd) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

int naru__os_sync_all(int fd)
{
    int r = naru__fault_at("fsync");
    if (r < 0)
        return r;
    do
        r = fsync(fd) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

static uint64_t mix(uint64_t h, const void *data, size_t n) /* FNV-1a, 64 bit */
{
    const unsigned char *p = data;
    while (n--)
        h = (h ^ *p++) * UINT64_C(0x100000001b3);
    return h;
}

uint64_t naru__os_world(int fd)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    char boot[64];
    int f = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = f < 0 ? 0 : read(f, boot, sizeof boot);
    if (f >= 0)
        close(f);
    h = mix(h, boot, n > 0 ? (size_t)n : 0);
    (void)fd; /* where libc has no statx() */
#ifdef STATX_BASIC_STATS
    enum { MNT_ID = 0x1000, MNT_ID_UNIQUE = 0x4000 }; /* Linux 5.8, 6.8; stx_mnt_id */
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, MNT_ID_UNIQUE | MNT_ID, &st) == 0) {
        uint64_t mount;
        __builtin_memcpy(&mount, (const char *)&st + 0x90, sizeof mount);
        h = mix(h, &mount, sizeof mount);
        h = mix(h, &st.stx_dev_major, sizeof st.stx_dev_major);
        h = mix(h, &st.stx_dev_minor, sizeof st.stx_dev_minor);
    }
#endif
    return h ? h : 1;
}
