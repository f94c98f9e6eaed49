/* SPDX-License-Identifier: MIT */
/* regions.c - a look at regions: at the name, or where there is none at the descriptors that /proc
 * shows under the name that naru gives such memory; at who has it mapped, naru's or not; and at the
 * locks in it. */
#include "inspect/snapshot.h"

#include "base/error.h"
#include "base/memory.h"
#include "core/names.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/sysv.h"
#include "shm/object.h"
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A region that was found, and whose mappings are wanted. */
struct seen {
    struct seen *next;
    dev_t device; /* not of a segment */
    ino_t inode;
    bool segment;
    struct snapshot_view *view;
    int file;   /* NARU__NO_FD: it has none, or may not be read */
    pid_t last; /* that was shown */
};

struct search {
    naru_snapshot *snapshot;
    const char *url;
    struct seen *list;
    bool poor;
};

static struct seen *find(const struct search *s, dev_t device, ino_t inode)
{
    struct seen *e = s->list;
    while (e && (e->inode != inode || e->device != device))
        e = e->next;
    return e;
}

static struct seen *add(struct search *s, const struct stat *st)
{
    struct seen *e = naru__alloc(sizeof *e);
    s->poor |= !e;
    if (!e)
        return NULL;
    *e = (struct seen){
        .next = s->list, .device = st->st_dev, .inode = st->st_ino, .file = NARU__NO_FD};
    e->view = naru__snapshot_add(s->snapshot, s->url, "region");
    naru__snapshot_size(e->view, st->st_uid, (uint64_t)st->st_size);
    s->list = e;
    return e;
}

static void say_mode(struct search *s, struct snapshot_view *v, unsigned mode)
{
    char text[8];
    snprintf(text, sizeof text, "%04o", mode & 07777u);
    naru__snapshot_word(s->snapshot, v, NULL, "mode", text);
}

static void say_stated(struct search *s, struct snapshot_view *v, uint32_t signature,
                       uint64_t reserve)
{
    char text[16];
    snprintf(text, sizeof text, "%08" PRIx32, signature);
    naru__snapshot_word(s->snapshot, v, NULL, "signature", signature ? text : "none");
    naru__snapshot_number(s->snapshot, v, NULL, "reserve", "bytes", reserve);
}

/* ---- with a name ---- */

static void path_of(const struct naru_url *url, const char *file, char *path, size_t n)
{
    if (strchr(url->rest, '/'))
        snprintf(path, n, "%.3500s/%s", url->rest, file);
    else
        snprintf(path, n, "/dev/shm/naru-%u/%.64s/%s", geteuid(), url->rest, file);
}

static void look_at_object(struct search *s, const struct naru_url *url)
{
    char path[PATH_MAX];
    struct naru_object_meta meta;
    struct stat st;
    path_of(url, "meta", path, sizeof path);
    int fd = naru__os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    int r = fd < 0 ? fd : naru__os_read_at(fd, &meta, sizeof meta, 0);
    naru__os_close(fd);
    if (r < 0 || meta.magic != NARU_OBJECT_MAGIC || meta.version != NARU_OBJECT_VERSION ||
        meta.what != NARU_OBJECT_REGION)
        return;
    path_of(url, "data", path, sizeof path);
    if (naru__os_stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    struct seen *e = add(s, &st);
    if (!e)
        return;
    say_mode(s, e->view, st.st_mode);
    e->file = naru__os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    say_stated(s, e->view, (uint32_t)meta.option[NARU_REGION_SIGNATURE],
               meta.option[NARU_REGION_RESERVE]);
    naru__snapshot_number(s->snapshot, e->view, NULL, "creator", NULL, meta.creator);
}

static void look_at_posix(struct search *s, const char *name)
{
    char path[NAME_MAX + 16];
    struct stat st;
    snprintf(path, sizeof path, "/dev/shm%s", name);
    if (naru__os_stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    struct seen *e = add(s, &st);
    if (!e)
        return;
    e->file = naru__os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    say_mode(s, e->view, st.st_mode);
}

static void look_at_file(struct search *s, const char *path)
{
    char link[40], text[NARU_REGION_LABEL_ROOM];
    struct naru_region_label label = {0};
    struct stat st;
    int seen = naru__os_open(path, O_PATH), fd = -ENOENT;
    if (seen >= 0 && naru__os_fstat(seen, &st) == 0 && S_ISREG(st.st_mode)) {
        struct seen *e = add(s, &st);
        snprintf(link, sizeof link, "/proc/self/fd/%d", seen);
        fd = naru__os_open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (fd >= 0 && (naru__os_attribute(fd, NARU_REGION_ATTRIBUTE, text, sizeof text) < 0 ||
                        naru__region_label_parse(text, &label) < 0))
            label = (struct naru_region_label){0};
        if (e) {
            say_mode(s, e->view, st.st_mode);
            say_stated(s, e->view, label.signature, label.reserve);
            naru__snapshot_number(s->snapshot, e->view, NULL, "on_disk", "bytes",
                                  (uint64_t)st.st_blocks * 512);
            naru__snapshot_word(s->snapshot, e->view, NULL, "file_system",
                                naru__os_file_system(seen).name);
            e->file = fd;
            fd = NARU__NO_FD;
        }
    }
    naru__os_close(fd);
    naru__os_close(seen);
}

static void look_at_segment(struct search *s, key_t key)
{
    struct shmid_ds ds;
    int id = naru__os_shm_get(key, 0, 0);
    if (id < 0 || naru__os_shm_stat(id, &ds) < 0)
        return;
    struct stat st = {.st_ino = (ino_t)id, .st_uid = ds.shm_perm.uid, .st_size = 0};
    struct seen *e = add(s, &st);
    if (!e)
        return;
    e->segment = true;
    naru__snapshot_size(e->view, ds.shm_perm.uid, ds.shm_segsz);
    say_mode(s, e->view, (unsigned)ds.shm_perm.mode & 0777u);
    naru__snapshot_number(s->snapshot, e->view, NULL, "id", NULL, (uint64_t)id);
    naru__snapshot_number(s->snapshot, e->view, NULL, "attached", "times", ds.shm_nattch);
    naru__snapshot_number(s->snapshot, e->view, NULL, "creator", NULL, (uint64_t)ds.shm_cpid);
}

/* ---- without one ---- */

static int each_file(void *arg, pid_t pid, int fd, const char *target)
{
    struct search *s = arg;
    struct naru_region_label label;
    struct stat st;
    if (naru__region_label_read(target, &label) < 0)
        return 0;
    int file = naru__os_proc_open(pid, fd);
    if (file < 0)
        return file == -EMFILE || file == -ENFILE ? file : 0;
    int r = naru__os_fstat(file, &st);
    struct seen *e = r < 0 || find(s, st.st_dev, st.st_ino) ? NULL : add(s, &st);
    if (!e) {
        naru__os_close(file);
        return 0;
    }
    e->file = file;
    say_stated(s, e->view, label.signature, label.reserve);
    return 0;
}

/* ---- who has it ---- */

static int each_map(void *arg, pid_t pid, const struct naru_proc_map *map)
{
    struct search *s = arg;
    bool segment = strncmp(map->path, "/SYSV", 5) == 0;
    for (struct seen *e = s->list; e; e = e->next) {
        if (e->inode != map->inode || e->segment != segment ||
            (!segment && e->device != map->device) || e->last == pid)
            continue;
        struct snapshot_part *p = naru__snapshot_part(s->snapshot, e->view, pid);
        naru__snapshot_word(s->snapshot, e->view, p, "access", map->writable ? "write" : "read");
        naru__snapshot_number(s->snapshot, e->view, p, "mapped", "bytes", map->bytes);
        e->last = pid;
    }
    return 0;
}

/* ---- what lies in it ---- */

static int look_at_locks(struct search *s, const struct seen *e)
{
    struct naru_placed placed;
    if (e->file < 0)
        return 0;
    int r = naru__look_at_locks_in(s->snapshot, e->file, s->url, true, &placed);
    if (r < 0)
        return r;
    naru__snapshot_number(s->snapshot, e->view, NULL, "locks", NULL, placed.n);
    if (!placed.all) /* only where it is not so */
        naru__snapshot_word(s->snapshot, e->view, NULL, "locks_searched", "not everywhere");
    return 0;
}

static int look(struct search *s, const struct naru_url *url)
{
    const char *name;
    key_t key;
    size_t hidden = 0;
    int r = 0;
    if (strcmp(url->scheme, "posix-shm") == 0) {
        r = naru__posix_name(url, "region", &name);
        if (r == 0)
            look_at_posix(s, name);
    } else if (strcmp(url->scheme, "sysv-shm") == 0) {
        r = naru__sysv_key(url, "segment", &key);
        if (r == 0)
            look_at_segment(s, key);
    } else if (strcmp(url->scheme, "map") == 0) {
        look_at_file(s, url->rest);
    } else if (url->rest[0]) {
        look_at_object(s, url);
    } else {
        r = naru__os_proc_files(each_file, s, &hidden);
        if (r < 0)
            naru__fail(r, "%s: looking through /proc failed: %s", url->text, naru__errno_text(r));
    }
    naru__snapshot_hide(s->snapshot, hidden);
    if (r < 0 || !s->list)
        return r;
    r = naru__os_proc_maps(each_map, s, &hidden);
    naru__snapshot_hide(s->snapshot, hidden);
    if (r < 0)
        return naru__fail(r, "%s: looking through /proc failed: %s", url->text,
                          naru__errno_text(r));
    for (const struct seen *e = s->list; e && r == 0; e = e->next)
        r = look_at_locks(s, e);
    return r;
}

static int finished(struct search *s, int r)
{
    while (s->list) {
        struct seen *e = s->list;
        s->list = e->next;
        naru__os_close(e->file);
        free(e);
    }
    return r == 0 && s->poor ? -ENOMEM : r;
}

int naru__look_at_regions(naru_snapshot *snapshot, const struct naru_url *url)
{
    struct search s = {.snapshot = snapshot, .url = url->text};
    return finished(&s, look(&s, url));
}

int naru__look_at_region_file(naru_snapshot *snapshot, const struct naru_url *url)
{
    struct search s = {.snapshot = snapshot, .url = url->text};
    look_at_file(&s, url->rest);
    return finished(&s, 0);
}
