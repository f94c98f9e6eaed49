/* SPDX-License-Identifier: MIT */
/* lane.h - one sender's ring of messages in a queue or topic: one writer, many readers.
 *
 * File `lane-I`, written by the sender that has member record I alone, mapped read-only by others:
 *
 *   offset            bytes  what
 *   0                   128  struct naru_lane_header, constant
 *   128                 128  struct naru_lane_hints: where to begin, and what is still whole
 *   4096        128 x slots  struct naru_lane_slot
 *   4096 + ...         area  payloads of more than 96 bytes, each at a multiple of 64
 *
 * Message n (from 1) lies in slot (n - 1) mod slots and is there once the slot's stamp is n: that
 * store is the publication. A larger payload lies in a file of its own, `segment-I-K`.
 *
 * File `claims-I`, of a queue, written by receivers alone:
 *
 *   0                   128  struct naru_lane_claims: how often messages were given back
 *   128           8 x slots  a word a slot: number << 26 | state << 24 | member << 16 | generation,
 *                            of the number its low 38 bits
 *
 * A word tells of the message whose number it has; of a slot's message with another number nobody
 * has said anything: it is ready. A receiver makes it TAKEN with its own name in it by one
 * compare-and-swap, and DONE once it is done with; what a dead one had TAKEN, whoever cleans up
 * after it makes BACK, which is ready too, and marked.
 *
 * The sender uses a slot again when its message is DONE. One that stays TAKEN holds nobody back:
 * its slot is passed over, lap after lap (stamp n with NARU_LANE_SKIP), and its payload left alone.
 *
 * In a topic each subscriber has a file `cursor-I`: 8 bytes a lane at 128, the last number that it
 * is done with. The sender goes on when all but the lossy ones are past what it overwrites.
 *
 * Everything read from a file that another has written is read once and checked before use. */
#ifndef NARU_SHM_LANE_H
#define NARU_SHM_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NARU_LANE_MAGIC UINT64_C(0x31656e616c72616e) /* "narlane1" */
#define NARU_LANE_SKIP (UINT64_C(1) << 63)

enum {
    NARU_LANES_MAX = 256, /* and members: lane I is member I's */
    NARU_LANE_VERSION = 1,
    NARU_LANE_SLOTS_AT = 4096,
    NARU_LANE_WORDS_AT = 128, /* of claims and cursors */
    NARU_LANE_INLINE = 96,
    NARU_LANE_SLOTS_MIN = 16,
    NARU_LANE_SLOTS_MAX = 1 << 24,
    NARU_LANE_HINT_EVERY = 64,
    NARU_LANE_HELD_MAX = 64 /* messages that receivers hold while the sender goes on */
};
#define NARU_LANE_AREA_MAX (UINT64_C(1) << 35)

struct naru_lane_header {
    uint64_t magic;
    uint32_t version, slots; /* slots: a power of two */
    uint64_t area;           /* bytes, a multiple of 4096 */
    uint64_t file;           /* bytes in all */
    uint8_t reserved[96];
};

struct naru_lane_hints {
    _Atomic uint64_t next;   /* the next number is this or greater */
    _Atomic uint64_t freed;  /* up to here all are done with, or held */
    _Atomic uint64_t oldest; /* of a topic: what is lower may be overwritten */
    _Atomic uint64_t segment; /* the last id that a segment of the lane was given */
    _Atomic uint64_t gone;    /* not 0: the file was taken away, empty; another may have its name */
    uint8_t reserved[88];
};

enum { NARU_LANE_OUTSIDE = INT32_MIN }; /* bit of a slot's type: data is a naru_lane_outside */

struct naru_lane_outside {
    uint64_t at; /* place of the payload in the area */
    uint64_t size;
    uint32_t segment; /* not 0: it lies in that one */
    uint8_t reserved[76];
};

struct naru_lane_slot {
    _Atomic uint64_t stamp;
    uint64_t sequence; /* of the sender's messages, from 1 */
    uint32_t type;
    uint32_t size;   /* of data */
    uint32_t sender; /* a number of the sender's while it has the object open */
    uint32_t signature;
    uint8_t data[NARU_LANE_INLINE];
};

struct naru_lane_file {
    struct naru_lane_header header;
    struct naru_lane_hints hints;
    uint8_t reserved[NARU_LANE_SLOTS_AT - 256];
    struct naru_lane_slot slots[]; /* the area lies behind them */
};

struct naru_lane_claims {
    _Atomic uint64_t returned; /* grows when a message of the lane has become BACK */
    uint8_t reserved[120];
    _Atomic uint64_t word[];
};

struct naru_lane_cursors {
    uint8_t reserved[NARU_LANE_WORDS_AT];
    _Atomic uint64_t done[NARU_LANES_MAX];
};

/* The roles of members. */
enum { LANES_RECV = 1, LANES_SEND = 2, LANES_LOSSY = 4 };

/* naru_object_meta.option */
enum {
    LANES_SLOTS,
    LANES_AREA,
    LANES_CAPACITY, /* as the creator asked, and so below */
    LANES_MESSAGES,
    LANES_MAX_MESSAGE,
    LANES_RECEIVERS,
    LANES_HISTORY
};

/* naru_object_member.kind: what a member tells of itself, for others to look at. All lie in the
 * second line of the record, which nobody polls. */
enum {
    LANES_COUNT_SENT = 2,
    LANES_COUNT_HIGH_WATER, /* messages of its that have waited at once, at least: sampled */
    LANES_COUNT_RECEIVED,
    LANES_COUNT_REDELIVERED,
    LANES_COUNT_MISSED
};

/* What lies in naru_object_state.kind: who sleeps. A bit a member, set by it before it sleeps, and
 * taken away by whoever wakes it. */
struct naru_lanes_state {
    _Atomic uint64_t lanes[4]; /* those that exist */
    uint8_t reserved1[96];
    _Atomic uint64_t armed_any[4];    /* receivers that want any message */
    _Atomic uint64_t armed_select[4]; /* receivers that want some */
    uint8_t reserved2[64];
    _Atomic uint64_t armed_out[4]; /* senders without room */
    uint8_t reserved3[96];
    _Atomic uint64_t by_socket[4]; /* wake this one's `bell-I` as well */
    _Atomic uint64_t checked;      /* when somebody last looked for dead ones, ns */
    uint8_t reserved4[88];
    _Atomic uint64_t next[NARU_LANES_MAX]; /* of a lane that is gone: where its numbers go on */
};

_Static_assert(sizeof(struct naru_lane_header) == 128, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_lane_hints) == 128, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_lane_outside) == NARU_LANE_INLINE, "it lies in a slot's data");
_Static_assert(sizeof(struct naru_lane_slot) == 128, "two cache lines");
_Static_assert(sizeof(struct naru_lanes_state) == 2560, "four pairs of lines, and the numbers");

/* Copies what another may be writing: it counts only if a later look says that it was still whole.
 * That these are no mistakes the race detector is told here, and nowhere else. */
#ifdef __SANITIZE_THREAD__
void naru__lane_peek(void *to, const void *from, size_t n);
#else
static inline void naru__lane_peek(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
}
#endif
static inline uint32_t naru__lane_peek_word(const uint32_t *from)
{
    uint32_t word;
    naru__lane_peek(&word, from, sizeof word);
    return word;
}

/* ---- words of claims ---- */

enum { NARU_CLAIM_DONE, NARU_CLAIM_TAKEN, NARU_CLAIM_BACK };

static inline uint64_t naru__claim(uint64_t number, unsigned state, uint32_t member,
                                   uint64_t generation)
{
    return number << 26 | (uint64_t)state << 24 | (uint64_t)(member & 0xff) << 16 |
           (generation & 0xffff);
}
/* Does the word tell of that message? Numbers go round after 2^38, and a word does not last so
 * long: it changes each lap, or its slot is skipped. */
static inline bool naru__claim_is_of(uint64_t word, uint64_t number)
{
    return (word ^ number << 26) >> 26 == 0;
}
/* Does it tell of an earlier one of its slot's? */
static inline bool naru__claim_is_before(uint64_t word, uint64_t number)
{
    return (int64_t)(((word >> 26) - number) << 26) < 0;
}
/* The number that it has, which is less than 2^37 away from `near`. */
static inline uint64_t naru__claim_number(uint64_t word, uint64_t near)
{
    return near + (uint64_t)((int64_t)(((word >> 26) - near) << 26) >> 26);
}
static inline unsigned naru__claim_state(uint64_t word)
{
    return (unsigned)(word >> 24) & 3;
}
static inline uint32_t naru__claim_member(uint64_t word)
{
    return (uint32_t)(word >> 16) & 0xff;
}

/* ---- making and checking a file ---- */

/* The header of a lane that holds about `capacity` bytes of payload, or so many messages. */
struct naru_lane_header naru__lane_plan(uint64_t capacity, uint64_t messages);
/* NULL, or what is wrong. */
const char *naru__lane_check(const struct naru_lane_header *, uint64_t file_size);
static inline uint64_t naru__lane_claims_size(uint64_t slots)
{
    return NARU_LANE_WORDS_AT + slots * sizeof(uint64_t);
}

/* ---- the sending half ---- */

struct naru_lane_block {
    uint64_t at, end; /* in the area: place, and how much had been used behind it, in all */
    uint32_t size;    /* there, rounded; 0: none */
    uint32_t segment; /* 0: none */
    bool skip;        /* no message: the slot was held */
};

struct naru_lane_held {
    uint64_t number;
    struct naru_lane_block block;
};

struct naru_lane_sender {
    struct naru_lane_file *file;
    struct naru_lane_slot *slots;
    uint8_t *area;
    uint64_t mask, area_size;
    const struct naru_lane_claims *claims; /* NULL: a topic's */
    struct naru_lane_block *blocks;        /* one a slot */
    uint64_t next, freed;
    uint64_t limit; /* of a topic: what it may free: all that hold it back are done with it */
    uint64_t keep;  /* of a topic: messages that stay for late subscribers while there is room */
    uint64_t head, tail;
    uint64_t sequence;
    uint32_t sender;
    unsigned n_held;
    struct naru_lane_held held[NARU_LANE_HELD_MAX];
    void (*free_segment)(void *arg, uint32_t segment);
    void *arg;
};

struct naru_lane_outgoing {
    uint32_t type, signature;
    uint64_t size;
    uint64_t at;      /* in the area */
    uint32_t segment; /* or there */
};

/* A file that is new, or one that a former sender has left: goes on after its last message. blocks:
 * a zeroed one a slot. in_use: told of each segment whose message is still there. */
void naru__lane_sender(struct naru_lane_sender *, struct naru_lane_file *,
                       const struct naru_lane_header *checked,
                       const struct naru_lane_claims *claims, struct naru_lane_block *blocks,
                       void (*in_use)(void *arg, uint32_t segment), void *arg);
/* Makes a new file, and its claims, go on with that number. */
void naru__lane_begin(struct naru_lane_file *, const struct naru_lane_header *,
                      struct naru_lane_claims *, uint64_t next);
/* A slot for the next message and n bytes of the area (0: none) behind ret_at: true. Otherwise
 * there is no room. Nothing is published. */
bool naru__lane_room(struct naru_lane_sender *, uint64_t n, uint64_t *ret_at);
static inline struct naru_lane_slot *naru__lane_slot(const struct naru_lane_sender *s)
{
    return &s->slots[(s->next - 1) & s->mask];
}
/* After naru__lane_room. Up to NARU_LANE_INLINE bytes are in the slot's data already. */
void naru__lane_publish(struct naru_lane_sender *, const struct naru_lane_outgoing *);
/* The same for a message in its slot, where that is free without looking any further. */
static inline bool naru__lane_has_slot(const struct naru_lane_sender *s)
{
    return s->next <= s->freed + s->mask + 1 && s->n_held == 0;
}
static inline void naru__lane_publish_small(struct naru_lane_sender *s, uint32_t type,
                                            uint32_t signature, uint32_t size)
{
    struct naru_lane_slot *slot = naru__lane_slot(s);
    s->blocks[(s->next - 1) & s->mask] = (struct naru_lane_block){.end = s->head};
    slot->sequence = ++s->sequence;
    slot->type = type;
    slot->size = size;
    slot->sender = s->sender;
    slot->signature = signature;
    /* release: pairs with the acquire in look_at() and naru__lane_look; all of the message comes
     * before */
    atomic_store_explicit(&slot->stamp, s->next, memory_order_release);
    s->next++;
    if (s->next % NARU_LANE_HINT_EVERY == 0) /* relaxed: a hint, for who looks for the end */
        atomic_store_explicit(&s->file->hints.next, s->next, memory_order_relaxed);
}
/* Frees one more message that nobody needs, of a topic the oldest: false, there is none. */
bool naru__lane_advance(struct naru_lane_sender *);
/* Of a queue: has somebody claimed what stood in the way? A hint, cheap. */
bool naru__lane_moved(const struct naru_lane_sender *);
/* Of a queue: messages that nobody is done with yet, held ones included. */
uint64_t naru__lane_left(struct naru_lane_sender *);
/* Of a queue: about how many nobody has claimed, if they are claimed in their order. */
uint64_t naru__lane_waiting(const struct naru_lane_sender *);

/* ---- the receiving half ---- */

struct naru_lane_item {
    uint64_t number, sequence;
    const uint8_t *data; /* NULL: it lies in the segment */
    uint64_t size;
    uint32_t type, signature, sender, segment;
    bool back; /* it was given back by another */
};

struct naru_lane_receiver {
    const struct naru_lane_file *file;
    const struct naru_lane_slot *slots;
    const uint8_t *area;
    uint64_t mask, area_size;
    struct naru_lane_claims *claims; /* NULL: a topic's */
    uint64_t low;                    /* the lowest number that may be ready */
    uint64_t returned;               /* claims->returned when no message was BACK */
    uint64_t passed;                 /* with `select`: up to here none is wanted */
    uint64_t refused;                /* claims->returned when with `select` none of those was */
    int64_t select;
};

void naru__lane_receiver(struct naru_lane_receiver *, const struct naru_lane_file *,
                         const struct naru_lane_header *checked, struct naru_lane_claims *claims);

/* Has a message come, or come back, that was not looked at yet? A hint, cheap. plain: any is
 * wanted, else those that the last claim's `select` wants. */
static inline bool naru__lane_arrived(const struct naru_lane_receiver *r, bool plain)
{
    uint64_t n = plain || r->passed < r->low ? r->low : r->passed + 1;
    /* acquire: pairs with the release in naru__lane_publish */
    uint64_t stamp = atomic_load_explicit(&r->slots[(n - 1) & r->mask].stamp, memory_order_acquire);
    return (stamp & ~NARU_LANE_SKIP) >= n;
}
static inline bool naru__lane_given_back(const struct naru_lane_receiver *r, bool plain)
{
    /* acquire: pairs with the release in give_back() */
    uint64_t n = atomic_load_explicit(&r->claims->returned, memory_order_acquire);
    return n != r->returned && (plain || n != r->refused);
}

/* Which messages are wanted: `wants(select, type)`, NULL for any; of how many bytes at most. */
struct naru_lane_wish {
    int64_t select;
    bool (*wants)(int64_t select, uint32_t type);
    uint64_t most;
};

/* Who claims. alone: no other receiver does. */
struct naru_lane_claimer {
    uint32_t member;
    uint64_t generation;
    bool alone;
};

/* Claims the lane's next message that is wanted. 1: it is in ret_item; 0: none is ready; 2: it is
 * larger, and was not claimed; -1: what the sender published cannot be true; that message is done
 * with now. */
int naru__lane_claim(struct naru_lane_receiver *, const struct naru_lane_wish *,
                     const struct naru_lane_claimer *, struct naru_lane_item *ret_item);
/* The lane's next message, if it is ready, lies in its slot and has at most `most` bytes: claimed,
 * and in ret_number. NULL: look with naru__lane_claim. */
static inline const struct naru_lane_slot *naru__lane_claim_small(
    struct naru_lane_receiver *r, const struct naru_lane_claimer *who, uint64_t most,
    uint64_t *ret_number)
{
    uint64_t n = r->low;
    const struct naru_lane_slot *slot = &r->slots[(n - 1) & r->mask];
    _Atomic uint64_t *word = &r->claims->word[(n - 1) & r->mask];
    /* acquire: pairs with the release of the publication */
    if (atomic_load_explicit(&slot->stamp, memory_order_acquire) != n ||
        naru__lane_given_back(r, true))
        return NULL;
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    uint32_t size = naru__lane_peek_word(&slot->size);
    if (!naru__claim_is_before(seen, n) || size > most || size > NARU_LANE_INLINE ||
        (int32_t)naru__lane_peek_word(&slot->type) <= 0)
        return NULL;
    uint64_t mine = naru__claim(n, NARU_CLAIM_TAKEN, who->member, who->generation);
    /* orders: as in take() of lane.c */
    if (who->alone)
        atomic_store_explicit(word, mine, memory_order_relaxed);
    else if (!atomic_compare_exchange_strong_explicit(word, &seen, mine, memory_order_acquire,
                                                      memory_order_relaxed))
        return NULL;
    r->low = n + 1;
    *ret_number = n;
    return slot;
}
/* The lowest type of a ready message that is wanted; 0: none. */
uint32_t naru__lane_lowest(struct naru_lane_receiver *, const struct naru_lane_wish *);
/* What this member has claimed: done with it, or given back. */
void naru__lane_done(const struct naru_lane_receiver *, uint64_t number);
void naru__lane_give_back(const struct naru_lane_receiver *, uint64_t number);
/* Gives back whatever that member had claimed; how many. */
uint64_t naru__lane_clean(struct naru_lane_claims *, uint64_t slots, uint32_t member);

/* Of a topic's lane: looks at message `low`. 1: in ret_item; 0: it is not there yet; -1: it is not
 * there any more, or cannot be true; `low` is to go on to *ret_next. */
int naru__lane_look(struct naru_lane_receiver *, struct naru_lane_item *ret_item,
                    uint64_t *ret_next);
/* Is a message of a topic still as it was when it was looked at? */
bool naru__lane_whole(const struct naru_lane_receiver *, uint64_t number);
/* Of a topic: the number that the sender will use next. */
uint64_t naru__lane_next(const struct naru_lane_receiver *);
uint64_t naru__lane_oldest(const struct naru_lane_receiver *);

#endif
