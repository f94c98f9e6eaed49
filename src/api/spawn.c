/* SPDX-License-Identifier: MIT */
/* spawn.c - naru/spawn.h: programs with named ends already open in them.
 *
 * An end's descriptors keep their numbers in the child (they are above 2 and unique there); only
 * stdin, stdout and stderr are moved. The parent's copies are closed once the program runs. */
#include "naru/spawn.h"
#include "api/inherit.h"
#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/process.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { ENDS_MAX = 16 };

struct naru_child {
    struct naru_handle handle;
    pid_t pid;
    int pidfd; /* NARU__NO_FD where the kernel has none: the wait ticks then */
    int ended; /* 1: exit is known; negative: why it never will be */
    struct naru_exit exit;
};

static int child_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct naru_child *child = (struct naru_child *)h;
    (void)events;
    ret_watch->n = 0;
    if (child->pidfd >= 0)
        ret_watch->fds[ret_watch->n++] = (struct pollfd){.fd = child->pidfd, .events = POLLIN};
    else
        ret_watch->again = naru__now() + 10 * NARU_MS;
    return 0;
}

static bool child_ready(struct naru_handle *h, int events)
{
    (void)events;
    return ((struct naru_child *)h)->ended != 0;
}

static const struct naru_handle_ops child_ops = {
    .size = sizeof child_ops,
    .watch = child_watch,
    .ready = child_ready,
};

/* ---- what goes into the child ---- */

struct plan {
    struct naru_handle *handles[ENDS_MAX]; /* to be closed here once it runs */
    bool standard[ENDS_MAX]; /* that handle is 0, 1 or 2, and can be another of them as well */
    size_t n_handles;
    int blocking[3]; /* ends that become 0, 1, 2: foreign programs expect them to block */
    size_t n_blocking;
    int move[3 * ENDS_MAX][2];
    size_t n_move;
    char *variables[ENDS_MAX]; /* owned */
    size_t n_variables;
    char **environment; /* owned; its texts are not */
};

static void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < plan->n_variables; i++)
        free(plan->variables[i]);
    free(plan->environment);
}

static int standard_number(const char *name)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

static void add_move(struct plan *plan, int from, int to)
{
    plan->move[plan->n_move][0] = from;
    plan->move[plan->n_move][1] = to;
    plan->n_move++;
}

/* A descriptor or one direction of a stream becomes descriptor 0, 1 or 2. */
static int plan_standard(struct plan *plan, const struct naru_spawn_end *end, int number,
                         const struct naru_passage *passage)
{
    int fd = end->fd;
    if (end->handle)
        fd = passage->fds[number == 0 ? 0 : 1];
    if (end->handle && strcmp(passage->noun, "stream") != 0)
        return naru__fail(-EINVAL, "%s can be a stream or a descriptor, not a %s", end->name,
                          passage->noun);
    if (fd < 0 || naru__os_flags(fd) < 0)
        return naru__fail(-EINVAL, "%s: %s", end->name,
                          end->handle ? "the end has no such direction"
                                      : "the descriptor is not open");
    add_move(plan, fd, number);
    if (end->handle)
        plan->blocking[plan->n_blocking++] = fd;
    return 0;
}

static int plan_named(struct plan *plan, const struct naru_spawn_end *end,
                      const struct naru_passage *passage)
{
    char text[160], fd[2][16];
    if (!naru__end_name_ok(end->name))
        return naru__fail(-EINVAL,
                          "\"%.40s\" is no name for an end: 1 to %d of A-Z, a-z, 0-9 and _",
                          end->name, NARU__END_NAME_MAX);
    for (int i = 0; i < 2; i++) {
        snprintf(fd[i], sizeof fd[i], passage->fds[i] >= 0 ? "%d" : "-", passage->fds[i]);
        if (passage->fds[i] >= 0 && !(i == 1 && passage->fds[0] == passage->fds[1]))
            add_move(plan, passage->fds[i], passage->fds[i]);
    }
    int n = snprintf(text, sizeof text, "NARU_FD_%s=%s:%s:%s:%s", end->name, passage->noun,
                     passage->scheme, fd[0], fd[1]);
    char *variable = naru__copy_text(text, (size_t)n);
    if (!variable)
        return -ENOMEM;
    plan->variables[plan->n_variables++] = variable;
    return 0;
}

static int plan_handle(struct plan *plan, struct naru_handle *h, bool standard)
{
    for (size_t i = 0; i < plan->n_handles; i++)
        if (plan->handles[i] == h)
            return standard && plan->standard[i] ? 0 : -EINVAL;
    plan->standard[plan->n_handles] = standard;
    plan->handles[plan->n_handles++] = h;
    return 0;
}

static int plan_end(struct plan *plan, const struct naru_spawn_end *end)
{
    struct naru_passage passage = {.noun = NULL};
    if (!end->name)
        return naru__fail_static(-EINVAL, "an end without a name was given to naru_spawn");
    int number = standard_number(end->name);
    if (end->handle) {
        struct naru_handle *h = end->handle;
        int r = naru__enter_any(h);
        if (r < 0)
            return r;
        if (!h->ops->pass)
            return naru__fail(-EINVAL,
                              "%s: %s is not an end of a pair: the program can open it by name",
                              end->name, h->name);
        r = h->ops->pass(h, &passage);
        if (r < 0)
            return r;
        r = plan_handle(plan, h, number >= 0);
        if (r < 0)
            return naru__fail(r,
                              "%s: this end is given twice; only stdin, stdout and stderr can "
                              "be one two-way stream",
                              end->name);
    } else if (number < 0) {
        return naru__fail(-EINVAL, "%s: a plain descriptor can only be stdin, stdout or stderr",
                          end->name);
    }
    return number >= 0 ? plan_standard(plan, end, number, &passage)
                       : plan_named(plan, end, &passage);
}

static int plan_environment(struct plan *plan, char *const *given)
{
    char *const *from = given ? given : environ;
    size_t n = 0, kept = 0;
    while (from && from[n])
        n++;
    plan->environment = naru__alloc_raw((n + plan->n_variables + 1) * sizeof *plan->environment);
    if (!plan->environment)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) /* ends of this process are not the child's */
        if (strncmp(from[i], "NARU_FD_", 8) != 0)
            plan->environment[kept++] = from[i];
    for (size_t i = 0; i < plan->n_variables; i++)
        plan->environment[kept++] = plan->variables[i];
    plan->environment[kept] = NULL;
    return 0;
}

static int make_plan(struct plan *plan, const struct naru_spawn_options *o)
{
    if (o->n_ends > ENDS_MAX || (o->n_ends && !o->ends))
        return naru__fail(-EINVAL, "%zu ends were given to naru_spawn; at most %d, and not NULL",
                          o->n_ends, ENDS_MAX);
    for (size_t i = 0; i < o->n_ends; i++) {
        int r = plan_end(plan, &o->ends[i]);
        for (size_t k = 0; k < i && r == 0; k++)
            if (strcmp(o->ends[k].name, o->ends[i].name) == 0)
                r = naru__fail(-EINVAL, "two ends are named %s", o->ends[i].name);
        if (r < 0)
            return r;
    }
    return plan_environment(plan, o->environment);
}

/* ---- starting ---- */

static int cannot_start(const char *name, const struct naru_launch *launch, int code)
{
    const char *at = launch->failed_at;
    if (at && strcmp(at, "chdir") == 0)
        return naru__fail(code, "%s cannot be started in the directory %s: %s", name,
                          launch->directory, naru__errno_text(code));
    if (code == -ENOENT && at)
        return naru__fail(
            code,
            "%s cannot be started: it is there, but the interpreter or loader that it "
            "names is not",
            name);
    return naru__fail(code, "%s cannot be started: %s%s", name, naru__errno_text(code),
                      code == -EMFILE ? naru__limit_of_files(code).text
                                      : naru__limit_of_processes(code).text);
}

/* The mode belongs to the description, which only the child will have. */
static int make_blocking(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_blocking; i++) {
        int r = naru__os_set_nonblocking(plan->blocking[i], false);
        if (r < 0)
            return naru__fail(r, "an end for the program cannot be made to block: %s",
                              naru__errno_text(r));
    }
    return 0;
}

static int find_program(const char *name, char *path, size_t n)
{
    int r = naru__os_find_program(name, path, n);
    if (r == 0)
        return 0;
    if (r == -ENOENT && !strchr(name, '/'))
        return naru__fail(r, "%s cannot be started: no such program in PATH", name);
    if (r == -EISDIR)
        return naru__fail(-EACCES, "%s cannot be started: it is a directory", name);
    if (r == -EACCES)
        return naru__fail(r, "%s cannot be started: it is not executable for this user", name);
    return naru__fail(r, "%s cannot be started: %s", name, naru__errno_text(r));
}

static int new_child(const char *name, naru_child **ret_child)
{
    naru_child *child = naru__alloc(sizeof *child);
    if (!child)
        return -ENOMEM;
    int r = naru__handle_init(&child->handle, NARU__CHILD, &child_ops, name, NARU_IN);
    if (r < 0) {
        free(child);
        return r;
    }
    child->pidfd = NARU__NO_FD;
    *ret_child = child;
    return 0;
}

int naru_spawn(char *const argv[], const struct naru_spawn_options *options, naru_child **ret_child)
{
    struct plan plan = {.n_handles = 0};
    naru_child *child = NULL;
    char path[PATH_MAX];
    int r = naru__check_options(options, sizeof *options, "naru_spawn_options");
    if (r < 0)
        return r;
    if (!argv || !argv[0] || !argv[0][0])
        return naru__fail_static(-EINVAL, "naru_spawn: argv names no program");
    const struct naru_spawn_options none = {.size = sizeof none};
    const struct naru_spawn_options *o = options ? options : &none;
    r = find_program(argv[0], path, sizeof path);
    if (r == 0)
        r = make_plan(&plan, o);
    if (r == 0)
        r = new_child(argv[0], &child);
    if (r == 0)
        r = make_blocking(&plan);
    if (r == 0) {
        struct naru_launch launch = {
            .path = path,
            .argv = argv,
            .environment = plan.environment,
            .directory = o->directory,
            .move = plan.move,
            .n_move = plan.n_move,
            .keep_others = o->flags & NARU_SPAWN_SHARE_FDS,
        };
        r = child->pid = naru__os_launch(&launch);
        if (r < 0)
            cannot_start(argv[0], &launch, r);
    }
    if (r > 0) {
        child->pidfd = naru__os_pidfd(child->pid); /* without one the wait ticks */
        for (size_t i = 0; i < plan.n_handles; i++)
            if (plan.handles[i]->ops->passed)
                plan.handles[i]->ops->passed(plan.handles[i]);
        *ret_child = child;
    } else if (child) {
        for (size_t i = 0; i < plan.n_blocking; i++) /* the ends stay as they were */
            (void)naru__os_set_nonblocking(plan.blocking[i], true);
        naru__handle_deinit(&child->handle);
        free(child);
    }
    plan_free(&plan);
    return r < 0 ? r : 0;
}

/* ---- the child ---- */

static int look(naru_child *child)
{
    if (child->ended == 0)
        child->ended = naru__os_reap(child->pid, &child->exit.code, &child->exit.signal);
    return child->ended;
}

int naru_child_wait(naru_child *child, int64_t timeout, struct naru_exit *ret_exit)
{
    int r = naru__enter(child, NARU__CHILD);
    if (r < 0)
        return r;
    struct naru_wait wait = naru__wait_begin(&child->handle, NARU_IN, naru__deadline(timeout));
    wait.spin_until = 1; /* a program's life is longer than a wake-up */
    while ((r = look(child)) == 0) {
        r = naru__wait_step(&wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            naru__fail(r, "%s (pid %d) is still running", child->handle.name, (int)child->pid);
        if (r < 0)
            break;
    }
    if (r == -ECHILD)
        r = naru__fail(-ENOENT, "%s (pid %d): somebody else has waited for it already",
                       child->handle.name, (int)child->pid);
    else if (r > 0 && ret_exit)
        *ret_exit = child->exit;
    naru__leave(&child->handle);
    return r < 0 ? r : 0;
}

int naru_child_signal(naru_child *child, int signal)
{
    int r = naru__enter(child, NARU__CHILD);
    if (r < 0)
        return r;
    if (look(child) != 0)
        return naru__fail(-ESRCH, "%s (pid %d) has ended", child->handle.name, (int)child->pid);
    /* not reaped, so the pid is still its own even where there is no pidfd */
    r = child->pidfd >= 0              ? naru__os_pidfd_signal(child->pidfd, signal)
        : kill(child->pid, signal) < 0 ? -errno
                                       : 0;
    if (r < 0)
        return naru__fail(r, "%s (pid %d): signal %d: %s", child->handle.name, (int)child->pid,
                          signal, naru__errno_text(r));
    return 0;
}

int naru_child_pid(naru_child *child)
{
    int r = naru__enter(child, NARU__CHILD);
    return r < 0 ? r : (int)child->pid;
}

naru_child *naru_child_close(naru_child *child)
{
    if (!child)
        return NULL;
    if (naru__is_owner(&child->handle))
        look(child);
    naru__os_close(child->pidfd);
    naru__handle_deinit(&child->handle);
    free(child);
    return NULL;
}
