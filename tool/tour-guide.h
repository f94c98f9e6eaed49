/* SPDX-License-Identifier: MIT */
/* tour-guide.h - running one scene after the other, and what came of each. */
#ifndef NARU_TOOL_TOUR_GUIDE_H
#define NARU_TOOL_TOUR_GUIDE_H

#include "tool/tour.h"

struct tour {
    struct input input;
    char directory[96];
};

/* What came of a scene. */
struct row {
    const struct scene *scene;
    const struct naru_kind *kind;
    char url[128];
    int pids[PARTS_MAX], n_pids;
    bool ok, skipped, has_sent, has_received;
    uint64_t bytes, messages;
    uint64_t added, lost; /* added 0: nothing was counted */
    int64_t cost_ps;
    double mb_s;    /* 0: not measured */
    int64_t p50_ns; /* 0: not measured */
    uint8_t sent[DIGEST], received[DIGEST];
    char saw[600]; /* of two parts */
};

/* -1 after a sentence on stderr. */
int guide_begin(struct tour *, const char *file, size_t generated);
/* false: a signal came, and everything that was started is gone. */
bool guide_run(struct tour *, const struct scene *, struct row *ret_row);
void guide_end(struct tour *);

#endif
