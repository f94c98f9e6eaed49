/* SPDX-License-Identifier: MIT */
/* object.h - the memory of a named object: what it is, and who takes part in it.
 *
 * A named object is a directory. Its file `meta` is laid out so, the same for 32 and 64 bits:
 *
 *   offset       bytes  what
 *   0             4096  struct naru_object_meta, constant since the object has its name
 *   4096          4096  struct naru_object_state: written by all who take part
 *   8192     128 x max  struct naru_object_member: written by the member, but for its bells
 *
 * A member holds a lock of the kernel's on byte i of the file for life (os/life.h), and takes it
 * before its record says so: a record whose lock is free is a dead one's. Whoever has the lock may
 * clean it up, and be killed at it: the next one begins again. */
#ifndef NARU_SHM_OBJECT_H
#define NARU_SHM_OBJECT_H

#include <stdatomic.h>
#include <stdint.h>

#define NARU_OBJECT_MAGIC UINT64_C(0x3174636a626f6e1a) /* "\x1anobjct1" */

enum {
    NARU_OBJECT_VERSION = 1,
    NARU_OBJECT_STATE_AT = 4096,
    NARU_OBJECT_MEMBERS_AT = 8192,
    NARU_OBJECT_MEMBERS_MAX = 4096
};

enum naru_object_what {
    NARU_OBJECT_REGION = 1,
    NARU_OBJECT_QUEUE,
    NARU_OBJECT_TOPIC,
    NARU_OBJECT_SEMAPHORE,
    NARU_OBJECT_MUTEX,
    NARU_OBJECT_RWLOCK,
    NARU_OBJECT_EVENT,
    NARU_OBJECT_BARRIER,
    NARU_OBJECT_JOURNAL
};

/* Bytes of `meta` whose locks are not a member's. */
enum {
    NARU_OBJECT_SETTLE_LOCKS = 4096,   /* one a member: somebody takes from it what it owns */
    NARU_OBJECT_REGION_LOCK = 8191,    /* in a region: it is being made */
    NARU_OBJECT_MAKING_LOCK = 1 << 20, /* it has no name yet, and its maker lives */
    NARU_OBJECT_REMOVAL_LOCK
};

/* In a region the locks of members are far beyond what anybody locks for other reasons: from there
 * on, and from the object's place in it. */
#define NARU_OBJECT_REGION_LIFE_AT (UINT64_C(1) << 40)

struct naru_object_meta {
    uint64_t magic;
    uint32_t version;
    uint32_t what;      /* enum naru_object_what */
    uint32_t signature; /* of the kind's own layout */
    uint32_t members_max;
    uint64_t created; /* ns since 1970 */
    uint32_t creator, creator_uid;
    uint32_t mode, flags;
    uint64_t option[16]; /* the kind's */
    uint64_t boot;       /* in a region: since which start of the machine its state is true */
    uint8_t reserved[72];
};

/* meta.flags */
enum { NARU_OBJECT_WHOLE_FILE = 1 }; /* the file is the object, and nothing else */

enum {
    NARU_OBJECT_REMOVED = 1, /* whoever still holds it is told -EIDRM */
    NARU_OBJECT_GOING        /* it will be, unless its remover dies at it */
};

struct naru_object_state {
    _Atomic uint32_t removed; /* NARU_OBJECT_... */
    _Atomic uint32_t epoch;   /* grows when a member comes or goes, and with the removal */
    _Atomic uint32_t members; /* records that were ever used: those from here on have no memory */
    uint8_t reserved[116];
    uint64_t kind[496]; /* the kind's */
};

struct naru_object_member {
    _Atomic uint64_t who; /* generation << 16 | role; role 0: free */
    _Atomic uint32_t pid, uid;
    _Atomic uint64_t pid_namespace; /* in which the pid means something */
    _Atomic uint64_t since;         /* ns since 1970 */
    _Atomic uint32_t registered;    /* for membarrier: else this member fences for itself */
    _Atomic uint32_t bell[2];       /* futexes: receiving, sending; others add one and wake */
    _Atomic uint32_t spare;
    _Atomic uint64_t kind[10]; /* the kind's */
};

_Static_assert(sizeof(struct naru_object_meta) == 256, "the same for 32 and 64 bits");
_Static_assert(sizeof(struct naru_object_state) == 4096, "a page");
_Static_assert(sizeof(struct naru_object_member) == 128, "two cache lines");

static inline uint32_t naru__member_role(uint64_t who)
{
    return (uint32_t)(who & 0xffff);
}

#endif
