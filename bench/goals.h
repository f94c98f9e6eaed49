/* SPDX-License-Identifier: MIT */
/* goals.h - how fast connections in shared memory, and calls, are to be: each goal is a bound on
 * the ratio of two cells of one run, and is judged by their pairs. */
#ifndef NARU_BENCH_GOALS_H
#define NARU_BENCH_GOALS_H

#include "bench/harness.h"

/* Which cell, and which of its figures. */
struct goal_cell {
    const char *adapter;
    enum bench_mode mode;
    size_t size;
};

struct goal {
    const char *line; /* what is to be fast, and beside what */
    struct goal_cell what, beside;
    size_t figure; /* offset in struct sample; of a rate, bytes are compared where sizes differ */
    bool least;    /* the ratio is at least the bound, else at most */
    double bound;
    double near; /* the bound with the processors near; 0: the same */
};

extern const struct goal bench_goals[]; /* the last has no line */

/* Those of some modes are wanted; by `what`, for what is beside it may be of another. */
bool bench_goal_wanted(const struct goal *, const bool modes[BENCH_MODES]);
/* Is the cell named by such a goal? Then it takes part in each round; every other one, a floor or
 * another library, only shows what stands beside it. */
bool bench_in_goal(const struct goal_cell *, const bool modes[BENCH_MODES]);
/* Is it worth having in the goals' run at all? */
bool bench_beside_goal(const struct adapter *, enum bench_mode, size_t size,
                       const bool modes[BENCH_MODES]);

struct judgement {
    double bound;
    struct spread ratio;
    const char *verdict;
};
/* Met if the median is; a bound less than a tenth from 1 also if it lies in the ratio's interval,
 * and that one is judged over 15 pairs at least. */
struct judgement bench_judge(const struct goal *, const struct cell *what,
                             const struct cell *beside);

#endif
