/* SPDX-License-Identifier: MIT */
/* named.c - a small named object, by which the rig is tested on names: made, opened, removed.
 *
 * An object is a directory with one file. It is filled as .new-PID, the file locked by its maker,
 * and appears by a rename; it goes as .dead-PID. Whoever comes later sweeps both: a .new- whose
 * lock is free, any .dead-. A sweeper may be faster than the maker's lock: that begins anew. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM "/dev/shm/naru-crash"
#define OBJECT ROOM "/object"

enum { CREATE, REMOVE };
static const char *const operations[] = {"create", "remove", NULL};
enum { ABSENT, PRESENT, STALE, CONTENDED };
static const char *const states[] = {"absent", "present", "stale", "contended", NULL};
static const char *const rooms[] = {"/tests/crash/named.c", NULL};
static const struct flaw flaws[] = {
    {"built-in-place", 1 << IMAGES | 1 << KILLS},
    {"nothing-is-swept", 1 << IMAGES | 1 << KILLS},
    {NULL, 0},
};

static const char magic[8] = "object";

static bool has(const struct world *w, const char *flaw)
{
    return w->flaw && strcmp(w->flaw, flaw) == 0;
}

static int lock_command(int fd, int how)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int r = fcntl(fd, how, &lock);
    return how == F_GETLK && r == 0 ? lock.l_type == F_UNLCK : r;
}

static void take_away(const char *directory)
{
    char path[192];
    snprintf(path, sizeof path, "%.128s/meta", directory);
    unlink(path);
    rmdir(directory);
}

static void sweep_names(const struct world *w)
{
    char path[128], meta[160];
    DIR *d = has(w, "nothing-is-swept") ? NULL : opendir(ROOM);
    for (struct dirent *e; d && (e = readdir(d));) {
        bool new = strncmp(e->d_name, ".new-", 5) == 0;
        if (!new &&strncmp(e->d_name, ".dead-", 6) != 0)
            continue;
        snprintf(path, sizeof path, ROOM "/%.64s", e->d_name);
        snprintf(meta, sizeof meta, "%s/meta", path);
        int fd = open(meta, O_RDWR | O_CLOEXEC);
        if (!new || fd < 0 || lock_command(fd, F_GETLK))
            take_away(path);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

/* 0 made, or there already. */
static int create(const struct world *w)
{
    char aside[64], meta[96];
    int r = -1;
    snprintf(aside, sizeof aside, has(w, "built-in-place") ? OBJECT : ROOM "/.new-%d", getpid());
    snprintf(meta, sizeof meta, "%s/meta", aside);
    for (int i = 0; i < 100 && r != 0; i++) {
        mkdir(ROOM, 0700);
        if (mkdir(aside, 0700) != 0 && has(w, "built-in-place"))
            return 0;
        int fd = open(meta, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            continue;
        lock_command(fd, F_SETLK);
        if (write(fd, magic, sizeof magic) == sizeof magic)
            r = has(w, "built-in-place") ? 0 : renameat2(-1, aside, -1, OBJECT, RENAME_NOREPLACE);
        if (r != 0 && errno == EEXIST)
            r = 0;
        close(fd);
    }
    if (!has(w, "built-in-place"))
        take_away(aside); /* if another was first */
    return r;
}

static void remove_object(void)
{
    char aside[64];
    snprintf(aside, sizeof aside, ROOM "/.dead-%d", getpid());
    if (rename(OBJECT, aside) == 0)
        take_away(aside);
}

static bool same(int directory)
{
    struct stat now, then;
    return stat(OBJECT, &now) == 0 && fstat(directory, &then) == 0 && now.st_ino == then.st_ino;
}

/* Whether it is there; if so it is whole. By its directory, for between two looks at the name it
 * may come or go. */
static bool look(struct world *w)
{
    char text[sizeof magic] = "";
    int directory = open(OBJECT, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return false;
    int fd = openat(directory, "meta", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    bool there = same(directory);
    close(directory);
    if (there && (n != sizeof magic || memcmp(text, magic, sizeof magic) != 0))
        failed(w, "a half-built object is seen");
    return there;
}

/* ---- the scenario ---- */

static void prepare(struct world *w)
{
    if (w->state == PRESENT || w->state == CONTENDED)
        create(w);
    if (w->state != STALE)
        return;
    mkdir(ROOM, 0700); /* of one that died */
    mkdir(ROOM "/.new-1", 0700);
    close(open(ROOM "/.new-1/meta", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    mkdir(ROOM "/.dead-1", 0700);
}

static void attach(struct world *w, int who)
{
    if (w->state == CONTENDED && who == 2) /* has it open all the time */
        w->object = fopen(OBJECT "/meta", "re");
}

static void operate(struct world *w)
{
    sweep_names(w);
    if (w->operation == CREATE && create(w) == 0)
        w->log->own[0] = 1;
    if (w->operation == REMOVE) {
        remove_object();
        w->log->own[1] = 1;
    }
}

static void survive(struct world *w, int who, enum fate fate)
{
    sweep_names(w);
    bool made = w->log->own[0], removed = w->log->own[1];
    bool there = look(w);
    if (made && !there)
        failed(w, "an object that was made is not there");
    if (removed && there)
        failed(w, "an object that was removed is there");
    going_on(w, who);
    if (fate != PAUSED && w->object)
        fclose(w->object);
}

static void sweep(struct world *w)
{
    sweep_names(w);
    remove_object();
    rmdir(ROOM);
}

const struct scenario named_scenario = {
    .name = "named",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .flaws = flaws,
    .participants = 3,
    .names = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .sweep = sweep,
};
