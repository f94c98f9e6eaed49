/* SPDX-License-Identifier: MIT */
/* region.c - naru/region.h: checks, then the kind; and the table of kinds. */
#include "api/regions.h"

#include "api/inherit.h"
#include "api/transports.h"
#include "base/error.h"
#include "core/kinds.h"
#include "os/fd.h"
#include "os/map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const struct naru_region_kind *const kinds[] = {
    &naru__shm_region,
    &naru__posix_shm_region,
    &naru__sysv_shm_region,
    &naru__map_region,
};

const struct naru_region_kind *naru__region_kind(const char *scheme)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->scheme, scheme) == 0)
            return kinds[i];
    return NULL;
}

/* ---- opening ---- */

static int find_kind(const char *text, struct naru_url *ret_url,
                     const struct naru_region_kind **ret_kind)
{
    int r = naru__url_of(text, NARU_NOUN_REGION, ret_url);
    if (r < 0)
        return r;
    *ret_kind = naru__region_kind(ret_url->scheme);
    return *ret_kind ? 0 : naru__fail(-EOPNOTSUPP, "%s is not in this build", text);
}

static int check_options(const struct naru_region_options *o, unsigned flags)
{
    int r = naru__check_options(o, sizeof *o, "naru_region_options");
    if (r < 0 || !o)
        return r;
    flags |= NARU_HUGE | NARU_LOCKED | NARU_PREFAULT;
    if (o->flags & ~flags)
        return naru__fail(-EINVAL,
                          "naru_region_options.flags has 0x%x, which this call does not "
                          "know",
                          o->flags & ~flags);
    if (o->mode & ~(mode_t)07777)
        return naru__fail(-EINVAL, "naru_region_options.mode is %#o", o->mode);
    return 0;
}

static int check_access(int access)
{
    if (access == NARU_READ || access == (NARU_READ | NARU_WRITE))
        return 0;
    return naru__fail(-EINVAL,
                      "access %d to a region is neither NARU_READ nor NARU_READ | NARU_WRITE: "
                      "memory that can be written can be read",
                      access);
}

int naru_region_create(const char *text, size_t bytes, const struct naru_region_options *options,
                       naru_region **ret_region)
{
    struct naru_url url;
    const struct naru_region_kind *kind = NULL;
    int r = check_options(options, NARU_EXCLUSIVE | NARU_EXISTING);
    if (r == 0 && text && strcmp(text, "shm:") != 0)
        r = find_kind(text, &url, &kind);
    if (r < 0)
        return r;
    const struct naru_region_options *o = NARU_OPTIONS(naru_region_options, options);
    if (bytes == 0 || (o->bytes && o->bytes != bytes))
        return naru__fail(-EINVAL, "a region of %zu bytes is asked for%s", bytes,
                          bytes ? ", and .bytes expects another size" : "");
    if (o->reserve && o->reserve < bytes)
        return naru__fail(-EINVAL, ".reserve is %zu, and the region has %zu bytes at once",
                          o->reserve, bytes);
    return kind ? kind->create(&url, bytes, o, ret_region)
                : naru__region_unnamed(bytes, o, ret_region);
}

int naru_region_open(const char *text, int access, const struct naru_region_options *options,
                     naru_region **ret_region)
{
    struct naru_url url;
    const struct naru_region_kind *kind;
    int r = check_options(options, NARU_EXISTING | NARU_PRIVATE);
    if (r == 0)
        r = check_access(access);
    if (r == 0)
        r = find_kind(text, &url, &kind);
    if (r < 0)
        return r;
    if (options && options->flags & NARU_PRIVATE && kind != &naru__map_region)
        return naru__fail(-EOPNOTSUPP, "%s: NARU_PRIVATE is for map:", text);
    if (strcmp(text, "shm:") == 0)
        return naru__fail_static(-EINVAL, "shm: names no region: one without a name is opened by "
                                          "the descriptor that was handed over "
                                          "(naru_region_from_fd)");
    return kind->open(&url, access, NARU_OPTIONS(naru_region_options, options), ret_region);
}

int naru_region_from_fd(int fd, int access, const struct naru_region_options *options,
                        naru_region **ret_region)
{
    int r = check_options(options, NARU_EXISTING);
    if (r == 0)
        r = check_access(access);
    return r < 0 ? r
                 : naru__region_received("shm:", fd, access,
                                         NARU_OPTIONS(naru_region_options, options), ret_region);
}

int naru_region_inherit(const char *name, int access, const struct naru_region_options *options,
                        naru_region **ret_region)
{
    struct naru_inherited end;
    int r = check_options(options, NARU_EXISTING);
    if (r == 0)
        r = check_access(access);
    if (r == 0)
        r = naru__inherited(name, "region", &end);
    if (r == 0)
        r = naru__region_received("shm:", end.fds[0], access,
                                  NARU_OPTIONS(naru_region_options, options), ret_region);
    if (r < 0)
        return r;
    naru__os_close(end.fds[0]); /* it was copied */
    naru__inherited_done(&end);
    return 0;
}

/* ---- using ---- */

void *naru_region_data(const naru_region *r)
{
    return naru__enter(r, NARU__REGION) < 0 ? NULL : r->data;
}

static int length_of(const naru_region *r, uint64_t *ret_length)
{
    if (r->ops->length)
        return r->ops->length(r, ret_length);
    *ret_length = r->length;
    return 0;
}

size_t naru_region_size(const naru_region *r)
{
    uint64_t length;
    return naru__enter(r, NARU__REGION) < 0 || length_of(r, &length) < 0 ? 0 : (size_t)length;
}

/* Of this process, and nothing was touched that was not there. */
static int enter_whole(const naru_region *r)
{
    int code = naru__enter(r, NARU__REGION);
    return code < 0 ? code : naru__region_mend((naru_region *)(uintptr_t)r);
}

/* And [offset, offset + n) lies in it. */
static int enter(const naru_region *r, const char *what, size_t offset, size_t n)
{
    uint64_t length;
    int code = enter_whole(r);
    if (code == 0)
        code = length_of(r, &length);
    if (code < 0)
        return code;
    if (offset > length || n > length - offset)
        return naru__fail(-EINVAL, "%s: %s %zu bytes at %zu, and it has %" PRIu64, r->handle.name,
                          what, n, offset, length);
    return 0;
}

/* Without asking the kernel. */
static bool known_to_lie(const naru_region *r, uint64_t at, uint64_t n)
{
    uint64_t length = r->length;
    if (r->ops->length) /* relaxed: a bound for this process's own addresses; it guards no memory */
        length = atomic_load_explicit(&r->known, memory_order_relaxed);
    return at <= length && n <= length - at;
}

/* ---- offsets ---- */

void *naru_region_at(const naru_region *r, naru_off at, size_t n, size_t align)
{
    if (naru__enter_fast(r, NARU__REGION) < 0)
        return NULL;
    uint64_t length = UINT64_MAX;
    if (!known_to_lie(r, at, n) && length_of(r, &length) < 0)
        return NULL;
    if (at == NARU_OFF_NONE)
        naru__fail(-EINVAL, "%s: offset 0 is none, and nothing lies there", r->handle.name);
    else if (at > length || n > length - at)
        naru__fail(-EINVAL, "%s: %zu bytes at offset %" PRIu64 ", and it has %" PRIu64,
                   r->handle.name, n, at, length);
    else if (align && at % align != 0) /* as it lies at the beginning of a page */
        naru__fail(-EINVAL, "%s: offset %" PRIu64 " is no multiple of %zu", r->handle.name, at,
                   align);
    else
        return r->data + at;
    return NULL;
}

naru_off naru_region_off(const naru_region *r, const void *p)
{
    if (!p || naru__enter(r, NARU__REGION) < 0)
        return NARU_OFF_NONE;
    uintptr_t at = (uintptr_t)p - (uintptr_t)r->data;
    if ((uintptr_t)p > (uintptr_t)r->data && at < r->room)
        return at;
    naru__fail(-EINVAL, "%s: the pointer does not lie in it", r->handle.name);
    return NARU_OFF_NONE;
}

static int read_only(const naru_region *r)
{
    return naru__fail(-EPERM, "%s was opened for reading", r->handle.name);
}

int naru_region_grow(naru_region *r, size_t bytes)
{
    int code = enter_whole(r);
    if (code < 0)
        return code;
    if (!r->ops->grow)
        return naru__fail(-EOPNOTSUPP,
                          "%s keeps its size, %" PRIu64 " bytes: what is to grow is made with "
                          ".reserve, where the kind can",
                          r->handle.name, r->length);
    if (!(r->access & NARU_WRITE))
        return read_only(r);
    if (bytes > r->room)
        return naru__fail(-EMSGSIZE, "%s cannot grow to %zu bytes: .reserve is %" PRIu64,
                          r->handle.name, bytes, r->room);
    return r->ops->grow(r, bytes);
}

int naru_region_shrink(naru_region *r, size_t bytes)
{
    uint64_t length;
    int code = enter_whole(r);
    if (code < 0)
        return code;
    if (!r->ops->shrink)
        return naru__fail(-EOPNOTSUPP,
                          r->ops->disk ? "%s was opened with NARU_PRIVATE, and keeps its size"
                                       : "%s is never made shorter: others may have it before "
                                         "them, and would die at touching what is gone; "
                                         "NARU_ADVICE_FREE gives memory back",
                          r->handle.name);
    if (!(r->access & NARU_WRITE))
        return read_only(r);
    code = length_of(r, &length);
    if (code < 0 || bytes == length)
        return code;
    if (bytes == 0 || bytes > length)
        return naru__fail(-EINVAL, "%s has %" PRIu64 " bytes, and cannot be made %zu bytes short",
                          r->handle.name, length, bytes);
    return r->ops->shrink(r, bytes);
}

int naru_region_share(const naru_region *r, int access, int *ret_fd)
{
    int code = enter_whole(r);
    if (code == 0)
        code = check_access(access);
    if (code < 0)
        return code;
    if (!r->ops->share)
        return naru__fail(
            -EOPNOTSUPP,
            r->flags & NARU_PRIVATE
                ? "%s was opened with NARU_PRIVATE: what it shows is this handle's own"
                : "%s has no descriptor: a System V segment is found by its key alone",
            r->handle.name);
    if (access & ~r->access)
        return read_only(r);
    return r->ops->share(r, access, ret_fd);
}

static const struct {
    int advice;
    bool changes; /* what lies there, for everybody */
} advices[] = {
    [NARU_ADVICE_NORMAL] = {MADV_NORMAL, false},
    [NARU_ADVICE_SEQUENTIAL] = {MADV_SEQUENTIAL, false},
    [NARU_ADVICE_RANDOM] = {MADV_RANDOM, false},
    [NARU_ADVICE_NEEDED] = {MADV_WILLNEED, false},
    [NARU_ADVICE_UNNEEDED] = {MADV_COLD, false},
    [NARU_ADVICE_HUGE] = {MADV_HUGEPAGE, false},
    [NARU_ADVICE_FREE] = {MADV_REMOVE, true},
};

int naru_region_advise(naru_region *r, size_t offset, size_t n, int advice)
{
    int code = enter(r, "advising about", offset, n);
    if (code < 0)
        return code;
    if (advice < 0 || (size_t)advice >= sizeof advices / sizeof *advices)
        return naru__fail(-EINVAL, "naru_region_advise: %d is no advice of naru's", advice);
    bool changes = advices[advice].changes;
    if (changes && !(r->access & NARU_WRITE))
        return read_only(r);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), end = offset + n;
    size_t from = changes ? (size_t)naru__whole_pages(offset, page) : offset / page * page;
    size_t to = changes ? end / page * page : (size_t)naru__whole_pages(end, page);
    if (from >= to)
        return 0;
    code = naru__os_advise(r->data + from, to - from, advices[advice].advice);
    if (code == -EPERM)
        return naru__fail(code, "%s: it was shared for reading, so nothing of it can be given back",
                          r->handle.name);
    return code < 0 ? naru__fail(code, "%s: the kernel does not take this advice: %s",
                                 r->handle.name, naru__errno_text(code))
                    : 0;
}

int naru_region_sync(naru_region *r, size_t offset, size_t n, int how)
{
    int code = enter(r, "syncing", offset, n);
    if (code < 0)
        return code;
    if (how < NARU_SYNC_ASYNC || how > NARU_SYNC_FULL)
        return naru__fail(-EINVAL, "naru_region_sync: %d is no way of syncing", how);
    if (!r->ops->sync)
        return naru__fail(-EOPNOTSUPP,
                          "%s lies in memory, and nothing makes that survive a restart; map: does",
                          r->handle.name);
    return r->ops->sync(r, offset, n, how);
}

int naru_region_read(const naru_region *r, size_t offset, void *buf, size_t n)
{
    int code = enter_whole(r);
    if (code < 0)
        return code;
    if (known_to_lie(r, offset, n)) {
        code = r->ops->read(r, offset, buf, n);
        if (code != -EPROTO) /* else it is not as long as it was */
            return code;
    }
    code = enter(r, "reading", offset, n);
    return code < 0 ? code : r->ops->read(r, offset, buf, n);
}

int naru_region_write(naru_region *r, size_t offset, const void *buf, size_t n)
{
    int code = enter(r, "writing", offset, n);
    if (code == 0 && !(r->access & NARU_WRITE))
        code = read_only(r);
    return code < 0 ? code : r->ops->write(r, offset, buf, n);
}

int naru_guard(bool on)
{
    return naru__region_guard(on);
}

naru_region *naru_region_close(naru_region *r)
{
    if (r)
        naru__region_free(r);
    return NULL;
}
