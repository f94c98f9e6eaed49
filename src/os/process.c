/* SPDX-License-Identifier: MIT */
/* process.c - starting programs.
 *
 * vfork: the parent thread stands still until the child has called exec, so the child may report
 * its errno through memory that both see, and a parent of 20 GiB is not copied. Between vfork and
 * exec the child makes system calls only. All signals are blocked meanwhile, so that no handler of
 * the parent's runs in the child; handlers set by the parent are reset by exec itself. */
#include "os/process.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { HIGH = 256 }; /* moved descriptors are first copied above every number they go to */

/* Closes every descriptor above 2 that is not among the numbers in launch->move. The table of
 * descriptors is the child's own copy, though memory is not. */
static void close_others(const struct naru_launch *launch)
{
    int first = 3;
    for (;;) { /* gaps between the numbers that stay, in ascending order */
        int next = INT_MAX;
        for (size_t i = 0; i < launch->n_move; i++)
            if (launch->move[i][1] >= first && launch->move[i][1] < next)
                next = launch->move[i][1];
        unsigned last = next == INT_MAX ? ~0u : (unsigned)next - 1;
        if ((unsigned)first <= last && syscall(SYS_close_range, (unsigned)first, last, 0u) < 0) {
            long most = sysconf(_SC_OPEN_MAX);
            for (int fd = first; fd < most && (unsigned)fd <= last; fd++)
                close(fd);
        }
        if (next == INT_MAX)
            return;
        first = next + 1;
    }
}

/* Runs in the vfork child. Returns only on failure, with errno. */
static const char *child(const struct naru_launch *launch, int *high, const sigset_t *mask)
{
    for (size_t i = 0; i < launch->n_move; i++)
        if ((high[i] = fcntl(launch->move[i][0], F_DUPFD_CLOEXEC, HIGH)) < 0 &&
            (high[i] = fcntl(launch->move[i][0], F_DUPFD_CLOEXEC, 64)) < 0)
            return "dup";
    for (size_t i = 0; i < launch->n_move; i++)
        if (dup2(high[i], launch->move[i][1]) < 0)
            return "dup2";
    if (launch->directory && chdir(launch->directory) < 0)
        return "chdir";
    if (!launch->keep_others)
        close_others(launch);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execve(launch->path, launch->argv, launch->environment);
    return "exec";
}

pid_t naru__os_launch(struct naru_launch *launch)
{
    int fault = naru__fault_at("vfork");
    if (fault < 0)
        return fault;
    int *high = calloc(launch->n_move + 1, sizeof *high);
    if (!high)
        return -ENOMEM;
    volatile int error = 0;
    const char *volatile failed_at = NULL;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t pid = vfork();
    if (pid == 0) {
        failed_at = child(launch, high, &mask);
        error = errno;
        _exit(127);
    }
    int fork_error = errno;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    free(high);
    if (pid < 0) {
        launch->failed_at = "fork";
        return -fork_error;
    }
    if (!error)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    launch->failed_at = failed_at;
    return -error;
}

int naru__os_pidfd(pid_t pid)
{
    int fault = naru__fault_at("pidfd_open");
    if (fault < 0)
        return fault;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0u); /* close-on-exec by itself */
    return fd < 0 ? -errno : fd;
}

int naru__os_pidfd_signal(int pidfd, int signal)
{
    int fault = naru__fault_at("pidfd_send_signal");
    if (fault < 0)
        return fault;
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0u) < 0 ? -errno : 0;
}

int naru__os_reap(pid_t pid, int *ret_code, int *ret_signal)
{
    int fault = naru__fault_at("waitid");
    if (fault < 0)
        return fault;
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int r;
    do
        r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    if (info.si_pid == 0)
        return 0;
    *ret_code = info.si_code == CLD_EXITED ? info.si_status : -1;
    *ret_signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return 1;
}

void *naru__os_share(size_t size)
{
    if (naru__fault_at("mmap") < 0)
        return NULL;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void naru__os_unshare(void *memory, size_t size)
{
    munmap(memory, size);
}

int naru__os_random(void *buf, size_t n)
{
    int fault = naru__fault_at("getrandom");
    if (fault < 0)
        return fault;
    return getentropy(buf, n) < 0 ? -errno : 0;
}

static int usable(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    return access(path, X_OK) < 0 ? -errno : 0;
}

int naru__os_find_program(const char *name, char *buf, size_t n)
{
    int fault = naru__fault_at("stat");
    if (fault < 0)
        return fault;
    if (strchr(name, '/')) {
        if ((size_t)snprintf(buf, n, "%s", name) >= n)
            return -ENAMETOOLONG;
        return usable(buf);
    }
    const char *path = getenv("PATH");
    int result = -ENOENT;
    for (const char *p = path ? path : "/bin:/usr/bin"; *name;) {
        size_t length = strcspn(p, ":");
        int m = length ? snprintf(buf, n, "%.*s/%s", (int)length, p, name)
                       : snprintf(buf, n, "%s", name);
        if (m > 0 && (size_t)m < n) {
            int r = usable(buf);
            if (r == 0)
                return 0;
            if (r != -ENOENT && r != -ENOTDIR)
                result = r;
        }
        if (!p[length])
            break;
        p += length + 1;
    }
    return result;
}
