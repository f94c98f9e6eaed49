/* SPDX-License-Identifier: MIT */
/* inside.h - what the files of a connection in shared memory share: end.c makes it, meets the other
 * end and learns of its death; sending.c and receiving.c are its halves. */
#ifndef NARU_TRANSPORT_SHM_INSIDE_H
#define NARU_TRANSPORT_SHM_INSIDE_H

#include "core/transport.h"
#include "os/life.h"
#include "os/poll.h"
#include "shm/ring.h"
#include "transport/common/descriptors.h"

enum {
    /* a message's signature that says: descriptors have gone ahead of it, by the socket. (A typed
     * struct may have it by chance; then there are none.) */
    SHM_WITH_PARCEL = -1,
    SHM_PARCELS_MAX = 4 * NARU__FDS_MAX /* descriptors that may wait: the last one's, and stashed */
};

/* A message in this process's memory: put together from pieces, or moved out of the sender's way.
 */
struct shm_kept {
    struct shm_kept *next;
    uint64_t sequence;
    size_t size;
    uint32_t type, signature, flags;
    size_t cost; /* in the stash */
    _Alignas(16) uint8_t data[];
};

struct shm_end;

/* Both ends of a pair, while they are in one process. */
struct shm_pair {
    struct shm_end *end[2];
};

struct shm_end {
    struct naru_channel channel;
    int socket; /* brings the other end's file and bells, and tells of its end */
    int memfd;  /* of `mine`, open so that one can look at it from outside */
    _Atomic bool
        armed_well[2];     /* in, out: nothing published after the word was armed goes unrung */
    int bell_in, bell_out; /* eventfds: this end's receiver, sender sleeps on it */
    int their_bell_in, their_bell_out;
    struct naru_ring_file *mine;
    uint64_t size;         /* of it */
    struct naru_life life; /* held as long as this process has the end */
    struct shm_pair *pair; /* NULL: it is none's; freed by whichever end is closed last */
    _Atomic bool used;     /* by this process: no other may get it any more */
    bool maker;            /* of a pair, whose end a forked child may adopt */
    struct shm_end *next, *previous; /* of this process's: for its forked children */
    bool registered;       /* for membarrier */
    size_t max_receive, stash, capacity;

    pthread_mutex_t meet; /* guards the other end's side: file, bells, pidfd, being gone */
    _Atomic bool met;     /* release after, acquire before what is below */
    bool greeted;         /* for this process; taken back when an end is passed on */
    int unmet;            /* 0, or why it never will be: its greeting is lost */
    const struct naru_ring_file *theirs;
    int their_file;                /* whose locks tell whether its holder lives */
    struct naru_ring_header other; /* read once and checked */
    int watched;                   /* readable when the other end's holder may have died */
    uint64_t watched_lock;         /* which holder that is */
    bool watches_process;          /* it is a pidfd; else it tells of the file being closed */
    _Atomic int gone;       /* 0, or the errno of the sentence: the other end's process has died */
    _Atomic int64_t looked; /* when that was asked last */

    struct naru_parcel *parcels; /* under meet: descriptors whose messages were not received */
    size_t n_parcels;            /* so many descriptors */

    struct naru_ring_sender tx; /* the sending thread's */
    uint64_t *ends;
    uint64_t area_most; /* of the area, that tx may use once its pages are there */
    uint64_t rung_in; /* armed value that was answered last */
    struct {
        uint8_t *data; /* NULL: none is open */
        uint64_t at;
        bool small, own; /* in `room`; in memory of this process */
        /* Not in the slot: what is written there early goes back and forth with its stamp's line,
         * which the receiver polls. */
        _Alignas(16) uint8_t room[NARU_RING_INLINE];
    } reserved;
    bool finished;
    struct { /* of the message that is being sent; n 0: it has none */
        const int *fds;
        size_t n;
        int64_t deadline;
    } parcel;
    uint64_t parcel_slot; /* of the last message that had some, */
    size_t parcels_out;   /* and how many may not have been taken by then */

    struct naru_ring_receiver rx; /* the receiving thread's */
    struct naru_ring_item *items;
    uint64_t rung_out;
    uint64_t received;     /* messages that came */
    uint64_t n_ready;      /* of those looked at, that nobody has taken */
    struct shm_kept *kept; /* by sequence */
    size_t kept_bytes;
    struct {
        struct shm_kept *message; /* NULL: none is coming in pieces */
        uint8_t *to;              /* message->data, or the caller's buffer */
        uint64_t got;
    } joining;
    uint8_t *direct; /* the caller's buffer, which a large message may fill; NULL: none */
    size_t direct_size;
    struct shm_kept *joined;    /* one that has filled it, its own data untouched */
    _Atomic uint64_t next_seen; /* rx.seen for naru_fd, which another thread may arm */
    _Atomic bool has_ready;     /* what naru_fd is to tell of lies here already */
};

static inline struct shm_end *of_channel(naru_channel *channel)
{
    return (struct shm_end *)channel;
}

static inline struct shm_end *of_handle(struct naru_handle *h)
{
    return (struct shm_end *)h;
}

static inline const char *name_of(const struct shm_end *e)
{
    return e->channel.handle.name;
}

/* ---- end.c ---- */

/* Has the other end been met? 0; -EAGAIN: not yet; else why it never will be. */
int naru__shm_meet(struct shm_end *);
static inline int naru__shm_met(struct shm_end *e)
{
    /* acquire: pairs with the release in meet_once() */
    return __builtin_expect(atomic_load_explicit(&e->met, memory_order_acquire), 1)
               ? 0
               : naru__shm_meet(e);
}
/* Asks the kernel whether the other end's process is still there. 0, or the end's code with its
 * sentence: -EPIPE it had finished, -ECONNRESET it had not. */
int naru__shm_look_for_end(struct shm_end *);
/* The same from its memory alone: enum NARU_RING_OPEN... */
static inline uint32_t naru__shm_state(const struct shm_end *e)
{
    /* acquire: pairs with the release in naru__shm_say_state; what was sent comes before it */
    return (uint32_t)atomic_load_explicit(&e->theirs->life.holder, memory_order_acquire);
}
static inline uint32_t naru__shm_their_pid(const struct shm_end *e)
{
    /* acquire: pairs with the release in claim(): the namespace belongs to the pid */
    return (uint32_t)(atomic_load_explicit(&e->theirs->life.holder, memory_order_acquire) >> 32);
}
/* This end's new state, if it is still this process's. */
void naru__shm_say_state(struct shm_end *, uint32_t state);
int naru__shm_ended(const struct shm_end *, bool finished);
/* Before the first message either way: from here on this process's death is the end. */
void naru__shm_use(struct shm_end *);

static inline void naru__shm_ring(struct shm_end *e, const struct naru_ring_word *armed,
                                  uint64_t *rung, int bell)
{
    if (e->registered)
        atomic_signal_fence(memory_order_seq_cst); /* the sleeper's barrier makes it a fence */
    else
        atomic_thread_fence(memory_order_seq_cst);
    uint64_t value = atomic_load_explicit(&armed->value, memory_order_relaxed);
    if (__builtin_expect(value & 1 && value != *rung, 0)) {
        *rung = value; /* once a sleep */
        naru__os_eventfd_signal(bell);
    }
}
/* Wakes the other end's receiver, or its sender, if it sleeps. */
static inline void naru__shm_ring_receiver(struct shm_end *e)
{
    naru__shm_ring(e, &e->theirs->armed_in, &e->rung_in, e->their_bell_in);
}
static inline void naru__shm_ring_sender(struct shm_end *e)
{
    naru__shm_ring(e, &e->theirs->armed_out, &e->rung_out, e->their_bell_out);
}

/* One step of a wait, after a look for what is waited for. */
int naru__shm_wait(struct shm_end *, struct naru_wait *);
/* The wait is over. */
void naru__shm_waited(struct shm_end *, struct naru_wait *);
/* Is it time to ask whether the other end is gone? After a sleep; now and then without one. */
bool naru__shm_asks(const struct shm_end *, const struct naru_wait *);

/* Takes the parcel of that message out of what came by the socket; NULL: none came. */
struct naru_parcel *naru__shm_parcel(struct shm_end *, uint64_t sequence);
/* How many descriptors came for it. */
size_t naru__shm_parcel_size(struct shm_end *, uint64_t sequence);
/* Why: -ENOMEM and the like if some came and could not be kept, else -EPROTO. */
int naru__shm_refused(struct shm_end *);
void naru__shm_keep_parcel(struct shm_end *, struct naru_parcel *); /* back again */
/* Sends e->parcel for the message of that number, before that is published. */
int naru__shm_send_parcel(struct shm_end *, uint64_t sequence);

/* ---- sending.c ---- */

int naru__shm_send(naru_channel *, const struct naru_outgoing *, int64_t deadline);
ssize_t naru__shm_send_many(naru_channel *, const struct naru_message *, size_t n,
                            int64_t deadline);
int naru__shm_send_fds(naru_channel *, const struct naru_outgoing *, const int *fds, size_t n_fds,
                       int64_t deadline);
int naru__shm_reserve(naru_channel *, size_t size, int64_t deadline, void **ret_data);
int naru__shm_commit(naru_channel *, void *data, size_t size, uint32_t type);
void naru__shm_abandon(naru_channel *, void *data);
int naru__shm_flush(naru_channel *, int64_t deadline);
int naru__shm_shutdown(naru_channel *);
/* Can something be sent? Looks at the cursor again. */
bool naru__shm_has_room(struct shm_end *);

/* ---- receiving.c ---- */

ssize_t naru__shm_recv(naru_channel *, int64_t select, void *buf, size_t cap,
                       struct naru_info *ret_info, int64_t deadline);
ssize_t naru__shm_recv_fds(naru_channel *, int64_t select, void *buf, size_t cap,
                           struct naru_info *ret_info, int *ret_fds, size_t max_fds,
                           size_t *ret_n_fds, int64_t deadline);
int naru__shm_take(naru_channel *, int64_t select, int64_t deadline,
                   struct naru_message *ret_message);
size_t naru__shm_take_ready(naru_channel *, int64_t select, struct naru_message *, size_t n);
void naru__shm_release(naru_channel *, struct naru_message *, size_t n);
void naru__shm_give_back(naru_channel *, struct naru_message *, size_t n);
void naru__shm_drop_received(struct shm_end *);
/* Has the other end published what was not looked at? Any thread. */
static inline bool naru__shm_arrived(const struct shm_end *e)
{
    uint64_t seen = atomic_load_explicit(&e->next_seen, memory_order_relaxed);
    return atomic_load_explicit(&e->rx.slots[(seen - 1) & e->rx.mask].stamp,
                                memory_order_acquire) == seen;
}

#endif
