/* SPDX-License-Identifier: MIT */
/* object.c - making, opening, joining and removing a named object.
 *
 * Kept true: a name leads to a whole object or to nothing; a directory `.new-*` or `.dead-*` whose
 * lock is free is nobody's. A removal holds the object's own lock from its look at the name to the
 * rename, so the name cannot lead to another object by then. */
#include "object/object.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "naru/common.h"
#include "object/directory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/poll.h"
#include "os/proc.h"
#include "os/process.h"
#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char meta_name[] = "meta";

/* ---- where it is ---- */

struct place {
    int parent; /* of the directory, for the calls that take one */
    char name[256];
};

static int parent_of(const char *url, const char *path, struct place *p)
{
    char parent[PATH_MAX];
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    if (end >= sizeof parent || end - start >= sizeof p->name)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a name has at most 255 bytes, a path %d", url,
                          PATH_MAX - 1);
    snprintf(p->name, sizeof p->name, "%.*s", (int)(end - start), path + start);
    if (!p->name[0] || p->name[0] == '.')
        return naru__fail(-EINVAL,
                          "%s: the last part of the path is no name; it begins with no dot", url);
    snprintf(parent, sizeof parent, "%.*s", start ? (int)start : 1, start ? path : ".");
    p->parent = naru__os_open(parent, O_RDONLY | O_DIRECTORY);
    if (p->parent < 0)
        return naru__fail(p->parent, "%s: the directory %.200s: %s%s", url, parent,
                          naru__errno_text(p->parent), naru__limit_of_files(p->parent).text);
    return 0;
}

static int find_place(const struct naru_url *url, struct place *ret_place)
{
    char own[64], path[PATH_MAX];
    if (strchr(url->rest, '/'))
        return parent_of(url->text, url->rest, ret_place);
    int r = naru__name_check(url->text, url->rest);
    if (r == 0)
        r = naru__directory_own(url->text, "/dev/shm", own, sizeof own);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/%s", own, url->rest);
    return parent_of(url->text, path, ret_place);
}

static bool leads_to(int parent, const char *name, int directory)
{
    struct stat mine, named;
    return naru__os_fstat(directory, &mine) == 0 && naru__os_stat_at(parent, name, &named) == 0 &&
           mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

/* ---- what it is ---- */

const char *naru__object_noun(uint32_t what)
{
    static const char *const noun[] = {NULL,          "a region", "a queue",  "a topic",
                                       "a semaphore", "a mutex",  "a rwlock", "an event",
                                       "a barrier",   "a journal"};
    return what > 0 && what < sizeof noun / sizeof *noun ? noun[what] : "something unknown";
}

static int not_ours(const char *url, const char *why)
{
    return naru__fail(-EPROTO, "%s: what stands there is no object of naru's: %s", url, why);
}

static int no_directory(const struct naru_url *url, const struct place *p, int code)
{
    struct stat st;
    int r = naru__os_stat_at(p->parent, p->name, &st);
    if (code == -EACCES && r == 0)
        return naru__fail(-EACCES,
                          "%s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this is "
                          "uid %u; its owner can chmod it",
                          url->text, st.st_uid, st.st_gid, st.st_mode & 07777u, geteuid());
    if ((code == -ENOTDIR || code == -ELOOP) && r == 0 && S_ISSOCK(st.st_mode))
        return naru__fail(-EEXIST,
                          "%s is a connection's listener, and a name holds one object: use another",
                          url->text);
    if ((code == -ENOTDIR || code == -ELOOP) && r == 0)
        return naru__fail(-EINVAL, "%s: %s stands there, not an object of naru's", url->text,
                          naru__file_kind(st.st_mode));
    return naru__fail(code, "%s: opening its directory failed: %s%s", url->text,
                      naru__errno_text(code), naru__limit_of_files(code).text);
}

static uint64_t wall_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t members_size(const struct naru_object_meta *m)
{
    return (uint64_t)m->members_max * sizeof(struct naru_object_member);
}

int naru__object_check(const struct naru_object_meta *m, const char *url)
{
    if (m->magic != NARU_OBJECT_MAGIC)
        return not_ours(url, "it has another magic");
    if (m->version != NARU_OBJECT_VERSION)
        return naru__fail(-EPROTO,
                          "%s has the layout of version %" PRIu32 ", and this naru's is %d", url,
                          m->version, NARU_OBJECT_VERSION);
    if (m->members_max > NARU_OBJECT_MEMBERS_MAX || m->what == 0 || m->what > NARU_OBJECT_JOURNAL)
        return not_ours(url, "its meta is damaged");
    return 0;
}

static int map_shared(struct naru_object *o)
{
    void *memory;
    uint64_t size = NARU_OBJECT_MEMBERS_AT - NARU_OBJECT_STATE_AT + members_size(&o->meta);
    int r = naru__os_map_at(o->file, NARU_OBJECT_STATE_AT, size, true, &memory);
    if (r < 0)
        return naru__fail(r, "%s: its memory cannot be mapped: %s%s", o->url, naru__errno_text(r),
                          naru__limit_of_memory(r, size).text);
    o->state = memory;
    o->members = (void *)(o->state + 1);
    return 0;
}

static int read_meta(struct naru_object *o)
{
    struct stat st;
    o->file = naru__os_open_at(o->directory, meta_name, O_RDWR | O_NOFOLLOW);
    if (o->file == -ENOENT || o->file == -ELOOP)
        return not_ours(o->url, "it has no meta");
    if (o->file == -EACCES || o->file == -EROFS)
        return naru__fail(o->file,
                          "%s is forbidden: its meta can only be read and has to be written: %s",
                          o->url, naru__errno_text(o->file));
    if (o->file < 0)
        return naru__fail(o->file, "%s: opening it failed: %s%s", o->url, naru__errno_text(o->file),
                          naru__limit_of_files(o->file).text);
    int r = naru__os_fstat(o->file, &st);
    if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size < NARU_OBJECT_MEMBERS_AT))
        return not_ours(o->url, "its meta is too short");
    if (r == 0)
        r = naru__os_read_at(o->file, &o->meta, sizeof o->meta, 0);
    if (r < 0)
        return naru__fail(r, "%s: reading its meta failed: %s", o->url, naru__errno_text(r));
    r = naru__object_check(&o->meta, o->url);
    return r < 0 ? r : map_shared(o);
}

/* The object that stands at the place now. -ENOENT without a sentence. */
static int open_there(const struct naru_url *url, const struct place *p, struct naru_object *o)
{
    for (;;) {
        *o = NARU_OBJECT_NONE;
        o->url = url->text;
        o->directory = naru__os_open_at(p->parent, p->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (o->directory == -ENOENT)
            return -ENOENT;
        if (o->directory < 0)
            return no_directory(url, p, o->directory);
        int r = read_meta(o);
        if (r != -EPROTO || o->file != -ENOENT || leads_to(p->parent, p->name, o->directory))
            return r;
        naru__object_close(o); /* it was just going */
    }
}

int naru__object_look(const struct naru_url *url, struct naru_object_meta *ret_meta)
{
    struct place p;
    struct naru_object o;
    int r = find_place(url, &p);
    if (r < 0)
        return r;
    r = open_there(url, &p, &o);
    if (r == 0)
        *ret_meta = o.meta;
    naru__object_close(&o);
    naru__os_close(p.parent);
    return r == -ENOENT ? naru__fail(r, "%s is not there", url->text) : r;
}

/* ---- deleting ---- */

static int delete_one(void *arg, const char *name)
{
    int directory = *(int *)arg;
    if (strcmp(name, meta_name) != 0)
        (void)naru__os_unlink_at(directory, name);
    return 0;
}

/* meta goes last: with it goes the lock that says that somebody is at it. */
static void delete_directory(int parent, const char *name, int directory)
{
    enum { PASSES = 16 }; /* a listing may pass over names while others go */
    for (int i = 0; i < PASSES; i++) {
        (void)naru__os_list(directory, true, delete_one, &directory);
        (void)naru__os_unlink_at(directory, meta_name);
        if (naru__os_remove_directory_at(parent, name) != -ENOTEMPTY)
            return;
    }
}

static int sweep_one(void *arg, const char *name)
{
    int parent = *(int *)arg;
    struct naru_life life = {0};
    bool dead = strncmp(name, ".dead-", 6) == 0;
    if (!dead && strncmp(name, ".new-", 5) != 0)
        return 0;
    int directory = naru__os_open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (directory < 0)
        return 0;
    int r = naru__os_life_hold_at(directory, meta_name,
                                  dead ? NARU_OBJECT_REMOVAL_LOCK : NARU_OBJECT_MAKING_LOCK, &life);
    if (r == 0 && leads_to(parent, name, directory)) /* or it has got its name meanwhile */
        delete_directory(parent, name, directory);
    else if (r == -ENOENT) /* meta comes first and goes last: if it is not empty, it is in use */
        (void)naru__os_remove_directory_at(parent, name);
    naru__os_life_drop(&life);
    naru__os_close(directory);
    return 0;
}

static void sweep(int parent, bool all)
{
    (void)naru__os_list(parent, all, sweep_one, &parent);
}

void naru__object_sweep(int directory)
{
    sweep(directory, true);
}

/* ---- making ---- */

static mode_t file_mode(mode_t mode)
{
    return mode ? mode & 0666 : 0600;
}

static mode_t directory_mode(mode_t mode)
{
    mode = file_mode(mode);
    return mode | (mode & 0444) >> 2; /* who may read may enter */
}

static int random_name(const char *prefix, char *buf, size_t n)
{
    uint64_t number = 0;
    int r = naru__os_random(&number, sizeof number);
    snprintf(buf, n, "%s%016" PRIx64, prefix, number);
    return r;
}

static int no_room(const struct naru_object *o, const char *what, uint64_t size, int code)
{
    const char *path = strchr(o->url, '/') ? strchr(o->url, ':') + 1 : "/dev/shm";
    return naru__fail(code, "%s: no %s of %s: %s%s%s", o->url, what, naru__size_text(size).text,
                      naru__errno_text(code), naru__limit_of_files(code).text,
                      naru__limit_of_room(code, path, size).text);
}

int naru__object_file(const struct naru_object *o, const char *name, uint64_t size)
{
    mode_t mode = (mode_t)o->meta.mode;
    int fd = naru__os_create_at(o->directory, name, mode & 0600);
    int r = fd < 0 ? fd : naru__os_allocate(fd, size);
    if (r == 0 && mode != 0600)
        r = naru__os_chmod(fd, mode);
    if (r == 0)
        return fd;
    naru__os_close(fd);
    if (fd >= 0)
        (void)naru__os_unlink_at(o->directory, name);
    return no_room(o, name, size, r);
}

static bool swept(const struct naru_object *o)
{
    struct stat st;
    return naru__os_fstat(o->file, &st) == 0 && st.st_nlink == 0;
}

static int fill(struct naru_object *o, const struct naru_object_want *want)
{
    struct naru_object_meta *m = &o->meta;
    *m = (struct naru_object_meta){.magic = NARU_OBJECT_MAGIC,
                                   .version = NARU_OBJECT_VERSION,
                                   .what = want->what,
                                   .signature = want->signature,
                                   .members_max = want->members_max,
                                   .created = wall_clock(),
                                   .creator = (uint32_t)getpid(),
                                   .creator_uid = geteuid(),
                                   .mode = file_mode(want->mode)};
    memcpy(m->option, want->option, sizeof m->option);
    o->file = naru__object_file(o, meta_name, NARU_OBJECT_MEMBERS_AT);
    if (o->file < 0)
        return o->file == -ENOENT ? -EAGAIN : o->file;
    int r = naru__os_life_hold_at(o->directory, meta_name, NARU_OBJECT_MAKING_LOCK, &o->life);
    if (r == -EAGAIN || r == -ENOENT || (r == 0 && swept(o))) /* as it came to be */
        return -EAGAIN;
    if (r == 0)
        r = naru__os_write_at(o->file, m, sizeof *m, 0);
    if (r < 0)
        return naru__fail(r, "%s: making it failed: %s%s", o->url, naru__errno_text(r),
                          naru__limit_of_files(r).text);
    r = map_shared(o);
    return r == 0 && want->make ? want->make(o, want->arg) : r;
}

/* -EAGAIN without a sentence: begin again. */
static int make(const struct naru_url *url, const struct place *p,
                const struct naru_object_want *want, struct naru_object *o)
{
    char aside[32];
    *o = NARU_OBJECT_NONE;
    o->url = url->text;
    int r = random_name(".new-", aside, sizeof aside);
    if (r == 0)
        r = naru__os_make_directory_at(p->parent, aside, 0700);
    if (r < 0)
        return naru__fail(r, "%s cannot be made: %s", url->text, naru__errno_text(r));
    o->directory = naru__os_open_at(p->parent, aside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (o->directory < 0) {
        r = o->directory;
        (void)naru__os_remove_directory_at(p->parent, aside);
        return r == -ENOENT ? -EAGAIN
                            : naru__fail(r, "%s: opening its directory failed: %s%s", url->text,
                                         naru__errno_text(r), naru__limit_of_files(r).text);
    }
    r = fill(o, want);
    if (r == 0 && want->mode && (r = naru__os_chmod(o->directory, directory_mode(want->mode))) < 0)
        naru__fail(r, "%s: setting its mode failed: %s", url->text, naru__errno_text(r));
    if (r == 0) {
        r = naru__os_rename_at(p->parent, aside, p->name);
        if (r == -EEXIST || r == -ENOENT || r == -ENOTEMPTY)
            r = -EAGAIN;
        else if (r < 0)
            naru__fail(r, "%s: giving it its name failed: %s", url->text, naru__errno_text(r));
    }
    if (r < 0)
        delete_directory(p->parent, aside, o->directory);
    naru__os_life_drop(&o->life);
    o->created = r == 0;
    return r;
}

/* ---- removing ---- */

int naru__object_removed_fail(const struct naru_object *o)
{
    return naru__fail(-EIDRM, "%s was removed while it was open: open it again", o->url);
}

uint32_t naru__object_members(const struct naru_object *o)
{
    struct stat st;
    /* acquire: pairs with the release in raise_members(): the records have memory */
    uint32_t n = atomic_load_explicit(&o->state->members, memory_order_acquire);
    if (n > o->meta.members_max)
        n = o->meta.members_max;
    /* relaxed: a number that only grows, and each is true by itself */
    uint32_t known = atomic_load_explicit(&o->with_memory, memory_order_relaxed);
    if (n <= known)
        return n;
    if (naru__os_fstat(o->file, &st) < 0)
        return known;
    uint64_t room = ((uint64_t)st.st_size - NARU_OBJECT_MEMBERS_AT) / sizeof *o->members;
    known = room < o->meta.members_max ? (uint32_t)room : o->meta.members_max;
    atomic_store_explicit(&((struct naru_object *)(uintptr_t)o)->with_memory, known,
                          memory_order_relaxed);
    return known < n ? known : n;
}

static int hold_for_removal(const struct naru_object *o, struct naru_life *ret_life)
{
    enum { PATIENCE = 2 };
    int64_t end = naru__now() + PATIENCE * NARU_S;
    for (;;) {
        int r = naru__os_life_hold_at(o->directory, meta_name, NARU_OBJECT_REMOVAL_LOCK, ret_life);
        if (r == -ENOENT) /* it has gone meanwhile */
            return 0;
        if (r != -EAGAIN)
            return r < 0 ? naru__fail(r, "%s: removing failed: %s", o->url, naru__errno_text(r))
                         : 0;
        if (naru__now() >= end)
            return naru__fail(-EBUSY, "%s is being removed by a process that does not go on",
                              o->url);
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    }
}

void naru__object_wake(const struct naru_object *o)
{
    uint32_t n = naru__object_members(o);
    for (uint32_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            atomic_fetch_add(&o->members[i].bell[k], 1);
            (void)naru__os_futex_wake(&o->members[i].bell[k], INT_MAX);
        }
}

/* Of the open object, whose name this may still be. 0 also if somebody else has done it. */
static int remove_open(struct naru_object *o, const struct place *p)
{
    struct naru_life life = {0};
    char aside[32];
    int r = hold_for_removal(o, &life);
    if (r < 0 || !life.page)
        return r;
    if (!naru__object_removed(o)) {
        /* relaxed: naru__object_wake() releases it. In two steps: who is killed between the second
         * and its wake-ups leaves nobody asleep, for they tick since the first */
        atomic_store_explicit(&o->state->removed, NARU_OBJECT_GOING, memory_order_relaxed);
        naru__object_wake(o);
    }
    atomic_store_explicit(&o->state->removed, NARU_OBJECT_REMOVED, memory_order_relaxed);
    /* release: whoever sees the new epoch sees `removed` */
    atomic_fetch_add_explicit(&o->state->epoch, 1, memory_order_release);
    naru__object_wake(o);
    if (leads_to(p->parent, p->name, o->directory)) {
        r = random_name(".dead-", aside, sizeof aside);
        if (r == 0)
            r = naru__os_rename_at(p->parent, p->name, aside);
        if (r == 0)
            delete_directory(p->parent, aside, o->directory);
        else
            naru__fail(r, "%s: removing failed: %s; it belongs to uid %u", o->url,
                       naru__errno_text(r), o->meta.creator_uid);
    }
    naru__os_life_drop(&life);
    return r;
}

int naru__object_remove(const struct naru_url *url)
{
    struct place p;
    struct naru_object o;
    int r = find_place(url, &p);
    if (r < 0)
        return r;
    r = open_there(url, &p, &o);
    if (r == 0)
        r = remove_open(&o, &p);
    else if (r == -ENOENT)
        naru__fail(r, "%s is not there", url->text);
    naru__object_close(&o);
    sweep(p.parent, false); /* as makers do: to read all names for each removal costs too much */
    naru__os_close(p.parent);
    return r;
}

/* ---- opening ---- */

static int check_wanted(const struct naru_object *o, const struct naru_object_want *want)
{
    if (want->flags & NARU_EXCLUSIVE)
        return naru__fail(-EEXIST, "%s is there already (%s), and NARU_EXCLUSIVE was given", o->url,
                          naru__object_noun(o->meta.what));
    if (o->meta.what != want->what)
        return naru__fail(-EEXIST, "%s is %s, and %s was asked for: remove it, or use another name",
                          o->url, naru__object_noun(o->meta.what), naru__object_noun(want->what));
    if (o->meta.signature != want->signature)
        return naru__fail(-EPROTO,
                          "%s has the layout %08" PRIx32 " of another build, and this one's is "
                          "%08" PRIx32,
                          o->url, o->meta.signature, want->signature);
    if (want->mode && o->meta.mode != file_mode(want->mode))
        return naru__fail(-EEXIST, "%s has the mode %04" PRIo32 ", and %04o was asked for", o->url,
                          o->meta.mode, file_mode(want->mode));
    return want->agree ? want->agree(o, want->arg) : 0;
}

/* -EAGAIN without a sentence: begin again. */
static int open_once(const struct naru_url *url, const struct place *p,
                     const struct naru_object_want *want, struct naru_object *o)
{
    int r = open_there(url, p, o);
    if (r == -ENOENT && want->flags & NARU_EXISTING)
        return naru__fail(r, "%s is not there, and NARU_EXISTING was given", url->text);
    if (r == -ENOENT) {
        sweep(p->parent, false);
        return make(url, p, want, o);
    }
    if (r == 0 && naru__object_removed(o)) { /* its remover may have died at it */
        r = remove_open(o, p);
        return r < 0 ? r : -EAGAIN;
    }
    return r < 0 ? r : check_wanted(o, want);
}

int naru__object_open(const struct naru_url *url, const struct naru_object_want *want,
                      struct naru_object *ret_object)
{
    enum { TRIES = 1000 };
    struct place p;
    struct naru_object o;
    if (strcmp(url->scheme, "map") == 0 && want->what != NARU_OBJECT_JOURNAL)
        return naru__object_in_file(url, want, ret_object);
    int r = find_place(url, &p);
    if (r < 0)
        return r;
    for (int i = 0; i < TRIES; i++) {
        r = open_once(url, &p, want, &o);
        if (r == 0)
            break;
        naru__object_close(&o);
        if (r != -EAGAIN)
            break;
        naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text);
    }
    naru__os_close(p.parent);
    if (r == 0)
        *ret_object = o;
    return r == -EAGAIN ? -EBUSY : r;
}

/* ---- in a region ---- */

static int check_placed(struct naru_object *o, const struct naru_object_want *want, uint64_t bytes)
{
    int r = naru__object_check(&o->meta, o->url);
    if (r == 0)
        r = check_wanted(o, want);
    if (r == 0 && naru__object_bytes(o->meta.members_max) > bytes)
        r = naru__fail(-EPROTO,
                       "%s: it was made for %" PRIu32 " participants, and here are %" PRIu64
                       " bytes of the %" PRIu64 " that it has",
                       o->url, o->meta.members_max, bytes, naru__object_bytes(o->meta.members_max));
    return r;
}

/* Under the lock. The magic comes last: who sees it sees the whole. */
static int make_placed(struct naru_object *o, const struct naru_object_want *want, uint64_t bytes)
{
    struct naru_object_meta *there = (void *)((char *)o->state - NARU_OBJECT_STATE_AT);
    if (want->flags & NARU_EXISTING)
        return naru__fail(-ENOENT, "%s: no lock lies there, and NARU_EXISTING was given", o->url);
    if (naru__object_bytes(want->members_max) > bytes)
        return naru__fail(-ENOSPC,
                          "%s: %s for %" PRIu32 " participants takes %" PRIu64
                          " bytes, and %" PRIu64 " are left there",
                          o->url, naru__object_noun(want->what), want->members_max,
                          naru__object_bytes(want->members_max), bytes);
    /* behind the magic, which others look at all the time */
    memset((char *)there + sizeof there->magic, 0,
           naru__object_bytes(want->members_max) - sizeof there->magic);
    o->meta = (struct naru_object_meta){.version = NARU_OBJECT_VERSION,
                                        .what = want->what,
                                        .signature = want->signature,
                                        .members_max = want->members_max,
                                        .created = wall_clock(),
                                        .creator = (uint32_t)getpid(),
                                        .creator_uid = geteuid(),
                                        .mode = file_mode(want->mode),
                                        .flags = o->mapped ? NARU_OBJECT_WHOLE_FILE : 0,
                                        .boot = naru__os_boot()};
    memcpy(o->meta.option, want->option, sizeof o->meta.option);
    int r = want->make ? want->make(o, want->arg) : 0;
    if (r < 0)
        return r;
    memcpy((char *)there + sizeof there->magic, (char *)&o->meta + sizeof o->meta.magic,
           sizeof o->meta - sizeof o->meta.magic);
    o->meta.magic = NARU_OBJECT_MAGIC;
    o->created = true;
    /* release: pairs with the acquire in naru__object_in_region() */
    __atomic_store_n(&there->magic, NARU_OBJECT_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

static int hold_placed(const struct naru_object *o, struct naru_life *ret_life)
{
    enum { PATIENCE = 2 };
    int64_t end = naru__now() + PATIENCE * NARU_S;
    int r;
    while ((r = naru__object_hold(o, NARU_OBJECT_REGION_LOCK, ret_life)) == -EAGAIN &&
           naru__now() < end)
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    if (r == -EAGAIN)
        return naru__fail(-EBUSY, "%s is being made by a process that does not go on", o->url);
    return r < 0 ? naru__fail(r, "%s: its lock of the kernel's: %s%s", o->url, naru__errno_text(r),
                              naru__limit_of_files(r).text)
                 : 0;
}

/* The first who comes after a start of the machine; who is killed at it leaves it to the next. */
static int begin_again(struct naru_object *o, const struct naru_object_want *want)
{
    struct naru_object_meta *there = (void *)((char *)o->state - NARU_OBJECT_STATE_AT);
    uint64_t boot = naru__os_boot();
    struct naru_life life;
    /* acquire: pairs with the release below */
    if (!want->again || boot == 0 || __atomic_load_n(&there->boot, __ATOMIC_ACQUIRE) == boot)
        return 0;
    int r = hold_placed(o, &life);
    if (r < 0)
        return r;
    if (__atomic_load_n(&there->boot, __ATOMIC_ACQUIRE) != boot) {
        memset(o->state, 0,
               naru__object_bytes(o->meta.members_max) - NARU_OBJECT_STATE_AT);
        r = want->again(o, want->arg);
        if (r == 0) /* release: who sees it sees the state begun */
            __atomic_store_n(&there->boot, boot, __ATOMIC_RELEASE);
    }
    naru__os_life_drop(&life);
    return r;
}

int naru__object_in_region(const char *url, int file, uint64_t offset, void *memory, uint64_t bytes,
                           const struct naru_object_want *want, struct naru_object *ret_object)
{
    const uint64_t *magic = memory;
    struct naru_object o = NARU_OBJECT_NONE;
    struct naru_life life;
    o.mapped = ret_object->mapped;
    o.url = url;
    o.file = file;
    o.in_region = true;
    o.life_at = NARU_OBJECT_REGION_LIFE_AT + offset;
    if (bytes < NARU_OBJECT_MEMBERS_AT)
        return naru__fail(-ENOSPC,
                          "%s: a lock takes %d bytes at least, and %" PRIu64 " are left there", url,
                          NARU_OBJECT_MEMBERS_AT, bytes);
    o.state = (void *)((char *)memory + NARU_OBJECT_STATE_AT);
    o.members = (void *)(o.state + 1);
    int r = 0;
    /* acquire: pairs with the release in make_placed() */
    if (__atomic_load_n(magic, __ATOMIC_ACQUIRE) == 0) {
        r = hold_placed(&o, &life);
        if (r == 0) {
            if (__atomic_load_n(magic, __ATOMIC_ACQUIRE) == 0)
                r = make_placed(&o, want, bytes);
            naru__os_life_drop(&life);
        }
    }
    if (r == 0 && !o.created) {
        memcpy(&o.meta, memory, sizeof o.meta);
        r = check_placed(&o, want, bytes);
        if (r == 0)
            r = begin_again(&o, want);
    }
    atomic_store(&o.with_memory, o.meta.members_max);
    if (r == 0)
        *ret_object = o;
    return r;
}

void naru__object_close(struct naru_object *o)
{
    if (o->in_region) {
        naru__os_life_drop(&o->life);
        if (o->mapped) {
            naru__os_unmap((char *)o->state - NARU_OBJECT_STATE_AT, o->mapped);
            naru__os_close(o->file);
        }
        *o = NARU_OBJECT_NONE;
        return;
    }
    if (o->state)
        naru__os_unmap(o->state,
                       NARU_OBJECT_MEMBERS_AT - NARU_OBJECT_STATE_AT + members_size(&o->meta));
    naru__os_life_drop(&o->life);
    o->state = NULL;
    o->members = NULL;
    o->file = naru__os_close(o->file);
    o->directory = naru__os_close(o->directory);
}

/* ---- taking part ---- */

static void raise_members(struct naru_object *o, uint32_t n)
{
    uint32_t is = atomic_load_explicit(&o->state->members, memory_order_relaxed);
    /* release: pairs with the acquire in naru__object_members() */
    while (is < n && !atomic_compare_exchange_weak_explicit(
                         &o->state->members, &is, n, memory_order_release, memory_order_relaxed))
        ;
}

void naru__object_changed(struct naru_object *o)
{
    /* release: who sees the new epoch sees what has changed */
    atomic_fetch_add_explicit(&o->state->epoch, 1, memory_order_release);
}

/* Under record i's lock: what its dead member has left. */
static int clean_up(struct naru_object *o, uint32_t i, naru_object_clean *clean)
{
    _Atomic uint64_t *who = &o->members[i].who;
    /* acquire: pairs with the release in naru__object_appear: what the dead one had written */
    uint64_t was = atomic_load_explicit(who, memory_order_acquire);
    int r = naru__member_role(was) && clean ? clean(o, i) : 0;
    if (r < 0)
        return r;
    /* release: pairs with the acquire of who takes the record next */
    atomic_store_explicit(who, was & ~UINT64_C(0xffff), memory_order_release);
    naru__object_changed(o);
    return 0;
}

int naru__object_hold(const struct naru_object *o, uint64_t byte, struct naru_life *ret_life)
{
    return o->in_region ? naru__os_life_hold(o->file, o->life_at + byte, ret_life)
                        : naru__os_life_hold_at(o->directory, meta_name, byte, ret_life);
}

static int take_record(struct naru_object *o, uint32_t i)
{
    uint32_t n = naru__object_members(o);
    if (i < n && naru__os_life_held(o->file, o->life_at + i) > 0)
        return -EAGAIN;
    return naru__object_hold(o, i, &o->life);
}

int naru__object_join(struct naru_object *o, naru_object_clean *clean)
{
    enum { PAGE = 4096 };
    int r = -EAGAIN;
    uint32_t i;
    for (i = 0; i < o->meta.members_max; i++) {
        r = take_record(o, i);
        if (r != -EAGAIN)
            break;
    }
    if (r == -EAGAIN)
        return naru__fail(-ENOSPC, "%s has as many participants as it can have: %" PRIu32, o->url,
                          o->meta.members_max);
    if (r == -ENOENT)
        return naru__object_removed_fail(o);
    if (r < 0)
        return naru__fail(r, "%s: the lock of participant %" PRIu32 ": %s%s", o->url, i,
                          naru__errno_text(r), naru__limit_of_files(r).text);
    uint64_t records = ((uint64_t)i + 1) * sizeof *o->members;
    if (i >= naru__object_members(o) && !o->in_region) {
        r = naru__os_allocate(o->file, NARU_OBJECT_MEMBERS_AT + (records + PAGE - 1) / PAGE * PAGE);
        if (r < 0)
            r = no_room(o, "room for one more participant", records, r);
    }
    if (r == 0)
        raise_members(o, i + 1);
    if (r == 0 && naru__member_role(atomic_load(&o->members[i].who)))
        r = clean_up(o, i, clean);
    if (r < 0) {
        naru__os_life_drop(&o->life);
        return r;
    }
    struct naru_object_member *m = &o->members[i];
    o->member = i;
    o->generation = (atomic_load_explicit(&m->who, memory_order_relaxed) >> 16) + 1;
    atomic_store_explicit(&m->pid, (uint32_t)getpid(), memory_order_relaxed);
    atomic_store_explicit(&m->uid, geteuid(), memory_order_relaxed);
    atomic_store_explicit(&m->pid_namespace, naru__os_pid_namespace(), memory_order_relaxed);
    atomic_store_explicit(&m->since, wall_clock(), memory_order_relaxed);
    atomic_store_explicit(&m->registered, naru__os_barrier_register() == 0, memory_order_relaxed);
    for (size_t k = 0; !o->keeps && k < sizeof m->kind / sizeof *m->kind; k++)
        atomic_store_explicit(&m->kind[k], 0, memory_order_relaxed);
    return 0;
}

void naru__object_appear(struct naru_object *o, uint32_t role)
{
    /* release: pairs with the acquire of whoever looks at the members */
    atomic_store_explicit(&o->members[o->member].who, o->generation << 16 | role,
                          memory_order_release);
    naru__object_changed(o);
}

void naru__object_leave(struct naru_object *o)
{
    if (o->generation == 0)
        return;
    atomic_store_explicit(&o->members[o->member].who, o->generation << 16, memory_order_release);
    naru__object_changed(o);
    naru__os_life_drop(&o->life);
    o->generation = 0;
}

bool naru__object_died(const struct naru_object *o, uint32_t i)
{
    return naru__member_role(atomic_load_explicit(&o->members[i].who, memory_order_relaxed)) &&
           naru__os_life_held(o->file, o->life_at + i) == 0;
}

int naru__object_collect(struct naru_object *o, naru_object_clean *clean)
{
    uint32_t n = naru__object_members(o);
    int cleaned = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct naru_life life = {0};
        if (!naru__object_died(o, i) || naru__object_hold(o, i, &life) < 0)
            continue;
        int r = clean_up(o, i, clean); /* it may be clean by now: then nothing happens */
        naru__os_life_drop(&life);
        if (r < 0)
            return r;
        cleaned++;
    }
    return cleaned;
}
