/* SPDX-License-Identifier: MIT */
/* lanes.h - what the files of queues and topics in shared memory share: lanes.c takes part in the
 * object, waits, wakes and cleans up; lanes-send.c and lanes-recv.c are the two halves; segments.c
 * has what is larger than a lane; lanes-left.c takes away what senders have left. The memory is
 * described in shm/lane.h and shm/object.h. */
#ifndef NARU_TRANSPORT_SHM_LANES_H
#define NARU_TRANSPORT_SHM_LANES_H

#include "core/transport.h"
#include "object/object.h"
#include "os/limit.h"
#include "shm/lane.h"

/* A mapped file. */
struct lanes_map {
    void *memory; /* NULL: none */
    uint64_t size;
};

/* A lane as this receiver sees it. */
struct lanes_in {
    uint32_t index;
    struct naru_lane_receiver rx;
    struct lanes_map lane, claims;
    unsigned outstanding; /* of a topic: taken in place and not released */
    uint64_t checked;     /* of a topic: up to here a message may be overtaken, so it is copied */
};

/* A message that this receiver has taken in place. */
struct lanes_taken {
    uint32_t lane, segment; /* segment: place in the cache + 1, 0: none */
    uint32_t sender;
    uint64_t number; /* 0: free */
};

/* A segment that this receiver has mapped. */
struct lanes_segment {
    uint32_t lane, id; /* id 0: none */
    struct lanes_map map;
    unsigned users;
    uint64_t used; /* when, in takes */
};

/* A message in this process's memory. */
struct lanes_kept {
    struct lanes_kept *next;
    struct naru_info info;
    uint32_t signature;
    _Alignas(16) uint8_t data[];
};

/* A segment that this sender has made. */
struct lanes_pooled {
    uint32_t id;
    struct lanes_map map;
    bool busy; /* its message is not done with */
};

enum { LANES_SEGMENTS = 16, LANES_POOL = 64 };

struct shm_lanes {
    struct naru_channel channel;
    struct naru_object object;
    struct naru_lanes_state *state;
    bool topic, lossy;
    struct naru_lane_header plan; /* of every lane */
    pthread_mutex_t guard[2]; /* taken by the receiving, sending thread once naru_fd is in use */
    bool guarded[2];          /* it is */
    unsigned others_work[2];  /* waits that are not to yield: the last turn took too long */
    size_t stash;

    /* the receiving thread's */
    uint32_t epoch_in;
    struct lanes_in *in[NARU_LANES_MAX];
    uint32_t order[NARU_LANES_MAX]; /* of those that exist */
    unsigned n_in, at, run;
    struct naru_lane_claimer me;
    struct lanes_taken *taken; /* channel.max_taken */
    unsigned taken_at;
    struct lanes_segment segment[LANES_SEGMENTS];
    uint64_t takes;
    struct naru_lane_cursors *cursors; /* of a topic: this subscriber's */
    struct lanes_kept *kept;           /* in the order in which they came */
    size_t kept_bytes;
    uint64_t missed, missed_all, redelivered;
    bool plain;      /* any message is wanted in the wait that is on */
    bool subscribed; /* publishers whose lanes come from here on wait for this subscriber */
    bool rung;       /* somebody woke this one, who has not received since */

    /* the sending thread's */
    uint32_t epoch_out;
    struct naru_lane_sender tx;
    struct lanes_map lane, claims;
    struct naru_lane_block *blocks;
    uint64_t before; /* of a topic: where this lane's numbers began, so nobody waits for those */
    uint64_t sample_at, high_water; /* the next look at how many wait, and the most that did */
    struct lanes_pooled pool[LANES_POOL];
    struct {
        uint64_t who;
        struct lanes_map cursors;
    } * subscriber; /* of a topic: one a member */
    struct {
        uint64_t at;
        uint32_t segment;
    } reserved;

    int doorbell; /* a socket that others knock on, once naru_fd is in use */
    int deaths;   /* inotify: a member's lock has fallen */
};

static inline struct shm_lanes *lanes_of(naru_channel *channel)
{
    return (struct shm_lanes *)channel;
}

static inline const char *lanes_name(const struct shm_lanes *e)
{
    return e->channel.handle.name;
}

/* What a sender calls itself in its messages: another one every time. */
static inline uint32_t naru__lanes_sender_id(uint64_t generation, uint32_t member)
{
    return (uint32_t)(generation << 8 | member);
}

/* ---- lanes.c ---- */

int naru__lanes_queue(const struct naru_url *, int role, const struct naru_queue_options *,
                      naru_channel **ret_c);
int naru__lanes_topic(const struct naru_url *, int role, const struct naru_topic_options *,
                      naru_channel **ret_c);

/* Opens and maps a file of the object's: size 0: as it is. Errors without a sentence. */
int naru__lanes_map(const struct naru_object *, const char *name, uint64_t size, bool writable,
                    struct lanes_map *ret_map);
/* The same, and what is written there nobody else sees. */
int naru__lanes_copy(const struct naru_object *, const char *name, uint64_t size,
                     struct lanes_map *ret_map);
void naru__lanes_unmap(struct lanes_map *);
/* The limit behind a mapping of so many bytes that failed. */
struct naru_limit_text naru__lanes_limit(int code, uint64_t bytes);
/* Makes one anew, whatever a maker who died at it has left. what: for the sentence. */
int naru__lanes_make(const struct naru_object *, const char *name, const char *what, uint64_t size,
                     struct lanes_map *ret_map);
/* Gives the file that name instead; what had it loses it at that instant. */
int naru__lanes_name(const struct naru_object *, const char *from, const char *to);

/* Publishes done: wakes one receiver of a queue, all subscribers of a topic, if they sleep. */
void naru__lanes_wake_receivers(struct shm_lanes *);
/* Something is done with: wakes a sender that sleeps for room. lane: its own, or NARU_LANES_MAX:
 * all. */
void naru__lanes_wake_senders(struct shm_lanes *, uint32_t lane);

/* One step of a wait, after a fruitless look. plain: any message is wanted. */
int naru__lanes_wait(struct shm_lanes *, struct naru_wait *, bool plain);
/* Cleans up after the dead. */
int naru__lanes_collect(struct shm_lanes *);
/* The same for member i alone, from outside: see naru_object_clean. */
naru_object_clean naru__lanes_clean;
/* History needs slots, and never has fewer than there would be without. */
struct naru_lane_header naru__lanes_plan(const uint64_t option[16]);
/* Whoever has written `meta` may have written anything: -EPROTO. */
int naru__lanes_check_sizes(const struct naru_object *);

/* ---- lanes-left.c ---- */

struct lanes_left {
    uint64_t lanes, files;
};
/* Takes away the lanes that senders have left, if nothing is in them, and the files that nobody
 * refers to; how many. dry: only says so. After naru__object_collect. */
int naru__lanes_take_away(struct naru_object *, bool dry, struct lanes_left *ret_left);

static inline int naru__lanes_check(const struct shm_lanes *e)
{
    return __builtin_expect(naru__object_removed(&e->object), 0)
               ? naru__object_removed_fail(&e->object)
               : 0;
}

/* Once naru_fd is in use, either thread may look at both halves. Let go while one sleeps. */
static inline void naru__lanes_lock(struct shm_lanes *e, int thread)
{
    if (__builtin_expect(e->channel.handle.epoll >= 0, 0)) {
        pthread_mutex_lock(&e->guard[thread]);
        e->guarded[thread] = true;
    }
}
static inline void naru__lanes_unlock(struct shm_lanes *e, int thread)
{
    if (__builtin_expect(e->guarded[thread], 0)) {
        e->guarded[thread] = false;
        pthread_mutex_unlock(&e->guard[thread]);
    }
}

/* What this member tells of itself. relaxed: for whoever looks from outside, who needs no more. */
static inline void naru__lanes_tell(const struct shm_lanes *e, int count, uint64_t value)
{
    atomic_store_explicit(&e->object.members[e->object.member].kind[count], value,
                          memory_order_relaxed);
}

/* Is it said to be there? While it is, it and its claims have their names. acquire: pairs with the
 * release in naru__lanes_open_sender(). */
static inline bool naru__lanes_exists(const struct shm_lanes *e, uint32_t lane)
{
    return atomic_load_explicit(&e->state->lanes[lane / 64], memory_order_acquire) >> (lane % 64) &
           1;
}

/* ---- lanes-send.c ---- */

int naru__lanes_open_sender(struct shm_lanes *);
/* Goes on where the lane's former sender was, in the mapped `lane` and `claims`. */
int naru__lanes_adopt(struct shm_lanes *);
void naru__lanes_close_sender(struct shm_lanes *);
int naru__lanes_send(naru_channel *, const struct naru_outgoing *, int64_t deadline);
ssize_t naru__lanes_send_many(naru_channel *, const struct naru_message *, size_t n,
                              int64_t deadline);
int naru__lanes_reserve(naru_channel *, size_t size, int64_t deadline, void **ret_data);
int naru__lanes_commit(naru_channel *, void *data, size_t size, uint32_t type);
void naru__lanes_abandon(naru_channel *, void *data);
int naru__lanes_flush(naru_channel *, int64_t deadline);
/* Can something be sent? The sending half is its thread's, or locked. */
bool naru__lanes_has_room(struct shm_lanes *);
/* A hint that there may be room where there was none. */
bool naru__lanes_moved(struct shm_lanes *);

/* ---- lanes-recv.c ---- */

int naru__lanes_open_receiver(struct shm_lanes *);
int naru__lanes_subscribe(struct shm_lanes *); /* of a topic, once it has appeared */
void naru__lanes_close_receiver(struct shm_lanes *, bool owner);
ssize_t naru__lanes_recv(naru_channel *, int64_t select, void *buf, size_t cap,
                         struct naru_info *ret_info, int64_t deadline);
int naru__lanes_take(naru_channel *, int64_t select, int64_t deadline,
                     struct naru_message *ret_message);
size_t naru__lanes_take_ready(naru_channel *, int64_t select, struct naru_message *, size_t n);
void naru__lanes_release(naru_channel *, struct naru_message *, size_t n);
void naru__lanes_give_back(naru_channel *, struct naru_message *, size_t n);
/* Has something come? The receiving half is its thread's, or locked. */
bool naru__lanes_come(struct shm_lanes *);

/* ---- segments.c ---- */

/* Memory of n bytes for a message of this sender's. -EAGAIN without a sentence: not while so many
 * are on their way. */
int naru__segment_get(struct shm_lanes *, uint64_t n, uint32_t *ret_id, void **ret_memory);
void naru__segment_free(void *lanes, uint32_t id);
void naru__segment_in_use(void *lanes, uint32_t id);
void naru__segments_close(struct shm_lanes *);
/* What no message refers to, of a former sender's. */
void naru__segments_sweep(struct shm_lanes *);

/* A receiver's view of one: at least n bytes, kept while it has users. ret_place: for _put. Without
 * a sentence: -ENOBUFS all places have users; -ENOENT, -EPROTO it is not what the slot says; else
 * why it cannot be mapped. */
int naru__segment_see(struct shm_lanes *, uint32_t lane, uint32_t id, uint64_t n,
                      const uint8_t **ret_data, uint32_t *ret_place);
void naru__segment_put(struct shm_lanes *, uint32_t place);
/* The same, of a queue's message that is done with: if its sender has left, nobody else would take
 * the file away. */
void naru__segment_done(struct shm_lanes *, uint32_t place, uint32_t sender);
/* Those of that lane, or of all: NARU_LANES_MAX. */
void naru__segments_forget(struct shm_lanes *, uint32_t lane);

#endif
