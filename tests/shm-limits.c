/* SPDX-License-Identifier: MIT */
/* shm-limits.c - connections in shared memory where something is full or forbidden: a sentence that
 * names it, and nothing half-made. */
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char url[200];

static _Noreturn void sleep_for_ever(void)
{
    for (;;)
        pause();
}

/* Opening with ever more descriptors allowed: refused with a sentence and nothing half-made, then
 * it works. */
static void few_files(void)
{
    struct rlimit usual, few;
    naru_channel *a = NULL, *b = NULL;
    getrlimit(RLIMIT_NOFILE, &usual);
    few = usual;
    int before = open_descriptors(), refused = 0, r = -1;
    for (rlim_t most = 3; r < 0; most++) {
        few.rlim_cur = most;
        setrlimit(RLIMIT_NOFILE, &few);
        r = naru_channel_pair("shm:", NULL, &a, &b);
        setrlimit(RLIMIT_NOFILE, &usual);
        if (r == 0)
            break;
        refused++;
        expect_code(-EMFILE, r);
        expect_says("RLIMIT_NOFILE");
        expect(a == NULL && b == NULL);
        expect_code(before, open_descriptors());
    }
    expect(refused > 5);
    /* and meeting, which needs some for what the other end sends */
    char text[8];
    expect_ok(naru_channel_send(a, 1, "x", 1, PATIENCE));
    few.rlim_cur =
        (rlim_t)open_descriptors() - 2; /* . and .. are counted, and the directory itself */
    setrlimit(RLIMIT_NOFILE, &few);
    r = (int)naru_channel_recv(b, 0, text, sizeof text, NULL, PATIENCE);
    setrlimit(RLIMIT_NOFILE, &usual);
    expect_code(-EMFILE, r);
    expect_code(-EMFILE, naru_channel_recv(b, 0, text, sizeof text, NULL, PATIENCE)); /* for good */
    expect_says("close this end");
    naru_channel_close(a);
    naru_channel_close(b);
    expect_code(before, open_descriptors());
}

static void little_memory(void)
{
    struct rlimit usual, little;
    naru_channel *a = NULL, *b = NULL;
    const struct naru_channel_options o = {.size = sizeof o, .capacity = 256 << 20};
    int before = open_descriptors();
    getrlimit(RLIMIT_AS, &usual);
    little = usual;
    little.rlim_cur = 200 << 20;
    setrlimit(RLIMIT_AS, &little);
    int r = naru_channel_pair("shm:", &o, &a, &b);
    setrlimit(RLIMIT_AS, &usual);
    expect_code(-ENOMEM, r);
    expect_says("RLIMIT_AS");
    expect_code(before, open_descriptors());
    /* and meeting one with more than fits here: by the greeting it is refused for good */
    naru_channel_listener *l;
    char text[8];
    snprintf(url, sizeof url, "shm:%s/big", test_directory);
    expect_ok(naru_channel_listen(
        url,
        &(struct naru_listen_options){sizeof(struct naru_listen_options), .capacity = 256 << 20},
        &l));
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &a));
    expect_ok(naru_channel_accept(l, PATIENCE, &b));
    setrlimit(RLIMIT_AS, &little);
    r = (int)naru_channel_recv(a, 0, text, sizeof text, NULL, PATIENCE);
    setrlimit(RLIMIT_AS, &usual);
    expect_code(-ENOMEM, r);
    expect_says("RLIMIT_AS");
    expect_code(-ENOMEM, naru_channel_send(a, 1, "x", 1, PATIENCE));
    naru_channel_close(a);
    naru_channel_close(b);
    naru_channel_listener_close(l);
    expect_code(before, open_descriptors());
    /* a size that nothing could hold */
    getrlimit(RLIMIT_FSIZE, &usual);
    little = usual;
    little.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &little); /* SIGXFSZ would end the case */
    r = naru_channel_pair("shm:", &o, &a, &b);
    setrlimit(RLIMIT_FSIZE, &usual);
    expect_code(-ENOSPC, r);
    expect_says("RLIMIT_FSIZE");
}

/* As a user whom the limit binds, with all memory locked. */
static void locked_inside(void)
{
    struct rlimit limit = {4 << 20, 4 << 20};
    naru_channel *a = NULL, *b = NULL;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || setresgid(65534, 65534, 65534) < 0 ||
        setresuid(65534, 65534, 65534) < 0 || mlockall(MCL_FUTURE) < 0)
        test_skip("no other user may be taken here");
    int before = open_descriptors();
    const struct naru_channel_options o = {.size = sizeof o, .capacity = 8 << 20};
    expect_code(-ENOMEM, naru_channel_pair("shm:", &o, &a, &b));
    expect_says("RLIMIT_MEMLOCK");
    expect_code(before, open_descriptors());
    _exit(0);
}

static void locked(void)
{
    pid_t pid = fork();
    if (pid == 0)
        locked_inside();
    end_child(pid);
}

static void own_shm(const char *options, unsigned long flags)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", flags, options) < 0)
        test_skip("no /dev/shm of one's own may be mounted here");
}

static int names_in_shm(void)
{
    return system("test -z \"$(ls -A /dev/shm/naru-*/ 2>/dev/null)\"");
}

/* 1 MiB, all of it used; and then no inode left: the meeting place cannot be made. */
static void small_disk(void)
{
    naru_channel_listener *l = NULL;
    naru_channel *a, *b;
    static char block[4096];
    own_shm("size=1m,nr_inodes=5", 0);
    int fd = open("/dev/shm/filler", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    while (write(fd, block, sizeof block) > 0)
        ;
    close(fd);
    /* names take no room, and the data is nobody's file: a full one does not matter */
    expect_ok(naru_channel_listen("shm:door", NULL, &l));
    expect_ok(naru_channel_connect("shm:door", NULL, PATIENCE, &a));
    expect_ok(naru_channel_accept(l, PATIENCE, &b));
    expect_ok(naru_channel_send(a, 1, "x", 1, PATIENCE));
    naru_channel_close(a);
    naru_channel_close(b);
    naru_channel_listener_close(l);
    expect(names_in_shm() == 0);
    expect(close(open("/dev/shm/one", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
    expect(close(open("/dev/shm/two", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
    l = NULL;
    expect_code(-ENOSPC, naru_channel_listen("shm:door", NULL, &l));
    expect(l == NULL && strstr(naru_why(), "/dev/shm"));
    expect(names_in_shm() == 0);
}

static void read_only(void)
{
    naru_channel_listener *l = NULL;
    naru_channel *a = NULL, *b = NULL;
    own_shm("", MS_RDONLY);
    expect_code(-EROFS, naru_channel_listen("shm:door", NULL, &l));
    expect_says("/dev/shm");
    expect(l == NULL);
    expect_code(-EROFS, naru_channel_connect("shm:door", NULL, PATIENCE, &a));
    expect_ok(naru_channel_pair("shm:", NULL, &a, &b)); /* needs no name */
    naru_channel_close(a);
    naru_channel_close(b);
}

static void as_nobody(void (*play)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) < 0 || setuid(65534) < 0)
            test_skip("no other user may be taken here");
        play();
        _exit(0);
    }
    end_child(pid);
}

static void refused_here(void)
{
    naru_channel *c = NULL;
    naru_channel_listener *l = NULL;
    expect_code(-EACCES, naru_channel_connect(url, NULL, PATIENCE, &c));
    expect(strstr(naru_why(), "uid 0") || strstr(naru_why(), "root"));
    expect(c == NULL);
    int r = naru_channel_listen(url, NULL, &l);
    expect(r == -EACCES || r == -EPERM || r == -EBUSY);
    expect(l == NULL && naru_why()[0]);
}

static void talks_here(void)
{
    naru_channel *c = NULL;
    char text[8];
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c));
    expect_ok(naru_channel_send(c, 1, "other", 5, PATIENCE));
    expect_code(3, naru_channel_recv(c, 0, text, sizeof text, NULL, PATIENCE));
    struct naru_peer peer = {.size = sizeof peer};
    expect_ok(naru_peer(c, &peer));
    if (fork() == 0) /* that keeps the socket */
        sleep_for_ever();
    kill(getpid(), SIGKILL);
}

static void serve_one(naru_channel_listener *l)
{
    char text[8];
    struct naru_peer peer = {.size = sizeof peer};
    naru_channel *mine;
    expect_ok(naru_channel_accept(l, PATIENCE, &mine));
    expect_code(5, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    expect_ok(naru_peer(mine, &peer));
    printf("# the peer's uid is %lld\n", (long long)peer.uid);
    expect_ok(naru_channel_send(mine, 1, "yes", 3, PATIENCE));
    expect_code(-ECONNRESET, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    naru_channel_close(mine);
}

static void other_user(void)
{
    naru_channel_listener *l;
    if (getuid() != 0)
        test_skip("only root can be another user");
    snprintf(url, sizeof url, "shm:%s/door", test_directory);
    expect(chmod(test_directory, 0755) == 0);
    expect_ok(naru_channel_listen(url, NULL, &l));
    as_nobody(refused_here);
    naru_channel_listener_close(l);
    expect_ok(naru_channel_listen(
        url, &(struct naru_listen_options){sizeof(struct naru_listen_options), .mode = 0666}, &l));
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(1);
        talks_here();
    }
    serve_one(l);
    waitpid(pid, NULL, 0);
    naru_channel_listener_close(l);
}

static void other_namespaces(void)
{
    naru_channel_listener *l;
    snprintf(url, sizeof url, "shm:%s/door", test_directory);
    expect(chmod(test_directory, 0755) == 0);
    expect_ok(naru_channel_listen(
        url, &(struct naru_listen_options){sizeof(struct naru_listen_options), .mode = 0666}, &l));
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) {
        naru_channel_listener_close(l);
        test_skip("no user namespace may be made here");
    }
    if (pid == 0) {
        if (fork() == 0)
            talks_here();
        wait(NULL);
        sleep_for_ever(); /* so that the child of the one killed lives on */
    }
    serve_one(l);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    naru_channel_listener_close(l);
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"few descriptors", few_files},
        {"little memory", little_memory},
        {"little lockable memory", locked},
        {"a small /dev/shm", small_disk},
        {"a read-only /dev/shm", read_only},
        {"another user", other_user},
        {"other user and pid namespaces", other_namespaces},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
