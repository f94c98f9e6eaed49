/* SPDX-License-Identifier: MIT */
/* naru/spawn.h - starts programs with named ends already open in them.
 *
 *   naru_stream *mine, *theirs;
 *   naru_stream_pair("pipe:", NULL, &mine, &theirs);
 *   struct naru_spawn_end ends[] = {{"talk", theirs, -1}};
 *   struct naru_spawn_options options = {sizeof options, .ends = ends, .n_ends = 1};
 *   naru_child *child;
 *   naru_spawn((char *[]){"./worker", NULL}, &options, &child);   // theirs is the child's now
 *
 * In the worker: naru_stream_inherit("talk", &s). The names "stdin", "stdout" and "stderr" become
 * descriptors 0, 1 and 2, for programs that have never heard of naru. */
#ifndef NARU_SPAWN_H
#define NARU_SPAWN_H

#include <naru/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_child naru_child;

struct naru_spawn_end {
    const char *name; /* "stdin", "stdout", "stderr", or 1-32 of [A-Za-z0-9_] */
    void *handle;     /* an end of a pair: moved into the child, closed here; a region without a
                       * name: copied, and kept here; or NULL and: */
    int fd;           /* any descriptor, for stdin, stdout, stderr: copied into the child */
};

struct naru_spawn_options {
    size_t size;                       /* sizeof(struct naru_spawn_options) */
    const struct naru_spawn_end *ends; /* at most 16 */
    size_t n_ends;
    char *const *environment; /* NULL: this process's own */
    const char *directory;    /* NULL: this process's own */
    unsigned flags;           /* NARU_SPAWN_SHARE_FDS */
};

#define NARU_SPAWN_SHARE_FDS 1u /* the child also gets what is not close-on-exec here */

/* How a child ended. */
struct naru_exit {
    int code;   /* exit status, or -1 */
    int signal; /* signal that ended it, or 0 */
};

/* naru_spawn - starts a program
 *
 * argv[0] is looked up in PATH. The child gets descriptors 0, 1, 2 and the ends named, and none
 * else. Handles given as ends must be ends of a pair that this process made, or regions without a
 * name; one two-way stream can be stdin and stdout.
 *
 * ret_child: owned by the caller, naru_child_close.
 * Returns: 0 once the program runs: the ends given are then closed here, and their pointers dead;
 * regions stay. On failure all are as before.
 * Errors: -ENOENT, -EACCES, ... as exec says, with the program's name; -EINVAL an end's name,
 * a handle that is not an end of a pair, two ends of one name; -EAGAIN RLIMIT_NPROC; the common
 * ones.
 * Thread: any. Fork: works. Blocks: until the program is started. */
NARU_API int naru_spawn(char *const argv[], const struct naru_spawn_options *options,
                        naru_child **ret_child);

/* naru_child_wait - waits until the child has ended
 *
 * May be called again: the answer stays.
 *
 * ret_exit: exit status or signal; may be NULL.
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT it still runs; -ENOENT somebody else has waited for it; the common
 * ones.
 * Thread: one. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_child_wait(naru_child *child, int64_t timeout, struct naru_exit *ret_exit);

/* naru_child_signal - sends the child a signal; never hits another process that got its pid
 *
 * Returns: 0.
 * Errors: -ESRCH it has ended; -EINVAL no such signal; -EPERM; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_child_signal(naru_child *child, int signal);

/* naru_child_pid - the child's process id
 *
 * Returns: the pid, also after its end; or a negative errno.
 * Errors: the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_child_pid(naru_child *child);

/* naru_child_close - frees the handle; the child goes on
 *
 * A child that has ended is reaped. One that still runs is the caller's to reap by its pid.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_child *naru_child_close(naru_child *child);

#ifdef __cplusplus
}
#endif
#endif
