/* SPDX-License-Identifier: MIT */
/* snapshot.h - views as they are put together. A kind is one function in the table of snapshot.c
 * that adds its views; it takes no part in what it looks at, and believes nothing that it reads
 * there. */
#ifndef NARU_INSPECT_SNAPSHOT_H
#define NARU_INSPECT_SNAPSHOT_H

#include "base/url.h"
#include "naru/inspect.h"

#include <stdbool.h>
#include <sys/types.h>

struct snapshot_view; /* struct naru_view, growing */
struct snapshot_part;

/* All NULL on lack of memory; then the snapshot fails as a whole, so that nobody has to check. */
struct snapshot_view *naru__snapshot_add(naru_snapshot *, const char *url, const char *noun);
struct snapshot_part *naru__snapshot_part(naru_snapshot *, struct snapshot_view *, pid_t pid);
/* Whoever has no process here, or another's pid: as its record says. */
void naru__snapshot_who(struct snapshot_part *, int64_t pid, int64_t uid);
void naru__snapshot_size(struct snapshot_view *, int64_t owner, uint64_t bytes);
/* Of the part, or if that is NULL of the view. Name and unit are static; the text is copied. */
void naru__snapshot_number(naru_snapshot *, struct snapshot_view *, struct snapshot_part *,
                           const char *name, const char *unit, uint64_t number);
void naru__snapshot_word(naru_snapshot *, struct snapshot_view *, struct snapshot_part *,
                         const char *name, const char *text);
/* What the part waits for: `needs` of it from those that follow, or from `others`. */
void naru__snapshot_wants(naru_snapshot *, struct snapshot_part *, const char *wants,
                          uint64_t needs, bool others);
void naru__snapshot_waits_for(naru_snapshot *, struct snapshot_part *, int64_t pid, uint64_t gives,
                              const char *why);
void naru__snapshot_hide(naru_snapshot *, size_t processes);

int naru__snapshot_take(const struct naru_url *, naru_snapshot **ret_snapshot);
int naru__snapshot_list(const struct naru_url *, naru_snapshot **ret_snapshot);
int naru__snapshot_waits(naru_snapshot **ret_snapshot);

/* ---- the kinds: each adds what the URL names; 1: and that is all that bears this name ---- */

/* connections.c: shm:, its listener and its connections. */
int naru__look_at_connections(naru_snapshot *, const struct naru_url *);
/* regions.c: shm:, posix-shm:, sysv-shm:, map:. */
int naru__look_at_regions(naru_snapshot *, const struct naru_url *);
/* map:/file, without those who have it mapped. */
int naru__look_at_region_file(naru_snapshot *, const struct naru_url *);
/* The listener alone, if a socket is there. */
void naru__look_at_listener(naru_snapshot *, const struct naru_url *);

/* objects.c: shm: and map:, named objects: queues, topics, regions, journals, locks... brief:
 * without its participants. */
int naru__look_at_object(naru_snapshot *, const struct naru_url *);
int naru__list_objects(naru_snapshot *, const struct naru_url *);
/* Those that some process takes part in, wherever they lie. */
int naru__look_at_objects_in_use(naru_snapshot *);
/* One that is in view, under its url. */
struct naru_object_view;
int naru__look_at_view(naru_snapshot *, const struct naru_object_view *, uint64_t bytes,
                       bool brief);

/* placed.c: locks that lie in a file, each "URL at OFFSET": those that somebody takes part in, or
 * all. It moves the description's position. */
struct naru_placed {
    size_t n;
    bool all; /* it was looked at everywhere, and nothing was left out */
};
int naru__look_at_locks_in(naru_snapshot *, int file, const char *url, bool all,
                           struct naru_placed *ret_placed);

/* member.c: a participant's part with what all have: record, role (unless NULL), since, life,
 * stopped. */
struct snapshot_part *naru__snapshot_member(naru_snapshot *, struct snapshot_view *,
                                            const struct naru_object_view *, uint32_t member,
                                            const char *role);
const char *naru__time_text(uint64_t ns_since_1970, char text[40]);
/* The pid of participant i if it means something here; else 0. */
pid_t naru__member_pid(const struct naru_object_view *, uint32_t i);

/* lanes.c: what is particular to queues and topics. */
int naru__look_at_lanes(naru_snapshot *, struct snapshot_view *, const struct naru_object_view *,
                        bool brief);

/* journals.c: of journals. */
int naru__look_at_journal(naru_snapshot *, struct snapshot_view *, const struct naru_object_view *,
                          bool brief);

/* locks.c: of locks; and the semaphores of libc and of the kernel. */
int naru__look_at_lock(naru_snapshot *, struct snapshot_view *, const struct naru_object_view *,
                          bool brief);
int naru__look_at_posix_sem(naru_snapshot *, const struct naru_url *);
int naru__look_at_sysv_sem(naru_snapshot *, const struct naru_url *);

#endif
