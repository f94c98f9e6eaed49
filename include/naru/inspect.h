/* SPDX-License-Identifier: MIT */
/* naru/inspect.h - looking at objects from outside: who takes part, what lies there, who waits.
 *
 * But for naru_collect, nothing is opened that a participant could notice and nothing is written,
 * so nobody is slowed. A
 * snapshot is what was read at one moment after the other: its numbers need not fit together where
 * the object is busy. Only what this user may look at is seen: processes of the same user, or all
 * for root; how many others there are is told. */
#ifndef NARU_INSPECT_H
#define NARU_INSPECT_H

#include <naru/channel.h>

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

/* Somebody who can end a part's wait. */
struct naru_view_wait {
    int64_t pid;     /* 0: not known here, or another pid namespace's */
    const char *why; /* "owns 2" */
    uint64_t gives;  /* so much of what the part needs */
};

struct naru_view_part {
    int64_t pid, uid;    /* 0, -1: not known */
    const char *program; /* "?": not known */
    size_t n_facts;
    const struct naru_fact *facts; /* the same names for each part of a view, in this order */
    /* What it waits for at this moment, if it sleeps: */
    const char *wants; /* "2 permits", "a message"; NULL: it does not wait */
    uint64_t needs;    /* it goes on when those below have given so much */
    int others;        /* 1: ... or somebody who does not take part yet */
    size_t n_waits;
    const struct naru_view_wait *waits;
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
 * "shm:name": the queue, topic or region there, or the listener and all connections made there;
 * "shm:": those of pairs. A part of a queue or topic is a participant, or a lane that a sender has
 * left (pid 0): what it has sent and received, how many messages wait in its lane and who has
 * taken which, how far behind a subscriber is, and whom one that sleeps waits for. One of a lock:
 * what it owns, what it waits for and since when, and its place in the queue. "map:/path": the
 * journal, lock or region there. Behind a region follow the locks in it, "URL at OFFSET": all that
 * somebody takes part in, and of the others those in the first 256 MiB that the region holds (holes
 * do not count), up to 1 024 in all; where that leaves out anything the region has the fact
 * "locks_searched". One that is damaged has the fact "problem". A part of a journal is a cursor
 * that has a name (pid 0), with where it is and how far behind, or a participant: when a sender
 * syncs, what a receiver holds. "posix-sem:", "sysv-sem:": what libc and the kernel tell.
 *
 * ret_snapshot: owned by the caller, naru_snapshot_free; it may hold no view at all.
 * Returns: 0.
 * Errors: -EOPNOTSUPP nothing of this kind can be looked at, or not in this build; -EINVAL a
 * malformed URL; -EACCES owner and mode; -EPROTO its memory is damaged, or another version's;
 * -ENOENT there is no /proc; -ENOMEM, -EMFILE.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_snapshot_take(const char *url, naru_snapshot **ret_snapshot);

/* naru_snapshot_list - looks at all objects of a directory
 *
 * url: "shm:" lists this user's, "shm:/dir" those of that directory; "shm:name" is that one alone.
 * "map:/dir" lists the journals and locks there, and files that state that they are regions;
 * "map:/path" of one of them is that one alone.
 * The views have no parts. One that cannot be read has the noun "?" and the fact "problem".
 *
 * ret_snapshot: owned by the caller, naru_snapshot_free; it may hold no view at all.
 * Returns: 0.
 * Errors: -EOPNOTSUPP objects of this kind cannot be listed; -ENOENT it is not there; others as
 * naru_snapshot_take.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_snapshot_list(const char *url, naru_snapshot **ret_snapshot);

/* naru_snapshot_waits - looks at everything that anybody has open
 *
 * All named objects of shm: that some process on this host takes part in, wherever they lie, with
 * their parts: so who waits for whom. The same of locks in regions ("URL at OFFSET"; of memory
 * without a name "shm: at OFFSET") and of those that are a file, map:/file. What cannot be read is
 * left out; naru_snapshot_take tells why.
 *
 * ret_snapshot: owned by the caller, naru_snapshot_free; it may hold no view at all.
 * Returns: 0.
 * Errors: -ENOENT there is no /proc; -ENOMEM, -EMFILE.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_snapshot_waits(naru_snapshot **ret_snapshot);

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

typedef struct naru_peek naru_peek;

/* naru_peek_open - begins to look at the messages of a queue or topic without taking them
 *
 * url: "shm:name", or "map:/dir". Of a queue those that wait, of a topic those that are still kept;
 * of a journal those that the receivers of its queue have not passed and not taken, or all if it
 * has never had any.
 *
 * ret_peek: owned by the caller, naru_peek_close.
 * Returns: 0.
 * Errors: -ENOENT it is not there; -EOPNOTSUPP it is no queue or topic, or its kind cannot be
 * looked into; -EACCES, -EPROTO, -EINVAL; -ENOMEM, -EMFILE.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_peek_open(const char *url, naru_peek **ret_peek);

/* naru_peek_next - the next message
 *
 * Sender by sender, each in its order, of a journal in the order of all; messages that come
 * meanwhile need not be seen. select: as for receiving, but -t is any type up to t, at its place.
 *
 * ret_message: a copy, valid until the next call; there is nothing to release.
 * Returns: 1; 0 there are no more.
 * Errors: -EINVAL select; -EPROTO what is there cannot be true (the next call goes on behind it);
 * -ENOMEM.
 * Thread: one. Fork: works. Blocks: never. */
NARU_API int naru_peek_next(naru_peek *peek, int64_t select, struct naru_message *ret_message);

/* naru_peek_close - ends it; NULL does nothing
 *
 * Returns: NULL.
 * Thread: one. Fork: works. Blocks: never. */
NARU_API naru_peek *naru_peek_close(naru_peek *peek);

#define NARU_DRY_RUN 1u /* say what would be done, and do nothing */

struct naru_collected {
    size_t size;           /* sizeof(struct naru_collected), set by the caller */
    uint64_t participants; /* dead ones whose record and claims were cleaned up */
    uint64_t messages;     /* that they had taken, and that can be received again */
    uint64_t leftovers;    /* directories of makers and removers that died at it */
    uint64_t lanes;        /* of a queue or topic: left by their senders, with nothing in them */
    uint64_t files;        /* that no message and no participant refers to, such as segments */
    uint64_t permits;      /* that dead ones owned, and that are free again */
};

/* naru_collect - cleans up after the dead
 *
 * What is dead goes, what lives stays: whoever takes part goes on undisturbed, and may do the same
 * at the same time. An object is never removed, however long nobody has used it: naru_remove does
 * that. url: "shm:name" is that object: its dead participants, and what they had taken; of a queue
 * or topic also the lanes that senders have left, once they are empty (in a topic without history:
 * once all have seen them), and files that nobody needs, so memory is given back that the next
 * sender would have used. "shm:", or "shm:/dir" that is no object: what makers and removers who
 * were killed have left there. NARU_DRY_RUN counts the same and does nothing.
 *
 * ret_collected: its .size is set by the caller.
 * Returns: 0.
 * Errors: -ENOENT it is not there; -EACCES owner and mode; -EPROTO its memory is damaged, or
 * another version's; -EOPNOTSUPP nothing of the dead stays in that kind; -EINVAL; -ENOMEM, -EMFILE.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_collect(const char *url, unsigned flags, struct naru_collected *ret_collected);

#ifdef __cplusplus
}
#endif
#endif
