/* SPDX-License-Identifier: MIT */
/* file.c - names in the file system, each call thin. */
#include "os/file.h"

#include "base/fault.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u /* include/uapi/linux/fs.h */
#endif
#ifndef RWF_APPEND
#define RWF_APPEND 16 /* the same, Linux 4.16 */
#endif

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

int naru__os_open(const char *path, int flags)
{
    CALL("open", open(path, flags | O_CLOEXEC, 0));
}

/* Whoever makes it shorter has it alone for a moment (os/lease.h). */
static int open_soon(const char *path, int flags)
{
    enum { TRIES = 2000 }; /* of a millisecond */
    const struct timespec pause = {0, 1000000};
    int fd = naru__os_open(path, flags);
    for (int i = 0; fd == -EAGAIN && i < TRIES; i++) {
        nanosleep(&pause, NULL);
        fd = naru__os_open(path, flags);
    }
    return fd == -EAGAIN ? -EBUSY : fd;
}

int naru__os_open_file(const char *path, int flags, struct stat *ret_st)
{
    char link[40];
    int seen = naru__os_open(path, O_PATH | (flags & O_NOFOLLOW));
    if (seen == -ENOENT && naru__os_stat(path, ret_st) == 0 && S_ISLNK(ret_st->st_mode))
        return -EINVAL; /* to nowhere */
    if (seen < 0)
        return seen;
    int r = naru__os_fstat(seen, ret_st);
    snprintf(link, sizeof link, "/proc/self/fd/%d", seen);
    if (r == 0)
        r = S_ISREG(ret_st->st_mode)
                ? open_soon(link, (flags & ~O_NOFOLLOW) | O_NONBLOCK | O_NOCTTY)
                : -EINVAL;
    naru__os_close(seen);
    return r;
}

int naru__os_open_unnamed(const char *directory)
{
    CALL("O_TMPFILE", open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0));
}

static int make_fifo(const char *path, mode_t mode)
{
    CALL("mkfifo", mkfifo(path, mode & 0600));
}

static int change_mode(const char *path, mode_t mode)
{
    CALL("chmod", chmod(path, mode));
}

int naru__os_make_fifo(const char *path, mode_t mode)
{
    int r = make_fifo(path, mode);
    if (r >= 0 && (r = change_mode(path, mode)) < 0)
        unlink(path);
    return r;
}

int naru__os_stat(const char *path, struct stat *ret_stat)
{
    CALL("lstat", lstat(path, ret_stat));
}

int naru__os_stat_target(const char *path, struct stat *ret_stat)
{
    CALL("stat", stat(path, ret_stat));
}

int naru__os_fstat(int fd, struct stat *ret_stat)
{
    CALL("fstat", fstat(fd, ret_stat));
}

int naru__os_fchmod(int fd, mode_t mode)
{
    CALL("fchmod", fchmod(fd, mode));
}

int naru__os_chown(const char *path, uid_t uid, gid_t gid)
{
    CALL("chown", chown(path, uid, gid));
}

int naru__os_unlink(const char *path)
{
    CALL("unlink", unlink(path));
}

int naru__os_stat_at(int directory, const char *name, struct stat *ret_stat)
{
    CALL("lstat", fstatat(directory, name, ret_stat, AT_SYMLINK_NOFOLLOW));
}

int naru__os_unlink_at(int directory, const char *name)
{
    CALL("unlink", unlinkat(directory, name, 0));
}

int naru__os_chmod_at(int directory, const char *name, mode_t mode)
{
    CALL("chmod", fchmodat(directory, name, mode, 0));
}

int naru__os_open_at(int directory, const char *name, int flags)
{
    CALL("open", openat(directory, name, flags | O_CLOEXEC));
}

int naru__os_create_at(int directory, const char *name, mode_t mode)
{
    CALL("open", openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
}

int naru__os_make_directory_at(int directory, const char *name, mode_t mode)
{
    CALL("mkdir", mkdirat(directory, name, mode));
}

int naru__os_remove_directory_at(int directory, const char *name)
{
    CALL("rmdir", unlinkat(directory, name, AT_REMOVEDIR));
}

int naru__os_rename_at(int directory, const char *from, const char *to)
{
    CALL("renameat2", syscall(SYS_renameat2, directory, from, directory, to, RENAME_NOREPLACE));
}

int naru__os_replace_at(int directory, const char *from, const char *to)
{
    CALL("renameat", renameat(directory, from, directory, to));
}

int naru__os_chmod(int fd, mode_t mode)
{
    CALL("chmod", fchmod(fd, mode));
}

int naru__os_link(int fd, const char *path)
{
    char from[40];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    CALL("linkat", linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

int naru__os_read_link(const char *path, char *buf, size_t n)
{
    int fault = naru__fault_at("readlink");
    if (fault < 0)
        return fault;
    ssize_t r = readlink(path, buf, n);
    if (r < 0)
        return -errno;
    if ((size_t)r == n)
        return -ENAMETOOLONG;
    buf[r] = '\0';
    return 0;
}

ssize_t naru__os_read_some_at(int fd, void *buf, size_t n, uint64_t at)
{
    int fault = naru__fault_at("pread");
    ssize_t r = fault < 0 ? fault : pread(fd, buf, n, (off_t)at);
    return fault < 0 || r >= 0 ? r : -errno;
}

ssize_t naru__os_write_some_at(int fd, const void *buf, size_t n, uint64_t at)
{
    int fault = naru__fault_at("pwrite");
    ssize_t r = fault < 0 ? fault : pwrite(fd, buf, n, (off_t)at);
    return fault < 0 || r >= 0 ? r : -errno;
}

static int whole(ssize_t done, size_t n)
{
    return done < 0 ? -errno : (size_t)done == n ? 0 : -EIO;
}

int naru__os_read_at(int fd, void *buf, size_t n, uint64_t at)
{
    int fault = naru__fault_at("pread");
    return fault < 0 ? fault : whole(pread(fd, buf, n, (off_t)at), n);
}

int naru__os_write_at(int fd, const void *buf, size_t n, uint64_t at)
{
    int fault = naru__fault_at("pwrite");
    return fault < 0 ? fault : whole(pwrite(fd, buf, n, (off_t)at), n);
}

int naru__os_set_attribute(int fd, const char *name, const char *text)
{
    CALL("fsetxattr", fsetxattr(fd, name, text, strlen(text), 0));
}

int naru__os_attribute(int fd, const char *name, char *buf, size_t n)
{
    int fault = naru__fault_at("fgetxattr");
    if (fault < 0)
        return fault;
    ssize_t r = fgetxattr(fd, name, buf, n - 1);
    if (r < 0)
        return -errno;
    buf[r] = '\0';
    return 0;
}

bool naru__os_may_write_to(uint64_t size)
{
    struct rlimit most;
    return getrlimit(RLIMIT_FSIZE, &most) < 0 || size <= most.rlim_cur;
}

int naru__os_truncate(int fd, uint64_t size)
{
    CALL("ftruncate", ftruncate(fd, (off_t)size));
}

int naru__os_sync(int fd, bool data)
{
    CALL("fsync", data ? fdatasync(fd) : fsync(fd));
}

int naru__os_start_writing(int fd, uint64_t at, uint64_t n)
{
    CALL("sync_file_range", sync_file_range(fd, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE));
}

/* ---- making longer ---- */

static int allocate(int fd, int mode, uint64_t from, uint64_t n)
{
    CALL("fallocate", fallocate(fd, mode, (off_t)from, (off_t)n));
}

#ifndef RWF_APPEND
#define RWF_APPEND 0x10 /* include/uapi/linux/fs.h, Linux 4.16 */
#endif

/* Zeroes behind its end, where the file system cannot allocate. RWF_APPEND: never over what another
 * has put there meanwhile. */
static int append_zeroes(int fd, uint64_t size)
{
    static const char zeroes[1 << 16];
    struct stat st;
    int r;
    while ((r = naru__os_fstat(fd, &st)) == 0 && (uint64_t)st.st_size < size) {
        uint64_t left = size - (uint64_t)st.st_size;
        struct iovec piece = {(void *)(uintptr_t)zeroes,
                              left < sizeof zeroes ? (size_t)left : sizeof zeroes};
        r = naru__fault_at("pwritev2");
        /* the kernel's own way, as in os/fd.c: not every libc has it */
        if (r == 0 && syscall(SYS_pwritev2, fd, &piece, 1UL, -1UL, -1UL, RWF_APPEND) < 0)
            r = -errno;
        if (r < 0 && r != -EINTR)
            break;
    }
    return r;
}

int naru__os_extend(int fd, uint64_t from, uint64_t size)
{
    struct rlimit most; /* beyond which the kernel sends SIGXFSZ */
    struct stat st;
    if ((uint64_t)(off_t)size != size || (off_t)size < 0)
        return -EFBIG;
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && size > most.rlim_cur)
        return -ENOSPC;
    /* first the room: a file system may make the file longer by as much as there was room for */
    int r = allocate(fd, FALLOC_FL_KEEP_SIZE, from, size - from);
    bool append = r == -EOPNOTSUPP || r == -ENOSYS;
    if (r == 0)
        r = allocate(fd, 0, from, size - from);
    else if (append)
        r = append_zeroes(fd, size);
    /* gives back what room there was */
    if (r < 0 && naru__os_fstat(fd, &st) == 0 &&
        (append ? (uint64_t)st.st_size > from : (uint64_t)st.st_size == from))
        (void)naru__os_truncate(fd, from);
    return r;
}

/* ---- file systems ---- */

/* The type in the line of /proc/self/mountinfo about that device. */
static bool mounted_as(const char *line, dev_t device, char *name, size_t n)
{
    unsigned high, low;
    const char *type = strstr(line, " - ");
    if (!type || sscanf(line, "%*d %*d %u:%u", &high, &low) != 2 || makedev(high, low) != device)
        return false;
    type += 3;
    snprintf(name, n, "%.*s", (int)strcspn(type, " "), type);
    return true;
}

struct naru_file_system naru__os_file_system(int fd)
{
    struct naru_file_system out = {"an unknown file system", false};
    struct statfs fs;
    struct stat st;
    char line[4096];
    if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
        return out;
    unsigned type = (unsigned)fs.f_type; /* of 32 bits, signed or wider as the machine has it */
    out.memory = type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC;
    snprintf(out.name, sizeof out.name, "file system %#x", type);
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && fgets(line, sizeof line, f) &&
           !mounted_as(line, st.st_dev, out.name, sizeof out.name))
        ;
    if (f)
        fclose(f);
    return out;
}

bool naru__os_writes_in_place(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    unsigned type = (unsigned)fs.f_type;
    return type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC || type == TMPFS_MAGIC;
}

struct entry { /* struct linux_dirent64 */
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

static long read_directory(int fd, char *buf, size_t n)
{
    int fault = naru__fault_at("getdents64");
    if (fault < 0)
        return fault;
    long r = syscall(SYS_getdents64, fd, buf, n);
    return r < 0 ? -errno : r;
}

int naru__os_list(int directory, bool all, int (*each)(void *arg, const char *name), void *arg)
{
    _Alignas(struct entry) char buf[16384];
    int fd = naru__os_open_at(directory, ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fd;
    long n, r = 0;
    do {
        n = read_directory(fd, buf, sizeof buf);
        for (long at = 0; at < n && r == 0;) {
            const struct entry *e = (const void *)(buf + at);
            if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0)
                r = each(arg, e->name);
            at += e->length;
        }
    } while (all && n > 0 && r == 0);
    close(fd);
    return n < 0 ? (int)n : (int)r;
}

int naru__os_make_directory(const char *path, mode_t mode)
{
    CALL("mkdir", mkdir(path, mode));
}

const char *naru__file_kind(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a regular file";
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    case S_IFLNK:
        return "a symbolic link to nowhere";
    case S_IFCHR:
        return "a character device";
    case S_IFBLK:
        return "a block device";
    default:
        return "something unknown";
    }
}

static int lock(int fd, int command, struct flock *lock)
{
    CALL("lock", fcntl(fd, command, lock));
}

int naru__os_lock(int fd, int64_t byte, bool exclusive)
{
    struct flock range = {.l_type = exclusive ? F_WRLCK : F_RDLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)byte,
                          .l_len = 1};
    return lock(fd, F_OFD_SETLK, &range);
}

int naru__os_unlock(int fd, int64_t byte)
{
    struct flock range = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return lock(fd, F_OFD_SETLK, &range);
}

int naru__os_lock_held(int fd, int64_t byte)
{
    struct flock range = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    int r = lock(fd, F_OFD_GETLK, &range);
    return r < 0 ? r : range.l_type != F_UNLCK;
}

int naru__os_lock_find(int fd, uint64_t from, uint64_t to, uint64_t *ret_byte)
{
    struct flock range = {.l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)from,
                          .l_len = (off_t)(to - from)};
    int r = lock(fd, F_OFD_GETLK, &range);
    if (r < 0 || range.l_type == F_UNLCK)
        return r < 0 ? r : 0;
    *ret_byte = (uint64_t)range.l_start > from ? (uint64_t)range.l_start : from;
    return 1;
}

int naru__os_data_from(int fd, uint64_t at, uint64_t *ret_from, uint64_t *ret_to)
{
    off_t from = lseek(fd, (off_t)at, SEEK_DATA), to;
    if (from < 0 && errno == ENXIO)
        return -ENXIO;
    if (from < 0) {
        *ret_from = at;
        *ret_to = INT64_MAX;
        return 0;
    }
    to = lseek(fd, from, SEEK_HOLE);
    *ret_from = (uint64_t)from;
    *ret_to = to < 0 ? INT64_MAX : (uint64_t)to;
    return 0;
}

int naru__os_claim(int fd)
{
    CALL("flock", flock(fd, LOCK_EX | LOCK_NB));
}

static int watch(int fd, const char *path, uint32_t events)
{
    CALL("inotify_add_watch", inotify_add_watch(fd, path, events));
}

static int notifier(void)
{
    CALL("inotify_init1", inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
}

static int watcher(const char *path, uint32_t events)
{
    int fd = notifier();
    if (fd < 0)
        return fd;
    int r = watch(fd, path, events);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int naru__os_watch_opens(const char *path)
{
    return watcher(path, IN_OPEN | IN_ATTRIB | IN_MOVE_SELF);
}

int naru__os_watch_closes(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return watcher(path, IN_CLOSE_WRITE);
}

void naru__os_drain(int fd)
{
    char waste[4096];
    while (read(fd, waste, sizeof waste) > 0)
        ;
}
