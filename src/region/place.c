/* SPDX-License-Identifier: MIT */
/* place.c - regions that are a file with a name: finding it, and making it.
 *
 * A new one gets its room while it has no name, and its name last, by link(2): who opens it finds
 * it whole or not at all, and whoever is killed on the way leaves nothing. Where a file system has
 * no files without a name (O_TMPFILE), it is made as `.naru-XXXXXXXX` beside it, and renamed. */
#include "base/error.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/process.h"
#include "region/region.h"
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static int cannot(const struct naru_region_place *at, const char *what, int code)
{
    struct stat st;
    if ((code == -EACCES || code == -EPERM) && naru__os_stat(at->path, &st) == 0)
        return naru__region_forbidden(at->name, what, code, st.st_uid, st.st_gid,
                                      st.st_mode & 07777u);
    return naru__fail(code, "%s: %s (%s) failed: %s%s", at->name, what, at->path,
                      naru__errno_text(code), naru__limit_of_files(code).text);
}

/* ---- what is there ---- */

static int check_kind(const struct naru_region_place *at, const struct stat *st)
{
    if (st->st_mode == 0)
        return 0;
    if (at->fixed->disk && S_ISDIR(st->st_mode))
        return naru__fail(
            -EISDIR, "%s is a directory, as queues and topics have; a region is a file", at->name);
    if (!S_ISREG(st->st_mode))
        return naru__fail(-EINVAL, "%s: %s stands there, not %s", at->name,
                          naru__file_kind(st->st_mode), at->fixed->disk ? "a file" : "memory");
    if (st->st_size == 0)
        return naru__fail(-EPROTO, "%s has 0 bytes: its maker has not called ftruncate yet",
                          at->name);
    return 0;
}

/* *ret_fd: it, or -ENOENT without a sentence. */
static int find(const struct naru_region_place *at, int flags, struct stat *ret_st)
{
    *ret_st = (struct stat){0};
    int fd = naru__os_open_file(at->path, flags | at->flags, ret_st);
    if (fd == -ENOENT)
        return fd;
    int r = fd >= 0 || fd == -EINVAL ? check_kind(at, ret_st) : 0;
    if (r < 0) {
        naru__os_close(fd);
        return r;
    }
    if (fd == -EBUSY)
        naru__fail(fd, "%s: somebody keeps it to itself (a lease, see fcntl(2))", at->name);
    else if (fd < 0)
        cannot(at, "opening it", fd);
    return fd;
}

static bool is_none(int code)
{
    return code == -EOPNOTSUPP || code == -ENOSYS || code == -ENOLCK || code == -EINVAL;
}

/* Without locks nobody could tell who lives, or make it longer beside others. */
static int check_locks(const char *name, int fd)
{
    int r = naru__os_lock_held(fd, NARU__REGION_LOCK);
    if (is_none(r))
        return naru__fail(-EOPNOTSUPP, "%s lies in %s, which has no locks on parts of files: %s",
                          name, naru__os_file_system(fd).name, naru__errno_text(r));
    return r < 0 ? naru__fail(r, "%s: asking for a lock failed: %s", name, naru__errno_text(r)) : 0;
}

/* ---- what its maker states ---- */

static int read_label(const char *name, int fd, struct naru_region_label *ret_label)
{
    char text[NARU_REGION_LABEL_ROOM];
    *ret_label = (struct naru_region_label){0};
    int r = naru__os_attribute(fd, NARU_REGION_ATTRIBUTE, text, sizeof text);
    if (r == 0)
        r = naru__region_label_parse(text, ret_label);
    else if (r == -ENODATA || r == -EOPNOTSUPP || r == -ENOSYS)
        return 0; /* another program's, or a file system without */
    if (r == -EPROTO || r == -ERANGE)
        return naru__fail(-EPROTO, "%s is a region of another version of naru's (its attribute %s)",
                          name, NARU_REGION_ATTRIBUTE);
    return r < 0 ? naru__fail(r, "%s: reading its attribute %s failed: %s", name,
                              NARU_REGION_ATTRIBUTE, naru__errno_text(r))
                 : 0;
}

static int write_label(const char *name, int fd, const struct naru_region_options *o)
{
    char text[NARU_REGION_LABEL_ROOM];
    if (!o->signature && !o->reserve)
        return 0;
    naru__region_label_write(text, &(struct naru_region_label){o->signature, o->reserve});
    int r = naru__os_set_attribute(fd, NARU_REGION_ATTRIBUTE, text);
    if (r == 0 || (is_none(r) && !o->signature)) /* without, each opener says how far it grows */
        return 0;
    if (is_none(r))
        return naru__fail(-EOPNOTSUPP,
                          "%s lies in %s, which keeps no attributes of files (user.*), so it has "
                          "no place for a signature",
                          name, naru__os_file_system(fd).name);
    return naru__fail(r, "%s: writing its attribute %s failed: %s", name, NARU_REGION_ATTRIBUTE,
                      naru__errno_text(r));
}

/* ---- opening ---- */

/* Takes fd. */
static int attach(const struct naru_region_place *at, int fd, int access, const struct stat *st,
                  const struct naru_region_options *o, naru_region **ret_r)
{
    naru_region *r;
    struct naru_region_label label = {0};
    int code = naru__region_new(sizeof *r, at->fixed, at->name, access, o, &r);
    if (code < 0) {
        naru__os_close(fd);
        return code;
    }
    r->fd = fd;
    if (at->fixed->disk) {
        code = naru__object_not_in_file(at->name, fd, "a region");
        if (code == 0)
            code = read_label(at->name, fd, &label);
        if (code == 0)
            code = check_locks(at->name, fd);
    }
    uint64_t reserve = o->reserve ? o->reserve : label.reserve;
    if (reserve)
        r->ops = at->growing;
    if (code == 0)
        code = naru__region_expect(at->name, o, (uint64_t)st->st_size, reserve, label.signature);
    if (code == 0 && !at->fixed->disk && access & NARU_WRITE)
        code = naru__region_fill(at->name, fd, (uint64_t)st->st_size);
    if (code == 0)
        code = naru__region_map(r, fd, reserve);
    if (code < 0)
        naru__region_free(r);
    else
        *ret_r = r;
    return code;
}

static int no_signature(const struct naru_region_place *at, const struct naru_region_options *o)
{
    if (!o->signature || at->fixed->disk)
        return 0;
    return naru__fail(-EOPNOTSUPP,
                      "%s carries its bytes alone and has no place for a signature; shm: and map: "
                      "have",
                      at->name);
}

int naru__region_place_open(const struct naru_region_place *at, int access,
                            const struct naru_region_options *o, naru_region **ret_r)
{
    struct stat st;
    int r = no_signature(at, o);
    if (r < 0)
        return r;
    bool writes = access & NARU_WRITE && !(o->flags & NARU_PRIVATE);
    int fd = find(at, writes ? O_RDWR : O_RDONLY, &st);
    if (fd == -ENOENT)
        return naru__fail(fd, "%s is not there", at->name);
    return fd < 0 ? fd : attach(at, fd, access, &st, o, ret_r);
}

/* ---- making ---- */

static int agrees(const struct naru_region_place *at, uint64_t size,
                  const struct naru_region_options *o, const struct stat *st)
{
    if (o->flags & NARU_EXCLUSIVE)
        return naru__fail(-EEXIST, "%s is there already, and NARU_EXCLUSIVE was given", at->name);
    if (o->mode && (o->mode & 07777) != (st->st_mode & 07777u))
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", at->name,
                          st->st_mode & 07777u, o->mode & 07777u);
    struct naru_region_options expected = {.bytes = (size_t)size};
    return naru__region_expect(at->name, &expected, (uint64_t)st->st_size, o->reserve, 0);
}

/* A file that nobody sees; aside: its path, "" if it has none. */
static int make_file(const struct naru_region_place *at, char aside[PATH_MAX], int *ret_fd)
{
    uint32_t number;
    aside[0] = '\0';
    int fd = naru__os_open_unnamed(at->directory);
    if (fd == -EOPNOTSUPP || fd == -EISDIR) {
        int r = naru__os_random(&number, sizeof number);
        if (r < 0)
            return naru__fail(r, "%s: no random name: %s", at->name, naru__errno_text(r));
        if (snprintf(aside, PATH_MAX, "%s/.naru-%08" PRIx32, at->directory, number) >= PATH_MAX)
            fd = -ENAMETOOLONG;
        else
            fd = naru__os_create_at(AT_FDCWD, aside, 0600);
        if (fd < 0)
            aside[0] = '\0';
    }
    if (fd < 0)
        return naru__fail(fd, "%s: no file in %s: %s%s", at->name, at->directory,
                          naru__errno_text(fd), naru__limit_of_files(fd).text);
    *ret_fd = fd;
    return 0;
}

/* -EEXIST without a sentence: somebody was faster. */
static int give_name(const struct naru_region_place *at, int fd, const char *aside)
{
    int r = aside[0] ? naru__os_rename_at(AT_FDCWD, aside, at->path) : naru__os_link(fd, at->path);
    if (r == -EINVAL && aside[0]) { /* it cannot rename without replacing */
        r = naru__os_link(fd, at->path);
        if (r == 0)
            (void)naru__os_unlink(aside);
    }
    return r < 0 && r != -EEXIST ? cannot(at, "giving it its name", r) : r;
}

static int fill(const struct naru_region_place *at, int fd, uint64_t size)
{
    if (!at->fixed->disk)
        return naru__region_fill(at->name, fd, size);
    int r = naru__os_extend(fd, 0, size);
    return r < 0 ? naru__region_no_room(at->name, fd, size, r) : 0;
}

/* As give_name(). */
static int make(const struct naru_region_place *at, uint64_t size,
                const struct naru_region_options *o, naru_region **ret_r)
{
    char aside[PATH_MAX] = "";
    naru_region *r;
    int code = naru__region_new(sizeof *r, o->reserve ? at->growing : at->fixed, at->name,
                                NARU_READ | NARU_WRITE, o, &r);
    if (code < 0)
        return code;
    code = make_file(at, aside, &r->fd);
    if (code == 0) {
        code = naru__os_chmod(r->fd, o->mode ? o->mode & 07777 : 0600);
        if (code < 0)
            cannot(at, "setting its mode", code);
    }
    if (code == 0)
        code = fill(at, r->fd, size);
    if (code == 0 && at->fixed->disk) {
        code = check_locks(at->name, r->fd);
        if (code == 0)
            code = write_label(at->name, r->fd, o);
    }
    if (code == 0)
        code = naru__region_map(r, r->fd, o->reserve);
    if (code == 0)
        code = give_name(at, r->fd, aside);
    if (code < 0) {
        if (aside[0])
            (void)naru__os_unlink(aside);
        naru__region_free(r);
    } else {
        *ret_r = r;
    }
    return code;
}

int naru__region_place_create(const struct naru_region_place *at, uint64_t size,
                              const struct naru_region_options *o, naru_region **ret_r)
{
    struct stat st;
    int r = no_signature(at, o);
    if (r < 0)
        return r;
    for (int tries = 0; tries < 100; tries++) { /* others may make and remove it meanwhile */
        int fd = find(at, O_RDWR, &st);
        if (fd >= 0) {
            r = agrees(at, size, o, &st);
            if (r < 0)
                naru__os_close(fd);
            return r < 0 ? r : attach(at, fd, NARU_READ | NARU_WRITE, &st, o, ret_r);
        }
        if (fd != -ENOENT)
            return fd;
        if (o->flags & NARU_EXISTING)
            return naru__fail(fd, "%s is not there, and NARU_EXISTING was given", at->name);
        r = make(at, size, o, ret_r);
        if (r != -EEXIST)
            return r;
    }
    return naru__fail(-EBUSY, "%s is made and removed all the time by somebody else", at->name);
}

int naru__region_place_remove(const struct naru_region_place *at)
{
    int r = naru__os_unlink(at->path);
    if (r == -ENOENT)
        return naru__fail(r, "%s is not there", at->name);
    return r < 0 ? cannot(at, "removing it", r) : 0;
}
