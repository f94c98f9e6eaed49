/* SPDX-License-Identifier: MIT */
/* shm.c - a /dev/shm of one's own: a driver's, so that what is found there is its worlds', and an
 * image's, for copies under the same names. Without the right to mount there is none, and nothing
 * is said about names. */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static bool own_shm;

bool shm_own(void)
{
    return own_shm = unshare(CLONE_NEWNS) == 0 &&
                     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     mount("crash", "/dev/shm", "tmpfs", 0, "mode=1777") == 0;
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

bool shm_left(char *ret_name, size_t size)
{
    int fd = own_shm ? open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return fd >= 0 && find_left(fd, 0, ret_name, size);
}

bool shm_used(void)
{
    struct stat st;
    return own_shm && stat("/dev/shm", &st) == 0 && st.st_nlink > 2; /* a directory of a user */
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

uint64_t shm_print(void)
{
    return shm_used() ? print_names(open("/dev/shm", O_RDONLY | O_CLOEXEC)) : 0;
}
