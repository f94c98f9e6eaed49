/* SPDX-License-Identifier: MIT */
/* naru/inspect.h - looking at objects from outside: who takes part, what lies there, who waits.
 *
 * Nothing is opened that a participant could notice and nothing is written, so nobody is slowed. A
 * snapshot is what was read at one moment after the other: its numbers need not fit together where
 * the object is busy. Only what this user may look at is seen: processes of the same user, or all
 * for root; how many others there are is told. */
#ifndef NARU_INSPECT_H
#define NARU_INSPECT_H

#include <naru/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_snapshot naru_snapshot;

/* One thing about an object or a participant, by which kinds differ. */
struct naru_fact {
    const char *name; /* "capacity" */
    const char *unit; /* "bytes", "messages"; NULL: a word, or a plain number */
    const char *text; /* the word; NULL: a number */
    uint64_t number;
};

struct naru_view_part {
    int64_t pid, uid;    /* 0, -1: not known */
    const char *program; /* "?": not known */
    size_t n_facts;
    const struct naru_fact *facts; /* the same names for each part of a view, in this order */
};

struct naru_view {
    const char *url;
    const char *noun; /* "connection", "listener", "queue", ... */
    int64_t owner;    /* uid, -1: not known */
    uint64_t bytes;   /* of memory that it has in all */
    size_t n_facts;
    const struct naru_fact *facts;
    size_t n_parts;
    const struct naru_view_part *const *parts;
};

/* naru_snapshot_take - looks at what a URL names
 *
 * "shm:name": the listener there and all connections made there; "shm:": those of pairs.
 *
 * ret_snapshot: owned by the caller, naru_snapshot_free; it may hold no view at all.
 * Returns: 0.
 * Errors: -EOPNOTSUPP nothing of this kind can be looked at, or not in this build; -EINVAL a
 * malformed URL; -ENOENT there is no /proc; -ENOMEM, -EMFILE.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_snapshot_take(const char *url, naru_snapshot **ret_snapshot);

/* naru_snapshot_view - the i-th object that was seen, from 0
 *
 * Returns: it, as long as the snapshot; NULL: there are no more.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API const struct naru_view *naru_snapshot_view(const naru_snapshot *snapshot, size_t i);

/* naru_snapshot_hidden - processes that this user may not look at
 *
 * Returns: how many there were.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API size_t naru_snapshot_hidden(const naru_snapshot *snapshot);

/* naru_snapshot_free - forgets it; NULL does nothing
 *
 * Returns: NULL.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API naru_snapshot *naru_snapshot_free(naru_snapshot *snapshot);

#ifdef __cplusplus
}
#endif
#endif
