/* SPDX-License-Identifier: MIT */
/* object.h - a named object: a directory that appears whole, is in use, and goes whole.
 *
 * shm:NAME is /dev/shm/naru-UID/NAME, shm:/path is that path. Its maker fills it aside, as
 * `.new-XXXX`, and gives it its name by one rename that never replaces. Its remover marks it
 * removed, wakes whoever takes part, renames it to `.dead-XXXX`, and deletes it. Whoever is killed
 * in between holds a kernel lock no more: the next who comes by finishes it. */
#ifndef NARU_OBJECT_OBJECT_H
#define NARU_OBJECT_OBJECT_H

#include "base/url.h"
#include "os/life.h"
#include "shm/object.h"

#include <stdbool.h>
#include <sys/types.h>

struct naru_object {
    const char *url;              /* borrowed, for sentences */
    int directory;                /* NARU__NO_FD: not open */
    int file;                     /* meta, read and written */
    bool created;                 /* by this call */
    struct naru_object_meta meta; /* read once and checked */
    struct naru_object_state *state;
    struct naru_object_member *members; /* meta.members_max; see naru__object_members() */
    _Atomic uint32_t with_memory;       /* records whose memory is known to be there */
    uint32_t member;                    /* this one's record, once it has joined */
    uint64_t generation;                /* 0: it has not */
    struct naru_life life;
    bool keeps;       /* a member's kind[] outlives it: joining does not clear it */
    bool in_region;   /* not a directory; `file` is the region's, borrowed */
    uint64_t life_at; /* in_region: where in `file` the locks of members are */
    size_t mapped;    /* in a file of its own: bytes, from its meta on */
};

#define NARU_OBJECT_NONE                                                                           \
    (struct naru_object)                                                                           \
    {                                                                                              \
        .directory = NARU__NO_FD, .file = NARU__NO_FD                                              \
    }

/* What an opener wants. */
struct naru_object_want {
    enum naru_object_what what;
    uint32_t signature;   /* of the kind's layout: another is -EPROTO */
    uint32_t members_max; /* of a new one */
    unsigned flags;       /* NARU_EXCLUSIVE, NARU_EXISTING */
    mode_t mode;          /* of a new one, 0: 0600; for files, directories follow */
    uint64_t option[16];  /* of a new one, as `meta` will have it */
    /* Fills a new one, which nobody sees yet: object->directory, ->meta, ->state. NULL: nothing. */
    int (*make)(struct naru_object *, void *arg);
    /* One that is there: do its options agree with what the caller asks for? -EEXIST with both
     * values. NULL: whatever it is. */
    int (*agree)(const struct naru_object *, void *arg);
    /* In a region: its state, which is zeroes, as `meta` says that it began. The machine was
     * started anew since, so nobody lives who was in it, and what a loss of power has left may be
     * torn. NULL: it is taken as it is. */
    int (*again)(struct naru_object *, void *arg);
    void *arg;
};

/* Opens it, or makes it. Errors: -EEXIST it is there with another noun, kind or option, or was not
 * to be; -ENOENT it is not there, and this call was not to make it, or the directory is not;
 * -EACCES owner and mode; -EPROTO no object of naru's, or another version's; -ENOSPC; -EBUSY
 * somebody who has been stopped is removing it. */
int naru__object_open(const struct naru_url *, const struct naru_object_want *,
                      struct naru_object *ret_object);
/* Leaves, if need be; frees. In a forked child the copy alone. */
void naru__object_close(struct naru_object *);

/* A file of the object's, of that size, its memory there; the object's mode. `name` is new. */
int naru__object_file(const struct naru_object *, const char *name, uint64_t size);

/* The same in a region, of zeroes at first: its memory, in which `bytes` are left, and the file
 * that it is, at that offset. Of `want` neither flags nor mode count, and `agree` may be called
 * with one that this call has made. Errors: -ENOSPC it does not fit; -EPROTO something else lies
 * there; -EBUSY somebody who has been stopped is making it; as naru__object_open. */
int naru__object_in_region(const char *url, int file, uint64_t offset, void *memory, uint64_t bytes,
                           const struct naru_object_want *want, struct naru_object *ret_object);
/* The same in a file of its own, map:/file, which is made whole. */
int naru__object_in_file(const struct naru_url *, const struct naru_object_want *,
                         struct naru_object *ret_object);
/* 0, or -EEXIST if such an object is in that file, and `noun` was asked for. */
int naru__object_not_in_file(const char *url, int fd, const char *noun);
/* Is a file all of one? */
bool naru__object_fills_file(int fd, struct naru_object_meta *ret_meta);
/* The file has lost its name: whoever takes part is told. */
void naru__object_file_removed(int fd);
static inline uint64_t naru__object_bytes(uint32_t members_max)
{
    return NARU_OBJECT_MEMBERS_AT + (uint64_t)members_max * sizeof(struct naru_object_member);
}

/* A lock of the kernel's on that byte of the object's: see naru__os_life_hold. */
int naru__object_hold(const struct naru_object *, uint64_t byte, struct naru_life *ret_life);

/* Takes a record of its own; `clean` is called for the dead one's that it had before, if any. Fill
 * in what else the record holds before naru__object_appear, which lets others see it. */
typedef int naru_object_clean(struct naru_object *, uint32_t member);
int naru__object_join(struct naru_object *, naru_object_clean *clean);
void naru__object_appear(struct naru_object *, uint32_t role);
void naru__object_leave(struct naru_object *);
void naru__object_changed(struct naru_object *);    /* all look at what there is anew */
void naru__object_wake(const struct naru_object *); /* all that sleep on their bells */

/* Cleans up after every member that has died; how many, or the first error of `clean`. */
int naru__object_collect(struct naru_object *, naru_object_clean *clean);
/* How many records may be looked at: whoever damages the state, those behind have no memory. */
uint32_t naru__object_members(const struct naru_object *);
/* Is member i dead, and not yet cleaned up after? */
bool naru__object_died(const struct naru_object *, uint32_t i);

/* A socket in its directory, for naru_fd: this member's, and what others do with it. doorbell.c */
int naru__object_doorbell(const struct naru_object *, int *ret_fd);
void naru__object_no_doorbell(const struct naru_object *, uint32_t member);
void naru__object_knock(const struct naru_object *, uint32_t member);

static inline bool naru__object_removed(const struct naru_object *o)
{
    /* relaxed: a hint that epoch's acquire orders; who misses it meets it at the next look */
    return atomic_load_explicit(&o->state->removed, memory_order_relaxed) == NARU_OBJECT_REMOVED;
}
/* Somebody is about to remove it: its wake-up may not come, so nobody sleeps for good. */
static inline bool naru__object_going(const struct naru_object *o)
{
    /* relaxed: read after the bell, which is rung after it is set */
    return atomic_load_explicit(&o->state->removed, memory_order_relaxed) != 0;
}
int naru__object_removed_fail(const struct naru_object *); /* -EIDRM */

/* Removes the object of that name, whatever it is. */
int naru__object_remove(const struct naru_url *);

/* What is at a name: its meta, or -ENOENT, -ENOTDIR (no directory), -EPROTO... */
int naru__object_look(const struct naru_url *, struct naru_object_meta *ret_meta);
const char *naru__object_noun(uint32_t what); /* "a queue" */
int naru__object_check(const struct naru_object_meta *, const char *url); /* -EPROTO */

/* Finishes in that directory what dead makers and removers have left. */
void naru__object_sweep(int directory);

#endif
