/* SPDX-License-Identifier: MIT */
/* file.c - regions that are a file, whether it has a name or none.
 *
 * The address space for growth is mapped at once, as far as the region may ever become: what the
 * file does not have yet is no memory, and what anybody adds is there, at its place, in every
 * process that has it mapped, without anyone's doing. */
#include "os/file.h"
#include "base/error.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/map.h"
#include "region/region.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 30 }; /* one call copies no more than 2 GiB */

static const char *name_of(const naru_region *r)
{
    return r->handle.name;
}

/* ---- pages ---- */

int naru__region_no_room(const char *name, int fd, uint64_t size, int code)
{
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int r = naru__os_read_link(link, path, sizeof path);
    char *end = r == 0 && strncmp(path, "/memfd:", 7) != 0 ? strrchr(path, '/') : NULL;
    if (end)
        end[end == path] = '\0'; /* the directory that it lies in */
    struct naru_limit_text why =
        end ? naru__limit_of_room(code, path, size) : naru__limit_of_memory(code, size);
    return naru__fail(code, "%s: no %s for %s: %s%s", name,
                      end && strncmp(path, "/dev/shm", 8) != 0 ? "room" : "memory",
                      naru__size_text(size).text, naru__errno_text(code), why.text);
}

int naru__region_fill(const char *name, int fd, uint64_t size)
{
    int r = naru__os_allocate(fd, size);
    return r < 0 ? naru__region_no_room(name, fd, size, r) : 0;
}

/* The same where it may only be read. */
static int read_holes(naru_region *r, const struct stat *st, uint64_t page)
{
    if (r->ops->disk || r->access & NARU_WRITE || (uint64_t)st->st_blocks * 512 >= r->length)
        return 0;
    int code = naru__os_advise(r->data, naru__whole_pages(r->length, page), MADV_POPULATE_READ);
    if (code == 0 || code == -EINVAL) /* EINVAL: before Linux 5.14 */
        return 0;
    return naru__fail(-ENOSPC, "%s has holes, and there is no memory for them: %s", name_of(r),
                      naru__errno_text(code));
}

static int cannot_map(const naru_region *r, int code)
{
    if (r->ops->disk && (code == -ENODEV || code == -EINVAL || code == -EOPNOTSUPP))
        return naru__fail(-EOPNOTSUPP,
                          "%s lies in %s, which has no mappings that processes share; a file of "
                          "another file system can be mapped",
                          name_of(r), naru__os_file_system(r->fd).name);
    if (code == -EPERM || code == -EACCES)
        return naru__fail(-EPERM,
                          "%s may only be read, by its descriptor or its seals: open it with "
                          "NARU_READ",
                          name_of(r));
    return naru__fail(code, "%s: mapping %s failed: %s%s", name_of(r),
                      naru__size_text(r->room).text, naru__errno_text(code),
                      naru__limit_of_memory(code, r->room).text);
}

int naru__region_map(naru_region *r, int fd, uint64_t reserve)
{
    struct stat st;
    uint64_t align;
    void *memory;
    r->fd = fd;
    int code = naru__os_fstat(fd, &st);
    if (code < 0)
        return naru__fail(code, "%s: looking at it failed: %s", name_of(r), naru__errno_text(code));
    r->length = (uint64_t)st.st_size;
    r->room = reserve > r->length ? reserve : r->length;
    code = naru__region_alignment(r, &align);
    if (code < 0)
        return code;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!r->ops->disk && (uint64_t)st.st_blksize > page)
        page = (uint64_t)st.st_blksize;
    uint64_t whole = naru__whole_pages(r->room, page);
    bool writable = r->access & NARU_WRITE;
    code = r->flags & NARU_PRIVATE ? naru__os_map_private(fd, whole, writable, &memory)
           : align                 ? naru__os_map_aligned(fd, whole, writable, align, &memory)
                                   : naru__os_map(fd, whole, writable, &memory);
    if (code < 0)
        return cannot_map(r, code);
    r->data = memory;
    r->mapped = (size_t)whole;
    atomic_store_explicit(&r->known, r->length, memory_order_relaxed);
    code = r->ops->nameless ? 0 : naru__region_watch(r); /* sealed: nobody takes it away */
    if (code == 0)
        code = read_holes(r, &st, page);
    return code < 0 ? code : naru__region_settle(r, 0, r->length);
}

int naru__region_map_over(naru_region *r, uint64_t from, uint64_t to)
{
    int code = naru__os_map_over(r->data + from, r->fd, from, to - from, r->access & NARU_WRITE);
    return code < 0 ? cannot_map(r, code) : 0;
}

/* ---- size ---- */

int naru__region_file_length(const naru_region *r, uint64_t *ret_length)
{
    struct stat st;
    int code = naru__os_fstat(r->fd, &st);
    if (code < 0)
        return naru__fail(code, "%s: asking for its size failed: %s", name_of(r),
                          naru__errno_text(code));
    *ret_length = (uint64_t)st.st_size > r->room ? r->room : (uint64_t)st.st_size;
    /* relaxed: a bound for this process's own addresses, and it guards no memory */
    atomic_store_explicit(&((naru_region *)(uintptr_t)r)->known, *ret_length, memory_order_relaxed);
    return 0;
}

int naru__region_file_grow(naru_region *r, uint64_t size)
{
    uint64_t is;
    int code = naru__region_file_length(r, &is);
    if (code < 0 || size <= is)
        return code;
    code = naru__os_allocate(r->fd, size);
    if (code == -EPERM)
        return naru__fail(code, "%s: somebody has sealed it against growing (F_SEAL_GROW)",
                          name_of(r));
    if (code < 0)
        return naru__region_no_room(name_of(r), r->fd, size, code);
    return naru__region_settle(r, is, size);
}

/* ---- sharing ---- */

int naru__region_file_share(const naru_region *r, int access, int *ret_fd)
{
    if (!(access & NARU_WRITE))
        return naru__fail(-EOPNOTSUPP,
                          "%s has a name: whoever may open it for writing could do so with a "
                          "descriptor for reading, too. Its mode decides; memory without a name "
                          "can be shared for reading alone",
                          name_of(r));
    int fd = naru__os_duplicate(r->fd);
    if (fd < 0)
        return naru__fail(fd, "%s: no descriptor: %s%s", name_of(r), naru__errno_text(fd),
                          naru__limit_of_files(fd).text);
    *ret_fd = fd;
    return 0;
}

/* ---- copying ---- */

/* code 0: it ends before. */
static int copy_failed(const naru_region *r, const char *what, uint64_t at, size_t n, int code)
{
    if (code == 0)
        return naru__fail(-EPROTO,
                          "%s: %s %zu bytes at %" PRIu64 ": they are not there any more; somebody "
                          "has made it shorter",
                          name_of(r), what, n, at);
    if (code == -ENOSPC || code == -EDQUOT)
        return naru__region_no_room(name_of(r), r->fd, n, code);
    return naru__fail(code, "%s: %s %zu bytes at %" PRIu64 " failed: %s", name_of(r), what, n, at,
                      naru__errno_text(code));
}

int naru__region_file_read(const naru_region *r, uint64_t at, void *buf, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t piece = n - done < PIECE ? n - done : PIECE;
        ssize_t got = naru__os_read_some_at(r->fd, (char *)buf + done, piece, at + done);
        if (got <= 0)
            return copy_failed(r, "reading", at + done, piece, (int)got);
        done += (size_t)got;
    }
    return 0;
}

/* A file that is sealed for readers refuses every write but those by whoever had it mapped before.
 * By then nobody can shorten it or take pages out of it any more, so once all are there it cannot
 * go. */
static int write_sealed(naru_region *r, uint64_t at, const void *buf, size_t n)
{
    uint64_t size;
    /* relaxed: only saves doing it again */
    if (!atomic_load_explicit(&r->whole, memory_order_relaxed)) {
        int code = naru__region_file_length(r, &size);
        if (code == 0)
            code = naru__region_fill(name_of(r), r->fd, size);
        if (code < 0)
            return code;
        atomic_store_explicit(&r->whole, true, memory_order_relaxed);
    }
    memcpy(r->data + at, buf, n);
    return 0;
}

int naru__region_file_write(naru_region *r, uint64_t at, const void *buf, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t piece = n - done < PIECE ? n - done : PIECE;
        ssize_t put = naru__os_write_some_at(r->fd, (const char *)buf + done, piece, at + done);
        if (put == -EPERM && !r->ops->disk)
            return write_sealed(r, at + done, (const char *)buf + done, n - done);
        if (put <= 0)
            return copy_failed(r, "writing", at + done, piece, put ? (int)put : -ENOSPC);
        done += (size_t)put;
    }
    return 0;
}

void naru__region_file_close(naru_region *r)
{
    naru__region_unwatch(r);
    naru__os_unmap(r->data, r->mapped);
    r->data = NULL;
    r->fd = naru__os_close(r->fd);
}
