/* SPDX-License-Identifier: MIT */
/* world.c - one object and its participants: started, told what to do, ended.
 *
 * The driver forks a stage, which makes the object, forks the participants and is gone, so that
 * what only its maker held is gone too; as a subreaper the driver inherits them. Orders go by
 * `control`, which all share and no image copies; the log is a mapping of its own, which images
 * do. Both survive whatever happens to the object. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

uint64_t pseudo_random(uint64_t *seed)
{
    uint64_t x = (*seed += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* By its name images and checks know the rig's own memory. */
void *rig_memory(size_t size)
{
    int fd = memfd_create("crash-rig", MFD_CLOEXEC);
    void *p = fd < 0 || ftruncate(fd, (off_t)size) != 0
                  ? MAP_FAILED
                  : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        perror("crash: memory");
        exit(2);
    }
    close(fd);
    return p;
}

/* ---- orders ---- */

static void sleep_on(_Atomic int *word, int value, int milliseconds)
{
    struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);
}

static void wake(_Atomic int *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, 64, NULL, NULL, 0);
}

/* The words of an order are read by one process after the store that wakes it; the defaults, all
 * sequentially consistent, are right for a test's own book-keeping. */
void command(struct world *w, int who, enum command what, enum fate fate, bool gated)
{
    struct seat *seat = &w->control->seat[who];
    seat->fate = (int)fate;
    seat->gated = gated;
    seat->command = (int)what;
    wake(&seat->command);
}

bool finished(struct world *w, int who, int milliseconds)
{
    struct seat *seat = &w->control->seat[who];
    int64_t end = clock_now() + milliseconds * 1000000LL;
    for (int value; (value = seat->command) != NOTHING;) {
        if (w->control->failed || clock_now() > end || kill(seat->pid, 0) != 0)
            return false;
        sleep_on(&seat->command, value, 20);
        /* a participant that crashed is a zombie, for which kill() still succeeds */
        siginfo_t info = {0};
        if (seat->command == value &&
            waitid(P_PID, (id_t)seat->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0 && seat->command == value) {
            note_failure(w, "participant %d ended by itself, %s %d", who,
                         info.si_code == CLD_EXITED ? "with status" : "of signal",
                         info.si_status);
            return false;
        }
    }
    return true;
}

static void note(struct control *control, const char *format, va_list list)
{
    if (!atomic_exchange(&control->failed, true)) /* the first one explains the others */
        vsnprintf(control->why, sizeof control->why, format, list);
}

void note_failure(struct world *w, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    note(w->control, format, list);
    va_end(list);
}

_Noreturn void failed(struct world *w, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    note(w->control, format, list);
    va_end(list);
    _exit(3);
}

bool subject_dead(const struct world *w)
{
    return w->control->dead || w->image;
}

bool subject_dies(const struct world *w)
{
    for (int i = 0; !subject_dead(w) && i < HANG_MS; i++)
        usleep(1000);
    return subject_dead(w);
}

void going_on(struct world *w, int who)
{
    if (!w->image && w->control->seat[who].on_at == 0 && w->control->killed_at)
        w->control->seat[who].on_at = clock_now();
}

static int64_t waited(int pid)
{
    char path[40];
    long long ran, ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lld %lld", &ran, &ns) != 2)
        ns = 0;
    if (f)
        fclose(f);
    return ns / 1000000;
}

int64_t kept_waiting(const struct world *w)
{
    int64_t sum = waited(getpid());
    for (int i = 0; i < w->scenario->participants; i++)
        sum += waited(w->control->seat[i].pid);
    return sum;
}

/* ---- participants ---- */

static int count_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return -1;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int kept_descriptors; /* an image's */

static void survive(struct world *w, int who, enum fate fate)
{
    w->scenario->survive(w, who, fate);
    if (fate == PAUSED)
        return;
    going_on(w, who);
    int n = count_descriptors() - kept_descriptors;
    if (n > w->control->descriptors) {
        for (int fd = 3; getenv("NARU_CRASH_DEBUG") && fd < 64; fd++) {
            char path[64], name[256];
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            ssize_t got = readlink(path, name, sizeof name - 1);
            if (got > 0)
                fprintf(stderr, "# %d -> %.*s\n", fd, (int)got, name);
        }
        failed(w, "participant %d has %d descriptors open when all is closed; at first %d", who, n,
               w->control->descriptors);
    }
    if (shared_mapped())
        failed(w, "participant %d still maps shared memory when all is closed", who);
}

static void gate(const struct seat *seat)
{
#ifdef __x86_64__
    if (seat->gated)
        __asm__ volatile("int3" ::: "memory");
#else
    (void)seat;
#endif
}

/* A copy of this survivor, that sees copies of the memory. A raw clone: handlers of fork would
 * make a child of it, but it is to believe that it is the survivor. */
static void image(struct world *w, int who)
{
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(5);
        forge(w);
        if (w->scenario->forged)
            kept_descriptors = w->scenario->forged(w, who);
        survive(w, who, DIED);
        w->scenario->check ? w->scenario->check(w) : check_log(w);
        if (w->scenario->sweep)
            w->scenario->sweep(w);
        char name[256];
        if (names_left(name, sizeof name))
            failed(w, "%s is left in %s", name, names_directory());
        _exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid((pid_t)pid, &status, 0) < 0)
        failed(w, "no image could be made: %s", strerror(errno));
    if (WIFSIGNALED(status))
        note_failure(w, WTERMSIG(status) == SIGALRM ? "the survivor still waits after 5 s (%d)"
                                                    : "the survivor died of signal %d",
                     WTERMSIG(status));
    else if (WEXITSTATUS(status))
        note_failure(w, "the survivor ended with status %d", WEXITSTATUS(status));
}

static void carry_out(struct world *w, int who, enum command what)
{
    struct seat *seat = &w->control->seat[who];
    if (what == IMAGE) {
        image(w, who);
        return;
    }
    gate(seat);
    if (what == OPERATE)
        w->scenario->operate(w);
    else
        survive(w, who, (enum fate)seat->fate);
    gate(seat);
}

static _Noreturn void participant(struct world *w, int who)
{
    struct seat *seat = &w->control->seat[who];
    w->who = who;
    if (w->scenario->attach)
        w->scenario->attach(w, who);
    if (who && who == w->control->copied)
        keep_on_fork();
    if (who == 0 && w->control->child) {
        pid_t child = fork();
        while (child == 0)
            pause();
        seat->descendant = child;
    }
    w->control->ready++;
    wake(&w->control->ready);
    while (getppid() != w->control->driver) /* the stage waits for all, then goes */
        sleep_on(&w->control->staged, 0, 1000);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int what = seat->command;
        if (what == NOTHING) {
            sleep_on(&seat->command, NOTHING, 1000);
            continue;
        }
        carry_out(w, who, (enum command)what);
        seat->command = NOTHING;
        wake(&seat->command);
    }
}

static _Noreturn void stage(struct world *w)
{
    cpu_set_t all; /* the driver is pinned */
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    w->control->descriptors = count_descriptors();
    w->scenario->prepare(w);
    for (int i = 0; i < w->scenario->participants; i++) {
        pid_t pid = fork();
        if (pid < 0)
            failed(w, "fork: %s", strerror(errno));
        if (pid == 0)
            participant(w, i);
        w->control->seat[i].pid = pid;
    }
    for (int n; (n = w->control->ready) < w->scenario->participants && !w->control->failed;)
        sleep_on(&w->control->ready, n, 20);
    _exit(0);
}

/* ---- worlds ---- */

struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        exit(2);
    w->control = rig_memory(sizeof *w->control);
    w->log = rig_memory(sizeof *w->log);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return w;
}

void world_start(struct world *w, bool child, int copied)
{
    memset(w->control, 0, sizeof *w->control);
    memset(w->log, 0, sizeof *w->log);
    w->control->driver = getpid();
    w->control->child = child;
    w->control->copied = copied;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        stage(w);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        note_failure(w, "the object could not be prepared: status %d", status);
    w->control->staged = 1; /* the participants are the driver's */
    wake(&w->control->staged);
}

static void end_process(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
}

static void sweep(struct world *w)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(5);
        w->scenario->sweep(w);
        _exit(0);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) == pid && status != 0)
        note_failure(w, "the next opener ended with status %d", status);
}

bool world_end(struct world *w)
{
    char name[256];
    for (int i = 0; i < PARTICIPANTS_MAX; i++) {
        end_process(w->control->seat[i].pid);
        end_process(w->control->seat[i].descendant);
    }
    bool before = w->control->failed;
    if (names_left(name, sizeof name) && w->scenario->sweep)
        sweep(w);
    if (names_left(name, sizeof name)) {
        note_failure(w, "%s is left in %s", name, names_directory());
        names_clear(); /* for the next world */
    }
    if (w->scenario->media)
        disk_clear();
    return before || !w->control->failed;
}
