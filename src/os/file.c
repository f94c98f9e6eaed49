/* SPDX-License-Identifier: MIT */
/* file.c - names in the file system, each call thin. */
#include "os/file.h"

#include "base/fault.h"
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/inotify.h>
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

static int watch(int fd, const char *path)
{
    CALL("inotify_add_watch", inotify_add_watch(fd, path, IN_OPEN | IN_ATTRIB | IN_MOVE_SELF));
}

static int notifier(void)
{
    CALL("inotify_init1", inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
}

int naru__os_watch_opens(const char *path)
{
    int fd = notifier();
    if (fd < 0)
        return fd;
    int r = watch(fd, path);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

void naru__os_drain(int fd)
{
    char waste[4096];
    while (read(fd, waste, sizeof waste) > 0)
        ;
}
