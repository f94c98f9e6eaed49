/* SPDX-License-Identifier: MIT */
/* map.c - `map:/file`: a region that is a file on disk, as any program has it.
 *
 * Each handle has an open file description of its own, and shares it with nobody. So the kernel
 * tells each of a write-back that failed, once (errseq_t: what one description was told it is not
 * told again, and no other description's fsync or msync takes that away); and so it can say, by a
 * lease, whether anybody else has the file. */
#include "os/map.h"
#include "base/error.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/lease.h"
#include "os/limit.h"
#include "os/poll.h"
#include "os/proc.h"
#include "os/socket.h"
#include "region/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *name_of(const naru_region *r)
{
    return r->handle.name;
}

/* ---- longer ---- */

/* One at a time makes it longer, so that each may undo what it could not finish. */
static int hold_length(const naru_region *r)
{
    int64_t end = naru__now() + 2 * NARU_S;
    int code;
    while ((code = naru__os_lock(r->fd, NARU__REGION_LOCK, true)) == -EAGAIN && naru__now() < end)
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    if (code == -EAGAIN)
        return naru__fail(-EBUSY, "%s: a process that does not go on is making it longer",
                          name_of(r));
    return code < 0 ? naru__fail(code, "%s: a lock on its length: %s", name_of(r),
                                 naru__errno_text(code))
                    : 0;
}

static int grow(naru_region *r, uint64_t size)
{
    uint64_t is = 0;
    int code = hold_length(r);
    if (code < 0)
        return code;
    code = naru__region_file_length(r, &is);
    if (code == 0 && size > is) {
        code = naru__os_extend(r->fd, is, size);
        if (code < 0)
            code = naru__region_no_room(name_of(r), r->fd, size, code);
    }
    (void)naru__os_unlock(r->fd, NARU__REGION_LOCK);
    if (code == 0 && size > is)
        code = naru__region_settle(r, is, size);
    return code;
}

/* ---- another description ---- */

static int open_again(const naru_region *r, int flags)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", r->fd);
    int fd = naru__os_open(link, flags);
    return fd < 0 ? naru__fail(fd, "%s: opening it again, by /proc/self/fd, failed: %s%s",
                               name_of(r), naru__errno_text(fd), naru__limit_of_files(fd).text)
                  : fd;
}

static int share(const naru_region *r, int access, int *ret_fd)
{
    int fd =
        access & NARU_WRITE ? open_again(r, O_RDWR) : naru__region_file_share(r, access, ret_fd);
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

/* ---- shorter ---- */

struct others {
    const struct stat *st;
    pid_t pid;
};

static int each_map(void *arg, pid_t pid, const struct naru_proc_map *map)
{
    struct others *o = arg;
    if (o->pid == 0 && map->inode == o->st->st_ino && map->device == o->st->st_dev &&
        pid != getpid())
        o->pid = pid;
    return 0;
}

static int not_alone(const naru_region *r)
{
    struct stat st;
    struct others o = {.st = &st};
    char program[32] = "?";
    size_t hidden = 0;
    if (naru__os_fstat(r->fd, &st) == 0)
        (void)naru__os_proc_maps(each_map, &o, &hidden);
    if (o.pid == 0)
        return naru__fail(-EBUSY,
                          "%s: it is open elsewhere, in another process or by another handle of "
                          "this one, and touching what is cut off would kill whoever has it mapped",
                          name_of(r));
    naru__os_program_of(o.pid, program, sizeof program);
    return naru__fail(-EBUSY,
                      "%s: process %d (%s) has it mapped, and would die at touching what is cut "
                      "off",
                      name_of(r), (int)o.pid, program);
}

static int no_lease(const naru_region *r, int code)
{
    if (code == -EAGAIN)
        return not_alone(r);
    if (code == -EACCES)
        return naru__fail(-EPERM,
                          "%s: only its owner may ask whether somebody else has it (a lease), and "
                          "this is uid %u",
                          name_of(r), geteuid());
    if (code == -EINVAL || code == -EOPNOTSUPP || code == -ENOLCK)
        return naru__fail(-EOPNOTSUPP,
                          "%s lies in %s, which does not say whether somebody else has it (it has "
                          "no leases)",
                          name_of(r), naru__os_file_system(r->fd).name);
    return naru__fail(code, "%s: a lease: %s", name_of(r), naru__errno_text(code));
}

/* A description of its own again: a forked child may have the old one. What that had to tell of
 * writing is told first. */
static int move(naru_region *r)
{
    int fd = open_again(r, O_RDWR);
    if (fd < 0)
        return fd;
    int code = naru__os_sync(r->fd, true);
    if (code < 0) {
        naru__os_close(fd);
        return naru__fail(code, "%s: what was written before did not reach its medium: %s",
                          name_of(r), naru__errno_text(code));
    }
    code = naru__os_map_over(r->data, fd, 0, r->mapped, true);
    if (code < 0) {
        naru__os_close(fd);
        return naru__fail(code, "%s: mapping it again failed: %s", name_of(r),
                          naru__errno_text(code));
    }
    code = naru__os_replace(r->fd, fd); /* a lock in it goes by the number */
    return code < 0 ? naru__fail(code, "%s: its descriptor: %s", name_of(r), naru__errno_text(code))
                    : 0;
}

static int shrink(naru_region *r, uint64_t size)
{
    enum { TRIES = 3 };
    struct naru_lease lease;
    int code = move(r), lost = -EAGAIN;
    if (code < 0)
        return code;
    /* who asked for it meanwhile, and would not wait, has gone; who waits gets in when it is
     * dropped, and is in the way then */
    for (int i = 0; i < TRIES && lost == -EAGAIN; i++) {
        code = naru__os_lease_take(r->fd, &lease);
        if (code < 0)
            return no_lease(r, code);
        lost = naru__os_lease_check(&lease); /* this process may have been stopped */
        if (lost == 0)
            code = naru__os_truncate(r->fd, size);
        naru__os_lease_drop(&lease);
    }
    if (lost < 0)
        return no_lease(r, lost);
    if (code < 0)
        return naru__fail(code, "%s: making it shorter failed: %s", name_of(r),
                          naru__errno_text(code));
    r->length = size;
    atomic_store_explicit(&r->known, size, memory_order_relaxed);
    return naru__region_settle(r, 0, size);
}

/* ---- surviving ---- */

/* The entry that leads to it, wherever it has been renamed to. */
static int sync_directory(const naru_region *r)
{
    char link[40], path[PATH_MAX];
    struct stat st;
    int code = naru__os_fstat(r->fd, &st);
    if (code == 0 && st.st_nlink == 0)
        return naru__fail(-EIDRM, "%s was removed: no name leads to it any more", name_of(r));
    snprintf(link, sizeof link, "/proc/self/fd/%d", r->fd);
    if (code == 0)
        code = naru__os_read_link(link, path, sizeof path);
    char *end = code == 0 ? strrchr(path, '/') : NULL;
    int fd = -ENOENT;
    if (end) {
        end[end == path] = '\0';
        fd = naru__os_open(path, O_RDONLY | O_DIRECTORY);
    }
    if (code == 0)
        code = fd < 0 ? fd : naru__os_sync(fd, false);
    naru__os_close(fd);
    return code < 0 ? naru__fail(code,
                                 "%s: its bytes are on the medium, and the directory entry "
                                 "that leads to it may not be: %s",
                                 name_of(r), naru__errno_text(code))
                    : 0;
}

static int sync_region(naru_region *r, uint64_t at, uint64_t n, int how)
{
    struct naru_file_system fs = naru__os_file_system(r->fd);
    if (fs.memory)
        return naru__fail(-EOPNOTSUPP, "%s lies in %s, in memory, which survives no restart",
                          name_of(r), fs.name);
    if (n == 0 && how != NARU_SYNC_FULL)
        return 0;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = at / page * page;
    int code = how == NARU_SYNC_ASYNC ? naru__os_start_writing(r->fd, at, n)
               : how == NARU_SYNC_DATA && r->access & NARU_WRITE
                   ? naru__os_sync_memory(r->data + from, at + n - from)
                   : naru__os_sync(r->fd, how == NARU_SYNC_DATA);
    if (code < 0)
        return naru__fail(code,
                          "%s: what was written did not reach its medium (%s): %s. Each handle is "
                          "told once; the kernel may have dropped what it could not write, so "
                          "write it again",
                          name_of(r), fs.name, naru__errno_text(code));
    return how == NARU_SYNC_FULL ? sync_directory(r) : 0;
}

/* ---- private ---- */

/* What was copied on write lies in memory alone, so memory is what is read. */
static int private_copy(const naru_region *r, uint64_t at, size_t n, int code)
{
    if (code == -EFAULT)
        return naru__fail(-EPROTO,
                          "%s: %zu bytes at %" PRIu64 " are not all there any more; somebody has "
                          "made it shorter",
                          name_of(r), n, at);
    return code < 0 ? naru__fail(code, "%s: copying %zu bytes at %" PRIu64 " failed: %s",
                                 name_of(r), n, at, naru__errno_text(code))
                    : 0;
}

static int private_read(const naru_region *r, uint64_t at, void *buf, size_t n)
{
    return private_copy(r, at, n, naru__os_copy_out(r->data + at, buf, n));
}

static int private_write(naru_region *r, uint64_t at, const void *buf, size_t n)
{
    return private_copy(r, at, n, naru__os_copy_in(r->data + at, buf, n));
}

static int private_sync(naru_region *r, uint64_t at, uint64_t n, int how)
{
    (void)at;
    (void)n;
    (void)how;
    return naru__fail(-EOPNOTSUPP,
                      "%s was opened with NARU_PRIVATE: what this handle writes is its own, and "
                      "goes with it",
                      name_of(r));
}

/* ---- the kind ---- */

static const struct naru_region_ops ops = {
    .size = sizeof ops,
    .disk = true,
    .length = naru__region_file_length,
    .shrink = shrink,
    .sync = sync_region,
    .share = share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static const struct naru_region_ops growing_ops = {
    .size = sizeof growing_ops,
    .disk = true,
    .length = naru__region_file_length,
    .grow = grow,
    .shrink = shrink,
    .sync = sync_region,
    .share = share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static const struct naru_region_ops private_ops = {
    .size = sizeof private_ops,
    .disk = true,
    .length = naru__region_file_length,
    .sync = private_sync,
    .read = private_read,
    .write = private_write,
    .close = naru__region_file_close,
};

struct file {
    struct naru_region_place place;
    char directory[PATH_MAX];
};

static int file_of(const struct naru_url *url, unsigned flags, struct file *ret_file)
{
    const char *path = url->rest, *end = strrchr(path, '/');
    if (path[0] != '/' || !end[1])
        return naru__fail(-EINVAL, "%s names no file: write map:/path/of/a/file", url->text);
    size_t n = end == path ? 1 : (size_t)(end - path);
    if (strlen(path) >= PATH_MAX)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a path has at most %d bytes (PATH_MAX)",
                          url->text, PATH_MAX - 1);
    memcpy(ret_file->directory, path, n);
    ret_file->directory[n] = '\0';
    bool private = flags & NARU_PRIVATE;
    ret_file->place = (struct naru_region_place){
        .name = url->text,
        .path = path,
        .directory = ret_file->directory,
        .fixed = private ? &private_ops : &ops,
        .growing = private ? &private_ops : &growing_ops,
    };
    return 0;
}

static int open_region(const struct naru_url *url, int access, const struct naru_region_options *o,
                       naru_region **ret_r)
{
    struct file f;
    int r = file_of(url, o->flags, &f);
    if (r == 0 && o->flags & NARU_PRIVATE && o->flags & NARU_HUGE)
        r = naru__fail(-EOPNOTSUPP, "%s: private pages are not gathered into huge ones", url->text);
    return r < 0 ? r : naru__region_place_open(&f.place, access, o, ret_r);
}

static int create_region(const struct naru_url *url, uint64_t size,
                         const struct naru_region_options *o, naru_region **ret_r)
{
    struct file f;
    int r = file_of(url, o->flags, &f);
    return r < 0 ? r : naru__region_place_create(&f.place, size, o, ret_r);
}

/* A directory is a queue's or topic's. */
static int remove_region(const struct naru_url *url)
{
    struct file f;
    struct stat st;
    int r = file_of(url, 0, &f);
    if (r < 0)
        return r;
    if (naru__os_stat(url->rest, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return NARU__REGION_NOT;
        if (!S_ISREG(st.st_mode))
            return naru__fail(-EINVAL, "%s: %s stands there, not a file", url->text,
                              S_ISLNK(st.st_mode) ? "a symbolic link"
                                                  : naru__file_kind(st.st_mode));
    }
    int fd = naru__os_open(url->rest, O_RDWR | O_NOFOLLOW | O_NONBLOCK); /* a lock, perhaps */
    r = naru__region_place_remove(&f.place);
    if (r == 0 && fd >= 0)
        naru__object_file_removed(fd);
    naru__os_close(fd);
    return r;
}

const struct naru_region_kind naru__map_region = {
    .size = sizeof naru__map_region,
    .scheme = "map",
    .create = create_region,
    .open = open_region,
    .remove = remove_region,
};
