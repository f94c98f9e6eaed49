/* SPDX-License-Identifier: MIT */
/* region.c - what all regions have in common: being a handle, stating size and signature, and what
 * .flags ask of their pages. */
#include "region/region.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* Memory that a forked child has, too: there is nothing to undo. */
static int region_adopt(struct naru_handle *h)
{
    (void)h;
    return 0;
}

/* Another program gets the descriptor; this one keeps its own. */
static int region_pass(struct naru_handle *h, struct naru_passage *ret_passage)
{
    const naru_region *r = (const naru_region *)h;
    *ret_passage =
        (struct naru_passage){.noun = "region", .scheme = "shm", .fds = {r->fd, NARU__NO_FD}};
    return 0;
}

static void region_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const naru_region *r = (const naru_region *)h;
    stats->capacity = r->room;
}

static const struct naru_handle_ops nameless_ops = {
    .size = sizeof nameless_ops,
    .adopt = region_adopt,
    .pass = region_pass,
    .stats = region_stats,
};

static const struct naru_handle_ops named_ops = {
    .size = sizeof named_ops,
    .stats = region_stats,
};

int naru__region_new(size_t size, const struct naru_region_ops *ops, const char *name, int access,
                     const struct naru_region_options *o, naru_region **ret_r)
{
    naru_region *r = naru__alloc(size);
    if (!r)
        return -ENOMEM;
    int code = naru__handle_init(&r->handle, NARU__REGION,
                                 ops->nameless ? &nameless_ops : &named_ops, name, access);
    if (code < 0) {
        free(r);
        return code;
    }
    r->ops = ops;
    r->access = access;
    r->flags = o->flags;
    r->fd = NARU__NO_FD;
    *ret_r = r;
    return 0;
}

void naru__region_free(naru_region *r)
{
    r->ops->close(r);
    naru__handle_deinit(&r->handle);
    free(r);
}

int naru__region_expect(const char *name, const struct naru_region_options *o, uint64_t length,
                        uint64_t reserve, uint32_t signature)
{
    if (o->signature && o->signature != signature)
        return naru__fail(-EPROTO,
                          "%s: what lies in it has the signature %08" PRIx32 ", and %08" PRIx32
                          " is expected: it is another build's%s",
                          name, signature, o->signature,
                          signature ? "" : ", or its maker states none");
    if (o->bytes && (reserve ? length < o->bytes : length != o->bytes))
        return naru__fail(-EPROTO, "%s has %" PRIu64 " bytes, and %zu are expected%s", name, length,
                          o->bytes, reserve ? " at least" : "");
    return 0;
}

uint64_t naru__whole_pages(uint64_t bytes, uint64_t page)
{
    return bytes > UINT64_MAX - page ? UINT64_MAX / page * page : (bytes + page - 1) / page * page;
}

int naru__region_forbidden(const char *name, const char *what, int code, unsigned uid, unsigned gid,
                           unsigned mode)
{
    return naru__fail(code,
                      "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this is "
                      "uid %u",
                      name, what, uid, gid, mode, geteuid());
}

/* ---- what .flags ask for ---- */

int naru__region_alignment(const naru_region *r, uint64_t *ret_align)
{
    *ret_align = 0;
    if (!(r->flags & NARU_HUGE))
        return 0;
    uint64_t page = naru__huge_page();
    if (page == 0)
        return naru__fail(-EOPNOTSUPP,
                          "%s: this kernel has no huge pages (CONFIG_TRANSPARENT_HUGEPAGE)",
                          r->handle.name);
    if (r->length < page)
        return naru__fail(-EINVAL, "%s: %s do not fill one huge page, which is %s", r->handle.name,
                          naru__size_text(r->length).text, naru__size_text(page).text);
    *ret_align = page;
    return 0;
}

/* The pages are gathered into huge ones at once: advice alone would leave it to chance, and to
 * settings that are off nearly everywhere. */
static int make_huge(naru_region *r, uint64_t from, uint64_t to)
{
    uint64_t page = naru__huge_page();
    if (page == 0)
        return 0;
    from = from / page * page;
    to = to / page * page;
    if (from >= to)
        return 0;
    int code, tries = 0;
    do /* EAGAIN: a page was in use just then, and trying again may help (madvise(2)) */
        code = naru__os_advise(r->data + from, to - from, MADV_COLLAPSE);
    while (code == -EAGAIN && ++tries < 100);
    if (code == 0)
        return 0;
    if (code == -EINVAL)
        return naru__fail(
            -EOPNOTSUPP,
            "%s: the kernel makes no huge pages of it: that takes Linux 6.1 (MADV_COLLAPSE), "
            "a tmpfs such as /dev/shm, and that "
            "/sys/kernel/mm/transparent_hugepage/shmem_enabled is not deny",
            r->handle.name);
    return naru__fail(-ENOMEM,
                      "%s: no %s of memory lie together for a huge page: %s (`sysctl -w "
                      "vm.compact_memory=1` moves others together)",
                      r->handle.name, naru__size_text(page).text, naru__errno_text(code));
}

static int prefault(naru_region *r, uint64_t from, uint64_t to)
{
    bool writable = r->access & NARU_WRITE;
    int code = naru__os_advise(r->data + from, to - from,
                               writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    if (code == -EINVAL)
        return naru__fail(-EOPNOTSUPP,
                          "%s: this kernel cannot map it in advance (MADV_POPULATE, Linux 5.14)",
                          r->handle.name);
    return code < 0 ? naru__fail(-ENOMEM, "%s: mapping %s in advance failed: %s", r->handle.name,
                                 naru__size_text(to - from).text, naru__errno_text(code))
                    : 0;
}

static int lock(naru_region *r, uint64_t from, uint64_t to)
{
    int code = naru__os_lock_memory(r->data + from, to - from);
    return code < 0 ? naru__fail(code == -EAGAIN ? -ENOMEM : code,
                                 "%s: locking %s in memory failed: %s%s", r->handle.name,
                                 naru__size_text(to - from).text, naru__errno_text(code),
                                 naru__limit_of_locked(code, to - from).text)
                    : 0;
}

int naru__region_settle(naru_region *r, uint64_t from, uint64_t to)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    from = from / page * page;
    to = naru__whole_pages(to, page);
    int code = 0;
    if (r->flags & NARU_HUGE)
        code = make_huge(r, from, to);
    if (code == 0 && r->flags & NARU_LOCKED)
        code = lock(r, from, to);
    if (code == 0 && r->flags & NARU_PREFAULT)
        code = prefault(r, from, to);
    return code;
}
