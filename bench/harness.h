/* SPDX-License-Identifier: MIT */
/* harness.h - measures ways to carry fixed-size messages between two processes, side by side; calls
 * of a function in the other one; and locks, alone and contended by up to 64.
 *
 * A cell is adapter x size x mode. Each repetition of a cell runs in two fresh processes, pinned to
 * processors 0 and 1 where there are two, and all cells take turns, so that what drifts drifts for
 * all. A hypervisor moves processors nearer and farther; so one bouncing cache line is timed before
 * and after each repetition, and medians are taken over the placement that most repetitions had.
 * Every message carries a number and an end mark that are checked; a wrong one fails the cell.
 * Under each lock a counter is increased that would lose something if two were inside at once. */
#ifndef NARU_BENCH_HARNESS_H
#define NARU_BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bench_mode {
    BENCH_LATENCY,
    BENCH_STREAM,
    BENCH_BATCH,
    BENCH_LOCK,
    BENCH_CALL,
    BENCH_CALL_STREAM, /* as BENCH_STREAM, within a call */
    BENCH_MODES
};
enum { BENCH_IN_FLIGHT_MAX = 1000 };
enum { BENCH_BATCH_SIZE = 32, BENCH_REPETITIONS_MAX = 64, BENCH_CONTENDERS_MAX = 64 };

/* One way of carrying. Order of calls: setup (in the parent), fork, attach(side), send and recv,
 * detach; failures return -1 with bench_say. Side 0 sends first. */
struct adapter {
    const char *name;      /* "naru connection" */
    const char *url;       /* "pipe:", whose raw system calls `reference` measures; NULL: no kind */
    const char *reference; /* name of the raw adapter of the same kind, of a journal the queue in
                            * shared memory; NULL: it is one */
    int (*setup)(void);
    int (*attach)(int side);
    int (*send)(const void *buf, size_t n);
    int (*recv)(void *buf, size_t n);
    int (*send_batch)(const void *buf, size_t n, int count); /* NULL: one by one */
    int (*recv_batch)(void *buf, size_t n, int most); /* how many; each is checked by `check` */
    int (*enter)(void); /* a lock: attach is called by each contender, `side` is its number */
    int (*leave)(void);
    bool shared; /* several may be inside */
    bool unordered;                /* calls may be over in another order than they began in */
    int (*start)(uint64_t number); /* begins a call of number + 1; one may be over at once */
    int (*harvest)(void);          /* waits until one is over, and tells bench_called */
    int (*serve)(void);            /* side 1: until side 0 is at its finish */
    int (*finish)(void);
    /* Calls exchange once, which sends or receives all: where a side can do so in a handler alone.
     * NULL: anywhere. */
    int (*within)(int side, void (*exchange)(void));
    void (*detach)(int side);
    void (*clean_up)(int pid); /* in the parent when all is over: what setup in process pid named;
                                * or NULL */
    size_t min_size, max_size; /* 0: any; of calls: in flight */
    unsigned modes;            /* bits 1 << enum bench_mode; 0: all that its functions allow */
};

/* Of the cell's messages, before setup is called. */
extern size_t bench_size;

bool bench_can(const struct adapter *, enum bench_mode, size_t size);

extern const struct adapter *const bench_adapters[]; /* NULL at the end */

/* Where adapters make their names: mode 0700, the caller's to make and to remove. */
extern const char *bench_directory;

int bench_say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* -1 */
/* For recv_batch: checks one message in place. */
int bench_check(const void *message, size_t n);
bool bench_is_last(const void *message); /* of the repetition */
/* For start and harvest: a call is over, with this sum. */
int bench_called(uint64_t number, uint64_t sum);

struct sample {
    double p50, p99, p999; /* ns one way; of calls: there and back */
    double rate;           /* messages a second; of a lock: times that it was had */
    double wait, longest;  /* of a contended lock: the mean wait, ns, of those that had to, and the
                            * longest over that; what takes less than 1 µs is no wait */
    double line;           /* ns of a cache line one way */
    double cpu, cpu_of_1;  /* of calls and streams: ns of processor time each, of both sides and of
                            * side 1 alone */
    bool near, mixed;
};

struct cell {
    const struct adapter *adapter;
    size_t size; /* of a lock: how many contend; of calls: how many are in flight */
    enum bench_mode mode;
    struct sample samples[BENCH_REPETITIONS_MAX];
    int n;
    char error[160]; /* why there is none */
};

struct bench_times {
    double latency, stream, lock; /* seconds a repetition */
};

/* One more repetition of a cell. */
void bench_repeat(struct cell *, const struct bench_times *);

bool bench_pinned(void);

struct spread {
    double median, low, high;
    int n;
    const char *placement; /* "near", "far", "unpinned" */
};
/* Over the samples of the majority placement. which: offset of the figure in struct sample. */
struct spread bench_spread(const struct cell *, size_t which);

/* Ratio of two cells, repetition by repetition of the same placement: its median and the order
 * statistics that enclose it with at least 95 % (binomial; the whole range below 6 pairs). */
struct spread bench_ratio(const struct cell *, const struct cell *reference, size_t which);

#endif
