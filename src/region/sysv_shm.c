/* SPDX-License-Identifier: MIT */
/* sysv_shm.c - `sysv-shm:`: a System V segment, its bytes and nothing else.
 *
 * It has no descriptor and never changes its size, so copying is memcpy. Removed (IPC_RMID), it
 * loses its key at once, and is gone when the last process has detached it. */
#include "base/error.h"
#include "base/text.h"
#include "core/names.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/sysv.h"
#include "region/region.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ipc.h>
#include <unistd.h>

struct place {
    const char *name;
    key_t key;
};

static int segment_read(const naru_region *r, uint64_t at, void *buf, size_t n)
{
    memcpy(buf, r->data + at, n);
    return 0;
}

static int segment_write(naru_region *r, uint64_t at, const void *buf, size_t n)
{
    memcpy(r->data + at, buf, n);
    return 0;
}

static void segment_close(naru_region *r)
{
    naru__os_shm_detach(r->data);
    r->data = NULL;
}

static const struct naru_region_ops ops = {
    .size = sizeof ops,
    .read = segment_read,
    .write = segment_write,
    .close = segment_close,
};

static int place_of(const struct naru_url *url, const struct naru_region_options *o,
                    struct place *ret_place)
{
    ret_place->name = url->text;
    int r = naru__sysv_key(url, "segment", &ret_place->key);
    if (r == 0 && o && o->reserve)
        r = naru__fail(-EOPNOTSUPP,
                       "%s: a System V segment keeps its size, and .reserve is %zu; shm: can grow",
                       url->text, o->reserve);
    if (r == 0 && o && o->signature)
        r = naru__fail(-EOPNOTSUPP,
                       "%s carries its bytes alone and has no place for a signature; shm: has",
                       url->text);
    return r;
}

static int cannot(const struct place *at, int id, const char *what, uint64_t size, int code)
{
    struct shmid_ds ds;
    if ((code == -EACCES || code == -EPERM) && id >= 0 && naru__os_shm_stat(id, &ds) == 0)
        return naru__region_forbidden(at->name, what, code, ds.shm_perm.uid, ds.shm_perm.gid,
                                      (unsigned)ds.shm_perm.mode & 0777u);
    struct naru_limit_text why = naru__limit_of_shm(code, size);
    if (code == -EINVAL && why.text[0]) /* beyond kernel.shmmax */
        code = -EMSGSIZE;
    if (code == -ENOMEM)
        why = naru__limit_of_memory(code, size);
    return naru__fail(code, "%s: %s failed: %s%s", at->name, what, naru__errno_text(code),
                      why.text);
}

/* ---- attaching ---- */

/* -EIDRM without a sentence: it was removed meanwhile. */
static int map(naru_region *r, const struct place *at, int id)
{
    uint64_t align;
    void *to = NULL, *memory;
    bool writable = r->access & NARU_WRITE;
    int code = naru__region_alignment(r, &align);
    if (code < 0)
        return code;
    if (align && (code = naru__os_map_nothing(r->mapped, align, &to)) < 0)
        return cannot(at, id, "address space for it", r->mapped, code);
    code = naru__os_shm_attach(id, writable, to, &memory);
    if (code < 0) {
        naru__os_unmap(to, r->mapped);
        return code == -EINVAL || code == -EIDRM ? -EIDRM
                                                 : cannot(at, id, "attaching it", r->mapped, code);
    }
    r->data = memory;
    return 0;
}

/* shmget has counted the memory, and the first touch would take it. */
static int take_memory(naru_region *r)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int code = naru__os_advise(r->data, r->mapped, MADV_POPULATE_WRITE);
    if (code == -EINVAL) { /* before Linux 5.14; it is new, so zeroes may be written into it */
        for (uint64_t at = 0; at < r->length; at += page)
            *(volatile unsigned char *)(r->data + at) = 0;
        return 0;
    }
    return code < 0 ? naru__fail(-ENOSPC, "%s: no memory for %s: %s%s", r->handle.name,
                                 naru__size_text(r->length).text, naru__errno_text(code),
                                 naru__limit_of_memory(-ENOMEM, r->length).text)
                    : 0;
}

static int attach(const struct place *at, int id, uint64_t size, int access, bool made,
                  const struct naru_region_options *o, naru_region **ret_r)
{
    naru_region *r;
    int code = naru__region_new(sizeof *r, &ops, at->name, access, o, &r);
    if (code < 0)
        return code;
    r->length = r->room = size;
    r->mapped = (size_t)naru__whole_pages(size, (uint64_t)sysconf(_SC_PAGESIZE));
    code = map(r, at, id);
    if (code == 0 && made)
        code = take_memory(r);
    if (code == 0)
        code = naru__region_settle(r, 0, size);
    if (code < 0)
        naru__region_free(r);
    else
        *ret_r = r;
    return code;
}

/* ---- what is there ---- */

/* The id, if this user may do with it what `access` is; -ENOENT without a sentence. */
static int find(const struct place *at, int access, uint64_t *ret_size, unsigned *ret_mode)
{
    struct shmid_ds ds;
    int id = naru__os_shm_get(at->key, 0, 0);
    if (id == -ENOENT)
        return id;
    if (id < 0)
        return cannot(at, -1, "finding the segment", 0, id);
    int r = naru__os_shm_get(at->key, 0, 0400 | (access & NARU_WRITE ? 0200 : 0));
    if (r >= 0) {
        id = r;
        r = naru__os_shm_stat(id, &ds);
    }
    if (r == -ENOENT || r == -EIDRM || r == -EINVAL) /* removed meanwhile */
        return -ENOENT;
    if (r < 0)
        return cannot(at, id, "opening the segment", 0, r);
    *ret_size = ds.shm_segsz;
    *ret_mode = (unsigned)ds.shm_perm.mode & 0777u;
    return id;
}

static int open_region(const struct naru_url *url, int access, const struct naru_region_options *o,
                       naru_region **ret_r)
{
    struct place at;
    uint64_t size;
    unsigned mode;
    int r = place_of(url, o, &at);
    if (r < 0)
        return r;
    int id = find(&at, access, &size, &mode);
    if (id >= 0) {
        r = naru__region_expect(at.name, o, size, 0, 0);
        id = r < 0 ? r : attach(&at, id, size, access, false, o, ret_r);
    }
    return id == -ENOENT || id == -EIDRM ? naru__fail(-ENOENT, "%s is not there", at.name) : id;
}

/* ---- making ---- */

static int agrees(const struct place *at, uint64_t size, const struct naru_region_options *o,
                  uint64_t has, unsigned mode)
{
    if (o->flags & NARU_EXCLUSIVE)
        return naru__fail(-EEXIST, "%s is there already, and NARU_EXCLUSIVE was given", at->name);
    if (o->mode && (o->mode & 0777u) != mode)
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", at->name,
                          mode, o->mode & 0777u);
    struct naru_region_options expected = {.bytes = (size_t)size};
    return naru__region_expect(at->name, &expected, has, 0, 0);
}

/* -EEXIST, -EIDRM without a sentence: somebody was faster. */
static int make(const struct place *at, uint64_t size, const struct naru_region_options *o,
                naru_region **ret_r)
{
    int mode = o->mode ? (int)(o->mode & 0777) : 0600;
    int id = naru__os_shm_get(at->key, (size_t)size, IPC_CREAT | IPC_EXCL | mode);
    if (id == -EEXIST)
        return id;
    if (id == -EINVAL && size > SIZE_MAX / 2)
        id = -ENOMEM;
    if (id < 0)
        return cannot(at, -1, "creating the segment", size, id);
    int r = attach(at, id, size, NARU_READ | NARU_WRITE, true, o, ret_r);
    if (r < 0)
        (void)naru__os_shm_remove(id);
    return r;
}

static int create_region(const struct naru_url *url, uint64_t size,
                         const struct naru_region_options *o, naru_region **ret_r)
{
    struct place at;
    uint64_t has;
    unsigned mode;
    int r = place_of(url, o, &at);
    if (r < 0)
        return r;
    for (int tries = 0; tries < 100; tries++) { /* others may make and remove it meanwhile */
        int id = find(&at, NARU_READ | NARU_WRITE, &has, &mode);
        if (id == -ENOENT && o->flags & NARU_EXISTING)
            return naru__fail(id, "%s is not there, and NARU_EXISTING was given", at.name);
        if (id < 0 && id != -ENOENT)
            return id;
        if (id == -ENOENT) {
            r = make(&at, size, o, ret_r);
        } else {
            r = agrees(&at, size, o, has, mode);
            if (r == 0)
                r = attach(&at, id, has, NARU_READ | NARU_WRITE, false, o, ret_r);
        }
        if (r != -EIDRM && (r != -EEXIST || id >= 0))
            return r;
    }
    return naru__fail(-EBUSY, "%s is made and removed all the time by somebody else", at.name);
}

static int remove_region(const struct naru_url *url)
{
    struct place at;
    int r = place_of(url, NULL, &at);
    if (r < 0)
        return r;
    int id = naru__os_shm_get(at.key, 0, 0);
    r = id < 0 ? id : naru__os_shm_remove(id);
    if (r == -ENOENT || r == -EIDRM || (id >= 0 && r == -EINVAL))
        return naru__fail(-ENOENT, "%s is not there", at.name);
    return r < 0 ? cannot(&at, id, "removing it", 0, r) : 0;
}

const struct naru_region_kind naru__sysv_shm_region = {
    .size = sizeof naru__sysv_shm_region,
    .scheme = "sysv-shm",
    .create = create_region,
    .open = open_region,
    .remove = remove_region,
};
