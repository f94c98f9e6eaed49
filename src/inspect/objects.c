/* SPDX-License-Identifier: MIT */
/* objects.c - a look at named objects of shm: and map:, what all of them have, and the list of a
 * directory's. */
#include "inspect/snapshot.h"

#include "base/error.h"
#include "base/memory.h"
#include "object/object.h"
#include "object/view.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/proc.h"
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sum {
    int directory;
    uint64_t bytes;
};

static int add_size(void *arg, const char *name)
{
    struct sum *sum = arg;
    struct stat st;
    if (naru__os_stat_at(sum->directory, name, &st) == 0 && S_ISREG(st.st_mode))
        sum->bytes += (uint64_t)st.st_blocks * 512;
    return 0;
}

static uint32_t role_of(const struct naru_object_view *v, uint32_t i)
{
    return naru__member_role(atomic_load_explicit(&v->members[i].who, memory_order_relaxed));
}

static void show_whole(naru_snapshot *s, struct snapshot_view *p, const struct naru_object_view *v)
{
    char text[40];
    uint64_t living = 0, dead = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        if (!role_of(v, i))
            continue;
        if (naru__object_view_lives(v, i) == 0)
            dead++;
        else
            living++;
    }
    bool removed = atomic_load_explicit(&v->state.removed, memory_order_relaxed) != 0;
    naru__snapshot_word(s, p, NULL, "state", removed ? "removed" : "there");
    snprintf(text, sizeof text, "%04" PRIo32, v->meta.mode & 07777);
    naru__snapshot_word(s, p, NULL, "mode", text);
    naru__snapshot_word(s, p, NULL, "created", naru__time_text(v->meta.created, text));
    naru__snapshot_number(s, p, NULL, "creator", NULL, v->meta.creator);
    naru__snapshot_number(s, p, NULL, "creator_uid", NULL, v->meta.creator_uid);
    naru__snapshot_number(s, p, NULL, "participants", NULL, living);
    naru__snapshot_number(s, p, NULL, "dead", NULL, dead);
}

/* What all participants are, whatever they take part in. */
static void show_members(naru_snapshot *s, struct snapshot_view *p,
                         const struct naru_object_view *v)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (role_of(v, i))
            (void)naru__snapshot_member(s, p, v, i, NULL);
}

int naru__look_at_view(naru_snapshot *s, const struct naru_object_view *v, uint64_t bytes,
                       bool brief)
{
    int r = 0;
    const char *noun = naru__object_noun(v->meta.what);
    struct snapshot_view *p = naru__snapshot_add(s, v->url, strchr(noun, ' ') + 1);
    naru__snapshot_size(p, v->owner, bytes);
    show_whole(s, p, v);
    if (v->meta.what == NARU_OBJECT_QUEUE || v->meta.what == NARU_OBJECT_TOPIC)
        r = naru__look_at_lanes(s, p, v, brief);
    else if (v->meta.what >= NARU_OBJECT_SEMAPHORE && v->meta.what <= NARU_OBJECT_BARRIER)
        r = naru__look_at_lock(s, p, v, brief);
    else if (v->meta.what == NARU_OBJECT_JOURNAL)
        r = naru__look_at_journal(s, p, v, brief);
    else if (!brief)
        show_members(s, p, v);
    if (r == -EPROTO) /* others beside it may be whole */
        naru__snapshot_word(s, p, NULL, "problem", naru__why());
    return r;
}

static int look_at(naru_snapshot *s, const struct naru_url *url, bool brief)
{
    struct naru_object_view v;
    int r = naru__object_view(url, &v);
    if (r < 0)
        return r;
    /* whichever scheme it was found by: a directory may hold both kinds */
    char text[PATH_MAX + 8];
    bool map = v.meta.what == NARU_OBJECT_JOURNAL || v.directory < 0;
    snprintf(text, sizeof text, "%s:%s", map ? "map" : "shm", url->rest);
    v.url = text;
    struct sum sum = {.directory = v.directory};
    struct stat st;
    if (v.directory >= 0)
        (void)naru__os_list(v.directory, true, add_size, &sum);
    else if (naru__os_fstat(v.file, &st) == 0)
        sum.bytes = (uint64_t)st.st_blocks * 512;
    r = naru__look_at_view(s, &v, sum.bytes, brief);
    naru__object_view_close(&v);
    return r;
}

int naru__look_at_object(naru_snapshot *s, const struct naru_url *url)
{
    struct naru_object_view v;
    if (!url->rest[0]) /* "shm:": the pairs that have no name */
        return 0;
    int r = naru__object_view(url, &v);
    bool region = r == 0 && v.meta.what == NARU_OBJECT_REGION; /* regions.c knows more of it */
    if (r == 0)
        naru__object_view_close(&v);
    if (r == 0 && !region)
        r = look_at(s, url, false);
    if (region)
        return 0;
    return r == 0 ? 1 : r == -ENOTDIR || r == -ENOENT ? 0 : r;
}

/* ---- lists ---- */

struct listing {
    naru_snapshot *snapshot;
    const char *directory;
    const char *scheme;
    bool own;
};

/* In map:/dir lie journals and files: of these, whatever states that it is naru's. */
static int list_file(const struct listing *l, const struct naru_url *url, const char *path)
{
    char text[NARU_REGION_LABEL_ROOM];
    struct stat st;
    int r = look_at(l->snapshot, url, true);
    if (r != -ENOTDIR)
        return r;
    int fd = naru__os_open_file(path, O_RDONLY | O_NOFOLLOW, &st);
    bool stated = fd >= 0 && naru__os_attribute(fd, NARU_REGION_ATTRIBUTE, text, sizeof text) >= 0;
    naru__os_close(fd);
    return stated ? naru__look_at_region_file(l->snapshot, url) : 0;
}

/* One that cannot be read does not hide the others: it is listed, with why. */
static int list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    char text[PATH_MAX + 8], path[PATH_MAX + 256];
    struct naru_url url;
    struct stat st;
    if (name[0] == '.')
        return 0;
    snprintf(path, sizeof path, "%s/%s", l->directory, name);
    if (snprintf(text, sizeof text, "%s:%s", l->scheme, l->own ? name : path) >= (int)sizeof text ||
        naru__url_parse(text, &url) < 0 || naru__os_stat(path, &st) < 0)
        return 0;
    bool files = strcmp(l->scheme, "map") == 0;
    if (S_ISSOCK(st.st_mode) && !files) {
        naru__look_at_listener(l->snapshot, &url);
        return 0;
    }
    if (!S_ISDIR(st.st_mode) && !(files && S_ISREG(st.st_mode)))
        return 0;
    int r = S_ISREG(st.st_mode) ? list_file(l, &url, path) : look_at(l->snapshot, &url, true);
    if (r < 0 && r != -ENOENT && r != -ENOTDIR && r != -ENOMEM) {
        struct snapshot_view *v = naru__snapshot_add(l->snapshot, text, "?");
        naru__snapshot_size(v, st.st_uid, 0);
        naru__snapshot_word(l->snapshot, v, NULL, "problem", naru__why());
        return 0;
    }
    return r == -ENOMEM ? r : 0;
}

int naru__list_objects(naru_snapshot *s, const struct naru_url *url)
{
    char path[PATH_MAX];
    int r = url->rest[0] ? look_at(s, url, true) : -ENOTDIR;
    if (r != -ENOTDIR)
        return r == 0 ? 1 : r;
    r = naru__object_place(url, path, sizeof path);
    if (r < 0)
        return r;
    int directory = naru__os_open(path, O_RDONLY | O_DIRECTORY);
    if (directory == -ENOENT && !url->rest[0]) /* this user has never made one */
        return 1;
    if (directory == -ENOTDIR && strcmp(url->scheme, "map") == 0)
        r = naru__look_at_region_file(s, url);
    else if (directory == -ENOTDIR)
        naru__look_at_listener(s, url);
    if (directory == -ENOTDIR)
        return r < 0 ? r : 1;
    if (directory < 0)
        return naru__fail(directory, "%s: the directory %s: %s", url->text, path,
                          naru__errno_text(directory));
    struct listing l = {s, path, url->scheme, !url->rest[0]};
    r = naru__os_list(directory, true, list_one, &l);
    naru__os_close(directory);
    return r < 0 ? r : 1;
}

/* ---- those that are in use ---- */

struct found {
    naru_snapshot *snapshot;
    struct {
        dev_t device;
        ino_t inode;
        char *path;  /* of a file that is written by whoever has it mapped; else NULL */
        bool looked; /* into that */
    } * seen;
    size_t n;
};

static int first_time(struct found *f, const struct naru_proc_map *map, const char *path)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->seen[i].inode == map->inode && f->seen[i].device == map->device)
            return 0;
    void *more = naru__alloc((f->n + 1) * sizeof *f->seen);
    char *copy = path ? naru__copy_text(path, strlen(path)) : NULL;
    if (!more || (path && !copy)) {
        free(more);
        free(copy);
        return -ENOMEM;
    }
    if (f->n > 0)
        memcpy(more, f->seen, f->n * sizeof *f->seen);
    free(f->seen);
    f->seen = more;
    f->seen[f->n].device = map->device;
    f->seen[f->n].inode = map->inode;
    f->seen[f->n].path = copy;
    f->seen[f->n++].looked = false;
    return 1;
}

/* Who takes part in an object has its `meta` mapped. Whatever else is written by who has it mapped
 * may be a region, with locks in it. */
static int each_map(void *arg, pid_t pid, const struct naru_proc_map *map)
{
    struct found *f = arg;
    struct naru_url url;
    char text[PATH_MAX + 8], own[64];
    size_t n = strlen(map->path);
    (void)pid;
    if (n < 6 || strcmp(map->path + n - 5, "/meta") != 0) {
        bool file = map->writable && map->path[0] == '/' && strncmp(map->path, "/SYSV", 5) != 0;
        return file ? first_time(f, map, map->path) : 0;
    }
    int r = first_time(f, map, NULL);
    if (r <= 0)
        return r;
    int prefix = snprintf(own, sizeof own, "/dev/shm/naru-%u/", geteuid());
    bool mine = strncmp(map->path, own, (size_t)prefix) == 0;
    if (snprintf(text, sizeof text, "shm:%.*s", (int)(n - 5 - (mine ? (size_t)prefix : 0)),
                 map->path + (mine ? prefix : 0)) >= (int)sizeof text ||
        naru__url_parse(text, &url) < 0)
        return 0;
    r = look_at(f->snapshot, &url, false);
    return r == -ENOMEM || r == -EMFILE ? r : 0;
}

struct sought {
    int directory;
    ino_t inode;
    char *name;
    size_t size;
};

static int is_sought(void *arg, const char *name)
{
    struct sought *q = arg;
    struct stat st;
    if (naru__os_stat_at(q->directory, name, &st) < 0 || st.st_ino != q->inode)
        return 0;
    snprintf(q->name, q->size, "%s", name);
    return 1;
}

/* A file that was made without a name is called "#NUMBER" by the kernel in its maker for ever, also
 * once it has one. */
static void name_again(char *path, size_t size, ino_t inode)
{
    char *name = strrchr(path, '/') + 1;
    if (name == path + 1 || name[0] != '#')
        return;
    name[-1] = '\0';
    struct sought q = {.directory = naru__os_open(path, O_RDONLY | O_DIRECTORY),
                       .inode = inode,
                       .name = name,
                       .size = size - (size_t)(name - path)};
    name[-1] = '/';
    if (q.directory >= 0)
        (void)naru__os_list(q.directory, true, is_sought, &q);
    naru__os_close(q.directory);
}

/* What a region is called whose file that is. */
static void region_url(const char *target, ino_t inode, char *text, size_t size)
{
    static const char gone[] = " (deleted)", data[] = "/data";
    char own[64], path[PATH_MAX];
    snprintf(path, sizeof path, "%s", target);
    if (strlen(path) >= sizeof gone && strcmp(path + strlen(path) - strlen(gone), gone) == 0)
        path[strlen(path) - strlen(gone)] = '\0';
    name_again(path, sizeof path, inode);
    struct naru_url url;
    struct naru_object_view v;
    size_t n = strlen(path);
    size_t prefix = (size_t)snprintf(own, sizeof own, "/dev/shm/naru-%u/", geteuid());
    bool region = n > strlen(data) && strncmp(path + n - strlen(data), data, strlen(data)) == 0;
    if (region) {
        snprintf(text, size, "shm:%.*s", (int)(n - strlen(data)), path);
        region = naru__url_parse(text, &url) == 0 && naru__object_view(&url, &v) == 0;
        bool is = region && v.meta.what == NARU_OBJECT_REGION;
        if (region)
            naru__object_view_close(&v);
        region = is;
    }
    if (strncmp(path, "/memfd:", 7) == 0)
        snprintf(text, size, "shm:");
    else if (region && strncmp(path, own, prefix) == 0)
        snprintf(text, size, "shm:%.*s", (int)(n - strlen(data) - prefix), path + prefix);
    else if (!region && strncmp(path, "/dev/shm/", 9) == 0 && !strchr(path + 9, '/'))
        snprintf(text, size, "posix-shm:%.*s", (int)(n - 8), path + 8);
    else if (!region)
        snprintf(text, size, "map:%.*s", (int)n, path);
}

/* Whoever has a region mapped has a descriptor of it, too. */
static int each_file(void *arg, pid_t pid, int fd, const char *target)
{
    struct found *f = arg;
    char link[64], text[PATH_MAX + 16];
    struct naru_placed placed;
    struct stat st;
    size_t i = 0;
    while (i < f->n && (!f->seen[i].path || f->seen[i].looked || strcmp(f->seen[i].path, target)))
        i++;
    if (i == f->n)
        return 0;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
    int seen = naru__os_open(link, O_PATH); /* opening some devices has effects */
    int r = seen < 0 ? seen : naru__os_fstat(seen, &st), file = -ENOENT;
    for (i = 0; r == 0 && i < f->n; i++)
        if (f->seen[i].path && !f->seen[i].looked && f->seen[i].inode == st.st_ino &&
            f->seen[i].device == st.st_dev && S_ISREG(st.st_mode))
            break;
    if (r == 0 && i < f->n) {
        f->seen[i].looked = true;
        snprintf(link, sizeof link, "/proc/self/fd/%d", seen);
        file = naru__os_open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    }
    r = r == -EMFILE || r == -ENFILE ? r : file == -EMFILE || file == -ENFILE ? file : 0;
    if (file >= 0) {
        region_url(target, st.st_ino, text, sizeof text);
        r = naru__look_at_locks_in(f->snapshot, file, text, false, &placed);
    }
    naru__os_close(file);
    naru__os_close(seen);
    return r;
}

int naru__look_at_objects_in_use(naru_snapshot *s)
{
    struct found f = {.snapshot = s};
    size_t hidden = 0;
    int r = naru__os_proc_maps(each_map, &f, &hidden);
    naru__snapshot_hide(s, hidden);
    if (r == 0)
        r = naru__os_proc_files(each_file, &f, &hidden);
    for (size_t i = 0; i < f.n; i++)
        free(f.seen[i].path);
    free(f.seen);
    return r < 0 ? naru__fail(r, "looking through /proc failed: %s", naru__errno_text(r)) : 0;
}
