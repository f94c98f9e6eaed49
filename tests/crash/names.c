/* SPDX-License-Identifier: MIT */
/* names.c - directories of one's own: a driver's, so that what is found there is its worlds', and
 * an image's, for copies under the same names. One is /dev/shm, the other lies on disk, in $TMPDIR,
 * or in /tmp if that is in /dev/shm.
 * Without the right to mount images have none, and nothing is said about names. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char shm[] = "/dev/shm";
static char disk[PATH_MAX];
static const char *chosen = shm;
static bool own;

/* Before names_own(), which covers what lies in /dev/shm: a $TMPDIR there is of no use. */
bool disk_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    char real[PATH_MAX];
    size_t n = sizeof shm - 1;
    if (!tmp || !*tmp)
        tmp = "/tmp";
    if (realpath(tmp, real) && strncmp(real, shm, n) == 0 && (real[n] == '/' || !real[n]))
        tmp = "/tmp";
    snprintf(disk, sizeof disk, "%s/crash-XXXXXX", tmp);
    return mkdtemp(disk) != NULL;
}

void disk_clear(void)
{
    DIR *d = opendir(disk);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

void disk_end(void)
{
    disk_clear();
    rmdir(disk);
}

const char *disk_directory(void)
{
    return disk;
}

bool in_disk_directory(const char *path)
{
    size_t n = strlen(disk);
    return n && strncmp(path, disk, n) == 0 && path[n] == '/';
}

void names_choose(bool on_disk)
{
    chosen = on_disk ? disk : shm;
}

const char *names_directory(void)
{
    return chosen;
}

bool names_own(void)
{
    return own = unshare(CLONE_NEWNS) == 0 &&
                 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                 mount("crash", chosen, "tmpfs", 0, "mode=1777") == 0;
}

/* Is anything there? ret_name: the first thing, but the directories of users, which stay. */
static bool find_left(int fd, int depth, char *name, size_t size)
{
    DIR *d = fdopendir(fd);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (depth == 0 && strncmp(e->d_name, "naru-", 5) == 0) {
            found = find_left(openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), 1,
                              name, size);
        } else {
            found = true;
            snprintf(name, size, "%s", e->d_name);
        }
    }
    if (d)
        closedir(d);
    return found;
}

bool names_left(char *ret_name, size_t size)
{
    int fd = own ? open(chosen, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return fd >= 0 && find_left(fd, 0, ret_name, size);
}

void names_clear(void)
{
    if (chosen == disk)
        disk_clear();
    else
        names_own();
}

bool names_used(void)
{
    char name[256];
    struct stat st;
    if (chosen == disk)
        return names_left(name, sizeof name);
    return own && stat(chosen, &st) == 0 && st.st_nlink > 2; /* a directory of a user */
}

static uint64_t mix(uint64_t print, uint64_t value)
{
    return pseudo_random(&(uint64_t){print ^ value});
}

static uint64_t print_names(int fd)
{
    DIR *d = fdopendir(fd);
    uint64_t sum = 0; /* the order of names says nothing */
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        uint64_t one = mix(st.st_ino, st.st_mode);
        for (const char *c = e->d_name; *c; c++)
            one = mix(one, (unsigned char)*c);
        if (S_ISDIR(st.st_mode))
            one = mix(one, print_names(openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC)));
        else
            one = mix(mix(one, (uint64_t)st.st_size), (uint64_t)st.st_mtim.tv_nsec);
        sum += one;
    }
    if (d)
        closedir(d);
    return sum;
}

uint64_t names_print(void)
{
    return names_used() ? print_names(open(chosen, O_RDONLY | O_CLOEXEC)) : 0;
}
