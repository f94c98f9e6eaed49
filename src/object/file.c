/* SPDX-License-Identifier: MIT */
/* file.c - an object that is one file on disk, map:/file: laid out as in a region, at its
 * beginning, and nothing else in it. It is made without a name, and gets that when it is whole. */
#include "base/error.h"
#include "naru/common.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static int cannot(const struct naru_url *url, const char *what, int code)
{
    struct stat st;
    if (code == -EACCES && naru__os_stat(url->rest, &st) == 0)
        return naru__fail(code,
                          "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this "
                          "is uid %u",
                          url->text, what, st.st_uid, st.st_gid, st.st_mode & 07777u, geteuid());
    return naru__fail(code, "%s: %s failed: %s%s", url->text, what, naru__errno_text(code),
                      naru__limit_of_files(code).text);
}

/* Takes fd; maps it, and finds or makes the object there. */
static int attach(const struct naru_url *url, int fd, uint64_t size,
                  const struct naru_object_want *want, struct naru_object *o)
{
    void *memory;
    struct naru_object found = NARU_OBJECT_NONE;
    found.mapped = (size_t)size;
    int r = naru__os_map(fd, size, true, &memory);
    if (r < 0) {
        cannot(url, "mapping it", r);
        naru__os_close(fd);
        return r;
    }
    r = naru__object_in_region(url->text, fd, 0, memory, size, want, &found);
    if (r < 0) {
        naru__os_unmap(memory, size);
        naru__os_close(fd);
        return r;
    }
    *o = found;
    return 0;
}

bool naru__object_fills_file(int fd, struct naru_object_meta *ret_meta)
{
    return naru__os_read_at(fd, ret_meta, sizeof *ret_meta, 0) == 0 &&
           ret_meta->magic == NARU_OBJECT_MAGIC && ret_meta->flags & NARU_OBJECT_WHOLE_FILE;
}

int naru__object_not_in_file(const char *url, int fd, const char *noun)
{
    struct naru_object_meta meta;
    if (!naru__object_fills_file(fd, &meta))
        return 0;
    return naru__fail(-EEXIST, "%s is %s, and %s was asked for: remove it, or use another name",
                      url, naru__object_noun(meta.what), noun);
}

/* -ENOENT without a sentence. */
static int open_file(const struct naru_url *url, const struct naru_object_want *want,
                     struct naru_object *o)
{
    struct stat st = {0};
    struct naru_object_meta meta;
    int fd = naru__os_open_file(url->rest, O_RDWR, &st);
    if (fd == -ENOENT)
        return fd;
    if (fd == -EINVAL && st.st_mode)
        return naru__fail(S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
                          "%s: %s stands there, and %s is a file", url->text,
                          naru__file_kind(st.st_mode), naru__object_noun(want->what));
    if (fd < 0)
        return cannot(url, "opening it", fd);
    if (naru__object_fills_file(fd, &meta))
        return attach(url, fd, (uint64_t)st.st_size, want, o);
    naru__os_close(fd);
    return naru__fail(-EEXIST,
                      "%s is a file that is no lock, and %s was asked for; in a region one has a "
                      "place (naru_mutex_at)",
                      url->text, naru__object_noun(want->what));
}

/* -EEXIST without a sentence: somebody was faster. */
static int make_file(const struct naru_url *url, const struct naru_object_want *want,
                     struct naru_object *o)
{
    char directory[PATH_MAX];
    uint64_t size = naru__object_bytes(want->members_max);
    const char *end = strrchr(url->rest, '/');
    size_t n = end == url->rest ? 1 : (size_t)(end - url->rest);
    memcpy(directory, url->rest, n);
    directory[n] = '\0';
    int fd = naru__os_open_unnamed(directory);
    if (fd < 0)
        return cannot(url, "a file in its directory (O_TMPFILE)", fd);
    int r = naru__os_chmod(fd, want->mode ? want->mode & 0666 : 0600);
    if (r == 0)
        r = naru__os_extend(fd, 0, size);
    if (r < 0) {
        naru__os_close(fd);
        return cannot(url, "giving it room", r);
    }
    r = attach(url, fd, size, want, o);
    if (r < 0)
        return r;
    r = naru__os_link(fd, url->rest);
    if (r < 0) {
        naru__object_close(o);
        return r == -EEXIST ? r : cannot(url, "giving it its name", r);
    }
    return 0;
}

int naru__object_in_file(const struct naru_url *url, const struct naru_object_want *want,
                         struct naru_object *ret_object)
{
    enum { TRIES = 100 };
    if (url->rest[0] != '/' || !strrchr(url->rest, '/')[1])
        return naru__fail(-EINVAL, "%s names no file: write map:/path/of/a/file", url->text);
    if (strlen(url->rest) >= PATH_MAX)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a path has at most %d bytes (PATH_MAX)",
                          url->text, PATH_MAX - 1);
    for (int i = 0; i < TRIES; i++) { /* others may make and remove it meanwhile */
        int r = open_file(url, want, ret_object);
        if (r != -ENOENT)
            return r;
        if (want->flags & NARU_EXISTING)
            return naru__fail(r, "%s is not there, and NARU_EXISTING was given", url->text);
        r = make_file(url, want, ret_object);
        if (r != -EEXIST)
            return r;
    }
    return naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text);
}

void naru__object_file_removed(int fd)
{
    struct naru_object_meta meta;
    struct stat st;
    void *memory;
    if (!naru__object_fills_file(fd, &meta) || naru__object_check(&meta, "") < 0 ||
        naru__os_fstat(fd, &st) < 0 ||
        (uint64_t)st.st_size < naru__object_bytes(meta.members_max) ||
        naru__os_map(fd, (uint64_t)st.st_size, true, &memory) < 0)
        return;
    struct naru_object o = NARU_OBJECT_NONE;
    o.meta = meta;
    o.in_region = true;
    o.state = (void *)((char *)memory + NARU_OBJECT_STATE_AT);
    o.members = (void *)(o.state + 1);
    atomic_store(&o.with_memory, meta.members_max);
    /* release: who is woken below and looks again sees it */
    atomic_store_explicit(&o.state->removed, NARU_OBJECT_REMOVED, memory_order_release);
    naru__object_wake(&o);
    naru__os_unmap(memory, (uint64_t)st.st_size);
}
