/* SPDX-License-Identifier: MIT */
/* fifo.c - the file behind a named pipe: creating, opening, waiting for a reader, removing.
 *
 * Nothing here blocks in open(2). A writer without a reader gets ENXIO from the kernel; it then
 * watches the name with inotify, looks once more, and sleeps until somebody opens, or 10 ms, for of
 * a reader that is itself blocked in open(2) the kernel tells nobody. */
#include "transport/fifo/fifo.h"

#include "base/error.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int naru__fifo_path(const struct naru_url *url, const char **ret_path)
{
    if (!url->rest[0])
        return naru__fail(-EINVAL, "%s names no file: write fifo:/path/to/it", url->text);
    if (strlen(url->rest) + sizeof FIFO_BACK > PATH_MAX)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a path has at most %d bytes (PATH_MAX)",
                          url->text, PATH_MAX - 1);
    *ret_path = url->rest;
    return 0;
}

static int cannot(const char *name, const char *path, const char *what, int code)
{
    struct stat st;
    if (code == -EACCES && naru__os_stat(path, &st) == 0)
        return naru__fail(
            code,
            "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this is "
            "uid %u; its owner can chmod it",
            name, what, st.st_uid, st.st_gid, st.st_mode & 07777u, geteuid());
    if (code == -EACCES)
        return naru__fail(code,
                          "%s: %s is forbidden: a directory on the way does not let uid %u in",
                          name, what, geteuid());
    return naru__fail(code, "%s: %s failed: %s%s", name, what, naru__errno_text(code),
                      naru__limit_of_files(code).text);
}

/* Follows links, so that a link to a FIFO is a FIFO; a dangling one is named as such. */
static int look(const char *name, const char *path, struct stat *ret_stat)
{
    int r = naru__os_stat(path, ret_stat);
    if (r < 0 || !S_ISLNK(ret_stat->st_mode))
        return r;
    int fd = naru__os_open(path, O_PATH);
    if (fd == -ENOENT)
        return 0; /* the link itself: naru__file_kind says so */
    if (fd < 0)
        return cannot(name, path, "following the link", fd);
    r = naru__os_fstat(fd, ret_stat);
    naru__os_close(fd);
    return r;
}

static int agrees(const char *name, const struct fifo_wish *wish, const struct stat *st)
{
    if (!S_ISFIFO(st->st_mode))
        return naru__fail(-EINVAL, "%s: %s stands there, not a FIFO", name,
                          naru__file_kind(st->st_mode));
    if (wish->flags & NARU_EXCLUSIVE)
        return naru__fail(-EEXIST,
                          "%s is there already (uid %u, mode %04o), and NARU_EXCLUSIVE was given",
                          name, st->st_uid, st->st_mode & 07777u);
    if (wish->mode && (wish->mode & 07777) != (st->st_mode & 07777u))
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", name,
                          st->st_mode & 07777u, wish->mode & 07777u);
    if (wish->owner && wish->owner != (int64_t)st->st_uid)
        return naru__fail(-EEXIST, "%s is there and belongs to uid %u, and .owner asks for %lld",
                          name, st->st_uid, (long long)wish->owner);
    if (wish->group && wish->group != (int64_t)st->st_gid)
        return naru__fail(-EEXIST, "%s is there with gid %u, and .group asks for %lld", name,
                          st->st_gid, (long long)wish->group);
    return 0;
}

static int create(const char *name, const char *path, const struct fifo_wish *wish)
{
    int r = naru__os_make_fifo(path, wish->mode ? wish->mode & 07777 : 0600);
    if (r == -EEXIST)
        return r;
    if (r < 0)
        return cannot(name, path, "creating the FIFO", r);
    if (wish->owner || wish->group) {
        r = naru__os_chown(path, wish->owner ? (uid_t)wish->owner : (uid_t)-1,
                           wish->group ? (gid_t)wish->group : (gid_t)-1);
        if (r < 0) {
            (void)naru__os_unlink(path);
            return cannot(name, path, "giving the FIFO to that owner", r);
        }
    }
    return 1;
}

int naru__fifo_ensure(const char *name, const char *path, const struct fifo_wish *wish)
{
    for (int tries = 0; tries < 100; tries++) { /* others may create and remove it meanwhile */
        struct stat st;
        int r = look(name, path, &st);
        if (r == 0)
            return agrees(name, wish, &st);
        if (r != -ENOENT)
            return cannot(name, path, "looking at it", r);
        if (wish->flags & NARU_EXISTING)
            return naru__fail(-ENOENT, "%s is not there, and NARU_EXISTING was given", name);
        r = create(name, path, wish);
        if (r != -EEXIST)
            return r;
    }
    return naru__fail(-EBUSY, "%s is created and removed all the time by somebody else", name);
}

int naru__fifo_open(const char *name, const char *path, int flags)
{
    struct stat st;
    int fd = naru__os_open(path, flags | O_NONBLOCK);
    if (fd == -ENXIO && (flags & O_ACCMODE) == O_WRONLY)
        return fd;
    if (fd < 0)
        return cannot(name, path, "opening", fd);
    int r = naru__os_fstat(fd, &st);
    if (r < 0)
        cannot(name, path, "looking at it", r);
    if (r == 0 && !S_ISFIFO(st.st_mode))
        r = naru__fail(-EINVAL, "%s: %s stands there, not a FIFO", name,
                       naru__file_kind(st.st_mode));
    if (r < 0) {
        naru__os_close(fd);
        return r;
    }
    return fd;
}

static int start_watch(const char *name, const char *path, _Atomic int *watch)
{
    if (*watch >= 0)
        return 0;
    int fd = naru__os_watch_opens(path);
    if (fd == -ENOENT)
        return naru__fail(-EIDRM, "%s was removed while it was open here", name);
    if (fd < 0)
        return naru__fail(fd, "%s: waiting for a reader needs inotify: %s%s", name,
                          naru__errno_text(fd), naru__limit_of_inotify(fd).text);
    *watch = fd;
    return 0;
}

int naru__fifo_connect(struct naru_wait *wait, const char *path, _Atomic int *out,
                       _Atomic int *watch)
{
    const char *name = wait->handle->name;
    for (;;) {
        if (*watch >= 0)
            naru__os_drain(*watch); /* before looking, so that no opener is missed */
        int fd = naru__fifo_open(name, path, O_WRONLY);
        if (fd >= 0) {
            naru__replace_fd(wait->handle, out, fd);
            naru__replace_fd(wait->handle, watch, NARU__NO_FD);
            return 0;
        }
        if (fd == -ENOENT)
            return naru__fail(-EIDRM, "%s was removed while it was open here", name);
        if (fd != -ENXIO)
            return fd;
        if (*watch < 0) { /* and look again, now that nobody can slip by */
            int r = start_watch(name, path, watch);
            if (r < 0)
                return r;
            continue;
        }
        int r = naru__wait_sleep(wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: nobody has it open for reading", name);
        if (r < 0)
            return r;
    }
}

static int fifo_remove(const struct naru_url *url)
{
    const char *path;
    char back[PATH_MAX];
    struct stat st;
    int r = naru__fifo_path(url, &path);
    if (r < 0)
        return r;
    r = naru__os_stat(path, &st);
    if (r == -ENOENT)
        return naru__fail(r, "%s is not there", url->text);
    if (r < 0)
        return cannot(url->text, path, "looking at it", r);
    if (!S_ISFIFO(st.st_mode))
        return naru__fail(-EINVAL, "%s: %s stands there, not a FIFO; it is left alone", url->text,
                          naru__file_kind(st.st_mode));
    r = naru__os_unlink(path);
    if (r < 0)
        return cannot(url->text, path, "removing", r);
    snprintf(back, sizeof back, "%s" FIFO_BACK, path);
    if (naru__os_stat(back, &st) == 0 && S_ISFIFO(st.st_mode)) {
        r = naru__os_unlink(back);
        if (r < 0 && r != -ENOENT)
            return cannot(url->text, back, "removing its way back", r);
    }
    return 0;
}

const struct naru_transport naru__fifo_transport = {
    .size = sizeof naru__fifo_transport,
    .scheme = "fifo",
    .stream_open = naru__fifo_stream_open,
    .queue_open = naru__fifo_queue_open,
    .remove = fifo_remove,
};
