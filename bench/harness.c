/* SPDX-License-Identifier: MIT */
/* harness.c - two fresh processes a repetition; see harness.h. */
#include "bench/harness.h"

#include "tool/stop.h"

#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LAST (UINT64_C(1) << 63)  /* the last message of the repetition */
#define START (UINT64_C(1) << 62) /* from here on it is timed */
#define NUMBER(x) ((x) & ~(LAST | START))

enum { UNORDERED = 64, SAMPLES = 200000, PROBES = 2000, NEAR_NS = 140, TIMEOUT_S = 30 };

/* Shared by the two sides. */
struct control {
    _Atomic int arrived[2][3], failed;
    struct sample sample;
    char error[160];
    _Alignas(128) _Atomic uint64_t line[16];
    /* of locks: */
    _Alignas(128) _Atomic int present, go, stop;
    uint64_t no_wait; /* ticks: what took less did not wait */
    _Alignas(128) volatile uint64_t counter; /* increased inside */
    struct contender {
        _Alignas(128) uint64_t times, waits, ticks, most;
        double seconds;
    } contenders[BENCH_CONTENDERS_MAX];
};

static struct control *control;
size_t bench_size;
static pid_t sides[2];
static uint64_t expected, flags_seen; /* receiver's */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What a round trip is timed with; its unit is found by the clock over the whole repetition. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

/* Processor time of a side, with all its threads. */
static double cpu_ns(int side)
{
    clockid_t clock;
    struct timespec t = {0, 0};
    if (clock_getcpuclockid(sides[side], &clock) == 0)
        clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

bool bench_can(const struct adapter *a, enum bench_mode mode, size_t size)
{
    if (mode == BENCH_CALL || a->start)
        return mode == BENCH_CALL && a->start && size <= BENCH_IN_FLIGHT_MAX &&
               (!a->max_size || size <= a->max_size);
    if (mode == BENCH_LOCK || a->enter)
        return mode == BENCH_LOCK && a->enter && size <= BENCH_CONTENDERS_MAX;
    if ((mode == BENCH_CALL_STREAM) != (a->modes == 1u << BENCH_CALL_STREAM))
        return false;
    if (size < a->min_size || (a->max_size && size > a->max_size) ||
        (a->modes && !(a->modes & 1u << mode)))
        return false;
    /* raw calls have no batches: one by one is what naru's are beside */
    return mode != BENCH_BATCH || ((!a->reference || a->send_batch) && size <= 65536);
}

int bench_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (control && !control->error[0])
        vsnprintf(control->error, sizeof control->error, format, arguments);
    va_end(arguments);
    return -1;
}

static _Noreturn void give_up(void)
{
    atomic_store(&control->failed, 1);
    _exit(1);
}

/* ---- messages ---- */

static void put(unsigned char *buf, size_t n, uint64_t number)
{
    memcpy(buf, &number, 8);
    if (n > 8)
        buf[n - 1] = (unsigned char)number;
}

int bench_check(const void *message, size_t n)
{
    const unsigned char *p = message;
    uint64_t number;
    memcpy(&number, p, 8);
    if (NUMBER(number) != expected || (n > 8 && p[n - 1] != (unsigned char)number))
        return bench_say("a wrong message: number %llu, expected %llu",
                         (unsigned long long)NUMBER(number), (unsigned long long)expected);
    expected++;
    flags_seen |= number & (LAST | START);
    return 0;
}

bool bench_is_last(const void *message)
{
    uint64_t number;
    memcpy(&number, message, 8);
    return number & LAST;
}

/* ---- the two sides ---- */

static void meet(int side, int point)
{
    atomic_store(&control->arrived[side][point], 1);
    while (!atomic_load(&control->arrived[!side][point])) {
        if (atomic_load(&control->failed))
            _exit(1);
        usleep(50);
    }
}

/* Round trips of one cache line; ns one way. */
static double probe(int side, uint64_t from)
{
    double began = 0;
    for (uint64_t i = from + 1; i <= from + PROBES; i++) {
        if (i == from + 101)
            began = now(); /* both are running by now */
        if (side == 0)
            atomic_store_explicit(&control->line[0], i, memory_order_release);
        while (atomic_load_explicit(&control->line[!side], memory_order_acquire) < i)
            ;
        if (side == 1)
            atomic_store_explicit(&control->line[1], i, memory_order_release);
    }
    return (now() - began) * 1e9 / (PROBES - 100) / 2;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void round_trip(const struct adapter *a, size_t n, unsigned char *buf, uint64_t number)
{
    put(buf, n, number);
    if (a->send(buf, n) || a->recv(buf, n) || bench_check(buf, n))
        give_up();
}

static void ping(const struct adapter *a, size_t n, unsigned char *buf, double seconds)
{
    static double half[SAMPLES];
    size_t count = 0, least = n >= 16 << 20 ? 5 : 20;
    uint64_t i = 0, most = 0;
    double began = now();
    for (uint64_t c = ticks(); i < 2000 && (i < least || now() - began < 0.05); i++) {
        round_trip(a, n, buf, i);
        most = (uint64_t)((double)(ticks() - c) * seconds / (now() - began));
    }
    double timed = now();
    uint64_t first = ticks(), before = first;
    for (bool last = false; !last; i++) {
        last = count == SAMPLES - 1 || (count > least && before - first > most);
        round_trip(a, n, buf, i | (last ? LAST : 0));
        uint64_t after = ticks();
        half[count++] = (double)(after - before);
        before = after;
    }
    double took = now() - timed, unit = took * 1e9 / (double)(before - first) / 2;
    qsort(half, count, sizeof *half, compare);
    control->sample.p50 = half[count / 2] * unit;
    control->sample.p99 = half[count * 99 / 100] * unit;
    control->sample.p999 = half[count * 999 / 1000] * unit;
    control->sample.rate = (double)count / took;
}

static void pong(const struct adapter *a, size_t n, unsigned char *buf)
{
    do {
        if (a->recv(buf, n) || bench_check(buf, n) || a->send(buf, n))
            give_up();
    } while (!(flags_seen & LAST));
}

static void stream_out(const struct adapter *a, size_t n, unsigned char *buf, int batch,
                       double seconds)
{
    uint64_t look = n >= 65536 ? 1 : n >= 4096 ? 16 : 128;
    double began = now(), timed = 0;
    for (uint64_t i = 0;; i += (uint64_t)batch) {
        uint64_t flag = 0;
        if (i % (look * (uint64_t)batch) == 0) {
            double t = now();
            if (timed == 0 && t - began > 0.03) {
                timed = t;
                flag = START;
            } else if (timed > 0 && t - timed > seconds) {
                flag = LAST;
            }
        }
        for (int k = 0; k < batch; k++)
            put(buf + (size_t)k * n, n, (i + (uint64_t)k) | (k == batch - 1 ? flag : 0));
        if (batch > 1 && a->send_batch) {
            if (a->send_batch(buf, n, batch))
                give_up();
        } else {
            for (int k = 0; k < batch; k++)
                if (a->send(buf + (size_t)k * n, n))
                    give_up();
        }
        if (flag & LAST)
            return;
    }
}

static void stream_in(const struct adapter *a, size_t n, unsigned char *buf, int batch)
{
    double began = 0, before[2] = {0, 0};
    uint64_t first = 0;
    while (!(flags_seen & LAST)) {
        if (batch > 1 && a->recv_batch) {
            if (a->recv_batch(buf, n, batch) < 0)
                give_up();
        } else if (a->recv(buf, n) || bench_check(buf, n)) {
            give_up();
        }
        if (began == 0 && flags_seen & START) {
            began = now();
            before[0] = cpu_ns(0), before[1] = cpu_ns(1);
            first = expected;
        }
    }
    double came = (double)(expected - first), of_1 = cpu_ns(1) - before[1];
    control->sample.rate = came / (now() - began);
    control->sample.cpu_of_1 = of_1 / came;
    control->sample.cpu = (cpu_ns(0) - before[0] + of_1) / came;
}

/* ---- calls ---- */

static struct {
    uint64_t began[BENCH_IN_FLIGHT_MAX * UNORDERED]; /* ticks, by number modulo `places` */
    uint64_t places;
    double took[SAMPLES];                /* ticks, of the last so many */
    uint64_t over, counted;
} calls;

int bench_called(uint64_t number, uint64_t sum)
{
    if (sum != number + 1)
        return bench_say("a call of %llu + 1 gave %llu", (unsigned long long)number,
                         (unsigned long long)sum);
    calls.took[calls.counted++ % SAMPLES] = (double)(ticks() - calls.began[number % calls.places]);
    calls.over++;
    return 0;
}

/* Keeps so many in flight. A number's place is free again when it is over: there is one for each
 * in flight where calls are over in their order, as those of one server that does them one after
 * the other are; else more. */
static void call_for(const struct adapter *a, uint64_t *number, double seconds)
{
    for (double began = now(); now() - began < seconds;)
        for (int k = 0; k < 32; k++) {
            for (uint64_t begun = *number - calls.over; begun < bench_size; begun++) {
                calls.began[*number % calls.places] = ticks();
                if (a->start((*number)++))
                    give_up();
            }
            if (a->harvest())
                give_up();
        }
}

static void call_out(const struct adapter *a, double seconds)
{
    uint64_t number = 0;
    memset(&calls, 0, sizeof calls);
    calls.places = bench_size * (a->unordered ? UNORDERED : 1);
    call_for(a, &number, 0.05);
    uint64_t before = calls.over, first = ticks();
    double timed = now(), cpu[2] = {cpu_ns(0), cpu_ns(1)};
    calls.counted = 0;
    call_for(a, &number, seconds);
    double took = now() - timed, unit = took * 1e9 / (double)(ticks() - first);
    size_t n = calls.counted < SAMPLES ? (size_t)calls.counted : SAMPLES;
    double over = (double)(calls.over - before), of_1 = cpu_ns(1) - cpu[1];
    control->sample.rate = over / took;
    control->sample.cpu_of_1 = of_1 / over;
    control->sample.cpu = (cpu_ns(0) - cpu[0] + of_1) / over;
    while (calls.over < number)
        if (a->harvest())
            give_up();
    if (a->finish())
        give_up();
    qsort(calls.took, n, sizeof *calls.took, compare);
    control->sample.p50 = calls.took[n / 2] * unit;
    control->sample.p99 = calls.took[n * 99 / 100] * unit;
    control->sample.p999 = calls.took[n * 999 / 1000] * unit;
}

static void pin(int side)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(side, &set);
    sched_setaffinity(0, sizeof set, &set);
}

bool bench_pinned(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN) >= 2;
}

/* What one side does, wherever its adapter calls it. */
static struct {
    const struct cell *cell;
    const struct bench_times *times;
    unsigned char *buf;
    int side, batch;
} running;

static void exchange(void)
{
    const struct adapter *a = running.cell->adapter;
    const struct bench_times *times = running.times;
    size_t n = running.cell->size;
    if (running.cell->mode == BENCH_CALL) {
        if (running.side == 0)
            call_out(a, times->latency);
        else if (a->serve())
            give_up();
    } else if (running.cell->mode == BENCH_LATENCY) {
        running.side == 0 ? ping(a, n, running.buf, times->latency) : pong(a, n, running.buf);
    } else if (running.side == 0) {
        stream_out(a, n, running.buf, running.batch, times->stream);
    } else {
        stream_in(a, n, running.buf, running.batch);
    }
}

static void run_side(const struct cell *cell, const struct bench_times *times, int side)
{
    const struct adapter *a = cell->adapter;
    int batch = cell->mode == BENCH_BATCH ? BENCH_BATCH_SIZE : 1;
    size_t room = cell->size * (size_t)batch;
    unsigned char *buf = aligned_alloc(4096, (room + 8191) & ~(size_t)4095);
    if (!buf)
        give_up();
    memset(buf, 0x5a, room);
    if (bench_pinned())
        pin(side);
    if (a->attach(side))
        give_up();
    expected = flags_seen = 0;
    running.cell = cell;
    running.times = times;
    running.buf = buf;
    running.side = side;
    running.batch = batch;
    meet(side, 0);
    double before = bench_pinned() ? probe(side, 0) : 0;
    if (!a->within)
        exchange();
    else if (a->within(side, exchange))
        give_up();
    meet(side, 1);
    double after = bench_pinned() ? probe(side, PROBES) : 0;
    if (side == 0) {
        control->sample.line = (before + after) / 2;
        control->sample.near = before < NEAR_NS && after < NEAR_NS;
        control->sample.mixed = (before < NEAR_NS) != (after < NEAR_NS);
    }
    meet(side, 2);
    a->detach(side);
    free(buf);
}

/* ---- contenders for a lock ---- */

static void once(const struct adapter *a, struct contender *c)
{
    uint64_t before = ticks();
    if (a->enter())
        give_up();
    uint64_t waited = ticks() - before;
    if (!a->shared)
        control->counter = control->counter + 1;
    if (a->leave())
        give_up();
    c->times++;
    if (waited < control->no_wait)
        return;
    c->waits++;
    c->ticks += waited;
    c->most = waited > c->most ? waited : c->most;
}

/* Nobody waits, so nothing is timed in between. */
static void alone(const struct adapter *a, struct contender *c)
{
    enum { BETWEEN_LOOKS = 100 };
    do {
        for (int i = 0; i < BETWEEN_LOOKS; i++, c->times++) {
            if (a->enter())
                give_up();
            control->counter = control->counter + 1;
            if (a->leave())
                give_up();
        }
    } while (!atomic_load_explicit(&control->stop, memory_order_relaxed));
}

/* The probes are of the first two. */
static void contend(const struct cell *cell, int self)
{
    const struct adapter *a = cell->adapter;
    struct contender *c = &control->contenders[self];
    bool probes = bench_pinned() && cell->size > 1 && self < 2;
    pin(self % (bench_pinned() ? 2 : 1));
    if (a->attach(self))
        give_up();
    double before = 0, after = 0;
    if (probes) {
        meet(self, 0);
        before = probe(self, 0);
    }
    atomic_fetch_add(&control->present, 1);
    while (!atomic_load(&control->go)) {
        if (atomic_load(&control->failed))
            _exit(1);
        usleep(50);
    }
    /* Each has it once: on a busy machine all may be over before this one runs. */
    double began = now();
    if (cell->size == 1)
        alone(a, c);
    else
        do
            once(a, c);
        while (!atomic_load_explicit(&control->stop, memory_order_relaxed));
    c->seconds = now() - began;
    if (probes) {
        meet(self, 1);
        after = probe(self, PROBES);
    }
    if (probes && self == 0) {
        control->sample.line = (before + after) / 2;
        control->sample.near = before < NEAR_NS && after < NEAR_NS;
        control->sample.mixed = (before < NEAR_NS) != (after < NEAR_NS);
    }
    a->detach(self);
}

static void sum_up(const struct cell *cell, double seconds, double tick_ns)
{
    struct sample *s = &control->sample;
    uint64_t times = 0, waits = 0, waited = 0, most = 0;
    for (size_t i = 0; i < cell->size; i++) {
        const struct contender *c = &control->contenders[i];
        times += c->times;
        waits += c->waits;
        waited += c->ticks;
        most = c->most > most ? c->most : most;
    }
    if (!cell->adapter->shared && control->counter != times)
        bench_say("%llu of %llu additions under the lock were lost",
                  (unsigned long long)(times - control->counter), (unsigned long long)times);
    if (times == 0 || control->error[0])
        give_up();
    s->rate = (double)times / seconds;
    s->p50 = seconds * 1e9 / (double)times;
    if (cell->size == 1)
        s->p50 = control->contenders[0].seconds * 1e9 / (double)times;
    s->wait = waits ? (double)waited * tick_ns / (double)waits : 0;
    s->longest = waited ? (double)most * (double)waits / (double)waited : 0;
}

/* Holds the clock, and does not contend. */
static void lead_contenders(const struct cell *cell, const struct bench_times *times)
{
    pid_t self = getpid();
    double start = now();
    uint64_t at = ticks();
    usleep(2000);
    control->no_wait = (uint64_t)((double)(ticks() - at) / (now() - start) * 1e-6);
    for (int i = 0; i < (int)cell->size; i++) {
        pid_t pid = fork();
        if (pid < 0)
            give_up();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != self)
                give_up();
            contend(cell, i);
            _exit(0);
        }
    }
    while (atomic_load(&control->present) < (int)cell->size) {
        if (atomic_load(&control->failed))
            _exit(1);
        usleep(100);
    }
    double began = now();
    uint64_t first = ticks();
    atomic_store(&control->go, 1);
    usleep((useconds_t)(times->lock * 1e6));
    atomic_store(&control->stop, 1);
    double took = now() - began;
    double tick_ns = took * 1e9 / (double)(ticks() - first);
    for (size_t i = 0; i < cell->size; i++)
        wait(NULL);
    if (atomic_load(&control->failed))
        _exit(1);
    sum_up(cell, took, tick_ns);
}

/* The first of the two processes, which makes the other. */
static _Noreturn void lead(const struct cell *cell, const struct bench_times *times)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    bench_size = cell->size;
    if (cell->adapter->setup())
        give_up();
    if (cell->mode == BENCH_LOCK) {
        lead_contenders(cell, times);
        _exit(0);
    }
    pid_t self = getpid(), other = fork();
    if (other < 0)
        give_up();
    if (other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != self)
            give_up();
    }
    sides[0] = self;
    sides[1] = other ? other : getpid();
    run_side(cell, times, other == 0);
    if (other > 0)
        waitpid(other, NULL, 0);
    _exit(0);
}

/* Asleep meanwhile: what runs beside the two sides is measured too. */
static bool ended_in_time(pid_t pid, int *ret_status)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {fd, POLLIN, 0};
    double end = now() + TIMEOUT_S, left;
    bool gone = false;
    while (!gone && !stopped() && (left = end - now()) > 0) {
        if (fd < 0) /* no pidfds here */
            usleep(1000);
        else
            poll(&p, 1, (int)(left * 1e3) + 1);
        gone = waitpid(pid, ret_status, WNOHANG) == pid;
    }
    if (fd >= 0)
        close(fd);
    return gone;
}

void bench_repeat(struct cell *cell, const struct bench_times *times)
{
    if (cell->error[0] || cell->n == BENCH_REPETITIONS_MAX)
        return;
    if (!control)
        control =
            mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (control == MAP_FAILED) {
        snprintf(cell->error, sizeof cell->error, "no memory");
        control = NULL;
        return;
    }
    memset(control, 0, sizeof *control);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        lead(cell, times);
    setpgid(pid, pid);
    int status = -1;
    bool gone = false;
    if (pid > 0)
        gone = ended_in_time(pid, &status);
    if (pid > 0)
        kill(-pid, SIGKILL); /* this repetition's own group */
    if (pid > 0 && !gone)
        waitpid(pid, NULL, 0);
    if (pid > 0 && cell->adapter->clean_up)
        cell->adapter->clean_up(pid);
    if (!gone || status != 0 || atomic_load(&control->failed)) {
        snprintf(cell->error, sizeof cell->error, "%s",
                 control->error[0] ? control->error
                 : stopped()       ? "interrupted"
                 : gone            ? "a side died"
                                   : "no end in 30 s");
        return;
    }
    cell->samples[cell->n++] = control->sample;
}

/* ---- figures ---- */

static double figure(const struct sample *s, size_t which)
{
    double value;
    memcpy(&value, (const char *)s + which, sizeof value);
    return value;
}

static bool mostly_near(const struct cell *cell)
{
    int near = 0, far = 0;
    for (int i = 0; i < cell->n; i++) {
        near += !cell->samples[i].mixed && cell->samples[i].near;
        far += !cell->samples[i].mixed && !cell->samples[i].near;
    }
    return near > far;
}

static struct spread spread_of(double *values, int n, bool near)
{
    struct spread s = {0, 0, 0, n, !bench_pinned() ? "unpinned" : near ? "near" : "far"};
    if (n == 0)
        return s;
    qsort(values, (size_t)n, sizeof *values, compare);
    s.median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    s.low = values[0];
    s.high = values[n - 1];
    return s;
}

struct spread bench_spread(const struct cell *cell, size_t which)
{
    double values[BENCH_REPETITIONS_MAX];
    bool near = mostly_near(cell);
    int n = 0;
    for (int i = 0; i < cell->n; i++)
        if (!cell->samples[i].mixed && cell->samples[i].near == near)
            values[n++] = figure(&cell->samples[i], which);
    for (int i = 0; n == 0 && i < cell->n; i++) /* all were moved midway */
        values[i] = figure(&cell->samples[i], which);
    return spread_of(values, n ? n : cell->n, near);
}

/* The ratios of the repetitions in which both had this placement. */
static int pairs(const struct cell *cell, const struct cell *reference, size_t which, bool near,
                 double *ret_values)
{
    int n = 0, most = cell->n < reference->n ? cell->n : reference->n;
    for (int i = 0; i < most; i++) {
        const struct sample *a = &cell->samples[i], *b = &reference->samples[i];
        if (!a->mixed && !b->mixed && a->near == near && b->near == near && figure(b, which) > 0)
            ret_values[n++] = figure(a, which) / figure(b, which);
    }
    return n;
}

struct spread bench_ratio(const struct cell *cell, const struct cell *reference, size_t which)
{
    double values[2][BENCH_REPETITIONS_MAX];
    int far_n = pairs(cell, reference, which, false, values[0]);
    int near_n = pairs(cell, reference, which, true, values[1]);
    bool near = near_n > far_n;
    int n = near ? near_n : far_n;
    struct spread s = spread_of(values[near], n, near);
    if (n >= 6) { /* median's interval: ranks (n +- 1.96 sqrt n) / 2 */
        int low = (int)floor((n - 1.96 * sqrt(n)) / 2), high = n - 1 - low;
        s.low = values[near][low < 0 ? 0 : low];
        s.high = values[near][high];
    }
    return s;
}
