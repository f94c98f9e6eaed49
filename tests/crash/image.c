/* SPDX-License-Identifier: MIT */
/* image.c - what the world would look like to a survivor if the subject had died just now.
 *
 * The subject is stopped and the survivor idle, so memory stands still. In a clone of the survivor
 * each shared file (a memfd, a file on tmpfs) is copied into a memfd of its own, which takes its
 * place under each descriptor and each mapping. The copy is another inode: locks that the subject
 * holds are not on it. Sockets are put in the state that a death leaves: hung up; an epoll set is
 * made again, of what takes the place of its descriptors. Names, in /dev/shm or on disk, are copied
 * into another directory in its place, in a mount namespace of the clone's own. */
#include "rig.h"

#include "object/object.h"
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { MAPPINGS_MAX = 64 };

struct mapping {
    uint64_t start, end, offset, inode;
    char mode[5];
};

/* Shared mappings of the process, but the rig's own. */
static int shared_mappings(pid_t pid, struct mapping *list)
{
    char path[64];
    static char text[1 << 16];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC), n = 0;
    size_t size = 0;
    for (ssize_t got; size < sizeof text - 1 &&
                      (got = read(fd, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)got;
    close(fd);
    text[size] = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        struct mapping m;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %" SCNu64, &m.start, &m.end,
                   m.mode, &m.offset, &m.inode) != 5 ||
            m.mode[3] != 's' || n == MAPPINGS_MAX ||
            memmem(line, (size_t)(end - line), "crash-rig", 9))
            continue;
        list[n++] = m;
    }
    return n;
}

bool shared_mapped(void)
{
    struct mapping list[MAPPINGS_MAX];
    return shared_mappings(getpid(), list) > 0;
}

/* ---- has anything changed? ---- */

static struct {
    pid_t pid;
    int n;
    struct mapping mapping[MAPPINGS_MAX];
    char *old, *new;
    size_t size, room;
    struct log log;
    uint64_t names, old_names;
} seen;

/* What the process itself can change: the others stand still, and what a call of the kernel's
 * changes in a file, its times tell (names_print). */
static bool may_change(const struct mapping *m)
{
    return m->mode[0] == 'r' && m->mode[1] == 'w';
}

void shared_look(pid_t pid)
{
    seen.pid = pid;
    seen.names = names_print();
    seen.n = shared_mappings(pid, seen.mapping);
    size_t size = 0;
    for (int i = 0; i < seen.n; i++)
        if (may_change(&seen.mapping[i]))
            size += seen.mapping[i].end - seen.mapping[i].start;
    if (size > seen.room) {
        seen.old = realloc(seen.old, size);
        seen.new = realloc(seen.new, size);
        seen.room = size;
    }
    if (size != seen.size && seen.old)
        memset(seen.old, 0x5a, size);
    seen.size = size;
}

bool shared_changed(struct world *w)
{
    size_t at = 0;
    for (int i = 0; i < seen.n; i++) {
        const struct mapping *m = &seen.mapping[i];
        if (!may_change(m))
            continue;
        struct iovec here = {seen.new + at, m->end - m->start};
        struct iovec there = {(void *)(uintptr_t)m->start, m->end - m->start};
        ssize_t got = process_vm_readv(seen.pid, &here, 1, &there, 1, 0);
        size_t n = got < 0 ? 0 : (size_t)got; /* a file may end before its mapping does */
        memset(seen.new + at + n, 0, m->end - m->start - n);
        at += m->end - m->start;
    }
    bool same = seen.names == seen.old_names &&
                memcmp(&seen.log, w->log, sizeof seen.log) == 0 &&
                (at == 0 || memcmp(seen.old, seen.new, at) == 0);
    if (same)
        return false;
    memcpy(&seen.log, w->log, sizeof seen.log);
    seen.old_names = seen.names;
    char *old = seen.old;
    seen.old = seen.new;
    seen.new = old;
    return true;
}

/* ---- the clone's side ---- */

static struct {
    uint64_t inode;
    int fd, seals;
} copies[MAPPINGS_MAX];
static int n_copies;
static pid_t subject;

static void copy_bytes(int from, int to, size_t size)
{
    static char block[1 << 16];
    off_t at = 0;
    while ((size_t)at < size) {
        ssize_t got = pread(from, block, sizeof block, at);
        if (got <= 0 || pwrite(to, block, (size_t)got, at) != got)
            return;
        at += got;
    }
}

static int known_copy(uint64_t inode)
{
    for (int i = 0; i < n_copies; i++)
        if (copies[i].inode == inode)
            return copies[i].fd;
    return -1;
}

/* Out of the way of the descriptors to replace. */
static int keep_copy(uint64_t inode, int fd, int seals)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 512);
    close(fd);
    copies[n_copies].inode = inode;
    copies[n_copies].fd = high;
    copies[n_copies++].seals = seals;
    return high;
}

/* The copy of this inode, which `from` reads. */
static int copy_of(uint64_t inode, int from)
{
    int there = known_copy(inode);
    if (there >= 0 || n_copies == MAPPINGS_MAX || from < 0)
        return there;
    struct stat st;
    int seals = fcntl(from, F_GET_SEALS);
    int fd = memfd_create("naru:image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fstat(from, &st) != 0 || ftruncate(fd, st.st_size) != 0)
        return -1;
    copy_bytes(from, fd, (size_t)st.st_size);
    return keep_copy(inode, fd, seals);
}

static void copy_attributes(int from, const char *name, int to)
{
    char path[PATH_MAX], names[256], value[256];
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", from, name);
    ssize_t n = listxattr(path, names, sizeof names);
    for (char *one = names; n > 0 && one < names + n; one += strlen(one) + 1) {
        ssize_t size = getxattr(path, one, value, sizeof value);
        if (size >= 0 && fsetxattr(to, one, value, (size_t)size, 0) != 0)
            perror("crash: image");
    }
}

/* Of a file that the subject keeps to itself by a lease: from its memory. */
static void copy_leased(uint64_t inode, int to)
{
    struct mapping list[MAPPINGS_MAX];
    static char page[4096];
    struct stat st;
    int n = shared_mappings(subject, list);
    for (int i = 0; i < n && fstat(to, &st) == 0; i++) {
        for (uint64_t at = list[i].start; list[i].inode == inode && at < list[i].end;
             at += sizeof page) {
            uint64_t offset = list[i].offset + (at - list[i].start);
            uint64_t left = offset < (uint64_t)st.st_size ? (uint64_t)st.st_size - offset : 0;
            struct iovec here = {page, sizeof page}, there = {(void *)(uintptr_t)at, sizeof page};
            if (left && process_vm_readv(subject, &here, 1, &there, 1, 0) == sizeof page &&
                pwrite(to, page, left < sizeof page ? left : sizeof page, (off_t)offset) < 0)
                perror("crash: image");
        }
    }
}

/* A name of the tree: a file keeps its mode, a socket becomes one that nobody listens at. */
static void copy_name(int from, int to, const char *name, const struct stat *st)
{
    char target[256];
    if (S_ISREG(st->st_mode) && n_copies < MAPPINGS_MAX) {
        int reader = openat(from, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        int fd = openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 07777);
        if (fd >= 0 && ftruncate(fd, st->st_size) == 0) {
            if (reader < 0 && errno == EWOULDBLOCK)
                copy_leased(st->st_ino, fd);
            else
                copy_bytes(reader, fd, (size_t)st->st_size);
            copy_attributes(from, name, fd);
            keep_copy(st->st_ino, fd, 0);
        }
        close(reader);
    } else if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlinkat(from, name, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        if (symlinkat(target, to, name) != 0)
            perror("crash: image");
    } else if (!S_ISDIR(st->st_mode)) {
        mknodat(to, name, st->st_mode, st->st_rdev);
    }
}

static void copy_tree(int from, int to)
{
    DIR *d = fdopendir(from);
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        copy_name(dirfd(d), to, e->d_name, &st);
        if (S_ISDIR(st.st_mode) && mkdirat(to, e->d_name, st.st_mode & 07777) == 0) {
            int there = openat(to, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            copy_tree(openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), there);
            close(there);
        }
    }
    if (d)
        closedir(d);
}

static void copy_names(void)
{
    int old = open(names_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || !names_used()) {
        close(old);
        return;
    }
    int new = names_own() ? open(names_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (new < 0) {
        perror("crash: an image's own directory");
        _exit(3);
    }
    copy_tree(old, new);
    close(new);
}

static int open_of(int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

static void replace(int fd, int with, int flags)
{
    int keep = fcntl(fd, F_GETFD);
    dup3(with, fd, keep & FD_CLOEXEC ? O_CLOEXEC : 0);
    close(with);
    if (flags & O_NONBLOCK)
        fcntl(fd, F_SETFL, flags & O_NONBLOCK);
}

/* What had arrived is still to be read; then it is hung up. */
static void hang_up(int fd, int flags)
{
    int type = SOCK_STREAM, pair[2], listens = 0;
    socklen_t size = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    size = sizeof listens;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
    if (listens || socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) != 0)
        return;
    static char block[1 << 16];
    ssize_t got = recv(fd, block, sizeof block, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 && send(pair[1], block, (size_t)got, MSG_NOSIGNAL) < 0)
        perror("crash: image");
    close(pair[1]);
    replace(fd, pair[0], flags);
}

static void renew_eventfd(int fd, int flags)
{
    struct pollfd ready = {fd, POLLIN, 0};
    unsigned count = poll(&ready, 1, 0) == 1; /* how much does not matter, that it is does */
    int new = eventfd(count, EFD_CLOEXEC);
    if (new >= 0)
        replace(fd, new, flags);
}

/* The same name in the copy; or, if it has gone, an empty one that has gone. */
static void renew_directory(int fd, const char *name)
{
    char gone[PATH_MAX];
    snprintf(gone, sizeof gone, "%s/gone", names_directory());
    int new = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (new < 0 && mkdir(gone, 0700) == 0) {
        new = open(gone, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rmdir(gone);
    }
    if (new >= 0)
        replace(fd, new, 0);
}

/* Another set of the same descriptors, by then those of the image: one that is shared with the
 * survivor tells of the survivor's. */
static void renew_epoll(int fd)
{
    char path[64], line[256];
    int new = epoll_create1(EPOLL_CLOEXEC), in;
    uint32_t events;
    uint64_t data;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &in, &events, &data) == 3)
            epoll_ctl(new, EPOLL_CTL_ADD, in,
                      &(struct epoll_event){.events = events, .data.u64 = data});
    if (f)
        fclose(f);
    if (new >= 0)
        replace(fd, new, 0);
}

static bool is_epoll(int fd)
{
    char path[64], name[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, name, sizeof name - 1);
    name[n < 0 ? 0 : n] = 0;
    return strncmp(name, "anon_inode:[eventpoll]", 22) == 0;
}

static void renew(int fd)
{
    struct stat st;
    struct statfs fs;
    char path[64], name[PATH_MAX];
    size_t n_names = strlen(names_directory());
    int flags = fcntl(fd, F_GETFL);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, name, sizeof name - 1);
    if (flags < 0 || n < 0 || fstat(fd, &st) != 0)
        return;
    name[n] = 0;
    if (S_ISSOCK(st.st_mode)) {
        hang_up(fd, flags);
    } else if (strncmp(name, "anon_inode:[eventfd]", 20) == 0) {
        renew_eventfd(fd, flags);
    } else if (S_ISDIR(st.st_mode) && strncmp(name, names_directory(), n_names) == 0 &&
               name[n_names] == '/') {
        renew_directory(fd, name);
    } else if (S_ISREG(st.st_mode) &&
               (in_disk_directory(name) || (fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
                                            strncmp(name, "/tmp", 4) != 0))) {
        int reader = open_of(fd, O_RDONLY), copy = copy_of(st.st_ino, reader);
        if (reader >= 0)
            close(reader);
        int new = copy < 0 ? -1 : open_of(copy, flags & O_ACCMODE);
        if (new >= 0)
            replace(fd, new, 0);
    }
}

/* Without the right to open map_files: through the memory itself. */
static int copy_mapped(const struct mapping *m)
{
    size_t size = m->end - m->start;
    int fd = m->mode[0] == 'r' ? memfd_create("naru:image", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
    if (fd < 0 || ftruncate(fd, (off_t)(m->offset + size)) != 0 ||
        pwrite(fd, (void *)(uintptr_t)m->start, size, (off_t)m->offset) != (ssize_t)size)
        return -1;
    return keep_copy(m->inode, fd, 0);
}

static void renew_mapping(const struct mapping *m)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/self/map_files/%" PRIx64 "-%" PRIx64, m->start, m->end);
    int from = open(path, O_RDONLY | O_CLOEXEC), copy = copy_of(m->inode, from);
    if (from >= 0)
        close(from);
    if (copy < 0)
        copy = copy_mapped(m);
    if (copy < 0)
        return;
    int prot = (m->mode[0] == 'r' ? PROT_READ : 0) | (m->mode[1] == 'w' ? PROT_WRITE : 0);
    int fd = open_of(copy, prot & PROT_WRITE ? O_RDWR : O_RDONLY);
    mmap((void *)(uintptr_t)m->start, m->end - m->start, prot, MAP_SHARED | MAP_FIXED, fd,
         (off_t)m->offset);
    close(fd);
}

void forge(struct world *w)
{
    struct mapping list[MAPPINGS_MAX];
    int n = shared_mappings(getpid(), list);
    w->image = true;
    n_copies = 0;
    subject = w->control->seat[0].pid;
    copy_names();
    for (int i = 0; i < n; i++)
        renew_mapping(&list[i]);
    int fds[256], n_fds = 0;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; d && (e = readdir(d)) && n_fds < 256;)
        if (atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d) && atoi(e->d_name) < 512)
            fds[n_fds++] = atoi(e->d_name);
    closedir(d);
    for (int i = 0; i < n_fds; i++)
        renew(fds[i]);
    for (int i = 0; i < n_fds; i++)
        if (is_epoll(fds[i]))
            renew_epoll(fds[i]);
    for (int i = 0; i < n_copies; i++) {
        if (copies[i].seals > 0)
            fcntl(copies[i].fd, F_ADD_SEALS, copies[i].seals);
        close(copies[i].fd);
    }
    struct log log;
    memcpy(&log, w->log, sizeof log);
    size_t size = (sizeof log + 4095) & ~(size_t)4095;
    mmap(w->log, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memcpy(w->log, &log, sizeof log);
}

/* Of the image of survivor `who`, who takes part in that object, and of those behind it. How many
 * descriptors that needs. */
int forge_locks(struct world *w, int who, struct naru_object *o)
{
    int n = 0;
    for (uint32_t i = 0; i < naru__object_members(o); i++) {
        if (!naru__member_role(atomic_load(&o->members[i].who)))
            continue;
        for (int k = who; k < w->scenario->participants; k++) {
            if (w->control->seat[k].pid != (int)atomic_load(&o->members[i].pid))
                continue;
            char path[64];
            snprintf(path, sizeof path, "/proc/self/fd/%d", o->file);
            if (k == who) {
                o->life.page = NULL;
                if (naru__os_life_hold(o->file, i, &o->life) < 0)
                    failed(w, "an image's lock");
            } else {
                int fd = open(path, O_RDWR | O_CLOEXEC);
                if (naru__os_lock(fd, i, true) < 0)
                    failed(w, "an image's lock of another");
                n++;
            }
        }
    }
    return n;
}

/* The library asks a page that forks wipe whether it is a child: so that a clone of a survivor
 * passes for the survivor, such pages are kept. */
void keep_on_fork(void)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long start = 0, end = 0, a, b;
    for (char line[512]; f && fgets(line, sizeof line, f);) {
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
            start = a;
            end = b;
        } else if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " wf")) {
            madvise((void *)start, end - start, MADV_KEEPONFORK);
        }
    }
    if (f)
        fclose(f);
}
