/* SPDX-License-Identifier: MIT */
/* unnamed.c - memory without a name: a sealed memfd that goes with its last holder. What a receiver
 * has to know stands in the memfd's own name (shm/region.h). */
#include "base/error.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/map.h"
#include "region/region.h"
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* include/uapi/linux/fcntl.h, Linux 5.1 */
#endif

/* 0: it is naru's; -ENOENT: another program's memory. */
static int read_label(int fd, struct naru_region_label *ret_label)
{
    char link[40], text[128];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int r = naru__os_read_link(link, text, sizeof text);
    return r < 0 ? r : naru__region_label_read(text, ret_label);
}

/* ---- sharing ---- */

static int share_for_reading(const naru_region *r, int seals, int *ret_fd)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", r->fd);
    int fd = naru__os_open(link, O_RDONLY);
    if (fd < 0)
        return naru__fail(fd, "%s: opening it for reading alone, by /proc/self/fd, failed: %s%s",
                          r->handle.name, naru__errno_text(fd), naru__limit_of_files(fd).text);
    int code = seals & F_SEAL_FUTURE_WRITE ? 0 : naru__os_seal(r->fd, F_SEAL_FUTURE_WRITE);
    if (code < 0 && code != -EINVAL) { /* EINVAL: before Linux 5.1 */
        naru__os_close(fd);
        return naru__fail(-EPERM, "%s: it cannot be sealed for readers: %s", r->handle.name,
                          r->access & NARU_WRITE ? naru__errno_text(code)
                                                 : "this handle may only read it itself");
    }
    *ret_fd = fd;
    return 0;
}

static int share(const naru_region *r, int access, int *ret_fd)
{
    int seals = naru__os_seals(r->fd);
    if (seals < 0)
        return naru__fail(seals, "%s: asking for its seals failed: %s", r->handle.name,
                          naru__errno_text(seals));
    if (!(access & NARU_WRITE))
        return share_for_reading(r, seals, ret_fd);
    if (seals & F_SEAL_FUTURE_WRITE)
        return naru__fail(-EPERM,
                          "%s was shared for reading before, and since then nobody maps it for "
                          "writing any more (F_SEAL_FUTURE_WRITE)",
                          r->handle.name);
    return naru__region_file_share(r, access, ret_fd);
}

static const struct naru_region_ops ops = {
    .size = sizeof ops,
    .nameless = true,
    .share = share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

static const struct naru_region_ops growing_ops = {
    .size = sizeof growing_ops,
    .nameless = true,
    .length = naru__region_file_length,
    .grow = naru__region_file_grow,
    .share = share,
    .read = naru__region_file_read,
    .write = naru__region_file_write,
    .close = naru__region_file_close,
};

/* ---- making ---- */

static int make(uint64_t size, const struct naru_region_options *o)
{
    char name[NARU_REGION_LABEL_ROOM];
    naru__region_label_write(name, &(struct naru_region_label){o->signature, o->reserve});
    int fd = naru__os_memfd(name);
    if (fd < 0)
        return naru__fail(fd, "shm: no memory (memfd_create): %s%s", naru__errno_text(fd),
                          naru__limit_of_files(fd).text);
    int r = naru__os_allocate(fd, size);
    if (r < 0) {
        naru__region_no_room("shm:", fd, size, r);
        naru__os_close(fd);
        return r;
    }
    r = naru__os_seal(fd, F_SEAL_SHRINK | (o->reserve ? 0 : F_SEAL_GROW));
    if (r < 0) {
        naru__os_close(fd);
        return naru__fail(r, "shm: sealing the memory failed: %s", naru__errno_text(r));
    }
    return fd;
}

int naru__region_unnamed(uint64_t size, const struct naru_region_options *o, naru_region **ret_r)
{
    naru_region *r;
    if (o->flags & NARU_EXISTING)
        return naru__fail_static(-ENOENT, "shm: without a name nothing can be there already, and "
                                          "NARU_EXISTING was given");
    if (o->mode)
        return naru__fail_static(-EOPNOTSUPP, "shm: memory without a name has no mode: who is "
                                              "handed a descriptor has it");
    int code = naru__region_new(sizeof *r, o->reserve ? &growing_ops : &ops,
                                "shm:", NARU_READ | NARU_WRITE, o, &r);
    if (code < 0)
        return code;
    int fd = make(size, o);
    code = fd < 0 ? fd : naru__region_map(r, fd, o->reserve);
    if (code < 0) {
        naru__region_free(r);
        return code;
    }
    *ret_r = r;
    return 0;
}

/* ---- receiving ---- */

/* Memory that cannot go under its reader. */
static int check_received(const char *name, int fd, int access)
{
    struct stat st;
    int flags = naru__os_flags(fd);
    int code = flags < 0 ? flags : naru__os_fstat(fd, &st);
    if (code < 0)
        return naru__fail(code == -EBADF ? -EINVAL : code, "%s: descriptor %d: %s", name, fd,
                          naru__errno_text(code));
    if (!S_ISREG(st.st_mode))
        return naru__fail(-EINVAL, "%s: descriptor %d is %s, and a region is memory", name, fd,
                          naru__file_kind(st.st_mode));
    int seals = naru__os_seals(fd);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return naru__fail(-EPERM,
                          "%s: descriptor %d is a file that can be made shorter under its readers, "
                          "which would kill them: its maker has to seal it (memfd_create, "
                          "F_SEAL_SHRINK); one with a name is opened by that",
                          name, fd);
    if (st.st_size == 0)
        return naru__fail(-EPROTO, "%s: descriptor %d is memory of 0 bytes", name, fd);
    if (access & NARU_WRITE &&
        ((flags & O_ACCMODE) != O_RDWR || seals & F_SEAL_FUTURE_WRITE || seals & F_SEAL_WRITE))
        return naru__fail(-EPERM,
                          "%s: descriptor %d was handed over for reading alone: open it with "
                          "NARU_READ",
                          name, fd);
    return seals;
}

/* What its maker states, if it was naru; else nothing. */
static int states(const char *name, int fd, int seals, const struct naru_region_options *o,
                  struct naru_region_label *ret_label)
{
    *ret_label = (struct naru_region_label){0, o->reserve};
    int code = read_label(fd, ret_label);
    if (code == -EPROTO)
        return naru__fail(code, "%s: descriptor %d is a region of another version of naru's", name,
                          fd);
    if (code == 0 && o->reserve && o->reserve != ret_label->reserve)
        return naru__fail(-EEXIST, "%s may grow to %" PRIu64 " bytes, and .reserve asks for %zu",
                          name, ret_label->reserve, o->reserve);
    if (code < 0 && code != -ENOENT && o->signature)
        return naru__fail(code, "%s: what its maker states is found by /proc, and %s", name,
                          naru__errno_text(code));
    if (seals & F_SEAL_GROW)
        ret_label->reserve = 0;
    return 0;
}

static int receive(naru_region *r, int fd, int seals, const struct naru_region_options *o)
{
    const char *name = r->handle.name;
    struct naru_region_label label;
    struct stat st;
    int code = states(name, fd, seals, o, &label);
    if (code == 0 && (code = naru__os_fstat(fd, &st)) < 0)
        naru__fail(code, "%s: looking at it failed: %s", name, naru__errno_text(code));
    if (code == 0)
        code = naru__region_expect(name, o, (uint64_t)st.st_size, label.reserve, label.signature);
    if (code == 0 && r->access & NARU_WRITE)
        code = naru__region_fill(name, fd, (uint64_t)st.st_size);
    if (code < 0)
        return code;
    int copy = naru__os_duplicate(fd);
    if (copy < 0)
        return naru__fail(copy, "%s: no descriptor: %s%s", name, naru__errno_text(copy),
                          naru__limit_of_files(copy).text);
    return naru__region_map(r, copy, label.reserve);
}

int naru__region_received(const char *name, int fd, int access, const struct naru_region_options *o,
                          naru_region **ret_r)
{
    naru_region *r;
    int seals = check_received(name, fd, access);
    if (seals < 0)
        return seals;
    int code =
        naru__region_new(sizeof *r, seals & F_SEAL_GROW ? &ops : &growing_ops, name, access, o, &r);
    if (code < 0)
        return code;
    code = receive(r, fd, seals, o);
    if (code < 0) {
        naru__region_free(r);
        return code;
    }
    *ret_r = r;
    return 0;
}
