/* SPDX-License-Identifier: MIT */
/* life.c - the lock by which the kernel says who lives: held by whom it should be, through all that
 * can happen to a process, and by nobody else. In a file without a name and in one of /dev/shm. */
#include "harness.h"

#include "os/life.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTE = 4711 };

static int file;    /* of all in a case; nobody maps it but by the lock */
static int word[2]; /* a pipe: the holder says that it has it */
static char cgroup[200];

static void make_file(bool named)
{
    file = named ? open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                 : memfd_create("naru:life", MFD_CLOEXEC);
    expect(file >= 0 && pipe2(word, O_CLOEXEC) == 0);
}

static void close_file(void)
{
    close(file);
    close(word[0]);
    close(word[1]);
}

static bool held(void)
{
    int r = naru__os_life_held(file, BYTE);
    expect(r == 0 || r == 1);
    return r == 1;
}

static void falls(void)
{
    int64_t end = test_now() + PATIENCE;
    while (held()) {
        expect(test_now() < end);
        usleep(100);
    }
}

static bool stayed(void)
{
    bool all = true;
    for (int i = 0; i < 100; i++) {
        all = all && naru__os_life_held(file, BYTE) == 1;
        usleep(500);
    }
    return all;
}

static void stays(void)
{
    expect(stayed());
}

static struct naru_life life;

static void hold(void)
{
    expect(naru__os_life_hold(file, BYTE, &life) == 0);
}

static void say(pid_t pid)
{
    expect(write(word[1], &pid, sizeof pid) == sizeof pid);
}

static pid_t heard(void)
{
    pid_t pid = 0;
    expect(read(word[0], &pid, sizeof pid) == sizeof pid);
    return pid;
}

static _Noreturn void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- with a child that lives on ---- */

static pid_t bare_clone(void)
{
#ifdef __s390x__
    return (pid_t)syscall(SYS_clone, 0, SIGCHLD, 0, 0, 0);
#else
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
}

static void with_child(pid_t (*make)(void))
{
    pid_t holder = fork();
    if (holder == 0) {
        hold();
        pid_t child = make();
        if (child == 0)
            sleep_for_ever();
        say(child);
        sleep_for_ever();
    }
    pid_t child = heard();
    stays();
    end(holder);
    falls();
    expect(kill(child, 0) == 0);
    kill(child, SIGKILL);
    close_file();
}

static void forked(void)
{
    make_file(false);
    with_child(fork);
    make_file(true);
    with_child(fork);
}

static void cloned(void)
{
    make_file(false);
    with_child(bare_clone);
}

static pid_t start_program(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execlp("sleep", "sleep", "100", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void vforked(void)
{
    make_file(false);
    with_child(start_program);
}

/* A child that runs in the same memory, and has not called exec: somebody is still there. */
static void same_memory(void)
{
    make_file(false);
    pid_t holder = fork();
    if (holder == 0) {
        hold();
        if (vfork() == 0) {
            pid_t self = (pid_t)syscall(SYS_getpid);
            if (write(word[1], &self, sizeof self) != sizeof self)
                _exit(1);
            for (;;)
                syscall(SYS_pause);
        }
        _exit(1);
    }
    pid_t child = heard();
    end(holder);
    stays();
    kill(child, SIGKILL);
    falls();
    close_file();
}

/* What a child inherited of the token holds nothing, and ends nothing. */
static void child_drops(void)
{
    make_file(false);
    hold();
    pid_t child = fork();
    if (child == 0) {
        naru__os_life_drop(&life);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    stays();
    naru__os_life_drop(&life);
    expect(!held());
    close_file();
}

/* ---- forks of another thread, just now ---- */

static _Atomic bool forking;
static _Atomic int turns; /* of the other thread, meanwhile */

static void *fork_on(void *unused)
{
    enum { CHILDREN = 150 };
    pid_t child[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        while (turns < i / 5)
            usleep(10);
        if ((child[i] = fork()) == 0)
            sleep_for_ever();
    }
    forking = false;
    while (held()) /* by this process's other thread, now and then */
        usleep(10);
    for (int i = 0; i < CHILDREN; i++)
        end(child[i]);
    return unused;
}

static void fork_meanwhile(void)
{
    pthread_t thread;
    make_file(false);
    forking = true;
    expect(pthread_create(&thread, NULL, fork_on, NULL) == 0);
    for (; forking; turns++) {
        hold();
        naru__os_life_drop(&life);
        if (held())
            test_failed(__FILE__, __LINE__, "a child has kept the lock that was taken as the %d.",
                        turns + 1);
    }
    pthread_join(thread, NULL);
    expect(turns > 20);
    close_file();
}

/* ---- one process ---- */

static void two(void)
{
    struct naru_life other, third;
    make_file(true);
    expect(!held());
    hold();
    expect(naru__os_life_hold(file, BYTE, &other) == -EAGAIN);
    expect(naru__os_life_hold(file, BYTE + 1, &third) == 0);
    int again = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), copy = dup(file);
    close(again);
    close(copy); /* a record lock of the process's would fall */
    stays();
    naru__os_life_drop(&life);
    naru__os_life_drop(&life);
    expect(!held() && naru__os_life_held(file, BYTE + 1) == 1);
    naru__os_life_drop(&third);
    hold();
    naru__os_life_drop(&life);
    close_file();
}

static void by_name(void)
{
    char link[200], name[] = "lock";
    make_file(true);
    int directory = open(test_directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    int fd = openat(directory, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int reader = openat(directory, name, O_RDONLY | O_CLOEXEC);
    expect(directory >= 0 && fd >= 0 && reader >= 0);
    expect(naru__os_life_hold_at(directory, name, BYTE, &life) == 0);
    expect(naru__os_life_held(reader, BYTE) == 1);
    naru__os_life_drop(&life);
    expect(naru__os_life_held(reader, BYTE) == 0);
    snprintf(link, sizeof link, "%s/link", test_directory);
    expect(symlinkat(name, directory, "link") == 0);
    expect(naru__os_life_hold_at(directory, "link", BYTE, &life) == -ELOOP);
    expect(naru__os_life_hold_at(directory, "absent", BYTE, &life) == -ENOENT);
    expect(unlinkat(directory, name, 0) == 0 && unlinkat(directory, "link", 0) == 0);
    close(fd);
    close(reader);
    close(directory);
    close_file();
}

static void *hold_in_thread(void *unused)
{
    hold();
    return unused;
}

static void *last_thread(void *unused)
{
    usleep(20000); /* the leader has ended by then */
    say(getpid());
    sleep_for_ever();
    return unused;
}

static void threads(void)
{
    make_file(false);
    pid_t holder = fork();
    if (holder == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, hold_in_thread, NULL);
        pthread_join(thread, NULL);
        pthread_create(&thread, NULL, last_thread, NULL);
        pthread_exit(NULL);
    }
    heard();
    stays();
    end(holder);
    falls();
    close_file();
}

static void execs(void)
{
    make_file(false);
    pid_t holder = fork();
    if (holder == 0) {
        hold();
        say(0);
        execlp("sleep", "sleep", "100", (char *)NULL);
        _exit(127);
    }
    heard();
    falls();
    expect(kill(holder, 0) == 0);
    end(holder);
    close_file();
}

static void zombie(void)
{
    make_file(false);
    pid_t holder = fork();
    if (holder == 0) {
        hold();
        say(0);
        _exit(0);
    }
    heard();
    falls();
    siginfo_t info;
    expect(waitid(P_PID, (id_t)holder, &info, WEXITED | WNOWAIT) == 0);
    expect(!held());
    waitpid(holder, NULL, 0);
    close_file();
}

static pid_t start_holder(void)
{
    pid_t holder = fork();
    if (holder == 0) {
        hold();
        say(0);
        sleep_for_ever();
    }
    heard();
    return holder;
}

static void stopped(void)
{
    make_file(false);
    pid_t holder = start_holder();
    kill(holder, SIGSTOP);
    waitpid(holder, NULL, WUNTRACED);
    stays();
    kill(holder, SIGKILL); /* which a stopped one is dead of */
    falls();
    waitpid(holder, NULL, 0);
    close_file();
}

/* ---- frozen ---- */

static void write_word(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", cgroup, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    expect(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* A mount of one's own, which nobody else sees and which goes with the process. */
static void freezer(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/mnt", "cgroup", 0, "freezer") < 0)
        test_skip("no cgroup v1 freezer can be mounted here");
    snprintf(cgroup, sizeof cgroup, "/mnt/naru-test-%d", (int)getpid());
    expect(mkdir(cgroup, 0700) == 0);
}

static void frozen(void)
{
    char number[16], state[16] = "";
    make_file(false);
    freezer();
    pid_t holder = start_holder();
    snprintf(number, sizeof number, "%d", (int)holder);
    write_word("cgroup.procs", number);
    write_word("freezer.state", "FROZEN");
    for (int64_t end = test_now() + PATIENCE; strncmp(state, "FROZEN", 6) != 0;) {
        char path[300];
        snprintf(path, sizeof path, "%s/freezer.state", cgroup);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        expect(fd >= 0 && read(fd, state, sizeof state - 1) > 0 && test_now() < end);
        close(fd);
    }
    bool before = stayed();
    kill(holder, SIGKILL);
    bool after = stayed();
    write_word("freezer.state", "THAWED"); /* or it would be left, whatever came out */
    expect(before && after);
    falls();
    waitpid(holder, NULL, 0);
    for (int i = 0; i < PATIENCE_MS && rmdir(cgroup) < 0; i++)
        usleep(1000);
    expect(access(cgroup, F_OK) < 0);
    close_file();
}

/* ---- other pid namespaces ---- */

static pid_t start_apart(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, 0, 0, 0, 0);
    if (pid < 0)
        test_skip("no pid namespace may be made here");
    return pid;
}

static void namespaces(void)
{
    make_file(false);
    pid_t holder = start_apart();
    if (holder == 0) {
        expect(getpid() == 1);
        hold();
        say(0);
        sleep_for_ever();
    }
    heard();
    stays();
    pid_t looker = start_apart(); /* has the same pid in its own */
    if (looker == 0) {
        expect(getpid() == 1);
        stays();
        say(0);
        falls();
        _exit(0);
    }
    heard();
    end(holder);
    falls();
    end_child(looker);
    close_file();
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"killed, a forked child lives on", forked},
        {"killed, a bare clone lives on", cloned},
        {"killed, a program started by vfork lives on", vforked},
        {"killed, a child in the same memory lives on", same_memory},
        {"a child drops what it does not hold", child_drops},
        {"another thread forks just now", fork_meanwhile},
        {"two that want one byte", two},
        {"by a name", by_name},
        {"threads end, and the first of them", threads},
        {"exec", execs},
        {"zombie", zombie},
        {"stopped", stopped},
        {"frozen", frozen},
        {"other pid namespaces", namespaces},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
