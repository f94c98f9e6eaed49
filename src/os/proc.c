/* SPDX-License-Identifier: MIT */
/* proc.c - reading /proc. Processes come and go meanwhile: what has gone is passed over. */
#include "os/proc.h"

#include "base/fault.h"
#include "os/fd.h"
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static DIR *open_directory(const char *path)
{
    if (naru__fault_at("opendir") < 0) {
        errno = ENOMEM;
        return NULL;
    }
    return opendir(path);
}

static FILE *open_file(const char *path)
{
    if (naru__fault_at("open") < 0) {
        errno = EMFILE;
        return NULL;
    }
    return fopen(path, "re");
}

/* ---- all processes ---- */

struct visit {
    naru_proc_file *file;
    naru_proc_mapped *mapped;
    void *arg;
};

/* Looks at one: what the caller's function said, or, with *ret_opened false, why it cannot. */
typedef int look(const struct visit *, pid_t, bool *ret_opened);

static int each_process(look *look, const struct visit *visit, size_t *ret_hidden)
{
    struct dirent *entry;
    int r = 0;
    *ret_hidden = 0;
    DIR *processes = open_directory("/proc");
    if (!processes)
        return -errno;
    while (r >= 0 && (entry = readdir(processes))) {
        pid_t pid = (pid_t)atol(entry->d_name);
        bool opened = false;
        if (pid <= 0)
            continue;
        r = look(visit, pid, &opened);
        if (!opened && r == -EACCES)
            ++*ret_hidden;
        if (!opened && (r == -EACCES || r == -ENOENT || r == -ESRCH))
            r = 0;
    }
    closedir(processes);
    return r < 0 ? r : 0;
}

static int look_at_files(const struct visit *visit, pid_t pid, bool *ret_opened)
{
    char path[64], target[PATH_MAX];
    struct dirent *entry;
    int r = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *fds = open_directory(path);
    if (!fds)
        return -errno;
    *ret_opened = true;
    while (r >= 0 && (entry = readdir(fds))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%.20s", (int)pid, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        r = visit->file(visit->arg, pid, atoi(entry->d_name), target);
    }
    closedir(fds);
    return r;
}

int naru__os_proc_files(naru_proc_file *each, void *arg, size_t *ret_hidden)
{
    return each_process(look_at_files, &(struct visit){.file = each, .arg = arg}, ret_hidden);
}

static int look_at_maps(const struct visit *visit, pid_t pid, bool *ret_opened)
{
    char line[PATH_MAX + 100], mode[5];
    int r = 0;
    snprintf(line, sizeof line, "/proc/%d/maps", (int)pid);
    FILE *maps = open_file(line);
    if (!maps)
        return -errno;
    *ret_opened = true;
    while (r >= 0 && fgets(line, sizeof line, maps)) {
        uint64_t from, to, inode;
        unsigned major, minor;
        int path = 0;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &from, &to, mode,
                   &major, &minor, &inode, &path) < 6 ||
            mode[3] != 's' || path == 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        struct naru_proc_map map = {.device = makedev(major, minor),
                                    .inode = (ino_t)inode,
                                    .bytes = to - from,
                                    .writable = mode[1] == 'w',
                                    .path = line + path};
        r = visit->mapped(visit->arg, pid, &map);
    }
    fclose(maps);
    return r;
}

int naru__os_proc_maps(naru_proc_mapped *each, void *arg, size_t *ret_hidden)
{
    return each_process(look_at_maps, &(struct visit){.mapped = each, .arg = arg}, ret_hidden);
}

/* ---- one process ---- */

int naru__os_proc_open(pid_t pid, int fd)
{
    char path[64];
    int r = naru__fault_at("open");
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    r = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return r < 0 ? -errno : r;
}

/* The text behind `key` at the front of a line. */
static int read_line(const char *path, const char *key, char *buf, size_t n)
{
    char line[256];
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    int r = -ENOENT;
    while (r < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) {
            snprintf(buf, n, "%s", line + strlen(key));
            r = 0;
        }
    fclose(f);
    return r;
}

int naru__os_proc_file_flags(pid_t pid, int fd)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
    int r = read_line(path, "flags:", text, sizeof text);
    return r < 0 ? r : (int)strtol(text, NULL, 8);
}

int64_t naru__os_proc_uid(pid_t pid)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return stat(path, &st) < 0 ? -1 : (int64_t)st.st_uid;
}

pid_t naru__os_proc_inner_pid(pid_t pid)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (read_line(path, "NSpid:", text, sizeof text) < 0)
        return 0;
    const char *last = strrchr(text, '\t'); /* one number a namespace, the innermost last */
    return (pid_t)atol(last ? last : text);
}

uint64_t naru__os_boot(void)
{
    char text[37] = ""; /* random digits, and hyphens */
    unsigned high, low;
    int fd = naru__os_open("/proc/sys/kernel/random/boot_id", O_RDONLY);
    ssize_t n = fd < 0 ? fd : naru__os_read(fd, text, sizeof text - 1);
    naru__os_close(fd);
    if (n < 0 || sscanf(text, "%8x-%*4x-%*4x-%*4x-%8x", &high, &low) != 2)
        return 0;
    return (uint64_t)high << 32 | low;
}
