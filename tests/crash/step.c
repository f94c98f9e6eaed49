/* SPDX-License-Identifier: MIT */
/* step.c - one participant under ptrace: by instruction, by system call, to a breakpoint.
 *
 * Driver and participant share a core (ten times faster). Steps are counted in this program alone;
 * what it calls in libraries runs to its return. A participant traps twice by itself, before and
 * after what it was ordered to do. */
#include "rig.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__

enum stop { TRAPPED, CALLED, ENDED, LATE };

static volatile sig_atomic_t late;

static void on_alarm(int number)
{
    (void)number;
    late = 1;
}

static void limit(int seconds)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* not restarted */
    struct itimerval timer = {{0, 100000}, {seconds, 0}};
    late = 0;
    if (seconds == 0)
        timer.it_interval.tv_usec = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Other signals than traps are passed on. */
static enum stop await(pid_t pid, int *resume)
{
    for (;;) {
        int status;
        if (waitpid(pid, &status, __WALL) < 0) {
            if (errno == EINTR && !late)
                continue;
            return late ? LATE : ENDED;
        }
        if (!WIFSTOPPED(status))
            return ENDED;
        int number = WSTOPSIG(status);
        if (number == (SIGTRAP | 0x80))
            return CALLED;
        if (number == SIGTRAP && status >> 16 == 0)
            return TRAPPED;
        ptrace(*resume, pid, NULL, status >> 16 ? 0 : number);
    }
}

static enum stop go(pid_t pid, int how)
{
    if (ptrace(how, pid, NULL, NULL) != 0)
        return ENDED;
    return await(pid, &how);
}

static uint64_t where(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), NULL);
}

static uint64_t word_at(pid_t pid, uint64_t at)
{
    return (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
}

/* Runs to `pc`; true there, with the code as it was. */
static enum stop run_to(pid_t pid, uint64_t pc, bool *ret_there)
{
    uint64_t word = word_at(pid, pc);
    ptrace(PTRACE_POKETEXT, pid, pc, (word & ~0xffULL) | 0xcc);
    enum stop stop = go(pid, PTRACE_CONT);
    *ret_there = stop == TRAPPED && where(pid) == pc + 1;
    if (stop == TRAPPED) {
        ptrace(PTRACE_POKETEXT, pid, pc, word);
        if (*ret_there)
            ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), pc);
    }
    return stop;
}

static bool explain(struct world *w, int who, enum stop stop)
{
    if (stop == ENDED)
        w->control->seat[who].pid = 0; /* reaped */
    if (stop == LATE)
        note_failure(w, "participant %d still ran its operation after 4 s", who);
    else
        note_failure(w, "participant %d ended in its operation", who);
    return false;
}

bool trace_begin(struct world *w, int who, enum command what, enum fate fate)
{
    pid_t pid = w->control->seat[who].pid;
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (pid <= 0 || ptrace(PTRACE_SEIZE, pid, NULL, options) != 0) {
        note_failure(w, "participant %d cannot be traced: %s", who, strerror(errno));
        return false;
    }
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof mine, &mine) == 0)
        sched_setaffinity(pid, sizeof mine, &mine);
    limit(4);
    command(w, who, what, fate, true);
    int resume = PTRACE_CONT;
    enum stop stop = await(pid, &resume);
    limit(0);
    return stop == TRAPPED || explain(w, who, stop);
}

/* The trap behind the operation: where the tracee is when it traps and is not where it was sent. */
bool trace_steps(struct world *w, int who, on_stop *on, void *context)
{
    pid_t pid = w->control->seat[who].pid;
    static uint8_t times[1 << 22]; /* by address: one run's */
    memset(times, 0, sizeof times);
    limit(20);
    enum stop stop = TRAPPED;
    bool there = true, more = true;
    shared_look(pid);
    while (more) {
        uint64_t pc = where(pid);
        if (!code_ours(pc)) {
            uint64_t sp =
                (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rsp), NULL);
            uint64_t back = word_at(pid, sp);
            stop = code_ours(back) ? run_to(pid, back, &there) : go(pid, PTRACE_SINGLESTEP);
            shared_look(pid);
            if (stop != TRAPPED || !there) /* not there: a library called back */
                break;
            continue;
        }
        if (!code_swept(pc) && (word_at(pid, pc) & 0xff) == 0xcc) { /* the gate behind it */
            on(w, (struct point){.pc = pc, .time = 1}, context);
            break;
        }
        if (code_swept(pc)) {
            uint8_t *n = &times[pc % sizeof times];
            if (*n < TIMES_MAX) {
                ++*n;
                code_reached(pc);
                more = on(w, (struct point){pc, *n, 0}, context);
            } else if (shared_changed(w)) {
                more = on(w, (struct point){pc, TIMES_MAX, 0}, context);
            }
        }
        if (!more || (stop = go(pid, PTRACE_SINGLESTEP)) != TRAPPED)
            break;
    }
    limit(0);
    return stop == TRAPPED || explain(w, who, stop);
}

bool trace_calls(struct world *w, int who, struct points *points)
{
    pid_t pid = w->control->seat[who].pid;
    uint16_t n = 0;
    enum stop stop;
    limit(10);
    while ((stop = go(pid, PTRACE_SYSCALL)) == CALLED) {
        for (uint8_t moment = 0; moment < 3; moment++)
            points_add(points, (struct point){0, moment, n});
        if ((stop = go(pid, PTRACE_SYSCALL)) != CALLED)
            break;
        n++;
    }
    limit(0);
    return stop == TRAPPED || explain(w, who, stop);
}

static enum stop to_call(pid_t pid, struct point point, bool *ret_there)
{
    enum stop stop = CALLED;
    *ret_there = false;
    for (unsigned k = 0; k <= 2u * point.call + (point.time == 1); k++)
        if ((stop = go(pid, PTRACE_SYSCALL)) != CALLED)
            return stop;
    *ret_there = true;
    return stop;
}

/* Goes on to the point, a breakpoint there; not there if the operation ended before it. */
bool trace_to(struct world *w, int who, struct point point, bool *ret_there)
{
    pid_t pid = w->control->seat[who].pid;
    enum stop stop = TRAPPED;
    limit(4);
    if (point.pc == 0)
        stop = to_call(pid, point, ret_there);
    for (unsigned n = 0; point.pc && n < point.time; n++) {
        if (n)
            stop = go(pid, PTRACE_SINGLESTEP);
        if (stop == TRAPPED)
            stop = run_to(pid, point.pc, ret_there);
        if (stop != TRAPPED || !*ret_there)
            break;
    }
    limit(0);
    return stop == TRAPPED || stop == CALLED || explain(w, who, stop);
}

/* Inside a system call: let it go on into it, and give it a moment to block. */
static void enter(pid_t pid, struct point point)
{
    if (point.pc == 0 && point.time == 2) {
        ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
        usleep(300);
    }
}

void trace_kill(struct world *w, int who, struct point point)
{
    pid_t pid = w->control->seat[who].pid;
    enter(pid, point);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) == pid || errno == EINTR)
        errno = 0;
    w->control->seat[who].pid = 0;
}

void trace_stop(struct world *w, int who)
{
    pid_t pid = w->control->seat[who].pid;
    w->control->seat[who].gated = false;
    ptrace(PTRACE_DETACH, pid, NULL, (void *)(long)SIGSTOP);
    int status;
    while (waitpid(pid, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
}

void trace_release(struct world *w, int who)
{
    w->control->seat[who].gated = false;
    ptrace(PTRACE_DETACH, w->control->seat[who].pid, NULL, NULL);
}

#endif
