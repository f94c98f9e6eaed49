/* SPDX-License-Identifier: MIT */
/* step.c - one participant under ptrace: by instruction, by system call, to a breakpoint.
 *
 * Driver and participant share a core (ten times faster). Stepped is what is swept; all else runs,
 * to breakpoints at the beginnings of swept functions and behind the calls that left them. A
 * participant traps twice by itself, before and after what it was ordered to do. */
#include "rig.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__

enum stop { TRAPPED, CALLED, ENDED, LATE };

static volatile sig_atomic_t late;

/* A participant is to run so long at most, between two orders; see kept_waiting(). */
static struct {
    const struct world *w;
    int seconds, rounds;
    int64_t kept;      /* before it began */
    int64_t elsewhere; /* ns for what was done between its steps */
} bound;

static void on_alarm(int number)
{
    (void)number;
    late = 1;
}

static void set_alarm(int64_t ms)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* not restarted */
    struct itimerval timer = {{0, ms ? 100000 : 0}, {ms / 1000, ms % 1000 * 1000}};
    late = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void limit(const struct world *w, int seconds)
{
    bound.w = w;
    bound.seconds = seconds;
    bound.rounds = 0;
    bound.elsewhere = 0;
    bound.kept = kept_waiting(w);
    set_alarm(seconds * INT64_C(1000));
}

static void unlimit(void)
{
    set_alarm(0);
}

static bool prolonged(void)
{
    int64_t kept = kept_waiting(bound.w), more = kept - bound.kept + bound.elsewhere / 1000000;
    if (more <= 0 || bound.rounds++ == MORE_ROUNDS)
        return false;
    bound.kept = kept;
    bound.elsewhere = 0;
    set_alarm(more < bound.seconds * 1000 ? more : bound.seconds * INT64_C(1000));
    return true;
}

/* Other signals than traps are passed on. */
static enum stop await(pid_t pid, int *resume)
{
    for (;;) {
        int status;
        if (waitpid(pid, &status, __WALL) < 0) {
            if (errno == EINTR && (!late || prolonged()))
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
        note_failure(w, "participant %d still ran its operation after %d s", who, bound.seconds);
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
    limit(w, 4);
    command(w, who, what, fate, true);
    int resume = PTRACE_CONT;
    enum stop stop = await(pid, &resume);
    unlimit();
    return stop == TRAPPED || explain(w, who, stop);
}

/* ---- by instruction ---- */

/* Where the stepped participant has breakpoints, and how often it was there: by code_index(). */
static bool *armed;
static uint8_t *times;

/* Its code is this program's own, but for the breakpoints. */
static void arm(pid_t pid, uint64_t pc, bool on)
{
    uint8_t word[sizeof(long)];
    long value;
    armed[code_index(pc)] = on;
    memcpy(word, (const void *)(uintptr_t)pc, sizeof word);
    for (unsigned i = 0; i < sizeof word; i++)
        if (code_stepped(pc + i) && armed[code_index(pc + i)])
            word[i] = 0xcc;
    memcpy(&value, word, sizeof value);
    ptrace(PTRACE_POKETEXT, pid, pc, value);
}

static bool arm_entries(pid_t pid)
{
    free(armed);
    free(times);
    armed = calloc(code_size(), sizeof *armed);
    times = calloc(code_size(), sizeof *times);
    uint64_t pc;
    for (size_t i = 0; armed && times && (pc = code_entry(i)) != 0; i++)
        if (code_stepped(pc))
            arm(pid, pc, true);
    return armed && times;
}

/* Returned from there, and not called or jumped to the beginning of a function. */
static bool returned(uint64_t from)
{
    const uint8_t *code = (const uint8_t *)(uintptr_t)from;
    return from == 0 || code[0] == 0xc3 || (code[0] == 0xf3 && code[1] == 0xc3);
}

/* It has left what is stepped, from `before`, and runs to where it comes back: to the beginning of
 * a function, or behind the call by which it left. Or it meets the trap behind what it was ordered
 * to do. If it asked the kernel for anything, mappings and names may be others than before. */
static enum stop run_outside(pid_t pid, uint64_t before, uint64_t *ret_pc)
{
    enum stop stop;
    bool asked = false;
    long sp = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rsp), NULL);
    uint64_t back = returned(before) ? 0 : word_at(pid, (uint64_t)sp);
    if (code_stepped(back))
        arm(pid, back, true);
    while ((stop = go(pid, PTRACE_SYSCALL)) == CALLED)
        asked = true;
    if (stop != TRAPPED)
        return stop;
    *ret_pc = where(pid) - 1;
    if (code_stepped(*ret_pc))
        ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), *ret_pc);
    if (asked)
        shared_look(pid);
    return stop;
}

/* False of an instruction that surely stores nothing but on the stack: then there is no need to
 * compare memory. Forms that are not listed may. */
static bool may_store(const uint8_t *code)
{
    while (*code == 0x66 || *code == 0xf2 || *code == 0xf3 || (*code & 0xf0) == 0x40)
        code++; /* sizes, repetitions, registers */
    bool two = *code == 0x0f;
    uint8_t op = code[two], form = code[two + 1], group = form >> 3 & 7;
    bool reg = form >= 0xc0; /* the operand that may be memory is a register */
    if (two)
        return !((op & 0xf0) == 0x40 || (op & 0xf0) == 0x80 || /* cmov, jcc */
                 (op & 0xf6) == 0xb6 || op == 0xaf ||          /* movzx, movsx, imul */
                 op == 0x1e || op == 0x1f || op == 0xa3 ||     /* endbr, nop, bt */
                 op == 0x10 || op == 0x28 || op == 0x6f ||     /* loads of vectors */
                 ((op & 0xf0) == 0x90 && reg));                /* setcc */
    if (op < 0x40) /* add, or, adc, sbb, and, sub, xor, cmp */
        return (op & 7) > 5 || ((op & 7) < 2 && op < 0x38 && !reg);
    switch (op) {
    case 0x50 ... 0x5f: /* push, pop */
    case 0x63:          /* movsxd */
    case 0x70 ... 0x7f: /* jcc */
    case 0x84 ... 0x85: /* test */
    case 0x8a ... 0x8b: /* a load */
    case 0x8d:          /* lea */
    case 0x90:
    case 0x98 ... 0x99: /* extensions of rax */
    case 0xa8 ... 0xa9:
    case 0xb0 ... 0xbf: /* a constant into a register */
    case 0xc3:
    case 0xc9:
    case 0xe8 ... 0xe9: /* call, jmp */
    case 0xeb:
        return false;
    case 0x80 ... 0x83:
        return !reg && group != 7; /* cmp */
    case 0x88 ... 0x89:
    case 0xc0 ... 0xc1:
    case 0xc6 ... 0xc7:
    case 0xd0 ... 0xd3:
        return !reg;
    case 0xf6 ... 0xf7:
        return !reg && group != 0; /* test */
    default:
        return true;
    }
}

static enum stop step(pid_t pid, uint64_t pc)
{
    bool there = armed[code_index(pc)];
    if (there)
        arm(pid, pc, false);
    enum stop stop = go(pid, PTRACE_SINGLESTEP);
    if (there && stop == TRAPPED)
        arm(pid, pc, true);
    return stop;
}

/* What is not swept runs, and is not stepped: most of the time goes into steps. */
bool trace_steps(struct world *w, int who, on_stop *on, void *context)
{
    pid_t pid = w->control->seat[who].pid;
    enum stop stop = arm_entries(pid) ? TRAPPED : ENDED;
    uint64_t before = 0;
    bool stored = true;
    limit(w, 20);
    shared_look(pid);
    for (bool more = true; more && stop == TRAPPED;) {
        uint64_t pc = where(pid);
        if (!code_stepped(pc)) {
            stored = true;
            if ((stop = run_outside(pid, before, &pc)) != TRAPPED)
                break;
        }
        if (!code_stepped(pc)) { /* the trap behind it */
            on(w, (struct point){.pc = pc, .time = 1}, true, context);
            break;
        }
        uint8_t *n = &times[code_index(pc)];
        *n += *n <= TIMES_MAX;
        if (code_swept(pc)) {
            int64_t since = clock_now();
            code_reached(pc);
            more = on(w, (struct point){pc, *n, 0}, stored, context);
            stored = false;
            bound.elsewhere += clock_now() - since;
        }
        before = pc;
        stored |= may_store((const uint8_t *)(uintptr_t)pc);
        if (more)
            stop = step(pid, pc);
    }
    unlimit();
    return stop == TRAPPED || explain(w, who, stop);
}

bool trace_calls(struct world *w, int who, struct points *points)
{
    pid_t pid = w->control->seat[who].pid;
    uint16_t n = 0;
    enum stop stop;
    limit(w, 10);
    while ((stop = go(pid, PTRACE_SYSCALL)) == CALLED) {
        for (uint8_t moment = 0; moment < 3; moment++)
            points_add(points, (struct point){0, moment, n});
        if ((stop = go(pid, PTRACE_SYSCALL)) != CALLED)
            break;
        n++;
    }
    unlimit();
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
    limit(w, 4);
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
    unlimit();
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
