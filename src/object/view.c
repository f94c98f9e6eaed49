/* SPDX-License-Identifier: MIT */
/* view.c - looking at a named object. What is read is copied, and then checked. */
#include "object/view.h"

#include "base/error.h"
#include "base/memory.h"
#include "object/directory.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/life.h"
#include "os/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int naru__object_place(const struct naru_url *url, char *ret_path, size_t n)
{
    bool path = strchr(url->rest, '/') != NULL;
    if (!path && url->rest[0]) {
        int r = naru__name_check(url->text, url->rest);
        if (r < 0)
            return r;
    }
    int used = path ? snprintf(ret_path, n, "%s", url->rest)
                    : snprintf(ret_path, n, "/dev/shm/naru-%u%s%s", geteuid(),
                               url->rest[0] ? "/" : "", url->rest);
    return used < (int)n ? 0
                         : naru__fail(-ENAMETOOLONG, "%.60s…: a path has at most %d bytes",
                                      url->text, PATH_MAX - 1);
}

static int open_directory(const char *path, struct naru_object_view *v)
{
    struct stat st;
    v->directory = naru__os_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (v->directory == -ENOENT)
        return naru__fail(-ENOENT, "%s is not there", v->url);
    if (v->directory == -ENOTDIR || v->directory == -ELOOP)
        return -ENOTDIR;
    if (v->directory == -EACCES && naru__os_stat(path, &st) == 0)
        return naru__fail(-EACCES,
                          "%s is forbidden: it belongs to uid %u, mode %04o, and this is uid %u",
                          v->url, st.st_uid, st.st_mode & 07777u, geteuid());
    if (v->directory < 0)
        return naru__fail(v->directory, "%s: opening its directory failed: %s%s", v->url,
                          naru__errno_text(v->directory), naru__limit_of_files(v->directory).text);
    return 0;
}

static int read_members(struct naru_object_view *v, uint64_t file_size)
{
    uint64_t room = (file_size - NARU_OBJECT_MEMBERS_AT) / sizeof *v->members;
    uint32_t n = atomic_load_explicit(&v->state.members, memory_order_relaxed);
    n = n < v->meta.members_max ? n : v->meta.members_max;
    v->n = n < room ? n : (uint32_t)room;
    if (v->n == 0)
        return 0;
    v->members = naru__alloc(v->n * sizeof *v->members);
    if (!v->members)
        return -ENOMEM;
    return naru__os_read_at(v->file, v->members, v->n * sizeof *v->members,
                            v->at + NARU_OBJECT_MEMBERS_AT);
}

/* A file that is the object: anything else is not opened, or no further read. */
static int open_file(const char *path, struct naru_object_view *v)
{
    struct stat st;
    struct naru_object_meta meta;
    v->file = naru__os_open_file(path, O_RDONLY | O_NONBLOCK, &st);
    if (v->file < 0 || !naru__object_fills_file(v->file, &meta))
        return -ENOTDIR;
    v->life_at = NARU_OBJECT_REGION_LIFE_AT;
    return 0;
}

static int open_meta(struct naru_object_view *v)
{
    v->file = naru__os_open_at(v->directory, "meta", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    return v->file == -ENOENT || v->file == -ELOOP ? -ENOTDIR : 0;
}

static int read_all(struct naru_object_view *v)
{
    struct stat st;
    int r = v->file < 0 ? v->file : naru__os_fstat(v->file, &st);
    uint64_t size = r < 0 || (uint64_t)st.st_size < v->at ? 0 : (uint64_t)st.st_size - v->at;
    if (r == 0 && (!S_ISREG(st.st_mode) || size < NARU_OBJECT_MEMBERS_AT))
        return naru__fail(-EPROTO, "%s: what stands there is no object of naru's: its meta is %s",
                          v->url, S_ISREG(st.st_mode) ? "too short" : "no file");
    if (r == 0)
        r = naru__os_read_at(v->file, &v->meta, sizeof v->meta, v->at);
    if (r == 0) {
        v->owner = st.st_uid;
        int checked = naru__object_check(&v->meta, v->url);
        if (checked < 0)
            return checked;
        r = naru__os_read_at(v->file, &v->state, sizeof v->state, v->at + NARU_OBJECT_STATE_AT);
    }
    if (r == 0)
        r = read_members(v, size);
    return r < 0 ? naru__fail(r, "%s: reading its meta failed: %s", v->url, naru__errno_text(r))
                 : 0;
}

int naru__object_view(const struct naru_url *url, struct naru_object_view *ret_view)
{
    char path[PATH_MAX];
    struct naru_object_view v = {
        .url = url->text, .directory = NARU__NO_FD, .file = NARU__NO_FD};
    int r = naru__object_place(url, path, sizeof path);
    if (r == 0)
        r = open_directory(path, &v);
    if (r == 0)
        r = open_meta(&v);
    else if (r == -ENOTDIR && strcmp(url->scheme, "map") == 0)
        r = open_file(path, &v);
    if (r == 0)
        r = read_all(&v);
    if (r < 0)
        naru__object_view_close(&v);
    else
        *ret_view = v;
    return r;
}

int naru__object_view_at(const char *url, int file, uint64_t at, struct naru_object_view *ret_view)
{
    struct naru_object_view v = {.url = url,
                                 .directory = NARU__NO_FD,
                                 .file = naru__os_duplicate(file),
                                 .at = at,
                                 .life_at = NARU_OBJECT_REGION_LIFE_AT + at};
    int r = read_all(&v);
    if (r < 0)
        naru__object_view_close(&v);
    else
        *ret_view = v;
    return r;
}

void naru__object_view_close(struct naru_object_view *v)
{
    free(v->members);
    v->members = NULL;
    v->file = naru__os_close(v->file);
    v->directory = naru__os_close(v->directory);
}

int naru__object_view_lives(const struct naru_object_view *v, uint32_t i)
{
    return naru__os_life_held(v->file, v->life_at + i);
}

struct left {
    int directory;
    unsigned n;
};

static int count_left(void *arg, const char *name)
{
    struct left *l = arg;
    bool dead = strncmp(name, ".dead-", 6) == 0;
    if (!dead && strncmp(name, ".new-", 5) != 0)
        return 0;
    int directory = naru__os_open_at(l->directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (directory < 0)
        return 0;
    int file = naru__os_open_at(directory, "meta", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (file == -ENOENT || naru__os_life_held(file, dead ? NARU_OBJECT_REMOVAL_LOCK
                                                         : NARU_OBJECT_MAKING_LOCK) == 0)
        l->n++;
    naru__os_close(file);
    naru__os_close(directory);
    return 0;
}

unsigned naru__object_left_over(int directory)
{
    struct left l = {.directory = directory};
    (void)naru__os_list(directory, true, count_left, &l);
    return l.n;
}
