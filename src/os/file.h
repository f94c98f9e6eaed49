/* SPDX-License-Identifier: MIT */
/* file.h - names in the file system: opening, FIFOs, locks on byte ranges, watching for openers.
 * Results as in os/fd.h. */
#ifndef NARU_OS_FILE_H
#define NARU_OS_FILE_H

#include "base/private.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

int naru__os_open(const char *path, int flags); /* O_CLOEXEC is added */
/* A regular file, which is looked at before it is opened, as opening some devices has effects. Of
 * anything else, whose kind is in ret_st, -EINVAL. -EBUSY: somebody keeps it to itself, by a lease
 */
NARU__EXPORTED int naru__os_open_file(const char *path, int flags, struct stat *ret_st);
int naru__os_open_unnamed(const char *directory);      /* a new file there, without a name yet */
int naru__os_make_fifo(const char *path, mode_t mode); /* mode as given, whatever the umask */
int naru__os_stat(const char *path,
                  struct stat *ret_stat); /* of the thing itself, not its target */
NARU__EXPORTED int naru__os_stat_target(const char *path, struct stat *ret_stat);
int naru__os_fstat(int fd, struct stat *ret_stat);
int naru__os_fchmod(int fd, mode_t mode);
int naru__os_chown(const char *path, uid_t uid, gid_t gid);
int naru__os_unlink(const char *path);
/* The same, in a directory that is open. */
int naru__os_stat_at(int directory, const char *name, struct stat *ret_stat);
int naru__os_unlink_at(int directory, const char *name);
int naru__os_chmod_at(int directory, const char *name, mode_t mode);
int naru__os_open_at(int directory, const char *name, int flags);
int naru__os_create_at(int directory, const char *name, mode_t mode); /* new, read and written */
int naru__os_make_directory_at(int directory, const char *name, mode_t mode);
int naru__os_remove_directory_at(int directory, const char *name);
/* -EEXIST if `to` is there; never replaces. */
int naru__os_rename_at(int directory, const char *from, const char *to);
int naru__os_replace_at(int directory, const char *from, const char *to); /* at once */
int naru__os_chmod(int fd, mode_t mode);
int naru__os_link(int fd, const char *path); /* a name for the file, by /proc; -EEXIST */
int naru__os_read_link(const char *path, char *buf, size_t n); /* with a NUL; -ENAMETOOLONG */
int naru__os_set_attribute(int fd, const char *name, const char *text);  /* user.… of the file */
int naru__os_attribute(int fd, const char *name, char *buf, size_t n);   /* with a NUL; -ENODATA */
ssize_t naru__os_read_some_at(int fd, void *buf, size_t n, uint64_t at); /* 0: it ends before */
ssize_t naru__os_write_some_at(int fd, const void *buf, size_t n, uint64_t at);
int naru__os_read_at(int fd, void *buf, size_t n, uint64_t at);        /* all n bytes, or -EIO */
int naru__os_write_at(int fd, const void *buf, size_t n, uint64_t at); /* the same */

/* From `from`, where it ends, to `size` bytes, with room for all of them, or as before: -ENOSPC. It
 * never becomes shorter, whoever else makes it longer meanwhile. */
int naru__os_extend(int fd, uint64_t from, uint64_t size);
int naru__os_truncate(int fd, uint64_t size);
/* May this process write up to there? Beyond it the kernel would send SIGXFSZ. */
bool naru__os_may_write_to(uint64_t size);
/* Onto the medium. data: the bytes and what it takes to find them, else all about the file. An
 * error of writing that nobody was told yet comes once to each open file description. */
int naru__os_sync(int fd, bool data);
int naru__os_start_writing(int fd, uint64_t at, uint64_t n); /* on its way; n > 0 */

/* The file system that a file lies in, as mount(8) calls it: "ext4", "fuse.sshfs". */
struct naru_file_system {
    char name[40];
    bool memory; /* nothing in it outlives the machine */
};
struct naru_file_system naru__os_file_system(int fd);
/* Bytes that are there are written anew in their place: so that takes no room, and cannot fail for
 * want of it. Of file systems that are known to do so. */
bool naru__os_writes_in_place(int fd);

/* The names in a directory, but "." and "..": `each` is called with each until it returns not 0,
 * which is the result; or only as many as one read of the directory tells. */
int naru__os_list(int directory, bool all, int (*each)(void *arg, const char *name), void *arg);
const char *naru__file_kind(mode_t mode); /* "a regular file" */
int naru__os_make_directory(const char *path, mode_t mode);

/* Open file description locks on [start, start + 1). Exclusive or shared, never waiting: -EAGAIN.
 */
int naru__os_lock(int fd, int64_t byte, bool exclusive);
int naru__os_unlock(int fd, int64_t byte);
int naru__os_lock_held(int fd, int64_t byte); /* 1 if another description has any lock there */
/* 1: another has one on that byte of [from, to), which need not be the first; 0: nobody has. */
int naru__os_lock_find(int fd, uint64_t from, uint64_t to, uint64_t *ret_byte);
/* What a file holds, from `at` on, between its holes; all where they are not known. -ENXIO: no
 * more. It moves the description's position. */
int naru__os_data_from(int fd, uint64_t at, uint64_t *ret_from, uint64_t *ret_to);

/* flock: the whole object for this description, whatever it was opened for. -EAGAIN if taken. */
int naru__os_claim(int fd);

int naru__os_watch_opens(const char *path); /* an inotify descriptor, readable when somebody opens
                                             * the object, or its name goes */
/* The same, when somebody closes what the descriptor is of and could have written to it. */
int naru__os_watch_closes(int fd);
void naru__os_drain(int fd); /* reads away whatever is there */

#endif
