/* SPDX-License-Identifier: MIT */
/* lanes-limits.c - queues and topics in shared memory where something is full or forbidden: a
 * sentence that names it, nothing half-made, and it goes on once there is room. */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, SEGMENT = 300 << 10 };

static char url[200], directory[190], bytes[8 * MIB];

static void name_it(void)
{
    snprintf(directory, sizeof directory, "%s/x", test_directory);
    snprintf(url, sizeof url, "shm:%s", directory);
}

static const struct naru_queue_options shared_queue = {.size = sizeof shared_queue, .mode = 0660};

static int open_it(bool topic, int role, naru_channel **ret_c)
{
    return topic ? naru_topic_open(url, role, NULL, ret_c)
                 : naru_queue_open(url, role, NULL, ret_c);
}

static int entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void own_shm(const char *options)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, options) < 0)
        test_skip("no /dev/shm of one's own may be mounted here");
}

static void fill_disk(void)
{
    static char block[4096];
    int fd = open("/dev/shm/filler", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    while (write(fd, block, sizeof block) > 0)
        ;
    close(fd);
}

/* ---- full ---- */

/* Senders until there is no room: the next is told so, and leaves nothing; the others go on. */
static void many_senders(bool topic)
{
    enum { MOST = 40 };
    naru_channel *c[MOST], *in, *more = NULL;
    char text[8];
    own_shm("size=1m");
    snprintf(url, sizeof url, "shm:full");
    snprintf(directory, sizeof directory, "/dev/shm/naru-%u/full", geteuid());
    expect_ok(open_it(topic, NARU_RECV, &in));
    int n = 0, r, before = open_descriptors(), there;
    do
        there = entries(directory);
    while ((r = open_it(topic, NARU_SEND, &c[n])) == 0 && ++n < MOST);
    expect_code(-ENOSPC, r);
    expect_says("holds 1 MiB");
    expect(n >= 3);
    expect_code(there, entries(directory));
    expect_code(before + 2 * n, open_descriptors());
    printf("# %d senders\n", n);
    for (int i = 0; i < n; i++) {
        expect_ok(naru_channel_send(c[i], 1, "x", 1, PATIENCE));
        expect_code(1, naru_channel_recv(in, 0, text, sizeof text, NULL, PATIENCE));
    }
    /* and a message that needs a segment: what is sent next is the next */
    struct naru_info info;
    fill_disk();
    expect_code(-ENOSPC, naru_channel_send(c[0], 1, bytes, SEGMENT, PATIENCE));
    expect_says("512 KiB are asked for");
    expect_says("holds 1 MiB");
    expect_code(there, entries(directory));
    void *room = NULL;
    expect_code(-ENOSPC, naru_channel_reserve(c[0], SEGMENT, PATIENCE, &room));
    expect(room == NULL);
    expect_ok(naru_channel_send(c[0], 1, "y", 1, PATIENCE));
    expect_code(1, naru_channel_recv(in, 0, text, sizeof text, &info, PATIENCE));
    expect(text[0] == 'y' && info.sequence == 2);
    expect_code(-ENOSPC, open_it(topic, NARU_SEND, &more));
    c[n - 1] = naru_channel_close(c[n - 1]);
    expect_ok(open_it(topic, NARU_SEND, &c[n - 1])); /* its lane is there */
    expect_ok(unlink("/dev/shm/filler"));
    for (int i = 0; i < n; i++)
        c[i] = naru_channel_close(c[i]);
    naru_channel_close(in);
    expect_ok(naru_remove(url));
    /* room was made */
    expect_ok(open_it(topic, NARU_RECV, &in));
    expect_ok(open_it(topic, NARU_SEND, &c[0]));
    expect_ok(naru_channel_send(c[0], 1, bytes, SEGMENT, PATIENCE));
    expect_code(SEGMENT, naru_channel_recv(in, 0, bytes, sizeof bytes, NULL, PATIENCE));
    naru_channel_close(c[0]);
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

static void many_senders_queue(void)
{
    many_senders(false);
}

static void many_senders_topic(void)
{
    many_senders(true);
}

/* Nothing can be made where nothing is free, and nothing is left of it. */
static void made_on_full_disk(void)
{
    naru_channel *c = NULL;
    own_shm("size=1m");
    snprintf(url, sizeof url, "shm:full");
    snprintf(directory, sizeof directory, "/dev/shm/naru-%u", geteuid());
    fill_disk();
    for (int topic = 0; topic < 2; topic++)
        for (int role = 1; role < 4; role++) {
            expect_code(-ENOSPC, open_it(topic, role, &c));
            expect(c == NULL && strstr(naru_why(), "/dev/shm") != NULL);
            expect_code(2, entries(directory));
        }
    expect_ok(unlink("/dev/shm/filler"));
    expect_ok(open_it(false, NARU_RECV, &c)); /* one that is there can be removed on a full disk */
    fill_disk();
    naru_channel_close(c);
    expect_ok(naru_remove(url));
    expect_code(2, entries(directory));
    expect_ok(unlink("/dev/shm/filler"));
}

static void read_only(void)
{
    naru_channel *c = NULL, *in = NULL;
    own_shm("");
    snprintf(url, sizeof url, "shm:door");
    expect_ok(open_it(false, NARU_RECV | NARU_SEND, &c));
    expect_ok(naru_channel_send(c, 1, "x", 1, PATIENCE));
    naru_channel_close(c);
    c = NULL;
    expect_ok(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    expect_code(-EROFS, open_it(false, NARU_RECV, &in));
    expect_says("can only be read");
    expect_code(-EROFS, naru_remove(url));
    expect(naru_why()[0]);
    snprintf(url, sizeof url, "shm:other");
    expect_code(-EROFS, open_it(true, NARU_SEND, &c));
    expect(c == NULL && in == NULL && naru_why()[0]);
    expect_ok(mount(NULL, "/dev/shm", NULL, MS_REMOUNT, NULL));
    snprintf(url, sizeof url, "shm:door");
    expect_ok(open_it(false, NARU_RECV, &in));
    expect_code(1, naru_channel_recv(in, 0, bytes, 8, NULL, PATIENCE));
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

/* ---- limits of the process ---- */

/* With ever more descriptors allowed: refused with a sentence and nothing half-made, then it works;
 * and a message in a segment stays where it is as long as it cannot be mapped. */
static void few_files(bool topic)
{
    struct rlimit usual, few;
    naru_channel *c = NULL, *out;
    name_it();
    getrlimit(RLIMIT_NOFILE, &usual);
    few = usual;
    int before = open_descriptors(), refused = 0, r = -1;
    for (rlim_t most = 3; r < 0; most++) {
        few.rlim_cur = most;
        setrlimit(RLIMIT_NOFILE, &few);
        r = open_it(topic, NARU_SEND | NARU_RECV, &c);
        setrlimit(RLIMIT_NOFILE, &usual);
        if (r == 0)
            break;
        refused++;
        expect_code(-EMFILE, r);
        expect_says("RLIMIT_NOFILE");
        expect(c == NULL);
        expect_code(before, open_descriptors());
    }
    printf("# refused %d times\n", refused);
    expect(refused >= 2);
    expect_ok(open_it(topic, NARU_SEND, &out));
    expect_ok(naru_channel_send(out, 1, bytes, 1, PATIENCE)); /* so that its lane is mapped */
    expect_code(1, naru_channel_recv(c, 0, bytes, sizeof bytes, NULL, PATIENCE));
    expect_ok(naru_channel_send(out, 1, bytes, SEGMENT, PATIENCE));
    few.rlim_cur = (rlim_t)dup(0); /* the lowest that is free */
    close((int)few.rlim_cur);
    setrlimit(RLIMIT_NOFILE, &few);
    r = (int)naru_channel_recv(c, 0, bytes, sizeof bytes, NULL, PATIENCE);
    char why[400];
    snprintf(why, sizeof why, "%s", naru_why());
    int s = naru_channel_send(out, 1, bytes, SEGMENT + 1, PATIENCE);
    setrlimit(RLIMIT_NOFILE, &usual);
    expect_code(-EMFILE, s);
    expect_says("RLIMIT_NOFILE");
    expect_code(-EMFILE, r);
    expect(strstr(why, "RLIMIT_NOFILE"));
    expect_code(SEGMENT, naru_channel_recv(c, 0, bytes, sizeof bytes, NULL, PATIENCE));
    expect_ok(naru_channel_send(out, 1, bytes, SEGMENT + 1, PATIENCE));
    expect_code(SEGMENT + 1, naru_channel_recv(c, 0, bytes, sizeof bytes, NULL, PATIENCE));
    naru_channel_close(c);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
    expect_code(before, open_descriptors());
}

static void few_files_queue(void)
{
    few_files(false);
}

static void few_files_topic(void)
{
    few_files(true);
}

/* Address space and file sizes: for a lane, and for a message. */
static void little(int resource, const char *name, int code, rlim_t most)
{
    struct rlimit usual, limit;
    naru_channel *c = NULL, *in;
    const struct naru_queue_options large = {.size = sizeof large, .capacity = 256 << 20};
    name_it();
    int before = open_descriptors();
    getrlimit(resource, &usual);
    limit = usual;
    limit.rlim_cur = most;
    setrlimit(resource, &limit);
    int r = naru_queue_open(url, NARU_SEND, &large, &c);
    setrlimit(resource, &usual);
    expect_code(code, r);
    expect_says(name);
    expect(c == NULL);
    expect_code(before, open_descriptors());
    (void)naru_remove(url);
    for (int topic = 0; topic < 2; topic++) {
        expect_ok(open_it(topic, NARU_RECV, &in));
        expect_ok(open_it(topic, NARU_SEND, &c));
        int there = entries(directory);
        setrlimit(resource, &limit);
        r = naru_channel_send(c, 1, bytes, 8 * MIB, PATIENCE);
        setrlimit(resource, &usual);
        expect_code(code, r);
        expect_says(name);
        expect_code(there, entries(directory));
        expect_ok(naru_channel_send(c, 1, bytes, MIB, PATIENCE));
        expect_code(MIB, naru_channel_recv(in, 0, bytes, sizeof bytes, NULL, PATIENCE));
        naru_channel_close(c);
        naru_channel_close(in);
        c = NULL;
        expect_ok(naru_remove(url));
    }
}

static rlim_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    expect(f && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    return (rlim_t)pages * 4096;
}

static void little_address_space(void)
{
    little(RLIMIT_AS, "RLIMIT_AS", -ENOMEM, address_space() + 7 * MIB);
}

static void little_files(void)
{
    little(RLIMIT_FSIZE, "RLIMIT_FSIZE", -ENOSPC, 4 * MIB);
}

static void be_nobody(gid_t gid, uid_t uid)
{
    if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        test_skip("no other user may be taken here");
}

/* As a user whom the limit binds, with all memory locked. */
static void locked_inside(void)
{
    struct rlimit limit = {4 << 20, 4 << 20};
    naru_channel *c = NULL;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        test_skip("RLIMIT_MEMLOCK cannot be set");
    be_nobody(65534, 65534);
    if (mlockall(MCL_FUTURE) < 0)
        test_skip("nothing can be locked");
    int before = open_descriptors();
    const struct naru_queue_options o = {.size = sizeof o, .capacity = 8 << 20};
    expect_code(-ENOMEM, naru_queue_open(url, NARU_SEND, &o, &c));
    expect_says("RLIMIT_MEMLOCK");
    expect(c == NULL);
    expect_code(before, open_descriptors());
    munlockall();
    expect_ok(naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &c));
    naru_channel_close(c);
    expect_ok(naru_remove(url));
    _exit(0);
}

static void locked(void)
{
    name_it();
    expect(chmod(test_directory, 0777) == 0);
    pid_t pid = fork();
    if (pid == 0)
        locked_inside();
    end_child(pid);
}

/* ---- other users ---- */

static void refused_here(void)
{
    naru_channel *c = NULL;
    for (int topic = 0; topic < 2; topic++) {
        expect_code(-EACCES, open_it(topic, NARU_RECV, &c));
        expect(c == NULL && strstr(naru_why(), "uid 0") && strstr(naru_why(), "0700"));
    }
    expect(naru_remove(url) < 0);
    expect(naru_why()[0]);
}

/* Takes a message and is killed with it, with another in its own lane. */
static _Noreturn void takes_and_dies(bool topic)
{
    naru_channel *c;
    struct naru_message m;
    if (open_it(topic, NARU_SEND | NARU_RECV, &c) < 0 ||
        naru_channel_send(c, 2, "from me", 7, PATIENCE) < 0 ||
        naru_channel_send(c, 3, bytes, SEGMENT, PATIENCE) < 0 ||
        naru_channel_take(c, 1, PATIENCE, &m) < 0) {
        fprintf(stderr, "# %s\n", naru_why());
        _exit(1);
    }
    if (fork() == 0) /* that keeps every descriptor */
        for (;;)
            pause();
    kill(getpid(), SIGKILL);
    _exit(1);
}

/* What the dead one of another user, or namespace, has left: its message comes again, its own lies
 * in its lane, and the next sender goes on there. */
static void outlives(void (*start)(bool topic))
{
    for (int topic = 0; topic < 2; topic++) {
        naru_channel *c, *next;
        struct naru_info info;
        const struct naru_topic_options t = {
            .size = sizeof t, .mode = shared_queue.mode, .history = 4};
        expect_ok(topic ? naru_topic_open(url, NARU_SEND | NARU_RECV, &t, &c)
                        : naru_queue_open(url, NARU_SEND | NARU_RECV, &shared_queue, &c));
        expect_ok(naru_channel_send(c, 1, "taken", 5, PATIENCE));
        if (topic) /* it would get it as well */
            expect_code(5, naru_channel_recv(c, 1, bytes, 8, NULL, PATIENCE));
        start(topic);
        expect_code(7, naru_channel_recv(c, 2, bytes, 8, NULL, PATIENCE));
        if (!topic) {
            expect_code(5, naru_channel_recv(c, 1, bytes, 8, &info, PATIENCE));
            expect(info.flags & NARU_REDELIVERED);
        }
        expect_code(SEGMENT, naru_channel_recv(c, 3, bytes, sizeof bytes, NULL, PATIENCE));
        expect_ok(open_it(topic, NARU_SEND, &next));
        expect_code(0, naru_channel_wait_peers(next, 1, PATIENCE));
        expect_code(-ETIMEDOUT, naru_channel_wait_peers(next, 2, 20 * NARU_MS)); /* it is dead */
        for (int i = 0; i < 2000; i++) { /* and holds nobody back */
            expect_ok(naru_channel_send(next, 4, "more", 4, PATIENCE));
            expect_code(4, naru_channel_recv(c, 4, bytes, 8, NULL, PATIENCE));
        }
        naru_channel_close(next);
        naru_channel_close(c);
        expect_ok(naru_remove(url));
    }
}

static void as_other_user(bool topic)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setresuid(0, 0, 0) < 0 || setresuid(65534, 65534, 65534) < 0)
            _exit(1);
        takes_and_dies(topic);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

/* 0600: refused; 0660: by the group that both are in. */
static void other_user(void)
{
    naru_channel *c;
    if (getuid() != 0)
        test_skip("only root can be another user");
    name_it();
    expect(chmod(test_directory, 0777) == 0);
    expect_ok(open_it(false, NARU_SEND | NARU_RECV, &c));
    pid_t pid = fork();
    if (pid == 0) {
        be_nobody(65534, 65534);
        refused_here();
        _exit(0);
    }
    end_child(pid);
    naru_channel_close(c);
    expect_ok(naru_remove(url));
    pid = fork(); /* one user's, and another of its group takes part; neither is root */
    if (pid == 0) {
        expect_ok(setgroups(0, NULL));
        expect_ok(setresgid(65532, 65532, 65532));
        expect_ok(setresuid(65533, 65533, 0)); /* so that it can start the other one */
        outlives(as_other_user);
        _exit(0);
    }
    end_child(pid);
}

static void in_namespaces(bool topic)
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        test_skip("no user namespace may be made here");
    if (pid == 0) {
        if (fork() == 0)
            takes_and_dies(topic);
        int status;
        wait(&status);
        if (fork() == 0) /* another has the same pid here as others have outside */
            _exit(0);
        wait(NULL);
        _exit(WIFSIGNALED(status) ? 0 : 1); /* with this first one, all of the namespace goes */
    }
    end_child(pid);
}

static void other_namespaces(void)
{
    name_it();
    outlives(in_namespaces);
}

/* ---- what naru_fd needs ---- */

/* Readable once something may be received, if only after a tick. */
static bool told(naru_channel *c, int ms)
{
    struct pollfd p = {.fd = naru_fd(c), .events = POLLIN};
    expect(p.fd >= 0);
    for (int64_t end = test_now() + ms * NARU_MS; test_now() < end;) {
        expect_ok(naru_want(c, NARU_IN));
        if (poll(&p, 1, 100) > 0)
            return true;
    }
    return false;
}

static void dies_holding(void *unused)
{
    naru_channel *c;
    struct naru_message m;
    (void)unused;
    if (open_it(false, NARU_RECV, &c) < 0 || naru_channel_take(c, 0, PATIENCE, &m) < 0)
        _exit(1);
    for (;;)
        pause();
}

/* inotify has reached its limit, so the death of another is seen by looking. */
static void without_inotify_inside(void)
{
    enum { MOST = 5000 };
    naru_channel *c;
    be_nobody(65534, 65533); /* a uid of its own, whose instances are counted */
    int n = 0;
    while (n < MOST && inotify_init1(IN_CLOEXEC) >= 0)
        n++;
    expect(n < MOST);
    expect_ok(open_it(false, NARU_SEND | NARU_RECV, &c));
    expect_ok(naru_channel_send(c, 1, "x", 1, PATIENCE));
    pid_t pid = start_child(dies_holding, NULL);
    while (naru_channel_flush(c, NARU_NOWAIT) == 0) /* not: the child has it, which is not done */
        ;
    for (int64_t end = test_now() + PATIENCE; naru_channel_wait_peers(c, 1, NARU_NOWAIT) < 0;)
        expect(test_now() < end);
    usleep(50000);
    expect(!told(c, 20) || naru_channel_recv(c, 0, bytes, 8, NULL, NARU_NOWAIT) == -EAGAIN);
    kill(pid, SIGKILL);
    expect(waitpid(pid, NULL, 0) == pid);
    expect(told(c, PATIENCE_MS));
    struct naru_info info;
    expect_code(1, naru_channel_recv(c, 0, bytes, 8, &info, NARU_NOWAIT));
    expect(info.flags & NARU_REDELIVERED);
    naru_channel_close(c);
    expect_ok(naru_remove(url));
    _exit(0);
}

static void without_inotify(void)
{
    name_it();
    expect(chmod(test_directory, 0777) == 0);
    pid_t pid = fork();
    if (pid == 0)
        without_inotify_inside();
    end_child(pid);
}

static void without_proc(void)
{
    naru_channel *c, *in;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/proc", "tmpfs", 0, "") < 0)
        test_skip("/proc may not be covered here");
    name_it();
    for (int topic = 0; topic < 2; topic++) {
        expect_ok(open_it(topic, NARU_RECV, &in));
        expect_ok(open_it(topic, NARU_SEND, &c));
        expect_ok(naru_channel_send(c, 1, "x", 1, PATIENCE));
        expect_ok(naru_channel_send(c, 1, bytes, SEGMENT, PATIENCE));
        expect_code(1, naru_channel_recv(in, 0, bytes, 8, NULL, PATIENCE));
        expect_code(SEGMENT, naru_channel_recv(in, 0, bytes, sizeof bytes, NULL, PATIENCE));
        int fd = naru_fd(in);
        expect(fd < 0);
        expect_says("/proc");
        naru_channel_close(c);
        naru_channel_close(in);
        expect_ok(naru_remove(url));
    }
    umount("/proc");
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"queue: senders until nothing is free", many_senders_queue},
        {"topic: publishers until nothing is free", many_senders_topic},
        {"made on a full disk", made_on_full_disk},
        {"a read-only /dev/shm", read_only},
        {"queue: few descriptors", few_files_queue},
        {"topic: few descriptors", few_files_topic},
        {"little address space", little_address_space},
        {"small files", little_files},
        {"little lockable memory", locked},
        {"another user", other_user},
        {"other user and pid namespaces", other_namespaces},
        {"no inotify", without_inotify},
        {"no /proc", without_proc},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
