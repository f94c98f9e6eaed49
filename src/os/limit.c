/* SPDX-License-Identifier: MIT */
/* limit.c - limits explained. Read only after a failure, so cost does not matter here; but this may
 * run with no descriptor left, and then a value stays unknown and the name must do. */
#include "os/limit.h"

#include "base/text.h"
#include "os/sysv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Into buf, which holds zeros. */
static ssize_t read_text(const char *path, char *buf, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t r = read(fd, buf, n - 1);
    close(fd);
    return r;
}

static int64_t read_number(const char *path)
{
    char text[64] = "";
    ssize_t n = read_text(path, text, sizeof text);
    char *end;
    int64_t value = n > 0 ? strtoll(text, &end, 10) : -1;
    return n > 0 && end != text ? value : -1;
}

int64_t naru__limit_sysctl(const char *path)
{
    char full[128];
    snprintf(full, sizeof full, "/proc/sys/%s", path);
    return read_number(full);
}

static struct naru_limit_text rlimit_text(int resource, const char *name, const char *use,
                                          const char *remedy)
{
    struct naru_limit_text out = {""};
    struct rlimit limit;
    if (getrlimit((__typeof__(RLIMIT_NOFILE))resource, &limit) < 0)
        return out;
    snprintf(out.text, sizeof out.text, " (%s is %" PRIuMAX ", hard limit %" PRIuMAX "%s; %s)",
             name, (uintmax_t)limit.rlim_cur, (uintmax_t)limit.rlim_max, use, remedy);
    return out;
}

/* Descriptors in use: counted by probing, since opening /proc/self/fd would need one more. */
static int descriptors_in_use(void)
{
    struct rlimit limit;
    int used = 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    int most = limit.rlim_cur > 1 << 20 ? 1 << 20 : (int)limit.rlim_cur;
    for (int fd = 0; fd < most; fd++)
        used += fcntl(fd, F_GETFD) >= 0;
    return used;
}

struct naru_limit_text naru__limit_of_files(int code)
{
    struct naru_limit_text out = {""};
    if (code == -EMFILE) {
        char use[48];
        snprintf(use, sizeof use, ", %d in use", descriptors_in_use());
        return rlimit_text(RLIMIT_NOFILE, "RLIMIT_NOFILE", use,
                           "raise it with `ulimit -n N` or `prlimit --nofile=N --pid PID`");
    }
    if (code == -ENFILE)
        snprintf(out.text, sizeof out.text,
                 " (fs.file-max is %" PRId64 ", %" PRId64
                 " in use; or a pipe limit of this user, fs.pipe-user-pages-hard is %" PRId64
                 " pages; raise it with `sysctl -w fs.file-max=N`)",
                 naru__limit_sysctl("fs/file-max"), naru__limit_sysctl("fs/file-nr"),
                 naru__limit_sysctl("fs/pipe-user-pages-hard"));
    return out;
}

static bool limited(int resource)
{
    struct rlimit limit;
    return getrlimit((__typeof__(RLIMIT_AS))resource, &limit) == 0 &&
           limit.rlim_cur != RLIM_INFINITY;
}

/* A number of /proc/PROCESS/status; -1: not known. */
static int64_t status_of(const char *process, const char *key)
{
    char path[300], text[2048] = "";
    snprintf(path, sizeof path, "/proc/%s/status", process);
    ssize_t n = read_text(path, text, sizeof text);
    const char *at = n > 0 ? strstr(text, key) : NULL;
    return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

/* Locked memory is counted where all that is mapped gets locked (mlockall). */
static struct naru_limit_text limit_of_mapping(uint64_t bytes)
{
    char use[100];
    struct naru_limit_text out = {""};
    if (status_of("self", "VmLck:") > 0 && limited(RLIMIT_MEMLOCK)) {
        snprintf(use, sizeof use, ", %" PRId64 " KiB locked", status_of("self", "VmLck:"));
        return rlimit_text(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", use,
                           "raise it with `ulimit -l KIB`, or do not lock what is mapped later");
    }
    if (limited(RLIMIT_AS)) {
        snprintf(use, sizeof use, ", %" PRId64 " KiB in use, %s more asked for",
                 status_of("self", "VmSize:"), naru__size_text(bytes).text);
        return rlimit_text(RLIMIT_AS, "RLIMIT_AS", use, "raise it with `ulimit -v KIB`");
    }
    snprintf(
        out.text, sizeof out.text,
        " (no limit of this process: the machine's or its cgroup's memory, or vm.max_map_count, "
        "%" PRId64 ")",
        naru__limit_sysctl("vm/max_map_count"));
    return out;
}

struct naru_limit_text naru__limit_of_memory(int code, uint64_t bytes)
{
    struct naru_limit_text out = {""};
    if (code == -ENOMEM)
        return limit_of_mapping(bytes);
    struct rlimit file;
    if (code == -ENOSPC && getrlimit(RLIMIT_FSIZE, &file) == 0 && bytes > file.rlim_cur)
        return rlimit_text(RLIMIT_FSIZE, "RLIMIT_FSIZE", "", "raise it with `ulimit -f`");
    if (code == -ENOSPC)
        snprintf(out.text, sizeof out.text,
                 " (%" PRIu64 " KiB are not free: a smaller size would do)", bytes / 1024);
    return out;
}

/* Threads of this user, as far as they are visible here. */
static int64_t tasks_of_user(void)
{
    int64_t tasks = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        const char *pid = entry->d_name;
        if (pid[0] >= '0' && pid[0] <= '9' && status_of(pid, "Uid:") == (int64_t)getuid())
            tasks += status_of(pid, "Threads:");
    }
    if (proc)
        closedir(proc);
    return tasks;
}

struct naru_limit_text naru__limit_of_processes(int code)
{
    char use[64];
    if (code != -EAGAIN)
        return (struct naru_limit_text){""};
    snprintf(use, sizeof use, ", %" PRId64 " of uid %u seen", tasks_of_user(), getuid());
    return rlimit_text(
        RLIMIT_NPROC, "RLIMIT_NPROC", use,
        "raise it with `ulimit -u N`; also look at kernel.pid_max and the pids cgroup");
}

struct naru_limit_text naru__limit_of_inotify(int code)
{
    struct naru_limit_text out = {""};
    const char *name = code == -EMFILE   ? "max_user_instances"
                       : code == -ENOSPC ? "max_user_watches"
                                         : NULL;
    if (!name)
        return out;
    char path[64];
    snprintf(path, sizeof path, "fs/inotify/%s", name);
    snprintf(out.text, sizeof out.text,
             " (fs.inotify.%s is %" PRId64 ", and this user has as many; raise it with "
             "`sysctl -w fs.inotify.%s=N`)",
             name, naru__limit_sysctl(path), name);
    return out;
}

/* Has the process no descriptor left, or was it another limit that answered EMFILE? */
static bool descriptors_left(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 && errno == EBADF)
        fd = open("/", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static struct naru_limit_text over_limit(const char *sysctl, const char *name, int64_t asked)
{
    struct naru_limit_text out = {""};
    snprintf(out.text, sizeof out.text,
             " (fs.mqueue.%s is %" PRId64 " and %" PRId64
             " are asked for; raise it with `sysctl -w fs.mqueue.%s=%" PRId64 "`)",
             name, naru__limit_sysctl(sysctl), asked, name, asked);
    return out;
}

/* Bytes of a queue as RLIMIT_MSGQUEUE counts them (ipc/mqueue.c): for each message its bytes, 48 of
 * upkeep and 48 of the tree of priorities. */
static struct naru_limit_text of_queue_bytes(int64_t messages, int64_t size)
{
    char use[80];
    const int64_t upkeep = sizeof(long) == 8 ? 96 : 60;
    snprintf(use, sizeof use, ", this queue needs %" PRId64 " of this user's",
             messages * (size + upkeep));
    return rlimit_text(RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", use,
                       "raise it with `ulimit -q N` or `prlimit --msgqueue=N --pid PID`");
}

struct naru_limit_text naru__limit_of_mqueue(int code, int64_t messages, int64_t size)
{
    struct naru_limit_text out = {""};
    if (code == -EMFILE && descriptors_left())
        return of_queue_bytes(messages, size);
    if (code == -EINVAL && messages > naru__limit_sysctl("fs/mqueue/msg_max"))
        return over_limit("fs/mqueue/msg_max", "msg_max", messages);
    if (code == -EINVAL && size > naru__limit_sysctl("fs/mqueue/msgsize_max"))
        return over_limit("fs/mqueue/msgsize_max", "msgsize_max", size);
    if (code == -ENOSPC) {
        snprintf(out.text, sizeof out.text,
                 " (fs.mqueue.queues_max is %" PRId64
                 ", and as many queues are there; remove some or raise it with `sysctl -w "
                 "fs.mqueue.queues_max=N`)",
                 naru__limit_sysctl("fs/mqueue/queues_max"));
        return out;
    }
    return naru__limit_of_files(code);
}

struct naru_limit_text naru__limit_of_msg(int code, size_t bytes)
{
    struct naru_limit_text out = {""};
    struct naru_msg_use use;
    if ((code != -ENOSPC && code != -EPERM) || naru__os_msg_use(&use) < 0)
        return out;
    if (code == -ENOSPC)
        snprintf(out.text, sizeof out.text,
                 " (kernel.msgmni is %" PRId64 ", %" PRId64
                 " queues are there; remove some with `ipcrm -q ID` or raise it with `sysctl -w "
                 "kernel.msgmni=N`)",
                 use.msgmni, use.queues);
    else if (bytes > (uint64_t)use.msgmnb)
        snprintf(out.text, sizeof out.text,
                 " (kernel.msgmnb is %" PRId64
                 " and %zu bytes are asked for; raise it with `sysctl -w kernel.msgmnb=%zu`)",
                 use.msgmnb, bytes, bytes);
    return out;
}

struct naru_limit_text naru__limit_of_passing(void)
{
    return rlimit_text(RLIMIT_NOFILE, "RLIMIT_NOFILE", ", and so many are on their way",
                       "raise it with `ulimit -n N` or `prlimit --nofile=N --pid PID`");
}

struct naru_limit_text naru__limit_of_ports(void)
{
    static const char name[] = "net/ipv4/ip_local_port_range";
    struct naru_limit_text out = {""};
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/sys/%s", name);
    if (read_text(path, text, sizeof text) < 0)
        return out;
    for (char *c = text; *c; c++)
        *c = *c == '\t' ? ' ' : *c == '\n' ? '\0' : *c;
    snprintf(
        out.text, sizeof out.text,
        " (net.ipv4.ip_local_port_range is %s, and each of them seems to be in use; `ss -an` shows "
        "for what; raise it with `sysctl -w net.ipv4.ip_local_port_range=\"LOW HIGH\"`)",
        text);
    return out;
}

struct naru_limit_text naru__limit_of_locked(int code, uint64_t bytes)
{
    char use[100];
    if (code != -ENOMEM && code != -EPERM && code != -EAGAIN)
        return (struct naru_limit_text){""};
    snprintf(use, sizeof use, ", %" PRId64 " KiB locked, %s more asked for",
             status_of("self", "VmLck:"), naru__size_text(bytes).text);
    return rlimit_text(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", use,
                       "raise it with `ulimit -l KIB` or `prlimit --memlock=N --pid PID`");
}

struct naru_limit_text naru__limit_of_room(int code, const char *path, uint64_t bytes)
{
    struct naru_limit_text out = {""};
    struct rlimit file;
    struct statvfs room;
    if (code != -ENOSPC || (getrlimit(RLIMIT_FSIZE, &file) == 0 && bytes > file.rlim_cur) ||
        statvfs(path, &room) < 0)
        return naru__limit_of_memory(code, bytes);
    int n = snprintf(
        out.text, sizeof out.text, " (%.80s holds %s, %s are free, and %s are asked for", path,
        naru__size_text((uint64_t)room.f_blocks * room.f_frsize).text,
        naru__size_text((uint64_t)room.f_bavail * room.f_frsize).text, naru__size_text(bytes).text);
    snprintf(out.text + n, sizeof out.text - (size_t)n,
             strcmp(path, "/dev/shm") == 0 ? "; raise it with `mount -o remount,size=N /dev/shm`, "
                                             "in a container with --shm-size)"
                                           : ")");
    return out;
}

uint64_t naru__huge_page(void)
{
    int64_t n = read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    return n < 0 ? 0 : (uint64_t)n;
}

struct naru_limit_text naru__limit_of_shm(int code, uint64_t bytes)
{
    struct naru_limit_text out = {""};
    struct naru_shm_use use;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if ((code != -EINVAL && code != -ENOSPC) || naru__os_shm_use(&use) < 0)
        return out;
    if (bytes > use.shmmax)
        snprintf(out.text, sizeof out.text,
                 " (kernel.shmmax is %" PRIu64 " and %" PRIu64
                 " bytes are asked for; raise it with `sysctl -w kernel.shmmax=%" PRIu64 "`)",
                 use.shmmax, bytes, bytes);
    else if (code == -ENOSPC && use.segments >= use.shmmni)
        snprintf(out.text, sizeof out.text,
                 " (kernel.shmmni is %" PRId64 ", %" PRId64
                 " segments are there; remove some with `ipcrm -m ID` or raise it with `sysctl -w "
                 "kernel.shmmni=N`)",
                 use.shmmni, use.segments);
    else if (code == -ENOSPC)
        snprintf(out.text, sizeof out.text,
                 " (kernel.shmall is %" PRIu64 " pages, %" PRIu64 " are in use, and %" PRIu64
                 " are asked for; remove some segments or raise it with `sysctl -w "
                 "kernel.shmall=N`)",
                 use.shmall, use.pages, (bytes + page - 1) / page);
    return out;
}

struct naru_limit_text naru__limit_of_pipe(size_t asked, size_t granted, int code)
{
    struct naru_limit_text out = {""};
    int64_t largest = naru__limit_sysctl("fs/pipe-max-size");
    int64_t soft = naru__limit_sysctl("fs/pipe-user-pages-soft");
    int64_t hard = naru__limit_sysctl("fs/pipe-user-pages-hard");
    struct naru_text want = naru__size_text(asked), have = naru__size_text(granted);
    if (code == -EPERM && largest >= 0 && asked > (size_t)largest)
        snprintf(out.text, sizeof out.text,
                 "%s asked, %s granted: fs.pipe-max-size is %" PRId64
                 "; raise it with `sysctl -w fs.pipe-max-size=%zu`",
                 want.text, have.text, largest, asked);
    else if (code == -EPERM || code >= 0)
        snprintf(
            out.text, sizeof out.text,
            "%s asked, %s granted: this user's pipes have used up fs.pipe-user-pages-soft, %" PRId64
            " pages (hard limit %" PRId64
            "); close some or raise it with `sysctl -w fs.pipe-user-pages-soft=N`",
            want.text, have.text, soft, hard);
    else
        snprintf(out.text, sizeof out.text, "%s asked, %s granted: the kernel answered error %d",
                 want.text, have.text, -code);
    return out;
}
