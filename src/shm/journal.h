/* SPDX-License-Identifier: MIT */
/* journal.h - a durable queue or topic: segment files that are only ever appended to, cursors of
 * receivers, and the memory by which those who take part agree.
 *
 * It is an object (shm/object.h): a directory with `meta`, and beside it
 *
 *   segment-NUMBER   ten digits, from 1 on: a header, then records, each at a multiple of 8 bytes
 *   spare-N          a segment that was removed, whose file another one may get
 *   cursor-NAME      where a group of receivers is, and what each of them holds
 *
 * Everything is little-endian, and the same for 32 and 64 bits. man/naru-journal.7 has it all.
 *
 * A segment's bytes are zeroes when it is made. A record is whole if its check sum is that of its
 * fields and payload, seeded with its segment's own seed: so neither zeroes nor a payload that
 * looks like a record are taken for one. Sequence numbers are one up from record to record. A
 * record of type 0 ends a segment: the next one begins with that sequence.
 *
 * A file may serve one segment after the other: its pages and mappings are there already, which is
 * most of what a segment costs. Whoever reads in one holds a lock of the kernel's on it, shared;
 * whoever reuses it holds the same alone, writes the new header, zeroes behind it, and names it
 * last. So a header that is whole and says another number than the name: that segment is gone.
 *
 * Senders take turns by an owned lock. Each writes behind `tail`, then raises `committed`, and only
 * then `tail`: so a sender that dies in between leaves either nothing that counts or a whole
 * record, and whoever takes the lock over sees which. Readers look at `committed` alone, without a
 * lock. */
#ifndef NARU_SHM_JOURNAL_H
#define NARU_SHM_JOURNAL_H

#include "shm/object.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NARU_JOURNAL_MAGIC UINT64_C(0x316c616e72756f6a) /* "journal1" */
#define NARU_CURSOR_MAGIC UINT64_C(0x31726f7372756371)  /* "qcursor1" */

enum {
    NARU_JOURNAL_VERSION = 1,
    NARU_JOURNAL_MEMBERS = 256,
    NARU_SEGMENT_RECORDS_AT = 4096,
    NARU_CURSOR_WINDOW = 1024, /* a power of two */
    NARU_CURSOR_ENTRIES_AT = 4096
};

/* Bytes of `meta` whose locks say that a member takes part and knows the memory to be right: one
 * each. That of its record would not do, for who cleans up after a dead one has it, too. */
enum { NARU_JOURNAL_KNOWS_LOCKS = 1 << 21 };

/* The names of its files, for printf and strncmp. */
#define NARU_SEGMENT_PREFIX "segment-"
#define NARU_SEGMENT_NAME NARU_SEGMENT_PREFIX "%010" PRIu64
#define NARU_SPARE_NAME "spare-%u"
#define NARU_CURSOR_PREFIX "cursor-"

/* The byte of a segment's file that is locked, see above. */
enum { NARU_SEGMENT_READ = 0 };

/* The roles of members. */
enum { MAP_RECV = 1, MAP_SEND = 2, MAP_OPENING = 4 };

/* naru_object_member.kind: what a member tells those who look. */
enum {
    MAP_TOLD_BASE, /* where a subscriber without a cursor's name is; 0: it has one */
    MAP_TOLD_SYNC, /* .sync of a sender */
    MAP_TOLD_SENT  /* the sequence of its last message */
};

/* naru_object_meta.option of journals */
enum {
    NARU_JOURNAL_SEGMENT, /* bytes of a segment; larger for a message that needs it */
    NARU_JOURNAL_MAX_MESSAGE,
    NARU_JOURNAL_KEEP_BYTES, /* 0: all */
    NARU_JOURNAL_KEEP_TIME,  /* ns; 0: for ever */
    NARU_JOURNAL_KEEP_READ,  /* 1: what every cursor has passed may go */
    NARU_JOURNAL_SEED        /* of all its segments' seeds */
};

struct naru_segment_header {
    uint64_t magic;
    uint32_t version, reserved;
    uint64_t number;
    uint64_t first;   /* sequence of its first record */
    uint64_t bytes;   /* of the file */
    uint64_t created; /* ns since 1970 */
    uint32_t seed;
    uint32_t crc; /* of what stands before it */
};

struct naru_record {
    uint32_t crc; /* of the rest of this header and the payload, begun with the seed */
    uint32_t size;
    uint64_t sequence;
    uint64_t time; /* ns since 1970 */
    uint32_t type; /* 0: the segment ends here */
    uint32_t signature;
    uint32_t sender; /* a number of the sender's while it has the journal open */
    uint32_t reserved;
    uint8_t data[];
};

/* An owned lock: a member's number + 1, 0: free. A dead owner's is taken over. */
typedef _Atomic uint32_t naru_journal_lock;

/* Sets of members that sleep. */
enum naru_journal_sleep {
    NARU_SLEEP_APPEND, /* for the lock of senders */
    NARU_SLEEP_DURABLE,
    NARU_SLEEP_MESSAGE,
    NARU_SLEEP_CURSOR, /* for the lock of receivers */
    NARU_SLEEP_SETS
};

/* In naru_object_state.kind. */
struct naru_journal_state {
    _Atomic uint64_t committed; /* sequence of the last record that counts */
    uint8_t line1[120];
    naru_journal_lock append;
    naru_journal_lock flush;
    _Atomic uint64_t tail;   /* where the next record comes, a place */
    _Atomic uint64_t intent; /* up to here the bytes behind tail may be written; 0: none are */
    uint8_t line2[104];
    _Atomic uint64_t durable;    /* sequence up to which the medium has all */
    _Atomic uint64_t durable_at; /* number of the segment from which on it has not */
    _Atomic uint64_t failed;     /* flushes that failed << 16 | the last one's errno */
    _Atomic uint64_t oldest;     /* number of the first segment that is kept */
    _Atomic uint64_t world;      /* of the boot and mount in which this memory was right; 0: none */
    _Atomic uint64_t checked;    /* when somebody looked for the dead, ns */
    _Atomic uint64_t cut, cut_at; /* of the last recovery: bytes that were cut off, and where */
    _Atomic uint64_t recoveries;
    _Atomic uint64_t flushes;      /* that reached the medium */
    _Atomic uint64_t flush_time;   /* of the last one, ns */
    _Atomic uint64_t flushed;      /* messages that the last one brought */
    _Atomic uint64_t ceiling;      /* of a journal that nobody syncs: no sequence was above it */
    _Atomic uint64_t ceiling_kept; /* the same, as the medium has it by now */
    uint8_t line3[16];
    _Atomic uint64_t asleep[NARU_SLEEP_SETS][NARU_JOURNAL_MEMBERS / 64];
    _Atomic uint64_t by_socket[NARU_JOURNAL_MEMBERS / 64];
};

/* How far above the last sequence the ceiling is at first: more than lie between two rolls, many
 * times over. It is raised when half of that is left. */
#define NARU_JOURNAL_CEILING (UINT64_C(1) << 32)

/* A place is a segment's number and an offset in it. */
enum { NARU_PLACE_BITS = 40 };
static inline uint64_t naru__place(uint64_t segment, uint64_t offset)
{
    return segment << NARU_PLACE_BITS | offset;
}
static inline uint64_t naru__place_segment(uint64_t place)
{
    return place >> NARU_PLACE_BITS;
}
static inline uint64_t naru__place_offset(uint64_t place)
{
    return place & ((UINT64_C(1) << NARU_PLACE_BITS) - 1);
}

/* A cursor: all before `base` are acknowledged; of those from there to `next` the entries tell. */
struct naru_cursor_entry {
    _Atomic uint64_t word; /* sequence << 16 | member << 4 | enum naru_claim */
    _Atomic uint64_t place;
};

enum naru_claim {
    NARU_CLAIM_FREE,     /* was passed over by who selects others */
    NARU_CLAIM_TAKEN,    /* by that member */
    NARU_CLAIM_RETURNED, /* given back, or its member died */
    NARU_CLAIM_DONE
};

struct naru_cursor_file {
    uint64_t magic;
    uint32_t version, window;
    naru_journal_lock lock;
    uint32_t topic;        /* 1: one subscriber at a time */
    _Atomic uint32_t user; /* of a topic: its member + 1 */
    uint32_t spare;
    uint64_t created;
    _Atomic uint64_t base, next;
    _Atomic uint64_t place;    /* of `next`, unless the entry of next - 1 tells; 0: look for it */
    _Atomic uint64_t again;    /* what is below was handed out before a restart */
    _Atomic uint64_t returned; /* grows when an entry becomes RETURNED */
    _Atomic uint64_t redelivered, missed;
    _Atomic uint64_t open; /* at least as many entries are FREE or RETURNED */
    uint8_t reserved[NARU_CURSOR_ENTRIES_AT - 104];
    struct naru_cursor_entry entry[NARU_CURSOR_WINDOW];
};

_Static_assert(sizeof(struct naru_segment_header) == 56, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_record) == 40, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_journal_state) <= 496 * 8, "fits into naru_object_state.kind");
_Static_assert(offsetof(struct naru_cursor_file, entry) == NARU_CURSOR_ENTRIES_AT, "a page");

static inline uint64_t naru__record_room(uint64_t size)
{
    return (sizeof(struct naru_record) + size + 7) & ~UINT64_C(7);
}

/* The check sum so far: of the header, to which the payload is added. */
uint32_t naru__record_sum(const struct naru_record *header, uint32_t seed);
/* Writes the check sum of a record that lies there already. */
void naru__record_seal(struct naru_record *, uint32_t seed);
/* Is what lies at `at` in a segment of n bytes a whole record with that sequence? */
bool naru__record_check(const void *segment, uint64_t n, uint64_t at, uint32_t seed,
                        uint64_t sequence);
/* The first whole record from `at` on, whatever its sequence above `after`; 0: there is none. */
uint64_t naru__record_search(const void *segment, uint64_t n, uint64_t at, uint32_t seed,
                             uint64_t after);

/* Where the bytes of a segment of n bytes end that are no zeroes, or `at`, if they end before. */
uint64_t naru__segment_used(const void *segment, uint64_t at, uint64_t n);

void naru__segment_seal(struct naru_segment_header *);
/* 0, or why not: -EPROTO with ret_why; -ENOENT: the file is another segment's now. */
int naru__segment_check(const struct naru_segment_header *, uint64_t number, uint64_t file,
                        const char **ret_why);

#endif
