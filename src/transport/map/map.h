/* SPDX-License-Identifier: MIT */
/* map.h - `map:` as queue and topic: a journal. open.c takes part in it, waits, wakes, repairs
 * after the dead and recovers after a restart; append.c and read.c are the two halves; segment.c
 * has the files. The memory and the files are described in shm/journal.h. */
#ifndef NARU_TRANSPORT_MAP_MAP_H
#define NARU_TRANSPORT_MAP_MAP_H

#include "core/transport.h"
#include "naru/journal.h"
#include "object/object.h"
#include "shm/journal.h"

extern const struct naru_transport naru__map_transport;

/* A segment that is mapped. */
struct map_segment {
    uint64_t number; /* 0: none */
    uint8_t *memory;
    uint64_t size, first, inode;
    uint32_t seed;
    int fd;         /* of what is only kept mapped NARU__NO_FD */
    bool by_write;  /* write(2) may be used on it, and costs less */
    unsigned users; /* messages in it that are taken in place */
    uint64_t used;  /* when, in takes */
    uint64_t gone;  /* of a spare: the current segment when it was removed */
};

struct map_taken {
    uint64_t sequence; /* 0: free */
    unsigned segment;  /* place in the cache */
};

enum { MAP_SEGMENTS = 16, MAP_SPARES = 4 };

/* No segment any more: its mapping is kept, for the file may serve another one. */
#define MAP_LET_GO UINT64_MAX

struct map_journal {
    struct naru_channel channel;
    struct naru_object object;
    struct naru_journal_state *state;
    bool topic, joined;
    struct naru_life knows; /* see NARU_JOURNAL_KNOWS_LOCKS */
    int doorbell, deaths;

    /* the sending thread's */
    struct map_segment out;
    struct map_segment past[MAP_SEGMENTS]; /* before it, mapped still: to be reused */
    struct map_segment spare[MAP_SPARES];  /* removed, locked: [N] is that of spare-N, if its inode
                                            * is that still */
    bool held_back;     /* what would go stays, for the medium has not what comes after it */
    uint8_t *stage;     /* records on their way to write(2) */
    int64_t sync;       /* as the option */
    int64_t due;        /* what was sent has to be synced then; 0: nothing is owed */
    uint64_t last;      /* the last sequence that this one sent */
    uint64_t failures;  /* flushes that had failed when it opened */
    bool new_directory; /* made by this call: its own name is not on the medium yet */

    /* the receiving thread's */
    struct naru_cursor_file *cursor;
    bool own_cursor; /* it has no name */
    bool skip;
    char cursor_name[72];
    struct map_segment in[MAP_SEGMENTS];
    struct map_taken *taken; /* channel.max_taken */
    unsigned taken_at;
    bool behind; /* segments before the current one are not let go yet */
    unsigned streams; /* looks that wait before, see let_come() */
    uint64_t takes, missed;
    uint64_t known; /* up to there messages count; looked up when that has been used up */
    uint64_t hint_next, hint_place; /* where the record `next` is, if that is still it */
    struct {
        uint64_t committed, returned, base;
        bool full;
    } seen; /* by the last fruitless look */
};

static inline struct map_journal *journal_of(naru_channel *channel)
{
    return (struct map_journal *)channel;
}
static inline const char *journal_name(const struct map_journal *e)
{
    return e->channel.handle.name;
}

/* ---- segment.c ---- */

/* Maps a segment of the journal in that directory, and locks it, if it is only to be read. -ENOENT
 * without a sentence: it is not there, or its file serves another by now. */
int naru__segment_open(const struct naru_object *, uint64_t number, bool writable,
                       struct map_segment *ret_segment);
/* Makes one anew, whatever a maker who died at it has left. */
int naru__segment_make(const struct naru_object *, uint64_t number, uint64_t first, uint64_t bytes,
                       struct map_segment *ret_segment);
/* The same from the file of one that was removed, which has that name: the caller has it locked. */
int naru__segment_reuse(const struct naru_object *, const char *name, uint64_t number,
                        uint64_t first, struct map_segment *);
/* Its bytes in a new file, on the medium, by the same name; nobody else takes part. What the medium
 * refused of the old file it may never get, though a later sync succeeds (ext4 leaves such blocks
 * marked as never written). */
int naru__segment_copy(const struct naru_object *, const struct map_segment *);
/* Removes the spares of senders that have died: nobody has them locked. One that gets such a name
 * meanwhile may go with it, which its sender sees. */
void naru__spares_clean(const struct naru_object *);
/* If one of those n maps the same file and is in no use, s gets that mapping, and it is closed. */
void naru__segment_adopt(struct map_segment *s, struct map_segment *list, size_t n);
void naru__segment_close(struct map_segment *);
void naru__segment_name(char name[32], uint64_t number);
/* A segment that comes before all that is whole, which opening refused with that code: may the loss
 * of power have left it so? known: sequence up to which the medium had all. */
bool naru__segment_lost(const struct naru_object *, uint64_t number, uint64_t known, int code);
/* The numbers of the first and the last that are there; -ENOENT without a sentence. */
int naru__segment_range(int directory, uint64_t *ret_first, uint64_t *ret_last);
/* Where the record with that sequence is, or the next one will be; what is older than the oldest:
 * there. *ret_sequence: of what is there. */
int naru__journal_find(const struct naru_object *, uint64_t sequence, uint64_t *ret_place,
                       uint64_t *ret_sequence);
/* ... the first record that is not older than that. */
int naru__journal_find_time(const struct naru_object *, int64_t since, uint64_t *ret_place,
                            uint64_t *ret_sequence);

/* ---- verify.c ---- */

int naru__journal_verify(const struct naru_object *, struct naru_journal_report *,
                         int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg);

/* ---- open.c ---- */

/* Does what the memory says count? Else the machine, or the mount, is another since then. */
bool naru__journal_is_right(const struct naru_object *);
int naru__journal_lock(struct map_journal *, naru_journal_lock *, enum naru_journal_sleep,
                       struct naru_wait *);
/* ... which has that owner, if it is no member. */
bool naru__journal_take_from_nobody(struct map_journal *, naru_journal_lock *, uint32_t owner);
void naru__journal_unlock(struct map_journal *, naru_journal_lock *, enum naru_journal_sleep);
/* The process of a lock's owner, by its number; 0: it names no record. */
uint32_t naru__journal_pid(const struct map_journal *, uint32_t owner);
void naru__journal_wake(const struct naru_object *, enum naru_journal_sleep, bool all);
/* Is that member neither dead nor being cleaned up after? */
bool naru__journal_takes_part(const struct map_journal *, uint32_t member);
/* Cleans up after the dead; how many. */
int naru__journal_collect(struct map_journal *);
/* One step of a wait, after a fruitless look. ready: is there something to do? */
int naru__journal_wait(struct map_journal *, struct naru_wait *, enum naru_journal_sleep,
                       bool (*ready)(struct map_journal *, uint64_t), uint64_t arg);
static inline int naru__journal_check(const struct map_journal *e)
{
    return naru__object_removed(&e->object) ? naru__object_removed_fail(&e->object) : 0;
}

/* ---- append.c ---- */

int naru__journal_send(naru_channel *, const struct naru_outgoing *, int64_t deadline);
ssize_t naru__journal_send_many(naru_channel *, const struct naru_message *, size_t n,
                                int64_t deadline);
int naru__journal_flush(naru_channel *, int64_t deadline);
int naru__journal_sync(naru_channel *, int64_t deadline);
/* What .sync owes by now. */
int naru__journal_pay(struct map_journal *, int64_t deadline);

/* Unmaps the sender's; the owner also removes the spares that are its own. */
void naru__out_close(struct map_journal *, bool owner);

/* Whole segments before that sequence go. */
int naru__journal_trim(naru_channel *, uint64_t before, uint64_t *ret_bytes);

/* ---- read.c ---- */

int naru__cursor_open(struct map_journal *, const struct naru_journal_options *);
void naru__cursor_close(struct map_journal *, bool owner);
/* After member m of the journal in that directory died, of all cursors. */
int naru__cursors_clean(const struct naru_object *, uint32_t member);
/* After a restart: what the entries said counts no more. last: the last sequence that is there. */
int naru__cursors_recover(const struct naru_object *, uint64_t last);
/* The lowest sequence that a named cursor has not passed; UINT64_MAX: there is none. */
uint64_t naru__cursors_lowest(const struct naru_object *);
int naru__journal_take(naru_channel *, int64_t select, int64_t deadline, struct naru_message *);
ssize_t naru__journal_recv(naru_channel *, int64_t select, void *buf, size_t cap,
                           struct naru_info *ret_info, int64_t deadline);
size_t naru__journal_take_ready(naru_channel *, int64_t select, struct naru_message *, size_t n);
void naru__journal_release(naru_channel *, struct naru_message *, size_t n);
void naru__journal_give_back(naru_channel *, struct naru_message *, size_t n);
bool naru__journal_come(struct map_journal *);

#endif
