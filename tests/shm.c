/* SPDX-License-Identifier: MIT */
/* shm.c - connections in shared memory: who is dead and who is not, whatever happens to the process
 * at the other end; and waiting. */
#include "harness.h"

#include "base/fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the two ends ---- */

static naru_channel *mine; /* the case's */
static int word[2];        /* a pipe on which the other process says what it has come to */

static void say(pid_t pid)
{
    if (write(word[1], &pid, sizeof pid) != sizeof pid)
        _exit(1);
}

static pid_t heard(void)
{
    pid_t pid = -1;
    expect(read(word[0], &pid, sizeof pid) == sizeof pid);
    return pid;
}

static _Noreturn void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static pid_t bare_clone(int flags)
{
#ifdef __s390x__
    return (pid_t)syscall(SYS_clone, 0, flags | SIGCHLD, 0, 0, 0);
#else
    return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
#endif
}

/* How the other process comes to its end: 'p' it adopts one of a pair, 'n' it listens at a name. */
static char how;
static char url[200];
static naru_channel_listener *listener;

static naru_channel *be_other(naru_channel *theirs)
{
    naru_channel *c = theirs;
    if (how == 'p')
        expect_ok(naru_adopt(c));
    else
        expect_ok(naru_channel_accept(listener, PATIENCE, &c));
    expect_ok(naru_channel_send(c, 1, "here", 4, PATIENCE));
    return c;
}

/* Starts `play` with the other end in a process made by `start`; the case has `mine` then. */
static bool all_there; /* what comes is, when this end looks for the first time: `word` tells */

static pid_t begin_by(pid_t (*start)(void), void (*play)(naru_channel *))
{
    naru_channel *theirs = NULL;
    char text[8];
    expect(pipe2(word, O_CLOEXEC) == 0);
    if (how == 'p') {
        expect_ok(naru_channel_pair("shm:", NULL, &mine, &theirs));
    } else {
        snprintf(url, sizeof url, "shm:%s/door", test_directory);
        expect_ok(naru_channel_listen(url, NULL, &listener));
        expect_ok(naru_adopt(listener));
    }
    pid_t pid = start();
    if (pid == 0) {
        if (how == 'p')
            naru_channel_close(mine);
        else
            expect_ok(naru_adopt(listener));
        play(be_other(theirs));
        exit(0);
    }
    if (how == 'p')
        naru_channel_close(theirs);
    else
        expect_ok(naru_channel_connect(url, NULL, PATIENCE, &mine));
    if (all_there)
        expect(poll(&(struct pollfd){.fd = word[0], .events = POLLIN}, 1, -1) == 1);
    expect_code(4, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    return pid;
}

static pid_t plain_fork(void)
{
    return fork();
}

static pid_t begin(void (*play)(naru_channel *))
{
    return begin_by(plain_fork, play);
}

static void done(void)
{
    naru_channel_close(mine);
    listener = naru_channel_listener_close(listener);
    close(word[0]);
    close(word[1]);
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- the death is told ---- */

static int64_t died_at;

static void *kill_later(void *pid)
{
    usleep(30000); /* the case sleeps by then */
    died_at = test_now();
    kill(*(pid_t *)pid, SIGKILL);
    return NULL;
}

/* Each way of waiting ends; `killed`: by whom it is to happen, while the case waits already. */
static void told(pid_t killed, int code)
{
    char text[8];
    pthread_t thread;
    if (killed)
        expect(pthread_create(&thread, NULL, kill_later, &killed) == 0);
    int64_t began = test_now();
    expect_code(code, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    if (killed) {
        pthread_join(thread, NULL);
        began = died_at;
    }
    printf("# told after %.2f ms\n", (double)(test_now() - began) * 1e-6);
    expect_says(code == -EPIPE ? "finished" : "vanished");
    struct pollfd p = {.fd = naru_fd(mine), .events = POLLIN};
    expect(p.fd >= 0 && poll(&p, 1, PATIENCE_MS) == 1);
    static char large[100000];
    int r = 0;
    while (r == 0) /* there may be room for some */
        r = naru_channel_send(mine, 1, large, sizeof large, PATIENCE);
    expect(r == -EPIPE || r == -ECONNRESET);
}

static void not_told(void)
{
    char text[8];
    expect_code(-ETIMEDOUT, naru_channel_recv(mine, 0, text, sizeof text, NULL, 150 * NARU_MS));
}

static void both(void (*run)(void))
{
    how = 'p';
    run();
    how = 'n';
    run();
}

static void stay(naru_channel *c)
{
    (void)c;
    say(0);
    sleep_for_ever();
}

static void stay_with(pid_t child)
{
    if (child == 0)
        sleep_for_ever();
    say(child);
    sleep_for_ever();
}

static void stay_with_fork(naru_channel *c)
{
    (void)c;
    stay_with(fork());
}

static void stay_with_clone(naru_channel *c)
{
    (void)c;
    stay_with(bare_clone(0));
}

static void stay_with_program(naru_channel *c)
{
    (void)c;
    pid_t pid = vfork();
    if (pid == 0) {
        execlp("sleep", "sleep", "100", (char *)NULL);
        _exit(127);
    }
    stay_with(pid);
}

static void killed_with(void (*play)(naru_channel *))
{
    pid_t pid = begin(play), child = heard();
    not_told();
    told(pid, -ECONNRESET);
    if (child) {
        expect(kill(child, 0) == 0);
        kill(child, SIGKILL);
    }
    waitpid(pid, NULL, 0);
    done();
}

static void killed_alone(void)
{
    killed_with(stay);
}

static void killed_forked(void)
{
    killed_with(stay_with_fork);
}

static void killed_cloned(void)
{
    killed_with(stay_with_clone);
}

static void killed_vforked(void)
{
    killed_with(stay_with_program);
}

static void killed(void)
{
    both(killed_alone);
    both(killed_forked);
    both(killed_cloned);
    both(killed_vforked);
}

/* A sender without room hears of it as well. */
static void full_run(void)
{
    static char large[60000];
    pthread_t thread;
    pid_t pid = begin(stay_with_clone), child = heard();
    int r;
    while ((r = naru_channel_send(mine, 1, large, sizeof large, NARU_NOWAIT)) == 0)
        ;
    expect_code(-EAGAIN, r);
    expect_code(-ETIMEDOUT, naru_channel_send(mine, 1, large, sizeof large, 100 * NARU_MS));
    expect(pthread_create(&thread, NULL, kill_later, &pid) == 0);
    expect_code(-ECONNRESET, naru_channel_send(mine, 1, large, sizeof large, PATIENCE));
    pthread_join(thread, NULL);
    kill(child, SIGKILL);
    waitpid(pid, NULL, 0);
    done();
}

static void full(void)
{
    both(full_run);
}

/* A foreign loop is woken. */
static void loop_run(void)
{
    char text[8];
    pid_t pid = begin(stay_with_clone), child = heard();
    struct pollfd p = {.fd = naru_fd(mine), .events = POLLIN};
    expect(poll(&p, 1, 100) == 0);
    kill(pid, SIGKILL);
    int r = -EAGAIN;
    for (int64_t until = test_now() + PATIENCE; r == -EAGAIN;) {
        expect(test_now() < until);
        expect(poll(&p, 1, PATIENCE_MS) == 1);
        r = (int)naru_channel_recv(mine, 0, text, sizeof text, NULL, NARU_NOWAIT);
    }
    expect_code(-ECONNRESET, r);
    kill(child, SIGKILL);
    waitpid(pid, NULL, 0);
    done();
}

static void loop(void)
{
    both(loop_run);
}

/* A child in the same memory that has not called exec: somebody is still there. */
static void vfork_and_stay(naru_channel *c)
{
    (void)c;
    if (vfork() == 0) {
        pid_t self = (pid_t)syscall(SYS_getpid);
        if (write(word[1], &self, sizeof self) != sizeof self)
            _exit(1);
        for (;;)
            syscall(SYS_pause);
    }
    _exit(1);
}

static void same_memory_run(void)
{
    pid_t pid = begin(vfork_and_stay), child = heard();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    not_told();
    not_told();
    told(child, -ECONNRESET);
    done();
}

static void same_memory(void)
{
    both(same_memory_run);
}

static void exec_something(naru_channel *c)
{
    (void)c;
    execlp("sleep", "sleep", "100", (char *)NULL);
    _exit(127);
}

static void execs_run(void)
{
    pid_t pid = begin(exec_something);
    told(0, -ECONNRESET);
    expect(kill(pid, 0) == 0);
    end(pid);
    done();
}

/* A child of its keeps what it has inherited; the sleeper is told all the same. */
static void fork_and_exec(naru_channel *c)
{
    pid_t child = fork();
    if (child == 0)
        sleep_for_ever();
    say(child);
    usleep(30000); /* the other end sleeps by then */
    exec_something(c);
}

static void execs_with_child_run(void)
{
    pid_t pid = begin(fork_and_exec), child = heard();
    told(0, -ECONNRESET);
    expect(kill(pid, 0) == 0 && kill(child, 0) == 0);
    end(pid);
    kill(child, SIGKILL);
    done();
}

static void execs(void)
{
    both(execs_run);
    both(execs_with_child_run);
}

static void exit_soon(naru_channel *c)
{
    (void)c;
    _exit(0);
}

static void zombie_run(void)
{
    siginfo_t info;
    pid_t pid = begin(exit_soon);
    told(0, -ECONNRESET);
    expect(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0); /* it was one all the time */
    waitpid(pid, NULL, 0);
    done();
}

static void zombie(void)
{
    both(zombie_run);
}

/* ---- it lives ---- */

static naru_channel *of_thread;

static void *last_thread(void *unused)
{
    usleep(50000); /* the leader is a zombie by then */
    if (naru_channel_send(of_thread, 2, "thread", 6, PATIENCE) < 0)
        _exit(1);
    sleep_for_ever();
    return unused;
}

static void leader_ends(naru_channel *c)
{
    pthread_t thread;
    of_thread = c;
    pthread_create(&thread, NULL, last_thread, NULL);
    pthread_exit(NULL);
}

static void threads_run(void)
{
    char text[8];
    pid_t pid = begin(leader_ends);
    expect_code(6, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    not_told();
    told(pid, -ECONNRESET);
    waitpid(pid, NULL, 0);
    done();
}

static void threads(void)
{
    both(threads_run);
}

static void answer_once(naru_channel *c)
{
    char text[8];
    say(0);
    ssize_t n = naru_channel_recv(c, 0, text, sizeof text, NULL, NARU_FOREVER);
    if (n < 0 || naru_channel_send(c, 1, text, (size_t)n, PATIENCE) < 0)
        _exit(1);
    naru_channel_close(c);
}

static void stopped_run(void)
{
    char text[8];
    pid_t pid = begin(answer_once);
    heard();
    kill(pid, SIGSTOP);
    waitpid(pid, NULL, WUNTRACED);
    not_told();
    expect_code(0, naru_channel_send(mine, 1, "hello", 5, NARU_NOWAIT)); /* there is room */
    not_told();
    kill(pid, SIGCONT);
    expect_code(5, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    expect_code(-EPIPE, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    end_child(pid);
    done();
    pid = begin(stay);
    heard();
    kill(pid, SIGSTOP);
    waitpid(pid, NULL, WUNTRACED);
    told(pid, -ECONNRESET); /* a stopped one dies at once */
    waitpid(pid, NULL, 0);
    done();
}

static void stopped(void)
{
    both(stopped_run);
}

static char cgroup[64];

static void write_word(const char *name, const char *text)
{
    char path[100];
    snprintf(path, sizeof path, "%s/%s", cgroup, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    expect(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static bool is_frozen(void)
{
    char path[100], state[16] = "";
    snprintf(path, sizeof path, "%s/freezer.state", cgroup);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    expect(fd >= 0 && read(fd, state, sizeof state - 1) > 0);
    close(fd);
    return strncmp(state, "FROZEN", 6) == 0;
}

static void frozen(void)
{
    char number[16], text[8];
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/mnt", "cgroup", 0, "freezer") < 0)
        test_skip("no cgroup v1 freezer can be mounted here");
    snprintf(cgroup, sizeof cgroup, "/mnt/naru-shm-%d", (int)getpid());
    expect(mkdir(cgroup, 0700) == 0);
    how = 'n';
    pid_t pid = begin(stay);
    heard();
    snprintf(number, sizeof number, "%d", (int)pid);
    write_word("cgroup.procs", number);
    write_word("freezer.state", "FROZEN");
    for (int64_t until = test_now() + PATIENCE; !is_frozen();)
        expect(test_now() < until);
    long before = naru_channel_recv(mine, 0, text, sizeof text, NULL, 100 * NARU_MS);
    kill(pid, SIGKILL);
    long after = naru_channel_recv(mine, 0, text, sizeof text, NULL, 100 * NARU_MS);
    write_word("freezer.state", "THAWED"); /* first, or it would be left */
    expect_code(-ETIMEDOUT, before);
    expect_code(-ETIMEDOUT, after); /* not dead before it thaws */
    told(0, -ECONNRESET);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < PATIENCE_MS && rmdir(cgroup) < 0; i++)
        usleep(1000);
    expect(access(cgroup, F_OK) < 0);
    done();
}

/* ---- a parent that goes before its child has taken the end ---- */

static void maker_goes(void)
{
    char text[8];
    int gone[2];
    expect(pipe2(gone, O_CLOEXEC) == 0);
    naru_channel *a, *b;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t maker = fork();
    if (maker == 0) {
        if (naru_channel_pair("shm:", NULL, &a, &b) < 0)
            _exit(1);
        for (int i = 0; i < 2; i++)
            if (fork() == 0) { /* each takes an end, one of them after the maker has exited */
                mine = i ? a : b;
                naru_channel_close(i ? b : a);
                close(gone[1]);
                if (i == 0 && read(gone[0], text, 1) != 0)
                    _exit(2);
                if (i == 0)
                    usleep(100000); /* the other waits for it, asleep, and its maker is dead */
                if (naru_adopt(mine) < 0)
                    _exit(3);
                if (i == 0 && naru_channel_send(mine, 1, "late", 4, PATIENCE) < 0)
                    _exit(4);
                if (i == 1 && naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE) != 4)
                    _exit(5);
                naru_channel_close(mine);
                _exit(0);
            }
        close(gone[0]);
        usleep(20000);
        _exit(0); /* without closing anything */
    }
    close(gone[0]);
    close(gone[1]);
    int status, n = 0, bad = 0;
    while (waitpid(-1, &status, 0) > 0) {
        n++;
        bad |= status;
    }
    if (bad || n != 3)
        test_failed(__FILE__, __LINE__, "%d processes ended, with status 0x%x", n, bad);
}

/* The sender asks at each message whether the other end still is somebody's; of so many adoptions
 * some fall into the middle of such a question. */
static void adopted_meanwhile(void)
{
    enum { ADOPTIONS = 3000, MESSAGES = 500 };
    char text[8];
    naru_channel *theirs;
    int64_t until = test_now() + 15 * NARU_S; /* where a fork takes long, fewer must do */
    for (int i = 0; i < ADOPTIONS && test_now() < until; i++) {
        int status;
        expect_ok(naru_channel_pair("shm:", NULL, &mine, &theirs));
        pid_t pid = fork();
        if (pid == 0) {
            int n = 0;
            naru_channel_close(mine);
            usleep(20);
            if (naru_adopt(theirs) < 0)
                _exit(2);
            while (naru_channel_recv(theirs, 0, text, sizeof text, NULL, PATIENCE) == 4)
                n++;
            naru_channel_close(theirs);
            _exit(n == MESSAGES ? 0 : 3);
        }
        naru_channel_close(theirs);
        for (int k = 0; k < MESSAGES; k++)
            expect_ok(naru_channel_send(mine, 1, "busy", 4, PATIENCE));
        naru_channel_close(mine);
        expect(waitpid(pid, &status, 0) == pid && status == 0);
    }
}

/* Nobody has taken it, and nobody can any more. */
static void nobody_takes_it(void)
{
    char text[8];
    naru_channel *theirs;
    expect_ok(naru_channel_pair("shm:", NULL, &mine, &theirs));
    int64_t began = test_now(); /* before the child's time does */
    pid_t pid = fork();
    if (pid == 0) {
        usleep(50000);
        _exit(0);
    }
    naru_channel_close(theirs);
    expect_code(-EPIPE, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    expect(test_now() - began > 20 * NARU_MS); /* the child could have adopted it till it ended */
    waitpid(pid, NULL, 0);
    naru_channel_close(mine);
}

/* ---- pids ---- */

static pid_t fork_apart(void)
{
    pid_t pid = bare_clone(CLONE_NEWPID);
    if (pid < 0)
        test_skip("no pid namespace may be made here");
    return pid;
}

static void apart_run(void)
{
    pid_t pid = begin_by(fork_apart, stay_with_fork);
    heard();
    not_told();
    told(pid, -ECONNRESET); /* with pid 1 its namespace goes, and the child */
    waitpid(pid, NULL, 0);
    done();
}

/* Not the first process of its namespace, so that its child lives on. */
static void inner(naru_channel *c)
{
    (void)c;
    stay_with_clone(c);
}

static pid_t fork_deep(void)
{
    pid_t first = fork_apart();
    if (first != 0)
        return first;
    pid_t pid = fork();
    if (pid == 0)
        return 0;
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    sleep_for_ever();
}

static void deep_run(void)
{
    pid_t first = begin_by(fork_deep, inner);
    heard();
    char command[64], text[8];
    struct naru_peer peer = {.size = sizeof peer};
    expect_ok(naru_peer(mine, &peer));
    /* its pid here: the second process of the namespace, found by its parent */
    snprintf(command, sizeof command, "/proc/%d/task/%d/children", (int)first, (int)first);
    FILE *f = fopen(command, "re");
    int pid = 0;
    expect(f && fscanf(f, "%d", &pid) == 1);
    fclose(f);
    not_told();
    died_at = test_now();
    kill(pid, SIGKILL);
    expect_code(-ECONNRESET, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
    printf("# told after %.2f ms\n", (double)(test_now() - died_at) * 1e-6);
    end(first);
    done();
}

static void apart(void)
{
    both(apart_run);
    both(deep_run);
}

static pid_t stranger;

static void take_number(pid_t number)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", (int)number - 1);
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        test_skip("no pid may be chosen here");
    close(fd);
    stranger = fork();
    if (stranger == 0)
        sleep_for_ever();
    expect(stranger == number);
}

/* The other end has died, its child keeps the socket, and a stranger has got its pid before this
 * end looked: in a pid namespace, where nobody else takes one. */
static void reused_inside(void)
{
    all_there = true;
    pid_t pid = begin(stay_with_clone), child = heard(); /* a forked one would close the socket */
    end(pid);
    take_number(pid);
    told(0, -ECONNRESET);
    end(stranger);
    kill(child, SIGKILL);
    done();
}

static void reused(void)
{
    how = 'p';
    pid_t pid = fork_apart();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("proc", "/proc", "proc", 0, NULL) < 0)
            test_skip("no /proc may be mounted here");
        reused_inside();
        _exit(0);
    }
    end_child(pid);
}

/* ---- waiting ---- */

static uint64_t sleeps(void)
{
    struct naru_stats stats = {.size = sizeof stats};
    expect_ok(naru_stats(mine, &stats));
    return stats.sleeps;
}

/* Waits for nothing, with this setting; how often that slept. */
static uint64_t slept(unsigned flags, int64_t timeout)
{
    naru_channel *theirs;
    char text[8];
    const struct naru_channel_options o = {.size = sizeof o, .flags = flags};
    expect_ok(naru_channel_pair("shm:", &o, &mine, &theirs));
    for (int i = 0; i < 3; i++) /* the first sleep makes what it needs, and looks again */
        expect_code(-ETIMEDOUT, naru_channel_recv(mine, 0, text, sizeof text, NULL, timeout));
    uint64_t n = sleeps();
    naru_channel_close(mine);
    naru_channel_close(theirs);
    return n;
}

/* Whether a wait does sleep. One that was held up until its time was over is made again. */
static bool sleeps_each_time(unsigned flags, int64_t timeout)
{
    naru_channel *theirs;
    char text[8];
    const struct naru_channel_options o = {.size = sizeof o, .flags = flags};
    bool slept = true;
    expect_ok(naru_channel_pair("shm:", &o, &mine, &theirs));
    for (int i = 0; i < 3 && slept; i++) {
        uint64_t before = sleeps();
        int tries = 0;
        do
            expect_code(-ETIMEDOUT, naru_channel_recv(mine, 0, text, sizeof text, NULL, timeout));
        while (sleeps() == before && ++tries < 100);
        slept = sleeps() > before;
    }
    naru_channel_close(mine);
    naru_channel_close(theirs);
    return slept;
}

static void settings(void)
{
    naru_channel *theirs = NULL;
    const struct naru_channel_options o = {.size = sizeof o, .flags = NARU_SPIN | NARU_SLEEP};
    expect_code(0, slept(0, 10 * NARU_US)); /* the time is over before a wake-up would be */
    expect(sleeps_each_time(0, 20 * NARU_MS));
    expect_code(0, slept(NARU_SPIN, 20 * NARU_MS));
    expect(sleeps_each_time(NARU_SLEEP, 10 * NARU_US));
    expect_code(-EINVAL, naru_channel_pair("shm:", &o, &mine, &theirs));
    expect_says("NARU_SPIN");
}

/* What the one core test sees instead of the C library's. */
static bool one_core;
long sysconf(int name)
{
    long (*of_libc)(int);
    *(void **)&of_libc = dlsym(RTLD_NEXT, "sysconf");
    return one_core && name == _SC_NPROCESSORS_ONLN ? 1 : of_libc(name);
}

static void one(void)
{
    one_core = true;
    expect(sleeps_each_time(0, 10 * NARU_US));
    expect(sleeps_each_time(NARU_SPIN, 20 * NARU_MS));
}

static void spinner_run(void)
{
    static char large[60000];
    char text[8];
    struct naru_channel_options o = {.size = sizeof o, .flags = NARU_SPIN};
    naru_channel *theirs;
    for (int sends = 0; sends < 2; sends++) {
        expect_ok(naru_channel_pair("shm:", &o, &mine, &theirs));
        expect(pipe2(word, O_CLOEXEC) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            naru_channel_close(mine);
            expect_ok(naru_adopt(theirs));
            stay_with_fork(theirs);
        }
        naru_channel_close(theirs);
        pid_t child = heard();
        while (sends && naru_channel_send(mine, 1, large, sizeof large, NARU_NOWAIT) == 0)
            ;
        pthread_t thread;
        expect(pthread_create(&thread, NULL, kill_later, &pid) == 0);
        if (sends)
            expect_code(-ECONNRESET, naru_channel_send(mine, 1, large, sizeof large, PATIENCE));
        else
            expect_code(-ECONNRESET, naru_channel_recv(mine, 0, text, sizeof text, NULL, PATIENCE));
        pthread_join(thread, NULL);
        expect_code(0, sleeps());
        waitpid(pid, NULL, 0);
        kill(child, SIGKILL);
        done();
    }
}

struct idleness {
    unsigned long long cpu, voluntary;
    char call[200];
};

static struct idleness look_at(pid_t pid)
{
    struct idleness i = {0, 0, ""};
    char path[64], line[400];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    expect(f && fgets(line, sizeof line, f));
    fclose(f);
    unsigned long long user, system;
    expect(sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                  &user, &system) == 2);
    i.cpu = user + system;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long n;
        if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1)
            i.voluntary = n;
    }
    fclose(f);
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    f = fopen(path, "re");
    expect(f && fgets(i.call, sizeof i.call, f));
    fclose(f);
    return i;
}

static void wait_for_ever(naru_channel *c)
{
    char text[8];
    naru_channel_recv(c, 0, text, sizeof text, NULL, NARU_FOREVER);
}

static void poll_for_ever(naru_channel *c)
{
    struct pollfd p = {.fd = naru_fd(c), .events = POLLIN};
    poll(&p, 1, -1);
}

/* How many timers a process has: of POSIX, and of timerfd. */
static int timers_of(pid_t pid)
{
    char path[300], target[100];
    int n = 0;
    for (int fd = 0; fd < 100; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        n += strstr(target, "timerfd") != NULL;
    }
    return n;
}

/* In a system call that ends by no timer. */
static bool without_timer(const struct idleness *i)
{
    long number;
    unsigned long arguments[4];
    if (sscanf(i->call, "%ld %lx %lx %lx", &number, &arguments[0], &arguments[1], &arguments[2]) !=
        4)
        return false; /* it runs */
#ifdef SYS_poll
    if (number == SYS_poll)
        return (int)arguments[2] == -1;
#endif
    return number == SYS_ppoll && arguments[2] == 0;
}

static void idle_with(void (*play)(naru_channel *))
{
    pid_t pid = begin(play);
    struct idleness before, after = look_at(pid);
    for (int64_t end = test_now() + PATIENCE;;) { /* it has gone to sleep */
        before = after;
        usleep(100000);
        after = look_at(pid);
        if (without_timer(&before) && after.voluntary == before.voluntary)
            break;
        if (test_now() > end)
            test_failed(__FILE__, __LINE__, "it does not sleep without a timer: %s", after.call);
    }
    usleep(700000);
    after = look_at(pid);
    expect(after.cpu == before.cpu);
    if (after.voluntary != before.voluntary)
        test_failed(__FILE__, __LINE__, "it woke up %llu times for nothing",
                    after.voluntary - before.voluntary);
    expect(without_timer(&after));
    expect_code(0, timers_of(pid));
    told(pid, -ECONNRESET);
    waitpid(pid, NULL, 0);
    done();
}

static void idle_waits(void)
{
    idle_with(wait_for_ever);
}

static void idle_polls(void)
{
    idle_with(poll_for_ever);
}

static void idle(void)
{
    both(idle_waits);
    both(idle_polls);
}

/* What is not wanted stays where it is unless the sender waits for its room. */
static void stash_is_for_need(void)
{
    static char large[40000];
    char text[8];
    naru_channel *theirs;
    int sent = 0;
    expect_ok(naru_channel_pair(
        "shm:", &(struct naru_channel_options){sizeof(struct naru_channel_options), .stash = 4096},
        &mine, &theirs));
    while (naru_channel_send(theirs, 1, large, sizeof large, NARU_NOWAIT) == 0)
        sent++;
    expect_code(-ETIMEDOUT, naru_channel_send(theirs, 1, large, sizeof large, 5 * NARU_MS));
    for (int i = 0; i < 2; i++) /* that has slept once, and waits no longer */
        expect_code(-ETIMEDOUT, naru_channel_recv(mine, 9, text, sizeof text, NULL, 5 * NARU_MS));
    for (int i = 0; i < sent; i++)
        expect_code(sizeof large, naru_channel_recv(mine, 0, large, sizeof large, NULL, PATIENCE));
    naru_channel_close(mine);
    naru_channel_close(theirs);
}

/* Bytes of the connections' files here that have their pages. */
static uint64_t pages_there(void)
{
    uint64_t bytes = 0;
    DIR *fds = opendir("/proc/self/fd");
    expect(fds != NULL);
    for (struct dirent *d; (d = readdir(fds));) {
        char where[300] = "";
        struct stat st;
        if (readlinkat(dirfd(fds), d->d_name, where, sizeof where - 1) < 0 ||
            strncmp(where, "/memfd:naru:", 12) != 0 ||
            fcntl(atoi(d->d_name), F_GETFL) % 4 != O_RDWR) /* not the same file once more */
            continue;
        expect(fstat(atoi(d->d_name), &st) == 0);
        bytes += (uint64_t)st.st_blocks * 512;
    }
    closedir(fds);
    return bytes;
}

static int no_memory(const char *call)
{
    return strcmp(call, "madvise") == 0 ? -ENOMEM : 0;
}

/* Two ends that are idle or send small messages cost what these need; and a sender without memory
 * for more goes on with that. */
static void pages_for_large(void)
{
    enum { FIRST = 256 << 10, WHOLE = 2 << 20, LARGE = 60000 };
    static char sent[LARGE], got[LARGE];
    naru_channel *theirs;
    for (int refused = 0; refused < 2; refused++) {
        uint64_t none = pages_there();
        expect_ok(naru_channel_pair("shm:", NULL, &mine, &theirs));
        uint64_t begun = pages_there() - none;
        expect(begun >= 2 * FIRST && begun < 2 * WHOLE);
        if (refused)
            naru__fault = no_memory;
        for (int i = 0; i < 1000; i++) { /* several laps */
            size_t size = i < 500 ? 4095 : LARGE;
            sent[i] = (char)i;
            expect_ok(naru_channel_send(mine, 1, sent, size, NARU_NOWAIT));
            expect_code((ssize_t)size,
                        naru_channel_recv(theirs, 0, got, sizeof got, NULL, NARU_NOWAIT));
            expect(memcmp(sent, got, size) == 0);
            if (i == 499)
                expect(pages_there() - none == begun);
        }
        expect(pages_there() - none == begun + (refused ? 0 : WHOLE - FIRST));
        naru__fault = NULL;
        naru_channel_close(mine);
        naru_channel_close(theirs);
    }
}

enum { LATE = 300 };

static void greets_late(void *unused)
{
    naru_channel *c;
    char byte;
    (void)unused;
    for (int i = 0; i < LATE; i++) {
        expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c));
        for (int64_t until = test_now() + i * 997 % 150000; test_now() < until;)
            ; /* the other end's threads go to sleep one after the other meanwhile */
        expect_code(1, naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE));
        expect_ok(naru_channel_send(c, 1, "b", 1, PATIENCE));
        expect_code(-EPIPE, naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE));
        naru_channel_close(c);
    }
}

static void *sends(void *unused)
{
    (void)unused;
    expect_ok(naru_channel_send(mine, 1, "a", 1, PATIENCE));
    return NULL;
}

/* Whichever thread hears the greeting, the other one goes on, too. */
static void both_wait_for_the_greeting(void)
{
    naru_channel_listener *l;
    pthread_t thread;
    char byte;
    snprintf(url, sizeof url, "shm:%s/late", test_directory);
    expect_ok(naru_channel_listen(url, NULL, &l));
    pid_t child = start_child(greets_late, NULL);
    for (int i = 0; i < LATE; i++) {
        expect_ok(naru_channel_accept(l, PATIENCE, &mine));
        expect(pthread_create(&thread, NULL, sends, NULL) == 0);
        expect_code(1, naru_channel_recv(mine, 0, &byte, 1, NULL, PATIENCE));
        pthread_join(thread, NULL);
        naru_channel_close(mine);
    }
    end_child(child);
    naru_channel_listener_close(l);
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"killed, alone or with a child that lives on", killed},
        {"killed while the other waits for room", full},
        {"killed while a foreign loop sleeps", loop},
        {"killed, a child in the same memory lives on", same_memory},
        {"exec", execs},
        {"zombie", zombie},
        {"threads end, and the first of them", threads},
        {"stopped", stopped},
        {"frozen", frozen},
        {"the maker goes before the end is adopted", maker_goes},
        {"an end is adopted while the other sends", adopted_meanwhile},
        {"nobody adopts the end", nobody_takes_it},
        {"other pid namespaces", apart},
        {"the pid is used again", reused},
        {"waiting settings", settings},
        {"one processor", one},
        {"death is told to one that never sleeps", spinner_run},
        {"idle costs nothing", idle},
        {"the stash is for a sender in need", stash_is_for_need},
        {"pages for large messages", pages_for_large},
        {"both threads wait for the greeting", both_wait_for_the_greeting},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
