/* SPDX-License-Identifier: MIT */
/* lane-view.h - a lane of a queue or topic, read from outside (lanes.c: counted; peek.c: its
 * messages). */
#ifndef NARU_INSPECT_LANE_VIEW_H
#define NARU_INSPECT_LANE_VIEW_H

#include "object/view.h"
#include "shm/lane.h"

#include <stdbool.h>

struct lane_view {
    int file, claims; /* claims: NARU__NO_FD of a topic */
    struct naru_lane_header header;
    uint64_t next;   /* number that the sender uses next */
    uint64_t oldest; /* that may still be there */
};

/* 0; 1: there is none; or -EPROTO and others with a sentence. */
int naru__lane_view(const struct naru_object_view *, uint32_t i, struct lane_view *ret_lane);
void naru__lane_view_close(struct lane_view *);

/* n slots or words from that place on; -errno without a sentence. */
int naru__lane_view_slots(const struct lane_view *, uint64_t at, uint64_t n,
                          struct naru_lane_slot *);
int naru__lane_view_words(const struct lane_view *, uint64_t at, uint64_t n, uint64_t *);

#endif
