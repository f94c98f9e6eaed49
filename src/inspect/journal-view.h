/* SPDX-License-Identifier: MIT */
/* journal-view.h - a journal, read from outside (journals.c: counted; journal-messages.h: its
 * messages). It is read, never mapped, so that nothing which others do to its files can raise a
 * signal here. */
#ifndef NARU_INSPECT_JOURNAL_VIEW_H
#define NARU_INSPECT_JOURNAL_VIEW_H

#include "object/view.h"
#include "shm/journal.h"

#include <stdbool.h>

struct journal_range {
    uint64_t first, last, segments; /* the numbers of the oldest and the newest, 0: there is none */
    uint64_t bytes;                 /* of all */
};

int naru__journal_view_range(const struct naru_object_view *, struct journal_range *ret_range);
/* A segment's header and descriptor. -ENOENT without a sentence; -EPROTO and others with one. */
int naru__journal_view_segment(const struct naru_object_view *, uint64_t number,
                               struct naru_segment_header *ret_header);
/* All of a cursor's file, for free(). -ENOENT, -EPROTO without a sentence. */
int naru__journal_view_cursor(const struct naru_object_view *, const char *file,
                              struct naru_cursor_file **ret_cursor);
/* Is what its memory says true, or is it from before a restart of the machine? */
bool naru__journal_view_current(const struct naru_object_view *);

#endif
