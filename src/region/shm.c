/* SPDX-License-Identifier: MIT */
/* shm.c - `shm:`: memory with a name, an object that keeps the region's bytes in its file `data`.
 *
 * What it states lies in its meta (shm/region.h). Whoever has it open is a member, so that others
 * can see who. */
#include "base/error.h"
#include "base/process.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "region/region.h"
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

enum { SIGNATURE = NARU_REGION_SIGNATURE, SIZE = NARU_REGION_SIZE, RESERVE = NARU_REGION_RESERVE };

static const char data_name[] = "data";

struct named {
    naru_region region;
    struct naru_object object;
    uint64_t process; /* which is the member; a forked child is none */
};

static void named_close(naru_region *r)
{
    struct named *n = (struct named *)r;
    if (n->process == naru__process())
        naru__object_leave(&n->object);
    naru__object_close(&n->object);
    naru__region_file_close(r);
}

static const struct naru_region_ops ops = {
    .size = sizeof ops,
    .share = naru__region_file_share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = named_close,
};

static const struct naru_region_ops growing_ops = {
    .size = sizeof growing_ops,
    .length = naru__region_file_length,
    .grow = naru__region_file_grow,
    .share = naru__region_file_share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = named_close,
};

/* ---- opening the object ---- */

struct opening {
    const char *name;
    uint64_t size; /* creating: the size; else 0 */
    const struct naru_region_options *o;
    naru_region *r; /* to be mapped */
};

/* All but taking part comes before it has its name, so that a failure leaves nothing. Another maker
 * may be faster, and then it is done again, or what the other made is opened. */
static int make(struct naru_object *object, void *arg)
{
    struct opening *w = arg;
    naru__region_file_close(w->r);
    int fd = naru__object_file(object, data_name, w->size);
    return fd < 0 ? fd : naru__region_map(w->r, fd, w->o->reserve);
}

static int agree(const struct naru_object *object, void *arg)
{
    const struct opening *w = arg;
    const uint64_t *option = object->meta.option;
    if (option[RESERVE] && option[RESERVE] < option[SIZE])
        return naru__fail(-EPROTO,
                          "%s: its meta is damaged: it may grow to %" PRIu64 " bytes and "
                          "was made with %" PRIu64,
                          w->name, option[RESERVE], option[SIZE]);
    if (w->o->reserve && w->o->reserve != option[RESERVE])
        return naru__fail(-EEXIST, "%s may grow to %" PRIu64 " bytes, and .reserve asks for %zu",
                          w->name, option[RESERVE], w->o->reserve);
    struct naru_region_options made = {.bytes = (size_t)w->size, .signature = w->o->signature};
    return naru__region_expect(w->name, &made, option[SIZE], 0, (uint32_t)option[SIGNATURE]);
}

/* ---- the data ---- */

static int open_data(struct named *n, const struct opening *w)
{
    naru_region *r = &n->region;
    const uint64_t *option = n->object.meta.option;
    struct stat st;
    naru__region_file_close(r);
    int fd =
        naru__os_open_at(n->object.directory, data_name,
                         (r->access & NARU_WRITE ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -ENOENT && naru__object_removed(&n->object))
        return naru__object_removed_fail(&n->object);
    r->fd = fd;
    int code = fd < 0 ? fd : naru__os_fstat(fd, &st);
    if (code < 0)
        return naru__fail(code == -ENOENT || code == -ELOOP ? -EPROTO : code,
                          "%s: opening its data failed: %s%s", w->name, naru__errno_text(code),
                          naru__limit_of_files(code).text);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < option[SIZE])
        return naru__fail(-EPROTO,
                          "%s: its data is %s of %" PRIu64 " bytes, and was made with %" PRIu64,
                          w->name, naru__file_kind(st.st_mode), (uint64_t)st.st_size, option[SIZE]);
    return w->size ? 0
                   : naru__region_expect(w->name, w->o, (uint64_t)st.st_size, option[RESERVE],
                                         (uint32_t)option[SIGNATURE]);
}

static int attach(struct named *n, const struct opening *w)
{
    naru_region *r = &n->region;
    const uint64_t *option = n->object.meta.option;
    int code = n->object.created ? 0 : open_data(n, w);
    if (code == 0 && !n->object.created)
        code = naru__region_map(r, r->fd, option[RESERVE]);
    if (code < 0)
        return code;
    if (option[RESERVE])
        r->ops = &growing_ops;
    else
        r->room = r->length = option[SIZE];
    code = naru__object_join(&n->object, NULL);
    if (code == 0)
        naru__object_appear(&n->object, (uint32_t)r->access);
    return code;
}

static int open_once(const struct naru_url *url, int access, const struct naru_object_want *want,
                     struct opening *w, naru_region **ret_r)
{
    int code = naru__region_new(sizeof(struct named), &ops, url->text, access, w->o, &w->r);
    if (code < 0)
        return code;
    struct named *n = (struct named *)w->r;
    n->object = NARU_OBJECT_NONE;
    n->process = naru__process();
    code = naru__object_open(url, want, &n->object);
    if (code == 0) {
        n->object.url = w->r->handle.name;
        code = attach(n, w);
        if (code < 0 && n->object.created && !naru__object_removed(&n->object))
            (void)naru__object_remove(url);
    }
    if (code < 0)
        naru__region_free(w->r);
    else
        *ret_r = w->r;
    return code;
}

static int open_named(const struct naru_url *url, int access, uint64_t size,
                      const struct naru_region_options *o, naru_region **ret_r)
{
    enum { TRIES = 100 };
    struct opening w = {.name = url->text, .size = size, .o = o};
    struct naru_object_want want = {
        .what = NARU_OBJECT_REGION,
        .signature = NARU_REGION_LAYOUT,
        .members_max = NARU_OBJECT_MEMBERS_MAX,
        .flags = size ? o->flags & (NARU_EXCLUSIVE | NARU_EXISTING) : NARU_EXISTING,
        .mode = o->mode,
        .option = {[SIGNATURE] = o->signature, [SIZE] = size, [RESERVE] = o->reserve},
        .make = make,
        .agree = agree,
        .arg = &w,
    };
    int code = -EIDRM;
    for (int i = 0; i < TRIES && code == -EIDRM; i++) /* it was just being removed */
        code = open_once(url, access, &want, &w, ret_r);
    return code;
}

static int create_region(const struct naru_url *url, uint64_t size,
                         const struct naru_region_options *o, naru_region **ret_r)
{
    return open_named(url, NARU_READ | NARU_WRITE, size, o, ret_r);
}

static int open_region(const struct naru_url *url, int access, const struct naru_region_options *o,
                       naru_region **ret_r)
{
    return open_named(url, access, 0, o, ret_r);
}

const struct naru_region_kind naru__shm_region = {
    .size = sizeof naru__shm_region,
    .scheme = "shm",
    .create = create_region,
    .open = open_region,
};
