/* SPDX-License-Identifier: MIT */
/* place.c - where unix sockets lie: reading names, binding to them, taking stale files away.
 *
 * A socket file outlives its socket. Whether anybody listens, the kernel's list says, or connect(2)
 * for what is not on it: refused means nobody. Between another's bind and its listen that answer is
 * wrong, and between the answer and the unlink another may have replaced the file: so whoever of
 * naru's listens holds a lock on the directory from before its bind until it listens. Where that
 * cannot be had (a directory that may not be read, or a stranger who keeps it), asking again for
 * 10 ms has to do. */
#include "transport/common/place.h"

#include "base/error.h"
#include "object/directory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/poll.h"
#include "os/sockdiag.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATH_ROOM = sizeof(((struct sockaddr_un *)0)->sun_path) };

/* ---- reading names ---- */

static void set_address(struct unix_place *p, const char *path, size_t n)
{
    struct sockaddr_un *address = (void *)&p->address.is;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, n);
    p->address.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static int abstract_place(const struct naru_url *url, struct unix_place *p)
{
    char name[PATH_ROOM] = "";
    size_t n = strlen(url->rest) - 1;
    if (n == 0 || n > sizeof name - 1)
        return naru__fail(-ENAMETOOLONG,
                          "%.60s: an abstract name has 1 to %zu bytes (sun_path), this one %zu",
                          url->text, sizeof name - 1, n);
    memcpy(name + 1, url->rest + 1, n);
    p->abstract = true;
    set_address(p, name, n + 1);
    return 0;
}

/* The directory of names without a path. */
static int own_directory(const struct naru_url *url, char *buf, size_t n)
{
    if (strcmp(url->scheme, "shm") == 0) { /* where other things of that name may lie too */
        int r = naru__name_check(url->text, url->rest);
        return r < 0 ? r : naru__directory_own(url->text, "/dev/shm", buf, n);
    }
    snprintf(buf, n, "/run/user/%u", geteuid());
    int r = naru__directory_check(url->text, buf);
    return r == -ENOENT || r == -ENOTDIR ? naru__directory_own(url->text, "/tmp", buf, n) : r;
}

/* Opens the directory, and makes an address: the path itself, or through the open directory if it
 * is longer than an address. */
static int file_place(const char *name, const char *path, struct unix_place *p)
{
    char directory[PATH_MAX], through[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    const char *file = slash ? slash + 1 : path;
    if (strlen(path) >= sizeof directory || strlen(file) >= sizeof p->file)
        return naru__fail(-ENAMETOOLONG, "%.60s…: a name has at most 255 bytes, a path %d", name,
                          PATH_MAX - 1);
    if (!file[0] || strcmp(file, ".") == 0 || strcmp(file, "..") == 0)
        return naru__fail(-EINVAL, "%s names no file in a directory", name);
    snprintf(directory, sizeof directory, "%.*s", (int)(n ? n : 1), n ? path : slash ? "/" : ".");
    snprintf(p->file, sizeof p->file, "%s", file);
    int fd = naru__os_open(directory, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return naru__fail(fd, "%s: the directory %.200s: %s%s", name, directory,
                          naru__errno_text(fd), naru__limit_of_files(fd).text);
    p->directory = fd;
    int m = snprintf(through, sizeof through, "/proc/self/fd/%d/%s", fd, file);
    if (strlen(path) < PATH_ROOM) {
        set_address(p, path, strlen(path) + 1);
    } else if (m < PATH_ROOM) {
        set_address(p, through, (size_t)m + 1);
    } else {
        p->directory = naru__os_close(fd);
        return naru__fail(-ENAMETOOLONG,
                          "%.60s…: the last part of a path longer than %d bytes (sun_path) has at "
                          "most %zu bytes, this one %zu",
                          name, PATH_ROOM - 1, PATH_ROOM - 1 - ((size_t)m - strlen(file)),
                          strlen(file));
    }
    return 0;
}

int naru__unix_place(const struct naru_url *url, struct unix_place *ret_place)
{
    char path[PATH_MAX], directory[64];
    struct unix_place p = {.directory = NARU__NO_FD, .lock = NARU__NO_FD};
    int r;
    if (!url->rest[0] && strcmp(url->scheme, "shm") == 0)
        return naru__fail(-EINVAL, "%s has no name: write shm:name or shm:/path", url->text);
    if (!url->rest[0])
        return naru__fail(-EINVAL, "%s names no socket: write %s:/path, %s:@abstract or %s:name",
                          url->text, url->scheme, url->scheme, url->scheme);
    if (url->rest[0] == '@' && strcmp(url->scheme, "shm") != 0) {
        r = abstract_place(url, &p);
    } else if (strchr(url->rest, '/')) {
        r = file_place(url->text, url->rest, &p);
    } else {
        r = own_directory(url, directory, sizeof directory);
        if (r == 0 &&
            (size_t)snprintf(path, sizeof path, "%s/%s", directory, url->rest) >= sizeof path)
            r = naru__fail(-ENAMETOOLONG, "%.60s…: a name has at most 255 bytes", url->text);
        if (r == 0)
            r = file_place(url->text, path, &p);
    }
    if (r == 0)
        *ret_place = p;
    return r;
}

void naru__unix_leave(struct unix_place *p)
{
    p->directory = naru__os_close(p->directory);
    p->lock = naru__os_close(p->lock);
}

int naru__unix_no_socket(const char *name, int code)
{
    return naru__fail(code, "%s: no socket: %s%s", name, naru__errno_text(code),
                      naru__limit_of_files(code).text);
}

/* ---- who is there ---- */

int naru__unix_admit(int fd, const char *name, unsigned flags)
{
    struct ucred cred;
    struct naru_address address;
    if (flags & NARU_ANY_USER)
        return 0;
    int r = naru__os_own_address(fd, &address);
    const struct sockaddr_un *own = (const void *)&address.is;
    if (r >= 0 && address.length > offsetof(struct sockaddr_un, sun_path) && own->sun_path[0])
        return 0; /* a file's mode has said who may */
    if (r >= 0)
        r = naru__os_get_option(fd, SOL_SOCKET, SO_PEERCRED, &cred, sizeof cred);
    if (r < 0)
        return naru__fail(r, "%s: who is at the other end is not known: %s", name,
                          naru__errno_text(r));
    if (cred.uid == geteuid() || cred.uid == 0)
        return 0;
    char program[32];
    naru__os_program_of(cred.pid, program, sizeof program);
    return naru__fail(-EPERM,
                      "%s: the other end is process %d (%s) of uid %u, and an abstract name has no "
                      "mode: with NARU_ANY_USER any user will do, or use a socket file",
                      name, (int)cred.pid, program, cred.uid);
}

static int forbidden(const char *name, const struct unix_place *p)
{
    struct stat st;
    if (p->abstract || naru__os_stat_at(p->directory, p->file, &st) < 0)
        return naru__fail(-EACCES, "%s is forbidden: a directory on the way does not let uid %u in",
                          name, geteuid());
    return naru__fail(-EACCES,
                      "%s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this is uid "
                      "%u; its owner can chmod it",
                      name, st.st_uid, st.st_gid, st.st_mode & 07777u, geteuid());
}

/* What stands at a name that refuses to be connected to. */
static int refused(const char *name, const struct unix_place *p, int code)
{
    struct stat st;
    if (p->abstract || naru__os_stat_at(p->directory, p->file, &st) < 0 || S_ISSOCK(st.st_mode) ||
        S_ISLNK(st.st_mode))
        return code; /* nobody listens, as it says already */
    return naru__fail(-EINVAL, "%s: %s stands there, not a socket", name,
                      naru__file_kind(st.st_mode));
}

static int not_taken(const char *name, const struct unix_place *p, int code)
{
    struct naru_unix_seen seen;
    struct stat st;
    if (!p->abstract && naru__os_stat_at(p->directory, p->file, &st) < 0)
        return code;
    if (naru__os_unix_find(&p->address, p->abstract ? NULL : &st, &seen) < 0)
        return code; /* of another network namespace: the sentence is general */
    return naru__fail(code,
                      "%s: it did not take the connection in time: its backlog is full, %u wait "
                      "where %u may (its .backlog, bounded by net.core.somaxconn, %" PRId64
                      "; `sysctl -w net.core.somaxconn=N` raises it)",
                      name, seen.queued, seen.backlog, naru__limit_sysctl("net/core/somaxconn"));
}

int naru__unix_connect(int fd, const char *name, const struct unix_place *p, unsigned flags,
                       int64_t deadline)
{
    int r = naru__socket_connect(fd, name, &p->address, deadline);
    if (r == -EACCES)
        return forbidden(name, p);
    if (r == -ECONNREFUSED)
        return refused(name, p, r);
    if (r == -EAGAIN || r == -ETIMEDOUT)
        return not_taken(name, p, r);
    return r == 0 && p->abstract ? naru__unix_admit(fd, name, flags) : r;
}

static void say_who(int type, const char *name, int socket_type, pid_t pid, int64_t uid)
{
    char program[32];
    const char *does = type == SOCK_DGRAM ? "receives" : "listens";
    naru__os_program_of(pid, program, sizeof program);
    if (socket_type != type)
        naru__fail(0, "%s: process %d (%s) of uid %d has a socket of another type there", name,
                   (int)pid, program, (int)uid);
    else if (pid > 0)
        naru__fail(0, "%s: process %d (%s) of uid %d %s there", name, (int)pid, program, (int)uid,
                   does);
    else
        naru__fail(0, "%s: a process of uid %d %s there", name, (int)uid, does);
}

/* Does the kernel list a socket that has the name? Then the sentence says whose. */
static bool listed(int type, const char *name, const struct unix_place *p, const struct stat *file)
{
    struct naru_unix_seen seen;
    if (naru__os_unix_find(&p->address, p->abstract ? NULL : file, &seen) < 0)
        return false;
    say_who(type, name, seen.type, naru__os_socket_holder(seen.inode), seen.uid);
    return true;
}

/* 0: somebody listens, and the sentence says who. -ECONNREFUSED: nobody. The kernel's list leaves a
 * listener in peace; what it does not list may still be in another network namespace. */
static int probe(int type, const char *name, const struct unix_place *p, const struct stat *file)
{
    struct ucred cred = {.pid = 0};
    if (listed(type, name, p, file))
        return 0;
    int fd = naru__os_socket(AF_UNIX, type, 0);
    if (fd < 0)
        return naru__fail(fd, "%s: no socket to look who is there: %s%s", name,
                          naru__errno_text(fd), naru__limit_of_files(fd).text);
    int r = naru__os_connect(fd, &p->address);
    if (r == 0)
        (void)naru__os_get_option(fd, SOL_SOCKET, SO_PEERCRED, &cred, sizeof cred);
    naru__os_close(fd);
    if (r == 0 && cred.pid > 0)
        say_who(type, name, type, cred.pid, cred.uid);
    else if (r == 0 || r == -EAGAIN || r == -EPROTOTYPE || r == -EPERM)
        naru__fail(0, "%s: somebody %s there", name,
                   r == -EPROTOTYPE ? "has a socket of another type" : "has a socket");
    else if (r != -ECONNREFUSED && r != -EACCES && r != -ENOENT)
        naru__fail(r, "%s: looking who is there failed: %s", name, naru__errno_text(r));
    return r == -EAGAIN || r == -EPROTOTYPE || r == -EPERM ? 0 : r;
}

int naru__unix_join(int fd, const char *name, const struct unix_place *p, unsigned flags)
{
    struct naru_unix_seen seen;
    int r = naru__socket_connect(fd, name, &p->address, NARU__AT_ONCE);
    if (r == -EACCES)
        return forbidden(name, p);
    if (r == -EPERM)
        return naru__fail(-EBUSY, "%s: its receiver is connected to another sender", name);
    if (r == -ECONNREFUSED)
        return refused(name, p, r);
    if (r < 0 || !p->abstract || flags & NARU_ANY_USER)
        return r;
    r = naru__os_unix_find(&p->address, NULL, &seen);
    if (r == -ENOENT)
        return -ECONNREFUSED; /* it has gone meanwhile */
    if (r == 0 && (seen.uid == geteuid() || seen.uid == 0))
        return 0;
    if (r < 0 || seen.uid < 0)
        return naru__fail(-EPERM,
                          "%s: this kernel does not tell who receives there: NARU_ANY_USER does "
                          "without, or use a socket file",
                          name);
    return naru__fail(-EPERM,
                      "%s: its receiver is of uid %d, and an abstract name has no mode: with "
                      "NARU_ANY_USER any user will do, or use a socket file",
                      name, (int)seen.uid);
}

/* Under the directory's lock, so that nobody else of naru's puts a live one there meanwhile. */
static int take_away(const char *name, struct unix_place *p, const struct stat *stale)
{
    struct stat st;
    int r = naru__os_stat_at(p->directory, p->file, &st);
    if (r == 0 && st.st_ino == stale->st_ino && st.st_dev == stale->st_dev)
        r = naru__os_unlink_at(p->directory, p->file);
    if (r == 0 || r == -ENOENT)
        return 0;
    return naru__fail(
        r,
        "%s: a socket of uid %u is left there, nobody listens, and it cannot be taken "
        "away: %s",
        name, stale->st_uid, naru__errno_text(r));
}

/* What stands at the name: 0 if it is out of the way now. */
static int make_way(int type, const char *name, struct unix_place *p)
{
    struct stat st;
    int r = -ECONNREFUSED;
    if (!p->abstract) {
        r = naru__os_stat_at(p->directory, p->file, &st);
        if (r == -ENOENT)
            return 0;
        if (r < 0)
            return naru__fail(r, "%s: looking at it failed: %s", name, naru__errno_text(r));
        if (!S_ISSOCK(st.st_mode))
            return naru__fail(-EINVAL, "%s: %s stands there, not a socket", name,
                              naru__file_kind(st.st_mode));
    }
    for (int i = 0; i < 4; i++) { /* it may be bound and about to listen */
        if (i > 0)
            (void)naru__os_poll(NULL, 0, naru__now() + 3 * NARU_MS);
        r = probe(type, name, p, &st);
        if (r != -ECONNREFUSED)
            break;
    }
    if (r == 0)
        return -EBUSY;
    if (r == -EACCES)
        return forbidden(name, p);
    if (r == -ENOENT)
        return 0;
    if (r != -ECONNREFUSED)
        return r;
    return p->abstract ? naru__fail(-EBUSY, "%s: somebody has bound it and does not listen", name)
                       : take_away(name, p, &st);
}

/* ---- binding ---- */

static int bind_failed(const char *name, const struct unix_place *p, int code)
{
    const char *path = ((const struct sockaddr_un *)(const void *)&p->address.is)->sun_path;
    return naru__fail(code, "%s: no socket can be made at %.108s: %s%s", name,
                      p->abstract ? "an abstract address" : path, naru__errno_text(code),
                      code == -ENOSPC ? " (no inode is free there, see df -i, or no room)" : "");
}

/* Released by naru__unix_leave. */
static void lock_directory(struct unix_place *p)
{
    int fd = naru__os_open_at(p->directory, ".", O_RDONLY | O_DIRECTORY);
    int64_t end = naru__now() + NARU_S;
    if (fd < 0)
        return;
    while (naru__os_claim(fd) == -EAGAIN && naru__now() < end)
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS / 2);
    p->lock = fd;
}

int naru__unix_bind(int fd, int type, const char *name, mode_t mode, struct unix_place *p,
                    struct naru_socket_file *ret_file)
{
    struct stat st;
    int r;
    if (!p->abstract) {
        (void)naru__os_fchmod(fd, mode ? mode & 07777 : 0600); /* the file is born with no more */
        lock_directory(p);
    }
    for (int tries = 0;; tries++) {
        r = naru__os_bind(fd, &p->address);
        if (r != -EADDRINUSE)
            break;
        r = make_way(type, name, p);
        if (r < 0)
            return r;
        if (tries == 100)
            return naru__fail(-EBUSY, "%s is made and removed all the time by somebody else", name);
    }
    if (r == -EACCES)
        return naru__fail(r, "%s: uid %u may not write into that directory", name, geteuid());
    if (r < 0)
        return bind_failed(name, p, r);
    if (p->abstract)
        return 0;
    r = naru__os_chmod_at(p->directory, p->file, mode ? mode & 07777 : 0600);
    if (r >= 0)
        r = naru__os_stat_at(p->directory, p->file, &st);
    if (r < 0) {
        naru__unix_unbind(p);
        return bind_failed(name, p, r);
    }
    *ret_file = (struct naru_socket_file){
        .directory = p->directory, .device = st.st_dev, .inode = st.st_ino};
    memcpy(ret_file->name, p->file, sizeof p->file);
    return 0;
}

void naru__unix_unbind(const struct unix_place *p)
{
    if (!p->abstract)
        (void)naru__os_unlink_at(p->directory, p->file);
}

/* ---- meeting ---- */

int naru__unix_connected(const struct naru_url *url, int type, size_t capacity, unsigned flags,
                         int64_t deadline)
{
    struct unix_place place;
    int r = naru__unix_place(url, &place);
    if (r < 0)
        return r;
    int fd = naru__os_socket(AF_UNIX, type, 0);
    if (fd < 0) {
        naru__unix_leave(&place);
        return naru__unix_no_socket(url->text, fd);
    }
    naru__socket_capacity(fd, capacity);
    r = naru__unix_connect(fd, url->text, &place, flags, deadline);
    naru__unix_leave(&place);
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

static int make_listener(const struct naru_socket_kind *is, int type, enum naru_handle_noun noun,
                         const struct naru_url *url, const struct naru_listen_options *o,
                         struct unix_place *place, struct naru_listener **ret_l)
{
    struct naru_socket_file file;
    int fd = naru__socket_activated(&place->address, type);
    if (fd >= 0) {
        int r = naru__socket_listener(is, noun, url->text, fd, o, NULL, NULL, ret_l);
        naru__os_close(r < 0 ? fd : NARU__NO_FD);
        return r;
    }
    fd = naru__os_socket(AF_UNIX, type, 0);
    if (fd < 0)
        return naru__unix_no_socket(url->text, fd);
    int r = naru__unix_bind(fd, type, url->text, o->mode, place, &file);
    if (r == 0) {
        r = naru__socket_listen(fd, url->text, o->backlog);
        if (r == 0)
            r = naru__socket_listener(is, noun, url->text, fd, o, place->abstract ? NULL : &file,
                                      NULL, ret_l);
        if (r == 0)
            place->directory = NARU__NO_FD; /* the listener's now */
        else
            naru__unix_unbind(place);
    }
    naru__os_close(r < 0 ? fd : NARU__NO_FD);
    return r;
}

int naru__unix_listen(const struct naru_socket_kind *is, int type, enum naru_handle_noun noun,
                      const struct naru_url *url, const struct naru_listen_options *o,
                      struct naru_listener **ret_l)
{
    struct unix_place place;
    int r = naru__unix_place(url, &place);
    if (r < 0)
        return r;
    r = make_listener(is, type, noun, url, o, &place, ret_l);
    naru__unix_leave(&place);
    return r;
}

int naru__unix_remove(const struct naru_url *url)
{
    struct unix_place p;
    struct stat st;
    if (url->rest[0] == '@')
        return naru__fail(-EOPNOTSUPP,
                          "%s has no name to remove: an abstract name goes with its last holder",
                          url->text);
    int r = naru__unix_place(url, &p);
    if (r < 0)
        return r;
    r = naru__os_stat_at(p.directory, p.file, &st);
    if (r == -ENOENT)
        naru__fail(r, "%s is not there", url->text);
    else if (r < 0)
        naru__fail(r, "%s: looking at it failed: %s", url->text, naru__errno_text(r));
    else if (!S_ISSOCK(st.st_mode))
        r = naru__fail(-EINVAL, "%s: %s stands there, not a socket; it is left alone", url->text,
                       naru__file_kind(st.st_mode));
    else if ((r = naru__os_unlink_at(p.directory, p.file)) < 0)
        naru__fail(r, "%s: removing failed: %s; it belongs to uid %u", url->text,
                   naru__errno_text(r), st.st_uid);
    naru__unix_leave(&p);
    return r;
}
