/* SPDX-License-Identifier: MIT */
/* posix_shm.c - `posix-shm:`: what shm_open(3) opens, its bytes and nothing else.
 *
 * A new one gets its memory while it has no name, and its name last, by link(2): who opens it finds
 * it whole or not at all, and whoever is killed on the way leaves nothing. */
#include "base/error.h"
#include "core/names.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "region/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const char directory[] = "/dev/shm"; /* glibc's and musl's */

struct place {
    const char *name;
    char path[sizeof directory + NAME_MAX + 2];
};

static const struct naru_region_ops ops = {
    .size = sizeof ops,
    .length = naru__region_file_length,
    .share = naru__region_file_share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static const struct naru_region_ops growing_ops = {
    .size = sizeof growing_ops,
    .length = naru__region_file_length,
    .grow = naru__region_file_grow,
    .share = naru__region_file_share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static int place_of(const struct naru_url *url, struct place *ret_place)
{
    const char *name;
    int r = naru__posix_name(url, "region", &name);
    if (r < 0)
        return r;
    ret_place->name = url->text;
    snprintf(ret_place->path, sizeof ret_place->path, "%s%s", directory, name);
    return 0;
}

static int cannot(const struct place *at, const char *what, int code)
{
    struct stat st;
    if ((code == -EACCES || code == -EPERM) && naru__os_stat(at->path, &st) == 0)
        return naru__region_forbidden(at->name, what, code, st.st_uid, st.st_gid,
                                      st.st_mode & 07777u);
    return naru__fail(code, "%s: %s (%s) failed: %s%s", at->name, what, at->path,
                      naru__errno_text(code), naru__limit_of_files(code).text);
}

/* ---- what is there ---- */

/* *ret_fd: it, or -ENOENT without a sentence. */
static int find(const struct place *at, int access, struct stat *ret_st)
{
    int fd = naru__os_open(at->path,
                           (access & NARU_WRITE ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fd == -ENOENT ? fd : cannot(at, "opening it", fd);
    int r = naru__os_fstat(fd, ret_st);
    if (r < 0)
        cannot(at, "looking at it", r);
    else if (!S_ISREG(ret_st->st_mode))
        r = naru__fail(-EINVAL, "%s: %s stands there, not memory", at->name,
                       naru__file_kind(ret_st->st_mode));
    else if (ret_st->st_size == 0)
        r = naru__fail(-EPROTO, "%s has 0 bytes: its maker has not called ftruncate yet", at->name);
    if (r == 0)
        return fd;
    naru__os_close(fd);
    return r;
}

/* Takes fd. */
static int attach(const struct place *at, int fd, int access, const struct stat *st,
                  const struct naru_region_options *o, naru_region **ret_r)
{
    naru_region *r;
    int code =
        naru__region_new(sizeof *r, o->reserve ? &growing_ops : &ops, at->name, access, o, &r);
    if (code < 0) {
        naru__os_close(fd);
        return code;
    }
    r->fd = fd;
    code = naru__region_expect(at->name, o, (uint64_t)st->st_size, o->reserve, 0);
    if (code == 0 && access & NARU_WRITE)
        code = naru__region_fill(at->name, fd, (uint64_t)st->st_size);
    if (code == 0)
        code = naru__region_map(r, fd, o->reserve);
    if (code < 0)
        naru__region_free(r);
    else
        *ret_r = r;
    return code;
}

static int no_signature(const struct naru_url *url, const struct naru_region_options *o)
{
    if (!o->signature)
        return 0;
    return naru__fail(-EOPNOTSUPP,
                      "%s carries its bytes alone and has no place for a signature; shm: has",
                      url->text);
}

static int open_region(const struct naru_url *url, int access, const struct naru_region_options *o,
                       naru_region **ret_r)
{
    struct place at;
    struct stat st;
    int r = place_of(url, &at);
    if (r == 0)
        r = no_signature(url, o);
    if (r < 0)
        return r;
    int fd = find(&at, access, &st);
    if (fd == -ENOENT)
        return naru__fail(fd, "%s is not there", at.name);
    return fd < 0 ? fd : attach(&at, fd, access, &st, o, ret_r);
}

/* ---- making ---- */

static int agrees(const struct place *at, uint64_t size, const struct naru_region_options *o,
                  const struct stat *st)
{
    if (o->flags & NARU_EXCLUSIVE)
        return naru__fail(-EEXIST, "%s is there already, and NARU_EXCLUSIVE was given", at->name);
    if (o->mode && (o->mode & 07777) != (st->st_mode & 07777u))
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", at->name,
                          st->st_mode & 07777u, o->mode & 07777u);
    struct naru_region_options expected = {.bytes = (size_t)size};
    return naru__region_expect(at->name, &expected, (uint64_t)st->st_size, o->reserve, 0);
}

/* -EEXIST without a sentence: somebody was faster. */
static int make(const struct place *at, uint64_t size, const struct naru_region_options *o,
                naru_region **ret_r)
{
    naru_region *r;
    int code = naru__region_new(sizeof *r, o->reserve ? &growing_ops : &ops, at->name,
                                NARU_READ | NARU_WRITE, o, &r);
    if (code < 0)
        return code;
    r->fd = naru__os_open(directory, O_TMPFILE | O_RDWR);
    if (r->fd < 0) {
        code = naru__fail(r->fd, "%s: no file in %s: %s%s", at->name, directory,
                          naru__errno_text(r->fd), naru__limit_of_files(r->fd).text);
    } else {
        code = naru__os_chmod(r->fd, o->mode ? o->mode & 07777 : 0600);
        if (code < 0)
            cannot(at, "setting its mode", code);
    }
    if (code == 0)
        code = naru__region_fill(at->name, r->fd, size);
    if (code == 0)
        code = naru__region_map(r, r->fd, o->reserve);
    if (code == 0) {
        code = naru__os_link(r->fd, at->path);
        if (code < 0 && code != -EEXIST)
            cannot(at, "giving it its name", code);
    }
    if (code < 0)
        naru__region_free(r);
    else
        *ret_r = r;
    return code;
}

static int create_region(const struct naru_url *url, uint64_t size,
                         const struct naru_region_options *o, naru_region **ret_r)
{
    struct place at;
    struct stat st;
    int r = place_of(url, &at);
    if (r == 0)
        r = no_signature(url, o);
    if (r < 0)
        return r;
    for (int tries = 0; tries < 100; tries++) { /* others may make and remove it meanwhile */
        int fd = find(&at, NARU_READ | NARU_WRITE, &st);
        if (fd >= 0) {
            r = agrees(&at, size, o, &st);
            if (r < 0)
                naru__os_close(fd);
            return r < 0 ? r : attach(&at, fd, NARU_READ | NARU_WRITE, &st, o, ret_r);
        }
        if (fd != -ENOENT)
            return fd;
        if (o->flags & NARU_EXISTING)
            return naru__fail(fd, "%s is not there, and NARU_EXISTING was given", at.name);
        r = make(&at, size, o, ret_r);
        if (r != -EEXIST)
            return r;
    }
    return naru__fail(-EBUSY, "%s is made and removed all the time by somebody else", at.name);
}

static int remove_region(const struct naru_url *url)
{
    struct place at;
    int r = place_of(url, &at);
    if (r < 0)
        return r;
    r = naru__os_unlink(at.path);
    if (r == -ENOENT)
        return naru__fail(r, "%s is not there", at.name);
    return r < 0 ? cannot(&at, "removing it", r) : 0;
}

const struct naru_region_kind naru__posix_shm_region = {
    .size = sizeof naru__posix_shm_region,
    .scheme = "posix-shm",
    .create = create_region,
    .open = open_region,
    .remove = remove_region,
};
