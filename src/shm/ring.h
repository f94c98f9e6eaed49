/* SPDX-License-Identifier: MIT */
/* ring.h - one direction of a connection in shared memory: one sender, one receiver.
 *
 * Each end has one file. It alone writes there; the other end maps it read-only. The file holds the
 * ring that this end sends through, and the words that this end says as the receiver of the other
 * file's ring. So no word has two writers, and the death of one end cannot leave the other's
 * memory half-written.
 *
 *   offset            bytes  what
 *   0                   128  struct naru_ring_header, constant once the file is handed over
 *   128                 128  struct naru_ring_life: who holds this end, and is it finished
 *   256                 128  struct naru_ring_word: cursor, the last number that was consumed
 *   384                 128  struct naru_ring_word: armed in, odd while the receiver sleeps
 *   512                 128  struct naru_ring_word: armed out, odd while the sender sleeps
 *   4096        128 x slots  struct naru_ring_slot
 *   4096 + ...         area  payloads of more than 112 bytes, each at a multiple of 64
 *
 * Message n (from 1) lies in slot (n - 1) mod slots and is there once the slot's stamp is n. The
 * stamp is stored last, and that one store is the publication: before it nothing happened, after it
 * everything did. A stamp is a sequence number that is never used again, so what an earlier lap
 * left in a slot cannot look new, and no payload byte ever lies where a stamp can be. The receiver
 * polls the very cache line that carries a message of up to 48 bytes, so one line travels; up to
 * 112 bytes a second one, which lies beside it, and comes with it where lines are fetched in pairs.
 *
 * A message of more than the area's quarter goes in pieces, one a slot, FIRST ... LAST; it exists
 * when LAST is stamped, and ABORT instead of it takes it back.
 *
 * Everything read from the other end's file may be anything at any time: it is read once, into this
 * end's own memory, and checked before use.
 *
 * The stamp in the element, instead of an index of its own: FastForward (Giacomoni, Moseley,
 * Vachharajani, PPoPP 2008). Each side's cached copy of the other's index: MCRingBuffer (Lee, Bu,
 * Chandranmenon, IPDPS 2010). */
#ifndef NARU_SHM_RING_H
#define NARU_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NARU_RING_MAGIC UINT64_C(0x31636f7572616e1a) /* "\x1anaruoc1" */

enum {
    NARU_RING_VERSION = 1,
    NARU_RING_LINE = 128, /* what two cores write lies so far apart: a pair of lines is fetched */
    NARU_RING_SLOTS_AT = 4096,
    NARU_RING_INLINE = 112,
    NARU_RING_SLOTS_MIN = 16,
    NARU_RING_SLOTS_MAX = 1 << 20,
    NARU_RING_LABEL = 200, /* of "naru:NAME", which a file is called in /proc: cut there */
    /* The usual area, and how much of it has its pages from the beginning. The rest gets them with
     * the first message of NARU_RING_LARGE: what goes through less memory than a core's own cache
     * holds is written where the other core's copies lie, which have to be fetched from there. */
    NARU_RING_AREA = 2 << 20,
    NARU_RING_AREA_FIRST = 256 << 10,
    NARU_RING_LARGE = 4096
};
#define NARU_RING_AREA_MAX (UINT64_C(1) << 40)

struct naru_ring_header {
    uint64_t magic;
    uint32_t version, slots; /* slots: a power of two */
    uint64_t area;           /* bytes, a multiple of 4096 */
    uint64_t file;           /* bytes in all */
    uint64_t max_message;    /* the largest that this end takes */
    uint8_t reserved[88];
};

/* MADE, LEFT: the maker of a pair has not used this end yet, or has closed it: a forked child may
 * adopt it, so that it is the end only once the socket has hung up, whatever becomes of the maker.
 */
enum {
    NARU_RING_MADE,
    NARU_RING_OPEN,
    NARU_RING_LEFT,
    NARU_RING_FINISHED,
    NARU_RING_CLOSED
};

/* One word, so that nobody can end what another has just adopted. */
struct naru_ring_life {
    _Atomic uint64_t holder;        /* pid << 32, and a state of those above */
    _Atomic uint64_t pid_namespace; /* in which the pid means something */
    _Atomic uint64_t lock;          /* byte of this file that the holder keeps locked; 0: none */
    _Atomic uint64_t other;         /* inode of the other end's file, 0: not met yet */
    _Atomic uint32_t registered;    /* for membarrier: else this end fences for itself */
    uint8_t reserved[92];
};

struct naru_ring_word {
    _Atomic uint64_t value;
    uint8_t reserved[120];
};

enum {
    NARU_RING_WHOLE, /* the kinds */
    NARU_RING_FIRST,
    NARU_RING_PIECE,
    NARU_RING_LAST,
    NARU_RING_ABORT
};

enum { NARU_RING_OUTSIDE = INT32_MIN }; /* bit of a slot's type: data is a naru_ring_outside */

struct naru_ring_outside {
    uint64_t at;    /* place of the payload in the area */
    uint64_t total; /* FIRST: bytes of the whole message */
    uint32_t kind;
    uint32_t signature; /* of a typed struct, 0: none */
    uint8_t reserved[88];
};

struct naru_ring_slot {
    _Atomic uint64_t stamp;
    uint32_t type;
    uint32_t size; /* of the payload here */
    uint8_t data[NARU_RING_INLINE];
};

_Static_assert(sizeof(struct naru_ring_header) == 128, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_ring_life) == 128, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_ring_word) == 128, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_ring_outside) == NARU_RING_INLINE, "it lies in a slot's data");
_Static_assert(sizeof(struct naru_ring_slot) == 128, "two cache lines");

/* The pages of a file, as its owner sees them and, const, the other end. */
struct naru_ring_file {
    struct naru_ring_header header;
    struct naru_ring_life life;
    struct naru_ring_word cursor, armed_in, armed_out;
    uint8_t reserved[NARU_RING_SLOTS_AT - 640];
    struct naru_ring_slot slots[]; /* the area lies behind them */
};

/* ---- making and checking a file ---- */

/* The header of a file that holds about `capacity` bytes of payload. */
struct naru_ring_header naru__ring_plan(uint64_t capacity, uint64_t max_message);
/* Of the other end's: is it whole, and does it agree with the file's size? NULL, or what is wrong.
 */
const char *naru__ring_check(const struct naru_ring_header *, uint64_t file_size);

/* Up to a slot's data, without a call. */
static inline void naru__ring_copy(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if (n >= 16) { /* the last sixteen may overlap those before */
        size_t at = 0;
        for (; at + 16 <= n; at += 16)
            __builtin_memcpy(t + at, f + at, 16);
        __builtin_memcpy(t + n - 16, f + n - 16, 16);
    } else if (n >= 8) {
        uint64_t first, last;
        __builtin_memcpy(&first, f, 8);
        __builtin_memcpy(&last, f + n - 8, 8);
        __builtin_memcpy(t, &first, 8);
        __builtin_memcpy(t + n - 8, &last, 8);
    } else {
        for (size_t i = 0; i < n; i++)
            t[i] = f[i];
    }
}

/* ---- the sending half ---- */

struct naru_ring_sender {
    struct naru_ring_slot *slots;
    uint8_t *area;
    uint64_t mask, area_size; /* as much of the area as is used: see naru__ring_may_widen */
    uint64_t *ends;           /* of each slot's message: where the area's used part ended then */
    uint64_t next;            /* number of the next message */
    uint64_t consumed;        /* the other end's cursor as last seen */
    uint64_t head, tail;      /* of the area's used part, in bytes since the beginning */
    uint64_t head_at;         /* head's place in the area: a division less for each message */
    const _Atomic uint64_t *cursor;
};

struct naru_ring_outgoing {
    uint32_t type, kind, signature;
    uint64_t total; /* FIRST */
    uint32_t size;
    uint64_t at; /* of the payload in the area; all but inline ones */
};

/* ends: as many words as there are slots. */
void naru__ring_sender(struct naru_ring_sender *, struct naru_ring_file *, uint64_t *ends,
                       const _Atomic uint64_t *cursor);
/* Takes in the other end's cursor. false: it cannot be true. */
bool naru__ring_refresh(struct naru_ring_sender *);
/* May more of the area be used from now on? Not while the used part goes around the end. */
bool naru__ring_may_widen(const struct naru_ring_sender *);
/* Slots that are free without looking again; one is kept for ABORT. */
static inline bool naru__ring_has_slot(const struct naru_ring_sender *s)
{
    return s->next - s->consumed < s->mask;
}
/* Room for n bytes in one piece, NULL if there is none. Nothing changes until the publication. */
uint8_t *naru__ring_room(const struct naru_ring_sender *, uint64_t n, uint64_t *ret_at);
void naru__ring_publish(struct naru_ring_sender *, const struct naru_ring_outgoing *);
/* A small message, its bytes in the slot. */
static inline uint8_t *naru__ring_inline(struct naru_ring_sender *s)
{
    return s->slots[(s->next - 1) & s->mask].data;
}
static inline void naru__ring_publish_inline(struct naru_ring_sender *s, uint32_t type,
                                             uint32_t size)
{
    struct naru_ring_slot *slot = &s->slots[(s->next - 1) & s->mask];
    slot->type = type;
    slot->size = size;
    s->ends[(s->next - 1) & s->mask] = s->head;
    /* release: pairs with the acquire in naru__ring_look; what the slot holds comes before it */
    atomic_store_explicit(&slot->stamp, s->next, memory_order_release);
    s->next++;
}

/* ---- the receiving half ---- */

enum { NARU_RING_READY, NARU_RING_TAKEN, NARU_RING_DONE };

/* A message's slot, read once and checked. */
struct naru_ring_item {
    const uint8_t *data;
    uint64_t total;
    uint64_t sequence; /* the receiver's: of the message, from 1 */
    uint32_t size, type, signature;
    uint8_t kind, state, flags;
};

struct naru_ring_receiver {
    const struct naru_ring_slot *slots;
    const uint8_t *area;
    uint64_t mask, area_size;
    struct naru_ring_item *items; /* one a slot: of the messages from first to seen */
    uint64_t first;               /* the lowest that is not done with */
    uint64_t seen;                /* the next that was not looked at */
    _Atomic uint64_t *cursor;
    struct { /* of the next message: see naru__ring_expect */
        const uint8_t *first;
        uint32_t lines, stride;
    } expected;
};

void naru__ring_receiver(struct naru_ring_receiver *, const struct naru_ring_file *other,
                         const struct naru_ring_header *checked, struct naru_ring_item *items,
                         _Atomic uint64_t *cursor);
/* Is there one that was not looked at? acquire: pairs with the release of the publication. */
static inline bool naru__ring_ready(const struct naru_ring_receiver *r)
{
    return atomic_load_explicit(&r->slots[(r->seen - 1) & r->mask].stamp, memory_order_acquire) ==
           r->seen;
}
/* Looks at the next. 1: it is item `seen - 1` now; 0: there is none; -1: it cannot be true. */
int naru__ring_look(struct naru_ring_receiver *);
/* Of the usual case, the next being a whole message without a signature: its bytes, and without an
 * item; naru__ring_ready said that it is there. NULL: it is another case. */
static inline const uint8_t *naru__ring_whole(const struct naru_ring_receiver *r,
                                              uint32_t *ret_type, uint32_t *ret_size)
{
    const struct naru_ring_slot *slot = &r->slots[(r->seen - 1) & r->mask];
    uint32_t type = *(const volatile uint32_t *)&slot->type; /* once: it may change under us */
    uint32_t size = *(const volatile uint32_t *)&slot->size;
    const uint8_t *data = slot->data;
    if (type & (uint32_t)NARU_RING_OUTSIDE) {
        const struct naru_ring_outside *o = (const void *)slot->data;
        uint64_t at = *(const volatile uint64_t *)&o->at;
        uint32_t kind = *(const volatile uint32_t *)&o->kind;
        if (kind != NARU_RING_WHOLE || *(const volatile uint32_t *)&o->signature != 0 ||
            at > r->area_size || size > r->area_size - at)
            return NULL;
        data = r->area + at;
        type &= ~(uint32_t)NARU_RING_OUTSIDE;
    } else if (size > NARU_RING_INLINE) {
        return NULL;
    }
    *ret_type = type;
    *ret_size = size;
    return type == 0 ? NULL : data;
}
/* Whoever waits for the stamp of `seen` fetches what is likely to be read next beside it: its lines
 * travel while the stamp's does, not after it. What is likely is a message as long as the last one,
 * which lay at `data`: two lines of a small one, the ends of one that is taken in place, all of one
 * that is copied, or its first lines, behind which the processor fetches by itself. One line a
 * look, so that a sender that is writing them does not lose them all the time. */
static inline void naru__ring_expect(struct naru_ring_receiver *r, const uint8_t *data,
                                     uint32_t size, bool copied)
{
    enum { LINE = 64, FIRST = LINE - 16, ALL_OF = 1024, LINES = 4 };
    uint64_t at = (uint64_t)(data - r->area) + (((uint64_t)size + LINE - 1) & ~UINT64_C(63));
    r->expected.lines = 0;
    if (size <= FIRST)
        return;
    r->expected.stride = LINE;
    if (size <= NARU_RING_INLINE) {
        r->expected.first = r->slots[(r->seen - 1) & r->mask].data + FIRST;
        r->expected.lines = 1;
        return;
    }
    r->expected.first = r->area + (at <= r->area_size - size ? at : 0);
    r->expected.lines = !copied ? 2 : size > ALL_OF ? LINES : (size + LINE - 1) / LINE;
    r->expected.stride = copied ? LINE : size - 1;
}
/* Inlined by force: a function that does nothing else is taken for one without effect. */
__attribute__((always_inline)) static inline void naru__ring_fetch(
    const struct naru_ring_receiver *r, uint32_t *look)
{
    if (r->expected.lines == 0)
        return;
    *look = *look + 1 < r->expected.lines ? *look + 1 : 0;
    __builtin_prefetch(r->expected.first + (size_t)*look * r->expected.stride);
}
static inline struct naru_ring_item *naru__ring_item(const struct naru_ring_receiver *r,
                                                     uint64_t number)
{
    return &r->items[(number - 1) & r->mask];
}
/* Done with these: when all before them are too, the sender may use the room again. true: it may
 * use some more. */
static inline void naru__ring_done(struct naru_ring_item *item)
{
    item->state = NARU_RING_DONE;
}
bool naru__ring_advance(struct naru_ring_receiver *);

#endif
