/* SPDX-License-Identifier: MIT */
/* goals.c - the goals of connections, one row each; see goals.h. */
#include "bench/goals.h"

#include <string.h>

#define P50 offsetof(struct sample, p50)
#define P99 offsetof(struct sample, p99)
#define RATE offsetof(struct sample, rate)
#define CONNECTION "naru shm connection"
#define SPINNING "naru shm connection, NARU_SPIN"
#define IN_PLACE "naru shm connection, in place"
#define ONE_LINE "cache line", BENCH_LATENCY, 8
#define TWO_LINES "a line each way", BENCH_LATENCY, 8 /* which are two */
#define KI(n) ((size_t)(n) << 10)
#define MI(n) ((size_t)(n) << 20)

#define LATENCY(name, size) name, BENCH_LATENCY, size
#define STREAM(name, size) name, BENCH_STREAM, size
#define BATCH(name, size) name, BENCH_BATCH, size
#define CALL(name, in_flight) name, BENCH_CALL, in_flight

const struct goal bench_goals[] = {
    {"8 B, one travelling line", {LATENCY(CONNECTION, 8)}, {ONE_LINE}, P50, false, 1.10, 1.4},
    {"48 B, one travelling line", {LATENCY(CONNECTION, 48)}, {ONE_LINE}, P50, false, 1.10, 1.4},
    {"8 B, p99, the line's p99", {LATENCY(CONNECTION, 8)}, {ONE_LINE}, P99, false, 2, 0},
    {"48 B, p99, the line's p99", {LATENCY(CONNECTION, 48)}, {ONE_LINE}, P99, false, 2, 0},
    {"64 B, two lines", {LATENCY(CONNECTION, 64)}, {TWO_LINES}, P50, false, 1.05, 0},
    {"in place 64 B, two lines", {LATENCY(IN_PLACE, 64)}, {TWO_LINES}, P50, false, 1.05, 0},
    {"in place 1 KiB, two lines", {LATENCY(IN_PLACE, KI(1))}, {TWO_LINES}, P50, false, 1.05, 0},
    {"in place 64 KiB, two lines", {LATENCY(IN_PLACE, KI(64))}, {TWO_LINES}, P50, false, 1.05, 0},
    {"in place 1 MiB, two lines", {LATENCY(IN_PLACE, MI(1))}, {TWO_LINES}, P50, false, 1.05, 0},
    {"in place 1 GiB, two lines", {LATENCY(IN_PLACE, MI(1024))}, {TWO_LINES}, P50, false, 1.05, 0},
    {"1 KiB, bare ring",
     {LATENCY(CONNECTION, KI(1))},
     {LATENCY("bare ring", KI(1))},
     P50,
     false,
     1.05,
     0},
    {"16 KiB, bare ring",
     {LATENCY(CONNECTION, KI(16))},
     {LATENCY("bare ring", KI(16))},
     P50,
     false,
     1.05,
     0},
    {"1 MiB, bare ring in pieces",
     {LATENCY(CONNECTION, MI(1))},
     {LATENCY("bare ring, pieces of 64 KiB", MI(1))},
     P50,
     false,
     1.05,
     0},
    /* 30 and 25 GB/s where the bare ring reaches 28 */
    {"stream of 64 KiB, GB/s of the bare ring at 1 MiB",
     {STREAM(CONNECTION, KI(64))},
     {STREAM("bare ring, pieces of 64 KiB", MI(1))},
     RATE,
     true,
     30 / 28.0,
     0},
    {"stream of 1 MiB, bare ring in pieces",
     {STREAM(CONNECTION, MI(1))},
     {STREAM("bare ring, pieces of 64 KiB", MI(1))},
     RATE,
     true,
     25 / 28.0,
     0},
    {"stream of 8 B, bare ring",
     {STREAM(CONNECTION, 8)},
     {STREAM("bare ring", 8)},
     RATE,
     true,
     1.5,
     0},
    {"stream of 64 B, bare ring",
     {STREAM(CONNECTION, 64)},
     {STREAM("bare ring", 64)},
     RATE,
     true,
     1.2,
     0},
    {"batches of 8 B, bare ring",
     {BATCH(CONNECTION, 8)},
     {STREAM("bare ring", 8)},
     RATE,
     true,
     2.5,
     0},
    {"batches of 64 B, bare ring",
     {BATCH(CONNECTION, 64)},
     {STREAM("bare ring", 64)},
     RATE,
     true,
     1.5,
     0},
    {"8 B, may sleep beside only spins",
     {LATENCY(CONNECTION, 8)},
     {LATENCY(SPINNING, 8)},
     P50,
     false,
     1.1,
     0},
    {"stream of 8 B, may sleep beside only spins",
     {STREAM(CONNECTION, 8)},
     {STREAM(SPINNING, 8)},
     RATE,
     true,
     0.9,
     0},
    {"8 B, asleep, bare futex",
     {LATENCY("naru shm connection, NARU_SLEEP", 8)},
     {LATENCY("bare futex", 8)},
     P50,
     false,
     1.05,
     0},
    {"8 B, in poll, bare eventfd",
     {LATENCY("naru shm connection, in poll", 8)},
     {LATENCY("bare eventfd", 8)},
     P50,
     false,
     1.05,
     0},
    {"queue, 8 B, connection",
     {LATENCY("naru shm queue", 8)},
     {LATENCY(CONNECTION, 8)},
     P50,
     false,
     1.15,
     0},
    {"topic, 8 B, connection",
     {LATENCY("naru shm topic", 8)},
     {LATENCY(CONNECTION, 8)},
     P50,
     false,
     1.15,
     0},
    {"a call, one travelling line", {CALL("naru shm call", 1)}, {ONE_LINE}, P50, false, 4, 0},
    /* 3 M/s where the bare socket reaches 0.913 */
    {"32 calls in flight over shm:, bare unix socket",
     {CALL("naru shm call", 32)},
     {CALL("bare unix socket, call", 32)},
     RATE,
     true,
     3 / 0.913,
     0},
    {"a call over unix:, bare unix socket",
     {CALL("naru unix call", 1)},
     {CALL("bare unix socket, call", 1)},
     P50,
     false,
     1.1,
     0},
    {"32 calls in flight over unix:, bare unix socket",
     {CALL("naru unix call", 32)},
     {CALL("bare unix socket, call", 32)},
     RATE,
     true,
     0.8,
     0},
    /* in the interface that is its best at each; 1 / 0.7 where more is better */
    {"a call over grpc+unix:, gRPC C++",
     {CALL("naru grpc+unix call", 1)},
     {CALL("gRPC C++, completion queue", 1)},
     P50,
     false,
     0.7,
     0},
    {"32 calls in flight over grpc+unix:, gRPC C++",
     {CALL("naru grpc+unix call", 32)},
     {CALL("gRPC C++, completion queue", 32)},
     RATE,
     true,
     1.43,
     0},
    {"1 000 calls in flight over grpc+unix:, gRPC C++",
     {CALL("naru grpc+unix call", 1000)},
     {CALL("gRPC C++, completion queue", 1000)},
     RATE,
     true,
     1.43,
     0},
    {"a call over grpc:, gRPC C++ on TCP",
     {CALL("naru grpc call", 1)},
     {CALL("gRPC C++ on TCP, completion queue", 1)},
     P50,
     false,
     0.7,
     0},
    {"32 calls in flight over grpc:, gRPC C++ on TCP",
     {CALL("naru grpc call", 32)},
     {CALL("gRPC C++ on TCP, completion queue", 32)},
     RATE,
     true,
     1.43,
     0},
    {"1 000 calls in flight over grpc:, gRPC C++ on TCP",
     {CALL("naru grpc call", 1000)},
     {CALL("gRPC C++ on TCP, completion queue", 1000)},
     RATE,
     true,
     1.43,
     0},
    {0},
};

static bool same(const struct goal_cell *a, const struct goal_cell *b)
{
    return a->mode == b->mode && a->size == b->size && strcmp(a->adapter, b->adapter) == 0;
}

bool bench_goal_wanted(const struct goal *g, const bool modes[BENCH_MODES])
{
    return modes[g->what.mode];
}

bool bench_in_goal(const struct goal_cell *cell, const bool modes[BENCH_MODES])
{
    for (const struct goal *g = bench_goals; g->line; g++)
        if (bench_goal_wanted(g, modes) && (same(cell, &g->what) || same(cell, &g->beside)))
            return true;
    return false;
}

/* Floors and other libraries: where the connection is judged at that size. All calls. */
bool bench_beside_goal(const struct adapter *a, enum bench_mode mode, size_t size,
                       const bool modes[BENCH_MODES])
{
    if (mode == BENCH_CALL || mode == BENCH_CALL_STREAM)
        return true;
    bool other = strncmp(a->name, "naru ", 5) != 0 && strncmp(a->name, "raw ", 4) != 0;
    return other && (!a->url || strcmp(a->url, "shm:") == 0) && mode != BENCH_BATCH &&
           bench_in_goal(&(struct goal_cell){CONNECTION, mode, size}, modes);
}

struct judgement bench_judge(const struct goal *g, const struct cell *what,
                             const struct cell *beside)
{
    enum { PAIRS = 15 };
    struct judgement j = {.ratio = bench_ratio(what, beside, g->figure)};
    if (g->figure == RATE && what->size != beside->size) {
        double unit = (double)what->size / (double)beside->size;
        j.ratio.median *= unit, j.ratio.low *= unit, j.ratio.high *= unit;
    }
    bool near = j.ratio.placement && strcmp(j.ratio.placement, "near") == 0;
    j.bound = near && g->near > 0 ? g->near : g->bound;
    bool narrow = j.bound > 0.9 && j.bound < 1.1;
    bool median = g->least ? j.ratio.median >= j.bound : j.ratio.median <= j.bound;
    bool inside = g->least ? j.ratio.high >= j.bound : j.ratio.low <= j.bound;
    j.verdict = j.ratio.n == 0                ? "not measured"
                : narrow && j.ratio.n < PAIRS ? "too few pairs"
                : median                      ? "met"
                : narrow && inside            ? "met, in the interval"
                                              : "missed";
    return j;
}
