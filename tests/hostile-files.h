/* SPDX-License-Identifier: MIT */
/* hostile-files.h - the files of an object's directory, as somebody has them who writes anything
 * into them. */
#ifndef NARU_TESTS_HOSTILE_FILES_H
#define NARU_TESTS_HOSTILE_FILES_H

#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct file {
    char name[40];
    uint8_t *bytes;
    uint8_t *before; /* what it held, for who keeps that; owned */
    size_t size;
} files[32];
static size_t n_files;

static void map_files(const char *directory)
{
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d)) && n_files < sizeof files / sizeof *files;) {
        struct file f = {{0}, NULL, NULL, 0};
        struct stat st;
        int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
            close(fd);
            continue;
        }
        snprintf(f.name, sizeof f.name, "%.39s", e->d_name);
        f.size = (size_t)st.st_size;
        f.bytes = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        expect(f.bytes != MAP_FAILED);
        close(fd);
        files[n_files++] = f;
    }
    if (d)
        closedir(d);
}

static void unmap_files(void)
{
    while (n_files > 0) {
        n_files--;
        munmap(files[n_files].bytes, files[n_files].size);
        free(files[n_files].before);
    }
}

static struct file *file_of(const char *name)
{
    for (size_t i = 0; i < n_files; i++)
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    test_failed(__FILE__, __LINE__, "there is no %s", name);
}

/* What is damaged so far that naru leaves it alone goes by hand. */
static void delete_all(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inside[600];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        if (unlink(inside) < 0) {
            delete_all(inside);
            rmdir(inside);
        }
    }
    if (d)
        closedir(d);
}

#endif
