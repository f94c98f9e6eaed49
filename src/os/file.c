/* SPDX-License-Identifier: MIT */
/* file.c - names in the file system, each call thin. */
#include "os/file.h"

#include "base/fault.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u /* include/uapi/linux/fs.h */
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
