/* SPDX-License-Identifier: MIT */
/* region.h - the noun region inside: what every kind of it has, and what a kind fills in. */
#ifndef NARU_REGION_REGION_H
#define NARU_REGION_REGION_H

#include "base/url.h"
#include "core/handle.h"
#include "naru/region.h"

#include <stdatomic.h>

/* What src/api has checked: access, bounds, options' size, flags. Every failure leaves a sentence.
 */
struct naru_region_ops {
    size_t size;
    bool nameless; /* handed on by its descriptor; others are opened by name */
    bool disk;     /* a file whose holes and whose medium are its own matter */
    /* How many bytes there are now, at most `room`. NULL: `length`, always. */
    int (*length)(const naru_region *, uint64_t *ret_length);
    /* At least that long; at most `room`. NULL: it keeps its size. */
    int (*grow)(naru_region *, uint64_t size);
    /* Shorter, if nobody else has it; 0 < size <= length. NULL: it lies in memory, never. */
    int (*shrink)(naru_region *, uint64_t size);
    /* NULL: it lies in memory. */
    int (*sync)(naru_region *, uint64_t at, uint64_t n, int how);
    /* NULL: it has no descriptor. */
    int (*share)(const naru_region *, int access, int *ret_fd);
    /* Copy, all n bytes, without a signal. */
    int (*read)(const naru_region *, uint64_t at, void *buf, size_t n);
    int (*write)(naru_region *, uint64_t at, const void *buf, size_t n);
    /* Unmaps, and frees what is the kind's, in any state that zeroes and init left. */
    void (*close)(naru_region *);
};

/* Embedded first in what a kind has more. */
struct naru_region {
    struct naru_handle handle;
    const struct naru_region_ops *ops;
    unsigned char *data;
    size_t mapped;   /* bytes of address space from there on */
    uint64_t length; /* at opening */
    uint64_t room;   /* how long it may become under this handle */
    int access;
    unsigned flags;
    int fd;             /* NARU__NO_FD: none */
    _Atomic uint64_t known;          /* bytes that it had at the last look: never less is there,
                                      * but by what strangers do */
    struct naru_region_watch *watch; /* guard.c; NULL: none */
    _Atomic bool whole; /* sealed for readers, and all its pages are there for good */
};

/* One a URL scheme. */
struct naru_region_kind {
    size_t size;
    const char *scheme;
    int (*create)(const struct naru_url *, uint64_t size, const struct naru_region_options *,
                  naru_region **ret_r);
    int (*open)(const struct naru_url *, int access, const struct naru_region_options *,
                naru_region **ret_r);
    /* NULL, or NARU__REGION_NOT: the transport of that scheme does it. */
    int (*remove)(const struct naru_url *);
};
enum { NARU__REGION_NOT = 1 };

extern const struct naru_region_kind naru__shm_region;
extern const struct naru_region_kind naru__posix_shm_region;
extern const struct naru_region_kind naru__map_region;
extern const struct naru_region_kind naru__sysv_shm_region;

/* Memory without a name. */
int naru__region_unnamed(uint64_t size, const struct naru_region_options *, naru_region **ret_r);
/* Copies the descriptor. */
int naru__region_received(const char *name, int fd, int access, const struct naru_region_options *,
                          naru_region **ret_r);

/* ---- for the kinds: region.c ---- */

/* Zeroes of `size` bytes, a struct with naru_region first, made a handle. */
int naru__region_new(size_t size, const struct naru_region_ops *, const char *name, int access,
                     const struct naru_region_options *, naru_region **ret_r);
/* Closes it in any state. */
void naru__region_free(naru_region *);
/* Does what is there agree with what the opener states? -EPROTO with both values. reserve: of one
 * that may grow, else 0. */
int naru__region_expect(const char *name, const struct naru_region_options *, uint64_t length,
                        uint64_t reserve, uint32_t signature);
/* Where the mapping has to begin, for what .flags ask for: at a multiple of that, 0: anywhere. */
int naru__region_alignment(const naru_region *, uint64_t *ret_align);
/* After [from, to) came to be: huge pages, first touches, locks, as .flags ask. */
int naru__region_settle(naru_region *, uint64_t from, uint64_t to);
/* In whole pages, as mappings are. */
uint64_t naru__whole_pages(uint64_t bytes, uint64_t page);
/* -EACCES, -EPERM: whose it is. */
int naru__region_forbidden(const char *name, const char *what, int code, unsigned uid, unsigned gid,
                           unsigned mode);

/* ---- for the kinds that are a file: file.c ---- */

/* Takes fd, and maps it. reserve: how long it may become, 0: it keeps its size. */
int naru__region_map(naru_region *, int fd, uint64_t reserve);
/* Every byte that the file has gets memory, or -ENOSPC: its maker may have been content with a
 * length. */
int naru__region_fill(const char *name, int fd, uint64_t size);
/* The sentence of giving a file that many bytes. */
int naru__region_no_room(const char *name, int fd, uint64_t size, int code);
int naru__region_file_length(const naru_region *, uint64_t *ret_length);
int naru__region_file_grow(naru_region *, uint64_t size);
/* What the handler of SIGBUS has covered is the file's again. */
int naru__region_map_over(naru_region *, uint64_t from, uint64_t to);
int naru__region_file_share(const naru_region *, int access, int *ret_fd); /* with a name */
int naru__region_file_read(const naru_region *, uint64_t at, void *buf, size_t n);
int naru__region_file_write(naru_region *, uint64_t at, const void *buf, size_t n);
void naru__region_file_close(naru_region *);

/* ---- a file with a name: place.c ---- */

/* The byte whose lock whoever makes a file on disk longer has meanwhile. */
#define NARU__REGION_LOCK (INT64_MAX - 1)

struct naru_region_place {
    const char *name; /* the URL */
    const char *path;
    const char *directory;                         /* where a new one is made */
    int flags;                                     /* O_NOFOLLOW: no symbolic links */
    const struct naru_region_ops *fixed, *growing; /* the latter with .reserve */
};

/* Of those whose ops say `disk` the label is an attribute; the others have none. */
int naru__region_place_open(const struct naru_region_place *, int access,
                            const struct naru_region_options *, naru_region **ret_r);
int naru__region_place_create(const struct naru_region_place *, uint64_t size,
                              const struct naru_region_options *, naru_region **ret_r);
int naru__region_place_remove(const struct naru_region_place *);

/* ---- SIGBUS: guard.c ---- */

int naru__region_guard(bool on);
int naru__region_watch(naru_region *); /* from now on it is known to the handler */
void naru__region_unwatch(naru_region *);
int naru__region_mend(naru_region *); /* 0, or what was covered, told once */

#endif
